/* group_norm_cpu.cl -- group norm over maps [n, hw, c] for CPUs: reads the map from memory once for the statistics and
 * once to apply them, 16 channels at a time.
 *   x, y     [n, hw, c], may alias          gamma, beta  [c]          ss  [n, 2c]: c scales, then c shifts
 *   partial  [n, blocks, groups, 2]: mean and sum of squares about that mean, of a group in one block of `rows` rows
 *   coef     [n, 3, round_up(c, 16)]: y = (x - coef[0]) coef[1] + coef[2]
 *   reference  reference/ref_group_norm.c          host  host/ops/group_norm.c
 *
 *   group_norm_stats_blocks   one work-item a block of rows: sums and centred squares channel by channel (the second
 *                             pass hits the cache), then over the channels of each group
 *   group_norm_stats_merge    one work-item a group: blocks in order, mean first, then
 *                             sum of squares = sum_b (squares_b + count_b (mean_b - mean)^2); and its channels' coef
 *   group_norm_apply_rows     one work-item a block of rows
 *   group_norm_whole          one work-item a span of VECTORS vectors, whole groups, of a map that stays in cache: all of
 *                             it in one launch, means first, then squares about them, sums of CHAIN rows at a time
 * The blocks depend on c only and are merged in order: results repeat bit for bit on any number of cores.
 *
 * MUTANTS: 1 eps outside the square root, 2 variance over N-1, 3 variance in one pass, 4 wrong group, 5 scale without
 *          its 1, 6 spread of the block means left out, 7 f16 stored truncated, 8 channels behind the last 16 left out
 *          of the sums, 9 last row of a block missing from the mean */
#include "norm.clh"

#if MUTANT == 3
#define AWAY(v, mean) (v)
#else
#define AWAY(v, mean) ((v) - (mean))
#endif

/* mean16, total16: [round_up(c, 16)] floats of local memory each, whole vectors: a vstore16 is four stores on PoCL, which the
 * next load would wait for. */
