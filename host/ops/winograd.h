/* winograd.h -- 3x3 convolution by Winograd's F(4x4,3x3) and F(2x2,3x3): a row of conv2d (internal to host/ops). The
 * functions of a row are the contract's (op.h). */
#ifndef LDM_OPS_WINOGRAD_H
#define LDM_OPS_WINOGRAD_H

#include "ops/op.h"

extern const ldm_tunable ldm_winograd_tunables[];
const char *ldm_winograd_supports(const ldm_problem *p, const ldm_device *d);
const char *ldm_winograd_prefers(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_legal(const ldm_problem *p, const int *params, const ldm_device *d);
size_t ldm_winograd_scratch(const ldm_problem *p, const int *params, const ldm_device *d);
bool ldm_winograd_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *k);
ldm_status ldm_winograd_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
void ldm_winograd_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which,
                            double *y, double *b);
ldm_cost ldm_winograd_cost(const ldm_problem *p, const int *params, const ldm_device *d);

#endif
