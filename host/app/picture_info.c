/* picture_info.c -- what is said of a picture: by `ldm info` its size and the texts in it, and that a name is of another kind. */
#include "app/app.h"
#include "io/io.h"
#include <string.h>

void app_note_name(const char *path) {
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    if (dot && (!slash || dot > slash) && strcasecmp(dot, ".png") && !ldm_is_stream(path)) ldm_note("%s: is written as PNG, whatever its name says", path);
}

static bool begins_as_png(const char *path) {
    char head[8] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f) fclose(f);
    return n == 8 && !memcmp(head, "\x89PNG\r\n\x1a\n", 8);
}

ldm_status app_picture_info(const char *path, ldm_text *out, bool *picture) {
    ldm_image im = {0};
    ldm_png_texts t = {0};
    ldm_status st = LDM_OK;
    *picture = begins_as_png(path);
    if (!*picture) return LDM_OK;
    TRY(ldm_picture_read(path, &im));
    TRY(ldm_png_read_text(path, &t));
    ldm_text_add(out, "%s: PNG picture, %lld x %lld\n", path, (long long)im.w, (long long)im.h);
    for (int i = 0; i < t.count; i++) ldm_text_add(out, "%s:\n%s\n", t.pairs[2 * i], t.pairs[2 * i + 1]);
done:
    ldm_image_free(&im);
    ldm_png_texts_free(&t);
    return st;
}
