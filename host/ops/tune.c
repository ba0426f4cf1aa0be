/* tune.c -- see tune.h: candidates in order, each judged before it is timed, the best few timed again in turns. */
#include "ops/tune.h"
#include "ops/trial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNNERS = 4, FIRST_TIMES = 3, TURNS = 5, LAST_TURNS = 15 };
enum { CACHES = 3, ITEMS_A_UNIT = 16, GROUP = 64 }; /* before a run so many times the caches' bytes are read, by every unit */
static const size_t LEAST_READ = 64u << 20, MOST_READ = 512u << 20;
static const double MAPS_ONLY = 64 << 10; /* bytes of weights that make no difference: norms, attention, moves */
static const double HOPELESS = 1.4;   /* times the best: not timed again */
static const double GAIN = 0.97;      /* of the default's time: less of a gain is none */
static const double LARGER = 1.5;     /* times the weights' bytes: then the gain must be */
static const double LARGE_GAIN = 0.9; /* such, since memory is wanted too */
static const double SEARCH = 0.75;    /* of the budget; the rest is for timing the best again */

/* ---- candidates --------------------------------------------------------------------------------------------------- */

typedef struct ranked {
    ldm_choice c;
    int rank[4]; /* not the default; not preferred; changes; place in the table */
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    for (int i = 0; i < 4; i++)
        if (x->rank[i] != y->rank[i]) return x->rank[i] < y->rank[i] ? -1 : 1;
    return 0;
}

/* Bytes of the weights as c lays them out; as they are stored where c is NULL. */
static double weight_bytes(const ldm_problem *p, const ldm_choice *c) {
    ldm_slot slot[LDM_MAX_SLOTS];
    double sum = 0;
    memset(slot, 0, sizeof slot);
    if (p->op->infer(p, slot)) return 0;
    for (int i = 0; i < ldm_op_slots(p->op) - 1; i++) {
        ldm_packing k;
        if (!slot[i].param || !slot[i].present) continue;
        const bool packed = c && c->impl->pack && c->impl->pack(p, c->params, i, &k);
        sum += packed ? (double)k.bytes : (double)ldm_dtype_bytes(slot[i].dtype, ldm_shape_count(&slot[i].shape));
    }
    return sum;
}

/* Weights kept smaller than f32 are kept so for memory: no speed buys half as many bytes again. */
static bool lean(const ldm_problem *p, const ldm_choice *c) {
    return p->wdtype == LDM_F32 || weight_bytes(p, c) <= LARGER * weight_bytes(p, NULL) + (1 << 16);
}

static bool meant_for(const ldm_device *d, const ldm_impl *i, bool full) {
    return (full || i->family != LDM_PLAIN) && !ldm_other_family(d, i) && !ldm_ruled_out(d, i);
}

ldm_status ldm_tune_candidates(const ldm_problem *p, const ldm_device *d, bool full, ldm_choice **list, int *count) {
    ldm_status st = LDM_OK;
    ldm_device untuned = *d;
    ldm_choice usual;
    ranked *r = NULL;
    int n = 0, room = 0;
    untuned.tuned = NULL;
    TRY(ldm_choose(p, &untuned, &usual));
    for (const ldm_impl *i = p->op->impls; i->name; i++) {
        int own[LDM_MAX_TUNABLES];
        ldm_choice c = {.impl = i};
        if (ldm_cannot(p, d, i) || (i != usual.impl && !meant_for(d, i, full))) continue;
        ldm_default_params(p, i, d, own);
        for (int set = 0; ldm_params_set(i, set, c.params); set++) {
            if (!ldm_params_legal(p, i, c.params, d) || (i != usual.impl && !lean(p, &c))) continue;
            if (n == room) {
                ranked *grown = realloc(r, (size_t)(room = room * 2 + 64) * sizeof *r);
                if (!grown) TRY(ldm_fail(LDM_ERR_NOMEM, "candidates: host memory for %d could not be allocated", room));
                r = grown;
            }
            int changes = 0;
            for (int t = 0; t < LDM_MAX_TUNABLES; t++) changes += c.params[t] != own[t];
            r[n] = (ranked){c, {i != usual.impl || changes, i->prefers && i->prefers(p, c.params, d), changes, n}};
            n++;
        }
    }
    qsort(r, (size_t)n, sizeof *r, by_rank);
    TRY(ldm_alloc((size_t)n * sizeof **list, (void **)list));
    for (int i = 0; i < n; i++) (*list)[i] = r[i].c;
    *count = n;
done:
    free(r);
    return st;
}

