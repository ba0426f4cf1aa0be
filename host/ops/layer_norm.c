/* layer_norm.c -- the op `layer_norm`: what it means, its cost, its cases, its rows. Kernels: kernels/layer_norm*.cl,
 * reference: reference/ref_layer_norm.c. */
#include "ops/row.h"

enum { ROWS, C };
enum { SLOT_X, SLOT_GAMMA, SLOT_BETA, SLOT_Y };

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    ldm_status st = ldm_row_check(p, 2);
    if (st) return st;
    if (!(p->flt[0] > 0)) return ldm_fail(LDM_ERR_ARG, "layer_norm: eps is %g, wanted more than 0", p->flt[0]);
    slot[SLOT_X] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, d[ROWS], d[C])};
    slot[SLOT_GAMMA] = (ldm_slot){true, true, LDM_F32, ldm_shape_of(1, d[C])};
    slot[SLOT_BETA] = (ldm_slot){true, true, LDM_F32, ldm_shape_of(1, d[C])};
    slot[SLOT_Y] = slot[SLOT_X];
    return LDM_OK;
}

static int64_t elements(const ldm_problem *p) { return p->dim[ROWS] * p->dim[C]; }

static ldm_cost cost(const ldm_problem *p) {
    return (ldm_cost){7 * (double)elements(p), 2 * (double)elements(p) * (double)ldm_dtype_size(p->dtype)};
}

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_layer_norm(ldm_row_out(which, elements(p), p->dtype, y, bound), p->dim[ROWS], p->dim[C], p->flt[0], in[SLOT_X],
                   in[SLOT_GAMMA], in[SLOT_BETA]);
}

/* OFFSET: rows at |mean| / sigma of 1000, 30 and 1 in turn, so that a variance taken in one pass shows. */
static bool fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    static const float at[] = {1000, -30, 1};
    if (how == LDM_FILL_INTEGER) return false;
    for (int64_t i = 0; i < count; i++) {
        float u = ldm_uniform(seed, (uint64_t)slot, (uint64_t)i);
        if (slot == SLOT_GAMMA) u = 1 + u / 2;
        if (slot == SLOT_X && how == LDM_FILL_OFFSET) u += at[i / p->dim[C] % 3] * 0.57735027f;
        if (slot == SLOT_X && how == LDM_FILL_POSITIVE) u = (u + 1) / 2;
        if (slot == SLOT_X && how == LDM_FILL_SPIKY && ldm_hash(seed, 77, (uint64_t)i) % 61 == 0) u *= 1e4f;
        data[i] = u;
    }
    return true;
}

static const char *supports(const ldm_problem *p, const ldm_device *d) { return ldm_row_fits(elements(p)); }

static void launch(const ldm_problem *p, ldm_recipe *r, const char *file, const char *kernel, bool rows) {
    ldm_row_kernel(p, r, file, kernel);
    ldm_rec_slot(r, SLOT_Y);
    for (int i = SLOT_X; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    if (rows) ldm_rec_int(r, p->dim[ROWS]);
    ldm_rec_int(r, p->dim[C]);
    ldm_rec_float(r, p->flt[0]);
}

static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    launch(p, r, "layer_norm.cl", "layer_norm_plain", true);
    ldm_rec_range1(r, p->dim[ROWS], 16);
    return r->status;
}

static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    launch(p, r, "layer_norm_cpu.cl", "layer_norm_row", false);
    ldm_rec_range1(r, p->dim[ROWS], 1);
    return r->status;
}

static const char *gpu_supports(const ldm_problem *p, const ldm_device *d) {
    return ldm_row_group_supports(d, elements(p));
}

static ldm_status gpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    launch(p, r, "layer_norm_gpu.cl", "layer_norm_group", false);
    ldm_rec_define(r, "GROUP", params[0]);
    ldm_rec_range1(r, p->dim[ROWS] * params[0], params[0]);
    return r->status;
}

static const ldm_impl impls[] = {{.name = "layer_norm_gpu",
                                  .idea = "a row a work-group, two passes, trees in local memory",
                                  .family = LDM_GPU,
                                  .supports = gpu_supports,
                                  .tunables = ldm_row_group_tunables,
                                  .legal = ldm_row_group_legal,
                                  .record = gpu_record},
                                 {.name = "layer_norm_cpu",
                                  .idea = "a row a work-item, 64 elements a step in registers",
                                  .family = LDM_CPU,
                                  .supports = supports,
                                  .record = cpu_record},
                                 {.name = "layer_norm_plain",
                                  .idea = "one work-item a row",
                                  .family = LDM_PLAIN,
                                  .supports = supports,
                                  .record = plain_record},
                                 {0}};

static const char *const cases[] = {
    "layer_norm:f32 rows=9 c=320",  "layer_norm:f32 rows=5 c=77 eps=1e-2", "layer_norm:f32 rows=3 c=1",
    "layer_norm:f32 rows=4 c=5",    "layer_norm:f32 rows=2 c=1280",        "layer_norm:f32 rows=7 c=63",
    "layer_norm:f16 rows=17 c=320", "layer_norm:f16 rows=3 c=95",          NULL};

const ldm_op ldm_op_layer_norm = {
    .name = "layer_norm",
    .summary = "normalise each row, then scale and shift",
    .dims = "rows c",
    .floats = "eps=1e-5",
    .slots = "x gamma beta y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .fill = fill,
    .impls = impls,
    .cases = cases,
};
