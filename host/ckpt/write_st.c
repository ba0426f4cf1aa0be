/* write_st.c -- writes .safetensors: tensors are declared first, so that the header is known, then streamed in the same
 * order into a file that appears whole or not at all. The header is padded with spaces so that the data begins at a
 * multiple of 8. */
#include "ckpt_internal.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct ldm_st_writer {
    ldm_outfile out;
    char *path;
    json_t *header;
    size_t *bytes; /* of each tensor */
    int declared, cap, written;
    size_t offset; /* end of the last declared tensor */
    bool begun;    /* the header is written */
};

static ldm_status no_memory(const char *path) {
    return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its header is not there", path);
}

static const char *const *pair_or_null(const char *const *m) { return m && m[0] ? m : NULL; }

ldm_status ldm_st_create(const char *path, const char *const *metadata, ldm_st_writer **out) {
    ldm_status st = LDM_OK;
    ldm_st_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(path);
    w->header = json_object();
    if (!w->header || !(w->path = strdup(path))) TRY(no_memory(path));
    for (const char *const *m = pair_or_null(metadata); m && m[0]; m += 2) {
        if (!m[1] || !ldm_utf8_valid(m[0], strlen(m[0])) || !ldm_utf8_valid(m[1], strlen(m[1])))
            TRY(ldm_fail(LDM_ERR_ARG, "%s: metadata entry %s is not text in UTF-8", path,
                         ckpt_show(m[0], strlen(m[0]))));
        json_t *meta = json_object_get(w->header, "__metadata__");
        if (!meta && (json_object_set_new(w->header, "__metadata__", json_object()) != 0 ||
                      !(meta = json_object_get(w->header, "__metadata__"))))
            TRY(no_memory(path));
        if (json_object_get(meta, m[0])) TRY(ldm_fail(LDM_ERR_ARG, "%s: metadata entry %s is given twice", path, m[0]));
        if (json_object_set_new(meta, m[0], json_string(m[1])) != 0) TRY(no_memory(path));
    }
    TRY(ldm_outfile_open(path, &w->out));
    *out = w;
    w = NULL;
done:
    ldm_st_abandon(w);
    return st;
}

ldm_status ldm_st_declare(ldm_st_writer *w, const char *name, ldm_dtype t, const ldm_shape *s) {
    static const char *const words[LDM_DTYPES] = {"F32", "F16", "BF16", "F64", "I32", "I64", "U8", "I8", "I16", "BOOL"};
    size_t len = strlen(name), bytes, end;
    int64_t count = ldm_shape_count(s);
    if (!words[t])
        return ldm_fail(LDM_ERR_ARG, "%s: tensor %s is stored as %s, which the format has no word for", w->path,
                        ckpt_show(name, len), ldm_dtype_name(t));
    if (w->begun)
        return ldm_fail(LDM_ERR_ARG, "%s: tensor %s is declared after the first data", w->path, ckpt_show(name, len));
    if (len == 0 || len > CKPT_MAX_NAME || !ldm_utf8_valid(name, len) || strcmp(name, "__metadata__") == 0)
        return ldm_fail(LDM_ERR_ARG, "%s: '%s' cannot name a tensor", w->path, ckpt_show(name, len));
    if (json_object_get(w->header, name))
        return ldm_fail(LDM_ERR_ARG, "%s: tensor %s is declared twice", w->path, ckpt_show(name, len));
    if (count < 0 || !ldm_mul((size_t)count, ldm_dtype_size(t), &bytes) || !ldm_add(w->offset, bytes, &end) ||
        end > INT64_MAX)
        return ldm_fail(LDM_ERR_ARG, "%s: tensor %s: its shape is too large to count", w->path, ckpt_show(name, len));
    if (w->declared == w->cap) {
        int cap = w->cap ? 2 * w->cap : 256;
        size_t *more = realloc(w->bytes, (size_t)cap * sizeof *more);
        if (!more) return no_memory(w->path);
        w->bytes = more, w->cap = cap;
    }
    json_t *shape = json_array();
    for (int d = 0; shape && d < s->rank; d++)
        if (json_array_append_new(shape, json_integer(s->dim[d])) != 0) json_decref(shape), shape = NULL;
    if (!shape) return no_memory(w->path);
    json_t *entry = json_pack("{s:s, s:o, s:[I,I]}", "dtype", words[t], "shape", shape, "data_offsets",
                              (json_int_t)w->offset, (json_int_t)end);
    if (!entry || json_object_set_new(w->header, name, entry) != 0) return no_memory(w->path);
    w->bytes[w->declared++] = bytes, w->offset = end;
    return LDM_OK;
}

static ldm_status write_bytes(ldm_st_writer *w, const void *data, size_t n) {
    if (fwrite(data, 1, n, w->out.f) == n) return LDM_OK;
    return ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", w->path, strerror(errno));
}

static ldm_status write_header(ldm_st_writer *w) {
    uint8_t length[8];
    ldm_status st;
    char *text = json_dumps(w->header, JSON_COMPACT);
    if (!text) return no_memory(w->path);
    size_t n = strlen(text), padded = (n + 7) / 8 * 8;
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(padded >> (8 * i));
    w->begun = true;
    if ((st = write_bytes(w, length, 8)) == LDM_OK && (st = write_bytes(w, text, n)) == LDM_OK)
        st = write_bytes(w, "       ", padded - n);
    free(text);
    return st;
}

ldm_status ldm_st_data(ldm_st_writer *w, const void *data) {
    ldm_status st;
    if (!w->begun && (st = write_header(w))) return st;
    if (w->written == w->declared)
        return ldm_fail(LDM_ERR_ARG, "%s: more data than the %d declared tensors", w->path, w->declared);
    return write_bytes(w, data, w->bytes[w->written++]);
}

ldm_status ldm_st_commit(ldm_st_writer *w) {
    ldm_status st;
    if (!w->begun && (st = write_header(w))) return st;
    if (w->written != w->declared)
        return ldm_fail(LDM_ERR_ARG, "%s: %d of %d declared tensors have their data", w->path, w->written, w->declared);
    if ((st = ldm_outfile_commit(&w->out)) == LDM_OK) ldm_st_abandon(w);
    return st;
}

void ldm_st_abandon(ldm_st_writer *w) {
    if (!w) return;
    ldm_outfile_abandon(&w->out);
    json_decref(w->header);
    free(w->bytes), free(w->path);
    free(w);
}
