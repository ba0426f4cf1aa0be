/* configs.c -- every named system and first stage: data only. Sources: the paper's tables 8, 13, 14, 15 and the
 * authors' configs; where those disagree with the released weights' code the reason stands beside the line. */
#include "model/model.h"
#include <string.h>

/* ---- first stages (paper table 8; models/first_stage_models/) -------------------------------------------------- */

#define LIST(...) __VA_ARGS__
#define STAGE(id, name_, kind_, z, codes, n, mult, na, att, ...)                                                       \
    static const ldm_stage_config id = {.name = name_,                                                                 \
                                        .kind = LDM_STAGE_##kind_,                                                     \
                                        .ch = 128,                                                                     \
                                        .levels = n,                                                                   \
                                        .ch_mult = {mult},                                                             \
                                        .num_res_blocks = 2,                                                           \
                                        .attentions = na,                                                              \
                                        .attn_resolutions = {att},                                                     \
                                        .z_channels = z,                                                               \
                                        .embed_dim = z,                                                                \
                                        .n_embed = codes,                                                              \
                                        __VA_ARGS__}
STAGE(identity, "identity", IDENTITY, 3, 0, 1, 1, 0, 0);
STAGE(kl_f4, "kl-f4", KL, 3, 0, 3, LIST(1, 2, 4), 0, 0);
STAGE(kl_f4_z4, "kl-f4-z4", KL, 4, 0, 3, LIST(1, 2, 4), 0, 0);
STAGE(kl_f8, "kl-f8", KL, 4, 0, 4, LIST(1, 2, 4, 4), 0, 0);
STAGE(kl_f16, "kl-f16", KL, 16, 0, 5, LIST(1, 1, 2, 2, 4), 1, 16);
STAGE(kl_f32, "kl-f32", KL, 64, 0, 6, LIST(1, 1, 2, 2, 4, 4), 2, LIST(16, 8));
STAGE(vq_f4, "vq-f4", VQ, 3, 8192, 3, LIST(1, 2, 4), 0, 0);
STAGE(vq_f4_noattn, "vq-f4-noattn", VQ, 3, 8192, 3, LIST(1, 2, 4), 0, 0, .attn_none = true);
STAGE(vq_f8, "vq-f8", VQ, 4, 16384, 4, LIST(1, 2, 2, 4), 1, 32);
STAGE(vq_f8_n256, "vq-f8-n256", VQ, 4, 256, 4, LIST(1, 2, 2, 4), 1, 32);
STAGE(vq_f16, "vq-f16", VQ, 8, 16384, 5, LIST(1, 1, 2, 2, 4), 1, 16);
/* attention at 128 x 128, which the middle of f = 2 would have, costs more than the rest of the network */
STAGE(
    vq_f2, "vq-f2", VQ, 2, 2048, 2, LIST(1, 2), 0, 0, .attn_none = true,
    .guess =
        "never released: 2048 codes of 2 channels are the paper's (table 8), ch_mult 1,2 without attention is a guess");
/* table 13 prints 32 latent channels ("88x8x32"), table 8 has 16 for the same 16384 codes */
STAGE(vq_f32, "vq-f32", VQ, 32, 16384, 6, LIST(1, 1, 2, 2, 4, 4), 2, LIST(16, 8),
      .guess = "never released: 16384 codes and 32 channels are the paper's (table 13; table 8 says 16), the rest is "
               "kl-f32's");
static const ldm_stage_config taesd = {
    .name = "taesd", .kind = LDM_STAGE_TAESD, .levels = 4, .z_channels = 4, .embed_dim = 4};
static const ldm_stage_config taef2 = {
    .name = "taef2", .kind = LDM_STAGE_TAESD, .levels = 4, .z_channels = 32, .embed_dim = 32, .pool = true};

static const ldm_stage_config *const stages[] = {&identity, &kl_f4, &kl_f4_z4,     &kl_f8, &kl_f16,     &kl_f32,
                                                 &vq_f4,    &vq_f4_noattn, &vq_f8, &vq_f8_n256, &vq_f16,
                                                 &vq_f2,    &vq_f32,       &taesd, &taef2,      NULL};

