/* conv2d_winograd_cpu.cl -- 3x3 convolution of stride 1 for CPUs by Winograd's F(OUT x OUT, 3 x 3): y = A^T [U . V] A with
 * V = B^T d B of each (OUT+2) x (OUT+2) tile d of the input and U = G g G^T of each filter g (made once, at packing)
 *   tensors as in conv2d_cpu.cl; w [chunk][place][ceil(k/32)][channels of the chunk][32], then a row of zeros
 *   reference  reference/ref_conv2d.c (value and the bound of this algorithm)     host  host/ops/winograd.c
 *
 *   conv2d_winograd   a work-item makes every items'th job; a job is `block` tiles x `group` panels of 32 outputs.
 *                     For each CHUNK of channels it turns its tiles (V, in the second-level cache), then multiplies
 *                     TILES tiles x 2 LANES outputs at a time, place by place, and adds to M; at the end M is turned into pixels.
 *                     V and M lie in the work-item's slot of `scratch`, whose planes are a line apart from a power of two.
 *                     Large maps (OUT 6) come from memory while products are made: the next job's pixels and this job's outputs.
 *
 * MUTANTS: 1 last channel of a chunk dropped, 2 one place of a tile left out, 3 halo off by one in y, 4 halo off by one in x,
 *   5 first chunk only, 6 bias missing, 7 neighbour's bias, 8 outside is not zero, 9 upsample shifted, 10 tile turned over,
 *   11 last rows of a tile swapped, 12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 15 x2 dropped,
 *   16 activation dropped, 17 last tile of TILES repeats its neighbour, 18 sums kept in f16, 19 second half of a panel is the
 *   first again, 20 tail of channels dropped, 21 last row of outputs unwritten, 22 neighbour's panel */
#if MUTANT == 18
#define HALF_SUMS
#endif
#include "lanes.clh"
#include "conv2d_cpu.clh"
#include "input_row.clh"
#include "winograd.clh"
#include "winograd_cpu.clh"
#define CHUNK (OUT == 2 ? 256 : 64) /* channels turned at a time: V of 32 tiles is 512 KiB with OUT 2, else 288 or 512 */

#define TILES (LANES == 16 ? 8 : 4) /* of a product; two vectors of sums each */

/* m[TILES][2 LANES] (+)= v[TILES][count] w[count][2 LANES]; rows of v are CHUNK apart, those of m and w 32; `next`: the
 * weights wanted after these */
static void multiply(__global float *m, __global const float *v, __global const float *w, __global const float *next, int count,
                     int more) {
    lanes acc[TILES][2];
#pragma unroll
    for (int i = 0; i < TILES; i++) acc[i][0] = acc[i][1] = (lanes)0.0f;
    for (int e = 0; e < count; e++) {
        const lanes w0 = VLOAD(w + e * 32), w1 = VLOAD(w + e * 32 + (MUTANT == 19 ? 0 : LANES));
        SOON(next + e * 32, 0);
        if (LANES == 16) SOON(next + e * 32 + 16, 0);
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            const lanes u = (lanes)v[(MUTANT == 17 && i == TILES - 1 ? TILES - 2 : i) * CHUNK + e];
            acc[i][0] = summed(FMA(u, w0, acc[i][0])), acc[i][1] = summed(FMA(u, w1, acc[i][1]));
        }
    }
    __global lanes *to = (__global lanes *)m;
#pragma unroll
    for (int i = 0; i < TILES; i++, to += 32 / LANES) {
        to[0] = more ? to[0] + acc[i][0] : acc[i][0];
        to[1] = more ? to[1] + acc[i][1] : acc[i][1];
    }
}

/* Asks for piece number `piece` of the `pieces` of `len` elements at `run`. */
static void soon_piece(__global const real *run, int len, int piece, int pieces, int write) {
    const int line = 64 / sizeof(real), each = len / pieces;
    for (int e = each * piece; e < each * (piece + 1) + line; e += line)
        if (write) SOON(run + e, 1);
        else SOON(run + e, 0);
}

