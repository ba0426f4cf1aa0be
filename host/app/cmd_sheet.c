/* cmd_sheet.c -- `ldm sheet`: pictures of one size side by side on one. */
#include "app/app.h"
#include "io/io.h"
#include <stdlib.h>
#include <string.h>

enum { GAP = 4 };

static int columns_of(int count) { /* wider than high */
    int c = 1;
    while (c * c < 2 * count) c++;
    return c;
}

static void place(ldm_image *sheet, const ldm_image *im, int64_t x, int64_t y) {
    for (int64_t row = 0; row < im->h; row++)
        memcpy(sheet->data + ((y + row) * sheet->w + x) * 3, im->data + row * im->w * 3, (size_t)(im->w * 3));
}

/* im, enlarged by whole numbers, in cell i. */
static ldm_status add(ldm_image *sheet, const ldm_image *im, int i, int columns, int scale) {
    ldm_image large = {0};
    int64_t w = im->w * scale, h = im->h * scale;
    ldm_status st = ldm_image_resize(im, w, h, LDM_FILTER_NEAREST, &large);
    if (!st) place(sheet, &large, GAP + i % columns * (w + GAP), GAP + i / columns * (h + GAP));
    ldm_image_free(&large);
    return st;
}

APP_COMMAND(sheet) {
    char *out = NULL;
    int columns = 0, scale = 1, n = 0;
    struct poptOption table[] = {{"output", 'o', POPT_ARG_STRING, &out, 0, "the sheet", "OUT.png"},
                                 {"columns", 0, POPT_ARG_INT, &columns, 0, "pictures side by side (default: twice as many as one below the other)", "N"},
                                 {"scale", 0, POPT_ARG_INT, &scale, 0, "each pixel becomes so many (1)", "N"},
                                 APP_END};
    const char **words;
    poptContext ctx = NULL;
    ldm_image im = {0}, sheet = {0};
    int64_t w = 0, h = 0;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 1, 10000, &words, &ctx));
    if (!out) TRY(ldm_fail(LDM_ERR_ARG, "-o OUT.png is missing"));
    while (words[n]) n++;
    if (columns < 0 || scale < 1 || scale > 64) TRY(ldm_fail(LDM_ERR_ARG, "--columns %d, --scale %d: wanted 1 or more, 1 to 64", columns, scale));
    if (!columns) columns = columns_of(n);
    if (columns > n) columns = n;
    for (int i = 0; i < n; i++) {
        TRY(ldm_picture_read(words[i], &im));
        if (!i) {
            int64_t rows = (n + columns - 1) / columns;
            w = im.w, h = im.h;
            sheet.w = GAP + columns * (w * scale + GAP), sheet.h = GAP + rows * (h * scale + GAP);
            TRY(ldm_alloc((size_t)(sheet.w * sheet.h * 3), (void **)&sheet.data));
            memset(sheet.data, 255, (size_t)(sheet.w * sheet.h * 3));
        }
        if (im.w != w || im.h != h)
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: %lld x %lld, but the pictures before it are %lld x %lld", words[i], (long long)im.w,
                         (long long)im.h, (long long)w, (long long)h));
        TRY(add(&sheet, &im, i, columns, scale));
        ldm_image_free(&im);
    }
    TRY(ldm_png_write(out, &sheet, NULL));
    printf("%s: %d pictures\n", out, n);
done:
    ldm_image_free(&im), ldm_image_free(&sheet);
    free(out);
    poptFreeContext(ctx);
    return st;
}
