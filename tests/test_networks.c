/* test_networks.c -- whole networks against an independent witness: tests/fixtures holds what PyTorch made of small
 * networks of every block type (tests/oracle says how). Each is built from its configuration, loads its weights through
 * the checkpoint reader, runs on the device in f32 and f16 and on the references, as written and fused (plan/fuse.c),
 * and is compared with the witness's f64 result.
 *
 * The bar is witness.h's.
 *
 * Sampling is held to it twice. Starting each of the ten steps from the witness's latent, an error is that step's own
 * and nothing has grown. Ten steps in a row show what the network's slope makes of them, up to a hundred times as much;
 * there every latent has the plain error of its own step, since an early one must be far better than the last. Against
 * either a wrong time, noise, eta, token or scale stands out 2,800 to 560,000 times (moves_in_tolerances in the
 * fixture). */
#include "model/model.h"
#include "sample/sample.h"
#include "witness.h"

static ldm_cl *cl;        /* NULL: no device */
static bool fused = true; /* networks opened from here on */

/* ---- weights of the four-channel tiny autoencoder: TAEF2's, cut
 * ------------------------------------------------------- */

/* The first rows and columns of the file's tensor of that name: what tests/oracle/tiny.py four_channels keeps. */
static ldm_status cut_load(void *self, const ldm_tensor_info *t, float *dst) {
    const ldm_ckpt_tensor *src = ldm_ckpt_find(self, t->name);
    if (!src) return ldm_fail(LDM_ERR_FORMAT, "%s: not in the file", t->name);
    if (ldm_shape_equal(&src->shape, &t->shape)) return ldm_ckpt_load_f32(src, dst);
    void *mem;
    ldm_status st = ldm_alloc((size_t)ldm_shape_count(&src->shape) * sizeof(float), &mem);
    if (!st) st = ldm_ckpt_load_f32(src, mem);
    if (st) return free(mem), st;
    int64_t inner = 1, columns = src->shape.rank > 1 ? t->shape.dim[1] : 1,
            from = src->shape.rank > 1 ? src->shape.dim[1] : 1;
    for (int i = 2; i < t->shape.rank; i++) inner *= t->shape.dim[i];
    for (int64_t row = 0; row < t->shape.dim[0]; row++)
        memcpy(dst + row * columns * inner, (float *)mem + row * from * inner,
               (size_t)(columns * inner) * sizeof(float));
    free(mem);
    return LDM_OK;
}

/* ---- a network ready to run
 * -------------------------------------------------------------------------------------------- */

typedef struct network {
    ldm_plan *plan;
    ldm_binding *binding;
    ldm_exec *exec;
    ldm_tensor x, temb, context, ids, labels, guidance, y;
} network;

static void network_close(network *n) {
    ldm_exec_destroy(n->exec);
    ldm_binding_destroy(n->binding);
    ldm_plan_destroy(n->plan);
    *n = (network){0};
}

static ldm_status network_finish(network *n, ldm_ckpt *weights, bool cut, bool device) {
    ldm_status st = LDM_OK;
    ldm_source source = {.load = cut_load, .self = weights};
    const ldm_device *d = cl ? ldm_cl_device(cl) : NULL;
    ldm_plan_output(n->plan, n->y, "y");
    if (fused) TRY(ldm_plan_fuse(n->plan));
    TRY(ldm_plan_finish(n->plan, d ? d->max_alloc : SIZE_MAX / 2, d ? d->base_align : 64));
    if (!cut) {
        TRY(ldm_bind(n->plan, weights, &(ldm_bind_options){.allow_extra = true}, &n->binding));
        source = ldm_binding_source(n->binding);
    }
    if (device) st = ldm_exec_create(cl, n->plan, &source, NULL, &n->exec);
    else st = ldm_exec_create_reference(n->plan, &source, &n->exec);
done:
    if (st) network_close(n);
    return st;
}

