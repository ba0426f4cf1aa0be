/* sample.h -- diffusion arithmetic on the host: noise schedules, samplers as tables, names. Everything is computed in
 * f64 and goes to the device once; the loop itself runs there (loop.h).
 *
 * Every sampler here is linear in a few state vectors, the network's output and fresh noise. One evaluation of the
 * network is therefore a row of numbers: the time it is told, its input as a linear combination of the states, and the
 * matrix that makes the next states. Sources: "High-Resolution Image Synthesis with Latent Diffusion Models" sec. 3,
 * DDPM (arXiv 2006.11239), DDIM (2010.02502), PNDM (2202.09778), DPM-Solver++ (2211.01095), Karras et al. (2206.00364),
 * latent consistency models (2310.04378); and the programs whose results are to be met: the authors'
 * ldm/models/diffusion, k_diffusion/sampling.py, diffusers' schedulers. */
#ifndef LDM_SAMPLE_H
#define LDM_SAMPLE_H

#include "model/model.h"

/* ---- noise schedules --------------------------------------------------------------------------------------------- */

/* alpha_bar is the running product of 1 - beta. Both stay f64: the authors derive DDPM's coefficients from f64 tables,
 * and DDIM's and PLMS's from their f32 copy, so those two round what they read. */
enum { LDM_TIMESTEPS = 1000 };
typedef struct ldm_schedule {
    double beta[LDM_TIMESTEPS], alpha_bar[LDM_TIMESTEPS];
} ldm_schedule;
/* beta_i = (sqrt(start) + i/(N-1) (sqrt(end) - sqrt(start)))^2: "linear" in the authors' configs, "scaled_linear" in
 * diffusers'. */
ldm_status ldm_schedule_linear(double start, double end, ldm_schedule *out);
/* By name: the authors' linear, sqrt_linear, sqrt, cosine; diffusers' scaled_linear, squaredcos_cap_v2. "linear" is the
 * authors' (in sqrt(beta)) unless `diffusers`, where it is linear in beta. */
ldm_status ldm_schedule_named(const char *name, bool diffusers, double start, double end, ldm_schedule *out);
/* From a checkpoint's buffer `alphas_cumprod` or `betas`, n = LDM_TIMESTEPS values. */
ldm_status ldm_schedule_alphas(const double *alphas_cumprod, int n, ldm_schedule *out);
ldm_status ldm_schedule_betas(const double *betas, int n, ldm_schedule *out);

/* sigma = sqrt((1 - alpha_bar) / alpha_bar) at a fractional time, linear in ln sigma between whole ones; and back,
 * clamped to 0..999 (k_diffusion/external.py: DiscreteSchedule). */
double ldm_sigma_at(const ldm_schedule *s, double t);
double ldm_time_of(const ldm_schedule *s, double sigma);

/* [cos(t f_0) ..., sin(t f_0) ...], f_i = exp(-ln(10000) i / half), in f64, odd d padded with 0. */
void ldm_timestep_embedding(double t, int d, float *out);
/* The embedding of the guidance scale that distilled networks take (time_cond_proj_dim = d): of w = scale - 1, times
 * 1000, sines first, divisor half - 1 (diffusers: get_guidance_scale_embedding). */
void ldm_guidance_embedding(double scale, int d, float *out);

/* ---- a sampler as a table ---------------------------------------------------------------------------------------- */

/* What a linear combination is of: the state vectors (v0 is x), the network's output, the predicted picture where it is
 * clipped or quantised (else it has been put in terms of the others), fresh noise. */
enum { LDM_STATES = 5, LDM_OUT = LDM_STATES, LDM_X0, LDM_NOISE, LDM_COLUMNS };
typedef struct ldm_linear {
    double c[LDM_COLUMNS];
} ldm_linear;

/* One evaluation of the network. */
typedef struct ldm_eval {
    double t;                    /* what the network is told; may be fractional */
    ldm_linear in;               /* its input: of states and noise */
    ldm_linear x0;               /* predicted picture: of states, noise and output */
    ldm_linear next[LDM_STATES]; /* the states afterwards, all of the states before */
    double known, known_noise;   /* mask blending: what is kept is known z0 + known_noise noise */
    bool blends;                 /* here, and not in the middle of a step */
    int step;                    /* step this belongs to, from 0 */
    bool ends;                   /* ... and ends */
} ldm_eval;

