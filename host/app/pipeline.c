/* pipeline.c -- see pipeline.h. */
#include "app/pipeline.h"
#include "app/condition.h"
#include "app/gen_options.h"
#include "app/latent.h"
#include "plan/budget.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_TEXTS = 65, CHUNK = 64 }; /* contexts in memory at a time, and pictures: as many as they can need */

typedef enum part { TEXT, LOOP, ENCODER, DECODER, TINY, RESCALER, PARTS } part;
static const char *const part_names[PARTS] = {"text encoder", "network", "encoder", "decoder", "tiny decoder", "rescaler"};

typedef struct kept_text {
    char *text;
    float *context; /* [tokens, width] */
} kept_text;

struct app_pipeline {
    app_pipeline_options o;
    ldm_system *s;
    app_pool pool;
    app_engine engine[PARTS];
    ldm_dtype dtype[PARTS], wdtype[PARTS]; /* f32 for a part that overflowed in f16 */
    ldm_schedule schedule;
    ldm_sampler sampler;
    ldm_loop_options loop;
    ldm_tokenizer *tokenizer;
    kept_text text[KEPT_TEXTS];
    int texts;
    bool apart; /* network and decoder do not fit together */
    bool guided;
    int64_t lh, lw, width; /* latent; of the context */
    int channels;          /* of the latent */
    float *moments, *hole; /* of the init picture, and of it without what the mask repaints: [lh,lw,2c or c] */
    float *mixed;          /* [lh,lw,channels] what the rescaler made of the labels */
    float *known_mask;     /* [at_once,lh,lw] 1: keep */
};

/* ---- what the model is ------------------------------------------------------------------------------------------- */

static int size_multiple(const ldm_system *s) {
    return ldm_stage_factor(&s->stage) * (app_has(s, LDM_PART_UNET) ? ldm_unet_multiple(&s->config.unet) : 1);
}

void app_pipeline_sizes(const ldm_system *s, int64_t size, int64_t *low, int64_t *high) {
    int64_t need = size_multiple(s);
    *low = size / need * need;
    *high = *low + need;
    if (*low < need) *low = need;
}

static ldm_status check_size(const ldm_system *s, int64_t w, int64_t h) {
    int64_t need = size_multiple(s), wl, wh, hl, hh;
    if (w >= 1 && h >= 1 && w % need == 0 && h % need == 0) return LDM_OK;
    app_pipeline_sizes(s, w, &wl, &wh);
    app_pipeline_sizes(s, h, &hl, &hh);
    if (w % need == 0 && w > 0) wh = wl;
    if (h % need == 0 && h > 0) hh = hl;
    return ldm_fail(LDM_ERR_ARG,
                    "picture of %lld x %lld: %s needs multiples of %lld; the nearest are %lld x %lld and %lld x %lld", (long long)w,
                    (long long)h, s->config.name ? s->config.name : "this model", (long long)need, (long long)wl, (long long)hl,
                    (long long)wh, (long long)hh);
}

static bool of_text(const ldm_system *s) { return app_has(s, LDM_PART_TEXT); }

/* What it is guided away from: another prompt, a null class, a context of zeros. */
static ldm_status check_guidance(const app_pipeline_options *o) {
    const ldm_system *s = o->system;
    bool can = (of_text(s) && s->task != LDM_TASK_LAYOUT) || s->task == LDM_TASK_RETRIEVAL ||
               (s->config.condition == LDM_COND_CLASS && s->config.null_class >= 0);
    if (!isfinite(o->cfg_scale)) return ldm_fail(LDM_ERR_ARG, "--cfg-scale: wanted a number");
    if (o->cfg_scale == 1 || can) return LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "--cfg-scale %g: %s has no null class and no prompt, so it cannot be guided; only 1 is possible",
                    o->cfg_scale, s->config.name ? s->config.name : "this model");
}

static ldm_status check_windows(const app_pipeline_options *o) {
    const int64_t size = o->windows.size, need = ldm_unet_multiple(&o->system->config.unet);
    if (!size) return LDM_OK;
    if (size < 2 || size % need)
        return ldm_fail(LDM_ERR_ARG, "--patch-size %lld: wanted a multiple of %lld, such as %lld", (long long)size, (long long)need,
                        (long long)(size < need ? need : size / need * need));
    if (o->windows.stride < 1 || o->windows.stride > size)
        return ldm_fail(LDM_ERR_ARG, "--patch-stride %lld: wanted 1 to %lld, a stride no larger than the size",
                        (long long)o->windows.stride, (long long)size);
    return LDM_OK;
}

