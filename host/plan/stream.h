/* stream.h -- weights that are not all on the device: those of the first steps of the longest segment stay, the rest comes
 * in groups, in running order, through two slots: while the steps of one group run, the next is on its way by a queue of
 * its own. The host keeps the packed bytes. Kernels and their order are the same, so results are the same bits.
 * (Internal to host/plan; plan->weight_bytes asks for it.) */
#ifndef LDM_STREAM_H
#define LDM_STREAM_H

#include "plan/plan.h"

typedef struct ldm_stream_item {
    int weight;    /* which packed weight */
    size_t offset; /* in its slot */
} ldm_stream_item;

typedef struct ldm_stream_group { /* steps first..last of a segment, those between of other segments left out */
    int segment, first, last, slot, items;
    ldm_stream_item *item;
    size_t bytes;
} ldm_stream_group;

typedef struct ldm_stream {
    int groups; /* 0: all weights stay */
    ldm_stream_group *group;
    int *of_step;    /* the group a step's weights come in, -1 */
    size_t slot_bytes, resident;
} ldm_stream;

/* `weight` by step and slot, -1 for none, of `count` packed weights of `bytes` each (0: takes none). Weights that stay are
 * marked in stays[]. LDM_ERR_NOMEM where two slots for the largest step exceed `budget`. */
ldm_status ldm_stream_cut(const ldm_plan *p, const ldm_device *d, int (*weight)[LDM_MAX_SLOTS], const size_t *bytes, int count,
                          size_t budget, bool *stays, ldm_stream *out);
void ldm_stream_free(ldm_stream *s);

typedef struct ldm_streamer ldm_streamer;
ldm_status ldm_streamer_create(ldm_cl *cl, const ldm_stream *s, ldm_streamer **out); /* borrows s */
void ldm_streamer_destroy(ldm_streamer *r);
char *ldm_streamer_host(ldm_streamer *r, int group);      /* group->bytes to be filled before the first run */
ldm_buffer *ldm_streamer_slot(ldm_streamer *r, int slot); /* where its kernels find them */
ldm_status ldm_streamer_before(ldm_streamer *r, int step); /* around each step that is enqueued */
ldm_status ldm_streamer_after(ldm_streamer *r, int step);
/* When the last transfer of a group was under way, seconds of the device's clock; false: not profiled, or none. */
bool ldm_streamer_span(ldm_streamer *r, int group, double *start, double *end);

#endif
