/* png.c -- pictures through libpng, with our own limits on sizes. Any PNG becomes 8-bit RGB; gamma and
 * colour profiles are left alone, as the Python side's readers do. libpng reports by longjmp: everything that must
 * survive a jump lives in a job, which its caller owns. */
#include "io/io.h"
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_SIDE = 16384,
    MAX_PIXELS = 1 << 26,
    DEFLATE_RATIO = 1032 /* zlib, "maximum expansion factor": what n packed bytes can at most unpack to */
};

typedef struct job {
    const char *name;
    png_structp png;
    png_infop info;
    char error[128];
    const uint8_t *at, *end; /* reading */
    FILE *f;                 /* writing */
    ldm_status st;
    uint8_t *pixels; /* [h, w, channels] */
    png_bytep *rows;
    uint32_t w, h;
    int channels;
} job;

static void on_error(png_structp png, png_const_charp text) {
    job *j = png_get_error_ptr(png);
    snprintf(j->error, sizeof j->error, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

void ldm_image_free(ldm_image *im) {
    free(im->data);
    *im = (ldm_image){0};
}

/* ---- reading ---- */

static void on_read(png_structp png, png_bytep out, size_t n) {
    job *j = png_get_io_ptr(png);
    if ((size_t)(j->end - j->at) < n) png_error(png, "the file is cut short");
    memcpy(out, j->at, n);
    j->at += n;
}

static ldm_status check_size(job *j) {
    uint64_t bits = (uint64_t)png_get_bit_depth(j->png, j->info) * png_get_channels(j->png, j->info);
    if ((uint64_t)j->w * j->h > MAX_PIXELS)
        return ldm_fail(LDM_ERR_FORMAT, "%s: %u x %u pixels, at most %d are read", j->name, j->w, j->h, MAX_PIXELS);
    if ((uint64_t)j->w * j->h * bits / 8 / DEFLATE_RATIO > (uint64_t)(j->end - j->at))
        return ldm_fail(LDM_ERR_FORMAT, "%s: %u x %u pixels cannot be packed into the %zu bytes that follow", j->name,
                        j->w, j->h, (size_t)(j->end - j->at));
    return LDM_OK;
}

static ldm_status allocate(job *j) {
    ldm_status st;
    void *pixels, *rows;
    size_t row = (size_t)j->w * (size_t)j->channels;
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
    png_set_user_limits(j->png, MAX_SIDE, MAX_SIDE);
    /* Everything but IHDR, PLTE, tRNS, IDAT and IEND is skipped unread: libpng takes a chunk's word for its length, and
     * only warns where that is over png_set_chunk_malloc_max. */
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_read_fn(j->png, j, on_read);
    png_read_info(j->png, j->info);
    j->w = png_get_image_width(j->png, j->info), j->h = png_get_image_height(j->png, j->info);
    if ((j->st = check_size(j))) return;
    png_set_expand(j->png); /* palette, grey below 8 bits, tRNS */
    png_set_scale_16(j->png);
    png_set_gray_to_rgb(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    j->channels = png_get_channels(j->png, j->info);
    if ((j->channels != 3 && j->channels != 4) ||
        png_get_rowbytes(j->png, j->info) != (size_t)j->w * (size_t)j->channels)
        png_error(j->png, "its pixels do not become RGB");
    if ((j->st = allocate(j))) return;
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
}

/* RGBA to RGB in place; transparency has no agreed background, so it is refused. */
static ldm_status drop_alpha(job *j) {
    size_t n = (size_t)j->w * j->h;
    for (size_t i = 0; i < n; i++) {
        if (j->pixels[4 * i + 3] != 255)
            return ldm_fail(LDM_ERR_FORMAT, "%s: the pixel at %zu, %zu is transparent, wanted an opaque picture",
                            j->name, i % j->w, i / j->w);
        memmove(j->pixels + 3 * i, j->pixels + 4 * i, 3);
    }
    return LDM_OK;
}

ldm_status ldm_png_parse(const void *data, size_t size, const char *name, ldm_image *out) {
    job j = {.name = name, .at = data, .end = (const uint8_t *)data + size};
    if (size < 8 || png_sig_cmp(data, 0, 8) != 0) return ldm_fail(LDM_ERR_FORMAT, "%s: is not a PNG picture", name);
    j.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    if (j.png) j.info = png_create_info_struct(j.png);
    if (j.info) decode(&j);
    else j.st = ldm_fail(LDM_ERR_NOMEM, "%s: host memory for libpng is not there", name);
    if (!j.st && j.channels == 4) j.st = drop_alpha(&j);
    png_destroy_read_struct(&j.png, &j.info, NULL);
    free(j.rows);
    if (j.st) free(j.pixels);
    else *out = (ldm_image){.w = j.w, .h = j.h, .data = j.pixels};
    return j.st;
}

ldm_status ldm_png_read(const char *path, ldm_image *out) {
    char *data;
    size_t size;
    ldm_status st = ldm_read_file(path, (size_t)1 << 30, &data, &size);
    if (st) return st;
    st = ldm_png_parse(data, size, path, out);
    free(data);
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

/* tEXt where the value is ASCII, iTXt where it is other UTF-8. */
static ldm_status make_text(const char *path, const char *const *pairs, png_textp *out, int *count) {
    int n = 0;
    void *memory;
    while (pairs && pairs[2 * n]) n++;
    ldm_status st = ldm_alloc((size_t)n * sizeof(png_text), &memory);
    if (st) return ldm_prefix(st, "%s", path);
    png_textp text = memory;
    for (int i = 0; i < n; i++) {
        const char *key = pairs[2 * i], *value = pairs[2 * i + 1];
        size_t len = strlen(key);
        bool plain = len >= 1 && len <= 79 && key[0] != ' ' && key[len - 1] != ' ' && !strstr(key, "  "), ascii = true;
        for (const char *k = key; *k; k++) plain = plain && *k >= 32 && *k < 127;
        if (!plain || !value || !ldm_utf8_valid(value, strlen(value))) {
            free(text);
            return ldm_fail(LDM_ERR_ARG,
                            "%s: PNG text '%s': wanted a keyword of 1 to 79 ASCII characters and text in UTF-8", path,
                            key);
        }
        for (const char *v = value; *v; v++) ascii = ascii && ((*v >= 32 && *v < 127) || *v == '\n');
        text[i] = (png_text){.compression = ascii ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE,
                             .key = (char *)key,
                             .text = (char *)value};
    }
    *out = text, *count = n;
    return LDM_OK;
}

ldm_status ldm_png_write(const char *path, const ldm_image *im, const char *const *text) {
    ldm_status st = LDM_OK;
    ldm_outfile o = {0};
    png_textp texts = NULL;
    int count = 0;
    void *rows;
    job j = {.name = path};
    if (im->w < 1 || im->h < 1 || im->w > MAX_SIDE || im->h > MAX_SIDE || im->w * im->h > MAX_PIXELS)
        return ldm_fail(LDM_ERR_ARG, "%s: a picture of %lld x %lld, wanted 1 to %d a side and at most %d pixels", path,
                        (long long)im->w, (long long)im->h, MAX_SIDE, MAX_PIXELS);
    TRY(make_text(path, text, &texts, &count));
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
    free(j.rows), free(texts);
    return st;
}
