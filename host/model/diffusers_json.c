/* diffusers_json.c -- the config.json files of a diffusers folder's parts, and its scheduler's, in our terms. A key
 * that is absent has its class's default (diffusers models/unets, models/autoencoders; transformers CLIPTextConfig).
 * What a network here has in one way only must be so in the file: one table of keys and values. */
#include "model/described.h"
#include <stdlib.h>
#include <string.h>

enum { BIG = 1 << 20 };
#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

/* Keys with the only value that is read; values in words, alternatives apart by '|'. */
typedef struct fixed {
    const char *key, *value;
} fixed;

static ldm_status hold(const ldm_tree *t, const fixed *table) {
    for (; table->key; table++) {
        ldm_node *n = ldm_tree_at(t->root, table->key);
        ldm_text found = {0};
        bool same = false;
        if (!n) continue;
        ldm_tree_words(n, &found);
        for (const char *s = table->value; found.s && *s && !same; s += strcspn(s, "|"), s += *s == '|')
            same = strlen(found.s) == strcspn(s, "|") && !strncmp(found.s, s, strcspn(s, "|"));
        ldm_status st = same || !found.s ? LDM_OK
                                         : BAD("%s: %s is %.60s, which is not supported; wanted %s", t->path,
                                               table->key, found.s, table->value);
        ldm_text_free(&found);
        if (st) return st;
    }
    return LDM_OK;
}

/* A list whose entries are one number; a single number counts as that. What is absent leaves *out. */
static ldm_status same_ints(const ldm_tree *t, const char *key, int *out) {
    int all[64], n = 0;
    ldm_status st = ldm_tree_ints(t, t->root, key, 64, all, &n);
    for (int i = 1; !st && i < n; i++)
        if (all[i] != all[0]) st = BAD("%s: %s differs from level to level, which is not supported", t->path, key);
    if (!st && n) *out = all[0];
    return st;
}

/* block_out_channels: the first level's, and multiples of it. */
static ldm_status channels(const ldm_tree *t, int *first, int mult[LDM_MAX_LEVELS], int *levels) {
    ldm_status st = ldm_tree_ints(t, t->root, "block_out_channels", LDM_MAX_LEVELS, mult, levels);
    if (st) return st;
    if (*levels < 1) return BAD("%s: block_out_channels is missing", t->path);
    *first = mult[0];
    for (int i = 0; i < *levels; i++) {
        if (*first < 1 || mult[i] < 1 || mult[i] % *first)
            return BAD("%s: block_out_channels are no multiples of the first one", t->path);
        mult[i] /= *first;
    }
    return LDM_OK;
}

/* Which levels attend, by the words of down_block_types, which up_block_types must mirror. */
static ldm_status attending(const ldm_tree *t, int levels, const char *with[2], const char *without[2],
                            bool out[LDM_MAX_LEVELS]) {
    static const char *const keys[] = {"down_block_types", "up_block_types"};
    for (int way = 0; way < 2; way++) {
        ldm_node *list = ldm_tree_at(t->root, keys[way]);
        if (ldm_tree_length(list) != levels) return BAD("%s: %s does not name %d blocks", t->path, keys[way], levels);
        for (int i = 0; i < levels; i++) {
            const char *word = ldm_tree_string(ldm_tree_item(list, i));
            const int level = way ? levels - 1 - i : i;
            if (!word || (strcmp(word, with[way]) && strcmp(word, without[way])))
                return BAD("%s: %s has %.60s, wanted %s or %s", t->path, keys[way], word ? word : "no word", with[way],
                           without[way]);
            const bool attends = !strcmp(word, with[way]);
            if (way && attends != out[level])
                return BAD("%s: up_block_types does not mirror down_block_types", t->path);
            out[level] = attends;
        }
    }
    return LDM_OK;
}

