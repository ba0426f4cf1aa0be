/* selftest.c -- known answers: one small case per kernel class, compared with constants that were computed once by the
 * references (`ldm selftest --constants` prints selftest_table.h anew). A driver that computes something else is
 * refused before its results are trusted. Under a second when programs are cached. */
#include "app/app.h"
#include "ops/op.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWERS = 6 };
typedef struct known {
    const char *problem;
    struct {
        int64_t at;
        double value, bound;
    } answer[ANSWERS];
} known;

static const known table[] = {
#include "app/selftest_table.h"
};

enum { SEED = 7 };

static ldm_status run_case(ldm_cl *cl, const known *k, const ldm_choice *c, const ldm_problem *p, ldm_text *out) {
    ldm_status st = LDM_OK;
    float *in[LDM_MAX_SLOTS] = {0}, *y = NULL;
    ldm_oprun *run = NULL;
    double *own = NULL; /* value and bound of an algorithm that has its own */
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    TRY(p->op->infer(p, slot));
    int64_t n = ldm_shape_count(&slot[ldm_op_slots(p->op) - 1].shape);
    TRY(ldm_make_inputs(p, LDM_FILL_ZEROMEAN, SEED, in));
    TRY(ldm_alloc((size_t)n * sizeof *y, (void **)&y));
    TRY(ldm_oprun_create(cl, p, c, (const float *const *)in, &run));
    TRY(ldm_oprun_result(run, y));
    double worst = 0;
    if (c->impl->reference) {
        TRY(ldm_alloc((size_t)n * 2 * sizeof *own, (void **)&own));
        ldm_reference(p, c, (const float *const *)in, NULL, own, own + n);
    }
    for (int i = 0; i < ANSWERS; i++) {
        double err = fabs(y[k->answer[i].at] - k->answer[i].value),
               limit = own ? own[n + k->answer[i].at] : k->answer[i].bound;
        if (!(err <= limit))
            TRY(ldm_fail(LDM_ERR_MISMATCH,
                         "%s computes %.9g at %lld, known is %.9g; repeat with: ldm op '%s' --impl %s --seed %d",
                         c->impl->name, y[k->answer[i].at], (long long)k->answer[i].at, k->answer[i].value, k->problem,
                         c->impl->name, SEED));
        if (limit > 0) worst = fmax(worst, err / limit);
    }
    if (out) ldm_text_add(out, "passed %-22s %-60s worst error/bound %.2f\n", c->impl->name, k->problem, worst);
done:
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(in[i]);
    free(y);
    free(own);
    ldm_oprun_destroy(run);
    return st;
}

/* The rows that would run on this device: the preferred one and, of its family, whatever can run. */
ldm_status app_selftest(ldm_cl *cl, ldm_text *out) {
    const ldm_device *d = ldm_cl_device(cl);
    enum { CASES = sizeof table / sizeof *table };
    for (int i = 0; i < (int)CASES; i++) {
        ldm_problem p;
        ldm_choice c;
        ldm_status st = ldm_problem_parse(table[i].problem, &p);
        if (!st) st = ldm_choose(&p, d, &c);
        if (!st) st = run_case(cl, &table[i], &c, &p, out);
        if (st) return st;
    }
    return LDM_OK;
}

/* One case per op: the first of its test cases that is small, and the same in f16 where the op computes. */
ldm_status app_selftest_constants(void) {
    printf("/* selftest_table.h -- known answers of small cases; made by `ldm selftest --constants`, read by "
           "selftest.c. */\n");
    for (int o = 0; ldm_ops[o]; o++) {
        for (int i = 0, taken = 0; ldm_ops[o]->cases[i] && taken < 2; i++) {
            ldm_problem p;
            ldm_slot slot[LDM_MAX_SLOTS];
            float *in[LDM_MAX_SLOTS] = {0};
            double *y = NULL, *bound = NULL;
            char text[LDM_PROBLEM_TEXT];
            memset(slot, 0, sizeof slot);
            ldm_status st = ldm_problem_parse(ldm_ops[o]->cases[i], &p);
            if (st) return st;
            if ((taken == 0) != (p.dtype == LDM_F32) || p.op->infer(&p, slot)) continue;
            int64_t n = ldm_shape_count(&slot[ldm_op_slots(p.op) - 1].shape);
            if (n < 64 || n > 20000 || p.op->cost(&p).flops > 4e6) continue;
            taken++;
            if ((st = ldm_make_inputs(&p, LDM_FILL_ZEROMEAN, SEED, in))) return st;
            y = calloc((size_t)n, sizeof *y), bound = calloc((size_t)n, sizeof *bound);
            if (!y || !bound) return ldm_fail(LDM_ERR_NOMEM, "constants: host memory is out");
            p.op->reference(&p, (const float *const *)in, NULL, y, bound);
            printf("    {\"%s\",\n     {", ldm_problem_text(&p, text, sizeof text));
            for (int a = 0; a < ANSWERS; a++) {
                int64_t at = a == ANSWERS - 1 ? n - 1 : (int64_t)(ldm_hash(SEED, 99, (uint64_t)a) % (uint64_t)n);
                printf("%s{%lld, %.17g, %.6g}", a ? ", " : "", (long long)at, y[at], bound[at]);
            }
            printf("}},\n");
            free(y), free(bound);
            for (int j = 0; j < LDM_MAX_SLOTS; j++) free(in[j]);
        }
    }
    return LDM_OK;
}
