/* attention_cpu.cl -- y_i = sum_j softmax_j(scale q_i.k_j) v_j for each head on CPUs: fused, online softmax, a query a
 * lane.
 *   element e of head h of token i of sample s: q[(s nq + i) q_row + q_off + h q_head + e], k and v likewise with nkv
 *   tokens and kv_row, k_off, v_off, kv_head; y [n, nq, heads, d]
 *   reference  reference/ref_attention.c          host  host/ops/attention.c
 *
 *   attention_tile   one work-item (local size 1) makes `queries` queries (a multiple of 32) of one head. K and V are
 *                    floats, read where they lie; rows of V hold d rounded up to 8 elements. `block` keys (a multiple
 *                    of 8) serve all strips of STRIP = 2 LANES queries before the next ones:
 *                      S[j][STRIP] = K Q^T  tiles of KEYS keys x STRIP queries: a broadcast of K times two vectors of Q^T
 *                      P = exp2(S - max)    lanes are queries, so maximum and sum never cross lanes
 *                      O^T[e][STRIP] = O^T exp2(old max - max) + V^T P    tiles of OUTS outputs x STRIP queries
 *                    Q^T is scaled by scale log2(e) when it is turned. Maxima, sums and O^T stay float. 16 sums a tile,
 *                    or 12 and 8 where vectors are narrower and there may be 16 registers.
 *   attention_rows   makes such K and V of halves or of other widths: floats [n, nkv, heads, 2, d rounded up to 8]; one
 *                    work-item a token
 *   attention_few    few keys (at most FEW_KEYS) and whole vectors of outputs: one work-item makes FEW_QUERIES queries of one
 *                    head; lanes are elements, scores are summed across them. No turning, no empty lanes where queries are few
 *   attention_one_key_rows   one key: its softmax is 1, so y_i = v_0 (a NaN in q or k does not show); one work-item a
 *                    query
 *
 * Local memory, in floats (host: attention.c, cpu_local_floats), d16 = d rounded up to 16:
 *   qt, ot [queries/STRIP][d16][STRIP]    sp [block + 4][STRIP] (a tile's last keys may be beyond)    top, sum [queries]
 * All of it in whole vectors, stored by assignment: vstore16 is four stores on PoCL, which the next load has to wait
 * for. The tile loops run at the speed of FMAs, so what is left to lose is waiting for memory: a block of keys, or LANES
 * queries, are asked for while those before them are worked on.
 *
 * MUTANTS: 1 scale 1/sqrt(d+1), 2 no maximum taken off, 3 last key of a block that is not full missing, 4 causal mask
 *          off by one, 5 sum not rescaled when the maximum moves, 6 last key counted again to fill a tile, 7 values of
 *          two keys swapped, 8 last score term missing, 9 outputs not rescaled when the maximum moves, 10 scores kept
 *          in f16, 11 f16 stored truncated, 12 second half of a strip takes the maximum of the first, 13 wrong head,
 *          14 attention_rows takes the values for the keys, 15 attention_few drops the last key, 16 attention_few swaps the
 *          values of two keys, 17 attention_few gives a query its neighbour's scores, 18 attention_few takes no maximum off,
 *          19 attention_few counts keys behind the last, 20 attention_few drops the last vector of a score,
 *          21 attention_few makes a vector of outputs twice */
#if MUTANT == 10
#define HALF_SUMS
#endif
#include "lanes.clh"
#include "across.clh"
#define STRIP (2 * LANES)
#define KEYS (LANES == 16 ? 8 : 6) /* keys of a tile of S: two vectors of sums each, as of */
#define OUTS (LANES == 16 ? 8 : 4) /* outputs of a tile of O^T, which divide 8 */
#define STEP 128 /* products of a score summed before they go to S: Q^T stays in L1, long sums stay accurate */

/* 2^t for t <= 0: 2^round(t) by the exponent field, the rest by a polynomial of relative error 2e-9 with value 1 at 0;
 * at most 0.94 ulp off. Below -126 it is 0 exactly; NaN stays. */
