/* generate.c -- see generate.h. */
#include "app/generate.h"
#include "app/gen_inputs.h"
#include "app/gen_record.h"
#include "app/path_hash.h"
#include "app/preview.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct job {
    app_gen_options *g;
    ldm_system *system;
    ldm_cl *cl;
    app_pipeline *pipeline;
    app_inputs in;
    app_record record;
    app_preview preview;
    char *prompts;     /* the file, its lines ended by NUL */
    const char **line; /* prompts in order; one NULL where the model takes none */
    int lines;
    app_picture *picture;
    int pictures, done;
    float *latents; /* of all pictures, NCHW; NULL: not wanted */
    ldm_progress bar;
} job;

static void job_free(job *j) {
    app_pipeline_close(j->pipeline);
    app_inputs_free(&j->in);
    app_preview_free(&j->preview);
    ldm_cl_close(j->cl);
    ldm_system_close(j->system);
    free(j->prompts), free(j->line), free(j->picture), free(j->latents);
}

/* ---- prompts ---- */

static ldm_status read_prompts(job *j) {
    ldm_status st = LDM_OK;
    size_t n;
    int lines = 1;
    const char *path = !strcmp(j->g->prompts, "-") ? "/dev/stdin" : j->g->prompts;
    TRY(ldm_read_file(path, (size_t)1 << 30, &j->prompts, &n));
    for (size_t i = 0; i < n; i++) lines += j->prompts[i] == '\n';
    TRY(ldm_alloc((size_t)lines * sizeof *j->line, (void **)&j->line));
    int number = 1;
    const size_t mark = n >= 3 && !memcmp(j->prompts, "\xef\xbb\xbf", 3) ? 3 : 0; /* as editors begin a file of UTF-8 */
    for (char *at = j->prompts + mark, *end = j->prompts + n; at < end; number++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        *stop = 0;
        size_t length = (size_t)(stop - at);
        if (length && at[length - 1] == '\r') at[--length] = 0;
        const size_t valid = ldm_utf8_until(at, length);
        if (valid < length)
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: line %d is not UTF-8 at byte %zu of it", j->g->prompts, number, valid));
        if (*at) j->line[j->lines++] = at; /* empty lines are none */
        at = stop + 1;
    }
    if (!j->lines) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: has no prompt", j->g->prompts));
done:
    return st;
}

static ldm_status take_prompts(job *j) {
    const char *given[] = {j->g->prompt, j->g->negative};
    for (int i = 0; i < 2; i++) {
        const size_t length = given[i] ? strlen(given[i]) : 0, valid = ldm_utf8_until(given[i], length);
        if (valid < length)
            return ldm_fail(LDM_ERR_ARG, "--%s: is not UTF-8 at byte %zu", i ? "negative-prompt" : "prompt", valid);
    }
    if (j->g->prompts && j->g->prompt) return ldm_fail(LDM_ERR_ARG, "--prompt and --prompts exclude each other");
    if (j->g->prompts) return read_prompts(j);
    ldm_status st = ldm_alloc(sizeof *j->line, (void **)&j->line);
    if (!st) j->line[0] = j->g->prompt, j->lines = 1;
    return st;
}

/* ---- names of pictures ---- */

