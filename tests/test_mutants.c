/* test_mutants.c -- are the tests strong enough? Kernel files list deliberately wrong variants of themselves in their
 * header, after the word MUTANTS and a colon: 1 last term dropped, 2 bias missing. They build them where MUTANT == n.
 * Cheap cases are tried first, and those whose problem or implementation a mutant's name mentions. Every one must fail a case of an op that launches from its file; one that survives them all is a missing case. That
 * the kernels pass unmutated is test_ops.
 *
 *   test_mutants [--device D] [PART OF "file.cl: n name"]... */
#include "tests/opcase.h"
#include "tests/pair.h"
#include <dirent.h>

enum { MAX_MUTANTS = 1024, MAX_NUMBER = 100, MAX_RUNS = 8192, FEWEST = 24 };
static const double KEPT_FLOPS = 1e7;

typedef struct mutant {
    char file[64], name[160]; /* name: "file.cl: n what is wrong" */
    bool q8;                  /* its name ends with (WREAL q8): no other build can show it */
    int number;
} mutant;

/* One way to run one case: what test_ops runs once. */
typedef struct way {
    const char *text;
    const ldm_impl *impl;
    ldm_fill fill;
    bool exact;
    double flops;
    char files[4][48]; /* kernel files of its launches */
    bool q8;           /* built with -DWREAL=q8 */
    uint64_t build;    /* names what they are built from: files and options */
    int made;          /* its case in made[]: the same for all implementations of a problem */
} way;

static ldm_cl_options options;
static ldm_cl *cl;
static mutant mutants[MAX_MUTANTS];
static int mutant_count;
static way ways[MAX_RUNS];
static int way_count;
static opcase made[MAX_RUNS]; /* small cases are made once */
static int made_count;

/* used[n]: the text compares MUTANT with n. */
static void find_uses(const char *text, bool *used) {
    for (const char *s = text; (s = strstr(s, "MUTANT ")) && (s += strlen("MUTANT "));) {
        if (strncmp(s, "== ", 3) && strncmp(s, "!= ", 3)) continue;
        long n = strtol(s + 3, NULL, 10);
        if (n > 0 && n < MAX_NUMBER) used[n] = true;
    }
}

/* Reads the list behind "MUTANTS:" up to a full stop, a blank line or the comment's end, and checks it against the
 * code. */
static void read_mutants(const char *file) {
    ldm_text source = {0};
    bool listed[MAX_NUMBER] = {false}, used[MAX_NUMBER] = {false};
    if (ldm_kernel_source(file, &source)) {
        printf("FAIL mutants: %s\n", ldm_message());
        test_failed++;
        return;
    }
    find_uses(source.s, used);
    char *list = strstr(source.s, "MUTANTS:"), *close = list ? strstr(list, "*/") : NULL;
    if (close) {
        char *blank = strstr(list, "\n *\n");
        *(blank && blank < close ? blank : close) = 0;
        list[strcspn(list, ".")] = 0;
    }
    for (char *entry = list ? strtok(list + strlen("MUTANTS:"), ",") : NULL; entry; entry = strtok(NULL, ",")) {
        char *name;
        entry += strspn(entry, " \n*");
        long n = strtol(entry, &name, 10);
        if (mutant_count == MAX_MUTANTS || n <= 0 || n >= MAX_NUMBER || listed[n]) {
            printf("FAIL mutants: %s: '%s' is not a new number from 1 to %d and a name\n", file, entry, MAX_NUMBER - 1);
            test_failed++;
            continue;
        }
        listed[n] = true;
        mutant *m = &mutants[mutant_count++];
        snprintf(m->file, sizeof m->file, "%.63s", file);
        m->number = (int)n;
        size_t len = (size_t)snprintf(m->name, sizeof m->name, "%s: %ld", file, n);
        for (char *word = name;
             *(word += strspn(word, " \n*")) && len + 2 < sizeof m->name;) { /* line breaks are blanks */
            size_t size_of_word = strcspn(word, " \n");
            len += (size_t)snprintf(m->name + len, sizeof m->name - len, " %.*s", (int)size_of_word, word);
            word += size_of_word;
        }
        m->q8 = strstr(m->name, "(WREAL q8)") != NULL;
    }
    for (int n = 1; n < MAX_NUMBER; n++)
        if (listed[n] != used[n]) {
            printf("FAIL mutants: %s: mutant %d is %s\n", file, n,
                   listed[n] ? "listed but not built" : "built but not listed");
            test_failed++;
        }
    ldm_text_free(&source);
}

