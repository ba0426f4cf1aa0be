/* safetensors.c -- reads the header of a .safetensors file: u64 length, JSON, data. JSON is parsed by jansson; this
 * file owns the rules around it (format definition: huggingface/safetensors, README, "Format"): no duplicate keys,
 * dtype and shape agree with the byte range, ranges sorted by begin chain from 0 to the end of the file without hole or
 * overlap. The header is counted before jansson sees it, so that a small file cannot ask for much memory. */
#include "ckpt_internal.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 };

#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

/* A lexical walk: objects and values are counted, nesting is at most what the format has (header, tensor, shape). */
static ldm_status count_json(const ldm_ckpt *c, const char *s, size_t n) {
    size_t objects = 0, values = 0;
    int depth = 0;
    bool text = false;
    for (size_t i = 0; i < n; i++) {
        char ch = s[i];
        if (text) {
            if (ch == '\\') i++;
            else if (ch == '"') text = false;
            continue;
        }
        if (ch == '"') text = true;
        else if (ch == '{' || ch == '[') objects++, depth++;
        else if (ch == '}' || ch == ']') depth--;
        else if (ch == ',') values++;
        if (depth > 3) return BAD("%s: byte %zu: the header nests deeper than name, tensor, shape", c->path, i + 8);
        if (objects > 3 * (size_t)CKPT_MAX_TENSORS + CKPT_MAX_META || values > 16 * (size_t)CKPT_MAX_TENSORS)
            return BAD("%s: byte %zu: the header has more than %d tensors", c->path, i + 8, CKPT_MAX_TENSORS);
    }
    return LDM_OK;
}

static bool known_dtype(const char *s, ldm_dtype *out) {
    static const struct {
        const char *name;
        ldm_dtype t;
    } known[] = {{"F32", LDM_F32}, {"F16", LDM_F16}, {"BF16", LDM_BF16}, {"F64", LDM_F64}, {"I32", LDM_I32},
                 {"I64", LDM_I64}, {"U8", LDM_U8},   {"I8", LDM_I8},     {"I16", LDM_I16}, {"BOOL", LDM_BOOL}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, s) == 0) return *out = known[i].t, true;
    return false;
}

typedef struct range {
    uint64_t begin, end;
    const char *name;
} range;

static int by_begin(const void *a, const void *b) {
    const range *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* One value of the header, {"dtype": .., "shape": [..], "data_offsets": [begin, end]}. data: the bytes behind the
 * header. */
static ldm_status read_tensor(ldm_ckpt *c, const char *name, json_t *v, size_t start, range *r) {
    const char *shown = ckpt_show(name, strlen(name));
    json_t *dtype = json_object_get(v, "dtype"), *shape = json_object_get(v, "shape");
    json_t *offsets = json_object_get(v, "data_offsets");
    ldm_ckpt_tensor t = {.contiguous = true};
    size_t room = c->size - start;
    if (!json_is_object(v) || !json_is_string(dtype) || !json_is_array(shape) || !json_is_array(offsets) ||
        json_object_size(v) != 3)
        return BAD("%s: tensor %s: wanted exactly dtype (text), shape and data_offsets (lists)", c->path, shown);
    const char *word = json_string_value(dtype);
    if (!known_dtype(word, &t.dtype))
        return BAD("%s: tensor %s: dtype '%s', wanted F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL", c->path,
                   shown, ckpt_show(word, strlen(word)));
    if (json_array_size(shape) > LDM_MAX_RANK)
        return BAD("%s: tensor %s: %zu dimensions, at most %d are read", c->path, shown, json_array_size(shape),
                   LDM_MAX_RANK);
    t.shape.rank = (int)json_array_size(shape);
    for (int d = 0; d < t.shape.rank; d++) {
        json_t *n = json_array_get(shape, (size_t)d);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return BAD("%s: tensor %s: dimension %d of its shape is not a count", c->path, shown, d);
        t.shape.dim[d] = json_integer_value(n);
    }
    json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e) || json_integer_value(b) < 0)
        return BAD("%s: tensor %s: data_offsets are not two counts", c->path, shown);
    r->begin = (uint64_t)json_integer_value(b), r->end = (uint64_t)json_integer_value(e), r->name = name;
    if (json_integer_value(e) < json_integer_value(b) || r->end > room)
        return BAD("%s: tensor %s: data_offsets [%lld, %lld], but %zu bytes of data begin at byte %zu", c->path, shown,
                   (long long)json_integer_value(b), (long long)json_integer_value(e), room, start);
    int64_t count = ldm_shape_count(&t.shape);
    size_t bytes = 0;
    char text[256];
    if (count < 0 || !ldm_mul((size_t)count, ldm_dtype_size(t.dtype), &bytes) || bytes != r->end - r->begin)
        return BAD("%s: tensor %s: %s of shape %s does not take the %llu bytes at byte %llu", c->path, shown, word,
                   ldm_shape_text(&t.shape, text, sizeof text), (unsigned long long)(r->end - r->begin),
                   (unsigned long long)(start + r->begin));
    int64_t stride = 1;
    for (int d = t.shape.rank - 1; d >= 0; d--) {
        t.stride[d] = stride;
        if (count) stride *= t.shape.dim[d];
    }
    t.data = c->data + start + r->begin;
    return ckpt_add_tensor(c, name, strlen(name), &t);
}