/* The conditional UNet calls the number of heads attention_head_dim; per level, it is heads of one width. */
static ldm_status heads(const ldm_tree *t, bool conditional, ldm_unet_config *c) {
    int list[LDM_MAX_LEVELS] = {8}, n = 1;
    ldm_node *named = ldm_tree_at(t->root, "num_attention_heads");
    ldm_text word = {0};
    ldm_status st = LDM_OK;
    if (named) ldm_tree_words(named, &word);
    const bool by_name = word.s && strcmp(word.s, "null");
    ldm_text_free(&word);
    if ((st = ldm_tree_ints(t, t->root, conditional && by_name ? "num_attention_heads" : "attention_head_dim",
                            LDM_MAX_LEVELS, list, &n)))
        return st;
    if (!conditional) {
        ldm_node *dim = ldm_tree_at(t->root, "attention_head_dim");
        ldm_tree_words(dim, &word);
        if (dim && word.s && !strcmp(word.s, "null")) c->num_heads = 1; /* one head of all channels */
        else c->num_head_channels = list[0];
        ldm_text_free(&word);
        return n == 1 && (c->num_heads || c->num_head_channels > 0)
                   ? LDM_OK
                   : BAD("%s: attention_head_dim is no single number", t->path);
    }
    bool same = true, width = n == c->levels;
    for (int i = 0; i < n; i++) {
        if (list[i] < 1) return BAD("%s: a level with no heads", t->path);
        same = same && list[i] == list[0];
        width = width && c->model_channels * c->channel_mult[i] % list[i] == 0 &&
                c->model_channels * c->channel_mult[i] / list[i] == c->model_channels * c->channel_mult[0] / list[0];
    }
    if (n == 1 || (same && n == c->levels)) c->num_heads = list[0];
    else if (width) c->num_head_channels = c->model_channels / list[0];
    else return BAD("%s: heads of different widths from level to level, which is not supported", t->path);
    return LDM_OK;
}

static ldm_status unet(const ldm_tree *t, bool conditional, ldm_described *d) {
    static const fixed table[] = {{"act_fn", "silu"},
                                  {"addition_embed_type", "null"},
                                  {"center_input_sample", "false"},
                                  {"class_embed_type", "null"},
                                  {"conv_in_kernel", "3"},
                                  {"conv_out_kernel", "3"},
                                  {"cross_attention_norm", "null"},
                                  {"downsample_padding", "1"},
                                  {"downsample_type", "conv"},
                                  {"upsample_type", "conv"},
                                  {"dual_cross_attention", "false"},
                                  {"encoder_hid_dim", "null"},
                                  {"flip_sin_to_cos", "true"},
                                  {"freq_shift", "0"},
                                  {"mid_block_scale_factor", "1|1.0"},
                                  {"mid_block_type", "UNetMidBlock2DCrossAttn|UNetMidBlock2D"},
                                  {"mid_block_only_cross_attention", "null|false"},
                                  {"norm_num_groups", "32"},
                                  {"resnet_out_scale_factor", "1|1.0"},
                                  {"resnet_skip_time_act", "false"},
                                  {"resnet_time_scale_shift", "default"},
                                  {"time_embedding_type", "positional"},
                                  {"time_embedding_dim", "null"},
                                  {"timestep_post_act", "null"},
                                  {"add_attention", "true"},
                                  {"attn_norm_num_groups", "null"},
                                  {"attention_type", "default"},
                                  {0}};
    const char *with[2] = {conditional ? "CrossAttnDownBlock2D" : "AttnDownBlock2D",
                           conditional ? "CrossAttnUpBlock2D" : "AttnUpBlock2D"};
    const char *without[2] = {"DownBlock2D", "UpBlock2D"};
    ldm_status st = LDM_OK;
    ldm_unet_config c = {.in_channels = conditional ? 4 : 3,
                         .out_channels = conditional ? 4 : 3,
                         .num_res_blocks = 2,
                         .transformer_depth = conditional};
    bool attends[LDM_MAX_LEVELS] = {false}, only_cross = false, middle = false;
    int side = 0;
    double eps = 1e-5;
    TRY(hold(t, table));
    TRY(ldm_tree_int(t, t->root, "in_channels", 1, BIG, &c.in_channels));
    TRY(ldm_tree_int(t, t->root, "out_channels", 1, BIG, &c.out_channels));
    TRY(channels(t, &c.model_channels, c.channel_mult, &c.levels));
    TRY(same_ints(t, "layers_per_block", &c.num_res_blocks));
    TRY(attending(t, c.levels, with, without, attends));
    for (int l = 0; l < c.levels; l++)
        if (attends[l]) c.attention_resolutions[c.attentions++] = 1 << l;
    TRY(heads(t, conditional, &c));
    TRY(ldm_tree_number(t, t->root, "norm_eps", &eps));
    if (eps != 1e-5) TRY(BAD("%s: norm_eps is %g, wanted 1e-05", t->path, eps));
    if (conditional) {
        c.use_spatial_transformer = true, c.context_dim = 1280;
        TRY(same_ints(t, "cross_attention_dim", &c.context_dim));
        TRY(same_ints(t, "transformer_layers_per_block", &c.transformer_depth));
        TRY(ldm_tree_bool(t, t->root, "use_linear_projection", &c.use_linear_in_transformer));
        TRY(ldm_tree_int(t, t->root, "time_cond_proj_dim", 1, BIG, &c.time_cond_proj_dim));
        if (ldm_tree_length(ldm_tree_at(t->root, "only_cross_attention")) > 0)
            TRY(ldm_tree_ints(t, t->root, "only_cross_attention", LDM_MAX_LEVELS, c.disable_self_attentions,
                              &c.disabled));
        else TRY(ldm_tree_bool(t, t->root, "only_cross_attention", &only_cross));
        middle = only_cross;
        TRY(ldm_tree_bool(t, t->root, "mid_block_only_cross_attention", &middle));
        if (middle) TRY(BAD("%s: only_cross_attention is true, for the middle too, which is not supported", t->path));
        for (int l = 0; only_cross && l < c.levels; l++) c.disable_self_attentions[l] = 1, c.disabled = c.levels;
    }
    TRY(ldm_tree_int(t, t->root, "num_class_embeds", 1, BIG, &c.num_classes));
    TRY(ldm_tree_int(t, t->root, "sample_size", 1, 8192, &side));
    if (c.num_res_blocks < 1 || c.transformer_depth < conditional)
        TRY(BAD("%s: layers_per_block and transformer_layers_per_block must be above 0", t->path));
    d->config.unet = c, d->unet = true;
    if (side) d->config.latent = side;
done:
    return st;
}

