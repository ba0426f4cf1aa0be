/* cmd_plan.c -- `ldm plan NET`: a network as one table; its distinct problems for bench/shapes. */
#include "app/network.h"
#include <stdlib.h>

APP_COMMAND(plan) {
    char *config = NULL;
    int shapes = 0, batch = APP_UNSET, height = APP_UNSET, width = APP_UNSET, tokens = APP_UNSET, list = 0;
    struct poptOption table[] = {
        {"config", 0, POPT_ARG_STRING, &config, 0, "configuration by name, or key=value text", "NAME"},
        {"batch", 'b', POPT_ARG_INT, &batch, 0, "batch size", "N"},
        {"height", 'H', POPT_ARG_INT, &height, 0, "of the network's own input (default: native)", "N"},
        {"width", 'W', POPT_ARG_INT, &width, 0, "likewise", "N"},
        {"tokens", 0, POPT_ARG_INT, &tokens, 0, "context tokens", "N"},
        {"shapes", 0, POPT_ARG_NONE, &shapes, 0, "print the distinct problems with their counts, as in bench/shapes",
         NULL},
        {"list", 0, POPT_ARG_NONE, &list, 0, "list the known configurations, first stages and text encoders", NULL},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    app_network net = {0};
    ldm_cl *cl = NULL;
    ldm_text out = {0};
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 1, &words, &ctx));
    if (list) {
        for (int i = 0; ldm_config_list()[i]; i++)
            printf("%-26s %s, first stage %s\n", ldm_config_list()[i]->name, ldm_config_list()[i]->about,
                   ldm_config_list()[i]->stage);
        for (int i = 0; ldm_stage_list()[i]; i++)
            printf("%-26s first stage, f = %d%s%s\n", ldm_stage_list()[i]->name, ldm_stage_factor(ldm_stage_list()[i]),
                   ldm_stage_list()[i]->guess ? "; " : "",
                   ldm_stage_list()[i]->guess ? ldm_stage_list()[i]->guess : "");
        for (int i = 0; ldm_text_list()[i]; i++)
            printf("%-26s text encoder %s, %d tokens of width %d\n", ldm_text_list()[i]->name,
                   ldm_text_list()[i]->about, ldm_text_list()[i]->length, ldm_text_list()[i]->width);
        goto done;
    }
    if (!words || !words[0]) TRY(ldm_fail(LDM_ERR_ARG, "which network? `ldm plan --list` names them"));
    app_network_options o = {.net = words[0], .config = config, .synthetic = 0};
    TRY(app_size_given("--batch", batch, &o.n));
    TRY(app_size_given("--height", height, &o.h));
    TRY(app_size_given("--width", width, &o.w));
    TRY(app_size_given("--tokens", tokens, &o.tokens));
    TRY(app_storage(&o.dtype, &o.wdtype));
    TRY(app_open_untested(&cl));
    TRY(app_network_plan(&o, &net));
    const ldm_device *d = ldm_cl_device(cl);
    TRY(app_network_finish(&net, d));
    if (shapes) ldm_plan_shapes(net.plan, &out);
    else TRY(ldm_plan_print(net.plan, d, &out));
    fputs(out.s ? out.s : "", stdout);
done:
    ldm_text_free(&out);
    app_network_close(&net);
    ldm_cl_close(cl);
    free(config);
    poptFreeContext(ctx);
    return st;
}
