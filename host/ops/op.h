/* op.h -- the op contract. One operation is one row: what it means, how to judge it, what it costs, its test cases, and
 * every way we have to run it, best first. Tests, bench, tuner and verify are loops over the table in list.h.
 *
 * Maps are NHWC: a map [n,h,w,c] and a token sequence [n, h*w, c] are the same memory. Weights in problems, references and
 * cases are in PyTorch's layout (convolution [out,in,kh,kw], linear [out,in]); an implementation that wants another layout
 * says so in `pack`. Storage is f32 or f16, of weights also bf16 or q8_0; accumulation is always f32; biases, norm parameters
 * and indices are f32 / i32 whatever the problem's dtype. */
#ifndef LDM_OP_H
#define LDM_OP_H

#include "base/base.h"
#include "cl/cl.h"

typedef struct ldm_op ldm_op;
typedef struct ldm_impl ldm_impl;
struct ldm_verdict;

enum { LDM_MAX_DIMS = 20, LDM_MAX_FLOATS = 4, LDM_MAX_FLAGS = 8, LDM_MAX_SLOTS = 10, LDM_MAX_TUNABLES = 6 };

/* ---- a problem: an op with its numbers. One notation everywhere:
 *   conv2d:f32*f16 n=1 c=320 h=64 w=64 k=320 r=3 s=3 pt=1 pb=1 pl=1 pr=1 act=silu +bias +residual
 * op, activation dtype (*weight dtype if it differs), integers, words, floats, then flags; defaults are left out. */
typedef struct ldm_problem {
    const ldm_op *op;
    ldm_dtype dtype, wdtype;
    int64_t dim[LDM_MAX_DIMS];    /* in the order of op->dims; words are stored as their position in the list */
    double flt[LDM_MAX_FLOATS];
    unsigned flags;               /* bit i: op->flags[i] */
} ldm_problem;

ldm_status ldm_problem_parse(const char *text, ldm_problem *out);       /* also runs infer: a parsed problem is valid */
const char *ldm_problem_text(const ldm_problem *p, char *buf, size_t cap); /* canonical; buf of LDM_PROBLEM_TEXT fits all */
enum { LDM_PROBLEM_TEXT = 400 };
bool ldm_problem_same(const ldm_problem *a, const ldm_problem *b);
/* How far two problems are apart for choosing parameters: 0 for the same, ln 2 where one size is twice the other's (the root
 * of the sum of squares over the sizes, which are the dims without a default), a tenth more for each flag that only adds an
 * input (bias, residual). Infinite where op, dtypes, any other dim (stride, act, layout) or another flag differ. */
double ldm_problem_distance(const ldm_problem *a, const ldm_problem *b);
/* Keeps the weights (slot w) as t, or as f16 where they are no whole blocks of q8_0; where p has none, wdtype is dtype. */
void ldm_problem_weights(ldm_problem *p, ldm_dtype t);

/* ---- slots: the tensors of a problem, inputs in order, the output last. */
typedef struct ldm_slot {
    bool present;
    bool param;        /* a weight: constant, may be packed once */
    ldm_dtype dtype;
    ldm_shape shape;   /* maps as [n,h,w,c] */
} ldm_slot;

/* Which elements of the output to compute and judge; NULL: all of them. Flat indices, ascending. */
typedef struct ldm_sample {
    const int64_t *index;
    int64_t count;
} ldm_sample;

/* What data a test fills a slot with (testing-regime: exact integers, zero-mean, positive, offset, spiky). */
typedef enum ldm_fill { LDM_FILL_ZEROMEAN, LDM_FILL_POSITIVE, LDM_FILL_OFFSET, LDM_FILL_SPIKY, LDM_FILL_INTEGER, LDM_FILLS } ldm_fill;

typedef struct ldm_cost {
    double flops, bytes;   /* arithmetic of the plain algorithm; bytes read and written once each */
} ldm_cost;

