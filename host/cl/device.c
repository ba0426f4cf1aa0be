/* device.c -- which devices there are, their facts and quirks, choosing one, and error names. */
#include "cl/cl_internal.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *code_name(cl_int c) {
    static const struct {
        cl_int code;
        const char *name;
    } names[] = {
        {-1, "CL_DEVICE_NOT_FOUND"},
        {-2, "CL_DEVICE_NOT_AVAILABLE"},
        {-3, "CL_COMPILER_NOT_AVAILABLE"},
        {-4, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
        {-5, "CL_OUT_OF_RESOURCES"},
        {-6, "CL_OUT_OF_HOST_MEMORY"},
        {-11, "CL_BUILD_PROGRAM_FAILURE"},
        {-12, "CL_MAP_FAILURE"},
        {-13, "CL_MISALIGNED_SUB_BUFFER_OFFSET"},
        {-14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
        {-30, "CL_INVALID_VALUE"},
        {-33, "CL_INVALID_DEVICE"},
        {-34, "CL_INVALID_CONTEXT"},
        {-36, "CL_INVALID_COMMAND_QUEUE"},
        {-38, "CL_INVALID_MEM_OBJECT"},
        {-42, "CL_INVALID_BINARY"},
        {-43, "CL_INVALID_BUILD_OPTIONS"},
        {-44, "CL_INVALID_PROGRAM"},
        {-45, "CL_INVALID_PROGRAM_EXECUTABLE"},
        {-46, "CL_INVALID_KERNEL_NAME"},
        {-48, "CL_INVALID_KERNEL"},
        {-49, "CL_INVALID_ARG_INDEX"},
        {-50, "CL_INVALID_ARG_VALUE"},
        {-51, "CL_INVALID_ARG_SIZE"},
        {-52, "CL_INVALID_KERNEL_ARGS"},
        {-53, "CL_INVALID_WORK_DIMENSION"},
        {-54, "CL_INVALID_WORK_GROUP_SIZE"},
        {-55, "CL_INVALID_WORK_ITEM_SIZE"},
        {-61, "CL_INVALID_BUFFER_SIZE"},
        {-63, "CL_INVALID_GLOBAL_WORK_SIZE"},
        {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
    };
    static _Thread_local char other[40];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == c) return names[i].name;
    snprintf(other, sizeof other, "OpenCL error %d", c);
    return other;
}

ldm_status ldm_cl_check(cl_int code, const char *fmt, ...) {
    if (code == CL_SUCCESS) return LDM_OK;
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    bool memory =
        code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY || code == CL_INVALID_BUFFER_SIZE;
    return ldm_fail(memory ? LDM_ERR_NOMEM : LDM_ERR_CL, "%s: %s", what, code_name(code));
}

static void text_of(cl_device_id id, cl_device_info what, char *dst, size_t cap) {
    char buf[1024] = "";
    clGetDeviceInfo(id, what, sizeof buf - 1, buf, NULL);
    char *s = buf;
    while (isspace((unsigned char)*s)) s++;
    snprintf(dst, cap, "%.*s", (int)cap - 1, s);
    for (size_t n = strlen(dst); n && isspace((unsigned char)dst[n - 1]); n--) dst[n - 1] = 0;
}

/* What the system can give without swapping: MemAvailable of Linux; 0 if unknown. */
static size_t system_available(void) {
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1) break;
    if (f) fclose(f);
    return (size_t)kb * 1024;
}

#define FACT(id, what, type, fallback)                                                                                 \
    ({                                                                                                                 \
        type fact_v = 0;                                                                                               \
        clGetDeviceInfo(id, what, sizeof fact_v, &fact_v, NULL) == CL_SUCCESS &&fact_v ? fact_v : (type)(fallback);    \
    })

enum { SUB_GROUP_SIZES = 0x4108 }; /* CL_DEVICE_SUB_GROUP_SIZES_INTEL, size_t[] */

