/* write_config.c -- what is known of a system as configuration files: the authors' .yaml, and the config.json of
 * diffusers' parts with their scheduler's. authors_yaml.c and diffusers_json.c read them back. */
#include "model/write_config.h"
#include "model/system_internal.h"

static void list(ldm_text *t, const int *v, int n, int times) {
    ldm_text_add(t, "[");
    for (int i = 0; i < n; i++) ldm_text_add(t, "%s%d", i ? ", " : "", v[i] * times);
    ldm_text_add(t, "]");
}

static const char *truth(bool b) { return b ? "true" : "false"; }

static void yaml_stage(ldm_text *t, const ldm_stage_config *c) {
    if (c->kind == LDM_STAGE_IDENTITY) {
        ldm_text_add(t, "    first_stage_config: {target: ldm.models.autoencoder.IdentityFirstStage}\n");
    } else if (c->kind == LDM_STAGE_TAESD) {
        ldm_text_add(t, "    first_stage_config: {target: taesd.TAESD, params: {latent_channels: %d}}\n",
                     c->z_channels);
    } else {
        ldm_text_add(
            t,
            "    first_stage_config:\n      target: ldm.models.autoencoder.%s\n      params:\n        embed_dim: %d\n",
            c->kind == LDM_STAGE_KL ? "AutoencoderKL" : "VQModelInterface", c->embed_dim);
        if (c->n_embed) ldm_text_add(t, "        n_embed: %d\n", c->n_embed);
        ldm_text_add(t,
                     "        ddconfig: {double_z: %s, z_channels: %d, resolution: 256, in_channels: 3, out_ch: 3, ch: "
                     "%d, ch_mult: ",
                     truth(c->kind == LDM_STAGE_KL), c->z_channels, c->ch);
        list(t, c->ch_mult, c->levels, 1);
        ldm_text_add(t, ", num_res_blocks: %d, attn_resolutions: ", c->num_res_blocks);
        list(t, c->attn_resolutions, c->attentions, 1);
        ldm_text_add(t, ", dropout: 0.0%s}\n", c->attn_none ? ", attn_type: none" : "");
    }
}

static void yaml_condition(ldm_text *t, const ldm_system *s) {
    const ldm_config *c = &s->config;
    const ldm_text_config *x = &s->text;
    if (c->condition == LDM_COND_NONE) ldm_text_add(t, "    cond_stage_config: __is_unconditional__\n");
    else if (c->n_classes)
        ldm_text_add(t,
                     "    cond_stage_config: {target: ldm.modules.encoders.modules.ClassEmbedder, params: {n_classes: "
                     "%d, embed_dim: %d}}\n",
                     c->n_classes, c->unet.context_dim);
    else if (c->labels)
        ldm_text_add(t,
                     "    cond_stage_config: {target: ldm.modules.encoders.modules.SpatialRescaler, params: {n_stages: "
                     "%d, in_channels: %d, out_channels: 3}}\n",
                     s->files->said.rescaler_stages, c->labels);
    else if (s->task == LDM_TASK_INPAINT_LDM) ldm_text_add(t, "    cond_stage_config: __is_first_stage__\n");
    else if (x->width && x->kind == LDM_TEXT_BERT)
        ldm_text_add(t,
                     "    cond_stage_config: {target: ldm.modules.encoders.modules.BERTEmbedder, params: {n_embed: %d, "
                     "n_layer: %d, vocab_size: %d, max_seq_len: %d}}\n",
                     x->width, x->layers, x->vocab, x->length);
    else if (x->width)
        ldm_text_add(t, "    cond_stage_config: {target: ldm.modules.encoders.modules.%s%s}\n",
                     x->kind == LDM_TEXT_CLIP ? "FrozenCLIPEmbedder" : "FrozenOpenCLIPEmbedder",
                     x->kind == LDM_TEXT_CLIP          ? ""
                     : x->skip == 1 && x->layers != 23 ? ", params: {layer: last}"
                                                       : ", params: {layer: penultimate}");
    else ldm_text_add(t, "    cond_stage_config: {target: torch.nn.Identity}\n");
}

