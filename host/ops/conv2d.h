/* conv2d.h -- the numbers of a conv2d problem, for the files its rows are in (internal to host/ops). */
#ifndef LDM_OPS_CONV2D_H
#define LDM_OPS_CONV2D_H

#include "ops/op.h"
#include "reference/reference.h"

/* in the order of the op's dims, flags and slots */
enum { N, C, H, W, K, R, S, STRIDE, UP, C2, PT, PB, PL, PR, ACT, DIMS };
enum { BIAS = 1, VEC = 2, RESIDUAL = 4 };
enum { SLOT_X, SLOT_X2, SLOT_W, SLOT_BIAS, SLOT_VEC, SLOT_RESIDUAL, SLOT_Y };

static inline int64_t out_h(const ldm_problem *p) {
    return (p->dim[H] * p->dim[UP] + p->dim[PT] + p->dim[PB] - p->dim[R]) / p->dim[STRIDE] + 1;
}
static inline int64_t out_w(const ldm_problem *p) {
    return (p->dim[W] * p->dim[UP] + p->dim[PL] + p->dim[PR] - p->dim[S]) / p->dim[STRIDE] + 1;
}

static inline ref_conv2d_dims ref_dims(const ldm_problem *p) {
    const int64_t *d = p->dim;
    return (ref_conv2d_dims){d[N],      d[C],  d[C2], d[H],  d[W],  d[K],  d[R],           d[S],
                             d[STRIDE], d[UP], d[PT], d[PB], d[PL], d[PR], (ref_act)d[ACT]};
}

#endif
