/* exec.c -- what both executors share: running segments, checks of what may be read and written. */
#include "plan/exec_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

ldm_tensor ldm_view_root(const ldm_plan *p, ldm_tensor t, size_t *offset) {
    size_t at = 0;
    while (p->tensor[t].kind == LDM_VIEW) {
        const ldm_tensor_info *v = &p->tensor[t], *up = &p->tensor[v->parent];
        at += (size_t)(v->row * (ldm_shape_count(&up->shape) / up->shape.dim[0])) * ldm_dtype_size(up->dtype);
        t = v->parent;
    }
    if (offset) *offset = at;
    return t;
}

/* "conv2d=conv2d_plain,gemm=..." -> the row forced for op, or NULL */
static const char *forced(const char *list, const char *op, char *buf, size_t cap) {
    for (const char *s = list; s && *s;) {
        size_t n = strcspn(s, ","), eq = strcspn(s, "=");
        if (eq < n && strlen(op) == eq && !memcmp(s, op, eq))
            return snprintf(buf, cap, "%.*s", (int)(n - eq - 1), s + eq + 1), buf;
        s += n + (s[n] == ',');
    }
    return NULL;
}

ldm_status ldm_check_forced(const char *list) {
    char op[64], name[64];
    for (const char *s = list; s && *s;) {
        size_t n = strcspn(s, ","), eq = strcspn(s, "=");
        if (eq >= n) return ldm_fail(LDM_ERR_ARG, "--impl %.*s: wanted OP=IMPLEMENTATION", (int)n, s);
        snprintf(op, sizeof op, "%.*s", (int)eq, s), snprintf(name, sizeof name, "%.*s", (int)(n - eq - 1), s + eq + 1);
        const ldm_op *o = ldm_op_find(op, strlen(op));
        if (!o) return ldm_fail(LDM_ERR_ARG, "--impl %.*s: there is no op '%s'", (int)n, s, op);
        const ldm_impl *i = o->impls;
        while (i->name && strcmp(i->name, name)) i++;
        if (!i->name) return ldm_fail(LDM_ERR_ARG, "--impl %.*s: %s has no implementation '%s'", (int)n, s, op, name);
        s += n + (s[n] == ',');
    }
    return LDM_OK;
}

ldm_status ldm_plan_choose(const ldm_plan *p, int i, const ldm_device *d, const char *impl, ldm_choice *out) {
    char name[64];
    const ldm_problem *q = &p->step[i].problem;
    const char *row = forced(impl, q->op->name, name, sizeof name);
    ldm_status st = row ? ldm_choose_named(q, d, row, out) : ldm_choose(q, d, out);
    return ldm_prefix(st, "step %d (%s)", i, p->step[i].scope);
}

void ldm_exec_destroy(ldm_exec *e) {
    if (e) e->destroy(e);
}

ldm_memory ldm_exec_taken(const ldm_exec *e) { return e->taken ? e->taken(e) : (ldm_memory){0}; }

const ldm_plan *ldm_exec_plan(const ldm_exec *e) { return e->plan; }

ldm_status ldm_exec_run_step(ldm_exec *e, int step) {
    ldm_status st = e->run_step(e, step);
    return st ? ldm_prefix(st, "step %d (%s)", step, e->plan->step[step].scope) : LDM_OK;
}

ldm_status ldm_exec_run(ldm_exec *e, int segment) {
    for (int i = 0; i < e->plan->steps; i++) {
        if (e->plan->step[i].segment != segment) continue;
        ldm_status st = ldm_exec_run_step(e, i);
        if (st) return st;
    }
    return LDM_OK;
}

/* How many values of t are NaN or infinite, and where the first is. Integers never are. */
static ldm_status count_bad(ldm_exec *e, ldm_tensor t, int64_t *bad, int64_t *first) {
    const ldm_tensor_info *i = &e->plan->tensor[t];
    const int64_t n = ldm_shape_count(&i->shape);
    float *data = NULL;
    *bad = 0;
    if (i->kind == LDM_PARAM || (i->dtype != LDM_F32 && i->dtype != LDM_F16)) return LDM_OK;
    ldm_status st = ldm_alloc((size_t)n * sizeof *data, (void **)&data);
    if (!st) st = e->peek(e, t, data);
    for (int64_t k = 0; !st && k < n; k++)
        if (!isfinite(data[k]) && !(*bad)++) *first = k;
    free(data);
    return st;
}

