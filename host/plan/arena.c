/* arena.c -- finishing a plan: when each activation lives, and where it lies in the arena. */
#include "plan/plan.h"
#include <stdlib.h>
#include <string.h>

static size_t bytes_of(const ldm_tensor_info *t) {
    return (size_t)ldm_shape_count(&t->shape) * ldm_dtype_size(t->dtype);
}

static ldm_tensor root(const ldm_plan *p, ldm_tensor t) {
    while (p->tensor[t].kind == LDM_VIEW) t = p->tensor[t].parent;
    return t;
}

/* An activation used outside the segment that made it, and everything kept, lives throughout. */
static ldm_status lifetimes(ldm_plan *p) {
    for (int i = 0; i < p->steps; i++) {
        ldm_step_info *s = &p->step[i];
        int n = ldm_op_slots(s->problem.op);
        for (int j = 0; j < n; j++) {
            if (s->slot[j] == LDM_NONE) continue;
            ldm_tensor_info *t = &p->tensor[root(p, s->slot[j])];
            if (t->kind == LDM_PARAM) continue;
            if (j == n - 1 && t->first < 0) t->first = i;
            if (j < n - 1 && t->first < 0 && t->kind == LDM_ACTIVATION)
                return ldm_fail(LDM_ERR_ARG, "step %d (%s) reads a tensor that nothing has written", i, s->scope);
            if (t->first >= 0 && p->step[t->first].segment != s->segment) t->keep = true;
            t->last = i;
        }
    }
    for (int i = 0; i < p->tensors; i++) {
        ldm_tensor_info *t = &p->tensor[i];
        if (t->keep && t->kind != LDM_VIEW) {
            p->tensor[root(p, i)].keep = true;
            t->first = 0, t->last = p->steps;
        }
    }
    return LDM_OK;
}

static const ldm_plan *sorting;

static int larger_first(const void *a, const void *b) {
    size_t x = bytes_of(&sorting->tensor[*(const int *)a]), y = bytes_of(&sorting->tensor[*(const int *)b]);
    if (x != y) return x < y ? 1 : -1;
    return *(const int *)a - *(const int *)b;
}

static int by_offset(const void *a, const void *b) {
    size_t x = sorting->tensor[*(const int *)a].offset, y = sorting->tensor[*(const int *)b].offset;
    return x < y ? -1 : x > y;
}

ldm_status ldm_plan_finish(ldm_plan *p, size_t max_chunk, size_t align) {
    if (p->status) return p->status;
    ldm_status st = LDM_OK;
    int *order = NULL, *placed = NULL, *live = NULL, count = 0, done_count = 0;
    size_t n = (size_t)p->tensors + 1;
    TRY(ldm_alloc(n * sizeof *order, (void **)&order));
    TRY(ldm_alloc(n * sizeof *placed, (void **)&placed));
    TRY(ldm_alloc(n * sizeof *live, (void **)&live));
    TRY(lifetimes(p));
    for (int i = 0; i < p->tensors; i++) {
        ldm_tensor_kind kind = p->tensor[i].kind;
        if (kind == LDM_INPUT || (kind == LDM_ACTIVATION && p->tensor[i].first >= 0 && !p->tensor[i].spilled)) order[count++] = i;
    }
    sorting = p;
    qsort(order, (size_t)count, sizeof *order, larger_first);
    free(p->chunk_bytes);
    p->chunks = 0;
    TRY(ldm_alloc(((size_t)count + 1) * sizeof *p->chunk_bytes, (void **)&p->chunk_bytes));
    for (int i = 0; i < count; i++) {
        ldm_tensor_info *t = &p->tensor[order[i]];
        size_t size = (size_t)ldm_round_up((int64_t)bytes_of(t), (int64_t)align);
        if (size > max_chunk) {
            char shape[128];
            TRY(ldm_fail(LDM_ERR_NOMEM, "%s: a tensor %s of %.1f MiB, the device allows buffers of %.1f MiB",
                         t->first >= 0 ? p->step[t->first].scope : t->name,
                         ldm_shape_text(&t->shape, shape, sizeof shape), (double)size / 0x1p20,
                         (double)max_chunk / 0x1p20));
        }
        for (int c = 0;; c++) {
            int lives = 0;
            for (int j = 0; j < done_count; j++) {
                const ldm_tensor_info *o = &p->tensor[placed[j]];
                if (o->chunk == c && o->first <= t->last && t->first <= o->last) live[lives++] = placed[j];
            }
            qsort(live, (size_t)lives, sizeof *live, by_offset);
            size_t at = 0;
            for (int j = 0; j < lives; j++) { /* the first gap that is large enough */
                const ldm_tensor_info *o = &p->tensor[live[j]];
                if (o->offset >= at + size) break;
                size_t end = (size_t)ldm_round_up((int64_t)(o->offset + bytes_of(o)), (int64_t)align);
                if (end > at) at = end;
            }
            if (at + size > max_chunk) continue;
            t->chunk = c, t->offset = at;
            if (c >= p->chunks) p->chunks = c + 1;
            if (at + size > p->chunk_bytes[c]) p->chunk_bytes[c] = at + size;
            break;
        }
        placed[done_count++] = order[i];
    }
done:
    free(order);
    free(placed);
    free(live);
    return st;
}
