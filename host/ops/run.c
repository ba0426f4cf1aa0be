/* run.c -- one op on one device with its own buffers: what tests, bench, tuner and `ldm op` run. */
#include "ops/op.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CANARY = 4096 }; /* bytes on each side of the output */
/* NaNs as f32 and as two halves. Two, taken in turn: what one run leaves unwritten differs after the next, also where
 * elements are integers and no value is forbidden. */
static const uint32_t poisons[2] = {0x7fdf7fdf, 0x7f957f95};

struct ldm_oprun {
    ldm_cl *cl;
    ldm_problem p;
    ldm_choice choice;
    ldm_slot slot[LDM_MAX_SLOTS];
    int slots;
    ldm_buffer *buf[LDM_MAX_SLOTS], *fence, *scratch;
    size_t out_bytes, out_padded;
    ldm_step *step;
    int results; /* made so far */
    bool leave_scratch;
};

/* How slot i lies on the device. */
static ldm_packing packing_of(const ldm_oprun *r, int i) {
    const ldm_slot *s = &r->slot[i];
    ldm_packing k = {.dtype = s->dtype, .bytes = ldm_dtype_bytes(s->dtype, ldm_shape_count(&s->shape))};
    if (!s->param || !r->choice.impl->pack || !r->choice.impl->pack(&r->p, r->choice.params, i, &k)) k.fn = NULL;
    return k;
}

static ldm_status upload(ldm_oprun *r, int i, const float *data) {
    ldm_status st = LDM_OK;
    void *bytes = NULL;
    size_t count = (size_t)ldm_shape_count(&r->slot[i].shape);
    ldm_packing k = packing_of(r, i);
    TRY(ldm_alloc(k.bytes, &bytes));
    if (k.fn) k.fn(&k, data, bytes);
    else ldm_from_f32(k.dtype, data, count, bytes);
    TRY(ldm_buffer_create(r->cl, k.bytes, &r->buf[i]));
    TRY(ldm_buffer_write(r->buf[i], 0, bytes, k.bytes));
done:
    free(bytes);
    return st;
}

ldm_status ldm_oprun_create(ldm_cl *cl, const ldm_problem *p, const ldm_choice *c, const float *const *in,
                            ldm_oprun **out) {
    ldm_status st = LDM_OK;
    ldm_oprun *r = NULL;
    ldm_recipe *recipe = NULL;
    const ldm_device *d = ldm_cl_device(cl);
    TRY(ldm_alloc(sizeof *r, (void **)&r));
    TRY(ldm_alloc(sizeof *recipe, (void **)&recipe));
    r->cl = cl, r->p = *p, r->choice = *c, r->slots = ldm_op_slots(p->op);
    TRY(p->op->infer(p, r->slot));
    ldm_slot *y = &r->slot[r->slots - 1];
    r->out_bytes = (size_t)ldm_shape_count(&y->shape) * ldm_dtype_size(y->dtype);
    r->out_padded = (r->out_bytes + 3) & ~(size_t)3;
    size_t before = (size_t)ldm_round_up(CANARY, (int64_t)d->base_align);
    size_t scratch = c->impl->scratch ? c->impl->scratch(p, c->params, d) : 0, need = before + r->out_padded + CANARY + scratch;
    for (int i = 0; i < r->slots - 1; i++)
        if (r->slot[i].present) need += packing_of(r, i).bytes;
    if (need + ldm_cl_bytes(cl) > d->global_bytes)
        TRY(ldm_fail(LDM_ERR_NOMEM, "device %s: the op needs %.1f MiB, available are %.1f MiB", d->name, (double)need / 0x1p20,
                     (double)(d->global_bytes - (ldm_cl_bytes(cl) < d->global_bytes ? ldm_cl_bytes(cl) : d->global_bytes)) / 0x1p20));
    for (int i = 0; i < r->slots - 1; i++)
        if (r->slot[i].present) TRY(upload(r, i, in[i]));
    TRY(ldm_buffer_create(cl, before + r->out_padded + CANARY, &r->fence));
    TRY(ldm_buffer_window(r->fence, before, r->out_padded, &r->buf[r->slots - 1]));
    if (scratch) TRY(ldm_buffer_create(cl, scratch, &r->scratch));
    TRY(c->impl->record(p, c->params, d, recipe));
    TRY(ldm_step_create(cl, recipe, r->buf, r->slots, r->scratch, &r->step));
    *out = r;
    r = NULL;
done:
    ldm_oprun_destroy(r);
    free(recipe);
    return st;
}

