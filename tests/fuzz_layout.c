/* fuzz_layout.c -- any bytes as layout boxes; what is accepted are tokens of the vocabulary. */
#include "fuzz.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_json_fails = false;
    int32_t tokens[LDM_LAYOUT_TOKENS];
    if (!FUZZ(ldm_layout_parse((const char *)data, size, "file", LDM_LAYOUT_CLASSES, tokens))) return 0;
    for (int i = 0; i < LDM_LAYOUT_TOKENS; i++)
        if (tokens[i] < 0 || tokens[i] > LDM_LAYOUT_NONE) abort();
    return 0;
}

bytes fuzz_seed(int i) {
    static const char *const texts[] = {
        "[{\"class\": 60, \"x0\": 0.1, \"y0\": 0.25, \"x1\": 0.5, \"y1\": 1, \"modifiers\": [\"occluded\", "
        "\"inside\"]}]",
        "[]",
        "[{\"class\":0,\"x0\":0,\"y0\":0,\"x1\":1e-3,\"y1\":1},{\"class\":339,\"x0\":0,\"y0\":0,\"x1\":1,\"y1\":1.0}]"};
    bytes b = {0};
    if (i < 3) put(&b, texts[i], strlen(texts[i]));
    return b;
}
