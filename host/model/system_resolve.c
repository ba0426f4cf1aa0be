/* system_resolve.c -- what the files of a system make together: each thing a picture needs, resolved in one place,
 * options first, then configuration files, then what the weights say, then the documented default, each with its
 * reason. */
#include "model/families.h"
#include "model/infer.h"
#include "model/system_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TIMESTEPS = 1000 };
#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

/* A later fact about the same thing takes the earlier one's place. */
void system_fact(ldm_system *s, const char *what, const char *value, ldm_sure sure, const char *fmt, ...) {
    struct ldm_system_files *f = s->files;
    char why[512];
    int at = 0;
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    while (at < f->n_facts && strcmp(f->facts[at].what, what)) at++;
    if (at == f->n_facts) {
        ldm_fact *more = realloc(f->facts, ((size_t)at + 1) * sizeof *more);
        if (!more) return;
        f->facts = more, f->facts[f->n_facts++] = (ldm_fact){0};
    }
    ldm_fact *fact = &f->facts[at];
    free(fact->what), free(fact->value), free(fact->why);
    *fact = (ldm_fact){strdup(what), strdup(value), sure, strdup(why)};
    s->facts = f->facts, s->n_facts = f->n_facts;
}

/* ---- resolving ------------------------------------------------------------------------------------------------- */

static const ldm_place *two(const ldm_system *s, ldm_part first) { return &s->files->places.at[first]; }

/* The first stage, of the model itself: as described, or as its weights say. */
static ldm_status resolve_stage(ldm_system *s, bool *known) {
    const struct ldm_system_files *f = s->files;
    ldm_stage_config c = f->said.stage, seen;
    ldm_status st = LDM_OK;
    const bool there = s->has[LDM_PART_ENCODER] || s->has[LDM_PART_DECODER];
    *known = f->said.stage_known;
    if (there) {
        const ldm_files *files = two(s, s->has[LDM_PART_ENCODER] ? LDM_PART_ENCODER : LDM_PART_DECODER)->files;
        const char *family = ldm_family_of_names(files, true);
        if (family) TRY(BAD("%s: looks like %s, which is not supported yet", files->path, family));
        TRY(ldm_infer_stage(two(s, LDM_PART_ENCODER), &seen));
        if (*known && !ldm_same_stage_shapes(&c, &seen) && c.kind != LDM_STAGE_TAESD)
            TRY(BAD("%s: describes another first stage than %s holds", f->said_by, files->path));
        c = seen, *known = true;
    }
    for (int i = 0; *known && ldm_stage_list()[i]; i++)
        if (ldm_same_stage_shapes(ldm_stage_list()[i], &c)) c = *ldm_stage_list()[i];
    if (*known) s->stage = c;
done:
    return st;
}

static ldm_status resolve_tiny(ldm_system *s) {
    ldm_status st = LDM_OK;
    if (!s->has[LDM_PART_TINY_ENCODER] && !s->has[LDM_PART_TINY_DECODER]) return LDM_OK;
    TRY(ldm_infer_tiny(two(s, LDM_PART_TINY_ENCODER), &s->tiny));
    for (int i = 0; ldm_stage_list()[i]; i++)
        if (ldm_same_stage_shapes(ldm_stage_list()[i], &s->tiny)) s->tiny = *ldm_stage_list()[i];
done:
    return st;
}

