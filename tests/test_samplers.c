/* test_samplers.c -- samplers as tables, run here in f64 with a formula for a network: against what the authors' code,
 * k-diffusion and diffusers did with the same formula and noise (tests/oracle/samplers.py), and against a Gaussian
 * whose score is known. A wrong time, another sampler or another list of sigmas must be seen. */
#include "sample/sample.h"
#include "test.h"
#include <jansson.h>
#include <math.h>

enum { SIZE = 6, MOST = 64 };

/* ---- a table, run ------------------------------------------------------------------------------------------------ */

typedef double (*network)(void *self, double x, double t);

typedef struct source {
    network net;
    void *self;
    double later; /* what is added to every time that the network is told */
    const double (*noise)[SIZE];
    int noises, used;
    const double *mask, *z0; /* mask blending, or NULL */
    bool always;             /* a draw in every step, also where none is needed */
} source;

typedef struct trace {
    int evals;
    double time[MOST], input[MOST][SIZE], final[SIZE];
} trace;

static double dot(const ldm_linear *row, const double *column) {
    double sum = 0;
    for (int c = 0; c < LDM_COLUMNS; c++)
        if (row->c[c] != 0) sum += row->c[c] * column[c];
    return sum;
}

static bool needs(const ldm_eval *e) {
    for (int i = 0; i < LDM_STATES; i++)
        if (e->next[i].c[LDM_NOISE] != 0) return true;
    return e->in.c[LDM_NOISE] != 0;
}

static const double *draw(source *s) {
    static const double none[SIZE];
    return s->used < s->noises ? s->noise[s->used++] : (s->used++, none);
}

static double snap(const ldm_sampler *s, double x0) {
    if (s->clip > 0) x0 = fmin(fmax(x0, -s->clip), s->clip);
    return s->quantize ? rint(2 * x0) / 2 : x0; /* the formula's codebook */
}

static void blend(const ldm_eval *e, const source *s, const double *noise, double (*v)[LDM_STATES]) {
    for (int i = 0; i < SIZE; i++) {
        double known = e->known * s->z0[i] + e->known_noise * noise[i];
        v[i][0] = s->mask[i] * known + (1 - s->mask[i]) * v[i][0];
    }
}

/* Element by element: the formulas know nothing of their neighbours. */
static void run(const ldm_sampler *s, source *from, const double *start, trace *out) {
    double v[SIZE][LDM_STATES] = {{0}};
    for (int i = 0; i < SIZE; i++)
        v[i][0] = s->start_noise * start[i] + (s->start_z != 0 ? s->start_z * from->z0[i] : 0);
    out->evals = s->evals;
    for (int k = 0; k < s->evals; k++) {
        const ldm_eval *e = &s->eval[k];
        if (from->mask && e->blends && !s->blend_after) blend(e, from, draw(from), v);
        const bool begins = k == 0 || e[-1].ends;
        const double *noise = needs(e) || (from->always && begins) ? draw(from) : NULL;
        if (k < MOST) out->time[k] = e->t + from->later;
        for (int i = 0; i < SIZE; i++) {
            double column[LDM_COLUMNS] = {0}, next[LDM_STATES];
            memcpy(column, v[i], sizeof v[i]);
            column[LDM_NOISE] = noise ? noise[i] : 0;
            double x = dot(&e->in, column);
            if (k < MOST) out->input[k][i] = x;
            column[LDM_OUT] = from->net(from->self, x, e->t + from->later);
            column[LDM_X0] = snap(s, dot(&e->x0, column));
            for (int j = 0; j < LDM_STATES; j++) next[j] = dot(&e->next[j], column);
            memcpy(v[i], next, sizeof next);
        }
    }
    for (int i = 0; i < SIZE; i++) out->final[i] = v[i][0];
}

/* ---- the witnesses ----------------------------------------------------------------------------------------------- */

/* The formula of tests/oracle/samplers.py. */
static double formula(void *self, double x, double t) {
    (void)self;
    return 0.6 * sin(1.7 * x + 0.3) + 0.35 * x * cos(t / 150) + 0.1 * sin(t / 20);
}

static void numbers(const json_t *list, double *out, int n) {
    for (int i = 0; i < n; i++) out[i] = json_number_value(json_array_get(list, (size_t)i));
}
static double number(const json_t *c, const char *key, double otherwise) {
    const json_t *v = json_object_get(c, key);
    return v ? json_number_value(v) : otherwise;
}

typedef struct witness {
    const char *name;
    ldm_schedule schedule;
    ldm_sampler_options o;
    double start[SIZE], z0[SIZE], mask[SIZE], noise[MOST][SIZE];
    bool masked, draws_always;
    int noises;
    trace want;
} witness;

