/* convert.c -- see convert.h. The parameters of each network are those of its plan, so what is written is what is used.
 */
#include "model/convert.h"
#include "model/system_internal.h"
#include "model/write_config.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the parameters of a part ---------------------------------------------------------------------------------- */

static ldm_tensor in(ldm_plan *p, const char *name, ldm_dtype t, int rank, int64_t a, int64_t b, int64_t c, int64_t d) {
    return ldm_plan_input(p, name, t, ldm_shape_of(rank, a, b, c, d));
}

/* Emits a part's network, the smallest of its kind. */
static void emit(ldm_plan *p, const ldm_system *s, ldm_part part) {
    const ldm_unet_config *u = &s->config.unet;
    const ldm_stage_config *stage =
        part == LDM_PART_TINY_ENCODER || part == LDM_PART_TINY_DECODER ? &s->tiny : &s->stage;
    const int64_t side = u->levels ? ldm_unet_multiple(u) : 1, f = ldm_stage_factor(stage);
    switch (part) {
    case LDM_PART_UNET:
        ldm_unet_emit(p, u, in(p, "x", LDM_F32, 4, 1, side, side, u->in_channels),
                      in(p, "t", LDM_F32, 2, 1, u->model_channels, 0, 0),
                      u->use_spatial_transformer ? in(p, "c", LDM_F32, 3, 1, 1, u->context_dim, 0) : LDM_NONE,
                      u->num_classes ? in(p, "l", LDM_I32, 1, 1, 0, 0, 0) : LDM_NONE,
                      u->time_cond_proj_dim ? in(p, "w", LDM_F32, 2, 1, u->time_cond_proj_dim, 0, 0) : LDM_NONE);
        break;
    case LDM_PART_ENCODER:
    case LDM_PART_TINY_ENCODER:
        ldm_stage_emit_encoder(p, stage, in(p, "x", LDM_F32, 4, 1, f, f, 3));
        break;
    case LDM_PART_DECODER:
    case LDM_PART_TINY_DECODER:
        ldm_stage_emit_decoder(p, stage, in(p, "z", LDM_F32, 4, 1, 1, 1, ldm_stage_latent_channels(stage)));
        break;
    case LDM_PART_TEXT:
        ldm_text_emit(p, &s->text, in(p, "i", LDM_I32, 2, 1, s->text.length, 0, 0), s->text.skip);
        break;
    default:
        if (s->config.n_classes)
            ldm_class_embedder_emit(p, s->config.n_classes, u->context_dim, in(p, "k", LDM_I32, 1, 1, 0, 0, 0));
        else ldm_rescaler_emit(p, 0, 3, in(p, "m", LDM_F32, 4, 1, 1, 1, s->config.labels));
    }
}

/* ---- one file -------------------------------------------------------------------------------------------------- */

/* A tensor to write: runs of rows of a parameter (or all of it), under a name of the target. */
typedef struct job {
    ldm_tensor param;
    int part, parts; /* the part-th of `parts` that the parameter is dealt to */
    int64_t run;
    ldm_dtype dtype;
} job;

typedef struct writer {
    ldm_st_writer *out;
    job *jobs;
    int n, cap;
    float *data, *dealt;
    void *stored;
    size_t room; /* values */
    ldm_progress bar;
    double done;
} writer;

static void writer_free(writer *w) {
    ldm_st_abandon(w->out);
    free(w->jobs), free(w->data), free(w->dealt), free(w->stored);
    *w = (writer){0};
}

static ldm_status room_for(writer *w, size_t values) {
    ldm_status st = LDM_OK;
    if (values <= w->room) return LDM_OK;
    free(w->data), free(w->dealt), free(w->stored);
    w->data = w->dealt = NULL, w->stored = NULL, w->room = 0;
    TRY(ldm_alloc(values * sizeof *w->data, (void **)&w->data));
    TRY(ldm_alloc(values * sizeof *w->dealt, (void **)&w->dealt));
    TRY(ldm_alloc(values * sizeof(double), &w->stored));
    w->room = values;
done:
    return st;
}

