/* stream.c -- see stream.h: weights cut into groups, and their way to the device. */
#include "plan/stream.h"
#include <stdlib.h>
#include <string.h>

void ldm_stream_free(ldm_stream *s) {
    for (int g = 0; g < s->groups; g++) free(s->group[g].item);
    free(s->group);
    free(s->of_step);
    *s = (ldm_stream){0};
}

/* Weights of a step that do not stay, each once; their bytes. */
static size_t step_weights(const int *weight, const size_t *bytes, const bool *stays, int *list, int *n) {
    size_t sum = 0;
    *n = 0;
    for (int j = 0; j < LDM_MAX_SLOTS; j++) {
        bool again = weight[j] < 0 || !bytes[weight[j]] || (stays && stays[weight[j]]);
        for (int k = 0; k < *n && !again; k++) again = list[k] == weight[j];
        if (!again) list[(*n)++] = weight[j], sum += bytes[weight[j]];
    }
    return sum;
}

static bool has_item(const ldm_stream_group *g, int weight) {
    for (int i = 0; i < g->items; i++)
        if (g->item[i].weight == weight) return true;
    return false;
}

static ldm_status add_step(ldm_stream_group *g, int step, const int *list, int n, const size_t *bytes) {
    ldm_stream_item *more = realloc(g->item, (size_t)(g->items + n + 1) * sizeof *more);
    if (!more) return ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out");
    g->item = more;
    for (int i = 0; i < n; i++)
        if (!has_item(g, list[i])) g->item[g->items++] = (ldm_stream_item){list[i], g->bytes}, g->bytes += bytes[list[i]];
    g->last = step;
    return LDM_OK;
}

/* Groups of at most `most` bytes of one segment; the one numbered `halved` in it, if any, of at most half as much as it has. */
static ldm_status cut_segment(const ldm_plan *p, int segment, int (*weight)[LDM_MAX_SLOTS], const size_t *bytes, const bool *stays,
                              size_t most, int halved, size_t half, ldm_stream *s) {
    int list[LDM_MAX_SLOTS], n, open = -1, first = s->groups;
    for (int i = 0; i < p->steps; i++) {
        if (p->step[i].segment != segment) continue;
        const size_t own = step_weights(weight[i], bytes, stays, list, &n);
        if (!n) continue;
        if (open < 0 || s->group[open].bytes + own > (open - first == halved ? half : most)) {
            open = s->groups++;
            s->group[open] = (ldm_stream_group){.segment = segment, .first = i, .slot = (open - first) % 2};
        }
        s->of_step[i] = open;
        const ldm_status st = add_step(&s->group[open], i, list, n, bytes);
        if (st) return st;
    }
    return LDM_OK;
}

/* The same, and if that makes an odd number of groups the last is cut in two: the last one and the first of the next round
 * then have a slot each. */
static ldm_status cut_evenly(const ldm_plan *p, int segment, int (*weight)[LDM_MAX_SLOTS], const size_t *bytes, const bool *stays,
                             size_t most, ldm_stream *s) {
    const int before = s->groups;
    ldm_status st = cut_segment(p, segment, weight, bytes, stays, most, -1, 0, s);
    const int made = s->groups - before;
    if (st || made % 2 == 0 || s->group[s->groups - 1].first == s->group[s->groups - 1].last) return st;
    const size_t half = s->group[s->groups - 1].bytes / 2;
    while (s->groups > before) free(s->group[--s->groups].item);
    return cut_segment(p, segment, weight, bytes, stays, most, made - 1, half, s);
}

ldm_status ldm_stream_cut(const ldm_plan *p, const ldm_device *d, int (*weight)[LDM_MAX_SLOTS], const size_t *bytes, int count,
                          size_t budget, bool *stays, ldm_stream *out) {
    enum { PARTS = 16 }; /* a slot takes at least so small a part of the budget: few, large transfers */
    ldm_stream s = {0};
    int list[LDM_MAX_SLOTS], n, at = 0, segments = 1;
    size_t largest = 0;
    ldm_status st = LDM_OK;
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *s.group, (void **)&s.group));
    TRY(ldm_alloc((size_t)(p->steps + 1) * sizeof *s.of_step, (void **)&s.of_step));
    memset(stays, 0, (size_t)count);
    for (int i = 0; i < p->steps; i++) {
        const size_t own = step_weights(weight[i], bytes, NULL, list, &n);
        if (own > largest) largest = own, at = i;
        if (p->step[i].segment >= segments) segments = p->step[i].segment + 1;
    }
    s.slot_bytes = largest > budget / PARTS ? largest : budget / PARTS;
    if (s.slot_bytes > d->max_alloc) s.slot_bytes = d->max_alloc;
    if (2 * s.slot_bytes > budget || largest > s.slot_bytes)
        TRY(ldm_fail(LDM_ERR_NOMEM, "step %d (%s) takes %.1f MiB of weights: two slots of that exceed the %.1f MiB there are", at,
                     p->step[at].scope, (double)largest / 0x1p20, (double)budget / 0x1p20));
    /* what stays: the last segment runs again and again, its first steps run while the first groups are on their way */
    size_t left = budget - 2 * s.slot_bytes;
    for (int i = 0; i < p->steps; i++) {
        if (p->step[i].segment != segments - 1) continue;
        const size_t own = step_weights(weight[i], bytes, stays, list, &n);
        if (own > left) break;
        for (int k = 0; k < n; k++) stays[list[k]] = true;
        left -= own, s.resident += own;
    }
    for (int i = 0; i < p->steps; i++) s.of_step[i] = -1;
    for (int segment = 0; segment < segments; segment++)
        TRY(cut_evenly(p, segment, weight, bytes, stays, s.slot_bytes, &s));
    *out = s;
    s = (ldm_stream){0};
