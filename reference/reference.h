/* reference.h -- what every op means: plain C11, loops in the order of the formula, sums in double, no tiling. Shares
 * nothing with host/ or kernels/ and includes nothing of theirs; built without fast-math and with -ffp-contract=off.
 *
 * Each function gives two float64 numbers for an output element, both from the data: its value, and a bound on the error
 * of any correct kernel that accumulates in f32 in any order and stores with unit round-off u_out:
 *     T = u_out |y| (1 + 2u) + 2 sqrt(K) u (sum |a b| + |bias|) + tiny,  u = 2^-24, K = products really accumulated
 * (a Higham & Mary style probabilistic bound with constant 2), and its relatives per op (see each file's comment).
 *
 * Inputs are float arrays, already rounded to their storage type. Maps are NHWC. `o.which` NULL: every element in order;
 * else o.count flat output indices. Pointers that may be NULL are marked [opt]. */
#ifndef LDM_REFERENCE_H
#define LDM_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ref_out {
    const int64_t *which;  /* flat output indices, or NULL for all */
    int64_t count;         /* how many elements y and bound hold */
    double u_out;          /* half an ulp, relative, of the stored type: 2^-24 f32, 2^-11 f16 */
    double tiny;           /* absolute floor: half the smallest denormal of the stored type (smallest normal if the device flushes) */
    double *y, *bound;     /* [count] each */
} ref_out;

typedef enum ref_act { REF_NONE, REF_RELU, REF_SILU, REF_GELU, REF_QUICK_GELU } ref_act;

/* y[n,p,q,k] = act(bias[k] + vec[n,k] + residual[n,p,q,k] + sum_{r,s,c} w[k,c,r,s] X[n, p*stride+r-pt, q*stride+s-pl, c])
 * where X is concat(x, x2) on channels, enlarged `up` times by nearest neighbour, zero outside.
 * p = (h*up + pt + pb - r)/stride + 1. x [n,h,w,c], x2 [n,h,w,c2] [opt], w [k,c+c2,r,s], bias [k] [opt], vec [n,k] [opt],
 * residual [n,p,q,k] [opt]. torch.nn.functional.conv2d. */
typedef struct ref_conv2d_dims {
    int64_t n, c, c2, h, w, k, r, s, stride, up, pt, pb, pl, pr;
    ref_act act;
} ref_conv2d_dims;
void ref_conv2d(ref_out o, const ref_conv2d_dims *d, const float *x, const float *x2, const float *w, const float *bias,
                const float *vec, const float *residual);
/* The same value with the bound of Winograd's algorithm F(m x m, 3 x 3), m = 4 (points 0, +-5/8, +-3/2, infinity) or 2 (0,
 * +-1, infinity); r = s = 3, stride 1; `turned`: roundings of a turned filter, 1 or 8 (ref_conv2d.c). */
void ref_conv2d_winograd(ref_out o, const ref_conv2d_dims *d, int m, int turned, const float *x, const float *x2,
                         const float *w, const float *bias, const float *vec, const float *residual);

/* y[b,m,n] = act(bias[n] + vec[b,n] + residual[b,m,n] + sum_k x[b,m,k] W[n,k]); w is [n,k], or [k,n] if wkn; with wbatch w
 * has a leading batch axis. bias, vec, residual [opt]. torch.nn.functional.linear / torch.bmm. With geglu y is [b,m,n/2]:
 * the first half of the columns times gelu of the second. */
typedef struct ref_gemm_dims {
    int64_t batch, m, n, k;
    bool wkn, wbatch, geglu; /* geglu: act REF_NONE, no vec, no residual */
    ref_act act;
} ref_gemm_dims;
void ref_gemm(ref_out o, const ref_gemm_dims *d, const float *x, const float *w, const float *bias, const float *vec,
              const float *residual);
/* The same value with the bound of one level of Strassen's algorithm: which rows and columns make the halves of its blocks
 * (ref_gemm.c). k even, no wbatch. */
typedef struct ref_strassen {
    int64_t rows, columns;
} ref_strassen;
void ref_gemm_strassen(ref_out o, const ref_gemm_dims *d, const ref_strassen *s, const float *x, const float *w, const float *bias,
                       const float *vec, const float *residual);

/* Group norm over [n, hw, c]: z = (x - mean)/sqrt(var + eps) per sample and group (biased variance), y = z gamma + beta,
 * then y (1 + scale) + shift if ss (ss[n] = c scales, then c shifts), then act (NONE or SILU). gamma, beta [c]; ss [n,2c] [opt].
 * torch.nn.functional.group_norm. */
typedef struct ref_group_norm_dims {
    int64_t n, hw, c, groups;
    double eps;
    ref_act act;
} ref_group_norm_dims;
void ref_group_norm(ref_out o, const ref_group_norm_dims *d, const float *x, const float *gamma, const float *beta,
                    const float *ss);

/* Over the last axis of [rows, c]. torch.nn.functional.layer_norm. */
void ref_layer_norm(ref_out o, int64_t rows, int64_t c, double eps, const float *x, const float *gamma, const float *beta);

