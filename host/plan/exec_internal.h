/* exec_internal.h -- the two executors behind one interface. */
#ifndef LDM_EXEC_INTERNAL_H
#define LDM_EXEC_INTERNAL_H

#include "plan/plan.h"

struct ldm_exec {
    const ldm_plan *plan;
    ldm_source source;
    void (*destroy)(ldm_exec *e);
    ldm_status (*run_step)(ldm_exec *e, int step);
    ldm_status (*finish)(ldm_exec *e);
    ldm_status (*peek)(ldm_exec *e, ldm_tensor t, float *data);
    ldm_status (*poke)(ldm_exec *e, ldm_tensor t, const float *data);
    const ldm_choice *(*choice)(const ldm_exec *e, int step);
    ldm_memory (*taken)(const ldm_exec *e); /* NULL: nothing */
    double (*step_seconds)(ldm_exec *e, int step);
    bool (*step_span)(ldm_exec *e, int step, double *start, double *end); /* NULL: not known; so the next */
    bool (*transfer_span)(ldm_exec *e, int group, double *start, double *end, size_t *bytes);
};

/* Whether every word of `impl` names an op and a row of it. */
ldm_status ldm_check_forced(const char *impl);

/* What makes step i on a device; `impl` as in ldm_exec_create. */
ldm_status ldm_plan_choose(const ldm_plan *p, int i, const ldm_device *d, const char *impl, ldm_choice *out);

/* The tensor a view looks into, and the byte offset of the view in it. */
ldm_tensor ldm_view_root(const ldm_plan *p, ldm_tensor t, size_t *offset);

#endif
