/* system_info.c -- a system in words, for `ldm info` and -v. */
#include "model/system_internal.h"
#include <string.h>

static const char *const tasks[] = {"no UNet: a part alone",
                                    "unconditional",
                                    "class to image",
                                    "text to image",
                                    "boxes to image",
                                    "label map to image",
                                    "super-resolution x4",
                                    "inpainting, [latent, masked latent, mask]",
                                    "text to image, inpainting, [latent, mask, masked latent]",
                                    "text and depth to image",
                                    "text and low-resolution picture to image, x4",
                                    "CLIP embeddings to image"};

/* Tensors of a part: all below its place. */
static bool within(const ldm_place *at, ldm_part part, const char *name) {
    static const char *const halves[2][3] = {{"encoder.", "quant_conv.", NULL},
                                             {"decoder.", "post_quant_conv.", "quantize."}};
    const size_t n = strlen(at->prefix);
    if (strncmp(name, at->prefix, n)) return false;
    name += n;
    if (part == LDM_PART_ENCODER || part == LDM_PART_DECODER) {
        for (int i = 0; i < 3; i++) {
            const char *start = halves[part == LDM_PART_DECODER][i];
            if (start && !strncmp(name, start, strlen(start))) return true;
        }
        return false;
    }
    if (at->layout == LDM_DIFFUSERS && (part == LDM_PART_TINY_ENCODER || part == LDM_PART_TINY_DECODER))
        return !strncmp(name, part == LDM_PART_TINY_DECODER ? "decoder." : "encoder.", 8);
    if (at->layout == LDM_COMPVIS && !at->ema && part == LDM_PART_UNET) return ldm_part_of(name) == part;
    return true;
}

static void describe_part(const ldm_place *at, ldm_part part, ldm_text *out) {
    int64_t values = 0, of[LDM_DTYPES] = {0};
    int tensors = 0;
    for (int k = 0; k < at->files->count; k++)
        for (int i = 0; i < ldm_ckpt_count(at->files->ckpt[k]); i++) {
            const ldm_ckpt_tensor *t = ldm_ckpt_at(at->files->ckpt[k], i);
            if (!within(at, part, t->name)) continue;
            tensors++, values += ldm_shape_count(&t->shape), of[t->dtype] += ldm_shape_count(&t->shape);
        }
    ldm_text_add(out, "%-13s %lld parameters in %d tensors,", ldm_part_name(part), (long long)values, tensors);
    for (int t = 0, n = 0; t < LDM_DTYPES; t++)
        if (of[t]) ldm_text_add(out, "%s %s", n++ ? " and" : "", ldm_dtype_name((ldm_dtype)t));
    ldm_text_add(out, ", %s names%s%s in %s%s\n", at->layout == LDM_COMPVIS ? "CompVis" : "diffusers",
                 *at->prefix ? " at " : "", at->prefix, at->files->path, at->files->count > 1 ? " (shards)" : "");
}

void ldm_system_describe(const ldm_system *s, ldm_text *out) {
    static const char *const sure[] = {"told", "the file says", "known by shapes", "by default", "missing"};
    if (s->task != LDM_TASK_NONE) ldm_text_add(out, "%-13s %s, %s\n", "model", s->config.name, s->config.about);
    ldm_text_add(out, "%-13s %s\n", "task", tasks[s->task]);
    for (int i = 0; i < LDM_PARTS; i++)
        if (s->has[i]) describe_part(&s->files->places.at[i], (ldm_part)i, out);
    for (int i = 0; i < s->n_facts; i++)
        ldm_text_add(out, "%-13s %s (%s: %s)\n", s->facts[i].what, s->facts[i].value, sure[s->facts[i].sure],
                     s->facts[i].why);
    if (s->task != LDM_TASK_NONE) {
        const ldm_unet_config *u = &s->config.unet;
        const int side = s->config.latent, f = ldm_stage_factor(&s->stage);
        ldm_text_add(out, "%-13s %d x %d x %d", "latent", u->out_channels, side, side);
        if (s->config.stage) ldm_text_add(out, ", pictures of %d x %d", side * f, side * f);
        ldm_text_add(out, "\n");
    }
    if (s->tokenizer) ldm_text_add(out, "%-13s %s\n", "tokenizer", s->tokenizer);
    if (s->scheduler) ldm_text_add(out, "%-13s %s\n", "scheduler", s->scheduler);
    ldm_text_add(out, "%-13s %s\n", "missing", s->missing ? s->missing : "nothing");
}
