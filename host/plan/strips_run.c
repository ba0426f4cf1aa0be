/* strips_run.c -- a step in strips on the device: rows of its maps go to the pool, the strip is made, rows of the result go
 * back to where the map lies. */
#include "plan/exec_internal.h"
#include "plan/strips.h"
#include <stdlib.h>
#include <string.h>

struct ldm_strip_job {
    ldm_cl *cl;
    const ldm_plan *plan;
    int step, slots;
    bool phased;
    const ldm_strips *strips;
    ldm_buffer *resident[LDM_MAX_SLOTS]; /* maps that lie on the device; borrowed */
    ldm_buffer *window[LDM_MAX_SLOTS];   /* maps: a strip's rows in the pool */
    ldm_step **gather, **make, *merge;   /* by strip; equal strips share one in `make` */
    char **host;
    double seconds;
};

static bool same_strip(const ldm_strip *a, const ldm_strip *b) { return ldm_problem_same(&a->problem, &b->problem); }

/* The launches of one strip, or of one phase of it. */
static ldm_status record(ldm_strip_job *j, const ldm_choice *c, const ldm_strip *s, ldm_phase phase, ldm_recipe *r,
                         ldm_buffer *const *slot, ldm_buffer *scratch, ldm_step **out) {
    const ldm_problem *whole = &j->plan->step[j->step].problem;
    const ldm_device *d = ldm_cl_device(j->cl);
    ldm_status st;
    *r = (ldm_recipe){0};
    if (j->phased) {
        st = c->impl->record_phase(whole, c->params, d, phase, s->keep, s->kept, r);
    } else {
        st = c->impl->record(&s->problem, c->params, d, r);
    }
    return st ? st : ldm_step_create(j->cl, r, slot, j->slots, scratch, out);
}

ldm_status ldm_strip_job_create(ldm_cl *cl, const ldm_plan *p, int step, const ldm_choice *c, const ldm_strips *s,
                                ldm_buffer *const *slot, ldm_buffer *pool, ldm_buffer *scratch, char **host,
                                ldm_strip_job **out) {
    ldm_status st = LDM_OK;
    ldm_strip_job *j = NULL;
    ldm_recipe *r = NULL;
    ldm_buffer *bound[LDM_MAX_SLOTS];
    TRY(ldm_alloc(sizeof *j, (void **)&j));
    TRY(ldm_alloc(sizeof *r, (void **)&r));
    *j = (ldm_strip_job){.cl = cl, .plan = p, .step = step, .slots = ldm_op_slots(p->step[step].problem.op),
                         .phased = c->impl->record_phase != NULL, .strips = s, .host = host, .seconds = -1};
    TRY(ldm_alloc((size_t)s->count * sizeof *j->make, (void **)&j->make));
    TRY(ldm_alloc((size_t)s->count * sizeof *j->gather, (void **)&j->gather));
    for (int i = 0; i < j->slots; i++) {
        bound[i] = slot[i];
        if (!s->row_bytes[i]) continue;
        j->resident[i] = slot[i];
        TRY(ldm_buffer_window(pool, s->offset[i], s->slot_bytes[i], &j->window[i]));
        bound[i] = j->window[i];
    }
    for (int i = 0; i < s->count; i++) {
        if (j->phased) TRY(record(j, c, &s->strip[i], LDM_PHASE_GATHER, r, bound, scratch, &j->gather[i]));
        for (int k = 0; k < i && !j->make[i]; k++)
            if (same_strip(&s->strip[k], &s->strip[i])) j->make[i] = j->make[k];
        if (!j->make[i]) TRY(record(j, c, &s->strip[i], LDM_PHASE_APPLY, r, bound, scratch, &j->make[i]));
    }
    if (j->phased) TRY(record(j, c, &s->strip[0], LDM_PHASE_MERGE, r, bound, scratch, &j->merge));
    *out = j;
    j = NULL;
done:
    ldm_strip_job_destroy(j);
    free(r);
    return st;
}

static ldm_tensor root(const ldm_strip_job *j, int slot) {
    return ldm_view_root(j->plan, j->plan->step[j->step].slot[slot], NULL);
}

