/* parse.c -- configurations from key=value text, with the authors' yaml names. */
#include "model/model.h"
#include <stdlib.h>
#include <string.h>

typedef struct field {
    const char *name;
    int *value, max;    /* max > 1: a comma-separated list of at most so many */
    int *count;         /* of a list */
    bool *flag;         /* a boolean instead */
} field;

static ldm_status set(const field *f, const char *value) {
    int n = 0;
    for (const char *s = value;; s++) {
        char *stop;
        long v = strtol(s, &stop, 10);
        if (stop == s || v < 0 || v > 1 << 24 || n == f->max || (*stop && *stop != ','))
            return ldm_fail(LDM_ERR_ARG, "config: %s: '%s' is not %s", f->name, value, f->max > 1 ? "a short list of small whole numbers" : "a small whole number");
        if (f->flag) *f->flag = v != 0;
        else f->value[n] = (int)v;
        n++;
        s = stop;
        if (!*s) break;
    }
    if (f->count) *f->count = n;
    return LDM_OK;
}

/* Calls word(name, value) for each name=value; fields are tried first. */
static ldm_status parse(const char *text, const field *fields, ldm_status (*word)(void *user, const char *name, const char *value), void *user) {
    for (const char *s = text;;) {
        s += strspn(s, " \n\t");
        size_t len = strcspn(s, " \n\t"), eq = strcspn(s, "=");
        if (len == 0) return LDM_OK;
        if (eq >= len) return ldm_fail(LDM_ERR_ARG, "config: '%.*s' is not name=value", (int)len, s);
        char name[64], value[128];
        snprintf(name, sizeof name, "%.*s", (int)eq, s);
        snprintf(value, sizeof value, "%.*s", (int)(len - eq - 1), s + eq + 1);
        const field *f = fields;
        while (f->name && strcmp(f->name, name)) f++;
        ldm_status st = f->name ? set(f, value) : word(user, name, value);
        if (st) return st;
        s += len;
    }
}

static ldm_status no_word(void *user, const char *name, const char *value) {
    (void)user, (void)value;
    return ldm_fail(LDM_ERR_ARG, "config: no field '%s'", name);
}

ldm_status ldm_unet_config_parse(const char *text, ldm_unet_config *out) {
    ldm_unet_config c = {.num_res_blocks = 2, .transformer_depth = 1};
    const field fields[] = {
        {"in_channels", &c.in_channels, 1, NULL, NULL},
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
        {"use_spatial_transformer", NULL, 1, NULL, &c.use_spatial_transformer},
        {"use_scale_shift_norm", NULL, 1, NULL, &c.use_scale_shift_norm},
        {"resblock_updown", NULL, 1, NULL, &c.resblock_updown},
        {"use_linear_in_transformer", NULL, 1, NULL, &c.use_linear_in_transformer},
        {0}};
    ldm_status st = parse(text, fields, no_word, NULL);
    if (st) return st;
    if (c.in_channels < 1 || c.out_channels < 1 || c.model_channels < 1 || c.levels < 1 || c.num_res_blocks < 1)
        return ldm_fail(LDM_ERR_ARG, "config: in_channels, out_channels, model_channels, num_res_blocks and channel_mult must be given and positive");
    if (c.num_heads < 1 && c.num_head_channels < 1) return ldm_fail(LDM_ERR_ARG, "config: num_heads or num_head_channels must be given");
    *out = c;
    return LDM_OK;
}

static ldm_status stage_word(void *user, const char *name, const char *value) {
    static const char *const kinds[] = {"identity", "kl", "vq", "taesd"};
    ldm_stage_config *c = user;
    if (!strcmp(name, "kind"))
        for (int i = 0; i < 4; i++)
            if (!strcmp(value, kinds[i])) return c->kind = (ldm_stage_kind)i, LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "config: '%s=%s': no such field of a first stage, or no such kind", name, value);
}

ldm_status ldm_stage_config_parse(const char *text, ldm_stage_config *out) {
    ldm_stage_config c = {.ch = 128, .num_res_blocks = 2};
    const field fields[] = {
        {"ch", &c.ch, 1, NULL, NULL},
        {"ch_mult", c.ch_mult, LDM_MAX_LEVELS, &c.levels, NULL},
        {"num_res_blocks", &c.num_res_blocks, 1, NULL, NULL},
        {"attn_resolutions", c.attn_resolutions, LDM_MAX_LEVELS, &c.attentions, NULL},
        {"attn_none", NULL, 1, NULL, &c.attn_none},
        {"z_channels", &c.z_channels, 1, NULL, NULL},
        {"embed_dim", &c.embed_dim, 1, NULL, NULL},
        {"n_embed", &c.n_embed, 1, NULL, NULL},
        {"pool", NULL, 1, NULL, &c.pool},
        {0}};
    ldm_status st = parse(text, fields, stage_word, &c);
    if (st) return st;
    if (c.kind == LDM_STAGE_TAESD) c.levels = 4;
    if (c.kind != LDM_STAGE_IDENTITY && (c.z_channels < 1 || c.levels < 1)) return ldm_fail(LDM_ERR_ARG, "config: z_channels and ch_mult must be given");
    if (c.embed_dim == 0) c.embed_dim = c.z_channels;
    if (c.kind == LDM_STAGE_VQ && c.n_embed < 1) return ldm_fail(LDM_ERR_ARG, "config: a VQ stage needs n_embed");
    *out = c;
    return LDM_OK;
}
