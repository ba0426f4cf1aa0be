/* engine.c -- see engine.h. */
#include "app/engine.h"
#include "plan/budget.h"
#include <string.h>

static void unlist(app_pool *pool, const app_engine *e) {
    for (int i = 0; i < pool->count; i++) {
        if (pool->made[i] != e) continue;
        memmove(pool->made + i, pool->made + i + 1, (size_t)(--pool->count - i) * sizeof *pool->made);
        return;
    }
}

void app_engine_use(app_pool *pool, app_engine *e) {
    unlist(pool, e);
    pool->made[pool->count++] = e;
}

void app_engine_drop(app_pool *pool, app_engine *e) {
    unlist(pool, e);
    ldm_exec_destroy(e->exec);
    ldm_binding_destroy(e->binding);
    ldm_plan_destroy(e->plan);
    *e = (app_engine){0};
}

void app_pool_drop(app_pool *pool) {
    while (pool->count) app_engine_drop(pool, pool->made[0]);
}

/* Others go until `need` bytes more fit. */
static void make_room(app_pool *pool, size_t need) {
    size_t all = ldm_cl_device(pool->cl)->global_bytes;
    for (int i = 0; i < pool->count && ldm_cl_bytes(pool->cl) + need > all;) {
        if (pool->made[i] == pool->held) {
            i++;
            continue;
        }
        ldm_note("%s: memory given back", pool->made[i]->what);
        app_engine_drop(pool, pool->made[i]);
    }
}

/* What is running keeps its memory. */
static size_t held_bytes(const app_pool *pool) {
    const ldm_memory m = pool->held && pool->held->exec ? ldm_exec_taken(pool->held->exec) : (ldm_memory){0};
    return ldm_memory_bytes(&m);
}

ldm_status app_engine_probe(app_pool *pool, ldm_plan *plan, size_t budget, size_t *bytes, bool *in_groups) {
    const ldm_device *d = ldm_cl_device(pool->cl);
    ldm_binding *binding = NULL;
    ldm_source source;
    ldm_memory m = {0};
    ldm_status st = ldm_system_source(pool->system, plan, &binding, &source);
    bool repeats = false;
    plan->as_given = d->low_memory;
    if (!st && app_fuses()) st = ldm_plan_fuse(plan);
    for (int i = 0; i < plan->steps; i++) repeats = repeats || plan->step[i].segment > 0;
    if (!st) st = ldm_plan_fit(plan, d, &source, budget, repeats, &m);
    if (st == LDM_ERR_NOMEM) st = LDM_OK, m = (ldm_memory){0};
    *bytes = ldm_memory_bytes(&m), *in_groups = m.groups > 0;
    ldm_binding_destroy(binding);
    ldm_plan_destroy(plan);
    return st;
}

ldm_status app_engine_make(app_pool *pool, app_engine *e, const char *what, ldm_plan *plan) {
    ldm_status st = LDM_OK;
    const ldm_device *d = ldm_cl_device(pool->cl);
    ldm_memory m;
    app_engine_drop(pool, e);
    e->what = what, e->plan = plan;
    app_network net = {.plan = plan};
    TRY(ldm_system_source(pool->system, plan, &e->binding, &e->source));
    net.source = e->source;
    const size_t held = held_bytes(pool);
    TRY(app_network_fit(&net, d, d->global_bytes > held ? d->global_bytes - held : 0));
    TRY(ldm_exec_memory(plan, d, &e->source, &m));
    make_room(pool, m.weights + m.activations + m.scratch);
    TRY(app_exec_create(&net, pool->cl, what, NULL, &e->exec));
    app_engine_use(pool, e);
done:
    if (st) {
        ldm_prefix(st, "%s", what);
        app_engine_drop(pool, e);
    }
    return st;
}
