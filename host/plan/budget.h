/* budget.h -- keeping to a memory budget: one plan finished so that it fits (ldm_plan_fit), and what the parts of a pipeline
 * do for it (ldm_budget_choose). Everything is known before anything is allocated. */
#ifndef LDM_BUDGET_H
#define LDM_BUDGET_H

#include "plan/plan.h"

/* Finishes a plan so that it takes at most `budget` bytes of the device: as it is, or with its large maps in strips, or with
 * its weights in groups, or both, whichever of these comes first and fits; where `repeats` (a network that runs once a
 * step) weights come before maps. *m [opt]: what it takes. w as in ldm_exec_memory. On a device
 * that shares the host's memory, what goes there must fit beside it. LDM_ERR_NOMEM, with the least that was
 * tried, if nothing fits. */
ldm_status ldm_plan_fit(ldm_plan *p, const ldm_device *d, const ldm_source *w, size_t budget, bool repeats, ldm_memory *m);
/* All bytes on the device. */
size_t ldm_memory_bytes(const ldm_memory *m);

/* What the parts of a pipeline take on the device, in bytes, each as it is and at least; 0: there is no such part or choice. */
typedef struct ldm_needs {
    size_t text, text_streamed;
    size_t network;          /* guidance, if any, as one batch of two */
    size_t network_in_turn;  /* ... as two batches of one */
    size_t network_streamed; /* ... and with weights in groups */
    size_t decoder, decoder_strips, decoder_streamed; /* the last with strips too */
} ldm_needs;

/* What is done to fit, in the order in which it is chosen. */
typedef struct ldm_budget {
    bool in_turn;      /* guidance as two batches of one */
    bool free_text;    /* the text encoder's memory is given back before the network runs */
    bool free_network; /* ... and the network's before the decoder */
    bool strips;       /* exact decoding strip by strip */
    bool stream;       /* weights in groups, of parts that do not fit otherwise */
    size_t peak;       /* bytes with that */
} ldm_budget;

/* The first measures, in that order, with which everything fits; one that turns out not to be needed beside later ones is
 * left out again. LDM_ERR_NOMEM if all of them do not do; *out then says what they come to. */
ldm_status ldm_budget_choose(const ldm_needs *n, size_t budget, ldm_budget *out);
/* "guidance as two batches of one, exact decoding in strips; peak 690.1 MiB of 700.0 MiB". Appended to `out`. */
void ldm_budget_describe(const ldm_budget *b, size_t budget, ldm_text *out);

#endif
