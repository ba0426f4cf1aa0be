/* group_norm.c -- the op `group_norm`: what it means, its cost, its cases, its rows. Kernels: kernels/group_norm*.cl,
 * reference: reference/ref_group_norm.c. Rows of large maps are two halves, statistics into scratch and apply, cut so
 * that the statistics of a map do not depend on how it is applied. */
#include "ops/row.h"
#include <math.h>

enum { N, HW, C, GROUPS, ACT };
enum { SCALESHIFT = 1 };
enum { SLOT_X, SLOT_GAMMA, SLOT_BETA, SLOT_SS, SLOT_Y };
enum { BLOCK = 32768 }; /* elements of a block of rows of the CPU row: half of a small second-level cache */

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    ldm_status st = ldm_row_check(p, 4);
    if (st) return st;
    if (d[C] % d[GROUPS])
        return ldm_fail(LDM_ERR_ARG, "group_norm: %lld channels do not divide into %lld groups", (long long)d[C],
                        (long long)d[GROUPS]);
    if (!(p->flt[0] > 0)) return ldm_fail(LDM_ERR_ARG, "group_norm: eps is %g, wanted more than 0", p->flt[0]);
    ldm_shape map = ldm_shape_of(3, d[N], d[HW], d[C]);
    slot[SLOT_X] = (ldm_slot){true, false, p->dtype, map};
    slot[SLOT_GAMMA] = (ldm_slot){true, true, LDM_F32, ldm_shape_of(1, d[C])};
    slot[SLOT_BETA] = (ldm_slot){true, true, LDM_F32, ldm_shape_of(1, d[C])};
    slot[SLOT_SS] = (ldm_slot){(p->flags & SCALESHIFT) != 0, false, p->dtype, ldm_shape_of(2, d[N], 2 * d[C])};
    slot[SLOT_Y] = (ldm_slot){true, false, p->dtype, map};
    return LDM_OK;
}

static ldm_cost cost(const ldm_problem *p) {
    double all = (double)p->dim[N] * (double)p->dim[HW] * (double)p->dim[C];
    return (ldm_cost){7 * all, 2 * all * (double)ldm_dtype_size(p->dtype)};
}

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    const int64_t *d = p->dim;
    ref_group_norm_dims r = {d[N], d[HW], d[C], d[GROUPS], p->flt[0], d[ACT] ? REF_SILU : REF_NONE};
    ref_group_norm(ldm_row_out(which, d[N] * d[HW] * d[C], p->dtype, y, bound), &r, in[SLOT_X], in[SLOT_GAMMA],
                   in[SLOT_BETA], in[SLOT_SS]);
}

/* OFFSET: the groups of a sample stand at |mean| / sigma of 1000, 30 and 1 in turn, alternating in sign, so that a
 * variance taken in one pass, or a neighbour's mean, shows. POSITIVE: a slow ramp along the rows, so that blocks of
 * rows differ. */
static bool fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    static const float at[] = {1000, -30, 1, -1000};
    const int64_t c = p->dim[C], width = c / p->dim[GROUPS];
    if (how == LDM_FILL_INTEGER) return false;
    for (int64_t i = 0; i < count; i++) {
        float u = ldm_uniform(seed, (uint64_t)slot, (uint64_t)i);
        if (slot == SLOT_GAMMA) u = 1 + u / 2;
        if (slot == SLOT_X && how == LDM_FILL_OFFSET) u += at[i % c / width % 4] * 0.57735027f;
        if (slot == SLOT_X && how == LDM_FILL_POSITIVE)
            u = (u + 1) / 2 + 4 * (float)(i / c % p->dim[HW]) / (float)p->dim[HW];
        if (slot == SLOT_X && how == LDM_FILL_SPIKY && ldm_hash(seed, 77, (uint64_t)i) % 61 == 0) u *= 1e4f;
        data[i] = u;
    }
    return true;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static int64_t elements(const ldm_problem *p) { return p->dim[N] * p->dim[HW] * p->dim[C]; }

static const char *plain_supports(const ldm_problem *p, const ldm_device *d) { return ldm_row_fits(elements(p)); }
static size_t plain_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (size_t)(p->dim[N] * p->dim[GROUPS]) * 2 * sizeof(float);
}

