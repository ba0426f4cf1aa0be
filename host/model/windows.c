/* windows.c -- a UNet on a latent larger than it was trained for, in overlapping windows whose results are blended:
 * latent-diffusion's `split_input_params` (ldm/models/diffusion/ddpm.py, apply_model). Theirs leaves what no window
 * reaches undefined; here the last windows lie flush with the border. */
#include "model/layers.h"

ldm_tensor ldm_unet_emit_windows(ldm_plan *p, const ldm_unet_config *c, ldm_windows windows, ldm_tensor x,
                                 ldm_tensor temb, ldm_tensor context, ldm_tensor labels, ldm_tensor guidance) {
    ldm_map m = ldm_as_map(p, x);
    if (p->status) return LDM_NONE;
    const int64_t kh = windows.size < m.h ? windows.size : m.h, kw = windows.size < m.w ? windows.size : m.w;
    if (windows.size < 1 || (kh == m.h && kw == m.w)) return ldm_unet_emit(p, c, x, temb, context, labels, guidance);
    if (windows.stride < 1 || windows.stride > kh || windows.stride > kw) {
        p->status = ldm_fail(LDM_ERR_ARG, "windows of %lld at a stride of %lld, wanted a stride of 1 to their size",
                             (long long)windows.size, (long long)windows.stride);
        return LDM_NONE;
    }
    ldm_tensor whole = LDM_NONE;
    for (int64_t y = 0;; y = y + windows.stride < m.h - kh ? y + windows.stride : m.h - kh) {
        for (int64_t at = 0;; at = at + windows.stride < m.w - kw ? at + windows.stride : m.w - kw) {
            ldm_tensor part =
                ldm_plan_emit(p, &x, 1, "window n=%lld h=%lld w=%lld c=%lld kh=%lld kw=%lld y0=%lld x0=%lld",
                              (long long)m.n, (long long)m.h, (long long)m.w, (long long)m.c, (long long)kh,
                              (long long)kw, (long long)y, (long long)at);
            if (p->status) return LDM_NONE;
            part = ldm_plan_reshape(p, part, ldm_shape_of(4, m.n, kh, kw, m.c));
            part = ldm_plan_cast(p, ldm_unet_emit(p, c, part, temb, context, labels, guidance), LDM_F32);
            whole = ldm_plan_emit(p, (ldm_tensor[]){part, whole}, 2,
                                  "place:f32 n=%lld h=%lld w=%lld c=%d kh=%lld kw=%lld y0=%lld x0=%lld stride=%lld%s",
                                  (long long)m.n, (long long)m.h, (long long)m.w, c->out_channels, (long long)kh,
                                  (long long)kw, (long long)y, (long long)at, (long long)windows.stride,
                                  whole == LDM_NONE ? "" : " +onto");
            if (p->status) return LDM_NONE;
            if (at == m.w - kw) break;
        }
        if (y == m.h - kh) break;
    }
    return ldm_plan_reshape(p, whole, ldm_shape_of(4, m.n, m.h, m.w, (int64_t)c->out_channels));
}
