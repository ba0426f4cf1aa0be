/* network.c -- see network.h. */
#include "app/network.h"
#include "plan/budget.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int no_fuse;
static char *dtype_text, *wtype_text; /* popt's copies live as long as the process */
struct poptOption app_plan_table[] = {
    {"dtype", 0, POPT_ARG_STRING, &dtype_text, 0, "storage of activations, and of weights unless --wtype says otherwise: f32 or f16", "T"},
    {"wtype", 0, POPT_ARG_STRING, &wtype_text, 0,
     "storage of the weights of linear and convolution layers: f32, f16, bf16 or q8_0 (blocks of 32 with an f16 scale)", "T"},
    {"type", 0, POPT_ARG_STRING, &wtype_text, 0, "the same, as stable-diffusion.cpp calls it", "T"},
    {"no-fuse", 0, POPT_ARG_NONE, &no_fuse, 0, "run the network's own steps, without the plan's rewrites", NULL},
    POPT_TABLEEND};

bool app_fuses(void) { return !no_fuse; }

ldm_status app_storage(ldm_dtype *dtype, ldm_dtype *wdtype) {
    ldm_dtype t = LDM_F32, w;
    if (dtype_text && (!ldm_dtype_parse(dtype_text, strlen(dtype_text), &t) || (t != LDM_F32 && t != LDM_F16)))
        return ldm_fail(LDM_ERR_ARG, "--dtype %s: wanted f32 or f16", dtype_text);
    w = t;
    if (wtype_text && (!ldm_dtype_parse(wtype_text, strlen(wtype_text), &w) ||
                       (w != LDM_F32 && w != LDM_F16 && w != LDM_BF16 && w != LDM_Q8_0)))
        return ldm_fail(LDM_ERR_ARG, "--wtype %s: wanted f32, f16, bf16 or q8_0", wtype_text);
    *dtype = t, *wdtype = w;
    return LDM_OK;
}

static ldm_status part_of(const char *word, app_part *out) {
    static const char *const words[] = {"unet", "encoder", "decoder", "text"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(word, words[i])) return *out = (app_part)i, LDM_OK;
    return ldm_fail(LDM_ERR_ARG, "network part '%s': wanted unet, encoder, decoder or text", word);
}

static ldm_status named(const char *name, app_network *net) {
    if (strchr(name, '=')) {
        const char *kind = strstr(name, "kind=");
        if (!kind) return ldm_unet_config_parse(name, &net->unet);
        bool text = !strncmp(kind, "kind=bert", 9) || !strncmp(kind, "kind=clip", 9) || !strncmp(kind, "kind=openclip", 13);
        if (!text) return ldm_stage_config_parse(name, &net->stage);
        return net->part = APP_TEXT, ldm_text_config_parse(name, &net->text);
    }
    for (int i = 0; ldm_text_list()[i]; i++)
        if (!strcmp(ldm_text_list()[i]->name, name))
            return net->part = APP_TEXT, net->text = *ldm_text_list()[i], LDM_OK;
    for (int i = 0; ldm_stage_list()[i]; i++)
        if (!strcmp(ldm_stage_list()[i]->name, name)) {
            if (net->part == APP_UNET) net->part = APP_DECODER;
            return net->stage = *ldm_stage_list()[i], LDM_OK;
        }
    net->config = ldm_config_find(name);
    if (!net->config) return LDM_ERR_ARG;
    net->unet = net->config->unet;
    const ldm_stage_config *s = ldm_stage_find(net->config->stage);
    if (!s) return LDM_ERR_ARG;
    net->stage = *s;
    if (net->part != APP_TEXT) return LDM_OK;
    if (!net->config->text) return ldm_fail(LDM_ERR_ARG, "%s has no text encoder", name);
    const ldm_text_config *t = ldm_text_find(net->config->text);
    if (!t) return LDM_ERR_ARG;
    return net->text = *t, LDM_OK;
}

/* The network that part is in the opened files. */
static ldm_status of_system(app_network *net) {
    static const char *const what[] = {"UNet", "encoder", "decoder", "text encoder"};
    const ldm_system *s = net->system;
    const bool tiny = s->stage.kind == LDM_STAGE_TAESD;
    const ldm_part part = net->part == APP_UNET      ? LDM_PART_UNET
                          : net->part == APP_TEXT    ? LDM_PART_TEXT
                          : net->part == APP_ENCODER ? (tiny ? LDM_PART_TINY_ENCODER : LDM_PART_ENCODER)
                                                     : (tiny ? LDM_PART_TINY_DECODER : LDM_PART_DECODER);
    if (!s->has[part]) return ldm_fail(LDM_ERR_FORMAT, "%s: there is no %s in it", s->path, what[net->part]);
    net->config = s->has[LDM_PART_UNET] ? &s->config : NULL;
    net->unet = s->config.unet, net->stage = s->stage, net->text = s->text;
    return LDM_OK;
}

