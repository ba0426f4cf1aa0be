/* gemm_cpu.cl -- matrix product for CPUs, from weights packed in panels
 *   y [batch,m,n]   x [batch,m,k]   w panels of 32 outputs [n/32][k][32], with wbatch one set for each of the batch
 *   bias [n], vec [batch,n], residual [batch,m,n] or absent   y = act(x w^T + bias + vec + residual)
 *   or, with act geglu, y [batch,m,n/2] = v gelu(g), v the first and g the second half of x w^T + bias: a panel then holds
 *   16 values and their 16 gates
 *   reference  reference/ref_gemm.c          host  host/ops/gemm.c, layouts in host/ops/pack.c
 *
 *   gemm_panels   lays an activation w ([n,k] or [k,n]) out in panels; one work-item: 64 products of one panel
 *   gemm_tile     any shape. A work-item makes `block` tiles of TILE_ROWS rows x 32 outputs, CHUNK products of all tiles before
 *                 the next, so that the panel comes from the second-level cache whatever k is; the sums wait in `part`.
 *                 With one row it reads each weight once, in order, at the speed of memory. A tile's outputs are written
 *                 behind its last product, so that they leave while the next tile is computed.
 * Both: local size 1. x and w kept as f16 go through strips of floats, since converting costs as much as an FMA.
 *
 * MUTANTS: 1 last product dropped, 2 first product doubled, 3 row of the neighbour, 4 bias missing, 5 neighbour's bias,
 *   6 residual missing, 7 activation dropped, 8 products swapped, 9 batch of w ignored, 10 f16 store truncated, 11 sums kept
 *   in f16, 12 w transposed while packing, 13 second half of a panel is the first again, 14 tail of a strip dropped (REAL
 *   half), 15 last row of a tile repeats its neighbour, 16 vec missing, 17 vec of the first of the batch,
 *   18 value and gate exchanged, 19 gate's bias missing */
#ifndef TILE_ROWS
#define TILE_ROWS 8 /* rows of a tile, 1..14; 2 float16 sums each */
#endif
#define TR TILE_ROWS
#define MOST_TILES 8                      /* tiles of a work-item, at most; 128 TR MOST_TILES bytes of stack */
/* products done for all tiles before the next ones, 128 KiB of f32 weights, or what fits the strips of floats */
#define CHUNK (REAL_IS_HALF || WREAL_IS_HALF ? 256 : 1024)
/* f16 weights are made floats once for all tiles of a block; with small tiles, straight from memory */
#define WIDEN (WREAL_IS_HALF && TR >= 8)
#define EACH_ROW(i) _Pragma("unroll") for (int i = 0; i < TR; i++)

#if MUTANT == 11
static float16 summed(float16 v) {
    ushort16 bits;
    vstore_half16_rte(v, 0, (half *)&bits);
    return vload_half16(0, (half *)&bits);
}
#else
#define summed(v) (v)
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_panels(__global real *restrict packed,
                                                                        __global const real *restrict w, int n, int k, int wkn) {
    const int from = get_global_id(0) * 64, panel = get_global_id(1), b = get_global_id(2), panels = (n + 31) / 32;
    const int by_k = MUTANT == 12 ? !wkn : wkn;
    const long o_step = by_k ? 1 : k, e_step = by_k ? n : 1;
    __global const real *source = w + (long)b * n * k + panel * 32 * o_step;
    __global real *out = packed + ((long)b * panels + panel) * k * 32;
    for (int e = from; e < min(from + 64, k); e++)
        for (int o = 0; o < 32; o++) STORE(panel * 32 + o < n ? LOAD(source, o * o_step + e * e_step) : 0.0f, out, (long)e * 32 + o);
}

