/* group_norm_gpu.cl -- group norm for GPUs: z = (x - mean) / sqrt(var + eps) per sample and group of channels,
 * y = act((z gamma + beta) (1 + scale) + shift)
 *   x, y [n, hw, c]   gamma, beta [c]   ss [n, 2c] (scales, then shifts) or absent
 *   part [n, groups, entries, 2] mean and sum of squared deviations of each block   coef [n, 3, c] mean, factor, addend
 *   reference  reference/ref_group_norm.c          host  host/ops/group_norm.c
 *
 *   group_norm_blocks  statistics of the blocks from first_block on, of `blocks` of the whole map; x begins with the first
 *                      of them and has hw pixels. A work-group takes GROUP columns (channels of whole groups, or a piece
 *                      of one group wider than GROUP) of a block of rows; a work-item takes ROWS rows of one column into
 *                      registers and makes its mean and squared deviations in two passes; one work-item a group merges
 *                      the columns in order
 *   group_norm_merge   a work-group a group: merges the blocks by a fixed tree, makes coef
 *   group_norm_affine  y from x and coef: a work-item takes 4 channels (1 without VEC) of APPLY_ROWS rows
 *   Statistics do not depend on how they are applied; blocks and merge order depend on the sizes only.
 *
 * MUTANTS: 1 eps outside the root, 2 variance over N - 1, 3 the tree's last step dropped, 4 no barrier in the tree,
 *   5 variance in one pass, 6 last row dropped, 7 blocks merged without the distance of their means, 8 no barrier before
 *   the columns are merged, 9 activation dropped, 10 scale and shift exchanged, 11 neighbour's group, 12 last block dropped,
 *   13 gamma of the neighbour, 14 ss of sample 0, 15 columns merged without the distance of their means, 16 rows behind the
 *   end counted.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef GROUP
#define GROUP 256 /* work-items of a work-group: 64..256, power of two */
#endif
/* by the problem */
#ifndef VEC
#define VEC 1
#endif
#include "gpu_tree.clh"
#include "norm.clh"

#define ROWS 16 /* rows of a work-item in the statistics */
#define APPLY_ROWS 8

/* A group's channels are cut into `pieces` of `width`; a work-group has `per` pieces side by side (1 where pieces > 1). */
__kernel WORK_GROUP(GROUP)
void group_norm_blocks(__global float *restrict part, __global const real *restrict x, int hw, int c, int groups, int width,
                       int pieces, int per, int first_block, int blocks) {
    __local float means[GROUP], squares[GROUP];
    const int lid = get_local_id(0), block = get_group_id(0), first = get_group_id(1) * per, in = get_group_id(2);
    const int cols = width * per, slices = GROUP / cols, col = lid % cols, slice = lid / cols;
    const int wide = c / groups, mine = first + col / width;          /* this column's piece: of group mine / pieces */
    const int ch = mine % pieces * width + col % width;               /* within its group */
    const bool used = slice < slices && mine < groups * pieces && ch < wide;
    const int row0 = block * slices * ROWS, end = MUTANT == 6 ? hw - 1 : hw;
    float v[ROWS], mean = 0, square = 0;
    int rows = 0;
    x += ((long)in * hw + row0) * c + (long)(mine / pieces) * wide + ch;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int row = slice + i * slices;
        const bool there = used && row0 + row < end;
        v[i] = there ? LOAD(x, row * c) : 0.0f;
        rows += there || (MUTANT == 16 && used);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) mean += v[i];
    mean = rows ? mean / rows : 0.0f;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const float off = i < rows ? v[i] - (MUTANT == 5 ? 0.0f : mean) : 0.0f; /* rows of a work-item end together */
        square = FMA(off, off, square);
    }
    if (MUTANT == 5) square -= rows * mean * mean;
    means[lid] = mean;
    squares[lid] = square;
