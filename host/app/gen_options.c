/* gen_options.c -- see gen_options.h. */
#include "app/gen_options.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

app_gen_options app_gen;

#define TEXT(name, letter, field, what, arg) {name, letter, POPT_ARG_STRING, &app_gen.field, 0, what, arg}
#define WHOLE(name, letter, field, what, arg) {name, letter, POPT_ARG_INT, &app_gen.field, 0, what, arg}
#define REAL(name, field, what, arg) {name, 0, POPT_ARG_DOUBLE, &app_gen.field, 0, what, arg}
#define FLAG(name, letter, field, what) {name, letter, POPT_ARG_NONE, &app_gen.field, 0, what, NULL}

struct poptOption app_gen_model_table[] = {
    TEXT("model", 'm', model, "checkpoint file or diffusers folder", "PATH"),
    TEXT("diffusion-model", 0, diffusion_model, "the UNet, where it is a file of its own", "PATH"),
    TEXT("vae", 0, vae, "another first stage", "PATH"),
    TEXT("taesd", 0, taesd, "a tiny autoencoder as first stage", "PATH"),
    FLAG("taesd-preview-only", 0, taesd_previews, "... for previews only"),
    TEXT("clip_l", 0, clip_l, "the text encoder, where it is a file of its own", "PATH"),
    TEXT("config", 0, config, "configuration by name or .yaml file, where the model does not say it", "NAME"),
    TEXT("prediction", 0, prediction, "what the network predicts: eps, v, x0 or auto", "P"),
    TEXT("ema", 0, ema, "averaged weights: on, off or auto", "E"),
    {"synthetic", 0, POPT_ARG_LONGLONG, &app_gen.synthetic, 0,
     "deterministic random weights instead (not a picture of anything); wants --config", "SEED"},
    POPT_TABLEEND};

struct poptOption app_gen_input_table[] = {
    TEXT("prompt", 'p', prompt, "what to draw", "TEXT"),
    TEXT("negative-prompt", 'n', negative, "what not to draw", "TEXT"),
    TEXT("prompts", 0, prompts, "a prompt a line; - reads standard input", "FILE"),
    WHOLE("class-id", 0, class_id, "class of a class-conditional model (with --count: all in turn if not given)", "K"),
    TEXT("init-img", 'i', init, "picture to begin from", "FILE"),
    REAL("strength", strength, "how much of it is made anew, 0 (through the first stage alone, or a last step) to 1 (by the model: 0.75, 0.8 or 1)", "S"),
    TEXT("strength-convention", 0, convention, "authors, sigma or diffusers: which step a strength means (by the model)", "C"),
    TEXT("mask", 0, mask, "white is repainted, black stays", "FILE"),
    TEXT("layout", 0, layout, "boxes and their classes", "FILE.json"),
    TEXT("semantic", 0, semantic, "map of labels, an indexed or grey PNG", "FILE.png"),
    TEXT("upscale", 0, upscale, "picture to enlarge four times", "FILE"),
    WHOLE("noise-level", 0, noise_level, "of the x4 upscaler: noise given to its picture, 0 to 349 (20)", "N"),
    TEXT("depth", 0, depth, "depth map, bright is near", "FILE"),
    TEXT("context", 0, context, "embeddings [tokens, width] instead of a prompt", "FILE.npy"),
    TEXT("resize", 0, resize, "filter that fits pictures given to the size: nearest, bilinear, bicubic, lanczos (lanczos)", "F"),
    TEXT("from", 0, from, "as this picture was made; further options change it", "FILE.png"),
    POPT_TABLEEND};

