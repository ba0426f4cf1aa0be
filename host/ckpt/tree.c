/* tree.c -- see tree.h. jansson and libyaml parse; this file owns the bounds and the sentences. */
#include "ckpt/tree.h"
#include "ckpt_internal.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 16 << 20, MAX_DEPTH = 32, MAX_VALUES = 1 << 18 };

#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

static const char *show(const char *s) { return ckpt_show(s, strlen(s)); }

static ldm_status no_memory(const char *path) {
    return ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its values is not there", path);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

/* Counted before jansson sees it, so that a small file cannot ask for much memory. */
static ldm_status count_json(const char *s, size_t n, const char *path) {
    size_t values = 1;
    int depth = 0;
    bool text = false;
    for (size_t i = 0; i < n; i++) {
        if (text) {
            if (s[i] == '\\') i++;
            else if (s[i] == '"') text = false;
            continue;
        }
        if (s[i] == '"') text = true;
        else if (s[i] == '{' || s[i] == '[') depth++, values++;
        else if (s[i] == '}' || s[i] == ']') depth--;
        else if (s[i] == ',') values++;
        if (depth > MAX_DEPTH) return BAD("%s: byte %zu: nested deeper than %d levels", path, i, MAX_DEPTH);
        if (values > MAX_VALUES) return BAD("%s: byte %zu: more than %d values", path, i, MAX_VALUES);
    }
    return LDM_OK;
}

/* Python's word for a number that JSON has none for, at s; 0 if there is none. */
static size_t python_number(const char *s, size_t n) {
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    for (int i = 0; i < 3; i++) {
        const size_t len = strlen(words[i]);
        if (len <= n && !memcmp(s, words[i], len)) return len;
    }
    return 0;
}

/* The same with such words as texts: diffusers' DPMSolverMultistepScheduler writes "lambda_min_clipped": -Infinity. */
static ldm_status quote_python(const char *s, size_t n, const char *path, ldm_text *out) {
    bool text = false;
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        if (text && s[i] == '\\') i++;
        else if (s[i] == '"') text = !text;
        else if (!text && (len = python_number(s + i, n - i))) {
            ldm_text_add(out, "%.*s\"%.*s\"", (int)(i - from), s + from, (int)len, s + i);
            from = i + len, i = from - 1;
        }
    }
    ldm_text_add(out, "%.*s", (int)(n - from), s + from);
    return out->s ? LDM_OK : no_memory(path);
}

static ldm_status parse_json(const char *s, size_t n, const char *path, json_t **out) {
    json_error_t error;
    ldm_text quoted = {0};
    ldm_status st = count_json(s, n, path);
    if (!st && memchr(s, 0, n)) st = BAD("%s: a byte of 0 in it", path);
    if (!st) st = quote_python(s, n, path, &quoted);
    if (!st && !(*out = json_loadb(quoted.s, quoted.len, JSON_REJECT_DUPLICATES, &error)))
        st = json_error_code(&error) == json_error_out_of_memory
                 ? no_memory(path)
                 : BAD("%s: line %d: %s", path, error.line, show(error.text));
    ldm_text_free(&quoted);
    return st;
}

/* ---- YAML ------------------------------------------------------------------------------------------------------ */

typedef struct yaml_reader {
    yaml_parser_t parser;
    const char *path;
    int values;
} yaml_reader;

static ldm_status yaml_bad(const yaml_reader *r, const yaml_mark_t *at, const char *what) {
    return BAD("%s: line %zu: %s", r->path, at->line + 1, what);
}

static ldm_status yaml_event(yaml_reader *r, yaml_event_t *e) {
    if (!yaml_parser_parse(&r->parser, e)) {
        if (r->parser.error == YAML_MEMORY_ERROR) return no_memory(r->path);
        return BAD("%s: line %zu: %s", r->path, r->parser.problem_mark.line + 1,
                   r->parser.problem ? show(r->parser.problem) : "not YAML");
    }
    return LDM_OK;
}

/* A plain scalar's value by the core rules of YAML: null, true, numbers, else text. */
static json_t *plain(const char *s, size_t n) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"}, *const trues[] = {"true", "True", "TRUE"},
                             *const falses[] = {"false", "False", "FALSE"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(s, nulls[i])) return json_null();
    for (int i = 0; i < 3; i++)
        if (!strcmp(s, trues[i])) return json_true();
    for (int i = 0; i < 3; i++)
        if (!strcmp(s, falses[i])) return json_false();
    if (strspn(s, "0123456789+-.eE") == n) {
        char *end;
        errno = 0;
        long long whole = strtoll(s, &end, 10);
        if (!*end && !errno) return json_integer(whole);
        double real = strtod(s, &end);
        if (!*end && isfinite(real)) return json_real(real);
    }
    return json_stringn(s, n);
}

static ldm_status yaml_value(yaml_reader *r, yaml_event_t *e, int depth, json_t **out);

