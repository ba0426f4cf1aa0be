/* test_onnx.c -- an independent witness: the test vectors of the ONNX standard (Debian: libonnx-testdata), made with
 * NumPy and PyTorch by other people. Every vector of one operator that an op of ours can express is run through the
 * reference and through every implementation on the device; both must agree with the vector within the op's own bound
 * plus the rounding of the vector's result. The standard has no attention, no group norm and no SiLU: instance norm is
 * group norm of one channel a group, and x sigmoid(x), x (1 + erf(x / sqrt 2)) / 2 and 3 tanh(x / 3) are made from the
 * vectors of sigmoid, erf and tanh.
 *
 *   test_onnx [--device D] [PART OF A FOLDER'S NAME]... */
#include "io/io.h"
#include "tests/opcase.h"
#include <dirent.h>
#include <unistd.h>

#ifndef HAVE_PROTOBUF_C
int main(int argc, char **argv) {
    test_begin(argc, argv, "onnx");
    CASE("vectors") SKIP("built without protobuf-c (Debian: protobuf-c-compiler libprotobuf-c-dev)");
    return test_end();
}
#else
#include "tests/onnx.h"

static const char *const root = "/usr/share/libonnx-testdata/data";

/* ---- layouts ----------------------------------------------------------------------------------------------------- */

static long long product(const tensor *t, int from, int to) {
    long long n = 1;
    for (int i = from; i < to; i++) n *= t->dim[i];
    return n;
}
static long long axis_of(const vector *v, long long otherwise) {
    long long axis = whole(v, "axis", 0, otherwise);
    return axis < 0 ? axis + v->in[0].rank : axis;
}

/* Middle axis last: [a, b, c] to [a, c, b], in place. A map's channels, a softmax's axis, a matrix's transposition. */
static void swap(tensor *t, long long a, long long b, long long c) {
    float *to = floats(t->count);
    ldm_nchw_to_nhwc(t->data, a, b, 1, c, to);
    free(t->data);
    t->data = to;
}
static void channels_last(tensor *t) { swap(t, t->dim[0], t->dim[1], product(t, 2, t->rank)); }

static void scale(tensor *t, double by) {
    for (long long i = 0; i < t->count; i++) t->data[i] = (float)(by * t->data[i]);
}

/* Slot `slot` of our op takes the data of t. */
static void give(vector *v, int slot, tensor *t) { v->op.in[slot] = t->data, t->data = NULL; }

/* ---- operators: each turns a vector into a problem and its slots, or says no
 * ------------------------------------------- */

#define PROBLEM(v, ...) snprintf((v)->problem, sizeof(v)->problem, __VA_ARGS__)

static bool conv(vector *v) {
    tensor *x = &v->in[0], *w = &v->in[1];
    const int two = x->rank - 2; /* axes of the map: a signal is a map of one row */
    const long long stride = whole(v, "strides", 0, 1);
    if (two < 1 || two > 2 || whole(v, "group", 0, 1) != 1 || !word(v, "auto_pad", "NOTSET")) return false;
    for (int i = 0; i < two; i++)
        if (whole(v, "dilations", i, 1) != 1 || whole(v, "strides", i, 1) != stride) return false;
    PROBLEM(v,
            "conv2d:f32 n=%lld c=%lld h=%lld w=%lld k=%lld r=%lld s=%lld stride=%lld pt=%lld pl=%lld pb=%lld pr=%lld%s",
            x->dim[0], x->dim[1], product(x, 2, 1 + two), x->dim[1 + two], w->dim[0], product(w, 2, 1 + two),
            w->dim[1 + two], stride, two > 1 ? whole(v, "pads", 0, 0) : 0, whole(v, "pads", two - 1, 0),
            two > 1 ? whole(v, "pads", 2, 0) : 0, whole(v, "pads", 2 * two - 1, 0), v->in[2].data ? " +bias" : "");
    channels_last(x), channels_last(&v->out);
    give(v, 0, x), give(v, 2, w), give(v, 3, &v->in[2]);
    return true;
}