/* block: a multiple of 8. Tiles are numbered through the samples, down, right. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd(__global real *restrict y, __global float *restrict scratch, __global const real *restrict x,
                __global const real *restrict x2, __global const float *restrict w, __global const float *restrict bias,
                __global const real *restrict vec, __global const real *restrict residual, int n, int h, int wd, int c,
                int c2, int k, int up, int pt, int pl, int p, int q, int act, int block, int group, int items) {
    const int down = (p + OUT - 1) / OUT, right = (q + OUT - 1) / OUT, all = n * down * right, panels = (k + 31) / 32;
    const int blocks = (all + block - 1) / block, groups = (panels + group - 1) / group;
    const int v_plane = block * CHUNK + 16, m_plane = group * block * 32 + 16;
    __global float *v = scratch + (long)get_global_id(0) * PLACES * (v_plane + m_plane), *m = v + (long)PLACES * v_plane;
    __global const real *zeros = (__global const real *)(w + (long)PLACES * (c + c2) * panels * 32);

    for (int job = items - 1 - (int)get_global_id(0); job < blocks * groups; job += items) {
        const int first = job % blocks * block, panel = job / blocks * group, wide = min(group, panels - panel);
        const int tiles = min(block, all - first), rows = (tiles + 7) / 8 * 8;
        const int oy = first / right % down * OUT, ox = first % right * OUT; /* first output, and first input of the next job */
        const int then = (job + items) % blocks * block, iy = then / right % down * OUT - pt, ix = max(then % right * OUT - pl, 0) / up;
        __global const float *wt = w;
        int more = 0;
        for (int source = 0; source < (MUTANT != 15 && c2 ? 2 : 1); source++) {
            __global const real *xs = source ? x2 : x;
            const int cs = source ? c2 : c;
            for (int from = 0; from < cs; from += CHUNK, more = 1) {
                const int count = min(CHUNK, cs - from);
                if (MUTANT == 5 && more) break;
                __global const real *row[2][PLACES];
                for (int t = 0; t <= rows; t++) { /* past the end the last tile again */
                    const int at = min(first + t, all - 1), iy = at / right % down * OUT - pt + (MUTANT == 3);
                    const int ix = at % right * OUT - pl + (MUTANT == 4);
                    const long map = (long)(at / (down * right)) * h * wd;
                    for (int i = 0; i < PLACES; i++)
                        row[t & 1][i] = from + input_row(xs, zeros, map, iy + i / SIDE, ix + i % SIDE, h, wd, cs, up);
                    soon_in(row[t & 1], count);
                    if (t) turn_in(row[~t & 1], count, v + (t - 1) * CHUNK, v_plane);
                }
                for (int i = 0; i < PLACES; i++)
                    for (int j = 0; j < wide; j++) {
                        __global const float *wj = wt + (long)(i * panels + panel + j - (MUTANT == 22 && panel + j)) * count * 32;
                        if (OUT == 6 && job + items < blocks * groups) {
                            const int parts = PLACES * wide / SIDE, part = (i * wide + j) / SIDE + from / CHUNK * parts;
                            const int line = min(max(iy + (i * wide + j) % SIDE, 0) / up, h - 1);
                            soon_piece(xs + (((long)(then / (down * right)) * h + line) * wd + ix) * cs, min(block * OUT / up, wd - ix) * cs,
                                       part, (cs + CHUNK - 1) / CHUNK * parts, 0);
                        }
                        if (OUT == 6 && groups == 1 && (source || !c2) && from + CHUNK >= cs) {
                            const int parts = PLACES * wide / OUT, part = (i * wide + j) / OUT, len = min(block * OUT, q - ox) * k;
                            const long at = (((long)(first / (down * right)) * p + min(oy + (i * wide + j) % OUT, p - 1)) * q + ox) * k;
                            soon_piece(y + at, len, part, parts, 1);
                            if (residual) soon_piece(residual + at, len, part, parts, 0);
                        }
                        __global const float *next = wj + (long)(j + 1 < wide ? 1 : panels - wide + 1) * count * 32;
                        for (int o = 0; o < 32; o += 2 * LANES)
                            for (int t = 0; t < rows; t += TILES)
                                multiply(m + i * m_plane + (j * block + t) * 32 + o, v + i * v_plane + t * CHUNK, wj + o, next + o,
                                         MUTANT == 1 ? count - 1 : count, more);
                    }
                wt += (long)PLACES * panels * count * 32;
            }
        }
        for (int t = 0; t < tiles; t++) {
            const int at = first + t, in = at / (down * right), py = at / right % down * OUT, px = at % right * OUT;
            for (int j = 0; j < wide; j++)
                turn_out(y, bias, vec, residual, m + (j * block + t) * 32, m_plane, 32, in, py, px, (panel + j) * 32, k, p, q, act);
        }
    }
}
