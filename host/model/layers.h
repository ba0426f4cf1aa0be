/* layers.h -- the layers networks are written in (internal to host/model). Each appends steps under the current scope and
 * returns its output. `name` is the layer's name in the state dict, below the scope; "" for the scope itself.
 *
 * Gains (synthetic weights): a layer with gain 1 keeps the root mean square of its input; layers that end a residual branch
 * (and that the authors start at zero) get LDM_BRANCH, so that a sum over many branches stays of order one. */
#ifndef LDM_LAYERS_H
#define LDM_LAYERS_H

#include "model/model.h"

#define LDM_BRANCH 0.5

typedef struct ldm_map { /* a tensor with its shape as a map */
    ldm_tensor t;
    int64_t n, h, w, c;
} ldm_map;

ldm_map ldm_as_map(const ldm_plan *p, ldm_tensor t);              /* of a [n,h,w,c] tensor; zeros after a failure */

/* Options of a convolution; zero is the usual case: 3x3, stride 1, pad 1, bias. */
typedef struct ldm_conv {
    int kernel;                /* 0 means 3 */
    int stride, up;            /* 0 means 1 */
    bool pad_end;              /* zeros right and below only (the autoencoder's downsampling) */
    bool no_pad, no_bias;
    const char *act;           /* "relu", ...; applied last */
    ldm_tensor vec, residual;  /* LDM_NONE unless named, see LDM_CONV */
    double gain;
} ldm_conv;
#define LDM_CONV(...) (&(ldm_conv){.vec = LDM_NONE, .residual = LDM_NONE, .gain = 1, __VA_ARGS__})
ldm_map ldm_emit_conv(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_conv *o);

typedef struct ldm_linear {
    bool no_bias, as_conv;     /* as_conv: the weight is stored [out, in, 1, 1]; as_conv1d: [out, in, 1] */
    bool as_conv1d;
    const char *act;
    ldm_tensor residual;
    double gain;
} ldm_linear;
#define LDM_LINEAR(...) (&(ldm_linear){.residual = LDM_NONE, .gain = 1, __VA_ARGS__})
/* x of `rows` rows of c -> rows of k; keeps the map's h and w. */
ldm_map ldm_emit_linear(ldm_plan *p, const char *name, ldm_map x, int64_t k, const ldm_linear *o);

ldm_map ldm_emit_group_norm(ldm_plan *p, const char *name, ldm_map x, int groups, double eps, const char *act, ldm_tensor scale_shift);
ldm_map ldm_emit_layer_norm(ldm_plan *p, const char *name, ldm_map x);        /* eps 1e-5 */
/* layout "split", "legacy" or "packed"; q alone for the latter two. */
ldm_map ldm_emit_attention(ldm_plan *p, ldm_map q, ldm_map k, ldm_map v, int64_t heads, int64_t d, const char *layout);
ldm_map ldm_emit_activation(ldm_plan *p, ldm_map x, const char *fn);
ldm_map ldm_emit_concat(ldm_plan *p, ldm_map a, ldm_map b);                   /* on channels */
ldm_map ldm_emit_resample(ldm_plan *p, ldm_map x, bool up);                   /* nearest x2, or 2x2 mean */
/* GroupNorm(32) -> q, k, v 1x1 -> one head -> proj_out + x: autoencoder AttnBlock. */
ldm_map ldm_emit_attn_block(ldm_plan *p, const char *name, ldm_map x);

#endif
