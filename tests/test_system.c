/* test_system.c -- whole systems from files: the small trained model with its configuration and tiny autoencoder, bound
 * to plans of all its networks; the authors' configuration files, short versions written here, against the known
 * systems; sparse files of every family's full shapes. */
#include "ckpt/tree.h"
#include "model/described.h"
#include "model/system.h"
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
    const int64_t side = ldm_unet_multiple(u), f = ldm_stage_factor(&s->stage);
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

int main(int argc, char **argv) {
    test_begin(argc, argv, "system");
    CASE("the trained model") test_trained();
    return test_end();
}
