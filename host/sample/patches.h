/* patches.h -- a map cut into overlapping windows and put together again, as plan text: the authors' way to run a network on maps
 * larger than it was trained on (ldm/models/diffusion/ddpm.py, split_input_params: get_fold_unfold, get_weighting). Their windows
 * leave a rest uncovered where the stride does not divide; here a last window lies flush with the border. */
#ifndef LDM_PATCHES_H
#define LDM_PATCHES_H

#include "plan/plan.h"

typedef struct ldm_patches {
    int64_t n, h, w;   /* maps [n,h,w,c] */
    int64_t ph, pw;    /* a window; no larger than the map */
    int64_t down, across, overlap; /* windows of a map, and how many at most lie over one element */
    int64_t *y, *x;    /* where they begin: [down], [across] */
} ldm_patches;
/* LDM_ERR_ARG for a size or stride below 1, or a stride that leaves gaps. */
ldm_status ldm_patches_make(int64_t n, int64_t h, int64_t w, int64_t size, int64_t stride, ldm_patches *out);
void ldm_patches_free(ldm_patches *p); /* accepts {0} */
int64_t ldm_patches_count(const ldm_patches *p); /* windows of all n maps */

/* x [n,h,w,c] -> [count,ph,pw,c], map by map, row by row. */
ldm_tensor ldm_patches_cut(ldm_plan *plan, const ldm_patches *p, ldm_tensor x, int64_t c);
/* [count,ph,pw,c] -> [n,h,w,c]: where windows overlap their mean, weighted by how far from the window's border an element is:
 * min(y, x, 1 - y, 1 - x), each from 0 to 1 across the window, held to .01 .. .5. */
ldm_tensor ldm_patches_join(ldm_plan *plan, const ldm_patches *p, ldm_tensor windows, int64_t c);
/* Writes what the two read: inputs of the plan called "patches...". Once, before it runs. */
ldm_status ldm_patches_start(const ldm_patches *p, ldm_exec *e);

#endif
