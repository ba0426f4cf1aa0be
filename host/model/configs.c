/* configs.c -- every named system and first stage: data only. Sources: the paper's tables 8, 13, 14, 15 and the authors'
 * configs; where those disagree with the released weights' code the reason stands beside the line. */
#include "model/model.h"
#include <string.h>

/* ---- first stages (paper table 8; models/first_stage_models/) ------------------------------------------------------------- */

#define LIST(...) __VA_ARGS__
#define STAGE(id, name_, kind_, z, codes, n, mult, na, att, ...)                                                       \
    static const ldm_stage_config id = {.name = name_, .kind = kind_, .ch = 128, .levels = n, .ch_mult = {mult}, .num_res_blocks = 2, \
                                        .attentions = na, .attn_resolutions = {att}, .z_channels = z, .embed_dim = z, .n_embed = codes, __VA_ARGS__}
STAGE(identity, "identity", LDM_STAGE_IDENTITY, 3, 0, 1, 1, 0, 0);
STAGE(kl_f4, "kl-f4", LDM_STAGE_KL, 3, 0, 3, LIST(1, 2, 4), 0, 0);
STAGE(kl_f8, "kl-f8", LDM_STAGE_KL, 4, 0, 4, LIST(1, 2, 4, 4), 0, 0);
STAGE(kl_f16, "kl-f16", LDM_STAGE_KL, 16, 0, 5, LIST(1, 1, 2, 2, 4), 1, 16);
STAGE(kl_f32, "kl-f32", LDM_STAGE_KL, 64, 0, 6, LIST(1, 1, 2, 2, 4, 4), 2, LIST(16, 8));
STAGE(vq_f4, "vq-f4", LDM_STAGE_VQ, 3, 8192, 3, LIST(1, 2, 4), 0, 0);
STAGE(vq_f4_noattn, "vq-f4-noattn", LDM_STAGE_VQ, 3, 8192, 3, LIST(1, 2, 4), 0, 0, .attn_none = true);
STAGE(vq_f8, "vq-f8", LDM_STAGE_VQ, 4, 16384, 4, LIST(1, 2, 2, 4), 1, 32);
STAGE(vq_f8_n256, "vq-f8-n256", LDM_STAGE_VQ, 4, 256, 4, LIST(1, 2, 2, 4), 1, 32);
STAGE(vq_f16, "vq-f16", LDM_STAGE_VQ, 8, 16384, 5, LIST(1, 1, 2, 2, 4), 1, 16);
STAGE(vq_f2, "vq-f2", LDM_STAGE_VQ, 2, 2048, 2, LIST(1, 2), 0, 0, .attn_none = true,
      .guess = "never released: 2048 codes and c=2 are the paper's (table 8); ch_mult 1,2 without attention is our guess");
STAGE(vq_f32, "vq-f32", LDM_STAGE_VQ, 32, 16384, 6, LIST(1, 1, 2, 2, 4, 4), 2, LIST(16, 8),
      .guess = "never released: 16384 codes are the paper's, which gives c=16 (table 8) and c=32 (tables 13, 14; taken); the rest is kl-f32's");
static const ldm_stage_config taesd = {.name = "taesd", .kind = LDM_STAGE_TAESD, .z_channels = 4, .embed_dim = 4, .levels = 4};
static const ldm_stage_config taef2 = {.name = "taef2", .kind = LDM_STAGE_TAESD, .z_channels = 32, .embed_dim = 32, .levels = 4, .pool = true};

static const ldm_stage_config *const stages[] = {&identity, &kl_f4, &kl_f8, &kl_f16, &kl_f32, &vq_f4, &vq_f4_noattn, &vq_f8,
                                                 &vq_f8_n256, &vq_f16, &vq_f2, &vq_f32, &taesd, &taef2, NULL};

/* ---- systems ---------------------------------------------------------------------------------------------------------------- */

#define UNET(in, out, mc, n, mult, na, att, ...)                                                                       \
    .unet = {.in_channels = in, .out_channels = out, .model_channels = mc, .num_res_blocks = 2, .levels = n, .channel_mult = {mult}, \
             .attentions = na, .attention_resolutions = {att}, .transformer_depth = 1, __VA_ARGS__}
#define TRANSFORMER(heads, context) .num_heads = heads, .use_spatial_transformer = true, .context_dim = context

/* paper table 13: one head everywhere, 1000 classes as one context token of width 512, no null class */
#define CIN(factor, stage_, c, side, mc, n, mult, att)                                                                 \
    static const ldm_config cin_##factor = {                                                                           \
        .name = "cin-ldm-" #factor, .about = "class-conditional ImageNet 256, f = " #factor " (paper table 13)",       \
        UNET(c, c, mc, n, LIST(mult), 3, LIST(att), TRANSFORMER(1, 512)), .stage = stage_, .linear_start = .0015,      \
        .linear_end = .0195, .scale_factor = 1, .latent = side, .condition = LDM_COND_CLASS, .n_classes = 1000,        \
        .null_class = -1, .f = factor}
