/* cmd_sample.c -- `ldm sample CONFIG`: from noise to a picture: schedule, loop, first stage. */
#include "app/network.h"
#include "io/io.h"
#include "sample/loop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct noise_source {
    ldm_rng **r; /* one generator a picture, seeded seed + i */
    int64_t n, c, h, w;
    float *nchw, *latent;
    ldm_exec *exec;
    ldm_progress bar;
} noise_source;

/* [n,h,w,c] of fresh noise, each picture from its own generator in PyTorch's NCHW order. */
static ldm_status draw(void *user, int k, float *dst) {
    noise_source *s = user;
    int64_t one = s->c * s->h * s->w;
    (void)k;
    for (int64_t i = 0; i < s->n; i++) {
        ldm_rng_fill(s->r[i], s->nchw, one);
        ldm_nchw_to_nhwc(s->nchw, 1, s->c, s->h, s->w, dst + i * one);
    }
    return LDM_OK;
}

/* After every step the latent is looked at: a network that overflows is named by its step, and no picture is made of
 * it. */
static ldm_status each(void *user, int k, double seconds) {
    noise_source *s = user;
    char what[80];
    (void)seconds;
    snprintf(what, sizeof what, "UNet, step %d of %.0f: latent", k + 1, s->bar.total);
    ldm_status st = ldm_loop_latent(s->exec, s->latent);
    if (!st) st = app_check_finite(s->latent, s->n * s->c * s->h * s->w, what);
    ldm_progress_to(&s->bar, k + 1);
    return st;
}

/* "out.png" -> "out-3.png" for picture 3 of several. */
static void name_of(const char *out, int64_t i, int64_t n, char *path, size_t cap) {
    const char *dot = strrchr(out, '.');
    int stem = dot && !strchr(dot, '/') ? (int)(dot - out) : (int)strlen(out);
    if (n == 1) snprintf(path, cap, "%s", out);
    else snprintf(path, cap, "%.*s-%lld%s", stem, out, (long long)i, out + stem);
}

static ldm_status decode_and_write(ldm_cl *cl, const app_network_options *base, const ldm_config *config,
                                   const float *latent, int64_t n, int64_t h, int64_t w, const char *out,
                                   const char *const *text) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    ldm_exec *e = NULL;
    float *z = NULL, *y = NULL;
    ldm_image im = {0};
    app_network_options o = *base;
    char path[4300];
    double scale;
    o.net = "decoder", o.n = 1, o.h = h, o.w = w; /* one picture at a time keeps the decoder's maps small */
    TRY(app_network_plan(&o, &net));
    TRY(app_network_weights(&o, &net));
    TRY(app_scale_factor(&net, net.ckpt, &scale));
    TRY(app_network_exec(&net, cl, NULL, &e));
    int64_t c = config->unet.out_channels, one = h * w * c;
    ldm_tensor yt = ldm_plan_find(net.plan, "y");
    const ldm_shape *s = &ldm_plan_tensor(net.plan, yt)->shape;
    TRY(ldm_alloc((size_t)one * sizeof *z, (void **)&z));
    TRY(ldm_alloc((size_t)ldm_shape_count(s) * sizeof *y, (void **)&y));
    im = (ldm_image){.w = s->dim[2], .h = s->dim[1]};
    TRY(ldm_alloc((size_t)ldm_shape_count(s), (void **)&im.data));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < one; k++) z[k] = latent[i * one + k] / (float)scale;
        TRY(ldm_exec_write(e, ldm_plan_find(net.plan, "z"), z));
        TRY(ldm_exec_run(e, 0));
        TRY(ldm_exec_read(e, yt, y));
        TRY(app_check_finite(y, ldm_shape_count(s), "first stage, decoded picture"));
        TRY(ldm_check_interrupt());
        app_map_to_image(&net.stage, y, ldm_shape_count(s), im.data);
        name_of(out, i, n, path, sizeof path);
        TRY(ldm_png_write(path, &im, text));
        printf("%s\n", path);
    }
done:
    free(z), free(y);
    ldm_image_free(&im);
    ldm_exec_destroy(e);
    app_network_close(&net);
    return st;
}

