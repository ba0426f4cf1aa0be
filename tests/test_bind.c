/* test_bind.c -- plans bound to checkpoints: prefixes, averaged weights, equal shapes, what is missing, misshapen or
 * left over, numbers that are no numbers; and which network a file is said to be. Files are written by the .safetensors
 * writer; for identification they are headers in front of holes, since only shapes matter. */
#include "model/model.h"
#include "model/text_encoder.h"
#include "test.h"
#include <math.h>
#include <unistd.h>

static char folder[] = "/tmp/ldm-test-bind-XXXXXX";
static char path[64];

/* ---- small plans and files ------------------------------------------------------------------------------------- */

static const char small[] =
    "in_channels=3 out_channels=3 model_channels=32 channel_mult=1 num_res_blocks=1 num_heads=2 "
    "attention_resolutions=1 ";

static ldm_plan *unet_plan(const char *more, ldm_dtype weights) {
    char text[512];
    ldm_unet_config u;
    ldm_plan *p = NULL;
    const ldm_dtype dtype = weights == LDM_F16 ? LDM_F16 : LDM_F32;
    snprintf(text, sizeof text, "%s%s", small, more);
    CHECK_OK(ldm_unet_config_parse(text, &u));
    CHECK_OK(ldm_plan_create(dtype, weights, &p));
    ldm_tensor x = ldm_plan_input(p, "x", dtype, ldm_shape_of(4, (int64_t)1, (int64_t)4, (int64_t)4, (int64_t)3));
    ldm_tensor temb = ldm_plan_input(p, "temb", dtype, ldm_shape_of(2, (int64_t)1, (int64_t)32)), context = LDM_NONE;
    if (u.context_dim)
        context = ldm_plan_input(p, "context", dtype, ldm_shape_of(3, (int64_t)1, (int64_t)1, (int64_t)u.context_dim));
    ldm_plan_output(p, ldm_unet_emit(p, &u, x, temb, context, LDM_NONE, LDM_NONE), "y");
    CHECK_OK(p->status);
    return p;
}

static ldm_plan *stage_plan(const ldm_stage_config *s, bool encoder) {
    ldm_plan *p = NULL;
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    int64_t side = encoder ? ldm_stage_factor(s) : 1, c = encoder ? 3 : ldm_stage_latent_channels(s);
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, c));
    if (encoder) ldm_stage_emit_encoder(p, s, x);
    else ldm_stage_emit_decoder(p, s, x);
    CHECK_OK(p->status);
    return p;
}

/* What a file holds: the parameters of plans under prefixes, and single tensors. Every element of a tensor is its
 * value. */
typedef struct entry {
    char name[160];
    ldm_shape shape;
    float value;
} entry;
static entry entries[4096];
static int n_entries;

static entry *add(const char *name, ldm_shape shape, float value) {
    entry *e = &entries[n_entries++];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->shape = shape, e->value = value;
    return e;
}

static void add_plan(const ldm_plan *p, const char *prefix, float value) {
    char name[160];
    for (int i = 0; i < p->tensors; i++) {
        if (p->tensor[i].kind != LDM_PARAM) continue;
        snprintf(name, sizeof name, "%s%s", prefix, p->tensor[i].name);
        add(name, p->tensor[i].shape, value);
    }
}

static void add_ema(const ldm_plan *p, float value) {
    for (int i = 0; i < p->tensors; i++) {
        char name[160] = "model_ema.diffusion_model";
        size_t n = strlen(name);
        if (p->tensor[i].kind != LDM_PARAM) continue;
        for (const char *s = p->tensor[i].name; *s; s++)
            if (*s != '.') name[n++] = *s;
        name[n] = 0;
        add(name, p->tensor[i].shape, value);
    }
}

static entry *entry_of(const char *name) {
    for (int i = 0; i < n_entries; i++)
        if (!strcmp(entries[i].name, name)) return &entries[i];
    CHECK(false, "the test has no tensor %s", name);
    return &entries[0];
}

static void drop(const char *name) { *entry_of(name) = entries[--n_entries]; }

