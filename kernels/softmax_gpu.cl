/* softmax_gpu.cl -- softmax over the last dimension for GPUs: y[r,:] = exp(s - max s) / sum, s = scale x[r,:]
 *   x, y [rows, cols]
 *   reference  reference/ref_softmax.c          host  host/ops/softmax.c
 *
 *   softmax_group  a work-group a row: neighbours read neighbouring columns; maximum and sum by a fixed tree in local memory
 *
 * MUTANTS: 1 last column dropped, 2 one column too many at zero, 3 the tree's last step dropped, 4 no barrier in the tree,
 *   5 not divided by the sum, 6 scale dropped, 7 no maximum taken off, 8 columns exchanged in pairs.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef GROUP
#define GROUP 128 /* work-items a row: 32..256, power of two */
#endif
#include "gpu_tree.clh"
TREE(largest, fmax)

__kernel WORK_GROUP(GROUP) void softmax_group(__global real *y, __global const real *x, int cols, float scale) {
    __local float seen[GROUP];
    const int lid = get_local_id(0);
    const int seen_cols = MUTANT == 1 ? cols - 1 : cols;
    float most = -INFINITY, sum = 0;
    x += (long)get_group_id(0) * cols;
    y += (long)get_group_id(0) * cols;
    if (MUTANT == 6) scale = 1;
    for (int c = lid; c < seen_cols; c += GROUP) most = fmax(most, LOAD(x, c) * scale);
    most = largest(most, seen);
    if (MUTANT == 7) most = 0;
    for (int c = lid; c < seen_cols; c += GROUP) sum += exp(LOAD(x, c) * scale - most);
    sum = total(sum, seen);
    if (MUTANT == 2) sum += exp(-most);
    if (MUTANT == 5) sum = 1;
    for (int c = lid; c < cols; c += GROUP) STORE(exp(LOAD(x, MUTANT == 8 ? min(c ^ 1, cols - 1) : c) * scale - most) / sum, y, c);
}
