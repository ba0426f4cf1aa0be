/* gen_inputs.c -- see gen_inputs.h. */
#include "app/gen_inputs.h"
#include "app/condition.h"
#include <stdlib.h>
#include <string.h>

enum { NOISE_LEVEL = 20 }; /* diffusers' default of the x4 upscaler */

void app_inputs_free(app_inputs *in) {
    ldm_image_free(&in->init), ldm_image_free(&in->small);
    free(in->mask), free(in->concat), free(in->labels), free(in->tokens);
    ldm_array_free(&in->context), ldm_array_free(&in->init_latent);
    *in = (app_inputs){0};
}

static ldm_status filter_of(const app_gen_options *g, ldm_filter *f) {
    *f = LDM_FILTER_LANCZOS;
    if (!g->resize || ldm_filter_parse(g->resize, f)) return LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "--resize %s: wanted nearest, bilinear, bicubic or lanczos", g->resize);
}

static bool enlarges(const ldm_system *s) { return s->task == LDM_TASK_SUPER_RESOLUTION || s->task == LDM_TASK_UPSCALE; }

ldm_status app_inputs_size(app_gen_options *g, const ldm_system *s) {
    int64_t w, h, high;
    int f = enlarges(s) ? ldm_stage_factor(&s->stage) : 1;
    const char *path = enlarges(s) ? g->upscale : g->init;
    ldm_status st;
    if (g->width != APP_UNSET || g->height != APP_UNSET) return LDM_OK;
    if (g->semantic && s->task == LDM_TASK_SEMANTIC) {
        ldm_labels map = {0};
        if ((st = ldm_png_labels(g->semantic, &map))) return st;
        w = map.w, h = map.h;
        ldm_labels_free(&map);
    } else if (path) {
        ldm_image im = {0};
        if ((st = ldm_picture_read(path, &im))) return st;
        w = im.w * f, h = im.h * f;
        ldm_image_free(&im);
    } else return LDM_OK;
    app_pipeline_sizes(s, w, &w, &high);
    app_pipeline_sizes(s, h, &h, &high);
    g->width = (int)w, g->height = (int)h;
    return LDM_OK;
}

/* A picture, resized to w x h if it is not so already, which is said. */
static ldm_status read_fitted(const char *path, int64_t w, int64_t h, ldm_filter f, ldm_image *out, int64_t *was_w, int64_t *was_h) {
    ldm_image im = {0};
    ldm_status st = ldm_picture_read(path, &im);
    if (st) return st;
    *was_w = im.w, *was_h = im.h;
    if (im.flattened) ldm_note("%s: its transparent pixels are laid on white", path);
    if (im.w == w && im.h == h) return *out = im, LDM_OK;
    ldm_note("%s: %lld x %lld pixels resized to %lld x %lld, %s", path, (long long)im.w, (long long)im.h, (long long)w, (long long)h,
             ldm_filter_name(f));
    st = ldm_image_resize(&im, w, h, f, out);
    ldm_image_free(&im);
    return st;
}

/* Of the init picture's own size; 1 where it is at least half white. */
static ldm_status read_mask(const app_gen_options *g, int64_t init_w, int64_t init_h, float **out) {
    ldm_status st = LDM_OK;
    ldm_grey mask = {0}, fitted = {0};
    TRY(ldm_picture_read_grey(g->mask, &mask));
    TRY(app_condition_size(g->mask, mask.w, mask.h, init_w, init_h));
    if (mask.w != g->width || mask.h != g->height) {
        TRY(ldm_grey_resize(&mask, g->width, g->height, LDM_FILTER_BILINEAR, &fitted));
        ldm_grey_free(&mask);
        mask = fitted, fitted = (ldm_grey){0};
    }
    TRY(ldm_alloc((size_t)(mask.w * mask.h) * sizeof **out, (void **)out));
    app_condition_mask(&mask, *out);
done:
    ldm_grey_free(&mask), ldm_grey_free(&fitted);
    return st;
}

