/* tiling.c -- see tiling.h. Tiles are all of one size and spread evenly; where they overlap, weights rise linearly from a
 * tile's edge to the end of the overlap, and what they make of a pixel is divided by their sum. */
#include "app/tiling.h"
#include <stdlib.h>
#include <string.h>

ldm_status app_parse_tiling(const char *text, app_tiling *out) {
    enum { LEAST = 8, MOST = 4096 };
    int w = 32, h = 32, end = 0;
    if (text && (sscanf(text, "%dx%d%n", &w, &h, &end) != 2 || text[end])) {
        if (sscanf(text, "%d%n", &w, &end) != 1 || text[end])
            return ldm_fail(LDM_ERR_ARG, "tile size '%s': wanted N or WxH, in elements of the latent", text);
        h = w;
    }
    if (w < LEAST || h < LEAST || w > MOST || h > MOST)
        return ldm_fail(LDM_ERR_ARG, "tile size %d x %d: wanted %d to %d", w, h, LEAST, MOST);
    *out = (app_tiling){w, h, 0.5};
    return LDM_OK;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void app_tile_size(const app_tiling *t, int64_t lh, int64_t lw, int64_t *h, int64_t *w) {
    *h = smaller(t->h, lh), *w = smaller(t->w, lw);
}

/* Along one axis: how many tiles, and where tile i begins. */
static int64_t count_of(int64_t size, int64_t tile, double overlap) {
    int64_t step = (int64_t)((double)tile * (1 - overlap));
    if (step < 1) step = 1;
    return size <= tile ? 1 : ldm_ceil_div(size - tile, step) + 1;
}
static int64_t begin_of(int64_t i, int64_t count, int64_t size, int64_t tile) {
    return count > 1 ? i * (size - tile) / (count - 1) : 0;
}

int app_tile_count(const app_tiling *t, int64_t lh, int64_t lw) {
    int64_t h, w;
    app_tile_size(t, lh, lw, &h, &w);
    return (int)(count_of(lh, h, t->overlap) * count_of(lw, w, t->overlap));
}

/* Weights of the pixels of tile i along one axis, [tile f]: 1 but for the overlaps with the tiles before and after. */
static void ramp(int64_t i, int64_t count, int64_t size, int64_t tile, int64_t f, float *weight) {
    const int64_t n = tile * f, begin = begin_of(i, count, size, tile);
    const int64_t before = i > 0 ? (begin_of(i - 1, count, size, tile) + tile - begin) * f : 0;
    const int64_t after = i + 1 < count ? (begin + tile - begin_of(i + 1, count, size, tile)) * f : 0;
    for (int64_t k = 0; k < n; k++) {
        float w = 1;
        if (k < before) w *= ((float)k + 0.5f) / (float)before;
        if (n - 1 - k < after) w *= ((float)(n - 1 - k) + 0.5f) / (float)after;
        weight[k] = w;
    }
}

ldm_status app_decode_tiles(const app_tiling *t, const float *latent, int64_t lh, int64_t lw, int64_t c, int64_t f,
                            app_decode_tile decode, void *user, float *map) {
    ldm_status st = LDM_OK;
    int64_t h, w;
    float *z = NULL, *made = NULL, *across = NULL, *down = NULL, *sum = NULL;
    app_tile_size(t, lh, lw, &h, &w);
    const int64_t rows = count_of(lh, h, t->overlap), columns = count_of(lw, w, t->overlap), W = lw * f;
    ldm_progress bar;
    ldm_progress_begin(&bar, "decoding", "tiles", (double)(rows * columns));
    TRY(ldm_alloc((size_t)(h * w * c) * sizeof *z, (void **)&z));
    TRY(ldm_alloc((size_t)(h * w * f * f * 3) * sizeof *made, (void **)&made));
    TRY(ldm_alloc((size_t)(w * f) * sizeof *across, (void **)&across));
    TRY(ldm_alloc((size_t)(h * f) * sizeof *down, (void **)&down));
    TRY(ldm_alloc((size_t)(lh * f * W) * sizeof *sum, (void **)&sum));
    memset(map, 0, (size_t)(lh * f * W * 3) * sizeof *map);
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t y0 = begin_of(i / columns, rows, lh, h), x0 = begin_of(i % columns, columns, lw, w);
        for (int64_t y = 0; y < h; y++)
            memcpy(z + y * w * c, latent + ((y0 + y) * lw + x0) * c, (size_t)(w * c) * sizeof *z);
        TRY(decode(user, z, made));
        TRY(ldm_check_interrupt());
        ramp(i / columns, rows, lh, h, f, down);
        ramp(i % columns, columns, lw, w, f, across);
        for (int64_t y = 0; y < h * f; y++)
            for (int64_t x = 0; x < w * f; x++) {
                const int64_t at = (y0 * f + y) * W + x0 * f + x;
                const float weight = down[y] * across[x];
                sum[at] += weight;
                for (int k = 0; k < 3; k++) map[3 * at + k] += weight * made[(y * w * f + x) * 3 + k];
            }
        ldm_progress_to(&bar, (double)(i + 1));
    }
    for (int64_t i = 0; i < lh * f * W; i++)
        for (int k = 0; k < 3; k++) map[3 * i + k] /= sum[i];
done:
    ldm_progress_end(&bar);
    free(z), free(made), free(across), free(down), free(sum);
    return st;
}
