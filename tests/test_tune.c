/* test_tune.c -- the tuner: candidates are legal, distinct and always the same; wrong kernels lose whatever their time; a
 * budget holds; an interrupted search says so. The database: order of lookup, entries of another driver, malformed lines and
 * spoilt files, a folder that cannot be written. Everything lies in a folder of its own. */
#include "ops/tune.h"
#include "test.h"
#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/ldm-tune-XXXXXX";
static ldm_cl *cl;

static const char conv[] = "conv2d n=1 c=40 h=16 w=16 k=64 r=3 s=3 pt=1 pb=1 pl=1 pr=1 +bias"; /* no multiple of 16 for in-place rows */

static const ldm_device *dev(void) { return ldm_cl_device(cl); }
static bool for_cpus(void) { return dev()->type == LDM_DEVICE_CPU; } /* what names rows of CPUs is for them */

static ldm_problem problem(const char *text) {
    ldm_problem p = {0};
    CHECK_OK(ldm_problem_parse(text, &p));
    return p;
}

static const char *at(const char *name) {
    static char path[4][512];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

static void reopen(bool exact) {
    ldm_cl_options o = {.exact = exact};
    ldm_cl_close(cl);
    cl = NULL;
    if (ldm_cl_open(&o, &cl)) printf("%s\n", ldm_message()), exit(1);
}

/* ---- the search --------------------------------------------------------------------------------------------------- */

static void candidates(void) {
    static const char *const problems[] = {conv, "gemm m=64 n=96 k=80 +bias", "gemm m=1 n=8 k=8",
                                           "attention:f32 n=1 heads=2 nq=64 nkv=64 d=40",
                                           "group_norm n=1 hw=64 c=64 groups=8"};
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        const ldm_problem p = problem(problems[i]);
        ldm_choice *a = NULL, *b = NULL, *all = NULL, usual;
        int na = 0, nb = 0, nall = 0;
        CHECK_OK(ldm_tune_candidates(&p, dev(), false, &a, &na));
        CHECK_OK(ldm_tune_candidates(&p, dev(), false, &b, &nb));
        CHECK_OK(ldm_tune_candidates(&p, dev(), true, &all, &nall));
        CHECK_OK(ldm_choose(&p, dev(), &usual));
        CHECK(na == nb && !memcmp(a, b, (size_t)na * sizeof *a), "%s: two lists of candidates differ", problems[i]);
        CHECK(na > 0 && !memcmp(&a[0], &usual, sizeof usual), "%s: the default is not the first candidate", problems[i]);
        CHECK(nall >= na, "%s: %d candidates in full, %d else", problems[i], nall, na);
        for (int k = 0; k < nall; k++) {
            CHECK(!ldm_cannot(&p, dev(), all[k].impl), "%s: %s cannot run it", problems[i], all[k].impl->name);
            CHECK(ldm_params_legal(&p, all[k].impl, all[k].params, dev()), "%s: %s: not legal", problems[i], all[k].impl->name);
            CHECK(all[k].impl->family != LDM_LIBRARY, "%s: a library's row", problems[i]);
            for (int m = 0; m < k; m++) CHECK(memcmp(&all[k], &all[m], sizeof *all), "%s: %d and %d are the same", problems[i], k, m);
        }
        free(a), free(b), free(all);
    }
    const ldm_problem p = problem(conv);
    ldm_choice *list = NULL;
    int n = 0, winograd = 0, plain = 0;
    CHECK_OK(ldm_tune_candidates(&p, dev(), true, &list, &n));
    for (int i = 0; i < n; i++) winograd += list[i].impl->reference != NULL, plain += list[i].impl->family == LDM_PLAIN;
    free(list);
    CHECK(winograd > 1 && plain == 1, "in full: %d sets of Winograd, %d plain rows", winograd, plain);
    reopen(true);
    CHECK_OK(ldm_tune_candidates(&p, dev(), true, &list, &n));
    for (int i = 0; i < n; i++) CHECK(!list[i].impl->reference, "exact: %s is a candidate", list[i].impl->name);
    free(list);
    reopen(false);
}

