/* choose.c -- which implementation runs a problem on a device: what tuning found, else the first row that can and is
 * preferred. */
#include "ops/op.h"
#include "ops/tuned.h"
#include <stdio.h>
#include <string.h>

bool ldm_params_set(const ldm_impl *impl, int set, int *params) {
    memset(params, 0, LDM_MAX_TUNABLES * sizeof *params);
    int count = 0;
    while (impl->tunables && count < LDM_MAX_TUNABLES && impl->tunables[count].name) count++;
    for (int i = count - 1; i >= 0; i--) { /* the last tunable changes fastest, so the defaults come first */
        int values = 0;
        while (values < 8 && impl->tunables[i].value[values]) values++;
        params[i] = impl->tunables[i].value[set % values];
        set /= values;
    }
    return set == 0;
}

bool ldm_params_legal(const ldm_problem *p, const ldm_impl *impl, const int *params, const ldm_device *d) {
    return !impl->legal || impl->legal(p, params, d);
}

void ldm_default_params(const ldm_problem *p, const ldm_impl *impl, const ldm_device *d, int *params) {
    int legal = -1;
    for (int set = 0; ldm_params_set(impl, set, params); set++) {
        if (!ldm_params_legal(p, impl, params, d)) continue;
        if (!impl->prefers || !impl->prefers(p, params, d)) return;
        if (legal < 0) legal = set;
    }
    ldm_params_set(impl, legal < 0 ? 0 : legal, params);
}

