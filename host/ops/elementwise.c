/* elementwise.c -- the ops on single elements: activation, geglu, add, lincomb, cast, image_to_float, float_to_image:
 * what they mean, what they cost, their cases and rows. Kernels: kernels/elementwise.cl; references: ref_activation.c,
 * ref_sampler.c, ref_move.c. Both rows of an op are one kernel with a different WIDTH. */
#include "ops/row.h"

enum { COUNT }; /* dim 0 of all but geglu */

static int64_t bytes(const ldm_problem *p) { return (int64_t)ldm_dtype_size(p->dtype); }
static ldm_slot array(ldm_dtype t, int64_t count) { return (ldm_slot){true, false, t, ldm_shape_of(1, count)}; }
static const char *supports(const ldm_problem *p, const ldm_device *d) { return ldm_row_fits(p->dim[COUNT]); }

static const ldm_tunable cpu_width[] = {{"WIDTH", "elements of a work-item", {16, 8}}, {0}};
static const ldm_tunable plain_width[] = {{"WIDTH", "elements of a work-item", {4}}, {0}};

#define ROWS(op, fits)                                                                                                 \
    static const ldm_impl op##_impls[] = {{.name = #op "_cpu",                                                         \
                                           .idea = "16 elements a work-item",                                          \
                                           .family = LDM_CPU,                                                          \
                                           .supports = fits,                                                           \
                                           .tunables = cpu_width,                                                      \
                                           .record = op##_record,                                                      \
                                           .exact = true},                                                             \
                                          {.name = #op "_plain",                                                       \
                                           .idea = "4 elements a work-item",                                           \
                                           .family = LDM_PLAIN,                                                        \
                                           .supports = fits,                                                           \
                                           .tunables = plain_width,                                                    \
                                           .record = op##_record,                                                      \
                                           .exact = true},                                                             \
                                          {0}}

static void begin(const ldm_problem *p, const int *params, ldm_recipe *r, const char *kernel) {
    ldm_row_kernel(p, r, "elementwise.cl", kernel);
    ldm_rec_define(r, "WIDTH", params[0]);
}
static ldm_status range(ldm_recipe *r, int64_t chunks) {
    ldm_rec_range1(r, chunks, 64);
    return r->status;
}

/* ---- activation -------------------------------------------------------------------------------------------------- */

enum { FN = 1 };

static ldm_status activation_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = slot[1] = array(p->dtype, p->dim[COUNT]);
    return ldm_row_check(p, 1);
}
static ldm_cost activation_cost(const ldm_problem *p) {
    return (ldm_cost){10 * (double)p->dim[COUNT], 2 * (double)(p->dim[COUNT] * bytes(p))};
}
static void activation_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                                 double *bound) {
    static const ref_fn fn[] = {REF_FN_RELU, REF_FN_SILU, REF_FN_GELU, REF_FN_QUICK_GELU, REF_FN_TANH3,
                                REF_FN_CLAMP01, REF_FN_CLAMP11};
    ref_activation(ldm_row_out(which, p->dim[COUNT], p->dtype, y, bound), p->dim[COUNT], fn[p->dim[FN]], in[0]);
}
/* ZEROMEAN reaches where the functions bend; the rest is as everywhere. */
static bool activation_fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    for (int64_t i = 0; how == LDM_FILL_ZEROMEAN && i < count; i++) data[i] = 6 * ldm_uniform(seed, 0, (uint64_t)i);
    return how == LDM_FILL_ZEROMEAN;
}
static ldm_status activation_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, "activation");
    ldm_rec_slot(r, 1);
    ldm_rec_slot(r, 0);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_int(r, p->dim[FN]);
    return range(r, ldm_ceil_div(p->dim[COUNT], params[0]));
}
ROWS(activation, supports);
static const char *const activation_cases[] = {"activation:f32 count=4099 fn=relu",
                                               "activation:f32 count=4099 fn=silu",
                                               "activation:f32 count=4099 fn=gelu",
                                               "activation:f32 count=4099 fn=quick_gelu",
                                               "activation:f32 count=4099 fn=tanh3",
                                               "activation:f32 count=4099 fn=clamp01",
                                               "activation:f32 count=4099 fn=clamp11",
                                               "activation:f32 count=1 fn=silu",
                                               "activation:f16 count=5007 fn=silu",
                                               "activation:f16 count=5007 fn=gelu",
                                               "activation:f16 count=37 fn=tanh3",
                                               NULL};
