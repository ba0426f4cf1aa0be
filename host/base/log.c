/* log.c -- notes, progress, the clock and signals: everything a user sees on stderr while work goes on. */
#include "base/base.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

bool ldm_quiet;
volatile sig_atomic_t ldm_interrupted;

void ldm_note(const char *fmt, ...) {
    if (ldm_quiet) return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

double ldm_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ldm_progress_begin(ldm_progress *p, const char *what, const char *unit, double total) {
    *p = (ldm_progress){.what = what, .unit = unit, .total = total, .start = ldm_now()};
}

void ldm_progress_to(ldm_progress *p, double done) {
    p->done = done;
    double now = ldm_now(), spent = now - p->start;
    if (ldm_quiet || spent < 0.5 || now - p->drawn < 0.1 || !isatty(STDERR_FILENO)) return;
    double rate = done / spent, eta = rate > 0 ? (p->total - done) / rate : 0;
    fprintf(stderr, "\r\033[K%s %.0f/%.0f %s", p->what, done, p->total, p->unit);
    if (rate >= 1) fprintf(stderr, ", %.1f %s/s", rate, p->unit);
    else if (rate > 0) fprintf(stderr, ", %.2f s/%s", 1 / rate, p->unit);
    fprintf(stderr, ", %.0f s left", eta);
    fflush(stderr);
    p->drawn = now, p->shown = true;
}

void ldm_progress_end(ldm_progress *p) {
    if (p->shown) fprintf(stderr, "\r\033[K"), fflush(stderr);
    p->shown = false;
}

static void on_signal(int sig) {
    if (ldm_interrupted) {
        ldm_outfile_unlink_all();
        _exit(128 + sig);
    }
    ldm_interrupted = sig;
}

void ldm_catch_signals(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal; /* no SA_RESTART: a blocking read must return */
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is a write that fails */
}

ldm_status ldm_check_interrupt(void) {
    if (!ldm_interrupted) return LDM_OK;
    return ldm_fail(LDM_ERR_INTERRUPTED, "interrupted by signal %d", (int)ldm_interrupted);
}
