/* cmd_run.c -- `ldm run NET`: one evaluation of one network with PyTorch's layouts and .npy files, on the device or on
 * the references; --dump of blocks, --profile as a trace. */
#include "app/network.h"
#include "io/io.h"
#include "sample/sample.h"
#include <stdlib.h>
#include <string.h>

/* NCHW <-> NHWC for rank 4, unchanged otherwise. */
static ldm_status to_ours(const ldm_array *a, float *dst) {
    const int64_t *d = a->shape.dim;
    if (a->shape.rank == 4) ldm_nchw_to_nhwc(a->data, d[0], d[1], d[2], d[3], dst);
    else memcpy(dst, a->data, (size_t)ldm_shape_count(&a->shape) * sizeof(float));
    return LDM_OK;
}

static ldm_status write_tensor(const char *path, const ldm_shape *s, const float *data) {
    if (s->rank != 4) return ldm_npy_write(path, LDM_F32, s, data);
    float *t = NULL;
    ldm_shape nchw = ldm_shape_of(4, s->dim[0], s->dim[3], s->dim[1], s->dim[2]);
    ldm_status st = ldm_alloc((size_t)ldm_shape_count(s) * sizeof *t, (void **)&t);
    if (st) return st;
    ldm_nhwc_to_nchw(data, s->dim[0], s->dim[3], s->dim[1], s->dim[2], t);
    st = ldm_npy_write(path, LDM_F32, &nchw, t);
    free(t);
    return st;
}

/* What --in names: the network's own input, and of a UNet what it is told beside it. */
static const char *const own_input[] = {[APP_UNET] = "x", [APP_ENCODER] = "x", [APP_DECODER] = "z", [APP_TEXT] = "ids"};
enum { T, CONTEXT, CLASS, GUIDANCE, TOLD };
static const char *const told_input[TOLD] = {"t", "context", "class", "guidance"};

typedef struct inputs {
    ldm_array own, told[TOLD];
} inputs;

static void free_inputs(inputs *in) {
    ldm_array_free(&in->own);
    for (int i = 0; i < TOLD; i++) ldm_array_free(&in->told[i]);
}

static ldm_array *input_of(inputs *in, app_part part, const char *name, size_t n) {
    if (strlen(own_input[part]) == n && !strncmp(name, own_input[part], n)) return &in->own;
    for (int i = 0; i < TOLD && part == APP_UNET; i++)
        if (strlen(told_input[i]) == n && !strncmp(name, told_input[i], n)) return &in->told[i];
    return NULL;
}

static ldm_status read_inputs(char **list, app_part part, inputs *in) {
    const char *own = own_input[part];
    char shape[128];
    for (char **a = list; a && *a; a++) {
        size_t n = strcspn(*a, "=");
        const char *file = *a + n + 1;
        ldm_array *dst = input_of(in, part, *a, n);
        if (!(*a)[n] || !dst)
            return ldm_fail(LDM_ERR_ARG, "--in %s: wanted NAME=FILE.npy with %s%s", *a, own,
                            part == APP_UNET ? ", t, context, class or guidance" : "");
        if (dst->data) return ldm_fail(LDM_ERR_ARG, "--in %s: given twice", *a);
        ldm_status st = ldm_npy_read_f32(file, dst);
        if (!st && ldm_shape_count(&dst->shape) < 1)
            st = ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted values", file, ldm_shape_text(&dst->shape, shape, sizeof shape));
        if (!st) st = app_check_finite(dst->data, ldm_shape_count(&dst->shape), file);
        if (st) return st;
    }
    if (!in->own.data) return ldm_fail(LDM_ERR_ARG, "--in %s=FILE.npy is missing", own);
    int rank = part == APP_TEXT ? 2 : 4;
    if (in->own.shape.rank != rank)
        return ldm_fail(LDM_ERR_FORMAT, "%s: rank %d, wanted %d: %s", own, in->own.shape.rank, rank,
                        part == APP_TEXT ? "[n, tokens]" : "[n, channels, height, width]");
    return LDM_OK;
}

