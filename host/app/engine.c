/* engine.c -- see engine.h. */
#include "app/engine.h"
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

ldm_status app_engine_make(app_pool *pool, app_engine *e, const char *what, ldm_plan *plan) {
    ldm_status st = LDM_OK;
    const ldm_device *d = ldm_cl_device(pool->cl);
    ldm_memory m;
    app_engine_drop(pool, e);
    e->what = what, e->plan = plan;
    app_network net = {.plan = plan};
    TRY(ldm_system_source(pool->system, plan, &e->binding, &e->source));
    net.source = e->source;
    TRY(app_network_finish(&net, d));
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
