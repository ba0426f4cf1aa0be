/* floor.h -- `ldm bench --plan NET`: how near each step of a network comes to what this machine could do at most.
 *
 * The floor of a step is the smallest max(operations / measured peak, bytes / measured bandwidth) over the algorithms
 * we have for it (ldm_peak_floor); a network's is the sum over its steps. Measured is the device time of each step as
 * the network runs, with whatever lies in the caches then. Wall clock less all kernels' time is what launching costs.
 */
#ifndef LDM_BENCH_FLOOR_H
#define LDM_BENCH_FLOOR_H

#include "bench/net.h"
#include <jansson.h>

/* Runs the network `repeats` times after one to warm up, on a device opened with profiling, and prints a line a kind of
 * step, the whole, and the launches. *json [new reference, also NULL after a failure]: the same and every step. */
ldm_status bench_floor(ldm_cl *cl, const app_network_options *o, int repeats, json_t **json);

#endif
