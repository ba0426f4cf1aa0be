/* layers.c -- the layers networks are written in: names and shapes of parameters, problems in the one notation. What a
 * network is made of is in unet.c, autoencoder.c and tiny.c. */
#include "model/layers.h"
#include <math.h>
#include <string.h>

#define LL(x) ((long long)(x))

ldm_map ldm_as_map(const ldm_plan *p, ldm_tensor t) {
    if (p->status || t == LDM_NONE) return (ldm_map){.t = LDM_NONE};
    const ldm_shape *s = &ldm_plan_tensor(p, t)->shape;
    int64_t h = s->rank == 4 ? s->dim[1] : 1, w = s->rank == 4 ? s->dim[2] : s->rank == 3 ? s->dim[1] : 1;
    return (ldm_map){t, s->dim[0], h, w, s->dim[s->rank - 1]};
}

bool ldm_check_map(ldm_plan *p, const char *what, ldm_map x, int64_t c, int multiple) {
    if (p->status) return false;
    if (x.t == LDM_NONE) p->status = ldm_fail(LDM_ERR_ARG, "%s: input is missing", what);
    else if (x.c != c)
        p->status = ldm_fail(LDM_ERR_ARG, "%s: input has %lld channels, wanted %lld", what, LL(x.c), LL(c));
    else if (x.h % multiple || x.w % multiple)
        p->status =
            ldm_fail(LDM_ERR_ARG, "%s: input is %lld x %lld, wanted multiples of %d", what, LL(x.h), LL(x.w), multiple);
    return p->status == LDM_OK;
}

/* The result of an emit as a map: ops that see rows leave a flat shape. */
static ldm_map made(ldm_plan *p, ldm_tensor t, int64_t n, int64_t h, int64_t w, int64_t c) {
    if (t != LDM_NONE) t = ldm_plan_reshape(p, t, ldm_shape_of(4, n, h, w, c));
    return (ldm_map){t, n, h, w, c};
}

static ldm_tensor param(ldm_plan *p, const char *name, const char *leaf, ldm_shape shape, ldm_param_fill fill,
                        double gain) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", name, leaf);
    return ldm_plan_param(p, full, shape, fill, gain ? gain : 1);
}

static ldm_tensor bias(ldm_plan *p, const char *name, int64_t n) {
    return param(p, name, ".bias", ldm_shape_of(1, n), LDM_FILL_BIAS, 1);
}

ldm_map ldm_emit_conv(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_conv *o) {
    int r = o->kernel ? o->kernel : 3, stride = o->stride ? o->stride : 1, up = o->up ? o->up : 1;
    int begin = o->pad_end ? 0 : r / 2, end = o->pad_end ? 1 : r / 2;
    ldm_tensor w = param(p, name, ".weight", ldm_shape_of(4, k, x.c, (int64_t)r, (int64_t)r), LDM_FILL_WEIGHT, o->gain);
    ldm_tensor b = o->no_bias ? LDM_NONE : bias(p, name, k), vec = o->vec ? *o->vec : LDM_NONE;
    ldm_tensor in[] = {x.t, LDM_NONE, w, b, vec, o->residual ? o->residual->t : LDM_NONE};
    ldm_tensor y = ldm_plan_emit(
        p, in, 6,
        "conv2d n=%lld c=%lld h=%lld w=%lld k=%lld r=%d s=%d stride=%d up=%d pt=%d pb=%d pl=%d "
        "pr=%d act=%s%s%s%s",
        LL(x.n), LL(x.c), LL(x.h), LL(x.w), LL(k), r, r, stride, up, begin, end, begin, end, o->act ? o->act : "none",
        o->no_bias ? "" : " +bias", o->vec ? " +vec" : "", o->residual ? " +residual" : "");
    return made(p, y, x.n, (x.h * up + begin + end - r) / stride + 1, (x.w * up + begin + end - r) / stride + 1, k);
}

ldm_map ldm_emit_linear(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_linear *o) {
    ldm_shape shape = {2 + (int)o->stored, {k, x.c, 1, 1}};
    ldm_tensor w = param(p, name, o->joined ? "_weight" : ".weight", shape, LDM_FILL_WEIGHT, o->gain);
    ldm_tensor b = o->no_bias  ? LDM_NONE
                   : o->joined ? param(p, name, "_bias", ldm_shape_of(1, k), LDM_FILL_BIAS, 1)
                               : bias(p, name, k);
    ldm_tensor in[] = {x.t, w, b, LDM_NONE, o->residual ? o->residual->t : LDM_NONE};
    ldm_tensor y = ldm_plan_emit(p, in, 5, "gemm m=%lld n=%lld k=%lld act=%s%s%s", LL(x.n * x.h * x.w), LL(k), LL(x.c),
                                 o->act ? o->act : "none", o->no_bias ? "" : " +bias", o->residual ? " +residual" : "");
    return made(p, y, x.n, x.h, x.w, k);
}

