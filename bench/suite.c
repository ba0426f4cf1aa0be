/* suite.c -- see suite.h. Shape files are what `ldm plan NET --shapes` prints: "  12 x conv2d:f32 n=1 ..."; # starts a
 * comment. */
#include "bench/suite.h"
#include "app/record.h"
#include "bench/case.h"
#include "bench/gbench_shim.h"
#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

enum { COLD_RUNS = 5 }; /* of a repetition: emptying the caches takes longer than most kernels */

typedef struct entry {
    suite *all;
    char name[LDM_PROBLEM_TEXT + 80];
    bool network;
    bench_case c;          /* a problem */
    app_network_options o; /* or a network */
    char net_name[1000];   /* what o.net points to */
    bench_net net;
    double flops, bytes, limit; /* of a run; seconds that peak and bandwidth allow at least */
    json_t *uses;               /* [{"net": "cin-ldm-8-unet", "count": 12}] */
    ldm_load load;
    bool failed;
    char why[600];
} entry;

struct suite {
    ldm_cl *cl;
    suite_options o;
    entry **entry;
    int count;
    entry *opened; /* the one entry that holds device memory */
    bench_cold cold;
    ldm_peak peak;
};

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static bool in_list(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *s = list; s && *s; s += strcspn(s, ","), s += *s == ',')
        if (strncmp(s, name, n) == 0 && (s[n] == ',' || !s[n])) return true;
    return false;
}

/* A new entry at the end of the list; the list's own from then on. */
static ldm_status append(suite *s, entry **out) {
    entry *e, **grown = realloc(s->entry, (size_t)(s->count + 1) * sizeof *grown);
    if (!grown) return ldm_fail(LDM_ERR_NOMEM, "bench: host memory is out");
    s->entry = grown;
    ldm_status st = ldm_alloc(sizeof *e, (void **)&e);
    if (st) return st;
    e->all = s, e->uses = json_array();
    *out = s->entry[s->count++] = e;
    return LDM_OK;
}

static ldm_status add_problem(suite *s, const ldm_problem *p, const char *impl, const char *file, int count) {
    bench_case c;
    entry *e = NULL;
    ldm_status st = bench_case_init(&c, s->cl, p, impl);
    if (st) return st;
    for (int i = 0; i < s->count && !e; i++)
        if (s->entry[i]->c.choice.impl == c.choice.impl && !strcmp(s->entry[i]->c.text, c.text)) e = s->entry[i];
    if (!e) {
        if ((st = append(s, &e))) return st;
        e->c = c, e->flops = c.cost.flops, e->bytes = c.cost.bytes;
        snprintf(e->name, sizeof e->name, "%s @%s", c.text, c.choice.impl->name);
    }
    json_array_append_new(e->uses, json_pack("{s:s, s:i}", "net", file, "count", count));
    return LDM_OK;
}

static ldm_status add_line(suite *s, char *line, const char *file) {
    int count = 1, used = 0;
    line[strcspn(line, "#\r\n")] = 0;
    char *at = line + strspn(line, " \t");
    for (size_t n = strlen(at); n && (at[n - 1] == ' ' || at[n - 1] == '\t'); n--) at[n - 1] = 0;
    if (!*at) return LDM_OK;
    if (sscanf(at, "%d x %n", &count, &used) == 1 && used) at += used;
    if (s->o.filter && !strstr(at, s->o.filter) && fnmatch(s->o.filter, at, 0) != 0) return LDM_OK;
    ldm_problem p;
    ldm_status st = ldm_problem_parse(at, &p);
    if (st) return ldm_prefix(st, "%s: '%s'", file, at);
    if (s->o.ops && !in_list(s->o.ops, p.op->name)) return LDM_OK;
    if (!s->o.impl) return add_problem(s, &p, NULL, file, count);
    for (const ldm_impl *i = p.op->impls; i->name; i++) {
        bool wanted = !strcmp(s->o.impl, "all") || in_list(s->o.impl, i->name);
        if (!wanted || ldm_cannot(&p, ldm_cl_device(s->cl), i)) continue;
        if ((st = add_problem(s, &p, i->name, file, count))) return st;
    }
    return LDM_OK;
}

static ldm_status add_file(suite *s, const char *path) {
    char *data = NULL, file[128], *rest;
    size_t size;
    ldm_status st = ldm_read_file(path, 1 << 24, &data, &size);
    if (st) return st;
    const char *slash = strrchr(path, '/');
    snprintf(file, sizeof file, "%s", slash ? slash + 1 : path);
    file[strcspn(file, ".")] = 0;
    for (char *line = strtok_r(data, "\n", &rest); line && !st; line = strtok_r(NULL, "\n", &rest))
        st = add_line(s, line, file);
    free(data);
    return st;
}

