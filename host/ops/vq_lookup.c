/* vq_lookup.c -- the op `vq_lookup`: what it means, how it is judged, its cost, its cases, its rows. Kernels:
 * kernels/vq_lookup*.cl, reference: reference/ref_vq.c. */
#include "ops/row.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS, ENTRIES, C };
enum { SLOT_X, SLOT_BOOK, SLOT_Y };

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    const int64_t *d = p->dim;
    slot[SLOT_X] = (ldm_slot){true, false, p->dtype, ldm_shape_of(2, d[ROWS], d[C])};
    slot[SLOT_BOOK] = (ldm_slot){true, true, LDM_F32, ldm_shape_of(2, d[ENTRIES], d[C])};
    slot[SLOT_Y] = slot[SLOT_X];
    return ldm_row_check(p, 3);
}

static ldm_cost cost(const ldm_problem *p) {
    double x = (double)p->dim[ROWS] * (double)p->dim[C], book = (double)p->dim[ENTRIES] * (double)p->dim[C];
    return (ldm_cost){3 * x * (double)p->dim[ENTRIES], 2 * x * (double)ldm_dtype_size(p->dtype) + 4 * book};
}

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    ref_vq_lookup(ldm_row_out(which, p->dim[ROWS] * p->dim[C], p->dtype, y, bound), p->dim[ROWS], p->dim[ENTRIES],
                  p->dim[C], in[SLOT_X], in[SLOT_BOOK]);
}

/* A row is right if it is, bit for bit, a codeword whose true distance is within the bounds of the least one: where two
 * codewords are nearer to each other than float arithmetic can tell, either will do. */
static bool row_is_right(const ldm_problem *p, const float *x, const float *book, const float *y, double *distance,
                         double *bound) {
    const int64_t entries = p->dim[ENTRIES], c = p->dim[C];
    double least = INFINITY;
    ref_vq_distance(x, book, entries, c, distance, bound);
    for (int64_t j = 0; j < entries; j++) least = fmin(least, distance[j] + bound[j]);
    for (int64_t j = 0; j < entries; j++) {
        if (distance[j] - bound[j] > least) continue;
        bool same = true;
        for (int64_t k = 0; k < c && same; k++) {
            float v = book[j * c + k];
            ldm_round_to(p->dtype, &v, 1);
            same = v == y[k];
        }
        if (same) return true;
    }
    return false;
}

static void judge(const ldm_problem *p, const float *const *in, const ldm_sample *which,
                  const float *y, const double *want, const double *bound, ldm_verdict *v) {
    const int64_t c = p->dim[C], n = which ? which->count : p->dim[ROWS] * c;
    double *scratch = malloc((size_t)p->dim[ENTRIES] * 2 * sizeof *scratch);
    *v = (ldm_verdict){.pass = scratch != NULL, .worst_at = -1};
    bool right = true;
    for (int64_t i = 0, row = -1; scratch && i < n; i++) {
        const int64_t at = which ? which->index[i] : i;
        if (at / c != row) {
            row = at / c;
            right =
                row_is_right(p, in[SLOT_X] + row * c, in[SLOT_BOOK], y + row * c, scratch, scratch + p->dim[ENTRIES]);
        }
        v->judged++;
        v->zeros += y[at] == 0;
        if (!right && v->pass)
            *v = (ldm_verdict){
                .pass = false, .worst = INFINITY, .worst_at = at, .got = y[at], .want = want[i], .judged = v->judged};
    }
    free(scratch);
}

static const char *plain_supports(const ldm_problem *p, const ldm_device *d) {
    return ldm_row_fits((p->dim[ROWS] > p->dim[ENTRIES] ? p->dim[ROWS] : p->dim[ENTRIES]) * p->dim[C]);
}
static const char *cpu_supports(const ldm_problem *p, const ldm_device *d) {
    return p->dim[C] > 16 ? "more than 16 channels do not stay in registers" : plain_supports(p, d);
}

static ldm_status record(const ldm_problem *p, ldm_recipe *r, bool lanes) {
    ldm_row_kernel(p, r, lanes ? "vq_lookup_cpu.cl" : "vq_lookup.cl", lanes ? "vq_lookup_lanes" : "vq_lookup_plain");
    if (lanes) ldm_rec_define(r, "CHANNELS", p->dim[C]);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_X);
    ldm_rec_slot(r, SLOT_BOOK);
    ldm_rec_int(r, p->dim[ROWS]);
    ldm_rec_int(r, p->dim[ENTRIES]);
    if (!lanes) ldm_rec_int(r, p->dim[C]);
    ldm_rec_range1(r, lanes ? ldm_ceil_div(p->dim[ROWS], 16) : p->dim[ROWS], lanes ? 1 : 16);
    return r->status;
}
static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return record(p, r, true);
}
static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    return record(p, r, false);
}

static const ldm_impl impls[] = {{.name = "vq_lookup_cpu",
                                  .idea = "16 rows as lanes against the whole book, c baked",
                                  .family = LDM_CPU,
                                  .supports = cpu_supports,
                                  .record = cpu_record,
                                  .exact = true},
                                 {.name = "vq_lookup_plain",
                                  .idea = "one work-item a row",
                                  .family = LDM_PLAIN,
                                  .supports = plain_supports,
                                  .record = plain_record,
                                  .exact = true},
                                 {0}};

static const char *const cases[] = {"vq_lookup:f32 rows=65 entries=64 c=3",  "vq_lookup:f32 rows=33 entries=1000 c=4",
                                    "vq_lookup:f32 rows=7 entries=1 c=8",    "vq_lookup:f32 rows=21 entries=50 c=32",
                                    "vq_lookup:f16 rows=100 entries=33 c=3", NULL};
/* whole numbers in a small cube: many ties, every distance exact */
static const char *const exact_cases[] = {
    "vq_lookup:f32 rows=130 entries=40 c=3", "vq_lookup:f32 rows=65 entries=300 c=4",
    "vq_lookup:f32 rows=40 entries=90 c=20", "vq_lookup:f16 rows=50 entries=60 c=3", NULL};

const ldm_op ldm_op_vq_lookup = {
    .name = "vq_lookup",
    .summary = "nearest codeword of a book, ties to the lowest index",
    .dims = "rows entries c",
    .slots = "x book y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .judge = judge,
    .impls = impls,
    .cases = cases,
    .exact_cases = exact_cases,
};
