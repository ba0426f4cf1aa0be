/* recipe.c -- the vocabulary implementations describe their launches in. Pure data; the calls are in step.c. */
#include "cl/cl.h"
#include <string.h>

static ldm_launch *current(ldm_recipe *r) { return r->count && r->status == LDM_OK ? &r->launch[r->count - 1] : NULL; }

void ldm_rec_kernel(ldm_recipe *r, const char *file, const char *kernel) {
    if (r->status) return;
    if (r->count == LDM_MAX_LAUNCHES) {
        r->status = ldm_fail(LDM_ERR_ARG, "%s: more than %d launches in one recipe", kernel, LDM_MAX_LAUNCHES);
        return;
    }
    r->launch[r->count++] = (ldm_launch){.file = file, .kernel = kernel};
}

void ldm_rec_option(ldm_recipe *r, const char *option) {
    ldm_launch *l = current(r);
    if (!l) return;
    size_t n = strlen(l->options);
    if (n + strlen(option) + 2 > sizeof l->options) {
        r->status = ldm_fail(LDM_ERR_ARG, "%s: options longer than %d", l->kernel, LDM_MAX_OPTIONS);
        return;
    }
    snprintf(l->options + n, sizeof l->options - n, "%s%s", n ? " " : "", option);
}

void ldm_rec_define(ldm_recipe *r, const char *name, int64_t value) {
    char text[96];
    snprintf(text, sizeof text, "-D%s=%lld", name, (long long)value);
    ldm_rec_option(r, text);
}

static void add(ldm_recipe *r, ldm_arg a) {
    ldm_launch *l = current(r);
    if (!l) return;
    if (l->nargs == LDM_MAX_ARGS)
        r->status = ldm_fail(LDM_ERR_ARG, "%s: more than %d arguments", l->kernel, LDM_MAX_ARGS);
    else l->arg[l->nargs++] = a;
}

void ldm_rec_slot(ldm_recipe *r, int slot) { add(r, (ldm_arg){.kind = LDM_ARG_SLOT, .i = slot}); }
void ldm_rec_scratch(ldm_recipe *r, size_t offset) {
    add(r, (ldm_arg){.kind = LDM_ARG_SLOT, .i = LDM_SLOT_SCRATCH, .offset = offset});
}
void ldm_rec_float(ldm_recipe *r, double v) { add(r, (ldm_arg){.kind = LDM_ARG_FLOAT, .f = v}); }
void ldm_rec_local(ldm_recipe *r, size_t bytes) { add(r, (ldm_arg){.kind = LDM_ARG_LOCAL, .i = (int64_t)bytes}); }

void ldm_rec_int(ldm_recipe *r, int64_t v) {
    if (v < INT32_MIN || v > INT32_MAX) {
        if (current(r))
            r->status = ldm_fail(LDM_ERR_UNSUPPORTED, "%s: %lld does not fit a 32-bit argument", current(r)->kernel,
                                 (long long)v);
        return;
    }
    add(r, (ldm_arg){.kind = LDM_ARG_INT, .i = v});
}

static void range(ldm_recipe *r, int dims, const int64_t *g, const int64_t *l) {
    ldm_launch *k = current(r);
    if (!k) return;
    k->dims = dims;
    for (int i = 0; i < dims; i++) {
        k->local[i] = (size_t)l[i];
        k->global[i] = (size_t)(l[0] ? ldm_round_up(g[i], l[i]) : g[i]);
    }
}

void ldm_rec_range1(ldm_recipe *r, int64_t g0, int64_t l0) { range(r, 1, (int64_t[]){g0}, (int64_t[]){l0}); }
void ldm_rec_range2(ldm_recipe *r, int64_t g0, int64_t g1, int64_t l0, int64_t l1) {
    range(r, 2, (int64_t[]){g0, g1}, (int64_t[]){l0, l1});
}
void ldm_rec_range3(ldm_recipe *r, int64_t g0, int64_t g1, int64_t g2, int64_t l0, int64_t l1, int64_t l2) {
    range(r, 3, (int64_t[]){g0, g1, g2}, (int64_t[]){l0, l1, l2});
}