static ldm_status make_schedule(const app_pipeline_options *o, ldm_schedule *out) {
    const ldm_system *s = o->system;
    if (o->schedule) return *out = *o->schedule, LDM_OK;
    if (s->alphas_cumprod) {
        double abar[LDM_TIMESTEPS];
        for (int i = 0; i < LDM_TIMESTEPS; i++) abar[i] = s->alphas_cumprod[i];
        return ldm_schedule_alphas(abar, LDM_TIMESTEPS, out);
    }
    return ldm_schedule_linear(s->config.linear_start, s->config.linear_end, out);
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static ldm_status plan_part(app_pipeline *p, part which, ldm_plan **out) {
    const ldm_system *s = p->s;
    ldm_plan *plan = NULL;
    if (which == LOOP) {
        p->loop.dtype = p->dtype[LOOP], p->loop.wdtype = p->wdtype[LOOP];
        return ldm_loop_plan(&p->loop, out);
    }
    ldm_status st = ldm_plan_create(p->dtype[which], p->wdtype[which], &plan);
    if (st) return st;
    const ldm_stage_config *stage = which == TINY ? &s->tiny : &s->stage;
    int f = ldm_stage_factor(&s->stage);
    ldm_tensor y = LDM_NONE;
    if (which == TEXT) {
        ldm_tensor ids = ldm_plan_input(plan, "in", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)s->text.length));
        y = ldm_text_emit(plan, &s->text, ids, p->o.clip_skip ? p->o.clip_skip : s->text.skip);
    } else if (which == ENCODER) {
        ldm_tensor x = ldm_plan_input(plan, "in", LDM_F32, ldm_shape_of(4, (int64_t)1, p->lh * f, p->lw * f, (int64_t)3));
        y = ldm_stage_emit_encoder(plan, stage, ldm_plan_cast(plan, x, plan->dtype));
    } else if (which == RESCALER) { /* halved already, exactly, by whoever made the shares */
        ldm_tensor x = ldm_plan_input(plan, "in", LDM_F32, ldm_shape_of(4, (int64_t)1, p->lh, p->lw, (int64_t)s->config.labels));
        y = ldm_rescaler_emit(plan, 0, (int)p->loop.concat, ldm_plan_cast(plan, x, plan->dtype));
    } else {
        int64_t h = p->lh, w = p->lw;
        if (which == DECODER && p->o.tiling) app_tile_size(p->o.tiling, p->lh, p->lw, &h, &w);
        ldm_tensor z = ldm_plan_input(plan, "in", LDM_F32, ldm_shape_of(4, (int64_t)1, h, w, (int64_t)p->channels));
        y = ldm_stage_emit_decoder(plan, stage, ldm_plan_cast(plan, z, plan->dtype));
    }
    app_plan_output(plan, y);
    if ((st = plan->status)) ldm_plan_destroy(plan);
    else *out = plan;
    return st;
}

static ldm_status make_part(app_pipeline *p, part which) {
    ldm_plan *plan = NULL;
    if (p->engine[which].exec) return app_engine_use(&p->pool, &p->engine[which]), LDM_OK;
    ldm_status st = plan_part(p, which, &plan);
    return st ? ldm_prefix(st, "%s", part_names[which]) : app_engine_make(&p->pool, &p->engine[which], part_names[which], plan);
}

/* A part other than the loop on one input; *y is allocated. */
static ldm_status run_once(app_pipeline *p, part which, const float *in, float **y, int64_t *count) {
    ldm_status st = LDM_OK;
    float *data = NULL;
    TRY(make_part(p, which));
    app_engine *e = &p->engine[which];
    TRY(ldm_exec_write(e->exec, ldm_plan_find(e->plan, "in"), in));
    TRY(ldm_exec_run(e->exec, 0));
    TRY(ldm_exec_finish(e->exec));
    TRY(ldm_check_interrupt());
    ldm_tensor t = ldm_plan_find(e->plan, "y");
    *count = ldm_shape_count(&ldm_plan_tensor(e->plan, t)->shape);
    TRY(ldm_alloc((size_t)*count * sizeof *data, (void **)&data));
    TRY(ldm_exec_read(e->exec, t, data));
    TRY(app_name_block(app_check_finite(data, *count, part_names[which]), e->exec, 0));
    *y = data, data = NULL;
done:
    free(data);
    return st;
}

static ldm_status run_part(app_pipeline *p, part which, const float *in, float **y, int64_t *count) {
    ldm_status st = run_once(p, which, in, y, count);
    if (!app_retry_in_f32(st, &p->dtype[which], &p->wdtype[which])) return st;
    app_engine_drop(&p->pool, &p->engine[which]);
    return run_once(p, which, in, y, count);
}

