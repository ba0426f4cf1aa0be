/* prediction_probe.c -- a network is asked what it predicts. */
#include "app/pipeline_internal.h"
#include <stdlib.h>

/* A file of SD2 does not say whether its network predicts the noise or v: one call of it does. */
ldm_status pipe_ask_prediction(app_pipeline *p) {
    ldm_status st = LDM_OK;
    ldm_plan *plan = NULL;
    app_engine e = {0};
    const ldm_unet_config *u = &p->s->config.unet;
    enum { SIDE = 8, TOKENS = 2 };
    float *in = NULL, out[SIDE * SIDE * 4];
    int64_t context = (int64_t)TOKENS * u->context_dim;
    TRY(pipe_floats(context > SIDE * SIDE * u->in_channels ? context : SIDE * SIDE * u->in_channels, &in));
    TRY(ldm_plan_create(LDM_F32, p->wdtype[PIPE_LOOP], &plan));
    ldm_tensor x = ldm_plan_input(plan, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)SIDE, (int64_t)SIDE, (int64_t)u->in_channels)),
               temb = ldm_plan_input(plan, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->model_channels)),
               c = ldm_plan_input(plan, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)TOKENS, (int64_t)u->context_dim));
    app_plan_output(plan, ldm_unet_emit(plan, u, x, temb, c, LDM_NONE, LDM_NONE));
    st = plan->status;
    if (!st) st = app_engine_make(&p->pool, &e, "network, asked what it predicts", plan);
    else ldm_plan_destroy(plan);
    TRY(st);
    for (int64_t i = 0; i < context || i < SIDE * SIDE * u->in_channels; i++) in[i] = 0.5f;
    TRY(ldm_exec_write(e.exec, ldm_plan_find(e.plan, "x"), in));
    TRY(ldm_exec_write(e.exec, ldm_plan_find(e.plan, "context"), in));
    float *t = NULL;
    TRY(pipe_floats(u->model_channels, &t));
    ldm_timestep_embedding(999, u->model_channels, t);
    st = ldm_exec_write(e.exec, ldm_plan_find(e.plan, "temb"), t);
    free(t);
    TRY(st);
    TRY(ldm_exec_run(e.exec, 0));
    TRY(ldm_exec_read(e.exec, ldm_plan_find(e.plan, "y"), out));
    ldm_system_probe(p->s, out, SIDE * SIDE * 4);
done:
    app_engine_drop(&p->pool, &e);
    free(in);
    return st;
}
