/* test_fuse.c -- the plan's rewrites, one case each: what they make of the steps they are for, the same result on the
 * references and on the device, and that they leave alone what somebody else still reads, what is an output and what
 * only looks like their steps. Whole networks fused and unfused are in test_networks.c. */
#include "model/layers.h"
#include "plan/rewrite.h"
#include "test.h"
#include <math.h>
#include <time.h>

static ldm_cl *cl; /* NULL: no device */
static uint64_t seed = 3;

/* ---- plans and their results ------------------------------------------------------------------------------------- */

/* The ops of a plan in order: "gemm gemm attention". */
static const char *ops_of(const ldm_plan *p, int segment) {
    static char text[4][4096];
    static int next;
    char *s = text[next++ % 4];
    size_t n = 0;
    *s = 0;
    for (int i = 0; i < p->steps; i++)
        if (p->step[i].segment == segment && n < sizeof text[0] - 32)
            n += (size_t)sprintf(s + n, "%s%s", n ? " " : "", p->step[i].problem.op->name);
    return s;
}

/* True if a step's problem has this text in it. */
static bool has_step(const ldm_plan *p, const char *part) {
    char text[LDM_PROBLEM_TEXT];
    for (int i = 0; i < p->steps; i++)
        if (strstr(ldm_problem_text(&p->step[i].problem, text, sizeof text), part)) return true;
    return false;
}

/* Runs segments 0 and 1 of a finished plan, the second twice; "y" into `y`. */
static void run(ldm_plan *p, bool device, float *y) {
    ldm_status st = LDM_OK;
    ldm_exec *e = NULL;
    ldm_source w = ldm_source_synthetic(&seed);
    float *data = NULL;
    TRY(ldm_plan_finish(p, device ? ldm_cl_device(cl)->max_alloc : SIZE_MAX / 4,
                        device ? ldm_cl_device(cl)->base_align : 64));
    TRY(device ? ldm_exec_create(cl, p, &w, NULL, &e) : ldm_exec_create_reference(p, &w, &e));
    for (int t = 0; t < p->tensors; t++) {
        if (p->tensor[t].kind != LDM_INPUT) continue;
        int64_t n = ldm_shape_count(&p->tensor[t].shape);
        TRY(ldm_alloc((size_t)n * sizeof *data, (void **)&data));
        for (int64_t i = 0; i < n; i++)
            data[i] = p->tensor[t].dtype == LDM_I32
                          ? 0
                          : 1.7f * ldm_uniform(1, ldm_hash_text(p->tensor[t].name), (uint64_t)i);
        TRY(ldm_exec_write(e, t, data));
        free(data), data = NULL;
    }
    for (int k = 0; k < 3; k++) TRY(ldm_exec_run(e, k > 0));
    TRY(ldm_exec_read(e, ldm_plan_find(p, "y"), y));
done:
    CHECK(st == LDM_OK, "%s", ldm_message());
    free(data);
    ldm_exec_destroy(e);
}

/* Both plans give the same y, up to rounding; takes them. */
static void same_result(ldm_plan *written, ldm_plan *fused) {
    ldm_tensor t = ldm_plan_find(written, "y");
    int64_t n = t == LDM_NONE ? 0 : ldm_shape_count(&ldm_plan_tensor(written, t)->shape);
    float *want = calloc((size_t)n + 1, sizeof *want), *got = calloc((size_t)n + 1, sizeof *got);
    for (int device = 0; n && device <= (cl != NULL); device++) {
        double worst = 0, largest = 0;
        if (!device) run(written, false, want);
        run(fused, device, got);
        for (int64_t i = 0; i < n; i++)
            worst = fmax(worst, fabs((double)got[i] - want[i])), largest = fmax(largest, fabs(want[i]));
        CHECK(largest > 0.1 && worst <= 4e-6 * largest, "%s: largest difference %g of %g",
              device ? "device" : "references", worst, largest);
    }
    CHECK(n > 0, "no output");
    free(want), free(got);
    ldm_plan_destroy(written), ldm_plan_destroy(fused);
}

