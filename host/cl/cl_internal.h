/* cl_internal.h -- what the files of host/cl share and nobody else sees. */
#ifndef LDM_CL_INTERNAL_H
#define LDM_CL_INTERNAL_H

#include "cl/cl.h"
#include <CL/cl.h>

typedef struct program {
    uint64_t key;
    cl_program program;
    struct program *next;
} program;

struct ldm_cl {
    ldm_device facts;
    cl_platform_id platform;
    cl_device_id device;
    bool divided; /* `device` is a part of one, made by us */
    cl_context context;
    cl_command_queue queue, transfers; /* the second one is made when first needed */
    bool profile;
    size_t bytes, peak;
    program *programs;
    ldm_build_stats stats;
    void (*destroy_tuned)(struct ldm_tuned *);
};

struct ldm_buffer {
    ldm_cl *cl;
    cl_mem mem;            /* a window's is its parent's */
    size_t at, bytes;      /* where in mem it begins, and how long it is */
    bool window, borrowed; /* it owns no memory; a window no memory object either */
    void *host;            /* the memory it is in, where that is not the driver's: freed with it */
};

/* LDM_ERR_CL (or LDM_ERR_NOMEM for the out-of-memory codes) with "<what>: <CL_NAME>"; LDM_OK for CL_SUCCESS. */
ldm_status ldm_cl_check(cl_int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The program of a kernel file with these options: made once per process, from the binary cache where it can be. */
ldm_status ldm_cl_program(ldm_cl *cl, const char *file, const char *options, cl_program *out);

/* A kernel file's text with one argument more for each buffer of each kernel: the byte of the memory object it begins at. */
void ldm_add_offsets(const char *source, ldm_text *out);

ldm_status ldm_cl_facts(cl_platform_id platform, cl_device_id id, int p, int d, ldm_device *out);
ldm_status ldm_cl_ids(int p, int d, cl_platform_id *platform, cl_device_id *device);

#endif
