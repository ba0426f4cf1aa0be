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
    fuzz_json_fails = false; /* objects hold long strings */
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
                                        "Negative prompt:\n", "k: v, kk: \"unended, kkk: w", "\xc3\xa9t\xc3\xa9: 1, bb: 2, cc: \"\\u00e9\\n\"",
                                        "a <lora:x:0.8>\nNegative prompt: (b:1.2), c\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, "
                                        "Size: 512x512, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.75, Clip skip: 2, Mask blur: 4, "
                                        "Lora hashes: \"x: 0123456789ab, y: cd\", RNG: CPU, TI hashes: \"z: ef\", Version: v1.10.1",
                                        "a\nSteps: 20, CFG scale: 7.000000, SLG scale: 2.500000, Skip layers: [7, 8, 9, ], Guidance: 3.500000, Eta: inf, Seed: 42, Size: 512x512, "
                                        "Model: sd.ckpt, RNG: cuda, Sampler: euler_a, Custom Sigmas: [14.6146, 1.0000, 0.0000], Version: stable-diffusion.cpp, "
                                        "SDCPP: {\"schema\":\"sdcpp.image.params/v1\",\"sampling\":{\"eta\":null,\"skip\":[7,8]},\"prompt\":{\"positive\":\"a, b: c\"}}"};
    enum { SEEDS = sizeof texts / sizeof *texts };
    bytes b = {0};
    if (i < SEEDS) put(&b, texts[i], strlen(texts[i]));
    return b;
}