ldm_status ldm_cl_facts(cl_platform_id platform, cl_device_id id, int p, int d, ldm_device *out) {
    ldm_device f = {.platform = p, .index = d};
    text_of(id, CL_DEVICE_NAME, f.name, sizeof f.name);
    text_of(id, CL_DEVICE_VENDOR, f.vendor, sizeof f.vendor);
    text_of(id, CL_DRIVER_VERSION, f.driver, sizeof f.driver);
    text_of(id, CL_DEVICE_VERSION, f.version, sizeof f.version);
    text_of(id, CL_DEVICE_OPENCL_C_VERSION, f.c_version, sizeof f.c_version);
    char ext[16384] = "", buf[256] = "";
    clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, sizeof ext - 1, ext, NULL);
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof buf - 1, buf, NULL);
    snprintf(f.platform_name, sizeof f.platform_name, "%.63s", buf);
    cl_device_type type = FACT(id, CL_DEVICE_TYPE, cl_device_type, CL_DEVICE_TYPE_CPU);
    f.type = type & CL_DEVICE_TYPE_CPU ? LDM_DEVICE_CPU : type & CL_DEVICE_TYPE_GPU ? LDM_DEVICE_GPU : LDM_DEVICE_OTHER;
    f.units = (int)FACT(id, CL_DEVICE_MAX_COMPUTE_UNITS, cl_uint, 1);
    f.clock_mhz = (int)FACT(id, CL_DEVICE_MAX_CLOCK_FREQUENCY, cl_uint, 0);
    f.global_bytes = (size_t)FACT(id, CL_DEVICE_GLOBAL_MEM_SIZE, cl_ulong, 128 << 20);
    f.max_alloc = (size_t)FACT(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, cl_ulong, 128 << 20);
    /* a CPU device's own figure changes from call to call and may be a fraction of the memory; the system's does not */
    size_t available = f.type == LDM_DEVICE_CPU ? system_available() : 0;
    if (available) f.global_bytes = available;
    f.cache_bytes = (size_t)FACT(id, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, cl_ulong, 0);
    f.local_bytes = (size_t)FACT(id, CL_DEVICE_LOCAL_MEM_SIZE, cl_ulong, 0);
    f.local_is_real = FACT(id, CL_DEVICE_LOCAL_MEM_TYPE, cl_device_local_mem_type, CL_GLOBAL) == CL_LOCAL;
    f.max_group = FACT(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, size_t, 1);
    f.vector_float = (int)FACT(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, cl_uint, 1);
    f.base_align = FACT(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, cl_uint, 1024) / 8;
    if (f.base_align < 64) f.base_align = 64;
    f.unified = FACT(id, CL_DEVICE_HOST_UNIFIED_MEMORY, cl_bool, 0);
    f.has_fp16 = strstr(ext, "cl_khr_fp16") != NULL;
    f.has_fp64 = strstr(ext, "cl_khr_fp64") != NULL;
    f.has_subgroups = strstr(ext, "cl_khr_subgroups") || strstr(ext, "cl_intel_subgroups");
    f.has_build = FACT(id, CL_DEVICE_COMPILER_AVAILABLE, cl_bool, 0);
    cl_device_fp_config fp = FACT(id, CL_DEVICE_SINGLE_FP_CONFIG, cl_device_fp_config, 0);
    f.fast_fma = (fp & CL_FP_FMA) != 0;
    f.flushes_denormals = !(fp & CL_FP_DENORM);
    size_t lanes[8] = {0};
    if (strstr(ext, "cl_intel_required_subgroup_size") &&
        clGetDeviceInfo(id, SUB_GROUP_SIZES, sizeof lanes, lanes, NULL) == CL_SUCCESS)
        for (int i = 0; i < 8 && lanes[i]; i++)
            if (!f.least_lanes || (int)lanes[i] < f.least_lanes) f.least_lanes = (int)lanes[i];
    *out = f;
    return LDM_OK;
}

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 64 };

static ldm_status platforms(cl_platform_id *ids, cl_uint *n) {
    ldm_place_driver_cache();
    cl_int e = clGetPlatformIDs(MAX_PLATFORMS, ids, n);
    if (e != CL_SUCCESS || *n == 0)
        return ldm_fail(LDM_ERR_CL,
                        "no OpenCL platform found (%s): install a driver, e.g. Debian's pocl-opencl-icd for the "
                        "CPU, intel-opencl-icd or mesa-opencl-icd, or your GPU vendor's",
                        e == CL_SUCCESS ? "none listed" : code_name(e));
    if (*n > MAX_PLATFORMS) *n = MAX_PLATFORMS;
    return LDM_OK;
}

