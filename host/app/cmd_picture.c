/* cmd_picture.c -- `ldm encode`, `ldm decode`, `ldm roundtrip`: pictures through a first stage. Pictures of any size:
 * padded by reflection to what the network needs, cropped back. */
#include "app/codes.h"
#include "app/latent.h"
#include "app/network.h"
#include "io/io.h"
#include "sample/sample.h"
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct picture_options {
    char *model, *config, *taesd, *in, *out;
    long long synthetic, seed; /* seed >= 0: a sample of the KL posterior instead of its mean */
    int width, height;         /* decode: crop; APP_UNSET: not at all */
    int codes;                 /* whole numbers, entries of a codebook, in place of a latent */
} picture_options;

static picture_options o;

/* What each of the three commands has: freed by end(). */
typedef struct job {
    poptContext ctx;
    ldm_stage_config stage; /* known before anything is built */
    double scale;           /* latents are multiplied by it */
    ldm_cl *cl;             /* opened by the command when its input is read */
    ldm_image im;           /* the picture read */
    float *latent, *y;      /* what the encoder, the decoder gave */
    ldm_shape latent_shape, y_shape;
} job;

static struct poptOption stage_table[] = {
    {"input", 'i', POPT_ARG_STRING, &o.in, 0, "what to read", "FILE"},
    {"output", 'o', POPT_ARG_STRING, &o.out, 0, "what to write", "FILE"},
    {"model", 'm', POPT_ARG_STRING, &o.model, 0, "autoencoder or whole checkpoint", "FILE"},
    {"config", 0, POPT_ARG_STRING, &o.config, 0,
     "first stage or system by name (kl-f8, sd15, ...), or a CompVis .yaml file, where the model does not say it", "NAME"},
    {"taesd", 0, POPT_ARG_STRING, &o.taesd, 0, "folder with a TAESD-family pair: *encoder* and *decoder* files",
     "FOLDER"},
    {"synthetic", 0, POPT_ARG_LONGLONG, &o.synthetic, 0,
     "deterministic random weights instead (a speed test, not a picture)", "SEED"},
    POPT_TABLEEND};
#define STAGE                                                                                                          \
    { NULL, 0, POPT_ARG_INCLUDE_TABLE, stage_table, 0, "First stage:", NULL }

/* The only file of `folder` with `word` in its name and a checkpoint's ending. */
static ldm_status find_half(const char *folder, const char *word, char *path, size_t cap) {
    DIR *d = opendir(folder);
    int found = 0;
    if (!d) return ldm_fail(LDM_ERR_FORMAT, "%s: folder cannot be opened", folder);
    for (struct dirent *f; (f = readdir(d));) {
        const char *dot = strrchr(f->d_name, '.');
        if (!strstr(f->d_name, word) || !dot ||
            (strcmp(dot, ".pth") && strcmp(dot, ".safetensors") && strcmp(dot, ".pt") && strcmp(dot, ".ckpt")))
            continue;
        snprintf(path, cap, "%s/%s", folder, f->d_name);
        found++;
    }
    closedir(d);
    return found == 1 ? LDM_OK : ldm_fail(LDM_ERR_FORMAT, "%s: %d files named *%s*, wanted one", folder, found, word);
}

static ldm_status check_options(void) {
    if (!o.in || !o.out) return ldm_fail(LDM_ERR_ARG, "%s is missing", o.in ? "-o FILE" : "-i FILE");
    if (!o.model && !o.taesd && o.synthetic < 0)
        return ldm_fail(LDM_ERR_ARG, "weights: give -m FILE, --taesd FOLDER or --synthetic SEED");
    if (!!o.model + !!o.taesd + (o.synthetic >= 0) > 1)
        return ldm_fail(LDM_ERR_ARG, "%s and %s exclude each other", o.model ? "-m" : "--taesd",
                        o.model && o.taesd ? "--taesd" : "--synthetic");
    return ldm_try_file(o.out);
}