static ldm_status resolve_text(ldm_system *s) {
    const struct ldm_system_files *f = s->files;
    ldm_text_config seen;
    ldm_status st = LDM_OK;
    if (s->has[LDM_PART_TEXT]) {
        TRY(ldm_infer_text(&f->places.at[LDM_PART_TEXT], &seen));
        const ldm_text_config *said = &f->said.text;
        s->text = seen;
        /* heads and the like are in no shape; of CLIP the authors' files say only which, not how large */
        const bool sized = f->said.text_known && (!f->said.condition_known || said->kind == LDM_TEXT_BERT);
        /* transformers holds CLIP and OpenCLIP under the same names: the weights do not say which */
        const bool either = f->places.at[LDM_PART_TEXT].layout == LDM_DIFFUSERS && said->kind != LDM_TEXT_BERT &&
                            seen.kind != LDM_TEXT_BERT;
        if ((f->said.text_known && said->kind != seen.kind && !either) ||
            (sized && (said->width != seen.width || said->vocab != seen.vocab || said->length != seen.length ||
                       said->layers != seen.layers)))
            TRY(BAD("%s: describes another text encoder (%d layers of %d) than the weights are (%d layers of %d)",
                    f->said_by, said->layers, said->width, seen.layers, seen.width));
        if (sized) s->text = *said;
        else if (f->said.text_known && said->skip < seen.skip) s->text.skip = said->skip;
    } else if (f->said.text_known) {
        s->text = f->said.text;
    }
    for (int i = 0; s->text.width && ldm_text_list()[i]; i++) {
        const ldm_text_config *k = ldm_text_list()[i];
        if (k->kind == s->text.kind && k->width == s->text.width && k->layers == s->text.layers &&
            k->vocab == s->text.vocab && k->length == s->text.length)
            s->text.name = k->name, s->text.about = k->about;
    }
done:
    return st;
}

/* Rows of the class embedder, labels of the rescaler: what the small conditioner in the file is. */
static void see_conditioner(const ldm_system *s, int *classes, int *labels) {
    const ldm_place *at = &s->files->places.at[LDM_PART_CONDITION];
    const ldm_ckpt_tensor *t = ldm_files_find(at->files, "cond_stage_model.embedding.weight");
    *classes = t && t->shape.rank == 2 ? (int)t->shape.dim[0] : 0;
    t = ldm_files_find(at->files, "cond_stage_model.channel_mapper.weight");
    *labels = t && t->shape.rank == 4 ? (int)t->shape.dim[1] : 0;
}

/* Whether a known system fits all that is known of this one. */
static bool fits(const ldm_system *s, const ldm_config *k, bool stage_known, int classes, int labels) {
    const ldm_described *d = &s->files->said;
    const ldm_unet_config *u = &s->config.unet;
    const ldm_stage_config *stage = ldm_stage_find(k->stage);
    if (!ldm_same_unet_shapes(&k->unet, u)) return false;
    if (u->num_heads + u->num_head_channels &&
        (k->unet.num_heads != u->num_heads || k->unet.num_head_channels != u->num_head_channels))
        return false;
    if (stage_known && s->stage.kind != LDM_STAGE_TAESD && !ldm_same_stage_shapes(stage, &s->stage)) return false;
    if ((classes && k->n_classes != classes) || (labels && k->labels != labels)) return false;
    if (s->text.width &&
        (!k->text || ldm_text_find(k->text)->width != s->text.width || ldm_text_find(k->text)->kind != s->text.kind))
        return false;
    if (d->schedule &&
        (fabs(d->config.linear_start - k->linear_start) > 1e-9 || fabs(d->config.linear_end - k->linear_end) > 1e-9))
        return false;
    if (d->prediction_known && d->config.prediction != k->prediction) return false;
    if (d->condition_known && (d->config.condition != k->condition || d->config.n_classes != k->n_classes))
        return false;
    if (d->scale && d->condition_known && fabs(d->config.scale_factor - k->scale_factor) > 1e-9) return false;
    return true;
}

/* The known system that fits, released ones before those of the paper's ablation; all of them in words. Native size
 * tells two apart, but is no reason to know none. */
