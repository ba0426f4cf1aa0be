/* status.c -- owns the one sentence of a failure. Leaves printing it to app/. */
#include "base/base.h"
#include <string.h>

static _Thread_local char message[4096], where[256];

int ldm_exit_status(ldm_status s) {
    switch (s) {
    case LDM_OK:
        return 0;
    case LDM_ERR_ARG:
        return 1;
    case LDM_ERR_FORMAT:
        return 2;
    case LDM_ERR_UNSUPPORTED:
    case LDM_ERR_CL:
    case LDM_ERR_BUILD:
    case LDM_ERR_MISMATCH:
        return 3;
    case LDM_ERR_NONFINITE:
        return 4;
    case LDM_ERR_IO:
        return 5;
    case LDM_ERR_NOMEM:
        return 6;
    case LDM_ERR_INTERRUPTED:
        return 128 + (ldm_interrupted ? (int)ldm_interrupted : SIGINT);
    }
    return 3;
}

ldm_status ldm_fail_at(const char *file, int line, ldm_status s, const char *fmt, ...) {
    char fresh[sizeof message]; /* arguments may point into the old message */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(fresh, sizeof fresh, fmt, ap);
    va_end(ap);
    memcpy(message, fresh, sizeof message);
    snprintf(where, sizeof where, "%s:%d", file, line);
    return s;
}

ldm_status ldm_prefix(ldm_status s, const char *fmt, ...) {
    if (s == LDM_OK) return s;
    char fresh[sizeof message];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(fresh, sizeof fresh, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof fresh - 3) return s;
    snprintf(fresh + n, sizeof fresh - (size_t)n, ": %.*s", (int)(sizeof fresh - (size_t)n - 3), message);
    memcpy(message, fresh, sizeof message);
    return s;
}

const char *ldm_message(void) { return message; }
const char *ldm_where(void) { return where; }
