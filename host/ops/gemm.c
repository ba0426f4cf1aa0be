/* gemm.c -- the op `gemm` (linear layers, batched products): what it means, its cost, its cases, and the rows that run
 * it. The kernels are in kernels/gemm*.cl, the reference in reference/ref_gemm.c, weight layouts in pack.c. */
#include "ops/clblast.h"
#include "ops/gpu_tile.h"
#include "ops/pack.h"
#include "ops/product.h"
#include "ops/row.h"

enum { M, N, K, BATCH, ACT };
enum { GEGLU = 5 }; /* act: the first half of the columns times gelu of the second */
enum { BIAS = 1, RESIDUAL = 2, WKN = 4, WBATCH = 8, VEC = 16 };
enum { SLOT_X, SLOT_W, SLOT_BIAS, SLOT_VEC, SLOT_RESIDUAL, SLOT_Y };

/* of y */
static int64_t columns(const ldm_problem *p) { return p->dim[ACT] == GEGLU ? p->dim[N] / 2 : p->dim[N]; }

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    static const char *const name[ACT] = {"m", "n", "k", "batch"};
    const int64_t *d = p->dim;
    for (int i = 0; i < ACT; i++)
        if (d[i] < 1 || d[i] > 1 << 28)
            return ldm_fail(LDM_ERR_ARG, "gemm: %s is %lld, wanted 1 to 2^28", name[i], (long long)d[i]);
    ldm_status st = ldm_weight_types(p, d[K], 0, (p->flags & WKN) != 0);
    if (st) return st;
    bool wbatch = (p->flags & WBATCH) != 0;
    if (d[ACT] == GEGLU && (d[N] % 2 || p->flags & (WBATCH | VEC | RESIDUAL)))
        return ldm_fail(LDM_ERR_ARG, "gemm: geglu takes an even n and neither wbatch, vec nor residual; n is %lld",
                        (long long)d[N]);
    if (wbatch && p->wdtype != p->dtype)
        return ldm_fail(LDM_ERR_ARG, "gemm: with wbatch w is an activation: storage is %s*%s, wanted one type",
                        ldm_dtype_name(p->dtype), ldm_dtype_name(p->wdtype));
    ldm_shape y = ldm_shape_of(3, d[BATCH], d[M], columns(p));
    int64_t rows = p->flags & WKN ? d[K] : d[N], cols = p->flags & WKN ? d[N] : d[K];
    slot[SLOT_X] = (ldm_slot){true, false, p->dtype, ldm_shape_of(3, d[BATCH], d[M], d[K])};
    slot[SLOT_W] = (ldm_slot){true, !wbatch, p->wdtype,
                              wbatch ? ldm_shape_of(3, d[BATCH], rows, cols) : ldm_shape_of(2, rows, cols)};
    slot[SLOT_BIAS] = (ldm_slot){(p->flags & BIAS) != 0, true, LDM_F32, ldm_shape_of(1, d[N])};
    slot[SLOT_VEC] = (ldm_slot){(p->flags & VEC) != 0, false, p->dtype, ldm_shape_of(2, d[BATCH], d[N])};
    slot[SLOT_RESIDUAL] = (ldm_slot){(p->flags & RESIDUAL) != 0, false, p->dtype, y};
    slot[SLOT_Y] = (ldm_slot){true, false, p->dtype, y};
    return LDM_OK;
}

