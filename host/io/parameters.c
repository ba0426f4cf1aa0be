/* parameters.c -- how a picture was made, as the text that AUTOMATIC1111's web UI writes into PNG files and that other programs
 * read (its modules/infotext_utils.py is the witness for the grammar): written and parsed. */
#include "io/io.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NEGATIVE       "Negative prompt:"
#define EXACT          "Exact prompt"
#define EXACT_NEGATIVE "Exact negative prompt"
enum { FEWEST_PAIRS = 3 }; /* in a last line; with fewer it belongs to the prompt */

void ldm_parameters_free(ldm_parameters *p) {
    for (int i = 0; i < 2 * p->count; i++) free(p->pairs[i]);
    free(p->pairs), free(p->prompt), free(p->negative);
    *p = (ldm_parameters){0};
}

static void replace(ldm_parameters *p, char **field, const char *text) {
    char *copy = text ? strdup(text) : NULL;
    p->failed = p->failed || (text && !copy);
    free(*field);
    *field = copy;
}

void ldm_parameters_prompt(ldm_parameters *p, const char *prompt, const char *negative) {
    replace(p, &p->prompt, prompt);
    replace(p, &p->negative, negative);
}

static void add_pair(ldm_parameters *p, char *key, char *value) { /* takes both */
    if (key && value && 2 * p->count + 2 >= p->cap) {
        int cap = p->cap ? 2 * p->cap : 64;
        char **more = realloc(p->pairs, (size_t)cap * sizeof *more);
        if (more) p->pairs = more, p->cap = cap;
        else p->failed = true;
    }
    if (!key || !value || 2 * p->count + 2 >= p->cap) {
        p->failed = true;
        free(key), free(value);
        return;
    }
    p->pairs[2 * p->count] = key, p->pairs[2 * p->count + 1] = value, p->count++;
    p->pairs[2 * p->count] = NULL;
}

void ldm_parameters_add(ldm_parameters *p, const char *key, const char *fmt, ...) {
    char *value = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&value, fmt, ap) < 0) value = NULL;
    va_end(ap);
    add_pair(p, strdup(key), value);
}

const char *ldm_parameters_get(const ldm_parameters *p, const char *key) {
    for (int i = 0; i < p->count; i++)
        if (!strcmp(p->pairs[2 * i], key)) return p->pairs[2 * i + 1];
    return NULL;
}

/* ---- writing ---- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void add_value(ldm_text *t, const char *value) {
    size_t n = strlen(value);
    if (!strpbrk(value, ",:\n\r") && *value != '"' && !is_space(*value) && !(n && is_space(value[n - 1]))) {
        ldm_text_add(t, "%s", value);
        return;
    }
    json_t *string = json_string(value);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    ldm_text_add(t, "%s", quoted ? quoted : "");
    free(quoted);
    json_decref(string);
}

static void write_pair(ldm_text *t, bool first, const char *key, const char *value) {
    ldm_text_add(t, "%s%s: ", first ? "" : ", ", key);
    add_value(t, value);
}

static void write_text(const ldm_parameters *p, bool exact, bool exact_negative, ldm_text *t) {
    const char *prompt = p->prompt ? p->prompt : "", *negative = p->negative ? p->negative : "";
    ldm_text_add(t, "%s%s", prompt, *prompt ? "\n" : "");
    if (*negative) ldm_text_add(t, NEGATIVE " %s\n", negative);
    for (int i = 0; i < p->count; i++) write_pair(t, i == 0, p->pairs[2 * i], p->pairs[2 * i + 1]);
    if (exact) write_pair(t, p->count == 0, EXACT, prompt);
    if (exact_negative) write_pair(t, p->count == 0 && !exact, EXACT_NEGATIVE, negative);
}

static bool same(const char *a, const char *b) { return !strcmp(a ? a : "", b ? b : ""); }

static bool same_pairs(const ldm_parameters *a, const ldm_parameters *b) {
    bool equal = a->count == b->count;
    for (int i = 0; equal && i < 2 * a->count; i++) equal = !strcmp(a->pairs[i], b->pairs[i]);
    return equal;
}

/* Written, read back, and where that loses anything of the prompts, written again with them among the pairs. */
ldm_status ldm_parameters_write(const ldm_parameters *p, ldm_text *out) {
    ldm_status st = LDM_OK;
    bool exact = false, exact_negative = false;
    ldm_text t = {0};
    ldm_parameters back = {0};
    if (p->failed) return ldm_fail(LDM_ERR_NOMEM, "parameters: host memory is out");
    for (int turn = 0;; turn++) {
        write_text(p, exact, exact_negative, &t);
        if (!t.s) TRY(ldm_fail(LDM_ERR_NOMEM, "parameters: host memory is out"));
        TRY(ldm_parameters_parse(t.s, &back));
        bool prompt = same(back.prompt, p->prompt), negative = same(back.negative, p->negative);
        if (prompt && negative && same_pairs(&back, p)) break;
        if (turn) TRY(ldm_fail(LDM_ERR_ARG, "parameters: a key or a prompt that their grammar cannot hold"));
        exact = !prompt, exact_negative = !negative;
        ldm_text_free(&t);
        ldm_parameters_free(&back);
    }
    ldm_text_bytes(out, t.s, t.len);
    if (!out->s) TRY(ldm_fail(LDM_ERR_NOMEM, "parameters: host memory is out"));
done:
    ldm_text_free(&t);
    ldm_parameters_free(&back);
    return st;
}

/* ---- parsing ---- */

