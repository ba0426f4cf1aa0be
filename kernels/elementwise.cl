/* elementwise.cl -- functions and sums of single elements, casts, pixels; any device. A work-item makes WIDTH elements
 * as one vector, the last one of an array element by element. Outputs may alias inputs of the same type.
 *   reference  reference/ref_activation.c, ref_sampler.c, ref_move.c          host  host/ops/elementwise.c
 *
 *   activation      y = f(x), f numbered relu silu gelu quick_gelu tanh3 clamp01 clamp11
 *   geglu           x [rows, 2c] -> y [rows, c] = x[:, :c] gelu(x[:, c:])
 *   add             y = a + b, b repeated every bcount elements
 *   lincomb         y = sum_{t < terms} coef[t] x_t
 *   cast_to_f32, cast_to_f16
 *   image_to_float  y = v mul + add
 *   float_to_image  v = trunc or round of clamp(x mul + add, 0, 255)
 *
 * MUTANTS: 1 gelu by its tanh approximation, 2 halves of geglu exchanged, 3 b repeated one element late, 4 last term of
 *          lincomb missing, 5 coefficients in reverse, 6 f16 stored truncated, 7 image truncated where it should be
 *          rounded and the other way round, 8 mul and add exchanged, 9 silu with quick_gelu's slope, 10 tanh3 without
 *          its last 3, 11 last elements left alone, 12 clamp11 from 0 */
#ifndef WIDTH
#define WIDTH 4 /* elements of a work-item: 4, 8 or 16 */
#endif
#define SPAN  (WIDTH < 16 ? WIDTH : 16 * WIDTH) /* outputs of a work-item of geglu */
#define VEC   LDM_CAT(float, WIDTH)
#define LOADV LDM_CAT(LOAD, WIDTH)
#if MUTANT == 6 && REAL_IS_HALF
#define STOREV(v, p, i) LDM_CAT(LDM_CAT(vstore_half, WIDTH), _rtz)((v), 0, (p) + (i))
#else
#define STOREV LDM_CAT(STORE, WIDTH)
#endif
#if MUTANT == 11
#define LAST(count) ((count) / WIDTH * WIDTH)
#else
#define LAST(count) (count)
#endif
/* The elements of this work-item: as one vector, or one by one. */
#define ELEMENTS(count, AS_VECTOR, ONE_BY_ONE)                                                                         \
    size_t i = (size_t)get_global_id(0) * WIDTH;                                                                       \
    if (i + WIDTH <= (size_t)(count)) {                                                                                \
        AS_VECTOR;                                                                                                     \
    } else {                                                                                                           \
        for (; i < (size_t)LAST(count); i++) ONE_BY_ONE;                                                               \
    }

#if MUTANT == 12
#define LOWEST(T) (T)(0)
#else
#define LOWEST(T) (T)(-1)
#endif
#define FUNCTIONS(T, S)                                                                                                \
    static inline T LDM_CAT(function, S)(T x, int fn) {                                                                \
        if (fn == 6) return (x < LOWEST(T)) ? LOWEST(T) : (x > (T)(1)) ? (T)(1) : x;                                   \
        if (fn == 5) return (x < (T)(0)) ? (T)(0) : (x > (T)(1)) ? (T)(1) : x;                                         \
        if (fn == 4) return OUTER * tanh(x / 3.0f);                                                                    \
        if (fn == 1) return SILU(S)(x);                                                                                \
        if (fn == 2) return GELU(S)(x);                                                                                \
        return LDM_CAT(activate, S)(x, fn + 1);                                                                        \
    }                                                                                                                  \
    static inline T LDM_CAT(tanh_gelu, S)(T x) {                                                                       \
        return 0.5f * x * (1.0f + tanh(0.79788456f * (x + 0.044715f * x * x * x)));                                    \
    }
#if MUTANT == 10
#define OUTER 1.0f
#else
#define OUTER 3.0f
#endif
#if MUTANT == 9
#define SILU(S) LDM_CAT(quick_gelu, S)
#else
#define SILU(S) LDM_CAT(silu, S)
#endif
#if MUTANT == 1
#define GELU(S) LDM_CAT(tanh_gelu, S)
static inline float tanh_gelu(float x);
static inline VEC LDM_CAT(tanh_gelu, WIDTH)(VEC x);
#else
#define GELU(S) LDM_CAT(gelu, S)
#endif
FUNCTIONS(float, )
FUNCTIONS(VEC, WIDTH)

kernel void activation(global real *y, global const real *x, int count, int fn){
    ELEMENTS(count, STOREV(LDM_CAT(function, WIDTH)(LOADV(x, i), fn), y, i), STORE(function(LOAD(x, i), fn), y, i))}

