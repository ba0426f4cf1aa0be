/* bench.c -- ldm-bench, which is `ldm bench`: every problem of the shape files in the rows asked for: verified once, timed by
 * Google Benchmark, written to results/; or a network against its floor (floor.h). `--serve` answers one-line commands instead, so that a script can interleave us with other libraries
 * (bench/peers.py). Shape files are what `ldm plan NET --shapes` prints: "  12 x conv2d:f32 n=1 ..."; # starts a comment. */
#include "app/record.h"
#include "bench/case.h"
#include "bench/floor.h"
#include "bench/gbench_shim.h"
#include "bench/serve.h"
#include <ctype.h>
#include <fnmatch.h>
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    bench_case c;
    json_t *uses;                   /* [{"net": "cin-ldm-8-unet", "count": 12}] */
    double *sample;                 /* seconds of each iteration of the last series */
    int samples, room;
    bool failed;
    char why[600];
} entry;

typedef struct options {
    char *ops, *impl, *filter, *out, *plan, *dtype;
    double min_time;
    int serve, list, no_results, batch, height, width, repetitions;
    const char **files; /* ends with NULL; owned by the parser */
    char *pass[32];     /* argv of the library */
    int passed;
} options;

static entry **entries;
static int entry_count;
static entry *opened;               /* the one entry that holds device memory */
static ldm_peak peak;

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static bool in_list(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *s = list; s && *s; s += strcspn(s, ","), s += *s == ',')
        if (strncmp(s, name, n) == 0 && (s[n] == ',' || !s[n])) return true;
    return false;
}

static ldm_status add_entry(ldm_cl *cl, const ldm_problem *p, const char *impl, const char *net, int count) {
    bench_case c;
    ldm_status st = bench_case_init(&c, cl, p, impl);
    if (st) return st;
    json_t *use = json_pack("{s:s, s:i}", "net", net, "count", count);
    for (int i = 0; i < entry_count; i++)
        if (entries[i]->c.choice.impl == c.choice.impl && !strcmp(entries[i]->c.text, c.text))
            return json_array_append_new(entries[i]->uses, use) ? ldm_fail(LDM_ERR_NOMEM, "bench: out of memory") : LDM_OK;
    entry *e, **grown = realloc(entries, (size_t)(entry_count + 1) * sizeof *grown);
    if (!grown) return ldm_fail(LDM_ERR_NOMEM, "bench: out of memory");
    entries = grown;
    if ((st = ldm_alloc(sizeof *e, (void **)&e))) return st;
    *e = (entry){.c = c, .uses = json_array()};
    json_array_append_new(e->uses, use);
    entries[entry_count++] = e;
    return LDM_OK;
}

static ldm_status add_line(ldm_cl *cl, const options *o, char *line, const char *net) {
    int count = 1, used = 0;
    line[strcspn(line, "#\r\n")] = 0;
    char *s = line + strspn(line, " \t");
    for (size_t n = strlen(s); n && (s[n - 1] == ' ' || s[n - 1] == '\t'); n--) s[n - 1] = 0;
    if (!*s) return LDM_OK;
    if (sscanf(s, "%d x %n", &count, &used) == 1 && used) s += used;
    if (o->filter && !strstr(s, o->filter) && fnmatch(o->filter, s, 0) != 0) return LDM_OK;
    ldm_problem p;
    ldm_status st = ldm_problem_parse(s, &p);
    if (st) return ldm_prefix(st, "%s: '%s'", net, s);
    if (o->ops && !in_list(o->ops, p.op->name)) return LDM_OK;
    if (!o->impl) return add_entry(cl, &p, NULL, net, count);
    for (const ldm_impl *i = p.op->impls; i->name; i++) {
        bool wanted = !strcmp(o->impl, "all") || in_list(o->impl, i->name);
        if (!wanted || (i->supports && i->supports(&p, ldm_cl_device(cl)))) continue;
        if ((st = add_entry(cl, &p, i->name, net, count))) return st;
    }
    return LDM_OK;
}

