/* test_system.c -- whole systems from files: the small trained model with its configuration and tiny autoencoder, bound
 * to plans of all its networks; the authors' configuration files, short versions written here, against the known
 * systems; sparse files of every family's full shapes. */
#include "ckpt/tree.h"
#include "model/described.h"
#include "model/infer.h"
#include "model/system.h"
#include "tests/make_files.h"
#include "tests/test.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ldm_tensor input(ldm_plan *p, const char *name, ldm_dtype t, ldm_shape s) {
    return ldm_plan_input(p, name, t, s);
}

/* A plan with one network of a system. */
static ldm_plan *plan_of(const ldm_system *s, ldm_part part) {
    ldm_plan *p = NULL;
    const ldm_unet_config *u = &s->config.unet;
    const int64_t side = u->levels ? ldm_unet_multiple(u) : 1, f = ldm_stage_factor(&s->stage);
    CHECK_OK(ldm_plan_create(LDM_F32, LDM_F32, &p));
    if (part == LDM_PART_UNET)
        ldm_unet_emit(
            p, u, input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, side, side, (int64_t)u->in_channels)),
            input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->model_channels)),
            u->use_spatial_transformer
                ? input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)2, (int64_t)u->context_dim))
                : LDM_NONE,
            u->num_classes ? input(p, "label", LDM_I32, ldm_shape_of(1, (int64_t)1)) : LDM_NONE,
            u->time_cond_proj_dim ? input(p, "w", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)u->time_cond_proj_dim))
                                  : LDM_NONE);
    else if (part == LDM_PART_TEXT)
        ldm_text_emit(p, &s->text, input(p, "ids", LDM_I32, ldm_shape_of(2, (int64_t)1, (int64_t)s->text.length)),
                      s->text.skip);
    else if (part == LDM_PART_ENCODER)
        ldm_stage_emit_encoder(p, &s->stage, input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, f, f, (int64_t)3)));
    else
        ldm_stage_emit_decoder(
            p, &s->stage,
            input(p, "z", LDM_F32,
                  ldm_shape_of(4, (int64_t)1, (int64_t)1, (int64_t)1, (int64_t)ldm_stage_latent_channels(&s->stage))));
    CHECK(p->status == LDM_OK, "%s", ldm_message());
    return p;
}

/* Every parameter of a network finds its tensor, and one of them loads. */
static void bound(ldm_system *s, ldm_part part) {
    ldm_plan *p = plan_of(s, part);
    ldm_binding *b = NULL;
    ldm_source w;
    CHECK_OK(ldm_system_source(s, p, &b, &w));
    int n = 0;
    for (int t = 0; b && t < p->tensors && n < 1; t++) {
        const ldm_tensor_info *info = &p->tensor[t];
        if (info->kind != LDM_PARAM || ldm_shape_count(&info->shape) > 1 << 20) continue;
        float *x = malloc((size_t)ldm_shape_count(&info->shape) * sizeof *x);
        CHECK_OK(w.load(w.self, info, x));
        free(x), n++;
    }
    ldm_binding_destroy(b);
    ldm_plan_destroy(p);
}

static const ldm_fact *fact(const ldm_system *s, const char *what) {
    static const ldm_fact none = {"", "", LDM_SURE_MISSING, ""};
    for (int i = 0; s && i < s->n_facts; i++)
        if (!strcmp(s->facts[i].what, what)) return &s->facts[i];
    return &none;
}

static void test_trained(void) {
    const char *model = "tests/data/emoji-ldm/model.ckpt", *tiny = "tests/data/taef2";
    ldm_system *s = NULL;
    CHECK_OK(ldm_system_open(&(ldm_system_options){.model = model, .taesd = tiny}, &s));
    if (!s) return;
    CHECK(s->task == LDM_TASK_TEXT && !s->missing, "task %d, missing %s", s->task, s->missing ? s->missing : "");
    CHECK(s->config.unet.num_heads == 4 && s->config.unet.context_dim == 192 && s->config.prediction == LDM_PREDICT_V,
          "its UNet");
    CHECK(s->stage.kind == LDM_STAGE_TAESD && s->stage.z_channels == 32 && s->stage.pool, "its first stage");
    CHECK(s->stage_scale > 1.18 && s->stage_scale < 1.19 && s->tiny_scale == s->stage_scale, "scale %g",
          s->stage_scale);
    CHECK(s->alphas_cumprod && s->alphas_cumprod[0] > .999f && s->alphas_cumprod[999] < .005f,
          "the schedule is the file's");
    CHECK(s->text.kind == LDM_TEXT_BERT && s->text.length == 24 && s->text.layers == 3, "its text encoder");
    CHECK(!s->config.ema && fact(s, "prediction")->sure == LDM_SURE_FILE, "%s", fact(s, "prediction")->why);
    bound(s, LDM_PART_UNET), bound(s, LDM_PART_TEXT), bound(s, LDM_PART_ENCODER), bound(s, LDM_PART_DECODER);
    ldm_system_close(s), s = NULL;

    CHECK_OK(ldm_system_open(&(ldm_system_options){.model = model, .prediction = "eps"}, &s));
    CHECK(s && s->config.prediction == LDM_PREDICT_EPS && fact(s, "prediction")->sure == LDM_SURE_TOLD,
          "--prediction wins");
    CHECK(s && s->missing && strstr(s->missing, "--taesd"), "without its first stage: %s",
          s && s->missing ? s->missing : "");
    ldm_system_close(s), s = NULL;
    CHECK(ldm_system_open(&(ldm_system_options){.model = model, .prediction = "w"}, &s) == LDM_ERR_ARG,
          "--prediction w");
    CHECK(ldm_system_open(&(ldm_system_options){.model = model, .ema = "on"}, &s) == LDM_ERR_FORMAT,
          "--ema on without any");
    CHECK(ldm_system_open(&(ldm_system_options){.model = model, .config = "sd15"}, &s) == LDM_ERR_FORMAT,
          "another UNet");
    CHECK(ldm_system_open(&(ldm_system_options){0}, &s) == LDM_ERR_ARG, "nothing given");
    CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = "sd15"}, &s));
    CHECK(s && s->task == LDM_TASK_TEXT && s->text.width == 768 && s->stage.kind == LDM_STAGE_KL,
          "a known system of no weights");
    if (s) bound(s, LDM_PART_DECODER);
    ldm_system_close(s);
}

