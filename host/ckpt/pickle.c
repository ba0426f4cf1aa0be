/* pickle.c -- runs a pickle as data: a fixed list of opcodes, every operand's type checked, caps on opcodes, stack,
 * marks and memo, nothing resolved, imported or called. What globals, calls and storages mean is pickle_torch.c's.
 * Opcodes are those of Python's pickletools that torch.save writes in protocols 2 to 4; the rest is refused by name. */
#include "pickle.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_BYTES = 64 << 20,
    MAX_OPS = 4 << 20,
    MAX_STACK = 1 << 16,
    MAX_MARKS = 256, /* values being built inside values being built */
};

/* For sentences: pickletools' names of the opcodes that are read and of those met in refused files. */
static const char *op_name(uint8_t op) {
    static const char *const names[256] = {['('] = "MARK",
                                           ['.'] = "STOP",
                                           ['0'] = "POP",
                                           ['1'] = "POP_MARK",
                                           ['2'] = "DUP",
                                           ['F'] = "FLOAT",
                                           ['I'] = "INT",
                                           ['J'] = "BININT",
                                           ['K'] = "BININT1",
                                           ['L'] = "LONG",
                                           ['M'] = "BININT2",
                                           ['N'] = "NONE",
                                           ['P'] = "PERSID",
                                           ['Q'] = "BINPERSID",
                                           ['R'] = "REDUCE",
                                           ['S'] = "STRING",
                                           ['T'] = "BINSTRING",
                                           ['U'] = "SHORT_BINSTRING",
                                           ['V'] = "UNICODE",
                                           ['X'] = "BINUNICODE",
                                           ['a'] = "APPEND",
                                           ['b'] = "BUILD",
                                           ['c'] = "GLOBAL",
                                           ['d'] = "DICT",
                                           ['}'] = "EMPTY_DICT",
                                           ['e'] = "APPENDS",
                                           ['g'] = "GET",
                                           ['h'] = "BINGET",
                                           ['i'] = "INST",
                                           ['j'] = "LONG_BINGET",
                                           ['l'] = "LIST",
                                           [']'] = "EMPTY_LIST",
                                           ['o'] = "OBJ",
                                           ['p'] = "PUT",
                                           ['q'] = "BINPUT",
                                           ['r'] = "LONG_BINPUT",
                                           ['s'] = "SETITEM",
                                           ['t'] = "TUPLE",
                                           [')'] = "EMPTY_TUPLE",
                                           ['u'] = "SETITEMS",
                                           ['G'] = "BINFLOAT",
                                           ['B'] = "BINBYTES",
                                           ['C'] = "SHORT_BINBYTES",
                                           [0x80] = "PROTO",
                                           [0x81] = "NEWOBJ",
                                           [0x82] = "EXT1",
                                           [0x83] = "EXT2",
                                           [0x84] = "EXT4",
                                           [0x85] = "TUPLE1",
                                           [0x86] = "TUPLE2",
                                           [0x87] = "TUPLE3",
                                           [0x88] = "NEWTRUE",
                                           [0x89] = "NEWFALSE",
                                           [0x8a] = "LONG1",
                                           [0x8b] = "LONG4",
                                           [0x8c] = "SHORT_BINUNICODE",
                                           [0x8d] = "BINUNICODE8",
                                           [0x8e] = "BINBYTES8",
                                           [0x8f] = "EMPTY_SET",
                                           [0x90] = "ADDITEMS",
                                           [0x91] = "FROZENSET",
                                           [0x92] = "NEWOBJ_EX",
                                           [0x93] = "STACK_GLOBAL",
                                           [0x94] = "MEMOIZE",
                                           [0x95] = "FRAME",
                                           [0x96] = "BYTEARRAY8",
                                           [0x97] = "NEXT_BUFFER",
                                           [0x98] = "READONLY_BUFFER"};
    static _Thread_local char number[8];
    if (names[op]) return names[op];
    snprintf(number, sizeof number, "0x%02x", op);
    return number;
}

ldm_status pickle_bad(const pickle *p, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return ldm_fail(LDM_ERR_FORMAT, "%s: data.pkl: byte %zu: %s", p->c->path, (size_t)(p->op_at - p->begin), text);
}

