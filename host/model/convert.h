/* convert.h -- a system written again: under CompVis's names as one .safetensors file with the authors' .yaml beside
 * it, or under diffusers' names as a folder; in the dtypes it has or in another one. One tensor at a time is in memory;
 * what is written appears whole or not at all. */
#ifndef LDM_CONVERT_H
#define LDM_CONVERT_H

#include "model/system.h"

typedef struct ldm_convert_options {
    int layout; /* ldm_layout; -1: as it is */
    int dtype;  /* ldm_dtype of the weights; -1: each as it is (f64 becomes f32 where names change) */
} ldm_convert_options;

/* Refused with LDM_ERR_UNSUPPORTED by name: what the other layout has no names for (resblock_updown, class embedders,
 * label maps). LDM_ERR_NONFINITE: a value that the dtype cannot hold. A file that keeps its layout is copied tensor by
 * tensor, with everything in it; with averaged weights chosen (config.ema) they take the place of the others. An
 * existing file is replaced, an existing folder never. */
ldm_status ldm_convert(ldm_system *s, const ldm_convert_options *o, const char *out);

#endif