static int by_name(const void *a, const void *b) {
    return strverscmp(((const mutant *)a)->name, ((const mutant *)b)->name);
}

static void read_all_mutants(void) {
    DIR *dir = opendir(ldm_kernel_dir());
    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && !strcmp(dot, ".cl")) read_mutants(e->d_name);
    }
    if (dir) closedir(dir);
    qsort(mutants, (size_t)mutant_count, sizeof *mutants, by_name);
}

/* Every implementation of a case, with the kernel files it would launch from. */
static void add_ways(const char *text, ldm_fill fill, bool exact) {
    ldm_problem p;
    const ldm_device *d = ldm_cl_device(cl);
    if (ldm_problem_parse(text, &p)) return; /* test_ops says so */
    for (const ldm_impl *impl = p.op->impls; impl->name && way_count < MAX_RUNS; impl++) {
        static ldm_recipe r;
        int params[LDM_MAX_TUNABLES];
        if (impl->family == LDM_LIBRARY || ldm_cannot(&p, d, impl)) continue;
        ldm_default_params(&p, impl, d, params);
        memset(&r, 0, sizeof r);
        if (impl->record(&p, params, d, &r)) continue;
        way *w = &ways[way_count++];
        *w = (way){.text = text, .impl = impl, .fill = fill, .exact = exact, .flops = p.op->cost(&p).flops, .build = ldm_hash_text(""), .made = made_count};
        for (int i = 0; i < r.count; i++) {
            if (i < 4) snprintf(w->files[i], sizeof w->files[i], "%s", r.launch[i].file);
            if (strstr(r.launch[i].options, "WREAL=q8")) w->q8 = true;
            w->build = ldm_hash_bytes(w->build, r.launch[i].file, strlen(r.launch[i].file));
            w->build = ldm_hash_bytes(w->build, r.launch[i].options, strlen(r.launch[i].options));
        }
    }
    made_count++;
}

static void add_all_ways(void) {
    for (int i = 0; ldm_ops[i]; i++) {
        for (int c = 0; ldm_ops[i]->cases && ldm_ops[i]->cases[c]; c++)
            for (ldm_fill f = 0; f < LDM_FILL_INTEGER; f++) add_ways(ldm_ops[i]->cases[c], f, false);
        for (int c = 0; ldm_ops[i]->exact_cases && ldm_ops[i]->exact_cases[c]; c++)
            add_ways(ldm_ops[i]->exact_cases[c], LDM_FILL_INTEGER, true);
    }
}

static bool launches_from(const way *w, const mutant *m) {
    for (int i = 0; i < 4 && (w->q8 || !m->q8); i++)
        if (!strcmp(w->files[i], m->file)) return true;
    return false;
}

/* LDM_OK and *killed. Any status but a mismatch is an accident, not a verdict. */
static ldm_status try_way(const way *w, bool *killed) {
    opcase *c = &made[w->made];
    char why[400];
    ldm_verdict v;
    ldm_status st = c->want ? LDM_OK : opcase_make(w->text, w->fill, w->exact, c);
    if (!st) {
        ldm_choice choice = {.impl = w->impl};
        ldm_default_params(&c->p, w->impl, ldm_cl_device(cl), choice.params);
        st = opcase_run(cl, c, &choice, true, &v);
        *killed = st == LDM_ERR_MISMATCH || (!st && opcase_complaint(c, &v, why, sizeof why));
        if (st == LDM_ERR_MISMATCH) st = LDM_OK;
    }
    if (st || w->flops > KEPT_FLOPS) opcase_free(c);
    return st;
}