/* Stores data[] as the dtype; what does not survive that as a finite number is a failure. */
static ldm_status store(writer *w, ldm_dtype t, const char *name, const float *data, int64_t n) {
    ldm_from_f32(t, data, (size_t)n, w->stored);
    if (t == LDM_F16 || t == LDM_BF16)
        for (int64_t i = 0; i < n; i++) {
            const uint16_t h = ((const uint16_t *)w->stored)[i];
            if (isfinite(data[i]) && !isfinite(t == LDM_F16 ? ldm_f16_to_f32(h) : ldm_bf16_to_f32(h)))
                return ldm_fail(LDM_ERR_NONFINITE, "tensor %s: value %g at %lld is beyond the range of %s", name,
                                (double)data[i], (long long)i, ldm_dtype_name(t));
        }
    ldm_status st = ldm_st_data(w->out, w->stored);
    if (!st) st = ldm_check_interrupt();
    w->done += (double)n * (double)ldm_dtype_size(t);
    ldm_progress_to(&w->bar, w->done);
    return st;
}

static ldm_dtype kept(ldm_dtype t, int wanted) {
    const bool number = t == LDM_F32 || t == LDM_F16 || t == LDM_BF16 || t == LDM_F64;
    return number && wanted >= 0 ? (ldm_dtype)wanted : t;
}

/* Shape of a tensor in a layout: diffusers' attentions of autoencoders and unconditional UNets are linear layers. */
static ldm_shape shape_in(ldm_layout layout, ldm_part part, const ldm_system *s, const char *name,
                          const ldm_tensor_info *info, int parts) {
    ldm_shape shape = info->shape;
    shape.dim[0] /= parts;
    const bool stage = part == LDM_PART_ENCODER || part == LDM_PART_DECODER;
    const bool flat = stage || (part == LDM_PART_UNET && !s->config.unet.use_spatial_transformer);
    if (layout == LDM_DIFFUSERS && flat && strstr(name, ".attentions."))
        while (shape.rank > 2) shape.rank--;
    return shape;
}

static ldm_status declare(writer *w, const job *j, const char *name, const ldm_shape *shape) {
    if (w->n == w->cap) {
        const int cap = w->cap ? 2 * w->cap : 256;
        job *more = realloc(w->jobs, (size_t)cap * sizeof *more);
        if (!more) return ldm_fail(LDM_ERR_NOMEM, "host memory for %d tensors is not there", cap);
        w->jobs = more, w->cap = cap;
    }
    w->jobs[w->n++] = *j;
    w->bar.total += (double)ldm_shape_count(shape) * (double)ldm_dtype_size(j->dtype);
    return ldm_st_declare(w->out, name, j->dtype, shape);
}

/* Declares all parameters of a plan under the target's names. */
static ldm_status declare_part(writer *w, const ldm_system *s, const ldm_plan *p, const ldm_binding *b, ldm_part part,
                               ldm_layout layout, int dtype, const char *prefix) {
    char name[LDM_ORIGIN_NAME + 64];
    for (int t = 0; t < p->tensors; t++) {
        const ldm_tensor_info *info = &p->tensor[t];
        ldm_origin o;
        ldm_status st;
        if (info->kind != LDM_PARAM) continue;
        if (!ldm_origin_of(part, layout, 0, &s->config.unet, &s->stage, info->name, info->shape.dim[0], &o))
            return ldm_fail(LDM_ERR_UNSUPPORTED, "%s: diffusers has no name for %s%s", s->path, info->name,
                            part == LDM_PART_UNET && s->config.unet.resblock_updown
                                ? " (resblock_updown: residual blocks that resample)"
                                : "");
        const ldm_dtype now = ldm_binding_dtype(b, t);
        for (int k = 0; k < o.parts; k++) {
            const job j = {t, k, o.parts, o.run, kept(now == LDM_F64 && dtype < 0 ? LDM_F32 : now, dtype)};
            const ldm_shape shape = shape_in(layout, part, s, o.name[k], info, o.parts);
            snprintf(name, sizeof name, "%s%s", prefix, o.name[k]);
            if ((st = declare(w, &j, name, &shape))) return st;
        }
    }
    return LDM_OK;
}

/* Writes the declared tensors [from, ...) of a plan. */
static ldm_status write_part(writer *w, const ldm_plan *p, const ldm_source *source, int from) {
    ldm_status st = LDM_OK;
    ldm_tensor loaded = LDM_NONE;
    for (int i = from; i < w->n; i++) {
        const job *j = &w->jobs[i];
        const ldm_tensor_info *info = &p->tensor[j->param];
        const int64_t count = ldm_shape_count(&info->shape), rows = info->shape.dim[0], width = count / rows;
        TRY(room_for(w, (size_t)count));
        if (loaded != j->param)
            TRY(source->load(source->self, info, w->data)); /* parts of one parameter follow each other */
        loaded = j->param;
        const int64_t run = j->run ? j->run : rows / j->parts;
        for (int64_t r = 0, to = 0; j->parts > 1 && r < rows; r += run)
            if (r / run % j->parts == j->part)
                memcpy(w->dealt + to * width, w->data + r * width, (size_t)(run * width) * sizeof *w->data), to += run;
        TRY(store(w, j->dtype, info->name, j->parts > 1 ? w->dealt : w->data, count / j->parts));
    }
done:
    return st;
}

