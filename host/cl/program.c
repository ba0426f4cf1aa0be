/* program.c -- kernel files to programs: options, build logs, and the binary cache.
 *
 * The cache: one file per program in <cache dir>/programs/, named by a 64-bit hash of everything that went in: format
 * version, the source with all its pieces, options, device name, driver, version. Content: "LDMB", the hash,
 * the size, the binary, a hash of the binary. A file that does not fit in every respect is ignored and rewritten;
 * writing is whole-or-nothing, so processes may race. LDM_NO_CACHE=1 turns it off. */
#include "cl/cl_internal.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CACHE_VERSION = 2 };
typedef struct cache_head {
    char magic[4];
    uint32_t version;
    uint64_t key, size, check;
} cache_head;

static void cache_path(uint64_t key, char *path, size_t cap) {
    snprintf(path, cap, "%s/programs/%016llx.bin", ldm_cache_dir(), (unsigned long long)key);
}

static bool cache_on(void) {
    const char *v = getenv("LDM_NO_CACHE");
    return !(v && *v && *v != '0');
}

/* A built program from the cache, or NULL; a driver that refuses its own old binary is no error. */
static cl_program cache_load(ldm_cl *cl, uint64_t key, const char *options) {
    char path[4200], *data = NULL;
    size_t size = 0;
    cl_program p = NULL;
    cache_path(key, path, sizeof path);
    if (!cache_on() || access(path, R_OK) != 0 || ldm_read_file(path, 1u << 30, &data, &size) != LDM_OK) return NULL;
    cache_head h;
    if (size > sizeof h) {
        memcpy(&h, data, sizeof h);
        const unsigned char *binary = (const unsigned char *)data + sizeof h;
        size_t n = size - sizeof h;
        if (!memcmp(h.magic, "LDMB", 4) && h.version == CACHE_VERSION && h.key == key && h.size == n &&
            h.check == ldm_hash_bytes(key, binary, n)) {
            cl_int e, each;
            p = clCreateProgramWithBinary(cl->context, 1, &cl->device, &n, &binary, &each, &e);
            if (e != CL_SUCCESS || each != CL_SUCCESS ||
                clBuildProgram(p, 1, &cl->device, options, NULL, NULL) != CL_SUCCESS) {
                if (p) clReleaseProgram(p);
                p = NULL;
            }
        }
    }
    free(data);
    return p;
}

/* Failure to write a cache is no failure of the run. */
static void cache_store(ldm_cl *cl, uint64_t key, cl_program p) {
    size_t n = 0;
    char path[4200], *data;
    if (!cache_on() || clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) != CL_SUCCESS || n == 0) return;
    if (!(data = malloc(sizeof(cache_head) + n))) return;
    unsigned char *binary = (unsigned char *)data + sizeof(cache_head);
    if (clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS) {
        cache_head h = {{'L', 'D', 'M', 'B'}, CACHE_VERSION, key, n, ldm_hash_bytes(key, binary, n)};
        memcpy(data, &h, sizeof h);
        snprintf(path, sizeof path, "%s/programs", ldm_cache_dir());
        if (ldm_make_dirs(path) == LDM_OK) {
            cache_path(key, path, sizeof path);
            ldm_write_file(path, data, sizeof h + n);
        }
    }
    free(data);
}

static ldm_status build(ldm_cl *cl, const char *file, const char *source, const char *options, cl_program *out) {
    cl_int e;
    cl_program p = clCreateProgramWithSource(cl->context, 1, &source, NULL, &e);
    ldm_status st = ldm_cl_check(e, "%s: program", file);
    if (st) return st;
    e = clBuildProgram(p, 1, &cl->device, options, NULL, NULL);
    if (e == CL_SUCCESS) {
        *out = p;
        return LDM_OK;
    }
    size_t n = 0;
    clGetProgramBuildInfo(p, cl->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &n);
    char *log = calloc(1, n + 1);
    if (log) clGetProgramBuildInfo(p, cl->device, CL_PROGRAM_BUILD_LOG, n, log, NULL);
    st = ldm_fail(LDM_ERR_BUILD, "%s does not build on %s (driver %s) with '%s': %.3000s", file, cl->facts.name,
                  cl->facts.driver, options, log ? log : "no log");
    free(log);
    clReleaseProgram(p);
    return st;
}

