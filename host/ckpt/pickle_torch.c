/* pickle_torch.c -- what the values in a PyTorch checkpoint mean: which globals are known, what calling them gives,
 * storages bounded by their zip entry, tensors bounded by their storage, nested dictionaries as one flat table of
 * names. Globals are names compared with fixed lists; none is ever looked up. Those of training frameworks become
 * opaque values that may be "called" and given state without effect; every other name refuses the file, because a
 * checkpoint that asks for os.system is not one to take weights from. Layout: torch/serialization.py: _save,
 * torch/_utils.py: _rebuild_tensor_v2. */
#include "pickle.h"
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 16,       /* dictionaries inside dictionaries */
    MAX_VISITS = 1 << 18, /* entries looked at while flattening: a dictionary that holds itself twice ends here */
};

/* ---- globals ---- */

static bool is_text(const char *s, size_t n, const char *wanted) {
    return strlen(wanted) == n && memcmp(s, wanted, n) == 0;
}

static bool storage_dtype(const char *s, size_t n, ldm_dtype *out) {
    static const struct {
        const char *name;
        ldm_dtype t;
    } known[] = {{"FloatStorage", LDM_F32},  {"HalfStorage", LDM_F16}, {"BFloat16Storage", LDM_BF16},
                 {"DoubleStorage", LDM_F64}, {"IntStorage", LDM_I32},  {"LongStorage", LDM_I64},
                 {"ByteStorage", LDM_U8},    {"CharStorage", LDM_I8},  {"ShortStorage", LDM_I16},
                 {"BoolStorage", LDM_BOOL}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (is_text(s, n, known[i].name)) return *out = known[i].t, true;
    return false;
}

/* Packages whose objects Lightning and friends store beside the weights: callbacks, loops, optimisers, configurations.
 */
static bool is_opaque_module(const char *m, size_t n) {
    static const char *const packages[] = {"pytorch_lightning",   "lightning",      "lightning_fabric",
                                           "lightning_utilities", "lightning_lite", "torch.optim",
                                           "torchmetrics",        "omegaconf"};
    for (size_t i = 0; i < sizeof packages / sizeof *packages; i++) {
        size_t len = strlen(packages[i]);
        if (n >= len && memcmp(m, packages[i], len) == 0 && (n == len || m[len] == '.')) return true;
    }
    return false;
}

/* Single names of packages that also hold dangerous ones, "module name". */
static bool is_opaque_name(const char *m, size_t m_n, const char *name, size_t n) {
    static const char *const known[] = {"numpy dtype",
                                        "numpy ndarray",
                                        "numpy.core.multiarray scalar",
                                        "numpy.core.multiarray _reconstruct",
                                        "numpy._core.multiarray scalar",
                                        "numpy._core.multiarray _reconstruct",
                                        "_codecs encode",
                                        "copy_reg _reconstructor",
                                        "copyreg _reconstructor",
                                        "__builtin__ object",
                                        "__builtin__ set",
                                        "__builtin__ frozenset",
                                        "__builtin__ slice",
                                        "__builtin__ int",
                                        "__builtin__ long",
                                        "__builtin__ float",
                                        "__builtin__ bool",
                                        "__builtin__ str",
                                        "__builtin__ unicode",
                                        "__builtin__ list",
                                        "__builtin__ tuple",
                                        "__builtin__ dict",
                                        "__builtin__ complex",
                                        "__builtin__ bytearray",
                                        "builtins object",
                                        "builtins set",
                                        "builtins frozenset",
                                        "builtins slice",
                                        "builtins int",
                                        "builtins float",
                                        "builtins bool",
                                        "builtins str",
                                        "builtins list",
                                        "builtins tuple",
                                        "builtins dict",
                                        "builtins complex",
                                        "builtins bytearray",
                                        "builtins range",
                                        "__builtin__ xrange",
                                        "collections deque",
                                        "collections Counter",
                                        "argparse Namespace",
                                        "typing Any",
                                        "pathlib Path",
                                        "pathlib PosixPath",
                                        "pathlib WindowsPath",
                                        "pathlib PurePosixPath",
                                        "pathlib._local PosixPath",
                                        "pathlib._local WindowsPath",
                                        "datetime datetime",
                                        "datetime date",
                                        "datetime timedelta",
                                        "torch Size",
                                        "torch device",
                                        "torch float32",
                                        "torch float16",
                                        "torch bfloat16",
                                        "torch float64",
                                        "torch int64",
                                        "torch int32",
                                        "torch uint8",
                                        "torch bool",
                                        "torch.torch_version TorchVersion"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t split = strcspn(known[i], " ");
        if (split == m_n && memcmp(known[i], m, m_n) == 0 && is_text(name, n, known[i] + split + 1)) return true;
    }
    return false;
}

ldm_status torch_global(pickle *p, const char *module, size_t module_n, const char *name, size_t name_n,
                        uint32_t *out) {
    global_kind kind = G_OPAQUE;
    ldm_dtype dtype = LDM_F32;
    if (is_text(module, module_n, "collections") &&
        (is_text(name, name_n, "OrderedDict") || is_text(name, name_n, "defaultdict")))
        kind = G_DICT;
    else if (is_text(module, module_n, "torch._utils") && is_text(name, name_n, "_rebuild_tensor_v2"))
        kind = G_REBUILD_TENSOR;
    else if (is_text(module, module_n, "torch._utils") && is_text(name, name_n, "_rebuild_parameter"))
        kind = G_REBUILD_PARAMETER;
    else if ((is_text(module, module_n, "torch") || is_text(module, module_n, "torch.cuda")) &&
             storage_dtype(name, name_n, &dtype))
        kind = G_STORAGE;
    else if (!is_opaque_module(module, module_n) && !is_opaque_name(module, module_n, name, name_n))
        return pickle_bad(p, "global %s.%s is not one that weights need; refused, and nothing was run",
                          ckpt_show(module, module_n), ckpt_show(name, name_n));
    ldm_status st = pickle_new(p, V_GLOBAL, out);
    if (st == LDM_OK) p->values[*out].sub = (uint8_t)kind, p->values[*out].dtype = (uint8_t)dtype;
    return st;
}

/* ---- storages and tensors ---- */

ldm_status torch_storage(pickle *p, uint32_t id, uint32_t *out) {
    ldm_status st;
    uint32_t item[5];
    char entry_name[512];
    if ((st = pickle_items(p, id, 5, 5, "a persistent id", item))) return st;
    const value *tag = &p->values[item[0]], *type = &p->values[item[1]], *key = &p->values[item[2]],
                *n = &p->values[item[4]];
    if (tag->kind != V_TEXT || !is_text((const char *)tag->u.s, tag->count, "storage") || type->kind != V_GLOBAL ||
        type->sub != G_STORAGE || key->kind != V_TEXT || n->kind != V_INT)
        return pickle_bad(
            p, "a persistent id is (%s, %s, %s, .., %s), wanted ('storage', a torch storage, text, .., an int)",
            pickle_kind_name(tag), pickle_kind_name(type), pickle_kind_name(key), pickle_kind_name(n));
    const char *shown = ckpt_show(key->u.s, key->count);
    size_t prefix = p->root_len + strlen("/data/");
    if (key->count > 64 || prefix + key->count >= sizeof entry_name)
        return pickle_bad(p, "storage key of %u bytes, at most 64 are allowed", key->count);
    memcpy(entry_name, p->root, p->root_len);
    memcpy(entry_name + p->root_len, "/data/", 6);
    memcpy(entry_name + prefix, key->u.s, key->count);
    const zip_entry *e = zip_find(p->z, entry_name, prefix + key->count);
    if (!e) return pickle_bad(p, "storage %s has no entry data/%s in the archive", shown, shown);
    int64_t count = n->u.i;
    size_t size = ldm_dtype_size((ldm_dtype)type->dtype);
    if (count < 0 || (uint64_t)count > e->size / size)
        return pickle_bad(p, "storage %s of %lld x %zu bytes, but its entry has %zu", shown, (long long)count, size,
                          e->size);
    uint8_t dtype = type->dtype;
    if ((st = pickle_new(p, V_STORAGE, out))) return st;
    p->values[*out].dtype = dtype, p->values[*out].u.s = e->data, p->values[*out].extra = count;
    return LDM_OK;
}

static ldm_status read_ints(const pickle *p, uint32_t tuple, const char *what, int *n, int64_t *out) {
    uint32_t item[LDM_MAX_RANK];
    ldm_status st = pickle_items(p, tuple, 0, LDM_MAX_RANK, what, item);
    if (st) return st;
    *n = (int)p->values[tuple].count;
    for (int i = 0; i < *n; i++) {
        const value *v = &p->values[item[i]];
        if (v->kind != V_INT || v->u.i < 0) {
            if (v->kind != V_INT) return pickle_bad(p, "%s holds %s, wanted counts", what, pickle_kind_name(v));
            return pickle_bad(p, "%s holds %lld, wanted counts", what, (long long)v->u.i);
        }
        out[i] = v->u.i;
    }
    return LDM_OK;
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]), each bounded by the storage. */
static ldm_status rebuild_tensor(pickle *p, uint32_t args, uint32_t *out) {
    ldm_status st;
    uint32_t item[7];
    ldm_ckpt_tensor t = {0};
    int strides;
    if ((st = pickle_items(p, args, 6, 7, "a tensor's description", item))) return st;
    const value *storage = &p->values[item[0]], *offset = &p->values[item[1]];
    if (storage->kind != V_STORAGE || offset->kind != V_INT)
        return pickle_bad(p, "a tensor in %s from %s, wanted a storage and an int", pickle_kind_name(storage),
                          pickle_kind_name(offset));
    if ((st = read_ints(p, item[2], "a tensor's shape", &t.shape.rank, t.shape.dim)) ||
        (st = read_ints(p, item[3], "a tensor's strides", &strides, t.stride)))
        return st;
    if (strides != t.shape.rank)
        return pickle_bad(p, "a tensor of %d dimensions with %d strides", t.shape.rank, strides);
    int64_t count = ldm_shape_count(&t.shape), last = 0, next = 1;
    char text[256];
    int64_t from = count ? offset->u.i : 0; /* a view without elements may begin anywhere */
    bool inside = offset->u.i >= 0 && from <= storage->extra && count >= 0 && count <= storage->extra;
    for (int d = 0; d < t.shape.rank && inside && count; d++) {
        int64_t reach;
        inside = !__builtin_mul_overflow(t.shape.dim[d] - 1, t.stride[d], &reach) &&
                 !__builtin_add_overflow(last, reach, &last);
    }
    if (!inside || (count && last >= storage->extra - from))
        return pickle_bad(p, "a tensor of shape %s from element %lld does not fit its storage of %lld elements",
                          ldm_shape_text(&t.shape, text, sizeof text), (long long)offset->u.i,
                          (long long)storage->extra);
    t.contiguous = true;
    for (int d = t.shape.rank - 1; d >= 0; d--) {
        if (t.shape.dim[d] != 1 && t.stride[d] != next) t.contiguous = false;
        if (count) next *= t.shape.dim[d];
    }
    if (count == 0) t.contiguous = true;
    t.dtype = (ldm_dtype)storage->dtype;
    t.data = storage->u.s + (size_t)from * ldm_dtype_size(t.dtype);
    if (p->tensor_n == CKPT_MAX_TENSORS) return pickle_bad(p, "more than %d tensors", CKPT_MAX_TENSORS);
    if ((st = pickle_grow(p, (void **)&p->tensors, &p->tensor_cap, p->tensor_n + 1, sizeof *p->tensors, "tensors")))
        return st;
    if ((st = pickle_new(p, V_TENSOR, out))) return st;
    p->tensors[p->tensor_n] = t;
    p->values[*out].u.i = p->tensor_n++;
    return LDM_OK;
}

