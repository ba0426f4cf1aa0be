/* plan.c -- building a plan: tensors, params, steps. Memory is laid out in arena.c, printing is in print.c. */
#include "plan/rewrite.h"
#include <stdlib.h>
#include <string.h>

ldm_status ldm_plan_create(ldm_dtype dtype, ldm_dtype wdtype, ldm_plan **out) {
    ldm_plan *p;
    ldm_status st = ldm_alloc(sizeof *p, (void **)&p);
    if (st) return st;
    p->dtype = dtype, p->wdtype = wdtype;
    *out = p;
    return LDM_OK;
}

void ldm_plan_destroy(ldm_plan *p) {
    if (!p) return;
    for (int i = 0; i < p->tensors; i++) free(p->tensor[i].name), free(p->tensor[i].of);
    for (int i = 0; i < p->steps; i++) free(p->step[i].scope);
    free(p->tensor);
    free(p->step);
    free(p->chunk_bytes);
    free(p);
}

void ldm_plan_push(ldm_plan *p, const char *fmt, ...) {
    char text[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = strlen(p->scope);
    if (n + strlen(text) + 2 > sizeof p->scope || p->depth == sizeof p->cut / sizeof *p->cut) {
        if (!p->status) p->status = ldm_fail(LDM_ERR_ARG, "scope %s.%s is too long or too deep", p->scope, text);
        return;
    }
    p->cut[p->depth++] = (int)n;
    snprintf(p->scope + n, sizeof p->scope - n, "%s%s", n ? "." : "", text);
}

void ldm_plan_pop(ldm_plan *p) {
    if (p->depth > 0) p->scope[p->cut[--p->depth]] = 0;
}

static ldm_tensor fail(ldm_plan *p, ldm_status st) {
    if (!p->status) p->status = st;
    return LDM_NONE;
}

static ldm_tensor add_tensor(ldm_plan *p, ldm_tensor_info info) {
    if ((p->tensors & (p->tensors - 1)) == 0) {
        size_t cap = p->tensors ? (size_t)p->tensors * 2 : 1;
        ldm_tensor_info *t = realloc(p->tensor, cap * sizeof *t);
        if (!t)
            return fail(p, ldm_fail(LDM_ERR_NOMEM, "plan: host memory for %zu tensors could not be allocated", cap));
        p->tensor = t;
    }
    info.first = info.last = -1;
    if (ldm_shape_count(&info.shape) <= 0) {
        char text[128];
        return fail(p, ldm_fail(LDM_ERR_ARG, "%s%s%s: shape %s is empty or overflows", p->scope, *p->scope ? "." : "",
                                info.name ? info.name : "tensor", ldm_shape_text(&info.shape, text, sizeof text)));
    }
    p->tensor[p->tensors] = info;
    return p->tensors++;
}

static char *name_of(ldm_plan *p, const char *scope, const char *name) {
    char *s = NULL;
    if (asprintf(&s, "%s%s%s", scope, *scope ? "." : "", name) < 0)
        fail(p, ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out"));
    return s;
}

ldm_tensor ldm_plan_input(ldm_plan *p, const char *name, ldm_dtype t, ldm_shape shape) {
    if (p->status) return LDM_NONE;
    return add_tensor(p, (ldm_tensor_info){.kind = LDM_INPUT,
                                           .name = name_of(p, "", name),
                                           .dtype = t,
                                           .shape = shape,
                                           .keep = true,
                                           .segment = p->segment,
                                           .parent = LDM_NONE});
}

ldm_tensor ldm_plan_param(ldm_plan *p, const char *name, ldm_shape shape, ldm_param_fill fill, double gain) {
    if (p->status) return LDM_NONE;
    char *full = name_of(p, p->scope, name);
    if (!full) return LDM_NONE;
    for (int i = 0; i < p->tensors; i++) {
        const ldm_tensor_info *t = &p->tensor[i];
        if (t->kind != LDM_PARAM || t->rule || strcmp(t->name, full)) continue;
        bool same = ldm_shape_equal(&t->shape, &shape);
        if (!same) fail(p, ldm_fail(LDM_ERR_ARG, "param %s is asked for with two shapes", full));
        free(full);
        return same ? i : LDM_NONE;
    }
    return add_tensor(p, (ldm_tensor_info){.kind = LDM_PARAM,
                                           .name = full,
                                           .dtype = p->wdtype,
                                           .shape = shape,
                                           .parent = LDM_NONE,
                                           .gain = gain,
                                           .fill = (int)fill});
}

static int64_t rows_of(const ldm_tensor_info *t) { return t->shape.dim[0]; }
static int64_t columns_of(const ldm_tensor_info *t) { return ldm_shape_count(&t->shape) / t->shape.dim[0]; }

/* The shape a rule makes of its parts; false if they do not fit one another. */
static bool derived_shape(const ldm_plan *p, ldm_rule rule, const ldm_tensor *of, int parts, ldm_shape *out) {
    const ldm_tensor_info *a = &p->tensor[of[0]];
    *out = a->shape;
    if (rule == LDM_ROWS) {
        for (int i = 1; i < parts; i++) {
            if (columns_of(&p->tensor[of[i]]) != columns_of(a)) return false;
            out->dim[0] += rows_of(&p->tensor[of[i]]);
        }
        return true;
    }
    const ldm_tensor_info *b = &p->tensor[of[1]];
    const int64_t rows = rule == LDM_PRODUCT ? rows_of(a) : columns_of(a), columns = columns_of(b);
    const int64_t depth = rule == LDM_PRODUCT ? columns_of(a) : rows_of(a);
    *out = b->shape.rank == 1 ? ldm_shape_of(1, rows) : ldm_shape_of(2, rows, columns);
    return rows_of(b) == depth && (parts == 2 || ldm_shape_count(&p->tensor[of[2]].shape) == rows * columns);
}

ldm_tensor ldm_plan_derive(ldm_plan *p, ldm_rule rule, const ldm_tensor *of, int parts) {
    if (p->status) return LDM_NONE;
    for (int t = 0; t < p->tensors; t++)
        if (p->tensor[t].rule == (int)rule && p->tensor[t].parts == parts &&
            !memcmp(p->tensor[t].of, of, (size_t)parts * sizeof *of))
            return t;
    ldm_tensor_info t = {.kind = LDM_PARAM, .dtype = p->wdtype, .parent = LDM_NONE, .rule = (int)rule, .parts = parts};
    static const char *const between[] = {[LDM_ROWS] = " ... ", [LDM_PRODUCT] = " * ", [LDM_TRANSPOSED] = "^T * "};
    const char *first = p->tensor[of[0]].name, *last = p->tensor[of[rule == LDM_ROWS ? parts - 1 : 1]].name;
    if (!derived_shape(p, rule, of, parts, &t.shape))
        return fail(p, ldm_fail(LDM_ERR_ARG, "%s%s%s: these do not fit one another", first, between[rule], last));
    t.of = malloc((size_t)parts * sizeof *of);
    if (!t.of || asprintf(&t.name, "%s%s%s", first, between[rule], last) < 0) {
        free(t.of);
        return fail(p, ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out"));
    }
    memcpy(t.of, of, (size_t)parts * sizeof *of);
    return add_tensor(p, t);
}

ldm_tensor ldm_plan_view(ldm_plan *p, ldm_tensor t, int64_t row, int64_t rows) {
    if (p->status) return LDM_NONE;
    ldm_shape shape = p->tensor[t].shape;
    if (row < 0 || rows < 1 || row + rows > shape.dim[0])
        return fail(p, ldm_fail(LDM_ERR_ARG, "%s: view of rows %lld..%lld, there are %lld", p->scope, (long long)row,
                                (long long)(row + rows), (long long)shape.dim[0]));
    shape.dim[0] = rows;
    return add_tensor(
        p, (ldm_tensor_info){.kind = LDM_VIEW, .dtype = p->tensor[t].dtype, .shape = shape, .parent = t, .row = row});
}

ldm_tensor ldm_plan_reshape(ldm_plan *p, ldm_tensor t, ldm_shape shape) {
    if (p->status) return LDM_NONE;
    if (ldm_shape_count(&shape) != ldm_shape_count(&p->tensor[t].shape)) {
        char a[128], b[128];
        return fail(p, ldm_fail(LDM_ERR_ARG, "%s: %s cannot be seen as %s", p->scope,
                                ldm_shape_text(&p->tensor[t].shape, a, sizeof a), ldm_shape_text(&shape, b, sizeof b)));
    }
    if (ldm_shape_equal(&shape, &p->tensor[t].shape)) return t;
    return add_tensor(p, (ldm_tensor_info){.kind = LDM_VIEW, .dtype = p->tensor[t].dtype, .shape = shape, .parent = t});
}

void ldm_plan_output(ldm_plan *p, ldm_tensor t, const char *name) {
    if (p->status || t == LDM_NONE) return;
    free(p->tensor[t].name);
    p->tensor[t].name = name_of(p, "", name);
    for (; t != LDM_NONE; t = p->tensor[t].parent) p->tensor[t].keep = true;
}

/* "conv2d n=1 ..." with the plan's dtypes unless dtypes are named. */
static ldm_status parse(const ldm_plan *p, const char *text, ldm_problem *out) {
    char typed[LDM_PROBLEM_TEXT + 32];
    size_t op = strcspn(text, " :");
    if (text[op] == ':') return ldm_problem_parse(text, out);
    snprintf(typed, sizeof typed, "%.*s:%s%s", (int)op, text, ldm_dtype_name(p->dtype), text + op);
    ldm_status st = ldm_problem_parse(typed, out);
    if (!st) ldm_problem_weights(out, p->wdtype);
    return st;
}

static ldm_status check_slots(const ldm_plan *p, const ldm_problem *q, const ldm_slot *slot, const ldm_tensor *in,
                              int n) {
    char name[32], a[128], b[128], text[LDM_PROBLEM_TEXT];
    int inputs = ldm_op_slots(q->op) - 1;
    if (n != inputs) return ldm_fail(LDM_ERR_ARG, "%s takes %d inputs, %d given", q->op->name, inputs, n);
    for (int i = 0; i < n; i++) {
        bool given = in[i] != LDM_NONE;
        ldm_op_slot_name(q->op, i, name, sizeof name);
        if (given != slot[i].present)
            return ldm_fail(LDM_ERR_ARG, "%s: %s is %s", ldm_problem_text(q, text, sizeof text), name,
                            given ? "given but not taken" : "missing");
        if (!given) continue;
        const ldm_tensor_info *t = &p->tensor[in[i]];
        if (ldm_shape_count(&t->shape) != ldm_shape_count(&slot[i].shape))
            return ldm_fail(LDM_ERR_ARG, "%s: %s has shape %s, wanted %s", ldm_problem_text(q, text, sizeof text), name,
                            ldm_shape_text(&t->shape, a, sizeof a), ldm_shape_text(&slot[i].shape, b, sizeof b));
        if (t->kind != LDM_PARAM && t->dtype != slot[i].dtype)
            return ldm_fail(LDM_ERR_ARG, "%s: %s is %s, wanted %s", ldm_problem_text(q, text, sizeof text), name,
                            ldm_dtype_name(t->dtype), ldm_dtype_name(slot[i].dtype));
    }
    return LDM_OK;
}

/* The problem and the slots of a step; its result, into or a new activation, is returned. */
static ldm_tensor make_step(ldm_plan *p, ldm_tensor into, const ldm_tensor *in, int n, const char *fmt, va_list ap,
                            ldm_step_info *s) {
    char text[LDM_PROBLEM_TEXT];
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    if (p->status) return LDM_NONE;
    vsnprintf(text, sizeof text, fmt, ap);
    ldm_status st = parse(p, text, &s->problem);
    if (!st) st = s->problem.op->infer(&s->problem, slot);
    if (!st) st = check_slots(p, &s->problem, slot, in, n);
    if (st) return fail(p, ldm_prefix(st, "%s", p->scope));
    const ldm_slot *y = &slot[n];
    if (into == LDM_NONE) {
        ldm_shape shape = y->shape; /* a map stays a map: [n,h,w,c] through ops that see [rows,c] */
        if (n && in[0] != LDM_NONE && p->tensor[in[0]].kind != LDM_PARAM &&
            ldm_shape_count(&p->tensor[in[0]].shape) == ldm_shape_count(&shape))
            shape = p->tensor[in[0]].shape;
        into = add_tensor(
            p, (ldm_tensor_info){.kind = LDM_ACTIVATION, .dtype = y->dtype, .shape = shape, .parent = LDM_NONE});
        if (into == LDM_NONE) return LDM_NONE;
    } else if (p->tensor[into].dtype != y->dtype ||
               ldm_shape_count(&p->tensor[into].shape) != ldm_shape_count(&y->shape)) {
        return fail(p, ldm_fail(LDM_ERR_ARG, "%s: %s does not fit the tensor it is written into", p->scope, text));
    }
    for (int i = 0; i < LDM_MAX_SLOTS; i++) s->slot[i] = i < n ? in[i] : LDM_NONE;
    s->slot[n] = into;
    for (int i = 0; i < n; i++)
        if (in[i] != LDM_NONE && p->tensor[in[i]].kind == LDM_PARAM) p->tensor[in[i]].dtype = slot[i].dtype;
    return into;
}

/* Room for one more step. */
static ldm_status grow(ldm_plan *p) {
    if (p->steps & (p->steps - 1)) return LDM_OK;
    size_t cap = p->steps ? (size_t)p->steps * 2 : 1;
    ldm_step_info *more = realloc(p->step, cap * sizeof *more);
    if (!more) return ldm_fail(LDM_ERR_NOMEM, "plan: host memory for %zu steps could not be allocated", cap);
    p->step = more;
    return LDM_OK;
}

static ldm_tensor emit(ldm_plan *p, ldm_tensor into, const ldm_tensor *in, int n, const char *fmt, va_list ap) {
    ldm_step_info s = {.segment = p->segment};
    into = make_step(p, into, in, n, fmt, ap, &s);
    if (into == LDM_NONE) return LDM_NONE;
    ldm_status st = grow(p);
    if (st) return fail(p, st);
    if (!(s.scope = strdup(p->scope))) return fail(p, ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out"));
    p->step[p->steps++] = s;
    return into;
}

ldm_tensor ldm_plan_emit(ldm_plan *p, const ldm_tensor *in, int n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    ldm_tensor t = emit(p, LDM_NONE, in, n, fmt, ap);
    va_end(ap);
    return t;
}

ldm_tensor ldm_plan_emit_into(ldm_plan *p, ldm_tensor out, const ldm_tensor *in, int n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    ldm_tensor t = emit(p, out, in, n, fmt, ap);
    va_end(ap);
    return t;
}

ldm_tensor ldm_plan_replace(ldm_plan *p, int step, const char *scope, ldm_tensor out, const ldm_tensor *in, int n,
                            const char *fmt, ...) {
    va_list ap;
    ldm_step_info s = {.segment = p->step[step].segment, .scope = strdup(scope)};
    if (!s.scope) return fail(p, ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out"));
    va_start(ap, fmt);
    ldm_tensor t = make_step(p, out, in, n, fmt, ap, &s);
    va_end(ap);
    free(t == LDM_NONE ? s.scope : p->step[step].scope);
    if (t != LDM_NONE) p->step[step] = s;
    return t;
}

void ldm_plan_repeat(ldm_plan *p, int step) {
    char *scope = strdup(p->step[step].scope);
    ldm_status st = scope ? grow(p) : ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out");
    if (st) {
        free(scope);
        fail(p, st);
        return;
    }
    memmove(p->step + step + 1, p->step + step, (size_t)(p->steps++ - step) * sizeof *p->step);
    p->step[step].scope = scope;
}

ldm_tensor ldm_plan_cast(ldm_plan *p, ldm_tensor t, ldm_dtype to) {
    if (p->status || t == LDM_NONE || p->tensor[t].dtype == to) return t;
    return ldm_plan_emit(p, (ldm_tensor[]){t}, 1, "cast:%s count=%lld to=%s", ldm_dtype_name(p->tensor[t].dtype),
                         (long long)ldm_shape_count(&p->tensor[t].shape), ldm_dtype_name(to));
}

ldm_tensor ldm_plan_find(const ldm_plan *p, const char *name) {
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].name && !strcmp(p->tensor[i].name, name)) return i;
    return LDM_NONE;
}

const ldm_tensor_info *ldm_plan_tensor(const ldm_plan *p, ldm_tensor t) { return &p->tensor[t]; }

int64_t ldm_plan_params(const ldm_plan *p, int *tensors) {
    int64_t n = 0;
    int count = 0;
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].kind == LDM_PARAM && !p->tensor[i].rule) n += ldm_shape_count(&p->tensor[i].shape), count++;
    if (tensors) *tensors = count;
    return n;
}

ldm_cost ldm_plan_cost(const ldm_plan *p, int segment) {
    ldm_cost sum = {0, 0};
    for (int i = 0; i < p->steps; i++) {
        if (segment >= 0 && p->step[i].segment != segment) continue;
        ldm_cost c = p->step[i].problem.op->cost(&p->step[i].problem);
        sum.flops += c.flops, sum.bytes += c.bytes;
    }
    return sum;
}
