/* conv2d_inplace_cpu.cl -- Winograd's 3x3 convolution for CPUs (see conv2d_winograd_cpu.cl) from filters as the checkpoint has
 * them: turned strip by strip while they are used, so that a quarter of the bytes is kept and read, and none is packed
 *   tensors as in conv2d_cpu.cl; w [k][c + c2][3][3], of q8_0 [k][source][tap][channel]; c and c2 multiples of 16, of
 *   q8_0 of 32, k of 32
 *   scratch    V [chunk][place][tiles, rounded up to 4][channels of the chunk], then a slot for each work-item of the second
 *   reference  reference/ref_conv2d.c (value and the bound of this algorithm)     host  host/ops/winograd_inplace.c
 *
 *   inplace_turn      V of all tiles; a work-item: one tile, one chunk of CHUNK channels (of x, or of x2)
 *   inplace_multiply  a work-item makes every items'th job; a job is `block` tiles x 32 outputs. For each chunk it turns
 *                     the filters (U, in the second-level cache) and multiplies 8 or 4 tiles (4 where vectors are of 8 or 4)
 *                     x 2 LANES outputs at a time, place by place, adding to M, which is turned into pixels at the end. U and M
 *                     lie in its slot.
 *
 * MUTANTS: 1 last channel of a chunk dropped, 2 one place of a tile left out, 3 halo off by one in y, 4 halo off by one in x,
 *   5 first chunk only, 6 bias missing, 7 neighbour's bias, 8 outside is not zero, 9 upsample shifted, 10 tile turned over,
 *   11 last rows of a tile swapped, 12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 15 x2 dropped,
 *   16 activation dropped, 17 last tile of a group repeats its neighbour, 18 sums kept in f16, 19 second half of a panel is the
 *   first again, 20 filter turned over, 21 last row of outputs unwritten, 22 neighbour's panel,
 *   23 blocks out of order where there are many, 24 taps of q8_0 in the order of the rest (WREAL q8) */
#if MUTANT == 18
#define HALF_SUMS
#endif
#include "lanes.clh"
#include "conv2d_cpu.clh"
#include "input_row.clh"
#include "winograd.clh"
#include "winograd_cpu.clh"
#include "across.clh"
#define CHUNK 32
#include "tile_rows.clh"
#define MOST_BLOCKS 8 /* of tiles that stay in cache from one panel of outputs to the next; of more each has all its panels first */
#define U_PLANE (CHUNK * 32 + 16)  /* a line apart from a power of two */
#define TAPS (CHUNK * 9 * 32)      /* floats of a chunk's filters, outputs innermost */
/* A chunk of an output's filters: RUNS runs of numbers, STEP_OF(from) apart, from number CHUNK_AT(from) of the output's on; of q8_0
 * a run is a tap of all channels, whose number e belongs at AT_T(run, e). LINES of memory are asked for ahead, as far apart. */
#if WREAL_KIND == KIND_Q8
#define RUNS 9
#define LINES 9
#define AT_T(run, e) (MUTANT == 24 ? (run) * count + (e) : (e) * 9 + (run))
#define CHUNK_AT(from) ((from) < c ? (from) : c * 9 + (from) - c)
#define STEP_OF(from) ((from) < c ? c : c2)
#else
#define RUNS 1
#define LINES (CHUNK * 9 * (int)sizeof(wreal) / 64)
#define AT_T(run, e) (e)
#define CHUNK_AT(from) ((from) * 9)
#define STEP_OF(from) (64 / (int)sizeof(wreal))
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
inplace_turn(__global float *restrict v, __global const real *restrict x, __global const real *restrict x2, int n, int h, int wd,
             int c, int c2, int up, int pt, int pl, int down, int right, int tiles) {
    const int t = get_global_id(0);
    __global const real *row[PLACES];
    int from;
    const int count = tile_rows(row, &from, x, x2, t, get_global_id(1), n, h, wd, c, c2, up, pt, pl, down, right);
    turn_in(row, count, v + (long)from * PLACES * tiles + t * count, tiles * count);
}

/* U [place][channel][32] of the filters of 32 outputs at number `at` of w, `step` an output and `apart` a run, through
 * t [channel * 9 + tap][32]. */
static void turn_filters(__global const wreal *w, long at, long step, int apart, int count, __global float *t, __global float *u) {
    for (int part = 0; part < 32; part += LANES)
        for (int run = 0; run < RUNS; run++)
            for (int e = 0; e < count * 9 / RUNS; e += LANES) {
                lanes a[LANES], b[LANES];
#pragma unroll
                for (int i = 0; i < LANES; i++) a[i] = LDM_CAT(WLOAD, LANES)(w, at + (part + i) * step + run * apart + e);
                ACROSS(a, b)
#pragma unroll
                for (int i = 0; i < LANES; i++) *(__global lanes *)(t + AT_T(run, e + i) * 32 + part) = a[i];
            }
    for (int e = 0; e < count; e++)
        for (int part = 0; part < 32; part += LANES) {
            lanes g[9], s[SIDE * 3], line[SIDE];
            __global const lanes *from = (__global const lanes *)(t + e * 9 * 32 + (MUTANT == 19 ? 0 : part));
#pragma unroll
            for (int i = 0; i < 9; i++) g[i] = from[32 / LANES * (MUTANT == 20 ? 8 - i : i)];
#pragma unroll
            for (int j = 0; j < 3; j++) TURN_FILTER((g + j), (s + j), 3, 3)
#pragma unroll
            for (int i = 0; i < SIDE; i++) {
                TURN_FILTER((s + 3 * i), line, 1, 1)
#pragma unroll
                for (int j = 0; j < SIDE; j++) *(__global lanes *)(u + (i * SIDE + j) * U_PLANE + e * 32 + part) = line[j];
            }
        }
}

