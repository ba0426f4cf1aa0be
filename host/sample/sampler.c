/* sampler.c -- samplers as tables: from the levels that points.c chooses to rows of linear combinations. Every method
 * is a short function over linear forms. Leaves the loop, the noise and the network to others. */
#include "sample/points.h"
#include <math.h>
#include <stdlib.h>

/* ---- linear forms ------------------------------------------------------------------------------------------------ */

static ldm_linear unit(int column) {
    ldm_linear f = {{0}};
    f.c[column] = 1;
    return f;
}
static ldm_linear mix(double a, ldm_linear x, double b, ldm_linear y) {
    for (int i = 0; i < LDM_COLUMNS; i++) x.c[i] = a * x.c[i] + b * y.c[i];
    return x;
}
static ldm_linear add(ldm_linear x, double b, ldm_linear y) { return mix(1, x, b, y); }
static ldm_linear times(double a, ldm_linear x) { return mix(a, x, 0, x); }

/* ---- one evaluation ---------------------------------------------------------------------------------------------- */

/* x0 = xx z + xo out and eps = ex z + eo out for a network's input z whose alpha_bar is a. */
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

enum { X, OLD, OLDER, OLDEST, SECOND }; /* states: x, three things remembered, a second point */
enum { EVALS_A_STEP = 2 };              /* at most, and one more */

typedef struct builder {
    const ldm_schedule *schedule;
    const ldm_sampler_options *o;
    const ldm_span *span;
    int spans, skipped; /* the skipped ones stand before span[0] */
    ldm_sampler out;
    bool begun;         /* within a step */
    ldm_linear x0, eps; /* of the last evaluation */
} builder;

/* The network at p, of x. Leaves all states as they are; x0 and eps are its predictions. */
static ldm_eval *evaluate(builder *b, ldm_point p, ldm_linear x) {
    ldm_eval *e = &b->out.eval[b->out.evals++];
    *e = (ldm_eval){.t = p.t, .step = b->out.steps, .in = p.scaled ? times(sqrt(p.a), x) : x};
    split k = split_at(b->o->prediction, p.a);
    e->x0 = add(times(k.xx, e->in), k.xo, unit(LDM_OUT));
    b->x0 = unit(LDM_X0);
    b->eps = add(times(k.ex, e->in), k.eo, unit(LDM_OUT));
    /* a picture that was clipped or snapped takes the derivative of sigma samplers with it; the others keep the noise
     */
    if (p.scaled && (b->out.clip > 0 || b->out.quantize)) b->eps = times(1 / p.sigma, add(x, -1, b->x0));
    for (int i = 0; i < LDM_STATES; i++) e->next[i] = unit(i);
    if (!b->begun && !b->out.blend_after) e->blends = true, e->known = sqrt(p.a), e->known_noise = sqrt(1 - p.a);
    b->begun = true;
    return e;
}

/* x is `x` after this evaluation, and a step is done, which led to point `to`. What is blended with afterwards has the
 * noise of the next step, and none after the last one (diffusers: StableDiffusionInpaintPipeline, four channels). */
static void finish(builder *b, ldm_eval *e, ldm_linear x, ldm_point to) {
    e->next[X] = x;
    e->ends = true;
    b->out.steps++;
    b->begun = false;
    if (!b->out.blend_after) return;
    if (b->o->manner == LDM_MANNER_DIFFUSERS)
        to = b->out.steps < b->spans ? b->span[b->out.steps].from : (ldm_point){.a = 1, .scaled = to.scaled};
    e->blends = true;
    e->known = to.scaled ? 1 : sqrt(to.a);
    e->known_noise = to.scaled ? to.sigma : sqrt(1 - to.a);
}

static void remember(ldm_eval *e, ldm_linear what) {
    e->next[OLDEST] = unit(OLDER), e->next[OLDER] = unit(OLD), e->next[OLD] = what;
}

/* ---- DDIM, DDPM, PLMS -------------------------------------------------------------------------------------------- */

