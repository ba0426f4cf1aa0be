/* ref_layer_norm.c -- torch.nn.functional.layer_norm over the last axis of [rows, c]:
 *   y = (x - mean)/sqrt(var + eps) gamma + beta, biased variance per row.
 * Bound: that of ref_group_norm.c with N = c. */
#include "ref_common.h"

void ref_layer_norm(ref_out o, int64_t rows, int64_t c, double eps, const float *x, const float *gamma,
                    const float *beta) {
    if (!o.which) o.count = rows * c;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        if (!ref_opens_stretch(&o, i, c)) continue;
        const float *xr = x + ref_at(&o, i) / c * c;
        double N = (double)c, mean = 0, magnitude = 0, var = 0;
        for (int64_t k = 0; k < c; k++) mean += xr[k], magnitude += fabs(xr[k]);
        mean /= N, magnitude /= N;
        for (int64_t k = 0; k < c; k++) var += (xr[k] - mean) * (xr[k] - mean);
        double sd = sqrt(var / N + eps);
        double dm = 2 * sqrt(N) * REF_U * magnitude + REF_U * fabs(mean);
        double dv = 2 * (sqrt(N) + 4) * REF_U + dm * dm / (sd * sd);
        for (int64_t e = i, end = ref_stretch_end(&o, i, c); e < end; e++) {
            int64_t j = ref_at(&o, e) % c;
            double away = xr[j] - mean, z = away / sd;
            double dz = 4 * REF_U * fabs(z) + dm / sd + fabs(z) * dv / 2 + REF_U * fabs(away) / sd;
            ref_put(&o, e, z * gamma[j] + beta[j],
                    dz * fabs(gamma[j]) + REF_U * fabs(z * gamma[j]) + REF_U * fabs(beta[j]));
        }
    }
}
