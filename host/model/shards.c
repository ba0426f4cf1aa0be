/* shards.c -- a path to the files of one model: a checkpoint, an index of shards, or a folder of a diffusers part. */
#include "ckpt/tree.h"
#include "model/places.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_SHARDS = 512 };

bool ldm_is_folder(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

bool ldm_is_file(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISREG(sb.st_mode);
}

static bool ends(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static ldm_status add(ldm_files *f, const char *path) {
    ldm_ckpt **more = realloc(f->ckpt, ((size_t)f->count + 1) * sizeof *more);
    if (!more) return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its shards is not there", path);
    f->ckpt = more;
    ldm_status st = ldm_ckpt_open(path, &f->ckpt[f->count]);
    if (!st) f->count++;
    return st;
}

/* No name in two shards: which of them would count? */
static ldm_status apart(const ldm_files *f) {
    for (int k = 1; k < f->count; k++)
        for (int i = 0; i < ldm_ckpt_count(f->ckpt[k]); i++) {
            const char *name = ldm_ckpt_at(f->ckpt[k], i)->name;
            for (int j = 0; j < k; j++)
                if (ldm_ckpt_find(f->ckpt[j], name))
                    return ldm_fail(LDM_ERR_FORMAT, "%s: tensor %.96s is in two shards, %s and %s", f->path, name,
                                    ldm_ckpt_path(f->ckpt[j]), ldm_ckpt_path(f->ckpt[k]));
        }
    return LDM_OK;
}

/* An index names the shard of each tensor; shards lie beside it and nowhere else. */
static ldm_status open_index(const char *path, ldm_files *f) {
    ldm_status st = LDM_OK;
    ldm_tree t = {0};
    const char *key, *slash = strrchr(path, '/');
    char name[4096];
    ldm_node *value;
    TRY(ldm_tree_open(path, &t));
    ldm_node *map = ldm_tree_at(t.root, "weight_map");
    if (!ldm_tree_is_object(map)) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: no weight_map, which names the shards", path));
    for (void *at = NULL; ldm_tree_next(map, &at, &key, &value);) {
        const char *shard = ldm_tree_string(value);
        if (!shard || !*shard || strchr(shard, '/') || !strcmp(shard, "..") || strlen(shard) > 255 ||
            ends(shard, ".json"))
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: shard of %.96s is '%.96s', wanted the name of a file beside the index",
                         path, key, shard ? shard : "no text"));
        if (snprintf(name, sizeof name, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path, shard) >= (int)sizeof name)
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: path too long", path));
        bool open = false;
        for (int k = f->count - 1; k >= 0 && !open; k--) open = !strcmp(ldm_ckpt_path(f->ckpt[k]), name);
        if (open) continue;
        if (f->count == MAX_SHARDS) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: more than %d shards", path, MAX_SHARDS));
        TRY(ldm_prefix(add(f, name), "%s", path));
    }
    if (!f->count) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: names no shards", path));
    TRY(apart(f));
    for (void *at = NULL; ldm_tree_next(map, &at, &key, &value);)
        if (!ldm_files_find(f, key))
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: tensor %.96s is in none of its shards", path, key));
done:
    ldm_tree_close(&t);
    return st;
}

/* What from_pretrained would find in a part's folder, safetensors before pickles, full precision before variants. */
static ldm_status find_weights(const char *folder, char *path, size_t cap) {
    static const char *const stems[] = {"diffusion_pytorch_model", "model", "pytorch_model"};
    static const char *const ends_[] = {
        ".safetensors", ".safetensors.index.json", ".fp16.safetensors", ".safetensors.index.fp16.json",
        ".bin",         ".bin.index.json",         ".fp16.bin",         ".bin.index.fp16.json"};
    for (size_t e = 0; e < sizeof ends_ / sizeof *ends_; e++)
        for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
            if (snprintf(path, cap, "%s/%s%s", folder, stems[i], ends_[e]) >= (int)cap)
                return ldm_fail(LDM_ERR_FORMAT, "%s: path too long", folder);
            if (ldm_is_file(path)) return LDM_OK;
        }
    return ldm_fail(LDM_ERR_FORMAT,
                    "%s: no weights in this folder; wanted diffusion_pytorch_model or model .safetensors or .bin",
                    folder);
}

ldm_status ldm_files_open(const char *path, ldm_files **out) {
    ldm_status st = LDM_OK;
    ldm_files *f = NULL;
    char inside[4096];
    TRY(ldm_alloc(sizeof *f, (void **)&f));
    if (!(f->path = strdup(path))) TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory is not there", path));
    if (ldm_is_folder(path)) {
        TRY(find_weights(path, inside, sizeof inside));
        path = inside;
    }
    if (ends(path, ".json")) TRY(open_index(path, f));
    else TRY(add(f, path));
    *out = f, f = NULL;
done:
    ldm_files_close(f);
    return st;
}

void ldm_files_close(ldm_files *f) {
    if (!f) return;
    for (int i = 0; i < f->count; i++) ldm_ckpt_close(f->ckpt[i]);
    free(f->ckpt), free(f->path);
    free(f);
}
