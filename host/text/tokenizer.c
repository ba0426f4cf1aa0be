/* tokenizer.c -- what the two tokenizers share: the vocabularies in the library, special tokens in a prompt, and ids of
 * a fixed length with start, end and padding. */
#include "text/internal.h"
#include <stdlib.h>
#include <string.h>

enum { CLIP_LENGTH = 77 };

static ldm_status normalise(const ldm_tokenizer *t, const text_points *in, text_points *out) {
    return t->kind == LDM_TOKENIZER_BERT ? text_wordpiece_normalise(t, in, out) : text_bpe_normalise(in, out);
}

static ldm_status words(const ldm_tokenizer *t, const text_point *v, size_t n, text_tokens *out) {
    return t->kind == LDM_TOKENIZER_BERT ? text_wordpiece(t, v, n, out) : text_bpe(t, v, n, out);
}

ldm_status text_special_add(ldm_tokenizer *t, const char *token, bool normalised, int32_t *id) {
    ldm_status st = LDM_OK;
    text_points plain = {0};
    int32_t found = text_vocabulary_find(&t->vocabulary, token, strlen(token));
    int i = 0;
    if (found < 0 || !*token)
        TRY(ldm_fail(LDM_ERR_FORMAT, "special token '%s' is not in the vocabulary", ldm_shown(token, strlen(token))));
    if (id) *id = found;
    while (i < t->specials && t->special[i].id != found) i++;
    if (i == TEXT_MAX_SPECIALS) TRY(ldm_fail(LDM_ERR_FORMAT, "more than %d special tokens", TEXT_MAX_SPECIALS));
    text_special *s = &t->special[i];
    if (i == t->specials) {
        TRY(text_points_decode(token, strlen(token), 0, &plain));
        *s = (text_special){.id = found}, t->specials++;
        TRY(normalise(t, &plain, &s->form));
    }
    s->normalised = normalised && s->form.n > 0;
done:
    free(plain.v);
    return st;
}

/* ---- the vocabularies in the library ------------------------------------------------------------------------------
 */

static ldm_status load_bert(ldm_tokenizer *t) {
    static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    int32_t *const ids[] = {&t->pad, &t->unknown, &t->start, &t->end, NULL};
    ldm_status st = LDM_OK;
    int id = 0;
    for (const char *s = text_embedded_bert, *line; s < text_embedded_bert_end; s = line + 1) {
        line = memchr(s, '\n', (size_t)(text_embedded_bert_end - s));
        TRY(text_vocabulary_add(&t->vocabulary, s, (size_t)(line - s), id++));
    }
    for (int i = 0; i < 5; i++) TRY(text_special_add(t, specials[i], false, ids[i]));
done:
    return st;
}

/* Bytes, bytes that end a word, merges, and the two special tokens, in this order. */
static ldm_status load_clip(ldm_tokenizer *t) {
    text_vocabulary *v = &t->vocabulary;
    ldm_status st = LDM_OK;
    char token[256];
    int id = 0, merges = 0;
    for (; id < 512; id++) {
        int n = text_encode(text_byte_letter(text_byte_of(id % 256)), token);
        if (id >= 256) memcpy(token + n, "</w>", 4), n += 4;
        TRY(text_vocabulary_add(v, token, (size_t)n, id));
    }
    for (int pass = 0; pass < 2; pass++) { /* all tokens first, then the merges between them */
        merges = 0;
        for (const char *s = text_embedded_clip, *line; s < text_embedded_clip_end; s = line + 1, merges++) {
            line = memchr(s, '\n', (size_t)(text_embedded_clip_end - s));
            const char *space = memchr(s, ' ', (size_t)(line - s));
            size_t left = (size_t)(space - s), right = (size_t)(line - space - 1);
            if (pass) {
                TRY(text_bpe_merge(t, merges, s, left, space + 1, right, "CLIP's vocabulary"));
                continue;
            }
            memcpy(token, s, left), memcpy(token + left, space + 1, right);
            TRY(text_vocabulary_add(v, token, left + right, id++));
        }
        if (pass) break;
        TRY(text_vocabulary_add(v, "<|startoftext|>", 15, id++));
        TRY(text_vocabulary_add(v, "<|endoftext|>", 13, id++));
        TRY(text_special_add(t, "<|startoftext|>", false, &t->start));
        TRY(text_special_add(t, "<|endoftext|>", false, &t->end));
        t->pad = t->unknown = t->end;
        TRY(text_bpe_begin(t, merges));
    }
done:
    return st;
}

ldm_status ldm_tokenizer_builtin(ldm_tokenizer_kind kind, ldm_tokenizer **out) {
    ldm_tokenizer *t = NULL;
    ldm_status st = ldm_alloc(sizeof *t, (void **)&t);
    if (st) return st;
    t->kind = kind, t->length = CLIP_LENGTH;
    st = kind == LDM_TOKENIZER_BERT ? load_bert(t) : load_clip(t);
    if (st) ldm_tokenizer_close(t);
    else *out = t;
    return st;
}

void ldm_tokenizer_close(ldm_tokenizer *t) {
    if (!t) return;
    for (int i = 0; i < t->specials; i++) free(t->special[i].form.v);
    text_vocabulary_free(&t->vocabulary);
    free(t->merge);
    free(t);
}

