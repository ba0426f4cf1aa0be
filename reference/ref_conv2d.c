/* ref_conv2d.c -- convolution of NHWC maps with an OIHW weight, torch.nn.functional.conv2d:
 *   X = concat(x, x2) on channels, every pixel repeated up x up times, zero outside
 *   z[n,p,q,k] = bias[k] + vec[n,k] + residual[n,p,q,k]
 *              + sum_{r,s,c} w[k,c,r,s] X[n, p stride + r - pt, q stride + s - pl, c]
 *   y = act(z)
 * Bound: 2 sqrt(K) u (sum |w X| + |bias| + |vec| + |residual|) with K = the products whose pixel lies inside the image
 * plus the addends, then through act. */
#include "ref_common.h"
#include <stdlib.h>

/* *sum += a.b, *mag += |a|.|b| */
static void dot(const float *a, const float *b, int64_t count, double *sum, double *mag) {
    double t = 0, m = 0;
    for (int64_t i = 0; i < count; i++) {
        double product = (double)a[i] * b[i];
        t += product;
        m += fabs(product);
    }
    *sum += t, *mag += m;
}

/* ---- Winograd: the same sum as A^T [sum_c (G g G^T) . (B^T d B)] A over tiles d of the input, m outputs a side
 * -------- */

enum { MOST = 8 };

/* |A^T| [m][m+2], |G| [m+2][3], |B^T| [m+2][m+2] of the points p_0 .. p_m and infinity (Cook and Toom: A evaluates an
 * output polynomial's transpose, G the filter divided by prod_{j != i} (p_i - p_j), B^T holds the coefficients of
 * prod_{j != i} (x - p_j), its last row those of the product of all). */
static void magnitudes(int m, double a[MOST][MOST], double g[MOST][3], double b[MOST][MOST]) {
    static const double six[] = {0, 0.5, -0.5, 1, -1, 2, -2}, four[] = {0, 0.625, -0.625, 1.5, -1.5}, two[] = {0, 1, -1};
    const double *p = m == 6 ? six : m == 4 ? four : two;
    for (int i = 0; i <= m + 1; i++) { /* place i; the last is infinity */
        double poly[MOST + 1] = {1}, f = 1;
        int degree = 0;
        for (int j = 0; j <= m; j++) {
            if (j == i) continue;
            if (i <= m) f *= p[i] - p[j];
            for (int e = ++degree; e > 0; e--) poly[e] = poly[e - 1] - p[j] * poly[e];
            poly[0] *= -p[j];
        }
        for (int e = 0; e < m + 2; e++) b[i][e] = e <= degree ? fabs(poly[e]) : 0;
        for (int e = 0; e < 3; e++) g[i][e] = i <= m ? fabs(pow(p[i], e) / f) : e == 2;
        for (int e = 0; e < m; e++) a[e][i] = i <= m ? fabs(pow(p[i], e)) : e == m - 1;
    }
}

/* T = |A^T| [sum_c (|G| |g| |G^T|) . (|B^T| |d| |B|)] |A| at output (p, q) of sample n, output k: what every rounding
 * is relative to: of the filter (`turned`: 1 if it is turned in double and rounded then; in float, both passes round a
 * constant, a product and two sums: 8), of both passes over the tile and over the sums (at most m + 1 each) and of the sum
 * over channels (2 sqrt(C), as everywhere): (2 sqrt(C) + 4 m + 5 + turned) u T.
 *
 * T is linear in |g|: with R[r][i] = sum_t |A^T|[p mod m][t] |B^T|[t][r] |G|[t][i] for the output's row and the same S for
 * its column, T = sum_{i,j,c} |g[i,j,c]| sum_{r,s} R[r][i] S[s][j] |d[r,s,c]|. The inner sums, reach [3][3][C] of a
 * pixel, are the same to all k. */
static void winograd_reach(const ref_conv2d_dims *d, int m, const float *x, const float *x2, int64_t n, int64_t p,
                           int64_t q, double *reach) {
    const int64_t H = d->h * d->up, W = d->w * d->up, ct = d->c + d->c2;
    double a[MOST][MOST] = {{0}}, g[MOST][3] = {{0}}, b[MOST][MOST] = {{0}};
    double down[MOST][3] = {{0}}, across[MOST][3] = {{0}};
    magnitudes(m, a, g, b);
    for (int t = 0; t < m + 2; t++)
        for (int r = 0; r < m + 2; r++)
            for (int i = 0; i < 3; i++) {
                down[r][i] += a[p % m][t] * b[t][r] * g[t][i];
                across[r][i] += a[q % m][t] * b[t][r] * g[t][i];
            }
    for (int64_t c = 0; c < ct; c++) {
        double half[3][MOST] = {{0}};
        for (int r = 0; r < m + 2; r++)
            for (int s = 0; s < m + 2; s++) {
                const int64_t row = p / m * m + r - d->pt, col = q / m * m + s - d->pl;
                if (row < 0 || row >= H || col < 0 || col >= W) continue;
                const int64_t pixel = (n * d->h + row / d->up) * d->w + col / d->up;
                const double e = fabs(c < d->c ? x[pixel * d->c + c] : x2[pixel * d->c2 + c - d->c]);
                for (int i = 0; i < 3; i++) half[i][s] += down[r][i] * e;
            }
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                double sum = 0;
                for (int s = 0; s < m + 2; s++) sum += half[i][s] * across[s][j];
                reach[(3 * i + j) * ct + c] = sum;
            }
    }
}

