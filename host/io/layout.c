/* layout.c -- between PyTorch's [n,c,h,w] at the border and our [n,h,w,c] inside. Blocks of channels keep both sides'
 * lines in the cache. */
#include "io/io.h"

enum { BLOCK = 16 };

/* dst[col*rows + row] = src[row*cols + col] */
static void transpose(const float *src, int64_t rows, int64_t cols, float *dst) {
    for (int64_t r0 = 0; r0 < rows; r0 += BLOCK)
        for (int64_t c0 = 0; c0 < cols; c0 += BLOCK)
            for (int64_t r = r0; r < rows && r < r0 + BLOCK; r++)
                for (int64_t c = c0; c < cols && c < c0 + BLOCK; c++) dst[c * rows + r] = src[r * cols + c];
}

void ldm_nchw_to_nhwc(const float *src, int64_t n, int64_t c, int64_t h, int64_t w, float *dst) {
    for (int64_t i = 0; i < n; i++) transpose(src + i * c * h * w, c, h * w, dst + i * c * h * w);
}

void ldm_nhwc_to_nchw(const float *src, int64_t n, int64_t c, int64_t h, int64_t w, float *dst) {
    for (int64_t i = 0; i < n; i++) transpose(src + i * c * h * w, h * w, c, dst + i * c * h * w);
}
