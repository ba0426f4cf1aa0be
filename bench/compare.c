/* compare.c -- see compare.h. */
#include "bench/compare.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXACT_U = 8, EXACT_PAIRS = 200, REPETITIONS = 1000, ENOUGH = 9 };

/* ---- tests ------------------------------------------------------------------------------------------------------- */

typedef struct ranked {
    double value, rank;
    int group;
} ranked;

static int by_rank(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1, the mean rank where values are equal; returns the sum of t^3 - t over groups of t equal ones. */
static double give_ranks(ranked *v, int n) {
    double ties = 0;
    qsort(v, (size_t)n, sizeof *v, by_rank);
    for (int i = 0, j; i < n; i = j) {
        for (j = i; j < n && v[j].value == v[i].value; j++) {
        }
        for (int k = i; k < j; k++) v[k].rank = (i + 1 + j) / 2.0;
        ties += pow(j - i, 3) - (j - i);
    }
    return ties;
}

static double upper_tail(double z) { return 0.5 * erfc(z / sqrt(2)); }

/* P(U >= u) if all orders of n and m values are as likely: counts[i] of orders with U = i by taking in one value of `a`
 * after the other (the coefficients of Gauss's binomial). */
static double exact_tail(int n, int m, double u) {
    double *counts = calloc((size_t)(n * m + 1), sizeof *counts), all = 0, above = 0;
    if (!counts) return NAN;
    counts[0] = 1;
    for (int i = 1; i <= n; i++) {
        for (int k = n * m; k >= m + i; k--) counts[k] -= counts[k - m - i]; /* times 1 - q^(m+i) */
        for (int k = i; k <= n * m; k++) counts[k] += counts[k - i];         /* over 1 - q^i */
    }
    for (int k = 0; k <= n * m; k++) all += counts[k], above += k >= u ? counts[k] : 0;
    free(counts);
    return above / all;
}

double bench_u_test(const double *a, int n, const double *b, int m) {
    const int all = n + m;
    ranked *v = calloc((size_t)all + 1, sizeof *v);
    double sum = 0, p;
    if (!v) return NAN;
    for (int i = 0; i < n; i++) v[i] = (ranked){.value = a[i], .group = 1};
    for (int i = 0; i < m; i++) v[n + i].value = b[i];
    const double ties = give_ranks(v, all);
    for (int i = 0; i < all; i++) sum += v[i].group ? v[i].rank : 0;
    free(v);
    const double first = sum - n * (n + 1) / 2.0, u = first > (double)n * m - first ? first : (double)n * m - first;
    if (n < 1 || m < 1) return 1;
    if (ties == 0 && (n <= EXACT_U || m <= EXACT_U)) {
        p = 2 * exact_tail(n, m, u);
    } else {
        const double s = sqrt((double)n * m / 12 * (all + 1 - ties / ((double)all * (all - 1))));
        p = s > 0 ? 2 * upper_tail((u - (double)n * m / 2 - 0.5) / s) : 1;
    }
    return p > 1 ? 1 : p;
}

double bench_paired_test(const double *d, int n) {
    ranked *v = calloc((size_t)n + 1, sizeof *v);
    int kept = 0;
    double positive = 0, p;
    if (!v) return NAN;
    for (int i = 0; i < n; i++)
        if (d[i] != 0) v[kept++] = (ranked){.value = fabs(d[i]), .group = d[i] > 0};
    const double ties = give_ranks(v, kept), all = kept * (kept + 1) / 2.0;
    for (int i = 0; i < kept; i++) positive += v[i].group ? v[i].rank : 0;
    const double w = positive > all - positive ? positive : all - positive;
    if (kept == 0) p = 1;
    else if (kept <= EXACT_PAIRS) { /* every sign as likely: the distribution of twice the sum, rank by rank */
        const int most = (int)(2 * all);
        double *chance = calloc((size_t)most + 1, sizeof *chance);
        p = 0;
        if (chance) chance[0] = 1;
        for (int i = 0; chance && i < kept; i++) {
            const int r = (int)(2 * v[i].rank);
            for (int k = most; k >= 0; k--) chance[k] = 0.5 * (chance[k] + (k >= r ? chance[k - r] : 0));
        }
        for (int k = (int)(2 * w); chance && k <= most; k++) p += 2 * chance[k];
        if (!chance) p = NAN;
        free(chance);
    } else {
        const double s = sqrt(kept * (kept + 1.0) * (2 * kept + 1) / 24 - ties / 48);
        p = 2 * upper_tail((w - all / 2 - 0.5) / s);
    }
    free(v);
    return p > 1 ? 1 : p;
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

/* The repetitions of the case called `name`, in seconds; their number. */
static int repetitions_of(const json_t *doc, const char *name, double *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}};
    size_t i;
    json_t *b;
    int n = 0;
    json_array_foreach(json_object_get(doc, "benchmarks"), i, b) {
        const char *own = json_string_value(json_object_get(b, "run_name")),
                   *type = json_string_value(json_object_get(b, "run_type")),
                   *unit = json_string_value(json_object_get(b, "time_unit"));
        if (!own || !type || !unit || strcmp(own, name) || strcmp(type, "iteration") ||
            json_object_get(b, "error_occurred"))
            continue;
        for (size_t k = 0; k < sizeof units / sizeof *units && n < REPETITIONS; k++)
            if (!strcmp(units[k].unit, unit))
                seconds[n++] = json_number_value(json_object_get(b, "real_time")) * units[k].seconds;
    }
    return n;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* "p 0.008", and whether it may be believed. */
static const char *verdict(double ratio, double p, const compare_options *o) {
    if (!(p < o->alpha)) return "";
    return ratio > 1 + o->threshold ? "SLOWER" : ratio < 1 / (1 + o->threshold) ? "faster" : "";
}

static void warn_of_others(const json_t *old, const json_t *now) {
    static const char *const keys[] = {"device", "caches_before_a_run", "host_name"};
    const json_t *a = json_object_get(old, "context"), *b = json_object_get(now, "context");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *x = json_string_value(json_object_get(a, keys[i])),
                   *y = json_string_value(json_object_get(b, keys[i]));
        if (x && y && strcmp(x, y)) printf("not measured alike: %s is %s, was %s\n", keys[i], y, x);
    }
}

