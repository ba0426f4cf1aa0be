/* loop.c -- see loop.h. */
#include "sample/loop.h"
#include <stdlib.h>
#include <string.h>

/* ---- rows of the sampler's table --------------------------------------------------------------------------------- */

/* The linear combinations of one evaluation, each with a table of its own on the device. */
enum { ROW_IN = LDM_STATES, ROW_X0, ROW_BLEND, ROWS };
static const char *const table_name[ROWS] = {"coefs.0", "coefs.1",  "coefs.2",  "coefs.3",
                                             "coefs.4", "coefs.in", "coefs.x0", "coefs.blend"};
static const char *const state_name[LDM_STATES] = {"x", "v1", "v2", "v3", "v4"};

static bool snaps(const ldm_loop_options *o) { return o->sampler->clip > 0 || o->sampler->quantize; }

static const ldm_linear *row_of(const ldm_eval *e, int row) {
    return row == ROW_IN ? &e->in : row == ROW_X0 ? &e->x0 : &e->next[row];
}

/* A picture that is clipped is kept in units of the limit, as its function knows 1 and -1 only. */
static double coefficient(const ldm_loop_options *o, const ldm_eval *e, int row, int column) {
    double k = row_of(e, row)->c[column], clip = o->sampler->clip;
    if (clip > 0 && row == ROW_X0) k /= clip;
    if (clip > 0 && column == LDM_X0) k *= clip;
    return k;
}

/* Columns that a row uses in any evaluation, as bits. */
static unsigned columns(const ldm_sampler *s, int row) {
    unsigned bits = 0;
    for (int k = 0; k < s->evals; k++)
        for (int c = 0; c < LDM_COLUMNS; c++)
            if (row_of(&s->eval[k], row)->c[c] != 0) bits |= 1u << c;
    return bits;
}

/* A row that is always state `state` itself. */
static bool is_state(const ldm_sampler *s, int row, int state) {
    if (columns(s, row) != 1u << state) return false;
    for (int k = 0; k < s->evals; k++)
        if (row_of(&s->eval[k], row)->c[state] != 1) return false;
    return true;
}

/* What of a sampler's table the loop needs: rows as bits, states among them. */
static unsigned needed(const ldm_loop_options *o) {
    const ldm_sampler *s = o->sampler;
    unsigned rows = 1, before = 0;
    if (!is_state(s, ROW_IN, 0)) rows |= 1u << ROW_IN;
    if (snaps(o) || o->keeps_x0) rows |= 1u << ROW_X0;
    while (rows != before) {
        before = rows;
        for (int r = 0; r < ROW_BLEND; r++)
            if (before >> r & 1) rows |= columns(s, r) & ((1u << LDM_STATES) - 1);
    }
    return rows | (o->masked ? 1u << ROW_BLEND : 0);
}

static bool draws(const ldm_loop_options *o, const ldm_eval *e) {
    const unsigned rows = needed(o);
    for (int r = 0; r < ROW_BLEND; r++)
        if (rows >> r & 1 && row_of(e, r)->c[LDM_NOISE] != 0) return true;
    return false;
}
static bool draws_for_mask(const ldm_loop_options *o, const ldm_eval *e) {
    return o->masked && o->sampler->blend_fresh && e->blends && e->known_noise != 0;
}
static bool ever_draws(const ldm_loop_options *o) {
    for (int k = 0; k < o->sampler->evals; k++)
        if (draws(o, &o->sampler->eval[k])) return true;
    return false;
}

/* Maps the network sees at a time. */
static int64_t batch_of(const ldm_loop_options *o) { return o->guided && !o->in_turn ? 2 * o->n : o->n; }

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

/* Tensors that steps are made of. */
typedef struct emitter {
    const ldm_loop_options *o;
    ldm_plan *p;
    ldm_tensor column[LDM_COLUMNS];
    ldm_tensor step, steps, temb, context[2], labels, guidance, mask, known, known_noise;
    ldm_tensor coefs[ROWS];
    int64_t batch, count; /* pictures the network sees at a time, elements of x */
    ldm_shape map;
} emitter;

