/* gpu_tile.c -- tunables, constraints and cuts of the register-tiled GPU kernels (gemm_gpu.cl, conv2d_gpu.cl). */
#include "ops/gpu_tile.h"

enum { TILE_M, TILE_N, SPLIT };
enum {
    TILE_K = 8,
    WORK_M = 8,
    MOST_GROUP = 256,
    MOST_LOCAL = 32768,
    MOST_PARTS = 32 << 20,
    LEAST_RANGE = 128,
    RESIDENT = 4, /* work-groups of 128 a compute unit has registers for */
    MERGE = 40
};
static const double HIGH = 1.21;

const ldm_tunable ldm_gpu_tile_tunables[] = {{"TILE_M", "rows (pixels) of a work-group", {128, 64}},
                                             {"TILE_N", "outputs of a work-group", {64, 32}},
                                             {"SPLIT", "work-groups up to which K is split", {512, 256, 1}},
                                             {0}};

static int group_of(const int *t) { return t[TILE_M] / WORK_M * (t[TILE_N] / (t[TILE_M] / 16)); }

static bool fits(const int *t, const ldm_device *d) {
    const size_t group = (size_t)group_of(t),
                 local = (size_t)(2 * TILE_K * (t[TILE_M] / 4 + 1 + t[TILE_N] / 4 + 1)) * 16;
    return group <= MOST_GROUP && group <= d->max_group && local <= MOST_LOCAL && local <= d->local_bytes;
}

bool ldm_gpu_tile_legal(const ldm_problem *p, const int *t, const ldm_device *d) { return fits(t, d); }

ldm_gpu_cut ldm_gpu_cut_of(const int *t, int64_t rows, int64_t cols, int64_t depth, int64_t batch) {
    ldm_gpu_cut c = {ldm_ceil_div(rows, t[TILE_M]), ldm_ceil_div(cols, t[TILE_N]), 1, ldm_round_up(depth, TILE_K), 0};
    const int64_t groups = c.tiles_m * c.tiles_n * batch, part = rows * cols * batch * (int64_t)sizeof(float);
    int64_t splits = t[SPLIT] / groups;
    if (splits > depth / LEAST_RANGE) splits = depth / LEAST_RANGE;
    if (splits > MOST_PARTS / part) splits = MOST_PARTS / part;
    if (splits < 2) return c;
    c.k_range = ldm_round_up(ldm_ceil_div(depth, splits), TILE_K);
    c.splits = ldm_ceil_div(depth, c.k_range);
    c.scratch = (size_t)(c.splits * part);
    return c;
}

/* What a product makes of a device in these tiles: the part of them that is outputs, times the part of the work-groups it has
 * room for at a time that there are, times HIGH in the high tile, whose work-items read less for each product; merging a
 * part of a split takes as long as MERGE more products. From what an H100 takes for the products of SD 1.5 and LDM-8. */
static double use_of(int tile_m, int tile_n, int64_t rows, int64_t cols, int64_t depth, int64_t batch, const ldm_device *d) {
    const int t[] = {tile_m, tile_n, ldm_gpu_tile_tunables[SPLIT].value[0]};
    const ldm_gpu_cut cut = ldm_gpu_cut_of(t, rows, cols, depth, batch);
    const int64_t groups = cut.tiles_m * cut.tiles_n * batch * cut.splits, room = (int64_t)RESIDENT * d->units;
    const double filled = (double)rows * (double)cols / ((double)(cut.tiles_m * tile_m) * (double)(cut.tiles_n * tile_n));
    const double used = (double)groups / (double)ldm_round_up(groups, room), merge = cut.splits > 1 ? (double)(MERGE * cut.splits) : 0;
    return filled * used * (tile_m > 64 ? HIGH : 1) * (double)depth / ((double)depth + merge);
}

const char *ldm_gpu_tile_prefers(const int *t, int64_t rows, int64_t cols, int64_t depth, int64_t batch, const ldm_device *d) {
    if (t[TILE_N] > 32 && cols <= 32) return "few outputs: narrow tiles waste less";
    if (t[TILE_N] <= 32 && cols > 32) return "many outputs: wide tiles read less";
    const bool best_high = use_of(128, t[TILE_N], rows, cols, depth, batch, d) >= use_of(64, t[TILE_N], rows, cols, depth, batch, d);
    if (best_high == (t[TILE_M] > 64)) return NULL;
    return best_high ? "high tiles read less" : "low tiles are more work-groups, or waste less";
}

const char *ldm_gpu_tile_supports(const ldm_device *d, int64_t rows, int64_t cols, int64_t depth) {
    static const int least[] = {64, 32, 1};
    if (!fits(least, d)) return "needs work-groups of 64 and 6.5 KiB of local memory";
    if (rows > INT32_MAX / 2 || cols > INT32_MAX / 256 || depth > INT32_MAX / 256)
        return "more than 2^30 rows, 2^23 outputs or 2^23 products";
    return NULL;
}

void ldm_gpu_tile_defines(const int *params, ldm_recipe *r) {
    for (int i = TILE_M; i <= TILE_N; i++) ldm_rec_define(r, ldm_gpu_tile_tunables[i].name, params[i]);
}

void ldm_gpu_tile_range(const int *t, const ldm_gpu_cut *cut, int64_t batch, ldm_recipe *r) {
    ldm_rec_range3(r, cut->tiles_m * group_of(t), cut->tiles_n, cut->splits * batch, group_of(t), 1, 1);
}

void ldm_gpu_gemm_sizes(const int *params, const ldm_gpu_cut *cut, int64_t rows, int64_t sample, int64_t cols, int64_t depth,
                        int64_t batch, bool merge, ldm_recipe *r) {
    ldm_rec_int(r, merge ? rows * batch : rows);
    ldm_rec_int(r, sample);
    ldm_rec_int(r, cols);
    if (merge) {
        ldm_rec_int(r, cut->splits);
        ldm_rec_range1(r, rows * batch * ldm_ceil_div(cols, 4), 64);
    } else {
        ldm_rec_int(r, depth);
        ldm_rec_int(r, batch);
        ldm_rec_int(r, cut->k_range);
        ldm_gpu_tile_range(params, cut, batch, r);
    }
}
