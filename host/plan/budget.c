/* budget.c -- see budget.h. */
#include "plan/budget.h"

size_t ldm_memory_bytes(const ldm_memory *m) { return m->weights + m->activations + m->scratch; }

/* ---- one plan ---------------------------------------------------------------------------------------------------- */

typedef struct fitting {
    ldm_plan *plan;
    const ldm_device *device;
    const ldm_source *source;
    size_t budget, least; /* of what was tried */
    ldm_memory m;
    char why[400]; /* the first way that could not be tried at all */
} fitting;

/* Whether the plan fits so; *st: a failure other than that it does not. */
static bool fits(fitting *f, size_t most, size_t strip_bytes, size_t weight_bytes, ldm_status *st) {
    f->plan->weight_bytes = weight_bytes;
    *st = ldm_plan_spill(f->plan, f->device, NULL, most, strip_bytes);
    if (!*st) *st = ldm_plan_finish(f->plan, f->device->max_alloc, f->device->base_align);
    if (!*st) *st = ldm_exec_memory(f->plan, f->device, f->source, &f->m);
    if (*st == LDM_ERR_NOMEM) { /* a tensor, a strip or a step's weights larger than may be */
        if (!*f->why) snprintf(f->why, sizeof f->why, "%s", ldm_message());
        return *st = LDM_OK, false;
    }
    if (*st) return false;
    const size_t all = ldm_memory_bytes(&f->m);
    if (all < f->least) f->least = all;
    /* what is kept in host memory instead is the same memory on a device that shares it */
    if (f->device->unified && all + f->m.host + f->m.streamed > f->device->all_bytes && (f->m.host || f->m.streamed)) {
        if (!*f->why)
            snprintf(f->why, sizeof f->why, "with %.1f MiB in host memory it is more than the %.1f MiB there are",
                     (double)(f->m.host + f->m.streamed) / 0x1p20, (double)f->device->all_bytes / 0x1p20);
        return false;
    }
    return all <= f->budget;
}

/* Smaller and smaller maps to the host, until what is left and its strips take no more than `room`. */
static bool fits_in_strips(fitting *f, size_t room, size_t weight_bytes, ldm_status *st) {
    enum { LEAST = 1 << 14 };
    for (size_t most = room / 4; most >= LEAST && !*st; most /= 2)
        for (size_t strips = room / 2; strips >= most && !*st; strips /= 2)
            if (fits(f, most, strips, weight_bytes, st)) return true;
    return false;
}

ldm_status ldm_plan_fit(ldm_plan *p, const ldm_device *d, const ldm_source *w, size_t budget, bool repeats, ldm_memory *m) {
    fitting f = {.plan = p, .device = d, .source = w, .budget = budget, .least = SIZE_MAX};
    ldm_status st = LDM_OK;
    if (p->status) return p->status;
    bool done = fits(&f, 0, 0, 0, &st);
    const bool measured = !st && f.least < SIZE_MAX; /* else a single map is larger than a buffer may be */
    const size_t whole = measured ? f.least : 0;
    const size_t weights = measured ? f.m.weights : 0, rest = measured ? f.m.activations + f.m.scratch : SIZE_MAX;
    const size_t scratch = measured ? f.m.scratch : 0;
    for (int pass = 0; pass < 2 && !done && !st; pass++) {
        if ((pass == 0) == repeats) { /* weights in groups, maps as they are */
            if (rest < budget) done = fits(&f, 0, 0, budget - rest, &st);
        } else if (weights + scratch < budget) {
            done = fits_in_strips(&f, budget - weights - scratch, 0, &st);
        }
    }
    for (int part = 4; part >= 1 && !done && !st; part--) /* both: the weights get 4/5 .. 1/5 */
        done = fits_in_strips(&f, budget / 5 * (size_t)(5 - part), budget / 5 * (size_t)part, &st);
    if (!done && !st)
        st = ldm_fail(LDM_ERR_NOMEM, "device %s: the plan needs %.1f MiB%s, available are %.1f MiB%s%s", d->name,
                      (double)(measured ? whole : f.least) / 0x1p20, measured ? " as it is" : " in strips", (double)budget / 0x1p20,
                      *f.why ? ", and less is not to be had: " : "", f.why);
    if (!st && m) *m = f.m;
    return st;
}

/* ---- a pipeline -------------------------------------------------------------------------------------------------- */

enum { MEASURES = 5 };

static bool *measure(ldm_budget *b, int i) {
    bool *const all[MEASURES] = {&b->in_turn, &b->free_text, &b->free_network, &b->strips, &b->stream};
    return all[i];
}

static bool there_is(const ldm_needs *n, int i) {
    const bool all[MEASURES] = {n->network_in_turn != 0, n->text && (n->network || n->decoder), n->network && n->decoder,
                                n->decoder_strips != 0,
                                n->text_streamed || n->network_streamed || n->decoder_streamed};
    return all[i];
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* One part alone may be larger than the budget: then as little of it as can be. */
static size_t streamed(bool stream, size_t bytes, size_t least, size_t budget) {
    return stream && least && bytes > budget ? least : bytes;
}

static size_t peak_of(const ldm_needs *n, const ldm_budget *b, size_t budget) {
    const size_t text = streamed(b->stream, n->text, n->text_streamed, budget);
    const size_t network = streamed(b->stream, b->in_turn ? n->network_in_turn : n->network, n->network_streamed, budget);
    const size_t decoder = b->strips || !n->decoder_strips
                               ? streamed(b->stream, b->strips ? n->decoder_strips : n->decoder, n->decoder_streamed, budget)
                               : n->decoder;
    const size_t then = b->free_text ? larger(text, network) : text + network;
    const size_t last = (b->free_text ? 0 : text) + (b->free_network ? 0 : network) + decoder;
    return larger(then, last);
}

ldm_status ldm_budget_choose(const ldm_needs *n, size_t budget, ldm_budget *out) {
    ldm_budget b = {0};
    for (int i = 0; i < MEASURES && peak_of(n, &b, budget) > budget; i++) *measure(&b, i) = there_is(n, i);
    b.peak = peak_of(n, &b, budget);
    for (int i = 0; i < MEASURES && b.peak <= budget; i++) {
        ldm_budget without = b;
        *measure(&without, i) = false;
        without.peak = peak_of(n, &without, budget);
        if (without.peak <= budget) b = without;
    }
    *out = b;
    if (b.peak <= budget) return LDM_OK;
    return ldm_fail(LDM_ERR_NOMEM, "the plan needs %.1f MiB with all that saves memory, available are %.1f MiB",
                    (double)b.peak / 0x1p20, (double)budget / 0x1p20);
}

void ldm_budget_describe(const ldm_budget *b, size_t budget, ldm_text *out) {
    static const char *const words[MEASURES] = {"guidance as two batches of one", "the text encoder freed before the network",
                                                "the network freed before the decoder", "exact decoding in strips",
                                                "weights in groups"};
    ldm_budget copy = *b;
    bool any = false;
    for (int i = 0; i < MEASURES; i++) {
        if (!*measure(&copy, i)) continue;
        ldm_text_add(out, "%s%s", any ? ", " : "", words[i]);
        any = true;
    }
    const size_t peak = b->stream ? budget : b->peak; /* groups take what is left */
    ldm_text_add(out, "%s; peak %.1f MiB of %.1f MiB", any ? "" : "everything at once", (double)peak / 0x1p20, (double)budget / 0x1p20);
}
