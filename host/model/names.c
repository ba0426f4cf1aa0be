/* names.c -- one table of names per kind of block: the authors' on the left, diffusers' (transformers') on the right,
 * and an older spelling where there is one. Block numbers are arithmetic: input block i >= 1 of the authors' UNet is
 * entry (i-1) mod (n+1) of diffusers' down block (i-1) / (n+1), n the residual blocks a level. */
#include "model/names.h"
#include <ctype.h>
#include <string.h>

typedef struct row {
    const char *ours, *theirs, *old; /* stems, up to a dot or the end; old NULL: as theirs */
} row;

static const row unet_top[] = {{"time_embed.0", "time_embedding.linear_1", NULL},
                               {"time_embed.2", "time_embedding.linear_2", NULL},
                               {"input_blocks.0.0", "conv_in", NULL},
                               {"out.0", "conv_norm_out", NULL},
                               {"out.2", "conv_out", NULL},
                               {"label_emb", "class_embedding", NULL},
                               {"time_embed.cond_proj", "time_embedding.cond_proj", NULL},
                               {0}};
static const row unet_res[] = {{"in_layers.0", "norm1", NULL},
                               {"in_layers.2", "conv1", NULL},
                               {"emb_layers.1", "time_emb_proj", NULL},
                               {"out_layers.0", "norm2", NULL},
                               {"out_layers.3", "conv2", NULL},
                               {"skip_connection", "conv_shortcut", NULL},
                               {0}};
/* the unconditional UNet's attention; SpatialTransformer's names are the same in both */
static const row unet_attention[] = {{"norm", "group_norm", NULL}, {"proj_out", "to_out.0", "proj_attn"}, {0}};
static const row unet_qkv[] = {{"q", "to_q", "query"}, {"k", "to_k", "key"}, {"v", "to_v", "value"}};

static const row stage_res[] = {{"nin_shortcut", "conv_shortcut", NULL},
                                {0}}; /* norm1, conv1, norm2, conv2 are the same */
static const row stage_attention[] = {{"norm", "group_norm", NULL},
                                      {"q", "to_q", "query"},
                                      {"k", "to_k", "key"},
                                      {"v", "to_v", "value"},
                                      {"proj_out", "to_out.0", "proj_attn"},
                                      {0}};
static const row stage_top[] = {
    {"norm_out", "conv_norm_out", NULL}, {"conv_in", "conv_in", NULL}, {"conv_out", "conv_out", NULL}, {0}};

/* OpenCLIP's layers; q, k and v are one tensor in it. CLIP's own names are transformers'. */
static const row clip_layer[] = {{"ln_1", "layer_norm1", NULL},
                                 {"ln_2", "layer_norm2", NULL},
                                 {"mlp.c_fc", "mlp.fc1", NULL},
                                 {"mlp.c_proj", "mlp.fc2", NULL},
                                 {"attn.out_proj", "self_attn.out_proj", NULL},
                                 {0}};
static const row clip_top[] = {{"token_embedding.weight", "embeddings.token_embedding.weight", NULL},
                               {"positional_embedding", "embeddings.position_embedding.weight", NULL},
                               {"ln_final", "final_layer_norm", NULL},
                               {0}};

static const row bert_top[] = {{"token_emb", "model.embed_tokens", NULL},
                               {"pos_emb.emb", "model.embed_positions", NULL},
                               {"norm", "model.layer_norm", NULL},
                               {"to_logits", "to_logits", NULL},
                               {0}};
static const row bert_even[] = {{"0", "self_attn_layer_norm", NULL},      {"1.to_q", "self_attn.q_proj", NULL},
                                {"1.to_k", "self_attn.k_proj", NULL},     {"1.to_v", "self_attn.v_proj", NULL},
                                {"1.to_out", "self_attn.out_proj", NULL}, {0}};
static const row bert_odd[] = {
    {"0", "final_layer_norm", NULL}, {"1.net.0.0", "fc1", NULL}, {"1.net.2", "fc2", NULL}, {0}};