/* Writes the entries, opens the file and clears the list. */
static ldm_ckpt *file(void) {
    ldm_st_writer *w = NULL;
    ldm_ckpt *c = NULL;
    CHECK_OK(ldm_st_create(path, NULL, &w));
    for (int i = 0; i < n_entries; i++) CHECK_OK(ldm_st_declare(w, entries[i].name, LDM_F32, &entries[i].shape));
    for (int i = 0; i < n_entries; i++) {
        int64_t n = ldm_shape_count(&entries[i].shape);
        float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
        for (int64_t k = 0; k < n; k++) x[k] = entries[i].value;
        CHECK_OK(ldm_st_data(w, x));
        free(x);
    }
    CHECK_OK(ldm_st_commit(w));
    CHECK_OK(ldm_ckpt_open(path, &c));
    n_entries = 0;
    return c;
}

/* The value a bound plan gives a parameter; NaN after a failure. */
static float loaded(const ldm_plan *p, ldm_binding *b, const char *param) {
    ldm_tensor t = ldm_plan_find(p, param);
    ldm_source s = ldm_binding_source(b);
    if (t == LDM_NONE || !b) return NAN;
    float *x = malloc((size_t)ldm_shape_count(&p->tensor[t].shape) * sizeof *x), v = NAN;
    if (s.load(s.self, &p->tensor[t], x) == LDM_OK) v = x[0];
    free(x);
    return v;
}

static ldm_status bind(const ldm_plan *p, const ldm_ckpt *c, ldm_bind_options o) {
    ldm_binding *b = NULL;
    ldm_status st = ldm_bind(p, c, &o, &b);
    ldm_binding_destroy(b);
    return st;
}

static void expect(ldm_status st, const char *words) {
    CHECK(st == LDM_ERR_FORMAT && strstr(ldm_message(), words), "status %d '%s', wanted '%s'", st,
          st ? ldm_message() : "", words);
}

/* ---- cases ----------------------------------------------------------------------------------------------------- */

static void test_places(void) {
    static const char *const prefixes[] = {"", "diffusion_model.", "model.diffusion_model."};
    ldm_plan *p = unet_plan("", LDM_F32);
    for (int i = 0; i < 3; i++) {
        ldm_binding *b = NULL;
        add_plan(p, prefixes[i], 0.25f);
        ldm_ckpt *c = file();
        CHECK_OK(ldm_bind(p, c, NULL, &b));
        CHECK(loaded(p, b, "out.2.weight") == 0.25f, "prefix '%s'", prefixes[i]);
        ldm_binding_destroy(b);
        ldm_ckpt_close(c);
    }
    /* everything a whole checkpoint holds besides */
    add_plan(p, "model.diffusion_model.", 0.25f);
    static const char *const others[] = {"betas",
                                         "alphas_cumprod_prev",
                                         "sqrt_recipm1_alphas_cumprod",
                                         "posterior_mean_coef1",
                                         "scale_factor",
                                         "model_ema.decay",
                                         "model_ema.num_updates",
                                         "loss.logvar",
                                         "first_stage_model.encoder.conv_in.weight",
                                         "first_stage_model.loss.logvar",
                                         "cond_stage_model.transformer.token_emb.weight",
                                         "logvar"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) add(others[i], ldm_shape_of(1, (int64_t)3), 1);
    ldm_ckpt *c = file();
    CHECK_OK(bind(p, c, (ldm_bind_options){0}));
    ldm_ckpt_close(c);
    ldm_plan_destroy(p);
}

static void test_ema(void) {
    ldm_plan *p = unet_plan("", LDM_F32);
    for (int ema = 0; ema < 2; ema++) {
        ldm_binding *b = NULL;
        add_plan(p, "model.diffusion_model.", 0.25f);
        add_ema(p, 0.5f);
        ldm_ckpt *c = file();
        CHECK_OK(ldm_bind(p, c, &(ldm_bind_options){.ema = ema}, &b));
        CHECK(loaded(p, b, "middle_block.1.qkv.weight") == (ema ? 0.5f : 0.25f), "ema %d", ema);
        ldm_binding_destroy(b);
        ldm_ckpt_close(c);
    }
    /* asked for, but the file has none: the others */
    add_plan(p, "model.diffusion_model.", 0.25f);
    ldm_ckpt *c = file();
    CHECK_OK(bind(p, c, (ldm_bind_options){.ema = true}));
    ldm_ckpt_close(c);
    add_plan(p, "model.diffusion_model.", 0.25f);
    add_ema(p, 0.5f);
    drop("model_ema.diffusion_modelout2weight");
    c = file();
    expect(bind(p, c, (ldm_bind_options){.ema = true}),
           "1 are missing (model_ema.diffusion_modelout2weight [3, 32, 3, 3])");
    CHECK_OK(bind(p, c, (ldm_bind_options){0}));
    ldm_ckpt_close(c);
    ldm_plan_destroy(p);
}

