/* ref_conv2d.c -- convolution of NHWC maps with an OIHW weight, torch.nn.functional.conv2d:
 *   X = concat(x, x2) on channels, every pixel repeated up x up times, zero outside
 *   z[n,p,q,k] = bias[k] + vec[n,k] + residual[n,p,q,k]
 *              + sum_{r,s,c} w[k,c,r,s] X[n, p stride + r - pt, q stride + s - pl, c]
 *   y = act(z)
 * Bound: 2 sqrt(K) u (sum |w X| + |bias| + |vec| + |residual|) with K = the products whose pixel lies inside the image
 * plus the addends, then through act. */
#include "ref_common.h"
#include <stdlib.h>

/* *sum += a.b, *mag += |a|.|b| */
static void dot(const float *a, const float *b, int64_t count, double *sum, double *mag) {
    double t = 0, m = 0;
    for (int64_t i = 0; i < count; i++) {
        double product = (double)a[i] * b[i];
        t += product;
        m += fabs(product);
    }
    *sum += t, *mag += m;
}

void ref_conv2d(ref_out o, const ref_conv2d_dims *d, const float *x, const float *x2, const float *w, const float *bias,
                const float *vec, const float *residual) {
    int64_t H = d->h * d->up, W = d->w * d->up, ct = d->c + d->c2; /* the map the window moves over */
    int64_t P = (H + d->pt + d->pb - d->r) / d->stride + 1, Q = (W + d->pl + d->pr - d->s) / d->stride + 1;
    if (!o.which) o.count = d->n * P * Q * d->k;
    /* the weight as [k][r][s][c], so that the innermost sum walks both operands in order */
    float *wt = malloc((size_t)(d->k * d->r * d->s * ct) * sizeof *wt);
    if (!wt) abort();
    for (int64_t k = 0; k < d->k; k++)
        for (int64_t c = 0; c < ct; c++)
            for (int64_t rs = 0; rs < d->r * d->s; rs++)
                wt[(k * d->r * d->s + rs) * ct + c] = w[(k * ct + c) * d->r * d->s + rs];
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), k = at % d->k, q = at / d->k % Q, p = at / d->k / Q % P, n = at / d->k / Q / P;
        double sum = 0, mag = 0, terms = 0, y, err;
        for (int64_t r = 0; r < d->r; r++) {
            for (int64_t s = 0; s < d->s; s++) {
                int64_t row = p * d->stride + r - d->pt, col = q * d->stride + s - d->pl;
                if (row < 0 || row >= H || col < 0 || col >= W) continue;
                int64_t pixel = (n * d->h + row / d->up) * d->w + col / d->up;
                const float *wk = wt + ((k * d->r + r) * d->s + s) * ct;
                dot(x + pixel * d->c, wk, d->c, &sum, &mag);
                if (x2) dot(x2 + pixel * d->c2, wk + d->c, d->c2, &sum, &mag);
                terms += (double)ct;
            }
        }
        if (bias) sum += bias[k], mag += fabs(bias[k]), terms++;
        if (vec) sum += vec[n * d->k + k], mag += fabs(vec[n * d->k + k]), terms++;
        if (residual) sum += residual[at], mag += fabs(residual[at]), terms++;
        ref_act_value(d->act, sum, ref_sum_error(terms, mag), &y, &err);
        ref_put(&o, i, y, err);
    }
    free(wt);
}
