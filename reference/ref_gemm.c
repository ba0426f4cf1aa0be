/* ref_gemm.c -- matrix product with epilogue, torch.nn.functional.linear (w [n,k]) and torch.bmm (wkn, wbatch):
 *   y[b,m,n] = act(bias[n] + vec[b,n] + residual[b,m,n] + sum_k x[b,m,k] W[n,k])
 * or with geglu (ldm/modules/attention.py: GEGLU), v the first half of those columns, g the second: y = v gelu(g).
 * Bound: 2 sqrt(K) u (sum |x W| + |bias| + |vec| + |residual|), K the products plus the addends, then through act; of a
 * product of two sums each one's error times the other. Strassen's algorithm sums other products, whose magnitude takes that of
 * sum |x W|'s place, K/2 of each. */
#include "ref_common.h"

/* Strassen's algorithm (Numer. Math. 13, 1969), one level: the magnitude of what is summed for column n of row r. Rows pair with
 * the one `rows` further in each block of 2 rows, the last again where there is none, columns likewise with the one `columns`
 * further, zeros where there is none, products with the one K/2 further: blocks a11 a12 a21 a22 and b11 b12 b21 b22. Gates pair
 * with gates. */
static double strassen_reach(const ref_gemm_dims *d, const ref_strassen *s, const float *x, const float *w, int64_t r, int64_t n) {
    const int64_t H = d->k / 2, all = d->batch * d->m, many = d->geglu ? d->n / 2 : d->n, gate = n / many * many;
    const int64_t top = r - r % (2 * s->rows) + r % s->rows, left = (n - gate) / (2 * s->columns) * 2 * s->columns + n % many % s->columns;
    const int64_t row[] = {top, top + s->rows < all ? top + s->rows : all - 1}, column[] = {left, left + s->columns};
    const int64_t k_step = d->wkn ? d->n : 1, n_step = d->wkn ? 1 : d->k;
    const bool lower = r != top, right = n - gate != left;
    double mag = 0;
    for (int64_t k = 0; k < H; k++) {
        double a[2][2], b[2][2];
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) {
                a[i][j] = x[row[i] * d->k + j * H + k];
                b[i][j] = column[j] < many ? w[(gate + column[j]) * n_step + (i * H + k) * k_step] : 0;
            }
        const double m1 = fabs((a[0][0] + a[1][1]) * (b[0][0] + b[1][1])), m2 = fabs((a[1][0] + a[1][1]) * b[0][0]);
        const double m3 = fabs(a[0][0] * (b[0][1] - b[1][1])), m4 = fabs(a[1][1] * (b[1][0] - b[0][0]));
        const double m5 = fabs((a[0][0] + a[0][1]) * b[1][1]), m6 = fabs((a[1][0] - a[0][0]) * (b[0][0] + b[0][1]));
        const double m7 = fabs((a[0][1] - a[1][1]) * (b[1][0] + b[1][1]));
        mag += lower ? right ? m1 + m2 + m3 + m6 : m2 + m4 : right ? m3 + m5 : m1 + m4 + m5 + m7;
    }
    return mag;
}

/* Column n of row m of batch element b before its activation, and how far it may be off. */
static double column(const ref_gemm_dims *d, const ref_strassen *s, const float *x, const float *w, const float *bias,
                     const float *vec, const float *residual, int64_t b, int64_t m, int64_t n, double *err) {
    int64_t N = d->n, K = d->k, row = b * d->m + m;
    int64_t k_step = d->wkn ? N : 1, n_step = d->wkn ? 1 : K; /* W[n,k] lies at w[n n_step + k k_step] */
    const float *wn = w + (d->wbatch ? b * N * K : 0) + n * n_step;
    double sum = 0, mag = 0, terms = (double)K;
    for (int64_t k = 0; k < K; k++) {
        double product = (double)x[row * K + k] * wn[k * k_step];
        sum += product;
        mag += fabs(product);
    }
    if (s) mag = strassen_reach(d, s, x, w, row, n), terms = (double)(K / 2 + 6); /* 4 sums of products, 2 rounded factors */
    if (bias) sum += bias[n], mag += fabs(bias[n]), terms++;
    if (vec) sum += vec[b * N + n], mag += fabs(vec[b * N + n]), terms++;
    if (residual) sum += residual[row * N + n], mag += fabs(residual[row * N + n]), terms++;
    *err = ref_sum_error(terms, mag);
    return sum;
}

void ref_gemm_strassen(ref_out o, const ref_gemm_dims *d, const ref_strassen *s, const float *x, const float *w, const float *bias,
                       const float *vec, const float *residual) {
    int64_t columns = d->geglu ? d->n / 2 : d->n;
    if (!o.which) o.count = d->batch * d->m * columns;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), n = at % columns, m = at / columns % d->m, b = at / columns / d->m;
        double y, err, gate, gate_err, value_err;
        double value = column(d, s, x, w, bias, vec, residual, b, m, n, &value_err);
        if (!d->geglu) {
            ref_act_value(d->act, value, value_err, &y, &err);
            ref_put(&o, i, y, err);
            continue;
        }
        gate = column(d, s, x, w, bias, NULL, NULL, b, m, columns + n, &gate_err);
        ref_act_value(REF_GELU, gate, gate_err, &gate, &gate_err);
        y = value * gate;
        ref_put(&o, i, y, value_err * fabs(gate) + (fabs(value) + value_err) * gate_err + REF_U * fabs(y));
    }
}

void ref_gemm(ref_out o, const ref_gemm_dims *d, const float *x, const float *w, const float *bias, const float *vec,
              const float *residual) {
    ref_gemm_strassen(o, d, NULL, x, w, bias, vec, residual);
}
