/* test_conditioners.c -- text encoders and the rescaler of semantic maps against their witnesses (tests/oracle: the
 * authors' BERT and SpatialRescaler, transformers' CLIP, OpenCLIP's layers), on the references and on the device, f32
 * and f16, as written and fused, held to witness.h's bar; each encoder also with one thing wrong about it, which must
 * fail that bar. And the small trained model: prompts through our tokenizer and its text encoder against what the
 * authors' code made of them, within 1e-5 (by rows that lose accuracy: as much more as their bound is larger). */
#include "model/model.h"
#include "model/text_encoder.h"
#include "text/text.h"
#include "witness.h"

static ldm_cl *cl;       /* NULL: no device */
static ldm_cl *exact_cl; /* the same, only rows that lose no accuracy */

typedef struct encoder {
    ldm_plan *plan;
    ldm_binding *binding;
    ldm_exec *exec;
    ldm_tensor in, y;
} encoder;

static void encoder_close(encoder *e) {
    ldm_exec_destroy(e->exec);
    ldm_binding_destroy(e->binding);
    ldm_plan_destroy(e->plan);
    *e = (encoder){0};
}

static ldm_status encoder_finish(encoder *e, ldm_ckpt *weights, bool device, bool fused) {
    ldm_status st = LDM_OK;
    const ldm_device *d = cl ? ldm_cl_device(cl) : NULL;
    e->y = ldm_plan_cast(e->plan, e->y, LDM_F32);
    ldm_plan_output(e->plan, e->y, "y");
    if (fused) TRY(ldm_plan_fuse(e->plan));
    TRY(ldm_plan_finish(e->plan, d ? d->max_alloc : SIZE_MAX / 2, d ? d->base_align : 64));
    TRY(ldm_bind(e->plan, weights, NULL, &e->binding)); /* nothing may be left over */
    ldm_source source = ldm_binding_source(e->binding);
    st = device ? ldm_exec_create(cl, e->plan, &source, NULL, &e->exec)
                : ldm_exec_create_reference(e->plan, &source, &e->exec);
done:
    if (st) encoder_close(e);
    return st;
}

static ldm_status encode(const ldm_text_config *c, ldm_ckpt *weights, const ldm_array *ids, int skip, bool device,
                         bool fused, ldm_dtype t, float *y) {
    encoder e = {0};
    ldm_status st = LDM_OK;
    TRY(ldm_plan_create(t, t, &e.plan));
    e.in = ldm_plan_input(e.plan, "ids", LDM_I32, ids->shape);
    e.y = ldm_text_emit(e.plan, c, e.in, skip);
    TRY(encoder_finish(&e, weights, device, fused));
    TRY(ldm_exec_write(e.exec, e.in, ids->data));
    TRY(ldm_exec_run(e.exec, 0));
    TRY(ldm_exec_read(e.exec, e.y, y));
done:
    encoder_close(&e);
    return st;
}

/* Beyond the bar by far: the witness counted at least 20 tolerances in f64. */
static void expect_wrong(const char *what, const float *y, const ldm_array *want, difference plain) {
    difference d = compare(y, want->data, ldm_shape_count(&want->shape));
    const double allowed = 2 * plain.max + 0x1p-22 * d.peak;
    CHECK(d.max > 20 * allowed, "%s: off by %.3g only, allowed are %.3g", what, d.max, allowed);
}