/* The block a step belongs to: its scope, or the layer of its weights where that is the network itself. */
static void block_of(const ldm_plan *p, const ldm_step_info *s, char *name, size_t cap) {
    snprintf(name, cap, "%s", *s->scope ? s->scope : s->problem.op->name);
    for (int j = 0; j < LDM_MAX_SLOTS && !*s->scope; j++) {
        if (s->slot[j] == LDM_NONE || p->tensor[s->slot[j]].kind != LDM_PARAM) continue;
        const char *full = p->tensor[s->slot[j]].name, *dot = strrchr(full, '.');
        snprintf(name, cap, "%.*s", dot ? (int)(dot - full) : (int)strlen(full), full);
        return;
    }
}

static ldm_status run_step_checked(ldm_exec *e, int step) {
    const ldm_step_info *s = &e->plan->step[step];
    const int n = ldm_op_slots(s->problem.op) - 1;
    int64_t bad, first;
    char slot[32], block[256];
    ldm_status st = LDM_OK;
    block_of(e->plan, s, block, sizeof block);
    for (int j = 0; j < n; j++) { /* before the step, which may write over its input */
        if (s->slot[j] == LDM_NONE || e->plan->tensor[ldm_view_root(e->plan, s->slot[j], NULL)].kind != LDM_INPUT) continue;
        TRY(count_bad(e, s->slot[j], &bad, &first));
        const char *name = e->plan->tensor[ldm_view_root(e->plan, s->slot[j], NULL)].name;
        if (bad)
            TRY(ldm_fail(LDM_ERR_NONFINITE, "input %s, which %s reads: %lld values are NaN or infinite, the first at %lld",
                         name, block, (long long)bad, (long long)first));
    }
    TRY(ldm_exec_run_step(e, step));
    TRY(count_bad(e, s->slot[n], &bad, &first));
    if (bad)
        TRY(ldm_fail(LDM_ERR_NONFINITE, "%s (step %d, %s of %s): %lld of %lld values are NaN or infinite, the first at %lld",
                     block, step, ldm_op_slot_name(s->problem.op, n, slot, sizeof slot),
                     s->problem.op->name, (long long)bad,
                     (long long)ldm_shape_count(&e->plan->tensor[s->slot[n]].shape), (long long)first));
done:
    return st;
}

ldm_status ldm_exec_run_checked(ldm_exec *e, int segment) {
    ldm_status st = LDM_OK;
    for (int i = 0; i < e->plan->steps && !st; i++)
        if (e->plan->step[i].segment == segment) st = run_step_checked(e, i);
    return st ? st : ldm_exec_finish(e);
}

ldm_status ldm_exec_finish(ldm_exec *e) { return e->finish(e); }
ldm_status ldm_exec_peek(ldm_exec *e, ldm_tensor t, float *data) { return e->peek(e, t, data); }
ldm_status ldm_exec_poke(ldm_exec *e, ldm_tensor t, const float *data) { return e->poke(e, t, data); }
const ldm_choice *ldm_exec_choice(const ldm_exec *e, int step) { return e->choice(e, step); }
double ldm_exec_step_seconds(ldm_exec *e, int step) { return e->step_seconds(e, step); }
bool ldm_exec_step_span(ldm_exec *e, int step, double *start, double *end) {
    return e->step_span && e->step_span(e, step, start, end);
}
bool ldm_exec_transfer_span(ldm_exec *e, int group, double *start, double *end, size_t *bytes) {
    return e->transfer_span && e->transfer_span(e, group, start, end, bytes);
}

ldm_status ldm_exec_write(ldm_exec *e, ldm_tensor t, const float *data) {
    const ldm_tensor_info *i = &e->plan->tensor[t];
    if (i->kind != LDM_INPUT)
        return ldm_fail(LDM_ERR_ARG, "tensor %d (%s) is not an input", t, i->name ? i->name : "nameless");
    return ldm_prefix(e->poke(e, t, data), "%s", i->name);
}

ldm_status ldm_exec_read(ldm_exec *e, ldm_tensor t, float *data) {
    const ldm_tensor_info *i = &e->plan->tensor[t];
    if (!i->keep)
        return ldm_fail(LDM_ERR_ARG, "tensor %d (%s) is not kept to the end of a run", t,
                        i->name ? i->name : "nameless");
    return ldm_prefix(e->peek(e, t, data), "%s", i->name ? i->name : "output");
}
