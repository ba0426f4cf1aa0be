/* png.c -- PNG through libpng, with our own limits on sizes: as 8-bit RGB, as grey numbers, as labels; and written. Gamma
 * and colour profiles are left alone, as the Python side's readers do. libpng reports by longjmp: everything that must
 * survive a jump lives in a job, which its caller owns. */
#include "io/picture.h"
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFLATE_RATIO = 1032 /* zlib, "maximum expansion factor": what n packed bytes can at most unpack to */
};

typedef enum target { RGB8, DEEP, LABELS } target; /* DEEP: 16 bits a sample, as many channels as the file has */

typedef struct job {
    const char *name;
    target want;
    png_structp png;
    png_infop info;
    char error[128];
    const uint8_t *at, *end; /* reading */
    FILE *f;                 /* writing */
    ldm_status st;
    uint8_t *pixels; /* [h, w, channels], of 16 bits big endian where DEEP, of `bytes` bytes a sample */
    png_bytep *rows;
    uint32_t w, h;
    int channels, bytes;
} job;

static void on_error(png_structp png, png_const_charp text) {
    job *j = png_get_error_ptr(png);
    snprintf(j->error, sizeof j->error, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

/* ---- reading ---- */

static void on_read(png_structp png, png_bytep out, size_t n) {
    job *j = png_get_io_ptr(png);
    if ((size_t)(j->end - j->at) < n) png_error(png, "the file is cut short");
    memcpy(out, j->at, n);
    j->at += n;
}

static ldm_status check_size(job *j) {
    uint64_t bits = (uint64_t)png_get_bit_depth(j->png, j->info) * png_get_channels(j->png, j->info);
    if (j->w > LDM_PICTURE_SIDE || j->h > LDM_PICTURE_SIDE || (uint64_t)j->w * j->h > LDM_PICTURE_PIXELS)
        return ldm_fail(LDM_ERR_FORMAT, "%s: a PNG of %u x %u pixels, at most %d a side and %d in all are read", j->name, j->w, j->h,
                        LDM_PICTURE_SIDE, LDM_PICTURE_PIXELS);
    if ((uint64_t)j->w * j->h * bits / 8 / DEFLATE_RATIO > (uint64_t)(j->end - j->at))
        return ldm_fail(LDM_ERR_FORMAT, "%s: %u x %u pixels cannot be packed into the %zu bytes that follow", j->name,
                        j->w, j->h, (size_t)(j->end - j->at));
    return LDM_OK;
}

static ldm_status allocate(job *j) {
    ldm_status st;
    void *pixels, *rows;
    size_t row = (size_t)j->w * (size_t)(j->channels * j->bytes);
    if ((st = ldm_alloc(row * j->h, &pixels))) return ldm_prefix(st, "%s", j->name);
    j->pixels = pixels;
    if ((st = ldm_alloc(j->h * sizeof *j->rows, &rows))) return ldm_prefix(st, "%s", j->name);
    j->rows = rows;
    for (uint32_t y = 0; y < j->h; y++) j->rows[y] = j->pixels + y * row;
    return LDM_OK;
}

/* Between here and its return libpng may jump back; no local is changed after setjmp. */
static void decode(job *j) {
    if (setjmp(png_jmpbuf(j->png))) {
        if (!j->st) j->st = ldm_fail(LDM_ERR_FORMAT, "%s: PNG: %s", j->name, j->error);
        return;
    }
    png_set_user_limits(j->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* check_size says more than libpng would */
    /* Everything but IHDR, PLTE, tRNS, IDAT and IEND is skipped unread: libpng takes a chunk's word for its length, and
     * only warns where that is over png_set_chunk_malloc_max. */
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_read_fn(j->png, j, on_read);
    png_read_info(j->png, j->info);
    j->w = png_get_image_width(j->png, j->info), j->h = png_get_image_height(j->png, j->info);
    if ((j->st = check_size(j))) return;
    if (j->want == LABELS) {
        int colour = png_get_color_type(j->png, j->info);
        if (colour != PNG_COLOR_TYPE_PALETTE && colour != PNG_COLOR_TYPE_GRAY) {
            j->st = ldm_fail(LDM_ERR_FORMAT, "%s: its pixels are colours, wanted labels: an indexed or grey PNG", j->name);
            return;
        }
        png_set_packing(j->png); /* a byte a label, its value unchanged */
    } else {
        png_set_expand(j->png); /* palette, grey below 8 bits, tRNS */
        if (j->want == DEEP) png_set_expand_16(j->png);
        else png_set_scale_16(j->png), png_set_gray_to_rgb(j->png);
    }
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    j->channels = png_get_channels(j->png, j->info);
    j->bytes = png_get_bit_depth(j->png, j->info) / 8;
    if (png_get_rowbytes(j->png, j->info) != (size_t)j->w * (size_t)(j->channels * j->bytes))
        png_error(j->png, "its pixels are of no kind known here");
    if ((j->st = allocate(j))) return;
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
}

/* RGBA to RGB in place, over white: nearest whole number. Says whether anything showed through. */
static bool lay_on_white(job *j) {
    size_t n = (size_t)j->w * j->h;
    bool through = false;
    for (size_t i = 0; i < n; i++) {
        unsigned alpha = j->pixels[4 * i + 3];
        through = through || alpha != 255;
        for (size_t k = 0; k < 3; k++)
            j->pixels[3 * i + k] = (uint8_t)((j->pixels[4 * i + k] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
    return through;
}

/* Reads into the job, whose pixels are the caller's to free, also after a failure. */
static ldm_status read_png(job *j, const void *data, size_t size) {
    j->at = data, j->end = (const uint8_t *)data + size;
    if (size < 8 || png_sig_cmp(data, 0, 8) != 0)
        return ldm_fail(LDM_ERR_FORMAT, "%s: is not a PNG picture", j->name);
    j->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, j, on_error, on_warning);
    if (j->png) j->info = png_create_info_struct(j->png);
    if (j->info) decode(j);
    else j->st = ldm_fail(LDM_ERR_NOMEM, "%s: host memory for libpng is not there", j->name);
    png_destroy_read_struct(&j->png, &j->info, NULL);
    free(j->rows);
    return j->st;
}

ldm_status ldm_png_parse(const void *data, size_t size, const char *name, ldm_image *out) {
    job j = {.name = name, .want = RGB8};
    ldm_status st = read_png(&j, data, size);
    if (st) return free(j.pixels), st;
    bool through = j.channels == 4 && lay_on_white(&j);
    *out = (ldm_image){.w = j.w, .h = j.h, .data = j.pixels, .flattened = through};
    return LDM_OK;
}

ldm_status ldm_png_read(const char *path, ldm_image *out) {
    char *data;
    size_t size;
    ldm_status st = ldm_read_file(path, LDM_PICTURE_BYTES, &data, &size);
    if (st) return st;
    st = ldm_png_parse(data, size, path, out);
    free(data);
    return st;
}

ldm_status ldm_png_parse_grey(const void *data, size_t size, const char *name, ldm_grey *out) {
    job j = {.name = name, .want = DEEP};
    void *memory = NULL;
    ldm_status st = read_png(&j, data, size);
    size_t n = (size_t)j.w * j.h;
    if (!st && (st = ldm_alloc(n * sizeof(float), &memory))) ldm_prefix(st, "%s", name);
    float *grey = memory;
    for (size_t i = 0; !st && i < n; i++) {
        const uint8_t *p = j.pixels + i * (size_t)(j.channels * 2);
        float v[4];
        for (int k = 0; k < j.channels; k++) v[k] = (float)(p[2 * k] << 8 | p[2 * k + 1]) / 65535.0f;
        float y = j.channels < 3 ? v[0] : ldm_luma(v), alpha = j.channels % 2 ? 1 : v[j.channels - 1];
        grey[i] = y * alpha + (1 - alpha);
    }
    free(j.pixels);
    if (!st) *out = (ldm_grey){.w = j.w, .h = j.h, .data = grey};
    return st;
}

ldm_status ldm_png_labels(const char *path, ldm_labels *out) {
    char *data;
    size_t size;
    void *memory = NULL;
    job j = {.name = path, .want = LABELS};
    ldm_status st = ldm_read_file(path, LDM_PICTURE_BYTES, &data, &size);
    if (st) return st;
    st = read_png(&j, data, size);
    free(data);
    size_t n = (size_t)j.w * j.h;
    if (!st && (st = ldm_alloc(n * sizeof *out->data, &memory))) ldm_prefix(st, "%s", path);
    uint16_t *label = memory;
    for (size_t i = 0; !st && i < n; i++)
        label[i] = j.bytes == 2 ? (uint16_t)(j.pixels[2 * i] << 8 | j.pixels[2 * i + 1]) : j.pixels[i];
    free(j.pixels);
    if (!st) *out = (ldm_labels){.w = j.w, .h = j.h, .data = label};
    return st;
}

/* ---- writing ---- */

static void on_write(png_structp png, png_bytep data, size_t n) {
    job *j = png_get_io_ptr(png);
    if (fwrite(data, 1, n, j->f) != n) png_error(png, strerror(errno));
}

static void on_flush(png_structp png) { (void)png; }

static void encode(job *j, png_textp text, int texts) {
    if (setjmp(png_jmpbuf(j->png))) {
        j->st = ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", j->name, j->error);
        return;
    }
    png_set_write_fn(j->png, j, on_write, on_flush);
    png_set_IHDR(j->png, j->info, j->w, j->h, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (texts) png_set_text(j->png, j->info, text, texts);
    png_write_info(j->png, j->info);
    png_write_image(j->png, j->rows);
    png_write_end(j->png, NULL);
}

/* Keyword and value can be written: 1 to 79 ASCII characters without blanks at the ends or two in a row, UTF-8. */
static bool writable(const char *key, const char *value) {
    size_t len = strlen(key);
    bool plain = len >= 1 && len <= 79 && key[0] != ' ' && key[len - 1] != ' ' && !strstr(key, "  ");
    for (const char *k = key; *k; k++) plain = plain && *k >= 32 && *k < 127;
    return plain && value && ldm_utf8_valid(value, strlen(value));
}

/* UTF-8 as Latin-1, a byte a character, into `out` of as many bytes; false where a character is beyond it, or a control
 * character that tEXt does not have. */
static bool latin1(const char *utf8, char *out) {
    for (const uint8_t *p = (const uint8_t *)utf8; *p; p++) {
        if (*p < 128) {
            if (*p < 32 && *p != '\n') return false;
            *out++ = (char)*p;
        } else if (*p == 0xc2 || *p == 0xc3) {
            unsigned c = (unsigned)(*p & 3) << 6 | (p[1] & 63u);
            if (c < 160) return false;
            *out++ = (char)c, p++;
        } else return false;
    }
    return *out = 0, true;
}

/* tEXt where the value is Latin-1, iTXt where it is other UTF-8. *texts holds what the values became in *memory. */
static ldm_status make_text(const char *path, const char *const *pairs, png_textp *out, char **memory, int *count) {
    int n = 0;
    size_t bytes = 1;
    void *texts = NULL, *values = NULL;
    for (; pairs && pairs[2 * n]; n++) {
        if (!writable(pairs[2 * n], pairs[2 * n + 1]))
            return ldm_fail(LDM_ERR_ARG,
                            "%s: PNG text '%s': wanted a keyword of 1 to 79 ASCII characters and text in UTF-8", path,
                            pairs[2 * n]);
        bytes += strlen(pairs[2 * n + 1]) + 1;
    }
    ldm_status st = ldm_alloc((size_t)n * sizeof(png_text), &texts);
    if (!st) st = ldm_alloc(bytes, &values);
    if (st) return free(texts), ldm_prefix(st, "%s", path);
    char *at = values;
    for (int i = 0; i < n; i++) {
        const char *value = pairs[2 * i + 1];
        bool plain = latin1(value, at) && (strlen(at) == strlen(value) || !ldm_utf8_valid(at, strlen(at))); /* as it is read */
        if (!plain) memcpy(at, value, strlen(value) + 1);
        ((png_textp)texts)[i] = (png_text){.compression = plain ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE,
                                           .key = (char *)pairs[2 * i],
                                           .text = at};
        at += strlen(value) + 1;
    }
    *out = texts, *memory = values, *count = n;
    return LDM_OK;
}

ldm_status ldm_png_write(const char *path, const ldm_image *im, const char *const *text) {
    ldm_status st = LDM_OK;
    ldm_outfile o = {0};
    png_textp texts = NULL;
    char *values = NULL;
    int count = 0;
    void *rows;
    job j = {.name = path};
    if (im->w < 1 || im->h < 1 || im->w > LDM_PICTURE_SIDE || im->h > LDM_PICTURE_SIDE || im->w * im->h > LDM_PICTURE_PIXELS)
        return ldm_fail(LDM_ERR_ARG, "%s: a picture of %lld x %lld, wanted 1 to %d a side and at most %d pixels", path,
                        (long long)im->w, (long long)im->h, LDM_PICTURE_SIDE, LDM_PICTURE_PIXELS);
    TRY(make_text(path, text, &texts, &values, &count));
    TRY(ldm_outfile_open(path, &o));
    j.f = o.f, j.w = (uint32_t)im->w, j.h = (uint32_t)im->h;
    TRY(ldm_alloc(j.h * sizeof *j.rows, &rows));
    j.rows = rows;
    for (uint32_t y = 0; y < j.h; y++) j.rows[y] = im->data + (size_t)y * j.w * 3;
    j.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    if (j.png) j.info = png_create_info_struct(j.png);
    if (!j.info) TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for libpng is not there", path));
    encode(&j, texts, count);
    TRY(j.st);
    st = ldm_outfile_commit(&o);
done:
    if (j.png) png_destroy_write_struct(&j.png, &j.info);
    ldm_outfile_abandon(&o);
    free(j.rows), free(texts), free(values);
    return st;
}