/* "out.png" -> "out-3.png" for picture 3 of several, "out-%03d-%s.png" -> "out-003-45.png". */
static ldm_status name_of(const job *j, const app_picture *m, char *path, size_t cap) {
    const char *out = j->g->output;
    size_t n = 0;
    if (j->g->out_dir) return snprintf(path, cap, "%s/%06lld.png", j->g->out_dir, (long long)m->number), LDM_OK;
    if (!strchr(out, '%')) {
        const char *dot = strrchr(out, '.');
        int stem = dot && !strchr(dot, '/') ? (int)(dot - out) : (int)strlen(out);
        if (j->pictures == 1) snprintf(path, cap, "%s", out);
        else snprintf(path, cap, "%.*s-%lld%s", stem, out, (long long)m->number, out + stem);
        return LDM_OK;
    }
    for (const char *p = out; *p && n + 1 < cap; p++) {
        int wide = 0;
        const char *q = p + 1;
        if (*p != '%') {
            path[n++] = *p;
            continue;
        }
        while (*q >= '0' && *q <= '9' && wide < 100) wide = 10 * wide + *q++ - '0';
        int k = *q == 'd'   ? snprintf(path + n, cap - n, "%0*lld", wide, (long long)m->number)
                : *q == 's' ? snprintf(path + n, cap - n, "%0*lld", wide, (long long)m->seed)
                : *q == '%' ? snprintf(path + n, cap - n, "%%")
                            : -1;
        if (k < 0) return ldm_fail(LDM_ERR_ARG, "--output %s: wanted %%d (number), %%s (seed) or %%%%", out);
        n += (size_t)k, p = q;
    }
    path[n < cap ? n : cap - 1] = 0;
    return LDM_OK;
}

/* ---- the list of pictures ---- */

static void fill(job *j, app_picture *m, int64_t number) {
    const app_gen_options *g = j->g;
    const ldm_config *c = &j->system->config;
    int64_t per = g->out_dir ? 1 : g->batch;
    bool text = app_has(j->system, LDM_PART_TEXT) && j->system->task != LDM_TASK_LAYOUT;
    *m = (app_picture){.seed = (uint64_t)(g->seed + number),
                       .number = number + g->first,
                       .prompt = text ? j->line[number / per % j->lines] : NULL,
                       .negative = text ? g->negative : NULL,
                       .tokens = j->in.tokens,
                       .class_id = g->class_id != APP_UNSET ? g->class_id : 0};
    /* the null class is the last one, and is not drawn */
    if (g->out_dir && g->class_id == APP_UNSET && c->condition == LDM_COND_CLASS)
        m->class_id = (int)(number % (c->n_classes - (c->null_class == c->n_classes - 1)));
}

static ldm_status list_pictures(job *j) {
    const app_gen_options *g = j->g;
    int64_t all = g->count != APP_UNSET ? g->count : (int64_t)j->lines * g->batch;
    char path[4400], other[4400];
    ldm_status st = LDM_OK;
    if (all > INT32_MAX) return ldm_fail(LDM_ERR_ARG, "%lld pictures are too many", (long long)all);
    TRY(ldm_alloc((size_t)all * sizeof *j->picture, (void **)&j->picture));
    j->pictures = (int)all;
    int wanted = 0;
    int64_t there = -1; /* the last that is */
    for (int64_t i = 0; i < all; i++) {
        fill(j, &j->picture[wanted], i);
        TRY(name_of(j, &j->picture[wanted], path, sizeof path));
        if (i == 1) { /* several pictures, one name */
            fill(j, &(app_picture){0}, 0);
            app_picture first;
            fill(j, &first, 0);
            TRY(name_of(j, &first, other, sizeof other));
            if (!strcmp(path, other)) TRY(ldm_fail(LDM_ERR_ARG, "--output %s: %lld pictures of one name", g->output, (long long)all));
        }
        if (!g->out_dir || access(path, F_OK) != 0) wanted++;
        else there = i;
    }
    if (there >= 0) {
        app_picture last;
        fill(j, &last, there);
        TRY(name_of(j, &last, path, sizeof path));
        TRY(app_record_continues(g, j->system, &last, path));
    }
    if (g->out_dir && wanted < all) ldm_note("%lld of %lld pictures are there already", (long long)(all - wanted), (long long)all);
    j->pictures = g->out_dir ? wanted : (int)all;
done:
    return st;
}

