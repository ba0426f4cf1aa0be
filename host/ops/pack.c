/* pack.c -- weight layouts shared by conv2d and gemm: what bytes a kernel gets, and how their CPU tiles are
 * shared out. Which layout a kernel wants is its row's business. */
#include "ops/pack.h"
#include "ops/row.h"
#include <string.h>

enum { A_N, A_C, A_C2, A_TAPS, A_KN, A_RUN, A_WIDTH };

ldm_status ldm_weight_types(const ldm_problem *p, int64_t c, int64_t c2, bool kn) {
    const ldm_dtype t = p->dtype, w = p->wdtype;
    if ((t != LDM_F32 && t != LDM_F16) || (w != LDM_F32 && w != LDM_F16 && w != LDM_BF16 && w != LDM_Q8_0))
        return ldm_fail(LDM_ERR_ARG, "%s: storage is %s*%s, wanted f32 or f16, with weights of f32, f16, bf16 or q8_0",
                        p->op->name, ldm_dtype_name(t), ldm_dtype_name(w));
    if (w == LDM_Q8_0 && (kn || c % LDM_Q8_BLOCK || c2 % LDM_Q8_BLOCK))
        return ldm_fail(LDM_ERR_ARG, "%s: q8_0 comes in blocks of %d inputs of an output, %lld + %lld %s", p->op->name,
                        LDM_Q8_BLOCK, (long long)c, (long long)c2,
                        kn ? "as [k,n] lie across" : "are no whole blocks");
    return LDM_OK;
}

/* One source (x or x2: channels first..first+c of src) of outputs from..to: product t * c + i of output o goes to
 * element at + (t * c + i) * k_step + (o - from) * o_step of dst. Channels go in blocks so that the part of dst being
 * written stays in the first-level cache. */
static void fill(const ldm_packing *p, const float *src, void *dst, int64_t from, int64_t to, int64_t first, int64_t c,
                 int64_t at, int64_t k_step, int64_t o_step) {
    enum { BLOCK = LDM_Q8_BLOCK };
    const int64_t n = p->arg[A_N], all = p->arg[A_C] + p->arg[A_C2], taps = p->arg[A_TAPS], width = p->arg[A_WIDTH];
    const int64_t o_src = p->arg[A_KN] ? 1 : all * taps, i_src = p->arg[A_KN] ? n : taps; /* steps in src */
    for (int64_t block = 0; block < c; block += BLOCK) {
        const int64_t count = c - block < BLOCK ? c - block : BLOCK;
        for (int64_t o = from; o < to; o++)
            for (int64_t t = 0; t < taps; t++) {
                const float *s = src + o * o_src + (first + block) * i_src + t;
                const int64_t to_element = at + (t * c + block) * k_step + (o - from) * o_step;
                if (p->dtype == LDM_F32) {
                    float *d = (float *)dst + to_element;
                    for (int64_t i = 0; i < count; i++) d[i * k_step] = s[i * i_src];
                } else if (p->dtype == LDM_Q8_0) {
                    const int64_t many = BLOCK * width, column = to_element % width; /* numbers of `width` blocks */
                    uint8_t *d = (uint8_t *)dst + to_element / many * LDM_Q8_BYTES * width;
                    uint16_t scale;
                    int8_t q[BLOCK];
                    ldm_q8_encode(s, i_src, &scale, q);
                    memcpy(d + column * 2, &scale, sizeof scale);
                    d += 2 * width + column;
                    for (int i = 0; i < BLOCK; i++) d[i * width] = (uint8_t)q[i];
                } else {
                    float line[BLOCK];
                    uint16_t half[BLOCK], *d = (uint16_t *)dst + to_element;
                    for (int64_t i = 0; i < count; i++) line[i] = s[i * i_src];
                    ldm_from_f32(p->dtype, line, (size_t)count, half);
                    for (int64_t i = 0; i < count; i++) d[i * k_step] = half[i];
                }
            }
    }
}

/* Panel number `panel`, from element `at` of dst on: `width` outputs, or where A_RUN is set half as many pairs, `run` values, then
 * their gates, and so on. */
static void one_panel(const ldm_packing *p, const float *src, void *dst, int64_t panel, int64_t at) {
    const int64_t n = p->arg[A_N], c = p->arg[A_C], c2 = p->arg[A_C2], taps = p->arg[A_TAPS], run = p->arg[A_RUN], width = p->arg[A_WIDTH];
    const int64_t all = run ? n / 2 : n, many = run ? width / 2 : width, first = panel * many;
    const int64_t end = first + many < all ? first + many : all;
    if (!run) {
        fill(p, src, dst, first, end, 0, c, at, width, 1);
        fill(p, src, dst, first, end, c, c2, at + taps * c * width, width, 1);
    }
    for (int64_t from = first; run && from < end; from += run) {
        const int64_t to = from + run < end ? from + run : end, values = at + (from - first) * 2;
        fill(p, src, dst, from, to, 0, c, values, width, 1);
        fill(p, src, dst, all + from, all + to, 0, c, values + run, width, 1);
    }
}

static int64_t panel_count(const ldm_packing *p) { return ldm_ceil_div(p->arg[A_N], p->arg[A_WIDTH]); }

static void panels(const ldm_packing *p, const float *src, void *dst) {
    const int64_t elements = p->arg[A_WIDTH] * (p->arg[A_C] + p->arg[A_C2]) * p->arg[A_TAPS];
    memset(dst, 0, p->bytes);
    for (int64_t panel = 0; panel < panel_count(p); panel++) one_panel(p, src, dst, panel, panel * elements);
}

