/* dtype.c -- element types, shapes and their conversions. f16 and bf16 round to nearest even, overflow to infinity. */
#include "base/base.h"
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
    double unit, tiny;
} types[LDM_DTYPES] = {
    [LDM_F32] = {"f32", 4, 0x1p-24, 0x1p-150},
    [LDM_F16] = {"f16", 2, 0x1p-11, 0x1p-25},
    [LDM_BF16] = {"bf16", 2, 0x1p-8, 0x1p-134},
    [LDM_F64] = {"f64", 8, 0x1p-53, 0x1p-1074},
    [LDM_I32] = {"i32", 4, 0, 0},
    [LDM_I64] = {"i64", 8, 0, 0},
    [LDM_U8] = {"u8", 1, 0, 0},
    [LDM_I8] = {"i8", 1, 0, 0},
    [LDM_I16] = {"i16", 2, 0, 0},
    [LDM_BOOL] = {"bool", 1, 0, 0},
    [LDM_Q8_0] = {"q8_0", 0, 0, 0},
};

size_t ldm_dtype_size(ldm_dtype t) { return types[t].size; }
size_t ldm_dtype_bytes(ldm_dtype t, int64_t n) {
    return t == LDM_Q8_0 ? (size_t)n / LDM_Q8_BLOCK * LDM_Q8_BYTES : (size_t)n * ldm_dtype_size(t);
}
const char *ldm_dtype_name(ldm_dtype t) { return types[t].name; }
double ldm_dtype_unit(ldm_dtype t) { return types[t].unit; }
double ldm_dtype_tiny(ldm_dtype t) { return types[t].tiny; }

bool ldm_dtype_parse(const char *s, size_t len, ldm_dtype *out) {
    for (int t = 0; t < LDM_DTYPES; t++)
        if (strlen(types[t].name) == len && memcmp(types[t].name, s, len) == 0) return *out = (ldm_dtype)t, true;
    return false;
}

bool ldm_dtypes_parse(const char *s, size_t len, ldm_dtype *dtype, ldm_dtype *wdtype) {
    const char *star = memchr(s, '*', len);
    const size_t first = star ? (size_t)(star - s) : len;
    if (!ldm_dtype_parse(s, first, dtype)) return false;
    *wdtype = *dtype;
    return !star || ldm_dtype_parse(star + 1, len - first - 1, wdtype);
}

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float ldm_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    float f = (float)mantissa * 0x1p-24f; /* zero and denormals */
    return sign ? -f : f;
}

uint16_t ldm_f32_to_f16(float f) {
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x1ff));
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (a < 0x38800000) {                                  /* below 2^-14: a multiple of 2^-24 */
        float r = float_of(a) + 0.5f;                      /* ulp of [0.5, 1) is 2^-24: the addition rounds to even */
        return (uint16_t)(sign | (bits_of(r) - bits_of(0.5f)));
    }
    uint32_t odd = a >> 13 & 1;
    return (uint16_t)(sign | ((a - 0x38000000 + 0xfff + odd) >> 13));
}

float ldm_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t ldm_f32_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* To nearest even, |x| <= 2^51; a NaN stays one. */
static double nearest(double x) { return x + 0x1.8p52 - 0x1.8p52; }

void ldm_q8_encode(const float *w, int64_t step, uint16_t *scale, int8_t *q) {
    float most = 0;
    for (int i = 0; i < LDM_Q8_BLOCK; i++) {
        float a = w[i * step] < 0 ? -w[i * step] : w[i * step];
        if (!(a <= most)) most = a; /* a NaN stays */
    }
    *scale = ldm_f32_to_f16((float)((double)most / 127));
    const double s = (double)ldm_f16_to_f32(*scale);
    for (int i = 0; i < LDM_Q8_BLOCK; i++) {
        double v = s > 0 && s < INFINITY ? nearest((double)w[i * step] / s) : 0;
        q[i] = (int8_t)(v < -127 ? -127 : v > 127 ? 127 : v);
    }
}

static void to_block(const float *w, uint8_t *block) {
    uint16_t scale;
    int8_t q[LDM_Q8_BLOCK];
    ldm_q8_encode(w, 1, &scale, q);
    memcpy(block, &scale, sizeof scale);
    memcpy(block + sizeof scale, q, sizeof q);
}

static void from_block(const uint8_t *block, float *w) {
    uint16_t scale;
    memcpy(&scale, block, sizeof scale);
    const float s = ldm_f16_to_f32(scale);
    for (int i = 0; i < LDM_Q8_BLOCK; i++) w[i] = s * (float)(int8_t)block[2 + i];
}

void ldm_round_tensor(ldm_dtype t, const ldm_shape *s, float *data) {
    const int64_t n = ldm_shape_count(s);
    if (t != LDM_Q8_0) {
        ldm_round_to(t, data, (size_t)n);
        return;
    }
    const int64_t in = s->rank > 1 ? s->dim[1] : n, inner = s->rank > 1 ? n / s->dim[0] / in : 1;
#pragma omp parallel for
    for (int64_t row = 0; row < n / (in * inner); row++)
        for (int64_t i = 0; i + LDM_Q8_BLOCK <= in; i += LDM_Q8_BLOCK)
            for (int64_t t0 = 0; t0 < inner; t0++) {
                float *w = data + (row * in + i) * inner + t0;
                uint16_t scale;
                int8_t q[LDM_Q8_BLOCK];
                ldm_q8_encode(w, inner, &scale, q);
                const float unit = ldm_f16_to_f32(scale);
                for (int j = 0; j < LDM_Q8_BLOCK; j++) w[j * inner] = unit * (float)q[j];
            }
}

