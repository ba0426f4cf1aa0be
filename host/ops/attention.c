/* attention.c -- the op `attention`: what it means, its cost, its cases, its rows. Kernels: kernels/attention*.cl,
 * reference: reference/ref_attention.c.
 *
 * layout=split: q [n,nq,heads d], k and v [n,nkv,heads d], three tensors. layout=legacy and packed: one tensor in slot
 * q, [n,nq,3 heads d], per head q k v (openaimodel.py: QKVAttentionLegacy) or all heads' q, all k, all v
 * (QKVAttention). */
#include "ops/row.h"
#include <math.h>

enum { N, HEADS, NQ, NKV, D, LAYOUT, CAUSAL };
enum { SPLIT, LEGACY, PACKED };
enum { SLOT_Q, SLOT_K, SLOT_V, SLOT_Y };
enum { MAX_D = 1024 };

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim, c = d[HEADS] * d[D];
    const bool split = d[LAYOUT] == SPLIT;
    ldm_status st = ldm_row_check(p, 5);
    if (st) return st;
    if (d[D] > MAX_D)
        return ldm_fail(LDM_ERR_ARG, "attention: head width d is %lld, wanted at most %d", (long long)d[D], MAX_D);
    if (d[HEADS] > 1 << 16)
        return ldm_fail(LDM_ERR_ARG, "attention: %lld heads, wanted at most 65536", (long long)d[HEADS]);
    if (!split && d[NQ] != d[NKV])
        return ldm_fail(LDM_ERR_ARG, "attention: one packed tensor has nq = nkv; found nq %lld, nkv %lld",
                        (long long)d[NQ], (long long)d[NKV]);
    if (d[CAUSAL] && d[NKV] < d[NQ])
        return ldm_fail(LDM_ERR_ARG, "attention: a causal mask needs nkv >= nq, found nq %lld, nkv %lld",
                        (long long)d[NQ], (long long)d[NKV]);
    slot[SLOT_Q] = (ldm_slot){true, false, p->dtype, ldm_shape_of(3, d[N], d[NQ], split ? c : 3 * c)};
    slot[SLOT_K] = slot[SLOT_V] = (ldm_slot){split, false, p->dtype, ldm_shape_of(3, d[N], d[NKV], c)};
    slot[SLOT_Y] = (ldm_slot){true, false, p->dtype, ldm_shape_of(3, d[N], d[NQ], c)};
    return LDM_OK;
}

static double scale(const ldm_problem *p) { return p->flt[0] ? p->flt[0] : 1 / sqrt((double)p->dim[D]); }

/* Where things lie; also what the kernels are told. */
static ref_attention_dims geometry(const ldm_problem *p) {
    const int64_t *d = p->dim, c = d[HEADS] * d[D], row = d[LAYOUT] == SPLIT ? c : 3 * c;
    const int64_t step = d[LAYOUT] == LEGACY ? 3 * d[D] : d[D], off = d[LAYOUT] == SPLIT    ? 0
                                                                      : d[LAYOUT] == LEGACY ? d[D]
                                                                                            : c;
    return (ref_attention_dims){d[N], d[HEADS], d[NQ], d[NKV], d[D],    row,  0,        step,
                                row,  off,      step,  row,    2 * off, step, scale(p), d[CAUSAL] != 0};
}

static ldm_cost cost(const ldm_problem *p) {
    const int64_t *d = p->dim;
    double pairs = (double)d[N] * (double)d[HEADS] * (double)d[NQ] * (double)d[NKV];
    if (d[CAUSAL]) pairs *= 1 - ((double)d[NQ] - 1) / (2 * (double)d[NKV]);
    double c = (double)d[N] * (double)(d[HEADS] * d[D]);
    return (ldm_cost){4 * pairs * (double)d[D], (double)ldm_dtype_size(p->dtype) * c * 2 * (double)(d[NQ] + d[NKV])};
}

static int64_t outputs(const ldm_problem *p) { return p->dim[N] * p->dim[NQ] * p->dim[HEADS] * p->dim[D]; }

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_attention_dims r = geometry(p);
    const bool split = p->dim[LAYOUT] == SPLIT;
    ref_attention(ldm_row_out(which, outputs(p), p->dtype, y, bound), &r, in[SLOT_Q], in[split ? SLOT_K : SLOT_Q],
                  in[split ? SLOT_V : SLOT_Q]);
}

