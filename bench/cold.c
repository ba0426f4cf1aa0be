/* cold.c -- see cold.h. Copies one buffer to another with the bench's own streaming kernels (kernels/peak.cl). */
#include "bench/cold.h"
#include <stdlib.h>

enum { CACHES = 4, ITEMS_A_UNIT = 16, GROUP = 64 };
static const size_t LEAST = 256u << 20, MOST = 1024u << 20;

ldm_status bench_cold_create(ldm_cl *cl, bench_cold *out) {
    ldm_status st = LDM_OK;
    bench_cold c = {0};
    ldm_recipe *r = NULL;
    const ldm_device *d = ldm_cl_device(cl);
    const bool cpu = d->type == LDM_DEVICE_CPU;
    const int64_t vector = cpu ? 64 : 16, items = d->units * (cpu ? ITEMS_A_UNIT : 16 * GROUP);
    size_t half = CACHES * d->cache_bytes / 2;
    if (half < LEAST / 2) half = LEAST / 2;
    if (half > MOST / 2) half = MOST / 2;
    if (half > d->max_alloc) half = d->max_alloc;
    half = half / 4096 * 4096;
    TRY(ldm_buffer_create(cl, half, &c.from));
    TRY(ldm_buffer_create(cl, half, &c.to));
    TRY(ldm_buffer_fill(c.from, 0, half, 0));
    TRY(ldm_alloc(sizeof *r, (void **)&r));
    ldm_rec_kernel(r, "peak.cl", cpu ? "copy_strip" : "copy_grid");
    ldm_rec_slot(r, 0);
    ldm_rec_slot(r, 1);
    ldm_rec_int(r, (int64_t)half / vector);
    ldm_rec_range1(r, items, cpu ? 1 : GROUP);
    TRY(ldm_step_create(cl, r, (ldm_buffer *[]){c.to, c.from}, 2, NULL, &c.step));
    c.bytes = 2 * half;
    *out = c;
    c = (bench_cold){0};
done:
    bench_cold_destroy(&c);
    free(r);
    return ldm_prefix(st, "emptying the caches");
}

ldm_status bench_cold_enqueue(bench_cold *c) { return ldm_step_enqueue(c->step); }

void bench_cold_destroy(bench_cold *c) {
    ldm_step_destroy(c->step);
    ldm_buffer_destroy(c->from);
    ldm_buffer_destroy(c->to);
    *c = (bench_cold){0};
}
