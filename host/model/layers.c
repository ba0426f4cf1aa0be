/* layers.c -- the layers networks are written in: names and shapes of parameters, problems in the one notation. */
#include "model/layers.h"
#include <string.h>

#define LL(x) ((long long)(x))

ldm_map ldm_as_map(const ldm_plan *p, ldm_tensor t) {
    ldm_map m = {.t = t};
    if (p->status || t == LDM_NONE) return (ldm_map){.t = LDM_NONE};
    const ldm_shape *s = &ldm_plan_tensor(p, t)->shape;
    m.n = s->dim[0], m.c = s->dim[s->rank - 1], m.h = s->rank == 4 ? s->dim[1] : 1, m.w = s->rank == 4 ? s->dim[2] : s->rank == 3 ? s->dim[1] : 1;
    return m;
}

/* Result of an emit with a shape of its own; keeps [n,h,w,c] where the op saw rows. */
static ldm_map made(ldm_plan *p, ldm_tensor t, int64_t n, int64_t h, int64_t w, int64_t c) {
    if (t != LDM_NONE) t = ldm_plan_reshape(p, t, ldm_shape_of(4, n, h, w, c));
    return (ldm_map){t, n, h, w, c};
}

static ldm_tensor weight(ldm_plan *p, const char *name, ldm_shape shape, double gain) {
    char full[128];
    snprintf(full, sizeof full, "%s%sweight", name, *name ? "." : "");
    return ldm_plan_param(p, full, shape, LDM_FILL_WEIGHT, gain);
}

static ldm_tensor bias(ldm_plan *p, const char *name, int64_t n) {
    char full[128];
    snprintf(full, sizeof full, "%s%sbias", name, *name ? "." : "");
    return ldm_plan_param(p, full, ldm_shape_of(1, n), LDM_FILL_BIAS, 1);
}

static ldm_tensor scale(ldm_plan *p, const char *name, int64_t n) {
    char full[128];
    snprintf(full, sizeof full, "%s%sweight", name, *name ? "." : "");
    return ldm_plan_param(p, full, ldm_shape_of(1, n), LDM_FILL_SCALE, 1);
}

ldm_map ldm_emit_conv(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_conv *o) {
    int r = o->kernel ? o->kernel : 3, stride = o->stride ? o->stride : 1, up = o->up ? o->up : 1;
    int begin = o->pad_end || o->no_pad ? 0 : r / 2, end = o->pad_end ? 1 : o->no_pad ? 0 : r / 2;
    ldm_tensor w = weight(p, name, ldm_shape_of(4, k, x.c, (int64_t)r, (int64_t)r), o->gain);
    ldm_tensor b = o->no_bias ? LDM_NONE : bias(p, name, k);
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){x.t, LDM_NONE, w, b, o->vec, o->residual}, 6,
                                 "conv2d n=%lld c=%lld h=%lld w=%lld k=%lld r=%d s=%d stride=%d up=%d pt=%d pb=%d pl=%d pr=%d act=%s%s%s%s", LL(x.n), LL(x.c), LL(x.h),
                                 LL(x.w), LL(k), r, r, stride, up, begin, end, begin, end, o->act ? o->act : "none", o->no_bias ? "" : " +bias",
                                 o->vec == LDM_NONE ? "" : " +vec", o->residual == LDM_NONE ? "" : " +residual");
    int64_t h = (x.h * up + begin + end - r) / stride + 1, width = (x.w * up + begin + end - r) / stride + 1;
    return made(p, y, x.n, h, width, k);
}

ldm_map ldm_emit_linear(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_linear *o) {
    ldm_shape shape = o->as_conv ? ldm_shape_of(4, k, x.c, (int64_t)1, (int64_t)1) : o->as_conv1d ? ldm_shape_of(3, k, x.c, (int64_t)1) : ldm_shape_of(2, k, x.c);
    ldm_tensor w = weight(p, name, shape, o->gain);
    ldm_tensor b = o->no_bias ? LDM_NONE : bias(p, name, k);
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){x.t, w, b, o->residual}, 4, "gemm m=%lld n=%lld k=%lld act=%s%s%s", LL(x.n * x.h * x.w), LL(k), LL(x.c),
                                 o->act ? o->act : "none", o->no_bias ? "" : " +bias", o->residual == LDM_NONE ? "" : " +residual");
    return made(p, y, x.n, x.h, x.w, k);
}

