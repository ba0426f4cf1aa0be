/* random.c -- normal numbers as PyTorch draws them on a CPU and on a CUDA device, and our own.
 *
 * torch-cpu: the mt19937 engine (Matsumoto & Nishimura 1998) and the two ways PyTorch turns its words into normals.
 * Uniforms are exact. Normals follow the vector path of PyTorch on AVX2 and AVX-512 processors: radius and angle are
 * rounded to f32 as there, the functions are f64 rounded once, which leaves at most 4.8e-7 (measured over 2^20 values)
 * from PyTorch's own f32 logarithm, sine and cosine.
 * torch-cuda: Philox4x32-10 (Salmon et al. 2011) as cuRAND and PyTorch's kernels use it; functions in f64 as above.
 * ldm: a hash of seed, call and place, through the normal distribution's quantile function (Wichura 1988, AS 241) in
 * f64 without any function of the C library, so that all machines agree on every bit. */
#include "sample/sample.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- torch-cpu --------------------------------------------------------------------------------------------------- */

enum { WORDS = 624, MIDDLE = 397, BLOCK = 16 };

typedef struct mt19937 {
    uint32_t word[WORDS];
    int used;       /* words of this round already given out */
    bool has_spare; /* calls of fewer than BLOCK elements make normals in pairs; the second one waits here */
    double spare;
} mt19937;

static void seed_cpu(mt19937 *r, uint64_t seed) {
    r->word[0] = (uint32_t)seed; /* PyTorch seeds with the low 32 bits only */
    for (uint32_t i = 1; i < WORDS; i++) r->word[i] = 1812433253u * (r->word[i - 1] ^ r->word[i - 1] >> 30) + i;
    r->used = WORDS;
}