/* Whole numbers from 0 to `last`. */
static ldm_status check_ids(const ldm_array *a, const char *what, int last) {
    for (int64_t k = 0; k < ldm_shape_count(&a->shape); k++) {
        float id = ((float *)a->data)[k];
        if (!(id >= 0 && id <= (float)last && id == (float)(int)id))
            return ldm_fail(LDM_ERR_ARG, "%s %g: wanted a whole number from 0 to %d", what, (double)id, last);
    }
    return LDM_OK;
}

/* Writes the plan's inputs; t becomes its sinusoid. */
static ldm_status feed(const app_network *net, ldm_exec *e, const inputs *in) {
    ldm_status st = LDM_OK;
    const ldm_plan *p = net->plan;
    float *buf = NULL;
    if (net->part == APP_TEXT) {
        TRY(check_ids(&in->own, "id", net->text.vocab - 1));
        return ldm_exec_write(e, ldm_plan_find(p, "ids"), in->own.data);
    }
    TRY(ldm_alloc((size_t)ldm_shape_count(&in->own.shape) * sizeof *buf, (void **)&buf));
    TRY(to_ours(&in->own, buf));
    TRY(ldm_exec_write(e, ldm_plan_find(p, own_input[net->part]), buf));
    if (net->part != APP_UNET) goto done;
    int mc = net->unet.model_channels;
    int64_t nt = in->told[T].data ? ldm_shape_count(&in->told[T].shape) : 0;
    if (nt != 1 && nt != net->n)
        TRY(ldm_fail(LDM_ERR_FORMAT, "t: %lld values, wanted 1 or %lld (--in t=FILE.npy)", (long long)nt,
                     (long long)net->n));
    free(buf), buf = NULL;
    TRY(ldm_alloc((size_t)(net->n * mc) * sizeof *buf, (void **)&buf));
    for (int64_t i = 0; i < net->n; i++)
        ldm_timestep_embedding(((float *)in->told[T].data)[nt == 1 ? 0 : i], mc, buf + i * mc);
    TRY(ldm_exec_write(e, ldm_plan_find(p, "temb"), buf));
    for (int i = CONTEXT; i < TOLD; i++) {
        const ldm_array *array = &in->told[i];
        ldm_tensor t = ldm_plan_find(p, told_input[i]);
        if (t == LDM_NONE) {
            if (array->data) TRY(ldm_fail(LDM_ERR_ARG, "--in %s: this network takes none", told_input[i]));
            continue;
        }
        const ldm_shape *want = &ldm_plan_tensor(p, t)->shape;
        char a[128], b[128];
        if (!array->data)
            TRY(ldm_fail(LDM_ERR_ARG, "--in %s=FILE.npy is missing: shape %s", told_input[i],
                         ldm_shape_text(want, a, sizeof a)));
        if (!ldm_shape_equal(want, &array->shape))
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, wanted %s", told_input[i],
                         ldm_shape_text(&array->shape, a, sizeof a), ldm_shape_text(want, b, sizeof b)));
        if (i == CLASS)
            TRY(check_ids(array, "class", (net->unet.num_classes ? net->unet.num_classes : net->config->n_classes) - 1));
        TRY(ldm_exec_write(e, t, array->data));
    }
done:
    free(buf);
    return st;
}

/* Runs step by step and writes what goes into and comes out of every step of a scope. */
static ldm_status run_dumping(const ldm_plan *p, ldm_exec *e, const char *scope, const char *folder) {
    ldm_status st = LDM_OK;
    float *data = NULL;
    int dumped = 0;
    size_t len = strlen(scope);
    TRY(ldm_make_dirs(folder));
    for (int i = 0; i < p->steps; i++) {
        const ldm_step_info *s = &p->step[i];
        bool inside = !strncmp(s->scope, scope, len) && (!s->scope[len] || s->scope[len] == '.' || !len);
        int n = ldm_op_slots(s->problem.op);
        for (int pass = 0; pass < 2; pass++) { /* inputs before, output after */
            if (pass) TRY(ldm_exec_run_step(e, i));
            for (int j = 0; j < n && inside; j++) {
                if (s->slot[j] == LDM_NONE || (j == n - 1) != (pass == 1) || p->tensor[s->slot[j]].kind == LDM_PARAM)
                    continue;
                char path[4300], slot[32];
                const ldm_shape *shape = &p->tensor[s->slot[j]].shape;
                TRY(ldm_alloc((size_t)ldm_shape_count(shape) * sizeof *data, (void **)&data));
                TRY(ldm_exec_peek(e, s->slot[j], data));
                snprintf(path, sizeof path, "%s/%04d.%s.%s.%s.npy", folder, i, s->scope, s->problem.op->name,
                         ldm_op_slot_name(s->problem.op, j, slot, sizeof slot));
                TRY(write_tensor(path, shape, data));
                free(data), data = NULL;
                dumped++;
            }
        }
        TRY(ldm_check_interrupt());
    }
    if (!dumped) TRY(ldm_fail(LDM_ERR_ARG, "--dump %s: no step has this scope; `ldm plan` lists them", scope));
    ldm_note("%d arrays written to %s", dumped, folder);
done:
    free(data);
    return st;
}

