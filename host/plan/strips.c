/* strips.c -- see strips.h: which steps can be made in strips, how a map is cut into them, and which maps are spilled. */
#include "plan/strips.h"
#include "plan/exec_internal.h"
#include <stdlib.h>
#include <string.h>

/* How an op goes through a map: `size` is the dim that counts rows, or elements in proportion to them. */
static const struct walk {
    const char *op, *size, *maps; /* slots that are maps */
    int up, down;                 /* output rows to input rows */
} walks[] = {{"conv2d", "h", "x x2 residual y", 1, 1},
             {"group_norm", "hw", "x y", 1, 1},
             {"activation", "count", "x y", 1, 1},
             {"cast", "count", "x y", 1, 1},
             {"add", "count", "a b y", 1, 1},
             {"concat", "rows", "a b y", 1, 1},
             {"upsample", "h", "x y", 2, 1},
             {"avg_pool", "h", "x y", 1, 2}};

static const struct walk *walk_of(const ldm_problem *q) {
    for (size_t i = 0; i < sizeof walks / sizeof *walks; i++)
        if (!strcmp(walks[i].op, q->op->name)) return &walks[i];
    return NULL;
}

static int64_t dim(const ldm_problem *q, const char *name) { return q->dim[ldm_op_dim_index(q->op, name)]; }
static int64_t *dim_at(ldm_problem *q, const char *name) { return &q->dim[ldm_op_dim_index(q->op, name)]; }

static bool is_map(const struct walk *w, const ldm_op *op, int slot) {
    char name[32];
    ldm_op_slot_name(op, slot, name, sizeof name);
    for (const char *s = w->maps; *s; s += strspn(s, " ")) {
        const size_t n = strcspn(s, " ");
        if (n == strlen(name) && !memcmp(s, name, n)) return true;
        s += n;
    }
    return false;
}

static const ldm_shape *shape_of(const ldm_plan *p, ldm_tensor t) {
    const ldm_shape *own = &p->tensor[t].shape;
    return own->rank == 4 ? own : &p->tensor[ldm_view_root(p, t, NULL)].shape;
}

/* One picture, whole tensors with rows, a row of the table that can be cut. */
bool ldm_step_can_strip(const ldm_plan *p, int step, const ldm_choice *c) {
    const ldm_step_info *s = &p->step[step];
    const struct walk *w = walk_of(&s->problem);
    if (!w || (!strcmp(w->op, "group_norm") && !c->impl->record_phase)) return false;
    if (!strcmp(w->op, "add") && dim(&s->problem, "bcount")) return false;
    for (int i = 0; i < ldm_op_slots(s->problem.op); i++) {
        size_t offset;
        if (s->slot[i] == LDM_NONE || !is_map(w, s->problem.op, i)) continue;
        const ldm_tensor r = ldm_view_root(p, s->slot[i], &offset);
        const ldm_shape *shape = shape_of(p, s->slot[i]);
        if (offset || ldm_shape_count(&p->tensor[r].shape) != ldm_shape_count(shape) || shape->rank != 4 || shape->dim[0] != 1)
            return false;
    }
    return true;
}

