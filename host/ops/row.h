/* row.h -- small things the rows of norms, attention, element-wise ops and moves share (internal to host/ops). */
#ifndef LDM_ROW_H
#define LDM_ROW_H

#include "ops/op.h"
#include "reference/reference.h"

/* Storage is f32 or f16, and the first `sizes` dims of the op are 1 to 2^30. */
ldm_status ldm_row_check(const ldm_problem *p, int sizes);
/* An output's elements fit 32-bit numbers in a kernel; else the reason. */
const char *ldm_row_fits(int64_t elements);
/* The next launch, with the options that say how p is stored: ldm_rec_kernel, then ldm_row_storage. */
void ldm_row_kernel(const ldm_problem *p, ldm_recipe *r, const char *file, const char *kernel);
/* -DREAL=half where activations are f16, -DWREAL where weights are stored otherwise. */
void ldm_row_storage(const ldm_problem *p, ldm_recipe *r);
/* GPU rows in which a work-group sums by a tree over two floats of local memory a work-item: their one tunable, how many
 * work-items (the default 128), which of its values the device can run, and whether any on `elements` elements. */
extern const ldm_tunable ldm_row_group_tunables[];
bool ldm_row_group_legal(const ldm_problem *p, const int *params, const ldm_device *d);
const char *ldm_row_group_supports(const ldm_device *d, int64_t elements);
/* Floats of the vectors that CPU rows are written in: what the device's registers hold, 16, 8 or 4. */
int ldm_row_lanes(const ldm_device *d);
/* Work-items for so many jobs, each with a slot of scratch: at most two a unit, and where it can be all with the same number
 * of jobs; else those with one more should come last, when units that are done take what is left. */
int64_t ldm_row_items(int64_t jobs, const ldm_device *d);
/* Where a reference of `elements` outputs stored as `t` writes. */
ref_out ldm_row_out(const ldm_sample *which, int64_t elements, ldm_dtype t, double *y, double *bound);

#endif
