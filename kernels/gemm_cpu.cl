/* gemm_cpu.cl -- matrix product for CPUs, from weights packed in panels
 *   y [batch,m,n]   x [batch,m,k]   w panels of 2 LANES outputs [n/32][k][32], with wbatch one set for each of the batch
 *   bias [n], vec [batch,n], residual [batch,m,n] or absent   y = act(x w^T + bias + vec + residual)
 *   or, with act geglu, y [batch,m,n/2] = v gelu(g), v the first and g the second half of x w^T + bias: a panel then holds
 *   LANES values and their gates
 *   reference  reference/ref_gemm.c          host  host/ops/gemm.c, layouts in host/ops/pack.c
 *
 *   gemm_panels   lays an activation w ([n,k] or [k,n]) out in panels; one work-item: 64 products of one panel
 *   gemm_tile     any shape. A work-item makes `block` tiles of TILE_ROWS rows x a panel, CHUNK products of all tiles before
 *                 the next, so that the panel comes from the second-level cache whatever k is; the sums wait in `part`.
 *                 A tile's outputs are written behind its last product, so that they leave while the next tile is computed.
 *   gemm_strassen many rows: seven products of tiles for eight
 *   gemm_row      m = batch = 1: a work-item makes a part of a panel's sums, reading each weight once, in order, at the speed of
 *                 memory; gemm_row_merge adds the parts in order, where there is more than one: few outputs of long sums
 * All: local size 1. x and w kept as anything but floats go through strips of them: cpu_tile.clh.
 *
 * MUTANTS: 1 last product dropped, 2 first product doubled, 3 row of the neighbour, 4 bias missing, 5 neighbour's bias,
 *   6 residual missing, 7 activation dropped, 8 products swapped, 9 batch of w ignored, 10 f16 store truncated, 11 sums kept
 *   in f16, 12 w transposed while packing, 13 second half of a panel is the first again, 14 tail of a strip dropped (REAL
 *   half), 15 last row of a tile repeats its neighbour, 16 vec missing, 17 vec of the first of the batch,
 *   18 value and gate exchanged, 19 gate's bias missing, 20 scales of the panel's second half are the first's (WREAL q8),
 *   21 sign of a number lost (WREAL q8), 22 scales of the block before (WREAL q8), 23 last part of a sum missing, 24 products behind the last CHAINS
 *   missing, 25 neighbour's panel, 26 products of neighbouring chains exchanged, 27 a left factor
 *   not summed, 28 a left factor added where subtracted, 29 last product of a half missing, 30 second block of a product left out,
 *   31 sign of a product lost, 32 second piece replaces the first */
#ifndef TILE_ROWS
#define TILE_ROWS 8 /* rows of a tile, 1..14; 2 vectors of sums each, so at most 6 where there are 16 registers */
#endif
#define TR TILE_ROWS
#define CHAINS 4 /* of a row's sums */
#define MOST_TILES (LANES == 16 ? 8 : 12) /* tiles of a work-item, at most; 128 TR MOST_TILES bytes of stack */
#if MUTANT == 11
#define HALF_SUMS
#endif
#if MUTANT == 14
#define DROP_TAIL
#endif
#if MUTANT == 20
#define ONE_SCALE
#endif
#if MUTANT == 21
#define NO_SIGN
#endif
#if MUTANT == 22
#define SCALE_BEFORE
#endif
#include "lanes.clh"
#include "cpu_tile.clh"
#define MUTATE                                                                                                         \
    if (MUTANT == 7) act = ACT_NONE;                                                                                   \
    if (MUTANT == 16) vec = 0;
