/* library.cl -- what stands around a library's product in the rows gemm_clblast and conv2d_clblast (f32 only)
 *   library_im2col     columns [n*oh*ow, (c+c2)*r*s]: for every output pixel the inputs its filter sees, in the order of the
 *                      checkpoint's weights (channel, row, column), zero outside; x2 follows x on channels; one work-item
 *                      an element
 *   library_epilogue   y [rows, n] = act(y + bias + vec of the row's sample + residual), each optional, in place; `area` rows
 *                      a sample; one work-item an element
 *   reference  reference/ref_gemm.c, ref_conv2d.c          host  host/ops/clblast.c */
__kernel void library_im2col(__global float *restrict y, __global const float *restrict x, __global const float *restrict x2,
                             int n, int h, int w, int c, int c2, int r, int s, int stride, int up, int pt, int pl, int oh,
                             int ow) {
    const size_t id = get_global_id(0), depth = (size_t)(c + c2) * r * s;
    if (id >= (size_t)n * oh * ow * depth) return;
    const int e = (int)(id % depth), column = e % s, row = e / s % r, channel = e / (r * s);
    const size_t pixel = id / depth;
    const int q = (int)(pixel % ow) * stride + column - pl, p = (int)(pixel / ow % oh) * stride + row - pt;
    float v = 0;
    if (p >= 0 && p < h * up && q >= 0 && q < w * up) {
        const size_t at = (pixel / ow / oh * h + p / up) * w + q / up;
        v = channel < c ? x[at * c + channel] : x2[at * c2 + channel - c];
    }
    y[id] = v;
}

__kernel void library_epilogue(__global float *restrict y, __global const float *restrict bias, __global const float *restrict vec,
                               __global const float *restrict residual, int rows, int n, int area, int act) {
    const size_t id = get_global_id(0), column = id % n;
    if (id >= (size_t)rows * n) return;
    float v = y[id];
    if (bias) v += bias[column];
    if (vec) v += vec[id / n / area * n + column];
    if (residual) v += residual[id];
    y[id] = activate(v, act);
}
