/* cmd_info.c -- `ldm info PATH`: what a checkpoint, a diffusers folder or one of our pictures is. */
#include "app/app.h"
#include "ckpt/ckpt.h"
#include "model/system.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

/* What the system is; of a file that is none known here, why not, and no failure: its tensors are listed all the same.
 */
static ldm_status describe(const ldm_system_options *o, ldm_text *out) {
    ldm_system *s = NULL;
    ldm_ckpt *c = NULL;
    ldm_status st = LDM_OK;
    const bool file = o->model && !is_folder(o->model);
    if (file) TRY(ldm_ckpt_open(o->model, &c));
    st = ldm_system_open(o, &s);
    if (!st) {
        ldm_system_describe(s, out);
    } else if (st == LDM_ERR_FORMAT && c && !o->config) {
        ldm_text_add(out, "%-13s none known: %s\n", "model", ldm_message());
        st = LDM_OK;
    }
    if (!st && c) st = ldm_ckpt_describe(c, out);
done:
    ldm_system_close(s);
    ldm_ckpt_close(c);
    return st;
}

APP_COMMAND(info) {
    ldm_system_options o = {0};
    char *text[7] = {0};
    struct poptOption table[] = {
        {"diffusion-model", 0, POPT_ARG_STRING, &text[0], 0, "the UNet alone, a file or folder", "PATH"},
        {"vae", 0, POPT_ARG_STRING, &text[1], 0, "the autoencoder, instead of the model's", "PATH"},
        {"taesd", 0, POPT_ARG_STRING, &text[2], 0, "a tiny autoencoder, instead of the model's", "PATH"},
        {"clip_l", 0, POPT_ARG_STRING, &text[3], 0, "the text encoder, instead of the model's", "PATH"},
        {"config", 0, POPT_ARG_STRING, &text[4], 0, "configuration by name, or a CompVis .yaml file", "NAME"},
        {"prediction", 0, POPT_ARG_STRING, &text[5], 0, "what the UNet predicts: eps, v, x0 (auto)", "KIND"},
        {"ema", 0, POPT_ARG_STRING, &text[6], 0, "averaged weights: on, off (auto)", "WHEN"},
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_text out = {0};
    bool picture = false;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 1, &words, &ctx));
    o = (ldm_system_options){.model = words ? words[0] : NULL,
                             .diffusion_model = text[0],
                             .vae = text[1],
                             .taesd = text[2],
                             .clip_l = text[3],
                             .config = text[4],
                             .prediction = text[5],
                             .ema = text[6]};
    if (!o.model && !o.diffusion_model && !o.vae && !o.taesd && !o.clip_l)
        TRY(ldm_fail(LDM_ERR_ARG, "what of? usage: ldm info FILE, or a part of a model by its option"));
    if (o.model && !is_folder(o.model)) TRY(app_picture_info(o.model, &out, &picture));
    if (!picture) TRY(describe(&o, &out));
    fputs(out.s ? out.s : "", stdout);
done:
    ldm_text_free(&out);
    for (int i = 0; i < 7; i++) free(text[i]);
    poptFreeContext(ctx);
    return st;
}
