/* gbench_shim.h -- Google Benchmark seen from C: register a name with callbacks that report their own time, run them all.
 * The library chooses the number of iterations; the console gets a line a case (of several repetitions their median and
 * spread), the caller every repetition as the library's own JSON. */
#ifndef LDM_GBENCH_SHIM_H
#define LDM_GBENCH_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gbench_case {
    const char *name;                   /* all strings are copied */
    /* before each series of iterations; how many of them once() makes, 1 unless it is set; NULL, or why the case cannot be
     * timed */
    const char *(*begin)(void *self, int *batch);
    double (*once)(void *self);         /* a batch; seconds of an iteration, negative on failure */
    double (*other_load)(void *self);   /* share of the processors' time that others took since begin, 0 to 1 */
    void *self;
    double flops, bytes;                /* of one iteration: shown as GFLOP/s and GB/s */
    double peak_gflops, limit_seconds;  /* shown as % of peak and % of roofline */
    int iterations;                     /* of a repetition; 0: as many as take the least time */
} gbench_case;

void gbench_register(const gbench_case *c);
void gbench_context(const char *key, const char *value); /* goes into the JSON's context */
/* argv: the library's own --benchmark_... options, argv[0] the program. The number of cases run, -1 on a bad option; *json
 * is the library's JSON, freed with free(). */
int gbench_run(int argc, char **argv, char **json);

#ifdef __cplusplus
}
#endif
#endif
