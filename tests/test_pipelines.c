/* test_pipelines.c -- whole tiny models (tests/fixtures/pipeline_*, made by tests/oracle/pipelines.py and
 * authors_pipelines.py) against diffusers' pipeline and the authors' code, step by step: tokens, context, the latent
 * after every step, codes of the codebook, and the picture before it becomes bytes, none of them further away than
 * 2e-3. test_pipelines.sh draws the same with `ldm gen`, and wrong ones. */
#include "app/condition.h"
#include "model/system.h"
#include "sample/loop.h"
#include "text/text.h"
#include "witness.h"
#include <unistd.h>

static ldm_cl *cl;

enum { SETTINGS = 64 };

typedef struct pipeline {
    fixture book;
    ldm_system *system;
    const json_t *run;
    ldm_schedule schedule;
    ldm_sampler sampler;
    bool guided;
    float *context; /* [1 or 2 if guided, tokens, width]: the negative prompt's, the prompt's; NULL of classes */
    int64_t tokens;
    float *concat; /* [h,w,channels] that follow x into the network, as the witness made it; NULL of none */
    float *z0;     /* [h,w,c] the picture that it starts from; NULL: from noise */
    ldm_rng *rng;
    int64_t h, w, c;
    ldm_exec *exec;
    float *x, *flat; /* [h,w,c], [c,h,w] */
    ldm_array want;  /* [steps,c,h,w] */
    double worst;    /* over all steps so far */
    int seen;
} pipeline;

/* What follows an option's name in the command lines of the fixture; NULL if it is not there. */
static const char *option(const pipeline *p, const char *name) {
    const json_t *lists[] = {json_object_get(p->run, "options"), json_object_get(p->book.json, "options")};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < json_array_size(lists[k]); i++)
            if (!strcmp(json_string_value(json_array_get(lists[k], i)), name)) {
                const char *v = json_string_value(json_array_get(lists[k], i + 1));
                return v ? v : "";
            }
    return NULL;
}

/* ---- networks run once ------------------------------------------------------------------------------------------- */

/* A fused plan with the system's weights: input `in` written, run, output y read. Takes the plan. */
static ldm_status run_once(pipeline *p, ldm_plan *plan, ldm_tensor in, const float *x, ldm_tensor y, float *out) {
    ldm_status st = LDM_OK;
    ldm_binding *b = NULL;
    ldm_exec *e = NULL;
    ldm_source source;
    const ldm_device *d = ldm_cl_device(cl);
    ldm_plan_output(plan, y, "y");
    TRY(ldm_plan_fuse(plan));
    TRY(ldm_plan_finish(plan, d->max_alloc, d->base_align));
    TRY(ldm_system_source(p->system, plan, &b, &source));
    TRY(ldm_exec_create(cl, plan, &source, NULL, &e));
    TRY(ldm_exec_write(e, in, x));
    TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_read(e, ldm_plan_find(plan, "y"), out));
done:
    ldm_exec_destroy(e);
    ldm_binding_destroy(b);
    ldm_plan_destroy(plan);
    return st;
}

static bool has_file(const pipeline *p, const char *name) { return !access(path_of(&p->book, name), R_OK); }

/* The ids of the prompts, or of the layout, [1 or 2, length]. */
static ldm_status make_ids(pipeline *p, float *ids) {
    const ldm_text_config *t = &p->system->text;
    const char *layout = option(p, "--layout"), *folder = p->system->tokenizer;
    ldm_tokenizer *words = NULL;
    int32_t *row = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_alloc((size_t)t->length * sizeof *row, (void **)&row));
    if (layout && t->length != LDM_LAYOUT_TOKENS) TRY(ldm_fail(LDM_ERR_MISMATCH, "%d tokens of a layout", t->length));
    if (!layout) {
        if (folder) TRY(ldm_tokenizer_folder(folder, &words));
        else TRY(ldm_tokenizer_builtin(t->kind == LDM_TEXT_BERT ? LDM_TOKENIZER_BERT : LDM_TOKENIZER_CLIP, &words));
    }
    for (int k = 0; k < 1 + p->guided; k++) {
        const char *prompt = option(p, k == p->guided ? "-p" : "-n");
        if (layout) TRY(ldm_layout_read(path_of(&p->book, layout + 1), LDM_LAYOUT_CLASSES, row));
        else
            TRY(ldm_tokenize(words, prompt ? prompt : "", t->length, folder ? ldm_tokenizer_pad(words) : t->pad, row,
                             NULL));
        for (int i = 0; i < t->length; i++) ids[k * t->length + i] = (float)row[i];
    }
