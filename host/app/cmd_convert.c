/* cmd_convert.c -- `ldm convert IN OUT`: between CompVis's and diffusers' layouts, between dtypes, .ckpt to
 * .safetensors. */
#include "app/app.h"
#include "model/convert.h"
#include <stdlib.h>
#include <string.h>

APP_COMMAND(convert) {
    char *to = NULL, *dtype = NULL, *config = NULL, *prediction = NULL;
    int ema = 0;
    struct poptOption table[] = {
        {"to", 0, POPT_ARG_STRING, &to, 0,
         "compvis (one .safetensors file, with a .yaml) or diffusers (a folder); as it is if not given", "LAYOUT"},
        {"dtype", 0, POPT_ARG_STRING, &dtype, 0, "of the weights: f32, f16 or bf16; as they are if not given", "T"},
        {"ema", 0, POPT_ARG_NONE, &ema, 0, "the weights averaged over training, in place of the last ones", NULL},
        {"config", 0, POPT_ARG_STRING, &config, 0, "configuration by name, or a CompVis .yaml file", "NAME"},
        {"prediction", 0, POPT_ARG_STRING, &prediction, 0,
         "what the UNet predicts: eps, v, x0, where the file does not say", "KIND"},
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_system *s = NULL;
    ldm_convert_options o = {.layout = -1, .dtype = -1};
    ldm_dtype t = LDM_F32;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 2, 2, &words, &ctx));
    if (to && strcmp(to, "compvis") && strcmp(to, "diffusers"))
        TRY(ldm_fail(LDM_ERR_ARG, "--to %s: wanted compvis or diffusers", to));
    if (to) o.layout = strcmp(to, "compvis") ? LDM_DIFFUSERS : LDM_COMPVIS;
    if (dtype && (!ldm_dtype_parse(dtype, strlen(dtype), &t) || (t != LDM_F32 && t != LDM_F16 && t != LDM_BF16)))
        TRY(ldm_fail(LDM_ERR_ARG, "--dtype %s: wanted f32, f16 or bf16", dtype));
    if (dtype) o.dtype = (int)t;
    /* a file that keeps its layout keeps both kinds of weights, unless one is asked for */
    TRY(ldm_system_open(&(ldm_system_options){.model = words[0],
                                              .config = config,
                                              .prediction = prediction,
                                              .ema = ema  ? "on"
                                                     : to ? "auto"
                                                          : "off"},
                        &s));
    TRY(ldm_convert(s, &o, words[1]));
    printf("%s\n", words[1]);
done:
    ldm_system_close(s);
    free(to), free(dtype), free(config), free(prediction);
    poptFreeContext(ctx);
    return st;
}