static void search(void) {
    const ldm_problem p = problem(conv);
    ldm_tuned_entry e;
    CHECK_OK(ldm_tune_problem(cl, &p, &(ldm_tune_options){0}, &e));
    CHECK(e.tried == e.legal && e.tried > 2, "%d of %d candidates tried without a budget", e.tried, e.legal);
    CHECK(e.us > 0 && e.us < 1.5 * e.usual_us, "%.1f us, the default %.1f", e.us, e.usual_us);
    CHECK(e.error >= 0 && e.error <= 1, "error/bound %g", e.error);
    CHECK_OK(ldm_tuned_check(cl, &e, NULL));
    double start = ldm_now();
    CHECK_OK(ldm_tune_problem(cl, &p, &(ldm_tune_options){.budget = 1e-3}, &e));
    CHECK(e.tried == 2 && e.tried < e.legal, "no time: %d of %d candidates tried, wanted 2", e.tried, e.legal);
    CHECK(ldm_now() - start < 10, "no time: %.1f s taken", ldm_now() - start);
    const ldm_problem free_of = problem("guidance count=64");
    CHECK(ldm_tune_problem(cl, &free_of, &(ldm_tune_options){0}, &e) == LDM_ERR_UNSUPPORTED, "one row, and a choice");
}

/* The default's kernels are wrong, as a driver's fault would make them: another row wins; where there is no other, nothing. */
static void wrong_kernels(void) {
    const ldm_problem p = problem(conv), g = problem("gemm m=40 n=64 k=64 +bias");
    ldm_tuned_entry e = {.problem = p};
    ldm_choice usual;
    static ldm_recipe r;
    char mutant[100];
    bool wrong = false;
    ldm_quiet = true; /* "left out: ..." */
    CHECK_OK(ldm_choose(&p, dev(), &usual));
    r = (ldm_recipe){0};
    CHECK_OK(usual.impl->record(&p, usual.params, dev(), &r));
    e.choice = usual;
    for (int n = 1; n < 9 && !wrong; n++) {
        snprintf(mutant, sizeof mutant, "%s:%d", r.launch[0].file, n);
        setenv("LDM_MUTANT", mutant, 1);
        reopen(false);
        wrong = ldm_tuned_check(cl, &e, NULL) == LDM_ERR_MISMATCH;
    }
    CHECK(wrong, "no mutant of %s fails", r.launch[0].file);
    CHECK_OK(ldm_tune_problem(cl, &p, &(ldm_tune_options){0}, &e));
    CHECK(e.choice.impl != usual.impl, "a wrong %s wins", e.choice.impl->name);
    CHECK(e.usual_us == 0, "the wrong default's time counts: %.1f us", e.usual_us);
    if (for_cpus()) {
        setenv("LDM_MUTANT", "gemm_cpu.cl:1", 1);
        reopen(false);
        CHECK_OK(ldm_tune_problem(cl, &g, &(ldm_tune_options){.full = true}, &e));
        CHECK(strcmp(e.choice.impl->name, "gemm_tile"), "a wrong %s wins", e.choice.impl->name);
        const ldm_problem only = problem("concat rows=40 ca=64 cb=64");
        setenv("LDM_MUTANT", "move.cl:1", 1);
        reopen(false);
        CHECK(ldm_tune_problem(cl, &only, &(ldm_tune_options){0}, &e) == LDM_ERR_MISMATCH, "all are wrong, and %s wins",
              e.choice.impl->name);
    }
    unsetenv("LDM_MUTANT");
    ldm_quiet = false;
    reopen(false);
}

static void interrupt(void *user, const ldm_choice *c, int i, int count) {
    if (i == 1) ldm_interrupted = SIGINT;
}

static void interrupted(void) {
    const ldm_problem p = problem(conv);
    ldm_tuned_entry e = {.us = -1};
    const ldm_status st = ldm_tune_problem(cl, &p, &(ldm_tune_options){.each = interrupt}, &e);
    ldm_interrupted = 0;
    CHECK(st == LDM_ERR_INTERRUPTED && e.us == -1, "status %d, %.1f us", st, e.us);
}