struct ldm_op {
    const char *name, *summary;
    /* "n c h w k r=1 s=1 act=none|relu|silu": names in dim[] order; =integer or =first|word|list gives the default,
     * otherwise it must be given. */
    const char *dims;
    const char *floats;            /* "eps=1e-5" likewise, or NULL */
    const char *flags;             /* "bias residual", or NULL; shown as +bias */
    const char *slots;             /* "x w bias residual y": names, output last */
    /* Validates the numbers (LDM_ERR_ARG with a sentence) and describes every slot. */
    ldm_status (*infer)(const ldm_problem *p, ldm_slot *slot);
    ldm_cost (*cost)(const ldm_problem *p);
    /* Value and error bound of output elements, both float64 and both from the data (reference.h). in[i] is slot i as
     * float (already rounded to its storage type; indices as whole numbers), NULL where absent. y and bound hold
     * which->count elements, or all. */
    void (*reference)(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound);
    /* NULL: the default of ldm_fill_slot for every slot. Else may fill slots itself and return true. Values need not be
     * rounded to the storage type; the caller does that. */
    bool (*fill)(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed);
    /* NULL: every element within its bound (ldm_judge). Else the op's own rule: ties of vq_lookup, rounding of pixels. */
    void (*judge)(const ldm_problem *p, const float *const *in, const struct ldm_sample *which, const float *y,
                  const double *want, const double *bound, struct ldm_verdict *v);
    const ldm_impl *impls;         /* best first, a plain OpenCL 1.2 one last, ends with {0} */
    const char *const *cases;      /* test problems, end with NULL; every one runs in every legal implementation */
    const char *const *exact_cases;/* run with LDM_FILL_INTEGER and tolerance zero where the row says exact; may be NULL */
};

typedef enum ldm_family { LDM_PLAIN, LDM_CPU, LDM_GPU, LDM_LIBRARY } ldm_family;

typedef struct ldm_tunable {
    const char *name, *meaning;    /* passed as -Dname=value */
    int value[8];                  /* the default first; zero ends the list */
} ldm_tunable;

/* How a param slot is laid out for a kernel. Two packings with equal key of the same tensor are the same bytes. */
typedef struct ldm_packing {
    char key[48];                  /* "" : the file's layout, elements converted to `dtype` */
    size_t bytes;
    ldm_dtype dtype;
    int64_t arg[8];                /* for fn */
    void (*fn)(const struct ldm_packing *k, const float *src, void *dst); /* NULL for the file's layout */
} ldm_packing;

/* How far an output's bits hang on the map being made whole, for executors that make a large map strip by strip of rows: a
 * strip gives the same bits as the whole where it begins at a multiple of `rows` and both have the same `order`. */
typedef struct ldm_grain {
    int64_t rows;  /* of the output that are made together, counted from the top; of group norm: pixels */
    int64_t order; /* of the sums, where it depends on the sizes of the map: equal numbers, equal order */
} ldm_grain;

/* An op that sums over a whole map, on a map in strips: sums of each strip in turn to scratch, what they make of it, then
 * each strip's output. Scratch is the whole map's, kept from the first to the last. */
typedef enum ldm_phase { LDM_PHASE_GATHER, LDM_PHASE_MERGE, LDM_PHASE_APPLY } ldm_phase;

