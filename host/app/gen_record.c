/* gen_record.c -- see gen_record.h. */
#include "app/gen_record.h"
#include "app/path_hash.h"
#include "app/record.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef LDM_VERSION
#define LDM_VERSION "0.1"
#endif
#define ARGUMENTS "Arguments"

ldm_status app_record_begin(const app_gen_options *g, const ldm_system *s, const ldm_device *d, app_record *out) {
    const char *path = g->model ? g->model : g->diffusion_model;
    *out = (app_record){.g = g, .system = s, .device = d};
    return path ? app_path_hash(path, out->model) : LDM_OK;
}

/* ---- writing ---- */

typedef struct list {
    json_t *array;
    ldm_status st;
} list;

static void add(list *l, const char *name, const char *value) {
    if (!value) return;
    if (json_array_append_new(l->array, json_string(name)) || json_array_append_new(l->array, json_string(value)))
        l->st = ldm_fail(LDM_ERR_NOMEM, "host memory for arguments is not there");
}

static void add_number(list *l, const char *name, double v) {
    char text[40];
    if (v == APP_UNSET) return;
    snprintf(text, sizeof text, "%.17g", v);
    add(l, name, text);
}

static void add_flag(list *l, const char *name, bool on) {
    if (on && json_array_append_new(l->array, json_string(name))) l->st = ldm_fail(LDM_ERR_NOMEM, "host memory for arguments is not there");
}

/* A file or folder by its contents; what is no path (a configuration's name) as it is. */
static void add_path(list *l, const char *name, const char *path) {
    char text[80] = "sha256:";
    struct stat sb;
    if (!path || l->st) return;
    if (stat(path, &sb) != 0) add(l, name, path);
    else if (!(l->st = app_path_hash(path, text + strlen(text)))) add(l, name, text);
}

static ldm_status arguments(const app_record *r, const app_picture *m, char **out) {
    const app_gen_options *g = r->g;
    list l = {.array = json_array()};
    char seed[32];
    add_path(&l, "--model", g->model);
    add_path(&l, "--diffusion-model", g->diffusion_model);
    add_path(&l, "--vae", g->vae);
    add_path(&l, "--taesd", g->taesd_previews ? NULL : g->taesd);
    add_path(&l, "--clip_l", g->clip_l);
    add_path(&l, "--config", g->config);
    add(&l, "--prediction", g->prediction);
    add(&l, "--ema", g->ema);
    if (g->synthetic >= 0) add_number(&l, "--synthetic", (double)g->synthetic);
    add_path(&l, "--init-img", g->init);
    add_path(&l, "--mask", g->mask);
    add_path(&l, "--layout", g->layout);
    add_path(&l, "--semantic", g->semantic);
    add_path(&l, "--upscale", g->upscale);
    add_path(&l, "--depth", g->depth);
    add_path(&l, "--context", g->context);
    add_path(&l, "--init-latent", g->init_latent);
    if (m->prompt && !*m->prompt) add(&l, "--prompt", ""); /* which the grammar cannot tell from none */
    if (g->init_latent) add_number(&l, "--first", (double)m->number);
    if (g->init) add_number(&l, "--strength", g->strength);
    add(&l, "--strength-convention", g->convention);
    add(&l, "--resize", g->resize);
    add_number(&l, "--noise-level", g->noise_level);
    if (r->system->config.condition == LDM_COND_CLASS) add_number(&l, "--class-id", m->class_id);
    add(&l, "--sampling-method", g->sampling_method);
    add(&l, "--scheduler", g->scheduler);
    add(&l, "--sigmas", g->sigmas);
    add_number(&l, "--steps", g->steps);
    add_number(&l, "--cfg-scale", g->cfg_scale);
    add_number(&l, "--cfg-rescale", g->cfg_rescale);
    add_number(&l, "--eta", g->eta);
    add_flag(&l, "--quantize-x0", g->quantize_x0);
    add_number(&l, "--patch-size", g->patch_size);
    add_number(&l, "--patch-stride", g->patch_stride);
    add_flag(&l, "--patch-vae", g->patch_vae);
    add_number(&l, "--clip-skip", g->clip_skip);
    add_number(&l, "--width", g->width);
    add_number(&l, "--height", g->height);
    snprintf(seed, sizeof seed, "%lld", (long long)m->seed);
    add(&l, "--seed", seed);
    add(&l, "--rng", g->rng);
    add_flag(&l, "--in-turn", r->in_turn);
    add_flag(&l, "--vae-tiling", g->vae_tiling);
    if (g->vae_tiling) add(&l, "--vae-tile-size", g->vae_tile_size);
    if (g->at_once > 1) add_number(&l, "--at-once", g->at_once);
    ldm_dtype dtype, wdtype;
    if (!l.st && !(l.st = app_storage(&dtype, &wdtype))) {
        add(&l, "--dtype", ldm_dtype_name(dtype));
        add(&l, "--wtype", ldm_dtype_name(wdtype));
    }
    add_flag(&l, "--no-fuse", !app_fuses());
    add_flag(&l, "--exact", app_device.exact);
    add_flag(&l, "--low-memory", app_device.low_memory);
    add_flag(&l, "--no-tuned", app_device.no_tuned);
    if (app_device.vector_width) add_number(&l, "--vector-width", app_device.vector_width);
    *out = l.st ? NULL : json_dumps(l.array, JSON_COMPACT);
    if (!l.st && !*out) l.st = ldm_fail(LDM_ERR_NOMEM, "host memory for arguments is not there");
    json_decref(l.array);
    return l.st;
}

