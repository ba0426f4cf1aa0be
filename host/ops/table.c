/* table.c -- the op table made from list.h, and looking things up in it. */
#include "ops/op.h"
#include <string.h>

#define LDM_OP(name) extern const ldm_op ldm_op_##name;
#include "ops/list.h"
#undef LDM_OP

#define LDM_OP(name) &ldm_op_##name,
const ldm_op *const ldm_ops[] = {
#include "ops/list.h"
    NULL};
#undef LDM_OP

const ldm_op *ldm_op_find(const char *name, size_t len) {
    for (int i = 0; ldm_ops[i]; i++)
        if (strlen(ldm_ops[i]->name) == len && memcmp(ldm_ops[i]->name, name, len) == 0) return ldm_ops[i];
    return NULL;
}

/* Word `i` of a blank-separated list; its length, or 0 past the end. */
static size_t word(const char *list, int i, const char **start) {
    for (const char *s = list ? list : "";; i--) {
        s += strspn(s, " ");
        size_t n = strcspn(s, " ");
        if (n == 0) return 0;
        if (i == 0) return *start = s, n;
        s += n;
    }
}

static int word_index(const char *list, const char *name) {
    const char *s;
    for (int i = 0;; i++) {
        size_t n = word(list, i, &s);
        if (n == 0) return -1;
        const char *eq = memchr(s, '=', n);
        if (eq) n = (size_t)(eq - s);
        if (strlen(name) == n && memcmp(s, name, n) == 0) return i;
    }
}

int ldm_op_slots(const ldm_op *op) {
    const char *s;
    int n = 0;
    while (word(op->slots, n, &s)) n++;
    return n;
}

const char *ldm_op_slot_name(const ldm_op *op, int slot, char *buf, size_t cap) {
    const char *s = "";
    size_t n = word(op->slots, slot, &s);
    snprintf(buf, cap, "%.*s", (int)n, s);
    return buf;
}

int ldm_op_slot_index(const ldm_op *op, const char *name) { return word_index(op->slots, name); }
int ldm_op_dim_index(const ldm_op *op, const char *name) { return word_index(op->dims, name); }
int ldm_op_flag_index(const ldm_op *op, const char *name) { return word_index(op->flags, name); }
