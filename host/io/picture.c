/* picture.c -- a picture file of any format read here, the right way up. */
#include "io/picture.h"
#include <stdlib.h>
#include <string.h>

void ldm_image_free(ldm_image *im) {
    free(im->data);
    *im = (ldm_image){0};
}

void ldm_grey_free(ldm_grey *g) {
    free(g->data);
    *g = (ldm_grey){0};
}

void ldm_labels_free(ldm_labels *l) {
    free(l->data);
    *l = (ldm_labels){0};
}

static bool is_png(const void *data, size_t size) { return size >= 8 && !memcmp(data, "\x89PNG\r\n\x1a\n", 8); }
static bool is_jpeg(const void *data, size_t size) { return size >= 3 && !memcmp(data, "\xff\xd8\xff", 3); }

static ldm_status unknown(const char *name) {
    return ldm_fail(LDM_ERR_FORMAT, "%s: is neither a PNG nor a JPEG picture", name);
}

/* Where the pixel at x, y of the upright picture (w x h) lies in the stored one: EXIF's orientations say on which sides
 * of the upright picture the stored row 0 and column 0 are; from 5 on rows are columns. */
static int64_t stored_at(int orientation, int64_t x, int64_t y, int64_t w, int64_t h) {
    switch (orientation) {
    case 2: return y * w + (w - 1 - x);
    case 3: return (h - 1 - y) * w + (w - 1 - x);
    case 4: return (h - 1 - y) * w + x;
    case 5: return x * h + y;
    case 6: return (w - 1 - x) * h + y;
    case 7: return (w - 1 - x) * h + (h - 1 - y);
    case 8: return x * h + (h - 1 - y);
    }
    return y * w + x;
}

/* Turned in place of what `data` points to: [h,w] elements of `each` bytes. */
static ldm_status turn(void **data, int64_t *width, int64_t *height, size_t each, int orientation) {
    if (orientation <= 1) return LDM_OK;
    int64_t w = orientation < 5 ? *width : *height, h = orientation < 5 ? *height : *width;
    void *turned;
    ldm_status st = ldm_alloc((size_t)(w * h) * each, &turned);
    if (st) return st;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++)
            memcpy((char *)turned + (size_t)(y * w + x) * each,
                   (char *)*data + (size_t)stored_at(orientation, x, y, w, h) * each, each);
    free(*data);
    *data = turned, *width = w, *height = h;
    return LDM_OK;
}

static int png_orientation(const void *data, size_t size) {
    const uint8_t *exif;
    size_t bytes;
    ldm_png_find_exif(data, size, &exif, &bytes);
    return exif ? ldm_exif_orientation(exif, bytes) : 1;
}

ldm_status ldm_picture_parse(const void *data, size_t size, const char *name, ldm_image *out) {
    ldm_image im = {0};
    int orientation = 1;
    ldm_status st;
    if (is_png(data, size)) {
        if (!(st = ldm_png_parse(data, size, name, &im))) orientation = png_orientation(data, size);
    } else if (is_jpeg(data, size)) st = ldm_jpeg_parse(data, size, name, &im, &orientation);
    else st = unknown(name);
    if (!st) st = ldm_prefix(turn((void **)&im.data, &im.w, &im.h, 3, orientation), "%s", name);
    if (st) ldm_image_free(&im);
    else *out = im;
    return st;
}

ldm_status ldm_picture_read(const char *path, ldm_image *out) {
    char *data;
    size_t size;
    ldm_status st = ldm_read_file(path, LDM_PICTURE_BYTES, &data, &size);
    if (st) return st;
    st = ldm_picture_parse(data, size, path, out);
    free(data);
    return st;
}

static ldm_status grey_of_image(const ldm_image *im, ldm_grey *out) {
    ldm_status st = ldm_alloc((size_t)(im->w * im->h) * sizeof *out->data, (void **)&out->data);
    for (int64_t i = 0; !st && i < im->w * im->h; i++) {
        const uint8_t *p = im->data + 3 * i;
        /* equal channels stay exactly what they are */
        out->data[i] = p[0] == p[1] && p[1] == p[2] ? (float)p[0] / 255.0f
                                                    : ldm_luma((float[]){p[0], p[1], p[2]}) / 255.0f;
    }
    out->w = im->w, out->h = im->h;
    return st;
}

ldm_status ldm_picture_read_grey(const char *path, ldm_grey *out) {
    ldm_status st = LDM_OK;
    ldm_grey g = {0};
    ldm_image im = {0};
    int orientation = 1;
    char *data;
    size_t size;
    if ((st = ldm_read_file(path, LDM_PICTURE_BYTES, &data, &size))) return st;
    if (is_png(data, size)) {
        TRY(ldm_png_parse_grey(data, size, path, &g));
        TRY(ldm_prefix(turn((void **)&g.data, &g.w, &g.h, sizeof *g.data, png_orientation(data, size)), "%s", path));
    } else if (is_jpeg(data, size)) {
        TRY(ldm_jpeg_parse(data, size, path, &im, &orientation));
        TRY(ldm_prefix(turn((void **)&im.data, &im.w, &im.h, 3, orientation), "%s", path));
        TRY(ldm_prefix(grey_of_image(&im, &g), "%s", path));
    } else TRY(unknown(path));
    *out = g, g = (ldm_grey){0};
done:
    ldm_grey_free(&g);
    ldm_image_free(&im);
    free(data);
    return st;
}
