/* pack.h -- weight layouts shared by conv2d and gemm (internal to host/ops).
 * The source is [n][c + c2][taps], or with `kn` [c][n] (taps 1). K counts x's taps and channels, then x2's taps and
 * channels: [src][tap][channel]. Behind the weights come `zeros` bytes of zeros, rounded up to 64: a row for pixels
 * outside the map. Kept as q8_0, 32 products of each output are one block: a panel of `width` outputs has then, for every
 * 32 products, [width] scales and [32][width] numbers, and a row [K/32] of a scale and 32 numbers. */
#ifndef LDM_PACK_H
#define LDM_PACK_H

#include "ops/op.h"

/* What activations and weights of a product may be kept in, c and c2 channels to an output: else a sentence. */
ldm_status ldm_weight_types(const ldm_problem *p, int64_t c, int64_t c2, bool kn);

/* [ceil(n/width)][K][width], outputs beyond n zero: the tile kernels. */
bool ldm_pack_panels(ldm_dtype dtype, int64_t width, int64_t n, int64_t c, int64_t c2, int64_t taps, bool kn,
                     int64_t zeros, ldm_packing *out);
/* The same of [n][c] whose outputs come in pairs o and o + n/2 (a value and its gate): panels of width / 2 pairs, `run`
 * values, then their gates, and so on. */
bool ldm_pack_gated_panels(ldm_dtype dtype, int64_t width, int64_t n, int64_t c, bool kn, int64_t run, ldm_packing *out);
/* Panels in pairs, each as the right factors of Strassen's algorithm (kernels/gemm_cpu.cl), [pair][7][c/2][width], f32; run: 0, or
 * of gated panels. */
bool ldm_pack_strassen(int64_t width, int64_t n, int64_t c, bool kn, int64_t run, ldm_packing *out);
/* [n rounded up to 4][K], rows beyond n zero: the CPU kernel for few outputs, and the plain kernels of q8_0. */
bool ldm_pack_rows(ldm_dtype dtype, int64_t n, int64_t c, int64_t c2, int64_t taps, int64_t zeros, ldm_packing *out);

/* A CPU tile's rows and the width of its vectors, both tunables of its row; and what there is to choose from: as many sums as the
 * device has registers for (the vectors are as wide as those are, 16 of 512 bits have 32 beside them, others may have 16),
 * and no tile that is twice the rows there are. */
enum { LDM_TILE_ROWS, LDM_TILE_LANES };
#define LDM_TILE_TUNABLES(name, meaning)                                                                               \
    {{name, meaning, {8, 6, 12, 14, 4, 2, 1}}, {"LANES", "floats of a vector, as many as a register holds", {16, 8, 4}}, {0}}
bool ldm_tile_legal(const int *params, int64_t rows, const ldm_device *d);
void ldm_tile_defines(const char *rows, const int *params, ldm_recipe *r);

/* How the CPU tile kernels share out `rows` (pixels) of `channels` inputs, `products` a sum, over `panels` of `width`
 * outputs, between `units` compute units. */
typedef struct ldm_tiling {
    int64_t block; /* tiles a work-item makes one after the other, so that a piece of the panel serves all of them: 1..8, or
                      1..12 where panels are narrower than 32 */
    int64_t group; /* blocks that go panel by panel before the next ones: 1 where all weights fit the second-level
                      cache, else 256 (384) KiB of input */
    int64_t items; /* work-items */
} ldm_tiling;
ldm_tiling ldm_share_tiles(int64_t rows, int64_t tile, int64_t channels, int64_t products, int64_t panels,
                           int64_t width, int64_t units);

#endif
