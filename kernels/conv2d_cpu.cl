/* conv2d_cpu.cl -- convolution for CPUs: an implicit GEMM, no padded copy, no im2col
 *   y [n,p,q,k]   x [n,h,wd,c]   x2 [n,h,wd,c2] or absent   bias [k], vec [n,k], residual [n,p,q,k] or absent
 *   reference  reference/ref_conv2d.c          host  host/ops/conv2d.c, layouts in host/ops/pack.c
 *
 *   conv2d_narrow  k <= 16, c and c2 multiples of 16: lanes are channels, so that 3 or 4 outputs waste nothing.
 *                  4 pixels (2 at fewer than 16 lanes) x 4 outputs a step; w: [k rounded up to 4][K], then a row of zeros.
 *   conv2d_tile    any shape. A work-item makes `block` tiles of TILE_PIXELS pixels (consecutive in n,p,q order) x a panel of 2 LANES
 *                  outputs. w: panels [k/32][K][32], then a row of zeros. One tap of the panel (c x 32 weights) is
 *                  used for all tiles of the block before the next, so it comes from the second-level cache whatever K is;
 *                  the sums wait in `part`. Meanwhile it asks for its outputs' lines, and for 1x1 filters for its share of
 *                  the next group's pixels.
 * Both: local size 1; input and weights kept as anything but floats go through strips of them: cpu_tile.clh. K = x's taps and channels, then x2's. Pixels outside the map read the row of zeros; up = 2 reads the
 * input at half the coordinates.
 *
 * MUTANTS: 1 last product dropped, 2 first channel doubled, 3 halo off by one in y, 4 halo off by one in x, 5 stride + 1,
 *   6 bias missing, 7 neighbour's bias, 8 outside is not zero, 9 upsample shifted, 10 filter flipped, 11 channels swapped,
 *   12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 15 x2 dropped, 16 activation dropped, 17 last pixel of
 *   a tile repeats its neighbour, 18 sums kept in f16, 19 second half of a panel is the first again (conv2d_tile),
 *   20 tail of a strip dropped (conv2d_tile with halves), 21 scales of the panel's second half are the first's (WREAL q8),
 *   22 sign of a number lost (WREAL q8), 23 scales of the block before (WREAL q8) */
#ifndef TILE_PIXELS
#define TILE_PIXELS 8 /* conv2d_tile: output pixels of a tile, 1..14; 2 vectors of sums each, so at most 6 where there are 16 registers */
#endif
#define TP TILE_PIXELS
#define TILE_ROWS TILE_PIXELS
#define MOST_TILES (LANES == 16 ? 8 : 12) /* conv2d_tile: tiles of a work-item, at most; 128 TP MOST_TILES bytes of stack */
#if MUTANT == 18
#define HALF_SUMS
#endif
#if MUTANT == 20
#define DROP_TAIL
#endif
#if MUTANT == 21
#define ONE_SCALE
#endif
#if MUTANT == 22
#define NO_SIGN
#endif
#if MUTANT == 23
#define SCALE_BEFORE
#endif
#include "lanes.clh"
#include "cpu_tile.clh"
#define MERGE min(CHUNK, 256) /* longest row of taps taken as one run */
#include "conv2d_cpu.clh"
#include "input_row.clh"
#define EACH_PIXEL(i) _Pragma("unroll") for (int i = 0; i < TP; i++)

#define SIZES                                                                                                          \
    int n, int h, int wd, int c, int c2, int k, int r, int s, int stride, int up, int pt, int pl, int p, int q, int act

#define PIXELS (LANES == 16 ? 4 : 2) /* conv2d_narrow: pixels of a step */

