/* group_loop.c -- the denoising loop over a group of pictures. */
#include "app/pipeline_internal.h"
#include <string.h>

/* After every step the latent is looked at: a network that overflows is named by its step and block, and no picture is made of
 * it. */
static ldm_status after_step(void *user, int step, double seconds) {
    pipe_group *g = user;
    app_pipeline *p = g->p;
    char what[80];
    ldm_exec *e = p->engine[PIPE_LOOP].exec;
    (void)seconds;
    snprintf(what, sizeof what, "step %d of %d: latent", step + 1, p->sampler.steps);
    ldm_status st = ldm_loop_latent(e, g->x);
    if (!st) st = app_check_finite(g->x, g->all * g->one, what);
    if (st == LDM_ERR_NONFINITE) g->failed = step + 1;
    if (!st && g->hooks->step && p->o.keeps_x0 && !(st = ldm_loop_x0(&p->loop, e, g->x0)))
        st = g->hooks->step(g->hooks->user, p, step, g->x0);
    ldm_progress_to(&g->bar, step + 1);
    return st;
}

/* g->x becomes the final latents. */
static ldm_status group_once(pipe_group *g) {
    app_pipeline *p = g->p;
    ldm_status st = LDM_OK;
    if (!p->sampler.evals) return LDM_OK; /* no step: what it began with */
    TRY(pipe_make_part(p, PIPE_LOOP));
    ldm_exec *e = p->engine[PIPE_LOOP].exec;
    ldm_loop_inputs in = {.x = g->x,
                          .classes = g->classes,
                          .context = g->context,
                          .labels = g->labels,
                          .concat = g->concat,
                          .mask = p->known_mask,
                          .known = p->known_mask ? g->z0 : NULL,
                          .known_noise = p->known_mask ? g->known_noise : NULL,
                          .scale = p->o.cfg_scale,
                          .rescale = p->o.cfg_rescale};
    TRY(ldm_loop_start(&p->loop, e, &in));
    ldm_progress_begin(&g->bar, "sampling", "steps", p->sampler.steps);
    p->pool.held = &p->engine[PIPE_LOOP];
    TRY(ldm_loop_run(&p->loop, e, &(ldm_loop_hooks){pipe_fresh_noise, after_step, g}));
    TRY(ldm_loop_latent(e, g->x));
done:
    p->pool.held = NULL;
    ldm_progress_end(&g->bar);
    return st;
}

ldm_status pipe_sample_group(app_pipeline *p, const app_picture *pictures, int n, const app_pipeline_hooks *hooks, float *latents,
                               app_result *results) {
    ldm_status st = LDM_OK;
    pipe_group g = {0};
    double start = ldm_now();
    for (int again = 0;;) { /* a step that is not finite: made again to name its block, then once more in f32 */
        TRY(pipe_group_make(p, pictures, n, &g));
        g.hooks = hooks;
        st = group_once(&g);
        if (st == LDM_ERR_NONFINITE && !p->loop.checked && g.failed) {
            p->loop.checked = g.failed;
        } else {
            p->loop.checked = 0;
            if (again++ || !app_retry_in_f32(st, &p->dtype[PIPE_LOOP], &p->wdtype[PIPE_LOOP])) break;
            app_engine_drop(&p->pool, &p->engine[PIPE_LOOP]);
        }
        pipe_group_free(&g);
    }
    TRY(st);
    memcpy(latents, g.x, (size_t)(n * g.one) * sizeof *latents);
    for (int i = 0; i < n; i++) {
        results[i] = (app_result){.picture = &pictures[i], .latent = latents + i * g.one, .seconds = (ldm_now() - start) / n};
        memcpy(results[i].start, g.start[i], sizeof results[i].start);
    }
done:
    pipe_group_free(&g);
    return st;
}