static ldm_status yaml_list(yaml_reader *r, int depth, json_t *list) {
    ldm_status st = LDM_OK;
    for (;;) {
        yaml_event_t e = {0};
        json_t *item = NULL;
        if ((st = yaml_event(r, &e))) return st;
        bool end = e.type == YAML_SEQUENCE_END_EVENT;
        if (!end) st = yaml_value(r, &e, depth, &item);
        yaml_event_delete(&e);
        if (end || st) return st;
        if (json_array_append_new(list, item)) return no_memory(r->path);
    }
}

static ldm_status yaml_object(yaml_reader *r, int depth, json_t *object) {
    ldm_status st = LDM_OK;
    for (bool end = false; !end && !st;) {
        yaml_event_t key = {0}, e = {0};
        json_t *value = NULL;
        if ((st = yaml_event(r, &key))) return st;
        end = key.type == YAML_MAPPING_END_EVENT;
        if (!end && key.type != YAML_SCALAR_EVENT) st = yaml_bad(r, &key.start_mark, "a key that is no word");
        const char *name = end || st ? NULL : (const char *)key.data.scalar.value;
        if (name && (strlen(name) != key.data.scalar.length || json_object_get(object, name)))
            st = yaml_bad(r, &key.start_mark, "a key that is there twice, or no text");
        if (name && !st && !(st = yaml_event(r, &e))) {
            st = yaml_value(r, &e, depth, &value);
            yaml_event_delete(&e);
            if (!st && json_object_set_new(object, name, value)) st = no_memory(r->path);
        }
        yaml_event_delete(&key);
    }
    return st;
}

static ldm_status yaml_value(yaml_reader *r, yaml_event_t *e, int depth, json_t **out) {
    ldm_status st = LDM_OK;
    json_t *v = NULL;
    if (depth > MAX_DEPTH) return yaml_bad(r, &e->start_mark, "nested too deeply");
    if (++r->values > MAX_VALUES) return yaml_bad(r, &e->start_mark, "too many values");
    if (e->type == YAML_ALIAS_EVENT) return yaml_bad(r, &e->start_mark, "an alias, which is not read");
    if (e->type == YAML_SCALAR_EVENT) {
        const char *s = (const char *)e->data.scalar.value;
        const size_t n = e->data.scalar.length;
        if (e->data.scalar.tag) return yaml_bad(r, &e->start_mark, "a tag, which is not read");
        if (!ldm_utf8_valid(s, n)) return yaml_bad(r, &e->start_mark, "text that is no UTF-8");
        v = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain(s, n) : json_stringn(s, n);
        if (!v) return no_memory(r->path);
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        if (!(v = json_array())) return no_memory(r->path);
        st = yaml_list(r, depth + 1, v);
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        if (!(v = json_object())) return no_memory(r->path);
        st = yaml_object(r, depth + 1, v);
    } else {
        st = yaml_bad(r, &e->start_mark, "a value is missing");
    }
    if (st) json_decref(v);
    else *out = v;
    return st;
}

static ldm_status parse_yaml(const char *s, size_t n, const char *path, json_t **out) {
    yaml_reader r = {.path = path};
    ldm_status st = LDM_OK;
    bool any = false, end = false;
    if (!yaml_parser_initialize(&r.parser)) return no_memory(path);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)s, n);
    while (!end && !st) {
        yaml_event_t e = {0};
        if ((st = yaml_event(&r, &e))) break;
        end = e.type == YAML_STREAM_END_EVENT;
        if (e.type == YAML_DOCUMENT_START_EVENT && any) st = yaml_bad(&r, &e.start_mark, "a second document");
        if (e.type == YAML_SCALAR_EVENT || e.type == YAML_SEQUENCE_START_EVENT || e.type == YAML_MAPPING_START_EVENT ||
            e.type == YAML_ALIAS_EVENT)
            any = true, st = yaml_value(&r, &e, 1, out);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&r.parser);
    if (st && any) json_decref(*out), *out = NULL;
    if (!st && !any) st = BAD("%s: holds nothing", path);
    return st;
}

/* ---- whole files ----------------------------------------------------------------------------------------------- */

ldm_status ldm_tree_parse(const char *text, size_t size, bool yaml, const char *path, ldm_tree *out) {
    ldm_status st = LDM_OK;
    ldm_tree t = {0};
    if (size > MAX_BYTES) return BAD("%s: %zu bytes, at most %d are read", path, size, MAX_BYTES);
    if (!ldm_utf8_valid(text, size)) return BAD("%s: is not text in UTF-8", path);
    TRY(yaml ? parse_yaml(text, size, path, &t.root) : parse_json(text, size, path, &t.root));
    if (!json_is_object(t.root)) TRY(BAD("%s: holds no keys with values", path));
    if (!(t.path = strdup(path))) TRY(no_memory(path));
    *out = t, t = (ldm_tree){0};
done:
    ldm_tree_close(&t);
    return st;
}

ldm_status ldm_tree_open(const char *path, ldm_tree *out) {
    char *text = NULL;
    size_t size, n = strlen(path);
    ldm_status st = ldm_read_file(path, MAX_BYTES, &text, &size);
    if (!st) st = ldm_tree_parse(text, size, n < 5 || strcmp(path + n - 5, ".json"), path, out);
    free(text);
    return st;
}

