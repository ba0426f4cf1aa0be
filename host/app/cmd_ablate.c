/* cmd_ablate.c -- `ldm ablate`: the paper's compression ablation (section 4.1, tables 13 and 14) as a speed measurement
 * on full-size networks with synthetic weights: one denoising step and one decode per f, and what follows for a whole
 * sample. */
#include "app/network.h"
#include "app/record.h"
#include "sample/loop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_F = 6, MAX_REPEAT = 100 };
static const int all_f[MAX_F] = {1, 2, 4, 8, 16, 32};
static const double headline[MAX_F] = {1, 1.5, 2.7, 5, 10, 20};

typedef struct options {
    const char *family;
    int size, batch, steps, repeat;
    bool full;
    ldm_dtype dtype, wdtype;
} options;

typedef struct row {
    int f;
    const ldm_config *config;
    const ldm_stage_config *stage;
    int64_t params;
    double unet_flops, decode_flops;                            /* one call, whole batch, before the plan's rewrites */
    double step, step_low, step_high, first_step, decode, loop; /* seconds; loop: really run, --full */
    size_t bytes;
    int programs;
} row;

static ldm_status no_noise(void *user, int k, float *dst) { return (void)user, (void)k, (void)dst, LDM_OK; }

static ldm_status tick(void *user, int k, double seconds) {
    (void)seconds;
    ldm_progress_to(user, k + 1);
    return LDM_OK;
}

/* Seconds per op kind of the last step, appended to `kinds`. */
static void add_kinds(const ldm_plan *p, ldm_exec *e, int f, json_t *kinds) {
    for (int o = 0; ldm_ops[o]; o++) {
        app_op_time t = app_time_of_op(p, e, LDM_SEGMENT_STEP, ldm_ops[o]);
        if (t.steps)
            json_array_append_new(kinds, json_pack("{s:i,s:s,s:f,s:f,s:f}", "f", f, "op", ldm_ops[o]->name, "seconds",
                                                   t.seconds, "flops", t.cost.flops, "bytes", t.cost.bytes));
    }
}

/* One step, its time in *seconds. The loop's tables on the device end with its last step, so when `done` are all of them it
 * begins anew, outside the time. */
static ldm_status timed_step(const ldm_loop_options *lo, const ldm_loop_inputs *in, ldm_exec *e, int done, double *seconds) {
    ldm_status st = LDM_OK;
    if (done % lo->sampler->steps == 0) st = ldm_loop_start(lo, e, in);
    if (!st) st = ldm_exec_finish(e);
    const double start = ldm_now();
    if (!st) st = ldm_exec_run(e, LDM_SEGMENT_STEP);
    if (!st) st = ldm_exec_finish(e);
    *seconds = ldm_now() - start;
    return st;
}

