/* text_encoder.c -- see text_encoder.h: the three networks, and the released ones by name. */
#include "model/text_encoder.h"
#include "model/layers.h"
#include <math.h>
#include <string.h>

/* ---- by name ----------------------------------------------------------------------------------------------------- */

#define BERT(id, name_, about_, vocab_, length_, width_, layers_)                                                      \
    static const ldm_text_config id = {name_,                                                                          \
                                       about_,                                                                         \
                                       LDM_TEXT_BERT,                                                                  \
                                       .vocab = vocab_,                                                                \
                                       .length = length_,                                                              \
                                       .width = width_,                                                                \
                                       .layers = layers_,                                                              \
                                       .heads = 8,                                                                     \
                                       .head_width = 64,                                                               \
                                       .hidden = 4 * width_,                                                           \
                                       .skip = 1}
BERT(bert_1280, "bert-1280x32", "of txt2img-1p4B", 30522, 77, 1280, 32);
BERT(bert_640, "bert-640x32", "of text2img256", 30522, 77, 640, 32);
BERT(bert_512, "bert-512x16", "of boxes, of layout2img", 8192, 92, 512, 16);
static const ldm_text_config clip_l = {
    "clip-l",    "of Stable Diffusion 1", LDM_TEXT_CLIP,  .vocab = 49408,     .length = 77, .width = 768, .layers = 12,
    .heads = 12, .head_width = 64,        .hidden = 3072, .quick_gelu = true, .pad = 49407, .skip = 1};
static const ldm_text_config openclip_h = {"openclip-h",     "of Stable Diffusion 2", LDM_TEXT_OPENCLIP, .vocab = 49408,
                                           .length = 77,     .width = 1024,           .layers = 24,      .heads = 16,
                                           .head_width = 64, .hidden = 4096,          .skip = 2};
static const ldm_text_config *const all[] = {&bert_1280, &bert_640, &bert_512, &clip_l, &openclip_h, NULL};

const ldm_text_config *const *ldm_text_list(void) { return all; }

const ldm_text_config *ldm_text_find(const char *name) {
    ldm_text known = {0};
    for (int i = 0; all[i]; i++)
        if (!strcmp(all[i]->name, name)) return all[i];
    for (int i = 0; all[i]; i++) ldm_text_add(&known, "%s%s", i ? " " : "", all[i]->name);
    ldm_fail(LDM_ERR_ARG, "text encoder '%s' is not known; known are %s", name, known.s ? known.s : "none");
    ldm_text_free(&known);
    return NULL;
}

/* ---- the networks ------------------------------------------------------------------------------------------------ */

