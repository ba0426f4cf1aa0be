/* serve.c -- see serve.h. */
#include "bench/serve.h"
#include "app/record.h"
#include "bench/case.h"
#include "bench/net.h"
#include <stdlib.h>
#include <string.h>

enum { SERVED = 3 }; /* the chosen row, the direct one, a library's */
static const double TIMED_SECONDS = 0.02;

typedef struct served {
    ldm_cl *cl;
    bench_case c[SERVED];
    int cases;
    bench_net net;
} served;

static void close_all(served *s) {
    while (s->cases) bench_case_close(&s->c[--s->cases]);
    bench_net_close(&s->net);
}

/* Opens p in one more row, if it runs there; the row's name joins `names`. */
static ldm_status open_row(served *s, const ldm_problem *p, const char *row, json_t *names) {
    bench_case *c = &s->c[s->cases];
    ldm_status st = bench_case_init(c, s->cl, p, row);
    if (!st) st = bench_case_open(c);
    if (st) return st;
    json_array_append_new(names, json_string(c->choice.impl->name));
    s->cases++;
    return LDM_OK;
}

static ldm_status open_problem(served *s, const char *text, json_t *answer) {
    ldm_problem p;
    ldm_choice direct;
    ldm_device exact = *ldm_cl_device(s->cl);
    json_t *names = json_array();
    json_object_set_new(answer, "variants", names);
    ldm_status st = ldm_problem_parse(text, &p);
    if (!st) st = open_row(s, &p, NULL, names);
    if (st) return st;
    json_object_set_new(answer, "flops", json_real(s->c[0].cost.flops));
    json_object_set_new(answer, "bytes", json_real(s->c[0].cost.bytes));
    exact.exact = true;
    if ((st = ldm_choose(&p, &exact, &direct))) return st;
    json_object_set_new(answer, "direct", json_string(direct.impl->name));
    if (direct.impl != s->c[0].choice.impl && (st = open_row(s, &p, direct.impl->name, names))) return st;
    for (const ldm_impl *i = p.op->impls; i->name && s->cases < SERVED; i++)
        if (i->family == LDM_LIBRARY) open_row(s, &p, i->name, names); /* it may not be there, or not be able to */
    return LDM_OK;
}

static ldm_status open_net(served *s, const char *words, json_t *answer) {
    char name[200], dtype[20], weights[4000], *end;
    int n, h, w;
    if (sscanf(words, "%199s %dx%dx%d %19s %3999[^\n]", name, &n, &h, &w, dtype, weights) != 6)
        return ldm_fail(LDM_ERR_ARG, "'net %s': wanted net NAME NxHxW DTYPE WEIGHTS", words);
    app_network_options o = {.net = name, .n = n, .h = h, .w = w, .synthetic = strtoll(weights, &end, 10)};
    if (*end) o.model = weights, o.synthetic = -1;
    if (!ldm_dtypes_parse(dtype, strlen(dtype), &o.dtype, &o.wdtype))
        return ldm_fail(LDM_ERR_ARG, "'net %s': no such dtype", words);
    ldm_status st = bench_net_open(&s->net, s->cl, &o);
    if (st) return st;
    json_object_set_new(answer, "variants", json_pack("[s]", "net"));
    json_object_set_new(answer, "flops", json_real(ldm_plan_cost(s->net.net.plan, -1).flops));
    json_object_set_new(answer, "params", json_integer(ldm_plan_params(s->net.net.plan, NULL)));
    return LDM_OK;
}

static ldm_status time_variant(served *s, const char *variant, json_t *answer) {
    int i = 0, runs = 0;
    double seconds = 0, start;
    ldm_status st = LDM_OK;
    bool net = s->net.exec && !strcmp(variant, "net");
    while (i < s->cases && strcmp(s->c[i].choice.impl->name, variant)) i++;
    if (!net && i == s->cases) return ldm_fail(LDM_ERR_ARG, "'%s' is not open", variant);
    if (!net) TRY(bench_case_time(&s->c[i], &seconds));
    start = ldm_now();
    do {
        TRY(net ? bench_net_run(&s->net, NULL) : bench_case_time(&s->c[i], &seconds));
        runs += net ? 1 : s->c[i].batch;
    } while (!net && ldm_now() - start < TIMED_SECONDS);
    json_object_set_new(answer, "seconds", json_real((ldm_now() - start) / runs));
done:
    return st;
}

static ldm_status answer_line(served *s, const char *line, json_t *answer) {
    if (!strncmp(line, "time ", 5)) return time_variant(s, line + 5, answer);
    if (!strcmp(line, "header")) {
        ldm_peak peak;
        ldm_status st = ldm_measure_peak(s->cl, &peak);
        if (!st) json_object_set_new(answer, "header", ldm_record_header(ldm_cl_device(s->cl), &peak, 0, NULL));
        return st;
    }
    close_all(s);
    if (!strncmp(line, "open ", 5)) return open_problem(s, line + 5, answer);
    if (!strncmp(line, "net ", 4)) return open_net(s, line + 4, answer);
    return strcmp(line, "close") ? ldm_fail(LDM_ERR_ARG, "'%s': wanted header, open, net, time or close", line)
                                 : LDM_OK;
}

int bench_serve(ldm_cl *cl) {
    char line[4400];
    served s = {.cl = cl};
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        json_t *answer = json_object();
        if (answer_line(&s, line, answer)) json_object_set_new(answer, "error", json_string(ldm_message()));
        char *text = json_dumps(answer, JSON_COMPACT);
        printf("%s\n", text ? text : "{\"error\": \"out of memory\"}");
        fflush(stdout);
        free(text);
        json_decref(answer);
    }
    close_all(&s);
    return 0;
}
