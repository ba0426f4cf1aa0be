/* test_winograd.c -- what the rows that lose accuracy do to pictures, against the same runs with exact rows only: a
 * 20-step trajectory in pixels from a photograph, a photograph through a trained autoencoder, and a decode whose maps are large
 * enough for the largest tiles; and when such rows are chosen. */
#include "io/io.h"
#include "sample/loop.h"
#include "test.h"
#include <math.h>

static ldm_cl *cl[2]; /* any row; exact rows only */
enum { ANY, EXACT };
static const char *const photo = "tests/data/photos/astronaut.png";

/* ---- the choice ---------------------------------------------------------------------------------------------------
 */

/* The row and its parameters; a choice is told by as many of them as matter. */
static const char *chosen(const char *problem, int which) {
    static char text[160];
    ldm_problem p;
    ldm_choice c = {0};
    CHECK_OK(ldm_problem_parse(problem, &p));
    CHECK_OK(ldm_choose(&p, ldm_cl_device(cl[which]), &c));
    if (!c.impl) return "none";
    int n = snprintf(text, sizeof text, "%s", c.impl->name);
    for (int i = 0; c.impl->tunables && c.impl->tunables[i].name; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %s=%d", c.impl->tunables[i].name, c.params[i]);
    return text;
}

#define PRODUCT(which, problem, row)                                                                                   \
    CHECK(!strncmp(chosen(problem, which), row, strlen(row)), "%s: chosen is %s, wanted %s", problem, chosen(problem, which), row)
#define CHOSEN(which, problem, row) PRODUCT(which, "conv2d:" problem " pt=1 pb=1 pl=1 pr=1", row)

static void choices(void) {
    CHOSEN(ANY, "f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f16*f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32 n=1 c=768 h=32 w=32 k=768 r=3 s=3", "conv2d_winograd_inplace OUT=4");
    CHOSEN(ANY, "f32 n=1 c=512 h=64 w=64 k=512 r=3 s=3", "conv2d_winograd_inplace OUT=4");
    CHOSEN(ANY, "f32 n=1 c=768 h=32 w=32 k=384 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32 n=1 c=576 h=32 w=32 k=512 r=3 s=3", "conv2d_winograd_inplace OUT=4");
    CHOSEN(ANY, "f32 n=1 c=2048 h=16 w=16 k=1024 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=16");
    CHOSEN(ANY, "f32 n=1 c=4096 h=16 w=16 k=1024 r=3 s=3", "conv2d_winograd_inplace OUT=4");
    CHOSEN(ANY, "f32 n=1 c=512 h=16 w=16 k=512 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=16");
    CHOSEN(ANY, "f32 n=1 c=256 h=80 w=80 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32 n=1 c=256 h=128 w=128 k=256 r=3 s=3", "conv2d_winograd OUT=6");
    CHOSEN(ANY, "f32 n=8 c=256 h=32 w=32 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32 n=1 c=512 h=128 w=128 k=512 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32 n=1 c=250 h=32 w=32 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32 n=1 c=1024 h=8 w=8 k=1024 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=4");
    CHOSEN(ANY, "f32 n=2 c=1024 h=8 w=8 k=1024 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=8");
    CHOSEN(ANY, "f32 n=3 c=1024 h=8 w=8 k=1024 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=16");
    CHOSEN(ANY, "f32 n=8 c=1024 h=8 w=8 k=1024 r=3 s=3", "conv2d_winograd_inplace OUT=4");
    CHOSEN(ANY, "f32 n=1 c=1024 h=4 w=4 k=1024 r=3 s=3", "conv2d_winograd_few OUT=2 BLOCK=4");
    CHOSEN(ANY, "f32 n=2 c=1024 h=4 w=4 k=1024 r=3 s=3", "conv2d_winograd_few OUT=2 BLOCK=8");
    CHOSEN(ANY, "f32 n=1 c=1024 h=2 w=2 k=1024 r=3 s=3", "conv2d_tile TILE_PIXELS=4");
    CHOSEN(ANY, "f32 n=1 c=1024 h=4 w=4 k=1024 r=3 s=3 stride=2", "conv2d_tile TILE_PIXELS=4");
    CHOSEN(ANY, "f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3 stride=2", "conv2d_tile TILE_PIXELS=8");
    CHOSEN(ANY, "f16 n=1 c=256 h=32 w=32 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32*f16 n=1 c=256 h=8 w=8 k=512 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=4");
    CHOSEN(ANY, "f32*f16 n=1 c=1024 h=16 w=16 k=1024 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=16");
    CHOSEN(ANY, "f32*f16 n=1 c=2048 h=16 w=16 k=1024 r=3 s=3", "conv2d_winograd_few OUT=4 BLOCK=16");
    CHOSEN(ANY, "f32*f16 n=1 c=4096 h=16 w=16 k=1024 r=3 s=3", "conv2d_winograd_inplace OUT=4 BLOCK=16");
    CHOSEN(ANY, "f32*f16 n=1 c=512 h=32 w=32 k=512 r=3 s=3", "conv2d_winograd_inplace OUT=4 BLOCK=64");
    CHOSEN(ANY, "f32*bf16 n=1 c=512 h=128 w=128 k=512 r=3 s=3", "conv2d_winograd_inplace OUT=4 BLOCK=64");
    CHOSEN(ANY, "f32*f16 n=1 c=128 h=64 w=64 k=256 r=3 s=3", "conv2d_winograd OUT=4");
    CHOSEN(ANY, "f32*f16 n=1 c=512 h=256 w=256 k=512 r=3 s=3", "conv2d_winograd OUT=2");
    CHOSEN(ANY, "f32*q8_0 n=1 c=256 h=32 w=32 k=256 r=3 s=3", "conv2d_winograd_inplace OUT=4 BLOCK=64");
    CHOSEN(ANY, "f32*q8_0 n=1 c=1024 h=8 w=8 k=1024 r=3 s=3", "conv2d_winograd_inplace OUT=4 BLOCK=4");
    CHOSEN(ANY, "f32*q8_0 n=1 c=1024 h=4 w=4 k=1024 r=3 s=3", "conv2d_tile TILE_PIXELS=4");
    CHOSEN(ANY, "f32*q8_0 n=1 c=256 h=128 w=128 k=256 r=3 s=3", "conv2d_tile TILE_PIXELS=8");
    CHOSEN(EXACT, "f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3", "conv2d_tile TILE_PIXELS=8");
    PRODUCT(ANY, "gemm:f32 m=4096 n=2048 k=1024", "gemm_strassen TILE_ROWS=8");
    PRODUCT(ANY, "gemm:f32 m=4096 n=2048 k=1024 act=geglu", "gemm_strassen TILE_ROWS=8");
    PRODUCT(ANY, "gemm:f32 m=32 n=2048 k=1024", "gemm_tile TILE_ROWS=8");
    PRODUCT(ANY, "gemm:f32 m=4096 n=2048 k=1000", "gemm_tile TILE_ROWS=8");
    PRODUCT(ANY, "gemm:f32*f16 m=4096 n=2048 k=1024", "gemm_tile TILE_ROWS=8");
    PRODUCT(ANY, "conv2d:f32 n=1 c=512 c2=256 h=64 w=64 k=512", "conv2d_strassen TILE_ROWS=8");
    PRODUCT(EXACT, "gemm:f32 m=4096 n=2048 k=1024", "gemm_tile TILE_ROWS=8");
}

/* ---- runs ---------------------------------------------------------------------------------------------------------
 */

/* Steps of a plan whose rows have a bound of their own. */
static int inexact(const ldm_exec *e) {
    int n = 0;
    for (int i = 0; i < ldm_exec_plan(e)->steps; i++) n += ldm_exec_choice(e, i)->impl->reference != NULL;
    return n;
}

static ldm_status photograph(int64_t side, float **x) {
    ldm_image im = {0};
    ldm_status st = LDM_OK;
    TRY(ldm_png_read(photo, &im));
    TRY(ldm_alloc((size_t)(side * side * 3) * sizeof **x, (void **)x));
    for (int64_t i = 0; i < side * side * 3; i++)
        (*x)[i] =
            im.data[((im.h - side) / 4 + i / 3 / side) * im.w * 3 + ((im.w - side) / 2 + i / 3 % side) * 3 + i % 3] /
                127.5f -
            1;
done:
    ldm_image_free(&im);
    return st;
}

/* Steps whose tiles have six outputs a side. */
static int sixes(const ldm_exec *e) {
    int n = 0;
    for (int i = 0; i < ldm_exec_plan(e)->steps; i++) {
        const ldm_choice *c = ldm_exec_choice(e, i);
        n += !strcmp(c->impl->name, "conv2d_winograd") && c->params[0] == 6;
    }
    return n;
}

/* Share of values that differ by more than one level of 255. */
static void check_levels(const float *a, const float *b, int64_t count, double level) {
    int64_t off = 0;
    double worst = 0, moved = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = fabs((double)a[i] - b[i]);
        off += !(d <= level), worst = fmax(worst, d), moved += d > 0;
    }
    CHECK((double)off <= 0.001 * (double)count, "%lld of %lld values are more than a level apart, worst %.3g levels",
          (long long)off, (long long)count, worst / level);
    CHECK(moved > 0, "no value differs: both runs took the same rows");
    printf("worst difference %.2g levels of 255\n", worst / level);
}