static const ldm_config *match(const ldm_system *s, bool stage_known, ldm_text *names) {
    const ldm_config *first = NULL;
    const int latent = s->files->said.config.latent;
    int classes, labels;
    see_conditioner(s, &classes, &labels);
    for (int pass = 0; pass < 4 && !(first && pass == 2); pass++)
        for (const ldm_config *const *k = ldm_config_list(); *k; k++) {
            if (((*k)->f > 0) != (pass & 1) || (latent && pass < 2 && (*k)->latent != latent)) continue;
            if (!fits(s, *k, stage_known, classes, labels)) continue;
            if (!first) first = *k;
            ldm_text_add(names, "%s%s", names->len ? ", or " : "", (*k)->name);
        }
    return first;
}

/* The first cross-attention models were made by code that ignored num_head_channels: one head (paper, tables 13 and
 * 15). */
static bool one_head(ldm_system *s, bool stage_known) {
    ldm_unet_config *u = &s->config.unet;
    const ldm_unet_config before = *u;
    ldm_text names = {0};
    if (!s->files->said.heads_by_width_only) return false;
    u->num_heads = 1, u->num_head_channels = 0;
    const bool known = match(s, stage_known, &names) != NULL;
    if (!known) *u = before;
    ldm_text_free(&names);
    return known;
}

static void told_heads(ldm_system *s, ldm_sure sure, const char *why) {
    const ldm_unet_config *u = &s->config.unet;
    char text[80];
    snprintf(text, sizeof text, "%d %s", u->num_heads ? u->num_heads : u->num_head_channels,
             u->num_heads ? "at every level" : "channels a head");
    system_fact(s, "heads", text, sure, "%s", why);
}

static void default_heads(ldm_system *s) {
    ldm_unet_config *u = &s->config.unet;
    if (u->num_heads || u->num_head_channels) return;
    if (!u->use_spatial_transformer) u->num_head_channels = 32;
    else if (u->use_linear_in_transformer) u->num_head_channels = 64;
    else u->num_heads = 8;
    int width = u->num_head_channels ? u->num_head_channels : u->num_heads;
    if (u->model_channels % width) u->num_heads = 1, u->num_head_channels = 0;
    told_heads(s, LDM_SURE_DEFAULT, "shapes do not tell, and no known model has these; --config says otherwise");
}

/* The UNet: by --config, by a configuration file, or by its weights, with which the others must agree. */
static ldm_status resolve_unet(ldm_system *s, const char *config, const ldm_config **named) {
    const struct ldm_system_files *f = s->files;
    ldm_unet_config seen = {0}, *u = &s->config.unet;
    ldm_status st = LDM_OK;
    const bool there = s->has[LDM_PART_UNET];
    const char *family = there ? ldm_family_of_names(f->places.at[LDM_PART_UNET].files, true) : NULL;
    if (family)
        TRY(BAD("%s: looks like %s, which is not supported yet", f->places.at[LDM_PART_UNET].files->path, family));
    if (there) TRY(ldm_infer_unet(&f->places.at[LDM_PART_UNET], &seen));
    if (config && strchr(config, '=')) {
        TRY(ldm_unet_config_parse(config, u));
    } else if (config) {
        if (!(*named = ldm_config_find(config))) TRY(LDM_ERR_ARG);
        *u = (*named)->unet;
    } else {
        *u = f->said.unet ? f->said.config.unet : seen;
    }
    if (there && !ldm_same_unet_shapes(&seen, u))
        TRY(BAD("%s: describes another UNet than %s holds", config ? config : f->said_by,
                f->places.at[LDM_PART_UNET].files->path));
    if (there) u->use_linear_in_transformer = seen.use_linear_in_transformer; /* the same layer, stored another way */
done:
    return st;
}

/* What a configuration file says wins over what is known of the like. */
static void take_described(ldm_config *c, const ldm_config *said) {
    c->condition = said->condition, c->n_classes = said->n_classes, c->null_class = said->null_class;
    c->labels = said->labels, c->noise_levels = said->noise_levels;
    c->scale_by_std = said->scale_by_std, c->ema = said->ema;
    if (said->tokens) c->tokens = said->tokens;
}

