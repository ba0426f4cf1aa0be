/* cmd_bench.c -- `ldm bench`: the program ldm-bench beside this one (apart, because it needs Google Benchmark and a C++
 * runtime, which the tool does not). In a bundle the running executable may be the loader: there LDM_BENCH names it. */
#include "app/app.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

APP_COMMAND(bench) {
    char path[4096];
    const char *named = getenv("LDM_BENCH");
    char **args = calloc((size_t)argc + 1, sizeof *args);
    if (!args) return ldm_fail(LDM_ERR_NOMEM, "bench: host memory could not be allocated");
    if (named) snprintf(path, sizeof path, "%s", named);
    else {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
        path[n > 0 ? n : 0] = 0;
        char *slash = strrchr(path, '/');
        strcpy(slash ? slash + 1 : path, "ldm-bench");
    }
    for (int i = 0; i < argc; i++) args[i] = (char *)argv[i];
    args[0] = path;
    if (access(path, X_OK) == 0) execv(path, args);
    ldm_status st = ldm_fail(LDM_ERR_ARG, "%s: cannot be started (%s); `make build/release/ldm-bench` builds it", path, strerror(errno));
    free(args);
    return st;
}