/* What follows `stem` in a name, from its dot on (or the end); NULL if it does not begin so. */
static const char *after(const char *name, const char *stem) {
    size_t n = strlen(stem);
    return !strncmp(name, stem, n) && (name[n] == '.' || !name[n]) ? name + n : NULL;
}

static const char *word(const row *r, int spelling) { return spelling && r->old ? r->old : r->theirs; }

/* "<front><the other stem><rest>"; false if the table has no such stem. */
static bool swap(ldm_origin *o, const char *front, const row *table, int spelling, const char *name) {
    for (const row *r = table; r->ours; r++) {
        const char *rest = after(name, r->ours);
        if (rest) return snprintf(o->name[0], sizeof o->name[0], "%s%s%s", front, word(r, spelling), rest) > 0;
    }
    return false;
}

static bool keep(ldm_origin *o, const char *front, const char *name) {
    return snprintf(o->name[0], sizeof o->name[0], "%s%s", front, name) > 0;
}

/* ---- UNet ------------------------------------------------------------------------------------------------------ */

/* A block's child: residual, attention, or a resampling convolution. `at` is its place, "down_blocks.1.", l its number.
 */
static bool unet_child(const ldm_unet_config *c, int spelling, const char *at, int l, const char *name, bool attention,
                       int64_t rows, ldm_origin *o) {
    char front[64];
    snprintf(front, sizeof front, "%s%s.%d.", at, attention ? "attentions" : "resnets", l);
    if (!attention) return swap(o, front, unet_res, spelling, name);
    if (c->use_spatial_transformer) return keep(o, front, name);
    const char *rest = after(name, "qkv");
    if (!rest) return swap(o, front, unet_attention, spelling, name);
    /* packed head by head: d rows of q, d of k, d of v, the next head's */
    o->parts = 3, o->run = c->num_heads > 0 ? rows / 3 / c->num_heads : c->num_head_channels;
    for (int i = 0; i < 3; i++)
        snprintf(o->name[i], sizeof o->name[i], "%s%s%s", front, word(&unet_qkv[i], spelling), rest);
    return o->run > 0 && rows % (3 * o->run) == 0;
}

static bool unet_origin(const ldm_unet_config *c, int spelling, const char *name, int64_t rows, ldm_origin *o) {
    int i, child, used = 0, n = c->num_res_blocks + 1;
    char at[32];
    if (swap(o, "", unet_top, spelling, name)) return true;
    if (sscanf(name, "middle_block.%d.%n", &i, &used) == 1 && used)
        return unet_child(c, spelling, "mid_block.", i / 2, name + used, i == 1, rows, o);
    if (sscanf(name, "input_blocks.%d.%d.%n", &i, &child, &used) == 2 && used && i > 0) {
        snprintf(at, sizeof at, "down_blocks.%d.", (i - 1) / n);
        const char *rest = after(name + used, "op");
        if (rest) return snprintf(o->name[0], sizeof o->name[0], "%sdownsamplers.0.conv%s", at, rest) > 0;
        /* a resampling residual block (resblock_updown) has no name there */
        return (i - 1) % n < n - 1 && unet_child(c, spelling, at, (i - 1) % n, name + used, child == 1, rows, o);
    }
    if (sscanf(name, "output_blocks.%d.%d.%n", &i, &child, &used) == 2 && used) {
        snprintf(at, sizeof at, "up_blocks.%d.", i / n);
        const char *rest = after(name + used, "conv");
        if (rest) return snprintf(o->name[0], sizeof o->name[0], "%supsamplers.0.conv%s", at, rest) > 0;
        if (child > 0 && after(name + used, "in_layers.0")) return false;
        return child < 2 && unet_child(c, spelling, at, i % n, name + used, child == 1, rows, o);
    }
    return false;
}

/* ---- first stages ---------------------------------------------------------------------------------------------- */