static ldm_status measure_unet(const options *o, ldm_cl *cl, row *r, json_t *kinds) {
    ldm_status st = LDM_OK;
    app_network net = {.config = r->config, .unet = r->config->unet, .seed = 1};
    ldm_schedule schedule;
    ldm_sampler_options so = ldm_sampler_defaults(LDM_DDIM, LDM_MANNER_AUTHORS);
    ldm_sampler sampler = {0};
    ldm_loop_options lo = {.unet = r->config->unet,
                           .n_classes = r->config->n_classes,
                           .dtype = o->dtype,
                           .wdtype = o->wdtype,
                           .n = o->batch,
                           .h = o->size / r->f,
                           .w = o->size / r->f};
    ldm_exec *e = NULL;
    float *x = NULL, *classes = NULL;
    double times[MAX_REPEAT];
    ldm_memory m;
    char what[64];
    ldm_progress bar;
    TRY(ldm_schedule_linear(r->config->linear_start, r->config->linear_end, &schedule));
    so.steps = o->steps;
    TRY(ldm_sampler_make(&schedule, &so, &sampler));
    lo.sampler = &sampler;
    TRY(ldm_loop_plan(&lo, &net.plan));
    r->params = ldm_plan_params(net.plan, NULL);
    if (lo.n_classes) r->params -= (int64_t)lo.n_classes * lo.unet.context_dim; /* the tables count the UNet alone */
    r->unet_flops = ldm_plan_cost(net.plan, LDM_SEGMENT_STEP).flops;
    net.source = ldm_source_synthetic(&net.seed);
    int programs = ldm_cl_build_stats(cl).programs;
    TRY(app_network_exec(&net, cl, NULL, &e));
    r->programs = ldm_cl_build_stats(cl).programs - programs;
    TRY(ldm_exec_memory(net.plan, ldm_cl_device(cl), &net.source, &m));
    r->bytes = m.weights + m.activations + m.scratch;
    int64_t count = (int64_t)lo.n * lo.h * lo.w * lo.unet.in_channels;
    TRY(ldm_alloc((size_t)count * sizeof *x, (void **)&x));
    TRY(ldm_alloc((size_t)o->batch * sizeof *classes, (void **)&classes));
    for (int64_t i = 0; i < count; i++) x[i] = 1.7f * ldm_uniform(1, 2, (uint64_t)i);
    for (int i = 0; i < o->batch; i++) classes[i] = (float)(25 + 81 * i % 1000);
    const ldm_loop_inputs in = {.x = x, .classes = classes};
    TRY(timed_step(&lo, &in, e, 0, &r->first_step)); /* first use: a driver may still compile here */
    snprintf(what, sizeof what, "%s step", r->config->name);
    ldm_progress_begin(&bar, what, "steps", o->repeat);
    for (int i = 0; i < o->repeat && !st; i++) {
        st = timed_step(&lo, &in, e, i + 1, &times[i]);
        if (!st) st = ldm_check_interrupt();
        ldm_progress_to(&bar, i + 1);
    }
    ldm_progress_end(&bar);
    TRY(st);
    add_kinds(net.plan, e, r->f, kinds);
    r->step = ldm_median(times, o->repeat);
    r->step_low = times[0], r->step_high = times[o->repeat - 1];
    if (o->full) {
        TRY(ldm_loop_start(&lo, e, &in));
        ldm_progress_begin(&bar, r->config->name, "steps", sampler.steps);
        const double start = ldm_now();
        st = ldm_loop_run(&lo, e, &(ldm_loop_hooks){no_noise, tick, &bar});
        r->loop = ldm_now() - start;
        ldm_progress_end(&bar);
        TRY(st);
    }
    TRY(ldm_loop_latent(e, x));
    TRY(app_check_finite(x, count, r->config->name));
done:
    ldm_sampler_free(&sampler);
    free(x), free(classes);
    ldm_exec_destroy(e);
    app_network_close(&net);
    return st;
}

static ldm_status measure_decoder(const options *o, ldm_cl *cl, row *r) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    ldm_exec *e = NULL;
    float *z = NULL;
    ldm_memory m;
    if (r->stage->kind == LDM_STAGE_IDENTITY) return LDM_OK; /* pixels: nothing to decode */
    app_network_options n = {.net = "decoder",
                             .config = r->config->name,
                             .synthetic = 1,
                             .dtype = o->dtype,
                             .wdtype = o->wdtype,
                             .n = o->batch,
                             .h = o->size / r->f};
    TRY(app_network_plan(&n, &net));
    TRY(app_network_weights(&n, &net));
    r->decode_flops = ldm_plan_cost(net.plan, 0).flops;
    TRY(app_network_exec(&net, cl, NULL, &e));
    TRY(ldm_exec_memory(net.plan, ldm_cl_device(cl), &net.source, &m));
    if (m.weights + m.activations + m.scratch > r->bytes) r->bytes = m.weights + m.activations + m.scratch;
    int64_t count = (int64_t)n.n * n.h * n.h * r->stage->embed_dim;
    TRY(ldm_alloc((size_t)count * sizeof *z, (void **)&z));
    for (int64_t i = 0; i < count; i++) z[i] = ldm_uniform(1, 3, (uint64_t)i);
    TRY(ldm_exec_write(e, ldm_plan_find(net.plan, "z"), z));
    for (int i = 0; i < 2; i++) { /* the first one may compile */
        double start = ldm_now();
        TRY(ldm_exec_run(e, 0));
        TRY(ldm_exec_finish(e));
        TRY(ldm_check_interrupt());
        r->decode = ldm_now() - start;
    }
done:
    free(z);
    ldm_exec_destroy(e);
    app_network_close(&net);
    return st;
}

static ldm_status parse_list(const char *text, bool *wanted) {
    for (int i = 0; i < MAX_F; i++) wanted[i] = !text;
    for (const char *s = text; s && (*s || s == text);) {
        char *end;
        long f = strtol(s, &end, 10);
        int i = 0;
        while (i < MAX_F && all_f[i] != f) i++;
        if (end == s || (*end && *end != ',') || i == MAX_F)
            return ldm_fail(LDM_ERR_ARG, "--f %s: wanted a list of 1, 2, 4, 8, 16, 32", text);
        wanted[i] = true;
        s = *end ? end + 1 : end;
    }
    return LDM_OK;
}

