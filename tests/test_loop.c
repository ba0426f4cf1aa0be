/* test_loop.c -- the denoising loop on the device, fused, against the same steps taken one network call at a time with
 * the arithmetic on the host in double; guidance as one batch of two; and that nothing allocates or compiles once the
 * loop runs. */
#include "sample/loop.h"
#include "test.h"
#include <math.h>

static ldm_cl *cl;
static uint64_t seed = 5;
enum { N = 2, H = 8, W = 8, C = 4, TOKENS = 3, STEPS = 3, COUNT = N * H * W * C };

static ldm_unet_config small(void) {
    ldm_unet_config c;
    CHECK_OK(ldm_unet_config_parse(
        "in_channels=4 out_channels=4 model_channels=32 num_res_blocks=1 channel_mult=1,2 attention_resolutions=1,2 "
        "num_heads=2 use_spatial_transformer=1 context_dim=16",
        &c));
    return c;
}

static ldm_status step_noise(void *user, int k, float *dst) {
    (void)user;
    for (int i = 0; i < COUNT; i++) dst[i] = ldm_uniform(9, (uint64_t)k, (uint64_t)i);
    return LDM_OK;
}

typedef struct watch {
    size_t bytes;
    int programs, changes;
} watch;

static ldm_status each(void *user, int k, double seconds) {
    watch *w = user;
    (void)seconds;
    if (k > 0) w->changes += ldm_cl_bytes(cl) != w->bytes || ldm_cl_build_stats(cl).programs != w->programs;
    w->bytes = ldm_cl_bytes(cl), w->programs = ldm_cl_build_stats(cl).programs;
    return LDM_OK;
}

static ldm_status noise_hook(void *user, int k, float *dst) { return (void)user, step_noise(NULL, k, dst); }

/* The loop, on the device. */
static void run_loop(const ldm_loop_options *o, const float *x0, const float *context, double scale, float *x,
                     watch *w) {
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_source s = ldm_source_synthetic(&seed);
    const ldm_device *d = ldm_cl_device(cl);
    ldm_status st = LDM_OK;
    TRY(ldm_loop_plan(o, &p));
    TRY(ldm_plan_fuse(p));
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    TRY(ldm_exec_create(cl, p, &s, NULL, &e));
    TRY(ldm_loop_start(o, e, &(ldm_loop_inputs){.x = x0, .context = context, .scale = scale}));
    TRY(ldm_loop_run(o, e, &(ldm_loop_hooks){noise_hook, each, w}));
    TRY(ldm_loop_latent(e, x));
done:
    CHECK(st == LDM_OK, "loop: %s", ldm_message());
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
}

/* e(x, t, context) by a plan of the UNet alone, batch n. */
static void call_unet(const ldm_unet_config *c, int64_t n, const float *x, double t, const float *context,
                      float *e_out) {
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_source s = ldm_source_synthetic(&seed);
    float temb[2 * N * 32];
    ldm_status st = LDM_OK;
    TRY(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor tx = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, n, (int64_t)H, (int64_t)W, (int64_t)C));
    ldm_tensor tt = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, n, (int64_t)32));
    ldm_tensor tc = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, n, (int64_t)TOKENS, (int64_t)16));
    ldm_tensor y = ldm_unet_emit(p, c, tx, tt, tc, LDM_NONE, LDM_NONE);
    ldm_plan_output(p, y, "y");
    TRY(ldm_plan_finish(p, ldm_cl_device(cl)->max_alloc, ldm_cl_device(cl)->base_align));
    TRY(ldm_exec_create(cl, p, &s, NULL, &e));
    for (int64_t i = 0; i < n; i++) ldm_timestep_embedding(t, 32, temb + 32 * i);
    TRY(ldm_exec_write(e, tx, x));
    TRY(ldm_exec_write(e, tt, temb));
    TRY(ldm_exec_write(e, tc, context));
    TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_read(e, y, e_out));
done:
    CHECK(st == LDM_OK, "unet: %s", ldm_message());
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
}

