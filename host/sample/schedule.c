/* schedule.c -- the noise schedule of the authors' models and the embedding of a time. Leaves what samplers make of a
 * schedule to sampler.c. */
#include "sample/sample.h"
#include <math.h>

/* ldm/modules/diffusionmodules/util.py: make_beta_schedule, "linear": linear in sqrt(beta), not in beta. */
ldm_status ldm_schedule_linear(double start, double end, ldm_schedule *out) {
    if (!(start > 0 && start < 1 && end > 0 && end < 1))
        return ldm_fail(LDM_ERR_ARG, "noise schedule: betas from %g to %g, wanted both above 0 and below 1", start,
                        end);
    double a = sqrt(start), b = sqrt(end), product = 1;
    for (int i = 0; i < LDM_TIMESTEPS; i++) {
        double root = a + (b - a) * i / (LDM_TIMESTEPS - 1);
        out->beta[i] = root * root;
        product *= 1 - out->beta[i];
        out->alpha_bar[i] = product;
    }
    return LDM_OK;
}

/* ldm/modules/diffusionmodules/util.py: timestep_embedding: cosines first, frequencies divided by half (not half - 1).
 * In f64, because an f32 argument near 1000 alone costs 6e-5. */
void ldm_timestep_embedding(double t, int d, float *out /* [d] */) {
    int half = d / 2;
    for (int i = 0; i < half; i++) {
        double angle = t * exp(-log(10000.0) * i / half);
        out[i] = (float)cos(angle);
        out[half + i] = (float)sin(angle);
    }
    if (d % 2) out[d - 1] = 0;
}
