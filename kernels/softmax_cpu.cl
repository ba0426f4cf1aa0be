/* softmax_cpu.cl -- softmax over the last axis of [rows, cols] for CPUs: y = exp(scale x - max) / sum.
 *   x, y  [rows, cols], may alias
 *   reference  reference/ref_softmax.c          host  host/ops/softmax.c
 *
 *   softmax_row   one work-item a row, 16 columns a step, scalars behind the last 16
 *
 * MUTANTS: 1 no maximum taken off, 2 columns behind the last 16 missing from the sum, 3 scale left out,
 *          4 maximum over the first 16 columns only, 5 f16 stored truncated */

kernel void softmax_row(global real *y, global const real *x, int cols, float scale) {
    const int wide = cols & ~15;
    x += (size_t)get_global_id(0) * cols;
    y += (size_t)get_global_id(0) * cols;
#if MUTANT == 3
    scale = 1;
#endif
    float16 tops = -INFINITY, sums = 0;
    float top = -INFINITY, sum = 0;
#if MUTANT == 4
    for (int j = 0; j < min(wide, 16); j += 16) tops = max(tops, scale * LOAD16(x, j));
    if (wide == 0)
#else
    for (int j = 0; j < wide; j += 16) tops = max(tops, scale * LOAD16(x, j));
#endif
        for (int j = wide; j < cols; j++) top = max(top, scale * LOAD(x, j));
    top = max(top, max16(tops));
#if MUTANT == 1
    top = 0;
#endif
    for (int j = 0; j < wide; j += 16) sums += exp_neg16(FMA((float16)(scale), LOAD16(x, j), (float16)(-top)));
#if MUTANT != 2
    for (int j = wide; j < cols; j++) sum += exp(FMA(scale, LOAD(x, j), -top));
#endif
    sum += sum16(sums);
    for (int j = 0; j < wide; j += 16) {
        float16 v = exp_neg16(FMA((float16)(scale), LOAD16(x, j), (float16)(-top))) / sum;
        STORE16(MUTANT == 5 && REAL_IS_HALF ? CUT16(v) : v, y, j);
    }
    for (int j = wide; j < cols; j++) STORE(exp(FMA(scale, LOAD(x, j), -top)) / sum, y, j);
}
