/* resize.c -- pictures made larger or smaller: separable filters, along rows first, then along columns. 8-bit pictures go
 * the way Pillow's do (Pillow, src/libImaging/Resample.c): weights as whole numbers of 22 bits, rounded to 8 bits between
 * the two passes; grey numbers in f64. */
#include "io/picture.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT_BITS = 22 };

static double bilinear(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

/* Keys (1981), a = -0.5 */
static double bicubic(double x) {
    double a = -0.5;
    x = fabs(x);
    return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double sinc(double x) { return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x); }
static double lanczos(double x) { return fabs(x) < 3 ? sinc(x) * sinc(x / 3) : 0; }

static const struct {
    const char *name;
    double (*weight)(double x);
    double reach; /* from the centre, in input pixels where the picture grows */
} filters[] = {{"nearest", NULL, 0}, {"bilinear", bilinear, 1}, {"bicubic", bicubic, 2}, {"lanczos", lanczos, 3}};

const char *ldm_filter_name(ldm_filter f) { return filters[f].name; }

bool ldm_filter_parse(const char *name, ldm_filter *out) {
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, filters[i].name)) return *out = (ldm_filter)i, true;
    return false;
}

/* Of one axis: output i is the sum of weight[i * most + k] times input first[i] + k, k < count[i]. */
typedef struct axis {
    int64_t *first, *count, most;
    double *weight;
} axis;

static void axis_free(axis *a) { free(a->first), free(a->count), free(a->weight); }

static ldm_status axis_make(int64_t in, int64_t out, ldm_filter f, axis *a) {
    ldm_status st = LDM_OK;
    double scale = (double)in / (double)out, wide = scale < 1 ? 1 : scale, reach = filters[f].reach * wide;
    *a = (axis){.most = f == LDM_FILTER_NEAREST ? 1 : (int64_t)ceil(reach) * 2 + 1};
    TRY(ldm_alloc((size_t)out * sizeof *a->first, (void **)&a->first));
    TRY(ldm_alloc((size_t)out * sizeof *a->count, (void **)&a->count));
    TRY(ldm_alloc((size_t)(out * a->most) * sizeof *a->weight, (void **)&a->weight));
    double walked = 0.5 * scale; /* Pillow's centre for nearest, a sum whose rounding decides where pixels meet */
    for (int64_t i = 0; i < out; i++, walked += scale) {
        double centre = ((double)i + 0.5) * scale, sum = 0, *w = a->weight + i * a->most;
        if (f == LDM_FILTER_NEAREST) {
            int64_t at = (int64_t)walked;
            a->first[i] = at < in ? at : in - 1, a->count[i] = 1, w[0] = 1;
            continue;
        }
        int64_t from = (int64_t)(centre - reach + 0.5), to = (int64_t)(centre + reach + 0.5);
        from = from < 0 ? 0 : from, to = to > in ? in : to;
        for (int64_t k = 0; k < to - from; k++) {
            w[k] = filters[f].weight(((double)(k + from) - centre + 0.5) / wide);
            sum += w[k];
        }
        for (int64_t k = 0; k < to - from && sum != 0; k++) w[k] /= sum;
        a->first[i] = from, a->count[i] = to - from;
    }
done:
    return st;
}

static int32_t whole(double w) { return (int32_t)(w < 0 ? w * (1 << WEIGHT_BITS) - 0.5 : w * (1 << WEIGHT_BITS) + 0.5); }

/* Along one axis: `lines` lines, elements `step` bytes apart; line l begins at l * stride bytes. */
static void pass_bytes(const axis *a, int64_t out, const uint8_t *src, int64_t src_step, int64_t src_stride, uint8_t *dst,
                       int64_t dst_step, int64_t dst_stride, int64_t lines) {
    for (int64_t l = 0; l < lines; l++)
        for (int64_t i = 0; i < out; i++) {
            const double *w = a->weight + i * a->most;
            const uint8_t *p = src + l * src_stride + a->first[i] * src_step;
            for (int c = 0; c < 3; c++) {
                int32_t sum = 1 << (WEIGHT_BITS - 1);
                for (int64_t k = 0; k < a->count[i]; k++) sum += whole(w[k]) * p[k * src_step + c];
                sum >>= WEIGHT_BITS;
                dst[l * dst_stride + i * dst_step + c] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
            }
        }
}

static ldm_status check_size(int64_t w, int64_t h) {
    if (w >= 1 && h >= 1 && w <= LDM_PICTURE_SIDE && h <= LDM_PICTURE_SIDE && w * h <= LDM_PICTURE_PIXELS) return LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "a picture of %lld x %lld, wanted 1 to %d a side and at most %d pixels", (long long)w,
                    (long long)h, LDM_PICTURE_SIDE, LDM_PICTURE_PIXELS);
}

ldm_status ldm_image_resize(const ldm_image *im, int64_t w, int64_t h, ldm_filter f, ldm_image *out) {
    ldm_status st = LDM_OK;
    axis across = {0}, down = {0};
    uint8_t *half = NULL, *data = NULL;
    TRY(check_size(w, h));
    TRY(axis_make(im->w, w, f, &across));
    TRY(axis_make(im->h, h, f, &down));
    TRY(ldm_alloc((size_t)(w * im->h * 3), (void **)&half));
    TRY(ldm_alloc((size_t)(w * h * 3), (void **)&data));
    /* an axis that keeps its length is left alone, as its weights are 1 at one pixel */
    if (w == im->w) memcpy(half, im->data, (size_t)(w * im->h * 3));
    else pass_bytes(&across, w, im->data, 3, im->w * 3, half, 3, w * 3, im->h);
    if (h == im->h) memcpy(data, half, (size_t)(w * h * 3));
    else pass_bytes(&down, h, half, w * 3, 3, data, w * 3, 3, w);
    *out = (ldm_image){.w = w, .h = h, .data = data, .flattened = im->flattened};
    data = NULL;
done:
    axis_free(&across), axis_free(&down);
    free(half), free(data);
    return st;
}

ldm_status ldm_grey_resize(const ldm_grey *g, int64_t w, int64_t h, ldm_filter f, ldm_grey *out) {
    ldm_status st = LDM_OK;
    axis across = {0}, down = {0};
    double *half = NULL;
    float *data = NULL;
    TRY(check_size(w, h));
    TRY(axis_make(g->w, w, f, &across));
    TRY(axis_make(g->h, h, f, &down));
    TRY(ldm_alloc((size_t)(w * g->h) * sizeof *half, (void **)&half));
    TRY(ldm_alloc((size_t)(w * h) * sizeof *data, (void **)&data));
    for (int64_t y = 0; y < g->h; y++)
        for (int64_t x = 0; x < w; x++)
            for (int64_t k = 0; k < across.count[x]; k++)
                half[y * w + x] += across.weight[x * across.most + k] * g->data[y * g->w + across.first[x] + k];
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            double sum = 0;
            for (int64_t k = 0; k < down.count[y]; k++)
                sum += down.weight[y * down.most + k] * half[(down.first[y] + k) * w + x];
            data[y * w + x] = (float)sum;
        }
    *out = (ldm_grey){.w = w, .h = h, .data = data};
    data = NULL;
done:
    axis_free(&across), axis_free(&down);
    free(half), free(data);
    return st;
}