static bool gemm(vector *v) {
    tensor *x = &v->in[0], *w = &v->in[1], *c = &v->in[2];
    const long long m = v->out.dim[0], n = v->out.dim[1], k = x->count / m;
    if (whole(v, "transA", 0, 0)) swap(x, 1, k, m);
    scale(x, real(v, "alpha", 1)), scale(c, real(v, "beta", 1));
    if (c->data && c->count == 1) { /* one number for all */
        float *all = floats(n);
        for (long long i = 0; i < n; i++) all[i] = c->data[0];
        free(c->data);
        c->data = all, c->count = n;
    }
    if (c->data && c->count != n && c->count != m * n) return false;
    PROBLEM(v, "gemm:f32 m=%lld n=%lld k=%lld%s%s", m, n, k, whole(v, "transB", 0, 0) ? "" : " +wkn",
            c->count == 0   ? ""
            : c->count == n ? " +bias"
                            : " +residual");
    give(v, 0, x), give(v, 1, w), give(v, c->count == n ? 2 : 4, c);
    return true;
}

static bool matmul(vector *v) {
    tensor *x = &v->in[0], *w = &v->in[1];
    if (x->rank != w->rank || x->rank < 2) return false;
    PROBLEM(v, "gemm:f32 m=%lld n=%lld k=%lld batch=%lld +wkn +wbatch", x->dim[x->rank - 2], w->dim[x->rank - 1],
            x->dim[x->rank - 1], product(x, 0, x->rank - 2));
    give(v, 0, x), give(v, 1, w);
    return true;
}

static bool softmax(vector *v) {
    tensor *x = &v->in[0];
    int axis = (int)axis_of(v, v->opset < 13 ? 1 : -1);
    const long long rows = product(x, 0, axis), cols = v->opset < 13 ? product(x, axis, x->rank) : x->dim[axis];
    const long long behind = x->count / rows / cols; /* before opset 13 the axes from `axis` on are one */
    swap(x, rows, cols, behind), swap(&v->out, rows, cols, behind);
    PROBLEM(v, "softmax:f32 rows=%lld cols=%lld", rows * behind, cols);
    give(v, 0, x);
    return true;
}

static bool layer_norm(vector *v) {
    const long long rows = product(&v->in[0], 0, (int)axis_of(v, -1));
    PROBLEM(v, "layer_norm:f32 rows=%lld c=%lld eps=%.9g", rows, v->in[0].count / rows, real(v, "epsilon", 1e-5f));
    for (int i = 0; i < 3; i++) give(v, i, &v->in[i]);
    return true;
}

static bool instance_norm(vector *v) {
    tensor *x = &v->in[0];
    PROBLEM(v, "group_norm:f32 n=%lld hw=%lld c=%lld groups=%lld eps=%.9g", x->dim[0], product(x, 2, x->rank),
            x->dim[1], x->dim[1], real(v, "epsilon", 1e-5f));
    channels_last(x), channels_last(&v->out);
    for (int i = 0; i < 3; i++) give(v, i, &v->in[i]);
    return true;
}

static bool activation(vector *v, const char *fn) {
    PROBLEM(v, "activation:f32 count=%lld fn=%s", v->in[0].count, fn);
    give(v, 0, &v->in[0]);
    return true;
}
static bool relu(vector *v) { return activation(v, "relu"); }
static bool silu(vector *v) {
    for (long long i = 0; i < v->out.count; i++) v->out.data[i] *= v->in[0].data[i];
    return activation(v, "silu");
}
static bool gelu(vector *v) {
    scale(&v->in[0], sqrt(2));
    for (long long i = 0; i < v->out.count; i++) v->out.data[i] = 0.5f * v->in[0].data[i] * (1 + v->out.data[i]);
    return activation(v, "gelu");
}
static bool tanh3(vector *v) {
    scale(&v->in[0], 3), scale(&v->out, 3);
    return activation(v, "tanh3");
}

static bool add(vector *v) {
    const tensor *a = &v->in[0], *b = &v->in[1];
    if (a->dtype != LDM_F32 || a->count != v->out.count || b->rank > a->rank) return false;
    for (int i = 1; i <= b->rank; i++) /* b is repeated whole, never along an axis of its own */
        if (b->dim[b->rank - i] != a->dim[a->rank - i]) return false;
    PROBLEM(v, "add:f32 count=%lld bcount=%lld", a->count, b->count == a->count ? 0 : b->count);
    give(v, 0, &v->in[0]), give(v, 1, &v->in[1]);
    return true;
}

static bool lincomb(vector *v, double first, double others) {
    tensor coef = {.data = floats(MOST_INPUTS)};
    for (int i = 0; i < v->inputs; i++) coef.data[i] = (float)(i ? others : first);
    PROBLEM(v, "lincomb:f32 count=%lld terms=%d", v->out.count, v->inputs);
    give(v, 0, &coef);
    for (int i = 0; i < v->inputs; i++) give(v, 1 + i, &v->in[i]);
    return v->in[0].dtype == LDM_F32 && v->in[0].count == v->out.count && v->in[v->inputs - 1].count == v->out.count;
}
static bool sum(vector *v) { return lincomb(v, 1, 1); }
static bool sub(vector *v) { return lincomb(v, 1, -1); }
static bool mean(vector *v) { return lincomb(v, 1.0 / v->inputs, 1.0 / v->inputs); }

