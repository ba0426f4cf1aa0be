/* pipeline_internal.h -- what the files of a pipeline (pipeline.h) share; for them alone. */
#ifndef LDM_APP_PIPELINE_INTERNAL_H
#define LDM_APP_PIPELINE_INTERNAL_H

#include "app/gen_options.h"
#include "app/pipeline.h"

enum { PIPE_TEXTS = 65, PIPE_CHUNK = 64 }; /* contexts in memory at a time, and pictures: as many as they can need */

typedef enum pipe_part { PIPE_TEXT, PIPE_LOOP, PIPE_ENCODER, PIPE_DECODER, PIPE_TINY, PIPE_RESCALER, PIPE_PARTS } pipe_part;
extern const char *const pipe_part_name[PIPE_PARTS];

typedef struct pipe_text {
    char *text;
    float *context; /* [tokens, width] */
} pipe_text;

struct app_pipeline {
    app_pipeline_options o;
    ldm_system *s;
    app_pool pool;
    app_engine engine[PIPE_PARTS];
    ldm_dtype dtype[PIPE_PARTS], wdtype[PIPE_PARTS]; /* f32 for a part that overflowed in f16 */
    ldm_schedule schedule;
    ldm_sampler sampler;
    ldm_loop_options loop;
    ldm_tokenizer *tokenizer;
    pipe_text text[PIPE_TEXTS];
    int texts;
    bool apart; /* network and decoder do not fit together */
    bool guided;
    int64_t lh, lw, width; /* latent; of the context */
    int channels;          /* of the latent */
    float *moments, *hole; /* of the init picture, and of it without what the mask repaints: [lh,lw,2c or c] */
    float *mixed;          /* [lh,lw,channels] what the rescaler made of the labels */
    float *known_mask;     /* [at_once,lh,lw] 1: keep */
};

/* Pictures that run together. */
typedef struct pipe_group {
    app_pipeline *p;
    const app_picture *picture; /* [n]; the rest of the group repeats the last */
    int n, all;
    int64_t one; /* elements of a latent */
    ldm_rng **noise; /* [all] generators */
    float *drawn;      /* one latent as PyTorch draws it, [c,lh,lw] */
    float *x, *z0, *known_noise, *concat, *context, *classes, *labels, *x0;
    char (*start)[LDM_SHA256_HEX];
    ldm_progress bar;
    const app_pipeline_hooks *hooks;
    int failed; /* the step, from 1, after which x was not finite */
} pipe_group;

bool pipe_of_text(const ldm_system *s);
ldm_status pipe_floats(int64_t n, float **out);
ldm_status pipe_schedule(const app_pipeline_options *o, ldm_schedule *out); /* the one given, else the model's */

/* Networks. */
ldm_status pipe_plan_part(app_pipeline *p, pipe_part which, ldm_plan **out);
ldm_status pipe_make_part(app_pipeline *p, pipe_part which);
/* A part other than the loop on one input, once more in f32 if it overflows; *y, of *count elements, freed with free(). */
ldm_status pipe_run_part(app_pipeline *p, pipe_part which, const float *in, float **y, int64_t *count);
/* Likewise, of the first stage's decoder or encoder, tile by tile (o.tiling). */
ldm_status pipe_run_tiled(app_pipeline *p, pipe_part which, const float *in, float **y);

/* Before the first group. */
ldm_status pipe_ask_prediction(app_pipeline *p); /* a file of SD2 does not say: the network does */
ldm_status pipe_encode_given(app_pipeline *p);   /* the init picture, and for models of inpainting what of it is kept */
ldm_status pipe_plan_memory(app_pipeline *p);    /* all parts are planned before anything is allocated */

/* Contexts of `count` pictures, at most PIPE_CHUNK / 2, into the kept ones. */
ldm_status pipe_contexts(app_pipeline *p, const app_picture *pictures, int count);
const pipe_text *pipe_find_text(const app_pipeline *p, const char *text); /* NULL: not kept */
void pipe_forget_texts(app_pipeline *p);
int pipe_layout_windows(const app_pipeline *p); /* a model of layouts is told where each window lies; others: 1 */

/* One group. */
ldm_status pipe_group_make(app_pipeline *p, const app_picture *pictures, int n, pipe_group *g);
void pipe_group_free(pipe_group *g);
ldm_status pipe_fresh_noise(void *user, int step, float *dst); /* a loop's hook; user: the group */
/* latents [n,lh,lw,c] and results of n pictures. */
ldm_status pipe_sample_group(app_pipeline *p, const app_picture *pictures, int n, const app_pipeline_hooks *hooks, float *latents,
                             app_result *results);

#endif
