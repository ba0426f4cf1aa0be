/* test_samplers.c -- samplers as tables, run here in f64 with a formula for a network: against what the authors' code,
 * k-diffusion and diffusers did with the same formula and noise (tests/oracle/samplers.py), and against a Gaussian whose
 * score is known. A wrong time, another sampler or another list of sigmas must be seen. */
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
            s[i] = (ldm_setting){json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1))};
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
    source from = {formula, NULL, later, (const double (*)[SIZE])w->noise, w->noises, 0, w->masked ? w->mask : NULL, w->z0, w->draws_always};
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

/* Programs whose tables are f32 lose six digits before anything is computed, and times that they interpolate in f32 have
 * 1e-4 of error near 1000: a network that bends as ours makes 1e-5 of that. */
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
        CHECK(fabs(got.time[k] - w.want.time[k]) <= allowed_time, "evaluation %d at t = %.6f, wanted %.6f", k, got.time[k],
              w.want.time[k]);
    double d = distance(&got, &w.want);
    CHECK(d <= allowed, "off by %.3g of the largest", d);
    if (getenv("VERBOSE")) printf("%-100s %.2g\n", w.name, d);
    /* wrong ones: a time one off, another list of sigmas, another sampler */
    for (int later = -1; later <= 1 && w.o.steps > 1; later += 2) {
        trace wrong;
        CHECK_OK(replay(&w, &w.o, later, &wrong));
        CHECK(distance(&wrong, &w.want) >= 20 * allowed, "t %+d moves it by %.3g only", later, distance(&wrong, &w.want));
    }
    if (w.o.manner == LDM_MANNER_SIGMA && w.o.steps > 1) {
        ldm_sampler_options other = w.o;
        trace wrong;
        other.sigmas = w.o.sigmas == LDM_SIGMAS_KARRAS ? LDM_SIGMAS_DISCRETE : LDM_SIGMAS_KARRAS;
        CHECK_OK(replay(&w, &other, 0, &wrong));
        CHECK(distance(&wrong, &w.want) >= 20 * allowed, "other sigmas move it by %.3g only", distance(&wrong, &w.want));
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

int main(int argc, char **argv) {
    test_begin(argc, argv, "samplers");
    witnesses();
    return test_end();
}
