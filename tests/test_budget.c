/* test_budget.c -- keeping to a memory budget: what is chosen for numbers made up, in the order promised; and plans fitted to
 * smaller and smaller budgets, whose runs allocate no more than that and give the same bits. */
#include "model/model.h"
#include "plan/budget.h"
#include "test.h"

static ldm_cl *cl;
static bool for_cpus(void) { return ldm_cl_device(cl)->type == LDM_DEVICE_CPU; } /* GPUs cut small maps into few strips */
static uint64_t seed = 3;

/* Of a model whose parts are: text 2 (1 at least), network 10 (9 in turn, 3 at least), decoder 12 (5 in strips, 2 at least). */
static const ldm_needs needs = {.text = 2, .text_streamed = 1, .network = 10, .network_in_turn = 9, .network_streamed = 3,
                                .decoder = 12, .decoder_strips = 5, .decoder_streamed = 2};

static void chosen(size_t budget, const char *want, size_t peak) {
    ldm_budget b;
    char got[6] = "-----";
    const ldm_status st = ldm_budget_choose(&needs, budget, &b);
    if (b.in_turn) got[0] = 'g';
    if (b.free_text) got[1] = 't';
    if (b.free_network) got[2] = 'n';
    if (b.strips) got[3] = 's';
    if (b.stream) got[4] = 'w';
    CHECK(!strcmp(got, want) && b.peak == peak, "budget %zu: %s with a peak of %zu, wanted %s with %zu", budget, got, b.peak, want,
          peak);
    CHECK((st == LDM_OK) == (peak <= budget) && (st == LDM_OK || st == LDM_ERR_NOMEM), "budget %zu: %s", budget, ldm_message());
}

static void choices(void) {
    chosen(100, "-----", 24);
    chosen(24, "-----", 24);
    chosen(23, "g----", 23); /* two batches of one are first */
    chosen(22, "-t---", 22); /* the text encoder goes: what guidance saved is not needed any more */
    chosen(21, "gt---", 21);
    chosen(20, "--n--", 14);
    chosen(14, "--n--", 14);
    chosen(13, "-tn--", 12);
    chosen(12, "-tn--", 12);
    chosen(11, "-tns-", 10);
    chosen(10, "-tns-", 10);
    chosen(9, "gtns-", 9);
    chosen(8, "--nsw", 7); /* weights in groups: the network's least */
    chosen(6, "-tnsw", 5);
    chosen(5, "-tnsw", 5);
    chosen(4, "-tnsw", 3); /* the decoder's too */
    chosen(3, "-tnsw", 3);
    chosen(2, "gtnsw", 3); /* not to be done */
    ldm_budget b;
    ldm_text text = {0};
    CHECK_OK(ldm_budget_choose(&needs, 9, &b));
    ldm_budget_describe(&b, 9, &text);
    CHECK(strstr(text.s, "two batches of one, the text encoder freed before the network, the network freed before the decoder, exact"),
          "%s", text.s);
    ldm_text_free(&text);
    const ldm_needs alone = {.network = 10, .network_streamed = 4};
    CHECK_OK(ldm_budget_choose(&alone, 9, &b));
    CHECK(b.stream && !b.in_turn && !b.free_network && b.peak == 4, "a network alone: peak %zu", b.peak);
}

/* ---- plans fitted ------------------------------------------------------------------------------------------------ */

static ldm_plan *emit(bool decoder) {
    ldm_plan *p = NULL;
    ldm_stage_config s;
    ldm_unet_config u;
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    if (decoder) {
        CHECK_OK(ldm_stage_config_parse("kind=kl ch=32 ch_mult=1,2 num_res_blocks=1 z_channels=4", &s));
        ldm_plan_output(p, ldm_stage_emit_decoder(p, &s, ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)48, (int64_t)40, (int64_t)4))), "y");
    } else {
        CHECK_OK(ldm_unet_config_parse("in_channels=4 out_channels=4 model_channels=64 num_res_blocks=1 channel_mult=1,2 "
                                       "attention_resolutions=2 num_heads=2 use_spatial_transformer=1 context_dim=32", &u));
        ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)16, (int64_t)16, (int64_t)4)),
                   temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)64)),
                   context = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)3, (int64_t)32));
        ldm_plan_output(p, ldm_unet_emit(p, &u, x, temb, context, LDM_NONE, LDM_NONE), "y");
    }
    CHECK_OK(ldm_plan_fuse(p));
    return p;
}

static ldm_source w = {0};

/* What a run in a budget allocates at most; its result. */
static size_t run(ldm_plan *p, float *y) {
    ldm_exec *e = NULL;
    float x[48 * 40 * 4];
    ldm_cl *own = NULL;
    size_t peak = 0;
    CHECK_OK(ldm_cl_open(&(ldm_cl_options){.low_memory = false}, &own));
    CHECK_OK(ldm_exec_create(own, p, &w, NULL, &e));
    for (int i = 0; i < 48 * 40 * 4; i++) x[i] = ldm_uniform(1, 2, (uint64_t)i);
    for (int t = 0; t < p->tensors && e; t++)
        if (p->tensor[t].kind == LDM_INPUT) CHECK_OK(ldm_exec_write(e, t, x));
    for (int i = 0; i < 2 && e; i++) CHECK_OK(ldm_exec_run(e, 0));
    if (e) CHECK_OK(ldm_exec_read(e, ldm_plan_find(p, "y"), y));
    peak = ldm_cl_peak_bytes(own);
    ldm_exec_destroy(e);
    ldm_cl_close(own);
    return peak;
}

