/* conv2d_gpu.cl -- convolution for GPUs: an implicit GEMM, no padded copy, no im2col
 *   y [n,p,q,k]   x [n,h,wd,c]   x2 [n,h,wd,c2] or absent   bias [k], vec [n,k], residual [n,p,q,k] or absent
 *   w [ceil(k/32)][K][32] packed, zeros beyond k; K = x's taps and channels, then x2's: [src][tap][channel]
 *   part [splits][n,p,q,k] float, used where K is split over work-groups
 *   reference  reference/ref_conv2d.c          host  host/ops/conv2d.c, host/ops/gpu_tile.c, layouts in host/ops/pack.c
 *
 *   conv2d_block  a tile of outputs, rows being pixels in n,p,q order, over one range of K: gpu_tile.clh. A work-item
 *                 brings the same 4 positions of K for each of its pixels, so it follows one (source, tap, channel)
 *                 through K without a division. Pixels outside the map bring zeros; up = 2 reads at half the coordinates.
 *   conv2d_merge  adds the parts of a split K
 *   Any sizes. With C_VEC, c and c2 are multiples of 4 (4 positions of K lie in one tap); with VEC, k is.
 *
 * MUTANTS: 1 last product dropped, 2 last step of K dropped, 3 no barrier between steps, 4 bias missing,
 *   5 residual missing, 6 activation dropped, 7 local tail left as it was, 8 last part dropped, 9 neighbour's bias,
 *   10 stored as f16 cut short, 11 two products swapped, 12 halo off by one in y, 13 halo off by one in x, 14 stride + 1,
 *   15 upsample shifted, 16 outside is one, 17 x2 dropped, 18 vec of sample 0, 19 filter flipped,
 *   20 scales of the panel's first columns for all (WREAL q8), 21 sign of a number lost (WREAL q8). */
#if MUTANT == 20
#define ONE_SCALE
#endif
#if MUTANT == 21
#define NO_SIGN
#endif
#include "gpu_tile.clh"
#ifndef C_VEC
#define C_VEC 1
#endif

#define SIZES                                                                                                          \
    int n, int h, int wd, int c, int c2, int k, int r, int s, int stride, int up, int pt, int pl, int p, int q

/* Where a position of K lies: which source, which tap, which channel of it. */
typedef struct place {
    int second, ty, tx, ch;
} place;

place place_of(int at, int c, int c2, int r, int s) {
    const int first = c * r * s;
    place o;
    o.second = at >= first;
    const int from = at - (o.second ? first : 0), wide = max(o.second ? c2 : c, 1), tap = from / wide;
    o.ch = from % wide;
    o.ty = tap / s;
    o.tx = tap % s;
    return o;
}

