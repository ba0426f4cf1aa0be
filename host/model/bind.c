/* bind.c -- a plan's parameters matched to a checkpoint's tensors, once, by name and shape; after this nobody looks a
 * weight up by string. Which network a file is, is identify.c's question. */
#include "model/model.h"
#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ldm_binding {
    const ldm_plan *plan;
    const ldm_ckpt_tensor **tensor; /* by plan tensor; NULL for what is no parameter */
};

/* ---- which network a name belongs to --------------------------------------------------------------------------- */

typedef enum network { UNET, ENCODER, DECODER, TINY, CLASSES, NETWORKS, OTHER = NETWORKS } network;

/* A name without prefix, by its first component. */
static network network_of(const char *name) {
    static const struct {
        const char *start;
        network net;
    } table[] = {{"time_embed.", UNET},         {"label_emb.", UNET},     {"input_blocks.", UNET},
                 {"middle_block.", UNET},       {"output_blocks.", UNET}, {"out.", UNET},
                 {"encoder.", ENCODER},         {"quant_conv.", ENCODER}, {"decoder.", DECODER},
                 {"post_quant_conv.", DECODER}, {"quantize.", DECODER},   {"cond_stage_model.embedding.", CLASSES}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strncmp(name, table[i].start, strlen(table[i].start))) return table[i].net;
    return isdigit((unsigned char)*name) ? TINY : OTHER;
}

/* Where whole networks lie in a file, the usual place first. The last row is weights averaged over training. */
#define EMA "model_ema.diffusion_model"
static const struct {
    const char *prefix;
    network net;
} places[] = {{"model.diffusion_model.", UNET},
              {"diffusion_model.", UNET},
              {"", UNET},
              {"first_stage_model.", ENCODER},
              {"", ENCODER},
              {"first_stage_model.", DECODER},
              {"", DECODER},
              {"", TINY},
              {"", CLASSES},
              {EMA, UNET}};
enum { PLACES = sizeof places / sizeof *places, EMA_PLACE = PLACES - 1 };

/* Which place a key of the file lies in; -1 if in none. */
static int place_of(const char *key) {
    for (int i = 0; i < EMA_PLACE; i++) {
        size_t n = strlen(places[i].prefix);
        if (!strncmp(key, places[i].prefix, n) && network_of(key + n) == places[i].net) return i;
    }
    return strncmp(key, EMA, strlen(EMA)) ? -1 : EMA_PLACE;
}

/* EMA keys are the parameter's name with all dots removed: "model_ema.diffusion_modelinput_blocks00weight". */
static void key_of(int place, const char *name, char *key, size_t cap) {
    snprintf(key, cap, "%s%s", places[place].prefix, name);
    if (place != EMA_PLACE) return;
    char *to = key + strlen(EMA);
    for (const char *s = to; *s; s++)
        if (*s != '.') *to++ = *s;
    *to = 0;
}

