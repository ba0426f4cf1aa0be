/* test_buffers.c -- windows of buffers: what is written through one is read through another, what does not fit is refused,
 * bytes are counted once; and the text that gives kernels the byte each of their buffers begins at. */
#include "cl/cl_internal.h"
#include "tests/opcase.h"

static void windows(ldm_cl *cl) {
    enum { BYTES = 1 << 16 };
    static unsigned char in[BYTES], out[BYTES];
    const size_t align = ldm_cl_device(cl)->base_align, before = ldm_cl_bytes(cl);
    ldm_buffer *whole = NULL, *a = NULL, *b = NULL, *inner = NULL, *bad = NULL;
    for (int i = 0; i < BYTES; i++) in[i] = (unsigned char)(i * 31 + i / 256);
    CHECK_OK(ldm_buffer_create(cl, BYTES, &whole));
    CHECK_OK(ldm_buffer_window(whole, 2 * align, 6 * align, &a)); /* overlaps b, as tensors do that live at other times */
    CHECK_OK(ldm_buffer_window(whole, 4 * align, 8 * align, &b));
    CHECK_OK(ldm_buffer_window(b, align, 2 * align, &inner));
    CHECK(ldm_cl_bytes(cl) == before + BYTES, "windows take %zu bytes", ldm_cl_bytes(cl) - before - BYTES);
    CHECK_OK(ldm_buffer_write(whole, 0, in, BYTES));
    CHECK_OK(ldm_buffer_read(a, 8, out, align));
    CHECK(!memcmp(out, in + 2 * align + 8, align), "a window begins elsewhere");
    CHECK_OK(ldm_buffer_read(inner, 0, out, 2 * align));
    CHECK(!memcmp(out, in + 5 * align, 2 * align), "a window of a window begins elsewhere");
    CHECK_OK(ldm_buffer_fill(inner, 4, 8, 0x01020304));
    CHECK_OK(ldm_buffer_copy(whole, 0, b, 4 * align, align));
    CHECK_OK(ldm_buffer_read(whole, 0, out, BYTES));
    memcpy(in + 5 * align + 4, "\4\3\2\1\4\3\2\1", 8);
    memcpy(in + 8 * align, in, align);
    CHECK(!memcmp(in, out, BYTES), "filling or copying through windows reached other bytes");
    CHECK(ldm_buffer_window(whole, 0, BYTES + 1, &bad) == LDM_ERR_ARG, "a window larger than its buffer");
    CHECK(ldm_buffer_window(whole, BYTES, align, &bad) == LDM_ERR_ARG, "a window behind its buffer");
    CHECK(ldm_buffer_window(whole, align / 2, align, &bad) == LDM_ERR_ARG, "a window at an odd place");
    ldm_buffer_destroy(inner), ldm_buffer_destroy(b), ldm_buffer_destroy(a), ldm_buffer_destroy(whole);
    CHECK(ldm_cl_bytes(cl) == before, "%zu bytes stay", ldm_cl_bytes(cl) - before);
}

static void offsets(void) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"kernel void f(global float *y, int n, global const half *x) { y[0] = n; }",
         "kernel void f(global float *y, int n, global const half *x, ulong at_y, ulong at_x) {"
         " y = (global float *)((__global char *)y + at_y); x = ( global const half *)((__global char *)x + at_x); y[0] = n; }"},
        {"#define K __kernel void k(__global int *restrict a, \\\n __local int *b) { *a = 1; }",
         "#define K __kernel void k(__global int *restrict a, \\\n __local int *b, ulong at_a) {"
         " a = (__global int *restrict )((__global char *)a + at_a); *a = 1; }"},
        {"__kernel __attribute__((reqd_work_group_size(1, 1, 1)))\nvoid g(int n /* (, */) {}",
         "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))\nvoid g(int n /* (, */) {}"},
        {"/* a kernel void (global x) { */ // kernel void (\n#line 3 \"kernel (\"\nint kernels(global int *p) { return *p; }",
         "/* a kernel void (global x) { */ // kernel void (\n#line 3 \"kernel (\"\nint kernels(global int *p) { return *p; }"},
        {"kernel void d(global int *p); int x;", "kernel void d(global int *p); int x;"},
        {"kernel", "kernel"},
        {"kernel void h(global int *p", "kernel void h(global int *p"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ldm_text out = {0};
        ldm_add_offsets(cases[i].text, &out);
        CHECK(out.s && !strcmp(out.s, cases[i].want), "made of\n%s\nis\n%s\nwanted\n%s", cases[i].text, out.s ? out.s : "nothing", cases[i].want);
        ldm_text_free(&out);
    }
}

int main(int argc, char **argv) {
    ldm_cl *cl = NULL;
    ldm_cl_options o = {.select = opcase_device_option(&argc, argv)};
    test_begin(argc, argv, "buffers");
    CASE("windows") {
        CHECK_OK(ldm_cl_open(&o, &cl));
        if (cl) windows(cl);
        ldm_cl_close(cl);
    }
    CASE("where a kernel's buffers begin") offsets();
    return test_end();
}
