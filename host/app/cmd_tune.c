/* cmd_tune.c -- `ldm tune`: searches the fastest row and parameters of each distinct problem of a network, and shows, checks
 * and compares databases. The search is ops/tune.c, the database ops/tuned.c. */
#include "app/network.h"
#include "app/record.h"
#include "ops/tune.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct work {
    ldm_problem p;
    int count;     /* how often the network runs it */
    double weight; /* seconds, roughly */
} work;

typedef struct works {
    work *list;
    int count, room;
} works;

/* ---- which problems ----------------------------------------------------------------------------------------------- */

static ldm_status add(works *w, const char *text, int count) {
    ldm_problem p;
    ldm_status st = ldm_problem_parse(text, &p);
    if (st) return ldm_prefix(st, "'%s'", text);
    for (int i = 0; i < w->count; i++)
        if (ldm_problem_same(&w->list[i].p, &p)) return w->list[i].count += count, LDM_OK;
    if (w->count == w->room) {
        work *grown = realloc(w->list, (size_t)(w->room * 2 + 64) * sizeof *grown);
        if (!grown) return ldm_fail(LDM_ERR_NOMEM, "problems: host memory is out");
        w->list = grown, w->room = w->room * 2 + 64;
    }
    const ldm_cost cost = p.op->cost(&p);
    w->list[w->count++] = (work){p, count, count * (cost.flops * 1e-11 + cost.bytes * 5e-11)};
    return LDM_OK;
}

/* Lines of "PROBLEM" or "COUNT x PROBLEM", as `ldm plan --shapes` prints them; changes `text`. */
static ldm_status add_lines(works *w, char *text) {
    ldm_status st = LDM_OK;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line && !st; line = strtok_r(NULL, "\n", &rest)) {
        int count = 1, used = 0;
        line[strcspn(line, "#\r")] = 0;
        line += strspn(line, " \t");
        for (size_t n = strlen(line); n && strchr(" \t", line[n - 1]); n--) line[n - 1] = 0;
        if (sscanf(line, "%d x %n", &count, &used) == 1 && used) line += used;
        if (*line) st = add(w, line, count);
    }
    return st;
}

static ldm_status add_network(works *w, const app_network_options *o, const ldm_device *d) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    ldm_text shapes = {0};
    TRY(app_network_plan(o, &net));
    TRY(app_network_finish(&net, d));
    ldm_plan_shapes(net.plan, &shapes);
    if (!shapes.s) TRY(ldm_fail(LDM_ERR_NOMEM, "shapes: host memory is out"));
    TRY(add_lines(w, shapes.s));
done:
    ldm_text_free(&shapes);
    app_network_close(&net);
    return st;
}

static int by_weight(const void *a, const void *b) {
    const double x = ((const work *)a)->weight, y = ((const work *)b)->weight;
    if (x != y) return x < y ? 1 : -1;
    char s[LDM_PROBLEM_TEXT], t[LDM_PROBLEM_TEXT];
    return strcmp(ldm_problem_text(&((const work *)a)->p, s, sizeof s),
                  ldm_problem_text(&((const work *)b)->p, t, sizeof t));
}

/* ---- tuning ------------------------------------------------------------------------------------------------------- */

typedef struct session {
    ldm_cl *cl;
    const char *path;    /* of the database */
    ldm_tuned_list had;  /* what it holds already */
    double budget;       /* seconds, 0: any */
    int full, redo;
    ldm_progress bar;
    int at; /* the problem at hand */
} session;

/* "120s", "10m", "1h", "90" */
static ldm_status parse_seconds(const char *text, double *out) {
    char *end;
    double v = strtod(text, &end);
    if (end != text && *end == 'm') v *= 60, end++;
    else if (end != text && *end == 'h') v *= 3600, end++;
    else if (end != text && *end == 's') end++;
    if (end == text || *end || !(v > 0) || v > 1e7)
        return ldm_fail(LDM_ERR_ARG, "--budget: '%s' is not a time such as 120s or 10m", text);
    *out = v;
    return LDM_OK;
}

static void each(void *user, const ldm_choice *c, int at, int count) {
    session *s = user;
    ldm_progress_to(&s->bar, s->at + (double)at / count);
}

/* Nothing to choose from: not a problem for the tuner. */
static ldm_status only_free(works *w, const ldm_device *d, bool full) {
    int kept = 0;
    for (int i = 0; i < w->count; i++) {
        ldm_choice *list = NULL;
        int count = 0;
        ldm_status st = ldm_tune_candidates(&w->list[i].p, d, full, &list, &count);
        free(list);
        if (st) return st;
        if (count > 1) w->list[kept++] = w->list[i];
    }
    w->count = kept;
    return LDM_OK;
}

