/* model.h -- the networks of "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752) and of
 * Stable Diffusion, each written once as text that emits steps into a plan; their configurations by name; binding to
 * checkpoints. Knows no device, no kernel, no implementation.
 *
 *   ldm_plan_create(LDM_F32, LDM_F32, &p);
 *   x = ldm_plan_input(p, "x", ...), temb = ..., context = ...;
 *   ldm_plan_output(p, ldm_unet_emit(p, &ldm_config_find("cin-ldm-8")->unet, x, temb, context, LDM_NONE, LDM_NONE), "y");
 *   ldm_plan_finish(p, ...);  ldm_bind(p, ckpt, NULL, &b);  source = ldm_binding_source(b);  -> an executor
 *
 * Inputs are tensors of the plan's dtype (`cast` them from f32 where it is f16). All maps are [n,h,w,c]. Emit functions
 * return the output tensor, LDM_NONE after a failure, whose sentence ldm_plan_finish reports. Parameters are named as
 * in the authors' state dicts without the outer prefix: "input_blocks.1.0.in_layers.2.weight",
 * "encoder.conv_in.weight"; the tiny autoencoders' are numbers, "3.conv.0.weight", the same in encoder and decoder, so
 * one plan holds one of the two. */
#ifndef LDM_MODEL_H
#define LDM_MODEL_H

#include "ckpt/ckpt.h"
#include "plan/plan.h"

enum { LDM_MAX_LEVELS = 8 };

/* ---- UNet: ldm/modules/diffusionmodules/openaimodel.py UNetModel. Field names are the authors' ----------------- */

typedef struct ldm_unet_config {
    int in_channels, out_channels, model_channels, num_res_blocks;
    int levels, channel_mult[LDM_MAX_LEVELS];
    int attentions,
        attention_resolutions[LDM_MAX_LEVELS]; /* downsampling factors, not sizes; unreached ones are ignored */
    int num_heads, num_head_channels;          /* one of them > 0: heads at every level, or channels a head */
    bool use_spatial_transformer, use_scale_shift_norm, resblock_updown, use_linear_in_transformer;
    int transformer_depth, context_dim;
    int num_classes; /* > 0: class label added to the time embedding (label_emb) */
    int disabled,
        disable_self_attentions[LDM_MAX_LEVELS]; /* by level, 1: attn1 attends to the context too; missing ones are 0 */
    int time_cond_proj_dim; /* > 0: the guidance scale's embedding is added to the time's sinusoid (LCM) */
} ldm_unet_config;

/* "in_channels=4 out_channels=4 model_channels=32 channel_mult=1,2 num_heads=2 ...": fields above by name (`levels` and
 * `attentions` are lengths of lists, not fields), booleans 0 or 1; num_res_blocks=2 and transformer_depth=1 if not
 * given. */
ldm_status ldm_unet_config_parse(const char *text, ldm_unet_config *out);
/* x [n,h,w,in_channels]; temb [n, model_channels] sinusoid (ldm_timestep_embedding); context [n, tokens, context_dim]
 * with use_spatial_transformer, else LDM_NONE; labels i32 [n] with num_classes, else LDM_NONE; guidance
 * [n, time_cond_proj_dim], else LDM_NONE. h and w must be multiples of ldm_unet_multiple. -> [n,h,w,out_channels] */
ldm_tensor ldm_unet_emit(ldm_plan *p, const ldm_unet_config *c, ldm_tensor x, ldm_tensor temb, ldm_tensor context,
                         ldm_tensor labels, ldm_tensor guidance);
int ldm_unet_multiple(const ldm_unet_config *c); /* 2^(levels-1) */

/* Windows of size x size (or less where a map is smaller), a new one every `stride` pixels and the last flush with the border. */
typedef struct ldm_windows {
    int64_t size, stride; /* size 0: no windows */
    bool own_contexts;    /* each window has a context of its own */
} ldm_windows;
typedef struct ldm_window {
    int64_t y, x, h, w;
} ldm_window;
int ldm_windows_count(ldm_windows o, int64_t h, int64_t w);               /* of a map [h,w]; 1 without windows */
ldm_window ldm_window_at(ldm_windows o, int64_t h, int64_t w, int i);     /* left to right, then down */
/* The same network on each window of x in turn, blended to a whole map of f32 (the authors' patched sampling). Conditions are
 * the same for all, but for own_contexts: context [windows, n, tokens, context_dim] as [windows n, ...]. Sizes of windows must
 * be multiples of ldm_unet_multiple, those of x need not be. */
ldm_tensor ldm_unet_emit_windows(ldm_plan *p, const ldm_unet_config *c, ldm_windows o, ldm_tensor x, ldm_tensor temb,
                                 ldm_tensor context, ldm_tensor labels, ldm_tensor guidance);

/* ---- first stages: ldm/modules/diffusionmodules/model.py Encoder, Decoder; ldm/models/autoencoder.py ----------- */

typedef enum ldm_stage_kind { LDM_STAGE_IDENTITY, LDM_STAGE_KL, LDM_STAGE_VQ, LDM_STAGE_TAESD } ldm_stage_kind;

typedef struct ldm_stage_config {
    const char *name; /* "vq-f4" */
    ldm_stage_kind kind;
    int ch, levels, ch_mult[LDM_MAX_LEVELS], num_res_blocks;
    int attentions, attn_resolutions[LDM_MAX_LEVELS]; /* sizes, counted from a nominal 256 */
    bool attn_none;                                   /* attn_type: none; no attention in the middle either */
    int z_channels, embed_dim, n_embed;               /* n_embed: codebook, VQ */
    bool pool;                                        /* TAESD: TAEF2's blocks with a pool branch */
    const char *guess;                                /* what was guessed where the authors never released one; NULL */
} ldm_stage_config;

