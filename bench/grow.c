/* grow.c -- see grow.h. */
#include "bench/grow.h"
#include "app/record.h"
#include <stdlib.h>
#include <string.h>

enum { LEAST_RUNS = 3, MOST_RUNS = 50 };
static const double LEAST_SECONDS = 0.5; /* of a point, of runs beyond the least */

typedef struct axis {
    const char *name;
    int first, last; /* doubled from point to point */
} axis;

static ldm_status measure(ldm_cl *cl, const app_network_options *o, json_t *row) {
    ldm_status st = LDM_OK;
    bench_net b = {0};
    ldm_load load;
    ldm_peak peak;
    double t[MOST_RUNS], sum = 0, floor = 0;
    int n = 0;
    TRY(ldm_measure_peak(cl, &peak));
    TRY(bench_net_open(&b, cl, o));
    TRY(bench_net_run(&b, NULL));
    ldm_load_begin(&load);
    while (n < MOST_RUNS && (n < LEAST_RUNS || sum < LEAST_SECONDS)) {
        TRY(bench_net_run(&b, &t[n]));
        TRY(ldm_check_interrupt());
        sum += t[n++];
    }
    const double other = ldm_load_other(&load);
    for (int i = 0; i < b.net.plan->steps; i++)
        floor += ldm_peak_floor(&peak, &b.net.plan->step[i].problem, ldm_cl_device(cl), NULL, NULL);
    const double middle = ldm_median(t, n); /* t is in order now */
    json_object_update_new(row, json_pack("{s:f, s:f, s:f, s:i, s:f, s:f, s:f}", "seconds",
                                          middle, "low_s", t[0], "high_s", t[n - 1], "runs", n, "flops", ldm_plan_cost(b.net.plan, -1).flops, "floor_s",
                                          floor, "other_load", other));
done:
    bench_net_close(&b);
    return st;
}

/* One point: its row is made also where it fails for lack of memory. */
static ldm_status point(ldm_cl *cl, const axis *a, int value, const app_network_options *o, json_t *rows) {
    app_network_options n = *o;
    ldm_cl *own = NULL;
    ldm_status st = LDM_OK;
    json_t *row = json_pack("{s:s, s:i}", "axis", a->name, "value", value);
    if (!row || json_array_append_new(rows, row)) return ldm_fail(LDM_ERR_NOMEM, "growth: host memory is out");
    if (!strcmp(a->name, "batch")) n.n = value;
    if (!strcmp(a->name, "side")) n.h = n.w = value;
    if (!strcmp(a->name, "cores")) {
        const int before = app_device.cores;
        app_device.cores = value;
        st = app_open_untested(&own);
        app_device.cores = before;
    }
    if (!st) st = measure(own ? own : cl, &n, row);
    ldm_cl_close(own);
    if (st == LDM_ERR_NOMEM) {
        json_object_set_new(row, "failed", json_string(ldm_message()));
        printf("%-6s %4d  %s\n", a->name, value, ldm_message());
        return LDM_OK;
    }
    if (st) return ldm_prefix(st, "%s %d", a->name, value);
    const double s = json_number_value(json_object_get(row, "seconds"));
    printf("%-6s %4d %10.2f ms (%.2f to %.2f), %.1f GFLOP/s, other load %.0f %%\n", a->name, value, 1e3 * s,
           1e3 * json_number_value(json_object_get(row, "low_s")),
           1e3 * json_number_value(json_object_get(row, "high_s")),
           json_number_value(json_object_get(row, "flops")) / s * 1e-9,
           100 * json_number_value(json_object_get(row, "other_load")));
    return LDM_OK;
}

ldm_status bench_grow(ldm_cl *cl, const char *axes, const app_network_options *o, json_t **json) {
    const axis known[] = {{"batch", 1, 16}, {"side", 16, 128}, {"cores", 1, ldm_cl_device(cl)->units}};
    ldm_status st = LDM_OK;
    app_network net = {0};
    json_t *rows = json_array();
    *json = NULL;
    TRY(app_network_find(o, &net)); /* a wrong name is told before anything runs */
    for (const char *s = axes; *s; s += strcspn(s, ","), s += *s == ',') {
        const size_t len = strcspn(s, ",");
        const axis *a = NULL;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strlen(known[i].name) == len && !strncmp(known[i].name, s, len)) a = &known[i];
        if (!a) TRY(ldm_fail(LDM_ERR_ARG, "--grow %s: wanted a list of batch, side, cores", axes));
        for (int v = a->first; v < a->last; v *= 2) TRY(point(cl, a, v, o, rows));
        TRY(point(cl, a, a->last, o, rows));
    }
    static const char *const part[] = {"unet", "encoder", "decoder"};
    char name[120];
    snprintf(name, sizeof name, "%.*s %s", (int)strcspn(o->net, ":"), o->net, part[net.part]);
    *json = json_pack("{s:s, s:s, s:O}", "network", name, "dtype", ldm_dtype_name(o->dtype), "rows", rows);
    if (!*json) TRY(ldm_fail(LDM_ERR_NOMEM, "growth: host memory is out"));
done:
    json_decref(rows);
    app_network_close(&net);
    return st;
}