/* The last STEPS of 250 DDIM steps: from t <= 200 an untrained network moves the latent, but does not drown it. */
static void last_steps(double eta, ldm_sampler *whole, ldm_sampler *last) {
    ldm_schedule schedule;
    ldm_sampler_options so = ldm_sampler_defaults(LDM_DDIM, LDM_MANNER_AUTHORS);
    so.steps = 250, so.eta = eta;
    CHECK_OK(ldm_schedule_linear(.0015, .0195, &schedule));
    CHECK_OK(ldm_sampler_make(&schedule, &so, whole));
    *last = *whole;
    last->eval += whole->evals - STEPS, last->evals = STEPS;
    for (int k = 0; k < STEPS; k++) last->eval[k].step = k;
}

static void compare(bool guided, double eta) {
    ldm_sampler whole, last;
    int batch = guided ? 2 * N : N;
    double scale = guided ? 2.5 : 1;
    last_steps(eta, &whole, &last);
    ldm_loop_options o = {.unet = small(),
                          .tokens = TOKENS,
                          .n = N,
                          .h = H,
                          .w = W,
                          .guided = guided,
                          .sampler = &last};
    float x0[COUNT], x[COUNT], xx[2 * COUNT], e[2 * COUNT], z[COUNT], context[2 * N * TOKENS * 16];
    double ref[COUNT], worst = 0, largest = 0;
    watch w = {0, 0, 0};
    for (int i = 0; i < COUNT; i++) x0[i] = 1.7f * ldm_uniform(1, 1, (uint64_t)i);
    for (int i = 0; i < batch * TOKENS * 16; i++) context[i] = ldm_uniform(1, 2, (uint64_t)i);
    run_loop(&o, x0, context, scale, x, &w);
    CHECK(w.changes == 0, "%d steps allocated or built something", w.changes);
    for (int i = 0; i < COUNT; i++) ref[i] = x0[i];
    for (int k = 0; k < STEPS; k++) {
        for (int i = 0; i < 2 * COUNT; i++) xx[i] = (float)ref[i % COUNT];
        call_unet(&o.unet, batch, xx, last.eval[k].t, context, e);
        step_noise(NULL, k, z);
        for (int i = 0; i < COUNT; i++) {
            double eps = guided ? e[i] + scale * ((double)e[i + COUNT] - e[i]) : e[i];
            const double *row = last.eval[k].next[0].c;
            ref[i] = row[0] * ref[i] + row[LDM_OUT] * eps + row[LDM_NOISE] * z[i];
        }
    }
    for (int i = 0; i < COUNT; i++) worst = fmax(worst, fabs(x[i] - ref[i])), largest = fmax(largest, fabs(ref[i]));
    CHECK(worst <= 2e-5 * largest, "largest difference %g of %g", worst, largest);
    ldm_sampler_free(&whole);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "loop");
    CASE("device") CHECK_OK(ldm_cl_open(NULL, &cl));
    if (!cl) return test_end();
    CASE("ddim, eta 0, as single network calls") compare(false, 0);
    CASE("ddim, eta 1: fresh noise each step") compare(false, 1);
    CASE("guidance as one batch of two") compare(true, 0);
    CASE("the same bytes twice") {
        ldm_sampler whole, last;
        last_steps(0, &whole, &last);
        ldm_loop_options o = {.unet = small(), .tokens = TOKENS, .n = N, .h = H, .w = W, .sampler = &last};
        float x0[COUNT], a[COUNT], b[COUNT], context[N * TOKENS * 16];
        watch w = {0, 0, 0};
        for (int i = 0; i < COUNT; i++) x0[i] = ldm_uniform(1, 1, (uint64_t)i);
        for (int i = 0; i < N * TOKENS * 16; i++) context[i] = ldm_uniform(1, 2, (uint64_t)i);
        run_loop(&o, x0, context, 1, a, &w);
        run_loop(&o, x0, context, 1, b, &w);
        CHECK(!memcmp(a, b, sizeof a), "two runs differ");
        ldm_sampler_free(&whole);
    }
    ldm_cl_close(cl);
    return test_end();
}
