/* softmax.cl -- softmax over the last axis of [rows, cols], any device: y = exp(scale x - max) / sum.
 *   x, y  [rows, cols], may alias
 *   reference  reference/ref_softmax.c          host  host/ops/softmax.c
 *
 *   softmax_plain   one work-item a row: maximum, sum, then the quotients
 *
 * MUTANTS: 1 no maximum taken off, 2 last column missing from the sum, 3 scale left out, 4 maximum over the first
 *          column only of every 16, 5 last row left alone */

kernel void softmax_plain(global real *y, global const real *x, int rows, int cols, float scale) {
    const int r = get_global_id(0);
#if MUTANT == 5
    if (r >= max(rows - 1, 1)) return;
#endif
    if (r >= rows) return;
    x += (size_t)r * cols;
    y += (size_t)r * cols;
#if MUTANT == 3
    scale = 1;
#endif
    float top = -INFINITY, sum = 0;
#if MUTANT == 4
    for (int j = 0; j < cols; j += 16) top = max(top, scale * LOAD(x, j));
#else
    for (int j = 0; j < cols; j++) top = max(top, scale * LOAD(x, j));
#endif
#if MUTANT == 1
    top = 0;
#endif
#if MUTANT == 2
    for (int j = 0; j < max(cols - 1, 1); j++) sum += exp(FMA(scale, LOAD(x, j), -top));
#else
    for (int j0 = 0; j0 < cols; j0 += 64) {
        float part = 0;
        for (int j = j0; j < min(j0 + 64, cols); j++) part += exp(FMA(scale, LOAD(x, j), -top));
        sum += part;
    }
#endif
    for (int j = 0; j < cols; j++) STORE(exp(FMA(scale, LOAD(x, j), -top)) / sum, y, j);
}
