/* ckpt.c -- opens a checkpoint by its content, owns the mapping and the table of tensors, turns any tensor into f32.
 * Leaves the formats to safetensors.c, zip.c and pickle.c. A file that another process shortens while it is mapped
 * raises SIGBUS; that is the price of not copying gigabytes, and the same in every reader that maps. */
#include "ckpt_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static ldm_status no_memory(const ldm_ckpt *c) {
    return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its table of tensors could not be allocated", c->path);
}

static char *copy_text(const char *s, size_t n) {
    char *copy = malloc(n + 1);
    if (copy) memcpy(copy, s, n), copy[n] = 0;
    return copy;
}

ldm_status ckpt_add_tensor(ldm_ckpt *c, const char *name, size_t n, const ldm_ckpt_tensor *t) {
    if (n > CKPT_MAX_NAME)
        return ldm_fail(LDM_ERR_FORMAT, "%s: tensor %s: a name of %zu bytes, at most %d are allowed", c->path,
                        ckpt_show(name, n), n, CKPT_MAX_NAME);
    if (n == 0 || !ldm_utf8_valid(name, n))
        return ldm_fail(LDM_ERR_FORMAT, "%s: tensor name '%s' is not text in UTF-8", c->path, ckpt_show(name, n));
    if (c->count == CKPT_MAX_TENSORS)
        return ldm_fail(LDM_ERR_FORMAT, "%s: more than %d tensors", c->path, CKPT_MAX_TENSORS);
    if (c->count == c->cap) {
        int cap = c->cap ? 2 * c->cap : 256;
        ldm_ckpt_tensor *more = realloc(c->tensors, (size_t)cap * sizeof *more);
        if (!more) return no_memory(c);
        c->tensors = more, c->cap = cap;
    }
    ldm_ckpt_tensor *slot = &c->tensors[c->count];
    *slot = *t;
    if (!(slot->name = copy_text(name, n))) return no_memory(c);
    c->count++;
    return LDM_OK;
}

ldm_status ckpt_add_meta(ldm_ckpt *c, const char *key, size_t key_n, const char *value, size_t value_n) {
    if (c->meta_count == CKPT_MAX_META)
        return ldm_fail(LDM_ERR_FORMAT, "%s: more than %d metadata entries", c->path, CKPT_MAX_META);
    if (2 * c->meta_count + 3 > c->meta_cap) {
        int cap = c->meta_cap ? 2 * c->meta_cap : 16;
        char **more = realloc(c->meta, (size_t)cap * sizeof *more);
        if (!more) return no_memory(c);
        c->meta = more, c->meta_cap = cap;
    }
    char *k = copy_text(key, key_n), *v = copy_text(value, value_n);
    if (!k || !v) {
        free(k), free(v);
        return no_memory(c);
    }
    char **end = c->meta + 2 * c->meta_count++;
    end[0] = k, end[1] = v, end[2] = NULL;
    return LDM_OK;
}

static int compare_names(const void *a, const void *b, void *tensors) {
    const ldm_ckpt_tensor *t = tensors;
    return strcmp(t[*(const int *)a].name, t[*(const int *)b].name);
}

/* A sorted index instead of a hash table: file content cannot make it slow. */
static ldm_status index_names(ldm_ckpt *c) {
    if (!(c->by_name = malloc(((size_t)c->count + 1) * sizeof *c->by_name))) return no_memory(c);
    for (int i = 0; i < c->count; i++) c->by_name[i] = i;
    qsort_r(c->by_name, (size_t)c->count, sizeof *c->by_name, compare_names, c->tensors);
    for (int i = 1; i < c->count; i++) {
        const char *name = c->tensors[c->by_name[i]].name;
        if (strcmp(c->tensors[c->by_name[i - 1]].name, name) == 0)
            return ldm_fail(LDM_ERR_FORMAT, "%s: tensor %s is there twice", c->path, ckpt_show(name, strlen(name)));
    }
    return LDM_OK;
}

static bool begins(const ldm_ckpt *c, size_t at, const char *magic, size_t n) {
    return at + n <= c->size && memcmp(c->data + at, magic, n) == 0;
}