/* "OUT=4 BLOCK=32" against the row's tunables: given[i], 0 where left out. */
static ldm_status given_params(const ldm_impl *impl, const char *text, int *given) {
    char *rest = NULL, name[40], end, copy[256];
    if ((size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy)
        return ldm_fail(LDM_ERR_FORMAT, "parameters of %zu bytes, wanted at most %zu", strlen(text), sizeof copy - 1);
    for (char *word = strtok_r(copy, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        int value, i = 0, j = 0;
        if (sscanf(word, "%39[A-Za-z0-9_]=%d%c", name, &value, &end) != 2)
            return ldm_fail(LDM_ERR_FORMAT, "parameter '%.60s': wanted NAME=NUMBER", word);
        const ldm_tunable *t = impl->tunables;
        while (t && i < LDM_MAX_TUNABLES && t[i].name && strcmp(t[i].name, name)) i++;
        if (!t || i == LDM_MAX_TUNABLES || !t[i].name)
            return ldm_fail(LDM_ERR_FORMAT, "%s has no parameter '%s'", impl->name, name);
        while (j < 8 && t[i].value[j] && t[i].value[j] != value) j++;
        if (j == 8 || !t[i].value[j] || given[i])
            return ldm_fail(LDM_ERR_FORMAT, "%s=%d: no value of it in %s, or named twice", name, value, impl->name);
        given[i] = value;
    }
    return LDM_OK;
}

/* The first preferred, else the first legal set that has the given values. */
static bool complete_params(const ldm_problem *p, const ldm_impl *impl, const ldm_device *d, const int *given, int *params) {
    int set, legal = -1, t[LDM_MAX_TUNABLES];
    for (set = 0; ldm_params_set(impl, set, t); set++) {
        bool fits = true;
        for (int i = 0; i < LDM_MAX_TUNABLES; i++) fits &= !given[i] || given[i] == t[i];
        if (!fits || !ldm_params_legal(p, impl, t, d)) continue;
        if (legal < 0) legal = set;
        if (!impl->prefers || !impl->prefers(p, t, d)) break;
    }
    if (!ldm_params_set(impl, set, t)) set = legal;
    if (set < 0) return false;
    ldm_params_set(impl, set, params);
    return true;
}

ldm_status ldm_params_parse(const ldm_problem *p, const ldm_impl *impl, const ldm_device *d, const char *text, int *params) {
    int given[LDM_MAX_TUNABLES] = {0};
    ldm_status st = given_params(impl, text, given);
    if (st) return st;
    if (!complete_params(p, impl, d, given, params))
        return ldm_fail(LDM_ERR_FORMAT, "%s cannot run it with these parameters", impl->name);
    return LDM_OK;
}

static ldm_status no_row(const ldm_problem *p, const ldm_device *d, const char *only) {
    char text[LDM_PROBLEM_TEXT];
    ldm_text why = {0};
    for (const ldm_impl *i = p->op->impls; i->name; i++) {
        if (only && strcmp(only, i->name)) continue;
        const char *reason = ldm_cannot(p, d, i);
        ldm_text_add(&why, "%s%s: %s", why.len ? "; " : "", i->name, reason ? reason : "yes");
    }
    if (only && !why.len) {
        for (const ldm_impl *i = p->op->impls; i->name; i++) ldm_text_add(&why, "%s%s", why.len ? " " : "", i->name);
        ldm_fail(LDM_ERR_ARG, "%s has no implementation '%s'; it has %s", p->op->name, only, why.s ? why.s : "none");
        ldm_text_free(&why);
        return LDM_ERR_ARG;
    }
    ldm_fail(LDM_ERR_UNSUPPORTED, "%s cannot run on %s (%s)", ldm_problem_text(p, text, sizeof text), d->name,
             why.s ? why.s : "no rows");
    ldm_text_free(&why);
    return LDM_ERR_UNSUPPORTED;
}

/* GPU kernels are for devices that are no CPU and have local memory of their own, CPU kernels for CPU devices. */
const char *ldm_other_family(const ldm_device *d, const ldm_impl *impl) {
    const bool cpu = d->type == LDM_DEVICE_CPU;
    if (impl->family == LDM_LIBRARY) return "a library row runs only when named";
    if (impl->family == LDM_CPU && !cpu) return "the device is no CPU: one work-item a tile would leave it idle";
    if (impl->family == LDM_GPU && cpu)
        return "the device is a CPU, where staging through local memory costs more than it saves";
    if (impl->family == LDM_GPU && !d->local_is_real) return "the device has no local memory of its own";
    return NULL;
}

const char *ldm_cannot(const ldm_problem *p, const ldm_device *d, const ldm_impl *impl) {
    return impl->supports ? impl->supports(p, d) : NULL;
}

const char *ldm_ruled_out(const ldm_device *d, const ldm_impl *impl) {
    return impl->reference && d->exact ? "it loses accuracy, and only rows that lose none are asked for" : NULL;
}

const char *ldm_why_not(const ldm_problem *p, const ldm_device *d, const ldm_impl *impl) {
    const char *reason = ldm_cannot(p, d, impl);
    if (!reason) reason = ldm_other_family(d, impl);
    if (!reason) reason = ldm_ruled_out(d, impl);
    if (!reason && impl->prefers) {
        int params[LDM_MAX_TUNABLES];
        ldm_default_params(p, impl, d, params);
        reason = impl->prefers(p, params, d);
    }
    return reason;
}

ldm_status ldm_choose(const ldm_problem *p, const ldm_device *d, ldm_choice *out) {
    const ldm_impl *best = NULL;
    if (ldm_tuned_find(p, d, out)) return LDM_OK;
    for (const ldm_impl *i = p->op->impls; i->name && !best; i++)
        if (!ldm_why_not(p, d, i)) best = i;
    for (const ldm_impl *i = p->op->impls; i->name && !best; i++) /* none preferred: whatever runs */
        if (i->family != LDM_LIBRARY && !ldm_cannot(p, d, i)) best = i;
    if (!best) return no_row(p, d, NULL);
    out->impl = best;
    ldm_default_params(p, best, d, out->params);
    return LDM_OK;
}

ldm_status ldm_choose_named(const ldm_problem *p, const ldm_device *d, const char *name, ldm_choice *out) {
    for (const ldm_impl *i = p->op->impls; i->name; i++) {
        if (strcmp(i->name, name)) continue;
        if (ldm_cannot(p, d, i)) break;
        out->impl = i;
        ldm_default_params(p, i, d, out->params);
        return LDM_OK;
    }
    return no_row(p, d, name);
}

const char *ldm_choice_params(const ldm_choice *c, char *buf, size_t cap) {
    size_t n = 0;
    buf[0] = 0;
    for (int i = 0; c->impl->tunables && i < LDM_MAX_TUNABLES && c->impl->tunables[i].name && n < cap; i++)
        n += (size_t)snprintf(buf + n, cap - n, "%s%s=%d", i ? " " : "", c->impl->tunables[i].name, c->params[i]);
    return buf;
}

ldm_cost ldm_choice_cost(const ldm_problem *p, const ldm_choice *c, const ldm_device *d) {
    return c->impl->cost ? c->impl->cost(p, c->params, d) : p->op->cost(p);
}