/* The authors' form of all that is known, so that nothing is to be guessed from the file alone. */
void write_authors_yaml(ldm_text *out, const ldm_system *s) {
    static const char *const keys[] = {"null", "crossattn", "crossattn", "concat", "hybrid"}, *const predictions[] = {
                                                                                                  "eps", "v", "x0"};
    const ldm_config *c = &s->config;
    const ldm_unet_config *u = &c->unet;
    ldm_text t = {0};
    ldm_text_add(&t, "# %s, %s\nmodel:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n", c->name,
                 c->about);
    ldm_text_add(&t,
                 "    linear_start: %.17g\n    linear_end: %.17g\n    timesteps: 1000\n    parameterization: \"%s\"\n",
                 c->linear_start, c->linear_end, predictions[c->prediction]);
    ldm_text_add(
        &t,
        "    image_size: %d\n    channels: %d\n    conditioning_key: %s\n    scale_factor: %.17g\n    use_ema: false\n",
        c->latent, u->out_channels, keys[c->condition], c->scale_factor);
    if (c->noise_levels) ldm_text_add(&t, "    low_scale_config: {params: {max_noise_level: %d}}\n", c->noise_levels);
    ldm_text_add(&t,
                 "    unet_config:\n      target: ldm.modules.diffusionmodules.openaimodel.UNetModel\n      params:\n  "
                 "      image_size: %d\n",
                 c->latent);
    ldm_text_add(&t,
                 "        in_channels: %d\n        out_channels: %d\n        model_channels: %d\n        "
                 "num_res_blocks: %d\n        attention_resolutions: ",
                 u->in_channels, u->out_channels, u->model_channels, u->num_res_blocks);
    list(&t, u->attention_resolutions, u->attentions, 1);
    ldm_text_add(&t, "\n        channel_mult: ");
    list(&t, u->channel_mult, u->levels, 1);
    if (u->num_heads) ldm_text_add(&t, "\n        num_heads: %d\n", u->num_heads);
    else ldm_text_add(&t, "\n        num_head_channels: %d\n", u->num_head_channels);
    ldm_text_add(&t, "        use_scale_shift_norm: %s\n        resblock_updown: %s\n        legacy: false\n",
                 truth(u->use_scale_shift_norm), truth(u->resblock_updown));
    if (u->use_spatial_transformer) {
        ldm_text_add(&t,
                     "        use_spatial_transformer: true\n        transformer_depth: %d\n        context_dim: %d\n  "
                     "      use_linear_in_transformer: %s\n",
                     u->transformer_depth, u->context_dim, truth(u->use_linear_in_transformer));
        if (u->disabled)
            ldm_text_add(&t, "        disable_self_attentions: "), list(&t, u->disable_self_attentions, u->disabled, 1),
                ldm_text_add(&t, "\n");
    }
    if (u->num_classes) ldm_text_add(&t, "        num_classes: %d\n", u->num_classes);
    if (s->config.stage) yaml_stage(&t, &s->stage);
    yaml_condition(&t, s);
    if (t.s) ldm_text_bytes(out, t.s, t.len);
    ldm_text_free(&t);
}

static void json_blocks(ldm_text *t, const char *key, int levels, const bool *attends, bool backwards, const char *with,
                        const char *without) {
    ldm_text_add(t, "  \"%s\": [", key);
    for (int i = 0; i < levels; i++)
        ldm_text_add(t, "%s\"%s\"", i ? ", " : "", attends[backwards ? levels - 1 - i : i] ? with : without);
    ldm_text_add(t, "],\n");
}