typedef struct evaluation {
    const inputs *in;
    const char *impl, *dump, *folder;
    int repeat;
    double seconds; /* of the fastest run */
    ldm_exec *exec; /* made here, owned by the caller, also after a failure; so is y */
    float *y;
} evaluation;

/* The network on a device, or on the references (cl NULL). A result that is not finite fails with the block it came from. */
static ldm_status evaluate(app_network *net, ldm_cl *cl, evaluation *v) {
    ldm_status st = LDM_OK;
    if (cl) {
        TRY(app_network_exec(net, cl, v->impl, &v->exec));
    } else {
        TRY(app_network_finish(net, NULL));
        TRY(ldm_exec_create_reference(net->plan, &net->source, &v->exec));
    }
    TRY(feed(net, v->exec, v->in));
    for (int i = 0; i < v->repeat; i++) {
        double start = ldm_now();
        if (v->dump) TRY(run_dumping(net->plan, v->exec, v->dump, v->folder));
        else TRY(ldm_exec_run(v->exec, 0));
        TRY(ldm_exec_finish(v->exec));
        TRY(ldm_check_interrupt());
        const double seconds = ldm_now() - start;
        if (!i || seconds < v->seconds) v->seconds = seconds;
        if (!ldm_quiet) printf("run %d: %.1f ms\n", i + 1, seconds * 1e3);
    }
    const ldm_tensor y = ldm_plan_find(net->plan, "y");
    const int64_t count = ldm_shape_count(&ldm_plan_tensor(net->plan, y)->shape);
    if (!v->y) TRY(ldm_alloc((size_t)count * sizeof *v->y, (void **)&v->y));
    TRY(ldm_exec_read(v->exec, y, v->y));
    TRY(app_name_block(app_check_finite(v->y, count, "output"), v->exec, 0));
done:
    return st;
}

/* The same again with all the memory there is: whether the bits are the same, and what keeping to the budget costs. */
static ldm_status compare_whole(const app_network_options *o, const evaluation *v) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    ldm_cl *cl = NULL;
    evaluation w = {.in = v->in, .impl = v->impl, .repeat = v->repeat};
    char *budget = app_device.max_memory;
    app_device.max_memory = NULL;
    TRY(app_network_plan(o, &net));
    TRY(app_network_weights(o, &net));
    TRY(app_open_device(&cl));
    TRY(evaluate(&net, cl, &w));
    const int64_t count = ldm_shape_count(&ldm_plan_tensor(net.plan, ldm_plan_find(net.plan, "y"))->shape);
    const bool same = !memcmp(v->y, w.y, (size_t)count * sizeof *w.y);
    printf("in %s %.1f ms, with all the memory there is %.1f ms: %.3f times as long, %s\n", budget ? budget : "the same", v->seconds * 1e3,
           w.seconds * 1e3, v->seconds / w.seconds, same ? "the same bits" : "other bits");
    if (!same) st = ldm_fail(LDM_ERR_MISMATCH, "the result in %s has other bits than without a budget", budget ? budget : "the same memory");
done:
    app_device.max_memory = budget;
    ldm_exec_destroy(w.exec);
    ldm_cl_close(cl);
    app_network_close(&net);
    free(w.y);
    return st;
}

