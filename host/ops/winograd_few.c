/* winograd_few.c -- Winograd's algorithm as a row of conv2d on CPUs for maps of few tiles: filters are kept as they are, with 16
 * outputs side by side, and turned in registers. The kernels are kernels/conv2d_winograd_few_cpu.cl. */
#include "ops/row.h"
#include "ops/winograd.h"

enum { PANEL = 16, STRIP = 32, TAPS = 9 }; /* outputs of a panel; CHUNK of the kernel */
enum { OUT, BLOCK };                        /* LDM_WINOGRAD_FEW_SAME_BOUND */

const ldm_tunable ldm_winograd_few_tunables[] = {
    {"OUT", "outputs of a tile a side", {4, 2}}, {"BLOCK", "tiles of a job", {16, 8, 4, 32}}, {0}};

/* Tiles with what makes them whole products. */
static int64_t whole(const ldm_problem *p, int out) {
    const int64_t tiles = winograd_tiles(p, out);
    return tiles <= 4 ? 4 : ldm_round_up(tiles, out == 2 ? 4 : 8);
}
static int64_t strips(const ldm_problem *p) { return ldm_ceil_div(p->dim[C], STRIP) + ldm_ceil_div(p->dim[C2], STRIP); }

/* Vectors of outputs of a job: with more than 4 tiles its second finds V in cache. */
static int group(const int *t) { return t[BLOCK] == 4 ? 1 : 2; }

static int64_t few_jobs(const ldm_problem *p, const int *t, const ldm_device *d) {
    return ldm_ceil_div(whole(p, t[OUT]), t[BLOCK]) * ldm_ceil_div(ldm_ceil_div(p->dim[K], ldm_row_lanes(d)), group(t));
}

static int64_t few_items(const ldm_problem *p, const int *t, const ldm_device *d) {
    return ldm_row_items(few_jobs(p, t, d), d);
}

static size_t turned_bytes(const ldm_problem *p, int out, const ldm_device *d) { /* of V */
    const int64_t v = winograd_places(out) * whole(p, out) * strips(p) * STRIP * (int64_t)sizeof(float);
    return (size_t)ldm_round_up(v, (int64_t)d->base_align);
}

/* What filters are kept as; the kernel makes floats of a strip of those that are not. */
static ldm_dtype filter_type(const ldm_problem *p) {
    return p->wdtype == LDM_F16 || p->wdtype == LDM_BF16 ? p->wdtype : LDM_F32;
}

size_t ldm_winograd_few_scratch(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t lanes = ldm_row_lanes(d);
    const int64_t floats = filter_type(p) == LDM_F32 ? 0 : STRIP * TAPS * PANEL;
    const int64_t slot = 2 * 3 * STRIP * PANEL + floats + group(t) * winograd_places(t[OUT]) * (t[BLOCK] * lanes + 16);
    return turned_bytes(p, t[OUT], d) + (size_t)(few_items(p, t, d) * slot) * sizeof(float);
}

bool ldm_winograd_few_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    return winograd_tiles(p, t[OUT]) <= INT32_MAX / 64 && (t[BLOCK] == 4 || t[BLOCK] <= whole(p, t[OUT])) &&
           ldm_winograd_few_scratch(p, t, d) <= d->max_alloc;
}

const char *ldm_winograd_few_supports(const ldm_problem *p, const ldm_device *d) {
    static const int least[] = {4, 4};
    if (!winograd_filter(p)) return LDM_WINOGRAD_FILTER;
    return ldm_winograd_few_legal(p, least, d) ? NULL : "more than 2^25 tiles, or its scratch does not fit one buffer";
}

/* Time per channel and output: products of two operations, and a filter read at about 6.5 operations a byte, as in winograd.c. */
static double cost(const ldm_problem *p, double products) { return 2 * products + 6.5 * TAPS * (double)ldm_dtype_size(filter_type(p)); }

static double few_cost(const ldm_problem *p, int out) {
    const int turning = out == 2 ? 20 : 70; /* of a filter, in products */
    return cost(p, (double)(winograd_places(out) * whole(p, out) + turning));
}
static int few_out(const ldm_problem *p) { return few_cost(p, 2) < few_cost(p, 4) ? 2 : 4; }

bool ldm_winograd_few(const ldm_problem *p, const ldm_device *d) {
    enum { MOST = 16, LEAST_BYTES = 24 << 20, MOST_BYTES = 128 << 20 }; /* tiles; turned filters, and as they are in floats */
    const int out = few_out(p);
    const int64_t *dim = p->dim, pixels = dim[N] * out_h(p) * out_w(p), tiles = whole(p, out);
    const int64_t bytes = dim[K] * (dim[C] + dim[C2]) * TAPS * (int64_t)sizeof(float);
    if (ldm_winograd_few_supports(p, d) || p->wdtype == LDM_Q8_0 || tiles > MOST) return false;
    if (d->low_memory && p->wdtype == LDM_F32) return false; /* a copy of what may be read where the file has it */
    if (tiles > 8 && (d->once || bytes > MOST_BYTES)) return false; /* in place costs a little more and no copy */
    if (tiles > 8 && winograd_filter_bytes(p, out) < LEAST_BYTES) return false; /* turned ones come from cache */
    if (dim[K] < 32 || dim[C] < 16) return false;
    return 1.15 * few_cost(p, out) < cost(p, (double)(TAPS * pixels));
}

const char *ldm_winograd_few_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    if (!ldm_winograd_few(p, d)) return "many tiles, or so few that turning takes longer than it saves, or memory counts";
    if (t[OUT] != few_out(p)) return "tiles of the other size take fewer products";
    return t[BLOCK] > 4 && few_jobs(p, t, d) < 2 * d->units ? "smaller blocks of tiles keep all units busy" : NULL;
}

