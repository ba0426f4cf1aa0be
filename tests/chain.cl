/* chain.cl -- a kernel that depends on the order of its work-groups, for test_determinism: y[i] = y[i - 1] + 1, a work-group
 * of one work-item each. In order, y[i] = i. */
kernel void chain(global int *y) {
    const size_t i = get_global_id(0);
    y[i] = i ? y[i - 1] + 1 : 0;
}
