/* cmd_selftest.c -- `ldm selftest`: the known answers on one device, or the table of them made anew. */
#include "app/app.h"

APP_COMMAND(selftest) {
    int constants = 0;
    struct poptOption options[] = {
        {"constants", 0, POPT_ARG_NONE, &constants, 0, "print the table of constants, made by the references", NULL},
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_cl *cl = NULL;
    ldm_text out = {0};
    ldm_status st = LDM_OK;
    TRY(app_parse(self, options, argc, argv, 0, 0, &words, &ctx));
    if (constants) {
        TRY(app_selftest_constants());
        goto done;
    }
    TRY(app_open_untested(&cl));
    double start = ldm_now();
    st = app_selftest(cl, &out);
    if (out.s) fputs(out.s, stdout);
    TRY(st);
    ldm_build_stats b = ldm_cl_build_stats(cl);
    printf("self-test passed on %s in %.2f s (%d programs, %d compiled)\n", ldm_cl_device(cl)->name, ldm_now() - start,
           b.programs, b.compiled);
done:
    ldm_text_free(&out);
    ldm_cl_close(cl);
    poptFreeContext(ctx);
    return st;
}
