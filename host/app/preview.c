/* preview.c -- see preview.h. The matrix is a least-squares fit of colours, averaged over the pixels of a latent element, to
 * latents: clouds of colour, encoded and decoded by the model itself; where it has no encoder, smooth random latents. */
#include "app/preview.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIT_LATENTS = 6, OCTAVES = 4 };

ldm_status app_preview_parse(const char *name, app_preview_kind *out) {
    static const char *const names[] = {"none", "proj", "tae", "vae"};
    for (int i = 0; i < 4; i++)
        if (!name || !strcmp(name, names[i])) return *out = (app_preview_kind)i, LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "--preview %s: wanted none, proj, tae or vae", name);
}

void app_preview_free(app_preview *v) { free(v->matrix), v->matrix = NULL; }

/* Element of octave k: constant over cells of 2^k; octaves add up to a deviation of about one. */
static void smooth_latent(uint64_t seed, int64_t h, int64_t w, int c, float *out) {
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++)
            for (int i = 0; i < c; i++) {
                float v = 0;
                for (int k = 0; k < OCTAVES; k++)
                    v += ldm_uniform(seed, (uint64_t)(k * c + i), (uint64_t)((y >> k) * w + (x >> k)));
                out[(y * w + x) * c + i] = v * (float)sqrt(3.0 / OCTAVES); /* a uniform number's variance is 1/3 */
            }
}

/* a [n,n] x = b [n,3] by elimination with pivots; a and b are spoilt, b becomes x. */
static bool solve(double *a, double *b, int n) {
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
        if (!(fabs(a[best * n + k]) > 0)) return false;
        for (int j = 0; j < n && best != k; j++) {
            double t = a[k * n + j];
            a[k * n + j] = a[best * n + j], a[best * n + j] = t;
        }
        for (int j = 0; j < 3 && best != k; j++) {
            double t = b[k * 3 + j];
            b[k * 3 + j] = b[best * 3 + j], b[best * 3 + j] = t;
        }
        for (int i = 0; i < n; i++) {
            double f = a[i * n + k] / a[k * n + k];
            if (i == k) continue;
            for (int j = k; j < n; j++) a[i * n + j] -= f * a[k * n + j];
            for (int j = 0; j < 3; j++) b[i * 3 + j] -= f * b[k * 3 + j];
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 3; j++) b[i * 3 + j] /= a[i * n + i];
    return true;
}

/* One latent's rows added to the normal equations. map [fh,fw,3] in [0,1]. */
static void add_rows(const float *z, const float *map, int64_t h, int64_t w, int c, int f, double *a, double *b) {
    int n = c + 1;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            const float *row = z + (y * w + x) * c;
            double colour[3] = {0};
            for (int64_t v = y * f; v < (y + 1) * f; v++)
                for (int64_t u = x * f; u < (x + 1) * f; u++)
                    for (int k = 0; k < 3; k++) colour[k] += map[(v * w * f + u) * 3 + k];
            for (int i = 0; i < n; i++) {
                double p = i < c ? row[i] : 1;
                for (int j = 0; j < n; j++) a[i * n + j] += p * (j < c ? row[j] : 1);
                for (int k = 0; k < 3; k++) b[i * 3 + k] += p * colour[k] / (f * f);
            }
        }
}

/* Clouds that reach all colours, in the stage's range. */
static void clouds(uint64_t seed, const ldm_stage_config *stage, int64_t h, int64_t w, float *map) {
    int f = ldm_stage_factor(stage);
    for (int64_t y = 0; y < h * f; y++)
        for (int64_t x = 0; x < w * f; x++)
            for (int k = 0; k < 3; k++) {
                float v = 0.5f;
                for (int octave = 0; octave < OCTAVES; octave++)
                    v += 0.6f * ldm_uniform(seed, (uint64_t)(octave * 3 + k), (uint64_t)((y / f >> octave) * w + (x / f >> octave)));
                v = v < 0 ? 0 : v > 1 ? 1 : v;
                map[(y * w * f + x) * 3 + k] = stage->kind == LDM_STAGE_TAESD ? v : 2 * v - 1;
            }
}