/* One half of the first stage, planned as `n` says, on one input map; *y is allocated with its shape. */
static ldm_status run_once(ldm_cl *cl, const app_network_options *n, bool encoder, const float *x, float **y,
                           ldm_shape *shape, double *seconds) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    ldm_exec *e = NULL;
    float *data = NULL;
    TRY(app_network_plan(n, &net));
    TRY(app_network_weights(n, &net));
    TRY(app_network_exec(&net, cl, NULL, &e));
    TRY(ldm_exec_write(e, ldm_plan_find(net.plan, encoder ? "x" : "z"), x));
    TRY(ldm_exec_run(e, 0)); /* the first run makes the kernels; the second is timed */
    TRY(ldm_exec_finish(e));
    TRY(ldm_check_interrupt());
    double start = ldm_now();
    if (seconds) TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_finish(e));
    if (seconds) *seconds = ldm_now() - start;
    ldm_tensor t = ldm_plan_find(net.plan, "y");
    *shape = ldm_plan_tensor(net.plan, t)->shape;
    TRY(ldm_alloc((size_t)ldm_shape_count(shape) * sizeof *data, (void **)&data));
    TRY(ldm_exec_read(e, t, data));
    TRY(app_name_block(app_check_finite(data, ldm_shape_count(shape), n->net), e, 0));
    *y = data;
    data = NULL;
done:
    free(data);
    ldm_exec_destroy(e);
    app_network_close(&net);
    return st;
}

/* One half of the first stage on one input map of h x w, once more in f32 where f16 overflows. */
static ldm_status run_half(ldm_cl *cl, app_part part, const float *x, int64_t h, int64_t w, float **y, ldm_shape *shape,
                           double *seconds) {
    char path[4300];
    app_network_options n = {.net = part == APP_ENCODER ? "encoder" : "decoder",
                             .config = o.config,
                             .model = o.model,
                             .synthetic = o.synthetic,
                             .h = h,
                             .w = w};
    ldm_status st = app_storage(&n.dtype, &n.wdtype);
    if (!st && o.taesd) {
        st = find_half(o.taesd, n.net, path, sizeof path);
        n.model = path;
    }
    if (!st) st = run_once(cl, &n, part == APP_ENCODER, x, y, shape, seconds);
    if (app_retry_in_f32(st, &n.dtype, &n.wdtype)) st = run_once(cl, &n, part == APP_ENCODER, x, y, shape, seconds);
    return st;
}

/* Index into 0..n-1 reflected at the borders without repeating them (n = 1: always 0). */
static int64_t reflect(int64_t i, int64_t n) {
    int64_t period = n > 1 ? 2 * (n - 1) : 1;
    i = ((i % period) + period) % period;
    return i < n ? i : period - i;
}

/* The picture as a map of the stage's range, padded right and below to multiples of `multiple`. */
static ldm_status padded_map(const ldm_image *im, const ldm_stage_config *s, int64_t multiple, float **x, int64_t *h,
                             int64_t *w) {
    *h = ldm_round_up(im->h, multiple), *w = ldm_round_up(im->w, multiple);
    ldm_status st = ldm_alloc((size_t)(*h * *w * 3) * sizeof **x, (void **)x);
    for (int64_t i = 0; !st && i < *h * *w; i++)
        app_image_to_map(s, im->data + (reflect(i / *w, im->h) * im->w + reflect(i % *w, im->w)) * 3, 3, *x + i * 3);
    return st;
}

/* The stage alone, to know its range and factor before anything is built. */
static ldm_status find_stage(ldm_stage_config *s, double *scale) {
    char path[4300];
    app_network net = {0};
    app_network_options n = {.net = "encoder", .config = o.config, .model = o.model, .synthetic = o.synthetic};
    ldm_status st = o.taesd ? find_half(o.taesd, "encoder", path, sizeof path) : LDM_OK;
    if (o.taesd) n.model = path;
    if (!st) st = app_network_find(&n, &net);
    *s = net.stage;
    if (!st && net.config && net.config->scale_by_std && !net.system && n.model) st = ldm_ckpt_open(n.model, &net.ckpt);
    if (!st) st = app_scale_factor(&net, net.ckpt, scale);
    app_network_close(&net);
    return st;
}

