/* floor.c -- see floor.h. */
#include "bench/floor.h"
#include "app/record.h"
#include <stdlib.h>
#include <string.h>

enum { KINDS = 48 };

typedef struct step {
    const ldm_step_info *info;
    const ldm_choice *choice;
    const ldm_impl *best; /* the row whose floor is lowest */
    ldm_cost plain, cost; /* of the plain algorithm, of `best` */
    double floor, seconds;
    int launches;
} step;

typedef struct kind {
    char name[32];
    int steps, launches;
    double flops, bytes, floor, seconds; /* flops and bytes of the plain algorithm */
} kind;

static void kind_name(const ldm_problem *p, char *buf, size_t cap) {
    int r = ldm_op_dim_index(p->op, "r"), s = ldm_op_dim_index(p->op, "s");
    if (r < 0 || s < 0) snprintf(buf, cap, "%s", p->op->name);
    else snprintf(buf, cap, "%s %lldx%lld", p->op->name, (long long)p->dim[r], (long long)p->dim[s]);
}

/* What is known of each step before anything runs. */
static ldm_status look(const bench_net *b, step *steps) {
    ldm_status st = LDM_OK;
    ldm_recipe *recipe = NULL;
    const ldm_device *d = ldm_cl_device(b->cl);
    TRY(ldm_alloc(sizeof *recipe, (void **)&recipe));
    for (int i = 0; i < b->net.plan->steps; i++) {
        const ldm_problem *p = &b->net.plan->step[i].problem;
        step *s = &steps[i];
        *s = (step){.info = &b->net.plan->step[i], .choice = ldm_exec_choice(b->exec, i), .plain = p->op->cost(p)};
        *recipe = (ldm_recipe){0};
        TRY(s->choice->impl->record(p, s->choice->params, d, recipe));
        s->launches = recipe->count;
    }
done:
    free(recipe);
    return st;
}

static void set_floors(const bench_net *b, const ldm_peak *peak, step *steps) {
    for (int i = 0; i < b->net.plan->steps; i++)
        steps[i].floor = ldm_peak_floor(peak, &steps[i].info->problem, ldm_cl_device(b->cl), &steps[i].best, &steps[i].cost);
}

/* Medians over the runs: of each step's device time, of the wall clock, and of what the wall clock has beyond the
 * kernels. */
static ldm_status measure(bench_net *b, int repeats, step *steps, double *wall, double *beyond) {
    ldm_status st = LDM_OK;
    const int n = b->net.plan->steps;
    double *times = NULL, *walls = NULL, *rest = NULL;
    ldm_progress bar;
    TRY(ldm_alloc((size_t)(n * repeats) * sizeof *times, (void **)&times));
    TRY(ldm_alloc((size_t)repeats * sizeof *walls, (void **)&walls));
    TRY(ldm_alloc((size_t)repeats * sizeof *rest, (void **)&rest));
    TRY(bench_net_run(b, NULL)); /* a driver may still compile here */
    ldm_progress_begin(&bar, "running the network", "runs", repeats);
    for (int r = 0; r < repeats && !st; r++) {
        st = bench_net_run(b, &walls[r]);
        rest[r] = walls[r];
        for (int i = 0; i < n && !st; i++) {
            times[i * repeats + r] = ldm_exec_step_seconds(b->exec, i);
            rest[r] -= times[i * repeats + r];
        }
        if (!st) st = ldm_check_interrupt();
        ldm_progress_to(&bar, r + 1);
    }
    ldm_progress_end(&bar);
    for (int i = 0; i < n && !st; i++) steps[i].seconds = ldm_median(times + i * repeats, repeats);
    if (!st) *wall = ldm_median(walls, repeats), *beyond = ldm_median(rest, repeats);
done:
    free(times), free(walls), free(rest);
    return st;
}

/* Sums by kind, those that take longest first; the last one is all. Their number. */
static int sum(const step *steps, int n, kind *kinds) {
    int count = 0;
    kind all = {.name = "kernels"};
    for (int i = 0; i < n; i++) {
        char name[32];
        int k = 0;
        kind_name(&steps[i].info->problem, name, sizeof name);
        while (k < count && strcmp(kinds[k].name, name)) k++;
        if (k == count) {
            if (count == KINDS - 2) k = count - 1; /* more kinds than anyone reads: with the last */
            else snprintf(kinds[count++].name, sizeof kinds->name, "%s", name);
        }
        for (int both = 0; both < 2; both++) {
            kind *to = both ? &all : &kinds[k];
            to->steps++, to->launches += steps[i].launches, to->flops += steps[i].plain.flops, to->bytes += steps[i].plain.bytes;
            to->floor += steps[i].floor, to->seconds += steps[i].seconds;
        }
    }
    for (int i = 1; i < count; i++) /* few: insertion */
        for (int j = i; j > 0 && kinds[j].seconds > kinds[j - 1].seconds; j--) {
            kind t = kinds[j];
            kinds[j] = kinds[j - 1], kinds[j - 1] = t;
        }
    kinds[count++] = all;
    return count;
}

