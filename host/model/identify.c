/* identify.c -- which known network a checkpoint is: by the names and shapes of a few tensors that differ between them.
 */
#include "model/model.h"
#include <string.h>

static const ldm_shape *shape_of(const ldm_ckpt *c, const char *name) {
    static const char *const prefixes[] = {"", "model.diffusion_model.", "first_stage_model.", NULL};
    for (int i = 0; prefixes[i]; i++) {
        char key[200];
        snprintf(key, sizeof key, "%s%s", prefixes[i], name);
        const ldm_ckpt_tensor *t = ldm_ckpt_find(c, key);
        if (t) return &t->shape;
    }
    return NULL;
}

static bool is(const ldm_ckpt *c, const char *name, int axis, int64_t want) {
    const ldm_shape *s = shape_of(c, name);
    return s && axis < s->rank && s->dim[axis] == want;
}

/* Every parameter of the UNet is there with its count: the plan itself is the description. */
static bool fits(const ldm_ckpt *c, const ldm_config *k) {
    const ldm_unet_config *u = &k->unet;
    if (!is(c, "input_blocks.0.0.weight", 0, u->model_channels) || !is(c, "input_blocks.0.0.weight", 1, u->in_channels))
        return false;
    ldm_plan *p = NULL;
    bool all = ldm_plan_create(LDM_F32, LDM_F32, &p) == LDM_OK;
    if (!all) return false;
    int64_t side = ldm_unet_multiple(u);
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, (int64_t)u->in_channels));
    ldm_tensor temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->model_channels));
    ldm_tensor context =
        u->context_dim
            ? ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)1, (int64_t)u->context_dim))
            : LDM_NONE;
    ldm_unet_emit(p, u, x, temb, context, LDM_NONE);
    for (int t = 0; t < p->tensors && all; t++) {
        if (p->tensor[t].kind != LDM_PARAM) continue;
        const ldm_shape *s = shape_of(c, p->tensor[t].name);
        all = s && ldm_shape_count(s) == ldm_shape_count(&p->tensor[t].shape);
    }
    /* nothing beyond its last block either */
    char next[64];
    snprintf(next, sizeof next, "output_blocks.%d.0.in_layers.0.weight", u->levels * (u->num_res_blocks + 1));
    all = all && !p->status && !shape_of(c, next);
    ldm_plan_destroy(p);
    if (all && k->condition == LDM_COND_CLASS) {
        const ldm_ckpt_tensor *e = ldm_ckpt_find(c, "cond_stage_model.embedding.weight");
        all = !e || (e->shape.rank == 2 && e->shape.dim[0] == k->n_classes);
    }
    return all;
}

static bool fits_stage(const ldm_ckpt *c, const ldm_stage_config *k) {
    if (k->kind == LDM_STAGE_IDENTITY) return false;
    if (k->kind == LDM_STAGE_TAESD) {
        bool encoder = is(c, "14.weight", 0, k->z_channels) && is(c, "0.weight", 1, 3),
             decoder = is(c, "1.weight", 1, k->z_channels) && is(c, "19.weight", 0, 3);
        return (encoder || decoder) &&
               (shape_of(c, encoder ? "11.pool.0.weight" : "3.pool.0.weight") != NULL) == k->pool;
    }
    char deepest[64], deeper[64];
    snprintf(deepest, sizeof deepest, "decoder.up.%d.block.0.conv1.weight", k->levels - 1);
    snprintf(deeper, sizeof deeper, "decoder.up.%d.block.0.conv1.weight", k->levels);
    if (!is(c, deepest, 0, (int64_t)k->ch * k->ch_mult[k->levels - 1]) || shape_of(c, deeper)) return false;
    if (!is(c, "post_quant_conv.weight", 0, k->z_channels) || !is(c, "post_quant_conv.weight", 1, k->embed_dim))
        return false;
    const ldm_shape *book = shape_of(c, "quantize.embedding.weight");
    if (k->kind == LDM_STAGE_VQ ? !book || book->dim[0] != k->n_embed : book != NULL) return false;
    for (int i = 0; i < k->levels; i++) {
        char attn[64];
        bool wanted = false;
        for (int j = 0; j < k->attentions; j++) wanted |= !k->attn_none && k->attn_resolutions[j] == 256 >> i;
        snprintf(attn, sizeof attn, "decoder.up.%d.attn.0.q.weight", i);
        if ((shape_of(c, attn) != NULL) != wanted) return false;
        char width[64];
        snprintf(width, sizeof width, "decoder.up.%d.block.0.conv1.weight", i);
        if (!is(c, width, 0, (int64_t)k->ch * k->ch_mult[i])) return false;
    }
    return (shape_of(c, "decoder.mid.attn_1.q.weight") != NULL) == !k->attn_none;
}

ldm_status ldm_identify(const ldm_ckpt *c, const ldm_config **config, const ldm_stage_config **stage, ldm_text *words) {
    int n_config = 0, n_stage = 0;
    *config = NULL, *stage = NULL;
    for (int i = 0; ldm_config_list()[i]; i++) {
        const ldm_config *k = ldm_config_list()[i];
        if (!fits(c, k)) continue;
        *config = n_config++ ? NULL : k;
        if (words) ldm_text_add(words, "%s%s (%s)", words->len ? ", or " : "UNet of ", k->name, k->about);
    }
    for (int i = 0; ldm_stage_list()[i]; i++) {
        const ldm_stage_config *k = ldm_stage_list()[i];
        if (!fits_stage(c, k)) continue;
        *stage = n_stage++ ? NULL : k;
        if (words) ldm_text_add(words, "%s%s", words->len ? "; first stage " : "first stage ", k->name);
    }
    if (words && !words->len) ldm_text_add(words, "no known network");
    return LDM_OK;
}
