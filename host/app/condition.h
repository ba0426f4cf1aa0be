/* condition.h -- from pictures to what a network is conditioned on: label maps, low-resolution pictures, masks, depth maps. Pure
 * functions on arrays of one picture, which allocate nothing; pictures are read by io/. All maps are [h,w,c] as in a plan; a batch
 * repeats them. Latents come after z in the network's input, in the order that app_condition_inpaint gives.
 *
 *   task                 concatenated behind z                          made by
 *   semantic synthesis   SpatialRescaler of the labels [h/f,w/f,3]      app_condition_labels, then model.h's ldm_rescaler_emit
 *   super-resolution     the picture [h,w,3], z of its size             app_condition_picture
 *   inpainting           LDM: masked latent, mask; SD: mask, latent     _mask, _masked_picture, the encoder, _inpaint
 *   depth (SD 2)         depth [h/8,w/8,1]                              app_condition_depth
 *   x4 upscaler          the noised picture [h,w,3], z of its size      app_condition_picture, app_condition_noised */
#ifndef LDM_APP_CONDITION_H
#define LDM_APP_CONDITION_H

#include "io/io.h"

/* LDM_ERR_FORMAT "what: 512 x 512 pixels, wanted 256 x 256" unless they are equal. */
ldm_status app_condition_size(const char *what, int64_t w, int64_t h, int64_t want_w, int64_t want_h);

/* out [h / factor, w / factor, classes]: the share of each class among the factor x factor labels under an element,
 * which is exact where factor is a power of two. Factor 1 is the one-hot map that SpatialRescaler takes
 * (ldm/modules/encoders/modules.py), 2^stages what its `stages` bilinear halvings make of it. A label >= classes is
 * LDM_ERR_FORMAT with pixel and value; w and h must be multiples of factor. `name` is the file, for sentences. */
ldm_status app_condition_labels(const ldm_labels *map, int classes, int factor, const char *name, float *out);

/* out [h,w,3]: bytes to [-1,1], v / 127.5 - 1. */
void app_condition_picture(const ldm_image *im, float *out);

/* out [h,w]: 1 where the mask is at least half white (repaint), else 0. */
void app_condition_mask(const ldm_grey *mask, float *out);

/* The two conventions of inpainting (they differ in order, range and what the hole holds). */
typedef enum app_inpainting {
    APP_INPAINT_LDM, /* inpainting_big (scripts/inpaint.py): [masked latent, mask], mask -1 or 1, the hole is -1 (black)
                      */
    APP_INPAINT_SD   /* SD inpainting (scripts/gradio/inpainting.py): [mask, masked latent], mask 0 or 1, the hole is 0
                        (grey) */
} app_inpainting;

/* out [h,w,3] in [-1,1]: what goes into the encoder. mask [h,w] of 0 and 1. */
void app_condition_masked_picture(app_inpainting kind, const ldm_image *im, const float *mask, float *out);
/* out [lh,lw,c + 1]: latent [lh,lw,c] of the masked picture (LDM: before quantisation; SD: a posterior sample times the
 * scale factor) and the mask [h,w] at latent size, nearest as torch.nn.functional.interpolate takes it. */
void app_condition_inpaint(app_inpainting kind, const float *latent, int64_t lh, int64_t lw, int64_t c,
                           const float *mask, int64_t h, int64_t w, float *out);

/* dst [dh,dw] of src [h,w], nearest: source row floor(y h / dh) as PyTorch computes it in f32. Masks of img2img too. */
void app_condition_nearest(const float *src, int64_t h, int64_t w, float *dst, int64_t dh, int64_t dw);
/* dst [dh,dw] of src [h,w]: bicubic with a = -0.75, corners not aligned, borders repeated, no antialiasing, which is
 * torch.nn.functional.interpolate(mode="bicubic"). */
void app_condition_bicubic(const float *src, int64_t h, int64_t w, float *dst, int64_t dh, int64_t dw);

/* out [lh,lw]: depth (bright = near, any units) bicubic to latent size, then 2 (d - min) / (max - min + guard) - 1:
 * guard is 0.001 as the authors have it (ldm/models/diffusion/ddpm.py, LatentDepth2ImageDiffusion), 0 as diffusers.
 * Without a guard a map that is the same everywhere is LDM_ERR_FORMAT. `name` is the file. */
ldm_status app_condition_depth(const ldm_grey *depth, double guard, int64_t lh, int64_t lw, const char *name,
                               float *out);

/* The x4 upscaler's noise level: of 0 ... APP_NOISE_LEVELS - 1, told to the network as its class label. */
enum { APP_NOISE_LEVELS = 350 };
/* x [n], in place: noised to that level, sqrt(abar) x + sqrt(1 - abar) noise, of the schedule linear in sqrt(beta) from
 * 1e-4 to 0.02 in 1000 steps (ImageConcatWithNoiseAugmentation). Any order of elements. LDM_ERR_ARG for a level that is
 * none. */
ldm_status app_condition_noised(int level, float *x, const float *noise, int64_t n);

#endif