/* The panels of a pair where the first four factors will be, b11 b21 b12 b22; then all seven of each element. */
static void strassen(const ldm_packing *p, const float *src, void *dst) {
    const int64_t half = p->arg[A_C] / 2 * p->arg[A_WIDTH], count = panel_count(p);
    memset(dst, 0, p->bytes);
#pragma omp parallel for schedule(static)
    for (int64_t pair = 0; pair < ldm_ceil_div(count, 2); pair++) {
        float *f = (float *)dst + pair * 7 * half;
        for (int64_t panel = 2 * pair; panel < count && panel < 2 * pair + 2; panel++) one_panel(p, src, f, panel, (panel - 2 * pair) * 2 * half);
        for (int64_t i = 0; i < half; i++) {
            const float b11 = f[i], b21 = f[half + i], b12 = f[2 * half + i], b22 = f[3 * half + i];
            const float factor[] = {b11 + b22, b11, b12 - b22, b21 - b11, b22, b11 + b12, b21 + b22};
            for (int j = 0; j < 7; j++) f[j * half + i] = factor[j];
        }
    }
}

static void rows(const ldm_packing *p, const float *src, void *dst) {
    const int64_t n = p->arg[A_N], c = p->arg[A_C], c2 = p->arg[A_C2], taps = p->arg[A_TAPS];
    memset(dst, 0, p->bytes);
    fill(p, src, dst, 0, n, 0, c, 0, 1, (c + c2) * taps);
    fill(p, src, dst, 0, n, c, c2, taps * c, 1, (c + c2) * taps);
}

static bool describe(const char *name, int64_t width, int64_t round, void (*fn)(const ldm_packing *, const float *, void *),
                     ldm_dtype dtype, int64_t n, int64_t c, int64_t c2, int64_t taps, bool kn, int64_t zeros,
                     ldm_packing *out) {
    zeros = ldm_round_up(zeros, 64);
    *out = (ldm_packing){.dtype = dtype, .arg = {n, c, c2, taps, kn, 0, width}, .fn = fn};
    out->bytes = ldm_dtype_bytes(dtype, ldm_round_up(n, round) * (c + c2) * taps) + (size_t)zeros;
    snprintf(out->key, sizeof out->key, "%s %lld %s %lld+%lld%s 0:%lld", name, (long long)width, ldm_dtype_name(dtype),
             (long long)c, (long long)c2, kn ? " kn" : "", (long long)zeros);
    return true;
}

bool ldm_pack_panels(ldm_dtype dtype, int64_t width, int64_t n, int64_t c, int64_t c2, int64_t taps, bool kn,
                     int64_t zeros, ldm_packing *out) {
    return describe("panels", width, width, panels, dtype, n, c, c2, taps, kn, zeros, out);
}

bool ldm_pack_gated_panels(ldm_dtype dtype, int64_t width, int64_t n, int64_t c, bool kn, int64_t run,
                           ldm_packing *out) {
    describe(run == 1 ? "gates" : "gated", width, width, panels, dtype, n, c, 0, 1, kn, 0, out);
    out->arg[A_RUN] = run;
    return true;
}

bool ldm_pack_strassen(int64_t width, int64_t n, int64_t c, bool kn, int64_t run, ldm_packing *out) {
    describe(run ? "strassen gated" : "strassen", width, 2 * width, strassen, LDM_F32, n, c, 0, 1, kn, 0, out);
    out->bytes = out->bytes / 4 * 7;
    out->arg[A_RUN] = run;
    return true;
}

bool ldm_pack_rows(ldm_dtype dtype, int64_t n, int64_t c, int64_t c2, int64_t taps, int64_t zeros, ldm_packing *out) {
    return describe("rows", 1, 4, rows, dtype, n, c, c2, taps, false, zeros, out);
}

bool ldm_tile_legal(const int *params, int64_t rows, const ldm_device *d) {
    const int tile = params[LDM_TILE_ROWS], lanes = params[LDM_TILE_LANES];
    if (lanes != ldm_row_lanes(d) || (lanes == 16 ? tile == 6 : tile > 6)) return false;
    return tile == 1 || (tile < 2 * rows && (tile != 6 || rows > 4));
}

void ldm_tile_defines(const char *rows, const int *params, ldm_recipe *r) {
    ldm_rec_define(r, rows, params[LDM_TILE_ROWS]);
    ldm_rec_define(r, "LANES", params[LDM_TILE_LANES]);
}

ldm_tiling ldm_share_tiles(int64_t rows, int64_t tile, int64_t channels, int64_t products, int64_t panels,
                           int64_t width, int64_t units) {
    enum { WEIGHTS = 131072 }; /* elements: 512 KiB at f32 */
    /* tiles of narrow panels are smaller, and read for fewer outputs: as many rows, or more, before weights are read again */
    const int64_t input = width == 32 ? 65536 : 98304;
    ldm_tiling t = {.block = width == 32 ? 8 : 12};
    while (t.block > 1 && ldm_ceil_div(rows, tile * t.block) * panels < 8 * units) t.block /= 2;
    t.group = products * panels * width <= WEIGHTS ? 1 : input / (tile * t.block * channels);
    if (t.group < 1) t.group = 1;
    t.items = ldm_ceil_div(rows, tile * t.block) * panels;
    return t;
}
