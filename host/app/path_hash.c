/* path_hash.c -- see path_hash.h. */
#include "app/path_hash.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH = 4 };
static const char prefix[] = "sha256:";

static bool of_a_model(const char *name) {
    static const char *const endings[] = {".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".json", ".txt", ".yaml"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (!strcmp(dot, endings[i])) return true;
    return false;
}

/* Names and hashes below a folder, in the order of the names. */
static ldm_status hash_folder(const char *path, int depth, ldm_sha256 *sum) {
    struct dirent **list = NULL;
    struct stat sb;
    ldm_status st = LDM_OK;
    char full[4400], hex[LDM_SHA256_HEX];
    int n = scandir(path, &list, NULL, alphasort);
    if (n < 0) return ldm_fail(LDM_ERR_FORMAT, "%s: folder cannot be opened: %s", path, strerror(errno));
    for (int i = 0; i < n && !st; i++) {
        const char *name = list[i]->d_name;
        snprintf(full, sizeof full, "%s/%s", path, name);
        if (name[0] == '.' || stat(full, &sb) != 0) continue;
        if (S_ISDIR(sb.st_mode)) {
            if (depth >= DEPTH) continue;
            ldm_sha256_add(sum, name, strlen(name) + 1);
            st = hash_folder(full, depth + 1, sum);
        } else if (of_a_model(name) && !(st = ldm_sha256_file(full, hex))) {
            ldm_sha256_add(sum, name, strlen(name) + 1);
            ldm_sha256_add(sum, hex, sizeof hex);
        }
    }
    for (int i = 0; i < n; i++) free(list[i]);
    free(list);
    return st;
}

static ldm_status hash(const char *path, char *hex) {
    struct stat sb;
    ldm_sha256 sum;
    if (stat(path, &sb) != 0 || !S_ISDIR(sb.st_mode)) return ldm_sha256_file(path, hex);
    ldm_sha256_begin(&sum);
    ldm_status st = hash_folder(path, 0, &sum);
    if (!st) ldm_sha256_end(&sum, hex);
    return st;
}

static void remembered_at(const char *hex, char *file, size_t cap) { snprintf(file, cap, "%s/hashes/%.64s", ldm_cache_dir(), hex); }

ldm_status app_path_hash(const char *path, char *hex) {
    char file[4300], real[4096];
    ldm_status st = hash(path, hex);
    if (st || !realpath(path, real)) return st;
    remembered_at(hex, file, sizeof file);
    char *folder = strdup(file), *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) *slash = 0;
    if (slash && ldm_make_dirs(folder) == LDM_OK) ldm_write_file(file, real, strlen(real)); /* not remembering is no failure */
    free(folder);
    return LDM_OK;
}

ldm_status app_path_find(char **path, const char *what) {
    char file[4300], hex[LDM_SHA256_HEX], *known = NULL;
    size_t n;
    if (!*path || strncmp(*path, prefix, strlen(prefix)) != 0) return LDM_OK;
    const char *wanted = *path + strlen(prefix);
    if (strlen(wanted) == LDM_SHA256_HEX - 1 && strspn(wanted, "0123456789abcdef") == LDM_SHA256_HEX - 1) {
        remembered_at(wanted, file, sizeof file);
        if (access(file, R_OK) == 0 && ldm_read_file(file, 4096, &known, &n) == LDM_OK && hash(known, hex) == LDM_OK &&
            !strcmp(hex, wanted)) {
            free(*path);
            *path = known;
            return LDM_OK;
        }
    }
    free(known);
    return ldm_fail(LDM_ERR_FORMAT, "the picture was made with a file of SHA-256 %.16s..., which was not seen here or has changed; give it with %s",
                    wanted, what);
}
