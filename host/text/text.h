/* text.h -- prompts to token ids: BERT's WordPiece and CLIP's byte-pair encoding, as the fast tokenizers of
 * `transformers` do them (BertTokenizerFast of bert-base-uncased, CLIPTokenizerFast), and layout boxes to the 92 tokens
 * of the layout models. Knows nothing of networks, devices or files other than vocabularies.
 *
 *   ldm_tokenizer_builtin(LDM_TOKENIZER_CLIP, &t);
 *   ldm_tokenize(t, "a photograph of a cat", 77, 49407, ids, &info);
 *
 * Text is UTF-8 that ends with NUL. What is not UTF-8 is refused with a sentence that names the byte (LDM_ERR_ARG). */
#ifndef LDM_TEXT_H
#define LDM_TEXT_H

#include "base/base.h"

/* ---- tokenizers ------------------------------------------------------------------------------------------------- */

typedef enum ldm_tokenizer_kind {
    LDM_TOKENIZER_BERT, /* [CLS] = 101, [SEP] = 102, [PAD] = 0, [UNK] = 100, 30,522 ids */
    LDM_TOKENIZER_CLIP  /* <|startoftext|> = 49406, <|endoftext|> = 49407, 49,408 ids */
} ldm_tokenizer_kind;

typedef struct ldm_tokenizer ldm_tokenizer; /* read-only once made: threads may share it */

ldm_status ldm_tokenizer_builtin(ldm_tokenizer_kind kind, ldm_tokenizer **out); /* the vocabularies in the library */
/* A `tokenizer` folder as diffusers and transformers write it: tokenizer.json, else vocab.json + merges.txt (CLIP) or
 * vocab.txt (BERT); special tokens, padding and length from tokenizer_config.json and special_tokens_map.json where
 * they are there. LDM_ERR_FORMAT where a file is missing, malformed, or of another kind of tokenizer than these two. */
ldm_status ldm_tokenizer_folder(const char *path, ldm_tokenizer **out);
void ldm_tokenizer_close(ldm_tokenizer *t); /* NULL is fine */

ldm_tokenizer_kind ldm_tokenizer_kind_of(const ldm_tokenizer *t);
int ldm_tokenizer_size(const ldm_tokenizer *t);   /* every id is below it */
int ldm_tokenizer_pad(const ldm_tokenizer *t);    /* its own padding: CLIP 49407, BERT 0, of a folder what that says */
int ldm_tokenizer_length(const ldm_tokenizer *t); /* its own model_max_length; 77 where it says none */
/* A token as the vocabulary writes it ("cat</w>", "##ing"); NULL if there is no such id. Borrowed. */
const char *ldm_tokenizer_token(const ldm_tokenizer *t, int id);

typedef struct ldm_tokenized {
    int used;   /* ids that are not padding: start, as much of the prompt as fits, end */
    int wanted; /* what the whole prompt takes, start and end included: more than `length` if it was cut */
    size_t cut; /* byte of the prompt where what was left out begins; its length if nothing was */
    /* The first "( ... )" of the prompt, bytes [weight_from, weight_to): other programs read it as a weight, here it is
     * taken literally. Empty if there is none; parentheses behind a backslash are none. */
    size_t weight_from, weight_to;
} ldm_tokenized;

/* Exactly `length` (>= 2) ids into ids[]: start, tokens of the prompt, end, then `pad_id` (-1: the tokenizer's own). A
 * longer prompt loses its last tokens, never the end token. Special tokens written out ("<|endoftext|>", "[SEP]")
 * become their ids. `info` may be NULL. */
ldm_status ldm_tokenize(const ldm_tokenizer *t, const char *prompt, int length, int pad_id, int32_t *ids,
                        ldm_tokenized *info);

/* Every token of a text without start, end, padding or limit, and the byte of the text where each begins: *n of them,
 * both arrays freed with free(). */
ldm_status ldm_tokenize_all(const ldm_tokenizer *t, const char *text, int32_t **ids, size_t **from, int *n);

/* ---- layout boxes: layout.c ----------------------------------------------------------------------------------------
 */

enum {
    LDM_LAYOUT_BOXES = 30,  /* at most */
    LDM_LAYOUT_TOKENS = 92, /* class, upper left corner, lower right corner of each box; two corners of the crop */
    LDM_LAYOUT_NONE = 8191, /* all three tokens of a box that is not there; the last of the 8,192 */
    LDM_LAYOUT_CLASSES =
        340 /* OpenImages' 352 categories of taming-transformers less the 12 that its map puts into others */
};

/* A layout as JSON -> the tokens of the layout models, as taming-transformers builds them
 * (ObjectsBoundingBoxConditionalBuilder, of the whole picture, boxes in the order of the file):
 *   [{"class": 60, "x0": 0.1, "y0": 0.25, "x1": 0.5, "y1": 1, "modifiers": ["occluded"]}, ...]
 * 0 is left and top, 1 right and bottom; modifiers, which may be left out: "group_of", "occluded", "depiction",
 * "inside". Corners lie on a grid of 90 x 90, token = round(89 y) 90 + round(89 x), halves to even; class token = class
 * + classes m, with m the sum of the modifiers' 1, 2, 4, 8. LDM_ERR_FORMAT, with the number of the box counted from 1:
 * more than 30 boxes, a class >= classes, a coordinate outside [0,1], a box without area, a key that is not one of
 * these. `name` is the file. */
ldm_status ldm_layout_parse(const char *json, size_t n, const char *name, int classes,
                            int32_t tokens[LDM_LAYOUT_TOKENS]);
ldm_status ldm_layout_read(const char *path, int classes, int32_t tokens[LDM_LAYOUT_TOKENS]);
/* Of a part of the picture instead: corners as in a box. What a model that draws it in windows is told of each. */
void ldm_layout_crop(int32_t tokens[LDM_LAYOUT_TOKENS], double x0, double y0, double x1, double y1);

#endif
