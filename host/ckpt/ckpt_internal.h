/* ckpt_internal.h -- what the readers of host/ckpt share: the table under construction and the zip directory.
 * Readers fill the table with ckpt_add_tensor and ckpt_add_meta; ckpt.c sorts it and refuses duplicate names. */
#ifndef LDM_CKPT_INTERNAL_H
#define LDM_CKPT_INTERNAL_H

#include "ckpt/ckpt.h"

enum {
    CKPT_MAX_TENSORS = 1 << 16, /* the largest published diffusion models have about 4,000 */
    CKPT_MAX_NAME = 1024,
    CKPT_MAX_META = 4096,
};

struct ldm_ckpt {
    ldm_ckpt_kind kind;
    char *path;
    const uint8_t *data; /* the whole file */
    size_t size;
    bool mapped;
    ldm_ckpt_tensor *tensors; /* in file order; names are owned by us */
    int count, cap;
    int *by_name; /* indices into tensors, names ascending */
    char **meta;  /* pairs, NULL-ended */
    int meta_count, meta_cap;
};

/* `t->name` is ignored; `name` (n bytes) is checked and copied. The rest of *t has been validated by the caller. */
ldm_status ckpt_add_tensor(ldm_ckpt *c, const char *name, size_t n, const ldm_ckpt_tensor *t);
ldm_status ckpt_add_meta(ldm_ckpt *c, const char *key, size_t key_n, const char *value, size_t value_n);
#define ckpt_show ldm_shown /* a name, for an error sentence */

ldm_status ckpt_parse_safetensors(ldm_ckpt *c);
ldm_status ckpt_parse_torch(ldm_ckpt *c);

/* ---- zip ---- */

typedef struct zip_entry {
    const char *name; /* into the file; not NUL-terminated */
    size_t name_len;
    const uint8_t *data;
    size_t size;
    size_t header; /* offset of its local header */
    uint32_t crc;
} zip_entry;

typedef struct zip_dir {
    zip_entry *entries; /* names ascending */
    size_t count;
} zip_dir;

ldm_status zip_open(const uint8_t *data, size_t size, const char *path, zip_dir *out);
void zip_close(zip_dir *z); /* accepts {0} */
const zip_entry *zip_find(const zip_dir *z, const char *name, size_t n);
ldm_status zip_check_crc(const zip_entry *e, const char *path);

/* ---- pickle ---- */

/* Reads one pickle as data and adds its tensors and top-level scalars to `c`. Storages are entries "<root>/data/<key>".
 */
ldm_status pickle_read(ldm_ckpt *c, const zip_dir *z, const char *root, size_t root_len, const uint8_t *data,
                       size_t size);

#endif