static ldm_status autoencoder(const ldm_tree *t, bool vq, ldm_described *d) {
    static const fixed table[] = {{"act_fn", "silu"},
                                  {"in_channels", "3"},
                                  {"out_channels", "3"},
                                  {"norm_num_groups", "32"},
                                  {"use_quant_conv", "true"},
                                  {"use_post_quant_conv", "true"},
                                  {"shift_factor", "null|0|0.0"},
                                  {"norm_type", "group"},
                                  {"latents_mean", "null"},
                                  {"latents_std", "null"},
                                  {0}};
    const char *with[2] = {"AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D"},
               *without[2] = {"DownEncoderBlock2D", "UpDecoderBlock2D"};
    ldm_status st = LDM_OK;
    ldm_stage_config c = {.kind = vq ? LDM_STAGE_VQ : LDM_STAGE_KL,
                          .num_res_blocks = 1,
                          .z_channels = vq ? 3 : 4,
                          .n_embed = vq ? 256 : 0};
    bool attends[LDM_MAX_LEVELS] = {false}, middle = true;
    double scale = 0.18215;
    TRY(hold(t, table));
    TRY(channels(t, &c.ch, c.ch_mult, &c.levels));
    TRY(ldm_tree_int(t, t->root, "layers_per_block", 1, 64, &c.num_res_blocks));
    TRY(ldm_tree_int(t, t->root, "latent_channels", 1, BIG, &c.z_channels));
    c.embed_dim = c.z_channels;
    TRY(attending(t, c.levels, with, without, attends));
    for (int l = 0; l < c.levels; l++)
        if (attends[l]) c.attn_resolutions[c.attentions++] = 256 >> l;
    TRY(ldm_tree_bool(t, t->root, "mid_block_add_attention", &middle));
    c.attn_none = !middle;
    if (c.attn_none && c.attentions)
        TRY(BAD("%s: attention at a level but none in the middle, which is not supported", t->path));
    TRY(ldm_tree_number(t, t->root, "scaling_factor", &scale));
    if (vq) {
        TRY(ldm_tree_int(t, t->root, "num_vq_embeddings", 1, BIG, &c.n_embed));
        TRY(ldm_tree_int(t, t->root, "vq_embed_dim", 1, BIG, &c.embed_dim));
        if (scale == 0.18215) scale = 1; /* the class's default, which no VQ model was trained with */
    }
    if (!(scale > 0)) TRY(BAD("%s: scaling_factor is %g, wanted above 0", t->path, scale));
    d->stage = c, d->stage_known = true;
    d->config.scale_factor = scale, d->scale = true;
done:
    return st;
}

