/* layer_norm_gpu.cl -- layer norm for GPUs: y = (x - mean) / sqrt(var + eps) gamma + beta over each row
 *   x, y [rows, c]   gamma, beta [c]
 *   reference  reference/ref_layer_norm.c          host  host/ops/layer_norm.c
 *
 *   layer_norm_group  a work-group a row; mean and variance in two passes (the row stays in a cache), each summed by a fixed
 *                     tree in local memory
 *
 * MUTANTS: 1 last element dropped, 2 eps outside the root, 3 variance over c - 1, 4 variance in one pass, 5 gamma dropped,
 *   6 beta dropped, 7 gamma of the neighbour, 8 the tree's last step dropped, 9 no barrier in the tree.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef GROUP
#define GROUP 128 /* work-items a row: 32..256, power of two */
#endif
#if MUTANT == 9
#define TREE_BARRIER
#else
#define TREE_BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#endif

/* The sum of v over the work-group, the same to all. */
float total(float v, __local float *seen) {
    const int lid = get_local_id(0);
    seen[lid] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = GROUP / 2; step > (MUTANT == 8); step /= 2) {
        if (lid < step) seen[lid] += seen[lid + step];
        TREE_BARRIER;
    }
    v = seen[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return v;
}

__kernel WORK_GROUP(GROUP) void layer_norm_group(__global real *y, __global const real *x, __global const float *restrict gamma,
                                                 __global const float *restrict beta, int c, float eps) {
    __local float seen[GROUP];
    const int lid = get_local_id(0), ends = MUTANT == 1 ? c - 1 : c;
    float sum = 0, squares = 0;
    x += (long)get_group_id(0) * c;
    y += (long)get_group_id(0) * c;
    for (int i = lid; i < ends; i += GROUP) sum += LOAD(x, i);
    const float mean = total(sum, seen) / c;
    for (int i = lid; i < ends; i += GROUP) {
        const float v = LOAD(x, i) - (MUTANT == 4 ? 0 : mean);
        squares = FMA(v, v, squares);
    }
    float var = total(squares, seen) / (MUTANT == 3 ? max(c - 1, 1) : c);
    if (MUTANT == 4) var -= mean * mean;
    const float inverse = MUTANT == 2 ? 1 / (sqrt(var) + eps) : 1 / sqrt(var + eps);
    for (int i = lid; i < c; i += GROUP) {
        const float g = MUTANT == 5 ? 1 : gamma[MUTANT == 7 ? (i + 1) % c : i], b = MUTANT == 6 ? 0 : beta[i];
        STORE((LOAD(x, i) - mean) * inverse * g + b, y, i);
    }
}