/* From the predictions at a to the level prev (arXiv 2010.02502, eq. 12). */
static ldm_linear towards(double prev, double sigma, ldm_linear x0, ldm_linear eps) {
    double along = sqrt(fmax(1 - prev - sigma * sigma, 0)); /* at eta 1, rounding may dip below 0 */
    return add(mix(sqrt(prev), x0, along, eps), sigma, unit(LDM_NOISE));
}

static void ddim(builder *b) {
    for (const ldm_span *s = b->span; s < b->span + b->spans; s++) {
        double a = s->from.a, prev = s->to.a, sigma = b->o->eta * sqrt((1 - prev) / (1 - a) * fmax(1 - a / prev, 0));
        ldm_eval *e = evaluate(b, s->from, unit(X));
        finish(b, e, towards(prev, sigma, b->x0, b->eps), s->to);
    }
}

/* The posterior mean and variance of arXiv 2006.11239, eq. 7; ldm/models/diffusion/ddpm.py: p_sample: variance clipped
 * at 1e-20, no noise in the last step. Masks are blended with the level of the step itself, as its loop does. */
static void ddpm(builder *b) {
    for (const ldm_span *s = b->span; s < b->span + b->spans; s++) {
        double a = s->from.a, prev = s->to.a, beta = 1 - a / prev, variance = beta * (1 - prev) / (1 - a);
        double noise = s->from.t > 0 ? sqrt(b->o->variance_large ? beta : fmax(variance, 1e-20)) : 0;
        ldm_eval *e = evaluate(b, s->from, unit(X));
        ldm_linear mean = mix(beta * sqrt(prev) / (1 - a), b->x0, (1 - prev) * sqrt(a / prev) / (1 - a), unit(X));
        finish(b, e, add(mean, noise, unit(LDM_NOISE)), b->o->manner == LDM_MANNER_AUTHORS ? s->from : s->to);
    }
}

/* Adams-Bashforth over what is remembered, `n` evaluations of it, and the newest. */
static ldm_linear adams(int n, ldm_linear newest) {
    static const double k[4][4] = {
        {1}, {3. / 2, -1. / 2}, {23. / 12, -16. / 12, 5. / 12}, {55. / 24, -59. / 24, 37. / 24, -9. / 24}};
    if (n > 3) n = 3;
    ldm_linear sum = times(k[n][0], newest);
    for (int i = 1; i <= n; i++) sum = add(sum, k[n][i], unit(OLD + i - 1));
    return sum;
}

/* The end of a PLMS step from x at `from` with the combined noise eps. */
static ldm_linear plms_to(ldm_eval *e, ldm_point from, double prev, ldm_linear eps) {
    e->x0 = times(1 / sqrt(from.a), add(unit(X), -sqrt(1 - from.a), eps));
    return towards(prev, 0, unit(LDM_X0), eps);
}

/* ldm/models/diffusion/plms.py: the first step is Heun's, the rest Adams-Bashforth over plain eps. */
static void plms_authors(builder *b) {
    for (int i = 0; i < b->spans; i++) {
        const ldm_span *s = &b->span[i];
        ldm_eval *e = evaluate(b, s->from, unit(X));
        if (i > 0) {
            ldm_linear eps = b->eps;
            finish(b, e, plms_to(e, s->from, s->to.a, adams(i, eps)), s->to);
            remember(e, eps);
            continue;
        }
        e->next[OLD] = b->eps;
        e->next[SECOND] = towards(s->to.a, 0, b->x0, b->eps);
        e = evaluate(b, b->span[i + 1 < b->spans ? i + 1 : i].from, unit(SECOND));
        finish(b, e, plms_to(e, s->from, s->to.a, mix(.5, unit(OLD), .5, b->eps)), s->to);
    }
}

/* From x at `from` to another level, with the network's plain output, or several outputs' combination: a + b out. */
static ldm_linear with_output(const builder *b, ldm_point from, ldm_point to, ldm_linear x, ldm_linear out) {
    split k = split_at(b->o->prediction, from.a);
    ldm_linear eps = add(times(k.ex, x), k.eo, out);
    return towards(to.a, 0, times(1 / sqrt(from.a), add(x, -sqrt(1 - from.a), eps)), eps);
}

