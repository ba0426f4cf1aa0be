/* test_weights.c -- weights kept as f16, bf16 and q8_0: how a block of q8_0 is made, against its reference and bound, and
 * as bytes; which layers keep what where a plan asks for q8_0; and what keeping weights so does to a network's result. */
#include "model/model.h"
#include "reference/reference.h"
#include "test.h"
#include <math.h>

static ldm_cl *cl; /* NULL: no device */

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* `step` apart, between values that must be left alone. */
static void check_block(const char *what, const float *w, int64_t step) {
    float spread[LDM_Q8_BLOCK * 9], back[LDM_Q8_BLOCK];
    double want[LDM_Q8_BLOCK], bound;
    uint16_t scale;
    int8_t q[LDM_Q8_BLOCK];
    uint8_t bytes[2][LDM_Q8_BYTES];
    const ldm_shape shape = ldm_shape_of(3, (int64_t)1, (int64_t)LDM_Q8_BLOCK, step);
    for (int i = 0; i < LDM_Q8_BLOCK * step; i++) spread[i] = i % step ? 3e4f : w[i / step];
    ref_q8(w, want, &bound);
    ldm_q8_encode(spread, step, &scale, q);
    ldm_from_f32(LDM_Q8_0, w, LDM_Q8_BLOCK, bytes[0]);
    ldm_to_f32(LDM_Q8_0, bytes[0], LDM_Q8_BLOCK, back);
    CHECK(!memcmp(bytes[0], &scale, 2) && !memcmp(bytes[0] + 2, q, sizeof q), "%s: bytes are not scale and numbers",
          what);
    ldm_round_tensor(LDM_Q8_0, &shape, spread);
    for (int i = 0; i < LDM_Q8_BLOCK; i++) {
        CHECK((double)back[i] == want[i], "%s: %g became %.9g, wanted %.17g", what, w[i], back[i], want[i]);
        CHECK(fabs((double)w[i] - back[i]) <= bound, "%s: %g became %g, off by more than %g", what, w[i], back[i], bound);
        CHECK(spread[i * step] == back[i], "%s: %g in a tensor, %g in a block", what, spread[i * step], back[i]);
    }
    /* what came back is made of the same bytes */
    ldm_from_f32(LDM_Q8_0, back, LDM_Q8_BLOCK, bytes[1]);
    if (ldm_f16_to_f32(scale) >= 0x1p-14f)
        CHECK(!memcmp(bytes[0], bytes[1], sizeof bytes[0]), "%s: other bytes the second time", what);
}

static void blocks(void) {
    float w[LDM_Q8_BLOCK] = {0};
    char what[60];
    check_block("zeros", w, 1);
    for (int e = -40; e <= 22; e++)
        for (uint64_t seed = 0; seed < 40; seed++) {
            snprintf(what, sizeof what, "2^%d, seed %d", e, (int)seed);
            for (uint64_t i = 0; i < LDM_Q8_BLOCK; i++) w[i] = ldexpf(ldm_uniform(seed, (uint64_t)(e + 99), i), e);
            check_block(what, w, 1 + (int64_t)seed % 9);
        }
    /* the scale is 1/4: ties between numbers, and both ends */
    for (int i = 0; i < LDM_Q8_BLOCK; i++) w[i] = ((float)i - 15.5f) / 4;
    w[3] = 127 / 4.0f, w[4] = -127 / 4.0f;
    check_block("ties", w, 4);
    /* one large, the rest vanish or are one number */
    for (int i = 0; i < LDM_Q8_BLOCK; i++) w[i] = (float)i * 1e-3f;
    w[31] = -8321000;
    check_block("huge", w, 1);
    for (int i = 0; i < LDM_Q8_BLOCK; i++) w[i] = ldexpf((float)(i - 16), -30);
    check_block("scale denormal or zero", w, 1);
    /* ties of the scale itself: halfway between two halves, from both sides of an even one */
    for (int k = 0; k < 64; k++) {
        memset(w, 0, sizeof w);
        w[0] = 127 * (1 + (2 * (float)k + 1) * 0x1p-11f);
        check_block("tie of the scale", w, 1);
    }
}

