/* conv2d_winograd_few_cpu.cl -- Winograd's F(4x4,3x3) for CPUs (see conv2d_winograd_cpu.cl) where tiles are few, and reading
 * turned filters would take longer than using them: they are kept as they are and turned in registers while they are used
 *   tensors as in conv2d_cpu.cl; w [ceil(k/32)][c + c2][3][3][32]
 *   scratch    V [chunk][ceil(tiles/4)][place][4][CHUNK], then a slot for each work-item of the second
 *   reference  reference/ref_conv2d.c (value and the bound of this algorithm)     host  host/ops/winograd_few.c
 *
 *   few_turn      V of all tiles; a work-item: one tile, one chunk of CHUNK channels (of x, or of x2). G's rows are (1, p, p^2)
 *                 and (0, 0, 1) here; what they are to be divided by is in V.
 *   few_multiply  a work-item makes every items'th job; a job is `block` tiles x 32 outputs. For each chunk it turns the
 *                 columns of the filters (H, in cache). Then it makes the U of a channel in registers, of half a row of places
 *                 for 8 tiles (points 0, 5/8 and -5/8, or infinity, 3/2 and -3/2) or of a row for 4, multiplies and adds to M,
 *                 which is turned into pixels at the end. The next filters are asked for meanwhile, evenly.
 *
 * MUTANTS: 1 last channel of a chunk dropped, 2 one place of a tile left out, 3 halo off by one in y, 4 halo off by one in x,
 *   5 first chunk only, 6 bias missing, 7 neighbour's bias, 8 outside is not zero, 9 upsample shifted, 10 tile turned over,
 *   11 last rows of a tile swapped, 12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 15 x2 dropped,
 *   16 activation dropped, 17 last tile of a product repeats its neighbour, 18 sums kept in f16, 19 panel is its first
 *   vector again, 20 tail of channels dropped, 21 last row of outputs unwritten, 22 neighbour's panel, 23 filter turned over */
#if MUTANT == 18
#define HALF_SUMS
#endif
#pragma OPENCL FP_CONTRACT OFF /* the same U for 8 tiles as for 4 */
#define FACTORED
#include "lanes.clh"
#include "conv2d_cpu.clh"
#include "input_row.clh"
#include "winograd.clh"
#include "winograd_cpu.clh"
#define CHUNK 32
#define GROUP (4 * CHUNK) /* floats of a place of 4 tiles */
#define TAPS (9 * 32)     /* floats of a channel of a panel */
#define H_ROW (CHUNK * 3 * 32)
#define MANY (LANES == 16 ? 8 : 4) /* tiles of half a row */

/* (1, p, p^2) and (1, -p, p^2) times (a, b, c) */
#define PAIR(p, plus, minus)                                                                                           \
    const lanes plus##even = FMA((lanes)(p * p), c, a), plus##odd = p * b, plus = plus##even + plus##odd,              \
                minus = plus##even - plus##odd;

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
few_turn(__global float *restrict v, __global const real *restrict x, __global const real *restrict x2, int n, int h, int wd,
         int c, int c2, int up, int pt, int pl, int down, int right, int tiles) {
    const int t = get_global_id(0), at = min(t, n * down * right - 1); /* past the end the last tile again */
    const int first = (c + CHUNK - 1) / CHUNK, second = (int)get_global_id(1) >= first;
    const int from = (get_global_id(1) - (second ? first : 0)) * CHUNK, cs = second ? c2 : c, count = min(CHUNK, cs - from);
    const int iy = at / right % down * OUT - pt + (MUTANT == 3), ix = at % right * OUT - pl + (MUTANT == 4);
    __global const real *row[PLACES];
    for (int i = 0; i < PLACES; i++) {
        row[i] = input_row(second ? x2 : x, 0, (long)(at / (down * right)) * h * wd, iy + i / SIDE, ix + i % SIDE, h, wd, cs, up);
        if (row[i]) row[i] += from;
    }
    turn_in(row, count, v + ((long)get_global_id(1) * tiles + t / 4 * 4) * PLACES * CHUNK + t % 4 * CHUNK, GROUP);
}