static ldm_status fit(app_preview *v, app_pipeline *p) {
    ldm_status st = LDM_OK;
    int64_t h, w;
    int c;
    app_pipeline_size(p, &h, &w, &c);
    const ldm_stage_config *stage = app_pipeline_stage(p);
    int n = c + 1, f = ldm_stage_factor(stage);
    float *z = NULL, *map = NULL, *cloud = NULL;
    double *a = NULL, *b = NULL;
    bool encodes = app_pipeline_encodes(p);
    TRY(ldm_alloc((size_t)(h * w * c) * sizeof *z, (void **)&z));
    TRY(ldm_alloc((size_t)(n * n) * sizeof *a, (void **)&a));
    TRY(ldm_alloc((size_t)n * 3 * sizeof *b, (void **)&b));
    for (int k = 0; k < FIT_LATENTS; k++) {
        if (encodes) {
            if (!cloud) TRY(ldm_alloc((size_t)(h * w * f * f * 3) * sizeof *cloud, (void **)&cloud));
            clouds((uint64_t)k, stage, h, w, cloud);
            TRY(app_pipeline_latent(p, cloud, z));
        } else smooth_latent((uint64_t)k, h, w, c, z);
        TRY(app_pipeline_decode_map(p, false, z, &map));
        for (int64_t i = 0; i < h * w * f * f * 3; i++) {
            float value = stage->kind == LDM_STAGE_TAESD ? map[i] : (map[i] + 1) / 2;
            map[i] = value < 0 ? 0 : value > 1 ? 1 : value;
        }
        add_rows(z, map, h, w, c, f, a, b);
        free(map), map = NULL;
    }
    for (int i = 0; i < c; i++) a[i * n + i] += 1e-3 * (double)(FIT_LATENTS * h * w); /* few latents stay sensible */
    if (!solve(a, b, n)) TRY(ldm_fail(LDM_ERR_NONFINITE, "preview: the decoder's colours do not depend on the latent"));
    TRY(ldm_alloc((size_t)n * 3 * sizeof *v->matrix, (void **)&v->matrix));
    for (int i = 0; i < 3 * n; i++) v->matrix[i] = (float)b[i];
done:
    free(z), free(map), free(cloud), free(a), free(b);
    return st;
}

/* From the cache folder, or fitted and put there. */
static ldm_status load_matrix(app_preview *v, app_pipeline *p) {
    char folder[4300], path[4500];
    int64_t h, w;
    int c;
    ldm_array kept = {0};
    app_pipeline_size(p, &h, &w, &c);
    ldm_shape s = ldm_shape_of(2, (int64_t)c + 1, (int64_t)3);
    snprintf(folder, sizeof folder, "%s/previews", ldm_cache_dir());
    snprintf(path, sizeof path, "%s/%.32s.npy", folder, v->stage);
    if (access(path, R_OK) == 0 && ldm_npy_read_f32(path, &kept) == LDM_OK && ldm_shape_equal(&kept.shape, &s)) {
        v->matrix = kept.data;
        return LDM_OK;
    }
    ldm_array_free(&kept);
    ldm_status st = fit(v, p);
    if (!st && ldm_make_dirs(folder) == LDM_OK) ldm_npy_write(path, LDM_F32, &s, v->matrix); /* not remembering is no failure */
    return st;
}

static ldm_status project(app_preview *v, app_pipeline *p, const float *z, ldm_image *out) {
    ldm_status st = v->matrix ? LDM_OK : load_matrix(v, p);
    if (st) return st;
    int64_t h, w;
    int c, f = ldm_stage_factor(app_pipeline_stage(p));
    app_pipeline_size(p, &h, &w, &c);
    ldm_image small = {.w = w, .h = h};
    if ((st = ldm_alloc((size_t)(w * h * 3), (void **)&small.data))) return st;
    for (int64_t i = 0; i < w * h; i++)
        for (int k = 0; k < 3; k++) {
            float v3 = v->matrix[c * 3 + k];
            for (int j = 0; j < c; j++) v3 += z[i * c + j] * v->matrix[j * 3 + k];
            v3 = v3 < 0 ? 0 : v3 > 1 ? 1 : v3;
            small.data[i * 3 + k] = (uint8_t)(255 * v3 + 0.5f);
        }
    st = ldm_image_resize(&small, w * f, h * f, LDM_FILTER_BILINEAR, out);
    ldm_image_free(&small);
    return st;
}

ldm_status app_preview_show(app_preview *v, app_pipeline *p, int step, const float *x0) {
    ldm_image im = {0};
    if (v->kind == APP_PREVIEW_NONE || (step + 1) % v->interval) return LDM_OK;
    ldm_status st = v->kind == APP_PREVIEW_PROJ ? project(v, p, x0, &im) : app_pipeline_decode(p, v->kind == APP_PREVIEW_TAE, x0, &im);
    if (!st) st = ldm_png_write(v->path, &im, NULL);
    ldm_image_free(&im);
    if (st == LDM_ERR_NOMEM) { /* beside the network: the picture itself is no worse for it */
        ldm_note("no previews: %s", ldm_message());
        v->kind = APP_PREVIEW_NONE;
        return LDM_OK;
    }
    return st ? ldm_prefix(st, "preview") : LDM_OK;
}
