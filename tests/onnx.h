/* onnx.h -- the ONNX standard's test vectors as files: models of one operator, its attributes, inputs and output. What
 * they mean is test_onnx's. Trusted files of a Debian package: sizes are checked, nothing more. */
#ifndef LDM_TESTS_ONNX_H
#define LDM_TESTS_ONNX_H

#include "onnx.pb-c.h" /* made from onnx.proto */
#include "tests/opcase.h"

enum { MOST_INPUTS = 8, MOST_AXES = 8 };

typedef struct tensor {
    ldm_dtype dtype;
    int rank;
    long long dim[MOST_AXES], count;
    float *data; /* NULL: no such tensor */
} tensor;

/* A vector: one node, its inputs, what must come out; `op` is what the op of ours is given and must give. */
typedef struct vector {
    Model *model;
    const Node *node;
    int inputs;
    tensor in[MOST_INPUTS], out;
    long long opset;
    opcase op;
    char problem[LDM_PROBLEM_TEXT];
} vector;

static inline float *floats(long long count) {
    float *data = malloc((size_t)(count ? count : 1) * sizeof *data);
    if (!data) abort();
    return data;
}

/* False for element types that no op of ours takes. */
static inline bool convert(const Tensor *t, tensor *out) {
    static const struct {
        int onnx;
        ldm_dtype ours;
    } types[] = {{1, LDM_F32}, {6, LDM_I32}, {7, LDM_I64}, {10, LDM_F16}, {16, LDM_BF16}};
    int type = -1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].onnx == t->data_type) type = (int)i;
    if (type < 0 || t->n_dims > MOST_AXES) return false;
    *out = (tensor){.dtype = types[type].ours, .rank = (int)t->n_dims, .count = 1};
    for (int i = 0; i < out->rank; i++) out->count *= out->dim[i] = t->dims[i];
    if (!out->count || t->raw_data.len != (size_t)out->count * ldm_dtype_size(out->dtype)) return false;
    out->data = floats(out->count);
    ldm_to_f32(out->dtype, t->raw_data.data, (size_t)out->count, out->data);
    return true;
}

static inline bool read_tensor(const char *folder, const char *kind, int index, tensor *out) {
    char path[600], *bytes = NULL;
    size_t size;
    snprintf(path, sizeof path, "%s/test_data_set_0/%s_%d.pb", folder, kind, index);
    if (ldm_read_file(path, 1 << 26, &bytes, &size)) return false;
    Tensor *t = tensor__unpack(NULL, size, (uint8_t *)bytes);
    bool ok = t && convert(t, out);
    if (t) tensor__free_unpacked(t, NULL);
    free(bytes);
    return ok;
}

static inline void vector_free(vector *v) {
    if (v->model) model__free_unpacked(v->model, NULL);
    for (int i = 0; i < MOST_INPUTS; i++) free(v->in[i].data);
    free(v->out.data);
    opcase_free(&v->op);
}

/* A model of one node whose inputs lie in files of their own or, where they are weights, in the model. */
static inline bool vector_read(const char *folder, vector *v) {
    char path[600], *bytes = NULL;
    size_t size;
    *v = (vector){0};
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (ldm_read_file(path, 1 << 26, &bytes, &size)) return false;
    v->model = model__unpack(NULL, size, (uint8_t *)bytes);
    free(bytes);
    if (!v->model || !v->model->graph || v->model->graph->n_node != 1) return false;
    const Graph *g = v->model->graph;
    v->node = g->node[0], v->inputs = (int)v->node->n_input;
    for (size_t i = 0; i < v->model->n_opset_import; i++)
        if (!*v->model->opset_import[i]->domain) v->opset = v->model->opset_import[i]->version;
    if (v->inputs > MOST_INPUTS) return false;
    for (int i = 0, files = 0; i < v->inputs; i++) {
        const Tensor *weight = NULL;
        for (size_t j = 0; j < g->n_initializer; j++)
            if (!strcmp(g->initializer[j]->name, v->node->input[i])) weight = g->initializer[j];
        if (!*v->node->input[i]) continue;
        if (!(weight ? convert(weight, &v->in[i]) : read_tensor(folder, "input", files++, &v->in[i]))) return false;
    }
    return read_tensor(folder, "output", 0, &v->out);
}

static inline const Attribute *attribute(const vector *v, const char *name) {
    for (size_t i = 0; i < v->node->n_attribute; i++)
        if (!strcmp(v->node->attribute[i]->name, name)) return v->node->attribute[i];
    return NULL;
}
/* A whole number, or number i of a list. */
static inline long long whole(const vector *v, const char *name, size_t i, long long otherwise) {
    const Attribute *a = attribute(v, name);
    return !a ? otherwise : i < a->n_ints ? a->ints[i] : a->i;
}
static inline float real(const vector *v, const char *name, float otherwise) {
    return attribute(v, name) ? attribute(v, name)->f : otherwise;
}
/* True if the word is `want` or left out. */
static inline bool word(const vector *v, const char *name, const char *want) {
    const Attribute *a = attribute(v, name);
    return !a || (a->s.len == strlen(want) && !memcmp(a->s.data, want, a->s.len));
}

#endif
