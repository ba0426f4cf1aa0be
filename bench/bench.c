/* bench.c -- ldm-bench, which is `ldm bench`: options, and which of its jobs they ask for: cases through Google
 * Benchmark (suite.h) and their comparison with an earlier run (compare.h), a network against its floor (floor.h) and
 * as it grows (grow.h), answers to scripts (serve.h). */
#include "app/record.h"
#include "bench/compare.h"
#include "bench/floor.h"
#include "bench/grow.h"
#include "bench/serve.h"
#include "bench/suite.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    char *ops, *impl, *filter, *nets, *out, *plan, *grow, *compare;
    double min_time, alpha, threshold;
    int serve, list, no_results, cold, warm, batch, height, width, repetitions;
    const char **files; /* ends with NULL; owned by the parser */
    char *pass[32];     /* Google Benchmark's own */
    int passed;
} options;

static const app_command self = {
    "bench", "[SHAPES.txt ... | NET]",
    "Verifies and times ops on the shapes of real networks (bench/shapes), or whole networks.\n"
    "Results have Google Benchmark's form.",
    NULL};

/* Where results go: -o, else a name of their own in results/. */
static const char *results_path(const options *o, const char *kind, ldm_cl *cl, char *buf, size_t cap) {
    return ldm_record_place(o->out && *o->out ? o->out : "results/", kind, ldm_cl_device(cl), buf, cap);
}

/* Before what goes there: its folder is made, a file in it could be. Of networks the end of the name follows from them. */
static ldm_status try_results(ldm_cl *cl, const options *o, const char *kind) {
    char path[4200];
    return o->no_results ? LDM_OK : ldm_record_try(results_path(o, kind, cl, path, sizeof path));
}

/* What both sorts of results files have. */
static ldm_status write_results(ldm_cl *cl, const options *o, const char *kind, json_t *root, int argc, char **argv) {
    char path[4200];
    ldm_peak peak;
    ldm_status st = ldm_measure_peak(cl, &peak); /* known by now */
    if (!st) json_object_set_new(root, "header", ldm_record_header(ldm_cl_device(cl), &peak, argc, argv));
    if (!st) st = ldm_record_write(results_path(o, kind, cl, path, sizeof path), root);
    if (!st) printf("%s\n", path);
    return st;
}

/* Cases through Google Benchmark. */
static ldm_status bench_suite(ldm_cl *cl, const options *o, const app_network_options *net, int argc, char **argv) {
    ldm_status st = LDM_OK;
    suite *s = NULL;
    json_t *root = NULL, *old = NULL;
    ldm_peak peak;
    ldm_load load;
    json_error_t why;
    int failures = 0;
    suite_options so = {.ops = o->ops,
                        .impl = o->impl,
                        .filter = o->filter,
                        .files = o->files,
                        .nets = o->nets,
                        .net = *net,
                        .cold = o->cold,
                        .min_time = o->min_time,
                        .repetitions = o->repetitions,
                        .pass = o->pass,
                        .passed = o->passed};
    if (o->compare && !(old = json_load_file(o->compare, 0, &why)))
        TRY(ldm_fail(LDM_ERR_FORMAT, "--compare %s: %s", o->compare, why.text));
    if (!so.repetitions) so.repetitions = o->compare ? 9 : 5;
    TRY(suite_create(cl, &so, &s));
    if (o->list) {
        suite_list(s);
        goto done;
    }
    TRY(try_results(cl, o, "bench"));
    TRY(ldm_measure_peak(cl, &peak));
    printf("%s: measured peak %.0f GFLOP/s (%s), read %.1f, copy %.1f, triad %.1f GB/s\n", ldm_cl_device(cl)->name,
           peak.gflops, peak.variant, peak.read_gbs, peak.copy_gbs, peak.triad_gbs);
    ldm_load_begin(&load);
    TRY(suite_run(s, &root, &failures));
    const double other = ldm_load_other(&load);
    printf("other load on the machine: %.1f %% of its processors' time%s\n", 100 * other,
           other > 0.05 ? "; these figures are not of a quiet machine" : "");
    json_object_set_new(root, "other_load", json_real(other));
    if (!o->no_results) TRY(write_results(cl, o, "bench", root, argc, argv));
    if (failures) TRY(ldm_fail(LDM_ERR_MISMATCH, "%d cases failed: see \"failed\" in the results", failures));
    if (old)
        TRY(ldm_prefix(bench_compare(old, root, &(compare_options){o->alpha, o->threshold / 100}), "%s", o->compare));
done:
    suite_destroy(s);
    json_decref(root), json_decref(old);
    return st;
}