/* One file with these parts of the system (a set of bits), each under a prefix. */
static ldm_status write_file(ldm_system *s, int parts, ldm_layout layout, int dtype, const char *path) {
    static const char *const prefixes[LDM_PARTS] = {
        "model.diffusion_model.", "first_stage_model.", "first_stage_model.", "", "",
        "cond_stage_model.",      "cond_stage_model."};
    ldm_status st = LDM_OK;
    ldm_plan *plan[LDM_PARTS] = {0};
    ldm_binding *binding[LDM_PARTS] = {0};
    ldm_source source[LDM_PARTS];
    int from[LDM_PARTS + 1] = {0};
    writer w = {0};
    const bool whole = parts >> LDM_PART_UNET & 1;
    ldm_progress_begin(&w.bar, path, "bytes", 0);
    TRY(ldm_st_create(path, (const char *[]){"format", "pt", NULL}, &w.out));
    for (int i = 0; i < LDM_PARTS; i++) {
        from[i] = w.n;
        if (!(parts >> i & 1)) continue;
        TRY(ldm_plan_create(LDM_F32, LDM_F32, &plan[i]));
        emit(plan[i], s, (ldm_part)i);
        TRY(plan[i]->status);
        TRY(ldm_system_source(s, plan[i], &binding[i], &source[i]));
        TRY(declare_part(&w, s, plan[i], binding[i], (ldm_part)i, layout, dtype,
                         layout == LDM_COMPVIS && whole ? prefixes[i] : ""));
    }
    const int all = w.n;
    for (int i = 0; i < LDM_PARTS; i++) {
        if (!(parts >> i & 1)) continue;
        int to = all;
        for (int k = LDM_PARTS - 1; k > i; k--)
            if (parts >> k & 1) to = from[k];
        w.n = to;
        TRY(write_part(&w, plan[i], &source[i], from[i]));
    }
    if ((st = ldm_st_commit(w.out)) == LDM_OK) w.out = NULL;
done:
    ldm_progress_end(&w.bar);
    for (int i = 0; i < LDM_PARTS; i++) ldm_binding_destroy(binding[i]), ldm_plan_destroy(plan[i]);
    writer_free(&w);
    return st;
}

/* ---- the same layout: every tensor that is there --------------------------------------------------------------- */

#define EMA "model_ema."

static bool float_type(ldm_dtype t) { return t == LDM_F32 || t == LDM_F16 || t == LDM_BF16 || t == LDM_F64; }

/* What a tensor of the file becomes: averaged weights, where they are chosen, take the place of the others. */
static const ldm_ckpt_tensor *chosen(const ldm_ckpt *c, const ldm_ckpt_tensor *t, bool ema) {
    char key[LDM_ORIGIN_NAME + 64];
    if (!ema) return t;
    if (!strncmp(t->name, EMA, strlen(EMA))) return NULL;
    if (strncmp(t->name, "model.diffusion_model.", 22)) return t;
    int n = snprintf(key, sizeof key, EMA "diffusion_model");
    for (const char *s = t->name + 22; *s && n + 1 < (int)sizeof key; s++)
        if (*s != '.') key[n++] = *s;
    key[n] = 0;
    const ldm_ckpt_tensor *averaged = ldm_ckpt_find(c, key);
    return averaged ? averaged : t;
}