static ldm_status load(ldm_strip_job *j, const ldm_strip *s, int slot) {
    const size_t row = j->strips->row_bytes[slot], at = (size_t)s->from[slot] * row, bytes = (size_t)s->rows[slot] * row;
    if (j->resident[slot]) return ldm_buffer_copy(j->resident[slot], at, j->window[slot], 0, bytes);
    return ldm_buffer_write(j->window[slot], 0, j->host[root(j, slot)] + at, bytes);
}

static ldm_status store(ldm_strip_job *j, const ldm_strip *s) {
    const int y = j->slots - 1;
    const size_t row = j->strips->row_bytes[y], at = (size_t)s->keep * row, bytes = (size_t)s->kept * row,
                 skip = (size_t)s->skip * row;
    if (j->resident[y]) return ldm_buffer_copy(j->window[y], skip, j->resident[y], at, bytes);
    return ldm_buffer_read(j->window[y], skip, j->host[root(j, y)] + at, bytes);
}

static ldm_status enqueue(ldm_strip_job *j, ldm_step *step) {
    ldm_status st = ldm_step_enqueue(step);
    if (st || j->seconds < 0) return st;
    st = ldm_cl_finish(j->cl); /* profiling: equal strips share a step, which knows its last run only */
    const double one = ldm_step_seconds(step);
    if (one >= 0) j->seconds += one;
    return st;
}

/* A map with residual rows where the strip has skipped ones reads those as they are: they are there. */
static ldm_status run_strips(ldm_strip_job *j, bool gathering) {
    ldm_status st = LDM_OK;
    for (int i = 0; i < j->strips->count; i++) {
        const ldm_strip *s = &j->strips->strip[i];
        for (int k = 0; k < j->slots - 1; k++)
            if (j->strips->row_bytes[k]) TRY(load(j, s, k));
        TRY(enqueue(j, gathering ? j->gather[i] : j->make[i]));
        if (!gathering) TRY(store(j, s));
        TRY(ldm_check_interrupt());
    }
done:
    return st;
}

ldm_status ldm_strip_job_run(ldm_strip_job *j) {
    ldm_status st = LDM_OK;
    const ldm_tensor y = root(j, j->slots - 1);
    const ldm_tensor_info *t = &j->plan->tensor[y];
    if (t->spilled && !j->host[y]) {
        const size_t bytes = (size_t)ldm_shape_count(&t->shape) * ldm_dtype_size(t->dtype);
        if (!(j->host[y] = malloc(bytes)))
            TRY(ldm_fail(LDM_ERR_NOMEM, "host memory: a map of %.1f MiB could not be allocated", (double)bytes / 0x1p20));
    }
    j->seconds = ldm_cl_profiles(j->cl) ? 0 : -1;
    if (j->phased) {
        TRY(run_strips(j, true));
        TRY(enqueue(j, j->merge));
    }
    TRY(run_strips(j, false));
    for (int i = 0; i < j->slots - 1; i++) { /* the dead give their memory back */
        if (!j->strips->row_bytes[i]) continue;
        const ldm_tensor x = root(j, i);
        if (j->plan->tensor[x].spilled && !j->plan->tensor[x].keep && j->plan->tensor[x].last == j->step)
            free(j->host[x]), j->host[x] = NULL;
    }
done:
    return st;
}

double ldm_strip_job_seconds(const ldm_strip_job *j) { return j->seconds; }

void ldm_strip_job_destroy(ldm_strip_job *j) {
    if (!j) return;
    for (int i = 0; j->make && j->gather && i < j->strips->count; i++) {
        bool shared = false;
        for (int k = 0; k < i; k++) shared |= j->make[k] == j->make[i];
        if (!shared) ldm_step_destroy(j->make[i]);
        ldm_step_destroy(j->gather[i]);
    }
    ldm_step_destroy(j->merge);
    for (int i = 0; i < LDM_MAX_SLOTS; i++) ldm_buffer_destroy(j->window[i]);
    free(j->make);
    free(j->gather);
    free(j);
}
