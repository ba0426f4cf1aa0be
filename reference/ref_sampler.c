/* ref_sampler.c -- the arithmetic of samplers and skip connections: sums of a few maps. */
#include "ref_common.h"

/* y = a + b, torch.add; b repeats every bcount elements. Bound: one rounding in f32, one of the stored type. */
void ref_add(ref_out o, int64_t count, int64_t bcount, const float *a, const float *b) {
    if (!o.which) o.count = count;
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        double y = (double)a[ref_at(&o, i)] + b[ref_at(&o, i) % bcount];
        ref_put(&o, i, y, REF_U * fabs(y));
    }
}

/* y = sum_i coef[i] x_i; absent terms count nothing. Bound: the sum's. */
void ref_lincomb(ref_out o, int64_t count, int64_t terms, const float *coef, const float *const *x) {
    if (!o.which) o.count = count;
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        double y = 0, mag = 0, present = 0;
        for (int64_t t = 0; t < terms; t++) {
            if (!x[t]) continue;
            double product = (double)coef[t] * x[t][ref_at(&o, i)];
            y += product, mag += fabs(product), present++;
        }
        ref_put(&o, i, y, ref_sum_error(present, mag));
    }
}