typedef struct ldm_sampler {
    ldm_eval *eval; /* in running order */
    int evals, steps;
    double start_z, start_noise; /* v0 = start_z z0 + start_noise noise; start_z is 0 where nothing is known of z0 */
    double clip;                 /* > 0: x0 is clamped to [-clip, clip]; else not */
    bool quantize;               /* x0 is snapped to the first stage's codebook */
    bool blend_after,
        blend_fresh;  /* masks: after the step or before it; with new noise each time, or always the same */
    const char *name; /* "DPM++ 2M": static */
} ldm_sampler;
void ldm_sampler_free(ldm_sampler *s); /* accepts {0} */

typedef enum ldm_method {
    LDM_DDIM,
    LDM_DDPM,
    LDM_PLMS,
    LDM_DPMPP_2M,
    LDM_EULER,
    LDM_EULER_A,
    LDM_HEUN,
    LDM_DPM2,
    LDM_LMS,
    LDM_LCM,
    LDM_METHODS
} ldm_method;

/* Whose details are followed where programs differ. */
typedef enum ldm_manner {
    LDM_MANNER_AUTHORS,  /* ldm/models/diffusion: DDIM, DDPM, PLMS, DPM-Solver++ */
    LDM_MANNER_SIGMA,    /* k-diffusion and the programs built on it: all but DDPM, PLMS */
    LDM_MANNER_DIFFUSERS /* the scheduler class of that method */
} ldm_manner;

typedef enum ldm_sigmas {
    LDM_SIGMAS_DISCRETE, /* at evenly spaced times 999..0 */
    LDM_SIGMAS_KARRAS,
    LDM_SIGMAS_EXPONENTIAL, /* linear in ln sigma */
    LDM_SIGMAS_SGM_UNIFORM, /* fractional times 999..0 in n + 1 points, without the last */
    LDM_SIGMAS_SGM,         /* whole times, truncated, end excluded: sgm's LegacyDDPMDiscretization */
    LDM_SIGMAS_SIMPLE,      /* every (1000/n)th entry of the table from the noisy end */
    LDM_SIGMAS_LCM,         /* the times that consistency models were distilled on */
    LDM_SIGMAS_KINDS
} ldm_sigmas;

typedef enum ldm_spacing { LDM_SPACING_LEADING, LDM_SPACING_TRAILING, LDM_SPACING_LINSPACE } ldm_spacing;

/* Where img2img starts. */
typedef enum ldm_strength {
    LDM_STRENGTH_OF_MANNER, /* the one the manner's programs use */
    LDM_STRENGTH_AUTHORS,   /* t_enc = int(strength S) steps, possibly none, noise one entry higher than the first of them */
    LDM_STRENGTH_SIGMA,     /* int(min(strength, .999) S) + 1 steps, noise of the first */
    LDM_STRENGTH_DIFFUSERS  /* int(strength S) steps, one at least, noise of the first */
} ldm_strength;

typedef struct ldm_sampler_options {
    ldm_method method;
    ldm_manner manner;
    ldm_prediction prediction;
    int steps;
    double eta;                     /* DDIM 0..1; Euler a */
    double s_noise;                 /* what fresh noise is multiplied with: Euler, Euler a, Heun, DPM2 */
    double s_churn, s_tmin, s_tmax; /* Euler, Heun, DPM2 in the sigma manner */
    ldm_sigmas sigmas;
    const double
        *sigma; /* custom list of `sigma_count` values, the last may be 0 (else 0 is added); NULL: by `sigmas` */
    int sigma_count;
    bool quad;      /* DDIM, PLMS of the authors: quadratic spacing */
    bool sgm_start; /* sigma manner: starting noise times sqrt(1 + sigma^2), as sgm, and not sigma */
    bool img2img;   /* start from z0, as far as strength says */
    double strength;
    ldm_strength convention;
    double clip;   /* x0 clamped to [-clip, clip]; 0: not */
    bool quantize; /* x0 snapped to the codebook */
    /* of a diffusers scheduler config */
    ldm_spacing spacing;
    int steps_offset;
    bool alpha_to_one;                      /* set_alpha_to_one: the last step goes to 1, not to alpha_bar[0] */
    bool final_sigma_min;                   /* final_sigmas_type "sigma_min", not "zero" */
    bool log_linear;                        /* interpolation_type */
    double sigma_min, sigma_max;            /* of Karras and exponential lists; 0: the schedule's */
    bool lower_order_final, euler_at_final; /* DPMSolverMultistep */
    bool solver_heun;                       /* its solver_type */
    int solver_order;                       /* 1 or 2 */
    double lambda_min_clipped;              /* -inf: nothing is clipped */
    bool runge_kutta;    /* PNDM: not skip_prk_steps */
    bool variance_large;                    /* DDPM: variance_type fixed_large */
    int original_steps;                     /* LCM: original_inference_steps */
    double timestep_scaling;                /* LCM */
} ldm_sampler_options;