/* ---- the database ------------------------------------------------------------------------------------------------- */

enum { OWN, CLASS, STRANGER };

/* A file of root as if of this device, of one of its class, of another class. */
static void write_file(const char *name, int whose, const char *lines) {
    static const char *const type[] = {"cpu", "gpu", "other"};
    const ldm_device *d = dev();
    ldm_text t = {0};
    ldm_text_add(&t, "ldm-tuned 1\ndevice: %s%s, %d units\nclass: %s%s, %s, float vectors of %d\n%s", d->name,
                 whose == CLASS ? " 2" : "", d->units, whose == STRANGER ? "No " : "", d->vendor, type[d->type],
                 d->vector_float, lines);
    CHECK_OK(ldm_write_file(at(name), t.s, t.len));
    ldm_text_free(&t);
}

static const char *line(const char *impl, const char *text, const char *params, const char *driver) {
    static char buf[4][600];
    static int next;
    char *b = buf[next++ % 4];
    snprintf(b, sizeof buf[0], "%s | %s | %s | 10 | 12 | 0.5 | 2/3 | %s | abc | 2026-01-01\n", impl, text, params,
             driver ? driver : dev()->driver);
    return b;
}

static void empty_folder(const char *name) {
    char path[700];
    DIR *dir = opendir(at(name));
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (snprintf(path, sizeof path, "%s/%s", at(name), e->d_name) && e->d_name[0] != '.') unlink(path);
    if (dir) closedir(dir);
}

static int files_in(const char *name) {
    int n = 0;
    DIR *dir = opendir(at(name));
    for (struct dirent *e; dir && (e = readdir(dir));) n += e->d_name[0] != '.';
    if (dir) closedir(dir);
    return n;
}

static void clear(void) {
    empty_folder("data/tuned");
    empty_folder("kernels/tuned");
    empty_folder("cache/tuned-1");
}

static const char *found_text(const char *text, ldm_tuned_source *source) {
    static char buf[200];
    char params[160];
    const ldm_problem p = problem(text);
    ldm_choice c = {0}, chosen = {0};
    CHECK_OK(ldm_tuned_load(cl));
    *source = ldm_tuned_find(&p, dev(), &c);
    CHECK_OK(ldm_choose(&p, dev(), &chosen));
    CHECK(!*source || (c.impl == chosen.impl && !memcmp(c.params, chosen.params, sizeof c.params)), "%s: ldm_choose differs", text);
    snprintf(buf, sizeof buf, "%s %s", chosen.impl->name, ldm_choice_params(&chosen, params, sizeof params));
    return buf;
}

/* What is chosen without a database. */
static const char *usual_text(const char *text) {
    static char buf[200];
    char params[160];
    const ldm_problem p = problem(text);
    ldm_device d = *dev();
    ldm_choice c = {0};
    d.tuned = NULL;
    CHECK_OK(ldm_choose(&p, &d, &c));
    snprintf(buf, sizeof buf, "%s %s", c.impl->name, ldm_choice_params(&c, params, sizeof params));
    return buf;
}

/* choice NULL: the default */
#define FOUND(text, source, choice_or_null)                                                                                    \
    do {                                                                                                               \
        ldm_tuned_source found_source;                                                                                 \
        const char *found_choice = found_text(text, &found_source);                                                    \
        const char *asked = choice_or_null, *choice = asked ? asked : usual_text(text);                                \
        CHECK(found_source == (source), "%s: %s, wanted %s", text, ldm_tuned_source_name(found_source),                \
              ldm_tuned_source_name(source));                                                                          \
        CHECK(!strncmp(found_choice, choice, strlen(choice)), "%s: chosen is %s, wanted %s", text, found_choice, choice); \
    } while (0)

#define REST " r=3 s=3 pt=1 pb=1 pl=1 pr=1"