ldm_status pickle_grow(const pickle *p, void **array, uint32_t *cap, uint32_t need, size_t each, const char *what) {
    if (need <= *cap) return LDM_OK;
    uint32_t more = *cap ? *cap : 64;
    while (more < need) more *= 2;
    void *grown = realloc(*array, more * each);
    if (!grown)
        return ldm_fail(LDM_ERR_NOMEM, "%s: data.pkl: host memory for %u %s is not there", p->c->path, more, what);
    memset((char *)grown + *cap * each, 0, (more - *cap) * each);
    *array = grown, *cap = more;
    return LDM_OK;
}
#define GROW(array, cap, need, what) pickle_grow(p, (void **)&(array), &(cap), (need), sizeof *(array), (what))

ldm_status pickle_new(pickle *p, value_kind kind, uint32_t *out) {
    ldm_status st = GROW(p->values, p->value_cap, p->value_n + 1, "values");
    if (st) return st;
    p->values[p->value_n] = (value){.kind = (uint8_t)kind};
    *out = p->value_n++;
    return LDM_OK;
}

ldm_status pickle_append(pickle *p, uint32_t list, uint32_t item) {
    if (p->cell_n == 0) p->cell_n = 1; /* cell 0 means none */
    /* An item takes a byte of pickle at least, twice in an OrderedDict made from pairs; one made again and again does
     * not. */
    if (p->cell_n / 4 > (size_t)(p->end - p->begin)) return pickle_bad(p, "%u container items are too many", p->cell_n);
    ldm_status st = GROW(p->cells, p->cell_cap, p->cell_n + 1, "cells");
    if (st) return st;
    value *l = &p->values[list];
    p->cells[p->cell_n] = (cell){.value = item};
    if (l->last) p->cells[l->last].next = p->cell_n;
    else l->first = p->cell_n;
    l->last = p->cell_n++;
    l->count++;
    return LDM_OK;
}

const char *pickle_kind_name(const value *v) {
    static const char *const names[] = {"None",     "a bool",    "an int",   "a float",
                                        "text",     "a list",    "a tuple",  "a dictionary",
                                        "a global", "a storage", "a tensor", "an opaque object"};
    return names[v->kind];
}

ldm_status pickle_items(const pickle *p, uint32_t list, uint32_t least, uint32_t most, const char *what,
                        uint32_t *out) {
    const value *l = &p->values[list];
    if (l->kind != V_TUPLE && l->kind != V_LIST)
        return pickle_bad(p, "%s is %s, wanted a tuple", what, pickle_kind_name(l));
    if (l->count < least || l->count > most)
        return pickle_bad(p, "%s has %u values, wanted %u to %u", what, l->count, least, most);
    for (uint32_t at = l->first, i = 0; at; at = p->cells[at].next) out[i++] = p->cells[at].value;
    return LDM_OK;
}

/* ---- stack ---- */

static uint32_t floor_of(const pickle *p) { return p->mark_n ? p->marks[p->mark_n - 1] : 0; }

static ldm_status push(pickle *p, uint32_t v) {
    if (p->stack_n == MAX_STACK) return pickle_bad(p, "more than %d values on the stack", MAX_STACK);
    ldm_status st = GROW(p->stack, p->stack_cap, p->stack_n + 1, "stack places");
    if (st == LDM_OK) p->stack[p->stack_n++] = v;
    return st;
}

static ldm_status pop(pickle *p, uint32_t *out) {
    if (p->stack_n <= floor_of(p))
        return pickle_bad(p, "opcode %s needs a value that is not on the stack", op_name(*p->op_at));
    *out = p->stack[--p->stack_n];
    return LDM_OK;
}

static ldm_status push_new(pickle *p, value_kind kind, uint32_t *out) {
    ldm_status st = pickle_new(p, kind, out);
    return st ? st : push(p, *out);
}

static ldm_status push_int(pickle *p, value_kind kind, int64_t i) {
    uint32_t v;
    ldm_status st = push_new(p, kind, &v);
    if (st == LDM_OK) p->values[v].u.i = i;
    return st;
}

static ldm_status push_text(pickle *p, uint64_t n) {
    uint32_t v;
    if (n > (uint64_t)(p->end - p->at))
        return pickle_bad(p, "text of %llu bytes, but only %zu are left", (unsigned long long)n,
                          (size_t)(p->end - p->at));
    ldm_status st = push_new(p, V_TEXT, &v);
    if (st) return st;
    p->values[v].u.s = p->at, p->values[v].count = (uint32_t)n;
    p->at += n;
    return LDM_OK;
}

/* Takes the values above the topmost mark: *first is the index of the lowest in stack[], *n their number. They stay
 * readable until the next push. */