/* "cin-ldm-8 unet 1x32x32 f32" behind `what`, as part of a file name. */
static void kind_of(const char *what, const char *network, char *buf, size_t cap) {
    size_t len = (size_t)snprintf(buf, cap, "%s-", what);
    for (const char *s = network; *s && len < cap - 1; s++)
        if (isalnum((unsigned char)*s)) buf[len++] = *s;
        else if (buf[len - 1] != '-') buf[len++] = '-';
    buf[len] = 0;
}

/* --plan, --grow. */
static ldm_status bench_network(ldm_cl *cl, const options *o, app_network_options n, int argc, char **argv) {
    ldm_status st = LDM_OK;
    char kind[200];
    json_t *root = NULL;
    n.net = o->plan ? o->plan : o->files ? o->files[0] : NULL;
    if (!n.net || (o->grow && o->files[1]))
        TRY(ldm_fail(LDM_ERR_ARG, "--grow %s: wanted one network, as in `ldm bench --grow %s cin-ldm-8`", o->grow,
                     o->grow));
    TRY(try_results(cl, o, o->grow ? "growth" : "floor"));
    if (o->grow) TRY(bench_grow(cl, o->grow, &n, &root));
    else TRY(bench_floor(cl, &n, o->repetitions ? o->repetitions : 5, &root));
    kind_of(o->grow ? "growth" : "floor", json_string_value(json_object_get(root, "network")), kind, sizeof kind);
    if (!o->no_results) TRY(write_results(cl, o, kind, root, argc, argv));
done:
    json_decref(root);
    return st;
}

static ldm_status check(const options *o) {
    if (!(o->min_time > 0)) return ldm_fail(LDM_ERR_ARG, "--min-time %g: wanted seconds above 0", o->min_time);
    if (o->repetitions < 0 || o->repetitions > 1000)
        return ldm_fail(LDM_ERR_ARG, "--repetitions %d: wanted 1 to 1000", o->repetitions);
    if (!(o->alpha > 0 && o->alpha < 1)) return ldm_fail(LDM_ERR_ARG, "--alpha %g: wanted between 0 and 1", o->alpha);
    if (!(o->threshold >= 0))
        return ldm_fail(LDM_ERR_ARG, "--threshold %g: wanted a percentage, 0 or more", o->threshold);
    if (o->plan && o->grow) return ldm_fail(LDM_ERR_ARG, "--plan and --grow exclude one another");
    if (o->cold && o->warm) return ldm_fail(LDM_ERR_ARG, "--cold and --warm exclude one another");
    return LDM_OK;
}

