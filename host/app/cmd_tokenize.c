/* cmd_tokenize.c -- `ldm tokenize`: what a text encoder is given of a prompt, as tokens and ids. */
#include "app/app.h"
#include "text/text.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_LENGTH = 1 << 16 };

typedef struct tokenize_options {
    char *model;
    int bert, clip, openclip, length, ids;
} tokenize_options;

void app_prompt_notes(const char *prompt, const ldm_tokenized *info) {
    size_t n = strlen(prompt);
    if (info->cut < n)
        ldm_note("the prompt takes %d tokens and %d fit; left out: \"%s\"", info->wanted - 2, info->used - 2,
                 ldm_shown(prompt + info->cut, n - info->cut));
    if (info->weight_to > info->weight_from)
        ldm_note("parentheses are no weights here, they are taken literally: \"%s\"",
                 ldm_shown(prompt + info->weight_from, info->weight_to - info->weight_from));
}

/* The folder itself, or the folder `tokenizer` of a whole model. */
static ldm_status open_folder(const char *path, ldm_tokenizer **t) {
    char inside[4300];
    struct stat s;
    snprintf(inside, sizeof inside, "%s/tokenizer", path);
    return ldm_tokenizer_folder(!stat(inside, &s) && S_ISDIR(s.st_mode) ? inside : path, t);
}

static ldm_status show(const ldm_tokenizer *t, const char *prompt, int length, int pad, bool only_ids) {
    ldm_tokenized info;
    int32_t *ids = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_alloc((size_t)length * sizeof *ids, (void **)&ids));
    TRY(ldm_tokenize(t, prompt, length, pad, ids, &info));
    app_prompt_notes(prompt, &info);
    if (only_ids)
        for (int i = 0; i < length; i++) printf("%d%c", ids[i], i < length - 1 ? ' ' : '\n');
    else {
        for (int i = 0; i < info.used; i++) printf("%6d  %s\n", ids[i], ldm_tokenizer_token(t, ids[i]));
        printf("%d of %d tokens", info.used, length);
        if (info.used < length) printf(", then %d times %d", length - info.used, ids[length - 1]);
        printf("\n");
    }
done:
    free(ids);
    return st;
}

APP_COMMAND(tokenize) {
    tokenize_options o = {0};
    struct poptOption table[] = {
        {"clip", 0, POPT_ARG_NONE, &o.clip, 0, "as CLIP ViT-L/14 (SD 1.x) is given it: the default", NULL},
        {"openclip", 0, POPT_ARG_NONE, &o.openclip, 0, "as OpenCLIP ViT-H/14 (SD 2.x): padded with 0", NULL},
        {"bert", 0, POPT_ARG_NONE, &o.bert, 0, "as the BERT encoders of LDM text-to-image models", NULL},
        {"model", 'm', POPT_ARG_STRING, &o.model, 0, "a tokenizer folder, or a diffusers model folder that has one",
         "FOLDER"},
        {"length", 0, POPT_ARG_INT, &o.length, 0,
         "tokens a prompt has, start and end included (77, or as the folder says)", "N"},
        {"ids", 0, POPT_ARG_NONE, &o.ids, 0, "only the ids, padding included, a line a prompt", NULL},
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_tokenizer *t = NULL;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 1, 1 << 20, &words, &ctx));
    if (o.bert + o.clip + o.openclip + (o.model != NULL) > 1)
        TRY(ldm_fail(LDM_ERR_ARG, "--clip, --openclip, --bert and -m exclude each other"));
    if (o.model) TRY(open_folder(o.model, &t));
    else TRY(ldm_tokenizer_builtin(o.bert ? LDM_TOKENIZER_BERT : LDM_TOKENIZER_CLIP, &t));
    if (!o.length) o.length = ldm_tokenizer_length(t);
    if (o.length < 2 || o.length > MAX_LENGTH)
        TRY(ldm_fail(LDM_ERR_ARG, "--length %d: wanted 2 to %d, start and end take two", o.length, MAX_LENGTH));
    for (; *words; words++) TRY(show(t, *words, o.length, o.openclip ? 0 : -1, o.ids));
done:
    ldm_tokenizer_close(t);
    free(o.model);
    poptFreeContext(ctx);
    return st;
}