/* OrderedDict(), OrderedDict([(key, value), ..]) as Python 2 wrote it, defaultdict(factory). */
static ldm_status make_dict(pickle *p, uint32_t args, uint32_t *out) {
    ldm_status st;
    uint32_t pairs, pair[2];
    if ((st = pickle_items(p, args, 0, 1, "the arguments of a dictionary", &pairs)) ||
        (st = pickle_new(p, V_DICT, out)))
        return st;
    if (p->values[args].count == 0 || p->values[pairs].kind != V_LIST) return LDM_OK;
    for (uint32_t at = p->values[pairs].first; at && !st; at = p->cells[at].next) {
        if ((st = pickle_items(p, p->cells[at].value, 2, 2, "a dictionary's pair", pair))) return st;
        if ((st = pickle_append(p, *out, pair[0])) == LDM_OK) st = pickle_append(p, *out, pair[1]);
    }
    return st;
}

ldm_status torch_call(pickle *p, uint32_t function, uint32_t args, uint32_t *out) {
    const value *f = &p->values[function], *a = &p->values[args];
    if (f->kind != V_GLOBAL || a->kind != V_TUPLE)
        return pickle_bad(p, "a call of %s with %s, wanted a global with a tuple", pickle_kind_name(f),
                          pickle_kind_name(a));
    switch ((global_kind)f->sub) {
    case G_DICT:
        return make_dict(p, args, out);
    case G_REBUILD_TENSOR:
        return rebuild_tensor(p, args, out);
    case G_REBUILD_PARAMETER: {
        uint32_t item[3];
        ldm_status st = pickle_items(p, args, 3, 3, "a parameter's description", item);
        if (st) return st;
        if (p->values[item[0]].kind != V_TENSOR)
            return pickle_bad(p, "a parameter made of %s, wanted a tensor", pickle_kind_name(&p->values[item[0]]));
        *out = item[0];
        return LDM_OK;
    }
    case G_STORAGE:
        return pickle_bad(p, "a storage type is called; wanted it only in a persistent id");
    case G_OPAQUE:
        break;
    }
    return pickle_new(p, V_OPAQUE, out);
}