/* Of a model that nothing describes, how it is conditioned: by the channels and conditioners that are there. */
static void guess_condition(ldm_system *s) {
    ldm_config *c = &s->config;
    const bool cross = c->unet.use_spatial_transformer, more = c->unet.in_channels > c->unet.out_channels;
    see_conditioner(s, &c->n_classes, &c->labels);
    c->null_class = c->n_classes == 1001 ? 1000 : -1; /* the authors' null class is the one past ImageNet's */
    c->condition = c->n_classes    ? LDM_COND_CLASS
                   : cross && more ? LDM_COND_HYBRID
                   : cross         ? LDM_COND_CONTEXT
                   : more          ? LDM_COND_CONCAT
                                   : LDM_COND_NONE;
    c->tokens = c->n_classes ? 1 : s->text.width ? s->text.length : cross ? 77 : 0;
}

/* The UNet and everything that a known system says of one like it. */
static ldm_status resolve_config(ldm_system *s, const ldm_system_options *o, bool stage_known) {
    const ldm_described *d = &s->files->said;
    const ldm_config *known = NULL;
    ldm_text names = {0};
    ldm_status st = LDM_OK;
    const char *told = o->config && ldm_config_is_path(o->config) ? NULL : o->config;
    TRY(resolve_unet(s, told, &known));
    if (!known && one_head(s, stage_known))
        system_fact(s, "heads", "1 at every level", LDM_SURE_SHAPES,
                    "%s has num_head_channels, which the code of this model ignored", s->files->said_by);
    if (!known) known = match(s, stage_known, &names);
    if (known) {
        const ldm_unet_config u = s->config.unet;
        s->config = *known;
        if (u.num_heads + u.num_head_channels > 0) s->config.unet = u;
        else told_heads(s, LDM_SURE_SHAPES, "shapes do not tell; what is known of this model");
    } else {
        default_heads(s);
    }
    if (told) system_fact(s, "family", s->config.name, LDM_SURE_TOLD, "--config");
    else if (known) system_fact(s, "family", known->name, LDM_SURE_SHAPES, "fits %s", names.s ? names.s : known->name);
    else system_fact(s, "family", s->config.name, LDM_SURE_DEFAULT, "names and shapes are no known model's");
    if (d->condition_known && !told) take_described(&s->config, &d->config);
    else if (!known) guess_condition(s);
    if (d->config.latent && !told && !(known && d->condition_known)) s->config.latent = d->config.latent;
    if (!s->config.latent) s->config.latent = 8 * ldm_unet_multiple(&s->config.unet);
    if (!s->text.width && s->config.text && !s->has[LDM_PART_TEXT]) s->text = *ldm_text_find(s->config.text);
    s->config.text = s->text.width ? (s->text.name ? s->text.name : "custom") : NULL;
    if (!stage_known && s->config.stage) s->stage = *ldm_stage_find(s->config.stage);
    if (s->config.labels && !d->rescaler_stages) s->files->said.rescaler_stages = 2;
done:
    ldm_text_free(&names);
    return st;
}

/* ---- schedule, prediction, scale, EMA -------------------------------------------------------------------------- */

static const ldm_ckpt_tensor *buffer(const ldm_system *s, const char *name, int64_t count) {
    const ldm_ckpt_tensor *t =
        s->has[LDM_PART_UNET] ? ldm_files_find(s->files->places.at[LDM_PART_UNET].files, name) : NULL;
    return t && ldm_shape_count(&t->shape) == count && (t->dtype == LDM_F32 || t->dtype == LDM_F64) ? t : NULL;
}

static void tabulate(const char *schedule, double start, double end, float *alphas) {
    double product = 1;
    for (int i = 0; i < TIMESTEPS; i++) {
        double beta;
        if (!strcmp(schedule, "squaredcos_cap_v2")) {
            const double a = cos((i / (double)TIMESTEPS + .008) / 1.008 * M_PI / 2),
                         b = cos(((i + 1) / (double)TIMESTEPS + .008) / 1.008 * M_PI / 2);
            beta = fmin(1 - b * b / (a * a), .999);
        } else { /* sqrt_linear: linear in beta */
            beta = start + i / (double)(TIMESTEPS - 1) * (end - start);
        }
        product *= 1 - beta;
        alphas[i] = (float)product;
    }
}

