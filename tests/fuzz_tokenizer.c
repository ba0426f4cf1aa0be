/* fuzz_tokenizer.c -- any bytes as a tokenizer folder: the files stand behind one another, each after a line "== NAME".
 * What is accepted tokenizes a prompt. */
#include "fuzz.h"
#include "text/text.h"
#include <sys/stat.h>

static const char *const files[] = {
    "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"};
enum { FILES = sizeof files / sizeof *files };

static char path_made[] = "build/fuzz/tokenizer_XXXXXX";
static void unmake(void) { remove(path_made); }

static const char *folder(void) {
    static bool made;
    if (!made) {
        mkdir("build", 0777), mkdir("build/fuzz", 0777);
        if (!mkdtemp(path_made) || atexit(unmake)) abort();
        made = true;
    }
    return path_made;
}

static void path_of(int file, char *path, size_t cap) { snprintf(path, cap, "%s/%s", folder(), files[file]); }

static int file_named(const uint8_t *name, size_t n) {
    for (int i = 0; i < FILES; i++)
        if (n == strlen(files[i]) && !memcmp(name, files[i], n)) return i;
    return -1;
}

static void write_files(const uint8_t *data, size_t size) {
    FILE *f = NULL;
    for (const uint8_t *at = data, *end = data + size, *line; at < end; at = line) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        line = newline ? newline + 1 : end;
        int file =
            newline && newline - at > 3 && !memcmp(at, "== ", 3) ? file_named(at + 3, (size_t)(newline - at - 3)) : -1;
        char path[128];
        if (file < 0) {
            if (f) fwrite(at, 1, (size_t)(line - at), f);
            continue;
        }
        if (f) fclose(f);
        path_of(file, path, sizeof path);
        f = fopen(path, "wb");
        if (!f) abort();
    }
    if (f) fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_json_fails = false;
    ldm_tokenizer *t = NULL;
    int32_t ids[16];
    write_files(data, size);
    if (FUZZ(ldm_tokenizer_folder(folder(), &t))) {
        if (ldm_tokenize(t, "a b!ab [SEP] <|endoftext|> caf\xc3\xa9", 16, -1, ids, NULL)) abort();
        for (int i = 0; i < 16; i++)
            if (ids[i] < 0 || ids[i] >= ldm_tokenizer_size(t)) abort();
    }
    ldm_tokenizer_close(t);
    for (int i = 0; i < FILES; i++) {
        char path[128];
        path_of(i, path, sizeof path);
        remove(path);
    }
    return 0;
}

bytes fuzz_seed(int i) {
    static const char *const texts[] = {
        "== vocab.json\n{\"a\": 0, \"b</w>\": 1, \"ab</w>\": 2, \"<|startoftext|>\": 3, \"<|endoftext|>\": 4, \"!\": "
        "5}\n"
        "== merges.txt\n#version: 0.2\na b</w>\n"
        "== tokenizer_config.json\n{\"pad_token\": \"!\", \"model_max_length\": 77, \"bos_token\": {\"content\": "
        "\"<|startoftext|>\", "
        "\"normalized\": true}}\n== special_tokens_map.json\n{\"eos_token\": \"<|endoftext|>\"}\n",
        "== vocab.txt\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\ncafe\n== tokenizer_config.json\n{\"do_lower_case\": "
        "true}\n",
        "== tokenizer.json\n{\"added_tokens\": [{\"id\": 4, \"content\": \"<|endoftext|>\", \"normalized\": false}], "
        "\"model\": {\"type\": "
        "\"BPE\", \"end_of_word_suffix\": \"</w>\", \"vocab\": {\"a\": 0, \"b</w>\": 1, \"ab</w>\": 2, "
        "\"<|startoftext|>\": 3}, \"merges\": "
        "[[\"a\", \"b</w>\"]]}}\n",
        "== tokenizer.json\n{\"normalizer\": {\"lowercase\": false, \"strip_accents\": true}, \"model\": {\"type\": "
        "\"WordPiece\", "
        "\"continuing_subword_prefix\": \"##\", \"vocab\": {\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, "
        "\"a\": 4}}}\n",
    };
    bytes b = {0};
    if (i < 4) put(&b, texts[i], strlen(texts[i]));
    return b;
}