/* ---- test data: what finds the faults that random scores do not ------------------------------------------------- */

/* Element e of the q (0), k (1) or v (2) of one token. All but ZEROMEAN make q one vector of signs times about 1, and
 * give key j about the score t by k = t signs / (d scale).
 *   POSITIVE  even heads: scores +-90, an exponential overflows; odd heads: positive random numbers
 *   OFFSET    even heads: all about -8, so a key too many takes over; odd heads: all equal
 *   SPIKY     one key at +60 among keys near 0: the last in even heads, any in odd ones
 *   INTEGER   one-hot: each query finds one key by a code of signs, every other exponential underflows: y is that v,
 *             exactly */
static float element(const ldm_problem *p, int which, ldm_fill how, uint64_t seed, int64_t sample, int64_t h,
                     int64_t token, int64_t e) {
    const int64_t d = p->dim[D], nkv = p->dim[NKV];
    const uint64_t stream = (uint64_t)((which * 64 + h) * 4096 + sample);
    const float u = ldm_uniform(seed, stream, (uint64_t)(token * d + e));
    const float sign = ldm_hash(seed, 99, (uint64_t)(h * d + e)) & 1 ? 1 : -1;
    const double unit = 1 / ((double)d * scale(p)); /* |k| per score */
    if (which == 2) return how == LDM_FILL_INTEGER ? rintf(u * 8) : u;
    if (how == LDM_FILL_ZEROMEAN) return 2 * u;
    if (how == LDM_FILL_INTEGER) { /* the code of key j; a query carries its target's, 2000 times */
        const int64_t key = which == 1       ? token
                            : p->dim[CAUSAL] ? token + nkv - p->dim[NQ]
                                             : (int64_t)(ldm_hash(seed, 3, (uint64_t)token) % (uint64_t)nkv);
        return (ldm_hash(seed, 1000 + (uint64_t)key, (uint64_t)e) & 1 ? 1.0f : -1.0f) * (which == 1 ? 1 : 2000);
    }
    if (how == LDM_FILL_POSITIVE && h % 2) return (u + 1) / 2;
    if (which == 0) return sign * (1 + ldm_uniform(seed, 98, (uint64_t)(h * d + e)) / 4);
    const double jitter = ldm_uniform(seed, 7, (uint64_t)((sample * 64 + h) * nkv + token));
    const int64_t spike = h % 2 ? (int64_t)(ldm_hash(seed, 4, (uint64_t)h) % (uint64_t)nkv) : nkv - 1;
    double want = 0;
    if (how == LDM_FILL_POSITIVE) want = (ldm_hash(seed, 8, (uint64_t)(sample * nkv + token)) & 1 ? 90 : -90) + jitter;
    if (how == LDM_FILL_OFFSET) want = h % 2 ? -8 : -8 + jitter;
    if (how == LDM_FILL_SPIKY) want = token == spike ? 60 : jitter;
    return (float)(want * unit) * sign;
}

static bool fill(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    const int64_t *dim = p->dim, d = dim[D], c = dim[HEADS] * d, tokens = slot == SLOT_Q ? dim[NQ] : dim[NKV];
    const int64_t row = dim[LAYOUT] == SPLIT ? c : 3 * c;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = i % row, token = i / row % tokens, sample = i / row / tokens;
        int which = slot;
        int64_t h = at / d;
        if (dim[LAYOUT] == LEGACY) which = (int)(at / d % 3), h = at / (3 * d);
        if (dim[LAYOUT] == PACKED) which = (int)(at / c), h = at % c / d;
        data[i] = element(p, which, how, seed, sample, h, token, at % d);
    }
    return true;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static const char *fits(const ldm_problem *p) {
    const int64_t *d = p->dim, row = geometry(p).k_row;
    return ldm_row_fits(d[N] * (d[NQ] > d[NKV] ? d[NQ] : d[NKV]) * row);
}

