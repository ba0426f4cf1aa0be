/* tuned.c -- see tuned.h: reading, writing and asking the tuning database. The search that fills it is tune.c. */
#include "ops/tuned.h"
#include "ops/trial.h"
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char first_line[] = "ldm-tuned 1";
static const double NEAR = 0.69; /* less than a factor of two in one size, or of less in several: twice the pixels want another cut */
enum { MOST_BYTES = 16 << 20, NOTES = 3, VERDICT_VERSION = 1 };
enum { F_IMPL, F_PROBLEM, F_PARAMS, F_US, F_USUAL, F_ERROR, F_TRIED, F_DRIVER, F_COMMIT, F_DATE, FIELDS };

struct ldm_tuned {
    ldm_cl *cl;
    ldm_tuned_list own, class;
    int noted;
};

/* ---- devices ------------------------------------------------------------------------------------------------------ */

static void device_line(const ldm_device *d, char *buf, size_t cap) {
    snprintf(buf, cap, "device: %s, %d units", d->name, d->units);
}

static void class_line(const ldm_device *d, char *buf, size_t cap) {
    static const char *const type[] = {"cpu", "gpu", "other"};
    snprintf(buf, cap, "class: %s, %s, float vectors of %d", d->vendor, type[d->type], d->vector_float);
}

ldm_status ldm_tuned_path(const ldm_device *d, char *buf, size_t cap) {
    char dir[4096], name[96];
    size_t n = 0;
    ldm_status st = ldm_data_dir(dir, sizeof dir);
    if (st) return st;
    for (const char *s = d->name; *s && n < sizeof name - 1; s++) {
        if (isalnum((unsigned char)*s)) name[n++] = (char)tolower((unsigned char)*s);
        else if (n && name[n - 1] != '-') name[n++] = '-';
    }
    while (n && name[n - 1] == '-') n--;
    name[n] = 0;
    snprintf(buf, cap, "%s/tuned/%s-%dx%d.txt", dir, name, d->units, d->vector_float);
    return LDM_OK;
}

/* ---- lines -------------------------------------------------------------------------------------------------------- */

void ldm_tuned_list_free(ldm_tuned_list *list) {
    free(list->entry);
    *list = (ldm_tuned_list){0};
}

static ldm_status add(ldm_tuned_list *list, const ldm_tuned_entry *e) {
    if (list->count == list->room) {
        const int room = list->room * 2 + 64;
        ldm_tuned_entry *grown = realloc(list->entry, (size_t)room * sizeof *grown);
        if (!grown) return ldm_fail(LDM_ERR_NOMEM, "tuned entries: host memory for %d could not be allocated", room);
        list->entry = grown, list->room = room;
    }
    list->entry[list->count++] = *e;
    return LDM_OK;
}

static char *trimmed(char *s) {
    s += strspn(s, " \t\r");
    for (size_t n = strlen(s); n && strchr(" \t\r", s[n - 1]); n--) s[n - 1] = 0;
    return s;
}

static ldm_status number(const char *text, const char *what, double *out) {
    char *end;
    const double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0) || v > 1e15)
        return ldm_fail(LDM_ERR_FORMAT, "%s is '%.40s', wanted a number", what, text);
    return *out = v, LDM_OK;
}

