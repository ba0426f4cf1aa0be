/* test_windows.c -- a network run on overlapping windows of a map: one step of the loop is linear in the network's output element by
 * element, so it must be the weighted mean of the same step taken on each window alone. */
#include "whole_loop.h"
#include <math.h>

static ldm_cl *cl;
static const uint64_t seed = 5;

static ldm_unet_config small(void) {
    ldm_unet_config c;
    CHECK_OK(ldm_unet_config_parse("in_channels=4 out_channels=3 model_channels=32 num_res_blocks=1 channel_mult=1,2 "
                                   "attention_resolutions=2 num_heads=2",
                                   &c));
    return c;
}

static void cut(const float *src, int64_t w, int64_t c, int64_t y0, int64_t x0, int64_t ph, int64_t pw, float *dst) {
    for (int64_t y = 0; y < ph; y++) memcpy(dst + y * pw * c, src + ((y0 + y) * w + x0) * c, (size_t)(pw * c) * sizeof *dst);
}

static double share(int64_t i, int64_t n) {
    double a = (double)i / (double)(n - 1);
    return a < 1 - a ? a : 1 - a;
}

static ldm_sampler one_step(void) {
    ldm_sampler s = {0};
    ldm_schedule schedule;
    ldm_sampler_options o = ldm_sampler_defaults(LDM_DDIM, LDM_MANNER_AUTHORS);
    o.steps = 1;
    CHECK_OK(ldm_schedule_linear(.0015, .0195, &schedule));
    CHECK_OK(ldm_sampler_make(&schedule, &o, &s));
    return s;
}

/* Maps [n,h,w], windows of `size` every `stride`, against windows one at a time. `from` and `to` say where they begin. */
static void compare(int64_t n, int64_t h, int64_t w, int64_t size, int64_t stride, const int64_t *ys, int ny, const int64_t *xs, int nx) {
    ldm_sampler s = one_step();
    const ldm_windows windows = {.size = size, .stride = stride};
    int64_t ph = size < h ? size : h, pw = size < w ? size : w, all = n * h * w;
    float *x = malloc((size_t)all * 3 * sizeof *x), *concat = malloc((size_t)all * sizeof *x), *got = malloc((size_t)all * 3 * sizeof *x);
    float *px = malloc((size_t)(ph * pw) * 3 * sizeof *x), *pc = malloc((size_t)(ph * pw) * sizeof *x), *py = malloc((size_t)(ph * pw) * 3 * sizeof *x);
    double *sum = calloc((size_t)all * 3, sizeof *sum), *weight = calloc((size_t)all, sizeof *weight), worst = 0, moved = 0;
    for (int64_t i = 0; i < all * 3; i++) x[i] = ldm_uniform(1, 0, (uint64_t)i);
    for (int64_t i = 0; i < all; i++) concat[i] = ldm_uniform(2, 0, (uint64_t)i);
    CHECK(ldm_windows_count(windows, h, w) == ny * nx, "%d windows", ldm_windows_count(windows, h, w));
    for (int i = 0; i < ny * nx; i++) {
        const ldm_window k = ldm_window_at(windows, h, w, i);
        CHECK(k.y == ys[i / nx] && k.x == xs[i % nx] && k.h == ph && k.w == pw, "window %d begins at %lld, %lld", i, (long long)k.y, (long long)k.x);
    }
    ldm_loop_options o = {.unet = small(), .n = n, .h = h, .w = w, .concat = 1, .sampler = &s, .windows = windows}, alone = o;
    alone.n = 1, alone.h = ph, alone.w = pw, alone.windows = (ldm_windows){0};
    run_loop(cl, seed, &o, &(ldm_loop_inputs){.x = x, .concat = concat}, &(ldm_loop_hooks){0}, got);
    for (int64_t m = 0; m < n; m++)
        for (int i = 0; i < ny; i++)
            for (int k = 0; k < nx; k++) {
                cut(x + m * h * w * 3, w, 3, ys[i], xs[k], ph, pw, px);
                cut(concat + m * h * w, w, 1, ys[i], xs[k], ph, pw, pc);
                run_loop(cl, seed, &alone, &(ldm_loop_inputs){.x = px, .concat = pc}, &(ldm_loop_hooks){0}, py);
                for (int64_t v = 0; v < ph; v++)
                    for (int64_t u = 0; u < pw; u++) {
                        double a = share(v, ph), b = share(u, pw), least = fmin(.5, fmax(.01, a < b ? a : b));
                        int64_t at = (m * h + ys[i] + v) * w + xs[k] + u;
                        weight[at] += least;
                        for (int c = 0; c < 3; c++) sum[at * 3 + c] += least * py[(v * pw + u) * 3 + c];
                    }
            }
    for (int64_t i = 0; i < all * 3; i++) {
        double d = fabs(got[i] - sum[i] / weight[i / 3]);
        worst = d > worst || !isfinite(d) ? d : worst;
        moved = fmax(moved, fabs(got[i] - (double)x[i]));
    }
    CHECK(worst < 2e-5, "%lld x %lld in windows of %lld every %lld: %g apart", (long long)h, (long long)w, (long long)size, (long long)stride, worst);
    CHECK(moved > 1e-3, "the network has no say: %g", moved);
    free(x), free(concat), free(got), free(px), free(pc), free(py), free(sum), free(weight);
    ldm_sampler_free(&s);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "windows");
    if (ldm_cl_open(&(ldm_cl_options){0}, &cl)) {
        printf("FAIL windows: %s\n", ldm_message());
        return 1;
    }
    CASE("strides that fit") compare(1, 16, 12, 8, 4, (int64_t[]){0, 4, 8}, 3, (int64_t[]){0, 4}, 2);
    CASE("a last window flush with the border, two maps") compare(2, 12, 20, 8, 6, (int64_t[]){0, 4}, 2, (int64_t[]){0, 6, 12}, 3);
    CASE("windows larger than the map one way") compare(1, 4, 12, 8, 4, (int64_t[]){0}, 1, (int64_t[]){0, 4}, 2);
    CASE("what cannot be") {
        ldm_sampler s = one_step();
        ldm_plan *plan = NULL;
        ldm_loop_options o = {.unet = small(), .n = 1, .h = 8, .w = 8, .concat = 1, .sampler = &s, .windows = {.size = 4, .stride = 5}};
        CHECK(ldm_loop_plan(&o, &plan) == LDM_ERR_ARG && strstr(ldm_message(), "stride"), "gaps: %s", ldm_message());
        o.windows = (ldm_windows){.size = 4, .stride = 2, .own_contexts = true}, o.guided = true;
        CHECK(ldm_loop_plan(&o, &plan) == LDM_ERR_ARG && strstr(ldm_message(), "not guided"), "guided: %s", ldm_message());
        ldm_sampler_free(&s);
    }
    ldm_cl_close(cl);
    return test_end();
}