static ldm_cost cost(const ldm_problem *p) {
    const int64_t *d = p->dim;
    double products = (double)d[BATCH] * (double)d[M] * (double)d[N] * (double)d[K];
    double y = (double)d[BATCH] * (double)d[M] * (double)columns(p), x = (double)d[BATCH] * (double)d[M] * (double)d[K];
    double w = (double)d[N] * (double)d[K] * (p->flags & WBATCH ? (double)d[BATCH] : 1);
    return (ldm_cost){2 * products, (double)ldm_dtype_size(p->dtype) * (x + y * (p->flags & RESIDUAL ? 2 : 1)) +
                                        (double)ldm_dtype_bytes(p->wdtype, LDM_Q8_BLOCK) / LDM_Q8_BLOCK * w};
}

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    const int64_t *d = p->dim;
    ref_gemm_dims r = {.batch = d[BATCH],
                       .m = d[M],
                       .n = d[N],
                       .k = d[K],
                       .wkn = (p->flags & WKN) != 0,
                       .wbatch = (p->flags & WBATCH) != 0,
                       .act = d[ACT] == GEGLU ? REF_NONE : (ref_act)d[ACT],
                       .geglu = d[ACT] == GEGLU};
    ref_gemm(ldm_row_out(which, d[BATCH] * d[M] * columns(p), p->dtype, y, bound), &r, in[SLOT_X], in[SLOT_W],
             in[SLOT_BIAS], in[SLOT_VEC], in[SLOT_RESIDUAL]);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* q8_0 lies in blocks; everything else is read as the file has it. */
static bool plain_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    return slot == SLOT_W && p->wdtype == LDM_Q8_0 && ldm_pack_rows(LDM_Q8_0, p->dim[N], p->dim[K], 0, 1, 0, out);
}

static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    ldm_row_kernel(p, r, "gemm.cl", "gemm_plain");
    ldm_rec_slot(r, SLOT_Y);
    for (int i = 0; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, d[BATCH]);
    ldm_rec_int(r, d[M]);
    ldm_rec_int(r, d[N]);
    ldm_rec_int(r, d[K]);
    ldm_rec_int(r, (p->flags & WKN) != 0);
    ldm_rec_int(r, (p->flags & WBATCH) != 0);
    ldm_rec_int(r, d[ACT]);
    ldm_rec_range1(r, d[BATCH] * d[M] * columns(p), 64);
    return r->status;
}

static const char *cpu_supports(const ldm_problem *p, const ldm_device *d) {
    if (p->dim[BATCH] * p->dim[M] > INT32_MAX / 2 || p->dim[K] > INT32_MAX / 64)
        return "more than 2^30 rows or 2^25 products";
    return NULL;
}

/* Rows of one product: without wbatch the batch is just more rows. */
static int64_t rows(const ldm_problem *p) { return p->flags & WBATCH ? p->dim[M] : p->dim[M] * p->dim[BATCH]; }

static const ldm_tunable cpu_tunables[] = LDM_TILE_TUNABLES("TILE_ROWS", "rows of a tile");


static bool cpu_legal(const ldm_problem *p, const int *params, const ldm_device *d) {
    return ldm_tile_legal(params, rows(p), d);
}

static size_t cpu_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    if (!(p->flags & WBATCH)) return 0;
    return (size_t)(p->dim[BATCH] * ldm_round_up(p->dim[N], 2 * params[LDM_TILE_LANES]) * p->dim[K]) * ldm_dtype_size(p->dtype);
}

/* In panels of `width`; of a gated product `run` values, then their gates. */
static bool pack_panels(const ldm_problem *p, int64_t width, int64_t run, ldm_packing *out) {
    const bool wkn = (p->flags & WKN) != 0;
    if (p->dim[ACT] == GEGLU) return ldm_pack_gated_panels(p->wdtype, width, p->dim[N], p->dim[K], wkn, run, out);
    return ldm_pack_panels(p->wdtype, width, p->dim[N], p->dim[K], 0, 1, wkn, 0, out);
}

static bool cpu_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    const int lanes = params[LDM_TILE_LANES];
    return slot == SLOT_W && pack_panels(p, 2 * lanes, lanes, out);
}

