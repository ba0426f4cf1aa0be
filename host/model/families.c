/* families.c -- see families.h. Each family by a name that only its files have. */
#include "model/families.h"
#include <string.h>

/* `within`: any tensor's name contains this. The more telling rows come first; alone: tells nothing beside a UNet. */
static const struct {
    const char *within, *family;
    bool alone;
} rows[] = {
    {"lora_unet_", "a LoRA, which changes another model", true},
    {".lora_A.", "a LoRA, which changes another model", true},
    {".lora.down.", "a LoRA, which changes another model", true},
    {"lora_te_", "a LoRA, which changes another model", true},
    {"control_model.", "a ControlNet", true},
    {"controlnet_cond_embedding.", "a ControlNet", true},
    {"motion_modules.", "AnimateDiff", false},
    {"conditioner.embedders.1.", "Stable Diffusion XL", false},
    {"conditioner.embedders.0.model.", "the Stable Diffusion XL refiner", false},
    {"add_embedding.linear_1.", "Stable Diffusion XL", false},
    {"noise_augmentor.", "Stable unCLIP", false},
    {"joint_blocks.", "Stable Diffusion 3", false},
    {"single_transformer_blocks.", "Flux", false},
    {"double_blocks.", "Flux", false},
    {".add_k_proj.", "Stable Diffusion 3", false},
    {"caption_projection.", "PixArt", false},
    {"clip_txt_mapper.", "Stable Cascade", false},
    {"temporal_transformer_block", "Stable Video Diffusion", false},
    {"time_stack.", "Stable Video Diffusion", false},
    {"add_embedding.", "a UNet with an embedding of pictures or sizes", false},
    {"label_emb.0.0.", "Stable Diffusion XL or unCLIP", false},
    {"patch_embedding.", "a diffusion transformer", true},
    {"adaLN_modulation.", "a diffusion transformer", true},
    {"mlp.gate_proj.", "a language model", true},
};

const char *ldm_family_of_names(const ldm_files *f, bool beside) {
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        if (beside && rows[r].alone) continue;
        for (int k = 0; k < f->count; k++)
            for (int i = 0; i < ldm_ckpt_count(f->ckpt[k]); i++)
                if (strstr(ldm_ckpt_at(f->ckpt[k], i)->name, rows[r].within)) return rows[r].family;
    }
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