static void arguments(const ldm_problem *p, ldm_recipe *r) {
    const ref_attention_dims g = geometry(p);
    const bool split = p->dim[LAYOUT] == SPLIT;
    ldm_row_storage(p, r);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_Q);
    ldm_rec_slot(r, split ? SLOT_K : SLOT_Q);
    ldm_rec_slot(r, split ? SLOT_V : SLOT_Q);
    for (int i = HEADS; i <= D; i++) ldm_rec_int(r, p->dim[i]);
    ldm_rec_int(r, g.q_row);
    ldm_rec_int(r, g.k_row);
    ldm_rec_int(r, g.q_off);
    ldm_rec_int(r, g.k_off);
    ldm_rec_int(r, g.v_off);
    ldm_rec_int(r, g.q_head);
    ldm_rec_float(r, g.scale);
    ldm_rec_int(r, p->dim[CAUSAL]);
}

static void one_key_arguments(const ldm_problem *p, ldm_recipe *r) {
    const ref_attention_dims g = geometry(p);
    ldm_row_storage(p, r);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, p->dim[LAYOUT] == SPLIT ? SLOT_V : SLOT_Q);
    ldm_rec_int(r, p->dim[HEADS]);
    ldm_rec_int(r, p->dim[NQ]);
    ldm_rec_int(r, p->dim[D]);
    ldm_rec_int(r, g.v_row);
    ldm_rec_int(r, g.v_off);
    ldm_rec_int(r, g.v_head);
}

static const char *plain_supports(const ldm_problem *p, const ldm_device *d) { return fits(p); }

static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    ldm_rec_kernel(r, "attention.cl", "attention_plain");
    arguments(p, r);
    ldm_rec_range3(r, p->dim[NQ] * ldm_ceil_div(p->dim[D], 32), p->dim[HEADS], p->dim[N], 16, 1, 1);
    return r->status;
}

static const char *one_key_supports(const ldm_problem *p, const ldm_device *d) {
    return p->dim[NKV] == 1 ? fits(p) : "needs nkv = 1";
}

static ldm_status one_key_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t c = p->dim[HEADS] * p->dim[D];
    const bool cpu = dev->type == LDM_DEVICE_CPU;
    ldm_rec_kernel(r, cpu ? "attention_cpu.cl" : "attention.cl", cpu ? "attention_one_key_rows" : "attention_one_key");
    one_key_arguments(p, r);
    if (cpu) ldm_rec_range3(r, p->dim[NQ], p->dim[HEADS], p->dim[N], 1, 1, 1);
    else ldm_rec_range3(r, c, p->dim[NQ], p->dim[N], 64, 1, 1);
    return r->status;
}

/* attention_cpu reads K and V as floats, rows of V by 8 elements: others are made such rows in scratch first. */
static bool cpu_reads_direct(const ldm_problem *p) { return p->dtype == LDM_F32 && p->dim[D] % 8 == 0; }

static size_t cpu_scratch(const ldm_problem *p, const int *params, const ldm_device *dev) {
    const int64_t *d = p->dim;
    return cpu_reads_direct(p) ? 0 : (size_t)(d[N] * d[NKV] * d[HEADS] * 2 * ldm_round_up(d[D], 8)) * sizeof(float);
}

enum { QUERIES, KEYS }; /* tunables of attention_cpu */
static const ldm_tunable cpu_tunables[] = {{"QUERIES", "queries of a work-item", {256, 128, 64, 32}},
                                           {"KEYS", "keys of a block", {128, 96, 64, 48, 40, 32}},
                                           {0}};

/* Floats of local memory a work-item needs: attention_cpu.cl, top. */
static int64_t cpu_local_floats(const ldm_problem *p, const int *t, const ldm_device *d) {
    return 2 * t[QUERIES] * ldm_round_up(p->dim[D], 16) + 2 * ldm_row_lanes(d) * (t[KEYS] + 4) + 2 * t[QUERIES];
}

static bool cpu_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    return cpu_local_floats(p, t, d) * 4 <= (int64_t)d->local_bytes;
}

/* As many queries a work-item as leave every core four of them, within 512 KiB of Q and O, so that a pass over the keys is
 * shared by many queries; results do not depend on it. Of a block of keys, K and V stay in the second-level cache, its scores
 * in the first. */