static json_t *as_json(const step *steps, int n, const kind *kinds, int count) {
    char text[LDM_PROBLEM_TEXT], params[200];
    json_t *rows = json_array(), *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(rows, json_pack("{s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "kind", kinds[i].name, "steps",
                                              kinds[i].steps, "launches", kinds[i].launches, "flops", kinds[i].flops, "bytes", kinds[i].bytes,
                                              "floor_s", kinds[i].floor, "seconds", kinds[i].seconds,
                                              "floor_over_measured", kinds[i].floor / kinds[i].seconds));
    for (int i = 0; i < n; i++) {
        const step *s = &steps[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:i, s:f, s:s, s:f, s:f, s:f}", "scope", s->info->scope, "problem",
                            ldm_problem_text(&s->info->problem, text, sizeof text), "impl", s->choice->impl->name,
                            "params", ldm_choice_params(s->choice, params, sizeof params), "launches", s->launches,
                            "seconds", s->seconds, "floor_impl", s->best->name, "floor_flops", s->cost.flops,
                            "floor_bytes", s->cost.bytes, "floor_s", s->floor));
    }
    return json_pack("{s:o, s:o}", "kinds", rows, "steps", list);
}

static void print(const kind *kinds, int count, double wall, double beyond, double empty) {
    const kind *all = &kinds[count - 1];
    printf("%-16s %6s %8s %10s %10s %12s %15s %7s\n", "kind", "steps", "launches", "GFLOP", "floor ms", "measured ms",
           "floor/measured", "share");
    for (int i = 0; i < count; i++)
        printf("%-16s %6d %8d %10.2f %10.3f %12.3f %15.3f %6.1f%%\n", kinds[i].name, kinds[i].steps, kinds[i].launches,
               kinds[i].flops * 1e-9, kinds[i].floor * 1e3, kinds[i].seconds * 1e3, kinds[i].floor / kinds[i].seconds,
               100 * kinds[i].seconds / wall);
    printf("%-16s %6s %8s %10s %10.3f %12.3f %15.3f\n", "enqueue to end", "", "", "", all->floor * 1e3, wall * 1e3,
           all->floor / wall);
    printf("launching: %d launches, %.1f us each beyond their kernels, %.3f ms, %.2f %% of the whole; an empty kernel "
           "takes %.1f us\n",
           all->launches, beyond / all->launches * 1e6, beyond * 1e3, 100 * beyond / wall, empty * 1e6);
}

ldm_status bench_floor(ldm_cl *cl, const app_network_options *o, int repeats, json_t **json) {
    ldm_status st = LDM_OK;
    ldm_peak peak;
    bench_net b = {0};
    step *steps = NULL;
    kind kinds[KINDS] = {0};
    ldm_load load;
    char text[200];
    double empty, wall, beyond;
    *json = NULL;
    TRY(ldm_measure_peak(cl, &peak));
    TRY(ldm_measure_launch(cl, &empty));
    TRY(bench_net_open(&b, cl, o));
    const int n = b.net.plan->steps;
    TRY(ldm_alloc((size_t)(n + 1) * sizeof *steps, (void **)&steps));
    TRY(look(&b, steps));
    ldm_load_begin(&load);
    TRY(measure(&b, repeats, steps, &wall, &beyond));
    const double other = ldm_load_other(&load);
    TRY(ldm_measure_peak_again(cl, &peak));
    set_floors(&b, &peak, steps);
    const int count = sum(steps, n, kinds);
    printf("%s: median of %d runs; measured peak %.1f GFLOP/s, %.1f GB/s; other load %.0f %%\n",
           bench_net_text(&b, o, text, sizeof text), repeats, peak.gflops, ldm_peak_gbs(&peak), 100 * other);
    print(kinds, count, wall, beyond, empty);
    *json = as_json(steps, n, kinds, count);
    json_t *whole = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:i, s:f, s:f, s:f, s:f}", "network", text, "repeats",
                              repeats, "seconds", wall, "floor_s", kinds[count - 1].floor, "floor_over_measured",
                              kinds[count - 1].floor / wall, "flops", kinds[count - 1].flops, "launches",
                              kinds[count - 1].launches, "launch_us", beyond / kinds[count - 1].launches * 1e6,
                              "launch_share", beyond / wall, "empty_launch_us", empty * 1e6, "other_load", other);
    if (!*json || !whole || json_object_update_new(*json, whole))
        TRY(ldm_fail(LDM_ERR_NOMEM, "floor: host memory is out"));
done:
    if (st) json_decref(*json), *json = NULL;
    bench_net_close(&b);
    free(steps);
    return st;
}
