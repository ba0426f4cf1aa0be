/* exec_cl.c -- a plan on a device: implementations chosen, weights packed once into chunks, activations in the plan's
 * arena, one shared scratch, every step recorded. Running only enqueues. */
#include "plan/exec_internal.h"
#include "plan/stream.h"
#include "plan/strips.h"
#include <stdlib.h>
#include <string.h>

/* A weight in one layout. Steps that want the same bytes share it. */
typedef struct packed {
    ldm_tensor tensor;
    ldm_packing layout;
    int chunk; /* VIEWED: read where the source has it; STREAMED: comes in groups */
    size_t offset;
    ldm_buffer *window;
} packed;

enum { VIEWED = -1, STREAMED = -2 };

/* What a device executor consists of, before anything is allocated. */
typedef struct layout {
    ldm_choice *choice;           /* by step */
    int (*weight)[LDM_MAX_SLOTS]; /* by step and slot: index into packed, -1 */
    packed *packed;
    int count;
    size_t chunk_bytes[64];
    int chunks;
    ldm_strips *strips; /* by step; count 0: made whole */
    int steps;          /* of these */
    ldm_stream stream;
    size_t scratch, weights, activations, viewed, pool, host;
} layout;

typedef struct exec_cl {
    ldm_exec base;
    ldm_cl *cl;
    layout l;
    ldm_buffer *weights[64], **arena, **window, *scratch; /* window by tensor */
    ldm_step **step;
    ldm_buffer *pool;     /* of strips */
    ldm_strip_job **job;  /* by step, of those in strips */
    char **host;          /* by tensor: spilled maps */
    ldm_streamer *streamer;
    ldm_buffer ***item;   /* by group and item: its window */
} exec_cl;

static void layout_free(layout *l) {
    free(l->choice);
    free(l->weight);
    free(l->packed);
    for (int i = 0; i < l->steps; i++) ldm_strips_free(&l->strips[i]);
    free(l->strips);
    ldm_stream_free(&l->stream);
}

static int find_packed(layout *l, ldm_tensor t, const ldm_packing *k) {
    for (int i = 0; i < l->count; i++)
        if (l->packed[i].tensor == t && l->packed[i].layout.dtype == k->dtype &&
            !strcmp(l->packed[i].layout.key, k->key))
            return i;
    l->packed[l->count] = (packed){.tensor = t, .layout = *k};
    return l->count++;
}

/* Where the source has a weight's elements as they are wanted; NULL: nowhere. */
static const float *seen(const ldm_plan *p, const ldm_source *s, ldm_tensor t) {
    return s->view && p->tensor[t].rule == LDM_GIVEN ? s->view(s->self, &p->tensor[t]) : NULL;
}

/* Whether a device reads a weight where the source has it: a CPU does, if the kernel wants the file's own layout. Small ones
 * are copied: all of them together take less than the buffers would. */
static bool is_viewed(const ldm_plan *p, const ldm_device *d, const ldm_source *s, const packed *w) {
    enum { SMALL = 1 << 16 };
    if (d->type != LDM_DEVICE_CPU || !d->unified || w->layout.fn || w->layout.dtype != LDM_F32 || w->layout.bytes < SMALL)
        return false;
    return s ? seen(p, s, w->tensor) != NULL : p->tensor[w->tensor].rule == LDM_GIVEN;
}

/* Most bytes of spilled maps alive at a time. */
static size_t host_bytes(const ldm_plan *p) {
    size_t most = 0;
    for (int i = 0; i < p->steps; i++) {
        size_t now = 0;
        for (int t = 0; t < p->tensors; t++) {
            const ldm_tensor_info *m = &p->tensor[t];
            if (m->spilled && m->first <= i && m->last >= i) now += (size_t)ldm_shape_count(&m->shape) * ldm_dtype_size(m->dtype);
        }
        if (now > most) most = now;
    }
    return most;
}