static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, width = 2 * params[LDM_TILE_LANES], panels = ldm_ceil_div(d[N], width);
    const ldm_tiling t = ldm_share_tiles(rows(p), params[LDM_TILE_ROWS], d[K], d[K], panels, width, dev->units);
    const bool wbatch = (p->flags & WBATCH) != 0;
    if (wbatch) {
        ldm_row_kernel(p, r, "gemm_cpu.cl", "gemm_panels");
        ldm_tile_defines("TILE_ROWS", params, r);
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, SLOT_W);
        ldm_rec_int(r, d[N]);
        ldm_rec_int(r, d[K]);
        ldm_rec_int(r, (p->flags & WKN) != 0);
        ldm_rec_range3(r, ldm_ceil_div(d[K], 64), panels, d[BATCH], 1, 1, 1);
    }
    ldm_row_kernel(p, r, "gemm_cpu.cl", "gemm_tile");
    ldm_tile_defines("TILE_ROWS", params, r);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_X);
    if (wbatch) ldm_rec_scratch(r, 0);
    else ldm_rec_slot(r, SLOT_W);
    for (int i = SLOT_BIAS; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, rows(p));
    ldm_rec_int(r, d[M]);
    ldm_rec_int(r, d[N]);
    ldm_rec_int(r, d[K]);
    ldm_rec_int(r, d[ACT]);
    ldm_rec_int(r, t.block);
    ldm_rec_int(r, t.group);
    ldm_rec_range2(r, t.items, wbatch ? d[BATCH] : 1, 1, 1);
    return r->status;
}

enum { ROW_PARTS, ROW_LANES }; /* tunables of gemm_row; the second is LDM_TILE_LANES, for cpu_pack */
static const ldm_tunable row_tunables[] = {
    {"PARTS", "parts of a sum", {1, 2, 4, 8, 16}}, {"LANES", "floats of a vector, as many as a register holds", {16, 8, 4}}, {0}};

static int64_t row_panels(const ldm_problem *p, const int *t) { return ldm_ceil_div(p->dim[N], 2 * t[ROW_LANES]); }

static int64_t row_each(const ldm_problem *p, int64_t parts) { return ldm_round_up(ldm_ceil_div(p->dim[K], parts), 32); }

static const char *row_supports(const ldm_problem *p, const ldm_device *d) {
    return p->dim[M] * p->dim[BATCH] > 1 || p->flags & WBATCH ? "needs a single row and packed weights" : cpu_supports(p, d);
}

static bool row_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    return t[ROW_LANES] == ldm_row_lanes(d) && (t[ROW_PARTS] - 1) * row_each(p, t[ROW_PARTS]) < p->dim[K];
}

/* A launch more than pays only where there are not two panels a unit, and long sums. */
static const char *row_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    return row_panels(p, t) * t[ROW_PARTS] < 2 * d->units && t[ROW_PARTS] < 16 && p->dim[K] >= 2048 * t[ROW_PARTS]
               ? "more parts of a sum keep all units busy"
               : NULL;
}

static size_t row_scratch(const ldm_problem *p, const int *t, const ldm_device *d) {
    return t[ROW_PARTS] == 1 ? 0 : (size_t)(t[ROW_PARTS] * row_panels(p, t) * 2 * t[ROW_LANES]) * sizeof(float);
}

static ldm_status row_record(const ldm_problem *p, const int *t, const ldm_device *dev, ldm_recipe *r) {
    for (int merge = 0; merge <= (t[ROW_PARTS] > 1); merge++) {
        ldm_row_kernel(p, r, "gemm_cpu.cl", merge ? "gemm_row_merge" : "gemm_row");
        ldm_tile_defines("TILE_ROWS", (int[]){1, t[ROW_LANES]}, r);
        ldm_rec_slot(r, SLOT_Y);
        ldm_rec_scratch(r, 0);
        for (int i = merge ? SLOT_BIAS : SLOT_X; i < SLOT_Y; i++) ldm_rec_slot(r, i);
        ldm_rec_int(r, p->dim[N]);
        if (!merge) ldm_rec_int(r, p->dim[K]);
        ldm_rec_int(r, p->dim[ACT]);
        ldm_rec_int(r, t[ROW_PARTS]);
        if (!merge) ldm_rec_int(r, row_each(p, t[ROW_PARTS]));
        ldm_rec_range2(r, row_panels(p, t), merge ? 1 : t[ROW_PARTS], 1, 1);
    }
    return r->status;
}