done:
    free(row);
    ldm_tokenizer_close(words);
    return st;
}

/* By the text encoder, against the witness's if it is there; without one, the witness's. */
static ldm_status make_context(pipeline *p) {
    const ldm_text_config *t = &p->system->text;
    const int batch = 1 + p->guided;
    ldm_array given = {0};
    float *ids = NULL;
    ldm_plan *plan = NULL;
    ldm_status st = LDM_OK;
    if (has_file(p, "context.npy")) TRY(ldm_npy_read_f32(path_of(&p->book, "context.npy"), &given));
    if (p->system->has[LDM_PART_TEXT]) {
        p->tokens = t->length;
        TRY(ldm_alloc((size_t)(batch * t->length) * sizeof *ids, (void **)&ids));
        TRY(ldm_alloc((size_t)(batch * t->length * t->width) * sizeof(float), (void **)&p->context));
        TRY(make_ids(p, ids));
        TRY(ldm_plan_create(LDM_F32, LDM_F32, &plan));
        ldm_tensor in = ldm_plan_input(plan, "ids", LDM_I32, ldm_shape_of(2, (int64_t)batch, (int64_t)t->length));
        TRY(run_once(p, plan, in, ids, ldm_text_emit(plan, t, in, t->skip), p->context));
        if (!given.data) goto done;
        const int64_t count = batch * t->length * t->width;
        CHECK(ldm_shape_count(&given.shape) == count, "a context of another size");
        if (ldm_shape_count(&given.shape) != count) goto done;
        difference d = compare(p->context, given.data, count);
        printf("%s: context: largest difference %.2g of peak %.3g\n", test_case_name, d.max, d.peak);
        CHECK(d.max <= number(p->book.json, "tolerance"), "the context is off by %.3g", d.max);
    } else if (given.data) {
        p->tokens = given.shape.dim[1];
        p->context = given.data, given.data = NULL;
    }
done:
    free(ids);
    ldm_array_free(&given);
    return st;
}

/* A map [1,channels,h,w] of the witness, if it is there. */
static ldm_status read_map(pipeline *p, const char *name, int64_t channels, float **out) {
    ldm_array given = {0};
    ldm_status st = LDM_OK;
    if (!has_file(p, name)) return LDM_OK;
    TRY(ldm_npy_read_f32(path_of(&p->book, name), &given));
    if (ldm_shape_count(&given.shape) != channels * p->h * p->w || channels != given.shape.dim[1])
        TRY(ldm_fail(LDM_ERR_MISMATCH, "%s: of another size", name));
    TRY(ldm_alloc((size_t)ldm_shape_count(&given.shape) * sizeof **out, (void **)out));
    ldm_nchw_to_nhwc(given.data, 1, channels, p->h, p->w, *out);
done:
    ldm_array_free(&given);
    return st;
}

/* ---- the codebook ------------------------------------------------------------------------------------------------ */

/* x [h,w,c] snapped to the codebook by the device. */
static ldm_status snap(pipeline *p, float *out) {
    const ldm_stage_config *s = &p->system->stage;
    ldm_plan *plan = NULL;
    ldm_status st = ldm_plan_create(LDM_F32, LDM_F32, &plan);
    if (st) return st;
    ldm_tensor z = ldm_plan_input(plan, "z", LDM_F32, ldm_shape_of(4, (int64_t)1, p->h, p->w, p->c));
    ldm_tensor book = ldm_plan_param(plan, "quantize.embedding.weight", ldm_shape_of(2, (int64_t)s->n_embed, p->c),
                                     LDM_FILL_WEIGHT, 1);
    ldm_tensor y = ldm_plan_emit(plan, (ldm_tensor[]){z, book}, 2, "vq_lookup:f32*f32 rows=%lld entries=%d c=%lld",
                                 (long long)(p->h * p->w), s->n_embed, (long long)p->c);
    return run_once(p, plan, z, p->x, y, out);
}