ldm_status app_network_find(const app_network_options *o, app_network *net) {
    ldm_status st = LDM_OK;
    char name[64];
    const char *colon = o->net ? strchr(o->net, ':') : NULL, *config = o->config;
    net->part = APP_UNET;
    if (colon) {
        snprintf(name, sizeof name, "%.*s", (int)(colon - o->net), o->net);
        if ((st = part_of(colon + 1, &net->part))) return st;
        config = name;
    } else if (o->net && part_of(o->net, &net->part)) {
        if (strchr(o->net, '=') || !config)
            config = o->net; /* a bare configuration: its UNet, a first stage: its decoder */
        else return LDM_ERR_ARG;
    }
    if (config && !ldm_config_is_path(config)) return named(config, net);
    if (!o->model && config) return ldm_fail(LDM_ERR_ARG, "--config %s: goes with a checkpoint, wanted -m too", config);
    if (!o->model)
        return ldm_fail(LDM_ERR_ARG,
                        "network '%s': which configuration? name it with --config, or give a checkpoint with -m",
                        o->net ? o->net : "");
    if (!net->system && (st = ldm_system_open(&(ldm_system_options){.model = o->model, .config = config}, &net->system)))
        return st;
    return of_system(net);
}

void app_plan_output(ldm_plan *p, ldm_tensor t) {
    t = ldm_plan_cast(p, t, LDM_F32);
    if (!p->status && ldm_plan_tensor(p, t)->kind == LDM_INPUT)
        t = ldm_plan_emit(p, (ldm_tensor[]){t}, 1, "cast:f32 count=%lld to=f32",
                          (long long)ldm_shape_count(&ldm_plan_tensor(p, t)->shape));
    ldm_plan_output(p, t, "y");
}

static ldm_status plan_text(const app_network_options *o, app_network *net) {
    ldm_status st = ldm_plan_create(o->dtype, o->wdtype, &net->plan);
    if (st) return st;
    net->n = o->n ? o->n : 1, net->tokens = net->text.length;
    ldm_tensor ids = ldm_plan_input(net->plan, "ids", LDM_I32, ldm_shape_of(2, net->n, net->tokens));
    app_plan_output(net->plan, ldm_text_emit(net->plan, &net->text, ids, o->skip ? o->skip : net->text.skip));
    return net->plan->status;
}

ldm_status app_network_plan(const app_network_options *o, app_network *net) {
    ldm_status st = app_network_find(o, net);
    if (st) return st;
    const ldm_unet_config *u = &net->unet;
    if (net->part == APP_TEXT) return plan_text(o, net);
    int f = net->part == APP_UNET ? 0 : ldm_stage_factor(&net->stage);
    int64_t native = net->config ? net->config->latent : net->part == APP_UNET ? 8 * ldm_unet_multiple(u) : 256 / f;
    net->n = o->n ? o->n : 1;
    net->h = o->h ? o->h : net->part == APP_ENCODER ? native * f : native;
    net->w = o->w ? o->w : net->h;
    bool classes = o->classes && net->config && net->config->condition == LDM_COND_CLASS;
    net->tokens = o->tokens ? o->tokens : net->config && net->config->tokens ? net->config->tokens : 77;
    if (o->classes && !classes)
        return ldm_fail(LDM_ERR_ARG, "input class: %s has no classes",
                        net->config ? net->config->name : "this network");
    if ((st = ldm_plan_create(o->dtype, o->wdtype, &net->plan))) return st;
    ldm_plan *p = net->plan;
    if (net->part == APP_UNET) {
        ldm_tensor x =
            ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, net->n, net->h, net->w, (int64_t)u->in_channels));
        ldm_tensor temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, net->n, (int64_t)u->model_channels)),
                   context = LDM_NONE, labels = LDM_NONE, guidance = LDM_NONE;
        if (classes) {
            ldm_tensor ids = ldm_plan_input(p, "class", LDM_I32, ldm_shape_of(1, net->n));
            context = ldm_class_embedder_emit(p, net->config->n_classes, u->context_dim, ids);
        } else if (u->use_spatial_transformer) {
            context = ldm_plan_cast(
                p, ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, net->n, net->tokens, (int64_t)u->context_dim)),
                o->dtype);
        }
        if (u->num_classes) labels = ldm_plan_input(p, "class", LDM_I32, ldm_shape_of(1, net->n));
        if (u->time_cond_proj_dim)
            guidance = ldm_plan_cast(
                p, ldm_plan_input(p, "guidance", LDM_F32, ldm_shape_of(2, net->n, (int64_t)u->time_cond_proj_dim)),
                o->dtype);
        ldm_tensor y =
            ldm_unet_emit(p, u, ldm_plan_cast(p, x, o->dtype), ldm_plan_cast(p, temb, o->dtype), context, labels,
                          guidance);
        app_plan_output(p, y);
    } else if (net->part == APP_ENCODER) {
        ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, net->n, net->h, net->w, (int64_t)3));
        app_plan_output(p, ldm_stage_emit_encoder(p, &net->stage, ldm_plan_cast(p, x, o->dtype)));
    } else {
        int64_t c = net->stage.kind == LDM_STAGE_IDENTITY ? 3 : net->stage.embed_dim;
        ldm_tensor z = ldm_plan_input(p, "z", LDM_F32, ldm_shape_of(4, net->n, net->h, net->w, c));
        app_plan_output(p, ldm_stage_emit_decoder(p, &net->stage, ldm_plan_cast(p, z, o->dtype)));
    }
    return p->status;
}

