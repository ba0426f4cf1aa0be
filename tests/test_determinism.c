/* test_determinism.c -- no row of any op may depend on the order its work-groups run in. Every row runs the largest of
 * its op's cases as it is and again with the work-groups' numbers permuted (SHUFFLED in kernels/common.clh: a group
 * takes another one's place), so that what ran first runs somewhere in the middle; both must give the same bytes. That
 * a second run gives the same bytes is test_ops; that one thread and two do, and whole programs, is test_cli.sh.
 * Library rows are left out: their kernels are not ours to build.
 *
 *   test_determinism [--device D] [PART OF "op implementation"]... */
#include "tests/opcase.h"
#include "tests/pair.h"

static const double MOST_FLOPS = 2e8;

static ldm_cl_options options;
static ldm_cl *cl;

/* ---- a row whose launches are shuffled -----------------------------------------------------------------------------
 */

static const ldm_impl *straight;

static ldm_status shuffled_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    ldm_status st = straight->record(p, params, d, r);
    for (int i = 0; !st && i < r->count; i++) {
        char *text = r->launch[i].options;
        const size_t n = strlen(text);
        if (n + sizeof " -DSHUFFLED" > LDM_MAX_OPTIONS) return ldm_fail(LDM_ERR_ARG, "no room for another option");
        snprintf(text + n, LDM_MAX_OPTIONS - n, "%s-DSHUFFLED", n ? " " : "");
    }
    return st;
}

/* Work-groups of the recipe's largest launch; one of a size the driver chooses counts as single work-items. */
static double most_groups(const ldm_problem *p, const ldm_choice *c) {
    static ldm_recipe r;
    double most = 0;
    memset(&r, 0, sizeof r);
    if (c->impl->record(p, c->params, ldm_cl_device(cl), &r)) return 0;
    for (int i = 0; i < r.count; i++) {
        const ldm_launch *l = &r.launch[i];
        double groups = 1;
        for (int k = 0; k < l->dims; k++) groups *= (double)l->global[k] / (double)(l->local[0] ? l->local[k] : 1);
        most = fmax(most, groups);
    }
    return most;
}

static ldm_status result(const ldm_problem *p, const ldm_choice *c, float **in, float *y) {
    ldm_oprun *run = NULL;
    ldm_status st = ldm_oprun_create(cl, p, c, (const float *const *)in, &run);
    if (!st) st = ldm_oprun_result(run, y);
    ldm_oprun_destroy(run);
    return st;
}

static void run_row(const ldm_op *op, const ldm_impl *impl) {
    ldm_choice choice = {.impl = impl}, best = {0}, shuffled;
    ldm_impl other = *impl;
    ldm_problem p, largest;
    double groups = 0;
    float *in[LDM_MAX_SLOTS] = {NULL}, *y = NULL, *again = NULL;
    char text[LDM_PROBLEM_TEXT];
    for (int i = 0; op->cases[i]; i++) {
        if (ldm_problem_parse(op->cases[i], &p) || op->cost(&p).flops > MOST_FLOPS) continue;
        if (ldm_cannot(&p, ldm_cl_device(cl), impl)) continue;
        ldm_default_params(&p, impl, ldm_cl_device(cl), choice.params);
        const double g = most_groups(&p, &choice);
        if (g > groups) groups = g, best = choice, largest = p;
    }
    CHECK(groups > 1, "no case has two work-groups");
    if (!(groups > 1)) return;
    ldm_slot slot[LDM_MAX_SLOTS];
    CHECK_OK(op->infer(&largest, slot));
    const size_t bytes = (size_t)ldm_shape_count(&slot[ldm_op_slots(op) - 1].shape) * sizeof *y;
    CHECK_OK(ldm_make_inputs(&largest, LDM_FILL_ZEROMEAN, OPCASE_SEED, in));
    CHECK_OK(ldm_alloc(bytes, (void **)&y));
    CHECK_OK(ldm_alloc(bytes, (void **)&again));
    straight = impl, other.record = shuffled_record;
    shuffled = best, shuffled.impl = &other;
    CHECK_OK(result(&largest, &best, in, y));
    CHECK_OK(result(&largest, &shuffled, in, again));
    CHECK(!memcmp(y, again, bytes), "%s: other bytes with the work-groups shuffled",
          ldm_problem_text(&largest, text, sizeof text));
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(in[i]);
    free(y), free(again);
}

/* ---- a kernel that does depend on it -------------------------------------------------------------------------------
 */

enum { CHAIN = 1000 };

/* tests/chain.cl gives every group its number if they run in order. */
static void control(void) {
    static ldm_recipe r;
    ldm_status st = LDM_OK;
    ldm_buffer *y = NULL;
    ldm_step *step = NULL;
    int got[CHAIN], in_order = 0;
    ldm_rec_kernel(&r, "../tests/chain.cl", "chain");
    ldm_rec_option(&r, "-DSHUFFLED");
    ldm_rec_slot(&r, 0);
    ldm_rec_range1(&r, CHAIN, 1);
    TRY(ldm_buffer_create(cl, sizeof got, &y));
    TRY(ldm_buffer_fill(y, 0, sizeof got, 0));
    TRY(ldm_step_create(cl, &r, &y, 1, NULL, &step));
    TRY(ldm_step_enqueue(step));
    TRY(ldm_buffer_read(y, 0, got, sizeof got));
    for (int i = 0; i < CHAIN; i++) in_order += got[i] == i;
    CHECK(in_order < CHAIN / 2, "%d of %d groups of a chain found the one before them done", in_order, CHAIN);
done:
    CHECK(!st, "%s", ldm_message());
    ldm_step_destroy(step);
    ldm_buffer_destroy(y);
}

static void work(void) {
    static char name[128];
    if (ldm_cl_open(&options, &cl)) {
        CASE("device") CHECK(false, "%s", ldm_message());
        return;
    }
    int rows = 0, mine = pair_next();
    for (int o = 0; ldm_ops[o]; o++)
        for (const ldm_impl *impl = ldm_ops[o]->impls; impl->name; impl++) {
            if (impl->family == LDM_LIBRARY || rows++ != mine) continue;
            mine = pair_next();
            snprintf(name, sizeof name, "%s %s", ldm_ops[o]->name, impl->name);
            CASE(name) run_row(ldm_ops[o], impl);
            test_close_case();
        }
    if (rows == mine) CASE("shuffled groups: a chain of groups breaks") control();
    test_close_case();
    ldm_cl_close(cl);
}

int main(int argc, char **argv) {
    options.select = opcase_device_option(&argc, argv);
    test_begin(argc, argv, "determinism");
    pair_run(work);
    return test_end();
}