static ldm_status copy_file(const ldm_ckpt *c, bool ema, int dtype, const char *path) {
    ldm_status st = LDM_OK;
    writer w = {0};
    ldm_progress_begin(&w.bar, path, "bytes", 0);
    TRY(ldm_st_create(path, (const char *[]){"format", "pt", NULL}, &w.out));
    for (int i = 0; i < ldm_ckpt_count(c); i++) {
        const ldm_ckpt_tensor *t = ldm_ckpt_at(c, i), *from = chosen(c, t, ema);
        if (!from) continue;
        /* tables of the schedule and counters stay what they are */
        const bool weight = strchr(t->name, '.') != NULL && strncmp(t->name, EMA "decay", 15) &&
                            strncmp(t->name, EMA "num_updates", 21);
        TRY(declare(&w, &(job){.param = i, .parts = 1, .dtype = weight ? kept(from->dtype, dtype) : from->dtype},
                    t->name, &t->shape));
    }
    for (int i = 0; i < w.n; i++) {
        const job *j = &w.jobs[i];
        const ldm_ckpt_tensor *t = chosen(c, ldm_ckpt_at(c, j->param), ema);
        const int64_t n = ldm_shape_count(&t->shape);
        const size_t bytes = (size_t)n * ldm_dtype_size(t->dtype);
        if (t->dtype == j->dtype && t->contiguous) {
            TRY(ldm_st_data(w.out, t->data));
            TRY(ldm_check_interrupt());
            w.done += (double)bytes;
            ldm_progress_to(&w.bar, w.done);
            continue;
        }
        if (!float_type(t->dtype))
            TRY(ldm_fail(LDM_ERR_UNSUPPORTED, "tensor %s: %s with gaps between its rows cannot be copied", t->name,
                         ldm_dtype_name(t->dtype)));
        TRY(room_for(&w, (size_t)n));
        TRY(ldm_ckpt_load_f32(t, w.data));
        TRY(store(&w, j->dtype, t->name, w.data, n));
    }
    if ((st = ldm_st_commit(w.out)) == LDM_OK) w.out = NULL;
done:
    ldm_progress_end(&w.bar);
    writer_free(&w);
    return st;
}

/* ---- a folder -------------------------------------------------------------------------------------------------- */

static ldm_status put_text(const char *folder, const char *part, const char *file, ldm_text *t) {
    char path[4400];
    ldm_status st = LDM_OK;
    snprintf(path, sizeof path, "%s/%s%s%s", folder, part, *part ? "/" : "", file);
    if (!t->s) st = ldm_fail(LDM_ERR_NOMEM, "%s: host memory is not there", path);
    if (!st) st = ldm_write_file(path, t->s, t->len);
    ldm_text_free(t);
    return st;
}

static ldm_status make_folder(const char *path) {
    return mkdir(path, 0777) == 0 ? LDM_OK : ldm_fail(LDM_ERR_IO, "%s: cannot be made: %s", path, strerror(errno));
}

/* Removes what a conversion that failed had written: a folder of ours, one level of folders in it. */
static void remove_folder(const char *path, int depth) {
    DIR *d = opendir(path);
    char inside[4700];
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        if (unlink(inside) && depth > 0) remove_folder(inside, depth - 1);
    }
    if (d) closedir(d);
    rmdir(path);
}

static ldm_status copy_text(const char *from, const char *to) {
    char *data = NULL;
    size_t size;
    ldm_status st = ldm_read_file(from, 64 << 20, &data, &size);
    if (!st) st = ldm_write_file(to, data, size);
    free(data);
    return st;
}

static ldm_status copy_tokenizer(const char *from, const char *folder) {
    static const char *const names[] = {"vocab.json",
                                        "merges.txt",
                                        "vocab.txt",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json"};
    char path[4400], to[4400];
    ldm_status st = LDM_OK;
    snprintf(to, sizeof to, "%s/tokenizer", folder);
    TRY(make_folder(to));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", from, names[i]);
        snprintf(to, sizeof to, "%s/tokenizer/%s", folder, names[i]);
        if (ldm_is_file(path)) TRY(copy_text(path, to));
    }
done:
    return st;
}

static ldm_status write_model(ldm_system *s, const char *folder, const char *part, const char *file, int parts,
                              int dtype, void (*config)(ldm_text *, const ldm_system *)) {
    char path[4400];
    ldm_text t = {0};
    ldm_status st = LDM_OK;
    snprintf(path, sizeof path, "%s/%s", folder, part);
    TRY(make_folder(path));
    snprintf(path, sizeof path, "%s/%s/%s", folder, part, file);
    TRY(write_file(s, parts, LDM_DIFFUSERS, dtype, path));
    config(&t, s);
    TRY(put_text(folder, part, "config.json", &t));
done:
    ldm_text_free(&t);
    return st;
}