/* x_shape [n,c,h,w]; tokens of context, or a class embedder of `classes` rows, or neither. */
static ldm_status unet_open(const fixture *f, const int64_t *x_shape, int tokens, int classes, ldm_windows windows,
                            bool device, ldm_dtype t, network *n) {
    ldm_unet_config c;
    ldm_status st = LDM_OK;
    *n = (network){.temb = LDM_NONE, .context = LDM_NONE, .ids = LDM_NONE, .labels = LDM_NONE, .guidance = LDM_NONE};
    TRY(ldm_unet_config_parse(text(f->json, "config"), &c));
    TRY(ldm_plan_create(t, t, &n->plan));
    n->x = ldm_plan_input(n->plan, "x", t, ldm_shape_of(4, x_shape[0], x_shape[2], x_shape[3], x_shape[1]));
    n->temb = ldm_plan_input(n->plan, "temb", t, ldm_shape_of(2, x_shape[0], (int64_t)c.model_channels));
    ldm_tensor context = LDM_NONE;
    if (classes) {
        n->ids = ldm_plan_input(n->plan, "class_ids", LDM_I32, ldm_shape_of(1, x_shape[0]));
        context = ldm_class_embedder_emit(n->plan, classes, c.context_dim, n->ids);
    } else if (tokens) {
        const int64_t contexts = windows.own_contexts ? ldm_windows_count(windows, x_shape[2], x_shape[3]) : 1;
        context = n->context =
            ldm_plan_input(n->plan, "context", t, ldm_shape_of(3, contexts * x_shape[0], (int64_t)tokens, (int64_t)c.context_dim));
    }
    if (c.num_classes) n->labels = ldm_plan_input(n->plan, "labels", LDM_I32, ldm_shape_of(1, x_shape[0]));
    if (c.time_cond_proj_dim)
        n->guidance =
            ldm_plan_input(n->plan, "guidance", t, ldm_shape_of(2, x_shape[0], (int64_t)c.time_cond_proj_dim));
    n->y = ldm_unet_emit_windows(n->plan, &c, windows, n->x, n->temb, context, n->labels, n->guidance);
    st = network_finish(n, f->weights, false, device);
done:
    return st;
}

static ldm_status stage_open(const fixture *f, bool decoder, const int64_t *x_shape, ldm_ckpt *weights, bool device,
                             ldm_dtype t, network *n) {
    ldm_stage_config c;
    ldm_status st = LDM_OK;
    *n = (network){.temb = LDM_NONE, .context = LDM_NONE, .ids = LDM_NONE, .labels = LDM_NONE, .guidance = LDM_NONE};
    TRY(ldm_stage_config_parse(text(f->json, "config"), &c));
    TRY(ldm_plan_create(t, t, &n->plan));
    n->x = ldm_plan_input(n->plan, "x", t, ldm_shape_of(4, x_shape[0], x_shape[2], x_shape[3], x_shape[1]));
    n->y = decoder ? ldm_stage_emit_decoder(n->plan, &c, n->x) : ldm_stage_emit_encoder(n->plan, &c, n->x);
    st = network_finish(n, weights, !strcmp(f->name, "taesd"), device);
done:
    return st;
}

/* Maps in and out in PyTorch's layout. */
static ldm_status write_map(const network *n, const float *nchw, const int64_t *s /* [n,c,h,w] */) {
    void *mem;
    ldm_status st = ldm_alloc((size_t)(s[0] * s[1] * s[2] * s[3]) * sizeof(float), &mem);
    if (st) return st;
    ldm_nchw_to_nhwc(nchw, s[0], s[1], s[2], s[3], mem);
    st = ldm_exec_write(n->exec, n->x, mem);
    free(mem);
    return st;
}

static ldm_status read_map(const network *n, float *nchw, const int64_t *s) {
    void *mem;
    ldm_status st = ldm_alloc((size_t)(s[0] * s[1] * s[2] * s[3]) * sizeof(float), &mem);
    if (st) return st;
    st = ldm_exec_read(n->exec, n->y, mem);
    if (!st) ldm_nhwc_to_nchw(mem, s[0], s[1], s[2], s[3], nchw);
    free(mem);
    return st;
}

static ldm_status write_time(const network *n, const float *t, int64_t count) {
    float e[2048];
    int64_t d = ldm_plan_tensor(n->plan, n->temb)->shape.dim[1];
    for (int64_t i = 0; i < count; i++) ldm_timestep_embedding(t[i], (int)d, e + i * d);
    return ldm_exec_write(n->exec, n->temb, e);
}