/* ---- the authors' configuration files -------------------------------------------------------------------------- */

/* What a configuration file says is the known system of that name. */
static void same_config(const char *name, const ldm_described *d) {
    const ldm_config *k = ldm_config_find(name), *c = &d->config;
    const ldm_stage_config *stage = k ? ldm_stage_find(k->stage) : NULL;
    const ldm_text_config *text = k && k->text ? ldm_text_find(k->text) : NULL;
    if (!k || !stage) return;
    CHECK(d->unet && ldm_same_unet_shapes(&c->unet, &k->unet), "%s: its UNet", name);
    CHECK(d->heads_by_width_only
              ? c->unet.num_head_channels == 32 && (k->unet.num_heads == 1 || k->unet.num_head_channels == 32)
              : c->unet.num_heads == k->unet.num_heads && c->unet.num_head_channels == k->unet.num_head_channels,
          "%s: %d heads, %d channels each", name, c->unet.num_heads, c->unet.num_head_channels);
    CHECK(c->unet.use_linear_in_transformer == k->unet.use_linear_in_transformer, "%s: linear projections", name);
    CHECK(d->stage_known && ldm_same_stage_shapes(&d->stage, stage), "%s: its first stage", name);
    CHECK(d->text_known == (text != NULL), "%s: a text encoder or none", name);
    CHECK(!text || (d->text.kind == text->kind && d->text.width == text->width && d->text.layers == text->layers &&
                    d->text.vocab == text->vocab && d->text.length == text->length && d->text.heads == text->heads &&
                    d->text.skip == text->skip && d->text.pad == text->pad),
          "%s: its text encoder", name);
    CHECK(c->linear_start == k->linear_start && c->linear_end == k->linear_end, "%s: %g to %g", name, c->linear_start,
          c->linear_end);
    CHECK(c->scale_factor == k->scale_factor && c->scale_by_std == k->scale_by_std, "%s: scale %g", name,
          c->scale_factor);
    CHECK((c->latent == k->latent || !strcmp(name, "sd2")) && c->condition == k->condition &&
              (c->tokens == k->tokens || !strcmp(name, "rdm768")),
          "%s: latent %d, condition %d, %d tokens", name, c->latent, c->condition, c->tokens);
    CHECK(c->n_classes == k->n_classes && c->null_class == k->null_class && c->labels == k->labels, "%s: classes",
          name);
    CHECK(c->ema == k->ema && c->prediction == k->prediction && c->noise_levels == k->noise_levels,
          "%s: EMA %d, prediction %d, %d noise levels", name, c->ema, c->prediction, c->noise_levels);
}

/* Short versions of the released files: what inference needs of each, in the same keys. */
#define YAML(params, unet, stage, condition)                                                                           \
    "model: {target: ldm.models.diffusion.ddpm.LatentDiffusion, params: {timesteps: 1000, " params                     \
    ", unet_config: {target: ldm.modules.diffusionmodules.openaimodel.UNetModel, params: {" unet "}}, "                \
    "first_stage_config: " stage ", cond_stage_config: " condition "}}\n"
#define STAGE(kind, z, mult, more, attn, rest)                                                                         \
    "{target: ldm.models.autoencoder." kind ", params: {embed_dim: " z more ", ddconfig: {" rest                       \
    "double_z: %s, z_channels: " z ", resolution: 256, in_channels: 3, out_ch: 3, ch: 128, ch_mult: [" mult            \
    "], num_res_blocks: 2, attn_resolutions: [" attn "], dropout: 0.0}, lossconfig: {target: torch.nn.Identity}}}"
#define VQ_F4                 STAGE("VQModelInterface", "3", "1, 2, 4", ", n_embed: 8192", "", "")
#define VQ_F4_NONE            STAGE("VQModelInterface", "3", "1, 2, 4", ", n_embed: 8192", "", "attn_type: none, ")
#define VQ_F8                 STAGE("VQModelInterface", "4", "1, 2, 2, 4", ", n_embed: 16384", "32", "")
#define KL_F8                 STAGE("AutoencoderKL", "4", "1, 2, 4, 4", "", "", "")
#define KL_F4_4               STAGE("AutoencoderKL", "4", "1, 2, 4", "", "", "")
#define KL_F16                STAGE("AutoencoderKL", "16", "1, 1, 2, 2, 4", "", "16", "")
#define ENCODER(kind, params) "{target: ldm.modules.encoders.modules." kind ", params: {" params "}}"
#define SIZES(in, out, mc, mult, att)                                                                                  \
    "in_channels: " in ", out_channels: " out ", model_channels: " mc ", num_res_blocks: 2, channel_mult: [" mult      \
    "], attention_resolutions: [" att "]"
#define CROSS(depth, dim) ", use_spatial_transformer: true, transformer_depth: " depth ", context_dim: " dim
#define SD_PARAMS(side, more)                                                                                          \
    "linear_start: 0.00085, linear_end: 0.0120, scale_factor: 0.18215, use_ema: False, image_size: " side more