/* ---- filters: [panel][channel of x, then of x2][tap][PANEL], zeros behind the last output ------------------------- */

enum { A_K, A_C };

static void order_filters(const ldm_packing *k, const float *src, void *dst) {
    const int64_t n = k->arg[A_K], deep = k->arg[A_C] * TAPS;
    const size_t size = ldm_dtype_size(k->dtype);
#pragma omp parallel for schedule(static)
    for (int64_t panel = 0; panel < ldm_ceil_div(n, PANEL); panel++)
        for (int64_t e = 0; e < deep; e++) {
            float line[PANEL];
            for (int64_t o = 0; o < PANEL; o++) {
                const int64_t output = panel * PANEL + o;
                line[o] = output < n ? src[output * deep + e] : 0;
            }
            ldm_from_f32(k->dtype, line, PANEL, (char *)dst + (size_t)((panel * deep + e) * PANEL) * size);
        }
}

bool ldm_winograd_few_pack(const ldm_problem *p, const int *t, int slot, ldm_packing *k) {
    if (slot != SLOT_W) return false;
    const int64_t *d = p->dim;
    *k = (ldm_packing){.dtype = filter_type(p), .arg = {d[K], d[C] + d[C2]}, .fn = order_filters};
    k->bytes = (size_t)(ldm_round_up(d[K], PANEL) * (d[C] + d[C2]) * TAPS) * ldm_dtype_size(k->dtype);
    snprintf(k->key, sizeof k->key, "winograd few");
    return true;
}

ldm_status ldm_winograd_few_record(const ldm_problem *p, const int *t, const ldm_device *d, ldm_recipe *r) {
    const int64_t *dim = p->dim, down = ldm_ceil_div(out_h(p), t[OUT]), right = ldm_ceil_div(out_w(p), t[OUT]);
    const int64_t tiles = whole(p, t[OUT]);
    const int turn[] = {N, H, W, C, C2, UP, PT, PL}, multiply[] = {C, C2, K};
    ldm_row_kernel(p, r, "conv2d_winograd_few_cpu.cl", "few_turn");
    ldm_rec_define(r, "LANES", ldm_row_lanes(d));
    ldm_rec_define(r, "OUT", t[OUT]);
    ldm_rec_scratch(r, 0);
    ldm_rec_slot(r, SLOT_X);
    ldm_rec_slot(r, SLOT_X2);
    for (size_t i = 0; i < sizeof turn / sizeof *turn; i++) ldm_rec_int(r, dim[turn[i]]);
    ldm_rec_int(r, down);
    ldm_rec_int(r, right);
    ldm_rec_int(r, tiles);
    ldm_rec_range2(r, tiles, strips(p), 1, 1);
    ldm_row_kernel(p, r, "conv2d_winograd_few_cpu.cl", "few_multiply");
    ldm_rec_define(r, "LANES", ldm_row_lanes(d));
    ldm_rec_define(r, "OUT", t[OUT]);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_scratch(r, 0);
    ldm_rec_scratch(r, turned_bytes(p, t[OUT], d));
    for (int i = SLOT_W; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    for (size_t i = 0; i < sizeof multiply / sizeof *multiply; i++) ldm_rec_int(r, dim[multiply[i]]);
    ldm_rec_int(r, out_h(p));
    ldm_rec_int(r, out_w(p));
    ldm_rec_int(r, dim[ACT]);
    ldm_rec_int(r, down);
    ldm_rec_int(r, right);
    ldm_rec_int(r, dim[N]);
    ldm_rec_int(r, tiles);
    ldm_rec_int(r, t[BLOCK]);
    ldm_rec_int(r, group(t));
    ldm_rec_int(r, few_items(p, t, d));
    ldm_rec_range1(r, few_items(p, t, d), 1);
    return r->status;
}

ldm_grain ldm_winograd_few_grain(const ldm_problem *p, const int *t, const ldm_device *d) { return (ldm_grain){t[OUT], 0}; }

/* Both passes over a filter round two sums, those over a tile with points other than 1 a constant and a product more: 8, or 4. */
void ldm_winograd_few_reference(const ldm_problem *p, const int *t, const float *const *in, const ldm_sample *which, double *y,
                                double *b) {
    ldm_winograd_judged(p, t[OUT], t[OUT] == 2 ? 4 : 8, in, which, y, b);
}

/* As ldm_winograd_cost, from filters as they are. With OUT 2 for every 4 tiles six columns at 2 operations and four rows at 3. With
 * OUT 4 three columns of four rows at 4 operations and six rows at 10; or three columns for two pairs of points a block, at 5, and
 * for every 8 tiles twelve half rows at 5. */
ldm_cost ldm_winograd_few_cost(const ldm_problem *p, const int *t, const ldm_device *d) {
    const double blocks = (double)ldm_ceil_div(whole(p, t[OUT]), t[BLOCK]), tiles = (double)whole(p, t[OUT]);
    const double turning = t[OUT] == 2     ? (6 * 2 + 4 * 3) * tiles / 4
                           : t[BLOCK] == 4 ? (4 * 3 * 4 + 6 * 10) * tiles / 4
                                           : 3 * 2 * 5 * blocks + 12 * 5 * tiles / 8;
    ldm_cost cost = p->op->cost(p);
    cost.flops = ldm_winograd_cost(p, t, d).flops + turning * (double)((p->dim[C] + p->dim[C2]) * p->dim[K]);
    return cost;
}