static const char *const activation_exact[] = {"activation:f32 count=77 fn=relu", "activation:f16 count=77 fn=relu",
                                               "activation:f32 count=50 fn=clamp01", "activation:f32 count=51 fn=clamp11", NULL};
const ldm_op ldm_op_activation = {
    .name = "activation",
    .summary = "a function of each element",
    .dims = "count fn=relu|silu|gelu|quick_gelu|tanh3|clamp01|clamp11",
    .slots = "x y",
    .infer = activation_infer,
    .cost = activation_cost,
    .reference = activation_reference,
    .fill = activation_fill,
    .impls = activation_impls,
    .cases = activation_cases,
    .exact_cases = activation_exact,
};

/* ---- geglu ------------------------------------------------------------------------------------------------------- */

static ldm_status geglu_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[0], 2 * p->dim[1])};
    slot[1] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, p->dim[0], p->dim[1])};
    return ldm_row_check(p, 2);
}
static ldm_cost geglu_cost(const ldm_problem *p) {
    double count = (double)p->dim[0] * (double)p->dim[1];
    return (ldm_cost){20 * count, 3 * count * (double)bytes(p)};
}
static void geglu_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                            double *bound) {
    ref_geglu(ldm_row_out(which, p->dim[0] * p->dim[1], p->dtype, y, bound), p->dim[0], p->dim[1], in[0]);
}
static bool geglu_fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    return activation_fill(p, slot, how, data, count, seed);
}
static const char *geglu_supports(const ldm_problem *p, const ldm_device *d) {
    return ldm_row_fits(2 * p->dim[0] * p->dim[1]);
}
static ldm_status geglu_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, "geglu");
    ldm_rec_slot(r, 1);
    ldm_rec_slot(r, 0);
    ldm_rec_int(r, p->dim[0]);
    ldm_rec_int(r, p->dim[1]);
    const int64_t span = params[0] < 16 ? params[0] : 16 * params[0]; /* elementwise.cl: SPAN */
    return range(r, p->dim[0] * ldm_ceil_div(p->dim[1], span));
}
ROWS(geglu, geglu_supports);
static const char *const geglu_cases[] = {"geglu:f32 rows=9 c=320",
                                          "geglu:f32 rows=7 c=37",
                                          "geglu:f32 rows=1 c=1",
                                          "geglu:f16 rows=17 c=320",
                                          "geglu:f16 rows=5 c=9",
                                          "geglu:f32 rows=77 c=320",
                                          NULL};
const ldm_op ldm_op_geglu = {
    .name = "geglu",
    .summary = "first half of each row times gelu of the second",
    .dims = "rows c",
    .slots = "x y",
    .infer = geglu_infer,
    .cost = geglu_cost,
    .reference = geglu_reference,
    .fill = geglu_fill,
    .impls = geglu_impls,
    .cases = geglu_cases,
};

/* ---- add --------------------------------------------------------------------------------------------------------- */

enum { BCOUNT = 1 };

