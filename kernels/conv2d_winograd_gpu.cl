/* conv2d_winograd_gpu.cl -- 3x3 convolution of stride 1 for GPUs by Winograd's F(OUT x OUT, 3 x 3), in three launches:
 *   winograd_in     V = B^T d B of each tile d of the input, [place][tiles][c + c2]
 *   gemm_block      M = V U of each place, [place][tiles][k]: the product of gemm_gpu.cl, a place being an element of its batch
 *   winograd_out    y = act(A^T M A + bias + vec + residual)
 * V and M are float and lie in scratch; where a map has more tiles than fit there, the three are launched for a strip of
 * them after another: tiles first .. first + tiles, numbered through the samples, down, right.
 *   tensors as in conv2d_gpu.cl; U, the filters turned by the host, [place][c + c2][k] float
 *   reference  reference/ref_conv2d.c (value and the bound of this algorithm)     host  host/ops/winograd_gpu.c
 *
 *   Neighbouring work-items take neighbouring channels, so every access is of one run of memory.
 *
 * MUTANTS: 1 one place of a tile left out, 3 halo off by one in y, 4 halo off by one in x, 6 bias missing, 7 neighbour's bias,
 *   8 outside is not zero, 9 upsample shifted, 10 tile turned over, 11 last two places swapped, 12 f16 store truncated,
 *   13 vec of sample 0, 14 residual missing, 15 x2 dropped, 16 activation dropped, 17 first strip again, 21 last row of
 *   outputs unwritten. */
#define lanes float
#include "winograd.clh"

/* A work-item: one channel of one tile. */
__kernel void winograd_in(__global float *restrict v, __global const real *restrict x, __global const real *restrict x2, int h,
                          int wd, int c, int c2, int up, int pt, int pl, int down, int right, int first, int tiles) {
    const int depth = c + c2, id = get_global_id(0), t = id / depth, ch = id % depth, at = (MUTANT == 17 ? 0 : first) + t;
    if (t >= tiles) return;
    const int iy = at / right % down * OUT - pt + (MUTANT == 3), ix = at % right * OUT - pl + (MUTANT == 4), second = ch >= c;
    const int wide = second ? c2 : c, from = second ? ch - c : ch;
    __global const real *map = (second ? x2 : x) + (long)(at / (down * right)) * h * wd * wide + from;
    float d[PLACES], turned[PLACES];
#pragma unroll
    for (int i = 0; i < PLACES; i++) {
        const int py = iy + i / SIDE, px = ix + i % SIDE;
        const int outside = (uint)py >= (uint)(h * up) || (uint)px >= (uint)(wd * up) || (MUTANT == 15 ? second : 0);
        const int sy = MUTANT == 9 && up == 2 ? min((py + 1) >> 1, h - 1) : py >> (up - 1), sx = px >> (up - 1);
        d[i] = outside ? (MUTANT == 8) : LOAD(map, (sy * wd + sx) * wide);
    }
#pragma unroll
    for (int j = 0; j < SIDE; j++) TURN_IN((d + j), (turned + j), SIDE)
#pragma unroll
    for (int i = 0; i < SIDE; i++) TURN_IN((turned + i * SIDE), (d + i * SIDE), 1)
    v += (long)t * depth + ch;
#pragma unroll
    for (int i = 0; i < PLACES; i++)
        v[(long)i * tiles * depth] =
            d[MUTANT == 10 ? i % SIDE * SIDE + i / SIDE : MUTANT == 11 && i >= PLACES - 2 ? 2 * PLACES - 3 - i : i];
}

/* A work-item: one output channel of one tile, so of OUT x OUT pixels of the p x q of a sample. */
__kernel void winograd_out(__global real *restrict y, __global const float *restrict m, __global const float *restrict bias,
                           __global const real *restrict vec, __global const real *restrict residual, int p, int q, int k,
                           int down, int right, int first, int tiles, int act) {
    const int id = get_global_id(0), t = id / k, o = id % k, at = first + t, in = at / (down * right);
    if (t >= tiles) return;
    float s[SIDE], r[OUT * SIDE]; /* no more at a time: 128 registers hold them */
    m += (long)t * k + o;
#pragma unroll
    for (int j = 0; j < SIDE; j++) {
#pragma unroll
        for (int i = 0; i < SIDE; i++) s[i] = MUTANT == 1 && i == 1 && j == 1 ? 0 : m[(long)(i * SIDE + j) * tiles * k];
        TURN_OUT(s, (r + j), 1, SIDE)
    }
    float more = 0;
    if (bias && MUTANT != 6) more += bias[MUTANT == 7 ? (o + 1) % k : o];
    if (vec) more += LOAD(vec, (long)(MUTANT == 13 ? 0 : in) * k + o);
    const int py = at / right % down * OUT, px = at % right * OUT;
#pragma unroll
    for (int i = 0; i < OUT; i++) {
        TURN_OUT((r + i * SIDE), s, 1, 1)
#pragma unroll
        for (int j = 0; j < OUT; j++) {
            if (py + i >= p - (MUTANT == 21 && p > 1) || px + j >= q) continue;
            const long to = (((long)in * p + py + i) * q + px + j) * k + o;
            float sum = s[j] + more;
            if (residual && MUTANT != 14) sum += LOAD(residual, to);
            sum = activate(sum, MUTANT == 16 ? ACT_NONE : act);
            STORE(MUTANT == 12 ? CUT(sum) : sum, y, to);
        }
    }
}