/* Four evaluations of PNDM's start (arXiv 2202.09778, eq. 13): outputs o0 to o3 from x to x' = f(x, o0/6 + o1/3 + o2/3
 * + o3/6), f linear. SECOND is x; o1 is what the second evaluation's result has beside it; from the third on SECOND is
 * all of x' but o3's share. */
static void runge_kutta(builder *b, const ldm_span *s) {
    const ldm_point from = s[0].from;
    const ldm_linear none = {{0}}, out = unit(LDM_OUT), x = unit(SECOND);
    ldm_eval *e = evaluate(b, s[0].from, unit(X));
    e->next[SECOND] = unit(X);
    remember(e, out);
    finish(b, e, with_output(b, from, s[0].to, unit(X), out), s[0].to);

    e = evaluate(b, s[1].from, unit(X));
    const ldm_linear second = with_output(b, from, s[1].to, x, out);
    finish(b, e, second, s[1].to);

    e = evaluate(b, s[2].from, unit(X));
    const double share = second.c[LDM_OUT];
    ldm_linear o1 = times(1 / share, add(unit(X), -second.c[SECOND], x));
    ldm_linear sum = add(mix(1. / 6, unit(OLD), 1. / 3, o1), 1. / 3, out);
    e->next[SECOND] = with_output(b, from, s[3].to, x, sum);
    finish(b, e, with_output(b, from, s[2].to, x, out), s[2].to);

    e = evaluate(b, s[3].from, unit(X));
    finish(b, e, add(x, 1. / 6, with_output(b, from, s[3].to, none, out)), s[3].to);
}

/* diffusers' PNDMScheduler: one evaluation for each entry of its list of times, what is remembered is the network's
 * plain output. It starts with three Runge-Kutta steps, or the second entry goes back to where the first one started.
 */
static void plms_diffusers(builder *b) {
    const bool kutta = b->o->runge_kutta;
    int known = kutta ? OLDEST : 0, begin = kutta ? LDM_KUTTA_TIMES : 0; /* outputs remembered */
    for (int i = 0; i < begin; i += 4) runge_kutta(b, b->span + i);
    for (int i = begin; i < b->spans; i++) {
        ldm_point from = b->span[i].from, to = b->span[i].to;
        ldm_linear x = unit(X), out = unit(LDM_OUT);
        ldm_eval *e = evaluate(b, from, x);
        if (i == 0) e->next[SECOND] = x;
        if (i == 1 && !kutta) {
            int above = (int)fmin(from.t + LDM_TIMESTEPS / b->o->steps, LDM_TIMESTEPS - 1);
            to = from, from = ldm_point_alpha(above, b->schedule->alpha_bar[above]);
            x = unit(SECOND), out = mix(.5, unit(OLD), .5, out);
        } else {
            out = adams(known++, out);
            remember(e, unit(LDM_OUT));
        }
        split k = split_at(b->o->prediction, from.a);
        ldm_linear eps = add(times(k.ex, x), k.eo, out);
        e->x0 = times(1 / sqrt(from.a), add(x, -sqrt(1 - from.a), eps));
        finish(b, e, towards(to.a, 0, unit(LDM_X0), eps), to);
    }
}

/* ---- samplers over sigma ----------------------------------------------------------------------------------------- */

/* Where a step begins: x, and with churn more noise and a higher level (Karras et al., algorithm 2). */
static ldm_point churn(builder *b, ldm_point from, ldm_linear *x) {
    const ldm_sampler_options *o = b->o;
    *x = unit(X);
    if (!(o->s_churn > 0) || o->manner != LDM_MANNER_SIGMA || from.sigma < o->s_tmin || from.sigma > o->s_tmax)
        return from;
    ldm_point up = ldm_point_sigma(b->schedule, from.sigma * (1 + fmin(o->s_churn / b->spans, sqrt(2) - 1)));
    *x = add(*x, o->s_noise * sqrt(up.sigma * up.sigma - from.sigma * from.sigma), unit(LDM_NOISE));
    return up;
}

