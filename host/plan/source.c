/* source.c -- synthetic weights: a function of seed and name alone, the same on every machine, scaled by fan-in so that
 * activations stay of order one through a whole network. */
#include "plan/plan.h"
#include <math.h>

static ldm_status load(void *self, const ldm_tensor_info *t, float *dst) {
    uint64_t seed = *(const uint64_t *)self, stream = ldm_hash_text(t->name);
    int64_t n = ldm_shape_count(&t->shape), fan_in = t->shape.rank > 1 ? n / t->shape.dim[0] : 1;
    /* a uniform on [-1,1) has variance 1/3 */
    double scale = t->fill == LDM_FILL_WEIGHT ? t->gain * sqrt(3.0 / (double)fan_in) : 0.1 * t->gain,
           base = t->fill == LDM_FILL_SCALE ? 1 : 0;
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(base + scale * (double)ldm_uniform(seed, stream, (uint64_t)i));
    return LDM_OK;
}

ldm_source ldm_source_synthetic(uint64_t *seed) { return (ldm_source){.load = load, .self = seed}; }
