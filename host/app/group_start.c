/* group_start.c -- what a group of pictures begins with: noise, what is concatenated, conditioning. */
#include "app/pipeline_internal.h"
#include "app/condition.h"
#include "app/latent.h"
#include <stdlib.h>
#include <string.h>

static const app_picture *member(const pipe_group *g, int i) { return &g->picture[i < g->n ? i : g->n - 1]; }

void pipe_group_free(pipe_group *g) {
    for (int i = 0; g->noise && i < g->all; i++) ldm_rng_destroy(g->noise[i]);
    free(g->noise), free(g->drawn), free(g->x), free(g->z0), free(g->known_noise), free(g->concat), free(g->context);
    free(g->classes), free(g->labels), free(g->x0), free(g->start);
}

/* [h,w,c] of fresh noise of picture i. */
static void draw(pipe_group *g, int i, float *dst) {
    app_pipeline *p = g->p;
    ldm_rng_fill(g->noise[i], g->drawn, g->one);
    ldm_nchw_to_nhwc(g->drawn, 1, p->channels, p->lh, p->lw, dst);
}

ldm_status pipe_fresh_noise(void *user, int step, float *dst) {
    pipe_group *g = user;
    (void)step;
    for (int i = 0; i < g->all; i++) draw(g, i, dst + i * g->one);
    return LDM_OK;
}

/* A sample of a first stage's posterior with the picture's next random numbers; none are drawn where there is nothing to
 * sample. */
static void posterior(pipe_group *g, int i, const float *moments, float *z) {
    app_pipeline *p = g->p;
    bool kl = p->s->stage.kind == LDM_STAGE_KL;
    if (kl) ldm_rng_fill(g->noise[i], g->drawn, g->one);
    app_posterior(&p->s->stage, moments, p->lh * p->lw, p->channels, kl ? g->drawn : NULL, p->s->stage_scale, z);
}

/* The starting noise of picture i, from the generator or from the file given. */
static void starting_noise(pipe_group *g, int i, float *dst) {
    app_pipeline *p = g->p;
    const ldm_array *a = p->o.init_latent;
    draw(g, i, dst); /* drawn in any case: what follows does not depend on the file */
    if (!a) return;
    int64_t at = a->shape.dim[0] == 1 ? 0 : member(g, i)->number % a->shape.dim[0];
    ldm_nchw_to_nhwc((const float *)a->data + at * g->one, 1, p->channels, p->lh, p->lw, dst);
}

static void hash_start(pipe_group *g, int i) {
    app_pipeline *p = g->p;
    ldm_nhwc_to_nchw(g->x + i * g->one, 1, p->channels, p->lh, p->lw, g->drawn);
    ldm_sha256_hex(g->drawn, (size_t)g->one * sizeof(float), g->start[i]);
}

/* What follows z into the network for picture i. */
static ldm_status concatenated(pipe_group *g, int i, float *dst) {
    app_pipeline *p = g->p;
    const ldm_system *s = p->s;
    int64_t pixels = p->lh * p->lw, c = p->loop.concat;
    ldm_status st = LDM_OK;
    float *z = NULL, *noise = NULL;
    if (p->hole) {
        app_inpainting kind = s->task == LDM_TASK_INPAINT_LDM ? APP_INPAINT_LDM : APP_INPAINT_SD;
        TRY(ldm_alloc((size_t)g->one * sizeof *z, (void **)&z));
        posterior(g, i, p->hole, z);
        app_condition_inpaint(kind, z, p->lh, p->lw, p->channels, p->o.mask, p->o.h, p->o.w, dst);
    } else if (p->o.noised) {
        TRY(ldm_alloc((size_t)(pixels * 3) * sizeof *noise, (void **)&noise));
        app_condition_picture(p->o.noised, dst);
        ldm_rng_fill(g->noise[i], noise, pixels * 3);
        TRY(ldm_alloc((size_t)(pixels * 3) * sizeof *z, (void **)&z));
        ldm_nchw_to_nhwc(noise, 1, 3, p->lh, p->lw, z);
        TRY(app_condition_noised(p->o.noise_level, dst, z, pixels * 3));
    } else memcpy(dst, p->mixed ? p->mixed : p->o.concat, (size_t)(pixels * c) * sizeof *dst);
done:
    free(z), free(noise);
    return st;
}

