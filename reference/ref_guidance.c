/* ref_guidance.c -- classifier-free guidance (Ho & Salimans, arXiv 2207.12598), its rescaling (Lin et al., arXiv
 * 2305.08891, sec. 3.4), blending by a mask, and the step counter of a sampling loop. */
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

/* Sum of squared distances from the mean, and the relative error of its root in f32, two passes (ref_group_norm.c). */
static double squares_of(const float *x, int64_t n, double *err) {
    double mean = 0, magnitude = 0, squares = 0, N = (double)n;
    for (int64_t i = 0; i < n; i++) mean += x[i], magnitude += fabs(x[i]);
    mean /= N, magnitude /= N;
    for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    double off = 2 * sqrt(N) * REF_U * magnitude + REF_U * fabs(mean);
    *err = (2 * (sqrt(N) + 4) * REF_U + off * off * N / squares) / 2;
    return squares;
}

/* Bound: the two roots, their ratio, and four more roundings. The number of elements a deviation is over cancels. */
void ref_rescale(ref_out o, int64_t n, int64_t count, float phi, const float *e, const float *y0) {
    if (!o.which) o.count = n * count;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        if (!ref_opens_stretch(&o, i, count)) continue;
        const int64_t r = ref_at(&o, i) / count;
        double ec, eg, c = squares_of(e + (n + r) * count, count, &ec), g = squares_of(y0 + r * count, count, &eg);
        double part = phi * sqrt(c / g), rest = 1 - (double)phi, factor = part + rest;
        for (int64_t k = i, end = ref_stretch_end(&o, i, count); k < end; k++) {
            double v = y0[ref_at(&o, k)];
            ref_put(&o, k, v * factor,
                    fabs(v) * (fabs(part) * (ec + eg + 6 * REF_U) + REF_U * (fabs(rest) + 2 * fabs(factor))));
        }
    }
}

/* Bound: two products and a sum behind m, one product behind 1 - m, the last sum. */
void ref_blend(ref_out o, int64_t rows, int64_t c, const float *coef, const float *mask, const float *known,
               const float *noise, const float *x) {
    if (!o.which) o.count = rows * c;
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i);
        double m = (double)coef[2] * mask[at / c], a = (double)coef[0] * known[at], b = (double)coef[1] * noise[at];
        double y = m * (a + b) + (1 - m) * x[at];
        ref_put(&o, i, y,
                REF_U * (4 * fabs(m) * (fabs(a) + fabs(b)) + (2 * fabs(m) + 3 * fabs(1 - m)) * fabs(x[at]) + fabs(y)));
    }
}