static double sample_seconds(const options *o, const row *r) {
    return ((r->loop > 0 ? r->loop : o->steps * r->step) + r->decode) / o->batch;
}

/* Prints the table and fills the JSON rows. */
static void report(const options *o, const row *rows, int n, const ldm_peak *peak, json_t *json) {
    const row *base = n && rows[0].f == 1 ? &rows[0] : NULL;
    printf("%-14s %9s %8s %9s %15s %8s %9s %9s %8s %9s %8s %8s %6s %9s\n", "network", "params", "GMAC", "step s",
           "(spread)", "decode s", "sample s", "samples/s", "speedup", "headline", "by MACs", "GFLOP/s", "peak",
           "memory");
    for (int i = 0; i < n; i++) {
        const row *r = &rows[i];
        double s = sample_seconds(o, r), gflops = r->unet_flops / r->step * 1e-9, percent = 100 * gflops / peak->gflops;
        double macs = o->steps * r->unet_flops + r->decode_flops,
               by_macs = base ? o->steps * base->unet_flops / macs : NAN,
               speedup = base ? sample_seconds(o, base) / s : NAN;
        int place = 0;
        while (all_f[place] != r->f) place++;
        char measured[16] = "-", arithmetic[16] = "-"; /* without f = 1 there is nothing to compare with */
        if (base)
            snprintf(measured, sizeof measured, "%.2fx", speedup),
                snprintf(arithmetic, sizeof arithmetic, "%.2fx", by_macs);
        printf("%-14s %9.1fM %8.1f %9.3f (%6.3f-%6.3f) %8.3f %9.3f %9.4f %8s %8.1fx %8s %8.1f %5.1f%% %6.0f MiB\n",
               r->config->name, (double)r->params * 1e-6, r->unet_flops * 0.5e-9 / o->batch, r->step, r->step_low,
               r->step_high, r->decode, s, 1 / s, measured, headline[place], arithmetic, gflops, percent,
               (double)r->bytes / 0x1p20);
        json_t *j =
            json_pack("{s:i,s:s,s:s,s:I,s:f,s:f,s:[f,f],s:f,s:f,s:f,s:f,s:f,s:f,s:I,s:f,s:f,s:i,s:i,s:b,s:i,s:s}", "f",
                      r->f, "config", r->config->name, "stage", r->stage->name, "params", (json_int_t)r->params, "gmac",
                      r->unet_flops * 0.5e-9 / o->batch, "step_s", r->step, "step_s_spread", r->step_low, r->step_high,
                      "first_step_s", r->first_step, "decode_s", r->decode, "sample_s", s, "samples_per_s", 1 / s,
                      "gflops", gflops, "peak_percent", percent, "peak_bytes", (json_int_t)r->bytes, "headline",
                      headline[place], "decode_gmac", r->decode_flops * 0.5e-9 / o->batch, "steps", o->steps, "batch",
                      o->batch, "full", (int)o->full, "programs", r->programs, "dtype", ldm_dtype_name(o->dtype), "wdtype", ldm_dtype_name(o->wdtype));
        if (base) {
            json_object_set_new(j, "speedup", json_real(speedup));
            json_object_set_new(j, "arithmetic", json_real(by_macs));
            json_object_set_new(j, "arithmetic_unet", json_real(base->unet_flops / r->unet_flops));
        }
        if (r->stage->guess) json_object_set_new(j, "guess", json_string(r->stage->guess));
        json_array_append_new(json, j);
    }
    for (int i = 0; i < n; i++)
        if (rows[i].stage->guess) printf("f = %d: first stage %s\n", rows[i].f, rows[i].stage->guess);
    printf("measured peak %.1f GFLOP/s, %.1f GB/s; sample: %d steps%s and one decode; batch %d, %s; speed-up over f = "
           "1: measured, the headline figures, and by arithmetic alone\n",
           peak->gflops, ldm_peak_gbs(peak), o->steps, o->full ? " (really run)" : " of the median step time", o->batch,
           ldm_dtype_name(o->dtype));
}

