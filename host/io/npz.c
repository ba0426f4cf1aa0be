/* npz.c -- one array as a stored NumPy .npz (a zip with one entry, PKWARE APPNOTE 4.3; numpy/lib/npyio.py), written piece by
 * piece. Sizes are known from the shape, and stand in zip64 fields whatever they are; the checksum is filled in at the end. */
#include "io/io.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LOCAL = 30, ZIP64_LOCAL = 20, CRC_AT = 14 };

struct ldm_npz {
    ldm_outfile o;
    char entry[80];
    uint64_t total, done; /* bytes of the entry: header and elements */
    uint32_t crc;
};

static void put(ldm_text *t, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) ldm_text_bytes(t, (uint8_t[]){(uint8_t)(v >> (8 * i))}, 1);
}

/* What both headers of the entry say from "version needed" to the lengths of name and extra field. */
static void put_common(ldm_text *t, const ldm_npz *z, int extra) {
    put(t, 45, 2), put(t, 0, 2), put(t, 0, 2); /* version, flags, stored */
    put(t, 0, 2), put(t, 0x21, 2);             /* 1980-01-01: same bytes for the same array */
    put(t, z->crc, 4), put(t, UINT32_MAX, 4), put(t, UINT32_MAX, 4);
    put(t, strlen(z->entry), 2), put(t, (uint64_t)extra, 2);
}

static void put_zip64(ldm_text *t, const ldm_npz *z, bool central) {
    put(t, 1, 2), put(t, central ? 24 : 16, 2), put(t, z->total, 8), put(t, z->total, 8);
    if (central) put(t, 0, 8); /* the entry begins the file */
}

static ldm_status emit(ldm_npz *z, const void *data, size_t n) {
    if (fwrite(data, 1, n, z->o.f) == n) return LDM_OK;
    return ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", z->o.path, strerror(errno ? errno : EIO));
}

static ldm_status emit_text(ldm_npz *z, const ldm_text *t) {
    return t->s ? emit(z, t->s, t->len) : ldm_fail(LDM_ERR_NOMEM, "%s: host memory for a header is not there", z->o.path);
}

ldm_status ldm_npz_create(const char *path, const char *array, ldm_dtype t, const ldm_shape *s, ldm_npz **out) {
    ldm_status st = LDM_OK;
    ldm_npz *z = NULL;
    ldm_text head = {0}, local = {0};
    size_t bytes = 0;
    int64_t count = ldm_shape_count(s);
    if (count < 0 || !ldm_mul((size_t)count, ldm_dtype_size(t), &bytes))
        return ldm_fail(LDM_ERR_ARG, "%s: an array too large to count", path);
    TRY(ldm_alloc(sizeof *z, (void **)&z));
    snprintf(z->entry, sizeof z->entry, "%s.npy", array);
    TRY(ldm_npy_header(t, s, &head));
    z->total = head.len + bytes;
    TRY(ldm_outfile_open(path, &z->o));
    put(&local, 0x04034b50, 4), put_common(&local, z, ZIP64_LOCAL);
    ldm_text_add(&local, "%s", z->entry);
    put_zip64(&local, z, false);
    TRY(emit_text(z, &local));
    TRY(ldm_npz_write(z, head.s, head.len));
    *out = z, z = NULL;
done:
    ldm_text_free(&head), ldm_text_free(&local);
    ldm_npz_destroy(z);
    return st;
}

ldm_status ldm_npz_write(ldm_npz *z, const void *data, size_t bytes) {
    if (bytes > z->total - z->done)
        return ldm_fail(LDM_ERR_ARG, "%s: %zu bytes too many for the array", z->o.path, (size_t)(bytes - (z->total - z->done)));
    z->crc = (uint32_t)crc32_z(z->crc, data, bytes);
    z->done += bytes;
    return emit(z, data, bytes);
}

ldm_status ldm_npz_commit(ldm_npz *z) {
    ldm_status st = LDM_OK;
    ldm_text dir = {0}, end = {0}, crc = {0};
    uint64_t at = LOCAL + strlen(z->entry) + ZIP64_LOCAL + z->total;
    if (z->done != z->total)
        return ldm_fail(LDM_ERR_ARG, "%s: %llu of the array's %llu bytes were written", z->o.path,
                        (unsigned long long)z->done, (unsigned long long)z->total);
    put(&dir, 0x02014b50, 4), put(&dir, 45, 2), put_common(&dir, z, 28);
    put(&dir, 0, 2), put(&dir, 0, 2), put(&dir, 0, 2), put(&dir, 0, 4), put(&dir, UINT32_MAX, 4);
    ldm_text_add(&dir, "%s", z->entry);
    put_zip64(&dir, z, true);
    put(&end, 0x06064b50, 4), put(&end, 44, 8), put(&end, 45, 2), put(&end, 45, 2), put(&end, 0, 4), put(&end, 0, 4);
    put(&end, 1, 8), put(&end, 1, 8), put(&end, dir.len, 8), put(&end, at, 8);
    put(&end, 0x07064b50, 4), put(&end, 0, 4), put(&end, at + dir.len, 8), put(&end, 1, 4);
    put(&end, 0x06054b50, 4), put(&end, 0, 2), put(&end, 0, 2), put(&end, UINT16_MAX, 2), put(&end, UINT16_MAX, 2);
    put(&end, UINT32_MAX, 4), put(&end, UINT32_MAX, 4), put(&end, 0, 2);
    put(&crc, z->crc, 4);
    TRY(emit_text(z, &dir));
    TRY(emit_text(z, &end));
    if (fseeko(z->o.f, CRC_AT, SEEK_SET) != 0)
        TRY(ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", z->o.path, strerror(errno)));
    TRY(emit_text(z, &crc));
    st = ldm_outfile_commit(&z->o);
done:
    ldm_text_free(&dir), ldm_text_free(&end), ldm_text_free(&crc);
    return st;
}

void ldm_npz_destroy(ldm_npz *z) {
    if (!z) return;
    ldm_outfile_abandon(&z->o);
    free(z);
}
