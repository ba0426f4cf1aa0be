/* ref_gemm.c -- matrix product with epilogue, torch.nn.functional.linear (w [n,k]) and torch.bmm (wkn, wbatch):
 *   y[b,m,n] = act(bias[n] + vec[b,n] + residual[b,m,n] + sum_k x[b,m,k] W[n,k])
 * or with geglu (ldm/modules/attention.py: GEGLU), v the first half of those columns, g the second: y = v gelu(g).
 * Bound: 2 sqrt(K) u (sum |x W| + |bias| + |vec| + |residual|), K the products plus the addends, then through act; of a
 * product of two sums each one's error times the other. */
#include "ref_common.h"

/* Column n of row m of batch element b before its activation, and how far it may be off. */
static double column(const ref_gemm_dims *d, const float *x, const float *w, const float *bias, const float *vec,
                     const float *residual, int64_t b, int64_t m, int64_t n, double *err) {
    int64_t N = d->n, K = d->k, row = b * d->m + m;
    int64_t k_step = d->wkn ? N : 1, n_step = d->wkn ? 1 : K; /* W[n,k] lies at w[n n_step + k k_step] */
    const float *wn = w + (d->wbatch ? b * N * K : 0) + n * n_step;
    double sum = 0, mag = 0, terms = (double)K;
    for (int64_t k = 0; k < K; k++) {
        double product = (double)x[row * K + k] * wn[k * k_step];
        sum += product;
        mag += fabs(product);
    }
    if (bias) sum += bias[n], mag += fabs(bias[n]), terms++;
    if (vec) sum += vec[b * N + n], mag += fabs(vec[b * N + n]), terms++;
    if (residual) sum += residual[row * N + n], mag += fabs(residual[row * N + n]), terms++;
    *err = ref_sum_error(terms, mag);
    return sum;
}

void ref_gemm(ref_out o, const ref_gemm_dims *d, const float *x, const float *w, const float *bias, const float *vec,
              const float *residual) {
    int64_t columns = d->geglu ? d->n / 2 : d->n;
    if (!o.which) o.count = d->batch * d->m * columns;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), n = at % columns, m = at / columns % d->m, b = at / columns / d->m;
        double y, err, gate, gate_err, value_err;
        double value = column(d, x, w, bias, vec, residual, b, m, n, &value_err);
        if (!d->geglu) {
            ref_act_value(d->act, value, value_err, &y, &err);
            ref_put(&o, i, y, err);
            continue;
        }
        gate = column(d, x, w, bias, NULL, NULL, b, m, columns + n, &gate_err);
        ref_act_value(REF_GELU, gate, gate_err, &gate, &gate_err);
        y = value * gate;
        ref_put(&o, i, y, value_err * fabs(gate) + (fabs(value) + value_err) * gate_err + REF_U * fabs(y));
    }
}
