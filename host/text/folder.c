/* folder.c -- a tokenizer as diffusers and transformers save it: tokenizer.json, or the older vocab.json with
 * merges.txt (CLIP) and vocab.txt (BERT); special tokens, padding and length beside them. */
#include "text/internal.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_BYTES = 1 << 26, DEFAULT_LENGTH = 77, LONGEST_LENGTH = 1 << 16 };

typedef struct folder {
    const char *path;
    json_t *tokenizer, *vocabulary, *config, *map; /* the .json files; NULL where there is none */
    char *text;                                    /* merges.txt or vocab.txt */
    size_t text_size;
} folder;

static const char *name_in(const folder *f, const char *file, char *buf, size_t cap) {
    snprintf(buf, cap, "%s/%s", f->path, file);
    return buf;
}

/* Whether the file is there; its bytes. */
static ldm_status read_text(const folder *f, const char *file, char **text, size_t *n, bool *there) {
    char path[4300];
    struct stat s;
    *there = !stat(name_in(f, file, path, sizeof path), &s);
    return *there ? ldm_read_file(path, MAX_BYTES, text, n) : LDM_OK;
}

/* *out stays NULL where the file is not there. */
static ldm_status read_json(const folder *f, const char *file, size_t flags, json_t **out) {
    char *text = NULL;
    size_t n = 0;
    bool there;
    json_error_t error;
    ldm_status st = read_text(f, file, &text, &n, &there);
    if (st || !there) return st;
    json_t *root = json_loadb(text, n, flags, &error);
    free(text);
    if (!json_is_object(root)) {
        json_decref(root);
        return ldm_fail(LDM_ERR_FORMAT, "%s/%s: is not a JSON object (line %d)", f->path, file,
                        error.line < 1 ? 1 : error.line);
    }
    *out = root;
    return LDM_OK;
}

static void close_folder(folder *f) {
    json_decref(f->tokenizer), json_decref(f->vocabulary), json_decref(f->config), json_decref(f->map);
    free(f->text);
}

static bool is_word(json_t *value, const char *word) {
    return json_is_string(value) && !strcmp(json_string_value(value), word);
}

/* ---- vocabularies ------------------------------------------------------------------------------------------------ */

/* {"token": id, ...} */
static ldm_status add_tokens(ldm_tokenizer *t, json_t *tokens, const char *what) {
    const char *token;
    json_t *id;
    if (!json_is_object(tokens) || !json_object_size(tokens))
        return ldm_fail(LDM_ERR_FORMAT, "%s: has no vocabulary {\"token\": id, ...}", what);
    json_object_foreach(tokens, token, id) {
        ldm_status st = text_vocabulary_add(&t->vocabulary, token, strlen(token),
                                            json_is_integer(id) ? json_integer_value(id) : -1);
        if (st) return ldm_prefix(st, "%s", what);
    }
    return LDM_OK;
}

/* ["left right", ...] or [["left", "right"], ...] */
static ldm_status add_merges(ldm_tokenizer *t, json_t *merges, const char *what) {
    size_t rank;
    json_t *merge;
    json_array_foreach(merges, rank, merge) {
        json_t *l = json_array_get(merge, 0), *r = json_array_get(merge, 1);
        const char *both = json_string_value(merge), *space = both ? strchr(both, ' ') : NULL;
        ldm_status st;
        if (space) st = text_bpe_merge(t, (int)rank, both, (size_t)(space - both), space + 1, strlen(space + 1), what);
        else if (json_is_string(l) && json_is_string(r))
            st = text_bpe_merge(t, (int)rank, json_string_value(l), json_string_length(l), json_string_value(r),
                                json_string_length(r), what);
        else st = ldm_fail(LDM_ERR_FORMAT, "%s: merge %zu is not of two tokens", what, rank + 1);
        if (st) return st;
    }
    return LDM_OK;
}

/* The next line of text at *at, without its end; NULL behind the last. */
static const char *next_line(const folder *f, size_t *at, size_t *n) {
    if (*at >= f->text_size) return NULL;
    const char *line = f->text + *at, *end = memchr(line, '\n', f->text_size - *at);
    *n = end ? (size_t)(end - line) : f->text_size - *at;
    *at += *n + 1;
    if (*n && line[*n - 1] == '\r') --*n;
    return line;
}

static bool is_version(const char *line, size_t n) { return n >= 8 && !memcmp(line, "#version", 8); }

