/* sampler.cl -- what a sampling loop needs between two network calls, so that the host sets nothing between steps.
 *   guidance   y = e_u + scale (e_c - e_u), e [2, count]    reference reference/ref_guidance.c   host host/ops/sampler.c
 *   advance    y = x + 1, whole numbers
 *   rescale    y = y0 (phi std(e[1]) / std(y0) + 1 - phi), e [2, n, count], a deviation a sample
 *   blend      y = m (coef[0] known + coef[1] noise) + (1 - m) x, m = coef[2] mask, mask [rows], the rest [rows, c]
 *
 * MUTANTS: 1 weights exchanged, 2 scale ignored, 3 the tree's last step dropped, 4 no barrier in the tree, 5 means not
 *   subtracted, 6 last sample's deviation for all, 7 mask inverted, 8 noise missing, 9 mask read as a map, 10 coef[2]
 *   ignored, 11 rescaled to the unconditional half, 12 phi ignored.
 *
 * Of rescale, by the host (the default compiles standalone): */
#ifndef GROUP
#define GROUP 64 /* work-items a sample: a power of two */
#endif
#include "gpu_tree.clh"

/* One work-item an element. */
__kernel void guidance(__global real *y, __global const real *e, __global const float *scale, int count) {
    int i = (int)get_global_id(0);
    if (i >= count) return;
    float u = LOAD(e, i), c = LOAD(e, i + count);
#if MUTANT == 1
    STORE(c + scale[0] * (u - c), y, i);
#elif MUTANT == 2
    STORE(c, y, i);
#else
    STORE(u + scale[0] * (c - u), y, i);
#endif
}

/* One work-item an element; y may be x. */
__kernel void advance(__global int *y, __global const int *x, int count) {
    int i = (int)get_global_id(0);
    if (i < count) y[i] = x[i] + 1;
}

/* A work-group a sample; means and squared distances from them in two passes, each summed by the tree. */
__kernel WORK_GROUP(GROUP) void rescale(__global real *y, __global const real *e, __global const real *y0,
                                        __global const float *phi, int n, int count) {
    __local float seen[GROUP];
    const int lid = get_local_id(0), r = get_group_id(0), from = MUTANT == 6 ? n - 1 : r;
    __global const real *c = e + (size_t)((MUTANT == 11 ? 0 : n) + from) * count, *g = y0 + (size_t)from * count;
    float sum_c = 0, sum_g = 0, squares_c = 0, squares_g = 0;
    for (int i = lid; i < count; i += GROUP) sum_c += LOAD(c, i), sum_g += LOAD(g, i);
    sum_c = total(sum_c, seen);
    sum_g = total(sum_g, seen);
    const float mean_c = MUTANT == 5 ? 0 : sum_c / count, mean_g = MUTANT == 5 ? 0 : sum_g / count;
    for (int i = lid; i < count; i += GROUP) {
        const float away_c = LOAD(c, i) - mean_c, away_g = LOAD(g, i) - mean_g;
        squares_c += away_c * away_c, squares_g += away_g * away_g;
    }
    squares_c = total(squares_c, seen);
    squares_g = total(squares_g, seen);
    const float share = MUTANT == 12 ? 1.0f : phi[0], factor = share * sqrt(squares_c / squares_g) + (1.0f - share);
    for (int i = lid; i < count; i += GROUP)
        STORE(LOAD(y0, (size_t)r * count + i) * factor, y, (size_t)r * count + i);
}

/* One work-item an element; y may be x. */
__kernel void blend(__global real *y, __global const float *coef, __global const float *mask,
                    __global const real *known, __global const real *noise, __global const real *x, int count, int c) {
    const int i = (int)get_global_id(0);
    if (i >= count) return;
    float m = mask[MUTANT == 9 ? i % (count / c) : i / c];
    if (MUTANT != 10) m *= coef[2];
    if (MUTANT == 7) m = 1 - m;
    const float kept = coef[0] * LOAD(known, i) + (MUTANT == 8 ? 0.0f : coef[1] * LOAD(noise, i));
    STORE(m * kept + (1 - m) * LOAD(x, i), y, i);
}
