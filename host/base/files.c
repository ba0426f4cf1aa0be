/* files.c -- text that grows, files that appear whole or not at all, and where a user's folders are. */
#include "base/base.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for n more bytes and a NUL. */
static bool text_room(ldm_text *t, size_t n) {
    if (t->cap == SIZE_MAX) return false; /* out of memory before */
    if (t->len + n + 1 <= t->cap) return true;
    size_t cap = (t->len + n + 1) * 2;
    char *s = realloc(t->s, cap);
    if (!s) {
        free(t->s);
        *t = (ldm_text){.cap = SIZE_MAX};
        return false;
    }
    t->s = s, t->cap = cap;
    return true;
}

void ldm_text_add(ldm_text *t, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && text_room(t, (size_t)n)) t->len += (size_t)vsnprintf(t->s + t->len, t->cap - t->len, fmt, again);
    va_end(again);
}

void ldm_text_bytes(ldm_text *t, const void *data, size_t n) {
    if (!text_room(t, n)) return;
    memcpy(t->s + t->len, data, n);
    t->len += n, t->s[t->len] = 0;
}

void ldm_text_free(ldm_text *t) {
    free(t->s);
    *t = (ldm_text){0};
}

ldm_status ldm_read_file(const char *path, size_t max, char **data, size_t *size) {
    ldm_status st = LDM_OK;
    char *buf = NULL;
    size_t len = 0, cap = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return ldm_fail(LDM_ERR_FORMAT, "%s: cannot be opened: %s", path, strerror(errno));
    for (;;) {
        if (cap - len < 65536) {
            cap = cap ? cap * 2 : 1 << 17;
            char *more = realloc(buf, cap);
            if (!more) TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for %zu bytes could not be allocated", path, cap));
            buf = more;
        }
        size_t n = fread(buf + len, 1, cap - len - 1, f);
        len += n;
        if (len > max) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: larger than the %zu bytes allowed here", path, max));
        if (n == 0) break;
    }
    if (ferror(f)) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: cannot be read: %s", path, strerror(errno)));
    buf[len] = 0;
    *data = buf, *size = len;
    buf = NULL;
done:
    free(buf);
    fclose(f);
    return st;
}

bool ldm_is_stream(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && !S_ISREG(sb.st_mode) && !S_ISDIR(sb.st_mode);
}

/* Temporaries that are there, for a signal that ends the process: entered before they are made, and their names valid until
 * they are left. */
enum { TEMPORARIES = 64 };
static _Atomic(const char *) temporary[TEMPORARIES];

static void change_temporary(const char *from, const char *to) {
    for (int i = 0; i < TEMPORARIES; i++) {
        const char *was = from;
        if (atomic_compare_exchange_strong(&temporary[i], &was, to)) return;
    }
}

void ldm_outfile_unlink_all(void) {
    for (int i = 0; i < TEMPORARIES; i++) {
        const char *path = atomic_load(&temporary[i]);
        if (path) unlink(path);
    }
}

static void free_temporary(ldm_outfile *o) {
    if (o->temp) change_temporary(o->temp, NULL);
    free(o->temp);
    o->temp = NULL;
}

/* A device or a pipe is written to, not replaced. */
static ldm_status open_stream(const char *path, ldm_outfile *out) {
    ldm_outfile o = {.f = fopen(path, "wbe"), .path = strdup(path)};
    const int e = errno;
    if (o.f && o.path) return *out = o, LDM_OK;
    ldm_outfile_abandon(&o);
    return ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(e));
}

ldm_status ldm_outfile_open(const char *given, ldm_outfile *out) {
    ldm_outfile o = {0};
    static int serial;
    char resolved[PATH_MAX];
    struct stat sb;
    if (stat(given, &sb) == 0 && S_ISDIR(sb.st_mode))
        return ldm_fail(LDM_ERR_IO, "%s: cannot be written: it is a directory", given);
    if (ldm_is_stream(given)) return open_stream(given, out);
    const bool link = lstat(given, &sb) == 0 && S_ISLNK(sb.st_mode); /* what it points to is replaced, not the link */
    const char *path = link && realpath(given, resolved) ? resolved : given;
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path + 1) : 0;
    if (asprintf(&o.temp, "%.*s.%s.tmp.%d.%d", dir, path, path + dir, (int)getpid(), serial++) < 0) o.temp = NULL;
    o.path = strdup(path);
    if (!o.temp || !o.path) {
        ldm_outfile_abandon(&o);
        return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its name could not be allocated", path);
    }
    change_temporary(NULL, o.temp);
    int fd = open(o.temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        int e = errno;
        free_temporary(&o);
        ldm_outfile_abandon(&o);
        return ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(e));
    }
    o.f = fdopen(fd, "wb");
    if (!o.f) {
        close(fd);
        ldm_outfile_abandon(&o);
        return ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    *out = o;
    return LDM_OK;
}

ldm_status ldm_outfile_commit(ldm_outfile *out) {
    ldm_status st = LDM_OK;
    bool bad = fflush(out->f) != 0 || ferror(out->f);
    bad = bad || (fsync(fileno(out->f)) != 0 && errno != EINVAL);
    int e = errno;
    if (fclose(out->f) != 0 && !bad) bad = true, e = errno;
    out->f = NULL;
    if (!bad && out->temp && rename(out->temp, out->path) != 0) bad = true, e = errno;
    if (bad) {
        st = ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", out->path, strerror(e ? e : EIO));
    } else {
        free_temporary(out);
    }
    ldm_outfile_abandon(out);
    return st;
}

void ldm_outfile_abandon(ldm_outfile *out) {
    if (out->f) fclose(out->f);
    if (out->temp) unlink(out->temp);
    free_temporary(out);
    free(out->path);
    *out = (ldm_outfile){0};
}

