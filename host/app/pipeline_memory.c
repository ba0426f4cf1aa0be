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

/* Whether the network fits for a group of n pictures, guided at once or in turn: with weights that stay, or that come in groups. */
static ldm_status fits_group(app_pipeline *p, int n, size_t budget, bool stay, bool *fits) {
    size_t bytes = 0;
    bool in_groups;
    ldm_status st = LDM_OK;
    *fits = false, p->loop.n = n;
    for (int in_turn = p->guided && p->o.in_turn; in_turn <= p->guided && !*fits && !st; in_turn++) {
        p->loop.in_turn = in_turn;
        st = probe(p, PIPE_LOOP, stay ? SIZE_MAX : budget, &bytes, &in_groups);
        *fits = bytes && bytes <= budget;
    }
    return st;
}

/* A group larger than memory is made smaller: to the most with which weights can stay on the device; where not even one picture
 * leaves them there, to the most that can be run at all. */
static ldm_status fit_group(app_pipeline *p, size_t budget) {
    const int asked = p->o.at_once;
    int least = asked == 1; /* the most of which it is known that they fit */
    ldm_status st = LDM_OK;
    for (int stay = 1; stay >= 0 && !least && !st; stay--) {
        bool fits;
        st = fits_group(p, asked, budget, stay, &fits);
        if (fits) least = asked;
        for (int most = asked - 1; least < most && !st;) {
            const int n = (least + most + 1) / 2;
            st = fits_group(p, n, budget, stay, &fits);
            if (fits) least = n;
            else most = n - 1;
        }
    }
    p->o.at_once = p->loop.n = least ? least : 1;
    if (!st && p->o.at_once < asked) ldm_note("memory: groups of %d, not of %d pictures", p->o.at_once, asked);
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
    if (p->sampler.evals) {
        TRY(fit_group(p, budget));
        p->loop.in_turn = p->guided && p->o.in_turn;
        TRY(needs_of(p, PIPE_LOOP, budget, &n.network, NULL, &n.network_streamed));
    }
    if (n.network && p->guided && !p->o.in_turn && n.text + n.network + n.decoder > budget) {
        p->loop.in_turn = true;
        TRY(needs_of(p, PIPE_LOOP, budget, &n.network_in_turn, NULL, &n.network_streamed));
    }
    TRY(ldm_budget_choose(&n, budget, &b));
    p->loop.in_turn = p->guided && (p->o.in_turn || b.in_turn);
    if (p->moments || p->hole) { /* it ran by itself, in strips where it had to */
        bool in_groups;
        size_t encoder;
        TRY(probe(p, PIPE_ENCODER, budget, &encoder, &in_groups));
        if (encoder > b.peak) b.peak = encoder;
    }
    ldm_budget_describe(&b, budget, &text);
    ldm_note("memory: %s", text.s ? text.s : "");
done:
    ldm_text_free(&text);
    return st;
}