#define SD2_UNET(in)                                                                                                   \
    SIZES(in, "4", "320", "1, 2, 4, 4", "4, 2, 1")                                                                     \
    ", num_head_channels: 64, use_linear_in_transformer: True, legacy: False" CROSS("1", "1024")

static const char *const excerpts[][2] = {
    {"celeba256",
     YAML("linear_start: 0.0015, linear_end: 0.0195, concat_mode: false, image_size: 64",
          SIZES("3", "3", "224", "1, 2, 3, 4", "8, 4, 2") ", num_head_channels: 32", VQ_F4, "__is_unconditional__")},
    {"lsun_churches256", YAML("linear_start: 0.0015, linear_end: 0.0155, image_size: 32, scale_by_std: true",
                              SIZES("4", "4", "192", "1, 2, 2, 4, 4",
                                    "1, 2, 4, 8") ", num_heads: 8, use_scale_shift_norm: true, resblock_updown: true",
                              KL_F8, "'__is_unconditional__'")},
    {"cin256", YAML("linear_start: 0.0015, linear_end: 0.0195, conditioning_key: crossattn, image_size: 32",
                    SIZES("4", "4", "256", "1, 2, 4", "4, 2, 1") ", num_head_channels: 32" CROSS("1", "512"), VQ_F8,
                    ENCODER("ClassEmbedder", "embed_dim: 512, key: class_label"))},
    {"cin256-v2",
     YAML("linear_start: 0.0015, linear_end: 0.0195, conditioning_key: crossattn, image_size: 64, use_ema: False",
          SIZES("3", "3", "192", "1, 2, 3, 5", "8, 4, 2") ", num_heads: 1" CROSS("1", "512"), VQ_F4,
          ENCODER("ClassEmbedder", "n_classes: 1001, embed_dim: 512"))},
    {"text2img256", YAML("linear_start: 0.0015, linear_end: 0.0195, conditioning_key: crossattn, image_size: 64",
                         SIZES("3", "3", "192", "1, 2, 3, 5", "8, 4, 2") ", num_head_channels: 32" CROSS("1", "640"),
                         VQ_F4, ENCODER("BERTEmbedder", "n_embed: 640, n_layer: 32"))},
    {"txt2img-1p4B",
     YAML("linear_start: 0.00085, linear_end: 0.012, conditioning_key: crossattn, image_size: 32, scale_factor: "
          "0.18215, use_ema: False",
          SIZES("4", "4", "320", "1, 2, 4, 4", "4, 2, 1") ", num_heads: 8, legacy: False" CROSS("1", "1280"), KL_F8,
          ENCODER("BERTEmbedder", "n_embed: 1280, n_layer: 32"))},
    {"layout2img-openimages256",
     YAML("linear_start: 0.0015, linear_end: 0.0205, conditioning_key: crossattn, image_size: 64",
          SIZES("3", "3", "128", "1, 2, 3, 4", "8, 4, 2") ", num_head_channels: 32" CROSS("3", "512"), VQ_F4,
          ENCODER("BERTEmbedder",
                  "n_embed: 512, n_layer: 16, vocab_size: 8192, max_seq_len: 92, use_tokenizer: false"))},
    {"semantic_synthesis256", YAML("linear_start: 0.0015, linear_end: 0.0205, concat_mode: true, image_size: 64",
                                   SIZES("6", "3", "128", "1, 4, 8", "32, 16, 8") ", num_heads: 8", VQ_F4,
                                   ENCODER("SpatialRescaler", "n_stages: 2, in_channels: 182, out_channels: 3"))},
    {"bsr_sr", YAML("linear_start: 0.0015, linear_end: 0.0155, concat_mode: true, image_size: 64",
                    SIZES("6", "3", "160", "1, 2, 2, 4", "16, 8") ", num_head_channels: 32", VQ_F4,
                    "{target: torch.nn.Identity}")},
    {"inpainting_big", YAML("linear_start: 0.0015, linear_end: 0.0205, concat_mode: true, image_size: 64",
                            SIZES("7", "3", "256", "1, 2, 3, 4", "8, 4, 2") ", num_heads: 8, resblock_updown: true",
                            VQ_F4_NONE, "__is_first_stage__")},
    {"rdm768", YAML("linear_start: 0.0015, linear_end: 0.015, conditioning_key: crossattn, image_size: 48, "
                    "scale_factor: 0.22765929",
                    SIZES("16", "16", "448", "1, 2, 3, 4", "4, 2, 1") ", num_head_channels: 32" CROSS("1", "768"),
                    KL_F16, "{target: torch.nn.Identity}")},
    {"sd15", YAML(SD_PARAMS("64", ", conditioning_key: crossattn"),
                  SIZES("4", "4", "320", "1, 2, 4, 4", "4, 2, 1") ", num_heads: 8, legacy: False" CROSS("1", "768"),
                  KL_F8, "{target: ldm.modules.encoders.modules.FrozenCLIPEmbedder}")},
    {"sd2-base", YAML(SD_PARAMS("64", ", conditioning_key: crossattn"), SD2_UNET("4"), KL_F8,
                      ENCODER("FrozenOpenCLIPEmbedder", "freeze: True, layer: penultimate"))},
    {"sd2", YAML(SD_PARAMS("64", ", conditioning_key: crossattn, parameterization: \"v\""), SD2_UNET("4"), KL_F8,
                 ENCODER("FrozenOpenCLIPEmbedder", "layer: penultimate"))},
    {"sd2-inpainting", YAML(SD_PARAMS("64", ", conditioning_key: hybrid"), SD2_UNET("9"), KL_F8,
                            ENCODER("FrozenOpenCLIPEmbedder", "layer: penultimate"))},
    {"sd2-depth", YAML(SD_PARAMS("64", ", conditioning_key: hybrid"), SD2_UNET("5"), KL_F8,
                       ENCODER("FrozenOpenCLIPEmbedder", "layer: penultimate"))},
    {"sd-x4-upscaler",
     YAML("linear_start: 0.0001, linear_end: 0.02, scale_factor: 0.08333, use_ema: False, image_size: 128, "
          "conditioning_key: hybrid-adm, parameterization: \"v\", "
          "low_scale_config: {target: x.ImageConcatWithNoiseAugmentation, params: {max_noise_level: 350}}",
          SIZES("7", "4", "256", "1, 2, 2, 4",
                "2, 4, 8") ", num_heads: 8, num_classes: 1000, disable_self_attentions: [True, True, True, False], "
                           "disable_middle_self_attn: False, use_linear_in_transformer: True, legacy: False" CROSS(
                               "1", "1024"),
          KL_F4_4, ENCODER("FrozenOpenCLIPEmbedder", "layer: penultimate"))},
};

