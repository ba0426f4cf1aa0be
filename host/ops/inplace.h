/* inplace.h -- products with weights as the checkpoint has them, on CPUs: the row gemm_inplace of gemm and, of 1x1
 * convolutions, of conv2d (internal to host/ops). */
#ifndef LDM_OPS_INPLACE_H
#define LDM_OPS_INPLACE_H

#include "ops/op.h"

/* y[m,n] = act((x[m,c], x2[m,c2]) w^T + bias + vec + residual); slots by number. */
enum { LDM_NO_SLOT = LDM_MAX_SLOTS }; /* where the op has none */
typedef struct ldm_inplace {
    int64_t m, per, n, c, c2; /* `per` rows to one of vec */
    int act, x, x2, w, bias, vec, residual, y;
} ldm_inplace;

extern const ldm_tunable ldm_inplace_product_tunables[];
bool ldm_inplace_product_legal(const ldm_inplace *q, const int *params, const ldm_device *d);
const char *ldm_inplace_product_supports(const ldm_problem *p, const ldm_inplace *q);
const char *ldm_inplace_product_prefers(const ldm_problem *p, const int *params, const ldm_device *d); /* as op.h */
ldm_status ldm_inplace_product_record(const ldm_problem *p, const ldm_inplace *q, const int *params, const ldm_device *d,
                                      ldm_recipe *r);

#endif