/* A rewrite finds nothing to do here; takes the plan. */
static void untouched(const char *what, ldm_plan *p) {
    ldm_text before = {0}, after = {0};
    CHECK(p->status == LDM_OK, "%s: %s", what, ldm_message());
    ldm_plan_shapes(p, &before);
    CHECK_OK(ldm_plan_fuse(p));
    ldm_plan_shapes(p, &after);
    CHECK(before.s && after.s && !strcmp(before.s, after.s), "%s: became\n%s", what, after.s ? after.s : "nothing");
    ldm_text_free(&before), ldm_text_free(&after);
    ldm_plan_destroy(p);
}

static ldm_plan *fresh(void) {
    ldm_plan *p = NULL;
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    return p;
}

static ldm_map input(ldm_plan *p, const char *name, int64_t n, int64_t side, int64_t c) {
    return ldm_as_map(p, ldm_plan_input(p, name, LDM_F32, ldm_shape_of(4, n, side, side, c)));
}

static void copy_out(ldm_plan *p, ldm_map x, const char *name) { /* another reader of x */
    ldm_plan_output(p, ldm_emit_activation(p, x, "relu").t, name);
}

/* ---- cross-attention over one token ------------------------------------------------------------------------------ */

enum { SAMPLES = 2, SIDE = 3, WIDTH = 32, HEADS = 2, CONTEXT = 24 };
typedef struct cross {
    int64_t tokens;
    bool no_residual, act, of_input;                         /* the rewrite needs other layers than these */
    bool read_q, read_norm, read_attended, read_a, output_a; /* somebody else needs what would go */
} cross;

static ldm_plan *cross_plan(const cross *c) {
    ldm_plan *p = fresh();
    const int64_t n = SAMPLES, width = WIDTH, context_width = CONTEXT;
    ldm_map x = input(p, "x", n, SIDE, width), h = input(p, "h", n, SIDE, width);
    ldm_map context =
        ldm_as_map(p, ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, n, c->tokens, context_width)));
    ldm_map a = x;
    if (!c->of_input)
        a = ldm_emit_linear(p, "to_a", h, width, LDM_LINEAR(.residual = &x, .act = c->act ? "silu" : NULL));
    ldm_map norm = ldm_emit_layer_norm(p, "norm", a);
    ldm_map q = ldm_emit_linear(p, "to_q", norm, width, LDM_LINEAR(.no_bias = true));
    ldm_map k = ldm_emit_linear(p, "to_k", context, width, LDM_LINEAR(.no_bias = true));
    ldm_map v = ldm_emit_linear(p, "to_v", context, width, LDM_LINEAR(.no_bias = true));
    ldm_map attended = ldm_emit_attention(p, q, k, v, HEADS, false);
    ldm_map y = ldm_emit_linear(p, "to_out", attended, width, LDM_LINEAR(.residual = c->no_residual ? NULL : &a));
    if (c->read_q) copy_out(p, q, "z");
    if (c->read_norm) copy_out(p, norm, "z");
    if (c->read_attended) copy_out(p, attended, "z");
    if (c->read_a) copy_out(p, a, "z");
    if (c->output_a) ldm_plan_output(p, a.t, "z");
    ldm_plan_output(p, y.t, "y");
    return p;
}

static void one_token(void) {
    CASE("one token: a vector a sample") {
        ldm_plan *p = cross_plan(&(cross){.tokens = 1});
        int64_t weights = ldm_plan_params(p, NULL);
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm gemm gemm"), "steps: %s", ops_of(p, 0));
        CHECK(has_step(p, "gemm:f32 m=2 n=32 k=24") && has_step(p, "gemm:f32 m=2 n=32 k=32 +bias") &&
                  has_step(p, "gemm:f32 m=9 n=32 k=32 batch=2 +bias +residual +vec"),
              "not the problems wanted");
        CHECK(ldm_plan_params(p, NULL) == weights, "parameters vanished");
        same_result(cross_plan(&(cross){.tokens = 1}), p);
    }
    CASE("one token: not where somebody else reads") {
        untouched("q", cross_plan(&(cross){.tokens = 1, .read_q = true}));
        untouched("the norm", cross_plan(&(cross){.tokens = 1, .read_norm = true}));
        untouched("the attention", cross_plan(&(cross){.tokens = 1, .read_attended = true}));
        untouched("what is attended from", cross_plan(&(cross){.tokens = 1, .read_a = true}));
        untouched("an output", cross_plan(&(cross){.tokens = 1, .output_a = true}));
    }
    CASE("one token: not what only looks like it") {
        untouched("two tokens", cross_plan(&(cross){.tokens = 2}));
        untouched("no residual", cross_plan(&(cross){.tokens = 1, .no_residual = true}));
        untouched("an activation between", cross_plan(&(cross){.tokens = 1, .act = true}));
        untouched("an input of the plan", cross_plan(&(cross){.tokens = 1, .of_input = true}));
    }
}

