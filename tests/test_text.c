/* test_text.c -- tokenizers against the ids that `transformers` gives 2,000 strings (tests/oracle/prompts.py), what is
 * cut and what is taken literally, text that is not UTF-8. */
#include "test.h"
#include "text/text.h"
#include <jansson.h>
#include <time.h>
#include <zlib.h>

/* ---- the witness's ids ------------------------------------------------------------------------------------------- */

typedef struct packed { /* prompts.gz unpacked, and how far it is read */
    uint8_t *d;
    size_t n, at;
} packed;

static packed unpack(const char *path) {
    packed p = {.d = malloc(1 << 22)};
    gzFile f = gzopen(path, "rb");
    int n = f ? gzread(f, p.d, 1 << 22) : -1;
    CHECK(n > 0 && n < 1 << 22, "%s cannot be read", path);
    if (f) gzclose(f);
    p.n = n > 0 ? (size_t)n : 0;
    return p;
}

static const uint8_t *next(packed *p, size_t n) {
    static const uint8_t none[1 << 20];
    CHECK(p->n - p->at >= n, "the fixture ends early");
    if (p->n - p->at < n) {
        p->at = p->n;
        return none;
    }
    p->at += n;
    return p->d + p->at - n;
}

static uint32_t next_u32(packed *p) {
    uint32_t v;
    memcpy(&v, next(p, 4), 4);
    return v;
}

static bool same_ids(const uint8_t *want, uint32_t n, const int32_t *got, int got_n) {
    uint16_t id;
    if ((uint32_t)got_n != n) return false;
    for (uint32_t i = 0; i < n; i++)
        if (memcpy(&id, want + 2 * i, 2), id != got[i]) return false;
    return true;
}

static void say_ids(const char *prompt, const uint8_t *want, uint32_t n, const int32_t *got, int got_n) {
    uint16_t id;
    printf("  '%s'\n  wanted", prompt);
    for (uint32_t i = 0; i < n && i < 40; i++) memcpy(&id, want + 2 * i, 2), printf(" %d", id);
    printf("\n  found ");
    for (int i = 0; i < got_n && i < 40; i++) printf(" %d", got[i]);
    printf("\n");
}

