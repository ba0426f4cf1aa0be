/* trial.h -- one problem made ready for judging several choices: inputs, a sample of outputs and what the references say of
 * them are made once. The tuner's candidates and entries of another driver's go through it. */
#ifndef LDM_TRIAL_H
#define LDM_TRIAL_H

#include "ops/op.h"

typedef struct ldm_trial ldm_trial;

/* Inputs of the problem (zero-mean, seeded); every output is judged if that is cheap, else hashed ones and every edge and
 * tile tail. */
ldm_status ldm_trial_create(const ldm_problem *p, ldm_trial **out);
void ldm_trial_destroy(ldm_trial *t); /* NULL is fine */

/* Makes a run of `c`, judges its result and hands the run over, for timing. LDM_ERR_MISMATCH and no run if an output is
 * outside its bound, was not written, or memory around them was; *error [opt] is the largest error / bound. */
ldm_status ldm_trial_run(ldm_trial *t, ldm_cl *cl, const ldm_choice *c, ldm_oprun **out, double *error);

#endif
