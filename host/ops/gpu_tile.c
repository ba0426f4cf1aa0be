/* gpu_tile.c -- tunables, constraints and cuts of the register-tiled GPU kernels (gemm_gpu.cl, conv2d_gpu.cl). */
#include "ops/gpu_tile.h"

enum { TILE_M, TILE_N, TILE_K, WORK_N, SPLIT };
enum { WORK_M = 8, MOST_GROUP = 256, MOST_LOCAL = 32768, MOST_PARTS = 32 << 20, LEAST_RANGE = 256 };

const ldm_tunable ldm_gpu_tile_tunables[] = {{"TILE_M", "rows (pixels) of a work-group", {64, 128}},
                                             {"TILE_N", "outputs of a work-group", {64, 32}},
                                             {"TILE_K", "products of a step", {8, 16}},
                                             {"WORK_N", "outputs of a work-item", {4, 8}},
                                             {"SPLIT", "work-groups below which K is split", {256, 512, 1}},
                                             {0}};

bool ldm_gpu_tile_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    (void)p;
    const size_t group = (size_t)(t[TILE_M] / WORK_M * (t[TILE_N] / t[WORK_N]));
    const size_t local = (size_t)(2 * t[TILE_K] * (t[TILE_M] / 4 + 1 + t[TILE_N] / 4 + 1)) * 16;
    const size_t x_quads = (size_t)(t[TILE_M] * t[TILE_K] / 4), w_quads = (size_t)(t[TILE_N] * t[TILE_K] / 4);
    return group <= MOST_GROUP && group <= d->max_group && local <= MOST_LOCAL && local <= d->local_bytes &&
           x_quads % group == 0 && w_quads % group == 0;
}

const char *ldm_gpu_tile_supports(const ldm_device *d, int64_t rows, int64_t cols, int64_t depth) {
    static const int least[] = {64, 32, 8, 8, 1};
    if (!ldm_gpu_tile_legal(NULL, least, d)) return "needs work-groups of 32 and 6.5 KiB of local memory";
    if (rows > INT32_MAX / 2 || cols > INT32_MAX / 256 || depth > INT32_MAX / 256)
        return "more than 2^30 rows, 2^23 outputs or 2^23 products";
    return NULL;
}

ldm_gpu_cut ldm_gpu_cut_of(const int *t, int64_t rows, int64_t cols, int64_t depth, int64_t batch) {
    ldm_gpu_cut c = {ldm_ceil_div(rows, t[TILE_M]), ldm_ceil_div(cols, t[TILE_N]), 1, ldm_round_up(depth, t[TILE_K]),
                     0};
    const int64_t groups = c.tiles_m * c.tiles_n * batch, part = rows * cols * batch * (int64_t)sizeof(float);
    int64_t splits = groups < t[SPLIT] ? ldm_ceil_div(t[SPLIT], groups) : 1;
    if (splits > depth / LEAST_RANGE) splits = depth / LEAST_RANGE;
    if (splits > MOST_PARTS / part) splits = MOST_PARTS / part;
    if (splits < 2) return c;
    c.k_range = ldm_round_up(ldm_ceil_div(depth, splits), t[TILE_K]);
    c.splits = ldm_ceil_div(depth, c.k_range);
    c.scratch = (size_t)(c.splits * part);
    return c;
}

void ldm_gpu_tile_defines(const int *params, ldm_recipe *r) {
    for (int i = TILE_M; i <= WORK_N; i++) ldm_rec_define(r, ldm_gpu_tile_tunables[i].name, params[i]);
}

void ldm_gpu_tile_range(const int *t, const ldm_gpu_cut *cut, int64_t batch, ldm_recipe *r) {
    const int64_t group = t[TILE_M] / WORK_M * (t[TILE_N] / t[WORK_N]);
    ldm_rec_range3(r, cut->tiles_m * group, cut->tiles_n, cut->splits * batch, group, 1, 1);
}