/* A pipe opened and closed would have ended for who reads it. */
ldm_status ldm_try_file(const char *path) {
    ldm_outfile o = {0};
    ldm_status st = ldm_is_stream(path) ? LDM_OK : ldm_outfile_open(path, &o);
    ldm_outfile_abandon(&o);
    return st;
}

ldm_status ldm_write_file(const char *path, const void *data, size_t size) {
    ldm_outfile o = {0};
    ldm_status st = ldm_outfile_open(path, &o);
    if (st) return st;
    if (fwrite(data, 1, size, o.f) != size) {
        st = ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
        ldm_outfile_abandon(&o);
        return st;
    }
    return ldm_outfile_commit(&o);
}

ldm_status ldm_make_dirs(const char *path) {
    char buf[4096];
    if ((size_t)snprintf(buf, sizeof buf, "%s", path) >= sizeof buf)
        return ldm_fail(LDM_ERR_IO, "directory name of %zu bytes, at most %zu are allowed", strlen(path),
                        sizeof buf - 1);
    for (char *p = buf + 1;; p++) {
        if (*p != '/' && *p) continue;
        char c = *p;
        *p = 0;
        if (mkdir(buf, 0777) != 0 && errno != EEXIST)
            return ldm_fail(LDM_ERR_IO, "%s: directory cannot be made: %s", buf, strerror(errno));
        *p = c;
        if (!c) return LDM_OK;
    }
}

static bool usable_dir(const char *path) { return ldm_make_dirs(path) == LDM_OK && access(path, W_OK | X_OK) == 0; }

/* For users without a home that can be written: <tmp>/ldm-UID, which must be ours alone, since built programs are read
 * back from it and run. Anyone may make that name first; then there is no cache (nothing lies below /dev/null). */
static void private_tmp(char *buf, size_t cap) {
    const char *tmp = getenv("TMPDIR");
    struct stat sb;
    snprintf(buf, cap, "%s/ldm-%d", tmp && *tmp ? tmp : "/tmp", (int)getuid());
    mkdir(buf, 0700);
    if (lstat(buf, &sb) != 0 || !S_ISDIR(sb.st_mode) || sb.st_uid != getuid() || (sb.st_mode & 022))
        snprintf(buf, cap, "/dev/null/ldm");
}

static const char *user_dir(char *buf, size_t cap, const char *own, const char *xdg, const char *home_sub) {
    const char *v = getenv(own), *x = getenv(xdg), *home = getenv("HOME");
    if (v && *v) return snprintf(buf, cap, "%s", v), buf;
    if (x && *x && (snprintf(buf, cap, "%s/ldm", x), usable_dir(buf))) return buf;
    if (home && *home && (snprintf(buf, cap, "%s/%s/ldm", home, home_sub), usable_dir(buf))) return buf;
    private_tmp(buf, cap);
    return buf;
}

const char *ldm_cache_dir(void) {
    static char buf[4096];
    return *buf ? buf : user_dir(buf, sizeof buf, "LDM_CACHE_DIR", "XDG_CACHE_HOME", ".cache");
}

ldm_status ldm_data_dir(char *buf, size_t cap) {
    const char *v = getenv("LDM_DATA_DIR"), *x = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (v && *v) return snprintf(buf, cap, "%s", v), LDM_OK;
    if (x && *x) return snprintf(buf, cap, "%s/ldm", x), LDM_OK;
    if (home && *home) return snprintf(buf, cap, "%s/.local/share/ldm", home), LDM_OK;
    return ldm_fail(LDM_ERR_IO, "no folder for a user's data: none of $LDM_DATA_DIR, $XDG_DATA_HOME and $HOME is set");
}

ldm_status ldm_append_line(const char *path, const char *line) {
    ldm_text t = {0};
    char last = '\n';
    const int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0) return ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    const off_t end = lseek(fd, 0, SEEK_END);
    if (end > 0 && pread(fd, &last, 1, end - 1) != 1) last = '\n';
    ldm_text_add(&t, "%s%s\n", last == '\n' ? "" : "\n", line);
    errno = 0;
    ldm_status st = LDM_OK;
    if (!t.s) st = ldm_fail(LDM_ERR_NOMEM, "%s: host memory for a line could not be allocated", path);
    else if (write(fd, t.s, t.len) != (ssize_t)t.len || fsync(fd) != 0)
        st = ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(errno ? errno : ENOSPC));
    ldm_text_free(&t);
    close(fd);
    return st;
}

void ldm_place_driver_cache(void) {
    const char *x = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char buf[4200] = "";
    if (getenv("POCL_CACHE_DIR")) return;
    if (x && *x) snprintf(buf, sizeof buf, "%s/pocl/kcache", x);
    else if (home && *home) snprintf(buf, sizeof buf, "%s/.cache/pocl/kcache", home);
    if (*buf && usable_dir(buf)) return;
    snprintf(buf, sizeof buf, "%s/pocl", ldm_cache_dir());
    if (usable_dir(buf)) setenv("POCL_CACHE_DIR", buf, 0);
}

const char *ldm_kernel_dir(void) {
    static char buf[4096];
    if (*buf) return buf;
    const char *v = getenv("LDM_KERNEL_DIR");
    if (v && *v) return snprintf(buf, sizeof buf, "%s", v), buf;
    char exe[4000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    while (*exe) { /* upwards from the executable: build/release/tests/x -> ./kernels; bin/ldm -> ../kernels */
        char *slash = strrchr(exe, '/');
        if (!slash) break;
        *slash = 0;
        snprintf(buf, sizeof buf, "%s/kernels", exe);
        if (access(buf, R_OK) == 0) return buf;
    }
    return snprintf(buf, sizeof buf, "kernels"), buf;
}