static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    ldm_row_kernel(p, r, "group_norm.cl", "group_norm_stats_plain");
    ldm_rec_scratch(r, 0);
    ldm_rec_slot(r, SLOT_X);
    ldm_rec_int(r, d[HW]);
    ldm_rec_int(r, d[C]);
    ldm_rec_int(r, d[GROUPS]);
    ldm_rec_float(r, p->flt[0]);
    ldm_rec_range2(r, d[GROUPS], d[N], 8, 1);
    ldm_row_kernel(p, r, "group_norm.cl", "group_norm_apply_plain");
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_X);
    ldm_rec_scratch(r, 0);
    ldm_rec_slot(r, SLOT_GAMMA);
    ldm_rec_slot(r, SLOT_BETA);
    ldm_rec_slot(r, SLOT_SS);
    for (int i = N; i <= GROUPS; i++) ldm_rec_int(r, d[i]);
    ldm_rec_int(r, p->flags & SCALESHIFT ? 1 : 0);
    ldm_rec_int(r, d[ACT]);
    ldm_rec_range1(r, elements(p), 64);
    return r->status;
}

static int64_t block_rows(const ldm_problem *p) { return p->dim[C] < BLOCK ? BLOCK / p->dim[C] : 1; }
static int64_t blocks(const ldm_problem *p) { return ldm_ceil_div(p->dim[HW], block_rows(p)); }
static size_t coef_offset(const ldm_problem *p) {
    return (size_t)ldm_round_up(p->dim[N] * blocks(p) * p->dim[GROUPS] * 2 * (int64_t)sizeof(float), 4096);
}

static const char *cpu_supports(const ldm_problem *p, const ldm_device *d) {
    if ((size_t)ldm_round_up(p->dim[C], 16) * 2 * sizeof(float) > d->local_bytes)
        return "two rows of sums do not fit local memory";
    return ldm_row_fits(elements(p));
}

static size_t cpu_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    return coef_offset(p) + (size_t)(p->dim[N] * 3 * ldm_round_up(p->dim[C], 16)) * sizeof(float);
}

/* Blocks whose sums begin where a buffer may. */
static int64_t aligned_blocks(size_t block_bytes, const ldm_device *d) {
    int64_t n = 1;
    while ((size_t)n * block_bytes % d->base_align) n++;
    return n;
}

static ldm_grain cpu_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (ldm_grain){block_rows(p) * aligned_blocks((size_t)p->dim[GROUPS] * 2 * sizeof(float), d), 0};
}

static ldm_status cpu_phase(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_phase phase, int64_t first,
                            int64_t count, ldm_recipe *r) {
    const int64_t *d = p->dim, rows = block_rows(p), of_strip = ldm_ceil_div(count, rows);
    if (phase == LDM_PHASE_GATHER) {
        ldm_row_kernel(p, r, "group_norm_cpu.cl", "group_norm_stats_blocks");
        ldm_rec_scratch(r, (size_t)(first / rows * d[GROUPS]) * 2 * sizeof(float));
        ldm_rec_slot(r, SLOT_X);
        ldm_rec_int(r, count);
        ldm_rec_int(r, d[C]);
        ldm_rec_int(r, d[GROUPS]);
        ldm_rec_int(r, rows);
        ldm_rec_local(r, (size_t)ldm_round_up(d[C], 16) * sizeof(float));
        ldm_rec_local(r, (size_t)ldm_round_up(d[C], 16) * sizeof(float));
        ldm_rec_range2(r, of_strip, d[N], 1, 1);
    } else if (phase == LDM_PHASE_MERGE) {
        ldm_row_kernel(p, r, "group_norm_cpu.cl", "group_norm_stats_merge");
        ldm_rec_scratch(r, coef_offset(p));
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, SLOT_GAMMA);
        ldm_rec_slot(r, SLOT_BETA);
        ldm_rec_slot(r, SLOT_SS);
        for (int i = HW; i <= GROUPS; i++) ldm_rec_int(r, d[i]);
        ldm_rec_int(r, rows);
        ldm_rec_int(r, blocks(p));
        ldm_rec_float(r, p->flt[0]);
        ldm_rec_int(r, p->flags & SCALESHIFT ? 1 : 0);
        ldm_rec_range2(r, d[GROUPS], d[N], 1, 1);
    } else {
        ldm_row_kernel(p, r, "group_norm_cpu.cl", "group_norm_apply_rows");
        ldm_rec_slot(r, SLOT_Y);
        ldm_rec_slot(r, SLOT_X);
        ldm_rec_scratch(r, coef_offset(p));
        ldm_rec_int(r, count);
        ldm_rec_int(r, d[C]);
        ldm_rec_int(r, rows);
        ldm_rec_int(r, d[ACT]);
        ldm_rec_range2(r, of_strip, d[N], 1, 1);
    }
    return r->status;
}

