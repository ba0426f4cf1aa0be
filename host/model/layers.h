/* layers.h -- the layers networks are written in (internal to host/model). Each appends its steps under the current
 * scope and returns its output. `name` is the layer's name in the state dict, below the scope.
 *
 * Options are structs whose zero is the usual case: LDM_CONV(0) is a 3x3 convolution with bias that keeps height and
 * width, LDM_CONV(.kernel = 1, .residual = &x) is 1x1 and adds x.
 *
 * Gain of a weight (synthetic weights only, see plan/source.c): with gain 1 the output's variance is the input's mean
 * square. The gains below keep activations of order one through every network here; tests/test_models.c holds them to
 * it. */
#ifndef LDM_LAYERS_H
#define LDM_LAYERS_H

#include "model/model.h"

#define LDM_BRANCH    0.4 /* the last layer of a residual branch, which the authors start at zero */
#define LDM_AFTER_ACT 1.6 /* a layer that reads SiLU or ReLU of something normalised: those leave 0.6 of it */

typedef struct ldm_map { /* a tensor with its shape as a map; sequences have h = 1 */
    ldm_tensor t;
    int64_t n, h, w, c;
} ldm_map;

ldm_map ldm_as_map(const ldm_plan *p, ldm_tensor t); /* [n,h,w,c], [n,tokens,c] or [n,c]; {LDM_NONE} for LDM_NONE */

typedef struct ldm_conv {
    int kernel;     /* 3 */
    int stride, up; /* 1; up = 2 enlarges the input first, by nearest neighbour */
    bool pad_end;   /* zeros right and below only: the autoencoder's downsampling */
    bool no_bias;
    const char *act;         /* applied last: "relu", ... */
    ldm_tensor *vec;         /* [n,k], added to every pixel */
    const ldm_map *residual; /* [n,h,w,k], added */
    double gain;             /* 1 */
} ldm_conv;
#define LDM_CONV(...) (&(ldm_conv){__VA_ARGS__})
ldm_map ldm_emit_conv(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_conv *o);

typedef enum ldm_stored { LDM_STORED_LINEAR, LDM_STORED_CONV1D, LDM_STORED_CONV2D } ldm_stored;

typedef struct ldm_linear {
    ldm_stored stored; /* [out,in]; a 1x1 convolution's [out,in,1] or [out,in,1,1] is the same layer */
    bool no_bias;
    bool joined; /* named "<name>_weight", "<name>_bias": q, k and v of torch.nn.MultiheadAttention */
    const char *act;
    const ldm_map *residual;
    double gain; /* 1 */
} ldm_linear;
#define LDM_LINEAR(...) (&(ldm_linear){__VA_ARGS__})
ldm_map ldm_emit_linear(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_linear *o);

/* act "none" or "silu"; scale_shift [n,2c] or NULL */
ldm_map ldm_emit_group_norm(ldm_plan *p, const char *name, ldm_map x, int groups, double eps, const char *act,
                            const ldm_tensor *scale_shift);
ldm_map ldm_emit_layer_norm(ldm_plan *p, const char *name, ldm_map x); /* eps 1e-5 */
/* causal: a query sees the keys up to its own place */
ldm_map ldm_emit_attention(ldm_plan *p, ldm_map q, ldm_map k, ldm_map v, int64_t heads, bool causal);
/* qkv [n,h,w,3c] in one tensor; layout "legacy" (head by head) or "packed" */
ldm_map ldm_emit_self_attention(ldm_plan *p, ldm_map qkv, int64_t heads, const char *layout, bool causal);
ldm_map ldm_emit_activation(ldm_plan *p, ldm_map x, const char *fn);
ldm_map ldm_emit_geglu(ldm_plan *p, ldm_map x);             /* 2c -> c */
ldm_map ldm_emit_concat(ldm_plan *p, ldm_map a, ldm_map b); /* on channels */
ldm_map ldm_emit_resample(ldm_plan *p, ldm_map x, bool up); /* nearest x2, or 2x2 mean */
ldm_tensor ldm_emit_lookup(ldm_plan *p, const char *op, ldm_tensor x, int64_t rows, const char *table, int64_t entries,
                           int64_t c, double gain); /* op "embedding" or "vq_lookup" */

/* Fails the plan unless the map's height and width are multiples of `multiple` and it has c channels. */
bool ldm_check_map(ldm_plan *p, const char *what, ldm_map x, int64_t c, int multiple);

/* tiny.c, for ldm_stage_emit_*: x of 3 channels, z of z_channels */
ldm_map ldm_emit_tiny_encoder(ldm_plan *p, const ldm_stage_config *c, ldm_map x);
ldm_map ldm_emit_tiny_decoder(ldm_plan *p, const ldm_stage_config *c, ldm_map z);

#endif