/* ---- self-attention of one head ---------------------------------------------------------------------------------- */

typedef struct single {
    int64_t heads, side, key_width;
    ldm_dtype wdtype;
    bool q_bias, k_bias, v_bias, no_out_bias, as_given;
    bool other_input, act;                      /* the rewrite needs other layers than these */
    bool read_q, read_k, read_v, read_attended; /* somebody else needs what would go */
} single;

static ldm_plan *single_plan(const single *s) {
    ldm_plan *p = NULL;
    CHECK_OK(ldm_plan_create(LDM_F32, s->wdtype, &p));
    p->as_given = s->as_given;
    const int64_t side = s->side ? s->side : 5, heads = s->heads ? s->heads : 1;
    ldm_map x = input(p, "x", SAMPLES, side, WIDTH);
    ldm_map norm = ldm_emit_layer_norm(p, "norm", x), other = ldm_emit_layer_norm(p, "other", x);
    ldm_map q = ldm_emit_linear(p, "to_q", norm, WIDTH, LDM_LINEAR(.no_bias = !s->q_bias, .act = s->act ? "silu" : 0));
    ldm_map k = ldm_emit_linear(p, "to_k", s->other_input ? other : norm, WIDTH, LDM_LINEAR(.no_bias = !s->k_bias));
    ldm_map v = ldm_emit_linear(p, "to_v", norm, WIDTH, LDM_LINEAR(.no_bias = !s->v_bias));
    ldm_map attended = ldm_emit_attention(p, q, k, v, heads, false);
    ldm_map y = ldm_emit_linear(p, "to_out", attended, 2 * WIDTH, LDM_LINEAR(.no_bias = s->no_out_bias));
    if (s->read_q) copy_out(p, q, "z");
    if (s->read_k) copy_out(p, k, "z");
    if (s->read_v) copy_out(p, v, "z");
    if (s->read_attended) copy_out(p, attended, "z");
    copy_out(p, other, "o");
    ldm_plan_output(p, y.t, "y");
    return p;
}

static void one_head(void) {
    CASE("one head: keys and values are the input, two products with derived weights are left") {
        for (int biases = 0; biases < 16; biases++) {
            const single s = {
                .q_bias = biases & 1, .k_bias = biases & 2, .v_bias = biases & 4, .no_out_bias = biases & 8};
            ldm_plan *p = single_plan(&s);
            int64_t weights = ldm_plan_params(p, NULL);
            CHECK_OK(ldm_plan_fuse(p));
            CHECK(!strcmp(ops_of(p, 0), "layer_norm layer_norm gemm attention gemm activation"), "steps: %s",
                  ops_of(p, 0));
            CHECK(has_step(p, s.q_bias ? "gemm:f32 m=50 n=32 k=32 +bias" : "gemm:f32 m=50 n=32 k=32") &&
                      has_step(p, s.v_bias || !s.no_out_bias ? "m=50 n=64 k=32 +bias" : "m=50 n=64 k=32"),
                  "not the problems wanted");
            CHECK(ldm_plan_params(p, NULL) == weights, "parameters vanished or appeared");
            same_result(single_plan(&s), p);
        }
    }
    CASE("one head: not where somebody else reads") {
        untouched("q", single_plan(&(single){.read_q = true}));
        untouched("k", single_plan(&(single){.read_k = true}));
        untouched("v", single_plan(&(single){.read_v = true}));
    }
    CASE("one head: not what only looks like it, nor what does not pay") {
        untouched("keys of something else", single_plan(&(single){.other_input = true}));
        untouched("an activation between", single_plan(&(single){.act = true}));
        untouched("weights as given", single_plan(&(single){.as_given = true}));
    }
}

