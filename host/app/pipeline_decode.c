/* pipeline_decode.c -- from a latent to a picture: at once, in exact strips where memory asks for it, or in tiles. */
#include "app/pipeline_internal.h"
#include <stdlib.h>

ldm_status app_pipeline_decode_map(app_pipeline *p, bool tiny, const float *latent, float **map) {
    int64_t count = p->lh * p->lw * p->channels;
    double scale = tiny ? p->s->tiny_scale : p->s->stage_scale;
    float *z;
    ldm_status st = ldm_alloc((size_t)count * sizeof *z, (void **)&z);
    if (st) return st;
    for (int64_t i = 0; i < count; i++) z[i] = latent[i] / (float)scale;
    st = p->o.tiling && !tiny ? pipe_run_tiled(p, PIPE_DECODER, z, map) : pipe_run_part(p, tiny ? PIPE_TINY : PIPE_DECODER, z, map, &count);
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