/* merges.txt: "left right" a line, behind a line "#version: ..." */
static ldm_status read_merges(ldm_tokenizer *t, const folder *f) {
    char what[4300];
    size_t at = 0, n, lines = 0;
    int rank = 0;
    ldm_status st;
    name_in(f, "merges.txt", what, sizeof what);
    for (size_t i = 0; i < f->text_size; i++) lines += f->text[i] == '\n';
    st = text_bpe_begin(t, (int)lines + 1);
    for (const char *line; !st && (line = next_line(f, &at, &n));) {
        const char *space = n ? memchr(line, ' ', n) : NULL;
        if (!n || is_version(line, n)) continue;
        if (!space) return ldm_fail(LDM_ERR_FORMAT, "%s: merge %d is not of two tokens", what, rank + 1);
        st = text_bpe_merge(t, rank++, line, (size_t)(space - line), space + 1, (size_t)(line + n - space - 1), what);
    }
    return st;
}

/* vocab.txt: a token a line, id = line - 1 */
static ldm_status read_vocabulary(ldm_tokenizer *t, const folder *f) {
    size_t at = 0, n;
    ldm_status st = LDM_OK;
    int64_t id = 0;
    for (const char *line; !st && (line = next_line(f, &at, &n));)
        st = text_vocabulary_add(&t->vocabulary, line, n, id++);
    if (!st && !id) st = ldm_fail(LDM_ERR_FORMAT, "no tokens");
    return ldm_prefix(st, "%s/vocab.txt", f->path);
}

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

/* What tokenizer_config.json, else special_tokens_map.json, says of a key: a word or {"content": word, ...}. */
static json_t *setting(const folder *f, const char *key) {
    json_t *v = json_object_get(f->config, key);
    return v && !json_is_null(v) ? v : json_object_get(f->map, key);
}

static const char *word_of(json_t *v) {
    return json_is_string(v) ? json_string_value(v) : json_string_value(json_object_get(v, "content"));
}

/* A word alone is normalised as a list of added tokens says of it, in either file; by itself it is not. */
static bool normalised_as_listed(const folder *f, const char *word) {
    const char *id;
    size_t i;
    json_t *token;
    json_object_foreach(json_object_get(f->config, "added_tokens_decoder"), id,
                        token) if (is_word(json_object_get(token, "content"),
                                           word)) return json_is_true(json_object_get(token, "normalized"));
    json_array_foreach(json_object_get(f->tokenizer, "added_tokens"), i,
                       token) if (is_word(json_object_get(token, "content"),
                                          word)) return json_is_true(json_object_get(token, "normalized"));
    return false;
}

static ldm_status add_special(ldm_tokenizer *t, const folder *f, const char *key, const char *otherwise, int32_t *id) {
    json_t *v = setting(f, key), *flag = json_object_get(v, "normalized");
    const char *word = word_of(v);
    if (!word) word = otherwise;
    if (!word) return LDM_OK;
    return text_special_add(t, word, flag ? json_is_true(flag) : normalised_as_listed(f, word), id);
}

/* In the order in which transformers takes them: where two keys name one token the last says whether it is normalised.
 */
static ldm_status add_specials(ldm_tokenizer *t, const folder *f) {
    bool clip = t->kind == LDM_TOKENIZER_CLIP;
    ldm_status st = LDM_OK;
    json_t *token;
    size_t i;
    json_array_foreach(json_object_get(f->tokenizer, "added_tokens"), i, token) {
        const char *word = word_of(token);
        json_t *id = json_object_get(token, "id");
        if (!word) TRY(ldm_fail(LDM_ERR_FORMAT, "added token %zu has no content", i + 1));
        if (text_vocabulary_find(&t->vocabulary, word, strlen(word)) < 0)
            TRY(text_vocabulary_add(&t->vocabulary, word, strlen(word),
                                    json_is_integer(id) ? json_integer_value(id) : -1));
        TRY(text_special_add(t, word, json_is_true(json_object_get(token, "normalized")), NULL));
    }
    if (clip) {
        TRY(add_special(t, f, "bos_token", "<|startoftext|>", &t->start));
        TRY(add_special(t, f, "eos_token", "<|endoftext|>", &t->end));
        TRY(add_special(t, f, "unk_token", "<|endoftext|>", &t->unknown));
        TRY(add_special(t, f, "pad_token", "<|endoftext|>", &t->pad));
    } else {
        TRY(add_special(t, f, "unk_token", "[UNK]", &t->unknown));
        TRY(add_special(t, f, "sep_token", "[SEP]", &t->end));
        TRY(add_special(t, f, "pad_token", "[PAD]", &t->pad));
        TRY(add_special(t, f, "cls_token", "[CLS]", &t->start));
        TRY(add_special(t, f, "mask_token", text_vocabulary_find(&t->vocabulary, "[MASK]", 6) < 0 ? NULL : "[MASK]",
                        NULL));
    }
done:
    return ldm_prefix(st, "%s", f->path);
}

