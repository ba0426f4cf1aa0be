/* test_models.c -- the networks as text: parameters, tensors and multiply-adds of every configuration against counts
 * taken from the authors' classes; channel flow, shapes and the details that ruin a port without an error;
 * configuration text. Binding is in test_bind.c, results against PyTorch in test_networks.c. */
#include "model/model.h"
#include "model/text_encoder.h"
#include "test.h"
#include <math.h>

/* A plan of one network, batch 1. */
typedef struct net {
    ldm_plan *plan;
    ldm_tensor out;
} net;

static void net_free(net *n) { ldm_plan_destroy(n->plan), n->plan = NULL; }

static net unet_with(const ldm_unet_config *u, int64_t side, int64_t tokens) {
    net n = {0};
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &n.plan));
    ldm_plan *p = n.plan;
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, (int64_t)u->in_channels));
    ldm_tensor temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->model_channels));
    ldm_tensor context = LDM_NONE, labels = LDM_NONE, guidance = LDM_NONE;
    if (u->use_spatial_transformer)
        context = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, tokens, (int64_t)u->context_dim));
    if (u->num_classes) labels = ldm_plan_input(p, "class", LDM_I32, ldm_shape_of(1, (int64_t)1));
    if (u->time_cond_proj_dim)
        guidance = ldm_plan_input(p, "guidance", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->time_cond_proj_dim));
    n.out = ldm_unet_emit(p, u, x, temb, context, labels, guidance);
    return n;
}

static net unet_at(const ldm_unet_config *u, int64_t side) { return unet_with(u, side, 1); }

static net stage_at(const ldm_stage_config *s, bool encoder, int64_t side) {
    net n = {0};
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &n.plan));
    int64_t c = encoder ? 3 : ldm_stage_latent_channels(s);
    ldm_tensor x = ldm_plan_input(n.plan, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, c));
    n.out = encoder ? ldm_stage_emit_encoder(n.plan, s, x) : ldm_stage_emit_decoder(n.plan, s, x);
    return n;
}

static bool close_to(double got, double want) { return fabs(got - want) <= 0.01 * want; }

/* ---- counts ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int64_t params; /* exact; or of two decimals in millions, when tensors is 0 */
    int tensors;
    double gmac; /* at the native latent, batch 1; 0: not counted */
} unets[] = {{"cin-ldm-1", 396835971, 806, 594.2},
             {"cin-ldm-2", 390888578, 746, 269.3},
             {"cin-ldm-4", 400920579, 688, 104.2},
             {"cin-ldm-8", 394984196, 626, 57.0},
             {"cin-ldm-16", 395002632, 626, 13.7},
             {"cin-ldm-32", 395113248, 626, 3.41},
             {"celeba-ldm-1", 270458115, 0, 566.4},
             {"celeba-ldm-2", 264510722, 0, 241.5},
             {"celeba-ldm-4", 274056163, 368, 101.2},
             {"celeba-ldm-8", 257733124, 0, 39.8},
             {"celeba-ldm-16", 257751560, 0, 9.40},
             {"celeba-ldm-32", 257862176, 0, 2.33},
             {"celeba256", 274056163, 368, 101.2},
             {"ffhq256", 274056163, 368, 101.2},
             {"lsun_beds256", 274056163, 368, 101.2},
             {"lsun_churches256", 294966916, 520, 20.9},
             {"cin256", 394984196, 626, 57.0},
             {"cin256-v2", 400920579, 688, 104.2},
             {"text2img256", 403620000, -1, 105.7},
             {"txt2img-1p4B", 872300484, 686, 91.0},
             {"layout2img-openimages256", 246280000, -1, 75.6},
             {"semantic_synthesis256", 215229315, 216, 103.8},
             {"semantic_synthesis512", 215229315, 216, 0},
             {"bsr_sr", 113622563, 306, 40.2},
             {"inpainting_big", 387245827, 416, 150.4},
             {"rdm768", 1335480000, -1, 346.9},
             {"sd15", 859520964, 686, 401.6},
             {"sd15-inpainting", 859535364, 686, 0},
             {"sd2-base", 865910724, 686, 0},
             {"sd2", 865910724, 686, 0},
             {"sd2-inpainting", 865925124, 686, 0},
             {"sd2-depth", 865913604, 686, 0},
             {"sd-x4-upscaler", 473398020, 687, 0}};