/* ---- which layers keep what -------------------------------------------------------------------------------------- */

static void kept(const char *problem, ldm_dtype asked, const char *want) {
    ldm_problem p;
    char text[LDM_PROBLEM_TEXT];
    CHECK_OK(ldm_problem_parse(problem, &p));
    ldm_problem_weights(&p, asked);
    ldm_problem_text(&p, text, sizeof text);
    CHECK(!strncmp(text, want, strlen(want)) && text[strlen(want)] == ' ', "%s as %s: %s, wanted %s", problem,
          ldm_dtype_name(asked), text, want);
}

static void choices(void) {
    static const char *const conv = "conv2d n=1 c=64 h=4 w=4 k=8", *const odd = "conv2d n=1 c=4 h=4 w=4 k=8";
    kept(conv, LDM_Q8_0, "conv2d:f32*q8_0");
    kept(conv, LDM_BF16, "conv2d:f32*bf16");
    kept(conv, LDM_F32, "conv2d:f32");
    kept(odd, LDM_Q8_0, "conv2d:f32*f16");
    kept(odd, LDM_BF16, "conv2d:f32*bf16");
    kept("conv2d n=1 c=64 c2=8 h=4 w=4 k=8", LDM_Q8_0, "conv2d:f32*f16");
    kept("gemm:f16 m=2 n=3 k=96", LDM_Q8_0, "gemm:f16*q8_0");
    kept("gemm m=2 n=3 k=40", LDM_Q8_0, "gemm:f32*f16");
    kept("gemm m=2 n=3 k=32 +wkn", LDM_Q8_0, "gemm:f32*f16");
    kept("gemm m=2 n=3 k=32 +wbatch", LDM_F16, "gemm:f32"); /* there w is an activation */
    kept("embedding rows=2 entries=3 c=32", LDM_F16, "embedding:f32");
    kept("group_norm n=1 hw=4 c=32 groups=8", LDM_Q8_0, "group_norm:f32");
    ldm_problem p;
    const ldm_status st = ldm_problem_parse("gemm:f32*q8_0 m=2 n=3 k=40", &p);
    CHECK(st == LDM_ERR_ARG && strstr(ldm_message(), "no whole blocks"), "status %d: %s", st, ldm_message());
}

/* ---- a network --------------------------------------------------------------------------------------------------- */

enum { SIDE = 8, CHANNELS = 4, WIDTH = 64, OUTPUTS = SIDE * SIDE * CHANNELS };

/* A UNet with weights kept as t; its result, how many layers have weights, and how many bytes those take on the device. */
static void run(ldm_dtype t, bool device, float *y, int *layers, size_t *bytes) {
    ldm_status st = LDM_OK;
    uint64_t seed = 5;
    ldm_unet_config c;
    ldm_plan *p = NULL;
    ldm_exec *e = NULL;
    float x[OUTPUTS], temb[WIDTH];
    ldm_source w = ldm_source_synthetic(&seed);
    TRY(ldm_unet_config_parse("in_channels=4 out_channels=4 model_channels=64 channel_mult=1,2 num_res_blocks=1 "
                              "attention_resolutions=2 num_heads=4",
                              &c));
    TRY(ldm_plan_create(LDM_F32, t, &p));
    ldm_tensor in = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)SIDE, (int64_t)SIDE, (int64_t)CHANNELS));
    ldm_tensor time = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)WIDTH));
    ldm_plan_output(p, ldm_unet_emit(p, &c, in, time, LDM_NONE, LDM_NONE, LDM_NONE), "y");
    TRY(ldm_plan_fuse(p));
    TRY(ldm_plan_finish(p, device ? ldm_cl_device(cl)->max_alloc : SIZE_MAX / 4, device ? ldm_cl_device(cl)->base_align : 64));
    for (int i = *layers = 0; i < p->steps; i++) *layers += ldm_op_slot_index(p->step[i].problem.op, "w") >= 0;
    if (device) {
        ldm_memory m;
        ldm_device direct = *ldm_cl_device(cl);
        direct.exact = true; /* Winograd's filters are floats whatever the weights are kept as */
        TRY(ldm_exec_memory(p, &direct, &w, &m));
        *bytes = m.weights;
        TRY(ldm_exec_create(cl, p, &w, NULL, &e));
    } else TRY(ldm_exec_create_reference(p, &w, &e));
    for (uint64_t i = 0; i < OUTPUTS; i++) x[i] = 1.7f * ldm_uniform(1, 1, i);
    for (uint64_t i = 0; i < WIDTH; i++) temb[i] = ldm_uniform(1, 2, i);
    TRY(ldm_exec_write(e, in, x));
    TRY(ldm_exec_write(e, time, temb));
    TRY(ldm_exec_run(e, 0));
    TRY(ldm_exec_read(e, ldm_plan_find(p, "y"), y));
