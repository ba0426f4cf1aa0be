/* jpeg.c -- JPEG through libjpeg(-turbo), its EXIF orientation through libexif. libjpeg reports by longjmp: everything
 * that must survive a jump lives in a job, which its caller owns. What libjpeg would only warn of and fill with grey (data cut
 * short or damaged) is refused. */
#include "io/picture.h"
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>
#include <libexif/exif-data.h>
#include <setjmp.h>

enum {
    MAX_SCANS = 500,      /* of a progressive file: more of them only cost time */
    PIXELS_A_BYTE = 2048, /* a Huffman code has at least a bit, and a block covers at most 8 x 8 samples, subsampled 4 : 1
                             or 1 : 4 */
    EXIF_MARKER = JPEG_APP0 + 1
};

typedef struct job {
    const char *name;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    char error[JMSG_LENGTH_MAX];
    ldm_status st;
    size_t size;
    ldm_image im;
    int orientation;
} job;

static void on_error(j_common_ptr jpeg) {
    job *j = jpeg->client_data;
    jpeg->err->format_message(jpeg, j->error);
    longjmp(j->jump, 1);
}

static void on_message(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA) on_error(jpeg); /* bytes between markers do no harm */
}

static void on_progress(j_common_ptr jpeg) {
    job *j = jpeg->client_data;
    if (j->jpeg.input_scan_number <= MAX_SCANS) return;
    snprintf(j->error, sizeof j->error, "more than %d scans", MAX_SCANS);
    longjmp(j->jump, 1);
}

int ldm_exif_orientation(const uint8_t *exif, size_t bytes) {
    static const char head[] = "Exif\0";
    uint8_t *block = NULL;
    int found = 1;
    if (bytes > 1 << 20) return 1;
    if (bytes < 6 || memcmp(exif, head, 6) != 0) { /* PNG has the TIFF part alone */
        if (!(block = malloc(bytes + 6))) return 1;
        memcpy(block, head, 6), memcpy(block + 6, exif, bytes);
        exif = block, bytes += 6;
    }
    ExifData *data = exif_data_new();
    if (data) exif_data_load_data(data, exif, (unsigned)bytes);
    ExifEntry *e = data ? exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION) : NULL;
    if (e && e->format == EXIF_FORMAT_SHORT && e->components == 1 && e->size >= 2)
        found = exif_get_short(e->data, exif_data_get_byte_order(data));
    if (data) exif_data_unref(data);
    free(block);
    return found >= 1 && found <= 8 ? found : 1;
}

static ldm_status check_header(job *j) {
    const struct jpeg_decompress_struct *d = &j->jpeg;
    int64_t pixels = (int64_t)d->image_width * d->image_height;
    if (d->image_width > LDM_PICTURE_SIDE || d->image_height > LDM_PICTURE_SIDE || pixels > LDM_PICTURE_PIXELS)
        return ldm_fail(LDM_ERR_FORMAT, "%s: %u x %u pixels, at most %d a side and %d in all are read", j->name,
                        d->image_width, d->image_height, LDM_PICTURE_SIDE, LDM_PICTURE_PIXELS);
    if (pixels / PIXELS_A_BYTE > (int64_t)j->size)
        return ldm_fail(LDM_ERR_FORMAT, "%s: %u x %u pixels cannot be packed into its %zu bytes", j->name,
                        d->image_width, d->image_height, j->size);
    if (d->arith_code) return ldm_fail(LDM_ERR_FORMAT, "%s: a JPEG with arithmetic coding, wanted Huffman's", j->name);
    if (d->data_precision != 8)
        return ldm_fail(LDM_ERR_FORMAT, "%s: a JPEG of %d bits a sample, wanted 8", j->name, d->data_precision);
    if (d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK)
        return ldm_fail(LDM_ERR_FORMAT, "%s: a JPEG in CMYK, wanted RGB or grey", j->name);
    return LDM_OK;
}

/* Between here and its return libjpeg may jump back; no local is changed after setjmp. */
static void decode(job *j, const uint8_t *data) {
    struct jpeg_decompress_struct *d = &j->jpeg;
    if (setjmp(j->jump)) {
        if (!j->st) j->st = ldm_fail(LDM_ERR_FORMAT, "%s: JPEG: %s", j->name, j->error);
        return;
    }
    jpeg_create_decompress(d);
    d->progress = &j->progress;
    jpeg_mem_src(d, data, j->size);
    jpeg_save_markers(d, EXIF_MARKER, 0xffff);
    jpeg_read_header(d, TRUE);
    if ((j->st = check_header(j))) return;
    for (jpeg_saved_marker_ptr m = d->marker_list; m; m = m->next)
        if (m->marker == EXIF_MARKER && m->data_length > 6 && !memcmp(m->data, "Exif\0", 6)) {
            j->orientation = ldm_exif_orientation(m->data, m->data_length);
            break;
        }
    d->out_color_space = JCS_RGB;
    jpeg_start_decompress(d);
    j->im.w = d->output_width, j->im.h = d->output_height;
    if ((j->st = ldm_prefix(ldm_alloc((size_t)(j->im.w * j->im.h * 3), (void **)&j->im.data), "%s", j->name))) return;
    while (d->output_scanline < d->output_height)
        jpeg_read_scanlines(d, (JSAMPROW[]){j->im.data + (size_t)d->output_scanline * d->output_width * 3}, 1);
    jpeg_finish_decompress(d);
}

ldm_status ldm_jpeg_parse(const void *data, size_t size, const char *name, ldm_image *out, int *orientation) {
    job *j = NULL; /* on the heap: large, and what setjmp must not lose is behind a pointer */
    ldm_status st = ldm_alloc(sizeof *j, (void **)&j);
    if (st) return ldm_prefix(st, "%s", name);
    j->name = name, j->size = size, j->orientation = 1;
    j->jpeg.err = jpeg_std_error(&j->errors);
    j->jpeg.client_data = j;
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->progress.progress_monitor = on_progress;
    decode(j, data);
    jpeg_destroy_decompress(&j->jpeg);
    if ((st = j->st)) ldm_image_free(&j->im);
    else *out = j->im, *orientation = j->orientation;
    free(j);
    return st;
}