/* What could not be written is found before it is made. */
static ldm_status try_output(const job *j) {
    char path[4400];
    ldm_status st;
    if (j->g->out_dir && (st = ldm_make_dirs(j->g->out_dir))) return st;
    if (!j->pictures) return LDM_OK;
    if ((st = name_of(j, &j->picture[0], path, sizeof path))) return st;
    app_note_name(path);
    st = ldm_try_file(path);
    if (!st && j->g->save_latent) st = ldm_try_file(j->g->save_latent);
    if (!st && j->preview.kind != APP_PREVIEW_NONE) st = ldm_try_file(j->preview.path);
    return st;
}

/* ---- results ---- */

static ldm_status print_json(const job *j, const app_result *r, const char *path) {
    const app_gen_options *g = j->g;
    json_t *o = json_object();
    json_object_set_new(o, "file", json_string(path));
    json_object_set_new(o, "number", json_integer(r->picture->number));
    json_object_set_new(o, "seed", json_integer((json_int_t)r->picture->seed));
    if (r->picture->prompt) json_object_set_new(o, "prompt", json_string(r->picture->prompt));
    if (j->system->config.condition == LDM_COND_CLASS) json_object_set_new(o, "class", json_integer(r->picture->class_id));
    json_object_set_new(o, "width", json_integer(r->image->w));
    json_object_set_new(o, "height", json_integer(r->image->h));
    json_object_set_new(o, "steps", json_integer(g->steps));
    json_object_set_new(o, "seconds", json_real(r->seconds));
    json_object_set_new(o, "start", json_string(r->start));
    char *text = json_dumps(o, JSON_COMPACT);
    if (text) printf("%s\n", text);
    free(text);
    json_decref(o);
    return text ? LDM_OK : ldm_fail(LDM_ERR_NOMEM, "host memory for a line is not there");
}

/* The authors' inpainting keeps the pixels that the mask does not repaint (scripts/inpaint.py). */
static void keep_known_pixels(const job *j, const ldm_image *im) {
    if (j->system->task != LDM_TASK_INPAINT_LDM || !j->in.mask || !j->in.init.data) return;
    for (int64_t i = 0; i < im->w * im->h; i++)
        if (j->in.mask[i] < 0.5f) memcpy(im->data + 3 * i, j->in.init.data + 3 * i, 3);
}

static ldm_status done_picture(void *user, const app_result *r) {
    job *j = user;
    char path[4400];
    ldm_text text = {0};
    ldm_status st = LDM_OK;
    int64_t h, w;
    int c;
    keep_known_pixels(j, r->image);
    TRY(name_of(j, r->picture, path, sizeof path));
    TRY(app_record_write(&j->record, r->picture, &text));
    TRY(ldm_png_write(path, r->image, (const char *const[]){"parameters", text.s, NULL}));
    if (j->latents) {
        app_pipeline_size(j->pipeline, &h, &w, &c);
        ldm_nhwc_to_nchw(r->latent, 1, c, h, w, j->latents + (int64_t)j->done * c * h * w);
    }
    j->done++;
    if (j->g->verbose) ldm_note("%s: starting latent SHA-256 %s", path, r->start);
    if (j->g->json) TRY(print_json(j, r, path));
    else printf("%s\n", path);
    if (fflush(stdout)) TRY(ldm_fail(LDM_ERR_IO, "standard output: %s", strerror(errno)));
done:
    ldm_text_free(&text);
    return st;
}

static ldm_status after_step(void *user, app_pipeline *p, int step, const float *x0) {
    job *j = user;
    return app_preview_show(&j->preview, p, step, x0);
}

static ldm_status save_latents(const job *j) {
    int64_t h, w;
    int c;
    if (!j->latents) return LDM_OK;
    app_pipeline_size(j->pipeline, &h, &w, &c);
    ldm_shape s = ldm_shape_of(4, (int64_t)j->pictures, (int64_t)c, h, w);
    return ldm_npy_write(j->g->save_latent, LDM_F32, &s, j->latents);
}

/* ---- the whole ---- */