static void compare_all(ldm_tokenizer *const *t) {
    enum { LENGTH = 77, STRINGS = 2000 };
    packed p = unpack("tests/fixtures/text/prompts.gz");
    int strings = 0, wrong = 0, cut = 0;
    for (; p.at < p.n; strings++) {
        uint32_t bytes = next_u32(&p);
        char *prompt = calloc(1, (size_t)bytes + 1);
        memcpy(prompt, next(&p, bytes), bytes);
        for (int kind = 0; kind < 2; kind++) {
            uint32_t n = next_u32(&p);
            const uint8_t *want = next(&p, 2 * (size_t)n);
            int32_t *ids = NULL, fixed[LENGTH];
            size_t *from = NULL;
            int got = 0;
            ldm_tokenized info;
            CHECK_OK(ldm_tokenize_all(t[kind], prompt, &ids, &from, &got));
            if (!same_ids(want, n, ids, got) && wrong++ < 10) say_ids(prompt, want, n, ids, got);
            for (int i = 1; i < got; i++)
                CHECK(from[i] >= from[i - 1] && from[i] < bytes, "token %d begins at %zu", i, from[i]);
            /* of a fixed length: start, what fits, end, padding */
            CHECK_OK(ldm_tokenize(t[kind], prompt, LENGTH, kind ? -1 : 0, fixed, &info));
            int kept = got < LENGTH - 2 ? got : LENGTH - 2;
            CHECK(info.used == kept + 2 && info.wanted == got + 2, "used %d, wanted %d", info.used, info.wanted);
            CHECK(fixed[0] == (kind ? 49406 : 101) && fixed[kept + 1] == (kind ? 49407 : 102), "start and end");
            CHECK(same_ids(want, (uint32_t)kept, fixed + 1, kept) || wrong, "the first %d tokens", kept);
            for (int i = kept + 2; i < LENGTH; i++) CHECK(fixed[i] == (kind ? 49407 : 0), "padding");
            CHECK(info.cut == (kept < got ? from[kept] : bytes), "cut at %zu", info.cut);
            cut += kept < got;
            free(ids), free(from);
        }
        free(prompt);
    }
    CHECK(wrong == 0, "%d of %d differ", wrong, 2 * strings);
    CHECK(strings == STRINGS && cut > 100, "%d strings, %d cut", strings, cut);
    free(p.d);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

/* The folders of tests/oracle/prompts.py, each with every string of folders.gz, as transformers opens them. */
static void folders_of_the_witness(void) {
    enum { LENGTH = 40, FOLDERS = 6 };
    static const struct {
        const char *name;
        ldm_tokenizer_kind kind;
        int pad, length;
    } folder[FOLDERS] = {{"sd1", LDM_TOKENIZER_CLIP, 813, 77},      {"sd2", LDM_TOKENIZER_CLIP, 0, 77},
                         {"sd2_saved", LDM_TOKENIZER_CLIP, 0, 77},  {"bert", LDM_TOKENIZER_BERT, 0, 24},
                         {"bert_cased", LDM_TOKENIZER_BERT, 0, 77}, {"bert_cased_saved", LDM_TOKENIZER_BERT, 0, 77}};
    ldm_tokenizer *t[FOLDERS] = {NULL};
    packed p = unpack("tests/fixtures/text/folders.gz");
    int wrong = 0, strings = 0;
    for (int i = 0; i < FOLDERS; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/fixtures/text/folders/%s", folder[i].name);
        CHECK_OK(ldm_tokenizer_folder(path, &t[i]));
        if (!t[i]) goto done;
        CHECK(ldm_tokenizer_kind_of(t[i]) == folder[i].kind && ldm_tokenizer_pad(t[i]) == folder[i].pad &&
                  ldm_tokenizer_length(t[i]) == folder[i].length,
              "%s: kind, padding %d, length %d", folder[i].name, ldm_tokenizer_pad(t[i]), ldm_tokenizer_length(t[i]));
    }
    for (; p.at < p.n; strings++) {
        uint32_t bytes = next_u32(&p);
        char *prompt = calloc(1, (size_t)bytes + 1);
        memcpy(prompt, next(&p, bytes), bytes);
        for (int i = 0; i < FOLDERS; i++) {
            const uint8_t *want = next(&p, 2 * LENGTH);
            int32_t ids[LENGTH];
            CHECK_OK(ldm_tokenize(t[i], prompt, LENGTH, -1, ids, NULL));
            if (same_ids(want, LENGTH, ids, LENGTH) || wrong++ >= 10) continue;
            printf("  %s\n", folder[i].name);
            say_ids(prompt, want, LENGTH, ids, LENGTH);
        }
        free(prompt);
    }
    CHECK(wrong == 0, "%d of %d differ", wrong, FOLDERS * strings);
    CHECK(strings > 150, "%d strings", strings);
done:
    for (int i = 0; i < FOLDERS; i++) ldm_tokenizer_close(t[i]);
    free(p.d);
}

static void put_file(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (text) CHECK_OK(ldm_write_file(path, text, strlen(text)));
    else remove(path);
}

static void folders_refused(void) {
    static const char *const files[] = {"tokenizer.json", "vocab.json", "merges.txt", "vocab.txt",
                                        "tokenizer_config.json"};
    static const char *const bert = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na";
    static const struct {
        const char *text[5], *sentence; /* of the files above */
    } bad[] = {
        {{NULL}, "no tokenizer: wanted tokenizer.json"},
        {{"[1]"}, "tokenizer.json: is not a JSON object"},
        {{"{\"model\": {\"type\": \"Unigram\"}}"}, "a tokenizer of type Unigram"},
        {{"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}"}, "a tokenizer of type BPE"},
        {{"{\"model\": {\"type\": \"WordPiece\", \"continuing_subword_prefix\": \"##\"}}"}, "has no vocabulary"},
        {{"{\"model\": {\"type\": \"WordPiece\", \"continuing_subword_prefix\": \"##\", \"vocab\": {\"a\": -3}}}"},
         "token -3"},
        {{"{\"model\": {\"type\": \"WordPiece\", \"continuing_subword_prefix\": \"##\", \"vocab\": {\"a\": "
          "99999999}}}"},
         "token 99999999"},
        {{NULL, "{\"a\": 0}"}, "merges.txt is not"},
        {{NULL, "{\"a\": 0}", "#version: 0.2\na b\n"}, "merge 1 is of a token that the vocabulary does not have"},
        {{NULL, "{\"a\": 0}", "a\n"}, "merge 1 is not of two tokens"},
        {{NULL, "{\"a\": 0}", ""}, "special token '<|startoftext|>' is not in the vocabulary"},
        {{NULL, "{\"a\": \"b\"}", ""}, "vocab.json: token -1"},
        {{NULL, NULL, NULL, ""}, "vocab.txt: no tokens"},
        {{NULL, NULL, NULL, "a\nb\n"}, "special token '[UNK]' is not in the vocabulary"},
        {{NULL, NULL, NULL, bert, "{\"pad_token\": \"none\"}"}, "special token 'none' is not"},
        {{NULL, NULL, NULL, bert, "{\"pad_token\": \"\"}"}, "special token '' is not"},
        {{NULL, NULL, NULL, bert, "{"}, "tokenizer_config.json: is not a JSON object"},
    };
    char folder[] = "/tmp/ldm_text_XXXXXX";
    ldm_tokenizer *t = NULL;
    CHECK(mkdtemp(folder), "no temporary folder");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (int k = 0; k < 5; k++) put_file(folder, files[k], bad[i].text[k]);
        CHECK(ldm_tokenizer_folder(folder, &t) == LDM_ERR_FORMAT && !t && strstr(ldm_message(), bad[i].sentence) &&
                  !strncmp(ldm_message(), folder, strlen(folder)),
              "folder %zu: %s", i, ldm_message());
    }
    for (int k = 0; k < 5; k++) put_file(folder, files[k], k == 3 ? bert : NULL);
    CHECK_OK(ldm_tokenizer_folder(folder, &t));
    ldm_tokenizer_close(t);
    for (int k = 0; k < 5; k++) put_file(folder, files[k], NULL);
    remove(folder);
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

static int count(const ldm_tokenizer *t, const char *text) {
    int32_t *ids = NULL;
    size_t *from = NULL;
    int n = -1;
    CHECK_OK(ldm_tokenize_all(t, text, &ids, &from, &n));
    free(ids), free(from);
    return n;
}

static void known_ids(const ldm_tokenizer *bert, const ldm_tokenizer *clip) {
    static const int32_t cat_clip[] = {49406, 320, 2368, 49407, 0, 0}, cat_bert[] = {101, 1037, 4937, 102, 0, 0};
    int32_t ids[6];
    CHECK_OK(ldm_tokenize(clip, "a cat", 6, 0, ids, NULL));
    CHECK(!memcmp(ids, cat_clip, sizeof ids), "OpenCLIP pads with 0");
    CHECK_OK(ldm_tokenize(bert, "A  cât", 6, -1, ids, NULL));
    CHECK(!memcmp(ids, cat_bert, sizeof ids), "BERT");
    CHECK(!strcmp(ldm_tokenizer_token(clip, 2368), "cat</w>") && !strcmp(ldm_tokenizer_token(bert, 2075), "##ing"),
          "tokens as text");
    CHECK(!ldm_tokenizer_token(clip, 49408) && !ldm_tokenizer_token(bert, -1), "no such token");
    CHECK(ldm_tokenizer_size(clip) == 49408 && ldm_tokenizer_size(bert) == 30522, "sizes");
    CHECK(ldm_tokenizer_pad(clip) == 49407 && ldm_tokenizer_pad(bert) == 0 && ldm_tokenizer_length(clip) == 77,
          "own padding");
    CHECK(ldm_tokenize(clip, "a", 1, 0, ids, NULL) == LDM_ERR_ARG, "no room for start and end");
    CHECK(ldm_tokenize(clip, "a", 6, 49408, ids, NULL) == LDM_ERR_ARG, "padding that is no token");
}

static void cut_and_weights(const ldm_tokenizer *clip) {
    static const struct {
        const char *prompt;
        size_t from, to;
    } weights[] = {{"a (big:1.3) cat", 2, 11}, {"((a))", 1, 4},   {"a \\(b\\) c", 0, 0},
                   {":( and (b)", 7, 10},      {"a) b (c", 0, 0}, {"", 0, 0}};
    int32_t ids[6];
    ldm_tokenized info;
    CHECK_OK(ldm_tokenize(clip, "a … red cat tree", 6, -1, ids, &info));
    CHECK(info.wanted == 7 && info.used == 6 && info.cut == 14 && ids[5] == 49407, "cut at %zu of %d", info.cut,
          info.wanted);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        CHECK_OK(ldm_tokenize(clip, weights[i].prompt, 6, -1, ids, &info));
        CHECK(info.weight_from == weights[i].from && info.weight_to == weights[i].to, "'%s': %zu to %zu",
              weights[i].prompt, info.weight_from, info.weight_to);
    }
}

