/* pipeline_given.c -- the pictures that a pipeline is given, through its encoder. */
#include "app/pipeline_internal.h"
#include "app/condition.h"
#include <stdlib.h>

/* The init picture, and for models of inpainting what of it is kept, through the encoder once. */
ldm_status pipe_encode_given(app_pipeline *p) {
    ldm_status st = LDM_OK;
    float *map = NULL;
    int64_t count = p->o.w * p->o.h * 3;
    bool concat = p->s->task == LDM_TASK_INPAINT_LDM || p->s->task == LDM_TASK_INPAINT_SD;
    if (!p->o.init || (concat && !p->o.mask)) return LDM_OK;
    TRY(pipe_floats(count, &map));
    if (p->o.sampler.img2img) {
        app_image_to_map(&p->s->stage, p->o.init->data, count, map);
        TRY(app_pipeline_encode(p, map, &p->moments));
    }
    if (concat) {
        app_condition_masked_picture(p->s->task == LDM_TASK_INPAINT_LDM ? APP_INPAINT_LDM : APP_INPAINT_SD, p->o.init, p->o.mask, map);
        TRY(app_pipeline_encode(p, map, &p->hole));
    } else if (p->o.mask) {
        TRY(pipe_floats(p->o.at_once * p->lh * p->lw, &p->known_mask));
        for (int i = 0; i < p->o.at_once; i++) {
            float *m = p->known_mask + i * p->lh * p->lw;
            app_condition_nearest(p->o.mask, p->o.h, p->o.w, m, p->lh, p->lw);
            for (int64_t k = 0; k < p->lh * p->lw; k++) m[k] = 1 - m[k]; /* white is repainted; the loop's mask keeps */
        }
    }
done:
    free(map);
    return st;
}