static float lane_sum(lanes v) {
#if LANES == 16
    const float8 a = v.lo + v.hi;
#elif LANES == 8
    const float8 a = v;
#endif
#if LANES == 4
    const float4 b = v;
#else
    const float4 b = a.lo + a.hi;
#endif
    return (b.x + b.z) + (b.y + b.w);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_narrow(__global real *restrict y, __global const real *restrict x, __global const real *restrict x2,
              __global const wreal *restrict w, __global const float *restrict bias, __global const real *restrict vec,
              __global const real *restrict residual, SIZES) {
    const int pixels = n * p * q, first = get_global_id(0) * PIXELS, deep = (c + c2) * r * s;
    __global const real *zeros = (__global const real *)(w + W_AT((long)((k + 3) / 4 * 4) * deep));
    int py[PIXELS], px[PIXELS];
    long map[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
        const int m = min(first + i, pixels - 1), step = stride + (MUTANT == 5);
        py[i] = m / q % p * step - pt + (MUTANT == 3), px[i] = m % q * step - pl + (MUTANT == 4);
        map[i] = (long)(m / (p * q)) * h * wd;
    }
    for (int o = 0; o < k; o += 4) {
        lanes acc[PIXELS][4];
#pragma unroll
        for (int i = 0; i < 4 * PIXELS; i++) acc[i / 4][i % 4] = (lanes)0.0f;
        int k0 = 0;
        for (int source = 0; source < (MUTANT != 15 && c2 ? 2 : 1); source++) {
            __global const real *xs = source ? x2 : x;
            const int cs = source ? c2 : c;
            for (int tap = 0; tap < r * s; tap++, k0 += cs) {
                const int at = MUTANT == 10 ? r * s - 1 - tap : tap, ry = at / s, sx = at % s;
                __global const real *row[PIXELS];
                __global const wreal *wt = w + W_AT((long)o * deep + k0);
#pragma unroll
                for (int i = 0; i < PIXELS; i++) row[i] = input_row(xs, zeros, map[i], py[i] + ry, px[i] + sx, h, wd, cs, up);
                for (int e = 0; e < cs; e += LANES) {
                    lanes v[PIXELS];
#pragma unroll
                    for (int i = 0; i < PIXELS; i++) {
                        v[i] = LOADV(row[i], e);
                        if (MUTANT == 1 && k0 + e + LANES == deep) v[i].s0 = 0;
                        if (MUTANT == 2 && e == 0) v[i].s0 *= 2;
                        if (MUTANT == 11 && i != 2) v[i].even = v[i].odd;
                    }
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        const lanes u = LDM_CAT(WLOAD, LANES)(wt, (long)j * deep + e);
#pragma unroll
                        for (int i = 0; i < PIXELS; i++) acc[i][j] = summed(FMA(v[i], u, acc[i][j]));
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int m = first + i;
                const float sum = lane_sum(acc[MUTANT == 17 && i == PIXELS - 1 ? i - 1 : i][j]);
                if (m < pixels && o + j < k) finish1(y, bias, vec, residual, sum, (long)m * k + o + j, o + j, m / (p * q), k, act);
            }
    }
}

/* block <= MOST_TILES. `group` blocks of pixels go panel by panel before the next group: their input stays in cache. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_tile(__global real *restrict y, __global const real *restrict x, __global const real *restrict x2,
            __global const wreal *restrict w, __global const float *restrict bias, __global const real *restrict vec,
            __global const real *restrict residual, SIZES, int block, int group) {
    const int pixels = n * p * q, panels = (k + PANEL - 1) / PANEL, blocks = (pixels + TP * block - 1) / (TP * block);
    const int id = get_global_id(0), set = id / (group * panels), in_set = min(group, blocks - set * group);
    const int panel = (id - set * group * panels) / in_set, place = set * group + (id - set * group * panels) % in_set;
    const int first = place * TP * block, tiles = min(block, (pixels - first + TP - 1) / TP);
    const long deep = (long)(c + c2) * r * s;
    __global const wreal *wp = w + W_AT(panel * deep * PANEL);
    __global const real *zeros = (__global const real *)(w + W_AT(panels * deep * PANEL));

    int py[MOST_TILES][TP], px[MOST_TILES][TP], merged[MOST_TILES];
    long map[MOST_TILES][TP];
    lanes part[MOST_TILES][TP][2];
    int m = first, iq = m % q, ip = m / q % p, in = m / (p * q), merges = 0;
    for (int t = 0; t < tiles; t++) {
        /* a row of taps is one contiguous run where all of it lies inside for every pixel of the tile */
        merged[t] = MUTANT != 10 && c2 == 0 && up == 1 && s * c <= MERGE;
        for (int i = 0; i < TP; i++) {
            const int step = stride + (MUTANT == 5);
            py[t][i] = ip * step - pt + (MUTANT == 3), px[t][i] = iq * step - pl + (MUTANT == 4);
            map[t][i] = (long)in * h * wd;
            merged[t] = merged[t] && px[t][i] >= 0 && px[t][i] + s <= wd;
            part[t][i][0] = part[t][i][1] = (lanes)0.0f;
            if (++m >= pixels) continue; /* past the end the last pixel again */
            if (++iq == q) {
                iq = 0;
                if (++ip == p) ip = 0, in++;
            }
        }
        merges += merged[t];
    }

    const long of_group = (long)group * TP * block * c, share = r * s == 1 && stride == 1 ? of_group / (group * panels * tiles) : 0;
    __global const real *soon = x + (set + 1) * of_group + (id - set * group * panels) * tiles * share, *end = x + (long)n * h * wd * c;
    long k0 = 0; /* products before this tap */
    for (int source = 0; source < (MUTANT != 15 && c2 ? 2 : 1); source++) {
        __global const real *xs = source ? x2 : x;
        const int cs = source ? c2 : c;
        for (int tap = 0; tap < r * s; tap++, k0 += cs) {
            const int at = MUTANT == 10 ? r * s - 1 - tap : tap, ry = at / s, sx = at % s;
            if (sx && merges == tiles) continue; /* all done with the row's first tap */
            for (int from = 0; from < cs; from += CHUNK) {
                __global const wreal *wt = wp + W_AT((k0 + from) * PANEL);
#if WIDEN
                lanes wide[2 * CHUNK];
                widen(wt, merges && sx == 0 ? s * cs : min(CHUNK, cs - from), wide);
#endif
                for (int t = 0; t < tiles; t++) {
                    if (merged[t] && sx) continue;
                    int count = merged[t] ? s * cs : min(CHUNK, cs - from);
                    __global const real *row[TP];
                    lanes acc[TP][2];
                    int inside = 0; /* any pixel */
                    EACH_PIXEL(i) {
                        row[i] = from + input_row(xs, zeros, map[t][i], py[t][i] + ry, px[t][i] + sx, h, wd, cs, up);
                        acc[i][0] = acc[i][1] = (lanes)0.0f;
                        inside |= row[i] != zeros + from;
                    }
#if REAL_IS_HALF
                    float strip[TP][CHUNK];
                    EACH_PIXEL(i) strip_of(row[i], count, strip[i]);
#define INPUT(i, e) strip[i][e]
#else
#define INPUT(i, e) row[i][e]
#endif
                    if (k0 == 0 && from == 0)
                        for (long e = 0; e < share && soon + t * share + e < end; e += 64 / sizeof(real)) SOON(soon + t * share + e, 0);
                    if (k0 + from + count == deep)
                        for (int i = 0; i < min(TP, pixels - first - t * TP); i++)
                            for (int o = 0; o < PANEL; o += 16) SOON(y + (long)(first + t * TP + i) * k + panel * PANEL + o, 1);
                    if (MUTANT == 1 && k0 + from + count == deep) count--;
                    const int ask = tiles == 1 || k0 + from + count < deep || place == set * group + in_set - 1 ? PANEL / tiles : 0;
                    __global const wreal *ahead = wt + (tiles == 1 ? AHEAD : count) * PANEL + t * count * ask;
                    for (int e = 0; !inside && e < count; e++) {
                        NEXT(wt, e, count);
                        LATER(ahead + e * ask);
                    }
                    for (int e = 0; inside && e < count; e++) {
                        const lanes w0 = WEIGHTS(wt, e, 0), w1 = WEIGHTS(wt, e, MUTANT != 19);
                        NEXT(wt, e, count);
                        LATER(ahead + e * ask);
                        EACH_PIXEL(i) {
                            const lanes v = (lanes)(INPUT(i, MUTANT == 11 ? min(e ^ 1, count - 1) : e)) * (MUTANT == 2 && e == 0 ? 2 : 1);
                            acc[i][0] = summed(FMA(v, w0, acc[i][0]));
                            acc[i][1] = summed(FMA(v, w1, acc[i][1]));
                        }
                    }
                    EACH_PIXEL(i) part[t][i][0] += acc[i][0], part[t][i][1] += acc[i][1];
                }
            }
        }
    }

    m = first, ip = m % (p * q), in = m / (p * q);
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < TP && m < pixels; i++, m++) {
            const int o = panel * PANEL;
            if (ip++ == p * q) ip = 1, in++;
            for (int v = 0; v < 2 && o + v * LANES < k; v++)
                finish_lanes(y, bias, vec, residual, part[t][MUTANT == 17 && i == TP - 1 ? max(i - 1, 0) : i][v], (long)m * k + o + v * LANES,
                             o + v * LANES, in, k, act);
        }
}
