/* offsets.c -- kernels whose buffers begin anywhere in a memory object.
 *
 * A tensor lies somewhere in a large buffer. Sub-buffers would say where, but a driver may keep those that overlap in step with
 * each other, at a cost a launch, and NVIDIA's 580 crashes when they are released. So each kernel is given one number more for
 * each of its buffers, behind all its arguments and in their order: the bytes from the memory object's beginning.
 *
 *     kernel void f(global real *y, const global real *x, int n) {
 *     kernel void f(global real *y, const global real *x, int n, ulong at_y, ulong at_x) { y = (global real *)((global char *)y + at_y); ...
 *
 * Kernel files are written without this; it is added to what is compiled, on the same line, so that messages keep their numbers.
 * What it asks of a file: buffers stand in the parameter list itself, not in a macro, with a name each. */
#include "cl/cl_internal.h"
#include <ctype.h>
#include <string.h>

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Behind the comment or string that begins at s, else s. */
static const char *skip(const char *s) {
    const char *end = s;
    if (s[0] == '/' && s[1] == '*') return (end = strstr(s + 2, "*/")) ? end + 2 : s + strlen(s);
    if (s[0] == '/' && s[1] == '/') return s + strcspn(s, "\n");
    if (s[0] == '"')
        for (end++; *end && *end++ != '"';) {}
    return end;
}

/* The bytes from..end hold the word. */
static bool holds(const char *from, const char *end, const char *word) {
    const size_t n = strlen(word);
    for (const char *s = from; s + n <= end; s++)
        if (!strncmp(s, word, n) && (s == from || !is_word(s[-1])) && (s + n == end || !is_word(s[n]))) return true;
    return false;
}

typedef struct parameter {
    const char *type, *name, *end; /* type..name and name..end */
} parameter;

/* The buffers among the parameters open..close, at most LDM_MAX_ARGS. */
static int buffers_of(const char *open, const char *close, parameter *out) {
    int count = 0, depth = 0;
    for (const char *s = open, *from = open; s <= close; s++) {
        depth += (*s == '(') - (*s == ')' && s < close);
        if (s < close && (*s != ',' || depth)) continue;
        const char *end = s, *name;
        while (end > from && !is_word(end[-1])) end--;
        for (name = end; name > from && is_word(name[-1]);) name--;
        if (count < LDM_MAX_ARGS && (holds(from, name, "global") || holds(from, name, "__global")))
            out[count++] = (parameter){from, name, end};
        from = s + 1;
    }
    return count;
}

static void add_type(ldm_text *out, const parameter *p) { /* on one line */
    for (const char *s = p->type; s < p->name; s++) ldm_text_add(out, "%c", isspace((unsigned char)*s) || *s == '\\' ? ' ' : *s);
}

void ldm_add_offsets(const char *source, ldm_text *out) {
    const char *copied = source;
    for (const char *s = source; *s;) {
        const char *behind = skip(s), *open = NULL, *close = NULL;
        if (behind != s || !is_word(*s)) {
            s = behind != s ? behind : s + 1;
            continue;
        }
        const char *word = s;
        while (is_word(*s)) s++;
        if (!holds(word, s, "kernel") && !holds(word, s, "__kernel")) continue;
        /* the parameters are the last list in parentheses before the body */
        int depth = 0;
        const char *body = s;
        for (; *body && (depth || (*body != '{' && *body != ';')); body++) {
            while ((behind = skip(body)) != body) body = behind;
            if (*body == '(' && !depth++) open = body + 1;
            if (*body == ')' && !--depth) close = body;
        }
        if (*body != '{' || !open || !close) continue;
        parameter p[LDM_MAX_ARGS];
        const int count = buffers_of(open, close, p);
        ldm_text_bytes(out, copied, (size_t)(close - copied));
        for (int i = 0; i < count; i++) ldm_text_add(out, ", ulong at_%.*s", (int)(p[i].end - p[i].name), p[i].name);
        ldm_text_bytes(out, close, (size_t)(body + 1 - close));
        for (int i = 0; i < count; i++) {
            const int n = (int)(p[i].end - p[i].name);
            ldm_text_add(out, " %.*s = (", n, p[i].name);
            add_type(out, &p[i]);
            ldm_text_add(out, ")((__global char *)%.*s + at_%.*s);", n, p[i].name, n, p[i].name);
        }
        s = copied = body + 1;
    }
    ldm_text_add(out, "%s", copied);
}
