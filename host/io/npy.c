/* npy.c -- NumPy's .npy (numpy/lib/format.py: versions 1.0 to 3.0): magic, a Python dictionary literal, raw elements.
 * Little endian, C order and plain element types only; everything else is refused by name. */
#include "io/io.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

static const struct {
    const char *descr;
    ldm_dtype t;
} types[] = {{"<f4", LDM_F32}, {"<f2", LDM_F16}, {"<f8", LDM_F64}, {"<i4", LDM_I32}, {"<i8", LDM_I64},
             {"<i2", LDM_I16}, {"|u1", LDM_U8},  {"|i1", LDM_I8},  {"|b1", LDM_BOOL}};

void ldm_array_free(ldm_array *a) {
    free(a->data);
    *a = (ldm_array){0};
}

/* The header's text: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } in any order, each key once. */
typedef struct literal {
    const char *at, *end, *name;
} literal;

static bool take(literal *l, char c) {
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\n')) l->at++;
    if (l->at == l->end || *l->at != c) return false;
    l->at++;
    return true;
}

static bool take_text(literal *l, char *out, size_t cap) {
    char quote = take(l, '\'') ? '\'' : take(l, '"') ? '"' : 0;
    const char *stop = quote ? memchr(l->at, quote, (size_t)(l->end - l->at)) : NULL;
    if (!stop || (size_t)(stop - l->at) >= cap) return false;
    for (const char *p = l->at; p < stop; p++) {
        if (*p < 32 || *p > 126) return false;
        *out++ = *p;
    }
    *out = 0;
    l->at = stop + 1;
    return true;
}

static ldm_status take_shape(literal *l, ldm_shape *s) {
    *s = (ldm_shape){0};
    if (!take(l, '(')) return BAD("%s: npy header: shape is not a tuple", l->name);
    while (!take(l, ')')) {
        int64_t v = 0;
        int digits = 0;
        if (s->rank == LDM_MAX_RANK) return BAD("%s: npy header: more than %d dimensions", l->name, LDM_MAX_RANK);
        for (take(l, ' '); l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++, digits++)
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *l->at - '0', &v))
                return BAD("%s: npy header: dimension %d is past 64 bits", l->name, s->rank);
        if (!digits) return BAD("%s: npy header: dimension %d is not a count", l->name, s->rank);
        s->dim[s->rank++] = v;
        if (!take(l, ',')) {
            if (s->rank == 1) return BAD("%s: npy header: shape is not a tuple", l->name);
            if (!take(l, ')'))
                return BAD("%s: npy header: shape does not end after dimension %d", l->name, s->rank - 1);
            return LDM_OK;
        }
    }
    return LDM_OK;
}

static ldm_status take_dtype(literal *l, ldm_dtype *out) {
    char descr[32];
    if (!take_text(l, descr, sizeof descr)) return BAD("%s: npy header: descr is not a plain element type", l->name);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].descr, descr) == 0) return *out = types[i].t, LDM_OK;
    return BAD("%s: npy element type '%s', wanted <f4 <f2 <f8 <i2 <i4 <i8 |u1 |i1 or |b1", l->name, descr);
}

static ldm_status take_header(literal *l, ldm_array *a) {
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0, bit;
    char key[32];
    ldm_status st = LDM_OK;
    if (!take(l, '{')) return BAD("%s: npy header is not a dictionary", l->name);
    while (!take(l, '}')) {
        if (!take_text(l, key, sizeof key) || !take(l, ':'))
            return BAD("%s: npy header: no key where one is wanted", l->name);
        bit = !strcmp(key, "descr") ? DESCR : !strcmp(key, "fortran_order") ? ORDER : !strcmp(key, "shape") ? SHAPE : 0;
        if (!bit || seen & bit)
            return BAD("%s: npy header: key '%s' is %s", l->name, key, bit ? "there twice" : "unknown");
        seen |= bit;
        if (bit == DESCR) st = take_dtype(l, &a->dtype);
        else if (bit == SHAPE) st = take_shape(l, &a->shape);
        else {
            take(l, ' ');
            if (l->end - l->at >= 4 && memcmp(l->at, "True", 4) == 0)
                st = BAD("%s: npy in Fortran order, wanted C order (numpy.ascontiguousarray)", l->name);
            else if (l->end - l->at < 5 || memcmp(l->at, "False", 5) != 0)
                st = BAD("%s: npy header: fortran_order is neither True nor False", l->name);
            else l->at += 5;
        }
        if (st) return st;
        if (take(l, ',')) continue;
        if (!take(l, '}')) return BAD("%s: npy header: no comma after '%s'", l->name, key);
        break;
    }
    if (seen != (DESCR | ORDER | SHAPE)) return BAD("%s: npy header lacks one of descr, fortran_order, shape", l->name);
    take(l, ' ');
    return l->at == l->end ? LDM_OK : BAD("%s: npy header: text behind the dictionary", l->name);
}

