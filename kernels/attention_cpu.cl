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
 *   attention_one_key_rows   one key: its softmax is 1, so y_i = v_0 (a NaN in q or k does not show); one work-item a query
 *
 * Local memory, in floats (host: attention.c, tile_floats), d16 = d rounded up to 16, ld an odd multiple of 16 >= d16
 * so that rows start in different cache sets:
 *   qt, ot [queries/32][d16][32]    sp [KEYS][32]    top, sum [queries]    kb, vb [KEYS][ld]
 * All of it in whole float16, stored by assignment: vstore16 is four stores on PoCL, which the next load has to wait for.
 *
 * MUTANTS: 1 scale 1/sqrt(d+1), 2 no maximum taken off, 3 last key of a block that is not full missing, 4 causal mask
 *          off by one, 5 sum not rescaled when the maximum moves, 6 padding keys counted, 7 values of two keys
 *          swapped, 8 last score term missing, 9 outputs not rescaled when the maximum moves, 10 scores kept in f16,
 *          11 f16 stored truncated, 12 second half of a strip takes the maximum of the first, 13 wrong head */
#ifndef KEYS
#define KEYS 48 /* keys of a block: a multiple of 8 */
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
        for (int e = 0; e < d; e += 16) *(local float16 *)(to + j * ld + e) = load_some(p + j * from + e, d - e);
    for (int j = rows; j < ((rows + 7) & ~7); j++)
        for (int e = 0; e < d; e += 16) *(local float16 *)(to + j * ld + e) = 0;
}

#define EACH8(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* s[8][32] (+)= k[8][ld] qt[.][32] over products e0 .. e1. */
static inline void score_tile(local float16 *s, const local float *k, int ld, const local float16 *qt, int e0, int e1) {
#define START(j) float16 a##j = 0, b##j = 0;
#define ADD(j)   a##j += s[2 * j], b##j += s[2 * j + 1];
#define STEP_KEY(j)                                                                                                    \
    {                                                                                                                  \
        const float16 kj = k[j * ld + e];                                                                              \
        a##j = FMA(kj, qa, a##j), b##j = FMA(kj, qb, b##j);                                                            \
    }
#define PUT(j) s[2 * j] = a##j, s[2 * j + 1] = b##j;
    EACH8(START)
    for (int e = e0; e < e1; e++) {
        const float16 qa = qt[2 * e], qb = qt[2 * e + 1];
        EACH8(STEP_KEY)
    }
    if (e0) {
        EACH8(ADD)
    }
    EACH8(PUT)
}

