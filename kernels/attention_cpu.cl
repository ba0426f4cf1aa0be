/* attention_cpu.cl -- y_i = sum_j softmax_j(scale q_i.k_j) v_j for each head on CPUs: fused, online softmax, a query a
 * lane.
 *   element e of head h of token i of sample s: q[(s nq + i) q_row + q_off + h head_step + e], k and v likewise with
 *   nkv tokens and kv_row, k_off, v_off; y [n, nq, heads, d]
 *   reference  reference/ref_attention.c          host  host/ops/attention.c
 *
 *   attention_tile   one work-item (local size 1) makes `queries` queries (a multiple of 32) of one head. For a block
 *                    of KEYS keys it copies K and V to local memory as float, then for each strip of 32 queries:
 *                      S[j][32] = K Q^T    tiles of 8 keys x 32 queries: a broadcast of K times two vectors of Q^T
 *                      P = exp2(S - max)   lanes are queries, so maximum and sum never cross lanes
 *                      O^T[e][32] = O^T exp2(old max - max) + V^T P    tiles of 8 outputs x 32 queries
 *                    Q^T is scaled by scale log2(e) when it is turned. Maxima, sums and O^T stay float.
 *   attention_one_key_rows   one key: its softmax is 1, so y_i = v_0; one work-item a query
 *
 * Local memory, in floats (host: attention.c, tile_floats), d16 = d rounded up to 16, ld an odd multiple of 16 >= d16
 * so that rows start in different cache sets:
 *   qt, ot [queries/32][d16][32]    kb, vb [KEYS][ld]    sp [KEYS][32]    top, sum [queries]
 *
 * MUTANTS: 1 scale 1/sqrt(d+1), 2 no maximum taken off, 3 last key of a block that is not full missing, 4 causal mask
 *          off by one, 5 sum not rescaled when the maximum moves, 6 padding keys counted, 7 values of two keys
 *          swapped, 8 last score term missing, 9 outputs not rescaled when the maximum moves, 10 scores kept in f16,
 *          11 f16 stored truncated, 12 second half of a strip takes the maximum of the first, 13 wrong head */
#ifndef KEYS
#define KEYS 64 /* keys of a block: a multiple of 8 */
#endif
#define STEP 128 /* products of a score summed before they go to S: Q^T stays in L1, long sums stay accurate */

/* 2^t for t <= 0: 2^round(t) by the exponent field, the rest by a polynomial of relative error 2e-9 with value 1 at 0;
 * at most 0.94 ulp off. Below -126 it is 0 exactly; NaN stays. */
static inline float16 exp2_neg(float16 t) {
    const float16 shift = 12582912.0f + 127.0f;
    t = (t < -127.0f) ? (float16)(-127.0f) : t;
    const float16 at = t + shift, f = t - (at - shift);
    float16 p = FMA(f, (float16)(0.00015353361959569156f), (float16)(0.0013398873852565885f));
    p = FMA(f, p, (float16)(0.00961843691766262f));
    p = FMA(f, p, (float16)(0.055503323674201965f));
    p = FMA(f, p, (float16)(0.24022647738456726f));
    p = FMA(f, p, (float16)(0.6931471824645996f));
    p = FMA(f, p, (float16)(1.0f));
    return p * as_float16(as_int16(at) << 23);
}

#define LOW(a, b)                                                                                                      \
    (float16)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7)
#define HIGH(a, b)                                                                                                     \
    (float16)(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb, a.sc, b.sc, a.sd, b.sd, a.se, b.se, a.sf, b.sf)

/* A 16 x 16 square turned over: interleaving row i with row i + 8 rotates the 8 bits (row, column) of a place by one;
 * four times exchanges them. */