static void lookup(void) {
    static const char same[] = "conv2d:f32 n=1 c=60 h=32 w=32 k=64" REST " +bias",
                      near[] = "conv2d:f32 n=1 c=60 h=32 w=32 k=96" REST " +bias +residual",
                      far[] = "conv2d:f32 n=1 c=60 h=64 w=64 k=128" REST " +bias",
                      strided[] = "conv2d:f32 n=1 c=60 h=32 w=32 k=64 r=3 s=3 stride=2 pt=1 pb=1 pl=1 pr=1 +bias";
    const char *tile4 = line("conv2d_tile", same, "TILE_PIXELS=4", NULL);
    clear();
    FOUND(same, LDM_TUNED_NONE, NULL);
    write_file("data/tuned/a.txt", STRANGER, tile4);
    FOUND(same, LDM_TUNED_NONE, NULL);
    write_file("data/tuned/b.txt", CLASS, tile4);
    FOUND(near, LDM_TUNED_CLASS_NEAR, "conv2d_tile TILE_PIXELS=4");
    FOUND(same, LDM_TUNED_CLASS_SAME, "conv2d_tile TILE_PIXELS=4");
    write_file("kernels/tuned/c.txt", OWN, line("conv2d_tile", near, "TILE_PIXELS=2", NULL));
    FOUND(near, LDM_TUNED_SAME, "conv2d_tile TILE_PIXELS=2");
    FOUND(same, LDM_TUNED_NEAR, "conv2d_tile TILE_PIXELS=2"); /* its own device's before its class's */
    FOUND(far, LDM_TUNED_NONE, NULL);
    char usual[600];
    snprintf(usual, sizeof usual, "%s", line("conv2d_tile", near, "TILE_PIXELS=2", NULL));
    memcpy(strstr(usual, "| 10 | 12 |"), "| 12 | 12 |", 11);
    write_file("kernels/tuned/c.txt", OWN, usual); /* the default was fastest: so it is near it */
    FOUND(near, LDM_TUNED_SAME, "conv2d_tile TILE_PIXELS=2");
    FOUND(same, LDM_TUNED_CLASS_SAME, "conv2d_tile TILE_PIXELS=4");
    FOUND(strided, LDM_TUNED_NONE, NULL);
    char two[1300];
    snprintf(two, sizeof two, "%s%s", line("conv2d_tile", same, "TILE_PIXELS=1", NULL), line("conv2d_tile", same, "TILE_PIXELS=12", NULL));
    write_file("data/tuned/d.txt", OWN, two); /* the user's before the curated; of two lines the last */
    FOUND(same, LDM_TUNED_SAME, "conv2d_tile TILE_PIXELS=12");
    const ldm_problem p = problem(same);
    ldm_choice named;
    CHECK_OK(ldm_choose_named(&p, dev(), "conv2d_tile", &named));
    CHECK(named.params[0] == 8, "a row that is named runs with TILE_PIXELS=%d, wanted its default", named.params[0]);
}

/* What the user rules out stays out; a near problem's choice only where the automatic choice could have made it. */
static void not_used(void) {
    static const char same[] = "conv2d:f32 n=1 c=60 h=32 w=32 k=64" REST, small[] = "conv2d:f32 n=1 c=60 h=24 w=24 k=64" REST;
    clear();
    write_file("data/tuned/a.txt", OWN, line("conv2d_winograd", same, "OUT=4 BLOCK=32", NULL));
    FOUND(same, LDM_TUNED_SAME, "conv2d_winograd OUT=4 BLOCK=32");
    FOUND(small, LDM_TUNED_NONE, NULL); /* of 36 tiles blocks of 32 would waste 28 */
    reopen(true);
    FOUND(same, LDM_TUNED_NONE, NULL);
    ldm_cl_close(cl), cl = NULL;
    CHECK_OK(ldm_cl_open(&(ldm_cl_options){.low_memory = true}, &cl));
    FOUND(same, LDM_TUNED_NONE, NULL);
    reopen(false);
}

