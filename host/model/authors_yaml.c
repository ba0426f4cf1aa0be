/* authors_yaml.c -- the authors' configuration files (CompVis latent-diffusion, stable-diffusion, Stability's
 * stablediffusion): which class, with which parameters. Defaults are those of their constructors
 * (ldm/models/diffusion/ddpm.py, ldm/modules/diffusionmodules/openaimodel.py, model.py,
 * ldm/modules/encoders/modules.py). */
#include "model/described.h"
#include <string.h>

enum { BIG = 1 << 20 };
#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

/* "ldm.models.autoencoder.VQModel" -> "VQModel"; NULL if the node names no class. */
static const char *class_of(const ldm_tree *t, ldm_node *n) {
    const char *target = NULL;
    if (!ldm_tree_is_object(n) || ldm_tree_text(t, n, "target", &target) || !target) return NULL;
    const char *dot = strrchr(target, '.');
    return dot ? dot + 1 : target;
}

static bool one_of(const char *s, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(s, *list)) return true;
    return false;
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static ldm_status only_known(const ldm_tree *t, ldm_node *n, const char *where, const char *const *keys) {
    const char *key;
    ldm_node *value;
    for (void *at = NULL; ldm_tree_next(n, &at, &key, &value);)
        if (!one_of(key, keys))
            return BAD("%s: %s has the parameter %.80s, which is not known here", t->path, where, key);
    return LDM_OK;
}

static ldm_status unet(const ldm_tree *t, ldm_node *n, ldm_described *d) {
    ldm_status st = LDM_OK;
    ldm_unet_config c = {.transformer_depth = 1};
    const char *name = class_of(t, n);
    ldm_node *p = ldm_tree_at(n, "params");
    bool conv_resample = true, new_order = false, middle_off = false;
    int dims = 2;
    if (!name || strcmp(name, "UNetModel"))
        return BAD("%s: unet_config.target is %.80s, wanted UNetModel", t->path, name ? name : "missing");
    TRY(only_known(t, p, "the UNet",
                   WORDS("image_size", "in_channels", "out_channels", "model_channels", "num_res_blocks",
                         "attention_resolutions", "dropout", "channel_mult", "conv_resample", "dims", "num_classes",
                         "use_checkpoint", "use_fp16", "num_heads", "num_head_channels", "num_heads_upsample",
                         "use_scale_shift_norm", "resblock_updown", "use_new_attention_order",
                         "use_spatial_transformer", "transformer_depth", "context_dim", "legacy",
                         "disable_self_attentions", "disable_middle_self_attn", "use_linear_in_transformer")));
    TRY(ldm_tree_int(t, p, "in_channels", 1, BIG, &c.in_channels));
    TRY(ldm_tree_int(t, p, "out_channels", 1, BIG, &c.out_channels));
    TRY(ldm_tree_int(t, p, "model_channels", 1, BIG, &c.model_channels));
    TRY(ldm_tree_int(t, p, "num_res_blocks", 1, 64, &c.num_res_blocks));
    TRY(ldm_tree_ints(t, p, "channel_mult", LDM_MAX_LEVELS, c.channel_mult, &c.levels));
    TRY(ldm_tree_ints(t, p, "attention_resolutions", LDM_MAX_LEVELS, c.attention_resolutions, &c.attentions));
    TRY(ldm_tree_int(t, p, "num_heads", -1, BIG, &c.num_heads));
    TRY(ldm_tree_int(t, p, "num_head_channels", -1, BIG, &c.num_head_channels));
    TRY(ldm_tree_bool(t, p, "use_spatial_transformer", &c.use_spatial_transformer));
    TRY(ldm_tree_bool(t, p, "use_scale_shift_norm", &c.use_scale_shift_norm));
    TRY(ldm_tree_bool(t, p, "resblock_updown", &c.resblock_updown));
    TRY(ldm_tree_bool(t, p, "use_linear_in_transformer", &c.use_linear_in_transformer));
    TRY(ldm_tree_int(t, p, "transformer_depth", 1, 64, &c.transformer_depth));
    TRY(ldm_tree_int(t, p, "context_dim", 1, BIG, &c.context_dim));
    TRY(ldm_tree_int(t, p, "num_classes", 1, BIG, &c.num_classes));
    TRY(ldm_tree_ints(t, p, "disable_self_attentions", LDM_MAX_LEVELS, c.disable_self_attentions, &c.disabled));
    TRY(ldm_tree_bool(t, p, "conv_resample", &conv_resample));
    TRY(ldm_tree_bool(t, p, "use_new_attention_order", &new_order));
    TRY(ldm_tree_bool(t, p, "disable_middle_self_attn", &middle_off));
    TRY(ldm_tree_int(t, p, "dims", 1, 3, &dims));
    if (!conv_resample || new_order || middle_off || dims != 2)
        TRY(BAD("%s: a UNet with %s, which is not supported", t->path,
                !conv_resample ? "conv_resample false"
                : new_order    ? "use_new_attention_order"
                : middle_off   ? "disable_middle_self_attn"
                               : "dims other than 2"));
    if (c.num_heads < 0) c.num_heads = 0;
    if (c.num_head_channels < 0) c.num_head_channels = 0;
    if (c.num_heads && c.num_head_channels) c.num_heads = 0; /* their constructor prefers the width */
    if (!c.use_spatial_transformer) c.context_dim = 0;
    if (c.in_channels < 1 || c.out_channels < 1 || c.model_channels < 1 || c.num_res_blocks < 1 || c.levels < 1)
        TRY(BAD(
            "%s: unet_config lacks one of in_channels, out_channels, model_channels, num_res_blocks and channel_mult",
            t->path));
    for (int i = 0; i < c.levels; i++)
        if (c.channel_mult[i] < 1) TRY(BAD("%s: channel_mult has a 0", t->path));
    if (!c.num_heads && !c.num_head_channels)
        TRY(BAD("%s: unet_config has neither num_heads nor num_head_channels", t->path));
    if (c.use_spatial_transformer && c.context_dim < 1)
        TRY(BAD("%s: use_spatial_transformer without context_dim", t->path));
    d->heads_by_width_only = c.use_spatial_transformer && c.num_head_channels && !ldm_tree_at(p, "legacy");
    d->config.unet = c, d->unet = true;
done:
    return st;
}

