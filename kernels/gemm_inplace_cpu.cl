/* gemm_inplace_cpu.cl -- matrix product for CPUs from weights as the checkpoint has them, [n][c + c2]: each work-item turns a
 * strip of PANEL = 2 LANES outputs into a panel in cache and uses it for all its rows, so that nothing is packed or kept twice
 *   y [m,n]   x [m,c]   x2 [m,c2] or absent   bias [n], vec [m / per,n], residual [m,n] or absent; floats
 *   y = act((x, x2) w^T + bias + vec + residual); geglu as in gemm_cpu.cl. c and c2 multiples of 16, n of 32
 *   references reference/ref_gemm.c, reference/ref_conv2d.c (1x1)     host  host/ops/inplace.c
 *
 *   gemm_inplace  a work-item makes `block` tiles of TILE_ROWS rows x a panel, CHUNK products of all tiles before the next;
 *                 the sums wait in `part`. `group` blocks of rows go panel by panel before the next group.
 *
 * MUTANTS: 1 last product dropped, 2 first product doubled, 3 row of the neighbour, 4 x2 dropped, 5 rows and columns of a strip
 *   not exchanged, 6 bias missing, 7 neighbour's bias, 12 f16 store truncated, 13 vec of the first, 14 residual missing, 16 activation
 *   dropped, 18 sums kept in f16, 19 second half of a panel is the first again, 20 last row of a tile repeats its neighbour,
 *   21 value and gate exchanged, 22 gate's bias missing, 23 next strip instead of this */
#if MUTANT == 18
#define HALF_SUMS
#endif
#include "lanes.clh"
#include "conv2d_cpu.clh"
#include "across.clh"
#ifndef TILE_ROWS
#define TILE_ROWS 8 /* rows of a tile, 1..14; 2 vectors of sums each, so at most 6 where there are 16 registers */
#endif
#define TR TILE_ROWS
#define PANEL (2 * LANES)
#define MOST_TILES 32 /* tiles of a work-item, at most; 128 TR MOST_TILES bytes of stack */
#define CHUNK 256     /* products of a strip, 32 KiB */
#define EACH_ROW(i) _Pragma("unroll") for (int i = 0; i < TR; i++)

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_inplace(__global real *restrict y, __global const real *restrict x, __global const real *restrict x2,
             __global const float *restrict w, __global const float *restrict bias, __global const real *restrict vec,
             __global const real *restrict residual, int m, int per, int n, int c, int c2, int act, int block, int group) {
    const int panels = n / PANEL, blocks = (m + TR * block - 1) / (TR * block), all = c + c2;
    const int id = get_global_id(0), set = id / (group * panels), in_set = min(group, blocks - set * group);
    const int panel = (id - set * group * panels) / in_set, place = set * group + (id - set * group * panels) % in_set;
    const int first = place * TR * block, tiles = min(block, (m - first + TR - 1) / TR);
    /* the panel's outputs: on end, or LANES values and their gates */
    const int gated = act == ACT_GEGLU, low = panel * (gated ? LANES : PANEL), high = gated ? n / 2 + low : low + LANES;
    __global const float *part_of[2] = {w + (long)low * all, w + (long)high * all};
    lanes part[MOST_TILES][TR][2];
    float strip[CHUNK * PANEL] __attribute__((aligned(64)));

    for (int from = 0, count; from < (MUTANT == 4 ? c : all); from += count) {
        const int second = from >= c, cs = second ? c2 : c, at = from - (second ? c : 0);
        count = min(CHUNK, cs - at);
        for (int part2 = 0; part2 < 2; part2++)
            for (int e = 0; e < count; e += LANES) {
                lanes a[LANES], b[LANES];
                __global const float *rows = part_of[MUTANT == 19 ? 0 : part2] + from + (MUTANT == 23 && e + PANEL <= count ? e + LANES : e);
#pragma unroll
                for (int i = 0; i < LANES; i++) a[i] = VLOAD(rows + (long)i * all);
                if (MUTANT != 5) ACROSS(a, b)
#pragma unroll
                for (int i = 0; i < LANES; i++) *(lanes *)(strip + (e + i) * PANEL + part2 * LANES) = a[i];
            }
        __global const real *xs = (second ? x2 : x) + at;
        for (int t = 0; t < tiles; t++) {
            __global const real *row[TR];
            lanes acc[TR][2];
            EACH_ROW(i) {
                const int r = first + t * TR + i;
                row[i] = xs + (long)min(MUTANT == 3 ? r ^ 1 : r, m - 1) * cs;
                acc[i][0] = acc[i][1] = (lanes)0.0f;
            }
            if (from + count < all) /* a tile's share of the next strip: a line of 16 products of an output each */
                for (int l = t * PANEL * 16 / tiles; l < (t + 1) * PANEL * 16 / tiles; l++)
                    SOON(part_of[l & 1] + (long)(l / 2 % LANES) * all + from + count + l / PANEL * 16, 0);
            for (int e = 0; e < count - (MUTANT == 1 && from + count == all); e++) {
                const lanes w0 = *(const lanes *)(strip + e * PANEL), w1 = *(const lanes *)(strip + e * PANEL + LANES);
                EACH_ROW(i) {
                    lanes v = (lanes)(LOAD(row[i], e));
                    if (MUTANT == 2 && from + e == 0) v *= 2;
                    acc[i][0] = summed(FMA(v, w0, acc[i][0])), acc[i][1] = summed(FMA(v, w1, acc[i][1]));
                }
            }
            EACH_ROW(i) {
                part[t][i][0] = from ? part[t][i][0] + acc[i][0] : acc[i][0];
                part[t][i][1] = from ? part[t][i][1] + acc[i][1] : acc[i][1];
            }
        }
    }
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < TR && first + t * TR + i < m; i++) {
            const long r = first + t * TR + i;
            const lanes *sum = part[t][MUTANT == 20 && i == TR - 1 ? max(i - 1, 0) : i];
            if (gated) {
                lanes value = sum[MUTANT == 21], gate = sum[MUTANT != 21];
                if (bias && MUTANT != 6) value += VLOAD(bias + low);
                if (bias && MUTANT != 22) gate += VLOAD(bias + high);
                STOREV(value * GELUV(gate), y, r * (n / 2) + low);
                continue;
            }
            finish_lanes(y, bias, vec, residual, sum[0], r * n + low, low, r / per, n, act);
            finish_lanes(y, bias, vec, residual, sum[1], r * n + high, high, r / per, n, act);
        }
}