static ldm_status tiny(const ldm_tree *t, ldm_described *d) {
    static const fixed table[] = {{"act_fn", "relu"},
                                  {"in_channels", "3"},
                                  {"out_channels", "3"},
                                  {"encoder_block_out_channels", "64,64,64,64"},
                                  {"decoder_block_out_channels", "64,64,64,64"},
                                  {"num_encoder_blocks", "1,3,3,3"},
                                  {"num_decoder_blocks", "3,3,3,1"},
                                  {"upsampling_scaling_factor", "2"},
                                  {0}};
    ldm_stage_config c = {.kind = LDM_STAGE_TAESD, .levels = 4, .z_channels = 4};
    ldm_status st = hold(t, table);
    if (!st) st = ldm_tree_int(t, t->root, "latent_channels", 1, 1024, &c.z_channels);
    c.embed_dim = c.z_channels;
    if (!st) d->stage = c, d->stage_known = true;
    return st;
}

ldm_status ldm_described_text(const ldm_tree *t, const char *text, ldm_text_config *out) {
    char why[300];
    if (ldm_text_config_parse(text, out) == LDM_OK) return LDM_OK;
    snprintf(why, sizeof why, "%s", ldm_message());
    return BAD("%s: a text encoder that cannot be: %s", t->path, why);
}

static ldm_status clip(const ldm_tree *t, ldm_described *d) {
    ldm_status st = LDM_OK;
    int width = 512, layers = 12, count = 8, hidden = 2048, vocab = 49408, length = 77;
    const char *act = "quick_gelu";
    double eps = 1e-5;
    char text[200];
    TRY(ldm_tree_int(t, t->root, "hidden_size", 1, BIG, &width));
    TRY(ldm_tree_int(t, t->root, "num_hidden_layers", 1, 256, &layers));
    TRY(ldm_tree_int(t, t->root, "num_attention_heads", 1, BIG, &count));
    TRY(ldm_tree_int(t, t->root, "intermediate_size", 1, BIG, &hidden));
    TRY(ldm_tree_int(t, t->root, "vocab_size", 1, BIG, &vocab));
    TRY(ldm_tree_int(t, t->root, "max_position_embeddings", 1, 4096, &length));
    TRY(ldm_tree_text(t, t->root, "hidden_act", &act));
    TRY(ldm_tree_number(t, t->root, "layer_norm_eps", &eps));
    if (eps != 1e-5) TRY(BAD("%s: layer_norm_eps is %g, wanted 1e-05", t->path, eps));
    if (strcmp(act, "quick_gelu") && strcmp(act, "gelu"))
        TRY(BAD("%s: hidden_act is %.40s, wanted quick_gelu or gelu", t->path, act));
    if (width % count) TRY(BAD("%s: %d heads do not divide hidden_size %d", t->path, count, width));
    /* with exact GELU it is OpenCLIP's, as transformers holds it; its last layer is left out of the folder already */
    const bool open = !strcmp(act, "gelu");
    snprintf(text, sizeof text,
             "kind=%s width=%d layers=%d heads=%d head_width=%d hidden=%d vocab=%d length=%d skip=1 pad=%d",
             open ? "openclip" : "clip", width, layers, count, width / count, hidden, vocab, length, open ? 0 : 49407);
    TRY(ldm_described_text(t, text, &d->text));
    d->text_known = true, d->config.tokens = length;
done:
    return st;
}

static ldm_status bert(const ldm_tree *t, ldm_described *d) {
    ldm_status st = LDM_OK;
    int width = 1280, layers = 32, count = 8, each = 64, hidden = 5120, vocab = 30522, length = 77;
    const char *act = "gelu";
    char text[200];
    TRY(ldm_tree_int(t, t->root, "d_model", 1, BIG, &width));
    TRY(ldm_tree_int(t, t->root, "encoder_layers", 1, 256, &layers));
    TRY(ldm_tree_int(t, t->root, "encoder_attention_heads", 1, BIG, &count));
    TRY(ldm_tree_int(t, t->root, "head_dim", 1, BIG, &each));
    TRY(ldm_tree_int(t, t->root, "encoder_ffn_dim", 1, BIG, &hidden));
    TRY(ldm_tree_int(t, t->root, "vocab_size", 1, BIG, &vocab));
    TRY(ldm_tree_int(t, t->root, "max_position_embeddings", 1, 4096, &length));
    TRY(ldm_tree_text(t, t->root, "activation_function", &act));
    if (strcmp(act, "gelu")) TRY(BAD("%s: activation_function is %.40s, wanted gelu", t->path, act));
    snprintf(text, sizeof text, "kind=bert width=%d layers=%d heads=%d head_width=%d hidden=%d vocab=%d length=%d",
             width, layers, count, each, hidden, vocab, length);
    TRY(ldm_described_text(t, text, &d->text));
    d->text_known = true, d->config.tokens = length;
done:
    return st;
}