static void test_equal_shapes(void) {
    ldm_plan *conv = unet_plan("use_spatial_transformer=1 context_dim=8", LDM_F32);
    ldm_plan *linear = unet_plan("use_spatial_transformer=1 context_dim=8 use_linear_in_transformer=1", LDM_F32);
    add_plan(conv, "", 1);
    ldm_ckpt *c = file();
    CHECK_OK(bind(linear, c, (ldm_bind_options){0}));
    ldm_ckpt_close(c);
    add_plan(linear, "", 1);
    c = file();
    CHECK_OK(bind(conv, c, (ldm_bind_options){0}));
    ldm_ckpt_close(c);
    ldm_plan_destroy(conv), ldm_plan_destroy(linear);
}

static void test_misfits(void) {
    ldm_plan *p = unet_plan("", LDM_F32);
    add_plan(p, "model.diffusion_model.", 1);
    drop("model.diffusion_model.time_embed.0.bias");
    entry_of("model.diffusion_model.out.2.weight")->shape =
        ldm_shape_of(4, (int64_t)4, (int64_t)32, (int64_t)3, (int64_t)3);
    add("model.diffusion_model.label_emb.weight", ldm_shape_of(2, (int64_t)10, (int64_t)128), 1);
    ldm_ckpt *c = file();
    expect(bind(p, c, (ldm_bind_options){0}), "1 are missing (model.diffusion_model.time_embed.0.bias [128])");
    expect(bind(p, c, (ldm_bind_options){0}),
           "1 have another shape (model.diffusion_model.out.2.weight [4, 32, 3, 3] wanted [3, 32, 3, 3])");
    expect(bind(p, c, (ldm_bind_options){0}), "1 are left over (model.diffusion_model.label_emb.weight [10, 128])");
    expect(bind(p, c, (ldm_bind_options){.allow_extra = true}), "0 are left over");
    ldm_ckpt_close(c);

    /* a transpose has as many elements, and is another shape */
    add_plan(p, "", 1);
    entry_of("time_embed.0.weight")->shape = ldm_shape_of(2, (int64_t)32, (int64_t)128);
    c = file();
    expect(bind(p, c, (ldm_bind_options){0}), "time_embed.0.weight [32, 128] wanted [128, 32]");
    ldm_ckpt_close(c);

    /* of nobody's family */
    add("transformer.h.0.attn.c_attn.weight", ldm_shape_of(2, (int64_t)8, (int64_t)8), 1);
    c = file();
    expect(bind(p, c, (ldm_bind_options){0}), ", ...)");
    expect(bind(p, c, (ldm_bind_options){0}), "1 are left over (transformer.h.0.attn.c_attn.weight [8, 8])");
    ldm_ckpt_close(c);
    ldm_plan_destroy(p);
}

static void test_halves(void) {
    ldm_stage_config kl, vq;
    CHECK_OK(ldm_stage_config_parse("kind=kl ch=32 ch_mult=1,1 num_res_blocks=1 z_channels=4", &kl));
    CHECK_OK(ldm_stage_config_parse("kind=vq ch=32 ch_mult=1,1 num_res_blocks=1 z_channels=4 n_embed=16", &vq));
    ldm_plan *enc = stage_plan(&vq, true), *dec = stage_plan(&vq, false), *kl_dec = stage_plan(&kl, false);
    for (int standalone = 0; standalone < 2; standalone++) {
        add_plan(enc, standalone ? "" : "first_stage_model.", 1);
        add_plan(dec, standalone ? "" : "first_stage_model.", 1);
        add(standalone ? "loss.discriminator.main.0.weight" : "betas", ldm_shape_of(1, (int64_t)5), 1);
        ldm_ckpt *c = file();
        CHECK_OK(bind(enc, c, (ldm_bind_options){0}));
        CHECK_OK(bind(dec, c, (ldm_bind_options){0}));
        expect(bind(kl_dec, c, (ldm_bind_options){0}),
               "quantize.embedding.weight [16, 4])"); /* a codebook nobody reads */
        ldm_ckpt_close(c);
    }
    ldm_plan_destroy(enc), ldm_plan_destroy(dec), ldm_plan_destroy(kl_dec);
}

