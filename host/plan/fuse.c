/* fuse.c -- rewrites of an emitted plan into fewer, larger steps, before memory is laid out. The networks' text knows
 * nothing of them, and every step they make is an ordinary row of the op table with its own reference and bound.
 *
 * A rewrite looks at the plan through `maker` and `readers`: a tensor disappears only if the steps that change were all
 * who read it and it is no output. What nobody reads afterwards is dropped, so a rewrite leaves the steps before it to
 * `sweep`. */
#include "ops/op.h"
#include "plan/exec_internal.h"
#include "plan/rewrite.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking at steps -------------------------------------------------------------------------------------------- */

static bool is(const ldm_step_info *s, const char *op) { return !strcmp(s->problem.op->name, op); }
static int64_t dim(const ldm_step_info *s, const char *name) {
    return s->problem.dim[ldm_op_dim_index(s->problem.op, name)];
}
static bool has(const ldm_step_info *s, const char *flag) {
    return s->problem.flags >> ldm_op_flag_index(s->problem.op, flag) & 1;
}
static ldm_tensor in(const ldm_step_info *s, const char *slot) {
    return s->slot[ldm_op_slot_index(s->problem.op, slot)];
}
static int inputs(const ldm_step_info *s) { return ldm_op_slots(s->problem.op) - 1; }
static ldm_tensor out(const ldm_step_info *s) { return s->slot[inputs(s)]; }
static const char *flag(bool given, const char *text) { return given ? text : ""; }

static ldm_tensor root(const ldm_plan *p, ldm_tensor t) { return ldm_view_root(p, t, NULL); }
static int64_t count(const ldm_plan *p, ldm_tensor t) { return ldm_shape_count(&p->tensor[t].shape); }

/* By root, of the steps as they were when a rewrite began: plans of many windows have tens of thousands. */
struct ldm_links {
    int made, reads;         /* how many steps make it or a part of it, how many slots read it or a part of it */
    int last_made, last_read; /* the last step of each */
};

static ldm_status link_steps(ldm_plan *p) {
    free(p->links), p->links = NULL;
    ldm_status st = ldm_alloc((size_t)(p->tensors + 1) * sizeof *p->links, (void **)&p->links);
    for (int i = 0; !st && i < p->steps; i++) {
        struct ldm_links *y = &p->links[root(p, out(&p->step[i]))];
        y->made++, y->last_made = i;
        for (int j = 0; j < inputs(&p->step[i]); j++) {
            if (p->step[i].slot[j] == LDM_NONE) continue;
            struct ldm_links *x = &p->links[root(p, p->step[i].slot[j])];
            x->reads++, x->last_read = i;
        }
    }
    return st;
}

/* The one step that makes t, all of it and nothing else; -1 if there is none. */
static int maker(const ldm_plan *p, ldm_tensor t) {
    const ldm_tensor r = root(p, t);
    const struct ldm_links *l = &p->links[r];
    if (p->tensor[r].kind != LDM_ACTIVATION || count(p, r) != count(p, t) || l->made != 1) return -1;
    return count(p, out(&p->step[l->last_made])) == count(p, r) ? l->last_made : -1;
}

/* How often t or a part of it is read; being kept to the end of a run counts as well. *last: the last step that does.
 */
static int readers(const ldm_plan *p, ldm_tensor t, int *last) {
    const ldm_tensor r = root(p, t);
    if (p->links[r].reads) *last = p->links[r].last_read;
    return p->tensor[r].keep + p->links[r].reads;
}

/* The only step that reads what step `i` makes, as its input `slot`; -1 if others do, or as another input. */
static int sole_reader(const ldm_plan *p, int i, const char *slot) {
    int reader = -1;
    if (readers(p, out(&p->step[i]), &reader) != 1) return -1;
    const int j = ldm_op_slot_index(p->step[reader].problem.op, slot);
    return j >= 0 && p->step[reader].slot[j] != LDM_NONE &&
                   root(p, p->step[reader].slot[j]) == root(p, out(&p->step[i])) &&
                   count(p, p->step[reader].slot[j]) == count(p, out(&p->step[i]))
               ? reader
               : -1;
}