/* The shape files asked for, else all of bench/shapes beside kernels/ (which moves with the executable). */
static ldm_status add_files(suite *s) {
    ldm_status st = LDM_OK;
    char pattern[4200];
    glob_t g = {0};
    for (int i = 0; s->o.files && s->o.files[i] && !st; i++) st = add_file(s, s->o.files[i]);
    if ((s->o.files && s->o.files[0]) || s->o.nets || st) return st;
    snprintf(pattern, sizeof pattern, "%s/../bench/shapes/*.txt", ldm_kernel_dir());
    if (glob(pattern, 0, NULL, &g) != 0) return ldm_fail(LDM_ERR_FORMAT, "%s: no shape files; name some", pattern);
    for (size_t i = 0; i < g.gl_pathc && !st; i++) st = add_file(s, g.gl_pathv[i]);
    globfree(&g);
    return st;
}

/* Its plan is made here, for its name and cost, and again when it runs: plans take milliseconds. */
static ldm_status add_network(suite *s, const char *name, size_t len) {
    entry *e;
    bench_net b = {0};
    ldm_status st = append(s, &e);
    if (st) return st;
    e->network = true, e->o = s->o.net, e->o.net = e->net_name;
    snprintf(e->net_name, sizeof e->net_name, "%.*s", (int)len, name);
    st = app_network_plan(&e->o, &b.net);
    if (!st) st = app_network_finish(&b.net, ldm_cl_device(s->cl));
    for (int i = 0; !st && i < b.net.plan->steps; i++) {
        const ldm_problem *p = &b.net.plan->step[i].problem;
        const ldm_cost cost = p->op->cost(p);
        e->flops += cost.flops, e->bytes += cost.bytes;
        e->limit += ldm_peak_floor(&s->peak, p, ldm_cl_device(s->cl), NULL, NULL);
    }
    if (!st) bench_net_text(&b, &e->o, e->name, sizeof e->name);
    bench_net_close(&b);
    return st;
}

ldm_status suite_create(ldm_cl *cl, const suite_options *o, suite **out) {
    ldm_status st = LDM_OK;
    suite *s = NULL;
    TRY(ldm_alloc(sizeof *s, (void **)&s));
    s->cl = cl, s->o = *o;
    TRY(add_files(s));
    if (o->nets) TRY(ldm_measure_peak(cl, &s->peak));
    const char *between = o->nets && strchr(o->nets, '=') ? "" : ","; /* key=value text has commas of its own */
    for (const char *n = o->nets; n && *n; n += strcspn(n, between), n += *n == ',')
        TRY(add_network(s, n, strcspn(n, between)));
    if (!s->count) TRY(ldm_fail(LDM_ERR_ARG, "no problem left to time: nothing matches the options"));
    *out = s;
    s = NULL;
done:
    suite_destroy(s);
    return st;
}

void suite_list(const suite *s) {
    for (int i = 0; i < s->count; i++) printf("%s\n", s->entry[i]->name);
}

/* ---- the callbacks Google Benchmark runs ------------------------------------------------------------------------- */

static void close_opened(suite *s) {
    if (s->opened && s->opened->network) bench_net_close(&s->opened->net);
    else if (s->opened) bench_case_close(&s->opened->c);
    s->opened = NULL;
}

static const char *begin(void *self, int *batch) {
    entry *e = self;
    if (ldm_check_interrupt()) return "interrupted";
    if (!e->failed && e->all->opened != e) {
        close_opened(e->all);
        e->all->opened = e;
        ldm_status st = e->network ? bench_net_open(&e->net, e->all->cl, &e->o) : bench_case_open(&e->c);
        if (!st && e->network) st = bench_net_run(&e->net, NULL); /* warms up */
        if (st) {
            e->failed = true;
            snprintf(e->why, sizeof e->why, "%s", ldm_message());
        }
    }
    if (!e->failed && !e->network) *batch = e->c.batch;
    ldm_load_begin(&e->load);
    return e->failed ? e->why : NULL;
}

static double once(void *self) {
    entry *e = self;
    double seconds;
    if (ldm_check_interrupt() || (e->network ? bench_net_run(&e->net, &seconds) : bench_case_time(&e->c, &seconds)))
        return -1;
    return seconds;
}

static double other_load(void *self) { return ldm_load_other(&((entry *)self)->load); }

/* ---- results -------------------------------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The repetitions of `e` among the library's results: seconds, ascending; of their other load the largest. */
static int repetitions_of(const entry *e, const json_t *benchmarks, double *seconds, int cap, double *other,
                          json_int_t *iterations) {
    size_t i, len = strlen(e->name);
    json_t *b;
    int n = 0;
    json_array_foreach(benchmarks, i, b) {
        const char *name = json_string_value(json_object_get(b, "run_name")),
                   *type = json_string_value(json_object_get(b, "run_type"));
        if (!name || !type || strcmp(type, "iteration") || strncmp(name, e->name, len) || name[len] != '/') continue;
        if (json_object_get(b, "error_occurred") || n == cap) continue;
        double load = json_number_value(json_object_get(b, "%other")) / 100;
        seconds[n++] = json_number_value(json_object_get(b, "real_time")) * 1e-6; /* registered in microseconds */
        if (load > *other) *other = load;
        *iterations = json_integer_value(json_object_get(b, "iterations"));
    }
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    return n;
}