bool app_pipeline_encodes(const app_pipeline *p) {
    ldm_stage_kind kind = p->s->stage.kind;
    return kind == LDM_STAGE_IDENTITY || app_has(p->s, kind == LDM_STAGE_TAESD ? LDM_PART_TINY_ENCODER : LDM_PART_ENCODER);
}

ldm_status app_pipeline_encode(app_pipeline *p, const float *map, float **moments) {
    int64_t count;
    if (!app_pipeline_encodes(p))
        return ldm_fail(LDM_ERR_FORMAT, "%s: has no encoder, which pictures given need", p->s->path ? p->s->path : "the model");
    ldm_status st = run_part(p, ENCODER, map, moments, &count);
    app_engine_drop(&p->pool, &p->engine[ENCODER]); /* once a run */
    return st;
}

/* One tile of a latent through the decoder. */
static ldm_status decode_tile(void *user, const float *z, float *map) {
    int64_t count;
    float *y = NULL;
    ldm_status st = run_part(user, DECODER, z, &y, &count);
    if (!st) memcpy(map, y, (size_t)count * sizeof *map);
    free(y);
    return st;
}

static ldm_status decode_in_tiles(app_pipeline *p, const float *z, float **map) {
    int f = ldm_stage_factor(&p->s->stage);
    float *whole = NULL;
    ldm_status st = ldm_alloc((size_t)(p->lh * p->lw * f * f * 3) * sizeof *whole, (void **)&whole);
    if (!st) st = app_decode_tiles(p->o.tiling, z, p->lh, p->lw, p->channels, f, decode_tile, p, whole);
    if (st) free(whole);
    else *map = whole;
    return st;
}

ldm_status app_pipeline_latent(app_pipeline *p, const float *map, float *latent) {
    float *moments = NULL;
    ldm_status st = app_pipeline_encode(p, map, &moments);
    if (!st) app_posterior(&p->s->stage, moments, p->lh * p->lw, p->channels, NULL, p->s->stage_scale, latent);
    free(moments);
    return st;
}

ldm_status app_pipeline_decode_map(app_pipeline *p, bool tiny, const float *latent, float **map) {
    int64_t count = p->lh * p->lw * p->channels;
    double scale = tiny ? p->s->tiny_scale : p->s->stage_scale;
    float *z;
    ldm_status st = ldm_alloc((size_t)count * sizeof *z, (void **)&z);
    if (st) return st;
    for (int64_t i = 0; i < count; i++) z[i] = latent[i] / (float)scale;
    st = p->o.tiling && !tiny ? decode_in_tiles(p, z, map) : run_part(p, tiny ? TINY : DECODER, z, map, &count);
    free(z);
    return st;
}

