/* loop.h -- a denoising loop as a plan: the network, guidance and the sampler's arithmetic of one step, with the
 * timesteps and coefficients of all steps in device tables that a counter on the device walks through. Between two
 * steps the host sets nothing; it writes fresh noise where the sampler draws any, and waits once. */
#ifndef LDM_LOOP_H
#define LDM_LOOP_H

#include "model/model.h"
#include "sample/sample.h"

enum { LDM_SEGMENT_PROMPT, LDM_SEGMENT_STEP }; /* of the plan: conditioning once, then the step, count times */

typedef struct ldm_loop_options {
    ldm_unet_config unet;
    int n_classes;  /* > 0: input "class" (i32 [batch]) through the class embedder gives the context */
    int64_t tokens; /* of "context" [batch, tokens, context_dim] where there are no classes; 0: no context */
    ldm_dtype dtype, wdtype;       /* activations, weights */
    int64_t n, h, w;               /* pictures, latent size */
    bool guided;                   /* the network sees 2n: first the unconditional half, then the conditional one */
    const ldm_sampler_step *steps; /* in running order */
    int count;
} ldm_loop_options;

/* Emits into a fresh plan (unfinished: ldm_plan_finish is the caller's). */
ldm_status ldm_loop_plan(const ldm_loop_options *o, ldm_plan **out);

/* Writes the tables and resets the counter. x: starting noise or latent [n,h,w,c]; classes i32 as float, or context
 * [..], of the batch the network sees (2n if guided), NULL where the network takes none; scale: guidance. */
ldm_status ldm_loop_start(const ldm_loop_options *o, ldm_exec *e, const float *x, const float *classes,
                          const float *context, double scale);

/* Runs all steps. noise(user, k, dst) fills [n,h,w,c] for step k where its cn != 0; each(user, k, seconds) [opt] is
 * told after a step; its status ends the loop. */
typedef struct ldm_loop_hooks {
    ldm_status (*noise)(void *user, int k, float *dst);
    ldm_status (*each)(void *user, int k, double seconds);
    void *user;
} ldm_loop_hooks;
ldm_status ldm_loop_run(const ldm_loop_options *o, ldm_exec *e, const ldm_loop_hooks *hooks);
ldm_status ldm_loop_latent(ldm_exec *e, float *x); /* the state after the last step, [n,h,w,c] */

#endif