#define EACH_ROW(i) _Pragma("unroll") for (int i = 0; i < TR; i++)

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_panels(__global real *restrict packed,
                                                                        __global const real *restrict w, int n, int k, int wkn) {
    const int from = get_global_id(0) * 64, panel = get_global_id(1), b = get_global_id(2), panels = (n + PANEL - 1) / PANEL;
    const int by_k = MUTANT == 12 ? !wkn : wkn;
    const long o_step = by_k ? 1 : k, e_step = by_k ? n : 1;
    __global const real *source = w + (long)b * n * k + panel * PANEL * o_step;
    __global real *out = packed + ((long)b * panels + panel) * k * PANEL;
    for (int e = from; e < min(from + 64, k); e++)
        for (int o = 0; o < PANEL; o++)
            STORE(panel * PANEL + o < n ? LOAD(source, o * o_step + e * e_step) : 0.0f, out, (long)e * PANEL + o);
}

/* Row r of y from its sums of a panel, `per` rows to one of vec. */
static void finish(__global real *y, __global const float *bias, __global const real *vec, __global const real *residual, lanes s0,
                   lanes s1, long r, int per, int n, int act, int panel) {
    if (act == ACT_GEGLU) {
        const int half_n = n / 2, o = panel * LANES;
        lanes value = MUTANT == 18 ? s1 : s0, gate = MUTANT == 18 ? s0 : s1;
        const long at = r * half_n + o;
        if (o + LANES <= half_n) {
            if (bias) value += VLOAD(bias + o), gate += MUTANT == 19 ? (lanes)0.0f : VLOAD(bias + half_n + o);
            STOREV(value * GELUV(gate), y, at);
            return;
        }
        float lane[2][LANES];
        VSTORE(value, lane[0]), VSTORE(gate, lane[1]);
        for (int e = 0; e < half_n - o; e++) {
            if (bias) lane[0][e] += bias[o + e], lane[1][e] += bias[half_n + o + e];
            STORE(lane[0][e] * gelu(lane[1][e]), y, at + e);
        }
        return;
    }
    const long vec_row = vec && MUTANT != 17 ? r / per * n : 0;
    for (int o = panel * PANEL, v = 0; v < 2 && o < n; v++, o += LANES) {
        lanes sum = v ? s1 : s0;
        const long at = r * n + o;
        if (MUTANT != 5 && o + LANES <= n) {
            if (bias && MUTANT != 4) sum += VLOAD(bias + o);
            if (vec) sum += LOADV(vec, vec_row + o);
            if (residual && MUTANT != 6) sum += LOADV(residual, at);
            sum = ACTIVATEV(sum, act);
            if (MUTANT == 10) sum = CUTV(sum);
            STOREV(sum, y, at);
            continue;
        }
        float lane[LANES];
        VSTORE(sum, lane);
        for (int e = 0; e < min(LANES, n - o); e++) {
            float u = lane[e];
            if (bias && MUTANT != 4) u += bias[MUTANT == 5 ? (o + e + 1) % n : o + e];
            if (vec) u += LOAD(vec, vec_row + o + e);
            if (residual && MUTANT != 6) u += LOAD(residual, at + e);
            u = activate(u, act);
            if (MUTANT == 10) u = CUT(u);
            STORE(u, y, at + e);
        }
    }
}

/* Asks for the lines of row r's outputs of a panel. */
static void soon_out(__global real *y, __global const real *residual, long r, int n, int act, int panel) {
    const int gated = act == ACT_GEGLU;
    const long at = gated ? r * (n / 2) + panel * LANES : r * n + panel * PANEL;
    SOON(y + at, 1);
    if (gated) return;
    SOON(y + at + LANES, 1);
    if (residual) SOON(residual + at, 0);
    if (residual) SOON(residual + at + LANES, 0);
}