/* Where one_head does not apply, or its attention is read by others. */
static void one_matrix(void) {
    CASE("one matrix: queries, keys and values of few tokens are one product") {
        const single of[] = {{.heads = 2}, {.side = 2}, {.wdtype = LDM_F16}, {.read_attended = true},
                             {.heads = 4, .q_bias = true, .k_bias = true, .v_bias = true}};
        for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
            ldm_plan *p = single_plan(&of[i]);
            int64_t weights = ldm_plan_params(p, NULL);
            CHECK_OK(ldm_plan_fuse(p));
            CHECK(!strncmp(ops_of(p, 0), "layer_norm layer_norm gemm attention gemm activation", 52), "%zu: steps: %s", i, ops_of(p, 0));
            CHECK(has_step(p, of[i].q_bias ? "n=96 k=32 +bias" : "n=96 k=32") && has_step(p, "layout=packed"), "%zu: not the problems wanted", i);
            CHECK(ldm_plan_params(p, NULL) == weights, "parameters vanished or appeared");
            same_result(single_plan(&of[i]), p);
        }
    }
    CASE("one matrix: not of many tokens, nor what only looks like it") {
        untouched("many tokens", single_plan(&(single){.heads = 2, .side = 19}));
        untouched("one of them with a bias", single_plan(&(single){.heads = 2, .k_bias = true}));
        untouched("keys of something else", single_plan(&(single){.heads = 2, .other_input = true}));
        untouched("keys that others read", single_plan(&(single){.heads = 2, .read_k = true}));
        untouched("weights as given", single_plan(&(single){.heads = 2, .as_given = true}));
    }
}

/* ---- derived weights --------------------------------------------------------------------------------------------- */

/* Element (i, j) of a param of `columns` columns, as the source gives it. */
static double at(const float *w, int64_t columns, int64_t i, int64_t j) { return (double)w[i * columns + j]; }

