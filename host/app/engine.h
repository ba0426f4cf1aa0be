/* engine.h -- the networks of one system on one device: each a plan with its weights, made when it is first run and given
 * back when another one needs its memory. */
#ifndef LDM_APP_ENGINE_H
#define LDM_APP_ENGINE_H

#include "app/network.h"
#include "model/system.h"

enum { APP_ENGINES = 8 };

typedef struct app_engine {
    const char *what; /* "text encoder", for notes and sentences; borrowed */
    ldm_plan *plan;
    ldm_binding *binding;
    ldm_source source;
    ldm_exec *exec; /* NULL: not made */
} app_engine;

typedef struct app_pool {
    ldm_cl *cl;         /* borrowed */
    ldm_system *system; /* borrowed */
    app_engine *made[APP_ENGINES]; /* those with an exec, the one used last behind */
    int count;
    const app_engine *held; /* runs just now, and may not be dropped; NULL */
} app_pool;

/* Makes e run `plan`, which it takes, also after a failure: weights bound, fused, laid out, on the device. Others of the pool
 * are dropped, longest unused first, as far as the device's memory asks for it. LDM_ERR_NOMEM with what the plan needs if it
 * does not fit alone. */
ldm_status app_engine_make(app_pool *pool, app_engine *e, const char *what, ldm_plan *plan);
/* What `plan`, which it takes, would need on the device within `budget` bytes: *in_groups of weights that come and go; *bytes 0
 * if it cannot be had so small. */
ldm_status app_engine_probe(app_pool *pool, ldm_plan *plan, size_t budget, size_t *bytes, bool *in_groups);
void app_engine_use(app_pool *pool, app_engine *e); /* it was used just now */
void app_engine_drop(app_pool *pool, app_engine *e); /* frees what it has; it can be made again */
void app_pool_drop(app_pool *pool);                  /* all of them */

#endif