/* The last name of a path without its ending. */
static const char *bare_name(const char *path, char *out, size_t cap) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    const char *from = memrchr(path, '/', n);
    from = from && from + 1 < path + n ? from + 1 : path;
    snprintf(out, cap, "%.*s", (int)(path + n - from), from);
    char *dot = strrchr(out, '.');
    if (dot && dot != out) *dot = 0;
    return out;
}

static const char *schedule_label(const ldm_sampler_options *o) {
    switch (o->sigmas) {
    case LDM_SIGMAS_KARRAS: return "Karras";
    case LDM_SIGMAS_EXPONENTIAL: return "Exponential";
    case LDM_SIGMAS_SGM_UNIFORM:
    case LDM_SIGMAS_SGM: return "SGM Uniform";
    case LDM_SIGMAS_SIMPLE: return "Simple";
    default: return "Automatic";
    }
}

static ldm_status add_hash(ldm_parameters *p, const char *key, const char *path) {
    char hex[LDM_SHA256_HEX];
    if (!path) return LDM_OK;
    ldm_status st = app_path_hash(path, hex);
    if (!st) ldm_parameters_add(p, key, "%.10s", hex);
    return st;
}

ldm_status app_record_write(const app_record *r, const app_picture *m, ldm_text *out) {
    const app_gen_options *g = r->g;
    ldm_parameters p = {0};
    ldm_status st = LDM_OK;
    char name[200], *args = NULL;
    const char *model = g->model ? g->model : g->diffusion_model;
    ldm_rng_kind rng = {0};
    ldm_parameters_prompt(&p, m->prompt, m->negative);
    ldm_parameters_add(&p, "Steps", "%d", g->steps);
    ldm_parameters_add(&p, "Sampler", "%s", r->sampler->name);
    ldm_parameters_add(&p, "Schedule type", "%s", schedule_label(r->options));
    ldm_parameters_add(&p, "CFG scale", "%.9g", g->cfg_scale);
    ldm_parameters_add(&p, "Seed", "%lld", (long long)m->seed);
    ldm_parameters_add(&p, "Size", "%dx%d", g->width, g->height);
    if (*r->model) ldm_parameters_add(&p, "Model hash", "%.10s", r->model);
    ldm_parameters_add(&p, "Model", "%s", model ? bare_name(model, name, sizeof name) : "synthetic");
    TRY(add_hash(&p, "VAE hash", g->vae ? g->vae : g->taesd_previews ? NULL : g->taesd));
    if (r->system->config.condition == LDM_COND_CLASS) ldm_parameters_add(&p, "Class", "%d", m->class_id);
    if (g->init) ldm_parameters_add(&p, "Denoising strength", "%.9g", g->strength);
    if (g->clip_skip != APP_UNSET) ldm_parameters_add(&p, "Clip skip", "%d", g->clip_skip);
    if (r->options->eta > 0) ldm_parameters_add(&p, "Eta", "%.9g", r->options->eta);
    TRY(ldm_rng_find(g->rng ? g->rng : "torch-cpu", &rng));
    ldm_parameters_add(&p, "RNG", "%s", rng.how == LDM_RNG_TORCH_CPU ? "CPU" : rng.how == LDM_RNG_TORCH_CUDA ? "NV" : "ldm");
    TRY(add_hash(&p, "Init image hash", g->init));
    TRY(add_hash(&p, "Mask hash", g->mask));
    TRY(add_hash(&p, "Layout hash", g->layout));
    TRY(add_hash(&p, "Semantic map hash", g->semantic));
    TRY(add_hash(&p, "Upscaled image hash", g->upscale));
    TRY(add_hash(&p, "Depth map hash", g->depth));
    ldm_parameters_add(&p, "Device", "%s, driver %s", r->device->name, r->device->driver);
    ldm_parameters_add(&p, "Version", "ldm %s %s", LDM_VERSION, ldm_commit());
    TRY(arguments(r, m, &args));
    ldm_parameters_add(&p, ARGUMENTS, "%s", args);
    TRY(ldm_parameters_write(&p, out));
done:
    free(args);
    ldm_parameters_free(&p);
    return st;
}

