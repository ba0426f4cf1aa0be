/* pipeline_parts.c -- the networks of a pipeline: their plans, and those other than the loop run on one input. Encoding. */
#include "app/pipeline_internal.h"
#include "app/latent.h"
#include <stdlib.h>
#include <string.h>

const char *const pipe_part_name[PIPE_PARTS] = {"text encoder", "network", "encoder", "decoder", "tiny decoder", "rescaler"};

bool pipe_of_text(const ldm_system *s) { return app_has(s, LDM_PART_TEXT); }

ldm_status pipe_floats(int64_t n, float **out) { return ldm_alloc((size_t)n * sizeof **out, (void **)out); }

/* The authors' encoder works in windows where it makes latents; of a KL stage's distributions it cannot put any together. */
static bool encodes_in_windows(const app_pipeline *p) {
    return p->o.tiling && p->o.tiling->stride && p->s->stage.kind == LDM_STAGE_VQ;
}

ldm_status pipe_plan_part(app_pipeline *p, pipe_part which, ldm_plan **out) {
    const ldm_system *s = p->s;
    ldm_plan *plan = NULL;
    if (which == PIPE_LOOP) {
        p->loop.dtype = p->dtype[PIPE_LOOP], p->loop.wdtype = p->wdtype[PIPE_LOOP];
        return ldm_loop_plan(&p->loop, out);
    }
    ldm_status st = ldm_plan_create(p->dtype[which], p->wdtype[which], &plan);
    if (st) return st;
    const ldm_stage_config *stage = which == PIPE_TINY ? &s->tiny : &s->stage;
    int f = ldm_stage_factor(&s->stage);
    ldm_tensor y = LDM_NONE;
    if (which == PIPE_TEXT) {
        ldm_tensor ids = ldm_plan_input(plan, "in", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)s->text.length));
        y = ldm_text_emit(plan, &s->text, ids, p->o.clip_skip ? p->o.clip_skip : s->text.skip);
    } else if (which == PIPE_ENCODER) {
        int64_t h = p->lh * f, w = p->lw * f;
        if (encodes_in_windows(p)) app_tile_size(p->o.tiling, h, w, &h, &w);
        ldm_tensor x = ldm_plan_input(plan, "in", LDM_F32, ldm_shape_of(4, (int64_t)1, h, w, (int64_t)3));
        y = ldm_stage_emit_encoder(plan, stage, ldm_plan_cast(plan, x, plan->dtype));
    } else if (which == PIPE_RESCALER) { /* halved already, exactly, by whoever made the shares */
        ldm_tensor x = ldm_plan_input(plan, "in", LDM_F32, ldm_shape_of(4, (int64_t)1, p->lh, p->lw, (int64_t)s->config.labels));
        y = ldm_rescaler_emit(plan, 0, (int)p->loop.concat, ldm_plan_cast(plan, x, plan->dtype));
    } else {
        int64_t h = p->lh, w = p->lw;
        if (which == PIPE_DECODER && p->o.tiling) app_tile_size(p->o.tiling, p->lh, p->lw, &h, &w);
        ldm_tensor z = ldm_plan_input(plan, "in", LDM_F32, ldm_shape_of(4, (int64_t)1, h, w, (int64_t)p->channels));
        y = ldm_stage_emit_decoder(plan, stage, ldm_plan_cast(plan, z, plan->dtype));
    }
    app_plan_output(plan, y);
    if ((st = plan->status)) ldm_plan_destroy(plan);
    else *out = plan;
    return st;
}

ldm_status pipe_make_part(app_pipeline *p, pipe_part which) {
    ldm_plan *plan = NULL;
    if (p->engine[which].exec) return app_engine_use(&p->pool, &p->engine[which]), LDM_OK;
    ldm_status st = pipe_plan_part(p, which, &plan);
    return st ? ldm_prefix(st, "%s", pipe_part_name[which]) : app_engine_make(&p->pool, &p->engine[which], pipe_part_name[which], plan);
}

