/* preview.h -- what a latent looks like while it is made: through the decoder, a tiny decoder, or a matrix that is fitted to the
 * decoder once. */
#ifndef LDM_APP_PREVIEW_H
#define LDM_APP_PREVIEW_H

#include "app/pipeline.h"

typedef enum app_preview_kind { APP_PREVIEW_NONE, APP_PREVIEW_PROJ, APP_PREVIEW_TAE, APP_PREVIEW_VAE } app_preview_kind;

typedef struct app_preview {
    app_preview_kind kind;
    const char *path;
    int interval;
    char stage[LDM_SHA256_HEX]; /* names the first stage's weights, for the cache */
    float *matrix;              /* [channels + 1, 3]: colour in [0,1] = latent . matrix + its last row; made when wanted */
} app_preview;

ldm_status app_preview_parse(const char *name, app_preview_kind *out); /* none, proj, tae, vae */
/* After step `step` (from 0), where the interval says so: the first latent of x0 as a picture at path, whole or not at all. */
ldm_status app_preview_show(app_preview *v, app_pipeline *p, int step, const float *x0);
void app_preview_free(app_preview *v);

#endif
