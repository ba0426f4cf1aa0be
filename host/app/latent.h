/* latent.h -- between what a first stage gives and what a network takes, for commands that encode and sample. */
#ifndef LDM_APP_LATENT_H
#define LDM_APP_LATENT_H

#include "model/model.h"
#include "sample/sample.h"

/* KL: mean + exp(logvar / 2) noise of moments [pixels, 2c] (logvar held to -30 .. 20), the mean alone without noise; other
 * stages: the map itself [pixels, c]. Times `scale`. noise [c, pixels], as PyTorch draws it. latent may be `moments`. */
void app_posterior(const ldm_stage_config *s, const float *moments, int64_t pixels, int64_t c, const float *noise, double scale,
                   float *latent);

#endif
