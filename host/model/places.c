/* places.c -- finding the parts of a system in files, by the names that each part cannot do without. */
#include "model/places.h"
#include <string.h>

#define EMA "model_ema.diffusion_model"

/* The usual place first. `probe`: a name, behind the prefix, that tells the part and the layout. */
static const struct {
    ldm_part part;
    const char *prefix;
    ldm_layout layout;
    const char *probe;
} known[] = {
    {LDM_PART_UNET, "model.diffusion_model.", LDM_COMPVIS, "input_blocks.0.0.weight"},
    {LDM_PART_UNET, "diffusion_model.", LDM_COMPVIS, "input_blocks.0.0.weight"},
    {LDM_PART_UNET, "", LDM_COMPVIS, "input_blocks.0.0.weight"},
    {LDM_PART_UNET, "", LDM_DIFFUSERS, "down_blocks.0.resnets.0.conv1.weight"},
    {LDM_PART_ENCODER, "first_stage_model.", LDM_COMPVIS, "encoder.down.0.block.0.norm1.weight"},
    {LDM_PART_ENCODER, "", LDM_COMPVIS, "encoder.down.0.block.0.norm1.weight"},
    {LDM_PART_ENCODER, "", LDM_DIFFUSERS, "encoder.down_blocks.0.resnets.0.norm1.weight"},
    {LDM_PART_DECODER, "first_stage_model.", LDM_COMPVIS, "decoder.up.0.block.0.norm1.weight"},
    {LDM_PART_DECODER, "", LDM_COMPVIS, "decoder.up.0.block.0.norm1.weight"},
    {LDM_PART_DECODER, "", LDM_DIFFUSERS, "decoder.up_blocks.0.resnets.0.norm1.weight"},
    {LDM_PART_TINY_ENCODER, "", LDM_COMPVIS, "14.weight"},
    {LDM_PART_TINY_ENCODER, "", LDM_DIFFUSERS, "encoder.layers.0.weight"},
    {LDM_PART_TINY_DECODER, "", LDM_COMPVIS, "19.weight"},
    {LDM_PART_TINY_DECODER, "", LDM_DIFFUSERS, "decoder.layers.0.weight"},
    {LDM_PART_TEXT, "cond_stage_model.", LDM_COMPVIS, "transformer.token_emb.weight"},
    {LDM_PART_TEXT, "cond_stage_model.", LDM_COMPVIS, "transformer.text_model.embeddings.token_embedding.weight"},
    {LDM_PART_TEXT, "cond_stage_model.", LDM_COMPVIS, "transformer.embeddings.token_embedding.weight"},
    {LDM_PART_TEXT, "cond_stage_model.", LDM_COMPVIS, "model.token_embedding.weight"},
    {LDM_PART_TEXT, "", LDM_DIFFUSERS, "text_model.embeddings.token_embedding.weight"},
    {LDM_PART_TEXT, "", LDM_DIFFUSERS, "embeddings.token_embedding.weight"},
    {LDM_PART_TEXT, "", LDM_DIFFUSERS, "model.embed_tokens.weight"},
    {LDM_PART_TEXT, "", LDM_COMPVIS, "transformer.token_emb.weight"},
    {LDM_PART_TEXT, "", LDM_COMPVIS, "transformer.text_model.embeddings.token_embedding.weight"},
    {LDM_PART_TEXT, "", LDM_COMPVIS, "model.token_embedding.weight"},
    {LDM_PART_CONDITION, "cond_stage_model.", LDM_COMPVIS, "embedding.weight"},
    {LDM_PART_CONDITION, "cond_stage_model.", LDM_COMPVIS, "channel_mapper.weight"},
};

const ldm_ckpt_tensor *ldm_files_find(const ldm_files *f, const char *name) {
    const ldm_ckpt_tensor *t = NULL;
    for (int i = 0; f && i < f->count && !t; i++) t = ldm_ckpt_find(f->ckpt[i], name);
    return t;
}

/* "<prefix><name>", of averaged weights with the dots of name removed. */
static void key_of(const ldm_place *at, const char *name, char *key, size_t cap) {
    size_t n = (size_t)snprintf(key, cap, "%s", at->prefix);
    for (; *name && n + 1 < cap; name++)
        if (!at->ema || *name != '.') key[n++] = *name;
    key[n] = 0;
}