static void test_unet_counts(void) {
    int listed = 0;
    for (const ldm_config *const *c = ldm_config_list(); *c; c++) listed++;
    CHECK(listed == (int)(sizeof unets / sizeof *unets), "%d configurations, %zu counted here", listed,
          sizeof unets / sizeof *unets);
    for (size_t i = 0; i < sizeof unets / sizeof *unets; i++) {
        const ldm_config *c = ldm_config_find(unets[i].name);
        CHECK(c, "%s: %s", unets[i].name, ldm_message());
        if (!c) continue;
        net n = unet_with(&c->unet, c->latent, c->tokens);
        CHECK_OK(n.plan->status);
        int tensors = 0;
        int64_t params = ldm_plan_params(n.plan, &tensors), off = llabs(params - unets[i].params);
        double gmac = ldm_plan_macs(n.plan, -1) * 1e-9;
        CHECK(unets[i].tensors < 0 ? off <= 5000 : off == 0, "%s: %lld parameters, wanted %lld", c->name,
              (long long)params, (long long)unets[i].params);
        CHECK(unets[i].tensors <= 0 || tensors == unets[i].tensors, "%s: %d tensors, wanted %d", c->name, tensors,
              unets[i].tensors);
        CHECK(!unets[i].gmac || close_to(gmac, unets[i].gmac), "%s: %.2f GMAC, wanted %.2f", c->name, gmac,
              unets[i].gmac);
        CHECK(ldm_stage_find(c->stage), "%s: %s", c->name, ldm_message());
        const ldm_shape want =
            ldm_shape_of(4, (int64_t)1, (int64_t)c->latent, (int64_t)c->latent, (int64_t)c->unet.out_channels);
        CHECK(ldm_shape_equal(&ldm_plan_tensor(n.plan, n.out)->shape, &want),
              "%s: output has another shape than the latent", c->name);
        net_free(&n);
    }
}

static const struct {
    const char *name;
    int64_t params, encoder, decoder; /* encoder. and decoder. alone, 0: not counted */
    int tensors;
    double encode, decode; /* GMAC for 256 x 256; 0: not counted */
} stages[] = {{"kl-f4", 55312063, 0, 0, 204, 0, 0},
              {"kl-f8", 83653863, 34163592, 49490179, 248, 0, 0},
              {"kl-f16", 69610963, 0, 0, 342, 0, 0},
              {"kl-f32", 103880131, 0, 0, 436, 0, 0},
              {"vq-f4", 55322782, 22337411, 32960771, 205, 172.6, 335.3},
              {"vq-f4-noattn", 53219486, 0, 0, 185, 151.1, 313.8},
              {"vq-f8", 67717295, 0, 0, 299, 113.1, 236.2},
              {"vq-f8-n256", 67652783, 0, 0, 299, 0, 0},
              {"vq-f16", 69593371, 0, 0, 343, 68.9, 126.1},
              {"vq-f2", 0, 0, 0, 0, 114, 205},      /* our guess, counted once */
              {"vq-f32", 0, 0, 0, 0, 67.7, 125.7}}; /* our guess, counted once */

/* Parameters whose name starts with `start`. */
static int64_t params_of(const ldm_plan *p, const char *start) {
    int64_t n = 0;
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].kind == LDM_PARAM && !strncmp(p->tensor[i].name, start, strlen(start)))
            n += ldm_shape_count(&p->tensor[i].shape);
    return n;
}

static void test_stage_counts(void) {
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        const ldm_stage_config *s = ldm_stage_find(stages[i].name);
        CHECK(s, "%s", ldm_message());
        if (!s) continue;
        int f = ldm_stage_factor(s), t_enc = 0, t_dec = 0;
        net enc = stage_at(s, true, 256), dec = stage_at(s, false, 256 / f);
        CHECK_OK(enc.plan->status);
        CHECK_OK(dec.plan->status);
        int64_t params = ldm_plan_params(enc.plan, &t_enc) + ldm_plan_params(dec.plan, &t_dec);
        CHECK(!stages[i].params || params == stages[i].params, "%s: %lld parameters, wanted %lld", s->name,
              (long long)params, (long long)stages[i].params);
        CHECK(!stages[i].tensors || t_enc + t_dec == stages[i].tensors, "%s: %d tensors, wanted %d", s->name,
              t_enc + t_dec, stages[i].tensors);
        CHECK(!stages[i].encoder || params_of(enc.plan, "encoder.") == stages[i].encoder, "%s: encoder of %lld",
              s->name, (long long)params_of(enc.plan, "encoder."));
        CHECK(!stages[i].decoder || params_of(dec.plan, "decoder.") == stages[i].decoder, "%s: decoder of %lld",
              s->name, (long long)params_of(dec.plan, "decoder."));
        double e = ldm_plan_macs(enc.plan, -1) * 1e-9, d = ldm_plan_macs(dec.plan, -1) * 1e-9;
        CHECK(!stages[i].encode || close_to(e, stages[i].encode), "%s: encode %.2f GMAC, wanted %.2f", s->name, e,
              stages[i].encode);
        CHECK(!stages[i].decode || close_to(d, stages[i].decode), "%s: decode %.2f GMAC, wanted %.2f", s->name, d,
              stages[i].decode);
        ldm_shape want = ldm_shape_of(4, (int64_t)1, (int64_t)(256 / f), (int64_t)(256 / f),
                                      (int64_t)s->embed_dim * (s->kind == LDM_STAGE_KL ? 2 : 1));
        CHECK(ldm_shape_equal(&ldm_plan_tensor(enc.plan, enc.out)->shape, &want), "%s: shape of the latent", s->name);
        want = ldm_shape_of(4, (int64_t)1, (int64_t)256, (int64_t)256, (int64_t)3);
        CHECK(ldm_shape_equal(&ldm_plan_tensor(dec.plan, dec.out)->shape, &want), "%s: shape of the picture", s->name);
        net_free(&enc), net_free(&dec);
    }
    /* as many tensors as the released TAEF2 files hold */
    const ldm_stage_config *t = ldm_stage_find("taef2");
    net enc = stage_at(t, true, 64), dec = stage_at(t, false, 8);
    int t_enc = 0, t_dec = 0;
    ldm_plan_params(enc.plan, &t_enc), ldm_plan_params(dec.plan, &t_dec);
    CHECK(t_enc == 79 && t_dec == 79, "taef2: %d and %d tensors", t_enc, t_dec);
    net_free(&enc), net_free(&dec);
}