/* A sampler with everything that a case says of it; `sampler` and `sigmas` may be others than the case's. */
static ldm_status read_case(const json_t *file, const json_t *c, witness *w) {
    ldm_status st = LDM_OK;
    const json_t *settings = json_object_get(c, "settings"), *beta = json_object_get(file, "beta");
    const char *sampler = json_string_value(json_object_get(c, "sampler"));
    w->name = json_string_value(json_object_get(c, "name"));
    TRY(ldm_schedule_linear(json_number_value(json_array_get(beta, 0)), json_number_value(json_array_get(beta, 1)),
                            &w->schedule));
    TRY(ldm_sampler_find(sampler, &w->o));
    if (settings) {
        ldm_setting s[24];
        int n = (int)json_array_size(settings);
        for (int i = 0; i < n; i++) {
            const json_t *pair = json_array_get(settings, (size_t)i);
            s[i] =
                (ldm_setting){json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1))};
        }
        TRY(ldm_scheduler_read(sampler, s, n, &w->o, &w->schedule));
    }
    const char *list = json_string_value(json_object_get(c, "sigmas")),
               *prediction = json_string_value(json_object_get(c, "prediction"));
    if (list) TRY(ldm_sigmas_find(list, &w->o));
    if (prediction) w->o.prediction = *prediction == 'v' ? LDM_PREDICT_V : LDM_PREDICT_EPS;
    w->o.steps = (int)number(c, "steps", 0);
    w->o.eta = number(c, "eta", w->o.eta);
    w->o.s_churn = number(c, "s_churn", 0), w->o.s_tmin = number(c, "s_tmin", 0);
    w->o.s_tmax = number(c, "s_tmax", INFINITY), w->o.s_noise = number(c, "s_noise", 1);
    w->o.img2img = json_object_get(c, "strength") != NULL, w->o.strength = number(c, "strength", 1);
    w->o.quantize = json_object_get(c, "quantize") != NULL;
    w->draws_always = json_object_get(c, "draws_always") != NULL;
    w->masked = json_object_get(c, "mask") != NULL;
    numbers(json_object_get(c, "start"), w->start, SIZE);
    numbers(json_object_get(c, "z0"), w->z0, SIZE);
    numbers(json_object_get(c, "mask"), w->mask, SIZE);
    const json_t *noise = json_object_get(c, "noise"), *times = json_object_get(c, "times");
    w->noises = (int)json_array_size(noise);
    for (int i = 0; i < w->noises; i++) numbers(json_array_get(noise, (size_t)i), w->noise[i], SIZE);
    w->want.evals = (int)json_array_size(times);
    for (int i = 0; i < w->want.evals; i++) {
        w->want.time[i] = json_number_value(json_array_get(times, (size_t)i));
        numbers(json_array_get(json_object_get(c, "inputs"), (size_t)i), w->want.input[i], SIZE);
    }
    numbers(json_object_get(c, "final"), w->want.final, SIZE);
done:
    return st;
}

/* Runs what the case says with the case's noise, or something else in its place. */
static ldm_status replay(witness *w, const ldm_sampler_options *o, double later, trace *got) {
    ldm_sampler s;
    ldm_status st = ldm_sampler_make(&w->schedule, o, &s);
    if (st) return st;
    source from = {
        formula, NULL,           later, (const double(*)[SIZE])w->noise, w->noises, 0, w->masked ? w->mask : NULL,
        w->z0,   w->draws_always};
    run(&s, &from, w->start, got);
    ldm_sampler_free(&s);
    return LDM_OK;
}

/* The largest difference of a trajectory, in units of the largest number in it: inputs of the network and the end. */
static double distance(const trace *got, const trace *want) {
    double worst = 0, largest = 0;
    if (got->evals != want->evals) return INFINITY;
    for (int i = 0; i < SIZE; i++) {
        for (int k = 0; k < got->evals; k++) {
            worst = fmax(worst, fabs(got->input[k][i] - want->input[k][i]));
            largest = fmax(largest, fabs(want->input[k][i]));
        }
        worst = fmax(worst, fabs(got->final[i] - want->final[i]));
        largest = fmax(largest, fabs(want->final[i]));
    }
    return worst / largest;
}

/* Programs whose tables are f32 lose six digits before anything is computed, and times that they interpolate in f32
 * have 1e-4 of error near 1000: a network that bends as ours makes 1e-5 of that. */
static const double allowed = 1e-5, allowed_time = 2e-3;

/* With eta 0 DDIM is Euler and so is Euler a; with eta 1 Euler a is DDPM: the same arithmetic in another space. */
static bool same_method(ldm_method a, ldm_method b) {
    const bool still = (a == LDM_DDIM || a == LDM_EULER) && (b == LDM_DDIM || b == LDM_EULER);
    return a == b || still || ((a == LDM_DDPM || a == LDM_EULER_A) && (b == LDM_DDPM || b == LDM_EULER_A));
}

