/* cmd_gen.c -- `ldm gen`: pictures from prompts, classes, layouts, maps and other pictures. */
#include "app/gen_record.h"
#include "app/generate.h"
#include <stdlib.h>

APP_COMMAND(gen) {
    app_gen = app_gen_unset();
    struct poptOption table[] = {APP_GEN, APP_PLAN, APP_DEVICE, APP_END};
    const char **words;
    poptContext ctx = NULL;
    char **list = NULL;
    ldm_parameters was = {0};
    ldm_status st = LDM_OK;
    TRY(app_record_argv(argc, argv, &list, &argc, &was));
    TRY(app_parse(self, table, argc, list ? (const char **)list : argv, 0, 0, &words, &ctx));
    TRY(app_generate(&app_gen, list ? &was : NULL));
done:
    app_gen_free(&app_gen);
    ldm_parameters_free(&was);
    poptFreeContext(ctx);
    app_free_list(list);
    return st;
}