static const char *cpu_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t *n = p->dim, items = n[N] * n[HEADS] * ldm_ceil_div(n[NQ], t[QUERIES]);
    if (t[QUERIES] > 32 && (items < 4 * d->units || 2 * t[QUERIES] * n[D] > 131072))
        return "fewer queries a work-item: four work-items a unit, and their sums in the second-level cache";
    if (t[KEYS] > 32 && t[KEYS] * n[D] > 24576) return "a smaller block of keys stays in the second-level cache";
    return NULL;
}

static const char *cpu_supports(const ldm_problem *p, const ldm_device *d) {
    static const int least[] = {32, 32};
    if (!cpu_legal(p, least, d))
        return "32 queries of this head width do not fit local memory";
    if (!cpu_reads_direct(p) && cpu_scratch(p, NULL, d) > d->max_alloc)
        return "K and V as floats exceed the largest buffer";
    return fits(p);
}

static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, queries = params[QUERIES], d8 = ldm_round_up(d[D], 8);
    const ref_attention_dims g = geometry(p);
    const int slot_k = d[LAYOUT] == SPLIT ? SLOT_K : SLOT_Q, slot_v = d[LAYOUT] == SPLIT ? SLOT_V : SLOT_Q;
    const bool direct = cpu_reads_direct(p);
    if (!direct) {
        ldm_row_kernel(p, r, "attention_cpu.cl", "attention_rows");
        ldm_rec_define(r, "LANES", ldm_row_lanes(dev));
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, slot_k);
        ldm_rec_slot(r, slot_v);
        ldm_rec_int(r, d[HEADS]);
        ldm_rec_int(r, d[NKV]);
        ldm_rec_int(r, d[D]);
        ldm_rec_int(r, g.k_row);
        ldm_rec_int(r, g.k_off);
        ldm_rec_int(r, g.v_off);
        ldm_rec_int(r, g.k_head);
        ldm_rec_range2(r, d[NKV], d[N], 1, 1);
    }
    ldm_row_kernel(p, r, "attention_cpu.cl", "attention_tile");
    ldm_rec_define(r, "LANES", ldm_row_lanes(dev));
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_Q);
    if (direct) {
        ldm_rec_slot(r, slot_k);
        ldm_rec_slot(r, slot_v);
    } else {
        ldm_rec_scratch(r, 0);
        ldm_rec_scratch(r, 0);
    }
    for (int i = HEADS; i <= D; i++) ldm_rec_int(r, d[i]);
    ldm_rec_int(r, g.q_row);
    ldm_rec_int(r, g.q_off);
    ldm_rec_int(r, g.q_head);
    ldm_rec_int(r, direct ? g.k_row : d[HEADS] * 2 * d8);
    ldm_rec_int(r, direct ? g.k_off : 0);
    ldm_rec_int(r, direct ? g.v_off : d8);
    ldm_rec_int(r, direct ? g.k_head : 2 * d8);
    ldm_rec_float(r, g.scale);
    ldm_rec_int(r, d[CAUSAL]);
    ldm_rec_int(r, queries);
    ldm_rec_int(r, params[KEYS]);
    ldm_rec_local(r, (size_t)cpu_local_floats(p, params, dev) * sizeof(float));
    ldm_rec_range3(r, ldm_ceil_div(d[NQ], queries), d[HEADS], d[N], 1, 1, 1);
    return r->status;
}

static const char *few_supports(const ldm_problem *p, const ldm_device *d) {
    enum { MOST_KEYS = 128 }; /* FEW_KEYS */
    if (p->dim[NKV] > MOST_KEYS || p->dim[D] % 16) return "needs at most 128 keys, and a head width of whole vectors of 16";
    return p->dim[CAUSAL] ? "has no mask" : fits(p);
}

static const char *few_prefers(const ldm_problem *p, const int *params, const ldm_device *d) {
    enum { LEAST_WIDTH = 128 };
    return p->dim[D] < LEAST_WIDTH ? "narrow heads: scores are summed across lanes too often" : NULL;
}

static ldm_status few_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    enum { EACH = 4 }; /* FEW_QUERIES */
    ldm_rec_kernel(r, "attention_cpu.cl", "attention_few");
    arguments(p, r);
    ldm_rec_range3(r, ldm_ceil_div(p->dim[NQ], EACH), p->dim[HEADS], p->dim[N], 1, 1, 1);
    return r->status;
}

