/* compare.c -- how alike two pictures are: PSNR and SSIM (Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality
 * assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004), in f64. */
#include "io/io.h"
#include <math.h>
#include <stdlib.h>

enum { REACH = 5, WINDOW = 2 * REACH + 1 };

/* Sums under the window of row segments of one channel, x, y, xx, yy, xy; each pass is separable. */
enum { MOMENTS = 5 };

static void window(double *g) {
    double sum = 0;
    for (int i = 0; i < WINDOW; i++) sum += g[i] = exp(-0.5 * (i - REACH) * (i - REACH) / (1.5 * 1.5));
    for (int i = 0; i < WINDOW; i++) g[i] /= sum;
}

/* rows[y * w + x] for x in 0 .. w - WINDOW: moments of the row y under the window that begins at x. */
static void along_rows(const ldm_image *a, const ldm_image *b, int c, const double *g, double (*rows)[MOMENTS]) {
    int64_t w = a->w, wide = w - WINDOW + 1;
    for (int64_t y = 0; y < a->h; y++)
        for (int64_t x = 0; x < wide; x++) {
            double *m = rows[y * wide + x];
            for (int k = 0; k < MOMENTS; k++) m[k] = 0;
            for (int k = 0; k < WINDOW; k++) {
                double p = a->data[(y * w + x + k) * 3 + c], q = b->data[(y * w + x + k) * 3 + c];
                m[0] += g[k] * p, m[1] += g[k] * q, m[2] += g[k] * p * p, m[3] += g[k] * q * q, m[4] += g[k] * p * q;
            }
        }
}

static double ssim(const ldm_image *a, const ldm_image *b, int c, const double *g, double (*rows)[MOMENTS]) {
    const double c1 = (0.01 * 255) * (0.01 * 255), c2 = (0.03 * 255) * (0.03 * 255);
    int64_t wide = a->w - WINDOW + 1, high = a->h - WINDOW + 1;
    double total = 0;
    along_rows(a, b, c, g, rows);
    for (int64_t y = 0; y < high; y++)
        for (int64_t x = 0; x < wide; x++) {
            double m[MOMENTS] = {0};
            for (int k = 0; k < WINDOW; k++)
                for (int i = 0; i < MOMENTS; i++) m[i] += g[k] * rows[(y + k) * wide + x][i];
            double va = m[2] - m[0] * m[0], vb = m[3] - m[1] * m[1], cov = m[4] - m[0] * m[1];
            total += (2 * m[0] * m[1] + c1) * (2 * cov + c2) / ((m[0] * m[0] + m[1] * m[1] + c1) * (va + vb + c2));
        }
    return total / (double)(wide * high);
}

ldm_status ldm_image_compare(const ldm_image *a, const ldm_image *b, ldm_likeness *out) {
    ldm_likeness l = {0};
    double g[WINDOW], square = 0, (*rows)[MOMENTS];
    int64_t n = a->w * a->h * 3, differing = 0;
    if (a->w != b->w || a->h != b->h)
        return ldm_fail(LDM_ERR_FORMAT, "pictures of %lld x %lld and %lld x %lld, wanted equal sizes", (long long)a->w,
                        (long long)a->h, (long long)b->w, (long long)b->h);
    if (a->w < WINDOW || a->h < WINDOW)
        return ldm_fail(LDM_ERR_FORMAT, "pictures of %lld x %lld, SSIM's window needs %d a side", (long long)a->w,
                        (long long)a->h, WINDOW);
    ldm_status st = ldm_alloc((size_t)((a->w - WINDOW + 1) * a->h) * sizeof *rows, (void **)&rows);
    if (st) return st;
    for (int64_t i = 0; i < n; i++) {
        int d = abs(a->data[i] - b->data[i]);
        square += (double)d * d, differing += d != 0;
        if (d > l.worst) l.worst = d;
    }
    l.psnr = square > 0 ? 10 * log10(255.0 * 255.0 * (double)n / square) : INFINITY;
    l.differing = (double)differing / (double)n;
    window(g);
    for (int c = 0; c < 3; c++) l.ssim += ssim(a, b, c, g, rows) / 3;
    free(rows);
    *out = l;
    return LDM_OK;
}
