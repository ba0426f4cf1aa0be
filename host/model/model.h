/* model.h -- the networks of "High-Resolution Image Synthesis with Latent Diffusion Models" and of Stable Diffusion 1.x,
 * each written once as text that emits steps into a plan; their configurations by name; binding to checkpoints.
 * Parameters are named as in the authors' state dicts without the outer prefix ("input_blocks.1.0.in_layers.2.weight",
 * "encoder.conv_in.weight"). Knows no device, no kernel, no implementation.
 * All maps are [n,h,w,c] of the plan's dtype unless said otherwise; emit functions return the output tensor, LDM_NONE after a
 * failure (ldm_plan_finish reports it). */
#ifndef LDM_MODEL_H
#define LDM_MODEL_H

#include "ckpt/ckpt.h"
#include "plan/plan.h"

enum { LDM_MAX_LEVELS = 8 };

/* ---- UNet: ldm/modules/diffusionmodules/openaimodel.py UNetModel. Field names are the authors' --------------------------- */

typedef struct ldm_unet_config {
    int in_channels, out_channels, model_channels, num_res_blocks;
    int levels, channel_mult[LDM_MAX_LEVELS];
    int attentions, attention_resolutions[LDM_MAX_LEVELS]; /* downsampling factors, not sizes; unreached ones are ignored */
    int num_heads, num_head_channels;      /* one of them > 0: heads at every level, or channels a head */
    bool use_spatial_transformer, use_scale_shift_norm, resblock_updown, use_linear_in_transformer;
    int transformer_depth, context_dim;
    int num_classes;                       /* > 0: class label added to the time embedding (label_emb) */
} ldm_unet_config;

/* "model_channels=32 channel_mult=1,2 num_heads=2 ...": every field by its name; booleans 0 or 1. */
ldm_status ldm_unet_config_parse(const char *text, ldm_unet_config *out);
/* x [n,h,w,in_channels]; temb [n, model_channels] sinusoid (ldm_timestep_embedding); context [n, tokens, context_dim] or
 * LDM_NONE; labels i32 [n] or LDM_NONE. h and w must be multiples of ldm_unet_multiple. */
ldm_tensor ldm_unet_emit(ldm_plan *p, const ldm_unet_config *c, ldm_tensor x, ldm_tensor temb, ldm_tensor context, ldm_tensor labels);
int ldm_unet_multiple(const ldm_unet_config *c);     /* 2^(levels-1) */

/* ---- first stages: ldm/modules/diffusionmodules/model.py Encoder, Decoder; ldm/models/autoencoder.py ------------------- */

typedef enum ldm_stage_kind { LDM_STAGE_IDENTITY, LDM_STAGE_KL, LDM_STAGE_VQ, LDM_STAGE_TAESD } ldm_stage_kind;

typedef struct ldm_stage_config {
    const char *name;                      /* "vq-f4" */
    ldm_stage_kind kind;
    int ch, levels, ch_mult[LDM_MAX_LEVELS], num_res_blocks;
    int attentions, attn_resolutions[LDM_MAX_LEVELS]; /* sizes, counted from a nominal 256 */
    bool attn_none;                        /* attn_type: none; no attention in the middle either */
    int z_channels, embed_dim, n_embed;    /* n_embed: codebook, VQ */
    bool pool;                             /* TAESD: TAEF2's blocks with a pool branch */
    const char *guess;                     /* what was guessed where the authors never released one; NULL */
} ldm_stage_config;

ldm_status ldm_stage_config_parse(const char *text, ldm_stage_config *out); /* "kind=kl ch=32 ch_mult=1,2,4 z_channels=4 ..." */
int ldm_stage_factor(const ldm_stage_config *c);      /* pixels a latent element: 1, 2, 4, ... */
/* x [n,h,w,3] in [-1,1] (TAESD: [0,1]) -> KL: [n,h/f,w/f,2 embed] mean, log-variance; VQ: before quantisation; h, w multiples of f. */
ldm_tensor ldm_stage_emit_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor x);
/* z [n,h,w,embed_dim] in the stage's own units -> [n,hf,wf,3]; VQ snaps z to the codebook first; TAESD clamps to [0,1]. */
ldm_tensor ldm_stage_emit_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_tensor z);

/* ---- whole systems by name ------------------------------------------------------------------------------------------- */

typedef enum ldm_condition { LDM_COND_NONE, LDM_COND_CLASS, LDM_COND_CONTEXT, LDM_COND_CONCAT, LDM_COND_HYBRID } ldm_condition;

typedef struct ldm_config {
    const char *name, *about;
    ldm_unet_config unet;
    const char *stage;                     /* a first stage by name */
    double linear_start, linear_end, scale_factor;
    int latent;                            /* native side of the latent */
    ldm_condition condition;
    int n_classes;                         /* LDM_COND_CLASS: rows of cond_stage_model.embedding */
    int null_class;                        /* its row for guidance; -1: none, guidance is refused */
    bool ema;                              /* checkpoints hold EMA weights and sampling uses them */
    int f;                                 /* place in the ablation, 0 outside it */
} ldm_config;

const ldm_config *ldm_config_find(const char *name);          /* NULL and a sentence if there is none */
const ldm_config *const *ldm_config_list(void);               /* ends with NULL */
const ldm_stage_config *ldm_stage_find(const char *name);     /* NULL and a sentence if there is none */
const ldm_stage_config *const *ldm_stage_list(void);

/* The class embedder: ids i32 [n] -> context [n, 1, context_dim]. Parameter "cond_stage_model.embedding.weight". */
ldm_tensor ldm_class_embedder_emit(ldm_plan *p, int n_classes, int dim, ldm_tensor ids);

/* ---- binding ------------------------------------------------------------------------------------------------------------ */

/* Matches every parameter of a plan to a tensor of a checkpoint, once. Missing and misshapen ones are reported by name with
 * both shapes; left-over tensors (known extras such as loss.* excepted) too unless `allow_extra`. [C,C], [C,C,1] and
 * [C,C,1,1] are one shape. */
typedef struct ldm_binding ldm_binding;
typedef struct ldm_bind_options {
    bool ema;                              /* take model_ema.* for the UNet where the file has it */
    bool allow_extra;
} ldm_bind_options;
ldm_status ldm_bind(const ldm_plan *p, const ldm_ckpt *ckpt, const ldm_bind_options *o, ldm_binding **out); /* borrows both */
void ldm_binding_destroy(ldm_binding *b);
ldm_source ldm_binding_source(ldm_binding *b);   /* load() refuses NaN and infinity (LDM_ERR_NONFINITE) by name; borrows b */

/* Which known configurations and first stages a checkpoint fits, as words for `ldm info`; the only candidate into *config or
 * *stage (NULL if none or several). */
ldm_status ldm_identify(const ldm_ckpt *ckpt, const ldm_config **config, const ldm_stage_config **stage, ldm_text *words);

#endif
