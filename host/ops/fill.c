/* fill.c -- test data: what a slot is filled with, which outputs of a large problem are judged, and the verdict. */
#include "ops/op.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void ldm_fill_slot(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed) {
    if (p->op->fill && p->op->fill(p, slot, how, data, count, seed)) return;
    for (int64_t i = 0; i < count; i++) {
        float u = ldm_uniform(seed, (uint64_t)slot, (uint64_t)i);
        switch (how) {
        case LDM_FILL_ZEROMEAN:
            data[i] = u;
            break;
        case LDM_FILL_POSITIVE:
            data[i] = (u + 1) / 2;
            break;
        case LDM_FILL_OFFSET:
            data[i] = slot == 0 ? 30 + u : u;
            break;
        case LDM_FILL_SPIKY:
            data[i] = ldm_hash(seed, (uint64_t)slot + 77, (uint64_t)i) % 61 == 0 && slot == 0 ? 1e4f * u : u;
            break;
        default:
            data[i] = rintf(u * 3.49f);
            break; /* -3..3: K up to 2^24/9 stays exact */
        }
    }
}

/* Elements between neighbours along the second axis. */
static int64_t inner(const ldm_shape *s) {
    return s->rank > 1 ? ldm_shape_count(s) / s->dim[0] / s->dim[1] : 1;
}

ldm_status ldm_make_inputs(const ldm_problem *p, ldm_fill how, uint64_t seed, float **in) {
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    ldm_status st = p->op->infer(p, slot);
    if (st) return st;
    int n = ldm_op_slots(p->op) - 1;
    for (int i = 0; i < n; i++) in[i] = NULL;
    for (int i = 0; i < n; i++) {
        if (!slot[i].present) continue;
        int64_t count = ldm_shape_count(&slot[i].shape);
        if ((st = ldm_alloc((size_t)count * sizeof(float), (void **)&in[i]))) {
            for (int j = 0; j < i; j++) free(in[j]), in[j] = NULL;
            return st;
        }
        ldm_fill_slot(p, i, how, in[i], count, seed);
        /* blocks whose largest is 127 have the scale 1 and keep whole numbers as they are */
        if (how == LDM_FILL_INTEGER && slot[i].dtype == LDM_Q8_0)
            for (int64_t j = 0; j < count; j++)
                if (j / inner(&slot[i].shape) % LDM_Q8_BLOCK == 5) in[i][j] = in[i][j] < 0 ? -127 : 127;
        ldm_round_tensor(slot[i].dtype, &slot[i].shape, in[i]);
    }
    return LDM_OK;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

ldm_status ldm_make_sample(const ldm_problem *p, int64_t count, uint64_t seed, int64_t **index, int64_t *n) {
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    ldm_status st = p->op->infer(p, slot);
    if (st) return st;
    const ldm_shape *y = &slot[ldm_op_slots(p->op) - 1].shape;
    int64_t total = ldm_shape_count(y), made = 0, *list = NULL;
    /* per axis the first, the last, and the last full multiple of 8, 16, 32, 64 and its neighbours: edges and tile
     * tails */
    enum { PER_AXIS = 11 };
    int64_t edge[LDM_MAX_RANK][PER_AXIS], corners = 1;
    int edges[LDM_MAX_RANK];
    for (int a = 0; a < y->rank; a++) {
        edges[a] = 0;
        int64_t want[PER_AXIS] = {0,
                                  y->dim[a] - 1,
                                  y->dim[a] / 8 * 8,
                                  y->dim[a] / 8 * 8 - 1,
                                  y->dim[a] / 16 * 16,
                                  y->dim[a] / 16 * 16 - 1,
                                  y->dim[a] / 32 * 32,
                                  y->dim[a] / 32 * 32 - 1,
                                  y->dim[a] / 64 * 64,
                                  y->dim[a] / 64 * 64 - 1,
                                  1};
        for (int i = 0; i < PER_AXIS; i++) {
            bool seen = want[i] < 0 || want[i] >= y->dim[a];
            for (int j = 0; j < edges[a]; j++) seen |= edge[a][j] == want[i];
            if (!seen) edge[a][edges[a]++] = want[i];
        }
        corners *= edges[a];
    }
    int64_t cap = count + corners;
    if ((st = ldm_alloc((size_t)cap * sizeof *list, (void **)&list))) return st;
    for (int64_t i = 0; i < count; i++) list[made++] = (int64_t)(ldm_hash(seed, 4242, (uint64_t)i) % (uint64_t)total);
    for (int64_t c = 0; c < corners; c++) {
        int64_t rest = c, flat = 0;
        for (int a = 0; a < y->rank; a++) {
            flat = flat * y->dim[a] + edge[a][rest % edges[a]];
            rest /= edges[a];
        }
        list[made++] = flat;
    }
    qsort(list, (size_t)made, sizeof *list, by_value);
    int64_t kept = 0;
    for (int64_t i = 0; i < made; i++)
        if (kept == 0 || list[kept - 1] != list[i]) list[kept++] = list[i];
    *index = list, *n = kept;
    return LDM_OK;
}

void ldm_judge(const ldm_problem *p, const ldm_sample *which, const float *y, const double *want, const double *bound,
               ldm_verdict *v) {
    ldm_slot slot[LDM_MAX_SLOTS];
    memset(slot, 0, sizeof slot);
    *v = (ldm_verdict){.pass = true, .worst_at = -1};
    if (p->op->infer(p, slot)) return;
    const ldm_slot *out = &slot[ldm_op_slots(p->op) - 1];
    int64_t n = which ? which->count : ldm_shape_count(&out->shape);
    double u = ldm_dtype_unit(out->dtype), bias = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = which ? which->index[i] : i;
        double got = y[at], err = got - want[i], limit = bound[i];
        double ratio = err == 0 ? 0 : limit > 0 ? fabs(err) / limit : INFINITY;
        if (!isfinite(got) && !(isinf(got) && got == want[i])) ratio = INFINITY;
        /* 65520 is the first number that rounds to an infinite half: where the bound reaches it, infinity is right */
        if (out->dtype == LDM_F16 && isinf(got) && fabs(want[i]) + limit >= 65520 && (got > 0) == (want[i] > 0))
            ratio = err = 0;
        if (ratio > v->worst || v->worst_at < 0)
            v->worst = ratio, v->worst_at = at, v->got = got, v->want = want[i], v->bound = limit;
        if (!(ratio <= 1)) v->pass = false;
        double scale = fmax(u * fabs(got), fabs(err));
        if (scale > 0) bias += copysign(1, got) * err / scale;
        v->zeros += got == 0;
    }
    v->judged = n;
    v->bias = n ? bias / (double)n : 0;
}

void ldm_reference(const ldm_problem *p, const ldm_choice *c, const float *const *in, const ldm_sample *which,
                   double *y, double *bound) {
    if (c && c->impl->reference) c->impl->reference(p, c->params, in, which, y, bound);
    else p->op->reference(p, in, which, y, bound);
}

void ldm_judge_inputs(const ldm_problem *p, const float *const *in, const ldm_sample *which, const float *y,
                      const double *want, const double *bound, ldm_verdict *v) {
    if (p->op->judge) p->op->judge(p, in, which, y, want, bound, v);
    else ldm_judge(p, which, y, want, bound, v);
}
