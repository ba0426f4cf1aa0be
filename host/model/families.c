/* families.c -- see families.h. Each family by a name that only its files have. */
#include "model/families.h"
#include <string.h>

/* `within`: any tensor's name contains this. The more telling rows come first. */
static const struct {
    const char *within, *family;
} rows[] = {
    {"lora_unet_", "a LoRA, which changes another model"},
    {".lora_A.", "a LoRA, which changes another model"},
    {".lora.down.", "a LoRA, which changes another model"},
    {"lora_te_", "a LoRA, which changes another model"},
    {"control_model.", "a ControlNet"},
    {"controlnet_cond_embedding.", "a ControlNet"},
    {"motion_modules.", "AnimateDiff"},
    {"conditioner.embedders.1.", "Stable Diffusion XL"},
    {"conditioner.embedders.0.model.", "the Stable Diffusion XL refiner"},
    {"add_embedding.linear_1.", "Stable Diffusion XL"},
    {"noise_augmentor.", "Stable unCLIP"},
    {"joint_blocks.", "Stable Diffusion 3"},
    {"single_transformer_blocks.", "Flux"},
    {"double_blocks.", "Flux"},
    {".add_k_proj.", "Stable Diffusion 3"},
    {"caption_projection.", "PixArt"},
    {"clip_txt_mapper.", "Stable Cascade"},
    {"temporal_transformer_block", "Stable Video Diffusion"},
    {"time_stack.", "Stable Video Diffusion"},
    {"add_embedding.", "a UNet with an embedding of pictures or sizes"},
    {"label_emb.0.0.", "Stable Diffusion XL or unCLIP"},
    {"patch_embedding.", "a diffusion transformer"},
    {"adaLN_modulation.", "a diffusion transformer"},
    {"mlp.gate_proj.", "a language model"},
};

const char *ldm_family_of_names(const ldm_files *f) {
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int k = 0; k < f->count; k++)
            for (int i = 0; i < ldm_ckpt_count(f->ckpt[k]); i++)
                if (strstr(ldm_ckpt_at(f->ckpt[k], i)->name, rows[r].within)) return rows[r].family;
    /* autoencoders of 16 channels without quant_conv */
    const ldm_ckpt_tensor *t = ldm_files_find(f, "decoder.conv_in.weight");
    if (t && t->shape.rank == 4 && t->shape.dim[1] == 16 && !ldm_files_find(f, "post_quant_conv.weight"))
        return "the autoencoder of Stable Diffusion 3 or Flux";
    return NULL;
}

const char *ldm_family_of_pipeline(const char *name) {
    static const struct {
        const char *start, *family;
    } classes[] = {{"StableDiffusionXL", "Stable Diffusion XL"},
                   {"StableDiffusion3", "Stable Diffusion 3"},
                   {"Flux", "Flux"},
                   {"PixArt", "PixArt"},
                   {"StableUnCLIP", "Stable unCLIP"},
                   {"StableCascade", "Stable Cascade"},
                   {"StableVideo", "Stable Video Diffusion"},
                   {"AnimateDiff", "AnimateDiff"},
                   {"StableDiffusionControlNet", "a ControlNet"},
                   {"Kandinsky", "Kandinsky"},
                   {"Wuerstchen", "Würstchen"},
                   {"Sana", "Sana"}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!strncmp(name, classes[i].start, strlen(classes[i].start))) return classes[i].family;
    return NULL;
}