int main(int argc, char **argv) {
    options o = {.min_time = 0.1, .alpha = 0.05, .threshold = 5, .batch = APP_UNSET, .height = APP_UNSET, .width = APP_UNSET};
    const struct poptOption cases[] = {
        {"op", 0, POPT_ARG_STRING, &o.ops, 0, "only these ops, e.g. conv2d,gemm", "LIST"},
        {"impl", 0, POPT_ARG_STRING, &o.impl, 0,
         "these rows of each op, or all that can run (default: the one the table chooses)", "LIST|all"},
        {"filter", 0, POPT_ARG_STRING, &o.filter, 0,
         "only problems containing TEXT (or matching it as a pattern with *)", "TEXT"},
        {"net", 0, POPT_ARG_STRING, &o.nets, 0,
         "whole networks, e.g. cin-ldm-8,kl-f8:decoder: one step, encode or decode", "LIST"},
        {"list", 0, POPT_ARG_NONE, &o.list, 0, "print the cases and stop", NULL},
        {"warm", 0, POPT_ARG_NONE, &o.warm, 0,
         "a problem runs again and again, back to back, on what it left in the caches (default: as libraries are "
         "measured, and what repeats best; the maps of a network are warm)",
         NULL},
        {"cold", 0, POPT_ARG_NONE, &o.cold, 0,
         "caches are emptied before each run of a problem (the weights of a network are cold: all others have passed "
         "since); networks always run as they are",
         NULL},
        {"min-time", 0, POPT_ARG_DOUBLE, &o.min_time, 0, "seconds each repetition takes at least (0.1)", "S"},
        {"repetitions", 0, POPT_ARG_INT, &o.repetitions, 0, "of each case; medians count (5; with --compare 9)", "R"},
        {"benchmark_OPTION", 0, POPT_ARG_NONE, NULL, 0, "options of Google Benchmark are passed on", NULL},
        POPT_TABLEEND};
    const struct poptOption comparing[] = {
        {"compare", 0, POPT_ARG_STRING, &o.compare, 0,
         "hold the cases against an earlier results file: a U test over the repetitions of each, a paired "
         "test over all; exit status 3 if one became slower",
         "OLD.json"},
        {"alpha", 0, POPT_ARG_DOUBLE, &o.alpha, 0,
         "a difference counts from this p down (0.05; takes 4 repetitions on both sides at least, better 9)", "P"},
        {"threshold", 0, POPT_ARG_DOUBLE, &o.threshold, 0, "and from this many per cent up (5)", "PERCENT"},
        POPT_TABLEEND};
    const struct poptOption networks[] = {
        {"plan", 0, POPT_ARG_STRING, &o.plan, 0,
         "a network step by step against its floor: for each step the least time that the measured peak and "
         "bandwidth allow any algorithm we have; and what launching costs",
         "NET"},
        {"grow", 0, POPT_ARG_STRING, &o.grow, 0,
         "how the time of the network named behind grows with its batch (1 to 16), the side of its input (16 to 128) "
         "and the cores (1 to all): a list of batch, side, cores",
         "AXES"},
        {"batch", 'b', POPT_ARG_INT, &o.batch, 0, "batch size (1)", "N"},
        {"height", 'H', POPT_ARG_INT, &o.height, 0, "of the network's own input (default: native)", "N"},
        {"width", 'W', POPT_ARG_INT, &o.width, 0, "likewise", "N"},
        POPT_TABLEEND};
    const struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)cases, 0, "Cases:", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)comparing, 0, "Comparing:", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)networks, 0, "Networks:", NULL},
        {"output", 'o', POPT_ARG_STRING, &o.out, 0,
         "results file; a name ending in / gets a file name of its own (results/)", "FILE.json"},
        {"no-results", 0, POPT_ARG_NONE, &o.no_results, 0, "write none", NULL},
        {"serve", 0, POPT_ARG_NONE, &o.serve, 0,
         "answer one-line commands on standard input (bench/serve.h; for the scripts that compare)", NULL},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    ldm_cl *cl = NULL;
    poptContext ctx = NULL;
    ldm_status st = LDM_OK;
    int status = 0, kept = 1;
    const char **args = calloc((size_t)argc + 1, sizeof *args);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!args) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory is out"));
    args[0] = "ldm bench";
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--benchmark_", 12)) args[kept++] = argv[i];
        else if (o.passed < 32) o.pass[o.passed++] = argv[i];
    }
    ldm_catch_signals();
    TRY(app_parse(&self, table, kept, args, 0, 1000, &o.files, &ctx));
    TRY(check(&o));
    app_network_options net = {.synthetic = 1};
    TRY(app_size_given("--batch", o.batch, &net.n));
    TRY(app_size_given("--height", o.height, &net.h));
    TRY(app_size_given("--width", o.width, &net.w));
    TRY(app_storage(&net.dtype, &net.wdtype));
    app_device.profile = o.plan || o.cold;
    TRY(app_open_untested(&cl));
    if (o.serve) status = bench_serve(cl);
    else if (o.plan || o.grow) st = bench_network(cl, &o, net, argc, argv);
    else st = bench_suite(cl, &o, &net, argc, argv);
done:
    ldm_cl_close(cl);
    free(o.ops), free(o.impl), free(o.filter), free(o.nets), free(o.out), free(o.plan), free(o.grow),
        free(o.compare);
    poptFreeContext(ctx);
    free(args);
    if (st) fprintf(stderr, "ldm bench: %s\n", ldm_message());
    return st ? ldm_exit_status(st) : status;
}
