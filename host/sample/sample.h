/* sample.h -- diffusion arithmetic on the host: noise schedules, sampler coefficients, PyTorch's random numbers. The arrays
 * made here go to the device once; the loop itself runs there. Equations: "High-Resolution Image Synthesis with Latent
 * Diffusion Models" sec. 3, DDPM (arXiv 2006.11239), DDIM (arXiv 2010.02502), ldm/modules/diffusionmodules/util.py. */
#ifndef LDM_SAMPLE_H
#define LDM_SAMPLE_H

#include "model/model.h"

/* beta_i = (sqrt(start) + i/(N-1) (sqrt(end) - sqrt(start)))^2 ("linear" in the authors' configs), N = 1000; alpha_bar is
 * the running product of 1 - beta. Both stay f64: the authors derive DDPM's coefficients from f64 tables, and DDIM's from
 * their f32 copy, so ldm_sampler_ddim rounds what it reads. */
enum { LDM_TIMESTEPS = 1000 };
typedef struct ldm_schedule {
    double beta[LDM_TIMESTEPS], alpha_bar[LDM_TIMESTEPS];
} ldm_schedule;
ldm_status ldm_schedule_linear(double start, double end, ldm_schedule *out);

/* One denoising step x' = cx x + ce out + cn noise (+ nothing else), out the network's output at time t. */
typedef struct ldm_sampler_step {
    double t;              /* what the network is told */
    double cx, ce, cn;     /* cn == 0: no noise drawn */
} ldm_sampler_step;

/* DDIM, eta from 0 to 1 (uniform spacing, +1, last step to alpha_bar[0]); *count may exceed S when S does not divide
 * 1000, as the authors' code does; an S that would reach index 1000 is refused with the nearest S that works.
 * Steps in the order they run. *steps freed with free(). */
ldm_status ldm_sampler_ddim(const ldm_schedule *s, ldm_prediction p, int S, double eta, ldm_sampler_step **steps,
                            int *count);
/* Ancestral DDPM over all 1000 steps. */
ldm_status ldm_sampler_ddpm(const ldm_schedule *s, ldm_prediction p, ldm_sampler_step **steps, int *count);

/* [cos(t f_0) ..., sin(t f_0) ...], f_i = exp(-ln(10000) i / half), in f64, odd d padded with 0. */
void ldm_timestep_embedding(double t, int d, float *out);

/* PyTorch's CPU generator (mt19937), torch.randn in float32; state carries across calls as PyTorch's does. */
typedef struct ldm_randn ldm_randn;
ldm_status ldm_randn_create(uint64_t seed, ldm_randn **out);
void ldm_randn_destroy(ldm_randn *r);
void ldm_randn_fill(ldm_randn *r, float *dst, int64_t n);  /* one torch.randn call of n elements */

#endif
