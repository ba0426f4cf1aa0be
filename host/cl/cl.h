/* cl.h -- devices, memory, programs, launches. Every call into OpenCL (and CLBlast) of the project is behind this
 * header; no other room sees a cl_ type. It knows nothing of ops or models. A ldm_cl is one device with one context and
 * one in-order queue; it is used from one thread. */
#ifndef LDM_CL_H
#define LDM_CL_H

#include "base/base.h"

/* ---- device facts: read once, plain data; implementation tables choose by these, never by name ---------------------
 */

typedef enum ldm_device_type { LDM_DEVICE_CPU, LDM_DEVICE_GPU, LDM_DEVICE_OTHER } ldm_device_type;

typedef struct ldm_device {
    int platform, index; /* "platform:index" selects it */
    char name[128], vendor[64], driver[64], version[128], platform_name[64], c_version[64];
    ldm_device_type type;
    int units; /* compute units */
    int clock_mhz;
    /* What may be used: the device's own figure, on a CPU the memory the system has available; in an open ldm_cl less a
     * margin of a sixteenth, 512 MiB at most, or what ldm_cl_options says. */
    size_t global_bytes;
    size_t all_bytes;    /* the figure that is of, in an open ldm_cl */
    size_t max_alloc;    /* largest single buffer, bytes */
    size_t cache_bytes; /* of global memory, all levels the device tells of; 0: none or not told */
    size_t local_bytes;
    bool local_is_real;                                          /* CL_LOCAL: dedicated, so staging in it pays */
    size_t max_group;                                            /* work-items a work-group */
    int vector_float; /* native vector width for float, in elements, or what ldm_cl_options says */
    size_t base_align;                                           /* bytes; windows begin at multiples of it */
    bool unified;                                                /* shares memory with the host */
    bool has_fp16, has_fp64, has_subgroups, fast_fma, has_build; /* has_build: a compiler is available */
    int least_lanes; /* fewest work-items a hardware thread may be told to run, so most registers each; 0: no say */
    bool flushes_denormals; /* no CL_FP_DENORM for float */
    bool exact;      /* what the user asks for: no algorithm that loses accuracy (ldm_cl_options) */
    bool low_memory; /* likewise: weights as the checkpoint has them rather than copies that are faster */
    bool once;       /* that only because what is opened runs once: time counts, memory does not */
    struct ldm_tuned *tuned; /* [opt] what tuning found for this device (ops/tuned.h); NULL: defaults */
} ldm_device;

/* All devices of all platforms; *list is freed with free(). No platform at all is LDM_ERR_CL with a sentence that says
 * what to install. */
ldm_status ldm_cl_list(ldm_device **list, int *count);
/* Index of the device that `want` names (0, 1:0, cpu, gpu, part of a name; NULL: the first GPU, else the first); -1 and a
 * sentence where there is none. */
int ldm_cl_find(const ldm_device *list, int n, const char *want);

/* ---- a device in use ----------------------------------------------------------------------------------------------
 */

typedef struct ldm_cl ldm_cl;
typedef struct ldm_buffer ldm_buffer;

typedef struct ldm_cl_options {
    const char *select; /* "0", "1:0", "cpu", "gpu", part of a name; NULL: $LDM_DEVICE, else the first GPU, else the
                           first device */
    size_t max_memory;  /* bytes; 0: the device's own figure less a margin */
    bool profile;       /* event timing of each launch */
    bool exact;         /* no algorithm that loses accuracy, Winograd's */
    bool low_memory;    /* weights as the checkpoint has them where a kernel can read them so */
    bool once;          /* what is opened runs once: a CPU then reads weights so too, which is sooner than making copies */
    int cores;          /* compute units to use, of a device that can be divided; 0: all */
    int vector_width;   /* floats of a vector in kernels for CPUs: 4, 8 or 16; 0: $LDM_VECTOR_WIDTH, else the device's */
} ldm_cl_options;

ldm_status ldm_cl_open(const ldm_cl_options *o, ldm_cl **out);
bool ldm_cl_profiles(const ldm_cl *cl);            /* launches are timed */
void ldm_cl_close(ldm_cl *cl);                     /* NULL is fine; buffers must be freed before */
const ldm_device *ldm_cl_device(const ldm_cl *cl); /* owned by cl */
/* Sets the device's `tuned`, which is cl's from now on: freed with `destroy` when replaced or when cl is closed. */
void ldm_cl_attach_tuned(ldm_cl *cl, struct ldm_tuned *tuned, void (*destroy)(struct ldm_tuned *));