/* ---- reading ---- */

typedef struct words {
    char **word;
    int count, cap;
    bool failed;
} words;

static void put(words *w, const char *text) {
    if (w->count + 1 >= w->cap) {
        int cap = w->cap ? 2 * w->cap : 64;
        char **more = realloc(w->word, (size_t)cap * sizeof *more);
        if (!more) {
            w->failed = true;
            return;
        }
        w->word = more, w->cap = cap;
    }
    w->word[w->count] = strdup(text);
    w->failed = w->failed || !w->word[w->count];
    if (w->word[w->count]) w->word[++w->count] = NULL;
}

static void put_pair(words *w, const char *name, const char *value) {
    if (value && *value) put(w, name), put(w, value);
}

/* The generator that other programs mean; NULL: none of ours. AUTOMATIC1111 says nothing of its default, the GPU's. */
static const char *rng_of(const char *name) {
    static const char *const names[][2] = {{"CPU", "torch-cpu"}, {"cpu", "torch-cpu"}, {"GPU", "torch-cuda"}, {"NV", "torch-cuda"}, {"cuda", "torch-cuda"}};
    if (!name) return "torch-cuda";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i][0])) return names[i][1];
    return NULL;
}

static bool is_enlarged(const ldm_parameters *p) {
    return ldm_parameters_get(p, "Hires upscale") || ldm_parameters_get(p, "Hires resize") || ldm_parameters_get(p, "Hires steps");
}

