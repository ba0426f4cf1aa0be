/* step.c -- recipes made ready: kernel objects with every argument set, enqueued in order. */
#include "cl/cl_internal.h"
#include "cl/library.h"
#include <stdlib.h>
#include <string.h>

typedef struct ready {
    cl_kernel kernel; /* NULL: the library call of `launch` */
    ldm_launch launch;
    cl_event event;           /* profiling only */
    cl_mem mem[LDM_MAX_ARGS]; /* of buffer arguments */
    size_t at[LDM_MAX_ARGS];  /* the byte of it that each begins at */
} ready;

struct ldm_step {
    ldm_cl *cl;
    int count;
    ready *item;
};

static ldm_status set_args(ready *r, ldm_buffer *const *slot, int slots, ldm_buffer *scratch) {
    const ldm_launch *l = &r->launch;
    for (int i = 0; i < l->nargs; i++) {
        const ldm_arg *a = &l->arg[i];
        cl_int e = CL_SUCCESS;
        cl_int whole = (cl_int)a->i;
        cl_float real = (cl_float)a->f;
        if (a->kind == LDM_ARG_SLOT) {
            ldm_buffer *b = a->i == LDM_SLOT_SCRATCH ? scratch : a->i < slots ? slot[a->i] : NULL;
            if (b && a->offset && a->offset >= b->bytes)
                return ldm_fail(LDM_ERR_ARG, "%s: scratch cut at %zu of %zu bytes", l->kernel, a->offset, b->bytes);
            r->mem[i] = b ? b->mem : NULL;
            r->at[i] = b ? b->at + a->offset : 0;
        }
        if (!r->kernel) continue;
        switch (a->kind) {
        case LDM_ARG_SLOT:
            e = clSetKernelArg(r->kernel, (cl_uint)i, sizeof(cl_mem), &r->mem[i]);
            break;
        case LDM_ARG_INT:
            e = clSetKernelArg(r->kernel, (cl_uint)i, sizeof whole, &whole);
            break;
        case LDM_ARG_FLOAT:
            e = clSetKernelArg(r->kernel, (cl_uint)i, sizeof real, &real);
            break;
        case LDM_ARG_LOCAL:
            e = clSetKernelArg(r->kernel, (cl_uint)i, (size_t)a->i, NULL);
            break;
        }
        ldm_status st = ldm_cl_check(e, "%s: argument %d", l->kernel, i);
        if (st) return st;
    }
    for (int i = 0, next = l->nargs; r->kernel && i < l->nargs; i++) {
        const cl_ulong at = r->at[i];
        if (l->arg[i].kind != LDM_ARG_SLOT) continue;
        ldm_status st = ldm_cl_check(clSetKernelArg(r->kernel, (cl_uint)next++, sizeof at, &at), "%s: where argument %d begins", l->kernel, i);
        if (st) return st;
    }
    return LDM_OK;
}

static ldm_status make_kernel(ldm_cl *cl, ready *r) {
    const ldm_launch *l = &r->launch;
    cl_program p;
    cl_int e;
    size_t group = 1;
    ldm_status st = ldm_cl_program(cl, l->file, l->options, &p);
    if (st) return st;
    r->kernel = clCreateKernel(p, l->kernel, &e);
    if ((st = ldm_cl_check(e, "%s: kernel %s", l->file, l->kernel))) return st;
    for (int d = 0; d < l->dims && l->local[0]; d++) group *= l->local[d];
    if (group > cl->facts.max_group)
        return ldm_fail(LDM_ERR_UNSUPPORTED, "%s: work-group of %zu, device %s allows %zu", l->kernel, group,
                        cl->facts.name, cl->facts.max_group);
    return LDM_OK;
}

ldm_status ldm_step_create(ldm_cl *cl, const ldm_recipe *r, ldm_buffer *const *slot, int slots, ldm_buffer *scratch,
                           ldm_step **out) {
    ldm_status st = LDM_OK;
    ldm_step *s = NULL;
    if (r->status) return r->status;
    TRY(ldm_alloc(sizeof *s, (void **)&s));
    s->cl = cl;
    TRY(ldm_alloc((size_t)r->count * sizeof *s->item, (void **)&s->item));
    for (int i = 0; i < r->count; i++) {
        ready *it = &s->item[s->count++];
        it->launch = r->launch[i];
        if (!ldm_library_knows(it->launch.kernel)) TRY(make_kernel(cl, it));
        TRY(set_args(it, slot, slots, scratch));
    }
    *out = s;
    s = NULL;
done:
    ldm_step_destroy(s);
    return st;
}

ldm_status ldm_step_enqueue(ldm_step *s) {
    for (int i = 0; i < s->count; i++) {
        ready *it = &s->item[i];
        if (it->event) clReleaseEvent(it->event), it->event = NULL;
        cl_event *event = s->cl->profile ? &it->event : NULL;
        if (!it->kernel) {
            ldm_status st = ldm_library_enqueue(s->cl, &it->launch, it->mem, it->at, event);
            if (st) return st;
            continue;
        }
        cl_int e = clEnqueueNDRangeKernel(s->cl->queue, it->kernel, (cl_uint)it->launch.dims, NULL, it->launch.global,
                                          it->launch.local[0] ? it->launch.local : NULL, 0, NULL, event);
        if (e != CL_SUCCESS) return ldm_cl_check(e, "%s: launch", it->launch.kernel);
    }
    return LDM_OK;
}

double ldm_step_seconds(ldm_step *s) {
    double sum = 0;
    for (int i = 0; i < s->count; i++) {
        cl_ulong t0 = 0, t1 = 0;
        if (!s->item[i].event ||
            clGetEventProfilingInfo(s->item[i].event, CL_PROFILING_COMMAND_START, sizeof t0, &t0, NULL) != CL_SUCCESS ||
            clGetEventProfilingInfo(s->item[i].event, CL_PROFILING_COMMAND_END, sizeof t1, &t1, NULL) != CL_SUCCESS)
            return -1;
        sum += 1e-9 * (double)(t1 - t0);
    }
    return sum;
}

bool ldm_step_span(const ldm_step *s, double *start, double *end) {
    cl_ulong t0 = 0, t1 = 0;
    if (!s->count || !s->item[0].event || !s->item[s->count - 1].event ||
        clGetEventProfilingInfo(s->item[0].event, CL_PROFILING_COMMAND_START, sizeof t0, &t0, NULL) != CL_SUCCESS ||
        clGetEventProfilingInfo(s->item[s->count - 1].event, CL_PROFILING_COMMAND_END, sizeof t1, &t1, NULL) != CL_SUCCESS)
        return false;
    *start = 1e-9 * (double)t0, *end = 1e-9 * (double)t1;
    return true;
}

void ldm_step_destroy(ldm_step *s) {
    if (!s) return;
    for (int i = 0; i < s->count; i++) {
        if (s->item[i].event) clReleaseEvent(s->item[i].event);
        if (s->item[i].kernel) clReleaseKernel(s->item[i].kernel);
    }
    free(s->item);
    free(s);
}
