/* window.c -- a large map worked on in overlapping windows: window cuts one out, place blends it into the whole. The
 * weights are those of latent-diffusion's `split_input_params` (ldm/models/diffusion/ddpm.py, get_weighting): the
 * distance from the window's border, at least 0.01. Windows begin at multiples of the stride, the last flush with the
 * far border, so that every pixel is in one. Kernels: kernels/window.cl; references: reference/ref_window.c. */
#include "ops/row.h"

enum { N, H, W, C, KH, KW, Y0, X0, STRIDE };

static int64_t whole(const ldm_problem *p) { return p->dim[N] * p->dim[H] * p->dim[W] * p->dim[C]; }
static int64_t part(const ldm_problem *p) { return p->dim[N] * p->dim[KH] * p->dim[KW] * p->dim[C]; }

static ldm_status check(const ldm_problem *p) {
    const int64_t *d = p->dim;
    ldm_status st = ldm_row_check(p, 6);
    if (st) return st;
    if (d[Y0] < 0 || d[X0] < 0 || d[Y0] > d[H] - d[KH] || d[X0] > d[W] - d[KW])
        return ldm_fail(LDM_ERR_ARG, "%s: a window of %lld x %lld at (%lld, %lld) is not inside %lld x %lld",
                        p->op->name, (long long)d[KW], (long long)d[KH], (long long)d[X0], (long long)d[Y0],
                        (long long)d[W], (long long)d[H]);
    return LDM_OK;
}

static const char *supports(const ldm_problem *p, const ldm_device *d) { return (void)d, ldm_row_fits(whole(p)); }

static ldm_cost moved(const ldm_problem *p, int64_t elements, double flops) {
    return (ldm_cost){flops, (double)elements * (double)ldm_dtype_size(p->dtype)};
}

/* A work-item a pixel of the output. */
static ldm_status record(const ldm_problem *p, const ldm_device *d, ldm_recipe *r, int inputs, int dims,
                         int64_t pixels) {
    ldm_row_kernel(p, r, "window.cl", p->op->name);
    ldm_rec_slot(r, inputs);
    for (int i = 0; i < inputs; i++) ldm_rec_slot(r, i);
    for (int i = 0; i < dims; i++) ldm_rec_int(r, p->dim[i]);
    ldm_rec_range1(r, pixels, d->max_group < 64 ? 1 : 64);
    return r->status;
}

/* ---- window ------------------------------------------------------------------------------------------------------ */

static ldm_status window_infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    slot[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[H], d[W], d[C])};
    slot[1] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[KH], d[KW], d[C])};
    return check(p);
}
static ldm_cost window_cost(const ldm_problem *p) { return moved(p, 2 * part(p), 0); }
static void window_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                             double *bound) {
    const int64_t *d = p->dim;
    ref_window(ldm_row_out(which, part(p), p->dtype, y, bound), d[N], d[H], d[W], d[C], d[KH], d[KW], d[Y0], d[X0],
               in[0]);
}
static ldm_status window_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return (void)params, record(p, d, r, 1, 8, p->dim[N] * p->dim[KH] * p->dim[KW]);
}
static const ldm_impl window_impls[] = {{.name = "window_plain",
                                         .idea = "one work-item a pixel",
                                         .family = LDM_PLAIN,
                                         .supports = supports,
                                         .record = window_record,
                                         .exact = true},
                                        {0}};
static const char *const window_cases[] = {
    "window:f32 n=2 h=9 w=7 c=3 kh=4 kw=5 y0=3 x0=2", "window:f32 n=1 h=4 w=6 c=4 kh=4 kw=6",
    "window:f16 n=3 h=5 w=8 c=7 kh=2 kw=3 y0=3 x0=5", "window:f32 n=1 h=33 w=40 c=1 kh=17 kw=17 y0=16 x0=23", NULL};
