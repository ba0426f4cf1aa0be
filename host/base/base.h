/* base.h -- what every room needs and what knows nothing of OpenCL or models:
 *   status + one sentence, log and progress, clock, checked sizes, dtypes, shapes, a counter RNG, growable text, user
 *   folders.
 * Errors: every fallible function returns ldm_status; results come through out-parameters, which are untouched on
 * failure. The sentence that goes with a failure is thread-local and is read with ldm_message(). Libraries never print
 * or exit; only app/, tests/ and bench/ do. */
#ifndef LDM_BASE_H
#define LDM_BASE_H

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- status ------------------------------------------------------------------------------------------------------ */

typedef enum ldm_status {
    LDM_OK = 0,
    LDM_ERR_ARG = -1,         /* the caller or the command line asked for something that cannot be */
    LDM_ERR_FORMAT = -2,      /* an input file is missing, unreadable, malformed or of another family */
    LDM_ERR_UNSUPPORTED = -3, /* this implementation or device cannot run it: an answer, not a fault */
    LDM_ERR_CL = -4,          /* OpenCL said no */
    LDM_ERR_BUILD = -5,       /* a kernel did not compile; the sentence carries kernel, options and log */
    LDM_ERR_MISMATCH = -6,    /* a device's result is outside its bound, or two things differ that must not */
    LDM_ERR_NONFINITE = -7,   /* NaN or infinity where numbers must be */
    LDM_ERR_IO = -8,          /* an output could not be written */
    LDM_ERR_NOMEM = -9,       /* the memory plan does not fit, or the host is out of memory */
    LDM_ERR_INTERRUPTED = -10 /* SIGINT or SIGTERM */
} ldm_status;

/* The process exit status that goes with a status:
 * 0 ok, 1 usage, 2 input file, 3 device, 4 non-finite, 5 output, 6 memory, 130/143 interrupted. */
int ldm_exit_status(ldm_status s);

