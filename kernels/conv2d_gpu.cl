/* conv2d_gpu.cl -- convolution for GPUs: an implicit GEMM, no padded copy, no im2col
 *   y [n,p,q,k]   x [n,h,wd,c]   x2 [n,h,wd,c2] or absent   bias [k], vec [n,k], residual [n,p,q,k] or absent
 *   w [ceil(k/32)][K][32] packed, zeros beyond k; K = x's taps and channels, then x2's: [src][tap][channel]
 *   part [splits][n,p,q,k] float, used where K is split over work-groups
 *   reference  reference/ref_conv2d.c          host  host/ops/conv2d.c, layouts in host/ops/pack.c
 *
 *   conv2d_block  a work-group makes TILE_M pixels (consecutive in n,p,q order) x TILE_N outputs over one range of K, a
 *                 work-item WORK_M x WORK_N of them in registers; the loop is gemm_block's (gemm_gpu.cl). A work-item
 *                 brings the same 4 positions of K for each of its pixels, so it follows one (source, tap, channel)
 *                 through K without a division. Pixels outside the map bring zeros; up = 2 reads at half the coordinates.
 *   conv2d_merge  adds the parts of a split K in their order, then bias, vec, residual and activation. No atomics.
 *   Any sizes. With C_VEC, c and c2 are multiples of 4 (4 positions of K lie in one tap); with K_VEC, k is.
 *
 * MUTANTS: 1 last product dropped, 2 last step of K dropped, 3 no barrier between steps, 4 bias missing,
 *   5 residual missing, 6 activation dropped, 7 local tail left as it was, 8 last part dropped, 9 halo off by one in y,
 *   10 halo off by one in x, 11 stride + 1, 12 upsample shifted, 13 outside is one, 14 x2 dropped, 15 vec of sample 0,
 *   16 filter flipped, 17 neighbour's bias, 18 stored as f16 cut short.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef TILE_M
#define TILE_M 64 /* pixels of a work-group: 64, 128 */
#endif
#ifndef TILE_N
#define TILE_N 64 /* outputs of a work-group: 32, 64 */
#endif
/* by the problem */
#ifndef C_VEC
#define C_VEC 1
#endif
#ifndef K_VEC
#define K_VEC 1
#endif
#ifndef ACT
#define ACT ACT_NONE
#endif

#define TILE_K 8 /* products of a step */
#define WORK_M 8 /* pixels of a work-item */
#define WORK_N (TILE_M / 16) /* outputs of a work-item: 4, or 8 in the large tile */
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
#define X_ROW (TILE_M / 4 + 1) /* float4 of a row of the local tile; the one more keeps banks apart */
#define W_ROW (TILE_N / 4 + 1)

#define SIZES                                                                                                          \
    int n, int h, int wd, int c, int c2, int k, int r, int s, int stride, int up, int pt, int pl, int p, int q

#if MUTANT == 18
#define SHORTENED(v) as_float4(as_uint4(v) & 0xffffe000u)
#else
#define SHORTENED(v) (v)
#endif

/* Outputs at..at+3 = column col.. of pixel `row` in sample `in`; those beyond k are not there. */
void finish(__global real *y, __global const float *bias, __global const real *vec, __global const real *residual,
            float4 v, long at, int in, int col, int k) {
    const int act = MUTANT == 6 ? ACT_NONE : ACT, b = MUTANT == 17 ? max(col - 4, 0) : col;
    if (MUTANT == 4) bias = 0;
    if (MUTANT == 5) residual = 0;
    if (MUTANT == 15) in = 0;
    if (K_VEC) {
        if (bias) v += *(__global const float4 *)(bias + b);
        if (vec) v += ALOAD4(vec, (long)in * k + col);
        if (residual) v += ALOAD4(residual, at);
        ASTORE4(SHORTENED(activate4(v, act)), y, at);
        return;
    }
    float lane[4] = {v.s0, v.s1, v.s2, v.s3};
#pragma unroll
    for (int e = 0; e < 4; e++) {
        if (col + e >= k) continue;
        if (bias) lane[e] += bias[MUTANT == 17 ? (b + e + 1) % k : b + e];
        if (vec) lane[e] += LOAD(vec, (long)in * k + col + e);
        if (residual) lane[e] += LOAD(residual, at + e);
        STORE(SHORTENED((float4)(activate(lane[e], act))).s0, y, at + e);
    }
}

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
    w += (long)col0 * depth; /* a work-item's own offset from here fits 32 bits */
#pragma unroll
    for (int l = 0; l < X_LOADS; l++) {
        const int row = row0 + (lid + l * GROUP) / QUADS_K, in = row / (p * q), oy = row / q % p, ox = row % q;
        first_y[l] = row < rows ? oy * (stride + (MUTANT == 11)) - pt + (MUTANT == 9) : INT_MIN / 2; /* never inside */
        first_x[l] = ox * stride - pl + (MUTANT == 10);
        image[l] = in * h * wd;
    }
#pragma unroll
    for (int i = 0; i < WORK_M; i++)
#pragma unroll
        for (int j = 0; j < QUADS_N; j++) acc[i][j] = (float4)(0.0f);

/* Pixel index of tap o for load l, or -1 outside the map. */
#define INSIDE(l, o)                                                                                                   \
    ((uint)(first_y[l] + (MUTANT == 16 ? r - 1 - (o).ty : (o).ty)) < (uint)high && (uint)(first_x[l] + (o).tx) < (uint)wide)