/* Our codes of the last latent against the witness's, where its latent is further from another codeword than it may be
 * off; then the latent becomes the witness's codewords, so that the picture is of what the witness decoded. */
static ldm_status check_codes(pipeline *p) {
    const int64_t pixels = p->h * p->w, entries = p->system->stage.n_embed, c = p->c;
    char name[128];
    ldm_ckpt *file = NULL;
    ldm_array codes = {0}, slack = {0};
    float *book = NULL, *ours = NULL;
    int64_t sure = 0, other = 0;
    ldm_status st = LDM_OK;
    if (!json_is_true(json_object_get(p->run, "codes"))) return LDM_OK;
    snprintf(name, sizeof name, "%s_codes.npy", text(p->run, "name"));
    TRY(ldm_npy_read(path_of(&p->book, name), &codes));
    snprintf(name, sizeof name, "%s_slack.npy", text(p->run, "name"));
    TRY(ldm_npy_read_f32(path_of(&p->book, name), &slack));
    TRY(ldm_ckpt_open(p->system->path, &file));
    const ldm_ckpt_tensor *t = ldm_ckpt_find(file, "first_stage_model.quantize.embedding.weight");
    if (!t || codes.dtype != LDM_I32 || ldm_shape_count(&codes.shape) != pixels ||
        ldm_shape_count(&slack.shape) != pixels)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "codes or a codebook that do not fit"));
    TRY(ldm_alloc((size_t)(entries * c) * sizeof *book, (void **)&book));
    TRY(ldm_alloc((size_t)(pixels * c) * sizeof *ours, (void **)&ours));
    TRY(ldm_ckpt_load_f32(t, book));
    TRY(snap(p, ours));
    for (int64_t i = 0; i < pixels; i++) {
        const int32_t k = ((int32_t *)codes.data)[i];
        if (k < 0 || k >= entries) TRY(ldm_fail(LDM_ERR_MISMATCH, "code %d of %lld", k, (long long)entries));
        if (((float *)slack.data)[i] > number(p->book.json, "tolerance")) {
            sure++;
            CHECK(!memcmp(ours + i * c, book + k * c, (size_t)c * sizeof *ours), "pixel %lld has another code than %d",
                  (long long)i, k);
            other += !!memcmp(ours + i * c, book + (k + 1) % entries * c, (size_t)c * sizeof *ours);
        }
        memcpy(p->x + i * c, book + k * c, (size_t)c * sizeof *p->x);
    }
    printf("%s: %lld of %lld codes compared\n", test_case_name, (long long)sure, (long long)pixels);
    CHECK(10 * sure >= 9 * pixels, "only %lld codes can be compared", (long long)sure);
    CHECK(other == sure, "%lld pixels fit two codes", (long long)(sure - other));
done:
    free(book), free(ours);
    ldm_array_free(&codes), ldm_array_free(&slack);
    ldm_ckpt_close(file);
    return st;
}