static int64_t bcount(const ldm_problem *p) { return p->dim[BCOUNT] ? p->dim[BCOUNT] : p->dim[COUNT]; }
static ldm_status add_infer(const ldm_problem *p, ldm_slot *slot) {
    ldm_status st = ldm_row_check(p, 1);
    if (st) return st;
    if (p->dim[BCOUNT] < 0 || p->dim[COUNT] % bcount(p))
        return ldm_fail(LDM_ERR_ARG, "add: bcount is %lld, wanted 0 or a divisor of count %lld",
                        (long long)p->dim[BCOUNT], (long long)p->dim[COUNT]);
    slot[0] = slot[2] = array(p->dtype, p->dim[COUNT]);
    slot[1] = array(p->dtype, bcount(p));
    return LDM_OK;
}
static ldm_cost add_cost(const ldm_problem *p) {
    return (ldm_cost){(double)p->dim[COUNT], (double)((2 * p->dim[COUNT] + bcount(p)) * bytes(p))};
}
static void add_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                          double *bound) {
    ref_add(ldm_row_out(which, p->dim[COUNT], p->dtype, y, bound), p->dim[COUNT], bcount(p), in[0], in[1]);
}
static ldm_status add_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, "add");
    ldm_rec_slot(r, 2);
    ldm_rec_slot(r, 0);
    ldm_rec_slot(r, 1);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_int(r, bcount(p));
    return range(r, ldm_ceil_div(p->dim[COUNT], params[0]));
}
ROWS(add, supports);
static const char *const add_cases[] = {
    "add:f32 count=5003", "add:f32 count=4096 bcount=64", "add:f32 count=777 bcount=21", "add:f32 count=1",
    "add:f16 count=5003", "add:f16 count=960 bcount=320", "add:f16 count=60 bcount=5",   NULL};
static const char *const add_exact[] = {"add:f32 count=333", "add:f32 count=99 bcount=33",
                                        "add:f16 count=480 bcount=32", NULL};
const ldm_op ldm_op_add = {
    .name = "add",
    .summary = "a plus b, b repeated",
    .dims = "count bcount=0",
    .slots = "a b y",
    .infer = add_infer,
    .cost = add_cost,
    .reference = add_reference,
    .impls = add_impls,
    .cases = add_cases,
    .exact_cases = add_exact,
};

/* ---- lincomb ----------------------------------------------------------------------------------------------------- */

enum { TERMS = 1 };
enum { MOST_TERMS = 8 };
enum { SLOT_COEF, SLOT_X0, SLOT_LINCOMB_Y = SLOT_X0 + MOST_TERMS };

static ldm_status lincomb_infer(const ldm_problem *p, ldm_slot *slot) {
    ldm_status st = ldm_row_check(p, 1);
    if (st) return st;
    if (p->dim[TERMS] < 1 || p->dim[TERMS] > MOST_TERMS)
        return ldm_fail(LDM_ERR_ARG, "lincomb: %lld terms, wanted 1 to %d", (long long)p->dim[TERMS], MOST_TERMS);
    slot[SLOT_COEF] = array(LDM_F32, MOST_TERMS);
    for (int t = 0; t < MOST_TERMS; t++)
        slot[SLOT_X0 + t] = array(p->dtype, p->dim[COUNT]), slot[SLOT_X0 + t].present = t < p->dim[TERMS];
    slot[SLOT_LINCOMB_Y] = array(p->dtype, p->dim[COUNT]);
    return LDM_OK;
}
static ldm_cost lincomb_cost(const ldm_problem *p) {
    double count = (double)p->dim[COUNT], terms = (double)p->dim[TERMS];
    return (ldm_cost){(2 * terms - 1) * count, (terms + 1) * count * (double)bytes(p)};
}
static void lincomb_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                              double *bound) {
    ref_lincomb(ldm_row_out(which, p->dim[COUNT], p->dtype, y, bound), p->dim[COUNT], p->dim[TERMS], in[SLOT_COEF],
                in + SLOT_X0);
}
static ldm_status lincomb_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, "lincomb");
    ldm_rec_slot(r, SLOT_LINCOMB_Y);
    for (int i = SLOT_COEF; i < SLOT_LINCOMB_Y; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_int(r, p->dim[TERMS]);
    return range(r, ldm_ceil_div(p->dim[COUNT], params[0]));
}
ROWS(lincomb, supports);
static const char *const lincomb_cases[] = {"lincomb:f32 count=4099 terms=1",
                                            "lincomb:f32 count=4099 terms=2",
                                            "lincomb:f32 count=35 terms=3",
                                            "lincomb:f32 count=4099 terms=4",
                                            "lincomb:f16 count=4500 terms=3",
                                            "lincomb:f16 count=3 terms=2",
                                            "lincomb:f32 count=133 terms=5",
                                            "lincomb:f32 count=77 terms=6",
                                            "lincomb:f32 count=4099 terms=7",
                                            "lincomb:f32 count=4099 terms=8",
                                            NULL};
