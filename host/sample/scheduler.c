/* scheduler.c -- diffusers' scheduler configurations: their keys, with the defaults of each class, as a sampler's
 * options and a noise schedule (0.42). What a class has and we have not is refused by key and value. */
#include "sample/sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *given(const ldm_setting *s, int n, const char *key) {
    for (int i = 0; i < n; i++)
        if (!strcmp(s[i].key, key)) return strcmp(s[i].value, "null") ? s[i].value : NULL;
    return NULL;
}

static ldm_status number(const ldm_setting *s, int n, const char *key, double *out) {
    const char *v = given(s, n, key);
    char *end;
    if (!v) return LDM_OK;
    double x = strtod(v, &end);
    if (end == v || *end || isnan(x))
        return ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: %s is '%s', wanted a number", key, v);
    *out = x;
    return LDM_OK;
}

static ldm_status whole(const ldm_setting *s, int n, const char *key, int *out) {
    double x = *out;
    ldm_status st = number(s, n, key, &x);
    if (!st && (x != floor(x) || fabs(x) > 1e6))
        st = ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: %s is %g, wanted a whole number", key, x);
    if (!st) *out = (int)x;
    return st;
}

static ldm_status truth(const ldm_setting *s, int n, const char *key, bool *out) {
    const char *v = given(s, n, key);
    if (v && strcmp(v, "true") && strcmp(v, "false"))
        return ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: %s is '%s', wanted true or false", key, v);
    if (v) *out = v[0] == 't';
    return LDM_OK;
}

/* One of `words`, by its place; a word that is none of them is refused. */
static ldm_status word(const ldm_setting *s, int n, const char *key, const char *const *words, int *out) {
    const char *v = given(s, n, key);
    for (int i = 0; v && words[i]; i++)
        if (!strcmp(v, words[i])) {
            *out = i;
            return LDM_OK;
        }
    return v ? ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: %s '%s' is not supported", key, v) : LDM_OK;
}

/* Keys that change the arithmetic in ways that are not here, where their value is not the one that does nothing. */
static ldm_status refuse(const ldm_setting *s, int n) {
    static const struct {
        const char *key, *harmless;
    } keys[] = {{"trained_betas", NULL},          {"thresholding", "false"},    {"use_beta_sigmas", "false"},
                {"use_lu_lambdas", "false"},      {"use_flow_sigmas", "false"}, {"timestep_type", "discrete"},
                {"algorithm_type", "dpmsolver++"}, {"use_dynamic_shifting", "false"}};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *v = given(s, n, keys[k].key);
        if (v && (!keys[k].harmless || strcmp(v, keys[k].harmless)))
            return ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: %s is %s, which is not supported",
                            keys[k].key, v);
    }
    return LDM_OK;
}

/* Lin et al. (arXiv 2305.08891), algorithm 1: sqrt(alpha_bar) moved and stretched so that its last is 0 and its first
 * stays. Samplers over sigma have 2^-24 there in place of 0. */
static ldm_status end_without_signal(ldm_method m, ldm_prediction p, ldm_schedule *s) {
    const bool sigma = m == LDM_EULER || m == LDM_EULER_A || m == LDM_DPMPP_2M;
    const double first = sqrt(s->alpha_bar[0]), last = sqrt(s->alpha_bar[LDM_TIMESTEPS - 1]);
    if (!sigma && p == LDM_PREDICT_EPS)
        return ldm_fail(LDM_ERR_FORMAT,
                        "scheduler configuration: rescale_betas_zero_snr starts from pure noise, of "
                        "which a network that predicts eps has nothing to say; wanted v_prediction");
    for (int t = 0; t < LDM_TIMESTEPS; t++) {
        double root = (sqrt(s->alpha_bar[t]) - last) * first / (first - last);
        s->alpha_bar[t] = t < LDM_TIMESTEPS - 1 ? root * root : sigma ? 0x1p-24 : 0;
        s->beta[t] = 1 - s->alpha_bar[t] / (t ? s->alpha_bar[t - 1] : 1);
    }
    return LDM_OK;
}

