/* strips.h -- steps whose maps are too large for the device: they lie in host memory, and a step is made strip by strip
 * of rows, with as many rows around a strip as its outputs depend on. A strip is a problem of the same op on a shorter
 * map, run by the row and parameters the whole map is given; it begins where the row's own cutting of the map allows
 * (ldm_grain), and what it makes of rows that it lacks is thrown away. Sums over a whole map go through all strips twice.
 * So every element is made by the same operations in the same order as without strips: the results are the same bits.
 * (Internal to host/plan; which maps lie there is ldm_plan_spill's choice, plan.h.) */
#ifndef LDM_STRIPS_H
#define LDM_STRIPS_H

#include "plan/plan.h"

/* Rows are a map's, but pixels where an op sums over all of them, whatever the width. */
typedef struct ldm_strip {
    ldm_problem problem;
    int64_t keep, kept;                           /* rows of the step's output: first, count */
    int64_t skip;                                 /* rows of the strip's own output before them */
    int64_t from[LDM_MAX_SLOTS], rows[LDM_MAX_SLOTS]; /* of each map: first row and count; of y what the strip makes */
} ldm_strip;

typedef struct ldm_strips {
    int count;
    ldm_strip *strip;
    size_t row_bytes[LDM_MAX_SLOTS]; /* of each map; 0: not a map, whole on the device */
    size_t offset[LDM_MAX_SLOTS], slot_bytes[LDM_MAX_SLOTS]; /* places of the strips in the pool that all steps share */
    size_t pool, scratch;            /* bytes */
} ldm_strips;

/* Whether a step could be made in strips. */
bool ldm_step_can_strip(const ldm_plan *p, int step, const ldm_choice *c);
/* Whether it has to be: a tensor of it lies in host memory. */
bool ldm_step_spilled(const ldm_plan *p, int step);
/* Strips as large as plan->strip_bytes allows; freed with ldm_strips_free. LDM_ERR_NOMEM if not even the least do. */
ldm_status ldm_strips_make(const ldm_plan *p, int step, const ldm_choice *c, const ldm_device *d, ldm_strips *out);
void ldm_strips_free(ldm_strips *s);

/* A step in strips made ready. `slot`: buffers of weights and of what lies on the device, as for ldm_step_create; `host` by
 * tensor: where spilled maps lie, allocated here when first written and freed after their last reader. All are borrowed. */
typedef struct ldm_strip_job ldm_strip_job;
ldm_status ldm_strip_job_create(ldm_cl *cl, const ldm_plan *p, int step, const ldm_choice *c, const ldm_strips *s,
                                ldm_buffer *const *slot, ldm_buffer *pool, ldm_buffer *scratch, char **host,
                                ldm_strip_job **out);
ldm_status ldm_strip_job_run(ldm_strip_job *j); /* waits for each strip that goes back to host memory */
double ldm_strip_job_seconds(const ldm_strip_job *j); /* of the last run's kernels; profile only, else -1 */
void ldm_strip_job_destroy(ldm_strip_job *j);

#endif
