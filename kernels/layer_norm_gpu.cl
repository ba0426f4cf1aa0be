/* layer_norm_gpu.cl -- layer norm for GPUs: y = (x - mean) / sqrt(var + eps) gamma + beta over each row
 *   x, y [rows, c]   gamma, beta [c]
 *   reference  reference/ref_layer_norm.c          host  host/ops/layer_norm.c
 *
 *   layer_norm_group  a work-group a row; mean and variance in two passes (the row stays in a cache), each summed by a fixed
 *                     tree in local memory
 *
 * MUTANTS: 1 eps outside the root, 2 variance over c - 1, 3 the tree's last step dropped, 4 no barrier in the tree,
 *   5 variance in one pass, 6 last element dropped, 7 gamma dropped, 8 beta dropped, 9 gamma of the neighbour.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef GROUP
#define GROUP 128 /* work-items a row: 32..256, power of two */
#endif
#include "gpu_tree.clh"
#include "norm.clh"

__kernel WORK_GROUP(GROUP) void layer_norm_group(__global real *y, __global const real *x, __global const float *restrict gamma,
                                                 __global const float *restrict beta, int c, float eps) {
    __local float seen[GROUP];
    const int lid = get_local_id(0), ends = MUTANT == 6 ? c - 1 : c;
    float sum = 0, squares = 0;
    x += (long)get_group_id(0) * c;
    y += (long)get_group_id(0) * c;
    for (int i = lid; i < ends; i += GROUP) sum += LOAD(x, i);
    const float mean = total(sum, seen) / c;
    for (int i = lid; i < ends; i += GROUP) {
        const float v = LOAD(x, i) - (MUTANT == 5 ? 0 : mean);
        squares = FMA(v, v, squares);
    }
    squares = total(squares, seen) - (MUTANT == 5 ? c * mean * mean : 0);
    const float inverse = inverse_sigma(squares, c, eps);
    for (int i = lid; i < c; i += GROUP) {
        const float g = MUTANT == 7 ? 1 : gamma[MUTANT == 9 ? (i + 1) % c : i], b = MUTANT == 8 ? 0 : beta[i];
        STORE((LOAD(x, i) - mean) * inverse * g + b, y, i);
    }
}
