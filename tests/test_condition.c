/* test_condition.c -- pictures as conditions against what the authors' code and PyTorch make of the same small arrays
 * (tests/oracle/conditions.py); each bound is also shown to refuse the nearest wrong answers. */
#include "app/condition.h"
#include "test.h"
#include <math.h>

static ldm_array load(const char *name) {
    char path[256];
    ldm_array a = {0};
    snprintf(path, sizeof path, "tests/fixtures/condition/%s.npy", name);
    CHECK_OK(ldm_npy_read_f32(path, &a));
    return a;
}

static double distance(const float *x, const ldm_array *want) {
    const float *y = want->data;
    double worst = 0;
    for (int64_t i = 0; i < ldm_shape_count(&want->shape); i++) worst = fmax(worst, fabs((double)x[i] - y[i]));
    return worst;
}

/* x is as the file says to within `bound`. */
static void is(const char *name, const float *x, double bound) {
    ldm_array want = load(name);
    double d = distance(x, &want);
    CHECK(d <= bound, "%s: off by %g, at most %g wanted", name, d, bound);
    ldm_array_free(&want);
}

/* ... and this one is not, by far. */
static void is_not(const char *name, const float *x, double bound) {
    ldm_array want = load(name);
    double d = distance(x, &want);
    CHECK(d >= 20 * bound, "%s: a wrong answer is off by %g only, bound %g", name, d, bound);
    ldm_array_free(&want);
}

enum { W = 24, H = 16, LW = 6, LH = 4, PIXELS = W * H };

typedef struct pictures {
    ldm_image im;
    ldm_grey grey;
    float mask[PIXELS];
} pictures;

static void open_pictures(pictures *p) {
    CHECK_OK(ldm_picture_read("tests/fixtures/condition/picture.png", &p->im));
    CHECK_OK(ldm_picture_read_grey("tests/fixtures/condition/mask.png", &p->grey));
    CHECK(p->im.w == W && p->im.h == H && p->grey.w == W && p->grey.h == H, "sizes");
    app_condition_mask(&p->grey, p->mask);
}

static void close_pictures(pictures *p) { ldm_image_free(&p->im), ldm_grey_free(&p->grey); }

static void label_maps(void) {
    enum { CLASSES = 7 };
    ldm_array a = load("labels");
    int64_t h = a.shape.dim[0], w = a.shape.dim[1];
    uint16_t label[8 * 12];
    float out[8 * 12 * CLASSES];
    ldm_labels map = {.w = w, .h = h, .data = label};
    for (int64_t i = 0; i < h * w; i++) label[i] = (uint16_t)((const float *)a.data)[i];
    CHECK_OK(app_condition_labels(&map, CLASSES, 1, "map.png", out));
    is("labels_1", out, 0);
    CHECK_OK(app_condition_labels(&map, CLASSES, 2, "map.png", out));
    is("labels_2", out, 0);
    CHECK_OK(app_condition_labels(&map, CLASSES, 4, "map.png", out));
    is("labels_4", out, 0);
    label[2 * w + 5] = 182;
    CHECK(app_condition_labels(&map, 182, 1, "map.png", out) == LDM_ERR_FORMAT &&
              strstr(ldm_message(), "map.png: pixel (5, 2) has label 182, labels are 0 to 181"),
          "%s", ldm_message());
    CHECK(app_condition_labels(&map, 183, 5, "map.png", out) == LDM_ERR_FORMAT &&
              strstr(ldm_message(), "multiples of 5"),
          "%s", ldm_message());
    ldm_array_free(&a);
}

