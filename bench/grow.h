/* grow.h -- `ldm bench --grow AXES NET`: how a network's time grows with the batch, with the side of its map, and with
 * the cores that work on it. */
#ifndef LDM_BENCH_GROW_H
#define LDM_BENCH_GROW_H

#include "bench/net.h"
#include <jansson.h>

/* Axes: of batch (1 to 16), side (16 to 128, of the network's own input; a decoder's is its latent) and cores (1, 2, 4
 * ... all of the device), with commas. Everything else stays as `o` says. A point is the median of at least three runs
 * after one to warm up; what does not fit the memory is a point with "failed". Prints a line a point. *json [new
 * reference, also NULL after a failure]: "network", "rows". */
ldm_status bench_grow(ldm_cl *cl, const char *axes, const app_network_options *o, json_t **json);

#endif
