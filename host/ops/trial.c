/* trial.c -- see trial.h. */
#include "ops/trial.h"
#include <stdlib.h>
#include <string.h>

enum { SEED = 1, SAMPLES = 512, MOST_REFERENCES = 8 };
static const double COMPLETE_FLOPS = 2e7; /* problems of fewer are judged completely */

/* What a reference says: the op's, or a row's own for what it depends on of the parameters. */
typedef struct judgement {
    ldm_choice by; /* impl NULL: the op's */
    double *want, *bound;
} judgement;

struct ldm_trial {
    ldm_problem p;
    float *in[LDM_MAX_SLOTS], *y;
    ldm_sample sample; /* index NULL: all */
    int64_t judged;
    judgement said[MOST_REFERENCES];
    int count;
};

ldm_status ldm_trial_create(const ldm_problem *p, ldm_trial **out) {
    ldm_status st = LDM_OK;
    ldm_trial *t = NULL;
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    TRY(ldm_alloc(sizeof *t, (void **)&t));
    t->p = *p;
    TRY(p->op->infer(p, slot));
    const int64_t outputs = ldm_shape_count(&slot[ldm_op_slots(p->op) - 1].shape);
    t->judged = outputs;
    TRY(ldm_make_inputs(p, LDM_FILL_ZEROMEAN, SEED, t->in));
    TRY(ldm_alloc((size_t)outputs * sizeof *t->y, (void **)&t->y));
    if (p->op->cost(p).flops > COMPLETE_FLOPS) {
        int64_t *index;
        TRY(ldm_make_sample(p, SAMPLES, SEED, &index, &t->sample.count));
        t->sample.index = index, t->judged = t->sample.count;
    }
    *out = t;
    t = NULL;
done:
    ldm_trial_destroy(t);
    return st;
}

void ldm_trial_destroy(ldm_trial *t) {
    if (!t) return;
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(t->in[i]);
    for (int i = 0; i < t->count; i++) free(t->said[i].want);
    free((void *)t->sample.index);
    free(t->y);
    free(t);
}

static const ldm_sample *which(const ldm_trial *t) { return t->sample.index ? &t->sample : NULL; }

static ldm_status judgement_of(ldm_trial *t, const ldm_choice *c, const judgement **out) {
    ldm_choice key;
    memset(&key, 0, sizeof key); /* compared as bytes */
    if (c->impl->reference) {
        key = *c;
        for (int i = 0; i < LDM_MAX_TUNABLES; i++)
            if (c->impl->same_bound >> i & 1) key.params[i] = 0;
    }
    for (int i = 0; i < t->count; i++)
        if (!memcmp(&t->said[i].by, &key, sizeof key)) return *out = &t->said[i], LDM_OK;
    if (t->count == MOST_REFERENCES) free(t->said[--t->count].want);
    judgement *j = &t->said[t->count];
    *j = (judgement){.by = key};
    ldm_status st = ldm_alloc((size_t)t->judged * 2 * sizeof *j->want, (void **)&j->want);
    if (st) return st;
    j->bound = j->want + t->judged;
    ldm_reference(&t->p, c, (const float *const *)t->in, which(t), j->want, j->bound);
    t->count++;
    *out = j;
    return LDM_OK;
}

ldm_status ldm_trial_run(ldm_trial *t, ldm_cl *cl, const ldm_choice *c, ldm_oprun **out, double *error) {
    ldm_status st = LDM_OK;
    ldm_oprun *run = NULL;
    const judgement *j;
    ldm_verdict v;
    const float *const *in = (const float *const *)t->in;
    TRY(judgement_of(t, c, &j));
    TRY(ldm_oprun_create(cl, &t->p, c, in, &run));
    TRY(ldm_oprun_result(run, t->y));
    ldm_judge_inputs(&t->p, in, which(t), t->y, j->want, j->bound, &v);
    if (!v.pass)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "output %lld is %.9g, wanted %.9g within %.3g", (long long)v.worst_at, v.got, v.want,
                     v.bound));
    if (error) *error = v.worst;
    *out = run;
    run = NULL;
done:
    ldm_oprun_destroy(run);
    return st;
}
