/* gbench_shim.cc -- the one C++ file around Google Benchmark. Owns registration and how runs are reported. */
#include "bench/gbench_shim.h"
#include <benchmark/benchmark.h>
#include <cstring>
#include <sstream>
#include <unistd.h>

static void run_case(benchmark::State &state, gbench_case c) {
    int batch = 1;
    const char *why = c.begin(c.self, &batch);
    if (why) state.SkipWithError(why);
    double total = 0;
    while (state.KeepRunningBatch(batch)) {
        double seconds = batch * c.once(c.self);
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
    state.counters["%other"] = 100 * c.other_load(c.self);
}

/* Everything as JSON into `text`; on the console of several repetitions their median and the coefficient of variation. */
class Both : public benchmark::ConsoleReporter {
    benchmark::JSONReporter json;

public:
    std::ostringstream text;
    Both() : ConsoleReporter(isatty(1) ? OO_Color : OO_None) {
        json.SetOutputStream(&text);
        json.SetErrorStream(&GetErrorStream());
    }
    bool ReportContext(const Context &context) override { return json.ReportContext(context) && ConsoleReporter::ReportContext(context); }
    void ReportRuns(const std::vector<Run> &runs) override {
        std::vector<Run> shown;
        json.ReportRuns(runs);
        for (const Run &r : runs)
            if (r.error_occurred || r.repetitions <= 1 ||
                (r.run_type == Run::RT_Aggregate && (r.aggregate_name == "median" || r.aggregate_name == "cv")))
                shown.push_back(r);
        if (!shown.empty()) ConsoleReporter::ReportRuns(shown);
    }
    void Finalize() override { json.Finalize(); }
};

extern "C" void gbench_register(const gbench_case *c) {
    gbench_case copy = *c;
    auto *b = benchmark::RegisterBenchmark(c->name, [copy](benchmark::State &state) { run_case(state, copy); });
    b->UseManualTime()->Unit(benchmark::kMicrosecond);
    if (c->iterations) b->Iterations(c->iterations);
}

extern "C" void gbench_context(const char *key, const char *value) { benchmark::AddCustomContext(key, value); }

extern "C" int gbench_run(int argc, char **argv, char **json) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return -1;
    Both reporter;
    int n = (int)benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::Shutdown();
    std::string text = reporter.text.str();
    for (size_t at; (at = text.find(": NaN")) != std::string::npos;) text.replace(at + 2, 3, "null"); /* of zeros the spread; JSON has no NaN */
    *json = strdup(text.c_str());
    return n;
}