static ldm_status fill_folder(ldm_system *s, int dtype, const char *folder) {
    static const char *const weights = "diffusion_pytorch_model.safetensors";
    const bool bert = s->has[LDM_PART_TEXT] && s->text.kind == LDM_TEXT_BERT, vq = s->stage.kind == LDM_STAGE_VQ;
    const bool stage = s->has[LDM_PART_ENCODER] && s->has[LDM_PART_DECODER];
    const char *stage_name = bert || !vq ? (bert ? "vqvae" : "vae") : "vqvae";
    const char *pipeline = bert                                   ? "LDMTextToImagePipeline"
                           : s->task == LDM_TASK_UNCONDITIONAL    ? "LDMPipeline"
                           : s->task == LDM_TASK_SUPER_RESOLUTION ? "LDMSuperResolutionPipeline"
                           : s->task == LDM_TASK_INPAINT_SD       ? "StableDiffusionInpaintPipeline"
                           : s->task == LDM_TASK_DEPTH            ? "StableDiffusionDepth2ImgPipeline"
                           : s->task == LDM_TASK_UPSCALE          ? "StableDiffusionUpscalePipeline"
                                                                  : "StableDiffusionPipeline";
    ldm_text t = {0};
    char path[4400], from[4400];
    ldm_status st = LDM_OK;
    if (s->task == LDM_TASK_UNCONDITIONAL || s->task == LDM_TASK_SUPER_RESOLUTION) stage_name = "vqvae";
    TRY(write_model(s, folder, "unet", weights, 1 << LDM_PART_UNET, dtype, write_json_unet));
    if (stage)
        TRY(write_model(s, folder, stage_name, weights, 1 << LDM_PART_ENCODER | 1 << LDM_PART_DECODER, dtype,
                        write_json_stage));
    if (s->has[LDM_PART_TEXT])
        TRY(write_model(s, folder, bert ? "bert" : "text_encoder", "model.safetensors", 1 << LDM_PART_TEXT, dtype,
                        write_json_text));
    if (s->tokenizer) TRY(copy_tokenizer(s->tokenizer, folder));
    snprintf(path, sizeof path, "%s/scheduler", folder);
    TRY(make_folder(path));
    if (s->scheduler) { /* a folder's own goes along */
        snprintf(from, sizeof from, "%s/scheduler/scheduler_config.json", s->path);
        snprintf(path, sizeof path, "%s/scheduler/scheduler_config.json", folder);
        TRY(copy_text(from, path));
    } else {
        write_json_scheduler(&t, s);
        TRY(put_text(folder, "scheduler", "scheduler_config.json", &t));
    }
    ldm_text_add(&t, "{\n  \"_class_name\": \"%s\",\n  \"scheduler\": [\"diffusers\", \"%s\"],\n", pipeline,
                 s->scheduler ? s->scheduler : "DDIMScheduler");
    if (stage) ldm_text_add(&t, "  \"%s\": [\"diffusers\", \"%s\"],\n", stage_name, vq ? "VQModel" : "AutoencoderKL");
    else
        ldm_text_add(&t, "  \"_scale_factor\": %.17g,\n", s->config.scale_factor); /* which the autoencoder would say */
    if (bert) ldm_text_add(&t, "  \"bert\": [\"latent_diffusion\", \"LDMBertModel\"],\n");
    else if (s->has[LDM_PART_TEXT]) ldm_text_add(&t, "  \"text_encoder\": [\"transformers\", \"CLIPTextModel\"],\n");
    if (s->tokenizer)
        ldm_text_add(&t, "  \"tokenizer\": [\"transformers\", \"%s\"],\n", bert ? "BertTokenizer" : "CLIPTokenizer");
    ldm_text_add(&t, "  \"unet\": [\"diffusers\", \"%s\"]\n}\n",
                 s->config.unet.use_spatial_transformer ? "UNet2DConditionModel" : "UNet2DModel");
    TRY(put_text(folder, "", "model_index.json", &t));
done:
    ldm_text_free(&t);
    return st;
}

/* What has no place in a diffusers folder, said before anything is written. */
static ldm_status refuse(const ldm_system *s) {
    const ldm_unet_config *u = &s->config.unet;
    const char *what = u->resblock_updown        ? "resblock_updown (residual blocks that resample)"
                       : u->use_scale_shift_norm ? "use_scale_shift_norm"
                       : s->config.n_classes && s->has[LDM_PART_CONDITION] ? "its class embedder"
                       : s->config.labels                                  ? "its rescaler of label maps"
                                                                           : NULL;
    if (!what && !u->use_spatial_transformer && !write_head_width(u))
        what = "attention of a number of heads without a context (diffusers knows widths)";
    if (!what) return LDM_OK;
    return ldm_fail(LDM_ERR_UNSUPPORTED, "%s: %s has no place in diffusers' layout: %s", s->path, s->config.name, what);
}