static void fitted(bool decoder) {
    static float want[96 * 80 * 3], got[96 * 80 * 3];
    const ldm_device *d = ldm_cl_device(cl);
    ldm_memory whole, m;
    ldm_plan *p = emit(decoder);
    CHECK_OK(ldm_plan_fit(p, d, &w, SIZE_MAX, !decoder, &whole));
    const size_t all = run(p, want), count = (size_t)ldm_shape_count(&p->tensor[ldm_plan_find(p, "y")].shape);
    CHECK(!whole.striped && !whole.groups && all == ldm_memory_bytes(&whole), "%zu bytes, planned are %zu", all, ldm_memory_bytes(&whole));
    ldm_plan_destroy(p);
    int fit = 0, striped = 0, grouped = 0;
    bool first = true;
    for (int part = 19; part >= 2; part--) { /* of twenty */
        const size_t budget = all / 20 * (size_t)part;
        p = emit(decoder);
        if (ldm_plan_fit(p, d, &w, budget, !decoder, &m)) {
            CHECK(strstr(ldm_message(), "the plan needs"), "%d/20: %s", part, ldm_message());
        } else {
            const size_t peak = run(p, got);
            CHECK(peak <= budget, "%d/20: %zu bytes allocated, %zu may be", part, peak, budget);
            CHECK(peak == ldm_memory_bytes(&m), "%d/20: %zu bytes allocated, %zu planned", part, peak, ldm_memory_bytes(&m));
            CHECK(!memcmp(want, got, count * sizeof *got), "%d/20: other bits", part);
            if (first) CHECK(decoder ? m.striped && !m.groups : m.groups && !m.striped, "%d/20: %d steps in strips, %d groups", part, m.striped, m.groups);
            first = false;
            fit++, striped += m.striped > 0, grouped += m.groups > 0;
        }
        ldm_plan_destroy(p);
    }
    const bool coarse = decoder && !for_cpus();
    CHECK(fit >= (coarse ? 2 : 8) && (coarse || grouped) && (!decoder || striped), "%d budgets could be kept, %d in strips, %d in groups", fit, striped, grouped);
}

/* Maps that a device shares with the host need the memory all the same. */
static void shared(void) {
    ldm_device d = *ldm_cl_device(cl);
    ldm_memory whole, m;
    ldm_plan *p = emit(true);
    d.unified = true, d.all_bytes = SIZE_MAX;
    CHECK_OK(ldm_plan_fit(p, &d, &w, SIZE_MAX, false, &whole));
    const size_t budget = ldm_memory_bytes(&whole) / 20 * (for_cpus() ? 10 : 18);
    CHECK_OK(ldm_plan_fit(p, &d, &w, budget, false, &m));
    CHECK(m.striped && m.host, "nothing is in host memory");
    d.all_bytes = budget;
    CHECK(ldm_plan_fit(p, &d, &w, budget, false, &m) == LDM_ERR_NOMEM && strstr(ldm_message(), "in host memory"), "%s", ldm_message());
    ldm_plan_destroy(p);
}

/* SD 1.5's network with f16 weights at 512 x 512: both halves of guidance within 2.0 GB, and within 0.7 GB in groups; kl-f8
 * at 1024 x 1024 within 0.6 GB beside its weights. */
static void promised(void) {
    const ldm_device *d = ldm_cl_device(cl);
    ldm_memory m = {0};
    for (int n = 1; n <= 2; n++) {
        ldm_plan *p = NULL;
        CHECK_OK(ldm_plan_create(LDM_F32, LDM_F16, &p));
        ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)n, (int64_t)64, (int64_t)64, (int64_t)4)),
                   temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)n, (int64_t)320)),
                   context = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)n, (int64_t)77, (int64_t)768));
        ldm_plan_output(p, ldm_unet_emit(p, &ldm_config_find("sd15")->unet, x, temb, context, LDM_NONE, LDM_NONE), "y");
        CHECK_OK(ldm_plan_fuse(p));
        CHECK_OK(ldm_plan_fit(p, d, NULL, 2000000000, true, &m));
        CHECK(!m.groups && !m.striped, "%d at a time do not fit 2.0 GB as they are", n);
        CHECK_OK(ldm_plan_fit(p, d, NULL, 700000000, true, &m));
        CHECK(m.groups && !m.striped && ldm_memory_bytes(&m) <= 700000000, "%d at a time: %zu bytes in %d groups", n,
              ldm_memory_bytes(&m), m.groups);
        ldm_plan_destroy(p);
    }
    ldm_plan *p = NULL;
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F16, &p));
    ldm_tensor z = ldm_plan_input(p, "z", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)128, (int64_t)128, (int64_t)4));
    ldm_plan_output(p, ldm_stage_emit_decoder(p, ldm_stage_find("kl-f8"), z), "y");
    CHECK_OK(ldm_plan_fuse(p));
    CHECK_OK(ldm_plan_fit(p, d, NULL, SIZE_MAX, false, &m));
    CHECK_OK(ldm_plan_fit(p, d, NULL, m.weights + 600000000, false, &m));
    CHECK(m.striped && !m.groups && m.activations + m.scratch <= 600000000, "%zu bytes beside the weights, %d groups",
          m.activations + m.scratch, m.groups);
    ldm_plan_destroy(p);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "budget");
    w = ldm_source_synthetic(&seed);
    CASE("choices") choices();
    CASE("device") CHECK_OK(ldm_cl_open(&(ldm_cl_options){.low_memory = false}, &cl));
    if (cl) {
        CASE("a decoder in smaller and smaller budgets") fitted(true);
        CASE("a network in smaller and smaller budgets") fitted(false);
        CASE("memory that is shared") shared();
        CASE("SD 1.5 in 2.0 and 0.7 GB, kl-f8 in 0.6 GB") promised();
    }
    ldm_cl_close(cl);
    return test_end();
}