static const char *const lincomb_exact[] = {"lincomb:f32 count=99 terms=4", "lincomb:f16 count=50 terms=3",
                                            "lincomb:f32 count=99 terms=8", NULL};
const ldm_op ldm_op_lincomb = {
    .name = "lincomb",
    .summary = "sum of up to eight arrays times coefficients that lie on the device",
    .dims = "count terms",
    .slots = "coef x0 x1 x2 x3 x4 x5 x6 x7 y",
    .infer = lincomb_infer,
    .cost = lincomb_cost,
    .reference = lincomb_reference,
    .impls = lincomb_impls,
    .cases = lincomb_cases,
    .exact_cases = lincomb_exact,
};

/* ---- cast -------------------------------------------------------------------------------------------------------- */

enum { TO = 1 };

static ldm_dtype target(const ldm_problem *p) { return p->dim[TO] ? LDM_F16 : LDM_F32; }
static ldm_status cast_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = array(p->dtype, p->dim[COUNT]);
    slot[1] = array(target(p), p->dim[COUNT]);
    return ldm_row_check(p, 1);
}
static ldm_cost cast_cost(const ldm_problem *p) {
    return (ldm_cost){0, (double)(p->dim[COUNT] * (bytes(p) + (int64_t)ldm_dtype_size(target(p))))};
}
static void cast_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                           double *bound) {
    ref_cast(ldm_row_out(which, p->dim[COUNT], target(p), y, bound), p->dim[COUNT], in[0]);
}
static ldm_status cast_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, p->dim[TO] ? "cast_to_f16" : "cast_to_f32");
    ldm_rec_slot(r, 1);
    ldm_rec_slot(r, 0);
    ldm_rec_int(r, p->dim[COUNT]);
    return range(r, ldm_ceil_div(p->dim[COUNT], params[0]));
}
ROWS(cast, supports);
static const char *const cast_cases[] = {"cast:f32 count=5003 to=f16",
                                         "cast:f16 count=5003",
                                         "cast:f32 count=7 to=f16",
                                         "cast:f16 count=1",
                                         "cast:f32 count=33",
                                         "cast:f16 count=33 to=f16",
                                         NULL};
const ldm_op ldm_op_cast = {
    .name = "cast",
    .summary = "another storage type",
    .dims = "count to=f32|f16",
    .slots = "x y",
    .infer = cast_infer,
    .cost = cast_cost,
    .reference = cast_reference,
    .impls = cast_impls,
    .cases = cast_cases,
    .exact_cases = cast_cases,
};

/* ---- pixels ------------------------------------------------------------------------------------------------------ */

enum { MODE = 1 };

static ldm_cost image_cost(const ldm_problem *p) {
    return (ldm_cost){2 * (double)p->dim[COUNT], (double)(p->dim[COUNT] * (1 + bytes(p)))};
}

static ldm_status image_to_float_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = array(LDM_U8, p->dim[COUNT]);
    slot[1] = array(p->dtype, p->dim[COUNT]);
    return ldm_row_check(p, 1);
}
static void image_to_float_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                                     double *bound) {
    ref_image_to_float(ldm_row_out(which, p->dim[COUNT], p->dtype, y, bound), p->dim[COUNT], (float)p->flt[0],
                       (float)p->flt[1], in[0]);
}
static bool image_to_float_fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count,
                                uint64_t seed) {
    for (int64_t i = 0; i < count; i++) data[i] = (float)(ldm_hash(seed, 0, (uint64_t)i) & 255);
    return true;
}
static ldm_status image_to_float_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, "image_to_float");
    ldm_rec_slot(r, 1);
    ldm_rec_slot(r, 0);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_float(r, p->flt[0]);
    ldm_rec_float(r, p->flt[1]);
    return range(r, ldm_ceil_div(p->dim[COUNT], params[0]));
}
ROWS(image_to_float, supports);
static const char *const image_to_float_cases[] = {"image_to_float:f32 count=5003 mul=0.00784313772 add=-1",
                                                   "image_to_float:f32 count=9",
                                                   "image_to_float:f16 count=5003 mul=0.00392156863", NULL};