static void check_case(const json_t *file, const json_t *c) {
    witness w = {0};
    trace got;
    ldm_status st = read_case(file, c, &w);
    if (!st) st = replay(&w, &w.o, 0, &got);
    CHECK(!st, "%s", ldm_message());
    if (st) return;
    CHECK(got.evals == w.want.evals, "%d evaluations, wanted %d", got.evals, w.want.evals);
    for (int k = 0; k < got.evals && k < w.want.evals; k++)
        CHECK(fabs(got.time[k] - w.want.time[k]) <= allowed_time, "evaluation %d at t = %.6f, wanted %.6f", k,
              got.time[k], w.want.time[k]);
    double d = distance(&got, &w.want);
    CHECK(d <= allowed, "off by %.3g of the largest", d);
    if (getenv("VERBOSE")) printf("%-100s %.2g\n", w.name, d);
    /* wrong ones: a time one off, another list of sigmas, another sampler */
    for (int later = -1; later <= 1 && w.o.steps > 1; later += 2) {
        trace wrong;
        CHECK_OK(replay(&w, &w.o, later, &wrong));
        CHECK(distance(&wrong, &w.want) >= 20 * allowed, "t %+d moves it by %.3g only", later,
              distance(&wrong, &w.want));
    }
    if (w.o.manner == LDM_MANNER_SIGMA && w.o.steps > 1) {
        ldm_sampler_options other = w.o;
        trace wrong;
        other.sigmas = w.o.sigmas == LDM_SIGMAS_KARRAS ? LDM_SIGMAS_DISCRETE : LDM_SIGMAS_KARRAS;
        CHECK_OK(replay(&w, &other, 0, &wrong));
        CHECK(distance(&wrong, &w.want) >= 20 * allowed, "other sigmas move it by %.3g only",
              distance(&wrong, &w.want));
    }
    for (int m = 0; m < LDM_METHODS && w.o.steps > 2; m++) {
        ldm_sampler_options other = w.o;
        trace wrong;
        other.method = (ldm_method)m;
        other.eta = m == LDM_PLMS ? 0 : m == LDM_EULER_A ? 1 : other.eta;
        if (same_method(w.o.method, (ldm_method)m) || replay(&w, &other, 0, &wrong)) continue;
        CHECK(distance(&wrong, &w.want) >= 20 * allowed, "method %d in its place moves it by %.3g only", m,
              distance(&wrong, &w.want));
    }
}

static void witnesses(void) {
    json_error_t error;
    json_t *file = json_load_file("tests/fixtures/samplers/fixture.json", 0, &error), *c;
    size_t i;
    CASE("fixture") CHECK(file, "%s", error.text);
    json_array_foreach(json_object_get(file, "cases"), i, c) CASE(json_string_value(json_object_get(c, "name")))
        check_case(file, c);
    test_close_case();
    json_decref(file);
}

/* ---- a Gaussian whose score is known ----------------------------------------------------------------------------- */

/* x0 is normal about `mean`; the network is the exact E[eps | x] at the level of its time. */
typedef struct gaussian {
    const ldm_schedule *schedule;
    double mean, deviation;
    bool stored; /* the level as f32, as the authors' buffer has it */
} gaussian;

static double level(const gaussian *g, double t) {
    double sigma = ldm_sigma_at(g->schedule, t), a = 1 / (1 + sigma * sigma);
    return g->stored ? (float)a : a;
}
static double exact_eps(void *self, double x, double t) {
    const gaussian *g = self;
    double a = level(g, t);
    return sqrt(1 - a) * (x - sqrt(a) * g->mean) / (a * g->deviation * g->deviation + 1 - a);
}

/* How far x / sqrt(a) is, at the last evaluation that begins a step, from the probability flow's exact solution through
 * the first one. Nothing that the step to sigma 0 does counts. */
static double flow_error(const ldm_schedule *schedule, const char *name, int steps) {
    gaussian g = {schedule, .3, .5, false};
    ldm_sampler_options o;
    ldm_sampler s;
    CHECK_OK(ldm_sampler_find(name, &o));
    o.steps = steps;
    g.stored = o.manner == LDM_MANNER_AUTHORS && o.method != LDM_DPMPP_2M;
    CHECK_OK(ldm_sampler_make(schedule, &o, &s));
    source from = {.net = exact_eps, .self = &g};
    const double start[SIZE] = {-1.5, -.7, -.1, .4, 1.1, 2};
    double worst = 0, first[SIZE];
    int last = s.evals - 1; /* of those that begin a step */
    while (!s.eval[last - 1].ends) last--;
    /* the authors' DPM-Solver++ has no such step: it ends at alpha_bar[0] */
    const bool to_end = o.method == LDM_DPMPP_2M && o.manner == LDM_MANNER_AUTHORS;
    trace *got = calloc(1, sizeof *got);
    /* the trace keeps MOST evaluations: the first from the whole table, the last from a table cut to end before it */
    run(&s, &from, start, got);
    memcpy(first, got->input[0], sizeof first);
    ldm_sampler cut = s;
    cut.evals = to_end ? s.evals : last;
    run(&cut, &from, start, got);
    for (int i = 0; i < SIZE; i++) {
        const double a0 = level(&g, s.eval[0].t), a1 = level(&g, to_end ? 0 : s.eval[last].t),
                     v = g.deviation * g.deviation;
        /* final is in the sampler's own space: x / sqrt(a) for those over sigma */
        double x0 = first[i] / sqrt(a0), x1 = o.manner == LDM_MANNER_SIGMA ? got->final[i] : got->final[i] / sqrt(a1);
        double want = g.mean + (x0 - g.mean) * sqrt((v + (1 - a1) / a1) / (v + (1 - a0) / a0));
        worst = fmax(worst, fabs(x1 - want));
    }
    free(got);
    ldm_sampler_free(&s);
    return worst;
}

