/* gen_inputs.h -- the pictures, maps and arrays that a generation is given, read, checked and fitted to its size. */
#ifndef LDM_APP_GEN_INPUTS_H
#define LDM_APP_GEN_INPUTS_H

#include "app/gen_options.h"
#include "app/pipeline.h"

typedef struct app_inputs {
    ldm_image init, small; /* at the picture's size; of latent size: to be enlarged */
    float *mask, *concat, *labels;
    ldm_array context, init_latent;
    int32_t *tokens; /* of a layout */
} app_inputs;
void app_inputs_free(app_inputs *in); /* accepts {0} */

/* Where neither width nor height was given and a picture was: its size, as near below as the network allows. Before
 * app_gen_resolve. */
ldm_status app_inputs_size(app_gen_options *g, const ldm_system *s);
/* Everything; after app_gen_resolve. Options that the model has no use for are LDM_ERR_ARG. */
ldm_status app_inputs_read(const app_gen_options *g, const ldm_system *s, app_inputs *in);
/* What of it a pipeline takes. */
void app_inputs_give(const app_inputs *in, const app_gen_options *g, const ldm_system *s, app_pipeline_options *o);

#endif
