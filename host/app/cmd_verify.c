/* cmd_verify.c -- `ldm verify`: a network's plan, or every op's test cases, kernels against references; digests of
 * every step to find what a driver or compiler update changed. */
#include "app/network.h"
#include "plan/verify.h"
#include "sample/sample.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct worst_of {
    double ratio;
    int step, judged;
} worst_of;

typedef struct verifier {
    const ldm_plan *plan;
    worst_of op[64]; /* by place in ldm_ops */
    int first_bad, bad;
    ldm_text digests; /* --save */
    char *against;    /* --against: the other file's text */
    int changed;
    ldm_progress bar;
    uint64_t seed;
} verifier;

static int op_place(const ldm_op *op) {
    int i = 0;
    while (ldm_ops[i] && ldm_ops[i] != op) i++;
    return i;
}

/* The digest and what follows it in the line of step i of a digest file, "step scope digest problem"; NULL: no such line. */
static const char *digest_of(const verifier *v, int i) {
    char want[256];
    snprintf(want, sizeof want, "\n%d %s ", i, v->plan->step[i].scope);
    const char *line = strstr(v->against, want);
    return line ? line + strlen(want) : NULL;
}

/* Whether the digests are of these steps; where they are of others, no difference of theirs says anything. */
static ldm_status check_same_steps(const verifier *v, const char *file) {
    char text[LDM_PROBLEM_TEXT], last[32];
    for (int i = 0; i < v->plan->steps; i++) {
        const char *there = digest_of(v, i);
        ldm_problem_text(&v->plan->step[i].problem, text, sizeof text);
        const size_t digits = there ? strspn(there, "0123456789abcdef") : 0, len = strlen(text);
        if (digits != 16 || there[16] != ' ' || strncmp(there + 17, text, len) || there[17 + len] != '\n')
            return ldm_fail(LDM_ERR_FORMAT, "%s: is of another network or plan: it has no step %d (%s) %s", file, i,
                            v->plan->step[i].scope, text);
    }
    snprintf(last, sizeof last, "\n%d ", v->plan->steps);
    if (strstr(v->against, last))
        return ldm_fail(LDM_ERR_FORMAT, "%s: is of another network or plan: it has more than %d steps", file, v->plan->steps);
    return LDM_OK;
}

static ldm_status each(void *user, const ldm_verify_report *r) {
    verifier *v = user;
    const ldm_step_info *s = &v->plan->step[r->step];
    char text[LDM_PROBLEM_TEXT];
    worst_of *w = &v->op[op_place(s->problem.op)];
    ldm_problem_text(&s->problem, text, sizeof text);
    w->judged++;
    if (r->verdict.worst > w->ratio || w->judged == 1) w->ratio = r->verdict.worst, w->step = r->step;
    if (!r->verdict.pass) {
        v->bad++;
        if (v->first_bad < 0) {
            v->first_bad = r->step;
            printf("step %d (%s) fails: element %lld is %.9g, reference %.9g, error/bound %.3g\n  repeat: ldm op '%s' "
                   "--impl %s\n",
                   r->step, s->scope, (long long)r->verdict.worst_at, r->verdict.got, r->verdict.want, r->verdict.worst,
                   text, r->choice->impl->name);
        }
    }
    ldm_text_add(&v->digests, "%d %s %016" PRIx64 " %s\n", r->step, s->scope, r->digest, text);
    if (v->against && strtoull(digest_of(v, r->step), NULL, 16) != r->digest && v->changed++ < 10)
        printf("step %d (%s) differs from the saved run: %s, %s\n", r->step, s->scope, text, r->choice->impl->name);
    ldm_progress_to(&v->bar, r->step + 1);
    return LDM_OK;
}

/* Inputs of order one: the latent as noise, t = 500, context and classes from the seed. */
static ldm_status feed(const app_network *net, ldm_exec *e, uint64_t seed) {
    const ldm_plan *p = net->plan;
    for (int t = 0; t < p->tensors; t++) {
        const ldm_tensor_info *i = &p->tensor[t];
        if (i->kind != LDM_INPUT) continue;
        int64_t n = ldm_shape_count(&i->shape);
        float *data = NULL;
        ldm_status st = ldm_alloc((size_t)n * sizeof *data, (void **)&data);
        if (st) return st;
        for (int64_t k = 0; k < n; k++)
            data[k] = i->dtype == LDM_I32 ? 7 : 1.7f * ldm_uniform(seed, ldm_hash_text(i->name), (uint64_t)k);
        if (!strcmp(i->name, "temb"))
            for (int64_t b = 0; b < i->shape.dim[0]; b++)
                ldm_timestep_embedding(500, (int)i->shape.dim[1], data + b * i->shape.dim[1]);
        st = ldm_exec_write(e, t, data);
        free(data);
        if (st) return st;
    }
    return LDM_OK;
}

