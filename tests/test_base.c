/* test_base.c -- base/: conversions by hand (test_convert has all of them), status and exit statuses, whole-or-nothing
 * files. */
#include "test.h"
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
    CASE("SHA-256 of the standard's examples, in pieces, of files") {
        static const struct {
            const char *text, *hex;
        } want[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
        char hex[LDM_SHA256_HEX], whole[LDM_SHA256_HEX], again[LDM_SHA256_HEX], *a = malloc(1000000);
        for (int i = 0; i < 3; i++) {
            ldm_sha256_hex(want[i].text, strlen(want[i].text), hex);
            CHECK(!strcmp(hex, want[i].hex), "'%s': %s", want[i].text, hex);
        }
        memset(a, 'a', 1000000);
        ldm_sha256_hex(a, 1000000, whole);
        CHECK(!strcmp(whole, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"), "a million a: %s", whole);
        for (size_t piece = 1; piece < 200; piece += 13) {
            ldm_sha256 h;
            ldm_sha256_begin(&h);
            for (size_t at = 0; at < 1000000; at += piece) ldm_sha256_add(&h, a, 1000000 - at < piece ? 1000000 - at : piece);
            ldm_sha256_end(&h, hex);
            CHECK(!strcmp(hex, whole), "in pieces of %zu: %s", piece, hex);
        }
        char name[] = "/tmp/ldm-hash-XXXXXX";
        int fd = mkstemp(name);
        CHECK(fd >= 0 && write(fd, a, 1000000) == 1000000, "temporary file");
        CHECK_OK(ldm_sha256_file(name, hex));
        CHECK_OK(ldm_sha256_file(name, again));
        CHECK(!strcmp(hex, whole) && !strcmp(again, whole), "of a file: %s, again: %s", hex, again);
        CHECK(pwrite(fd, "b", 1, 0) == 1 && write(fd, "c", 1) == 1, "temporary file");
        CHECK_OK(ldm_sha256_file(name, again));
        CHECK(strcmp(again, whole) != 0, "a changed file keeps its old hash");
        close(fd), unlink(name), free(a);
        CHECK(ldm_sha256_file(name, hex) == LDM_ERR_FORMAT, "a file that is not there");
    }
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
    CASE("a second signal leaves nothing half-written") {
        snprintf(path, sizeof path, "%s/interrupted.txt", dir);
        CHECK_OK(ldm_write_file(path, "before", 6));
        const pid_t child = fork();
        if (child == 0) {
            ldm_outfile one = {0}, two = {0}, three = {0};
            ldm_catch_signals();
            if (ldm_outfile_open(path, &one) || ldm_outfile_open(path, &two) || ldm_outfile_open(path, &three)) _exit(1);
            fputs("half", one.f), fflush(one.f);
            ldm_outfile_abandon(&two);
            raise(SIGINT);
            raise(SIGINT);
            _exit(2);
        }
        int status = 0;
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 130, "status %d", status);
        char cmd[400], *data = NULL;
        size_t n = 0;
        snprintf(cmd, sizeof cmd, "test -z \"$(find %s -name '*tmp*')\"", dir);
        CHECK(system(cmd) == 0, "a temporary stayed");
        CHECK_OK(ldm_read_file(path, 100, &data, &n));
        CHECK(n == 6 && data && !strcmp(data, "before"), "what was there is %zu bytes", n);
        free(data);
    }
    CASE("links are followed, devices and pipes written to") {
        char target[300], pipe[300], got[8] = "";
        struct stat sb;
        snprintf(target, sizeof target, "%s/target.txt", dir), snprintf(path, sizeof path, "%s/link.txt", dir);
        CHECK_OK(ldm_write_file(target, "old", 3));
        CHECK(symlink("target.txt", path) == 0, "no link");
        CHECK_OK(ldm_write_file(path, "new", 3));
        CHECK(lstat(path, &sb) == 0 && S_ISLNK(sb.st_mode), "the link was replaced");
        char *data = NULL;
        size_t n = 0;
        CHECK_OK(ldm_read_file(target, 100, &data, &n));
        CHECK(n == 3 && data && !strcmp(data, "new"), "its target was not");
        free(data);
        CHECK(ldm_write_file("/dev/full", "x", 1) == LDM_ERR_IO && strstr(ldm_message(), "No space"), "/dev/full: %s", ldm_message());
        CHECK(stat("/dev/full", &sb) == 0 && S_ISCHR(sb.st_mode), "/dev/full was replaced");
        CHECK_OK(ldm_write_file("/dev/null", "x", 1));
        CHECK(stat("/dev/null", &sb) == 0 && S_ISCHR(sb.st_mode), "/dev/null was replaced");
        snprintf(pipe, sizeof pipe, "%s/pipe", dir);
        CHECK(mkfifo(pipe, 0600) == 0, "no pipe");
        int reader = open(pipe, O_RDONLY | O_NONBLOCK);
        CHECK(reader >= 0 && ldm_is_stream(pipe) && !ldm_is_stream(path) && !ldm_is_stream("/nonexistent"), "what is a pipe");
        CHECK_OK(ldm_write_file(pipe, "piped", 5));
        CHECK(read(reader, got, sizeof got) == 5 && !memcmp(got, "piped", 5), "through the pipe came %.8s", got);
        close(reader);
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
