/* test_files.c -- checkpoints, arrays and pictures that are right: round trips, and files by Python's own writers
 * (tests/fixtures/files, made by make.py there). Wrong files are test_malformed.c's. */
#include "test.h"
#include "ckpt/ckpt.h"
#include "io/io.h"
#include "make_files.h"
#include <math.h>
#include <unistd.h>

#define FIXTURE(name) "tests/fixtures/files/" name
static char dir[] = "/tmp/ldm-test-XXXXXX";

static const char *temp(const char *name) {
    static char path[2][300];
    static int turn;
    char *p = path[turn++ & 1];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

/* Every tensor of the fixtures holds 0, 1, 2, ... in C order. */
static void check_ramp(const ldm_ckpt *c, const char *name, ldm_dtype dtype, const char *shape, bool contiguous) {
    char text[256];
    const ldm_ckpt_tensor *t = ldm_ckpt_find(c, name);
    CHECK(t != NULL, "%s has no tensor %s", ldm_ckpt_path(c), name);
    if (!t) return;
    CHECK(t->dtype == dtype, "%s: dtype %s", name, ldm_dtype_name(t->dtype));
    CHECK(!strcmp(ldm_shape_text(&t->shape, text, sizeof text), shape), "%s: shape %s, wanted %s", name, text, shape);
    CHECK(t->contiguous == contiguous, "%s: contiguous is %d", name, t->contiguous);
    int64_t n = ldm_shape_count(&t->shape);
    float *v = malloc((size_t)n * sizeof *v + 1);
    CHECK_OK(ldm_ckpt_load_f32(t, v));
    for (int64_t i = 0; i < n; i++)
        CHECK(v[i] == (float)i, "%s: element %lld is %g, wanted %lld", name, (long long)i, v[i], (long long)i);
    free(v);
}

static const char *meta(const ldm_ckpt *c, const char *key) {
    for (const char *const *m = ldm_ckpt_metadata(c); m[0]; m += 2)
        if (!strcmp(m[0], key)) return m[1];
    return "(none)";
}

static void check_dtypes(const char *path, ldm_ckpt_kind kind) {
    static const struct {
        const char *name, *shape;
        ldm_dtype t;
    } want[] = {{"f32", "[2, 3]", LDM_F32},
                {"f16", "[2, 3]", LDM_F16},
                {"bf16", "[2, 3]", LDM_BF16},
                {"f64", "[2, 3]", LDM_F64},
                {"i32", "[2, 3]", LDM_I32},
                {"i64", "[2, 3]", LDM_I64},
                {"i16", "[2, 3]", LDM_I16},
                {"i8", "[2, 3]", LDM_I8},
                {"u8", "[2, 3]", LDM_U8},
                {"bool", "[2]", LDM_BOOL},
                {"scalar", "[]", LDM_F32},
                {"empty", "[0, 4]", LDM_F32},
                {"k\xc3\xa4se.weight", "[4]", LDM_F32}};
    ldm_ckpt *c = NULL;
    CHECK_OK(ldm_ckpt_open(path, &c));
    if (!c) return;
    CHECK(ldm_ckpt_kind_of(c) == kind && ldm_ckpt_count(c) == 13, "kind %d, %d tensors", ldm_ckpt_kind_of(c),
          ldm_ckpt_count(c));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) check_ramp(c, want[i].name, want[i].t, want[i].shape, true);
    CHECK(!ldm_ckpt_find(c, "f3") && !ldm_ckpt_find(c, "f322") && !ldm_ckpt_find(c, ""),
          "a name was found that is not there");
    ldm_ckpt_close(c);
}

static void check_lightning(const char *path) {
    ldm_ckpt *c = NULL;
    CHECK_OK(ldm_ckpt_open(path, &c));
    if (!c) return;
    CHECK(ldm_ckpt_count(c) == 11, "%d tensors, wanted 11", ldm_ckpt_count(c));
    check_ramp(c, "plain", LDM_F32, "[2, 2]", true);
    check_ramp(c, "transposed", LDM_F32, "[3, 4]", false);
    check_ramp(c, "every_other", LDM_F32, "[3, 4]", false);
    check_ramp(c, "tied_a", LDM_F32, "[5]", true);
    check_ramp(c, "tied_b", LDM_F32, "[5]", true);
    check_ramp(c, "row", LDM_F32, "[4]", true);
    check_ramp(c, "parameter", LDM_F32, "[2]", true);
    check_ramp(c, "no_rows", LDM_F32, "[0, 4]", true);
    check_ramp(c, "channels_last", LDM_F32, "[1, 3, 2, 2]", false);
    check_ramp(c, "extra.ema.decay", LDM_F32, "[1]", true);
    check_ramp(c, "extra.ema.3", LDM_F32, "[2]", true);
    CHECK(ldm_ckpt_find(c, "tied_a")->data == ldm_ckpt_find(c, "tied_b")->data, "tied weights lie apart");
    CHECK(!strcmp(meta(c, "global_step"), "123456") && !strcmp(meta(c, "best"), "0.25") &&
              !strcmp(meta(c, "done"), "true") && !strcmp(meta(c, "pytorch-lightning_version"), "1.4.2"),
          "global_step %s, best %s, done %s", meta(c, "global_step"), meta(c, "best"), meta(c, "done"));
    ldm_ckpt_close(c);
}

