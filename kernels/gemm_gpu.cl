/* gemm_gpu.cl -- matrix product for GPUs: y[b,m,:] = act(bias + vec[b,:] + residual[b,m,:] + sum_k x[b,m,k] W[k,:])
 *   x [batch,m,k]   y, residual [batch,m,n]   vec [batch,n]   bias [n]; bias, vec and residual may be absent
 *   or, with ACT_GEGLU, y [batch,m,n/2] = v gelu(g), v the first and g the second half of x w^T + bias: then columns come as
 *   value, gate, value, gate
 *   w  by W_LAYOUT: PANELS [ceil(n/32)][k][32] packed, zeros beyond n; or as it lies in memory, KN [k][n] or NK [n][k], then
 *      one matrix a batch element
 *   part [splits][batch,m,n] float, used where K is split over work-groups
 *   reference  reference/ref_gemm.c          host  host/ops/gemm.c, host/ops/gpu_tile.c
 *
 *   gemm_block   a tile of outputs over one range of K: gpu_tile.clh
 *   gemm_merge   adds the parts of a split K
 *   gemm_few     at most 4 rows: a panel of 32 columns a work-group, 8 quads of columns x 32 slices of K, w read once
 *   Any m, n, k: what lies outside is read as zero and not written. With VEC, n and k are multiples of 4 (aligned float4).
 *
 * MUTANTS: 1 last product dropped, 2 last step of K dropped, 3 no barrier between steps, 4 bias missing,
 *   5 residual missing, 6 activation dropped, 7 local tail left as it was, 8 last part dropped, 9 neighbour's bias,
 *   10 stored as f16 cut short, 11 two products swapped, 12 batch element 0 of w always,
 *   13 vec missing, 14 vec of the first of the batch, 15 value and gate exchanged,
 *   16 geglu gate's bias missing, 17 scales of the panel's first columns for all (WREAL q8),
 *   18 sign of a number lost (WREAL q8), 19 last slice of gemm_gpu_row dropped,
 *   20 first row of x for all of gemm_gpu_row. */
#if ACT == ACT_GEGLU
/* For gpu_tile.clh: columns col.. are value, gate, value, gate. y is at the first pair of the tile. */
void finish_pairs(__global real *y, __global const float *bias, __global const real *vec, __global const real *residual,
                  float4 v, long at, int sample, int col, int cols) {
    if (MUTANT == 15) v = v.s1032;
    for (int e = 0, pair = col / 2, half_n = cols / 2; e < 2 && pair + e < half_n; e++) {
        float value = e ? v.s2 : v.s0, gate = e ? v.s3 : v.s1;
        if (bias) value += bias[pair + e], gate += MUTANT == 16 ? 0 : bias[half_n + pair + e];
        STORE(value * gelu(gate), y, at / 2 + e);
    }
}
#define FINISH finish_pairs
#define Y_AT(at) ((at) / 2)
#endif
#if MUTANT == 17
#define ONE_SCALE
#endif
#if MUTANT == 18
#define NO_SIGN
#endif
#include "gpu_tile.clh"
#define PANELS 0
#define KN 1
#define NK 2
#ifndef W_LAYOUT
#define W_LAYOUT PANELS
#endif

QUAD_OF(x_quad, real, LOAD, ALOAD4, VEC)
#if WREAL_KIND == KIND_Q8 /* panels only */
#define AWLOAD4 WLOAD4
#endif
QUAD_OF(w_quad, wreal, WLOAD, AWLOAD4, VEC)

