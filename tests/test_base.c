/* test_base.c -- base/: conversions by hand (test_convert has all of them), status and exit statuses, whole-or-nothing
 * files. */
#include "test.h"
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static void conversions(void) {
    CASE("f16 round trip and ties to even (all of them: test_convert)") {
        CHECK(ldm_f32_to_f16(1.0f) == 0x3c00 && ldm_f32_to_f16(65520) == 0x7c00, "one, the least infinity");
        CHECK(ldm_f32_to_f16(1.0f + 0x1p-11f) == 0x3c00, "tie to even down");
        CHECK(ldm_f32_to_f16(1.0f + 3 * 0x1p-11f) == 0x3c02, "tie to even up");
        CHECK(isnan(ldm_f16_to_f32(ldm_f32_to_f16(NAN))), "NaN is lost");
    }
    CASE("bf16 round trip and ties to even") {
        CHECK(ldm_f32_to_bf16(1.0f) == 0x3f80 && ldm_bf16_to_f32(0x3f80) == 1.0f, "one");
        CHECK(ldm_f32_to_bf16(1.0f + 0x1p-8f) == 0x3f80, "tie to even down");
        CHECK(ldm_f32_to_bf16(1.0f + 3 * 0x1p-8f) == 0x3f82, "tie to even up");
        CHECK(isnan(ldm_bf16_to_f32(ldm_f32_to_bf16(NAN))), "NaN is lost");
    }
    CASE("integers saturate") {
        float in[4] = {-3, 255.5f, 2.5f, 1e9f};
        uint8_t out[4];
        ldm_from_f32(LDM_U8, in, 4, out);
        CHECK(out[0] == 0 && out[1] == 255 && out[2] == 2 && out[3] == 255, "got %d %d %d %d", out[0], out[1], out[2],
              out[3]);
    }
}

static void sizes(void) {
    CASE("checked sizes") {
        size_t r = 7;
        CHECK(!ldm_mul(SIZE_MAX / 2, 3, &r) && r == 7, "overflow of a product goes unseen");
        CHECK(!ldm_add(SIZE_MAX, 1, &r) && r == 7, "overflow of a sum goes unseen");
        ldm_shape s = ldm_shape_of(3, (int64_t)4194305, (int64_t)4194305, (int64_t)211106198978564);
        CHECK(ldm_shape_count(&s) == -1, "a wrapping shape counts %lld", (long long)ldm_shape_count(&s));
        void *p;
        CHECK(ldm_alloc(SIZE_MAX - 3, &p) == LDM_ERR_NOMEM, "SIZE_MAX - 3 bytes were promised");
    }
    CASE("uniform numbers are fixed") {
        CHECK(ldm_uniform(0, 0, 0) == ldm_uniform(0, 0, 0) && ldm_uniform(0, 0, 0) != ldm_uniform(0, 0, 1),
              "not a counter");
        double sum = 0, square = 0;
        for (int i = 0; i < 100000; i++) {
            double v = ldm_uniform(1, 2, (uint64_t)i);
            CHECK(v >= -1 && v < 1, "%g out of range", v);
            sum += v, square += v * v;
        }
        CHECK(fabs(sum / 1e5) < 0.006 && fabs(square / 1e5 - 1 / 3.0) < 0.005, "mean %g, square %g", sum / 1e5,
              square / 1e5);
    }
}

static void files(void) {
    char dir[] = "/tmp/ldm-test-XXXXXX", path[300];
    if (!mkdtemp(dir)) return;
    snprintf(path, sizeof path, "%s/a/b", dir);
    CASE("directories and whole files") {
        CHECK_OK(ldm_make_dirs(path));
        snprintf(path, sizeof path, "%s/a/b/c.txt", dir);
        CHECK_OK(ldm_write_file(path, "hello", 5));
        CHECK_OK(ldm_write_file(path, "again", 5));
        char *data = NULL;
        size_t n = 0;
        CHECK_OK(ldm_read_file(path, 100, &data, &n));
        CHECK(n == 5 && data && !strcmp(data, "again"), "read back %zu bytes", n);
        free(data);
        CHECK(ldm_read_file(path, 4, &data, &n) == LDM_ERR_FORMAT, "the size limit is not kept");
    }
    CASE("an abandoned file leaves nothing") {
        ldm_outfile o = {0};
        snprintf(path, sizeof path, "%s/new.txt", dir);
        CHECK_OK(ldm_outfile_open(path, &o));
        fputs("half", o.f);
        ldm_outfile_abandon(&o);
        CHECK(access(path, F_OK) != 0, "the target appeared");
        char cmd[400];
        snprintf(cmd, sizeof cmd, "test -z \"$(find %s -name '*tmp*')\"", dir);
        CHECK(system(cmd) == 0, "a temporary stayed");
    }
    CASE("unwritable targets") {
        CHECK(ldm_write_file(dir, "x", 1) == LDM_ERR_IO, "a directory was written to");
        CHECK(ldm_write_file("/nonexistent/x", "x", 1) == LDM_ERR_IO && ldm_exit_status(LDM_ERR_IO) == 5,
              "no such directory");
    }
    char cmd[400];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    if (system(cmd) != 0) printf("could not remove %s\n", dir);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "base");
    conversions(), sizes(), files();
    CASE("a prefix keeps the sentence") {
        CHECK(ldm_prefix(ldm_fail(LDM_ERR_ARG, "x is %d", 3), "unet") == LDM_ERR_ARG &&
                  !strcmp(ldm_message(), "unet: x is 3"),
              "%s", ldm_message());
    }
    return test_end();
}