static bool done_before(const session *s, const ldm_problem *p) {
    const ldm_tuned_entry *e = ldm_tuned_last(&s->had, p);
    return !s->redo && e && e->trust > 0 && (!s->full || e->tried == e->legal);
}

static void print_entry(const ldm_tuned_entry *e) {
    char text[LDM_PROBLEM_TEXT], params[200];
    printf("%-96s %-16s %-24s %9.1f %9.1f %6.2f\n", ldm_problem_text(&e->problem, text, sizeof text), e->choice.impl->name,
           ldm_choice_params(&e->choice, params, sizeof params), e->usual_us, e->us, e->usual_us > 0 ? e->usual_us / e->us : 1);
}

static void print_head(void) {
    printf("%-96s %-16s %-24s %9s %9s %6s\n", "problem", "implementation", "parameters", "default", "tuned us", "gain");
}

/* The sum over a network's problems of count x time, by the entries there are. */
static void print_sum(const works *w, const ldm_tuned_list *list) {
    double usual = 0, tuned = 0;
    int n = 0;
    for (int i = 0; i < w->count; i++) {
        const ldm_tuned_entry *e = ldm_tuned_last(list, &w->list[i].p);
        if (!e || e->usual_us <= 0) continue;
        usual += w->list[i].count * e->usual_us, tuned += w->list[i].count * e->us, n++;
    }
    if (n)
        printf("%d of %d problems, each as often as it runs: defaults %.2f ms, tuned %.2f ms; defaults reach %.1f %% of the "
               "tuned speed\n",
               n, w->count, usual * 1e-3, tuned * 1e-3, 100 * tuned / usual);
}

static ldm_status tune(session *s, works *w) {
    ldm_status st = LDM_OK;
    const double start = ldm_now();
    const ldm_device *d = ldm_cl_device(s->cl);
    double weights = 0;
    int left = 0, tuned = 0, tried = 0, wrong = 0;
    const ldm_tune_options base = {.full = s->full, .each = each, .user = s};
    TRY(only_free(w, d, s->full));
    qsort(w->list, (size_t)w->count, sizeof *w->list, by_weight);
    for (int i = 0; i < w->count; i++)
        if (!done_before(s, &w->list[i].p)) weights += w->list[i].weight, left++;
    ldm_note("%d problems with a choice, %d of them done before; results go to %s", w->count, w->count - left, s->path);
    if (left) print_head();
    ldm_progress_begin(&s->bar, "tuning", "problems", left);
    for (int i = 0; i < w->count && !st; i++) {
        ldm_tuned_entry e;
        ldm_tune_options o = base;
        if (done_before(s, &w->list[i].p)) continue;
        const double rest = s->budget - (ldm_now() - start);
        if (s->budget > 0 && !s->full) {
            if (rest <= 0) break;
            /* half of what is left is shared by importance, half evenly */
            o.budget = rest * (0.5 * w->list[i].weight / weights + 0.5 / left);
        }
        st = ldm_tune_problem(s->cl, &w->list[i].p, &o, &e);
        weights -= w->list[i].weight, left--, s->at++;
        if (weights < 1e-12) weights = 1e-12;
        ldm_progress_end(&s->bar);
        if (st == LDM_ERR_MISMATCH) {
            printf("%s\n", ldm_message());
            wrong++, st = LDM_OK;
            continue;
        }
        if (st) break;
        const time_t now = time(NULL);
        struct tm t;
        snprintf(e.commit, sizeof e.commit, "%s", ldm_commit());
        strftime(e.date, sizeof e.date, "%Y-%m-%d", gmtime_r(&now, &t));
        TRY(ldm_tuned_append(s->path, &e));
        print_entry(&e);
        tuned++, tried += e.tried;
        ldm_progress_to(&s->bar, s->at);
    }
    ldm_progress_end(&s->bar);
    if (st == LDM_ERR_INTERRUPTED) ldm_prefix(st, "%d problems tuned, %d left for the same command again", tuned, left + 1);
    TRY(st);
    ldm_tuned_list_free(&s->had);
    TRY(ldm_tuned_read(s->path, d, LDM_TUNED_OWN, &s->had, NULL));
    printf("%d problems tuned, %d candidates, %.1f s\n", tuned, tried, ldm_now() - start);
    print_sum(w, &s->had);
    if (left) printf("the budget is used up: %d problems are left for the same command again\n", left);
    if (wrong)
        st = ldm_fail(LDM_ERR_MISMATCH, "%d problems: every choice tried computes them wrongly on %s", wrong, d->name);
done:
    return st;
}

/* ---- looking at databases ----------------------------------------------------------------------------------------- */

static bool is_last(const ldm_tuned_list *list, int i) {
    return ldm_tuned_last(list, &list->entry[i].problem) == &list->entry[i];
}

