/* product.h -- products of rows with weights, as linear layers (gemm) and 1x1 convolutions (conv2d) have them, and the rows for
 * CPUs that both ops run them by (internal to host/ops). */
#ifndef LDM_OPS_PRODUCT_H
#define LDM_OPS_PRODUCT_H

#include "ops/op.h"

/* y[m,n] = act((x[m,c], x2[m,c2]) w^T + bias + vec + residual), or with `gated` y[m,n/2] the first half of the columns times gelu of
 * the second; slots by number. */
enum { LDM_NO_SLOT = LDM_MAX_SLOTS }; /* where the op has none */
typedef struct ldm_product {
    int64_t m, per, n, c, c2; /* `per` rows to one of vec */
    int act, x, x2, w, bias, vec, residual, y;
    bool kn, gated;           /* w is [c,n], not [n,c] */
} ldm_product;

/* What p is as a product; false where it is none (other filters, a w for each of the batch). */
bool ldm_product_of(const ldm_problem *p, ldm_product *out);
bool ldm_gemm_product(const ldm_problem *p, ldm_product *out);   /* gemm.c */
bool ldm_conv2d_product(const ldm_problem *p, ldm_product *out); /* conv2d.c */

/* gemm_inplace, conv2d_inplace: weights as the checkpoint has them (inplace.c). */
extern const ldm_tunable ldm_inplace_tunables[];
const char *ldm_inplace_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_inplace_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_inplace_legal(const ldm_problem *p, const int *params, const ldm_device *d);
ldm_status ldm_inplace_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);

/* gemm_strassen, conv2d_strassen: one level of Strassen's algorithm (strassen.c). */
extern const ldm_tunable ldm_strassen_tunables[];
enum { LDM_STRASSEN_SAME_BOUND = 4 | 8 }; /* the bits of BLOCK and GROUP */
const char *ldm_strassen_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_strassen_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_strassen_legal(const ldm_problem *p, const int *params, const ldm_device *d);
size_t ldm_strassen_scratch(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_strassen_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out);
ldm_status ldm_strassen_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
ldm_grain ldm_strassen_grain(const ldm_problem *p, const int *params, const ldm_device *d);
void ldm_strassen_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which, double *y,
                            double *bound);
ldm_cost ldm_strassen_cost(const ldm_problem *p, const int *params, const ldm_device *d);

#endif