static ldm_status read_labels(const app_gen_options *g, const ldm_system *s, float **out) {
    ldm_labels map = {0};
    ldm_status st = LDM_OK;
    int f = ldm_stage_factor(&s->stage);
    TRY(ldm_png_labels(g->semantic, &map));
    TRY(app_condition_size(g->semantic, map.w, map.h, g->width, g->height));
    TRY(ldm_alloc((size_t)(map.w / f * (map.h / f) * s->config.labels) * sizeof **out, (void **)out));
    TRY(app_condition_labels(&map, s->config.labels, f, g->semantic, *out));
done:
    ldm_labels_free(&map);
    return st;
}

static ldm_status read_depth(const app_gen_options *g, const ldm_system *s, float **out) {
    ldm_grey depth = {0};
    ldm_status st = LDM_OK;
    int f = ldm_stage_factor(&s->stage);
    int64_t lw = g->width / f, lh = g->height / f;
    TRY(ldm_picture_read_grey(g->depth, &depth));
    TRY(ldm_alloc((size_t)(lw * lh) * sizeof **out, (void **)out));
    TRY(app_condition_depth(&depth, s->scheduler ? 0 : 0.001, lh, lw, g->depth, *out));
done:
    ldm_grey_free(&depth);
    return st;
}

static ldm_status read_context(const app_gen_options *g, const ldm_system *s, ldm_array *out) {
    char text[128];
    ldm_status st = ldm_npy_read_f32(g->context, out);
    ldm_shape *d = &out->shape;
    if (st) return st;
    if (d->rank == 3 && d->dim[0] == 1) *d = ldm_shape_of(2, d->dim[1], d->dim[2]);
    if (d->rank == 2 && d->dim[0] >= 1 && d->dim[1] == s->config.unet.context_dim)
        return app_check_finite(out->data, ldm_shape_count(d), g->context);
    return ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted [tokens, %d]", g->context, ldm_shape_text(d, text, sizeof text),
                    s->config.unet.context_dim);
}

static int level_of(const app_gen_options *g) { return g->noise_level == APP_UNSET ? NOISE_LEVEL : g->noise_level; }

/* An option that the model has no use for. */
static ldm_status unwanted(const app_gen_options *g, const ldm_system *s) {
    bool inpaint = s->task == LDM_TASK_INPAINT_LDM || s->task == LDM_TASK_INPAINT_SD, text = app_has(s, LDM_PART_TEXT) && s->task != LDM_TASK_LAYOUT;
    const struct {
        const char *name, *given;
        bool wanted;
    } all[] = {{"--prompt", g->prompt, text},
               {"--prompts", g->prompts, text},
               {"--negative-prompt", g->negative, text},
               {"--layout", g->layout, s->task == LDM_TASK_LAYOUT},
               {"--semantic", g->semantic, s->task == LDM_TASK_SEMANTIC},
               {"--upscale", g->upscale, enlarges(s)},
               {"--depth", g->depth, s->task == LDM_TASK_DEPTH},
               {"--context", g->context, s->config.unet.use_spatial_transformer && s->task != LDM_TASK_CLASS}};
    if (g->mask && !g->init) return ldm_fail(LDM_ERR_ARG, "--mask: wanted the picture with it that it is of, --init-img");
    if (g->init && !g->mask && inpaint)
        return ldm_fail(LDM_ERR_ARG, "--init-img: %s repaints a part of it, wanted --mask too", s->config.name ? s->config.name : "this model");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given && !all[i].wanted)
            return ldm_fail(LDM_ERR_ARG, "%s: %s has no use for it", all[i].name, s->config.name ? s->config.name : "this model");
    if (s->task == LDM_TASK_LAYOUT && !g->layout && !g->context)
        return ldm_fail(LDM_ERR_ARG, "%s: its conditioning is a layout, wanted --layout", s->config.name);
    if (text && !g->prompt && !g->prompts && !g->context)
        return ldm_fail(LDM_ERR_ARG, "%s: its conditioning is a prompt, wanted --prompt or --prompts",
                        s->config.name ? s->config.name : "this model");
    if (g->noise_level != APP_UNSET && s->task != LDM_TASK_UPSCALE)
        return ldm_fail(LDM_ERR_ARG, "--noise-level: %s has no use for it", s->config.name ? s->config.name : "this model");
    int levels = s->config.noise_levels ? s->config.noise_levels : APP_NOISE_LEVELS;
    if (levels > s->config.unet.num_classes) levels = s->config.unet.num_classes;
    if (s->task == LDM_TASK_UPSCALE && (level_of(g) < 0 || level_of(g) >= levels))
        return ldm_fail(LDM_ERR_ARG, "--noise-level %d: levels are 0 to %d", level_of(g), levels - 1);
    if (s->task == LDM_TASK_RETRIEVAL && !g->context)
        return ldm_fail(LDM_ERR_ARG, "%s: its conditioning is embeddings of neighbours, wanted --context", s->config.name);
    int k = g->class_id;
    if (k != APP_UNSET && s->config.condition != LDM_COND_CLASS)
        return ldm_fail(LDM_ERR_ARG, "--class-id: %s has no classes", s->config.name ? s->config.name : "this model");
    if (k != APP_UNSET && (k < 0 || k >= s->config.n_classes))
        return ldm_fail(LDM_ERR_ARG, "--class-id %d: %s has classes 0 to %d", k, s->config.name, s->config.n_classes - 1);
    return LDM_OK;
}