#define PIXEL(l, o)                                                                                                    \
    (image[l] + min((first_y[l] + (MUTANT == 16 ? r - 1 - (o).ty : (o).ty) + (MUTANT == 12)) >> shift, h - 1) * wd +   \
     ((first_x[l] + (o).tx) >> shift))
/* The next tile of x and of w, from position k0 of K on, into registers. */
#define FETCH(k0)                                                                                                      \
    _Pragma("unroll") for (int l = 0; l < X_LOADS; l++) {                                                              \
        x_next[l] = (float4)(0.0f);                                                                                    \
        if (C_VEC) {                                                                                                   \
            if (INSIDE(l, at) && (k0) + 4 * (lid % QUADS_K) < depth) {                                                 \
                const long e = (long)PIXEL(l, at) * (at.second ? c2 : c) + at.ch;                                      \
                if (MUTANT != 14 || !at.second) x_next[l] = at.second ? ALOAD4(x2, e) : ALOAD4(x, e);                  \
            } else if (MUTANT == 13) x_next[l] = (float4)(1.0f);                                                       \
            if (MUTANT == 1 && (k0) + 4 * (lid % QUADS_K) + 4 == depth) x_next[l].s3 = 0;                              \
        } else {                                                                                                       \
            float one[4];                                                                                              \
            _Pragma("unroll") for (int e = 0; e < 4; e++) {                                                            \
                const int pos = (k0) + 4 * (lid % QUADS_K) + e;                                                        \
                const place o = place_of(pos, c, c2, r, s);                                                            \
                one[e] = MUTANT == 13 && pos < depth ? 1.0f : 0.0f;                                                    \
                if (pos < depth_end && INSIDE(l, o) && (MUTANT != 14 || !o.second))                                    \
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
        const int e = lid + l * GROUP, kk = e / 8 % TILE_K, panel = e / 8 / TILE_K;                                    \
        if (W_QUADS % GROUP && e >= W_QUADS) break;                                                                    \
        w_next[l] = (float4)(0.0f);                                                                                    \
        if ((k0) + kk < depth && col0 + panel * 32 < k)                                                                \
            w_next[l] = AWLOAD4(w + (long)(k0) * 32, (panel * depth + kk) * 32 + 4 * (e % 8));                         \
    }
#define KEEP(half)                                                                                                     \
    _Pragma("unroll") for (int l = 0; l < X_LOADS; l++) {                                                              \
        const int e = lid + l * GROUP, kq = e % QUADS_K, row = e / QUADS_K;                                            \
        __local float *t = (__local float *)(x_tile + ((half) * TILE_K + 4 * kq) * X_ROW) + row;                       \
        t[0] = x_next[l].s0;                                                                                           \
        t[4 * X_ROW] = x_next[l].s1;                                                                                   \
        t[8 * X_ROW] = x_next[l].s2;                                                                                   \
        t[12 * X_ROW] = x_next[l].s3;                                                                                  \
    }                                                                                                                  \
    _Pragma("unroll") for (int l = 0; l < W_LOADS; l++) {                                                              \
        const int e = lid + l * GROUP;                                                                                 \
        if (W_QUADS % GROUP && e >= W_QUADS) break;                                                                    \
        w_tile[((half) * TILE_K + e / 8 % TILE_K) * W_ROW + e / 8 / TILE_K * 8 + e % 8] = w_next[l];                   \
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
                const float4 xv = xs[kk * X_ROW + item_m + i * ITEMS_M];
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

    const long corner = (long)row0 * k + col0;
    part += (long)split * rows * k + corner;
    y += corner;
    if (residual) residual += corner;
#pragma unroll
    for (int i = 0; i < WORK_M; i++) {
        const int row = 4 * (item_m + i / 4 * ITEMS_M) + i % 4, in = vec ? (row0 + row) / (p * q) : 0;
        if (row0 + row >= rows) continue;
#pragma unroll
        for (int j = 0; j < QUADS_N; j++) {
            const int col = 4 * (item_n + j * ITEMS_N), e = row * k + col;
            if (col0 + col >= k) continue;
            if (k_range >= depth) finish(y, bias, vec, residual, acc[i][j], e, in, col0 + col, k);
            else if (K_VEC) *(__global float4 *)(part + e) = acc[i][j];
            else {
                part[e] = acc[i][j].s0;
                if (col0 + col + 1 < k) part[e + 1] = acc[i][j].s1;
                if (col0 + col + 2 < k) part[e + 2] = acc[i][j].s2;
                if (col0 + col + 3 < k) part[e + 3] = acc[i][j].s3;
            }
        }
    }
}

/* A work-item: 4 outputs of one of `rows` pixels, `image` of them a sample. */
__kernel void conv2d_merge(__global real *y, __global const float *restrict part, __global const float *bias,
                           __global const real *vec, __global const real *residual, int rows, int image, int k, int splits) {
    const int quads = (k + 3) / 4, row = get_global_id(0) / quads, col = get_global_id(0) % quads * 4;
    if (row >= rows) return;
    const long at = (long)row * k + col, step = (long)rows * k;
    float4 v = (float4)(0.0f);
    for (int i = 0; i < splits - (MUTANT == 8); i++) {
        __global const float *e = part + i * step + at;
        if (K_VEC) v += *(__global const float4 *)e;
        else v += (float4)(e[0], col + 1 < k ? e[1] : 0.0f, col + 2 < k ? e[2] : 0.0f, col + 3 < k ? e[3] : 0.0f);
    }
    finish(y, bias, vec, residual, v, at, row / image, col, k);
}
