/* conv2d.cl -- convolution, the plain kernel: any OpenCL 1.2 device, any shape
 *   y [n,p,q,k]   x [n,h,wd,c]   x2 [n,h,wd,c2] or absent   w [k,c+c2,r,s], q8 by rows [k][src][tap][channel]   bias [k], vec [n,k], residual [n,p,q,k] or absent
 *   y = act(bias + vec + residual + sum over r, s, c of w * concat(x, x2) enlarged `up` times), zero outside the map
 *   reference  reference/ref_conv2d.c          host  host/ops/conv2d.c
 *
 *   conv2d_plain   one work-item per output element, no assumptions
 *
 * MUTANTS: 1 last product dropped, 2 first channel doubled, 3 halo off by one in y, 4 halo off by one in x, 5 stride + 1,
 *   6 bias missing, 7 neighbour's bias, 8 outside is one, 9 upsample shifted, 10 filter flipped, 11 channels swapped,
 *   12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 15 x2 dropped, 16 activation dropped, 17 sign of one
 *   tap, 18 sum kept in f16, 19 x cut to f16, 20 x cut to bf16, 21 scale of the tap's first block for all (WREAL q8),
 *   22 sign of a number lost (WREAL q8) */

__kernel void conv2d_plain(__global real *restrict y, __global const real *restrict x, __global const real *restrict x2,
                           __global const wreal *restrict w, __global const float *restrict bias,
                           __global const real *restrict vec, __global const real *restrict residual, int n, int h, int wd,
                           int c, int c2, int k, int r, int s, int stride, int up, int pt, int pl, int p, int q, int act) {
    const size_t id = get_global_id(0);
    if (id >= (size_t)n * p * q * k) return;
    const int o = id % k, m = id / k, in = m / (p * q), step = stride + (MUTANT == 5);
    const int py = m / q % p * step - pt + (MUTANT == 3), px = m % q * step - pl + (MUTANT == 4);
    float sum = 0;
    for (int ry = 0; ry < r; ry++)
        for (int sx = 0; sx < s; sx++) {
            const int iy = py + ry, ix = px + sx;
            const int outside = iy < 0 || ix < 0 || iy >= h * up || ix >= wd * up;
            if (MUTANT != 8 && outside) continue;
            const int sy = MUTANT == 9 && up == 2 ? min((iy + 1) / 2, h - 1) : iy / up;
            const size_t at = outside ? 0 : ((size_t)in * h + sy) * wd + ix / up;
            const size_t tap = MUTANT == 10 ? (r - 1 - ry) * s + (s - 1 - sx) : ry * s + sx;
            __global const wreal *wt = w + W_AT((size_t)o * (c + c2) * r * s);
            for (int e = 0; e < c + c2; e++) {
                if (MUTANT == 1 && e == c + c2 - 1 && ry == r - 1 && sx == s - 1) continue;
                if (MUTANT == 15 && e >= c) continue;
                const int ec = MUTANT == 11 && (e ^ 1) < c ? e ^ 1 : e;
                float v = ec < c ? LOAD(x, at * c + ec) : LOAD(x2, at * c2 + ec - c);
                if (MUTANT == 8 && outside) v = 1;
                if (MUTANT == 2 && e == 0) v *= 2;
                if (MUTANT == 19) v = CUT(v);
                if (MUTANT == 20) v = as_float(as_uint(v) & 0xffff0000u);
                if (MUTANT == 17 && ry == 0 && sx == 0) v = -v;
#if WREAL_KIND == KIND_Q8
                const size_t at_w = e < c ? tap * c + e : (size_t)r * s * c + tap * c2 + e - c;
#else
                const size_t at_w = (size_t)e * r * s + tap;
#endif
                float u = WLOAD(wt, at_w);
#if WREAL_KIND == KIND_Q8
                if (MUTANT == 21) u = LDM_Q8_SCALE(wt, at_w - (e < c ? e : e - c)) * *LDM_Q8_AT(wt, at_w);
                if (MUTANT == 22) u = fabs(u);
#endif
                sum = FMA(v, u, sum);
                if (MUTANT == 18) sum = half_of(sum);
            }
        }
    if (bias && MUTANT != 6) sum += bias[MUTANT == 7 ? (o + 1) % k : o];
    if (vec) sum += LOAD(vec, (size_t)(MUTANT == 13 ? 0 : in) * k + o);
    if (residual && MUTANT != 14) sum += LOAD(residual, id);
    float v = activate(sum, MUTANT == 16 ? ACT_NONE : act);
    if (MUTANT == 12) v = CUT(v);
    STORE(v, y, id);
}