ldm_status ldm_npy_parse(const void *data, size_t size, const char *name, ldm_array *out) {
    const uint8_t *d = data;
    ldm_array a = {0};
    char text[256];
    void *copy;
    if (size < 10 || memcmp(d, "\x93NUMPY", 6) != 0) return BAD("%s: is not a NumPy .npy file", name);
    if (d[6] < 1 || d[6] > 3 || d[7] != 0) return BAD("%s: npy version %d.%d, wanted 1.0 to 3.0", name, d[6], d[7]);
    size_t start = d[6] == 1 ? 10 : 12, length = (size_t)d[8] | (size_t)d[9] << 8;
    if (size < start) return BAD("%s: npy header is cut short", name);
    if (d[6] > 1) length |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
    if (length > size - start)
        return BAD("%s: npy header of %zu bytes, but only %zu are left", name, length, size - start);
    if (length > 65536) return BAD("%s: npy header of %zu bytes, at most 65536 are allowed", name, length);
    literal l = {(const char *)d + start, (const char *)d + start + length, name};
    ldm_status st = take_header(&l, &a);
    if (st) return st;
    int64_t count = ldm_shape_count(&a.shape);
    size_t bytes = 0, left = size - start - length;
    if (count < 0 || !ldm_mul((size_t)count, ldm_dtype_size(a.dtype), &bytes) || bytes != left)
        return BAD("%s: npy %s of shape %s, but %zu bytes of data follow", name, ldm_dtype_name(a.dtype),
                   ldm_shape_text(&a.shape, text, sizeof text), left);
    if ((st = ldm_alloc(bytes, &copy))) return ldm_prefix(st, "%s", name);
    memcpy(copy, d + start + length, bytes);
    a.data = copy;
    *out = a;
    return LDM_OK;
}

ldm_status ldm_npy_read(const char *path, ldm_array *out) {
    char *data;
    size_t size;
    ldm_status st = ldm_read_file(path, (size_t)1 << 36, &data, &size);
    if (st) return st;
    st = ldm_npy_parse(data, size, path, out);
    free(data);
    return st;
}

ldm_status ldm_npy_read_f32(const char *path, ldm_array *out) {
    ldm_array a = {0};
    void *f32;
    ldm_status st = ldm_npy_read(path, &a);
    if (st) return st;
    size_t count = (size_t)ldm_shape_count(&a.shape), bytes;
    if (a.dtype != LDM_F32) {
        st = ldm_mul(count, sizeof(float), &bytes) ? ldm_alloc(bytes, &f32)
                                                   : ldm_fail(LDM_ERR_NOMEM, "%zu values are too many", count);
        if (st) {
            ldm_array_free(&a);
            return ldm_prefix(st, "%s", path);
        }
        ldm_to_f32(a.dtype, a.data, count, f32);
        free(a.data);
        a.data = f32, a.dtype = LDM_F32;
    }
    *out = a;
    return LDM_OK;
}

ldm_status ldm_npy_header(ldm_dtype t, const ldm_shape *s, ldm_text *out) {
    ldm_text head = {0};
    const char *descr = NULL;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].t == t) descr = types[i].descr;
    if (!descr) return ldm_fail(LDM_ERR_ARG, "NumPy has no element type %s", ldm_dtype_name(t));
    ldm_text_add(&head, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < s->rank; i++)
        ldm_text_add(&head, "%lld%s", (long long)s->dim[i], s->rank == 1 ? "," : i < s->rank - 1 ? ", " : "");
    ldm_text_add(&head, "), }");
    int pad = (int)(63 - (10 + head.len) % 64); /* data begins at a multiple of 64, behind a newline */
    ldm_text_add(&head, "%*s\n", pad, "");
    if (!head.s) return ldm_fail(LDM_ERR_NOMEM, "host memory for the header is not there");
    ldm_text_bytes(out, "\x93NUMPY\1\0", 8);
    ldm_text_bytes(out, (char[]){(char)head.len, (char)(head.len >> 8)}, 2);
    ldm_text_bytes(out, head.s, head.len);
    ldm_text_free(&head);
    return out->s ? LDM_OK : ldm_fail(LDM_ERR_NOMEM, "host memory for the header is not there");
}

ldm_status ldm_npy_write(const char *path, ldm_dtype t, const ldm_shape *s, const void *data) {
    ldm_status st = LDM_OK;
    ldm_text head = {0};
    ldm_outfile o = {0};
    size_t bytes;
    int64_t count = ldm_shape_count(s);
    if (count < 0 || !ldm_mul((size_t)count, ldm_dtype_size(t), &bytes))
        return ldm_fail(LDM_ERR_ARG, "%s: an array too large to count", path);
    st = ldm_npy_header(t, s, &head);
    if (st) TRY(ldm_prefix(st, "%s", path));
    TRY(ldm_outfile_open(path, &o));
    if (fwrite(head.s, 1, head.len, o.f) != head.len || fwrite(data, 1, bytes, o.f) != bytes)
        TRY(ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(errno)));
    st = ldm_outfile_commit(&o);
done:
    ldm_outfile_abandon(&o);
    ldm_text_free(&head);
    return st;
}
