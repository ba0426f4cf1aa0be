/* bpe.c -- CLIP's tokenizer: text composed and in lower case, split by a regular expression into contractions, runs of
 * letters, single digits and runs of other signs; each such word is its bytes, of which neighbours are merged as long
 * as the vocabulary knows a merge, the most frequent in its training text first. Sennrich et al. (arXiv 1508.07909) on
 * bytes, the last byte of a word marked with </w>; as CLIPTokenizerFast does it. */
#include "text/internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- the vocabulary ---------------------------------------------------------------------------------------------- */

static bool printable(int b) { return (b >= 33 && b <= 126) || (b >= 161 && b != 173); }

int text_byte_of(int i) {
    for (int pass = 0; pass < 2; pass++)
        for (int b = 0; b < 256; b++)
            if (printable(b) == !pass && i-- == 0) return b;
    return 0;
}

uint32_t text_byte_letter(int b) {
    uint32_t hidden = 0;
    if (printable(b)) return (uint32_t)b;
    for (int i = 0; i < b; i++) hidden += !printable(i);
    return 256 + hidden;
}

static text_merge *merge_slot(const ldm_tokenizer *t, int32_t left, int32_t right) {
    uint32_t i = (uint32_t)ldm_hash(0, (uint64_t)left, (uint64_t)right);
    for (;; i++) {
        text_merge *m = &t->merge[i & (t->merge_slots - 1)];
        if (m->left < 0 || (m->left == left && m->right == right)) return m;
    }
}

ldm_status text_bpe_begin(ldm_tokenizer *t, int n) {
    for (int end = 0; end < 2; end++)
        for (int b = 0; b < 256; b++) {
            char token[16];
            int k = text_encode(text_byte_letter(b), token);
            if (end) memcpy(token + k, "</w>", 4), k += 4;
            t->byte_id[end][b] = text_vocabulary_find(&t->vocabulary, token, (size_t)k);
        }
    for (t->merge_slots = 1024; t->merge_slots < 2 * (uint32_t)n;) t->merge_slots *= 2;
    t->merge = malloc(t->merge_slots * sizeof *t->merge);
    if (!t->merge) return ldm_fail(LDM_ERR_NOMEM, "vocabulary of %d merges: out of memory", n);
    for (uint32_t i = 0; i < t->merge_slots; i++) t->merge[i].left = -1;
    return LDM_OK;
}

ldm_status text_bpe_merge(ldm_tokenizer *t, int rank, const char *left, size_t left_n, const char *right,
                          size_t right_n, const char *what) {
    const text_vocabulary *v = &t->vocabulary;
    char both[512];
    int32_t l = text_vocabulary_find(v, left, left_n), r = text_vocabulary_find(v, right, right_n), id = -1;
    if (left_n + right_n <= sizeof both) {
        memcpy(both, left, left_n), memcpy(both + left_n, right, right_n);
        id = text_vocabulary_find(v, both, left_n + right_n);
    }
    if (l < 0 || r < 0 || id < 0)
        return ldm_fail(LDM_ERR_FORMAT, "%s: merge %d is of a token that the vocabulary does not have", what, rank + 1);
    *merge_slot(t, l, r) = (text_merge){l, r, rank, id};
    return LDM_OK;
}

/* ---- one word ---------------------------------------------------------------------------------------------------- */

typedef struct part { /* of a word: a token, linked to its neighbours; id < 0: merged into the one before */
    int32_t id, before, after;
    size_t from;
} part;

typedef struct candidate { /* the parts at `at` and behind it can be merged into `id` */
    int32_t rank, at, id;
} candidate;

typedef struct word_room { /* kept from word to word */
    part *parts;
    candidate *heap;
    int n, cap, heaped;
} word_room;

static bool sooner(candidate a, candidate b) { return a.rank != b.rank ? a.rank < b.rank : a.at < b.at; }

