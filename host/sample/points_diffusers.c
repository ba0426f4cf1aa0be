/* points_diffusers.c -- the times and levels that diffusers' scheduler classes choose (0.42: set_timesteps of each). */
#include "sample/points.h"
#include <math.h>

enum { N = LDM_TIMESTEPS };

/* `leading` takes every (N / n)th time from 0, `trailing` counts down from N - 1, `linspace` has both ends. Returns how
 * many there are: trailing may have one more than asked. */
static int spaced(const ldm_sampler_options *o, double *t) {
    const int n = o->steps;
    const double ratio = (double)N / n;
    int count = n;
    switch (o->spacing) {
    case LDM_SPACING_LEADING:
        for (int i = 0; i < n; i++) t[i] = (n - 1 - i) * (N / n) + o->steps_offset;
        break;
    case LDM_SPACING_TRAILING: /* numpy.arange(N, 0, -ratio), rounded half to even */
        count = (int)ceil(N / ratio);
        for (int i = 0; i < count; i++) t[i] = rint(N + i * ((N - ratio) - N)) - 1;
        break;
    case LDM_SPACING_LINSPACE:
        for (int i = 0; i < n; i++) t[i] = n > 1 ? (n - 1 - i) * ((N - 1.0) / (n - 1)) : 0;
        break;
    }
    return count;
}

/* DPMSolverMultistepScheduler: n of n + 1 times, the last one dropped; the noisy end cut where lambda is too low. */
static int spaced_multistep(const ldm_schedule *s, const ldm_sampler_options *o, double *t) {
    const int n = o->steps;
    int last = N;
    while (last > 1 && -log(ldm_sigma_at(s, last - 1)) < o->lambda_min_clipped) last--;
    if (o->spacing == LDM_SPACING_TRAILING) {
        const double ratio = (double)N / n;
        const int count = (int)ceil(last / ratio);
        for (int i = 0; i < count; i++) t[i] = rint(last + i * ((last - ratio) - last)) - 1;
        return count;
    }
    for (int i = 0; i < n; i++)
        t[i] = o->spacing == LDM_SPACING_LEADING ? (n - i) * (last / (n + 1)) + o->steps_offset
                                                 : rint((n - i) * ((last - 1.0) / n));
    return n;
}

/* sigma at a time, linear in t (numpy.interp), ends held. */
static double sigma_linear(const ldm_schedule *s, double t) {
    if (t <= 0) return ldm_sigma_at(s, 0);
    if (t >= N - 1) return ldm_sigma_at(s, N - 1);
    int low = (int)t;
    return ldm_sigma_at(s, low) + (t - low) * (ldm_sigma_at(s, low + 1) - ldm_sigma_at(s, low));
}

static double alpha_at(const ldm_schedule *s, double t, bool to_one) {
    return t >= 0 ? s->alpha_bar[(int)t] : to_one ? 1 : s->alpha_bar[0];
}

/* Euler, Euler a, Heun, DPM2, LMS, and DPM++ 2M, whose x is not scaled and whose first sigma is not the start. */
static void by_sigma(const ldm_schedule *s, const ldm_sampler_options *o, int n, double *t, ldm_points *p) {
    const bool multistep = o->method == LDM_DPMPP_2M;
    double sigma[N + 2];
    for (int i = 0; i < n; i++) sigma[i] = sigma_linear(s, t[i]);
    if (o->log_linear)
        for (int i = 0; i < n; i++)
            sigma[i] = exp(log(ldm_sigma_at(s, N - 1)) +
                           (log(ldm_sigma_at(s, 0)) - log(ldm_sigma_at(s, N - 1))) * i / o->steps);
    if (o->sigmas == LDM_SIGMAS_KARRAS || o->sigmas == LDM_SIGMAS_EXPONENTIAL) {
        double high = multistep ? ldm_sigma_at(s, N - 1) : sigma[0],
               low = multistep ? ldm_sigma_at(s, 0) : sigma[n - 1];
        n = o->steps;
        ldm_sigma_ramp(o->sigmas, o->sigma_min > 0 ? o->sigma_min : low, o->sigma_max > 0 ? o->sigma_max : high, n,
                       sigma);
        for (int i = 0; i < n; i++) {
            t[i] = ldm_time_of(s, sigma[i]);
            /* whole numbers, rounded; truncated of exponential lists, whose first entry comes out just below its time
             */
            if (o->sigmas == LDM_SIGMAS_KARRAS && (multistep || o->method == LDM_DPM2)) t[i] = rint(t[i]);
            else if (multistep) t[i] = fmax(floor(t[i] - (i == 0 ? 1e-6 : 0)), 0);
        }
    }
    /* the list that is linear in ln sigma has both ends, and so its steps never reach what is put behind it */
    sigma[n] = o->final_sigma_min || o->log_linear ? ldm_sigma_at(s, 0) : 0;
    for (int i = 0; i < n; i++) {
        ldm_span *span = &p->span[i];
        *span = (ldm_span){ldm_point_sigma(s, sigma[i]), ldm_point_sigma(s, sigma[i + 1])};
        span->from.t = t[i], span->to.t = i + 1 < n ? t[i + 1] : 0;
        span->from.scaled = span->to.scaled = !multistep;
    }
    p->count = n;
    if (!multistep) p->start_noise = o->spacing == LDM_SPACING_LEADING ? sqrt(sigma[0] * sigma[0] + 1) : sigma[0];
}