/* ---- memory -------------------------------------------------------------------------------------------------------
 */

ldm_status ldm_buffer_create(ldm_cl *cl, size_t bytes, ldm_buffer **out); /* bytes <= max_alloc; contents undefined */
/* The same for what every step touches: of a CPU, from 256 KiB on in huge pages where the system has them, so that what is in use at
 * once keeps to its places in the second-level cache, and weights are found without asking where their pages are. */
ldm_status ldm_buffer_create_busy(ldm_cl *cl, size_t bytes, ldm_buffer **out);
/* A window of `parent`, which must outlive it; offset a multiple of base_align. No sub-buffer: the parent's memory object and a byte of it,
 * which kernels are told (offsets.c). Windows may overlap. */
ldm_status ldm_buffer_window(ldm_buffer *parent, size_t offset, size_t bytes, ldm_buffer **out);
/* The host's memory at `data` as a buffer that is only read; nothing is copied where the device shares it. Borrowed: it must
 * outlive the buffer unchanged. Not counted in ldm_cl_bytes. */
ldm_status ldm_buffer_borrow(ldm_cl *cl, const void *data, size_t bytes, ldm_buffer **out);
void ldm_buffer_destroy(ldm_buffer *b); /* NULL is fine */
size_t ldm_buffer_bytes(const ldm_buffer *b);
ldm_status ldm_buffer_write(ldm_buffer *b, size_t offset, const void *data,
                            size_t bytes); /* returns when data may be reused */
ldm_status ldm_buffer_read(ldm_buffer *b, size_t offset, void *data, size_t bytes);       /* waits for the queue */
ldm_status ldm_buffer_fill(ldm_buffer *b, size_t offset, size_t bytes, uint32_t pattern); /* multiples of 4 */
/* Between two buffers of a device that do not overlap; enqueued. */
ldm_status ldm_buffer_copy(ldm_buffer *from, size_t from_offset, ldm_buffer *to, size_t to_offset, size_t bytes);
/* Direct access for packing large weights without a second copy; unmap before the next launch that uses it. */
ldm_status ldm_buffer_map(ldm_buffer *b, bool write, void **ptr);
ldm_status ldm_buffer_unmap(ldm_buffer *b, void *ptr);
size_t ldm_cl_bytes(const ldm_cl *cl); /* bytes of buffers alive now */
size_t ldm_cl_peak_bytes(const ldm_cl *cl);

/* ---- transfers beside the launches --------------------------------------------------------------------------------
 */

typedef struct ldm_mark ldm_mark; /* the end of what was enqueued before it */
/* Host memory that transfers read without another copy, where the driver has such. Not counted in ldm_cl_bytes. */
typedef struct ldm_pinned ldm_pinned;
ldm_status ldm_pinned_create(ldm_cl *cl, size_t bytes, ldm_pinned **out);
void *ldm_pinned_data(const ldm_pinned *p);
void ldm_pinned_destroy(ldm_pinned *p); /* NULL is fine */
/* Sends bytes to the beginning of b by the second queue, once `after` [opt] is reached; returns at once, `data` is borrowed
 * until *done is reached. */
ldm_status ldm_upload(ldm_buffer *b, const void *data, size_t bytes, const ldm_mark *after, ldm_mark **done);
ldm_status ldm_cl_mark(ldm_cl *cl, ldm_mark **out);        /* the end of all launches enqueued so far */
ldm_status ldm_cl_await(ldm_cl *cl, const ldm_mark *m);    /* launches enqueued from now on wait for it */
/* Once it is reached, and only with profiling: when the transfer was under way, seconds of the device's clock. */
bool ldm_mark_span(const ldm_mark *m, double *start, double *end);
void ldm_mark_wait(const ldm_mark *m);    /* the host waits for it; NULL is fine */
void ldm_mark_destroy(ldm_mark *m); /* NULL is fine */

/* ---- programs -----------------------------------------------------------------------------------------------------
 */

/* What is compiled for a kernel file: common.clh, then the file, each line #include "PIECE" replaced by that file of the
 * kernel folder, and each kernel with one number more for each of its buffers (offsets.c). Drivers get one text: the path of an -I
 * option may not hold blanks, and a piece belongs to the cache's key. */