static ldm_status read_metadata(ldm_ckpt *c, json_t *meta) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return BAD("%s: __metadata__ is not an object", c->path);
    json_object_foreach(meta, key, value) {
        if (!json_is_string(value))
            return BAD("%s: __metadata__ entry %s is not text", c->path, ckpt_show(key, strlen(key)));
        ldm_status st = ckpt_add_meta(c, key, strlen(key), json_string_value(value), json_string_length(value));
        if (st) return st;
    }
    return LDM_OK;
}

/* A chain without hole or overlap: every byte of the file means one thing, which also rules polyglot files out. */
static ldm_status check_chain(const ldm_ckpt *c, range *r, size_t n, size_t start) {
    qsort(r, n, sizeof *r, by_begin);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (r[i].begin != at)
            return BAD("%s: tensor %s: begins at byte %llu, %s byte %llu where the one before it ends", c->path,
                       ckpt_show(r[i].name, strlen(r[i].name)), (unsigned long long)(start + r[i].begin),
                       r[i].begin < at ? "overlapping" : "leaving a hole from", (unsigned long long)(start + at));
        at = r[i].end;
    }
    if (at != c->size - start)
        return BAD("%s: %llu bytes from byte %llu on belong to no tensor", c->path,
                   (unsigned long long)(c->size - start - at), (unsigned long long)(start + at));
    return LDM_OK;
}

ldm_status ckpt_parse_safetensors(ldm_ckpt *c) {
    ldm_status st = LDM_OK;
    json_t *root = NULL, *value;
    range *ranges = NULL;
    json_error_t error;
    const char *key;
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | c->data[i];
    if (n > MAX_HEADER)
        return BAD("%s: header of %llu bytes, at most %d are allowed", c->path, (unsigned long long)n, MAX_HEADER);
    if (n > c->size - 8)
        return BAD("%s: header of %llu bytes, but only %zu follow its length: cut short?", c->path,
                   (unsigned long long)n, c->size - 8);
    if (n < 2) return BAD("%s: header of %llu bytes, wanted at least {}", c->path, (unsigned long long)n);
    const char *text = (const char *)c->data + 8;
    if (!ldm_utf8_valid(text, (size_t)n)) return BAD("%s: the header is not UTF-8 text", c->path);
    TRY(count_json(c, text, (size_t)n));
    root = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        if (json_error_code(&error) == json_error_out_of_memory)
            TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its header is not there", c->path));
        TRY(BAD("%s: header, byte %d: %s", c->path, error.position + 8, ckpt_show(error.text, strlen(error.text))));
    }
    if (!json_is_object(root)) TRY(BAD("%s: the header is not a JSON object", c->path));
    size_t start = 8 + (size_t)n, count = 0;
    ranges = malloc((json_object_size(root) + 1) * sizeof *ranges);
    if (!ranges)
        TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for %zu tensors is not there", c->path, json_object_size(root)));
    json_object_foreach(root, key, value) {
        if (strcmp(key, "__metadata__") == 0) TRY(read_metadata(c, value));
        else TRY(read_tensor(c, key, value, start, &ranges[count++]));
    }
    TRY(check_chain(c, ranges, count, start));
done:
    json_decref(root);
    free(ranges);
    return st;
}
