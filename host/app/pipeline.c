/* pipeline.c -- see pipeline.h. */
#include "app/pipeline_internal.h"
#include <stdlib.h>
#include <string.h>

static ldm_status finish_picture(app_pipeline *p, app_result *r, const app_pipeline_hooks *hooks) {
    ldm_image im = {0};
    ldm_status st = app_pipeline_decode(p, false, r->latent, &im);
    if (st == LDM_OK) {
        r->image = &im;
        st = hooks->done(hooks->user, r);
        r->image = NULL;
    }
    ldm_image_free(&im);
    return st;
}

/* At most PIPE_CHUNK / 2 pictures: what their texts are kept for. */
static ldm_status run_chunk(app_pipeline *p, const app_picture *pictures, int count, const app_pipeline_hooks *hooks) {
    ldm_status st = LDM_OK;
    float *latents = NULL;
    app_result *results = NULL;
    int64_t one = p->lh * p->lw * p->channels;
    TRY(pipe_floats(count * one, &latents));
    TRY(ldm_alloc((size_t)count * sizeof *results, (void **)&results));
    TRY(pipe_contexts(p, pictures, count));
    for (int i = 0; i < count; i += p->o.at_once) {
        int n = count - i < p->o.at_once ? count - i : p->o.at_once;
        TRY(pipe_sample_group(p, pictures + i, n, hooks, latents + i * one, results + i));
        for (int k = i; k < i + n && !p->apart; k++) TRY(finish_picture(p, &results[k], hooks));
        if (!p->apart && !p->engine[PIPE_LOOP].exec && i + n < count) { /* the decoder took its memory */
            p->apart = true;
            for (int k = 0; k < i + n; k++) results[k].picture = NULL;
        }
    }
    for (int k = 0; k < count && p->apart; k++)
        if (results[k].picture) TRY(finish_picture(p, &results[k], hooks));
done:
    free(latents), free(results);
    return st;
}

ldm_status app_pipeline_run(app_pipeline *p, const app_picture *pictures, int count, const app_pipeline_hooks *hooks) {
    int most = PIPE_CHUNK / 2 > p->o.at_once ? PIPE_CHUNK / 2 / p->o.at_once * p->o.at_once : p->o.at_once;
    for (int i = 0; i < count; i += most) {
        ldm_status st = run_chunk(p, pictures + i, count - i < most ? count - i : most, hooks);
        if (st) return st;
    }
    return LDM_OK;
}

static ldm_status check_array(const char *what, const ldm_array *a, int64_t c, int64_t h, int64_t w) {
    char text[128];
    const int64_t *d = a->shape.dim;
    if (a->shape.rank == 4 && d[0] >= 1 && d[1] == c && d[2] == h && d[3] == w) return app_check_finite(a->data, ldm_shape_count(&a->shape), what);
    return ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted [1 or more, %lld, %lld, %lld]", what,
                    ldm_shape_text(&a->shape, text, sizeof text), (long long)c, (long long)h, (long long)w);
}

/* What is missing where a network's map is. */
static const char *wants(ldm_task t) {
    switch (t) {
    case LDM_TASK_INPAINT_LDM:
    case LDM_TASK_INPAINT_SD: return "it repaints a part of a picture, wanted --init-img and --mask";
    case LDM_TASK_SEMANTIC: return "its condition is a map of labels, wanted --semantic";
    case LDM_TASK_SUPER_RESOLUTION:
    case LDM_TASK_UPSCALE: return "it enlarges a picture, wanted --upscale";
    case LDM_TASK_DEPTH: return "its condition is a depth map, wanted --depth";
    default: return "its condition is a map that no option gives";
    }
}

