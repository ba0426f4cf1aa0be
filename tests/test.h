/* test.h -- the smallest test harness: a program per area (tests/test_*.c), checks counted, one closing line.
 *   int main(int argc, char **argv) { test_begin(argc, argv, "ckpt"); ...; return test_end(); }
 * A failed CHECK prints where and why and goes on. CASE names what follows; `prog NAME...` runs only matching cases. */
#ifndef LDM_TEST_H
#define LDM_TEST_H

#include "base/base.h"
#include <stdlib.h>
#include <string.h>

static int test_passed, test_failed, test_skipped, test_case_failed;
static const char *test_area, *test_case_name;
static char **test_only;
static int test_only_count;

static inline void test_begin(int argc, char **argv, const char *area) {
    test_area = area, test_only = argv + 1, test_only_count = argc - 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline void test_close_case(void) {
    if (!test_case_name) return;
    if (test_case_failed) test_failed++;
    else test_passed++;
    test_case_name = NULL;
}

/* Opens a case; false if it was not asked for. `name` must live until the next CASE. */
static inline bool test_open_case(const char *name) {
    test_close_case();
    for (int i = 0; i < test_only_count; i++)
        if (strstr(name, test_only[i])) goto wanted;
    if (test_only_count) return false;
wanted:
    test_case_name = name, test_case_failed = 0;
    return true;
}
#define CASE(name) if (test_open_case(name))

#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            test_case_failed++;                                                                                        \
            printf("FAIL %s: %s (%s:%d): ", test_area, test_case_name ? test_case_name : "?", __FILE__, __LINE__);     \
            printf(__VA_ARGS__);                                                                                       \
            printf("\n");                                                                                              \
        }                                                                                                              \
    } while (0)
#define CHECK_OK(expr)                                                                                                 \
    do {                                                                                                               \
        ldm_status check_st = (expr);                                                                                  \
        CHECK(check_st == LDM_OK, "%s: %s", #expr, ldm_message());                                                     \
    } while (0)
/* the open case counts as skipped, with its reason */
#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        printf("SKIP %s: %s: ", test_area, test_case_name ? test_case_name : "?");                                     \
        printf(__VA_ARGS__);                                                                                           \
        printf("\n");                                                                                                  \
        test_skipped++, test_case_name = NULL;                                                                         \
    } while (0)

static inline int test_end(void) {
    test_close_case();
    if (!test_only_count && test_passed + test_failed + test_skipped == 0)
        test_failed++, printf("FAIL %s: no case ran\n", test_area);
    printf("%s: %d passed, %d failed, %d skipped\n", test_area, test_passed, test_failed, test_skipped);
    return test_failed ? 1 : 0;
}

#endif
