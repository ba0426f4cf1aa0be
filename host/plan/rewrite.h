/* rewrite.h -- what rewrites of a plan are made of (internal to host/plan). */
#ifndef LDM_REWRITE_H
#define LDM_REWRITE_H

#include "plan/plan.h"

/* Puts another step in the place of step `step`, in its segment: as ldm_plan_emit, or ldm_plan_emit_into where `out` is
 * a tensor. */
ldm_tensor ldm_plan_replace(ldm_plan *p, int step, const char *scope, ldm_tensor out, const ldm_tensor *in, int n,
                            const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* Step `step` twice, one after the other: for a rewrite that makes two of one. */
void ldm_plan_repeat(ldm_plan *p, int step);

/* A param made of others by a rule when weights are loaded, in the weights' dtype (or what the step that reads it
 * wants); asking again for the same gives the same tensor. Parts that do not fit one another are a failure of the plan.
 */
ldm_tensor ldm_plan_derive(ldm_plan *p, ldm_rule rule, const ldm_tensor *of, int parts);

#endif
