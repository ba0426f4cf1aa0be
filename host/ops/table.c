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

/* The next word of a blank-separated list from *list on, which moves behind it; its length, or 0 past the end. Plans ask for
 * slots and dims a million times: once over the list and by hand. */
static size_t next_word(const char **list, const char **start) {
    const char *s = *list ? *list : "";
    while (*s == ' ') s++;
    *start = s;
    while (*s && *s != ' ') s++;
    *list = s;
    return (size_t)(s - *start);
}

static int word_index(const char *list, const char *name) {
    const size_t wanted = strlen(name);
    const char *s;
    size_t n;
    for (int i = 0; (n = next_word(&list, &s)); i++)
        if (n >= wanted && !memcmp(s, name, wanted) && (n == wanted || s[wanted] == '=')) return i;
    return -1;
}

int ldm_op_slots(const ldm_op *op) {
    const char *list = op->slots, *s;
    int n = 0;
    while (next_word(&list, &s)) n++;
    return n;
}

const char *ldm_op_slot_name(const ldm_op *op, int slot, char *buf, size_t cap) {
    const char *list = op->slots, *s;
    size_t n = next_word(&list, &s);
    while (n && slot-- > 0) n = next_word(&list, &s);
    snprintf(buf, cap, "%.*s", (int)n, s);
    return buf;
}

int ldm_op_slot_index(const ldm_op *op, const char *name) { return word_index(op->slots, name); }
int ldm_op_dim_index(const ldm_op *op, const char *name) { return word_index(op->dims, name); }
int ldm_op_flag_index(const ldm_op *op, const char *name) { return word_index(op->flags, name); }
