/* test_loop.c -- the denoising loop on the device, fused, against the same steps taken one network call at a time with
 * the arithmetic on the host in double; guidance as one batch of two; and that nothing allocates or compiles once the
 * loop runs. */
#include "whole_loop.h"
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

/* The network alone, on a batch; x [n,h,w,in_channels]. */
static void call_network(const ldm_unet_config *c, int64_t n, const float *x, double t, const float *context,
                         const float *labels, float *out) {
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_source s = ldm_source_synthetic(&seed);
    float temb[2 * N * 32];
    ldm_status st = LDM_OK;
    TRY(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor tx =
        ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, n, (int64_t)H, (int64_t)W, (int64_t)c->in_channels));
    ldm_tensor tt = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, n, (int64_t)32));
    ldm_tensor tc = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, n, (int64_t)TOKENS, (int64_t)16));
    ldm_tensor tl = c->num_classes ? ldm_plan_input(p, "labels", LDM_I32, ldm_shape_of(1, n)) : LDM_NONE;
    ldm_tensor y = ldm_unet_emit(p, c, tx, tt, tc, tl, LDM_NONE);
    ldm_plan_output(p, y, "y");
    TRY(ldm_plan_finish(p, ldm_cl_device(cl)->max_alloc, ldm_cl_device(cl)->base_align));
    TRY(ldm_exec_create(cl, p, &s, NULL, &e));
    for (int64_t i = 0; i < n; i++) ldm_timestep_embedding(t, 32, temb + 32 * i);
    TRY(ldm_exec_write(e, tx, x));
    TRY(ldm_exec_write(e, tt, temb));
    TRY(ldm_exec_write(e, tc, context));
    if (tl != LDM_NONE) TRY(ldm_exec_write(e, tl, labels));
    TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_read(e, y, out));
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
    ldm_loop_options o = {
        .unet = small(), .tokens = TOKENS, .n = N, .h = H, .w = W, .guided = guided, .sampler = &last};
    float x0[COUNT], x[COUNT], xx[2 * COUNT], e[2 * COUNT], z[COUNT], context[2 * N * TOKENS * 16];
    double ref[COUNT], worst = 0, largest = 0;
    watch w = {0, 0, 0};
    for (int i = 0; i < COUNT; i++) x0[i] = 1.7f * ldm_uniform(1, 1, (uint64_t)i);
    for (int i = 0; i < batch * TOKENS * 16; i++) context[i] = ldm_uniform(1, 2, (uint64_t)i);
    run_loop(cl, seed, &o, &(ldm_loop_inputs){.x = x0, .context = context, .scale = scale},
             &(ldm_loop_hooks){noise_hook, each, &w}, x);
    CHECK(w.changes == 0, "%d steps allocated or built something", w.changes);
    for (int i = 0; i < COUNT; i++) ref[i] = x0[i];
    for (int k = 0; k < STEPS; k++) {
        for (int i = 0; i < 2 * COUNT; i++) xx[i] = (float)ref[i % COUNT];
        call_network(&o.unet, batch, xx, last.eval[k].t, context, NULL, e);
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

/* ---- every part of the loop, against the same table in f64 ------------------------------------------------------- */

enum { CC = 3, BOOK = 24 };

/* What is asked of a loop beside its sampler. */
typedef struct parts {
    bool guided, in_turn, rescaled, concat, labels, masked;
} parts;

static ldm_unet_config network_for(const parts *k) {
    ldm_unet_config c = small();
    if (k->concat) c.in_channels = C + CC;
    if (k->labels) c.num_classes = 5;
    return c;
}

/* As diffusers' rescale_noise_cfg: deviations over all of a picture. */
static void rescale(double *guided, const float *conditional, double phi) {
    enum { EACH = COUNT / N };
    for (int n = 0; n < N; n++) {
        double s[2] = {0}, q[2] = {0};
        for (int i = 0; i < EACH; i++) {
            double v[2] = {conditional[n * EACH + i], guided[n * EACH + i]};
            for (int k = 0; k < 2; k++) s[k] += v[k], q[k] += v[k] * v[k];
        }
        double factor = sqrt((q[0] - s[0] * s[0] / EACH) / (q[1] - s[1] * s[1] / EACH));
        for (int i = 0; i < EACH; i++) guided[n * EACH + i] *= phi * factor + 1 - phi;
    }
}

static void snap(const ldm_sampler *s, const float *book, double *x0) {
    for (int i = 0; s->clip > 0 && i < COUNT; i++) x0[i] = fmin(fmax(x0[i], -s->clip), s->clip);
    for (int r = 0; s->quantize && r < COUNT / C; r++) {
        int best = 0;
        double least = INFINITY;
        for (int k = 0; k < BOOK; k++) {
            double d = 0;
            for (int c = 0; c < C; c++) d += pow(x0[r * C + c] - book[k * C + c], 2);
            if (d < least) least = d, best = k;
        }
        for (int c = 0; c < C; c++) x0[r * C + c] = book[best * C + c];
    }
}

typedef struct drawn {
    int calls;
} drawn;
static ldm_status next_noise(void *user, int step, float *dst) {
    drawn *d = user;
    (void)step;
    for (int i = 0; i < COUNT; i++) dst[i] = 1.7f * ldm_uniform(9, (uint64_t)d->calls, (uint64_t)i);
    d->calls++;
    return LDM_OK;
}

static double form(const ldm_linear *f, double (*column)[COUNT], int i) {
    double sum = 0;
    for (int c = 0; c < LDM_COLUMNS; c++)
        if (f->c[c] != 0) sum += f->c[c] * column[c][i];
    return sum;
}

static bool uses_noise(const ldm_eval *e) {
    for (int i = 0; i < LDM_STATES; i++)
        if (e->next[i].c[LDM_NOISE] != 0) return true;
    return e->in.c[LDM_NOISE] != 0;
}

/* The loop by hand: states in f64, a network call an evaluation. */
static void by_hand(const ldm_loop_options *o, const ldm_loop_inputs *in, const float *book, double *x, double *x0) {
    static double column[LDM_COLUMNS][COUNT], next[LDM_STATES][COUNT];
    static float input[2 * N * H * W * (C + CC)], out[2 * COUNT], noise[COUNT];
    const ldm_sampler *s = o->sampler;
    const int batch = o->guided ? 2 * N : N, channels = o->unet.in_channels;
    drawn d = {0};
    float labels[2 * N];
    memset(column, 0, sizeof column);
    for (int i = 0; in->labels && i < 2 * N; i++) labels[i] = in->labels[i % N];
    for (int i = 0; i < COUNT; i++) column[0][i] = in->x[i];
    for (int k = 0; k < s->evals; k++) {
        const ldm_eval *e = &s->eval[k];
        for (int after = 0; after <= 1; after++) {
            if (o->masked && e->blends && after == s->blend_after) {
                if (s->blend_fresh && e->known_noise != 0) next_noise(&d, 0, noise);
                for (int i = 0; i < COUNT; i++) {
                    double z = s->blend_fresh ? noise[i] : in->known_noise[i], m = in->mask[i / C];
                    if (e->known_noise == 0) z = 0;
                    column[0][i] = m * (e->known * in->known[i] + e->known_noise * z) + (1 - m) * column[0][i];
                }
            }
            if (after) break;
            if (uses_noise(e)) {
                float fresh[COUNT];
                next_noise(&d, 0, fresh);
                for (int i = 0; i < COUNT; i++) column[LDM_NOISE][i] = fresh[i];
            }
            for (int i = 0; i < batch * H * W; i++)
                for (int c = 0; c < channels; c++)
                    input[i * channels + c] = c < C ? (float)form(&e->in, column, i % (N * H * W) * C + c)
                                                    : in->concat[i % (N * H * W) * CC + c - C];
            call_network(&o->unet, batch, input, e->t, in->context, labels, out);
            for (int i = 0; i < COUNT; i++)
                column[LDM_OUT][i] = o->guided ? out[i] + in->scale * ((double)out[i + COUNT] - out[i]) : out[i];
            if (o->rescaled) rescale(column[LDM_OUT], out + COUNT, in->rescale);
            for (int i = 0; i < COUNT; i++) x0[i] = form(&e->x0, column, i);
            snap(s, book, x0);
            memcpy(column[LDM_X0], x0, sizeof column[0]);
            for (int j = 0; j < LDM_STATES; j++)
                for (int i = 0; i < COUNT; i++) next[j][i] = form(&e->next[j], column, i);
            memcpy(column, next, sizeof next);
        }
    }
    memcpy(x, column[0], sizeof column[0]);
}

static ldm_status count_steps(void *user, int step, double seconds) {
    (void)seconds, (void)step;
    ++*(int *)user;
    return LDM_OK;
}
typedef struct both_hooks {
    drawn d;
    int steps;
    watch w;
} both_hooks;
static ldm_status hook_noise(void *user, int step, float *dst) {
    return next_noise(&((both_hooks *)user)->d, step, dst);
}
static ldm_status hook_each(void *user, int step, double seconds) {
    both_hooks *h = user;
    ldm_status st = each(&h->w, step, seconds);
    return st ? st : count_steps(&h->steps, step, seconds);
}

static void whole(const char *name, ldm_sampler_options so, parts k) {
    static float x0[COUNT], z0[COUNT], noise[COUNT], fixed[COUNT], mask[N * H * W], concat[N * H * W * CC],
        context[2 * N * TOKENS * 16], got[COUNT], got_x0[COUNT], book[BOOK * C];
    static double want[COUNT], want_x0[COUNT];
    static const float labels[N] = {3, 1};
    ldm_schedule schedule;
    ldm_sampler s = {0};
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_source w = ldm_source_synthetic(&seed);
    const ldm_device *d = ldm_cl_device(cl);
    both_hooks hooks = {{0}, 0, {0, 0, 0}};
    ldm_status st = LDM_OK;
    TRY(ldm_schedule_linear(.0015, .0195, &schedule));
    /* few of many steps, the quiet ones: an untrained network drowns the others */
    so.img2img = !so.runge_kutta, so.strength = .25, so.convention = LDM_STRENGTH_DIFFUSERS;
    TRY(ldm_sampler_make(&schedule, &so, &s));
    for (int i = 0; i < COUNT; i++)
        z0[i] = ldm_uniform(1, 3, (uint64_t)i), noise[i] = 1.7f * ldm_uniform(1, 4, (uint64_t)i),
        fixed[i] = 1.7f * ldm_uniform(1, 5, (uint64_t)i);
    for (int i = 0; i < N * H * W; i++) mask[i] = (float)(ldm_hash(1, 6, (uint64_t)i) % 3) / 2;
    for (int i = 0; i < N * H * W * CC; i++) concat[i] = ldm_uniform(1, 7, (uint64_t)i);
    for (int i = 0; i < 2 * N * TOKENS * 16; i++) context[i] = ldm_uniform(1, 2, (uint64_t)i);
    ldm_sampler_start(&s, z0, noise, COUNT, x0);
    ldm_loop_options o = {.unet = network_for(&k),
                          .tokens = TOKENS,
                          .n = N,
                          .h = H,
                          .w = W,
                          .guided = k.guided,
                          .in_turn = k.in_turn,
                          .rescaled = k.rescaled,
                          .concat = k.concat ? CC : 0,
                          .masked = k.masked,
                          .keeps_x0 = true,
                          .codebook = so.quantize ? BOOK : 0,
                          .sampler = &s};
    ldm_loop_inputs in = {.x = x0,
                          .context = context,
                          .labels = k.labels ? labels : NULL,
                          .concat = k.concat ? concat : NULL,
                          .mask = k.masked ? mask : NULL,
                          .known = k.masked ? z0 : NULL,
                          .known_noise = k.masked && !s.blend_fresh ? fixed : NULL,
                          .scale = 2.5,
                          .rescale = .7};
    TRY(ldm_loop_plan(&o, &p));
    if (so.quantize) {
        ldm_tensor t = ldm_plan_find(p, "quantize.embedding.weight");
        TRY(w.load(w.self, ldm_plan_tensor(p, t), book));
    }
    TRY(ldm_plan_fuse(p));
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    TRY(ldm_exec_create(cl, p, &w, NULL, &e));
    TRY(ldm_loop_start(&o, e, &in));
    TRY(ldm_loop_run(&o, e, &(ldm_loop_hooks){hook_noise, hook_each, &hooks}));
    TRY(ldm_loop_latent(e, got));
    TRY(ldm_loop_x0(&o, e, got_x0));
    CHECK(hooks.steps == s.steps && s.steps >= 4, "%d steps told of %d", hooks.steps, s.steps);
    CHECK(hooks.w.changes == 0, "%d steps allocated or built something", hooks.w.changes);
    by_hand(&o, &in, book, want, want_x0);
    double worst = 0, largest = 0, worst_x0 = 0, largest_x0 = 0;
    for (int i = 0; i < COUNT; i++) {
        worst = fmax(worst, fabs(got[i] - want[i])), largest = fmax(largest, fabs(want[i]));
        worst_x0 = fmax(worst_x0, fabs(got_x0[i] - want_x0[i])), largest_x0 = fmax(largest_x0, fabs(want_x0[i]));
    }
    if (getenv("VERBOSE")) printf("%s: %.2g of %.2g, x0 %.2g of %.2g\n", name, worst, largest, worst_x0, largest_x0);
    CHECK(worst <= 2e-5 * largest, "%s: largest difference %g of %g", name, worst, largest);
    CHECK(worst_x0 <= 5e-5 * largest_x0, "%s: picture differs by %g of %g", name, worst_x0, largest_x0);
done:
    CHECK(st == LDM_OK, "%s: %s", name, ldm_message());
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
    ldm_sampler_free(&s);
}

static void all_parts(void) {
    static const char *const names[] = {"ddim",
                                        "plms",
                                        "dpm++2m",
                                        "euler",
                                        "euler_a",
                                        "heun",
                                        "dpm2",
                                        "lms",
                                        "lcm",
                                        "dpm_solver",
                                        "PNDMScheduler",
                                        "DDIMScheduler",
                                        "DPMSolverMultistepScheduler",
                                        "lcm_diffusers"};
    ldm_sampler_options o;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) CASE(names[i]) {
            CHECK_OK(ldm_sampler_find(names[i], &o));
            o.steps = 20;
            whole(names[i], o, (parts){0});
        }
    CASE("PNDM's Runge-Kutta start") {
        CHECK_OK(ldm_sampler_find("PNDMScheduler", &o));
        o.runge_kutta = true, o.steps = 4;
        whole("PNDM", o, (parts){0});
    }
    CASE("churn: noise before the network") {
        CHECK_OK(ldm_sampler_find("heun", &o));
        o.s_churn = 5;
        whole("heun", o, (parts){0});
    }
    CASE("clipped pictures") {
        CHECK_OK(ldm_sampler_find("ddim", &o));
        o.clip = .4;
        whole("ddim", o, (parts){0});
        CHECK_OK(ldm_sampler_find("HeunDiscreteScheduler", &o));
        o.clip = .4;
        whole("heun", o, (parts){0});
    }
    CASE("pictures snapped to the codebook") {
        CHECK_OK(ldm_sampler_find("plms", &o));
        o.quantize = true;
        whole("plms", o, (parts){0});
    }
    CASE("guidance, one half after the other") {
        CHECK_OK(ldm_sampler_find("lms", &o));
        whole("together", o, (parts){.guided = true});
        whole("in turn", o, (parts){.guided = true, .in_turn = true});
    }
    CASE("guidance rescaled") {
        CHECK_OK(ldm_sampler_find("ddim", &o));
        whole("together", o, (parts){.guided = true, .rescaled = true});
        whole("in turn", o, (parts){.guided = true, .in_turn = true, .rescaled = true});
    }
    CASE("maps beside x, labels") {
        CHECK_OK(ldm_sampler_find("dpm++2m", &o));
        whole("alone", o, (parts){.concat = true, .labels = true});
        whole("guided", o, (parts){.concat = true, .labels = true, .guided = true});
        whole("in turn", o, (parts){.concat = true, .labels = true, .guided = true, .in_turn = true});
    }
    CASE("masks: before the step with new noise, after it with the same") {
        CHECK_OK(ldm_sampler_find("ddim", &o));
        o.eta = 1; /* and the sampler's own noise behind it */
        whole("ddim", o, (parts){.masked = true});
        CHECK_OK(ldm_sampler_find("plms", &o));
        whole("plms", o, (parts){.masked = true, .guided = true});
        CHECK_OK(ldm_sampler_find("euler_a", &o));
        whole("euler_a", o, (parts){.masked = true});
        CHECK_OK(ldm_sampler_find("heun", &o));
        whole("heun", o, (parts){.masked = true});
    }
    CASE("a distilled network is told its guidance") {
        ldm_schedule schedule;
        ldm_sampler s;
        ldm_plan *p = NULL;
        ldm_loop_options lo = {
            .unet = small(), .tokens = TOKENS, .n = N, .h = H, .w = W, .guided = true, .sampler = &s};
        lo.unet.time_cond_proj_dim = 16;
        CHECK_OK(ldm_schedule_linear(.00085, .012, &schedule));
        CHECK_OK(ldm_sampler_find("lcm_diffusers", &o));
        o.steps = 4;
        CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
        CHECK(ldm_loop_plan(&lo, &p) == LDM_ERR_ARG, "guided twice");
        lo.guided = false;
        float x[COUNT], a[COUNT], b[COUNT], context[N * TOKENS * 16] = {0};
        ldm_exec *e = NULL;
        ldm_source w = ldm_source_synthetic(&seed);
        both_hooks hooks = {{0}, 0, {0, 0, 0}};
        next_noise(&hooks.d, 0, x);
        CHECK_OK(ldm_loop_plan(&lo, &p));
        CHECK_OK(ldm_plan_finish(p, ldm_cl_device(cl)->max_alloc, ldm_cl_device(cl)->base_align));
        CHECK_OK(ldm_exec_create(cl, p, &w, NULL, &e));
        for (int k = 0; k < 2 && e; k++) {
            hooks.d.calls = 0;
            CHECK_OK(ldm_loop_start(&lo, e, &(ldm_loop_inputs){.x = x, .context = context, .scale = k ? 7.5 : 1.5}));
            CHECK_OK(ldm_loop_run(&lo, e, &(ldm_loop_hooks){hook_noise, hook_each, &hooks}));
            CHECK_OK(ldm_loop_latent(e, k ? b : a));
        }
        CHECK(memcmp(a, b, sizeof a), "the scale does not matter");
        CHECK(hooks.d.calls == 3, "LCM drew %d times in four steps", hooks.d.calls);
        ldm_exec_destroy(e);
        ldm_plan_destroy(p);
        ldm_sampler_free(&s);
    }
}