ldm_status ldm_tuned_parse(const char *line, const ldm_device *d, ldm_tuned_entry *out) {
    char text[1024], *field[FIELDS], *s = text, end;
    ldm_tuned_entry e = {.trust = 0};
    int n = 0;
    ldm_status st = LDM_OK;
    if ((size_t)snprintf(text, sizeof text, "%s", line) >= sizeof text)
        return ldm_fail(LDM_ERR_FORMAT, "%zu bytes, wanted at most %zu", strlen(line), sizeof text - 1);
    for (bool more = true; more; n++) {
        char *bar = strchr(s, '|');
        more = bar != NULL;
        if (bar) *bar = 0;
        if (n < FIELDS) field[n] = trimmed(s);
        if (bar) s = bar + 1;
    }
    if (n != FIELDS) return ldm_fail(LDM_ERR_FORMAT, "%d fields between '|', wanted %d", n, FIELDS);
    if ((st = ldm_problem_parse(field[F_PROBLEM], &e.problem))) return st;
    const ldm_impl *i = e.problem.op->impls;
    while (i->name && strcmp(i->name, field[F_IMPL])) i++;
    if (!i->name) return ldm_fail(LDM_ERR_FORMAT, "%s has no implementation '%.60s'", e.problem.op->name, field[F_IMPL]);
    if (i->family == LDM_LIBRARY) return ldm_fail(LDM_ERR_FORMAT, "%s is a library's, which runs only when named", i->name);
    const char *cannot = ldm_cannot(&e.problem, d, i);
    if (cannot) return ldm_fail(LDM_ERR_FORMAT, "%s cannot run it here: %s", i->name, cannot);
    e.choice.impl = i;
    if ((st = ldm_params_parse(&e.problem, i, d, field[F_PARAMS], e.choice.params))) return st;
    if ((st = number(field[F_US], "the time", &e.us))) return st;
    if ((st = number(field[F_USUAL], "the default's time", &e.usual_us))) return st;
    if ((st = number(field[F_ERROR], "the error", &e.error))) return st;
    if (sscanf(field[F_TRIED], "%d/%d%c", &e.tried, &e.legal, &end) != 2 || e.tried < 1 || e.legal < e.tried)
        return ldm_fail(LDM_ERR_FORMAT, "sets tried are '%.40s', wanted like 5/12", field[F_TRIED]);
    for (int f = F_DRIVER; f <= F_DATE; f++)
        if (!*field[f]) return ldm_fail(LDM_ERR_FORMAT, "driver, commit or date is missing");
    snprintf(e.driver, sizeof e.driver, "%s", field[F_DRIVER]);
    snprintf(e.commit, sizeof e.commit, "%s", field[F_COMMIT]);
    snprintf(e.date, sizeof e.date, "%s", field[F_DATE]);
    e.trust = !strcmp(e.driver, d->driver);
    *out = e;
    return LDM_OK;
}

/* '|' and control characters would cut a line in two. */
static const char *harmless(const char *text, char *buf, size_t cap) {
    snprintf(buf, cap, "%s", text);
    for (char *s = buf; *s; s++)
        if (*s == '|' || iscntrl((unsigned char)*s)) *s = ' ';
    return buf;
}

ldm_status ldm_tuned_append(const char *path, const ldm_tuned_entry *e) {
    ldm_text line = {0};
    char problem[LDM_PROBLEM_TEXT], params[200], driver[64];
    ldm_text_add(&line, "%s | %s | %s | %.1f | %.1f | %.3f | %d/%d | %s | %s | %s", e->choice.impl->name,
                 ldm_problem_text(&e->problem, problem, sizeof problem),
                 ldm_choice_params(&e->choice, params, sizeof params), e->us, e->usual_us, e->error, e->tried, e->legal,
                 harmless(e->driver, driver, sizeof driver), e->commit, e->date);
    ldm_status st = line.s ? ldm_append_line(path, line.s)
                           : ldm_fail(LDM_ERR_NOMEM, "%s: host memory for a line could not be allocated", path);
    ldm_text_free(&line);
    return st;
}

