/* test_ops.c -- the loop over the op table: every op x case x fill x implementation that can run it, against the
 * reference with the per-element bound; output poisoned and fenced; a second run equal bit for bit; integer cases
 * exact; storing must not lean one way; no output mostly zeros. An op without a case, or an implementation that no case
 * reaches, is a failure.
 *
 *   test_ops [--device D] [--small | --tiny] [PART OF "op implementation"]...
 *
 * --small, --tiny: for simulators that need a second for a product of 64 x 64 x 64: only cases of at most that (or 16 x
 * 16 x 16), the zero-mean fill and the exact one, no tunables. */
#include "tests/opcase.h"
#include "tests/pair.h"

enum {
    MAX_IMPLS = 16,
    TUNED_OUTPUTS = 1000
}; /* tunables are tried on one case of that many outputs: each set is a build */

typedef struct tally {
    int runs, failed;
    bool tuned[2];         /* the tunables have been through a case: f32, f16 */
    double worst[2], bias; /* worst error: f32 outputs, f16 outputs (there the storage's own rounding comes near 1) */
    char worst_text[LDM_PROBLEM_TEXT + 16];
} tally;

static ldm_cl_options options;
static ldm_cl *cl;
static double small; /* most arithmetic of a case; 0: any */
static bool watched; /* by a simulator, for reads of what was never written: see reopen */

static void name_of(const ldm_op *op, const ldm_impl *impl, char *buf, size_t cap) {
    snprintf(buf, cap, "%s %s", op->name, impl->name);
}

static bool wanted(const char *name) {
    for (int i = 0; i < test_only_count; i++)
        if (strstr(name, test_only[i])) return true;
    return test_only_count == 0;
}

static bool op_wanted(const ldm_op *op) {
    char name[128];
    for (const ldm_impl *i = op->impls; i->name; i++) {
        name_of(op, i, name, sizeof name);
        if (wanted(name)) return true;
    }
    return false;
}

/* Oclgrind remembers what was written to a buffer under the buffer's number, and neither forgets it when the buffer is
 * freed nor notices that the next one of that number has another size; a new context starts from nothing. */
static void reopen(void) {
    ldm_cl_close(cl);
    if (ldm_cl_open(&options, &cl)) abort();
}

static void run_one(const opcase *c, const ldm_choice *choice, tally *t) {
    char text[LDM_PROBLEM_TEXT], params[200], why[400];
    ldm_verdict v = {0};
    ldm_problem_text(&c->p, text, sizeof text);
    if (watched) reopen();
    ldm_status st = opcase_run(cl, c, choice, true, &v);
    const char *bad = st ? ldm_message() : opcase_complaint(c, &v, why, sizeof why);
    t->runs++;
    double *worst = &t->worst[opcase_stores_half(c)];
    if (!st && v.worst > *worst) {
        *worst = v.worst;
        if (!opcase_stores_half(c) || !*t->worst_text)
            snprintf(t->worst_text, sizeof t->worst_text, "%s (%s)", text, opcase_fill_name(c->fill));
    }
    if (!st && opcase_stores_half(c) && v.judged >= OPCASE_BIAS_OUTPUTS && fabs(v.bias) > fabs(t->bias))
        t->bias = v.bias;
    if (!bad) return;
    t->failed++;
    ldm_choice_params(choice, params, sizeof params);
    printf("FAIL ops: %s\n    ldm op '%s' --impl %s --seed %d", bad, text, choice->impl->name, OPCASE_SEED);
    if (c->fill != LDM_FILL_ZEROMEAN) printf(" --fill %s", opcase_fill_name(c->fill));
    printf("%s%s%s\n", *params ? "   [" : "", params, *params ? "]" : "");
}

/* Every other value of every tunable, one at a time: the tuner may choose them. */
static void run_tunables(const opcase *c, const ldm_choice *usual, tally *t) {
    const ldm_impl *impl = usual->impl;
    const ldm_device *d = ldm_cl_device(cl);
    for (int i = 0; impl->tunables && i < LDM_MAX_TUNABLES && impl->tunables[i].name; i++)
        for (int j = 0; j < 8 && impl->tunables[i].value[j]; j++) {
            ldm_choice other = *usual;
            other.params[i] = impl->tunables[i].value[j];
            if (other.params[i] == usual->params[i] || !ldm_params_legal(&c->p, impl, other.params, d)) continue;
            run_one(c, &other, t);
        }
}

/* One other legal set of values, which depends on the case alone: over all cases every set meets many problems. */
static void run_other_set(const opcase *c, const char *text, const ldm_choice *usual, tally *t) {
    ldm_choice other = *usual;
    int legal = 0;
    for (int set = 0; ldm_params_set(usual->impl, set, other.params); set++)
        legal += ldm_params_legal(&c->p, usual->impl, other.params, ldm_cl_device(cl));
    if (legal < 2) return;
    int wanted_set = (int)(ldm_hash_text(text) % (uint64_t)legal);
    for (int set = 0; ldm_params_set(usual->impl, set, other.params); set++)
        if (ldm_params_legal(&c->p, usual->impl, other.params, ldm_cl_device(cl)) && wanted_set-- == 0) break;
    if (memcmp(other.params, usual->params, sizeof other.params)) run_one(c, &other, t);
}

