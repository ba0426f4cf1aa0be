/* sampler.c -- samplers as lists of linear steps: each step's x' = cx x + ce out + cn noise, whatever the network
 * predicts. Leaves the loop, the noise and the network to others. */
#include "sample/sample.h"
#include <math.h>
#include <stdlib.h>

/* x0 = xx x + xo out and eps = ex x + eo out at a time whose alpha_bar is a. */
typedef struct split {
    double xx, xo, ex, eo;
} split;

static split split_at(ldm_prediction p, double a) {
    double s = sqrt(a), n = sqrt(1 - a);
    switch (p) {
    case LDM_PREDICT_EPS:
        return (split){1 / s, -n / s, 0, 1};
    case LDM_PREDICT_V:
        return (split){s, -n, n, s};
    case LDM_PREDICT_X0:
        break;
    }
    return (split){0, 1, 1 / n, -s / n};
}

/* ldm/modules/diffusionmodules/util.py: make_ddim_timesteps, "uniform". The last of the steps 0, c, 2c, ... below 1000,
 * plus one, is index 1000 when c divides 999: past the end of the schedule. */
static int ddim_stride(int S) { return S >= 1 && S <= LDM_TIMESTEPS ? LDM_TIMESTEPS / S : 0; }
static bool ddim_works(int S) { return ddim_stride(S) > 0 && (LDM_TIMESTEPS - 1) % ddim_stride(S) != 0; }

static int ddim_nearest(int S) {
    if (S < 1) return 1;
    if (S > LDM_TIMESTEPS) S = LDM_TIMESTEPS;
    for (int d = 0;; d++) {
        if (ddim_works(S + d)) return S + d;
        if (ddim_works(S - d)) return S - d;
    }
}

/* DDIM (arXiv 2010.02502, eq. 12) with ldm/modules/diffusionmodules/util.py: make_ddim_sampling_parameters: the step
 * below the first is alpha_bar[0], not 1. The authors' sampler reads alpha_bar from its f32 buffer, so it is rounded
 * here too. */
ldm_status ldm_sampler_ddim(const ldm_schedule *s, ldm_prediction p, int S, double eta, ldm_sampler_step **steps,
                            int *count) {
    if (!ddim_works(S))
        return ldm_fail(
            LDM_ERR_ARG,
            "steps: DDIM with %d steps would need a time outside 0..%d; the nearest number that works is %d", S,
            LDM_TIMESTEPS - 1, ddim_nearest(S));
    if (!(eta >= 0 && eta <= 1)) return ldm_fail(LDM_ERR_ARG, "eta: %g, wanted 0 to 1", eta);
    int stride = ddim_stride(S), n = (LDM_TIMESTEPS - 1) / stride + 1;
    void *mem;
    ldm_status st = ldm_alloc((size_t)n * sizeof(ldm_sampler_step), &mem);
    if (st != LDM_OK) return st;
    ldm_sampler_step *step = mem;
    for (int i = 0; i < n; i++) {
        int t = i * stride + 1;
        double a = (float)s->alpha_bar[t], prev = (float)s->alpha_bar[i ? t - stride : 0];
        double sigma = eta * sqrt((1 - prev) / (1 - a) * (1 - a / prev));
        double along =
            sqrt(fmax(1 - prev - sigma * sigma, 0)); /* at eta 1 and prev = 1 - sigma^2, rounding may dip below 0 */
        split k = split_at(p, a);
        step[n - 1 - i] = (ldm_sampler_step){
            .t = t, .cx = sqrt(prev) * k.xx + along * k.ex, .ce = sqrt(prev) * k.xo + along * k.eo, .cn = sigma};
    }
    *steps = step, *count = n;
    return LDM_OK;
}

/* The posterior mean and variance of arXiv 2006.11239, eq. 7; ldm/models/diffusion/ddpm.py: register_schedule (there in
 * f64, the results stored as f32) and p_sample: variance clipped at 1e-20, no noise in the last step, x0 never clipped.
 */
ldm_status ldm_sampler_ddpm(const ldm_schedule *s, ldm_prediction p, ldm_sampler_step **steps, int *count) {
    void *mem;
    ldm_status st = ldm_alloc(LDM_TIMESTEPS * sizeof(ldm_sampler_step), &mem);
    if (st != LDM_OK) return st;
    ldm_sampler_step *step = mem;
    for (int t = 0; t < LDM_TIMESTEPS; t++) {
        double beta = s->beta[t], a = s->alpha_bar[t], prev = t ? s->alpha_bar[t - 1] : 1;
        double from_x0 = beta * sqrt(prev) / (1 - a), from_x = (1 - prev) * sqrt(1 - beta) / (1 - a);
        double variance = beta * (1 - prev) / (1 - a);
        split k = split_at(p, a);
        step[LDM_TIMESTEPS - 1 - t] = (ldm_sampler_step){
            .t = t, .cx = from_x0 * k.xx + from_x, .ce = from_x0 * k.xo, .cn = t ? sqrt(fmax(variance, 1e-20)) : 0};
    }
    *steps = step, *count = LDM_TIMESTEPS;
    return LDM_OK;
}
