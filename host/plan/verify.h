/* verify.h -- a plan on the device held against the references, step by step. */
#ifndef LDM_VERIFY_H
#define LDM_VERIFY_H

#include "plan/plan.h"

typedef struct ldm_verify_report {
    int step;
    const ldm_choice *choice;
    ldm_verdict verdict;
    uint64_t digest; /* of the device's output bytes as f32 */
} ldm_verify_report;

typedef struct ldm_verify_options {
    bool complete;   /* every element, the kernels fed the reference's inputs (teacher forcing); else the
                        references are fed the device's inputs and judge `samples` outputs plus edges and tails */
    int64_t samples; /* 4096 */
    uint64_t seed;
    bool judge; /* false: only digests */
    /* Called after each step; a status other than LDM_OK ends the run and is returned. */
    ldm_status (*each)(void *user, const ldm_verify_report *r);
    void *user;
} ldm_verify_options;

/* Runs every step of `segment` once on `device`, whose inputs were written by the caller. */
ldm_status ldm_plan_verify(const ldm_plan *p, ldm_exec *device, int segment, const ldm_verify_options *o);

#endif
