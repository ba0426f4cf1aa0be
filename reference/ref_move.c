/* ref_move.c -- ops that move numbers and hardly change them: concat, upsample, pooling, embedding, casts, pixels.
 * What is only moved must arrive bit for bit: its bound is 0 around the value rounded to the stored type. */
#include "ref_common.h"

/* v to nearest even with `digits` binary digits, exponents from `lowest` (the first denormal's) up; too large:
 * infinity. */
static double round_to_digits(double v, int digits, int lowest, double largest) {
    if (v == 0 || !isfinite(v)) return v;
    int e;
    frexp(v, &e); /* |v| in [2^(e-1), 2^e) */
    int step = e - digits > lowest ? e - digits : lowest;
    double r = ldexp(nearbyint(ldexp(v, -step)), step);
    return fabs(r) > largest ? copysign(INFINITY, v) : r;
}

static double stored(const ref_out *o, double v) {
    if (o->u_out == 0x1p-11) return round_to_digits(v, 11, -24, 65504);     /* f16 */
    if (o->u_out == 0x1p-8) return round_to_digits(v, 8, -133, 0x1.fep127); /* bf16 */
    return o->u_out == 0x1p-24 ? (double)(float)v : v;
}

void ref_put_moved(ref_out *o, int64_t i, double v) { o->y[i] = stored(o, v), o->bound[i] = 0; }

/* torch.cat on the last axis of [rows, ca] and [rows, cb]. */
void ref_concat(ref_out o, int64_t rows, int64_t ca, int64_t cb, const float *a, const float *b) {
    if (!o.which) o.count = rows * (ca + cb);
    for (int64_t i = 0; i < o.count; i++) {
        int64_t row = ref_at(&o, i) / (ca + cb), c = ref_at(&o, i) % (ca + cb);
        ref_put_moved(&o, i, c < ca ? a[row * ca + c] : b[row * cb + c - ca]);
    }
}

/* torch.nn.functional.interpolate(scale_factor=2, mode="nearest"): y[n,p,q,:] = x[n,p/2,q/2,:]. */
void ref_upsample(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, const float *x) {
    if (!o.which) o.count = n * 2 * h * 2 * w * c;
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), q = at / c % (2 * w), p = at / c / (2 * w) % (2 * h),
                b = at / c / (2 * w) / (2 * h);
        ref_put_moved(&o, i, x[((b * h + p / 2) * w + q / 2) * c + at % c]);
    }
}

/* torch.nn.functional.avg_pool2d(2): the mean of four pixels; an odd last row or column is left out. Bound: the sum's.
 */
void ref_avg_pool(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, const float *x) {
    int64_t P = h / 2, Q = w / 2;
    if (!o.which) o.count = n * P * Q * c;
    for (int64_t i = 0; i < o.count; i++) {
        int64_t at = ref_at(&o, i), q = at / c % Q, p = at / c / Q % P, b = at / c / Q / P;
        double sum = 0, mag = 0;
        for (int64_t r = 0; r < 2; r++)
            for (int64_t s = 0; s < 2; s++) {
                double v = x[((b * h + 2 * p + r) * w + 2 * q + s) * c + at % c];
                sum += v, mag += fabs(v);
            }
        ref_put(&o, i, sum / 4, ref_sum_error(4, mag / 4));
    }
}

/* torch.nn.functional.embedding: y[r,:] = table[ids[r],:]. */
void ref_embedding(ref_out o, int64_t rows, int64_t entries, int64_t c, const float *ids, const float *table) {
    if (!o.which) o.count = rows * c;
    for (int64_t i = 0; i < o.count; i++) {
        int64_t id = (int64_t)ids[ref_at(&o, i) / c];
        ref_put_moved(&o, i, id >= 0 && id < entries ? table[id * c + ref_at(&o, i) % c] : NAN);
    }
}

void ref_cast(ref_out o, int64_t count, const float *x) {
    if (!o.which) o.count = count;
    for (int64_t i = 0; i < o.count; i++) ref_put_moved(&o, i, x[ref_at(&o, i)]);
}

/* x = v mul + add. Bound: a sum of two. */
void ref_image_to_float(ref_out o, int64_t count, double mul, double add, const float *v) {
    if (!o.which) o.count = count;
    for (int64_t i = 0; i < o.count; i++) {
        double product = mul * v[ref_at(&o, i)];
        ref_put(&o, i, product + add, ref_sum_error(2, fabs(product) + fabs(add)));
    }
}

/* v = trunc or round of clamp(x mul + add, 0, 255). Bound: 0, but 1 where the value before rounding lies within its own
 * bound (a sum of two) of the place where the pixel changes. */
void ref_float_to_image(ref_out o, int64_t count, double mul, double add, bool round, const float *x) {
    if (!o.which) o.count = count;
    for (int64_t i = 0; i < o.count; i++) {
        double product = mul * x[ref_at(&o, i)], err = ref_sum_error(2, fabs(product) + fabs(add));
        double v = product + add + (round ? 0.5 : 0), threshold = nearbyint(v);
        o.y[i] = fmin(fmax(floor(v), 0), 255);
        o.bound[i] = threshold >= 1 && threshold <= 255 && fabs(v - threshold) <= err ? 1 : 0;
    }
}
