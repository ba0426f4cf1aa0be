/* io.h -- pictures and arrays as files: PNG through libpng, NumPy .npy. Knows nothing of models or devices.
 * Readers refuse hostile files with one sentence (LDM_ERR_FORMAT); writers appear whole or not at all (LDM_ERR_IO). */
#ifndef LDM_IO_H
#define LDM_IO_H

#include "base/base.h"

/* 8-bit RGB rows, top first, no padding: data[(y*w + x)*3 + channel]. */
typedef struct ldm_image {
    int64_t w, h;
    uint8_t *data;
} ldm_image;
void ldm_image_free(ldm_image *im); /* accepts {0} */

/* Any PNG, turned into 8-bit RGB (grey and palette are expanded; 16 bit is rounded; an alpha channel is dropped where
 * every pixel is opaque and refused otherwise). At most 16384 a side and 64 M pixels. */
ldm_status ldm_png_read(const char *path, ldm_image *out);
ldm_status ldm_png_parse(const void *data, size_t size, const char *name, ldm_image *out); /* the same from memory */
/* `text`: pairs keyword, value, ... ending with NULL, or NULL; written as tEXt / iTXt. */
ldm_status ldm_png_write(const char *path, const ldm_image *im, const char *const *text);

/* A C-order array. dtype as in the file; reading converts nothing. */
typedef struct ldm_array {
    ldm_dtype dtype;
    ldm_shape shape;
    void *data;
} ldm_array;
void ldm_array_free(ldm_array *a);                         /* accepts {0} */
ldm_status ldm_npy_read(const char *path, ldm_array *out); /* f4 f2 f8 i2 i4 i8 u1 i1 b1, little endian, C order */
ldm_status ldm_npy_parse(const void *data, size_t size, const char *name, ldm_array *out); /* the same from memory */
ldm_status ldm_npy_read_f32(const char *path, ldm_array *out);                             /* converted to f32 */
ldm_status ldm_npy_write(const char *path, ldm_dtype t, const ldm_shape *s, const void *data);

/* PyTorch's [n,c,h,w] and ours [n,h,w,c], f32. */
void ldm_nchw_to_nhwc(const float *src, int64_t n, int64_t c, int64_t h, int64_t w, float *dst);
void ldm_nhwc_to_nchw(const float *src, int64_t n, int64_t c, int64_t h, int64_t w, float *dst);

#endif
