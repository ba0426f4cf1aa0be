/* zip.c -- the directory of a zip archive whose entries are all stored (method 0), read in place over the mapping.
 * Written here because the zip libraries hand out decompressed copies and none tells where a stored entry lies, which
 * is what mapping tensors needs. Stored only, every entry inside the file, none overlapping: no zip bomb is possible.
 * Strict where readers are known to differ (PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4): no comment and nothing behind
 * the end record, no split archives, local headers and data descriptors agree with the directory, no name twice. */
#include "ckpt_internal.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    LOCAL = 30,
    CENTRAL = 46,
    END = 22,
    END64 = 56,
    LOCATOR64 = 20, /* sizes of the fixed records */
    FLAG_ENCRYPTED = 1,
    FLAG_DESCRIPTOR = 8,
    FLAG_STRONG = 1 << 6,
    FLAG_MASKED = 1 << 13,
    MAX_ENTRIES = 2 * CKPT_MAX_TENSORS,
};

static uint32_t u16(const uint8_t *p) { return (uint32_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

typedef struct directory {
    uint64_t count, size, offset, end; /* end: where the record behind the directory begins */
} directory;

/* The end record, and its 64-bit form where the locator announces one. */
static ldm_status find_directory(const uint8_t *data, size_t size, const char *path, directory *out) {
    if (size < END || u32(data + size - END) != 0x06054b50) {
        return BAD(
            "%s: zip: no end record in the last %d bytes; the file is cut short, or carries a comment or trailing data",
            path, END);
    }
    const uint8_t *e = data + size - END;
    if (u16(e + 20) != 0) return BAD("%s: zip: comment of %u bytes behind the end of the file", path, u16(e + 20));
    directory d = {.count = u16(e + 10), .size = u32(e + 12), .offset = u32(e + 16), .end = size - END};
    if ((u16(e + 4) && u16(e + 4) != 0xffff) || (u16(e + 6) && u16(e + 6) != 0xffff))
        return BAD("%s: zip: disk number %u, wanted an archive in one piece", path, u16(e + 4));
    if (u16(e + 8) != u16(e + 10))
        return BAD("%s: zip: %u of %u entries are on this disk", path, u16(e + 8), u16(e + 10));
    if (d.end >= LOCATOR64 && u32(e - LOCATOR64) == 0x07064b50) {
        const uint8_t *l = e - LOCATOR64;
        uint64_t at = u64(l + 8);
        if (u32(l + 4) != 0 || u32(l + 16) > 1) return BAD("%s: zip64: %u disks, wanted one", path, u32(l + 16));
        if (d.end - LOCATOR64 < END64 || at != d.end - LOCATOR64 - END64)
            return BAD("%s: zip64: end record at byte %llu, wanted right before its locator at %llu", path,
                       (unsigned long long)at, (unsigned long long)(d.end - LOCATOR64));
        const uint8_t *r = data + at;
        if (u32(r) != 0x06064b50 || u64(r + 4) != END64 - 12)
            return BAD("%s: zip64: byte %llu does not hold an end record of %d bytes", path, (unsigned long long)at,
                       END64);
        if (u32(r + 16) || u32(r + 20) || u64(r + 24) != u64(r + 32))
            return BAD("%s: zip64: archive in several pieces", path);
        directory w = {.count = u64(r + 32), .size = u64(r + 40), .offset = u64(r + 48), .end = at};
        if ((d.count != 0xffff && d.count != w.count) || (d.size != UINT32_MAX && d.size != w.size) ||
            (d.offset != UINT32_MAX && d.offset != w.offset))
            return BAD("%s: zip: the end record and its 64-bit form name different directories", path);
        d = w;
    }
    if (d.size > d.end || d.offset != d.end - d.size)
        return BAD("%s: zip: directory of %llu bytes at byte %llu, wanted it to end at byte %llu", path,
                   (unsigned long long)d.size, (unsigned long long)d.offset, (unsigned long long)d.end);
    if (d.count > d.size / CENTRAL || d.count > MAX_ENTRIES)
        return BAD("%s: zip: %llu entries, at most %d and no more than fit the directory of %llu bytes", path,
                   (unsigned long long)d.count, MAX_ENTRIES, (unsigned long long)d.size);
    *out = d;
    return LDM_OK;
}

static ldm_status check_name(const char *name, size_t n, const char *path) {
    if (n == 0 || !ldm_utf8_valid(name, n) || memchr(name, '\\', n) || name[0] == '/')
        return BAD("%s: zip: entry name '%s' is not a relative path in UTF-8", path, ckpt_show(name, n));
    for (size_t at = 0; at < n;) {
        const char *slash = memchr(name + at, '/', n - at);
        size_t len = slash ? (size_t)(slash - name) - at : n - at;
        if (len == 2 && memcmp(name + at, "..", 2) == 0)
            return BAD("%s: zip: entry name '%s' climbs out with '..'", path, ckpt_show(name, n));
        at += len + 1;
    }
    return LDM_OK;
}

/* Finds the zip64 block in an extra field; *block NULL if there is none. */
static bool find_zip64(const uint8_t *extra, size_t n, const uint8_t **block, size_t *len) {
    *block = NULL, *len = 0;
    for (size_t at = 0; at < n;) {
        if (n - at < 4 || u16(extra + at + 2) > n - at - 4) return false;
        if (u16(extra + at) == 1) {
            if (*block) return false;
            *block = extra + at + 4, *len = u16(extra + at + 2);
        }
        at += 4 + (size_t)u16(extra + at + 2);
    }
    return true;
}

/* A field that overflowed 32 bits is the next 8 bytes of the zip64 block. */
static bool widen(uint64_t *v, const uint8_t **block, size_t *len) {
    if (*v != UINT32_MAX) return true;
    if (*len < 8) return false;
    *v = u64(*block), *block += 8, *len -= 8;
    return true;
}

/* Local header against directory. `limit` is where the directory begins; *end where the entry ends, descriptor and all.
 */
static ldm_status check_local(const uint8_t *data, uint64_t limit, const uint8_t *central, const char *path,
                              zip_entry *e, uint64_t *end) {
    const char *shown = ckpt_show(e->name, e->name_len);
    if (e->header > limit || limit - e->header < LOCAL || u32(data + e->header) != 0x04034b50)
        return BAD("%s: zip: entry %s: no local header at byte %zu", path, shown, e->header);
    const uint8_t *l = data + e->header;
    uint64_t name_n = u16(l + 26), extra_n = u16(l + 28), room = limit - e->header - LOCAL;
    if (name_n + extra_n > room || e->size > room - name_n - extra_n)
        return BAD("%s: zip: entry %s: %zu bytes at byte %zu reach past the last entry's end at byte %llu", path, shown,
                   e->size, e->header, (unsigned long long)limit);
    if (name_n != e->name_len || memcmp(l + LOCAL, e->name, e->name_len) != 0)
        return BAD("%s: zip: entry %s is named '%s' in its local header", path, shown, ckpt_show(l + LOCAL, name_n));
    if (u16(l + 6) != u16(central + 8) || u16(l + 8) != u16(central + 10))
        return BAD("%s: zip: entry %s: flags or method differ between directory and local header", path, shown);
    uint64_t stored = u32(l + 18), full = u32(l + 22);
    const uint8_t *block;
    size_t len;
    if (!find_zip64(l + LOCAL + name_n, extra_n, &block, &len))
        return BAD("%s: zip: entry %s: broken extra field", path, shown);
    if (block && (!widen(&full, &block, &len) || !widen(&stored, &block, &len)))
        return BAD("%s: zip64: entry %s: the local header's 64-bit sizes are missing", path, shown);
    e->data = l + LOCAL + name_n + extra_n;
    const uint8_t *after = e->data + e->size;
    bool descriptor = u16(l + 6) & FLAG_DESCRIPTOR, unset = descriptor && u32(l + 14) == 0 && stored == 0 && full == 0;
    if (!unset && (u32(l + 14) != e->crc || stored != e->size || full != e->size))
        return BAD("%s: zip: entry %s: directory says %zu bytes with CRC %08x, local header %llu with %08x", path,
                   shown, e->size, (unsigned)e->crc, (unsigned long long)full, (unsigned)u32(l + 14));
    uint64_t left = limit - (uint64_t)(after - data);
    *end = (uint64_t)(after - data);
    if (descriptor) { /* [signature] CRC, sizes of 4 or 8 bytes: the low half is enough to find a lie */
        size_t skip = left >= 4 && u32(after) == 0x08074b50 ? 4 : 0;
        if (left < skip + 12 || u32(after + skip) != e->crc || u32(after + skip + 4) != (uint32_t)e->size)
            return BAD("%s: zip: entry %s: the data descriptor behind it differs from the directory", path, shown);
        *end += skip + 12;
    }
    return LDM_OK;
}

typedef struct extent {
    uint64_t begin, end;
} extent;

static int by_begin(const void *a, const void *b) {
    const extent *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int compare_name(const char *a, size_t a_n, const char *b, size_t b_n) {
    int order = memcmp(a, b, a_n < b_n ? a_n : b_n);
    return order ? order : a_n < b_n ? -1 : a_n > b_n;
}

static int by_name(const void *a, const void *b) {
    const zip_entry *x = a, *y = b;
    return compare_name(x->name, x->name_len, y->name, y->name_len);
}

/* One directory record at *at, moved past it. */
static ldm_status read_entry(const uint8_t *data, const directory *d, uint64_t *at, const char *path, zip_entry *e,
                             extent *x) {
    ldm_status st;
    const uint8_t *c = data + *at, *block;
    uint64_t left = d->end - *at;
    if (left < CENTRAL || u32(c) != 0x02014b50)
        return BAD("%s: zip: no directory record at byte %llu", path, (unsigned long long)*at);
    uint32_t name_n = u16(c + 28), extra_n = u16(c + 30), comment_n = u16(c + 32);
    size_t len;
    if (name_n + extra_n + comment_n > left - CENTRAL)
        return BAD("%s: zip: directory record at byte %llu reaches past the directory", path, (unsigned long long)*at);
    *e = (zip_entry){.name = (const char *)c + CENTRAL, .name_len = name_n, .crc = u32(c + 16)};
    if ((st = check_name(e->name, name_n, path))) return st;
    const char *shown = ckpt_show(e->name, name_n);
    if (u16(c + 8) & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_MASKED))
        return BAD("%s: zip: entry %s is encrypted", path, shown);
    if (u16(c + 10) != 0)
        return BAD("%s: zip: entry %s is compressed (method %u), wanted stored entries as PyTorch writes them", path,
                   shown, u16(c + 10));
    uint64_t stored = u32(c + 20), full = u32(c + 24), header = u32(c + 42);
    if (!find_zip64(c + CENTRAL + name_n, extra_n, &block, &len) || !widen(&full, &block, &len) ||
        !widen(&stored, &block, &len) || !widen(&header, &block, &len))
        return BAD("%s: zip: entry %s: broken extra field, or 64-bit sizes missing from it", path, shown);
    if (stored != full)
        return BAD("%s: zip: entry %s: %llu bytes stored for %llu", path, shown, (unsigned long long)stored,
                   (unsigned long long)full);
    if (full > d->offset || header > d->offset)
        return BAD("%s: zip: entry %s: %llu bytes at byte %llu, but entries end at byte %llu", path, shown,
                   (unsigned long long)full, (unsigned long long)header, (unsigned long long)d->offset);
    e->size = (size_t)full, e->header = (size_t)header;
    x->begin = header;
    if ((st = check_local(data, d->offset, c, path, e, &x->end))) return st;
    *at += CENTRAL + name_n + extra_n + comment_n;
    return LDM_OK;
}

ldm_status zip_open(const uint8_t *data, size_t size, const char *path, zip_dir *out) {
    ldm_status st = LDM_OK;
    directory d = {0};
    zip_dir z = {0};
    extent *extents = NULL;
    if ((st = find_directory(data, size, path, &d))) return st;
    z.count = (size_t)d.count;
    z.entries = malloc((z.count + 1) * sizeof *z.entries);
    extents = malloc((z.count + 1) * sizeof *extents);
    if (!z.entries || !extents)
        TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for %zu zip entries is not there", path, z.count));
    uint64_t at = d.offset;
    for (size_t i = 0; i < z.count; i++) TRY(read_entry(data, &d, &at, path, &z.entries[i], &extents[i]));
    if (at != d.end)
        TRY(BAD("%s: zip: the directory has %llu bytes behind its last record", path,
                (unsigned long long)(d.end - at)));
    qsort(extents, z.count, sizeof *extents, by_begin);
    for (size_t i = 1; i < z.count; i++)
        if (extents[i].begin < extents[i - 1].end)
            TRY(BAD("%s: zip: entries at bytes %llu and %llu overlap", path, (unsigned long long)extents[i - 1].begin,
                    (unsigned long long)extents[i].begin));
    qsort(z.entries, z.count, sizeof *z.entries, by_name);
    for (size_t i = 1; i < z.count; i++)
        if (by_name(&z.entries[i - 1], &z.entries[i]) == 0)
            TRY(BAD("%s: zip: entry %s is there twice", path, ckpt_show(z.entries[i].name, z.entries[i].name_len)));
    *out = z;
    z.entries = NULL;
done:
    free(extents);
    free(z.entries);
    return st;
}

void zip_close(zip_dir *z) {
    free(z->entries);
    *z = (zip_dir){0};
}

const zip_entry *zip_find(const zip_dir *z, const char *name, size_t n) {
    size_t lo = 0, hi = z->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = compare_name(name, n, z->entries[mid].name, z->entries[mid].name_len);
        if (order == 0) return &z->entries[mid];
        if (order < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

ldm_status zip_check_crc(const zip_entry *e, const char *path) {
    uLong crc = crc32_z(0, e->data, e->size);
    if (crc == e->crc) return LDM_OK;
    return BAD("%s: zip: entry %s: CRC is %08lx, the directory says %08x", path, ckpt_show(e->name, e->name_len), crc,
               (unsigned)e->crc);
}