static void orders(void) {
    static const struct {
        const char *name;
        int steps, more;
        double least, most;
    } rows[] = {{"ddim", 50, 100, .85, 1.15},         {"euler Karras", 40, 80, .85, 1.15},
                {"heun Karras", 40, 80, 1.8, 2.3},    {"dpm2 Karras", 40, 80, 1.8, 2.3},
                {"dpm++2m Karras", 40, 80, 1.8, 2.3}, {"dpm_solver", 333, 999, 1.8, 2.3},
                {"plms", 250, 500, 1.7, 3.2},         {"lms Karras", 40, 80, 1.7, 4.2}};
    ldm_schedule s;
    CHECK_OK(ldm_schedule_linear(.00085, .012, &s));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CASE(rows[i].name) {
            double a = flow_error(&s, rows[i].name, rows[i].steps), b = flow_error(&s, rows[i].name, rows[i].more);
            double order = log(a / b) / log((double)rows[i].more / rows[i].steps);
            printf("%-15s error %.2g, %.2g: order %.2f\n", rows[i].name, a, b, order);
            CHECK(order >= rows[i].least && order <= rows[i].most, "order %.3f, wanted %g to %g", order, rows[i].least,
                  rows[i].most);
        }
}

/* Mean and variance of what a table makes of normal noise with an affine network: the answer to each number drawn. */
static void moments(const ldm_sampler *s, gaussian *g, double *mean, double *variance) {
    double(*noise)[SIZE] = calloc((size_t)s->evals, sizeof *noise), start[SIZE] = {0};
    trace *got = calloc(1, sizeof *got);
    source from = {.net = exact_eps, .self = g, .noise = (const double(*)[SIZE])noise, .noises = s->evals};
    run(s, &from, start, got);
    *mean = got->final[0], *variance = 0;
    for (int k = -1; k < s->evals; k += SIZE) { /* -1 is the start; SIZE numbers at a time */
        memset(noise, 0, (size_t)s->evals * sizeof *noise);
        memset(start, 0, sizeof start);
        for (int i = 0; i < SIZE && k + i < s->evals; i++) {
            if (k + i < 0) start[i] = 1;
            else noise[k + i][i] = 1;
        }
        from.used = 0;
        run(s, &from, start, got);
        for (int i = 0; i < SIZE && k + i < s->evals; i++) *variance += pow(got->final[i] - *mean, 2);
    }
    free(noise), free(got);
}

static double relative(double a, double b) { return fabs(a - b) / fabs(b); }

static void recursions(void) {
    ldm_schedule schedule;
    ldm_sampler_options o;
    ldm_sampler s;
    double mean, variance;
    CHECK_OK(ldm_schedule_linear(.00085, .012, &schedule));
    gaussian g = {&schedule, .3, .5, false};
    const double v = g.deviation * g.deviation;
    CASE("DDPM: mean and variance by arXiv 2006.11239, eq. 7") {
        double m = 0, var = 1;
        for (int t = 999; t >= 0; t--) {
            const double a = schedule.alpha_bar[t], prev = t ? schedule.alpha_bar[t - 1] : 1, beta = schedule.beta[t];
            const double k = sqrt(a) * v / (a * v + 1 - a); /* E[x0 | x] = mean + k (x - sqrt(a) mean) */
            const double c0 = sqrt(prev) * beta / (1 - a), c1 = sqrt(1 - beta) * (1 - prev) / (1 - a);
            m = c0 * (g.mean + k * (m - sqrt(a) * g.mean)) + c1 * m;
            var = pow(c0 * k + c1, 2) * var + (t ? beta * (1 - prev) / (1 - a) : 0);
        }
        CHECK_OK(ldm_sampler_find("ddpm", &o));
        CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
        moments(&s, &g, &mean, &variance);
        CHECK(relative(mean, m) < 1e-9 && relative(variance, var) < 1e-9,
              "mean %.12g, wanted %.12g; variance %.12g, %.12g", mean, m, variance, var);
        CHECK(fabs(mean - g.mean) < .01 && fabs(variance - v) < .01, "the data's are %g and %g", g.mean, v);
        ldm_sampler_free(&s);
    }
    CASE("Euler a: mean and variance by its own two lines") {
        enum { STEPS = 200 };
        double m = 0, var = pow(schedule.alpha_bar[999], -1) - 1;
        CHECK_OK(ldm_sampler_find("euler_a", &o));
        o.steps = STEPS;
        for (int i = 0; i < STEPS; i++) {
            const double from = ldm_sigma_at(&schedule, 999 - 999.0 * i / (STEPS - 1)),
                         to = i + 1 < STEPS ? ldm_sigma_at(&schedule, 999 - 999.0 * (i + 1) / (STEPS - 1)) : 0;
            const double up = fmin(to, sqrt(to * to * (from * from - to * to) / (from * from))),
                         down = sqrt(to * to - up * up);
            /* x + (x - E[x0 | x]) / from (down - from), E[x0 | x] = mean + v / (v + from^2) (x - mean) */
            const double k = v / (v + from * from), step = (down - from) / from, a = 1 + step * (1 - k);
            m = a * m - step * (1 - k) * g.mean;
            var = a * a * var + up * up;
        }
        CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
        moments(&s, &g, &mean, &variance);
        CHECK(relative(mean, m) < 1e-9 && relative(variance, var) < 1e-9,
              "mean %.12g, wanted %.12g; variance %.12g, %.12g", mean, m, variance, var);
        CHECK(fabs(mean - g.mean) < .02 && fabs(variance - v) < .02, "the data's are %g and %g, here %g and %g", g.mean,
              v, mean, variance);
        ldm_sampler_free(&s);
    }
}