/* Order of the random numbers of a picture: posterior of the init picture, the upscaler's noise, starting noise, posterior of the
 * masked picture, then the steps'. */
static ldm_status start_picture(pipe_group *g, int i) {
    app_pipeline *p = g->p;
    ldm_status st = LDM_OK;
    float *noise = g->known_noise + i * g->one, *z0 = g->z0 ? g->z0 + i * g->one : NULL;
    TRY(ldm_rng_create(p->o.rng, member(g, i)->seed, &g->noise[i]));
    float *concat = p->loop.concat ? g->concat + i * p->lh * p->lw * p->loop.concat : NULL;
    if (z0) posterior(g, i, p->moments, z0);
    if (concat && p->o.noised) TRY(concatenated(g, i, concat));
    starting_noise(g, i, noise);
    ldm_sampler_start(&p->sampler, z0, noise, g->one, g->x + i * g->one);
    hash_start(g, i);
    /* diffusers' inpainting encodes the masked picture for every network, and draws for it */
    if (p->known_mask && p->o.sampler.manner == LDM_MANNER_DIFFUSERS && p->s->stage.kind == LDM_STAGE_KL)
        ldm_rng_fill(g->noise[i], g->drawn, g->one);
    if (concat && !p->o.noised) TRY(concatenated(g, i, concat));
done:
    return st;
}

/* The unconditional half first. */
static void conditioning(pipe_group *g) {
    app_pipeline *p = g->p;
    const ldm_system *s = p->s;
    int64_t size = p->loop.tokens * p->width;
    int first = p->guided ? g->all : 0;
    for (int i = 0; i < first + g->all; i++) {
        const app_picture *m = member(g, i < first ? i : i - first);
        float *to = g->context ? g->context + i * size : NULL;
        if (g->classes) g->classes[i] = (float)(i < first ? s->config.null_class : m->class_id);
        if (!to) continue;
        if (p->o.context && i < first) memset(to, 0, (size_t)size * sizeof *to);
        else if (p->o.context) memcpy(to, p->o.context->data, (size_t)size * sizeof *to);
        else if (m->tokens) /* [windows, all] of [windows] */
            for (int k = 0; k < pipe_layout_windows(p); k++)
                memcpy(to + k * g->all * size, p->text[0].context + k * size, (size_t)size * sizeof *to);
        else {
            const char *text = i < first ? m->negative : m->prompt;
            memcpy(to, pipe_find_text(p, text ? text : "")->context, (size_t)size * sizeof *to);
        }
    }
    for (int i = 0; g->labels && i < g->all; i++) g->labels[i] = (float)p->o.noise_level;
}

ldm_status pipe_group_make(app_pipeline *p, const app_picture *pictures, int n, pipe_group *g) {
    ldm_status st = LDM_OK;
    int all = p->o.at_once, batch = p->guided ? 2 * all : all;
    *g = (pipe_group){.p = p, .picture = pictures, .n = n, .all = all, .one = p->lh * p->lw * p->channels};
    TRY(ldm_alloc((size_t)all * sizeof *g->noise, (void **)&g->noise));
    TRY(ldm_alloc((size_t)all * sizeof *g->start, (void **)&g->start));
    TRY(pipe_floats(g->one, &g->drawn));
    TRY(pipe_floats(all * g->one, &g->x));
    TRY(pipe_floats(all * g->one, &g->known_noise));
    if (p->moments) TRY(pipe_floats(all * g->one, &g->z0));
    if (p->loop.concat) TRY(pipe_floats(all * p->lh * p->lw * p->loop.concat, &g->concat));
    if (p->loop.n_classes) TRY(pipe_floats(batch, &g->classes));
    else if (p->loop.tokens) TRY(pipe_floats(pipe_layout_windows(p) * batch * p->loop.tokens * p->width, &g->context));
    if (p->s->config.unet.num_classes) TRY(pipe_floats(all, &g->labels));
    if (p->o.keeps_x0) TRY(pipe_floats(all * g->one, &g->x0));
    for (int i = 0; i < all; i++) TRY(start_picture(g, i));
    conditioning(g);
done:
    return st;
}