static void checkpoints(void) {
    CASE("safetensors by Python, every dtype") { check_dtypes(FIXTURE("dtypes.safetensors"), LDM_CKPT_SAFETENSORS); }
    CASE("torch.save, every dtype") { check_dtypes(FIXTURE("dtypes.pth"), LDM_CKPT_TORCH_ZIP); }
    CASE("a Lightning checkpoint: views, strides, callbacks, optimiser, configuration") {
        check_lightning(FIXTURE("lightning.ckpt"));
    }
    CASE("the same in pickle protocol 4") { check_lightning(FIXTURE("protocol4.ckpt")); }
    CASE("built in memory, with and without zip64 and data descriptors") {
        for (int wide = 0; wide < 2; wide++) {
            ldm_ckpt *c = NULL;
            bytes b = make_torch(good_pickle, wide);
            CHECK_OK(ldm_ckpt_parse(b.d, b.n, "memory", &c));
            CHECK(c && ldm_ckpt_count(c) == 2 && ldm_ckpt_find(c, "a") && ldm_ckpt_find(c, "b"), "tensors are missing");
            CHECK(c && !strcmp(meta(c, "global_step"), "17"), "global_step is missing");
            ldm_ckpt_close(c);
            bytes_free(&b);
        }
        ldm_ckpt *c = NULL;
        bytes b = make_safetensors(good_safetensors, GOOD_SAFETENSORS_DATA);
        CHECK_OK(ldm_ckpt_parse(b.d, b.n, "memory", &c));
        CHECK(c && ldm_ckpt_count(c) == 4 && !strcmp(meta(c, "format"), "pt"), "tensors or metadata are missing");
        ldm_ckpt_close(c);
        bytes_free(&b);
        b = make_safetensors("{}", 0);
        CHECK_OK(ldm_ckpt_parse(b.d, b.n, "memory", &c));
        CHECK(ldm_ckpt_count(c) == 0 && !ldm_ckpt_metadata(c)[0], "an empty file is not empty");
        ldm_ckpt_close(c);
        bytes_free(&b);
    }
    CASE("the TAEF2 pair") {
        const char *files[] = {"tests/data/taef2/taef2_encoder.pth", "tests/data/taef2/taef2_decoder.pth"};
        int64_t want[] = {1338528, 1338499};
        for (int i = 0; i < 2; i++) {
            ldm_ckpt *c = NULL;
            int64_t n = 0;
            CHECK_OK(ldm_ckpt_open(files[i], &c));
            if (!c) continue;
            for (int k = 0; k < ldm_ckpt_count(c); k++) n += ldm_shape_count(&ldm_ckpt_at(c, k)->shape);
            CHECK(n == want[i] && ldm_ckpt_count(c) == 79, "%d tensors, %lld parameters", ldm_ckpt_count(c),
                  (long long)n);
            ldm_ckpt_close(c);
        }
    }
    CASE("described in words") {
        ldm_ckpt *c = NULL;
        ldm_text t = {0};
        CHECK_OK(ldm_ckpt_open(FIXTURE("lightning.ckpt"), &c));
        if (!c) return;
        CHECK_OK(ldm_ckpt_describe(c, &t));
        CHECK(t.s && strstr(t.s, "tensors     11\n") && strstr(t.s, "parameters  59\n") &&
                  strstr(t.s, "global_step = 123456\n") && strstr(t.s, "transposed       f32   [3, 4]  (strided)\n"),
              "%s", t.s ? t.s : "nothing");
        ldm_text_free(&t);
        ldm_ckpt_close(c);
    }
}