/* ---- one flat table ---- */

typedef struct flattening {
    pickle *p;
    char path[CKPT_MAX_NAME + 1];
    uint32_t visits;
} flattening;

/* Appends ".key" to the path of length n; *longer is its new length. false: not a key that names anything. */
static bool extend(flattening *f, size_t n, const value *key, size_t *longer, ldm_status *st) {
    char number[24];
    const char *s = (const char *)key->u.s;
    size_t len = key->count;
    if (key->kind == V_INT) len = (size_t)snprintf(number, sizeof number, "%lld", (long long)key->u.i), s = number;
    else if (key->kind != V_TEXT) return false;
    if (n + 1 + len > CKPT_MAX_NAME) {
        *st = ldm_fail(LDM_ERR_FORMAT, "%s: data.pkl: key %s makes a name of %zu bytes, at most %d are allowed",
                       f->p->c->path, ckpt_show(s, len), n + 1 + len, CKPT_MAX_NAME);
        return false;
    }
    if (n) f->path[n++] = '.';
    memcpy(f->path + n, s, len);
    *longer = n + len;
    return true;
}

static ldm_status walk(flattening *f, uint32_t dict, size_t n, int depth) {
    pickle *p = f->p;
    ldm_status st = LDM_OK;
    if (depth == MAX_DEPTH)
        return ldm_fail(LDM_ERR_FORMAT, "%s: data.pkl: dictionaries nest deeper than %d at %s", p->c->path, MAX_DEPTH,
                        ckpt_show(f->path, n));
    for (uint32_t at = p->values[dict].first; at && !st; at = p->cells[p->cells[at].next].next) {
        const value *key = &p->values[p->cells[at].value];
        uint32_t item = p->cells[p->cells[at].next].value;
        const value *v = &p->values[item];
        size_t longer = 0;
        if (++f->visits > MAX_VISITS)
            return ldm_fail(LDM_ERR_FORMAT, "%s: data.pkl: more than %d dictionary entries: one holds itself?",
                            p->c->path, MAX_VISITS);
        if (v->kind != V_TENSOR && v->kind != V_DICT) continue;
        if (depth == 0 && v->kind == V_DICT && key->kind == V_TEXT &&
            is_text((const char *)key->u.s, key->count, "state_dict")) {
            st = walk(f, item, 0, 1);
            continue;
        }
        if (!extend(f, n, key, &longer, &st)) continue;
        if (v->kind == V_DICT) st = walk(f, item, longer, depth + 1);
        else st = ckpt_add_tensor(p->c, f->path, longer, &p->tensors[v->u.i]);
    }
    return st;
}

