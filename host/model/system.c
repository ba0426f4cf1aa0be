/* system.c -- see system.h. Files are opened and parts found in them; what they make together is system_resolve.c's. */
#include "model/system_internal.h"
#include "model/families.h"
#include "model/infer.h"
#include <stdlib.h>
#include <string.h>

#define BAD(...) ldm_fail(LDM_ERR_FORMAT, __VA_ARGS__)

static bool ends(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

bool ldm_config_is_path(const char *config) { return ends(config, ".yaml") || ends(config, ".yml"); }

ldm_status system_copy(const char *s, char **out) {
    free(*out);
    return (*out = strdup(s)) ? LDM_OK : ldm_fail(LDM_ERR_NOMEM, "host memory for a name is not there");
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
    const char *family = ldm_family_of_names(f, false);
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
    if (!s->files->said_by) TRY(system_copy(path, &s->files->said_by));
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
        TRY(system_copy(key, &f->keys[n].key));
        if (!words.s) TRY(system_copy("", &f->keys[n].value));
        n++;
    }
    TRY(system_copy(f->said.scheduler_class, &f->scheduler));
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
    snprintf(path, sizeof path, "%s/low_res_scheduler/scheduler_config.json", folder);
    if (ldm_is_file(path)) {
        ldm_tree_close(&t);
        TRY(ldm_tree_open(path, &t));
        TRY(ldm_described_low_res(&t));
    }
    snprintf(path, sizeof path, "%s/tokenizer", folder);
    if (ldm_is_folder(path)) {
        TRY(system_copy(path, &s->files->tokenizer));
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
    TRY(system_copy(path, &s->files->said_by));
done:
    ldm_tree_close(&t);
    return st;
}

/* A folder's config.yaml may be another file's: then it says nothing. */
static ldm_status same_model(ldm_system *s) {
    struct ldm_system_files *f = s->files;
    ldm_unet_config seen = {0};
    if (!f->said_by || !f->said.unet) return LDM_OK;
    if (s->has[LDM_PART_UNET]) {
        ldm_status st = ldm_infer_unet(&f->places.at[LDM_PART_UNET], &seen);
        if (st || ldm_same_unet_shapes(&seen, &f->said.config.unet)) return st;
        ldm_note("%s: of another model than %s, and left aside", f->said_by, s->path);
    }
    f->said = (ldm_described){0};
    free(f->said_by), f->said_by = NULL;
    return LDM_OK;
}

static ldm_status find_yaml(ldm_system *s, const ldm_system_options *o) {
    char path[4096];
    if (o->config && ldm_config_is_path(o->config)) return read_yaml(s, o->config, true);
    if (o->config || !o->model || s->files->folder || ldm_is_folder(o->model) || s->files->said_by) return LDM_OK;
    const char *slash = strrchr(o->model, '/'), *dot = strrchr(o->model, '.');
    const int folder = slash ? (int)(slash - o->model + 1) : 0,
              stem = dot && dot > o->model + folder ? (int)(dot - o->model) : (int)strlen(o->model);
    snprintf(path, sizeof path, "%.*s.yaml", stem, o->model);
    if (ldm_is_file(path)) return read_yaml(s, path, false);
    snprintf(path, sizeof path, "%.*sconfig.yaml", folder, o->model);
    if (!ldm_is_file(path)) return LDM_OK;
    ldm_status st = read_yaml(s, path, false);
    return st ? st : same_model(s);
}

static ldm_status open_all(ldm_system *s, const ldm_system_options *o) {
    ldm_status st = LDM_OK;
    const char *first = o->model ? o->model : o->diffusion_model ? o->diffusion_model : o->vae ? o->vae : o->taesd;
    if (o->synthetic && first)
        return ldm_fail(LDM_ERR_ARG, "weights: both %s and --synthetic are given, wanted one of them", first);
    if (!o->synthetic && !first)
        return ldm_fail(LDM_ERR_ARG,
                        "weights: give a checkpoint (-m, --diffusion-model, --vae or --taesd), or --synthetic SEED");
    if (first) TRY(system_copy(first, &s->files->path));
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

/* ---- the whole ------------------------------------------------------------------------------------------------- */

ldm_status ldm_system_open(const ldm_system_options *o, ldm_system **out) {
    ldm_status st = LDM_OK;
    ldm_system *s = NULL;
    TRY(ldm_alloc(sizeof *s, (void **)&s));
    TRY(ldm_alloc(sizeof *s->files, (void **)&s->files));
    TRY(open_all(s, o));
    TRY(system_resolve(s, o));
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
            free(f->scheduler), free(f->said_by);
    free(f);
    free(s);
}

ldm_status ldm_system_source(ldm_system *s, const ldm_plan *p, ldm_binding **b, ldm_source *out) {
    if (s->files->synthetic) return *b = NULL, *out = ldm_source_synthetic(&s->files->seed), LDM_OK;
    ldm_status st = ldm_bind_places(p, &s->files->places, &(ldm_bind_options){.allow_foreign = true}, b);
    if (!st) *out = ldm_binding_source(*b);
    return st;
}
