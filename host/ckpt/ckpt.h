/* ckpt.h -- checkpoint files as tables of named tensors: .safetensors, and PyTorch's zip archives (.ckpt, .pt, .pth,
 * .bin) through a data-only pickle reader. Files are mapped, never copied; nothing read from a file reaches an
 * allocator, a loop bound or an index before it was compared with what is left of the file. Knows nothing of networks.
 */
#ifndef LDM_CKPT_H
#define LDM_CKPT_H

#include "base/base.h"

typedef enum ldm_ckpt_kind { LDM_CKPT_SAFETENSORS, LDM_CKPT_TORCH_ZIP } ldm_ckpt_kind;

typedef struct ldm_ckpt_tensor {
    const char *name; /* full key; nested dictionaries joined with '.'; the outer "state_dict." is dropped */
    ldm_dtype dtype;
    ldm_shape shape;
    bool contiguous;              /* C order without gaps */
    int64_t stride[LDM_MAX_RANK]; /* elements */
    const void *data;             /* into the mapping, first element; maybe unaligned */
} ldm_ckpt_tensor;

typedef struct ldm_ckpt ldm_ckpt;
ldm_status ldm_ckpt_open(const char *path, ldm_ckpt **out); /* kind by content, not by name */
ldm_status ldm_ckpt_parse(const void *data, size_t size, const char *name,
                          ldm_ckpt **out); /* borrows data (fuzzing, tests) */
void ldm_ckpt_close(ldm_ckpt *c);

ldm_ckpt_kind ldm_ckpt_kind_of(const ldm_ckpt *c);
const char *ldm_ckpt_path(const ldm_ckpt *c);
int ldm_ckpt_count(const ldm_ckpt *c);
const ldm_ckpt_tensor *ldm_ckpt_at(const ldm_ckpt *c, int i);
const ldm_ckpt_tensor *ldm_ckpt_find(const ldm_ckpt *c, const char *name); /* NULL if none */
/* Metadata strings (safetensors __metadata__; torch: scalar top-level entries such as global_step), NULL-terminated
 * pairs. */
const char *const *ldm_ckpt_metadata(const ldm_ckpt *c);
ldm_status ldm_ckpt_load_f32(const ldm_ckpt_tensor *t, float *dst); /* any dtype, any stride, C order out */
/* The same elements where they lie in the mapping; NULL unless they are f32 there, aligned and in C order. */
const float *ldm_ckpt_view_f32(const ldm_ckpt_tensor *t);

/* What the file is, for people: kind, tensors, parameters, bytes by dtype, metadata, one line per tensor. */
ldm_status ldm_ckpt_describe(const ldm_ckpt *c, ldm_text *out);

/* Writing .safetensors: all tensors declared first (so the header is known), then streamed in the same order. */
typedef struct ldm_st_writer ldm_st_writer;
ldm_status ldm_st_create(const char *path, const char *const *metadata,
                         ldm_st_writer **out); /* pairs, NULL-ended, or NULL */
ldm_status ldm_st_declare(ldm_st_writer *w, const char *name, ldm_dtype t, const ldm_shape *s);
ldm_status ldm_st_data(ldm_st_writer *w, const void *data); /* next declared tensor, in its dtype, C order */
ldm_status ldm_st_commit(ldm_st_writer *w); /* frees w on success; the file appears whole or not at all */
void ldm_st_abandon(ldm_st_writer *w);      /* NULL is fine */

#endif