/* m rows of each product, `per` of them to a row of vec. block <= MOST_TILES. `group` blocks of rows go panel by panel
 * before the next group: their x stays in cache. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_tile(
    __global real *restrict y, __global const real *restrict x, __global const wreal *restrict w,
    __global const float *restrict bias, __global const real *restrict vec, __global const real *restrict residual, int m,
    int per, int n, int k, int act, int block, int group) {
    const int panels = (n + 31) / 32, blocks = (m + TR * block - 1) / (TR * block), b = get_global_id(1);
    const int id = get_global_id(0), set = id / (group * panels), in_set = min(group, blocks - set * group);
    const int panel = (id - set * group * panels) / in_set, place = set * group + (id - set * group * panels) % in_set;
    const int first = place * TR * block, tiles = min(block, (m - first + TR - 1) / TR);
    __global const wreal *wp = w + ((MUTANT == 9 ? 0 : (long)b * panels) + panel) * k * 32;
    __global const real *xb = x + (long)b * m * k;
    const long yb = (long)b * m;

    if (MUTANT == 7) act = ACT_NONE;
    if (MUTANT == 16) vec = 0;
    float16 part[MOST_TILES][TR][2];
    for (int from = 0; from < k; from += CHUNK) {
        const int count = min(CHUNK, k - from);
        __global const wreal *wt = wp + (long)from * 32;
#if WIDEN
        float wide[CHUNK * 32];
        for (int e = 0; e < count * 32; e += 16) vstore16(WLOAD16(wt, e), 0, wide + e);
#define WEIGHT(e) vload16(0, wide + (e))
#else
#define WEIGHT(e) WLOAD16(wt, e)
#endif
        for (int t = 0; t < tiles; t++) {
            __global const real *row[TR];
            float16 acc[TR][2];
            EACH_ROW(i) {
                const int r = first + t * TR + i;
                row[i] = xb + (long)min(MUTANT == 3 ? r ^ 1 : r, m - 1) * k + from;
                acc[i][0] = acc[i][1] = (float16)0.0f;
            }
#if REAL_IS_HALF
            float strip[TR][CHUNK];
            EACH_ROW(i) {
                int e = 0;
                for (; e + 16 <= count; e += 16) vstore16(LOAD16(row[i], e), 0, &strip[i][e]);
                for (; e < count; e++) strip[i][e] = MUTANT == 14 ? 0 : LOAD(row[i], e);
            }
#define INPUT(i, e) strip[i][e]
#else
#define INPUT(i, e) row[i][e]
#endif
            for (int e = 0; e < count - (MUTANT == 1 && from + count == k); e++) {
                const float16 w0 = WEIGHT(e * 32), w1 = WEIGHT(e * 32 + (MUTANT == 13 ? 0 : 16));
                EACH_ROW(i) {
                    float16 v = (float16)(INPUT(i, MUTANT == 8 ? min(e ^ 1, count - 1) : e));
                    if (MUTANT == 2 && from + e == 0) v *= 2;
                    acc[i][0] = summed(FMA(v, w0, acc[i][0]));
                    acc[i][1] = summed(FMA(v, w1, acc[i][1]));
                }
            }
            if (from > 0) {
                EACH_ROW(i) part[t][i][0] += acc[i][0], part[t][i][1] += acc[i][1];
            } else {
                EACH_ROW(i) part[t][i][0] = acc[i][0], part[t][i][1] = acc[i][1];
            }
            if (from + count < k) continue;

            for (int i = 0; i < TR && act == ACT_GEGLU; i++) {
                const int r = first + t * TR + i, half_n = n / 2, o = panel * 16;
                if (r >= m) break;
                float16 value = part[t][i][MUTANT == 18], gate = part[t][i][MUTANT != 18];
                const long at = (yb + r) * half_n + o;
                if (o + 16 <= half_n) {
                    if (bias) value += vload16(0, bias + o), gate += MUTANT == 19 ? 0 : vload16(0, bias + half_n + o);
                    STORE16(value * gelu16(gate), y, at);
                    continue;
                }
                float lane[2][16];
                vstore16(value, 0, lane[0]), vstore16(gate, 0, lane[1]);
                for (int e = 0; e < half_n - o; e++) {
                    if (bias) lane[0][e] += bias[o + e], lane[1][e] += bias[half_n + o + e];
                    STORE(lane[0][e] * gelu(lane[1][e]), y, at + e);
                }
            }
            for (int i = 0; i < TR && act != ACT_GEGLU; i++) {
                const int r = first + t * TR + i;
                if (r >= m) break;
                const long vec_row = vec && MUTANT != 17 ? (yb + r) / per * n : 0;
                for (int o = panel * 32, v = 0; v < 2 && o < n; v++, o += 16) {
                    float16 sum = part[t][MUTANT == 15 && i == TR - 1 ? max(i - 1, 0) : i][v];
                    const long at = (yb + r) * n + o;
                    if (MUTANT != 5 && o + 16 <= n) {
                        if (bias && MUTANT != 4) sum += vload16(0, bias + o);
                        if (vec) sum += LOAD16(vec, vec_row + o);
                        if (residual && MUTANT != 6) sum += LOAD16(residual, at);
                        sum = activate16(sum, act);
                        if (MUTANT == 10) sum = as_float16(as_uint16(sum) & 0xffffe000u);
                        STORE16(sum, y, at);
                        continue;
                    }
                    float lane[16];
                    vstore16(sum, 0, lane);
                    for (int e = 0; e < min(16, n - o); e++) {
                        float u = lane[e];
                        if (bias && MUTANT != 4) u += bias[MUTANT == 5 ? (o + e + 1) % n : o + e];
                        if (vec) u += LOAD(vec, vec_row + o + e);
                        if (residual && MUTANT != 6) u += LOAD(residual, at + e);
                        u = activate(u, act);
                        if (MUTANT == 10) u = as_float(as_uint(u) & 0xffffe000u);
                        STORE(u, y, at + e);
                    }
                }
            }
        }
    }
}
