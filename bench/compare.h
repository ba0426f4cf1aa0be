/* compare.h -- two documents of Google Benchmark's schema held against each other, case by case and as a whole. */
#ifndef LDM_BENCH_COMPARE_H
#define LDM_BENCH_COMPARE_H

#include "base/base.h"
#include <jansson.h>

/* Two-sided p of the Mann-Whitney U test that a[n] and b[m] are of one distribution: exact where a sample has at most 8
 * and no two values are equal, else normal with tie correction (as Google Benchmark's compare.py, which asks scipy). */
double bench_u_test(const double *a, int n, const double *b, int m);

/* Two-sided p of the Wilcoxon signed-rank test that the differences d[n] lie about zero: paired samples. Exact up to
 * 200. */
double bench_paired_test(const double *d, int n);

typedef struct compare_options {
    double alpha;     /* a difference counts from this p down */
    double threshold; /* and from this share of the old median up: 0.05 is 5 % */
} compare_options;

/* A line for each case of both: old and new median, their ratio, the U test's p over the repetitions, a verdict; then
 * all cases as pairs. LDM_ERR_MISMATCH if a case, or all of them together, became slower by more than the threshold
 * with p < alpha; LDM_ERR_FORMAT if `old` is no such document or has no case of `now`. */
ldm_status bench_compare(const json_t *old, const json_t *now, const compare_options *o);

#endif
