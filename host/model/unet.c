/* unet.c -- the denoising network, as ldm/modules/diffusionmodules/openaimodel.py (UNetModel) and
 * ldm/modules/attention.py (SpatialTransformer) define it. Reads from top to bottom like the authors' constructor;
 * layers are in layers.c. */
#include "model/layers.h"

/* Of the norms here only SpatialTransformer's has the other eps (attention.py: Normalize). */
static const double norm_eps = 1e-5, transformer_eps = 1e-6;
enum { GROUPS = 32, MAX_SAVED = 64 };

int ldm_unet_multiple(const ldm_unet_config *c) { return 1 << (c->levels - 1); }

static bool attends(const ldm_unet_config *c, int ds) {
    for (int i = 0; i < c->attentions; i++)
        if (c->attention_resolutions[i] == ds) return true;
    return false;
}

/* ResBlock: x + conv(silu(norm(conv(silu(norm x)) + time))), or with scale and shift of the second norm by the time.
 * The sum with the time vector rides in the first convolution, the skip in the second. `resample` 1 up, -1 down: h and
 * x are both resampled, h after its norm. emb [n, 4 mc] is SiLU of the time embedding, which all blocks start with. */
static ldm_map resblock(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map emb, int64_t out, int resample) {
    ldm_map h = ldm_emit_group_norm(p, "in_layers.0", x, GROUPS, norm_eps, "silu", NULL);
    if (resample) h = ldm_emit_resample(p, h, resample > 0), x = ldm_emit_resample(p, x, resample > 0);
    int64_t e_width = c->use_scale_shift_norm ? 2 * out : out;
    ldm_map e = ldm_emit_linear(p, "emb_layers.1", emb, e_width, LDM_LINEAR(.gain = LDM_BRANCH));
    if (c->use_scale_shift_norm) {
        h = ldm_emit_conv(p, "in_layers.2", h, out, LDM_CONV(.gain = LDM_AFTER_ACT));
        h = ldm_emit_group_norm(p, "out_layers.0", h, GROUPS, norm_eps, "silu", &e.t);
    } else {
        h = ldm_emit_conv(p, "in_layers.2", h, out, LDM_CONV(.vec = &e.t, .gain = LDM_AFTER_ACT));
        h = ldm_emit_group_norm(p, "out_layers.0", h, GROUPS, norm_eps, "silu", NULL);
    }
    if (x.c != out) x = ldm_emit_conv(p, "skip_connection", x, out, LDM_CONV(.kernel = 1));
    return ldm_emit_conv(p, "out_layers.3", h, out, LDM_CONV(.residual = &x, .gain = LDM_BRANCH));
}

/* AttentionBlock: q, k, v from one 1x1 Conv1d, packed head by head ("legacy" order: rows [q_0 | k_0 | v_0 | q_1 |
 * ...]). */
static ldm_map attention_block(ldm_plan *p, ldm_map x, int64_t heads) {
    ldm_map h = ldm_emit_group_norm(p, "norm", x, GROUPS, norm_eps, "none", NULL);
    h = ldm_emit_linear(p, "qkv", h, 3 * x.c, LDM_LINEAR(.stored = LDM_STORED_CONV1D));
    h = ldm_emit_self_attention(p, h, heads, "legacy", false);
    return ldm_emit_linear(p, "proj_out", h, x.c,
                           LDM_LINEAR(.stored = LDM_STORED_CONV1D, .residual = &x, .gain = LDM_BRANCH));
}

