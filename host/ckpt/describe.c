/* describe.c -- a checkpoint in words, for `ldm info FILE`. Which network it may be is told by model/. */
#include "ckpt_internal.h"
#include <inttypes.h>
#include <string.h>

/* Text from a file as one printable line of at most `most` bytes, cut between characters. */
static void add_line(ldm_text *out, const char *s, size_t most) {
    size_t n = strlen(s), len = n < most ? n : most;
    while (len < n && len && ((uint8_t)s[len] & 0xc0) == 0x80) len--;
    for (size_t at = 0; at < len;) {
        size_t run = at;
        while (run < len && (uint8_t)s[run] >= 32 && s[run] != 127) run++;
        if (run > at) ldm_text_add(out, "%.*s", (int)(run - at), s + at);
        else ldm_text_add(out, " "), run++;
        at = run;
    }
    if (len < n) ldm_text_add(out, "... (%zu bytes)", n);
}

ldm_status ldm_ckpt_describe(const ldm_ckpt *c, ldm_text *out) {
    static const char *const kinds[] = {
        [LDM_CKPT_SAFETENSORS] = "safetensors", [LDM_CKPT_TORCH_ZIP] = "PyTorch zip archive"};
    uint64_t parameters = 0, count_of[LDM_DTYPES] = {0}, bytes_of[LDM_DTYPES] = {0};
    int tensors_of[LDM_DTYPES] = {0};
    size_t widest = 4;
    char shape[256];
    for (int i = 0; i < c->count; i++) {
        const ldm_ckpt_tensor *t = &c->tensors[i];
        uint64_t n = (uint64_t)ldm_shape_count(&t->shape);
        size_t len = strlen(t->name);
        if (len > widest) widest = len;
        parameters += n, tensors_of[t->dtype]++, count_of[t->dtype] += n,
            bytes_of[t->dtype] += n * ldm_dtype_size(t->dtype);
    }
    if (widest > 100) widest = 100;
    ldm_text_add(out, "file        %s\n", c->path);
    ldm_text_add(out, "kind        %s, %zu bytes\n", kinds[c->kind], c->size);
    ldm_text_add(out, "tensors     %d\n", c->count);
    ldm_text_add(out, "parameters  %" PRIu64 "\n", parameters);
    for (int t = 0; t < LDM_DTYPES; t++)
        if (tensors_of[t])
            ldm_text_add(out, "  %-5s     %d tensors, %" PRIu64 " values, %" PRIu64 " bytes\n",
                         ldm_dtype_name((ldm_dtype)t), tensors_of[t], count_of[t], bytes_of[t]);
    if (c->meta_count) ldm_text_add(out, "metadata\n");
    for (int i = 0; i < c->meta_count; i++) {
        ldm_text_add(out, "  ");
        add_line(out, c->meta[2 * i], 100);
        ldm_text_add(out, " = ");
        add_line(out, c->meta[2 * i + 1], 200);
        ldm_text_add(out, "\n");
    }
    for (int i = 0; i < c->count; i++) {
        const ldm_ckpt_tensor *t = &c->tensors[i];
        size_t before = out->len;
        add_line(out, t->name, 1024);
        size_t used = out->len > before ? out->len - before : 0;
        ldm_text_add(out, "%*s  %-4s  %s%s\n", (int)(used < widest ? widest - used : 0), "", ldm_dtype_name(t->dtype),
                     ldm_shape_text(&t->shape, shape, sizeof shape), t->contiguous ? "" : "  (strided)");
    }
    if (!out->s) return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its description is not there", c->path);
    return LDM_OK;
}
