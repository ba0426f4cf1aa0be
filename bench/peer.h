/* peer.h -- the half every peer program shares: problems in our notation, and the line protocol of `ldm-bench --serve`
 * (one line in, one line of JSON out): `open PROBLEM`, `time VARIANT`, `close`. A peer includes this once and defines
 * peer_open, peer_once, peer_close. Knows nothing of the project's own code. */
#ifndef LDM_BENCH_PEER_H
#define LDM_BENCH_PEER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PEER_VARIANTS = 8 };

typedef struct peer_problem {
    char op[32], text[1024]; /* text: " key=value ... +flag " with a blank at both ends */
} peer_problem;

typedef struct peer_answer {
    int count;
    char name[PEER_VARIANTS][32]; /* ways the library has of running the problem */
    char error[256];              /* why it cannot; "" if it can */
} peer_answer;

static void peer_open(const peer_problem *p, peer_answer *a); /* allocates, fills, prepares every variant */
static void peer_once(int variant);                           /* runs it to the end */
static void peer_close(void);

static const char *peer_find(const peer_problem *p, const char *key) {
    char want[48];
    snprintf(want, sizeof want, " %s=", key);
    const char *at = strstr(p->text, want);
    return at ? at + strlen(want) : NULL;
}

static long peer_int(const peer_problem *p, const char *key, long fallback) {
    const char *v = peer_find(p, key);
    return v ? strtol(v, NULL, 10) : fallback;
}

__attribute__((unused)) static int peer_is(const peer_problem *p, const char *key, const char *word) {
    const char *v = peer_find(p, key);
    return v && !strncmp(v, word, strlen(word)) && v[strlen(word)] == ' ';
}

static int peer_flag(const peer_problem *p, const char *flag) {
    char want[48];
    snprintf(want, sizeof want, " +%s ", flag);
    return strstr(p->text, want) != NULL;
}

static float *peer_floats(size_t n) { /* uniform in [-1, 1), aligned to a page */
    void *v = NULL;
    if (posix_memalign(&v, 4096, n * sizeof(float) + 4096)) exit(6);
    float *f = (float *)v;
    unsigned x = 12345;
    for (size_t i = 0; i < n; i++) x = x * 1664525u + 1013904223u, f[i] = (float)(int)x * 4.6566e-10f;
    return f;
}

static double peer_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int peer_main(void) {
    static char line[1100];
    static peer_answer a;
    int is_open = 0;
    while (fgets(line, 1000, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "open ", 5) || !strcmp(line, "close")) {
            if (is_open) peer_close();
            is_open = 0;
            memset(&a, 0, sizeof a);
        }
        if (!strncmp(line, "open ", 5)) {
            peer_problem p;
            memset(&p, 0, sizeof p);
            char *colon = strchr(line, ':'), *rest = strchr(line, ' ') ? strchr(line + 5, ' ') : NULL;
            if (!colon || !rest || colon > rest || strncmp(colon, ":f32 ", 5) || colon - line - 5 > 30) {
                snprintf(a.error, sizeof a.error, "only :f32 problems");
            } else {
                memcpy(p.op, line + 5, (size_t)(colon - line - 5));
                snprintf(p.text, sizeof p.text, "%.1000s ", rest);
                peer_open(&p, &a);
                is_open = a.count > 0;
            }
            printf("{\"variants\": [");
            for (int i = 0; i < a.count; i++) printf("%s\"%s\"", i ? ", " : "", a.name[i]);
            printf("]");
            if (a.error[0]) printf(", \"error\": \"%s\"", a.error);
            printf("}\n");
        } else if (!strncmp(line, "time ", 5)) {
            int i = 0, runs = 0;
            while (i < a.count && strcmp(a.name[i], line + 5)) i++;
            if (i == a.count) {
                printf("{\"error\": \"not open\"}\n");
            } else {
                peer_once(i); /* wakes the threads, warms the caches */
                double start = peer_now();
                do peer_once(i), runs++;
                while (peer_now() - start < 0.02);
                printf("{\"seconds\": %.9g}\n", (peer_now() - start) / runs);
            }
        } else {
            printf("{}\n");
        }
        fflush(stdout);
    }
    return 0;
}

#endif
