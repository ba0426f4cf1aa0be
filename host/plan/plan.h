/* plan.h -- a network as a list of steps: problem + tensor ids, params by name, activation memory by liveness; and the
 * two executors that run it. Knows nothing of layers or checkpoints: params are named and shaped here, and filled
 * through a ldm_source. The model's text (host/model) emits into a plan; `ldm plan` prints it; verify runs it on both
 * executors. */
#ifndef LDM_PLAN_H
#define LDM_PLAN_H

#include "ops/op.h"

typedef int ldm_tensor; /* index into plan->tensor; LDM_NONE for an absent operand */
enum { LDM_NONE = -1 };

typedef enum ldm_tensor_kind {
    LDM_INPUT,      /* written by the caller before a run; kept between runs */
    LDM_PARAM,      /* a weight */
    LDM_ACTIVATION, /* made by a step, dead after its last use */
    LDM_VIEW        /* rows of another tensor: first axis cut, same memory */
} ldm_tensor_kind;

typedef struct ldm_tensor_info {
    ldm_tensor_kind kind;
    char *name; /* inputs, params and outputs; NULL for nameless activations */
    ldm_dtype dtype;
    ldm_shape shape;   /* maps NHWC; params in the checkpoint's layout */
    bool keep;         /* an output: never overwritten within a run */
    int segment;       /* inputs: the caller writes them before running this segment, and not before every later one */
    ldm_tensor parent; /* views */
    int64_t row;       /* views: first row (of axis 0) in the parent */
    int first, last;   /* steps that write first / read last */
    int chunk;         /* activations and inputs: place in the arena */
    size_t offset;
    bool spilled; /* activations: lies in host memory, not in the arena (ldm_plan_spill) */
    double gain; /* params: synthetic weights are uniform with standard deviation gain/sqrt(fan_in) */
    int fill;    /* params: ldm_param_fill */
    int rule;    /* params: ldm_rule; all but LDM_GIVEN are made of `parts` others, of[] */
    int parts;
    ldm_tensor *of;
} ldm_tensor_info;

/* Where a param's values are from. Rewrites make params of others; those stay bound, but only what steps read is
 * loaded. Matrices are [rows, all other axes]; a vector is one column. */
typedef enum ldm_rule {
    LDM_GIVEN,     /* from the source, by name */
    LDM_ROWS,      /* the rows of all parts, one after the other */
    LDM_PRODUCT,   /* A B, or A B + C */
    LDM_TRANSPOSED /* A^T B, or A^T B + C */
} ldm_rule;

typedef enum ldm_param_fill {
    LDM_FILL_WEIGHT,
    LDM_FILL_BIAS,
    LDM_FILL_SCALE
} ldm_param_fill; /* synthetic: fan-in uniform; small; near 1 */

typedef struct ldm_step_info {
    int segment; /* steps of one segment run together, in order; segments run in order, later ones again and again */
    char *scope; /* "input_blocks.1.0" */
    ldm_problem problem;
    ldm_tensor slot[LDM_MAX_SLOTS]; /* output last, LDM_NONE where absent */
} ldm_step_info;

typedef struct ldm_plan {
    ldm_dtype dtype, wdtype; /* activations; weights of linear and convolution layers, the rest is f32 or i32 */
    int segment;             /* new steps go here, and inputs */
    bool as_given;           /* rewrites derive no weights: every one stays where the source has it (--low-memory) */
    int steps, tensors;
    ldm_step_info *step;
    ldm_tensor_info *tensor;
    char scope[256];    /* current, see ldm_plan_push */
    int depth, cut[32]; /* lengths of the scope to go back to */
    int chunks;         /* arena, after ldm_plan_finish */
    size_t *chunk_bytes;
    size_t weight_bytes; /* device memory for weights; more than that come in groups while others are used. 0: no limit */
    size_t strip_bytes;  /* of a strip of spilled maps, all maps of a step together */
    struct ldm_links *links; /* who makes and who reads each tensor; NULL but while fuse.c rewrites the plan */
    ldm_status status; /* first failure while emitting; its sentence is the thread's message */
} ldm_plan;

ldm_status ldm_plan_create(ldm_dtype dtype, ldm_dtype wdtype, ldm_plan **out);
void ldm_plan_destroy(ldm_plan *p);

