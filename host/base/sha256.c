/* sha256.c -- SHA-256 (FIPS 180-4), by which files, starting latents and input pictures are named. */
#include "base/base.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t right(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void block(ldm_sha256 *s, const uint8_t *p) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, s->h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t a = v[0], e = v[4];
        uint32_t t1 = v[7] + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + k[i] + w[i];
        uint32_t t2 = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1, v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) s->h[i] += v[i];
}

void ldm_sha256_begin(ldm_sha256 *s) {
    *s = (ldm_sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void ldm_sha256_add(ldm_sha256 *s, const void *data, size_t n) {
    const uint8_t *p = data;
    size_t have = s->n % 64;
    s->n += n;
    if (have) {
        size_t take = n < 64 - have ? n : 64 - have;
        memcpy(s->part + have, p, take);
        p += take, n -= take;
        if (have + take < 64) return;
        block(s, s->part);
    }
    for (; n >= 64; p += 64, n -= 64) block(s, p);
    if (n) memcpy(s->part, p, n);
}

void ldm_sha256_end(ldm_sha256 *s, char *hex) {
    uint64_t bits = s->n * 8;
    uint8_t pad[72] = {0x80}, length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    ldm_sha256_add(s, pad, (s->n % 64 < 56 ? 56 : 120) - s->n % 64);
    ldm_sha256_add(s, length, 8);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", s->h[i]);
}

void ldm_sha256_hex(const void *data, size_t n, char *hex) {
    ldm_sha256 s;
    ldm_sha256_begin(&s);
    ldm_sha256_add(&s, data, n);
    ldm_sha256_end(&s, hex);
}

static ldm_status hash_file(const char *path, FILE *f, size_t bytes, char *hex) {
    ldm_sha256 s;
    ldm_progress bar;
    ldm_status st = LDM_OK;
    char *buf;
    enum { PART = 1 << 20 };
    if ((st = ldm_alloc(PART, (void **)&buf))) return st;
    ldm_sha256_begin(&s);
    ldm_progress_begin(&bar, "model hash", "MiB", (double)bytes / PART);
    for (size_t n; !st && (n = fread(buf, 1, PART, f)) > 0; st = ldm_check_interrupt()) {
        ldm_sha256_add(&s, buf, n);
        ldm_progress_to(&bar, (double)s.n / PART);
    }
    ldm_progress_end(&bar);
    if (!st && ferror(f)) st = ldm_fail(LDM_ERR_FORMAT, "%s: cannot be read: %s", path, strerror(errno));
    if (!st) ldm_sha256_end(&s, hex);
    free(buf);
    return st;
}

/* The cache's file is named by path, size and time of change; it holds the 64 digits. */
ldm_status ldm_sha256_file(const char *path, char *hex) {
    struct stat sb;
    char real[4096], kept[4300], *text = NULL;
    size_t n = 0;
    ldm_status st = LDM_OK;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &sb) != 0) {
        st = ldm_fail(LDM_ERR_FORMAT, "%s: cannot be opened: %s", path, strerror(errno));
        if (f) fclose(f);
        return st;
    }
    uint64_t key = ldm_hash_text(realpath(path, real) ? real : path);
    key = ldm_hash_bytes(key, &sb.st_size, sizeof sb.st_size);
    key = ldm_hash_bytes(key, &sb.st_mtim, sizeof sb.st_mtim);
    snprintf(kept, sizeof kept, "%s/hashes/%016llx", ldm_cache_dir(), (unsigned long long)key);
    if (access(kept, R_OK) == 0 && ldm_read_file(kept, 64, &text, &n) == LDM_OK && n == 64 &&
        strspn(text, "0123456789abcdef") == 64) {
        memcpy(hex, text, 65);
    } else if (!(st = hash_file(path, f, (size_t)sb.st_size, hex))) {
        char folder[4300];
        snprintf(folder, sizeof folder, "%s/hashes", ldm_cache_dir());
        if (ldm_make_dirs(folder) == LDM_OK) ldm_write_file(kept, hex, 64); /* not remembering is no failure */
    }
    free(text);
    fclose(f);
    return st;
}
