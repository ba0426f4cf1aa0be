/* test_lanes.c -- the CPU rows in vectors narrower than this device's registers, as machines with 16 registers of 256 or 128
 * bits run them: small cases of every op that has such rows against the reference, integer cases exact, each twice with
 * the same bits (opcase_run); and what is chosen there. */
#include "tests/opcase.h"

static const double SMALL = 2.0 * 64 * 64 * 64; /* arithmetic of a case, at most */

static bool narrow_row(const ldm_impl *impl, const ldm_problem *p, const ldm_device *d) {
    static ldm_recipe r;
    int params[LDM_MAX_TUNABLES];
    if (impl->family != LDM_CPU || ldm_cannot(p, d, impl)) return false;
    ldm_default_params(p, impl, d, params);
    memset(&r, 0, sizeof r);
    return !impl->record(p, params, d, &r) && strstr(r.launch[r.count - 1].options, "LANES=");
}

static void run_case(ldm_cl *cl, const char *text, bool exact, int *runs) {
    const ldm_fill fill = exact ? LDM_FILL_INTEGER : LDM_FILL_ZEROMEAN;
    const ldm_device *d = ldm_cl_device(cl);
    ldm_problem p;
    opcase c = {0};
    char why[400];
    CHECK_OK(ldm_problem_parse(text, &p));
    if (p.op->cost(&p).flops > SMALL) return;
    for (const ldm_impl *impl = p.op->impls; impl->name; impl++) {
        ldm_verdict v;
        ldm_choice choice = {.impl = impl};
        if (!narrow_row(impl, &p, d)) continue;
        if (!c.p.op) CHECK_OK(opcase_make(text, fill, exact, &c));
        ldm_default_params(&p, impl, d, choice.params);
        ldm_status st = opcase_run(cl, &c, &choice, true, &v);
        const char *bad = st ? ldm_message() : opcase_complaint(&c, &v, why, sizeof why);
        CHECK(!bad, "%s: ldm op '%s' --impl %s --vector-width %d", bad, text, impl->name, d->vector_float);
        ++*runs;
    }
    opcase_free(&c);
}

static void width(int floats, bool all) {
    ldm_cl *cl = NULL;
    int runs = 0;
    CHECK_OK(ldm_cl_open(&(ldm_cl_options){.vector_width = floats}, &cl));
    if (!cl) return;
    for (int i = 0; ldm_ops[i]; i++) {
        for (const char *const *s = ldm_ops[i]->cases; all && *s; s++) run_case(cl, *s, false, &runs);
        for (const char *const *s = ldm_ops[i]->exact_cases; s && *s; s++) run_case(cl, *s, true, &runs);
    }
    CHECK(runs >= 10, "%d runs", runs);
    printf("%d lanes: %d runs, %d programs\n", floats, runs, ldm_cl_build_stats(cl).programs);
    ldm_cl_close(cl);
}

/* Tiles of at most 12 sums, in vectors as wide as the device's. */
static void chosen(int floats, const char *problem, const char *want) {
    ldm_cl *cl = NULL;
    ldm_problem p;
    ldm_choice c = {0};
    char params[200], got[300] = "";
    CHECK_OK(ldm_cl_open(&(ldm_cl_options){.vector_width = floats}, &cl));
    CHECK_OK(ldm_problem_parse(problem, &p));
    if (cl) CHECK_OK(ldm_choose(&p, ldm_cl_device(cl), &c));
    if (c.impl) snprintf(got, sizeof got, "%s %s", c.impl->name, ldm_choice_params(&c, params, sizeof params));
    CHECK(!strcmp(got, want), "%s at %d lanes: %s, wanted %s", problem, floats, got, want);
    ldm_cl_close(cl);
}

int main(int argc, char **argv) {
    ldm_cl *cl = NULL;
    test_begin(argc, argv, "lanes");
    CASE("widths there are none of") {
        CHECK(ldm_cl_open(&(ldm_cl_options){.vector_width = 5}, &cl) == LDM_ERR_ARG && strstr(ldm_message(), "4, 8 or 16"), "%s",
              ldm_message());
        setenv("LDM_VECTOR_WIDTH", "wide", 1);
        CHECK(ldm_cl_open(NULL, &cl) == LDM_ERR_ARG, "a width that is no number was taken");
        unsetenv("LDM_VECTOR_WIDTH");
    }
    CHECK_OK(ldm_cl_open(NULL, &cl));
    const bool cpu = cl && ldm_cl_device(cl)->type == LDM_DEVICE_CPU;
    ldm_cl_close(cl);
    CASE("choice") {
        if (!cpu) SKIP("the rows are for CPUs");
        else {
            chosen(16, "gemm m=64 n=64 k=64", "gemm_tile TILE_ROWS=8 LANES=16");
            chosen(8, "gemm m=64 n=64 k=64", "gemm_tile TILE_ROWS=6 LANES=8");
            chosen(8, "gemm m=4 n=64 k=64", "gemm_tile TILE_ROWS=4 LANES=8");
            chosen(4, "conv2d n=1 c=64 h=8 w=8 k=64 r=3 s=3 stride=2 pt=1 pb=1 pl=1 pr=1", "conv2d_tile TILE_PIXELS=6 LANES=4");
            chosen(8, "conv2d n=1 c=250 h=32 w=32 k=64 r=3 s=3 pt=1 pb=1 pl=1 pr=1", "conv2d_winograd OUT=4 BLOCK=32 GROUP=4");
            chosen(4, "conv2d n=1 c=768 h=32 w=32 k=768 r=3 s=3 pt=1 pb=1 pl=1 pr=1", "conv2d_winograd_inplace OUT=4 BLOCK=64");
        }
    }
    CASE("8 floats") width(8, true);
    CASE("4 floats") width(4, false);
    return test_end();
}
