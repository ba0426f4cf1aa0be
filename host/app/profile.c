/* profile.c -- what a run cost, step by step: time per op, a table of it, a trace file. */
#include "app/network.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

app_op_time app_time_of_op(const ldm_plan *p, ldm_exec *e, int segment, const ldm_op *op) {
    app_op_time t = {0};
    for (int i = 0; i < p->steps; i++) {
        const ldm_step_info *s = &p->step[i];
        double seconds =
            s->problem.op == op && (segment < 0 || s->segment == segment) ? ldm_exec_step_seconds(e, i) : 0;
        if (!(seconds > 0)) continue;
        ldm_cost cost = op->cost(&s->problem);
        t.steps++, t.seconds += seconds, t.cost.flops += cost.flops, t.cost.bytes += cost.bytes;
    }
    return t;
}

static json_t *event(const ldm_plan *p, ldm_exec *e, int i, double at, double seconds) {
    char text[LDM_PROBLEM_TEXT], params[160] = "";
    const ldm_step_info *s = &p->step[i];
    const ldm_choice *c = ldm_exec_choice(e, i);
    ldm_cost cost = s->problem.op->cost(&s->problem);
    return json_pack("{s:s,s:s,s:s,s:f,s:f,s:i,s:i,s:{s:s,s:s,s:s,s:f,s:f}}", "name", s->scope, "cat",
                     s->problem.op->name, "ph", "X", "ts", at * 1e6, "dur", seconds * 1e6, "pid", 1, "tid", 1, "args",
                     "problem", ldm_problem_text(&s->problem, text, sizeof text), "implementation",
                     c ? c->impl->name : "", "parameters", c ? ldm_choice_params(c, params, sizeof params) : "",
                     "GFLOP/s", cost.flops / seconds * 1e-9, "GB/s", cost.bytes / seconds * 1e-9);
}

/* The device's clock when the first step began; 0 if it does not tell. */
static double beginning(const ldm_plan *p, ldm_exec *e) {
    double first = 0, start, end;
    for (int i = 0; i < p->steps; i++)
        if (ldm_exec_step_span(e, i, &start, &end) && (first == 0 || start < first)) first = start;
    return first;
}

/* Seconds of [start, end] in which a step ran. */
static double beside_steps(const ldm_plan *p, ldm_exec *e, double start, double end) {
    double sum = 0, from, to;
    for (int i = 0; i < p->steps; i++)
        if (ldm_exec_step_span(e, i, &from, &to) && to > start && from < end)
            sum += (to < end ? to : end) - (from > start ? from : start);
    return sum;
}

/* Streamed weights on a line of the trace of their own, and how much of their way was beside steps. */
static void add_transfers(const ldm_plan *p, ldm_exec *e, double first, json_t *events) {
    double start, end, seconds = 0, beside = 0, all = 0;
    size_t bytes;
    int groups = 0;
    for (int g = 0; g < p->steps; g++) {
        if (!ldm_exec_transfer_span(e, g, &start, &end, &bytes)) continue;
        groups++, all += (double)bytes, seconds += end - start, beside += beside_steps(p, e, start, end);
        json_array_append_new(events, json_pack("{s:s,s:s,s:s,s:f,s:f,s:i,s:i,s:{s:i,s:f}}", "name", "weights", "cat", "transfer",
                                                "ph", "X", "ts", (start - first) * 1e6, "dur", (end - start) * 1e6, "pid", 1,
                                                "tid", 2, "args", "group", g, "MB", (double)bytes * 1e-6));
    }
    if (groups)
        printf("transfers: %d groups of weights, %.1f MB in %.3f ms (%.1f GB/s), %.0f %% of that while steps ran\n", groups, all * 1e-6,
               seconds * 1e3, all / seconds * 1e-9, 100 * beside / seconds);
}

ldm_status app_write_profile(const ldm_plan *p, ldm_exec *e, const char *path) {
    double at = 0, start, end;
    const double first = beginning(p, e);
    json_t *events = json_array();
    for (int i = 0; i < p->steps; i++) {
        double s = ldm_exec_step_seconds(e, i);
        if (!(s > 0)) continue;
        json_array_append_new(events, event(p, e, i, ldm_exec_step_span(e, i, &start, &end) ? start - first : at, s));
        at += s;
    }
    printf("%-14s %6s %10s %8s %10s %10s\n", "op", "steps", "ms", "share", "GFLOP/s", "GB/s");
    for (int o = 0; ldm_ops[o]; o++) {
        app_op_time t = app_time_of_op(p, e, -1, ldm_ops[o]);
        if (t.steps)
            printf("%-14s %6d %10.3f %7.1f%% %10.1f %10.1f\n", ldm_ops[o]->name, t.steps, t.seconds * 1e3,
                   100 * t.seconds / at, t.cost.flops / t.seconds * 1e-9, t.cost.bytes / t.seconds * 1e-9);
    }
    printf("%-14s %6d %10.3f\n", "all", p->steps, at * 1e3);
    add_transfers(p, e, first, events);
    json_t *root = json_pack("{s:o,s:s}", "traceEvents", events, "displayTimeUnit", "ms");
    char *dump = root ? json_dumps(root, JSON_COMPACT) : NULL;
    ldm_status st =
        dump ? ldm_write_file(path, dump, strlen(dump)) : ldm_fail(LDM_ERR_NOMEM, "profile: host memory is out");
    free(dump);
    json_decref(root);
    return st;
}
