/* test_convert.c -- f32 to f16 and bf16 by the host and by the device's `cast`, against the reference's rounding
 * (worked in double) and the compiler's own half type: every bit equal, NaNs stay NaNs (on the host with their sign),
 * too large becomes infinity. Here every 257th of the 2^32 floats, and beside every number of both types the float
 * itself, the tie to the next number, and their neighbours; with --all (make sweep) every float. The way back, of
 * 65,536 numbers each, is whole in either.
 *
 *   test_convert [--device D] [--all] [PART OF A CASE]... */
#include "ops/op.h"
#include "reference/reference.h"
#include "tests/opcase.h"

enum { STRIDE = 257, BLOCK = 1 << 16, DEVICE_BLOCK = 1 << 22 };

static uint64_t stride = STRIDE, edges, total;
static uint32_t *edge;

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* The i-th float of the sweep. */
static float value(uint64_t i) { return float_of(i < edges ? edge[i] : (uint32_t)((i - edges) * stride)); }

/* Around every number of a type, and the tie between it and the next of the same sign. */
static void make_edges(void) {
    edge = malloc(2 * 6 * 65536 * sizeof *edge);
    if (!edge) abort();
    for (uint32_t h = 0; h < 65536; h++) {
        const uint32_t low = bits_of(ldm_f16_to_f32((uint16_t)h)), high = bits_of(ldm_f16_to_f32((uint16_t)(h + 1)));
        const uint32_t tie = bits_of((float_of(low) + float_of(high)) / 2), infinite = 0x477ff000 | (h & 0x8000) << 16;
        const uint32_t at[4] = {low, (h & 0x7fff) == 0x7bff ? infinite : tie, h << 16, h << 16 | 0x8000};
        for (int i = 0; i < 4; i++)
            for (uint32_t d = 0; d < 3; d++) edge[edges++] = at[i] + d - 1;
    }
    total = edges + (0x100000000 + stride - 1) / stride;
}

/* ---- judging: one tally for each conversion ------------------------------------------------------------------------
 */

typedef struct tally {
    uint64_t bad;
    float in, got; /* of one of them */
    double want;
} tally;

/* `got` is what was stored, read back. */
static void judge(tally *t, float in, float got, double want, bool nan_sign) {
    const bool sign = !signbit(got) == !signbit(in);
    if (isnan(in) ? isnan(got) && (sign || !nan_sign) : (double)got == want && sign) return;
#pragma omp critical
    t->bad++, t->in = in, t->got = got, t->want = want;
}

static void report(const tally *t, const char *what) {
    CHECK(t->bad == 0, "%s: %llu of %llu wrong; %.9g (0x%08x) became %.9g, wanted %.9g", what,
          (unsigned long long)t->bad, (unsigned long long)total, t->in, bits_of(t->in), t->got, t->want);
}

static void reference(ldm_dtype t, const float *x, int64_t count, double *y, double *bound) {
    ref_cast((ref_out){.u_out = ldm_dtype_unit(t), .tiny = ldm_dtype_tiny(t), .y = y, .bound = bound}, count, x);
}

/* ---- host ----------------------------------------------------------------------------------------------------------
 */

static double by_compiler(float f) { return (double)(_Float16)f; }