kernel void geglu(global real *y, global const real *x, int rows, int c) {
    const int chunks = (c + SPAN - 1) / SPAN, row = get_global_id(0) / chunks;
    int k = get_global_id(0) % chunks * SPAN;
    const int end = min(k + SPAN, c);
    if (row >= rows) return;
    x += (size_t)row * 2 * c;
    y += (size_t)row * c;
#if MUTANT == 2
    const int value = c, gate = 0;
#else
    const int value = 0, gate = c;
#endif
    for (; k + WIDTH <= end; k += WIDTH) STOREV(LOADV(x, value + k) * GELU(WIDTH)(LOADV(x, gate + k)), y, k);
    for (; k < LAST(end); k++) STORE(LOAD(x, value + k) * GELU()(LOAD(x, gate + k)), y, k);
}

kernel void add(global real *y, global const real *a, global const real *b, int count, int bcount) {
#if MUTANT == 3
#define AT_B(i) (((i) + 1) % bcount / WIDTH * WIDTH)
#else
#define AT_B(i) ((i) % bcount)
#endif
    const size_t first = (size_t)get_global_id(0) * WIDTH;
    if (bcount % WIDTH != 0) { /* a vector of b may wrap */
        for (size_t j = first; j < min(first + WIDTH, (size_t)LAST(count)); j++)
            STORE(LOAD(a, j) + LOAD(b, AT_B(j)), y, j);
        return;
    }
    ELEMENTS(count, STOREV(LOADV(a, i) + LOADV(b, AT_B(i)), y, i), STORE(LOAD(a, i) + LOAD(b, AT_B(i)), y, i))
}

/* All but x0 may be missing where terms says so. */
kernel void lincomb(global real *y, global const float *coef, global const real *x0, global const real *x1,
                    global const real *x2, global const real *x3, global const real *x4, global const real *x5,
                    global const real *x6, global const real *x7, int count, int terms) {
#if MUTANT == 4
    terms = max(terms - 1, 1);
#endif
#if MUTANT == 5
#define COEF(t) coef[max(terms - 1 - (t), 0)]
#else
#define COEF(t) coef[t]
#endif
#define TERM(T, S, t) \
    if (terms > t) v = FMA((T)(COEF(t)), LDM_CAT(LOAD, S)(x##t, i), v)
#define TERMS(T, S)                                                                                                    \
    T v = COEF(0) * LDM_CAT(LOAD, S)(x0, i);                                                                           \
    TERM(T, S, 1);                                                                                                     \
    TERM(T, S, 2);                                                                                                     \
    TERM(T, S, 3);                                                                                                     \
    TERM(T, S, 4);                                                                                                     \
    TERM(T, S, 5);                                                                                                     \
    TERM(T, S, 6);                                                                                                     \
    TERM(T, S, 7)
    size_t i = (size_t)get_global_id(0) * WIDTH;
    if (i + WIDTH <= (size_t)count) {
        TERMS(VEC, WIDTH);
        STOREV(v, y, i);
        return;
    }
    for (; i < (size_t)LAST(count); i++) {
        TERMS(float, );
        STORE(v, y, i);
    }
}

kernel void cast_to_f32(global float *y, global const real *x,
                        int count){ELEMENTS(count, LDM_CAT(vstore, WIDTH)(LOADV(x, i), 0, y + i), y[i] = LOAD(x, i))}

kernel void cast_to_f16(global half *y, global const real *x, int count) {
#if MUTANT == 6
    ELEMENTS(count, LDM_CAT(LDM_CAT(vstore_half, WIDTH), _rtz)(LOADV(x, i), 0, y + i),
             vstore_half_rtz(LOAD(x, i), i, y))
#else
    ELEMENTS(count, LDM_CAT(LDM_CAT(vstore_half, WIDTH), _rte)(LOADV(x, i), 0, y + i),
             vstore_half_rte(LOAD(x, i), i, y))
#endif
}

#if MUTANT == 8
#define MUL add
#define ADD mul
#else
#define MUL mul
#define ADD add
#endif

kernel void image_to_float(global real *y, global const uchar *v, int count, float mul, float add){
    ELEMENTS(count,
             STOREV(FMA(LDM_CAT(convert_float, WIDTH)(LDM_CAT(vload, WIDTH)(0, v + i)), (VEC)(MUL), (VEC)(ADD)), y, i),
             STORE(FMA((float)v[i], MUL, ADD), y, i))}

/* up: 0.5 to round, 0 to truncate. A NaN becomes 0. */
kernel void float_to_image(global uchar *y, global const real *x, int count, float mul, float add, float up) {
#if MUTANT == 7
    up = 0.5f - up;
#endif
    ELEMENTS(count,
             LDM_CAT(vstore, WIDTH)(LDM_CAT(LDM_CAT(convert_uchar, WIDTH), _sat)(
                                        clamp(FMA(LOADV(x, i), (VEC)(MUL), (VEC)(ADD)), (VEC)(0), (VEC)(255)) + up),
                                    0, y + i),
             y[i] = convert_uchar_sat(clamp(FMA(LOAD(x, i), MUL, ADD), 0.0f, 255.0f) + up))
}