ldm_status ldm_oprun_enqueue(ldm_oprun *r) { return ldm_step_enqueue(r->step); }
void ldm_oprun_leave_scratch(ldm_oprun *r) { r->leave_scratch = true; }
double ldm_oprun_seconds(ldm_oprun *r) { return ldm_step_seconds(r->step); }

ldm_status ldm_oprun_result(ldm_oprun *r, float *y) {
    ldm_status st = LDM_OK;
    size_t bytes = ldm_buffer_bytes(r->fence), before = bytes - CANARY - r->out_padded;
    unsigned char *all = NULL;
    const ldm_slot *out = &r->slot[r->slots - 1];
    size_t count = (size_t)ldm_shape_count(&out->shape);
    TRY(ldm_alloc(bytes, (void **)&all));
    const uint32_t poison = poisons[r->results++ % 2];
    TRY(ldm_buffer_fill(r->fence, 0, bytes, poison));
    if (r->scratch && !r->leave_scratch)
        TRY(ldm_buffer_fill(r->scratch, 0, ldm_buffer_bytes(r->scratch) & ~(size_t)3, poison));
    TRY(ldm_oprun_enqueue(r));
    TRY(ldm_buffer_read(r->fence, 0, all, bytes));
    for (size_t i = 0; i < bytes; i++) {
        bool inside = i >= before && i < before + r->out_bytes;
        if (!inside && all[i] != ((const unsigned char *)&poison)[i & 3])
            TRY(ldm_fail(LDM_ERR_MISMATCH, "byte %lld %s the output of %zu bytes was overwritten",
                         i < before ? (long long)(before - i) : (long long)(i - before - r->out_bytes),
                         i < before ? "before" : "behind", r->out_bytes));
    }
    size_t size = ldm_dtype_size(out->dtype);
    for (size_t i = 0; i < count && size > 1; i++)
        if (!memcmp(all + before + i * size, &poison, size))
            TRY(ldm_fail(LDM_ERR_MISMATCH, "output element %zu of %zu was never written", i, count));
    ldm_to_f32(out->dtype, all + before, count, y);
done:
    free(all);
    return st;
}

ldm_status ldm_oprun_judge(ldm_oprun *r, const float *const *in, const ldm_sample *which, float *y, ldm_verdict *v) {
    ldm_status st = LDM_OK;
    size_t outputs = (size_t)ldm_shape_count(&r->slot[r->slots - 1].shape),
           judged = which ? (size_t)which->count : outputs;
    float *own = NULL;
    double *want = NULL, *bound = NULL;
    if (!y) TRY(ldm_alloc(outputs * sizeof *own, (void **)&own));
    if (!y) y = own;
    TRY(ldm_alloc(judged * sizeof *want, (void **)&want));
    TRY(ldm_alloc(judged * sizeof *bound, (void **)&bound));
    TRY(ldm_oprun_result(r, y));
    ldm_reference(&r->p, &r->choice, in, which, want, bound);
    ldm_judge_inputs(&r->p, in, which, y, want, bound, v);
done:
    free(own);
    free(want);
    free(bound);
    return st;
}

void ldm_oprun_destroy(ldm_oprun *r) {
    if (!r) return;
    ldm_step_destroy(r->step);
    for (int i = 0; i < LDM_MAX_SLOTS; i++) ldm_buffer_destroy(r->buf[i]);
    ldm_buffer_destroy(r->fence);
    ldm_buffer_destroy(r->scratch);
    free(r);
}