/* Marks what comes in groups, where all weights together are more than the plan lets them take. */
static ldm_status stream_weights(const ldm_plan *p, const ldm_device *d, layout *l) {
    size_t *bytes = NULL, all = 0;
    bool *stays = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_alloc((size_t)(l->count + 1) * sizeof *bytes, (void **)&bytes));
    TRY(ldm_alloc((size_t)(l->count + 1) * sizeof *stays, (void **)&stays));
    for (int i = 0; i < l->count; i++) {
        if (l->packed[i].chunk == VIEWED) continue;
        all += bytes[i] = (size_t)ldm_round_up((int64_t)l->packed[i].layout.bytes, (int64_t)d->base_align);
    }
    if (!p->weight_bytes || all <= p->weight_bytes) goto done;
    TRY(ldm_stream_cut(p, d, l->weight, bytes, l->count, p->weight_bytes, stays, &l->stream));
    for (int i = 0; i < l->count; i++)
        if (bytes[i] && !stays[i]) l->packed[i].chunk = STREAMED;
done:
    free(bytes);
    free(stays);
    return st;
}

static ldm_status lay_out(const ldm_plan *p, const ldm_device *d, const ldm_source *source, const char *impl, layout *l) {
    ldm_status st = LDM_OK;
    memset(l, 0, sizeof *l);
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *l->choice, (void **)&l->choice));
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *l->strips, (void **)&l->strips));
    l->steps = p->steps;
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *l->weight, (void **)&l->weight));
    TRY(ldm_alloc((size_t)(p->steps + 1) * LDM_MAX_SLOTS / 2 * sizeof *l->packed, (void **)&l->packed));
    for (int i = 0; i < p->steps; i++) {
        const ldm_step_info *s = &p->step[i];
        const ldm_op *op = s->problem.op;
        ldm_slot slot[LDM_MAX_SLOTS];
        memset(slot, 0, sizeof slot);
        TRY(ldm_plan_choose(p, i, d, impl, &l->choice[i]));
        const ldm_impl *chosen = l->choice[i].impl;
        const bool striped = ldm_step_spilled(p, i);
        if (striped) {
            TRY(ldm_strips_make(p, i, &l->choice[i], d, &l->strips[i]));
            if (l->strips[i].pool > l->pool) l->pool = l->strips[i].pool;
        }
        size_t scratch = striped ? l->strips[i].scratch : chosen->scratch ? chosen->scratch(&s->problem, l->choice[i].params, d) : 0;
        if (scratch > d->max_alloc)
            TRY(ldm_fail(LDM_ERR_NOMEM, "step %d (%s): scratch of %.1f MiB, the device allows buffers of %.1f MiB", i,
                         s->scope, (double)scratch / 0x1p20, (double)d->max_alloc / 0x1p20));
        if (scratch > l->scratch) l->scratch = scratch;
        TRY(op->infer(&s->problem, slot));
        for (int j = 0; j < LDM_MAX_SLOTS; j++) l->weight[i][j] = -1;
        for (int j = 0; j < ldm_op_slots(op) - 1; j++) {
            if (s->slot[j] == LDM_NONE || p->tensor[s->slot[j]].kind != LDM_PARAM) continue;
            ldm_packing k = {.dtype = slot[j].dtype,
                             .bytes = ldm_dtype_bytes(slot[j].dtype, ldm_shape_count(&slot[j].shape))};
            if (chosen->pack) chosen->pack(&s->problem, l->choice[i].params, j, &k);
            l->weight[i][j] = find_packed(l, s->slot[j], &k);
        }
    }
    for (int i = 0; i < l->count; i++)
        if (is_viewed(p, d, source, &l->packed[i])) l->packed[i].chunk = VIEWED, l->viewed += l->packed[i].layout.bytes;
    TRY(stream_weights(p, d, l));
    for (int i = 0; i < l->count; i++) {
        packed *w = &l->packed[i];
        if (w->chunk < 0) continue;
        size_t size = (size_t)ldm_round_up((int64_t)w->layout.bytes, (int64_t)d->base_align);
        if (size > d->max_alloc)
            TRY(ldm_fail(LDM_ERR_NOMEM, "%s: packed to %.1f MiB, the device allows buffers of %.1f MiB",
                         p->tensor[w->tensor].name, (double)size / 0x1p20, (double)d->max_alloc / 0x1p20));
        if (l->chunks == 0 || l->chunk_bytes[l->chunks - 1] + size > d->max_alloc) {
            if (l->chunks == 64)
                TRY(ldm_fail(LDM_ERR_NOMEM, "weights need more than 64 buffers of %.1f MiB",
                             (double)d->max_alloc / 0x1p20));
            l->chunk_bytes[l->chunks++] = 0;
        }
        w->chunk = l->chunks - 1, w->offset = l->chunk_bytes[w->chunk];
        l->chunk_bytes[w->chunk] += size;
    }
    for (int i = 0; i < l->chunks; i++) l->weights += l->chunk_bytes[i];
    if (l->stream.groups) l->weights += 2 * l->stream.slot_bytes;
    for (int i = 0; i < p->chunks; i++) l->activations += p->chunk_bytes[i];
    l->activations += l->pool;
    l->host = host_bytes(p);