static void check_text(const fixture *f, const json_t *run, const ldm_text_config *c) {
    ldm_array ids = {0}, want = {0};
    const int skip = (int)number(run, "skip");
    CHECK_OK(read_input(f, run, "ids", &ids));
    CHECK_OK(ldm_npy_read_f32(path_of(f, text(run, "output")), &want));
    if (!ids.data || !want.data) return;
    const int64_t count = ldm_shape_count(&want.shape);
    void *mem = NULL;
    CHECK_OK(ldm_alloc((size_t)count * sizeof(float), &mem));
    float *y = mem;
    char what[64];
    difference plain[2] = {{number(run, "f32_max_error"), number(run, "f32_mean_error"), 0}};
    /* ids cannot be moved by half an ulp: the batch is the draws */
    CHECK_OK(encode(c, f->weights, &ids, skip, false, false, LDM_F16, y));
    plain[1] = compare(y, want.data, count);
    CHECK(plain[1].max < 0.03 * plain[1].peak, "reference f16: error %.3g of peak %.3g", plain[1].max, plain[1].peak);
    for (int k = 0; k < 8; k++) {
        const bool half = k & 4, device = k & 2, fused = k & 1;
        if ((device && !cl) || (half && !device)) continue;
        snprintf(what, sizeof what, "skip %d %s %s%s", skip, device ? "device" : "reference", half ? "f16" : "f32",
                 fused ? " fused" : "");
        CHECK_OK(encode(c, f->weights, &ids, skip, device, fused, half ? LDM_F16 : LDM_F32, y));
        judge(what, compare(y, want.data, count), half ? LDM_F16 : LDM_F32, plain[half]);
    }
    /* wrong answers */
    ldm_text_config other = *c;
    other.quick_gelu = !c->quick_gelu;
    CHECK_OK(encode(c, f->weights, &ids, 3 - skip, false, true, LDM_F32, y));
    expect_wrong("another clip-skip", y, &want, plain[0]);
    if (c->kind != LDM_TEXT_BERT) { /* BERT has the exact GELU whatever is said */
        CHECK_OK(encode(&other, f->weights, &ids, skip, false, true, LDM_F32, y));
        expect_wrong("another activation", y, &want, plain[0]);
    }
    float *last = (float *)ids.data + c->length - 1;
    *last = *last > 0 ? 0 : 1;
    CHECK_OK(encode(c, f->weights, &ids, skip, false, true, LDM_F32, y));
    expect_wrong("another token", y, &want, plain[0]);
    if (c->kind != LDM_TEXT_BERT) { /* nothing looks ahead: only the last token's context may change */
        const int64_t before = (int64_t)(c->length - 1) * c->width;
        const difference d = compare(y, want.data, before);
        CHECK(d.max <= 2 * plain[0].max + 0x1p-22 * plain[1].peak, "tokens before it moved by %.3g", d.max);
    }
    free(mem);
    ldm_array_free(&ids), ldm_array_free(&want);
}

static void texts(void) {
    static const char *const names[] = {"text_bert", "text_clip", "text_clip_gelu", "text_openclip"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) CASE(names[i]) {
            fixture f;
            ldm_text_config c = {0};
            ldm_status st = fixture_open(names[i], &f);
            if (!st) st = ldm_text_config_parse(text(f.json, "config"), &c);
            CHECK(!st, "%s", ldm_message());
            size_t k;
            json_t *run;
            if (!st) json_array_foreach(json_object_get(f.json, "runs"), k, run) check_text(&f, run, &c);
            fixture_close(&f);
        }
}

/* ---- semantic maps ----------------------------------------------------------------------------------------------- */

enum { LABELS = 182, STAGES = 2, MIXED = 3 };

static ldm_status rescale(ldm_ckpt *weights, const ldm_array *labels, bool device, bool fused, ldm_dtype t, float *y) {
    encoder e = {0};
    void *hot = NULL;
    ldm_status st = LDM_OK;
    const int64_t *d = labels->shape.dim, pixels = ldm_shape_count(&labels->shape);
    TRY(ldm_alloc((size_t)(pixels * LABELS) * sizeof(float), &hot));
    for (int64_t i = 0; i < pixels; i++) ((float *)hot)[i * LABELS + (int64_t)((float *)labels->data)[i]] = 1;
    TRY(ldm_plan_create(t, t, &e.plan));
    e.in = ldm_plan_input(e.plan, "labels", t, ldm_shape_of(4, d[0], d[1], d[2], (int64_t)LABELS));
    e.y = ldm_rescaler_emit(e.plan, STAGES, MIXED, e.in);
    TRY(encoder_finish(&e, weights, device, fused));
    TRY(ldm_exec_write(e.exec, e.in, hot));
    TRY(ldm_exec_run(e.exec, 0));
    TRY(ldm_exec_read(e.exec, e.y, y));
done:
    free(hot);
    encoder_close(&e);
    return st;
}

static void semantic_maps(void) {
    CASE("rescaler") {
        fixture f;
        ldm_array labels = {0}, want = {0}; /* [n,h,w], [n,c,h/4,w/4] */
        CHECK_OK(fixture_open("rescaler", &f));
        const json_t *run = json_array_get(json_object_get(f.json, "runs"), 0);
        CHECK_OK(read_input(&f, run, "labels", &labels));
        CHECK_OK(ldm_npy_read_f32(path_of(&f, text(run, "output")), &want));
        const int64_t *s = want.shape.dim, count = ldm_shape_count(&want.shape);
        float *y = calloc((size_t)count, sizeof *y), *nchw = calloc((size_t)count, sizeof *nchw);
        difference plain[2] = {{number(run, "f32_max_error"), number(run, "f32_mean_error"), 0}};
        for (int k = -1; k < 8; k++) { /* -1: the plain f16 */
            const bool half = k & 4, device = k > 0 && k & 2, fused = k > 0 && k & 1;
            if (k >= 0 && ((device && !cl) || (half && !device))) continue;
            CHECK_OK(rescale(f.weights, &labels, device, fused, half ? LDM_F16 : LDM_F32, y));
            ldm_nhwc_to_nchw(y, s[0], s[1], s[2], s[3], nchw);
            difference d = compare(nchw, want.data, count);
            if (k < 0) plain[1] = d;
            else judge(device ? "device" : "reference", d, half ? LDM_F16 : LDM_F32, plain[half]);
        }
        ((float *)labels.data)[0] += 1; /* one pixel's label is a sixteenth of what it was */
        CHECK_OK(rescale(f.weights, &labels, false, false, LDM_F32, y));
        ldm_nhwc_to_nchw(y, s[0], s[1], s[2], s[3], nchw);
        expect_wrong("another label", nchw, &want, plain[0]);
        free(y), free(nchw);
        ldm_array_free(&labels), ldm_array_free(&want);
        fixture_close(&f);
    }
}