static net text_at(const ldm_text_config *c, int skip) {
    net n = {0};
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &n.plan));
    n.out = ldm_text_emit(
        n.plan, c, ldm_plan_input(n.plan, "ids", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)c->length)), skip);
    return n;
}

/* Counted with what the authors' modules hold and the context does not depend on: BERT's to_logits, OpenCLIP's
 * projection and logit scale. */
static void test_text_counts(void) {
    static const struct {
        const char *name;
        int64_t params, unused;
        int tensors, unused_tensors;
    } texts[] = {{"bert-1280x32", 581994042, 30522 * 1281, 422, 2},
                 {"bert-640x32", 186154682, 30522 * 641, 0, 2},
                 {"bert-512x16", 58858496, 8192 * 513, 214, 2},
                 {"clip-l", 123060480, 0, 0, 0},
                 {"openclip-h", 354032641, 1024 * 1024 + 1, 0, 2}};
    int listed = 0;
    for (const ldm_text_config *const *c = ldm_text_list(); *c; c++) listed++;
    CHECK(listed == (int)(sizeof texts / sizeof *texts), "%d text encoders", listed);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const ldm_text_config *c = ldm_text_find(texts[i].name);
        CHECK(c, "%s", ldm_message());
        if (!c) continue;
        for (int skip = 1; skip <= 2; skip++) { /* layers that are not run are bound all the same */
            net n = text_at(c, skip);
            int tensors = 0;
            int64_t params = ldm_plan_params(n.plan, &tensors) + texts[i].unused;
            CHECK_OK(n.plan->status);
            CHECK(params == texts[i].params, "%s: %lld parameters, wanted %lld", c->name, (long long)params,
                  (long long)texts[i].params);
            CHECK(!texts[i].tensors || tensors + texts[i].unused_tensors == texts[i].tensors,
                  "%s: %d tensors, wanted %d", c->name, tensors + texts[i].unused_tensors, texts[i].tensors);
            const ldm_shape want = ldm_shape_of(3, (int64_t)1, (int64_t)c->length, (int64_t)c->width);
            CHECK(ldm_shape_equal(&ldm_plan_tensor(n.plan, n.out)->shape, &want), "%s: shape of the context", c->name);
            ldm_plan_output(n.plan, n.out, "y");
            int written = n.plan->steps, a_layer = c->kind == LDM_TEXT_OPENCLIP ? 7 : 9;
            CHECK_OK(ldm_plan_fuse(n.plan));
            CHECK(written - n.plan->steps == (skip - 1) * a_layer, "%s: %d of %d steps are run at clip-skip %d",
                  c->name, n.plan->steps, written, skip);
            net_free(&n);
        }
    }
    for (const ldm_config *const *c = ldm_config_list(); *c; c++) {
        const ldm_text_config *t = (*c)->text ? ldm_text_find((*c)->text) : NULL;
        CHECK(!(*c)->text || (t && t->width == (*c)->unet.context_dim && t->length == (*c)->tokens),
              "%s and its text encoder do not fit one another", (*c)->name);
        CHECK(((*c)->tokens > 0) == (*c)->unet.use_spatial_transformer, "%s: %d tokens", (*c)->name, (*c)->tokens);
    }
}

/* ---- structure ------------------------------------------------------------------------------------------------- */

static void expect_shape(const ldm_plan *p, const char *param, const char *want) {
    char got[128];
    ldm_tensor t = ldm_plan_find(p, param);
    CHECK(t != LDM_NONE, "no parameter %s", param);
    if (t == LDM_NONE) return;
    ldm_shape_text(&ldm_plan_tensor(p, t)->shape, got, sizeof got);
    CHECK(!strcmp(got, want), "%s is %s, wanted %s", param, got, want);
}