/* The width of all heads of an unconditional UNet; 0 if there are several. Its middle attends too. */
int write_head_width(const ldm_unet_config *u) {
    const int last = u->channel_mult[u->levels - 1] * u->model_channels,
              width = u->num_head_channels ? u->num_head_channels : last / u->num_heads;
    for (int l = 0; l < u->levels && !u->num_head_channels; l++)
        for (int i = 0; i < u->attentions; i++)
            if (u->attention_resolutions[i] == 1 << l && u->channel_mult[l] * u->model_channels / u->num_heads != width)
                return 0;
    return width;
}

void write_json_unet(ldm_text *t, const ldm_system *s) {
    const ldm_unet_config *u = &s->config.unet;
    const bool cross = u->use_spatial_transformer;
    bool attends[LDM_MAX_LEVELS] = {false};
    for (int l = 0; l < u->levels; l++)
        for (int i = 0; i < u->attentions; i++) attends[l] = attends[l] || u->attention_resolutions[i] == 1 << l;
    ldm_text_add(t, "{\n  \"_class_name\": \"%s\",\n  \"act_fn\": \"silu\",\n  \"block_out_channels\": ",
                 cross ? "UNet2DConditionModel" : "UNet2DModel");
    list(t, u->channel_mult, u->levels, u->model_channels);
    ldm_text_add(t, ",\n");
    json_blocks(t, "down_block_types", u->levels, attends, false, cross ? "CrossAttnDownBlock2D" : "AttnDownBlock2D",
                "DownBlock2D");
    json_blocks(t, "up_block_types", u->levels, attends, true, cross ? "CrossAttnUpBlock2D" : "AttnUpBlock2D",
                "UpBlock2D");
    if (cross) { /* the number of heads, whatever it is called */
        ldm_text_add(t, "  \"attention_head_dim\": ");
        if (u->num_heads) ldm_text_add(t, "%d", u->num_heads);
        else {
            int heads[LDM_MAX_LEVELS];
            for (int l = 0; l < u->levels; l++)
                heads[l] = u->channel_mult[l] * u->model_channels / u->num_head_channels;
            list(t, heads, u->levels, 1);
        }
        ldm_text_add(t,
                     ",\n  \"cross_attention_dim\": %d,\n  \"transformer_layers_per_block\": %d,\n  "
                     "\"use_linear_projection\": %s,\n",
                     u->context_dim, u->transformer_depth, truth(u->use_linear_in_transformer));
        ldm_text_add(t, "  \"only_cross_attention\": ");
        for (int l = 0; l < u->levels; l++)
            ldm_text_add(t, "%s%s", l ? ", " : "[", truth(u->disable_self_attentions[l]));
        ldm_text_add(t, "],\n");
        if (u->time_cond_proj_dim) ldm_text_add(t, "  \"time_cond_proj_dim\": %d,\n", u->time_cond_proj_dim);
    } else {
        ldm_text_add(t, "  \"attention_head_dim\": %d,\n", write_head_width(u));
    }
    if (u->num_classes) ldm_text_add(t, "  \"num_class_embeds\": %d,\n", u->num_classes);
    ldm_text_add(t,
                 "  \"downsample_padding\": 1,\n  \"flip_sin_to_cos\": true,\n  \"freq_shift\": 0,\n  \"in_channels\": "
                 "%d,\n  \"layers_per_block\": %d,\n",
                 u->in_channels, u->num_res_blocks);
    ldm_text_add(
        t, "  \"norm_eps\": 1e-05,\n  \"norm_num_groups\": 32,\n  \"out_channels\": %d,\n  \"sample_size\": %d\n}\n",
        u->out_channels, s->config.latent);
}