/* A linear layer with or without bias and residual, in the plan's own dtypes. */
static bool is_linear(const ldm_plan *p, const ldm_step_info *s) {
    return is(s, "gemm") && s->problem.dtype == p->dtype && !dim(s, "act") &&
           dim(s, "batch") == 1 && !has(s, "wkn") && !has(s, "wbatch") && !has(s, "vec");
}

/* Step `from` may be done as late as `to`: inputs of the plan, which steps may overwrite, stay what they are. */
static bool may_wait(const ldm_plan *p, int from, int to) {
    if (p->step[from].segment != p->step[to].segment) return false;
    for (int i = from; i < to; i++)
        if (p->tensor[root(p, out(&p->step[i]))].kind != LDM_ACTIVATION) return false;
    return true;
}

/* ---- rewrites: true if something changed ------------------------------------------------------------------------- */

/* What makes q, k and v of attention i, into to[3], if these are linear layers without residual of the same input that nothing
 * else reads; returns the first of them, -1 if they are not. */
static int projections(const ldm_plan *p, int i, const ldm_step_info *to[3]) {
    static const char *const name[] = {"q", "k", "v"};
    int first = i;
    for (int j = 0; j < 3; j++) {
        const int made = maker(p, in(&p->step[i], name[j]));
        if (made < 0 || sole_reader(p, made, name[j]) != i) return -1;
        to[j] = &p->step[made];
        if (!is_linear(p, to[j]) || has(to[j], "residual") || in(to[j], "x") != in(to[0], "x")) return -1;
        if (made < first) first = made;
    }
    return first;
}

/* Self-attention of one head as wide as its input. Of the scores (x Wq + bq) (x Wk + bk)^T the terms of bk are the same
 * for all keys, which the softmax does not see, and what is left is (x Wq Wk^T + bq Wk^T) x^T; the sums of values
 * A (x Wv + bv) Wo + bo are A x Wv Wo + bv Wo + bo, as the rows of A sum to 1. So the keys and the values are x itself,
 * and two products with derived weights do what four did (weights lie as [out, in]):
 *     q = x (Wk^T Wq)^T + Wk^T bq;   y = attention(q, x, x) (Wo Wv)^T + Wo bv + bo
 * The derived weights cost C^3 products once and save m C^2 a run, at a speed the host does not have: they are made
 * where they pay within some ten runs. Only for f32: a file's own halves are exact as they are, their product is not.
 */
static bool one_head(ldm_plan *p, int i) {
    enum { WIDEST = 2 }; /* of C / m */
    const ldm_step_info *s = &p->step[i];
    if (!is(s, "attention") || dim(s, "heads") != 1 || dim(s, "layout") || dim(s, "nq") != dim(s, "nkv") ||
        dim(s, "causal") || p->wdtype != LDM_F32 || p->as_given)
        return false;
    const int64_t c = dim(s, "d"), m = dim(s, "n") * dim(s, "nq");
    const ldm_step_info *to[3];
    const int first = projections(p, i, to);
    if (first < 0) return false;
    for (int j = 0; j < 3; j++)
        if (dim(to[j], "k") != c) return false;
    const int after = sole_reader(p, i, "x");
    if (after < 0 || !is_linear(p, &p->step[after]) || dim(&p->step[after], "k") != c || c > WIDEST * m) return false;
    const ldm_step_info *to_out = &p->step[after], *to_q = to[0], *to_v = to[2];
    const ldm_tensor x = in(to_q, "x");
    if (count(p, x) != m * c || !may_wait(p, first, i)) return false;

    const ldm_tensor wk = in(to[1], "w"), wo = in(to_out, "w"), bq = in(to_q, "bias"), bv = in(to_v, "bias");
    ldm_tensor bias = in(to_out, "bias");
    const ldm_tensor q_bias = bq == LDM_NONE ? LDM_NONE : ldm_plan_derive(p, LDM_TRANSPOSED, (ldm_tensor[]){wk, bq}, 2);
    if (bv != LDM_NONE) bias = ldm_plan_derive(p, LDM_PRODUCT, (ldm_tensor[]){wo, bv, bias}, bias == LDM_NONE ? 2 : 3);
    const ldm_tensor q = ldm_plan_replace(
        p, maker(p, in(s, "q")), to_q->scope, out(to_q),
        (ldm_tensor[]){x, ldm_plan_derive(p, LDM_TRANSPOSED, (ldm_tensor[]){wk, in(to_q, "w")}, 2), q_bias, LDM_NONE,
                       LDM_NONE},
        5, "gemm m=%lld n=%lld k=%lld%s", (long long)m, (long long)c, (long long)c, flag(bq != LDM_NONE, " +bias"));
    ldm_plan_replace(p, after, to_out->scope, out(to_out),
                     (ldm_tensor[]){in(to_out, "x"),
                                    ldm_plan_derive(p, LDM_PRODUCT, (ldm_tensor[]){wo, in(to_v, "w")}, 2), bias,
                                    LDM_NONE, in(to_out, "residual")},
                     5, "gemm m=%lld n=%lld k=%lld%s%s", (long long)m, (long long)dim(to_out, "n"), (long long)c,
                     flag(bias != LDM_NONE, " +bias"), flag(has(to_out, "residual"), " +residual"));
    p->step[i].slot[ldm_op_slot_index(s->problem.op, "k")] = x;
    p->step[i].slot[ldm_op_slot_index(s->problem.op, "v")] = x;
    return q != LDM_NONE;
}