static inline lanes exp2_neg(lanes t) {
    const lanes shift = 12582912.0f + 127.0f;
    t = (t < -127.0f) ? (lanes)(-127.0f) : t;
    const lanes at = t + shift, f = t - (at - shift);
    lanes p = FMA(f, (lanes)(0.00015353361959569156f), (lanes)(0.0013398873852565885f));
    p = FMA(f, p, (lanes)(0.00961843691766262f));
    p = FMA(f, p, (lanes)(0.055503323674201965f));
    p = FMA(f, p, (lanes)(0.24022647738456726f));
    p = FMA(f, p, (lanes)(0.6931471824645996f));
    p = FMA(f, p, (lanes)(1.0f));
    return p * LDM_CAT(as_float, LANES)(LDM_CAT(as_int, LANES)(at) << 23);
}

#define NUMBERS4 (int4)(0, 1, 2, 3)
#define NUMBERS8 (int8)(NUMBERS4, NUMBERS4 + 4)
#define NUMBERS16 (int16)(NUMBERS8, NUMBERS8 + 8)

/* Up to LANES elements, zeros behind them. */
static inline lanes load_some(const global real *p, int count) {
    if (count >= LANES) return LOADV(p, 0);
#if LANES == 16
    if (count == 8) return (float16)(LOAD8(p, 0), (float8)(0));
#endif
    float part[LANES];
    for (int i = 0; i < LANES; i++) part[i] = i < count ? LOAD(p, i) : 0;
    return VLOAD(part);
}

static inline void store_some(lanes v, global real *p, int count) {
#if MUTANT == 11 && REAL_IS_HALF
    v = CUTV(v);
#endif
    if (count >= LANES) STOREV(v, p, 0);
#if LANES == 16
    else if (count == 8) STORE8(v.lo, p, 0);
#endif
    else {
        float part[LANES];
        VSTORE(v, part);
        for (int i = 0; i < count; i++) STORE(part[i], p, i);
    }
}

/* Asks for the lines of element e of `rows` rows, to read or to write them later. */
#define FETCH(p, row, rows, e, write)                                                                                  \
    for (int next = 0; next < (rows); next++) SOON((p) + (size_t)next * (row) + (e), write);

#if LANES == 16
#define EACH_KEY(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define EACH_OUT EACH_KEY
#else
#define EACH_KEY(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define EACH_OUT(DO) DO(0) DO(1) DO(2) DO(3)
#endif

/* s[KEYS][STRIP] = k[KEYS][row] qt[.][STRIP] over `count` products, or more of them added; of the keys those after `last` repeat
 * it. */
static inline void score_tile(local lanes *s, const global float *k, size_t row, int last, const local lanes *qt,
                              int count, bool more) {
#define START(j)                                                                                                       \
    const global float *k##j = k + min(j, last) * row;                                                                 \
    lanes a##j = 0, b##j = 0;
#define ADD(j) a##j += s[2 * j], b##j += s[2 * j + 1];
#define STEP_KEY(j)                                                                                                    \
    {                                                                                                                  \
        const lanes kj = k##j[e];                                                                                    \
        a##j = FMA(kj, qa, a##j), b##j = FMA(kj, qb, b##j);                                                            \
    }
#define PUT(j) s[2 * j] = a##j, s[2 * j + 1] = b##j;
    EACH_KEY(START)
    for (int e = 0; e < count; e++, qt += 2) {
        const lanes qa = qt[0], qb = qt[1];
        EACH_KEY(STEP_KEY)
    }
    if (more) {
        EACH_KEY(ADD)
    }
    EACH_KEY(PUT)
}

/* o[OUTS][STRIP] = o (fade_a, fade_b) + sum_{j < keys} v[j][OUTS] p[j][STRIP]; key `last` is the last there is. */
static inline void value_tile(local lanes *o, const global float *v, size_t row, const local lanes *p, int keys,
                              int last, lanes fade_a, lanes fade_b) {
#define FADE(i) lanes a##i = o[2 * i] * fade_a, b##i = o[2 * i + 1] * fade_b;
#define STEP_OUT(i)                                                                                                    \
    {                                                                                                                  \
        const lanes vi = vj[i];                                                                                      \
        a##i = FMA(vi, pa, a##i), b##i = FMA(vi, pb, b##i);                                                            \
    }
#define PUT_OUT(i) o[2 * i] = a##i, o[2 * i + 1] = b##i;
    EACH_OUT(FADE)
    for (int j = 0; j < keys; j++, p += 2) {
        const lanes pa = p[0], pb = p[1];
#if MUTANT == 7
        const global float *vj = v + (j < 2 && keys > 1 ? 1 - j : j) * row;
#elif MUTANT == 6
        const global float *vj = v + min(j, last) * row;
#else
        const global float *vj = v + j * row;
#endif
        EACH_OUT(STEP_OUT)
    }
    EACH_OUT(PUT_OUT)
}