/* CrossAttention of x with context, added to residual. Only to_out has a bias. */
static ldm_map cross_attention(ldm_plan *p, const char *name, ldm_map x, ldm_map context, ldm_map residual,
                               int64_t heads) {
    ldm_plan_push(p, "%s", name);
    ldm_map q = ldm_emit_linear(p, "to_q", x, x.c, LDM_LINEAR(.no_bias = true));
    ldm_map k = ldm_emit_linear(p, "to_k", context, x.c, LDM_LINEAR(.no_bias = true));
    ldm_map v = ldm_emit_linear(p, "to_v", context, x.c, LDM_LINEAR(.no_bias = true));
    ldm_map h = ldm_emit_attention(p, q, k, v, heads, false);
    h = ldm_emit_linear(p, "to_out.0", h, x.c, LDM_LINEAR(.residual = &residual, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

/* BasicTransformerBlock: self-attention (`self` false: of the context as well), cross-attention, GEGLU feed-forward, each
 * after a LayerNorm and added. */
static ldm_map transformer_block(ldm_plan *p, ldm_map x, ldm_map context, int64_t heads, bool self) {
    ldm_map y = ldm_emit_layer_norm(p, "norm1", x);
    x = cross_attention(p, "attn1", y, self ? y : context, x, heads);
    y = ldm_emit_layer_norm(p, "norm2", x);
    x = cross_attention(p, "attn2", y, context, x, heads);
    y = ldm_emit_layer_norm(p, "norm3", x);
    y = ldm_emit_geglu(p, ldm_emit_linear(p, "ff.net.0.proj", y, 8 * x.c, LDM_LINEAR(0)));
    return ldm_emit_linear(p, "ff.net.2", y, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
}

static ldm_map spatial_transformer(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map context, int64_t heads,
                                   bool self) {
    ldm_stored stored = c->use_linear_in_transformer ? LDM_STORED_LINEAR : LDM_STORED_CONV2D;
    ldm_map h = ldm_emit_group_norm(p, "norm", x, GROUPS, transformer_eps, "none", NULL);
    h = ldm_emit_linear(p, "proj_in", h, x.c, LDM_LINEAR(.stored = stored));
    for (int i = 0; i < c->transformer_depth; i++) {
        ldm_plan_push(p, "transformer_blocks.%d", i);
        h = transformer_block(p, h, context, heads, self);
        ldm_plan_pop(p);
    }
    return ldm_emit_linear(p, "proj_out", h, x.c, LDM_LINEAR(.stored = stored, .residual = &x, .gain = LDM_BRANCH));
}

static ldm_map attention_layer(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map context, bool self) {
    int64_t heads = c->num_heads > 0 ? c->num_heads : x.c / c->num_head_channels;
    if (!p->status && (heads < 1 || x.c % heads || (c->num_heads < 1 && x.c % c->num_head_channels)))
        p->status = ldm_fail(LDM_ERR_ARG, "%s: %lld channels cannot be cut into %s %d", p->scope, (long long)x.c,
                             c->num_heads > 0 ? "num_heads" : "heads of num_head_channels",
                             c->num_heads > 0 ? c->num_heads : c->num_head_channels);
    if (p->status) return (ldm_map){.t = LDM_NONE};
    return c->use_spatial_transformer ? spatial_transformer(p, c, x, context, heads, self)
                                      : attention_block(p, x, heads);
}

/* One entry of input_blocks or output_blocks: child 0 is the ResBlock, child 1 the attention if there is one. */
static ldm_map block(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map emb, ldm_map context, int level,
                     bool attend) {
    const int64_t out = (int64_t)c->channel_mult[level] * c->model_channels;
    ldm_plan_push(p, "0");
    x = resblock(p, c, x, emb, out, 0);
    ldm_plan_pop(p);
    if (!attend) return x;
    ldm_plan_push(p, "1");
    x = attention_layer(p, c, x, context, !c->disable_self_attentions[level]);
    ldm_plan_pop(p);
    return x;
}

static ldm_map middle(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map emb, ldm_map context) {
    for (int i = 0; i < 3; i++) {
        ldm_plan_push(p, "middle_block.%d", i);
        x = i == 1 ? attention_layer(p, c, x, context, true) : resblock(p, c, x, emb, x.c, 0);
        ldm_plan_pop(p);
    }
    return x;
}

/* time_embed of the sinusoid (plus cond_proj of the guidance scale's), plus label_emb of the class; then the SiLU that
 * every ResBlock starts with, done once here. cond_proj is diffusers' TimestepEmbedding, for UNets distilled with
 * guidance (LCM, arXiv 2310.04378): the authors' UNet has no place for it, so it stands with time_embed. */
static ldm_map time_embedding(ldm_plan *p, const ldm_unet_config *c, ldm_map temb, ldm_tensor labels,
                              ldm_map guidance) {
    int64_t width = 4 * (int64_t)c->model_channels;
    bool classes = c->num_classes > 0;
    if (c->time_cond_proj_dim)
        temb = ldm_emit_linear(p, "time_embed.cond_proj", guidance, temb.c, LDM_LINEAR(.no_bias = true, .residual = &temb));
    ldm_map e = ldm_emit_linear(p, "time_embed.0", temb, width, LDM_LINEAR(.act = "silu"));
    e = ldm_emit_linear(p, "time_embed.2", e, width, LDM_LINEAR(.act = classes ? "none" : "silu", .gain = 3));
    if (!classes) return e;
    ldm_tensor label = ldm_emit_lookup(p, "embedding", labels, e.n, "label_emb.weight", c->num_classes, width, 1);
    e.t = ldm_plan_emit(p, (ldm_tensor[]){e.t, label}, 2, "add count=%lld", (long long)(e.n * width));
    return ldm_emit_activation(p, e, "silu");
}

static ldm_status check(const ldm_unet_config *c) {
    if (c->levels < 1 || c->levels > LDM_MAX_LEVELS || c->num_res_blocks < 1 ||
        c->levels * (c->num_res_blocks + 1) > MAX_SAVED)
        return ldm_fail(LDM_ERR_ARG,
                        "UNet of %d levels with %d residual blocks each; wanted 1 to %d levels and at most %d blocks",
                        c->levels, c->num_res_blocks, LDM_MAX_LEVELS, MAX_SAVED);
    if (c->num_heads < 1 && c->num_head_channels < 1)
        return ldm_fail(LDM_ERR_ARG, "UNet without num_heads and num_head_channels; wanted one of them");
    return LDM_OK;
}

ldm_tensor ldm_unet_emit(ldm_plan *p, const ldm_unet_config *c, ldm_tensor x_in, ldm_tensor temb, ldm_tensor context_in,
                         ldm_tensor labels, ldm_tensor guidance_in) {
    ldm_map saved[MAX_SAVED], x = ldm_as_map(p, x_in), context = ldm_as_map(p, context_in),
            guidance = ldm_as_map(p, guidance_in);
    int n_saved = 0, ds = 1;
    int64_t mc = c->model_channels;
    if (!p->status) p->status = check(c);
    if (!ldm_check_map(p, "UNet", x, c->in_channels, ldm_unet_multiple(c)) ||
        !ldm_check_map(p, "UNet: time embedding", ldm_as_map(p, temb), mc, 1) ||
        (c->use_spatial_transformer && !ldm_check_map(p, "UNet: context", context, c->context_dim, 1)) ||
        (c->time_cond_proj_dim && !ldm_check_map(p, "UNet: guidance", guidance, c->time_cond_proj_dim, 1)))
        return LDM_NONE;

    ldm_map emb = time_embedding(p, c, ldm_as_map(p, temb), labels, guidance);

    saved[n_saved++] = x = ldm_emit_conv(p, "input_blocks.0.0", x, mc, LDM_CONV(0));
    for (int level = 0, i = 1; level < c->levels; level++) {
        int64_t ch = c->channel_mult[level] * mc;
        for (int r = 0; r < c->num_res_blocks; r++, i++) {
            ldm_plan_push(p, "input_blocks.%d", i);
            saved[n_saved++] = x = block(p, c, x, emb, context, level, attends(c, ds));
            ldm_plan_pop(p);
        }
        if (level == c->levels - 1) break;
        ldm_plan_push(p, "input_blocks.%d.0", i++);
        x = c->resblock_updown ? resblock(p, c, x, emb, ch, -1) : ldm_emit_conv(p, "op", x, ch, LDM_CONV(.stride = 2));
        ldm_plan_pop(p);
        saved[n_saved++] = x;
        ds *= 2;
    }

    x = middle(p, c, x, emb, context);

    for (int level = c->levels - 1, i = 0; level >= 0; level--) {
        int64_t ch = c->channel_mult[level] * mc;
        bool attend = attends(c, ds);
        for (int r = 0; r <= c->num_res_blocks; r++, i++) {
            ldm_plan_push(p, "output_blocks.%d", i);
            x = block(p, c, ldm_emit_concat(p, x, saved[--n_saved]), emb, context, level, attend);
            if (level > 0 && r == c->num_res_blocks) {
                ldm_plan_push(p, "%d", attend ? 2 : 1);
                x = c->resblock_updown ? resblock(p, c, x, emb, ch, 1)
                                       : ldm_emit_conv(p, "conv", x, ch, LDM_CONV(.up = 2));
                ldm_plan_pop(p);
                ds /= 2;
            }
            ldm_plan_pop(p);
        }
    }

    x = ldm_emit_group_norm(p, "out.0", x, GROUPS, norm_eps, "silu", NULL);
    return ldm_emit_conv(p, "out.2", x, c->out_channels, LDM_CONV(.gain = LDM_AFTER_ACT)).t;
}