/* Self-attention of few tokens: queries, keys and values are one product, with the rows of their weights one after the other, and
 * attention reads its row. On larger maps rows three times as long cost attention what the launches save. */
static bool one_matrix(ldm_plan *p, int i) {
    enum { MOST = 65536 }; /* elements of the product */
    const ldm_step_info *s = &p->step[i];
    if (!is(s, "attention") || dim(s, "layout") || dim(s, "nq") != dim(s, "nkv") || dim(s, "causal") || p->as_given) return false;
    const int64_t c = dim(s, "heads") * dim(s, "d"), m = dim(s, "n") * dim(s, "nq");
    const ldm_step_info *to[3];
    const int first = projections(p, i, to);
    if (first < 0) return false;
    ldm_tensor w[3], b[3];
    for (int j = 0; j < 3; j++) {
        if (has(to[j], "bias") != has(to[0], "bias")) return false;
        w[j] = in(to[j], "w"), b[j] = in(to[j], "bias");
    }
    if (m * 3 * c > MOST || !may_wait(p, first, i)) return false;
    const bool bias = has(to[0], "bias");
    ldm_tensor all = ldm_plan_replace(p, first, p->step[first].scope, LDM_NONE,
                                      (ldm_tensor[]){in(to[0], "x"), ldm_plan_derive(p, LDM_ROWS, w, 3),
                                                     bias ? ldm_plan_derive(p, LDM_ROWS, b, 3) : LDM_NONE, LDM_NONE, LDM_NONE},
                                      5, "gemm m=%lld n=%lld k=%lld%s", (long long)m, (long long)(3 * c), (long long)dim(to[0], "k"),
                                      flag(bias, " +bias"));
    if (all == LDM_NONE) return true;
    all = ldm_plan_reshape(p, all, ldm_shape_of(3, dim(s, "n"), dim(s, "nq"), 3 * c));
    ldm_plan_replace(p, i, s->scope, out(s), (ldm_tensor[]){all, LDM_NONE, LDM_NONE}, 3,
                     "attention n=%lld heads=%lld nq=%lld nkv=%lld d=%lld layout=packed scale=%.9g", (long long)dim(s, "n"),
                     (long long)dim(s, "heads"), (long long)dim(s, "nq"), (long long)dim(s, "nkv"), (long long)dim(s, "d"),
                     s->problem.flt[0]);
    return true;
}

/* Cross-attention over one token. The softmax of a single score is 1, so all pixels get the same vector:
 *     a = to_a(h) + x;   y = to_out(attention(to_q(norm(a)), k, v)) + a
 * is  u = to_out(v);     y = to_a(h) + u + x
 * and nobody needs norm, to_q and to_k. */