/* Turns S[keys][STRIP] into P in place; with a mask query i of the strip sees key j while j < first_hidden + i. Returns
 * the factors of what was summed before. */
static inline void soften(local lanes *s, int keys, bool masked, int first_hidden, local lanes *top,
                          local lanes *sum, lanes *fade_a, lanes *fade_b) {
    const LDM_CAT(int, LANES) lane = LDM_CAT(NUMBERS, LANES);
    const lanes old_a = top[0], old_b = top[1];
    lanes new_a = old_a, new_b = old_b, sum_a = 0, sum_b = 0;
    if (masked)
        for (int j = 0; j < keys; j++) {
            s[2 * j] = (lane <= j - first_hidden) ? (lanes)(-INFINITY) : s[2 * j];
            s[2 * j + 1] = (lane + LANES <= j - first_hidden) ? (lanes)(-INFINITY) : s[2 * j + 1];
        }
#if MUTANT == 10
    for (int j = 0; j < 2 * keys; j++) s[j] = summed(s[j]);
#endif
    for (int j = 0; j < keys; j++) new_a = max(new_a, s[2 * j]), new_b = max(new_b, s[2 * j + 1]);
#if MUTANT == 2
    new_a = 0, new_b = 0;
#endif
#if MUTANT == 12
    new_b = new_a;
#endif
#if LANES == 16 /* several keys at a time, as many as there are registers for */
#pragma unroll 4
#else
#pragma unroll 2
#endif
    for (int j = 0; j < keys; j++) {
        const lanes a = exp2_neg(s[2 * j] - new_a), b = exp2_neg(s[2 * j + 1] - new_b);
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
attention_tile(global real *y, global const real *q, global const float *k, global const float *v, int heads, int nq,
               int nkv, int d, int q_row, int q_off, int q_head, int kv_row, int k_off, int v_off, int kv_head,
               float scale, int causal, int queries, int block, local lanes *memory) {
    const int h = get_global_id(1), sample = get_global_id(2);
    const int i0 = get_global_id(0) * queries, count = min(queries, nq - i0);
    const int d16 = (d + 15) & ~15, strips = (count + STRIP - 1) / STRIP, reach = nkv - nq;
    const size_t row = kv_row, y_row = (size_t)heads * d;
    local lanes *qt = memory, *ot = qt + queries / LANES * d16, *sp = ot + queries / LANES * d16, *top = sp + (block + 4) * 2,
                  *sum = top + queries / LANES;
#if MUTANT == 13
    k_off += (h + 1 < heads ? kv_head : 0);
#endif
    q += (size_t)(sample * nq + i0) * q_row + q_off + h * q_head;
    k += (size_t)sample * nkv * row + k_off + h * kv_head;
    v += (size_t)sample * nkv * row + v_off + h * kv_head;
    y += (sample * nq + i0) * y_row + h * d;
#if MUTANT == 1
    scale *= sqrt((float)d / (d + 1));
#endif
    const lanes to_log2 = scale * 1.44269504088896f;

    for (int i = 0; i < strips * STRIP; i += LANES) { /* Q^T, LANES queries a time; queries beyond the last are zeros */
        local lanes *strip = qt + i / STRIP * d16 * 2 + i / LANES % 2;
        for (int e = 0; e < d; e += LANES) {
            lanes r[LANES], other[LANES];
            FETCH(q + (size_t)(i + LANES) * q_row, q_row, min(LANES, count - i - LANES), e, 0)
#pragma unroll
            for (int t = 0; t < LANES; t++)
                r[t] = i + t < count ? load_some(q + (size_t)(i + t) * q_row + e, d - e) * to_log2 : (lanes)(0);
            ACROSS(r, other)
#pragma unroll
            for (int t = 0; t < LANES; t++) strip[(e + t) * 2] = r[t];
        }
    }
    for (int i = 0; i < strips * d16 * 2; i++) ot[i] = 0;
    for (int i = 0; i < strips * 2; i++) top[i] = -INFINITY, sum[i] = 0;

    const int seen = causal ? min(nkv, i0 + count + reach) : nkv; /* keys any of these queries sees */
    for (int j0 = 0; j0 < seen; j0 += block, k += block * row, v += block * row) {
        const int full = min(block, nkv - j0);
#if MUTANT == 3
        const int keys = full < block && full > 1 ? full - 1 : full;
#elif MUTANT == 6
        const int keys = (full + 7) & ~7;
#else
        const int keys = full;
#endif
        for (int strip = 0; strip < strips; strip++) {
            /* with a mask the strip's first query sees keys below `hidden` of this block, the next one more each */
#if MUTANT == 4
            const int hidden = i0 + strip * STRIP + reach + 2 - j0;
#else
            const int hidden = i0 + strip * STRIP + reach + 1 - j0;
#endif
            if (causal && hidden + STRIP - 1 <= 0) continue;
            local lanes *qs = qt + strip * d16 * 2, *os = ot + strip * d16 * 2;
#if MUTANT == 8
            const int products = max(d - 1, 1);
#else
            const int products = d;
#endif
            for (int e = 0; e < products; e += STEP)
                for (int j = 0; j < keys; j += KEYS)
                    score_tile(sp + j * 2, k + j * row + e, row, full - 1 - j, qs + e * 2, min(STEP, products - e),
                               e > 0);
            lanes fade_a, fade_b;
            soften(sp, keys, causal && hidden < keys, hidden, top + strip * 2, sum + strip * 2, &fade_a, &fade_b);
#if MUTANT == 9
            fade_a = 1, fade_b = 1;
#endif
            /* meanwhile this strip's share of the next block comes */
            const int share = (block + strips - 1) / strips, from = block + strip * share,
                      rows = min(share, seen - j0 - from);
            for (int e = 0; e < d; e += OUTS) {
                FETCH(k + from * row, row, e % 8 ? 0 : rows, e, 0)
                FETCH(v + from * row, row, e % 8 ? 0 : rows, e, 0)
                value_tile(os + e * 2, v + e, row, sp, keys, full - 1, fade_a, fade_b);
            }
        }
    }

    for (int i = 0; i < count; i += LANES) {
        const local lanes *strip = ot + i / STRIP * d16 * 2 + i / LANES % 2;
        const lanes share = 1 / sum[i / LANES];
        for (int e = 0; e < d; e += LANES) {
            lanes r[LANES], other[LANES];
            FETCH(y + (i + LANES) * y_row, y_row, min(LANES, count - i - LANES), e, 1)
#pragma unroll
            for (int t = 0; t < LANES; t++) r[t] = strip[(e + t) * 2] * share;
            ACROSS(r, other)
#pragma unroll
            for (int t = 0; t < LANES; t++)
                if (i + t < count) store_some(r[t], y + (i + t) * y_row + e, d - e);
        }
    }
}

#define FEW_QUERIES 4
#define FEW_KEYS 128

/* d: a multiple of 16. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_few(global real *y, global const real *q, global const real *k, global const real *v, int heads, int nq, int nkv,
              int d, int q_row, int kv_row, int q_off, int k_off, int v_off, int head_step, float scale, int causal) {
    const int i0 = get_global_id(0) * FEW_QUERIES, h = get_global_id(1), sample = get_global_id(2);
    const int keys = MUTANT == 15 ? nkv - 1 : nkv, products = MUTANT == 20 ? d - 16 : d, most = (nkv + 15) & ~15;
    float16 score16[FEW_QUERIES][FEW_KEYS / 16];
    float share[FEW_QUERIES];
    const global real *row[FEW_QUERIES];
#pragma unroll
    for (int i = 0; i < FEW_QUERIES; i++)
        row[i] = q + (size_t)(sample * nq + min(i0 + i, nq - 1)) * q_row + q_off + h * head_step;
    k += (size_t)sample * nkv * kv_row + k_off + h * head_step;
    v += (size_t)sample * nkv * kv_row + v_off + h * head_step;
    for (int j = 0; j < nkv; j += 2) {
        const global real *ka = k + (size_t)j * kv_row, *kb = k + (size_t)min(j + 1, nkv - 1) * kv_row;
        float16 a[FEW_QUERIES], b[FEW_QUERIES];
#pragma unroll
        for (int i = 0; i < FEW_QUERIES; i++) a[i] = b[i] = (float16)0.0f;
        for (int e = 0; e < products; e += 16) {
            const float16 ea = LOAD16(ka, e), eb = LOAD16(kb, e);
#pragma unroll
            for (int i = 0; i < FEW_QUERIES; i++) {
                const float16 qi = LOAD16(row[i], e);
                a[i] = FMA(qi, ea, a[i]), b[i] = FMA(qi, eb, b[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < FEW_QUERIES; i++) {
            float *score = (float *)score16[i];
            score[j] = sum16(a[i]) * scale, score[j + 1] = sum16(b[i]) * scale;
        }
    }
    for (int i = 0; i < FEW_QUERIES; i++) { /* keys behind the last count nothing */
        float16 *s = score16[MUTANT == 17 && i == FEW_QUERIES - 1 ? i - 1 : i], top16 = -INFINITY, sum = 0;
        float *score = (float *)s;
        for (int j = keys; MUTANT != 19 && j < most; j++) score[j] = -INFINITY;
        for (int j = 0; j < most / 16; j++) top16 = max(top16, s[j]);
        const float top = MUTANT == 18 ? 0 : max16(top16);
        for (int j = 0; j < most / 16; j++) sum += score16[i][j] = exp_neg16(s[j] - top);
        share[i] = 1 / sum16(sum);
    }
    for (int e = 0; e < d; e += 32) {
        const int other = min(e + 16, d - 16); /* of an odd number of vectors the last is made twice */
        float16 a[FEW_QUERIES], b[FEW_QUERIES];
#pragma unroll
        for (int i = 0; i < FEW_QUERIES; i++) a[i] = b[i] = (float16)0.0f;
        for (int j = 0; j < keys; j++) {
            const global real *vj = v + (size_t)(MUTANT == 16 && j < 2 && keys > 1 ? 1 - j : j) * kv_row;
            const float16 va = LOAD16(vj, e), vb = LOAD16(vj, MUTANT == 21 ? e : other);
#pragma unroll
            for (int i = 0; i < FEW_QUERIES; i++) {
                const float p = ((const float *)score16[i])[j];
                a[i] = FMA((float16)p, va, a[i]), b[i] = FMA((float16)p, vb, b[i]);
            }
        }
        for (int i = 0; i < min(FEW_QUERIES, nq - i0); i++) {
            global real *to = y + ((size_t)(sample * nq + i0 + i) * heads + h) * d;
            STORE16(a[i] * share[i], to, e);
            STORE16(b[i] * share[i], to, other);
        }
    }
}

