/* test_shapes.c -- bench/shapes: every line parses, has an implementation, and the files made from networks (`make
 * shapes`) are what those networks need today: we bench what we run. How many programs `./run demo` builds. */
#include "app/network.h"
#include "sample/loop.h"
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

/* ---- programs -------------------------------------------------------------------------------------------------- */

enum { DEMO_PROGRAMS = 60, ROOM = 256 };
enum { SELF_TEST = 20, PEAK = 1 }; /* what these build for themselves at most, as `ldm selftest` and `ldm ablate` print */

typedef struct programs {
    char text[ROOM][LDM_MAX_OPTIONS + 64]; /* file and options: what a program is built from */
    int count;
} programs;

/* The programs that a finished plan's steps are launched from, beside those that are there already. */
static void add_programs(programs *all, const ldm_plan *p, const ldm_device *d) {
    ldm_recipe *r = malloc(sizeof *r);
    for (int i = 0; r && i < p->steps; i++) {
        const ldm_problem *q = &p->step[i].problem;
        ldm_choice c;
        *r = (ldm_recipe){0};
        CHECK_OK(ldm_choose(q, d, &c));
        CHECK_OK(c.impl->record(q, c.params, d, r));
        for (int k = 0; k < r->count; k++) {
            char text[sizeof all->text[0]];
            int at = 0;
            snprintf(text, sizeof text, "%s%s", r->launch[k].file, r->launch[k].options);
            while (at < all->count && strcmp(all->text[at], text)) at++;
            if (at == all->count && at < ROOM) strcpy(all->text[all->count++], text);
        }
    }
    free(r);
}

/* A part of a model, its input h high, or (sampled) the loop of its UNet. */
static void add_network(programs *all, const app_network_options *o, bool sampled, const ldm_device *d) {
    app_network n = {0};
    ldm_schedule schedule;
    ldm_sampler sampler = {0};
    if (sampled) {
        CHECK_OK(app_network_find(o, &n));
        const int64_t side = n.config ? n.config->latent : 0;
        ldm_sampler_options so = ldm_sampler_defaults(LDM_DDIM, LDM_MANNER_AUTHORS);
        CHECK_OK(ldm_schedule_linear(n.config ? n.config->linear_start : .00085, n.config ? n.config->linear_end : .012, &schedule));
        so.steps = 50;
        CHECK_OK(ldm_sampler_make(&schedule, &so, &sampler));
        const int classes = n.config ? n.config->n_classes : 0;
        ldm_loop_options lo = {.unet = n.unet, .n_classes = classes, .tokens = classes ? 0 : 24, .n = 1, .h = side, .w = side,
                               .guided = !classes, .masked = !classes, .sampler = &sampler};
        CHECK_OK(ldm_loop_plan(&lo, &n.plan));
    } else {
        CHECK_OK(app_network_plan(o, &n));
    }
    if (n.plan) CHECK_OK(app_network_finish(&n, d));
    if (n.plan) add_programs(all, n.plan, d);
    ldm_sampler_free(&sampler);
    app_network_close(&n);
}

static void count_programs(void) {
    static programs all;
    char name[64], model[4200];
    ldm_cl *cl = NULL;
    CHECK_OK(ldm_cl_open(NULL, &cl));
    if (!cl) return;
    const ldm_device *d = ldm_cl_device(cl);
    snprintf(model, sizeof model, "%s/../tests/data/emoji-ldm/model.ckpt", ldm_kernel_dir());
    for (int f = 1; f <= 32; f *= 2) {
        snprintf(name, sizeof name, "cin-ldm-%d", f);
        add_network(&all, &(app_network_options){.net = "unet", .config = name}, true, d);
        if (f > 1) add_network(&all, &(app_network_options){.net = "decoder", .config = name}, false, d);
    }
    add_network(&all, &(app_network_options){.net = "encoder", .config = "taef2", .h = 512}, false, d);
    add_network(&all, &(app_network_options){.net = "encoder", .config = "taef2", .h = 64}, false, d);
    add_network(&all, &(app_network_options){.net = "decoder", .config = "taef2", .h = 64}, false, d);
    add_network(&all, &(app_network_options){.net = "decoder", .config = "taef2", .h = 8}, false, d);
    add_network(&all, &(app_network_options){.net = "unet", .model = model}, true, d);
    add_network(&all, &(app_network_options){.net = "text", .model = model}, false, d);
    printf("%d programs\n", all.count);
    CHECK(all.count >= 10 && all.count + SELF_TEST + PEAK <= DEMO_PROGRAMS,
          "%d programs and %d of the self-test and the peak, wanted %d at most", all.count, SELF_TEST + PEAK, DEMO_PROGRAMS);
    ldm_cl_close(cl);
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
    CASE("programs of the demo") count_programs();
    int status = test_end();
    globfree(&g);
    return status;
}