ldm_status ldm_scheduler_read(const char *class_name, const ldm_setting *s, int n, ldm_sampler_options *out,
                              ldm_schedule *schedule) {
    static const char *const predictions[] = {"epsilon", "v_prediction", "sample", NULL};
    static const char *const spacings[] = {"leading", "trailing", "linspace", NULL};
    static const char *const solvers[] = {"midpoint", "heun", NULL};
    static const char *const finals[] = {"zero", "sigma_min", NULL};
    static const char *const ways[] = {"linear", "log_linear", NULL};
    static const char *const variances[] = {"fixed_small", "fixed_large", NULL};
    ldm_sampler_options o;
    ldm_status st = LDM_OK;
    TRY(ldm_sampler_find(class_name, &o));
    if (o.manner != LDM_MANNER_DIFFUSERS)
        TRY(ldm_fail(LDM_ERR_ARG, "scheduler class '%s': wanted a class of diffusers", class_name));
    TRY(refuse(s, n));
    const ldm_method m = o.method;
    const bool stable = m == LDM_HEUN || m == LDM_DPM2 || m == LDM_LCM; /* whose defaults are Stable Diffusion's */
    double start = stable ? .00085 : 1e-4, end = stable ? .012 : .02, range = 1;
    int steps = LDM_TIMESTEPS, prediction = LDM_PREDICT_EPS, spacing = o.spacing, final = 0, way = 0, solver = 0,
        var = 0;
    bool clip = m == LDM_DDIM || m == LDM_DDPM, karras = false, exponential = false, silent = false,
         skip = m != LDM_PLMS;
    TRY(number(s, n, "beta_start", &start));
    TRY(number(s, n, "beta_end", &end));
    const char *betas = given(s, n, "beta_schedule");
    TRY(ldm_schedule_named(betas ? betas : m == LDM_LCM ? "scaled_linear" : "linear", true, start, end, schedule));
    TRY(whole(s, n, "num_train_timesteps", &steps));
    if (steps != LDM_TIMESTEPS)
        TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: num_train_timesteps is %d, wanted %d", steps,
                     LDM_TIMESTEPS));
    TRY(word(s, n, "prediction_type", predictions, &prediction));
    if (prediction == LDM_PREDICT_X0 && (m == LDM_PLMS || m == LDM_EULER_A || m == LDM_HEUN || m == LDM_DPM2))
        TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: prediction_type is sample, which a %s does not take",
                     class_name));
    if (m != LDM_PLMS && m != LDM_HEUN && m != LDM_DPM2 && m != LDM_LMS)
        TRY(truth(s, n, "rescale_betas_zero_snr", &silent));
    if (silent) TRY(end_without_signal(m, (ldm_prediction)prediction, schedule));
    TRY(word(s, n, "timestep_spacing", spacings, &spacing));
    TRY(whole(s, n, "steps_offset", &o.steps_offset));
    TRY(truth(s, n, "set_alpha_to_one", &o.alpha_to_one));
    TRY(truth(s, n, "use_karras_sigmas", &karras));
    TRY(truth(s, n, "use_exponential_sigmas", &exponential));
    if (m != LDM_EULER_A && karras && exponential)
        TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: both use_karras_sigmas and use_exponential_sigmas"));
    if (m == LDM_DDIM || m == LDM_DDPM || m == LDM_LCM || m == LDM_HEUN) TRY(truth(s, n, "clip_sample", &clip));
    TRY(number(s, n, "clip_sample_range", &range));
    if (!(range > 0)) TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: clip_sample_range is %g, wanted above 0", range));
    if (m == LDM_EULER) {
        TRY(word(s, n, "interpolation_type", ways, &way));
        TRY(number(s, n, "sigma_min", &o.sigma_min));
        TRY(number(s, n, "sigma_max", &o.sigma_max));
    }
    if (m == LDM_EULER || m == LDM_DPMPP_2M) TRY(word(s, n, "final_sigmas_type", finals, &final));
    if (m == LDM_DPMPP_2M) {
        TRY(word(s, n, "solver_type", solvers, &solver));
        TRY(whole(s, n, "solver_order", &o.solver_order));
        TRY(truth(s, n, "lower_order_final", &o.lower_order_final));
        TRY(truth(s, n, "euler_at_final", &o.euler_at_final));
        TRY(number(s, n, "lambda_min_clipped", &o.lambda_min_clipped));
        if (o.solver_order < 1 || o.solver_order > 2)
            TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: solver_order is %d, wanted 1 or 2",
                         o.solver_order));
    }
    TRY(truth(s, n, "skip_prk_steps", &skip));
    if (m == LDM_DPMPP_2M && given(s, n, "variance_type"))
        TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: variance_type is %s, which is not supported",
                     given(s, n, "variance_type")));
    if (m == LDM_DDPM) TRY(word(s, n, "variance_type", variances, &var));
    if (m == LDM_LCM) {
        TRY(whole(s, n, "original_inference_steps", &o.original_steps));
        if (o.original_steps < 1 || o.original_steps > LDM_TIMESTEPS)
            TRY(ldm_fail(LDM_ERR_FORMAT, "scheduler configuration: original_inference_steps is %d, wanted 1 to %d",
                         o.original_steps, LDM_TIMESTEPS));
        TRY(number(s, n, "timestep_scaling", &o.timestep_scaling));
    }
    o.prediction = (ldm_prediction)prediction, o.spacing = (ldm_spacing)spacing;
    o.final_sigma_min = final == 1, o.log_linear = way == 1, o.solver_heun = solver == 1, o.variance_large = var == 1;
    /* a class that has no such lists is not touched by them */
    if (m != LDM_EULER_A && karras) o.sigmas = LDM_SIGMAS_KARRAS;
    if (m != LDM_EULER_A && exponential) o.sigmas = LDM_SIGMAS_EXPONENTIAL;
    o.runge_kutta = m == LDM_PLMS && !skip;
    if (clip) o.clip = range;
    *out = o;
done:
    return st;
}