static ldm_status verify_network(const app_network_options *o, ldm_cl *cl, const char *impl, int mode, const char *save,
                                 const char *against) {
    ldm_status st = LDM_OK;
    app_network net = {0};
    ldm_exec *e = NULL;
    verifier v = {.first_bad = -1};
    size_t size;
    if (save) TRY(ldm_try_file(save));
    TRY(app_network_plan(o, &net));
    TRY(app_network_weights(o, &net));
    TRY(app_network_exec(&net, cl, impl, &e));
    v.plan = net.plan;
    if (against) {
        char *file = NULL;
        TRY(ldm_read_file(against, 1 << 26, &file, &size));
        bool fits = !strncmp(file, "ldm-digests 1\n", 14);
        v.against = file;
        if (!fits) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: not a digest file of `ldm verify --save`", against));
        TRY(check_same_steps(&v, against));
    }
    double flops = ldm_plan_cost(net.plan, 0).flops;
    ldm_verify_options vo = {.complete = mode == 0 ? flops < 4e9 : mode == 1,
                             .samples = 4096,
                             .seed = 1,
                             .judge = true,
                             .each = each,
                             .user = &v};
    TRY(feed(&net, e, 1));
    ldm_note("%d steps, %.1f GFLOP, %s", net.plan->steps, flops * 1e-9,
             vo.complete ? "complete, the kernels fed the references' inputs"
                         : "4096 outputs of each step plus edges and tails, the references fed the device's inputs");
    double start = ldm_now();
    ldm_progress_begin(&v.bar, "verifying", "steps", net.plan->steps);
    st = ldm_plan_verify(net.plan, e, 0, &vo);
    ldm_progress_end(&v.bar);
    TRY(st);
    printf("%-16s %6s %14s  %s\n", "op", "steps", "error/bound", "worst at");
    for (int i = 0; ldm_ops[i]; i++)
        if (v.op[i].judged)
            printf("%-16s %6d %14.3f  step %d, %s\n", ldm_ops[i]->name, v.op[i].judged, v.op[i].ratio, v.op[i].step,
                   net.plan->step[v.op[i].step].scope);
    printf("%d steps verified on %s in %.1f s, %d outside their bound\n", net.plan->steps, ldm_cl_device(cl)->name,
           ldm_now() - start, v.bad);
    if (save) {
        ldm_text head = {0};
        ldm_text_add(&head, "ldm-digests 1\n%s", v.digests.s ? v.digests.s : "");
        st = ldm_write_file(save, head.s, head.len);
        ldm_text_free(&head);
        TRY(st);
    }
    if (against) printf("%d of %d steps differ from %s\n", v.changed, net.plan->steps, against);
    if (v.bad)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "%d of %d steps are outside their bound, the first is step %d (%s)", v.bad,
                     net.plan->steps, v.first_bad, net.plan->step[v.first_bad].scope));
    if (v.changed)
        TRY(ldm_fail(LDM_ERR_MISMATCH, "%d of %d steps differ from %s", v.changed, net.plan->steps, against));
done:
    ldm_text_free(&v.digests);
    free(v.against);
    ldm_exec_destroy(e);
    app_network_close(&net);
    return st;
}

static ldm_status verify_case(ldm_cl *cl, const ldm_problem *p, const ldm_choice *c, ldm_verdict *v) {
    ldm_status st = LDM_OK;
    float *in[LDM_MAX_SLOTS] = {0};
    ldm_oprun *run = NULL;
    TRY(ldm_make_inputs(p, LDM_FILL_ZEROMEAN, 1, in));
    TRY(ldm_oprun_create(cl, p, c, (const float *const *)in, &run));
    TRY(ldm_oprun_judge(run, (const float *const *)in, NULL, NULL, v));
done:
    ldm_oprun_destroy(run);
    for (int i = 0; i < LDM_MAX_SLOTS; i++) free(in[i]);
    return st;
}