bool ldm_place_find(const ldm_files *f, ldm_part part, bool ema, ldm_place *out) {
    ldm_place averaged = {f, EMA, LDM_COMPVIS, true};
    char key[LDM_ORIGIN_NAME];
    key_of(&averaged, "input_blocks.0.0.weight", key, sizeof key);
    if (ema && part == LDM_PART_UNET && ldm_files_find(f, key)) return *out = averaged, true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].part != part) continue;
        snprintf(key, sizeof key, "%s%s", known[i].prefix, known[i].probe);
        if (!ldm_files_find(f, key)) continue;
        *out = (ldm_place){f, known[i].prefix, known[i].layout, false};
        return true;
    }
    return false;
}

/* Whether a name, behind its prefix, is of a part. */
static bool of_part(ldm_part part, const char *name) {
    char full[LDM_ORIGIN_NAME];
    snprintf(full, sizeof full, "%s%s", part == LDM_PART_CONDITION ? "cond_stage_model." : "", name);
    const ldm_part found = ldm_part_of(full);
    return found == part || (found == LDM_PART_TINY_DECODER && part == LDM_PART_TINY_ENCODER);
}

ldm_place ldm_place_usual(const ldm_files *f, ldm_part part) {
    ldm_place usual = {NULL, NULL, LDM_COMPVIS, false};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].part != part || known[i].layout != LDM_COMPVIS) continue;
        const size_t n = strlen(known[i].prefix);
        if (!usual.files) usual.files = f, usual.prefix = known[i].prefix;
        for (int k = 0; k < f->count; k++)
            for (int j = 0; j < ldm_ckpt_count(f->ckpt[k]); j++) {
                const char *name = ldm_ckpt_at(f->ckpt[k], j)->name;
                if (!strncmp(name, known[i].prefix, n) && of_part(part, name + n))
                    return usual.prefix = known[i].prefix, usual;
            }
    }
    return usual;
}

bool ldm_place_origin(const ldm_places *p, ldm_part part, const char *name, int64_t rows, ldm_origin *o,
                      const ldm_ckpt_tensor *found[LDM_ORIGIN_PARTS]) {
    const ldm_place *at = &p->at[part];
    ldm_origin usual = {0};
    char key[LDM_ORIGIN_NAME];
    for (int s = 0; ldm_origin_of(part, at->layout, s, p->unet, p->stage, name, rows, o); s++) {
        int there = 0;
        for (int i = 0; i < o->parts; i++) {
            key_of(at, o->name[i], key, sizeof key);
            snprintf(o->name[i], sizeof o->name[i], "%s", key);
            found[i] = ldm_files_find(at->files, key);
            there += found[i] != NULL;
        }
        if (there == o->parts) return true;
        if (!s) usual = *o;
    }
    if (!usual.parts)
        usual.parts = 1, snprintf(usual.name[0], sizeof usual.name[0], "%s%s", at->prefix ? at->prefix : "", name);
    *o = usual;
    return false;
}

bool ldm_known_extra(const char *key) {
    static const char *const starts[] = {"model.",
                                         "diffusion_model.",
                                         "model_ema.",
                                         "first_stage_model.",
                                         "cond_stage_model.",
                                         "cond_stage_models.",
                                         "conditioner.",
                                         "depth_model.",
                                         "low_scale_model.",
                                         "noise_augmentor.",
                                         "embedding_manager.",
                                         "loss.",
                                         "betas",
                                         "alphas_cumprod",
                                         "sqrt_",
                                         "log_one_minus_",
                                         "posterior_",
                                         "ddim_",
                                         "scale_factor",
                                         "logvar",
                                         "lvlb_weights",
                                         "colorize",
                                         "epoch",
                                         "global_step",
                                         "position_ids",
                                         "logit_scale",
                                         "text_projection",
                                         "to_logits",
                                         "text_model.embeddings.position_ids",
                                         "embeddings.position_ids",
                                         "transformer.to_logits",
                                         "transformer.text_model.embeddings.position_ids"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (!strncmp(key, starts[i], strlen(starts[i]))) return true;
    return false;
}

bool ldm_known_text_extra(const char *key) {
    static const char *const ends[] = {"position_ids", "logit_scale", "logit_bias", "text_projection", "text_projection.weight", "attn_mask"};
    static const char *const within[] = {"vision_model.", "visual.", "visual_projection.", "to_logits."};
    const size_t n = strlen(key);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t m = strlen(ends[i]);
        if (n >= m && !strcmp(key + n - m, ends[i]) && (n == m || key[n - m - 1] == '.')) return true;
    }
    for (size_t i = 0; i < sizeof within / sizeof *within; i++) {
        const char *at = strstr(key, within[i]);
        if (at && (at == key || at[-1] == '.')) return true;
    }
    return false;
}
