/* test_random.c -- what must hold of every legal problem, tried on random ones: a fixed number, from a fixed seed. Each
 * is made from a case of its op or from nothing, in every word, flag and storage the op knows; every row that supports
 * it runs it with its own parameters and with a random legal set of them, and is judged as test_ops judges (each output
 * within its own bound, nothing written outside, nothing unwritten, the same bytes twice). The notation must read back
 * what it writes.
 *
 *   test_random [--device D] [--seed S] [--times N] [PART OF AN OP'S NAME]...      N times as many problems */
#include "tests/opcase.h"
#include "tests/pair.h"

enum { OPS = 64, ROWS = 16, CHUNK = 4, FOREIGN = 12, TUNED = 3, TRIES = 2000, LARGEST = 300 };
static const double MOST_FLOPS = 1e7, MOST_BYTES = 4e6; /* of a problem: the reference is what takes long */

static ldm_cl_options options;
static ldm_cl *cl;
static uint64_t seed = 1;
static int times = 1;
static struct reach { atomic_int runs[ROWS], refused; } * reach; /* by op; in memory both processes see */

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

static bool legal_problem(const ldm_op *op, dice *d, ldm_problem *p) {
    for (int t = 0; t < TRIES; t++) {
        ldm_slot slot[LDM_MAX_SLOTS];
        memset(slot, 0, sizeof slot);
        draw(op, p, d);
        if (op->infer(p, slot) == LDM_OK && small(p)) return true;
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
          opcase_fill_name(c->fill), *params ? "   [" : "", params, *params ? "]" : "");
}

/* Running takes seconds in all, building minutes: so few problems go through the rows of other devices, which are built
 * anew for nearly each, and every third through other parameters. */
static void run_rows(const opcase *c, int number, dice *d, const char *text) {
    const ldm_device *dev = ldm_cl_device(cl);
    int op = 0;
    while (ldm_ops[op] != c->p.op) op++;
    for (int i = 0; c->p.op->impls[i].name && i < ROWS; i++) {
        const ldm_impl *impl = &c->p.op->impls[i];
        ldm_choice choice = {.impl = impl};
        const bool foreign = impl->family == LDM_LIBRARY ||
                             (impl->family != LDM_PLAIN && (impl->family == LDM_CPU) != (dev->type == LDM_DEVICE_CPU));
        if (ldm_cannot(&c->p, dev, impl) || (foreign && number % FOREIGN)) continue;
        ldm_default_params(&c->p, impl, dev, choice.params);
        atomic_fetch_add(&reach[op].runs[i], 1);
        run_one(c, &choice, text);
        int sets = 0, params[LDM_MAX_TUNABLES];
        while (ldm_params_set(impl, sets, params)) sets++;
        for (int t = 0; t < 20 && sets > 1 && !foreign && number % TUNED == 0; t++) {
            ldm_choice other = choice;
            ldm_params_set(impl, (int)roll(d, (uint64_t)sets), other.params);
            if (!ldm_params_legal(&c->p, impl, other.params, dev) ||
                !memcmp(other.params, choice.params, sizeof other.params))
                continue;
            run_one(c, &other, text);
            break;
        }
    }
}

static void run_problem(const ldm_op *op, int op_index, int number) {
    dice d = {.stream = ldm_hash_text(op->name) + (uint64_t)number};
    char text[LDM_PROBLEM_TEXT], again[LDM_PROBLEM_TEXT];
    ldm_problem p, back;
    opcase c;
    if (!legal_problem(op, &d, &p)) {
        atomic_fetch_add(&reach[op_index].refused, 1);
        return;
    }
    ldm_problem_text(&p, text, sizeof text);
    CHECK_OK(ldm_problem_parse(text, &back));
    CHECK(!strcmp(ldm_problem_text(&back, again, sizeof again), text), "'%s' reads back as '%s'", text, again);
    ldm_status st = opcase_make(text, (ldm_fill)roll(&d, LDM_FILL_INTEGER), false, &c);
    CHECK(st == LDM_OK, "'%s': %s", text, ldm_message());
    if (!st) run_rows(&c, number, &d, text);
    opcase_free(&c);
}

/* Heavy ops have more ways to be wrong. */
static int problems_of(int op) { return times * CHUNK * (op < 3 ? 24 : 6); }

static void work(void) {
    static char names[4096][40];
    int job = 0, next = pair_next();
    if (ldm_cl_open(&options, &cl)) {
        CASE("device") CHECK(false, "%s", ldm_message());
        return;
    }
    for (int op = 0; ldm_ops[op]; op++)
        for (int first = 0; first < problems_of(op); first += CHUNK, job++) {
            if (job != next || job >= 4096) continue;
            snprintf(names[job], sizeof names[job], "%s %d-%d", ldm_ops[op]->name, first, first + CHUNK - 1);
            CASE(names[job])
            for (int i = first; i < first + CHUNK; i++) run_problem(ldm_ops[op], op, i);
            next = pair_next();
        }
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
    reach = mmap(NULL, OPS * sizeof *reach, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reach == MAP_FAILED) abort();
    pair_run(work);
    CASE("every row reached") {
        for (int op = 0; ldm_ops[op] && op < OPS && !test_only_count; op++) {
            CHECK(reach[op].refused == 0, "%s: %d times no legal problem was found", ldm_ops[op]->name,
                  reach[op].refused);
            for (int i = 0; ldm_ops[op]->impls[i].name && i < ROWS; i++) {
                printf("%-14s %-22s %4d problems\n", ldm_ops[op]->name, ldm_ops[op]->impls[i].name, reach[op].runs[i]);
                CHECK(reach[op].runs[i] > 0, "%s %s: no random problem reached it", ldm_ops[op]->name,
                      ldm_ops[op]->impls[i].name);
            }
        }
    }
    return test_end();
}
