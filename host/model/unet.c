/* unet.c -- the denoising network, as ldm/modules/diffusionmodules/openaimodel.py (UNetModel) and ldm/modules/attention.py
 * (SpatialTransformer) define it. Reads from top to bottom like the authors' constructor. */
#include "model/layers.h"
#include <string.h>

int ldm_unet_multiple(const ldm_unet_config *c) { return 1 << (c->levels - 1); }

static bool attends(const ldm_unet_config *c, int ds) {
    for (int i = 0; i < c->attentions; i++)
        if (c->attention_resolutions[i] == ds) return true;
    return false;
}

/* ResBlock: x + conv(silu(norm(conv(silu(norm x)) + time))); the sum with `emb` rides in the first convolution's epilogue, the
 * skip in the second one's. up, down: both branches are resampled after the first norm. emb is SiLU(time embedding). */
static ldm_map resblock(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map emb, int64_t out, int resample) {
    ldm_map h = ldm_emit_group_norm(p, "in_layers.0", x, 32, 1e-5, "silu", LDM_NONE);
    if (resample) h = ldm_emit_resample(p, h, resample > 0), x = ldm_emit_resample(p, x, resample > 0);
    ldm_map e = ldm_emit_linear(p, "emb_layers.1", emb, c->use_scale_shift_norm ? 2 * out : out, LDM_LINEAR(.gain = LDM_BRANCH));
    if (c->use_scale_shift_norm) {
        h = ldm_emit_conv(p, "in_layers.2", h, out, LDM_CONV());
        h = ldm_emit_group_norm(p, "out_layers.0", h, 32, 1e-5, "silu", e.t);
    } else {
        h = ldm_emit_conv(p, "in_layers.2", h, out, LDM_CONV(.vec = e.t));
        h = ldm_emit_group_norm(p, "out_layers.0", h, 32, 1e-5, "silu", LDM_NONE);
    }
    if (x.c != out) x = ldm_emit_conv(p, "skip_connection", x, out, LDM_CONV(.kernel = 1));
    return ldm_emit_conv(p, "out_layers.3", h, out, LDM_CONV(.residual = x.t, .gain = LDM_BRANCH));
}

/* AttentionBlock: QKV of one 1x1 Conv1d, packed head by head ("legacy" order: rows [q_h0 | k_h0 | v_h0 | q_h1 | ...]). */
static ldm_map attention_block(ldm_plan *p, ldm_map x, int64_t heads) {
    ldm_map h = ldm_emit_group_norm(p, "norm", x, 32, 1e-5, "none", LDM_NONE);
    h = ldm_emit_linear(p, "qkv", h, 3 * x.c, LDM_LINEAR(.as_conv1d = true));
    h = ldm_emit_attention(p, h, h, h, heads, x.c / heads, "legacy");
    return ldm_emit_linear(p, "proj_out", h, x.c, LDM_LINEAR(.as_conv1d = true, .residual = x.t, .gain = LDM_BRANCH));
}