void write_json_stage(ldm_text *t, const ldm_system *s) {
    const ldm_stage_config *c = &s->stage;
    const bool vq = c->kind == LDM_STAGE_VQ;
    bool attends[LDM_MAX_LEVELS] = {false};
    for (int l = 0; l < c->levels; l++)
        for (int i = 0; i < c->attentions; i++) attends[l] = attends[l] || c->attn_resolutions[i] == 256 >> l;
    ldm_text_add(t, "{\n  \"_class_name\": \"%s\",\n  \"act_fn\": \"silu\",\n  \"block_out_channels\": ",
                 vq ? "VQModel" : "AutoencoderKL");
    list(t, c->ch_mult, c->levels, c->ch);
    ldm_text_add(t, ",\n");
    json_blocks(t, "down_block_types", c->levels, attends, false, "AttnDownEncoderBlock2D", "DownEncoderBlock2D");
    json_blocks(t, "up_block_types", c->levels, attends, true, "AttnUpDecoderBlock2D", "UpDecoderBlock2D");
    if (vq) ldm_text_add(t, "  \"num_vq_embeddings\": %d,\n  \"vq_embed_dim\": %d,\n", c->n_embed, c->embed_dim);
    ldm_text_add(t,
                 "  \"in_channels\": 3,\n  \"latent_channels\": %d,\n  \"layers_per_block\": %d,\n  "
                 "\"mid_block_add_attention\": %s,\n  \"norm_num_groups\": 32,\n",
                 c->z_channels, c->num_res_blocks, truth(!c->attn_none));
    ldm_text_add(t, "  \"out_channels\": 3,\n  \"sample_size\": %d,\n  \"scaling_factor\": %.17g\n}\n",
                 s->config.latent * ldm_stage_factor(c), s->config.scale_factor);
}

void write_json_text(ldm_text *t, const ldm_system *s) {
    const ldm_text_config *c = &s->text;
    if (c->kind == LDM_TEXT_BERT)
        ldm_text_add(t,
                     "{\n  \"architectures\": [\"LDMBertModel\"],\n  \"model_type\": \"ldmbert\",\n  "
                     "\"activation_function\": \"gelu\",\n  \"d_model\": %d,\n"
                     "  \"encoder_attention_heads\": %d,\n  \"encoder_ffn_dim\": %d,\n  \"encoder_layers\": %d,\n  "
                     "\"num_hidden_layers\": %d,\n  \"head_dim\": %d,\n"
                     "  \"max_position_embeddings\": %d,\n  \"pad_token_id\": 0,\n  \"vocab_size\": %d\n}\n",
                     c->width, c->heads, c->hidden, c->layers, c->layers, c->head_width, c->length, c->vocab);
    else
        ldm_text_add(t,
                     "{\n  \"architectures\": [\"CLIPTextModel\"],\n  \"model_type\": \"clip_text_model\",\n  "
                     "\"hidden_act\": \"%s\",\n  \"hidden_size\": %d,\n"
                     "  \"intermediate_size\": %d,\n  \"layer_norm_eps\": 1e-05,\n  \"max_position_embeddings\": %d,\n "
                     " \"num_attention_heads\": %d,\n"
                     "  \"num_hidden_layers\": %d,\n  \"bos_token_id\": 49406,\n  \"eos_token_id\": 49407,\n  "
                     "\"pad_token_id\": 1,\n  \"vocab_size\": %d\n}\n",
                     c->quick_gelu ? "quick_gelu" : "gelu", c->width, c->hidden, c->length, c->heads, c->layers,
                     c->vocab);
}

void write_json_scheduler(ldm_text *t, const ldm_system *s) {
    static const char *const predictions[] = {"epsilon", "v_prediction", "sample"};
    ldm_text_add(t,
                 "{\n  \"_class_name\": \"DDIMScheduler\",\n  \"beta_start\": %.17g,\n  \"beta_end\": %.17g,\n  "
                 "\"beta_schedule\": \"scaled_linear\",\n"
                 "  \"clip_sample\": false,\n  \"num_train_timesteps\": 1000,\n  \"prediction_type\": \"%s\",\n  "
                 "\"set_alpha_to_one\": false,\n"
                 "  \"steps_offset\": 1,\n  \"timestep_spacing\": \"leading\"\n}\n",
                 s->config.linear_start, s->config.linear_end, predictions[s->config.prediction]);
}
