/* clblast.h -- CLBlast as an implementation: the launches that gemm_clblast and conv2d_clblast are made of. The call itself
 * is in host/cl/library.c, what stands around it in kernels/library.cl. */
#ifndef LDM_OPS_CLBLAST_H
#define LDM_OPS_CLBLAST_H

#include "ops/op.h"

/* One product, row-major f32: c[i] = a[i] b[i]^T (b [n,k]), or a[i] b[i] if kn (b [k,n]); i < batch, operands apart by their
 * sizes, b only with b_batch. Slots: LDM_SLOT_SCRATCH means the scratch buffer. */
typedef struct ldm_clblast_gemm {
    int a, b, c;
    int64_t m, n, k, batch;
    bool kn, b_batch;
} ldm_clblast_gemm;
void ldm_clblast_product(const ldm_clblast_gemm *g, ldm_recipe *r);

/* y = act(y + bias + vec + residual) in place; slots of absent operands may stay in the list, their buffers are NULL. vec
 * LDM_MAX_SLOTS where the op has none. Nothing is recorded when `needed` is false. */
void ldm_clblast_epilogue(bool needed, int y, int bias, int vec, int residual, int64_t rows, int64_t n, int64_t area, int64_t act,
                          ldm_recipe *r);

/* Why the library cannot take m x n x k products of these types, or NULL. */
const char *ldm_clblast_supports(const ldm_problem *p, int64_t m, int64_t n, int64_t k);

#endif
