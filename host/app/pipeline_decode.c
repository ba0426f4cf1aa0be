/* pipeline_decode.c -- from a latent to a picture: at once, in exact strips where memory asks for it, or in tiles. */
#include "app/pipeline_internal.h"
#include <stdlib.h>

static ldm_status decode_tile(void *user, const float *z, float *map) { return pipe_run_tile(user, PIPE_DECODER, z, map); }

static ldm_status decode_in_tiles(app_pipeline *p, const float *z, float **map) {
    int f = ldm_stage_factor(&p->s->stage);
    const app_tile_job job = {p->lh, p->lw, p->channels, f, 1, 3, decode_tile, p, "decoding"};
    float *whole = NULL;
    ldm_status st = pipe_floats(p->lh * p->lw * f * f * 3, &whole);
    if (!st) st = app_tile_map(p->o.tiling, &job, z, whole);
    if (st) free(whole);
    else *map = whole;
    return st;
}

ldm_status app_pipeline_decode_map(app_pipeline *p, bool tiny, const float *latent, float **map) {
    int64_t count = p->lh * p->lw * p->channels;
    double scale = tiny ? p->s->tiny_scale : p->s->stage_scale;
    float *z;
    ldm_status st = ldm_alloc((size_t)count * sizeof *z, (void **)&z);
    if (st) return st;
    for (int64_t i = 0; i < count; i++) z[i] = latent[i] / (float)scale;
    st = p->o.tiling && !tiny ? decode_in_tiles(p, z, map) : pipe_run_part(p, tiny ? PIPE_TINY : PIPE_DECODER, z, map, &count);
    free(z);
    return st;
}

ldm_status app_pipeline_decode(app_pipeline *p, bool tiny, const float *latent, ldm_image *out) {
    const ldm_stage_config *stage = tiny ? &p->s->tiny : &p->s->stage;
    int f = ldm_stage_factor(stage);
    ldm_image im = {.w = p->lw * f, .h = p->lh * f};
    float *map = NULL;
    ldm_status st = LDM_OK;
    TRY(app_pipeline_decode_map(p, tiny, latent, &map));
    TRY(ldm_alloc((size_t)(im.w * im.h * 3), (void **)&im.data));
    app_map_to_image(stage, map, im.w * im.h * 3, im.data);
    *out = im, im.data = NULL;
done:
    free(map), free(im.data);
    return st;
}
