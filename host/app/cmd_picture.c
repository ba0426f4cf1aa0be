/* cmd_picture.c -- `ldm encode`, `ldm decode`, `ldm roundtrip`: pictures through a first stage. Pictures of any size:
 * padded by reflection to what the network needs, cropped back. */
#include "app/network.h"
#include "io/io.h"
#include "sample/sample.h"
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct picture_options {
    char *model, *config, *taesd, *in, *out, *dtype;
    long long synthetic, seed; /* seed >= 0: a sample of the KL posterior instead of its mean */
    int width, height;         /* decode: crop */
} picture_options;

static picture_options o;
static struct poptOption stage_table[] = {
    {"input", 'i', POPT_ARG_STRING, &o.in, 0, "what to read", "FILE"},
    {"output", 'o', POPT_ARG_STRING, &o.out, 0, "what to write", "FILE"},
    {"model", 'm', POPT_ARG_STRING, &o.model, 0, "autoencoder or whole checkpoint", "FILE"},
    {"config", 0, POPT_ARG_STRING, &o.config, 0,
     "first stage or system by name (kl-f8, sd15, ...) where the file does not say it", "NAME"},
    {"taesd", 0, POPT_ARG_STRING, &o.taesd, 0, "folder with a TAESD-family pair: *encoder* and *decoder* files",
     "FOLDER"},
    {"synthetic", 0, POPT_ARG_LONGLONG, &o.synthetic, 0,
     "deterministic random weights instead (a speed test, not a picture)", "SEED"},
    {"dtype", 0, POPT_ARG_STRING, &o.dtype, 0, "storage: f32 or f16", "T"},
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
    if (o.taesd && o.model) return ldm_fail(LDM_ERR_ARG, "-m and --taesd exclude each other");
    return LDM_OK;
}

static void free_options(void) { free(o.model), free(o.config), free(o.taesd), free(o.in), free(o.out), free(o.dtype); }

/* One half of the first stage on one input map of h x w; *y is allocated with its shape. */
static ldm_status run_half(ldm_cl *cl, app_part part, const float *x, int64_t h, int64_t w, app_network *net, float **y,
                           ldm_shape *shape, double *seconds) {
    ldm_status st = LDM_OK;
    char path[4300];
    ldm_exec *e = NULL;
    app_network_options n = {.net = part == APP_ENCODER ? "encoder" : "decoder",
                             .config = o.config,
                             .model = o.model,
                             .synthetic = o.synthetic,
                             .h = h,
                             .w = w};
    TRY(app_parse_dtype(o.dtype, &n.dtype));
    if (o.taesd) {
        TRY(find_half(o.taesd, n.net, path, sizeof path));
        n.model = path;
    }
    TRY(app_network_plan(&n, net));
    TRY(app_network_weights(&n, net));
    TRY(app_network_exec(net, cl, NULL, &e));
    TRY(ldm_exec_write(e, ldm_plan_find(net->plan, part == APP_ENCODER ? "x" : "z"), x));
    TRY(ldm_exec_run(e, 0)); /* the first run makes the kernels; the second is timed */
    TRY(ldm_exec_finish(e));
    TRY(ldm_check_interrupt());
    double start = ldm_now();
    if (seconds) TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_finish(e));
    if (seconds) *seconds = ldm_now() - start;
    ldm_tensor t = ldm_plan_find(net->plan, "y");
    *shape = ldm_plan_tensor(net->plan, t)->shape;
    TRY(ldm_alloc((size_t)ldm_shape_count(shape) * sizeof **y, (void **)y));
    TRY(ldm_exec_read(e, t, *y));
    TRY(app_check_finite(*y, ldm_shape_count(shape), part == APP_ENCODER ? "encoder output" : "decoder output"));
done:
    ldm_exec_destroy(e);
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
    if (!st && net.config && net.config->scale_by_std && !net.ckpt && n.model) st = ldm_ckpt_open(n.model, &net.ckpt);
    if (!st) st = app_scale_factor(&net, net.ckpt, scale);
    app_network_close(&net);
    return st;
}

/* KL: mean (or a sample of the posterior), times the scale factor; others: the map itself. [h,w,2c] -> [h,w,c] in
 * place. */
