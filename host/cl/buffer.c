/* buffer.c -- device memory: buffers, windows into them, copies. Counts the bytes alive. */
#include "cl/cl_internal.h"
#include <stdlib.h>

/* In `host`, if there is one, which is the buffer's from now on. */
static ldm_status create(ldm_cl *cl, size_t bytes, void *host, ldm_buffer **out) {
    const cl_mem_flags where = host ? CL_MEM_USE_HOST_PTR : cl->facts.unified ? CL_MEM_ALLOC_HOST_PTR : 0;
    ldm_buffer *b = NULL;
    cl_int e;
    ldm_status st = ldm_alloc(sizeof *b, (void **)&b);
    if (!st) {
        *b = (ldm_buffer){.cl = cl, .bytes = bytes, .host = host};
        b->mem = clCreateBuffer(cl->context, CL_MEM_READ_WRITE | where, bytes, host, &e);
        st = ldm_cl_check(e, "device %s: a buffer of %.1f MiB", cl->facts.name, (double)bytes / 0x1p20);
    }
    if (st) {
        free(host);
        free(b);
        return st;
    }
    cl->bytes += bytes;
    if (cl->bytes > cl->peak) cl->peak = cl->bytes;
    *out = b;
    return LDM_OK;
}

static ldm_status check_size(const ldm_cl *cl, size_t bytes) {
    if (bytes <= cl->facts.max_alloc) return LDM_OK;
    return ldm_fail(LDM_ERR_NOMEM, "a buffer of %.1f MiB: device %s allows %.1f MiB at most", (double)bytes / 0x1p20,
                    cl->facts.name, (double)cl->facts.max_alloc / 0x1p20);
}

ldm_status ldm_buffer_create(ldm_cl *cl, size_t bytes, ldm_buffer **out) {
    ldm_status st = check_size(cl, bytes);
    return st ? st : create(cl, bytes ? bytes : 4, NULL, out);
}

ldm_status ldm_buffer_create_busy(ldm_cl *cl, size_t bytes, ldm_buffer **out) {
    enum { LEAST = 256 << 10 };
    ldm_status st = check_size(cl, bytes);
    const bool huge = cl->facts.type == LDM_DEVICE_CPU && bytes >= LEAST;
    return st ? st : create(cl, bytes ? bytes : 4, huge ? ldm_huge_pages(bytes) : NULL, out);
}

ldm_status ldm_buffer_window(ldm_buffer *parent, size_t offset, size_t bytes, ldm_buffer **out) {
    if (offset > parent->bytes || bytes > parent->bytes - offset || offset % parent->cl->facts.base_align)
        return ldm_fail(LDM_ERR_ARG, "device %s: a window of %zu bytes at %zu of %zu", parent->cl->facts.name, bytes, offset,
                        parent->bytes);
    ldm_status st = ldm_alloc(sizeof **out, (void **)out);
    if (!st)
        **out = (ldm_buffer){.cl = parent->cl, .mem = parent->mem, .at = parent->at + offset, .bytes = bytes, .window = true};
    return st;
}

ldm_status ldm_buffer_borrow(ldm_cl *cl, const void *data, size_t bytes, ldm_buffer **out) {
    ldm_buffer *b = NULL;
    cl_int e;
    ldm_status st = ldm_alloc(sizeof *b, (void **)&b);
    if (st) return st;
    *b = (ldm_buffer){.cl = cl, .bytes = bytes, .borrowed = true};
    b->mem = clCreateBuffer(cl->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes, (void *)data, &e);
    if ((st = ldm_cl_check(e, "device %s: %zu bytes of the host's as a buffer", cl->facts.name, bytes))) {
        free(b);
        return st;
    }
    *out = b;
    return LDM_OK;
}

void ldm_buffer_destroy(ldm_buffer *b) {
    if (!b) return;
    if (!b->window) clReleaseMemObject(b->mem);
    free(b->host);
    if (!b->window && !b->borrowed) b->cl->bytes -= b->bytes;
    free(b);
}

size_t ldm_buffer_bytes(const ldm_buffer *b) { return b->bytes; }

ldm_status ldm_buffer_write(ldm_buffer *b, size_t offset, const void *data, size_t bytes) {
    return ldm_cl_check(clEnqueueWriteBuffer(b->cl->queue, b->mem, CL_TRUE, b->at + offset, bytes, data, 0, NULL, NULL),
                        "device %s: writing %zu bytes", b->cl->facts.name, bytes);
}

ldm_status ldm_buffer_read(ldm_buffer *b, size_t offset, void *data, size_t bytes) {
    return ldm_cl_check(clEnqueueReadBuffer(b->cl->queue, b->mem, CL_TRUE, b->at + offset, bytes, data, 0, NULL, NULL),
                        "device %s: reading %zu bytes", b->cl->facts.name, bytes);
}

ldm_status ldm_buffer_fill(ldm_buffer *b, size_t offset, size_t bytes, uint32_t pattern) {
    return ldm_cl_check(
        clEnqueueFillBuffer(b->cl->queue, b->mem, &pattern, sizeof pattern, b->at + offset, bytes, 0, NULL, NULL),
        "device %s: filling %zu bytes", b->cl->facts.name, bytes);
}

ldm_status ldm_buffer_copy(ldm_buffer *from, size_t from_offset, ldm_buffer *to, size_t to_offset, size_t bytes) {
    return ldm_cl_check(
        clEnqueueCopyBuffer(from->cl->queue, from->mem, to->mem, from->at + from_offset, to->at + to_offset, bytes, 0, NULL, NULL),
        "device %s: copying %zu bytes", from->cl->facts.name, bytes);
}

ldm_status ldm_buffer_map(ldm_buffer *b, bool write, void **ptr) {
    cl_int e;
    void *p = clEnqueueMapBuffer(b->cl->queue, b->mem, CL_TRUE, write ? CL_MAP_WRITE | CL_MAP_READ : CL_MAP_READ, b->at,
                                 b->bytes, 0, NULL, NULL, &e);
    ldm_status st = ldm_cl_check(e, "device %s: mapping %zu bytes", b->cl->facts.name, b->bytes);
    if (!st) *ptr = p;
    return st;
}

ldm_status ldm_buffer_unmap(ldm_buffer *b, void *ptr) {
    return ldm_cl_check(clEnqueueUnmapMemObject(b->cl->queue, b->mem, ptr, 0, NULL, NULL), "device %s: unmapping",
                        b->cl->facts.name);
}