done:
    CHECK(st == LDM_OK, "%s: %s", ldm_dtype_name(t), ldm_message());
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
}

/* rms(a - b) / rms(b) */
static double distance(const float *a, const float *b) {
    double d = 0, n = 0;
    for (int i = 0; i < OUTPUTS; i++) d += pow((double)a[i] - b[i], 2), n += pow(b[i], 2);
    return sqrt(d / n);
}

/* Weights of a layer are drawn evenly from +-a. Rounding moves each by an independent amount of rms r a, so the layer's result by
 * r sqrt 3 of its own rms: evenly over +-scale / 2 = +-a / 254 (q8_0), r sqrt 3 = 1 / 254; over half an ulp, relative at most u
 * and on average about u / sqrt 3 / 1.4 (f16 and bf16), below u. Every layer adds such a part, norms keep signals and parts in
 * proportion, and independent parts add up as squares: about sqrt(layers) of one, at most (residual paths shield most of the
 * signal from most layers). A wrong scale or block moves a layer's result by its own size. */
static void network(ldm_dtype t, double part) {
    float *y = calloc(3 * OUTPUTS, sizeof *y);
    int layers = 0;
    size_t bytes = 0, whole = 0;
    run(LDM_F32, false, y, &layers, &bytes);
    run(t, false, y + OUTPUTS, &layers, &bytes);
    const double moved = distance(y + OUTPUTS, y), most = part * sqrt(layers);
    printf("%s: %d layers, result moved by %.2e of itself, at most %.2e\n", test_case_name, layers, moved, most);
    CHECK(moved <= most && moved >= most / 30, "moved by %g, wanted %g to %g", moved, most / 30, most);
    if (cl) {
        run(t, true, y + 2 * OUTPUTS, &layers, &bytes);
        const double off = distance(y + 2 * OUTPUTS, y + OUTPUTS);
        CHECK(off <= 1e-5, "device and references differ by %g of the result", off);
        run(LDM_F32, true, y + 2 * OUTPUTS, &layers, &whole);
        printf("%s: weights %zu bytes, %zu as f32\n", test_case_name, bytes, whole);
        CHECK((double)bytes < (t == LDM_Q8_0 ? 0.32 : 0.55) * (double)whole, "%zu bytes of weights, %zu as f32", bytes, whole);
    }
    free(y);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "weights");
    if (ldm_cl_open(NULL, &cl)) printf("no device: %s\n", ldm_message());
    CASE("q8_0 blocks") blocks();
    CASE("what is kept as what") choices();
    CASE("network, f16") network(LDM_F16, 0x1p-11);
    CASE("network, bf16") network(LDM_BF16, 0x1p-8);
    CASE("network, q8_0") network(LDM_Q8_0, 1.0 / 254);
    int status = test_end();
    ldm_cl_close(cl);
    return status;
}
