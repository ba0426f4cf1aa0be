/* bind.c -- a plan's parameters matched to checkpoints' tensors, once, by name and shape; after this nobody looks a
 * weight up by string. Which network a file is, is system.c's question; what things are called where, names.c's. */
#include "model/places.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A parameter's tensors and how it is made of their rows: see ldm_origin. parts 0: no parameter of a file. */
typedef struct bound {
    const ldm_ckpt_tensor *t[LDM_ORIGIN_PARTS];
    int parts;
    int64_t run;
} bound;

struct ldm_binding {
    const ldm_plan *plan;
    bound *of; /* by plan tensor */
};

/* ---- matching -------------------------------------------------------------------------------------------------- */

/* [C,C], [C,C,1] and [C,C,1,1] are one shape. */
static int trimmed(const ldm_shape *s) {
    int r = s->rank;
    while (r > 2 && s->dim[r - 1] == 1) r--;
    return r;
}

/* Whether a tensor that gives one of `parts` equal parts of a parameter's rows has its shape. */
static bool same_shape(const ldm_shape *found, const ldm_shape *wanted, int parts) {
    const int r = trimmed(wanted);
    if (trimmed(found) != r) return false;
    for (int d = 0; d < r; d++)
        if (d ? found->dim[d] != wanted->dim[d] : found->dim[0] * parts != wanted->dim[0]) return false;
    return true;
}

/* One kind of complaint: counted, and the first few spelled out. */
typedef struct list {
    int count;
    ldm_text text;
} list;
enum { SHOWN = 4 };

static void complain(list *l, const char *key, const ldm_shape *found, const ldm_shape *wanted) {
    char a[128], b[128];
    if (l->count++ >= SHOWN) return;
    ldm_text_add(&l->text, "%s%s", l->count > 1 ? ", " : " (", key);
    if (found) ldm_text_add(&l->text, " %s", ldm_shape_text(found, a, sizeof a));
    if (wanted) ldm_text_add(&l->text, "%s%s", found ? " wanted " : " ", ldm_shape_text(wanted, b, sizeof b));
}

static const char *told(list *l) {
    if (l->count) ldm_text_add(&l->text, l->count > SHOWN ? ", ...)" : ")");
    return l->text.s ? l->text.s : "";
}

/* The tiny autoencoders' halves share their names; only the encoder has a first layer 0. */
static ldm_part part_in_plan(const ldm_plan *p, const char *name) {
    ldm_part part = ldm_part_of(name);
    return part == LDM_PART_TINY_DECODER && ldm_plan_find(p, "0.weight") != LDM_NONE ? LDM_PART_TINY_ENCODER : part;
}

/* Matches one parameter; complains of what it does not find. */
static void match(const ldm_places *places, ldm_part part, const ldm_tensor_info *info, bound *b, list *missing,
                  list *misshapen) {
    ldm_origin o = {.parts = 1};
    const ldm_ckpt_tensor *t[LDM_ORIGIN_PARTS] = {0};
    if (part == LDM_PARTS) {
        snprintf(o.name[0], sizeof o.name[0], "%s", info->name);
        for (int i = 0; i < LDM_PARTS && !t[0]; i++) t[0] = ldm_files_find(places->at[i].files, info->name);
    } else {
        ldm_place_origin(places, part, info->name, info->shape.dim[0], &o, t);
    }
    for (int i = 0; i < o.parts; i++) {
        if (!t[i]) complain(missing, o.name[i], NULL, &info->shape);
        else if (!same_shape(&t[i]->shape, &info->shape, o.parts))
            complain(misshapen, o.name[i], &t[i]->shape, &info->shape);
        b->t[i] = t[i];
    }
    b->parts = o.parts, b->run = o.run;
}