bool ldm_gemm_product(const ldm_problem *p, ldm_product *out) {
    const bool gated = p->dim[ACT] == GEGLU;
    *out = (ldm_product){.m = rows(p), .per = p->dim[M], .n = p->dim[N], .c = p->dim[K], .act = (int)p->dim[ACT],
                         .x = SLOT_X, .x2 = LDM_NO_SLOT, .w = SLOT_W, .bias = SLOT_BIAS, .vec = SLOT_VEC,
                         .residual = SLOT_RESIDUAL, .y = SLOT_Y, .kn = (p->flags & WKN) != 0, .gated = gated};
    return !(p->flags & WBATCH);
}

/* GPU: without wbatch the weights are packed in panels of 32, gates beside their values, else they are read as they lie. */
static bool gpu_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    return slot == SLOT_W && pack_panels(p, 32, 1, out);
}

static int64_t products(const ldm_problem *p) { return p->flags & WBATCH ? p->dim[BATCH] : 1; }

static ldm_gpu_cut gpu_cut(const ldm_problem *p, const int *params) {
    return ldm_gpu_cut_of(params, rows(p), p->dim[N], p->dim[K], products(p));
}

static const char *gpu_prefers(const ldm_problem *p, const int *params, const ldm_device *d) {
    return ldm_gpu_tile_prefers(params, rows(p), p->dim[N], p->dim[K], products(p), d);
}

static const char *gpu_supports(const ldm_problem *p, const ldm_device *d) {
    return ldm_gpu_tile_supports(d, rows(p) * products(p), p->dim[N], p->dim[K]);
}

static size_t gpu_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    return gpu_cut(p, params).scratch;
}

static ldm_status gpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    const ldm_gpu_cut cut = gpu_cut(p, params);
    for (int merge = 0; merge <= (cut.splits > 1); merge++) {
        ldm_row_kernel(p, r, "gemm_gpu.cl", merge ? "gemm_merge" : "gemm_block");
        ldm_gpu_tile_defines(params, r);
        ldm_rec_define(r, "VEC", d[N] % 4 == 0 && d[K] % 4 == 0);
        ldm_rec_define(r, "W_LAYOUT", !(p->flags & WBATCH) ? 0 : p->flags & WKN ? 1 : 2);
        ldm_rec_define(r, "ACT", d[ACT]);
        ldm_rec_slot(r, SLOT_Y);
        ldm_rec_scratch(r, 0);
        if (!merge) ldm_rec_slot(r, SLOT_X);
        if (!merge) ldm_rec_slot(r, SLOT_W);
        for (int i = SLOT_BIAS; i < SLOT_Y; i++) ldm_rec_slot(r, i);
        ldm_gpu_gemm_sizes(params, &cut, rows(p), d[M], d[N], d[K], products(p), merge, r);
    }
    return r->status;
}

static const char *gpu_row_supports(const ldm_problem *p, const ldm_device *d) {
    enum { MOST_ROWS = 4, GROUP = 256, LOCAL_BYTES = 16384 };
    if (p->flags & WBATCH || rows(p) > MOST_ROWS) return "needs one matrix, and at most 4 rows";
    if (d->max_group < GROUP || d->local_bytes < LOCAL_BYTES) return "needs work-groups of 256 and 16 KiB of local memory";
    return gpu_supports(p, d);
}

