/* strassen.c -- products by one level of Strassen's algorithm, on pairs of tiles of rows, of panels and of halves of the products
 * (product.h). The kernel is gemm_strassen of kernels/gemm_cpu.cl. */
#include "ops/pack.h"
#include "ops/product.h"
#include "ops/row.h"
#include <stdlib.h>
#include <string.h>

enum { TILE = LDM_TILE_ROWS, WIDTH = LDM_TILE_LANES, BLOCK, GROUP, PIECE = 256 }; /* tunables; PIECE as the kernel */
const ldm_tunable ldm_strassen_tunables[] = {{"TILE_ROWS", "rows of a tile", {8, 6}},
                                             {"LANES", "floats of a vector, as many as a register holds", {16, 8, 4}},
                                             {"BLOCK", "pairs of tiles of a job", {4, 2, 8, 1}},
                                             {"GROUP", "pairs of panels of a job", {8, 4, 2, 1}},
                                             {0}};

static ldm_product product(const ldm_problem *p) {
    ldm_product q;
    ldm_product_of(p, &q);
    return q;
}
static int64_t depth(const ldm_product *q) { return q->c + q->c2; }
static int64_t pairs(const ldm_product *q, const int *t) { return ldm_ceil_div(q->n, 4 * t[WIDTH]); }

/* Jobs: blocks of rows by groups of pairs of panels, cut evenly. Work-items have alike to do: blocks of their own, or as many
 * groups. */
typedef struct cut {
    int64_t blocks, groups, items;
} cut;

static cut cut_of(const ldm_product *q, const int *t, const ldm_device *d) {
    cut c = {ldm_ceil_div(q->m, 2 * t[TILE] * t[BLOCK]), ldm_ceil_div(pairs(q, t), t[GROUP]), 0};
    const bool own = c.blocks % d->units == 0;
    while (!own && c.blocks * c.groups % (2 * d->units) && c.groups < pairs(q, t)) c.groups++;
    c.items = ldm_row_items(own ? c.blocks : c.blocks * c.groups, d);
    return c;
}

/* Pairs of panels whose sums wait for more products; the rest are finished one after the other. */
static int64_t held(const ldm_product *q, const int *t, int64_t groups) {
    return depth(q) / 2 > PIECE ? ldm_ceil_div(pairs(q, t), groups) : 1;
}

size_t ldm_strassen_scratch(const ldm_problem *p, const int *t, const ldm_device *d) {
    const ldm_product q = product(p);
    const cut c = cut_of(&q, t, d);
    const int64_t factors = 7 * t[TILE] * PIECE, sums = 4 * t[TILE] * 2 * t[WIDTH]; /* floats */
    return (size_t)(c.items * t[BLOCK] * (factors + held(&q, t, c.groups) * sums)) * sizeof(float);
}

const char *ldm_strassen_supports(const ldm_problem *p, const ldm_device *d) {
    const int64_t lanes = ldm_row_lanes(d);
    ldm_product q;
    if (!ldm_product_of(p, &q) || p->wdtype != LDM_F32)
        return "needs weights kept as f32, and of a convolution a 1x1 filter, stride 1 and no padding";
    if (q.c % lanes || q.c2 % lanes || depth(&q) % (2 * lanes)) return "needs whole vectors of inputs, and of each half of them";
    return q.m > INT32_MAX / 2 || depth(&q) > INT32_MAX / 64 ? "more than 2^30 rows or 2^25 products" : NULL;
}

bool ldm_strassen_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    const ldm_product q = product(p);
    return ldm_tile_legal(t, q.m, d) && (t[BLOCK] == 1 || t[BLOCK] * t[TILE] < q.m) && (t[GROUP] == 1 || t[GROUP] / 2 < pairs(&q, t));
}

