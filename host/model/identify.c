/* identify.c -- which known networks a checkpoint holds: those whose plan binds to it without a tensor missing,
 * misshapen or left over. What shapes do not tell (heads, schedules, training sets) leaves several candidates. */
#include "model/model.h"
#include <string.h>

/* Owns p. */
static bool fits(ldm_plan *p, const ldm_ckpt *c) {
    ldm_binding *b = NULL;
    bool ok = !p->status && ldm_bind(p, c, &(ldm_bind_options){.allow_foreign = true}, &b) == LDM_OK;
    ldm_binding_destroy(b);
    ldm_plan_destroy(p);
    return ok;
}

static ldm_tensor input(ldm_plan *p, const char *name, ldm_dtype t, int64_t h, int64_t w, int64_t c) {
    return ldm_plan_input(p, name, t, ldm_shape_of(4, (int64_t)1, h, w, c));
}

static bool fits_unet(const ldm_ckpt *c, const ldm_config *k) {
    static const char *const prefixes[] = {"model.diffusion_model.", "diffusion_model.", ""};
    const ldm_unet_config *u = &k->unet;
    const ldm_ckpt_tensor *first = NULL;
    for (int i = 0; i < 3 && !first; i++) {
        char key[64];
        snprintf(key, sizeof key, "%sinput_blocks.0.0.weight", prefixes[i]);
        first = ldm_ckpt_find(c, key);
    }
    /* most configurations end here, before a plan is made */
    if (!first || first->shape.rank != 4 || first->shape.dim[0] != u->model_channels ||
        first->shape.dim[1] != u->in_channels)
        return false;
    ldm_plan *p;
    if (ldm_plan_create(LDM_F32, LDM_F32, &p)) return false;
    int64_t side = ldm_unet_multiple(u);
    ldm_tensor x = input(p, "x", LDM_F32, side, side, u->in_channels), context = LDM_NONE, labels = LDM_NONE;
    if (k->condition == LDM_COND_CLASS && ldm_ckpt_find(c, "cond_stage_model.embedding.weight"))
        context = ldm_class_embedder_emit(p, k->n_classes, u->context_dim, input(p, "class", LDM_I32, 1, 1, 1));
    else if (u->use_spatial_transformer) context = input(p, "context", LDM_F32, 1, 1, u->context_dim);
    if (u->num_classes) labels = input(p, "labels", LDM_I32, 1, 1, 1);
    ldm_unet_emit(p, u, x, input(p, "temb", LDM_F32, 1, 1, u->model_channels), context, labels, LDM_NONE);
    return fits(p, c);
}

static bool fits_half(const ldm_ckpt *c, const ldm_stage_config *k, bool encoder) {
    ldm_plan *p;
    if (ldm_plan_create(LDM_F32, LDM_F32, &p)) return false;
    int64_t f = ldm_stage_factor(k);
    if (encoder) ldm_stage_emit_encoder(p, k, input(p, "x", LDM_F32, f, f, 3));
    else ldm_stage_emit_decoder(p, k, input(p, "z", LDM_F32, 1, 1, ldm_stage_latent_channels(k)));
    return fits(p, c);
}

/* The tiny autoencoders' halves are files of their own. */
static bool fits_stage(const ldm_ckpt *c, const ldm_stage_config *k) {
    if (k->kind == LDM_STAGE_IDENTITY) return false;
    if (k->kind == LDM_STAGE_TAESD) return fits_half(c, k, true) || fits_half(c, k, false);
    return fits_half(c, k, false) && fits_half(c, k, true);
}

ldm_status ldm_identify(const ldm_ckpt *c, const ldm_config **config, const ldm_stage_config **stage, ldm_text *words) {
    int configs = 0, stages = 0;
    ldm_text all = {0};
    *config = NULL, *stage = NULL;
    for (const ldm_config *const *k = ldm_config_list(); *k; k++) {
        if (!fits_unet(c, *k)) continue;
        *config = configs++ ? NULL : *k;
        ldm_text_add(&all, "%s%s (%s)", configs > 1 ? ", or " : "UNet of ", (*k)->name, (*k)->about);
    }
    for (const ldm_stage_config *const *k = ldm_stage_list(); *k; k++) {
        if (!fits_stage(c, *k)) continue;
        *stage = stages++ ? NULL : *k;
        ldm_text_add(&all, "%s%s", stages > 1 ? ", or " : all.len ? "; first stage " : "first stage ", (*k)->name);
    }
    if (!configs && !stages) ldm_text_add(&all, "no known network");
    if (words) ldm_text_add(words, "%s", all.s ? all.s : "");
    ldm_text_free(&all);
    return LDM_OK;
}