/* The part whose place a name of a file lies in; LDM_PARTS if in none. */
static ldm_part part_at(const ldm_places *places, const ldm_files *f, const bool has[LDM_PARTS], const char *key) {
    for (int i = 0; i < LDM_PARTS; i++) {
        const ldm_place *at = &places->at[i];
        const size_t n = at->prefix ? strlen(at->prefix) : 0;
        char name[LDM_ORIGIN_NAME + 32];
        if (i == LDM_PART_TINY_ENCODER && !has[i]) continue; /* its names are the decoder's too */
        if (at->files != f || !at->prefix || strncmp(key, at->prefix, n)) continue;
        if (at->ema) return (ldm_part)i;
        snprintf(name, sizeof name, "%s%s", i == LDM_PART_CONDITION ? "cond_stage_model." : "", key + n);
        ldm_part part = ldm_part_of(name);
        if (part == LDM_PART_TINY_DECODER && i == LDM_PART_TINY_ENCODER) part = LDM_PART_TINY_ENCODER;
        if (at->layout == LDM_DIFFUSERS && (i == LDM_PART_UNET || i == LDM_PART_TEXT)) part = (ldm_part)i;
        if (part == (ldm_part)i) return part;
    }
    return LDM_PARTS;
}

static bool binds(const ldm_binding *b, const ldm_ckpt_tensor *t) {
    for (int i = 0; i < b->plan->tensors; i++)
        for (int k = 0; k < b->of[i].parts; k++)
            if (b->of[i].t[k] == t) return true;
    return false;
}

/* Tensors of a file that lie where the plan's networks do and that no parameter took. */
static void left_over(const ldm_binding *b, const ldm_places *places, const ldm_files *f, const bool has[LDM_PARTS],
                      bool allow_foreign, list *extra) {
    for (int k = 0; k < f->count; k++)
        for (int i = 0; i < ldm_ckpt_count(f->ckpt[k]); i++) {
            const ldm_ckpt_tensor *t = ldm_ckpt_at(f->ckpt[k], i);
            const ldm_part part = part_at(places, f, has, t->name);
            bool ours = part != LDM_PARTS && has[part] && !(part == LDM_PART_TEXT && ldm_known_text_extra(t->name));
            bool foreign = part == LDM_PARTS && !allow_foreign && !ldm_known_extra(t->name) &&
                           (ldm_part_of(t->name) == LDM_PARTS || ldm_part_of(t->name) == LDM_PART_TINY_DECODER);
            if ((ours || foreign) && !binds(b, t)) complain(extra, t->name, &t->shape, NULL);
        }
}

ldm_status ldm_bind_places(const ldm_plan *p, const ldm_places *places, const ldm_bind_options *o, ldm_binding **out) {
    ldm_status st = LDM_OK;
    ldm_binding *b = NULL;
    list missing = {0}, misshapen = {0}, extra = {0};
    const ldm_files *where[LDM_PARTS] = {0};
    int params = 0, files = 0;
    bool has[LDM_PARTS + 1] = {false}; /* parts in the plan */
    TRY(ldm_alloc(sizeof *b, (void **)&b));
    b->plan = p;
    TRY(ldm_alloc(((size_t)p->tensors + 1) * sizeof *b->of, (void **)&b->of));
    for (int t = 0; t < p->tensors; t++) {
        const ldm_tensor_info *info = &p->tensor[t];
        if (info->kind != LDM_PARAM || info->rule) continue;
        const ldm_part part = part_in_plan(p, info->name);
        match(places, part, info, &b->of[t], &missing, &misshapen);
        params++;
        has[part] = has[part] || strcmp(info->name, "quantize.embedding.weight") != 0; /* a loop borrows the codebook alone */
    }
    for (int i = 0; i < LDM_PARTS; i++) {
        if (!has[i] || !places->at[i].files) continue;
        bool seen = false;
        for (int k = 0; k < files; k++) seen = seen || where[k] == places->at[i].files;
        if (seen) continue;
        where[files++] = places->at[i].files;
        if (!(o && o->allow_extra)) left_over(b, places, places->at[i].files, has, o && o->allow_foreign, &extra);
    }
    if (missing.count + misshapen.count + extra.count) {
        ldm_text paths = {0};
        for (int k = 0; k < files; k++) ldm_text_add(&paths, "%s%s", k ? ", " : "", where[k]->path);
        st = ldm_fail(LDM_ERR_FORMAT,
                      "%s: of %d tensors wanted %d are missing%s, %d have another shape%s; %d are left over%s",
                      paths.s ? paths.s : "no file", params, missing.count, told(&missing), misshapen.count,
                      told(&misshapen), extra.count, told(&extra));
        ldm_text_free(&paths);
    } else {
        *out = b, b = NULL;
    }
done:
    ldm_binding_destroy(b);
    ldm_text_free(&missing.text), ldm_text_free(&misshapen.text), ldm_text_free(&extra.text);
    return st;
}

