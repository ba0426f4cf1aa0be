/* test_trained.c -- the loop with real weights: the small trained model in tests/data/emoji-ldm, from its own starting
 * noise and context, against the latents that the authors' DDIM and PLMS made of them, and k-diffusion's and diffusers'
 * samplers with the noise that PyTorch draws. Another sampler, prediction, number of steps or seed is seen. */
#include "io/io.h"
#include "model/system.h"
#include "sample/loop.h"
#include "test.h"
#include <jansson.h>
#include <math.h>

#define EMOJI "tests/data/emoji-ldm/"

static ldm_cl *cl[2]; /* exact rows only; any */
static ldm_system *sys;
static ldm_schedule schedule;
static float *nothing; /* context of the empty prompt [24,192] */

/* The context of "": the tokens [CLS] and [SEP], then padding. */
static ldm_status empty_context(void) {
    ldm_status st = LDM_OK;
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_binding *b = NULL;
    ldm_source w;
    float ids[24] = {101, 102};
    const ldm_device *d = ldm_cl_device(cl[0]);
    TRY(ldm_alloc((size_t)(sys->text.length * sys->text.width) * sizeof(float), (void **)&nothing));
    TRY(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor t = ldm_plan_input(p, "ids", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)sys->text.length));
    ldm_tensor y = ldm_text_emit(p, &sys->text, t, 1);
    ldm_plan_output(p, y, "y");
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    TRY(ldm_system_source(sys, p, &b, &w));
    TRY(ldm_exec_create(cl[0], p, &w, NULL, &e));
    TRY(ldm_exec_write(e, t, ids));
    TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_read(e, y, nothing));
done:
    ldm_exec_destroy(e);
    ldm_binding_destroy(b);
    ldm_plan_destroy(p);
    return st;
}

static ldm_status read_expected(const char *what, const char *kind, ldm_array *out) {
    char path[128];
    snprintf(path, sizeof path, EMOJI "expected/%s-%s.npy", what, kind);
    return ldm_npy_read_f32(path, out);
}

enum { C = 32, SIDE = 8, ONE = C * SIDE * SIDE, MOST = 8 };

enum { EVERY = 4, KEPT = ONE / EVERY }; /* of the first picture's numbers after each step */

/* Generators, one a picture; without any, asking for noise is a failure. And what each step should leave. */
typedef struct generators {
    ldm_rng *r[MOST];
    int64_t n;
    const float *steps; /* [steps][KEPT], or NULL */
    ldm_exec *exec;
    double apart;
    int seen;
} generators;

static ldm_status draw(void *user, int step, float *dst) {
    generators *g = user;
    float nchw[ONE];
    if (!g->n) return ldm_fail(LDM_ERR_ARG, "noise was asked for in step %d", step);
    for (int64_t i = 0; i < g->n; i++) {
        ldm_rng_fill(g->r[i], nchw, ONE);
        ldm_nchw_to_nhwc(nchw, 1, C, SIDE, SIDE, dst + i * ONE);
    }
    return LDM_OK;
}

static ldm_status look(void *user, int step, double seconds) {
    generators *g = user;
    float x[MOST * ONE], nchw[ONE];
    (void)seconds;
    ldm_status st = ldm_loop_latent(g->exec, x);
    ldm_nhwc_to_nchw(x, 1, C, SIDE, SIDE, nchw);
    for (int i = 0; !st && i < KEPT; i++)
        g->apart = fmax(g->apart, fabs((double)nchw[i * EVERY] - g->steps[step * KEPT + i]));
    g->seen++;
    return st;
}