static inline void transpose16(float16 *r) {
    float16 t[16];
#pragma unroll
    for (int twice = 0; twice < 2; twice++) {
#pragma unroll
        for (int i = 0; i < 8; i++) t[2 * i] = LOW(r[i], r[i + 8]), t[2 * i + 1] = HIGH(r[i], r[i + 8]);
#pragma unroll
        for (int i = 0; i < 8; i++) r[2 * i] = LOW(t[i], t[i + 8]), r[2 * i + 1] = HIGH(t[i], t[i + 8]);
    }
}

/* Up to 16 elements, zeros behind them. */
static inline float16 load_some(const global real *p, int count) {
    if (count >= 16) return LOAD16(p, 0);
    if (count == 8) return (float16)(LOAD8(p, 0), (float8)(0));
    float part[16];
    for (int i = 0; i < 16; i++) part[i] = i < count ? LOAD(p, i) : 0;
    return vload16(0, part);
}

static inline void store_some(float16 v, global real *p, int count) {
#if MUTANT == 11 && REAL_IS_HALF
    if (count >= 16) vstore_half16_rtz(v, 0, p);
#else
    if (count >= 16) STORE16(v, p, 0);
#endif
    else if (count == 8) STORE8(v.lo, p, 0);
    else {
        float part[16];
        vstore16(v, 0, part);
        for (int i = 0; i < count; i++) STORE(part[i], p, i);
    }
}

/* `rows` rows of d elements, `from` apart, to rows of ld floats; zeros up to d16 and in the rows up to a multiple of
 * 8. */
static inline void copy_block(local float *to, int ld, const global real *p, size_t from, int rows, int d) {
    for (int j = 0; j < rows; j++)
        for (int e = 0; e < d; e += 16) vstore16(load_some(p + j * from + e, d - e), 0, to + j * ld + e);
    for (int j = rows; j < ((rows + 7) & ~7); j++)
        for (int e = 0; e < d; e += 16) vstore16((float16)(0), 0, to + j * ld + e);
}

#define EACH8(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* s[8][32] (+)= k[8][ld] qt[.][32] over products e0 .. e1. */
static inline void score_tile(local float *s, const local float *k, int ld, const local float *qt, int e0, int e1) {
#define START(j) float16 a##j = 0, b##j = 0;
#define ADD(j)   a##j += vload16(2 * j, s), b##j += vload16(2 * j + 1, s);
#define STEP_KEY(j)                                                                                                    \
    {                                                                                                                  \
        const float16 kj = k[j * ld + e];                                                                              \
        a##j = FMA(kj, qa, a##j), b##j = FMA(kj, qb, b##j);                                                            \
    }
#define PUT(j) vstore16(a##j, 2 * j, s), vstore16(b##j, 2 * j + 1, s);
    EACH8(START)
    for (int e = e0; e < e1; e++) {
        const float16 qa = vload16(2 * e, qt), qb = vload16(2 * e + 1, qt);
        EACH8(STEP_KEY)
    }
    if (e0) {
        EACH8(ADD)
    }
    EACH8(PUT)
}

/* o[8][32] = o (fade_a, fade_b) + sum_{j < keys} v[j][8] p[j][32]. */
static inline void value_tile(local float *o, const local float *v, int ld, const local float *p, int keys,
                              float16 fade_a, float16 fade_b) {
#define FADE(i) float16 a##i = vload16(2 * i, o) * fade_a, b##i = vload16(2 * i + 1, o) * fade_b;
#define STEP_OUT(i)                                                                                                    \
    {                                                                                                                  \
        const float16 vi = vj[i];                                                                                      \
        a##i = FMA(vi, pa, a##i), b##i = FMA(vi, pb, b##i);                                                            \
    }
#define PUT_OUT(i) vstore16(a##i, 2 * i, o), vstore16(b##i, 2 * i + 1, o);
    EACH8(FADE)
    for (int j = 0; j < keys; j++) {
        const float16 pa = vload16(2 * j, p), pb = vload16(2 * j + 1, p);
#if MUTANT == 7
        const local float *vj = v + (j < 2 && keys > 1 ? 1 - j : j) * ld;
#else
        const local float *vj = v + j * ld;
#endif
        EACH8(STEP_OUT)
    }
    EACH8(PUT_OUT)
}