static uint32_t next_word(mt19937 *r) {
    if (r->used == WORDS) {
        for (int i = 0; i < WORDS; i++) {
            uint32_t y = (r->word[i] & 0x80000000u) | (r->word[(i + 1) % WORDS] & 0x7fffffffu);
            r->word[i] = r->word[(i + MIDDLE) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        r->used = 0;
    }
    uint32_t y = r->word[r->used++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static double uniform_f64(mt19937 *r) { /* [0, 1), 53 bits of two words, the high one first */
    uint64_t high = next_word(r), low = next_word(r);
    return (double)((high << 32 | low) & ((1ull << 53) - 1)) * 0x1p-53;
}

/* Sixteen uniforms in place to sixteen normals: Box-Muller on the pairs (j, j + 8). */
static void normal_block(float *u /* [16] */) {
    for (int j = 0; j < BLOCK / 2; j++) {
        float radius = sqrtf((float)(-2 * log(1 - (double)u[j]))), angle = (float)(2 * M_PI) * u[j + BLOCK / 2];
        u[j] = (float)((double)radius * cos((double)angle));
        u[j + BLOCK / 2] = (float)((double)radius * sin((double)angle));
    }
}

static void uniform_f32(mt19937 *r, float *dst, int64_t n) { /* [0, 1), multiples of 2^-24 */
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(next_word(r) & 0xffffff) * 0x1p-24f;
}

static void fill_cpu(mt19937 *r, float *dst, int64_t n) {
    if (n >= BLOCK) {
        uniform_f32(r, dst, n);
        for (int64_t i = 0; i + BLOCK <= n; i += BLOCK) normal_block(dst + i);
        if (n % BLOCK) { /* the last sixteen are drawn anew, over normals already made */
            uniform_f32(r, dst + n - BLOCK, BLOCK);
            normal_block(dst + n - BLOCK);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (r->has_spare) {
            dst[i] = (float)r->spare;
            r->has_spare = false;
            continue;
        }
        double u1 = uniform_f64(r), u2 = uniform_f64(r), radius = sqrt(-2 * log1p(-u2));
        dst[i] = (float)(radius * cos(2 * M_PI * u1));
        r->spare = radius * sin(2 * M_PI * u1);
        r->has_spare = true;
    }
}

/* ---- torch-cuda -------------------------------------------------------------------------------------------------- */

/* Ten rounds on a counter of four words with a key of two. */
static void philox(const uint32_t counter[4], uint64_t key, uint32_t out[4]) {
    uint32_t c[4], k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    memcpy(c, counter, sizeof c);
    for (int round = 0; round < 10; round++) {
        uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1],
                            (uint32_t)a};
        memcpy(c, next, sizeof c);
        k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

/* x scale + scale / 2 as cuRAND's kernels have it: x rounded to f32, one rounding more. */
static double centred(uint32_t x, float scale) { return (float)((double)(float)x * scale + (double)scale / 2); }

/* The four normals of one draw: sine, then cosine, of words 0 and 1, then of 2 and 3. */
static double cuda_normal(const uint32_t w[4], int which) {
    const float turn = 0x1p-32f * (float)(2 * M_PI);
    double u = centred(w[which / 2 * 2], 0x1p-32f), v = centred(w[which / 2 * 2 + 1], turn);
    return sqrt(-2 * log(u)) * (which % 2 ? cos(v) : sin(v));
}

/* PyTorch runs whole blocks of 256 threads, as many as fit the device; a thread goes on by the number of all of them,
 * and takes the four numbers of a draw one after the other. */
static int64_t threads_of(int64_t n, int64_t most) {
    int64_t threads = ldm_round_up(n, 256);
    return most > 0 && threads > most ? most : threads;
}
static uint64_t draws_of(int64_t n, int64_t threads) { return n > 0 ? (uint64_t)((n - 1) / (4 * threads) + 1) : 0; }

/* The draw that element i takes one number of, number i / threads % 4. */
static void draw_cuda(uint64_t seed, uint64_t drawn, int64_t threads, int64_t i, uint32_t w[4]) {
    uint64_t at = drawn + (uint64_t)(i / threads / 4), thread = (uint64_t)(i % threads);
    philox((uint32_t[]){(uint32_t)at, (uint32_t)(at >> 32), (uint32_t)thread, (uint32_t)(thread >> 32)}, seed, w);
}

/* Returns the draws that a thread makes in this call. */
static uint64_t fill_cuda(uint64_t seed, uint64_t drawn, int64_t most, float *dst, int64_t n) {
    int64_t threads = threads_of(n, most);
    for (int64_t i = 0; i < n; i++) {
        uint32_t w[4];
        draw_cuda(seed, drawn, threads, i, w);
        dst[i] = (float)cuda_normal(w, (int)(i / threads % 4));
    }
    return draws_of(n, threads);
}

/* ---- ldm --------------------------------------------------------------------------------------------------------- */

/* ln x for x in (0, 1), to a few ulp: x = m 2^e, m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m - 1) / (m + 1)). */
static double plain_log(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < M_SQRT1_2) m *= 2, e--;
    double t = (m - 1) / (m + 1), t2 = t * t, sum = 0;
    for (int k = 23; k >= 1; k -= 2) sum = sum * t2 + 1.0 / k;
    return 2 * t * sum + e * M_LN2;
}

static double ratio(const double *top, const double *bottom, double x) {
    double a = 0, b = 0;
    for (int k = 7; k >= 0; k--) a = a * x + top[k], b = b * x + bottom[k];
    return a / b;
}

/* The normal distribution's quantile at p, to 1e-16: AS 241, PPND16. */
static double quantile(double p) {
    static const double a[] = {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
                               1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                               3.3430575583588128105e4, 2.5090809287301226727e3};
    static const double b[] = {1,
                               4.2313330701600911252e1,
                               6.8718700749205790830e2,
                               5.3941960214247511077e3,
                               2.1213794301586595867e4,
                               3.9307895800092710610e4,
                               2.8729085735721942674e4,
                               5.2264952788528545610e3};
    static const double c[] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                               3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                               2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[] = {1,
                               2.05319162663775882187e0,
                               1.67638483018380384940e0,
                               6.89767334985100004550e-1,
                               1.48103976427480074590e-1,
                               1.51986665636164571966e-2,
                               5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
    static const double e[] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                               2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[] = {1,
                               5.99832206555887937690e-1,
                               1.36929880922735805310e-1,
                               1.48753612908506148525e-2,
                               7.86869131145613259100e-4,
                               1.84631831751005468180e-5,
                               1.42151175831644588870e-7,
                               2.04426310338993978564e-15};
    double q = p - .5;
    if (fabs(q) <= .425) return q * ratio(a, b, .180625 - q * q);
    double r = sqrt(-plain_log(q < 0 ? p : 1 - p)), x = r <= 5 ? ratio(c, d, r - 1.6) : ratio(e, f, r - 5);
    return q < 0 ? -x : x;
}

/* 52 bits and a half: the same distance from 0 and from 1. */
static double hashed_normal(uint64_t seed, uint64_t call, uint64_t i) {
    return quantile(((double)(ldm_hash(seed, call, i) >> 12) + .5) * 0x1p-52);
}

/* ---- one interface ----------------------------------------------------------------------------------------------- */

struct ldm_rng {
    ldm_rng_kind kind;
    uint64_t seed, call; /* torch-cuda: draws of a thread so far */
    int64_t threads;
    mt19937 cpu;
};

ldm_status ldm_rng_create(ldm_rng_kind kind, uint64_t seed, ldm_rng **out) {
    void *mem;
    ldm_status st = ldm_alloc(sizeof(ldm_rng), &mem);
    if (st) return st;
    ldm_rng *r = mem;
    *r = (ldm_rng){.kind = kind, .seed = seed, .threads = kind.threads};
    if (kind.how == LDM_RNG_TORCH_CPU) seed_cpu(&r->cpu, seed);
    *out = r;
    return LDM_OK;
}

void ldm_rng_destroy(ldm_rng *r) { free(r); }

void ldm_rng_fill(ldm_rng *r, float *dst, int64_t n) {
    switch (r->kind.how) {
    case LDM_RNG_TORCH_CPU:
        fill_cpu(&r->cpu, dst, n);
        break;
    case LDM_RNG_TORCH_CUDA:
        r->call += fill_cuda(r->seed, r->call, r->threads, dst, n);
        break;
    case LDM_RNG_LDM:
        for (int64_t i = 0; i < n; i++) dst[i] = (float)hashed_normal(r->seed, r->call, (uint64_t)i);
        r->call++;
    }
}

void ldm_rng_uniform(ldm_rng *r, float *dst, int64_t n) {
    uint64_t drawn = r->call;
    switch (r->kind.how) {
    case LDM_RNG_TORCH_CPU:
        uniform_f32(&r->cpu, dst, n);
        return;
    case LDM_RNG_TORCH_CUDA: {
        int64_t threads = threads_of(n, r->threads);
        for (int64_t i = 0; i < n; i++) {
            uint32_t w[4];
            draw_cuda(r->seed, drawn, threads, i, w);
            dst[i] = (float)centred(w[i / threads % 4], 0x1p-32f);
            if (dst[i] == 1) dst[i] = 0; /* [0, 1) as torch.rand has it */
        }
        r->call += draws_of(n, threads);
        return;
    }
    case LDM_RNG_LDM:
        for (int64_t i = 0; i < n; i++) dst[i] = (float)(ldm_hash(r->seed, drawn, (uint64_t)i) >> 40) * 0x1p-24f;
        r->call++;
    }
}

ldm_status ldm_rng_find(const char *name, ldm_rng_kind *out) {
    static const struct {
        const char *name;
        ldm_rng_how how;
    } names[] = {{"torch-cpu", LDM_RNG_TORCH_CPU},
                 {"cpu", LDM_RNG_TORCH_CPU},
                 {"torch-cuda", LDM_RNG_TORCH_CUDA},
                 {"cuda", LDM_RNG_TORCH_CUDA},
                 {"ldm", LDM_RNG_LDM}};
    const char *colon = strchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : strlen(name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) != length || strncmp(names[i].name, name, length)) continue;
        ldm_rng_kind kind = {names[i].how, 0};
        if (colon) {
            char *end;
            errno = 0;
            kind.threads = strtoll(colon + 1, &end, 10);
            if (kind.how != LDM_RNG_TORCH_CUDA || end == colon + 1 || *end || errno || kind.threads < 256 ||
                kind.threads % 256)
                return ldm_fail(
                    LDM_ERR_ARG,
                    "random numbers '%s': only torch-cuda has a number behind a colon, the threads that its "
                    "device runs at a time, a multiple of 256",
                    name);
        }
        *out = kind;
        return LDM_OK;
    }
    return ldm_fail(LDM_ERR_ARG,
                    "random numbers '%s': wanted torch-cpu (or cpu), torch-cuda or torch-cuda:THREADS (or cuda), ldm%s",
                    name, strcmp(name, "std_default") ? "" : "; std_default differs between C++ libraries");
}

const char *ldm_rng_name(ldm_rng_kind kind, char *buf, size_t cap) {
    static const char *const names[] = {"torch-cpu", "torch-cuda", "ldm"};
    if (kind.threads) snprintf(buf, cap, "%s:%lld", names[kind.how], (long long)kind.threads);
    else snprintf(buf, cap, "%s", names[kind.how]);
    return buf;
}