static ldm_status stage(const ldm_tree *t, ldm_node *n, ldm_described *d) {
    ldm_status st = LDM_OK;
    ldm_stage_config c = {0};
    const char *name = class_of(t, n), *attn = "vanilla";
    ldm_node *p = ldm_tree_at(n, "params"), *dd = ldm_tree_at(p, "ddconfig");
    bool double_z = true;
    int resolution = 256, in = 3, out = 3, sizes[LDM_MAX_LEVELS];
    if (name && one_of(name, WORDS("IdentityFirstStage"))) {
        c = *ldm_stage_find("identity");
    } else if (name && one_of(name, WORDS("TAESD"))) {
        c = (ldm_stage_config){.kind = LDM_STAGE_TAESD, .levels = 4, .z_channels = 4};
        TRY(ldm_tree_int(t, p, "latent_channels", 1, 1024, &c.z_channels));
        c.embed_dim = c.z_channels, c.pool = c.z_channels == 32;
    } else if (name && one_of(name, WORDS("AutoencoderKL", "VQModel", "VQModelInterface"))) {
        c.kind = strcmp(name, "AutoencoderKL") ? LDM_STAGE_VQ : LDM_STAGE_KL;
        TRY(ldm_tree_int(t, p, "embed_dim", 1, BIG, &c.embed_dim));
        TRY(ldm_tree_int(t, p, "n_embed", 1, BIG, &c.n_embed));
        TRY(ldm_tree_bool(t, dd, "double_z", &double_z));
        TRY(ldm_tree_int(t, dd, "z_channels", 1, BIG, &c.z_channels));
        TRY(ldm_tree_int(t, dd, "resolution", 1, BIG, &resolution));
        TRY(ldm_tree_int(t, dd, "in_channels", 1, BIG, &in));
        TRY(ldm_tree_int(t, dd, "out_ch", 1, BIG, &out));
        TRY(ldm_tree_int(t, dd, "ch", 1, BIG, &c.ch));
        TRY(ldm_tree_ints(t, dd, "ch_mult", LDM_MAX_LEVELS, c.ch_mult, &c.levels));
        TRY(ldm_tree_int(t, dd, "num_res_blocks", 1, 64, &c.num_res_blocks));
        TRY(ldm_tree_ints(t, dd, "attn_resolutions", LDM_MAX_LEVELS, sizes, &c.attentions));
        TRY(ldm_tree_text(t, dd, "attn_type", &attn));
        /* ours count from a nominal 256 */
        for (int i = 0; i < c.attentions; i++) c.attn_resolutions[i] = (int)((int64_t)sizes[i] * 256 / resolution);
        c.attn_none = !strcmp(attn, "none");
        if (!c.attn_none && strcmp(attn, "vanilla") && strcmp(attn, "vanilla-xformers"))
            TRY(BAD("%s: attn_type is %.40s, wanted vanilla or none", t->path, attn));
        if (in != 3 || out != 3 || double_z != (c.kind == LDM_STAGE_KL))
            TRY(BAD("%s: a first stage with %s, which is not supported", t->path,
                    in != 3 || out != 3 ? "other than 3 channels of pixels" : "this double_z"));
        if (c.ch < 1 || c.levels < 1 || c.z_channels < 1 || c.embed_dim < 1 || c.num_res_blocks < 1 ||
            (c.kind == LDM_STAGE_VQ && c.n_embed < 1))
            TRY(BAD("%s: the first stage lacks one of embed_dim, n_embed, z_channels, ch, ch_mult and num_res_blocks",
                    t->path));
        for (int i = 0; i < c.levels; i++)
            if (c.ch_mult[i] < 1) TRY(BAD("%s: ch_mult has a 0", t->path));
    } else {
        TRY(BAD("%s: first_stage_config.target is %.80s, wanted AutoencoderKL, VQModelInterface, IdentityFirstStage or "
                "TAESD",
                t->path, name ? name : "missing"));
    }
    d->stage = c, d->stage_known = true;
done:
    return st;
}