/* Final latent [n,32,8,8] of the first n contexts by so, from noise [n,32,8,8], or drawn by g where that is NULL. */
static ldm_status sample(const float *noise, const float *context, int64_t n, const ldm_sampler_options *so, int which,
                         bool in_turn, generators *g, float *out) {
    ldm_status st = LDM_OK;
    ldm_sampler s = {0};
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_binding *b = NULL;
    ldm_source w;
    float *x = NULL, *both = NULL;
    const int64_t each = (int64_t)sys->text.length * sys->text.width;
    const ldm_device *d = ldm_cl_device(cl[which]);
    TRY(ldm_sampler_make(&schedule, so, &s));
    ldm_loop_options o = {.unet = sys->config.unet,
                          .tokens = sys->text.length,
                          .n = n,
                          .h = SIDE,
                          .w = SIDE,
                          .guided = true,
                          .in_turn = in_turn,
                          .sampler = &s};
    TRY(ldm_loop_plan(&o, &p));
    TRY(ldm_plan_fuse(p));
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    TRY(ldm_system_source(sys, p, &b, &w));
    TRY(ldm_exec_create(cl[which], p, &w, NULL, &e));
    TRY(ldm_alloc((size_t)(n * ONE) * sizeof *x, (void **)&x));
    TRY(ldm_alloc((size_t)(2 * n * each) * sizeof *both, (void **)&both));
    if (noise) ldm_nchw_to_nhwc(noise, n, C, SIDE, SIDE, x);
    else TRY(draw(g, -1, x));
    ldm_sampler_start(&s, NULL, x, n * ONE, x);
    for (int64_t i = 0; i < n; i++) memcpy(both + i * each, nothing, (size_t)each * sizeof(float));
    memcpy(both + n * each, context, (size_t)(n * each) * sizeof(float));
    g->exec = e;
    TRY(ldm_loop_start(&o, e, &(ldm_loop_inputs){.x = x, .context = both, .scale = 3}));
    TRY(ldm_loop_run(&o, e, &(ldm_loop_hooks){draw, g->steps ? look : NULL, g}));
    TRY(ldm_loop_latent(e, x));
    ldm_nhwc_to_nchw(x, n, C, SIDE, SIDE, out);
done:
    free(x), free(both);
    ldm_exec_destroy(e);
    ldm_binding_destroy(b);
    ldm_plan_destroy(p);
    ldm_sampler_free(&s);
    return st;
}