enum { TILE_Q, GROUP, GROUPS }; /* tunables of attention_gpu; the derived sizes follow attention_gpu.cl */
static const ldm_tunable gpu_tunables[] = {{"TILE_Q", "queries of a work-group", {64, 32, 16, 8}},
                                           {"GROUP", "work-items of a work-group", {128, 256, 64}},
                                           {"SPLIT", "work-groups of 128 up to which keys are split", {512, 256, 1}},
                                           {0}};

static int64_t gpu_keys(const int *t) { return t[TILE_Q] == 8 ? 128 : t[GROUP] > 128 ? 64 : 32; }

static int64_t gpu_quads(const ldm_problem *p, const int *t) {
    return ldm_ceil_div(p->dim[D], 16 * t[GROUP] / t[TILE_Q]);
}

/* Sums in registers at most 72, local memory at most 32 KiB, work-groups at most the device's. */
static bool gpu_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t keys = gpu_keys(t), queries = t[TILE_Q] * keys / 4 / t[GROUP];
    const int64_t quads = gpu_quads(p, t), pad = 16 * t[GROUP] / t[TILE_Q] * quads;
    const int64_t v_floats = pad * (pad <= 64    ? 32
                                    : pad <= 128 ? 16
                                    : pad <= 256 ? 8
                                    : pad <= 512 ? 4
                                                 : 2),
                  qk_floats = 16 * (t[TILE_Q] + keys + 4);
    const int64_t floats =
        (v_floats > qk_floats ? v_floats : qk_floats) + keys * (t[TILE_Q] + 4) + t[GROUP] + t[TILE_Q];
    return queries >= 1 && t[GROUP] >= t[TILE_Q] && 4 * queries + 16 * quads <= 72 && quads <= 4 &&
           floats * 4 <= 32768 && floats * 4 <= (int64_t)d->local_bytes && (size_t)t[GROUP] <= d->max_group;
}

static const char *gpu_supports(const ldm_problem *p, const ldm_device *d) {
    int t[LDM_MAX_TUNABLES];
    const ldm_impl row = {.tunables = gpu_tunables, .legal = gpu_legal};
    ldm_default_params(p, &row, d, t);
    return gpu_legal(p, t, d) ? fits(p) : "no tile of this head width fits the device's work-groups and local memory";
}

/* Keys that a work-group goes through: all, or where there are few work-groups a part of them, whole blocks. */
static int64_t gpu_range(const ldm_problem *p, const int *t) {
    enum { LEAST_KEYS = 128, MOST_PARTS = 32 << 20 };
    const int64_t *d = p->dim, groups = ldm_ceil_div(d[NQ], t[TILE_Q]) * d[HEADS] * d[N];
    const int64_t part = d[N] * d[NQ] * d[HEADS] * (d[D] + 2) * (int64_t)sizeof(float);
    int64_t splits = t[GROUPS] > 1 ? t[GROUPS] * 128 / t[GROUP] / groups : 1;
    if (splits > d[NKV] / LEAST_KEYS) splits = d[NKV] / LEAST_KEYS;
    if (splits > MOST_PARTS / part) splits = MOST_PARTS / part;
    return splits < 2 ? d[NKV] : ldm_round_up(ldm_ceil_div(d[NKV], splits), gpu_keys(t));
}

static int64_t gpu_splits(const ldm_problem *p, const int *t) { return ldm_ceil_div(p->dim[NKV], gpu_range(p, t)); }

static const char *gpu_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t groups = ldm_ceil_div(p->dim[NQ], t[TILE_Q]) * p->dim[HEADS] * p->dim[N] * gpu_splits(p, t);
    const int smaller[] = {t[TILE_Q] / 2, 256}, wider[] = {t[TILE_Q], 256};
    if (t[GROUP] < 256 && gpu_quads(p, t) > 3 && gpu_legal(p, wider, d)) return "many sums: more work-items have fewer each";
    if (t[TILE_Q] > 8 && 4 * groups < 3 * (int64_t)d->units && gpu_legal(p, smaller, d)) return "few work-groups: smaller tiles are more";
    return NULL;
}

