/* suite.h -- the cases of one `ldm bench`: problems in rows, and whole networks; run by Google Benchmark, and what it
 * found as one JSON document. */
#ifndef LDM_BENCH_SUITE_H
#define LDM_BENCH_SUITE_H

#include "bench/net.h"
#include <jansson.h>

typedef struct suite_options {
    const char *ops, *impl, *filter; /* NULL: all ops; the rows the table chooses; every problem */
    const char *const
        *files;       /* shape files, ends with NULL; NULL or empty: all of bench/shapes, unless there are nets */
    const char *nets; /* names with commas, or NULL */
    app_network_options net; /* how they are run; .net is not read */
    bool cold;               /* caches emptied before each run of a problem: needs a device opened with profiling */
    double min_time;         /* seconds a repetition of a case takes at least */
    int repetitions;
    char *const *pass; /* --benchmark_... options, `passed` of them */
    int passed;
} suite_options;

typedef struct suite suite;

/* Everything the options ask for; none is LDM_ERR_ARG. */
ldm_status suite_create(ldm_cl *cl, const suite_options *o, suite **out);
void suite_list(const suite *s); /* the cases, a line each */
/* Runs them. *out [new reference]: Google Benchmark's document ("context", "benchmarks": each repetition and
 * aggregate), and "rows": of each case the median over the repetitions, its spread, and how it stands to the measured
 * peak and roofline. Cases that fail are rows with "failed"; their number is *failures. */
ldm_status suite_run(suite *s, json_t **out, int *failures);
void suite_destroy(suite *s);

#endif