/* m[T][2 LANES] (+)= v[T][count] u[count][2 LANES]; rows of m and u are 32 apart */
#define MULTIPLY(NAME, T)                                                                                              \
    static void NAME(__global float *m, __global const float *v, __global const float *u, int count, int stride, int more) { \
        lanes acc[T][2];                                                                                               \
        _Pragma("unroll") for (int i = 0; i < T; i++) acc[i][0] = acc[i][1] = (lanes)0.0f;                             \
        for (int e = 0; e < count; e++) {                                                                              \
            const lanes u0 = VLOAD(u + e * 32), u1 = VLOAD(u + e * 32 + LANES);                                        \
            _Pragma("unroll") for (int i = 0; i < T; i++) {                                                            \
                const lanes d = (lanes)v[(MUTANT == 17 && i == T - 1 ? T - 2 : i) * stride + e];                       \
                acc[i][0] = summed(FMA(d, u0, acc[i][0])), acc[i][1] = summed(FMA(d, u1, acc[i][1]));                  \
            }                                                                                                          \
        }                                                                                                              \
        __global lanes *to = (__global lanes *)m;                                                                      \
        _Pragma("unroll") for (int i = 0; i < T; i++, to += 32 / LANES) {                                              \
            to[0] = more ? to[0] + acc[i][0] : acc[i][0];                                                              \
            to[1] = more ? to[1] + acc[i][1] : acc[i][1];                                                              \
        }                                                                                                              \
    }
MULTIPLY(multiply8, 8)
MULTIPLY(multiply4, 4)

/* block: a multiple of 4; tiles: all, rounded up to 4. What lies behind the last tile is multiplied but never turned. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
inplace_multiply(__global real *restrict y, __global const float *restrict v, __global float *restrict slots,
                 __global const wreal *restrict w, __global const float *restrict bias, __global const real *restrict vec,
                 __global const real *restrict residual, int c, int c2, int k, int p, int q, int act, int down, int right, int n,
                 int tiles, int block, int items) {
    const int all = n * down * right, blocks = (tiles + block - 1) / block, many = blocks > MOST_BLOCKS, m_plane = block * 32 + 16;
    const long step = (long)(c + c2) * 9;
    __global float *t = slots + (long)get_global_id(0) * (TAPS + PLACES * (U_PLANE + m_plane)), *u = t + TAPS;
    __global float *m = u + PLACES * U_PLANE;

    for (int job = items - 1 - (int)get_global_id(0); job < blocks * (k / 32); job += items) {
        const int panel = many ? job % (k / 32) : job / blocks;
        const int first = (many && MUTANT != 23 ? job / (k / 32) : job % blocks) * block, rows = min(block, tiles - first);
        const long wp = (MUTANT == 22 && panel ? panel - 1 : panel) * 32 * step;
        for (int from = 0, count; from < (MUTANT == 15 ? c : MUTANT == 5 ? min(c, CHUNK) : c + c2); from += count) {
            count = min(CHUNK, (from < c ? c : c + c2) - from);
            turn_filters(w, wp + CHUNK_AT(from), step, STEP_OF(from), count, t, u);
            __global const float *vc = v + (long)from * PLACES * tiles + first * count;
            for (int i = 0; i < PLACES; i++) {
                const int next = from + count;
                if (next < c + c2) /* the next chunk's filters: LINES of each of 32 outputs, some of them a place */
                    for (int o = i * 32 * LINES / PLACES; o < (i + 1) * 32 * LINES / PLACES; o++)
                        SOON(w + W_AT(wp + o % 32 * step + CHUNK_AT(next) + o / 32 * STEP_OF(next)), 0);
                for (int o = 0; o < 32; o += 2 * LANES) {
                    __global const float *ui = u + i * U_PLANE + o;
                    __global float *mi = m + i * m_plane + o;
                    int r = 0;
                    for (; LANES == 16 && r + 8 <= rows; r += 8)
                        multiply8(mi + r * 32, vc + (i * tiles + r) * count, ui, MUTANT == 1 ? count - 1 : count, count, from > 0);
                    for (; r < rows; r += 4)
                        multiply4(mi + r * 32, vc + (i * tiles + r) * count, ui, MUTANT == 1 ? count - 1 : count, count, from > 0);
                }
            }
        }
        for (int r = 0; r < rows && first + r < all; r++) {
            const int at = first + r;
            turn_out(y, bias, vec, residual, m + r * 32, m_plane, 32, at / (down * right), at / right % down * OUT, at % right * OUT,
                     panel * 32, k, p, q, act);
        }
    }
}
