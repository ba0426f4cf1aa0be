/* sampler.c -- guidance (classifier-free, one batch of two) and advance (the step counter): rows for any device. */
#include "ops/row.h"

enum { COUNT };

static ldm_shape flat(int64_t n) { return ldm_shape_of(1, n); }

static ldm_status guidance_infer(const ldm_problem *p, ldm_slot *s) {
    ldm_status st = ldm_row_check(p, 1);
    if (st) return st;
    s[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, (int64_t)2, p->dim[COUNT])};
    s[1] = (ldm_slot){true, false, LDM_F32, flat(1)};
    s[2] = (ldm_slot){true, false, p->dtype, flat(p->dim[COUNT])};
    return LDM_OK;
}

static ldm_cost guidance_cost(const ldm_problem *p) {
    return (ldm_cost){3.0 * (double)p->dim[COUNT], 3.0 * (double)p->dim[COUNT] * (double)ldm_dtype_size(p->dtype)};
}

static void guidance_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_guidance(ldm_row_out(which, p->dim[COUNT], p->dtype, y, bound), p->dim[COUNT], in[1][0], in[0]);
}

static const char *guidance_supports(const ldm_problem *p, const ldm_device *d) { return (void)d, ldm_row_fits(2 * p->dim[COUNT]); }

static ldm_status guidance_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    (void)params;
    ldm_row_kernel(p, r, "sampler.cl", "guidance");
    ldm_rec_slot(r, 2), ldm_rec_slot(r, 0), ldm_rec_slot(r, 1);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_range1(r, p->dim[COUNT], d->max_group < 64 ? 1 : 64);
    return r->status;
}

static const ldm_impl guidance_impls[] = {
    {.name = "guidance_plain", .idea = "one work-item an element", .family = LDM_PLAIN, .supports = guidance_supports, .record = guidance_record, .exact = true}, {0}};
static const char *const guidance_cases[] = {"guidance:f32 count=1", "guidance:f32 count=4099", "guidance:f16 count=777", NULL};

const ldm_op ldm_op_guidance = {
    .name = "guidance", .summary = "classifier-free guidance from a batch of two", .dims = "count", .slots = "e scale y",
    .infer = guidance_infer, .cost = guidance_cost, .reference = guidance_reference, .impls = guidance_impls,
    .cases = guidance_cases, .exact_cases = guidance_cases};

static ldm_status advance_infer(const ldm_problem *p, ldm_slot *s) {
    ldm_status st = ldm_row_check(p, 1);
    if (st) return st;
    s[0] = s[1] = (ldm_slot){true, false, LDM_I32, flat(p->dim[COUNT])};
    return LDM_OK;
}

static ldm_cost advance_cost(const ldm_problem *p) { return (ldm_cost){0, 8.0 * (double)p->dim[COUNT]}; }

static void advance_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_advance(ldm_row_out(which, p->dim[COUNT], LDM_I32, y, bound), p->dim[COUNT], in[0]);
}

static bool advance_fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    (void)p, (void)slot, (void)how;
    for (int64_t i = 0; i < count; i++) data[i] = (float)(ldm_hash(seed, 5, (uint64_t)i) % 1000);
    return true;
}

static ldm_status advance_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    (void)params;
    ldm_rec_kernel(r, "sampler.cl", "advance");
    ldm_rec_slot(r, 1), ldm_rec_slot(r, 0);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_range1(r, p->dim[COUNT], d->max_group < 16 ? 1 : 16);
    return r->status;
}

static const ldm_impl advance_impls[] = {
    {.name = "advance_plain", .idea = "one work-item an element", .family = LDM_PLAIN, .supports = guidance_supports, .record = advance_record, .exact = true}, {0}};
static const char *const advance_cases[] = {"advance:f32 count=1", "advance:f32 count=77", NULL};

const ldm_op ldm_op_advance = {
    .name = "advance", .summary = "count one further: the step counter of a sampling loop", .dims = "count", .slots = "i y",
    .infer = advance_infer, .cost = advance_cost, .reference = advance_reference, .fill = advance_fill, .impls = advance_impls,
    .cases = advance_cases, .exact_cases = advance_cases};
