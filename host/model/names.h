/* names.h -- what a parameter is called in the layouts that files come in (internal to host/model). The names of plans
 * are the authors' (CompVis) without the outer prefix: "input_blocks.1.0.in_layers.2.weight", "encoder.conv_in.weight",
 * "quant_conv.weight", "3.conv.0.weight" (tiny autoencoders), "transformer.token_emb.weight" (text encoders, see
 * text_encoder.h). Class embedder and rescaler have theirs in front, "cond_stage_model.embedding.weight". */
#ifndef LDM_NAMES_H
#define LDM_NAMES_H

#include "model/model.h"

typedef enum ldm_part {
    LDM_PART_UNET,
    LDM_PART_ENCODER,
    LDM_PART_DECODER,
    LDM_PART_TINY_ENCODER,
    LDM_PART_TINY_DECODER,
    LDM_PART_TEXT,
    LDM_PART_CONDITION, /* the class embedder, the rescaler of semantic maps */
    LDM_PARTS
} ldm_part;

typedef enum ldm_layout { LDM_COMPVIS, LDM_DIFFUSERS } ldm_layout;

/* Which rows of which tensors of a file make a parameter: all of name[0] (parts 1), or runs of `run` rows of name[0], name[1]
 * and name[2] in turn (parts 3; run 0: each whole, one after the other). Rows are counted along the first axis. */
enum { LDM_ORIGIN_PARTS = 3, LDM_ORIGIN_NAME = 256 };
typedef struct ldm_origin {
    int parts;
    int64_t run;
    char name[LDM_ORIGIN_PARTS][LDM_ORIGIN_NAME];
} ldm_origin;

/* Of a parameter's name, which part of a system it belongs to; LDM_PARTS if to none. The tiny autoencoders' halves have
 * the same names: all are LDM_PART_TINY_DECODER's. */
ldm_part ldm_part_of(const char *name);
const char *ldm_part_name(ldm_part p); /* "UNet" */

/* Where `name`, a parameter with so many rows, is in a layout: spelling 0 is how files are written today, further ones
 * are older or other programs'. False past the last spelling, or where the layout has no place for it
 * (resblock_updown). Numbers that the names depend on are taken from the configurations; either may be NULL where its
 * part is not meant. */
bool ldm_origin_of(ldm_part part, ldm_layout layout, int spelling, const ldm_unet_config *unet,
                   const ldm_stage_config *stage, const char *name, int64_t rows, ldm_origin *out);

#endif