/* CrossAttention(x, context) + residual: no bias but on the output. */
static ldm_map cross_attention(ldm_plan *p, const char *name, ldm_map x, ldm_map context, ldm_map residual, int64_t heads) {
    ldm_plan_push(p, "%s", name);
    ldm_map q = ldm_emit_linear(p, "to_q", x, x.c, LDM_LINEAR(.no_bias = true));
    ldm_map k = ldm_emit_linear(p, "to_k", context, x.c, LDM_LINEAR(.no_bias = true));
    ldm_map v = ldm_emit_linear(p, "to_v", context, x.c, LDM_LINEAR(.no_bias = true));
    ldm_map h = ldm_emit_attention(p, q, k, v, heads, x.c / heads, "split");
    h = ldm_emit_linear(p, "to_out.0", h, x.c, LDM_LINEAR(.residual = residual.t, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

/* SpatialTransformer: the norm's eps is 1e-6, unlike every other norm of the UNet. */
static ldm_map spatial_transformer(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map context, int64_t heads) {
    bool conv = !c->use_linear_in_transformer;
    ldm_map h = ldm_emit_group_norm(p, "norm", x, 32, 1e-6, "none", LDM_NONE);
    h = ldm_emit_linear(p, "proj_in", h, x.c, LDM_LINEAR(.as_conv = conv));
    for (int i = 0; i < c->transformer_depth; i++) {
        ldm_plan_push(p, "transformer_blocks.%d", i);
        ldm_map y = ldm_emit_layer_norm(p, "norm1", h);
        h = cross_attention(p, "attn1", y, y, h, heads);
        y = ldm_emit_layer_norm(p, "norm2", h);
        h = cross_attention(p, "attn2", y, context.t == LDM_NONE ? y : context, h, heads);
        y = ldm_emit_layer_norm(p, "norm3", h);
        y = ldm_emit_linear(p, "ff.net.0.proj", y, 8 * x.c, LDM_LINEAR());
        ldm_tensor g = ldm_plan_emit(p, (ldm_tensor[]){y.t}, 1, "geglu rows=%lld c=%lld", (long long)(y.n * y.h * y.w), (long long)(4 * x.c));
        y = (ldm_map){g, y.n, y.h, y.w, 4 * x.c};
        h = ldm_emit_linear(p, "ff.net.2", y, x.c, LDM_LINEAR(.residual = h.t, .gain = LDM_BRANCH));
        ldm_plan_pop(p);
    }
    return ldm_emit_linear(p, "proj_out", h, x.c, LDM_LINEAR(.as_conv = conv, .residual = x.t, .gain = LDM_BRANCH));
}

static ldm_map attention_layer(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map context) {
    int64_t heads = c->num_heads > 0 ? c->num_heads : x.c / c->num_head_channels;
    if (heads < 1 || x.c % heads) {
        if (!p->status) p->status = ldm_fail(LDM_ERR_ARG, "%s: %lld channels cannot be cut into %lld heads", p->scope, (long long)x.c, (long long)heads);
        return (ldm_map){.t = LDM_NONE};
    }
    return c->use_spatial_transformer ? spatial_transformer(p, c, x, context, heads) : attention_block(p, x, heads);
}

/* One entry of input_blocks or output_blocks: child 0 is the ResBlock, child 1 the attention if any. */
static ldm_map block(ldm_plan *p, const ldm_unet_config *c, ldm_map x, ldm_map emb, ldm_map context, int64_t out, bool attention) {
    ldm_plan_push(p, "0");
    x = resblock(p, c, x, emb, out, 0);
    ldm_plan_pop(p);
    if (!attention) return x;
    ldm_plan_push(p, "1");
    x = attention_layer(p, c, x, context);
    ldm_plan_pop(p);
    return x;
}

ldm_tensor ldm_unet_emit(ldm_plan *p, const ldm_unet_config *c, ldm_tensor xt, ldm_tensor temb, ldm_tensor context_t, ldm_tensor labels) {
    enum { MAX_BLOCKS = 64 };
    ldm_map saved[MAX_BLOCKS], x = ldm_as_map(p, xt), emb = ldm_as_map(p, temb), context = ldm_as_map(p, context_t);
    int n_saved = 0, ds = 1, multiple = ldm_unet_multiple(c);
    int64_t mc = c->model_channels, t_dim = 4 * mc;
    if (p->status) return LDM_NONE;
    if (x.h % multiple || x.w % multiple) {
        p->status = ldm_fail(LDM_ERR_ARG, "latent of %lld x %lld: height and width must be multiples of %d", (long long)x.h, (long long)x.w, multiple);
        return LDM_NONE;
    }
    if (x.c != c->in_channels) {
        p->status = ldm_fail(LDM_ERR_ARG, "latent of %lld channels: the network takes %d", (long long)x.c, c->in_channels);
        return LDM_NONE;
    }

    /* time embedding; every ResBlock starts with SiLU of it, so it is applied once, here */
    emb = ldm_emit_linear(p, "time_embed.0", emb, t_dim, LDM_LINEAR(.act = "silu"));
    if (c->num_classes > 0) {
        emb = ldm_emit_linear(p, "time_embed.2", emb, t_dim, LDM_LINEAR());
        ldm_tensor table = ldm_plan_param(p, "label_emb.weight", ldm_shape_of(2, (int64_t)c->num_classes, t_dim), LDM_FILL_WEIGHT, 1);
        ldm_tensor label = ldm_plan_emit(p, (ldm_tensor[]){labels, table}, 2, "embedding rows=%lld entries=%d c=%lld", (long long)emb.n, c->num_classes, (long long)t_dim);
        emb.t = ldm_plan_emit(p, (ldm_tensor[]){emb.t, label}, 2, "add count=%lld", (long long)(emb.n * t_dim));
        emb = ldm_emit_activation(p, emb, "silu");
    } else {
        emb = ldm_emit_linear(p, "time_embed.2", emb, t_dim, LDM_LINEAR(.act = "silu"));
    }

    x = ldm_emit_conv(p, "input_blocks.0.0", x, mc, LDM_CONV());
    saved[n_saved++] = x;
    for (int level = 0, i = 1; level < c->levels; level++) {
        int64_t ch = c->channel_mult[level] * mc;
        for (int r = 0; r < c->num_res_blocks; r++, i++) {
            ldm_plan_push(p, "input_blocks.%d", i);
            x = block(p, c, x, emb, context, ch, attends(c, ds));
            ldm_plan_pop(p);
            saved[n_saved++] = x;
        }
        if (level == c->levels - 1) break;
        ldm_plan_push(p, "input_blocks.%d.0", i++);
        x = c->resblock_updown ? resblock(p, c, x, emb, ch, -1) : ldm_emit_conv(p, "op", x, ch, LDM_CONV(.stride = 2));
        ldm_plan_pop(p);
        saved[n_saved++] = x;
        ds *= 2;
    }

    ldm_plan_push(p, "middle_block");
    ldm_plan_push(p, "0");
    x = resblock(p, c, x, emb, x.c, 0);
    ldm_plan_pop(p);
    ldm_plan_push(p, "1");
    x = attention_layer(p, c, x, context);
    ldm_plan_pop(p);
    ldm_plan_push(p, "2");
    x = resblock(p, c, x, emb, x.c, 0);
    ldm_plan_pop(p);
    ldm_plan_pop(p);

    for (int level = c->levels - 1, i = 0; level >= 0; level--) {
        int64_t ch = c->channel_mult[level] * mc;
        for (int r = 0; r <= c->num_res_blocks; r++, i++) {
            bool attention = attends(c, ds);
            ldm_plan_push(p, "output_blocks.%d", i);
            x = block(p, c, ldm_emit_concat(p, x, saved[--n_saved]), emb, context, ch, attention);
            if (level && r == c->num_res_blocks) {
                ldm_plan_push(p, "%d", attention ? 2 : 1);
                x = c->resblock_updown ? resblock(p, c, x, emb, ch, 1) : ldm_emit_conv(p, "conv", x, ch, LDM_CONV(.up = 2));
                ldm_plan_pop(p);
                ds /= 2;
            }
            ldm_plan_pop(p);
        }
    }

    x = ldm_emit_group_norm(p, "out.0", x, 32, 1e-5, "silu", LDM_NONE);
    return ldm_emit_conv(p, "out.2", x, c->out_channels, LDM_CONV()).t;
}