static void host(void) {
    tally f16 = {0}, compiler = {0}, bf16 = {0};
    ldm_progress progress;
    const int64_t blocks = (int64_t)((total + BLOCK - 1) / BLOCK);
    int64_t done = 0;
    ldm_progress_begin(&progress, "floats to f16 and bf16, host", "float", (double)total);
#pragma omp parallel
    {
        float *x = malloc(BLOCK * sizeof *x);
        double *y = malloc(2 * BLOCK * sizeof *y);
        uint16_t *stored = malloc(BLOCK * sizeof *stored);
        if (!x || !y || !stored) abort();
#pragma omp for schedule(dynamic, 16)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t n = 0;
            while (n < BLOCK && (uint64_t)(b * BLOCK + n) < total) x[n] = value((uint64_t)(b * BLOCK + n)), n++;
            reference(LDM_F16, x, n, y, y + BLOCK);
            ldm_from_f32(LDM_F16, x, (size_t)n, stored);
            for (int64_t i = 0; i < n; i++) {
                const float got = ldm_f16_to_f32(stored[i]);
                judge(&f16, x[i], got, y[i], true);
                judge(&compiler, x[i], got, by_compiler(x[i]), true);
            }
            reference(LDM_BF16, x, n, y, y + BLOCK);
            ldm_from_f32(LDM_BF16, x, (size_t)n, stored);
            for (int64_t i = 0; i < n; i++) judge(&bf16, x[i], ldm_bf16_to_f32(stored[i]), y[i], true);
#pragma omp critical(progress)
            ldm_progress_to(&progress, (double)(done += n));
        }
        free(x), free(y), free(stored);
    }
    ldm_progress_end(&progress);
    report(&f16, "f16 against the reference");
    report(&compiler, "f16 against the compiler");
    report(&bf16, "bf16 against the reference");
}

/* ---- device --------------------------------------------------------------------------------------------------------
 */

static ldm_status device_row(ldm_cl *cl, const ldm_problem *p, const ldm_impl *impl, tally *t) {
    const int64_t most = p->dim[0];
    ldm_status st = LDM_OK;
    ldm_buffer *slot[2] = {NULL, NULL};
    ldm_recipe *recipe = NULL;
    ldm_step *step = NULL;
    float *x = NULL;
    double *want = NULL;
    uint16_t *y = NULL;
    int params[LDM_MAX_TUNABLES];
    ldm_progress progress;
    ldm_progress_begin(&progress, impl->name, "float", (double)total);
    ldm_default_params(p, impl, ldm_cl_device(cl), params);
    TRY(ldm_alloc(sizeof *recipe, (void **)&recipe));
    TRY(ldm_alloc((size_t)most * sizeof *x, (void **)&x));
    TRY(ldm_alloc((size_t)most * sizeof *y, (void **)&y));
    TRY(ldm_alloc(2 * (size_t)most * sizeof *want, (void **)&want));
    TRY(ldm_buffer_create(cl, (size_t)most * sizeof *x, &slot[0]));
    TRY(ldm_buffer_create(cl, (size_t)most * sizeof *y, &slot[1]));
    TRY(impl->record(p, params, ldm_cl_device(cl), recipe));
    TRY(ldm_step_create(cl, recipe, slot, 2, NULL, &step));
    for (uint64_t from = 0; from < total; from += (uint64_t)most) {
        const int64_t n = total - from < (uint64_t)most ? (int64_t)(total - from) : most;
#pragma omp parallel for
        for (int64_t i = 0; i < n; i++) x[i] = value(from + (uint64_t)i);
        TRY(ldm_buffer_write(slot[0], 0, x, (size_t)most * sizeof *x));
        TRY(ldm_step_enqueue(step));
        TRY(ldm_buffer_read(slot[1], 0, y, (size_t)most * sizeof *y));
#pragma omp parallel for
        for (int64_t b = 0; b < n; b += BLOCK) {
            const int64_t end = b + BLOCK < n ? b + BLOCK : n;
            reference(LDM_F16, x + b, end - b, want + 2 * b, want + 2 * b + BLOCK);
            for (int64_t i = b; i < end; i++) judge(t, x[i], ldm_f16_to_f32(y[i]), want[b + i], false);
        }
        ldm_progress_to(&progress, (double)(from + (uint64_t)n));
    }
done:
    ldm_progress_end(&progress);
    ldm_step_destroy(step);
    for (int i = 0; i < 2; i++) ldm_buffer_destroy(slot[i]);
    free(recipe), free(x), free(y), free(want);
    return st;
}