const char *ldm_strassen_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    const ldm_product q = product(p);
    if (d->low_memory || d->once) return "its weights take 7/4 of the room, and of the time to make";
    if (q.m < 64 || depth(&q) < 256 || q.n < 192 || q.m * q.n * depth(&q) < 1 << 25)
        return "small: sums cost more than a product saves";
    if (t[WIDTH] < 16 && (q.m < 128 || q.m > 2048))
        return "narrow vectors: few rows gain nothing, sums of many pass through memory; where caches are shared both lose";
    const cut c = cut_of(&q, t, d);
    if (pairs(&q, t) < 3 * c.groups && t[BLOCK] > 2) return "smaller blocks: sums of rows are made for more panels";
    const int64_t cells = c.blocks * pairs(&q, t);
    const bool even = q.m % (2 * t[TILE] * t[BLOCK]) == 0 && (c.blocks % d->units == 0 || cells % d->units == 0 || cells >= 32 * d->units);
    return c.blocks * c.groups < (even ? 2 : 6) * d->units ? "smaller jobs keep all units busy" : NULL;
}

bool ldm_strassen_pack(const ldm_problem *p, const int *t, int slot, ldm_packing *out) {
    const ldm_product q = product(p);
    return slot == q.w && ldm_pack_strassen(2 * t[WIDTH], q.n, depth(&q), q.kn, q.gated ? t[WIDTH] : 0, out);
}

ldm_status ldm_strassen_record(const ldm_problem *p, const int *t, const ldm_device *d, ldm_recipe *r) {
    const ldm_product q = product(p);
    const int slots[] = {q.y, q.x, q.x2, q.w, q.bias, q.vec, q.residual};
    const cut c = cut_of(&q, t, d);
    const int64_t numbers[] = {q.m, q.per, q.n, q.c, q.c2, q.act, t[BLOCK], c.groups, held(&q, t, c.groups)};
    ldm_row_kernel(p, r, "gemm_cpu.cl", "gemm_strassen");
    ldm_tile_defines("TILE_ROWS", t, r);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) ldm_rec_slot(r, slots[i]);
    ldm_rec_scratch(r, 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) ldm_rec_int(r, numbers[i]);
    ldm_rec_range1(r, c.items, 1);
    return r->status;
}

/* Rows pair within blocks of two tiles; of a map, whole rows of pixels of whole blocks. */
ldm_grain ldm_strassen_grain(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int w = ldm_op_dim_index(p->op, "w");
    int64_t rows = 2 * t[TILE];
    if (w >= 0)
        for (int64_t width = p->dim[w], whole = rows; rows > 1 && rows / 2 * width % whole == 0;) rows /= 2;
    return (ldm_grain){rows, 0};
}

/* x and x2 as one input of the product. */
void ldm_strassen_reference(const ldm_problem *p, const int *t, const float *const *in, const ldm_sample *which, double *y,
                            double *bound) {
    const ldm_product q = product(p);
    const int64_t c = q.c, k = depth(&q), columns = q.gated ? q.n / 2 : q.n;
    const ref_gemm_dims d = {.batch = q.m / q.per, .m = q.per, .n = q.n, .k = k, .wkn = q.kn, .geglu = q.gated,
                             .act = q.gated ? REF_NONE : (ref_act)q.act};
    const ref_strassen s = {t[TILE], q.gated ? t[WIDTH] : 2 * t[WIDTH]};
    float *both = q.c2 ? malloc((size_t)(q.m * k) * sizeof *both) : NULL;
    if (q.c2 && !both) abort(); /* as references do */
    for (int64_t r = 0; both && r < q.m; r++) {
        memcpy(both + r * k, in[q.x] + r * c, (size_t)c * sizeof *both);
        memcpy(both + r * k + c, in[q.x2] + r * q.c2, (size_t)q.c2 * sizeof *both);
    }
    ref_gemm_strassen(ldm_row_out(which, q.m * columns, p->dtype, y, bound), &d, &s, both ? both : in[q.x], in[q.w], in[q.bias],
                      in[q.vec], in[q.residual]);
    free(both);
}

/* Seven products of a quarter each for eight, of weights 7/4 the size. Sums of rows and columns stay in cache. */
ldm_cost ldm_strassen_cost(const ldm_problem *p, const int *t, const ldm_device *d) {
    const ldm_product q = product(p);
    ldm_cost c = p->op->cost(p);
    c.flops *= 7.0 / 8;
    c.bytes += 0.75 * (double)sizeof(float) * (double)q.n * (double)depth(&q);
    return c;
}
