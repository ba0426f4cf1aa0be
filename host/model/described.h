/* described.h -- what configuration files say about a model, in our own terms (internal to host/model): a CompVis .yaml
 * (authors_yaml.c) or the config.json files of diffusers' parts (diffusers_json.c). Depends on trees and data alone. */
#ifndef LDM_DESCRIBED_H
#define LDM_DESCRIBED_H

#include "ckpt/tree.h"
#include "model/model.h"
#include "model/text_encoder.h"

typedef struct ldm_described {
    bool unet, stage_known, text_known, schedule, scale; /* which of these it says */
    bool heads_by_width_only; /* num_head_channels from a file of the first code (no `legacy` key): trap of one head */
    bool first_stage_condition; /* concatenated condition is the first stage's own latent (__is_first_stage__) */
    bool prediction_known, ema_known, condition_known;
    ldm_config config; /* of which name, about, stage and text stay NULL */
    ldm_stage_config stage;
    ldm_text_config text;
    int rescaler_stages;       /* SpatialRescaler of config.labels labels */
    const char *beta_schedule; /* "linear" (in sqrt beta); a literal of another kind that diffusers has: "sqrt_linear",
                                  "squaredcos_cap_v2" */
    char scheduler_class[64];
} ldm_described;

/* What is neither known nor without meaning for inference is refused by name. */
ldm_status ldm_described_authors(const ldm_tree *t, ldm_described *out);

/* One part's config.json: UNet2DConditionModel, UNet2DModel, AutoencoderKL, VQModel, AutoencoderTiny, CLIPTextModel,
 * LDMBertModel and their like, or a scheduler's; adds to *d. */
ldm_status ldm_described_part(const ldm_tree *t, ldm_described *d);

/* The low_res_scheduler of an upscaler's folder: LDM_ERR_FORMAT unless it noises pictures as the released model's does,
 * which is the only way here (app_condition_noised). */
ldm_status ldm_described_low_res(const ldm_tree *t);

/* ldm_text_config_parse of what a file said: LDM_ERR_FORMAT with its name. */
ldm_status ldm_described_text(const ldm_tree *t, const char *text, ldm_text_config *out);

#endif