static bool stage_origin(const ldm_stage_config *c, int spelling, const char *name, ldm_origin *o) {
    int level, j, used = 0;
    char front[96];
    const bool up = !strncmp(name, "decoder.", 8);
    const char *half = up ? "decoder" : "encoder", *rest = after(name, half);
    if (!rest || !*rest) return keep(o, "", name); /* quant_conv, post_quant_conv, quantize */
    rest++;
    if (sscanf(rest, "mid.block_%d.%n", &j, &used) == 1 && used) {
        snprintf(front, sizeof front, "%s.mid_block.resnets.%d.", half, j - 1);
        return swap(o, front, stage_res, spelling, rest + used) || keep(o, front, rest + used);
    }
    if (sscanf(rest, "mid.attn_%d.%n", &j, &used) == 1 && used) {
        snprintf(front, sizeof front, "%s.mid_block.attentions.%d.", half, j - 1);
        return swap(o, front, stage_attention, spelling, rest + used);
    }
    if (sscanf(rest, "%*[a-z].%d.%n", &level, &used) == 1 && used) {
        int number = up ? c->levels - 1 - level : level; /* up.0 is the full size and runs last */
        const char *way = up ? "up" : "down", *inner = rest + used, *tail;
        used = 0;
        if (sscanf(inner, "block.%d.%n", &j, &used) == 1 && used) {
            snprintf(front, sizeof front, "%s.%s_blocks.%d.resnets.%d.", half, way, number, j);
            return swap(o, front, stage_res, spelling, inner + used) || keep(o, front, inner + used);
        }
        if (sscanf(inner, "attn.%d.%n", &j, &used) == 1 && used) {
            snprintf(front, sizeof front, "%s.%s_blocks.%d.attentions.%d.", half, way, number, j);
            return swap(o, front, stage_attention, spelling, inner + used);
        }
        if (!(tail = after(inner, up ? "upsample.conv" : "downsample.conv"))) return false;
        return snprintf(o->name[0], sizeof o->name[0], "%s.%s_blocks.%d.%ssamplers.0.conv%s", half, way, number, way,
                        tail) > 0;
    }
    snprintf(front, sizeof front, "%s.", half);
    return swap(o, front, stage_top, spelling, rest);
}

/* diffusers counts the decoder's layers without the clamp that comes first. */
static bool tiny_origin(bool decoder, const char *name, ldm_origin *o) {
    int at, used = 0;
    if (sscanf(name, "%d%n", &at, &used) != 1 || !used) return false;
    return snprintf(o->name[0], sizeof o->name[0], "%s.layers.%d%s", decoder ? "decoder" : "encoder",
                    decoder ? at - 1 : at, name + used) > 0;
}

/* ---- text encoders --------------------------------------------------------------------------------------------- */

/* A name of OpenCLIP's text tower as transformers has it, behind "text_model.". */
static bool openclip_origin(const char *front, const char *name, ldm_origin *o) {
    int layer, used = 0;
    char at[64];
    if (sscanf(name, "model.transformer.resblocks.%d.%n", &layer, &used) != 1 || !used)
        return swap(o, front, clip_top, 0, name + strlen("model."));
    snprintf(at, sizeof at, "%sencoder.layers.%d.", front, layer);
    name += used;
    if (strcmp(name, "attn.in_proj_weight") && strcmp(name, "attn.in_proj_bias"))
        return swap(o, at, clip_layer, 0, name);
    o->parts = 3; /* all of q, all of k, all of v */
    for (int i = 0; i < 3; i++)
        snprintf(o->name[i], sizeof o->name[i], "%sself_attn.%c_proj.%s", at, "qkv"[i], name + strlen("attn.in_proj_"));
    return true;
}

static bool bert_origin(const char *name, ldm_origin *o) {
    int layer, used = 0;
    char front[64];
    if (sscanf(name, "attn_layers.layers.%d.%n", &layer, &used) != 1 || !used) return swap(o, "", bert_top, 0, name);
    snprintf(front, sizeof front, "model.layers.%d.", layer / 2);
    return swap(o, front, layer % 2 ? bert_odd : bert_even, 0, name + used);
}