__kernel WORK_GROUP(GROUP)
void gemm_block(__global real *y, __global float *part, __global const real *restrict x, __global const wreal *restrict w,
                __global const float *bias, __global const real *vec, __global const real *residual, int m, int per, int n,
                int k, int batch, int k_range) {
    __local float4 x_tile[2 * TILE_K * X_ROW], w_tile[2 * TILE_K * W_ROW];
    const int lid = get_local_id(0), item_m = lid / ITEMS_N, item_n = lid % ITEMS_N;
    const int row0 = get_group_id(0) * TILE_M, col0 = get_group_id(1) * TILE_N;
    const int b = get_group_id(2) % batch, split = get_group_id(2) / batch;
    const int from = split * k_range, to = min(k, from + k_range) - (MUTANT == 2 && k % TILE_K ? k % TILE_K : 0);
    const int k_end = MUTANT == 1 ? k - 1 : k;
    float4 acc[WORK_M][QUADS_N], x_next[X_LOADS], w_next[W_LOADS];
    /* 64-bit offsets are the same for the whole work-group; a work-item's own fit 32 bits */
    x += ((long)b * m + row0) * k;
    w += W_LAYOUT == PANELS ? W_AT((long)col0 * k) : (long)(MUTANT == 12 ? 0 : b) * n * k + (W_LAYOUT == NK ? (long)col0 * k : col0);
#define FETCH(k0)                                                                                                      \
    _Pragma("unroll") for (int l = 0; l < X_LOADS; l++) {                                                              \
        const int kk = 4 * (lid % QUADS_K), row = (lid + l * GROUP) / QUADS_K;                                         \
        x_next[l] = x_quad(x + (k0), row * k + kk, row0 + row < m ? k_end - (k0) - kk : 0);                            \
    }                                                                                                                  \
    _Pragma("unroll") for (int l = 0; l < W_LOADS; l++) {                                                              \
        const int q = lid + l * GROUP;                                                                                 \
        if (W_QUADS % GROUP && q >= W_QUADS) break;                                                                    \
        if (W_LAYOUT == NK) {                                                                                          \
            const int kk = 4 * (q % QUADS_K), col = q / QUADS_K;                                                       \
            w_next[l] = w_quad(w + (k0), col * k + kk, col0 + col < n ? k - (k0) - kk : 0);                            \
        } else if (W_LAYOUT == KN) {                                                                                   \
            const int kk = q / (TILE_N / 4), col = 4 * (q % (TILE_N / 4));                                             \
            w_next[l] = w_quad(w + (long)(k0) * n, kk * n + col, (k0) + kk < k ? n - col0 - col : 0);                  \
        } else {                                                                                                       \
            w_next[l] = PANEL_QUAD(q, k0, k, n);                                                                       \
        }                                                                                                              \
    }
#define KEEP(half)                                                                                                     \
    KEEP_X(half)                                                                                                       \
    _Pragma("unroll") for (int l = 0; l < W_LOADS; l++) {                                                              \
        const int q = lid + l * GROUP;                                                                                 \
        if (W_QUADS % GROUP && q >= W_QUADS) break;                                                                    \
        if (W_LAYOUT == NK) {                                                                                          \
            TRANSPOSED((w_tile + (half) * TILE_K * W_ROW), W_ROW, q % QUADS_K, q / QUADS_K, w_next[l]);                \
        } else if (W_LAYOUT == KN) {                                                                                   \
            w_tile[((half) * TILE_K + q / (TILE_N / 4)) * W_ROW + q % (TILE_N / 4)] = w_next[l];                       \
        } else {                                                                                                       \
            PANEL_PLACE(q, half) = w_next[l];                                                                          \
        }                                                                                                              \
    }

    MULTIPLY_RANGE(from, to)
    const long first = (long)b * m * n; /* of this product's outputs */
    if (vec && MUTANT != 14) vec += (long)b * n;
    put_tile(acc, y + first, part + (long)split * batch * m * n + first, bias, MUTANT == 13 ? 0 : vec,
             residual ? residual + first : 0, k_range < k, item_m, item_n, row0, col0, m, n, MUTANT == 14 ? INT_MAX : per);
}

/* A work-item: 4 columns of one of `rows` = batch m rows, `per` of them to a row of vec. */
__kernel void gemm_merge(__global real *y, __global const float *restrict part, __global const float *bias,
                         __global const real *vec, __global const real *residual, int rows, int per, int n, int splits) {
    merge_parts(y, part, bias, vec, residual, get_global_id(0), rows, n, per, splits);
}

#ifndef ROWS
#define ROWS 1 /* rows of gemm_few */
#endif
#define SLICES 32
#define FEW_GROUP (8 * SLICES)
#define AT_ONCE 8 /* reads of w on their way at a time */

__kernel WORK_GROUP(FEW_GROUP)
void gemm_few(__global real *y, __global const real *restrict x, __global const wreal *restrict w, __global const float *bias,
              __global const real *vec, __global const real *residual, int per, int n, int k) {
    __local float4 of_slice[ROWS * FEW_GROUP];
    const int lid = get_local_id(0), quad = lid % 8, slice = lid / 8, col0 = get_group_id(0) * 32;
    float4 acc[ROWS];
    w += W_AT((long)col0 * k);
#pragma unroll
    for (int i = 0; i < ROWS; i++) acc[i] = (float4)(0.0f);
    for (int k0 = 0; k0 < k; k0 += AT_ONCE * SLICES) {
        float4 wv[AT_ONCE];
        float xv[AT_ONCE][ROWS];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) { /* behind the end the last again, times zero */
            const int at = k0 + j * SLICES + slice, there = min(at, k - 1);
            wv[j] = panel_quad(w, there / 32 * 32, 0, there % 32, 4 * quad);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const float v = LOAD(x, (MUTANT == 20 ? 0 : i) * k + there);
                xv[j][i] = at < k ? v : 0.0f;
            }
        }
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++)
#pragma unroll
            for (int i = 0; i < ROWS; i++) acc[i] = FMA((float4)(xv[j][i]), wv[j], acc[i]);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) of_slice[i * FEW_GROUP + lid] = acc[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    const int row = slice, col = col0 + 4 * quad;
    if (row >= ROWS || col >= n) return;
    float4 sum = (float4)(0.0f);
    for (int i = 0; i < SLICES - (MUTANT == 19); i++) sum += of_slice[row * FEW_GROUP + i * 8 + quad];
    FINISH(y, bias, vec, residual, sum, (long)row * n + col, row / per, col, n);
}