static ldm_status gpu_row_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    ldm_row_kernel(p, r, "gemm_gpu.cl", "gemm_few");
    ldm_rec_define(r, "ROWS", rows(p));
    ldm_rec_define(r, "VEC", d[N] % 4 == 0);
    ldm_rec_define(r, "ACT", d[ACT]);
    ldm_rec_slot(r, SLOT_Y);
    for (int i = SLOT_X; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, d[M]);
    ldm_rec_int(r, d[N]);
    ldm_rec_int(r, d[K]);
    ldm_rec_range1(r, ldm_ceil_div(d[N], 32) * 256, 256);
    return r->status;
}

static const char *clblast_supports(const ldm_problem *p, const ldm_device *d) {
    if (p->dim[ACT] == GEGLU) return "geglu is no part of what stands around the library's product";
    return ldm_clblast_supports(p, rows(p) * products(p), p->dim[N], p->dim[K]);
}

static ldm_status clblast_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    ldm_clblast_product(&(ldm_clblast_gemm){SLOT_X, SLOT_W, SLOT_Y, rows(p), d[N], d[K], products(p),
                                            .kn = (p->flags & WKN) != 0, .b_batch = (p->flags & WBATCH) != 0},
                        r);
    ldm_clblast_epilogue((p->flags & (BIAS | VEC | RESIDUAL)) || d[ACT], SLOT_Y, SLOT_BIAS, SLOT_VEC, SLOT_RESIDUAL,
                         rows(p) * products(p), d[N], d[M], d[ACT], r);
    return r->status;
}

static const ldm_impl impls[] = {
    {.name = "gemm_gpu_row",
     .idea = "at most 4 rows: a panel of 32 columns a work-group, 32 slices of K, packed weights read once",
     .family = LDM_GPU,
     .supports = gpu_row_supports,
     .pack = gpu_pack,
     .record = gpu_row_record,
     .exact = true},
    {.name = "gemm_gpu",
     .idea =
         "tiles of 128 x 64 or 64 x 64 through local memory, 8 x 8 or 8 x 4 in registers, K split to fill the device",
     .family = LDM_GPU,
     .supports = gpu_supports,
     .prefers = gpu_prefers,
     .tunables = ldm_gpu_tile_tunables,
     .legal = ldm_gpu_tile_legal,
     .scratch = gpu_scratch,
     .pack = gpu_pack,
     .record = gpu_record,
     .exact = true},
    {.name = "gemm_inplace",
     .idea = "8 rows (6 of vectors of 8 or 4) x 2 vectors of outputs in registers, weights as the checkpoint has them, turned in cache "
             "strip by strip",
     .family = LDM_CPU,
     .supports = ldm_inplace_supports,
     .prefers = ldm_inplace_prefers,
     .tunables = ldm_inplace_tunables,
     .legal = ldm_inplace_legal,
     .record = ldm_inplace_record,
     .exact = true},
    {.name = "gemm_row",
     .idea = "one row: a panel's sums, or a part of them, in four chains; packed weights read once",
     .family = LDM_CPU,
     .supports = row_supports,
     .prefers = row_prefers,
     .tunables = row_tunables,
     .legal = row_legal,
     .scratch = row_scratch,
     .pack = cpu_pack,
     .record = row_record,
     .exact = true},
    {.name = "gemm_strassen",
     .idea = "one level of Strassen's algorithm on pairs of tiles, panels and halves of the products: 7 products of tiles for 8",
     .family = LDM_CPU,
     .supports = ldm_strassen_supports,
     .prefers = ldm_strassen_prefers,
     .tunables = ldm_strassen_tunables,
     .legal = ldm_strassen_legal,
     .scratch = ldm_strassen_scratch,
     .pack = ldm_strassen_pack,
     .record = ldm_strassen_record,
     .reference = ldm_strassen_reference,
     .cost = ldm_strassen_cost,
     .grain = ldm_strassen_grain,
     .same_bound = LDM_STRASSEN_SAME_BOUND,
     .exact = true},
    {.name = "gemm_tile",
     .idea = "8 rows (6 of vectors of 8 or 4) x 2 vectors of outputs in registers, packed weights",
     .family = LDM_CPU,
     .supports = cpu_supports,
     .tunables = cpu_tunables,
     .legal = cpu_legal,
     .scratch = cpu_scratch,
     .pack = cpu_pack,
     .record = cpu_record,
     .exact = true},
    {.name = "gemm_clblast",
     .idea = "CLBlast's sgemm; bias, vector, residual and activation after it",
     .family = LDM_LIBRARY,
     .supports = clblast_supports,
     .record = clblast_record,
     .exact = true},
    {.name = "gemm_plain",
     .idea = "one work-item per output element",
     .family = LDM_PLAIN,
     .pack = plain_pack,
     .record = plain_record,
     .exact = true},
    {0}};