kernel void group_norm_stats_blocks(global float *partial, global const real *x, int hw, int c, int groups, int rows,
                                    local float16 *mean16, local float16 *total16) {
    const int b = get_global_id(0), n = get_global_id(1), width = c / groups, wide = c & ~15;
    const int row0 = b * rows, count = min(rows, hw - row0);
    const float area = (float)count * width;
    local float *mean = (local float *)mean16, *total = (local float *)total16;
    x += ((size_t)n * hw + row0) * c;
    partial += 2 * ((size_t)n * get_global_size(0) + b) * groups;
    for (int k = 0; k * 16 < c; k++) mean16[k] = 0, total16[k] = 0;
#if MUTANT == 9
    for (int p = 0; p < max(count - 1, 1); p++) {
#else
    for (int p = 0; p < count; p++) {
#endif
        const global real *row = x + (size_t)p * c;
        for (int k = 0; k < wide; k += 16) mean16[k >> 4] += LOAD16(row, k);
#if MUTANT != 8
        for (int k = wide; k < c; k++) mean[k] += LOAD(row, k);
#endif
    }
    for (int g = 0; g < groups; g++) {
        float sum = 0;
        for (int i = 0; i < width; i++) sum += mean[g * width + i];
        sum /= area;
        for (int i = 0; i < width; i++) mean[g * width + i] = sum;
        partial[2 * g] = sum;
    }
    for (int p = 0; p < count; p++) {
        const global real *row = x + (size_t)p * c;
        for (int k = 0; k < wide; k += 16) {
            const float16 away = AWAY(LOAD16(row, k), mean16[k >> 4]);
            total16[k >> 4] = FMA(away, away, total16[k >> 4]);
        }
        for (int k = wide; k < c; k++) {
            const float away = AWAY(LOAD(row, k), mean[k]);
            total[k] = FMA(away, away, total[k]);
        }
    }
    for (int g = 0; g < groups; g++) {
        float sum = 0;
        for (int i = 0; i < width; i++) sum += total[g * width + i];
#if MUTANT == 3
        sum = max(sum - area * partial[2 * g] * partial[2 * g], 0.0f);
#endif
        partial[2 * g + 1] = sum;
    }
}

/* has_ss: ss is there; else it is not read. */
kernel void group_norm_stats_merge(global float *coef, global const float *partial, global const float *gamma,
                                   global const float *beta, global const real *ss, int hw, int c, int groups, int rows,
                                   int blocks, float eps, int has_ss) {
    const int g = get_global_id(0), n = get_global_id(1), width = c / groups, padded = (c + 15) & ~15;
    const float area = (float)rows * width, last = (float)(hw - (blocks - 1) * rows) * width, all = (float)hw * width;
    partial += 2 * ((size_t)n * blocks * groups + g);
    const size_t step = 2 * (size_t)groups;
    float sum = 0;
    for (int b = 0; b < blocks - 1; b++) sum += partial[b * step];
    const float mean = FMA(sum, area, partial[(blocks - 1) * step] * last) / all;
    float squares = 0, spread = 0;
    for (int b = 0; b < blocks - 1; b++) {
        float away = partial[b * step] - mean;
        spread = FMA(away, away, spread);
        squares += partial[b * step + 1];
    }
    const float away = partial[(blocks - 1) * step] - mean;
    squares += partial[(blocks - 1) * step + 1];
#if MUTANT != 6
    squares += FMA(spread, area, away * away * last);
#endif
    const float factor = inverse_sigma(squares, all, eps);
    coef += (size_t)n * 3 * padded;
    for (int i = 0; i < width; i++) {
#if MUTANT == 4
        const int k = (g * width + i + 1) % c;
#else
        const int k = g * width + i;
#endif
        float a = factor * gamma[k], b = beta[k];
        if (has_ss) {
#if MUTANT == 5
            const float scale = LOAD(ss, (size_t)n * 2 * c + k);
#else
            const float scale = 1 + LOAD(ss, (size_t)n * 2 * c + k);
#endif
            a *= scale;
            b = FMA(b, scale, LOAD(ss, (size_t)n * 2 * c + c + k));
        }
        coef[k] = mean, coef[padded + k] = a, coef[2 * padded + k] = b;
    }
}

kernel void group_norm_apply_rows(global real *y, global const real *x, global const float *coef, int hw, int c,
                                  int rows, int silu_too) {
    const int b = get_global_id(0), n = get_global_id(1), padded = (c + 15) & ~15, wide = c & ~15;
    const int row0 = b * rows, count = min(rows, hw - row0);
    x += ((size_t)n * hw + row0) * c;
    y += ((size_t)n * hw + row0) * c;
    coef += (size_t)n * 3 * padded;
    for (int p = 0; p < count; p++) {
        const size_t row = (size_t)p * c;
        for (int k = 0; k < wide; k += 16) {
            SOON(y + row + 2 * c + k, 1);
            SOON(x + row + 2 * c + k, 0);
            float16 v = FMA(LOAD16(x, row + k) - vload16(0, coef + k), vload16(0, coef + padded + k),
                            vload16(0, coef + 2 * padded + k));
            if (silu_too) v = silu16(v);
            STORE16(MUTANT == 7 && REAL_IS_HALF ? CUT16(v) : v, y, row + k);
        }
        for (int k = wide; k < c; k++) {
            float v = FMA(LOAD(x, row + k) - coef[k], coef[padded + k], coef[2 * padded + k]);
            STORE(silu_too ? silu(v) : v, y, row + k);
        }
    }
}

#define CHAIN 32     /* rows summed before they are added to the others */
#define SOON_ROWS 24 /* ahead: rows are too far apart for a processor to guess */
#ifndef VECTORS
#define VECTORS 1 /* of a span; by the host */
#endif
#define SPAN (16 * VECTORS)
#define EACH_VECTOR(k) _Pragma("unroll") for (int k = 0; k < VECTORS; k++)

kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
group_norm_whole(global real *y, global const real *x, global const float *gamma, global const float *beta,
                 global const real *ss, int hw, int c, int groups, float eps, int has_ss, int silu_too) {
    const int first = get_global_id(0) * SPAN, n = get_global_id(1), width = c / groups;
    const float area = (float)hw * width;
    float16 sum16[VECTORS], a16[VECTORS], b16[VECTORS];
    float *sum = (float *)sum16, *a = (float *)a16, *b = (float *)b16;
    x += (size_t)n * hw * c + first;
    y += (size_t)n * hw * c + first;
    for (int pass = 0; pass < 2; pass++) { /* a: mean, then the squares about it */
        const int rows = hw - (MUTANT == 9 && !pass && hw > 1);
        float16 mean[VECTORS], all[VECTORS];
        EACH_VECTOR(k) mean[k] = pass ? a16[k] : (float16)0.0f, all[k] = 0;
        for (int from = 0; from < rows; from += CHAIN) {
            float16 part[VECTORS];
            EACH_VECTOR(k) part[k] = 0;
            for (int p = from; p < min(from + CHAIN, rows); p++) {
                EACH_VECTOR(k) {
                    const float16 v = LOAD16(x, (size_t)p * c + 16 * k);
                    if (!pass) SOON(x + (size_t)(p + SOON_ROWS) * c + 16 * k, 0);
                    part[k] = pass ? FMA(AWAY(v, mean[k]), AWAY(v, mean[k]), part[k]) : part[k] + v;
                }
            }
            EACH_VECTOR(k) all[k] += part[k];
        }
        EACH_VECTOR(k) sum16[k] = all[k];
        for (int g = 0; g < SPAN; g += width) {
            float total = 0;
            for (int i = 0; i < width; i++) total += sum[g + i];
#if MUTANT == 3
            if (pass) total = max(total - area * a[g] * a[g], 0.0f);
#endif
            const float of_all = pass ? inverse_sigma(total, area, eps) : total / area;
            for (int i = 0; i < width; i++)
                if (pass) b[g + i] = of_all;
                else a[g + i] = of_all;
        }
    }
    for (int i = 0; i < SPAN; i++) { /* sum: the mean; y = (x - sum) a + b */
        const int k = MUTANT == 4 ? (first + i + 1) % c : first + i;
        sum[i] = a[i];
        a[i] = b[i] * gamma[k], b[i] = beta[k];
        if (has_ss) {
            const float scale = (MUTANT != 5) + LOAD(ss, (size_t)n * 2 * c + k);
            a[i] *= scale;
            b[i] = FMA(b[i], scale, LOAD(ss, (size_t)n * 2 * c + c + k));
        }
    }
    for (int p = 0; p < hw; p++)
        for (int k = 0; k < VECTORS; k++) {
            float16 v = FMA(LOAD16(x, (size_t)p * c + 16 * k) - sum16[k], a16[k], b16[k]);
            SOON(y + (size_t)(p + SOON_ROWS) * c + 16 * k, 1);
            if (silu_too) v = silu16(v);
            STORE16(MUTANT == 7 && REAL_IS_HALF ? CUT16(v) : v, y, (size_t)p * c + 16 * k);
        }
}
