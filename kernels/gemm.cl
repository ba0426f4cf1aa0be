/* gemm.cl -- matrix product, the plain kernel: any OpenCL 1.2 device, any shape
 *   y [batch,m,n]   x [batch,m,k]   w [n,k], or [k,n] if wkn, q8 by rows; with wbatch one for each of the batch   bias [n] or absent
 *   vec [batch,n], residual [batch,m,n] or absent   y = act(x w^T + bias + vec + residual)
 *   or, with act geglu, y [batch,m,n/2] = v gelu(g), v the first and g the second half of x w^T + bias
 *   reference  reference/ref_gemm.c          host  host/ops/gemm.c
 *
 *   gemm_plain   one work-item per output element, no assumptions
 *
 * MUTANTS: 1 last product dropped, 2 first product doubled, 3 row of the neighbour, 4 bias missing, 5 neighbour's bias,
 *   6 residual missing, 7 activation dropped, 8 products swapped, 9 batch of w ignored, 10 f16 store truncated, 11 sum kept
 *   in f16, 12 w transposed, 13 x cut to f16, 14 x cut to bf16, 15 vec missing, 16 vec of the first of the batch,
 *   17 value and gate exchanged, 18 scale of the first block for all (WREAL q8), 19 sign of a number lost (WREAL q8) */

__kernel void gemm_plain(__global real *restrict y, __global const real *restrict x, __global const wreal *restrict w,
                         __global const float *restrict bias, __global const real *restrict vec,
                         __global const real *restrict residual, int batch, int m, int n, int k, int wkn, int wbatch,
                         int act) {
    const size_t id = get_global_id(0), gated = act == ACT_GEGLU, cols = gated ? n / 2 : n;
    if (id >= batch * m * cols) return;
    const size_t col = id % cols, b = id / cols / m;
    const size_t row = MUTANT == 3 ? (id / cols) ^ ((id / cols | 1) < (size_t)batch * m) : id / cols;
    const int by_k = MUTANT == 12 ? !wkn : wkn; /* element (o, e) of w is at o * k + e, or e * n + o */
    const size_t o_step = by_k ? 1 : k, e_step = by_k ? n : 1;
    float sum = 0, value = 0;
    for (size_t g = 0; g <= gated; g++) { /* of a gated pair the value first */
        const size_t o = col + (MUTANT == 17 ? gated - g : g) * cols;
        __global const wreal *wt = w + W_AT((MUTANT != 9 && wbatch ? b * n * k : 0) + o * o_step);
        value = sum, sum = 0;
        for (int e = 0; e < k - (MUTANT == 1); e++) {
            float v = LOAD(x, row * k + (MUTANT == 8 ? min(e ^ 1, k - 1) : e));
            if (MUTANT == 2 && e == 0) v *= 2;
            if (MUTANT == 13) v = CUT(v);
            if (MUTANT == 14) v = as_float(as_uint(v) & 0xffff0000u);
            float u = WLOAD(wt, e * e_step);
#if WREAL_KIND == KIND_Q8
            if (MUTANT == 18) u = LDM_Q8_SCALE(wt, 0) * *LDM_Q8_AT(wt, e);
            if (MUTANT == 19) u = fabs(u);
#endif
            sum = FMA(v, u, sum);
            if (MUTANT == 11) sum = half_of(sum);
        }
        if (bias && MUTANT != 4) sum += bias[MUTANT == 5 ? (o + 1) % n : o];
    }
    if (vec && MUTANT != 15) sum += LOAD(vec, (MUTANT == 16 ? 0 : b * n) + col);
    if (residual && MUTANT != 6) sum += LOAD(residual, id);
    float v = gated ? value * gelu(sum) : activate(sum, MUTANT == 7 ? ACT_NONE : act);
    if (MUTANT == 10) v = CUT(v);
    STORE(v, y, id);
}
