/* numbers.c -- checked sizes, memory, and random numbers that are the same on every machine. */
#include "base/base.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool ldm_mul(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool ldm_add(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

double ldm_median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

ldm_status ldm_alloc(size_t bytes, void **out) {
    size_t size;
    if (!ldm_add(bytes, 127, &size))
        return ldm_fail(LDM_ERR_NOMEM, "host memory: %zu bytes is past every limit", bytes);
    size &= ~(size_t)63;
    void *p = aligned_alloc(64, size);
    if (!p) return ldm_fail(LDM_ERR_NOMEM, "host memory: %zu bytes could not be allocated", bytes);
    memset(p, 0, size);
    *out = p;
    return LDM_OK;
}

void ldm_will_write(void *start, size_t bytes) {
#ifdef MADV_POPULATE_WRITE
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)start + page - 1) / page * page,
                    to = ((uintptr_t)start + bytes) / page * page;
    if (to > from) madvise((void *)from, to - from, MADV_POPULATE_WRITE);
#endif
}

void *ldm_huge_pages(size_t bytes) {
#ifdef MADV_HUGEPAGE
    const size_t page = (size_t)2 << 20, size = (bytes + page - 1) / page * page;
    void *p = aligned_alloc(page, size);
    if (p) madvise(p, size, MADV_HUGEPAGE);
    return p;
#else
    return NULL;
#endif
}

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014) over a Weyl sequence per stream. */
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t ldm_hash(uint64_t seed, uint64_t stream, uint64_t i) {
    return mix(mix(seed * 0x9e3779b97f4a7c15u ^ stream) + (i + 1) * 0x9e3779b97f4a7c15u);
}

uint64_t ldm_hash_bytes(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t ldm_hash_text(const char *s) { return ldm_hash_bytes(0xcbf29ce484222325u, s, strlen(s)); }

float ldm_uniform(uint64_t seed, uint64_t stream, uint64_t i) {
    return (float)(int32_t)((ldm_hash(seed, stream, i) >> 40) - 0x800000) * 0x1p-23f;
}