/* Problems of the step(s) under `scope` that read parameter `param` (its full name); NULL if there is none. */
static const char *problem_of(const ldm_plan *p, const char *param) {
    static char text[LDM_PROBLEM_TEXT];
    ldm_tensor t = ldm_plan_find(p, param);
    for (int i = 0; t != LDM_NONE && i < p->steps; i++)
        for (int j = 0; j < LDM_MAX_SLOTS; j++)
            if (p->step[i].slot[j] == t) return ldm_problem_text(&p->step[i].problem, text, sizeof text);
    return NULL;
}

static void expect_problem(const ldm_plan *p, const char *param, const char *want) {
    const char *got = problem_of(p, param);
    CHECK(got && !strcmp(got, want), "%s is read by '%s', wanted '%s'", param, got ? got : "nothing", want);
}

/* cin256-v2, block 4 goes from 192 to 384 channels. */
static void test_shapes(void) {
    net n = unet_at(&ldm_config_find("cin256-v2")->unet, 64);
    const ldm_plan *p = n.plan;
    expect_shape(p, "time_embed.0.weight", "[768, 192]");
    expect_shape(p, "input_blocks.0.0.weight", "[192, 3, 3, 3]");
    expect_shape(p, "input_blocks.3.0.op.weight", "[192, 192, 3, 3]");
    expect_shape(p, "input_blocks.4.0.in_layers.0.weight", "[192]");
    expect_shape(p, "input_blocks.4.0.in_layers.2.weight", "[384, 192, 3, 3]");
    expect_shape(p, "input_blocks.4.0.emb_layers.1.weight", "[384, 768]");
    expect_shape(p, "input_blocks.4.0.out_layers.3.weight", "[384, 384, 3, 3]");
    expect_shape(p, "input_blocks.4.0.skip_connection.weight", "[384, 192, 1, 1]");
    expect_shape(p, "input_blocks.4.1.proj_in.weight", "[384, 384, 1, 1]");
    expect_shape(p, "input_blocks.4.1.transformer_blocks.0.attn1.to_k.weight", "[384, 384]");
    expect_shape(p, "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", "[384, 512]");
    expect_shape(p, "input_blocks.4.1.transformer_blocks.0.ff.net.0.proj.weight", "[3072, 384]");
    expect_shape(p, "input_blocks.4.1.transformer_blocks.0.ff.net.2.weight", "[384, 1536]");
    expect_shape(p, "output_blocks.2.2.conv.weight", "[960, 960, 3, 3]");
    expect_shape(p, "out.2.weight", "[3, 192, 3, 3]");
    CHECK(ldm_plan_find(p, "input_blocks.4.1.transformer_blocks.0.attn1.to_q.bias") == LDM_NONE, "to_q has a bias");
    net_free(&n);
    n = unet_at(&ldm_config_find("sd2-base")->unet, 64);
    expect_shape(n.plan, "input_blocks.1.1.proj_in.weight", "[320, 320]");
    net_free(&n);
    n = stage_at(ldm_stage_find("vq-f8"), false, 32);
    expect_shape(n.plan, "quantize.embedding.weight", "[16384, 4]");
    expect_shape(n.plan, "decoder.mid.attn_1.q.weight", "[512, 512, 1, 1]");
    expect_shape(n.plan, "decoder.up.3.attn.2.proj_out.weight", "[512, 512, 1, 1]");
    expect_shape(n.plan, "decoder.up.2.block.0.nin_shortcut.weight", "[256, 512, 1, 1]");
    net_free(&n);
}

/* Input and output channels of every ResBlock of output_blocks, attention and upsampling, as text. */
static void flow(const ldm_plan *p, const char *blocks, int count, ldm_text *out) {
    char name[128];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s.%d.0.in_layers.2.weight", blocks, i);
        ldm_tensor t = ldm_plan_find(p, name);
        if (t != LDM_NONE) {
            const ldm_shape *s = &ldm_plan_tensor(p, t)->shape;
            ldm_text_add(out, "%s%lld>%lld", out->len ? " " : "", (long long)s->dim[1], (long long)s->dim[0]);
        } else {
            ldm_text_add(out, "%s-", out->len ? " " : "");
        }
        bool attends = false, up = false;
        for (int k = 1; k <= 2; k++) {
            snprintf(name, sizeof name, "%s.%d.%d.norm.weight", blocks, i, k);
            attends |= ldm_plan_find(p, name) != LDM_NONE;
            snprintf(name, sizeof name, "%s.%d.%d.conv.weight", blocks, i, k);
            up |= ldm_plan_find(p, name) != LDM_NONE;
        }
        ldm_text_add(out, "%s%s", attends ? "a" : "", up ? "U" : "");
    }
}

