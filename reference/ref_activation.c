/* ref_activation.c -- element-wise functions, alone and behind a sum, and GEGLU.
 *
 * Bound: an argument that is off by e moves f by at most e max|f'| <= e (|f'(z)| + e max|f''|). To that comes the error
 * of an f32 f itself, from the ulp limits of the OpenCL full profile (exp 3, division 2.5, erf 16, tanh 5; an ulp is at
 * most 2u of the value):
 *   silu        8 ulp = 16u |f|; where exp(-z) overflows f32 (z < -88.7) a kernel may give 0: 89 exp(-88.7) < 2^-121
 *   quick_gelu  the same, and the rounded 1.702 z moves the exponent by 2u |1.702 z|
 *   gelu        20u |z|: erf near -1 cancels against the 1, so the error is absolute
 *   tanh3       6u |z f'(z)| for z/3, 12u |f| for tanh and the product
 *   relu, clamp exact */
#include "ref_common.h"

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }
static double gelu(double z) { return 0.5 * z * (1 + erf(z / sqrt(2.0))); }
static double swish_floor(double z) { return z < -87 ? 0x1p-121 : 0; }

void ref_act_value(ref_act f, double z, double e, double *y, double *err) {
    const double c = 1.702, pi = 3.14159265358979323846;
    double s, slope;
    switch (f) {
    case REF_RELU:
        *y = z > 0 ? z : 0;
        *err = z + e > 0 ? e : 0;
        return;
    case REF_SILU: /* z sigmoid(z); |f''| <= 1/2 */
        s = sigmoid(z);
        slope = s * (1 + z * (1 - s));
        *y = z * s;
        *err = e * (fabs(slope) + 0.5 * e) + 16 * REF_U * fabs(*y) + swish_floor(z);
        return;
    case REF_QUICK_GELU: /* z sigmoid(1.702 z); |f''| <= 1.702/2 */
        s = sigmoid(c * z);
        slope = s * (1 + c * z * (1 - s));
        *y = z * s;
        *err = e * (fabs(slope) + c / 2 * e) + 16 * REF_U * fabs(*y) + 2 * REF_U * fabs(z * c * z * s * (1 - s)) +
               swish_floor(c * z);
        return;
    case REF_GELU: /* z Phi(z); |f''| <= 2 phi(0) < 0.8 */
        slope = 0.5 * (1 + erf(z / sqrt(2.0))) + z * exp(-z * z / 2) / sqrt(2 * pi);
        *y = gelu(z);
        *err = e * (fabs(slope) + 0.8 * e) + 20 * REF_U * fabs(z);
        return;
    default:
        *y = z;
        *err = e;
    }
}

void ref_activation(ref_out o, int64_t count, ref_fn f, const float *x) {
    if (!o.which) o.count = count;
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        double v = x[ref_at(&o, i)], y, err, t;
        switch (f) {
        case REF_FN_RELU:
            ref_put_moved(&o, i, v > 0 ? v : 0);
            break;
        case REF_FN_CLAMP01:
            ref_put_moved(&o, i, v < 0 ? 0 : v > 1 ? 1 : v);
            break;
        case REF_FN_CLAMP11:
            ref_put_moved(&o, i, v < -1 ? -1 : v > 1 ? 1 : v);
            break;
        case REF_FN_TANH3:
            t = tanh(v / 3);
            ref_put(&o, i, 3 * t, 6 * REF_U * fabs(v * (1 - t * t)) + 12 * REF_U * fabs(3 * t));
            break;
        default:
            ref_act_value(f == REF_FN_SILU ? REF_SILU : f == REF_FN_GELU ? REF_GELU : REF_QUICK_GELU, v, 0, &y, &err);
            ref_put(&o, i, y, err);
        }
    }
}

/* y[r,j] = x[r,j] gelu(x[r,c+j]): the error of gelu times the value half, and one product. */
void ref_geglu(ref_out o, int64_t rows, int64_t c, const float *x) {
    if (!o.which) o.count = rows * c;
#pragma omp parallel for
    for (int64_t i = 0; i < o.count; i++) {
        int64_t r = ref_at(&o, i) / c, j = ref_at(&o, i) % c;
        double value = x[r * 2 * c + j], gate = x[r * 2 * c + c + j], y = value * gelu(gate);
        ref_put(&o, i, y, fabs(value) * 20 * REF_U * fabs(gate) + REF_U * fabs(y));
    }
}