/* The last latent, or the witness's codewords, through the decoder, against the picture before it becomes bytes. */
static void check_picture(pipeline *p) {
    const ldm_stage_config *s = &p->system->stage;
    const int64_t f = ldm_stage_factor(s), count = 3 * p->h * f * p->w * f;
    char name[128];
    ldm_array want = {0};
    ldm_plan *plan = NULL;
    float *y = calloc((size_t)count, sizeof *y), *nchw = calloc((size_t)count, sizeof *nchw);
    snprintf(name, sizeof name, "%s_picture.npy", text(p->run, "name"));
    CHECK_OK(ldm_npy_read_f32(path_of(&p->book, name), &want));
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &plan));
    ldm_tensor z = ldm_plan_input(plan, "z", LDM_F32, ldm_shape_of(4, (int64_t)1, p->h, p->w, p->c));
    for (int64_t i = 0; i < p->h * p->w * p->c; i++) p->x[i] = (float)(p->x[i] / p->system->stage_scale);
    CHECK_OK(check_codes(p));
    CHECK_OK(run_once(p, plan, z, p->x, ldm_stage_emit_decoder(plan, s, z), y));
    ldm_nhwc_to_nchw(y, 1, 3, p->h * f, p->w * f, nchw);
    CHECK(ldm_shape_count(&want.shape) == count, "a picture of another size");
    if (ldm_shape_count(&want.shape) == count) {
        difference d = compare(nchw, want.data, count);
        printf("%s: picture: largest difference %.2g of peak %.3g\n", test_case_name, d.max, d.peak);
        CHECK(d.max <= number(p->book.json, "tolerance"), "the picture is off by %.3g", d.max);
    }
    free(y), free(nchw);
    ldm_array_free(&want);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static ldm_status make_sampler(pipeline *p) {
    ldm_sampler_options o;
    const json_t *config = json_object_get(p->run, "scheduler");
    ldm_setting settings[SETTINGS];
    char text_of[SETTINGS][64];
    const char *key;
    json_t *value;
    int n = 0;
    ldm_status st = LDM_OK;
    if (config) {
        json_object_foreach((json_t *)config, key, value) {
            if (json_is_string(value)) snprintf(text_of[n], sizeof text_of[n], "%s", json_string_value(value));
            else if (json_is_boolean(value))
                snprintf(text_of[n], sizeof text_of[n], json_is_true(value) ? "true" : "false");
            else if (json_is_number(value)) snprintf(text_of[n], sizeof text_of[n], "%.17g", json_number_value(value));
            else continue; /* null: the class's default */
            if (n == SETTINGS - 1) TRY(ldm_fail(LDM_ERR_FORMAT, "more settings than the test has room for"));
            settings[n] = (ldm_setting){key, text_of[n]}, n++;
        }
        TRY(ldm_scheduler_read(text(config, "_class_name"), settings, n, &o, &p->schedule));
    } else {
        TRY(ldm_sampler_find(option(p, "--sampling-method"), &o));
        TRY(ldm_schedule_linear(p->system->config.linear_start, p->system->config.linear_end, &p->schedule));
        o.quantize = option(p, "--quantize-x0") != NULL;
        if (option(p, "--eta")) o.eta = atof(option(p, "--eta"));
    }
    if (p->z0) o.img2img = true, o.strength = atof(option(p, "--strength"));
    o.steps = atoi(option(p, "--steps")), o.prediction = p->system->config.prediction;
    TRY(ldm_sampler_make(&p->schedule, &o, &p->sampler));
done:
    return st;
}

static void to_nhwc(pipeline *p) { ldm_nchw_to_nhwc(p->flat, 1, p->c, p->h, p->w, p->x); }

static ldm_status draw(void *user, int step, float *dst) {
    pipeline *p = user;
    (void)step;
    ldm_rng_fill(p->rng, p->flat, p->c * p->h * p->w);
    ldm_nchw_to_nhwc(p->flat, 1, p->c, p->h, p->w, dst);
    return LDM_OK;
}

static ldm_status each(void *user, int step, double seconds) {
    pipeline *p = user;
    const int64_t count = p->c * p->h * p->w;
    (void)seconds;
    if (step >= p->want.shape.dim[0])
        return ldm_fail(LDM_ERR_MISMATCH, "a step %d, which the witness does not have", step + 1);
    ldm_status st = ldm_loop_latent(p->exec, p->x);
    if (st) return st;
    ldm_nhwc_to_nchw(p->x, 1, p->c, p->h, p->w, p->flat);
    difference d = compare(p->flat, (float *)p->want.data + step * count, count);
    CHECK(d.max <= number(p->book.json, "tolerance"), "the latent after step %d is off by %.3g", step + 1, d.max);
    if (!(d.max <= p->worst)) p->worst = d.max;
    p->seen++;
    return LDM_OK;
}