static void expect_flow(const char *config, int64_t side, const char *blocks, int count, const char *want) {
    net n = unet_at(&ldm_config_find(config)->unet, side);
    ldm_text got = {0};
    flow(n.plan, blocks, count, &got);
    CHECK(got.s && !strcmp(got.s, want), "%s %s: '%s', wanted '%s'", config, blocks, got.s, want);
    ldm_text_free(&got);
    net_free(&n);
}

static void test_flow(void) {
    expect_flow("celeba256", 64, "input_blocks", 12,
                "- 224>224 224>224 - 224>448a 448>448a - 448>672a 672>672a - 672>896a 896>896a");
    expect_flow("celeba256", 64, "output_blocks", 12,
                "1792>896a 1792>896a 1568>896aU 1568>672a 1344>672a 1120>672aU 1120>448a 896>448a 672>448aU 672>224 "
                "448>224 448>224");
    expect_flow(
        "cin-ldm-1", 32, "output_blocks", 18,
        "1536>768a 1536>768a 1536>768aU 1536>768a 1536>768a 1152>768aU 1152>384a 768>384a 768>384aU 768>384 768>384 "
        "576>384U 576>192 384>192 384>192U 384>192 384>192 384>192");
}

/* ---- details that change nothing in shapes but everything in results ------------------------------------------- */

