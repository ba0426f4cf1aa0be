/* peak.c -- measures what a device can do at most. Runs kernels/peak.cl; owns the choice of sizes and repeats. */
#include "ops/peak.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS_A_UNIT = 16, GROUP = 256, MAX_ITEMS = 1 << 20 };
static const double FMA_SECONDS = 0.03, STREAM_SECONDS = 0.02, STREAM_BUDGET = 0.3;
static const size_t STREAM_BYTES = 256u << 20;

double ldm_peak_gbs(const ldm_peak *p) {
    double best = p->read_gbs > p->copy_gbs ? p->read_gbs : p->copy_gbs;
    return p->triad_gbs > best ? p->triad_gbs : best;
}

double ldm_peak_limit(const ldm_peak *p, double flops, double bytes) {
    double compute = flops / (p->gflops * 1e9), memory = bytes / (ldm_peak_gbs(p) * 1e9);
    return compute > memory ? compute : memory;
}

double ldm_peak_floor(const ldm_peak *peak, const ldm_problem *p, const ldm_device *d, const ldm_impl **best, ldm_cost *cost) {
    double least = HUGE_VAL;
    const ldm_family other = d->type == LDM_DEVICE_CPU ? LDM_GPU : LDM_CPU;
    ldm_choice chosen = {0}; /* of rows that cost the same this one is named */
    if (ldm_choose(p, d, &chosen)) chosen.impl = NULL;
    for (const ldm_impl *i = p->op->impls; i->name; i++) {
        ldm_choice c = {.impl = i};
        if (i->family == LDM_LIBRARY || i->family == other || ldm_cannot(p, d, i) || (i->reference && d->exact)) continue;
        for (int set = 0; ldm_params_set(i, set, c.params) && (set == 0 || i->cost); set++) {
            if (i->cost && !ldm_params_legal(p, i, c.params, d)) continue;
            const ldm_cost own = ldm_choice_cost(p, &c, d);
            const double limit = ldm_peak_limit(peak, own.flops, own.bytes);
            if (limit > least || (limit == least && i != chosen.impl)) continue;
            least = limit;
            if (best) *best = i;
            if (cost) *cost = own;
        }
    }
    return least;
}

/* Seconds of one of `count` back-to-back enqueues. */
static ldm_status time_step(ldm_cl *cl, ldm_step *step, int count, double *seconds) {
    double start = ldm_now();
    for (int i = 0; i < count; i++) {
        ldm_status st = ldm_step_enqueue(step);
        if (st) return st;
    }
    ldm_status st = ldm_cl_finish(cl);
    if (st) return st;
    *seconds = (ldm_now() - start) / count;
    return LDM_OK;
}

static ldm_status fma_step(ldm_cl *cl, const char *kernel, int items, int group, int loops, ldm_buffer *y, ldm_step **out) {
    ldm_recipe *r = calloc(1, sizeof *r);
    if (!r) return ldm_fail(LDM_ERR_NOMEM, "peak: host memory could not be allocated");
    ldm_rec_kernel(r, "peak.cl", kernel);
    ldm_rec_slot(r, 0);
    ldm_rec_int(r, loops);
    ldm_rec_float(r, 0.999);
    ldm_rec_float(r, 0.001);
    ldm_rec_range1(r, items, group);
    ldm_status st = ldm_step_create(cl, r, &y, 1, NULL, out);
    free(r);
    return st;
}