ldm_status ldm_cl_ids(int p, int d, cl_platform_id *platform, cl_device_id *device) {
    cl_platform_id ps[MAX_PLATFORMS];
    cl_device_id ds[MAX_DEVICES];
    cl_uint np = 0, nd = 0;
    ldm_status st = platforms(ps, &np);
    if (st) return st;
    if (p < 0 || (cl_uint)p >= np) return ldm_fail(LDM_ERR_ARG, "platform %d: there are %u", p, np);
    clGetDeviceIDs(ps[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ds, &nd);
    if (d < 0 || (cl_uint)d >= nd) return ldm_fail(LDM_ERR_ARG, "device %d:%d: the platform has %u", p, d, nd);
    *platform = ps[p], *device = ds[d];
    return LDM_OK;
}

ldm_status ldm_cl_list(ldm_device **list, int *count) {
    cl_platform_id ps[MAX_PLATFORMS];
    cl_device_id ds[MAX_DEVICES];
    cl_uint np = 0;
    ldm_status st = platforms(ps, &np);
    if (st) return st;
    ldm_device *all = calloc(MAX_DEVICES, sizeof *all);
    if (!all) return ldm_fail(LDM_ERR_NOMEM, "device list: host memory could not be allocated");
    int n = 0;
    for (cl_uint p = 0; p < np; p++) {
        cl_uint nd = 0;
        if (clGetDeviceIDs(ps[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ds, &nd) != CL_SUCCESS) continue;
        for (cl_uint d = 0; d < nd && d < MAX_DEVICES && n < MAX_DEVICES; d++)
            ldm_cl_facts(ps[p], ds[d], (int)p, (int)d, &all[n++]);
    }
    if (n == 0) {
        free(all);
        return ldm_fail(LDM_ERR_CL,
                        "%u OpenCL platforms but no device: install a driver for your GPU, or Debian's "
                        "pocl-opencl-icd for the CPU (PoCL itself needs a folder it can write: POCL_CACHE_DIR)",
                        np);
    }
    *list = all, *count = n;
    return LDM_OK;
}

int ldm_cl_find(const ldm_device *list, int n, const char *want) {
    if (!want || !*want) {
        for (int i = 0; i < n; i++)
            if (list[i].type == LDM_DEVICE_GPU) return i;
        return 0;
    }
    int a, b, used = 0;
    if (sscanf(want, "%d:%d%n", &a, &b, &used) == 2 && !want[used]) {
        for (int i = 0; i < n; i++)
            if (list[i].platform == a && list[i].index == b) return i;
    } else if (sscanf(want, "%d%n", &a, &used) == 1 && !want[used]) {
        if (a >= 0 && a < n) return a;
    } else {
        bool cpu = !strcasecmp(want, "cpu"), gpu = !strcasecmp(want, "gpu");
        for (int i = 0; i < n; i++)
            if (cpu   ? list[i].type == LDM_DEVICE_CPU
                : gpu ? list[i].type == LDM_DEVICE_GPU
                      : strcasestr(list[i].name, want) != NULL)
                return i;
    }
    ldm_text t = {0};
    for (int i = 0; i < n; i++)
        ldm_text_add(&t, "%s%d:%d %s", i ? ", " : "", list[i].platform, list[i].index, list[i].name);
    ldm_fail(LDM_ERR_ARG,
             "device '%s': no such device; there are %s (a number, platform:number, cpu, gpu or part of a name)", want,
             t.s ? t.s : "");
    ldm_text_free(&t);
    return -1;
}

static void CL_CALLBACK on_error(const char *info, const void *data, size_t n, void *user) {
    (void)data, (void)n, (void)user;
    ldm_note("OpenCL: %s", info);
}

/* From now on the first `cores` compute units only (device fission); 0, or as many as there are: all. */
static ldm_status divide(ldm_cl *cl, int cores) {
    const cl_device_partition_property by_counts[] = {CL_DEVICE_PARTITION_BY_COUNTS, cores, CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0};
    cl_device_id part;
    if (cores < 0 || cores > cl->facts.units)
        return ldm_fail(LDM_ERR_ARG, "device %s: %d compute units, it has %d", cl->facts.name, cores, cl->facts.units);
    if (!cores || cores == cl->facts.units) return LDM_OK;
    ldm_status st =
        ldm_cl_check(clCreateSubDevices(cl->device, by_counts, 1, &part, NULL), "device %s: %d of its %d compute units", cl->facts.name,
                     cores, cl->facts.units);
    if (st) return st;
    cl->device = part, cl->divided = true, cl->facts.units = cores;
    return LDM_OK;
}

static ldm_status override_width(int given, int *width) {
    const char *text = given ? NULL : getenv("LDM_VECTOR_WIDTH");
    if (text && *text) given = atoi(text);
    else if (!given) return LDM_OK;
    if (given != 4 && given != 8 && given != 16)
        return ldm_fail(LDM_ERR_ARG, "vector width %d: wanted 4, 8 or 16 floats", given);
    *width = given;
    return LDM_OK;
}

ldm_status ldm_cl_open(const ldm_cl_options *o, ldm_cl **out) {
    ldm_status st = LDM_OK;
    ldm_device *list = NULL;
    ldm_cl *cl = NULL;
    int n = 0;
    cl_int e;
    static const ldm_cl_options none;
    if (!o) o = &none;
    TRY(ldm_cl_list(&list, &n));
    const char *want = o->select ? o->select : getenv("LDM_DEVICE");
    int i = ldm_cl_find(list, n, want);
    if (i < 0) TRY(LDM_ERR_ARG);
    TRY(ldm_alloc(sizeof *cl, (void **)&cl));
    cl->facts = list[i];
    cl->profile = o->profile;
    const size_t all = cl->facts.global_bytes, most = 512 << 20, margin = all / 16 < most ? all / 16 : most;
    cl->facts.all_bytes = all;
    cl->facts.global_bytes = o->max_memory ? o->max_memory : all - margin;
    cl->facts.exact = o->exact;
    cl->facts.once = o->once && !o->low_memory && cl->facts.type == LDM_DEVICE_CPU;
    cl->facts.low_memory = o->low_memory || cl->facts.once;
    TRY(override_width(o->vector_width, &cl->facts.vector_float));
    if (!cl->facts.has_build) TRY(ldm_fail(LDM_ERR_CL, "device %s: its driver has no kernel compiler", cl->facts.name));
    TRY(ldm_cl_ids(list[i].platform, list[i].index, &cl->platform, &cl->device));
    TRY(divide(cl, o->cores));
    cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)cl->platform, 0};
    cl->context = clCreateContext(props, 1, &cl->device, on_error, NULL, &e);
    TRY(ldm_cl_check(e, "device %s: context", cl->facts.name));
    cl->queue = clCreateCommandQueue(cl->context, cl->device, o->profile ? CL_QUEUE_PROFILING_ENABLE : 0, &e);
    TRY(ldm_cl_check(e, "device %s: command queue", cl->facts.name));
    *out = cl;
    cl = NULL;
done:
    ldm_cl_close(cl);
    free(list);
    return st;
}

