/* conv2d_thin_cpu.cl -- convolution of few products an output on CPUs (r s c <= 128): first layers, of pictures and latents
 *   y [n,p,q,k]   x [n,h,wd,c]   bias [k], vec [n,k], residual [n,p,q,k] or absent   w: panels [k/32][K][32]
 *   reference  reference/ref_conv2d.c          host  host/ops/conv2d.c, layouts in host/ops/pack.c
 *
 * A work-item makes up to TILES tiles of TILE_PIXELS pixels of one output row, `each` panels of 2 LANES outputs. The rows
 * of input that it needs are copied once into a strip of floats with the padding written out, so a sum runs through a
 * row of taps without a branch and leaves its registers only as an output, whose lines were asked for before: a large map
 * is mostly waiting for them. Local size 1.
 *
 * MUTANTS: 1 last product dropped, 2 first channel doubled, 3 halo off by one in y, 4 halo off by one in x, 5 stride + 1,
 *   6 bias missing, 7 neighbour's bias, 8 outside is not zero, 9 upsample shifted, 10 filter flipped, 11 channels swapped,
 *   12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 16 activation dropped, 17 last pixel of a tile
 *   repeats its neighbour, 18 sums kept in f16, 19 second half of a panel is the first again */
#ifndef TILE_PIXELS
#define TILE_PIXELS 8 /* output pixels of a tile, 1..14; 2 vectors of sums each */
#endif
#define TP TILE_PIXELS
#define TILES 4
#define STRIP 4096 /* floats of a strip, at most: r ((TP TILES - 1) stride + s) c */
#if MUTANT == 18
#define HALF_SUMS
#endif
#include "lanes.clh"
#include "conv2d_cpu.clh"
#define PANEL (2 * LANES)
#define EACH_PIXEL(i) _Pragma("unroll") for (int i = 0; i < TP; i++)

/* `count` floats from a map's row into the strip */
static void copied(__global const real *row, int count, float *to) {
    int e = 0;
    for (; e + LANES <= count; e += LANES) VSTORE(LOADV(row, e), to + e);
    for (; e < count; e++) to[e] = LOAD(row, e);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_thin(
    __global real *restrict y, __global const real *restrict x, __global const wreal *restrict w,
    __global const float *restrict bias, __global const real *restrict vec, __global const real *restrict residual, int h,
    int wd, int c, int k, int r, int s, int stride, int up, int pt, int pl, int p, int q, int act, int each) {
    const int panels = (k + PANEL - 1) / PANEL, parts = (panels + each - 1) / each, segments = (q + TP * TILES - 1) / (TP * TILES);
    const int id = get_global_id(0), part = id % parts, segment = id / parts % segments, row = id / parts / segments;
    const int in = row / p, first = segment * TP * TILES, tiles = (min(TP * TILES, q - first) + TP - 1) / TP;
    const int step = stride + (MUTANT == 5), deep = r * s * c;
    const int wide = (TP * tiles - 1) * step + s; /* pixels of a row of the strip */
    const int iy0 = (row % p) * step - pt + (MUTANT == 3), ix0 = first * step - pl + (MUTANT == 4);

    float strip[STRIP * (MUTANT == 5 ? 3 : 1)];
    for (int ry = 0; ry < r; ry++) {
        const int iy = iy0 + ry, sy = MUTANT == 9 && up == 2 ? min((iy + 1) >> 1, h - 1) : iy >> (up - 1);
        const int from = clamp(-ix0, 0, wide), to = clamp(wd * up - ix0, from, wide); /* pixels that lie in the map */
        float *line = strip + ry * wide * c;
        __global const real *map = x + ((long)in * h + sy) * wd * c;
        if ((uint)iy >= (uint)(h * up)) {
            for (int e = 0; e < wide * c; e++) line[e] = MUTANT == 8 ? LOAD(x, 0) : 0;
            continue;
        }
        for (int e = 0; e < from * c; e++) line[e] = MUTANT == 8 ? LOAD(x, 0) : 0;
        if (up == 1) copied(map + (long)(ix0 + from) * c, (to - from) * c, line + from * c);
        else
            for (int i = from; i < to; i++)
                for (int e = 0; e < c; e++) line[i * c + e] = LOAD(map, (long)((ix0 + i) >> 1) * c + e);
        for (int e = to * c; e < wide * c; e++) line[e] = MUTANT == 8 ? LOAD(x, 0) : 0;
    }

    for (int t = 0; t < tiles; t++)
        for (int panel = part * each; panel < min((part + 1) * each, panels); panel++) {
            __global const wreal *wt = w + W_AT((long)panel * deep * PANEL);
            const int ox = first + t * TP, o = panel * PANEL, whole = MUTANT != 7 && o + PANEL <= k; /* sums start at the bias */
            __global const float *start = MUTANT == 6 || !whole ? 0 : bias, *late = whole ? 0 : bias;
            const lanes b0 = start ? VLOAD(start + o) : (lanes)0.0f, b1 = start ? VLOAD(start + o + LANES) : (lanes)0.0f;
            lanes acc[TP][2];
            EACH_PIXEL(i) acc[i][0] = b0, acc[i][1] = b1;
            __global real *to = y + ((long)row * q + ox) * k + o;
            EACH_PIXEL(i) {
                SOON(to + (long)i * k, 1);
                SOON(to + (long)i * k + LANES, 1);
            }
            for (int ry = 0; ry < r; ry++) {
                const float *at = strip + (ry * wide + t * TP * step) * c;
                for (int e = 0; e < s * c; e++, wt += PANEL) {
                    if (MUTANT == 1 && ry == r - 1 && e == s * c - 1) break;
#if MUTANT == 10
                    const int tap = r * s - 1 - (ry * s + e / c);
                    const float *source = strip + (tap / s * wide + t * TP * step + tap % s) * c + e % c - e;
#else
                    const float *source = at;
#endif
                    const lanes w0 = LDM_CAT(WLOAD, LANES)(wt, 0), w1 = LDM_CAT(WLOAD, LANES)(wt, MUTANT == 19 ? 0 : LANES);
                    EACH_PIXEL(i) {
                        const lanes v = (lanes)source[i * step * c + (MUTANT == 11 ? min(e ^ 1, s * c - 1) : e)] *
                                        (MUTANT == 2 && e % c == 0 ? 2 : 1);
                        acc[i][0] = summed(FMA(v, w0, acc[i][0]));
                        acc[i][1] = summed(FMA(v, w1, acc[i][1]));
                    }
                }
            }
            if (whole && !vec && !residual && act == ACT_NONE && ox + TP <= (MUTANT == 17 ? 0 : q)) {
                EACH_PIXEL(i) STOREV(KEPTV(acc[i][0]), to, (long)i * k), STOREV(KEPTV(acc[i][1]), to, (long)i * k + LANES);
                continue;
            }
#pragma unroll
            for (int i = 0; i < TP; i++)
#pragma unroll
                for (int v = 0; v < 2; v++)
                    if (ox + i < q && o + v * LANES < k)
                        finish_lanes(y, late, vec, residual, acc[MUTANT == 17 && i == TP - 1 ? max(i - 1, 0) : i][v],
                                     ((long)row * q + ox + i) * k + o + v * LANES, o + v * LANES, in, k, act);
        }
}