static ldm_status find_files(app_gen_options *g) {
    const struct {
        char **path;
        const char *what;
    } all[] = {{&g->model, "-m"},           {&g->diffusion_model, "--diffusion-model"}, {&g->vae, "--vae"},
               {&g->taesd, "--taesd"},      {&g->clip_l, "--clip_l"},                   {&g->config, "--config"},
               {&g->init, "-i"},            {&g->mask, "--mask"},                       {&g->layout, "--layout"},
               {&g->semantic, "--semantic"}, {&g->upscale, "--upscale"},                 {&g->depth, "--depth"},
               {&g->context, "--context"},  {&g->init_latent, "--init-latent"}};
    ldm_status st = LDM_OK;
    for (size_t i = 0; !st && i < sizeof all / sizeof *all; i++) st = app_path_find(all[i].path, all[i].what);
    return st;
}

static ldm_status open_system(job *j) {
    const app_gen_options *g = j->g;
    if (!g->model && !g->diffusion_model && g->synthetic < 0)
        return ldm_fail(LDM_ERR_ARG, "weights: give a checkpoint with -m FILE, or --synthetic SEED and --config for deterministic random ones");
    ldm_status st = ldm_system_open(&(ldm_system_options){.model = g->model,
                                                          .diffusion_model = g->diffusion_model,
                                                          .vae = g->vae,
                                                          .taesd = g->taesd,
                                                          .clip_l = g->clip_l,
                                                          .config = g->config,
                                                          .prediction = g->prediction,
                                                          .ema = g->ema,
                                                          .taesd_previews = g->taesd_previews,
                                                          .synthetic = g->synthetic >= 0,
                                                          .seed = (uint64_t)g->synthetic},
                                    &j->system);
    if (!st && g->synthetic < 0 && !j->system->has[LDM_PART_UNET])
        st = ldm_fail(LDM_ERR_FORMAT, "%s: there is no UNet in it, wanted a model that draws", j->system->path);
    return st;
}

/* What a first stage's preview matrix is kept under. */
static ldm_status name_stage(job *j) {
    char hex[LDM_SHA256_HEX] = "";
    const app_gen_options *g = j->g;
    const char *path = g->taesd && !g->taesd_previews ? g->taesd : g->vae ? g->vae : g->model;
    ldm_status st = path ? app_path_hash(path, hex) : LDM_OK;
    ldm_text t = {0};
    ldm_text_add(&t, "%s %s %lld", hex, j->system->stage.name ? j->system->stage.name : "", g->synthetic);
    if (t.s) ldm_sha256_hex(t.s, t.len, j->preview.stage);
    ldm_text_free(&t);
    return st;
}

static ldm_status set_preview(job *j) {
    const app_gen_options *g = j->g;
    ldm_status st = app_preview_parse(g->preview, &j->preview.kind);
    if (st) return st;
    j->preview.path = g->preview_path ? g->preview_path : "preview.png", j->preview.interval = g->preview_interval;
    if (j->preview.kind == APP_PREVIEW_TAE && !app_has(j->system, LDM_PART_TINY_DECODER))
        return ldm_fail(LDM_ERR_ARG, "--preview tae: wanted --taesd PATH --taesd-preview-only");
    return j->preview.kind == APP_PREVIEW_PROJ ? name_stage(j) : LDM_OK;
}

static void say_of_seeds(const app_gen_options *g, const ldm_system *s) {
    if (!g->rng && app_gen_habit(s) == APP_HABIT_SD_CPP && g->sampling_method)
        ldm_note("seeds are PyTorch's on a CPU; stable-diffusion.cpp draws as its --rng cuda unless told otherwise");
}

