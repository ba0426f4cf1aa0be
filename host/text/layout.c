/* layout.c -- layout boxes, written as JSON, to the tokens of the layout-to-image models. */
#include "text/text.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 90, CROP = 2, MODIFIERS = 4, MAX_BYTES = 1 << 20 };

static const char *const modifier_names[MODIFIERS] = {"group_of", "occluded", "depiction", "inside"};
static const char *const corner_names[] = {"x0", "y0", "x1", "y1"};

typedef struct place { /* where in which file, for sentences */
    const char *name;
    int box; /* from 1 */
} place;

#define REFUSE(at, fmt, ...) ldm_fail(LDM_ERR_FORMAT, "%s: box %d: " fmt, (at)->name, (at)->box, __VA_ARGS__)

static int32_t corner_token(double x, double y) {
    return (int32_t)(nearbyint(y * (GRID - 1)) * GRID + nearbyint(x * (GRID - 1)));
}

void ldm_layout_crop(int32_t tokens[LDM_LAYOUT_TOKENS], double x0, double y0, double x1, double y1) {
    tokens[LDM_LAYOUT_TOKENS - CROP] = corner_token(x0, y0);
    tokens[LDM_LAYOUT_TOKENS - CROP + 1] = corner_token(x1, y1);
}

static ldm_status read_modifiers(const place *at, json_t *list, int *out) {
    size_t i;
    json_t *item;
    if (!json_is_array(list)) return REFUSE(at, "%s", "\"modifiers\" is not a list of words");
    json_array_foreach(list, i, item) {
        const char *word = json_is_string(item) ? json_string_value(item) : "(not a word)";
        int m = 0;
        while (m < MODIFIERS && strcmp(word, modifier_names[m])) m++;
        if (m == MODIFIERS)
            return REFUSE(at, "modifier '%s' is not one of group_of, occluded, depiction, inside",
                          ldm_shown(word, strlen(word)));
        *out |= 1 << m;
    }
    return LDM_OK;
}

static ldm_status read_box(const place *at, json_t *box, int classes, int32_t token[3]) {
    const char *key;
    json_t *value;
    double corner[4] = {-1, -1, -1, -1};
    json_int_t class = -1;
    int modifiers = 0;
    if (!json_is_object(box)) return REFUSE(at, "%s", "is not an object {\"class\": ..., \"x0\": ...}");
    json_object_foreach(box, key, value) {
        int c = 0;
        while (c < 4 && strcmp(key, corner_names[c])) c++;
        if (c < 4) {
            corner[c] = json_number_value(value);
            if (!json_is_number(value) || !(corner[c] >= 0 && corner[c] <= 1))
                return REFUSE(at, "\"%s\" is not a number from 0 to 1", key);
        } else if (!strcmp(key, "class")) {
            class = json_is_integer(value) ? json_integer_value(value) : -1;
            if (class < 0 || class >= classes)
                return REFUSE(at, "\"class\" is not a whole number from 0 to %d", classes - 1);
        } else if (!strcmp(key, "modifiers")) {
            ldm_status st = read_modifiers(at, value, &modifiers);
            if (st) return st;
        } else return REFUSE(at, "\"%s\" is not one of class, x0, y0, x1, y1, modifiers", ldm_shown(key, strlen(key)));
    }
    if (class < 0) return REFUSE(at, "%s", "\"class\" is missing");
    for (int c = 0; c < 4; c++)
        if (corner[c] < 0) return REFUSE(at, "\"%s\" is missing", corner_names[c]);
    if (!(corner[2] > corner[0] && corner[3] > corner[1]))
        return REFUSE(at, "from (%g, %g) to (%g, %g), wanted x0 < x1 and y0 < y1", corner[0], corner[1], corner[2],
                      corner[3]);
    token[0] = (int32_t) class + classes * modifiers;
    token[1] = corner_token(corner[0], corner[1]);
    token[2] = corner_token(corner[2], corner[3]);
    return LDM_OK;
}

ldm_status ldm_layout_parse(const char *json, size_t n, const char *name, int classes,
                            int32_t tokens[LDM_LAYOUT_TOKENS]) {
    json_error_t error;
    json_t *root = NULL, *box;
    int32_t made[LDM_LAYOUT_TOKENS];
    size_t i;
    ldm_status st = LDM_OK;
    if (classes < 1 || classes > LDM_LAYOUT_NONE >> MODIFIERS)
        TRY(ldm_fail(LDM_ERR_ARG, "layout of %d classes: 1 to %d have tokens", classes, LDM_LAYOUT_NONE >> MODIFIERS));
    root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: line %d: %s", name, error.line < 1 ? 1 : error.line,
                     ldm_shown(error.text, strlen(error.text))));
    if (!json_is_array(root)) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: is not a list of boxes", name));
    if (json_array_size(root) > LDM_LAYOUT_BOXES)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: %zu boxes, at most %d are possible", name, json_array_size(root),
                     LDM_LAYOUT_BOXES));
    for (int k = 0; k < LDM_LAYOUT_TOKENS - CROP; k++) made[k] = LDM_LAYOUT_NONE;
    ldm_layout_crop(made, 0, 0, 1, 1);
    json_array_foreach(root, i, box) TRY(read_box(&(place){name, (int)i + 1}, box, classes, made + 3 * i));
    memcpy(tokens, made, sizeof made);
done:
    json_decref(root);
    return st;
}

ldm_status ldm_layout_read(const char *path, int classes, int32_t tokens[LDM_LAYOUT_TOKENS]) {
    char *json;
    size_t n;
    ldm_status st = ldm_read_file(path, MAX_BYTES, &json, &n);
    if (st) return st;
    st = ldm_layout_parse(json, n, path, classes, tokens);
    free(json);
    return st;
}
