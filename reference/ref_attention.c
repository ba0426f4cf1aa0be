/* ref_attention.c -- torch.nn.functional.scaled_dot_product_attention for every head:
 *   s_j = scale q_i . k_j;  p = softmax(s) over the visible keys (causal: j <= i + nkv - nq);  y = sum_j p_j v_j
 * A query that sees no key gives 0.
 * Bound: score j is off by at most
 *   delta_j = 2 sqrt(d) u scale sum |q k_j| + 4u |s_j| + u |s_j - m| + u |m|,   m = max s
 * which moves y by sum_j p_j |v_j - y| delta_j; exponentials, their sum and the weighted sum over T keys add
 * (2 sqrt(T) + 8) u sum_j p_j |v_j|. An exp below the smallest normal number may come out as 0, or be held at that
 * number: 2^-125 sum_j |v_j|. */
#include "ref_common.h"
#include <stdlib.h>

typedef struct key_weight {
    double p, delta;
} key_weight;

/* Fills keys[0 .. visible) for one query of one head. */
static void weigh_keys(const ref_attention_dims *d, const float *q, const float *k, int64_t visible, key_weight *keys) {
    double m = -INFINITY, sum = 0;
    for (int64_t j = 0; j < visible; j++) {
        double s = 0, mag = 0;
        for (int64_t e = 0; e < d->d; e++) {
            double product = (double)q[e] * k[j * d->k_row + e];
            s += product;
            mag += fabs(product);
        }
        keys[j].p = d->scale * s; /* the score for now */
        keys[j].delta = 2 * sqrt((double)d->d) * REF_U * fabs(d->scale) * mag;
        m = fmax(m, keys[j].p);
    }
    for (int64_t j = 0; j < visible; j++) {
        double s = keys[j].p;
        keys[j].delta += REF_U * (4 * fabs(s) + fabs(s - m) + fabs(m));
        keys[j].p = exp(s - m);
        sum += keys[j].p;
    }
    for (int64_t j = 0; j < visible; j++) keys[j].p /= sum;
}

void ref_attention(ref_out o, const ref_attention_dims *d, const float *q, const float *k, const float *v) {
    if (!o.which) o.count = d->n * d->nq * d->heads * d->d;
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t first = 0; first < o.count; first++) {
        if (!ref_opens_stretch(&o, first, d->d)) continue;
        int64_t at = ref_at(&o, first) / d->d, h = at % d->heads, i = at / d->heads % d->nq, n = at / d->heads / d->nq;
        int64_t visible = d->causal ? i + d->nkv - d->nq + 1 : d->nkv;
        visible = visible < 0 ? 0 : visible > d->nkv ? d->nkv : visible;
        key_weight *keys = malloc((size_t)(visible + 1) * sizeof *keys);
        if (!keys) abort();
        const float *vh = v + n * d->nkv * d->v_row + d->v_off + h * d->v_head;
        weigh_keys(d, q + (n * d->nq + i) * d->q_row + d->q_off + h * d->q_head,
                   k + n * d->nkv * d->k_row + d->k_off + h * d->k_head, visible, keys);
        for (int64_t out = first, end = ref_stretch_end(&o, first, d->d); out < end; out++) {
            int64_t e = ref_at(&o, out) % d->d;
            double y = 0, weighted = 0, total = 0, moved = 0;
            for (int64_t j = 0; j < visible; j++) {
                double ve = vh[j * d->v_row + e];
                y += keys[j].p * ve;
                weighted += keys[j].p * fabs(ve);
                total += fabs(ve);
            }
            for (int64_t j = 0; j < visible; j++) moved += keys[j].p * fabs(vh[j * d->v_row + e] - y) * keys[j].delta;
            ref_put(&o, out, y, moved + (2 * sqrt((double)visible) + 8) * REF_U * weighted + 0x1p-125 * total);
        }
        free(keys);
    }
}
