/* pipeline_texts.c -- prompts and layouts to contexts, each made once. */
#include "app/pipeline_internal.h"
#include <stdlib.h>
#include <string.h>

static ldm_status tokenizer_of(app_pipeline *p) {
    const ldm_system *s = p->s;
    if (p->tokenizer) return LDM_OK;
    if (s->tokenizer) return ldm_tokenizer_folder(s->tokenizer, &p->tokenizer);
    return ldm_tokenizer_builtin(s->text.kind == LDM_TEXT_BERT ? LDM_TOKENIZER_BERT : LDM_TOKENIZER_CLIP, &p->tokenizer);
}

/* ids [length] through the text encoder. */
static ldm_status encode_ids(app_pipeline *p, const int32_t *ids, float **context) {
    int64_t count;
    int length = p->s->text.length;
    float *as_float;
    for (int i = 0; i < length; i++)
        if (ids[i] < 0 || ids[i] >= p->s->text.vocab)
            return ldm_fail(LDM_ERR_FORMAT, "%s: %s has a token %d, the text encoder knows 0 to %d; wanted a tokenizer of its own",
                            p->s->path ? p->s->path : p->s->config.name,
                            p->s->tokenizer ? p->s->tokenizer : "the tokenizer that is built in", (int)ids[i], p->s->text.vocab - 1);
    ldm_status st = ldm_alloc((size_t)length * sizeof *as_float, (void **)&as_float);
    if (st) return st;
    for (int i = 0; i < length; i++) as_float[i] = (float)ids[i];
    st = pipe_run_part(p, PIPE_TEXT, as_float, context, &count);
    free(as_float);
    return st;
}

const pipe_text *pipe_find_text(const app_pipeline *p, const char *text) {
    for (int i = 0; i < p->texts; i++)
        if (!strcmp(p->text[i].text, text)) return &p->text[i];
    return NULL;
}

void pipe_forget_texts(app_pipeline *p) {
    for (int i = 0; i < p->texts; i++) free(p->text[i].text), free(p->text[i].context);
    p->texts = 0;
}

/* The context of a prompt into the kept ones, of which there is room for one more. */
static ldm_status keep_text(app_pipeline *p, const char *text) {
    ldm_status st = LDM_OK;
    int32_t *ids = NULL;
    pipe_text k = {0};
    ldm_tokenized info;
    if (pipe_find_text(p, text)) return LDM_OK;
    TRY(tokenizer_of(p));
    TRY(ldm_alloc((size_t)p->s->text.length * sizeof *ids, (void **)&ids));
    const int pad = p->s->tokenizer ? ldm_tokenizer_pad(p->tokenizer) : p->s->text.pad; /* a folder says its own */
    TRY(ldm_tokenize(p->tokenizer, text, p->s->text.length, pad, ids, &info));
    app_prompt_notes(text, &info);
    TRY(encode_ids(p, ids, &k.context));
    if (!(k.text = strdup(text))) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for a prompt is not there"));
    p->text[p->texts++] = k, k = (pipe_text){0};
done:
    free(ids), free(k.text), free(k.context);
    return st;
}

/* A model of layouts is told where each window lies. */
int pipe_layout_windows(const app_pipeline *p) {
    return p->loop.windows.own_contexts ? ldm_windows_count(p->loop.windows, p->lh, p->lw) : 1;
}

/* A layout's context for each window, whose corners replace those of the whole picture. */
static ldm_status encode_layout(app_pipeline *p, const int32_t *layout, float **out) {
    const int windows = pipe_layout_windows(p);
    const int64_t size = p->loop.tokens * p->width;
    int32_t tokens[LDM_LAYOUT_TOKENS];
    float *all = NULL, *one = NULL;
    ldm_status st = LDM_OK;
    if (p->s->text.length != LDM_LAYOUT_TOKENS)
        return ldm_fail(LDM_ERR_FORMAT, "a model of layouts of %d tokens, wanted %d", p->s->text.length, LDM_LAYOUT_TOKENS);
    TRY(pipe_floats(windows * size, &all));
    for (int i = 0; i < windows; i++) {
        const ldm_window k = ldm_window_at(p->loop.windows, p->lh, p->lw, i);
        const double h = (double)p->lh, w = (double)p->lw;
        memcpy(tokens, layout, sizeof tokens);
        ldm_layout_crop(tokens, (double)k.x / w, (double)k.y / h, (double)(k.x + k.w) / w, (double)(k.y + k.h) / h);
        TRY(encode_ids(p, tokens, &one));
        memcpy(all + i * size, one, (size_t)size * sizeof *all);
        free(one), one = NULL;
    }
    *out = all, all = NULL;
done:
    free(all), free(one);
    return st;
}

ldm_status pipe_contexts(app_pipeline *p, const app_picture *pictures, int count) {
    ldm_status st = LDM_OK;
    if (!pipe_of_text(p->s) || p->o.context) return LDM_OK;
    bool missing = false;
    for (int i = 0; i < count && !pictures[i].tokens; i++) missing = missing || !pipe_find_text(p, pictures[i].prompt ? pictures[i].prompt : "");
    if (missing && p->texts > PIPE_CHUNK / 2) pipe_forget_texts(p);
    for (int i = 0; i < count; i++) {
        const app_picture *m = &pictures[i];
        if (m->tokens) { /* one layout a run */
            if (p->texts) continue;
            TRY(encode_layout(p, m->tokens, &p->text[0].context));
            if (!(p->text[0].text = strdup(""))) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for a layout is not there"));
            p->texts = 1;
            continue;
        }
        TRY(keep_text(p, m->prompt ? m->prompt : ""));
        if (p->guided) TRY(keep_text(p, m->negative ? m->negative : ""));
    }
    app_engine_drop(&p->pool, &p->engine[PIPE_TEXT]); /* the network gets its memory */
done:
    return st;
}
