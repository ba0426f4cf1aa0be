/* options.c -- parsing with popt, the options every subcommand shares, opening the device. */
#include "app/app.h"
#include "ops/tuned.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

app_device_options app_device;

struct poptOption app_device_table[] = {
    {"device", 'd', POPT_ARG_STRING, &app_device.device, 0,
     "0, 1:0, cpu, gpu or part of a name (else $LDM_DEVICE, else the first GPU, else the first device)", "DEVICE"},
    {"max-memory", 0, POPT_ARG_STRING, &app_device.max_memory, 0, "device memory to use at most, e.g. 6G", "SIZE"},
    {"cores", 0, POPT_ARG_INT, &app_device.cores, 0, "compute units to use of a device that can be divided, as CPUs can (default: all)", "N"},
    {"exact", 0, POPT_ARG_NONE, &app_device.exact, 0, "only algorithms that lose no accuracy: no Winograd, no Strassen", NULL},
    {"low-memory", 0, POPT_ARG_NONE, &app_device.low_memory, 0,
     "read weights where a file of f32 has them instead of from faster copies", NULL},
    {"no-tuned", 0, POPT_ARG_NONE, &app_device.no_tuned, 0, "defaults instead of what `ldm tune` found (or $LDM_NO_TUNED=1)",
     NULL},
    {"vector-width", 0, POPT_ARG_INT, &app_device.vector_width, 0,
     "floats of a vector in kernels for CPUs: 4, 8 or 16 (else $LDM_VECTOR_WIDTH, else as wide as the device's registers)", "N"},
    POPT_TABLEEND};

static int quiet;
struct poptOption app_quiet_table[] = {{"quiet", 'q', POPT_ARG_NONE, &quiet, 0, "no progress and no notes", NULL},
                                       POPT_TABLEEND};