static ldm_status pop_mark(pickle *p, uint32_t *first, uint32_t *n) {
    if (p->mark_n == 0) return pickle_bad(p, "opcode %s needs a mark that is not there", op_name(*p->op_at));
    *first = p->marks[--p->mark_n], *n = p->stack_n - *first;
    p->stack_n = *first;
    return LDM_OK;
}

/* ---- operands ---- */

static ldm_status operand(pickle *p, size_t n, uint64_t *out) {
    if ((size_t)(p->end - p->at) < n) return pickle_bad(p, "opcode %s is cut short", op_name(*p->op_at));
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;) v = v << 8 | p->at[i];
    p->at += n;
    *out = v;
    return LDM_OK;
}

/* Numbers and text: pushes what the operand says. */
static ldm_status do_scalar(pickle *p, uint8_t op) {
    uint64_t n = 0;
    ldm_status st;
    uint32_t v;
    switch (op) {
    case 'N':
        return push_new(p, V_NONE, &v);
    case 0x88:
        return push_int(p, V_BOOL, 1);
    case 0x89:
        return push_int(p, V_BOOL, 0);
    case 'K':
        return (st = operand(p, 1, &n)) ? st : push_int(p, V_INT, (int64_t)n);
    case 'M':
        return (st = operand(p, 2, &n)) ? st : push_int(p, V_INT, (int64_t)n);
    case 'J':
        return (st = operand(p, 4, &n)) ? st : push_int(p, V_INT, (int32_t)(uint32_t)n);
    case 0x8a: { /* LONG1: two's complement, as many bytes as the number needs */
        uint64_t len = 0, bits = 0;
        if ((st = operand(p, 1, &len))) return st;
        if (len > 8) { /* a seed or a hash; no size of ours */
            if ((uint64_t)(p->end - p->at) < len)
                return pickle_bad(p, "integer of %u bytes is cut short", (unsigned)len);
            p->at += len;
            return push_new(p, V_OPAQUE, &v);
        }
        if ((st = operand(p, (size_t)len, &bits))) return st;
        if (len && len < 8 && bits >> (8 * len - 1)) bits |= ~0ull << (8 * len);
        return push_int(p, V_INT, (int64_t)bits);
    }
    case 'G': { /* BINFLOAT: big endian */
        uint64_t bits = 0;
        if ((st = operand(p, 8, &n)) || (st = push_new(p, V_FLOAT, &v))) return st;
        for (int i = 0; i < 8; i++) bits = bits << 8 | (n >> (8 * i) & 255);
        memcpy(&p->values[v].u.f, &bits, 8);
        return LDM_OK;
    }
    case 'U':
    case 'C':
    case 0x8c:
        return (st = operand(p, 1, &n)) ? st : push_text(p, n);
    case 'X':
    case 'T':
    case 'B':
        return (st = operand(p, 4, &n)) ? st : push_text(p, n);
    default:
        return (st = operand(p, 8, &n)) ? st : push_text(p, n); /* BINUNICODE8 */
    }
}

/* ---- containers ---- */

static ldm_status make_tuple(pickle *p, uint32_t n) {
    uint32_t t, item[3];
    ldm_status st = LDM_OK;
    for (uint32_t i = n; i-- > 0 && !st;) st = pop(p, &item[i]);
    if (st || (st = pickle_new(p, V_TUPLE, &t))) return st;
    for (uint32_t i = 0; i < n && !st; i++) st = pickle_append(p, t, item[i]);
    return st ? st : push(p, t);
}

static ldm_status make_marked_tuple(pickle *p) {
    uint32_t first = 0, n = 0, t;
    ldm_status st = pop_mark(p, &first, &n);
    if (st || (st = pickle_new(p, V_TUPLE, &t))) return st;
    for (uint32_t i = 0; i < n && !st; i++) st = pickle_append(p, t, p->stack[first + i]);
    return st ? st : push(p, t);
}

