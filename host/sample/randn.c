/* randn.c -- torch.randn of PyTorch's CPU generator, float32: the mt19937 engine (Matsumoto & Nishimura 1998) and the
 * two ways PyTorch turns its words into normals. Uniforms are exact. Normals follow the vector path of PyTorch on AVX2
 * and AVX-512 processors: radius and angle are rounded to f32 as there, the functions are f64 rounded once, which
 * leaves at most 4.8e-7 (measured over 2^20 values) from PyTorch's own f32 logarithm, sine and cosine. */
#include "sample/sample.h"
#include <math.h>
#include <stdlib.h>

enum { WORDS = 624, MIDDLE = 397, BLOCK = 16 };

struct ldm_randn {
    uint32_t word[WORDS];
    int used;       /* words of this round already given out */
    bool has_spare; /* calls of fewer than BLOCK elements make normals in pairs; the second one waits here */
    double spare;
};

ldm_status ldm_randn_create(uint64_t seed, ldm_randn **out) {
    void *mem;
    ldm_status st = ldm_alloc(sizeof(ldm_randn), &mem);
    if (st != LDM_OK) return st;
    ldm_randn *r = mem;
    r->word[0] = (uint32_t)seed; /* PyTorch seeds with the low 32 bits only */
    for (uint32_t i = 1; i < WORDS; i++) r->word[i] = 1812433253u * (r->word[i - 1] ^ r->word[i - 1] >> 30) + i;
    r->used = WORDS;
    *out = r;
    return LDM_OK;
}

void ldm_randn_destroy(ldm_randn *r) { free(r); }

static uint32_t next_word(ldm_randn *r) {
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

static double uniform_f64(ldm_randn *r) { /* [0, 1), 53 bits of two words, the high one first */
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

static void uniform_f32(ldm_randn *r, float *dst, int64_t n) { /* [0, 1), multiples of 2^-24 */
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(next_word(r) & 0xffffff) * 0x1p-24f;
}

void ldm_randn_fill(ldm_randn *r, float *dst, int64_t n) {
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