/* ---- lists, names, strengths ------------------------------------------------------------------------------------- */

static void sigma_lists(void) {
    ldm_schedule schedule;
    CHECK_OK(ldm_schedule_linear(.00085, .012, &schedule));
    static const struct {
        const char *name;
        double want[10];
    } rows[] = {
        {"karras", {14.614641, 9.102928, 5.478392, 3.168603, 1.749417, .914072, .446918, .201398, .081910, .029167}},
        {"discrete", {14.614641, 7.839883, 4.609174, 2.918307, 1.950161, 1.344928, .932358, .624977, .368658, .029167}},
        {"sgm", {14.614641, 8.302803, 5.087763, 3.321083, 2.276463, 1.612886, 1.160578, .829860, .569285, .341674}},
        {"exponential", {14.614641, 0, 0, 0, 0, 0, 0, 0, 0, .029167}}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) CASE(rows[r].name) {
            ldm_sampler_options o;
            ldm_sampler s;
            CHECK_OK(ldm_sampler_find("euler", &o));
            CHECK_OK(ldm_sigmas_find(rows[r].name, &o));
            o.steps = 10;
            CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
            CHECK(relative(s.start_noise, rows[r].want[0]) < 1e-7, "starts with %.8g", s.start_noise);
            for (int i = 0; i < s.evals; i++) {
                double sigma = sqrt(pow(s.eval[i].in.c[0], -2) - 1);
                if (rows[r].want[i] > 0)
                    CHECK(fabs(sigma - rows[r].want[i]) < 6e-7, "[%d] = %.7f, wanted %.6f", i, sigma, rows[r].want[i]);
                CHECK(fabs(ldm_sigma_at(&schedule, s.eval[i].t) - sigma) < 1e-9, "[%d] is told t = %g", i, s.eval[i].t);
                if (r == 3 && i > 0) {
                    double before = sqrt(pow(s.eval[i - 1].in.c[0], -2) - 1);
                    CHECK(fabs(log(before / sigma) - log(14.614641 / .029167) / 9) < 1e-5, "[%d]: not even in ln", i);
                }
            }
            ldm_sampler_free(&s);
        }
    CASE("times of lists") {
        static const struct {
            const char *name;
            int steps;
            double first, second, last;
        } want[] = {{"sgm", 10, 999, 899, 99},
                    {"sgm_uniform", 10, 999, 899.1, 99.9},
                    {"simple", 10, 999, 899, 99},
                    {"lcm", 4, 999, 759, 259},
                    {"discrete", 4, 999, 666, 0}};
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            ldm_sampler_options o;
            ldm_sampler s;
            CHECK_OK(ldm_sampler_find("euler", &o));
            CHECK_OK(ldm_sigmas_find(want[i].name, &o));
            o.steps = want[i].steps;
            CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
            CHECK(fabs(s.eval[0].t - want[i].first) < 1e-6 && fabs(s.eval[1].t - want[i].second) < 1e-6 &&
                      fabs(s.eval[s.evals - 1].t - want[i].last) < 1e-6,
                  "%s: %g %g ... %g", want[i].name, s.eval[0].t, s.eval[1].t, s.eval[s.evals - 1].t);
            ldm_sampler_free(&s);
        }
    }
    CASE("a list of one's own") {
        static const double list[] = {10, 5, 1, .1, 0}, rising[] = {10, 5, 5, .1}, bad[] = {10, NAN, 1};
        ldm_sampler_options o;
        ldm_sampler s;
        CHECK_OK(ldm_sampler_find("euler", &o));
        o.sigma = list;
        for (o.sigma_count = 4; o.sigma_count <= 5; o.sigma_count++) { /* the 0 at the end may be left out */
            CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
            CHECK(s.steps == 4 && s.start_noise == 10 && fabs(s.eval[3].in.c[0] - 1 / sqrt(1.01)) < 1e-12, "%d steps",
                  s.steps);
            ldm_sampler_free(&s);
        }
        o.sigma = rising, o.sigma_count = 4;
        CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG, "a list that does not fall");
        o.sigma = bad, o.sigma_count = 3;
        CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG, "NaN");
        CHECK_OK(ldm_sampler_find("ddim", &o));
        o.sigma = list, o.sigma_count = 5;
        CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG, "DDIM takes a list of sigmas");
    }
    CASE("DDIM's quadratic spacing: trunc(linspace(0, sqrt(800), S)^2) + 1") {
        ldm_sampler_options o;
        ldm_sampler s;
        static const double want[] = {801, 719, 641, 568, 499, 435, 375, 320, 269, 222,
                                      180, 142, 109, 80,  56,  36,  20,  9,   3,   1}; /* numpy */
        CHECK_OK(ldm_sampler_find("ddim", &o));
        CHECK_OK(ldm_sigmas_find("quad", &o));
        o.steps = 20;
        CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
        for (int i = 0; i < 20; i++) CHECK(s.eval[i].t == want[i], "[%d]: t = %g", i, s.eval[i].t);
        ldm_sampler_free(&s);
        o.steps = 54; /* whose last number, but for numpy's care, would be 800 */
        CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
        CHECK(s.eval[0].t == 801, "t = %g", s.eval[0].t);
        ldm_sampler_free(&s);
    }
}