static ldm_status to_latent(const ldm_stage_config *s, double scale, float *y, ldm_shape *shape) {
    int64_t pixels = shape->dim[0] * shape->dim[1] * shape->dim[2],
            c = s->kind == LDM_STAGE_KL ? shape->dim[3] / 2 : shape->dim[3];
    ldm_randn *r = NULL;
    float *noise = NULL;
    ldm_status st = LDM_OK;
    if (s->kind == LDM_STAGE_KL && o.seed >= 0) {
        TRY(ldm_randn_create((uint64_t)o.seed, &r));
        TRY(ldm_alloc((size_t)(pixels * c) * sizeof *noise, (void **)&noise));
        ldm_randn_fill(r, noise, pixels * c); /* in PyTorch's NCHW order */
    }
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < c; k++) {
            float mean = y[i * shape->dim[3] + k], value = mean;
            if (noise) {
                float logvar = y[i * shape->dim[3] + c + k];
                logvar = logvar < -30 ? -30 : logvar > 20 ? 20 : logvar;
                value = mean + expf(0.5f * logvar) * noise[k * pixels + i];
            }
            y[i * c + k] = (float)scale * value; /* i c + k never passes what is still to be read */
        }
    shape->dim[3] = c;
done:
    free(noise);
    ldm_randn_destroy(r);
    return st;
}

APP_COMMAND(encode) {
    o = (picture_options){.synthetic = -1, .seed = -1};
    struct poptOption table[] = {
        {"seed", 's', POPT_ARG_LONGLONG, &o.seed, 0, "KL: a sample of the posterior with this seed, not its mean", "S"},
        STAGE,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_image im = {0};
    ldm_stage_config s;
    ldm_cl *cl = NULL;
    app_network net = {0};
    float *x = NULL, *y = NULL, *nchw = NULL;
    ldm_shape shape;
    double scale;
    int64_t h, w;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 0, &words, &ctx));
    TRY(check_options());
    TRY(find_stage(&s, &scale));
    TRY(ldm_png_read(o.in, &im));
    TRY(padded_map(&im, &s, ldm_stage_factor(&s), &x, &h, &w));
    TRY(app_open_device(&cl));
    TRY(run_half(cl, APP_ENCODER, x, h, w, &net, &y, &shape, NULL));
    TRY(to_latent(&s, scale, y, &shape));
    ldm_shape out = ldm_shape_of(4, shape.dim[0], shape.dim[3], shape.dim[1], shape.dim[2]);
    TRY(ldm_alloc((size_t)ldm_shape_count(&out) * sizeof *nchw, (void **)&nchw));
    ldm_nhwc_to_nchw(y, out.dim[0], out.dim[1], out.dim[2], out.dim[3], nchw);
    TRY(ldm_npy_write(o.out, LDM_F32, &out, nchw));
    char text[128];
    double square = 0;
    for (int64_t i = 0; i < ldm_shape_count(&out); i++) square += (double)nchw[i] * nchw[i];
    printf("%s: latent %s, rms %.5f\n", o.out, ldm_shape_text(&out, text, sizeof text),
           sqrt(square / (double)ldm_shape_count(&out)));
done:
    free(x), free(y), free(nchw);
    ldm_image_free(&im);
    app_network_close(&net);
    ldm_cl_close(cl);
    free_options();
    poptFreeContext(ctx);
    return st;
}

