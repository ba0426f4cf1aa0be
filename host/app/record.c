/* record.c -- results files: who, where, when, by which command; whole-or-nothing writing. Leaves rows to the callers.
 */
#include "app/record.h"
#include "commit.h" /* made by the Makefile: LDM_COMMIT */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

const char *ldm_commit(void) { return LDM_COMMIT; }

/* The value behind the first "key<sep> value" line of a file, or "". */
static const char *file_value(const char *path, const char *key, char sep, char *buf, size_t cap) {
    char line[512];
    FILE *f = fopen(path, "r");
    buf[0] = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key))) continue;
        char *v = strchr(line, sep);
        if (!v) continue;
        v += 1 + strspn(v + 1, " \t\"");
        v[strcspn(v, "\"\n")] = 0;
        snprintf(buf, cap, "%s", v);
        break;
    }
    if (f) fclose(f);
    return buf;
}

static json_t *machine(void) {
    struct utsname u = {0};
    char cpu[200], mhz[40], os[200], host[120];
    double load = 0;
    uname(&u);
    getloadavg(&load, 1);
    snprintf(host, sizeof host, "%.50s %.60s", u.sysname, u.release);
    return json_pack("{s:s, s:I, s:f, s:I, s:s, s:s, s:s, s:f}", "cpu",
                     file_value("/proc/cpuinfo", "model name", ':', cpu, sizeof cpu), "cores",
                     (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "cpu_mhz_now",
                     strtod(file_value("/proc/cpuinfo", "cpu MHz", ':', mhz, sizeof mhz), NULL), "memory_bytes",
                     (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), "os",
                     file_value("/etc/os-release", "PRETTY_NAME", '=', os, sizeof os), "kernel", host, "arch",
                     u.machine, "load_average", load);
}

static json_t *device(const ldm_device *d) {
    static const char *const type[] = {"cpu", "gpu", "other"};
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I}", "name", d->name, "vendor", d->vendor,
                     "platform", d->platform_name, "version", d->version, "driver", d->driver, "type", type[d->type],
                     "units", d->units, "clock_mhz", d->clock_mhz, "usable_bytes", (json_int_t)d->global_bytes,
                     "max_alloc", (json_int_t)d->max_alloc, "local_bytes", (json_int_t)d->local_bytes);
}

static void utc(const char *format, char *buf, size_t cap) {
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(buf, cap, format, &t);
}

json_t *ldm_record_header(const ldm_device *d, const ldm_peak *peak, int argc, char **argv) {
    char date[40];
    ldm_text command = {0};
    for (int i = 0; i < argc; i++) {
        const char *slash = i == 0 ? strrchr(argv[0], '/') : NULL;
        ldm_text_add(&command, "%s%s", i ? " " : "", slash ? slash + 1 : argv[i]);
    }
    utc("%Y-%m-%dT%H:%M:%SZ", date, sizeof date);
    json_t *h = json_pack("{s:s, s:s, s:s, s:o}", "date", date, "commit", LDM_COMMIT, "command",
                          command.s ? command.s : "", "machine", machine());
    ldm_text_free(&command);
    if (h && d) json_object_set_new(h, "device", device(d));
    if (h && peak)
        json_object_set_new(h, "peak",
                            json_pack("{s:f, s:f, s:f, s:f, s:s}", "gflops", peak->gflops, "read_gbs", peak->read_gbs,
                                      "copy_gbs", peak->copy_gbs, "triad_gbs", peak->triad_gbs, "kernel",
                                      peak->variant));
    return h;
}

const char *ldm_record_path(const char *dir, const char *kind, const ldm_device *d, char *buf, size_t cap) {
    char name[64], date[20];
    size_t n = 0;
    for (const char *s = d ? d->name : "host"; *s && n < sizeof name - 1; s++) {
        if (isalnum((unsigned char)*s)) name[n++] = (char)tolower((unsigned char)*s);
        else if (n && name[n - 1] != '-') name[n++] = '-';
    }
    while (n && name[n - 1] == '-') n--;
    name[n] = 0;
    utc("%Y-%m-%d", date, sizeof date);
    const size_t len = strlen(dir);
    snprintf(buf, cap, "%s%s%s-%s-%s.json", dir, len && dir[len - 1] == '/' ? "" : "/", kind, name, date);
    return buf;
}

const char *ldm_record_place(const char *out, const char *kind, const ldm_device *d, char *buf, size_t cap) {
    const size_t n = strlen(out);
    if (n && out[n - 1] == '/') return ldm_record_path(out, kind, d, buf, cap);
    return snprintf(buf, cap, "%s", out), buf;
}

static ldm_status make_place(const char *path) {
    const char *slash = strrchr(path, '/');
    char dir[4096];
    if (!slash || slash == path) return LDM_OK;
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return ldm_make_dirs(dir);
}

ldm_status ldm_record_try(const char *path) {
    ldm_status st = make_place(path);
    return st ? st : ldm_try_file(path);
}

ldm_status ldm_record_write(const char *path, const json_t *root) {
    ldm_status st = make_place(path);
    if (st) return st;
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    if (!text) return ldm_fail(LDM_ERR_NOMEM, "%s: host memory could not be allocated", path);
    ldm_text t = {0};
    ldm_text_add(&t, "%s\n", text);
    free(text);
    st = t.s ? ldm_write_file(path, t.s, t.len)
             : ldm_fail(LDM_ERR_NOMEM, "%s: host memory could not be allocated", path);
    ldm_text_free(&t);
    return st;
}

/* Seconds that all processors were busy since the machine started, and of these this process; false if nobody tells. */
static bool busy_seconds(double *busy, double *own) {
    static const int who[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    unsigned long long t[8] = {0}; /* user nice system idle iowait irq softirq steal */
    FILE *f = fopen("/proc/stat", "r");
    int n = f ? fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) : 0;
    if (f) fclose(f);
    *own = 0;
    for (int i = 0; i < 2; i++) {
        struct rusage r;
        getrusage(who[i], &r);
        *own += (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + 1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
    }
    *busy = (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
    return n >= 4;
}

void ldm_load_begin(ldm_load *l) {
    *l = (ldm_load){.start = ldm_now()};
    busy_seconds(&l->busy, &l->own);
}

double ldm_load_other(const ldm_load *l) {
    double busy, own, all = (ldm_now() - l->start) * (double)sysconf(_SC_NPROCESSORS_ONLN);
    if (!busy_seconds(&busy, &own) || all <= 0) return 0;
    const double other = (busy - l->busy - (own - l->own)) / all;
    return other < 0 ? 0 : other > 1 ? 1 : other;
}