ldm_status bench_compare(const json_t *old, const json_t *now, const compare_options *o) {
    ldm_status st = LDM_OK;
    const json_t *list = json_object_get(now, "benchmarks");
    const size_t room = json_array_size(list);
    double *was = NULL, *is = NULL, *logs = NULL, sum = 0;
    int cases = 0, slower = 0, faster = 0, fewest = REPETITIONS;
    size_t i;
    json_t *b;
    if (!json_is_array(json_object_get(old, "benchmarks")))
        return ldm_fail(LDM_ERR_FORMAT,
                        "no list \"benchmarks\": wanted a file as `ldm bench -o` or Google Benchmark writes it");
    TRY(ldm_alloc(REPETITIONS * sizeof *was, (void **)&was));
    TRY(ldm_alloc(REPETITIONS * sizeof *is, (void **)&is));
    TRY(ldm_alloc((room + 1) * sizeof *logs, (void **)&logs));
    warn_of_others(old, now);
    printf("%12s %12s %8s %8s %-7s case\n", "old us", "new us", "new/old", "p", "");
    json_array_foreach(list, i, b) {
        const char *name = json_string_value(json_object_get(b, "run_name")),
                   *type = json_string_value(json_object_get(b, "run_type"));
        if (!name || !type || strcmp(type, "iteration") ||
            json_integer_value(json_object_get(b, "repetition_index")) > 0)
            continue;
        const int n = repetitions_of(old, name, was), m = repetitions_of(now, name, is);
        if (!n || !m) continue;
        const double p = bench_u_test(was, n, is, m), before = median(was, n), after = median(is, m),
                     ratio = after / before;
        const char *word = verdict(ratio, p, o);
        printf("%12.2f %12.2f %8.3f %8.4f %-7s %s\n", before * 1e6, after * 1e6, ratio, p, word, name);
        logs[cases++] = log(ratio), sum += log(ratio);
        slower += *word == 'S', faster += *word == 'f';
        if (n < fewest) fewest = n;
        if (m < fewest) fewest = m;
    }
    if (!cases) TRY(ldm_fail(LDM_ERR_FORMAT, "none of the cases measured now is in it"));
    const double p = bench_paired_test(logs, cases), mean = exp(sum / cases);
    const bool whole = cases > 1 && *verdict(mean, p, o) == 'S';
    printf("%d cases: %d slower, %d faster by over %g %% with p < %g; all as pairs: new/old %.3f (geometric mean), p "
           "%.4f (Wilcoxon)\n",
           cases, slower, faster, 100 * o->threshold, o->alpha, mean, p);
    if (fewest < ENOUGH)
        printf("%d repetitions is the smaller sample: %s; 9 or more on both sides tell small differences from chance\n",
               fewest,
               fewest < 4 ? "fewer than 4 on both sides can never show p < 0.05" : "enough for large differences only");
    if (slower || whole)
        st = ldm_fail(LDM_ERR_MISMATCH, "%d of %d cases became slower%s", slower, cases,
                      whole ? ", and all of them together" : "");
done:
    free(was), free(is), free(logs);
    return st;
}
