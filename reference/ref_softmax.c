/* ref_softmax.c -- torch.nn.functional.softmax over the columns of scale x:  p_i = exp(s_i - m) / sum_j exp(s_j - m),
 * s = scale x, m = max s.
 * Bound: a score is off by at most delta_j = 4u |s_j| + u |s_j - m| + u |m| (the product, the difference, the change of
 * base), which moves p_i by p_i (delta_i + sum_j p_j delta_j); exp, sum of T terms and quotient add p_i (2 sqrt(T) + 8)
 * u; an exp below the smallest normal number may come out as 0, or be held at that number: 2^-125. */
#include "ref_common.h"
#include <stdlib.h>

static double score_error(double s, double m) { return REF_U * (4 * fabs(s) + fabs(s - m) + fabs(m)); }

void ref_softmax(ref_out o, int64_t rows, int64_t cols, double scale, const float *x) {
    if (!o.which) o.count = rows * cols;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        if (!ref_opens_stretch(&o, i, cols)) continue;
        const float *xr = x + ref_at(&o, i) / cols * cols;
        double m = -INFINITY, sum = 0, delta = 0;
        for (int64_t j = 0; j < cols; j++) m = fmax(m, scale * xr[j]);
        for (int64_t j = 0; j < cols; j++) {
            double e = exp(scale * xr[j] - m);
            sum += e;
            delta += e * score_error(scale * xr[j], m);
        }
        delta /= sum;
        for (int64_t e = i, end = ref_stretch_end(&o, i, cols); e < end; e++) {
            double s = scale * xr[ref_at(&o, e) % cols], p = exp(s - m) / sum;
            ref_put(&o, e, p, p * (score_error(s, m) + delta + (2 * sqrt((double)cols) + 8) * REF_U) + 0x1p-125);
        }
    }
}