static void other_driver(void) {
    static const char text[] = "gemm:f32 m=40 n=64 k=64 +bias";
    int before;
    clear();
    write_file("data/tuned/a.txt", OWN, line("gemm_tile", text, "TILE_ROWS=2", "0.1-other"));
    FOUND(text, LDM_TUNED_SAME, "gemm_tile TILE_ROWS=2");
    CHECK(files_in("cache/tuned-1") == 1, "%d verdicts kept, wanted 1", files_in("cache/tuned-1"));
    reopen(false);
    before = ldm_cl_build_stats(cl).programs;
    FOUND(text, LDM_TUNED_SAME, "gemm_tile TILE_ROWS=2");
    CHECK(ldm_cl_build_stats(cl).programs == before, "checked again although the verdict is kept");
    clear();
    write_file("data/tuned/a.txt", OWN, line("gemm_tile", text, "TILE_ROWS=2", "0.1-other"));
    setenv("LDM_MUTANT", "gemm_cpu.cl:1", 1);
    reopen(false);
    ldm_quiet = true;
    FOUND(text, LDM_TUNED_NONE, NULL);
    ldm_quiet = false;
    unsetenv("LDM_MUTANT");
    reopen(false);
    FOUND(text, LDM_TUNED_NONE, NULL); /* the verdict on this driver is kept */
    CHECK(files_in("cache/tuned-1") == 1, "%d verdicts kept, wanted 1", files_in("cache/tuned-1"));
    clear();
}

static void written(void) {
    const ldm_problem p = problem(conv);
    ldm_tuned_entry e, *back;
    ldm_tuned_list list = {0};
    ldm_tuned_kin kin;
    char path[700];
    clear();
    CHECK_OK(ldm_tuned_path(dev(), path, sizeof path));
    CHECK(!strncmp(path, at("data/tuned/"), strlen(at("data/tuned/"))), "the database is %s", path);
    CHECK_OK(ldm_tune_problem(cl, &p, &(ldm_tune_options){.budget = 1e-3}, &e));
    snprintf(e.commit, sizeof e.commit, "abc"), snprintf(e.date, sizeof e.date, "2026-01-01");
    CHECK_OK(ldm_tuned_prepare(path, dev()));
    CHECK_OK(ldm_tuned_append(path, &e));
    FILE *f = fopen(path, "a"); /* torn by a crash */
    if (f) fputs("conv2d_tile | conv2d:f32 n=1", f), fclose(f);
    e.us = 7;
    CHECK_OK(ldm_tuned_prepare(path, dev()));
    CHECK_OK(ldm_tuned_append(path, &e));
    ldm_quiet = true;
    CHECK_OK(ldm_tuned_read(path, dev(), LDM_TUNED_OWN, &list, &kin));
    ldm_quiet = false;
    CHECK(kin == LDM_TUNED_OWN && list.count == 2 && list.malformed == 1, "kin %d, %d entries, %d malformed", kin, list.count,
          list.malformed);
    back = ldm_tuned_last(&list, &p);
    CHECK(back && back->us == 7 && back->choice.impl == e.choice.impl && back->tried == e.tried && back->legal == e.legal &&
              !memcmp(back->choice.params, e.choice.params, sizeof e.choice.params) && back->trust == 1,
          "an entry is not read as it was written");
    ldm_tuned_list_free(&list);
    setenv("LDM_DATA_DIR", "/dev/null/none", 1);
    CHECK_OK(ldm_tuned_path(dev(), path, sizeof path));
    CHECK(ldm_tuned_prepare(path, dev()) == LDM_ERR_IO, "a folder that cannot be: %s", ldm_message());
    CHECK_OK(ldm_tuned_load(cl));
    setenv("LDM_DATA_DIR", at("data"), 1);
}

