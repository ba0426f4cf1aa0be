/* pipeline_checks.c -- what can be known to be wrong before a device is opened; the schedule. */
#include "app/pipeline_internal.h"
#include <math.h>

enum { MOST_VALUES = 1 << 30 }; /* of one map */

static int size_multiple(const ldm_system *s) {
    return ldm_stage_factor(&s->stage) * (app_has(s, LDM_PART_UNET) ? ldm_unet_multiple(&s->config.unet) : 1);
}

void app_pipeline_sizes(const ldm_system *s, int64_t size, int64_t *low, int64_t *high) {
    int64_t need = size_multiple(s);
    *low = size < need ? need : size / need * need;
    *high = size < need ? need : *low + need;
}

static ldm_status check_size(const ldm_system *s, int64_t w, int64_t h) {
    int64_t need = size_multiple(s), wl, wh, hl, hh;
    const int64_t largest = (int64_t)sqrt(MOST_VALUES / 3.) / need * need; /* side of a square */
    if (w >= 1 && h >= 1 && w > MOST_VALUES / 3 / h)
        return ldm_fail(LDM_ERR_ARG, "picture of %lld x %lld: has more than 2^30 values; the largest square is %lld x %lld", (long long)w,
                        (long long)h, (long long)largest, (long long)largest);
    if (w >= 1 && h >= 1 && w % need == 0 && h % need == 0) return LDM_OK;
    app_pipeline_sizes(s, w, &wl, &wh);
    app_pipeline_sizes(s, h, &hl, &hh);
    if (w % need == 0 && w > 0) wh = wl;
    if (h % need == 0 && h > 0) hh = hl;
    if (wl == wh && hl == hh)
        return ldm_fail(LDM_ERR_ARG, "picture of %lld x %lld: %s needs multiples of %lld; the nearest is %lld x %lld", (long long)w,
                        (long long)h, s->config.name ? s->config.name : "this model", (long long)need, (long long)wl, (long long)hl);
    return ldm_fail(LDM_ERR_ARG,
                    "picture of %lld x %lld: %s needs multiples of %lld; the nearest are %lld x %lld and %lld x %lld", (long long)w,
                    (long long)h, s->config.name ? s->config.name : "this model", (long long)need, (long long)wl, (long long)hl,
                    (long long)wh, (long long)hh);
}

/* What it is guided away from: another prompt, a null class, a context of zeros. */
static ldm_status check_guidance(const app_pipeline_options *o) {
    const ldm_system *s = o->system;
    bool can = (pipe_of_text(s) && s->task != LDM_TASK_LAYOUT) || s->task == LDM_TASK_RETRIEVAL ||
               (s->config.condition == LDM_COND_CLASS && s->config.null_class >= 0);
    if (!isfinite(o->cfg_scale)) return ldm_fail(LDM_ERR_ARG, "--cfg-scale: wanted a number");
    if (o->cfg_scale == 1 || can) return LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "--cfg-scale %g: %s has no null class and no prompt, so it cannot be guided; only 1 is possible",
                    o->cfg_scale, s->config.name ? s->config.name : "this model");
}

static ldm_status check_windows(const app_pipeline_options *o) {
    const int64_t size = o->windows.size, need = ldm_unet_multiple(&o->system->config.unet);
    if (!size) return LDM_OK;
    if (size < 2 || size % need)
        return ldm_fail(LDM_ERR_ARG, "--patch-size %lld: wanted a multiple of %lld, such as %lld", (long long)size, (long long)need,
                        (long long)(size < need ? need : size / need * need));
    if (o->windows.stride < 1 || o->windows.stride > size)
        return ldm_fail(LDM_ERR_ARG, "--patch-stride %lld: wanted 1 to %lld, a stride no larger than the size",
                        (long long)o->windows.stride, (long long)size);
    const int f = ldm_stage_factor(&o->system->stage);
    if (o->tiling && o->tiling->stride && o->init && (size % f || o->windows.stride % f))
        return ldm_fail(LDM_ERR_ARG, "--patch-size %lld --patch-stride %lld: wanted multiples of %d, as --patch-vae encodes windows of so many pixels",
                        (long long)size, (long long)o->windows.stride, f);
    return LDM_OK;
}

ldm_status pipe_schedule(const app_pipeline_options *o, ldm_schedule *out) {
    const ldm_system *s = o->system;
    if (o->schedule) return *out = *o->schedule, LDM_OK;
    if (s->alphas_cumprod) {
        double abar[LDM_TIMESTEPS];
        for (int i = 0; i < LDM_TIMESTEPS; i++) abar[i] = s->alphas_cumprod[i];
        return ldm_schedule_alphas(abar, LDM_TIMESTEPS, out);
    }
    return ldm_schedule_linear(s->config.linear_start, s->config.linear_end, out);
}

ldm_status app_pipeline_check(const app_pipeline_options *o) {
    ldm_status st = LDM_OK;
    const ldm_system *s = o->system;
    ldm_schedule schedule;
    ldm_sampler sampler = {0};
    TRY(check_size(s, o->w, o->h));
    TRY(check_guidance(o));
    TRY(check_windows(o));
    TRY(pipe_schedule(o, &schedule));
    TRY(ldm_sampler_make(&schedule, &o->sampler, &sampler));
done:
    ldm_sampler_free(&sampler);
    return st;
}
