/* gbench_shim.h -- Google Benchmark seen from C: register a name with callbacks that report their own time, run them all.
 * The library chooses the number of iterations and prints the console table (or what --benchmark_format asks for). */
#ifndef LDM_GBENCH_SHIM_H
#define LDM_GBENCH_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gbench_case {
    const char *name;                   /* all strings are copied */
    const char *(*begin)(void *self);   /* before each series of iterations; NULL, or why the case cannot be timed */
    double (*once)(void *self);         /* one iteration; its seconds, negative on failure */
    void *self;
    double flops, bytes;                /* of one iteration: shown as GFLOP/s and GB/s */
    double peak_gflops, limit_seconds;  /* shown as % of peak and % of roofline */
} gbench_case;

void gbench_register(const gbench_case *c, double min_seconds);
/* argv: the library's own --benchmark_... options, argv[0] the program. Returns the number of cases run, -1 on a bad option. */
int gbench_run(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
