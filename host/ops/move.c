/* move.c -- the ops that move elements: concat, upsample, avg_pool, embedding: what they mean, what they cost, their
 * cases and rows. Kernels: kernels/move.cl; references: reference/ref_move.c. Both rows of an op are one kernel with a
 * different WIDTH and SPAN. */
#include "ops/row.h"

static const ldm_tunable cpu_width[] = {
    {"WIDTH", "channels of a step", {16, 8}}, {"SPAN", "channels of a work-item", {64, 256}}, {0}};
static const ldm_tunable plain_width[] = {
    {"WIDTH", "channels of a step", {4}}, {"SPAN", "channels of a work-item", {4}}, {0}};

#define ROWS(op)                                                                                                       \
    static const char *op##_supports(const ldm_problem *p, const ldm_device *d) { return ldm_row_fits(op##_most(p)); } \
    static const ldm_impl op##_impls[] = {{.name = #op "_cpu",                                                         \
                                           .idea = "64 channels a work-item, 16 a step",                              \
                                           .family = LDM_CPU,                                                          \
                                           .supports = op##_supports,                                                  \
                                           .tunables = cpu_width,                                                      \
                                           .record = op##_record,                                                      \
                                           .exact = true},                                                             \
                                          {.name = #op "_plain",                                                       \
                                           .idea = "4 channels a work-item",                                           \
                                           .family = LDM_PLAIN,                                                        \
                                           .supports = op##_supports,                                                  \
                                           .tunables = plain_width,                                                    \
                                           .record = op##_record,                                                      \
                                           .exact = true},                                                             \
                                          {0}}

/* Kernel, output, inputs, the first `dims` dims, and a range of `rows` of c channels. */
static ldm_status record(const ldm_problem *p, const int *params, ldm_recipe *r, const char *kernel, int inputs,
                         int dims, int64_t rows, int64_t c) {
    ldm_row_kernel(p, r, "move.cl", kernel);
    ldm_rec_define(r, "WIDTH", params[0]);
    ldm_rec_define(r, "SPAN", params[1]);
    ldm_rec_slot(r, inputs);
    for (int i = 0; i < inputs; i++) ldm_rec_slot(r, i);
    for (int i = 0; i < dims; i++) ldm_rec_int(r, p->dim[i]);
    ldm_rec_range1(r, rows * ldm_ceil_div(c, params[1]), 16);
    return r->status;
}

static double bytes(const ldm_problem *p, int64_t elements) {
    return (double)elements * (double)ldm_dtype_size(p->dtype);
}

/* ---- concat ------------------------------------------------------------------------------------------------------ */

enum { ROWS_, CA, CB };

static int64_t concat_most(const ldm_problem *p) { return p->dim[ROWS_] * (p->dim[CA] + p->dim[CB]); }
static ldm_status concat_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[ROWS_], p->dim[CA])};
    slot[1] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[ROWS_], p->dim[CB])};
    slot[2] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[ROWS_], p->dim[CA] + p->dim[CB])};
    return ldm_row_check(p, 3);
}
static ldm_cost concat_cost(const ldm_problem *p) { return (ldm_cost){0, bytes(p, 2 * concat_most(p))}; }
static void concat_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                             double *bound) {
    ref_concat(ldm_row_out(which, concat_most(p), p->dtype, y, bound), p->dim[ROWS_], p->dim[CA], p->dim[CB], in[0],
               in[1]);
}
static ldm_status concat_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return record(p, params, r, "concat", 2, 3, p->dim[ROWS_], p->dim[CA] + p->dim[CB]);
}
ROWS(concat);
static const char *const concat_cases[] = {"concat:f32 rows=33 ca=64 cb=32",
                                           "concat:f32 rows=5 ca=3 cb=4",
                                           "concat:f32 rows=2 ca=21 cb=19",
                                           "concat:f32 rows=7 ca=16 cb=16",
                                           "concat:f16 rows=9 ca=320 cb=4",
                                           "concat:f16 rows=3 ca=1 cb=40",
                                           NULL};
const ldm_op ldm_op_concat = {
    .name = "concat",
    .summary = "channels of a, then of b",
    .dims = "rows ca cb",
    .slots = "a b y",
    .infer = concat_infer,
    .cost = concat_cost,
    .reference = concat_reference,
    .impls = concat_impls,
    .cases = concat_cases,
    .exact_cases = concat_cases,
};

/* ---- upsample, avg_pool ------------------------------------------------------------------------------------------ */

enum { N, H, W, C };

static int64_t map(const ldm_problem *p) { return p->dim[N] * p->dim[H] * p->dim[W] * p->dim[C]; }

static int64_t upsample_most(const ldm_problem *p) { return 4 * map(p); }
static ldm_status upsample_infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    slot[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[H], d[W], d[C])};
    slot[1] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], 2 * d[H], 2 * d[W], d[C])};
    return ldm_row_check(p, 4);
}
static ldm_cost upsample_cost(const ldm_problem *p) { return (ldm_cost){0, bytes(p, 5 * map(p))}; }
static void upsample_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                               double *bound) {
    ref_upsample(ldm_row_out(which, 4 * map(p), p->dtype, y, bound), p->dim[N], p->dim[H], p->dim[W], p->dim[C], in[0]);
}
static ldm_status upsample_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return record(p, params, r, "upsample_nearest", 1, 4, 4 * p->dim[N] * p->dim[H] * p->dim[W], p->dim[C]);
}
ROWS(upsample);
static const char *const upsample_cases[] = {"upsample:f32 n=2 h=4 w=3 c=32", "upsample:f32 n=1 h=5 w=5 c=19",
                                             "upsample:f32 n=1 h=1 w=1 c=1",  "upsample:f16 n=1 h=3 w=6 c=64",
                                             "upsample:f16 n=2 h=2 w=3 c=7",  NULL};
