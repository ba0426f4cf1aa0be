/* autoencoder.c -- the KL and VQ first stages: ldm/modules/diffusionmodules/model.py (Encoder, Decoder) with
 * quant_conv, post_quant_conv and the codebook of ldm/models/autoencoder.py. SiLU everywhere, every norm GroupNorm(32)
 * with eps 1e-6. The tiny autoencoders are in tiny.c. */
#include "model/layers.h"

enum { GROUPS = 32, NOMINAL = 256 };
static const double norm_eps = 1e-6;

int ldm_stage_factor(const ldm_stage_config *c) {
    return c->kind == LDM_STAGE_IDENTITY ? 1 : c->kind == LDM_STAGE_TAESD ? 8 : 1 << (c->levels - 1);
}

int ldm_stage_latent_channels(const ldm_stage_config *c) {
    return c->kind == LDM_STAGE_IDENTITY ? 3 : c->kind == LDM_STAGE_TAESD ? c->z_channels : c->embed_dim;
}

/* Attention is placed by the size a level has at the nominal 256, whatever the picture's own size. */
static bool attends(const ldm_stage_config *c, int level) {
    for (int i = 0; i < c->attentions; i++)
        if (c->attn_resolutions[i] == NOMINAL >> level) return !c->attn_none;
    return false;
}

static ldm_map resnet_block(ldm_plan *p, const char *name, ldm_map x, int64_t out) {
    ldm_plan_push(p, "%s", name);
    ldm_map h = ldm_emit_group_norm(p, "norm1", x, GROUPS, norm_eps, "silu", NULL);
    h = ldm_emit_conv(p, "conv1", h, out, LDM_CONV(.gain = LDM_AFTER_ACT));
    h = ldm_emit_group_norm(p, "norm2", h, GROUPS, norm_eps, "silu", NULL);
    if (x.c != out) x = ldm_emit_conv(p, "nin_shortcut", x, out, LDM_CONV(.kernel = 1));
    h = ldm_emit_conv(p, "conv2", h, out, LDM_CONV(.residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

/* AttnBlock: one head as wide as the map has channels. */
static ldm_map attn_block(ldm_plan *p, const char *name, ldm_map x) {
    ldm_plan_push(p, "%s", name);
    ldm_map h = ldm_emit_group_norm(p, "norm", x, GROUPS, norm_eps, "none", NULL);
    ldm_map q = ldm_emit_linear(p, "q", h, x.c, LDM_LINEAR(.stored = LDM_STORED_CONV2D));
    ldm_map k = ldm_emit_linear(p, "k", h, x.c, LDM_LINEAR(.stored = LDM_STORED_CONV2D));
    ldm_map v = ldm_emit_linear(p, "v", h, x.c, LDM_LINEAR(.stored = LDM_STORED_CONV2D));
    h = ldm_emit_attention(p, q, k, v, 1, false);
    h = ldm_emit_linear(p, "proj_out", h, x.c,
                        LDM_LINEAR(.stored = LDM_STORED_CONV2D, .residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

/* One level: ResnetBlocks, each followed by attention where the level has it. */
static ldm_map level_blocks(ldm_plan *p, const ldm_stage_config *c, ldm_map x, int level, int blocks) {
    char name[32];
    for (int j = 0; j < blocks; j++) {
        snprintf(name, sizeof name, "block.%d", j);
        x = resnet_block(p, name, x, (int64_t)c->ch * c->ch_mult[level]);
        if (!attends(c, level)) continue;
        snprintf(name, sizeof name, "attn.%d", j);
        x = attn_block(p, name, x);
    }
    return x;
}

/* The middle attention is there even where no level attends; attn_type none takes it out too. */
static ldm_map middle(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    ldm_plan_push(p, "mid");
    x = resnet_block(p, "block_1", x, x.c);
    if (!c->attn_none) x = attn_block(p, "attn_1", x);
    x = resnet_block(p, "block_2", x, x.c);
    ldm_plan_pop(p);
    return x;
}

/* conv_in, levels with a halving (zeros right and below only) between them, middle, conv_out; then quant_conv. */
static ldm_map encoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    int halves = c->kind == LDM_STAGE_KL ? 2 : 1; /* KL: mean, log-variance */
    ldm_plan_push(p, "encoder");
    x = ldm_emit_conv(p, "conv_in", x, c->ch, LDM_CONV(0));
    for (int i = 0; i < c->levels; i++) {
        ldm_plan_push(p, "down.%d", i);
        x = level_blocks(p, c, x, i, c->num_res_blocks);
        if (i < c->levels - 1) x = ldm_emit_conv(p, "downsample.conv", x, x.c, LDM_CONV(.stride = 2, .pad_end = true));
        ldm_plan_pop(p);
    }
    x = middle(p, c, x);
    x = ldm_emit_group_norm(p, "norm_out", x, GROUPS, norm_eps, "silu", NULL);
    x = ldm_emit_conv(p, "conv_out", x, halves * c->z_channels, LDM_CONV(.gain = LDM_AFTER_ACT));
    ldm_plan_pop(p);
    return ldm_emit_conv(p, "quant_conv", x, halves * c->embed_dim, LDM_CONV(.kernel = 1));
}

/* VQ: nearest codeword; then post_quant_conv and the mirror of the encoder with one more block a level. `up.{i}` is
 * named by resolution level, 0 the full size, and runs from the highest down. */
static ldm_map decoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    if (c->kind == LDM_STAGE_VQ)
        x.t = ldm_emit_lookup(p, "vq_lookup", x.t, x.n * x.h * x.w, "quantize.embedding.weight", c->n_embed,
                              c->embed_dim, 1);
    x = ldm_emit_conv(p, "post_quant_conv", x, c->z_channels, LDM_CONV(.kernel = 1));
    ldm_plan_push(p, "decoder");
    x = ldm_emit_conv(p, "conv_in", x, (int64_t)c->ch * c->ch_mult[c->levels - 1], LDM_CONV(0));
    x = middle(p, c, x);
    for (int i = c->levels - 1; i >= 0; i--) {
        ldm_plan_push(p, "up.%d", i);
        x = level_blocks(p, c, x, i, c->num_res_blocks + 1);
        if (i > 0) x = ldm_emit_conv(p, "upsample.conv", x, x.c, LDM_CONV(.up = 2));
        ldm_plan_pop(p);
    }
    x = ldm_emit_group_norm(p, "norm_out", x, GROUPS, norm_eps, "silu", NULL);
    x = ldm_emit_conv(p, "conv_out", x, 3, LDM_CONV(.gain = LDM_AFTER_ACT));
    ldm_plan_pop(p);
    return x;
}

static const char *label(const ldm_stage_config *c) { return c->name ? c->name : "first stage"; }

ldm_tensor ldm_stage_emit_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor x) {
    ldm_map m = ldm_as_map(p, x);
    if (!ldm_check_map(p, label(c), m, 3, ldm_stage_factor(c))) return LDM_NONE;
    if (c->kind == LDM_STAGE_IDENTITY) return x;
    return (c->kind == LDM_STAGE_TAESD ? ldm_emit_tiny_encoder(p, c, m) : encoder(p, c, m)).t;
}

ldm_tensor ldm_stage_emit_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor z) {
    ldm_map m = ldm_as_map(p, z);
    if (!ldm_check_map(p, label(c), m, ldm_stage_latent_channels(c), 1)) return LDM_NONE;
    if (c->kind == LDM_STAGE_IDENTITY) return z;
    return (c->kind == LDM_STAGE_TAESD ? ldm_emit_tiny_decoder(p, c, m) : decoder(p, c, m)).t;
}