static const char *const image_to_float_exact[] = {"image_to_float:f32 count=777",
                                                   "image_to_float:f16 count=777 mul=2 add=-255", NULL};
const ldm_op ldm_op_image_to_float = {
    .name = "image_to_float",
    .summary = "8-bit pixels to v mul + add",
    .dims = "count",
    .floats = "mul=1 add=0",
    .slots = "v y",
    .infer = image_to_float_infer,
    .cost = image_cost,
    .reference = image_to_float_reference,
    .fill = image_to_float_fill,
    .impls = image_to_float_impls,
    .cases = image_to_float_cases,
    .exact_cases = image_to_float_exact,
};

static ldm_status float_to_image_infer(const ldm_problem *p, ldm_slot *slot) {
    slot[0] = array(p->dtype, p->dim[COUNT]);
    slot[1] = array(LDM_U8, p->dim[COUNT]);
    return ldm_row_check(p, 1);
}
static void float_to_image_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y,
                                     double *bound) {
    ref_float_to_image(ldm_row_out(which, p->dim[COUNT], LDM_U8, y, bound), p->dim[COUNT], (float)p->flt[0],
                       (float)p->flt[1], p->dim[MODE] == 1, in[0]);
}
/* What a picture holds, a little beyond both ends; INTEGER: whole pixels and, where they are, no ties. */
static bool float_to_image_fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count,
                                uint64_t seed) {
    const double mul = p->flt[0] ? p->flt[0] : 1;
    for (int64_t i = 0; i < count; i++) {
        double v = how == LDM_FILL_INTEGER ? (double)(ldm_hash(seed, 0, (uint64_t)i) % 257)
                                           : 128 + 140 * (double)ldm_uniform(seed, 0, (uint64_t)i);
        data[i] = (float)((v - p->flt[1]) / mul);
    }
    return true;
}
static ldm_status float_to_image_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    begin(p, params, r, "float_to_image");
    ldm_rec_slot(r, 1);
    ldm_rec_slot(r, 0);
    ldm_rec_int(r, p->dim[COUNT]);
    ldm_rec_float(r, p->flt[0]);
    ldm_rec_float(r, p->flt[1]);
    ldm_rec_float(r, p->dim[MODE] ? 0.5 : 0);
    return range(r, ldm_ceil_div(p->dim[COUNT], params[0]));
}
ROWS(float_to_image, supports);
static const char *const float_to_image_cases[] = {
    "float_to_image:f32 count=5003 mul=127.5 add=127.5", "float_to_image:f32 count=5003 mode=round mul=255",
    "float_to_image:f32 count=6", "float_to_image:f16 count=777 mode=round mul=127.5 add=127.5", NULL};
static const char *const float_to_image_exact[] = {"float_to_image:f32 count=777 mode=round",
                                                   "float_to_image:f32 count=777 mul=0.5 add=64", NULL};
const ldm_op ldm_op_float_to_image = {
    .name = "float_to_image",
    .summary = "x mul + add to 8-bit pixels, clamped",
    .dims = "count mode=trunc|round",
    .floats = "mul=1 add=0",
    .slots = "x y",
    .infer = float_to_image_infer,
    .cost = image_cost,
    .reference = float_to_image_reference,
    .fill = float_to_image_fill,
    .impls = float_to_image_impls,
    .cases = float_to_image_cases,
    .exact_cases = float_to_image_exact,
};