static void writer(void) {
    const char *const pairs[] = {"format", "ldm", "note", "caf\xc3\xa9 \"quoted\"", NULL};
    CASE("safetensors written and read again, 60 random models") {
        for (uint64_t seed = 0; seed < 60; seed++) {
            ldm_st_writer *w = NULL;
            ldm_ckpt *c = NULL;
            const char *path = temp("model.safetensors");
            int count = (int)(ldm_hash(seed, 0, 0) % 9);
            ldm_shape shape[9];
            ldm_dtype type[9];
            uint8_t *data[9];
            char name[9][32];
            CHECK_OK(ldm_st_create(path, seed % 2 ? pairs : NULL, &w));
            if (!w) return;
            for (int i = 0; i < count; i++) {
                uint64_t r = ldm_hash(seed, 1, (uint64_t)i);
                shape[i] = (ldm_shape){.rank = (int)(r % 5)};
                for (int d = 0; d < shape[i].rank; d++)
                    shape[i].dim[d] = (int64_t)(ldm_hash(seed, (uint64_t)d + 2, (uint64_t)i) % 6);
                type[i] = (ldm_dtype)(r / 8 % LDM_Q8_0); /* the last has no word in the format */
                snprintf(name[i], sizeof name[i], "block.%d.w%llx", i, (unsigned long long)(r >> 48));
                CHECK_OK(ldm_st_declare(w, name[i], type[i], &shape[i]));
            }
            for (int i = 0; i < count; i++) {
                size_t n = (size_t)ldm_shape_count(&shape[i]) * ldm_dtype_size(type[i]);
                data[i] = malloc(n + 1);
                for (size_t k = 0; k < n; k++) data[i][k] = (uint8_t)ldm_hash(seed, (uint64_t)i + 100, k);
                CHECK_OK(ldm_st_data(w, data[i]));
            }
            CHECK_OK(ldm_st_commit(w));
            CHECK_OK(ldm_ckpt_open(path, &c));
            CHECK(c && ldm_ckpt_count(c) == count, "%d tensors, wanted %d", c ? ldm_ckpt_count(c) : -1, count);
            for (int i = 0; i < count && c; i++) {
                const ldm_ckpt_tensor *t = ldm_ckpt_find(c, name[i]);
                CHECK(t && t->dtype == type[i] && ldm_shape_equal(&t->shape, &shape[i]) &&
                          !memcmp(t->data, data[i], (size_t)ldm_shape_count(&shape[i]) * ldm_dtype_size(type[i])),
                      "seed %llu: %s differs", (unsigned long long)seed, name[i]);
                free(data[i]);
            }
            if (c && seed % 2) CHECK(!strcmp(meta(c, "note"), pairs[3]), "metadata is '%s'", meta(c, "note"));
            ldm_ckpt_close(c);
        }
    }
    CASE("a writer used wrongly leaves no file") {
        ldm_st_writer *w = NULL;
        ldm_shape s = ldm_shape_of(1, (int64_t)2);
        float two[2] = {1, 2};
        const char *path = temp("never.safetensors");
        CHECK_OK(ldm_st_create(path, NULL, &w));
        if (!w) return;
        CHECK_OK(ldm_st_declare(w, "a", LDM_F32, &s));
        CHECK(ldm_st_declare(w, "a", LDM_F32, &s) == LDM_ERR_ARG, "a name was declared twice");
        CHECK(ldm_st_declare(w, "\xff", LDM_F32, &s) == LDM_ERR_ARG, "a name that is not UTF-8 was taken");
        CHECK(ldm_st_declare(w, "__metadata__", LDM_F32, &s) == LDM_ERR_ARG, "__metadata__ was taken as a name");
        CHECK(ldm_st_declare(w, "q", LDM_Q8_0, &s) == LDM_ERR_ARG, "a type without a word in the format was taken");
        CHECK(ldm_st_commit(w) == LDM_ERR_ARG, "committed without data");
        CHECK_OK(ldm_st_data(w, two));
        CHECK(ldm_st_data(w, two) == LDM_ERR_ARG, "more data than declared");
        CHECK(ldm_st_declare(w, "b", LDM_F32, &s) == LDM_ERR_ARG, "declared after the header was written");
        ldm_st_abandon(w);
        CHECK(access(path, F_OK) != 0, "an abandoned file appeared");
        CHECK(ldm_st_create("/nonexistent/x.safetensors", NULL, &w) == LDM_ERR_IO, "a missing folder was written to");
    }
}