enum { SIDE = 64, PIXELS = SIDE * SIDE * 3, LAST = 20 };

static ldm_status no_noise(void *user, int k, float *dst) { return (void)user, (void)k, (void)dst, LDM_OK; }

/* The last 20 of 100 DDIM steps of an untrained UNet in pixels, from the photograph with noise of t = 190. */
static ldm_status trajectory(int which, const float *picture, float *out, int *rows) {
    static uint64_t seed = 11;
    ldm_status st = LDM_OK;
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_rng *r = NULL;
    ldm_sampler_options so = ldm_sampler_defaults(LDM_DDIM, LDM_MANNER_AUTHORS);
    ldm_sampler whole = {0}, last;
    ldm_schedule schedule;
    ldm_source w = ldm_source_synthetic(&seed);
    const ldm_device *d = ldm_cl_device(cl[which]);
    float *x = NULL;
    ldm_loop_options o = {.n = 1, .h = SIDE, .w = SIDE, .sampler = &last};
    TRY(ldm_unet_config_parse("in_channels=3 out_channels=3 model_channels=64 num_res_blocks=1 channel_mult=1,2,4 "
                              "attention_resolutions=4 num_head_channels=32",
                              &o.unet));
    TRY(ldm_schedule_linear(.0015, .0195, &schedule));
    so.steps = 100;
    TRY(ldm_sampler_make(&schedule, &so, &whole));
    last = whole, last.eval += whole.evals - LAST, last.evals = LAST;
    TRY(ldm_alloc(PIXELS * sizeof *x, (void **)&x));
    TRY(ldm_rng_create((ldm_rng_kind){0}, 4, &r));
    ldm_rng_fill(r, x, PIXELS);
    const double a = schedule.alpha_bar[(int)last.eval[0].t];
    for (int i = 0; i < PIXELS; i++) x[i] = (float)(sqrt(a) * picture[i] + sqrt(1 - a) * x[i]);
    TRY(ldm_loop_plan(&o, &p));
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    TRY(ldm_exec_create(cl[which], p, &w, NULL, &e));
    *rows = inexact(e);
    TRY(ldm_loop_start(&o, e, &(ldm_loop_inputs){.x = x}));
    TRY(ldm_loop_run(&o, e, &(ldm_loop_hooks){no_noise, NULL, NULL}));
    TRY(ldm_loop_latent(e, out));
done:
    free(x);
    ldm_sampler_free(&whole);
    ldm_rng_destroy(r);
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
    return st;
}

