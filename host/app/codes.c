/* codes.c -- see codes.h. */
#include "app/codes.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

ldm_status app_codebook_load(const app_network_options *o, app_codebook *book) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    app_network_options n = *o;
    n.net = "decoder", n.h = n.w = 0;
    TRY(app_network_plan(&n, &net));
    TRY(app_network_weights(&n, &net));
    ldm_tensor t = ldm_plan_find(net.plan, "quantize.embedding.weight");
    if (t == LDM_NONE) TRY(ldm_fail(LDM_ERR_ARG, "the first stage %s has no codebook", net.stage.name ? net.stage.name : "of this file"));
    const ldm_shape *s = &ldm_plan_tensor(net.plan, t)->shape;
    book->entries = s->dim[0], book->channels = s->dim[1];
    TRY(ldm_alloc((size_t)ldm_shape_count(s) * sizeof *book->entry, (void **)&book->entry));
    TRY(ldm_plan_load(net.plan, &net.source, t, book->entry));
done:
    app_network_close(&net);
    return st;
}

void app_codes_nearest(const app_codebook *book, const float *z, int64_t pixels, int32_t *codes) {
    const int64_t c = book->channels;
#pragma omp parallel for
    for (int64_t i = 0; i < pixels; i++) {
        double best = INFINITY;
        for (int64_t k = 0; k < book->entries; k++) {
            double sum = 0;
            for (int64_t j = 0; j < c; j++) {
                double d = (double)z[i * c + j] - book->entry[k * c + j];
                sum += d * d;
            }
            if (sum < best) best = sum, codes[i] = (int32_t)k;
        }
    }
}

static bool whole(ldm_dtype t) {
    return t == LDM_I32 || t == LDM_I64 || t == LDM_I16 || t == LDM_I8 || t == LDM_U8;
}

static int64_t element(const ldm_array *a, int64_t i) {
    int64_t wide;
    int32_t middle;
    int16_t narrow;
    const char *at = (const char *)a->data + (size_t)i * ldm_dtype_size(a->dtype);
    switch (a->dtype) {
    case LDM_I64: return memcpy(&wide, at, sizeof wide), wide;
    case LDM_I32: return memcpy(&middle, at, sizeof middle), middle;
    case LDM_I16: return memcpy(&narrow, at, sizeof narrow), narrow;
    case LDM_I8: return *(const int8_t *)at;
    default: return *(const uint8_t *)at;
    }
}

ldm_status app_codes_look_up(const app_codebook *book, const ldm_array *codes, const char *name, float **z, int64_t *h, int64_t *w) {
    char text[128];
    const ldm_shape *s = &codes->shape;
    const int r = s->rank;
    if (!whole(codes->dtype) || (r != 2 && !(r == 3 && s->dim[0] == 1)) || ldm_shape_count(s) < 1)
        return ldm_fail(LDM_ERR_FORMAT, "%s: %s of shape %s, wanted whole numbers [height, width]", name, ldm_dtype_name(codes->dtype),
                        ldm_shape_text(s, text, sizeof text));
    const int64_t c = book->channels;
    *h = s->dim[r - 2], *w = s->dim[r - 1];
    float *out;
    ldm_status st = ldm_alloc((size_t)(*h * *w * c) * sizeof *out, (void **)&out);
    for (int64_t i = 0; !st && i < *h * *w; i++) {
        int64_t k = element(codes, i);
        if (k < 0 || k >= book->entries)
            st = ldm_fail(LDM_ERR_FORMAT, "%s: code %lld at (%lld, %lld), the codebook has %lld entries", name, (long long)k,
                          (long long)(i % *w), (long long)(i / *w), (long long)book->entries);
        else memcpy(out + i * c, book->entry + k * c, (size_t)c * sizeof *out);
    }
    if (st) free(out);
    else *z = out;
    return st;
}
