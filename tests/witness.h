/* witness.h -- the fixtures of tests/fixtures (what PyTorch made of small networks: tests/oracle says how), and the bar
 * their results are held to.
 *
 * The bar (the rule of FlashAttention's tests): the largest error is at most twice that of a plain evaluation at the
 * same storage, plus two ulps of the result's peak (the witness's numbers were rounded when they were stored, ours are
 * stored too); the mean error at most 1.5 times in f16, twice in f32. The plain evaluation is PyTorch's own in f32 (its
 * errors are in fixture.json) and our reference executor in f16. PyTorch sums in blocks; our plainest kernels, which
 * add one product after the other, have up to 1.7 times its mean error, hence 2 (but at most 1.5 times and a millionth
 * of the peak). One run is one draw of its rounding errors, and the largest of them has a long tail: so the plain error
 * is in both cases the worst of five runs, four of them with inputs moved by up to half an ulp of the storage type. */
#ifndef LDM_TEST_WITNESS_H
#define LDM_TEST_WITNESS_H

#include "ckpt/ckpt.h"
#include "io/io.h"
#include "test.h"
#include <jansson.h>
#include <math.h>

static const char *root = "tests/fixtures";

/* ---- a fixture --------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    const char *name;
    json_t *json;
    ldm_ckpt *weights; /* NULL: the fixture stores none */
} fixture;

static inline const char *path_of(const fixture *f, const char *file) {
    static char path[4][512];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s/%s", root, f->name, file);
    return p;
}

static inline ldm_status fixture_open(const char *name, fixture *f) {
    ldm_status st = LDM_OK;
    *f = (fixture){.name = name};
    json_error_t error;
    f->json = json_load_file(path_of(f, "fixture.json"), 0, &error);
    if (!f->json) return ldm_fail(LDM_ERR_FORMAT, "%s: %s", path_of(f, "fixture.json"), error.text);
    const char *weights = json_string_value(json_object_get(f->json, "weights"));
    if (weights) st = ldm_ckpt_open(path_of(f, weights), &f->weights);
    return st;
}

static inline void fixture_close(fixture *f) {
    ldm_ckpt_close(f->weights);
    json_decref(f->json);
}

static inline const char *text(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static inline double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static inline ldm_status read_input(const fixture *f, const json_t *run, const char *name, ldm_array *out) {
    return ldm_npy_read_f32(path_of(f, text(json_object_get(run, "inputs"), name)), out);
}

/* ---- comparison -------------------------------------------------------------------------------------------------- */

typedef struct difference {
    double max, mean, peak;
} difference;

static inline difference compare(const float *got, const float *want, int64_t count) {
    difference d = {0};
    for (int64_t i = 0; i < count; i++) {
        double e = fabs((double)got[i] - want[i]);
        if (!(e <= d.max)) d.max = e; /* a NaN stays */
        d.mean += e / (double)count;
        d.peak = fmax(d.peak, fabs(want[i]));
    }
    return d;
}

/* The bar. `worst`: error / allowance so far, of the largest and of the mean error. */
static inline void hold(const char *what, difference got, ldm_dtype t, difference plain, double worst[2]) {
    const double max = 2 * plain.max + 0x1p-22 * got.peak,
                 mean = fmin((t == LDM_F32 ? 2 : 1.5) * plain.mean, 1.5 * plain.mean + 1e-6 * got.peak);
    if (!(got.max / max <= worst[0])) worst[0] = got.max / max;
    if (!(got.mean / mean <= worst[1])) worst[1] = got.mean / mean;
    CHECK(got.max <= max && got.mean <= mean, "%s: error max %.3g mean %.3g of peak %.3g, allowed %.3g and %.3g", what,
          got.max, got.mean, got.peak, max, mean);
}

static inline void show(const char *what, const double worst[2]) {
    printf("%s: %s: error / allowance: max %.2f, mean %.2f\n", test_case_name, what, worst[0], worst[1]);
}

static inline void judge(const char *what, difference got, ldm_dtype t, difference plain) {
    double worst[2] = {0};
    hold(what, got, t, plain, worst);
    show(what, worst);
}

enum { PLAIN_RUNS = 5 };

/* Moves x by up to half an ulp of t; draw 0 leaves it alone. */
static inline void nudge(float *x, int64_t count, ldm_dtype t, int draw) {
    for (int64_t i = 0; draw && i < count; i++)
        x[i] *= (float)(1 + ldm_dtype_unit(t) * (double)ldm_uniform(1, (uint64_t)draw, (uint64_t)i));
}

/* The worst of the plain runs. */
static inline void worse(difference *of, difference d) {
    if (!(d.max <= of->max)) of->max = d.max;
    if (!(d.mean <= of->mean)) of->mean = d.mean;
    of->peak = d.peak;
}

#endif