APP_COMMAND(sample) {
    char *model = NULL, *out = NULL, *sampler = NULL, *latent_out = NULL;
    long long synthetic = -1, seed = 42;
    int class_id = 0, steps = 50, batch = 1, height = 0, width = 0;
    double eta = 0, scale = 1;
    struct poptOption table[] = {
        {"output", 'o', POPT_ARG_STRING, &out, 0, "the picture (out-0.png, out-1.png, ... for a batch)", "OUT.png"},
        {"model", 'm', POPT_ARG_STRING, &model, 0, "checkpoint", "FILE"},
        {"synthetic", 0, POPT_ARG_LONGLONG, &synthetic, 0,
         "deterministic random weights instead (not a picture of anything)", "SEED"},
        {"class-id", 0, POPT_ARG_INT, &class_id, 0, "class of a class-conditional model", "K"},
        {"steps", 0, POPT_ARG_INT, &steps, 0, "denoising steps of DDIM (50)", "S"},
        {"sampler", 0, POPT_ARG_STRING, &sampler, 0, "ddim (default) or ddpm (all 1000 steps)", "NAME"},
        {"eta", 0, POPT_ARG_DOUBLE, &eta, 0, "DDIM's eta: 0 deterministic, 1 as noisy as DDPM (0)", "E"},
        {"cfg-scale", 0, POPT_ARG_DOUBLE, &scale, 0, "classifier-free guidance scale (1: none)", "G"},
        {"seed", 's', POPT_ARG_LONGLONG, &seed, 0,
         "of the noise, as PyTorch's CPU generator makes it; picture i uses seed + i (42)", "SEED"},
        {"batch", 'b', POPT_ARG_INT, &batch, 0, "pictures", "B"},
        {"height", 'H', POPT_ARG_INT, &height, 0, "of the picture in pixels (default: native)", "PIXELS"},
        {"width", 'W', POPT_ARG_INT, &width, 0, "likewise", "PIXELS"},
        {"latent", 0, POPT_ARG_STRING, &latent_out, 0, "also write the final latent, NCHW", "FILE.npy"},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    app_network net = {0};
    ldm_schedule schedule;
    ldm_sampler steps_made = {0};
    ldm_loop_options lo = {0};
    ldm_cl *cl = NULL;
    ldm_exec *e = NULL;
    float *x = NULL, *nhwc = NULL, *classes = NULL;
    noise_source noise = {0};
    char meta[600];
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 1, 1, &words, &ctx));
    if (!out) TRY(ldm_fail(LDM_ERR_ARG, "-o OUT.png is missing"));
    bool ddpm = sampler && !strcmp(sampler, "ddpm");
    if (sampler && !ddpm && strcmp(sampler, "ddim"))
        TRY(ldm_fail(LDM_ERR_ARG, "--sampler %s: wanted ddim or ddpm", sampler));
    if (batch < 1 || batch > 64) TRY(ldm_fail(LDM_ERR_ARG, "--batch %d: wanted 1 to 64", batch));
    if (!isfinite(scale)) TRY(ldm_fail(LDM_ERR_ARG, "--cfg-scale: wanted a number"));
    if (!isfinite(eta) || eta < 0 || eta > 1) TRY(ldm_fail(LDM_ERR_ARG, "--eta %g: wanted 0 to 1", eta));
    app_network_options o = {.net = "unet", .config = words[0], .model = model, .synthetic = synthetic};
    TRY(app_storage(&o.dtype, &o.wdtype));
    TRY(app_network_find(&o, &net));
    const ldm_config *c = net.config;
    if (!c)
        TRY(ldm_fail(LDM_ERR_ARG, "config '%s': wanted a whole system by name; `ldm plan --list` names them",
                     words[0]));
    if (c->condition == LDM_COND_CONTEXT || c->condition == LDM_COND_CONCAT || c->condition == LDM_COND_HYBRID)
        TRY(ldm_fail(LDM_ERR_ARG,
                     "%s: its conditioning is not a class; sample takes unconditional and class-conditional systems",
                     c->name));
    if (c->condition == LDM_COND_CLASS && (class_id < 0 || class_id >= c->n_classes))
        TRY(ldm_fail(LDM_ERR_ARG, "--class-id %d: %s has classes 0 to %d", class_id, c->name, c->n_classes - 1));
    if (scale != 1 && c->null_class < 0)
        TRY(ldm_fail(LDM_ERR_ARG, "--cfg-scale %g: %s has no null class, so it cannot be guided; only 1 is possible",
                     scale, c->name));
    int f = ldm_stage_factor(&net.stage), need = f * ldm_unet_multiple(&c->unet);
    lo = (ldm_loop_options){.unet = c->unet,
                            .n_classes = c->condition == LDM_COND_CLASS ? c->n_classes : 0,
                            .dtype = o.dtype,
                            .wdtype = o.wdtype,
                            .n = batch,
                            .guided = scale != 1};
    int64_t ph = height ? height : (int64_t)c->latent * f, pw = width    ? width
                                                                : height ? height
                                                                         : (int64_t)c->latent * f;
    if (ph < 1 || pw < 1 || ph % need || pw % need)
        TRY(ldm_fail(LDM_ERR_ARG, "picture of %lld x %lld: %s needs multiples of %d", (long long)pw, (long long)ph,
                     c->name, need));
    lo.h = ph / f, lo.w = pw / f;
    TRY(ldm_schedule_linear(c->linear_start, c->linear_end, &schedule));
    ldm_sampler_options so = ldm_sampler_defaults(ddpm ? LDM_DDPM : LDM_DDIM, LDM_MANNER_AUTHORS);
    so.steps = steps, so.eta = eta, so.prediction = c->prediction;
    TRY(ldm_sampler_make(&schedule, &so, &steps_made));
    lo.sampler = &steps_made;
    if (!ddpm && steps_made.steps != steps)
        ldm_note("%d steps do not divide 1000: %d are run, as the authors' code does", steps, steps_made.steps);

    /* the noise: one generator a picture, its first draw is the starting point */
    noise = (noise_source){.n = batch, .c = c->unet.out_channels, .h = lo.h, .w = lo.w};
    int64_t one = noise.c * lo.h * lo.w;
    TRY(ldm_alloc((size_t)batch * sizeof *noise.r, (void **)&noise.r));
    for (int i = 0; i < batch; i++) TRY(ldm_rng_create((ldm_rng_kind){0}, (uint64_t)(seed + i), &noise.r[i]));
    TRY(ldm_alloc((size_t)one * sizeof(float), (void **)&noise.nchw));
    TRY(ldm_alloc((size_t)(batch * one) * sizeof *x, (void **)&x));
    TRY(draw(&noise, 0, x));
    TRY(ldm_alloc((size_t)(2 * batch) * sizeof *classes, (void **)&classes));
    for (int i = 0; i < 2 * batch; i++) classes[i] = (float)(lo.guided && i < batch ? c->null_class : class_id);

    TRY(app_open_device(&cl));
    TRY(ldm_loop_plan(&lo, &net.plan));
    TRY(app_network_weights(&o, &net));
    TRY(app_network_exec(&net, cl, NULL, &e));
    TRY(ldm_loop_start(&lo, e, &(ldm_loop_inputs){.x = x, .classes = classes, .scale = scale}));
    noise.exec = e, noise.latent = x;
    ldm_progress_begin(&noise.bar, "sampling", "steps", steps_made.steps);
    st = ldm_loop_run(&lo, e, &(ldm_loop_hooks){draw, each, &noise});
    ldm_progress_end(&noise.bar);
    TRY(st);
    TRY(ldm_loop_latent(e, x));
    TRY(app_check_finite(x, batch * one, "latent"));
    ldm_exec_destroy(e), e = NULL; /* the first stage gets the memory */
    if (latent_out) {
        ldm_shape s = ldm_shape_of(4, (int64_t)batch, noise.c, lo.h, lo.w);
        TRY(ldm_alloc((size_t)(batch * one) * sizeof *nhwc, (void **)&nhwc));
        ldm_nhwc_to_nchw(x, batch, noise.c, lo.h, lo.w, nhwc);
        TRY(ldm_npy_write(latent_out, LDM_F32, &s, nhwc));
    }
    snprintf(meta, sizeof meta,
             "%s, class %d, Steps: %d, Sampler: %s, eta: %g, CFG scale: %g, Seed: %lld, Size: %lldx%lld, Model: %s",
             c->name, class_id, steps_made.steps, ddpm ? "DDPM" : "DDIM", eta, scale, seed, (long long)pw, (long long)ph,
             model ? model : "synthetic");
    const char *text[] = {"parameters", meta, NULL};
    TRY(decode_and_write(cl, &o, c, x, batch, lo.h, lo.w, out, text));
done:
    for (int i = 0; noise.r && i < batch; i++) ldm_rng_destroy(noise.r[i]);
    free(noise.r), free(noise.nchw), free(x), free(nhwc), free(classes);
    ldm_sampler_free(&steps_made);
    ldm_exec_destroy(e);
    app_network_close(&net);
    ldm_cl_close(cl);
    free(model), free(out), free(sampler), free(latent_out);
    poptFreeContext(ctx);
    return st;
}
