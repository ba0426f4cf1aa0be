/* pipeline_memory.c -- what each part needs of the device, and what is done to keep to it. */
#include "app/pipeline_internal.h"
#include "plan/budget.h"
#include <stdint.h>

static ldm_status probe(app_pipeline *p, pipe_part which, size_t budget, size_t *bytes, bool *in_groups) {
    ldm_plan *plan = NULL;
    ldm_status st = pipe_plan_part(p, which, &plan);
    return ldm_prefix(st ? st : app_engine_probe(&p->pool, plan, budget, bytes, in_groups), "%s", pipe_part_name[which]);
}

/* What a part takes as it is, and where that is more than there is, at least: without and with weights in groups. */
static ldm_status needs_of(app_pipeline *p, pipe_part which, size_t budget, size_t *bytes, size_t *less, size_t *least) {
    bool in_groups;
    size_t small;
    ldm_status st = probe(p, which, SIZE_MAX, bytes, &in_groups);
    if (st || *bytes <= budget) return st;
    st = probe(p, which, budget, &small, &in_groups);
    if (less) *less = in_groups ? *bytes : small;
    if (in_groups || !less) *least = small;
    return st;
}

/* Everything is planned before anything is allocated; what is done to keep to the device's memory is said. */
ldm_status pipe_plan_memory(app_pipeline *p) {
    const size_t budget = ldm_cl_device(p->o.cl)->global_bytes;
    ldm_needs n = {0};
    ldm_budget b;
    ldm_text text = {0};
    ldm_status st = LDM_OK;
    if (pipe_of_text(p->s) && !p->o.context) TRY(needs_of(p, PIPE_TEXT, budget, &n.text, NULL, &n.text_streamed));
    TRY(needs_of(p, PIPE_DECODER, budget, &n.decoder, &n.decoder_strips, &n.decoder_streamed));
    p->loop.in_turn = p->guided && p->o.in_turn;
    TRY(needs_of(p, PIPE_LOOP, budget, &n.network, NULL, &n.network_streamed));
    if (p->guided && !p->o.in_turn && n.text + n.network + n.decoder > budget) {
        p->loop.in_turn = true;
        TRY(needs_of(p, PIPE_LOOP, budget, &n.network_in_turn, NULL, &n.network_streamed));
    }
    TRY(ldm_budget_choose(&n, budget, &b));
    p->loop.in_turn = p->guided && (p->o.in_turn || b.in_turn);
    ldm_budget_describe(&b, budget, &text);
    ldm_note("memory: %s", text.s ? text.s : "");
done:
    ldm_text_free(&text);
    return st;
}