done:
    if (st) layout_free(l), memset(l, 0, sizeof *l);
    return st;
}

static ldm_memory memory_of(const layout *l) {
    ldm_memory m = {.weights = l->weights, .activations = l->activations, .scratch = l->scratch, .viewed = l->viewed, .host = l->host};
    for (int i = 0; i < l->steps; i++) m.striped += l->strips[i].count > 0;
    for (int g = 0; g < l->stream.groups; g++) m.streamed += l->stream.group[g].bytes;
    m.groups = l->stream.groups;
    return m;
}

static ldm_memory taken(const ldm_exec *base) { return memory_of(&((const exec_cl *)base)->l); }

ldm_status ldm_exec_memory(const ldm_plan *p, const ldm_device *d, const ldm_source *w, ldm_memory *out) {
    layout l;
    ldm_status st = lay_out(p, d, w, NULL, &l);
    if (st) return st;
    *out = memory_of(&l);
    layout_free(&l);
    return LDM_OK;
}

/* One weight packed to dst, from where the source has it or else through *data, made when first needed: `most`
 * elements, and not kept when a large one has gone through. */
static ldm_status pack_weight(exec_cl *e, const packed *w, int64_t most, float **data, void *dst) {
    enum { LARGE = 4 << 20 }; /* floats */
    const ldm_source *s = &e->base.source;
    const ldm_tensor_info *t = &e->base.plan->tensor[w->tensor];
    const bool other = w->layout.dtype != t->dtype; /* Winograd's: made of what the weights are kept as */
    const float *src = other ? NULL : seen(e->base.plan, s, w->tensor);
    ldm_status st = src ? s->check(s->self, t, src) : LDM_OK;
    if (!st && !src && !*data && !(*data = malloc((size_t)most * sizeof **data)))
        st = ldm_fail(LDM_ERR_NOMEM, "host memory: %lld floats could not be allocated", (long long)most);
    if (!st && !src) st = ldm_plan_load(e->base.plan, s, w->tensor, *data);
    if (st) return st;
    if (other) ldm_round_tensor(t->dtype, &t->shape, *data);
    if (!src) src = *data;
    if (w->layout.fn) w->layout.fn(&w->layout, src, dst);
    else ldm_from_f32(w->layout.dtype, src, (size_t)ldm_shape_count(&t->shape), dst);
    if (src == *data && ldm_shape_count(&t->shape) > LARGE) free(*data), *data = NULL;
    return LDM_OK;
}

/* A weight to the device: judged only where it is viewed, else packed straight into memory that is shared (`base`: of each
 * chunk), else packed here and sent. */
