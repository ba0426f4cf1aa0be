/* winograd.h -- 3x3 convolution by Winograd's F(4x4,3x3) and F(2x2,3x3): rows of conv2d for CPUs (winograd.c,
 * winograd_inplace.c, winograd_few.c) and for GPUs (winograd_gpu.c); internal to host/ops. The functions of a row are the contract's (op.h). */
#ifndef LDM_OPS_WINOGRAD_H
#define LDM_OPS_WINOGRAD_H

#include "ops/conv2d.h"

extern const ldm_tunable ldm_winograd_tunables[];
enum { LDM_WINOGRAD_SAME_BOUND = 6 }; /* BLOCK's and GROUP's bits */
const char *ldm_winograd_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_winograd_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_legal(const ldm_problem *p, const int *params, const ldm_device *d);
size_t ldm_winograd_scratch(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *k);
ldm_status ldm_winograd_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
void ldm_winograd_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which,
                            double *y, double *b);
ldm_cost ldm_winograd_cost(const ldm_problem *p, const int *params, const ldm_device *d);

/* Tiles are numbered from the top of the map. Rows have OUT among their tunables, each at its place, or are for 4 only. */
ldm_grain ldm_winograd_grain(const ldm_problem *p, const int *params, const ldm_device *d);
ldm_grain ldm_winograd_inplace_grain(const ldm_problem *p, const int *params, const ldm_device *d);
ldm_grain ldm_winograd_gpu_grain(const ldm_problem *p, const int *params, const ldm_device *d);

ldm_cost ldm_winograd_gpu_cost(const ldm_problem *p, const int *params, const ldm_device *d);
extern const ldm_tunable ldm_winograd_gpu_tunables[];
enum { LDM_WINOGRAD_GPU_SAME_BOUND = 7 }; /* TILE_M's, TILE_N's and SPLIT's bits */
const char *ldm_winograd_gpu_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_winograd_gpu_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_gpu_legal(const ldm_problem *p, const int *params, const ldm_device *d);
size_t ldm_winograd_gpu_scratch(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_gpu_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *k);
ldm_status ldm_winograd_gpu_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
void ldm_winograd_gpu_reference(const ldm_problem *p, const int *params, const float *const *in,
                                const ldm_sample *which, double *y, double *b);

/* Whether there are so few tiles that reading turned filters would take longer than turning them again for each. */
bool ldm_winograd_few(const ldm_problem *p, const ldm_device *d);
extern const ldm_tunable ldm_winograd_few_tunables[];
enum { LDM_WINOGRAD_FEW_SAME_BOUND = 2 }; /* BLOCK's bit */
const char *ldm_winograd_few_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_winograd_few_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_few_legal(const ldm_problem *p, const int *params, const ldm_device *d);
size_t ldm_winograd_few_scratch(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_few_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *k);
ldm_status ldm_winograd_few_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
ldm_grain ldm_winograd_few_grain(const ldm_problem *p, const int *params, const ldm_device *d);
void ldm_winograd_few_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which,
                                double *y, double *b);
ldm_cost ldm_winograd_few_cost(const ldm_problem *p, const int *params, const ldm_device *d);

/* Whether filters had better be turned while they are used than kept turned: where memory counts, or there is one run and less to
 * copy; else from 16 tiles on where they would take more than is kept (below) and, of f32 weights, more than twice what the turned
 * tiles take, of others half; of q8_0 weights, for which no other row of Winograd's is, from 4 tiles on. It costs 10 to 20 % of a
 * layer's time, and with 4 tiles 30 % more than F(2x2) with its filters kept. */
bool ldm_winograd_in_use(const ldm_problem *p, const ldm_device *d);
extern const ldm_tunable ldm_winograd_inplace_tunables[];
enum { LDM_WINOGRAD_INPLACE_SAME_BOUND = 2 }; /* BLOCK's bit */
const char *ldm_winograd_inplace_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_winograd_inplace_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_inplace_legal(const ldm_problem *p, const int *params, const ldm_device *d);
size_t ldm_winograd_inplace_scratch(const ldm_problem *p, const int *params, const ldm_device *d);
ldm_status ldm_winograd_inplace_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
void ldm_winograd_inplace_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which,
                           double *y, double *b);
ldm_cost ldm_winograd_inplace_cost(const ldm_problem *p, const int *params, const ldm_device *d);

/* What all rows want of a filter, and in words. */
static inline bool winograd_filter(const ldm_problem *p) { return p->dim[R] == 3 && p->dim[S] == 3 && p->dim[STRIDE] == 1; }
#define LDM_WINOGRAD_FILTER "needs a 3x3 filter and stride 1"

/* Numbers of a tile, and tiles of a problem, with `out` outputs a side. */
static inline int64_t winograd_places(int64_t out) { return (out + 2) * (out + 2); }
static inline int64_t winograd_tiles(const ldm_problem *p, int64_t out) {
    return p->dim[N] * ldm_ceil_div(out_h(p), out) * ldm_ceil_div(out_w(p), out);
}

/* Bytes of a layer's turned filters. */
static inline int64_t winograd_filter_bytes(const ldm_problem *p, int64_t out) {
    return winograd_places(out) * p->dim[K] * (p->dim[C] + p->dim[C2]) * (int64_t)sizeof(float);
}
/* How many of them are kept: of maps of few tiles a picture, where making them again each time costs most, and of more tiles than
 * stay in cache, which tiles turned before read for fewer jobs; of others; and where weights are kept as halves, of which they are
 * up to eight times the size. */
enum { WINOGRAD_KEPT = 64 << 20, WINOGRAD_LARGE = 32 << 20, WINOGRAD_HALVES = 16 << 20 };

/* What they share: filters turned for tiles of `out`, [place][channel of x, then of x2][output]; value and bound, `turned`:
 * roundings of a turned filter (reference.h). */
bool ldm_winograd_filters(const ldm_problem *p, int out, ldm_packing *k);
void ldm_winograd_judged(const ldm_problem *p, int out, int turned, const float *const *in, const ldm_sample *which,
                         double *y, double *b);

#endif
