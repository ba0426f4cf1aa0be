/* test_tiling.c -- decoding in tiles: a decoder that looks at single elements gives the untiled map, one that errs by a
 * constant in every other tile gives straight lines between, every pixel is covered, and sizes are read as they should be. */
#include "app/tiling.h"
#include "test.h"
#include <math.h>

enum { C = 4 };
typedef struct decoder {
    int64_t h, w, f;
    int made;
    float step; /* added, times the number of the tile */
} decoder;

static ldm_status decode(void *user, const float *z, float *map) {
    decoder *d = user;
    for (int64_t y = 0; y < d->h * d->f; y++)
        for (int64_t x = 0; x < d->w * d->f; x++)
            for (int k = 0; k < 3; k++)
                map[(y * d->w * d->f + x) * 3 + k] = z[((y / d->f) * d->w + x / d->f) * C + k] + d->step * (float)(d->made);
    d->made++;
    return LDM_OK;
}

static void whole(int64_t lh, int64_t lw, const char *tile, int want) {
    app_tiling t;
    const int64_t f = 2;
    decoder d = {.f = f};
    float *z = NULL, *map = NULL;
    CHECK_OK(app_parse_tiling(tile, &t));
    CHECK_OK(ldm_alloc((size_t)(lh * lw * C) * sizeof *z, (void **)&z));
    CHECK_OK(ldm_alloc((size_t)(lh * lw * f * f * 3) * sizeof *map, (void **)&map));
    for (int64_t i = 0; i < lh * lw * C; i++) z[i] = ldm_uniform(1, 1, (uint64_t)i);
    app_tile_size(&t, lh, lw, &d.h, &d.w);
    CHECK_OK(app_tile_map(&t, &(app_tile_job){lh, lw, C, f, 1, 3, decode, &d, "decoding"}, z, map));
    CHECK(d.made == want && app_tile_count(&t, lh, lw) == want, "%d tiles of %lld x %lld, %d counted, wanted %d", d.made, (long long)d.w,
          (long long)d.h, app_tile_count(&t, lh, lw), want);
    double worst = 0;
    for (int64_t y = 0; y < lh * f; y++)
        for (int64_t x = 0; x < lw * f; x++)
            for (int k = 0; k < 3; k++) {
                const double e = fabs((double)map[(y * lw * f + x) * 3 + k] - (double)z[((y / f) * lw + x / f) * C + k]);
                if (!(e <= worst)) worst = e;
            }
    CHECK(worst < 1e-6, "%s of %lld x %lld: off by %g", tile ? tile : "default", (long long)lw, (long long)lh, worst);
    free(z), free(map);
}

/* Two tiles side by side, the second one higher by 1: a line from 0 to 1 over the overlap. */
static void blended(void) {
    app_tiling t = {8, 8, 0.5, 0};
    enum { W = 12, H = 8 };
    decoder d = {.h = 8, .w = 8, .f = 1, .step = 1};
    float z[H * W * C] = {0}, map[H * W * 3];
    CHECK_OK(app_tile_map(&t, &(app_tile_job){H, W, C, 1, 1, 3, decode, &d, "decoding"}, z, map));
    CHECK(d.made == 2, "%d tiles", d.made);
    for (int x = 0; x < W; x++) {
        const double want = x < 4 ? 0 : x >= 8 ? 1 : ((double)(x - 4) + 0.5) / 4;
        for (int y = 0; y < H; y++)
            CHECK(fabs((double)map[(y * W + x) * 3] - want) < 1e-6, "column %d row %d: %g, wanted %g", x, y, (double)map[(y * W + x) * 3], want);
    }
}

static void sizes(void) {
    static const char *const wrong[] = {"", "x", "32x", "7", "32x4", "-32", "32x32x32", "5000", "32 ", "a32"};
    app_tiling t = {0};
    CHECK_OK(app_parse_tiling(NULL, &t));
    CHECK(t.w == 32 && t.h == 32 && t.overlap == 0.5, "default %lld x %lld", (long long)t.w, (long long)t.h);
    CHECK_OK(app_parse_tiling("48x16", &t));
    CHECK(t.w == 48 && t.h == 16, "48x16: %lld x %lld", (long long)t.w, (long long)t.h);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(app_parse_tiling(wrong[i], &t) == LDM_ERR_ARG, "'%s' is a size", wrong[i]);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "tiling");
    CASE("every element by itself") {
        whole(16, 16, NULL, 1);
        whole(64, 64, NULL, 9);
        whole(33, 70, NULL, 2 * 4);
        whole(20, 45, "8x16", 2 * 11);
        whole(8, 200, "64x8", 6);
    }
    CASE("a straight line between two tiles") blended();
    CASE("sizes") sizes();
    return test_end();
}