/* ---- the race ----------------------------------------------------------------------------------------------------- */

typedef struct runner {
    ldm_choice c;
    ldm_oprun *run;
    double last, best, error; /* seconds of the last run and of the fastest; error / bound */
    bool usual;
} runner;

typedef struct race {
    ldm_cl *cl;
    ldm_buffer *read, *sums; /* what empties the caches */
    ldm_step *empty;        /* NULL: what the problem reads is warm in a network too */
    runner by[MOST_RUNNERS + 1]; /* fastest first; the default stays, whatever its place */
    int count;
} race;

/* Reading, not writing: what was written would still have to leave while the run is timed. */
static ldm_status make_empty(race *r) {
    ldm_status st = LDM_OK;
    const ldm_device *d = ldm_cl_device(r->cl);
    const bool cpu = d->type == LDM_DEVICE_CPU;
    const int64_t items = d->units * (cpu ? ITEMS_A_UNIT : 16 * GROUP);
    size_t bytes = CACHES * d->cache_bytes;
    ldm_recipe *recipe = NULL;
    if (bytes < LEAST_READ) bytes = LEAST_READ;
    if (bytes > MOST_READ) bytes = MOST_READ;
    if (bytes > d->max_alloc) bytes = d->max_alloc / 4096 * 4096;
    TRY(ldm_buffer_create(r->cl, bytes, &r->read));
    TRY(ldm_buffer_create(r->cl, (size_t)items * sizeof(float), &r->sums));
    TRY(ldm_buffer_fill(r->read, 0, bytes, 0));
    TRY(ldm_alloc(sizeof *recipe, (void **)&recipe));
    ldm_rec_kernel(recipe, "peak.cl", cpu ? "read_strip" : "read_grid");
    ldm_rec_slot(recipe, 0);
    ldm_rec_slot(recipe, 1);
    ldm_rec_int(recipe, (int64_t)bytes / (cpu ? 64 : 16));
    ldm_rec_range1(recipe, items, cpu ? 1 : GROUP);
    TRY(ldm_step_create(r->cl, recipe, (ldm_buffer *[]){r->sums, r->read}, 2, NULL, &r->empty));
done:
    free(recipe);
    return st;
}

static ldm_status time_once(race *r, runner *x) {
    ldm_status st = LDM_OK;
    TRY(ldm_check_interrupt());
    if (r->empty) {
        TRY(ldm_step_enqueue(r->empty));
        TRY(ldm_cl_finish(r->cl));
    }
    const double start = ldm_now();
    TRY(ldm_oprun_enqueue(x->run));
    TRY(ldm_cl_finish(r->cl));
    x->last = ldm_now() - start;
    x->best = fmin(x->best, x->last);
done:
    return st;
}

static int by_best(const void *a, const void *b) {
    const double x = ((const runner *)a)->best, y = ((const runner *)b)->best;
    return x < y ? -1 : x > y;
}

/* Keeps the `most` fastest, and the default. */
static void keep(race *r, int most) {
    qsort(r->by, (size_t)r->count, sizeof *r->by, by_best);
    int kept = 0;
    for (int i = 0; i < r->count; i++) {
        if (i < most || r->by[i].usual) r->by[kept++] = r->by[i];
        else ldm_oprun_destroy(r->by[i].run);
    }
    r->count = kept;
}

/* In turns, so that what else the machine does meets all of them. */
static ldm_status turns(race *r, int count) {
    ldm_status st = LDM_OK;
    for (int t = 0; t < count; t++)
        for (int i = 0; i < r->count; i++) TRY(time_once(r, &r->by[i]));
done:
    return st;
}

/* The last ones in turns, of which the default is the second, if it is not the first itself: medians, so that a quiet moment
 * makes no winner, and of the ratio, so that what slows both counts for neither. */