/* A loop that snaps reads the codebook of a whole first stage, and what else is there is no left-over. */
static void codebook(void) {
    ldm_ckpt *c = NULL;
    ldm_plan *p = NULL;
    ldm_binding *b = NULL;
    CHECK_OK(ldm_ckpt_open("tests/fixtures/vq/weights.safetensors", &c));
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_plan_param(p, "quantize.embedding.weight", ldm_shape_of(2, (int64_t)256, (int64_t)4), LDM_FILL_WEIGHT, 1);
    if (c) CHECK_OK(ldm_bind(p, c, NULL, &b));
    ldm_binding_destroy(b);
    ldm_plan_destroy(p);
    ldm_ckpt_close(c);
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
        const ldm_loop_inputs in = {.x = x0, .context = context, .scale = 1};
        run_loop(cl, seed, &o, &in, &(ldm_loop_hooks){noise_hook, each, &w}, a);
        run_loop(cl, seed, &o, &in, &(ldm_loop_hooks){noise_hook, each, &w}, b);
        CHECK(!memcmp(a, b, sizeof a), "two runs differ");
        ldm_sampler_free(&whole);
    }
    all_parts();
    CASE("the codebook alone") codebook();
    test_close_case();
    ldm_cl_close(cl);
    return test_end();
}