static double apart(const float *a, const float *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

static void expected(const char *name) {
    static float got[MOST * ONE], other[MOST * ONE];
    static const double allowed[2] = {2e-4, 2e-3}; /* direct convolution; Winograd's */
    ldm_array want = {0}, noise = {0}, context = {0};
    generators none = {.n = 0};
    ldm_sampler_options so;
    CHECK_OK(ldm_sampler_find(name, &so));
    so.prediction = sys->config.prediction, so.steps = 20;
    CHECK_OK(read_expected(name, "latent", &want));
    CHECK_OK(read_expected(name, "noise", &noise));
    CHECK_OK(read_expected(name, "context", &context));
    if (!want.data || !noise.data || !context.data) return;
    const float *from = noise.data, *said = context.data;
    const int64_t n = want.shape.dim[0];
    for (int which = 0; which < 2; which++) {
        CHECK_OK(sample(from, said, n, &so, which, false, &none, got));
        double d = apart(got, want.data, n * ONE);
        printf("%s: %s rows: largest difference %.2g\n", name, which ? "any" : "exact", d);
        CHECK(d <= allowed[which], "%s: latents differ by %.3g, allowed %.3g", name, d, allowed[which]);
    }
    CHECK_OK(sample(from, said, 2, &so, 0, true, &none, other));
    CHECK(apart(other, want.data, 2 * ONE) <= allowed[0], "one half after the other: %.3g",
          apart(other, want.data, 2 * ONE));
    /* wrong ones, one prompt */
    static const char *const wrong[] = {"ddim", "plms", "euler", "dpm++2m Karras"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        ldm_sampler_options w;
        if (!strcmp(wrong[k], name)) continue;
        CHECK_OK(ldm_sampler_find(wrong[k], &w));
        w.prediction = so.prediction, w.steps = 20;
        CHECK_OK(sample(from, said, 1, &w, 0, false, &none, other));
        double d = apart(other, want.data, ONE);
        CHECK(d >= 20 * allowed[1], "%s in its place moves it by %.3g only", wrong[k], d);
    }
    ldm_sampler_options w = so;
    w.prediction = LDM_PREDICT_EPS;
    CHECK_OK(sample(from, said, 1, &w, 0, false, &none, other));
    CHECK(apart(other, want.data, ONE) >= 20 * allowed[1], "eps in place of v");
    w = so, w.steps = 10;
    CHECK_OK(sample(from, said, 1, &w, 0, false, &none, other));
    CHECK(apart(other, want.data, ONE) >= 20 * allowed[1], "10 steps");
    ldm_array_free(&want), ldm_array_free(&noise), ldm_array_free(&context);
}

/* Other programs' samplers on the same network, in PyTorch (tests/oracle/trained.py), with noise drawn as they draw it.
 */
static void witnesses(void) {
    static const double allowed[2] = {2e-4, 2e-3};
    static float got[2 * ONE];
    json_error_t error;
    json_t *f = json_load_file("tests/fixtures/trained/fixture.json", 0, &error), *c;
    ldm_array want = {0}, context = {0}, steps = {0};
    size_t k, at = 0; /* rows of steps before this case's */
    CASE("fixture") {
        CHECK(f, "%s", error.text);
        CHECK_OK(ldm_npy_read_f32("tests/fixtures/trained/latents.npy", &want));
        CHECK_OK(ldm_npy_read_f32("tests/fixtures/trained/steps.npy", &steps));
        CHECK_OK(read_expected("ddim", "context", &context));
    }
    if (want.data && context.data && steps.data)
        json_array_foreach(json_object_get(f, "cases"), k, c) CASE(json_string_value(json_object_get(c, "sampler"))) {
            const json_t *settings = json_object_get(c, "settings"), *eta = json_object_get(c, "eta");
            const int taken = (int)json_integer_value(json_object_get(c, "steps"));
            CHECK((int64_t)at + taken <= steps.shape.dim[0], "the fixture has %lld steps",
                  (long long)steps.shape.dim[0]);
            if (test_case_failed) break;
            ldm_setting set[16];
            int n = (int)json_array_size(settings);
            for (int i = 0; i < n; i++) {
                const json_t *pair = json_array_get(settings, (size_t)i);
                set[i] = (ldm_setting){json_string_value(json_array_get(pair, 0)),
                                       json_string_value(json_array_get(pair, 1))};
            }
            ldm_sampler_options so;
            ldm_schedule other;
            CHECK_OK(ldm_sampler_find(test_case_name, &so));
            if (settings) CHECK_OK(ldm_scheduler_read(test_case_name, set, n, &so, &other));
            so.prediction = LDM_PREDICT_V, so.steps = 10;
            if (eta) so.eta = json_number_value(eta);
            for (int which = 0; which < 2; which++) {
                generators g = {.n = 2, .steps = (float *)steps.data + at * KEPT};
                for (int i = 0; i < 2; i++) CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, (uint64_t)(42 + i), &g.r[i]));
                CHECK_OK(sample(NULL, context.data, 2, &so, which, false, &g, got));
                for (int i = 0; i < 2; i++) ldm_rng_destroy(g.r[i]);
                double d = apart(got, (float *)want.data + k * 2 * ONE, 2 * ONE);
                printf("%s: %s rows: largest difference %.2g, after any step %.2g\n", test_case_name,
                       which ? "any" : "exact", d, g.apart);
                CHECK(d <= allowed[which], "latents differ by %.3g, allowed %.3g", d, allowed[which]);
                CHECK(g.seen == taken && g.apart <= allowed[which], "after %d steps of %d: %.3g, allowed %.3g", g.seen,
                      taken, g.apart, allowed[which]);
            }
            at += (size_t)taken;
            for (int j = 0; j < 2; j++) { /* the other picture's seed, and the next one's */
                generators g = {.n = 2};
                for (int i = 0; i < 2; i++)
                    CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, (uint64_t)(j ? 43 + i : 43 - i), &g.r[i]));
                CHECK_OK(sample(NULL, context.data, 2, &so, 0, false, &g, got));
                for (int i = 0; i < 2; i++) ldm_rng_destroy(g.r[i]);
                CHECK(apart(got, (float *)want.data + k * 2 * ONE, 2 * ONE) >= 20 * allowed[1], "other seeds");
            }
        }
    test_close_case();
    ldm_array_free(&want), ldm_array_free(&context), ldm_array_free(&steps);
    json_decref(f);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "trained");
    CASE("device") {
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){.exact = true}, &cl[0]));
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){0}, &cl[1]));
        CHECK_OK(
            ldm_system_open(&(ldm_system_options){.model = EMOJI "model.ckpt", .taesd = "tests/data/taef2"}, &sys));
        CHECK_OK(ldm_schedule_linear(sys->config.linear_start, sys->config.linear_end, &schedule));
        if (cl[0] && sys) CHECK_OK(empty_context());
    }
    if (!cl[0] || !cl[1] || !nothing) return test_end();
    CASE("DDIM, 20 steps, guidance 3") expected("ddim");
    CASE("PLMS, 20 steps, guidance 3") expected("plms");
    witnesses();
    free(nothing);
    ldm_system_close(sys);
    ldm_cl_close(cl[0]), ldm_cl_close(cl[1]);
    return test_end();
}
