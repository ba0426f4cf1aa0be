/* wordpiece.c -- BERT's tokenizer: text cleaned, in lower case and without accents, split at spaces and around
 * punctuation and ideographs, and each word cut into the longest pieces that the vocabulary has, from the left. Devlin
 * et al., "BERT" (arXiv 1810.04805), section 3; as BertTokenizerFast does it. */
#include "text/internal.h"
#include <stdlib.h>
#include <string.h>

enum { LONGEST_WORD = 100 }; /* in characters; a longer one is unknown */

ldm_status text_wordpiece_normalise(const ldm_tokenizer *t, const text_points *in, text_points *out) {
    text_points clean = {0}, apart = {0};
    ldm_status st = LDM_OK;
    for (size_t i = 0; i < in->n; i++) {
        uint32_t c = in->v[i].c;
        size_t from = in->v[i].from;
        bool line = c == '\t' || c == '\n' || c == '\r', ideograph = !t->keep_chinese && text_is_chinese(c);
        if (c == 0xfffd || (!line && text_is_control(c))) continue;
        if (ideograph) TRY(text_points_add(&clean, ' ', from));
        TRY(text_points_add(&clean, text_is_space(c) ? ' ' : c, from));
        if (ideograph) TRY(text_points_add(&clean, ' ', from));
    }
    if (!t->keep_accents) TRY(text_decompose(&clean, &apart));
    const text_points *p = t->keep_accents ? &clean : &apart;
    for (size_t i = 0; i < p->n; i++) {
        if (!t->keep_accents && text_is_accent(p->v[i].c)) continue;
        if (t->keep_case) TRY(text_points_add(out, p->v[i].c, p->v[i].from));
        else TRY(text_lower(out, p->v[i].c, p->v[i].from));
    }
done:
    free(clean.v), free(apart.v);
    return st;
}

/* Of one word: its pieces, or one unknown token. */
static ldm_status word(const ldm_tokenizer *t, const text_point *v, size_t n, text_tokens *out) {
    enum { MARK = 2 }; /* "##" stands before pieces that go on */
    char text[MARK + 4 * LONGEST_WORD];
    size_t at[LONGEST_WORD + 1], used = MARK;
    int before = out->n;
    if (n > LONGEST_WORD) return text_tokens_add(out, t->unknown, v[0].from);
    for (size_t i = 0; i < n; i++) {
        at[i] = used;
        used += (size_t)text_encode(v[i].c, text + used);
    }
    at[n] = used;
    for (size_t from = 0, to; from < n; from = to) {
        size_t mark = from ? MARK : 0;
        char *piece = text + at[from] - mark, kept[MARK];
        int32_t id = -1;
        memcpy(kept, piece, mark), memset(piece, '#', mark);
        for (to = n; to > from; to--) {
            size_t bytes = mark + at[to] - at[from];
            if (bytes <= t->vocabulary.longest && (id = text_vocabulary_find(&t->vocabulary, piece, bytes)) >= 0) break;
        }
        memcpy(piece, kept, mark);
        if (id < 0) {
            out->n = before;
            return text_tokens_add(out, t->unknown, v[0].from);
        }
        ldm_status st = text_tokens_add(out, id, v[from].from);
        if (st) return st;
    }
    return LDM_OK;
}

ldm_status text_wordpiece(const ldm_tokenizer *t, const text_point *v, size_t n, text_tokens *out) {
    ldm_status st = LDM_OK;
    for (size_t i = 0, to; i < n && !st; i = to) {
        to = i + 1;
        if (text_is_space(v[i].c)) continue;
        if (!text_is_punct(v[i].c))
            while (to < n && !text_is_space(v[to].c) && !text_is_punct(v[to].c)) to++;
        st = word(t, v + i, to - i, out);
    }
    return st;
}
