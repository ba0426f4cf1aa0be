/* cmd_sample.c -- `ldm sample CONFIG`: `ldm gen` with the configuration named first, and DDIM in 50 steps without guidance
 * unless told otherwise. */
#include "app/generate.h"
#include "app/network.h"
#include <string.h>

APP_COMMAND(sample) {
    app_gen = app_gen_unset();
    app_gen.steps = 50, app_gen.cfg_scale = 1, app_gen.eta = 0;
    struct poptOption table[] = {APP_GEN, APP_PLAN, APP_DEVICE, APP_END};
    const char **words;
    poptContext ctx = NULL;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 1, 1, &words, &ctx));
    if (!app_gen.output) TRY(ldm_fail(LDM_ERR_ARG, "-o OUT.png is missing"));
    if (app_gen.batch < 1 || app_gen.batch > 64) TRY(ldm_fail(LDM_ERR_ARG, "--batch %d: wanted 1 to 64", app_gen.batch));
    if (!app_gen.config) app_gen.config = strdup(words[0]);
    if (!app_gen.sampling_method) app_gen.sampling_method = strdup("ddim");
    if (!app_gen.config || !app_gen.sampling_method) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for names is not there"));
    TRY(app_generate(&app_gen, NULL));
done:
    app_gen_free(&app_gen);
    poptFreeContext(ctx);
    return st;
}