static ldm_status resolve_schedule(ldm_system *s) {
    struct ldm_system_files *f = s->files;
    const ldm_described *d = &f->said;
    const ldm_ckpt_tensor *t = buffer(s, "alphas_cumprod", TIMESTEPS);
    char text[80];
    ldm_status st = LDM_OK;
    ldm_sure sure = LDM_SURE_SHAPES;
    const char *why = "as known of this model";
    if (d->schedule) {
        s->config.linear_start = d->config.linear_start, s->config.linear_end = d->config.linear_end;
        sure = LDM_SURE_FILE, why = s->scheduler ? "the folder's scheduler" : f->said_by;
    } else if (!(s->config.linear_start > 0)) {
        s->config.linear_start = .00085, s->config.linear_end = .012;
        sure = LDM_SURE_DEFAULT, why = "nothing says; what most models have";
    }
    snprintf(text, sizeof text, "%g to %g, linear in sqrt beta", s->config.linear_start, s->config.linear_end);
    if (t || (d->schedule && strcmp(d->beta_schedule, "linear"))) {
        TRY(ldm_alloc(TIMESTEPS * sizeof *f->alphas, (void **)&f->alphas));
        if (t) TRY(ldm_ckpt_load_f32(t, f->alphas));
        else tabulate(d->beta_schedule, s->config.linear_start, s->config.linear_end, f->alphas);
        for (int i = 0; i < TIMESTEPS; i++)
            if (!(f->alphas[i] > 0) || !(f->alphas[i] < (i ? f->alphas[i - 1] : 1.0f)))
                TRY(BAD("%s: alphas_cumprod does not fall from 1 to 0 (element %d is %g)", s->path, i,
                        (double)f->alphas[i]));
        s->alphas_cumprod = f->alphas;
        if (t)
            sure = LDM_SURE_FILE, why = "alphas_cumprod in the file",
            snprintf(text, sizeof text, "%g ... %g", (double)f->alphas[0], (double)f->alphas[TIMESTEPS - 1]);
        else snprintf(text, sizeof text, "%s", d->beta_schedule);
    }
    system_fact(s, "schedule", text, sure, "%s", why);
done:
    return st;
}

static const char *const predictions[] = {"eps", "v", "x0"};

static ldm_status resolve_prediction(ldm_system *s, const char *word) {
    const ldm_described *d = &s->files->said;
    const ldm_unet_config *u = &s->config.unet;
    ldm_sure sure = LDM_SURE_SHAPES;
    const char *why = "as known of this model";
    if (word && strcmp(word, "auto")) {
        int i = 0;
        while (i < 3 && strcmp(word, predictions[i])) i++;
        if (i == 3) return ldm_fail(LDM_ERR_ARG, "--prediction %s: wanted eps, v, x0 or auto", word);
        s->config.prediction = (ldm_prediction)i, sure = LDM_SURE_TOLD, why = "--prediction";
    } else if (d->prediction_known) {
        s->config.prediction = d->config.prediction, sure = LDM_SURE_FILE,
        why = s->scheduler ? "the folder's scheduler" : s->files->said_by;
    } else if (u->use_linear_in_transformer && u->context_dim == 1024 && u->in_channels == u->out_channels &&
               s->files->sets) {
        s->prediction_unsure = true, sure = LDM_SURE_DEFAULT;
        why = "files of Stable Diffusion 2 do not say; one call of the UNet tells when pictures are made, or "
              "--prediction";
    } else if (!strcmp(s->config.name, "custom")) {
        sure = LDM_SURE_DEFAULT, why = "nothing says; --prediction does";
    }
    system_fact(s, "prediction", predictions[s->config.prediction], sure, "%s", why);
    return LDM_OK;
}