static bool concat(vector *v) {
    const int axis = (int)axis_of(v, 1);
    const long long rows = product(&v->in[0], 0, axis);
    if (v->inputs != 2) return false;
    PROBLEM(v, "concat:f32 rows=%lld ca=%lld cb=%lld", rows, v->in[0].count / rows, v->in[1].count / rows);
    give(v, 0, &v->in[0]), give(v, 1, &v->in[1]);
    return true;
}

/* Nearest, twice as high and three times as wide: of the witness's columns two of each three are ours. */
static bool upsample(vector *v) {
    tensor *x = &v->in[0], *y = &v->out;
    if (!word(v, "mode", "nearest") || x->rank != 4 || y->dim[2] != 2 * x->dim[2] || y->dim[3] != 3 * x->dim[3])
        return false;
    long long kept = 0;
    for (long long i = 0; i < y->count; i++)
        if (i % 3 < 2) y->data[kept++] = y->data[i];
    y->dim[3] = 2 * x->dim[3], y->count = kept;
    channels_last(x), channels_last(y);
    PROBLEM(v, "upsample:f32 n=%lld h=%lld w=%lld c=%lld", x->dim[0], x->dim[2], x->dim[3], x->dim[1]);
    give(v, 0, x);
    return true;
}

static bool avg_pool(vector *v) {
    tensor *x = &v->in[0];
    if (x->rank != 4 || !word(v, "auto_pad", "NOTSET") || whole(v, "ceil_mode", 0, 0)) return false;
    for (size_t i = 0; i < 4; i++)
        if (whole(v, "kernel_shape", i / 2, 0) != 2 || whole(v, "strides", i / 2, 1) != 2 || whole(v, "pads", i, 0))
            return false;
    PROBLEM(v, "avg_pool:f32 n=%lld h=%lld w=%lld c=%lld", x->dim[0], x->dim[2], x->dim[3], x->dim[1]);
    channels_last(x), channels_last(&v->out);
    give(v, 0, x);
    return true;
}

static bool embedding(vector *v) {
    const tensor *table = &v->in[0], *ids = &v->in[1];
    if (axis_of(v, 0) != 0) return false;
    for (long long i = 0; i < ids->count; i++)
        if (ids->data[i] < 0) return false; /* counted from the end */
    PROBLEM(v, "embedding:f32 rows=%lld entries=%lld c=%lld", ids->count, table->dim[0], table->count / table->dim[0]);
    give(v, 0, &v->in[1]), give(v, 1, &v->in[0]);
    return true;
}

static bool cast(vector *v) {
    const ldm_dtype from = v->in[0].dtype, to = v->out.dtype;
    if ((from != LDM_F32 && from != LDM_F16) || (to != LDM_F32 && to != LDM_F16)) return false;
    PROBLEM(v, "cast:%s count=%lld to=%s", ldm_dtype_name(from), v->in[0].count, ldm_dtype_name(to));
    give(v, 0, &v->in[0]);
    return true;
}

/* ONNX's operator, what it becomes, and how many vectors of it the Debian package holds for us: fewer means that
 * something here no longer reads them. */
static const struct {
    const char *name;
    bool (*make)(vector *v);
    int least;
} operators[] = {
    {"Conv", conv, 16},
    {"Gemm", gemm, 12},
    {"MatMul", matmul, 3},
    {"Softmax", softmax, 10},
    {"LayerNormalization", layer_norm, 19},
    {"InstanceNormalization", instance_norm, 3},
    {"Relu", relu, 2},
    {"Sigmoid", silu, 3},
    {"Erf", gelu, 1},
    {"Tanh", tanh3, 3},
    {"Add", add, 2},
    {"Sum", sum, 3},
    {"Sub", sub, 2},
    {"Mean", mean, 3},
    {"Concat", concat, 13},
    {"Resize", upsample, 1},
    {"Upsample", upsample, 1},
    {"AveragePool", avg_pool, 3},
    {"Gather", embedding, 3},
    {"Cast", cast, 4},
};
enum { OPERATORS = sizeof operators / sizeof *operators };

/* ---- judging ----------------------------------------------------------------------------------------------------- */