/* y[n,i,h,:] = sum_j softmax_j(scale q_i.k_j) v_j for every head h. Element e of head h of token i lies at
 * q[(n*nq + i)*q_row + q_off + h*q_head + e], likewise k, v; y is [n, nq, heads*d]. causal: only j <= i + (nkv - nq). */
typedef struct ref_attention_dims {
    int64_t n, heads, nq, nkv, d;
    int64_t q_row, q_off, q_head, k_row, k_off, k_head, v_row, v_off, v_head;
    double scale;
    bool causal;
} ref_attention_dims;
void ref_attention(ref_out o, const ref_attention_dims *d, const float *q, const float *k, const float *v);

void ref_softmax(ref_out o, int64_t rows, int64_t cols, double scale, const float *x); /* softmax(scale x) over columns */

/* y = f(x): relu; silu x sigmoid(x); gelu 0.5 x (1+erf(x/sqrt 2)); quick_gelu x sigmoid(1.702 x); tanh3 3 tanh(x/3);
 * clamp01 min(max(x,0),1), clamp11 min(max(x,-1),1). */
typedef enum ref_fn { REF_FN_RELU, REF_FN_SILU, REF_FN_GELU, REF_FN_QUICK_GELU, REF_FN_TANH3, REF_FN_CLAMP01, REF_FN_CLAMP11 } ref_fn;
void ref_activation(ref_out o, int64_t count, ref_fn f, const float *x);

/* x [rows, 2c] -> y [rows, c] = x[:, :c] gelu(x[:, c:]), exact erf. ldm/modules/attention.py: GEGLU. */
void ref_geglu(ref_out o, int64_t rows, int64_t c, const float *x);

/* y = a + b; b has `count` elements, or bcount of them repeated (count % bcount == 0). */
void ref_add(ref_out o, int64_t count, int64_t bcount, const float *a, const float *b);

/* y = sum_i coef[i] x_i, i < terms <= 8, absent x_i skipped. */
void ref_lincomb(ref_out o, int64_t count, int64_t terms, const float *coef, const float *const *x);

/* y = e_u + scale (e_c - e_u), e [2, count]; y = x + 1 for whole numbers. */
void ref_guidance(ref_out o, int64_t count, float scale, const float *e);
void ref_advance(ref_out o, int64_t count, const float *x);

/* guided y0 [n, count] of e [2, n, count] drawn towards the deviation of the conditional half:
 * y = y0 (phi std(e[1]) / std(y0) + 1 - phi), a deviation a sample. diffusers: rescale_noise_cfg. */
void ref_rescale(ref_out o, int64_t n, int64_t count, float phi, const float *e, const float *y0);

/* y = m (coef[0] known + coef[1] noise) + (1 - m) x, m = coef[2] mask; mask [rows], the rest [rows, c]. */
void ref_blend(ref_out o, int64_t rows, int64_t c, const float *coef, const float *mask, const float *known,
               const float *noise, const float *x);

void ref_concat(ref_out o, int64_t rows, int64_t ca, int64_t cb, const float *a, const float *b); /* [rows,ca+cb] */
void ref_upsample(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, const float *x);         /* nearest x2: [n,2h,2w,c] */
void ref_avg_pool(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, const float *x);         /* 2x2: [n,h/2,w/2,c] */
void ref_embedding(ref_out o, int64_t rows, int64_t entries, int64_t c, const float *ids, const float *table); /* [rows,c] */

/* The window [n,kh,kw,c] of x [n,h,w,c] whose upper left corner is (y0, x0); and one blended into a map of overlapping windows:
 * y [n,h,w,c] = onto [opt, 0] + share x inside the window. Windows begin at every `stride` pixels, the last flush with the far
 * border; a share is the window's weight over the sum of all windows' weights at the pixel. */
void ref_window(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, int64_t kh, int64_t kw, int64_t y0, int64_t x0,
                const float *x);
void ref_place(ref_out o, int64_t n, int64_t h, int64_t w, int64_t c, int64_t kh, int64_t kw, int64_t y0, int64_t x0,
               int64_t stride, const float *x, const float *onto);

/* Nearest codeword by squared distance, ties to the lowest index: y[r,:] = book[argmin_j |x_r - book_j|^2, :].
 * The bound is not per element: a kernel is right if its codeword's true distance is within the bound of the minimum, so
 * ref_vq_distance gives the true squared distances of a row and their error bound. taming VectorQuantizer2. */
void ref_vq_lookup(ref_out o, int64_t rows, int64_t entries, int64_t c, const float *x, const float *book);
void ref_vq_distance(const float *x_row, const float *book, int64_t entries, int64_t c, double *distance, double *bound);

void ref_cast(ref_out o, int64_t count, const float *x);                      /* y = x rounded to the stored type */
/* 32 weights as q8_0 keeps them (ref_q8.c), finite and below 8,321,040; and how far each may be from what it was. */
void ref_q8(const float *w, double *value, double *bound);
/* 8-bit pixels <-> floats: x = v * mul + add; v = trunc or round of clamp(x * mul + add, 0, 255). */
void ref_image_to_float(ref_out o, int64_t count, double mul, double add, const float *v);
void ref_float_to_image(ref_out o, int64_t count, double mul, double add, bool round, const float *x);

#endif
