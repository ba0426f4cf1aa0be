/* test_reference.c -- the judge is judged: tiny cases of every reference function with answers worked by hand, the
 * bounds where they can be counted on fingers, and sampled outputs equal to full ones. */
#include "reference/reference.h"
#include "tests/test.h"
#include <math.h>

enum { MOST = 4096 };
static double y[MOST], bound[MOST];
static const double U = 0x1p-24;

static ref_out all_f32(void) { return (ref_out){.u_out = 0x1p-24, .tiny = 0x1p-150, .y = y, .bound = bound}; }
static ref_out all_f16(void) { return (ref_out){.u_out = 0x1p-11, .tiny = 0x1p-25, .y = y, .bound = bound}; }

/* y[0..n) against the answers, to `tol` (0: exactly). */
static void expect(const char *what, const double *want, int n, double tol) {
    for (int i = 0; i < n; i++)
        CHECK(fabs(y[i] - want[i]) <= tol, "%s: element %d is %.17g, by hand %.17g", what, i, y[i], want[i]);
}
#define EXPECT(what, tol, ...)                                                                                         \
    do {                                                                                                               \
        const double want_[] = {__VA_ARGS__};                                                                          \
        expect(what, want_, (int)(sizeof want_ / sizeof *want_), tol);                                                 \
    } while (0)
static void expect_bound(const char *what, int i, double want) {
    CHECK(fabs(bound[i] - want) <= 1e-6 * want, "%s: bound %d is %.9g, by hand %.9g", what, i, bound[i], want);
}