/* H [4 rows of places][channel][3][32], those of the points that are neither 0 nor infinity, of `count` channels' filters at
 * w; asks for the first third of the lines at `next`. */
static void turn_columns(__global const float *w, __global const float *next, int count, __global float *h) {
    for (int e = 0; e < count; e++) {
#pragma unroll
        for (int i = 0; i < 6; i++) SOON(next + (e * 6 + i) * 16, 0);
#pragma unroll
        for (int j = 0; j < 96; j += LANES) {
            __global const float *g = w + e * TAPS + j;
            __global float *to = h + e * 96 + j;
            const lanes a = VLOAD(g + (MUTANT == 23 ? 192 : 0)), b = VLOAD(g + 96), c = VLOAD(g + (MUTANT == 23 ? 0 : 192));
            PAIR(PA, ap, am)
            PAIR(PB, bp, bm)
            VSTORE(ap, to), VSTORE(am, to + H_ROW), VSTORE(bp, to + 2 * H_ROW), VSTORE(bm, to + 3 * H_ROW);
        }
    }
}

/* Where a channel of tile i of T lies in a place of V. */
#define OF_TILE(i) ((i) / 4 * PLACES * GROUP + (i) % 4 * CHUNK)
#define TILE(i, T) OF_TILE(MUTANT == 17 && (i) == T - 1 ? T - 2 : (i))

/* The sums of T tiles in a place of M. */
#define ADD(m, acc, T)                                                                                                 \
    _Pragma("unroll") for (int i = 0; i < T; i++) VSTORE(more ? VLOAD(m + i * 32) + acc[i] : acc[i], m + i * 32);

/* Three places of a row: the edge's, at v0 and m0, and those of p and -p, at vp and mp: M (+)= V U, made of h [count][3][32],
 * channels `step` apart. `edge`: 0 or 64, for the point 0 or infinity. Asks for 16 lines at `next`. */
static void half_row(__global float *m0, __global float *mp, int plane, __global const float *v0, __global const float *vp,
                     __global const float *h, int step, int edge, float p, __global const float *next, int count, int more) {
    lanes zero[MANY], plus[MANY], minus[MANY];
#pragma unroll
    for (int i = 0; i < MANY; i++) zero[i] = plus[i] = minus[i] = (lanes)0.0f;
    for (int e = 0; e < count; e++, h += step) {
        const lanes a = VLOAD(h), b = VLOAD(h + 32), c = VLOAD(h + 64), u = VLOAD(h + edge);
        PAIR(p, up, um)
        SOON(next + e * 8, 0);
#pragma unroll
        for (int i = 0; i < MANY; i++) {
            zero[i] = summed(FMA((lanes)v0[TILE(i, MANY) + e], u, zero[i]));
            plus[i] = summed(FMA((lanes)vp[TILE(i, MANY) + e], up, plus[i]));
            minus[i] = summed(FMA((lanes)vp[TILE(i, MANY) + GROUP + e], um, minus[i]));
        }
    }
    ADD(m0, zero, MANY)
    ADD(mp, plus, MANY)
    ADD((mp + plane), minus, MANY)
}

/* The six places of a row for 4 tiles, `plane` apart in M; asks for 32 lines. */
static void whole_row(__global float *m, int plane, __global const float *v, __global const float *h, int step,
                      __global const float *next, int count, int more) {
    lanes acc[6][4];
#pragma unroll
    for (int i = 0; i < 24; i++) acc[i / 4][i % 4] = (lanes)0.0f;
    for (int e = 0; e < count; e++, h += step) {
        const lanes a = VLOAD(h), b = VLOAD(h + 32), c = VLOAD(h + 64);
        PAIR(PA, ap, am)
        PAIR(PB, bp, bm)
        SOON(next + e * 16, 0);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            __global const float *vi = v + TILE(i, 4) + e;
            acc[0][i] = summed(FMA((lanes)vi[0], a, acc[0][i]));
            acc[1][i] = summed(FMA((lanes)vi[GROUP], ap, acc[1][i]));
            acc[2][i] = summed(FMA((lanes)vi[2 * GROUP], am, acc[2][i]));
            acc[3][i] = summed(FMA((lanes)vi[3 * GROUP], bp, acc[3][i]));
            acc[4][i] = summed(FMA((lanes)vi[4 * GROUP], bm, acc[4][i]));
            acc[5][i] = summed(FMA((lanes)vi[5 * GROUP], c, acc[5][i]));
        }
    }