#if MUTANT != 8
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    if (lid >= per || first + lid >= groups * pieces) return;
    const int piece = (first + lid) % pieces, piece_cols = min(width, wide - piece * width);
    float sum = 0, all = 0;
    int count = 0;
    for (int s = 0; s < slices; s++) {
        const int here = clamp((end - row0 - s + slices - 1) / slices, 0, ROWS); /* rows of slice s */
        float of_slice = 0;
        for (int i = 0; i < piece_cols; i++) of_slice += means[s * cols + lid * width + i];
        sum += of_slice * here;
        count += here * piece_cols;
    }
    const float mid = sum / max(count, 1);
    for (int s = 0; s < slices; s++) {
        const int here = clamp((end - row0 - s + slices - 1) / slices, 0, ROWS);
        for (int i = 0; i < piece_cols; i++) {
            const float off = (here > 0) & (MUTANT != 15) ? means[s * cols + lid * width + i] - mid : 0.0f;
            all += FMA(here * off, off, squares[s * cols + lid * width + i]);
        }
    }
    const long e = (((long)in * groups + (first + lid) / pieces) * blocks + first_block + block) * pieces + piece;
    part[2 * e] = mid;
    part[2 * e + 1] = all;
}

__kernel WORK_GROUP(GROUP)
void group_norm_merge(__global float *restrict coef, __global const float *restrict part, __global const float *restrict gamma,
                      __global const float *restrict beta, __global const real *restrict ss, int hw, int c, int groups,
                      int width, int pieces, int block_rows, int blocks, float eps, int scaleshift) {
    __local float seen[GROUP];
    const int lid = get_local_id(0), g = get_group_id(0), in = get_group_id(1), wide = c / groups, entries = blocks * pieces;
    const float every = (float)hw * wide;
    float sum = 0, square = 0;
    part += ((long)in * groups + (MUTANT == 11 ? (g + 1) % groups : g)) * entries * 2;
    const float start = part[0]; /* means are summed as distances from the first: small where the map is far from zero */
#define COUNT(e) ((float)(min(block_rows, hw - e / pieces * block_rows) * min(width, wide - e % pieces * width)))
    for (int e = lid; e < entries - (MUTANT == 12); e += GROUP) sum += COUNT(e) * (part[2 * e] - start);
    const float mean = start + total(sum, seen) / every;
    for (int e = lid; e < entries - (MUTANT == 12); e += GROUP) {
        const float off = MUTANT == 7 ? 0.0f : part[2 * e] - mean;
        square += FMA(COUNT(e) * off, off, part[2 * e + 1]);
    }
    const float inverse = inverse_sigma(total(square, seen), every, eps);
    coef += (long)in * 3 * c;
    for (int i = lid; i < wide; i += GROUP) {
        const int ch = g * wide + i, other = MUTANT == 14 ? 0 : in;
        const float scale = scaleshift ? LOAD(ss, (long)other * 2 * c + ch + (MUTANT == 10) * c) : 0.0f;
        const float shift = scaleshift ? LOAD(ss, (long)other * 2 * c + ch + (MUTANT != 10) * c) : 0.0f;
        coef[ch] = mean;
        coef[c + ch] = inverse * gamma[MUTANT == 13 ? (ch + 1) % c : ch] * (1 + scale);
        coef[2 * c + ch] = beta[ch] * (1 + scale) + shift;
    }
}

__kernel void group_norm_affine(__global real *y, __global const real *x, __global const float *restrict coef, int hw, int c,
                                int act) {
    const int cols = VEC ? c / 4 : c, in = get_global_id(1), row0 = get_global_id(0) / cols * APPLY_ROWS;
    const int ch = get_global_id(0) % cols * (VEC ? 4 : 1);
    const long at = ((long)in * hw + row0) * c + ch;
    if (row0 >= hw) return;
    coef += (long)in * 3 * c + ch;
    if (MUTANT == 9) act = ACT_NONE;
#if VEC
    const float4 mean = *(__global const float4 *)coef, factor = *(__global const float4 *)(coef + c),
                 addend = *(__global const float4 *)(coef + 2 * c);
    for (int i = 0; i < min(APPLY_ROWS, hw - row0); i++) {
        const float4 v = FMA(ALOAD4(x, at + (long)i * c) - mean, factor, addend);
        ASTORE4(act == ACT_SILU ? silu4(v) : v, y, at + (long)i * c);
    }
#else
    for (int i = 0; i < min(APPLY_ROWS, hw - row0); i++) {
        const float v = FMA(LOAD(x, at + (long)i * c) - coef[0], coef[c], coef[2 * c]);
        STORE(act == ACT_SILU ? silu(v) : v, y, at + (long)i * c);
    }
#endif
}