static void derived(void) {
    enum { M = 21, N = 69, K = 300 };
    const ldm_shape shapes[] = {ldm_shape_of(4, (int64_t)M, (int64_t)K, (int64_t)1, (int64_t)1),
                                ldm_shape_of(2, (int64_t)K, (int64_t)M),
                                ldm_shape_of(2, (int64_t)K, (int64_t)N),
                                ldm_shape_of(2, (int64_t)M, (int64_t)N),
                                ldm_shape_of(1, (int64_t)K),
                                ldm_shape_of(1, (int64_t)M)};
    enum { A, AT, B, C, BV, CV, GIVEN };
    float *given[GIVEN], *got = malloc(sizeof *got * 2 * M * K);
    ldm_tensor t[GIVEN];
    ldm_plan *p = fresh();
    ldm_source w = ldm_source_synthetic(&seed);
    for (int i = 0; i < GIVEN; i++) {
        char name[2] = {(char)('a' + i), 0};
        t[i] = ldm_plan_param(p, name, shapes[i], LDM_FILL_WEIGHT, 1);
        given[i] = malloc(sizeof *got * (size_t)ldm_shape_count(&shapes[i]));
        CHECK_OK(ldm_plan_load(p, &w, t[i], given[i]));
    }
    CASE("derived: products are those of f64 in the order of their terms, rounded once") {
        const struct {
            ldm_rule rule;
            int a, b, c, n;
        } products[] = {{LDM_PRODUCT, A, B, -1, N},     {LDM_PRODUCT, A, B, C, N},   {LDM_TRANSPOSED, AT, B, -1, N},
                        {LDM_TRANSPOSED, AT, B, C, N},  {LDM_PRODUCT, A, BV, -1, 1}, {LDM_PRODUCT, A, BV, CV, 1},
                        {LDM_TRANSPOSED, AT, BV, CV, 1}};
        for (size_t r = 0; r < sizeof products / sizeof *products; r++) {
            const int a = products[r].a, b = products[r].b, c = products[r].c, n = products[r].n;
            ldm_tensor d =
                ldm_plan_derive(p, products[r].rule, (ldm_tensor[]){t[a], t[b], c < 0 ? 0 : t[c]}, 2 + (c >= 0));
            int64_t wrong = 0;
            CHECK(d != LDM_NONE && ldm_shape_count(&p->tensor[d].shape) == M * n, "rule %zu: not the shape wanted", r);
            CHECK(d == ldm_plan_derive(p, products[r].rule, (ldm_tensor[]){t[a], t[b], c < 0 ? 0 : t[c]}, 2 + (c >= 0)),
                  "rule %zu: derived twice", r);
            CHECK_OK(ldm_plan_load(p, &w, d, got));
            for (int i = 0; i < M; i++)
                for (int j = 0; j < n; j++) {
                    double sum = 0;
                    for (int k = 0; k < K; k++)
                        sum += (a == A ? at(given[a], K, i, k) : at(given[a], M, k, i)) * at(given[b], n, k, j);
                    wrong += got[i * n + j] != (float)(sum + (c < 0 ? 0 : at(given[c], n, i, j)));
                }
            CHECK(!wrong, "rule %zu: %lld elements are wrong", r, (long long)wrong);
        }
    }
    CASE("derived: rows one after the other, of derived ones too") {
        ldm_tensor twice = ldm_plan_derive(p, LDM_ROWS, (ldm_tensor[]){t[BV], t[CV], t[BV]}, 3);
        ldm_tensor all = ldm_plan_derive(p, LDM_ROWS, (ldm_tensor[]){t[CV], twice}, 2);
        CHECK(all != LDM_NONE && ldm_shape_count(&p->tensor[all].shape) == 2 * M + 2 * K, "not the shape wanted");
        CHECK_OK(ldm_plan_load(p, &w, all, got));
        CHECK(!memcmp(got, given[CV], sizeof *got * M) && !memcmp(got + M, given[BV], sizeof *got * K) &&
                  !memcmp(got + M + K, given[CV], sizeof *got * M) &&
                  !memcmp(got + 2 * M + K, given[BV], sizeof *got * K),
              "not these rows");
    }
    CASE("derived: parts that do not fit") {
        CHECK(ldm_plan_derive(p, LDM_PRODUCT, (ldm_tensor[]){t[A], t[C]}, 2) == LDM_NONE && p->status == LDM_ERR_ARG,
              "accepted");
        CHECK(strstr(ldm_message(), "a * d"), "names are missing: %s", ldm_message());
    }
    for (int i = 0; i < GIVEN; i++) free(given[i]);
    free(got);
    ldm_plan_destroy(p);
}

/* ---- GEGLU --------------------------------------------------------------------------------------------------------
 */

typedef struct feed {
    bool residual, act, of_input; /* the rewrite needs other layers than these */
    bool read_proj, output_proj;  /* somebody else needs what would go */
} feed;

static ldm_plan *feed_plan(const feed *f) {
    ldm_plan *p = fresh();
    ldm_map x = input(p, "x", 2, SIDE, WIDTH), wide = input(p, "wide", 2, SIDE, 6 * WIDTH);
    ldm_map proj = wide;
    if (!f->of_input)
        proj = ldm_emit_linear(p, "proj", x, 6 * WIDTH,
                               LDM_LINEAR(.residual = f->residual ? &wide : NULL, .act = f->act ? "silu" : NULL));
    if (f->read_proj) copy_out(p, proj, "z");
    if (f->output_proj) ldm_plan_output(p, proj.t, "z");
    ldm_plan_output(p, ldm_emit_geglu(p, proj).t, "y");
    return p;
}

static void nobody_reads(void) {
    CASE("what nobody reads is dropped where no rewrite applies, and its weights stay bound") {
        ldm_plan *p = fresh();
        ldm_map x = input(p, "x", 2, SIDE, WIDTH), h = ldm_emit_linear(p, "proj", x, WIDTH, LDM_LINEAR(0));
        ldm_emit_layer_norm(p, "norm", ldm_emit_linear(p, "more", h, WIDTH, LDM_LINEAR(0)));
        ldm_plan_output(p, h.t, "y");
        int64_t weights = ldm_plan_params(p, NULL);
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm"), "steps: %s", ops_of(p, 0));
        CHECK(ldm_plan_params(p, NULL) == weights, "parameters vanished");
        ldm_plan_destroy(p);
    }
}

