/* window.cl -- a large map worked on in overlapping windows; any device. One work-item a pixel of the output. Maps are
 * [n, h, w, c], windows [n, kh, kw, c] with their upper left corner at (y0, x0) of the map.
 *   reference  reference/ref_window.c          host  host/ops/window.c
 *
 *   window  y = x[:, y0 : y0 + kh, x0 : x0 + kw, :]
 *   place   y = onto (0 without) + share x inside the window; share = this window's weight at the pixel over the sum of all
 *           windows' there. Windows begin at every stride pixels, the last at h - kh and w - kw.
 *
 * MUTANTS: 1 a row too low, 2 a column too far, 3 shares not divided by their sum, 4 no least weight, 5 what was there dropped,
 *          6 no window flush with the border, 7 the column's distance ignored, 8 the first sample's window for all */

kernel void window(global real *y, global const real *x, int n, int h, int w, int c, int kh, int kw, int y0, int x0) {
    int at = (int)get_global_id(0), q = at % kw, p = at / kw % kh, s = at / kw / kh;
    if (s >= n) return;
#if MUTANT == 1
    p = min(p + 1, kh - 1);
#elif MUTANT == 2
    q = min(q + 1, kw - 1);
#elif MUTANT == 8
    s = 0;
#endif
    x += ((size_t)(s * h + y0 + p) * w + x0 + q) * c;
    y += (size_t)at * c;
    for (int k = 0; k < c; k++) STORE(LOAD(x, k), y, k);
}

/* Of a pixel p rows and q columns inside a window. */
static inline float weight(int p, int q, int kh, int kw) {
    const float down = (float)min(p, kh - 1 - p) / (float)(kh - 1), across = (float)min(q, kw - 1 - q) / (float)(kw - 1);
#if MUTANT == 4
    return min(down, across) + 1e-3f;
#elif MUTANT == 7
    return max(down, 0.01f);
#else
    return max(min(down, across), 0.01f);
#endif
}

/* Where window i begins. */
static inline int start(int i, int stride, int size, int k) {
#if MUTANT == 6
    return i * stride;
#else
    return min(i * stride, size - k);
#endif
}

kernel void place(global real *y, global const real *x, global const real *onto, int n, int h, int w, int c, int kh, int kw,
                  int y0, int x0, int stride) {
    const int at = (int)get_global_id(0), q = at % w, p = at / w % h, s = at / w / h;
    if (s >= n) return;
    const bool inside = p >= y0 && p < y0 + kh && q >= x0 && q < x0 + kw;
    float share = 0;
    if (inside) {
        const int last_i = (h - kh + stride - 1) / stride, last_j = (w - kw + stride - 1) / stride;
        float sum = 0;
        for (int i = 0; i <= last_i; i++) {
            const int a = p - start(i, stride, h, kh);
            if (a < 0 || a >= kh) continue;
            for (int j = 0; j <= last_j; j++) {
                const int b = q - start(j, stride, w, kw);
                if (b >= 0 && b < kw) sum += weight(a, b, kh, kw);
            }
        }
#if MUTANT == 3
        sum = 1;
#endif
        share = weight(p - y0, q - x0, kh, kw) / sum;
    }
    global const real *from = x + ((size_t)(s * kh + (inside ? p - y0 : 0)) * kw + (inside ? q - x0 : 0)) * c;
    for (int k = 0; k < c; k++) {
        const size_t e = (size_t)at * c + k;
        const float had = onto && MUTANT != 5 ? LOAD(onto, e) : 0;
        STORE(inside ? had + share * LOAD(from, k) : had, y, e);
    }
}
