/* utf8.c -- is a run of bytes UTF-8 text, where does it stop being so, and how is it shown? Names and metadata from files, and
 * prompts, pass here before anything prints them. */
#include "base/base.h"
#include <string.h>

bool ldm_utf8_valid(const void *s, size_t n) {
    const uint8_t *p = s, *end = p + n;
    while (p < end) {
        uint32_t c = *p++, least;
        int more;
        if (c == 0) return false;
        if (c < 0x80) continue;
        if (c >= 0xc2 && c < 0xe0) more = 1, c &= 31, least = 0x80;
        else if (c >= 0xe0 && c < 0xf0) more = 2, c &= 15, least = 0x800;
        else if (c >= 0xf0 && c < 0xf5) more = 3, c &= 7, least = 0x10000;
        else return false;
        if (end - p < more) return false;
        for (; more; more--, p++) {
            if ((*p & 0xc0) != 0x80) return false;
            c = c << 6 | (*p & 63);
        }
        if (c < least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return false;
    }
    return true;
}

size_t ldm_utf8_until(const void *s, size_t n) {
    const uint8_t *p = s;
    for (size_t i = 0, k; i < n; i += k) {
        k = p[i] < 0x80 ? 1 : p[i] < 0xe0 ? 2 : p[i] < 0xf0 ? 3 : 4;
        if (k > n - i || !ldm_utf8_valid(p + i, k)) return i;
    }
    return n;
}

const char *ldm_shown(const void *name, size_t n) {
    static _Thread_local char bufs[4][104];
    static _Thread_local int turn;
    char *buf = bufs[turn++ & 3];
    const uint8_t *s = name;
    size_t len = n < 96 ? n : 96;
    while (len < n && len && (s[len] & 0xc0) == 0x80) len--; /* not inside a character */
    bool text = ldm_utf8_valid(s, len);
    for (size_t i = 0; i < len; i++) buf[i] = (char)(s[i] < 32 || s[i] == 127 || (!text && s[i] >= 128) ? '?' : s[i]);
    memcpy(buf + len, len < n ? "..." : "", len < n ? 4 : 1);
    return buf;
}