struct poptOption app_gen_sampling_table[] = {
    WHOLE("width", 'W', width, "of the picture in pixels (default: native)", "PIXELS"),
    WHOLE("height", 'H', height, "likewise", "PIXELS"),
    WHOLE("steps", 0, steps, "denoising steps", "S"),
    REAL("cfg-scale", cfg_scale, "classifier-free guidance scale (1: none)", "G"),
    REAL("cfg-rescale", cfg_rescale, "how far the guided prediction takes the deviation of the other, 0 to 1 (0)", "PHI"),
    TEXT("sampling-method", 0, sampling_method, "ddim, plms, ddpm, euler, euler_a, heun, dpm2, lms, dpm++2m, lcm, a label or a class name",
         "NAME"),
    TEXT("sampler", 0, sampling_method, "the same", "NAME"),
    TEXT("scheduler", 0, scheduler, "discrete, karras, exponential, sgm_uniform, sgm, simple or lcm; of class names leading, trailing or linspace; of ddim and plms quad", "NAME"),
    TEXT("sigmas", 0, sigmas, "the noise levels themselves, from high to low", "S1,S2,..."),
    REAL("eta", eta, "noise in each step: DDIM 0 to 1", "E"),
    FLAG("quantize-x0", 0, quantize_x0, "VQ models: predictions are snapped to the codebook"),
    WHOLE("patch-size", 0, patch_size,
          "the network sees a large latent in overlapping windows of so many elements a side, blended (whole; the authors' 128)", "N"),
    WHOLE("patch-stride", 0, patch_stride, "... that begin so far apart (half of that)", "N"),
    FLAG("patch-vae", 0, patch_vae, "... and so does the first stage, as the authors' patch_distributed_vq: another picture (it sees it whole)"),
    WHOLE("clip-skip", 0, clip_skip, "text encoder's layers: 1 all, 2 all but the last (by the model)", "N"),
    {"seed", 's', POPT_ARG_LONGLONG, &app_gen.seed, 0, "of the noise; picture i uses seed + i; -1: a random one (42)", "SEED"},
    TEXT("rng", 0, rng, "torch-cpu (or cpu), torch-cuda[:THREADS] (or cuda), ldm (torch-cpu)", "NAME"),
    TEXT("init-latent", 0, init_latent, "starting noise [1 or more, c, h, w] instead of drawing it", "FILE.npy"),
    POPT_TABLEEND};

struct poptOption app_gen_output_table[] = {
    TEXT("output", 'o', output, "the picture; %d is its number, %s its seed (output.png)", "OUT.png"),
    WHOLE("batch-count", 'b', batch, "pictures of each prompt (1)", "B"),
    {"batch", 0, POPT_ARG_INT | POPT_ARGFLAG_DOC_HIDDEN, &app_gen.batch, 0, "the same", "B"},
    WHOLE("at-once", 0, at_once, "pictures that run together, fewer if memory asks for it (1): more may be quicker, and differ in the last places", "N"),
    TEXT("out-dir", 0, out_dir, "a folder of --count pictures; what is there already is kept, so it can be continued", "FOLDER"),
    WHOLE("count", 0, count, "pictures of --out-dir, classes and prompts in turn", "N"),
    {"first", 0, POPT_ARG_INT | POPT_ARGFLAG_DOC_HIDDEN, &app_gen.first, 0, "number of the first picture", "N"},
    TEXT("save-latent", 0, save_latent, "also write the final latents, NCHW", "FILE.npy"),
    {"latent", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &app_gen.save_latent, 0, "the same", "FILE.npy"},
    FLAG("json", 0, json, "a line of JSON a picture on standard output"),
    FLAG("verbose", 'v', verbose, "also the SHA-256 of each starting latent, and what was chosen"),
    FLAG("in-turn", 0, in_turn, "guidance as two batches of one: half the activations (where memory asks for it)"),
    FLAG("vae-tiling", 0, vae_tiling, "decode in overlapping tiles, blended: another picture (memory needs none: strips are exact)"),
    TEXT("vae-tile-size", 0, vae_tile_size, "of a tile, in elements of the latent (32x32)", "WxH"),
    TEXT("preview", 0, preview, "none, proj, tae or vae: what the latent looks like meanwhile (none)", "HOW"),
    TEXT("preview-path", 0, preview_path, "where (preview.png)", "FILE.png"),
    WHOLE("preview-interval", 0, preview_interval, "every so many steps (1)", "N"),
    POPT_TABLEEND};

app_gen_options app_gen_unset(void) {
    return (app_gen_options){.synthetic = -1,
                             .class_id = APP_UNSET,
                             .noise_level = APP_UNSET,
                             .strength = APP_UNSET,
                             .steps = APP_UNSET,
                             .clip_skip = APP_UNSET,
                             .width = APP_UNSET,
                             .height = APP_UNSET,
                             .cfg_scale = APP_UNSET,
                             .patch_size = APP_UNSET,
                             .patch_stride = APP_UNSET,
                             .cfg_rescale = 0,
                             .eta = APP_UNSET,
                             .seed = 42,
                             .batch = 1,
                             .at_once = 1,
                             .count = APP_UNSET,
                             .preview_interval = 1};
}

