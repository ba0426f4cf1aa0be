/* bind.c -- a plan's parameters matched to a checkpoint's tensors, once, by name and shape; after this nobody looks a weight
 * up by string. Key layouts: ldm-style prefixes, standalone files, EMA copies with the dots removed. */
#include "model/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ldm_binding {
    const ldm_plan *plan;
    const ldm_ckpt_tensor **tensor;   /* by plan tensor */
};

static const char *const prefixes[] = {"", "model.diffusion_model.", "first_stage_model.", "diffusion_model.", NULL};

/* [C,C], [C,C,1] and [C,C,1,1] are one shape. */
static bool same_shape(const ldm_shape *a, const ldm_shape *b) {
    int ra = a->rank, rb = b->rank;
    while (ra > 2 && a->dim[ra - 1] == 1) ra--;
    while (rb > 2 && b->dim[rb - 1] == 1) rb--;
    return ra == rb && !memcmp(a->dim, b->dim, (size_t)ra * sizeof *a->dim);
}

/* "model_ema.diffusion_modelinput_blocks00weight" for "input_blocks.0.0.weight" */
static const ldm_ckpt_tensor *find_ema(const ldm_ckpt *c, const char *name) {
    char key[400] = "model_ema.diffusion_model";
    size_t n = strlen(key);
    for (const char *s = name; *s && n < sizeof key - 1; s++)
        if (*s != '.') key[n++] = *s;
    key[n] = 0;
    return ldm_ckpt_find(c, key);
}

static const ldm_ckpt_tensor *find(const ldm_ckpt *c, const char *prefix, const char *name) {
    char key[400];
    snprintf(key, sizeof key, "%s%s", prefix, name);
    return ldm_ckpt_find(c, key);
}

/* The prefix under which most parameters are found. */
static const char *best_prefix(const ldm_plan *p, const ldm_ckpt *c) {
    const char *best = prefixes[0];
    int most = -1;
    for (int i = 0; prefixes[i]; i++) {
        int hits = 0;
        for (int t = 0; t < p->tensors; t++)
            if (p->tensor[t].kind == LDM_PARAM) hits += find(c, prefixes[i], p->tensor[t].name) != NULL;
        if (hits > most) most = hits, best = prefixes[i];
    }
    return best;
}

/* What a checkpoint may hold beside a network without being left over. */
static bool known_extra(const char *name, const char *prefix) {
    static const char *const extra[] = {"loss.", "model_ema.", "cond_stage_model.", "cond_stage_models.", "betas", "alphas_cumprod", "sqrt_", "log_one_minus",
                                        "posterior_", "scale_factor", "logvar", "lvlb_weights", "epoch", "global_step", "colorize", NULL};
    for (int i = 0; extra[i]; i++)
        if (!strncmp(name, extra[i], strlen(extra[i]))) return true;
    /* of a whole checkpoint, the other networks; of a first stage, its other half and the codebook */
    if (strncmp(name, prefix, strlen(prefix))) return true;
    name += strlen(prefix);
    static const char *const half[] = {"encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.", "first_stage_model.", NULL};
    for (int i = 0; half[i]; i++)
        if (!strncmp(name, half[i], strlen(half[i]))) return true;
    return false;
}

enum { SHOWN = 5 };

ldm_status ldm_bind(const ldm_plan *p, const ldm_ckpt *c, const ldm_bind_options *o, ldm_binding **out) {
    ldm_status st = LDM_OK;
    ldm_binding *b = NULL;
    ldm_text missing = {0}, misshapen = {0}, extra = {0};
    int n_missing = 0, n_misshapen = 0, n_extra = 0;
    char want[128], got[128];
    const char *prefix = best_prefix(p, c);
    bool *used = NULL;
    TRY(ldm_alloc(sizeof *b, (void **)&b));
    b->plan = p;
    TRY(ldm_alloc((size_t)p->tensors * sizeof *b->tensor, (void **)&b->tensor));
    TRY(ldm_alloc((size_t)ldm_ckpt_count(c) + 1, (void **)&used));
    for (int t = 0; t < p->tensors; t++) {
        const ldm_tensor_info *info = &p->tensor[t];
        if (info->kind != LDM_PARAM) continue;
        const ldm_ckpt_tensor *found = o && o->ema && strcmp(prefix, "first_stage_model.") ? find_ema(c, info->name) : NULL;
        if (!found) found = find(c, prefix, info->name);
        if (!found) found = ldm_ckpt_find(c, info->name); /* cond_stage_model.* beside model.diffusion_model.* */
        if (!found) {
            if (n_missing++ < SHOWN) ldm_text_add(&missing, "%s%s%s %s", missing.len ? ", " : "", prefix, info->name, ldm_shape_text(&info->shape, want, sizeof want));
            continue;
        }
        if (!same_shape(&found->shape, &info->shape)) {
            if (n_misshapen++ < SHOWN)
                ldm_text_add(&misshapen, "%s%s is %s, wanted %s", misshapen.len ? ", " : "", found->name, ldm_shape_text(&found->shape, got, sizeof got), ldm_shape_text(&info->shape, want, sizeof want));
            continue;
        }
        b->tensor[t] = found;
        used[found - ldm_ckpt_at(c, 0)] = true;
    }
    for (int i = 0; i < ldm_ckpt_count(c) && !(o && o->allow_extra); i++) {
        const ldm_ckpt_tensor *t = ldm_ckpt_at(c, i);
        if (used[i] || known_extra(t->name, prefix)) continue;
        if (n_extra++ < SHOWN) ldm_text_add(&extra, "%s%s %s", extra.len ? ", " : "", t->name, ldm_shape_text(&t->shape, got, sizeof got));
    }
    if (n_missing + n_misshapen + n_extra)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s does not fit the network: %d tensors missing%s%s%s; %d misshapen%s%s%s; %d left over%s%s%s", ldm_ckpt_path(c), n_missing,
                     n_missing ? " (" : "", missing.s ? missing.s : "", n_missing > SHOWN ? ", ...)" : n_missing ? ")" : "", n_misshapen, n_misshapen ? " (" : "",
                     misshapen.s ? misshapen.s : "", n_misshapen > SHOWN ? ", ...)" : n_misshapen ? ")" : "", n_extra, n_extra ? " (" : "", extra.s ? extra.s : "",
                     n_extra > SHOWN ? ", ...)" : n_extra ? ")" : ""));
    *out = b;
    b = NULL;
done:
    ldm_binding_destroy(b);
    ldm_text_free(&missing), ldm_text_free(&misshapen), ldm_text_free(&extra);
    free(used);
    return st;
}

void ldm_binding_destroy(ldm_binding *b) {
    if (!b) return;
    free(b->tensor);
    free(b);
}

static ldm_status load(void *self, const ldm_tensor_info *info, float *dst) {
    ldm_binding *b = self;
    const ldm_ckpt_tensor *t = b->tensor[info - b->plan->tensor];
    ldm_status st = ldm_ckpt_load_f32(t, dst);
    if (st) return st;
    int64_t n = ldm_shape_count(&info->shape), bad = 0, first = -1;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(dst[i])) bad++, first = first < 0 ? i : first;
    if (bad) return ldm_fail(LDM_ERR_NONFINITE, "%s: %lld of %lld values are NaN or infinite, the first at %lld", t->name, (long long)bad, (long long)n, (long long)first);
    return LDM_OK;
}

ldm_source ldm_binding_source(ldm_binding *b) { return (ldm_source){load, b}; }