/* A part other than the loop on one input; *y is allocated. */
static ldm_status run_once(app_pipeline *p, pipe_part which, const float *in, float **y, int64_t *count) {
    ldm_status st = LDM_OK;
    float *data = NULL;
    TRY(pipe_make_part(p, which));
    app_engine *e = &p->engine[which];
    TRY(ldm_exec_write(e->exec, ldm_plan_find(e->plan, "in"), in));
    TRY(ldm_exec_run(e->exec, 0));
    TRY(ldm_exec_finish(e->exec));
    TRY(ldm_check_interrupt());
    ldm_tensor t = ldm_plan_find(e->plan, "y");
    *count = ldm_shape_count(&ldm_plan_tensor(e->plan, t)->shape);
    TRY(ldm_alloc((size_t)*count * sizeof *data, (void **)&data));
    TRY(ldm_exec_read(e->exec, t, data));
    TRY(app_name_block(app_check_finite(data, *count, pipe_part_name[which]), e->exec, 0));
    *y = data, data = NULL;
done:
    free(data);
    return st;
}

ldm_status pipe_run_part(app_pipeline *p, pipe_part which, const float *in, float **y, int64_t *count) {
    ldm_status st = run_once(p, which, in, y, count);
    if (!app_retry_in_f32(st, &p->dtype[which], &p->wdtype[which])) return st;
    app_engine_drop(&p->pool, &p->engine[which]);
    return run_once(p, which, in, y, count);
}

typedef struct tiled {
    app_pipeline *p;
    pipe_part which;
} tiled;

static ldm_status run_tile(void *user, const float *in, float *out) {
    const tiled *t = user;
    int64_t count;
    float *y = NULL;
    ldm_status st = pipe_run_part(t->p, t->which, in, &y, &count);
    if (!st) memcpy(out, y, (size_t)count * sizeof *out);
    free(y);
    return st;
}

ldm_status pipe_run_tiled(app_pipeline *p, pipe_part which, const float *in, float **y) {
    const int64_t f = ldm_stage_factor(&p->s->stage), h = p->lh * f, w = p->lw * f;
    const bool encodes = which == PIPE_ENCODER;
    tiled t = {p, which};
    const app_tile_job job = encodes ? (app_tile_job){h, w, 3, 1, f, p->channels, run_tile, &t, "encoding"}
                                     : (app_tile_job){p->lh, p->lw, p->channels, f, 1, 3, run_tile, &t, "decoding"};
    float *whole = NULL;
    ldm_status st = pipe_floats(encodes ? p->lh * p->lw * p->channels : h * w * 3, &whole);
    if (!st) st = app_tile_map(p->o.tiling, &job, in, whole);
    if (st) free(whole);
    else *y = whole;
    return st;
}

bool app_pipeline_encodes(const app_pipeline *p) {
    ldm_stage_kind kind = p->s->stage.kind;
    return kind == LDM_STAGE_IDENTITY || app_has(p->s, kind == LDM_STAGE_TAESD ? LDM_PART_TINY_ENCODER : LDM_PART_ENCODER);
}

ldm_status app_pipeline_encode(app_pipeline *p, const float *map, float **moments) {
    int64_t count;
    if (!app_pipeline_encodes(p))
        return ldm_fail(LDM_ERR_FORMAT, "%s: has no encoder, which pictures given need", p->s->path ? p->s->path : "the model");
    ldm_status st = encodes_in_windows(p) ? pipe_run_tiled(p, PIPE_ENCODER, map, moments) : pipe_run_part(p, PIPE_ENCODER, map, moments, &count);
    app_engine_drop(&p->pool, &p->engine[PIPE_ENCODER]); /* once a run */
    return st;
}

ldm_status app_pipeline_latent(app_pipeline *p, const float *map, float *latent) {
    float *moments = NULL;
    ldm_status st = app_pipeline_encode(p, map, &moments);
    if (!st) app_posterior(&p->s->stage, moments, p->lh * p->lw, p->channels, NULL, p->s->stage_scale, latent);
    free(moments);
    return st;
}
