/* network.h -- one network named on the command line: its plan, and where its weights come from. */
#ifndef LDM_APP_NETWORK_H
#define LDM_APP_NETWORK_H

#include "app/app.h"
#include "model/model.h"
#include "model/system.h"

typedef struct app_network_options {
    const char *net; /* "unet", "encoder", "decoder", "text"; "cin-ldm-8" is its unet; "vq-f4:decoder", "sd15:text" */
    const char *config;  /* a name, key=value text or, beside model, an authors' .yaml file; NULL: from net, or from the file */
    const char *model;   /* checkpoint (without config also a diffusers folder), or NULL */
    long long synthetic; /* seed when model is NULL; -1: none was given */
    ldm_dtype dtype, wdtype; /* activations, weights */
    int64_t n, h, w; /* of the network's own input: latent, or picture for an encoder; 0: native size */
    int64_t tokens;  /* of the context; 0: as many as the configuration has, or 77 */
    bool classes;    /* UNet: input "class" (i32) through the class embedder instead of "context" */
    int skip;        /* text encoder: clip-skip; 0: its own */
} app_network_options;

typedef enum app_part { APP_UNET, APP_ENCODER, APP_DECODER, APP_TEXT } app_part;

typedef struct app_network {
    app_part part;
    const ldm_config *config; /* NULL for a custom one, a bare first stage or a bare text encoder */
    ldm_unet_config unet;
    ldm_stage_config stage;
    ldm_text_config text;
    int64_t n, h, w, tokens;
    ldm_plan *plan; /* inputs x, temb, context | class, guidance (UNet); x (encoder); z (decoder); ids (text); output y; all f32 */
    ldm_system *system; /* the files, where they say which network it is ... */
    ldm_ckpt *ckpt;     /* ... and the checkpoint, where a configuration was named */
    ldm_binding *binding;
    uint64_t seed;
    ldm_source source;
} app_network;

/* What is named, without a plan: part, config, unet, stage, text. */
ldm_status app_network_find(const app_network_options *o, app_network *net);
/* ... and its plan, unfinished (ldm_plan_finish is the caller's). */
ldm_status app_network_plan(const app_network_options *o, app_network *net);
/* Opens the checkpoint or seeds synthetic weights and binds them to the plan. */
ldm_status app_network_weights(const app_network_options *o, app_network *net);
void app_network_close(app_network *net); /* accepts {0} */

/* Names a network's result "y", in f32; an identity's result is a copy of its input. */
void app_plan_output(ldm_plan *p, ldm_tensor t);

/* --dtype, --wtype and --no-fuse, of the commands that make plans. */
extern struct poptOption app_plan_table[];
#define APP_PLAN                                                                                                       \
    { NULL, 0, POPT_ARG_INCLUDE_TABLE, app_plan_table, 0, "Plan:", NULL }

/* What --dtype and --wtype say: f32, and weights as activations, by default. */
ldm_status app_storage(ldm_dtype *dtype, ldm_dtype *wdtype);
bool app_fuses(void); /* not --no-fuse */

/* Fuses the plan unless --no-fuse was given, and lays out its memory for a device, within what that may use (budget.h), or
 * for the references (NULL). Says what had to be done for it. */
ldm_status app_network_finish(app_network *net, const ldm_device *d);
/* The same in so many bytes of the device. */
ldm_status app_network_fit(app_network *net, const ldm_device *d, size_t budget);
/* A plan with its weights on the device, ready to run. Prints the memory plan as a note. */
ldm_status app_network_exec(app_network *net, ldm_cl *cl, const char *impl, ldm_exec **out);
/* The second half of it, for a plan that is finished; `what` [opt] begins the note. */
ldm_status app_exec_create(app_network *net, ldm_cl *cl, const char *what, const char *impl, ldm_exec **out);

/* What the steps of one op took in the last run; segment -1: of all segments. */
typedef struct app_op_time {
    int steps;
    double seconds;
    ldm_cost cost;
} app_op_time;
app_op_time app_time_of_op(const ldm_plan *p, ldm_exec *e, int segment, const ldm_op *op);

/* Device time of the last run per op kind on stdout, and every step as a trace that trace viewers open. */
ldm_status app_write_profile(const ldm_plan *p, ldm_exec *e, const char *path);

/* 8-bit picture [h,w,3] <-> float map in the stage's range ([-1,1]; TAESD [0,1]). */
void app_image_to_map(const ldm_stage_config *s, const uint8_t *px, int64_t count, float *x);
void app_map_to_image(const ldm_stage_config *s, const float *x, int64_t count, uint8_t *px);

/* What latents are multiplied by: the configuration's factor, or the checkpoint's buffer "scale_factor" where training
 * set it. */
ldm_status app_scale_factor(const app_network *net, const ldm_ckpt *ckpt, double *out);

/* First value that is NaN or infinite is reported as LDM_ERR_NONFINITE in `what`. */
ldm_status app_check_finite(const float *x, int64_t count, const char *what);
/* The first segment of e done again step by step after its result was not finite (`st`, returned where it is anything
 * else): names the block. */
ldm_status app_name_block(ldm_status st, ldm_exec *e, int segment);
/* Whether what ended with `st` is to be made once more in f32: NaN or infinity came of f16. Says so, and sets both types. */
bool app_retry_in_f32(ldm_status st, ldm_dtype *dtype, ldm_dtype *wdtype);

#endif