/* The error, from the reach of the pixel and the filter of k as [3][3][C]. */
static double winograd_error(int64_t ct, int m, int turned, const double *reach, const float *w) {
    double mag = 0;
    for (int64_t i = 0; i < 9 * ct; i++) mag += reach[i] * fabs(w[i]);
    return (2 * sqrt((double)ct) + 4 * m + 5 + turned) * REF_U * mag;
}

/* m 0: the direct sum's bound, else that of F(m x m, 3 x 3) */
static void convolve(ref_out o, const ref_conv2d_dims *d, int m, int turned, const float *x, const float *x2,
                     const float *w, const float *bias, const float *vec, const float *residual) {
    int64_t H = d->h * d->up, W = d->w * d->up, ct = d->c + d->c2; /* the map the window moves over */
    int64_t P = (H + d->pt + d->pb - d->r) / d->stride + 1, Q = (W + d->pl + d->pr - d->s) / d->stride + 1;
    if (!o.which) o.count = d->n * P * Q * d->k;
    /* the weight as [k][r][s][c], so that the innermost sum walks both operands in order */
    float *wt = malloc((size_t)(d->k * d->r * d->s * ct) * sizeof *wt);
    if (!wt) abort();
    for (int64_t k = 0; k < d->k; k++)
        for (int64_t c = 0; c < ct; c++)
            for (int64_t rs = 0; rs < d->r * d->s; rs++)
                wt[(k * d->r * d->s + rs) * ct + c] = w[(k * ct + c) * d->r * d->s + rs];
#pragma omp parallel
    {
        double *reach = m ? malloc((size_t)(9 * ct) * sizeof *reach) : NULL;
        int64_t reached = -1; /* the pixel that reach is of */
        if (m && !reach) abort();
#pragma omp for schedule(dynamic, 64)
        for (int64_t i = 0; i < o.count; i++) {
            int64_t at = ref_at(&o, i), k = at % d->k, q = at / d->k % Q, p = at / d->k / Q % P, n = at / d->k / Q / P;
            double sum = 0, mag = 0, terms = 0, more = 0, y, err;
            for (int64_t r = 0; r < d->r; r++) {
                for (int64_t s = 0; s < d->s; s++) {
                    int64_t row = p * d->stride + r - d->pt, col = q * d->stride + s - d->pl;
                    if (row < 0 || row >= H || col < 0 || col >= W) continue;
                    int64_t pixel = (n * d->h + row / d->up) * d->w + col / d->up;
                    const float *wk = wt + ((k * d->r + r) * d->s + s) * ct;
                    dot(x + pixel * d->c, wk, d->c, &sum, &mag);
                    if (x2) dot(x2 + pixel * d->c2, wk + d->c, d->c2, &sum, &mag);
                    terms += (double)ct;
                }
            }
            if (m && reached != at / d->k) winograd_reach(d, m, x, x2, n, p, q, reach), reached = at / d->k;
            if (m) more = winograd_error(ct, m, turned, reach, wt + k * 9 * ct);
            if (bias) sum += bias[k], mag += fabs(bias[k]), terms++;
            if (vec) sum += vec[n * d->k + k], mag += fabs(vec[n * d->k + k]), terms++;
            if (residual) sum += residual[at], mag += fabs(residual[at]), terms++;
            ref_act_value(d->act, sum, ref_sum_error(terms, mag) + more, &y, &err);
            ref_put(&o, i, y, err);
        }
        free(reach);
    }
    free(wt);
}

void ref_conv2d(ref_out o, const ref_conv2d_dims *d, const float *x, const float *x2, const float *w, const float *bias,
                const float *vec, const float *residual) {
    convolve(o, d, 0, 0, x, x2, w, bias, vec, residual);
}

void ref_conv2d_winograd(ref_out o, const ref_conv2d_dims *d, int m, int turned, const float *x, const float *x2,
                         const float *w, const float *bias, const float *vec, const float *residual) {
    convolve(o, d, m, turned, x, x2, w, bias, vec, residual);
}