static void malformed(void) {
    static const char *const bad[] = {
        "", "|", "|||||||||", "conv2d_tile", "conv2d_tile | gemm m=8 n=8 k=8 | | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 | TILE_ROWS=8 | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=7 | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 TILE_ROWS=8 | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=1 n=8 k=8 | TILE_ROWS=8 | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | ROWS=8 | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS | 1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 | fast | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 | nan | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 | -1 | 1 | 1 | 1/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 | 1 | 1 | 1 | 2/1 | d | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 | 1 | 1 | 1 | 1/1 | | c | t",
        "gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=8 | 1 | 1 | 1 | 1/1 | d | c | t | more",
        "gemm_clblast | gemm m=8 n=8 k=8 | | 1 | 1 | 1 | 1/1 | d | c | t",
        "conv2d_winograd | conv2d n=1 c=8 h=8 w=8 k=8 | OUT=4 | 1 | 1 | 1 | 1/1 | d | c | t"};
    ldm_tuned_entry e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(ldm_tuned_parse(bad[i], dev(), &e) != LDM_OK, "'%s' is taken for an entry", bad[i]);
        CHECK(*ldm_message() && !strchr(ldm_message(), '\n'), "'%s': not one sentence: %s", bad[i], ldm_message());
    }
    CHECK_OK(ldm_tuned_parse("gemm_tile | gemm m=8 n=8 k=8 | TILE_ROWS=4 | 1 | 1 | 1 | 1/1 | d | c | t", dev(), &e));
    CHECK_OK(ldm_tuned_parse("gemm_tile|gemm m=8 n=8 k=8||1|0|1|1/1|d|c|t", dev(), &e));
    CHECK(e.choice.params[0] == 8, "left out, TILE_ROWS is %d, wanted its default", e.choice.params[0]);
}

/* Spoilt files: whatever is read can be run; nothing crashes. A fixed number, seeded. */
static void spoilt(void) {
    enum { FILES = 1500 };
    char *text = NULL, *other;
    size_t size;
    int read = 0, entries = 0;
    char lines[1300];
    clear();
    snprintf(lines, sizeof lines, "# a comment\n%s%s", line("conv2d_winograd", conv, "OUT=2 BLOCK=8", NULL),
             line("gemm_tile", "gemm:f16 m=40 n=64 k=64 act=silu +bias", "TILE_ROWS=2", "other"));
    write_file("data/tuned/a.txt", OWN, lines);
    CHECK_OK(ldm_read_file(at("data/tuned/a.txt"), 1 << 20, &text, &size));
    if (!text || !(other = malloc(size * 2 + 16))) return;
    ldm_quiet = true;
    for (uint64_t i = 0; i < FILES; i++) {
        const uint64_t how = ldm_hash(1, 0, i) % 4, changes = 1 + ldm_hash(1, 1, i) % 6;
        size_t n = size;
        memcpy(other, text, size);
        for (uint64_t k = 0; k < changes; k++) {
            const size_t where = 60 + ldm_hash(2, k, i) % (size - 60), from = ldm_hash(3, k, i) % size;
            if (how == 0) other[where % n] = (char)ldm_hash(4, k, i);
            if (how == 1) other[where % n] = "|=:+ \n0*#-"[ldm_hash(4, k, i) % 10];
            if (how == 2) n = where % n + 1;
            if (how == 3) memmove(other + where % n, other + from % n, n - (where % n > from % n ? where % n : from % n));
        }
        ldm_tuned_list list = {0};
        ldm_tuned_kin kin;
        CHECK_OK(ldm_write_file(at("data/tuned/b.txt"), other, n));
        if (ldm_tuned_read(at("data/tuned/b.txt"), dev(), LDM_TUNED_OTHER, &list, &kin)) continue;
        read++, entries += list.count;
        for (int k = 0; k < list.count; k++) {
            const ldm_tuned_entry *e = &list.entry[k];
            CHECK(!ldm_cannot(&e->problem, dev(), e->choice.impl) &&
                      ldm_params_legal(&e->problem, e->choice.impl, e->choice.params, dev()),
                  "file %d: an entry that cannot be run", (int)i);
        }
        ldm_tuned_list_free(&list);
    }
    ldm_quiet = false;
    CHECK(read > FILES / 4 && entries > FILES / 4, "of %d spoilt files %d were read, with %d entries", FILES, read, entries);
    free(text), free(other);
    clear();
}

