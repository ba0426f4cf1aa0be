/* cold.h -- caches emptied: a stream over memory several times as large as they are, by every unit of the device. */
#ifndef LDM_BENCH_COLD_H
#define LDM_BENCH_COLD_H

#include "cl/cl.h"

typedef struct bench_cold {
    ldm_buffer *from, *to;
    ldm_step *step;
    size_t bytes; /* that a pass goes over */
} bench_cold;

ldm_status bench_cold_create(ldm_cl *cl, bench_cold *out);
ldm_status bench_cold_enqueue(bench_cold *c);
void bench_cold_destroy(bench_cold *c); /* accepts {0} */

#endif