struct ldm_impl {
    const char *name, *idea;       /* "conv2d_cpu", one line saying why it is fast */
    ldm_family family;
    /* NULL if it can run p on d with some parameters, else the reason in words ("needs c % 4 == 0"). Also every kernel
     * assumption. */
    const char *(*supports)(const ldm_problem *p, const ldm_device *d);
    /* NULL if the automatic choice may take it with these parameters, else why it is passed over although it can run ("the
     * map is small"). A null pointer: nothing beyond what its family prefers. By device facts, never by name; tests run
     * such rows all the same, and the tuner tries such parameters. */
    const char *(*prefers)(const ldm_problem *p, const int *params, const ldm_device *d);
    const ldm_tunable *tunables;   /* ends with {0}; NULL for none */
    /* Whether the row can run with these parameters; NULL: with every combination. */
    bool (*legal)(const ldm_problem *p, const int *params, const ldm_device *d);
    size_t (*scratch)(const ldm_problem *p, const int *params, const ldm_device *d); /* bytes; NULL for none */
    bool (*pack)(const ldm_problem *p, const int *params, int slot, ldm_packing *out); /* false or NULL: the file's layout */
    /* The launches, by ldm_rec_...; slots by number, scratch by ldm_rec_scratch. */
    ldm_status (*record)(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r);
    /* NULL: the op's. An algorithm that loses accuracy has one of its own: the same value, with the bound that the same data
     * give for this algorithm; such a row is passed over where the user asks for rows that lose none (device.exact). */
    void (*reference)(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which, double *y,
                      double *bound);
    bool exact;                    /* integer data must come out bit for bit */
    /* What this row's algorithm has to do: its own arithmetic, and bytes to and from memory read and written once each,
     * what fits in caches not counted. NULL: the op's. */
    ldm_cost (*cost)(const ldm_problem *p, const int *params, const ldm_device *d);
    ldm_grain (*grain)(const ldm_problem *p, const int *params, const ldm_device *d); /* NULL: {1, 0} */
    /* NULL: `record` does for strips. Else one phase for `count` pixels from `first` on, a multiple of the grain, of the whole
     * map p; maps in slots begin with pixel `first`. The phases of all strips are what `record` does. */
    ldm_status (*record_phase)(const ldm_problem *p, const int *params, const ldm_device *d, ldm_phase phase, int64_t first,
                               int64_t count, ldm_recipe *r);
    unsigned same_bound;           /* bit i: tunable i does not matter to this row's `reference` */
};

/* ---- the table ---------------------------------------------------------------------------------------------------- */

extern const ldm_op *const ldm_ops[];                 /* ends with NULL; made from list.h */
const ldm_op *ldm_op_find(const char *name, size_t len);
int ldm_op_slots(const ldm_op *op);                   /* number of slots, output included */
const char *ldm_op_slot_name(const ldm_op *op, int slot, char *buf, size_t cap);
int ldm_op_slot_index(const ldm_op *op, const char *name);  /* -1 if none */
int ldm_op_dim_index(const ldm_op *op, const char *name);   /* -1 if none */
int ldm_op_flag_index(const ldm_op *op, const char *name);

/* ---- choice -------------------------------------------------------------------------------------------------------- */

typedef struct ldm_choice {
    const ldm_impl *impl;
    int params[LDM_MAX_TUNABLES];
} ldm_choice;

/* What tuning found (ops/tuned.h), where the device has a database; else the first row that supports p and is preferred on
 * d, else the first that supports it, with default parameters. Library rows run only when named. LDM_ERR_UNSUPPORTED only if even the plain row says no. */
ldm_status ldm_choose(const ldm_problem *p, const ldm_device *d, ldm_choice *out);
/* The row called `name` (with defaults), or LDM_ERR_UNSUPPORTED with its reason. */
ldm_status ldm_choose_named(const ldm_problem *p, const ldm_device *d, const char *name, ldm_choice *out);
/* Why a row cannot run p on d (`supports`), or NULL. */
const char *ldm_cannot(const ldm_problem *p, const ldm_device *d, const ldm_impl *impl);
/* Why the user's wishes rule a row out, whatever the problem, or NULL. */
const char *ldm_ruled_out(const ldm_device *d, const ldm_impl *impl);
/* Why the automatic choice passes a row over: it cannot, or its family is for other devices, or `prefers`; NULL if it does
 * not (then the first such row wins). */
const char *ldm_why_not(const ldm_problem *p, const ldm_device *d, const ldm_impl *impl);
/* Why a row's family is not for d, or NULL. */
const char *ldm_other_family(const ldm_device *d, const ldm_impl *impl);
const char *ldm_choice_params(const ldm_choice *c, char *buf, size_t cap);   /* "TILE_M=8 TILE_N=32" */
/* Set number `set`, from 0, of the values a row's tunables can have, the first tunable's varying slowest, legal or not; false
 * past the last. A row without tunables has one, empty. */