static void arrays(void) {
    CASE("npy by numpy") {
        ldm_array a = {0};
        CHECK_OK(ldm_npy_read(FIXTURE("f2.npy"), &a));
        CHECK(a.dtype == LDM_F16 && a.shape.rank == 3 && a.shape.dim[2] == 4, "f2.npy reads as %s",
              ldm_dtype_name(a.dtype));
        ldm_array_free(&a);
        CHECK_OK(ldm_npy_read_f32(FIXTURE("f2.npy"), &a));
        for (int i = 0; a.data && i < 24; i++)
            CHECK(((float *)a.data)[i] == (float)i, "element %d is %g", i, ((float *)a.data)[i]);
        ldm_array_free(&a);
        CHECK_OK(ldm_npy_read_f32(FIXTURE("i8.npy"), &a));
        CHECK(a.data && a.shape.rank == 1 && a.shape.dim[0] == 5 && ((float *)a.data)[4] == 4, "i8.npy");
        ldm_array_free(&a);
        CHECK_OK(ldm_npy_read(FIXTURE("scalar.npy"), &a));
        CHECK(a.data && a.shape.rank == 0 && *(float *)a.data == 3, "scalar.npy");
        ldm_array_free(&a);
        CHECK(ldm_npy_read(FIXTURE("fortran.npy"), &a) == LDM_ERR_FORMAT && strstr(ldm_message(), "Fortran"), "%s",
              ldm_message());
        CHECK(ldm_npy_read(FIXTURE("structured.npy"), &a) == LDM_ERR_FORMAT, "a structured array was read");
        CHECK(ldm_npy_read(FIXTURE("big_endian.npy"), &a) == LDM_ERR_FORMAT && strstr(ldm_message(), ">f4"), "%s",
              ldm_message());
    }
    CASE("npy written and read again") {
        const ldm_dtype types[] = {LDM_F32, LDM_F16, LDM_F64, LDM_I32, LDM_I64, LDM_I16, LDM_U8, LDM_I8, LDM_BOOL};
        const char *path = temp("a.npy");
        for (int k = 0; k < 45; k++) {
            ldm_array a = {0};
            ldm_shape s = {.rank = k % 5};
            for (int d = 0; d < s.rank; d++) s.dim[d] = (k * 3 + d) % 4;
            double data[81];
            for (size_t i = 0; i < sizeof data; i++) ((uint8_t *)data)[i] = (uint8_t)ldm_hash(3, (uint64_t)k, i);
            CHECK_OK(ldm_npy_write(path, types[k / 5], &s, data));
            CHECK_OK(ldm_npy_read(path, &a));
            CHECK(a.dtype == types[k / 5] && ldm_shape_equal(&a.shape, &s) && a.data &&
                      !memcmp(a.data, data, (size_t)ldm_shape_count(&s) * ldm_dtype_size(a.dtype)),
                  "array %d differs", k);
            ldm_array_free(&a);
        }
        ldm_shape s = {0};
        CHECK(ldm_npy_write(path, LDM_BF16, &s, "xx") == LDM_ERR_ARG, "bf16 was written");
        CHECK(ldm_npy_write("/nonexistent/a.npy", LDM_F32, &s, "xxxx") == LDM_ERR_IO, "no such folder");
    }
    CASE("nchw to nhwc and back") {
        enum { N = 2, C = 37, H = 5, W = 7 };
        static float a[N * C * H * W], b[N * C * H * W], back[N * C * H * W];
        for (int i = 0; i < N * C * H * W; i++) a[i] = (float)i;
        ldm_nchw_to_nhwc(a, N, C, H, W, b);
        for (int n = 0; n < N; n++)
            for (int c = 0; c < C; c++)
                for (int y = 0; y < H; y++)
                    for (int x = 0; x < W; x++)
                        CHECK(b[((n * H + y) * W + x) * C + c] == a[((n * C + c) * H + y) * W + x], "at %d %d %d %d", n,
                              c, y, x);
        ldm_nhwc_to_nchw(b, N, C, H, W, back);
        CHECK(!memcmp(a, back, sizeof a), "the way back differs");
    }
}