static bool one_token(ldm_plan *p, int i) {
    const ldm_step_info *s = &p->step[i];
    if (!is(s, "attention") || dim(s, "nkv") != 1 || dim(s, "layout") != 0) return false;
    const int64_t n = dim(s, "n"), nq = dim(s, "nq");
    const int j = sole_reader(p, i, "x");
    if (j < 0 || !is_linear(p, &p->step[j]) || !has(&p->step[j], "residual")) return false;
    const ldm_step_info *to_out = &p->step[j];
    const ldm_tensor a = in(to_out, "residual"), v = in(s, "v");
    const int m = maker(p, a);
    if (m < 0 || !is_linear(p, &p->step[m]) || !may_wait(p, m, j)) return false;
    const ldm_step_info *to_a = &p->step[m];

    /* from q back to a, through steps that serve nothing else */
    int back, last, unused;
    ldm_tensor t = in(s, "q");
    while (root(p, t) != root(p, a)) {
        if (readers(p, t, &unused) != 1 || (back = maker(p, t)) < 0) return false;
        t = p->step[back].slot[0];
    }
    if (readers(p, a, &last) != 2 || last != j) return false;

    const ldm_tensor u = ldm_plan_replace(p, i, to_out->scope, LDM_NONE,
                                          (ldm_tensor[]){v, in(to_out, "w"), in(to_out, "bias"), LDM_NONE, LDM_NONE}, 5,
                                          "gemm m=%lld n=%lld k=%lld%s", (long long)n, (long long)dim(to_out, "n"),
                                          (long long)dim(to_out, "k"), flag(has(to_out, "bias"), " +bias"));
    ldm_plan_replace(p, j, to_a->scope, out(to_out),
                     (ldm_tensor[]){in(to_a, "x"), in(to_a, "w"), in(to_a, "bias"), u, in(to_a, "residual")}, 5,
                     "gemm batch=%lld m=%lld n=%lld k=%lld%s +vec%s", (long long)n, (long long)nq,
                     (long long)dim(to_a, "n"), (long long)dim(to_a, "k"), flag(has(to_a, "bias"), " +bias"),
                     flag(has(to_a, "residual"), " +residual"));
    return true;
}

/* The gated feed-forward, geglu(gemm(x)): a product whose columns meet in pairs. */
static bool gated(ldm_plan *p, int i) {
    const ldm_step_info *s = &p->step[i];
    if (!is(s, "geglu")) return false;
    const int m = maker(p, in(s, "x"));
    if (m < 0 || sole_reader(p, m, "x") != i) return false;
    const ldm_step_info *proj = &p->step[m];
    if (!is_linear(p, proj) || has(proj, "residual") || !may_wait(p, m, i)) return false;
    ldm_plan_replace(p, i, proj->scope, out(s),
                     (ldm_tensor[]){in(proj, "x"), in(proj, "w"), in(proj, "bias"), LDM_NONE, LDM_NONE}, 5,
                     "gemm m=%lld n=%lld k=%lld act=geglu%s", (long long)dim(proj, "m"), (long long)dim(proj, "n"),
                     (long long)dim(proj, "k"), flag(has(proj, "bias"), " +bias"));
    return true;
}

/* Linear layer `i` makes one row, and places in it are where a device lets buffers begin (512 bytes at most). */
static bool makes_row(const ldm_plan *p, int i) {
    const ldm_step_info *s = &p->step[i];
    if (!is_linear(p, s) || dim(s, "m") != 1 || has(s, "residual")) return false;
    const ldm_tensor y = root(p, out(s));
    int last;
    return dim(s, "n") * (int64_t)ldm_dtype_size(p->dtype) % 512 == 0 && maker(p, y) == i && !p->tensor[y].keep &&
           readers(p, y, &last) > 0;
}

