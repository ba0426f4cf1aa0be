/* io.h -- pictures and arrays as files: PNG, JPEG, NumPy .npy and .npz; and what belongs to pictures alone: resizing, how far
 * two are apart, texts in PNG files. Knows nothing of models or devices.
 * Readers refuse hostile files with one sentence (LDM_ERR_FORMAT); writers appear whole or not at all (LDM_ERR_IO). */
#ifndef LDM_IO_H
#define LDM_IO_H

#include "base/base.h"

/* ---- pictures: picture.c, png.c, jpeg.c. At most 16384 a side and 64 M pixels --------------------------------- */

/* 8-bit RGB rows, top first, no padding: data[(y*w + x)*3 + channel]. */
typedef struct ldm_image {
    int64_t w, h;
    uint8_t *data;
    bool flattened; /* read from a file with transparent pixels, which were laid on white */
} ldm_image;
void ldm_image_free(ldm_image *im); /* accepts {0} */

/* Any PNG or JPEG, told apart by its first bytes, as a viewer shows it: grey and palette expanded, 16 bits rounded to 8,
 * what is transparent laid on white, turned as its EXIF orientation says. CMYK, 12-bit and arithmetic-coded JPEGs are
 * refused by name, and so are files that are cut short. */
ldm_status ldm_picture_read(const char *path, ldm_image *out);
ldm_status ldm_picture_parse(const void *data, size_t size, const char *name, ldm_image *out); /* the same from memory */

/* Grey numbers in [0,1], 16-bit ones not rounded: masks and depth maps. Colours by luma (.299, .587, .114). */
typedef struct ldm_grey {
    int64_t w, h;
    float *data;
} ldm_grey;
void ldm_grey_free(ldm_grey *g);
ldm_status ldm_picture_read_grey(const char *path, ldm_grey *out);

/* Labels: the indices of an indexed PNG, the values of a grey one, as they are in the file (a 4-bit 3 is 3). */
typedef struct ldm_labels {
    int64_t w, h;
    uint16_t *data;
} ldm_labels;
void ldm_labels_free(ldm_labels *l);
ldm_status ldm_png_labels(const char *path, ldm_labels *out);

/* PNG alone, without orientation. */
ldm_status ldm_png_read(const char *path, ldm_image *out);
ldm_status ldm_png_parse(const void *data, size_t size, const char *name, ldm_image *out);
/* `text`: pairs keyword, value, ... in UTF-8, ending with NULL, or NULL; written as tEXt where Latin-1 holds it, else iTXt. */
ldm_status ldm_png_write(const char *path, const ldm_image *im, const char *const *text);

/* The texts of a PNG in file order, in UTF-8: tEXt (Latin-1, or UTF-8 as some write it), zTXt, iTXt; at most 1 MiB each, 64 of them. pairs as ldm_png_write takes
 * them. What comes behind a damaged chunk is LDM_ERR_FORMAT. */
typedef struct ldm_png_texts {
    char **pairs; /* keyword, value, ..., NULL */
    int count;
} ldm_png_texts;
ldm_status ldm_png_read_text(const char *path, ldm_png_texts *out);
ldm_status ldm_png_parse_text(const void *data, size_t size, const char *name, ldm_png_texts *out);
const char *ldm_png_text(const ldm_png_texts *t, const char *keyword); /* the first such value; NULL */
void ldm_png_texts_free(ldm_png_texts *t);

/* ---- resizing: resize.c --------------------------------------------------------------------------------------- */

/* Each output pixel is a weighted sum of the inputs under it; filters widen when a picture shrinks (antialiasing), as
 * Pillow's do: same names, same bytes. Bicubic has a = -0.5, lanczos three lobes; nearest takes the pixel at the centre. */
typedef enum ldm_filter { LDM_FILTER_NEAREST, LDM_FILTER_BILINEAR, LDM_FILTER_BICUBIC, LDM_FILTER_LANCZOS } ldm_filter;
bool ldm_filter_parse(const char *name, ldm_filter *out); /* "nearest", "bilinear", "bicubic", "lanczos" */
const char *ldm_filter_name(ldm_filter f);
ldm_status ldm_image_resize(const ldm_image *im, int64_t w, int64_t h, ldm_filter f, ldm_image *out);
ldm_status ldm_grey_resize(const ldm_grey *g, int64_t w, int64_t h, ldm_filter f, ldm_grey *out); /* in f64, not clamped */

/* ---- two pictures: compare.c ------------------------------------------------------------------------------------ */

/* PSNR = 10 log10(255^2 / mean square); infinite for equal pictures. SSIM (Wang et al. 2004): Gaussian window of 11 x 11,
 * sigma 1.5, K1 .01, K2 .03, population variances, over windows that lie inside, the mean of the channels: what
 * torchmetrics computes by default and scikit-image with gaussian_weights=True, sigma=1.5, use_sample_covariance=False.
 * Sizes must be equal and at least 11 a side. */
typedef struct ldm_likeness {
    double psnr, ssim;
    int worst;       /* largest difference of a byte */
    double differing; /* share of bytes that differ */
} ldm_likeness;
ldm_status ldm_image_compare(const ldm_image *a, const ldm_image *b, ldm_likeness *out);

/* ---- generation parameters as text: parameters.c --------------------------------------------------------------- */

/* AUTOMATIC1111's grammar: the prompt, a line "Negative prompt: ...", a last line of "Key: value, " pairs, in which a value
 * with a comma, a colon or a newline is a JSON string. A prompt that this grammar would not give back (a line that begins
 * "Negative prompt:", blanks at a line's ends, a last line that looks like pairs) is also among the pairs, as "Exact prompt"
 * or "Exact negative prompt", which win when read. */
typedef struct ldm_parameters {
    char *prompt, *negative;
    char **pairs; /* key, value, ..., NULL */
    int count, cap;
    bool failed; /* out of memory while adding */
} ldm_parameters;
void ldm_parameters_free(ldm_parameters *p); /* accepts {0} */
void ldm_parameters_prompt(ldm_parameters *p, const char *prompt, const char *negative); /* NULL: none; copied */
void ldm_parameters_add(ldm_parameters *p, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *ldm_parameters_get(const ldm_parameters *p, const char *key); /* NULL if absent */
ldm_status ldm_parameters_write(const ldm_parameters *p, ldm_text *out);
ldm_status ldm_parameters_parse(const char *text, ldm_parameters *out); /* any text is a prompt at least */

/* ---- arrays: npy.c, npz.c -------------------------------------------------------------------------------------- */

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
/* The header of a .npy file of this kind, its data's start at a multiple of 64 from the header's. Appended to `out`. */
ldm_status ldm_npy_header(ldm_dtype t, const ldm_shape *s, ldm_text *out);

/* One array as a stored .npz, written piece by piece, whole or not at all; zip64, so of any size. */
typedef struct ldm_npz ldm_npz;
ldm_status ldm_npz_create(const char *path, const char *array, ldm_dtype t, const ldm_shape *s, ldm_npz **out);
ldm_status ldm_npz_write(ldm_npz *z, const void *data, size_t bytes);
ldm_status ldm_npz_commit(ldm_npz *z); /* refuses too few or too many bytes */
void ldm_npz_destroy(ldm_npz *z);      /* NULL is fine; without a commit nothing is left */

/* PyTorch's [n,c,h,w] and ours [n,h,w,c], f32. */
void ldm_nchw_to_nhwc(const float *src, int64_t n, int64_t c, int64_t h, int64_t w, float *dst);
void ldm_nhwc_to_nchw(const float *src, int64_t n, int64_t c, int64_t h, int64_t w, float *dst);

#endif
