/* infer.c -- see infer.h. Each function walks its network from the input on and looks at one tensor per question. */
#include "model/infer.h"
#include <stdarg.h>
#include <string.h>

/* The tensor of a parameter, by its name in the authors' files; NULL if there is none. */
static const ldm_ckpt_tensor *tensor(const ldm_place *at, ldm_part part, const ldm_unet_config *u,
                                     const ldm_stage_config *s, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static const ldm_ckpt_tensor *tensor(const ldm_place *at, ldm_part part, const ldm_unet_config *u,
                                     const ldm_stage_config *s, const char *fmt, ...) {
    ldm_places places = {.unet = u, .stage = s};
    const ldm_ckpt_tensor *found[LDM_ORIGIN_PARTS] = {0};
    ldm_origin o;
    char name[LDM_ORIGIN_NAME];
    va_list args;
    if (!at->files) return NULL;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    places.at[part] = *at;
    return ldm_place_origin(&places, part, name, 3, &o, found) ? found[0] : NULL;
}

static int dim(const ldm_ckpt_tensor *t, int d) {
    return t && d < t->shape.rank && t->shape.dim[d] <= 1 << 20 ? (int)t->shape.dim[d] : 0;
}

static ldm_status strange(const ldm_place *at, const char *what) {
    return ldm_fail(LDM_ERR_FORMAT, "%s: %s", at->files->path, what);
}

/* ---- UNet ------------------------------------------------------------------------------------------------------ */

#define U(...) tensor(at, LDM_PART_UNET, c, NULL, __VA_ARGS__)

/* Residual blocks a level: an upsampling ends the first run of output blocks; without one there is only one level. */
static int res_blocks(const ldm_place *at, ldm_unet_config *c, int *blocks) {
    int first = -1, n = 0;
    if (at->layout == LDM_DIFFUSERS) { /* counted there under its own names */
        char key[LDM_ORIGIN_NAME];
        for (;; n++) {
            snprintf(key, sizeof key, "%sdown_blocks.0.resnets.%d.conv1.weight", at->prefix, n);
            if (!ldm_files_find(at->files, key)) break;
        }
        c->num_res_blocks = n;
        for (n = 0; U("output_blocks.%d.0.in_layers.0.weight", n);) n++;
        return *blocks = n, c->num_res_blocks;
    }
    c->num_res_blocks = 1; /* the authors' names do not depend on it */
    for (; U("output_blocks.%d.0.in_layers.0.weight", n); n++) {
        bool up = false;
        for (int child = 1; child < 3; child++) {
            up = up || U("output_blocks.%d.%d.conv.weight", n, child);
            if (U("output_blocks.%d.%d.in_layers.0.weight", n, child)) up = c->resblock_updown = true;
        }
        if (up && first < 0) first = n;
    }
    *blocks = n;
    return first < 0 ? n - 1 : first;
}

static void transformer(const ldm_place *at, ldm_unet_config *c) {
    const ldm_ckpt_tensor *in = U("middle_block.1.proj_in.weight");
    c->use_spatial_transformer = in != NULL;
    if (!in) return;
    c->use_linear_in_transformer = in->shape.rank == 2;
    c->context_dim = dim(U("middle_block.1.transformer_blocks.0.attn2.to_k.weight"), 1);
    while (c->transformer_depth < 64 && U("middle_block.1.transformer_blocks.%d.norm1.weight", c->transformer_depth))
        c->transformer_depth++;
}

ldm_status ldm_infer_unet(const ldm_place *at, ldm_unet_config *out) {
    ldm_unet_config config = {.use_spatial_transformer = true}, *c = &config;
    const ldm_ckpt_tensor *in = U("input_blocks.0.0.weight"), *t;
    int blocks = 0, ds = 1;
    if (!in || in->shape.rank != 4) return strange(at, "a UNet without a first convolution");
    c->model_channels = dim(in, 0), c->in_channels = dim(in, 1), c->out_channels = dim(U("out.2.weight"), 0);
    if (U("label_emb.0.0.weight"))
        return strange(at, "a UNet conditioned on a vector (label_emb.0), which is not supported");
    c->num_classes = dim(U("label_emb.weight"), 0);
    c->time_cond_proj_dim = dim(U("time_embed.cond_proj.weight"), 1);
    c->num_res_blocks = res_blocks(at, c, &blocks);
    if (c->num_res_blocks < 1 || blocks < 1 || blocks % (c->num_res_blocks + 1) ||
        blocks / (c->num_res_blocks + 1) > LDM_MAX_LEVELS)
        return strange(at, "a UNet whose output blocks are not the same number at every level");
    c->levels = blocks / (c->num_res_blocks + 1);
    transformer(at, c);
    for (int l = 0; l < c->levels; l++, ds *= 2) {
        const int i = 1 + l * (c->num_res_blocks + 1);
        const int channels = dim(U("input_blocks.%d.0.out_layers.3.weight", i), 0);
        if (c->model_channels < 1 || channels < 1 || channels % c->model_channels)
            return strange(at, "a UNet whose levels are no multiples of its first one's channels");
        c->channel_mult[l] = channels / c->model_channels;
        if (!l && (t = U("input_blocks.1.0.emb_layers.1.weight"))) c->use_scale_shift_norm = dim(t, 0) == 2 * channels;
        if (!U("input_blocks.%d.1.norm.weight", i)) continue;
        c->attention_resolutions[c->attentions++] = ds;
        /* attn1 of a block that has no self-attention reads the context */
        t = U("input_blocks.%d.1.transformer_blocks.0.attn1.to_k.weight", i);
        if (t && dim(t, 1) != channels && dim(t, 1) == c->context_dim)
            c->disable_self_attentions[l] = 1, c->disabled = l + 1;
    }
    if (c->use_spatial_transformer && c->context_dim < 1)
        return strange(at, "a UNet with transformers that read no context");
    if (c->out_channels < 1) return strange(at, "a UNet without its last convolution");
    *out = *c;
    return LDM_OK;
}

static bool attends(const ldm_unet_config *c, int ds) {
    for (int i = 0; i < c->attentions; i++)
        if (c->attention_resolutions[i] == ds) return true;
    return false;
}

bool ldm_same_unet_shapes(const ldm_unet_config *a, const ldm_unet_config *b) {
    bool same = a->in_channels == b->in_channels && a->out_channels == b->out_channels &&
                a->model_channels == b->model_channels && a->num_res_blocks == b->num_res_blocks &&
                a->levels == b->levels && a->use_spatial_transformer == b->use_spatial_transformer &&
                a->use_scale_shift_norm == b->use_scale_shift_norm && a->resblock_updown == b->resblock_updown &&
                a->num_classes == b->num_classes && a->time_cond_proj_dim == b->time_cond_proj_dim;
    if (a->use_spatial_transformer) /* a linear projection is a 1x1 convolution */
        same = same && a->context_dim == b->context_dim && a->transformer_depth == b->transformer_depth;
    for (int l = 0; same && l < a->levels; l++)
        same = a->channel_mult[l] == b->channel_mult[l] && attends(a, 1 << l) == attends(b, 1 << l) &&
               (!attends(a, 1 << l) || a->disable_self_attentions[l] == b->disable_self_attentions[l] ||
                a->model_channels * a->channel_mult[l] == a->context_dim); /* there the shapes do not tell */
    return same;
}

/* ---- autoencoders ---------------------------------------------------------------------------------------------- */

#define S(part, ...) tensor(&at[(part)-LDM_PART_ENCODER], part, NULL, c, __VA_ARGS__)

/* Levels there are in a half, under that layout's own names. */
static int stage_levels(const ldm_place *at, bool decoder) {
    char key[LDM_ORIGIN_NAME];
    int n = 0;
    for (; at->files && n < LDM_MAX_LEVELS + 1; n++) {
        snprintf(key, sizeof key, "%s%s.%s%s.%d.%s.0.norm1.weight", at->prefix, decoder ? "decoder" : "encoder",
                 decoder ? "up" : "down", at->layout == LDM_DIFFUSERS ? "_blocks" : "", n,
                 at->layout == LDM_DIFFUSERS ? "resnets" : "block");
        if (!ldm_files_find(at->files, key)) break;
    }
    return n;
}

ldm_status ldm_infer_stage(const ldm_place at[2], ldm_stage_config *out) {
    ldm_stage_config config = {0}, *c = &config;
    const bool dec = !at[0].files;
    const ldm_part part = dec ? LDM_PART_DECODER : LDM_PART_ENCODER;
    const char *half = dec ? "decoder.up" : "encoder.down";
    const ldm_place *has = &at[dec];
    c->levels = stage_levels(has, dec);
    if (c->levels < 1 || c->levels > LDM_MAX_LEVELS)
        return strange(has, "an autoencoder without levels that can be counted");
    c->ch = dec ? dim(S(part, "decoder.norm_out.weight"), 0) : dim(S(part, "encoder.conv_in.weight"), 0);
    const ldm_ckpt_tensor *book = ldm_files_find(at[1].files, "quantize.embedding.weight");
    if (!book) book = ldm_files_find(at[1].files, "first_stage_model.quantize.embedding.weight");
    c->kind = book ? LDM_STAGE_VQ : LDM_STAGE_KL;
    c->n_embed = dim(book, 0);
    for (int l = 0; l < c->levels; l++) {
        int channels = dim(S(part, "%s.%d.block.0.conv1.weight", half, l), 0), blocks = 0;
        if (c->ch < 1 || channels < 1 || channels % c->ch)
            return strange(has, "an autoencoder whose levels are no multiples of its first one's channels");
        c->ch_mult[l] = channels / c->ch;
        while (blocks < 64 && S(part, "%s.%d.block.%d.conv1.weight", half, l, blocks)) blocks++;
        blocks -= dec;
        if (l && blocks != c->num_res_blocks)
            return strange(has, "an autoencoder with different numbers of blocks at its levels");
        c->num_res_blocks = blocks;
        if (S(part, "%s.%d.attn.0.norm.weight", half, l)) c->attn_resolutions[c->attentions++] = 256 >> l;
    }
    c->attn_none = !S(part, "%s.mid.attn_1.norm.weight", dec ? "decoder" : "encoder");
    const ldm_ckpt_tensor *q = dec ? S(part, "post_quant_conv.weight") : S(part, "quant_conv.weight");
    const int halves = dec || c->kind == LDM_STAGE_VQ ? 1 : 2;
    if (!q) return strange(has, dec ? "an autoencoder without post_quant_conv" : "an autoencoder without quant_conv");
    c->embed_dim = dim(q, dec) / halves, c->z_channels = dim(q, !dec) / halves;
    if (c->embed_dim < 1 || c->z_channels < 1 || c->num_res_blocks < 1)
        return strange(has, "an autoencoder without latent channels");
    *out = *c;
    return LDM_OK;
}

bool ldm_same_stage_shapes(const ldm_stage_config *a, const ldm_stage_config *b) {
    bool same = a->kind == b->kind && a->z_channels == b->z_channels && a->embed_dim == b->embed_dim;
    if (a->kind == LDM_STAGE_IDENTITY || a->kind == LDM_STAGE_TAESD) return same && a->pool == b->pool;
    same = same && a->ch == b->ch && a->levels == b->levels && a->num_res_blocks == b->num_res_blocks &&
           a->n_embed == b->n_embed && a->attn_none == b->attn_none && a->attentions == b->attentions;
    for (int i = 0; same && i < a->levels; i++) same = a->ch_mult[i] == b->ch_mult[i];
    for (int i = 0; same && i < a->attentions; i++) same = a->attn_resolutions[i] == b->attn_resolutions[i];
    return same;
}

ldm_status ldm_infer_tiny(const ldm_place at[2], ldm_stage_config *out) {
    ldm_stage_config c = {.kind = LDM_STAGE_TAESD, .levels = 4};
    if (at[1].files) {
        c.z_channels = dim(tensor(&at[1], LDM_PART_TINY_DECODER, NULL, NULL, "1.weight"), 1);
        c.pool = tensor(&at[1], LDM_PART_TINY_DECODER, NULL, NULL, "3.pool.0.weight") != NULL;
    } else {
        c.z_channels = dim(tensor(&at[0], LDM_PART_TINY_ENCODER, NULL, NULL, "14.weight"), 0);
        c.pool = tensor(&at[0], LDM_PART_TINY_ENCODER, NULL, NULL, "11.pool.0.weight") != NULL;
    }
    c.embed_dim = c.z_channels;
    if (c.z_channels < 1) return strange(&at[at[1].files != NULL], "a tiny autoencoder without latent channels");
    *out = c;
    return LDM_OK;
}

/* ---- text encoders --------------------------------------------------------------------------------------------- */

#define T(...) tensor(at, LDM_PART_TEXT, NULL, NULL, __VA_ARGS__)

ldm_status ldm_infer_text(const ldm_place *at, ldm_text_config *out) {
    static const struct {
        const char *tokens, *positions, *layer, *hidden;
        int step;
    } kinds[] = {[LDM_TEXT_BERT] = {"transformer.token_emb.weight", "transformer.pos_emb.emb.weight",
                                    "transformer.attn_layers.layers.%d.0.weight",
                                    "transformer.attn_layers.layers.1.1.net.0.0.weight", 2},
                 [LDM_TEXT_CLIP] = {"transformer.text_model.embeddings.token_embedding.weight",
                                    "transformer.text_model.embeddings.position_embedding.weight",
                                    "transformer.text_model.encoder.layers.%d.layer_norm1.weight",
                                    "transformer.text_model.encoder.layers.0.mlp.fc1.weight", 1},
                 [LDM_TEXT_OPENCLIP] = {"model.token_embedding.weight", "model.positional_embedding",
                                        "model.transformer.resblocks.%d.ln_1.weight",
                                        "model.transformer.resblocks.0.mlp.c_fc.weight", 1}};
    static const int order[] = {LDM_TEXT_BERT, LDM_TEXT_CLIP, LDM_TEXT_OPENCLIP};
    char text[240], name[LDM_ORIGIN_NAME];
    int kind = -1, layers = 0;
    for (int i = 0; i < 3 && kind < 0; i++)
        if (T("%s", kinds[order[i]].tokens)) kind = order[i];
    if (kind < 0) return strange(at, "a text encoder without token embeddings");
    for (;; layers++) {
        snprintf(name, sizeof name, kinds[kind].layer, layers * kinds[kind].step);
        if (layers > 256 || !T("%s", name)) break;
    }
    const ldm_ckpt_tensor *tokens = T("%s", kinds[kind].tokens);
    const int width = dim(tokens, 1), length = dim(T("%s", kinds[kind].positions), 0);
    /* transformers' names do not tell the two CLIPs apart: SD2's is the one with 1024 channels */
    if (kind == LDM_TEXT_CLIP && at->layout == LDM_DIFFUSERS && width == 1024) kind = LDM_TEXT_OPENCLIP;
    if (width < 1 || length < 1 || layers < 1) return strange(at, "a text encoder without layers");
    snprintf(
        text, sizeof text, "kind=%s vocab=%d width=%d layers=%d length=%d hidden=%d",
        kind == LDM_TEXT_BERT   ? "bert"
        : kind == LDM_TEXT_CLIP ? "clip"
                                : "openclip",
        dim(tokens, 0), width, layers, length,
        dim(T("%s", kinds[kind == LDM_TEXT_OPENCLIP && at->layout == LDM_DIFFUSERS ? LDM_TEXT_CLIP : kind].hidden), 0));
    /* heads of 64 in all that were released; one head where that cannot be */
    if (kind != LDM_TEXT_BERT && width % 64)
        snprintf(text + strlen(text), sizeof text - strlen(text), " heads=1 head_width=%d", width);
    if (ldm_text_config_parse(text, out)) return strange(at, "a text encoder whose sizes cannot be");
    /* OpenCLIP-H without the last of its 24 layers, which nobody reads */
    if (kind == LDM_TEXT_OPENCLIP && layers == 23) out->skip = 1;
    return LDM_OK;
}
