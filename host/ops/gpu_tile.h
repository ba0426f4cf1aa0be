/* gpu_tile.h -- what the register-tiled GPU kernels of gemm and conv2d share on the host (internal to host/ops):
 * tunables, their constraints, and when the depth (K) is split over work-groups. */
#ifndef LDM_GPU_TILE_H
#define LDM_GPU_TILE_H

#include "ops/op.h"

extern const ldm_tunable ldm_gpu_tile_tunables[];
/* Work-group at most 256 and the device's, local memory at most 32 KiB and the device's. */
bool ldm_gpu_tile_legal(const ldm_problem *p, const int *params, const ldm_device *d);
/* NULL, or why not: of the high and the low tile the one that makes more of the device for `rows` x `cols` outputs of `depth`
 * products each, `batch` times; the narrow one only for few outputs. */
const char *ldm_gpu_tile_prefers(const int *params, int64_t rows, int64_t cols, int64_t depth, int64_t batch, const ldm_device *d);
/* NULL, or why not even the smallest tile runs; rows x cols outputs of `depth` products each. */
const char *ldm_gpu_tile_supports(const ldm_device *d, int64_t rows, int64_t cols, int64_t depth);

/* How a rows x cols product of `depth` is cut, `batch` times over: decided by the problem and the
 * parameters alone, so that results are the same on every device that takes these. */
typedef struct ldm_gpu_cut {
    int64_t tiles_m, tiles_n, splits;
    int64_t k_range; /* products of one split; at least depth where splits is 1 */
    size_t scratch;  /* bytes of the parts; 0 where splits is 1 */
} ldm_gpu_cut;
ldm_gpu_cut ldm_gpu_cut_of(const int *params, int64_t rows, int64_t cols, int64_t depth, int64_t batch);

/* -D of the tile, and the range of the main kernel. */
void ldm_gpu_tile_defines(const int *params, ldm_recipe *r);
void ldm_gpu_tile_range(const int *params, const ldm_gpu_cut *cut, int64_t batch, ldm_recipe *r);
/* The numbers behind the buffers of gemm_gpu.cl's kernels, and the range: `batch` products of rows x cols, `sample` rows of
 * which share a vec; gemm_merge (`merge`) adds the parts of all of them. */
void ldm_gpu_gemm_sizes(const int *params, const ldm_gpu_cut *cut, int64_t rows, int64_t sample, int64_t cols, int64_t depth,
                        int64_t batch, bool merge, ldm_recipe *r);

#endif