/* The x4 upscaler's picture, noised to its level with the run's first random numbers. */
static ldm_status noised_picture(pipeline *p) {
    const char *file = option(p, "--upscale");
    ldm_image im = {0};
    float *noise = NULL;
    ldm_status st = LDM_OK;
    TRY(ldm_png_read(path_of(&p->book, file + 1), &im));
    const int64_t count = im.w * im.h * 3;
    if (im.h != p->h || im.w != p->w) TRY(ldm_fail(LDM_ERR_MISMATCH, "%s: not of the latent's size", file));
    TRY(ldm_alloc((size_t)(2 * count) * sizeof *noise, (void **)&noise));
    TRY(ldm_alloc((size_t)count * sizeof *p->concat, (void **)&p->concat));
    app_condition_picture(&im, p->concat);
    ldm_rng_fill(p->rng, noise, count);
    ldm_nchw_to_nhwc(noise, 1, 3, p->h, p->w, noise + count);
    TRY(app_condition_noised(atoi(option(p, "--noise-level")), p->concat, noise + count, count));
done:
    ldm_image_free(&im);
    free(noise);
    return st;
}

static ldm_status run_loop(pipeline *p) {
    ldm_status st = LDM_OK;
    ldm_plan *plan = NULL;
    ldm_binding *b = NULL;
    ldm_source source;
    const ldm_config *c = &p->system->config;
    const ldm_device *d = ldm_cl_device(cl);
    const double scale = option(p, "--cfg-scale") ? atof(option(p, "--cfg-scale")) : 1;
    float classes[2] = {(float)c->null_class, option(p, "--class-id") ? (float)atoi(option(p, "--class-id")) : 0};
    float label = option(p, "--noise-level") ? (float)atoi(option(p, "--noise-level")) : 0;
    ldm_loop_options o = {.unet = c->unet,
                          .n_classes = p->context ? 0 : c->n_classes,
                          .tokens = p->tokens,
                          .n = 1,
                          .h = p->h,
                          .w = p->w,
                          .guided = p->guided,
                          .concat = c->unet.in_channels - c->unet.out_channels,
                          .codebook = p->sampler.quantize ? p->system->stage.n_embed : 0,
                          .sampler = &p->sampler};
    TRY(ldm_rng_create((ldm_rng_kind){LDM_RNG_TORCH_CPU, 0}, (uint64_t)atoi(option(p, "-s")), &p->rng));
    TRY(ldm_loop_plan(&o, &plan));
    TRY(ldm_plan_fuse(plan));
    TRY(ldm_plan_finish(plan, d->max_alloc, d->base_align));
    TRY(ldm_system_source(p->system, plan, &b, &source));
    TRY(ldm_exec_create(cl, plan, &source, NULL, &p->exec));
    if (option(p, "--noise-level")) TRY(noised_picture(p));
    const int64_t count = p->c * p->h * p->w;
    if (p->z0) ldm_rng_fill(p->rng, p->flat, count); /* the posterior's, which made it */
    ldm_rng_fill(p->rng, p->flat, count);
    to_nhwc(p);
    ldm_sampler_start(&p->sampler, p->z0, p->x, count, p->x);
    if (option(p, "--mask") && p->system->stage.kind == LDM_STAGE_KL) /* that of the masked picture */
        ldm_rng_fill(p->rng, p->flat, count);
    TRY(ldm_loop_start(&o, p->exec,
                       &(ldm_loop_inputs){.x = p->x,
                                          .context = p->context,
                                          .classes = o.n_classes ? classes : NULL,
                                          .labels = c->unet.num_classes ? &label : NULL,
                                          .concat = p->concat,
                                          .scale = scale}));
    TRY(ldm_loop_run(&o, p->exec, &(ldm_loop_hooks){draw, each, p}));
done:
    ldm_exec_destroy(p->exec), p->exec = NULL;
    ldm_binding_destroy(b);
    ldm_plan_destroy(plan);
    return st;
}

