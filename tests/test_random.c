/* test_random.c -- what must hold of every legal problem, tried on random ones: a fixed number, from a fixed seed. Each
 * is made from a case of its op or from nothing, in every word, flag and storage the op knows. Every row for this device
 * that supports it runs it, and each row of any device gets some that it supports; with its own parameters, some also
 * with a random legal set of others. Judged as test_ops judges: each output within its own bound, nothing written
 * outside, nothing unwritten, the same bytes twice. The notation must read back what it writes.
 *
 *   test_random [--device D] [--seed S] [--times N] [PART OF "op row" OR "op problems"]...    N times as many problems */
#include "tests/opcase.h"
#include "tests/pair.h"

enum { JOBS = 8192, CHUNK = 4, TUNED = 3, TRIES = 20000, LARGEST = 300 };
static const double MOST_FLOPS = 1e7, MOST_BYTES = 4e6; /* of a problem: the reference is what takes long */

static ldm_cl_options options;
static ldm_cl *cl;
static uint64_t seed = 1;
static int times = 1;

/* ---- random numbers: one stream a problem ------------------------------------------------------------------------ */

typedef struct dice {
    uint64_t stream, at;
} dice;

static uint64_t roll(dice *d, uint64_t sides) { return ldm_hash(seed, d->stream, d->at++) % sides; }
static bool chance(dice *d, int in) { return roll(d, (uint64_t)in) == 0; }

/* 1 to LARGEST: as often below 17 as above, and often beside a multiple of 8, 16 or 32, where tiles end. */
static int64_t size(dice *d) {
    int64_t v = chance(d, 2) ? 1 + (int64_t)roll(d, 16) : 1 + (int64_t)roll(d, LARGEST - 1);
    if (chance(d, 2)) v = v / (8 << roll(d, 3)) * (8 << roll(d, 3)) + (int64_t)roll(d, 3) - 1;
    return v < 1 ? 1 : v > LARGEST ? LARGEST : v;
}

/* ---- problems ---------------------------------------------------------------------------------------------------- */

/* What a list of names says of entry `i`: false past the end; how many words it has (0: a number), its default. */
static bool entry_of(const char *list, int i, int *words, bool *required, double *usual) {
    const char *s = list ? list : "";
    for (;; i--) {
        s += strspn(s, " ");
        size_t n = strcspn(s, " ");
        if (n == 0) return false;
        if (i > 0) {
            s += n;
            continue;
        }
        const char *eq = memchr(s, '=', n);
        *words = 0, *required = !eq, *usual = eq ? strtod(eq + 1, NULL) : 0;
        for (const char *c = eq; c && c < s + n; c++) *words += *c == '|';
        if (*words) ++*words;
        return true;
    }
}

static void draw_dim(const ldm_op *op, int i, ldm_problem *p, dice *d) {
    int words;
    bool required;
    double usual;
    entry_of(op->dims, i, &words, &required, &usual);
    if (words) p->dim[i] = (int64_t)roll(d, (uint64_t)words);
    else if (i && chance(d, 4)) p->dim[i] = p->dim[i - 1]; /* square filters, one kind of token */
    else if (required || chance(d, 6)) p->dim[i] = size(d);
    else p->dim[i] = chance(d, 2) ? (int64_t)usual : (int64_t)roll(d, 5);
}

static void draw_types(ldm_problem *p, dice *d) {
    p->dtype = p->wdtype = chance(d, 3) ? LDM_F16 : LDM_F32;
    if (chance(d, 4)) p->wdtype = (ldm_dtype)roll(d, LDM_DTYPES);
}