static ldm_status place_weight(exec_cl *e, const packed *w, int64_t most, char *const *base, float **data) {
    if (w->chunk == STREAMED) return LDM_OK;
    if (w->chunk == VIEWED) {
        const ldm_source *s = &e->base.source;
        return s->check(s->self, &e->base.plan->tensor[w->tensor], seen(e->base.plan, s, w->tensor));
    }
    if (base[w->chunk]) {
        ldm_will_write(base[w->chunk] + w->offset, w->layout.bytes);
        return pack_weight(e, w, most, data, base[w->chunk] + w->offset);
    }
    void *bytes = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_alloc(w->layout.bytes, &bytes));
    TRY(pack_weight(e, w, most, data, bytes));
    TRY(ldm_buffer_write(w->window, 0, bytes, w->layout.bytes));
done:
    free(bytes);
    return st;
}

/* Streamed weights: their windows in the slots, and where their bytes wait. */
static ldm_status prepare_stream(exec_cl *e) {
    const ldm_stream *s = &e->l.stream;
    ldm_status st = LDM_OK;
    if (!s->groups) return LDM_OK;
    TRY(ldm_streamer_create(e->cl, s, &e->streamer));
    TRY(ldm_alloc((size_t)s->groups * sizeof *e->item, (void **)&e->item));
    for (int g = 0; g < s->groups; g++) {
        TRY(ldm_alloc((size_t)(s->group[g].items + 1) * sizeof **e->item, (void **)&e->item[g]));
        for (int i = 0; i < s->group[g].items; i++)
            TRY(ldm_buffer_window(ldm_streamer_slot(e->streamer, s->group[g].slot), s->group[g].item[i].offset,
                                  e->l.packed[s->group[g].item[i].weight].layout.bytes, &e->item[g][i]));
    }
done:
    return st;
}

/* Weights of a group to host memory. */
static ldm_status place_group(exec_cl *e, int group, int64_t most, float **data) {
    const ldm_stream_group *g = &e->l.stream.group[group];
    ldm_status st = LDM_OK;
    for (int i = 0; i < g->items && !st; i++)
        st = pack_weight(e, &e->l.packed[g->item[i].weight], most, data, ldm_streamer_host(e->streamer, group) + g->item[i].offset);
    return st;
}

/* Where memory is shared, every thread packs. */
static ldm_status load_weights(exec_cl *e) {
    ldm_status st = LDM_OK;
    const ldm_plan *p = e->base.plan;
    char *base[64] = {0}, why[1024]; /* sentences are a thread's own: that of the first failure is kept here */
    int64_t most = 1;
    int done = 0;
    ldm_progress bar;
    const bool shared = ldm_cl_device(e->cl)->unified;
    for (int i = 0; i < e->l.chunks; i++) {
        TRY((ldm_cl_device(e->cl)->once ? ldm_buffer_create : ldm_buffer_create_busy)(e->cl, e->l.chunk_bytes[i], &e->weights[i]));
        if (shared) TRY(ldm_buffer_map(e->weights[i], true, (void **)&base[i]));
    }
    for (int i = 0; i < e->l.count; i++) {
        packed *w = &e->l.packed[i];
        const int64_t n = ldm_shape_count(&p->tensor[w->tensor].shape);
        if (n > most) most = n;
        if (w->chunk == STREAMED) continue;
        if (w->chunk == VIEWED)
            TRY(ldm_buffer_borrow(e->cl, seen(p, &e->base.source, w->tensor), w->layout.bytes, &w->window));
        else TRY(ldm_buffer_window(e->weights[w->chunk], w->offset, w->layout.bytes, &w->window));
    }
    TRY(prepare_stream(e));
    const int jobs = e->l.count + e->l.stream.groups;
    ldm_progress_begin(&bar, "loading weights", "tensors", jobs);
#pragma omp parallel if (shared)
    {
        float *data = NULL;
#pragma omp for schedule(dynamic)
        for (int i = 0; i < jobs; i++) {
            ldm_status own;
#pragma omp atomic read
            own = st;
            if (own) continue;
            own = ldm_check_interrupt();
            if (!own)
                own = i < e->l.count ? place_weight(e, &e->l.packed[i], most, base, &data)
                                     : place_group(e, i - e->l.count, most, &data);
#pragma omp critical(loading)
            {
                if (own && !st) {
                    snprintf(why, sizeof why, "%s", ldm_message());
#pragma omp atomic write
                    st = own;
                }
                ldm_progress_to(&bar, ++done);
            }
        }
        free(data);
    }
    ldm_progress_end(&bar);
    if (st) TRY(ldm_fail(st, "%s", why));
    for (int i = 0; i < e->l.chunks && shared; i++) TRY(ldm_buffer_unmap(e->weights[i], base[i]));
done:
    return st;
}