/* APPEND(S), SETITEM(S): values stack[first .. first+n) go into the container below them. */
static ldm_status fill(pickle *p, value_kind wanted, uint32_t first, uint32_t n) {
    ldm_status st = LDM_OK;
    if (p->stack_n <= floor_of(p))
        return pickle_bad(p, "opcode %s has no container below its values", op_name(*p->op_at));
    uint32_t target = p->stack[p->stack_n - 1];
    const value *t = &p->values[target];
    if (t->kind == V_OPAQUE) return LDM_OK;
    if (t->kind != wanted)
        return pickle_bad(p, "opcode %s on %s, wanted %s", op_name(*p->op_at), pickle_kind_name(t),
                          wanted == V_DICT ? "a dictionary" : "a list");
    if (wanted == V_DICT && n % 2) return pickle_bad(p, "a key without its value");
    for (uint32_t i = 0; i < n; i++) {
        uint8_t kind = p->values[p->stack[first + i]].kind;
        if (wanted == V_DICT && i % 2 == 0 && (kind == V_LIST || kind == V_DICT))
            return pickle_bad(p, "%s as a key", pickle_kind_name(&p->values[p->stack[first + i]]));
    }
    for (uint32_t i = 0; i < n && !st; i++) st = pickle_append(p, target, p->stack[first + i]);
    return st;
}

static ldm_status fill_top(pickle *p, value_kind wanted, uint32_t n) {
    if (p->stack_n - floor_of(p) < n + 1)
        return pickle_bad(p, "opcode %s needs %u values on the stack", op_name(*p->op_at), n + 1);
    p->stack_n -= n;
    return fill(p, wanted, p->stack_n, n);
}

static ldm_status fill_marked(pickle *p, value_kind wanted) {
    uint32_t first = 0, n = 0;
    ldm_status st = pop_mark(p, &first, &n);
    return st ? st : fill(p, wanted, first, n);
}

/* BUILD gives an object its state. Dictionaries get theirs only as attributes (a state_dict's _metadata): dropped. */
static ldm_status build(pickle *p) {
    uint32_t state;
    ldm_status st = pop(p, &state);
    if (st) return st;
    if (p->stack_n <= floor_of(p)) return pickle_bad(p, "opcode BUILD needs an object below the state");
    const value *t = &p->values[p->stack[p->stack_n - 1]];
    if (t->kind != V_DICT && t->kind != V_OPAQUE)
        return pickle_bad(p, "opcode BUILD on %s, wanted an object or a dictionary", pickle_kind_name(t));
    return LDM_OK;
}

/* ---- memo, globals, calls ---- */

static ldm_status memo_put(pickle *p, uint64_t key) {
    if (p->stack_n <= floor_of(p)) return pickle_bad(p, "opcode %s with nothing on the stack", op_name(*p->op_at));
    if (key >= p->ops) /* writers number from 0 up: a larger key only serves to make the memo large */
        return pickle_bad(p, "memo key %llu after %u opcodes", (unsigned long long)key, p->ops);
    ldm_status st = GROW(p->memo, p->memo_cap, (uint32_t)key + 1, "memo places");
    if (st == LDM_OK) p->memo[key] = p->stack[p->stack_n - 1] + 1;
    return st;
}

static ldm_status memo_get(pickle *p, uint64_t key) {
    if (key >= p->memo_cap || !p->memo[key])
        return pickle_bad(p, "memo key %llu was never put", (unsigned long long)key);
    return push(p, p->memo[key] - 1);
}

static ldm_status do_global(pickle *p) {
    const char *line[2];
    size_t len[2];
    uint32_t v;
    for (int i = 0; i < 2; i++) {
        const uint8_t *nl = memchr(p->at, '\n', (size_t)(p->end - p->at));
        if (!nl) return pickle_bad(p, "global name without its end of line");
        line[i] = (const char *)p->at, len[i] = (size_t)(nl - p->at);
        p->at = nl + 1;
    }
    ldm_status st = torch_global(p, line[0], len[0], line[1], len[1], &v);
    return st ? st : push(p, v);
}

static ldm_status do_stack_global(pickle *p) {
    uint32_t name, module, v;
    ldm_status st;
    if ((st = pop(p, &name)) || (st = pop(p, &module))) return st;
    const value *n = &p->values[name], *m = &p->values[module];
    if (n->kind != V_TEXT || m->kind != V_TEXT)
        return pickle_bad(p, "global named by %s and %s, wanted text", pickle_kind_name(m), pickle_kind_name(n));
    st = torch_global(p, (const char *)m->u.s, m->count, (const char *)n->u.s, n->count, &v);
    return st ? st : push(p, v);
}

static ldm_status do_call(pickle *p) {
    uint32_t args, function, v;
    ldm_status st;
    if ((st = pop(p, &args)) || (st = pop(p, &function)) || (st = torch_call(p, function, args, &v))) return st;
    return push(p, v);
}

static ldm_status do_persistent(pickle *p) {
    uint32_t id, v;
    ldm_status st;
    if ((st = pop(p, &id)) || (st = torch_storage(p, id, &v))) return st;
    return push(p, v);
}