static ldm_tensor combine(emitter *e, int row, ldm_tensor into) {
    ldm_tensor in[1 + LDM_COLUMNS] = {e->coefs[row]};
    const unsigned used = columns(e->o->sampler, row);
    int n = 0;
    for (int c = 0; c < LDM_COLUMNS; c++)
        if (used >> c & 1) in[++n] = e->column[c];
    for (int i = n + 1; i <= LDM_COLUMNS; i++) in[i] = LDM_NONE;
    ldm_tensor y = into == LDM_NONE ? ldm_plan_emit(e->p, in, 1 + LDM_COLUMNS, "lincomb:f32 count=%lld terms=%d",
                                                    (long long)e->count, n)
                                    : ldm_plan_emit_into(e->p, into, in, 1 + LDM_COLUMNS,
                                                         "lincomb:f32 count=%lld terms=%d", (long long)e->count, n);
    return e->p->status ? LDM_NONE : into == LDM_NONE ? ldm_plan_reshape(e->p, y, e->map) : y;
}

/* The conditioning of one half, or of both; `suffix` names its inputs. */
static ldm_tensor context_of(emitter *e, const char *suffix) {
    const ldm_loop_options *o = e->o;
    char name[20];
    if (o->n_classes) {
        snprintf(name, sizeof name, "class%s", suffix);
        return ldm_class_embedder_emit(e->p, o->n_classes, o->unet.context_dim,
                                       ldm_plan_input(e->p, name, LDM_I32, ldm_shape_of(1, e->batch)));
    }
    if (!o->tokens) return LDM_NONE;
    snprintf(name, sizeof name, "context%s", suffix);
    const int64_t each = o->windows.own_contexts ? ldm_windows_count(o->windows, o->h, o->w) : 1;
    ldm_shape s = ldm_shape_of(3, each * e->batch, o->tokens, (int64_t)o->unet.context_dim);
    return ldm_plan_cast(e->p, ldm_plan_input(e->p, name, LDM_F32, s), o->dtype);
}

static ldm_tensor twice(emitter *e, ldm_tensor a, ldm_tensor b, int64_t count) {
    return ldm_plan_emit(e->p, (ldm_tensor[]){a, b}, 2, "concat:f32 rows=1 ca=%lld cb=%lld", (long long)count,
                         (long long)count);
}

/* The network's output, guided or not. */
static ldm_tensor network(emitter *e, ldm_tensor x, ldm_tensor concat, ldm_tensor scale, ldm_tensor rescale) {
    const ldm_loop_options *o = e->o;
    ldm_plan *p = e->p;
    const bool both = o->guided && !o->in_turn;
    int64_t channels = o->unet.out_channels;
    if (o->concat) {
        x = ldm_plan_emit(p, (ldm_tensor[]){x, concat}, 2, "concat:f32 rows=%lld ca=%lld cb=%lld",
                          (long long)(o->n * o->h * o->w), (long long)channels, (long long)o->concat);
        channels += o->concat;
    }
    if (both) x = twice(e, x, x, o->n * o->h * o->w * channels);
    if (p->status) return LDM_NONE;
    x = ldm_plan_cast(p, ldm_plan_reshape(p, x, ldm_shape_of(4, e->batch, o->h, o->w, channels)), o->dtype);
    ldm_tensor temb = ldm_plan_cast(p, e->temb, o->dtype), half[2] = {LDM_NONE, LDM_NONE};
    for (int i = 0; i < (o->guided && o->in_turn ? 2 : 1) && !p->status; i++)
        half[i] = ldm_plan_cast(p, ldm_unet_emit_windows(p, &o->unet, o->windows, x, temb, e->context[i], e->labels, e->guidance),
                                LDM_F32);
    if (!o->guided || p->status) return half[0];
    ldm_tensor out = o->in_turn ? twice(e, half[0], half[1], e->count) : half[0];
    ldm_tensor y = ldm_plan_emit(p, (ldm_tensor[]){out, scale}, 2, "guidance:f32 count=%lld", (long long)e->count);
    if (o->rescaled)
        y = ldm_plan_emit(p, (ldm_tensor[]){out, y, rescale}, 3, "rescale:f32 n=%lld count=%lld", (long long)o->n,
                          (long long)(e->count / o->n));
    return y;
}