/* For maps or scratch: large ones have no place in cache, and huge pages may take long to be found. */
static ldm_status create_map(ldm_cl *cl, size_t bytes, ldm_buffer **out) {
    enum { LARGE = 64 << 20 };
    return (bytes > LARGE ? ldm_buffer_create : ldm_buffer_create_busy)(cl, bytes, out);
}

static ldm_status window_of(exec_cl *e, ldm_tensor t, ldm_buffer **out) {
    if (!e->window[t]) {
        const ldm_plan *p = e->base.plan;
        size_t offset;
        const ldm_tensor_info *r = &p->tensor[ldm_view_root(p, t, &offset)];
        if (r->spilled) return ldm_fail(LDM_ERR_ARG, "tensor %d lies in host memory, and is not alive now", t);
        size_t bytes = (size_t)ldm_shape_count(&p->tensor[t].shape) * ldm_dtype_size(p->tensor[t].dtype);
        ldm_status st = ldm_buffer_window(e->arena[r->chunk], r->offset + offset, bytes, &e->window[t]);
        if (st) return st;
    }
    *out = e->window[t];
    return LDM_OK;
}

/* Where step i finds a packed weight. */
static ldm_buffer *weight_of(const exec_cl *e, int i, int weight) {
    const packed *w = &e->l.packed[weight];
    if (w->chunk != STREAMED) return w->window;
    const int group = e->l.stream.of_step[i];
    for (int k = 0; k < e->l.stream.group[group].items; k++)
        if (e->l.stream.group[group].item[k].weight == weight) return e->item[group][k];
    return NULL;
}

static ldm_status record_step(exec_cl *e, int i, ldm_recipe *recipe) {
    const ldm_plan *p = e->base.plan;
    const ldm_step_info *s = &p->step[i];
    ldm_buffer *slot[LDM_MAX_SLOTS] = {0};
    int n = ldm_op_slots(s->problem.op);
    for (int j = 0; j < n; j++) {
        if (s->slot[j] == LDM_NONE) continue;
        if (e->l.weight[i][j] >= 0) {
            slot[j] = weight_of(e, i, e->l.weight[i][j]);
        } else if (!p->tensor[ldm_view_root(p, s->slot[j], NULL)].spilled) {
            ldm_status st = window_of(e, s->slot[j], &slot[j]);
            if (st) return st;
        }
    }
    if (e->l.strips[i].count)
        return ldm_strip_job_create(e->cl, p, i, &e->l.choice[i], &e->l.strips[i], slot, e->pool, e->scratch, e->host,
                                    &e->job[i]);
    *recipe = (ldm_recipe){0};
    ldm_status st = e->l.choice[i].impl->record(&s->problem, e->l.choice[i].params, ldm_cl_device(e->cl), recipe);
    return st ? st : ldm_step_create(e->cl, recipe, slot, n, e->scratch, &e->step[i]);
}

static ldm_status run_step(ldm_exec *base, int i) {
    exec_cl *e = (exec_cl *)base;
    ldm_status st = e->streamer ? ldm_streamer_before(e->streamer, i) : LDM_OK;
    if (!st) st = e->job[i] ? ldm_strip_job_run(e->job[i]) : ldm_step_enqueue(e->step[i]);
    return !st && e->streamer ? ldm_streamer_after(e->streamer, i) : st;
}