/* Scalars of the top level, such as global_step. */
static ldm_status add_scalars(pickle *p, uint32_t dict) {
    ldm_status st = LDM_OK;
    for (uint32_t at = p->values[dict].first; at && !st; at = p->cells[p->cells[at].next].next) {
        const value *key = &p->values[p->cells[at].value], *v = &p->values[p->cells[p->cells[at].next].value];
        char text[64];
        const char *s = text;
        size_t len = 0;
        if (key->kind != V_TEXT || key->count > CKPT_MAX_NAME || !ldm_utf8_valid(key->u.s, key->count)) continue;
        if (v->kind == V_INT) len = (size_t)snprintf(text, sizeof text, "%lld", (long long)v->u.i);
        else if (v->kind == V_FLOAT) len = (size_t)snprintf(text, sizeof text, "%.17g", v->u.f);
        else if (v->kind == V_BOOL) len = (size_t)snprintf(text, sizeof text, "%s", v->u.i ? "true" : "false");
        else if (v->kind == V_TEXT && ldm_utf8_valid(v->u.s, v->count)) s = (const char *)v->u.s, len = v->count;
        else continue;
        st = ckpt_add_meta(p->c, (const char *)key->u.s, key->count, s, len);
    }
    return st;
}

ldm_status torch_flatten(pickle *p, uint32_t top) {
    const value *v = &p->values[top];
    if (v->kind != V_DICT)
        return ldm_fail(LDM_ERR_FORMAT,
                        "%s: data.pkl: the top level is %s, wanted a dictionary of tensors (a state_dict)", p->c->path,
                        pickle_kind_name(v));
    flattening *f = calloc(1, sizeof *f);
    if (!f) return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for names is not there", p->c->path);
    f->p = p;
    ldm_status st = walk(f, top, 0, 0);
    free(f);
    return st ? st : add_scalars(p, top);
}