/* BERTEmbedder and TransformerEmbedder: the same network, with a tokenizer or without. */
static ldm_status bert(const ldm_tree *t, ldm_node *p, ldm_described *d) {
    ldm_status st = LDM_OK;
    int width = 0, layers = 0, vocab = 30522, length = 77;
    char text[120];
    TRY(ldm_tree_int(t, p, "n_embed", 1, BIG, &width));
    TRY(ldm_tree_int(t, p, "n_layer", 1, 256, &layers));
    TRY(ldm_tree_int(t, p, "vocab_size", 1, BIG, &vocab));
    TRY(ldm_tree_int(t, p, "max_seq_len", 1, 4096, &length));
    snprintf(text, sizeof text, "kind=bert width=%d layers=%d vocab=%d length=%d", width, layers, vocab, length);
    TRY(ldm_described_text(t, text, &d->text));
    d->text_known = true, d->config.tokens = length;
done:
    return st;
}

static ldm_status conditioner(const ldm_tree *t, ldm_node *n, ldm_described *d) {
    ldm_status st = LDM_OK;
    const char *word = ldm_tree_string(n), *name = class_of(t, n), *layer = NULL;
    ldm_node *p = ldm_tree_at(n, "params");
    d->config.null_class = -1;
    if (!n || (word && !strcmp(word, "__is_unconditional__"))) return LDM_OK;
    if (word && !strcmp(word, "__is_first_stage__")) return d->first_stage_condition = true, LDM_OK;
    if (!name) return BAD("%s: cond_stage_config names no class", t->path);
    if (one_of(name, WORDS("BERTEmbedder", "TransformerEmbedder"))) return bert(t, p, d);
    if (one_of(name, WORDS("Identity"))) return LDM_OK; /* pictures or embeddings from outside */
    if (one_of(name, WORDS("ClassEmbedder"))) {
        d->config.n_classes = 1000, d->config.tokens = 1;
        TRY(ldm_tree_int(t, p, "n_classes", 1, BIG, &d->config.n_classes));
        /* the authors' own null class is the one past the 1000 of ImageNet */
        if (d->config.n_classes == 1001) d->config.null_class = 1000;
    } else if (one_of(name, WORDS("FrozenCLIPEmbedder"))) {
        d->text = *ldm_text_find("clip-l"), d->text_known = true, d->config.tokens = d->text.length;
    } else if (one_of(name, WORDS("FrozenOpenCLIPEmbedder"))) {
        d->text = *ldm_text_find("openclip-h"), d->text_known = true, d->config.tokens = d->text.length;
        TRY(ldm_tree_text(t, p, "layer", &layer));
        if (layer && !strcmp(layer, "last")) d->text.skip = 1;
    } else if (one_of(name, WORDS("SpatialRescaler"))) {
        d->config.labels = 3, d->rescaler_stages = 1;
        TRY(ldm_tree_int(t, p, "in_channels", 1, BIG, &d->config.labels));
        TRY(ldm_tree_int(t, p, "n_stages", 0, 8, &d->rescaler_stages));
    } else {
        TRY(BAD("%s: cond_stage_config.target is %.80s, which is not known here", t->path, name));
    }
done:
    return st;
}

