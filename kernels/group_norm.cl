/* group_norm.cl -- group norm over maps [n, hw, c], any device: statistics, then apply; they can be called apart.
 *   x, y     [n, hw, c], may alias          gamma, beta  [c]          ss  [n, 2c]: c scales, then c shifts
 *   stats    [n, groups, 2]: mean and 1/sqrt(var + eps) of each group
 *   reference  reference/ref_group_norm.c          host  host/ops/group_norm.c
 *
 *   group_norm_stats_plain   one work-item a group of a sample, two passes
 *   group_norm_apply_plain   one work-item an element
 *
 * MUTANTS: 1 eps outside the square root, 2 variance over N-1, 3 variance in one pass, 4 wrong group, 5 scale without
 *          its 1, 6 last row missing from the statistics, 7 f16 stored truncated, 8 gamma and beta exchanged */
#include "norm.clh"

kernel void group_norm_stats_plain(global float *stats, global const real *x, int hw, int c, int groups, float eps) {
    const int g = get_global_id(0), n = get_global_id(1), width = c / groups;
    if (g >= groups) return;
    x += (size_t)n * hw * c + g * width;
    const float count = (float)hw * width;
#if MUTANT == 6
    const int rows = max(hw - 1, 1);
#else
    const int rows = hw;
#endif
    /* sums of a row first, then over 64 rows, then over all: long sums of equal signs stay accurate */
    float sum = 0, squares = 0;
    for (int p0 = 0; p0 < rows; p0 += 64) {
        float block = 0;
        for (int p = p0; p < min(p0 + 64, rows); p++) {
            float row = 0;
            for (int i = 0; i < width; i++) row += LOAD(x, (size_t)p * c + i);
            block += row;
        }
        sum += block;
    }
    const float mean = sum / count;
    for (int p0 = 0; p0 < rows; p0 += 64) {
        float block = 0;
        for (int p = p0; p < min(p0 + 64, rows); p++) {
            float row = 0;
            for (int i = 0; i < width; i++) {
                float away = LOAD(x, (size_t)p * c + i) - mean;
#if MUTANT == 3
                away = LOAD(x, (size_t)p * c + i);
#endif
                row += away * away;
            }
            block += row;
        }
        squares += block;
    }
#if MUTANT == 3
    squares = max(squares - count * mean * mean, 0.0f);
#endif
    stats += 2 * ((size_t)n * groups + g);
    stats[0] = mean;
    stats[1] = inverse_sigma(squares, count, eps);
}

/* has_ss: ss is there; else it is not read. silu: apply it. */
kernel void group_norm_apply_plain(global real *y, global const real *x, global const float *stats,
                                   global const float *gamma, global const float *beta, global const real *ss,
                                   int n_all, int hw, int c, int groups, int has_ss, int silu_too) {
    const size_t i = get_global_id(0);
    if (i >= (size_t)n_all * hw * c) return;
    const int k = i % c, n = i / ((size_t)hw * c);
#if MUTANT == 4
    const int g = min((k + 1) / (c / groups), groups - 1);
#else
    const int g = k / (c / groups);
#endif
    stats += 2 * ((size_t)n * groups + g);
#if MUTANT == 8
    float v = FMA((LOAD(x, i) - stats[0]) * stats[1], beta[k], gamma[k]);
#else
    float v = FMA((LOAD(x, i) - stats[0]) * stats[1], gamma[k], beta[k]);
#endif
#if MUTANT == 5
    if (has_ss) v = FMA(v, LOAD(ss, (size_t)n * 2 * c + k), LOAD(ss, (size_t)n * 2 * c + c + k));
#else
    if (has_ss) v = FMA(v, 1 + LOAD(ss, (size_t)n * 2 * c + k), LOAD(ss, (size_t)n * 2 * c + c + k));
#endif
    if (silu_too) v = silu(v);
    STORE(MUTANT == 7 && REAL_IS_HALF ? CUT(v) : v, y, i);
}