static ldm_status add_file(ldm_cl *cl, const options *o, const char *path) {
    char *data = NULL, net[128], *rest;
    size_t size;
    ldm_status st = ldm_read_file(path, 1 << 24, &data, &size);
    if (st) return st;
    const char *slash = strrchr(path, '/');
    snprintf(net, sizeof net, "%s", slash ? slash + 1 : path);
    net[strcspn(net, ".")] = 0;
    for (char *line = strtok_r(data, "\n", &rest); line && !st; line = strtok_r(NULL, "\n", &rest)) st = add_line(cl, o, line, net);
    free(data);
    return st;
}

/* ---- the callbacks Google Benchmark runs ------------------------------------------------------------------------- */

static const char *begin(void *self) {
    entry *e = self;
    e->samples = 0;
    if (ldm_check_interrupt()) return "interrupted";
    if (e->failed) return e->why;
    if (opened != e) {
        if (opened) bench_case_close(&opened->c);
        opened = NULL;
        if (bench_case_open(&e->c)) {
            e->failed = true;
            snprintf(e->why, sizeof e->why, "%s", ldm_message());
            return e->why;
        }
        opened = e;
    }
    return NULL;
}

static double once(void *self) {
    entry *e = self;
    double seconds;
    if (ldm_check_interrupt() || bench_case_time(&e->c, &seconds)) return -1;
    if (e->samples == e->room) {
        double *grown = realloc(e->sample, (size_t)(e->room * 2 + 64) * sizeof *grown);
        if (!grown) return -1;
        e->sample = grown, e->room = e->room * 2 + 64;
    }
    return e->sample[e->samples++] = seconds;
}

/* ---- results ------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *row(entry *e) {
    char params[200];
    const bench_case *c = &e->c;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:O}", "problem", c->text, "op", c->p.op->name, "impl", c->choice.impl->name, "params",
                          ldm_choice_params(&c->choice, params, sizeof params), "uses", e->uses);
    if (e->failed) return json_object_set_new(j, "failed", json_string(e->why)), j;
    if (!e->samples) return json_decref(j), NULL;
    qsort(e->sample, (size_t)e->samples, sizeof *e->sample, by_value);
    double median = e->sample[e->samples / 2], low = e->sample[e->samples / 10], high = e->sample[e->samples - 1 - e->samples / 10];
    double gflops = c->cost.flops / median * 1e-9;
    json_t *figures = json_pack("{s:f, s:f, s:f, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "seconds", median, "best_s", e->sample[0],
                                "spread", (high - low) / median, "iterations", e->samples, "batch", c->batch, "flops", c->cost.flops,
                                "bytes", c->cost.bytes, "gflops", gflops, "gbs", c->cost.bytes / median * 1e-9, "peak_percent",
                                100 * gflops / peak.gflops, "roof_percent",
                                100 * ldm_peak_limit(&peak, c->cost.flops, c->cost.bytes) / median, "worst_error_over_bound",
                                c->verdict.worst, "judged", (json_int_t)c->verdict.judged);
    json_object_update(j, figures);
    json_decref(figures);
    return j;
}

static ldm_status write_results(ldm_cl *cl, const char *path, int argc, char **argv) {
    json_t *rows = json_array(), *root = json_pack("{s:o, s:o}", "header", ldm_record_header(ldm_cl_device(cl), &peak, argc, argv), "rows", rows);
    for (int i = 0; i < entry_count; i++) {
        json_t *r = row(entries[i]);
        if (r) json_array_append_new(rows, r);
    }
    ldm_status st = ldm_record_write(path, root);
    json_decref(root);
    return st;
}

/* ---- main ------------------------------------------------------------------------------------------------------------ */

static const app_command self = {"bench", "[SHAPES.txt ...] | --plan NET",
                                 "Verifies and times every op on the shapes of real networks (default: bench/shapes/*.txt), or a network step by step.", NULL};

/* The shape files asked for, else all of bench/shapes beside kernels/ (which moves with the executable). */
static ldm_status add_files(ldm_cl *cl, const options *o) {
    ldm_status st = LDM_OK;
    char pattern[4200];
    glob_t g = {0};
    for (int i = 0; o->files && o->files[i] && !st; i++) st = add_file(cl, o, o->files[i]);
    if ((o->files && o->files[0]) || st) return st;
    snprintf(pattern, sizeof pattern, "%s/../bench/shapes/*.txt", ldm_kernel_dir());
    if (glob(pattern, 0, NULL, &g) != 0) return ldm_fail(LDM_ERR_FORMAT, "%s: no shape files; name some", pattern);
    for (size_t i = 0; i < g.gl_pathc && !st; i++) st = add_file(cl, o, g.gl_pathv[i]);
    globfree(&g);
    return st;
}