/* Rows that lose accuracy, and of those the ones with tiles of six outputs a side. */
typedef struct counts {
    int inexact, sixes;
} counts;

/* One half of a first stage on a map `side` high and wide; adds to *rows. weights NULL: untrained. */
static ldm_status half(int which, const char *stage, bool decode, int64_t side, ldm_ckpt *weights, const float *in, float *out, counts *rows) {
    static uint64_t seed = 12;
    ldm_status st = LDM_OK;
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    ldm_binding *b = NULL;
    const ldm_device *d = ldm_cl_device(cl[which]);
    const ldm_stage_config *c = ldm_stage_find(stage);
    ldm_source w = ldm_source_synthetic(&seed);
    TRY(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, (int64_t)(decode ? ldm_stage_latent_channels(c) : 3)));
    ldm_tensor y = decode ? ldm_stage_emit_decoder(p, c, x) : ldm_stage_emit_encoder(p, c, x);
    ldm_plan_output(p, y, "y");
    TRY(ldm_plan_finish(p, d->max_alloc, d->base_align));
    if (weights) {
        TRY(ldm_bind(p, weights, NULL, &b));
        w = ldm_binding_source(b);
    }
    TRY(ldm_exec_create(cl[which], p, &w, NULL, &e));
    rows->inexact += inexact(e), rows->sixes += sixes(e);
    TRY(ldm_exec_write(e, x, in));
    TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_read(e, y, out));
