/* opcase.h -- one test case of one op: a problem, how its inputs are filled, what the reference says about it; and
 * running an implementation on it. Shared by test_ops (every implementation must pass) and test_mutants (every mutant
 * must fail). */
#ifndef LDM_OPCASE_H
#define LDM_OPCASE_H

#include "ops/op.h"
#include "tests/test.h"
#include <math.h>

enum {
    OPCASE_SEED = 1,
    OPCASE_BIAS_OUTPUTS = 4096,
    OPCASE_ZEROS_OUTPUTS = 16
}; /* fewer outputs say nothing of bias, zeros */
static const double OPCASE_MOST_BIAS = 0.1, OPCASE_MOST_ZEROS = 0.9;
static const double OPCASE_FULL_FLOPS =
    2e8; /* above it 4,096 outputs and all edges are judged instead of all outputs */

typedef struct opcase {
    ldm_problem p;
    ldm_fill fill;
    bool exact; /* integers: an implementation whose row says exact must give every bit */
    ldm_slot slot[LDM_MAX_SLOTS];
    int slots;
    float *in[LDM_MAX_SLOTS];
    int64_t outputs;   /* elements of the output */
    ldm_sample sample; /* index NULL: all of them */
    double *want, *bound;
    bool leave_scratch; /* ldm_oprun_leave_scratch */
} opcase;

static inline const char *opcase_fill_name(ldm_fill f) {
    static const char *const name[LDM_FILLS] = {"zeromean", "positive", "offset", "spiky", "integer"};
    return name[f];
}

static inline void opcase_free(opcase *c) {
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(c->in[i]);
    free((void *)c->sample.index);
    free(c->want);
    free(c->bound);
    *c = (opcase){0};
}

/* Inputs and reference of the problem written in `text`; freed with opcase_free also after a failure. */
static inline ldm_status opcase_make(const char *text, ldm_fill fill, bool exact, opcase *c) {
    ldm_status st = LDM_OK;
    *c = (opcase){.fill = fill, .exact = exact};
    TRY(ldm_problem_parse(text, &c->p));
    c->slots = ldm_op_slots(c->p.op);
    TRY(c->p.op->infer(&c->p, c->slot));
    TRY(ldm_make_inputs(&c->p, fill, OPCASE_SEED, c->in));
    c->outputs = ldm_shape_count(&c->slot[c->slots - 1].shape);
    int64_t judged = c->outputs;
    if (c->p.op->cost(&c->p).flops > OPCASE_FULL_FLOPS) {
        int64_t *index;
        TRY(ldm_make_sample(&c->p, 4096, OPCASE_SEED, &index, &c->sample.count));
        c->sample.index = index, judged = c->sample.count;
    }
    TRY(ldm_alloc((size_t)judged * sizeof(double), (void **)&c->want));
    TRY(ldm_alloc((size_t)judged * sizeof(double), (void **)&c->bound));
    c->p.op->reference(&c->p, (const float *const *)c->in, c->sample.index ? &c->sample : NULL, c->want, c->bound);
done:
    return st;
}

static inline void opcase_judge(const opcase *c, const ldm_choice *choice, const float *y, ldm_verdict *v) {
    const ldm_sample *which = c->sample.index ? &c->sample : NULL;
    int64_t judged = which ? which->count : c->outputs;
    if (c->exact && choice->impl->exact) {
        /* the exact sum, rounded to the stored type: nothing else is right */
        double *want = malloc((size_t)judged * sizeof *want), *zero = calloc((size_t)judged, sizeof *zero);
        if (!want || !zero) abort();
        for (int64_t i = 0; i < judged; i++) {
            float f = (float)c->want[i];
            ldm_round_to(c->slot[c->slots - 1].dtype, &f, 1);
            want[i] = f;
        }
        ldm_judge(&c->p, which, y, want, zero, v);
        free(want);
        free(zero);
    } else {
        const float *const *in = (const float *const *)c->in;
        const double *want = c->want, *bound = c->bound;
        double *own = NULL;
        if (choice->impl->reference) {
            own = malloc((size_t)judged * 2 * sizeof *own);
            if (!own) abort();
            ldm_reference(&c->p, choice, in, which, own, own + judged);
            want = own, bound = own + judged;
        }
        ldm_judge_inputs(&c->p, in, which, y, want, bound, v);
        free(own);
    }
}