ldm_map ldm_emit_group_norm(ldm_plan *p, const char *name, ldm_map x, int groups, double eps, const char *act,
                            const ldm_tensor *scale_shift) {
    ldm_tensor gamma = param(p, name, ".weight", ldm_shape_of(1, x.c), LDM_FILL_SCALE, 1);
    ldm_tensor in[] = {x.t, gamma, bias(p, name, x.c), scale_shift ? *scale_shift : LDM_NONE};
    ldm_tensor y = ldm_plan_emit(p, in, 4, "group_norm n=%lld hw=%lld c=%lld groups=%d act=%s eps=%g%s", LL(x.n),
                                 LL(x.h * x.w), LL(x.c), groups, act, eps, scale_shift ? " +scaleshift" : "");
    return made(p, y, x.n, x.h, x.w, x.c);
}

ldm_map ldm_emit_layer_norm(ldm_plan *p, const char *name, ldm_map x) {
    ldm_tensor gamma = param(p, name, ".weight", ldm_shape_of(1, x.c), LDM_FILL_SCALE, 1);
    ldm_tensor in[] = {x.t, gamma, bias(p, name, x.c)};
    ldm_tensor y = ldm_plan_emit(p, in, 3, "layer_norm rows=%lld c=%lld eps=1e-5", LL(x.n * x.h * x.w), LL(x.c));
    return made(p, y, x.n, x.h, x.w, x.c);
}

ldm_map ldm_emit_attention(ldm_plan *p, ldm_map q, ldm_map k, ldm_map v, int64_t heads, bool causal) {
    ldm_tensor y =
        ldm_plan_emit(p, (ldm_tensor[]){q.t, k.t, v.t}, 3, "attention n=%lld heads=%lld nq=%lld nkv=%lld d=%lld%s",
                      LL(q.n), LL(heads), LL(q.h * q.w), LL(k.h * k.w), LL(q.c / heads), causal ? " causal=yes" : "");
    return made(p, y, q.n, q.h, q.w, q.c);
}

ldm_map ldm_emit_self_attention(ldm_plan *p, ldm_map qkv, int64_t heads, const char *layout, bool causal) {
    ldm_tensor y =
        ldm_plan_emit(p, (ldm_tensor[]){qkv.t, LDM_NONE, LDM_NONE}, 3,
                      "attention n=%lld heads=%lld nq=%lld nkv=%lld d=%lld layout=%s%s", LL(qkv.n), LL(heads),
                      LL(qkv.h * qkv.w), LL(qkv.h * qkv.w), LL(qkv.c / 3 / heads), layout, causal ? " causal=yes" : "");
    return made(p, y, qkv.n, qkv.h, qkv.w, qkv.c / 3);
}

ldm_map ldm_emit_activation(ldm_plan *p, ldm_map x, const char *fn) {
    ldm_tensor y = ldm_plan_emit(p, &x.t, 1, "activation count=%lld fn=%s", LL(x.n * x.h * x.w * x.c), fn);
    return made(p, y, x.n, x.h, x.w, x.c);
}

ldm_map ldm_emit_geglu(ldm_plan *p, ldm_map x) {
    ldm_tensor y = ldm_plan_emit(p, &x.t, 1, "geglu rows=%lld c=%lld", LL(x.n * x.h * x.w), LL(x.c / 2));
    return made(p, y, x.n, x.h, x.w, x.c / 2);
}

ldm_map ldm_emit_concat(ldm_plan *p, ldm_map a, ldm_map b) {
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){a.t, b.t}, 2, "concat rows=%lld ca=%lld cb=%lld",
                                 LL(a.n * a.h * a.w), LL(a.c), LL(b.c));
    return made(p, y, a.n, a.h, a.w, a.c + b.c);
}

ldm_map ldm_emit_resample(ldm_plan *p, ldm_map x, bool up) {
    ldm_tensor y = ldm_plan_emit(p, &x.t, 1, "%s n=%lld h=%lld w=%lld c=%lld", up ? "upsample" : "avg_pool", LL(x.n),
                                 LL(x.h), LL(x.w), LL(x.c));
    return made(p, y, x.n, up ? x.h * 2 : x.h / 2, up ? x.w * 2 : x.w / 2, x.c);
}

ldm_tensor ldm_emit_lookup(ldm_plan *p, const char *op, ldm_tensor x, int64_t rows, const char *table, int64_t entries,
                           int64_t c, double gain) {
    /* a row of the table is a sample by itself: its spread is `gain`, which the fill by fan-in c divides by sqrt(c) */
    ldm_tensor t = ldm_plan_param(p, table, ldm_shape_of(2, entries, c), LDM_FILL_WEIGHT, gain * sqrt((double)c));
    return ldm_plan_emit(p, (ldm_tensor[]){x, t}, 2, "%s rows=%lld entries=%lld c=%lld", op, LL(rows), LL(entries),
                         LL(c));
}

double ldm_plan_macs(const ldm_plan *p, int segment) {
    static const char *const counted[] = {"conv2d", "gemm", "attention"};
    double flops = 0;
    for (int i = 0; i < p->steps; i++) {
        const ldm_problem *q = &p->step[i].problem;
        if (segment >= 0 && p->step[i].segment != segment) continue;
        for (size_t k = 0; k < sizeof counted / sizeof *counted; k++)
            if (!strcmp(q->op->name, counted[k])) flops += q->op->cost(q).flops;
    }
    return flops / 2;
}