/* LCMScheduler: times of the schedule that the model was distilled on, none repeated; the last step ends at x0. */
static ldm_status lcm(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *p) {
    const int n = o->steps, of = o->original_steps;
    if (of < 1 || of > N || n > of)
        return ldm_fail(LDM_ERR_ARG, "steps: %d, but this model was distilled on %d", n, of);
    for (int i = 0; i < n; i++) {
        double t = (of - (int)floor((double)of / n * i)) * (N / of) - 1;
        p->span[i].from = ldm_point_alpha(t, s->alpha_bar[(int)t]);
        if (i > 0) p->span[i - 1].to = p->span[i].from;
    }
    p->span[n - 1].to = ldm_point_alpha(0, 1);
    p->count = n;
    return LDM_OK;
}

ldm_status ldm_points_diffusers(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *p) {
    double t[N + LDM_KUTTA_TIMES];
    if (o->steps < 1 || o->steps > N) return ldm_fail(LDM_ERR_ARG, "steps: %d, wanted 1 to %d", o->steps, N);
    ldm_status st = ldm_alloc((size_t)(o->steps + LDM_KUTTA_TIMES) * sizeof(ldm_span), (void **)&p->span);
    if (st) return st;
    if (o->method == LDM_LCM) return lcm(s, o, p);
    int n = o->method == LDM_DPMPP_2M ? spaced_multistep(s, o, t) : spaced(o, t);
    for (int i = 0; i < n; i++)
        if (!(t[i] >= 0 && t[i] <= N - 1))
            return ldm_fail(LDM_ERR_ARG, "steps: %d with steps_offset %d would need the time %g, and there are 0 to %d",
                            o->steps, o->steps_offset, t[i], N - 1);
    if (o->method != LDM_DDIM && o->method != LDM_DDPM && o->method != LDM_PLMS) {
        by_sigma(s, o, n, t, p);
        return LDM_OK;
    }
    for (int i = 0; i < n; i++) t[i] = rint(t[i]);
    const int half = N / o->steps / 2, kutta = o->runge_kutta ? LDM_KUTTA_TIMES : 0;
    if (kutta) {
        if (n < 4)
            return ldm_fail(LDM_ERR_ARG,
                            "steps: %d, wanted 4 or more of PNDM, which starts with three Runge-Kutta steps", n);
        for (int i = n - 1; i >= 3; i--) t[i + 9] = t[i]; /* the fourth time and what follows come behind them */
        for (int c = 2; c >= 0; c--) {
            const double first = t[c], last = c == 2 ? t[12] : t[4 * (c + 1)];
            t[4 * c] = first, t[4 * c + 1] = t[4 * c + 2] = last + half, t[4 * c + 3] = last;
        }
        n += 9;
    } else if (o->method == LDM_PLMS && n > 1) { /* the second time twice */
        for (int i = n; i > 1; i--) t[i] = t[i - 1];
        n++;
    }
    for (int i = 0; i < n; i++) {
        double to = o->method == LDM_DDPM ? (i + 1 < n ? t[i + 1] : -1) : t[i] - N / o->steps;
        if (i < kutta) to = t[i] - (i % 2 ? 0 : half);
        p->span[i] = (ldm_span){ldm_point_alpha(t[i], alpha_at(s, t[i], false)),
                                ldm_point_alpha(to, alpha_at(s, to, o->alpha_to_one || o->method == LDM_DDPM))};
    }
    p->count = n;
    return LDM_OK;
}