/* m rows of each product, `per` of them to a row of vec. block <= MOST_TILES. `group` blocks of rows go panel by panel
 * before the next group: their x stays in cache. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_tile(
    __global real *restrict y, __global const real *restrict x, __global const wreal *restrict w,
    __global const float *restrict bias, __global const real *restrict vec, __global const real *restrict residual, int m,
    int per, int n, int k, int act, int block, int group) {
    const int panels = (n + PANEL - 1) / PANEL, blocks = (m + TR * block - 1) / (TR * block), b = get_global_id(1);
    const int id = get_global_id(0), set = id / (group * panels), in_set = min(group, blocks - set * group);
    const int panel = (id - set * group * panels) / in_set, place = set * group + (id - set * group * panels) % in_set;
    const int first = place * TR * block, tiles = min(block, (m - first + TR - 1) / TR);
    __global const wreal *wp = w + W_AT(((MUTANT == 9 ? 0 : (long)b * panels) + panel) * k * PANEL);
    __global const real *xb = x + (long)b * m * k;
    const long yb = (long)b * m;

    MUTATE
    lanes part[MOST_TILES][TR][2];
    for (int from = 0; from < k; from += CHUNK) {
        const int count = min(CHUNK, k - from);
        __global const wreal *wt = wp + W_AT((long)from * PANEL);
#if WIDEN
        lanes wide[2 * CHUNK];
        widen(wt, count, wide);
#endif
        for (int t = 0; t < tiles; t++) {
            __global const real *row[TR];
            lanes acc[TR][2];
            EACH_ROW(i) {
                const int r = first + t * TR + i;
                row[i] = xb + (long)min(MUTANT == 3 ? r ^ 1 : r, m - 1) * k + from;
                acc[i][0] = acc[i][1] = (lanes)0.0f;
            }
#if REAL_IS_HALF
            float strip[TR][CHUNK];
            EACH_ROW(i) strip_of(row[i], count, strip[i]);
#define INPUT(i, e) strip[i][e]
#else
#define INPUT(i, e) row[i][e]
#endif
            if (from + count == k) /* the lines of the outputs are on their way while the last sums are made */
                EACH_ROW(i) soon_out(y, residual, yb + min(first + t * TR + i, m - 1), n, act, panel);
            const int ask = tiles == 1 || from + count < k || place == set * group + in_set - 1 ? PANEL / tiles : 0; /* if wanted next */
            __global const wreal *ahead = wt + (tiles == 1 ? AHEAD : count) * PANEL + t * count * ask;
            for (int e = 0; e < count - (MUTANT == 1 && from + count == k); e++) {
                const lanes w0 = WEIGHTS(wt, e, 0), w1 = WEIGHTS(wt, e, MUTANT != 13);
                NEXT(wt, e, count);
                LATER(ahead + e * ask);
                EACH_ROW(i) {
                    lanes v = (lanes)(INPUT(i, MUTANT == 8 ? min(e ^ 1, count - 1) : e));
                    if (MUTANT == 2 && from + e == 0) v *= 2;
                    acc[i][0] = summed(FMA(v, w0, acc[i][0]));
                    acc[i][1] = summed(FMA(v, w1, acc[i][1]));
                }
            }
            if (from > 0) {
                EACH_ROW(i) part[t][i][0] += acc[i][0], part[t][i][1] += acc[i][1];
            } else {
                EACH_ROW(i) part[t][i][0] = acc[i][0], part[t][i][1] = acc[i][1];
            }
            if (from + count < k) continue;

            for (int i = 0; i < TR && first + t * TR + i < m; i++) {
                lanes *sum = part[t][MUTANT == 15 && act != ACT_GEGLU && i == TR - 1 ? max(i - 1, 0) : i];
                finish(y, bias, vec, residual, sum[0], sum[1], yb + first + t * TR + i, per, n, act, panel);
            }
        }
    }
}

/* One level of Strassen's algorithm (Numer. Math. 13, 1969): rows first .. first + 2 TR of x in an upper and a lower half, panels
 * in pairs, products in a first and a second half make blocks a11 a12 a21 a22 of x and b11 .. b22 of w, and seven products
 * make the four blocks of y:
 *   m1 (a11+a22)(b11+b22)  m2 (a21+a22)b11  m3 a11(b12-b22)  m4 a22(b21-b11)  m5 (a11+a12)b22  m6 (a21-a11)(b11+b12)
 *   m7 (a12-a22)(b21+b22)     c11 m1+m4-m5+m7   c12 m3+m5   c21 m2+m4   c22 m1-m2+m3+m6
 * w holds for each pair of panels the seven right factors [7][k/2][PANEL]. A job: `block` pairs of tiles of rows, one of `groups`
 * groups of pairs of panels, in pieces of PIECE products: the left factors are made in the second-level cache, then each pair of
 * panels is multiplied with all of them, and what the products go to waits in `part`. Rows beyond the last are the last again.
 * scratch: each work-item block * 7 * TR * PIECE floats of left factors, then block * held * 4 * TR * PANEL of sums: of all pairs of
 * the group, or, where there is but one piece, of one. */
