/* make_files.h -- builds checkpoints, archives, pickles, arrays and pictures in memory, right or wrong on purpose, for
 * the reader tests and the fuzzers. The pickles are written in a small assembly: see assemble(). */
#ifndef LDM_MAKE_FILES_H
#define LDM_MAKE_FILES_H

#include "base/base.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct bytes {
    uint8_t *d;
    size_t n, cap;
} bytes;

static inline void put(bytes *b, const void *data, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->d = realloc(b->d, b->cap);
        if (!b->d) abort();
    }
    if (n) memcpy(b->d + b->n, data, n);
    b->n += n;
}
static inline void put_text(bytes *b, const char *s) { put(b, s, strlen(s)); }
static inline void put_le(bytes *b, uint64_t v, int size) {
    for (int i = 0; i < size; i++) put(b, &(uint8_t){(uint8_t)(i < 8 ? v >> (8 * i) : 0)}, 1);
}
static inline void put_be32(bytes *b, uint32_t v) {
    for (int i = 3; i >= 0; i--) put(b, &(uint8_t){(uint8_t)(v >> (8 * i))}, 1);
}
static inline void set_le(bytes *b, size_t at, uint64_t v, int size) {
    for (int i = 0; i < size; i++) b->d[at + (size_t)i] = (uint8_t)(v >> (8 * i));
}
static inline void put_ramp(bytes *b, size_t n) {
    for (size_t i = 0; i < n; i++) put(b, &(uint8_t){(uint8_t)(i * 7)}, 1);
}
static inline void bytes_free(bytes *b) {
    free(b->d);
    *b = (bytes){0};
}

/* ---- safetensors ---- */

static inline bytes make_safetensors(const char *header, size_t data) {
    bytes b = {0};
    put_le(&b, strlen(header), 8);
    put_text(&b, header);
    put_ramp(&b, data);
    return b;
}
static const char *const good_safetensors =
    "{\"__metadata__\":{\"format\":\"pt\"},\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
    "\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},\"none\":{\"dtype\":\"I64\",\"shape\":[0,7],"
    "\"data_offsets\":[32,32]},\"s\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[32,34]}}  ";
enum { GOOD_SAFETENSORS_DATA = 34 };

/* ---- zip, stored ---- */

typedef struct zip_maker {
    bytes out, dir;
    int count;
    bool descriptors; /* as PyTorch writes: sizes in a data descriptor, none in the local header */
} zip_maker;

static inline void zip_add(zip_maker *z, const char *name, const void *data, size_t n) {
    uint32_t crc = (uint32_t)crc32_z(0, data, n), flags = z->descriptors ? 0x808 : 0x800;
    size_t at = z->out.n;
    put_le(&z->out, 0x04034b50, 4), put_le(&z->out, 20, 2), put_le(&z->out, flags, 2), put_le(&z->out, 0, 6);
    put_le(&z->out, z->descriptors ? 0 : crc, 4);
    put_le(&z->out, z->descriptors ? 0 : n, 4), put_le(&z->out, z->descriptors ? 0 : n, 4);
    put_le(&z->out, strlen(name), 2), put_le(&z->out, 0, 2), put_text(&z->out, name), put(&z->out, data, n);
    if (z->descriptors)
        put_le(&z->out, 0x08074b50, 4), put_le(&z->out, crc, 4), put_le(&z->out, n, 4), put_le(&z->out, n, 4);
    put_le(&z->dir, 0x02014b50, 4), put_le(&z->dir, 20, 2), put_le(&z->dir, 20, 2), put_le(&z->dir, flags, 2);
    put_le(&z->dir, 0, 6), put_le(&z->dir, crc, 4), put_le(&z->dir, n, 4), put_le(&z->dir, n, 4);
    put_le(&z->dir, strlen(name), 2), put_le(&z->dir, 0, 12), put_le(&z->dir, at, 4), put_text(&z->dir, name);
    z->count++;
}

/* The archive; the maker is spent. `wide`: with zip64 records, as PyTorch writes. */
static inline bytes zip_end(zip_maker *z, bool wide) {
    size_t at = z->out.n, n = z->dir.n;
    put(&z->out, z->dir.d, n);
    if (wide) {
        size_t record = z->out.n;
        put_le(&z->out, 0x06064b50, 4), put_le(&z->out, 44, 8), put_le(&z->out, 45, 2), put_le(&z->out, 45, 2);
        put_le(&z->out, 0, 8), put_le(&z->out, (uint64_t)z->count, 8), put_le(&z->out, (uint64_t)z->count, 8);
        put_le(&z->out, n, 8), put_le(&z->out, at, 8);
        put_le(&z->out, 0x07064b50, 4), put_le(&z->out, 0, 4), put_le(&z->out, record, 8), put_le(&z->out, 1, 4);
    }
    put_le(&z->out, 0x06054b50, 4), put_le(&z->out, 0, 4), put_le(&z->out, (uint64_t)z->count, 2);
    put_le(&z->out, (uint64_t)z->count, 2), put_le(&z->out, n, 4), put_le(&z->out, at, 4), put_le(&z->out, 0, 2);
    bytes out = z->out;
    bytes_free(&z->dir);
    *z = (zip_maker){0};
    return out;
}

/* ---- pickles ---- */

