/* attention_gpu.cl -- fused attention for GPUs: y = softmax(scale q k^T) v for each head, no nq x nkv buffer
 *   element e of head h of token i of sample b lies at q[(b nq + i) q_row + q_off + h head + e]; k, v likewise with nkv,
 *   k_row (both) and their offsets; y [n, nq, heads d]
 *   reference  reference/ref_attention.c          host  host/ops/attention.c
 *
 *   attention_block  a work-group makes TILE_Q queries of one head, going through the keys KEYS at a time:
 *                    1. scores: a register-tiled product over d, CHUNK channels of q and k at a time in local memory;
 *                       a work-item has QUERIES queries x 4 keys
 *                    2. online softmax: GROUP / TILE_Q work-items a query find the new maximum and exponentiate in place
 *                    3. y grows by P v: V_ROWS rows of v at a time in local memory; a work-item has 4 queries x
 *                       4 QUADS_D channels in registers, for any d up to D_PAD
 *                    q is read again for every block of keys: it comes from a cache, and local memory stays small enough
 *                    for several work-groups a compute unit. Sums run in one order, so the same bits every run.
 *   Any nq, nkv, d <= D_PAD: what lies outside is read as zero, keys outside get the score -inf. With VEC, d is a multiple
 *   of 4.
 *
 * MUTANTS: 1 last key dropped, 2 one key too many, 3 no maximum taken off, 4 sums not rescaled, 5 mask off by one,
 *   6 last chunk of d dropped, 7 scale off by one in a hundred, 8 no barrier before the scores are read, 9 local tail left
 *   as it was, 10 two values swapped, 11 head 0 of v, 12 output not rescaled, 13 scores in f16, 14 not divided by the sum.
 *
 * Tunables (-D by the host; the defaults compile standalone): */
#ifndef TILE_Q
#define TILE_Q 64 /* queries of a work-group: 8, 16, 32, 64 */
#endif
#ifndef GROUP
#define GROUP 128 /* work-items of a work-group: 64, 128, 256 */
#endif
/* by the problem */
#ifndef QUADS_D
#define QUADS_D 3 /* ceil(d / (4 ITEMS_D)): 1..3 */
#endif
#ifndef CHUNK
#define CHUNK 16 /* channels of q and k in local memory: 8, 16 */
#endif
#ifndef VEC
#define VEC 1
#endif

#define KEYS (TILE_Q == 8 ? 128 : GROUP > 128 ? 64 : 32)
#define ITEMS_K (KEYS / 4)
#define QUERIES (TILE_Q * ITEMS_K / GROUP)
#define PARTS (GROUP / TILE_Q)
#define ITEMS_D (4 * GROUP / TILE_Q)
#define D_PAD (4 * ITEMS_D * QUADS_D)
#define V_ROWS (D_PAD <= 64 ? 32 : D_PAD <= 128 ? 16 : D_PAD <= 256 ? 8 : D_PAD <= 512 ? 4 : 2)
#define QK_ROW (TILE_Q + KEYS + 4) /* floats; the 4 more keep banks apart */
#define P_ROW (TILE_Q + 4)
#define TILE_FLOATS (CHUNK * QK_ROW > V_ROWS * D_PAD ? CHUNK * QK_ROW : V_ROWS * D_PAD)

QUAD_OF(quad, real, LOAD, ALOAD4, VEC)

#if MUTANT == 13
#define KEPT(v) CUT(v)
#else
#define KEPT(v) (v)
#endif