/* Row tails 1..17 of every tile, output tails of 16 and 32, products around a strip (256) and a chunk (1024). */
static const char *const cases[] = {"gemm m=1 n=1 k=1",
                                    "gemm m=1 n=1280 k=320 act=silu +bias",
                                    "gemm m=1 n=40 k=2103 act=silu +bias +vec +residual",
                                    "gemm m=1 n=60 k=2080 act=geglu +bias",
                                    "gemm m=1 n=33 k=2050 +bias +wkn",
                                    "gemm m=2 n=1280 k=1280 +bias",
                                    "gemm m=3 n=33 k=17 +bias +residual",
                                    "gemm m=4 n=64 k=1025 +bias",
                                    "gemm m=7 n=31 k=33 act=relu",
                                    "gemm m=8 n=32 k=32",
                                    "gemm m=9 n=127 k=65 +bias",
                                    "gemm m=13 n=96 k=2500 +residual",
                                    "gemm m=15 n=15 k=15 act=gelu +bias",
                                    "gemm m=16 n=16 k=256",
                                    "gemm m=17 n=77 k=257 act=quick_gelu +bias +residual",
                                    "gemm m=63 n=48 k=64 act=silu +bias",
                                    "gemm m=65 n=128 k=31 +bias",
                                    "gemm m=129 n=129 k=129 +bias +residual",
                                    "gemm m=1000 n=40 k=8",
                                    "gemm batch=3 m=5 n=20 k=12 +bias +residual",
                                    "gemm batch=3 m=7 n=49 k=33 +bias +vec +residual",
                                    "gemm m=19 n=36 k=40 act=silu +vec",
                                    "gemm batch=2 m=6 n=17 k=9 +wbatch +vec",
                                    "gemm batch=3 m=33 n=65 k=40 +wbatch",
                                    "gemm batch=2 m=77 n=31 k=70 +wkn +wbatch +residual",
                                    "gemm m=20 n=50 k=130 act=gelu +bias +wkn",
                                    "gemm m=9 n=64 k=40 act=geglu +bias",
                                    "gemm m=21 n=38 k=17 act=geglu",
                                    "gemm m=1 n=2 k=3 act=geglu +bias",
                                    "gemm batch=2 m=35 n=200 k=70 act=geglu +bias +wkn",
                                    "gemm m=200 n=640 k=1100 act=geglu +bias",
                                    "gemm m=77 n=320 k=768 +bias",
                                    "gemm batch=3 m=7 n=96 k=304 act=silu +bias +vec +residual",
                                    "gemm m=300 n=64 k=528 act=geglu +bias",
                                    "gemm m=256 n=640 k=640 +bias +residual",
                                    "gemm m=64 n=1280 k=1280 +bias",
                                    "gemm m=16 n=1280 k=5120 +bias +residual",
                                    "gemm m=70 n=200 k=640 act=silu +bias",
                                    "gemm batch=3 m=50 n=100 k=96 act=gelu +bias +vec +residual",
                                    "gemm m=40 n=200 k=1088 act=geglu +bias",
                                    "gemm:f16*f32 m=31 n=129 k=320 +bias +wkn",
                                    "gemm m=16500 n=100 k=12 act=silu +bias +residual",
                                    "gemm:f16 m=1 n=1280 k=320 act=silu +bias",
                                    "gemm:f16 m=1 n=50 k=2299 act=gelu +bias +residual",
                                    "gemm:f16 m=3 n=33 k=17 +bias +residual",
                                    "gemm:f16 m=8 n=96 k=256 act=gelu +bias",
                                    "gemm:f16 m=17 n=77 k=521 act=quick_gelu +bias +residual",
                                    "gemm:f16 m=129 n=127 k=1025 +bias",
                                    "gemm:f16 batch=2 m=9 n=72 k=48 +bias +vec +residual",
                                    "gemm:f16 m=20 n=160 k=300 act=geglu +bias",
                                    "gemm:f32*f16 m=5 n=70 k=33 act=geglu +bias",
                                    "gemm:f16 batch=2 m=33 n=65 k=40 +wbatch",
                                    "gemm:f16 batch=2 m=10 n=31 k=70 +wkn +wbatch +residual",
                                    "gemm:f16 m=77 n=320 k=768 +bias +residual",
                                    "gemm:f32*f16 m=2 n=320 k=1280 act=silu +bias",
                                    "gemm:f32*f16 m=31 n=129 k=63 +bias +residual",
                                    "gemm:f16*f32 m=31 n=129 k=300 +bias +wkn",
                                    "gemm:f32*bf16 m=1 n=130 k=70 +bias",
                                    "gemm:f32*bf16 m=21 n=61 k=521 act=silu +bias +residual",
                                    "gemm:f32*bf16 m=5 n=70 k=33 act=geglu +bias",
                                    "gemm:f16*bf16 m=9 n=40 k=300 +bias +wkn",
                                    "gemm:f32*q8_0 m=1 n=33 k=32",
                                    "gemm:f32*q8_0 m=1 n=45 k=2080 +bias",
                                    "gemm:f32*q8_0 m=1 n=1280 k=320 act=silu +bias",
                                    "gemm:f32*q8_0 m=3 n=97 k=288 +bias +vec +residual",
                                    "gemm:f32*q8_0 m=43 n=129 k=544 act=gelu +bias",
                                    "gemm:f32*q8_0 batch=2 m=37 n=150 k=96 act=geglu +bias",
                                    "gemm:f32*q8_0 m=16 n=640 k=5120 +bias +residual",
                                    "gemm:f16*q8_0 m=19 n=72 k=320 +bias +residual",
                                    NULL};