/* A heap holds at most one candidate a pair that ever stood side by side: fewer than 3 n. */
static void offer(const ldm_tokenizer *t, word_room *w, int32_t at) {
    int32_t next = at < 0 ? -1 : w->parts[at].after;
    if (next < 0) return;
    const text_merge *m = merge_slot(t, w->parts[at].id, w->parts[next].id);
    if (m->left < 0) return;
    candidate c = {m->rank, at, m->id};
    int i = w->heaped++;
    for (; i && sooner(c, w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
}

static candidate take(word_room *w) {
    candidate top = w->heap[0], last = w->heap[--w->heaped];
    int i = 0;
    for (int child; (child = 2 * i + 1) < w->heaped; i = child) {
        if (child + 1 < w->heaped && sooner(w->heap[child + 1], w->heap[child])) child++;
        if (!sooner(w->heap[child], last)) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

static ldm_status room_for(word_room *w, int n) {
    if (n <= w->cap) return LDM_OK;
    int cap = w->cap ? w->cap : 64;
    while (cap < n) cap *= 2;
    part *p = realloc(w->parts, (size_t)cap * sizeof *p);
    if (p) w->parts = p;
    candidate *h = realloc(w->heap, 3 * (size_t)cap * sizeof *h);
    if (h) w->heap = h;
    if (!p || !h) return ldm_fail(LDM_ERR_NOMEM, "word of %d bytes: out of memory", n);
    w->cap = cap;
    return LDM_OK;
}

static ldm_status word(const ldm_tokenizer *t, const text_point *v, size_t n, word_room *w, text_tokens *out) {
    ldm_status st = LDM_OK;
    if (n > INT32_MAX / 16) return ldm_fail(LDM_ERR_ARG, "word of %zu characters: too long", n);
    TRY(room_for(w, 4 * (int)n));
    w->n = w->heaped = 0;
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        int k = text_encode(v[i].c, bytes);
        for (int j = 0; j < k; j++, w->n++) {
            bool end = i == n - 1 && j == k - 1;
            int32_t id = t->byte_id[end][(uint8_t)bytes[j]];
            w->parts[w->n] = (part){id < 0 ? t->unknown : id, w->n - 1, end ? -1 : w->n + 1, v[i].from};
        }
    }
    for (int i = 0; i < w->n; i++) offer(t, w, i);
    while (w->heaped) {
        candidate c = take(w);
        part *p = &w->parts[c.at];
        if (p->id < 0 || p->after < 0) continue;
        part *q = &w->parts[p->after];
        const text_merge *m = merge_slot(t, p->id, q->id);
        if (m->left < 0 || m->id != c.id) continue; /* one of the two has been merged since */
        p->id = c.id, p->after = q->after;
        q->id = -1;
        if (p->after >= 0) w->parts[p->after].before = c.at;
        offer(t, w, p->before);
        offer(t, w, c.at);
    }
    for (int i = 0; i >= 0; i = w->parts[i].after) TRY(text_tokens_add(out, w->parts[i].id, w->parts[i].from));
done:
    return st;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static bool is_other(uint32_t c) { return !text_is_space(c) && !text_is_letter(c) && !text_is_number(c); }

static bool begins(const text_point *v, size_t n, const char *with) {
    size_t i = 0;
    for (; with[i]; i++)
        if (i >= n || v[i].c != (uint8_t)with[i]) return false;
    return true;
}

/* Length of a special token at v that got here because it was written with capitals, else 0. */
static size_t written_special(const text_point *v, size_t n) {
    static const char *const specials[] = {"<|startoftext|>", "<|endoftext|>"};
    for (size_t i = 0; i < 2; i++)
        if (begins(v, n, specials[i])) return strlen(specials[i]);
    return 0;
}

/* Length of the word at v, which is no space. The expression's alternatives in its order:
 *   <|startoftext|> | <|endoftext|> | 's | 't | 're | 've | 'm | 'll | 'd | \p{L}+ | \p{N} | [^\s\p{L}\p{N}]+ */
static size_t word_length(const text_point *v, size_t n) {
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    size_t k = 1;
    for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++)
        if (begins(v, n, contractions[i])) return strlen(contractions[i]);
    if (text_is_number(v[0].c)) return 1;
    if (text_is_letter(v[0].c))
        while (k < n && text_is_letter(v[k].c)) k++;
    else
        while (k < n && is_other(v[k].c)) k++;
    return k;
}

ldm_status text_bpe_normalise(const text_points *in, text_points *out) {
    text_points composed = {0};
    ldm_status st = text_compose(in, &composed);
    for (size_t i = 0; i < composed.n && !st; i++) st = text_lower(out, composed.v[i].c, composed.v[i].from);
    free(composed.v);
    return st;
}

ldm_status text_bpe(const ldm_tokenizer *t, const text_point *v, size_t n, text_tokens *out) {
    word_room w = {0};
    ldm_status st = LDM_OK;
    for (size_t k; n; v += k, n -= k) {
        if (text_is_space(v->c)) k = 1;
        else if ((k = written_special(v, n))) { /* split again at its letters */ TRY(word(t, v, 2, &w, out));
            TRY(word(t, v + 2, k - 4, &w, out));
            TRY(word(t, v + k - 2, 2, &w, out));
        } else {
            k = word_length(v, n);
            TRY(word(t, v, k, &w, out));
        }
    }
done:
    free(w.parts), free(w.heap);
    return st;
}