/* One run of a fixture on one executor at one storage type; y [n,c,h,w] as the fixture's output. */
static ldm_status evaluate(const fixture *f, const json_t *run, ldm_ckpt *weights, bool device, ldm_dtype t, int draw,
                           const ldm_array *want, float *y) {
    bool unet = !strcmp(text(run, "part"), "unet"), decoder = !strcmp(text(run, "part"), "decoder");
    ldm_array x = {0}, time = {0}, context = {0}, ids = {0}, labels = {0}, guidance = {0};
    network n = {0};
    ldm_status st = LDM_OK;
    const json_t *inputs = json_object_get(run, "inputs");
    TRY(read_input(f, run, decoder ? "z" : "x", &x));
    if (unet) {
        int tokens = 0, classes = 0;
        TRY(read_input(f, run, "t", &time));
        if (json_object_get(inputs, "context")) {
            TRY(read_input(f, run, "context", &context));
            tokens = (int)context.shape.dim[1];
        }
        if (json_object_get(inputs, "class_ids")) {
            TRY(read_input(f, run, "class_ids", &ids));
            classes = (int)ldm_ckpt_find(weights, "cond_stage_model.embedding.weight")->shape.dim[0];
        }
        const json_t *w = json_object_get(run, "windows");
        ldm_windows windows = {json_integer_value(json_object_get(w, "size")),
                               json_integer_value(json_object_get(w, "stride")), json_is_true(json_object_get(w, "own_contexts"))};
        TRY(unet_open(f, x.shape.dim, tokens, classes, windows, device, t, &n));
        TRY(write_time(&n, time.data, x.shape.dim[0]));
        if (n.context != LDM_NONE) TRY(ldm_exec_write(n.exec, n.context, context.data));
        if (n.ids != LDM_NONE) TRY(ldm_exec_write(n.exec, n.ids, ids.data));
        if (n.labels != LDM_NONE) {
            TRY(read_input(f, run, "labels", &labels));
            TRY(ldm_exec_write(n.exec, n.labels, labels.data));
        }
        if (n.guidance != LDM_NONE) {
            TRY(read_input(f, run, "guidance", &guidance));
            TRY(ldm_exec_write(n.exec, n.guidance, guidance.data));
        }
    } else {
        TRY(stage_open(f, decoder, x.shape.dim, weights, device, t, &n));
    }
    nudge(x.data, ldm_shape_count(&x.shape), t, draw);
    TRY(write_map(&n, x.data, x.shape.dim));
    TRY(ldm_exec_run(n.exec, 0));
    TRY(read_map(&n, y, want->shape.dim));
done:
    network_close(&n);
    ldm_array_free(&x), ldm_array_free(&time), ldm_array_free(&context), ldm_array_free(&ids);
    ldm_array_free(&labels), ldm_array_free(&guidance);
    return st;
}

static void check_run(const fixture *f, const json_t *run, ldm_ckpt *weights) {
    char what[128];
    ldm_array want = {0};
    CHECK_OK(ldm_npy_read_f32(path_of(f, text(run, "output")), &want));
    if (!want.data) return;
    int64_t count = ldm_shape_count(&want.shape);
    void *mem = NULL;
    CHECK_OK(ldm_alloc((size_t)count * sizeof(float), &mem));
    float *y = mem;
    const difference witness = {number(run, "f32_max_error"), number(run, "f32_mean_error"), 0};
    for (int k = 0; k < (cl ? 4 : 2); k++) {
        fused = k & 1;
        snprintf(what, sizeof what, "%s %s f32%s", text(run, "part"), k & 2 ? "device" : "reference",
                 fused ? " fused" : "");
        ldm_status st = evaluate(f, run, weights, k & 2, LDM_F32, 0, &want, y);
        CHECK(!st, "%s: %s", what, ldm_message());
        if (!st) judge(what, compare(y, want.data, count), LDM_F32, witness);
    }
    fused = false;
    difference plain = {0};
    for (int draw = 0; draw < PLAIN_RUNS; draw++) {
        ldm_status st = evaluate(f, run, weights, false, LDM_F16, draw, &want, y);
        CHECK(!st, "%s reference f16: %s", text(run, "part"), ldm_message());
        worse(&plain, compare(y, want.data, count));
    }
    /* f16 keeps 11 bits; a network of a few dozen layers that loses more than six of them does not compute what it
     * should */
    CHECK(plain.max < 0.03 * plain.peak, "%s reference f16: error %.3g of peak %.3g", text(run, "part"), plain.max,
          plain.peak);
    for (int k = 0; cl && k < 2; k++) {
        fused = k;
        snprintf(what, sizeof what, "%s device f16%s", text(run, "part"), fused ? " fused" : "");
        ldm_status st = evaluate(f, run, weights, true, LDM_F16, 0, &want, y);
        CHECK(!st, "%s: %s", what, ldm_message());
        if (!st) judge(what, compare(y, want.data, count), LDM_F16, plain);
    }
    fused = true;
    free(y);
    ldm_array_free(&want);
}

