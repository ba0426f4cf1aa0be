/* schedule.c -- noise schedules, sigma and time, the embeddings of a time and of a guidance scale. Leaves what samplers
 * make of a schedule to points.c and sampler.c. */
#include "sample/sample.h"
#include <math.h>
#include <string.h>

enum { N = LDM_TIMESTEPS };

ldm_status ldm_schedule_betas(const double *betas, int n, ldm_schedule *out) {
    if (n != N) return ldm_fail(LDM_ERR_ARG, "noise schedule: %d betas, wanted %d", n, N);
    double product = 1;
    for (int i = 0; i < N; i++)
        if (!(betas[i] > 0 && betas[i] < 1))
            return ldm_fail(LDM_ERR_ARG, "noise schedule: beta[%d] is %g, wanted above 0 and below 1", i, betas[i]);
    for (int i = 0; i < N; i++) {
        out->beta[i] = betas[i];
        product *= 1 - betas[i];
        out->alpha_bar[i] = product;
    }
    return LDM_OK;
}

ldm_status ldm_schedule_alphas(const double *a, int n, ldm_schedule *out) {
    if (n != N) return ldm_fail(LDM_ERR_ARG, "noise schedule: %d alphas, wanted %d", n, N);
    for (int i = 0; i < N; i++)
        if (!(a[i] > 0 && a[i] < (i ? a[i - 1] : 1)))
            return ldm_fail(LDM_ERR_ARG,
                            "noise schedule: alphas_cumprod[%d] is %g; wanted a list that falls from 1 to 0", i, a[i]);
    for (int i = 0; i < N; i++) out->alpha_bar[i] = a[i], out->beta[i] = 1 - a[i] / (i ? a[i - 1] : 1);
    return LDM_OK;
}

static ldm_status check_range(double start, double end) {
    return start > 0 && start < 1 && end > 0 && end < 1
               ? LDM_OK
               : ldm_fail(LDM_ERR_ARG, "noise schedule: betas from %g to %g, wanted both above 0 and below 1", start,
                          end);
}

/* ldm/modules/diffusionmodules/util.py: make_beta_schedule, "linear": linear in sqrt(beta), not in beta. */
ldm_status ldm_schedule_linear(double start, double end, ldm_schedule *out) {
    double a = sqrt(start), b = sqrt(end), beta[N];
    ldm_status st = check_range(start, end);
    if (st) return st;
    for (int i = 0; i < N; i++) {
        double root = a + (b - a) * i / (N - 1);
        beta[i] = root * root;
    }
    return ldm_schedule_betas(beta, N, out);
}

/* cos^2 of (x + .008) / 1.008 pi / 2: what is left of the signal at x of 0..1 (arXiv 2102.09672). */
static double cosine(double x) {
    double c = cos((x + .008) / 1.008 * M_PI / 2);
    return c * c;
}

ldm_status ldm_schedule_named(const char *name, bool diffusers, double start, double end, ldm_schedule *out) {
    double beta[N];
    const bool cosines = !strcmp(name, "cosine") || !strcmp(name, "squaredcos_cap_v2");
    if (!strcmp(name, "scaled_linear") || (!strcmp(name, "linear") && !diffusers))
        return ldm_schedule_linear(start, end, out);
    const bool root = !strcmp(name, "sqrt");
    if (!cosines && !root && strcmp(name, "linear") && strcmp(name, "sqrt_linear"))
        return ldm_fail(LDM_ERR_FORMAT,
                        "noise schedule '%s'; known are linear, scaled_linear, sqrt_linear, sqrt, cosine, "
                        "squaredcos_cap_v2",
                        name);
    ldm_status st = cosines ? LDM_OK : check_range(start, end);
    if (st) return st;
    for (int i = 0; i < N; i++) {
        double ramp = start + (end - start) * i / (N - 1);
        beta[i] = cosines ? fmin(1 - cosine((i + 1.0) / N) / cosine((double)i / N), .999) : root ? sqrt(ramp) : ramp;
    }
    return ldm_schedule_betas(beta, N, out);
}

/* ---- sigma and time ---------------------------------------------------------------------------------------------- */

static double log_sigma(const ldm_schedule *s, int t) { return .5 * log((1 - s->alpha_bar[t]) / s->alpha_bar[t]); }

double ldm_sigma_at(const ldm_schedule *s, double t) {
    int low = t < N - 2 ? (int)fmax(t, 0) : N - 2;
    double part = fmin(fmax(t - low, 0), 1);
    if (part == 0) return sqrt((1 - s->alpha_bar[low]) / s->alpha_bar[low]);
    if (part == 1) return sqrt((1 - s->alpha_bar[low + 1]) / s->alpha_bar[low + 1]);
    return exp((1 - part) * log_sigma(s, low) + part * log_sigma(s, low + 1));
}

double ldm_time_of(const ldm_schedule *s, double sigma) {
    double want = log(sigma);
    int low = 0, high = N - 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (log_sigma(s, middle) <= want) low = middle;
        else high = middle;
    }
    double part = (want - log_sigma(s, low)) / (log_sigma(s, high) - log_sigma(s, low));
    return low + fmin(fmax(part, 0), 1);
}

/* ---- embeddings -------------------------------------------------------------------------------------------------- */

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

void ldm_guidance_embedding(double scale, int d, float *out /* [d] */) {
    int half = d / 2;
    for (int i = 0; i < half; i++) {
        double angle = (scale - 1) * 1000 * exp(-log(10000.0) * i / (half - 1));
        out[i] = (float)sin(angle);
        out[half + i] = (float)cos(angle);
    }
    if (d % 2) out[d - 1] = 0;
}
