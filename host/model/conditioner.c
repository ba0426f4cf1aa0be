/* conditioner.c -- the small networks in front of the UNet, as ldm/modules/encoders/modules.py defines them: the class
 * embedder and the rescaler of semantic maps. Text encoders are text_encoder.c. */
#include "model/layers.h"

ldm_tensor ldm_class_embedder_emit(ldm_plan *p, int n_classes, int dim, ldm_tensor ids) {
    if (p->status || ids == LDM_NONE) return LDM_NONE;
    int64_t n = ldm_shape_count(&ldm_plan_tensor(p, ids)->shape);
    ldm_tensor y = ldm_emit_lookup(p, "embedding", ids, n, "cond_stage_model.embedding.weight", n_classes, dim, 1);
    return y == LDM_NONE ? y : ldm_plan_reshape(p, y, ldm_shape_of(3, n, (int64_t)1, (int64_t)dim));
}

ldm_tensor ldm_rescaler_emit(ldm_plan *p, int stages, int channels, ldm_tensor x_in) {
    ldm_map x = ldm_as_map(p, x_in);
    if (!ldm_check_map(p, "semantic map", x, x.c, 1 << stages)) return LDM_NONE;
    for (int i = 0; i < stages; i++) x = ldm_emit_resample(p, x, false);
    return ldm_emit_linear(p, "cond_stage_model.channel_mapper", x, channels,
                           LDM_LINEAR(.stored = LDM_STORED_CONV2D, .no_bias = true))
        .t;
}