void ldm_cl_attach_tuned(ldm_cl *cl, struct ldm_tuned *tuned, void (*destroy)(struct ldm_tuned *)) {
    if (cl->facts.tuned) cl->destroy_tuned(cl->facts.tuned);
    cl->facts.tuned = tuned, cl->destroy_tuned = destroy;
}

void ldm_cl_close(ldm_cl *cl) {
    if (!cl) return;
    for (program *p = cl->programs, *next; p; p = next) {
        next = p->next;
        clReleaseProgram(p->program);
        free(p);
    }
    ldm_cl_attach_tuned(cl, NULL, NULL);
    if (cl->transfers) clReleaseCommandQueue(cl->transfers);
    if (cl->queue) clReleaseCommandQueue(cl->queue);
    if (cl->context) clReleaseContext(cl->context);
    if (cl->divided) clReleaseDevice(cl->device);
    free(cl);
}

bool ldm_cl_profiles(const ldm_cl *cl) { return cl->profile; }
const ldm_device *ldm_cl_device(const ldm_cl *cl) { return &cl->facts; }
size_t ldm_cl_bytes(const ldm_cl *cl) { return cl->bytes; }
size_t ldm_cl_peak_bytes(const ldm_cl *cl) { return cl->peak; }
ldm_build_stats ldm_cl_build_stats(const ldm_cl *cl) { return cl->stats; }
ldm_status ldm_cl_finish(ldm_cl *cl) {
    return ldm_cl_check(clFinish(cl->queue), "device %s: finishing the queue", cl->facts.name);
}
ldm_status ldm_cl_flush(ldm_cl *cl) {
    return ldm_cl_check(clFlush(cl->queue), "device %s: flushing the queue", cl->facts.name);
}