static void euler(builder *b) {
    for (const ldm_span *s = b->span; s < b->span + b->spans; s++) {
        ldm_linear x;
        ldm_point from = churn(b, s->from, &x);
        ldm_eval *e = evaluate(b, from, x);
        finish(b, e, add(x, s->to.sigma - from.sigma, b->eps), s->to);
    }
}

static void euler_a(builder *b) {
    for (const ldm_span *s = b->span; s < b->span + b->spans; s++) {
        double from = s->from.sigma, to = s->to.sigma;
        double up = fmin(to, b->o->eta * sqrt(fmax(to * to * (from * from - to * to) / (from * from), 0)));
        double down = sqrt(fmax(to * to - up * up, 0));
        ldm_eval *e = evaluate(b, s->from, unit(X));
        finish(b, e, add(add(unit(X), down - from, b->eps), b->o->s_noise * up, unit(LDM_NOISE)), s->to);
    }
}

/* Two evaluations a step, the second at its end, of which the mean derivative is taken, or in the middle of ln sigma,
 * of which the second alone is; Euler's step where the level after is 0. */
static void two_points(builder *b, bool midpoint) {
    for (const ldm_span *s = b->span; s < b->span + b->spans; s++) {
        ldm_linear x;
        ldm_point from = churn(b, s->from, &x), second = s->to;
        double whole = s->to.sigma - from.sigma;
        ldm_eval *e = evaluate(b, from, x);
        if (s->to.sigma == 0) {
            finish(b, e, add(x, whole, b->eps), s->to);
            continue;
        }
        e->next[X] = x, e->next[OLD] = b->eps;
        if (midpoint) second = ldm_point_sigma(b->schedule, sqrt(from.sigma * s->to.sigma));
        e = evaluate(b, second, add(unit(X), second.sigma - from.sigma, unit(OLD)));
        ldm_linear slope = midpoint ? b->eps : mix(.5, unit(OLD), .5, b->eps);
        finish(b, e, add(unit(X), whole, slope), s->to);
    }
}
static void heun(builder *b) { two_points(b, false); }
static void dpm2(builder *b) { two_points(b, true); }

/* The integral from `lo` to `hi` of the Lagrange polynomial that is 1 at sigma of span i - j and 0 at those of its
 * `order` - 1 neighbours: four Gauss points are exact to degree 7. */
static double lms_weight(const builder *b, int i, int j, int order, double lo, double hi) {
    static const double at[4] = {-0.86113631159405257522, -0.33998104358485626480, 0.33998104358485626480,
                                 0.86113631159405257522};
    static const double weight[4] = {0.34785484513745385737, 0.65214515486254614263, 0.65214515486254614263,
                                     0.34785484513745385737};
    double sum = 0;
    for (int g = 0; g < 4; g++) {
        double x = (lo + hi) / 2 + (hi - lo) / 2 * at[g], product = 1;
        for (int k = 0; k < order; k++)
            if (k != j)
                product *= (x - b->span[i - k].from.sigma) / (b->span[i - j].from.sigma - b->span[i - k].from.sigma);
        sum += weight[g] * product;
    }
    return (hi - lo) / 2 * sum;
}

/* The order grows with the derivatives there are. diffusers' goes by the place in the whole list instead: begun in the middle
 * (img2img), weights of the full order meet a history that is still short, and what it lacks is left out. */
static void lms(builder *b) {
    enum { ORDER = 4 };
    for (int i = 0; i < b->spans; i++) {
        const ldm_span *s = &b->span[i];
        const int place = b->o->manner == LDM_MANNER_DIFFUSERS ? b->skipped + i : i, order = place + 1 < ORDER ? place + 1 : ORDER;
        ldm_eval *e = evaluate(b, s->from, unit(X));
        ldm_linear x = unit(X), d = b->eps;
        for (int j = 0; j < order && j <= i; j++)
            x = add(x, lms_weight(b, i, j, order, s->from.sigma, s->to.sigma), j ? unit(OLD + j - 1) : d);
        finish(b, e, x, s->to);
        remember(e, d);
    }
}