CIN(1, "identity", 3, 256, 192, 6, LIST(1, 1, 2, 2, 4, 4), LIST(8, 16, 32));
CIN(2, "vq-f2", 2, 128, 192, 5, LIST(1, 2, 2, 4, 4), LIST(4, 8, 16));
CIN(4, "vq-f4", 3, 64, 192, 4, LIST(1, 2, 3, 5), LIST(2, 4, 8));
CIN(8, "vq-f8", 4, 32, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CIN(16, "vq-f16", 8, 16, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CIN(32, "vq-f32", 32, 8, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));

/* paper table 14: plain self-attention, 32 channels a head */
#define CELEBA(factor, stage_, c, side, mc, n, mult, att)                                                              \
    static const ldm_config celeba_##factor = {                                                                        \
        .name = "celeba-ldm-" #factor, .about = "unconditional CelebA-HQ 256, f = " #factor " (paper table 14)",       \
        UNET(c, c, mc, n, LIST(mult), 3, LIST(att), .num_head_channels = 32), .stage = stage_, .linear_start = .0015,  \
        .linear_end = .0195, .scale_factor = 1, .latent = side, .null_class = -1, .f = factor}
CELEBA(1, "identity", 3, 256, 192, 6, LIST(1, 1, 2, 2, 4, 4), LIST(8, 16, 32));
CELEBA(2, "vq-f2", 2, 128, 192, 5, LIST(1, 2, 2, 4, 4), LIST(4, 8, 16));
CELEBA(4, "vq-f4", 3, 64, 224, 4, LIST(1, 2, 3, 4), LIST(2, 4, 8));
CELEBA(8, "vq-f8", 4, 32, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CELEBA(16, "vq-f16", 8, 16, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CELEBA(32, "vq-f32", 32, 8, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));

#define CONFIG(id, name_, about_, stage_, start, end, scale, side, cond, ...)                                          \
    static const ldm_config id = {.name = name_, .about = about_, .stage = stage_, .linear_start = start, .linear_end = end, \
                                  .scale_factor = scale, .latent = side, .condition = cond, .null_class = -1, __VA_ARGS__}
#define UNCONDITIONAL_224 UNET(3, 3, 224, 4, LIST(1, 2, 3, 4), 3, LIST(8, 4, 2), .num_head_channels = 32), .ema = true
CONFIG(celeba256, "celeba256", "unconditional CelebA-HQ", "vq-f4", .0015, .0195, 1, 64, LDM_COND_NONE, UNCONDITIONAL_224);
CONFIG(ffhq256, "ffhq256", "unconditional FFHQ", "vq-f4", .0015, .0195, 1, 64, LDM_COND_NONE, UNCONDITIONAL_224);
CONFIG(beds256, "lsun_beds256", "unconditional LSUN bedrooms", "vq-f4", .0015, .0195, 1, 64, LDM_COND_NONE, UNCONDITIONAL_224);
/* its scale factor is a buffer of the checkpoint (trap 12); 1 stands for "read it there" */
CONFIG(churches, "lsun_churches256", "unconditional LSUN churches", "kl-f8", .0015, .0155, 1, 32, LDM_COND_NONE,
       UNET(4, 4, 192, 5, LIST(1, 2, 2, 4, 4), 4, LIST(1, 2, 4, 8), .num_heads = 8, .use_scale_shift_norm = true, .resblock_updown = true), .ema = true);
/* one head although the config says num_head_channels 32: the code these were trained and released with ignored it (trap 1) */
CONFIG(cin256, "cin256", "class-conditional ImageNet, LDM-8", "vq-f8", .0015, .0195, 1, 32, LDM_COND_CLASS,
       UNET(4, 4, 256, 3, LIST(1, 2, 4), 3, LIST(4, 2, 1), TRANSFORMER(1, 512)), .n_classes = 1000, .ema = true);
CONFIG(cin256_v2, "cin256-v2", "class-conditional ImageNet with a null class, LDM-4", "vq-f4", .0015, .0195, 1, 64, LDM_COND_CLASS,
       UNET(3, 3, 192, 4, LIST(1, 2, 3, 5), 3, LIST(8, 4, 2), TRANSFORMER(1, 512)), .n_classes = 1001, .null_class = 1000);
CONFIG(text2img256, "text2img256", "Conceptual Captions text to image", "vq-f4", .0015, .0195, 1, 64, LDM_COND_CONTEXT,
       UNET(3, 3, 192, 4, LIST(1, 2, 3, 5), 3, LIST(8, 4, 2), TRANSFORMER(1, 640)), .ema = true);
CONFIG(txt2img, "txt2img-1p4B", "LAION-400M text to image", "kl-f8", .00085, .012, .18215, 32, LDM_COND_CONTEXT,
       UNET(4, 4, 320, 4, LIST(1, 2, 4, 4), 3, LIST(4, 2, 1), TRANSFORMER(8, 1280)));
CONFIG(layout2img, "layout2img-openimages256", "OpenImages boxes to image", "vq-f4", .0015, .0205, 1, 64, LDM_COND_CONTEXT,
       UNET(3, 3, 128, 4, LIST(1, 2, 3, 4), 3, LIST(8, 4, 2), TRANSFORMER(1, 512), .transformer_depth = 3), .ema = true);
/* the attention factors 32,16,8 are never reached: attention in the middle only (trap 5) */
#define SEMANTIC UNET(6, 3, 128, 3, LIST(1, 4, 8), 3, LIST(32, 16, 8), .num_heads = 8), .ema = true
CONFIG(semantic256, "semantic_synthesis256", "landscapes from semantic maps", "vq-f4", .0015, .0205, 1, 64, LDM_COND_CONCAT, SEMANTIC);
CONFIG(semantic512, "semantic_synthesis512", "landscapes from semantic maps", "vq-f4", .0015, .0205, 1, 128, LDM_COND_CONCAT, SEMANTIC);
CONFIG(bsr_sr, "bsr_sr", "super-resolution x4", "vq-f4", .0015, .0155, 1, 64, LDM_COND_CONCAT,
       UNET(6, 3, 160, 4, LIST(1, 2, 2, 4), 2, LIST(16, 8), .num_head_channels = 32), .ema = true);
CONFIG(inpainting, "inpainting_big", "inpainting of places", "vq-f4-noattn", .0015, .0205, 1, 64, LDM_COND_CONCAT,
       UNET(7, 3, 256, 4, LIST(1, 2, 3, 4), 3, LIST(8, 4, 2), .num_heads = 8, .resblock_updown = true), .ema = true);
CONFIG(rdm768, "rdm768", "retrieval-augmented, 768 x 768", "kl-f16", .0015, .015, .22765929, 48, LDM_COND_CONTEXT,
       UNET(16, 16, 448, 4, LIST(1, 2, 3, 4), 3, LIST(4, 2, 1), .num_head_channels = 32, .use_spatial_transformer = true, .context_dim = 768));
#define SD1(in, ...) UNET(in, 4, 320, 4, LIST(1, 2, 4, 4), 3, LIST(4, 2, 1), TRANSFORMER(8, 768))
CONFIG(sd15, "sd15", "Stable Diffusion 1.x", "kl-f8", .00085, .012, .18215, 64, LDM_COND_CONTEXT, SD1(4));
CONFIG(sd15_inpainting, "sd15-inpainting", "Stable Diffusion 1.5 inpainting", "kl-f8", .00085, .012, .18215, 64, LDM_COND_HYBRID, SD1(9));

static const ldm_config *const configs[] = {
    &cin_1, &cin_2, &cin_4, &cin_8, &cin_16, &cin_32, &celeba_1, &celeba_2, &celeba_4, &celeba_8, &celeba_16, &celeba_32,
    &celeba256, &ffhq256, &beds256, &churches, &cin256, &cin256_v2, &text2img256, &txt2img, &layout2img, &semantic256,
    &semantic512, &bsr_sr, &inpainting, &rdm768, &sd15, &sd15_inpainting, NULL};

const ldm_config *const *ldm_config_list(void) { return configs; }
const ldm_stage_config *const *ldm_stage_list(void) { return stages; }

const ldm_config *ldm_config_find(const char *name) {
    ldm_text all = {0};
    for (int i = 0; configs[i]; i++)
        if (!strcmp(configs[i]->name, name)) return configs[i];
    for (int i = 0; configs[i]; i++) ldm_text_add(&all, "%s%s", i ? " " : "", configs[i]->name);
    ldm_fail(LDM_ERR_ARG, "config '%s' is not known; known are %s", name, all.s ? all.s : "none");
    ldm_text_free(&all);
    return NULL;
}

const ldm_stage_config *ldm_stage_find(const char *name) {
    ldm_text all = {0};
    for (int i = 0; stages[i]; i++)
        if (!strcmp(stages[i]->name, name)) return stages[i];
    for (int i = 0; stages[i]; i++) ldm_text_add(&all, "%s%s", i ? " " : "", stages[i]->name);
    ldm_fail(LDM_ERR_ARG, "first stage '%s' is not known; known are %s", name, all.s ? all.s : "none");
    ldm_text_free(&all);
    return NULL;
}