static void test_traps(void) {
    const ldm_config *c = ldm_config_find("cin256");
    net n = unet_at(&c->unet, 32);
    const ldm_plan *p = n.plan;
    /* eps: 1e-5 in ResBlock, 1e-6 in SpatialTransformer */
    expect_problem(p, "input_blocks.1.0.in_layers.0.weight", "group_norm:f32 n=1 hw=1024 c=256 groups=32 act=silu");
    expect_problem(p, "input_blocks.1.1.norm.weight", "group_norm:f32 n=1 hw=1024 c=256 groups=32 eps=1e-06");
    expect_problem(p, "out.0.weight", "group_norm:f32 n=1 hw=1024 c=256 groups=32 act=silu");
    expect_problem(p, "input_blocks.1.1.transformer_blocks.0.norm1.weight", "layer_norm:f32 rows=1024 c=256");
    /* the UNet pads on both sides, where it halves and where it doubles */
    expect_problem(p, "input_blocks.3.0.op.weight",
                   "conv2d:f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3 stride=2 pt=1 pb=1 pl=1 pr=1 +bias");
    expect_problem(p, "output_blocks.2.2.conv.weight",
                   "conv2d:f32 n=1 c=1024 h=8 w=8 k=1024 r=3 s=3 up=2 pt=1 pb=1 pl=1 pr=1 +bias");
    /* the time rides in the first convolution, the skip in the second */
    expect_problem(p, "input_blocks.1.0.in_layers.2.weight",
                   "conv2d:f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3 pt=1 pb=1 pl=1 pr=1 +bias +vec");
    expect_problem(p, "input_blocks.1.0.out_layers.3.weight",
                   "conv2d:f32 n=1 c=256 h=32 w=32 k=256 r=3 s=3 pt=1 pb=1 pl=1 pr=1 +bias +residual");
    net_free(&n);

    /* the released cross-attention models of December 2021 and the ablation have one head, whatever their configs say
     */
    static const char *const one_head[] = {"cin256",     "cin256-v2", "text2img256", "layout2img-openimages256",
                                           "cin-ldm-1",  "cin-ldm-2", "cin-ldm-4",   "cin-ldm-8",
                                           "cin-ldm-16", "cin-ldm-32"};
    for (size_t i = 0; i < sizeof one_head / sizeof *one_head; i++)
        CHECK(ldm_config_find(one_head[i])->unet.num_heads == 1, "%s has %d heads", one_head[i],
              ldm_config_find(one_head[i])->unet.num_heads);
    CHECK(ldm_config_find("rdm768")->unet.num_head_channels == 32, "rdm768 has heads of 32");

    /* self-attention without a transformer: one tensor, packed head by head */
    n = unet_at(&ldm_config_find("celeba256")->unet, 64);
    int legacy = 0, others = 0;
    for (int i = 0; i < n.plan->steps; i++) {
        char text[LDM_PROBLEM_TEXT];
        if (strcmp(n.plan->step[i].problem.op->name, "attention")) continue;
        ldm_problem_text(&n.plan->step[i].problem, text, sizeof text);
        *(strstr(text, "d=32 layout=legacy") ? &legacy : &others) += 1;
    }
    CHECK(legacy == 16 && others == 0, "celeba256: %d attentions of width 32 in legacy order, %d others", legacy,
          others);
    expect_shape(n.plan, "input_blocks.4.1.qkv.weight", "[1344, 448, 1]");
    expect_problem(n.plan, "input_blocks.4.1.norm.weight", "group_norm:f32 n=1 hw=1024 c=448 groups=32");
    net_free(&n);

    /* attention factors that are never reached leave only the middle */
    n = unet_at(&ldm_config_find("semantic_synthesis256")->unet, 64);
    int attentions = 0;
    for (int i = 0; i < n.plan->steps; i++) attentions += !strcmp(n.plan->step[i].problem.op->name, "attention");
    CHECK(attentions == 1, "semantic_synthesis256 attends in %d places", attentions);
    net_free(&n);

    /* resampling residual blocks: no weights beside the block's, scale and shift of the second norm */
    n = unet_at(&ldm_config_find("lsun_churches256")->unet, 32);
    expect_shape(n.plan, "input_blocks.3.0.emb_layers.1.weight", "[384, 768]");
    expect_shape(n.plan, "output_blocks.2.1.in_layers.2.weight", "[768, 768, 3, 3]");
    expect_problem(n.plan, "input_blocks.3.0.out_layers.0.weight",
                   "group_norm:f32 n=1 hw=256 c=192 groups=32 act=silu +scaleshift");
    net_free(&n);

    /* the autoencoder: eps 1e-6, zeros right and below only, attention where the level has the size at 256 */
    n = stage_at(ldm_stage_find("vq-f8"), true, 64);
    expect_problem(n.plan, "encoder.down.0.block.0.norm1.weight",
                   "group_norm:f32 n=1 hw=4096 c=128 groups=32 act=silu eps=1e-06");
    expect_problem(n.plan, "encoder.down.0.downsample.conv.weight",
                   "conv2d:f32 n=1 c=128 h=64 w=64 k=128 r=3 s=3 stride=2 pb=1 pr=1 +bias");
    expect_problem(n.plan, "encoder.mid.attn_1.norm.weight", "group_norm:f32 n=1 hw=64 c=512 groups=32 eps=1e-06");
    CHECK(ldm_plan_find(n.plan, "encoder.down.3.attn.0.q.weight") != LDM_NONE, "vq-f8 attends at its last level");
    CHECK(ldm_plan_find(n.plan, "encoder.down.2.attn.0.q.weight") == LDM_NONE, "vq-f8 attends at its last level only");
    net_free(&n);
    n = stage_at(ldm_stage_find("vq-f4-noattn"), true, 64);
    CHECK(ldm_plan_find(n.plan, "encoder.mid.attn_1.q.weight") == LDM_NONE,
          "attn_type none has no attention in the middle");
    net_free(&n);
    /* the codebook comes before everything else in the decoder */
    n = stage_at(ldm_stage_find("vq-f4"), false, 16);
    CHECK(!strcmp(n.plan->step[0].problem.op->name, "vq_lookup"), "the decoder of vq-f4 starts with %s",
          n.plan->step[0].problem.op->name);
    net_free(&n);
    /* the tiny autoencoder pads both sides where it halves */
    n = stage_at(ldm_stage_find("taesd"), true, 64);
    expect_problem(n.plan, "2.weight", "conv2d:f32 n=1 c=64 h=64 w=64 k=64 r=3 s=3 stride=2 pt=1 pb=1 pl=1 pr=1");
    expect_problem(n.plan, "1.conv.4.weight",
                   "conv2d:f32 n=1 c=64 h=64 w=64 k=64 r=3 s=3 pt=1 pb=1 pl=1 pr=1 act=relu +bias +residual");
    net_free(&n);
}

/* What changes no shape in a text encoder. */
static void test_text_traps(void) {
    net n = text_at(ldm_text_find("clip-l"), 1);
    const char *layer = "transformer.text_model.encoder.layers.0";
    expect_problem(n.plan, "transformer.text_model.encoder.layers.0.mlp.fc1.weight",
                   "gemm:f32 m=77 n=3072 k=768 act=quick_gelu +bias");
    for (int i = 0; i < n.plan->steps; i++) {
        char text[LDM_PROBLEM_TEXT];
        ldm_problem_text(&n.plan->step[i].problem, text, sizeof text);
        if (strcmp(n.plan->step[i].problem.op->name, "attention") || strcmp(n.plan->step[i].scope, layer)) continue;
        CHECK(!strcmp(text, "attention:f32 n=1 heads=12 nq=77 nkv=77 d=64 causal=yes"), "%s", text);
    }
    net_free(&n);
    n = text_at(ldm_text_find("openclip-h"), 2);
    expect_shape(n.plan, "model.transformer.resblocks.23.attn.in_proj_weight", "[3072, 1024]");
    expect_shape(n.plan, "model.transformer.resblocks.0.attn.in_proj_bias", "[3072]");
    expect_problem(n.plan, "model.transformer.resblocks.0.mlp.c_fc.weight",
                   "gemm:f32 m=77 n=4096 k=1024 act=gelu +bias");
    net_free(&n);
    /* heads of 64, eight of them, whatever the width; no biases in front of the scores */
    n = text_at(ldm_text_find("bert-1280x32"), 1);
    expect_shape(n.plan, "transformer.attn_layers.layers.0.1.to_q.weight", "[512, 1280]");
    expect_shape(n.plan, "transformer.attn_layers.layers.62.1.to_out.weight", "[1280, 512]");
    expect_problem(n.plan, "transformer.attn_layers.layers.1.1.net.0.0.weight",
                   "gemm:f32 m=77 n=5120 k=1280 act=gelu +bias");
    CHECK(ldm_plan_find(n.plan, "transformer.attn_layers.layers.0.1.to_q.bias") == LDM_NONE, "to_q has a bias");
    net_free(&n);
    CHECK(ldm_text_find("clip-l")->pad == 49407 && ldm_text_find("openclip-h")->pad == 0 &&
              ldm_text_find("openclip-h")->skip == 2,
          "padding and clip-skip");
}

