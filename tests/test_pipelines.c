/* test_pipelines.c -- whole tiny models (tests/fixtures/pipeline_*, made by tests/oracle/pipelines.py) against
 * diffusers' pipeline and the authors' samplers, step by step: tokens, context, the latent after every step, and the
 * picture before it becomes bytes, none of them further away than 2e-3. test_pipelines.sh draws the same with `ldm
 * gen`, and wrong ones. */
#include "app/condition.h"
#include "model/system.h"
#include "sample/loop.h"
#include "text/text.h"
#include "witness.h"

static ldm_cl *cl;

enum { SETTINGS = 64 };

typedef struct pipeline {
    fixture book;
    ldm_system *system;
    const json_t *run;
    ldm_schedule schedule;
    ldm_sampler sampler;
    float *context; /* [2, tokens, width]: the negative prompt's, the prompt's; NULL of classes */
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

static ldm_status make_context(pipeline *p) {
    const ldm_text_config *t = &p->system->text;
    ldm_tokenizer *words = NULL;
    int32_t *ids = NULL;
    float *both = NULL;
    ldm_plan *plan = NULL;
    ldm_status st = LDM_OK;
    if (!p->system->has[LDM_PART_TEXT]) return LDM_OK;
    TRY(ldm_tokenizer_folder(p->system->tokenizer, &words));
    TRY(ldm_alloc((size_t)t->length * sizeof *ids, (void **)&ids));
    TRY(ldm_alloc((size_t)(2 * t->length) * sizeof *both, (void **)&both));
    TRY(ldm_alloc((size_t)(2 * t->length * t->width) * sizeof(float), (void **)&p->context));
    for (int k = 0; k < 2; k++) {
        const char *prompt = option(p, k ? "-p" : "-n");
        TRY(ldm_tokenize(words, prompt ? prompt : "", t->length, ldm_tokenizer_pad(words), ids, NULL));
        for (int i = 0; i < t->length; i++) both[k * t->length + i] = (float)ids[i];
    }
    TRY(ldm_plan_create(LDM_F32, LDM_F32, &plan));
    ldm_tensor in = ldm_plan_input(plan, "ids", LDM_I32, ldm_shape_of(2, (int64_t)2, (int64_t)t->length));
    TRY(run_once(p, plan, in, both, ldm_text_emit(plan, t, in, t->skip), p->context));
done:
    free(ids), free(both);
    ldm_tokenizer_close(words);
    return st;
}

/* The last latent through the decoder, against the picture before it becomes bytes. */
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
static ldm_status noised_picture(pipeline *p, float **out) {
    const char *file = option(p, "--upscale");
    ldm_image im = {0};
    float *noise = NULL;
    ldm_status st = LDM_OK;
    if (!file) return LDM_OK;
    TRY(ldm_png_read(path_of(&p->book, file + 1), &im));
    const int64_t count = im.w * im.h * 3;
    if (im.h != p->h || im.w != p->w) TRY(ldm_fail(LDM_ERR_MISMATCH, "%s: not of the latent's size", file));
    TRY(ldm_alloc((size_t)(2 * count) * sizeof *noise, (void **)&noise));
    TRY(ldm_alloc((size_t)count * sizeof **out, (void **)out));
    app_condition_picture(&im, *out);
    ldm_rng_fill(p->rng, noise, count);
    ldm_nchw_to_nhwc(noise, 1, 3, p->h, p->w, noise + count);
    TRY(app_condition_noised(atoi(option(p, "--noise-level")), *out, noise + count, count));
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
    const bool guided = !c->unet.time_cond_proj_dim; /* else the network is told the scale */
    float classes[2] = {(float)c->null_class, option(p, "--class-id") ? (float)atoi(option(p, "--class-id")) : 0};
    float label = option(p, "--noise-level") ? (float)atoi(option(p, "--noise-level")) : 0, *concat = NULL;
    ldm_loop_options o = {.unet = c->unet,
                          .n_classes = p->context ? 0 : c->n_classes,
                          .tokens = p->context ? p->system->text.length : 0,
                          .n = 1,
                          .h = p->h,
                          .w = p->w,
                          .guided = guided,
                          .concat = c->unet.in_channels - c->unet.out_channels,
                          .codebook = p->sampler.quantize ? p->system->stage.n_embed : 0,
                          .sampler = &p->sampler};
    TRY(ldm_rng_create((ldm_rng_kind){LDM_RNG_TORCH_CPU, 0}, (uint64_t)atoi(option(p, "-s")), &p->rng));
    TRY(ldm_loop_plan(&o, &plan));
    TRY(ldm_plan_fuse(plan));
    TRY(ldm_plan_finish(plan, d->max_alloc, d->base_align));
    TRY(ldm_system_source(p->system, plan, &b, &source));
    TRY(ldm_exec_create(cl, plan, &source, NULL, &p->exec));
    TRY(noised_picture(p, &concat));
    ldm_rng_fill(p->rng, p->flat, p->c * p->h * p->w);
    to_nhwc(p);
    ldm_sampler_start(&p->sampler, NULL, p->x, p->c * p->h * p->w, p->x);
    TRY(ldm_loop_start(&o, p->exec,
                       &(ldm_loop_inputs){.x = p->x,
                                          .context = p->context && !guided ? p->context + o.tokens * p->system->text.width
                                                                           : p->context,
                                          .concat = concat,
                                          .labels = c->unet.num_classes ? &label : NULL,
                                          .classes = p->context ? NULL : classes,
                                          .scale = atof(option(p, "--cfg-scale"))}));
    TRY(ldm_loop_run(&o, p->exec, &(ldm_loop_hooks){draw, each, p}));
done:
    free(concat);
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
    p->worst = 0, p->seen = 0;
    TRY(ldm_alloc((size_t)(p->c * p->h * p->w) * sizeof *p->x, (void **)&p->x));
    TRY(ldm_alloc((size_t)(p->c * p->h * p->w) * sizeof *p->x, (void **)&p->flat));
    TRY(make_context(p));
    TRY(make_sampler(p));
    TRY(run_loop(p));
    CHECK(p->seen == p->want.shape.dim[0], "%d steps were run, the witness ran %lld", p->seen,
          (long long)p->want.shape.dim[0]);
    printf("%s: %d latents: largest difference %.2g\n", test_case_name, p->seen, p->worst);
    check_picture(p);
done:
    CHECK(!st, "%s", ldm_message());
    free(p->x), free(p->flat), free(p->context);
    p->x = p->flat = p->context = NULL;
    ldm_rng_destroy(p->rng), p->rng = NULL;
    ldm_sampler_free(&p->sampler);
    ldm_array_free(&p->want);
}

static void check_family(const char *family, bool folder) {
    pipeline p = {0};
    char model[600], config[600], name[160];
    ldm_status st = fixture_open(family, &p.book);
    snprintf(model, sizeof model, "%s", path_of(&p.book, folder ? "model" : "model.safetensors"));
    snprintf(config, sizeof config, "%s", path_of(&p.book, "config.yaml"));
    if (!st) st = ldm_system_open(&(ldm_system_options){.model = model, .config = folder ? NULL : config}, &p.system);
    const json_t *runs = json_object_get(p.book.json, "runs");
    for (size_t i = 0; !st && i < json_array_size(runs); i++) {
        p.run = json_array_get(runs, i);
        if (json_is_true(json_object_get(p.run, "command_line"))) continue; /* starts from pictures: test_pipelines.sh */
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
    check_family("pipeline_sd1", true);
    check_family("pipeline_sd2", true);
    check_family("pipeline_upscale", true);
    check_family("pipeline_lcm", true);
    check_family("pipeline_class", false);
    ldm_cl_close(cl);
    return test_end();
}
