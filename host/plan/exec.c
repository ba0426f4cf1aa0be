/* exec.c -- what both executors share: running segments, checks of what may be read and written. */
#include "plan/exec_internal.h"

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

void ldm_exec_destroy(ldm_exec *e) {
    if (e) e->destroy(e);
}

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

ldm_status ldm_exec_finish(ldm_exec *e) { return e->finish(e); }
ldm_status ldm_exec_peek(ldm_exec *e, ldm_tensor t, float *data) { return e->peek(e, t, data); }
ldm_status ldm_exec_poke(ldm_exec *e, ldm_tensor t, const float *data) { return e->poke(e, t, data); }
const ldm_choice *ldm_exec_choice(const ldm_exec *e, int step) { return e->choice(e, step); }
double ldm_exec_step_seconds(ldm_exec *e, int step) { return e->step_seconds(e, step); }

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
