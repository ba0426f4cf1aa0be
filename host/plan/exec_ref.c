/* exec_ref.c -- a plan on the references of reference/: each step in float64 from its stored inputs, the result rounded
 * to the tensor's dtype. One thread of thought; slow on purpose. */
#include "plan/exec_internal.h"
#include <stdlib.h>
#include <string.h>

typedef struct exec_ref {
    ldm_exec base;
    float **data; /* by tensor: roots only; NULL when dead */
} exec_ref;

static int64_t count_of(const exec_ref *e, ldm_tensor t) { return ldm_shape_count(&e->base.plan->tensor[t].shape); }

static ldm_status locate(exec_ref *e, ldm_tensor t, float **out) {
    size_t offset;
    ldm_tensor r = ldm_view_root(e->base.plan, t, &offset);
    if (!e->data[r]) {
        ldm_status st = ldm_alloc((size_t)count_of(e, r) * sizeof(float), (void **)&e->data[r]);
        if (st) return st;
    }
    *out = e->data[r] + offset / ldm_dtype_size(e->base.plan->tensor[r].dtype);
    return LDM_OK;
}

static ldm_status peek(ldm_exec *base, ldm_tensor t, float *data) {
    exec_ref *e = (exec_ref *)base;
    const ldm_tensor_info *i = &base->plan->tensor[t];
    float *src;
    if (i->kind == LDM_PARAM) {
        ldm_status st = ldm_plan_load(base->plan, &base->source, t, data);
        if (!st) ldm_round_tensor(i->dtype, &i->shape, data);
        return st;
    }
    ldm_status st = locate(e, t, &src);
    if (!st) memcpy(data, src, (size_t)count_of(e, t) * sizeof *data);
    return st;
}

static ldm_status poke(ldm_exec *base, ldm_tensor t, const float *data) {
    exec_ref *e = (exec_ref *)base;
    float *dst;
    ldm_status st = locate(e, t, &dst);
    if (st) return st;
    memcpy(dst, data, (size_t)count_of(e, t) * sizeof *data);
    ldm_round_to(base->plan->tensor[t].dtype, dst, (size_t)count_of(e, t));
    return LDM_OK;
}

static ldm_status run_step(ldm_exec *base, int step) {
    exec_ref *e = (exec_ref *)base;
    const ldm_step_info *s = &base->plan->step[step];
    const ldm_op *op = s->problem.op;
    int n = ldm_op_slots(op) - 1;
    ldm_status st = LDM_OK;
    float *in[LDM_MAX_SLOTS] = {0}, *owned[LDM_MAX_SLOTS] = {0}, *rounded = NULL;
    double *y = NULL, *bound = NULL;
    size_t count = (size_t)count_of(e, s->slot[n]);
    for (int i = 0; i < n; i++) {
        if (s->slot[i] == LDM_NONE) continue;
        if (base->plan->tensor[s->slot[i]].kind == LDM_PARAM) {
            TRY(ldm_alloc((size_t)count_of(e, s->slot[i]) * sizeof(float), (void **)&owned[i]));
            TRY(peek(base, s->slot[i], owned[i]));
            in[i] = owned[i];
        } else {
            TRY(locate(e, s->slot[i], &in[i]));
        }
    }
    TRY(ldm_alloc(count * sizeof *y, (void **)&y));
    TRY(ldm_alloc(count * sizeof *bound, (void **)&bound));
    TRY(ldm_alloc(count * sizeof *rounded, (void **)&rounded));
    op->reference(&s->problem, (const float *const *)in, NULL, y, bound);
    for (size_t i = 0; i < count; i++) rounded[i] = (float)y[i];
    TRY(poke(base, s->slot[n], rounded));
    for (int i = 0; i < base->plan->tensors; i++) { /* the dead give their memory back */
        const ldm_tensor_info *t = &base->plan->tensor[i];
        if (t->kind == LDM_ACTIVATION && !t->keep && t->last == step) free(e->data[i]), e->data[i] = NULL;
    }
done:
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(owned[i]);
    free(y);
    free(bound);
    free(rounded);
    return st;
}

static ldm_status finish(ldm_exec *e) { return (void)e, LDM_OK; }
static const ldm_choice *choice(const ldm_exec *e, int step) { return (void)e, (void)step, NULL; }
static double step_seconds(ldm_exec *e, int step) { return (void)e, (void)step, -1; }

static void destroy(ldm_exec *base) {
    exec_ref *e = (exec_ref *)base;
    for (int i = 0; e->data && i < base->plan->tensors; i++) free(e->data[i]);
    free(e->data);
    free(e);
}

ldm_status ldm_exec_create_reference(const ldm_plan *p, const ldm_source *w, ldm_exec **out) {
    exec_ref *e = NULL;
    ldm_status st = ldm_alloc(sizeof *e, (void **)&e);
    if (st) return st;
    e->base = (ldm_exec){p, *w, destroy, run_step, finish, peek, poke, choice, NULL, step_seconds, NULL, NULL};
    if ((st = ldm_alloc((size_t)p->tensors * sizeof *e->data, (void **)&e->data))) {
        destroy(&e->base);
        return st;
    }
    *out = &e->base;
    return LDM_OK;
}