void ldm_system_probe(ldm_system *s, const float *output, int64_t count) {
    double mean = 0;
    for (int64_t i = 0; i < count; i++) mean += (double)output[i] - .5;
    mean /= (double)(count ? count : 1);
    if (!s->prediction_unsure) return;
    s->prediction_unsure = false;
    s->config.prediction = mean < -1 ? LDM_PREDICT_V : LDM_PREDICT_EPS;
    const ldm_config *sd2 = ldm_config_find("sd2");
    if (!strcmp(s->config.name, "sd2-base") && mean < -1)
        s->config.name = sd2->name, s->config.about = sd2->about, s->config.latent = sd2->latent;
    system_fact(s, "prediction", predictions[s->config.prediction], LDM_SURE_FILE,
                "of 0.5 at t = 999 the UNet makes %+.3f on average", mean);
}

static ldm_status resolve_scale(ldm_system *s, bool tiny_is_stage, bool tiny_beside) {
    const ldm_ckpt_tensor *t = buffer(s, "scale_factor", 1);
    const ldm_described *d = &s->files->said;
    char text[40];
    ldm_sure sure = LDM_SURE_SHAPES;
    const char *why = "as known of this model";
    float v;
    if (t) {
        ldm_status st = ldm_ckpt_load_f32(t, &v);
        if (st) return st;
        if (!(v > 0) || !isfinite(v)) return BAD("%s: scale_factor is %g, wanted above 0", s->path, (double)v);
        s->config.scale_factor = v, sure = LDM_SURE_FILE, why = "a buffer of the file";
    } else if (d->scale) {
        s->config.scale_factor = d->config.scale_factor, sure = LDM_SURE_FILE;
        why = s->files->folder ? "the folder's autoencoder" : s->files->said_by;
        if (s->config.scale_by_std && s->files->sets)
            return BAD("%s: no number called scale_factor; the model is trained with one of its own (scale_by_std)",
                       s->path);
    } else if (s->config.scale_by_std && s->files->sets) {
        return BAD("%s: no number called scale_factor; %s is trained with one of its own", s->path, s->config.name);
    } else if (!strcmp(s->config.name, "custom")) {
        sure = LDM_SURE_DEFAULT, why = "nothing says";
    }
    s->stage_scale = tiny_is_stage && tiny_beside ? 1 : s->config.scale_factor;
    /* TAESD beside another first stage takes latents as the UNet has them */
    s->tiny_scale = tiny_beside ? 1 : s->config.scale_factor;
    snprintf(text, sizeof text, "%.9g", s->config.scale_factor);
    if (s->has[LDM_PART_UNET] || s->files->synthetic) system_fact(s, "scale factor", text, sure, "%s", why);
    return LDM_OK;
}

static ldm_status resolve_ema(ldm_system *s, const char *word) {
    ldm_place *at = &s->files->places.at[LDM_PART_UNET], averaged;
    const bool there =
        s->has[LDM_PART_UNET] && ldm_place_find(at->files, LDM_PART_UNET, true, &averaged) && averaged.ema;
    bool want = s->config.ema;
    if (word && strcmp(word, "on") && strcmp(word, "off") && strcmp(word, "auto"))
        return ldm_fail(LDM_ERR_ARG, "--ema %s: wanted on, off or auto", word);
    const bool told = word && strcmp(word, "auto");
    if (told) want = !strcmp(word, "on");
    if (told && want && !there) return BAD("%s: --ema on, but it holds no averaged weights (model_ema.)", s->path);
    if (want && there) *at = averaged;
    s->config.ema = want && there;
    if (there)
        system_fact(s, "EMA", want ? "averaged weights" : "raw weights",
                    told                       ? LDM_SURE_TOLD
                    : s->files->said.ema_known ? LDM_SURE_FILE
                                               : LDM_SURE_SHAPES,
                    "%s", told ? "--ema" : "the file has both; as this model is sampled from");
    return LDM_OK;
}