static void gated(void) {
    CASE("geglu: in the product's epilogue") {
        ldm_plan *p = feed_plan(&(feed){0});
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm"), "steps: %s", ops_of(p, 0));
        CHECK(has_step(p, "gemm:f32 m=18 n=192 k=32 act=geglu +bias"), "not the problem wanted");
        same_result(feed_plan(&(feed){0}), p);
    }
    CASE("geglu: not where the product is something else, or somebody else's") {
        untouched("a residual", feed_plan(&(feed){.residual = true}));
        untouched("an activation", feed_plan(&(feed){.act = true}));
        untouched("of an input", feed_plan(&(feed){.of_input = true}));
        untouched("another reader", feed_plan(&(feed){.read_proj = true}));
        untouched("an output", feed_plan(&(feed){.output_proj = true}));
    }
}

/* ---- tables known before a loop ---------------------------------------------------------------------------------- */

enum { ENTRIES = 7 };
typedef struct loop {
    bool of_step, written, of_param, early, residual; /* the rewrite needs other tables and layers than these */
    bool read_row;                                    /* somebody else needs the row itself */
} loop;

/* Rows of a table for a counter that walks through it, and layers of them. */
static ldm_plan *table_plan(const loop *l) {
    ldm_plan *p = fresh();
    const int64_t rows = SAMPLES, entries = ENTRIES, width = WIDTH;
    p->segment = l->of_step;
    ldm_tensor table = ldm_plan_input(p, "table", LDM_F32, ldm_shape_of(2, entries, width));
    p->segment = 1;
    ldm_tensor index = ldm_plan_input(p, "index", LDM_I32, ldm_shape_of(1, rows));
    if (l->of_param) table = ldm_plan_param(p, "table", ldm_shape_of(2, entries, width), LDM_FILL_WEIGHT, 3);
    ldm_tensor row = ldm_plan_emit(p, (ldm_tensor[]){index, table}, 2, "embedding:f32 rows=%lld entries=%lld c=%lld",
                                   (long long)rows, (long long)entries, (long long)width);
    if (l->early) ldm_plan_emit_into(p, index, (ldm_tensor[]){index}, 1, "advance:f32 count=%lld", (long long)rows);
    ldm_map x = ldm_as_map(p, row), y = ldm_emit_linear(p, "a", x, width, LDM_LINEAR(.residual = l->residual ? &x : 0));
    if (!l->early && !l->residual)
        y = ldm_emit_linear(p, "b", ldm_emit_activation(p, y, "silu"), 2 * width, LDM_LINEAR(.act = "relu"));
    if (l->read_row) copy_out(p, x, "z");
    ldm_plan_output(p, y.t, "y");
    if (l->written)
        ldm_plan_emit_into(p, table, (ldm_tensor[]){table, table}, 2, "add count=%lld", (long long)(entries * width));
    if (!l->early) ldm_plan_emit_into(p, index, (ldm_tensor[]){index}, 1, "advance:f32 count=%lld", (long long)rows);
    return p;
}