static ldm_status scheduler(const ldm_tree *t, const char *name, ldm_described *d) {
    static const fixed table[] = {{"num_train_timesteps", "1000"}, {"trained_betas", "null"}, {0}};
    static const struct {
        const char *theirs, *ours;
    } schedules[] = {
        {"scaled_linear", "linear"}, {"linear", "sqrt_linear"}, {"squaredcos_cap_v2", "squaredcos_cap_v2"}};
    ldm_status st = LDM_OK;
    double start = 1e-4, end = .02;
    /* LCM's defaults are not the others' */
    const char *word = !strncmp(name, "LCM", 3) ? "scaled_linear" : "linear", *predicts = "epsilon";
    if (!strncmp(name, "LCM", 3)) start = .00085, end = .012;
    TRY(hold(t, table));
    TRY(ldm_tree_number(t, t->root, "beta_start", &start));
    TRY(ldm_tree_number(t, t->root, "beta_end", &end));
    TRY(ldm_tree_text(t, t->root, "beta_schedule", &word));
    TRY(ldm_tree_text(t, t->root, "prediction_type", &predicts));
    d->beta_schedule = NULL;
    for (int i = 0; i < 3; i++)
        if (!strcmp(word, schedules[i].theirs)) d->beta_schedule = schedules[i].ours;
    if (!d->beta_schedule)
        TRY(BAD("%s: beta_schedule is %.40s, wanted scaled_linear, linear or squaredcos_cap_v2", t->path, word));
    if (!(start > 0) || !(end > start) || end >= 1)
        TRY(BAD("%s: beta_start %g and beta_end %g, wanted 0 < start < end < 1", t->path, start, end));
    d->config.linear_start = start, d->config.linear_end = end, d->schedule = true;
    if (!strcmp(predicts, "epsilon")) d->config.prediction = LDM_PREDICT_EPS;
    else if (!strcmp(predicts, "v_prediction")) d->config.prediction = LDM_PREDICT_V;
    else if (!strcmp(predicts, "sample")) d->config.prediction = LDM_PREDICT_X0;
    else TRY(BAD("%s: prediction_type is %.40s, wanted epsilon, v_prediction or sample", t->path, predicts));
    d->prediction_known = true;
    snprintf(d->scheduler_class, sizeof d->scheduler_class, "%s", name);
done:
    return st;
}

ldm_status ldm_described_low_res(const ldm_tree *t) {
    const char *name = "";
    ldm_described d = {0};
    ldm_status st = LDM_OK;
    TRY(ldm_tree_text(t, t->root, "_class_name", &name));
    if (strcmp(name, "DDPMScheduler")) TRY(BAD("%s: is of a %.60s, wanted DDPMScheduler", t->path, name));
    TRY(scheduler(t, name, &d));
    if (strcmp(d.beta_schedule, "linear") || d.config.linear_start != 1e-4 || d.config.linear_end != 0.02)
        TRY(BAD("%s: noises the picture by another schedule (%s, %g to %g), wanted scaled_linear, 0.0001 to 0.02", t->path,
                strcmp(d.beta_schedule, "linear") ? d.beta_schedule : "scaled_linear", d.config.linear_start,
                d.config.linear_end));
done:
    return st;
}

ldm_status ldm_described_part(const ldm_tree *t, ldm_described *d) {
    const char *name = NULL;
    ldm_status st = ldm_tree_text(t, t->root, "_class_name", &name);
    /* transformers' models say it in a list */
    if (!name) name = ldm_tree_string(ldm_tree_item(ldm_tree_at(t->root, "architectures"), 0));
    if (st) return st;
    if (!name) return BAD("%s: neither _class_name nor architectures says what it is of", t->path);
    if (!strcmp(name, "UNet2DConditionModel")) return unet(t, true, d);
    if (!strcmp(name, "UNet2DModel")) return unet(t, false, d);
    if (!strcmp(name, "AutoencoderKL")) return autoencoder(t, false, d);
    if (!strcmp(name, "VQModel")) return autoencoder(t, true, d);
    if (!strcmp(name, "AutoencoderTiny")) return tiny(t, d);
    if (!strcmp(name, "CLIPTextModel") || !strcmp(name, "CLIPTextModelWithProjection")) return clip(t, d);
    if (!strcmp(name, "LDMBertModel")) return bert(t, d);
    if (strlen(name) > 9 && strlen(name) < 60 && !strcmp(name + strlen(name) - 9, "Scheduler"))
        return scheduler(t, name, d);
    return BAD("%s: is of a %.60s, which is not supported", t->path, name);
}