/* ---- task, what is missing ------------------------------------------------------------------------------------- */

static ldm_task task_of(const ldm_system *s) {
    const ldm_config *c = &s->config;
    const ldm_unet_config *u = &c->unet;
    const int extra = u->in_channels - u->out_channels;
    if (!s->has[LDM_PART_UNET] && !s->files->synthetic) return LDM_TASK_NONE;
    if (c->condition == LDM_COND_NONE) return LDM_TASK_UNCONDITIONAL;
    if (c->condition == LDM_COND_CLASS) return LDM_TASK_CLASS;
    if (c->condition == LDM_COND_CONCAT)
        return c->labels                      ? LDM_TASK_SEMANTIC
               : extra == u->out_channels + 1 ? LDM_TASK_INPAINT_LDM
                                              : LDM_TASK_SUPER_RESOLUTION;
    if (c->condition == LDM_COND_HYBRID)
        return u->num_classes ? LDM_TASK_UPSCALE : extra == 1 ? LDM_TASK_DEPTH : LDM_TASK_INPAINT_SD;
    if (s->text.width && s->text.kind == LDM_TEXT_BERT && s->text.vocab == 8192) return LDM_TASK_LAYOUT;
    return s->text.width || (strcmp(c->name, "rdm768") && !s->files->said.condition_known) ? LDM_TASK_TEXT
                                                                                           : LDM_TASK_RETRIEVAL;
}

/* The UNet must read beside the latent what its task concatenates, and nothing else. */
static ldm_status check_channels(const ldm_system *s) {
    const ldm_unet_config *u = &s->config.unet;
    const int extra = u->in_channels - u->out_channels;
    int wanted = 0;
    switch (s->task) {
    case LDM_TASK_NONE: return LDM_OK;
    case LDM_TASK_SEMANTIC: wanted = extra > 0 ? extra : 1; break; /* as many as the rescaler makes */
    case LDM_TASK_INPAINT_LDM:
    case LDM_TASK_INPAINT_SD: wanted = u->out_channels + 1; break;
    case LDM_TASK_SUPER_RESOLUTION:
    case LDM_TASK_UPSCALE: wanted = 3; break;
    case LDM_TASK_DEPTH: wanted = 1; break;
    default: break;
    }
    const char *path = s->path ? s->path : s->config.name;
    if (s->task == LDM_TASK_INPAINT_SD && extra == u->out_channels)
        return BAD("%s: looks like InstructPix2Pix, which is not supported yet", path);
    if (extra == wanted) return LDM_OK;
    return BAD("%s: the UNet reads %d channels and makes %d; a model that is conditioned so reads %d", path, u->in_channels,
               u->out_channels, u->out_channels + wanted);
}

static ldm_status look_for_missing(ldm_system *s) {
    ldm_text t = {0};
    ldm_status st = LDM_OK;
    const bool needs_text = s->task == LDM_TASK_TEXT || s->task == LDM_TASK_LAYOUT || s->task == LDM_TASK_DEPTH ||
                            s->task == LDM_TASK_UPSCALE || s->task == LDM_TASK_INPAINT_SD;
    const bool tiny = s->stage.kind == LDM_STAGE_TAESD;
    if (s->task != LDM_TASK_NONE && !s->files->synthetic) {
        if (!s->config.stage) ldm_text_add(&t, "a first stage (--vae or --taesd)");
        else if (s->stage.kind != LDM_STAGE_IDENTITY && !s->has[tiny ? LDM_PART_TINY_DECODER : LDM_PART_DECODER])
            ldm_text_add(&t, "%sa decoder (%s)", t.len ? ", " : "", tiny ? "--taesd" : "--vae");
        if (needs_text && !s->has[LDM_PART_TEXT]) ldm_text_add(&t, "%sa text encoder (--clip_l)", t.len ? ", " : "");
        if ((s->task == LDM_TASK_CLASS || s->task == LDM_TASK_SEMANTIC) && !s->has[LDM_PART_CONDITION])
            ldm_text_add(&t, "%sthe %s", t.len ? ", " : "",
                         s->task == LDM_TASK_CLASS ? "class embedder" : "rescaler of label maps");
    }
    if (t.len) TRY(system_copy(t.s, &s->files->missing));
    s->missing = s->files->missing;
done:
    ldm_text_free(&t);
    return st;
}

