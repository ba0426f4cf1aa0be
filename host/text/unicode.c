/* unicode.c -- UTF-8 to code points that remember their place, canonical forms, and the properties of a code point as
 * the fast tokenizers of `transformers` see them: libutf8proc's, with the differences that unicode_ranges.h lists. */
#include "text/internal.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct text_range {
    uint32_t from, to;
} text_range;
#include "text/unicode_ranges.h"

#define IN(table, c) in_ranges(table, (int)(sizeof table / sizeof *table), c)
static bool in_ranges(const text_range *r, int n, uint32_t c) {
    int low = 0, high = n;
    while (low < high) {
        int mid = (low + high) / 2;
        if (c > r[mid].to) low = mid + 1;
        else high = mid;
    }
    return low < n && c >= r[low].from;
}

static utf8proc_category_t category(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c); }

bool text_is_space(uint32_t c) {
    utf8proc_category_t g = category(c);
    return (c >= 9 && c <= 13) || c == 0x85 || g == UTF8PROC_CATEGORY_ZS || g == UTF8PROC_CATEGORY_ZL ||
           g == UTF8PROC_CATEGORY_ZP;
}

bool text_is_letter(uint32_t c) {
    utf8proc_category_t g = category(c);
    return (g >= UTF8PROC_CATEGORY_LU && g <= UTF8PROC_CATEGORY_LO) || IN(letters_too, c);
}

bool text_is_number(uint32_t c) {
    utf8proc_category_t g = category(c);
    return (g >= UTF8PROC_CATEGORY_ND && g <= UTF8PROC_CATEGORY_NO) || IN(numbers_too, c);
}

bool text_is_control(uint32_t c) {
    utf8proc_category_t g = category(c);
    return (g == UTF8PROC_CATEGORY_CC || g == UTF8PROC_CATEGORY_CF || g == UTF8PROC_CATEGORY_CO) &&
           !IN(controls_not, c);
}

bool text_is_accent(uint32_t c) {
    return (category(c) == UTF8PROC_CATEGORY_MN && !IN(accents_not, c)) || IN(accents_too, c);
}

bool text_is_punct(uint32_t c) {
    utf8proc_category_t g = category(c);
    if (c < 128) return c > ' ' && c < 127 && g != UTF8PROC_CATEGORY_ND && g > UTF8PROC_CATEGORY_LO;
    return (g >= UTF8PROC_CATEGORY_PC && g <= UTF8PROC_CATEGORY_PO && !IN(puncts_not, c)) || IN(puncts_too, c);
}

bool text_is_chinese(uint32_t c) {
    static const text_range blocks[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
                                        {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, /* sic */
                                        {0x2f800, 0x2fa1f}};
    return IN(blocks, c);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

ldm_status text_points_add(text_points *p, uint32_t c, size_t from) {
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        text_point *v = cap <= SIZE_MAX / sizeof *v ? realloc(p->v, cap * sizeof *v) : NULL;
        if (!v) return ldm_fail(LDM_ERR_NOMEM, "text of %zu characters: out of memory", p->n);
        p->v = v, p->cap = cap;
    }
    p->v[p->n++] = (text_point){c, from};
    return LDM_OK;
}

ldm_status text_points_decode(const char *s, size_t n, size_t from, text_points *out) {
    ldm_status st = LDM_OK;
    for (size_t i = 0; i < n && !st;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        if (k <= 0) return ldm_fail(LDM_ERR_ARG, "text is not UTF-8 at byte %zu", from + i);
        st = text_points_add(out, (uint32_t)c, from + i);
        i += (size_t)k;
    }
    return st;
}

int text_encode(uint32_t c, char out[4]) {
    return (int)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

ldm_status text_lower(text_points *out, uint32_t c, size_t from) {
    if (c == 0x130) { /* capital I with a dot above: no other letter's lower case is two code points */
        ldm_status st = text_points_add(out, 'i', from);
        return st ? st : text_points_add(out, 0x307, from);
    }
    for (size_t i = 0; c >= lower_too[0].from && i < sizeof lower_too / sizeof *lower_too; i++)
        if (c >= lower_too[i].from && c <= lower_too[i].to)
            return text_points_add(out, (uint32_t)((int32_t)c + lower_too[i].add), from);
    return text_points_add(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c), from);
}

/* ---- canonical forms (Unicode Standard Annex 15) ------------------------------------------------------------------
 */

static int combining_class(uint32_t c) {
    if (c < 0x300 || IN(unordered, c)) return 0;
    return utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

/* Marks behind one base in the order of their classes, equal ones as they came. By merging: a hostile prompt has long
 * runs. */
static void sort_marks(text_point *v, text_point *spare, size_t n) {
    if (n < 2) return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    sort_marks(v, spare, half), sort_marks(v + half, spare, n - half);
    memcpy(spare, v, n * sizeof *v);
    while (i < half || j < n) {
        bool second = i == half || (j < n && combining_class(spare[j].c) < combining_class(spare[i].c));
        v[k++].c = spare[second ? j++ : i++].c; /* places stay in order */
    }
}

ldm_status text_decompose(const text_points *in, text_points *out) {
    ldm_status st = LDM_OK;
    text_points spare = {0};
    for (size_t i = 0; i < in->n; i++) {
        utf8proc_int32_t parts[32];
        uint32_t c = in->v[i].c;
        if (c < 0xc0 || IN(whole, c)) {
            TRY(text_points_add(out, c, in->v[i].from));
            continue;
        }
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, sizeof parts / sizeof *parts,
                                                     UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, NULL);
        for (utf8proc_ssize_t k = 0; k < n; k++) TRY(text_points_add(out, (uint32_t)parts[k], in->v[i].from));
    }
    for (size_t i = 0, end; i < out->n; i = end) {
        end = i + 1;
        if (!combining_class(out->v[i].c)) continue;
        while (end < out->n && combining_class(out->v[end].c)) end++;
        if (end - i < 2) continue;
        while (spare.n < end - i) TRY(text_points_add(&spare, 0, 0));
        sort_marks(out->v + i, spare.v, end - i);
    }
done:
    free(spare.v);
    return st;
}

/* The one code point that a and b make together, 0 if none. */
static uint32_t together(uint32_t a, uint32_t b) {
    if (b < 0x300) return 0;
    utf8proc_int32_t pair[2] = {(utf8proc_int32_t)a, (utf8proc_int32_t)b};
    utf8proc_ssize_t n = utf8proc_normalize_utf32(pair, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return n == 1 && !IN(whole, (uint32_t)pair[0]) ? (uint32_t)pair[0] : 0;
}

ldm_status text_compose(const text_points *in, text_points *out) {
    size_t base = SIZE_MAX, kept = 0; /* the last code point of class 0; how much of `out` stays */
    int last = -1;                    /* class of what was kept behind it, -1: nothing */
    ldm_status st = text_decompose(in, out);
    for (size_t i = 0; !st && i < out->n; i++) {
        int class = combining_class(out->v[i].c);
        /* free to join its base: nothing between them, or only marks of lower classes */
        if (base != SIZE_MAX && last < class) {
            uint32_t c = together(out->v[base].c, out->v[i].c);
            if (c) {
                out->v[base].c = c;
                continue;
            }
        }
        out->v[kept] = out->v[i];
        if (!class) base = kept, last = -1;
        else last = class;
        kept++;
    }
    if (!st) out->n = kept;
    return st;
}