/* GFLOP/s of one FMA kernel: loops are raised until a run takes FMA_SECONDS, then the best of five. */
static ldm_status fma_rate(ldm_cl *cl, const char *kernel, int width, int accumulators, double *gflops) {
    ldm_status st = LDM_OK;
    const ldm_device *d = ldm_cl_device(cl);
    bool cpu = d->type == LDM_DEVICE_CPU;
    int group = cpu ? 1 : d->max_group < GROUP ? (int)d->max_group : GROUP;
    int items = cpu ? d->units * ITEMS_A_UNIT : d->units * 8 * GROUP;
    ldm_buffer *y = NULL;
    ldm_step *step = NULL;
    double best = 0, seconds = 0, loops = 64;
    TRY(ldm_buffer_create(cl, (size_t)ldm_round_up(items, group) * sizeof(float), &y));
    for (int try = 0; try < 6; try++) { /* the first runs also build and wake the device */
        TRY(fma_step(cl, kernel, items, group, (int)loops, y, &step));
        TRY(time_step(cl, step, 1, &seconds));
        TRY(time_step(cl, step, 1, &seconds));
        if (seconds > FMA_SECONDS / 2) break;
        double factor = seconds > 0 ? FMA_SECONDS / seconds : 64;
        loops *= factor < 64 ? factor : 64;
        if (loops > 1e8) loops = 1e8;
        ldm_step_destroy(step);
        step = NULL;
    }
    for (int i = 0; i < 5 && step; i++) {
        TRY(time_step(cl, step, 1, &seconds));
        double rate = 2.0 * 4 * width * accumulators * (double)(int)loops * (double)ldm_round_up(items, group) / seconds * 1e-9;
        if (rate > best) best = rate;
    }
    *gflops = best;
done:
    ldm_step_destroy(step);
    ldm_buffer_destroy(y);
    return st;
}

/* GB/s of one streaming kernel on `n` vectors of `vector` bytes; `arrays` are read, one is written if `write`. */
static ldm_status stream_rate(ldm_cl *cl, const char *kernel, ldm_buffer *const *slot, int arrays, bool write, size_t bytes, int items,
                              int group, int vector, double *gbs) {
    ldm_status st = LDM_OK;
    ldm_step *step = NULL;
    double best = 0, seconds = 0, start = ldm_now();
    ldm_recipe *r = calloc(1, sizeof *r);
    if (!r) return ldm_fail(LDM_ERR_NOMEM, "peak: host memory could not be allocated");
    ldm_rec_kernel(r, "peak.cl", kernel);
    for (int i = 0; i <= arrays; i++) ldm_rec_slot(r, i);
    ldm_rec_int(r, (int64_t)(bytes / (size_t)vector));
    ldm_rec_range1(r, items, group);
    TRY(ldm_step_create(cl, r, slot, arrays + 1, NULL, &step));
    TRY(time_step(cl, step, 1, &seconds)); /* builds; the first touch of the memory */
    TRY(time_step(cl, step, 1, &seconds));
    int count = seconds > STREAM_SECONDS ? 1 : (int)(STREAM_SECONDS / (seconds > 1e-6 ? seconds : 1e-6)) + 1;
    for (int i = 0; i < 8 && (i < 2 || ldm_now() - start < STREAM_BUDGET); i++) {
        TRY(time_step(cl, step, count, &seconds));
        double rate = (double)bytes * (arrays + write) / seconds * 1e-9;
        if (rate > best) best = rate;
    }
    *gbs = best;
done:
    ldm_step_destroy(step);
    free(r);
    return st;
}

static ldm_status bandwidth(ldm_cl *cl, ldm_peak *p) {
    ldm_status st = LDM_OK;
    const ldm_device *d = ldm_cl_device(cl);
    bool cpu = d->type == LDM_DEVICE_CPU;
    ldm_buffer *y = NULL, *a = NULL, *b = NULL;
    size_t bytes = STREAM_BYTES;
    while (bytes > (1u << 20) && (bytes > d->max_alloc || bytes > d->global_bytes / 8)) bytes /= 2;
    int group = cpu ? 1 : d->max_group < GROUP ? (int)d->max_group : GROUP;
    int items = cpu ? d->units * ITEMS_A_UNIT : d->units * 16 * GROUP, vector = cpu ? 64 : 16;
    if (items > MAX_ITEMS) items = MAX_ITEMS;
    items = (int)ldm_round_up(items, group);
    TRY(ldm_buffer_create(cl, bytes, &y));
    TRY(ldm_buffer_create(cl, bytes, &a));
    TRY(ldm_buffer_create(cl, bytes, &b));
    TRY(ldm_buffer_fill(y, 0, bytes, 0));
    TRY(ldm_buffer_fill(a, 0, bytes, 0x3f800000));
    TRY(ldm_buffer_fill(b, 0, bytes, 0x3f800000));
    ldm_buffer *slot[3] = {y, a, b};
    TRY(stream_rate(cl, cpu ? "read_strip" : "read_grid", slot, 1, false, bytes, items, group, vector, &p->read_gbs));
    TRY(stream_rate(cl, cpu ? "copy_strip" : "copy_grid", slot, 1, true, bytes, items, group, vector, &p->copy_gbs));
    TRY(stream_rate(cl, cpu ? "triad_strip" : "triad_grid", slot, 2, true, bytes, items, group, vector, &p->triad_gbs));
done:
    ldm_buffer_destroy(y);
    ldm_buffer_destroy(a);
    ldm_buffer_destroy(b);
    return st;
}

