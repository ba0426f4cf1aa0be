/* attention_gpu.cl -- fused attention for GPUs: y = softmax(scale q k^T) v for each head, no nq x nkv buffer
 *   element e of head h of token i of sample b lies at q[(b nq + i) q_row + q_off + h head + e]; k, v likewise with nkv,
 *   k_row (both) and their offsets; y [n, nq, heads d]
 *   part [splits][n, nq, heads, d] float, then [splits][n, nq, heads] pairs of maximum and sum, used where the keys are split
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
 *                    Where there are few queries each of several work-groups goes through `range` of the keys and leaves
 *                    its sums, not yet divided, with its maximum and its sum of exponentials
 *   attention_few    few keys and a wide head, where tiles of queries were too few work-groups: FEW_Q queries of a head. Teams
 *                    of 16 work-items take a key each, then work-items 4 channels of v and a share of the keys each
 *   attention_merge  brings the parts of 4 channels to one maximum, adds them in their order and divides
 *   Any nq, nkv, d <= D_PAD: what lies outside is read as zero, keys outside get the score -inf. With VEC, d is a multiple
 *   of 4.
 *
 * MUTANTS: 1 last key dropped, 2 one key too many, 3 no maximum taken off, 4 sums not rescaled, 5 mask off by one,
 *   6 last chunk of d dropped, 7 scale off by one in a hundred, 8 no barrier before the scores are read, 9 local tail left
 *   as it was, 10 two values swapped, 11 head 0 of v, 12 output not rescaled, 13 scores in f16, 14 not divided by the sum,
 *   15 last part dropped, 16 parts added as they are, 17 sums of the parts added as they are,
 *   18 last key of attention_gpu_few dropped, 19 last share of the keys of attention_gpu_few dropped,
 *   20 first query's scores for all of attention_gpu_few, 21 attention_gpu_few not divided by the sum,
 *   22 no maximum taken off in attention_gpu_few, 23 last of a team's parts of attention_gpu_few dropped.
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

PUT_OF(put, real, STORE, ASTORE4, VEC)
PUT_OF(put_part, float, PUT_FLOAT, PUT_FLOAT4, VEC)
QUAD_OF(get_part, float, FLOAT_AT, FLOAT4_AT, VEC)

#if MUTANT == 13
#define KEPT(v) CUT(v)
#else
#define KEPT(v) (v)
#endif

__kernel WORK_GROUP(GROUP)
void attention_block(__global real *restrict y, __global const real *restrict q, __global const real *restrict k,
                     __global const real *restrict v, int heads, int nq, int nkv, int d, int q_row, int k_row, int q_off,
                     int k_off, int v_off, int head, float scale, int causal, __global float *restrict part, int n, int range) {
    __local float4 tile4[TILE_FLOATS / 4], p_tile4[KEYS * P_ROW / 4], factor4[TILE_Q / 4];
    __local float seen[GROUP];
    __local float *tile = (__local float *)tile4, *p_tile = (__local float *)p_tile4, *factor = (__local float *)factor4;
    const int lid = get_local_id(0), q0 = get_group_id(0) * TILE_Q, h = get_group_id(1);
    const int b = get_group_id(2) % n, split = get_group_id(2) / n, splits = get_num_groups(2) / n;
    const int item_k = lid % ITEMS_K, item_q = lid / ITEMS_K;      /* of the scores */
    const int row = lid % TILE_Q, share = lid / TILE_Q;            /* of the softmax */
    const int item_d = lid % ITEMS_D, four = lid / ITEMS_D;        /* of the output: queries 4 four.. */
    const int ahead = nkv - nq;                                    /* causal: query i sees keys up to i + ahead */
    const int from = split * range, to = min(nkv, from + range);
    const int last = min(to, causal ? q0 + TILE_Q + ahead : nkv); /* keys anyone here sees */
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

    for (int k0 = from; k0 < last; k0 += KEYS) {
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
        for (int j = share; j < KEYS; j += PARTS) top = fmax(top, p_tile[j * P_ROW + row]);
#if PARTS > 1
        seen[lid] = top;
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (int j = 0; j < PARTS; j++) top = fmax(top, seen[j * TILE_Q + row]);
#endif
        if (MUTANT == 3) top = 0;
        const float shrink = exp(most - top);
        float more = 0;
        for (int j = share; j < KEYS; j += PARTS) {
            const float e = exp(p_tile[j * P_ROW + row] - top);
            p_tile[j * P_ROW + row] = e;
            more += e;
        }
        sum = (MUTANT == 4 ? sum : sum * shrink) + more;
        most = top;
        if (share == 0) factor[row] = MUTANT == 12 ? 1.0f : shrink;
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
    if (share == 0) {
        float all = 0;
#pragma unroll
        for (int j = 0; j < PARTS; j++) all += seen[j * TILE_Q + row];
        factor[row] = MUTANT == 14 || splits > 1 ? 1.0f : 1 / all;
        if (splits > 1 && q0 + row < nq) {
            const long of_all = (long)get_num_groups(2) * nq * heads, mine = ((long)get_group_id(2) * nq + q0 + row) * heads + h;
            part[of_all * d + 2 * mine] = most;
            part[of_all * d + 2 * mine + 1] = all;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    part += ((long)get_group_id(2) * nq + q0) * heads * d + h * d;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int query = 4 * four + i;
        if (q0 + query >= nq) continue;
        const float f = factor[query];
#pragma unroll
        for (int j = 0; j < QUADS_D; j++) {
            const int ch = 4 * (item_d + j * ITEMS_D), at = query * heads * d + ch;
            if (splits > 1) put_part(part, out[i][j], at, d - ch);
            else put(y, out[i][j] * f, at, d - ch);
        }
    }
}

/* A work-item: 4 channels of one head of one of `rows` = n nq queries. */
__kernel void attention_merge(__global real *restrict y, __global const float *restrict part, int rows, int heads, int d, int splits) {
    const int quads = (d + 3) / 4, id = get_global_id(0) / quads, ch = get_global_id(0) % quads * 4;
    if (id >= rows * heads) return;
    const long step = (long)rows * heads;
    __global const float *pair = part + splits * step * d + 2 * (long)id;
    const int parts = splits - (MUTANT == 15);
    float top = -FLT_MAX, sum = 0;
    float4 all = (float4)(0.0f);
    for (int s = 0; s < splits; s++) top = fmax(top, pair[2 * s * step]);
    for (int s = 0; s < parts; s++) {
        const float shrink = exp(pair[2 * s * step] - top);
        sum += pair[2 * s * step + 1] * (MUTANT == 17 ? 1.0f : shrink);
        all += get_part(part + (s * step + id) * d, ch, d - ch) * (MUTANT == 16 ? 1.0f : shrink);
    }
    put(y, all / sum, (long)id * d + ch, d - ch);
}

#ifndef FEW_Q
#define FEW_Q 4 /* queries of a work-group */
#endif
#ifndef FEW_D
#define FEW_D 512 /* d: a multiple of 4, at most 1024 */
#endif
#define FEW_GROUP 256
#define FEW_KEYS 256 /* at most */
#define TEAM 16
#define TEAMS (FEW_GROUP / TEAM)
#define EACH_KEYS 4 /* of a team at a time */
#define AT_ONCE (TEAMS * EACH_KEYS)
#define FEW_QUADS (FEW_D / 4)
#define Q_ROW ((FEW_QUADS + TEAM - 1) / TEAM * TEAM) /* float4 of a query, zeros behind its last */
#define SHARES (FEW_GROUP / FEW_QUADS)
#define V_ROWS_FEW 8 /* reads of v on their way at a time */
#define PARTIAL (AT_ONCE * FEW_Q * (TEAM + 1))

__kernel WORK_GROUP(FEW_GROUP)
void attention_few(__global real *restrict y, __global const real *restrict q, __global const real *restrict k,
                   __global const real *restrict v, int heads, int nq, int nkv, int d, int q_row, int k_row, int q_off, int k_off,
                   int v_off, int head, float scale, int causal) {
    __local float4 q_tile[FEW_Q * Q_ROW], of_share[(PARTIAL + 3) / 4];
    __local float score[FEW_Q * FEW_KEYS], seen[FEW_GROUP];
    __local float *partial = (__local float *)of_share;
    const int lid = get_local_id(0), q0 = get_group_id(0) * FEW_Q, h = get_group_id(1), b = get_group_id(2);
    const int lane = lid % TEAM, team = lid / TEAM, row = lid % FEW_Q, first = lid / FEW_Q; /* of the softmax */
    const int valid = MUTANT == 18 ? nkv - 1 : nkv;
    q += ((long)b * nq + q0) * q_row + q_off + h * head;
    k += (long)b * nkv * k_row + k_off + h * head;
    v += (long)b * nkv * k_row + v_off + h * head;
    y += ((long)b * nq + q0) * heads * FEW_D + h * FEW_D;
    for (int e = lid; e < FEW_Q * Q_ROW; e += FEW_GROUP)
        q_tile[e] = quad(q, e / Q_ROW * q_row + e % Q_ROW * 4, q0 + e / Q_ROW < nq ? FEW_D - e % Q_ROW * 4 : 0);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k0 = 0; k0 < nkv; k0 += AT_ONCE) {
        float sum[EACH_KEYS][FEW_Q];
#pragma unroll
        for (int j = 0; j < EACH_KEYS; j++)
#pragma unroll
            for (int i = 0; i < FEW_Q; i++) sum[j][i] = 0;
#pragma unroll 4
        for (int c0 = 0; c0 < Q_ROW; c0 += TEAM) { /* behind the last key and channel the last again: not counted, times zero */
            const int c = c0 + lane;
            float4 kv[EACH_KEYS];
#pragma unroll
            for (int j = 0; j < EACH_KEYS; j++)
                kv[j] = ALOAD4(k, min(k0 + team + j * TEAMS, nkv - 1) * k_row + 4 * min(c, FEW_QUADS - 1));
#pragma unroll
            for (int i = 0; i < FEW_Q; i++) {
                const float4 qv = q_tile[(MUTANT == 20 ? 0 : i) * Q_ROW + c];
#pragma unroll
                for (int j = 0; j < EACH_KEYS; j++) {
                    sum[j][i] = FMA(qv.s0, kv[j].s0, sum[j][i]);
                    sum[j][i] = FMA(qv.s1, kv[j].s1, sum[j][i]);
                    sum[j][i] = FMA(qv.s2, kv[j].s2, sum[j][i]);
                    sum[j][i] = FMA(qv.s3, kv[j].s3, sum[j][i]);
                }
            }
        }
#pragma unroll
        for (int j = 0; j < EACH_KEYS; j++)
#pragma unroll
            for (int i = 0; i < FEW_Q; i++) partial[((team + j * TEAMS) * FEW_Q + i) * (TEAM + 1) + lane] = sum[j][i];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int e = lid; e < AT_ONCE * FEW_Q; e += FEW_GROUP) {
            float all = 0;
            for (int j = 0; j < TEAM - (MUTANT == 23); j++) all += partial[e * (TEAM + 1) + j];
            score[e % FEW_Q * FEW_KEYS + k0 + e / FEW_Q] = k0 + e / FEW_Q < valid ? all * scale : -INFINITY;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    float top = -FLT_MAX, sum = 0;
    for (int key = first; key < nkv; key += FEW_GROUP / FEW_Q) top = fmax(top, score[row * FEW_KEYS + key]);
    seen[lid] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j = row; j < FEW_GROUP; j += FEW_Q) top = fmax(top, seen[j]);
    if (MUTANT == 22) top = 0;
    for (int key = first; key < nkv; key += FEW_GROUP / FEW_Q) {
        const float e = exp(score[row * FEW_KEYS + key] - top);
        score[row * FEW_KEYS + key] = e;
        sum += e;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    seen[lid] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);

    const int c = lid % FEW_QUADS, share = lid / FEW_QUADS, keys = (nkv + SHARES - 1) / SHARES;
    float4 out[FEW_Q];
#pragma unroll
    for (int i = 0; i < FEW_Q; i++) out[i] = (float4)(0.0f);
    if (share < SHARES - (MUTANT == 19) * (SHARES > 1)) {
        const int end = min(nkv, (share + 1) * keys);
        for (int key = share * keys; key < end; key += V_ROWS_FEW) {
            float4 vv[V_ROWS_FEW];
#pragma unroll
            for (int j = 0; j < V_ROWS_FEW; j++) vv[j] = ALOAD4(v, min(key + j, nkv - 1) * k_row + 4 * c);
#pragma unroll
            for (int j = 0; j < V_ROWS_FEW; j++)
#pragma unroll
                for (int i = 0; i < FEW_Q; i++)
                    out[i] = FMA((float4)(key + j < end ? score[i * FEW_KEYS + key + j] : 0.0f), vv[j], out[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < FEW_Q; i++) {
        of_share[lid] = out[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (share == 0 && q0 + i < nq) {
            float all = 0;
            float4 o = (float4)(0.0f);
            for (int j = i; j < FEW_GROUP; j += FEW_Q) all += seen[j];
            for (int j = 0; j < SHARES; j++) o += of_share[j * FEW_QUADS + c];
            ASTORE4(MUTANT == 21 ? o : o / all, y, i * heads * FEW_D + 4 * c);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