static void strengths(void) {
    ldm_schedule schedule;
    CHECK_OK(ldm_schedule_linear(.00085, .012, &schedule));
    CASE("img2img: three conventions of strength") {
        static const struct {
            const char *name;
            ldm_strength how;
            double strength;
            int steps;
            double first, noisy; /* time of the first step; of the noise that z0 gets */
        } want[] = {
            {"ddim", 0, .75, 7, 601, 701}, /* the authors': noise one entry higher */
            {"ddim", 0, .5, 5, 401, 501},
            {"ddim", 0, 1, 10, 901, 901}, /* where they fail: no entry is higher */
            {"ddim", LDM_STRENGTH_DIFFUSERS, .75, 7, 601, 601},
            {"DDIMScheduler", 0, .75, 7, 600, 600},
            {"ddim", LDM_STRENGTH_SIGMA, .75, 8, 701, 701},
            {"euler", 0, .75, 8, 777, 777}, /* int(7.5) + 1 steps */
            {"euler", 0, 1, 10, 999, 999},  /* int(9.99) + 1 */
            {"euler", 0, .05, 1, 0, 0},     /* int(.5) + 1 */
            {"EulerDiscreteScheduler", 0, .75, 7, 666, 666},
        };
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            ldm_sampler_options o;
            ldm_sampler s;
            CHECK_OK(ldm_sampler_find(want[i].name, &o));
            o.steps = 10, o.img2img = true, o.strength = want[i].strength, o.convention = want[i].how;
            CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
            const double sigma = ldm_sigma_at(&schedule, want[i].noisy);
            CHECK(s.steps == want[i].steps && fabs(s.eval[0].t - want[i].first) < 1e-6, "row %zu: %d steps from t = %g",
                  i, s.steps, s.eval[0].t);
            CHECK(relative(s.start_noise / s.start_z, sigma) < 1e-6, "row %zu: noise %g to signal %g, wanted %g", i,
                  s.start_noise, s.start_z, sigma);
            ldm_sampler_free(&s);
        }
        ldm_sampler_options o;
        ldm_sampler s;
        CHECK_OK(ldm_sampler_find("ddim", &o));
        o.steps = 10, o.img2img = true, o.strength = .05;
        CHECK_OK(ldm_sampler_make(&schedule, &o, &s)); /* the authors': none, and the noise of their first time */
        CHECK(s.steps == 0 && s.evals == 0 && relative(s.start_noise / s.start_z, ldm_sigma_at(&schedule, 1)) < 1e-5, /* f32's rounding of 0.998 */
              "%d steps, noise %g to signal %g", s.steps, s.start_noise, s.start_z);
        ldm_sampler_free(&s);
        o.convention = LDM_STRENGTH_DIFFUSERS;
        CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG && strstr(ldm_message(), "0.1"), "%s", ldm_message());
        o.strength = 1.5;
        CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG, "strength 1.5");
    }
}

static void masks(void) {
    ldm_schedule schedule;
    CHECK_OK(ldm_schedule_linear(.00085, .012, &schedule));
    CASE("masks: what is blended with, and when") {
        /* time whose noise the known latent has, at the step's own evaluations; -1: none */
        static const struct {
            const char *name;
            bool after, fresh;
            double first, second, last;
        } want[] = {{"ddim", false, true, 901, 801, 1},
                    {"plms", false, true, 901, 801, 1},
                    {"ddpm", true, true, 999, 998, 0},
                    {"euler", true, false, 888, 777, -1},
                    {"heun", true, false, 888, 777, -1},
                    {"DDIMScheduler", true, false, 800, 700, -1},
                    {"PNDMScheduler", true, false, 800, 800, -1},
                    {"DPMSolverMultistepScheduler", true, false, 899, 799, -1},
                    {"LCMScheduler", true, false, 899, 799, -1}};
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            ldm_sampler_options o;
            ldm_sampler s;
            double at[3] = {want[i].first, want[i].second, want[i].last};
            int seen[3], n = 0;
            CHECK_OK(ldm_sampler_find(want[i].name, &o));
            o.steps = 10;
            CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
            CHECK(s.blend_after == want[i].after && s.blend_fresh == want[i].fresh, "%s: after %d, fresh %d",
                  want[i].name, s.blend_after, s.blend_fresh);
            for (int k = 0; k < s.evals; k++)
                if (s.eval[k].blends) seen[n < 2 ? n : 2] = k, n++;
            CHECK(n == s.steps, "%s: blends %d times in %d steps", want[i].name, n, s.steps);
            for (int k = 0; k < 3; k++) {
                double sigma = at[k] < 0 ? 0 : ldm_sigma_at(&schedule, at[k]);
                const ldm_eval *e = &s.eval[seen[k]];
                CHECK(fabs(e->known_noise / e->known - sigma) <= 1e-4 * sigma, "%s, blend %d: %g of noise to %g",
                      want[i].name, k, e->known_noise, e->known);
                CHECK(s.eval[0].in.c[0] != 1 ? e->known == 1 : fabs(hypot(e->known, e->known_noise) - 1) < 1e-7,
                      "%s, blend %d: in another space than x", want[i].name, k);
            }
            ldm_sampler_free(&s);
        }
    }
}

