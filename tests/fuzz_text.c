/* fuzz_text.c -- any bytes as a prompt: refused exactly where they are not UTF-8, else tokens of the vocabulary, in
 * order. */
#include "fuzz.h"
#include "text/text.h"

static void tokenize(const ldm_tokenizer *t, const char *prompt, size_t n) {
    int32_t *ids = NULL, fixed[12];
    size_t *from = NULL;
    int count = 0;
    ldm_tokenized info;
    fuzz_armed = true;
    ldm_status st = ldm_tokenize_all(t, prompt, &ids, &from, &count);
    fuzz_armed = false;
    bool refused = st == LDM_ERR_ARG && !ldm_utf8_valid(prompt, n) && strstr(ldm_message(), "offset");
    if (st && !refused && !(st == LDM_ERR_NOMEM && fuzz_memory_fails)) abort();
    if (!st && !ldm_utf8_valid(prompt, n)) abort();
    for (int i = 0; i < count; i++)
        if (!ldm_tokenizer_token(t, ids[i]) || from[i] >= n || (i && from[i] < from[i - 1])) abort();
    if (!st) {
        if (ldm_tokenize(t, prompt, 12, -1, fixed, &info) || info.wanted != count + 2 || info.cut > n) abort();
        if (count && memcmp(fixed + 1, ids, (size_t)(info.used - 2) * sizeof *ids)) abort();
    }
    free(ids), free(from);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ldm_tokenizer *bert, *clip;
    if (!bert && (ldm_tokenizer_builtin(LDM_TOKENIZER_BERT, &bert) || ldm_tokenizer_builtin(LDM_TOKENIZER_CLIP, &clip)))
        abort();
    char *prompt = strndup((const char *)data, size); /* up to the first NUL */
    if (!prompt) abort();
    size_t n = strlen(prompt);
    char *exact = malloc(n + 1);
    if (!exact) abort();
    memcpy(exact, prompt, n + 1);
    tokenize(bert, exact, n), tokenize(clip, exact, n);
    free(prompt), free(exact);
    return 0;
}

bytes fuzz_seed(int i) {
    static const char *const texts[] = {
        "a (red:1.3) cat, don't <|endoftext|> [SEP] 1234",
        "\xc3\x89t\xc3\xa9 e\xcc\x81\xcc\xa3 \xc4\xb0 \xef\xac\x81",
        "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82 \xea\xb0\x81 \xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab",
        "\xf0\x9f\x91\xa9\xf0\x9f\x8f\xbd\xe2\x80\x8d\xf0\x9f\x9a\x80 \xf0\xa0\x80\x80",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "a",
        "\t\r\n\x01\x7f\xc2\x85\xe2\x80\xa8\xef\xbf\xbd\xf4\x8f\xbf\xbf"};
    bytes b = {0};
    if (i < 6) put(&b, texts[i], strlen(texts[i]));
    return b;
}
