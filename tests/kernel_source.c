/* kernel_source.c -- prints what is compiled for a kernel file, for compilers that are run by hand (offline.sh).
 *   kernel_source FILE.cl */
#include "cl/cl.h"
#include <stdio.h>

int main(int argc, char **argv) {
    ldm_text text = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: kernel_source FILE.cl\n");
        return 2;
    }
    if (ldm_kernel_source(argv[1], &text)) {
        fprintf(stderr, "kernel_source: %s\n", ldm_message());
        return 1;
    }
    fputs(text.s, stdout);
    ldm_text_free(&text);
    return 0;
}