static void refused(const ldm_tokenizer *t) {
    static const struct {
        const char *prompt;
        int at;
    } bad[] = {{"\x80", 0},
               {"ab\xc3", 2},
               {"ab\xc3(", 2},
               {"\xc0\xaf", 0},
               {"x\xe2\x82", 1},
               {"\xed\xa0\x80", 0},
               {"\xf4\x90\x80\x80", 0},
               {"é\xff", 2},
               {"\xf0\x9f\x99", 0},
               {"<|endoftext|>\xfe", 13},
               {"\xe0\x80\xaf", 0},
               {"\xf0\x80\x80\xaf", 0},
               {"ab\xf8\x88\x80\x80\x80", 2}};
    int32_t ids[8];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char place[32];
        snprintf(place, sizeof place, "at offset %d", bad[i].at);
        CHECK(ldm_tokenize(t, bad[i].prompt, 8, -1, ids, NULL) == LDM_ERR_ARG && strstr(ldm_message(), place) &&
                  ldm_utf8_valid(ldm_message(), strlen(ldm_message())),
              "invalid text %zu: %s", i, ldm_message());
    }
}

/* Long prompts take time that grows with their length, not its square. */
static void long_prompts(ldm_tokenizer *const *t) {
    enum { N = 1 << 20 };
    char *s = malloc(N + 1);
    clock_t start = clock(); /* of this process: the machine may be busy */
    for (int kind = 0; kind < 2; kind++) {
        memset(s, 'a', N), s[N] = 0;
        CHECK(count(t[kind], s) > 0, "one letter");
        for (int i = 0; i < N; i++) s[i] = "\xcc\x81\xcc\xa3"[i % 4]; /* marks of two classes, no base */
        CHECK(count(t[kind], s) >= 0, "marks");
        for (int i = 0; i < N; i++) s[i] = "((a)) ,"[i % 7];
        CHECK(count(t[kind], s) > N / 2, "short words");
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    CHECK(seconds < 60, "%.1f s", seconds);
    free(s);
}

/* ---- layouts ----------------------------------------------------------------------------------------------------- */

static void layouts_of_the_witness(void) {
    json_t *cases = json_load_file("tests/fixtures/condition/layouts.json", 0, NULL), *c;
    size_t i, k;
    int compared = 0;
    CHECK(cases, "layouts.json cannot be read");
    json_array_foreach(cases, i, c) {
        char *text = json_dumps(json_object_get(c, "boxes"), JSON_REAL_PRECISION(17));
        int classes = (int)json_integer_value(json_object_get(c, "classes"));
        int32_t tokens[LDM_LAYOUT_TOKENS];
        json_t *want = json_object_get(c, "tokens"), *token;
        CHECK_OK(ldm_layout_parse(text, strlen(text), "boxes.json", classes, tokens));
        CHECK(json_array_size(want) == LDM_LAYOUT_TOKENS, "92 tokens");
        json_array_foreach(want, k, token) {
            CHECK(tokens[k] == json_integer_value(token), "layout %zu, token %zu: %d, wanted %d", i, k, tokens[k],
                  (int)json_integer_value(token));
            compared++;
        }
        free(text);
    }
    int32_t part[LDM_LAYOUT_TOKENS] = {7};
    ldm_layout_crop(part, 0.5, 0, 1, 0.5);
    CHECK(part[0] == 7 && part[90] == 44 && part[91] == 44 * 90 + 89, "corners of a part: %d, %d", part[90], part[91]);
    CHECK(compared == 10 * LDM_LAYOUT_TOKENS, "%d tokens", compared);
    json_decref(cases);
}

static void layouts_refused(void) {
    static const struct {
        const char *json, *sentence;
    } bad[] = {
        {"", "line 1"},
        {"{}", "is not a list of boxes"},
        {"[1]", "box 1: is not an object"},
        {"[{\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1}]", "box 1: \"class\" is missing"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1}]", "box 1: \"y1\" is missing"},
        {"[{\"class\":340,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1}]", "whole number from 0 to 339"},
        {"[{\"class\":1.5,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1}]", "whole number from 0 to 339"},
        {"[{\"class\":1,\"x0\":-0.1,\"y0\":0,\"x1\":1,\"y1\":1}]", "\"x0\" is not a number from 0 to 1"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1.01,\"y1\":1}]", "\"x1\" is not a number from 0 to 1"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":\"1\"}]", "\"y1\" is not a number from 0 to 1"},
        {"[{\"class\":1,\"x0\":0.5,\"y0\":0,\"x1\":0.25,\"y1\":1}]", "from (0.5, 0) to (0.25, 1), wanted x0 < x1"},
        {"[{\"class\":1,\"x0\":0,\"y0\":1,\"x1\":1,\"y1\":1}]", "wanted x0 < x1"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1,\"colour\":3}]", "\"colour\" is not one of"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1,\"modifiers\":[\"big\"]}]", "modifier 'big' is not one of"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1,\"modifiers\":\"inside\"}]", "is not a list of words"},
        {"[{\"class\":1,\"class\":2}]", "line 1"},
        {"[{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1}] x", "line 1"},
    };
    int32_t tokens[LDM_LAYOUT_TOKENS];
    ldm_text many = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(ldm_layout_parse(bad[i].json, strlen(bad[i].json), "b.json", 340, tokens) == LDM_ERR_FORMAT &&
                  !strncmp(ldm_message(), "b.json: ", 8) && strstr(ldm_message(), bad[i].sentence),
              "%s: %s", bad[i].json, ldm_message());
    for (int i = 0; i < 31; i++)
        ldm_text_add(&many, "%s{\"class\":1,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1}", i ? "," : "[");
    ldm_text_add(&many, "]");
    CHECK(ldm_layout_parse(many.s, many.len, "b.json", 340, tokens) == LDM_ERR_FORMAT &&
              strstr(ldm_message(), "31 boxes, at most 30"),
          "%s", ldm_message());
    CHECK(ldm_layout_read("no/such/file.json", 340, tokens) == LDM_ERR_FORMAT, "no file");
    CHECK(ldm_layout_parse("[]", 2, "b.json", 512, tokens) == LDM_ERR_ARG, "more classes than there are tokens");
    ldm_text_free(&many);
}

