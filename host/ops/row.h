/* row.h -- small things the rows of norms, attention, element-wise ops and moves share (internal to host/ops). */
#ifndef LDM_ROW_H
#define LDM_ROW_H

#include "ops/op.h"
#include "reference/reference.h"

/* Storage is f32 or f16, and the first `sizes` dims of the op are 1 to 2^30. */
ldm_status ldm_row_check(const ldm_problem *p, int sizes);
/* An output's elements fit 32-bit numbers in a kernel; else the reason. */
const char *ldm_row_fits(int64_t elements);
/* -DREAL=half where activations are f16. */
void ldm_row_storage(const ldm_problem *p, ldm_recipe *r);
/* A GPU row whose work-groups have `group` work-items and a float of local memory for each may run. */
bool ldm_row_group_legal(int group, const ldm_device *d);
/* Where a reference of `elements` outputs stored as `t` writes. */
ref_out ldm_row_out(const ldm_sample *which, int64_t elements, ldm_dtype t, double *y, double *bound);

#endif