/* KL: mean (or a sample of the posterior), times the scale factor; others: the map itself. [h,w,2c] -> [h,w,c] in
 * place. */
static ldm_status to_latent(const ldm_stage_config *s, double scale, float *y, ldm_shape *shape) {
    int64_t pixels = shape->dim[0] * shape->dim[1] * shape->dim[2],
            c = s->kind == LDM_STAGE_KL ? shape->dim[3] / 2 : shape->dim[3];
    ldm_rng *r = NULL;
    float *noise = NULL;
    ldm_status st = LDM_OK;
    if (s->kind == LDM_STAGE_KL && o.seed >= 0) {
        TRY(ldm_rng_create((ldm_rng_kind){0}, (uint64_t)o.seed, &r));
        TRY(ldm_alloc((size_t)(pixels * c) * sizeof *noise, (void **)&noise));
        ldm_rng_fill(r, noise, pixels * c); /* in PyTorch's NCHW order */
    }
    app_posterior(s, y, pixels, c, noise, scale, y);
    shape->dim[3] = c;
done:
    free(noise);
    ldm_rng_destroy(r);
    return st;
}

static ldm_status begin(const app_command *self, const struct poptOption *table, int argc, const char **argv, job *j) {
    const char **words;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 0, &words, &j->ctx));
    TRY(check_options());
    TRY(find_stage(&j->stage, &j->scale));
done:
    return st;
}

static void end(job *j) {
    free(j->latent), free(j->y);
    ldm_image_free(&j->im);
    ldm_cl_close(j->cl);
    free(o.model), free(o.config), free(o.taesd), free(o.in), free(o.out);
    poptFreeContext(j->ctx);
}

/* The picture read and through the encoder. */
static ldm_status encode(job *j, double *seconds) {
    ldm_status st = LDM_OK;
    float *x = NULL;
    int64_t h, w;
    TRY(ldm_picture_read(o.in, &j->im));
    if (j->im.flattened) ldm_note("%s: its transparent pixels are laid on white", o.in);
    TRY(padded_map(&j->im, &j->stage, ldm_stage_factor(&j->stage), &x, &h, &w));
    TRY(app_open_device(&j->cl));
    TRY(run_half(j->cl, APP_ENCODER, x, h, w, &j->latent, &j->latent_shape, seconds));
done:
    free(x);
    return st;
}

/* What the decoder gave, cropped to the upper left w x h, as a picture. */
static ldm_status write_picture(const job *j, int64_t w, int64_t h) {
    ldm_image im = {.w = w, .h = h};
    ldm_status st = LDM_OK;
    TRY(ldm_alloc((size_t)(w * h * 3), (void **)&im.data));
    for (int64_t row = 0; row < h; row++)
        app_map_to_image(&j->stage, j->y + row * j->y_shape.dim[2] * 3, w * 3, im.data + row * w * 3);
    app_note_name(o.out);
    TRY(ldm_png_write(o.out, &im, NULL));
done:
    ldm_image_free(&im);
    return st;
}

static double rms(const float *x, const ldm_shape *shape) {
    double square = 0;
    for (int64_t i = 0; i < ldm_shape_count(shape); i++) square += (double)x[i] * x[i];
    return sqrt(square / (double)ldm_shape_count(shape));
}

/* What names the stage's networks. */
static app_network_options stage_options(void) {
    return (app_network_options){.config = o.config, .model = o.model, .synthetic = o.synthetic};
}

static ldm_status no_codebook(const ldm_stage_config *s) {
    return ldm_fail(LDM_ERR_ARG, "--codes: the first stage %s has no codebook", s->name ? s->name : "of this file");
}