/* Of a layer: the norm is child 0 of both, what follows it child 1. */
static ldm_map bert_layer(ldm_plan *p, const ldm_text_config *c, ldm_map x, int i) {
    const int64_t inner = (int64_t)c->heads * c->head_width;
    ldm_plan_push(p, "attn_layers.layers.%d", 2 * i);
    ldm_map h = ldm_emit_layer_norm(p, "0", x);
    ldm_map q = ldm_emit_linear(p, "1.to_q", h, inner, LDM_LINEAR(.no_bias = true));
    ldm_map k = ldm_emit_linear(p, "1.to_k", h, inner, LDM_LINEAR(.no_bias = true));
    ldm_map v = ldm_emit_linear(p, "1.to_v", h, inner, LDM_LINEAR(.no_bias = true));
    h = ldm_emit_attention(p, q, k, v, c->heads, false);
    x = ldm_emit_linear(p, "1.to_out", h, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    ldm_plan_push(p, "attn_layers.layers.%d", 2 * i + 1);
    h = ldm_emit_layer_norm(p, "0", x);
    h = ldm_emit_linear(p, "1.net.0.0", h, c->hidden, LDM_LINEAR(.act = "gelu"));
    x = ldm_emit_linear(p, "1.net.2", h, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return x;
}

static const char *activation(const ldm_text_config *c) { return c->quick_gelu ? "quick_gelu" : "gelu"; }

static ldm_map clip_layer(ldm_plan *p, const ldm_text_config *c, ldm_map x, int i) {
    ldm_plan_push(p, "encoder.layers.%d", i);
    ldm_map h = ldm_emit_layer_norm(p, "layer_norm1", x);
    ldm_map q = ldm_emit_linear(p, "self_attn.q_proj", h, x.c, LDM_LINEAR(0));
    ldm_map k = ldm_emit_linear(p, "self_attn.k_proj", h, x.c, LDM_LINEAR(0));
    ldm_map v = ldm_emit_linear(p, "self_attn.v_proj", h, x.c, LDM_LINEAR(0));
    h = ldm_emit_attention(p, q, k, v, c->heads, true);
    x = ldm_emit_linear(p, "self_attn.out_proj", h, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
    h = ldm_emit_layer_norm(p, "layer_norm2", x);
    h = ldm_emit_linear(p, "mlp.fc1", h, c->hidden, LDM_LINEAR(.act = activation(c)));
    x = ldm_emit_linear(p, "mlp.fc2", h, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return x;
}

/* torch.nn.MultiheadAttention: the rows of in_proj are all heads' q, all k, all v. */
static ldm_map openclip_layer(ldm_plan *p, const ldm_text_config *c, ldm_map x, int i) {
    ldm_plan_push(p, "transformer.resblocks.%d", i);
    ldm_map h = ldm_emit_layer_norm(p, "ln_1", x);
    ldm_map qkv = ldm_emit_linear(p, "attn.in_proj", h, 3 * x.c, LDM_LINEAR(.joined = true));
    h = ldm_emit_self_attention(p, qkv, c->heads, "packed", true);
    x = ldm_emit_linear(p, "attn.out_proj", h, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
    h = ldm_emit_layer_norm(p, "ln_2", x);
    h = ldm_emit_linear(p, "mlp.c_fc", h, c->hidden, LDM_LINEAR(.act = activation(c)));
    x = ldm_emit_linear(p, "mlp.c_proj", h, x.c, LDM_LINEAR(.residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return x;
}

static const struct {
    const char *scope, *tokens, *positions, *norm;
    ldm_map (*layer)(ldm_plan *, const ldm_text_config *, ldm_map, int);
} networks[] = {
    [LDM_TEXT_BERT] = {"transformer", "token_emb.weight", "pos_emb.emb.weight", "norm", bert_layer},
    [LDM_TEXT_CLIP] = {"transformer.text_model", "embeddings.token_embedding.weight",
                       "embeddings.position_embedding.weight", "final_layer_norm", clip_layer},
    [LDM_TEXT_OPENCLIP] = {"model", "token_embedding.weight", "positional_embedding", "ln_final", openclip_layer}};

static ldm_status check(const ldm_text_config *c, const ldm_shape *ids, int skip) {
    if (ids->rank != 2 || ids->dim[1] != c->length) {
        char text[128];
        return ldm_fail(LDM_ERR_ARG, "text encoder: ids have shape %s, wanted [n, %d]",
                        ldm_shape_text(ids, text, sizeof text), c->length);
    }
    if (c->kind != LDM_TEXT_BERT && c->heads * c->head_width != c->width)
        return ldm_fail(LDM_ERR_ARG, "text encoder: %d heads of %d are not its width %d", c->heads, c->head_width,
                        c->width);
    if (skip < 1 || skip > c->layers)
        return ldm_fail(LDM_ERR_ARG, "clip-skip %d: wanted 1 to %d, the number of layers", skip, c->layers);
    return LDM_OK;
}

ldm_tensor ldm_text_emit(ldm_plan *p, const ldm_text_config *c, ldm_tensor ids, int skip) {
    if (p->status || ids == LDM_NONE) return LDM_NONE;
    const ldm_shape shape = ldm_plan_tensor(p, ids)->shape;
    if ((p->status = check(c, &shape, skip))) return LDM_NONE;
    const int64_t n = shape.dim[0], length = c->length, width = c->width;
    ldm_plan_push(p, "%s", networks[c->kind].scope);
    ldm_tensor t = ldm_emit_lookup(p, "embedding", ids, n * length, networks[c->kind].tokens, c->vocab, width, 1);
    ldm_tensor at = ldm_plan_param(p, networks[c->kind].positions, ldm_shape_of(2, length, width), LDM_FILL_WEIGHT,
                                   sqrt((double)width));
    t = ldm_plan_emit(p, (ldm_tensor[]){t, at}, 2, "add count=%lld bcount=%lld", (long long)(n * length * width),
                      (long long)(length * width));
    if (t != LDM_NONE) t = ldm_plan_reshape(p, t, ldm_shape_of(3, n, length, width));
    ldm_map x = ldm_as_map(p, t), out = x;
    for (int i = 0; i < c->layers; i++) {
        x = networks[c->kind].layer(p, c, x, i);
        if (i == c->layers - skip) out = x;
    }
    out = ldm_emit_layer_norm(p, networks[c->kind].norm, out);
    ldm_plan_pop(p);
    return out.t == LDM_NONE ? LDM_NONE : ldm_plan_reshape(p, out.t, ldm_shape_of(3, n, length, width));
}