static void blend(emitter *e) {
    ldm_tensor x = e->column[0];
    ldm_plan_emit_into(e->p, x, (ldm_tensor[]){e->coefs[ROW_BLEND], e->mask, e->known, e->known_noise, x}, 5,
                       "blend:f32 rows=%lld c=%d", (long long)(e->o->n * e->o->h * e->o->w), e->o->unet.out_channels);
}

/* The predicted picture, clipped or snapped if the sampler says so. */
static void picture(emitter *e) {
    const ldm_loop_options *o = e->o;
    ldm_plan *p = e->p;
    ldm_tensor x0 = combine(e, ROW_X0, LDM_NONE);
    if (o->sampler->clip > 0)
        x0 = ldm_plan_emit(p, (ldm_tensor[]){x0}, 1, "activation:f32 count=%lld fn=clamp11", (long long)e->count);
    if (o->sampler->quantize) {
        int64_t c = o->unet.out_channels;
        ldm_tensor book =
            ldm_plan_param(p, "quantize.embedding.weight", ldm_shape_of(2, o->codebook, c), LDM_FILL_WEIGHT, 1);
        x0 = ldm_plan_emit(p, (ldm_tensor[]){x0, book}, 2, "vq_lookup:f32*f32 rows=%lld entries=%lld c=%lld",
                           (long long)(e->count / c), (long long)o->codebook, (long long)c);
    }
    e->column[LDM_X0] = x0;
    if (o->keeps_x0 && !p->status) ldm_plan_output(p, x0, "x0");
}

/* All states of the next evaluation from those of this one. A state is overwritten once no row to come reads it; where
 * all are read by others, one waits in memory of its own. */
static void advance_states(emitter *e, unsigned rows) {
    const ldm_sampler *s = e->o->sampler;
    ldm_tensor waiting[LDM_STATES];
    unsigned todo = 0;
    for (int i = 0; i < LDM_STATES; i++) {
        waiting[i] = LDM_NONE;
        if (rows >> i & 1 && !is_state(s, i, i)) todo |= 1u << i;
    }
    while (todo && !e->p->status) {
        int pick = -1, first = -1;
        for (int i = LDM_STATES - 1; i >= 0; i--) {
            bool read = false;
            if (!(todo >> i & 1)) continue;
            first = i;
            for (int j = 0; j < LDM_STATES; j++) read |= j != i && todo >> j & 1 && columns(s, j) >> i & 1;
            if (!read) pick = i;
        }
        if (pick >= 0) combine(e, pick, e->column[pick]);
        else pick = first, waiting[pick] = combine(e, pick, LDM_NONE);
        todo &= ~(1u << pick);
    }
    for (int i = 0; i < LDM_STATES; i++)
        if (waiting[i] != LDM_NONE)
            ldm_plan_emit_into(e->p, e->column[i], (ldm_tensor[]){waiting[i]}, 1, "cast:f32 count=%lld",
                               (long long)e->count);
}

static ldm_status check(const ldm_loop_options *o) {
    if (o->unet.out_channels + o->concat != o->unet.in_channels)
        return ldm_fail(LDM_ERR_ARG,
                        "the network takes %d channels, its latent has %d, and %lld of conditioning are given",
                        o->unet.in_channels, o->unet.out_channels, (long long)o->concat);
    if (o->sampler->quantize && o->codebook < 1)
        return ldm_fail(LDM_ERR_ARG, "quantising the predicted picture needs a first stage with a codebook");
    if (o->guided && o->unet.time_cond_proj_dim > 0)
        return ldm_fail(LDM_ERR_ARG, "this network is told its guidance scale; it runs once, not guided");
    if (o->windows.own_contexts && o->guided)
        return ldm_fail(LDM_ERR_ARG, "windows with contexts of their own are not guided");
    if (o->rescaled && !o->guided) return ldm_fail(LDM_ERR_ARG, "rescaled guidance without guidance");
    return LDM_OK;
}

