/* png_text.c -- the texts and the EXIF block of a PNG file, chunk by chunk (PNG specification, 11.3.4): every length is held
 * against what is left of the file, every checksum checked, every text unpacked with a limit. */
#include "io/picture.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_TEXT = 1 << 20, MAX_TEXTS = 64 };

typedef struct chunk {
    char type[5];
    const uint8_t *data;
    size_t size;
    bool sound; /* its checksum is right */
} chunk;

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The chunk at *at, which moves behind it; false at IEND, at the end and where the rest is no chunk. */
static bool next_chunk(const uint8_t *file, size_t size, size_t *at, chunk *c) {
    if (size < 12 || *at > size - 12) return false;
    const uint8_t *p = file + *at;
    uint32_t n = be32(p);
    if (n > size - *at - 12) return false;
    memcpy(c->type, p + 4, 4), c->type[4] = 0;
    c->data = p + 8, c->size = n;
    c->sound = crc32_z(0, p + 4, (size_t)n + 4) == be32(p + 8 + n);
    *at += (size_t)n + 12;
    return strcmp(c->type, "IEND") != 0;
}

void ldm_png_find_exif(const void *data, size_t size, const uint8_t **exif, size_t *bytes) {
    chunk c;
    *exif = NULL, *bytes = 0;
    for (size_t at = 8; next_chunk(data, size, &at, &c);)
        if (!strcmp(c.type, "eXIf") && c.sound) {
            *exif = c.data, *bytes = c.size;
            return;
        }
}

/* Latin-1 as UTF-8; what is UTF-8 already, as stable-diffusion.cpp writes its tEXt, stays: letters of Latin-1 that happen to be
 * UTF-8 are no text. */
static void add_latin1(ldm_text *t, const uint8_t *p, size_t n) {
    if (ldm_utf8_valid(p, n)) {
        ldm_text_bytes(t, p, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (p[i] < 128) ldm_text_bytes(t, p + i, 1);
        else ldm_text_bytes(t, (uint8_t[]){(uint8_t)(0xc0 | p[i] >> 6), (uint8_t)(0x80 | (p[i] & 63))}, 2);
}

/* zlib's stream p[n] into `out`, at most MAX_TEXT bytes of it. */
static ldm_status unpack(const char *name, const uint8_t *p, size_t n, ldm_text *out) {
    z_stream z = {.next_in = (Bytef *)p, .avail_in = (uInt)n};
    uint8_t part[4096];
    int rc = inflateInit(&z);
    if (rc != Z_OK) return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for zlib is not there", name);
    ldm_text_bytes(out, "", 0);
    while (rc == Z_OK) {
        z.next_out = part, z.avail_out = sizeof part;
        rc = inflate(&z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END) break;
        ldm_text_bytes(out, part, sizeof part - z.avail_out);
        if (out->len > MAX_TEXT) break;
        if (rc == Z_OK && z.avail_out && !z.avail_in) break; /* cut short */
    }
    inflateEnd(&z);
    if (out->len > MAX_TEXT)
        return ldm_fail(LDM_ERR_FORMAT, "%s: a packed text of more than %d bytes", name, MAX_TEXT);
    return rc == Z_STREAM_END ? LDM_OK : ldm_fail(LDM_ERR_FORMAT, "%s: a packed text that does not unpack", name);
}

/* Bytes up to the next NUL from *at on, which moves behind it; NULL if there is none. */
static const char *field(const chunk *c, size_t *at) {
    const uint8_t *from = c->data + *at, *nul = memchr(from, 0, c->size - *at);
    if (!nul) return NULL;
    *at = (size_t)(nul - c->data) + 1;
    return (const char *)from;
}

static ldm_status take_text(const char *name, const chunk *c, ldm_text *key, ldm_text *value) {
    size_t at = 0;
    const char *keyword = c->size ? field(c, &at) : NULL;
    bool zip = !strcmp(c->type, "zTXt"), utf8 = !strcmp(c->type, "iTXt");
    ldm_text packed = {0};
    ldm_status st = LDM_OK;
    bool plain = keyword && at >= 2 && at <= 80;
    for (size_t i = 0; plain && i < at - 1; i++) plain = (c->data[i] & 0x7f) >= 32 && c->data[i] != 127;
    if (!plain)
        return ldm_fail(LDM_ERR_FORMAT, "%s: %s chunk without a keyword of 1 to 79 printable characters", name, c->type);
    add_latin1(key, (const uint8_t *)keyword, at - 1);
    if (zip || utf8) { /* compression [flag and] method, and two fields that are not for us */
        size_t head = zip ? 1 : 2;
        if (c->size - at < head) return ldm_fail(LDM_ERR_FORMAT, "%s: %s chunk is cut short", name, c->type);
        if (utf8) zip = c->data[at] == 1;
        if ((zip || !utf8) && c->data[at + head - 1] != 0)
            return ldm_fail(LDM_ERR_FORMAT, "%s: text packed by method %d, wanted 0", name, c->data[at + head - 1]);
        at += head;
        if (utf8 && (!field(c, &at) || !field(c, &at)))
            return ldm_fail(LDM_ERR_FORMAT, "%s: iTXt chunk is cut short", name);
    }
    const uint8_t *text = c->data + at;
    size_t n = c->size - at;
    if (zip) {
        TRY(unpack(name, text, n, &packed));
        text = (const uint8_t *)packed.s, n = packed.len;
    }
    if (n > MAX_TEXT)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: a text of %zu bytes, at most %d are read", name, n, MAX_TEXT));
    if (utf8 ? !ldm_utf8_valid(text, n) : memchr(text, 0, n) != NULL)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: the text '%s' is not %s", name, key->s ? key->s : "",
                     utf8 ? "UTF-8" : "Latin-1"));
    if (utf8) ldm_text_bytes(value, text, n);
    else ldm_text_bytes(value, "", 0), add_latin1(value, text, n);
done:
    ldm_text_free(&packed);
    return st;
}