static bool in_key(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

typedef struct span {
    const char *at;
    size_t n;
} span;

static span trimmed(const char *at, size_t n) {
    while (n && is_space(*at)) at++, n--;
    while (n && is_space(at[n - 1])) n--;
    return (span){at, n};
}

/* What stable-diffusion.cpp puts without quotes, commas and all: an object of JSON, or a list of numbers; the end of it, or v. */
static const char *bare_list(const char *v, const char *end) {
    const char *p = v;
    if (p < end && *p == '{') {
        json_error_t e;
        json_t *object = json_loadb(v, (size_t)(end - v), JSON_DISABLE_EOF_CHECK, &e);
        if (object) p = v + e.position;
        json_decref(object);
    } else if (p < end && *p == '[') {
        for (p++; p < end && strchr("0123456789.,+-e ", *p) && *p;) p++;
        p = p < end && *p == ']' ? p + 1 : v;
    }
    return p == end || *p == ',' ? p : v;
}

/* "key: value" at s (blanks before it allowed): its length with the comma behind it, 0 if there is none here. */
static size_t match_pair(const char *s, const char *end, span *key, span *value) {
    const char *p = s;
    while (p < end && is_space(*p)) p++;
    const char *k = p;
    if (p < end && in_key(*p)) p++;
    while (p > k && p < end && (in_key(*p) || *p == ' ' || *p == '-' || *p == '/')) p++;
    if (p - k < 2 || p == end || *p != ':') return 0;
    *key = (span){k, (size_t)(p - k)};
    for (p++; p < end && is_space(*p);) p++;
    const char *v = p;
    if (p < end && *p == '"') { /* up to the quote that ends it, if a comma or the end follows */
        for (p++; p < end && *p != '"'; p++)
            if (*p == '\\' && p + 1 < end) p++;
        bool whole = p < end && p - v > 1 && (p + 1 == end || p[1] == ',');
        p = whole ? p + 1 : v;
    }
    if (p == v) p = bare_list(v, end);
    if (p == v)
        while (p < end && *p != ',') p++;
    *value = (span){v, (size_t)(p - v)};
    return (size_t)((p < end ? p + 1 : p) - s);
}

/* A JSON string without its quotes; anything else as it is. */
static char *unquoted(span v) {
    char *text = strndup(v.at, v.n);
    if (!text || v.n < 2 || text[0] != '"' || text[v.n - 1] != '"') return text;
    json_t *string = json_loads(text, JSON_DECODE_ANY, NULL);
    const char *inside = json_is_string(string) ? json_string_value(string) : NULL;
    char *copy = inside ? strdup(inside) : NULL;
    json_decref(string);
    if (!inside) return text;
    free(text);
    return copy;
}

/* The pairs of a line: counted, and added where `p` is given. */
static int take_pairs(const char *line, size_t n, ldm_parameters *p) {
    int found = 0;
    span key, value;
    for (size_t at = 0; at < n;) {
        size_t length = match_pair(line + at, line + n, &key, &value);
        if (length) {
            found++;
            if (p) add_pair(p, strndup(key.at, key.n), unquoted(value));
        }
        at += length ? length : 1;
    }
    return found;
}

static void take_line(ldm_text *to, span line) { ldm_text_add(to, "%s%.*s", to->len ? "\n" : "", (int)line.n, line.at); }

/* The pair of this key leaves the list, its value takes the place of *field. */
static void take_exact(ldm_parameters *p, const char *key, char **field) {
    for (int i = 0; i < p->count; i++) {
        if (strcmp(p->pairs[2 * i], key)) continue;
        free(*field), free(p->pairs[2 * i]);
        *field = p->pairs[2 * i + 1];
        memmove(p->pairs + 2 * i, p->pairs + 2 * i + 2, (size_t)(2 * (p->count - i) - 1) * sizeof *p->pairs);
        p->count--;
        return;
    }
}

ldm_status ldm_parameters_parse(const char *text, ldm_parameters *out) {
    ldm_parameters p = {0};
    ldm_text prompt = {0}, negative = {0}, *to = &prompt;
    span all = trimmed(text, strlen(text));
    const char *end = all.at + all.n, *last = end;
    while (last > all.at && last[-1] != '\n') last--;
    if (take_pairs(last, (size_t)(end - last), NULL) >= FEWEST_PAIRS) {
        take_pairs(last, (size_t)(end - last), &p);
        end = last;
    }
    ldm_text_bytes(&prompt, "", 0), ldm_text_bytes(&negative, "", 0);
    for (const char *at = all.at; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        span line = trimmed(at, (size_t)((stop ? stop : end) - at));
        if (line.n >= strlen(NEGATIVE) && !memcmp(line.at, NEGATIVE, strlen(NEGATIVE))) {
            to = &negative;
            line = trimmed(line.at + strlen(NEGATIVE), line.n - strlen(NEGATIVE));
        }
        take_line(to, line);
        at = stop ? stop + 1 : end;
    }
    /* the newline before the pairs ends the prompt's last line and begins none */
    p.prompt = prompt.s, p.negative = negative.s;
    p.failed = p.failed || !p.prompt || !p.negative;
    take_exact(&p, EXACT, &p.prompt);
    take_exact(&p, EXACT_NEGATIVE, &p.negative);
    if (p.failed) {
        ldm_parameters_free(&p);
        return ldm_fail(LDM_ERR_NOMEM, "parameters: host memory is out");
    }
    *out = p;
    return LDM_OK;
}
