/* verify.c -- see verify.h. Teacher forcing keeps errors from piling up, so a fault is found at its own step. */
#include "plan/verify.h"
#include "plan/exec_internal.h"
#include <stdlib.h>
#include <string.h>

static ldm_status judge(const ldm_step_info *s, const ldm_choice *c, const float *const *in, const ldm_sample *which,
                        int64_t count, const float *got, float *exact, ldm_verdict *v) {
    ldm_status st = LDM_OK;
    double *want = NULL, *bound = NULL;
    TRY(ldm_alloc((size_t)count * sizeof *want, (void **)&want));
    TRY(ldm_alloc((size_t)count * sizeof *bound, (void **)&bound));
    ldm_reference(&s->problem, c, in, which, want, bound);
    ldm_judge_inputs(&s->problem, in, which, got, want, bound, v);
    for (int64_t i = 0; exact && i < count; i++) exact[i] = (float)want[i];
done:
    free(want);
    free(bound);
    return st;
}

static ldm_status one(const ldm_plan *p, ldm_exec *device, ldm_exec *held, int i, const ldm_verify_options *o) {
    ldm_status st = LDM_OK;
    const ldm_step_info *s = &p->step[i];
    int n = ldm_op_slots(s->problem.op) - 1;
    float *in[LDM_MAX_SLOTS] = {0}, *got = NULL, *exact = NULL;
    int64_t count = ldm_shape_count(&p->tensor[s->slot[n]].shape), *index = NULL;
    ldm_sample which = {0};
    ldm_verify_report r = {.step = i, .choice = ldm_exec_choice(device, i)};
    r.verdict.pass = true;
    ldm_exec *from = o->complete ? held : device;
    for (int j = 0; j < n && o->judge; j++) {
        if (s->slot[j] == LDM_NONE) continue;
        const ldm_tensor_info *t = &p->tensor[s->slot[j]];
        TRY(ldm_alloc((size_t)ldm_shape_count(&t->shape) * sizeof(float), (void **)&in[j]));
        TRY(ldm_exec_peek(from, s->slot[j], in[j]));
        if (o->complete && t->kind != LDM_PARAM) TRY(ldm_exec_poke(device, s->slot[j], in[j]));
    }
    TRY(ldm_exec_run_step(device, i));
    TRY(ldm_alloc((size_t)count * sizeof *got, (void **)&got));
    TRY(ldm_exec_peek(device, s->slot[n], got));
    r.digest = ldm_hash_bytes(ldm_hash_text(""), got, (size_t)count * sizeof *got);
    if (o->judge) {
        if (o->complete) {
            TRY(ldm_alloc((size_t)count * sizeof *exact, (void **)&exact));
        } else {
            TRY(ldm_make_sample(&s->problem, o->samples, o->seed + (uint64_t)i, &index, &which.count));
            which.index = index;
        }
        TRY(judge(s, r.choice, (const float *const *)in, o->complete ? NULL : &which, o->complete ? count : which.count,
                  got, exact, &r.verdict));
        if (o->complete) TRY(ldm_exec_poke(held, s->slot[n], exact));
    }
    TRY(o->each(o->user, &r));
done:
    for (int j = 0; j < LDM_MAX_SLOTS; j++) free(in[j]);
    free(got);
    free(exact);
    free(index);
    return st;
}

ldm_status ldm_plan_verify(const ldm_plan *p, ldm_exec *device, int segment, const ldm_verify_options *o) {
    ldm_status st = LDM_OK;
    ldm_exec *held = NULL; /* teacher forcing: the reference's own tensors */
    float *data = NULL;
    if (o->complete) {
        TRY(ldm_exec_create_reference(p, &device->source, &held));
        for (int t = 0; t < p->tensors; t++) {
            if (p->tensor[t].kind != LDM_INPUT) continue;
            TRY(ldm_alloc((size_t)ldm_shape_count(&p->tensor[t].shape) * sizeof *data, (void **)&data));
            TRY(ldm_exec_peek(device, t, data));
            TRY(ldm_exec_poke(held, t, data));
            free(data);
            data = NULL;
        }
    }
    for (int i = 0; i < p->steps; i++) {
        if (p->step[i].segment != segment) continue;
        st = one(p, device, held, i, o);
        if (st) TRY(ldm_prefix(st, "step %d (%s)", i, p->step[i].scope));
        TRY(ldm_check_interrupt());
    }
done:
    free(data);
    ldm_exec_destroy(held);
    return st;
}