#define PIECE 256
#define FACTOR (TR * PIECE) /* floats of a left factor */
#define SUMS (TR * 2)       /* vectors of a block of y */
/* Where product p goes first and second, 0 to 3 for c11 c12 c21 c22 (4: nowhere), and which of these it is subtracted from. */
#define FIRST(p) (0x0300120 >> 4 * (p) & 15)
#define SECOND_OF(p) (0x4412333 >> 4 * (p) & 15)
#define TAKEN(p, i) ((p) == 1 && (i) == 1 || (p) == 4 && (i) == 0)

/* Where group g of the pairs of panels starts, and the right factors of pair p. */
#define OF_GROUP(g) (int)((long)(g) * pairs / groups)
#define FACTORS_OF(p) (w + (long)(p) * 7 * deep * PANEL)

/* Where input e of row r is, of x's c inputs and then x2's c2. */
static __global const real *input_at(__global const real *x, __global const real *x2, int c, int c2, int r, int e) {
    return e < c ? x + (long)r * c + e : x2 + (long)r * c2 + (e - c);
}

/* The seven left factors of 2 TR rows from `first` on, `count` products from `from` on, in stretches that either half has of one
 * input. */
static void left_factors(__global lanes *to, __global const real *x, __global const real *x2, int first, int m,
                         int c, int c2, int from, int count) {
    const int later = from + (c + c2) / 2;
    for (int begin = 0, end; begin < count; begin = end) {
        end = from + begin < c ? min(count, c - from) : count;
        if (later + begin < c) end = min(end, c - later);
        for (int i = 0; i < TR; i++) {
            const int r = min(first + i, m - 1), s = min(first + TR + i, m - 1);
            __global const real *p11 = input_at(x, x2, c, c2, r, from + begin), *p12 = input_at(x, x2, c, c2, r, later + begin);
            __global const real *p21 = input_at(x, x2, c, c2, s, from + begin), *p22 = input_at(x, x2, c, c2, s, later + begin);
            __global lanes *factor = to + (i * PIECE + begin) / LANES;
            for (int e = 0; e < end - begin; e += LANES, factor++) {
                const lanes a11 = LOADV(p11, e), a12 = LOADV(p12, e), a21 = LOADV(p21, e), a22 = LOADV(p22, e);
                factor[0] = a11 + a22;
                factor[FACTOR / LANES] = MUTANT == 27 ? a21 : a21 + a22;
                factor[2 * FACTOR / LANES] = a11;
                factor[3 * FACTOR / LANES] = a22;
                factor[4 * FACTOR / LANES] = a11 + a12;
                factor[5 * FACTOR / LANES] = MUTANT == 28 ? a21 + a11 : a21 - a11;
                factor[6 * FACTOR / LANES] = a12 - a22;
            }
        }
    }
}

/* Product `product` of a pair of tiles and a pair of panels, of `count` products of factors, added to the blocks of sums it goes
 * to (`begin`: nothing is there yet); the `ask` floats a product from `ahead` on are asked for. */
