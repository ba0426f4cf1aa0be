/* system.c -- see system.h. Files are opened, parts found in them, then each thing a picture needs is resolved in one
 * place: options first, then configuration files, then what the weights say, then the documented default, each with its
 * reason. */
#include "model/system_internal.h"
#include "model/families.h"
#include "model/infer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TIMESTEPS = 1000 };
#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

static bool ends(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static ldm_status copy(const char *s, char **out) {
    free(*out);
    return (*out = strdup(s)) ? LDM_OK : ldm_fail(LDM_ERR_NOMEM, "host memory for a name is not there");
}

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

/* ---- opening --------------------------------------------------------------------------------------------------- */

static ldm_status open_set(ldm_system *s, const char *path, ldm_files **out) {
    struct ldm_system_files *f = s->files;
    if (f->sets == SYSTEM_SETS) return BAD("%s: more than %d parts", path, SYSTEM_SETS);
    ldm_status st = ldm_files_open(path, &f->set[f->sets]);
    if (!st) *out = f->set[f->sets++];
    return st;
}

enum {
    STAGE = 1 << LDM_PART_ENCODER | 1 << LDM_PART_DECODER,
    TINY = 1 << LDM_PART_TINY_ENCODER | 1 << LDM_PART_TINY_DECODER,
    TEXT = 1 << LDM_PART_TEXT,
    UNET = 1 << LDM_PART_UNET,
    COND = 1 << LDM_PART_CONDITION,
    ALL = UNET | STAGE | TINY | TEXT | COND
};

/* Parts (a set of bits) of the system that are in these files take their place there. Returns those found. */
static int take(ldm_system *s, const ldm_files *files, int parts) {
    int found = 0;
    for (int i = 0; i < LDM_PARTS; i++) {
        if (!(parts >> i & 1) || !ldm_place_find(files, (ldm_part)i, false, &s->files->places.at[i])) continue;
        s->has[i] = true, found |= 1 << i;
    }
    return found;
}

/* Files in which no part was found: what are they? */
static ldm_status unknown(const ldm_files *f, const char *wanted) {
    const char *family = ldm_family_of_names(f);
    if (family) return BAD("%s: looks like %s, which is not supported yet", f->path, family);
    return BAD("%s: no %s in it that is known here (%d tensors, the first %.96s)", f->path, wanted,
               ldm_ckpt_count(f->ckpt[0]), ldm_ckpt_count(f->ckpt[0]) ? ldm_ckpt_at(f->ckpt[0], 0)->name : "none");
}

/* The config.json of a part, if it has one, joins what is said. */
static ldm_status read_part_config(ldm_system *s, const char *folder) {
    char path[4096];
    ldm_tree t = {0};
    ldm_status st = LDM_OK;
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (!ldm_is_file(path)) return LDM_OK;
    TRY(ldm_tree_open(path, &t));
    TRY(ldm_described_part(&t, &s->files->said));
    if (!s->files->said_by) TRY(copy(path, &s->files->said_by));
done:
    ldm_tree_close(&t);
    return st;
}

/* The scheduler's class and all its keys, for the samplers that obey it. */
static ldm_status read_scheduler(ldm_system *s, const char *path) {
    struct ldm_system_files *f = s->files;
    ldm_tree t = {0};
    const char *key;
    ldm_node *value;
    int n = 0;
    ldm_status st = LDM_OK;
    TRY(ldm_tree_open(path, &t));
    TRY(ldm_described_part(&t, &f->said));
    for (void *at = NULL; ldm_tree_next(t.root, &at, &key, &value);) n++;
    TRY(ldm_alloc(((size_t)n + 1) * sizeof *f->keys, (void **)&f->keys));
    n = 0;
    for (void *at = NULL; ldm_tree_next(t.root, &at, &key, &value);) {
        ldm_text words = {0};
        ldm_tree_words(value, &words);
        if (words.s && !strcmp(words.s, "null")) {
            ldm_text_free(&words);
            continue;
        }
        f->keys[n].value = words.s;
        TRY(copy(key, &f->keys[n].key));
        if (!words.s) TRY(copy("", &f->keys[n].value));
        n++;
    }
    TRY(copy(f->said.scheduler_class, &f->scheduler));
    s->scheduler = f->scheduler, s->scheduler_config = f->keys;
done:
    ldm_tree_close(&t);
    return st;
}

/* A folder with model_index.json. Parts that make no picture (safety_checker, feature_extractor) are passed over. */
static ldm_status open_folder(ldm_system *s, const char *folder) {
    static const struct {
        const char *name;
        int parts;
    } known[] = {{"unet", UNET}, {"vae", STAGE | TINY}, {"vqvae", STAGE}, {"text_encoder", TEXT}, {"bert", TEXT}};
    static const char *const pipelines[] = {"StableDiffusion", "LDM", "LatentConsistency", "DDIM", "DDPM", "PNDM"};
    ldm_status st = LDM_OK;
    ldm_tree t = {0};
    ldm_files *files;
    char path[4096];
    const char *name = NULL;
    bool fine = false;
    snprintf(path, sizeof path, "%s/model_index.json", folder);
    TRY(ldm_tree_open(path, &t));
    TRY(ldm_tree_text(&t, t.root, "_class_name", &name));
    const char *other = name ? ldm_family_of_pipeline(name) : NULL;
    if (other) TRY(BAD("%s: is for %.60s: looks like %s, which is not supported yet", path, name, other));
    for (size_t i = 0; name && i < sizeof pipelines / sizeof *pipelines; i++)
        fine = fine || !strncmp(name, pipelines[i], strlen(pipelines[i]));
    if (!fine) TRY(BAD("%s: is for %.60s, which is not supported", path, name ? name : "no pipeline that it names"));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        ldm_node *entry = ldm_tree_at(t.root, known[i].name);
        if (!entry || !ldm_tree_string(ldm_tree_item(entry, 1))) continue; /* absent, or [null, null] */
        snprintf(path, sizeof path, "%s/%s", folder, known[i].name);
        TRY(open_set(s, path, &files));
        if (!take(s, files, known[i].parts)) TRY(unknown(files, known[i].name));
        TRY(read_part_config(s, path));
    }
    if (!s->files->said.scale && ldm_tree_at(t.root, "_scale_factor")) { /* ours, of a folder without an autoencoder */
        TRY(ldm_tree_number(&t, t.root, "_scale_factor", &s->files->said.config.scale_factor));
        if (!(s->files->said.config.scale_factor > 0)) TRY(BAD("%s: _scale_factor is not above 0", path));
        s->files->said.scale = true;
    }
    snprintf(path, sizeof path, "%s/scheduler/scheduler_config.json", folder);
    if (ldm_is_file(path)) TRY(read_scheduler(s, path));
    snprintf(path, sizeof path, "%s/tokenizer", folder);
    if (ldm_is_folder(path)) {
        TRY(copy(path, &s->files->tokenizer));
        s->tokenizer = s->files->tokenizer;
    }
    if (!s->has[LDM_PART_UNET]) TRY(BAD("%s: names no unet", folder));
    s->files->folder = true;
done:
    ldm_tree_close(&t);
    return st;
}