ldm_status app_generate(app_gen_options *g, const ldm_parameters *was) {
    ldm_status st = LDM_OK;
    job j = {.g = g};
    ldm_schedule schedule;
    bool has_schedule = false;
    app_pipeline_options o = {0};
    app_tiling tiling;
    int64_t h, w;
    int c;
    if (was) app_record_left_out(was);
    TRY(find_files(g));
    if (!g->output && !(g->output = strdup("output.png"))) TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for a name is not there"));
    if (!*g->output) TRY(ldm_fail(LDM_ERR_ARG, "--output: wanted the name of a picture"));
    TRY(open_system(&j));
    if (j.system->missing) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: for a picture there is missing %s", j.system->path, j.system->missing));
    TRY(app_inputs_size(g, j.system));
    TRY(app_gen_resolve(g, j.system, &o.sampler, &schedule, &has_schedule));
    TRY(ldm_rng_find(g->rng ? g->rng : "torch-cpu", &o.rng));
    TRY(app_inputs_read(g, j.system, &j.in));
    TRY(take_prompts(&j));
    TRY(list_pictures(&j));
    TRY(set_preview(&j));
    TRY(try_output(&j));
    if (!j.pictures) goto done;
    TRY(app_storage(&o.dtype, &o.wdtype));
    o.system = j.system, o.schedule = has_schedule ? &schedule : NULL;
    o.cfg_scale = g->cfg_scale, o.cfg_rescale = g->cfg_rescale;
    o.clip_skip = g->clip_skip == APP_UNSET ? 0 : g->clip_skip;
    if (g->patch_size != APP_UNSET) o.windows = (ldm_windows){.size = g->patch_size, .stride = g->patch_stride};
    o.w = g->width, o.h = g->height, o.at_once = g->at_once;
    o.in_turn = g->in_turn;
    if (g->vae_tile_size && !g->vae_tiling) TRY(ldm_fail(LDM_ERR_ARG, "--vae-tile-size goes with --vae-tiling"));
    TRY(app_parse_tiling(g->vae_tile_size, &tiling));
    if (g->patch_vae) tiling = (app_tiling){.w = g->patch_size, .h = g->patch_size, .stride = g->patch_stride};
    o.tiling = g->vae_tiling || g->patch_vae ? &tiling : NULL;
    o.keeps_x0 = j.preview.kind != APP_PREVIEW_NONE;
    app_inputs_give(&j.in, g, j.system, &o);
    say_of_seeds(g, j.system);
    TRY(app_pipeline_check(&o));
    TRY(app_open_device(&j.cl));
    o.cl = j.cl;
    TRY(app_pipeline_open(&o, &j.pipeline));
    g->at_once = app_pipeline_at_once(j.pipeline); /* what is recorded, as it may show in the last places */
    TRY(app_record_begin(g, j.system, ldm_cl_device(j.cl), &j.record));
    j.record.in_turn = app_pipeline_in_turn(j.pipeline);
    j.record.sampler = app_pipeline_sampler(j.pipeline), j.record.options = &o.sampler;
    if (was) app_record_differences(&j.record, was);
    if (j.record.sampler->steps != g->steps && !o.sampler.img2img)
        ldm_note("%d steps are run, not %d: as the sampler's own code does", j.record.sampler->steps, g->steps);
    if (!j.record.sampler->steps)
        ldm_note("strength %g of %d steps is none: the picture, with the noise of the first time, through the first stage", g->strength, g->steps);
    if (g->save_latent) {
        app_pipeline_size(j.pipeline, &h, &w, &c);
        TRY(ldm_alloc((size_t)(j.pictures * h * w * c) * sizeof *j.latents, (void **)&j.latents));
    }
    TRY(app_pipeline_run(j.pipeline, j.picture, j.pictures, &(app_pipeline_hooks){done_picture, after_step, &j}));
    TRY(save_latents(&j));
    if (g->verbose) ldm_note("device memory: %.1f MiB were allocated at most", (double)ldm_cl_peak_bytes(j.cl) / 0x1p20);
done:
    free((void *)o.sampler.sigma);
    job_free(&j);
    return st;
}
