/* loop.c -- see loop.h. */
#include "sample/loop.h"
#include <stdlib.h>

static bool draws(const ldm_loop_options *o) {
    for (int k = 0; k < o->count; k++)
        if (o->steps[k].cn != 0) return true;
    return false;
}

ldm_status ldm_loop_plan(const ldm_loop_options *o, ldm_plan **out) {
    const ldm_unet_config *u = &o->unet;
    ldm_plan *p = NULL;
    ldm_status st = ldm_plan_create(o->dtype, o->wdtype, &p);
    if (st) return st;
    int64_t batch = o->guided ? 2 * o->n : o->n, c = u->out_channels, count = o->n * o->h * o->w * c,
            mc = u->model_channels;
    ldm_shape map = ldm_shape_of(4, o->n, o->h, o->w, c);
    p->segment = LDM_SEGMENT_STEP;
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, map);
    ldm_tensor step = ldm_plan_input(p, "step", LDM_I32, ldm_shape_of(1, (int64_t)1));
    ldm_tensor steps =
        ldm_plan_input(p, "steps", LDM_I32, ldm_shape_of(1, batch)); /* the same number for each of the batch */
    ldm_tensor scale = o->guided ? ldm_plan_input(p, "scale", LDM_F32, ldm_shape_of(1, (int64_t)1)) : LDM_NONE;
    ldm_tensor noise = draws(o) ? ldm_plan_input(p, "noise", LDM_F32, map) : LDM_NONE, context = LDM_NONE;

    p->segment = LDM_SEGMENT_PROMPT;
    ldm_tensor times = ldm_plan_input(p, "times", LDM_F32, ldm_shape_of(2, (int64_t)o->count, mc));
    ldm_tensor coefs = ldm_plan_input(p, "coefs", LDM_F32, ldm_shape_of(2, (int64_t)o->count, (int64_t)4));
    if (o->n_classes) {
        context = ldm_class_embedder_emit(p, o->n_classes, u->context_dim,
                                          ldm_plan_input(p, "class", LDM_I32, ldm_shape_of(1, batch)));
    } else if (o->tokens) {
        context = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, batch, o->tokens, (int64_t)u->context_dim));
        context = ldm_plan_cast(p, context, o->dtype);
    }

    p->segment = LDM_SEGMENT_STEP;
    ldm_tensor temb = ldm_plan_emit(p, (ldm_tensor[]){steps, times}, 2, "embedding:f32 rows=%lld entries=%d c=%lld",
                                    (long long)batch, o->count, (long long)mc);
    ldm_tensor coef = ldm_plan_emit(p, (ldm_tensor[]){step, coefs}, 2, "embedding:f32 rows=1 entries=%d c=4", o->count);
    ldm_tensor in = x;
    if (o->guided) {
        in = ldm_plan_emit(p, (ldm_tensor[]){x, x}, 2, "concat:f32 rows=1 ca=%lld cb=%lld", (long long)count,
                           (long long)count);
        in = p->status ? LDM_NONE : ldm_plan_reshape(p, in, ldm_shape_of(4, batch, o->h, o->w, c));
    }
    ldm_tensor e = p->status ? LDM_NONE
                             : ldm_unet_emit(p, u, ldm_plan_cast(p, in, o->dtype), ldm_plan_cast(p, temb, o->dtype),
                                             context, LDM_NONE, LDM_NONE);
    e = ldm_plan_cast(p, e, LDM_F32);
    if (o->guided && !p->status)
        e = ldm_plan_emit(p, (ldm_tensor[]){e, scale}, 2, "guidance:f32 count=%lld", (long long)count);
    ldm_plan_emit_into(p, x, (ldm_tensor[]){coef, x, e, noise, LDM_NONE}, 5, "lincomb:f32 count=%lld terms=%d",
                       (long long)count, noise == LDM_NONE ? 2 : 3);
    ldm_plan_emit_into(p, step, (ldm_tensor[]){step}, 1, "advance:f32 count=1");
    ldm_plan_emit_into(p, steps, (ldm_tensor[]){steps}, 1, "advance:f32 count=%lld", (long long)batch);
    if (p->status) {
        st = p->status;
        ldm_plan_destroy(p);
        return st;
    }
    *out = p;
    return LDM_OK;
}

static ldm_status put(ldm_exec *e, const char *name, const float *data) {
    ldm_tensor t = ldm_plan_find(ldm_exec_plan(e), name);
    return t == LDM_NONE || !data ? LDM_OK : ldm_exec_write(e, t, data);
}

ldm_status ldm_loop_start(const ldm_loop_options *o, ldm_exec *e, const float *x, const float *classes,
                          const float *context, double scale) {
    ldm_status st = LDM_OK;
    int64_t mc = o->unet.model_channels, batch = o->guided ? 2 * o->n : o->n;
    float *times = NULL, *coefs = NULL, *zero = NULL, s = (float)scale;
    TRY(ldm_alloc((size_t)(o->count * mc) * sizeof *times, (void **)&times));
    TRY(ldm_alloc((size_t)o->count * 4 * sizeof *coefs, (void **)&coefs));
    TRY(ldm_alloc((size_t)batch * sizeof *zero, (void **)&zero));
    for (int k = 0; k < o->count; k++) {
        ldm_timestep_embedding(o->steps[k].t, (int)mc, times + k * mc);
        coefs[4 * k] = (float)o->steps[k].cx, coefs[4 * k + 1] = (float)o->steps[k].ce,
                  coefs[4 * k + 2] = (float)o->steps[k].cn;
    }
    TRY(put(e, "times", times));
    TRY(put(e, "coefs", coefs));
    TRY(put(e, "step", zero));
    TRY(put(e, "steps", zero));
    TRY(put(e, "scale", &s));
    TRY(put(e, "x", x));
    TRY(put(e, "class", classes));
    TRY(put(e, "context", context));
    TRY(ldm_exec_run(e, LDM_SEGMENT_PROMPT));
done:
    free(times), free(coefs), free(zero);
    return st;
}

ldm_status ldm_loop_run(const ldm_loop_options *o, ldm_exec *e, const ldm_loop_hooks *hooks) {
    ldm_status st = LDM_OK;
    float *noise = NULL;
    if (draws(o)) TRY(ldm_alloc((size_t)(o->n * o->h * o->w * o->unet.out_channels) * sizeof *noise, (void **)&noise));
    for (int k = 0; k < o->count; k++) {
        double start = ldm_now();
        if (o->steps[k].cn != 0) {
            TRY(hooks->noise(hooks->user, k, noise));
            TRY(put(e, "noise", noise));
        }
        TRY(ldm_exec_run(e, LDM_SEGMENT_STEP));
        TRY(ldm_exec_finish(e));
        TRY(ldm_check_interrupt());
        if (hooks->each) TRY(hooks->each(hooks->user, k, ldm_now() - start));
    }
done:
    free(noise);
    return st;
}

ldm_status ldm_loop_latent(ldm_exec *e, float *x) { return ldm_exec_read(e, ldm_plan_find(ldm_exec_plan(e), "x"), x); }