static void names(void) {
    CASE("samplers by the names of three programs") {
        static const struct {
            const char *name;
            ldm_method method;
            ldm_manner manner;
            ldm_sigmas sigmas;
            double eta;
        } want[] = {
            {"euler", LDM_EULER, LDM_MANNER_SIGMA, 0, 0},
            {"euler_a", LDM_EULER_A, LDM_MANNER_SIGMA, 0, 1},
            {"Euler a", LDM_EULER_A, LDM_MANNER_SIGMA, 0, 1},
            {"EULER", LDM_EULER, LDM_MANNER_SIGMA, 0, 0},
            {"dpm++2m", LDM_DPMPP_2M, LDM_MANNER_SIGMA, 0, 0},
            {"DPM++ 2M Karras", LDM_DPMPP_2M, LDM_MANNER_SIGMA, LDM_SIGMAS_KARRAS, 0},
            {"DPM2 Karras", LDM_DPM2, LDM_MANNER_SIGMA, LDM_SIGMAS_KARRAS, 0},
            {"LMS", LDM_LMS, LDM_MANNER_SIGMA, 0, 0},
            {"PLMS", LDM_PLMS, LDM_MANNER_AUTHORS, 0, 0},
            {"DDIM", LDM_DDIM, LDM_MANNER_AUTHORS, 0, 0},
            {"DDIMScheduler", LDM_DDIM, LDM_MANNER_DIFFUSERS, 0, 0},
            {"lcm", LDM_LCM, LDM_MANNER_SIGMA, LDM_SIGMAS_LCM, 0},
            {"lcm_diffusers", LDM_LCM, LDM_MANNER_DIFFUSERS, 0, 0},
            {"ddim_trailing", LDM_EULER_A, LDM_MANNER_SIGMA, LDM_SIGMAS_SIMPLE, 0},
        };
        ldm_sampler_options o;
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            CHECK_OK(ldm_sampler_find(want[i].name, &o));
            CHECK(o.method == want[i].method && o.manner == want[i].manner && o.sigmas == want[i].sigmas &&
                      o.eta == want[i].eta,
                  "%s: method %d, manner %d, sigmas %d, eta %g", want[i].name, o.method, o.manner, o.sigmas, o.eta);
        }
        static const char *const others[] = {"dpm++2mv2", "tcd", "DPM++ 2M SDE", "UniPC", "ipndm"},
                                 *const wrong[] = {"", "eulerr", "ddi", "DPM++ 2M Carras", "PNDM Scheduler"};
        for (int i = 0; i < 5; i++) {
            CHECK(ldm_sampler_find(others[i], &o) == LDM_ERR_ARG && strstr(ldm_message(), "not supported yet") &&
                      strstr(ldm_message(), "euler_a"),
                  "%s: %s", others[i], ldm_message());
            CHECK(ldm_sampler_find(wrong[i], &o) == LDM_ERR_ARG && strstr(ldm_message(), "wanted one of"), "%s: %s",
                  wrong[i], ldm_message());
        }
        CHECK(ldm_sigmas_find("gits", &o) == LDM_ERR_ARG && strstr(ldm_message(), "karras"), "%s", ldm_message());
        CHECK_OK(ldm_sampler_find("euler", &o));
        CHECK(ldm_sigmas_find("trailing", &o) == LDM_ERR_ARG, "k-diffusion's Euler has no trailing spacing");
    }
    CASE("what cannot be is refused") {
        ldm_schedule schedule;
        ldm_sampler s;
        CHECK_OK(ldm_schedule_linear(.00085, .012, &schedule));
        static const struct {
            const char *name, *list;
            int steps;
            double eta;
        } rows[] = {{"euler", "karras", 0, 0},     {"euler", "karras", 1001, 0},
                    {"ddim", "karras", 10, 0},     {"plms", NULL, 10, .5},
                    {"euler_a", NULL, 10, 2},      {"DDIMScheduler", NULL, 1001, 0},
                    {"LCMScheduler", NULL, 51, 0}, {"EulerDiscreteScheduler", "simple", 10, 0}};
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            ldm_sampler_options o;
            CHECK_OK(ldm_sampler_find(rows[i].name, &o));
            if (rows[i].list) CHECK_OK(ldm_sigmas_find(rows[i].list, &o));
            o.steps = rows[i].steps, o.eta = rows[i].eta;
            CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG, "row %zu", i);
        }
        ldm_sampler_options o = ldm_sampler_defaults(LDM_EULER, LDM_MANNER_AUTHORS);
        CHECK(ldm_sampler_make(&schedule, &o, &s) == LDM_ERR_ARG, "the authors have no Euler");
    }
    CASE("scheduler configurations: defaults class by class, and what is refused") {
        ldm_sampler_options o;
        ldm_schedule s;
        CHECK_OK(ldm_scheduler_read("DDIMScheduler", NULL, 0, &o, &s));
        CHECK(o.clip == 1 && o.alpha_to_one && o.spacing == LDM_SPACING_LEADING && fabs(s.beta[0] - 1e-4) < 1e-12 &&
                  fabs(s.beta[500] - (1e-4 + (.02 - 1e-4) * 500 / 999)) < 1e-12,
              "DDIM clips, goes to 1, and its betas are linear");
        CHECK_OK(ldm_scheduler_read("PNDMScheduler", (ldm_setting[]){{"skip_prk_steps", "true"}}, 1, &o, &s));
        CHECK(o.clip == 0 && !o.alpha_to_one, "PNDM does not");
        CHECK_OK(ldm_scheduler_read("LCMScheduler", NULL, 0, &o, &s));
        CHECK(fabs(s.alpha_bar[999] - 4.660099e-3) < 1e-8 && o.original_steps == 50,
              "LCM has Stable Diffusion's betas");
        CHECK_OK(ldm_scheduler_read("EulerDiscreteScheduler",
                                    (ldm_setting[]){{"clip_sample", "true"}, {"trained_betas", "null"}, {"_x", "1"}}, 3,
                                    &o, &s));
        CHECK(o.clip == 0 && o.spacing == LDM_SPACING_LINSPACE, "Euler has no clip_sample");
        static const struct {
            const char *name, *key, *value;
            ldm_status status;
        } bad[] = {{"PNDMScheduler", "skip_prk_steps", "no", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "thresholding", "true", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "beta_schedule", "sigmoid", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "num_train_timesteps", "500", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "prediction_type", "flow", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "beta_start", "small", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "steps_offset", "0.5", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "clip_sample", "yes", LDM_ERR_FORMAT},
                   {"DDPMScheduler", "variance_type", "learned_range", LDM_ERR_FORMAT},
                   {"DPMSolverMultistepScheduler", "algorithm_type", "sde-dpmsolver++", LDM_ERR_FORMAT},
                   {"DPMSolverMultistepScheduler", "solver_order", "3", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "rescale_betas_zero_snr", "true", LDM_ERR_FORMAT},
                   {"DDIMScheduler", "clip_sample_range", "0", LDM_ERR_FORMAT},
                   {"EulerAncestralDiscreteScheduler", "prediction_type", "sample", LDM_ERR_FORMAT},
                   {"PNDMScheduler", "prediction_type", "sample", LDM_ERR_FORMAT},
                   {"HeunDiscreteScheduler", "prediction_type", "sample", LDM_ERR_FORMAT},
                   {"KDPM2DiscreteScheduler", "prediction_type", "sample", LDM_ERR_FORMAT},
                   {"EulerDiscreteScheduler", "timestep_type", "continuous", LDM_ERR_FORMAT},
                   {"EulerDiscreteScheduler", "use_beta_sigmas", "true", LDM_ERR_FORMAT},
                   {"DPMSolverMultistepScheduler", "use_lu_lambdas", "true", LDM_ERR_FORMAT},
                   {"DPMSolverMultistepScheduler", "use_flow_sigmas", "true", LDM_ERR_FORMAT},
                   {"DPMSolverMultistepScheduler", "use_dynamic_shifting", "true", LDM_ERR_FORMAT},
                   {"DPMSolverMultistepScheduler", "variance_type", "learned", LDM_ERR_FORMAT},
                   {"LCMScheduler", "original_inference_steps", "0", LDM_ERR_FORMAT},
                   {"euler", "beta_start", "0.001", LDM_ERR_ARG},
                   {"UniPCMultistepScheduler", "beta_start", "0.001", LDM_ERR_ARG}};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            ldm_status st = ldm_scheduler_read(bad[i].name, &(ldm_setting){bad[i].key, bad[i].value}, 1, &o, &s);
            CHECK(st == bad[i].status, "%s %s %s: status %d, %s", bad[i].name, bad[i].key, bad[i].value, st,
                  ldm_message());
        }
        const ldm_setting both[] = {{"use_karras_sigmas", "true"}, {"use_exponential_sigmas", "true"}};
        CHECK(ldm_scheduler_read("HeunDiscreteScheduler", both, 2, &o, &s) == LDM_ERR_FORMAT, "two lists of sigmas");
    }
    CASE("schedules from a checkpoint's buffers") {
        ldm_schedule a, b;
        CHECK_OK(ldm_schedule_linear(.0015, .0195, &a));
        CHECK_OK(ldm_schedule_alphas(a.alpha_bar, LDM_TIMESTEPS, &b));
        CHECK(fabs(b.beta[700] - a.beta[700]) < 1e-13 && b.alpha_bar[999] == a.alpha_bar[999], "from alphas_cumprod");
        CHECK_OK(ldm_schedule_betas(a.beta, LDM_TIMESTEPS, &b));
        CHECK(!memcmp(&a, &b, sizeof a), "from betas");
        b.alpha_bar[5] = b.alpha_bar[4];
        CHECK(ldm_schedule_alphas(b.alpha_bar, LDM_TIMESTEPS, &a) == LDM_ERR_ARG, "a list that does not fall");
        CHECK(ldm_schedule_betas(a.beta, 500, &b) == LDM_ERR_ARG, "500 steps");
        CHECK_OK(ldm_schedule_named("cosine", false, 0, 0, &a));
        CHECK(fabs(a.beta[999] - .999) < 1e-12 && a.beta[0] < 5e-5, "cosine: %g ... %g", a.beta[0], a.beta[999]);
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "samplers");
    witnesses();
    orders();
    recursions();
    sigma_lists();
    strengths();
    masks();
    names();
    test_close_case();
    return test_end();
}