/* A file or folder that holds some of `parts`; "Wanted" goes into the sentence if it holds none. */
static ldm_status open_part(ldm_system *s, const char *path, int parts, const char *wanted) {
    ldm_status st = LDM_OK;
    ldm_files *files;
    char index[4096], folder[4096];
    snprintf(index, sizeof index, "%s/model_index.json", path);
    if (ldm_is_file(index) && parts == ALL) return open_folder(s, path);
    TRY(open_set(s, path, &files));
    const int found = take(s, files, parts);
    if (!found) TRY(unknown(files, wanted));
    /* of a diffusers part: the configuration in its folder */
    for (int i = 0; i < LDM_PARTS; i++) {
        if (!(found >> i & 1) || s->files->places.at[i].layout != LDM_DIFFUSERS) continue;
        const char *slash = strrchr(path, '/');
        if (ldm_is_folder(path)) snprintf(folder, sizeof folder, "%s", path);
        else if (slash) snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        else snprintf(folder, sizeof folder, ".");
        TRY(read_part_config(s, folder));
        break;
    }
done:
    return st;
}

/* The tiny autoencoder's halves may be files of their own in a folder, or one of them be named. */
static ldm_status open_tiny(ldm_system *s, const char *path) {
    static const char *const names[] = {"taesd", "taef2", "taesdxl"}, *const kinds[] = {".pth", ".safetensors"};
    static const char *const halves[] = {"encoder", "decoder"};
    ldm_status st = LDM_OK;
    char file[4096];
    bool any = false;
    if (!ldm_is_folder(path)) return open_part(s, path, TINY, "tiny autoencoder");
    for (int n = 0; n < 3; n++)
        for (int k = 0; k < 2; k++)
            for (int h = 0; h < 2; h++) {
                snprintf(file, sizeof file, "%s/%s_%s%s", path, names[n], halves[h], kinds[k]);
                if (!ldm_is_file(file)) continue;
                TRY(open_part(s, file, h ? 1 << LDM_PART_TINY_DECODER : 1 << LDM_PART_TINY_ENCODER,
                              "tiny autoencoder"));
                any = true;
            }
    if (!any) TRY(open_part(s, path, TINY, "tiny autoencoder"));
done:
    return st;
}

