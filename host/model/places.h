/* places.h -- where each part of a system lies: files, prefix, layout; and finding parameters there (internal to
 * host/model). */
#ifndef LDM_PLACES_H
#define LDM_PLACES_H

#include "model/names.h"

/* One file, or the shards of one model, as a table. Shards share no names. */
typedef struct ldm_files {
    ldm_ckpt **ckpt;
    int count;
    char *path; /* what was opened: the file, the folder, the index */
} ldm_files;

typedef struct ldm_place {
    const ldm_files *files; /* borrowed; NULL: nowhere */
    const char *prefix;     /* of names there, a literal */
    ldm_layout layout;
    bool ema; /* names are the parameter's with the dots removed, "model_ema.diffusion_modelinput_blocks00weight" */
} ldm_place;

/* The places of all parts of a system, and the configurations that names depend on. */
typedef struct ldm_places {
    ldm_place at[LDM_PARTS];
    const ldm_unet_config *unet;
    const ldm_stage_config *stage; /* of encoder and decoder */
} ldm_places;

/* shards.c: a checkpoint, an index of shards (.index.json), or a diffusers part's folder, in which its weights are
 * found. */
ldm_status ldm_files_open(const char *path, ldm_files **out);
void ldm_files_close(ldm_files *f); /* NULL is fine */
bool ldm_is_folder(const char *path);
bool ldm_is_file(const char *path);

const ldm_ckpt_tensor *ldm_files_find(const ldm_files *f, const char *name);

/* Looks for any of a part in files: fills *out with the first place (the usual prefixes in turn, both layouts) that has
 * a tensor by which the part is known. `ema` [opt, UNet]: the averaged weights, if they are there. */
bool ldm_place_find(const ldm_files *f, ldm_part part, bool ema, ldm_place *out);

/* Where an authors' file that has none of those tensors has the part after all: the first prefix with any name of it,
 * or the usual one. */
ldm_place ldm_place_usual(const ldm_files *f, ldm_part part);

/* A parameter's tensors: o->parts of them, in the first spelling that is there. False: missing, and o is the usual
 * spelling with its prefix. */
bool ldm_place_origin(const ldm_places *p, ldm_part part, const char *name, int64_t rows, ldm_origin *o,
                      const ldm_ckpt_tensor *found[LDM_ORIGIN_PARTS]);

/* bind.c: as ldm_bind, of a whole system. Borrows what the places point to, not the struct. */
ldm_status ldm_bind_places(const ldm_plan *p, const ldm_places *places, const ldm_bind_options *o, ldm_binding **out);

/* What a parameter that is bound has in the file: of its first tensor. */
ldm_dtype ldm_binding_dtype(const ldm_binding *b, ldm_tensor t);

/* Whether a name in a file is one that nobody misses: buffers, losses, other networks. */
bool ldm_known_extra(const char *key);
/* The same of a name where a text encoder lies: what CLIP has beside it (its other half, both projections, the scale of their
 * product), buffers, and the head that BERT was trained with. */
bool ldm_known_text_extra(const char *key);

#endif
