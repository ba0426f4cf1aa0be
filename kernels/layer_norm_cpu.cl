/* layer_norm_cpu.cl -- layer norm over the last axis of [rows, c] for CPUs.
 *   x, y  [rows, c], may alias          gamma, beta  [c]
 *   reference  reference/ref_layer_norm.c          host  host/ops/layer_norm.c
 *
 *   layer_norm_row   one work-item a row; 64 then 16 elements a step in named accumulators, scalars behind the last
 *                    16; the row stays in the first-level cache between its three passes
 *
 * MUTANTS: 1 eps outside the square root, 2 variance over c-1, 3 variance in one pass, 4 elements behind the last 16
 *          missing from the sums, 5 one step of 16 missing from the mean, 6 f16 stored truncated */
#include "norm.clh"

#if MUTANT == 3
#define AWAY(v) (v)
#else
#define AWAY(v) ((v)-mean)
#endif

kernel void layer_norm_row(global real *y, global const real *x, global const float *gamma, global const float *beta,
                           int c, float eps) {
    const int wide = c & ~15, wider = c & ~63;
    x += (size_t)get_global_id(0) * c;
    y += (size_t)get_global_id(0) * c;
    float16 a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    float tail = 0;
    for (int k = 0; k < wider; k += 64) {
        a0 += LOAD16(x, k);
        a1 += LOAD16(x, k + 16);
        a2 += LOAD16(x, k + 32);
        a3 += LOAD16(x, k + 48);
    }
#if MUTANT == 5
    for (int k = wider; k < wide - 16; k += 16) a0 += LOAD16(x, k);
#else
    for (int k = wider; k < wide; k += 16) a0 += LOAD16(x, k);
#endif
#if MUTANT != 4
    for (int k = wide; k < c; k++) tail += LOAD(x, k);
#endif
    const float mean = (sum16((a0 + a1) + (a2 + a3)) + tail) / c;
    a0 = a1 = a2 = a3 = 0, tail = 0;
    for (int k = 0; k < wider; k += 64) {
        float16 d0 = AWAY(LOAD16(x, k)), d1 = AWAY(LOAD16(x, k + 16)), d2 = AWAY(LOAD16(x, k + 32)),
                d3 = AWAY(LOAD16(x, k + 48));
        a0 = FMA(d0, d0, a0);
        a1 = FMA(d1, d1, a1);
        a2 = FMA(d2, d2, a2);
        a3 = FMA(d3, d3, a3);
    }
    for (int k = wider; k < wide; k += 16) {
        float16 d0 = AWAY(LOAD16(x, k));
        a0 = FMA(d0, d0, a0);
    }
#if MUTANT != 4
    for (int k = wide; k < c; k++) tail += AWAY(LOAD(x, k)) * AWAY(LOAD(x, k));
#endif
    float squares = sum16((a0 + a1) + (a2 + a3)) + tail;
#if MUTANT == 3
    squares = max(squares - c * mean * mean, 0.0f);
#endif
    const float factor = inverse_sigma(squares, c, eps);
    for (int k = 0; k < wide; k += 16) {
        float16 v = FMA((LOAD16(x, k) - mean) * factor, vload16(0, gamma + k), vload16(0, beta + k));
        STORE16(MUTANT == 6 && REAL_IS_HALF ? CUT16(v) : v, y, k);
    }
    for (int k = wide; k < c; k++) STORE(FMA((LOAD(x, k) - mean) * factor, gamma[k], beta[k]), y, k);
}
