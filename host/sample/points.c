/* points.c -- see points.h: the authors' lists, k-diffusion's sigmas, and where img2img cuts them. */
#include "sample/points.h"
#include <math.h>
#include <stdlib.h>

ldm_point ldm_point_alpha(double t, double a) { return (ldm_point){.t = t, .a = a, .sigma = sqrt((1 - a) / a)}; }

ldm_point ldm_point_sigma(const ldm_schedule *s, double sigma) {
    return (ldm_point){
        .t = sigma > 0 ? ldm_time_of(s, sigma) : 0, .a = 1 / (1 + sigma * sigma), .sigma = sigma, .scaled = true};
}

static ldm_status room_for(int n, ldm_points *p) {
    return ldm_alloc((size_t)(n > 0 ? n : 1) * sizeof(ldm_span), (void **)&p->span);
}

/* ---- the authors' ------------------------------------------------------------------------------------------------ */

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

/* make_ddim_sampling_parameters: the step below the first is alpha_bar[0], not 1. The authors' samplers read alpha_bar
 * from its f32 buffer, so it is rounded here too. "quad" repeats times where it has more than there are. */
static ldm_status ddim(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *p) {
    const int S = o->steps, stride = ddim_stride(S);
    if (o->quad && (S < 1 || S > LDM_TIMESTEPS))
        return ldm_fail(LDM_ERR_ARG, "steps: %d, wanted 1 to %d", S, LDM_TIMESTEPS);
    if (!o->quad && !ddim_works(S))
        return ldm_fail(
            LDM_ERR_ARG,
            "steps: DDIM with %d steps would need a time outside 0..%d; the nearest number that works is %d", S,
            LDM_TIMESTEPS - 1, ddim_nearest(S));
    const int n = o->quad ? S : (LDM_TIMESTEPS - 1) / stride + 1;
    ldm_status st = room_for(n, p);
    if (st) return st;
    double before = (float)s->alpha_bar[0];
    for (int i = 0; i < n; i++) {
        const double top = sqrt(LDM_TIMESTEPS * .8);
        double root = S == 1 ? 0 : i == S - 1 ? top : top / (S - 1) * i; /* numpy.linspace */
        int t = o->quad ? (int)(root * root) + 1 : i * stride + 1;
        double a = (float)s->alpha_bar[t];
        p->span[n - 1 - i] = (ldm_span){ldm_point_alpha(t, a), ldm_point_alpha(0, before)};
        before = a;
    }
    p->count = n;
    return LDM_OK;
}

static ldm_status ddpm(const ldm_schedule *s, ldm_points *p) {
    ldm_status st = room_for(LDM_TIMESTEPS, p);
    if (st) return st;
    for (int t = 0; t < LDM_TIMESTEPS; t++)
        p->span[LDM_TIMESTEPS - 1 - t] =
            (ldm_span){ldm_point_alpha(t, s->alpha_bar[t]), ldm_point_alpha(t - 1, t ? s->alpha_bar[t - 1] : 1)};
    p->count = LDM_TIMESTEPS;
    return LDM_OK;
}

/* ldm/models/diffusion/dpm_solver: time from 1 to 1/1000 in equal steps; the network gets 1000 time - 1, between whole
 * ones ln sqrt(alpha_bar) is linear. */
static ldm_status dpm_solver(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *p) {
    const int n = o->steps;
    if (n < 1 || n > LDM_TIMESTEPS) return ldm_fail(LDM_ERR_ARG, "steps: %d, wanted 1 to %d", n, LDM_TIMESTEPS);
    ldm_status st = room_for(n, p);
    if (st) return st;
    ldm_point last = {0};
    for (int i = 0; i <= n; i++) {
        double t = (LDM_TIMESTEPS - 1) * (1 - (double)i / n);
        int low = t < LDM_TIMESTEPS - 2 ? (int)t : LDM_TIMESTEPS - 2;
        double part = t - low;
        ldm_point at = ldm_point_alpha(t, exp((1 - part) * log(s->alpha_bar[low]) + part * log(s->alpha_bar[low + 1])));
        if (i > 0) p->span[i - 1] = (ldm_span){last, at};
        last = at;
    }
    p->count = n;
    return LDM_OK;
}

/* ---- sigmas ------------------------------------------------------------------------------------------------------ */

void ldm_sigma_ramp(ldm_sigmas kind, double low, double high, int n, double *out) {
    enum { RHO = 7 };
    for (int i = 0; i < n; i++) {
        double at = n > 1 ? (double)i / (n - 1) : 0;
        if (kind == LDM_SIGMAS_EXPONENTIAL) out[i] = exp(log(high) + at * (log(low) - log(high)));
        else out[i] = pow(pow(high, 1. / RHO) + at * (pow(low, 1. / RHO) - pow(high, 1. / RHO)), RHO);
    }
}

/* The time whose sigma entry i of n has, for lists that are made of times. */
static double time_at(ldm_sigmas kind, int original, int i, int n) {
    const double last = LDM_TIMESTEPS - 1;
    switch (kind) {
    case LDM_SIGMAS_SGM_UNIFORM:
        return last - last * i / n;
    case LDM_SIGMAS_SGM:
        return floor(last - last * i / n);
    case LDM_SIGMAS_SIMPLE:
        return last - (int)((double)LDM_TIMESTEPS * i / n);
    case LDM_SIGMAS_LCM: /* the schedule that consistency models are distilled on: original steps of 1000 / original */
        return (original - i * original / n) * (LDM_TIMESTEPS / original) - 1;
    default:
        return n > 1 ? last - last * i / (n - 1) : last;
    }
}