/* Every element of y within its bound of the vector: the op's own, and half an ulp of the vector's f32 result. */
static void judge(const vector *v, const char *who, const float *device, double *worst) {
    for (long long i = 0; i < v->op.outputs; i++) {
        const double y = device ? device[i] : v->op.want[i], w = v->out.data[i];
        const double bound = v->op.bound[i] + 0x1p-24 * fabs(w), off = y == w ? 0 : fabs(y - w) / bound;
        if (!(off <= *worst)) *worst = off;
        CHECK(off <= 1, "%s: %s gives %.9g at %lld, the vector %.9g, bound %.3g", v->problem, who, y, i, w, bound);
        if (!(off <= 1)) return;
    }
}

static void run_vector(ldm_cl *cl, vector *v, double *worst) {
    opcase *c = &v->op;
    const float *const *in = (const float *const *)c->in;
    c->slots = ldm_op_slots(c->p.op);
    CHECK_OK(c->p.op->infer(&c->p, c->slot));
    c->outputs = ldm_shape_count(&c->slot[c->slots - 1].shape);
    CHECK(c->outputs == v->out.count, "%s: not as many outputs as the vector's %lld", v->problem, v->out.count);
    if (c->outputs != v->out.count) return;
    c->want = malloc((size_t)c->outputs * sizeof *c->want), c->bound = malloc((size_t)c->outputs * sizeof *c->bound);
    if (!c->want || !c->bound) abort();
    c->p.op->reference(&c->p, in, NULL, c->want, c->bound);
    judge(v, "the reference", NULL, worst);
    float *y = floats(c->outputs);
    for (const ldm_impl *impl = c->p.op->impls; impl->name; impl++) {
        ldm_choice choice = {.impl = impl};
        ldm_oprun *run = NULL;
        if (impl->supports && impl->supports(&c->p, ldm_cl_device(cl))) continue;
        ldm_default_params(&c->p, impl, ldm_cl_device(cl), choice.params);
        ldm_status st = ldm_oprun_create(cl, &c->p, &choice, in, &run);
        if (!st) st = ldm_oprun_result(run, y);
        ldm_reference(&c->p, &choice, in, NULL, c->want, c->bound);
        CHECK(st == LDM_OK, "%s: %s: %s", v->problem, impl->name, ldm_message());
        if (!st) judge(v, impl->name, y, worst);
        ldm_oprun_destroy(run);
    }
    free(y);
}

static int visible(const struct dirent *d) { return d->d_name[0] != '.'; }

static void run_group(ldm_cl *cl, const char *group, int *ran, double *worst) {
    char name[300], path[400];
    struct dirent **folder;
    snprintf(path, sizeof path, "%s/%s", root, group);
    const int folders = scandir(path, &folder, visible, alphasort);
    for (int f = 0; f < folders; f++) {
        vector v;
        snprintf(name, sizeof name, "%s/%s", group, folder[f]->d_name);
        snprintf(path, sizeof path, "%s/%s", root, name);
        if (vector_read(path, &v))
            for (int i = 0; i < OPERATORS; i++)
                if (!strcmp(operators[i].name, v.node->op_type) && operators[i].make(&v) &&
                    ldm_problem_parse(v.problem, &v.op.p) == LDM_OK) {
                    ran[i]++;
                    CASE(name) run_vector(cl, &v, &worst[i]);
                    test_close_case();
                }
        vector_free(&v);
        free(folder[f]);
    }
    if (folders >= 0) free(folder);
}

int main(int argc, char **argv) {
    const ldm_cl_options options = {.select = opcase_device_option(&argc, argv)};
    static int ran[OPERATORS];
    static double worst[OPERATORS];
    ldm_cl *cl;
    test_begin(argc, argv, "onnx");
    if (access(root, R_OK)) {
        CASE("vectors") SKIP("%s is not there (Debian: libonnx-testdata)", root);
        return test_end();
    }
    if (ldm_cl_open(&options, &cl)) {
        CASE("device") CHECK(false, "%s", ldm_message());
        return test_end();
    }
    run_group(cl, "node", ran, worst);
    run_group(cl, "pytorch-converted", ran, worst);
    run_group(cl, "pytorch-operator", ran, worst);
    CASE("every operator's vectors are found")
    for (int i = 0; i < OPERATORS; i++) {
        printf("%-22s %2d vectors, worst error/bound %.2f\n", operators[i].name, ran[i], worst[i]);
        CHECK(ran[i] >= operators[i].least, "%s: %d vectors, wanted %d", operators[i].name, ran[i], operators[i].least);
    }
    ldm_cl_close(cl);
    return test_end();
}
#endif