ldm_status app_pipeline_decode(app_pipeline *p, bool tiny, const float *latent, ldm_image *out) {
    const ldm_stage_config *stage = tiny ? &p->s->tiny : &p->s->stage;
    int f = ldm_stage_factor(stage);
    ldm_image im = {.w = p->lw * f, .h = p->lh * f};
    float *map = NULL;
    ldm_status st = LDM_OK;
    TRY(app_pipeline_decode_map(p, tiny, latent, &map));
    TRY(ldm_alloc((size_t)(im.w * im.h * 3), (void **)&im.data));
    app_map_to_image(stage, map, im.w * im.h * 3, im.data);
    *out = im, im.data = NULL;
done:
    free(map), free(im.data);
    return st;
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static ldm_status tokenizer_of(app_pipeline *p) {
    const ldm_system *s = p->s;
    if (p->tokenizer) return LDM_OK;
    if (s->tokenizer) return ldm_tokenizer_folder(s->tokenizer, &p->tokenizer);
    return ldm_tokenizer_builtin(s->text.kind == LDM_TEXT_BERT ? LDM_TOKENIZER_BERT : LDM_TOKENIZER_CLIP, &p->tokenizer);
}

/* ids [length] through the text encoder. */
static ldm_status encode_ids(app_pipeline *p, const int32_t *ids, float **context) {
    int64_t count;
    int length = p->s->text.length;
    float *as_float;
    ldm_status st = ldm_alloc((size_t)length * sizeof *as_float, (void **)&as_float);
    if (st) return st;
    for (int i = 0; i < length; i++) as_float[i] = (float)ids[i];
    st = run_part(p, TEXT, as_float, context, &count);
    free(as_float);
    return st;
}

static const kept_text *find_text(const app_pipeline *p, const char *text) {
    for (int i = 0; i < p->texts; i++)
        if (!strcmp(p->text[i].text, text)) return &p->text[i];
    return NULL;
}

static void forget_texts(app_pipeline *p) {
    for (int i = 0; i < p->texts; i++) free(p->text[i].text), free(p->text[i].context);
    p->texts = 0;
}

/* The context of a prompt into the kept ones, of which there is room for one more. */
static ldm_status keep_text(app_pipeline *p, const char *text) {
    ldm_status st = LDM_OK;
    int32_t *ids = NULL;
    kept_text k = {0};
    ldm_tokenized info;
    if (find_text(p, text)) return LDM_OK;
    TRY(tokenizer_of(p));
    TRY(ldm_alloc((size_t)p->s->text.length * sizeof *ids, (void **)&ids));
    const int pad = p->s->tokenizer ? ldm_tokenizer_pad(p->tokenizer) : p->s->text.pad; /* a folder says its own */
    TRY(ldm_tokenize(p->tokenizer, text, p->s->text.length, pad, ids, &info));
    app_prompt_notes(text, &info);
    TRY(encode_ids(p, ids, &k.context));
    if (!(k.text = strdup(text))) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for a prompt is not there"));
    p->text[p->texts++] = k, k = (kept_text){0};
done:
    free(ids), free(k.text), free(k.context);
    return st;
}

/* ---- one group --------------------------------------------------------------------------------------------------- */

typedef struct group {
    app_pipeline *p;
    const app_picture *picture; /* [n]; the rest of the group repeats the last */
    int n, all;
    int64_t one; /* elements of a latent */
    ldm_rng **noise; /* [all] generators */
    float *drawn;      /* one latent as PyTorch draws it, [c,lh,lw] */
    float *x, *z0, *known_noise, *concat, *context, *classes, *labels, *x0;
    char (*start)[LDM_SHA256_HEX];
    ldm_progress bar;
    const app_pipeline_hooks *hooks;
    int failed; /* the step, from 1, after which x was not finite */
} group;

static const app_picture *member(const group *g, int i) { return &g->picture[i < g->n ? i : g->n - 1]; }

static void group_free(group *g) {
    for (int i = 0; g->noise && i < g->all; i++) ldm_rng_destroy(g->noise[i]);
    free(g->noise), free(g->drawn), free(g->x), free(g->z0), free(g->known_noise), free(g->concat), free(g->context);
    free(g->classes), free(g->labels), free(g->x0), free(g->start);
}

/* [h,w,c] of fresh noise of picture i. */
static void draw(group *g, int i, float *dst) {
    app_pipeline *p = g->p;
    ldm_rng_fill(g->noise[i], g->drawn, g->one);
    ldm_nchw_to_nhwc(g->drawn, 1, p->channels, p->lh, p->lw, dst);
}

static ldm_status fresh_noise(void *user, int step, float *dst) {
    group *g = user;
    (void)step;
    for (int i = 0; i < g->all; i++) draw(g, i, dst + i * g->one);
    return LDM_OK;
}

/* A sample of a first stage's posterior with the picture's next random numbers; none are drawn where there is nothing to
 * sample. */
static void posterior(group *g, int i, const float *moments, float *z) {
    app_pipeline *p = g->p;
    bool kl = p->s->stage.kind == LDM_STAGE_KL;
    if (kl) ldm_rng_fill(g->noise[i], g->drawn, g->one);
    app_posterior(&p->s->stage, moments, p->lh * p->lw, p->channels, kl ? g->drawn : NULL, p->s->stage_scale, z);
}

/* The starting noise of picture i, from the generator or from the file given. */
static void starting_noise(group *g, int i, float *dst) {
    app_pipeline *p = g->p;
    const ldm_array *a = p->o.init_latent;
    draw(g, i, dst); /* drawn in any case: what follows does not depend on the file */
    if (!a) return;
    int64_t at = a->shape.dim[0] == 1 ? 0 : member(g, i)->number % a->shape.dim[0];
    ldm_nchw_to_nhwc((const float *)a->data + at * g->one, 1, p->channels, p->lh, p->lw, dst);
}

static void hash_start(group *g, int i) {
    app_pipeline *p = g->p;
    ldm_nhwc_to_nchw(g->x + i * g->one, 1, p->channels, p->lh, p->lw, g->drawn);
    ldm_sha256_hex(g->drawn, (size_t)g->one * sizeof(float), g->start[i]);
}

/* What follows z into the network for picture i. */
static ldm_status concatenated(group *g, int i, float *dst) {
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
static ldm_status start_picture(group *g, int i) {
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

/* A model of layouts is told where each window lies. */
static int windows_of_layout(const app_pipeline *p) {
    return p->loop.windows.own_contexts ? ldm_windows_count(p->loop.windows, p->lh, p->lw) : 1;
}

/* The unconditional half first. */
static void conditioning(group *g) {
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
            for (int k = 0; k < windows_of_layout(p); k++)
                memcpy(to + k * g->all * size, p->text[0].context + k * size, (size_t)size * sizeof *to);
        else {
            const char *text = i < first ? m->negative : m->prompt;
            memcpy(to, find_text(p, text ? text : "")->context, (size_t)size * sizeof *to);
        }
    }
    for (int i = 0; g->labels && i < g->all; i++) g->labels[i] = (float)p->o.noise_level;
}

static ldm_status floats(int64_t n, float **out) { return ldm_alloc((size_t)n * sizeof **out, (void **)out); }

static ldm_status group_make(app_pipeline *p, const app_picture *pictures, int n, group *g) {
    ldm_status st = LDM_OK;
    int all = p->o.at_once, batch = p->guided ? 2 * all : all;
    *g = (group){.p = p, .picture = pictures, .n = n, .all = all, .one = p->lh * p->lw * p->channels};
    TRY(ldm_alloc((size_t)all * sizeof *g->noise, (void **)&g->noise));
    TRY(ldm_alloc((size_t)all * sizeof *g->start, (void **)&g->start));
    TRY(floats(g->one, &g->drawn));
    TRY(floats(all * g->one, &g->x));
    TRY(floats(all * g->one, &g->known_noise));
    if (p->moments) TRY(floats(all * g->one, &g->z0));
    if (p->loop.concat) TRY(floats(all * p->lh * p->lw * p->loop.concat, &g->concat));
    if (p->loop.n_classes) TRY(floats(batch, &g->classes));
    else if (p->loop.tokens) TRY(floats(windows_of_layout(p) * batch * p->loop.tokens * p->width, &g->context));
    if (p->s->config.unet.num_classes) TRY(floats(all, &g->labels));
    if (p->o.keeps_x0) TRY(floats(all * g->one, &g->x0));
    for (int i = 0; i < all; i++) TRY(start_picture(g, i));
    conditioning(g);
done:
    return st;
}

/* After every step the latent is looked at: a network that overflows is named by its step and block, and no picture is made of
 * it. */
static ldm_status after_step(void *user, int step, double seconds) {
    group *g = user;
    app_pipeline *p = g->p;
    char what[80];
    ldm_exec *e = p->engine[LOOP].exec;
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
static ldm_status group_once(group *g) {
    app_pipeline *p = g->p;
    ldm_status st = LDM_OK;
    TRY(make_part(p, LOOP));
    ldm_exec *e = p->engine[LOOP].exec;
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
    p->pool.held = &p->engine[LOOP];
    TRY(ldm_loop_run(&p->loop, e, &(ldm_loop_hooks){fresh_noise, after_step, g}));
    TRY(ldm_loop_latent(e, g->x));
done:
    p->pool.held = NULL;
    ldm_progress_end(&g->bar);
    return st;
}

static ldm_status sample_group(app_pipeline *p, const app_picture *pictures, int n, const app_pipeline_hooks *hooks, float *latents,
                               app_result *results) {
    ldm_status st = LDM_OK;
    group g = {0};
    double start = ldm_now();
    for (int again = 0;;) { /* a step that is not finite: made again to name its block, then once more in f32 */
        TRY(group_make(p, pictures, n, &g));
        g.hooks = hooks;
        st = group_once(&g);
        if (st == LDM_ERR_NONFINITE && !p->loop.checked && g.failed) {
            p->loop.checked = g.failed;
        } else {
            p->loop.checked = 0;
            if (again++ || !app_retry_in_f32(st, &p->dtype[LOOP], &p->wdtype[LOOP])) break;
            app_engine_drop(&p->pool, &p->engine[LOOP]);
        }
        group_free(&g);
    }
    TRY(st);
    memcpy(latents, g.x, (size_t)(n * g.one) * sizeof *latents);
    for (int i = 0; i < n; i++) {
        results[i] = (app_result){.picture = &pictures[i], .latent = latents + i * g.one, .seconds = (ldm_now() - start) / n};
        memcpy(results[i].start, g.start[i], sizeof results[i].start);
    }
done:
    group_free(&g);
    return st;
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

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

/* A layout's context for each window, whose corners replace those of the whole picture. */
static ldm_status encode_layout(app_pipeline *p, const int32_t *layout, float **out) {
    const int windows = windows_of_layout(p);
    const int64_t size = p->loop.tokens * p->width;
    int32_t tokens[LDM_LAYOUT_TOKENS];
    float *all = NULL, *one = NULL;
    ldm_status st = LDM_OK;
    if (p->s->text.length != LDM_LAYOUT_TOKENS)
        return ldm_fail(LDM_ERR_FORMAT, "a model of layouts of %d tokens, wanted %d", p->s->text.length, LDM_LAYOUT_TOKENS);
    TRY(floats(windows * size, &all));
    for (int i = 0; i < windows; i++) {
        const ldm_window k = ldm_window_at(p->loop.windows, p->lh, p->lw, i);
        const double h = (double)p->lh, w = (double)p->lw;
        memcpy(tokens, layout, sizeof tokens);
        ldm_layout_crop(tokens, (double)k.x / w, (double)k.y / h, (double)(k.x + k.w) / w, (double)(k.y + k.h) / h);
        TRY(encode_ids(p, tokens, &one));
        memcpy(all + i * size, one, (size_t)size * sizeof *all);
        free(one), one = NULL;
    }
    *out = all, all = NULL;
done:
    free(all), free(one);
    return st;
}

static ldm_status contexts(app_pipeline *p, const app_picture *pictures, int count) {
    ldm_status st = LDM_OK;
    if (!of_text(p->s) || p->o.context) return LDM_OK;
    bool missing = false;
    for (int i = 0; i < count && !pictures[i].tokens; i++) missing = missing || !find_text(p, pictures[i].prompt ? pictures[i].prompt : "");
    if (missing && p->texts > CHUNK / 2) forget_texts(p);
    for (int i = 0; i < count; i++) {
        const app_picture *m = &pictures[i];
        if (m->tokens) { /* one layout a run */
            if (p->texts) continue;
            TRY(encode_layout(p, m->tokens, &p->text[0].context));
            if (!(p->text[0].text = strdup(""))) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for a layout is not there"));
            p->texts = 1;
            continue;
        }
        TRY(keep_text(p, m->prompt ? m->prompt : ""));
        if (p->guided) TRY(keep_text(p, m->negative ? m->negative : ""));
    }
    app_engine_drop(&p->pool, &p->engine[TEXT]); /* the network gets its memory */
done:
    return st;
}

/* At most CHUNK / 2 pictures: what their texts are kept for. */
static ldm_status run_chunk(app_pipeline *p, const app_picture *pictures, int count, const app_pipeline_hooks *hooks) {
    ldm_status st = LDM_OK;
    float *latents = NULL;
    app_result *results = NULL;
    int64_t one = p->lh * p->lw * p->channels;
    TRY(floats(count * one, &latents));
    TRY(ldm_alloc((size_t)count * sizeof *results, (void **)&results));
    TRY(contexts(p, pictures, count));
    for (int i = 0; i < count; i += p->o.at_once) {
        int n = count - i < p->o.at_once ? count - i : p->o.at_once;
        TRY(sample_group(p, pictures + i, n, hooks, latents + i * one, results + i));
        for (int k = i; k < i + n && !p->apart; k++) TRY(finish_picture(p, &results[k], hooks));
        if (!p->apart && !p->engine[LOOP].exec && i + n < count) { /* the decoder took its memory */
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
    int most = CHUNK / 2 > p->o.at_once ? CHUNK / 2 / p->o.at_once * p->o.at_once : p->o.at_once;
    for (int i = 0; i < count; i += most) {
        ldm_status st = run_chunk(p, pictures + i, count - i < most ? count - i : most, hooks);
        if (st) return st;
    }
    return LDM_OK;
}

/* A file of SD2 does not say whether its network predicts the noise or v: one call of it does. */
static ldm_status ask_prediction(app_pipeline *p) {
    ldm_status st = LDM_OK;
    ldm_plan *plan = NULL;
    app_engine e = {0};
    const ldm_unet_config *u = &p->s->config.unet;
    enum { SIDE = 8, TOKENS = 2 };
    float *in = NULL, out[SIDE * SIDE * 4];
    int64_t context = (int64_t)TOKENS * u->context_dim;
    TRY(floats(context > SIDE * SIDE * u->in_channels ? context : SIDE * SIDE * u->in_channels, &in));
    TRY(ldm_plan_create(LDM_F32, p->wdtype[LOOP], &plan));
    ldm_tensor x = ldm_plan_input(plan, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)SIDE, (int64_t)SIDE, (int64_t)u->in_channels)),
               temb = ldm_plan_input(plan, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->model_channels)),
               c = ldm_plan_input(plan, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)TOKENS, (int64_t)u->context_dim));
    app_plan_output(plan, ldm_unet_emit(plan, u, x, temb, c, LDM_NONE, LDM_NONE));
    st = plan->status;
    if (!st) st = app_engine_make(&p->pool, &e, "network, asked what it predicts", plan);
    else ldm_plan_destroy(plan);
    TRY(st);
    for (int64_t i = 0; i < context || i < SIDE * SIDE * u->in_channels; i++) in[i] = 0.5f;
    TRY(ldm_exec_write(e.exec, ldm_plan_find(e.plan, "x"), in));
    TRY(ldm_exec_write(e.exec, ldm_plan_find(e.plan, "context"), in));
    float *t = NULL;
    TRY(floats(u->model_channels, &t));
    ldm_timestep_embedding(999, u->model_channels, t);
    st = ldm_exec_write(e.exec, ldm_plan_find(e.plan, "temb"), t);
    free(t);
    TRY(st);
    TRY(ldm_exec_run(e.exec, 0));
    TRY(ldm_exec_read(e.exec, ldm_plan_find(e.plan, "y"), out));
    ldm_system_probe(p->s, out, SIDE * SIDE * 4);
done:
    app_engine_drop(&p->pool, &e);
    free(in);
    return st;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static ldm_status check_array(const char *what, const ldm_array *a, int64_t c, int64_t h, int64_t w) {
    char text[128];
    const int64_t *d = a->shape.dim;
    if (a->shape.rank == 4 && d[0] >= 1 && d[1] == c && d[2] == h && d[3] == w) return app_check_finite(a->data, ldm_shape_count(&a->shape), what);
    return ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted [1 or more, %lld, %lld, %lld]", what,
                    ldm_shape_text(&a->shape, text, sizeof text), (long long)c, (long long)h, (long long)w);
}

/* The init picture, and for models of inpainting what of it is kept, through the encoder once. */
static ldm_status encode_given(app_pipeline *p) {
    ldm_status st = LDM_OK;
    float *map = NULL;
    int64_t count = p->o.w * p->o.h * 3;
    bool concat = p->s->task == LDM_TASK_INPAINT_LDM || p->s->task == LDM_TASK_INPAINT_SD;
    if (!p->o.init || (concat && !p->o.mask)) return LDM_OK;
    TRY(floats(count, &map));
    if (p->o.sampler.img2img) {
        app_image_to_map(&p->s->stage, p->o.init->data, count, map);
        TRY(app_pipeline_encode(p, map, &p->moments));
    }
    if (concat) {
        app_condition_masked_picture(p->s->task == LDM_TASK_INPAINT_LDM ? APP_INPAINT_LDM : APP_INPAINT_SD, p->o.init, p->o.mask, map);
        TRY(app_pipeline_encode(p, map, &p->hole));
    } else if (p->o.mask) {
        TRY(floats(p->o.at_once * p->lh * p->lw, &p->known_mask));
        for (int i = 0; i < p->o.at_once; i++) {
            float *m = p->known_mask + i * p->lh * p->lw;
            app_condition_nearest(p->o.mask, p->o.h, p->o.w, m, p->lh, p->lw);
            for (int64_t k = 0; k < p->lh * p->lw; k++) m[k] = 1 - m[k]; /* white is repainted; the loop's mask keeps */
        }
    }
done:
    free(map);
    return st;
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
                                 .tokens = !context ? 0 : p->o.context ? p->o.context->shape.dim[0] : of_text(s) ? s->text.length : c->tokens,
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

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static ldm_status probe(app_pipeline *p, part which, size_t budget, size_t *bytes, bool *in_groups) {
    ldm_plan *plan = NULL;
    ldm_status st = plan_part(p, which, &plan);
    return ldm_prefix(st ? st : app_engine_probe(&p->pool, plan, budget, bytes, in_groups), "%s", part_names[which]);
}

/* What a part takes as it is, and where that is more than there is, at least: without and with weights in groups. */
static ldm_status needs_of(app_pipeline *p, part which, size_t budget, size_t *bytes, size_t *less, size_t *least) {
    bool in_groups;
    size_t small;
    ldm_status st = probe(p, which, SIZE_MAX, bytes, &in_groups);
    if (st || *bytes <= budget) return st;
    st = probe(p, which, budget, &small, &in_groups);
    if (less) *less = in_groups ? *bytes : small;
    if (in_groups || !less) *least = small;
    return st;
}

/* Everything is planned before anything is allocated; what is done to keep to the device's memory is said. */
static ldm_status plan_memory(app_pipeline *p) {
    const size_t budget = ldm_cl_device(p->o.cl)->global_bytes;
    ldm_needs n = {0};
    ldm_budget b;
    ldm_text text = {0};
    ldm_status st = LDM_OK;
    if (of_text(p->s) && !p->o.context) TRY(needs_of(p, TEXT, budget, &n.text, NULL, &n.text_streamed));
    TRY(needs_of(p, DECODER, budget, &n.decoder, &n.decoder_strips, &n.decoder_streamed));
    p->loop.in_turn = p->guided && p->o.in_turn;
    TRY(needs_of(p, LOOP, budget, &n.network, NULL, &n.network_streamed));
    if (p->guided && !p->o.in_turn && n.text + n.network + n.decoder > budget) {
        p->loop.in_turn = true;
        TRY(needs_of(p, LOOP, budget, &n.network_in_turn, NULL, &n.network_streamed));
    }
    TRY(ldm_budget_choose(&n, budget, &b));
    p->loop.in_turn = p->guided && (p->o.in_turn || b.in_turn);
    ldm_budget_describe(&b, budget, &text);
    ldm_note("memory: %s", text.s ? text.s : "");
done:
    ldm_text_free(&text);
    return st;
}

bool app_pipeline_in_turn(const app_pipeline *p) { return p->loop.in_turn; }

ldm_status app_pipeline_check(const app_pipeline_options *o) {
    ldm_status st = LDM_OK;
    const ldm_system *s = o->system;
    ldm_schedule schedule;
    ldm_sampler sampler = {0};
    if (s->missing) return ldm_fail(LDM_ERR_FORMAT, "%s: %s", s->path ? s->path : "the model", s->missing);
    TRY(check_size(s, o->w, o->h));
    TRY(check_guidance(o));
    TRY(check_windows(o));
    TRY(make_schedule(o, &schedule));
    TRY(ldm_sampler_make(&schedule, &o->sampler, &sampler));
done:
    ldm_sampler_free(&sampler);
    return st;
}

ldm_status app_pipeline_open(const app_pipeline_options *o, app_pipeline **out) {
    app_pipeline *p = NULL;
    ldm_system *s = o->system;
    ldm_status st = app_pipeline_check(o);
    if (st) return st;
    TRY(ldm_alloc(sizeof *p, (void **)&p));
    p->o = *o, p->s = s;
    p->pool = (app_pool){.cl = o->cl, .system = s};
    for (int i = 0; i < PARTS; i++) p->dtype[i] = o->dtype, p->wdtype[i] = o->wdtype;
    int f = ldm_stage_factor(&s->stage);
    p->lh = o->h / f, p->lw = o->w / f, p->channels = s->config.unet.out_channels;
    p->guided = o->cfg_scale != 1 && !s->config.unet.time_cond_proj_dim;
    if (s->prediction_unsure && s->config.unet.out_channels == 4) TRY(ask_prediction(p));
    p->o.sampler.prediction = s->config.prediction;
    TRY(make_schedule(o, &p->schedule));
    TRY(ldm_sampler_make(&p->schedule, &p->o.sampler, &p->sampler));
    if (o->init_latent) TRY(check_array("--init-latent", o->init_latent, p->channels, p->lh, p->lw));
    TRY(encode_given(p));
    describe_loop(p);
    if (o->windows.size) {
        const ldm_window first = ldm_window_at(o->windows, p->lh, p->lw, 0);
        ldm_note("network on %d windows of %lld x %lld elements", ldm_windows_count(o->windows, p->lh, p->lw), (long long)first.w,
                 (long long)first.h);
    }
    if (o->labels) {
        int64_t count;
        TRY(run_part(p, RESCALER, o->labels, &p->mixed, &count));
        app_engine_drop(&p->pool, &p->engine[RESCALER]);
    }
    if (p->loop.concat && !p->hole && !p->mixed && !o->noised && !o->concat)
        TRY(ldm_fail(LDM_ERR_ARG, "%s: %s", s->config.name ? s->config.name : "this model", wants(s->task)));
    TRY(plan_memory(p));
    *out = p, p = NULL;
done:
    app_pipeline_close(p);
    return st;
}

void app_pipeline_close(app_pipeline *p) {
    if (!p) return;
    app_pool_drop(&p->pool);
    forget_texts(p);
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