/* What method and manner do when nothing else is said: 20 steps. */
ldm_sampler_options ldm_sampler_defaults(ldm_method m, ldm_manner manner);

/* The table. LDM_ERR_ARG with a sentence where the options cannot be: steps that the authors' DDIM cannot make (names
 * the nearest), a manner the method does not have, a strength that leaves diffusers no step. A table of none (the
 * authors' at strength 0) leaves x as it starts. */
ldm_status ldm_sampler_make(const ldm_schedule *s, const ldm_sampler_options *o, ldm_sampler *out);

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* The defaults of a sampler by name, without regard to case: stable-diffusion.cpp's ids ("euler_a", "dpm++2m"),
 * AUTOMATIC1111's labels ("DPM++ 2M Karras"), diffusers' classes ("PNDMScheduler": as ldm_scheduler_read without any
 * key, but for clipping, betas and PNDM's start, which only a configuration says), the authors' ("ddim", "plms", "ddpm",
 * "dpm_solver"). An unknown one is refused with the names there are, one that others have as not supported yet. */
ldm_status ldm_sampler_find(const char *name, ldm_sampler_options *out);
/* A list of sigmas ("discrete", "karras", "exponential", "sgm_uniform", "sgm", "simple", "lcm"), a spacing ("leading",
 * "trailing", "linspace") or the authors' "quad" into o; "default" and "automatic" leave it. */
ldm_status ldm_sigmas_find(const char *name, ldm_sampler_options *o);
const char *ldm_sampler_name(int i); /* NULL past the last */
const char *ldm_sigmas_name(int i);

/* A diffusers scheduler configuration: keys with their values as JSON has them, scalars as text. Keys that are absent
 * or null have the class's defaults, unknown ones are ignored, as diffusers does; what would change the result and is
 * not supported is refused by key (LDM_ERR_FORMAT). */
typedef struct ldm_setting {
    const char *key, *value; /* "beta_start", "0.00085"; "clip_sample", "false"; "beta_schedule", "scaled_linear" */
} ldm_setting;
ldm_status ldm_scheduler_read(const char *class_name, const ldm_setting *s, int n, ldm_sampler_options *out,
                              ldm_schedule *schedule);

/* ---- random numbers ---------------------------------------------------------------------------------------------- */

/* Normal numbers in f32. A generator belongs to one picture: picture i of a batch has one of its own, seeded seed + i,
 * for all its draws in this order: posterior of the init image, starting noise, posterior of the masked image, then one
 * a stochastic step, each of the latent in NCHW. State carries across calls as PyTorch's does. torch-cpu: torch.randn
 * of PyTorch's CPU generator. torch-cuda: of its CUDA generator; the same on every GPU while the tensor is one pass of
 * its threads, 256 min(SMs floor(threads of an SM / 256), ceil(n / 256)); `threads` says the first of the two where it
 * is less. ldm: depends on seed, number of the call and place alone, the same on every machine. */
typedef enum ldm_rng_how { LDM_RNG_TORCH_CPU, LDM_RNG_TORCH_CUDA, LDM_RNG_LDM } ldm_rng_how;
typedef struct ldm_rng_kind {
    ldm_rng_how how;
    int64_t threads; /* torch-cuda: what the device runs at a time, 0: all */
} ldm_rng_kind;
/* "torch-cpu", "torch-cuda", "torch-cuda:82944", "ldm"; sd.cpp's "cpu" and "cuda". */
ldm_status ldm_rng_find(const char *name, ldm_rng_kind *out);
const char *ldm_rng_name(ldm_rng_kind kind, char *buf, size_t cap); /* "torch-cuda:82944" */

typedef struct ldm_rng ldm_rng;
ldm_status ldm_rng_create(ldm_rng_kind kind, uint64_t seed, ldm_rng **out);
void ldm_rng_destroy(ldm_rng *r);                        /* NULL is fine */
void ldm_rng_fill(ldm_rng *r, float *dst, int64_t n);    /* one torch.randn call of n elements */
void ldm_rng_uniform(ldm_rng *r, float *dst, int64_t n); /* one torch.rand call, [0, 1) */

#endif