/* Steps i to j change nothing that step i reads as x. */
static bool stays(const ldm_plan *p, int i, int j) {
    const ldm_tensor x = root(p, in(&p->step[i], "x"));
    while (i < j)
        if (root(p, out(&p->step[i++])) == x) return false;
    return true;
}

/* Linear layers of the same single row are one, with the rows of their weights one after the other; who read their
 * results reads parts of its row. The projections of the time embedding, and the values of a single token. */
static bool one_row(ldm_plan *p, int i) {
    enum { MOST = 64 };
    const ldm_step_info *s = &p->step[i];
    if (p->as_given || !makes_row(p, i)) return false;
    const bool bias = has(s, "bias");
    const ldm_tensor x = in(s, "x");
    ldm_tensor w[MOST], b[MOST], y[MOST];
    int64_t width[MOST], all = 0;
    int n = 0;
    for (int j = i; j < p->steps && n < MOST; j++) {
        const ldm_step_info *t = &p->step[j];
        if (!makes_row(p, j) || in(t, "x") != x || has(t, "bias") != bias || t->segment != s->segment ||
            !stays(p, i, j))
            continue;
        w[n] = in(t, "w"), b[n] = in(t, "bias"), y[n] = root(p, out(t)), all += width[n] = dim(t, "n"), n++;
    }
    if (n < 2) return false;
    ldm_tensor row =
        ldm_plan_replace(p, i, s->scope, LDM_NONE,
                         (ldm_tensor[]){x, ldm_plan_derive(p, LDM_ROWS, w, n),
                                        bias ? ldm_plan_derive(p, LDM_ROWS, b, n) : LDM_NONE, LDM_NONE, LDM_NONE},
                         5, "gemm m=1 n=%lld k=%lld%s", (long long)all, (long long)dim(s, "k"), flag(bias, " +bias"));
    if (row == LDM_NONE) return true;
    row = ldm_plan_reshape(p, row, ldm_shape_of(2, all, (int64_t)1));
    int64_t from = 0;
    for (int j = 0; j < n; from += width[j++]) {
        const ldm_tensor part = ldm_plan_view(p, row, from, width[j]);
        for (int k = 0; k < p->steps; k++)
            for (int slot = 0; slot < inputs(&p->step[k]); slot++) {
                ldm_tensor *t = &p->step[k].slot[slot];
                if (*t != LDM_NONE && root(p, *t) == y[j]) *t = part;
            }
    }
    return true;
}

/* The segment that gives t its value, which no later one changes; INT_MAX where that is not one step's or the caller's
 * doing. */
static int segment_of(const ldm_plan *p, ldm_tensor t) {
    const ldm_tensor r = root(p, t);
    const int made = maker(p, t);
    if (made >= 0) return p->step[made].segment;
    return p->tensor[r].kind != LDM_INPUT || p->links[r].made ? INT_MAX : p->tensor[r].segment;
}

/* What is done to rows looked up in a table that an earlier segment knows is done to the table there, and the results
 * are looked up: the embeddings of all timesteps of a loop, and what every block makes of them, once before it. */
