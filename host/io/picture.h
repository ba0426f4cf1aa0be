/* picture.h -- what the picture readers share: limits, and each format's own reader. Not for other rooms. */
#ifndef LDM_PICTURE_H
#define LDM_PICTURE_H

#include "io/io.h"

enum { LDM_PICTURE_SIDE = 16384, LDM_PICTURE_PIXELS = 1 << 26, LDM_PICTURE_BYTES = 1 << 30 };

/* Rec. 601 luma of red, green, blue. */
static inline float ldm_luma(const float *rgb) { return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]; }

ldm_status ldm_png_parse_grey(const void *data, size_t size, const char *name, ldm_grey *out);
/* Also the EXIF block, where there is one: *exif borrows `data`. */
void ldm_png_find_exif(const void *data, size_t size, const uint8_t **exif, size_t *bytes);
/* *orientation: EXIF's 1 to 8, 1 where the file does not say. */
ldm_status ldm_jpeg_parse(const void *data, size_t size, const char *name, ldm_image *out, int *orientation);
/* Orientation in an EXIF block, beginning "Exif\0\0" or with its TIFF header; 1 where it says none. */
int ldm_exif_orientation(const uint8_t *exif, size_t bytes);

#endif