static bool given(const ldm_plan *p, ldm_tensor t) {
    return p->tensor[t].kind == LDM_PARAM && p->tensor[t].rule == LDM_GIVEN;
}

/* Every parameter of the network as .safetensors, f32, under its own name. */
static ldm_status save_weights(app_network *net, const char *path) {
    ldm_status st = LDM_OK;
    const ldm_plan *p = net->plan;
    ldm_st_writer *w = NULL;
    float *data = NULL;
    const char *meta[] = {"format", "pt", NULL};
    TRY(ldm_st_create(path, meta, &w));
    for (int i = 0; i < p->tensors; i++)
        if (given(p, i)) TRY(ldm_st_declare(w, p->tensor[i].name, LDM_F32, &p->tensor[i].shape));
    ldm_progress bar;
    ldm_progress_begin(&bar, "writing weights", "tensors", p->tensors);
    for (int i = 0; i < p->tensors && !st; i++) {
        if (!given(p, i)) continue;
        st = ldm_alloc((size_t)ldm_shape_count(&p->tensor[i].shape) * sizeof *data, (void **)&data);
        if (!st) st = net->source.load(net->source.self, &p->tensor[i], data);
        if (!st) st = ldm_st_data(w, data);
        if (!st) st = ldm_check_interrupt();
        free(data), data = NULL;
        ldm_progress_to(&bar, i + 1);
    }
    ldm_progress_end(&bar);
    TRY(st);
    TRY(ldm_st_commit(w));
    w = NULL;
done:
    ldm_st_abandon(w);
    return st;
}