/* ---- emission. After a failure every call is a no-op that returns LDM_NONE; ldm_plan_finish reports it.
 * ---------------- */

void ldm_plan_push(ldm_plan *p, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* scope += "." + text */
void ldm_plan_pop(ldm_plan *p);
ldm_tensor ldm_plan_input(ldm_plan *p, const char *name, ldm_dtype t, ldm_shape shape);
/* A weight called "<scope>.<name>"; asking again for the same name gives the same tensor (shapes must agree). */
ldm_tensor ldm_plan_param(ldm_plan *p, const char *name, ldm_shape shape, ldm_param_fill fill, double gain);
/* Appends the step "<problem text>" (dtypes are the plan's, ldm_problem_weights, unless the text names them: "cast:f32 ...") on `slot`
 * inputs, in slot order without the output; returns the output, shaped by the op. */
ldm_tensor ldm_plan_emit(ldm_plan *p, const ldm_tensor *in, int n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same, but the result is written into `out` (an input or kept tensor of the same shape): sampler state. */
ldm_tensor ldm_plan_emit_into(ldm_plan *p, ldm_tensor out, const ldm_tensor *in, int n, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
ldm_tensor ldm_plan_view(ldm_plan *p, ldm_tensor t, int64_t row, int64_t rows);
/* The same memory under another shape of equal count. */
ldm_tensor ldm_plan_reshape(ldm_plan *p, ldm_tensor t, ldm_shape shape);
/* `t` stored as `to`: a cast step, or `t` itself where it is so already. */
ldm_tensor ldm_plan_cast(ldm_plan *p, ldm_tensor t, ldm_dtype to);
void ldm_plan_output(ldm_plan *p, ldm_tensor t, const char *name); /* names it and keeps it */
/* Rewrites what was emitted into fewer, larger steps with the same results up to rounding (fuse.c), without those whose
 * results nobody reads. Inputs, params and outputs stay; weights that no step reads any more are still bound, but not loaded. Optional, before ldm_plan_finish.
 */
ldm_status ldm_plan_fuse(ldm_plan *p);
/* Maps of more than `most` bytes (0: none) will lie in host memory, those of which every step can be made strip by strip
 * (strips.h): one picture's, through convolutions, group norms and what goes element by element. The results are the same
 * bits. Strips take strip_bytes on the device at most; `impl` as in ldm_exec_create. Before ldm_plan_finish; may be asked again with other numbers, which
 * want another ldm_plan_finish. */
ldm_status ldm_plan_spill(ldm_plan *p, const ldm_device *d, const char *impl, size_t most, size_t strip_bytes);
/* Checks, computes liveness and lays out the arena in chunks of at most max_chunk bytes (largest first, first fit);
 * a tensor larger than max_chunk is refused by name. */
ldm_status ldm_plan_finish(ldm_plan *p, size_t max_chunk, size_t align);

ldm_tensor ldm_plan_find(const ldm_plan *p, const char *name); /* input, param or output; LDM_NONE if none */
const ldm_tensor_info *ldm_plan_tensor(const ldm_plan *p, ldm_tensor t);
int64_t ldm_plan_params(const ldm_plan *p, int *tensors); /* number of weights given, and of their tensors */
ldm_cost ldm_plan_cost(const ldm_plan *p, int segment);   /* segment -1: all */
/* What the weights are kept as: "392.1 M as q8_0, 0.3 M as f16, 1.2 M as f32". Appended to `out`. */
void ldm_plan_storage(const ldm_plan *p, ldm_text *out);
/* The distinct problems with their counts, in the one notation (bench/shapes). Appended to `out`, one a line. */
void ldm_plan_shapes(const ldm_plan *p, ldm_text *out);
/* The whole plan as a table: step, scope, problem, implementation, parameters, flops, bytes, arena offset. */
ldm_status ldm_plan_print(const ldm_plan *p, const ldm_device *d, ldm_text *out);

/* ---- where weights come from ----------------------------------------------------------------------------------------
 */

typedef struct ldm_source {
    /* All elements of the given param `t` of the plan as f32, in the checkpoint's layout (plan shape). All functions are called
     * while an executor is created, by several threads at a time. */
    ldm_status (*load)(void *self, const ldm_tensor_info *t, float *dst);
    void *self;
    /* [opt] Where they already lie so, unchanged as long as the source is there; NULL: only load can say them. */
    const float *(*view)(void *self, const ldm_tensor_info *t);
    /* With `view`: what load finds fault with, found in elements that are viewed. */
    ldm_status (*check)(void *self, const ldm_tensor_info *t, const float *data);
} ldm_source;

/* Deterministic weights: the same numbers on every machine for a seed and a name. */
ldm_source ldm_source_synthetic(uint64_t *seed); /* borrows seed */
/* All elements of any param as f32: loaded, or made of others (products are summed in f64 and rounded once, the same
 * numbers on every machine). */
ldm_status ldm_plan_load(const ldm_plan *p, const ldm_source *w, ldm_tensor t, float *dst);

/* ---- executors
 * -------------------------------------------------------------------------------------------------------- */

typedef struct ldm_exec ldm_exec;

/* What creating a device executor would take, before anything is allocated. */
typedef struct ldm_memory {
    size_t weights, activations, scratch; /* bytes on the device; strips are among the activations */
    size_t host;                          /* most bytes of spilled maps at a time */
    int striped;                          /* steps made strip by strip */
    size_t streamed;                      /* weights that come in groups: bytes, beside what stays */
    int groups;
    size_t viewed;                        /* of weights, beside those: read where the source has them */
} ldm_memory;
/* w NULL: of a source that lets every weight be viewed, as a file of f32 does. */
ldm_status ldm_exec_memory(const ldm_plan *p, const ldm_device *d, const ldm_source *w, ldm_memory *out);

/* On a device: weights packed once, programs built, every step recorded. Borrows cl, plan and what w has. LDM_ERR_NOMEM, before any
 * allocation, if the memory plan exceeds the device's. `impl` [opt]: "op=row,op=row" forces rows. */
ldm_status ldm_exec_create(ldm_cl *cl, const ldm_plan *p, const ldm_source *w, const char *impl, ldm_exec **out);
/* On the references of reference/: slow, exact to f64 per step, results rounded to the tensors' dtypes. */
ldm_status ldm_exec_create_reference(const ldm_plan *p, const ldm_source *w, ldm_exec **out);
void ldm_exec_destroy(ldm_exec *e);
ldm_memory ldm_exec_taken(const ldm_exec *e); /* what it takes of the device: nothing, for the reference */
const ldm_plan *ldm_exec_plan(const ldm_exec *e);

ldm_status ldm_exec_write(ldm_exec *e, ldm_tensor t, const float *data); /* input, NHWC, converted to its dtype */
ldm_status ldm_exec_run(ldm_exec *e, int segment);                       /* enqueues (device) or computes (reference) */
/* As ldm_exec_run, waiting after each step to look at its result: the first that is not finite ends the run with
 * LDM_ERR_NONFINITE and a sentence that begins with the step's scope, the block; or with the input's name, where a step
 * is given NaN or infinity. Slow: for doing again what ended with numbers that are not finite. */
ldm_status ldm_exec_run_checked(ldm_exec *e, int segment);
ldm_status ldm_exec_finish(ldm_exec *e);                                 /* waits */
ldm_status ldm_exec_read(ldm_exec *e, ldm_tensor t, float *data);        /* waits; input, output or kept */

/* One step alone, for verify: runs only step i. On the device, tensors are read back with ldm_exec_peek right after. */
ldm_status ldm_exec_run_step(ldm_exec *e, int step);
ldm_status ldm_exec_peek(ldm_exec *e, ldm_tensor t, float *data); /* any tensor alive now (params: as loaded) */
ldm_status ldm_exec_poke(ldm_exec *e, ldm_tensor t, const float *data);
const ldm_choice *ldm_exec_choice(const ldm_exec *e, int step); /* NULL for the reference */
/* Device seconds of step i in the last run (profiling queue only), else -1. */
double ldm_exec_step_seconds(ldm_exec *e, int step);
/* When step i last ran, and when group i of streamed weights was last under way (its bytes in *bytes): seconds of the
 * device's clock; false if that is not known (profiling queue only) or there is none. */
bool ldm_exec_step_span(ldm_exec *e, int step, double *start, double *end);
bool ldm_exec_transfer_span(ldm_exec *e, int group, double *start, double *end, size_t *bytes);

#endif
