/* infer.h -- configurations read off the names and shapes of weights (internal to host/model). What leaves no trace
 * there (heads, and of the UNet what LDM_MAX_LEVELS and more could not hold) is left at 0 or at the usual value. */
#ifndef LDM_INFER_H
#define LDM_INFER_H

#include "model/places.h"
#include "model/text_encoder.h"

/* Each reads one part at its place. LDM_ERR_FORMAT with a sentence if the shapes are no network that can be built here.
 * num_heads and num_head_channels stay 0. */
ldm_status ldm_infer_unet(const ldm_place *at, ldm_unet_config *out);
/* From either half of an autoencoder; at[2]: encoder, decoder, of which one may be nowhere (files NULL). */
ldm_status ldm_infer_stage(const ldm_place at[2], ldm_stage_config *out);
/* Tiny autoencoders, from either half: at[2] likewise. */
ldm_status ldm_infer_tiny(const ldm_place at[2], ldm_stage_config *out);
ldm_status ldm_infer_text(const ldm_place *at, ldm_text_config *out);

/* Whether two UNets have the same weights: all that shapes tell is the same. */
bool ldm_same_unet_shapes(const ldm_unet_config *a, const ldm_unet_config *b);
bool ldm_same_stage_shapes(const ldm_stage_config *a, const ldm_stage_config *b);

#endif