const ldm_op ldm_op_upsample = {
    .name = "upsample",
    .summary = "twice the height and width, nearest neighbour",
    .dims = "n h w c",
    .slots = "x y",
    .infer = upsample_infer,
    .cost = upsample_cost,
    .reference = upsample_reference,
    .impls = upsample_impls,
    .cases = upsample_cases,
    .exact_cases = upsample_cases,
};

static int64_t avg_pool_most(const ldm_problem *p) { return map(p); }
static int64_t pixels(const ldm_problem *p) { return p->dim[N] * (p->dim[H] / 2) * (p->dim[W] / 2); }
static ldm_status avg_pool_infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    ldm_status st = ldm_row_check(p, 4);
    if (st) return st;
    if (d[H] < 2 || d[W] < 2)
        return ldm_fail(LDM_ERR_ARG, "avg_pool: the map is %lld x %lld, wanted at least 2 x 2", (long long)d[H],
                        (long long)d[W]);
    slot[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[H], d[W], d[C])};
    slot[1] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[H] / 2, d[W] / 2, d[C])};
    return LDM_OK;
}
static ldm_cost avg_pool_cost(const ldm_problem *p) {
    return (ldm_cost){4 * (double)(pixels(p) * p->dim[C]), bytes(p, 5 * pixels(p) * p->dim[C])};
}
static void avg_pool_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                               double *bound) {
    ref_avg_pool(ldm_row_out(which, pixels(p) * p->dim[C], p->dtype, y, bound), p->dim[N], p->dim[H], p->dim[W],
                 p->dim[C], in[0]);
}
static ldm_status avg_pool_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return record(p, params, r, "avg_pool", 1, 4, pixels(p), p->dim[C]);
}
ROWS(avg_pool);
static const char *const avg_pool_cases[] = {"avg_pool:f32 n=2 h=4 w=6 c=32",
                                             "avg_pool:f32 n=1 h=5 w=7 c=19",
                                             "avg_pool:f32 n=1 h=2 w=2 c=1",
                                             "avg_pool:f16 n=1 h=6 w=4 c=64",
                                             "avg_pool:f16 n=1 h=3 w=4 c=5",
                                             "avg_pool:f32 n=1 h=12 w=12 c=40",
                                             NULL};
static const char *const avg_pool_exact[] = {"avg_pool:f32 n=2 h=4 w=6 c=19", "avg_pool:f16 n=1 h=5 w=4 c=32", NULL};
const ldm_op ldm_op_avg_pool = {
    .name = "avg_pool",
    .summary = "mean of 2 x 2 pixels",
    .dims = "n h w c",
    .slots = "x y",
    .infer = avg_pool_infer,
    .cost = avg_pool_cost,
    .reference = avg_pool_reference,
    .impls = avg_pool_impls,
    .cases = avg_pool_cases,
    .exact_cases = avg_pool_exact,
};

/* ---- embedding --------------------------------------------------------------------------------------------------- */

enum { EMB_ROWS, ENTRIES, WIDTH };

static int64_t embedding_most(const ldm_problem *p) {
    return (p->dim[EMB_ROWS] > p->dim[ENTRIES] ? p->dim[EMB_ROWS] : p->dim[ENTRIES]) * p->dim[WIDTH];
}
static ldm_status embedding_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = (ldm_slot){true, false, LDM_I32, ldm_shape_of(1, p->dim[EMB_ROWS])};
    slot[1] = (ldm_slot){true, true, p->wdtype, ldm_shape_of(2, p->dim[ENTRIES], p->dim[WIDTH])};
    slot[2] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[EMB_ROWS], p->dim[WIDTH])};
    if (p->wdtype != LDM_F32 && p->wdtype != LDM_F16)
        return ldm_fail(LDM_ERR_ARG, "embedding: the table is %s, wanted f32 or f16", ldm_dtype_name(p->wdtype));
    return ldm_row_check(p, 3);
}
static ldm_cost embedding_cost(const ldm_problem *p) {
    return (ldm_cost){0, bytes(p, 2 * p->dim[EMB_ROWS] * p->dim[WIDTH])};
}
static void embedding_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                                double *bound) {
    ref_embedding(ldm_row_out(which, p->dim[EMB_ROWS] * p->dim[WIDTH], p->dtype, y, bound), p->dim[EMB_ROWS],
                  p->dim[ENTRIES], p->dim[WIDTH], in[0], in[1]);
}
/* Ids of the table, the first and the last among them. */
static bool embedding_fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    if (slot != 0) return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t id = (int64_t)(ldm_hash(seed, 0, (uint64_t)i) % (uint64_t)p->dim[ENTRIES]);
        data[i] = (float)(i == 0 ? 0 : i == 1 ? p->dim[ENTRIES] - 1 : id);
    }
    return true;
}
static ldm_status embedding_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return record(p, params, r, "embedding", 2, 3, p->dim[EMB_ROWS], p->dim[WIDTH]);
}
ROWS(embedding);
static const char *const embedding_cases[] = {
    "embedding:f32 rows=9 entries=1001 c=64", "embedding:f32 rows=3 entries=5 c=37",
    "embedding:f16 rows=5 entries=20 c=48",   "embedding:f32*f16 rows=4 entries=7 c=20",
    "embedding:f32 rows=37 entries=50 c=40",  NULL};
const ldm_op ldm_op_embedding = {
    .name = "embedding",
    .summary = "rows of a table",
    .dims = "rows entries c",
    .slots = "ids table y",
    .infer = embedding_infer,
    .cost = embedding_cost,
    .reference = embedding_reference,
    .fill = embedding_fill,
    .impls = embedding_impls,
    .cases = embedding_cases,
    .exact_cases = embedding_cases,
};