ldm_status app_network_weights(const app_network_options *o, app_network *net) {
    ldm_status st = LDM_OK;
    if (!o->model && o->synthetic < 0)
        return ldm_fail(LDM_ERR_ARG,
                        "weights: give a checkpoint with -m FILE, or --synthetic SEED for deterministic random ones");
    if (!o->model) {
        net->seed = (uint64_t)o->synthetic;
        net->source = ldm_source_synthetic(&net->seed);
        return LDM_OK;
    }
    if (net->system) return ldm_system_source(net->system, net->plan, &net->binding, &net->source);
    if (!net->ckpt && (st = ldm_ckpt_open(o->model, &net->ckpt))) return st;
    ldm_bind_options b = {.ema = net->config && net->config->ema};
    if ((st = ldm_bind(net->plan, net->ckpt, &b, &net->binding))) return st;
    net->source = ldm_binding_source(net->binding);
    return LDM_OK;
}

void app_network_close(app_network *net) {
    ldm_plan_destroy(net->plan);
    ldm_binding_destroy(net->binding);
    ldm_ckpt_close(net->ckpt);
    ldm_system_close(net->system);
    *net = (app_network){0};
}

/* Weights that could not be kept as asked for. */
static void note_storage(const ldm_plan *p) {
    ldm_text kept = {0};
    int other = 0;
    const char *first = "";
    for (int i = p->tensors - 1; i >= 0 && p->wdtype == LDM_Q8_0; i--)
        if (p->tensor[i].kind == LDM_PARAM && p->tensor[i].dtype == LDM_F16) other++, first = p->tensor[i].name;
    if (!other) return;
    ldm_plan_storage(p, &kept);
    ldm_note("weights: %s; %d tensors (%s%s) are no whole blocks of %d inputs and stay f16", kept.s ? kept.s : "", other,
             first, other > 1 ? ", ..." : "", LDM_Q8_BLOCK);
    ldm_text_free(&kept);
}

ldm_status app_network_finish(app_network *net, const ldm_device *d) {
    return app_network_fit(net, d, d ? d->global_bytes : SIZE_MAX);
}

ldm_status app_network_fit(app_network *net, const ldm_device *d, size_t budget) {
    ldm_plan *p = net->plan;
    ldm_memory m;
    p->as_given = d && d->low_memory;
    ldm_status st = no_fuse ? LDM_OK : ldm_plan_fuse(p);
    if (st) return st;
    note_storage(p);
    if (!d) return ldm_plan_finish(p, SIZE_MAX / 4, 64);
    bool repeats = net->part == APP_UNET && net->unet.model_channels > 0;
    for (int i = 0; i < p->steps; i++) repeats = repeats || p->step[i].segment > 0;
    st = ldm_plan_fit(p, d, net->source.load ? &net->source : NULL, budget, repeats, &m);
    if (!st && m.striped)
        ldm_note("%d steps are made in strips, the same bits: their maps, %.1f MiB at most, lie in host memory", m.striped,
                 (double)m.host / 0x1p20);
    if (!st && m.groups)
        ldm_note("%.1f MiB of weights come from host memory in %d groups while steps run", (double)m.streamed / 0x1p20, m.groups);
    return st;
}

