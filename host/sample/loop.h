/* loop.h -- a denoising loop as a plan: the network, guidance and the sampler's arithmetic of one evaluation, with the
 * times and coefficients of all of them in device tables that a counter on the device walks through. Between two
 * evaluations the host sets nothing; it writes fresh noise where the sampler draws any, and waits once. Only what the
 * sampler and the options use is emitted. */
#ifndef LDM_LOOP_H
#define LDM_LOOP_H

#include "model/model.h"
#include "sample/sample.h"

enum { LDM_SEGMENT_PROMPT, LDM_SEGMENT_STEP }; /* of the plan: conditioning once, then the rest, once an evaluation */

typedef struct ldm_loop_options {
    ldm_unet_config unet;
    int n_classes;  /* > 0: input "class" (i32 [batch]) through the class embedder gives the context */
    int64_t tokens; /* of "context" [batch, tokens, context_dim] where there are no classes; 0: no context */
    ldm_dtype dtype, wdtype;    /* activations, weights */
    int64_t n, h, w;            /* pictures, latent size */
    bool guided;                /* the network sees 2n: first the unconditional half, then the conditional one */
    bool in_turn;               /* ... n at a time, one half after the other: half the activations */
    bool rescaled;              /* the guided prediction is drawn towards the conditional one's deviation */
    ldm_windows windows;        /* the network sees a large latent window by window; {0}: whole */
    int64_t concat;             /* channels of a map that follows x into the network: unet.in_channels less x's */
    bool masked;                /* blends with a known latent where a mask says so */
    bool keeps_x0;              /* the predicted picture can be read after every evaluation: ldm_loop_x0 */
    int64_t codebook;           /* entries of the first stage's codebook, where the sampler quantizes x0 */
    const ldm_sampler *sampler; /* borrowed; of unet.out_channels */
    int checked; /* of a run, not of the plan: the number, from 1, of a step whose blocks are looked at one by one, when
                    a run is made again from the same start because that step's result was not finite. LDM_ERR_NONFINITE
                    then names the block. 0: none */
} ldm_loop_options;

/* Emits into a fresh plan (unfinished: ldm_plan_finish is the caller's). With a codebook the plan has the parameter
 * "quantize.embedding.weight" of the first stage beside the network's. */
ldm_status ldm_loop_plan(const ldm_loop_options *o, ldm_plan **out);

/* What a run starts with; NULL where the options have no such input. `batch` is n, or 2n if guided, the unconditional
 * half first. */
typedef struct ldm_loop_inputs {
    const float *x;           /* [n,h,w,c]: ldm_sampler_start */
    const float *classes;     /* i32 as float [batch] */
    const float *context;     /* [batch, tokens, context_dim]; where windows have their own, that for each of them */
    const float *labels;      /* i32 as float [n]: unet.num_classes > 0, the same for both halves */
    const float *concat;      /* [n,h,w,concat], the same for both halves */
    const float *mask;        /* [n,h,w]: 1 keeps what is known, 0 paints */
    const float *known;       /* [n,h,w,c], the known latent without noise */
    const float *known_noise; /* [n,h,w,c], where the sampler's blend_fresh is false */
    double scale;             /* guidance: of the two halves, or what a distilled network is told */
    double rescale;           /* 0..1 */
} ldm_loop_inputs;

/* v0 = start_z z0 + start_noise noise, `count` elements; z0 may be NULL where start_z is 0. */
void ldm_sampler_start(const ldm_sampler *s, const float *z0, const float *noise, int64_t count, float *x);

/* Writes the tables and the inputs, resets the counter, and runs the conditioning. */
ldm_status ldm_loop_start(const ldm_loop_options *o, ldm_exec *e, const ldm_loop_inputs *in);

/* Runs all evaluations. noise(user, step, dst) fills [n,h,w,c] whenever some is needed, in this order within a step:
 * for the mask (blend_fresh), for the sampler. each(user, step, seconds) [opt] is told after a step, of one evaluation
 * or two; its status ends the loop. */
typedef struct ldm_loop_hooks {
    ldm_status (*noise)(void *user, int step, float *dst);
    ldm_status (*each)(void *user, int step, double seconds);
    void *user;
} ldm_loop_hooks;
ldm_status ldm_loop_run(const ldm_loop_options *o, ldm_exec *e, const ldm_loop_hooks *hooks);
ldm_status ldm_loop_latent(ldm_exec *e, float *x); /* the state after the last step, [n,h,w,c] */
ldm_status ldm_loop_x0(const ldm_loop_options *o, ldm_exec *e, float *x0); /* the last prediction: keeps_x0 */

#endif
