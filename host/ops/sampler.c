/* sampler.c -- what a sampling loop needs beside sums: guidance (classifier-free, one batch of two), rescale (of its
 * result), blend (by a mask) and advance (the step counter): rows for any device. */
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

/* ---- rescale ------------------------------------------------------------------------------------------------------ */

enum { N, EACH };

static ldm_status rescale_infer(const ldm_problem *p, ldm_slot *s) {
    ldm_status st = ldm_row_check(p, 2);
    if (st) return st;
    if (p->dim[EACH] < 2) return ldm_fail(LDM_ERR_ARG, "rescale: samples of one element have no deviation; wanted 2 or more");
    s[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(3, (int64_t)2, p->dim[N], p->dim[EACH])};
    s[1] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[N], p->dim[EACH])};
    s[2] = (ldm_slot){true, false, LDM_F32, flat(1)};
    s[3] = s[1];
    return LDM_OK;
}

static ldm_cost rescale_cost(const ldm_problem *p) {
    double count = (double)p->dim[N] * (double)p->dim[EACH];
    return (ldm_cost){9 * count, 3 * count * (double)ldm_dtype_size(p->dtype)};
}

static void rescale_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_rescale(ldm_row_out(which, p->dim[N] * p->dim[EACH], p->dtype, y, bound), p->dim[N], p->dim[EACH], in[2][0], in[0], in[1]);
}

static const char *rescale_supports(const ldm_problem *p, const ldm_device *d) { return (void)d, ldm_row_fits(2 * p->dim[N] * p->dim[EACH]); }

static ldm_status rescale_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    const int group = d->max_group < 64 ? 1 : 64;
    (void)params;
    ldm_row_kernel(p, r, "sampler.cl", "rescale");
    ldm_rec_define(r, "GROUP", group);
    ldm_rec_slot(r, 3), ldm_rec_slot(r, 0), ldm_rec_slot(r, 1), ldm_rec_slot(r, 2);
    ldm_rec_int(r, p->dim[N]), ldm_rec_int(r, p->dim[EACH]);
    ldm_rec_range1(r, p->dim[N] * group, group);
    return r->status;
}

static const ldm_impl rescale_impls[] = {
    {.name = "rescale_plain", .idea = "a work-group a sample", .family = LDM_PLAIN, .supports = rescale_supports, .record = rescale_record}, {0}};
static const char *const rescale_cases[] = {"rescale:f32 n=1 count=2", "rescale:f32 n=3 count=1027", "rescale:f32 n=2 count=64", "rescale:f32 n=67 count=4099", "rescale:f16 n=2 count=333", NULL};

const ldm_op ldm_op_rescale = {
    .name = "rescale", .summary = "a guided prediction drawn towards the deviation of the conditional one", .dims = "n count",
    .slots = "e y0 phi y", .infer = rescale_infer, .cost = rescale_cost, .reference = rescale_reference, .impls = rescale_impls,
    .cases = rescale_cases};

/* ---- blend -------------------------------------------------------------------------------------------------------- */

enum { ROWS, C };
enum { SLOT_COEF, SLOT_MASK, SLOT_KNOWN, SLOT_NOISE, SLOT_X, SLOT_BLENDED };

static ldm_status blend_infer(const ldm_problem *p, ldm_slot *s) {
    ldm_status st = ldm_row_check(p, 2);
    if (st) return st;
    s[SLOT_COEF] = (ldm_slot){true, false, LDM_F32, flat(8)};
    s[SLOT_MASK] = (ldm_slot){true, false, LDM_F32, flat(p->dim[ROWS])};
    for (int i = SLOT_KNOWN; i <= SLOT_BLENDED; i++) s[i] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[ROWS], p->dim[C])};
    return LDM_OK;
}

static ldm_cost blend_cost(const ldm_problem *p) {
    double count = (double)p->dim[ROWS] * (double)p->dim[C];
    return (ldm_cost){6 * count, 4 * count * (double)ldm_dtype_size(p->dtype) + 4 * (double)p->dim[ROWS]};
}

static void blend_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_blend(ldm_row_out(which, p->dim[ROWS] * p->dim[C], p->dtype, y, bound), p->dim[ROWS], p->dim[C], in[SLOT_COEF],
              in[SLOT_MASK], in[SLOT_KNOWN], in[SLOT_NOISE], in[SLOT_X]);
}

static const char *blend_supports(const ldm_problem *p, const ldm_device *d) { return (void)d, ldm_row_fits(p->dim[ROWS] * p->dim[C]); }

static ldm_status blend_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    (void)params;
    ldm_row_kernel(p, r, "sampler.cl", "blend");
    ldm_rec_slot(r, SLOT_BLENDED);
    for (int i = SLOT_COEF; i < SLOT_BLENDED; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, p->dim[ROWS] * p->dim[C]), ldm_rec_int(r, p->dim[C]);
    ldm_rec_range1(r, p->dim[ROWS] * p->dim[C], d->max_group < 64 ? 1 : 64);
    return r->status;
}

static const ldm_impl blend_impls[] = {
    {.name = "blend_plain", .idea = "one work-item an element", .family = LDM_PLAIN, .supports = blend_supports, .record = blend_record, .exact = true}, {0}};
static const char *const blend_cases[] = {"blend:f32 rows=1 c=1", "blend:f32 rows=1027 c=4", "blend:f32 rows=50 c=3", "blend:f16 rows=77 c=5", NULL};
static const char *const blend_exact[] = {"blend:f32 rows=50 c=3", NULL};

const ldm_op ldm_op_blend = {
    .name = "blend", .summary = "what a mask keeps, with noise, and x elsewhere", .dims = "rows c", .slots = "coef mask known noise x y",
    .infer = blend_infer, .cost = blend_cost, .reference = blend_reference, .impls = blend_impls, .cases = blend_cases,
    .exact_cases = blend_exact};
