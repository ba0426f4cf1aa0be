/* system.h -- a whole model as its files make it: which networks are where, their configurations, the noise schedule,
 * what the network predicts, how latents are scaled; what is missing; how sure each of these is, and why. Of a CompVis
 * file
 * (.ckpt, .safetensors), a diffusers folder, single parts of either, with a configuration by name or as a .yaml file.
 *
 *   ldm_system_open(&(ldm_system_options){.model = "v1-5.safetensors"}, &s);
 *   plan ... ldm_unet_emit(plan, &s->config.unet, ...);   ldm_stage_emit_decoder(plan, &s->stage, ...);
 *   ldm_text_emit(plan, &s->text, ids, s->text.skip);
 *   ldm_system_source(s, plan, &binding, &source);        -> an executor; then ldm_binding_destroy(binding)
 *
 * Errors: LDM_ERR_FORMAT for files (also of a family that is not supported, with the name of what it looks like),
 * LDM_ERR_ARG for options. Everything belongs to the system and lives until ldm_system_close. */
#ifndef LDM_SYSTEM_H
#define LDM_SYSTEM_H

#include "model/text_encoder.h"
#include "model/names.h"

typedef struct ldm_system_options {
    /* paths, each a file or a folder; NULL: not given. One of model, diffusion_model, vae, taesd, or synthetic. */
    const char *model, *diffusion_model, *vae, *taesd, *clip_l;
    const char *config; /* a name (ldm_config_find), "key=value ..." of a UNet, or a .yaml file; NULL: from the files */
    const char *prediction; /* "eps", "v", "x0"; NULL or "auto": from the files */
    const char *ema;        /* "on", "off"; NULL or "auto": as the model was meant to be used */
    bool taesd_previews;    /* taesd is for previews: the first stage stays the model's */
    bool synthetic;         /* weights from a seed instead of files; config must be a name */
    uint64_t seed;
} ldm_system_options;

/* What the model is for, which is also what its inputs are. */
typedef enum ldm_task {
    LDM_TASK_NONE, /* no UNet: a first stage or a text encoder alone */
    LDM_TASK_UNCONDITIONAL,
    LDM_TASK_CLASS,
    LDM_TASK_TEXT,
    LDM_TASK_LAYOUT,           /* boxes as tokens */
    LDM_TASK_SEMANTIC,         /* map of labels, by SpatialRescaler, concatenated */
    LDM_TASK_SUPER_RESOLUTION, /* low-resolution picture, concatenated */
    LDM_TASK_INPAINT_LDM,      /* [z, masked latent, mask], mask in {-1, 1} */
    LDM_TASK_INPAINT_SD,       /* [z, mask, masked latent], mask in {0, 1}; text */
    LDM_TASK_DEPTH,            /* [z, depth]; text */
    LDM_TASK_UPSCALE,          /* [z, noised low-resolution picture], its noise level as label; text */
    LDM_TASK_RETRIEVAL         /* CLIP embeddings as tokens, given from outside */
} ldm_task;

typedef enum ldm_sure { LDM_SURE_TOLD, LDM_SURE_FILE, LDM_SURE_SHAPES, LDM_SURE_DEFAULT, LDM_SURE_MISSING } ldm_sure;
typedef struct ldm_fact { /* one line of `ldm info` */
    char *what, *value;   /* "prediction", "eps" */
    ldm_sure sure; /* an option said so; the file does; names and shapes fit nothing else; a documented default */
    char *why;
} ldm_fact;

typedef struct ldm_key_value {
    char *key, *value; /* numbers as text, lists with commas, "true", "false"; none that are null */
} ldm_key_value;

typedef struct ldm_system {
    ldm_task task;
    bool has[LDM_PARTS];
    ldm_config
        config; /* UNet, condition, schedule's ends, prediction, native size; config.name "custom" if it has none */
    ldm_stage_config stage; /* what decodes and encodes, --taesd where given; IDENTITY for models of pixels */
    double stage_scale; /* latent of the UNet = stage_scale * what the stage encodes. 1 for TAESD beside an SD model */
    ldm_stage_config tiny; /* for previews, if has[LDM_PART_TINY_DECODER] */
    double tiny_scale;
    ldm_text_config text;        /* if has[LDM_PART_TEXT] */
    const float *alphas_cumprod; /* [1000] where the file has them, else NULL: from config.linear_start, linear_end */
    bool prediction_unsure; /* a file of SD2, which does not say: ask ldm_system_probe's UNet call (eps until then) */
    const char *tokenizer;  /* folder with vocab.json and merges.txt, or vocab.txt; NULL: the built-in one */
    const char *scheduler;  /* class of a diffusers folder's scheduler, "DDIMScheduler"; NULL elsewhere */
    const ldm_key_value *scheduler_config; /* ended by key NULL */
    const ldm_fact *facts;
    int n_facts;
    const char *missing; /* what a picture would need that is in none of the files, in words; NULL: nothing */
    const char *path;    /* what was opened first, for messages and hashes */
    struct ldm_system_files *files;
} ldm_system;

/* Whether a configuration is the path of an authors' file, not a name or "key=value ...". */
bool ldm_config_is_path(const char *config);

ldm_status ldm_system_open(const ldm_system_options *o, ldm_system **out);
void ldm_system_close(ldm_system *s); /* NULL is fine */

/* Every parameter of a plan, of any of the system's networks, from the right file and layout. The binding borrows the
 * system and the plan. Left-over tensors of the plan's networks are a failure, as in ldm_bind. Synthetic weights have
 * no binding: *b is NULL then. */
ldm_status ldm_system_source(ldm_system *s, const ldm_plan *p, ldm_binding **b, ldm_source *out);

/* Of a system that is prediction_unsure: a UNet call on x = 0.5 [1,8,8,4] at t = 999 with a context of 0.5 [1,2,width]
 * tells by its output (256 values): mean(out - x) < -1 means v. Sets config.prediction and the fact. */
void ldm_system_probe(ldm_system *s, const float *output, int64_t count);

/* What the files are, in lines: family, parts with dtype and parameters, the facts, what is missing. Appended. */
void ldm_system_describe(const ldm_system *s, ldm_text *out);

#endif