__kernel WORK_GROUP(GROUP)
void attention_block(__global real *restrict y, __global const real *restrict q, __global const real *restrict k,
                     __global const real *restrict v, int heads, int nq, int nkv, int d, int q_row, int k_row, int q_off,
                     int k_off, int v_off, int head, float scale, int causal) {
    __local float4 tile4[TILE_FLOATS / 4], p_tile4[KEYS * P_ROW / 4], factor4[TILE_Q / 4];
    __local float seen[GROUP];
    __local float *tile = (__local float *)tile4, *p_tile = (__local float *)p_tile4, *factor = (__local float *)factor4;
    const int lid = get_local_id(0), q0 = get_group_id(0) * TILE_Q, h = get_group_id(1), b = get_group_id(2);
    const int item_k = lid % ITEMS_K, item_q = lid / ITEMS_K;      /* of the scores */
    const int row = lid % TILE_Q, part = lid / TILE_Q;             /* of the softmax */
    const int item_d = lid % ITEMS_D, four = lid / ITEMS_D;        /* of the output: queries 4 four.. */
    const int ahead = nkv - nq;                                    /* causal: query i sees keys up to i + ahead */
    const int last = min(nkv, causal ? q0 + TILE_Q + ahead : nkv); /* keys anyone here sees */
    const int valid = MUTANT == 1 ? nkv - 1 : MUTANT == 2 ? nkv + 1 : nkv;
    float4 out[4][QUADS_D];
    float most = -FLT_MAX, sum = 0;
    q += ((long)b * nq + q0) * q_row + q_off + h * head;
    k += (long)b * nkv * k_row + k_off + h * head;
    v += (long)b * nkv * k_row + v_off + (MUTANT == 11 ? 0 : h) * head;
    y += ((long)b * nq + q0) * heads * d + h * d;
    if (MUTANT == 7) scale *= 0.99f;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < QUADS_D; j++) out[i][j] = (float4)(0.0f);

    for (int k0 = 0; k0 < last; k0 += KEYS) {
        float4 s[QUERIES]; /* 4 keys each */
#pragma unroll
        for (int i = 0; i < QUERIES; i++) s[i] = (float4)(0.0f);
        for (int c0 = 0; c0 < d - (MUTANT == 6 ? CHUNK : 0); c0 += CHUNK) {
            /* rows of the tile: channels; columns: queries, then keys */
            for (int e = lid; e < (TILE_Q + KEYS) * (CHUNK / 4); e += GROUP) {
                const int ch = e % (CHUNK / 4) * 4, r = e / (CHUNK / 4), key = r - TILE_Q;
                if (MUTANT == 9 && c0 + ch >= d) continue;
                const float4 t = r < TILE_Q ? quad(q + c0, r * q_row + ch, q0 + r < nq ? d - c0 - ch : 0)
                                            : quad(k + (long)k0 * k_row + c0, key * k_row + ch, k0 + key < nkv ? d - c0 - ch : 0);
                __local float *to = tile + ch * QK_ROW + r;
                to[0] = t.s0;
                to[QK_ROW] = t.s1;
                to[2 * QK_ROW] = t.s2;
                to[3 * QK_ROW] = t.s3;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 2
            for (int ch = 0; ch < CHUNK; ch++) {
                const float4 kv = tile4[(ch * QK_ROW + TILE_Q) / 4 + item_k];
#if QUERIES >= 4
#pragma unroll
                for (int i = 0; i < QUERIES; i += 4) {
                    const float4 qv = tile4[(ch * QK_ROW + item_q * QUERIES + i) / 4];
                    s[i + 0] = FMA((float4)(qv.s0), kv, s[i + 0]);
                    s[i + 1] = FMA((float4)(qv.s1), kv, s[i + 1]);
                    s[i + 2] = FMA((float4)(qv.s2), kv, s[i + 2]);
                    s[i + 3] = FMA((float4)(qv.s3), kv, s[i + 3]);
                }
#else
#pragma unroll
                for (int i = 0; i < QUERIES; i++) s[i] = FMA((float4)(tile[ch * QK_ROW + item_q * QUERIES + i]), kv, s[i]);
#endif
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        const bool edge = k0 + KEYS > valid || (causal && k0 + KEYS > q0 + ahead);
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            const int query = item_q * QUERIES + i, key = k0 + 4 * item_k;
            s[i] *= scale;
            if (edge) {
                const int ends = min(valid, causal ? q0 + query + ahead + 1 + (MUTANT == 5) : valid); /* keys before it count */
                if (key + 0 >= ends) s[i].s0 = -INFINITY;
                if (key + 1 >= ends) s[i].s1 = -INFINITY;
                if (key + 2 >= ends) s[i].s2 = -INFINITY;
                if (key + 3 >= ends) s[i].s3 = -INFINITY;
            }
            __local float *to = p_tile + 4 * item_k * P_ROW + query;
            to[0] = KEPT(s[i].s0);
            to[P_ROW] = KEPT(s[i].s1);
            to[2 * P_ROW] = KEPT(s[i].s2);
            to[3 * P_ROW] = KEPT(s[i].s3);
        }
#if MUTANT != 8
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        float top = most; /* finite, so that a block without a key changes nothing */
        for (int j = part; j < KEYS; j += PARTS) top = fmax(top, p_tile[j * P_ROW + row]);
#if PARTS > 1
        seen[lid] = top;
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (int j = 0; j < PARTS; j++) top = fmax(top, seen[j * TILE_Q + row]);
#endif
        if (MUTANT == 3) top = 0;
        const float shrink = exp(most - top);
        float more = 0;
        for (int j = part; j < KEYS; j += PARTS) {
            const float e = exp(p_tile[j * P_ROW + row] - top);
            p_tile[j * P_ROW + row] = e;
            more += e;
        }
        sum = (MUTANT == 4 ? sum : sum * shrink) + more;
        most = top;
        if (part == 0) factor[row] = MUTANT == 12 ? 1.0f : shrink;
        for (int r0 = 0; r0 < KEYS; r0 += V_ROWS) {
            for (int e = lid; e < V_ROWS * (D_PAD / 4); e += GROUP) {
                const int ch = e % (D_PAD / 4) * 4, r = r0 + (MUTANT == 10 ? e / (D_PAD / 4) ^ 1 : e / (D_PAD / 4));
                tile4[e] = quad(v + (long)k0 * k_row, r * k_row + ch, k0 + r < nkv ? d - ch : 0);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            if (r0 == 0) {
                const float4 f = factor4[four];
#pragma unroll
                for (int j = 0; j < QUADS_D; j++) out[0][j] *= f.s0, out[1][j] *= f.s1, out[2][j] *= f.s2, out[3][j] *= f.s3;
            }
#pragma unroll 2
            for (int r = 0; r < V_ROWS; r++) {
                const float4 p = p_tile4[(r0 + r) * (P_ROW / 4) + four];
#pragma unroll
                for (int j = 0; j < QUADS_D; j++) {
                    const float4 vv = tile4[r * (D_PAD / 4) + item_d + j * ITEMS_D];
                    out[0][j] = FMA((float4)(p.s0), vv, out[0][j]);
                    out[1][j] = FMA((float4)(p.s1), vv, out[1][j]);
                    out[2][j] = FMA((float4)(p.s2), vv, out[2][j]);
                    out[3][j] = FMA((float4)(p.s3), vv, out[3][j]);
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }

    seen[lid] = sum; /* of this work-item's share of the keys */
    barrier(CLK_LOCAL_MEM_FENCE);
    if (part == 0) {
        float all = 0;
#pragma unroll
        for (int j = 0; j < PARTS; j++) all += seen[j * TILE_Q + row];
        factor[row] = MUTANT == 14 ? 1.0f : 1 / all;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int query = 4 * four + i;
        if (q0 + query >= nq) continue;
        const float f = factor[query];
#pragma unroll
        for (int j = 0; j < QUADS_D; j++) {
            const int ch = 4 * (item_d + j * ITEMS_D), at = query * heads * d + ch;
            const float4 o = out[i][j] * f;
            if (VEC) {
                if (ch < d) ASTORE4(o, y, at);
            } else {
                if (ch + 0 < d) STORE(o.s0, y, at);
                if (ch + 1 < d) STORE(o.s1, y, at + 1);
                if (ch + 2 < d) STORE(o.s2, y, at + 2);
                if (ch + 3 < d) STORE(o.s3, y, at + 3);
            }
        }
    }
}
