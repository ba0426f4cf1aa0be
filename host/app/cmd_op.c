/* cmd_op.c -- `ldm op PROBLEM`: runs one op on the device and judges it against its reference. */
#include "app/app.h"
#include "io/io.h"
#include "ops/op.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --in slot=file.npy, in the op's own layout (maps NHWC, weights as PyTorch's). */
static ldm_status read_slot(const ldm_problem *p, const ldm_slot *slot, const char *arg, float **in) {
    char name[64], got[128], want[128];
    size_t n = strcspn(arg, "=");
    ldm_array a = {0};
    snprintf(name, sizeof name, "%.*s", (int)n, arg);
    int i = ldm_op_slot_index(p->op, name);
    if (!arg[n] || i < 0 || i == ldm_op_slots(p->op) - 1)
        return ldm_fail(LDM_ERR_ARG, "--in %s: wanted SLOT=FILE.npy with an input of '%s'", arg, p->op->slots);
    if (!slot[i].present) return ldm_fail(LDM_ERR_ARG, "--in %s: this problem has no %s", arg, name);
    ldm_status st = ldm_npy_read_f32(arg + n + 1, &a);
    if (st) return st;
    int64_t count = ldm_shape_count(&slot[i].shape);
    if (ldm_shape_count(&a.shape) != count) {
        st = ldm_fail(LDM_ERR_FORMAT, "%s: shape %s, slot %s wants %s", arg + n + 1,
                      ldm_shape_text(&a.shape, got, sizeof got), name,
                      ldm_shape_text(&slot[i].shape, want, sizeof want));
    } else {
        memcpy(in[i], a.data, (size_t)count * sizeof(float));
        ldm_round_tensor(slot[i].dtype, &slot[i].shape, in[i]);
    }
    ldm_array_free(&a);
    return st;
}

APP_COMMAND(op) {
    static const char *const fills[LDM_FILLS] = {"zeromean", "positive", "offset", "spiky", "integer"};
    char *impl = NULL, *given = NULL, *out = NULL, *fill = NULL, **ins = NULL, params[160], text[LDM_PROBLEM_TEXT];
    long long seed = 1;
    struct poptOption table[] = {
        {"impl", 0, POPT_ARG_STRING, &impl, 0, "the implementation to run (else the one that would be chosen)", "NAME"},
        {"params", 0, POPT_ARG_STRING, &given, 0, "its parameters, e.g. 'TILE_ROWS=4' (else its defaults)", "NAME=N ..."},
        {"seed", 's', POPT_ARG_LONGLONG, &seed, 0, "seed of the inputs", "S"},
        {"fill", 0, POPT_ARG_STRING, &fill, 0, "kind of inputs: zeromean, positive, offset, spiky, integer", "KIND"},
        {"in", 0, POPT_ARG_ARGV, &ins, 0, "take a slot from a file; may be repeated", "SLOT=FILE.npy"},
        {"out", 'o', POPT_ARG_STRING, &out, 0, "write the device's result", "FILE.npy"},
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_problem p;
    ldm_cl *cl = NULL;
    ldm_choice c = {0};
    float *in[LDM_MAX_SLOTS] = {0}, *y = NULL;
    ldm_oprun *run = NULL;
    ldm_verdict v;
    ldm_slot slot[LDM_MAX_SLOTS];
    ldm_status st = LDM_OK;
    memset(slot, 0, sizeof slot);
    TRY(app_parse(self, table, argc, argv, 1, 1, &words, &ctx));
    int how = 0;
    while (fill && how < LDM_FILLS && strcmp(fills[how], fill)) how++;
    if (how == LDM_FILLS)
        TRY(ldm_fail(LDM_ERR_ARG, "--fill %s: wanted zeromean, positive, offset, spiky or integer", fill));
    TRY(ldm_problem_parse(words[0], &p));
    TRY(p.op->infer(&p, slot));
    if (out) TRY(ldm_try_file(out));
    TRY(ldm_make_inputs(&p, (ldm_fill)how, (uint64_t)seed, in));
    for (char **a = ins; a && *a; a++) TRY(read_slot(&p, slot, *a, in));
    app_device.profile = true;
    TRY(app_open_untested(&cl));
    TRY(impl ? ldm_choose_named(&p, ldm_cl_device(cl), impl, &c) : ldm_choose(&p, ldm_cl_device(cl), &c));
    if (given && ldm_params_parse(&p, c.impl, ldm_cl_device(cl), given, c.params)) TRY(LDM_ERR_ARG);
    const ldm_slot *ys = &slot[ldm_op_slots(p.op) - 1];
    TRY(ldm_alloc((size_t)ldm_shape_count(&ys->shape) * sizeof *y, (void **)&y));
    TRY(ldm_oprun_create(cl, &p, &c, (const float *const *)in, &run));
    TRY(ldm_oprun_judge(run, (const float *const *)in, NULL, y, &v));
    TRY(ldm_oprun_enqueue(run));
    TRY(ldm_cl_finish(cl));
    ldm_cost cost = p.op->cost(&p);
    double s = ldm_oprun_seconds(run);
    printf("%s\n%s %s\n", ldm_problem_text(&p, text, sizeof text), c.impl->name,
           ldm_choice_params(&c, params, sizeof params));
    printf("time %.3f ms, %.1f GFLOP/s, %.1f GB/s\n", s * 1e3, cost.flops / s * 1e-9, cost.bytes / s * 1e-9);
    printf("worst error / bound %.3g at %lld: got %.9g, reference %.9g, bound %.3g; bias %.3g\n", v.worst,
           (long long)v.worst_at, v.got, v.want, v.bound, v.bias);
    if (out) TRY(ldm_npy_write(out, LDM_F32, &ys->shape, y));
    if (!v.pass)
        TRY(ldm_fail(isfinite(v.want) ? LDM_ERR_MISMATCH : LDM_ERR_NONFINITE, "%s: element %lld is %.9g, reference %.9g, error %.3g of bound %.3g",
                     c.impl->name, (long long)v.worst_at, v.got, v.want, fabs(v.got - v.want), v.bound));
done:
    ldm_oprun_destroy(run);
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(in[i]);
    free(y), free(impl), free(given), free(out), free(fill);
    ldm_cl_close(cl);
    app_free_list(ins);
    poptFreeContext(ctx);
    return st;
}