static void inpainting(void) {
    pictures p;
    float out[PIXELS * 3], concat[LW * LH * 4];
    ldm_array latent = load("latent");
    const double bound = 0x1p-23; /* two roundings of numbers below 2 in f32 */
    open_pictures(&p);
    app_condition_masked_picture(APP_INPAINT_LDM, &p.im, p.mask, out);
    is("ldm_masked", out, bound);
    is_not("sd_masked", out, bound);
    app_condition_masked_picture(APP_INPAINT_SD, &p.im, p.mask, out);
    is("sd_masked", out, bound);
    is_not("ldm_masked", out, bound);
    app_condition_inpaint(APP_INPAINT_LDM, latent.data, LH, LW, 3, p.mask, H, W, concat);
    is("ldm_concat", concat, 0);
    app_condition_inpaint(APP_INPAINT_SD, latent.data, LH, LW, 3, p.mask, H, W, concat);
    is("sd_concat", concat, 0);
    is_not("ldm_concat", concat, bound);
    ldm_array_free(&latent);
    close_pictures(&p);
    CHECK(app_condition_size("mask.png", 5, 7, 5, 7) == LDM_OK, "equal sizes");
    CHECK(app_condition_size("mask.png", 5, 7, 7, 5) == LDM_ERR_FORMAT &&
              strstr(ldm_message(), "mask.png: 5 x 7 pixels, wanted 7 x 5"),
          "%s", ldm_message());
}

static void resizing(void) {
    ldm_array a = load("odd");
    float out[5 * 9];
    app_condition_nearest(a.data, 13, 29, out, 5, 9);
    is("odd_nearest", out, 0);
    ldm_array_free(&a);
}

static void depth_maps(void) {
    /* PyTorch's f32: sixteen products of weights up to 1.2 and depths up to 1, over a range of about 1 */
    const double bound = 1e-5;
    ldm_array a = load("depth");
    ldm_grey map = {.w = a.shape.dim[1], .h = a.shape.dim[0], .data = a.data};
    float out[9 * 64], flat[4] = {.5f, .5f, .5f, .5f};
    CHECK_OK(app_condition_depth(&map, 0.001, 5, 7, "d.png", out));
    is("depth_authors", out, bound);
    is_not("depth_diffusers", out, bound);
    CHECK_OK(app_condition_depth(&map, 0, 5, 7, "d.png", out));
    is("depth_diffusers", out, bound);
    is_not("depth_authors", out, bound);
    for (int i = 0; i < 5 * 7; i++) out[i] = -out[i]; /* near and far exchanged */
    is_not("depth_diffusers", out, bound);
    CHECK_OK(app_condition_depth(&map, 0.001, 9, 64, "d.png", out));
    is("depth_uneven", out, bound);
    map = (ldm_grey){.w = 2, .h = 2, .data = flat};
    CHECK(app_condition_depth(&map, 0, 2, 2, "d.png", out) == LDM_ERR_FORMAT && strstr(ldm_message(), "d.png"),
          "a flat map");
    CHECK_OK(app_condition_depth(&map, 0.001, 2, 2, "d.png", out));
    CHECK(out[0] == -1, "a flat map with a guard is far everywhere");
    ldm_array_free(&a);
}

static void noise_levels(void) {
    static const struct {
        int level;
        const char *name;
    } cases[] = {{0, "noised_0"}, {20, "noised_20"}, {349, "noised_349"}};
    const double bound = 1e-6; /* three roundings of numbers below 8 in f32 */
    pictures p;
    float x[PIXELS * 3];
    ldm_array noise = load("noise");
    open_pictures(&p);
    app_condition_picture(&p.im, x);
    is("picture", x, 0x1p-23);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        app_condition_picture(&p.im, x);
        CHECK_OK(app_condition_noised(cases[i].level, x, noise.data, PIXELS * 3));
        is(cases[i].name, x, bound);
        app_condition_picture(&p.im, x);
        CHECK_OK(app_condition_noised(cases[i].level ? cases[i].level - 1 : 1, x, noise.data, PIXELS * 3));
        is_not(cases[i].name, x, bound);
    }
    CHECK(app_condition_noised(350, x, noise.data, 1) == LDM_ERR_ARG && strstr(ldm_message(), "0 to 349"), "%s",
          ldm_message());
    CHECK(app_condition_noised(-1, x, noise.data, 1) == LDM_ERR_ARG, "level -1");
    ldm_array_free(&noise);
    close_pictures(&p);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "condition");
    CASE("label maps") label_maps();
    CASE("inpainting, both conventions") inpainting();
    CASE("nearest") resizing();
    CASE("depth maps") depth_maps();
    CASE("pictures and noise levels") noise_levels();
    return test_end();
}