ldm_tokenizer_kind ldm_tokenizer_kind_of(const ldm_tokenizer *t) { return t->kind; }
int ldm_tokenizer_size(const ldm_tokenizer *t) { return t->vocabulary.size; }
int ldm_tokenizer_pad(const ldm_tokenizer *t) { return t->pad; }
int ldm_tokenizer_length(const ldm_tokenizer *t) { return t->length; }
const char *ldm_tokenizer_token(const ldm_tokenizer *t, int id) { return text_vocabulary_token(&t->vocabulary, id); }

/* ---- tokenizing -------------------------------------------------------------------------------------------------- */

/* The longest special token that is written at s; NULL: none. */
static const text_special *written_at(const ldm_tokenizer *t, const char *s, size_t n, size_t *length) {
    const text_special *found = NULL;
    for (int i = 0; i < t->specials; i++) {
        const char *token = text_vocabulary_token(&t->vocabulary, t->special[i].id);
        size_t k = strlen(token);
        if (t->special[i].normalised || k > n || memcmp(s, token, k) || (found && k <= *length)) continue;
        found = &t->special[i], *length = k;
    }
    return found;
}

/* The same in normalised text. */
static const text_special *normalised_at(const ldm_tokenizer *t, const text_point *v, size_t n, size_t *length) {
    const text_special *found = NULL;
    for (int i = 0; i < t->specials; i++) {
        const text_points *form = &t->special[i].form;
        size_t k = 0;
        if (!t->special[i].normalised || form->n > n || (found && form->n <= *length)) continue;
        while (k < form->n && form->v[k].c == v[k].c) k++;
        if (k == form->n) found = &t->special[i], *length = k;
    }
    return found;
}

/* A stretch of the prompt without special tokens as they are written. */
static ldm_status tokens_between(const ldm_tokenizer *t, const char *s, size_t n, size_t from, text_tokens *out) {
    text_points plain = {0}, p = {0};
    ldm_status st = LDM_OK;
    TRY(text_points_decode(s, n, from, &plain));
    TRY(normalise(t, &plain, &p));
    for (size_t i = 0, to; i < p.n; i = to) {
        const text_special *special = NULL;
        size_t length = 0;
        for (to = i; to < p.n && !(special = normalised_at(t, p.v + to, p.n - to, &length));) to++;
        TRY(words(t, p.v + i, to - i, out));
        if (special) TRY(text_tokens_add(out, special->id, p.v[to].from));
        to += length;
    }
done:
    free(plain.v), free(p.v);
    return st;
}

static ldm_status tokens_of(const ldm_tokenizer *t, const char *s, size_t n, text_tokens *out) {
    ldm_status st = LDM_OK;
    size_t valid = ldm_utf8_until(s, n);
    if (valid < n)
        return ldm_fail(LDM_ERR_ARG, "prompt is not UTF-8: byte 0x%02x at offset %zu", (uint8_t)s[valid], valid);
    for (size_t i = 0, to; i < n; i = to) {
        const text_special *special = NULL;
        size_t length = 0;
        for (to = i; to < n && !(special = written_at(t, s + to, n - to, &length));) to++;
        TRY(tokens_between(t, s + i, to - i, i, out));
        if (special) TRY(text_tokens_add(out, special->id, to));
        to += length;
    }
done:
    return st;
}

ldm_status ldm_tokenize_all(const ldm_tokenizer *t, const char *text, int32_t **ids, size_t **from, int *n) {
    text_tokens list = {0};
    ldm_status st = tokens_of(t, text, strlen(text), &list);
    if (st) text_tokens_free(&list);
    else *ids = list.id, *from = list.from, *n = list.n;
    return st;
}

/* The first parenthesis that is closed, and its last opening before. */
static void find_weight(const char *s, size_t *from, size_t *to) {
    size_t open = SIZE_MAX;
    *from = *to = 0;
    for (size_t i = 0; s[i]; i++) {
        if (s[i] == '\\' && s[i + 1]) i++;
        else if (s[i] == '(') open = i;
        else if (s[i] == ')' && open != SIZE_MAX) {
            *from = open, *to = i + 1;
            return;
        }
    }
}

ldm_status ldm_tokenize(const ldm_tokenizer *t, const char *prompt, int length, int pad_id, int32_t *ids,
                        ldm_tokenized *info) {
    text_tokens list = {0};
    size_t n = strlen(prompt);
    ldm_status st = LDM_OK;
    if (length < 2) TRY(ldm_fail(LDM_ERR_ARG, "prompt in %d tokens: start and end take 2", length));
    if (pad_id >= ldm_tokenizer_size(t))
        TRY(ldm_fail(LDM_ERR_ARG, "padding with id %d: ids are below %d", pad_id, ldm_tokenizer_size(t)));
    TRY(tokens_of(t, prompt, n, &list));
    int kept = list.n < length - 2 ? list.n : length - 2, i = 0;
    ids[i++] = t->start;
    if (kept) memcpy(ids + 1, list.id, (size_t)kept * sizeof *ids), i += kept;
    ids[i++] = t->end;
    while (i < length) ids[i++] = pad_id < 0 ? t->pad : pad_id;
    if (info) {
        *info = (ldm_tokenized){.used = kept + 2, .wanted = list.n + 2, .cut = kept < list.n ? list.from[kept] : n};
        find_weight(prompt, &info->weight_from, &info->weight_to);
    }
done:
    text_tokens_free(&list);
    return st;
}
