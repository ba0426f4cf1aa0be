/* parse.c -- configurations from key=value text, with the authors' yaml names. */
#include "model/model.h"
#include "model/text_encoder.h"
#include <stdlib.h>
#include <string.h>

typedef struct field {
    const char *name;
    int *value, max; /* max > 1: a comma-separated list of at most so many */
    int *count;      /* of a list */
    bool *flag;      /* a boolean instead */
} field;

static ldm_status set(const field *f, const char *value) {
    int n = 0;
    for (const char *s = value; *s || !f->count; s++) { /* a list may be empty */
        char *stop;
        long v = strtol(s, &stop, 10);
        if (stop == s || v < 0 || v > 1 << 20 || n == f->max || (*stop && *stop != ',') || (f->flag && v > 1))
            return ldm_fail(LDM_ERR_ARG, "config: %s=%s: wanted %s", f->name, value,
                            f->flag    ? "0 or 1"
                            : f->count ? "at most 8 numbers, 0 to 2^20"
                                       : "a number, 0 to 2^20");
        if (f->flag) *f->flag = v != 0;
        else f->value[n] = (int)v;
        n++;
        s = stop;
        if (!*s) break;
    }
    if (f->count) *f->count = n;
    return LDM_OK;
}

static ldm_status unknown(const field *fields, const char *name) {
    ldm_text all = {0};
    for (const field *f = fields; f->name; f++) ldm_text_add(&all, " %s", f->name);
    ldm_status st = ldm_fail(LDM_ERR_ARG, "config: no field '%s'; there are%s", name, all.s ? all.s : "");
    ldm_text_free(&all);
    return st;
}

/* Sets the fields a text names; `word` [opt] gets first go at each name=value and says whether it took it. */
static ldm_status parse(const char *text, const field *fields,
                        bool (*word)(void *user, const char *name, const char *value), void *user) {
    for (const char *s = text;;) {
        char name[64], value[128];
        s += strspn(s, " \n\t");
        size_t len = strcspn(s, " \n\t"), eq = strcspn(s, "=");
        if (len == 0) return LDM_OK;
        if (eq == 0 || eq >= len || eq >= sizeof name || len - eq > sizeof value)
            return ldm_fail(LDM_ERR_ARG, "config: '%.*s': wanted name=value", (int)(len < 80 ? len : 80), s);
        snprintf(name, sizeof name, "%.*s", (int)eq, s);
        snprintf(value, sizeof value, "%.*s", (int)(len - eq - 1), s + eq + 1);
        s += len;
        if (word && word(user, name, value)) continue;
        const field *f = fields;
        while (f->name && strcmp(f->name, name)) f++;
        ldm_status st = f->name ? set(f, value) : unknown(fields, name);
        if (st) return st;
    }
}

static bool positive(const int *value, int n) {
    for (int i = 0; i < n; i++)
        if (value[i] < 1) return false;
    return n > 0;
}

ldm_status ldm_unet_config_parse(const char *text, ldm_unet_config *out) {
    ldm_unet_config c = {.num_res_blocks = 2, .transformer_depth = 1};
    const field fields[] = {{"in_channels", &c.in_channels, 1, NULL, NULL},
                            {"out_channels", &c.out_channels, 1, NULL, NULL},
                            {"model_channels", &c.model_channels, 1, NULL, NULL},
                            {"num_res_blocks", &c.num_res_blocks, 1, NULL, NULL},
                            {"channel_mult", c.channel_mult, LDM_MAX_LEVELS, &c.levels, NULL},
                            {"attention_resolutions", c.attention_resolutions, LDM_MAX_LEVELS, &c.attentions, NULL},
                            {"num_heads", &c.num_heads, 1, NULL, NULL},
                            {"num_head_channels", &c.num_head_channels, 1, NULL, NULL},
                            {"transformer_depth", &c.transformer_depth, 1, NULL, NULL},
                            {"context_dim", &c.context_dim, 1, NULL, NULL},
                            {"num_classes", &c.num_classes, 1, NULL, NULL},
                            {"time_cond_proj_dim", &c.time_cond_proj_dim, 1, NULL, NULL},
                            {"disable_self_attentions", c.disable_self_attentions, LDM_MAX_LEVELS, &c.disabled, NULL},
                            {"use_spatial_transformer", NULL, 1, NULL, &c.use_spatial_transformer},
                            {"use_scale_shift_norm", NULL, 1, NULL, &c.use_scale_shift_norm},
                            {"resblock_updown", NULL, 1, NULL, &c.resblock_updown},
                            {"use_linear_in_transformer", NULL, 1, NULL, &c.use_linear_in_transformer},
                            {0}};
    ldm_status st = parse(text, fields, NULL, NULL);
    if (st) return st;
    if (!positive(&c.in_channels, 1) || !positive(&c.out_channels, 1) || !positive(&c.model_channels, 1) ||
        !positive(&c.num_res_blocks, 1) || !positive(c.channel_mult, c.levels))
        return ldm_fail(
            LDM_ERR_ARG, "config: %s",
            "in_channels, out_channels, model_channels, channel_mult and num_res_blocks must be given and above 0");
    if ((c.num_heads > 0) == (c.num_head_channels > 0))
        return ldm_fail(LDM_ERR_ARG, "config: one of num_heads and num_head_channels must be given and above 0");
    if (c.use_spatial_transformer && (c.context_dim < 1 || c.transformer_depth < 1))
        return ldm_fail(LDM_ERR_ARG, "config: use_spatial_transformer needs context_dim and transformer_depth above 0");
    *out = c;
    return LDM_OK;
}