#pragma unroll
    for (int j = 0; j < 6; j++) ADD((m + j * plane), acc[j], 4)
}

/* block: a multiple of 4; tiles: all, rounded up to 4. What lies behind the last tile is multiplied but never turned. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
few_multiply(__global real *restrict y, __global const float *restrict v, __global float *restrict slots,
             __global const float *restrict w, __global const float *restrict bias, __global const real *restrict vec,
             __global const real *restrict residual, int c, int c2, int k, int p, int q, int act, int down, int right, int n,
             int tiles, int block, int items) {
    const int all = n * down * right, blocks = (tiles + block - 1) / block, plane = block * 32 + 16;
    const int jobs = blocks * ((k + 31) / 32);
    const long deep = (long)(c + c2) * TAPS;
    __global float *h = slots + (long)get_global_id(0) * (4 * H_ROW + PLACES * plane), *m = h + 4 * H_ROW;

    for (int job = items - 1 - (int)get_global_id(0); job < jobs; job += items) {
        const int panel = job / blocks, first = job % blocks * block, rows = min(block, tiles - first);
        __global const float *wt = w + (MUTANT == 22 && panel ? panel - 1 : panel) * deep, *vt = v + (long)first * PLACES * CHUNK;
        for (int from = 0, count; from < (MUTANT == 15 ? c : MUTANT == 5 ? min(c, CHUNK) : c + c2); from += count) {
            count = min(CHUNK, (from < c ? c : c + c2) - from);
            __global const float *next = from + count < c + c2 ? wt + count * TAPS : w + min(job + items, jobs - 1) / blocks * deep;
            turn_columns(wt, next, count, h);
            next += CHUNK * TAPS / 3;
            for (int i = 0; i < SIDE; i++) {
                const int edge = i == 0 || i == SIDE - 1, step = edge ? TAPS : 96;
                __global const float *hi = i == 0 ? wt : edge ? wt + 192 : h + (i - 1) * H_ROW;
                const int used = MUTANT == 1 ? count - 1 : count;
                for (int o = 0; o < 32; o += LANES) {
                    __global const float *ho = hi + (MUTANT == 19 ? 0 : o), *soon = next + (i * 32 + o) * 32;
                    for (int r = 0; r < rows; soon = h) {
                        __global const float *vi = vt + (r / 4 * PLACES + i * SIDE) * GROUP;
                        __global float *mi = m + i * SIDE * plane + r * 32 + o;
                        if (r + MANY > rows) {
                            whole_row(mi, plane, vi, ho, step, soon, used, from > 0);
                            r += 4;
                        } else {
                            half_row(mi, mi + plane, plane, vi, vi + GROUP, ho, step, 0, PA, soon, used, from > 0);
                            half_row(mi + 5 * plane, mi + 3 * plane, plane, vi + 5 * GROUP, vi + 3 * GROUP, ho, step, 64, PB,
                                     soon + 16 * 16, used, from > 0);
                            r += MANY;
                        }
                    }
                }
            }
            wt += count * TAPS, vt += (long)tiles * PLACES * CHUNK;
        }
        for (int r = 0; r < rows && first + r < all; r++) {
            const int at = first + r;
            turn_out(y, bias, vec, residual, m + r * 32, plane, at / (down * right), at / right % down * OUT, at % right * OUT,
                     panel * 32, k, p, q, act);
        }
    }
}