static void describe_loop(app_pipeline *p) {
    const ldm_system *s = p->s;
    const ldm_config *c = &s->config;
    bool context = c->unet.use_spatial_transformer && c->condition != LDM_COND_CLASS;
    p->width = c->unet.context_dim;
    p->loop = (ldm_loop_options){.unet = c->unet,
                                 .n_classes = c->condition == LDM_COND_CLASS ? c->n_classes : 0,
                                 .tokens = !context ? 0 : p->o.context ? p->o.context->shape.dim[0] : pipe_of_text(s) ? s->text.length : c->tokens,
                                 .n = p->o.at_once,
                                 .h = p->lh,
                                 .w = p->lw,
                                 .guided = p->guided,
                                 .windows = {p->o.windows.size, p->o.windows.stride, p->o.windows.size && s->task == LDM_TASK_LAYOUT},
                                 .rescaled = p->guided && p->o.cfg_rescale > 0,
                                 .concat = c->unet.in_channels - c->unet.out_channels,
                                 .masked = p->known_mask != NULL,
                                 .keeps_x0 = p->o.keeps_x0,
                                 .codebook = s->stage.kind == LDM_STAGE_VQ ? s->stage.n_embed : 0,
                                 .sampler = &p->sampler};
}

bool app_pipeline_in_turn(const app_pipeline *p) { return p->loop.in_turn; }

int app_pipeline_at_once(const app_pipeline *p) { return p->o.at_once; }

ldm_status app_pipeline_open(const app_pipeline_options *o, app_pipeline **out) {
    app_pipeline *p = NULL;
    ldm_system *s = o->system;
    ldm_status st = app_pipeline_check(o);
    if (st) return st;
    TRY(ldm_alloc(sizeof *p, (void **)&p));
    p->o = *o, p->s = s;
    p->pool = (app_pool){.cl = o->cl, .system = s};
    for (int i = 0; i < PIPE_PARTS; i++) p->dtype[i] = o->dtype, p->wdtype[i] = o->wdtype;
    int f = ldm_stage_factor(&s->stage);
    p->lh = o->h / f, p->lw = o->w / f, p->channels = s->config.unet.out_channels;
    p->guided = o->cfg_scale != 1 && !s->config.unet.time_cond_proj_dim;
    if (s->prediction_unsure && s->config.unet.out_channels == 4) TRY(pipe_ask_prediction(p));
    p->o.sampler.prediction = s->config.prediction;
    TRY(pipe_schedule(o, &p->schedule));
    TRY(ldm_sampler_make(&p->schedule, &p->o.sampler, &p->sampler));
    if (o->init_latent) TRY(check_array("--init-latent", o->init_latent, p->channels, p->lh, p->lw));
    TRY(pipe_encode_given(p));
    describe_loop(p);
    if (o->windows.size) {
        const ldm_window first = ldm_window_at(o->windows, p->lh, p->lw, 0);
        ldm_note("network on %d windows of %lld x %lld elements", ldm_windows_count(o->windows, p->lh, p->lw), (long long)first.w,
                 (long long)first.h);
    }
    if (o->labels) {
        int64_t count;
        TRY(pipe_run_part(p, PIPE_RESCALER, o->labels, &p->mixed, &count));
        app_engine_drop(&p->pool, &p->engine[PIPE_RESCALER]);
    }
    if (p->loop.concat && !p->hole && !p->mixed && !o->noised && !o->concat)
        TRY(ldm_fail(LDM_ERR_ARG, "%s: %s", s->config.name ? s->config.name : "this model", wants(s->task)));
    TRY(pipe_plan_memory(p));
    *out = p, p = NULL;
done:
    app_pipeline_close(p);
    return st;
}

void app_pipeline_close(app_pipeline *p) {
    if (!p) return;
    app_pool_drop(&p->pool);
    pipe_forget_texts(p);
    ldm_tokenizer_close(p->tokenizer);
    ldm_sampler_free(&p->sampler);
    free(p->moments), free(p->hole), free(p->known_mask), free(p->mixed);
    free(p);
}

const ldm_sampler *app_pipeline_sampler(const app_pipeline *p) { return &p->sampler; }

const ldm_stage_config *app_pipeline_stage(const app_pipeline *p) { return &p->s->stage; }

void app_pipeline_size(const app_pipeline *p, int64_t *lh, int64_t *lw, int *channels) {
    *lh = p->lh, *lw = p->lw, *channels = p->channels;
}
