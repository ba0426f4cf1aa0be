/* fuzz_config.c -- any bytes as a model's configuration: the authors' .yaml, or one of a diffusers folder's config.json
 * files. What is accepted is a network that can be written down: its numbers are in their bounds. */
#include "fuzz.h"
#include "model/described.h"

static bool positive(const int *v, int n) {
    for (int i = 0; i < n; i++)
        if (v[i] < 1) return false;
    return n > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ldm_tree t = {0};
    fuzz_json_fails = false; /* jansson itself does not survive it */
    ldm_described d = {0};
    const bool yaml = size && *data & 1;
    if (!size || !FUZZ(ldm_tree_parse((const char *)data + 1, size - 1, yaml, "file", &t))) return 0;
    if (yaml ? FUZZ(ldm_described_authors(&t, &d)) : FUZZ(ldm_described_part(&t, &d))) {
        const ldm_unet_config *u = &d.config.unet;
        const ldm_stage_config *s = &d.stage;
        if (d.unet && (!positive(u->channel_mult, u->levels) || u->levels > LDM_MAX_LEVELS ||
                       u->attentions > LDM_MAX_LEVELS || u->model_channels < 1 || u->num_res_blocks < 1 ||
                       u->num_heads + u->num_head_channels < 1 || (u->use_spatial_transformer && u->context_dim < 1)))
            abort();
        if (d.stage_known && (s->z_channels < 1 || s->embed_dim < 1 || s->levels < 1 || s->levels > LDM_MAX_LEVELS))
            abort();
        if (d.text_known && (d.text.width < 1 || d.text.layers < 1 || d.text.heads < 1 || d.text.length < 1)) abort();
        if (d.schedule && !(d.config.linear_start > 0 && d.config.linear_end < 1)) abort();
    }
    ldm_tree_close(&t);
    return 0;
}

bytes fuzz_seed(int i) {
    static const char *const seeds[] = {
        "1model:\n  target: x.LatentDiffusion\n  params:\n    linear_start: 0.0015\n    linear_end: 0.0195\n    "
        "image_size: 64\n    scale_by_std: true\n"
        "    conditioning_key: crossattn\n    unet_config:\n      target: x.UNetModel\n      params: {in_channels: 3, "
        "out_channels: 3, model_channels: 32,\n"
        "        attention_resolutions: [2, 1], num_res_blocks: 2, channel_mult: [1, 2], num_head_channels: 32, "
        "use_spatial_transformer: true, context_dim: 8}\n"
        "    first_stage_config:\n      target: x.VQModelInterface\n      params: {embed_dim: 3, n_embed: 16, "
        "ddconfig: {double_z: false, z_channels: 3, resolution: 256,\n"
        "        in_channels: 3, out_ch: 3, ch: 32, ch_mult: [1, 2], num_res_blocks: 1, attn_resolutions: [128]}}\n"
        "    cond_stage_config: {target: x.BERTEmbedder, params: {n_embed: 8, n_layer: 2}}\n",
        "1model:\n  target: x.AutoencoderKL\n  params: {embed_dim: 4, ddconfig: {z_channels: 4, ch: 32, ch_mult: [1, "
        "1], num_res_blocks: 1, attn_type: none}}\n",
        "0{\"_class_name\": \"UNet2DConditionModel\", \"block_out_channels\": [32, 64], \"down_block_types\": "
        "[\"CrossAttnDownBlock2D\", \"DownBlock2D\"],"
        " \"up_block_types\": [\"UpBlock2D\", \"CrossAttnUpBlock2D\"], \"attention_head_dim\": [2, 4], "
        "\"cross_attention_dim\": 16, \"only_cross_attention\": [true, false]}",
        "0{\"_class_name\": \"UNet2DModel\", \"block_out_channels\": [32], \"down_block_types\": "
        "[\"AttnDownBlock2D\"], \"up_block_types\": [\"AttnUpBlock2D\"],"
        " \"attention_head_dim\": null, \"sample_size\": 8}",
        "0{\"_class_name\": \"VQModel\", \"block_out_channels\": [32], \"down_block_types\": [\"DownEncoderBlock2D\"], "
        "\"up_block_types\": [\"UpDecoderBlock2D\"],"
        " \"num_vq_embeddings\": 16, \"vq_embed_dim\": 3, \"scaling_factor\": 0.5}",
        "0{\"architectures\": [\"CLIPTextModel\"], \"hidden_size\": 64, \"num_attention_heads\": 2, "
        "\"num_hidden_layers\": 2, \"hidden_act\": \"gelu\"}",
        "0{\"architectures\": [\"LDMBertModel\"], \"d_model\": 32, \"encoder_layers\": 2, \"encoder_attention_heads\": "
        "2}",
        "0{\"_class_name\": \"DDIMScheduler\", \"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": "
        "\"scaled_linear\", \"prediction_type\": \"v_prediction\"}"};
    bytes b = {0};
    if (i < (int)(sizeof seeds / sizeof *seeds)) put_text(&b, seeds[i]);
    return b;
}
