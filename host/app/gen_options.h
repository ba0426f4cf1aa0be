/* gen_options.h -- what `ldm gen` is told: its options under stable-diffusion.cpp's names, and what stands for those that are
 * not given, by the kind of checkpoint. */
#ifndef LDM_APP_GEN_OPTIONS_H
#define LDM_APP_GEN_OPTIONS_H

#include "app/app.h"
#include "model/system.h"
#include "sample/sample.h"


typedef struct app_gen_options {
    /* which model */
    char *model, *diffusion_model, *vae, *taesd, *clip_l, *config, *prediction, *ema;
    long long synthetic;
    int taesd_previews;
    /* what of */
    char *prompt, *negative, *prompts, *layout, *semantic, *upscale, *depth, *init, *mask, *context, *from;
    int class_id, noise_level;
    double strength;
    char *convention, *resize;
    /* how */
    char *sampling_method, *scheduler, *sigmas, *rng, *init_latent;
    int steps, clip_skip, width, height, quantize_x0, patch_size, patch_stride, patch_vae;
    double cfg_scale, cfg_rescale, eta;
    long long seed;
    /* how many, and where to */
    int batch, at_once, count, first, json, verbose; /* first: number of the first picture */
    char *output, *out_dir, *save_latent;
    int vae_tiling, in_turn;
    char *vae_tile_size;
    char *preview, *preview_path;
    int preview_interval;
} app_gen_options;

app_gen_options app_gen_unset(void);
void app_gen_free(app_gen_options *g);

/* Where the options are read to: one set a process, as popt's tables are constant. */
extern app_gen_options app_gen;
extern struct poptOption app_gen_model_table[], app_gen_input_table[], app_gen_sampling_table[], app_gen_output_table[];
#define APP_GEN                                                                                                        \
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, app_gen_model_table, 0, "Model:", NULL},                                          \
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, app_gen_input_table, 0, "What to draw:", NULL},                               \
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, app_gen_sampling_table, 0, "How:", NULL},                                     \
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, app_gen_output_table, 0, "Output:", NULL}

/* Whether a part is there: in the files, or made up as all of a system of synthetic weights is. */
bool app_has(const ldm_system *s, ldm_part part);

/* Whose defaults and habits are followed. */
typedef enum app_habit { APP_HABIT_AUTHORS, APP_HABIT_SD_CPP, APP_HABIT_DIFFUSERS } app_habit;
app_habit app_gen_habit(const ldm_system *s);

/* Fills in what was not given, for this model, and checks what was: *sampler with everything but prediction, *schedule
 * and *has_schedule if the files describe one by name. */
ldm_status app_gen_resolve(app_gen_options *g, const ldm_system *s, ldm_sampler_options *sampler, ldm_schedule *schedule,
                           bool *has_schedule);

#endif
