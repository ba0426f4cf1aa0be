/* tiny.c -- the tiny autoencoders (TAESD, TAEF2): github.com/madebyollin/taesd, taesd.py. Keys of the state dict are
 * positions in a list of modules, the encoder's and the decoder's alike, so one plan holds one of the two. */
#include "model/layers.h"

enum { WIDTH = 64, POOL_WIDTH = 256, POOL_GROUPS = 4 };

/* relu(conv(relu(conv(relu(conv x)))) + x); with a pool branch, x + conv(relu(norm(conv x))) of 1x1 convolutions first.
 */
static ldm_map tiny_block(ldm_plan *p, int at, ldm_map x, bool pool) {
    ldm_plan_push(p, "%d", at);
    if (pool) {
        ldm_map h = ldm_emit_conv(p, "pool.0", x, POOL_WIDTH, LDM_CONV(.kernel = 1, .no_bias = true));
        h = ldm_emit_activation(p, ldm_emit_group_norm(p, "pool.1", h, POOL_GROUPS, 1e-5, "none", NULL), "relu");
        x = ldm_emit_conv(p, "pool.3", h, WIDTH,
                          LDM_CONV(.kernel = 1, .no_bias = true, .residual = &x, .gain = LDM_BRANCH));
    }
    ldm_map h = ldm_emit_conv(p, "conv.0", x, WIDTH, LDM_CONV(.act = "relu"));
    h = ldm_emit_conv(p, "conv.2", h, WIDTH, LDM_CONV(.act = "relu", .gain = LDM_AFTER_ACT));
    h = ldm_emit_conv(p, "conv.4", h, WIDTH, LDM_CONV(.act = "relu", .residual = &x, .gain = LDM_BRANCH));
    ldm_plan_pop(p);
    return h;
}

static ldm_map tiny_conv(ldm_plan *p, int at, ldm_map x, int64_t k, const ldm_conv *o) {
    char name[16];
    snprintf(name, sizeof name, "%d", at);
    return ldm_emit_conv(p, name, x, k, o);
}

ldm_map ldm_emit_tiny_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x) {
    x = tiny_conv(p, 0, x, WIDTH, LDM_CONV(0));
    x = tiny_block(p, 1, x, false);
    for (int at = 2; at < 14; at += 4) { /* halve, then three blocks */
        x = tiny_conv(p, at, x, WIDTH, LDM_CONV(.stride = 2, .no_bias = true));
        for (int i = 1; i <= 3; i++) x = tiny_block(p, at + i, x, c->pool && at == 10);
    }
    return tiny_conv(p, 14, x, c->z_channels, LDM_CONV(0));
}

ldm_map ldm_emit_tiny_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_map z) {
    ldm_map x = ldm_emit_activation(p, z, "tanh3");
    x = tiny_conv(p, 1, x, WIDTH, LDM_CONV(.act = "relu"));
    for (int at = 3; at < 18; at += 5) { /* three blocks, then twice the size (at + 3 is the resampling) */
        for (int i = 0; i < 3; i++) x = tiny_block(p, at + i, x, c->pool && at == 3);
        x = tiny_conv(p, at + 4, x, WIDTH, LDM_CONV(.up = 2, .no_bias = true));
    }
    x = tiny_block(p, 18, x, false);
    return ldm_emit_activation(p, tiny_conv(p, 19, x, 3, LDM_CONV(0)), "clamp01");
}