ldm_status ldm_kernel_source(const char *file, ldm_text *out);

/* ---- launches: described by ops as data, made into kernel objects here ----------------------------------------------
 */

typedef enum ldm_arg_kind { LDM_ARG_SLOT, LDM_ARG_INT, LDM_ARG_FLOAT, LDM_ARG_LOCAL } ldm_arg_kind;
typedef struct ldm_arg {
    ldm_arg_kind kind;
    int64_t i;     /* slot number; or the int (checked to fit 32 bits); or bytes of local memory */
    size_t offset; /* slots: bytes into the buffer, a multiple of base_align (scratch is cut this way) */
    double f;
} ldm_arg;

enum { LDM_MAX_ARGS = 40, LDM_MAX_LAUNCHES = 64, LDM_MAX_OPTIONS = 400 };
enum { LDM_SLOT_SCRATCH = 100 }; /* slot number of the step's scratch buffer */

typedef struct ldm_launch {
    const char *file, *kernel;     /* "gemm_cpu.cl", "gemm_tile"; kernel "clblast_gemm" is the library */
    char options[LDM_MAX_OPTIONS]; /* -D list, besides what cl adds for the device */
    int dims;
    size_t global[3], local[3]; /* local[0] == 0: left to the driver */
    int nargs;
    ldm_arg arg[LDM_MAX_ARGS];
} ldm_launch;

/* What one step of a plan does on the device, in order. Written by an implementation's `record`. */
typedef struct ldm_recipe {
    int count;
    ldm_launch launch[LDM_MAX_LAUNCHES];
    ldm_status status; /* sticky: overflow of a table above, a value that does not fit */
} ldm_recipe;

/* The vocabulary `record` is written in: open a launch, then its arguments in the kernel's order, then its range. */
void ldm_rec_kernel(ldm_recipe *r, const char *file, const char *kernel);
void ldm_rec_define(ldm_recipe *r, const char *name, int64_t value); /* -Dname=value */
void ldm_rec_option(ldm_recipe *r, const char *option);              /* verbatim, e.g. "-DREAL=half" */
void ldm_rec_slot(ldm_recipe *r, int slot);
void ldm_rec_scratch(ldm_recipe *r, size_t offset);
void ldm_rec_int(ldm_recipe *r, int64_t v);
void ldm_rec_float(ldm_recipe *r, double v);
void ldm_rec_local(ldm_recipe *r, size_t bytes);
void ldm_rec_range1(ldm_recipe *r, int64_t g0, int64_t l0); /* global sizes are rounded up to the local size */
void ldm_rec_range2(ldm_recipe *r, int64_t g0, int64_t g1, int64_t l0, int64_t l1);
void ldm_rec_range3(ldm_recipe *r, int64_t g0, int64_t g1, int64_t g2, int64_t l0, int64_t l1, int64_t l2);

/* A recipe made ready: programs built (or taken from the cache), kernel objects with every argument set. Enqueueing it
 * sets nothing and allocates nothing. `slot[i]` are borrowed and must outlive it; absent slots are NULL. */
typedef struct ldm_step ldm_step;
ldm_status ldm_step_create(ldm_cl *cl, const ldm_recipe *r, ldm_buffer *const *slot, int slots, ldm_buffer *scratch,
                           ldm_step **out);
ldm_status ldm_step_enqueue(ldm_step *s);
double ldm_step_seconds(ldm_step *s); /* device time of the last enqueue, after ldm_cl_finish; profile only, else -1 */
/* When that was, from its first launch to its last, seconds of the device's clock; false likewise. */
bool ldm_step_span(const ldm_step *s, double *start, double *end);
void ldm_step_destroy(ldm_step *s);
ldm_status ldm_cl_finish(ldm_cl *cl);
ldm_status ldm_cl_flush(ldm_cl *cl);

/* ---- programs ------------------------------------------------------------------------------------------------------
 */

typedef struct ldm_build_stats {
    int programs;   /* distinct programs made ready in this process */
    int compiled;   /* of those, not taken from the cache */
    double seconds; /* spent in building or loading them */
} ldm_build_stats;
ldm_build_stats ldm_cl_build_stats(const ldm_cl *cl);

#endif
