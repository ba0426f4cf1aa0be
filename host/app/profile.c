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

ldm_status app_write_profile(const ldm_plan *p, ldm_exec *e, const char *path) {
    double at = 0;
    json_t *events = json_array();
    for (int i = 0; i < p->steps; i++) {
        double s = ldm_exec_step_seconds(e, i);
        if (!(s > 0)) continue;
        json_array_append_new(events, event(p, e, i, at, s));
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
    json_t *root = json_pack("{s:o,s:s}", "traceEvents", events, "displayTimeUnit", "ms");
    char *dump = root ? json_dumps(root, JSON_COMPACT) : NULL;
    ldm_status st =
        dump ? ldm_write_file(path, dump, strlen(dump)) : ldm_fail(LDM_ERR_NOMEM, "profile: host memory is out");
    free(dump);
    json_decref(root);
    return st;
}
