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
 *   group_norm_group   a work-group makes all of a group of a sample in one launch, for maps that stay in a cache: it reads
 *                      them three times, for the mean, the squared deviations and y
 *   Statistics do not depend on how they are applied; blocks and merge order depend on the sizes only.
 *
 * MUTANTS: 1 eps outside the root, 2 variance over N - 1, 3 the tree's last step dropped, 4 no barrier in the tree,
 *   5 variance in one pass, 6 last row dropped, 7 blocks merged without the distance of their means, 8 no barrier before
 *   the columns are merged, 9 activation dropped, 10 scale and shift exchanged, 11 neighbour's group, 12 last block dropped,
 *   13 gamma of the neighbour, 14 ss of sample 0, 15 columns merged without the distance of their means, 16 rows behind the
 *   end counted, 17 last elements left out of the deviations.
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
            const float off = here > 0 && MUTANT != 15 ? means[s * cols + lid * width + i] - mid : 0.0f;
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
    const float4 mean = FLOAT4_AT(coef, 0), factor = FLOAT4_AT(coef, c), addend = FLOAT4_AT(coef, 2 * c);
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

#ifndef WIDE
#define WIDE 8 /* channels of a group */
#endif
#define UNIT (VEC && WIDE % 4 == 0 ? 4 : 1) /* channels of an access */
#define AT_ONCE 8 /* accesses on their way at a time */

#if VEC && WIDE % 4 == 0
#define unit_t float4
#define UNIT_OF(p, at) ALOAD4(p, at)
#define COEFFICIENT(p, at) FLOAT4_AT(p, at)
#define PUT_UNIT(v, p, at) ASTORE4(v, p, at)
#define SILU_UNIT(v) silu4(v)
#define ADD_UNIT(v) ((v).s0 + (v).s1 + (v).s2 + (v).s3)
#else
#define unit_t float
#define UNIT_OF(p, at) LOAD(p, at)
#define COEFFICIENT(p, at) FLOAT_AT(p, at)
#define PUT_UNIT(v, p, at) STORE(v, p, at)
#define SILU_UNIT(v) silu(v)
#define ADD_UNIT(v) (v)
#endif
/* Access e of the group: channel `ch` of it, `at` from its first element in the map. */
#define PLACE(e) const int ch = (e) % (WIDE / UNIT) * UNIT, at = (e) / (WIDE / UNIT) * c + ch;
/* AT_ONCE accesses of this work-item from e0 on, those from `end` on being `other`. */
#define TAKE(end, other)                                                                                               \
    _Pragma("unroll") for (int i = 0; i < AT_ONCE; i++) {                                                              \
        const int e = e0 + i * GROUP;                                                                                  \
        PLACE(e)                                                                                                       \
        v[i] = e < (end) ? UNIT_OF(x, at) : (unit_t)(other);                                                           \
    }

__kernel WORK_GROUP(GROUP)
void group_norm_group(__global real *y, __global const real *x, __global const float *restrict gamma,
                      __global const float *restrict beta, __global const real *restrict ss, int hw, int c, float eps,
                      int scaleshift, int act) {
    __local float seen[GROUP];
    const int lid = get_local_id(0), g = get_group_id(0), in = get_group_id(1), units = hw * (WIDE / UNIT);
    const int first = (MUTANT == 11 ? (g + 1) % (c / WIDE) : g) * WIDE, counted = MUTANT == 6 ? units - WIDE / UNIT : units;
    const float every = (float)hw * WIDE;
    const long map = (long)in * hw * c;
    unit_t v[AT_ONCE], sum = (unit_t)(0.0f), square = (unit_t)(0.0f);
    x += map + first;
    for (int e0 = lid; e0 < counted; e0 += GROUP * AT_ONCE) {
        TAKE(counted, 0.0f)
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) sum += v[i];
    }
    const float mean = total(ADD_UNIT(sum), seen) / every;
    const float centre = MUTANT == 5 ? 0.0f : mean;
    for (int e0 = lid; e0 < counted; e0 += GROUP * AT_ONCE) {
        TAKE(MUTANT == 17 ? counted - 1 : counted, centre)
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) square = FMA(v[i] - centre, v[i] - centre, square);
    }
    float squares = total(ADD_UNIT(square), seen);
    if (MUTANT == 5) squares -= every * mean * mean;
    const float inverse = inverse_sigma(squares, every, eps);
    x += g * WIDE - first;
    y += map + g * WIDE;
    gamma += g * WIDE;
    beta += g * WIDE;
    if (scaleshift) ss += (long)(MUTANT == 14 ? 0 : in) * 2 * c + g * WIDE;
    if (MUTANT == 9) act = ACT_NONE;
    for (int e0 = lid; e0 < units; e0 += GROUP * AT_ONCE) {
        TAKE(units, 0.0f)
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int e = e0 + i * GROUP;
            if (e >= units) break;
            PLACE(e)
            unit_t factor = inverse * COEFFICIENT(gamma, MUTANT == 13 ? (ch + UNIT) % WIDE : ch), addend = COEFFICIENT(beta, ch);
            if (scaleshift) {
                const unit_t scale = 1 + UNIT_OF(ss, ch + (MUTANT == 10) * c);
                factor *= scale;
                addend = addend * scale + UNIT_OF(ss, ch + (MUTANT != 10) * c);
            }
            const unit_t z = FMA(v[i] - mean, factor, addend);
            PUT_UNIT(act == ACT_SILU ? SILU_UNIT(z) : z, y, at);
        }
    }
}