/* Buffers, losses and other networks: in a file, but nobody's left-overs. */
static bool known_extra(const char *key) {
    static const char *const starts[] = {"model.",
                                         "diffusion_model.",
                                         "model_ema.",
                                         "first_stage_model.",
                                         "cond_stage_model.",
                                         "cond_stage_models.",
                                         "conditioner.",
                                         "depth_model.",
                                         "low_scale_model.",
                                         "noise_augmentor.",
                                         "embedding_manager.",
                                         "loss.",
                                         "betas",
                                         "alphas_cumprod",
                                         "sqrt_",
                                         "log_one_minus_",
                                         "posterior_",
                                         "ddim_",
                                         "scale_factor",
                                         "logvar",
                                         "lvlb_weights",
                                         "colorize",
                                         "epoch",
                                         "global_step",
                                         "position_ids",
                                         "logit_scale"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (!strncmp(key, starts[i], strlen(starts[i]))) return true;
    return network_of(key) != OTHER && network_of(key) != TINY; /* the plan holds another network */
}

/* ---- matching -------------------------------------------------------------------------------------------------- */

/* [C,C], [C,C,1] and [C,C,1,1] are one shape. */
static bool same_shape(const ldm_shape *a, const ldm_shape *b) {
    int ra = a->rank, rb = b->rank;
    while (ra > 2 && a->dim[ra - 1] == 1) ra--;
    while (rb > 2 && b->dim[rb - 1] == 1) rb--;
    return ra == rb && !memcmp(a->dim, b->dim, (size_t)ra * sizeof *a->dim);
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

/* Of each network, its place in the file: the first that holds any of it, or the usual one. */
static void find_places(const ldm_ckpt *c, bool ema, int place[NETWORKS]) {
    bool held[PLACES] = {false};
    for (int i = 0; i < ldm_ckpt_count(c); i++) {
        int at = place_of(ldm_ckpt_at(c, i)->name);
        if (at >= 0) held[at] = true;
    }
    for (int n = 0; n < NETWORKS; n++) {
        place[n] = -1;
        for (int i = EMA_PLACE - 1; i >= 0; i--) /* backwards: earlier rows win, held ones over the others */
            if (places[i].net == (network)n && (place[n] < 0 || held[i] || !held[place[n]])) place[n] = i;
    }
    if (ema && held[EMA_PLACE]) place[UNET] = EMA_PLACE;
}

static bool binds(const ldm_binding *b, const ldm_ckpt_tensor *t) {
    for (int i = 0; i < b->plan->tensors; i++)
        if (b->tensor[i] == t) return true;
    return false;
}

ldm_status ldm_bind(const ldm_plan *p, const ldm_ckpt *c, const ldm_bind_options *o, ldm_binding **out) {
    ldm_status st = LDM_OK;
    ldm_binding *b = NULL;
    list missing = {0}, misshapen = {0}, extra = {0};
    int place[NETWORKS], params = 0;
    bool has[NETWORKS + 1] = {false}; /* networks in the plan */
    char key[512];
    TRY(ldm_alloc(sizeof *b, (void **)&b));
    b->plan = p;
    TRY(ldm_alloc(((size_t)p->tensors + 1) * sizeof *b->tensor, (void **)&b->tensor));
    find_places(c, o && o->ema, place);
    for (int t = 0; t < p->tensors; t++) {
        const ldm_tensor_info *info = &p->tensor[t];
        if (info->kind != LDM_PARAM || info->rule) continue;
        network n = network_of(info->name);
        if (n == OTHER) snprintf(key, sizeof key, "%s", info->name);
        else key_of(place[n], info->name, key, sizeof key);
        const ldm_ckpt_tensor *found = ldm_ckpt_find(c, key);
        params++, has[n] = true;
        if (!found) complain(&missing, key, NULL, &info->shape);
        else if (!same_shape(&found->shape, &info->shape)) complain(&misshapen, key, &found->shape, &info->shape);
        b->tensor[t] = found;
    }
    for (int i = 0; i < ldm_ckpt_count(c) && !(o && o->allow_extra); i++) {
        const ldm_ckpt_tensor *t = ldm_ckpt_at(c, i);
        int at = place_of(t->name);
        bool ours = at >= 0 && has[places[at].net] && place[places[at].net] == at;
        bool foreign = !ours && !known_extra(t->name) && !(o && o->allow_foreign);
        if ((ours || foreign) && !binds(b, t)) complain(&extra, t->name, &t->shape, NULL);
    }
    if (missing.count + misshapen.count + extra.count)
        st = ldm_fail(LDM_ERR_FORMAT,
                      "%s: of %d tensors wanted %d are missing%s, %d have another shape%s; %d are left over%s",
                      ldm_ckpt_path(c), params, missing.count, told(&missing), misshapen.count, told(&misshapen),
                      extra.count, told(&extra));
    else *out = b, b = NULL;
done:
    ldm_binding_destroy(b);
    ldm_text_free(&missing.text), ldm_text_free(&misshapen.text), ldm_text_free(&extra.text);
    return st;
}

void ldm_binding_destroy(ldm_binding *b) {
    if (!b) return;
    free(b->tensor);
    free(b);
}

/* ---- loading --------------------------------------------------------------------------------------------------- */

static const ldm_ckpt_tensor *bound(const ldm_binding *b, const ldm_tensor_info *info) {
    return b->tensor[info - b->plan->tensor];
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
                    bound(self, info)->name, (long long)bad, (long long)n,
                    isfinite(data[first]) ? range : "not finite", (double)data[first],
                    (long long)first);
}

static ldm_status load(void *self, const ldm_tensor_info *info, float *dst) {
    const ldm_status st = ldm_ckpt_load_f32(bound(self, info), dst);
    return st ? st : check(self, info, dst);
}

static const float *view(void *self, const ldm_tensor_info *info) { return ldm_ckpt_view_f32(bound(self, info)); }

ldm_source ldm_binding_source(ldm_binding *b) { return (ldm_source){load, b, view, check}; }