bool ldm_params_set(const ldm_impl *impl, int set, int *params);
/* Whether a row that supports p on d can run with these. */
bool ldm_params_legal(const ldm_problem *p, const ldm_impl *impl, const int *params, const ldm_device *d);
/* "OUT=4 BLOCK=32" for a row that supports p on d; what is left out as preferred. LDM_ERR_FORMAT for others than it has. */
ldm_status ldm_params_parse(const ldm_problem *p, const ldm_impl *impl, const ldm_device *d, const char *text, int *params);
ldm_cost ldm_choice_cost(const ldm_problem *p, const ldm_choice *c, const ldm_device *d); /* the row's, else the op's */
/* The first set of values, in the order of the tunables' lists, that is legal and preferred; else the first legal one. */
void ldm_default_params(const ldm_problem *p, const ldm_impl *impl, const ldm_device *d, int *params);

/* ---- one op on one device: what tests, bench, tune, `ldm op` and verify use; executors use the parts ----------------- */

void ldm_fill_slot(const ldm_problem *p, int slot, ldm_fill how, float *data, int64_t count, uint64_t seed);

typedef struct ldm_oprun ldm_oprun;
/* Allocates every slot's buffer (output between canaries), packs params. `in[i]`: slot i as float, rounded to its storage
 * type by this call's copy; NULL where absent. */
ldm_status ldm_oprun_create(ldm_cl *cl, const ldm_problem *p, const ldm_choice *c, const float *const *in, ldm_oprun **out);
ldm_status ldm_oprun_enqueue(ldm_oprun *r);
double ldm_oprun_seconds(ldm_oprun *r);                     /* as ldm_step_seconds */
/* Poisons the output with NaN patterns, runs once, checks canaries and poison, converts the result to float. */
ldm_status ldm_oprun_result(ldm_oprun *r, float *y);
/* From now on scratch is left as it is instead of poisoned: for a simulator that itself watches for reads of what was never
 * written, and takes what the host fills for written. */
void ldm_oprun_leave_scratch(ldm_oprun *r);
void ldm_oprun_destroy(ldm_oprun *r);

/* The verdict on y (as float) against reference values and bounds. */
typedef struct ldm_verdict {
    bool pass;
    double worst;          /* largest |err| / bound */
    int64_t worst_at;      /* flat output index */
    double got, want, bound;
    double bias;           /* mean of sign(y) err / max(u|y|, |err|): rounding that leans one way shows here */
    int64_t judged, zeros;
} ldm_verdict;
void ldm_judge(const ldm_problem *p, const ldm_sample *which, const float *y, const double *want,
               const double *bound, ldm_verdict *v);

/* Value and bound that what `c` makes is held against: the row's own reference if it has one, else the op's. c NULL: the
 * op's. */
void ldm_reference(const ldm_problem *p, const ldm_choice *c, const float *const *in, const ldm_sample *which, double *y,
                   double *bound);
/* ldm_judge, or the op's own rule where it has one. */
void ldm_judge_inputs(const ldm_problem *p, const float *const *in, const ldm_sample *which, const float *y,
                      const double *want, const double *bound, ldm_verdict *v);

/* A result (as ldm_oprun_result; all of it into y unless NULL) held against the reference at `which` outputs, by the op's own
 * rule. `in` is what r was created with. A result outside its bound is a verdict, not a failure of this call. */
ldm_status ldm_oprun_judge(ldm_oprun *r, const float *const *in, const ldm_sample *which, float *y, ldm_verdict *v);

/* Allocates and fills all inputs of p (rounded to storage); in[i] freed with free() each. */
ldm_status ldm_make_inputs(const ldm_problem *p, ldm_fill how, uint64_t seed, float **in);

/* A sample for large outputs: `count` hashed positions plus corners and edges of every axis and tile tails; freed with free(). */
ldm_status ldm_make_sample(const ldm_problem *p, int64_t count, uint64_t seed, int64_t **index, int64_t *n);

#endif