ldm_status ldm_loop_plan(const ldm_loop_options *o, ldm_plan **out) {
    ldm_plan *p = NULL;
    ldm_status st = check(o);
    if (!st) st = ldm_plan_create(o->dtype, o->wdtype, &p);
    if (st) return st;
    const ldm_unet_config *u = &o->unet;
    const unsigned rows = needed(o);
    int64_t batch = batch_of(o), c = u->out_channels, evals = o->sampler->evals;
    emitter e = {.o = o, .p = p, .batch = batch, .count = o->n * o->h * o->w * c};
    e.map = ldm_shape_of(4, o->n, o->h, o->w, c);
    for (int i = 0; i < LDM_COLUMNS; i++) e.column[i] = LDM_NONE;

    p->segment = LDM_SEGMENT_STEP;
    const ldm_shape one = ldm_shape_of(1, (int64_t)1);
    for (int i = 0; i < LDM_STATES; i++)
        if (rows >> i & 1) e.column[i] = ldm_plan_input(p, state_name[i], LDM_F32, e.map);
    e.step = ldm_plan_input(p, "step", LDM_I32, one);
    e.steps = ldm_plan_input(p, "steps", LDM_I32, ldm_shape_of(1, batch)); /* the same number for each of the batch */
    ldm_tensor scale = o->guided ? ldm_plan_input(p, "scale", LDM_F32, one) : LDM_NONE;
    ldm_tensor rescale = o->rescaled ? ldm_plan_input(p, "rescale", LDM_F32, one) : LDM_NONE;
    if (ever_draws(o)) e.column[LDM_NOISE] = ldm_plan_input(p, "noise", LDM_F32, e.map);

    p->segment = LDM_SEGMENT_PROMPT;
    ldm_tensor times = ldm_plan_input(p, "times", LDM_F32, ldm_shape_of(2, evals, (int64_t)u->model_channels));
    ldm_tensor table[ROWS];
    for (int r = 0; r < ROWS; r++)
        table[r] = rows >> r & 1
                       ? ldm_plan_input(p, table_name[r], LDM_F32, ldm_shape_of(2, evals, (int64_t)LDM_COLUMNS))
                       : LDM_NONE;
    ldm_tensor concat =
        o->concat ? ldm_plan_input(p, "concat", LDM_F32, ldm_shape_of(4, o->n, o->h, o->w, o->concat)) : LDM_NONE;
    e.labels = u->num_classes > 0 ? ldm_plan_input(p, "labels", LDM_I32, ldm_shape_of(1, batch)) : LDM_NONE;
    e.guidance = LDM_NONE;
    if (u->time_cond_proj_dim > 0) {
        ldm_shape s = ldm_shape_of(2, batch, (int64_t)u->time_cond_proj_dim);
        e.guidance = ldm_plan_cast(p, ldm_plan_input(p, "guidance", LDM_F32, s), o->dtype);
    }
    if (o->masked) {
        e.mask = ldm_plan_input(p, "mask", LDM_F32, ldm_shape_of(1, o->n * o->h * o->w));
        e.known = ldm_plan_input(p, "known", LDM_F32, e.map);
        e.known_noise = ldm_plan_input(p, "known_noise", LDM_F32, e.map);
    }
    e.context[0] = context_of(&e, o->guided && o->in_turn ? ".u" : "");
    e.context[1] = o->guided && o->in_turn ? context_of(&e, "") : LDM_NONE;

    p->segment = LDM_SEGMENT_STEP;
    e.temb = ldm_plan_emit(p, (ldm_tensor[]){e.steps, times}, 2, "embedding:f32 rows=%lld entries=%lld c=%d",
                           (long long)batch, (long long)evals, u->model_channels);
    for (int r = 0; r < ROWS; r++)
        if (rows >> r & 1)
            e.coefs[r] = ldm_plan_emit(p, (ldm_tensor[]){e.step, table[r]}, 2, "embedding:f32 rows=1 entries=%lld c=%d",
                                       (long long)evals, (int)LDM_COLUMNS);
    if (o->masked && !o->sampler->blend_after) blend(&e);
    ldm_tensor in = rows >> ROW_IN & 1 ? combine(&e, ROW_IN, LDM_NONE) : e.column[0];
    e.column[LDM_OUT] = network(&e, in, concat, scale, rescale);
    if (rows >> ROW_X0 & 1) picture(&e);
    advance_states(&e, rows);
    if (o->masked && o->sampler->blend_after) blend(&e);
    ldm_plan_emit_into(p, e.step, (ldm_tensor[]){e.step}, 1, "advance:f32 count=1");
    ldm_plan_emit_into(p, e.steps, (ldm_tensor[]){e.steps}, 1, "advance:f32 count=%lld", (long long)batch);
    if (p->status) {
        st = p->status;
        ldm_plan_destroy(p);
        return st;
    }
    *out = p;
    return LDM_OK;
}