static void test_excerpts(void) {
    char text[4096];
    for (size_t i = 0; i < sizeof excerpts / sizeof *excerpts; i++) {
        ldm_tree t = {0};
        ldm_described d = {0};
        /* KL encoders make two halves */
        snprintf(text, sizeof text, excerpts[i][1], strstr(excerpts[i][1], "AutoencoderKL") ? "true" : "false");
        CHECK_OK(ldm_tree_parse(text, strlen(text), true, excerpts[i][0], &t));
        CHECK_OK(ldm_described_authors(&t, &d));
        if (t.root) same_config(excerpts[i][0], &d);
        ldm_tree_close(&t);
    }
}

/* The released files themselves, where AUTHORS names a folder with clones of the three repositories. */
static void test_released(void) {
    static const char *const files[][2] = {
        {"latent-diffusion/models/ldm/celeba256/config.yaml", "celeba256"},
        {"latent-diffusion/models/ldm/ffhq256/config.yaml", "ffhq256"},
        {"latent-diffusion/models/ldm/lsun_beds256/config.yaml", "lsun_beds256"},
        {"latent-diffusion/models/ldm/lsun_churches256/config.yaml", "lsun_churches256"},
        {"latent-diffusion/models/ldm/cin256/config.yaml", "cin256"},
        {"latent-diffusion/configs/latent-diffusion/cin256-v2.yaml", "cin256-v2"},
        {"latent-diffusion/models/ldm/text2img256/config.yaml", "text2img256"},
        {"latent-diffusion/configs/latent-diffusion/txt2img-1p4B-eval.yaml", "txt2img-1p4B"},
        {"latent-diffusion/models/ldm/layout2img-openimages256/config.yaml", "layout2img-openimages256"},
        {"latent-diffusion/models/ldm/semantic_synthesis256/config.yaml", "semantic_synthesis256"},
        {"latent-diffusion/models/ldm/semantic_synthesis512/config.yaml", "semantic_synthesis512"},
        {"latent-diffusion/models/ldm/bsr_sr/config.yaml", "bsr_sr"},
        {"latent-diffusion/models/ldm/inpainting_big/config.yaml", "inpainting_big"},
        {"latent-diffusion/configs/retrieval-augmented-diffusion/768x768.yaml", "rdm768"},
        {"stable-diffusion/configs/stable-diffusion/v1-inference.yaml", "sd15"},
        {"stablediffusion/configs/stable-diffusion/v2-inference.yaml", "sd2-base"},
        {"stablediffusion/configs/stable-diffusion/v2-inference-v.yaml", "sd2"},
        {"stablediffusion/configs/stable-diffusion/v2-inpainting-inference.yaml", "sd2-inpainting"},
        {"stablediffusion/configs/stable-diffusion/v2-midas-inference.yaml", "sd2-depth"},
        {"stablediffusion/configs/stable-diffusion/x4-upscaling.yaml", "sd-x4-upscaler"}};
    static const char *const stages[] = {"kl-f4",        "kl-f8", "kl-f16",     "kl-f32", "vq-f4",
                                         "vq-f4-noattn", "vq-f8", "vq-f8-n256", "vq-f16"};
    const char *authors = getenv("AUTHORS");
    char path[512];
    for (size_t i = 0; i < sizeof files / sizeof *files + sizeof stages / sizeof *stages; i++) {
        const bool alone = i >= sizeof files / sizeof *files;
        const char *name = alone ? stages[i - sizeof files / sizeof *files] : files[i][1];
        ldm_tree t = {0};
        ldm_described d = {0};
        snprintf(path, sizeof path, alone ? "%s/latent-diffusion/models/first_stage_models/%s/config.yaml" : "%s/%s",
                 authors, alone ? name : files[i][0]);
        CHECK_OK(ldm_tree_open(path, &t));
        CHECK_OK(ldm_described_authors(&t, &d));
        if (!alone) same_config(name, &d);
        else CHECK(d.stage_known && ldm_same_stage_shapes(&d.stage, ldm_stage_find(name)), "%s", name);
        ldm_tree_close(&t);
    }
}

/* ---- full-size files that take no room ------------------------------------------------------------------------- */

static char folder[] = "/tmp/ldm-test-system-XXXXXX";

/* A .safetensors file under construction: a header, then data that nobody stored except `filled` ones. */
typedef struct sparse {
    ldm_text header;
    uint64_t at;
    struct {
        uint64_t at;
        const float *data;
        int64_t count;
    } filled[4];
    int n_filled;
} sparse;