const ldm_op ldm_op_window = {
    .name = "window",
    .summary = "a window of a map",
    .dims = "n h w c kh kw y0=0 x0=0",
    .slots = "x y",
    .infer = window_infer,
    .cost = window_cost,
    .reference = window_reference,
    .impls = window_impls,
    .cases = window_cases,
    .exact_cases = window_cases,
};

/* ---- place ------------------------------------------------------------------------------------------------------- */

enum { ONTO };

static bool is_start(int64_t at, int64_t size, int64_t k, int64_t stride) { return at % stride == 0 || at == size - k; }

static ldm_status place_infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    ldm_shape map = ldm_shape_of(4, d[N], d[H], d[W], d[C]);
    slot[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[KH], d[KW], d[C])};
    slot[1] = (ldm_slot){p->flags >> ONTO & 1, false, p->dtype, map};
    slot[2] = (ldm_slot){true, false, p->dtype, map};
    ldm_status st = check(p);
    if (st) return st;
    if (d[KH] < 2 || d[KW] < 2 || d[STRIDE] < 1 || d[STRIDE] > d[KH] || d[STRIDE] > d[KW])
        return ldm_fail(
            LDM_ERR_ARG,
            "place: windows of %lld x %lld at a stride of %lld, wanted at least 2 x 2 and a stride of 1 to their size",
            (long long)d[KW], (long long)d[KH], (long long)d[STRIDE]);
    if (!is_start(d[Y0], d[H], d[KH], d[STRIDE]) || !is_start(d[X0], d[W], d[KW], d[STRIDE]))
        return ldm_fail(LDM_ERR_ARG, "place: no window begins at (%lld, %lld)", (long long)d[X0], (long long)d[Y0]);
    return LDM_OK;
}
static ldm_cost place_cost(const ldm_problem *p) {
    return moved(p, part(p) + (p->flags >> ONTO & 1 ? 2 : 1) * whole(p), 2 * (double)part(p));
}
static void place_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                            double *bound) {
    const int64_t *d = p->dim;
    ref_place(ldm_row_out(which, whole(p), p->dtype, y, bound), d[N], d[H], d[W], d[C], d[KH], d[KW], d[Y0], d[X0],
              d[STRIDE], in[0], in[1]);
}
static ldm_status place_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    (void)params;
    ldm_row_kernel(p, r, "window.cl", "place");
    ldm_rec_slot(r, 2), ldm_rec_slot(r, 0), ldm_rec_slot(r, 1);
    for (int i = 0; i <= STRIDE; i++) ldm_rec_int(r, p->dim[i]);
    ldm_rec_range1(r, p->dim[N] * p->dim[H] * p->dim[W], d->max_group < 64 ? 1 : 64);
    return r->status;
}
static const ldm_impl place_impls[] = {{.name = "place_plain",
                                        .idea = "one work-item a pixel",
                                        .family = LDM_PLAIN,
                                        .supports = supports,
                                        .record = place_record},
                                       {0}};
static const char *const place_cases[] = {"place:f32 n=2 h=9 w=13 c=3 kh=4 kw=6 y0=5 x0=4 stride=2 +onto",
                                          "place:f32 n=1 h=8 w=8 c=4 kh=8 kw=8 stride=4",
                                          "place:f32 n=1 h=21 w=17 c=2 kh=8 kw=8 y0=13 x0=9 stride=4 +onto",
                                          "place:f16 n=2 h=12 w=10 c=5 kh=6 kw=4 y0=3 x0=6 stride=3 +onto",
                                          "place:f16 n=1 h=300 w=3 c=1 kh=128 kw=2 y0=64 stride=2",
                                          NULL};
const ldm_op ldm_op_place = {
    .name = "place",
    .summary = "a window's share of a map of overlapping windows, added",
    .dims = "n h w c kh kw y0=0 x0=0 stride",
    .flags = "onto",
    .slots = "x onto y",
    .infer = place_infer,
    .cost = place_cost,
    .reference = place_reference,
    .impls = place_impls,
    .cases = place_cases,
};