ldm_status ldm_measure_launch(ldm_cl *cl, double *seconds) {
    enum { LAUNCHES = 2000, REPEATS = 5 };
    ldm_status st = LDM_OK;
    ldm_buffer *y = NULL;
    ldm_step *step = NULL;
    double each, best = 0;
    TRY(ldm_buffer_create(cl, 64, &y));
    TRY(fma_step(cl, "fma_1x16", 1, 1, 0, y, &step));
    for (int i = 0; i <= REPEATS; i++) { /* the first one builds */
        TRY(time_step(cl, step, i ? LAUNCHES : 1, &each));
        if (i == 1 || (i && each < best)) best = each;
    }
    *seconds = best;
done:
    ldm_step_destroy(step);
    ldm_buffer_destroy(y);
    return ldm_prefix(st, "launch");
}

static ldm_status measure(ldm_cl *cl, ldm_peak *out) {
    static const struct { const char *kernel; int width, accumulators; bool cpu, gpu; } variants[] = {
        {"fma_16x24", 16, 24, true, false}, {"fma_16x12", 16, 12, true, false}, {"fma_8x12", 8, 12, true, false},
        {"fma_4x16", 4, 16, true, true},    {"fma_4x8", 4, 8, false, true},     {"fma_1x16", 1, 16, false, true},
    };
    const bool cpu = ldm_cl_device(cl)->type == LDM_DEVICE_CPU;
    ldm_status st = LDM_OK;
    ldm_peak p = {0};
    double start = ldm_now();
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        double gflops = 0;
        if (cpu ? !variants[i].cpu : !variants[i].gpu) continue;
        TRY(fma_rate(cl, variants[i].kernel, variants[i].width, variants[i].accumulators, &gflops));
        if (gflops <= p.gflops) continue;
        p.gflops = gflops;
        snprintf(p.variant, sizeof p.variant, "%s", variants[i].kernel);
    }
    TRY(bandwidth(cl, &p));
    p.seconds = ldm_now() - start;
    *out = p;
done:
    return ldm_prefix(st, "peak");
}

/* What is known of the device, measured if nothing is, or `again`; of two measurements the higher of each figure. */
static ldm_status know(ldm_cl *cl, bool again, ldm_peak *out) {
    static ldm_peak known;
    static int known_platform = -1, known_index = -1, known_units = -1;
    const ldm_device *d = ldm_cl_device(cl);
    const bool same = d->platform == known_platform && d->index == known_index && d->units == known_units;
    if (same && !again) return *out = known, LDM_OK;
    ldm_peak p;
    ldm_status st = measure(cl, &p);
    if (st) return st;
    if (same) {
        if (p.gflops < known.gflops) p.gflops = known.gflops, memcpy(p.variant, known.variant, sizeof p.variant);
        p.read_gbs = fmax(p.read_gbs, known.read_gbs);
        p.copy_gbs = fmax(p.copy_gbs, known.copy_gbs);
        p.triad_gbs = fmax(p.triad_gbs, known.triad_gbs);
    }
    known = *out = p, known_platform = d->platform, known_index = d->index, known_units = d->units;
    return LDM_OK;
}

ldm_status ldm_measure_peak(ldm_cl *cl, ldm_peak *out) { return know(cl, false, out); }
ldm_status ldm_measure_peak_again(ldm_cl *cl, ldm_peak *out) { return know(cl, true, out); }