APP_COMMAND(decode) {
    o = (picture_options){.synthetic = -1, .seed = -1};
    struct poptOption table[] = {{"width", 'W', POPT_ARG_INT, &o.width, 0, "crop the picture", "PIXELS"},
                                 {"height", 'H', POPT_ARG_INT, &o.height, 0, "crop the picture", "PIXELS"},
                                 STAGE,
                                 APP_DEVICE,
                                 APP_END};
    const char **words;
    poptContext ctx;
    ldm_array a = {0};
    ldm_stage_config s;
    ldm_cl *cl = NULL;
    app_network net = {0};
    float *z = NULL, *y = NULL;
    ldm_image im = {0};
    ldm_shape shape;
    double scale;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 0, &words, &ctx));
    TRY(check_options());
    TRY(find_stage(&s, &scale));
    TRY(ldm_npy_read_f32(o.in, &a));
    char text[128];
    int64_t c = s.kind == LDM_STAGE_IDENTITY ? 3 : s.embed_dim;
    if (a.shape.rank != 4 || a.shape.dim[0] != 1 || a.shape.dim[1] != c)
        TRY(ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted [1, %lld, height, width]", o.in,
                     ldm_shape_text(&a.shape, text, sizeof text), (long long)c));
    int64_t n = ldm_shape_count(&a.shape);
    TRY(app_check_finite(a.data, n, o.in));
    TRY(ldm_alloc((size_t)n * sizeof *z, (void **)&z));
    ldm_nchw_to_nhwc(a.data, 1, c, a.shape.dim[2], a.shape.dim[3], z);
    for (int64_t i = 0; i < n; i++) z[i] /= (float)scale;
    TRY(app_open_device(&cl));
    TRY(run_half(cl, APP_DECODER, z, a.shape.dim[2], a.shape.dim[3], &net, &y, &shape, NULL));
    im.h = o.height ? o.height : shape.dim[1], im.w = o.width ? o.width : shape.dim[2];
    if (im.h < 1 || im.w < 1 || im.h > shape.dim[1] || im.w > shape.dim[2])
        TRY(ldm_fail(LDM_ERR_ARG, "crop to %lld x %lld: the picture is %lld x %lld", (long long)im.w, (long long)im.h,
                     (long long)shape.dim[2], (long long)shape.dim[1]));
    TRY(ldm_alloc((size_t)(im.w * im.h * 3), (void **)&im.data));
    for (int64_t row = 0; row < im.h; row++)
        app_map_to_image(&s, y + row * shape.dim[2] * 3, im.w * 3, im.data + row * im.w * 3);
    TRY(ldm_png_write(o.out, &im, NULL));
    printf("%s: %lld x %lld\n", o.out, (long long)im.w, (long long)im.h);
done:
    free(z), free(y);
    ldm_array_free(&a);
    ldm_image_free(&im);
    app_network_close(&net);
    ldm_cl_close(cl);
    free_options();
    poptFreeContext(ctx);
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
    struct poptOption table[] = {STAGE, APP_DEVICE, APP_END};
    const char **words;
    poptContext ctx;
    ldm_image im = {0}, result = {0};
    ldm_stage_config s;
    ldm_cl *cl = NULL;
    app_network enc = {0}, dec = {0};
    float *x = NULL, *latent = NULL, *y = NULL;
    ldm_shape shape, out;
    double scale, t_enc, t_dec;
    int64_t h, w;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 0, &words, &ctx));
    TRY(check_options());
    TRY(find_stage(&s, &scale));
    TRY(ldm_png_read(o.in, &im));
    TRY(padded_map(&im, &s, ldm_stage_factor(&s), &x, &h, &w));
    TRY(app_open_device(&cl));
    TRY(run_half(cl, APP_ENCODER, x, h, w, &enc, &latent, &shape, &t_enc));
    app_network_close(&enc);
    TRY(to_latent(&s, 1, latent, &shape));
    TRY(run_half(cl, APP_DECODER, latent, shape.dim[1], shape.dim[2], &dec, &y, &out, &t_dec));
    result = (ldm_image){.w = im.w, .h = im.h};
    TRY(ldm_alloc((size_t)(im.w * im.h * 3), (void **)&result.data));
    for (int64_t row = 0; row < im.h; row++)
        app_map_to_image(&s, y + row * out.dim[2] * 3, im.w * 3, result.data + row * im.w * 3);
    TRY(ldm_png_write(o.out, &result, NULL));
    double square = 0;
    for (int64_t i = 0; i < ldm_shape_count(&shape); i++) square += (double)latent[i] * latent[i];
    printf("%s: %lld x %lld, latent %lld x %lld x %lld, rms %.5f\n", o.in, (long long)im.w, (long long)im.h,
           (long long)shape.dim[3], (long long)shape.dim[1], (long long)shape.dim[2],
           sqrt(square / (double)ldm_shape_count(&shape)));
    printf("%s: PSNR %.3f dB (%.3f dB after rounding to 8 bits), encode %.1f ms, decode %.1f ms on %s\n", o.out,
           psnr(&im, y, out.dim[2], false, &s), psnr(&im, y, out.dim[2], true, &s), t_enc * 1e3, t_dec * 1e3,
           ldm_cl_device(cl)->name);
done:
    free(x), free(latent), free(y);
    ldm_image_free(&im);
    ldm_image_free(&result);
    app_network_close(&enc);
    app_network_close(&dec);
    ldm_cl_close(cl);
    free_options();
    poptFreeContext(ctx);
    return st;
}
