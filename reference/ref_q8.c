/* ref_q8.c -- a block of weights as q8_0: one scale, max|w| / 127 rounded to f16, and w / scale rounded to a whole number, both
 * to nearest even. Worked in double: an f16 of exponent e >= -14 is a multiple of 2^(e-10), below that of 2^-24.
 *
 * Error: rounding w / scale leaves at most scale / 2, unless the number would lie beyond 127. A scale rounded down by the
 * relative 2^-11 of a normal f16 leaves |w| / scale <= 127.07, which rounds to 127: nothing more. A denormal one may be
 * 2^-25 too small in all, so 127 of them fall short of max|w| by up to 127 * 2^-25. */
#include "reference/reference.h"
#include <math.h>

void ref_q8(const float *w, double *value, double *bound) {
    enum { COUNT = 32, MOST = 127 };
    double most = 0, scale = 0;
    for (int i = 0; i < COUNT; i++) most = fmax(most, fabs(w[i]));
    if (most > 0) {
        const int e = ilogb(most / MOST);
        const double unit = ldexp(1, (e < -14 ? -14 : e) - 10);
        scale = rint(most / MOST / unit) * unit;
    }
    *bound = scale / 2 + (most / MOST < 0x1p-14 ? MOST * 0x1p-25 : 0);
    for (int i = 0; i < COUNT; i++) {
        double number = scale > 0 ? rint(w[i] / scale) : 0;
        value[i] = scale * fmin(fmax(number, -MOST), MOST);
    }
}
