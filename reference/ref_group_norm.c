/* ref_group_norm.c -- torch.nn.functional.group_norm over NHWC, with optional scale-shift (FiLM) and SiLU behind it:
 *   mean, var (biased) over the hw pixels and c/groups channels of one sample's group;  sd = sqrt(var + eps)
 *   z = (x - mean)/sd;  y = z gamma + beta;  y = y (1 + scale) + shift if ss;  y = act(y)
 *
 * Bound, for a kernel that takes the variance in a second pass (or merges like Welford) over N numbers:
 *   dm = 2 sqrt(N) u mean|x| + u |mean|      error of the mean
 *   dv = 2 (sqrt(N) + 4) u + dm^2/sd^2       relative error of the variance
 *   dz = 4u |z| + dm/sd + |z| dv/2 + u |x - mean|/sd
 * then |gamma| dz + u |z gamma| + u |beta|, each later factor and addend likewise. E[x^2] - mean^2 in one pass breaks
 * this bound as soon as |mean|/sd is large. */
#include "ref_common.h"
#include <stdlib.h>

typedef struct moments {
    double mean, sd, magnitude; /* magnitude: mean |x| */
} moments;

static moments group_moments(const ref_group_norm_dims *d, const float *x, int64_t n, int64_t g) {
    int64_t width = d->c / d->groups;
    double count = (double)(d->hw * width), sum = 0, mag = 0, square = 0;
    const float *first = x + n * d->hw * d->c + g * width;
    for (int64_t p = 0; p < d->hw; p++)
        for (int64_t c = 0; c < width; c++) sum += first[p * d->c + c], mag += fabs(first[p * d->c + c]);
    double mean = sum / count;
    for (int64_t p = 0; p < d->hw; p++)
        for (int64_t c = 0; c < width; c++) {
            double away = first[p * d->c + c] - mean;
            square += away * away;
        }
    return (moments){mean, sqrt(square / count + d->eps), mag / count};
}

void ref_group_norm(ref_out o, const ref_group_norm_dims *d, const float *x, const float *gamma, const float *beta,
                    const float *ss) {
    int64_t groups = d->n * d->groups, width = d->c / d->groups;
    double N = (double)(d->hw * width);
    if (!o.which) o.count = d->n * d->hw * d->c;
    moments *stat = malloc((size_t)groups * sizeof *stat);
    if (!stat) abort();
#pragma omp parallel for
    for (int64_t g = 0; g < groups; g++) stat[g] = group_moments(d, x, g / d->groups, g % d->groups);
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), c = at % d->c, n = at / d->c / d->hw;
        moments s = stat[n * d->groups + c / width];
        double away = x[at] - s.mean, z = away / s.sd;
        double dm = 2 * sqrt(N) * REF_U * s.magnitude + REF_U * fabs(s.mean);
        double dv = 2 * (sqrt(N) + 4) * REF_U + dm * dm / (s.sd * s.sd);
        double dz = 4 * REF_U * fabs(z) + dm / s.sd + fabs(z) * dv / 2 + REF_U * fabs(away) / s.sd;
        double y = z * gamma[c] + beta[c];
        double err = dz * fabs(gamma[c]) + REF_U * fabs(z * gamma[c]) + REF_U * fabs(beta[c]);
        if (ss) {
            double scale = 1 + (double)ss[n * 2 * d->c + c], shift = ss[n * 2 * d->c + d->c + c];
            err = err * fabs(scale) + 2 * REF_U * fabs(y * scale) + REF_U * (fabs(y * scale) + fabs(shift));
            y = y * scale + shift;
        }
        ref_act_value(d->act, y, err, &y, &err);
        ref_put(&o, i, y, err);
    }
    free(stat);
}