done:
    ldm_stream_free(&s);
    return st;
}

/* ---- on their way ------------------------------------------------------------------------------------------------ */

struct ldm_streamer {
    ldm_cl *cl;
    const ldm_stream *plan;
    ldm_pinned **host; /* by group */
    ldm_buffer *slot[2];
    int in_slot[2];        /* the group that is there, or on its way */
    bool awaited[2];       /* launches wait for it already */
    bool read[2];          /* by steps enqueued since `used` */
    ldm_mark **ready;      /* by group: its last transfer */
    ldm_mark *used[2];     /* the end of the steps that last read a slot */
};

ldm_status ldm_streamer_create(ldm_cl *cl, const ldm_stream *s, ldm_streamer **out) {
    ldm_status st = LDM_OK;
    ldm_streamer *r = NULL;
    TRY(ldm_alloc(sizeof *r, (void **)&r));
    *r = (ldm_streamer){.cl = cl, .plan = s, .in_slot = {-1, -1}};
    TRY(ldm_alloc((size_t)s->groups * sizeof *r->host, (void **)&r->host));
    TRY(ldm_alloc((size_t)s->groups * sizeof *r->ready, (void **)&r->ready));
    for (int i = 0; i < 2; i++) TRY(ldm_buffer_create(cl, s->slot_bytes, &r->slot[i]));
    for (int g = 0; g < s->groups; g++) TRY(ldm_pinned_create(cl, s->group[g].bytes, &r->host[g]));
    *out = r;
    r = NULL;
done:
    ldm_streamer_destroy(r);
    return st;
}

void ldm_streamer_destroy(ldm_streamer *r) {
    if (!r) return;
    ldm_cl_finish(r->cl);
    for (int g = 0; r->ready && g < r->plan->groups; g++) { /* some may be on their way to a round that never comes */
        ldm_mark_wait(r->ready[g]);
        ldm_mark_destroy(r->ready[g]);
    }
    for (int g = 0; r->host && g < r->plan->groups; g++) ldm_pinned_destroy(r->host[g]);
    for (int i = 0; i < 2; i++) ldm_mark_destroy(r->used[i]), ldm_buffer_destroy(r->slot[i]);
    free(r->host);
    free(r->ready);
    free(r);
}

char *ldm_streamer_host(ldm_streamer *r, int group) { return ldm_pinned_data(r->host[group]); }
ldm_buffer *ldm_streamer_slot(ldm_streamer *r, int slot) { return r->slot[slot]; }

static ldm_status mark_used(ldm_streamer *r, int slot) {
    ldm_mark_destroy(r->used[slot]);
    r->used[slot] = NULL;
    r->read[slot] = false;
    return ldm_cl_mark(r->cl, &r->used[slot]);
}

/* Sends a group to its slot once the steps that read the slot before have run. */
static ldm_status send(ldm_streamer *r, int group) {
    const ldm_stream_group *g = &r->plan->group[group];
    if (r->in_slot[g->slot] == group) return LDM_OK;
    ldm_status st = r->read[g->slot] ? mark_used(r, g->slot) : LDM_OK;
    if (st) return st;
    ldm_mark_destroy(r->ready[group]);
    r->ready[group] = NULL;
    r->in_slot[g->slot] = -1;
    st = ldm_upload(r->slot[g->slot], ldm_pinned_data(r->host[group]), g->bytes, r->used[g->slot], &r->ready[group]);
    if (!st) r->in_slot[g->slot] = group, r->awaited[g->slot] = false;
    return st;
}

/* The group `further` groups on in the same segment, after whose last one the first comes again. */
static int following(const ldm_stream *s, int group, int further) {
    int first = group, last = group;
    while (first > 0 && s->group[first - 1].segment == s->group[group].segment) first--;
    while (last + 1 < s->groups && s->group[last + 1].segment == s->group[group].segment) last++;
    return first + (group - first + further) % (last - first + 1);
}

ldm_status ldm_streamer_before(ldm_streamer *r, int step) {
    const int group = r->plan->of_step[step];
    if (group < 0) return LDM_OK;
    const int slot = r->plan->group[group].slot, next = following(r->plan, group, 1);
    ldm_status st = send(r, group);
    if (!st && !r->awaited[slot]) {
        st = ldm_cl_await(r->cl, r->ready[group]);
        r->awaited[slot] = true;
    }
    r->read[slot] = true;
    if (!st && r->plan->group[next].slot != slot) st = send(r, next);
    return st;
}

ldm_status ldm_streamer_after(ldm_streamer *r, int step) {
    const int group = r->plan->of_step[step];
    if (group < 0 || r->plan->group[group].last != step) return LDM_OK;
    const int slot = r->plan->group[group].slot, then = following(r->plan, group, 2);
    const ldm_status st = mark_used(r, slot);
    return !st && r->plan->group[then].slot == slot ? send(r, then) : st;
}

bool ldm_streamer_span(ldm_streamer *r, int group, double *start, double *end) {
    return r->ready[group] && ldm_mark_span(r->ready[group], start, end);
}