static size_t gpu_scratch(const ldm_problem *p, const int *t, const ldm_device *dev) {
    const int64_t *d = p->dim, splits = gpu_splits(p, t);
    return splits > 1 ? (size_t)(splits * d[N] * d[NQ] * d[HEADS] * (d[D] + 2)) * sizeof(float) : 0;
}

static ldm_status gpu_record(const ldm_problem *p, const int *t, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, splits = gpu_splits(p, t);
    for (int merge = 0; merge <= (splits > 1); merge++) {
        ldm_rec_kernel(r, "attention_gpu.cl", merge ? "attention_merge" : "attention_block");
        ldm_rec_define(r, "TILE_Q", t[TILE_Q]);
        ldm_rec_define(r, "GROUP", t[GROUP]);
        ldm_rec_define(r, "QUADS_D", gpu_quads(p, t));
        ldm_rec_define(r, "CHUNK", d[D] % 16 && d[D] <= 64 ? 8 : 16);
        ldm_rec_define(r, "VEC", d[D] % 4 == 0);
        if (merge) {
            ldm_row_storage(p, r);
            ldm_rec_slot(r, SLOT_Y);
            ldm_rec_scratch(r, 0);
            ldm_rec_int(r, d[N] * d[NQ]);
            ldm_rec_int(r, d[HEADS]);
            ldm_rec_int(r, d[D]);
            ldm_rec_int(r, splits);
            ldm_rec_range1(r, d[N] * d[NQ] * d[HEADS] * ldm_ceil_div(d[D], 4), 64);
        } else {
            arguments(p, r);
            ldm_rec_scratch(r, 0);
            ldm_rec_int(r, d[N]);
            ldm_rec_int(r, gpu_range(p, t));
            ldm_rec_range3(r, ldm_ceil_div(d[NQ], t[TILE_Q]) * t[GROUP], d[HEADS], d[N] * splits, t[GROUP], 1, 1);
        }
    }
    return r->status;
}

/* Queries of a work-group of attention_few in attention_gpu.cl: what their local memory, at most 32 KiB, has room for. */
static int64_t gpu_few_queries(const ldm_problem *p) { return p->dim[D] > 512 ? 2 : 4; }

static const char *gpu_few_supports(const ldm_problem *p, const ldm_device *d) {
    enum { MOST_KEYS = 256, MOST_WIDTH = 1024, GROUP_SIZE = 256, LOCAL_BYTES = 32768 };
    if (p->dim[NKV] > MOST_KEYS || p->dim[D] % 4 || p->dim[D] > MOST_WIDTH)
        return "needs at most 256 keys, and a head width of whole vectors of 4 up to 1024";
    if (p->dim[CAUSAL]) return "has no mask";
    if (d->max_group < GROUP_SIZE || d->local_bytes < LOCAL_BYTES) return "needs work-groups of 256 and 32 KiB of local memory";
    return fits(p);
}

static ldm_status gpu_few_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, each = gpu_few_queries(p);
    ldm_rec_kernel(r, "attention_gpu.cl", "attention_few");
    ldm_rec_define(r, "FEW_Q", each);
    ldm_rec_define(r, "FEW_D", d[D]);
    arguments(p, r);
    ldm_rec_range3(r, ldm_ceil_div(d[NQ], each) * 256, d[HEADS], d[N], 256, 1, 1);
    return r->status;
}

