/* net.h -- a whole network on a device with synthetic inputs, ready to be run again and again. */
#ifndef LDM_BENCH_NET_H
#define LDM_BENCH_NET_H

#include "app/network.h"

typedef struct bench_net {
    ldm_cl *cl; /* borrowed */
    app_network net;
    ldm_exec *exec; /* NULL until opened */
} bench_net;

/* Plan, weights, executor; inputs uniform in [-1, 1), class ids zero: times do not depend on them. On failure what was
 * made is left for bench_net_close. */
ldm_status bench_net_open(bench_net *b, ldm_cl *cl, const app_network_options *o);
/* Every segment once, enqueued and waited for: one denoising step, encode or decode. `seconds` [opt]: wall clock. */
ldm_status bench_net_run(bench_net *b, double *seconds);
void bench_net_close(bench_net *b); /* accepts {0}, leaves {0} */
/* "cin-ldm-8 unet 1x32x32 f32" */
const char *bench_net_text(const bench_net *b, const app_network_options *o, char *buf, size_t cap);

#endif