static ldm_status step(pickle *p, uint8_t op) {
    uint64_t n = 0;
    uint32_t v;
    ldm_status st;
    switch (op) {
    case 0x80: /* PROTO */
        if ((st = operand(p, 1, &n))) return st;
        return n >= 2 && n <= 5 ? LDM_OK : pickle_bad(p, "pickle protocol %u, wanted 2 to 5", (unsigned)n);
    case 0x95: /* FRAME: a hint for readers of streams */
        if ((st = operand(p, 8, &n))) return st;
        return n <= (uint64_t)(p->end - p->at)
                   ? LDM_OK
                   : pickle_bad(p, "frame of %llu bytes reaches past the end", (unsigned long long)n);
    case 'N':
    case 0x88:
    case 0x89:
    case 'K':
    case 'M':
    case 'J':
    case 0x8a:
    case 'G':
    case 'U':
    case 'C':
    case 0x8c:
    case 'X':
    case 'T':
    case 'B':
    case 0x8d:
        return do_scalar(p, op);
    case '(':
        if (p->mark_n == MAX_MARKS) return pickle_bad(p, "nested deeper than %d marks", MAX_MARKS);
        if ((st = GROW(p->marks, p->mark_cap, p->mark_n + 1, "marks"))) return st;
        p->marks[p->mark_n++] = p->stack_n;
        return LDM_OK;
    case '}':
        return push_new(p, V_DICT, &v);
    case ']':
        return push_new(p, V_LIST, &v);
    case ')':
        return push_new(p, V_TUPLE, &v);
    case 't':
        return make_marked_tuple(p);
    case 0x85:
    case 0x86:
    case 0x87:
        return make_tuple(p, op - 0x84u);
    case 0x8f: /* a set: nothing of ours */
        return push_new(p, V_OPAQUE, &v);
    case 'a':
        return fill_top(p, V_LIST, 1);
    case 'e':
    case 0x90: /* into a set */
        return fill_marked(p, V_LIST);
    case 's':
        return fill_top(p, V_DICT, 2);
    case 'u':
        return fill_marked(p, V_DICT);
    case 'b':
        return build(p);
    case 'q':
        return (st = operand(p, 1, &n)) ? st : memo_put(p, n);
    case 'r':
        return (st = operand(p, 4, &n)) ? st : memo_put(p, n);
    case 'h':
        return (st = operand(p, 1, &n)) ? st : memo_get(p, n);
    case 'j':
        return (st = operand(p, 4, &n)) ? st : memo_get(p, n);
    case 'c':
        return do_global(p);
    case 0x93:
        return do_stack_global(p);
    case 'R':
    case 0x81:
        return do_call(p);
    case 'Q':
        return do_persistent(p);
    }
    return pickle_bad(p, "opcode %s is not one of those that hold data", op_name(op));
}

ldm_status pickle_read(ldm_ckpt *c, const zip_dir *z, const char *root, size_t root_len, const uint8_t *data,
                       size_t size) {
    ldm_status st = LDM_OK;
    pickle pk = {.c = c,
                 .z = z,
                 .root = root,
                 .root_len = root_len,
                 .begin = data,
                 .at = data,
                 .end = data + size,
                 .op_at = data};
    pickle *p = &pk;
    uint32_t top;
    uint64_t memoized = 0;
    if (size > MAX_BYTES)
        return ldm_fail(LDM_ERR_FORMAT, "%s: data.pkl of %zu bytes, at most %d are allowed", c->path, size, MAX_BYTES);
    for (;;) {
        p->op_at = p->at;
        if (p->at == p->end) TRY(pickle_bad(p, "the pickle ends without its stop opcode"));
        if (p->ops++ == MAX_OPS) TRY(pickle_bad(p, "more than %d opcodes", MAX_OPS));
        uint8_t op = *p->at++;
        if (op == '.') break;
        if (op == 0x94) TRY(memo_put(p, memoized++)); /* MEMOIZE: the next free key */
        else TRY(step(p, op));
    }
    TRY(pop(p, &top));
    if (p->stack_n || p->mark_n) TRY(pickle_bad(p, "%u values are left on the stack at the end", p->stack_n));
    if (p->at != p->end) TRY(pickle_bad(p, "%zu bytes follow the end of the pickle", (size_t)(p->end - p->at)));
    TRY(torch_flatten(p, top));
done:
    free(p->values), free(p->cells), free(p->tensors), free(p->stack), free(p->marks), free(p->memo);
    return st;
}
