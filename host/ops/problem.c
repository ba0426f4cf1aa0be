/* problem.c -- the one notation: reading and writing problems, driven by each op's lists of names. */
#include "ops/op.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One entry of a spec list: name, default, words. */
typedef struct entry {
    const char *name, *words; /* words: "none|relu|silu", NULL for a number */
    size_t name_len, words_len;
    bool required;
    double def;
} entry;

static bool next_entry(const char **spec, entry *e) {
    const char *s = *spec ? *spec : "";
    s += strspn(s, " ");
    size_t n = strcspn(s, " ");
    if (n == 0) return false;
    *spec = s + n;
    const char *eq = memchr(s, '=', n);
    *e = (entry){.name = s, .name_len = eq ? (size_t)(eq - s) : n, .required = !eq};
    if (eq) {
        size_t len = n - e->name_len - 1;
        if (memchr(eq + 1, '|', len)) e->words = eq + 1, e->words_len = len;
        else e->def = strtod(eq + 1, NULL);
    }
    return true;
}

/* Position of a word in "none|relu|silu", or -1. */
static int word_position(const entry *e, const char *w, size_t len) {
    const char *s = e->words, *end = s + e->words_len;
    for (int i = 0; s < end; i++) {
        const char *bar = memchr(s, '|', (size_t)(end - s));
        size_t n = (size_t)((bar ? bar : end) - s);
        if (n == len && memcmp(s, w, n) == 0) return i;
        s += n + 1;
    }
    return -1;
}

static void word_at(const entry *e, int64_t i, const char **w, size_t *len) {
    const char *s = e->words, *end = s + e->words_len;
    for (;; i--) {
        const char *bar = memchr(s, '|', (size_t)(end - s));
        *w = s, *len = (size_t)((bar ? bar : end) - s);
        if (i <= 0 || !bar) return;
        s = bar + 1;
    }
}

static ldm_status parse_head(const char *text, size_t len, ldm_problem *p) {
    const char *colon = memchr(text, ':', len);
    size_t name = colon ? (size_t)(colon - text) : len;
    p->op = ldm_op_find(text, name);
    if (!p->op) {
        ldm_text all = {0};
        for (int i = 0; ldm_ops[i]; i++) ldm_text_add(&all, "%s%s", i ? " " : "", ldm_ops[i]->name);
        ldm_fail(LDM_ERR_ARG, "op '%.*s': no such op; there are %s", (int)name, text, all.s ? all.s : "none");
        ldm_text_free(&all);
        return LDM_ERR_ARG;
    }
    p->dtype = p->wdtype = LDM_F32;
    if (!colon) return LDM_OK;
    if (!ldm_dtypes_parse(colon + 1, len - name - 1, &p->dtype, &p->wdtype))
        return ldm_fail(LDM_ERR_ARG, "problem '%.*s': the dtype must be f32, f16 or like f32*q8_0", (int)len, text);
    return LDM_OK;
}

static ldm_status parse_pair(const char *tok, size_t len, ldm_problem *p, uint64_t *seen) {
    const char *eq = memchr(tok, '=', len), *spec;
    if (!eq) return ldm_fail(LDM_ERR_ARG, "problem: '%.*s' is neither name=value nor +flag", (int)len, tok);
    size_t nlen = (size_t)(eq - tok), vlen = len - nlen - 1;
    char value[64], *end;
    if (vlen == 0 || vlen >= sizeof value) return ldm_fail(LDM_ERR_ARG, "problem: '%.*s' has no usable value", (int)len, tok);
    memcpy(value, eq + 1, vlen);
    value[vlen] = 0;
    entry e;
    spec = p->op->dims;
    for (int i = 0; next_entry(&spec, &e); i++) {
        if (e.name_len != nlen || memcmp(e.name, tok, nlen)) continue;
        errno = 0;
        p->dim[i] = e.words ? word_position(&e, value, vlen) : strtoll(value, &end, 10);
        if (e.words ? p->dim[i] < 0 : *end || errno)
            return ldm_fail(LDM_ERR_ARG, "problem: %.*s: '%s' is not %s%.*s", (int)nlen, tok, value, e.words ? "one of " : "a whole number",
                            (int)e.words_len, e.words ? e.words : "");
        *seen |= 1ull << i;
        return LDM_OK;
    }
    spec = p->op->floats;
    for (int i = 0; next_entry(&spec, &e); i++) {
        if (e.name_len != nlen || memcmp(e.name, tok, nlen)) continue;
        p->flt[i] = strtod(value, &end);
        if (*end || p->flt[i] - p->flt[i] != 0) return ldm_fail(LDM_ERR_ARG, "problem: %.*s: '%s' is not a number", (int)nlen, tok, value);
        return LDM_OK;
    }
    return ldm_fail(LDM_ERR_ARG, "problem: %s has no '%.*s'; it has %s%s%s", p->op->name, (int)nlen, tok, p->op->dims,
                    p->op->floats ? " " : "", p->op->floats ? p->op->floats : "");
}