ldm_map ldm_emit_group_norm(ldm_plan *p, const char *name, ldm_map x, int groups, double eps, const char *act, ldm_tensor scale_shift) {
    ldm_tensor g = scale(p, name, x.c), b = bias(p, name, x.c);
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){x.t, g, b, scale_shift}, 4, "group_norm n=%lld hw=%lld c=%lld groups=%d act=%s eps=%g%s", LL(x.n), LL(x.h * x.w),
                                 LL(x.c), groups, act, eps, scale_shift == LDM_NONE ? "" : " +scaleshift");
    return made(p, y, x.n, x.h, x.w, x.c);
}

ldm_map ldm_emit_layer_norm(ldm_plan *p, const char *name, ldm_map x) {
    ldm_tensor g = scale(p, name, x.c), b = bias(p, name, x.c);
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){x.t, g, b}, 3, "layer_norm rows=%lld c=%lld eps=1e-5", LL(x.n * x.h * x.w), LL(x.c));
    return made(p, y, x.n, x.h, x.w, x.c);
}

ldm_map ldm_emit_attention(ldm_plan *p, ldm_map q, ldm_map k, ldm_map v, int64_t heads, int64_t d, const char *layout) {
    bool split = !strcmp(layout, "split");
    int64_t nkv = split ? k.h * k.w : q.h * q.w;
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){q.t, split ? k.t : LDM_NONE, split ? v.t : LDM_NONE}, 3, "attention n=%lld heads=%lld nq=%lld nkv=%lld d=%lld layout=%s",
                                 LL(q.n), LL(heads), LL(q.h * q.w), LL(nkv), LL(d), layout);
    return made(p, y, q.n, q.h, q.w, heads * d);
}

ldm_map ldm_emit_activation(ldm_plan *p, ldm_map x, const char *fn) {
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){x.t}, 1, "activation count=%lld fn=%s", LL(x.n * x.h * x.w * x.c), fn);
    return made(p, y, x.n, x.h, x.w, x.c);
}

ldm_map ldm_emit_concat(ldm_plan *p, ldm_map a, ldm_map b) {
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){a.t, b.t}, 2, "concat rows=%lld ca=%lld cb=%lld", LL(a.n * a.h * a.w), LL(a.c), LL(b.c));
    return made(p, y, a.n, a.h, a.w, a.c + b.c);
}

ldm_map ldm_emit_resample(ldm_plan *p, ldm_map x, bool up) {
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){x.t}, 1, "%s n=%lld h=%lld w=%lld c=%lld", up ? "upsample" : "avg_pool", LL(x.n), LL(x.h), LL(x.w), LL(x.c));
    return made(p, y, x.n, up ? x.h * 2 : x.h / 2, up ? x.w * 2 : x.w / 2, x.c);
}

ldm_map ldm_emit_attn_block(ldm_plan *p, const char *name, ldm_map x) {
    ldm_plan_push(p, "%s", name);
    ldm_map h = ldm_emit_group_norm(p, "norm", x, 32, 1e-6, "none", LDM_NONE);
    ldm_map q = ldm_emit_linear(p, "q", h, x.c, LDM_LINEAR(.as_conv = true));
    ldm_map k = ldm_emit_linear(p, "k", h, x.c, LDM_LINEAR(.as_conv = true));
    ldm_map v = ldm_emit_linear(p, "v", h, x.c, LDM_LINEAR(.as_conv = true));
    h = ldm_emit_attention(p, q, k, v, 1, x.c, "split");
    h = ldm_emit_linear(p, "proj_out", h, x.c, LDM_LINEAR(.as_conv = true, .residual = x.t, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}