__kernel WORK_GROUP(GROUP)
void conv2d_block(__global real *y, __global float *part, __global const real *restrict x, __global const real *restrict x2,
                  __global const wreal *restrict w, __global const float *bias, __global const real *vec,
                  __global const real *residual, SIZES, int k_range) {
    __local float4 x_tile[2 * TILE_K * X_ROW], w_tile[2 * TILE_K * W_ROW];
    const int lid = get_local_id(0), item_m = lid / ITEMS_N, item_n = lid % ITEMS_N;
    const int row0 = get_group_id(0) * TILE_M, col0 = get_group_id(1) * TILE_N, split = get_group_id(2);
    const int rows = n * p * q, depth = (c + c2) * r * s;
    const int from = split * k_range, to = min(depth, from + k_range) - (MUTANT == 2 && depth % TILE_K ? depth % TILE_K : 0);
    const int depth_end = MUTANT == 1 ? depth - 1 : depth, shift = up - 1, high = h << shift, wide = wd << shift;
    float4 acc[WORK_M][QUADS_N], x_next[X_LOADS], w_next[W_LOADS];
    int first_y[X_LOADS], first_x[X_LOADS], image[X_LOADS]; /* of the pixel a load is for: its tap 0,0 and its sample */
    place at = place_of(from + 4 * (lid % QUADS_K), c, c2, r, s);
    w += W_AT((long)col0 * depth); /* a work-item's own offset from here fits 32 bits */
#pragma unroll
    for (int l = 0; l < X_LOADS; l++) {
        const int row = row0 + (lid + l * GROUP) / QUADS_K, in = row / (p * q), oy = row / q % p, ox = row % q;
        first_y[l] = row < rows ? oy * (stride + (MUTANT == 14)) - pt + (MUTANT == 12) : INT_MIN / 2; /* never inside */
        first_x[l] = ox * stride - pl + (MUTANT == 13);
        image[l] = in * h * wd;
    }

/* Pixel index of tap o for load l, or -1 outside the map. */
#define INSIDE(l, o)                                                                                                   \
    ((uint)(first_y[l] + (MUTANT == 19 ? r - 1 - (o).ty : (o).ty)) < (uint)high && (uint)(first_x[l] + (o).tx) < (uint)wide)
#define PIXEL(l, o)                                                                                                    \
    (image[l] + min((first_y[l] + (MUTANT == 19 ? r - 1 - (o).ty : (o).ty) + (MUTANT == 15)) >> shift, h - 1) * wd +   \
     ((first_x[l] + (o).tx) >> shift))
/* The next tile of x and of w, from position k0 of K on, into registers. */
#define FETCH(k0)                                                                                                      \
    _Pragma("unroll") for (int l = 0; l < X_LOADS; l++) {                                                              \
        x_next[l] = (float4)(0.0f);                                                                                    \
        if (C_VEC) {                                                                                                   \
            if (INSIDE(l, at) && (k0) + 4 * (lid % QUADS_K) < depth) {                                                 \
                const long e = (long)PIXEL(l, at) * (at.second ? c2 : c) + at.ch;                                      \
                if (MUTANT != 17 || !at.second) x_next[l] = at.second ? ALOAD4(x2, e) : ALOAD4(x, e);                  \
            } else if (MUTANT == 16) x_next[l] = (float4)(1.0f);                                                       \
            if (MUTANT == 1 && (k0) + 4 * (lid % QUADS_K) + 4 == depth) x_next[l].s3 = 0;                              \
        } else {                                                                                                       \
            float one[4];                                                                                              \
            _Pragma("unroll") for (int e = 0; e < 4; e++) {                                                            \
                const int pos = (k0) + 4 * (lid % QUADS_K) + e;                                                        \
                const place o = place_of(pos, c, c2, r, s);                                                            \
                one[e] = MUTANT == 16 && pos < depth ? 1.0f : 0.0f;                                                    \
                if (pos < depth_end && INSIDE(l, o) && (MUTANT != 17 || !o.second))                                    \
                    one[e] = o.second ? LOAD(x2, (long)PIXEL(l, o) * c2 + o.ch) : LOAD(x, (long)PIXEL(l, o) * c + o.ch); \
            }                                                                                                          \
            x_next[l] = (float4)(one[0], one[1], one[2], one[3]);                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    if (C_VEC) { /* on to the same place of the next step */                                                           \
        at.ch += TILE_K;                                                                                               \
        for (int in_tap = at.second ? c2 : c; at.ch >= in_tap; in_tap = at.second ? c2 : c) {                          \
            if (at.ty >= r) break; /* behind the last tap */                                                           \
            at.ch -= in_tap;                                                                                           \
            if (++at.tx == s) at.tx = 0, at.ty++;                                                                      \
            if (at.ty == r && !at.second && c2 > 0) at.second = 1, at.ty = 0;                                          \
        }                                                                                                              \
    }                                                                                                                  \
    _Pragma("unroll") for (int l = 0; l < W_LOADS; l++) {                                                              \
        const int e = lid + l * GROUP;                                                                                 \
        if (W_QUADS % GROUP && e >= W_QUADS) break;                                                                    \
        w_next[l] = PANEL_QUAD(e, k0, depth, k);                                                                       \
    }
#define KEEP(half)                                                                                                     \
    KEEP_X(half)                                                                                                       \
    _Pragma("unroll") for (int l = 0; l < W_LOADS; l++) {                                                              \
        const int e = lid + l * GROUP;                                                                                 \
        if (W_QUADS % GROUP && e >= W_QUADS) break;                                                                    \
        PANEL_PLACE(e, half) = w_next[l];                                                                              \
    }

    MULTIPLY_RANGE(from, to)
    put_tile(acc, y, part + (long)split * rows * k, bias, vec, residual, k_range < depth, item_m, item_n, row0, col0, rows,
             k, MUTANT == 18 ? INT_MAX : p * q);
}

/* A work-item: 4 outputs of one of `rows` pixels, `image` of them a sample. */
__kernel void conv2d_merge(__global real *y, __global const float *restrict part, __global const float *bias,
                           __global const real *vec, __global const real *residual, int rows, int image, int k, int splits) {
    merge_parts(y, part, bias, vec, residual, get_global_id(0), rows, k, MUTANT == 18 ? INT_MAX : image, splits);
}