/* "kind=kl ch=32 ch_mult=1,2,4 z_channels=4 ...", kind one of identity, kl, vq, taesd; ch=128, num_res_blocks=2 and
 * embed_dim=z_channels if not given. */
ldm_status ldm_stage_config_parse(const char *text, ldm_stage_config *out);
int ldm_stage_factor(const ldm_stage_config *c); /* pixels a side of a latent element: 1, 2, 4, ... */
int ldm_stage_latent_channels(const ldm_stage_config *c);
/* x [n,h,w,3] in [-1,1] (TAESD: [0,1]) -> KL: [n,h/f,w/f,2 embed_dim] mean, log-variance; VQ: embed_dim, before
 * quantisation; TAESD: z_channels. h and w must be multiples of f. */
ldm_tensor ldm_stage_emit_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor x);
/* z [n,h,w,latent channels] in the stage's own units (the latent divided by the scale factor) -> [n,hf,wf,3]; VQ snaps
 * z to the codebook first; TAESD's result is clamped to [0,1], the others' is not. */
ldm_tensor ldm_stage_emit_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor z);

/* ---- whole systems by name ------------------------------------------------------------------------------------- */

/* What the network's output is, with x = sqrt(a) x0 + sqrt(1-a) eps: eps, v = sqrt(a) eps - sqrt(1-a) x0, or x0. */
typedef enum ldm_prediction { LDM_PREDICT_EPS, LDM_PREDICT_V, LDM_PREDICT_X0 } ldm_prediction;

typedef enum ldm_condition {
    LDM_COND_NONE,
    LDM_COND_CLASS,
    LDM_COND_CONTEXT,
    LDM_COND_CONCAT,
    LDM_COND_HYBRID
} ldm_condition;

typedef struct ldm_config {
    const char *name, *about;
    ldm_unet_config unet;
    const char *stage;               /* a first stage by name */
    const char *text;                /* a text encoder by name (text_encoder.h), which makes the context; NULL */
    int tokens;                      /* of the context: 77, 1 for a class; 0: there is none */
    double linear_start, linear_end; /* noise schedule, linear in sqrt(beta) */
    double scale_factor;             /* latent = scale_factor z */
    bool scale_by_std;               /* the factor is a buffer of the checkpoint, "scale_factor"; here stands 1 */
    int latent;                      /* native side of the latent */
    ldm_condition condition;
    int n_classes;   /* LDM_COND_CLASS: rows of cond_stage_model.embedding */
    int null_class;  /* its row for guidance; -1: none, guidance is refused */
    bool ema;        /* checkpoints hold EMA weights and sampling uses them */
    ldm_prediction prediction;
    int labels;       /* > 0: the condition is a map of so many labels, through SpatialRescaler */
    int noise_levels; /* > 0: the condition is noised to a level below this, with the same schedule; labels name it */
    int f;           /* place in the ablation, 0 outside it */
} ldm_config;

const ldm_config *ldm_config_find(const char *name);      /* NULL and a sentence if there is none */
const ldm_config *const *ldm_config_list(void);           /* ends with NULL */
const ldm_stage_config *ldm_stage_find(const char *name); /* NULL and a sentence if there is none */
const ldm_stage_config *const *ldm_stage_list(void);

/* The class embedder: ids i32 [n] -> context [n, 1, context_dim]. Parameter "cond_stage_model.embedding.weight". */
ldm_tensor ldm_class_embedder_emit(ldm_plan *p, int n_classes, int dim, ldm_tensor ids);
/* SpatialRescaler, of semantic maps: x [n,h,w,labels], 1 at a pixel's label and 0 elsewhere -> `stages` times halved by
 * means of 2 x 2 (bilinear, as the authors do it), then mixed: [n,h/2^stages,w/2^stages,channels]. Parameter
 * "cond_stage_model.channel_mapper.weight". */
ldm_tensor ldm_rescaler_emit(ldm_plan *p, int stages, int channels, ldm_tensor x);

/* Multiply-adds of convolutions, linear layers and attention products: what "GMAC per call" counts. segment -1: all. */
double ldm_plan_macs(const ldm_plan *p, int segment);

/* ---- binding --------------------------------------------------------------------------------------------------- */

/* Matches every parameter of a plan to a tensor of a checkpoint, once. The networks in the plan are looked for whole,
 * each under the first prefix that has any of it: the UNet at "model.diffusion_model.", "diffusion_model." or "", a
 * first stage at "first_stage_model." or "", a text encoder at "cond_stage_model." or "". Missing, misshapen and left-over tensors are all counted, and the first
 * few named with their shapes, in one sentence (LDM_ERR_FORMAT). [C,C], [C,C,1] and [C,C,1,1] are one shape. Not left
 * over: other networks than the plan's (of a first stage, its other half), buffers of the schedule, training losses. */
typedef struct ldm_binding ldm_binding;
typedef struct ldm_bind_options {
    bool ema;           /* take model_ema.* for the UNet where the file has it */
    bool allow_extra;   /* left-over tensors are no failure */
    bool allow_foreign; /* those that belong to no network known here are none */
} ldm_bind_options;
ldm_status ldm_bind(const ldm_plan *p, const ldm_ckpt *ckpt, const ldm_bind_options *o,
                    ldm_binding **out);   /* borrows both */
void ldm_binding_destroy(ldm_binding *b); /* NULL is fine */
/* Borrows b. load() refuses by name what is not finite, also in the dtype the plan stores it in (LDM_ERR_NONFINITE). */
ldm_source ldm_binding_source(ldm_binding *b);

#endif
