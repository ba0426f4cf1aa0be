/* attention.cl -- y_i = sum_j softmax_j(scale q_i.k_j) v_j for each head, any device, no score matrix.
 *   element e of head h of token i of sample s: q[(s nq + i) q_row + q_off + h head_step + e], k and v likewise with
 *   nkv tokens and kv_row, k_off, v_off; y [n, nq, heads, d]
 *   reference  reference/ref_attention.c          host  host/ops/attention.c
 *
 *   attention_plain     one work-item a query, head and CHUNK of its d outputs: online softmax over the keys one by one
 *   attention_one_key   one key: its softmax is 1, so y_i = v_0; one work-item an output
 *
 * MUTANTS: 1 scale 1/sqrt(d+1), 2 no maximum taken off, 3 last key missing, 4 causal mask off by one, 5 sum not
 *          rescaled when the maximum moves, 6 an extra key of zeros, 7 values of the next key, 8 last score term
 *          missing, 9 wrong head */
#define CHUNK 32 /* outputs in registers */

kernel void attention_plain(global real *y, global const real *q, global const real *k, global const real *v, int heads,
                            int nq, int nkv, int d, int q_row, int kv_row, int q_off, int k_off, int v_off,
                            int head_step, float scale, int causal) {
    const int chunks = (d + CHUNK - 1) / CHUNK, i = get_global_id(0) / chunks, e0 = get_global_id(0) % chunks * CHUNK;
    const int h = get_global_id(1), s = get_global_id(2), width = min(CHUNK, d - e0);
    if (i >= nq) return;
#if MUTANT == 9
    k_off += (h + 1 < heads ? head_step : 0);
#endif
    q += (size_t)(s * nq + i) * q_row + q_off + h * head_step;
    k += (size_t)s * nkv * kv_row + k_off + h * head_step;
    v += (size_t)s * nkv * kv_row + v_off + h * head_step + e0;
    float out[CHUNK], top = -INFINITY, sum = 0;
    for (int e = 0; e < CHUNK; e++) out[e] = 0;
#if MUTANT == 1
    scale *= sqrt((float)d / (d + 1));
#endif
#if MUTANT == 2
    top = 0;
#endif
#if MUTANT == 4
    const int visible = causal ? min(i + nkv - nq + 2, nkv) : nkv;
#elif MUTANT == 3
    const int visible = causal ? i + nkv - nq + 1 : max(nkv - 1, 1);
#else
    const int visible = causal ? i + nkv - nq + 1 : nkv;
#endif
#if MUTANT == 6
    sum = 1, top = 0;
#endif
    for (int j = 0; j < visible; j++) {
        const global real *kj = k + (size_t)j * kv_row;
#if MUTANT == 7
        const global real *vj = v + (size_t)min(j + 1, nkv - 1) * kv_row;
#else
        const global real *vj = v + (size_t)j * kv_row;
#endif
        float score = 0;
#if MUTANT == 8
        for (int e = 0; e < max(d - 1, 1); e++) score = FMA(LOAD(q, e), LOAD(kj, e), score);
#else
        /* sums of 128, then of those: long sums of one sign stay accurate */
        for (int first = 0; first < d; first += 128) {
            float part = 0;
            for (int e = first; e < min(first + 128, d); e++) part = FMA(LOAD(q, e), LOAD(kj, e), part);
            score += part;
        }
#endif
        score *= scale;
#if MUTANT != 2
        if (score > top) {
            const float fade = exp(top - score);
            top = score;
#if MUTANT != 5
            sum *= fade;
#endif
            for (int e = 0; e < width; e++) out[e] *= fade;
        }
#endif
        const float p = exp(score - top);
        sum += p;
        for (int e = 0; e < width; e++) out[e] = FMA(p, LOAD(vj, e), out[e]);
    }
    y += ((size_t)(s * nq + i) * heads + h) * d + e0;
    for (int e = 0; e < width; e++) STORE(out[e] / sum, y, e);
}

kernel void attention_one_key(global real *y, global const real *v, int heads, int nq, int d, int kv_row, int v_off,
                              int head_step) {
    const int at = get_global_id(0), i = get_global_id(1), s = get_global_id(2);
    if (at >= heads * d) return;
    const float one = LOAD(v, (size_t)s * kv_row + v_off + (at / d) * head_step + at % d);
    STORE(one, y, (size_t)(s * nq + i) * heads * d + at);
}
