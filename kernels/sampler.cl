/* sampler.cl -- what a sampling loop needs between two network calls, so that the host sets nothing between steps.
 *   guidance   y = e_u + scale (e_c - e_u), e [2, count]    reference reference/ref_guidance.c   host host/ops/sampler.c
 *   advance    y = x + 1, whole numbers
 *   rescale    y = y0 (phi std(e[1]) / std(y0) + 1 - phi), e [2, n, count], a deviation a sample
 *   blend      y = m (coef[0] known + coef[1] noise) + (1 - m) x, m = coef[2] mask, mask [rows], the rest [rows, c]
 * MUTANTS: 1 weights exchanged, 2 scale ignored, 3 rescaled to the unconditional half, 4 phi ignored, 5 means not
 *          subtracted, 6 last sample's deviation for all, 7 mask inverted, 8 noise missing, 9 mask read as a map,
 *          10 coef[2] ignored */

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

/* One work-group of GROUP work-items a sample: sums of what each work-item strides over, then a tree. */
#ifndef GROUP
#define GROUP 1
#endif
static float group_sum(float v, __local float *seen) {
    const int lid = get_local_id(0);
    seen[lid] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = GROUP / 2; step > 0; step /= 2) {
        if (lid < step) seen[lid] += seen[lid + step];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    v = seen[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return v;
}

/* Squared distances from the mean, summed. */
static float group_squares(__global const real *x, int count, __local float *seen) {
    float sum = 0, squares = 0;
    for (int i = get_local_id(0); i < count; i += GROUP) sum += LOAD(x, i);
    const float mean = MUTANT == 5 ? 0 : group_sum(sum, seen) / count;
    for (int i = get_local_id(0); i < count; i += GROUP) {
        const float away = LOAD(x, i) - mean;
        squares += away * away;
    }
    return group_sum(squares, seen);
}

__kernel void rescale(__global real *y, __global const real *e, __global const real *y0, __global const float *phi,
                      int n, int count) {
    __local float seen[GROUP];
    const int r = get_group_id(0), from = MUTANT == 6 ? n - 1 : r;
    const float c = group_squares(e + (size_t)((MUTANT == 3 ? 0 : n) + from) * count, count, seen);
    const float g = group_squares(y0 + (size_t)from * count, count, seen);
    const float share = MUTANT == 4 ? 1.0f : phi[0], factor = share * sqrt(c / g) + (1.0f - share);
    for (int i = get_local_id(0); i < count; i += GROUP)
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