static ldm_status sigmas(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *p) {
    const double *given = o->sigma;
    int n = given ? o->sigma_count : o->steps;
    if (given && n > 1 && given[n - 1] == 0) n--;
    if (n < 1 || n > LDM_TIMESTEPS)
        return ldm_fail(LDM_ERR_ARG, "%s: %d, wanted 1 to %d", given ? "sigmas" : "steps", n, LDM_TIMESTEPS);
    if (o->sigmas == LDM_SIGMAS_LCM && !given && (o->original_steps < n || o->original_steps > LDM_TIMESTEPS))
        return ldm_fail(LDM_ERR_ARG, "steps: %d, but the list \"lcm\" has %d", n, o->original_steps);
    double list[LDM_TIMESTEPS];
    const double low = ldm_sigma_at(s, 0), high = ldm_sigma_at(s, LDM_TIMESTEPS - 1);
    if (o->sigmas == LDM_SIGMAS_KARRAS || o->sigmas == LDM_SIGMAS_EXPONENTIAL)
        ldm_sigma_ramp(o->sigmas, o->sigma_min > 0 ? o->sigma_min : low, o->sigma_max > 0 ? o->sigma_max : high, n,
                       list);
    else
        for (int i = 0; i < n; i++) list[i] = ldm_sigma_at(s, time_at(o->sigmas, o->original_steps, i, n));
    for (int i = 0; given && i < n; i++) {
        list[i] = given[i];
        if (!(isfinite(given[i]) && given[i] > 0 && (i == 0 || given[i] < given[i - 1])))
            return ldm_fail(LDM_ERR_ARG, "sigmas: number %d is %g; wanted a list that falls and stays above 0", i + 1,
                            given[i]);
    }
    ldm_status st = room_for(n, p);
    if (st) return st;
    for (int i = 0; i < n; i++)
        p->span[i] = (ldm_span){ldm_point_sigma(s, list[i]), ldm_point_sigma(s, i + 1 < n ? list[i + 1] : 0)};
    p->count = n;
    p->start_noise = o->sgm_start ? sqrt(1 + list[0] * list[0]) : list[0];
    return LDM_OK;
}

/* ---- img2img ----------------------------------------------------------------------------------------------------- */

/* Leaves the steps that strength wants, and starts from z0 with noise. */
static ldm_status cut(const ldm_sampler_options *o, ldm_points *p) {
    if (!(o->strength >= 0 && o->strength <= 1))
        return ldm_fail(LDM_ERR_ARG, "strength: %g, wanted 0 to 1", o->strength);
    if (o->runge_kutta)
        return ldm_fail(LDM_ERR_UNSUPPORTED, "img2img: PNDM with Runge-Kutta steps starts from noise only");
    ldm_strength how = o->convention;
    if (how == LDM_STRENGTH_OF_MANNER)
        how = o->manner == LDM_MANNER_SIGMA                                    ? LDM_STRENGTH_SIGMA
              : o->manner == LDM_MANNER_DIFFUSERS || o->method == LDM_DPMPP_2M ? LDM_STRENGTH_DIFFUSERS
                                                                               : LDM_STRENGTH_AUTHORS;
    /* what strength is a part of: the steps asked for, of which the authors' DDIM may make more */
    int asked = o->sigma ? p->count : o->method == LDM_DDPM && o->manner == LDM_MANNER_AUTHORS ? p->count : o->steps;
    int run = how == LDM_STRENGTH_SIGMA ? (int)(fmin(o->strength, .999) * asked) + 1 : (int)(o->strength * asked);
    /* diffusers drops what it does not run from the front, and PLMS has one entry more than steps */
    int first = how == LDM_STRENGTH_DIFFUSERS ? asked - run : p->count - run;
    /* the authors' loop over none is fine, and so is its noise; diffusers has no time to take noise for */
    if (run < 1 && how != LDM_STRENGTH_AUTHORS)
        return ldm_fail(LDM_ERR_ARG, "strength: %g of %d steps leaves none to run; the least that does is %g",
                        o->strength, asked, 1.0 / asked);
    /* the authors' noise is one entry above; at strength 1 there is none, and they fail */
    ldm_point start = p->span[how == LDM_STRENGTH_AUTHORS && first > 0 ? first - 1 : first].from;
    p->start_z = start.scaled ? 1 : sqrt(start.a);
    p->start_noise = start.scaled ? start.sigma : sqrt(1 - start.a);
    p->count -= first, p->skipped = first;
    return LDM_OK;
}

ldm_status ldm_points_make(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *out) {
    ldm_points p = {.start_noise = 1};
    ldm_status st = LDM_OK;
    if (o->sigma && o->manner != LDM_MANNER_SIGMA)
        TRY(ldm_fail(LDM_ERR_ARG,
                     "a list of sigmas: only samplers over sigma take one, not the authors' or diffusers'"));
    if (o->sigmas != LDM_SIGMAS_DISCRETE &&
        (o->manner == LDM_MANNER_AUTHORS || (o->manner == LDM_MANNER_DIFFUSERS && o->sigmas > LDM_SIGMAS_EXPONENTIAL)))
        TRY(ldm_fail(LDM_ERR_ARG, "this list of sigmas is for samplers over sigma, not the authors' or diffusers'"));
    if (o->manner == LDM_MANNER_DIFFUSERS) TRY(ldm_points_diffusers(s, o, &p));
    else if (o->manner == LDM_MANNER_SIGMA) TRY(sigmas(s, o, &p));
    else if (o->method == LDM_DDPM) TRY(ddpm(s, &p));
    else if (o->method == LDM_DPMPP_2M) TRY(dpm_solver(s, o, &p));
    else TRY(ddim(s, o, &p));
    if (o->img2img) TRY(cut(o, &p));
    *out = p, p.span = NULL;
done:
    free(p.span);
    return st;
}