/* The authors' .yaml: given, or beside the checkpoint under its name or as config.yaml. */
static ldm_status read_yaml(ldm_system *s, const char *path, bool given) {
    ldm_status st = LDM_OK;
    ldm_tree t = {0};
    TRY(ldm_tree_open(path, &t));
    if (!given && !ldm_tree_at(t.root, "model.target")) goto done; /* somebody else's */
    TRY(ldm_described_authors(&t, &s->files->said));
    TRY(copy(path, &s->files->said_by));
done:
    ldm_tree_close(&t);
    return st;
}

static ldm_status find_yaml(ldm_system *s, const ldm_system_options *o) {
    char path[4096];
    if (o->config && (ends(o->config, ".yaml") || ends(o->config, ".yml"))) return read_yaml(s, o->config, true);
    if (o->config || !o->model || s->files->folder || ldm_is_folder(o->model) || s->files->said_by) return LDM_OK;
    const char *slash = strrchr(o->model, '/'), *dot = strrchr(o->model, '.');
    const int folder = slash ? (int)(slash - o->model + 1) : 0,
              stem = dot && dot > o->model + folder ? (int)(dot - o->model) : (int)strlen(o->model);
    snprintf(path, sizeof path, "%.*s.yaml", stem, o->model);
    if (ldm_is_file(path)) return read_yaml(s, path, false);
    snprintf(path, sizeof path, "%.*sconfig.yaml", folder, o->model);
    return ldm_is_file(path) ? read_yaml(s, path, false) : LDM_OK;
}