static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyz_0123456789";

/* Whether a word of `text` begins with these letters. */
static bool begins_word(const char *text, const char *letters, size_t n) {
    for (const char *t = text + strcspn(text, LETTERS); *t; t += strcspn(t, LETTERS)) {
        size_t word = strspn(t, LETTERS);
        if (word >= n && !memcmp(t, letters, n)) return true;
        t += word;
    }
    return false;
}

/* Words of a problem and of its implementation's name that the mutant's name has, or goes on: "up=2" and "upsample". */
static int mentions(const mutant *m, const way *w) {
    char text[LDM_PROBLEM_TEXT + 64];
    int n = 0;
    snprintf(text, sizeof text, "%s %s", w->text, w->impl->name);
    for (const char *t = text + strcspn(text, LETTERS); *t; t += strcspn(t, LETTERS)) {
        size_t word = strspn(t, LETTERS);
        n += word > 1 && begins_word(strchr(m->name, ' '), t, word);
        t += word;
    }
    return n;
}

/* Seconds a way may take: a build is dear, the reference's arithmetic the rest; a word in common is worth a build. */
static double price(const mutant *m, const way *w, const uint64_t *built, int builds) {
    bool known = false;
    for (int i = 0; i < builds; i++) known |= built[i] == w->build;
    return (known ? 0 : 1) + 2e-9 * w->flops - mentions(m, w);
}

static void run_mutant(const mutant *m) {
    static bool done[MAX_RUNS];
    static uint64_t built[MAX_RUNS];
    char value[100];
    int tried = 0;
    bool killed = false;
    double start = ldm_now();
    snprintf(value, sizeof value, "%.63s:%d", m->file, m->number);
    setenv("LDM_MUTANT", value, 1);
    memset(done, 0, sizeof done);
    while (!killed) {
        int best = -1;
        double least = 0;
        for (int i = 0; i < way_count; i++) {
            if (done[i] || !launches_from(&ways[i], m)) continue;
            double p = price(m, &ways[i], built, tried);
            if (best < 0 || p < least) best = i, least = p;
        }
        if (best < 0) break;
        done[best] = true, built[tried++] = ways[best].build;
        ldm_status st = try_way(&ways[best], &killed);
        CHECK(st == LDM_OK, "'%s' on %s: %s", ways[best].text, ways[best].impl->name, ldm_message());
        if (st) break;
        if (killed)
            printf("%-60s killed by run %d (%.1f s): %s, %s\n", m->name, tried, ldm_now() - start, ways[best].text,
                   opcase_fill_name(ways[best].fill));
    }
    unsetenv("LDM_MUTANT");
    CHECK(tried > 0, "no case launches from %s", m->file);
    CHECK(killed || !tried, "survives all %d runs: a case is missing", tried);
}

static void work(void) {
    if (ldm_cl_open(&options, &cl)) {
        CASE("device") CHECK(false, "%s", ldm_message());
        return;
    }
    add_all_ways();
    for (int i; (i = pair_next()) < mutant_count;) CASE(mutants[i].name) run_mutant(&mutants[i]);
    test_close_case();
    for (int i = 0; i < made_count; i++) opcase_free(&made[i]);
    ldm_cl_close(cl);
}

int main(int argc, char **argv) {
    options.select = opcase_device_option(&argc, argv);
    test_begin(argc, argv, "mutants");
    read_all_mutants();
    pair_run(work);
    CASE("enough mutants") CHECK(mutant_count >= FEWEST, "%d, at least %d wanted", mutant_count, FEWEST);
    return test_end();
}
