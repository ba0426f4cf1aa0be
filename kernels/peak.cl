/* peak.cl -- what a device can do at most, as OpenCL C reaches it: FMA rate and memory bandwidth. Not an op: results mean
 * nothing. The yardstick of every "% of peak"; host/ops/peak.c runs them and keeps the best.
 *
 *   fma_<width>x<accumulators>   chains of dependent FMA(a, b, c) on named vector accumulators, `loops` times four
 *   read_strip  copy_strip  triad_strip    one contiguous strip per work-item: CPUs (prefetchers want one stream a thread)
 *   read_grid   copy_grid   triad_grid     neighbouring work-items touch neighbouring float4: GPUs
 * `n` counts vectors (float16 in strips, float4 on the grid). Never mad(): on some CPUs it is a mul and an add. */

#define EACH8(M) M(a0) M(a1) M(a2) M(a3) M(a4) M(a5) M(a6) M(a7)
#define EACH12(M) EACH8(M) M(a8) M(a9) M(a10) M(a11)
#define EACH16(M) EACH12(M) M(a12) M(a13) M(a14) M(a15)
#define EACH24(M) EACH16(M) M(a16) M(a17) M(a18) M(a19) M(a20) M(a21) M(a22) M(a23)
#define ONE(a) a = FMA(a, b, c);
#define DECLARE(a) T a = (T)(start += 0.001f);
#define SUM(a) sum += a;

/* The FMAs of one pass go accumulator by accumulator, so that consecutive ones do not depend on each other. a -> a b + c
 * with 0 < b < 1 stays finite and normal for ever. */
#define FMA_KERNEL(name, TYPE, EACH)                                                                                   \
    __kernel void name(__global float *y, int loops, float fb, float fc) {                                             \
        typedef TYPE T;                                                                                                \
        float start = 1.0f + 1e-6f * (float)get_global_id(0);                                                          \
        T b = (T)(fb), c = (T)(fc), sum = (T)(0.0f);                                                                   \
        EACH(DECLARE)                                                                                                  \
        for (int i = 0; i < loops; i++) {                                                                              \
            EACH(ONE) EACH(ONE) EACH(ONE) EACH(ONE)                                                                    \
        }                                                                                                              \
        EACH(SUM)                                                                                                      \
        union { T v; float f[sizeof(T) / sizeof(float)]; } u;                                                          \
        u.v = sum;                                                                                                     \
        float total = 0.0f;                                                                                            \
        for (int i = 0; i < (int)(sizeof(T) / sizeof(float)); i++) total += u.f[i];                                    \
        y[get_global_id(0)] = total;                                                                                   \
    }
FMA_KERNEL(fma_16x24, float16, EACH24)
FMA_KERNEL(fma_16x12, float16, EACH12)
FMA_KERNEL(fma_8x12, float8, EACH12)
FMA_KERNEL(fma_4x16, float4, EACH16)
FMA_KERNEL(fma_4x8, float4, EACH8)
FMA_KERNEL(fma_1x16, float, EACH16)

/* Strip of this work-item: vectors first .. last of n. */
#define STRIP(n)                                                                                                       \
    int strips = (int)get_global_size(0), each = ((n) + strips - 1) / strips;                                          \
    int first = (int)get_global_id(0) * each, last = min(first + each, (n));

__kernel void read_strip(__global float *y, __global const float16 *a, int n) {
    STRIP(n)
    float16 s0 = (float16)(0.0f), s1 = s0, s2 = s0, s3 = s0;
    int i = first;
    for (; i + 4 <= last; i += 4) s0 += a[i], s1 += a[i + 1], s2 += a[i + 2], s3 += a[i + 3];
    for (; i < last; i++) s0 += a[i];
    s0 += s1 + s2 + s3;
    float8 s8 = s0.lo + s0.hi;
    float4 s4 = s8.lo + s8.hi;
    y[get_global_id(0)] = s4.x + s4.y + s4.z + s4.w;
}

__kernel void copy_strip(__global float16 *y, __global const float16 *a, int n) {
    STRIP(n)
    for (int i = first; i < last; i++) y[i] = a[i];
}

__kernel void triad_strip(__global float16 *y, __global const float16 *a, __global const float16 *b, int n) {
    STRIP(n)
    for (int i = first; i < last; i++) y[i] = FMA(b[i], (float16)(0.5f), a[i]);
}

__kernel void read_grid(__global float *y, __global const float4 *a, int n) {
    int step = (int)get_global_size(0);
    float4 s = (float4)(0.0f);
    for (int i = (int)get_global_id(0); i < n; i += step) s += a[i];
    y[get_global_id(0)] = s.x + s.y + s.z + s.w;
}

__kernel void copy_grid(__global float4 *y, __global const float4 *a, int n) {
    int step = (int)get_global_size(0);
    for (int i = (int)get_global_id(0); i < n; i += step) y[i] = a[i];
}

__kernel void triad_grid(__global float4 *y, __global const float4 *a, __global const float4 *b, int n) {
    int step = (int)get_global_size(0);
    for (int i = (int)get_global_id(0); i < n; i += step) y[i] = FMA(b[i], (float4)(0.5f), a[i]);
}
