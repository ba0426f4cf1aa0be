/* test_rng.c -- random numbers: PyTorch's CPU generator at every length around its block boundaries, its CUDA generator
 * as another program has it, past one pass of the device's threads, and our own. Fixture:
 * tests/oracle/random_numbers.py. */
#include "sample/sample.h"
#include "test.h"
#include <jansson.h>
#include <math.h>

#define OURS "660a0cb8103f3832de573c567df47e052ed6d047e181983dd786ac49ecf6da41" /* 100,000 numbers, seed 42 */
enum { LONGEST = 100000 };
static float x[LONGEST], y[LONGEST];

static ldm_rng *start(ldm_rng_kind kind, uint64_t seed) {
    ldm_rng *r = NULL;
    CHECK_OK(ldm_rng_create(kind, seed, &r));
    return r;
}
static uint64_t seed_of(const json_t *o) { return strtoull(json_string_value(json_object_get(o, "seed")), NULL, 10); }
static long long integer(const json_t *o, const char *key) { return json_integer_value(json_object_get(o, key)); }

/* Calls in a row of one generator, within 2e-6. */
static double check_runs(const json_t *runs, ldm_rng_kind kind) {
    size_t i, j, k;
    json_t *run, *call, *place;
    double worst = 0;
    json_array_foreach(runs, i, run) {
        ldm_rng *r = start(kind, seed_of(run));
        json_array_foreach(json_object_get(run, "calls"), j, call) {
            int64_t n = integer(call, "n");
            ldm_rng_fill(r, x, n);
            json_array_foreach(json_object_get(call, "at"), k, place) {
                double want = json_real_value(json_array_get(json_object_get(call, "value"), k));
                long long at = json_integer_value(place);
                worst = fmax(worst, fabs(x[at] - want));
                CHECK(fabs(x[at] - want) <= 2e-6, "seed %llu, call %zu of %lld: [%lld] = %.9g, wanted %.9g",
                      (unsigned long long)seed_of(run), j, (long long)n, at, x[at], want);
            }
        }
        ldm_rng_destroy(r);
    }
    return worst;
}

static void check_uniform(const json_t *list) {
    size_t i;
    json_t *run;
    json_array_foreach(list, i, run) {
        int64_t n = integer(run, "n");
        ldm_rng *r = start((ldm_rng_kind){0}, seed_of(run));
        char hex[65];
        ldm_rng_uniform(r, x, n);
        ldm_sha256_hex(x, (size_t)n * sizeof *x, hex);
        CHECK(!strcmp(hex, json_string_value(json_object_get(run, "sha256"))), "%lld uniforms differ", (long long)n);
        ldm_rng_destroy(r);
    }
}

/* Mean 0, deviation 1, and as many beyond 1, 2 and 3 as there should be, to five standard errors. */
static void check_normal(const char *what, ldm_rng_kind kind) {
    ldm_rng *r = start(kind, 5);
    double sum = 0, squares = 0, n = LONGEST;
    static const double share[3] = {0.31731050786, 0.04550026390, 0.00269979606};
    int beyond[3] = {0};
    ldm_rng_fill(r, x, LONGEST);
    for (int i = 0; i < LONGEST; i++) {
        sum += x[i], squares += (double)x[i] * x[i];
        for (int k = 0; k < 3; k++) beyond[k] += fabsf(x[i]) > (float)(k + 1);
    }
    CHECK(fabs(sum / n) < 5 / sqrt(n) && fabs(squares / n - 1) < 5 * sqrt(2 / n), "%s: mean %g, variance %g", what,
          sum / n, squares / n);
    for (int k = 0; k < 3; k++)
        CHECK(fabs(beyond[k] - n * share[k]) < 5 * sqrt(n * share[k]), "%s: %d beyond %d", what, beyond[k], k + 1);
    ldm_rng_destroy(r);
}

