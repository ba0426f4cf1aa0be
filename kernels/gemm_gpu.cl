/* gemm_gpu.cl -- matrix product for GPUs: y[b,m,:] = act(bias + residual[b,m,:] + sum_k x[b,m,k] W[k,:])
 *   x [batch,m,k]   y, residual [batch,m,n]   bias [n]; bias and residual may be absent
 *   w  by W_LAYOUT: PANELS [ceil(n/32)][k][32] packed, zeros beyond n; or as it lies in memory, KN [k][n] or NK [n][k], then
 *      one matrix a batch element
 *   part [splits][batch,m,n] float, used where K is split over work-groups
 *   reference  reference/ref_gemm.c          host  host/ops/gemm.c
 *
 *   gemm_block   a work-group makes TILE_M x TILE_N outputs over one range of K, a work-item WORK_M x WORK_N of them in
 *                registers. Two tiles of x and of w alternate in local memory: while one is multiplied the next is on its
 *                way from global memory, one barrier a step. Rows of x lie transposed and padded by 4 floats, so that both
 *                the writes and the float4 reads are free of (or at most two-way in) bank conflicts. A work-item's rows
 *                are quads TILE_M / (WORK_M / 4) apart, likewise columns: neighbours read neighbouring float4.
 *   gemm_merge   adds the parts of a split K in their order, then bias, residual and activation. No atomics: same bits
 *                every run.
 *   Any m, n, k: what lies outside is read as zero and not written. With VEC, n and k are multiples of 4 (aligned float4).
 *
 * MUTANTS: 1 last product dropped, 2 last step of K dropped, 3 no barrier between steps, 4 bias missing,
 *   5 residual missing, 6 activation dropped, 7 local tail left as it was, 8 last part dropped, 9 two products swapped,
 *   10 neighbour's bias, 11 batch element 0 of w always, 12 stored as f16 cut short.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef TILE_M
#define TILE_M 64 /* rows of a work-group: 64, 128 */
#endif
#ifndef TILE_N
#define TILE_N 64 /* columns of a work-group: 32, 64 */
#endif
/* by the problem */
#ifndef VEC
#define VEC 1
#endif
#define PANELS 0
#define KN 1
#define NK 2
#ifndef W_LAYOUT
#define W_LAYOUT PANELS
#endif
#ifndef ACT
#define ACT ACT_NONE
#endif

#define TILE_K 8 /* products of a step */
#define WORK_M 8 /* rows of a work-item */
#define WORK_N (TILE_M / 16) /* columns of a work-item: 4, or 8 in the large tile */
#define ITEMS_M (TILE_M / WORK_M)
#define ITEMS_N (TILE_N / WORK_N)
#define GROUP (ITEMS_M * ITEMS_N)
#define QUADS_M (WORK_M / 4)
#define QUADS_N (WORK_N / 4)
#define QUADS_K (TILE_K / 4)
#define X_LOADS (TILE_M * QUADS_K / GROUP) /* float4 a work-item brings per step */
#define W_QUADS (TILE_N * QUADS_K)
#define W_LOADS ((W_QUADS + GROUP - 1) / GROUP) /* where there are more work-items than float4, some bring none */
/* all of a step at once would be scheduled into twice the registers */
#if TILE_M > 64
#define UNROLL_K _Pragma("unroll 1")
#else
#define UNROLL_K _Pragma("unroll 2")
#endif
#define X_ROW (TILE_M / 4 + 1) /* float4 of a row of the local tile */
#define W_ROW (TILE_N / 4 + 1)

/* Elements at..at+3 of a row with `left` elements from there on; zero behind its end. */
#define QUAD_OF(NAME, TYPE, ONE, FOUR, ALIGNED)                                                                           \
    float4 NAME(__global const TYPE *p, int at, int left) {                                                           \
        if (ALIGNED) return left > 0 ? FOUR(p, at) : (float4)(0.0f);                                                   \
        return (float4)(left > 0 ? ONE(p, at) : 0.0f, left > 1 ? ONE(p, at + 1) : 0.0f,                                \
                        left > 2 ? ONE(p, at + 2) : 0.0f, left > 3 ? ONE(p, at + 3) : 0.0f);                           \
    }
QUAD_OF(x_quad, real, LOAD, ALOAD4, VEC)
QUAD_OF(w_quad, wreal, WLOAD, AWLOAD4, (VEC || W_LAYOUT == PANELS))