/* All last entries, or those of the works named. */
static void show(const ldm_tuned_list *list, const works *w) {
    print_head();
    for (int i = 0; i < list->count; i++) {
        bool wanted = !w->count;
        for (int k = 0; k < w->count && !wanted; k++) wanted = ldm_problem_same(&w->list[k].p, &list->entry[i].problem);
        if (wanted && is_last(list, i)) print_entry(&list->entry[i]);
    }
    if (w->count) print_sum(w, list);
}

static ldm_status verify(ldm_cl *cl, const ldm_tuned_list *list) {
    ldm_status st = LDM_OK;
    ldm_progress bar;
    int good = 0, bad = 0;
    ldm_progress_begin(&bar, "verifying", "entries", list->count);
    for (int i = 0; i < list->count && !st; i++) {
        const ldm_tuned_entry *e = &list->entry[i];
        char text[LDM_PROBLEM_TEXT], params[200];
        double error;
        ldm_progress_to(&bar, i);
        if ((st = ldm_check_interrupt()) || !is_last(list, i)) continue;
        if (!ldm_tuned_check(cl, e, &error)) good++;
        else {
            ldm_progress_end(&bar);
            bad++;
            printf("fails: %s with %s %s: %s\n", ldm_problem_text(&e->problem, text, sizeof text), e->choice.impl->name,
                   ldm_choice_params(&e->choice, params, sizeof params), ldm_message());
        }
    }
    ldm_progress_end(&bar);
    if (st) return st;
    printf("%d entries verified on %s, %d outside their bound\n", good + bad, ldm_cl_device(cl)->name, bad);
    return bad ? ldm_fail(LDM_ERR_MISMATCH, "%d of %d tuned entries fail", bad, good + bad) : LDM_OK;
}

static bool same_choice(const ldm_choice *a, const ldm_choice *b) {
    return a->impl == b->impl && !memcmp(a->params, b->params, sizeof a->params);
}

static void print_diff(const char *what, const ldm_tuned_entry *e) {
    char text[LDM_PROBLEM_TEXT], params[200];
    printf("%s %s: %s %s, %.1f us\n", what, ldm_problem_text(&e->problem, text, sizeof text), e->choice.impl->name,
           ldm_choice_params(&e->choice, params, sizeof params), e->us);
}

static void diff(const ldm_tuned_list *a, const ldm_tuned_list *b) {
    int only_a = 0, only_b = 0, other = 0, same = 0;
    double ratio = 0;
    for (int i = 0; i < a->count; i++) {
        if (!is_last(a, i)) continue;
        const ldm_tuned_entry *x = &a->entry[i], *y = ldm_tuned_last(b, &x->problem);
        if (!y) print_diff("<", x), only_a++;
        else {
            if (same_choice(&x->choice, &y->choice)) same++;
            else print_diff("<", x), print_diff(">", y), other++;
            ratio += log(x->us / y->us);
        }
    }
    for (int i = 0; i < b->count; i++)
        if (is_last(b, i) && !ldm_tuned_last(a, &b->entry[i].problem)) print_diff(">", &b->entry[i]), only_b++;
    printf("%d problems with the same choice, %d with another, %d only in the first, %d only in the second", same, other,
           only_a, only_b);
    if (same + other) printf("; the second is %.3f times as fast (geometric mean)", exp(ratio / (same + other)));
    printf("\n");
}

/* What applies on d: the user's file over the curated one, or the named file alone. */
static ldm_status read_database(const char *file, const ldm_device *d, ldm_tuned_list *list) {
    char path[4300], curated[4300];
    ldm_status st = LDM_OK;
    if (file) return ldm_tuned_read(file, d, LDM_TUNED_OTHER, list, NULL);
    TRY(ldm_tuned_path(d, path, sizeof path));
    snprintf(curated, sizeof curated, "%s/tuned/%s", ldm_kernel_dir(), strrchr(path, '/') + 1);
    const bool shipped = !access(curated, F_OK), own = !access(path, F_OK);
    if (!shipped && !own) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: not there; `ldm tune NET` makes it", path));
    if (shipped) TRY(ldm_tuned_read(curated, d, LDM_TUNED_OWN, list, NULL));
    if (own) TRY(ldm_tuned_read(path, d, LDM_TUNED_OWN, list, NULL));
done:
    return st;
}