/* What other programs write, as far as its keys have options here. */
static void put_common(words *w, const ldm_parameters *p) {
    const char *size = ldm_parameters_get(p, "Size"), *type = ldm_parameters_get(p, "Schedule type"),
               *sampler = ldm_parameters_get(p, "Sampler"), *skip = ldm_parameters_get(p, "Clip skip"), *eta = ldm_parameters_get(p, "Eta"),
               *sigmas = ldm_parameters_get(p, "Custom Sigmas");
    int width, height;
    char text[16], levels[2000];
    put_pair(w, "--sampling-method", sampler);
    if (type && strcmp(type, "Automatic") != 0 && (!sampler || (strcmp(sampler, "DDIM") && strcmp(sampler, "PLMS")))) put_pair(w, "--scheduler", type);
    if (sigmas && *sigmas == '[') { /* "[14.6146, 7.8399, 0.0000]" */
        size_t n = 0;
        for (; *sigmas && n + 1 < sizeof levels; sigmas++)
            if (!strchr("[] ", *sigmas)) levels[n++] = *sigmas;
        levels[n] = 0;
        put_pair(w, "--sigmas", levels);
    }
    put_pair(w, "--steps", ldm_parameters_get(p, "Steps"));
    put_pair(w, "--cfg-scale", ldm_parameters_get(p, "CFG scale"));
    put_pair(w, "--seed", ldm_parameters_get(p, "Seed"));
    if (skip && atoi(skip) > 0) put_pair(w, "--clip-skip", skip);
    if (eta && isfinite(atof(eta))) put_pair(w, "--eta", eta); /* "inf": the sampler's own */
    if (!is_enlarged(p)) put_pair(w, "--strength", ldm_parameters_get(p, "Denoising strength")); /* else it is of the second pass */
    put_pair(w, "--rng", rng_of(ldm_parameters_get(p, "RNG")));
    if (size && sscanf(size, "%dx%d", &width, &height) == 2) {
        snprintf(text, sizeof text, "%d", width), put_pair(w, "--width", text);
        snprintf(text, sizeof text, "%d", height), put_pair(w, "--height", text);
    }
}

/* Whether put_common takes a key over, or it only tells of the program and of the model, which are compared. */
static bool taken_over(const ldm_parameters *p, const char *key, const char *value) {
    static const char *const keys[] = {"Steps",     "Sampler", "Schedule type", "CFG scale",  "Seed",    "Size",
                                       "Clip skip", "Eta",     "Custom Sigmas", "Model hash", "Version", "Model"};
    if (!strcmp(key, "RNG")) return rng_of(value) != NULL;
    if (!strcmp(key, "Denoising strength")) return !is_enlarged(p);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

void app_record_left_out(const ldm_parameters *was) {
    static const char *const networks[] = {"<lora:", "<lyco:", "<hypernet:"};
    ldm_text t = {0};
    const char *model = ldm_parameters_get(was, "Model"), *sampler = ldm_parameters_get(was, "Sampler");
    if (ldm_parameters_get(was, ARGUMENTS)) return;
    for (int i = 0; i < was->count; i++) {
        const char *key = was->pairs[2 * i], *value = was->pairs[2 * i + 1];
        if (!taken_over(was, key, value)) ldm_text_add(&t, "%s%s: %s", t.len ? ", " : "", key, ldm_shown(value, strlen(value)));
    }
    if (t.s) ldm_note("of how the picture was made, not taken over: %s", t.s);
    ldm_text_free(&t);
    if (model) ldm_note("the picture was made with the model %s", ldm_shown(model, strlen(model)));
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (was->prompt && strstr(was->prompt, networks[i])) ldm_note("%s...> in the prompt is taken literally", networks[i]);
    if (sampler && !strncmp(sampler, "DPM2", 4) && !ldm_parameters_get(was, "SDCPP"))
        ldm_note("DPM2 leaves out the next-to-last noise level there, and not here");
}

static ldm_status put_record(words *w, const char *path, ldm_parameters *p) {
    ldm_png_texts t = {0};
    json_t *args = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_png_read_text(path, &t));
    const char *text = ldm_png_text(&t, "parameters");
    if (!text) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: does not say how it was made: no text called 'parameters'", path));
    TRY(ldm_parameters_parse(text, p));
    const char *own = ldm_parameters_get(p, ARGUMENTS);
    if (own) {
        args = json_loads(own, 0, NULL);
        if (!json_is_array(args)) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: its " ARGUMENTS " are no list", path));
        for (size_t i = 0; i < json_array_size(args); i++) {
            const char *word = json_string_value(json_array_get(args, i));
            if (!word) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: its " ARGUMENTS " are not all texts", path));
            put(w, word);
        }
    } else put_common(w, p);
    put_pair(w, "--prompt", p->prompt);
    put_pair(w, "--negative-prompt", p->negative);
done:
    json_decref(args);
    ldm_png_texts_free(&t);
    return st;
}