#define TRANSPOSED(tile, row, kq, m, v)                                                                                \
    ((__local float *)(tile + (4 * (kq) + 0) * (row)))[m] = (v).s0;                                                    \
    ((__local float *)(tile + (4 * (kq) + 1) * (row)))[m] = (v).s1;                                                    \
    ((__local float *)(tile + (4 * (kq) + 2) * (row)))[m] = (v).s2;                                                    \
    ((__local float *)(tile + (4 * (kq) + 3) * (row)))[m] = (v).s3

#if MUTANT == 12
#define SHORTENED(v) as_float4(as_uint4(v) & 0xffffe000u)
#else
#define SHORTENED(v) (v)
#endif

/* Outputs at..at+3, columns col..col+3 of n, of which those beyond n are not there. */
void finish(__global real *y, __global const float *bias, __global const real *residual, float4 v, long at, int col, int n) {
    if (MUTANT == 4) bias = 0;
    if (MUTANT == 5) residual = 0;
    const int act = MUTANT == 6 ? ACT_NONE : ACT, b = MUTANT == 10 ? max(col - 4, 0) : col;
    if (VEC) {
        if (bias) v += *(__global const float4 *)(bias + b);
        if (residual) v += ALOAD4(residual, at);
        ASTORE4(SHORTENED(activate4(v, act)), y, at);
        return;
    }
    float lane[4] = {v.s0, v.s1, v.s2, v.s3};
#pragma unroll
    for (int e = 0; e < 4; e++) {
        if (col + e >= n) continue;
        if (bias) lane[e] += bias[MUTANT == 10 ? (b + e + 1) % n : b + e];
        if (residual) lane[e] += LOAD(residual, at + e);
        STORE(SHORTENED((float4)(activate(lane[e], act))).s0, y, at + e);
    }
}

__kernel WORK_GROUP(GROUP)
void gemm_block(__global real *y, __global float *part, __global const real *restrict x, __global const wreal *restrict w,
                __global const float *bias, __global const real *residual, int m, int n, int k, int batch,
                int k_range) {
    __local float4 x_tile[2 * TILE_K * X_ROW], w_tile[2 * TILE_K * W_ROW];
    const int lid = get_local_id(0), item_m = lid / ITEMS_N, item_n = lid % ITEMS_N;
    const int row0 = get_group_id(0) * TILE_M, col0 = get_group_id(1) * TILE_N;
    const int b = get_group_id(2) % batch, split = get_group_id(2) / batch;
    const int from = split * k_range, to = min(k, from + k_range) - (MUTANT == 2 && k % TILE_K ? k % TILE_K : 0);
    const int k_end = MUTANT == 1 ? k - 1 : k;
    float4 acc[WORK_M][QUADS_N], x_next[X_LOADS], w_next[W_LOADS];
    /* 64-bit offsets are the same for the whole work-group; a work-item's own fit 32 bits */
    x += ((long)b * m + row0) * k;
    w += W_LAYOUT == PANELS ? (long)col0 * k : (long)(MUTANT == 11 ? 0 : b) * n * k + (W_LAYOUT == NK ? (long)col0 * k : col0);
#pragma unroll
    for (int i = 0; i < WORK_M; i++)
#pragma unroll
        for (int j = 0; j < QUADS_N; j++) acc[i][j] = (float4)(0.0f);

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
            const int kk = q / 8 % TILE_K, panel = q / 8 / TILE_K;                                                     \
            w_next[l] = w_quad(w + (long)(k0) * 32, (panel * k + kk) * 32 + 4 * (q % 8),                               \
                               (k0) + kk < k ? n - col0 - panel * 32 : 0);                                             \
        }                                                                                                              \
    }