/* The encoder's map as a codebook map, [1, height, width]. */
static ldm_status write_codes(const job *j) {
    app_network_options n = stage_options();
    app_codebook book = {0};
    int32_t *codes = NULL;
    char text[128];
    const int64_t *d = j->latent_shape.dim;
    ldm_shape s = ldm_shape_of(3, d[0], d[1], d[2]);
    ldm_status st = LDM_OK;
    TRY(app_storage(&n.dtype, &n.wdtype));
    TRY(app_codebook_load(&n, &book));
    TRY(ldm_alloc((size_t)ldm_shape_count(&s) * sizeof *codes, (void **)&codes));
    app_codes_nearest(&book, j->latent, ldm_shape_count(&s), codes);
    TRY(ldm_npy_write(o.out, LDM_I32, &s, codes));
    printf("%s: codes %s of a codebook of %lld\n", o.out, ldm_shape_text(&s, text, sizeof text), (long long)book.entries);
done:
    free(book.entry), free(codes);
    return st;
}

APP_COMMAND(encode) {
    o = (picture_options){.synthetic = -1, .seed = -1};
    struct poptOption table[] = {
        {"seed", 's', POPT_ARG_LONGLONG, &o.seed, 0, "KL: a sample of the posterior with this seed, not its mean", "S"},
        {"codes", 0, POPT_ARG_NONE, &o.codes, 0, "VQ: entries of the codebook as whole numbers [1, height, width]", NULL},
        STAGE,
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    job j = {0};
    float *nchw = NULL;
    char text[128];
    ldm_status st = LDM_OK;
    TRY(begin(self, table, argc, argv, &j));
    if (o.codes && j.stage.kind != LDM_STAGE_VQ) TRY(no_codebook(&j.stage));
    TRY(encode(&j, NULL));
    if (o.codes) {
        st = write_codes(&j);
        goto done;
    }
    TRY(to_latent(&j.stage, j.scale, j.latent, &j.latent_shape));
    const int64_t *d = j.latent_shape.dim;
    ldm_shape out = ldm_shape_of(4, d[0], d[3], d[1], d[2]);
    TRY(ldm_alloc((size_t)ldm_shape_count(&out) * sizeof *nchw, (void **)&nchw));
    ldm_nhwc_to_nchw(j.latent, out.dim[0], out.dim[1], out.dim[2], out.dim[3], nchw);
    TRY(ldm_npy_write(o.out, LDM_F32, &out, nchw));
    printf("%s: latent %s, rms %.5f\n", o.out, ldm_shape_text(&out, text, sizeof text), rms(nchw, &out));
done:
    free(nchw);
    end(&j);
    return st;
}

/* A latent [1,c,h,w] as [h,w,c] in the stage's own units. */
static ldm_status read_latent(const job *j, float **z, int64_t *h, int64_t *w) {
    ldm_array a = {0};
    char text[128];
    ldm_status st = LDM_OK;
    TRY(ldm_npy_read_f32(o.in, &a));
    int64_t c = j->stage.kind == LDM_STAGE_IDENTITY ? 3 : j->stage.embed_dim;
    if (a.shape.rank != 4 || a.shape.dim[0] != 1 || a.shape.dim[1] != c || ldm_shape_count(&a.shape) < 1)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted [1, %lld, height, width]", o.in,
                     ldm_shape_text(&a.shape, text, sizeof text), (long long)c));
    int64_t n = ldm_shape_count(&a.shape);
    *h = a.shape.dim[2], *w = a.shape.dim[3];
    TRY(app_check_finite(a.data, n, o.in));
    TRY(ldm_alloc((size_t)n * sizeof **z, (void **)z));
    ldm_nchw_to_nhwc(a.data, 1, c, *h, *w, *z);
    for (int64_t i = 0; i < n; i++) (*z)[i] /= (float)j->scale;
done:
    ldm_array_free(&a);
    return st;
}

static ldm_status read_codes(const job *j, float **z, int64_t *h, int64_t *w) {
    app_network_options n = stage_options();
    app_codebook book = {0};
    ldm_array a = {0};
    ldm_status st = LDM_OK;
    if (j->stage.kind != LDM_STAGE_VQ) TRY(no_codebook(&j->stage));
    TRY(ldm_npy_read(o.in, &a));
    TRY(app_storage(&n.dtype, &n.wdtype));
    TRY(app_codebook_load(&n, &book));
    TRY(app_codes_look_up(&book, &a, o.in, z, h, w));
done:
    free(book.entry);
    ldm_array_free(&a);
    return st;
}

