/* ref_guidance.c -- classifier-free guidance (Ho & Salimans, arXiv 2207.12598) and the step counter of a sampling loop. */
#include "ref_common.h"

/* y = e_u + scale (e_c - e_u), e = [e_u, e_c]. Bound: the difference, the product and the sum round once each. */
void ref_guidance(ref_out o, int64_t count, float scale, const float *e) {
    if (!o.which) o.count = count;
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        double u = e[ref_at(&o, i)], c = e[ref_at(&o, i) + count], d = scale * (c - u);
        ref_put(&o, i, u + d, REF_U * (3 * fabs(d) + fabs(u + d)));
    }
}

/* y = x + 1, whole numbers: exact. */
void ref_advance(ref_out o, int64_t count, const float *x) {
    if (!o.which) o.count = count;
    for (int64_t i = 0; i < o.count; i++) o.y[i] = (double)x[ref_at(&o, i)] + 1, o.bound[i] = 0;
}