ldm_tuned_entry *ldm_tuned_last(const ldm_tuned_list *list, const ldm_problem *p) {
    for (int i = list->count - 1; i >= 0; i--)
        if (ldm_problem_same(&list->entry[i].problem, p)) return &list->entry[i];
    return NULL;
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

/* The next line of *rest, cut off; NULL at the end. */
static char *next_line(char **rest, int *number_of) {
    char *line = *rest;
    if (!line || !*line) return NULL;
    char *end = strchr(line, '\n');
    *rest = end ? end + 1 : NULL;
    if (end) *end = 0;
    ++*number_of;
    return trimmed(line);
}

ldm_status ldm_tuned_read(const char *path, const ldm_device *d, ldm_tuned_kin kin_least, ldm_tuned_list *list,
                          ldm_tuned_kin *kin) {
    ldm_status st = LDM_OK;
    char *text = NULL, *rest, *line, device[300], class[200];
    size_t size;
    int at = 0, bad = 0;
    ldm_tuned_kin own = LDM_TUNED_OTHER;
    device_line(d, device, sizeof device);
    class_line(d, class, sizeof class);
    TRY(ldm_read_file(path, MOST_BYTES, &text, &size));
    for (size_t i = 0; i < size; i++)
        if (!text[i]) text[i] = '?'; /* no line of ours has one */
    rest = text;
    line = next_line(&rest, &at);
    if (!line || strcmp(line, first_line))
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: the first line is '%.40s', wanted '%s'", path, line ? line : "", first_line));
    line = next_line(&rest, &at);
    const bool same = line && !strcmp(line, device);
    if (!line || strncmp(line, "device: ", 8))
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s:%d: '%.40s', wanted 'device: ...'", path, at, line ? line : ""));
    line = next_line(&rest, &at);
    if (!line || strncmp(line, "class: ", 7))
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s:%d: '%.40s', wanted 'class: ...'", path, at, line ? line : ""));
    if (!strcmp(line, class)) own = same ? LDM_TUNED_OWN : LDM_TUNED_CLASS;
    if (kin) *kin = own;
    if (own < kin_least) goto done;
    while ((line = next_line(&rest, &at))) {
        ldm_tuned_entry e;
        line[strcspn(line, "#")] = 0;
        if (!*trimmed(line)) continue;
        if (!ldm_tuned_parse(line, d, &e)) TRY(add(list, &e));
        else if (bad++ < NOTES) ldm_note("%s:%d: %s; the line is ignored", path, at, ldm_message());
    }
    if (bad > NOTES) ldm_note("%s: %d more lines are ignored", path, bad - NOTES);
    list->malformed += bad;
done:
    free(text);
    return st;
}

ldm_status ldm_tuned_prepare(const char *path, const ldm_device *d) {
    char dir[4200], device[300], class[200];
    ldm_text head = {0};
    if (access(path, F_OK) == 0) {
        if (access(path, R_OK | W_OK) == 0) return LDM_OK;
        return ldm_fail(LDM_ERR_IO, "%s: cannot be read and written", path);
    }
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    ldm_status st = ldm_make_dirs(dir);
    if (st) return st;
    device_line(d, device, sizeof device);
    class_line(d, class, sizeof class);
    ldm_text_add(&head,
                 "%s\n%s\n%s\n# implementation | problem | parameters | us | default's us | error/bound | tried/legal | "
                 "driver | commit | date\n",
                 first_line, device, class);
    st = head.s ? ldm_write_file(path, head.s, head.len)
                : ldm_fail(LDM_ERR_NOMEM, "%s: host memory could not be allocated", path);
    ldm_text_free(&head);
    return st;
}

/* Every .txt of a folder; later entries win, so the curated folder is read before the user's. */
static ldm_status read_folder(const char *dir, const ldm_device *d, struct ldm_tuned *t) {
    struct dirent **name = NULL;
    ldm_status st = LDM_OK;
    const int n = scandir(dir, &name, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const size_t len = strlen(name[i]->d_name);
        char path[4500];
        ldm_tuned_kin kin = LDM_TUNED_OTHER;
        ldm_tuned_list found = {0};
        snprintf(path, sizeof path, "%s/%s", dir, name[i]->d_name);
        free(name[i]);
        if (st || len < 5 || strcmp(path + strlen(path) - 4, ".txt")) continue;
        if (ldm_tuned_read(path, d, LDM_TUNED_CLASS, &found, &kin)) ldm_note("%s", ldm_message());
        for (int k = 0; k < found.count && !st; k++) {
            if (kin != LDM_TUNED_OWN) found.entry[k].trust = 0; /* not shown on this device, whatever its driver */
            st = add(kin == LDM_TUNED_OWN ? &t->own : &t->class, &found.entry[k]);
        }
        ldm_tuned_list_free(&found);
    }
    free(name);
    return st;
}

static void destroy(struct ldm_tuned *t) {
    if (!t) return;
    ldm_tuned_list_free(&t->own);
    ldm_tuned_list_free(&t->class);
    free(t);
}

ldm_status ldm_tuned_load(ldm_cl *cl) {
    ldm_status st = LDM_OK;
    struct ldm_tuned *t = NULL;
    const ldm_device *d = ldm_cl_device(cl);
    char data[4096], dir[4200];
    TRY(ldm_alloc(sizeof *t, (void **)&t));
    t->cl = cl;
    snprintf(dir, sizeof dir, "%s/tuned", ldm_kernel_dir());
    TRY(read_folder(dir, d, t));
    if (!ldm_data_dir(data, sizeof data)) {
        snprintf(dir, sizeof dir, "%s/tuned", data);
        TRY(read_folder(dir, d, t));
    }
    if (t->own.count + t->class.count) ldm_cl_attach_tuned(cl, t, destroy), t = NULL;
done:
    destroy(t);
    return st;
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

ldm_status ldm_tuned_check(ldm_cl *cl, const ldm_tuned_entry *e, double *error) {
    ldm_trial *t = NULL;
    ldm_oprun *run = NULL;
    ldm_status st = ldm_trial_create(&e->problem, &t);
    if (!st) st = ldm_trial_run(t, cl, &e->choice, &run, error);
    ldm_oprun_destroy(run);
    ldm_trial_destroy(t);
    return st;
}

/* The verdict on an entry of another driver or device: from the cache folder, else found now and kept there. */
static bool trusted(ldm_cl *cl, ldm_tuned_entry *e) {
    const ldm_device *d = ldm_cl_device(cl);
    struct ldm_tuned *t = d->tuned;
    char text[LDM_PROBLEM_TEXT], params[200], dir[4200], path[4300], *kept = NULL;
    size_t n;
    if (e->trust) return e->trust > 0;
    uint64_t key = ldm_hash_text(ldm_problem_text(&e->problem, text, sizeof text));
    const char *const parts[] = {e->choice.impl->name, ldm_choice_params(&e->choice, params, sizeof params), d->name,
                                 d->driver, d->version};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) key = ldm_hash_bytes(key, parts[i], strlen(parts[i]) + 1);
    snprintf(dir, sizeof dir, "%s/tuned-%d", ldm_cache_dir(), VERDICT_VERSION);
    snprintf(path, sizeof path, "%s/%016llx", dir, (unsigned long long)key);
    if (access(path, R_OK) == 0 && ldm_read_file(path, 64, &kept, &n) == LDM_OK) {
        e->trust = !strcmp(kept, "passed\n") ? 1 : !strcmp(kept, "failed\n") ? -1 : 0;
        free(kept);
        if (e->trust) return e->trust > 0;
    }
    if (t && !t->noted++) ldm_note("checking what was tuned for another driver or device, once");
    const ldm_status st = ldm_tuned_check(cl, e, NULL);
    e->trust = st ? -1 : 1;
    if (st) ldm_note("tuned with driver %s, not used on %s with %s: %s %s: %s", e->driver, d->name, d->driver, e->choice.impl->name, text,
                     ldm_message());
    /* only a verdict is kept, not an accident such as too little memory; not remembering is no failure */
    if ((!st || st == LDM_ERR_MISMATCH || st == LDM_ERR_BUILD) && ldm_make_dirs(dir) == LDM_OK)
        ldm_write_file(path, st ? "failed\n" : "passed\n", 7);
    return e->trust > 0;
}

/* Whether e's choice may be p's: what the user rules out never, nor packed weights where memory counts; for another problem than its own only if the automatic
 * choice could have come to it. */
static bool usable(const ldm_tuned_entry *e, const ldm_problem *p, const ldm_device *d, bool same) {
    const ldm_impl *i = e->choice.impl;
    if (ldm_ruled_out(d, i) || (d->low_memory && i->pack)) return false;
    if (same) return true;
    return !ldm_cannot(p, d, i) && ldm_params_legal(p, i, e->choice.params, d) &&
           !(i->prefers && i->prefers(p, e->choice.params, d));
}

static ldm_tuned_entry *find(ldm_cl *cl, const ldm_tuned_list *list, const ldm_problem *p, bool *same) {
    const ldm_device *d = ldm_cl_device(cl);
    ldm_tuned_entry *e = ldm_tuned_last(list, p);
    if (e && usable(e, p, d, true) && trusted(cl, e)) return *same = true, e;
    *same = false;
    for (double beyond = -1;;) { /* by distance; of equally near ones the last */
        ldm_tuned_entry *best = NULL;
        double least = NEAR;
        for (int i = 0; i < list->count; i++) {
            const double at = ldm_problem_distance(p, &list->entry[i].problem);
            if (at > beyond && at <= least && !ldm_problem_same(p, &list->entry[i].problem) &&
                usable(&list->entry[i], p, d, false))
                best = &list->entry[i], least = at;
        }
        if (!best) return NULL;
        if (trusted(cl, best)) return best->us < best->usual_us ? best : NULL; /* where the default won, here its own will */
        beyond = least;
    }
}

ldm_tuned_source ldm_tuned_find(const ldm_problem *p, const ldm_device *d, ldm_choice *out) {
    struct ldm_tuned *t = d->tuned;
    if (d->low_memory) return LDM_TUNED_NONE; /* what is fastest is not what is asked for */
    for (int class = 0; t && class < 2; class++) {
        bool same;
        const ldm_tuned_entry *e = find(t->cl, class ? &t->class : &t->own, p, &same);
        if (!e) continue;
        *out = e->choice;
        return same ? (class ? LDM_TUNED_CLASS_SAME : LDM_TUNED_SAME) : class ? LDM_TUNED_CLASS_NEAR : LDM_TUNED_NEAR;
    }
    return LDM_TUNED_NONE;
}

const char *ldm_tuned_source_name(ldm_tuned_source s) {
    static const char *const name[] = {"not tuned", "tuned for this problem", "tuned for a problem near it",
                                       "tuned for this problem on a device of its class",
                                       "tuned for a problem near it on a device of its class"};
    return name[s];
}