static void networks(void) {
    static const char *const names[] = {"unet_cross",    "unet_legacy", "unet_updown", "unet_concat", "unet_class",
                                        "unet_upscaler", "unet_lcm",    "kl",          "vq",          "vq_noattn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) CASE(names[i]) {
            fixture f;
            ldm_status st = fixture_open(names[i], &f);
            CHECK(!st, "%s", ldm_message());
            size_t k;
            json_t *run;
            if (!st) json_array_foreach(json_object_get(f.json, "runs"), k, run) check_run(&f, run, f.weights);
            fixture_close(&f);
        }
}

/* ---- tiny autoencoders
 * ------------------------------------------------------------------------------------------------- */

static const char *const taef2_files[2] = {"tests/data/taef2/taef2_encoder.pth", "tests/data/taef2/taef2_decoder.pth"};

static void tiny_autoencoders(void) {
    static const char *const names[] = {"taef2", "taesd"};
    for (int i = 0; i < 2; i++) CASE(names[i]) {
            fixture f;
            ldm_ckpt *weights[2] = {NULL};
            for (int k = 0; k < 2; k++) CHECK_OK(ldm_ckpt_open(taef2_files[k], &weights[k]));
            ldm_status st = fixture_open(names[i], &f);
            CHECK(!st, "%s", ldm_message());
            size_t k;
            json_t *run;
            if (!st && weights[0] && weights[1])
                json_array_foreach(json_object_get(f.json, "runs"), k, run)
                    check_run(&f, run, weights[!strcmp(text(run, "part"), "decoder")]);
            fixture_close(&f);
            for (k = 0; k < 2; k++) ldm_ckpt_close(weights[k]);
        }
}

/* Encodes and decodes one photograph on the device; PSNR of the floats. The picture's sides are cut to multiples of 8.
 */
static ldm_status tiny_psnr(const char *photo, ldm_dtype t, double *psnr, double *latent_rms) {
    fixture f = {0};
    ldm_image im = {0};
    ldm_ckpt *weights[2] = {NULL};
    network net = {0};
    void *mem[3] = {NULL};
    ldm_status st = LDM_OK;
    TRY(fixture_open("taef2", &f));
    TRY(ldm_png_read(photo, &im));
    for (int k = 0; k < 2; k++) TRY(ldm_ckpt_open(taef2_files[k], &weights[k]));
    int64_t h = im.h / 8 * 8, w = im.w / 8 * 8, x_shape[4] = {1, 3, h, w}, z_shape[4] = {1, 32, h / 8, w / 8};
    for (int k = 0; k < 3; k++) TRY(ldm_alloc((size_t)(3 * h * w) * sizeof(float), &mem[k]));
    float *x = mem[0], *z = mem[1], *y = mem[2]; /* NHWC all; z is 32/64 of a channel a pixel */
    for (int64_t r = 0; r < h; r++)
        for (int64_t i = 0; i < 3 * w; i++) x[r * 3 * w + i] = im.data[r * 3 * im.w + i] / 255.0f;
    TRY(stage_open(&f, false, x_shape, weights[0], true, t, &net));
    TRY(ldm_exec_write(net.exec, net.x, x));
    TRY(ldm_exec_run(net.exec, 0));
    TRY(ldm_exec_read(net.exec, net.y, z));
    network_close(&net);
    TRY(stage_open(&f, true, z_shape, weights[1], true, t, &net));
    TRY(ldm_exec_write(net.exec, net.x, z));
    TRY(ldm_exec_run(net.exec, 0));
    TRY(ldm_exec_read(net.exec, net.y, y));
    double error = 0, squares = 0;
    for (int64_t i = 0; i < 3 * h * w; i++) error += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
    for (int64_t i = 0; i < h * w / 2; i++) squares += (double)z[i] * z[i];
    *psnr = -10 * log10(error / (double)(3 * h * w));
    *latent_rms = sqrt(squares / (double)(h * w / 2));
done:
    network_close(&net);
    for (int k = 0; k < 2; k++) ldm_ckpt_close(weights[k]);
    for (int k = 0; k < 3; k++) free(mem[k]);
    ldm_image_free(&im);
    fixture_close(&f);
    return st;
}