static const char *const exact_cases[] = {"gemm m=13 n=77 k=1500 +bias +residual",
                                          "gemm m=1 n=129 k=20480 +bias",
                                          "gemm batch=2 m=11 n=37 k=90 +bias +vec +residual",
                                          "gemm batch=2 m=11 n=64 k=272 +bias +vec +residual",
                                          "gemm:f16 m=33 n=40 k=77 +bias",
                                          "gemm:f32*f16 m=17 n=31 k=2049 +residual",
                                          "gemm:f32*bf16 m=12 n=70 k=300 +bias",
                                          "gemm:f32*q8_0 m=11 n=70 k=1056 +bias",
                                          "gemm:f32*q8_0 m=2 n=45 k=64 +residual",
                                          "gemm m=77 n=200 k=1088 +bias",
                                          "gemm batch=3 m=9 n=34 k=65 +wbatch +residual",
                                          "gemm batch=2 m=8 n=65 k=33 +wkn +wbatch",
                                          NULL};

const ldm_op ldm_op_gemm = {
    .name = "gemm",
    .summary = "matrix product y = act(x w^T + bias + vec + residual), batched",
    .dims = "m n k batch=1 act=none|relu|silu|gelu|quick_gelu|geglu",
    .flags = "bias residual wkn wbatch vec",
    .slots = "x w bias vec residual y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .impls = impls,
    .cases = cases,
    .exact_cases = exact_cases,
};