/* Up to 8 elements, zeros behind them. */
static inline float8 load_8(const global real *p, int count) {
    if (count >= 8) return LOAD8(p, 0);
    float part[8];
    for (int i = 0; i < 8; i++) part[i] = i < count ? LOAD(p, i) : 0;
    return vload8(0, part);
}

kernel void attention_rows(global float *rows, global const real *k, global const real *v, int heads, int nkv, int d,
                           int kv_row, int k_off, int v_off, int kv_head) {
    const int d8 = (d + 7) & ~7;
    const size_t token = (size_t)get_global_id(1) * nkv + get_global_id(0);
    k += token * kv_row + (MUTANT == 14 ? v_off : k_off);
    v += token * kv_row + v_off;
    rows += token * heads * 2 * d8;
    for (int h = 0; h < heads; h++, k += kv_head, v += kv_head, rows += 2 * d8)
        for (int e = 0; e < d; e += 8) {
            vstore8(load_8(k + e, d - e), 0, rows + e);
            vstore8(load_8(v + e, d - e), 0, rows + d8 + e);
        }
}

kernel void attention_one_key_rows(global real *y, global const real *v, int heads, int nq, int d, int kv_row,
                                   int v_off, int head_step) {
    const int i = get_global_id(0), h = get_global_id(1), s = get_global_id(2);
    v += (size_t)s * kv_row + v_off + h * head_step;
    y += ((size_t)(s * nq + i) * heads + h) * d;
    for (int e = 0; e < d; e += LANES) store_some(load_some(v + e, d - e), y + e, d - e);
}