/* The route of the condition: conditioning_key, or concat_mode (true unless said) where there is none. */
static ldm_status route(const ldm_tree *t, ldm_node *p, ldm_described *d) {
    ldm_status st = LDM_OK;
    const char *key = NULL, *unconditional = ldm_tree_string(ldm_tree_at(p, "cond_stage_config"));
    bool concat = true;
    TRY(ldm_tree_text(t, p, "conditioning_key", &key));
    TRY(ldm_tree_bool(t, p, "concat_mode", &concat));
    if (!ldm_tree_at(p, "cond_stage_config") || (unconditional && !strcmp(unconditional, "__is_unconditional__"))) {
        d->config.condition = LDM_COND_NONE;
        goto done;
    }
    if (!key) key = concat ? "concat" : "crossattn";
    if (!strcmp(key, "concat")) d->config.condition = LDM_COND_CONCAT;
    else if (!strcmp(key, "crossattn")) d->config.condition = d->config.n_classes ? LDM_COND_CLASS : LDM_COND_CONTEXT;
    else if (!strcmp(key, "hybrid") || !strcmp(key, "hybrid-adm")) d->config.condition = LDM_COND_HYBRID;
    else TRY(BAD("%s: conditioning_key is %.40s, wanted concat, crossattn, hybrid or hybrid-adm", t->path, key));
done:
    return st;
}

static ldm_status diffusion(const ldm_tree *t, ldm_node *p, ldm_described *d) {
    ldm_status st = LDM_OK;
    ldm_config *c = &d->config;
    const char *predicts = "eps", *schedule = "linear";
    int timesteps = 1000;
    c->linear_start = 1e-4, c->linear_end = 2e-2, c->scale_factor = 1, c->latent = 256, c->ema = true;
    TRY(unet(t, ldm_tree_at(p, "unet_config"), d));
    if (ldm_tree_at(p, "first_stage_config")) TRY(stage(t, ldm_tree_at(p, "first_stage_config"), d));
    TRY(conditioner(t, ldm_tree_at(p, "cond_stage_config"), d));
    TRY(route(t, p, d));
    TRY(ldm_tree_number(t, p, "linear_start", &c->linear_start));
    TRY(ldm_tree_number(t, p, "linear_end", &c->linear_end));
    TRY(ldm_tree_int(t, p, "timesteps", 1, BIG, &timesteps));
    TRY(ldm_tree_text(t, p, "beta_schedule", &schedule));
    TRY(ldm_tree_text(t, p, "parameterization", &predicts));
    TRY(ldm_tree_number(t, p, "scale_factor", &c->scale_factor));
    TRY(ldm_tree_bool(t, p, "scale_by_std", &c->scale_by_std));
    TRY(ldm_tree_bool(t, p, "use_ema", &c->ema));
    TRY(ldm_tree_int(t, p, "image_size", 1, 8192, &c->latent));
    TRY(ldm_tree_int(t, ldm_tree_at(p, "low_scale_config.params"), "max_noise_level", 1, 1000, &c->noise_levels));
    if (timesteps != 1000) TRY(BAD("%s: timesteps is %d, wanted 1000", t->path, timesteps));
    if (strcmp(schedule, "linear")) TRY(BAD("%s: beta_schedule is %.40s, wanted linear", t->path, schedule));
    if (!(c->linear_start > 0) || !(c->linear_end > c->linear_start) || c->linear_end >= 1)
        TRY(BAD("%s: linear_start %g and linear_end %g, wanted 0 < start < end < 1", t->path, c->linear_start,
                c->linear_end));
    if (!(c->scale_factor > 0)) TRY(BAD("%s: scale_factor is %g, wanted above 0", t->path, c->scale_factor));
    if (!strcmp(predicts, "eps")) c->prediction = LDM_PREDICT_EPS;
    else if (!strcmp(predicts, "v")) c->prediction = LDM_PREDICT_V;
    else if (!strcmp(predicts, "x0")) c->prediction = LDM_PREDICT_X0;
    else TRY(BAD("%s: parameterization is %.40s, wanted eps, v or x0", t->path, predicts));
    d->schedule = d->scale = d->prediction_known = d->ema_known = d->condition_known = true,
    d->beta_schedule = "linear";
done:
    return st;
}

ldm_status ldm_described_authors(const ldm_tree *t, ldm_described *out) {
    ldm_described d = {.config.null_class = -1};
    ldm_node *model = ldm_tree_at(t->root, "model");
    const char *name = class_of(t, model);
    ldm_status st;
    if (name && one_of(name, WORDS("LatentDiffusion", "LatentInpaintDiffusion", "LatentDepth2ImageDiffusion",
                                   "LatentUpscaleDiffusion")))
        st = diffusion(t, ldm_tree_at(model, "params"), &d);
    else if (name && one_of(name, WORDS("AutoencoderKL", "VQModel", "VQModelInterface"))) st = stage(t, model, &d);
    else st = BAD("%s: model.target is %.80s, which is not supported", t->path, name ? name : "missing");
    if (!st) *out = d;
    return st;
}