static const struct poptOption *find_option(const struct poptOption *table, const char *word, size_t n) {
    for (const struct poptOption *o = table; o->longName || o->shortName || o->arg; o++) {
        const bool more = (o->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE;
        const struct poptOption *in = more ? find_option(o->arg, word, n) : NULL;
        if (in) return in;
        if (more) continue;
        if (word[1] == '-' ? o->longName && strlen(o->longName) == n - 2 && !strncmp(o->longName, word + 2, n - 2)
                           : n == 2 && o->shortName == word[1])
            return o;
    }
    return NULL;
}

/* popt takes an empty text for the number 0: a variable of the shell that is not set. */
static ldm_status no_empty_numbers(const struct poptOption *table, int argc, const char **argv) {
    for (int i = 1; i < argc; i++) {
        const size_t n = strcspn(argv[i], "=");
        const bool within = argv[i][n] == '=';
        if (argv[i][0] != '-' || n < 2 || (within ? argv[i][n + 1] != 0 : i + 1 == argc || argv[i + 1][0] != 0)) continue;
        const struct poptOption *o = find_option(table, argv[i], n);
        const unsigned kind = o ? o->argInfo & POPT_ARG_MASK : POPT_ARG_NONE;
        if (kind == POPT_ARG_INT || kind == POPT_ARG_LONG || kind == POPT_ARG_LONGLONG || kind == POPT_ARG_DOUBLE)
            return ldm_fail(LDM_ERR_ARG, "option '%.*s': wanted a number, and is empty", (int)n, argv[i]);
    }
    return LDM_OK;
}

ldm_status app_parse(const app_command *self, const struct poptOption *table, int argc, const char **argv, int min,
                     int max, const char ***words, poptContext *ctx) {
    char other[200];
    *ctx = poptGetContext(argv[0], argc, argv, table, 0);
    ldm_status st = *ctx ? no_empty_numbers(table, argc, argv) : LDM_OK;
    if (st) return st;
    if (!*ctx) return ldm_fail(LDM_ERR_NOMEM, "options: host memory is out");
    snprintf(other, sizeof other, "%s [OPTIONS]\n%s", self->usage, self->summary);
    poptSetOtherOptionHelp(*ctx, other);
    int rc = poptGetNextOpt(*ctx);
    if (rc < -1)
        return ldm_fail(LDM_ERR_ARG, "option '%s': %s; `ldm %s --help` lists the options",
                        poptBadOption(*ctx, POPT_BADOPTION_NOALIAS), poptStrerror(rc), self->name);
    ldm_quiet = quiet;
    *words = poptGetArgs(*ctx);
    int n = 0;
    while (*words && (*words)[n]) n++;
    if (n > max)
        return ldm_fail(LDM_ERR_ARG, "'%s' is one word too many; usage: ldm %s %s", (*words)[max], self->name,
                        self->usage);
    if (n < min) return ldm_fail(LDM_ERR_ARG, "too few words; usage: ldm %s %s", self->name, self->usage);
    return LDM_OK;
}

void app_free_list(char **list) {
    for (char **each = list; each && *each; each++) free(*each);
    free(list);
}

ldm_status app_size_given(const char *option, int value, int64_t *out) {
    *out = value == APP_UNSET ? 0 : value;
    return value == APP_UNSET || value > 0 ? LDM_OK : ldm_fail(LDM_ERR_ARG, "%s %d: wanted 1 or more", option, value);
}

ldm_status app_parse_size(const char *text, const char *what, size_t *out) {
    char *end;
    errno = 0;
    double v = strtod(text, &end), unit = 1;
    if (*end == 'k' || *end == 'K') unit = 0x1p10, end++;
    else if (*end == 'm' || *end == 'M') unit = 0x1p20, end++;
    else if (*end == 'g' || *end == 'G') unit = 0x1p30, end++;
    if (end == text || *end || errno || !(v > 0) || v * unit >= 0x1p62)
        return ldm_fail(LDM_ERR_ARG, "%s: '%s' is not a size such as 512M or 6G", what, text);
    *out = (size_t)(v * unit);
    return LDM_OK;
}

/* The verdict of the self-test on this device and driver is remembered in the cache folder. */
static ldm_status first_time(ldm_cl *cl) {
    const ldm_device *d = ldm_cl_device(cl);
    char path[4300], *text = NULL;
    size_t n = 0;
    uint64_t key = ldm_hash_text(d->name);
    key = ldm_hash_bytes(key, d->driver, strlen(d->driver));
    key = ldm_hash_bytes(key, d->version, strlen(d->version));
    snprintf(path, sizeof path, "%s/selftest-%d-%016llx", ldm_cache_dir(), APP_SELFTEST_VERSION,
             (unsigned long long)key);
    if (access(path, R_OK) == 0 && ldm_read_file(path, 64, &text, &n) == LDM_OK) {
        bool passed = !strcmp(text, "passed\n");
        free(text);
        if (passed) return LDM_OK;
    }
    ldm_note("%s: first use of this device and driver, running the self-test", d->name);
    ldm_status st = app_selftest(cl, NULL);
    if (st == LDM_ERR_NOMEM && app_device.max_memory) return LDM_OK; /* a budget too small for it: another time */
    if (st) return ldm_prefix(st, "self-test");
    if (ldm_make_dirs(ldm_cache_dir()) == LDM_OK)
        ldm_write_file(path, "passed\n", 7); /* not remembering is no failure */
    return LDM_OK;
}

static ldm_status open_device(ldm_cl **out) {
    ldm_cl_options o = {.select = app_device.device,
                        .profile = app_device.profile,
                        .exact = app_device.exact,
                        .low_memory = app_device.low_memory,
                        .once = app_device.once,
                        .cores = app_device.cores,
                        .vector_width = app_device.vector_width};
    ldm_status st =
        app_device.max_memory ? app_parse_size(app_device.max_memory, "--max-memory", &o.max_memory) : LDM_OK;
    return st ? st : ldm_cl_open(&o, out);
}

static ldm_status with_tuned(ldm_cl *cl) {
    const char *v = getenv("LDM_NO_TUNED");
    return app_device.no_tuned || (v && *v && *v != '0') ? LDM_OK : ldm_tuned_load(cl);
}

static ldm_status open_tuned(bool tested, ldm_cl **out) {
    ldm_cl *cl = NULL;
    ldm_status st = open_device(&cl);
    if (!st && tested) st = first_time(cl);
    if (!st) st = with_tuned(cl);
    if (st) ldm_cl_close(cl);
    else *out = cl;
    return st;
}

ldm_status app_open_untested(ldm_cl **out) { return open_tuned(false, out); }
ldm_status app_open_device(ldm_cl **out) { return open_tuned(true, out); }