static void check_run(pipeline *p) {
    char name[128];
    ldm_status st = LDM_OK;
    snprintf(name, sizeof name, "%s_latents.npy", text(p->run, "name"));
    TRY(ldm_npy_read_f32(path_of(&p->book, name), &p->want));
    p->c = p->want.shape.dim[1], p->h = p->want.shape.dim[2], p->w = p->want.shape.dim[3];
    p->worst = 0, p->seen = 0, p->tokens = 0;
    p->guided = option(p, "--cfg-scale") && atof(option(p, "--cfg-scale")) != 1 &&
                !p->system->config.unet.time_cond_proj_dim; /* else the network is told the scale */
    TRY(ldm_alloc((size_t)(p->c * p->h * p->w) * sizeof *p->x, (void **)&p->x));
    TRY(ldm_alloc((size_t)(p->c * p->h * p->w) * sizeof *p->x, (void **)&p->flat));
    TRY(make_context(p));
    TRY(read_map(p, "concat.npy", p->system->config.unet.in_channels - p->c, &p->concat));
    TRY(read_map(p, "z0.npy", p->c, &p->z0));
    TRY(make_sampler(p));
    TRY(run_loop(p));
    CHECK(p->seen == p->want.shape.dim[0], "%d steps were run, the witness ran %lld", p->seen,
          (long long)p->want.shape.dim[0]);
    printf("%s: %d latents: largest difference %.2g\n", test_case_name, p->seen, p->worst);
    check_picture(p);
done:
    CHECK(!st, "%s", ldm_message());
    free(p->x), free(p->flat), free(p->context), free(p->concat), free(p->z0);
    p->x = p->flat = p->context = p->concat = p->z0 = NULL;
    ldm_rng_destroy(p->rng), p->rng = NULL;
    ldm_sampler_free(&p->sampler);
    ldm_array_free(&p->want);
}

/* of: what the fixture's is called, a folder of diffusers' or a file beside config.yaml */
static void check_family(const char *family, const char *of) {
    pipeline p = {0};
    char model[600], config[600], name[160];
    ldm_status st = fixture_open(family, &p.book);
    snprintf(model, sizeof model, "%s", path_of(&p.book, of));
    snprintf(config, sizeof config, "%s", path_of(&p.book, "config.yaml"));
    if (!st)
        st = ldm_system_open(&(ldm_system_options){.model = model, .config = strcmp(of, "model") ? config : NULL},
                             &p.system);
    const json_t *runs = json_object_get(p.book.json, "runs");
    for (size_t i = 0; !st && i < json_array_size(runs); i++) {
        p.run = json_array_get(runs, i);
        if (json_is_true(json_object_get(p.run, "command_line")))
            continue; /* starts from pictures: test_pipelines.sh */
        snprintf(name, sizeof name, "%s %s", family, text(p.run, "name"));
        CASE(name) check_run(&p);
    }
    if (st) CASE(family) CHECK(false, "%s", ldm_message());
    ldm_system_close(p.system);
    fixture_close(&p.book);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "pipelines");
    if (getenv("LDM_TEST_FIXTURES")) root = getenv("LDM_TEST_FIXTURES");
    if (ldm_cl_open(&(ldm_cl_options){0}, &cl)) {
        CASE("pipelines") SKIP("no OpenCL device");
        return test_end();
    }
    check_family("pipeline_sd1", "model");
    check_family("pipeline_sd2", "model");
    check_family("pipeline_inpaint2", "model");
    check_family("pipeline_depth", "model");
    check_family("pipeline_upscale", "model");
    check_family("pipeline_lcm", "model");
    check_family("pipeline_class", "model.safetensors");
    check_family("pipeline_text", "model.ckpt");
    check_family("pipeline_uncond", "model.ckpt");
    check_family("pipeline_layout", "model.ckpt");
    check_family("pipeline_semantic", "model.safetensors");
    check_family("pipeline_superres", "model.ckpt");
    check_family("pipeline_inpaint_ldm", "model.ckpt");
    check_family("pipeline_retrieval", "model.safetensors");
    ldm_cl_close(cl);
    return test_end();
}