/* Where results go: -o, else a name of their own in results/. */
static const char *results_path(const options *o, const char *kind, ldm_cl *cl, char *buf, size_t cap) {
    size_t n = o->out ? strlen(o->out) : 0;
    if (n && o->out[n - 1] != '/') return snprintf(buf, cap, "%s", o->out), buf;
    return ldm_record_path(n ? o->out : "results", kind, ldm_cl_device(cl), buf, cap);
}

/* Every case through Google Benchmark. */
static ldm_status bench_ops(ldm_cl *cl, options *o, int argc, char **argv) {
    ldm_status st = LDM_OK;
    char path[4200], name[LDM_PROBLEM_TEXT + 80];
    int failures = 0;
    TRY(add_files(cl, o));
    if (!entry_count) TRY(ldm_fail(LDM_ERR_ARG, "no problem left to time: nothing matches the options"));
    for (int i = 0; i < entry_count && o->list; i++) printf("%s @%s\n", entries[i]->c.text, entries[i]->c.choice.impl->name);
    if (o->list) goto done;
    TRY(ldm_measure_peak(cl, &peak));
    printf("%s: measured peak %.0f GFLOP/s (%s), read %.1f, copy %.1f, triad %.1f GB/s\n", ldm_cl_device(cl)->name, peak.gflops,
           peak.variant, peak.read_gbs, peak.copy_gbs, peak.triad_gbs);
    for (int i = 0; i < entry_count; i++) {
        bench_case *c = &entries[i]->c;
        snprintf(name, sizeof name, "%s @%s", c->text, c->choice.impl->name);
        gbench_register(&(gbench_case){name, begin, once, entries[i], c->cost.flops, c->cost.bytes, peak.gflops,
                                       ldm_peak_limit(&peak, c->cost.flops, c->cost.bytes)},
                        o->min_time);
    }
    if (gbench_run(o->passed, o->pass) < 0) TRY(ldm_fail(LDM_ERR_ARG, "an option of Google Benchmark is not one"));
    TRY(ldm_check_interrupt());
    for (int i = 0; i < entry_count; i++) {
        if (!entries[i]->failed) continue;
        failures++;
        fprintf(stderr, "%s @%s: %s\n", entries[i]->c.text, entries[i]->c.choice.impl->name, entries[i]->why);
    }
    if (!o->no_results) {
        TRY(write_results(cl, results_path(o, "bench", cl, path, sizeof path), argc, argv));
        printf("%d cases, %d failed: %s\n", entry_count, failures, path);
    }
    if (failures) TRY(ldm_fail(LDM_ERR_MISMATCH, "%d of %d cases failed", failures, entry_count));
done:
    if (opened) bench_case_close(&opened->c);
    for (int i = 0; i < entry_count; i++) {
        json_decref(entries[i]->uses);
        free(entries[i]->sample);
        free(entries[i]);
    }
    free(entries);
    return st;
}

static ldm_status bench_plan(ldm_cl *cl, const options *o, int argc, char **argv) {
    ldm_status st = LDM_OK;
    char path[4200], kind[200];
    app_network_options n = {.net = o->plan, .synthetic = 1, .n = o->batch, .h = o->height, .w = o->width};
    json_t *root = NULL;
    ldm_peak measured;
    TRY(app_parse_dtype(o->dtype, &n.dtype));
    if (o->repetitions < 1 || o->repetitions > 1000) TRY(ldm_fail(LDM_ERR_ARG, "--repetitions %d: wanted 1 to 1000", o->repetitions));
    TRY(bench_floor(cl, &n, o->repetitions, &root));
    if (o->no_results) goto done;
    TRY(ldm_measure_peak(cl, &measured));
    json_object_set_new(root, "header", ldm_record_header(ldm_cl_device(cl), &measured, argc, argv));
    const char *text = json_string_value(json_object_get(root, "network")); /* as a file name */
    size_t len = (size_t)snprintf(kind, sizeof kind, "floor-");
    for (const char *s = text; *s && len < sizeof kind - 1; s++)
        if (isalnum((unsigned char)*s)) kind[len++] = *s;
        else if (kind[len - 1] != '-') kind[len++] = '-';
    kind[len] = 0;
    TRY(ldm_record_write(results_path(o, kind, cl, path, sizeof path), root));
    printf("%s\n", path);
done:
    json_decref(root);
    return st;
}

