/* winograd.h -- 3x3 convolution by Winograd's F(4x4,3x3) and F(2x2,3x3): two rows of conv2d (internal to host/ops). The
 * functions of a row are the contract's (op.h). */
#ifndef LDM_OPS_WINOGRAD_H
#define LDM_OPS_WINOGRAD_H

#include "ops/op.h"

#define LDM_WINOGRAD_FUNCTIONS(out)                                                                                    \
    const char *ldm_winograd##out##_supports(const ldm_problem *p, const ldm_device *d);                               \
    const char *ldm_winograd##out##_prefers(const ldm_problem *p, const ldm_device *d);                                \
    size_t ldm_winograd##out##_scratch(const ldm_problem *p, const int *params, const ldm_device *d);                  \
    bool ldm_winograd##out##_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *k);                  \
    ldm_status ldm_winograd##out##_record(const ldm_problem *p, const int *params, const ldm_device *d,                \
                                          ldm_recipe *r);                                                              \
    void ldm_winograd##out##_reference(const ldm_problem *p, const float *const *in, const ldm_sample *which,          \
                                       double *y, double *b);
LDM_WINOGRAD_FUNCTIONS(4)
LDM_WINOGRAD_FUNCTIONS(2)

#define LDM_WINOGRAD_ROW(out, does)                                                                                    \
    {                                                                                                                  \
        .name = "conv2d_winograd" #out, .idea = does, .family = LDM_CPU, .supports = ldm_winograd##out##_supports,     \
        .prefers = ldm_winograd##out##_prefers, .scratch = ldm_winograd##out##_scratch,                                \
        .pack = ldm_winograd##out##_pack, .record = ldm_winograd##out##_record,                                        \
        .reference = ldm_winograd##out##_reference                                                                     \
    }

#endif