/* o[8][32] = o (fade_a, fade_b) + sum_{j < keys} v[j][8] p[j][32]. */
static inline void value_tile(local float16 *o, const local float *v, int ld, const local float16 *p, int keys,
                              float16 fade_a, float16 fade_b) {
#define FADE(i) float16 a##i = o[2 * i] * fade_a, b##i = o[2 * i + 1] * fade_b;
#define STEP_OUT(i)                                                                                                    \
    {                                                                                                                  \
        const float16 vi = vj[i];                                                                                      \
        a##i = FMA(vi, pa, a##i), b##i = FMA(vi, pb, b##i);                                                            \
    }
#define PUT_OUT(i) o[2 * i] = a##i, o[2 * i + 1] = b##i;
    EACH8(FADE)
    for (int j = 0; j < keys; j++) {
        const float16 pa = p[2 * j], pb = p[2 * j + 1];
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
static inline void soften(local float16 *s, int keys, bool masked, int first_hidden, local float16 *top, local float16 *sum,
                          float16 *fade_a, float16 *fade_b) {
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const float16 old_a = top[0], old_b = top[1];
    float16 new_a = old_a, new_b = old_b, sum_a = 0, sum_b = 0;
    for (int j = 0; j < keys; j++) {
        float16 a = s[2 * j], b = s[2 * j + 1];
        if (masked) { /* query `lane` sees key j while j < first_hidden + lane */
            a = (lane <= j - first_hidden) ? (float16)(-INFINITY) : a;
            b = (lane + 16 <= j - first_hidden) ? (float16)(-INFINITY) : b;
            s[2 * j] = a, s[2 * j + 1] = b;
        }
#if MUTANT == 10
        ushort bits[32];
        half *kept = (half *)bits;
        vstore_half16_rte(a, 0, kept), vstore_half16_rte(b, 1, kept);
        a = vload_half16(0, kept), b = vload_half16(1, kept);
        s[2 * j] = a, s[2 * j + 1] = b;
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
        const float16 a = exp2_neg(s[2 * j] - new_a), b = exp2_neg(s[2 * j + 1] - new_b);
        s[2 * j] = a, s[2 * j + 1] = b;
        sum_a += a, sum_b += b;
    }
    *fade_a = exp2_neg(old_a - new_a), *fade_b = exp2_neg(old_b - new_b);
    top[0] = new_a, top[1] = new_b;
#if MUTANT == 5
    sum[0] += sum_a, sum[1] += sum_b;
#else
    sum[0] = FMA(sum[0], *fade_a, sum_a), sum[1] = FMA(sum[1], *fade_b, sum_b);
#endif
}

kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_tile(global real *y, global const real *q, global const real *k, global const real *v, int heads, int nq,
               int nkv, int d, int q_row, int kv_row, int q_off, int k_off, int v_off, int head_step, float scale,
               int causal, int queries, local float16 *memory) {
    const int h = get_global_id(1), sample = get_global_id(2), i0 = get_global_id(0) * queries,
              count = min(queries, nq - i0);
    const int d16 = (d + 15) & ~15, ld = d16 + (d16 & 16 ? 0 : 16), strips = (count + 31) / 32, reach = nkv - nq;
    local float16 *qt = memory, *ot = qt + queries / 16 * d16, *sp = ot + queries / 16 * d16, *top = sp + KEYS * 2,
                  *sum = top + queries / 16;
    local float *kb = (local float *)(sum + queries / 16), *vb = kb + KEYS * ld;
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
        local float16 *strip = qt + (i >> 5) * d16 * 2 + (i >> 4 & 1);
        for (int e = 0; e < d; e += 16) {
            float16 r[16];
#pragma unroll
            for (int t = 0; t < 16; t++)
                r[t] = i + t < count ? load_some(q + (size_t)(i + t) * q_row + e, d - e) * to_log2 : (float16)(0);
            transpose16(r);
#pragma unroll
            for (int t = 0; t < 16; t++) strip[(e + t) * 2] = r[t];
        }
    }
    for (int i = 0; i < strips * d16 * 2; i++) ot[i] = 0;
    for (int i = 0; i < strips * 2; i++) top[i] = -INFINITY, sum[i] = 0;

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
            local float16 *qs = qt + strip * d16 * 2, *os = ot + strip * d16 * 2;
#if MUTANT == 8
            const int products = max(d - 1, 1);
#else
            const int products = d;
#endif
            for (int e = 0; e < products; e += STEP)
                for (int j = 0; j < keys; j += 8)
                    score_tile(sp + j * 2, kb + j * ld, ld, qs, e, min(e + STEP, products));
            float16 fade_a, fade_b;
            soften(sp, keys, causal && hidden < keys, hidden, top + strip * 2, sum + strip * 2, &fade_a, &fade_b);
#if MUTANT == 9
            fade_a = 1, fade_b = 1;
#endif
            for (int e = 0; e < d; e += 8) value_tile(os + e * 2, vb + e, ld, sp, keys, fade_a, fade_b);
        }
    }

    for (int i = 0; i < count; i += 16) {
        const local float16 *strip = ot + (i >> 5) * d16 * 2 + (i >> 4 & 1);
        const float16 share = 1 / sum[i >> 4];
        for (int e = 0; e < d; e += 16) {
            float16 r[16];
#pragma unroll
            for (int t = 0; t < 16; t++) r[t] = strip[(e + t) * 2] * share;
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