/* One try; most are no problem of the op. */
static void draw(const ldm_op *op, ldm_problem *p, dice *d) {
    int words, cases = 0, rare = 1; /* each thing is drawn anew one time in `rare` */
    bool required;
    double usual;
    while (op->cases[cases]) cases++;
    *p = (ldm_problem){.op = op};
    if (chance(d, 3) || ldm_problem_parse(op->cases[roll(d, (uint64_t)cases)], p)) p->op = op;
    else rare = 4;
    if (roll(d, (uint64_t)rare) == 0) draw_types(p, d);
    for (int i = 0; entry_of(op->dims, i, &words, &required, &usual); i++)
        if (roll(d, (uint64_t)rare) == 0) draw_dim(op, i, p, d);
    for (int i = 0; entry_of(op->floats, i, &words, &required, &usual); i++)
        if (roll(d, (uint64_t)rare) == 0)
            p->flt[i] = chance(d, 2) ? usual : (double)(float)(usual + (double)roll(d, 16) / 16);
    for (int i = 0; entry_of(op->flags, i, &words, &required, &usual); i++)
        if (roll(d, (uint64_t)rare) == 0) p->flags = (p->flags & ~(1u << i)) | (unsigned)roll(d, 2) << i;
}

static bool small(const ldm_problem *p) {
    ldm_slot slot[LDM_MAX_SLOTS];
    const ldm_cost c = p->op->cost(p);
    double bytes = c.bytes;
    memset(slot, 0, sizeof slot);
    if (p->op->infer(p, slot)) return false;
    for (int i = 0; i < ldm_op_slots(p->op); i++)
        if (slot[i].present) bytes += 4 * (double)ldm_shape_count(&slot[i].shape);
    return c.flops <= MOST_FLOPS && bytes <= MOST_BYTES;
}

/* A legal problem, with `row` one that this row supports; false if no try makes one. */
static bool legal_problem(const ldm_op *op, const ldm_impl *row, dice *d, ldm_problem *p) {
    for (int t = 0; t < TRIES; t++) {
        ldm_slot slot[LDM_MAX_SLOTS];
        memset(slot, 0, sizeof slot);
        draw(op, p, d);
        if (op->infer(p, slot) == LDM_OK && small(p) && !(row && ldm_cannot(p, ldm_cl_device(cl), row))) return true;
    }
    return false;
}

/* ---- running them ------------------------------------------------------------------------------------------------ */

static void run_one(const opcase *c, const ldm_choice *choice, const char *text) {
    char params[200], why[400];
    ldm_verdict v = {0};
    ldm_status st = opcase_run(cl, c, choice, true, &v);
    /* of what opcase_complaint says only this: how roundings lean and how many zeros there are tells nothing of
     * problems that may consist of padding or of one value */
    const char *bad = st ? ldm_message() : v.pass ? NULL : opcase_complaint(c, &v, why, sizeof why);
    ldm_choice_params(choice, params, sizeof params);
    CHECK(!bad, "%s\n    ldm op '%s' --impl %s --seed %d --fill %s%s%s%s", bad, text, choice->impl->name, OPCASE_SEED,
          opcase_fill_name(c->fill), *params ? " --params '" : "", params, *params ? "'" : "");
}

/* Rows that this device would not choose: nearly each of their problems and parameter sets is a build, of seconds. */
static bool foreign(const ldm_impl *impl) {
    const bool cpu = ldm_cl_device(cl)->type == LDM_DEVICE_CPU;
    return impl->family == LDM_LIBRARY || (impl->family != LDM_PLAIN && (impl->family == LDM_CPU) != cpu);
}

/* With the row's own parameters; `tuned`: also with a random legal set of others, if it has one. */
static void run_row(const opcase *c, const ldm_impl *impl, bool tuned, dice *d, const char *text) {
    const ldm_device *dev = ldm_cl_device(cl);
    ldm_choice choice = {.impl = impl}, other = {.impl = impl};
    int sets = 0;
    ldm_default_params(&c->p, impl, dev, choice.params);
    run_one(c, &choice, text);
    while (ldm_params_set(impl, sets, other.params)) sets++;
    for (int t = 0; t < 20 && sets > 1 && tuned; t++) {
        ldm_params_set(impl, (int)roll(d, (uint64_t)sets), other.params);
        if (!ldm_params_legal(&c->p, impl, other.params, dev) ||
            !memcmp(other.params, choice.params, sizeof other.params))
            continue;
        run_one(c, &other, text);
        break;
    }
}