/* Turns S[keys][32] into P in place; key j0 + j is seen by query i if j0 + j <= i + reach. Returns the factors of what
 * was summed before. */
static inline void soften(local float *s, int keys, bool masked, int first_hidden, local float *top, local float *sum,
                          float16 *fade_a, float16 *fade_b) {
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const float16 old_a = vload16(0, top), old_b = vload16(1, top);
    float16 new_a = old_a, new_b = old_b, sum_a = 0, sum_b = 0;
    for (int j = 0; j < keys; j++) {
        float16 a = vload16(2 * j, s), b = vload16(2 * j + 1, s);
        if (masked) { /* query `lane` sees key j while j < first_hidden + lane */
            a = (lane <= j - first_hidden) ? (float16)(-INFINITY) : a;
            b = (lane + 16 <= j - first_hidden) ? (float16)(-INFINITY) : b;
            vstore16(a, 2 * j, s), vstore16(b, 2 * j + 1, s);
        }
#if MUTANT == 10
        ushort bits[32];
        half *kept = (half *)bits;
        vstore_half16_rte(a, 0, kept), vstore_half16_rte(b, 1, kept);
        a = vload_half16(0, kept), b = vload_half16(1, kept);
        vstore16(a, 2 * j, s), vstore16(b, 2 * j + 1, s);
#endif
        new_a = max(new_a, a), new_b = max(new_b, b);
    }
#if MUTANT == 2
    new_a = 0, new_b = 0;
#endif
#if MUTANT == 12
    new_b = new_a;
#endif
    for (int j = 0; j < keys; j++) {
        const float16 a = exp2_neg(vload16(2 * j, s) - new_a), b = exp2_neg(vload16(2 * j + 1, s) - new_b);
        vstore16(a, 2 * j, s), vstore16(b, 2 * j + 1, s);
        sum_a += a, sum_b += b;
    }
    *fade_a = exp2_neg(old_a - new_a), *fade_b = exp2_neg(old_b - new_b);
    vstore16(new_a, 0, top), vstore16(new_b, 1, top);
#if MUTANT == 5
    vstore16(vload16(0, sum) + sum_a, 0, sum), vstore16(vload16(1, sum) + sum_b, 1, sum);
#else
    vstore16(FMA(vload16(0, sum), *fade_a, sum_a), 0, sum), vstore16(FMA(vload16(1, sum), *fade_b, sum_b), 1, sum);
#endif
}

kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_tile(global real *y, global const real *q, global const real *k, global const real *v, int heads, int nq,
               int nkv, int d, int q_row, int kv_row, int q_off, int k_off, int v_off, int head_step, float scale,
               int causal, int queries, local float *memory) {
    const int h = get_global_id(1), sample = get_global_id(2), i0 = get_global_id(0) * queries,
              count = min(queries, nq - i0);
    const int d16 = (d + 15) & ~15, ld = d16 + (d16 & 16 ? 0 : 16), strips = (count + 31) / 32, reach = nkv - nq;
    local float *qt = memory, *ot = qt + queries * d16, *kb = ot + queries * d16, *vb = kb + KEYS * ld,
                *sp = vb + KEYS * ld, *top = sp + KEYS * 32, *sum = top + queries;
#if MUTANT == 13
    k_off += (h + 1 < heads ? head_step : 0);
#endif
    q += (size_t)(sample * nq + i0) * q_row + q_off + h * head_step;
    k += (size_t)sample * nkv * kv_row + k_off + h * head_step;
    v += (size_t)sample * nkv * kv_row + v_off + h * head_step;
    y += ((size_t)(sample * nq + i0) * heads + h) * d;
#if MUTANT == 1
    scale *= sqrt((float)d / (d + 1));
#endif
    const float16 to_log2 = scale * 1.44269504088896f;

    for (int i = 0; i < strips * 32; i += 16) { /* Q^T, 16 queries a time; queries beyond the last are zeros */
        local float *strip = qt + (i >> 5) * d16 * 32 + (i & 16);
        for (int e = 0; e < d; e += 16) {
            float16 r[16];
#pragma unroll
            for (int t = 0; t < 16; t++)
                r[t] = i + t < count ? load_some(q + (size_t)(i + t) * q_row + e, d - e) * to_log2 : (float16)(0);
            transpose16(r);
#pragma unroll
            for (int t = 0; t < 16; t++) vstore16(r[t], 0, strip + (e + t) * 32);
        }
    }
    for (int i = 0; i < strips * d16 * 32; i += 16) vstore16((float16)(0), 0, ot + i);
    for (int i = 0; i < strips * 32; i += 16)
        vstore16((float16)(-INFINITY), 0, top + i), vstore16((float16)(0), 0, sum + i);

    const int seen = causal ? min(nkv, i0 + count + reach) : nkv; /* keys any of these queries sees */
    for (int j0 = 0; j0 < seen; j0 += KEYS) {
        const int full = min(KEYS, nkv - j0);
#if MUTANT == 3
        const int keys = full < KEYS && full > 1 ? full - 1 : full;
#elif MUTANT == 6
        const int keys = (full + 7) & ~7;
#else
        const int keys = full;
#endif
        copy_block(kb, ld, k + (size_t)j0 * kv_row, kv_row, full, d);
        copy_block(vb, ld, v + (size_t)j0 * kv_row, kv_row, full, d);
        for (int strip = 0; strip < strips; strip++) {
            /* with a mask the strip's first query sees keys below `hidden` of this block, the next one more each */
#if MUTANT == 4
            const int hidden = i0 + strip * 32 + reach + 2 - j0;
#else
            const int hidden = i0 + strip * 32 + reach + 1 - j0;
#endif
            if (causal && hidden + 31 <= 0) continue;
            local float *qs = qt + strip * d16 * 32, *os = ot + strip * d16 * 32;
#if MUTANT == 8
            const int products = max(d - 1, 1);
#else
            const int products = d;
#endif
            for (int e = 0; e < products; e += STEP)
                for (int j = 0; j < keys; j += 8)
                    score_tile(sp + j * 32, kb + j * ld, ld, qs, e, min(e + STEP, products));
            float16 fade_a, fade_b;
            soften(sp, keys, causal && hidden < keys, hidden, top + strip * 32, sum + strip * 32, &fade_a, &fade_b);
#if MUTANT == 9
            fade_a = 1, fade_b = 1;
#endif
            for (int e = 0; e < d; e += 8) value_tile(os + e * 32, vb + e, ld, sp, keys, fade_a, fade_b);
        }
    }

    for (int i = 0; i < count; i += 16) {
        local float *strip = ot + (i >> 5) * d16 * 32 + (i & 16);
        const float16 total = vload16(0, sum + i);
        for (int e = 0; e < d; e += 16) {
            float16 r[16];
#pragma unroll
            for (int t = 0; t < 16; t++) r[t] = vload16(0, strip + (e + t) * 32) / total;
            transpose16(r);
#pragma unroll
            for (int t = 0; t < 16; t++)
                if (i + t < count) store_some(r[t], y + (size_t)(i + t) * heads * d + e, d - e);
        }
    }
}

kernel void attention_one_key_rows(global real *y, global const real *v, int heads, int nq, int d, int kv_row,
                                   int v_off, int head_step) {
    const int i = get_global_id(0), h = get_global_id(1), s = get_global_id(2);
    v += (size_t)s * kv_row + v_off + h * head_step;
    y += ((size_t)(s * nq + i) * heads + h) * d;
    for (int e = 0; e < d; e += 16) store_some(load_some(v + e, d - e), y + e, d - e);
}