void app_gen_free(app_gen_options *g) {
    char *texts[] = {g->model,   g->diffusion_model, g->vae,       g->taesd,   g->clip_l,   g->config,      g->prediction,
                     g->ema,     g->prompt,          g->negative,  g->prompts, g->layout,   g->semantic,    g->upscale,
                     g->depth,   g->init,            g->mask,      g->context, g->from,     g->convention,  g->resize,
                     g->rng,     g->sampling_method, g->scheduler, g->sigmas,  g->output,   g->init_latent, g->out_dir,
                     g->preview, g->save_latent,     g->vae_tile_size, g->preview_path};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free(texts[i]);
    *g = app_gen_unset();
}

bool app_has(const ldm_system *s, ldm_part part) {
    if (s->path) return s->has[part];
    return part == LDM_PART_TEXT ? s->text.width > 0 : part != LDM_PART_TINY_DECODER && part != LDM_PART_TINY_ENCODER;
}

app_habit app_gen_habit(const ldm_system *s) {
    if (s->scheduler) return APP_HABIT_DIFFUSERS;
    return app_has(s, LDM_PART_TEXT) && s->text.kind != LDM_TEXT_BERT ? APP_HABIT_SD_CPP : APP_HABIT_AUTHORS;
}

/* ---- what stands for what is not given --------------------------------------------------------------------------- */

typedef struct defaults {
    int steps;
    double cfg_scale, eta, strength;
} defaults;

/* The authors' scripts: txt2img.py, sample_diffusion.py, inpaint.py; the notebooks for classes and super-resolution. Tasks
 * without a script: 50 steps. */
static defaults of_authors(ldm_task task) {
    switch (task) {
    case LDM_TASK_TEXT: return (defaults){200, 5, 0, .75};
    case LDM_TASK_UNCONDITIONAL: return (defaults){50, 1, 1, .75};
    case LDM_TASK_CLASS: return (defaults){20, 3, 0, .75};
    case LDM_TASK_SUPER_RESOLUTION: return (defaults){100, 1, 1, .75};
    case LDM_TASK_INPAINT_LDM: return (defaults){50, 1, 0, 1};
    default: return (defaults){50, 1, 0, .75};
    }
}

/* diffusers' pipelines: StableDiffusion, StableDiffusionInpaint, Upscale, LDM. */
static defaults of_diffusers(const ldm_system *s) {
    if (s->scheduler && !strcmp(s->scheduler, "LCMScheduler")) return (defaults){4, 8.5, 0, .8};
    if (!app_has(s, LDM_PART_TEXT)) return (defaults){50, 1, 0, .8};
    if (s->text.kind == LDM_TEXT_BERT) return (defaults){50, 1, 0, .8};
    if (s->task == LDM_TASK_UPSCALE) return (defaults){75, 9, 0, .8};
    return (defaults){50, 7.5, 0, s->task == LDM_TASK_INPAINT_SD ? 1 : .8};
}

static defaults defaults_of(const ldm_system *s) {
    switch (app_gen_habit(s)) {
    case APP_HABIT_AUTHORS: return of_authors(s->task);
    case APP_HABIT_DIFFUSERS: return of_diffusers(s);
    case APP_HABIT_SD_CPP: break;
    }
    return (defaults){20, 7, 0, .75}; /* stable-diffusion.cpp */
}

static bool unset(double v) { return v == APP_UNSET; }

/* "14.6,7.8,...": positive and falling; at most 1000. */
static ldm_status parse_sigmas(const char *text, double **out, int *count) {
    double *list = NULL;
    ldm_status st = ldm_alloc(LDM_TIMESTEPS * sizeof *list, (void **)&list);
    int n = 0;
    for (const char *at = text; !st; n++) {
        char *end;
        double v = strtod(at, &end);
        if (end == at || !(v >= 0) || !isfinite(v) || (n && v >= list[n - 1]) || n == LDM_TIMESTEPS || (*end && *end != ','))
            st = ldm_fail(LDM_ERR_ARG, "--sigmas: '%.20s' is no noise level below the one before it", at);
        else list[n] = v, at = end + 1;
        if (st || !*end) break;
    }
    if (st) free(list);
    else *out = list, *count = n + 1;
    return st;
}