/* ---- systems --------------------------------------------------------------------------------------------------- */

#define UNET(in, out, mc, n, mult, na, att, ...)                                                                       \
    .unet = {.in_channels = in,                                                                                        \
             .out_channels = out,                                                                                      \
             .model_channels = mc,                                                                                     \
             .num_res_blocks = 2,                                                                                      \
             .levels = n,                                                                                              \
             .channel_mult = {mult},                                                                                   \
             .attentions = na,                                                                                         \
             .attention_resolutions = {att},                                                                           \
             __VA_ARGS__}
#define TRANSFORMER(depth, context) .use_spatial_transformer = true, .transformer_depth = depth, .context_dim = context
#define CONFIG(id, name_, about_, stage_, start, end, scale, side, cond, ...)                                          \
    static const ldm_config id = {.name = name_,                                                                       \
                                  .about = about_,                                                                     \
                                  .stage = stage_,                                                                     \
                                  .linear_start = start,                                                               \
                                  .linear_end = end,                                                                   \
                                  .scale_factor = scale,                                                               \
                                  .latent = side,                                                                      \
                                  .condition = LDM_COND_##cond,                                                        \
                                  __VA_ARGS__}
#define UNCONDITIONAL    .null_class = -1
#define CLASSES(n, null) .n_classes = n, .null_class = null, .tokens = 1
#define TEXT(encoder, n) .text = encoder, .tokens = n

/* Paper table 13: one head everywhere; 1000 classes as one context token of width 512, no null class. Schedule ends and
 * flags are not printed: those of the authors' cin configs. */
#define CIN(f_, stage_, c, side, mc, n, mult, att)                                                                     \
    CONFIG(cin_##f_, "cin-ldm-" #f_, "class-conditional ImageNet 256, f = " #f_ " (paper table 13)", stage_, .0015,    \
           .0195, 1, side, CLASS, CLASSES(1000, -1), .f = f_,                                                          \
           UNET(c, c, mc, n, LIST(mult), 3, LIST(att), TRANSFORMER(1, 512), .num_heads = 1))