static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    for (ldm_phase phase = LDM_PHASE_GATHER; phase <= LDM_PHASE_APPLY; phase++)
        cpu_phase(p, params, dev, phase, 0, p->dim[HW], r);
    return r->status;
}

enum { WHOLE_SPAN = 256, WHOLE_BYTES = 256 << 10 }; /* channels of a work-item, bytes of its part of the map */
static const ldm_tunable whole_tunables[] = {{"FOLD", "times the fewest whole groups that are whole vectors", {4, 2, 1, 8}}, {0}};

/* Channels that are whole groups and whole vectors, `fold` times as few as can be. */
static int64_t whole_span(const ldm_problem *p, int fold) {
    int64_t width = p->dim[C] / p->dim[GROUPS], span = width;
    while (span % 16) span += width;
    return fold * span;
}

static bool whole_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t span = whole_span(p, t[0]);
    return span <= WHOLE_SPAN && p->dim[C] % span == 0 && (t[0] == 1 || p->dim[HW] * span * (int64_t)sizeof(float) <= 2 * WHOLE_BYTES);
}

static const char *whole_supports(const ldm_problem *p, const ldm_device *d) {
    static const int least[] = {1};
    if (!whole_legal(p, least, d)) return "groups do not come in whole vectors of at most 256 channels";
    if (p->dim[HW] * whole_span(p, 1) * (int64_t)sizeof(float) > WHOLE_BYTES) return "a group of the map takes more than 256 KiB";
    return ldm_row_fits(elements(p));
}

static const char *whole_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t parts = p->dim[N] * p->dim[C] / whole_span(p, t[0]);
    if (parts < d->units) return "fewer parts than compute units";
    return t[0] > 1 && parts % d->units ? "parts that all units share alike" : NULL;
}

static ldm_status whole_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, span = whole_span(p, params[0]);
    ldm_row_kernel(p, r, "group_norm_cpu.cl", "group_norm_whole");
    ldm_rec_define(r, "VECTORS", span / 16);
    ldm_rec_slot(r, SLOT_Y);
    for (int i = SLOT_X; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    for (int i = HW; i <= GROUPS; i++) ldm_rec_int(r, d[i]);
    ldm_rec_float(r, p->flt[0]);
    ldm_rec_int(r, p->flags & SCALESHIFT ? 1 : 0);
    ldm_rec_int(r, d[ACT]);
    ldm_rec_range2(r, d[C] / span, d[N], 1, 1);
    return r->status;
}

/* How group_norm_gpu.cl cuts a map: groups into pieces of `width` channels, `per` pieces a work-group, blocks of rows.
 * By the sizes and GROUP only. */
typedef struct cut {
    int64_t width, pieces, per, parts, block_rows, blocks;
} cut;

static cut cut_of(const ldm_problem *p, int group) {
    enum { ROWS = 16 };
    const int64_t wide = p->dim[C] / p->dim[GROUPS];
    cut k = {.pieces = ldm_ceil_div(wide, group)};
    k.width = ldm_ceil_div(wide, k.pieces);
    k.parts = k.pieces > 1 ? p->dim[GROUPS] * k.pieces : ldm_ceil_div(p->dim[GROUPS], group / k.width);
    k.per = ldm_ceil_div(p->dim[GROUPS] * k.pieces, k.parts);
    k.block_rows = group / (k.width * k.per) * ROWS;
    k.blocks = ldm_ceil_div(p->dim[HW], k.block_rows);
    return k;
}

