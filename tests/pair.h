/* pair.h -- a test program's jobs done by two processes, since most of a job is a kernel build, which keeps one core
 * busy: each takes the next job that nobody has. The second one's lines and counts follow when both are done. */
#ifndef LDM_PAIR_H
#define LDM_PAIR_H

#include "tests/test.h"
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int *pair_taken; /* jobs taken, in memory both processes see */

/* The next job's number, counted from 0, ever upwards. */
static inline int pair_next(void) { return atomic_fetch_add(pair_taken, 1); }

/* Runs `work` in two processes; it opens its own device (no OpenCL before the fork) and takes jobs until there are
 * none. */
static inline void pair_run(void (*work)(void)) {
    FILE *second = tmpfile();
    pair_taken = mmap(NULL, sizeof *pair_taken, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pair_taken == MAP_FAILED) abort();
    fflush(stdout);
    pid_t child = second ? fork() : -1;
    if (child == 0) {
        test_passed = test_failed = test_skipped = 0;
        dup2(fileno(second), STDOUT_FILENO);
        work();
        test_close_case();
        printf("counts %d %d %d\n", test_passed, test_failed, test_skipped);
        fflush(stdout);
        _exit(0);
    }
    work();
    test_close_case();
    if (child > 0) {
        char line[4096];
        int status = 0, n[3];
        bool whole = false;
        waitpid(child, &status, 0);
        rewind(second);
        while (fgets(line, sizeof line, second)) {
            if (sscanf(line, "counts %d %d %d", &n[0], &n[1], &n[2]) == 3)
                whole = true, test_passed += n[0], test_failed += n[1], test_skipped += n[2];
            else fputs(line, stdout);
        }
        if (!whole) printf("FAIL %s: the second process ended with status %d\n", test_area, status), test_failed++;
    }
    if (second) fclose(second);
    munmap(pair_taken, sizeof *pair_taken);
}

#endif