static bool stage_kind(void *user, const char *name, const char *value) {
    static const char *const kinds[] = {"identity", "kl", "vq", "taesd"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, "kind") && !strcmp(value, kinds[i]))
            return ((ldm_stage_config *)user)->kind = (ldm_stage_kind)i, true;
    return false;
}

static bool text_kind(void *user, const char *name, const char *value) {
    static const char *const kinds[] = {"bert", "clip", "openclip"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, "kind") && !strcmp(value, kinds[i]))
            return ((ldm_text_config *)user)->kind = (ldm_text_kind)i, true;
    return false;
}

ldm_status ldm_text_config_parse(const char *text, ldm_text_config *out) {
    ldm_text_config c = {.kind = (ldm_text_kind)-1, .length = 77, .head_width = 64, .pad = -1};
    int quick_gelu = -1;
    const field fields[] = {{"vocab", &c.vocab, 1, NULL, NULL},
                            {"length", &c.length, 1, NULL, NULL},
                            {"width", &c.width, 1, NULL, NULL},
                            {"layers", &c.layers, 1, NULL, NULL},
                            {"heads", &c.heads, 1, NULL, NULL},
                            {"head_width", &c.head_width, 1, NULL, NULL},
                            {"hidden", &c.hidden, 1, NULL, NULL},
                            {"quick_gelu", &quick_gelu, 1, NULL, NULL},
                            {"pad", &c.pad, 1, NULL, NULL},
                            {"skip", &c.skip, 1, NULL, NULL},
                            {0}};
    ldm_status st = parse(text, fields, text_kind, &c);
    if (st) return st;
    if (c.kind == (ldm_text_kind)-1) return ldm_fail(LDM_ERR_ARG, "config: kind= must be one of bert, clip, openclip");
    const bool bert = c.kind == LDM_TEXT_BERT, clip = c.kind == LDM_TEXT_CLIP;
    if (!c.vocab) c.vocab = bert ? 30522 : 49408;
    if (!c.heads) c.heads = bert ? 8 : c.width / (c.head_width ? c.head_width : 1);
    if (!c.hidden) c.hidden = 4 * c.width;
    if (!c.skip) c.skip = c.kind == LDM_TEXT_OPENCLIP && c.layers > 1 ? 2 : 1;
    if (c.pad < 0) c.pad = clip ? 49407 : 0;
    c.quick_gelu = quick_gelu < 0 ? clip : quick_gelu > 0;
    if (!positive(&c.vocab, 1) || !positive(&c.length, 1) || !positive(&c.width, 1) || !positive(&c.layers, 1) ||
        !positive(&c.heads, 1) || !positive(&c.head_width, 1))
        return ldm_fail(LDM_ERR_ARG, "config: width and layers must be given, and heads of head_width, above 0");
    if (c.skip > c.layers)
        return ldm_fail(LDM_ERR_ARG, "config: skip %d: wanted 1 to %d, the number of layers", c.skip, c.layers);
    *out = c;
    return LDM_OK;
}

ldm_status ldm_stage_config_parse(const char *text, ldm_stage_config *out) {
    ldm_stage_config c = {.kind = (ldm_stage_kind)-1, .ch = 128, .num_res_blocks = 2};
    const field fields[] = {{"ch", &c.ch, 1, NULL, NULL},
                            {"ch_mult", c.ch_mult, LDM_MAX_LEVELS, &c.levels, NULL},
                            {"num_res_blocks", &c.num_res_blocks, 1, NULL, NULL},
                            {"attn_resolutions", c.attn_resolutions, LDM_MAX_LEVELS, &c.attentions, NULL},
                            {"attn_none", NULL, 1, NULL, &c.attn_none},
                            {"z_channels", &c.z_channels, 1, NULL, NULL},
                            {"embed_dim", &c.embed_dim, 1, NULL, NULL},
                            {"n_embed", &c.n_embed, 1, NULL, NULL},
                            {"pool", NULL, 1, NULL, &c.pool},
                            {0}};
    ldm_status st = parse(text, fields, stage_kind, &c);
    if (st) return st;
    if (c.kind == (ldm_stage_kind)-1)
        return ldm_fail(LDM_ERR_ARG, "config: kind= must be one of identity, kl, vq, taesd");
    bool levelled = c.kind == LDM_STAGE_KL || c.kind == LDM_STAGE_VQ;
    if (c.kind == LDM_STAGE_IDENTITY && !c.z_channels) c.z_channels = 3;
    if (!levelled) c.levels = c.kind == LDM_STAGE_TAESD ? 4 : 1;
    if (!c.embed_dim) c.embed_dim = c.z_channels;
    if (!positive(&c.z_channels, 1) ||
        (levelled && (!positive(&c.ch, 1) || !positive(&c.num_res_blocks, 1) || !positive(c.ch_mult, c.levels))))
        return ldm_fail(LDM_ERR_ARG, "config: z_channels, ch, ch_mult and num_res_blocks must be given and above 0");
    if (c.kind == LDM_STAGE_VQ && c.n_embed < 1) return ldm_fail(LDM_ERR_ARG, "config: a VQ stage needs n_embed");
    *out = c;
    return LDM_OK;
}
