/* test_compare.c -- `ldm bench --compare`: the two tests against values by hand and of scipy, and verdicts on
 * documents. */
#include "bench/compare.h"
#include "test.h"
#include <math.h>
#include <stdlib.h>

static bool near(double got, double want) { return fabs(got - want) < 1e-9; }

/* A document with one case called `name` whose repetitions are t[n] in `unit`. */
static json_t *document(const char *name, const char *unit, const double *t, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:i, s:f, s:s}", "name", name, "run_name", name, "run_type",
                                        "iteration", "repetition_index", i, "real_time", t[i], "time_unit", unit));
    return json_pack("{s:o}", "benchmarks", list);
}

static ldm_status verdict(const double *old, const char *unit, const double *now, int n, double threshold) {
    json_t *a = document("x", unit, old, n), *b = document("x", "us", now, n);
    ldm_status st = bench_compare(a, b, &(compare_options){0.05, threshold});
    json_decref(a), json_decref(b);
    return st;
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "compare");
    CASE("U test, exact") { /* all of one sample above the other: 2 of the C(n + m, n) orders are as far out */
        CHECK(near(bench_u_test((double[]){1, 2, 3}, 3, (double[]){4, 5, 6}, 3), 2.0 / 20), "3 and 3");
        CHECK(near(bench_u_test((double[]){9, 8, 7, 6}, 4, (double[]){1, 2, 3, 4}, 4), 2.0 / 70), "4 and 4");
        CHECK(near(bench_u_test((double[]){1, 3}, 2, (double[]){2, 4, 5}, 3), 4.0 / 10),
              "U = 1 and 5 of 2 and 3: orders with U <= 1 are 2 of 10");
        CHECK(near(bench_u_test((double[]){1, 4, 6, 7}, 4, (double[]){2, 3, 5, 8, 9}, 5), 0.7301587301587301),
              "scipy 1.18");
    }
    CASE("U test, normal") {
        const double a[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, b[9] = {3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5};
        CHECK(near(bench_u_test(a, 9, b, 9), 0.0933976745287926), "9 and 9: %.12f", bench_u_test(a, 9, b, 9));
        CHECK(near(bench_u_test((double[]){1, 1, 2, 3}, 4, (double[]){2, 3, 3, 4}, 4), 0.13416918012812584),
              "ties: %.12f", bench_u_test((double[]){1, 1, 2, 3}, 4, (double[]){2, 3, 3, 4}, 4));
        CHECK(bench_u_test(a, 9, a, 9) > 0.9, "a sample and itself");
        CHECK(bench_u_test((double[]){5, 5, 5}, 3, (double[]){5, 5, 5}, 3) == 1, "one value");
    }
    CASE("paired test") { /* all of n differences of one sign: 2 of 2^n */
        CHECK(near(bench_paired_test((double[]){1, 2, 3, 4, 5, 6}, 6), 2.0 / 64), "six up");
        CHECK(near(bench_paired_test((double[]){-1, -2, -3, -4, -5}, 5), 2.0 / 32), "five down");
        CHECK(near(bench_paired_test((double[]){1, -2, 3, 4, 5, -6, 7}, 7), 0.375), "scipy: %.12f",
              bench_paired_test((double[]){1, -2, 3, 4, 5, -6, 7}, 7));
        CHECK(near(bench_paired_test((double[]){0, 0, 1, 1, 1}, 5), 2.0 / 8), "zeros leave, ties share");
        CHECK(bench_paired_test((double[]){0, 0}, 2) == 1, "no difference");
        double many[300];
        for (int i = 0; i < 300; i++) many[i] = i % 2 ? i : -i - 0.5;
        CHECK(bench_paired_test(many, 300) > 0.5 && bench_paired_test(many, 150) > 0.5, "balanced, normal and exact");
        for (int i = 0; i < 300; i++) many[i] = i % 4 ? i : -i;
        CHECK(bench_paired_test(many, 300) < 1e-6 && bench_paired_test(many, 150) < 1e-4, "three of four up");
    }
    CASE("verdicts") {
        const double before[5] = {10, 11, 12, 13, 14}, slow[5] = {15, 16, 17, 18, 19},
                     mixed[5] = {9.5, 11.5, 12.5, 13.5, 14.5}, slightly[5] = {14.1, 14.2, 14.3, 14.4, 14.5},
                     ms[5] = {0.010, 0.011, 0.012, 0.013, 0.014};
        CHECK(verdict(before, "us", slow, 5, 0.05) == LDM_ERR_MISMATCH, "slower is not seen");
        CHECK(strstr(ldm_message(), "1 of 1 cases became slower"), "%s", ldm_message());
        CHECK_OK(verdict(slow, "us", before, 5, 0.05));
        CHECK_OK(verdict(before, "us", mixed, 5, 0));       /* by chance */
        CHECK_OK(verdict(before, "us", slightly, 5, 0.25)); /* surely, but not by much */
        CHECK(verdict(before, "us", slightly, 5, 0.05) == LDM_ERR_MISMATCH, "threshold");
        CHECK_OK(verdict(before, "us", slow, 3, 0.05)); /* three can never tell: p is 0.1 */
        CHECK_OK(verdict(ms, "ms", before, 5, 0.05));   /* the same in another unit */
        CHECK(verdict(ms, "ms", slow, 5, 0.05) == LDM_ERR_MISMATCH, "another unit");
    }
    CASE("all as pairs") { /* eight cases of one repetition, each 10 % slower: none alone, all together */
        json_t *a = json_array(), *b = json_array();
        for (int i = 0; i < 8; i++)
            for (int new = 0; new < 2; new ++) {
                char name[16];
                snprintf(name, sizeof name, "c%d", i);
                json_t *one = document(name, "us", (double[]){(10 + i) * (new ? 1.1 + 0.001 * i : 1)}, 1);
                json_array_extend(new ? b : a, json_object_get(one, "benchmarks"));
                json_decref(one);
            }
        json_t *old = json_pack("{s:o}", "benchmarks", a), *now = json_pack("{s:o}", "benchmarks", b);
        CHECK(bench_compare(old, now, &(compare_options){0.05, 0.05}) == LDM_ERR_MISMATCH, "not seen");
        CHECK(strstr(ldm_message(), "0 of 8 cases became slower, and all of them together"), "%s", ldm_message());
        CHECK_OK(bench_compare(now, old, &(compare_options){0.05, 0.05}));
        CHECK_OK(bench_compare(old, now, &(compare_options){0.05, 0.2}));
        json_decref(old), json_decref(now);
    }
    CASE("no documents") {
        json_t *none = json_object(), *one = document("x", "us", (double[]){1, 2}, 2),
               *other = document("y", "us", (double[]){1, 2}, 2);
        CHECK(bench_compare(none, one, &(compare_options){0.05, 0.05}) == LDM_ERR_FORMAT &&
                  strstr(ldm_message(), "benchmarks"),
              "no list");
        CHECK(bench_compare(other, one, &(compare_options){0.05, 0.05}) == LDM_ERR_FORMAT &&
                  strstr(ldm_message(), "none"),
              "no common case");
        json_decref(none), json_decref(one), json_decref(other);
    }
    return test_end();
}
