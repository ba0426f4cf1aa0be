/* fuzz_parameters.c -- any text as generation parameters: what was parsed is written and parsed again, to the same. */
#include "fuzz.h"
#include "io/io.h"

static bool same(const ldm_parameters *a, const ldm_parameters *b) {
    bool equal = a->count == b->count && !strcmp(a->prompt, b->prompt) && !strcmp(a->negative, b->negative);
    for (int i = 0; equal && i < 2 * a->count; i++) equal = !strcmp(a->pairs[i], b->pairs[i]);
    return equal;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ldm_parameters a = {0}, b = {0};
    ldm_text text = {0};
    if (!ldm_utf8_valid(data, size)) return 0; /* what readers of files let through */
    char *s = strndup((const char *)data, size);
    bool read = s && FUZZ(ldm_parameters_parse(s, &a));
    if (read && !fuzz_memory_fails && ldm_parameters_write(&a, &text) == LDM_OK) { /* too few pairs may not be writable */
        if (ldm_parameters_parse(text.s, &b) != LDM_OK || !same(&a, &b)) abort();
    }
    ldm_parameters_free(&a), ldm_parameters_free(&b);
    ldm_text_free(&text);
    free(s);
    return 0;
}

bytes fuzz_seed(int i) {
    static const char *const texts[] = {"a cat, a dog\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 512x512",
                                        "x\nSteps: 1, Model: \"a, b: \\\"c\\\"\", VAE: \"\", Lora hashes: \"a: 1\"",
                                        "a\nNegative prompt: b\nNegative prompt: c\n\nSteps: 1, CFG scale: 7,Seed: 2",
                                        "Negative prompt:\n", "k: v, kk: \"unended, kkk: w", "\xc3\xa9t\xc3\xa9: 1, bb: 2, cc: \"\\u00e9\\n\""};
    bytes b = {0};
    if (i < 6) put(&b, texts[i], strlen(texts[i]));
    return b;
}