/* The files that ship: heads that can be read, and where they are for devices of this class, no line that is not. */
static void shipped(void) {
    DIR *dir = opendir("kernels/tuned");
    int files = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        ldm_tuned_list list = {0};
        ldm_tuned_kin kin = LDM_TUNED_OTHER;
        char path[600];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "kernels/tuned/%s", e->d_name);
        CHECK_OK(ldm_tuned_read(path, dev(), LDM_TUNED_CLASS, &list, &kin));
        CHECK(kin == LDM_TUNED_OTHER || (list.count > 0 && list.malformed == 0), "%s: %d entries, %d lines are not", path,
              list.count, list.malformed);
        ldm_tuned_list_free(&list);
        files++;
    }
    if (dir) closedir(dir);
    CHECK(files > 0, "no file in kernels/tuned");
}

static void distances(void) {
    const ldm_problem a = problem("gemm m=64 n=64 k=64 +bias"), b = problem("gemm m=128 n=64 k=64 +bias +residual"),
                      c = problem("gemm m=64 n=64 k=64 +bias +wkn"), d = problem("gemm m=64 n=64 k=64 act=geglu"),
                      e = problem("gemm:f16 m=64 n=64 k=64 +bias");
    CHECK(ldm_problem_distance(&a, &a) == 0 && ldm_problem_same(&a, &a), "a problem is not itself");
    CHECK(fabs(ldm_problem_distance(&a, &b) - log(2) - 0.1) < 1e-12, "%g", ldm_problem_distance(&a, &b));
    CHECK(ldm_problem_distance(&a, &b) == ldm_problem_distance(&b, &a), "not symmetric");
    CHECK(isinf(ldm_problem_distance(&a, &c)) && isinf(ldm_problem_distance(&a, &d)) && isinf(ldm_problem_distance(&a, &e)),
          "another layout, activation or dtype is near");
}

/* ---- a folder of our own ------------------------------------------------------------------------------------------ */

static void make_root(void) {
    char from[4200], to[700];
    const char *kernels = getenv("LDM_KERNEL_DIR"); /* ldm_kernel_dir would remember it */
    if (!kernels || !*kernels) kernels = "kernels";
    if (!mkdtemp(root)) abort();
    ldm_make_dirs(at("data/tuned"));
    ldm_make_dirs(at("cache"));
    ldm_make_dirs(at("kernels/tuned"));
    DIR *dir = opendir(kernels);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!strstr(e->d_name, ".cl")) continue;
        snprintf(from, sizeof from, "%s/%s", kernels, e->d_name);
        snprintf(to, sizeof to, "%s/%.200s", at("kernels"), e->d_name);
        char *real = realpath(from, NULL);
        if (!real || symlink(real, to)) abort();
        free(real);
    }
    if (dir) closedir(dir);
    setenv("LDM_DATA_DIR", at("data"), 1);
    setenv("LDM_CACHE_DIR", at("cache"), 1);
    setenv("LDM_KERNEL_DIR", at("kernels"), 1);
}

int main(int argc, char **argv) {
    char remove[600];
    test_begin(argc, argv, "tune");
    make_root();
    reopen(false);
    CASE("candidates: legal, distinct, in the same order") candidates();
    CASE("search") search();
    CASE("search: wrong kernels") wrong_kernels();
    CASE("search: interrupted") interrupted();
    CASE("distance of problems") distances();
    CASE("database: order of lookup") {
        if (for_cpus()) lookup();
        else SKIP("the rows are for CPUs");
    }
    CASE("database: what is not used") not_used();
    CASE("database: another driver") other_driver();
    CASE("database: written and read") written();
    CASE("database: malformed lines") {
        if (for_cpus()) malformed();
        else SKIP("the rows are for CPUs");
    }
    CASE("database: spoilt files") spoilt();
    CASE("database: files that ship") shipped();
    ldm_cl_close(cl);
    snprintf(remove, sizeof remove, "rm -rf '%s'", root);
    if (system(remove)) printf("%s stays\n", root);
    return test_end();
}