static ldm_status open_all(ldm_system *s, const ldm_system_options *o) {
    ldm_status st = LDM_OK;
    const char *first = o->model ? o->model : o->diffusion_model ? o->diffusion_model : o->vae ? o->vae : o->taesd;
    if (o->synthetic ? first != NULL : !first)
        return ldm_fail(LDM_ERR_ARG,
                        "weights: give a checkpoint (-m, --diffusion-model, --vae or --taesd), or --synthetic SEED");
    if (first) TRY(copy(first, &s->files->path));
    s->path = s->files->path;
    s->files->synthetic = o->synthetic, s->files->seed = o->seed;
    if (o->model) TRY(open_part(s, o->model, ALL, "network"));
    if (o->diffusion_model) TRY(open_part(s, o->diffusion_model, UNET, "UNet"));
    if (o->vae) TRY(open_part(s, o->vae, STAGE, "autoencoder"));
    if (o->clip_l) TRY(open_part(s, o->clip_l, TEXT, "text encoder"));
    if (o->taesd) TRY(open_tiny(s, o->taesd));
    TRY(find_yaml(s, o));
done:
    return st;
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
        TRY(ldm_infer_stage(two(s, LDM_PART_ENCODER), &seen));
        if (*known && !ldm_same_stage_shapes(&c, &seen) && c.kind != LDM_STAGE_TAESD)
            TRY(BAD("%s: describes another first stage than %s holds", f->said_by,
                    two(s, s->has[LDM_PART_ENCODER] ? LDM_PART_ENCODER : LDM_PART_DECODER)->files->path));
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
        if ((f->said.text_known && said->kind != seen.kind) ||
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

static void default_heads(ldm_system *s) {
    ldm_unet_config *u = &s->config.unet;
    if (u->num_heads || u->num_head_channels) return;
    if (!u->use_spatial_transformer) u->num_head_channels = 32;
    else if (u->use_linear_in_transformer) u->num_head_channels = 64;
    else u->num_heads = 8;
    int width = u->num_head_channels ? u->num_head_channels : u->num_heads;
    if (u->model_channels % width) u->num_heads = 1, u->num_head_channels = 0;
    char text[80];
    snprintf(text, sizeof text, "%d %s", u->num_heads ? u->num_heads : u->num_head_channels,
             u->num_heads ? "at every level" : "channels a head");
    system_fact(s, "heads", text, LDM_SURE_DEFAULT,
                "shapes do not tell, and no known model has these; --config says otherwise");
}

/* The UNet and everything that a known system says of one like it. */
static ldm_status resolve_config(ldm_system *s, const ldm_system_options *o, bool stage_known) {
    struct ldm_system_files *f = s->files;
    ldm_described *d = &f->said;
    const ldm_config *known = NULL;
    ldm_unet_config seen = {0};
    ldm_text names = {0};
    ldm_status st = LDM_OK;
    const bool named = o->config && !ends(o->config, ".yaml") && !ends(o->config, ".yml");
    if (s->has[LDM_PART_UNET]) TRY(ldm_infer_unet(&f->places.at[LDM_PART_UNET], &seen));
    if (named && strchr(o->config, '=')) {
        TRY(ldm_unet_config_parse(o->config, &s->config.unet));
    } else if (named) {
        if (!(known = ldm_config_find(o->config))) TRY(LDM_ERR_ARG);
        s->config.unet = known->unet;
    } else {
        s->config.unet = d->unet ? d->config.unet : seen;
    }
    if (s->has[LDM_PART_UNET] && !ldm_same_unet_shapes(&seen, &s->config.unet))
        TRY(BAD("%s: describes another UNet than %s holds", named ? o->config : f->said_by,
                f->places.at[LDM_PART_UNET].files->path));
    s->config.unet.use_linear_in_transformer =
        s->has[LDM_PART_UNET] ? seen.use_linear_in_transformer : s->config.unet.use_linear_in_transformer;
    if (known) {
        ldm_text_add(&names, "%s", known->name);
    } else {
        if (one_head(s, stage_known))
            system_fact(s, "heads", "1 at every level", LDM_SURE_SHAPES,
                        "%s has num_head_channels, which the code of this model ignored", f->said_by);
        known = match(s, stage_known, &names);
    }
    if (known) {
        const bool heads = s->config.unet.num_heads + s->config.unet.num_head_channels > 0;
        const ldm_unet_config u = s->config.unet;
        s->config = *known;
        if (heads) s->config.unet = u;
        else
            system_fact(s, "heads",
                        known->unet.num_heads == 1 ? "1 at every level"
                        : known->unet.num_heads    ? "as known of it"
                                                   : "by width, as known of it",
                        LDM_SURE_SHAPES, "shapes do not tell; what %s has", known->name);
    } else {
        default_heads(s);
    }
    TRY(copy(names.s ? names.s : "custom", &f->names));
    system_fact(s, "family", s->config.name,
                named   ? LDM_SURE_TOLD
                : known ? LDM_SURE_SHAPES
                        : LDM_SURE_DEFAULT,
                "%s%s",
                named   ? "--config"
                : known ? "fits "
                        : "names and shapes are no known model's",
                named || !known ? "" : f->names);
    /* what a configuration file says wins over what is known of the like */
    if (d->condition_known && !named) {
        const ldm_config *c = &d->config;
        s->config.condition = c->condition, s->config.n_classes = c->n_classes, s->config.null_class = c->null_class;
        s->config.labels = c->labels, s->config.noise_levels = c->noise_levels,
        s->config.scale_by_std = c->scale_by_std;
        s->config.ema = c->ema;
        if (c->tokens) s->config.tokens = c->tokens;
    }
    if (d->config.latent && !named && !(known && d->condition_known)) s->config.latent = d->config.latent;
    if (!d->condition_known && !known) { /* by what is there */
        const ldm_unet_config *u = &s->config.unet;
        int classes, labels;
        see_conditioner(s, &classes, &labels);
        s->config.n_classes = classes, s->config.labels = labels, s->config.null_class = classes == 1001 ? 1000 : -1;
        s->config.condition = classes                                                          ? LDM_COND_CLASS
                              : u->use_spatial_transformer && u->in_channels > u->out_channels ? LDM_COND_HYBRID
                              : u->use_spatial_transformer                                     ? LDM_COND_CONTEXT
                              : u->in_channels > u->out_channels                               ? LDM_COND_CONCAT
                                                                                               : LDM_COND_NONE;
        s->config.tokens = classes ? 1 : s->text.width ? s->text.length : u->use_spatial_transformer ? 77 : 0;
    }
    if (!s->config.latent) s->config.latent = 8 * ldm_unet_multiple(&s->config.unet);
    if (!s->text.width && s->config.text && !s->has[LDM_PART_TEXT]) s->text = *ldm_text_find(s->config.text);
    s->config.text = s->text.width ? (s->text.name ? s->text.name : "custom") : NULL;
    if (!stage_known && s->config.stage) s->stage = *ldm_stage_find(s->config.stage);
    if (s->config.labels && !f->said.rescaler_stages) f->said.rescaler_stages = 2;
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
    if (t.len) TRY(copy(t.s, &s->files->missing));
    s->missing = s->files->missing;
done:
    ldm_text_free(&t);
    return st;
}

static ldm_status resolve(ldm_system *s, const ldm_system_options *o) {
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
    if (s->config.stage || s->stage.z_channels) s->config.stage = s->stage.name ? s->stage.name : "custom";
    const int c = ldm_stage_latent_channels(&s->stage);
    if (s->task != LDM_TASK_NONE && (s->stage.z_channels || s->stage.kind == LDM_STAGE_IDENTITY) && s->config.stage &&
        c != s->config.unet.out_channels)
        TRY(BAD("%s: the first stage has latents of %d channels, the UNet makes %d", s->path ? s->path : s->config.name,
                c, s->config.unet.out_channels));
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

/* ---- the whole ------------------------------------------------------------------------------------------------- */

ldm_status ldm_system_open(const ldm_system_options *o, ldm_system **out) {
    ldm_status st = LDM_OK;
    ldm_system *s = NULL;
    TRY(ldm_alloc(sizeof *s, (void **)&s));
    TRY(ldm_alloc(sizeof *s->files, (void **)&s->files));
    TRY(open_all(s, o));
    TRY(resolve(s, o));
    *out = s, s = NULL;
done:
    ldm_system_close(s);
    return st;
}

void ldm_system_close(ldm_system *s) {
    if (!s) return;
    struct ldm_system_files *f = s->files;
    for (int i = 0; f && i < f->sets; i++) ldm_files_close(f->set[i]);
    for (int i = 0; f && i < f->n_facts; i++) free(f->facts[i].what), free(f->facts[i].value), free(f->facts[i].why);
    for (int i = 0; f && f->keys && f->keys[i].key; i++) free(f->keys[i].key), free(f->keys[i].value);
    if (f)
        free(f->facts), free(f->keys), free(f->alphas), free(f->missing), free(f->path), free(f->tokenizer),
            free(f->scheduler), free(f->names), free(f->said_by);
    free(f);
    free(s);
}

ldm_status ldm_system_source(ldm_system *s, const ldm_plan *p, ldm_binding **b, ldm_source *out) {
    if (s->files->synthetic) return *b = NULL, *out = ldm_source_synthetic(&s->files->seed), LDM_OK;
    ldm_status st = ldm_bind_places(p, &s->files->places, NULL, b);
    if (!st) *out = ldm_binding_source(*b);
    return st;
}