static void photographs(void) {
    static const struct {
        const char *name, *file;
        double rms, psnr;
    } want[] = {
        /* PyTorch f32 */
        {"taef2 astronaut", "tests/data/photos/astronaut.png", 0.84932, 31.189},
        {"taef2 coffee", "tests/data/photos/coffee.png", 0.82487, 29.624},
        {"taef2 chelsea", "tests/data/photos/chelsea.png", 0.82603, 32.787},
    };
    for (int i = 0; i < 3; i++) CASE(want[i].name) {
            if (!cl) {
                SKIP("no OpenCL device");
                continue;
            }
            for (int half = 0; half < 2; half++) {
                double psnr = 0, rms = 0;
                CHECK_OK(tiny_psnr(want[i].file, half ? LDM_F16 : LDM_F32, &psnr, &rms));
                CHECK(fabs(psnr - want[i].psnr) < (half ? 0.05 : 0.01), "%s: PSNR %.3f dB, wanted %.3f",
                      half ? "f16" : "f32", psnr, want[i].psnr);
                CHECK(fabs(rms - want[i].rms) < (half ? 2e-3 : 2e-5), "%s: latent rms %.5f, wanted %.5f",
                      half ? "f16" : "f32", rms, want[i].rms);
            }
        }
}

/* ---- sampling
 * ---------------------------------------------------------------------------------------------------------- */

enum { STEPS = 10 };

/* The last ten steps of a sampler from the encoded photograph: x after each step into `out` [10,n,c,h,w]. `forced`:
 * what the witness has after each step; every step but the first starts there. NULL: where the one before it ended. */