static void sparse_add(sparse *f, const char *name, ldm_dtype t, const ldm_shape *s, const float *data) {
    const uint64_t size = (uint64_t)ldm_shape_count(s) * ldm_dtype_size(t);
    ldm_text_add(&f->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", f->header.len ? "," : "{", name,
                 t == LDM_F32   ? "F32"
                 : t == LDM_F16 ? "F16"
                                : "I64");
    for (int d = 0; d < s->rank; d++) ldm_text_add(&f->header, "%s%lld", d ? "," : "", (long long)s->dim[d]);
    ldm_text_add(&f->header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)f->at,
                 (unsigned long long)(f->at + size));
    if (data)
        f->filled[f->n_filled].at = f->at, f->filled[f->n_filled].data = data,
        f->filled[f->n_filled++].count = ldm_shape_count(s);
    f->at += size;
}

static void sparse_write(sparse *f, const char *path) {
    ldm_text_add(&f->header, "}");
    FILE *out = fopen(path, "wb");
    const uint64_t n = f->header.len, start = 8 + n;
    CHECK(out && f->header.s, "%s", path);
    if (!out || !f->header.s) return;
    fwrite(&n, 8, 1, out), fwrite(f->header.s, 1, n, out);
    for (int i = 0; i < f->n_filled; i++)
        fseeko(out, (off_t)(start + f->filled[i].at), SEEK_SET),
            fwrite(f->filled[i].data, 4, (size_t)f->filled[i].count, out);
    fflush(out);
    CHECK(ftruncate(fileno(out), (off_t)(start + f->at)) == 0, "truncate");
    fclose(out);
    ldm_text_free(&f->header);
    *f = (sparse){0};
}

/* All parameters of one network, under a prefix, or averaged, with the dots removed. */
static void sparse_network(sparse *f, const ldm_system *s, ldm_part part, const char *prefix, bool ema) {
    ldm_plan *p = plan_of(s, part);
    char name[256];
    for (int t = 0; t < p->tensors; t++) {
        if (p->tensor[t].kind != LDM_PARAM) continue;
        int n = snprintf(name, sizeof name, "%s", prefix);
        for (const char *c = p->tensor[t].name; *c; c++)
            if (!ema || *c != '.') name[n++] = *c;
        name[n] = 0;
        sparse_add(f, name, LDM_F16, &p->tensor[t].shape, NULL);
    }
    ldm_plan_destroy(p);
}

/* The full-size file of a known system as the authors' trainer wrote it. `says`: the system opened from a seed. */
static void write_released(const ldm_system *says, bool ema, const char *path) {
    static float alphas[1000], factor = 0.25f;
    const ldm_config *c = &says->config;
    const ldm_shape buffer = ldm_shape_of(1, (int64_t)1000), scalar = {0};
    sparse f = {0};
    for (int i = 0; i < 1000; i++) alphas[i] = 1 - (float)(i + 1) / 1001;
    sparse_network(&f, says, LDM_PART_UNET, "model.diffusion_model.", false);
    if (ema) sparse_network(&f, says, LDM_PART_UNET, "model_ema.diffusion_model", true);
    sparse_network(&f, says, LDM_PART_ENCODER, "first_stage_model.", false);
    sparse_network(&f, says, LDM_PART_DECODER, "first_stage_model.", false);
    if (c->text) sparse_network(&f, says, LDM_PART_TEXT, "cond_stage_model.", false);
    if (c->n_classes)
        sparse_add(&f, "cond_stage_model.embedding.weight", LDM_F32,
                   &(ldm_shape){2, {c->n_classes, c->unet.context_dim}}, NULL);
    if (c->labels)
        sparse_add(&f, "cond_stage_model.channel_mapper.weight", LDM_F32, &(ldm_shape){4, {3, c->labels, 1, 1}}, NULL);
    sparse_add(&f, "alphas_cumprod", LDM_F32, &buffer, alphas);
    sparse_add(&f, "betas", LDM_F32, &buffer, NULL);
    if (c->scale_by_std) sparse_add(&f, "scale_factor", LDM_F32, &scalar, &factor);
    sparse_write(&f, path);
}

/* Known systems whose files are the same: the first one's name is given. */
static const char *first_alike(const char *name) {
    static const char *const alike[][2] = {{"ffhq256", "celeba256"},
                                           {"lsun_beds256", "celeba256"},
                                           {"celeba-ldm-4", "celeba256"},
                                           {"cin-ldm-8", "cin256"},
                                           {"semantic_synthesis512", "semantic_synthesis256"},
                                           {"sd2", "sd2-base"}};
    for (size_t i = 0; i < sizeof alike / sizeof *alike; i++)
        if (!strcmp(name, alike[i][0])) return alike[i][1];
    return name;
}

