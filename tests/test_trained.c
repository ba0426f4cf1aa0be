/* test_trained.c -- the loop with real weights: the small trained model in tests/data/emoji-ldm, from its own starting
 * noise and context, against the latents that the authors' DDIM and PLMS made of them; and that samplers which should
 * agree do, one step aside of another do not. */
#include "io/io.h"
#include "model/system.h"
#include "sample/loop.h"
#include "test.h"
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

static ldm_status no_noise(void *user, int step, float *dst) {
    return (void)user, (void)step, (void)dst, ldm_fail(LDM_ERR_ARG, "no noise was asked for");
}

/* Final latent [n,32,8,8] of the first n prompts of `what`, by so. */
static ldm_status sample(const char *what, int64_t n, const ldm_sampler_options *so, int which, bool in_turn,
                         float *out) {
    enum { C = 32, SIDE = 8, ONE = C * SIDE * SIDE };
    ldm_status st = LDM_OK;
    ldm_array noise = {0}, context = {0};
    ldm_sampler s = {0};
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_binding *b = NULL;
    ldm_source w;
    float *x = NULL, *both = NULL;
    const int64_t each = (int64_t)sys->text.length * sys->text.width;
    const ldm_device *d = ldm_cl_device(cl[which]);
    TRY(read_expected(what, "noise", &noise));
    TRY(read_expected(what, "context", &context));
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
    ldm_nchw_to_nhwc(noise.data, n, C, SIDE, SIDE, x);
    ldm_sampler_start(&s, NULL, x, n * ONE, x);
    for (int64_t i = 0; i < n; i++) memcpy(both + i * each, nothing, (size_t)each * sizeof(float));
    memcpy(both + n * each, context.data, (size_t)(n * each) * sizeof(float));
    TRY(ldm_loop_start(&o, e, &(ldm_loop_inputs){.x = x, .context = both, .scale = 3}));
    TRY(ldm_loop_run(&o, e, &(ldm_loop_hooks){no_noise, NULL, NULL}));
    TRY(ldm_loop_latent(e, x));
    ldm_nhwc_to_nchw(x, n, C, SIDE, SIDE, out);
done:
    free(x), free(both);
    ldm_array_free(&noise), ldm_array_free(&context);
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
    enum { ONE = 32 * 8 * 8, MOST = 8 };
    static float got[MOST * ONE], other[MOST * ONE];
    static const double allowed[2] = {2e-4, 2e-3}; /* direct convolution; Winograd's */
    ldm_array want = {0};
    ldm_sampler_options so;
    CHECK_OK(ldm_sampler_find(name, &so));
    so.prediction = sys->config.prediction, so.steps = 20;
    CHECK_OK(read_expected(name, "latent", &want));
    if (!want.data) return;
    const int64_t n = want.shape.dim[0];
    for (int which = 0; which < 2; which++) {
        CHECK_OK(sample(name, n, &so, which, false, got));
        double d = apart(got, want.data, n * ONE);
        printf("%s: %s rows: largest difference %.2g\n", name, which ? "any" : "exact", d);
        CHECK(d <= allowed[which], "%s: latents differ by %.3g, allowed %.3g", name, d, allowed[which]);
    }
    CHECK_OK(sample(name, 2, &so, 0, true, other));
    CHECK(apart(other, want.data, 2 * ONE) <= allowed[0], "one half after the other: %.3g",
          apart(other, want.data, 2 * ONE));
    /* wrong ones, one prompt */
    static const char *const wrong[] = {"ddim", "plms", "euler", "dpm++2m Karras"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        ldm_sampler_options w;
        if (!strcmp(wrong[k], name)) continue;
        CHECK_OK(ldm_sampler_find(wrong[k], &w));
        w.prediction = so.prediction, w.steps = 20;
        CHECK_OK(sample(name, 1, &w, 0, false, other));
        double d = apart(other, want.data, ONE);
        CHECK(d >= 20 * allowed[1], "%s in its place moves it by %.3g only", wrong[k], d);
    }
    ldm_sampler_options w = so;
    w.prediction = LDM_PREDICT_EPS;
    CHECK_OK(sample(name, 1, &w, 0, false, other));
    CHECK(apart(other, want.data, ONE) >= 20 * allowed[1], "eps in place of v");
    w = so, w.steps = 10;
    CHECK_OK(sample(name, 1, &w, 0, false, other));
    CHECK(apart(other, want.data, ONE) >= 20 * allowed[1], "10 steps");
    ldm_array_free(&want);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "trained");
    CASE("device") {
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){.exact = true}, &cl[0]));
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){0}, &cl[1]));
        CHECK_OK(ldm_system_open(&(ldm_system_options){.model = EMOJI "model.ckpt", .taesd = "tests/data/taef2"}, &sys));
        CHECK_OK(ldm_schedule_linear(sys->config.linear_start, sys->config.linear_end, &schedule));
        if (cl[0] && sys) CHECK_OK(empty_context());
    }
    if (!cl[0] || !cl[1] || !nothing) return test_end();
    CASE("DDIM, 20 steps, guidance 3") expected("ddim");
    CASE("PLMS, 20 steps, guidance 3") expected("plms");
    test_close_case();
    free(nothing);
    ldm_system_close(sys);
    ldm_cl_close(cl[0]), ldm_cl_close(cl[1]);
    return test_end();
}