static void test_guidance_classes(void) {
    CHECK(ldm_config_find("cin256-v2")->n_classes == 1001 && ldm_config_find("cin256-v2")->null_class == 1000,
          "cin256-v2: null class");
    for (const ldm_config *const *c = ldm_config_list(); *c; c++)
        CHECK(!strcmp((*c)->name, "cin256-v2") || (*c)->null_class == -1, "%s has null class %d", (*c)->name,
              (*c)->null_class);
    int guesses = 0;
    for (const ldm_stage_config *const *s = ldm_stage_list(); *s; s++) guesses += (*s)->guess != NULL;
    CHECK(guesses == 2, "%d first stages are marked as guesses", guesses);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void expect_fail(ldm_status st, ldm_status want, const char *words) {
    CHECK(st == want && strstr(ldm_message(), words), "status %d '%s', wanted %d '%s'", st, st ? ldm_message() : "",
          want, words);
}

static void test_refused(void) {
    ldm_unet_config u = ldm_config_find("cin-ldm-8")->unet;
    net n = unet_at(&u, 30);
    expect_fail(n.plan->status, LDM_ERR_ARG, "wanted multiples of 4");
    net_free(&n);
    u.num_heads = 3;
    n = unet_at(&u, 32);
    expect_fail(n.plan->status, LDM_ERR_ARG, "cannot be cut into num_heads 3");
    net_free(&n);
    u.num_heads = 1, u.num_res_blocks = 1000;
    n = unet_at(&u, 32);
    expect_fail(n.plan->status, LDM_ERR_ARG, "residual blocks");
    net_free(&n);
    n = stage_at(ldm_stage_find("kl-f8"), true, 100);
    expect_fail(n.plan->status, LDM_ERR_ARG, "kl-f8: input is 100 x 100, wanted multiples of 8");
    net_free(&n);
    CHECK(!ldm_config_find("cin-ldm-3") && strstr(ldm_message(), "cin-ldm-16"), "%s", ldm_message());
    CHECK(!ldm_stage_find("vq-f3") && strstr(ldm_message(), "vq-f2"), "%s", ldm_message());
}

static void test_text_refused(void) {
    ldm_text_config c;
    CHECK_OK(ldm_text_config_parse("kind=bert width=192 layers=3 length=24", &c));
    CHECK(c.kind == LDM_TEXT_BERT && c.vocab == 30522 && c.heads == 8 && c.head_width == 64 && c.hidden == 768 &&
              !c.quick_gelu && c.pad == 0 && c.skip == 1,
          "BERT's defaults");
    CHECK_OK(ldm_text_config_parse("kind=clip width=128 layers=2", &c));
    CHECK(c.kind == LDM_TEXT_CLIP && c.vocab == 49408 && c.length == 77 && c.heads == 2 && c.quick_gelu &&
              c.pad == 49407 && c.skip == 1,
          "CLIP's defaults");
    CHECK_OK(
        ldm_text_config_parse("kind=openclip width=64 layers=2 heads=4 head_width=16 quick_gelu=1 pad=3 skip=1", &c));
    CHECK(c.heads == 4 && c.quick_gelu && c.pad == 3 && c.skip == 1, "fields of a text encoder");
    net n = text_at(&c, 3);
    expect_fail(n.plan->status, LDM_ERR_ARG, "clip-skip 3: wanted 1 to 2");
    net_free(&n);
    c.head_width = 8;
    n = text_at(&c, 1);
    expect_fail(n.plan->status, LDM_ERR_ARG, "4 heads of 8 are not its width 64");
    net_free(&n);
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &n.plan));
    ldm_text_emit(n.plan, ldm_text_find("clip-l"),
                  ldm_plan_input(n.plan, "ids", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)76)), 1);
    expect_fail(n.plan->status, LDM_ERR_ARG, "ids have shape [1, 76], wanted [n, 77]");
    net_free(&n);
    expect_fail(ldm_text_config_parse("width=64 layers=2", &c), LDM_ERR_ARG, "kind= must be one of");
    expect_fail(ldm_text_config_parse("kind=clip layers=2", &c), LDM_ERR_ARG, "width and layers");
    expect_fail(ldm_text_config_parse("kind=clip width=64 layers=2 skip=3", &c), LDM_ERR_ARG, "skip 3: wanted 1 to 2");
    expect_fail(ldm_text_config_parse("kind=clip width=64 depth=2", &c), LDM_ERR_ARG, "no field 'depth'");
    CHECK(!ldm_text_find("clip-g") && strstr(ldm_message(), "openclip-h"), "%s", ldm_message());
}

