/* embedded.c -- the vocabularies of vocab/ as bytes of the library. */
#include "text/internal.h"

#define EMBED(symbol, file)                                                                                            \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".global " #symbol "\n" #symbol ":\n"                                                                      \
            ".incbin \"" file "\"\n"                                                                                   \
            ".global " #symbol "_end\n" #symbol "_end:\n"                                                              \
            ".byte 0\n"                                                                                                \
            ".popsection\n")

EMBED(text_embedded_bert, "host/text/vocab/bert-base-uncased.txt");
EMBED(text_embedded_clip, "host/text/vocab/clip-merges.txt");