int main(int argc, char **argv) {
    ldm_tokenizer *t[2] = {NULL, NULL};
    test_begin(argc, argv, "text");
    CASE("vocabularies in the library") {
        double start = ldm_now();
        CHECK_OK(ldm_tokenizer_builtin(LDM_TOKENIZER_BERT, &t[0]));
        CHECK_OK(ldm_tokenizer_builtin(LDM_TOKENIZER_CLIP, &t[1]));
        printf("ok   text: both vocabularies in %.1f ms\n", 1e3 * (ldm_now() - start));
    }
    if (!t[0]) ldm_tokenizer_builtin(LDM_TOKENIZER_BERT, &t[0]);
    if (!t[1]) ldm_tokenizer_builtin(LDM_TOKENIZER_CLIP, &t[1]);
    if (!t[0] || !t[1]) return test_end();
    CASE("2,000 strings against transformers") compare_all(t);
    CASE("known ids") known_ids(t[0], t[1]);
    CASE("what is cut, what is taken literally") cut_and_weights(t[1]);
    CASE("not UTF-8") refused(t[0]), refused(t[1]);
    CASE("folders against transformers") folders_of_the_witness();
    CASE("folders refused") folders_refused();
    CASE("a megabyte") long_prompts(t);
    CASE("layouts against taming-transformers") layouts_of_the_witness();
    CASE("layouts refused") layouts_refused();
    ldm_tokenizer_close(t[0]);
    ldm_tokenizer_close(t[1]);
    return test_end();
}
