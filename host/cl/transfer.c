/* transfer.c -- transfers beside the launches: a queue of their own, host memory they read from, and marks by which the two
 * queues wait for each other. */
#include "cl/cl_internal.h"
#include <stdlib.h>

struct ldm_mark {
    cl_event event;
};

struct ldm_pinned {
    ldm_cl *cl;
    cl_mem mem;
    void *data;
};

ldm_status ldm_pinned_create(ldm_cl *cl, size_t bytes, ldm_pinned **out) {
    ldm_pinned *p = NULL;
    cl_int e;
    ldm_status st = ldm_alloc(sizeof *p, (void **)&p);
    if (st) return st;
    p->cl = cl;
    p->mem = clCreateBuffer(cl->context, CL_MEM_READ_ONLY | CL_MEM_ALLOC_HOST_PTR, bytes ? bytes : 4, NULL, &e);
    st = ldm_cl_check(e, "device %s: %.1f MiB of host memory for transfers", cl->facts.name, (double)bytes / 0x1p20);
    if (!st) {
        p->data = clEnqueueMapBuffer(cl->queue, p->mem, CL_TRUE, CL_MAP_WRITE, 0, bytes ? bytes : 4, 0, NULL, NULL, &e);
        st = ldm_cl_check(e, "device %s: mapping %.1f MiB of host memory", cl->facts.name, (double)bytes / 0x1p20);
    }
    if (st) ldm_pinned_destroy(p);
    else *out = p;
    return st;
}

void *ldm_pinned_data(const ldm_pinned *p) { return p->data; }

void ldm_pinned_destroy(ldm_pinned *p) {
    if (!p) return;
    if (p->data) clEnqueueUnmapMemObject(p->cl->queue, p->mem, p->data, 0, NULL, NULL);
    if (p->mem) clReleaseMemObject(p->mem);
    free(p);
}

static ldm_status mark_of(cl_event event, ldm_mark **out) {
    ldm_status st = ldm_alloc(sizeof **out, (void **)out);
    if (st) clReleaseEvent(event);
    else (*out)->event = event;
    return st;
}

ldm_status ldm_upload(ldm_buffer *b, const void *data, size_t bytes, const ldm_mark *after, ldm_mark **done) {
    ldm_cl *cl = b->cl;
    cl_event event;
    cl_int e = CL_SUCCESS;
    if (!cl->transfers)
        cl->transfers = clCreateCommandQueue(cl->context, cl->device, cl->profile ? CL_QUEUE_PROFILING_ENABLE : 0, &e);
    ldm_status st = ldm_cl_check(e, "device %s: a second queue", cl->facts.name);
    if (!st)
        st = ldm_cl_check(clEnqueueWriteBuffer(cl->transfers, b->mem, CL_FALSE, b->at, bytes, data, after ? 1 : 0,
                                               after ? &after->event : NULL, &event),
                          "device %s: sending %zu bytes", cl->facts.name, bytes);
    if (st) return st;
    clFlush(cl->transfers);
    return mark_of(event, done);
}

ldm_status ldm_cl_mark(ldm_cl *cl, ldm_mark **out) {
    cl_event event;
    ldm_status st = ldm_cl_check(clEnqueueMarkerWithWaitList(cl->queue, 0, NULL, &event), "device %s: a marker", cl->facts.name);
    if (st) return st;
    clFlush(cl->queue);
    return mark_of(event, out);
}

ldm_status ldm_cl_await(ldm_cl *cl, const ldm_mark *m) {
    return ldm_cl_check(clEnqueueBarrierWithWaitList(cl->queue, 1, &m->event, NULL), "device %s: waiting for a transfer",
                        cl->facts.name);
}

bool ldm_mark_span(const ldm_mark *m, double *start, double *end) {
    cl_ulong t0, t1;
    if (clGetEventProfilingInfo(m->event, CL_PROFILING_COMMAND_START, sizeof t0, &t0, NULL) != CL_SUCCESS ||
        clGetEventProfilingInfo(m->event, CL_PROFILING_COMMAND_END, sizeof t1, &t1, NULL) != CL_SUCCESS)
        return false;
    *start = 1e-9 * (double)t0, *end = 1e-9 * (double)t1;
    return true;
}

void ldm_mark_wait(const ldm_mark *m) {
    if (m) clWaitForEvents(1, &m->event);
}

void ldm_mark_destroy(ldm_mark *m) {
    if (!m) return;
    clReleaseEvent(m->event);
    free(m);
}