/* ---- the trained model ------------------------------------------------------------------------------------------- */

#define EMOJI "tests/data/emoji-ldm/"

static void trained(void) {
    static const char *const samplers[] = {"ddim", "plms"};
    ldm_text_config c;
    ldm_ckpt *weights = NULL;
    ldm_tokenizer *words = NULL;
    for (int i = 0; i < 2; i++) CASE(i ? "emoji-ldm, prompts of plms" : "emoji-ldm, prompts of ddim") {
            char path[128];
            ldm_array want = {0};
            json_error_t error;
            if (!weights) CHECK_OK(ldm_ckpt_open(EMOJI "model.ckpt", &weights));
            if (!words) CHECK_OK(ldm_tokenizer_builtin(LDM_TOKENIZER_BERT, &words));
            CHECK_OK(ldm_text_config_parse("kind=bert width=192 layers=3 length=24", &c));
            snprintf(path, sizeof path, EMOJI "expected/%s.json", samplers[i]);
            json_t *book = json_load_file(path, 0, &error), *prompts = json_object_get(book, "prompts");
            snprintf(path, sizeof path, EMOJI "expected/%s-context.npy", samplers[i]);
            CHECK_OK(ldm_npy_read_f32(path, &want));
            CHECK(json_array_size(prompts) > 1, "no prompts");
            const int64_t n = (int64_t)json_array_size(prompts), count = ldm_shape_count(&want.shape);
            ldm_array ids = {.shape = ldm_shape_of(2, n, (int64_t)c.length)};
            ids.data = calloc((size_t)(n * c.length), sizeof(float));
            float *y = calloc((size_t)count, sizeof *y);
            for (int64_t k = 0; k < n; k++) {
                int32_t id[24];
                CHECK_OK(ldm_tokenize(words, json_string_value(json_array_get(prompts, (size_t)k)), c.length, c.pad, id,
                                      NULL));
                for (int j = 0; j < c.length; j++) ((float *)ids.data)[k * c.length + j] = (float)id[j];
            }
            /* Strassen's bound is 2.4 times the sum's on such data: a block of y is made of products of magnitude 2, 2, sqrt 2 and
             * sqrt 2 where the sum has two of 1, in sums half as long */
            static const double allowed[] = {1e-5, 1e-5, 2.4e-5};
            ldm_cl *const usual = cl;
            for (int run = 0; run <= (cl ? 2 : 0); run++) {
                if (run == 1) cl = exact_cl;
                CHECK_OK(encode(&c, weights, &ids, 1, run > 0, true, LDM_F32, y));
                cl = usual;
                difference d = compare(y, want.data, count);
                printf("%s: %s: largest error %.2g of peak %.2g\n", test_case_name,
                       run == 0 ? "reference" : run == 1 ? "device, exact" : "device", d.max, d.peak);
                CHECK(d.max <= allowed[run], "error %.3g of peak %.3g, allowed %g", d.max, d.peak, allowed[run]);
            }
            free(y), free(ids.data);
            ldm_array_free(&want);
            json_decref(book);
        }
    ldm_tokenizer_close(words);
    ldm_ckpt_close(weights);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "conditioners");
    if (getenv("LDM_TEST_FIXTURES")) root = getenv("LDM_TEST_FIXTURES");
    if (ldm_cl_open(&(ldm_cl_options){0}, &cl)) printf("note: references only: %s\n", ldm_message());
    else CHECK_OK(ldm_cl_open(&(ldm_cl_options){.exact = true}, &exact_cl));
    texts();
    semantic_maps();
    trained();
    ldm_cl_close(exact_cl);
    ldm_cl_close(cl);
    return test_end();
}