static bool step_span(ldm_exec *base, int i, double *start, double *end) {
    const exec_cl *e = (const exec_cl *)base;
    return e->step[i] && ldm_step_span(e->step[i], start, end);
}

static bool transfer_span(ldm_exec *base, int group, double *start, double *end, size_t *bytes) {
    const exec_cl *e = (const exec_cl *)base;
    if (!e->streamer || group >= e->l.stream.groups) return false;
    *bytes = e->l.stream.group[group].bytes;
    return ldm_streamer_span(e->streamer, group, start, end);
}
static ldm_status finish(ldm_exec *base) { return ldm_cl_finish(((exec_cl *)base)->cl); }
static const ldm_choice *choice(const ldm_exec *base, int i) { return &((const exec_cl *)base)->l.choice[i]; }
static double step_seconds(ldm_exec *base, int i) {
    exec_cl *e = (exec_cl *)base;
    return e->job[i] ? ldm_strip_job_seconds(e->job[i]) : ldm_step_seconds(e->step[i]);
}

/* A spilled tensor's elements; NULL: it is not spilled, or not alive. */
static char *spilled_at(const exec_cl *e, ldm_tensor t) {
    size_t offset;
    char *whole = e->host[ldm_view_root(e->base.plan, t, &offset)];
    return whole ? whole + offset : NULL;
}

static ldm_status peek(ldm_exec *base, ldm_tensor t, float *data) {
    exec_cl *e = (exec_cl *)base;
    const ldm_tensor_info *i = &base->plan->tensor[t];
    size_t n = (size_t)ldm_shape_count(&i->shape);
    ldm_buffer *b;
    void *bytes = NULL;
    ldm_status st = LDM_OK;
    if (i->kind == LDM_PARAM) {
        TRY(ldm_plan_load(base->plan, &base->source, t, data));
        ldm_round_tensor(i->dtype, &i->shape, data);
        return LDM_OK;
    }
    if (spilled_at(e, t)) return ldm_to_f32(i->dtype, spilled_at(e, t), n, data), LDM_OK;
    TRY(window_of(e, t, &b));
    if (i->dtype == LDM_F32) return ldm_buffer_read(b, 0, data, n * sizeof *data);
    TRY(ldm_alloc(n * ldm_dtype_size(i->dtype), &bytes));
    TRY(ldm_buffer_read(b, 0, bytes, n * ldm_dtype_size(i->dtype)));
    ldm_to_f32(i->dtype, bytes, n, data);
done:
    free(bytes);
    return st;
}

static ldm_status poke(ldm_exec *base, ldm_tensor t, const float *data) {
    exec_cl *e = (exec_cl *)base;
    const ldm_tensor_info *i = &base->plan->tensor[t];
    size_t n = (size_t)ldm_shape_count(&i->shape);
    ldm_buffer *b;
    void *bytes = NULL;
    ldm_status st = LDM_OK;
    if (i->kind == LDM_PARAM) return ldm_fail(LDM_ERR_ARG, "%s: a weight cannot be written", i->name);
    if (spilled_at(e, t)) return ldm_from_f32(i->dtype, data, n, spilled_at(e, t)), LDM_OK;
    TRY(window_of(e, t, &b));
    if (i->dtype == LDM_F32) return ldm_buffer_write(b, 0, data, n * sizeof *data);
    TRY(ldm_alloc(n * ldm_dtype_size(i->dtype), &bytes));
    ldm_from_f32(i->dtype, data, n, bytes);
    TRY(ldm_buffer_write(b, 0, bytes, n * ldm_dtype_size(i->dtype)));
done:
    free(bytes);
    return st;
}