/* Every op's cases on every row of it that can run here and that is meant for this device, or is a library's. */
static ldm_status verify_ops(ldm_cl *cl) {
    ldm_status st = LDM_OK;
    int bad = 0, cases = 0;
    ldm_progress bar;
    ldm_progress_begin(&bar, "verifying ops", "cases", 0);
    printf("%-24s %6s %14s\n", "implementation", "cases", "error/bound");
    for (int o = 0; ldm_ops[o]; o++) {
        for (const ldm_impl *i = ldm_ops[o]->impls; i->name; i++) {
            double worst = 0;
            int ran = 0;
            for (int k = 0; ldm_ops[o]->cases[k]; k++) {
                ldm_problem p;
                ldm_choice c;
                ldm_verdict v;
                TRY(ldm_check_interrupt());
                TRY(ldm_problem_parse(ldm_ops[o]->cases[k], &p));
                const ldm_device *d = ldm_cl_device(cl);
                if (i->family == LDM_LIBRARY ? ldm_cannot(&p, d, i) : ldm_why_not(&p, d, i)) continue;
                TRY(ldm_choose_named(&p, d, i->name, &c));
                TRY(verify_case(cl, &p, &c, &v));
                ran++, cases++;
                worst = fmax(worst, v.worst);
                if (!v.pass) bad++, printf("fails: ldm op '%s' --impl %s\n", ldm_ops[o]->cases[k], i->name);
                bar.total = cases;
                ldm_progress_to(&bar, cases);
            }
            if (ran) printf("%-24s %6d %14.3f\n", i->name, ran, worst);
        }
    }
    printf("%d cases on %s, %d outside their bound\n", cases, ldm_cl_device(cl)->name, bad);
    if (bad) st = ldm_fail(LDM_ERR_MISMATCH, "%d of %d cases are outside their bound", bad, cases);
done:
    ldm_progress_end(&bar);
    return st;
}

APP_COMMAND(verify) {
    char *model = NULL, *config = NULL, *save = NULL, *against = NULL, *impl = NULL;
    long long synthetic = 1;
    int ops = 0, complete = 0, sampled = 0, height = APP_UNSET, batch = APP_UNSET;
    struct poptOption table[] = {
        {"ops", 0, POPT_ARG_NONE, &ops, 0, "every op's test cases instead of a network", NULL},
        {"model", 'm', POPT_ARG_STRING, &model, 0, "checkpoint (else synthetic weights)", "FILE"},
        {"config", 0, POPT_ARG_STRING, &config, 0, "configuration where the file does not say it", "NAME"},
        {"synthetic", 0, POPT_ARG_LONGLONG, &synthetic, 0, "seed of synthetic weights (1)", "SEED"},
        {"height", 'H', POPT_ARG_INT, &height, 0, "side of the network's input (default: native)", "N"},
        {"batch", 'b', POPT_ARG_INT, &batch, 0, "batch size", "N"},
        {"complete", 0, POPT_ARG_NONE, &complete, 0, "judge every output (default below 4 GFLOP)", NULL},
        {"sampled", 0, POPT_ARG_NONE, &sampled, 0,
         "judge 4096 outputs of each step plus every edge and tail (default above)", NULL},
        {"impl", 0, POPT_ARG_STRING, &impl, 0, "force implementations, e.g. conv2d=conv2d_gpu", "LIST"},
        {"save", 0, POPT_ARG_STRING, &save, 0, "keep a digest of every step's output", "FILE"},
        {"against", 0, POPT_ARG_STRING, &against, 0, "compare with digests kept before", "FILE"},
        APP_PLAN,
        APP_DEVICE,
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_cl *cl = NULL;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 0, 1, &words, &ctx));
    if (!ops == !(words && words[0])) TRY(ldm_fail(LDM_ERR_ARG, "which network? name one, or give --ops (not both)"));
    if (ops && (model || config || save || against || impl || height != APP_UNSET || batch != APP_UNSET || complete || sampled))
        TRY(ldm_fail(LDM_ERR_ARG, "--ops judges every case of every op: no other option than the device's goes with it"));
    if (complete && sampled) TRY(ldm_fail(LDM_ERR_ARG, "--complete and --sampled exclude one another"));
    app_network_options o = {.net = ops ? NULL : words[0],
                             .config = config,
                             .model = model,
                             .synthetic = synthetic};
    TRY(app_size_given("--batch", batch, &o.n));
    TRY(app_size_given("--height", height, &o.h));
    TRY(app_storage(&o.dtype, &o.wdtype));
    TRY(app_open_untested(&cl));
    TRY(ops ? verify_ops(cl) : verify_network(&o, cl, impl, complete ? 1 : sampled ? 2 : 0, save, against));
done:
    ldm_cl_close(cl);
    free(model), free(config), free(save), free(against), free(impl);
    poptFreeContext(ctx);
    return st;
}
