/* autoencoder.c -- the KL and VQ first stages: ldm/modules/diffusionmodules/model.py (Encoder, Decoder) with quant_conv,
 * post_quant_conv and the codebook. Activation SiLU, every norm GroupNorm(32) with eps 1e-6. */
#include "model/layers.h"

int ldm_stage_factor(const ldm_stage_config *c) {
    return c->kind == LDM_STAGE_IDENTITY ? 1 : c->kind == LDM_STAGE_TAESD ? 8 : 1 << (c->levels - 1);
}

/* Attention is placed by the size a level has at the nominal 256, whatever the picture's own size. */
static bool attends(const ldm_stage_config *c, int level) {
    for (int i = 0; i < c->attentions; i++)
        if (c->attn_resolutions[i] == 256 >> level) return !c->attn_none;
    return false;
}

static ldm_map resnet(ldm_plan *p, const char *name, ldm_map x, int64_t out) {
    ldm_plan_push(p, "%s", name);
    ldm_map h = ldm_emit_group_norm(p, "norm1", x, 32, 1e-6, "silu", LDM_NONE);
    h = ldm_emit_conv(p, "conv1", h, out, LDM_CONV());
    h = ldm_emit_group_norm(p, "norm2", h, 32, 1e-6, "silu", LDM_NONE);
    if (x.c != out) x = ldm_emit_conv(p, "nin_shortcut", x, out, LDM_CONV(.kernel = 1));
    h = ldm_emit_conv(p, "conv2", h, out, LDM_CONV(.residual = x.t, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

/* One level: ResnetBlocks, each followed by attention where the level has it. */
static ldm_map level_blocks(ldm_plan *p, const ldm_stage_config *c, ldm_map x, int level, int blocks) {
    char name[24];
    for (int j = 0; j < blocks; j++) {
        snprintf(name, sizeof name, "block.%d", j);
        x = resnet(p, name, x, (int64_t)c->ch * c->ch_mult[level]);
        snprintf(name, sizeof name, "attn.%d", j);
        if (attends(c, level)) x = ldm_emit_attn_block(p, name, x);
    }
    return x;
}

static ldm_map middle(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    ldm_plan_push(p, "mid");
    x = resnet(p, "block_1", x, x.c);
    if (!c->attn_none) x = ldm_emit_attn_block(p, "attn_1", x);
    x = resnet(p, "block_2", x, x.c);
    ldm_plan_pop(p);
    return x;
}

static bool refuse(ldm_plan *p, const ldm_stage_config *c, ldm_map x, int channels, int multiple) {
    if (!p->status && x.c != channels)
        p->status = ldm_fail(LDM_ERR_ARG, "%s: input of %lld channels, %d wanted", c->name ? c->name : "first stage", (long long)x.c, channels);
    if (!p->status && (x.h % multiple || x.w % multiple))
        p->status = ldm_fail(LDM_ERR_ARG, "%s: input of %lld x %lld: height and width must be multiples of %d", c->name ? c->name : "first stage", (long long)x.h, (long long)x.w, multiple);
    return p->status != LDM_OK;
}

static ldm_tensor encoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    bool kl = c->kind == LDM_STAGE_KL;
    ldm_plan_push(p, "encoder");
    x = ldm_emit_conv(p, "conv_in", x, c->ch, LDM_CONV());
    for (int i = 0; i < c->levels; i++) {
        ldm_plan_push(p, "down.%d", i);
        x = level_blocks(p, c, x, i, c->num_res_blocks);
        if (i < c->levels - 1) x = ldm_emit_conv(p, "downsample.conv", x, x.c, LDM_CONV(.stride = 2, .pad_end = true));
        ldm_plan_pop(p);
    }
    x = middle(p, c, x);
    x = ldm_emit_group_norm(p, "norm_out", x, 32, 1e-6, "silu", LDM_NONE);
    x = ldm_emit_conv(p, "conv_out", x, kl ? 2 * c->z_channels : c->z_channels, LDM_CONV());
    ldm_plan_pop(p);
    return ldm_emit_conv(p, "quant_conv", x, kl ? 2 * c->embed_dim : c->embed_dim, LDM_CONV(.kernel = 1)).t;
}

static ldm_tensor decoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    if (c->kind == LDM_STAGE_VQ) {
        ldm_tensor book = ldm_plan_param(p, "quantize.embedding.weight", ldm_shape_of(2, (int64_t)c->n_embed, (int64_t)c->embed_dim), LDM_FILL_WEIGHT, 1);
        x.t = ldm_plan_emit(p, (ldm_tensor[]){x.t, book}, 2, "vq_lookup rows=%lld entries=%d c=%d", (long long)(x.n * x.h * x.w), c->n_embed, c->embed_dim);
    }
    x = ldm_emit_conv(p, "post_quant_conv", x, c->z_channels, LDM_CONV(.kernel = 1));
    ldm_plan_push(p, "decoder");
    x = ldm_emit_conv(p, "conv_in", x, (int64_t)c->ch * c->ch_mult[c->levels - 1], LDM_CONV());
    x = middle(p, c, x);
    for (int i = c->levels - 1; i >= 0; i--) {
        ldm_plan_push(p, "up.%d", i);
        x = level_blocks(p, c, x, i, c->num_res_blocks + 1);
        if (i > 0) x = ldm_emit_conv(p, "upsample.conv", x, x.c, LDM_CONV(.up = 2));
        ldm_plan_pop(p);
    }
    x = ldm_emit_group_norm(p, "norm_out", x, 32, 1e-6, "silu", LDM_NONE);
    x = ldm_emit_conv(p, "conv_out", x, 3, LDM_CONV());
    ldm_plan_pop(p);
    return x.t;
}

/* ---- TAESD (github.com/madebyollin/taesd): state-dict keys are positions in a list of modules ----------------------------- */

/* relu(conv(relu(conv(relu(conv x)))) + x); with a pool branch x is first refined by GroupNorm(4) over 256 channels. */
static ldm_map tiny_block(ldm_plan *p, int at, ldm_map x, bool pool) {
    ldm_plan_push(p, "%d", at);
    if (pool) {
        ldm_map h = ldm_emit_conv(p, "pool.0", x, 4 * x.c, LDM_CONV(.kernel = 1, .no_bias = true));
        h = ldm_emit_activation(p, ldm_emit_group_norm(p, "pool.1", h, 4, 1e-5, "none", LDM_NONE), "relu");
        x = ldm_emit_conv(p, "pool.3", h, x.c, LDM_CONV(.kernel = 1, .no_bias = true, .residual = x.t, .gain = LDM_BRANCH));
    }
    ldm_map h = ldm_emit_conv(p, "conv.0", x, x.c, LDM_CONV(.act = "relu", .gain = 1.4));
    h = ldm_emit_conv(p, "conv.2", h, x.c, LDM_CONV(.act = "relu", .gain = 1.4));
    h = ldm_emit_conv(p, "conv.4", h, x.c, LDM_CONV(.act = "relu", .residual = x.t, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

static ldm_map tiny_conv(ldm_plan *p, int at, ldm_map x, int64_t k, const ldm_conv *o) {
    char name[16];
    snprintf(name, sizeof name, "%d", at);
    return ldm_emit_conv(p, name, x, k, o);
}

static ldm_tensor tiny_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    x = tiny_conv(p, 0, x, 64, LDM_CONV());
    x = tiny_block(p, 1, x, false);
    for (int stage = 0; stage < 3; stage++) { /* 2, 6, 10: halve; then three blocks each */
        x = tiny_conv(p, 2 + 4 * stage, x, 64, LDM_CONV(.stride = 2, .no_bias = true));
        for (int i = 0; i < 3; i++) x = tiny_block(p, 3 + 4 * stage + i, x, c->pool && stage == 2);
    }
    return tiny_conv(p, 14, x, c->z_channels, LDM_CONV()).t;
}

static ldm_tensor tiny_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    x = ldm_emit_activation(p, x, "tanh3");
    x = tiny_conv(p, 1, x, 64, LDM_CONV(.act = "relu"));
    for (int i = 3; i <= 5; i++) x = tiny_block(p, i, x, c->pool);
    x = tiny_conv(p, 7, x, 64, LDM_CONV(.up = 2, .no_bias = true));
    for (int i = 8; i <= 10; i++) x = tiny_block(p, i, x, false);
    x = tiny_conv(p, 12, x, 64, LDM_CONV(.up = 2, .no_bias = true));
    for (int i = 13; i <= 15; i++) x = tiny_block(p, i, x, false);
    x = tiny_conv(p, 17, x, 64, LDM_CONV(.up = 2, .no_bias = true));
    x = tiny_block(p, 18, x, false);
    return ldm_emit_activation(p, tiny_conv(p, 19, x, 3, LDM_CONV()), "clamp01").t;
}

ldm_tensor ldm_stage_emit_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor t) {
    ldm_map x = ldm_as_map(p, t);
    if (p->status || refuse(p, c, x, 3, ldm_stage_factor(c))) return LDM_NONE;
    return c->kind == LDM_STAGE_IDENTITY ? t : c->kind == LDM_STAGE_TAESD ? tiny_encoder(p, c, x) : encoder(p, c, x);
}

ldm_tensor ldm_stage_emit_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor t) {
    ldm_map z = ldm_as_map(p, t);
    int channels = c->kind == LDM_STAGE_IDENTITY ? 3 : c->kind == LDM_STAGE_TAESD ? c->z_channels : c->embed_dim;
    if (p->status || refuse(p, c, z, channels, 1)) return LDM_NONE;
    return c->kind == LDM_STAGE_IDENTITY ? t : c->kind == LDM_STAGE_TAESD ? tiny_decoder(p, c, z) : decoder(p, c, z);
}

ldm_tensor ldm_class_embedder_emit(ldm_plan *p, int n_classes, int dim, ldm_tensor ids) {
    if (p->status) return LDM_NONE;
    int64_t n = ldm_shape_count(&ldm_plan_tensor(p, ids)->shape);
    ldm_plan_push(p, "cond_stage_model.embedding");
    ldm_tensor table = ldm_plan_param(p, "weight", ldm_shape_of(2, (int64_t)n_classes, (int64_t)dim), LDM_FILL_WEIGHT, 20);
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){ids, table}, 2, "embedding rows=%lld entries=%d c=%d", (long long)n, n_classes, dim);
    ldm_plan_pop(p);
    return ldm_plan_reshape(p, y, ldm_shape_of(3, n, (int64_t)1, (int64_t)dim));
}