APP_COMMAND(decode) {
    o = (picture_options){.synthetic = -1, .seed = -1, .width = APP_UNSET, .height = APP_UNSET};
    struct poptOption table[] = {{"codes", 0, POPT_ARG_NONE, &o.codes, 0, "VQ: the input is a codebook map of whole numbers", NULL},
                                 {"width", 'W', POPT_ARG_INT, &o.width, 0, "crop the picture", "PIXELS"},
                                 {"height", 'H', POPT_ARG_INT, &o.height, 0, "crop the picture", "PIXELS"},
                                 STAGE,
                                 APP_PLAN,
                                 APP_DEVICE,
                                 APP_END};
    job j = {0};
    float *z = NULL;
    ldm_status st = LDM_OK;
    TRY(begin(self, table, argc, argv, &j));
    int64_t lh, lw;
    TRY(o.codes ? read_codes(&j, &z, &lh, &lw) : read_latent(&j, &z, &lh, &lw));
    const int64_t f = ldm_stage_factor(&j.stage);
    const int64_t h = o.height == APP_UNSET ? lh * f : o.height, w = o.width == APP_UNSET ? lw * f : o.width;
    if (h < 1 || w < 1 || h > lh * f || w > lw * f)
        TRY(ldm_fail(LDM_ERR_ARG, "crop to %lld x %lld: the picture is %lld x %lld", (long long)w, (long long)h,
                     (long long)(lw * f), (long long)(lh * f)));
    TRY(app_open_device(&j.cl));
    TRY(run_half(j.cl, APP_DECODER, z, lh, lw, &j.y, &j.y_shape, NULL));
    TRY(write_picture(&j, w, h));
    printf("%s: %lld x %lld\n", o.out, (long long)w, (long long)h);
done:
    free(z);
    end(&j);
    return st;
}

/* Peak signal to noise of v against the picture, both on 0..1. */
static double psnr(const ldm_image *im, const float *v, int64_t stride, bool rounded, const ldm_stage_config *s) {
    double square = 0;
    for (int64_t y = 0; y < im->h; y++)
        for (int64_t i = 0; i < im->w * 3; i++) {
            float f = v[y * stride * 3 + i];
            uint8_t px;
            app_map_to_image(s, &f, 1, &px);
            double got = rounded ? px / 255.0 : s->kind == LDM_STAGE_TAESD ? f : ((double)f + 1) / 2;
            got = got < 0 ? 0 : got > 1 ? 1 : got;
            double d = got - im->data[y * im->w * 3 + i] / 255.0;
            square += d * d;
        }
    return 10 * log10((double)(im->w * im->h * 3) / square);
}

APP_COMMAND(roundtrip) {
    o = (picture_options){.synthetic = -1, .seed = -1};
    struct poptOption table[] = {STAGE, APP_PLAN, APP_DEVICE, APP_END};
    job j = {0};
    double t_encode, t_decode;
    ldm_status st = LDM_OK;
    TRY(begin(self, table, argc, argv, &j));
    TRY(encode(&j, &t_encode));
    TRY(to_latent(&j.stage, 1, j.latent, &j.latent_shape));
    const int64_t *d = j.latent_shape.dim;
    TRY(run_half(j.cl, APP_DECODER, j.latent, d[1], d[2], &j.y, &j.y_shape, &t_decode));
    TRY(write_picture(&j, j.im.w, j.im.h));
    printf("%s: %lld x %lld, latent %lld x %lld x %lld, rms %.5f\n", o.in, (long long)j.im.w, (long long)j.im.h,
           (long long)d[3], (long long)d[1], (long long)d[2], rms(j.latent, &j.latent_shape));
    int64_t stride = j.y_shape.dim[2];
    printf("%s: PSNR %.3f dB (%.3f dB after rounding to 8 bits), encode %.1f ms, decode %.1f ms on %s\n", o.out,
           psnr(&j.im, j.y, stride, false, &j.stage), psnr(&j.im, j.y, stride, true, &j.stage), t_encode * 1e3,
           t_decode * 1e3, ldm_cl_device(j.cl)->name);
done:
    end(&j);
    return st;
}