/* ---- running it -------------------------------------------------------------------------------------------------- */

static ldm_status put(ldm_exec *e, const char *name, const float *data) {
    ldm_tensor t = ldm_plan_find(ldm_exec_plan(e), name);
    return t == LDM_NONE || !data ? LDM_OK : ldm_exec_write(e, t, data);
}

/* The two halves of something that a guided batch has two of. */
static ldm_status put_halves(const ldm_loop_options *o, ldm_exec *e, const char *name, const char *unconditional,
                             const float *data, int64_t each) {
    if (!data || !o->guided || !o->in_turn) return put(e, name, data);
    ldm_status st = put(e, unconditional, data);
    return st ? st : put(e, name, data + o->n * each);
}

void ldm_sampler_start(const ldm_sampler *s, const float *z0, const float *noise, int64_t count, float *x) {
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(s->start_noise * noise[i] + (s->start_z != 0 ? s->start_z * z0[i] : 0));
}

static ldm_status put_tables(const ldm_loop_options *o, ldm_exec *e) {
    ldm_status st = LDM_OK;
    const ldm_sampler *s = o->sampler;
    const unsigned rows = needed(o);
    int64_t mc = o->unet.model_channels;
    float *times = NULL, *coefs = NULL;
    TRY(ldm_alloc((size_t)(s->evals * mc) * sizeof *times, (void **)&times));
    TRY(ldm_alloc((size_t)s->evals * LDM_COLUMNS * sizeof *coefs, (void **)&coefs));
    for (int k = 0; k < s->evals; k++) ldm_timestep_embedding(s->eval[k].t, (int)mc, times + k * mc);
    TRY(put(e, "times", times));
    for (int r = 0; r < ROW_BLEND; r++) {
        if (!(rows >> r & 1)) continue;
        const unsigned used = columns(s, r);
        for (int k = 0; k < s->evals; k++)
            for (int c = 0, n = 0; c < LDM_COLUMNS; c++)
                if (used >> c & 1) coefs[k * LDM_COLUMNS + n++] = (float)coefficient(o, &s->eval[k], r, c);
        TRY(put(e, table_name[r], coefs));
    }
    for (int k = 0; o->masked && k < s->evals; k++) {
        const ldm_eval *v = &s->eval[k];
        memcpy(coefs + k * LDM_COLUMNS, (float[LDM_COLUMNS]){(float)v->known, (float)v->known_noise, v->blends ? 1 : 0},
               LDM_COLUMNS * sizeof *coefs);
    }
    TRY(put(e, table_name[ROW_BLEND], coefs));
done:
    free(times), free(coefs);
    return st;
}