static const ldm_tunable gpu_tunables[] = {{"GROUP", "work-items of a work-group", {256, 128, 64}}, {0}};

static const char *gpu_supports(const ldm_problem *p, const ldm_device *d) {
    return ldm_row_group_supports(d, elements(p));
}

static size_t gpu_coef_offset(const ldm_problem *p, int group) {
    const cut k = cut_of(p, group);
    return (size_t)ldm_round_up(p->dim[N] * p->dim[GROUPS] * k.blocks * k.pieces * 2 * (int64_t)sizeof(float), 4096);
}

static size_t gpu_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    return gpu_coef_offset(p, params[0]) + (size_t)(p->dim[N] * 3 * p->dim[C]) * sizeof(float);
}

static void gpu_kernel(const ldm_problem *p, int group, const char *kernel, ldm_recipe *r) {
    ldm_row_kernel(p, r, "group_norm_gpu.cl", kernel);
    ldm_rec_define(r, "GROUP", group);
    ldm_rec_define(r, "VEC", p->dim[C] % 4 == 0);
}

static ldm_grain gpu_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (ldm_grain){cut_of(p, params[0]).block_rows, 0};
}

static ldm_status gpu_phase(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_phase phase, int64_t first,
                            int64_t count, ldm_recipe *r) {
    enum { APPLY_ROWS = 8 };
    const int64_t *d = p->dim;
    const int group = params[0];
    const cut k = cut_of(p, group);
    if (phase == LDM_PHASE_GATHER) {
        gpu_kernel(p, group, "group_norm_blocks", r);
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, SLOT_X);
        ldm_rec_int(r, count);
        ldm_rec_int(r, d[C]);
        ldm_rec_int(r, d[GROUPS]);
        ldm_rec_int(r, k.width);
        ldm_rec_int(r, k.pieces);
        ldm_rec_int(r, k.per);
        ldm_rec_int(r, first / k.block_rows);
        ldm_rec_int(r, k.blocks);
        ldm_rec_range3(r, ldm_ceil_div(count, k.block_rows) * group, k.parts, d[N], group, 1, 1);
    } else if (phase == LDM_PHASE_MERGE) {
        gpu_kernel(p, group, "group_norm_merge", r);
        ldm_rec_scratch(r, gpu_coef_offset(p, group));
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, SLOT_GAMMA);
        ldm_rec_slot(r, SLOT_BETA);
        ldm_rec_slot(r, SLOT_SS);
        for (int i = HW; i <= GROUPS; i++) ldm_rec_int(r, d[i]);
        ldm_rec_int(r, k.width);
        ldm_rec_int(r, k.pieces);
        ldm_rec_int(r, k.block_rows);
        ldm_rec_int(r, k.blocks);
        ldm_rec_float(r, p->flt[0]);
        ldm_rec_int(r, p->flags & SCALESHIFT ? 1 : 0);
        ldm_rec_range2(r, d[GROUPS] * group, d[N], group, 1);
    } else {
        gpu_kernel(p, group, "group_norm_affine", r);
        ldm_rec_slot(r, SLOT_Y);
        ldm_rec_slot(r, SLOT_X);
        ldm_rec_scratch(r, gpu_coef_offset(p, group));
        ldm_rec_int(r, count);
        ldm_rec_int(r, d[C]);
        ldm_rec_int(r, d[ACT] ? 2 : 0); /* ACT_SILU of common.clh */
        ldm_rec_range2(r, ldm_ceil_div(count, APPLY_ROWS) * (d[C] % 4 ? d[C] : d[C] / 4), d[N], 64, 1);
    }
    return r->status;
}

static ldm_status gpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    for (ldm_phase phase = LDM_PHASE_GATHER; phase <= LDM_PHASE_APPLY; phase++)
        gpu_phase(p, params, dev, phase, 0, p->dim[HW], r);
    return r->status;
}

static const char *group_supports(const ldm_problem *p, const ldm_device *d) {
    enum { MOST = 10240 }; /* reads of a work-group, of 4 channels or one; beyond, three launches of many work-groups are quicker */
    const int64_t wide = p->dim[C] / p->dim[GROUPS];
    if (p->dim[HW] * (wide % 4 ? wide : wide / 4) > MOST) return "a group of the map takes more than 10240 reads";
    return gpu_supports(p, d);
}