static ldm_status decide(race *r, ldm_tuned_entry *out) {
    ldm_status st = LDM_OK;
    double time[2][LAST_TURNS], ratio[LAST_TURNS];
    for (int t = 0; t < LAST_TURNS; t++) {
        TRY(turns(r, 1));
        for (int i = 0; i < r->count; i++) time[i][t] = r->by[i].last;
        ratio[t] = time[0][t] / time[r->count - 1][t];
    }
    const bool larger = weight_bytes(&out->problem, &r->by[0].c) >
                        LARGER * weight_bytes(&out->problem, &r->by[r->count - 1].c);
    const bool pays = r->count > 1 && ldm_median(ratio, LAST_TURNS) < (larger ? LARGE_GAIN : GAIN);
    for (int i = 0; i < r->count; i++) r->by[i].best = ldm_median(time[i], LAST_TURNS);
    const runner *last = &r->by[r->count - 1], *best = last->usual && !pays ? last : &r->by[0];
    out->choice = best->c, out->error = best->error;
    out->us = best->best * 1e6, out->usual_us = last->usual ? last->best * 1e6 : 0;
done:
    return st;
}

/* Judged, then timed; r->by holds it only if it is right and not hopeless. */
static ldm_status enter(race *r, ldm_trial *trial, const ldm_choice *c, bool usual) {
    ldm_status st = LDM_OK;
    runner x = {.c = *c, .best = INFINITY, .usual = usual};
    char params[200];
    const ldm_status wrong = ldm_trial_run(trial, r->cl, c, &x.run, &x.error);
    if (wrong) {
        if (wrong != LDM_ERR_NOMEM)
            ldm_note("left out: %s %s: %s", c->impl->name, ldm_choice_params(c, params, sizeof params), ldm_message());
        return LDM_OK;
    }
    for (int i = 0; i < FIRST_TIMES; i++) {
        TRY(time_once(r, &x));
        if (!usual && r->count && x.best > HOPELESS * r->by[0].best) goto done;
    }
    r->by[r->count++] = x;
    x.run = NULL;
    keep(r, MOST_RUNNERS - 1);
done:
    ldm_oprun_destroy(x.run);
    return st;
}

ldm_status ldm_tune_problem(ldm_cl *cl, const ldm_problem *p, const ldm_tune_options *o, ldm_tuned_entry *out) {
    ldm_status st = LDM_OK;
    const ldm_device *d = ldm_cl_device(cl);
    const double start = ldm_now();
    ldm_choice *list = NULL;
    ldm_trial *trial = NULL;
    race r = {.cl = cl};
    char text[LDM_PROBLEM_TEXT];
    int count = 0, tried = 0;
    TRY(ldm_tune_candidates(p, d, o->full, &list, &count));
    if (count < 2)
        TRY(ldm_fail(LDM_ERR_UNSUPPORTED, "%s: nothing to choose from", ldm_problem_text(p, text, sizeof text)));
    TRY(ldm_trial_create(p, &trial));
    if (weight_bytes(p, NULL) > MAPS_ONLY) TRY(make_empty(&r));
    for (; tried < count; tried++) {
        if (o->budget > 0 && !o->full && tried >= 2 && ldm_now() - start > SEARCH * o->budget) break;
        if (o->each) o->each(o->user, &list[tried], tried, count);
        TRY(enter(&r, trial, &list[tried], tried == 0));
    }
    if (!r.count)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "%s: all %d choices tried are wrong or cannot be run",
                     ldm_problem_text(p, text, sizeof text), tried));
    for (int most = r.count; most > 2; most = (most + 1) / 2) {
        TRY(turns(&r, TURNS));
        keep(&r, (most + 1) / 2);
    }
    keep(&r, 1);
    ldm_tuned_entry found = {.problem = *p, .tried = tried, .legal = count, .trust = 1};
    snprintf(found.driver, sizeof found.driver, "%s", d->driver);
    TRY(decide(&r, &found));
    *out = found;
done:
    for (int i = 0; i < r.count; i++) ldm_oprun_destroy(r.by[i].run);
    ldm_step_destroy(r.empty);
    ldm_buffer_destroy(r.read);
    ldm_buffer_destroy(r.sums);
    ldm_trial_destroy(trial);
    free(list);
    return st;
}