static ldm_status to_folder(ldm_system *s, int dtype, const char *out) {
    char temp[4096];
    ldm_status st = refuse(s);
    if (st) return st;
    if (s->text.kind == LDM_TEXT_OPENCLIP && s->text.skip == 2) /* transformers' has no layers that are not used */
        s->text.layers--, s->text.skip = 1;
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    if (snprintf(temp, sizeof temp, "%.*s.part-%ld", (int)n, out, (long)getpid()) >= (int)sizeof temp || n > 4000)
        return ldm_fail(LDM_ERR_ARG, "%s: path too long", out);
    if (access(out, F_OK) == 0) return ldm_fail(LDM_ERR_IO, "%s: is there already; a folder is never replaced", out);
    if ((st = make_folder(temp))) return st;
    TRY(fill_folder(s, dtype, temp));
    if (rename(temp, out)) TRY(ldm_fail(LDM_ERR_IO, "%s: cannot be renamed to %s: %s", temp, out, strerror(errno)));
done:
    if (st) remove_folder(temp, 1);
    return st;
}

/* A text that stands beside a model: written before it, there only after it. */
static ldm_status begin_text(const char *path, const ldm_text *t, ldm_outfile *o) {
    if (!t->s) return ldm_fail(LDM_ERR_NOMEM, "%s: host memory is not there", path);
    ldm_status st = ldm_outfile_open(path, o);
    if (!st && (fwrite(t->s, 1, t->len, o->f) != t->len || fflush(o->f)))
        st = ldm_fail(LDM_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return st;
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static ldm_layout layout_of(const ldm_system *s) {
    for (int i = 0; i < LDM_PARTS; i++)
        if (s->has[i]) return s->files->places.at[i].layout;
    return LDM_COMPVIS;
}

ldm_status ldm_convert(ldm_system *s, const ldm_convert_options *o, const char *out) {
    const struct ldm_system_files *f = s->files;
    const ldm_layout from = layout_of(s), to = o->layout < 0 ? from : (ldm_layout)o->layout;
    char yaml[4096], *data = NULL;
    ldm_status st = LDM_OK;
    ldm_text text = {0};
    ldm_outfile beside = {0};
    size_t size;
    int parts = 0;
    const size_t n = strlen(out);
    if (f->synthetic) return ldm_fail(LDM_ERR_ARG, "convert: there are no files to convert");
    for (int i = 0; i < LDM_PARTS; i++) parts |= s->has[i] << i;
    const char *dot = strrchr(out, '.'), *slash = strrchr(out, '/');
    static const char *const pickled[] = {".ckpt", ".pth", ".pt", ".bin"}; /* other programs go by the name */
    for (size_t i = 0; dot && i < sizeof pickled / sizeof *pickled; i++)
        if (!strcmp(dot, pickled[i])) TRY(ldm_fail(LDM_ERR_ARG, "%s: is a name of PyTorch's pickles, wanted .safetensors", out));
    snprintf(yaml, sizeof yaml, "%.*s.yaml", dot && (!slash || dot > slash) ? (int)(dot - out) : (int)n, out);
    if (from == to && f->sets == 1 && f->set[0]->count == 1) {
        if (f->said_by && f->said.condition_known) { /* a .yaml, which goes with the file */
            TRY(ldm_read_file(f->said_by, 64 << 20, &data, &size));
            ldm_text_bytes(&text, data, size);
            TRY(begin_text(yaml, &text, &beside));
        }
        TRY(copy_file(f->set[0]->ckpt[0], s->config.ema, o->dtype, out));
        if (beside.f) st = ldm_outfile_commit(&beside);
        goto done;
    }
    if (s->task == LDM_TASK_NONE) return write_file(s, parts, to, o->dtype, out); /* a part alone */
    if (to == LDM_DIFFUSERS) return to_folder(s, o->dtype, out);
    parts &= ~(1 << LDM_PART_TINY_ENCODER | 1 << LDM_PART_TINY_DECODER); /* a CompVis file has no place for them */
    write_authors_yaml(&text, s);
    TRY(begin_text(yaml, &text, &beside));
    TRY(write_file(s, parts, LDM_COMPVIS, o->dtype, out));
    st = ldm_outfile_commit(&beside);
done:
    ldm_outfile_abandon(&beside);
    ldm_text_free(&text);
    free(data);
    return st;
}