static void conv2d(void) {
    float count9[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    CASE("conv2d 2x2 valid, weight in OIHW order") {
        /* x = 1..9 as 3x3, w = [[1,2],[3,4]]: y[0,0] = 1+4+12+20 = 37, then one more for every step: +10, +10, down +30
         */
        float w[4] = {1, 2, 3, 4};
        ref_conv2d_dims d = {.n = 1, .c = 1, .h = 3, .w = 3, .k = 1, .r = 2, .s = 2, .stride = 1, .up = 1};
        ref_conv2d(all_f32(), &d, count9, NULL, w, NULL, NULL, NULL);
        EXPECT("valid", 0, 37, 47, 67, 77);
        /* |y| = sum |ab| here, K = 4: u 37 (1 + 2u) + 2 * 2 u 37 */
        expect_bound("valid", 0, U * 37 + 4 * U * 37);
    }
    CASE("conv2d 3x3 pad 1: every corner sees four products") {
        float w[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
        ref_conv2d_dims d = {1, 1, 0, 3, 3, 1, 3, 3, 1, 1, 1, 1, 1, 1, REF_NONE};
        ref_conv2d(all_f32(), &d, count9, NULL, w, NULL, NULL, NULL);
        EXPECT("pad", 0, 12, 21, 16, 27, 45, 33, 24, 39, 28);
        expect_bound("corner, K = 4", 0, U * 12 + 2 * 2 * U * 12);
        expect_bound("middle, K = 9", 4, U * 45 + 2 * 3 * U * 45);
    }
    CASE("conv2d 3x3 stride 2, padded right and bottom only") {
        /* 4x4 of 1..16, w picks the window's lower right: y = x[2p+2, 2q+2], zero outside */
        float x[16], w[9] = {0, 0, 0, 0, 0, 0, 0, 0, 1};
        for (int i = 0; i < 16; i++) x[i] = (float)(i + 1);
        ref_conv2d_dims d = {
            .n = 1, .c = 1, .h = 4, .w = 4, .k = 1, .r = 3, .s = 3, .stride = 2, .up = 1, .pb = 1, .pr = 1};
        ref_conv2d(all_f32(), &d, x, NULL, w, NULL, NULL, NULL);
        EXPECT("lower right", 0, 11, 0, 0, 0);
        w[8] = 0, w[1] = 1; /* y = x[2p, 2q+1] */
        ref_conv2d(all_f32(), &d, x, NULL, w, NULL, NULL, NULL);
        EXPECT("upper middle", 0, 2, 4, 10, 12);
    }
    CASE("conv2d asymmetric: rows shift up and left") {
        /* pt 1, pl 0: with a 2x2 kernel that picks the upper left, y[p,q] = x[p-1,q] */
        float w[4] = {1, 0, 0, 0}, x[6] = {1, 2, 3, 4, 5, 6};
        ref_conv2d_dims d = {.n = 1, .c = 1, .h = 2, .w = 3, .k = 1, .r = 2, .s = 2, .stride = 1, .up = 1, .pt = 1};
        ref_conv2d(all_f32(), &d, x, NULL, w, NULL, NULL, NULL);
        EXPECT("shift", 0, 0, 0, 1, 2);
    }
    CASE("conv2d upsamples before the window") {
        /* [1 2] enlarged is [1 1 2 2] twice; 1x3 window of ones without padding: 4, 5 on both rows */
        float x[2] = {1, 2}, w[3] = {1, 1, 1};
        ref_conv2d_dims d = {.n = 1, .c = 1, .h = 1, .w = 2, .k = 1, .r = 1, .s = 3, .stride = 1, .up = 2};
        ref_conv2d(all_f32(), &d, x, NULL, w, NULL, NULL, NULL);
        EXPECT("up", 0, 4, 5, 4, 5);
    }
    CASE("conv2d two inputs, two samples, every addend") {
        /* 1x1: channels (x0, x1 | x2); k=2. sample 0 pixel (1,2|3), sample 1 pixel (-1,0|2) */
        float x[4] = {1, 2, -1, 0}, x2[2] = {3, 2}, w[6] = {1, 10, 100, 2, 0, -1};
        float bias[2] = {0.5f, -0.5f}, vec[4] = {1000, 2000, 3000, 4000}, res[4] = {0.25f, 0, 0, -0.25f};
        ref_conv2d_dims d = {.n = 2, .c = 2, .c2 = 1, .h = 1, .w = 1, .k = 2, .r = 1, .s = 1, .stride = 1, .up = 1};
        ref_conv2d(all_f32(), &d, x, x2, w, bias, vec, res);
        EXPECT("addends", 0, 321 + 0.5 + 1000 + 0.25, -1 - 0.5 + 2000, 199 + 0.5 + 3000, -4 - 0.5 + 4000 - 0.25);
        /* K = 3 products and 3 addends, magnitude = the value (all positive) */
        expect_bound("addends", 0, U * 1321.75 + 2 * sqrt(6) * U * 1321.75);
        d.act = REF_RELU;
        ref_conv2d(all_f32(), &d, x, x2, w, NULL, NULL, NULL);
        EXPECT("relu", 0, 321, 0, 199, 0);
        CHECK(bound[1] == 0 + 0x1p-150 || bound[1] < 1e-30, "relu off: bound %g", bound[1]);
    }
    CASE("conv2d sampled outputs equal the full ones") {
        float x[5 * 4 * 3], w[4 * 3 * 9], bias[4] = {1, 2, 3, 4};
        double full[2 * 3 * 4], full_bound[2 * 3 * 4];
        for (int i = 0; i < 60; i++) x[i] = ldm_uniform(1, 0, (uint64_t)i);
        for (int i = 0; i < 108; i++) w[i] = ldm_uniform(1, 1, (uint64_t)i);
        ref_conv2d_dims d = {.n = 1,
                             .c = 3,
                             .h = 5,
                             .w = 4,
                             .k = 4,
                             .r = 3,
                             .s = 3,
                             .stride = 2,
                             .up = 1,
                             .pt = 1,
                             .pb = 1,
                             .pl = 1,
                             .pr = 1,
                             .act = REF_SILU};
        ref_conv2d(all_f16(), &d, x, NULL, w, bias, NULL, NULL);
        memcpy(full, y, sizeof full), memcpy(full_bound, bound, sizeof full_bound);
        int64_t which[] = {0, 5, 6, 17, 23};
        ref_out o = all_f16();
        o.which = which, o.count = 5;
        ref_conv2d(o, &d, x, NULL, w, bias, NULL, NULL);
        for (int i = 0; i < 5; i++)
            CHECK(y[i] == full[which[i]] && bound[i] == full_bound[which[i]], "element %d differs", (int)which[i]);
    }
}

static void gemm(void) {
    float x[6] = {1, 2, 3, 4, 5, 6};
    CASE("gemm: linear, transposed weight, batch") {
        float w[6] = {1, 0, -1, 2, 1, 0}; /* as [n=2,k=3] */
        ref_gemm_dims d = {.batch = 1, .m = 2, .n = 2, .k = 3};
        ref_gemm(all_f32(), &d, x, w, NULL, NULL, NULL);
        EXPECT("linear", 0, -2, 4, -2, 13);
        expect_bound("row 0", 0, U * 2 + 2 * sqrt(3) * U * 4); /* |1| + |0| + |-3| */
        d.wkn = true; /* the same six numbers as [k=3,n=2]: columns (1,-1,1) and (0,2,0) */
        ref_gemm(all_f32(), &d, x, w, NULL, NULL, NULL);
        EXPECT("wkn", 0, 2, 4, 5, 10);
        float bias[2] = {10, 20}, res[4] = {1, 2, 3, 4};
        ref_gemm(all_f32(), &d, x, w, bias, NULL, res);
        EXPECT("addends", 0, 13, 26, 18, 34);
        ref_gemm_dims b = {.batch = 2, .m = 1, .n = 1, .k = 3, .wbatch = true};
        ref_gemm(all_f32(), &b, x, w, NULL, NULL, NULL);
        EXPECT("two products", 0, -2, 13);
        b.wbatch = false;
        ref_gemm(all_f32(), &b, x, w, NULL, NULL, NULL);
        EXPECT("one weight", 0, -2, -2);
        float vec[2] = {100, 200}; /* one number for all rows of a batch element */
        ref_gemm(all_f32(), &b, x, w, NULL, vec, NULL);
        EXPECT("vector", 0, 98, 198);
        /* rows (1,2,3), (4,5,6) against (1,0,-1) and (2,1,0): values -2, -2; gates 4, 13, of which gelu is 3.99987, 13
         */
        ref_gemm_dims g = {.batch = 1, .m = 2, .n = 2, .k = 3, .geglu = true};
        ref_gemm(all_f32(), &g, x, w, NULL, NULL, NULL);
        double h = 4 * 0.99996832875816688, slope = 0.99996832875816688 + 4 * exp(-8) / sqrt(2 * acos(-1));
        EXPECT("geglu", 1e-14, -2 * h, -2 * 13.0);
        double ev = 2 * sqrt(3) * U * 4, eg = 2 * sqrt(3) * U * 4; /* |1| + |-3|; |2| + |2| */
        expect_bound("geglu", 0, U * 2 * h + ev * h + 2 * (eg * slope + 20 * U * 4) + U * 2 * h);
    }
    CASE("gemm: Strassen's products") {
        /* (1 2; 3 4)(5 6; 7 8): m1 65, m2 35, m3 -2, m4 8, m5 24, m6 22, m7 -30, and which of them a block is made of */
        float a[4] = {1, 2, 3, 4}, w[4] = {5, 7, 6, 8}, tail[2] = {1, 2}, w1[2] = {5, 7};
        ref_gemm_dims d = {.batch = 1, .m = 2, .n = 2, .k = 2};
        const ref_strassen halves = {1, 1};
        ref_gemm_strassen(all_f32(), &d, &halves, a, w, NULL, NULL, NULL);
        EXPECT("strassen", 0, 19, 22, 43, 50);
        const double reach[] = {65 + 8 + 24 + 30, 2 + 24, 35 + 8, 65 + 35 + 2 + 22};
        for (int i = 0; i < 4; i++) expect_bound("strassen", i, U * y[i] + 2 * sqrt(7) * U * reach[i]);
        d.wkn = true;
        float across[4] = {5, 6, 7, 8};
        ref_gemm_strassen(all_f32(), &d, &halves, a, across, NULL, NULL, NULL);
        EXPECT("strassen wkn", 0, 19, 22, 43, 50);
        for (int i = 0; i < 4; i++) expect_bound("strassen wkn", i, U * y[i] + 2 * sqrt(7) * U * reach[i]);
        /* one row is both halves, the column that is missing zeros: m1 3 * 5, m4 2 * 2, m5 0, m7 0 */
        d = (ref_gemm_dims){.batch = 1, .m = 1, .n = 1, .k = 2};
        ref_gemm_strassen(all_f32(), &d, &halves, tail, w1, NULL, NULL, NULL);
        EXPECT("strassen tails", 0, 19);
        expect_bound("strassen tails", 0, U * 19 + 2 * sqrt(7) * U * (15 + 4 + 0 + 0));
    }
}

static void norms(void) {
    CASE("group_norm: eps inside the root, per sample and group") {
        /* c = 4 in two groups, hw = 1: group (1,3): mean 2, var 1; group (5,5): var 0. eps 3: sd = 2 and sqrt 3 */
        float x[8] = {1, 3, 5, 5, 0, 0, 10, 14}, gamma[4] = {1, 2, 1, 1}, beta[4] = {0, 1, 7, 8};
        ref_group_norm_dims d = {.n = 2, .hw = 1, .c = 4, .groups = 2, .eps = 3, .act = REF_NONE};
        ref_group_norm(all_f32(), &d, x, gamma, beta, NULL);
        EXPECT("plain", 1e-15, -0.5, 2, 7, 8, 0, 1, 7 - 2 / sqrt(7), 8 + 2 / sqrt(7));
        float ss[16] = {1, 0, 0, 0, 0.5f, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 9};
        ref_group_norm(all_f32(), &d, x, gamma, beta, ss);
        EXPECT("scale-shift", 1e-14, -0.5 * 2 + 0.5, 2, 7, 8, 0, 1, 7 - 2 / sqrt(7), 9);
        d.act = REF_SILU;
        ref_group_norm(all_f32(), &d, x, gamma, beta, NULL);
        EXPECT("silu", 1e-15, -0.5 / (1 + exp(0.5)), 2 / (1 + exp(-2)));
    }
    CASE("group_norm: a group spans all pixels, biased variance") {
        /* hw = 2, one group of one channel each: channel 0 = (1, 5): mean 3, var 4; channel 1 = (2, 2) */
        float x[4] = {1, 2, 5, 2}, gamma[2] = {1, 1}, beta[2] = {0, 0};
        ref_group_norm_dims d = {.n = 1, .hw = 2, .c = 2, .groups = 2, .eps = 0};
        d.eps = 1e-300;
        ref_group_norm(all_f32(), &d, x, gamma, beta, NULL);
        EXPECT("pixels", 0, -1, 0, 1, 0);
        /* N = 2: dm = 2 sqrt 2 u 3 + 3u, dv = 2 (sqrt 2 + 4) u + dm^2/4; dz = 4u + dm/2 + dv/2 + u 2/2; storing adds u
         */
        double dm = (6 * sqrt(2) + 3) * U, dv = 2 * (sqrt(2) + 4) * U + dm * dm / 4;
        expect_bound("pixels", 0, 4 * U + dm / 2 + dv / 2 + U + U + U);
    }
    CASE("layer_norm: last axis only") {
        float x[6] = {1, 2, 3, 0, 0, 6}, gamma[3] = {1, 1, 2}, beta[3] = {0, 10, 0};
        ref_layer_norm(all_f32(), 2, 3, 1.0 / 3, x, gamma, beta); /* var 2/3 + 1/3 = 1; var 8 + 1/3 */
        double sd = sqrt(8 + 1.0 / 3);
        EXPECT("rows", 1e-15, -1, 10, 2, -2 / sd, 10 - 2 / sd, 8 / sd);
        int64_t which[] = {2, 3, 5};
        ref_out o = all_f32();
        o.which = which, o.count = 3;
        ref_layer_norm(o, 2, 3, 1.0 / 3, x, gamma, beta);
        EXPECT("sampled", 1e-15, 2, -2 / sd, 8 / sd);
    }
}

static void attention(void) {
    const double e = exp(1);
    CASE("attention: two keys, weights 1/(1+e)") {
        /* q.k = 0 and 2, scale 1/2: scores 0, 1 */
        float q[2] = {2, 0}, k[4] = {0, 5, 1, 7}, v[4] = {1, 10, 3, 20};
        ref_attention_dims d = {1, 1, 1, 2, 2, 2, 0, 2, 2, 0, 2, 2, 0, 2, 0.5, false};
        ref_attention(all_f32(), &d, q, k, v);
        EXPECT("weights", 1e-14, (1 + 3 * e) / (1 + e), (10 + 20 * e) / (1 + e));
    }
    CASE("attention: causal with more keys than queries") {
        /* nq = 2, nkv = 4, all scores 0: query 0 sees keys 0..2, query 1 all four */
        float q[2] = {0, 0}, k[4] = {1, 2, 3, 4}, v[4] = {3, 6, 9, 100};
        ref_attention_dims d = {.n = 1,
                                .heads = 1,
                                .nq = 2,
                                .nkv = 4,
                                .d = 1,
                                .q_row = 1,
                                .k_row = 1,
                                .v_row = 1,
                                .q_head = 1,
                                .k_head = 1,
                                .v_head = 1,
                                .scale = 1,
                                .causal = true};
        ref_attention(all_f32(), &d, q, k, v);
        EXPECT("causal", 1e-14, 6, 29.5);
        d.causal = false;
        ref_attention(all_f32(), &d, q, k, v);
        EXPECT("open", 1e-14, 29.5, 29.5);
    }
    CASE("attention: legacy order, q k v inside each head") {
        /* one token row: head 0 (q k v), head 1 (q k v), d = 1; two tokens. A key of the other head must not be seen.
         */
        float qkv[12] = {0, 5, 1, 1, 0, 10, 0, 6, 3, 2, 1, 20};
        ref_attention_dims d = {.n = 1,
                                .heads = 2,
                                .nq = 2,
                                .nkv = 2,
                                .d = 1,
                                .q_row = 6,
                                .k_row = 6,
                                .v_row = 6,
                                .q_head = 3,
                                .k_head = 3,
                                .v_head = 3,
                                .q_off = 0,
                                .k_off = 1,
                                .v_off = 2,
                                .scale = 1};
        ref_attention(all_f32(), &d, qkv, qkv, qkv);
        /* head 0: q = 0, uniform over (1, 3). head 1: keys 0, 1; token 0 q = 1, token 1 q = 2 */
        EXPECT("legacy", 1e-13, 2, (10 + 20 * e) / (1 + e), 2, (10 + 20 * e * e) / (1 + e * e));
        int64_t which[] = {1, 2, 3};
        ref_out o = all_f32();
        o.which = which, o.count = 3;
        ref_attention(o, &d, qkv, qkv, qkv);
        EXPECT("sampled", 1e-13, (10 + 20 * e) / (1 + e), 2, (10 + 20 * e * e) / (1 + e * e));
    }
    CASE("attention: d = 2 heads side by side, two samples, scores of a hundred") {
        float q[8] = {100, 0, 0, 100, 0, 0, 0, 0}, k[8] = {1, 0, 0, 1, 1, 1, 1, 1}, v[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        ref_attention_dims d = {.n = 2,
                                .heads = 2,
                                .nq = 1,
                                .nkv = 1,
                                .d = 2,
                                .q_row = 4,
                                .k_row = 4,
                                .v_row = 4,
                                .q_head = 2,
                                .k_head = 2,
                                .v_head = 2,
                                .scale = 1};
        ref_attention(all_f32(), &d, q, k, v); /* one key: the value itself */
        EXPECT("one key", 0, 1, 2, 3, 4, 5, 6, 7, 8);
        CHECK(bound[0] < 1e-6, "one key: no score can matter, bound %g", bound[0]);
    }
    CASE("softmax: shift does not matter, ninety does not overflow") {
        float x[6] = {0, 1, 2, 90, -90, 90};
        ref_softmax(all_f32(), 2, 3, 1, x);
        double s = 1 + e + e * e;
        EXPECT("rows", 1e-15, 1 / s, e / s, e * e / s, 0.5, 0, 0.5);
        CHECK(bound[4] >= 0x1p-125 && bound[4] < 1e-37, "underflow: bound %g", bound[4]);
        ref_softmax(all_f32(), 1, 3, 2, x);
        s = 1 + exp(2) + exp(4);
        EXPECT("scaled", 1e-15, 1 / s, exp(2) / s, exp(4) / s);
        /* all scores 0: p = 1/3, no score error, (2 sqrt 3 + 8) u p + u p */
        float zero[3] = {0};
        ref_softmax(all_f32(), 1, 3, 1, zero);
        expect_bound("uniform", 0, (2 * sqrt(3) + 9) * U / 3);
    }
}

static void elementwise(void) {
    float x[5] = {-2, -0.5f, 0, 0.5f, 2};
    CASE("activations") {
        /* Phi(2) = 0.97724986805182079, Phi(0.5) = 0.69146246127401310 (tables of the normal distribution) */
        ref_activation(all_f32(), 5, REF_FN_GELU, x);
        EXPECT("gelu is the exact one", 1e-15, -2 * (1 - 0.97724986805182079), -0.5 * (1 - 0.69146246127401310), 0,
               0.5 * 0.69146246127401310, 2 * 0.97724986805182079);
        ref_activation(all_f32(), 5, REF_FN_RELU, x);
        EXPECT("relu", 0, 0, 0, 0, 0.5, 2);
        CHECK(bound[3] == 0, "relu is exact");
        ref_activation(all_f32(), 5, REF_FN_SILU, x);
        EXPECT("silu", 1e-15, -2 / (1 + exp(2)), -0.5 / (1 + exp(0.5)), 0, 0.5 / (1 + exp(-0.5)), 2 / (1 + exp(-2)));
        ref_activation(all_f32(), 5, REF_FN_QUICK_GELU, x);
        EXPECT("quick_gelu", 1e-15, -2 / (1 + exp(3.404)), -0.5 / (1 + exp(0.851)), 0, 0.5 / (1 + exp(-0.851)),
               2 / (1 + exp(-3.404)));
        ref_activation(all_f32(), 5, REF_FN_TANH3, x);
        EXPECT("tanh3", 1e-15, -3 * tanh(2.0 / 3), -3 * tanh(0.5 / 3), 0, 3 * tanh(0.5 / 3), 3 * tanh(2.0 / 3));
        ref_activation(all_f32(), 5, REF_FN_CLAMP01, x);
        EXPECT("clamp01", 0, 0, 0, 0, 0.5, 1);
        ref_activation(all_f32(), 5, REF_FN_CLAMP11, x);
        EXPECT("clamp11", 0, -1, -0.5, 0, 0.5, 1);
    }
    CASE("activation behind a sum: the bound goes through the slope") {
        /* gemm with one product 2*1 and silu: e = 2u*2, f'(2) = s (1 + 2(1-s)) */
        float a[1] = {2}, w[1] = {1};
        ref_gemm_dims d = {.batch = 1, .m = 1, .n = 1, .k = 1, .act = REF_SILU};
        ref_gemm(all_f32(), &d, a, w, NULL, NULL, NULL);
        double s = 1 / (1 + exp(-2)), f = 2 * s;
        EXPECT("value", 1e-15, f);
        expect_bound("slope", 0, 4 * U * s * (1 + 2 * (1 - s)) + 16 * U * f + U * f);
    }
    CASE("geglu: value half times gelu of gate half") {
        float g[4] = {3, 4, 2, -0.5f};
        ref_geglu(all_f32(), 1, 2, g);
        EXPECT("geglu", 1e-14, 3 * 2 * 0.97724986805182079, 4 * -0.5 * (1 - 0.69146246127401310));
    }
    CASE("add repeats its second input; lincomb skips what is absent") {
        float a[4] = {1, 2, 3, 4}, b[2] = {10, 20}, coef[3] = {2, 5, -1};
        ref_add(all_f32(), 4, 2, a, b);
        EXPECT("add", 0, 11, 22, 13, 24);
        const float *terms[3] = {a, NULL, a};
        ref_lincomb(all_f32(), 4, 3, coef, terms);
        EXPECT("lincomb", 0, 1, 2, 3, 4);
        expect_bound("lincomb: two terms, magnitude 3", 0, U + 2 * sqrt(2) * U * 3);
    }
}

static void sampling(void) {
    CASE("guidance and the step counter") {
        float e[4] = {1, 2, 3, -2}, t[2] = {0, 41}; /* without: 1, 2; with: 3, -2 */
        ref_guidance(all_f32(), 2, 1.5f, e);
        EXPECT("guidance", 0, 4, -4);
        expect_bound("d = 3, y = 4", 0, U * 4 + U * (3 * 3 + 4));
        ref_guidance(all_f32(), 2, 0, e);
        EXPECT("scale 0 is unconditional", 0, 1, 2);
        ref_advance(all_f32(), 2, t);
        EXPECT("counter", 0, 1, 42);
        CHECK(bound[1] == 0, "a counter is exact");
    }
    CASE("guidance drawn towards the deviation of the conditional half, a deviation a sample") {
        /* deviations: with 1 and 3 (about means 5 and 0), guided 2 and 1: factors 1/2 + 1/2, 3/2 + 1/2 at phi 1/2 */
        float e[8] = {9, 9, 9, 9, 4, 6, -3, 3}, guided[4] = {1, 5, 10, 12};
        ref_rescale(all_f32(), 2, 2, 1, e, guided);
        EXPECT("phi 1", 1e-15, .5, 2.5, 30, 36);
        ref_rescale(all_f32(), 2, 2, .5f, e, guided);
        EXPECT("phi 1/2", 1e-15, .75, 3.75, 20, 24);
        ref_rescale(all_f32(), 2, 2, 0, e, guided);
        EXPECT("phi 0", 1e-15, 1, 5, 10, 12);
    }
    CASE("blending: the mask is one number a pixel") {
        float coef[8] = {2, -1, 1}, mask[2] = {1, .25f}, known[4] = {1, 2, 3, 4}, noise[4] = {0, 1, 2, 4},
              x[4] = {7, 8, 12, 16};
        ref_blend(all_f32(), 2, 2, coef, mask, known, noise, x);
        EXPECT("kept, and a quarter kept", 0, 2, 3, 10, 13);
        coef[2] = 0;
        ref_blend(all_f32(), 2, 2, coef, mask, known, noise, x);
        EXPECT("not now", 0, 7, 8, 12, 16);
    }
}

static void moves(void) {
    CASE("concat, upsample, avg_pool") {
        float a[4] = {1, 2, 3, 4}, b[2] = {5, 6};
        ref_concat(all_f32(), 2, 2, 1, a, b);
        EXPECT("concat", 0, 1, 2, 5, 3, 4, 6);
        ref_upsample(all_f32(), 1, 1, 2, 2, a);
        EXPECT("upsample", 0, 1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4);
        float m[9] = {1, 2, 100, 3, 4, 100, 100, 100, 100};
        ref_avg_pool(all_f32(), 1, 3, 3, 1, m);
        EXPECT("odd edge left out", 0, 2.5);
        CHECK(bound[0] > 0, "a mean is rounded");
    }
    CASE("window, place: shares of one pixel are one, the nearer to its middle the larger") {
        float m[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
        ref_window(all_f32(), 1, 3, 4, 1, 2, 3, 1, 1, m);
        EXPECT("rows 1 and 2, columns 1 to 3", 0, 6, 7, 8, 10, 11, 12);
        /* 2 x 5 windows in 2 x 8 at a stride of 2: columns 0, 2 and, flush, 3. By rows all weights are least, 0.01 */
        float ones[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
        ref_place(all_f32(), 1, 2, 8, 1, 2, 5, 0, 2, 2, ones, NULL);
        EXPECT("equal weights", 1e-15, 0, 0, .5, 1 / 3., 1 / 3., .5, .5, 0, 0, 0, .5, 1 / 3., 1 / 3., .5, .5, 0);
        /* 3 x 3 in 3 x 5 at 2: the middle row's weights are .01 .5 .01; they meet in column 2 */
        float had[15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        ref_place(all_f32(), 1, 3, 5, 1, 3, 3, 0, 0, 2, ones, had);
        EXPECT("onto", 1e-15, 2, 3, 3.5, 4, 5, 7, 8, 8.5, 9, 10, 12, 13, 13.5, 14, 15);
        CHECK(bound[3] == 0 && bound[0] > 0, "outside nothing is rounded");
    }
    CASE("embedding") {
        float ids[3] = {2, 0, 2}, table[6] = {1, 2, 3, 4, 5, 6};
        ref_embedding(all_f32(), 3, 3, 2, ids, table);
        EXPECT("rows", 0, 5, 6, 1, 2, 5, 6);
    }
    CASE("cast to f16: nearest even, denormals, overflow") {
        float x[9] = {1 + 0x1p-11f, 1 + 0x1.8p-10f, 65504, 65519, 65520, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, -70000};
        ref_cast(all_f16(), 9, x);
        double want[9] = {1, 1 + 0x1p-9, 65504, 65504, INFINITY, 0x1p-24, 0, 0x1p-24, -INFINITY};
        for (int i = 0; i < 9; i++)
            CHECK(y[i] == want[i] && bound[i] == 0, "cast %d: %.17g, by hand %.17g", i, y[i], want[i]);
        /* and every half is its own rounding, as the other room's table says */
        for (unsigned h = 0; h < 0x10000; h += 0x1000) {
            float f[0x1000];
            for (unsigned i = 0; i < 0x1000; i++) f[i] = ldm_f16_to_f32((uint16_t)(h + i));
            ref_cast(all_f16(), 0x1000, f);
            for (unsigned i = 0; i < 0x1000; i++)
                CHECK(y[i] == f[i] || isnan(f[i]), "half %04x: %g becomes %g", h + i, f[i], y[i]);
        }
        for (uint64_t i = 0; i < 4000; i++) {
            float f = ldexpf(ldm_uniform(3, 3, i), (int)(i % 48) - 30);
            ref_cast(all_f16(), 1, &f);
            CHECK(y[0] == ldm_f16_to_f32(ldm_f32_to_f16(f)), "%.9g becomes %.9g", f, y[0]);
        }
    }
    CASE("pixels") {
        float v[3] = {0, 128, 255}, x[6] = {-1, 0, 1, 2, -0.9f, 0.25f};
        ref_image_to_float(all_f32(), 3, 2 / 255.0, -1, v);
        EXPECT("to float", 1e-15, -1, 256 / 255.0 - 1, 1);
        ref_float_to_image(all_f32(), 6, 127.5, 127.5, false, x);
        EXPECT("trunc", 0, 0, 127, 255, 255, 12, 159);
        CHECK(bound[1] == 0 && bound[2] == 1 && bound[3] == 0, "trunc bounds %g %g %g", bound[1], bound[2], bound[3]);
        ref_float_to_image(all_f32(), 6, 127.5, 127.5, true, x);
        EXPECT("round", 0, 0, 128, 255, 255, 13, 159);
        CHECK(bound[0] == 0 && bound[1] == 1 && bound[4] == 0, "round bounds %g %g %g", bound[0], bound[1], bound[4]);
    }
    CASE("vq_lookup: ties to the lowest index") {
        float x[4] = {0, 0, 2, 2},
              book[8] = {3, 3, 1, 0, 0, -1, 2, 2.5f}; /* row 0: codewords 1 and 2 both at distance 1 */
        ref_vq_lookup(all_f32(), 2, 4, 2, x, book);
        EXPECT("nearest", 0, 1, 0, 2, 2.5);
        double d[4], b[4];
        ref_vq_distance(x + 2, book, 4, 2, d, b);
        CHECK(d[0] == 2 && d[1] == 5 && d[2] == 13 && d[3] == 0.25, "distances %g %g %g %g", d[0], d[1], d[2], d[3]);
        CHECK(fabs(b[0] - 2 * sqrt(6) * U * (8 + 24 + 18)) < 1e-15, "bound %g", b[0]);
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "reference");
    conv2d();
    gemm();
    norms();
    attention();
    elementwise();
    sampling();
    moves();
    return test_end();
}