ldm_status app_exec_create(app_network *net, ldm_cl *cl, const char *what, const char *impl, ldm_exec **out) {
    ldm_memory m;
    ldm_status st = ldm_exec_memory(net->plan, ldm_cl_device(cl), &net->source, &m);
    if (st) return st;
    ldm_note("%s%sdevice memory: weights %.1f MiB + activations %.1f MiB + scratch %.1f MiB, %.1f MiB read where the file has them",
             what ? what : "", what ? ": " : "", (double)m.weights / 0x1p20, (double)m.activations / 0x1p20,
             (double)m.scratch / 0x1p20, (double)m.viewed / 0x1p20);
    ldm_build_stats before = ldm_cl_build_stats(cl);
    st = ldm_exec_create(cl, net->plan, &net->source, impl, out);
    ldm_build_stats after = ldm_cl_build_stats(cl);
    if (!st)
        ldm_note("%d programs made ready in %.2f s, %d of them compiled", after.programs - before.programs,
                 after.seconds - before.seconds, after.compiled - before.compiled);
    return st;
}

ldm_status app_network_exec(app_network *net, ldm_cl *cl, const char *impl, ldm_exec **out) {
    ldm_status st = app_network_finish(net, ldm_cl_device(cl));
    return st ? st : app_exec_create(net, cl, NULL, impl, out);
}

void app_image_to_map(const ldm_stage_config *s, const uint8_t *px, int64_t count, float *x) {
    for (int64_t i = 0; i < count; i++)
        x[i] = s->kind == LDM_STAGE_TAESD ? (float)px[i] / 255.0f : (float)px[i] / 127.5f - 1.0f;
}

/* To the nearest byte, as diffusers does; the authors of LDM truncate. */
void app_map_to_image(const ldm_stage_config *s, const float *x, int64_t count, uint8_t *px) {
    bool tiny = s->kind == LDM_STAGE_TAESD;
    for (int64_t i = 0; i < count; i++) {
        float v = tiny ? x[i] : (x[i] + 1.0f) / 2.0f;
        v = v < 0 ? 0 : v > 1 ? 1 : v;
        px[i] = (uint8_t)lrintf(255.0f * v);
    }
}

ldm_status app_check_finite(const float *x, int64_t count, const char *what) {
    int64_t bad = 0, first = -1;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i])) bad++, first = first < 0 ? i : first;
    if (!bad) return LDM_OK;
    return ldm_fail(LDM_ERR_NONFINITE, "%s: %lld of %lld values are NaN or infinite, the first at %lld", what,
                    (long long)bad, (long long)count, (long long)first);
}

ldm_status app_name_block(ldm_status st, ldm_exec *e, int segment) {
    if (st != LDM_ERR_NONFINITE) return st;
    const ldm_status named = ldm_exec_run_checked(e, segment);
    return named ? named : ldm_fail(st, "the result was NaN or infinite, and is finite when it is made again");
}

bool app_retry_in_f32(ldm_status st, ldm_dtype *dtype, ldm_dtype *wdtype) {
    if (st != LDM_ERR_NONFINITE || *dtype != LDM_F16) return false;
    ldm_note("%s; once more in f32", ldm_message());
    *dtype = *wdtype = LDM_F32;
    return true;
}

ldm_status app_scale_factor(const app_network *net, const ldm_ckpt *ckpt, double *out) {
    if (net->system) return *out = net->system->stage_scale, LDM_OK;
    float v = net->config ? (float)net->config->scale_factor : 1;
    if (net->config && net->config->scale_by_std && ckpt) {
        const ldm_ckpt_tensor *t = ldm_ckpt_find(ckpt, "scale_factor");
        if (!t || ldm_shape_count(&t->shape) != 1)
            return ldm_fail(LDM_ERR_FORMAT, "%s: no number called scale_factor; %s is trained with one of its own",
                            ldm_ckpt_path(ckpt), net->config->name);
        ldm_status st = ldm_ckpt_load_f32(t, &v);
        if (st) return st;
        if (!(v > 0) || !isfinite(v))
            return ldm_fail(LDM_ERR_FORMAT, "%s: scale_factor is %g, wanted above 0", ldm_ckpt_path(ckpt), v);
    }
    *out = net->config && !net->config->scale_by_std ? net->config->scale_factor : v;
    return LDM_OK;
}