/* ---- the three layouts ------------------------------------------------------------------------------------------- */

/* tokenizer.json: the model alone is read; what is before it must be CLIP's or BERT's, as its kind says. */
static ldm_status from_tokenizer(ldm_tokenizer *t, const folder *f) {
    char what[4300];
    json_t *model = json_object_get(f->tokenizer, "model"), *type = json_object_get(model, "type");
    json_t *tokens = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    json_t *normalizer = json_object_get(f->tokenizer, "normalizer");
    ldm_status st;
    name_in(f, "tokenizer.json", what, sizeof what);
    if (is_word(type, "BPE") && is_word(json_object_get(model, "end_of_word_suffix"), "</w>")) {
        t->kind = LDM_TOKENIZER_CLIP;
        st = add_tokens(t, tokens, what);
        if (!st && !json_array_size(merges)) st = ldm_fail(LDM_ERR_FORMAT, "%s: has no merges", what);
        if (!st) st = text_bpe_begin(t, (int)json_array_size(merges));
        return st ? st : add_merges(t, merges, what);
    }
    if (is_word(type, "WordPiece") && is_word(json_object_get(model, "continuing_subword_prefix"), "##")) {
        t->kind = LDM_TOKENIZER_BERT;
        t->keep_case = json_is_false(json_object_get(normalizer, "lowercase"));
        json_t *strip = json_object_get(normalizer, "strip_accents");
        t->keep_accents = json_is_boolean(strip) ? json_is_false(strip) : t->keep_case;
        t->keep_chinese = json_is_false(json_object_get(normalizer, "handle_chinese_chars"));
        return add_tokens(t, tokens, what);
    }
    return ldm_fail(LDM_ERR_FORMAT,
                    "%s: a tokenizer of type %s, wanted CLIP's byte-pair encoding (BPE, \"</w>\") or BERT's WordPiece",
                    what,
                    json_is_string(type) ? ldm_shown(json_string_value(type), json_string_length(type)) : "unknown");
}

static ldm_status from_older(ldm_tokenizer *t, folder *f) {
    char what[4300];
    bool there;
    ldm_status st = LDM_OK;
    if (f->vocabulary) {
        t->kind = LDM_TOKENIZER_CLIP;
        TRY(add_tokens(t, f->vocabulary, name_in(f, "vocab.json", what, sizeof what)));
        TRY(read_text(f, "merges.txt", &f->text, &f->text_size, &there));
        if (!there) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: vocab.json is there, merges.txt is not", f->path));
        TRY(read_merges(t, f));
        return st;
    }
    TRY(read_text(f, "vocab.txt", &f->text, &f->text_size, &there));
    if (!there)
        TRY(ldm_fail(LDM_ERR_FORMAT,
                     "%s: no tokenizer: wanted tokenizer.json, vocab.json with merges.txt, or vocab.txt", f->path));
    t->kind = LDM_TOKENIZER_BERT;
    t->keep_case = json_is_false(setting(f, "do_lower_case"));
    t->keep_accents =
        json_is_boolean(setting(f, "strip_accents")) ? json_is_false(setting(f, "strip_accents")) : t->keep_case;
    t->keep_chinese = json_is_false(setting(f, "tokenize_chinese_chars"));
    TRY(read_vocabulary(t, f));
done:
    return st;
}

ldm_status ldm_tokenizer_folder(const char *path, ldm_tokenizer **out) {
    folder f = {.path = path};
    ldm_tokenizer *t = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_alloc(sizeof *t, (void **)&t));
    TRY(read_json(&f, "tokenizer.json", 0, &f.tokenizer));
    TRY(read_json(&f, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL,
                  &f.config)); /* no length is 10^30 + something */
    TRY(read_json(&f, "special_tokens_map.json", 0, &f.map));
    if (!f.tokenizer) TRY(read_json(&f, "vocab.json", 0, &f.vocabulary));
    TRY(f.tokenizer ? from_tokenizer(t, &f) : from_older(t, &f));
    TRY(add_specials(t, &f));
    json_t *length = setting(&f, "model_max_length");
    double n = json_is_number(length) ? json_number_value(length) : 0;
    t->length = n >= 2 && n <= LONGEST_LENGTH ? (int)n : DEFAULT_LENGTH;
    *out = t, t = NULL;
done:
    close_folder(&f);
    ldm_tokenizer_close(t);
    return st;
}