APP_COMMAND(ablate) {
    char *f_list = NULL, *family = NULL, *out = NULL, name[64], path[4300] = "";
    options o = {.size = 256, .batch = 1, .steps = 50, .repeat = 3};
    int full = 0;
    struct poptOption table[] = {
        {"f", 0, POPT_ARG_STRING, &f_list, 0, "which factors (1,2,4,8,16,32)", "LIST"},
        {"family", 0, POPT_ARG_STRING, &family, 0, "cin (class-conditional ImageNet, default) or celeba", "NAME"},
        {"size", 0, POPT_ARG_INT, &o.size, 0, "side of the picture in pixels (256)", "N"},
        {"batch", 'b', POPT_ARG_INT, &o.batch, 0, "batch size (1)", "B"},
        {"steps", 0, POPT_ARG_INT, &o.steps, 0, "DDIM steps of a sample (50)", "S"},
        {"repeat", 0, POPT_ARG_INT, &o.repeat, 0, "timed steps; the median counts (3)", "R"},
        {"full", 0, POPT_ARG_NONE, &full, 0, "really run the whole sampling loop", NULL},
        {"output", 'o', POPT_ARG_STRING, &out, 0,
         "also write the figures (a name ending in / gets a file name of its own)", "FILE.json"},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_cl *cl = NULL;
    ldm_peak peak;
    row rows[MAX_F];
    bool wanted[MAX_F];
    int n = 0;
    json_t *json = json_array(), *kinds = json_array(), *root = NULL;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 0, &words, &ctx));
    o.full = full, o.family = family ? family : "cin";
    TRY(parse_list(f_list, wanted));
    TRY(app_storage(&o.dtype, &o.wdtype));
    if (strcmp(o.family, "cin") && strcmp(o.family, "celeba"))
        TRY(ldm_fail(LDM_ERR_ARG, "--family %s: wanted cin or celeba", o.family));
    if (o.size < 128 || o.size > 1024 || o.size % 128)
        TRY(ldm_fail(LDM_ERR_ARG, "--size %d: wanted a multiple of 128 up to 1024 (f = 32 halves its latent twice)",
                     o.size));
    if (o.batch < 1 || o.batch > 64) TRY(ldm_fail(LDM_ERR_ARG, "--batch %d: wanted 1 to 64", o.batch));
    if (o.repeat < 1 || o.repeat > MAX_REPEAT)
        TRY(ldm_fail(LDM_ERR_ARG, "--repeat %d: wanted 1 to %d", o.repeat, MAX_REPEAT));
    app_device.profile = true;
    TRY(app_open_device(&cl));
    if (out) {
        char kind[64];
        snprintf(kind, sizeof kind, "ablation-%s%s", o.family, ldm_cl_device(cl)->exact ? "-exact" : "");
        TRY(ldm_record_try(ldm_record_place(out, kind, ldm_cl_device(cl), path, sizeof path)));
    }
    TRY(ldm_measure_peak(cl, &peak));
    for (int i = 0; i < MAX_F; i++) {
        if (!wanted[i]) continue;
        snprintf(name, sizeof name, "%s-ldm-%d", o.family, all_f[i]);
        row *r = &rows[n];
        *r = (row){.f = all_f[i], .config = ldm_config_find(name)};
        if (!r->config || !(r->stage = ldm_stage_find(r->config->stage))) TRY(LDM_ERR_ARG);
        TRY(ldm_prefix(measure_unet(&o, cl, r, kinds), "%s", name));
        TRY(ldm_prefix(measure_decoder(&o, cl, r), "%s decoder %s", name, r->stage->name));
        ldm_note("%s: step %.3f s, decode %.3f s", name, r->step, r->decode);
        n++;
    }
    report(&o, rows, n, &peak, json);
    ldm_build_stats b = ldm_cl_build_stats(cl);
    printf("%d programs, %d of them compiled, %.1f s\n", b.programs, b.compiled, b.seconds);
    if (out) {
        root = json_pack("{s:o,s:O,s:O,s:{s:i,s:i,s:f}}", "header",
                         ldm_record_header(ldm_cl_device(cl), &peak, argc, (char **)(uintptr_t)argv), "rows", json,
                         "kinds", kinds, "build", "programs", b.programs, "compiled", b.compiled, "seconds", b.seconds);
        if (!root) TRY(ldm_fail(LDM_ERR_NOMEM, "results: host memory is out"));
        TRY(ldm_record_write(path, root));
        printf("%s\n", path);
    }
done:
    json_decref(root), json_decref(json), json_decref(kinds);
    ldm_cl_close(cl);
    free(f_list), free(family), free(out);
    poptFreeContext(ctx);
    return st;
}