done:
    ldm_exec_destroy(e);
    ldm_binding_destroy(b);
    ldm_plan_destroy(p);
    return st;
}

/* One half of TAEF2 on [1,256,256,3] or its latent. */
static ldm_status taef2(int which, bool decode, const float *in, float *out, counts *rows) {
    ldm_status st = LDM_OK;
    ldm_ckpt *weights = NULL;
    TRY(ldm_ckpt_open(decode ? "tests/data/taef2/taef2_decoder.pth" : "tests/data/taef2/taef2_encoder.pth", &weights));
    TRY(half(which, "taef2", decode, decode ? 256 / 8 : 256, weights, in, out, rows));
done:
    ldm_ckpt_close(weights);
    return st;
}

enum { LATENT = 16 * 16 * 4, DECODED = 128 * 128 * 3 };

/* kl-f8's decoder with untrained weights, 128 x 128. */
static void check_decode(void) {
    float *z = calloc(LATENT, sizeof *z), *out = calloc(2 * DECODED, sizeof *out);
    counts rows[2] = {{0}};
    ldm_rng *r = NULL;
    CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, 5, &r));
    if (r) ldm_rng_fill(r, z, LATENT);
    for (int i = 0; i < 2; i++) CHECK_OK(half(i, "kl-f8", true, 16, NULL, z, out + i * DECODED, &rows[i]));
    CHECK(rows[ANY].sixes >= 5 && rows[EXACT].inexact == 0, "%d rows with tiles of 6 x 6, wanted 5 or more; %d that lose accuracy, wanted none",
          rows[ANY].sixes, rows[EXACT].inexact);
    check_levels(out, out + DECODED, DECODED, 2.0 / 255);
    ldm_rng_destroy(r);
    free(z);
    free(out);
}

static void check_trajectory(void) {
    float *picture = NULL, *out = calloc(2 * PIXELS, sizeof *out);
    int rows[2] = {0, 0};
    CHECK_OK(photograph(SIDE, &picture));
    for (int i = 0; i < 2; i++) CHECK_OK(trajectory(i, picture, out + i * PIXELS, &rows[i]));
    CHECK(rows[ANY] >= 10 && rows[EXACT] == 0, "%d and %d rows that lose accuracy, wanted 10 or more and none",
          rows[ANY], rows[EXACT]);
    check_levels(out, out + PIXELS, PIXELS, 2.0 / 255);
    free(picture);
    free(out);
}

static void check_roundtrip(void) {
    enum { COUNT = 256 * 256 * 3 };
    float *picture = NULL, *z = calloc(32 * 32 * 32, sizeof *z), *out = calloc(2 * COUNT, sizeof *out);
    counts rows[2] = {{0}};
    CHECK_OK(photograph(256, &picture));
    for (int i = 0; i < COUNT; i++) picture[i] = (picture[i] + 1) / 2;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(taef2(i, false, picture, z, &rows[i]));
        CHECK_OK(taef2(i, true, z, out + i * COUNT, &rows[i]));
    }
    CHECK(rows[ANY].inexact >= 10 && rows[EXACT].inexact == 0, "%d and %d rows that lose accuracy, wanted 10 or more and none",
          rows[ANY].inexact, rows[EXACT].inexact);
    check_levels(out, out + COUNT, COUNT, 1.0 / 255);
    free(picture);
    free(z);
    free(out);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "winograd");
    CASE("device") {
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){.exact = false}, &cl[ANY]));
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){.exact = true}, &cl[EXACT]));
    }
    if (cl[EXACT] && ldm_cl_device(cl[ANY])->type != LDM_DEVICE_CPU) {
        CASE("choice") SKIP("the rows that lose accuracy are for CPUs");
    } else if (cl[EXACT]) {
        CASE("choice") choices();
        CASE("20 steps in pixels") check_trajectory();
        CASE("a photograph through TAEF2") check_roundtrip();
        CASE("a decode with the largest tiles") check_decode();
    }
    ldm_cl_close(cl[ANY]);
    ldm_cl_close(cl[EXACT]);
    return test_end();
}
