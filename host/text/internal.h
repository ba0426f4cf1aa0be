/* internal.h -- what the files of text/ share: code points with their place in the prompt, vocabularies, lists of
 * tokens, and the two models. */
#ifndef LDM_TEXT_INTERNAL_H
#define LDM_TEXT_INTERNAL_H

#include "text/text.h"

/* ---- unicode.c: text as code points, with the properties that the tokenizers of `transformers` see --------------- */

typedef struct text_point {
    uint32_t c;
    size_t from; /* byte of the prompt that it came from */
} text_point;

typedef struct text_points {
    text_point *v;
    size_t n, cap;
} text_points;

ldm_status text_points_add(text_points *p, uint32_t c, size_t from);
/* The code points of s[0, n), valid UTF-8 that begins at byte `from` of the prompt. */
ldm_status text_points_decode(const char *s, size_t n, size_t from, text_points *out);
int text_encode(uint32_t c, char out[4]); /* as UTF-8; -> bytes */

ldm_status text_decompose(const text_points *in, text_points *out); /* canonical (NFD) */
ldm_status text_compose(const text_points *in, text_points *out);   /* canonical (NFC) */
ldm_status text_lower(text_points *out, uint32_t c, size_t from); /* appends c in lower case: one or two code points */

bool text_is_space(uint32_t c);   /* White_Space */
bool text_is_letter(uint32_t c);  /* \p{L} */
bool text_is_number(uint32_t c);  /* \p{N} */
bool text_is_control(uint32_t c); /* Cc, Cf, Co */
bool text_is_accent(uint32_t c);  /* Mn */
bool text_is_punct(uint32_t c);   /* P and what ASCII has besides */
bool text_is_chinese(uint32_t c); /* the blocks of unified ideographs that BERT takes one by one */

/* ---- vocabulary.c ------------------------------------------------------------------------------------------------ */

/* Tokens by id and ids by token. */
typedef struct text_vocabulary {
    char *text; /* all tokens, each ended by NUL */
    size_t used, cap;
    uint32_t *at; /* [size] where in text a token begins, UINT32_MAX: no such id */
    int size, at_cap;
    int32_t *slot; /* [slots] id + 1, 0: free */
    uint32_t slots, taken;
    size_t longest; /* bytes of the longest token */
} text_vocabulary;

enum { TEXT_MAX_ID = 1 << 22 };
/* A token that is there already gets the new id. The token has no NUL in it. LDM_ERR_FORMAT for an id that is out of
 * range. */
ldm_status text_vocabulary_add(text_vocabulary *v, const char *token, size_t n, int64_t id);
int32_t text_vocabulary_find(const text_vocabulary *v, const char *token, size_t n); /* -1: not there */
const char *text_vocabulary_token(const text_vocabulary *v, int id);                 /* NULL: no such id */
void text_vocabulary_free(text_vocabulary *v);

/* ---- lists of tokens --------------------------------------------------------------------------------------------- */

typedef struct text_tokens {
    int32_t *id;
    size_t *from; /* byte of the prompt where the token begins */
    int n, cap;
} text_tokens;
ldm_status text_tokens_add(text_tokens *l, int32_t id, size_t from);
void text_tokens_free(text_tokens *l);

/* ---- the two models ---------------------------------------------------------------------------------------------- */

enum { TEXT_MAX_SPECIALS = 64 };

/* A token that is found in a prompt before it is cut into words: as it is written, or, if `normalised`, in the text as
 * the model normalises it. */
typedef struct text_special {
    int32_t id;
    bool normalised;
    text_points form; /* the token's text, normalised */
} text_special;

typedef struct text_merge {
    int32_t left, right; /* left < 0: free */
    int32_t rank, id;
} text_merge;

struct ldm_tokenizer {
    ldm_tokenizer_kind kind;
    text_vocabulary vocabulary;
    text_special special[TEXT_MAX_SPECIALS];
    int specials;
    int32_t start, end, pad, unknown;
    int length;
    bool keep_case, keep_accents, keep_chinese; /* BERT: of other models than the uncased one */
    /* CLIP */
    int32_t byte_id[2][256]; /* a byte's own token, -1: none; [1]: at the end of a word */
    text_merge *merge;       /* [merge_slots] a hash table */
    uint32_t merge_slots;
};

/* Text as the model wants it, then its tokens, appended to `out`; text without special tokens. */
ldm_status text_wordpiece_normalise(const ldm_tokenizer *t, const text_points *in, text_points *out); /* wordpiece.c */
ldm_status text_wordpiece(const ldm_tokenizer *t, const text_point *v, size_t n, text_tokens *out);
ldm_status text_bpe_normalise(const text_points *in, text_points *out); /* bpe.c */
ldm_status text_bpe(const ldm_tokenizer *t, const text_point *v, size_t n, text_tokens *out);

/* bpe.c: from a vocabulary that is there, the tokens of bytes, and room for `n` merges; then the merges, by rank. */
ldm_status text_bpe_begin(ldm_tokenizer *t, int n);
/* "left right" -> their union, all tokens of the vocabulary. `what` names the place for the sentence. */
ldm_status text_bpe_merge(ldm_tokenizer *t, int rank, const char *left, size_t left_n, const char *right,
                          size_t right_n, const char *what);
/* Byte b in the alphabet of CLIP's vocabulary: printable Latin-1 as it is, the others from U+0100 on. */
uint32_t text_byte_letter(int b);
int text_byte_of(int i); /* the i-th byte in the order of that vocabulary: printable ones first */

/* tokenizer.c: makes a token of the vocabulary a special one, or what is one already `normalised` or not; -> its id
 * through *id, which may be NULL. */
ldm_status text_special_add(ldm_tokenizer *t, const char *token, bool normalised, int32_t *id);

/* embedded.c: the vocabularies in the library, each a text of `_end - begin` bytes. */
extern const char text_embedded_bert[], text_embedded_bert_end[]; /* a token a line, id = line - 1 */
extern const char text_embedded_clip[], text_embedded_clip_end[]; /* a merge a line: "left right" */

#endif