/* ---- DPM-Solver++ 2M --------------------------------------------------------------------------------------------- */

static double lambda(ldm_point p) { return -log(p.sigma); }

/* x' = (sigma'/sigma) x - alpha' (e^-h - 1) D, in x or in x / alpha (then alpha' is 1 and the ratio that of the
 * sigmas); D the newest picture, or with the one before it the line through both (arXiv 2211.01095, eq. 8 and algorithm
 * 2). */
static void dpmpp_2m(builder *b) {
    const ldm_sampler_options *o = b->o;
    const int n = b->spans;
    for (int i = 0; i < n; i++) {
        const ldm_point from = b->span[i].from, to = b->span[i].to;
        bool first_order = i == 0;
        if (o->manner == LDM_MANNER_AUTHORS) first_order |= i == n - 1 && n < 15;
        if (o->manner == LDM_MANNER_SIGMA) first_order |= to.sigma == 0;
        if (o->manner == LDM_MANNER_DIFFUSERS)
            first_order |=
                o->solver_order < 2 ||
                (i == n - 1 && (o->euler_at_final || !o->final_sigma_min || (o->lower_order_final && n < 15)));
        ldm_eval *e = evaluate(b, from, unit(X));
        ldm_linear newest = b->x0, d = newest;
        double decay = to.sigma / from.sigma; /* e^-h */
        double ratio = from.scaled ? decay : sqrt((1 - to.a) / (1 - from.a)), alpha = from.scaled ? 1 : sqrt(to.a);
        double weight = alpha * (1 - decay);
        if (!first_order) {
            double h = lambda(to) - lambda(from), last = lambda(from) - lambda(b->span[i - 1].from);
            /* 1 / 2r for the midpoint form; the other form weighs the difference by (e^-h - 1) / h + 1 */
            double k = o->solver_heun ? (1 + (decay - 1) / h) / (1 - decay) * h / last : h / last / 2;
            d = add(times(1 + k, newest), -k, unit(OLD));
        }
        finish(b, e, add(times(ratio, unit(X)), weight, d), to);
        e->next[OLD] = newest;
    }
}

/* ---- latent consistency models ----------------------------------------------------------------------------------- */