CIN(1, "identity", 3, 256, 192, 6, LIST(1, 1, 2, 2, 4, 4), LIST(8, 16, 32));
CIN(2, "vq-f2", 2, 128, 192, 5, LIST(1, 2, 2, 4, 4), LIST(4, 8, 16));
CIN(4, "vq-f4", 3, 64, 192, 4, LIST(1, 2, 3, 5), LIST(2, 4, 8));
CIN(8, "vq-f8", 4, 32, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CIN(16, "vq-f16", 8, 16, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CIN(32, "vq-f32", 32, 8, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));

/* Paper table 14: plain self-attention, 32 channels a head. */
#define CELEBA(f_, stage_, c, side, mc, n, mult, att)                                                                  \
    CONFIG(celeba_##f_, "celeba-ldm-" #f_, "unconditional CelebA-HQ 256, f = " #f_ " (paper table 14)", stage_, .0015, \
           .0195, 1, side, NONE, UNCONDITIONAL, .f = f_,                                                               \
           UNET(c, c, mc, n, LIST(mult), 3, LIST(att), .num_head_channels = 32))
CELEBA(1, "identity", 3, 256, 192, 6, LIST(1, 1, 2, 2, 4, 4), LIST(8, 16, 32));
CELEBA(2, "vq-f2", 2, 128, 192, 5, LIST(1, 2, 2, 4, 4), LIST(4, 8, 16));
CELEBA(4, "vq-f4", 3, 64, 224, 4, LIST(1, 2, 3, 4), LIST(2, 4, 8));
CELEBA(8, "vq-f8", 4, 32, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CELEBA(16, "vq-f16", 8, 16, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));
CELEBA(32, "vq-f32", 32, 8, 256, 3, LIST(1, 2, 4), LIST(1, 2, 4));

/* The released models (models/ldm/ of the authors' repository). */
#define UNET_224                                                                                                       \
    UNET(3, 3, 224, 4, LIST(1, 2, 3, 4), 3, LIST(8, 4, 2), .num_head_channels = 32), .ema = true, UNCONDITIONAL
CONFIG(celeba256, "celeba256", "unconditional CelebA-HQ", "vq-f4", .0015, .0195, 1, 64, NONE, UNET_224);
CONFIG(ffhq256, "ffhq256", "unconditional FFHQ", "vq-f4", .0015, .0195, 1, 64, NONE, UNET_224);
CONFIG(beds256, "lsun_beds256", "unconditional LSUN bedrooms", "vq-f4", .0015, .0195, 1, 64, NONE, UNET_224);
CONFIG(churches, "lsun_churches256", "unconditional LSUN churches", "kl-f8", .0015, .0155, 1, 32, NONE,
       UNET(4, 4, 192, 5, LIST(1, 2, 2, 4, 4), 4, LIST(1, 2, 4, 8), .num_heads = 8, .use_scale_shift_norm = true,
            .resblock_updown = true),
       .scale_by_std = true, .ema = true, UNCONDITIONAL);
/* cin256, text2img256 and layout2img have one head although their configs say num_head_channels 32: the code they were
 * trained and released with ignored that field, and the paper's tables 13 and 15 print 1 */
CONFIG(cin256, "cin256", "class-conditional ImageNet, LDM-8", "vq-f8", .0015, .0195, 1, 32, CLASS,
       UNET(4, 4, 256, 3, LIST(1, 2, 4), 3, LIST(4, 2, 1), TRANSFORMER(1, 512), .num_heads = 1), CLASSES(1000, -1),
       .ema = true);
CONFIG(cin256_v2, "cin256-v2", "class-conditional ImageNet with a null class, LDM-4", "vq-f4", .0015, .0195, 1, 64,
       CLASS, UNET(3, 3, 192, 4, LIST(1, 2, 3, 5), 3, LIST(8, 4, 2), TRANSFORMER(1, 512), .num_heads = 1),
       CLASSES(1001, 1000));
CONFIG(text2img256, "text2img256", "Conceptual Captions text to image", "vq-f4", .0015, .0195, 1, 64, CONTEXT,
       UNET(3, 3, 192, 4, LIST(1, 2, 3, 5), 3, LIST(8, 4, 2), TRANSFORMER(1, 640), .num_heads = 1), .ema = true,
       TEXT("bert-640x32", 77), UNCONDITIONAL);
CONFIG(txt2img, "txt2img-1p4B", "LAION-400M text to image", "kl-f8", .00085, .012, .18215, 32, CONTEXT,
       UNET(4, 4, 320, 4, LIST(1, 2, 4, 4), 3, LIST(4, 2, 1), TRANSFORMER(1, 1280), .num_heads = 8),
       TEXT("bert-1280x32", 77), UNCONDITIONAL);
CONFIG(layout2img, "layout2img-openimages256", "OpenImages boxes to image", "vq-f4", .0015, .0205, 1, 64, CONTEXT,
       UNET(3, 3, 128, 4, LIST(1, 2, 3, 4), 3, LIST(8, 4, 2), TRANSFORMER(3, 512), .num_heads = 1), .ema = true,
       TEXT("bert-512x16", 92), UNCONDITIONAL);
/* the factors 32, 16, 8 are never reached: attention in the middle only */
#define SEMANTIC                                                                                                      \
    UNET(6, 3, 128, 3, LIST(1, 4, 8), 3, LIST(32, 16, 8), .num_heads = 8), .labels = 182, .ema = true, UNCONDITIONAL
CONFIG(semantic256, "semantic_synthesis256", "landscapes from semantic maps", "vq-f4", .0015, .0205, 1, 64, CONCAT,
       SEMANTIC);
CONFIG(semantic512, "semantic_synthesis512", "landscapes from semantic maps", "vq-f4", .0015, .0205, 1, 128, CONCAT,
       SEMANTIC);
CONFIG(bsr_sr, "bsr_sr", "super-resolution x4", "vq-f4", .0015, .0155, 1, 64, CONCAT,
       UNET(6, 3, 160, 4, LIST(1, 2, 2, 4), 2, LIST(16, 8), .num_head_channels = 32), .ema = true, UNCONDITIONAL);
CONFIG(inpainting, "inpainting_big", "inpainting of places", "vq-f4-noattn", .0015, .0205, 1, 64, CONCAT,
       UNET(7, 3, 256, 4, LIST(1, 2, 3, 4), 3, LIST(8, 4, 2), .num_heads = 8, .resblock_updown = true), .ema = true,
       UNCONDITIONAL);
CONFIG(rdm768, "rdm768", "retrieval-augmented, 768 x 768", "kl-f16", .0015, .015, .22765929, 48, CONTEXT,
       UNET(16, 16, 448, 4, LIST(1, 2, 3, 4), 3, LIST(4, 2, 1), TRANSFORMER(1, 768), .num_head_channels = 32),
       .tokens = 11, .ema = true, UNCONDITIONAL); /* CLIP's embeddings of the prompt and of ten neighbours, from outside */

/* Stable Diffusion: 1.x with 8 heads, 2.x with heads of 64 and linear projections. */
#define SD(id, name_, about_, side, cond, text_, in, model, ...)                                                       \
    CONFIG(id, name_, about_, "kl-f8", .00085, .012, .18215, side, cond, TEXT(text_, 77), UNCONDITIONAL,               \
           UNET(in, 4, 320, 4, LIST(1, 2, 4, 4), 3, LIST(4, 2, 1), model), __VA_ARGS__)
#define SD1         LIST(TRANSFORMER(1, 768), .num_heads = 8)
#define SD2_LAYERS  TRANSFORMER(1, 1024), .use_linear_in_transformer = true
#define SD2         LIST(SD2_LAYERS, .num_head_channels = 64)
#define PREDICTS(x) .prediction = LDM_PREDICT_##x
SD(sd15, "sd15", "Stable Diffusion 1.1 to 1.5", 64, CONTEXT, "clip-l", 4, SD1, PREDICTS(EPS));
SD(sd15_inpainting, "sd15-inpainting", "Stable Diffusion 1.5 inpainting", 64, HYBRID, "clip-l", 9, SD1, PREDICTS(EPS));
SD(sd2_base, "sd2-base", "Stable Diffusion 2 and 2.1 base, 512 x 512", 64, CONTEXT, "openclip-h", 4, SD2, PREDICTS(EPS));
SD(sd2, "sd2", "Stable Diffusion 2 and 2.1, 768 x 768, predicts v", 96, CONTEXT, "openclip-h", 4, SD2, PREDICTS(V));
SD(sd2_inpainting, "sd2-inpainting", "Stable Diffusion 2 inpainting", 64, HYBRID, "openclip-h", 9, SD2, PREDICTS(EPS));
SD(sd2_depth, "sd2-depth", "Stable Diffusion 2 depth to image", 64, HYBRID, "openclip-h", 5, SD2, PREDICTS(EPS));
/* self-attention at 8 times reduction and in the middle only: elsewhere both attentions see the text */
CONFIG(sd_x4, "sd-x4-upscaler", "Stable Diffusion x4 upscaler, predicts v", "kl-f4-z4", .0001, .02, .08333, 128, HYBRID,
       UNET(7, 4, 256, 4, LIST(1, 2, 2, 4), 3, LIST(2, 4, 8), SD2_LAYERS, .num_heads = 8, .num_classes = 1000,
            .disabled = 4, .disable_self_attentions = {1, 1, 1, 0}),
       TEXT("openclip-h", 77), UNCONDITIONAL, PREDICTS(V), .noise_levels = 350);

static const ldm_config *const configs[] = {
    &cin_1,       &cin_2,       &cin_4,          &cin_8,      &cin_16,      &cin_32,    &celeba_1,
    &celeba_2,    &celeba_4,    &celeba_8,       &celeba_16,  &celeba_32,   &celeba256, &ffhq256,
    &beds256,     &churches,    &cin256,         &cin256_v2,  &text2img256, &txt2img,   &layout2img,
    &semantic256, &semantic512, &bsr_sr,         &inpainting, &rdm768,      &sd15,      &sd15_inpainting,
    &sd2_base,    &sd2,         &sd2_inpainting, &sd2_depth,  &sd_x4, NULL};

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