static const ldm_impl impls[] = {
    {.name = "attention_one_key",
     .idea = "the softmax over one key is 1: copies its value",
     .family = LDM_PLAIN,
     .supports = one_key_supports,
     .record = one_key_record,
     .exact = true},
    {.name = "attention_gpu_few",
     .idea = "few keys, wide heads: 2 or 4 queries a work-group, 16 work-items a key, then 4 channels and a share of the keys each",
     .family = LDM_GPU,
     .supports = gpu_few_supports,
     .prefers = few_prefers,
     .record = gpu_few_record,
     .exact = true},
    {.name = "attention_gpu",
     .idea = "fused; tiles of queries against blocks of keys, scores and output in registers, keys split to fill the device",
     .family = LDM_GPU,
     .supports = gpu_supports,
     .prefers = gpu_prefers,
     .tunables = gpu_tunables,
     .legal = gpu_legal,
     .scratch = gpu_scratch,
     .record = gpu_record,
     .exact = true},
    {.name = "attention_few",
     .idea = "few keys: lanes are elements, four queries a work-item, scores summed across lanes",
     .family = LDM_CPU,
     .supports = few_supports,
     .prefers = few_prefers,
     .record = few_record,
     .exact = true},
    {.name = "attention_cpu",
     .idea = "fused; strips of two vectors of queries against blocks of keys, two products of register tiles",
     .family = LDM_CPU,
     .supports = cpu_supports,
     .prefers = cpu_prefers,
     .tunables = cpu_tunables,
     .legal = cpu_legal,
     .scratch = cpu_scratch,
     .record = cpu_record,
     .exact = true},
    {.name = "attention_plain",
     .idea = "one work-item a query and 32 outputs, online softmax key by key",
     .family = LDM_PLAIN,
     .supports = plain_supports,
     .record = plain_record,
     .exact = true},
    {0}};

static const char *const cases[] = {"attention:f32 n=1 heads=2 nq=64 nkv=64 d=40",
                                    "attention:f32 n=2 heads=3 nq=33 nkv=77 d=64",
                                    "attention:f32 n=1 heads=2 nq=5 nkv=1 d=24",
                                    "attention:f32 n=2 heads=1 nq=1 nkv=2 d=16",
                                    "attention:f32 n=1 heads=2 nq=77 nkv=77 d=64 causal=yes",
                                    "attention:f32 n=1 heads=2 nq=37 nkv=101 d=8 causal=yes",
                                    "attention:f32 n=2 heads=4 nq=70 nkv=140 d=40 causal=yes",
                                    "attention:f32 n=2 heads=2 nq=40 nkv=40 d=32 layout=legacy",
                                    "attention:f32 n=2 heads=2 nq=65 nkv=65 d=20 layout=packed scale=0.3",
                                    "attention:f32 n=1 heads=1 nq=36 nkv=130 d=160",
                                    "attention:f32 n=1 heads=1 nq=34 nkv=70 d=512",
                                    "attention:f32 n=1 heads=1 nq=33 nkv=65 d=1024",
                                    "attention:f32 n=1 heads=2 nq=300 nkv=9 d=3",
                                    "attention:f32 n=2 heads=1 nq=33 nkv=301 d=6",
                                    "attention:f16 n=1 heads=2 nq=300 nkv=300 d=16 causal=yes layout=packed",
                                    "attention:f32 n=1 heads=2 nq=16 nkv=300 d=1",
                                    "attention:f16 n=1 heads=2 nq=70 nkv=66 d=40",
                                    "attention:f16 n=1 heads=2 nq=33 nkv=33 d=64 layout=packed",
                                    "attention:f16 n=2 heads=2 nq=34 nkv=34 d=12 layout=legacy causal=yes",
                                    "attention:f32 n=2 heads=2 nq=6 nkv=17 d=144",
                                    "attention:f16 n=1 heads=1 nq=16 nkv=66 d=576",
                                    "attention:f16 n=1 heads=2 nq=35 nkv=35 d=48 layout=legacy",
                                    NULL};

static const char *const exact_cases[] = {"attention:f32 n=1 heads=2 nq=64 nkv=200 d=64",
                                          "attention:f32 n=2 heads=2 nq=35 nkv=35 d=80 layout=packed",
                                          "attention:f32 n=1 heads=2 nq=45 nkv=50 d=64 causal=yes",
                                          "attention:f16 n=1 heads=1 nq=33 nkv=70 d=384",
                                          "attention:f16 n=1 heads=2 nq=33 nkv=33 d=96 layout=legacy",
                                          NULL};

const ldm_op ldm_op_attention = {
    .name = "attention",
    .summary = "softmax(scale q k^T) v for each head, fused",
    .dims = "n heads nq nkv d layout=split|legacy|packed causal=no|yes",
    .floats = "scale=0",
    .slots = "q k v y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .fill = fill,
    .impls = impls,
    .cases = cases,
    .exact_cases = exact_cases,
};
