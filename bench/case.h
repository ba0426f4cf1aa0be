/* case.h -- one problem in one implementation on one device: filled, verified once against the reference, then timed. */
#ifndef LDM_BENCH_CASE_H
#define LDM_BENCH_CASE_H

#include "bench/cold.h"
#include "ops/op.h"

typedef struct bench_case {
    ldm_cl *cl;                     /* borrowed */
    ldm_problem p;
    ldm_choice choice;
    char text[LDM_PROBLEM_TEXT];
    ldm_cost cost;
    ldm_oprun *run;                 /* NULL until opened */
    int batch;                      /* enqueues between two waits: short kernels are timed back to back, as networks run them */
    bench_cold *cold;               /* borrowed; not NULL: caches are emptied before each run, and device time counts */
    ldm_verdict verdict;            /* of the one verification */
} bench_case;

/* `impl` [opt]: a row's name; NULL: the row the table chooses. */
ldm_status bench_case_init(bench_case *c, ldm_cl *cl, const ldm_problem *p, const char *impl);
/* Allocates, fills, runs and judges sampled outputs (LDM_ERR_MISMATCH with a repro line if one is out of its bound). */
ldm_status bench_case_open(bench_case *c);
/* Seconds of one run: warm as the mean over one batch, enqueue to finish; cold on the device (needs a profiling queue). */
ldm_status bench_case_time(bench_case *c, double *seconds);
void bench_case_close(bench_case *c);

#endif