static ldm_status group_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    gpu_kernel(p, params[0], "group_norm_group", r);
    ldm_rec_define(r, "WIDE", d[C] / d[GROUPS]);
    ldm_rec_slot(r, SLOT_Y);
    for (int i = SLOT_X; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, d[HW]);
    ldm_rec_int(r, d[C]);
    ldm_rec_float(r, p->flt[0]);
    ldm_rec_int(r, p->flags & SCALESHIFT ? 1 : 0);
    ldm_rec_int(r, d[ACT] ? 2 : 0); /* ACT_SILU of common.clh */
    ldm_rec_range2(r, d[GROUPS] * params[0], d[N], params[0], 1);
    return r->status;
}

/* A whole group is summed at once: no strip has the whole map's order. */
static ldm_grain plain_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (ldm_grain){1, p->dim[HW]};
}

static const ldm_impl impls[] = {
    {.name = "group_norm_gpu_whole",
     .idea = "a map that stays in cache: a group a work-group, one launch",
     .family = LDM_GPU,
     .supports = group_supports,
     .tunables = gpu_tunables,
     .legal = ldm_row_group_legal,
     .record = group_record,
     .grain = plain_grain},
    {.name = "group_norm_gpu",
     .idea = "columns of whole groups a work-group, 16 rows in registers, blocks merged by a fixed tree",
     .family = LDM_GPU,
     .supports = gpu_supports,
     .tunables = gpu_tunables,
     .legal = ldm_row_group_legal,
     .scratch = gpu_scratch,
     .record = gpu_record,
     .grain = gpu_grain,
     .record_phase = gpu_phase},
    {.name = "group_norm_whole",
     .idea = "a map that stays in cache: whole groups a work-item, one launch",
     .family = LDM_CPU,
     .supports = whole_supports,
     .prefers = whole_prefers,
     .tunables = whole_tunables,
     .legal = whole_legal,
     .record = whole_record,
     .grain = plain_grain},
    {.name = "group_norm_cpu",
     .idea = "blocks of rows in cache, 16 channels at a time, blocks merged in order",
     .family = LDM_CPU,
     .supports = cpu_supports,
     .scratch = cpu_scratch,
     .record = cpu_record,
     .grain = cpu_grain,
     .record_phase = cpu_phase},
    {.name = "group_norm_plain",
     .idea = "one work-item a group, then one an element",
     .family = LDM_PLAIN,
     .supports = plain_supports,
     .scratch = plain_scratch,
     .record = plain_record,
     .grain = plain_grain},
    {0}};

static const char *const cases[] = {"group_norm:f32 n=1 hw=64 c=64 groups=32",
                                    "group_norm:f32 n=2 hw=49 c=96 groups=32 act=silu +scaleshift",
                                    "group_norm:f32 n=1 hw=1100 c=64 groups=4 eps=1e-6 act=silu",
                                    "group_norm:f32 n=1 hw=3 c=5 groups=5",
                                    "group_norm:f32 n=2 hw=1 c=40 groups=2 eps=1e-2",
                                    "group_norm:f32 n=3 hw=17 c=21 groups=3 act=silu +scaleshift",
                                    "group_norm:f32 n=1 hw=70 c=1280 groups=32 +scaleshift",
                                    "group_norm:f32 n=2 hw=70 c=600 groups=2 act=silu",
                                    "group_norm:f16 n=1 hw=64 c=64 groups=32 act=silu",
                                    "group_norm:f16 n=2 hw=130 c=320 groups=32 eps=1e-6 +scaleshift",
                                    "group_norm:f16 n=1 hw=9 c=35 groups=7",
                                    NULL};

const ldm_op ldm_op_group_norm = {
    .name = "group_norm",
    .summary = "normalise groups of channels over the map, scale and shift, optional scale-shift vector, optional SiLU",
    .dims = "n hw c groups act=none|silu",
    .floats = "eps=1e-5",
    .flags = "scaleshift",
    .slots = "x gamma beta ss y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .fill = fill,
    .impls = impls,
    .cases = cases,
};
