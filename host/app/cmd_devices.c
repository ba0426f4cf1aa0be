/* cmd_devices.c -- `ldm devices`: what is there, and which implementation of an op would run on it. */
#include "app/app.h"
#include "ops/tuned.h"
#include <stdlib.h>

static const char *type_name(ldm_device_type t) {
    return t == LDM_DEVICE_CPU ? "CPU" : t == LDM_DEVICE_GPU ? "GPU" : "other";
}

static ldm_status why(const char *text) {
    static const char *const family[] = {"plain", "cpu", "gpu", "library"};
    ldm_problem p;
    ldm_cl *cl = NULL;
    ldm_choice c = {0}, tuned;
    char canonical[LDM_PROBLEM_TEXT], params[160];
    ldm_status st = LDM_OK;
    TRY(ldm_problem_parse(text, &p));
    TRY(app_open_untested(&cl));
    const ldm_device *d = ldm_cl_device(cl);
    printf("%s on %s\n", ldm_problem_text(&p, canonical, sizeof canonical), d->name);
    st = ldm_choose(&p, d, &c);
    const ldm_tuned_source source = ldm_tuned_find(&p, d, &tuned);
    for (const ldm_impl *i = p.op->impls; i->name; i++) {
        const char *cannot = ldm_cannot(&p, d, i), *reason = ldm_why_not(&p, d, i);
        bool chosen = !st && c.impl == i;
        printf("  %-22s %-8s %s", i->name, family[i->family], chosen ? "chosen" : cannot ? "cannot" : "passed over");
        if (chosen)
            printf("%s%s: %s %s\n", source ? ", " : "", source ? ldm_tuned_source_name(source) : "", i->idea,
                   ldm_choice_params(&c, params, sizeof params));
        else printf(": %s\n", reason ? reason : "a better one was found");
    }
done:
    ldm_cl_close(cl);
    return st;
}

APP_COMMAND(devices) {
    char *problem = NULL;
    struct poptOption table[] = {{"why", 0, POPT_ARG_STRING, &problem, 0,
                                  "say for each implementation of the problem's op whether it is chosen, and why not",
                                  "PROBLEM"},
                                 APP_DEVICE,
                                 APP_END};
    const char **words;
    poptContext ctx;
    ldm_device *list = NULL;
    int n = 0;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 0, &words, &ctx));
    if (problem) {
        TRY(why(problem));
        goto done;
    }
    TRY(ldm_cl_list(&list, &n));
    int only = app_device.device ? ldm_cl_find(list, n, app_device.device) : 0;
    if (only < 0) TRY(LDM_ERR_ARG);
    for (int i = 0; i < n; i++) {
        if (app_device.device && i != only) continue;
        const ldm_device *d = &list[i];
        printf("%d  %d:%d  %s (%s, %s)\n", i, d->platform, d->index, d->name, type_name(d->type), d->vendor);
        printf("     driver %s, %s, %s\n", d->driver, d->version, d->platform_name);
        printf("     %d compute units at %d MHz, memory %.1f GiB, buffers up to %.1f GiB, local %zu KiB%s, work-groups "
               "up to %zu\n",
               d->units, d->clock_mhz, (double)d->global_bytes / 0x1p30, (double)d->max_alloc / 0x1p30,
               d->local_bytes / 1024, d->local_is_real ? "" : " (emulated)", d->max_group);
        printf("     float vectors of %d, fp16 arithmetic %s, fp64 %s, sub-groups %s, fused multiply-add %s\n",
               d->vector_float, d->has_fp16 ? "yes" : "no", d->has_fp64 ? "yes" : "no", d->has_subgroups ? "yes" : "no",
               d->fast_fma ? "yes" : "no");
    }
done:
    free(problem);
    free(list);
    poptFreeContext(ctx);
    return st;
}