/* To the predicted picture and back up with new noise. diffusers' LCMScheduler mixes in x near time 0. */
static void lcm(builder *b) {
    for (int i = 0; i < b->spans; i++) {
        const ldm_point from = b->span[i].from, to = b->span[i].to;
        ldm_eval *e = evaluate(b, from, unit(X));
        ldm_linear denoised = b->x0;
        if (!from.scaled) {
            double data = .5, t = from.t * b->o->timestep_scaling, r = t * t + data * data;
            denoised = mix(t / sqrt(r), b->x0, data * data / r, unit(X));
        }
        bool last = i == b->spans - 1;
        ldm_linear x = to.scaled ? add(denoised, to.sigma, unit(LDM_NOISE))
                       : last    ? denoised
                                 : add(times(sqrt(to.a), denoised), sqrt(1 - to.a), unit(LDM_NOISE));
        finish(b, e, x, to);
    }
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void plms(builder *b) { b->o->manner == LDM_MANNER_DIFFUSERS ? plms_diffusers(b) : plms_authors(b); }

enum { AUTHORS = 1 << LDM_MANNER_AUTHORS, SIGMA = 1 << LDM_MANNER_SIGMA, DIFFUSERS = 1 << LDM_MANNER_DIFFUSERS };
static const struct {
    const char *name;
    void (*build)(builder *b);
    int manners;
} methods[LDM_METHODS] = {
    [LDM_DDIM] = {"DDIM", ddim, AUTHORS | DIFFUSERS},
    [LDM_DDPM] = {"DDPM", ddpm, AUTHORS | DIFFUSERS},
    [LDM_PLMS] = {"PLMS", plms, AUTHORS | DIFFUSERS},
    [LDM_DPMPP_2M] = {"DPM++ 2M", dpmpp_2m, AUTHORS | SIGMA | DIFFUSERS},
    [LDM_EULER] = {"Euler", euler, SIGMA | DIFFUSERS},
    [LDM_EULER_A] = {"Euler a", euler_a, SIGMA | DIFFUSERS},
    [LDM_HEUN] = {"Heun", heun, SIGMA | DIFFUSERS},
    [LDM_DPM2] = {"DPM2", dpm2, SIGMA | DIFFUSERS},
    [LDM_LMS] = {"LMS", lms, SIGMA | DIFFUSERS},
    [LDM_LCM] = {"LCM", lcm, SIGMA | DIFFUSERS},
};

ldm_sampler_options ldm_sampler_defaults(ldm_method m, ldm_manner manner) {
    return (ldm_sampler_options){
        .method = m,
        .manner = manner,
        .steps = 20,
        .eta = m == LDM_EULER_A ? 1 : 0,
        .s_noise = 1,
        .s_tmax = INFINITY,
        .strength = .75,
        .sigmas = m == LDM_LCM && manner == LDM_MANNER_SIGMA ? LDM_SIGMAS_LCM : LDM_SIGMAS_DISCRETE,
        .spacing = m == LDM_DDIM || m == LDM_DDPM || m == LDM_PLMS || m == LDM_LCM ? LDM_SPACING_LEADING
                                                                                   : LDM_SPACING_LINSPACE,
        .alpha_to_one = m == LDM_DDIM || m == LDM_LCM,
        .lower_order_final = true,
        .solver_order = 2,
        .lambda_min_clipped = -INFINITY,
        .original_steps = 50,
        .timestep_scaling = 10,
    };
}

void ldm_sampler_free(ldm_sampler *s) {
    free(s->eval);
    *s = (ldm_sampler){0};
}

ldm_status ldm_sampler_make(const ldm_schedule *s, const ldm_sampler_options *o, ldm_sampler *out) {
    static const char *const manner[] = {"the authors' code", "k-diffusion", "diffusers"};
    ldm_status st = LDM_OK;
    ldm_points points = {0};
    builder b = {.schedule = s, .o = o};
    if (!(methods[o->method].manners >> o->manner & 1))
        return ldm_fail(LDM_ERR_ARG, "sampler %s: %s has no such sampler", methods[o->method].name, manner[o->manner]);
    if (!(o->eta >= 0 && o->eta <= 1)) return ldm_fail(LDM_ERR_ARG, "eta: %g, wanted 0 to 1", o->eta);
    if (o->eta > 0 && o->method == LDM_PLMS)
        return ldm_fail(LDM_ERR_ARG, "eta: %g, but PLMS is deterministic; wanted 0", o->eta);
    if (!(o->clip >= 0)) return ldm_fail(LDM_ERR_ARG, "clip: %g, wanted 0 or more", o->clip);
    TRY(ldm_points_make(s, o, &points));
    TRY(ldm_alloc((size_t)(EVALS_A_STEP * points.count + 1) * sizeof(ldm_eval), (void **)&b.out.eval));
    b.span = points.span + points.skipped, b.spans = points.count, b.skipped = points.skipped;
    b.out.start_z = points.start_z, b.out.start_noise = points.start_noise;
    b.out.clip = o->clip, b.out.quantize = o->quantize, b.out.name = methods[o->method].name;
    b.out.blend_after = o->manner != LDM_MANNER_AUTHORS || o->method == LDM_DDPM;
    b.out.blend_fresh = o->manner == LDM_MANNER_AUTHORS;
    methods[o->method].build(&b);
    for (int k = 0; k < b.out.evals && !(o->clip > 0) && !o->quantize; k++)
        for (int i = 0; i < LDM_STATES; i++) {
            ldm_linear *row = &b.out.eval[k].next[i];
            double share = row->c[LDM_X0];
            row->c[LDM_X0] = 0;
            if (share != 0) *row = add(*row, share, b.out.eval[k].x0);
        }
    *out = b.out, b.out.eval = NULL;
done:
    free(points.span), free(b.out.eval);
    return st;
}