static bool on_table(ldm_plan *p, int i) {
    const ldm_step_info *s = &p->step[i];
    const bool product = is(s, "gemm");
    if (product ? dim(s, "batch") != 1 || has(s, "wbatch") || has(s, "vec") || has(s, "residual")
                : !is(s, "cast") && !is(s, "activation"))
        return false;
    const int e = s->slot[0] == LDM_NONE ? -1 : maker(p, s->slot[0]);
    if (e < 0 || !is(&p->step[e], "embedding") || !may_wait(p, e, i)) return false;
    const ldm_tensor index = p->step[e].slot[0], table = p->step[e].slot[1], y = out(s);
    const int64_t rows = dim(&p->step[e], "rows"), entries = dim(&p->step[e], "entries");
    const int known = segment_of(p, table);
    if (known >= s->segment) return false;

    char text[LDM_PROBLEM_TEXT];
    ldm_problem all = s->problem;
    const int size = ldm_op_dim_index(all.op, product ? "m" : "count"), n = inputs(s);
    all.dim[size] = all.dim[size] / rows * entries;
    ldm_tensor in[LDM_MAX_SLOTS];
    memcpy(in, s->slot, sizeof in);
    in[0] = table;
    ldm_plan_repeat(p, i);
    const ldm_tensor done =
        ldm_plan_replace(p, i, p->step[i].scope, LDM_NONE, in, n, "%s", ldm_problem_text(&all, text, sizeof text));
    ldm_plan_replace(p, i + 1, p->step[i + 1].scope, y, (ldm_tensor[]){index, done}, 2,
                     "embedding:%s rows=%lld entries=%lld c=%lld", ldm_dtype_name(p->tensor[y].dtype), (long long)rows,
                     (long long)entries, (long long)(count(p, y) / rows));
    p->step[i].segment = known;
    return true;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

/* Drops every step whose result nobody reads. */
static ldm_status sweep(ldm_plan *p) {
    int *reads = NULL, kept = p->steps;
    ldm_status st = ldm_alloc((size_t)(p->tensors + 1) * sizeof *reads, (void **)&reads);
    if (st) return st;
    for (int i = 0; i < p->steps; i++)
        for (int j = 0; j < inputs(&p->step[i]); j++)
            if (p->step[i].slot[j] != LDM_NONE) reads[root(p, p->step[i].slot[j])]++;
    for (int i = p->steps - 1; i >= 0; i--) {
        ldm_step_info *s = &p->step[i];
        const ldm_tensor y = root(p, out(s));
        if (reads[y] || p->tensor[y].keep || p->tensor[y].kind != LDM_ACTIVATION) continue;
        for (int j = 0; j < inputs(s); j++)
            if (s->slot[j] != LDM_NONE) reads[root(p, s->slot[j])]--;
        free(s->scope);
        memmove(s, s + 1, (size_t)(--kept - i) * sizeof *s);
    }
    p->steps = kept;
    free(reads);
    return LDM_OK;
}

/* Steps that depend on an earlier segment alone are done there, once: keys, values and vectors of the prompt. */
static ldm_status hoist(ldm_plan *p) {
    int *segment = NULL; /* by tensor: where it gets its value */
    ldm_status st = ldm_alloc((size_t)(p->tensors + 1) * sizeof *segment, (void **)&segment);
    if (st) return st;
    for (int t = 0; t < p->tensors; t++) segment[t] = p->tensor[t].segment;
    for (int i = 0; i < p->steps; i++) { /* inputs that steps overwrite belong to the last segment that does */
        const ldm_tensor y = root(p, out(&p->step[i]));
        if (p->tensor[y].kind == LDM_INPUT && p->step[i].segment > segment[y]) segment[y] = p->step[i].segment;
    }
    for (int i = 0; i < p->steps; i++) {
        ldm_step_info *s = &p->step[i];
        const ldm_tensor y = root(p, out(s));
        int earliest = 0;
        for (int j = 0; j < inputs(s); j++) {
            if (s->slot[j] == LDM_NONE) continue;
            const ldm_tensor x = root(p, s->slot[j]);
            if (p->tensor[x].kind != LDM_PARAM && segment[x] > earliest) earliest = segment[x];
        }
        if (p->tensor[y].kind != LDM_ACTIVATION) continue;
        if (earliest < s->segment) s->segment = earliest;
        segment[y] = s->segment;
    }
    free(segment);
    return LDM_OK;
}

ldm_status ldm_plan_fuse(ldm_plan *p) {
    static bool (*const rewrites[])(ldm_plan *, int) = {one_head, one_matrix, one_token, gated, on_table, one_row};
    ldm_status st = LDM_OK;
    TRY(p->status);
    TRY(sweep(p));
    TRY(link_steps(p));
    for (size_t k = 0; k < sizeof rewrites / sizeof *rewrites; k++)
        for (int i = 0; i < p->steps;) {
            if (!rewrites[k](p, i)) {
                i++;
                continue;
            }
            TRY(p->status);
            TRY(sweep(p));
            TRY(link_steps(p));
            i = 0;
        }
    TRY(hoist(p));
done:
    free(p->links), p->links = NULL;
    return p->status = st;
}