static void past_one_pass(void) {
    /* counter 0, key 0 gives the words 6627e8d5 e169c58d bc57ac4c 9b00dbd8 (Random123's known answers) */
    const double words[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    double want[4];
    for (int k = 0; k < 2; k++) {
        double u = words[2 * k] * 0x1p-32 + 0x1p-33, v = 2 * M_PI * (words[2 * k + 1] * 0x1p-32 + 0x1p-33);
        want[2 * k] = sqrt(-2 * log(u)) * sin(v), want[2 * k + 1] = sqrt(-2 * log(u)) * cos(v);
    }
    const ldm_rng_kind narrow = {LDM_RNG_TORCH_CUDA, 512}, wide = {LDM_RNG_TORCH_CUDA, 0};
    ldm_rng *a = start(narrow, 0), *b = start(wide, 0);
    ldm_rng_fill(a, x, 5 * 512 + 7);
    ldm_rng_fill(b, y, 512);
    for (int k = 0; k < 4; k++)
        CHECK(fabs(x[512 * k] - want[k]) < 2e-6, "number %d of thread 0: %.8g, wanted %.8g", k, x[512 * k], want[k]);
    CHECK(!memcmp(x, y, 512 * sizeof *x), "the first pass is as on a wide device");
    ldm_rng_fill(b, y, 512);
    CHECK(!memcmp(x + 4 * 512, y, 512 * sizeof *x), "the fifth pass begins the next draw");
    ldm_rng_fill(a, x, 9), ldm_rng_fill(b, y, 9);
    CHECK(!memcmp(x, y, 9 * sizeof *x), "both have drawn twice");
    ldm_rng_destroy(a), ldm_rng_destroy(b);
    a = start(narrow, 3), b = start(wide, 3);
    ldm_rng_fill(a, x, 513), ldm_rng_fill(b, y, 513);
    CHECK(!memcmp(x, y, 512 * sizeof *x) && x[512] != y[512], "one past the device's threads");
    ldm_rng_destroy(a), ldm_rng_destroy(b);
}

static void our_own(void) {
    const ldm_rng_kind kind = {LDM_RNG_LDM, 0};
    ldm_rng *a = start(kind, 11), *b = start(kind, 11), *c = start(kind, 12);
    char hex[65];
    ldm_rng_fill(a, x, 1000), ldm_rng_fill(b, y, 10);
    CHECK(!memcmp(x, y, 10 * sizeof *x), "a number depends on the length");
    ldm_rng_fill(b, y, 1000);
    CHECK(memcmp(x, y, 10 * sizeof *x), "the second call repeats the first");
    ldm_rng_fill(c, y, 1000);
    CHECK(memcmp(x, y, 10 * sizeof *x), "two seeds are one");
    ldm_rng_destroy(a), ldm_rng_destroy(b), ldm_rng_destroy(c);
    /* fixed for good: pictures are known by them */
    a = start(kind, 42);
    ldm_rng_fill(a, x, LONGEST);
    ldm_sha256_hex(x, sizeof x, hex);
    CHECK(!strcmp(hex, OURS), "all bits of 100,000 numbers: %s", hex);
    ldm_rng_destroy(a);
}

static void names(void) {
    static const struct {
        const char *name, *canonical;
    } good[] = {{"torch-cpu", "torch-cpu"}, {"cpu", "torch-cpu"}, {"torch-cuda", "torch-cuda"},
                {"cuda", "torch-cuda"},     {"ldm", "ldm"},       {"torch-cuda:82944", "torch-cuda:82944"}};
    static const char *const bad[] = {"",
                                      "CPU ",
                                      "torch",
                                      "std_default",
                                      "cpu:256",
                                      "torch-cuda:",
                                      "torch-cuda:100",
                                      "torch-cuda:x",
                                      "torch-cuda:-256",
                                      "ldm:512"};
    ldm_rng_kind kind;
    char buf[64];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK_OK(ldm_rng_find(good[i].name, &kind));
        CHECK(!strcmp(ldm_rng_name(kind, buf, sizeof buf), good[i].canonical), "%s is %s", good[i].name, buf);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(ldm_rng_find(bad[i], &kind) == LDM_ERR_ARG, "'%s' accepted", bad[i]);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "rng");
    json_error_t error;
    json_t *f = json_load_file("tests/fixtures/random/fixture.json", 0, &error);
    CASE("fixture") CHECK(f, "%s", error.text);
    CASE("PyTorch's CPU generator, normals")
    printf("largest difference %.2g\n", check_runs(json_object_get(f, "cpu"), (ldm_rng_kind){0}));
    CASE("PyTorch's CPU generator, uniforms, every bit") check_uniform(json_object_get(f, "uniform"));
    CASE("the CUDA generator") {
        printf("largest difference %.2g\n",
               check_runs(json_object_get(f, "cuda"), (ldm_rng_kind){LDM_RNG_TORCH_CUDA, 0}));
        static const float first[4] = {-0.92466259f, -0.42534415f, -2.64384570f, 0.14518388f};
        ldm_rng *r = start((ldm_rng_kind){LDM_RNG_TORCH_CUDA, 0}, 0);
        ldm_rng_fill(r, x, 4);
        for (int i = 0; i < 4; i++) CHECK(fabsf(x[i] - first[i]) < 2e-6f, "[%d] = %.8g", i, x[i]);
        ldm_rng_destroy(r);
    }
    CASE("the CUDA generator, more numbers than threads") past_one_pass();
    CASE("our own: by seed, call and place alone") our_own();
    CASE("all are normal") {
        check_normal("torch-cpu", (ldm_rng_kind){0});
        check_normal("torch-cuda", (ldm_rng_kind){LDM_RNG_TORCH_CUDA, 1024});
        check_normal("ldm", (ldm_rng_kind){LDM_RNG_LDM, 0});
    }
    CASE("names") names();
    test_close_case();
    json_decref(f);
    return test_end();
}