static void test_parse(void) {
    ldm_unet_config u;
    ldm_stage_config s;
    CHECK_OK(
        ldm_unet_config_parse("in_channels=3 out_channels=5\tmodel_channels=32  channel_mult=1,2,4 num_res_blocks=1\n"
                              "attention_resolutions=1,2 num_head_channels=16 resblock_updown=1",
                              &u));
    CHECK(u.in_channels == 3 && u.out_channels == 5 && u.levels == 3 && u.channel_mult[2] == 4 &&
              u.num_res_blocks == 1 && u.attentions == 2 && u.attention_resolutions[1] == 2 &&
              u.num_head_channels == 16 && u.resblock_updown && !u.use_scale_shift_norm && u.transformer_depth == 1,
          "fields");
    static const char ok[] = "in_channels=3 out_channels=3 model_channels=32 channel_mult=1,2 num_heads=2 ";
    static const struct {
        const char *more, *words;
    } bad[] = {{"model_chanels=3", "no field 'model_chanels'; there are in_channels"},
               {"channel_mult=1,0", "above 0"},
               {"channel_mult=1,2,x", "channel_mult=1,2,x"},
               {"channel_mult=1,1,1,1,1,1,1,1,1", "at most 8 numbers"},
               {"model_channels=-1", "model_channels=-1"},
               {"model_channels=99999999999999999999", "2^20"},
               {"num_heads", "name=value"},
               {"resblock_updown=2", "0 or 1"},
               {"num_head_channels=32", "one of num_heads"},
               {"=3", "name=value"},
               {"use_spatial_transformer=1", "needs context_dim"},
               {"model_channels=", "model_channels="},
               {"channel_mult=", "above 0"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s%s", ok, bad[i].more);
        expect_fail(ldm_unet_config_parse(text, &u), LDM_ERR_ARG, bad[i].words);
    }
    CHECK_OK(ldm_unet_config_parse(
        "in_channels=3 out_channels=3 model_channels=32 channel_mult=1 num_heads=2 attention_resolutions=", &u));
    CHECK(u.attentions == 0, "an empty list");
    CHECK_OK(ldm_stage_config_parse("kind=vq z_channels=4 n_embed=16 ch_mult=1,2", &s));
    CHECK(s.kind == LDM_STAGE_VQ && s.embed_dim == 4 && s.ch == 128 && s.levels == 2 && !s.attn_none,
          "fields of a first stage");
    CHECK_OK(ldm_stage_config_parse("kind=taesd z_channels=32 pool=1", &s));
    CHECK(s.kind == LDM_STAGE_TAESD && s.pool && ldm_stage_factor(&s) == 8 && ldm_stage_latent_channels(&s) == 32,
          "taesd");
    expect_fail(ldm_stage_config_parse("kind=vae z_channels=4 ch_mult=1", &s), LDM_ERR_ARG, "kind");
    expect_fail(ldm_stage_config_parse("z_channels=4 ch_mult=1", &s), LDM_ERR_ARG, "kind= must be one of");
    expect_fail(ldm_stage_config_parse("kind=vq z_channels=4 ch_mult=1", &s), LDM_ERR_ARG, "n_embed");
    expect_fail(ldm_stage_config_parse("kind=kl ch_mult=1", &s), LDM_ERR_ARG, "z_channels");
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "models");
    CASE("unet counts") test_unet_counts();
    CASE("stage counts") test_stage_counts();
    CASE("text encoder counts") test_text_counts();
    CASE("shapes") test_shapes();
    CASE("channel flow") test_flow();
    CASE("traps") test_traps();
    CASE("text encoder traps") test_text_traps();
    CASE("text encoders refused") test_text_refused();
    CASE("classes and guesses") test_guidance_classes();
    CASE("refused") test_refused();
    CASE("configuration text") test_parse();
    return test_end();
}
