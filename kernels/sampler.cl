/* sampler.cl -- what a sampling loop needs between two network calls, so that the host sets nothing between steps.
 *   guidance   y = e_u + scale (e_c - e_u), e [2, count]    reference reference/ref_guidance.c   host host/ops/sampler.c
 *   advance    y = x + 1, whole numbers
 * MUTANTS: 1 weights exchanged, 2 scale ignored */

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