static void pictures(void) {
    CASE("png of every colour type by Pillow") {
        static const struct {
            const char *path;
            int r, g, b; /* value is 10 y + x, times these */
        } want[] = {{FIXTURE("rgb.png"), 1, 2, 3},  {FIXTURE("palette.png"), 1, 2, 3}, {FIXTURE("opaque.png"), 1, 2, 3},
                    {FIXTURE("grey.png"), 1, 1, 1}, {FIXTURE("grey16.png"), 1, 1, 1},  {FIXTURE("bits.png"), 0, 0, 0}};
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            ldm_image im = {0};
            CHECK_OK(ldm_png_read(want[i].path, &im));
            CHECK(im.w == 5 && im.h == 4, "%s: %lld x %lld", want[i].path, (long long)im.w, (long long)im.h);
            for (int64_t p = 0; im.data && p < 20; p++) {
                int v = (int)(p / 5 * 10 + p % 5), one = v > 20 ? 255 : 0;
                const uint8_t *c = im.data + 3 * p;
                bool ok = want[i].r ? c[0] == v * want[i].r && c[1] == v * want[i].g && c[2] == v * want[i].b
                                    : c[0] == one && c[1] == one && c[2] == one;
                CHECK(ok, "%s: pixel %lld is %d %d %d", want[i].path, (long long)p, c[0], c[1], c[2]);
            }
            ldm_image_free(&im);
        }
        ldm_image im = {0};
        CHECK_OK(ldm_png_read(FIXTURE("transparent.png"), &im));
        CHECK(im.flattened, "a transparent pixel was not told of");
        ldm_image_free(&im);
    }
    CASE("png written and read again, with text") {
        const char *const text[] = {"prompt", "\xe7\x8c\xab", "latin", "caf\xc3\xa9", "seed", "7\nlines", NULL};
        const char *path = temp("a.png");
        for (int64_t w = 1; w < 20; w += 3) {
            ldm_image im = {.w = w, .h = 21 - w, .data = malloc((size_t)(w * (21 - w) * 3))}, back = {0};
            for (int64_t i = 0; i < w * im.h * 3; i++) im.data[i] = (uint8_t)ldm_hash(9, (uint64_t)w, (uint64_t)i);
            CHECK_OK(ldm_png_write(path, &im, w % 2 ? text : NULL));
            CHECK_OK(ldm_png_read(path, &back));
            CHECK(back.data && back.w == w && back.h == im.h && !memcmp(im.data, back.data, (size_t)(w * im.h * 3)),
                  "%lld wide differs", (long long)w);
            ldm_image_free(&im), ldm_image_free(&back);
        }
        char *data = NULL;
        size_t n = 0;
        CHECK_OK(ldm_read_file(path, 1 << 20, &data, &n));
        CHECK(data && memmem(data, n, "tEXtseed\0007\nlines", 16) && memmem(data, n, "iTXtprompt", 10) && memmem(data, n, "tEXtlatin\0caf\xe9", 14),
              "the text is not in the file");
        free(data);
    }
    CASE("png that cannot be written") {
        uint8_t pixel[3] = {1, 2, 3};
        ldm_image im = {.w = 1, .h = 1, .data = pixel}, none = {.w = 0, .h = 1, .data = pixel},
                  wide = {.w = 20000, .h = 1, .data = pixel};
        CHECK(ldm_png_write("/nonexistent/a.png", &im, NULL) == LDM_ERR_IO, "no such folder");
        CHECK(ldm_png_write(temp("b.png"), &none, NULL) == LDM_ERR_ARG &&
                  ldm_png_write(temp("b.png"), &wide, NULL) == LDM_ERR_ARG,
              "size");
        CHECK(ldm_png_write(temp("b.png"), &im, (const char *const[]){"", "x", NULL}) == LDM_ERR_ARG,
              "an empty keyword");
        CHECK(ldm_png_write(temp("b.png"), &im, (const char *const[]){"k", "\xff", NULL}) == LDM_ERR_ARG,
              "text that is not UTF-8");
        CHECK(access(temp("b.png"), F_OK) != 0, "a refused picture left a file");
    }
    CASE("real photographs") {
        const char *files[] = {"tests/data/photos/astronaut.png", "tests/data/photos/chelsea.png",
                               "tests/data/photos/coffee.png"};
        int64_t size[][2] = {{512, 512}, {451, 300}, {600, 400}};
        for (int i = 0; i < 3; i++) {
            ldm_image im = {0};
            CHECK_OK(ldm_png_read(files[i], &im));
            CHECK(im.w == size[i][0] && im.h == size[i][1], "%s: %lld x %lld", files[i], (long long)im.w,
                  (long long)im.h);
            ldm_image_free(&im);
        }
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "files");
    if (!mkdtemp(dir)) return 1;
    checkpoints(), writer(), arrays(), pictures();
    char cmd[400];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    if (system(cmd) != 0) printf("could not remove %s\n", dir);
    return test_end();
}