ldm_status ldm_loop_start(const ldm_loop_options *o, ldm_exec *e, const ldm_loop_inputs *in) {
    ldm_status st = LDM_OK;
    int64_t batch = batch_of(o), count = o->n * o->h * o->w * o->unet.out_channels;
    const int told = o->unet.time_cond_proj_dim;
    float *zero = NULL, *labels = NULL, *guidance = NULL, scale = (float)in->scale, rescale = (float)in->rescale;
    TRY(ldm_alloc((size_t)(count > batch ? count : batch) * sizeof *zero, (void **)&zero));
    TRY(ldm_alloc((size_t)batch * sizeof *labels, (void **)&labels));
    for (int64_t i = 0; in->labels && i < batch; i++) labels[i] = in->labels[i % o->n];
    TRY(ldm_alloc((size_t)(batch * told + 1) * sizeof *guidance, (void **)&guidance));
    for (int64_t i = 0; told > 0 && i < batch; i++) ldm_guidance_embedding(in->scale, told, guidance + i * told);
    TRY(put_tables(o, e));
    TRY(put(e, "step", zero));
    TRY(put(e, "steps", zero));
    for (int i = 1; i < LDM_STATES; i++) TRY(put(e, state_name[i], zero));
    TRY(put(e, "scale", &scale));
    TRY(put(e, "rescale", &rescale));
    TRY(put(e, "guidance", guidance));
    TRY(put(e, "x", in->x));
    TRY(put(e, "concat", in->concat));
    TRY(put(e, "labels", in->labels ? labels : NULL));
    TRY(put(e, "mask", in->mask));
    TRY(put(e, "known", in->known));
    TRY(put(e, "known_noise", in->known_noise ? in->known_noise : zero));
    TRY(put_halves(o, e, "class", "class.u", in->classes, 1));
    TRY(put_halves(o, e, "context", "context.u", in->context, o->tokens * o->unet.context_dim));
    TRY(ldm_exec_run(e, LDM_SEGMENT_PROMPT));
done:
    free(zero), free(labels), free(guidance);
    return st;
}

ldm_status ldm_loop_run(const ldm_loop_options *o, ldm_exec *e, const ldm_loop_hooks *hooks) {
    ldm_status st = LDM_OK;
    float *noise = NULL;
    double start = ldm_now();
    TRY(ldm_alloc((size_t)(o->n * o->h * o->w * o->unet.out_channels) * sizeof *noise, (void **)&noise));
    for (int k = 0; k < o->sampler->evals; k++) {
        const ldm_eval *v = &o->sampler->eval[k];
        if (draws_for_mask(o, v)) {
            TRY(hooks->noise(hooks->user, v->step, noise));
            TRY(put(e, "known_noise", noise));
        }
        if (draws(o, v)) {
            TRY(hooks->noise(hooks->user, v->step, noise));
            TRY(put(e, "noise", noise));
        }
        if (v->step + 1 == o->checked)
            TRY(ldm_prefix(ldm_exec_run_checked(e, LDM_SEGMENT_STEP), "step %d of %d", v->step + 1, o->sampler->steps));
        else TRY(ldm_exec_run(e, LDM_SEGMENT_STEP));
        TRY(ldm_exec_finish(e));
        TRY(ldm_check_interrupt());
        if (!v->ends) continue;
        if (hooks->each) TRY(hooks->each(hooks->user, v->step, ldm_now() - start));
        start = ldm_now();
    }
done:
    free(noise);
    return st;
}

ldm_status ldm_loop_latent(ldm_exec *e, float *x) { return ldm_exec_read(e, ldm_plan_find(ldm_exec_plan(e), "x"), x); }

ldm_status ldm_loop_x0(const ldm_loop_options *o, ldm_exec *e, float *x0) {
    int64_t count = o->n * o->h * o->w * o->unet.out_channels;
    ldm_status st = ldm_exec_read(e, ldm_plan_find(ldm_exec_plan(e), "x0"), x0);
    for (int64_t i = 0; !st && o->sampler->clip > 0 && i < count; i++) x0[i] *= (float)o->sampler->clip;
    return st;
}