static ldm_plan *text_plan(const char *fields) {
    ldm_plan *p = NULL;
    ldm_text_config t;
    CHECK_OK(ldm_text_config_parse(fields, &t));
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    ldm_tensor ids = ldm_plan_input(p, "ids", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)t.length));
    ldm_plan_output(p, ldm_text_emit(p, &t, ids, 2), "y");
    CHECK_OK(p->status);
    return p;
}

/* What text encoders have beside what they are read for, and what nobody knows. */
static void test_texts(void) {
    static const struct {
        const char *fields, *extra[6], *odd;
    } table[] = {{"kind=clip width=16 layers=2 heads=2 head_width=8 length=7 vocab=20",
                  {"transformer.text_model.embeddings.position_ids", "transformer.text_projection.weight", "transformer.vision_model.post_layernorm.bias", "logit_scale"},
                  "transformer.text_model.encoder.layers.0.self_attn.k_norm.weight"},
                 {"kind=openclip width=16 layers=2 heads=2 head_width=8 length=7 vocab=20",
                  {"model.logit_scale", "model.text_projection", "model.attn_mask", "model.visual.conv1.weight"},
                  "model.transformer.resblocks.2.ln_1.weight"},
                 {"kind=bert width=16 layers=2 length=7 vocab=20",
                  {"transformer.to_logits.weight", "transformer.to_logits.bias"},
                  "transformer.attn_layers.layers.4.0.weight"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int odd = 0; odd < 2; odd++) {
            char key[150], said[300];
            ldm_plan *p = text_plan(table[i].fields);
            add_plan(p, "cond_stage_model.", 1);
            for (int k = 0; table[i].extra[k]; k++) {
                snprintf(key, sizeof key, "cond_stage_model.%s", table[i].extra[k]);
                add(key, ldm_shape_of(1, (int64_t)3), 1);
            }
            snprintf(key, sizeof key, "cond_stage_model.%s", table[i].odd);
            if (odd) add(key, ldm_shape_of(1, (int64_t)3), 1);
            ldm_ckpt *c = file();
            snprintf(said, sizeof said, "1 are left over (%s [3])", key);
            if (odd) expect(bind(p, c, (ldm_bind_options){0}), said);
            else CHECK_OK(bind(p, c, (ldm_bind_options){0}));
            ldm_ckpt_close(c);
            ldm_plan_destroy(p);
        }
}

static void test_nonfinite(void) {
    static const struct {
        float value;
        ldm_dtype dtype;
        bool fine;
    } table[] = {{NAN, LDM_F32, false},
                 {INFINITY, LDM_F32, false},
                 {70000, LDM_F32, true},
                 {70000, LDM_F16, false},
                 {65504, LDM_F16, true},
                 {NAN, LDM_BF16, false},
                 {3.385e38f, LDM_BF16, true},
                 {3.4e38f, LDM_BF16, false},
                 {NAN, LDM_Q8_0, false},
                 {-INFINITY, LDM_Q8_0, false},
                 {-8321000, LDM_Q8_0, true},
                 {8321040, LDM_Q8_0, false}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        ldm_plan *p = unet_plan("", table[i].dtype);
        ldm_binding *b = NULL;
        add_plan(p, "", 0.5f);
        entry_of("out.2.weight")->value = table[i].value;
        ldm_ckpt *c = file();
        CHECK_OK(ldm_bind(p, c, NULL, &b));
        ldm_source s = ldm_binding_source(b);
        const ldm_tensor_info *out = ldm_plan_tensor(p, ldm_plan_find(p, "out.2.weight"));
        float x[3 * 32 * 9];
        const float *there = s.view(s.self, out);
        CHECK(there && !memcmp(there, &(float[]){table[i].value, table[i].value}, 8), "f32 is seen where it lies");
        CHECK(there && s.check(s.self, out, there) == (table[i].fine ? LDM_OK : LDM_ERR_NONFINITE), "as when loaded");
        ldm_status st = s.load(s.self, out, x);
        CHECK(st == (table[i].fine ? LDM_OK : LDM_ERR_NONFINITE), "%g as %s: status %d", (double)table[i].value,
              ldm_dtype_name(table[i].dtype), st);
        CHECK(st == LDM_OK || strstr(ldm_message(), "out.2.weight: 864 of 864"), "%s", ldm_message());
        CHECK(loaded(p, b, "out.2.bias") == 0.5f, "other tensors load");
        ldm_binding_destroy(b);
        ldm_ckpt_close(c);
        ldm_plan_destroy(p);
    }
}

static void test_taef2(void) {
    const ldm_stage_config *s = ldm_stage_find("taef2");
    for (int half = 0; half < 2; half++) {
        ldm_ckpt *c = NULL;
        CHECK_OK(ldm_ckpt_open(half ? "tests/data/taef2/taef2_decoder.pth" : "tests/data/taef2/taef2_encoder.pth", &c));
        if (!c) continue;
        ldm_plan *right = stage_plan(s, !half), *wrong = stage_plan(s, half),
                 *plain = stage_plan(ldm_stage_find("taesd"), !half);
        CHECK_OK(bind(right, c, (ldm_bind_options){0}));
        expect(bind(wrong, c, (ldm_bind_options){0}), "missing");
        expect(bind(plain, c, (ldm_bind_options){0}), half ? "3.pool.0.weight" : "11.pool.0.weight");
        ldm_plan_destroy(right), ldm_plan_destroy(wrong), ldm_plan_destroy(plain);
        ldm_ckpt_close(c);
    }
}

/* A fused plan is bound by the file's names, read by steps or not, and what it makes of them is theirs. */
static void test_derived(void) {
    static const char one_head[] = "num_heads=1 use_spatial_transformer=1 context_dim=8";
    ldm_plan *written = unet_plan(one_head, LDM_F32), *p = unet_plan(one_head, LDM_F32);
    ldm_binding *b = NULL;
    CHECK_OK(ldm_plan_fuse(p));
    for (int missing = 0; missing < 2; missing++) {
        add_plan(written, "", 0.5f);
        if (missing) drop("middle_block.1.transformer_blocks.0.attn1.to_k.weight");
        ldm_ckpt *c = file();
        ldm_status st = ldm_bind(p, c, NULL, &b);
        if (missing) expect(st, "1 are missing (middle_block.1.transformer_blocks.0.attn1.to_k.weight");
        else CHECK_OK(st);
        int derived = 0;
        for (int t = 0; b && t < p->tensors; t++) {
            if (p->tensor[t].kind != LDM_PARAM || !p->tensor[t].rule) continue;
            float *x = malloc((size_t)ldm_shape_count(&p->tensor[t].shape) * sizeof *x);
            ldm_source w = ldm_binding_source(b);
            CHECK_OK(ldm_plan_load(p, &w, t, x));
            CHECK(x[0] == 32 * 0.25f, "%s: %g", p->tensor[t].name, (double)x[0]);
            free(x);
            derived++;
        }
        CHECK(missing || derived > 0, "nothing was derived");
        ldm_binding_destroy(b), b = NULL;
        ldm_ckpt_close(c);
    }
    ldm_plan_destroy(written), ldm_plan_destroy(p);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "bind");
    if (!mkdtemp(folder)) return perror(folder), 1;
    snprintf(path, sizeof path, "%s/file.safetensors", folder);
    CASE("places") test_places();
    CASE("averaged weights") test_ema();
    CASE("equal shapes") test_equal_shapes();
    CASE("misfits") test_misfits();
    CASE("halves of a first stage") test_halves();
    CASE("text encoders") test_texts();
    CASE("not finite") test_nonfinite();
    CASE("taef2") test_taef2();
    CASE("derived weights") test_derived();
    unlink(path);
    rmdir(folder);
    return test_end();
}