APP_COMMAND(run) {
    char **ins = NULL, *config = NULL, *model = NULL, *out = NULL, *executor = NULL, *dump = NULL,
         *profile = NULL, *impl = NULL, *save = NULL;
    long long synthetic = -1;
    int repeat = 1, skip = 0, whole = 0;
    struct poptOption table[] = {
        {"in", 0, POPT_ARG_ARGV, &ins, 0,
         "an input: x, t, context, class or guidance (UNet), x (encoder), z (decoder), NCHW; ids (text encoder); may be repeated", "NAME=FILE.npy"},
        {"out", 'o', POPT_ARG_STRING, &out, 0, "the result, NCHW float32", "FILE.npy"},
        {"model", 'm', POPT_ARG_STRING, &model, 0, "checkpoint: .safetensors, .ckpt, .pth", "FILE"},
        {"synthetic", 0, POPT_ARG_LONGLONG, &synthetic, 0, "deterministic random weights instead", "SEED"},
        {"config", 0, POPT_ARG_STRING, &config, 0,
         "configuration by name, a CompVis .yaml file or key=value text, where the model does not say it", "NAME"},
        {"clip-skip", 0, POPT_ARG_INT, &skip, 0,
         "of a text encoder: 1 ends after its last layer, 2 after the one before (default: as its models were trained)", "N"},
        {"executor", 0, POPT_ARG_STRING, &executor, 0, "cl (default) or reference", "NAME"},
        {"impl", 0, POPT_ARG_STRING, &impl, 0, "force implementations, e.g. conv2d=conv2d_plain,gemm=gemm_plain",
         "LIST"},
        {"repeat", 0, POPT_ARG_INT, &repeat, 0,
         "run so often and print the times; a CPU reads weights where the file has them if that is once, else makes faster copies first", "N"},
        {"whole", 0, POPT_ARG_NONE, &whole, 0, "run once more without --max-memory: time ratio, and whether the bits are the same", NULL},
        {"dump", 0, POPT_ARG_STRING, &dump, 0,
         "write inputs and outputs of a scope's steps into the folder given as the second word", "SCOPE"},
        {"profile", 0, POPT_ARG_STRING, &profile, 0, "write a trace (chrome://tracing, Perfetto), print time per op",
         "FILE.json"},
        {"save-weights", 0, POPT_ARG_STRING, &save, 0, "write the network's weights", "FILE.safetensors"},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    app_network net = {0}, probe = {0};
    inputs in = {0};
    ldm_cl *cl = NULL;
    ldm_exec *e = NULL;
    float *y = NULL;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 1, 2, &words, &ctx));
    bool reference = executor && !strcmp(executor, "reference");
    if (executor && !reference && strcmp(executor, "cl"))
        TRY(ldm_fail(LDM_ERR_ARG, "--executor %s: wanted cl or reference", executor));
    if (reference && (profile || impl || whole))
        TRY(ldm_fail(LDM_ERR_ARG, "--%s is of the device: it has no sense with --executor reference",
                     profile ? "profile" : impl ? "impl" : "whole"));
    if (!out && !profile && !dump && !save && !whole) TRY(ldm_fail(LDM_ERR_ARG, "--out FILE.npy is missing"));
    if (!dump != !words[1])
        TRY(ldm_fail(LDM_ERR_ARG, "--dump SCOPE and a folder go together: ldm run NET --dump SCOPE FOLDER"));
    if (repeat < 1) TRY(ldm_fail(LDM_ERR_ARG, "--repeat %d: wanted 1 or more", repeat));
    app_network_options o = {.net = words[0], .config = config, .model = model, .synthetic = synthetic, .skip = skip};
    TRY(app_storage(&o.dtype, &o.wdtype));
    for (int i = 0; i < 3; i++) {
        const char *path = (const char *[]){out, profile, save}[i];
        if (path) TRY(ldm_try_file(path));
    }
    TRY(app_network_find(&o, &probe)); /* which part decides what the inputs are */
    app_part part = probe.part;
    if (!save || ins) {
        TRY(read_inputs(ins, part, &in));
        const ldm_array *context = &in.told[CONTEXT];
        o.n = in.own.shape.dim[0];
        if (part != APP_TEXT) o.h = in.own.shape.dim[2], o.w = in.own.shape.dim[3];
        o.classes = in.told[CLASS].data && !probe.unet.num_classes;
        if (context->data) o.tokens = context->shape.rank == 3 ? context->shape.dim[1] : 0;
    }
    TRY(app_network_plan(&o, &net));
    TRY(app_network_weights(&o, &net));
    if (save) {
        TRY(save_weights(&net, save));
        if (!ins) goto done;
    }
    const ldm_shape *x = &ldm_plan_tensor(net.plan, ldm_plan_find(net.plan, own_input[part]))->shape;
    if (in.own.shape.dim[1] != x->dim[x->rank - 1])
        TRY(ldm_fail(LDM_ERR_FORMAT, "input of %lld %s, the network takes %lld (layout is %s)",
                     (long long)in.own.shape.dim[1], part == APP_TEXT ? "tokens" : "channels",
                     (long long)x->dim[x->rank - 1],
                     part == APP_TEXT ? "[n, tokens]" : "[n, channels, height, width]"));
    app_device.profile = profile != NULL;
    app_device.once = model && repeat == 1 && !profile && !whole && o.wdtype == LDM_F32;
    if (!reference) TRY(app_open_device(&cl));
    evaluation v = {.in = &in, .impl = impl, .dump = dump, .folder = words[1], .repeat = repeat};
    st = evaluate(&net, cl, &v);
    if (app_retry_in_f32(st, &o.dtype, &o.wdtype)) {
        ldm_exec_destroy(v.exec);
        v.exec = NULL;
        app_network_close(&net);
        TRY(app_network_plan(&o, &net));
        TRY(app_network_weights(&o, &net));
        st = evaluate(&net, cl, &v);
    }
    e = v.exec, y = v.y;
    TRY(st);
    const ldm_shape *ys = &ldm_plan_tensor(net.plan, ldm_plan_find(net.plan, "y"))->shape;
    if (out) TRY(write_tensor(out, ys, y));
    if (profile) TRY(app_write_profile(net.plan, e, profile));
    if (whole) {
        ldm_exec_destroy(e);
        e = NULL;
        TRY(compare_whole(&o, &v));
    }
done:
    free(y);
    ldm_exec_destroy(e);
    ldm_cl_close(cl);
    app_network_close(&net);
    app_network_close(&probe);
    free_inputs(&in);
    free(config), free(model), free(out), free(executor), free(dump), free(profile), free(impl),
        free(save);
    app_free_list(ins);
    poptFreeContext(ctx);
    return st;
}