ldm_status ldm_bind(const ldm_plan *p, const ldm_ckpt *c, const ldm_bind_options *o, ldm_binding **out) {
    ldm_ckpt *one = (ldm_ckpt *)c; /* only read */
    ldm_files files = {&one, 1, (char *)ldm_ckpt_path(c)};
    ldm_places places = {0};
    for (int i = 0; i < LDM_PARTS; i++)
        if (!ldm_place_find(&files, (ldm_part)i, o && o->ema, &places.at[i]) ||
            (places.at[i].layout != LDM_COMPVIS && i != LDM_PART_TEXT)) /* names of the others need a configuration */
            places.at[i] = ldm_place_usual(&files, (ldm_part)i);
    return ldm_bind_places(p, &places, o, out);
}

void ldm_binding_destroy(ldm_binding *b) {
    if (!b) return;
    free(b->of);
    free(b);
}

ldm_dtype ldm_binding_dtype(const ldm_binding *b, ldm_tensor t) { return b->of[t].t[0]->dtype; }

/* ---- loading --------------------------------------------------------------------------------------------------- */

static const bound *bound_to(const ldm_binding *b, const ldm_tensor_info *info) {
    return &b->of[info - b->plan->tensor];
}

/* Rows [at, at + n) of a tensor, as a tensor. */
static ldm_ckpt_tensor rows_of(const ldm_ckpt_tensor *t, int64_t at, int64_t n) {
    ldm_ckpt_tensor r = *t;
    r.shape.dim[0] = n;
    r.data = (const uint8_t *)t->data + (size_t)(at * t->stride[0]) * ldm_dtype_size(t->dtype);
    return r;
}

/* Puts a parameter together from runs of rows. */
static ldm_status gather(const bound *b, const ldm_shape *shape, float *dst) {
    ldm_status st = LDM_OK;
    const int64_t rows = shape->dim[0], width = ldm_shape_count(shape) / (rows ? rows : 1);
    const int64_t run = b->run ? b->run : rows / b->parts;
    for (int64_t at = 0, i = 0; at < rows && !st; at += run, i++) {
        const ldm_ckpt_tensor part = rows_of(b->t[i % b->parts], i / b->parts * run, run);
        st = ldm_ckpt_load_f32(&part, dst + at * width);
    }
    return st;
}

/* Every element is finite, and still is as the plan stores it: of bf16 and q8_0 what rounds to something finite. */
static ldm_status check(void *self, const ldm_tensor_info *info, const float *data) {
    const float largest = info->dtype == LDM_F16    ? 65504
                          : info->dtype == LDM_Q8_0 ? 8321039 /* ldm_q8_encode */
                          : info->dtype == LDM_BF16 ? 0x1.fefffep127f
                                                    : FLT_MAX;
    char range[40];
    const int64_t n = ldm_shape_count(&info->shape);
    int64_t bad = 0, first = 0;
#pragma omp simd reduction(+ : bad)
    for (int64_t i = 0; i < n; i++) bad += !(fabsf(data[i]) <= largest);
    if (!bad) return LDM_OK;
    while (fabsf(data[first]) <= largest) first++;
    snprintf(range, sizeof range, "beyond the range of %s", ldm_dtype_name(info->dtype));
    return ldm_fail(LDM_ERR_NONFINITE, "tensor %s: %lld of %lld values are %s, the first (%g) at %lld",
                    bound_to(self, info)->t[0]->name, (long long)bad, (long long)n,
                    isfinite(data[first]) ? range : "not finite", (double)data[first], (long long)first);
}

static ldm_status load(void *self, const ldm_tensor_info *info, float *dst) {
    const bound *b = bound_to(self, info);
    const ldm_status st = b->parts == 1 ? ldm_ckpt_load_f32(b->t[0], dst) : gather(b, &info->shape, dst);
    return st ? st : check(self, info, dst);
}

static const float *view(void *self, const ldm_tensor_info *info) {
    const bound *b = bound_to(self, info);
    return b->parts == 1 ? ldm_ckpt_view_f32(b->t[0]) : NULL;
}

ldm_source ldm_binding_source(ldm_binding *b) { return (ldm_source){load, b, view, check}; }