/* What else people try to open, each with the way out. NULL if it is nothing known. */
static const char *other_format(const ldm_ckpt *c) {
    static const struct {
        size_t at, n;
        const char *magic, *what;
    } known[] = {
        {2, 12, "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
         "PyTorch's stacked-pickle file of before 1.6 (load it in PyTorch and torch.save it again)"},
        {257, 5, "ustar",
         "a tar archive, PyTorch's layout of before 0.1.10 (load it in PyTorch and torch.save it again)"},
        {0, 4, "GGUF", "a GGUF file, which is not read (convert it to .safetensors)"},
        {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 (Keras) file, which is not read (convert it to .safetensors)"},
        {0, 8, "\x89PNG\r\n\x1a\n", "a PNG picture"},
        {0, 2, "\x1f\x8b", "gzip-compressed (unpack it first)"},
        {0, 6, "\x93NUMPY", "a NumPy array"},
        {0, 23, "version https://git-lfs", "a Git LFS pointer, not the file itself (run `git lfs pull`)"},
        {0, 1, "<", "a web page or XML, perhaps a failed download"},
        {0, 1, "\x80", "a bare pickle without the zip archive that PyTorch writes (torch.save it again)"},
        {0, 2, "PK", "a zip archive whose first entry is missing"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(c, known[i].at, known[i].magic, known[i].n)) return known[i].what;
    return NULL;
}

/* The strongest frame is tried first: byte 8 of a safetensors file is '{', which in a zip would be half of a
 * compression method that does not exist; a length prefix that spells "PK" or a pickle's first bytes therefore misleads
 * nobody. */
static ldm_status parse(ldm_ckpt *c) {
    ldm_status st;
    if (c->size > 8 && c->data[8] == '{') {
        c->kind = LDM_CKPT_SAFETENSORS;
        st = ckpt_parse_safetensors(c);
    } else if (begins(c, 0, "PK\3\4", 4)) {
        c->kind = LDM_CKPT_TORCH_ZIP;
        st = ckpt_parse_torch(c);
    } else {
        const char *what = other_format(c);
        if (what)
            return ldm_fail(LDM_ERR_FORMAT, "%s: is %s; wanted .safetensors or a PyTorch zip archive", c->path, what);
        return ldm_fail(LDM_ERR_FORMAT, "%s: %zu bytes that are neither .safetensors nor a PyTorch zip archive",
                        c->path, c->size);
    }
    return st ? st : index_names(c);
}

static ldm_status open_bytes(const void *data, size_t size, bool mapped, const char *name, ldm_ckpt **out) {
    ldm_status st = LDM_OK;
    ldm_ckpt *c = calloc(1, sizeof *c);
    if (!c || !(c->path = strdup(name))) {
        free(c);
        if (mapped) munmap((void *)data, size);
        return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its table of tensors could not be allocated", name);
    }
    c->data = data, c->size = size, c->mapped = mapped;
    TRY(parse(c));
    *out = c;
    c = NULL;
done:
    ldm_ckpt_close(c);
    return st;
}

ldm_status ldm_ckpt_parse(const void *data, size_t size, const char *name, ldm_ckpt **out) {
    return open_bytes(data, size, false, name, out);
}

ldm_status ldm_ckpt_open(const char *path, ldm_ckpt **out) {
    ldm_status st = LDM_OK;
    void *map = MAP_FAILED;
    struct stat sb;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not hang us before fstat refuses it */
    if (fd < 0) return ldm_fail(LDM_ERR_FORMAT, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &sb) != 0) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: cannot be examined: %s", path, strerror(errno)));
    if (!S_ISREG(sb.st_mode))
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: is %s, wanted a file", path,
                     S_ISDIR(sb.st_mode) ? "a directory" : "not a regular file"));
    if (sb.st_size == 0) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: is empty, wanted a checkpoint", path));
    if ((uintmax_t)sb.st_size > SIZE_MAX / 2) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: too large to map", path));
    map = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) TRY(ldm_fail(LDM_ERR_NOMEM, "%s: cannot be mapped: %s", path, strerror(errno)));
    st = open_bytes(map, (size_t)sb.st_size, true, path, out);
done:
    close(fd);
    return st;
}

void ldm_ckpt_close(ldm_ckpt *c) {
    if (!c) return;
    for (int i = 0; i < c->count; i++) free((char *)c->tensors[i].name);
    for (int i = 0; i < 2 * c->meta_count; i++) free(c->meta[i]);
    if (c->mapped) munmap((void *)c->data, c->size);
    free(c->tensors), free(c->by_name), free(c->meta), free(c->path);
    free(c);
}

ldm_ckpt_kind ldm_ckpt_kind_of(const ldm_ckpt *c) { return c->kind; }
const char *ldm_ckpt_path(const ldm_ckpt *c) { return c->path; }
int ldm_ckpt_count(const ldm_ckpt *c) { return c->count; }
const ldm_ckpt_tensor *ldm_ckpt_at(const ldm_ckpt *c, int i) { return &c->tensors[i]; }

const ldm_ckpt_tensor *ldm_ckpt_find(const ldm_ckpt *c, const char *name) {
    int lo = 0, hi = c->count;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, order = strcmp(name, c->tensors[c->by_name[mid]].name);
        if (order == 0) return &c->tensors[c->by_name[mid]];
        if (order < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

const char *const *ldm_ckpt_metadata(const ldm_ckpt *c) {
    static const char *const none[1];
    return c->meta ? (const char *const *)c->meta : none;
}

const float *ldm_ckpt_view_f32(const ldm_ckpt_tensor *t) {
    return t->dtype == LDM_F32 && t->contiguous && (uintptr_t)t->data % sizeof(float) == 0 ? t->data : NULL;
}

ldm_status ldm_ckpt_load_f32(const ldm_ckpt_tensor *t, float *dst) {
    int64_t count = ldm_shape_count(&t->shape), at[LDM_MAX_RANK] = {0};
    if (count < 0) return ldm_fail(LDM_ERR_FORMAT, "tensor %s: too many elements to count", t->name);
    if (t->contiguous) return ldm_to_f32(t->dtype, t->data, (size_t)count, dst), LDM_OK;
    size_t size = ldm_dtype_size(t->dtype);
    for (int64_t i = 0, offset = 0; i < count; i++) {
        ldm_to_f32(t->dtype, (const uint8_t *)t->data + (size_t)offset * size, 1, dst + i);
        for (int d = t->shape.rank - 1; d >= 0; d--) { /* the next element in C order */
            offset += t->stride[d];
            if (++at[d] < t->shape.dim[d]) break;
            offset -= t->stride[d] * at[d], at[d] = 0;
        }
    }
    return LDM_OK;
}
