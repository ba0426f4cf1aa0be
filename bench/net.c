/* net.c -- see net.h. */
#include "bench/net.h"
#include <stdlib.h>
#include <string.h>

static ldm_status fill_inputs(bench_net *b) {
    ldm_status st = LDM_OK;
    float *data = NULL;
    const ldm_plan *p = b->net.plan;
    for (int t = 0; t < p->tensors && !st; t++) {
        const ldm_tensor_info *i = &p->tensor[t];
        if (i->kind != LDM_INPUT) continue;
        size_t count = (size_t)ldm_shape_count(&i->shape);
        if ((st = ldm_alloc(count * sizeof *data, (void **)&data))) break;
        for (size_t e = 0; e < count && i->dtype != LDM_I32; e++) data[e] = ldm_uniform(1, (uint64_t)t, e);
        st = ldm_exec_write(b->exec, t, data);
        free(data);
    }
    return st;
}

ldm_status bench_net_open(bench_net *b, ldm_cl *cl, const app_network_options *o) {
    *b = (bench_net){.cl = cl};
    ldm_status st = app_network_plan(o, &b->net);
    if (!st) st = app_network_weights(o, &b->net);
    if (!st) st = app_network_exec(&b->net, cl, NULL, &b->exec);
    return st ? st : fill_inputs(b);
}

ldm_status bench_net_run(bench_net *b, double *seconds) {
    const ldm_plan *p = b->net.plan;
    const double start = ldm_now();
    ldm_status st = LDM_OK;
    for (int i = 0; i < p->steps && !st; i++) st = ldm_exec_run_step(b->exec, i);
    if (!st) st = ldm_exec_finish(b->exec);
    if (!st && seconds) *seconds = ldm_now() - start;
    return st;
}

void bench_net_close(bench_net *b) {
    ldm_exec_destroy(b->exec);
    app_network_close(&b->net);
    *b = (bench_net){0};
}

const char *bench_net_text(const bench_net *b, const app_network_options *o, char *buf, size_t cap) {
    static const char *const part[] = {"unet", "encoder", "decoder"};
    snprintf(buf, cap, "%.*s %s %lldx%lldx%lld %s%s%s", (int)strcspn(o->net, ":"), o->net, part[b->net.part],
             (long long)b->net.n, (long long)b->net.h, (long long)b->net.w, ldm_dtype_name(o->dtype),
             o->wdtype == o->dtype ? "" : "*", o->wdtype == o->dtype ? "" : ldm_dtype_name(o->wdtype));
    return buf;
}
