/* pipeline.h -- a whole model at work: prompt -> context -> denoising loop -> latent -> picture. One code for every command that
 * samples. Pictures are made a group at a time; what a picture becomes depends on its own prompt and seed and on the group's
 * size, not on its neighbours or on where a run is stopped and continued: a group that is not full is filled up.
 * Maps here are [h,w,c] of one picture unless said otherwise; latents are scaled, as the network sees them. */
#ifndef LDM_APP_PIPELINE_H
#define LDM_APP_PIPELINE_H

#include "app/engine.h"
#include "app/tiling.h"
#include "io/io.h"
#include "sample/loop.h"
#include "text/text.h"

/* What all pictures of a run share. Everything is borrowed and must outlive the pipeline. */
typedef struct app_pipeline_options {
    ldm_system *system;
    ldm_cl *cl;
    ldm_sampler_options sampler; /* prediction is filled in */
    const ldm_schedule *schedule; /* NULL: the model's */
    ldm_rng_kind rng;
    double cfg_scale, cfg_rescale;
    int clip_skip;               /* 0: as the model was trained */
    int64_t w, h;                /* of the picture, in pixels */
    int at_once;                 /* pictures that run together; fewer where memory asks for it */
    ldm_dtype dtype, wdtype;
    bool in_turn;                /* guidance as two batches of one, also where both fit together */
    ldm_windows windows;         /* of the latent, in which the network sees it; {0}: whole */
    const app_tiling *tiling;    /* decoding (in windows, encoding too) in tiles, blended; NULL: the picture at once, or in exact strips
                                    where memory asks for it */
    bool keeps_x0;               /* predictions can be looked at while it runs */
    const ldm_image *init;       /* img2img and inpainting: w x h; NULL: none */
    const float *mask;           /* [h,w], 1: repaint; NULL: none */
    const float *concat;         /* [lh,lw,channels] what follows z into the network, where it depends on no random number; NULL */
    const float *labels;         /* [lh,lw,config.labels]: shares of each label, which the model's rescaler mixes; NULL */
    const ldm_image *noised;     /* the x4 upscaler's picture, of latent size */
    int noise_level;             /* ... and how much noise it gets */
    const ldm_array *context;    /* f32 [tokens, width] instead of a prompt; NULL */
    const ldm_array *init_latent; /* f32 [1 or more, c, lh, lw] instead of the noise drawn; NULL */
} app_pipeline_options;

typedef struct app_picture {
    const char *prompt, *negative; /* of models of text; NULL: "" */
    const int32_t *tokens;         /* of models of layouts, text.length of them; NULL */
    int class_id;
    uint64_t seed;
    int64_t number; /* in the whole run, from 0 */
} app_picture;

typedef struct app_result {
    const app_picture *picture;
    const float *latent; /* [lh,lw,c] */
    const ldm_image *image;
    char start[LDM_SHA256_HEX]; /* of the starting latent as float32 [c,lh,lw] */
    double seconds;             /* of its group's loop, shared out */
} app_result;

typedef struct app_pipeline app_pipeline;

typedef struct app_pipeline_hooks {
    ldm_status (*done)(void *user, const app_result *r); /* a picture is there */
    /* [opt] After a step: the predicted pictures' latents, [n,lh,lw,c], if keeps_x0. */
    ldm_status (*step)(void *user, app_pipeline *p, int step, const float *x0);
    void *user;
} app_pipeline_hooks;

/* What can be known to be wrong before a device is opened: size, guidance, steps. */
ldm_status app_pipeline_check(const app_pipeline_options *o);
/* Checks that too, encodes what is given and makes the sampler's table; networks are made when they are first run. */
ldm_status app_pipeline_open(const app_pipeline_options *o, app_pipeline **out);
void app_pipeline_close(app_pipeline *p); /* NULL is fine */
bool app_pipeline_in_turn(const app_pipeline *p); /* guidance is two batches of one: asked for, or for the memory's sake */
int app_pipeline_at_once(const app_pipeline *p);  /* pictures that run together: as asked for, or fewer */
const ldm_sampler *app_pipeline_sampler(const app_pipeline *p);
const ldm_stage_config *app_pipeline_stage(const app_pipeline *p); /* its decoder's */
void app_pipeline_size(const app_pipeline *p, int64_t *lh, int64_t *lw, int *channels); /* of a latent */

/* All pictures, in order. */
ldm_status app_pipeline_run(app_pipeline *p, const app_picture *pictures, int count, const app_pipeline_hooks *hooks);

/* Parts of it. A picture of w x h through the encoder, once: *moments [lh,lw,2c or c] as the stage gives them, freed with
 * free(). */
ldm_status app_pipeline_encode(app_pipeline *p, const float *map, float **moments);
bool app_pipeline_encodes(const app_pipeline *p); /* it can */
/* The same as a latent, the mean where the stage gives a distribution: [lh,lw,c]. */
ldm_status app_pipeline_latent(app_pipeline *p, const float *map, float *latent);
/* A latent through the decoder, or the tiny one for previews, as a picture. */
ldm_status app_pipeline_decode(app_pipeline *p, bool tiny, const float *latent, ldm_image *out);
/* The same before it becomes bytes, [h,w,3] in the stage's range: *map freed with free(). */
ldm_status app_pipeline_decode_map(app_pipeline *p, bool tiny, const float *latent, float **map);

/* The nearest sizes that a network of this system can have: *low <= size < *high, multiples of its factor; both the least for
 * a size below it. */
void app_pipeline_sizes(const ldm_system *s, int64_t size, int64_t *low, int64_t *high);

#endif
