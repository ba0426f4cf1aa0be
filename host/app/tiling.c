/* tiling.c -- see tiling.h. Tiles are all of one size; what they make of a pixel is divided by the sum of its weights. Those of
 * tiles spread evenly rise linearly from a tile's edge to the end of the overlap. */
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
    *out = (app_tiling){w, h, 0.5, 0};
    return LDM_OK;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void app_tile_size(const app_tiling *t, int64_t lh, int64_t lw, int64_t *h, int64_t *w) {
    *h = smaller(t->h, lh), *w = smaller(t->w, lw);
}

/* Along one axis: how many tiles, and where tile i begins. */
static int64_t count_of(const app_tiling *t, int64_t size, int64_t tile) {
    int64_t step = t->stride ? t->stride : (int64_t)((double)tile * (1 - t->overlap));
    if (step < 1) step = 1;
    return size <= tile ? 1 : ldm_ceil_div(size - tile, step) + 1;
}
static int64_t begin_of(const app_tiling *t, int64_t i, int64_t count, int64_t size, int64_t tile) {
    if (t->stride) return smaller(i * t->stride, size - tile);
    return count > 1 ? i * (size - tile) / (count - 1) : 0;
}

int app_tile_count(const app_tiling *t, int64_t lh, int64_t lw) {
    int64_t h, w;
    app_tile_size(t, lh, lw, &h, &w);
    return (int)(count_of(t, lh, h) * count_of(t, lw, w));
}

/* Tile i of an axis: where it begins, and of each of its n outputs the weight: 1 but for the overlaps with the tiles before and
 * after; of a window, the distance from its border. */
static int64_t axis(const app_tiling *t, const app_tile_job *j, int64_t i, int64_t size, int64_t tile, float *weight) {
    const int64_t count = count_of(t, size, tile), n = tile * j->up / j->down, begin = begin_of(t, i, count, size, tile);
    const int64_t back = i > 0 ? begin_of(t, i - 1, count, size, tile) + tile - begin : 0;
    const int64_t ahead = i + 1 < count ? begin + tile - begin_of(t, i + 1, count, size, tile) : 0;
    const int64_t before = back * j->up / j->down, after = ahead * j->up / j->down;
    for (int64_t k = 0; k < n; k++) {
        float w = 1;
        if (t->stride) w = n > 1 ? (float)smaller(k, n - 1 - k) / (float)(n - 1) : 0;
        else {
            if (k < before) w *= ((float)k + 0.5f) / (float)before;
            if (n - 1 - k < after) w *= ((float)(n - 1 - k) + 0.5f) / (float)after;
        }
        weight[k] = w;
    }
    return begin;
}

static float weight_of(const app_tiling *t, float down, float across) {
    const float nearer = down < across ? down : across;
    if (!t->stride) return down * across;
    return nearer > 0.01f ? nearer : 0.01f;
}

ldm_status app_tile_map(const app_tiling *t, const app_tile_job *j, const float *in, float *out) {
    ldm_status st = LDM_OK;
    int64_t h, w;
    const int64_t c = j->c, k_out = j->c_out;
    float *part = NULL, *made = NULL, *across = NULL, *down = NULL, *sum = NULL;
    app_tile_size(t, j->h, j->w, &h, &w);
    const int64_t rows = count_of(t, j->h, h), columns = count_of(t, j->w, w), h_out = h * j->up / j->down, w_out = w * j->up / j->down;
    const int64_t W = j->w * j->up / j->down, pixels = j->h * j->up / j->down * W;
    ldm_progress bar;
    ldm_progress_begin(&bar, j->what, "tiles", (double)(rows * columns));
    TRY(ldm_alloc((size_t)(h * w * c) * sizeof *part, (void **)&part));
    TRY(ldm_alloc((size_t)(h_out * w_out * k_out) * sizeof *made, (void **)&made));
    TRY(ldm_alloc((size_t)w_out * sizeof *across, (void **)&across));
    TRY(ldm_alloc((size_t)h_out * sizeof *down, (void **)&down));
    TRY(ldm_alloc((size_t)pixels * sizeof *sum, (void **)&sum));
    memset(out, 0, (size_t)(pixels * k_out) * sizeof *out);
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t y0 = axis(t, j, i / columns, j->h, h, down), x0 = axis(t, j, i % columns, j->w, w, across);
        for (int64_t y = 0; y < h; y++)
            memcpy(part + y * w * c, in + ((y0 + y) * j->w + x0) * c, (size_t)(w * c) * sizeof *part);
        TRY(j->tile(j->user, part, made));
        TRY(ldm_check_interrupt());
        for (int64_t y = 0; y < h_out; y++)
            for (int64_t x = 0; x < w_out; x++) {
                const int64_t at = (y0 * j->up / j->down + y) * W + x0 * j->up / j->down + x;
                const float weight = weight_of(t, down[y], across[x]);
                sum[at] += weight;
                for (int64_t k = 0; k < k_out; k++) out[k_out * at + k] += weight * made[(y * w_out + x) * k_out + k];
            }
        ldm_progress_to(&bar, (double)(i + 1));
    }
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < k_out; k++) out[k_out * i + k] /= sum[i];
done:
    ldm_progress_end(&bar);
    free(part), free(made), free(across), free(down), free(sum);
    return st;
}
