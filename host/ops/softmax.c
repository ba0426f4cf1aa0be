/* softmax.c -- the op `softmax`: what it means, its cost, its cases, its rows. Kernels: kernels/softmax*.cl, reference:
 * reference/ref_softmax.c. */
#include "ops/row.h"

enum { ROWS, COLS };
enum { SLOT_X, SLOT_Y };

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    ldm_status st = ldm_row_check(p, 2);
    if (st) return st;
    slot[SLOT_X] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[ROWS], p->dim[COLS])};
    slot[SLOT_Y] = slot[SLOT_X];
    return LDM_OK;
}

static int64_t elements(const ldm_problem *p) { return p->dim[ROWS] * p->dim[COLS]; }

static ldm_cost cost(const ldm_problem *p) {
    return (ldm_cost){5 * (double)elements(p), 2 * (double)elements(p) * (double)ldm_dtype_size(p->dtype)};
}

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_softmax(ldm_row_out(which, elements(p), p->dtype, y, bound), p->dim[ROWS], p->dim[COLS], p->flt[0], in[SLOT_X]);
}

/* What a wrong softmax survives on random data: POSITIVE scores of +-90 (an exponential overflows), OFFSET all at -8
 * in even rows (a column too many takes over) and all equal in odd ones, SPIKY one column at +60, INTEGER the largest
 * power of two of columns equal, the others so low that they get nothing, exactly. */
static bool fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    const int64_t cols = p->dim[COLS];
    const float unit = (float)(1 / (p->flt[0] ? p->flt[0] : 1));
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = i / cols, col = i % cols;
        const float u = ldm_uniform(seed, 0, (uint64_t)i);
        int64_t half = 1;
        while (half * 2 <= cols) half *= 2;
        const bool chosen = col == (row % 3 ? (int64_t)(ldm_hash(seed, 5, (uint64_t)row) % (uint64_t)cols) : cols - 1);
        switch (how) {
        case LDM_FILL_POSITIVE:
            data[i] = (ldm_hash(seed, 6, (uint64_t)i) & 1 ? 90 : -90) * unit + u * unit;
            break;
        case LDM_FILL_OFFSET:
            data[i] = -8 * unit + (row & 1 ? 0 : u * unit);
            break;
        case LDM_FILL_SPIKY:
            data[i] = (chosen ? 100 : u) * unit;
            break;
        case LDM_FILL_INTEGER:
            data[i] = (col + row) % cols < half ? 0 : -1000 * unit;
            break;
        default:
            data[i] = 4 * u * unit;
            break;
        }
    }
    return true;
}

static const char *supports(const ldm_problem *p, const ldm_device *d) { return ldm_row_fits(elements(p)); }

static void launch(const ldm_problem *p, ldm_recipe *r, const char *file, const char *kernel, bool rows) {
    ldm_row_kernel(p, r, file, kernel);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_X);
    if (rows) ldm_rec_int(r, p->dim[ROWS]);
    ldm_rec_int(r, p->dim[COLS]);
    ldm_rec_float(r, p->flt[0]);
}

static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    launch(p, r, "softmax.cl", "softmax_plain", true);
    ldm_rec_range1(r, p->dim[ROWS], 16);
    return r->status;
}

static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    launch(p, r, "softmax_cpu.cl", "softmax_row", false);
    ldm_rec_range1(r, p->dim[ROWS], 1);
    return r->status;
}

static const char *gpu_supports(const ldm_problem *p, const ldm_device *d) {
    return ldm_row_group_supports(d, elements(p));
}

static ldm_status gpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    launch(p, r, "softmax_gpu.cl", "softmax_group", false);
    ldm_rec_define(r, "GROUP", params[0]);
    ldm_rec_range1(r, p->dim[ROWS] * params[0], params[0]);
    return r->status;
}

static const ldm_impl impls[] = {{.name = "softmax_gpu",
                                  .idea = "a row a work-group, trees in local memory",
                                  .family = LDM_GPU,
                                  .supports = gpu_supports,
                                  .tunables = ldm_row_group_tunables,
                                  .legal = ldm_row_group_legal,
                                  .record = gpu_record,
                                  .exact = true},
                                 {.name = "softmax_cpu",
                                  .idea = "a row a work-item, 16 columns a step",
                                  .family = LDM_CPU,
                                  .supports = supports,
                                  .record = cpu_record,
                                  .exact = true},
                                 {.name = "softmax_plain",
                                  .idea = "one work-item a row",
                                  .family = LDM_PLAIN,
                                  .supports = supports,
                                  .record = plain_record,
                                  .exact = true},
                                 {0}};

static const char *const cases[] = {"softmax:f32 rows=9 cols=77",
                                    "softmax:f32 rows=4 cols=1",
                                    "softmax:f32 rows=5 cols=16 scale=0.125",
                                    "softmax:f32 rows=3 cols=1000 scale=0.5",
                                    "softmax:f32 rows=17 cols=15",
                                    "softmax:f16 rows=6 cols=256",
                                    "softmax:f16 rows=5 cols=77 scale=0.125",
                                    NULL};

static const char *const exact_cases[] = {"softmax:f32 rows=9 cols=77", "softmax:f32 rows=3 cols=64 scale=0.125",
                                          "softmax:f16 rows=7 cols=33", NULL};

const ldm_op ldm_op_softmax = {
    .name = "softmax",
    .summary = "softmax of each row of scale x",
    .dims = "rows cols",
    .floats = "scale=1",
    .slots = "x y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .fill = fill,
    .impls = impls,
    .cases = cases,
    .exact_cases = exact_cases,
};