static void tables(void) {
    CASE("tables: what is done to rows looked up is done to the table before the loop") {
        ldm_plan *p = table_plan(&(loop){0});
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm activation gemm"), "segment 0: %s", ops_of(p, 0));
        CHECK(!strcmp(ops_of(p, 1), "embedding advance"), "segment 1: %s", ops_of(p, 1));
        CHECK(has_step(p, "gemm:f32 m=7 n=64 k=32 act=relu +bias") &&
                  has_step(p, "embedding:f32 rows=2 entries=7 c=64"),
              "not the problems wanted");
        same_result(table_plan(&(loop){0}), p);
    }
    CASE("tables: the row stays where somebody else reads it") {
        ldm_plan *p = table_plan(&(loop){.read_row = true});
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm activation gemm activation"), "segment 0: %s", ops_of(p, 0));
        CHECK(!strcmp(ops_of(p, 1), "embedding embedding advance"), "segment 1: %s", ops_of(p, 1));
        same_result(table_plan(&(loop){.read_row = true}), p);
    }
    CASE("tables: not those that are not known before, nor layers that need more than the row") {
        untouched("a table of every step", table_plan(&(loop){.of_step = true}));
        untouched("a table that steps overwrite", table_plan(&(loop){.written = true}));
        untouched("weights", table_plan(&(loop){.of_param = true}));
        untouched("an index that has moved on", table_plan(&(loop){.early = true}));
        untouched("a residual", table_plan(&(loop){.residual = true}));
    }
    CASE("tables: thousands of steps, as those of a network in many windows") {
        enum { LAYERS = 2000, LOOKUPS = 600, MOST = 5 }; /* seconds; searching all steps for each would take a minute */
        ldm_plan *p = fresh();
        ldm_tensor table = ldm_plan_input(p, "table", LDM_F32, ldm_shape_of(2, (int64_t)7, (int64_t)WIDTH));
        p->segment = 1;
        ldm_tensor index = ldm_plan_input(p, "index", LDM_I32, ldm_shape_of(1, (int64_t)2));
        ldm_map x = ldm_as_map(p, ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(2, (int64_t)2, (int64_t)WIDTH)));
        for (int i = 0; i < LAYERS; i++) {
            ldm_plan_push(p, "%d", i);
            x = ldm_emit_linear(p, "layer", x, WIDTH, LDM_LINEAR());
            ldm_plan_pop(p);
        }
        for (int i = 0; i < LOOKUPS; i++) {
            ldm_plan_push(p, "%d", i);
            ldm_tensor row = ldm_plan_emit(p, (ldm_tensor[]){index, table}, 2, "embedding:f32 rows=2 entries=7 c=%d", WIDTH);
            ldm_map y = ldm_emit_linear(p, "looked-up", ldm_as_map(p, row), WIDTH, LDM_LINEAR());
            x.t = ldm_plan_emit(p, (ldm_tensor[]){x.t, y.t}, 2, "add count=%d", 2 * WIDTH);
            ldm_plan_pop(p);
        }
        ldm_plan_output(p, x.t, "y");
        const clock_t start = clock();
        CHECK_OK(ldm_plan_fuse(p));
        const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        CHECK(seconds < MOST, "%.1f s for %d steps", seconds, p->steps);
        int before = 0;
        for (int i = 0; i < p->steps; i++) before += p->step[i].segment == 0;
        CHECK(before == LOOKUPS && p->steps == LAYERS + 3 * LOOKUPS, "%d of %d steps before the loop", before, p->steps);
        ldm_plan_destroy(p);
    }
}

/* ---- layers of one row ------------------------------------------------------------------------------------------- */

typedef struct row {
    bool two_rows, narrow, act, other_input, no_bias, output, overwritten,
        as_given; /* the rewrite needs other layers than these */
} row;

/* Two layers of a row, of 128 and 256, used as vectors and maps are. */
static ldm_plan *row_plan(const row *r) {
    ldm_plan *p = fresh();
    p->as_given = r->as_given;
    const int64_t rows = r->two_rows ? 2 : 1, width = r->narrow ? 96 : 128;
    ldm_map x = ldm_as_map(p, ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(2, rows, (int64_t)WIDTH)));
    ldm_map other = ldm_as_map(p, ldm_plan_input(p, "other", LDM_F32, ldm_shape_of(2, rows, (int64_t)WIDTH)));
    ldm_map a = ldm_emit_linear(p, "a", x, width, LDM_LINEAR(.act = r->act ? "silu" : 0));
    if (r->overwritten) ldm_plan_emit_into(p, x.t, (ldm_tensor[]){x.t, other.t}, 2, "add count=%d", WIDTH);
    ldm_map b = ldm_emit_linear(p, "b", r->other_input ? other : x, 256, LDM_LINEAR(.no_bias = r->no_bias));
    ldm_map c = ldm_emit_activation(p, ldm_emit_concat(p, b, a), "silu");
    c = ldm_emit_concat(p, c, ldm_emit_activation(p, b, "relu"));
    if (r->output) ldm_plan_output(p, a.t, "z");
    ldm_plan_output(p, c.t, "y");
    return p;
}

