/* pack.c -- weight layouts shared by conv2d and gemm: what bytes a kernel gets, and how their CPU tiles are
 * shared out. Which layout a kernel wants is its row's business. */
#include "ops/pack.h"
#include <string.h>

enum { A_N, A_C, A_C2, A_TAPS, A_KN };

static void put(ldm_dtype t, void *dst, int64_t i, float v) {
    if (t == LDM_F16) ((uint16_t *)dst)[i] = ldm_f32_to_f16(v);
    else ((float *)dst)[i] = v;
}

/* One source (x or x2) of outputs `from` to `to`: product `e` of output `from + o` goes to base + e * k_step + o * o_step,
 * with source channels first.. at products k0... Channels go in blocks so that the part of the panel being written stays in
 * the first-level cache. */
static void fill(const ldm_packing *p, const float *src, void *dst, int64_t from, int64_t to, int64_t first, int64_t c, int64_t k0,
                 int64_t base, int64_t k_step, int64_t o_step) {
    enum { BLOCK = 16 };
    const int64_t n = p->arg[A_N], all = p->arg[A_C] + p->arg[A_C2], taps = p->arg[A_TAPS];
    for (int64_t block = 0; block < c; block += BLOCK)
        for (int64_t o = from; o < to; o++)
            for (int64_t i = block; i < c && i < block + BLOCK; i++) {
                const float *s = p->arg[A_KN] ? src + (first + i) * n + o : src + (o * all + first + i) * taps;
                for (int64_t t = 0; t < taps; t++) put(p->dtype, dst, base + (k0 + t * c + i) * k_step + (o - from) * o_step, s[t]);
            }
}

static void panels(const ldm_packing *p, const float *src, void *dst) {
    const int64_t n = p->arg[A_N], c = p->arg[A_C], c2 = p->arg[A_C2], taps = p->arg[A_TAPS];
    memset(dst, 0, p->bytes);
    for (int64_t from = 0; from < n; from += 32) {
        int64_t to = from + 32 < n ? from + 32 : n, base = from * (c + c2) * taps;
        fill(p, src, dst, from, to, 0, c, 0, base, 32, 1);
        fill(p, src, dst, from, to, c, c2, taps * c, base, 32, 1);
    }
}

static void rows(const ldm_packing *p, const float *src, void *dst) {
    const int64_t n = p->arg[A_N], c = p->arg[A_C], c2 = p->arg[A_C2], taps = p->arg[A_TAPS];
    memset(dst, 0, p->bytes);
    fill(p, src, dst, 0, n, 0, c, 0, 0, 1, (c + c2) * taps);
    fill(p, src, dst, 0, n, c, c2, taps * c, 0, 1, (c + c2) * taps);
}

static bool describe(const char *name, int64_t round, void (*fn)(const ldm_packing *, const float *, void *), ldm_dtype dtype, int64_t n,
                     int64_t c, int64_t c2, int64_t taps, bool kn, int64_t zeros, ldm_packing *out) {
    zeros = ldm_round_up(zeros, 64);
    *out = (ldm_packing){.dtype = dtype, .arg = {n, c, c2, taps, kn}, .fn = fn};
    out->bytes = (size_t)(ldm_round_up(n, round) * (c + c2) * taps) * ldm_dtype_size(dtype) + (size_t)zeros;
    snprintf(out->key, sizeof out->key, "%s %s %lld+%lld%s 0:%lld", name, ldm_dtype_name(dtype), (long long)c, (long long)c2,
             kn ? " kn" : "", (long long)zeros);
    return true;
}

bool ldm_pack_panels(ldm_dtype dtype, int64_t n, int64_t c, int64_t c2, int64_t taps, bool kn, int64_t zeros, ldm_packing *out) {
    return describe("panels", 32, panels, dtype, n, c, c2, taps, kn, zeros, out);
}

bool ldm_pack_rows(ldm_dtype dtype, int64_t n, int64_t c, int64_t c2, int64_t taps, int64_t zeros, ldm_packing *out) {
    return describe("rows", 4, rows, dtype, n, c, c2, taps, false, zeros, out);
}

ldm_tiling ldm_share_tiles(int64_t rows, int64_t tile, int64_t depth, int64_t panels) {
    ldm_tiling t = {.block = 8};
    while (t.block > 1 && ldm_ceil_div(rows, tile * t.block) * panels < 32) t.block /= 2;
    t.group = 65536 / (tile * t.block * depth);
    if (t.group < 1) t.group = 1;
    t.items = ldm_ceil_div(rows, tile * t.block) * panels;
    return t;
}