static json_t *row(const suite *s, const entry *e, const json_t *benchmarks) {
    char params[200];
    double t[1000], other = 0;
    json_int_t iterations = 0;
    const bench_case *c = &e->c;
    json_t *j = e->network ? json_pack("{s:s, s:s}", "problem", e->name, "op", "network")
                           : json_pack("{s:s, s:s, s:s, s:s, s:O}", "problem", c->text, "op", c->p.op->name, "impl",
                                       c->choice.impl->name, "params",
                                       ldm_choice_params(&c->choice, params, sizeof params), "uses", e->uses);
    if (e->failed) return json_object_set_new(j, "failed", json_string(e->why)), j;
    const int n = repetitions_of(e, benchmarks, t, 1000, &other, &iterations);
    if (!n) return json_decref(j), NULL;
    const double median = n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2, gflops = e->flops / median * 1e-9;
    json_t *figures =
        json_pack("{s:f, s:f, s:f, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "seconds", median, "best_s", t[0],
                  "spread", (t[n - 1] - t[0]) / median, "repetitions", n, "iterations", iterations, "flops", e->flops,
                  "bytes", e->bytes, "gflops", gflops, "gbs", e->bytes / median * 1e-9, "peak_percent",
                  100 * gflops / s->peak.gflops, "roof_percent", 100 * e->limit / median, "other_load", other);
    json_object_update(j, figures);
    json_decref(figures);
    if (!e->network)
        json_object_update_new(j, json_pack("{s:i, s:f, s:I}", "batch", c->batch, "worst_error_over_bound",
                                            c->verdict.worst, "judged", (json_int_t)c->verdict.judged));
    return j;
}

static ldm_status run_library(suite *s, json_t **out) {
    char min_time[80], repeats[80], *text = NULL, *argv[40] = {"ldm bench", min_time, repeats}; /* later ones win */
    json_error_t why;
    int argc = 3;
    snprintf(min_time, sizeof min_time, "--benchmark_min_time=%g", s->o.min_time);
    snprintf(repeats, sizeof repeats, "--benchmark_repetitions=%d", s->o.repetitions);
    for (int i = 0; i < s->o.passed && argc < 39; i++) argv[argc++] = s->o.pass[i];
    for (int i = 0; i < s->count; i++) {
        entry *e = s->entry[i];
        gbench_register(&(gbench_case){e->name, begin, once, other_load, e, e->flops, e->bytes, s->peak.gflops,
                                       e->limit, s->o.cold && !e->network ? COLD_RUNS : 0});
    }
    gbench_context("caches_before_a_run", s->o.cold ? "cold" : "warm");
    gbench_context("device", ldm_cl_device(s->cl)->name);
    gbench_context("commit", ldm_commit());
    const int ran = gbench_run(argc, argv, &text);
    close_opened(s);
    if (ran < 0) return ldm_fail(LDM_ERR_ARG, "Google Benchmark does not know one of the options passed on");
    ldm_status st = ldm_check_interrupt();
    if (!st && !(*out = text ? json_loads(text, 0, &why) : NULL))
        st = ldm_fail(LDM_ERR_NOMEM, "Google Benchmark's results cannot be read back: %s",
                      text ? why.text : "host memory is out");
    free(text);
    return st;
}

ldm_status suite_run(suite *s, json_t **out, int *failures) {
    ldm_status st = LDM_OK;
    json_t *root = NULL, *rows = json_array();
    *failures = 0;
    TRY(ldm_measure_peak(s->cl, &s->peak));
    if (s->o.cold) TRY(bench_cold_create(s->cl, &s->cold));
    for (int i = 0; i < s->count; i++) {
        entry *e = s->entry[i];
        if (s->o.cold) e->c.cold = &s->cold;
        if (!e->network) e->limit = ldm_peak_limit(&s->peak, e->flops, e->bytes);
    }
    TRY(run_library(s, &root));
    for (int i = 0; i < s->count; i++) {
        json_t *r = row(s, s->entry[i], json_object_get(root, "benchmarks"));
        if (r) json_array_append_new(rows, r);
        *failures += s->entry[i]->failed;
    }
    json_object_set(root, "rows", rows);
    *out = root;
    root = NULL;
done:
    json_decref(root), json_decref(rows);
    return st;
}

void suite_destroy(suite *s) {
    if (!s) return;
    close_opened(s);
    bench_cold_destroy(&s->cold);
    for (int i = 0; i < s->count; i++) {
        json_decref(s->entry[i]->uses);
        free(s->entry[i]);
    }
    free(s->entry);
    free(s);
}
