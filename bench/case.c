/* case.c -- one problem, verified and then timed. Never times a kernel whose sampled outputs are not within their
 * bounds. */
#include "bench/case.h"
#include <stdlib.h>
#include <string.h>

static const double BATCH_SECONDS = 0.002;
enum { BATCH_MAX = 1000, SAMPLES = 2048, SAMPLES_MIN = 64, SEED = 1 };
static const double REFERENCE_FLOPS = 4e8; /* of all judged outputs, at the naive cost of one */

ldm_status bench_case_init(bench_case *c, ldm_cl *cl, const ldm_problem *p, const char *impl) {
    const ldm_device *d = ldm_cl_device(cl);
    ldm_choice choice;
    ldm_status st = impl ? ldm_choose_named(p, d, impl, &choice) : ldm_choose(p, d, &choice);
    if (st) return st;
    *c = (bench_case){.cl = cl, .p = *p, .choice = choice, .cost = p->op->cost(p)};
    ldm_problem_text(p, c->text, sizeof c->text);
    return LDM_OK;
}

static ldm_status verify(bench_case *c, float *const *in, int64_t outputs) {
    ldm_status st = LDM_OK;
    int64_t *index = NULL, n = 0;
    double each = outputs ? c->cost.flops / (double)outputs : 1, count = REFERENCE_FLOPS / (each > 1 ? each : 1);
    TRY(ldm_make_sample(&c->p,
                        count > SAMPLES       ? SAMPLES
                        : count < SAMPLES_MIN ? SAMPLES_MIN
                                              : (int64_t)count,
                        SEED, &index, &n));
    TRY(ldm_oprun_judge(c->run, (const float *const *)in, &(ldm_sample){index, n}, NULL, &c->verdict));
    if (!c->verdict.pass)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "output %lld is %.9g, wanted %.9g within %.3g: ldm op '%s' --impl %s --seed %d",
                     (long long)c->verdict.worst_at, c->verdict.got, c->verdict.want, c->verdict.bound, c->text,
                     c->choice.impl->name, SEED));
done:
    free(index);
    return st;
}

ldm_status bench_case_open(bench_case *c) {
    ldm_status st = LDM_OK;
    float *in[LDM_MAX_SLOTS] = {NULL};
    ldm_slot slot[LDM_MAX_SLOTS];
    double seconds = 0;
    memset(slot, 0, sizeof slot);
    TRY(c->p.op->infer(&c->p, slot));
    TRY(ldm_make_inputs(&c->p, LDM_FILL_ZEROMEAN, SEED, in));
    TRY(ldm_oprun_create(c->cl, &c->p, &c->choice, (const float *const *)in, &c->run));
    TRY(verify(c, in, ldm_shape_count(&slot[ldm_op_slots(c->p.op) - 1].shape)));
    c->batch = 1;
    TRY(bench_case_time(c, &seconds));
    if (!c->cold) c->batch = seconds * BATCH_MAX < BATCH_SECONDS ? BATCH_MAX : (int)(BATCH_SECONDS / seconds) + 1;
    if (c->batch > 1) TRY(bench_case_time(c, &seconds));
done:
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(in[i]);
    if (st) bench_case_close(c);
    return st;
}

ldm_status bench_case_time(bench_case *c, double *seconds) {
    if (c->cold) {
        ldm_status cold = bench_cold_enqueue(c->cold);
        if (!cold) cold = ldm_oprun_enqueue(c->run);
        if (!cold) cold = ldm_cl_finish(c->cl);
        if (!cold && (*seconds = ldm_oprun_seconds(c->run)) <= 0)
            cold = ldm_fail(LDM_ERR_CL, "the device tells no times of its launches");
        return cold;
    }
    double start = ldm_now();
    for (int i = 0; i < c->batch; i++) {
        ldm_status st = ldm_oprun_enqueue(c->run);
        if (st) return st;
    }
    ldm_status st = ldm_cl_finish(c->cl);
    if (st) return st;
    *seconds = (ldm_now() - start) / c->batch;
    return LDM_OK;
}

void bench_case_close(bench_case *c) {
    ldm_oprun_destroy(c->run);
    c->run = NULL;
}