/* ---- the archive ---- */

static bool ends_with(const zip_entry *e, const char *suffix) {
    size_t n = strlen(suffix);
    return e->name_len >= n && memcmp(e->name + e->name_len - n, suffix, n) == 0;
}

static ldm_status find_root(const ldm_ckpt *c, const zip_dir *z, const zip_entry **pkl) {
    const zip_entry *found = NULL;
    for (size_t i = 0; i < z->count; i++) {
        const zip_entry *e = &z->entries[i];
        if (ends_with(e, "/constants.pkl") || memmem(e->name, e->name_len, "/code/", 6) || ends_with(e, "/model.json"))
            return ldm_fail(LDM_ERR_FORMAT,
                            "%s: is a TorchScript archive (entry %s); save the state_dict with torch.save instead",
                            c->path, ckpt_show(e->name, e->name_len));
        if (e->name_len >= 8 && memcmp(e->name, "MAR-INF/", 8) == 0)
            return ldm_fail(LDM_ERR_FORMAT, "%s: is a TorchServe model archive; take the checkpoint out of it",
                            c->path);
        const char *slash = memchr(e->name, '/', e->name_len);
        if (!slash || slash == e->name || !is_text(slash, e->name_len - (size_t)(slash - e->name), "/data.pkl"))
            continue;
        if (found)
            return ldm_fail(LDM_ERR_FORMAT, "%s: two pickles, %s and %s, wanted one", c->path,
                            ckpt_show(found->name, found->name_len), ckpt_show(e->name, e->name_len));
        found = e;
    }
    if (!found)
        return ldm_fail(LDM_ERR_FORMAT,
                        "%s: a zip archive of %zu entries without NAME/data.pkl: not a PyTorch checkpoint", c->path,
                        z->count);
    if (found->name_len > 400)
        return ldm_fail(LDM_ERR_FORMAT, "%s: the archive's root name has %zu bytes, at most 391 are allowed", c->path,
                        found->name_len - 9);
    *pkl = found;
    return LDM_OK;
}

ldm_status ckpt_parse_torch(ldm_ckpt *c) {
    ldm_status st = LDM_OK;
    zip_dir z = {0};
    const zip_entry *pkl = NULL, *order;
    char name[512];
    TRY(zip_open(c->data, c->size, c->path, &z));
    TRY(find_root(c, &z, &pkl));
    size_t root_len = pkl->name_len - strlen("/data.pkl");
    int n = snprintf(name, sizeof name, "%.*s/byteorder", (int)root_len, pkl->name);
    order = zip_find(&z, name, (size_t)n);
    if (order) {
        TRY(zip_check_crc(order, c->path));
        if (!is_text((const char *)order->data, order->size, "little"))
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: byte order '%s', wanted little", c->path,
                         ckpt_show(order->data, order->size)));
    }
    TRY(zip_check_crc(pkl, c->path));
    TRY(pickle_read(c, &z, pkl->name, root_len, pkl->data, pkl->size));
done:
    zip_close(&z);
    return st;
}
