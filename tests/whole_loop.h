/* whole_loop.h -- a denoising loop on synthetic weights, from its plan to its last latent. */
#ifndef LDM_WHOLE_LOOP_H
#define LDM_WHOLE_LOOP_H

#include "sample/loop.h"
#include "tests/test.h"

static inline void run_loop(ldm_cl *cl, uint64_t seed, const ldm_loop_options *o, const ldm_loop_inputs *in,
                            const ldm_loop_hooks *hooks, float *x) {
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_source s = ldm_source_synthetic(&seed);
    const ldm_device *d = ldm_cl_device(cl);
    ldm_status st = LDM_OK;
    TRY(ldm_loop_plan(o, &p));
    TRY(ldm_plan_fuse(p));
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    TRY(ldm_exec_create(cl, p, &s, NULL, &e));
    TRY(ldm_loop_start(o, e, in));
    TRY(ldm_loop_run(o, e, hooks));
    TRY(ldm_loop_latent(e, x));
done:
    CHECK(st == LDM_OK, "loop: %s", ldm_message());
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
}

#endif