/* What the folder's scheduler configuration says of a class, its own or another, which takes over the keys that it knows. */
static ldm_status read_scheduler(const ldm_system *s, const char *class_name, ldm_sampler_options *o,
                                 ldm_schedule *schedule) {
    ldm_setting *set;
    int n = 0;
    while (s->scheduler_config && s->scheduler_config[n].key) n++;
    ldm_status st = ldm_alloc((size_t)(n + 1) * sizeof *set, (void **)&set);
    if (st) return st;
    for (int i = 0; i < n; i++) set[i] = (ldm_setting){s->scheduler_config[i].key, s->scheduler_config[i].value};
    st = ldm_scheduler_read(class_name, set, n, o, schedule);
    free(set);
    return st;
}

static ldm_status choose_sampler(app_gen_options *g, const ldm_system *s, ldm_sampler_options *o, ldm_schedule *schedule,
                                 bool *has_schedule) {
    ldm_status st = LDM_OK;
    *has_schedule = false;
    if (s->scheduler) {
        st = read_scheduler(s, s->scheduler, o, schedule);
        if (st == LDM_ERR_ARG) st = LDM_ERR_FORMAT; /* the class is the file's word */
        if (st && !g->sampling_method) return ldm_prefix(st, "%s: choose another with --sampling-method", s->path);
        *has_schedule = st == LDM_OK;
    }
    if (!g->sampling_method && !*has_schedule) {
        g->sampling_method = strdup(app_gen_habit(s) == APP_HABIT_SD_CPP ? "euler_a" : "ddim");
        if (!g->sampling_method) return ldm_fail(LDM_ERR_NOMEM, "host memory for a name is not there");
    }
    if (g->sampling_method) {
        ldm_sampler_options named;
        if ((st = ldm_sampler_find(g->sampling_method, &named))) return st;
        if (s->scheduler && named.manner == LDM_MANNER_DIFFUSERS && strcasecmp(g->sampling_method, "lcm_diffusers")) {
            if ((st = read_scheduler(s, g->sampling_method, o, schedule))) return ldm_prefix(st, "%s", s->path);
            *has_schedule = true;
        } else *o = named;
    }
    if (!g->scheduler) return LDM_OK;
    if ((st = ldm_sigmas_find(g->scheduler, o))) return st;
    if (o->sigmas != LDM_SIGMAS_DISCRETE && o->manner == LDM_MANNER_AUTHORS)
        return ldm_fail(LDM_ERR_ARG, "--scheduler %s: the sampler %s has times of its own", g->scheduler,
                        g->sampling_method ? g->sampling_method : s->scheduler);
    return LDM_OK;
}

static ldm_status choose_strength(app_gen_options *g, ldm_sampler_options *o, double absent) {
    static const struct {
        const char *name;
        ldm_strength kind;
    } kinds[] = {{"authors", LDM_STRENGTH_AUTHORS}, {"sigma", LDM_STRENGTH_SIGMA}, {"diffusers", LDM_STRENGTH_DIFFUSERS}};
    if (!unset(g->strength) && !g->init) ldm_note("--strength %g: there is no picture to begin from; --init-img gives one", g->strength);
    if (unset(g->strength)) g->strength = absent;
    if (!(g->strength >= 0 && g->strength <= 1)) return ldm_fail(LDM_ERR_ARG, "--strength %g: wanted 0 to 1", g->strength);
    o->strength = g->strength;
    if (!g->convention) return LDM_OK;
    for (int i = 0; i < 3; i++)
        if (!strcmp(g->convention, kinds[i].name)) return o->convention = kinds[i].kind, LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "--strength-convention %s: wanted authors, sigma or diffusers", g->convention);
}

