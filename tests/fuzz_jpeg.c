/* fuzz_jpeg.c -- any bytes as a JPEG, with an EXIF block. libjpeg's own answer to a failed allocation is an error as for a
 * damaged file, so no allocation of its own is made to fail here. */
#include "fuzz.h"
#include "io/io.h"
#include <jpeglib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ldm_image im = {0};
    unsigned sum = 0;
    if (fuzz_memory_fails || !FUZZ(ldm_picture_parse(data, size, "file", &im))) return 0;
    for (int64_t i = 0; i < im.w * im.h * 3; i++) sum += im.data[i];
    if (sum == 1 && im.w > 1 << 20) abort(); /* keeps the loop */
    ldm_image_free(&im);
    return 0;
}

/* w x h, progressive or not, grey or colour; orientation 6 in an EXIF block of either byte order. */
static bytes make_jpeg(int w, int h, bool grey, bool progressive, const char *order) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    unsigned long n = 0;
    JSAMPLE row[64 * 3];
    bytes b = {0}, exif = {0};
    bool big = order[0] == 'M';
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, &n);
    c.image_width = (JDIMENSION)w, c.image_height = (JDIMENSION)h;
    c.input_components = grey ? 1 : 3, c.in_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&c);
    if (progressive) jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    put(&exif, "Exif\0", 6), put(&exif, order, 2);
    put(&exif, big ? "\0\x2a\0\0\0\x8\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0" : "\x2a\0\x8\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0", 24);
    jpeg_write_marker(&c, JPEG_APP0 + 1, exif.d, (unsigned)exif.n);
    while (c.next_scanline < c.image_height) {
        for (int i = 0; i < w * c.input_components; i++) row[i] = (JSAMPLE)(i * 7 + (int)c.next_scanline * 11);
        jpeg_write_scanlines(&c, (JSAMPROW[]){row}, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    put(&b, out, n);
    free(out), bytes_free(&exif);
    return b;
}

bytes fuzz_seed(int i) {
    switch (i) {
    case 0: return make_jpeg(16, 16, false, false, "II");
    case 1: return make_jpeg(17, 9, true, false, "MM");
    case 2: return make_jpeg(33, 20, false, true, "II");
    case 3: return make_jpeg(1, 1, false, false, "MM");
    }
    return (bytes){0};
}