static inline void put_word(bytes *b, const char *w, size_t n) {
    char *end;
    if (w[0] == '\'') { /* 'text' */
        put_text(b, "X"), put_le(b, n - 2, 4), put(b, w + 1, n - 2);
    } else if (w[0] == '@') { /* @module.name */
        size_t dot = n;
        while (w[dot - 1] != '.') dot--;
        put_text(b, "c"), put(b, w + 1, dot - 2), put_text(b, "\n"), put(b, w + dot, n - dot), put_text(b, "\n");
    } else if (n > 2 && w[0] == '0' && w[1] == 'x') { /* 0x raw bytes */
        for (size_t i = 2; i + 1 < n; i += 2)
            put(b, &(uint8_t){(uint8_t)strtol((char[]){w[i], w[i + 1], 0}, NULL, 16)}, 1);
    } else if ((w[0] >= '0' && w[0] <= '9') || (w[0] == '-' && n > 1)) {
        long long v = strtoll(w, &end, 10);
        if (v >= 0 && v < 256) put_text(b, "K"), put_le(b, (uint64_t)v, 1);
        else put(b, "\x8a\x08", 2), put_le(b, (uint64_t)v, 8);
    } else {
        put(b, w, n); /* the opcode's own letter */
    }
}

/* Words apart by spaces: 'text' is a BINUNICODE, a number a BININT1 or LONG1, @collections.OrderedDict a GLOBAL, 0x8002
 * raw bytes, anything else the opcode letters themselves. */
static inline bytes assemble(const char *source) {
    bytes b = {0};
    for (const char *p = source; *p;) {
        size_t n = *p == '\'' ? strcspn(p + 1, "'") + 2 : strcspn(p, " ");
        if (*p != ' ') put_word(&b, p, n);
        p += *p == ' ' ? 1 : n;
    }
    return b;
}
#define P_BEGIN                 "0x8002 } ( "
#define P_END                   "u ."
#define P_DICT                  "@collections.OrderedDict ) R "
#define P_STORAGE(type, key, n) "( 'storage' @torch." type " '" key "' 'cpu' " n " t Q "
#define P_TENSOR(storage, offset, shape, stride)                                                                       \
    "@torch._utils._rebuild_tensor_v2 ( " storage offset " " shape " " stride " 0x89 " P_DICT "t R "
#define P_GOOD P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 2 4 t", "( 4 1 t")

/* archive/data.pkl with two storages of 32 and 16 bytes */
static inline bytes make_torch_of(const bytes *pickle, bool wide) {
    uint8_t data[32];
    zip_maker z = {.descriptors = wide};
    for (int i = 0; i < 32; i++) data[i] = (uint8_t)(i * 7);
    zip_add(&z, "archive/data.pkl", pickle->d, pickle->n);
    zip_add(&z, "archive/byteorder", "little", 6);
    zip_add(&z, "archive/data/0", data, 32);
    zip_add(&z, "archive/data/1", data, 16);
    zip_add(&z, "archive/version", "3\n", 2);
    return zip_end(&z, wide);
}
static inline bytes make_torch(const char *source, bool wide) {
    bytes pickle = assemble(source), out = make_torch_of(&pickle, wide);
    bytes_free(&pickle);
    return out;
}
static const char *const good_pickle =
    P_BEGIN "'state_dict' " P_DICT "( 'a' " P_GOOD
            "'b' " P_TENSOR(P_STORAGE("HalfStorage", "1", "8"), "2", "( 3 t",
                            "( 2 t") "u 'global_step' 17 'callbacks' } @pytorch_lightning.callbacks.Early } s " P_END;

/* ---- npy and png ---- */

static inline bytes make_npy(const char *header, size_t data) {
    bytes b = {0};
    put(&b, "\x93NUMPY\1\0", 8), put_le(&b, strlen(header), 2), put_text(&b, header), put_ramp(&b, data);
    return b;
}
static const char *const good_npy = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }            \n";

static inline void png_chunk(bytes *b, const char *type, const void *data, size_t n) {
    bytes c = {0};
    put(&c, type, 4), put(&c, data, n);
    put_be32(b, (uint32_t)n), put(b, c.d, c.n), put_be32(b, (uint32_t)crc32_z(0, c.d, c.n));
    bytes_free(&c);
}

/* A PNG with this header and so many bytes of rows; colour 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA. */
static inline bytes make_png(uint32_t w, uint32_t h, int depth, int colour, int interlace, size_t raw) {
    bytes b = {0}, head = {0}, rows = {0};
    put(&b, "\x89PNG\r\n\x1a\n", 8);
    put_be32(&head, w), put_be32(&head, h);
    put(&head, (uint8_t[]){(uint8_t)depth, (uint8_t)colour, 0, 0, (uint8_t)interlace}, 5);
    png_chunk(&b, "IHDR", head.d, head.n);
    if (colour == 3) png_chunk(&b, "PLTE", "\0\0\0\1\2\3\4\5\6\7\x8\x9", 12), png_chunk(&b, "tRNS", "\xff\xff", 2);
    for (size_t i = 0; i < raw; i++) put(&rows, "", 1);
    uLongf packed = compressBound((uLong)raw);
    uint8_t *z = malloc(packed);
    if (!z || compress(z, &packed, rows.d ? rows.d : (const Bytef *)"", (uLong)raw) != Z_OK) abort();
    png_chunk(&b, "IDAT", z, packed);
    png_chunk(&b, "tEXt", "Comment\0x", 9);
    png_chunk(&b, "IEND", "", 0);
    free(z), bytes_free(&head), bytes_free(&rows);
    return b;
}

#endif
