/* ref_gemm.c -- matrix product with epilogue, torch.nn.functional.linear (w [n,k]) and torch.bmm (wkn, wbatch):
 *   y[b,m,n] = act(bias[n] + vec[b,n] + residual[b,m,n] + sum_k x[b,m,k] W[n,k])
 * Bound: 2 sqrt(K) u (sum |x W| + |bias| + |vec| + |residual|), K the products plus the addends, then through act. */
#include "ref_common.h"

void ref_gemm(ref_out o, const ref_gemm_dims *d, const float *x, const float *w, const float *bias, const float *vec,
              const float *residual) {
    int64_t N = d->n, K = d->k;
    int64_t step = d->wkn ? N : 1, column = d->wkn ? 1 : K; /* W[n,k] lies at w[n column + k step] */
    if (!o.which) o.count = d->batch * d->m * N;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), n = at % N, m = at / N % d->m, b = at / N / d->m;
        const float *xr = x + (b * d->m + m) * K, *wr = w + (d->wbatch ? b * N * K : 0) + n * column;
        double sum = 0, mag = 0, terms = (double)K, y, err;
        for (int64_t k = 0; k < K; k++) {
            double product = (double)xr[k] * wr[k * step];
            sum += product;
            mag += fabs(product);
        }
        if (bias) sum += bias[n], mag += fabs(bias[n]), terms++;
        if (vec) sum += vec[b * N + n], mag += fabs(vec[b * N + n]), terms++;
        if (residual) sum += residual[at], mag += fabs(residual[at]), terms++;
        ref_act_value(d->act, sum, ref_sum_error(terms, mag), &y, &err);
        ref_put(&o, i, y, err);
    }
}