void ldm_tree_close(ldm_tree *t) {
    json_decref(t->root);
    free(t->path);
    *t = (ldm_tree){0};
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

ldm_node *ldm_tree_at(ldm_node *from, const char *keys) {
    while (from && *keys) {
        char key[64];
        size_t n = strcspn(keys, ".");
        if (n >= sizeof key) return NULL;
        snprintf(key, sizeof key, "%.*s", (int)n, keys);
        from = json_object_get(from, key);
        keys += n + (keys[n] == '.');
    }
    return from;
}

bool ldm_tree_is_object(const ldm_node *n) { return json_is_object(n); }
const char *ldm_tree_string(const ldm_node *n) { return json_string_value(n); }
int ldm_tree_length(const ldm_node *n) { return json_is_array(n) ? (int)json_array_size(n) : 0; }
ldm_node *ldm_tree_item(const ldm_node *n, int i) { return json_array_get(n, (size_t)i); }

bool ldm_tree_next(ldm_node *n, void **at, const char **key, ldm_node **value) {
    *at = *at ? json_object_iter_next(n, *at) : json_object_iter(n);
    if (!*at) return false;
    *key = json_object_iter_key(*at), *value = json_object_iter_value(*at);
    return true;
}

void ldm_tree_words(const ldm_node *n, ldm_text *out) {
    if (json_is_string(n)) ldm_text_add(out, "%s", json_string_value(n));
    else if (json_is_boolean(n)) ldm_text_add(out, json_is_true(n) ? "true" : "false");
    else if (json_is_integer(n)) ldm_text_add(out, "%lld", (long long)json_integer_value(n));
    else if (json_is_real(n)) ldm_text_add(out, "%.17g", json_real_value(n));
    else if (json_is_array(n))
        for (int i = 0; i < ldm_tree_length(n); i++) {
            if (i) ldm_text_add(out, ",");
            ldm_tree_words(ldm_tree_item(n, i), out);
        }
    else ldm_text_add(out, json_is_object(n) ? "{...}" : "null");
}

static ldm_status wrong(const ldm_tree *t, const char *key, const ldm_node *v, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static ldm_status wrong(const ldm_tree *t, const char *key, const ldm_node *v, const char *fmt, ...) {
    char wanted[128];
    ldm_text found = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(wanted, sizeof wanted, fmt, args);
    va_end(args);
    ldm_tree_words(v, &found);
    ldm_status st = BAD("%s: %s is %s, wanted %s", t->path, key, found.s ? show(found.s) : "empty", wanted);
    ldm_text_free(&found);
    return st;
}

static json_t *value_of(ldm_node *n, const char *key) {
    json_t *v = json_object_get(n, key);
    return json_is_null(v) ? NULL : v;
}

ldm_status ldm_tree_int(const ldm_tree *t, ldm_node *n, const char *key, int least, int most, int *out) {
    json_t *v = value_of(n, key);
    if (!v) return LDM_OK;
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most)
        return wrong(t, key, v, "a whole number from %d to %d", least, most);
    *out = (int)json_integer_value(v);
    return LDM_OK;
}

ldm_status ldm_tree_number(const ldm_tree *t, ldm_node *n, const char *key, double *out) {
    json_t *v = value_of(n, key);
    if (!v) return LDM_OK;
    if (!json_is_number(v) || !isfinite(json_number_value(v))) return wrong(t, key, v, "a number");
    *out = json_number_value(v);
    return LDM_OK;
}

ldm_status ldm_tree_bool(const ldm_tree *t, ldm_node *n, const char *key, bool *out) {
    json_t *v = value_of(n, key);
    if (!v) return LDM_OK;
    if (!json_is_boolean(v)) return wrong(t, key, v, "true or false");
    *out = json_is_true(v);
    return LDM_OK;
}

ldm_status ldm_tree_text(const ldm_tree *t, ldm_node *n, const char *key, const char **out) {
    json_t *v = value_of(n, key);
    if (!v) return LDM_OK;
    if (!json_is_string(v)) return wrong(t, key, v, "text");
    *out = json_string_value(v);
    return LDM_OK;
}

ldm_status ldm_tree_ints(const ldm_tree *t, ldm_node *n, const char *key, int most, int out[], int *count) {
    json_t *v = value_of(n, key);
    if (!v) return LDM_OK;
    int length = json_is_array(v) ? ldm_tree_length(v) : 1;
    if (length > most) return wrong(t, key, v, "at most %d numbers", most);
    for (int i = 0; i < length; i++) {
        json_t *item = json_is_array(v) ? json_array_get(v, (size_t)i) : v;
        if (!json_is_boolean(item) &&
            (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) > 1 << 20))
            return wrong(t, key, v, "whole numbers from 0 to 2^20");
        out[i] = json_is_boolean(item) ? json_is_true(item) : (int)json_integer_value(item);
    }
    *count = length;
    return LDM_OK;
}