static ldm_status trajectory(const fixture *sample, const json_t *run, const ldm_array *z0, bool device, ldm_dtype t,
                             int draw, const float *forced, float *out) {
    fixture f = {0};
    network net = {0};
    ldm_array context[2] = {{0}, {0}};
    ldm_sampler all = {0};
    ldm_rng *noise[8] = {NULL};
    void *mem[5] = {NULL};
    ldm_schedule schedule;
    ldm_status st = LDM_OK;
    const json_t *seeds = json_object_get(run, "seeds");
    int images = (int)json_array_size(seeds);
    bool ddim = !strcmp(text(run, "sampler"), "ddim");
    double guidance = number(run, "guidance");
    int batch = guidance == 1 ? images : 2 * images; /* guided: [without; with] the condition */
    const int64_t *zs = z0->shape.dim;
    int64_t each = zs[1] * zs[2] * zs[3], x_shape[4] = {batch, zs[1], zs[2], zs[3]};

    TRY(fixture_open(text(run, "unet"), &f));
    bool conditional = strstr(text(f.json, "config"), "context_dim") != NULL;
    TRY(ldm_npy_read_f32(path_of(sample, text(sample->json, "null_context")), &context[0]));
    TRY(ldm_npy_read_f32(path_of(sample, text(sample->json, "context")), &context[1]));
    int64_t tokens = context[0].shape.dim[1], context_each = tokens * context[0].shape.dim[2];
    TRY(unet_open(&f, x_shape, conditional ? (int)tokens : 0, 0, (ldm_windows){0}, device, t, &net));
    if (conditional) {
        TRY(ldm_alloc((size_t)(batch * context_each) * sizeof(float), &mem[0]));
        for (int i = 0; i < batch; i++)
            memcpy((float *)mem[0] + i * context_each, context[guidance == 1 || i >= images].data,
                   (size_t)context_each * sizeof(float));
        TRY(ldm_exec_write(net.exec, net.context, mem[0]));
    }
    TRY(ldm_schedule_linear(number(sample->json, "linear_start"), number(sample->json, "linear_end"), &schedule));
    ldm_sampler_options so = ldm_sampler_defaults(ddim ? LDM_DDIM : LDM_DDPM, LDM_MANNER_AUTHORS);
    if (ddim) so.steps = (int)number(run, "steps"), so.eta = number(run, "eta");
    TRY(ldm_sampler_make(&schedule, &so, &all));
    const ldm_eval *step = all.eval + all.evals - STEPS;
    CHECK(step[0].t == number(run, "start_t"), "starts at t = %g", step[0].t);

    for (int k = 1; k < 5; k++) TRY(ldm_alloc((size_t)(batch * each) * sizeof(float), &mem[k]));
    float *x = mem[1], *eps = mem[2], *drawn = mem[3], *z = mem[4];
    memcpy(z, z0->data, (size_t)each * sizeof *z);
    nudge(z, each, t, draw);
    double a = schedule.alpha_bar[(int)step[0].t];
    if (ddim) a = (float)a;
    for (int i = 0; i < images; i++) {
        TRY(ldm_rng_create((ldm_rng_kind){0}, (uint64_t)json_integer_value(json_array_get(seeds, (size_t)i)),
                           &noise[i]));
        ldm_rng_fill(noise[i], drawn, each);
        for (int64_t k = 0; k < each; k++) x[i * each + k] = (float)(sqrt(a) * z[k] + sqrt(1 - a) * drawn[k]);
    }
    for (int s = 0; s < STEPS; s++) {
        float times[16];
        for (int i = 0; i < batch; i++) times[i] = (float)step[s].t;
        if (batch > images) memcpy(x + images * each, x, (size_t)(images * each) * sizeof(float));
        TRY(write_time(&net, times, batch));
        TRY(write_map(&net, x, x_shape));
        TRY(ldm_exec_run(net.exec, 0));
        TRY(read_map(&net, eps, x_shape));
        for (int i = 0; i < images; i++) {
            const double *row = step[s].next[0].c, noisy = row[LDM_NOISE];
            if (noisy > 0) ldm_rng_fill(noise[i], drawn, each);
            for (int64_t k = 0; k < each; k++) {
                float *at = x + i * each + k, e = eps[i * each + k];
                if (batch > images) e += (float)guidance * (eps[(images + i) * each + k] - e);
                *at = (float)(row[0] * *at + row[LDM_OUT] * e + (noisy > 0 ? noisy * drawn[k] : 0));
            }
        }
        memcpy(out + s * images * each, x, (size_t)(images * each) * sizeof(float));
        if (forced) memcpy(x, forced + s * images * each, (size_t)(images * each) * sizeof(float));
    }
done:
    for (int i = 0; i < 8; i++) ldm_rng_destroy(noise[i]);
    for (int k = 0; k < 5; k++) free(mem[k]);
    ldm_sampler_free(&all);
    ldm_array_free(&context[0]), ldm_array_free(&context[1]);
    network_close(&net);
    fixture_close(&f);
    return st;
}

/* The picture of the last step through the fixture's first stage, floats before clamping. */
static void check_picture(const fixture *sample, const json_t *run, const float *z, const int64_t *z_shape) {
    fixture f = {0};
    network net = {0};
    ldm_array want = {0};
    void *mem = NULL;
    ldm_status st = LDM_OK;
    TRY(fixture_open("kl", &f));
    TRY(ldm_npy_read_f32(path_of(sample, text(run, "picture")), &want));
    int64_t count = ldm_shape_count(&want.shape), saturated = 0;
    TRY(ldm_alloc((size_t)count * sizeof(float), &mem));
    TRY(stage_open(&f, true, z_shape, f.weights, cl != NULL, LDM_F32, &net));
    TRY(write_map(&net, z, z_shape));
    TRY(ldm_exec_run(net.exec, 0));
    TRY(read_map(&net, mem, want.shape.dim));
    difference d = compare(mem, want.data, count);
    double bound = 2 * number(run, "picture_f32_max_error") + 0x1p-22 * d.peak;
    CHECK(d.max <= bound, "picture: error %.3g, allowed %.3g", d.max, bound);
    for (int64_t i = 0; i < count; i++) saturated += fabsf(((float *)mem)[i]) > 1;
    CHECK(saturated * 5 <= count, "%lld of %lld pixel values saturate", (long long)saturated, (long long)count);
done:
    CHECK(!st, "picture: %s", ldm_message());
    free(mem);
    ldm_array_free(&want);
    network_close(&net);
    fixture_close(&f);
}