int main(int argc, char **argv) {
    options o = {.min_time = 0.3, .batch = 1, .repetitions = 5, .pass = {argv[0]}, .passed = 1};
    const struct poptOption table[] = {
        {"op", 0, POPT_ARG_STRING, &o.ops, 0, "only these ops, e.g. conv2d,gemm", "LIST"},
        {"impl", 0, POPT_ARG_STRING, &o.impl, 0, "this row of each op, or every row that can run (default: the one the table chooses)", "NAME|all"},
        {"filter", 0, POPT_ARG_STRING, &o.filter, 0, "only problems containing TEXT (or matching it as a pattern with *)", "TEXT"},
        {"min-time", 0, POPT_ARG_DOUBLE, &o.min_time, 0, "seconds each case is timed for at least (0.3)", "S"},
        {"list", 0, POPT_ARG_NONE, &o.list, 0, "print the cases and stop", NULL},
        {"plan", 0, POPT_ARG_STRING, &o.plan, 0, "a network step by step against its floor: for each step the least time that the measured peak and "
         "bandwidth allow any algorithm we have; and what launching costs", "NET"},
        {"batch", 'b', POPT_ARG_INT, &o.batch, 0, "batch size of the network (1)", "N"},
        {"height", 'H', POPT_ARG_INT, &o.height, 0, "of the network's own input (default: native)", "N"},
        {"width", 'W', POPT_ARG_INT, &o.width, 0, "likewise", "N"},
        {"dtype", 0, POPT_ARG_STRING, &o.dtype, 0, "storage of the network: f32 or f16", "T"},
        {"repetitions", 0, POPT_ARG_INT, &o.repetitions, 0, "timed runs of the network; medians count (5)", "R"},
        {"output", 'o', POPT_ARG_STRING, &o.out, 0, "results file; a name ending in / gets a file name of its own (results/)", "FILE.json"},
        {"no-results", 0, POPT_ARG_NONE, &o.no_results, 0, "write none", NULL},
        {"serve", 0, POPT_ARG_NONE, &o.serve, 0, "answer one-line commands on standard input (bench/serve.h; for the scripts that compare)", NULL},
        {"benchmark_OPTION", 0, POPT_ARG_NONE, NULL, 0, "options of Google Benchmark are passed on", NULL},
        APP_PLAN, APP_DEVICE, APP_END};
    ldm_cl *cl = NULL;
    poptContext ctx = NULL;
    ldm_status st = LDM_OK;
    int status = 0, kept = 1;
    const char **args = calloc((size_t)argc + 1, sizeof *args);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!args) TRY(ldm_fail(LDM_ERR_NOMEM, "bench: host memory could not be allocated"));
    args[0] = "ldm bench";
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--benchmark_", 12)) args[kept++] = argv[i];
        else if (o.passed < 31) o.pass[o.passed++] = argv[i];
    }
    ldm_catch_signals();
    TRY(app_parse(&self, table, kept, args, 0, 1000, &o.files, &ctx));
    if (!(o.min_time > 0)) TRY(ldm_fail(LDM_ERR_ARG, "--min-time %g: wanted seconds above 0", o.min_time));
    app_device.profile = o.plan != NULL;
    TRY(app_open_untested(&cl));
    if (o.serve) status = bench_serve(cl);
    else if (o.plan) st = bench_plan(cl, &o, argc, argv);
    else st = bench_ops(cl, &o, argc, argv);
done:
    ldm_cl_close(cl);
    free(o.ops), free(o.impl), free(o.filter), free(o.out), free(o.plan), free(o.dtype);
    poptFreeContext(ctx);
    free(args);
    if (st) fprintf(stderr, "ldm bench: %s\n", ldm_message());
    return st ? ldm_exit_status(st) : status;
}
