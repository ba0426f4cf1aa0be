/* pickle.h -- between pickle.c, which runs the opcodes as data, and pickle_torch.c, which knows what the values mean.
 * Values are indices into one array; lists, tuples and dictionaries are chains of cells. Nothing is ever called or
 * imported. */
#ifndef LDM_PICKLE_H
#define LDM_PICKLE_H

#include "ckpt_internal.h"

typedef enum value_kind {
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_TEXT,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_GLOBAL,
    V_STORAGE,
    V_TENSOR,
    V_OPAQUE /* something of a training framework: carried about, never looked into */
} value_kind;

typedef enum global_kind {
    G_DICT,           /* collections.OrderedDict and its like: called, gives a dictionary */
    G_REBUILD_TENSOR, /* torch._utils._rebuild_tensor_v2 */
    G_REBUILD_PARAMETER,
    G_STORAGE, /* torch.HalfStorage ..., with its dtype */
    G_OPAQUE   /* on the list of harmless names, result opaque */
} global_kind;

typedef struct value {
    uint8_t kind;         /* value_kind */
    uint8_t sub;          /* V_GLOBAL: global_kind */
    uint8_t dtype;        /* V_GLOBAL of G_STORAGE, V_STORAGE */
    uint32_t first, last; /* V_LIST, V_TUPLE: cells; V_DICT: cells key, value, key, value; 0 none */
    uint32_t count;       /* cells */
    union {
        int64_t i; /* V_BOOL, V_INT; V_STORAGE: elements; V_TENSOR: index into tensors */
        double f;
        const uint8_t *s; /* V_TEXT: `count` bytes; V_STORAGE: its first byte */
    } u;
    int64_t extra; /* V_STORAGE: elements */
} value;

typedef struct cell {
    uint32_t value, next;
} cell;

typedef struct pickle {
    ldm_ckpt *c;
    const zip_dir *z;
    const char *root; /* prefix of the archive's entries, without the slash */
    size_t root_len;
    const uint8_t *begin, *at, *end, *op_at;
    uint32_t ops;
    value *values;
    cell *cells;
    ldm_ckpt_tensor *tensors;
    uint32_t *stack, *marks, *memo; /* memo: value index + 1, 0 none */
    uint32_t value_n, value_cap, cell_n, cell_cap, tensor_n, tensor_cap, stack_n, stack_cap, mark_n, mark_cap, memo_cap;
} pickle;

/* "<path>: data.pkl: byte N: <sentence>" */
ldm_status pickle_bad(const pickle *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for one more in a growing array. */
ldm_status pickle_grow(const pickle *p, void **array, uint32_t *cap, uint32_t need, size_t each, const char *what);
ldm_status pickle_new(pickle *p, value_kind kind, uint32_t *out);
ldm_status pickle_append(pickle *p, uint32_t list, uint32_t item);
const char *pickle_kind_name(const value *v);
/* Copies a tuple's or list's values to out[]; their number must lie in [least, most]. */
ldm_status pickle_items(const pickle *p, uint32_t list, uint32_t least, uint32_t most, const char *what, uint32_t *out);

/* pickle_torch.c */
ldm_status torch_global(pickle *p, const char *module, size_t module_n, const char *name, size_t name_n, uint32_t *out);
ldm_status torch_call(pickle *p, uint32_t function, uint32_t args, uint32_t *out); /* REDUCE and NEWOBJ */
ldm_status torch_storage(pickle *p, uint32_t id, uint32_t *out);                   /* BINPERSID */
ldm_status torch_flatten(pickle *p, uint32_t top);

#endif
