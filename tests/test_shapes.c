/* test_shapes.c -- bench/shapes: every line parses, has an implementation, and the files made from networks (`make
 * shapes`) are what those networks need today: we bench what we run. */
#include "app/network.h"
#include "test.h"
#include <glob.h>

/* Every line of the file is a problem; *rest gets them without comments. */
static void read_shapes(const char *data, ldm_text *rest) {
    for (const char *s = data; *s; s += strcspn(s, "\n"), s += *s == '\n') {
        size_t n = strcspn(s, "\n");
        int used = 0, count = 0;
        if (n == 0 || *s == '#') continue;
        char line[LDM_PROBLEM_TEXT + 20];
        ldm_problem p;
        snprintf(line, sizeof line, "%.*s", (int)n, s);
        CHECK(sscanf(line, " %d x %n", &count, &used) == 1 && used, "'%s' has no count", line);
        CHECK_OK(ldm_problem_parse(line + used, &p));
        ldm_text_add(rest, "%s\n", line);
    }
}

static void compare(const char *path, const char *name) {
    char *data = NULL, net[100];
    size_t size;
    ldm_text kept = {0}, made = {0};
    app_network n = {0};
    CHECK_OK(ldm_read_file(path, 1 << 20, &data, &size));
    if (!data) return;
    read_shapes(data, &kept);
    CHECK(kept.len > 0, "%s is empty", name);
    const char *from = strstr(data, "`ldm plan ");
    if (from && sscanf(from, "`ldm plan %99s", net) == 1) {
        app_network_options o = {.net = net, .dtype = LDM_F32};
        CHECK_OK(app_network_plan(&o, &n));
        if (n.plan) CHECK_OK(app_network_finish(&n, NULL));
        if (n.plan) ldm_plan_shapes(n.plan, &made);
        CHECK(made.s && kept.s && !strcmp(made.s, kept.s), "%s: is not what the network needs now; run make shapes",
              name);
    }
    app_network_close(&n);
    ldm_text_free(&kept);
    ldm_text_free(&made);
    free(data);
}

int main(int argc, char **argv) {
    char pattern[4200];
    glob_t g = {0};
    test_begin(argc, argv, "shapes");
    snprintf(pattern, sizeof pattern, "%s/../bench/shapes/*.txt", ldm_kernel_dir());
    glob(pattern, 0, NULL, &g);
    CASE("there are shape files") CHECK(g.gl_pathc >= 10, "%zu files in %s", g.gl_pathc, pattern);
    for (size_t i = 0; i < g.gl_pathc; i++)
        CASE(strrchr(g.gl_pathv[i], '/') + 1) compare(g.gl_pathv[i], test_case_name);
    int status = test_end();
    globfree(&g);
    return status;
}