static void test_families(void) {
    char path[64];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    for (const ldm_config *const *k = ldm_config_list(); *k; k++) {
        ldm_system *says = NULL, *s = NULL;
        ldm_text words = {0};
        char count[64];
        int tensors;
        CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = (*k)->name}, &says));
        if (!says) continue;
        write_released(says, (*k)->ema, path);
        CHECK_OK(ldm_system_open(&(ldm_system_options){.model = path}, &s));
        if (s) {
            const char *name = (*k)->name, *first = first_alike(name);
            CHECK(!strcmp(s->config.name, first), "%s is taken for %s", name, s->config.name);
            CHECK(s->task == says->task && !s->missing, "%s: task %d, not %d; missing %s", name, s->task, says->task,
                  s->missing ? s->missing : "nothing");
            CHECK(s->config.unet.num_heads == (*k)->unet.num_heads &&
                      s->config.unet.num_head_channels == (*k)->unet.num_head_channels,
                  "%s: its heads", name);
            CHECK(s->config.ema == (*k)->ema, "%s: averaged weights", name);
            CHECK(s->config.scale_factor == ((*k)->scale_by_std ? 0.25 : (*k)->scale_factor), "%s: scale %g", name,
                  s->config.scale_factor);
            CHECK(s->alphas_cumprod && s->alphas_cumprod[499] > .49f && s->alphas_cumprod[499] < .51f,
                  "%s: the file's own schedule", name);
            CHECK(s->prediction_unsure == (!strcmp(first, "sd2-base")), "%s: what it predicts", name);
            CHECK(s->text.layers == says->text.layers && s->text.kind == says->text.kind &&
                      s->text.skip == says->text.skip,
                  "%s: its text encoder", name);
            CHECK(s->stage.kind == says->stage.kind && s->stage.levels == says->stage.levels, "%s: its first stage",
                  name);
            bound(s, LDM_PART_UNET);
            if (says->stage.kind != LDM_STAGE_IDENTITY) bound(s, LDM_PART_DECODER);
            ldm_plan *p = plan_of(s, LDM_PART_UNET);
            const long long parameters = ldm_plan_params(p, &tensors);
            snprintf(count, sizeof count, "%lld parameters in %d tensors", parameters, tensors);
            ldm_plan_destroy(p);
            ldm_system_describe(s, &words);
            CHECK(words.s && strstr(words.s, count) && strstr(words.s, first), "%s: wanted %s in\n%s", name, count,
                  words.s ? words.s : "");
        }
        ldm_text_free(&words);
        ldm_system_close(s), ldm_system_close(says);
    }
    unlink(path);
}

/* An archive whose last entry, archive/data/0, is `count` numbers of two bytes that nobody stored. */
static void write_hollow_zip(zip_maker *z, int64_t count, const char *path) {
    const uint64_t size = (uint64_t)count * 2;
    const size_t local = z->out.n, central = z->dir.n;
    zip_add(z, "archive/data/0", "", 0);
    set_le(&z->out, local + 18, size, 4), set_le(&z->out, local + 22, size, 4);
    set_le(&z->dir, central + 20, size, 4), set_le(&z->dir, central + 24, size, 4);
    bytes end = {0};
    put_le(&end, 0x06054b50, 4), put_le(&end, 0, 4), put_le(&end, (uint64_t)z->count, 2),
        put_le(&end, (uint64_t)z->count, 2);
    put_le(&end, z->dir.n, 4), put_le(&end, z->out.n + size, 4), put_le(&end, 0, 2);
    FILE *f = fopen(path, "wb");
    CHECK(f, "%s", path);
    if (f) {
        fwrite(z->out.d, 1, z->out.n, f), fseeko(f, (off_t)(z->out.n + size), SEEK_SET);
        fwrite(z->dir.d, 1, z->dir.n, f), fwrite(end.d, 1, end.n, f);
        CHECK(fclose(f) == 0, "%s", path);
    }
    bytes_free(&z->out), bytes_free(&z->dir), bytes_free(&end);
}

/* The same as Lightning's .ckpt: nested under state_dict, beside what training left. All weights are views of one
 * storage. */
static void test_lightning(void) {
    static const char *const names[] = {"celeba256", "lsun_churches256", "cin256-v2", "txt2img-1p4B", "sd15", "sd2"};
    char path[64];
    snprintf(path, sizeof path, "%s/model.ckpt", folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        static float alphas[1000], factor = 0.25f;
        const ldm_config *k = ldm_config_find(names[i]);
        ldm_system *says = NULL, *s = NULL;
        ldm_text source = {0};
        zip_maker z = {0};
        CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = names[i]}, &says));
        if (!says) continue;
        for (int t = 0; t < 1000; t++) alphas[t] = 1 - (float)(t + 1) / 1001;
        ldm_text_add(&source, P_BEGIN "'state_dict' " P_DICT "( ");
        for (int part = 0; part < LDM_PARTS; part++)
            for (int ema = 0; ema < 2; ema++) {
                const bool stage = part == LDM_PART_ENCODER || part == LDM_PART_DECODER;
                if (!(part == LDM_PART_UNET || stage || (part == LDM_PART_TEXT && k->text)) ||
                    (ema && (part != LDM_PART_UNET || !k->ema)))
                    continue;
                ldm_plan *p = plan_of(says, (ldm_part)part);
                for (int t = 0; t < p->tensors; t++) {
                    const ldm_shape *shape = &p->tensor[t].shape;
                    if (p->tensor[t].kind != LDM_PARAM) continue;
                    ldm_text_add(&source, "'%s",
                                 ema                     ? "model_ema.diffusion_model"
                                 : stage                 ? "first_stage_model."
                                 : part == LDM_PART_TEXT ? "cond_stage_model."
                                                         : "model.diffusion_model.");
                    for (const char *c = p->tensor[t].name; *c; c++)
                        if (!ema || *c != '.') ldm_text_add(&source, "%c", *c);
                    ldm_text_add(&source, "' @torch._utils._rebuild_tensor_v2 ( " P_STORAGE("HalfStorage", "0",
                                                                                            "67108864") " 0 ( ");
                    for (int d = 0; d < shape->rank; d++) ldm_text_add(&source, "%lld ", (long long)shape->dim[d]);
                    ldm_text_add(&source, "t ( ");
                    for (int d = 0; d < shape->rank; d++) {
                        long long stride = 1;
                        for (int e = d + 1; e < shape->rank; e++) stride *= shape->dim[e];
                        ldm_text_add(&source, "%lld ", stride);
                    }
                    ldm_text_add(&source, "t 0x89 " P_DICT "t R ");
                }
                ldm_plan_destroy(p);
            }
        if (k->n_classes)
            ldm_text_add(&source,
                         "'cond_stage_model.embedding.weight' @torch._utils._rebuild_tensor_v2 ( " P_STORAGE(
                             "HalfStorage", "0", "67108864") " 0 ( %d %d t ( %d 1 t 0x89 " P_DICT "t R ",
                         k->n_classes, k->unet.context_dim, k->unet.context_dim);
        ldm_text_add(&source,
                     "'alphas_cumprod' " P_TENSOR(P_STORAGE("FloatStorage", "1", "1000"), "0", "( 1000 t", "( 1 t"));
        ldm_text_add(&source, "'scale_factor' " P_TENSOR(P_STORAGE("FloatStorage", "2", "1"), "0", ")", ")"));
        ldm_text_add(&source, "u 'global_step' 17 'callbacks' } @pytorch_lightning.callbacks.Early } s " P_END);
        bytes pickle = assemble(source.s);
        zip_add(&z, "archive/data.pkl", pickle.d, pickle.n);
        zip_add(&z, "archive/data/1", alphas, sizeof alphas), zip_add(&z, "archive/data/2", &factor, 4);
        write_hollow_zip(&z, 1 << 26, path);
        CHECK_OK(ldm_system_open(&(ldm_system_options){.model = path}, &s));
        CHECK(s && !strcmp(s->config.name, first_alike(names[i])) && !s->missing, "%s is taken for %s, missing %s",
              names[i], s ? s->config.name : "", s && s->missing ? s->missing : "nothing");
        CHECK(s && s->config.ema == k->ema && s->config.scale_factor == 0.25 && s->alphas_cumprod,
              "%s: averaged weights, buffers", names[i]);
        if (s) bound(s, LDM_PART_UNET), bound(s, LDM_PART_DECODER);
        ldm_system_close(s), ldm_system_close(says);
        bytes_free(&pickle), ldm_text_free(&source);
    }
    unlink(path);
}