/* Stores one sentence (what, what was found, what was wanted; no newline) and returns `s`. */
ldm_status ldm_fail_at(const char *file, int line, ldm_status s, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#define ldm_fail(s, ...) ldm_fail_at(__FILE__, __LINE__, (s), __VA_ARGS__)

/* Puts "<fmt>: " in front of the stored sentence while unwinding; returns `s` (does nothing when s is LDM_OK). */
ldm_status ldm_prefix(ldm_status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *ldm_message(void); /* the last sentence of this thread; "" before the first failure */
const char *ldm_where(void);   /* "file:line" of the ldm_fail that stored it */

/* In functions with `ldm_status st = LDM_OK;` and one label `done:` that frees what is owned. */
#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        if ((st = (expr)) != LDM_OK) goto done;                                                                        \
    } while (0)

/* ---- log, progress, clock, interrupts ---------------------------------------------------------------------------- */

extern bool ldm_quiet; /* -q: no progress, no notes */

void ldm_note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a line on stderr unless quiet */

/* Progress of anything that may take over a second: rate and ETA on stderr, only when stderr is a terminal, at most ten
 * redraws a second, nothing in the first half second. `what` is borrowed until the end. */
typedef struct ldm_progress {
    const char *what, *unit;
    double total, done, start, drawn;
    bool shown;
} ldm_progress;
void ldm_progress_begin(ldm_progress *p, const char *what, const char *unit, double total);
void ldm_progress_to(ldm_progress *p, double done);
void ldm_progress_end(ldm_progress *p);

double ldm_now(void); /* seconds, monotonic */

extern volatile sig_atomic_t ldm_interrupted; /* the signal number once SIGINT or SIGTERM came, else 0 */
void ldm_catch_signals(void);                 /* first signal sets the flag, the second one exits at once */
ldm_status ldm_check_interrupt(void);         /* LDM_ERR_INTERRUPTED once a signal came */

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

bool ldm_mul(size_t a, size_t b, size_t *out); /* false on overflow, *out untouched */
bool ldm_add(size_t a, size_t b, size_t *out);
static inline int64_t ldm_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t ldm_round_up(int64_t a, int64_t b) { return ldm_ceil_div(a, b) * b; }

/* Of a function with loops that count: on x86 one program holds it for each generation of vectors, with the same results. */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__ && !defined __SANITIZE_ADDRESS__
#define LDM_WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LDM_WIDEST
#endif

double ldm_median(double *v, int n); /* of n > 0 values, which it puts in order; the mean of the middle two if n is even */
/* malloc-family with a sentence; *out untouched on failure. Zeroed, aligned to 64 bytes, freed with free(). */
ldm_status ldm_alloc(size_t bytes, void **out);

/* A hint that all of this is about to be written: its pages come by one call instead of a fault each. */
void ldm_will_write(void *start, size_t bytes);

/* At least so many bytes in huge pages, as far as the system has them; to be freed. NULL where it knows none. */
void *ldm_huge_pages(size_t bytes);

/* ---- dtypes and shapes ------------------------------------------------------------------------------------------- */

typedef enum ldm_dtype {
    LDM_F32,
    LDM_F16,
    LDM_BF16,
    LDM_F64,
    LDM_I32,
    LDM_I64,
    LDM_U8,
    LDM_I8,
    LDM_I16,
    LDM_BOOL,
    LDM_Q8_0, /* blocks of 32 values: see below */
    LDM_DTYPES
} ldm_dtype;

size_t ldm_dtype_size(ldm_dtype t); /* bytes of one element; 0 for q8_0, which has none of its own */
size_t ldm_dtype_bytes(ldm_dtype t, int64_t n); /* bytes of n elements, for q8_0 a multiple of LDM_Q8_BLOCK */
const char *ldm_dtype_name(ldm_dtype t); /* "f32" */
bool ldm_dtype_parse(const char *s, size_t len, ldm_dtype *out);
/* "f32", or "f32*q8_0" where weights are stored otherwise than activations. */
bool ldm_dtypes_parse(const char *s, size_t len, ldm_dtype *dtype, ldm_dtype *wdtype);
double ldm_dtype_unit(ldm_dtype t); /* unit round-off u: f32 2^-24, f16 2^-11, bf16 2^-8, f64 2^-53, integers 0 */
double ldm_dtype_tiny(ldm_dtype t); /* half the smallest denormal */

float ldm_f16_to_f32(uint16_t h); /* exact */
uint16_t ldm_f32_to_f16(float f); /* nearest even, overflow to infinity, NaN stays NaN */
float ldm_bf16_to_f32(uint16_t h);
uint16_t ldm_f32_to_bf16(float f);
void ldm_to_f32(ldm_dtype t, const void *src, size_t n, float *dst); /* src may be unaligned */
void ldm_from_f32(ldm_dtype t, const float *src, size_t n,
                  void *dst);                          /* integers: rounded to nearest even, saturated */
void ldm_round_to(ldm_dtype t, float *data, size_t n); /* what storing as t and loading again gives */

/* q8_0: 32 values w along a reduced axis as one f16 scale, max|w| / 127, and 32 whole numbers -127..127, w / scale, both
 * rounded to nearest even. scale * number is exact in f32, and |w - scale * number| <= scale / 2; where the scale is
 * denormal (max|w| below 127 * 2^-14) up to 127 * 2^-25 more. Where the scale overflows (max|w| of
 * 8,321,040 and above) it is infinite, and what comes back is not finite. As bytes: the scale, then the numbers, 34. */
enum { LDM_Q8_BLOCK = 32, LDM_Q8_BYTES = 34 };
void ldm_q8_encode(const float *w, int64_t step, uint16_t *scale, int8_t *q); /* of w[0], w[step], ... w[31 step] */


enum { LDM_MAX_RANK = 8 };
typedef struct ldm_shape {
    int rank;
    int64_t dim[LDM_MAX_RANK];
} ldm_shape;
ldm_shape ldm_shape_of(int rank, ...);       /* int64_t each */
int64_t ldm_shape_count(const ldm_shape *s); /* product; -1 on overflow or a negative dimension */
bool ldm_shape_equal(const ldm_shape *a, const ldm_shape *b);
const char *ldm_shape_text(const ldm_shape *s, char *buf, size_t cap); /* "[320, 4, 3, 3]" */
/* ldm_round_to for a tensor: where t comes in blocks they lie along the second axis, the inputs of a weight [out, in, ..],
 * of which there must be whole blocks. */
void ldm_round_tensor(ldm_dtype t, const ldm_shape *s, float *data);

/* ---- numbers that are the same on every machine ------------------------------------------------------------------ */

/* Counter based: value i of stream (seed, stream) depends on nothing else. */
uint64_t ldm_hash(uint64_t seed, uint64_t stream, uint64_t i);
uint64_t ldm_hash_text(const char *s); /* FNV-1a, for naming streams */
uint64_t ldm_hash_bytes(uint64_t h, const void *data,
                        size_t n); /* continue a FNV-1a hash; start with ldm_hash_text("") */
/* SHA-256, as 64 lower-case hexadecimal digits and a NUL. */
typedef struct ldm_sha256 {
    uint32_t h[8];
    uint64_t n;
    uint8_t part[64];
} ldm_sha256;
enum { LDM_SHA256_HEX = 65 };
void ldm_sha256_begin(ldm_sha256 *s);
void ldm_sha256_add(ldm_sha256 *s, const void *data, size_t n);
void ldm_sha256_end(ldm_sha256 *s, char *hex);
void ldm_sha256_hex(const void *data, size_t n, char *hex);
/* Of a file; remembered in the cache folder by path, size and time of change, since models are large. */
ldm_status ldm_sha256_file(const char *path, char *hex);

float ldm_uniform(uint64_t seed, uint64_t stream, uint64_t i); /* [-1, 1), a multiple of 2^-23: exact in f32 */

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Growable text; starts as {0}, freed with ldm_text_free. Out of memory is remembered and makes the text NULL. */
typedef struct ldm_text {
    char *s;
    size_t len, cap;
} ldm_text;
void ldm_text_add(ldm_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ldm_text_bytes(ldm_text *t, const void *data, size_t n); /* any bytes; a NUL follows them */
void ldm_text_free(ldm_text *t);

bool ldm_utf8_valid(const void *s, size_t n); /* no overlong forms, surrogates, NUL or anything past U+10FFFF */
size_t ldm_utf8_until(const void *s, size_t n); /* where the first character that is not valid begins; n: nowhere */
/* Text from a file or a user for a sentence: at most 96 bytes, what is unprintable as '?'. Rotates through four static buffers. */
const char *ldm_shown(const void *text, size_t n);

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Whole file, NUL-terminated behind its `*size` bytes, at most `max` bytes; freed with free(). */
ldm_status ldm_read_file(const char *path, size_t max, char **data, size_t *size);
/* Appears whole or not at all: temporary beside it, fsync, rename. Replaces an existing file, or the one that a symbolic link leads
 * to; a device or a pipe is written to instead. */
ldm_status ldm_write_file(const char *path, const void *data, size_t size);
/* The same for files made piece by piece: open, fwrite to out->f, then commit or abandon. */
typedef struct ldm_outfile {
    FILE *f;
    char *path, *temp; /* temp NULL: a device or a pipe */
} ldm_outfile;
bool ldm_is_stream(const char *path); /* it is there, and is a device or a pipe */
ldm_status ldm_outfile_open(const char *path, ldm_outfile *out);
ldm_status ldm_try_file(const char *path); /* before long work: whether a file could be made there; nothing is left */
ldm_status ldm_outfile_commit(ldm_outfile *out); /* closes; on failure the temporary is gone and the target untouched */
void ldm_outfile_abandon(ldm_outfile *out);      /* accepts {0}, and does nothing after a commit */
void ldm_outfile_unlink_all(void); /* temporaries of all that are open, where a signal ends the process; nothing else may follow */

ldm_status ldm_make_dirs(const char *path); /* mkdir -p */
const char *ldm_cache_dir(void);            /* $LDM_CACHE_DIR, $XDG_CACHE_HOME/ldm, ~/.cache/ldm, /tmp/ldm-UID */
/* $LDM_DATA_DIR, $XDG_DATA_HOME/ldm, ~/.local/share/ldm; not made yet. LDM_ERR_IO where none of them is set. */
ldm_status ldm_data_dir(char *buf, size_t cap);
/* Adds one line, given without its newline, to a file that exists, whole: a reader sees all of it or nothing, and a torn
 * line before it stays a line of its own. */
ldm_status ldm_append_line(const char *path, const char *line);
/* PoCL has no device where its cache folder cannot be written: then sets $POCL_CACHE_DIR to a folder below ours. */
void ldm_place_driver_cache(void);
const char *ldm_kernel_dir(void);           /* $LDM_KERNEL_DIR, else kernels/ found upwards from the executable */

#endif