static void one_product(__global lanes *sums, __global const float *left, __global const float *right, __global const float *ahead,
                        int ask, int product, int count, int begin, int last) {
    lanes acc[TR][2];
    EACH_ROW(i) acc[i][0] = acc[i][1] = (lanes)0.0f;
    for (int e = 0; e < count - (MUTANT == 29 && last); e++) {
        const lanes w0 = VLOAD(right + e * PANEL), w1 = VLOAD(right + e * PANEL + LANES);
        SOON(ahead + e * ask, 0);
        EACH_ROW(i) {
            const lanes v = (lanes)left[i * PIECE + e];
            acc[i][0] = summed(FMA(v, w0, acc[i][0]));
            acc[i][1] = summed(FMA(v, w1, acc[i][1]));
        }
    }
    for (int i = 0; i < 2 - (MUTANT == 30 && product == 3); i++) {
        const int to = i ? SECOND_OF(product) : FIRST(product);
        const lanes sign = (lanes)(MUTANT != 31 && TAKEN(product, i) ? -1.0f : 1.0f);
        __global lanes *c = sums + to * SUMS;
        if (to == 4) break;
        if ((MUTANT == 32 || begin) && product < 3 && (i == 0 || product == 0)) {
            EACH_ROW(r) c[2 * r] = acc[r][0], c[2 * r + 1] = acc[r][1];
        } else {
            EACH_ROW(r) c[2 * r] = FMA(sign, acc[r][0], c[2 * r]), c[2 * r + 1] = FMA(sign, acc[r][1], c[2 * r + 1]);
        }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_strassen(
    __global real *restrict y, __global const real *restrict x, __global const real *restrict x2, __global const float *restrict w,
    __global const float *restrict bias, __global const real *restrict vec, __global const real *restrict residual,
    __global float *restrict scratch, int m, int per, int n, int c, int c2, int act, int block, int groups, int held) {
    const int pairs = (n + 2 * PANEL - 1) / (2 * PANEL), blocks = (m + 2 * TR * block - 1) / (2 * TR * block), deep = (c + c2) / 2;
    const int items = get_global_size(0);
    __global float *factors = scratch + (long)get_global_id(0) * block * (7 * FACTOR + held * 4 * SUMS * LANES);
    __global lanes *sums = (__global lanes *)(factors + block * 7 * FACTOR);
    MUTATE
    for (int job = get_global_id(0); job < blocks * groups; job += items) {
        const int first = job % blocks * block * 2 * TR, tiles = min(block, (m - first + 2 * TR - 1) / (2 * TR)), ask = PANEL / tiles;
        const int pair = OF_GROUP(job / blocks), end = OF_GROUP(job / blocks + 1), then = job + items < blocks * groups ? OF_GROUP((job + items) / blocks) : 0;
        for (int from = 0, count; from < deep; from += count) {
            count = min(PIECE, deep - from);
            const int last = from + count == deep;
            for (int t = 0; t < tiles; t++)
                left_factors((__global lanes *)factors + t * 7 * FACTOR / LANES, x, x2, first + t * 2 * TR, m, c, c2, from, count);
            for (int p = pair; p < end; p++) {
                __global lanes *part = sums + (held > 1 ? p - pair : 0) * block * 4 * SUMS;
                __global const float *right = FACTORS_OF(p) + from * PANEL; /* behind the last: the next pair's, piece's or job's */
                __global const float *soon = p + 1 < end ? FACTORS_OF(p + 1) + from * PANEL : last ? FACTORS_OF(then) : FACTORS_OF(pair) + (from + count) * PANEL;
                for (int product = 0; product < 7; product++, right += deep * PANEL)
                    for (int t = 0; t < tiles; t++) {
                        if (last && product < 4 && m >= 128) /* a block's outputs; few rows come as fast without */
                            EACH_ROW(i) soon_out(y, residual, min(first + (2 * t + product / 2) * TR + i, m - 1), n, act, 2 * p + product % 2);
                        one_product(part + t * 4 * SUMS, factors + (t * 7 + product) * FACTOR, right,
                                    (product < 6 ? right + deep * PANEL : soon) + t * count * ask, ask, product, count, from == 0, last);
                    }
                for (int r = 0; last && r < tiles * 2 * TR && first + r < m; r++)
                    for (int v = 0; v < 2; v++) {
                        __global const lanes *sum = part + (r / TR * 2 + v) * SUMS + r % TR * 2;
                        finish(y, bias, vec, residual, sum[0], sum[1], first + r, per, n, act, 2 * p + v);
                    }
            }
        }
    }
}

/* One row: part get_global_id(1) of `parts`, `each` products (a multiple of CHAINS and of 32), of the sums of a panel. All of
 * a panel's products are read in order, CHAINS of them at a time in sums of their own, so that no addition waits for the last. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_row(
    __global real *restrict y, __global float *restrict sums, __global const real *restrict x, __global const wreal *restrict w,
    __global const float *restrict bias, __global const real *restrict vec, __global const real *restrict residual, int n, int k,
    int act, int parts, int each) {
    const int panel = get_global_id(0), part = get_global_id(1), panels = (n + PANEL - 1) / PANEL;
    const int end = min((part + 1) * each, k);
    __global const wreal *wp = w + W_AT((long)(MUTANT == 25 && panel ? panel - 1 : panel) * k * PANEL);
    lanes s0 = (lanes)0.0f, s1 = (lanes)0.0f;
    MUTATE
    for (int from = part * each; from < end; from += CHUNK) {
        const int count = min(CHUNK, end - from), fours = count / CHAINS * CHAINS;
        __global const wreal *wt = wp + W_AT((long)from * PANEL);
#if WIDEN
        lanes wide[2 * CHUNK];
        widen(wt, count, wide);
#endif
#if REAL_IS_HALF
        float row[CHUNK];
        strip_of(x + from, count, row);
#else
        __global const real *row = x + from;
#endif
        lanes acc[CHAINS][2];
#pragma unroll
        for (int i = 0; i < CHAINS; i++) acc[i][0] = acc[i][1] = (lanes)0.0f;
        for (int e = 0; e < fours; e += CHAINS) {
#pragma unroll
            for (int i = 0; i < CHAINS; i++) {
                const lanes v = (lanes)row[MUTANT == 26 ? e + (i ^ 1) : e + i];
                NEXT(wt, e + i, count);
                LATER(wt + (e + i + AHEAD) * PANEL);
                acc[i][0] = summed(FMA(v, WEIGHTS(wt, e + i, 0), acc[i][0]));
                acc[i][1] = summed(FMA(v, WEIGHTS(wt, e + i, 1), acc[i][1]));
            }
        }
        for (int e = fours; e < (MUTANT == 24 ? 0 : count); e++) {
            const lanes v = (lanes)row[e];
            acc[0][0] = FMA(v, WEIGHTS(wt, e, 0), acc[0][0]), acc[0][1] = FMA(v, WEIGHTS(wt, e, 1), acc[0][1]);
        }
#pragma unroll
        for (int i = 1; i < CHAINS; i++) acc[0][0] += acc[i][0], acc[0][1] += acc[i][1];
        s0 += acc[0][0], s1 += acc[0][1];
    }
    if (parts == 1) {
        finish(y, bias, vec, residual, s0, s1, 0, 1, n, act, panel);
        return;
    }
    sums += ((long)part * panels + panel) * PANEL;
    VSTORE(s0, sums), VSTORE(s1, sums + LANES);
}

/* The parts' sums of a panel, in order. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_row_merge(
    __global real *restrict y, __global const float *restrict sums, __global const float *restrict bias,
    __global const real *restrict vec, __global const real *restrict residual, int n, int act, int parts) {
    const int panel = get_global_id(0), panels = (n + PANEL - 1) / PANEL;
    lanes s0 = (lanes)0.0f, s1 = (lanes)0.0f;
    MUTATE
    for (int part = 0; part < parts - (MUTANT == 23); part++) {
        __global const float *sum = sums + ((long)part * panels + panel) * PANEL;
        s0 += VLOAD(sum), s1 += VLOAD(sum + LANES);
    }
    finish(y, bias, vec, residual, s0, s1, 0, 1, n, act, panel);
}