static bool text_origin(ldm_layout layout, int spelling, const char *name, ldm_origin *o) {
    const char *clip = after(name, "transformer.text_model"), *transformer = after(name, "transformer");
    static const char *const fronts[] = {"text_model.", ""}; /* transformers wrote the first one until it did not */
    if (spelling > 1) return false;
    if (layout == LDM_COMPVIS) return spelling == 0 ? keep(o, "", name) : clip && *clip && keep(o, "transformer", clip);
    if (clip && *clip) return keep(o, fronts[spelling], clip + 1);
    if (!transformer || !*transformer) return openclip_origin(fronts[spelling], name, o);
    return spelling == 0 && bert_origin(transformer + 1, o);
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

#define COND "cond_stage_model."

ldm_part ldm_part_of(const char *name) {
    static const struct {
        const char *start;
        ldm_part part;
    } table[] = {{"time_embed.", LDM_PART_UNET},
                 {"label_emb.", LDM_PART_UNET},
                 {"input_blocks.", LDM_PART_UNET},
                 {"middle_block.", LDM_PART_UNET},
                 {"output_blocks.", LDM_PART_UNET},
                 {"out.", LDM_PART_UNET},
                 {"encoder.", LDM_PART_ENCODER},
                 {"quant_conv.", LDM_PART_ENCODER},
                 {"decoder.", LDM_PART_DECODER},
                 {"post_quant_conv.", LDM_PART_DECODER},
                 {"quantize.", LDM_PART_DECODER},
                 {COND "embedding.", LDM_PART_CONDITION},
                 {COND "channel_mapper.", LDM_PART_CONDITION},
                 {"transformer.token_emb.", LDM_PART_TEXT},
                 {"transformer.pos_emb.", LDM_PART_TEXT},
                 {"transformer.attn_layers.", LDM_PART_TEXT},
                 {"transformer.norm.", LDM_PART_TEXT},
                 {"transformer.text_model.", LDM_PART_TEXT},
                 {"model.token_embedding.", LDM_PART_TEXT},
                 {"model.positional_embedding", LDM_PART_TEXT},
                 {"model.transformer.resblocks.", LDM_PART_TEXT},
                 {"model.ln_final.", LDM_PART_TEXT}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strncmp(table[i].start, name, strlen(table[i].start))) return table[i].part;
    return isdigit((unsigned char)*name) ? LDM_PART_TINY_DECODER : LDM_PARTS;
}

const char *ldm_part_name(ldm_part p) {
    static const char *const names[] = {"UNet",         "encoder",      "decoder",    "tiny encoder",
                                        "tiny decoder", "text encoder", "conditioner"};
    return p < LDM_PARTS ? names[p] : "no part";
}

bool ldm_origin_of(ldm_part part, ldm_layout layout, int spelling, const ldm_unet_config *unet,
                   const ldm_stage_config *stage, const char *name, int64_t rows, ldm_origin *out) {
    ldm_origin o = {.parts = 1};
    bool ok = false;
    if (part == LDM_PART_CONDITION && !strncmp(name, COND, strlen(COND))) name += strlen(COND);
    if (part == LDM_PART_TEXT) ok = text_origin(layout, spelling, name, &o);
    else if (layout == LDM_COMPVIS) ok = spelling == 0 && keep(&o, "", name);
    else if (spelling > 1) ok = false;
    else if (part == LDM_PART_UNET) ok = unet_origin(unet, spelling, name, rows, &o);
    else if (part == LDM_PART_ENCODER || part == LDM_PART_DECODER) ok = stage_origin(stage, spelling, name, &o);
    else if (part == LDM_PART_TINY_ENCODER || part == LDM_PART_TINY_DECODER)
        ok = spelling == 0 && tiny_origin(part == LDM_PART_TINY_DECODER, name, &o);
    if (ok) *out = o;
    return ok;
}