/* Runs `choice` on the case and judges it; `twice`: once more, which must give the same bytes. A status other than
 * LDM_OK says why there is no verdict (or that memory outside the output was written, or part of it was not). */
static inline ldm_status opcase_run(ldm_cl *cl, const opcase *c, const ldm_choice *choice, bool twice, ldm_verdict *v) {
    ldm_status st = LDM_OK;
    ldm_oprun *run = NULL;
    float *y = NULL, *again = NULL;
    TRY(ldm_alloc((size_t)c->outputs * sizeof *y, (void **)&y));
    TRY(ldm_oprun_create(cl, &c->p, choice, (const float *const *)c->in, &run));
    if (c->leave_scratch) ldm_oprun_leave_scratch(run);
    TRY(ldm_oprun_result(run, y));
    if (twice) {
        TRY(ldm_alloc((size_t)c->outputs * sizeof *again, (void **)&again));
        TRY(ldm_oprun_result(run, again));
        for (int64_t i = 0; i < c->outputs; i++)
            if (memcmp(&y[i], &again[i], sizeof *y))
                TRY(ldm_fail(LDM_ERR_MISMATCH, "a second run gave %.9g, not %.9g, at element %lld", again[i], y[i],
                             (long long)i));
    }
    opcase_judge(c, choice, y, v);
done:
    ldm_oprun_destroy(run);
    free(y);
    free(again);
    return st;
}

static inline bool opcase_stores_half(const opcase *c) { return c->slot[c->slots - 1].dtype == LDM_F16; }

/* What is wrong with a verdict, in words, or NULL. */
static inline const char *opcase_complaint(const opcase *c, const ldm_verdict *v, char *buf, size_t cap) {
    if (!v->pass) {
        snprintf(buf, cap, "element %lld is %.9g, reference %.17g, bound %.3g: %.3g times the bound",
                 (long long)v->worst_at, v->got, v->want, v->bound, v->worst);
        return buf;
    }
    /* A half's own rounding outweighs what the arithmetic before it does; f32 results share the errors of a mean, a
     * sum or a polynomial, which may lean without being wrong. */
    if (opcase_stores_half(c) && v->judged >= OPCASE_BIAS_OUTPUTS && fabs(v->bias) > OPCASE_MOST_BIAS) {
        snprintf(buf, cap, "errors lean one way: bias %.3f of %lld outputs, at most %.1f wanted", v->bias,
                 (long long)v->judged, OPCASE_MOST_BIAS);
        return buf;
    }
    bool plain = c->fill == LDM_FILL_ZEROMEAN || c->fill == LDM_FILL_POSITIVE || c->fill == LDM_FILL_INTEGER;
    if (plain && v->judged >= OPCASE_ZEROS_OUTPUTS && (double)v->zeros > OPCASE_MOST_ZEROS * (double)v->judged) {
        snprintf(buf, cap, "mistrusted: %lld of %lld outputs are zero", (long long)v->zeros, (long long)v->judged);
        return buf;
    }
    return NULL;
}

/* "--device X" taken out of the arguments: the choice of device, or NULL. */
static inline const char *opcase_device_option(int *argc, char **argv) {
    const char *device = NULL;
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (!strcmp(argv[i], "--device") && i + 1 < *argc) device = argv[++i];
        else argv[kept++] = argv[i];
    }
    *argc = kept;
    return device;
}

/* True if the word `option` was among the arguments; it is taken out. */
static inline bool opcase_option(const char *option, int *argc, char **argv) {
    bool found = false;
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (!strcmp(argv[i], option)) found = true;
        else argv[kept++] = argv[i];
    }
    *argc = kept;
    return found;
}

#endif
