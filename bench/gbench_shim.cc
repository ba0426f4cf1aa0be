/* gbench_shim.cc -- the one C++ file around Google Benchmark. Owns nothing but the library's registration. */
#include "bench/gbench_shim.h"
#include <benchmark/benchmark.h>

static void run_case(benchmark::State &state, gbench_case c) {
    const char *why = c.begin(c.self);
    if (why) state.SkipWithError(why);
    double total = 0;
    for (auto _ : state) {
        double seconds = c.once(c.self);
        if (seconds < 0) {
            state.SkipWithError("failed while being timed");
            break;
        }
        state.SetIterationTime(seconds);
        total += seconds;
    }
    if (total <= 0) return;
    double each = total / (double)state.iterations();
    state.counters["GFLOP/s"] = c.flops / each * 1e-9;
    state.counters["GB/s"] = c.bytes / each * 1e-9;
    state.counters["%peak"] = 100 * c.flops / each * 1e-9 / c.peak_gflops;
    state.counters["%roof"] = 100 * c.limit_seconds / each;
}

extern "C" void gbench_register(const gbench_case *c, double min_seconds) {
    gbench_case copy = *c;
    benchmark::RegisterBenchmark(c->name, [copy](benchmark::State &state) { run_case(state, copy); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond)
        ->MinTime(min_seconds);
}

extern "C" int gbench_run(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return -1;
    int n = (int)benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return n;
}