ldm_status app_record_argv(int argc, const char **argv, char ***out, int *count, ldm_parameters *was) {
    static const char option[] = "--from";
    const size_t n = strlen(option);
    words w = {0};
    ldm_status st = LDM_OK;
    int at = 0;
    for (int i = 1; i < argc && !at; i++)
        if (!strncmp(argv[i], option, n) && (argv[i][n] == '=' || (!argv[i][n] && i + 1 < argc))) at = i;
    *out = NULL, *count = argc;
    if (!at) return LDM_OK;
    const char *path = argv[at][n] == '=' ? argv[at] + n + 1 : argv[at + 1];
    put(&w, argv[0]);
    TRY(put_record(&w, path, was));
    for (int i = 1; i < argc; i++)
        if (i == at) i += argv[at][n] != '=';
        else put(&w, argv[i]);
    if (w.failed) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for options is not there"));
    *out = w.word, *count = w.count, w.word = NULL;
done:
    app_free_list(w.word);
    return st;
}

static void compare(const char *what, const char *was, const char *is) {
    if (was && strcmp(was, is) != 0) ldm_note("the picture was made with %s %s, this is %s: it may differ", what, was, is);
}

void app_record_differences(const app_record *r, const ldm_parameters *was) {
    char device[300], version[100], model[11];
    snprintf(device, sizeof device, "%s, driver %s", r->device->name, r->device->driver);
    snprintf(version, sizeof version, "ldm %s %s", LDM_VERSION, ldm_commit());
    snprintf(model, sizeof model, "%.10s", r->model);
    compare("the model", ldm_parameters_get(was, "Model hash"), model);
    compare("the device", ldm_parameters_get(was, "Device"), device);
    compare("version", ldm_parameters_get(was, "Version"), version);
}

/* ---- continuing a folder ---- */

/* The next of a list of arguments that must be the same. */
static const char *next_word(const json_t *array, size_t *at) {
    for (;; ++*at) {
        const char *word = json_string_value(json_array_get(array, *at));
        if (word && !strcmp(word, "--at-once")) ++*at;
        else if (!word || strcmp(word, "--in-turn") != 0) return ++*at, word;
    }
}

static bool same_text(const char *a, const char *b) { return !strcmp(a ? a : "", b ? b : ""); }

ldm_status app_record_continues(const app_gen_options *g, const ldm_system *s, const app_picture *m, const char *path) {
    const app_record r = {.g = g, .system = s};
    ldm_png_texts t = {0};
    ldm_parameters was = {0};
    json_t *old = NULL, *new = NULL;
    char *args = NULL;
    const char *other = NULL, *option = "", *a, *b;
    size_t at = 0, to = 0;
    ldm_status st = LDM_OK;
    TRY(ldm_png_read_text(path, &t));
    const char *text = ldm_png_text(&t, "parameters");
    if (text) TRY(ldm_parameters_parse(text, &was));
    const char *own = ldm_parameters_get(&was, ARGUMENTS);
    if (!own || !(old = json_loads(own, 0, NULL))) goto done;
    TRY(arguments(&r, m, &args));
    new = json_loads(args, 0, NULL);
    do {
        a = next_word(old, &at), b = next_word(new, &to);
        if (!same_text(a, b)) other = b && !strncmp(b, "--", 2) ? b : a && !strncmp(a, "--", 2) ? a : option;
        if (b && !strncmp(b, "--", 2)) option = b;
    } while (a && b && !other);
    if (!other && !same_text(was.prompt, m->prompt)) other = "--prompt";
    if (!other && !same_text(was.negative, m->negative)) other = "--negative-prompt";
    if (other) TRY(ldm_fail(LDM_ERR_ARG, "%s: was made with another %s; a folder is continued by the same command", path, other));
done:
    free(args);
    json_decref(old), json_decref(new);
    ldm_parameters_free(&was);
    ldm_png_texts_free(&t);
    return st;
}
