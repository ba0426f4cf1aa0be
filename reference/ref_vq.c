/* ref_vq.c -- nearest codeword by squared distance, taming VectorQuantizer2:
 *   y[r,:] = book[argmin_j |x_r - book_j|^2, :], ties to the lowest j (torch.argmin of a row).
 * A kernel need not take the true nearest where two codewords are nearer to each other than its arithmetic can tell:
 * ref_vq_distance gives the squared distances d_j and the error of a kernel that expands |x|^2 - 2 x.b + |b|^2 in f32,
 *   2 sqrt(3c) u (|x|^2 + 2 sum |x b| + |b|^2),
 * and a choice k is right if d_k - bound_k <= min_j (d_j + bound_j). */
#include "ref_common.h"

void ref_vq_distance(const float *x_row, const float *book, int64_t entries, int64_t c, double *distance,
                     double *bound) {
    for (int64_t j = 0; j < entries; j++) {
        double sum = 0, mag = 0;
        for (int64_t k = 0; k < c; k++) {
            double x = x_row[k], b = book[j * c + k];
            sum += (x - b) * (x - b);
            mag += x * x + 2 * fabs(x * b) + b * b;
        }
        distance[j] = sum;
        bound[j] = ref_sum_error(3 * (double)c, mag);
    }
}

void ref_vq_lookup(ref_out o, int64_t rows, int64_t entries, int64_t c, const float *x, const float *book) {
    if (!o.which) o.count = rows * c;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < o.count; i++) {
        if (!ref_opens_stretch(&o, i, c)) continue;
        const float *xr = x + ref_at(&o, i) / c * c;
        double least = INFINITY;
        int64_t nearest = 0;
        for (int64_t j = 0; j < entries; j++) {
            double sum = 0;
            for (int64_t k = 0; k < c; k++)
                sum += ((double)xr[k] - book[j * c + k]) * ((double)xr[k] - book[j * c + k]);
            if (sum < least) least = sum, nearest = j;
        }
        for (int64_t e = i, end = ref_stretch_end(&o, i, c); e < end; e++)
            ref_put_moved(&o, e, book[nearest * c + ref_at(&o, e) % c]);
    }
}
