/* winograd_inplace.c -- Winograd's algorithm as a row of conv2d on CPUs, from filters as the checkpoint has them, turned while
 * they are used: a quarter of the memory, nothing to pack. The kernels are kernels/conv2d_inplace_cpu.cl. */
#include "ops/row.h"
#include "ops/winograd.h"

enum { PANEL = 32, STRIP = 32 }; /* outputs, and CHUNK of the kernel */
enum { OUT, BLOCK };

const ldm_tunable ldm_winograd_inplace_tunables[] = {
    {"OUT", "outputs of a tile a side", {4, 2}}, {"BLOCK", "tiles of a job", {64, 32, 16, 8, 4}}, {0}};

static int64_t fours(const ldm_problem *p, int out) { return ldm_round_up(winograd_tiles(p, out), 4); }
static int64_t strips(int64_t c) { return ldm_ceil_div(c, STRIP); }

static int64_t inplace_jobs(const ldm_problem *p, const int *t) {
    return ldm_ceil_div(fours(p, t[OUT]), t[BLOCK]) * (p->dim[K] / PANEL);
}

static int64_t inplace_items(const ldm_problem *p, const int *t, const ldm_device *d) {
    return ldm_row_items(inplace_jobs(p, t), d);
}

/* bytes of V */
static size_t turned_bytes(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t v = winograd_places(t[OUT]) * fours(p, t[OUT]) * (p->dim[C] + p->dim[C2]) * (int64_t)sizeof(float);
    return (size_t)ldm_round_up(v, (int64_t)d->base_align);
}

size_t ldm_winograd_inplace_scratch(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t slot = STRIP * 9 * PANEL + winograd_places(t[OUT]) * ((STRIP + t[BLOCK]) * PANEL + 32);
    return turned_bytes(p, t, d) + (size_t)(inplace_items(p, t, d) * slot) * sizeof(float);
}

bool ldm_winograd_inplace_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    return winograd_tiles(p, t[OUT]) <= INT32_MAX / 64 && (t[BLOCK] == 4 || t[BLOCK] < 2 * fours(p, t[OUT])) &&
           ldm_winograd_inplace_scratch(p, t, d) <= d->max_alloc;
}

const char *ldm_winograd_inplace_supports(const ldm_problem *p, const ldm_device *d) {
    static const int least[] = {4, 4};
    if (!winograd_filter(p)) return LDM_WINOGRAD_FILTER;
    if (p->dim[C] % 16 || p->dim[C2] % 16 || p->dim[K] % PANEL) return "needs c and c2 multiples of 16, k of 32";
    if (p->wdtype == LDM_Q8_0 && (p->dim[C] % 32 || p->dim[C2] % 32)) return "needs whole blocks of q8_0, c and c2 multiples of 32";
    return ldm_winograd_inplace_legal(p, least, d) ? NULL : "more than 2^25 tiles, or its scratch does not fit one buffer";
}

bool ldm_winograd_in_use(const ldm_problem *p, const ldm_device *d) {
    enum { MANY = 128, FEW = 32, NEAR = 6 << 20 }; /* tiles, tiles a picture, bytes of turned tiles that stay in cache */
    const int64_t all = winograd_tiles(p, 4), k = p->dim[K];
    if (ldm_winograd_inplace_supports(p, d)) return false;
    if (p->wdtype == LDM_Q8_0) return all >= 4 && all <= 2 * k;
    if (p->wdtype != LDM_F32) return all >= 16 && all <= 2 * k && (d->low_memory || winograd_filter_bytes(p, 4) > WINOGRAD_HALVES);
    if (d->low_memory) return all <= k;
    if (d->once && all >= 16 && all < MANY) return all <= k;
    const bool far = turned_bytes(p, (int[]){4}, d) > NEAR && 2 * all < k;
    const int64_t kept = far || all <= FEW * p->dim[N] ? WINOGRAD_KEPT : WINOGRAD_LARGE;
    return all >= 16 && 2 * all <= k && winograd_filter_bytes(p, 4) > kept;
}

const char *ldm_winograd_inplace_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    if (!ldm_winograd_in_use(p, d)) return "filters kept turned cost less time, or tiles more memory than filters";
    if (t[BLOCK] > 4 && inplace_jobs(p, t) < 2 * d->units) return "smaller blocks of tiles keep all units busy";
    return NULL;
}

ldm_status ldm_winograd_inplace_record(const ldm_problem *p, const int *t, const ldm_device *d, ldm_recipe *r) {
    const int64_t *dim = p->dim, down = ldm_ceil_div(out_h(p), t[OUT]), right = ldm_ceil_div(out_w(p), t[OUT]);
    const int turn[] = {N, H, W, C, C2, UP, PT, PL}, multiply[] = {C, C2, K};
    ldm_row_kernel(p, r, "conv2d_inplace_cpu.cl", "inplace_turn");
    ldm_rec_define(r, "OUT", t[OUT]);
    ldm_rec_define(r, "LANES", ldm_row_lanes(d));
    ldm_rec_scratch(r, 0);
    ldm_rec_slot(r, SLOT_X);
    ldm_rec_slot(r, SLOT_X2);
    for (size_t i = 0; i < sizeof turn / sizeof *turn; i++) ldm_rec_int(r, dim[turn[i]]);
    ldm_rec_int(r, down);
    ldm_rec_int(r, right);
    ldm_rec_int(r, fours(p, t[OUT]));
    ldm_rec_range2(r, fours(p, t[OUT]), strips(dim[C]) + strips(dim[C2]), 1, 1);
    ldm_row_kernel(p, r, "conv2d_inplace_cpu.cl", "inplace_multiply");
    ldm_rec_define(r, "OUT", t[OUT]);
    ldm_rec_define(r, "LANES", ldm_row_lanes(d));
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_scratch(r, 0);
    ldm_rec_scratch(r, turned_bytes(p, t, d));
    for (int i = SLOT_W; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    for (size_t i = 0; i < sizeof multiply / sizeof *multiply; i++) ldm_rec_int(r, dim[multiply[i]]);
    ldm_rec_int(r, out_h(p));
    ldm_rec_int(r, out_w(p));
    ldm_rec_int(r, dim[ACT]);
    ldm_rec_int(r, down);
    ldm_rec_int(r, right);
    ldm_rec_int(r, dim[N]);
    ldm_rec_int(r, fours(p, t[OUT]));
    ldm_rec_int(r, t[BLOCK]);
    ldm_rec_int(r, inplace_items(p, t, d));
    ldm_rec_range1(r, inplace_items(p, t, d), 1);
    return r->status;
}

ldm_grain ldm_winograd_inplace_grain(const ldm_problem *p, const int *t, const ldm_device *d) {
    return (ldm_grain){t[OUT], 0};
}

void ldm_winograd_inplace_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which,
                           double *y, double *b) {
    ldm_winograd_judged(p, params[OUT], 8, in, which, y, b);
}

/* As ldm_winograd_cost; each job turns its filters, at the operations of TURN_FILTER: 16 from three to six, or 6. */
ldm_cost ldm_winograd_inplace_cost(const ldm_problem *p, const int *params, const ldm_device *d) {
    const int out = params[OUT];
    const double blocks = (double)ldm_ceil_div(fours(p, out), params[BLOCK]);
    const double c = (double)(p->dim[C] + p->dim[C2]), turn = out == 4 ? 9 * 16 : 7 * 6;
    ldm_cost cost = p->op->cost(p);
    cost.flops = ldm_winograd_cost(p, params, d).flops + blocks * turn * c * (double)p->dim[K];
    return cost;
}