/* Ten latents, each against its own step's plain error. */
static void judge_steps(const char *what, const float *x, const ldm_array *want, ldm_dtype t,
                        const difference plain[STEPS]) {
    const int64_t each = ldm_shape_count(&want->shape) / STEPS;
    double worst[2] = {0};
    for (int s = 0; s < STEPS; s++)
        hold(what, compare(x + s * each, (float *)want->data + s * each, each), t, plain[s], worst);
    show(what, worst);
}

/* The plain errors of a fixture's f32 runs; `forced`: of those that start every step from the witness. */
static void plain_steps(const json_t *run, bool forced, difference plain[STEPS]) {
    const json_t *max = json_object_get(run, forced ? "forced_f32_max_error" : "f32_max_error");
    const json_t *mean = json_object_get(run, forced ? "forced_f32_mean_error" : "f32_mean_error");
    for (size_t s = 0; s < STEPS; s++)
        plain[s] = (difference){.max = json_number_value(json_array_get(max, s)),
                                .mean = json_number_value(json_array_get(mean, s))};
}

/* Twice: every step from the witness's latent, where an error is that step's own; and ten steps in a row, where it is
 * what the network's slope makes of all before it (up to a hundred times as much, guided). */
static void check_trajectory(const fixture *sample, const json_t *run, bool half) {
    ldm_array z0 = {0}, want = {0};
    difference plain[STEPS];
    CHECK_OK(ldm_npy_read_f32(path_of(sample, text(sample->json, "z0")), &z0));
    CHECK_OK(ldm_npy_read_f32(path_of(sample, text(run, "output")), &want)); /* [10,n,c,h,w] */
    if (!z0.data || !want.data) return;
    int64_t count = ldm_shape_count(&want.shape), last = count / STEPS;
    void *mem = NULL;
    CHECK_OK(ldm_alloc((size_t)count * sizeof(float), &mem));
    float *x = mem;
    for (int forced = 1; forced >= 0; forced--) {
        CHECK_OK(trajectory(sample, run, &z0, cl != NULL, LDM_F32, 0, forced ? want.data : NULL, x));
        plain_steps(run, forced, plain);
        judge_steps(forced ? "f32, each step" : "f32, ten steps", x, &want, LDM_F32, plain);
    }
    check_picture(sample, run, x + count - last, want.shape.dim + 1);
    if (cl && half) {
        memset(plain, 0, sizeof plain);
        fused = false;
        for (int draw = 0; draw < PLAIN_RUNS; draw++) {
            CHECK_OK(trajectory(sample, run, &z0, false, LDM_F16, draw, NULL, x));
            for (int s = 0; s < STEPS; s++)
                worse(&plain[s], compare(x + s * last, (float *)want.data + s * last, last));
        }
        fused = true;
        CHECK_OK(trajectory(sample, run, &z0, true, LDM_F16, 0, NULL, x));
        judge_steps("f16, ten steps", x, &want, LDM_F16, plain);
    }
    free(x);
    ldm_array_free(&z0), ldm_array_free(&want);
}

static void sampling(void) {
    static const char *const names[] = {"sample 0: DDIM",
                                        "sample 1: DDIM, eta 1, two images",
                                        "sample 2: DDIM, guided",
                                        "sample 3: DDIM, eta 1, no context",
                                        "sample 4: DDPM, two images",
                                        "sample 5: DDPM, context"};
    fixture f;
    ldm_status st = fixture_open("sample", &f);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) CASE(names[i]) {
            CHECK(!st, "%s", ldm_message());
            const json_t *run = json_array_get(json_object_get(f.json, "runs"), i);
            CHECK(run, "no run %zu in the fixture", i);
            if (run) check_trajectory(&f, run, i == 0 || i == 5); /* f16 costs five runs of the references */
        }
    fixture_close(&f);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "networks");
    if (getenv("LDM_TEST_FIXTURES")) root = getenv("LDM_TEST_FIXTURES");
    if (ldm_cl_open(&(ldm_cl_options){0}, &cl)) printf("note: references only: %s\n", ldm_message());
    networks();
    tiny_autoencoders();
    sampling();
    photographs();
    ldm_cl_close(cl);
    return test_end();
}
