/* latent.c -- see latent.h. */
#include "app/latent.h"
#include <math.h>

void app_posterior(const ldm_stage_config *s, const float *moments, int64_t pixels, int64_t c, const float *noise, double scale,
                   float *latent) {
    const int64_t wide = s->kind == LDM_STAGE_KL ? 2 * c : c;
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < c; k++) { /* i c + k never passes what is still to be read */
            float value = moments[i * wide + k];
            if (s->kind == LDM_STAGE_KL && noise) {
                float logvar = moments[i * wide + c + k];
                logvar = logvar < -30 ? -30 : logvar > 20 ? 20 : logvar;
                value += expf(0.5f * logvar) * noise[k * pixels + i];
            }
            latent[i * c + k] = (float)scale * value;
        }
}