/* Files of Stable Diffusion whose text encoder's names lack "text_model.", as some programs wrote them. */
static void test_older_names(void) {
    ldm_system says = {.text = *ldm_text_find("clip-l")}, *s = NULL;
    char path[64], name[256];
    sparse f = {0};
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ldm_plan *p = plan_of(&says, LDM_PART_TEXT);
    for (int t = 0; t < p->tensors; t++) {
        if (p->tensor[t].kind != LDM_PARAM) continue;
        snprintf(name, sizeof name, "cond_stage_model.transformer.%s",
                 p->tensor[t].name + strlen("transformer.text_model."));
        sparse_add(&f, name, LDM_F16, &p->tensor[t].shape, NULL);
    }
    ldm_plan_destroy(p);
    sparse_write(&f, path);
    CHECK_OK(ldm_system_open(&(ldm_system_options){.clip_l = path, .model = path}, &s));
    CHECK(s && s->text.name && !strcmp(s->text.name, "clip-l"), "the text encoder");
    if (s) bound(s, LDM_PART_TEXT);
    ldm_system_close(s);
    unlink(path);
}

/* First stages as files of their own, with what their training left in them. */
static void test_stages(void) {
    char path[64];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    for (const ldm_stage_config *const *k = ldm_stage_list(); *k; k++) {
        ldm_system says = {.stage = **k}, *s = NULL;
        sparse f = {0};
        if ((*k)->kind == LDM_STAGE_IDENTITY || (*k)->kind == LDM_STAGE_TAESD) continue;
        sparse_network(&f, &says, LDM_PART_ENCODER, "", false);
        sparse_network(&f, &says, LDM_PART_DECODER, "", false);
        sparse_add(&f, "loss.discriminator.main.0.weight", LDM_F16, &(ldm_shape){4, {64, 3, 4, 4}}, NULL);
        sparse_write(&f, path);
        CHECK_OK(ldm_system_open(&(ldm_system_options){.model = path}, &s));
        CHECK(s && s->task == LDM_TASK_NONE && s->stage.name && !strcmp(s->stage.name, (*k)->name),
              "%s is taken for %s", (*k)->name, s && s->stage.name ? s->stage.name : "none");
        if (s) bound(s, LDM_PART_ENCODER), bound(s, LDM_PART_DECODER);
        ldm_system_close(s);
    }
    unlink(path);
}

/* Each configuration file beside a full-size file of its model: nothing is guessed, the first models have one head
 * although their files say 32 channels a head, later ones of the same words do not. */
static void test_beside(void) {
    char path[64], yaml[64], text[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(yaml, sizeof yaml, "%s/model.yaml", folder);
    for (size_t i = 0; i < sizeof excerpts / sizeof *excerpts; i++) {
        const ldm_config *k = ldm_config_find(excerpts[i][0]);
        ldm_system *says = NULL, *s = NULL;
        snprintf(text, sizeof text, excerpts[i][1], strstr(excerpts[i][1], "AutoencoderKL") ? "true" : "false");
        CHECK_OK(ldm_write_file(yaml, text, strlen(text)));
        CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = k->name}, &says));
        if (!says) continue;
        write_released(says, k->ema, path);
        CHECK_OK(ldm_system_open(&(ldm_system_options){.model = path}, &s));
        CHECK(s && !strcmp(s->config.name, k->name) && s->task == says->task && !s->missing, "%s is taken for %s",
              k->name, s ? s->config.name : "");
        CHECK(s && s->config.unet.num_heads == k->unet.num_heads &&
                  s->config.unet.num_head_channels == k->unet.num_head_channels,
              "%s: its heads", k->name);
        CHECK(s && s->config.prediction == k->prediction && !s->prediction_unsure && s->config.ema == k->ema &&
                  s->config.latent == k->latent,
              "%s: the rest", k->name);
        ldm_system_close(s), ldm_system_close(says);
    }
    unlink(path), unlink(yaml);
}