ldm_status ldm_png_parse_text(const void *data, size_t size, const char *name, ldm_png_texts *out) {
    ldm_png_texts t = {0};
    ldm_text key = {0}, value = {0};
    ldm_status st = LDM_OK;
    chunk c = {0};
    if (size < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0)
        return ldm_fail(LDM_ERR_FORMAT, "%s: is not a PNG picture", name);
    TRY(ldm_alloc((2 * MAX_TEXTS + 1) * sizeof *t.pairs, (void **)&t.pairs));
    for (size_t at = 8; next_chunk(data, size, &at, &c);) {
        if (strcmp(c.type, "tEXt") && strcmp(c.type, "zTXt") && strcmp(c.type, "iTXt")) continue;
        if (!c.sound) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: %s chunk with a wrong checksum", name, c.type));
        if (t.count == MAX_TEXTS) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: more than %d texts", name, MAX_TEXTS));
        TRY(take_text(name, &c, &key, &value));
        if (!key.s || !value.s) TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its texts is not there", name));
        t.pairs[2 * t.count] = key.s, t.pairs[2 * t.count + 1] = value.s, t.count++;
        key = value = (ldm_text){0};
    }
    if (strcmp(c.type, "IEND") != 0)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: PNG: the file is cut short", name));
    *out = t, t = (ldm_png_texts){0};
done:
    ldm_text_free(&key), ldm_text_free(&value);
    ldm_png_texts_free(&t);
    return st;
}

ldm_status ldm_png_read_text(const char *path, ldm_png_texts *out) {
    char *data;
    size_t size;
    ldm_status st = ldm_read_file(path, LDM_PICTURE_BYTES, &data, &size);
    if (st) return st;
    st = ldm_png_parse_text(data, size, path, out);
    free(data);
    return st;
}

const char *ldm_png_text(const ldm_png_texts *t, const char *keyword) {
    for (int i = 0; i < t->count; i++)
        if (!strcmp(t->pairs[2 * i], keyword)) return t->pairs[2 * i + 1];
    return NULL;
}

void ldm_png_texts_free(ldm_png_texts *t) {
    for (int i = 0; t->pairs && i < 2 * t->count; i++) free(t->pairs[i]);
    free(t->pairs);
    *t = (ldm_png_texts){0};
}