ldm_status app_inputs_read(const app_gen_options *g, const ldm_system *s, app_inputs *in) {
    ldm_status st = LDM_OK;
    ldm_filter filter;
    int f = ldm_stage_factor(&s->stage);
    int64_t w, h;
    TRY(unwanted(g, s));
    TRY(filter_of(g, &filter));
    if (g->init) TRY(read_fitted(g->init, g->width, g->height, filter, &in->init, &w, &h));
    if (g->mask) TRY(read_mask(g, w, h, &in->mask));
    if (g->upscale) {
        TRY(read_fitted(g->upscale, g->width / f, g->height / f, filter, &in->small, &w, &h));
        if (s->task == LDM_TASK_SUPER_RESOLUTION) {
            TRY(ldm_alloc((size_t)(in->small.w * in->small.h * 3) * sizeof *in->concat, (void **)&in->concat));
            app_condition_picture(&in->small, in->concat);
        }
    }
    if (g->semantic) TRY(read_labels(g, s, &in->labels));
    if (g->depth) TRY(read_depth(g, s, &in->concat));
    if (g->context) TRY(read_context(g, s, &in->context));
    if (g->init_latent) TRY(ldm_npy_read_f32(g->init_latent, &in->init_latent));
    if (g->layout) {
        TRY(ldm_alloc(LDM_LAYOUT_TOKENS * sizeof *in->tokens, (void **)&in->tokens));
        TRY(ldm_layout_read(g->layout, LDM_LAYOUT_CLASSES, in->tokens));
    }
done:
    return st;
}

void app_inputs_give(const app_inputs *in, const app_gen_options *g, const ldm_system *s, app_pipeline_options *o) {
    o->init = in->init.data ? &in->init : NULL;
    o->mask = in->mask;
    o->concat = in->concat;
    o->labels = in->labels;
    o->noised = s->task == LDM_TASK_UPSCALE && in->small.data ? &in->small : NULL;
    o->noise_level = level_of(g);
    o->context = in->context.data ? &in->context : NULL;
    o->init_latent = in->init_latent.data ? &in->init_latent : NULL;
    /* models of inpainting begin from noise at strength 1, which is what their scripts do */
    bool inpaint = s->task == LDM_TASK_INPAINT_LDM || s->task == LDM_TASK_INPAINT_SD;
    o->sampler.img2img = in->init.data && (!inpaint || g->strength < 1);
}