/* False if the case itself cannot be made. */
static bool run_case(const char *text, ldm_fill fill, bool exact, tally *tallies) {
    opcase c;
    ldm_problem p;
    if (small > 0 &&
        ((!exact && fill != LDM_FILL_ZEROMEAN) || (!ldm_problem_parse(text, &p) && p.op->cost(&p).flops > small)))
        return true;
    ldm_status st = opcase_make(text, fill, exact, &c);
    if (st) printf("FAIL ops: case '%s': %s\n", text, ldm_message());
    c.leave_scratch = watched;
    for (int i = 0; !st && c.p.op->impls[i].name && i < MAX_IMPLS; i++) {
        const ldm_impl *impl = &c.p.op->impls[i];
        const ldm_family family = ldm_cl_device(cl)->type == LDM_DEVICE_CPU ? LDM_CPU : LDM_GPU;
        char name[128];
        name_of(c.p.op, impl, name, sizeof name);
        if (!wanted(name) || ldm_cannot(&c.p, ldm_cl_device(cl), impl)) continue;
        ldm_choice choice = {.impl = impl};
        ldm_default_params(&c.p, impl, ldm_cl_device(cl), choice.params);
        run_one(&c, &choice, &tallies[i]);
        /* of a row the device would not choose, tunables are tried with f32 only */
        bool half = opcase_stores_half(&c), chosen = !ldm_why_not(&c.p, ldm_cl_device(cl), impl);
        if (small == 0 && fill == LDM_FILL_ZEROMEAN && impl->family == family) run_other_set(&c, text, &choice, &tallies[i]);
        if (small == 0 && !exact && c.outputs >= TUNED_OUTPUTS && !tallies[i].tuned[half] && (chosen || !half))
            run_tunables(&c, &choice, &tallies[i]), tallies[i].tuned[half] = true;
    }
    opcase_free(&c);
    return st == LDM_OK;
}

static int op_count(void) {
    int n = 0;
    while (ldm_ops[n]) n++;
    return n;
}

static void run_op(const ldm_op *op) {
    tally tallies[MAX_IMPLS] = {0};
    static char names[MAX_IMPLS][128], whole[128];
    double start = ldm_now();
    int cases = 0, broken = 0;
    for (int i = 0; op->cases && op->cases[i]; i++, cases++) {
        for (ldm_fill f = 0; f < LDM_FILL_INTEGER; f++) broken += !run_case(op->cases[i], f, false, tallies);
    }
    for (int i = 0; op->exact_cases && op->exact_cases[i]; i++, cases++)
        broken += !run_case(op->exact_cases[i], LDM_FILL_INTEGER, true, tallies);
    snprintf(whole, sizeof whole, "%s cases", op->name);
    CASE(whole) {
        CHECK(cases > 0, "the op has no cases");
        CHECK(broken == 0, "%d cases cannot be made", broken);
    }
    for (int i = 0; op->impls[i].name && i < MAX_IMPLS; i++) {
        const tally *t = &tallies[i];
        name_of(op, &op->impls[i], names[i], sizeof names[i]);
        CASE(names[i]) {
            CHECK(t->runs > 0, "none of the op's %d cases reaches this implementation on %s", cases,
                  ldm_cl_device(cl)->name);
            CHECK(t->failed == 0, "%d of %d runs failed", t->failed, t->runs);
            printf("%-30s %4d runs, worst error/bound f32 %.2f, f16 %.2f, f16 bias %+.2f  %s\n", names[i], t->runs,
                   t->worst[0], t->worst[1], t->bias, t->worst_text);
        }
    }
    printf("%s: %d cases, %.1f s, %d programs so far\n", op->name, cases, ldm_now() - start,
           ldm_cl_build_stats(cl).programs);
}

static void work(void) {
    if (ldm_cl_open(&options, &cl)) {
        CASE("device") CHECK(false, "%s", ldm_message());
        return;
    }
    for (int i, count = op_count(); (i = pair_next()) < count;)
        if (op_wanted(ldm_ops[i])) run_op(ldm_ops[i]);
    ldm_cl_close(cl);
}

int main(int argc, char **argv) {
    options.select = opcase_device_option(&argc, argv);
    if (opcase_option("--small", &argc, argv)) small = 2.0 * 64 * 64 * 64;
    if (opcase_option("--tiny", &argc, argv)) small = 2.0 * 16 * 16 * 16, watched = true;
    test_begin(argc, argv, "ops");
    static atomic_int alone;
    if (small > 0) pair_taken = &alone, work(); /* one process: a simulator keeps one log */
    else pair_run(work);
    return test_end();
}