ldm_status app_gen_resolve(app_gen_options *g, const ldm_system *s, ldm_sampler_options *o, ldm_schedule *schedule, bool *has_schedule) {
    defaults d = defaults_of(s);
    ldm_status st = choose_sampler(g, s, o, schedule, has_schedule);
    if (st) return st;
    int f = ldm_stage_factor(&s->stage), native = s->config.latent ? s->config.latent * f : 512;
    if (unset(g->width)) g->width = unset(g->height) ? native : g->height;
    if (unset(g->height)) g->height = g->width;
    if (unset(g->steps)) g->steps = d.steps;
    if (unset(g->cfg_scale)) g->cfg_scale = s->config.condition == LDM_COND_CLASS && s->config.null_class < 0 ? 1 : d.cfg_scale;
    if (!unset(g->eta)) o->eta = g->eta;
    else if (o->method == LDM_DDIM) o->eta = d.eta;
    g->eta = o->eta;
    if (!isfinite(g->eta) || g->eta < 0 || (g->eta > 1 && o->method == LDM_DDIM))
        return ldm_fail(LDM_ERR_ARG, "--eta %g: wanted 0 to 1", g->eta);
    if (g->eta > 0 && o->method != LDM_DDIM && o->method != LDM_EULER_A && o->method != LDM_PLMS) { /* PLMS refuses it */
        ldm_note("--eta %g: only DDIM and Euler a have a use for it", g->eta);
        g->eta = o->eta = 0;
    }
    if (!(g->cfg_rescale >= 0 && g->cfg_rescale <= 1))
        return ldm_fail(LDM_ERR_ARG, "--cfg-rescale %g: wanted 0 to 1", g->cfg_rescale);
    if (g->batch < 1 || g->batch > 1000000) return ldm_fail(LDM_ERR_ARG, "--batch-count %d: wanted 1 to 1000000", g->batch);
    if (g->at_once < 1 || g->at_once > 64) return ldm_fail(LDM_ERR_ARG, "--at-once %d: wanted 1 to 64", g->at_once);
    if (g->first < 0) return ldm_fail(LDM_ERR_ARG, "--first %d: wanted 0 or more", g->first);
    if (g->preview_interval < 1) return ldm_fail(LDM_ERR_ARG, "--preview-interval %d: wanted 1 or more", g->preview_interval);
    if (!unset(g->count) && (g->count < 1 || !g->out_dir))
        return ldm_fail(LDM_ERR_ARG, "--count %d: wanted 1 or more, and --out-dir", g->count);
    if (g->steps < 1 || g->steps > LDM_TIMESTEPS)
        return ldm_fail(LDM_ERR_ARG, "--steps %d: wanted 1 to %d", g->steps, LDM_TIMESTEPS);
    if (!unset(g->clip_skip) && (g->clip_skip < 1 || g->clip_skip > (app_has(s, LDM_PART_TEXT) ? s->text.layers : 1)))
        return ldm_fail(LDM_ERR_ARG, "--clip-skip %d: the text encoder has %d layers", g->clip_skip,
                        app_has(s, LDM_PART_TEXT) ? s->text.layers : 0);
    if (g->seed < 0) { /* as stable-diffusion.cpp */
        uint32_t word;
        if (getrandom(&word, sizeof word, 0) != sizeof word) return ldm_fail(LDM_ERR_IO, "no random seed: %s", strerror(errno));
        g->seed = word & 0x7fffffff;
        ldm_note("seed %lld", g->seed);
    }
    if (!unset(g->patch_size) && unset(g->patch_stride)) g->patch_stride = g->patch_size > 1 ? g->patch_size / 2 : 1;
    if (unset(g->patch_size) && !unset(g->patch_stride)) return ldm_fail(LDM_ERR_ARG, "--patch-stride: wanted --patch-size with it");
    if (g->patch_vae && unset(g->patch_size)) return ldm_fail(LDM_ERR_ARG, "--patch-vae: wanted --patch-size with it");
    if (g->patch_vae && g->vae_tiling) return ldm_fail(LDM_ERR_ARG, "--patch-vae and --vae-tiling: wanted one of them");
    o->steps = g->steps;
    o->quantize = g->quantize_x0 != 0;
    if (o->quantize && s->stage.kind != LDM_STAGE_VQ)
        return ldm_fail(LDM_ERR_ARG, "--quantize-x0: the first stage %s has no codebook", s->stage.name ? s->stage.name : "of this model");
    if (g->sigmas) {
        double *list;
        if ((st = parse_sigmas(g->sigmas, &list, &o->sigma_count))) return st;
        o->sigma = list;
    }
    return choose_strength(g, o, d.strength);
}
