/* fuzz_ckpt.c -- any bytes as a checkpoint; what is accepted is read to the last element and described. */
#include "fuzz.h"
#include "ckpt/ckpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ldm_ckpt *c = NULL;
    ldm_text text = {0};
    if (!FUZZ(ldm_ckpt_parse(data, size, "file", &c))) return 0;
    for (int i = 0; i < ldm_ckpt_count(c); i++) {
        const ldm_ckpt_tensor *t = ldm_ckpt_at(c, i);
        int64_t n = ldm_shape_count(&t->shape);
        if (n < 0 || (size_t)n > size || ldm_ckpt_find(c, t->name) != t) abort();
        float *v = malloc((size_t)n * sizeof *v + 1);
        if (v) ldm_ckpt_load_f32(t, v);
        free(v);
    }
    if (FUZZ(ldm_ckpt_describe(c, &text)) && !ldm_utf8_valid(text.s, text.len)) abort();
    ldm_text_free(&text);
    ldm_ckpt_close(c);
    return 0;
}

#ifndef FUZZ_NO_SEEDS
bytes fuzz_seed(int i) {
    switch (i) {
    case 0:
        return make_safetensors(good_safetensors, GOOD_SAFETENSORS_DATA);
    case 1:
        return make_safetensors("{}", 0);
    case 2:
        return make_torch(good_pickle, true);
    case 3:
        return make_torch(good_pickle, false);
    case 4:
        return make_safetensors("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,3],\"data_offsets\":[0,3]}}", 3);
    }
    return (bytes){0};
}
#endif
