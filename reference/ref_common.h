/* ref_common.h -- the few things every reference function needs: which output comes next, the stored value's own
 * rounding, and an activation behind a sum. Private to reference/. */
#ifndef LDM_REF_COMMON_H
#define LDM_REF_COMMON_H

#include "reference/reference.h"
#include <math.h>
#include <stddef.h>

static const double REF_U = 0x1p-24; /* unit round-off of the f32 every kernel computes in */

/* Flat output index of the i-th wanted element. */
static inline int64_t ref_at(const ref_out *o, int64_t i) { return o->which ? o->which[i] : i; }

/* Rows of `length` outputs share work (a mean, a sum of exponentials). True where wanted element i opens a stretch of
 * one row; the stretch ends at ref_stretch_end. */
static inline bool ref_opens_stretch(const ref_out *o, int64_t i, int64_t length) {
    return i == 0 || ref_at(o, i - 1) / length != ref_at(o, i) / length;
}
static inline int64_t ref_stretch_end(const ref_out *o, int64_t i, int64_t length) {
    int64_t row = ref_at(o, i) / length;
    while (i < o->count && ref_at(o, i) / length == row) i++;
    return i;
}

/* Element i is y up to `err` before it is stored: storing adds half an ulp of what is stored. */
static inline void ref_put(ref_out *o, int64_t i, double y, double err) {
    o->y[i] = y;
    o->bound[i] = o->u_out * fabs(y) * (1 + 2 * REF_U) + err * (1 + o->u_out) + o->tiny;
}

/* Element i is a moved value: rounded to the stored type, to nearest even, and nothing else may happen to it. */
void ref_put_moved(ref_out *o, int64_t i, double v);

/* The error of a sum of `terms` numbers of total magnitude `mag` accumulated in f32 in any order (reference.h). */
static inline double ref_sum_error(double terms, double mag) { return 2 * sqrt(terms) * REF_U * mag; }

/* *y = f(z) and *err = the error of an f32 f whose argument is off by at most e. */
void ref_act_value(ref_act f, double z, double e, double *y, double *err);

#endif