bool ldm_step_spilled(const ldm_plan *p, int step) {
    for (int i = 0; i < LDM_MAX_SLOTS; i++)
        if (p->step[step].slot[i] != LDM_NONE && p->tensor[ldm_view_root(p, p->step[step].slot[i], NULL)].spilled) return true;
    return false;
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static ldm_grain grain_of(const ldm_problem *q, const ldm_choice *c, const ldm_device *d) {
    return c->impl->grain ? c->impl->grain(q, c->params, d) : (ldm_grain){1, 0};
}

/* What is the same for all strips of a step. */
typedef struct cutting {
    const ldm_problem *whole;
    const ldm_choice *choice;
    const ldm_device *device;
    const struct walk *walk;
    int slots;
    int64_t height;               /* rows of the output */
    int64_t unit;                 /* strips begin at multiples of so many rows of the output */
    ldm_grain grain;
} cutting;

/* Rows [y0, y1) of a convolution. The strip's own first and last rows see zeros where it has no input; above, whole units are
 * made beside those wanted and skipped, below, as many rows are read as the last one wanted needs. */
static void cut_convolution(const cutting *k, int64_t y0, int64_t y1, ldm_strip *s) {
    const ldm_problem *q = k->whole;
    const int64_t up = dim(q, "up"), stride = dim(q, "stride"), top = dim(q, "pt"), taps = dim(q, "r"), h = dim(q, "h");
    int64_t start = y0 - ldm_round_up(ldm_ceil_div(top, stride), k->unit);
    if (start < 0) start = 0;
    const int64_t first = start * stride / up;
    int64_t last = ldm_ceil_div((y1 - 1) * stride - top + taps, up);
    if (last > h) last = h;
    *dim_at(&s->problem, "h") = last - first;
    if (last < h) *dim_at(&s->problem, "pb") = 0;
    const int64_t made = ((last - first) * up + top + dim(&s->problem, "pb") - taps) / stride + 1;
    s->skip = y0 - start;
    for (int i = 0; i < k->slots; i++) s->from[i] = start, s->rows[i] = made;
    for (int i = 0; i < 2; i++) s->from[i] = first, s->rows[i] = last - first; /* x, x2 */
}

static void cut(const cutting *k, int64_t y0, int64_t y1, ldm_strip *s) {
    *s = (ldm_strip){.problem = *k->whole, .keep = y0, .kept = y1 - y0};
    if (!strcmp(k->walk->op, "conv2d")) {
        cut_convolution(k, y0, y1, s);
        return;
    }
    const int up = k->walk->up, down = k->walk->down;
    int64_t *size = dim_at(&s->problem, k->walk->size);
    for (int i = 0; i < k->slots; i++) s->from[i] = y0, s->rows[i] = y1 - y0;
    if (up != down) { /* the last row of an odd map has no output */
        s->from[0] = y0 * down / up, s->rows[0] = (y1 - y0) * down / up;
        *size = s->rows[0];
    } else {
        *size = *size / k->height * (y1 - y0);
    }
}

/* Whether the chosen row makes this strip with the same bits. */
static bool same_bits(const cutting *k, const ldm_strip *s) {
    if (k->choice->impl->record_phase) return true;
    return !ldm_cannot(&s->problem, k->device, k->choice->impl) &&
           ldm_params_legal(&s->problem, k->choice->impl, k->choice->params, k->device) &&
           grain_of(&s->problem, k->choice, k->device).order == k->grain.order;
}

static size_t pool_bytes(const cutting *k, ldm_strips *s) {
    size_t at = 0;
    for (int i = 0; i < k->slots; i++) {
        int64_t most = 0;
        for (int j = 0; j < s->count; j++)
            if (s->strip[j].rows[i] > most) most = s->strip[j].rows[i];
        s->offset[i] = at, s->slot_bytes[i] = (size_t)most * s->row_bytes[i];
        at += (size_t)ldm_round_up((int64_t)s->slot_bytes[i], (int64_t)k->device->base_align);
    }
    return at;
}

/* Strips of `rows` output rows; false if one of them would not have the same bits. */
static bool try_rows(const cutting *k, int64_t rows, ldm_strips *s) {
    s->count = 0;
    for (int64_t y = 0; y < k->height; y += rows) {
        ldm_strip *one = &s->strip[s->count++];
        cut(k, y, y + rows < k->height ? y + rows : k->height, one);
        if (!same_bits(k, one)) return false;
    }
    return true;
}

static size_t scratch_of(const cutting *k, const ldm_strips *s) {
    size_t most = 0;
    if (!k->choice->impl->scratch) return 0;
    if (k->choice->impl->record_phase) return k->choice->impl->scratch(k->whole, k->choice->params, k->device);
    for (int i = 0; i < s->count; i++) {
        const size_t one = k->choice->impl->scratch(&s->strip[i].problem, k->choice->params, k->device);
        if (one > most) most = one;
    }
    return most;
}

ldm_status ldm_strips_make(const ldm_plan *p, int step, const ldm_choice *c, const ldm_device *d, ldm_strips *out) {
    const ldm_step_info *s = &p->step[step];
    const int n = ldm_op_slots(s->problem.op);
    const ldm_shape *y = shape_of(p, s->slot[n - 1]);
    char text[LDM_PROBLEM_TEXT];
    cutting k = {&s->problem, c, d, walk_of(&s->problem), n, y->dim[1], 1, grain_of(&s->problem, c, d)};
    ldm_strips found = {0};
    size_t best = 0;
    if (!k.walk || !ldm_step_can_strip(p, step, c))
        return ldm_fail(LDM_ERR_UNSUPPORTED, "step %d (%s): %s cannot be made in strips", step, s->scope, c->impl->name);
    k.unit = k.grain.rows;
    if (c->impl->record_phase) k.height *= y->dim[2];
    else if (!strcmp(k.walk->op, "conv2d")) k.unit *= dim(&s->problem, "up") / gcd(dim(&s->problem, "up"), k.unit);
    else k.unit *= k.walk->up;
    for (int i = 0; i < n; i++) {
        if (s->slot[i] == LDM_NONE || !is_map(k.walk, s->problem.op, i)) continue;
        const ldm_shape *m = shape_of(p, s->slot[i]);
        found.row_bytes[i] = (size_t)(ldm_shape_count(m) / m->dim[1] / (c->impl->record_phase ? m->dim[2] : 1)) * ldm_dtype_size(p->tensor[s->slot[i]].dtype);
    }
    ldm_status st = ldm_alloc((size_t)ldm_ceil_div(k.height, k.unit) * sizeof *found.strip, (void **)&found.strip);
    if (st) return st;
    /* as few strips as fit, all about as high */
    for (int64_t count = 1, last = 0; count <= ldm_ceil_div(k.height, k.unit); count++) {
        const int64_t rows = ldm_round_up(ldm_ceil_div(k.height, count), k.unit);
        if (rows == last) continue;
        last = rows;
        if (!try_rows(&k, rows, &found)) continue;
        found.pool = pool_bytes(&k, &found), found.scratch = scratch_of(&k, &found);
        best = found.pool;
        if (found.pool <= p->strip_bytes && found.pool <= d->max_alloc && found.scratch <= d->max_alloc) {
            *out = found;
            return LDM_OK;
        }
    }
    ldm_strips_free(&found);
    return ldm_fail(LDM_ERR_NOMEM, "step %d (%s): strips of %s by %s take %.1f MiB at least, wanted %.1f MiB", step, s->scope,
                    ldm_problem_text(&s->problem, text, sizeof text), c->impl->name, (double)best / 0x1p20,
                    (double)p->strip_bytes / 0x1p20);
}

void ldm_strips_free(ldm_strips *s) {
    free(s->strip);
    *s = (ldm_strips){0};
}

/* ---- which maps are spilled -------------------------------------------------------------------------------------- */

ldm_status ldm_plan_spill(ldm_plan *p, const ldm_device *d, const char *impl, size_t most, size_t strip_bytes) {
    ldm_status st = LDM_OK;
    bool *fixed = NULL; /* by tensor: a step that needs all of it touches it */
    TRY(ldm_alloc((size_t)(p->tensors + 1) * sizeof *fixed, (void **)&fixed));
    p->strip_bytes = strip_bytes;
    for (int i = 0; i < p->steps; i++) {
        const ldm_step_info *s = &p->step[i];
        const struct walk *w = walk_of(&s->problem);
        ldm_choice c;
        TRY(ldm_plan_choose(p, i, d, impl, &c));
        const bool can = ldm_step_can_strip(p, i, &c);
        for (int j = 0; j < ldm_op_slots(s->problem.op); j++)
            if (s->slot[j] != LDM_NONE && !(can && is_map(w, s->problem.op, j))) fixed[ldm_view_root(p, s->slot[j], NULL)] = true;
    }
    for (int t = 0; t < p->tensors; t++) {
        ldm_tensor_info *i = &p->tensor[t];
        i->spilled = most && i->kind == LDM_ACTIVATION && !fixed[t] &&
                     (size_t)ldm_shape_count(&i->shape) * ldm_dtype_size(i->dtype) > most;
    }
done:
    free(fixed);
    return st;
}
