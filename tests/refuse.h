/* refuse.h -- for tests of wrong files. Each must be refused with LDM_ERR_FORMAT and one sentence that says why, within
 * 50 ms of processor time and 16 MiB of further memory; files changed at random may also be right, but never worse than
 * refused. */
#ifndef LDM_REFUSE_H
#define LDM_REFUSE_H

#include "test.h"
#include "ckpt/ckpt.h"
#include "io/io.h"
#include "make_files.h"
#include <sys/resource.h>
#include <time.h>

#ifdef __SANITIZE_ADDRESS__
enum { SLOWER = 20, LIMIT_MEMORY = 0 };
#else
enum { SLOWER = 1, LIMIT_MEMORY = 1 };
#endif

static inline double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* From here on, or until the next call, the process may grow by `mib` (0: without limit). */
static inline void limit_memory(size_t mib) {
    struct rlimit r;
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || !LIMIT_MEMORY || fscanf(f, "%lu", &pages) != 1) mib = 0;
    if (f) fclose(f);
    getrlimit(RLIMIT_AS, &r);
    r.rlim_cur = mib ? pages * 4096 + (mib << 20) : r.rlim_max;
    setrlimit(RLIMIT_AS, &r);
}

typedef enum format { CKPT, NPY, PNG, PICTURE, PNG_TEXT } format; /* PICTURE: PNG or JPEG, with EXIF */

/* Reads every element of what was accepted, so that a sanitizer or a fault shows a pointer that is wrong. */
static inline ldm_status parse(format f, const bytes *b) {
    ldm_status st;
    if (f == CKPT) {
        ldm_ckpt *c = NULL;
        if ((st = ldm_ckpt_parse(b->d, b->n, "file", &c))) return st;
        for (int i = 0; i < ldm_ckpt_count(c); i++) {
            const ldm_ckpt_tensor *t = ldm_ckpt_at(c, i);
            size_t n = (size_t)ldm_shape_count(&t->shape);
            CHECK(n <= b->n && ldm_ckpt_find(c, t->name) == t, "tensor %s of %zu elements in %zu bytes", t->name, n,
                  b->n);
            float *v = n <= b->n ? malloc(n * sizeof *v + 1) : NULL;
            if (v) ldm_ckpt_load_f32(t, v);
            free(v);
        }
        ldm_ckpt_close(c);
    } else if (f == NPY) {
        ldm_array a = {0};
        if ((st = ldm_npy_parse(b->d, b->n, "file", &a))) return st;
        ldm_array_free(&a);
    } else if (f == PNG_TEXT) {
        ldm_png_texts t = {0};
        if ((st = ldm_png_parse_text(b->d, b->n, "file", &t))) return st;
        for (int i = 0; i < 2 * t.count; i++) CHECK(ldm_utf8_valid(t.pairs[i], strlen(t.pairs[i])), "text %d is not UTF-8", i);
        ldm_png_texts_free(&t);
    } else {
        ldm_image im = {0};
        if ((st = (f == PNG ? ldm_png_parse : ldm_picture_parse)(b->d, b->n, "file", &im))) return st;
        ldm_image_free(&im);
    }
    return LDM_OK;
}

/* Takes the bytes. `why` must be in the sentence. */
static inline void refuse(format f, const char *name, bytes b, const char *why) {
    /* a copy of exactly this size, so that a sanitizer sees every read past the end */
    uint8_t *exact = malloc(b.n ? b.n : 1);
    if (b.n) memcpy(exact, b.d, b.n);
    size_t n = b.n;
    bytes_free(&b);
    b = (bytes){.d = exact, .n = n};
    limit_memory(16);
    double start = cpu_seconds();
    ldm_status st = parse(f, &b);
    double took = cpu_seconds() - start;
    limit_memory(0);
    CHECK(st == LDM_ERR_FORMAT && ldm_exit_status(st) == 2, "%s: status %d (%s)", name, st,
          st ? ldm_message() : "accepted");
    CHECK(st == LDM_OK || (strstr(ldm_message(), why) && !strchr(ldm_message(), '\n')), "%s: '%s' does not say '%s'",
          name, ldm_message(), why);
    CHECK(took < 0.05 * SLOWER, "%s: took %.3f s", name, took);
    bytes_free(&b);
}

/* Changes every byte in [first, last) of `b` in turn, `seeds` times over, and parses: refused or accepted, nothing
 * else. Returns the number refused. */
static inline int change_every_byte(format f, bytes *b, size_t first, size_t last, uint64_t seeds) {
    int refused = 0;
    for (uint64_t seed = 0; seed < seeds; seed++)
        for (size_t i = first; i < last; i++) {
            uint8_t was = b->d[i];
            b->d[i] ^= (uint8_t)(1 + ldm_hash(seed, 0, i) % 255);
            ldm_status st = parse(f, b);
            CHECK(st == LDM_OK || st == LDM_ERR_FORMAT, "byte %zu: status %d: %s", i, st, ldm_message());
            refused += st != LDM_OK;
            b->d[i] = was;
        }
    return refused;
}

/* Every proper prefix of `b` must be refused. */
static inline void cut_everywhere(format f, const bytes *b) {
    for (size_t n = 0; n < b->n; n++) {
        bytes cut = {0};
        put(&cut, b->d, n);
        refuse(f, "cut short", cut, "file");
    }
}

#endif