static void test_probe(void) {
    char path[64];
    float out[256];
    ldm_system *says = NULL, *s = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = "sd2"}, &says));
    if (!says) return;
    write_released(says, false, path);
    for (int v = 0; v < 2; v++) {
        CHECK_OK(ldm_system_open(&(ldm_system_options){.model = path}, &s));
        for (int i = 0; i < 256; i++) out[i] = v ? -0.6f : -0.4f; /* minus the 0.5 that went in: on either side of -1 */
        if (s) ldm_system_probe(s, out, 256);
        CHECK(s && s->config.prediction == (v ? LDM_PREDICT_V : LDM_PREDICT_EPS) && !s->prediction_unsure, "v or eps");
        CHECK(s && !strcmp(s->config.name, v ? "sd2" : "sd2-base") && s->config.latent == (v ? 96 : 64), "%s",
              s ? s->config.name : "");
        ldm_system_close(s), s = NULL;
    }
    CHECK_OK(ldm_system_open(&(ldm_system_options){.model = path, .prediction = "v"}, &s));
    CHECK(s && !s->prediction_unsure && s->config.prediction == LDM_PREDICT_V, "--prediction spares the call");
    ldm_system_close(s), ldm_system_close(says);
    unlink(path);
}

/* Of families that are not supported, one telling name each. */
static void test_strangers(void) {
    static const char *const names[][2] = {
        {"conditioner.embedders.1.model.token_embedding.weight", "Stable Diffusion XL"},
        {"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", "Stable Diffusion 3"},
        {"double_blocks.0.img_attn.qkv.weight", "Flux"},
        {"lora_unet_down_blocks_0.lora_up.weight", "LoRA"},
        {"control_model.input_blocks.0.0.weight", "ControlNet"},
        {"model.layers.0.mlp.gate_proj.weight", "a language model"},
        {"transformer.h.0.attn.c_attn.weight", "no network in it that is known here"}};
    char path[64];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sparse f = {0};
        ldm_system *s = NULL;
        sparse_add(&f, names[i][0], LDM_F16, &(ldm_shape){2, {8, 8}}, NULL);
        sparse_write(&f, path);
        CHECK(ldm_system_open(&(ldm_system_options){.model = path}, &s) == LDM_ERR_FORMAT &&
                  strstr(ldm_message(), names[i][1]),
              "%s: %s", names[i][0], ldm_message());
        ldm_system_close(s);
    }
    /* an autoencoder of 16 channels without quant_conv */
    sparse vae = {0};
    ldm_system *none = NULL;
    sparse_add(&vae, "encoder.down.0.block.0.norm1.weight", LDM_F16, &(ldm_shape){1, {128}}, NULL);
    sparse_add(&vae, "decoder.conv_in.weight", LDM_F16, &(ldm_shape){4, {512, 16, 3, 3}}, NULL);
    sparse_write(&vae, path);
    CHECK(ldm_system_open(&(ldm_system_options){.vae = path}, &none) == LDM_ERR_FORMAT &&
              strstr(ldm_message(), "Stable Diffusion 3 or Flux"),
          "%s", ldm_message());
    /* a UNet of ours with what only theirs has */
    for (int xl = 0; xl < 2; xl++) {
        ldm_system *says = NULL, *s = NULL;
        sparse f = {0};
        CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = "sd2"}, &says));
        if (!says) continue;
        sparse_network(&f, says, LDM_PART_UNET, "model.diffusion_model.", false);
        sparse_add(&f, xl ? "model.diffusion_model.label_emb.0.0.weight" : "noise_augmentor.time_embed.dim", LDM_F16,
                   &(ldm_shape){2, {8, 8}}, NULL);
        sparse_write(&f, path);
        CHECK(ldm_system_open(&(ldm_system_options){.model = path}, &s) == LDM_ERR_FORMAT &&
                  strstr(ldm_message(), xl ? "looks like Stable Diffusion XL or unCLIP" : "looks like Stable unCLIP"),
              "%s", ldm_message());
        ldm_system_close(s), ldm_system_close(says);
    }
    /* UNets that read more beside the latent than any task gives them */
    static const struct {
        const char *config;
        int channels;
        const char *wanted;
    } more[] = {{"sd15", 8, "looks like InstructPix2Pix"}, {"sd15", 7, "reads 7 channels and makes 4; a model that is conditioned so reads 9"},
                {"sd15-inpainting", 10, "reads 10 channels"}, {"inpainting_big", 5, "reads 5 channels"}};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        ldm_system *says = NULL, *s = NULL;
        sparse f = {0};
        CHECK_OK(ldm_system_open(&(ldm_system_options){.synthetic = true, .config = more[i].config}, &says));
        if (!says) continue;
        says->config.unet.in_channels = more[i].channels;
        sparse_network(&f, says, LDM_PART_UNET, "model.diffusion_model.", false);
        sparse_write(&f, path);
        CHECK(ldm_system_open(&(ldm_system_options){.model = path}, &s) == LDM_ERR_FORMAT && strstr(ldm_message(), more[i].wanted),
              "%s of %d channels: %s", more[i].config, more[i].channels, ldm_message());
        ldm_system_close(s), ldm_system_close(says);
    }
    unlink(path);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "system");
    if (!mkdtemp(folder)) return perror(folder), 1;
    CASE("the trained model") test_trained();
    CASE("the authors' configuration files, shortened") test_excerpts();
    if (getenv("AUTHORS")) CASE("the authors' configuration files") test_released();
    CASE("full-size files of every family") test_families();
    CASE("Lightning's checkpoints") test_lightning();
    CASE("older names of a text encoder") test_older_names();
    CASE("first stages alone") test_stages();
    CASE("configuration files beside their models") test_beside();
    CASE("eps or v") test_probe();
    CASE("families that are not supported") test_strangers();
    rmdir(folder);
    return test_end();
}