#define KEEP(half)                                                                                                     \
    _Pragma("unroll") for (int l = 0; l < X_LOADS; l++) {                                                              \
        const int q = lid + l * GROUP;                                                                                 \
        TRANSPOSED((x_tile + (half) * TILE_K * X_ROW), X_ROW, q % QUADS_K, q / QUADS_K, x_next[l]);                    \
    }                                                                                                                  \
    _Pragma("unroll") for (int l = 0; l < W_LOADS; l++) {                                                              \
        const int q = lid + l * GROUP;                                                                                 \
        if (W_QUADS % GROUP && q >= W_QUADS) break;                                                                    \
        if (W_LAYOUT == NK) {                                                                                          \
            TRANSPOSED((w_tile + (half) * TILE_K * W_ROW), W_ROW, q % QUADS_K, q / QUADS_K, w_next[l]);                \
        } else if (W_LAYOUT == KN) {                                                                                   \
            w_tile[((half) * TILE_K + q / (TILE_N / 4)) * W_ROW + q % (TILE_N / 4)] = w_next[l];                       \
        } else {                                                                                                       \
            w_tile[((half) * TILE_K + q / 8 % TILE_K) * W_ROW + q / 8 / TILE_K * 8 + q % 8] = w_next[l];               \
        }                                                                                                              \
    }

    FETCH(from)
    KEEP(0)
    barrier(CLK_LOCAL_MEM_FENCE);
    int half_now = 0;
    for (int k0 = from; k0 < to; k0 += TILE_K) {
        const bool more = k0 + TILE_K < to;
        if (more) { FETCH(k0 + TILE_K) }
        __local const float4 *xs = x_tile + half_now * TILE_K * X_ROW, *ws = w_tile + half_now * TILE_K * W_ROW;
        UNROLL_K for (int kk = 0; kk < TILE_K; kk++) {
            float4 wv[QUADS_N];
#pragma unroll
            for (int j = 0; j < QUADS_N; j++) wv[j] = ws[kk * W_ROW + item_n + j * ITEMS_N];
#pragma unroll
            for (int i = 0; i < QUADS_M; i++) {
                const float4 xv = xs[(MUTANT == 9 ? kk ^ 1 : kk) * X_ROW + item_m + i * ITEMS_M];
#pragma unroll
                for (int j = 0; j < QUADS_N; j++) {
                    acc[4 * i + 0][j] = FMA((float4)(xv.s0), wv[j], acc[4 * i + 0][j]);
                    acc[4 * i + 1][j] = FMA((float4)(xv.s1), wv[j], acc[4 * i + 1][j]);
                    acc[4 * i + 2][j] = FMA((float4)(xv.s2), wv[j], acc[4 * i + 2][j]);
                    acc[4 * i + 3][j] = FMA((float4)(xv.s3), wv[j], acc[4 * i + 3][j]);
                }
            }
        }
        half_now ^= 1;
#if MUTANT == 7
        if (k0 + 2 * TILE_K <= to)
#endif
        if (more) { KEEP(half_now) }
#if MUTANT != 3
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
    }

    const long corner = ((long)b * m + row0) * n + col0;
    part += (long)split * batch * m * n + corner;
    y += corner;
    if (residual) residual += corner;
#pragma unroll
    for (int i = 0; i < WORK_M; i++) {
        const int row = 4 * (item_m + i / 4 * ITEMS_M) + i % 4;
        if (row0 + row >= m) continue;
#pragma unroll
        for (int j = 0; j < QUADS_N; j++) {
            const int col = 4 * (item_n + j * ITEMS_N), at = row * n + col;
            if (col0 + col >= n) continue;
            if (k_range >= k) finish(y, bias, residual, acc[i][j], at, col0 + col, n);
            else if (VEC) *(__global float4 *)(part + at) = acc[i][j];
            else {
                part[at] = acc[i][j].s0;
                if (col0 + col + 1 < n) part[at + 1] = acc[i][j].s1;
                if (col0 + col + 2 < n) part[at + 2] = acc[i][j].s2;
                if (col0 + col + 3 < n) part[at + 3] = acc[i][j].s3;
            }
        }
    }
}

/* A work-item: 4 columns of one of `rows` = batch m rows. */
__kernel void gemm_merge(__global real *y, __global const float *restrict part, __global const float *bias,
                         __global const real *residual, int rows, int n, int splits) {
    const int quads = (n + 3) / 4, row = get_global_id(0) / quads, col = get_global_id(0) % quads * 4;
    if (row >= rows) return;
    const long at = (long)row * n + col, step = (long)rows * n;
    float4 v = (float4)(0.0f);
    for (int s = 0; s < splits - (MUTANT == 8); s++) {
        __global const float *p = part + s * step + at;
        if (VEC) v += *(__global const float4 *)p;
        else v += (float4)(p[0], col + 1 < n ? p[1] : 0.0f, col + 2 < n ? p[2] : 0.0f, col + 3 < n ? p[3] : 0.0f);
    }
    finish(y, bias, residual, v, at, col, n);
}