/* Appends a kernel file; pieces it includes are put in its place, and include nothing. */
static ldm_status add_file(const char *file, bool piece, ldm_text *out) {
    char path[4200], *text = NULL, name[64], quote;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", ldm_kernel_dir(), file);
    ldm_status st = ldm_prefix(ldm_read_file(path, 4 << 20, &text, &size),
                               "kernel file (set LDM_KERNEL_DIR if kernels/ has moved)");
    ldm_text_add(out, "#line 1 \"%s\"\n", file);
    int number = 1;
    for (char *line = text, *end; !st && *line; line = end, number++) {
        end = line + strcspn(line, "\n");
        end += *end == '\n';
        if (!piece && sscanf(line, "#include \"%63[^\"\n]%c", name, &quote) == 2) {
            st = add_file(name, true, out);
            ldm_text_add(out, "#line %d \"%s\"\n", number + 1, file);
        } else ldm_text_add(out, "%.*s", (int)(end - line), line);
    }
    free(text);
    return st;
}

ldm_status ldm_kernel_source(const char *file, ldm_text *out) {
    ldm_text text = {0};
    ldm_status st = add_file("common.clh", true, &text);
    if (!st) st = add_file(file, false, &text);
    if (!st && text.s) ldm_add_offsets(text.s, out);
    if (!st && !out->s) st = ldm_fail(LDM_ERR_NOMEM, "%s: host memory could not be allocated", file);
    ldm_text_free(&text);
    return st;
}

/* LDM_MUTANT=FILE:N builds the deliberately wrong variant N of one kernel file; not optimised, since nothing about it
 * counts but its being wrong. Only tests set it. */
static const char *mutant_option(const char *file, char *buf, size_t cap) {
    const char *v = getenv("LDM_MUTANT"), *colon = v ? strrchr(v, ':') : NULL;
    size_t n = colon ? (size_t)(colon - v) : 0;
    buf[0] = 0;
    if (n && n == strlen(file) && !memcmp(v, file, n))
        snprintf(buf, cap, " -cl-opt-disable -DMUTANT=%d", atoi(colon + 1));
    return buf;
}

ldm_status ldm_cl_program(ldm_cl *cl, const char *file, const char *launch_options, cl_program *out) {
    ldm_status st = LDM_OK;
    ldm_text source = {0};
    char options[LDM_MAX_OPTIONS + 200], mutant[80], lanes[40] = "";
    double start = ldm_now();
    if (cl->facts.least_lanes) snprintf(lanes, sizeof lanes, " -DLEAST_LANES=%d", cl->facts.least_lanes);
    snprintf(options, sizeof options, "-cl-std=CL1.2%s%s%s%s%s%s", cl->facts.fast_fma ? " -DFAST_FMA" : "",
             cl->facts.type == LDM_DEVICE_CPU ? "" : " -DNO_SOON", lanes, mutant_option(file, mutant, sizeof mutant),
             *launch_options ? " " : "", launch_options);
    /* within a process a program is named by file and options; files are read once */
    uint64_t key = ldm_hash_text(file);
    key = ldm_hash_bytes(key, options, strlen(options));
    for (program *p = cl->programs; p; p = p->next)
        if (p->key == key) return *out = p->program, LDM_OK;
    TRY(ldm_kernel_source(file, &source));
    uint64_t disk = ldm_hash_bytes(key, source.s, source.len);
    disk = ldm_hash_bytes(disk, cl->facts.name, strlen(cl->facts.name));
    disk = ldm_hash_bytes(disk, cl->facts.driver, strlen(cl->facts.driver));
    disk = ldm_hash_bytes(disk, cl->facts.version, strlen(cl->facts.version));
    cl_program built = cache_load(cl, disk, options);
    if (!built) {
        TRY(build(cl, file, source.s, options, &built));
        cl->stats.compiled++;
        cache_store(cl, disk, built);
    }
    program *p = calloc(1, sizeof *p);
    if (!p) {
        clReleaseProgram(built);
        TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory could not be allocated", file));
    }
    *p = (program){key, built, cl->programs};
    cl->programs = p;
    cl->stats.programs++;
    cl->stats.seconds += ldm_now() - start;
    *out = built;
done:
    ldm_text_free(&source);
    return st;
}
