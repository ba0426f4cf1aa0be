/* windows.c -- a UNet on a latent larger than it was trained for, in overlapping windows whose results are blended:
 * latent-diffusion's `split_input_params` (ldm/models/diffusion/ddpm.py, apply_model). Theirs leaves what no window
 * reaches undefined; here the last windows lie flush with the border. */
#include "model/layers.h"

#define LL(x) ((long long)(x))

static int64_t side(int64_t size, int64_t n) { return size > 0 && size < n ? size : n; }
static int64_t along(int64_t k, int64_t stride, int64_t n) {
    return k < n && stride > 0 ? ldm_ceil_div(n - k, stride) + 1 : 1;
}

int ldm_windows_count(ldm_windows o, int64_t h, int64_t w) {
    return (int)(along(side(o.size, h), o.stride, h) * along(side(o.size, w), o.stride, w));
}

ldm_window ldm_window_at(ldm_windows o, int64_t h, int64_t w, int i) {
    ldm_window k = {.h = side(o.size, h), .w = side(o.size, w)};
    int64_t columns = along(k.w, o.stride, w), y = i / columns * o.stride, x = i % columns * o.stride;
    k.y = y < h - k.h ? y : h - k.h, k.x = x < w - k.w ? x : w - k.w;
    return k;
}

/* Rows of the batch [from, from + n) of a context [.., tokens, width]. */
static ldm_tensor rows_of(ldm_plan *p, ldm_map context, int64_t from, int64_t n) {
    if (p->status) return LDM_NONE;
    ldm_tensor part = ldm_plan_emit(p, &context.t, 1, "window n=1 h=%lld w=%lld c=%lld kh=%lld kw=%lld y0=%lld",
                                    LL(context.n), LL(context.w), LL(context.c), LL(n), LL(context.w), LL(from));
    return p->status ? LDM_NONE : ldm_plan_reshape(p, part, ldm_shape_of(3, n, context.w, context.c));
}

ldm_tensor ldm_unet_emit_windows(ldm_plan *p, const ldm_unet_config *c, ldm_windows o, ldm_tensor x, ldm_tensor temb,
                                 ldm_tensor context, ldm_tensor labels, ldm_tensor guidance) {
    ldm_map m = ldm_as_map(p, x), contexts = ldm_as_map(p, context);
    ldm_tensor whole = LDM_NONE;
    if (p->status) return LDM_NONE;
    if (o.size < 1 || (o.size >= m.h && o.size >= m.w)) return ldm_unet_emit(p, c, x, temb, context, labels, guidance);
    const ldm_window first = ldm_window_at(o, m.h, m.w, 0);
    if (o.stride < 1 || o.stride > first.h || o.stride > first.w) {
        p->status = ldm_fail(LDM_ERR_ARG, "windows of %lld at a stride of %lld, wanted a stride of 1 to their size",
                             LL(o.size), LL(o.stride));
        return LDM_NONE;
    }
    const int count = ldm_windows_count(o, m.h, m.w);
    if (o.own_contexts && contexts.n != count * m.n) {
        p->status = ldm_fail(LDM_ERR_ARG, "%lld contexts for %d windows of %lld maps", LL(contexts.n), count, LL(m.n));
        return LDM_NONE;
    }
    for (int i = 0; i < count && !p->status; i++) {
        const ldm_window k = ldm_window_at(o, m.h, m.w, i);
        ldm_tensor part = ldm_plan_emit(p, &x, 1, "window n=%lld h=%lld w=%lld c=%lld kh=%lld kw=%lld y0=%lld x0=%lld",
                                        LL(m.n), LL(m.h), LL(m.w), LL(m.c), LL(k.h), LL(k.w), LL(k.y), LL(k.x));
        if (p->status) return LDM_NONE;
        part = ldm_plan_reshape(p, part, ldm_shape_of(4, m.n, k.h, k.w, m.c));
        part = ldm_unet_emit(p, c, part, temb, o.own_contexts ? rows_of(p, contexts, i * m.n, m.n) : context, labels,
                             guidance);
        whole = ldm_plan_emit(p, (ldm_tensor[]){ldm_plan_cast(p, part, LDM_F32), whole}, 2,
                              "place:f32 n=%lld h=%lld w=%lld c=%d kh=%lld kw=%lld y0=%lld x0=%lld stride=%lld%s",
                              LL(m.n), LL(m.h), LL(m.w), c->out_channels, LL(k.h), LL(k.w), LL(k.y), LL(k.x),
                              LL(o.stride), i ? " +onto" : "");
    }
    if (p->status) return LDM_NONE;
    return ldm_plan_reshape(p, whole, ldm_shape_of(4, m.n, m.h, m.w, (int64_t)c->out_channels));
}
