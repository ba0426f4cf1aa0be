/* cmd_diff.c -- `ldm diff A.npy B.npy`: how two arrays differ, and where. */
#include "app/app.h"
#include "io/io.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Floats in order as integers, so that neighbours differ by one. */
static int64_t ordered(float f) {
    int32_t i;
    memcpy(&i, &f, 4);
    return i < 0 ? -(int64_t)(i & 0x7fffffff) : i;
}

APP_COMMAND(diff) {
    double limit = INFINITY;
    struct poptOption table[] = {
        {"max", 0, POPT_ARG_DOUBLE, &limit, 0, "fail (status 3) if the largest absolute difference is above this", "D"},
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_array a = {0}, b = {0};
    ldm_status st = LDM_OK;
    char sa[128], sb[128];
    TRY(app_parse(self, table, argc, argv, 2, 2, &words, &ctx));
    if (!(limit >= 0)) TRY(ldm_fail(LDM_ERR_ARG, "--max %g: wanted 0 or more", limit));
    TRY(ldm_npy_read_f32(words[0], &a));
    TRY(ldm_npy_read_f32(words[1], &b));
    if (!ldm_shape_equal(&a.shape, &b.shape))
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s has shape %s, %s has %s", words[0], ldm_shape_text(&a.shape, sa, sizeof sa),
                     words[1], ldm_shape_text(&b.shape, sb, sizeof sb)));
    const float *x = a.data, *y = b.data;
    int64_t n = ldm_shape_count(&a.shape), at_abs = 0, at_rel = 0, at_ulp = 0, ulp = 0, nonfinite = 0, differing = 0;
    double abs_max = 0, rel_max = 0, square = 0, square_b = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            nonfinite++;
            continue;
        }
        double d = fabs((double)x[i] - y[i]), rel = d / fmax(fabs((double)y[i]), 1e-30);
        int64_t u = llabs(ordered(x[i]) - ordered(y[i]));
        differing += d > 0;
        square += d * d, square_b += (double)y[i] * y[i];
        if (d > abs_max) abs_max = d, at_abs = i;
        if (d > 0 && rel > rel_max) rel_max = rel, at_rel = i;
        if (u > ulp) ulp = u, at_ulp = i;
    }
    printf("%lld elements %s, %lld differ, %lld not finite\n", (long long)n, ldm_shape_text(&a.shape, sa, sizeof sa),
           (long long)differing, (long long)nonfinite);
    if (n) {
        printf("max absolute %.6g at %lld (%.9g, %.9g)\n", abs_max, (long long)at_abs, x[at_abs], y[at_abs]);
        printf("max relative %.6g at %lld (%.9g, %.9g)\n", rel_max, (long long)at_rel, x[at_rel], y[at_rel]);
        printf("max ulp %lld at %lld\n", (long long)ulp, (long long)at_ulp);
        printf("rms difference %.6g, relative to the second %.6g\n", sqrt(square / (double)n),
               square_b > 0 ? sqrt(square / square_b) : 0.0);
    }
    if (nonfinite)
        TRY(ldm_fail(LDM_ERR_NONFINITE, "%lld of %lld elements are not finite", (long long)nonfinite, (long long)n));
    if (abs_max > limit)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "largest difference %.6g, at most %.6g wanted", abs_max, limit));
done:
    ldm_array_free(&a);
    ldm_array_free(&b);
    poptFreeContext(ctx);
    return st;
}