static void device(ldm_cl *cl) {
    char text[64];
    ldm_problem p;
    snprintf(text, sizeof text, "cast:f32 count=%d to=f16", DEVICE_BLOCK);
    CHECK_OK(ldm_problem_parse(text, &p));
    for (const ldm_impl *impl = p.op->impls; impl->name; impl++) {
        tally t = {0};
        if (impl->supports && impl->supports(&p, ldm_cl_device(cl))) continue;
        CHECK_OK(device_row(cl, &p, impl, &t));
        report(&t, impl->name);
    }
}

/* ---- and back -------------------------------------------------------------------------------------------------------
 */

/* What the bits of a number with `digits` binary digits mean, from the definition: the first denormal is 2^lowest. */
static double meaning(uint32_t bits, int digits, int lowest) {
    const uint32_t one = 1u << (digits - 1), mantissa = bits & (one - 1), exponent = (bits & 0x7fff) / one;
    const double v = exponent == 0x7fff / one ? (mantissa ? NAN : INFINITY)
                     : exponent               ? ldexp(one + mantissa, lowest + (int)exponent - 1)
                                              : ldexp(mantissa, lowest);
    return bits & 0x8000 ? -v : v;
}

static float all[65536]; /* what ldm_to_f32 makes of 0, 1, 2 .. */

static void back(ldm_dtype t, float (*one)(uint16_t), int digits, int lowest) {
    static uint16_t bits[65536];
    int bad = 0;
    for (uint32_t h = 0; h < 65536; h++) bits[h] = (uint16_t)h;
    ldm_to_f32(t, bits, 65536, all);
    for (uint32_t h = 0; h < 65536; h++) {
        const double want = meaning(h, digits, lowest);
        const float got = one((uint16_t)h);
        bad += isnan(want) ? !isnan(got) || !isnan(all[h]) : got != want || all[h] != got;
        bad += !signbit(got) != !signbit(want) || !signbit(all[h]) != !signbit(want);
    }
    CHECK(bad == 0, "%d values differ", bad);
}

static void device_back(ldm_cl *cl) {
    static float got[65536];
    const float *in[LDM_MAX_SLOTS] = {all};
    ldm_problem p;
    CHECK_OK(ldm_problem_parse("cast:f16 count=65536", &p));
    for (const ldm_impl *impl = p.op->impls; impl->name; impl++) {
        ldm_choice choice = {.impl = impl};
        ldm_oprun *run = NULL;
        int bad = 0;
        if (impl->supports && impl->supports(&p, ldm_cl_device(cl))) continue;
        ldm_default_params(&p, impl, ldm_cl_device(cl), choice.params);
        CHECK_OK(ldm_oprun_create(cl, &p, &choice, in, &run));
        if (!run) continue;
        CHECK_OK(ldm_oprun_result(run, got));
        ldm_oprun_destroy(run);
        for (int h = 0; h < 65536; h++)
            bad += isnan(all[h]) ? !isnan(got[h]) : got[h] != all[h] || !signbit(got[h]) != !signbit(all[h]);
        CHECK(bad == 0, "%s: %d values differ", impl->name, bad);
    }
}

int main(int argc, char **argv) {
    const ldm_cl_options options = {.select = opcase_device_option(&argc, argv)};
    ldm_cl *cl = NULL;
    if (opcase_option("--all", &argc, argv)) stride = 1;
    test_begin(argc, argv, "convert");
    make_edges();
    CASE("f32 to f16 and bf16, host") host();
    CASE("bf16 to f32, host") back(LDM_BF16, ldm_bf16_to_f32, 8, -133);
    CASE("f16 to f32, host") back(LDM_F16, ldm_f16_to_f32, 11, -24);
    CASE("device") CHECK_OK(ldm_cl_open(&options, &cl));
    if (cl) {
        CASE("f32 to f16, every row of cast") device(cl);
        CASE("f16 to f32, every row of cast") {
            back(LDM_F16, ldm_f16_to_f32, 11, -24);
            device_back(cl);
        }
    }
    ldm_cl_close(cl);
    free(edge);
    return test_end();
}
