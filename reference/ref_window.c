/* ref_window.c -- windows of a map: one cut out, and one blended into the whole as latent-diffusion blends them
 * (ddpm.py: delta_border, get_weighting with a least weight of 0.01 and no tie breaker; fold(weight x) / fold(weight)).
 */
#include "ref_common.h"

void ref_window(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, int64_t kh, int64_t kw, int64_t y0, int64_t x0,
                const float *x) {
    if (!o.which) o.count = n * kh * kw * c;
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), q = at / c % kw, p = at / c / kw % kh, b = at / c / kw / kh;
        ref_put_moved(&o, i, x[((b * h + y0 + p) * w + x0 + q) * c + at % c]);
    }
}

static double weight(int64_t p, int64_t q, int64_t kh, int64_t kw) {
    double down = (double)p / (double)(kh - 1), across = (double)q / (double)(kw - 1);
    return fmax(fmin(fmin(down, 1 - down), fmin(across, 1 - across)), 0.01);
}

/* Bound: a weight is one f32 division (2.5 ulp), so are their sum's terms, and their quotient one more; then a product
 * and a sum. */
void ref_place(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, int64_t kh, int64_t kw, int64_t y0, int64_t x0,
               int64_t stride, const float *x, const float *onto) {
    if (!o.which) o.count = n * h * w * c;
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), q = at / c % w, p = at / c / w % h, b = at / c / w / h, windows = 0;
        double sum = 0, had = onto ? onto[at] : 0;
        if (p < y0 || p >= y0 + kh || q < x0 || q >= x0 + kw) {
            ref_put_moved(&o, i, had);
            continue;
        }
        for (int64_t top = 0, more = 1; more; top += stride) {
            more = top < h - kh;
            int64_t a = p - (more ? top : h - kh);
            for (int64_t left = 0, further = 1; further; left += stride) {
                further = left < w - kw;
                int64_t d = q - (further ? left : w - kw);
                if (a >= 0 && a < kh && d >= 0 && d < kw) sum += weight(a, d, kh, kw), windows++;
            }
        }
        double share = weight(p - y0, q - x0, kh, kw) / sum,
               added = share * x[((b * kh + p - y0) * kw + q - x0) * c + at % c];
        ref_put(&o, i, had + added, REF_U * ((16 + (double)windows) * fabs(added) + fabs(had + added)));
    }
}