static void rows(void) {
    CASE("one row: layers of it are one") {
        ldm_plan *p = row_plan(&(row){0});
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm concat activation activation concat"), "steps: %s", ops_of(p, 0));
        CHECK(has_step(p, "gemm:f32 m=1 n=384 k=32 +bias"), "not the problem wanted");
        same_result(row_plan(&(row){0}), p);
    }
    CASE("one row: not what only looks like it") {
        untouched("two rows", row_plan(&(row){.two_rows = true}));
        untouched("places where no buffer may begin", row_plan(&(row){.narrow = true}));
        untouched("an activation", row_plan(&(row){.act = true}));
        untouched("another input", row_plan(&(row){.other_input = true}));
        untouched("one without bias", row_plan(&(row){.no_bias = true}));
        untouched("an output", row_plan(&(row){.output = true}));
        untouched("weights as given", row_plan(&(row){.as_given = true}));
        untouched("a row that steps overwrite", row_plan(&(row){.overwritten = true}));
    }
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

/* Attention from x to context; `once`: the context belongs to segment 0. x is overwritten, so that two runs of segment
 * 1 differ. */
static ldm_plan *segments_plan(bool once) {
    ldm_plan *p = fresh();
    const int64_t n = SAMPLES, width = WIDTH, tokens = 5, context_width = CONTEXT;
    p->segment = 1;
    ldm_map x = input(p, "x", n, SIDE, width);
    p->segment = !once;
    ldm_map context = ldm_as_map(p, ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, n, tokens, context_width)));
    p->segment = 1;
    ldm_map q = ldm_emit_linear(p, "to_q", x, width, LDM_LINEAR(0));
    ldm_map k = ldm_emit_linear(p, "to_k", context, width, LDM_LINEAR(0));
    ldm_map v = ldm_emit_activation(p, ldm_emit_linear(p, "to_v", context, width, LDM_LINEAR(0)), "silu");
    ldm_map y = ldm_emit_attention(p, q, k, v, HEADS, false);
    ldm_plan_output(p, y.t, "y");
    ldm_plan_emit_into(p, x.t, (ldm_tensor[]){x.t, y.t}, 2, "add count=%lld", (long long)(n * SIDE * SIDE * width));
    return p;
}

static void segments(void) {
    CASE("segments: what depends on the prompt alone is done once") {
        ldm_plan *p = segments_plan(true);
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 0), "gemm gemm activation"), "segment 0: %s", ops_of(p, 0));
        CHECK(!strcmp(ops_of(p, 1), "gemm attention add"), "segment 1: %s", ops_of(p, 1));
        same_result(segments_plan(true), p);
    }
    CASE("segments: a context of every step stays there") {
        ldm_plan *p = segments_plan(false);
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!*ops_of(p, 0), "segment 0: %s", ops_of(p, 0));
        ldm_plan_destroy(p);
    }
    CASE("segments: an input that steps overwrite is none of segment 0") {
        ldm_plan *p = fresh();
        ldm_map x = input(p, "x", 1, SIDE, WIDTH); /* written before segment 0, but */
        p->segment = 1;
        ldm_map y = ldm_emit_activation(p, x, "silu");
        ldm_plan_output(p, y.t, "y");
        ldm_plan_emit_into(p, x.t, (ldm_tensor[]){x.t, y.t}, 2, "add count=%d", SIDE * SIDE * WIDTH);
        CHECK_OK(ldm_plan_fuse(p));
        CHECK(!strcmp(ops_of(p, 1), "activation add"), "segment 1: %s", ops_of(p, 1));
        ldm_plan_destroy(p);
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "fuse");
    if (ldm_cl_open(&(ldm_cl_options){0}, &cl)) printf("note: references only: %s\n", ldm_message());
    one_token();
    one_head();
    one_matrix();
    derived();
    nobody_reads();
    gated();
    tables();
    rows();
    segments();
    ldm_cl_close(cl);
    return test_end();
}
