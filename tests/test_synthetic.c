/* test_synthetic.c -- synthetic weights keep every step's result of order one, in every network, so that full-size runs
 * without trained weights neither vanish nor overflow. Run at a quarter or so of the width and a small side: the fills
 * scale with fan-in, so width does not matter much (measured at full width too: 0.22 to 1.52 for the six cin-ldm). */
#include "model/model.h"
#include "sample/sample.h"
#include "test.h"
#include <math.h>

enum { SIDE = 8, TOKENS = 7 };
static const double least = 0.1, most = 10;

static double rms(const float *x, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * x[i];
    return sqrt(s / (double)n);
}

static ldm_plan *unet_plan(const ldm_config *k) {
    ldm_unet_config u = k->unet;
    ldm_plan *p = NULL;
    int64_t side = SIDE < ldm_unet_multiple(&u) ? ldm_unet_multiple(&u) : SIDE;
    u.model_channels = u.model_channels % 64 ? 32 : 64; /* heads of 32 must still fit */
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, (int64_t)u.in_channels));
    ldm_tensor temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u.model_channels)),
               context = LDM_NONE, labels = LDM_NONE;
    if (u.num_classes > 0) labels = ldm_plan_input(p, "labels", LDM_I32, ldm_shape_of(1, (int64_t)1));
    if (k->condition == LDM_COND_CLASS)
        context = ldm_class_embedder_emit(p, k->n_classes, u.context_dim,
                                          ldm_plan_input(p, "class", LDM_I32, ldm_shape_of(1, (int64_t)1)));
    else if (u.use_spatial_transformer)
        context =
            ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)TOKENS, (int64_t)u.context_dim));
    ldm_plan_output(p, ldm_unet_emit(p, &u, x, temb, context, labels, LDM_NONE), "y");
    return p;
}

static ldm_plan *stage_plan(ldm_stage_config s, bool encoder) {
    ldm_plan *p = NULL;
    s.ch /= 4;
    int64_t side = encoder ? SIDE * ldm_stage_factor(&s) : SIDE, c = encoder ? 3 : ldm_stage_latent_channels(&s);
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, c));
    ldm_plan_output(p, encoder ? ldm_stage_emit_encoder(p, &s, x) : ldm_stage_emit_decoder(p, &s, x), "y");
    return p;
}

/* Normal numbers in, a sinusoid for the time, class and label 17; every step's result read back. Takes the plan. */
static void order_one(ldm_cl *cl, const char *name, ldm_plan *p) {
    const ldm_device *d = ldm_cl_device(cl);
    uint64_t seed = 7;
    ldm_source w = ldm_source_synthetic(&seed);
    ldm_exec *e = NULL;
    ldm_rng *r = NULL;
    float *x = NULL;
    int64_t largest = 1;
    ldm_status st = LDM_OK;
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    for (int i = 0; i < p->tensors; i++)
        if (ldm_shape_count(&p->tensor[i].shape) > largest) largest = ldm_shape_count(&p->tensor[i].shape);
    TRY(ldm_alloc((size_t)largest * sizeof *x, (void **)&x));
    TRY(ldm_rng_create((ldm_rng_kind){0}, 3, &r));
    TRY(ldm_exec_create(cl, p, &w, NULL, &e));
    for (int i = 0; i < p->tensors; i++) {
        const ldm_tensor_info *t = &p->tensor[i];
        if (t->kind != LDM_INPUT) continue;
        int64_t n = ldm_shape_count(&t->shape);
        if (!strcmp(t->name, "class") || !strcmp(t->name, "labels")) x[0] = 17;
        else if (!strcmp(t->name, "temb")) ldm_timestep_embedding(500, (int)n, x);
        else ldm_rng_fill(r, x, n);
        TRY(ldm_exec_write(e, i, x));
    }
    for (int i = 0; i < p->steps; i++) {
        const ldm_step_info *s = &p->step[i];
        ldm_tensor y = s->slot[ldm_op_slots(s->problem.op) - 1];
        TRY(ldm_exec_run_step(e, i));
        TRY(ldm_exec_peek(e, y, x));
        double v = rms(x, ldm_shape_count(&p->tensor[y].shape));
        CHECK(v > least && v < most, "%s: step %d (%s, %s) has rms %g", name, i, s->scope, s->problem.op->name, v);
    }
done:
    CHECK(st == LDM_OK, "%s: %s", name, ldm_message());
    free(x);
    ldm_rng_destroy(r);
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
}

/* Values of a name and a seed are fixed for good: results files and witnesses depend on them. */
static void test_values(void) {
    uint64_t seed = 1;
    ldm_source w = ldm_source_synthetic(&seed);
    ldm_tensor_info t = {
        .name = "out.2.weight", .shape = ldm_shape_of(4, (int64_t)4, (int64_t)2, (int64_t)3, (int64_t)3), .gain = 1};
    float x[72], again[72];
    CHECK_OK(w.load(w.self, &t, x));
    CHECK_OK(w.load(w.self, &t, again));
    CHECK(!memcmp(x, again, sizeof x), "a second load differs");
    CHECK(rms(x, 72) > 0.19 && rms(x, 72) < 0.28, "rms %g of weights with fan-in 18, wanted about %g", rms(x, 72),
          1 / sqrt(18));
    CHECK(x[0] == -0.287363231f && x[71] == 0.341786563f, "values %.9g %.9g", (double)x[0], (double)x[71]);
    seed = 2;
    CHECK_OK(w.load(w.self, &t, again));
    CHECK(memcmp(x, again, sizeof x), "the seed does nothing");
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "synthetic");
    ldm_cl *cl = NULL;
    ldm_quiet = true;
    CASE("values") test_values();
    if (ldm_cl_open(&(ldm_cl_options){0}, &cl)) {
        CASE("order one") SKIP("%s", ldm_message());
        return test_end();
    }
    for (const ldm_config *const *k = ldm_config_list(); *k; k++)
        CASE((*k)->name) order_one(cl, (*k)->name, unet_plan(*k));
    for (const ldm_stage_config *const *s = ldm_stage_list(); *s; s++) {
        if ((*s)->kind == LDM_STAGE_IDENTITY) continue;
        CASE((*s)->name) {
            order_one(cl, (*s)->name, stage_plan(**s, true));
            order_one(cl, (*s)->name, stage_plan(**s, false));
        }
    }
    ldm_cl_close(cl);
    return test_end();
}
