/* fuzz_tree.c -- any bytes as a configuration file: the first byte says which kind, JSON or YAML. What is accepted is
 * walked to its last value. */
#include "fuzz.h"
#include "ckpt/tree.h"

static void walk(const ldm_tree *t, ldm_node *n, int depth) {
    const char *key;
    ldm_node *value;
    ldm_text words = {0};
    int list[4], count = 0;
    if (depth > 64) abort();
    ldm_tree_words(n, &words);
    if (words.s && !ldm_utf8_valid(words.s, words.len)) abort();
    ldm_text_free(&words);
    for (int i = 0; i < ldm_tree_length(n); i++) walk(t, ldm_tree_item(n, i), depth + 1);
    for (void *at = NULL; ldm_tree_next(n, &at, &key, &value);) {
        int whole = 7;
        double number = 7;
        bool flag;
        FUZZ(ldm_tree_int(t, n, key, 0, 100, &whole));
        FUZZ(ldm_tree_number(t, n, key, &number));
        FUZZ(ldm_tree_bool(t, n, key, &flag));
        FUZZ(ldm_tree_ints(t, n, key, 4, list, &count));
        if (whole < 0 || whole > 100 || number != number || count > 4) abort();
        walk(t, value, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ldm_tree t = {0};
    fuzz_json_fails = false; /* jansson itself does not survive it */
    if (!size || !FUZZ(ldm_tree_parse((const char *)data + 1, size - 1, *data & 1, "file", &t))) return 0;
    walk(&t, t.root, 0);
    ldm_tree_close(&t);
    return 0;
}

#ifndef FUZZ_NO_SEEDS
bytes fuzz_seed(int i) {
    static const char *const seeds[] = {
        "0{\"a\": [1, 2.5, \"x\", null, true], \"b\": {\"c\": -3}}",
        "1a: [1, 2.5, x, ~, true]\nb:\n  c: -3\n  d: 'two words'\n  e: |\n    text\n    more\n",
        "1model:\n  target: a.b.C\n  params: {x: 1e-4, y: [ 1,2 ], z: \"v\"}  # note\n",
        "1? a\n: - b\n  - {c: d}\n- e: &x f\n  g: *x\n",
        "0{\"weight_map\": {\"a.b\": \"model-00001-of-00002.safetensors\"}, \"metadata\": {\"total_size\": 1}}"};
    bytes b = {0};
    if (i < (int)(sizeof seeds / sizeof *seeds)) put_text(&b, seeds[i]);
    return b;
}
#endif
