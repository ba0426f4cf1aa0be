/* layer_norm.cl -- layer norm over the last axis of [rows, c], any device.
 *   x, y  [rows, c], may alias          gamma, beta  [c]
 *   reference  reference/ref_layer_norm.c          host  host/ops/layer_norm.c
 *
 *   layer_norm_plain   one work-item a row, two passes and one to apply; sums of 64 elements first, then of those
 *
 * MUTANTS: 1 eps outside the square root, 2 variance over c-1, 3 variance in one pass, 4 last element missing from the
 *          mean, 5 gamma and beta exchanged, 6 last row left alone */
#include "norm.clh"

kernel void layer_norm_plain(global real *y, global const real *x, global const float *gamma, global const float *beta,
                             int rows, int c, float eps) {
    const int r = get_global_id(0);
#if MUTANT == 6
    if (r >= max(rows - 1, 1)) return;
#endif
    if (r >= rows) return;
    x += (size_t)r * c;
    y += (size_t)r * c;
    float sum = 0, squares = 0;
#if MUTANT == 4
    const int used = max(c - 1, 1);
#else
    const int used = c;
#endif
    for (int k0 = 0; k0 < used; k0 += 64) {
        float part = 0;
        for (int k = k0; k < min(k0 + 64, used); k++) part += LOAD(x, k);
        sum += part;
    }
    const float mean = sum / c;
    for (int k0 = 0; k0 < c; k0 += 64) {
        float part = 0;
        for (int k = k0; k < min(k0 + 64, c); k++) {
#if MUTANT == 3
            part += LOAD(x, k) * LOAD(x, k) - mean * mean;
#else
            part += (LOAD(x, k) - mean) * (LOAD(x, k) - mean);
#endif
        }
        squares += part;
    }
#if MUTANT == 3
    squares = max(squares, 0.0f);
#endif
    const float factor = inverse_sigma(squares, c, eps);
    for (int k = 0; k < c; k++) {
#if MUTANT == 5
        STORE(FMA((LOAD(x, k) - mean) * factor, beta[k], gamma[k]), y, k);
#else
        STORE(FMA((LOAD(x, k) - mean) * factor, gamma[k], beta[k]), y, k);
#endif
    }
}