#define EACH(type, expr)                                                                                               \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        type v;                                                                                                        \
        memcpy(&v, (const char *)src + i * sizeof v, sizeof v);                                                        \
        dst[i] = (expr);                                                                                               \
    }                                                                                                                  \
    break

void ldm_to_f32(ldm_dtype t, const void *src, size_t n, float *dst) {
    switch (t) {
    case LDM_F32:
        memmove(dst, src, n * sizeof *dst);
        break;
    case LDM_F16:
        EACH(uint16_t, ldm_f16_to_f32(v));
    case LDM_BF16:
        EACH(uint16_t, ldm_bf16_to_f32(v));
    case LDM_F64:
        EACH(double, (float)v);
    case LDM_I32:
        EACH(int32_t, (float)v);
    case LDM_I64:
        EACH(int64_t, (float)v);
    case LDM_I16:
        EACH(int16_t, (float)v);
    case LDM_I8:
        EACH(int8_t, (float)v);
    case LDM_U8:
    case LDM_BOOL:
        EACH(uint8_t, (float)v);
    case LDM_Q8_0:
        for (size_t i = 0; i + LDM_Q8_BLOCK <= n; i += LDM_Q8_BLOCK) from_block((const uint8_t *)src + ldm_dtype_bytes(t, (int64_t)i), dst + i);
        break;
    case LDM_DTYPES:
        break;
    }
}

static double saturate(float f, double low, double high) {
    double v = rint((double)f);
    return !(v >= low) ? low : v > high ? high : v; /* NaN becomes low */
}

#undef EACH
#define EACH(type, expr)                                                                                               \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        float f = src[i];                                                                                              \
        type v = (type)(expr);                                                                                         \
        memcpy((char *)dst + i * sizeof v, &v, sizeof v);                                                              \
    }                                                                                                                  \
    break

void ldm_from_f32(ldm_dtype t, const float *src, size_t n, void *dst) {
    switch (t) {
    case LDM_F32:
        memmove(dst, src, n * sizeof *src);
        break;
    case LDM_F16:
        EACH(uint16_t, ldm_f32_to_f16(f));
    case LDM_BF16:
        EACH(uint16_t, ldm_f32_to_bf16(f));
    case LDM_F64:
        EACH(double, f);
    case LDM_I32:
        EACH(int32_t, saturate(f, INT32_MIN, INT32_MAX));
    case LDM_I64:
        EACH(int64_t, saturate(f, -0x1p62, 0x1p62));
    case LDM_I16:
        EACH(int16_t, saturate(f, INT16_MIN, INT16_MAX));
    case LDM_I8:
        EACH(int8_t, saturate(f, INT8_MIN, INT8_MAX));
    case LDM_U8:
        EACH(uint8_t, saturate(f, 0, 255));
    case LDM_BOOL:
        EACH(uint8_t, f != 0);
    case LDM_Q8_0:
        for (size_t i = 0; i + LDM_Q8_BLOCK <= n; i += LDM_Q8_BLOCK) to_block(src + i, (uint8_t *)dst + ldm_dtype_bytes(t, (int64_t)i));
        break;
    case LDM_DTYPES:
        break;
    }
}

void ldm_round_to(ldm_dtype t, float *data, size_t n) {
    if (t == LDM_F16)
        for (size_t i = 0; i < n; i++) data[i] = ldm_f16_to_f32(ldm_f32_to_f16(data[i]));
    else if (t == LDM_BF16)
        for (size_t i = 0; i < n; i++) data[i] = ldm_bf16_to_f32(ldm_f32_to_bf16(data[i]));
    else if (t == LDM_U8)
        for (size_t i = 0; i < n; i++) data[i] = (float)saturate(data[i], 0, 255);
    else if (t == LDM_I32)
        for (size_t i = 0; i < n; i++) data[i] = (float)saturate(data[i], INT32_MIN, INT32_MAX);
}

ldm_shape ldm_shape_of(int rank, ...) {
    ldm_shape s = {.rank = rank};
    va_list ap;
    va_start(ap, rank);
    for (int i = 0; i < rank; i++) s.dim[i] = va_arg(ap, int64_t);
    va_end(ap);
    return s;
}

int64_t ldm_shape_count(const ldm_shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] < 0 || __builtin_mul_overflow(n, s->dim[i], &n)) return -1;
    return n;
}

bool ldm_shape_equal(const ldm_shape *a, const ldm_shape *b) {
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof *a->dim) == 0;
}

const char *ldm_shape_text(const ldm_shape *s, char *buf, size_t cap) {
    size_t len = 0;
    len += (size_t)snprintf(buf, cap, "[");
    for (int i = 0; i < s->rank && len < cap; i++)
        len += (size_t)snprintf(buf + len, cap - len, "%s%lld", i ? ", " : "", (long long)s->dim[i]);
    if (len < cap) snprintf(buf + len, cap - len, "]");
    return buf;
}