APP_COMMAND(tune) {
    char *config = NULL, *shapes = NULL, *budget = NULL, *file = NULL, *other = NULL, *text = NULL, path[4300];
    int ops = 0, batch = 1, height = 0, width = 0, tokens = 0, full = 0, redo = 0, do_verify = 0, do_show = 0;
    struct poptOption table[] = {
        {"ops", 0, POPT_ARG_NONE, &ops, 0, "every op's test cases instead of a network", NULL},
        {"shapes", 0, POPT_ARG_STRING, &shapes, 0, "the problems of a file, one a line, as in bench/shapes", "FILE"},
        {"budget", 0, POPT_ARG_STRING, &budget, 0, "time to take, e.g. 120s or 10m; the same command again goes on (10m)",
         "TIME"},
        {"full", 0, POPT_ARG_NONE, &full, 0, "every parameter set of every implementation, whatever time it takes", NULL},
        {"redo", 0, POPT_ARG_NONE, &redo, 0, "also what was tuned before with this driver", NULL},
        {"file", 0, POPT_ARG_STRING, &file, 0, "the database (else tuned/<device>.txt in the user's data folder)", "FILE"},
        {"verify", 0, POPT_ARG_NONE, &do_verify, 0, "run every entry for this device again against the reference", NULL},
        {"show", 0, POPT_ARG_NONE, &do_show, 0, "print the entries: default's time, tuned time, gain", NULL},
        {"diff", 0, POPT_ARG_STRING, &other, 0, "compare with another database", "OTHER"},
        {"config", 0, POPT_ARG_STRING, &config, 0, "configuration by name, or key=value text", "NAME"},
        {"batch", 'b', POPT_ARG_INT, &batch, 0, "batch size", "N"},
        {"height", 'H', POPT_ARG_INT, &height, 0, "of the network's own input (default: native)", "N"},
        {"width", 'W', POPT_ARG_INT, &width, 0, "likewise", "N"},
        {"tokens", 0, POPT_ARG_INT, &tokens, 0, "context tokens", "N"},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    works w = {0};
    session s = {0};
    ldm_tuned_list list = {0}, second = {0};
    size_t size;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 1, &words, &ctx));
    const char *net = words ? words[0] : NULL;
    const bool look = do_verify || do_show || other;
    if (do_verify + do_show + !!other > 1) TRY(ldm_fail(LDM_ERR_ARG, "one of --verify, --show and --diff at a time"));
    if ((do_verify || other) && (net || ops || shapes))
        TRY(ldm_fail(LDM_ERR_ARG, "--verify and --diff take all entries; only --show takes a network or a list of problems"));
    if (!!net + ops + !!shapes + (look && !net && !ops && !shapes) != 1)
        TRY(ldm_fail(LDM_ERR_ARG, "tune what? name a network, or give --ops or --shapes FILE (one of them)"));
    app_network_options o = {.net = net, .config = config, .n = batch, .h = height, .w = width, .tokens = tokens};
    TRY(app_storage(&o.dtype, &o.wdtype));
    TRY(parse_seconds(budget ? budget : "10m", &s.budget));
    if (app_device.exact || app_device.low_memory)
        TRY(ldm_fail(LDM_ERR_ARG, "--%s: the database serves runs without it, and gives way where it is asked for",
                     app_device.exact ? "exact" : "low-memory"));
    app_device.no_tuned = true; /* what is looked for is looked for without what was found before */
    TRY(look ? app_open_untested(&s.cl) : app_open_device(&s.cl));
    const ldm_device *d = ldm_cl_device(s.cl);
    if (net) TRY(add_network(&w, &o, d));
    if (shapes) {
        TRY(ldm_read_file(shapes, 1 << 24, &text, &size));
        TRY(ldm_prefix(add_lines(&w, text), "%s", shapes));
    }
    for (int i = 0; ops && ldm_ops[i]; i++)
        for (int k = 0; ldm_ops[i]->cases[k]; k++) TRY(add(&w, ldm_ops[i]->cases[k], 1));
    if (look) {
        TRY(read_database(file, d, &list));
        if (do_verify) TRY(verify(s.cl, &list));
        if (do_show) show(&list, &w);
        if (other) {
            TRY(ldm_tuned_read(other, d, LDM_TUNED_OTHER, &second, NULL));
            diff(&list, &second);
        }
        goto done;
    }
    if (file) snprintf(path, sizeof path, "%s", file);
    else TRY(ldm_tuned_path(d, path, sizeof path));
    TRY(ldm_tuned_prepare(path, d));
    s.path = path, s.full = full, s.redo = redo;
    ldm_tuned_kin kin;
    TRY(ldm_tuned_read(path, d, LDM_TUNED_OWN, &s.had, &kin));
    if (kin != LDM_TUNED_OWN) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: the database of another device than %s", path, d->name));
    TRY(tune(&s, &w));
done:
    ldm_tuned_list_free(&s.had);
    ldm_tuned_list_free(&list);
    ldm_tuned_list_free(&second);
    ldm_cl_close(s.cl);
    free(w.list), free(text);
    free(config), free(shapes), free(budget), free(file), free(other);
    poptFreeContext(ctx);
    return st;
}
