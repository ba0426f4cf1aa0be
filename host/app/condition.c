/* condition.c -- label maps, low-resolution pictures, masks and depth maps as inputs of a network. */
#include "app/condition.h"
#include <math.h>

ldm_status app_condition_size(const char *what, int64_t w, int64_t h, int64_t want_w, int64_t want_h) {
    if (w == want_w && h == want_h) return LDM_OK;
    return ldm_fail(LDM_ERR_FORMAT, "%s: %lld x %lld pixels, wanted %lld x %lld", what, (long long)w, (long long)h,
                    (long long)want_w, (long long)want_h);
}

ldm_status app_condition_labels(const ldm_labels *map, int classes, int factor, const char *name, float *out) {
    int64_t w = map->w / factor, h = map->h / factor;
    float share = 1 / ((float)factor * (float)factor);
    if (map->w % factor || map->h % factor)
        return ldm_fail(LDM_ERR_FORMAT, "%s: %lld x %lld labels, wanted multiples of %d a side", name,
                        (long long)map->w, (long long)map->h, factor);
    for (int64_t i = 0; i < map->w * map->h; i++)
        if (map->data[i] >= classes)
            return ldm_fail(LDM_ERR_FORMAT, "%s: pixel (%lld, %lld) has label %d, labels are 0 to %d", name,
                            (long long)(i % map->w), (long long)(i / map->w), map->data[i], classes - 1);
    for (int64_t i = 0; i < w * h * classes; i++) out[i] = 0;
    for (int64_t y = 0; y < map->h; y++)
        for (int64_t x = 0; x < map->w; x++)
            out[(y / factor * w + x / factor) * classes + map->data[y * map->w + x]] += share;
    return LDM_OK;
}

static float signed_unit(uint8_t v) { return (float)(v / 127.5 - 1); }

void app_condition_picture(const ldm_image *im, float *out) {
    for (int64_t i = 0; i < im->w * im->h * 3; i++) out[i] = signed_unit(im->data[i]);
}

void app_condition_mask(const ldm_grey *mask, float *out) {
    for (int64_t i = 0; i < mask->w * mask->h; i++) out[i] = mask->data[i] >= 0.5f;
}

void app_condition_masked_picture(app_inpainting kind, const ldm_image *im, const float *mask, float *out) {
    float hole = kind == APP_INPAINT_LDM ? -1 : 0;
    for (int64_t i = 0; i < im->w * im->h * 3; i++) out[i] = mask[i / 3] >= 0.5f ? hole : signed_unit(im->data[i]);
}

/* Which of n source elements lies under element i of dn. */
static int64_t nearest(int64_t i, int64_t n, int64_t dn) {
    int64_t at = (int64_t)floorf((float)i * ((float)n / (float)dn));
    return at < n ? at : n - 1;
}

void app_condition_nearest(const float *src, int64_t h, int64_t w, float *dst, int64_t dh, int64_t dw) {
    for (int64_t y = 0; y < dh; y++)
        for (int64_t x = 0; x < dw; x++) dst[y * dw + x] = src[nearest(y, h, dh) * w + nearest(x, w, dw)];
}

void app_condition_inpaint(app_inpainting kind, const float *latent, int64_t lh, int64_t lw, int64_t c,
                           const float *mask, int64_t h, int64_t w, float *out) {
    for (int64_t y = 0; y < lh; y++)
        for (int64_t x = 0; x < lw; x++, latent += c) {
            float m = mask[nearest(y, h, lh) * w + nearest(x, w, lw)];
            if (kind == APP_INPAINT_SD) *out++ = m;
            for (int64_t k = 0; k < c; k++) *out++ = latent[k];
            if (kind == APP_INPAINT_LDM) *out++ = 2 * m - 1;
        }
}

/* ---- depth ------------------------------------------------------------------------------------------------------- */

/* Keys' cubic convolution kernel at distance d, a = -0.75. */
static double cubic(double d) {
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

typedef struct taps { /* the four source elements of one result, and their weights */
    int64_t at[4];
    double weight[4];
} taps;

static taps taps_of(int64_t i, int64_t n, int64_t dn) {
    taps t;
    double place = ((double)i + 0.5) * ((double)n / (double)dn) - 0.5, base = floor(place);
    for (int k = 0; k < 4; k++) {
        int64_t at = (int64_t)base - 1 + k;
        t.weight[k] = cubic(place - (base - 1 + k));
        t.at[k] = at < 0 ? 0 : at < n ? at : n - 1;
    }
    return t;
}

void app_condition_bicubic(const float *src, int64_t h, int64_t w, float *dst, int64_t dh, int64_t dw) {
    for (int64_t y = 0; y < dh; y++) {
        taps down = taps_of(y, h, dh);
        for (int64_t x = 0; x < dw; x++) {
            taps across = taps_of(x, w, dw);
            double sum = 0;
            for (int j = 0; j < 4; j++)
                for (int k = 0; k < 4; k++)
                    sum += down.weight[j] * across.weight[k] * src[down.at[j] * w + across.at[k]];
            dst[y * dw + x] = (float)sum;
        }
    }
}

ldm_status app_condition_depth(const ldm_grey *depth, double guard, int64_t lh, int64_t lw, const char *name,
                               float *out) {
    app_condition_bicubic(depth->data, depth->h, depth->w, out, lh, lw);
    float low = out[0], high = out[0];
    for (int64_t i = 0; i < lh * lw; i++) low = fminf(low, out[i]), high = fmaxf(high, out[i]);
    if (!((double)high - low + guard > 0))
        return ldm_fail(LDM_ERR_FORMAT, "%s: the depth is the same everywhere", name);
    for (int64_t i = 0; i < lh * lw; i++)
        out[i] = (float)(2 * ((double)out[i] - low) / ((double)high - low + guard) - 1);
    return LDM_OK;
}

/* ---- the x4 upscaler --------------------------------------------------------------------------------------------- */

ldm_status app_condition_noised(int level, float *x, const float *noise, int64_t n) {
    enum { STEPS = 1000 };
    double from = sqrt(1e-4), to = sqrt(0.02), kept = 1; /* abar */
    if (level < 0 || level >= APP_NOISE_LEVELS)
        return ldm_fail(LDM_ERR_ARG, "noise level %d: levels are 0 to %d", level, APP_NOISE_LEVELS - 1);
    for (int t = 0; t <= level; t++) {
        double root = from + (to - from) * t / (STEPS - 1);
        kept *= 1 - root * root;
    }
    float signal = (float)sqrt(kept), spread = (float)sqrt(1 - kept);
    for (int64_t i = 0; i < n; i++) x[i] = signal * x[i] + spread * noise[i];
    return LDM_OK;
}
