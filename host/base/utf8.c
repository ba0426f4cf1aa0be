/* utf8.c -- is a run of bytes UTF-8 text? Names and metadata from files pass here before anything prints them. */
#include "base/base.h"

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