ldm_status ldm_problem_parse(const char *text, ldm_problem *out) {
    ldm_problem p = {0};
    const char *s = text + strspn(text, " "), *spec;
    size_t len = strcspn(s, " ");
    uint64_t seen = 0;
    entry e;
    ldm_status st = parse_head(s, len, &p);
    if (st) return st;
    spec = p.op->dims;
    for (int i = 0; next_entry(&spec, &e); i++) p.dim[i] = e.words ? 0 : (int64_t)e.def;
    spec = p.op->floats;
    for (int i = 0; next_entry(&spec, &e); i++) p.flt[i] = e.def;
    for (s += len;;) {
        s += strspn(s, " ");
        len = strcspn(s, " ");
        if (len == 0) break;
        if (*s == '+') {
            char name[32];
            snprintf(name, sizeof name, "%.*s", (int)len - 1, s + 1);
            int f = ldm_op_flag_index(p.op, name);
            if (f < 0)
                return ldm_fail(LDM_ERR_ARG, "problem: %s has no flag '%.*s'; it has %s", p.op->name, (int)len, s,
                                p.op->flags ? p.op->flags : "none");
            p.flags |= 1u << f;
        } else if ((st = parse_pair(s, len, &p, &seen))) {
            return st;
        }
        s += len;
    }
    spec = p.op->dims;
    for (int i = 0; next_entry(&spec, &e); i++)
        if (e.required && !(seen >> i & 1))
            return ldm_fail(LDM_ERR_ARG, "problem '%s': %.*s= is missing; %s needs %s", text, (int)e.name_len, e.name, p.op->name, p.op->dims);
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    if ((st = p.op->infer(&p, slot))) return ldm_prefix(st, "%s", text);
    *out = p;
    return LDM_OK;
}

void ldm_problem_weights(ldm_problem *p, ldm_dtype t) {
    const ldm_dtype as[] = {t, LDM_F16};
    const int w = ldm_op_slot_index(p->op, "w");
    for (int i = 0; w >= 0 && i < (t == LDM_Q8_0 ? 2 : 1); i++) {
        ldm_slot slot[LDM_MAX_SLOTS];
        memset(slot, 0, sizeof slot);
        p->wdtype = as[i];
        if (!p->op->infer(p, slot) && slot[w].param) return;
    }
    p->wdtype = p->dtype;
}

const char *ldm_problem_text(const ldm_problem *p, char *buf, size_t cap) {
    size_t n = 0;
    entry e;
#define PUT(...)                                                                                                       \
    do {                                                                                                               \
        if (n < cap) n += (size_t)snprintf(buf + n, cap - n, __VA_ARGS__);                                             \
    } while (0)
    PUT("%s:%s", p->op->name, ldm_dtype_name(p->dtype));
    if (p->wdtype != p->dtype) PUT("*%s", ldm_dtype_name(p->wdtype));
    const char *spec = p->op->dims;
    for (int i = 0; next_entry(&spec, &e); i++) {
        if (!e.required && p->dim[i] == (e.words ? 0 : (int64_t)e.def)) continue;
        if (e.words) {
            const char *w;
            size_t len;
            word_at(&e, p->dim[i], &w, &len);
            PUT(" %.*s=%.*s", (int)e.name_len, e.name, (int)len, w);
        } else {
            PUT(" %.*s=%lld", (int)e.name_len, e.name, (long long)p->dim[i]);
        }
    }
    spec = p->op->floats;
    for (int i = 0; next_entry(&spec, &e); i++)
        if (e.required || p->flt[i] != e.def) PUT(" %.*s=%.9g", (int)e.name_len, e.name, p->flt[i]);
    spec = p->op->flags;
    for (int i = 0; next_entry(&spec, &e); i++)
        if (p->flags >> i & 1) PUT(" +%.*s", (int)e.name_len, e.name);
#undef PUT
    return buf;
}

bool ldm_problem_same(const ldm_problem *a, const ldm_problem *b) {
    return a->op == b->op && a->dtype == b->dtype && a->wdtype == b->wdtype && a->flags == b->flags &&
           !memcmp(a->dim, b->dim, sizeof a->dim) && !memcmp(a->flt, b->flt, sizeof a->flt);
}

double ldm_problem_distance(const ldm_problem *a, const ldm_problem *b) {
    double squares = 0, inputs = 0;
    char name[32];
    entry e;
    if (a->op != b->op || a->dtype != b->dtype || a->wdtype != b->wdtype) return INFINITY;
    const char *spec = a->op->dims;
    for (int i = 0; next_entry(&spec, &e); i++) {
        if (a->dim[i] == b->dim[i]) continue;
        if (!e.required) return INFINITY;
        const double ratio = log((double)a->dim[i] / (double)b->dim[i]);
        squares += ratio * ratio;
    }
    spec = a->op->flags;
    for (int i = 0; next_entry(&spec, &e); i++) {
        if ((a->flags >> i & 1) == (b->flags >> i & 1)) continue;
        snprintf(name, sizeof name, "%.*s", (int)e.name_len, e.name);
        if (ldm_op_slot_index(a->op, name) < 0) return INFINITY;
        inputs += 0.1;
    }
    return sqrt(squares) + inputs;
}