/* Problem `number` of an op in every row that supports it, or of one row. */
static void run_problem(const ldm_op *op, const ldm_impl *only, int number) {
    dice d = {.stream = ldm_hash_text(only ? only->name : op->name) + (uint64_t)number};
    char text[LDM_PROBLEM_TEXT], again[LDM_PROBLEM_TEXT];
    ldm_problem p, back;
    opcase c;
    const bool found = legal_problem(op, only, &d, &p);
    CHECK(found, "problem %d: no legal one in %d tries", number, TRIES);
    if (!found) return;
    ldm_problem_text(&p, text, sizeof text);
    CHECK_OK(ldm_problem_parse(text, &back));
    CHECK(!strcmp(ldm_problem_text(&back, again, sizeof again), text), "'%s' reads back as '%s'", text, again);
    ldm_status st = opcase_make(text, (ldm_fill)roll(&d, LDM_FILL_INTEGER), false, &c);
    CHECK(st == LDM_OK, "'%s': %s", text, ldm_message());
    if (!st && only) run_row(&c, only, number % (foreign(only) ? 4 : 2) == 0, &d, text);
    for (const ldm_impl *i = op->impls; !st && !only && i->name; i++)
        if (!foreign(i) && !ldm_cannot(&p, ldm_cl_device(cl), i)) run_row(&c, i, number % TUNED == 0, &d, text);
    opcase_free(&c);
}

/* Opens the next job as a case if it is this process's turn and it was asked for. */
static bool mine(int *job, int *next, const char *fmt, ...) {
    static char names[JOBS][80];
    va_list ap;
    const int own = (*job)++;
    if (own != *next || own >= JOBS) return false;
    *next = pair_next();
    va_start(ap, fmt);
    vsnprintf(names[own], sizeof names[own], fmt, ap);
    va_end(ap);
    CASE(names[own]) return true;
    return false;
}

static void work(void) {
    int job = 0, next = pair_next();
    if (ldm_cl_open(&options, &cl)) {
        CASE("device") CHECK(false, "%s", ldm_message());
        return;
    }
    for (int o = 0; ldm_ops[o]; o++) {
        const ldm_op *op = ldm_ops[o];
        const int problems = times * CHUNK * (o < 3 ? 24 : 6); /* heavy ops have more ways to be wrong */
        for (const ldm_impl *i = op->impls; i->name; i++)      /* each row gets some that it supports */
            if (mine(&job, &next, "%s %s", op->name, i->name))
                for (int n = 0; n < times * CHUNK; n++) run_problem(op, i, n);
        for (int first = 0; first < problems; first += CHUNK)
            if (mine(&job, &next, "%s %d-%d", op->name, first, first + CHUNK - 1))
                for (int n = first; n < first + CHUNK; n++) run_problem(op, NULL, n);
    }
    CHECK(job <= JOBS, "%d jobs, there is room for %d", job, JOBS);
    ldm_cl_close(cl);
}

static const char *option(const char *name, int *argc, char **argv) {
    const char *value = NULL;
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (!strcmp(argv[i], name) && i + 1 < *argc) value = argv[++i];
        else argv[kept++] = argv[i];
    }
    *argc = kept;
    return value;
}

int main(int argc, char **argv) {
    const char *s = option("--seed", &argc, argv), *n = option("--times", &argc, argv);
    if (s) seed = strtoull(s, NULL, 10);
    if (n && atoi(n) > 0) times = atoi(n);
    options.select = opcase_device_option(&argc, argv);
    test_begin(argc, argv, "random");
    pair_run(work);
    return test_end();
}