ldm_status system_resolve(ldm_system *s, const ldm_system_options *o) {
    ldm_status st = LDM_OK;
    bool stage_known = false;
    s->config = (ldm_config){.name = "custom", .about = "of no known name", .null_class = -1, .scale_factor = 1};
    TRY(resolve_stage(s, &stage_known));
    TRY(resolve_tiny(s));
    TRY(resolve_text(s));
    const bool described_tiny = s->files->said.stage_known && s->files->said.stage.kind == LDM_STAGE_TAESD;
    if (s->has[LDM_PART_UNET] || s->files->synthetic) {
        TRY(resolve_config(s, o, stage_known));
        TRY(resolve_schedule(s));
        TRY(resolve_prediction(s, o->prediction));
    }
    /* the tiny one decodes if it was asked for, or nothing else can */
    const bool has_tiny = s->tiny.z_channels > 0, other = s->has[LDM_PART_ENCODER] || s->has[LDM_PART_DECODER];
    const bool use_tiny = has_tiny && (!o->taesd_previews || !other);
    const bool beside = !described_tiny && (s->config.stage || other);
    if (use_tiny) s->stage = s->tiny;
    TRY(resolve_scale(s, use_tiny, beside));
    TRY(resolve_ema(s, o->ema));
    s->files->places.unet = &s->config.unet;
    s->files->places.stage = &s->stage;
    if (use_tiny && other) { /* plans of the autoencoder are not made then */
        s->has[LDM_PART_ENCODER] = s->has[LDM_PART_DECODER] = false;
    }
    s->task = task_of(s);
    TRY(check_channels(s));
    if (s->config.stage || s->stage.z_channels) s->config.stage = s->stage.name ? s->stage.name : "custom";
    const int c = ldm_stage_latent_channels(&s->stage);
    if (s->task != LDM_TASK_NONE && (s->stage.z_channels || s->stage.kind == LDM_STAGE_IDENTITY) && s->config.stage &&
        c != s->config.unet.out_channels)
        TRY(BAD("%s: the first stage has latents of %d channels, the UNet makes %d", s->path ? s->path : s->config.name,
                c, s->config.unet.out_channels));
    if (s->task != LDM_TASK_NONE && s->has[LDM_PART_TEXT] && s->config.unet.use_spatial_transformer &&
        s->text.width != s->config.unet.context_dim)
        TRY(BAD("%s: the text encoder makes tokens of %d channels, the UNet reads %d", s->path, s->text.width,
                s->config.unet.context_dim));
    if (s->config.stage)
        system_fact(s, "first stage", s->config.stage,
                    use_tiny && o->taesd         ? LDM_SURE_TOLD
                    : s->files->said.stage_known ? LDM_SURE_FILE
                                                 : LDM_SURE_SHAPES,
                    "%s",
                    use_tiny && o->taesd ? "--taesd"
                    : stage_known        ? "its weights"
                                         : "as known of this model");
    if (s->text.width)
        system_fact(s, "text encoder", s->text.name ? s->text.name : "custom",
                    s->has[LDM_PART_TEXT] ? LDM_SURE_FILE : LDM_SURE_SHAPES,
                    "%d layers of %d, %d heads, vocabulary %d, %d tokens", s->text.layers, s->text.width, s->text.heads,
                    s->text.vocab, s->text.length);
    TRY(look_for_missing(s));
done:
    return st;
}