static void destroy(ldm_exec *base) {
    exec_cl *e = (exec_cl *)base;
    if (e->cl) ldm_cl_finish(e->cl);
    for (int i = 0; e->step && i < base->plan->steps; i++) ldm_step_destroy(e->step[i]);
    for (int i = 0; e->job && i < base->plan->steps; i++) ldm_strip_job_destroy(e->job[i]);
    for (int i = 0; e->host && i < base->plan->tensors; i++) free(e->host[i]);
    ldm_buffer_destroy(e->pool);
    for (int g = 0; e->item && g < e->l.stream.groups; g++) {
        for (int i = 0; e->item[g] && i < e->l.stream.group[g].items; i++) ldm_buffer_destroy(e->item[g][i]);
        free(e->item[g]);
    }
    free(e->item);
    ldm_streamer_destroy(e->streamer);
    for (int i = 0; e->window && i < base->plan->tensors; i++) ldm_buffer_destroy(e->window[i]);
    for (int i = 0; i < e->l.count; i++) ldm_buffer_destroy(e->l.packed[i].window);
    for (int i = 0; i < 64; i++) ldm_buffer_destroy(e->weights[i]);
    for (int i = 0; e->arena && i < base->plan->chunks; i++) ldm_buffer_destroy(e->arena[i]);
    ldm_buffer_destroy(e->scratch);
    layout_free(&e->l);
    free(e->step);
    free(e->job);
    free(e->host);
    free(e->window);
    free(e->arena);
    free(e);
}

ldm_status ldm_exec_create(ldm_cl *cl, const ldm_plan *p, const ldm_source *w, const char *impl, ldm_exec **out) {
    ldm_status st = LDM_OK;
    exec_cl *e = NULL;
    ldm_recipe *recipe = NULL;
    const ldm_device *d = ldm_cl_device(cl);
    ldm_progress bar;
    TRY(ldm_check_forced(impl));
    TRY(ldm_alloc(sizeof *e, (void **)&e));
    e->base = (ldm_exec){p, *w, destroy, run_step, finish, peek, poke, choice, taken, step_seconds, step_span, transfer_span};
    e->cl = cl;
    TRY(lay_out(p, d, w, impl, &e->l));
    size_t need = e->l.weights + e->l.activations + e->l.scratch;
    if (need + ldm_cl_bytes(cl) > d->global_bytes)
        TRY(ldm_fail(
            LDM_ERR_NOMEM,
            "device %s: the plan needs %.1f MiB (weights %.1f, activations %.1f, scratch %.1f)%s, available are %.1f "
            "MiB",
            d->name, (double)need / 0x1p20, (double)e->l.weights / 0x1p20, (double)e->l.activations / 0x1p20,
            (double)e->l.scratch / 0x1p20, ldm_cl_bytes(cl) ? " beside what is in use" : "",
            (double)(d->global_bytes - (ldm_cl_bytes(cl) < d->global_bytes ? ldm_cl_bytes(cl) : d->global_bytes)) /
                0x1p20));
    TRY(ldm_alloc((size_t)p->tensors * sizeof *e->window, (void **)&e->window));
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *e->step, (void **)&e->step));
    TRY(ldm_alloc((size_t)(p->chunks + 1) * sizeof *e->arena, (void **)&e->arena));
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *e->job, (void **)&e->job));
    TRY(ldm_alloc((size_t)(p->tensors + 1) * sizeof *e->host, (void **)&e->host));
    for (int i = 0; i < p->chunks; i++) TRY(create_map(cl, p->chunk_bytes[i], &e->arena[i]));
    if (e->l.pool) TRY(ldm_buffer_create(cl, e->l.pool, &e->pool));
    if (e->l.scratch) TRY(create_map(cl, e->l.scratch, &e->scratch));
    TRY(load_weights(e));
    TRY(ldm_alloc(sizeof *recipe, (void **)&recipe));
    ldm_progress_begin(&bar, "building kernels", "steps", p->steps);
    for (int i = 0; i < p->steps && !st; i++) {
        st = ldm_prefix(record_step(e, i, recipe), "step %d (%s)", i, p->step[i].scope);
        if (!st) st = ldm_check_interrupt();
        ldm_progress_to(&bar, i + 1);
    }
    ldm_progress_end(&bar);
    TRY(st);
    *out = &e->base;
    e = NULL;
done:
    if (e) destroy(&e->base);
    free(recipe);
    return st;
}
