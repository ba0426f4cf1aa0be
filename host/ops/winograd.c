/* winograd.c -- Winograd's F(6x6,3x3), F(4x4,3x3) and F(2x2,3x3) as a row of conv2d on CPUs: filters turned at packing, when the
 * algorithm pays, how its work is shared out. The kernel is kernels/conv2d_winograd_cpu.cl; the bound of its error is
 * reference/ref_conv2d.c's. */
#include "ops/winograd.h"
#include "ops/pack.h"
#include "ops/row.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SIDE = 8, MOST_PLACES = 64, PANEL = 32 };
enum { OUT, BLOCK, GROUP }; /* LDM_WINOGRAD_SAME_BOUND */

const ldm_tunable ldm_winograd_tunables[] = {
    {"OUT", "outputs of a tile a side", {6, 4, 2}}, {"BLOCK", "tiles of a job", {32, 24, 16, 8}},
    {"GROUP", "panels of 32 outputs of a job", {64, 32, 16, 8, 4, 2}}, {0}};

static int64_t chunk(int out) { return out == 2 ? 256 : 64; } /* channels turned at a time: CHUNK of the kernel */

/* ---- the filters: U = G g G^T for every output and input channel ------------------------------------------------- */

enum { A_K, A_C, A_C2, A_OUT };

/* G, [out + 2][3]: row i is (1, p, p^2) / prod_{j != i} (p - p_j) for the finite point p = p_i, the last is (0, 0, 1).
 */
static void filter_matrix(int out, double g[MOST_SIDE][3]) {
    static const double six[] = {0, 0.5, -0.5, 1, -1, 2, -2}, four[] = {0, 0.625, -0.625, 1.5, -1.5}, two[] = {0, 1, -1};
    const double *point = out == 6 ? six : out == 4 ? four : two;
    for (int i = 0; i <= out; i++) {
        double f = 1;
        for (int j = 0; j <= out; j++)
            if (j != i) f *= point[i] - point[j];
        for (int e = 0; e < 3; e++) g[i][e] = pow(point[i], e) / f;
    }
    g[out + 1][0] = g[out + 1][1] = 0, g[out + 1][2] = 1;
}

/* U of one channel for PANEL outputs, whose filters begin `step` floats apart, of which `count` are there; zeros elsewhere. */
LDM_WIDEST static void turn(double g[MOST_SIDE][3], int out, const float *src, int64_t step, int64_t count,
                 float line[MOST_PLACES][PANEL]) {
    const int side = out + 2;
    double tap[9][PANEL] = {{0}}, half[MOST_SIDE][3][PANEL];
    for (int64_t o = 0; o < PANEL && o < count; o++)
        for (int t = 0; t < 9; t++) tap[t][o] = src[o * step + t];
    for (int i = 0; i < side; i++)
        for (int j = 0; j < 3; j++)
            for (int o = 0; o < PANEL; o++)
                half[i][j][o] = g[i][0] * tap[j][o] + g[i][1] * tap[3 + j][o] + g[i][2] * tap[6 + j][o];
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++)
            for (int o = 0; o < PANEL; o++)
                line[i * side + j][o] =
                    (float)(half[i][0][o] * g[j][0] + half[i][1][o] * g[j][1] + half[i][2][o] * g[j][2]);
}

/* [chunk][place][panel][channels of the chunk][32], the chunks of x's channels, then of x2's; see pack.h for the zeros.
 */
static void turn_filters(const ldm_packing *k, const float *src, void *dst) {
    const int out = (int)k->arg[A_OUT];
    const int64_t n = k->arg[A_K], c[2] = {k->arg[A_C], k->arg[A_C2]}, all = c[0] + c[1],
                  panels = ldm_ceil_div(n, PANEL);
    double g[MOST_SIDE][3];
    float *to = dst;
    filter_matrix(out, g);
    for (int source = 0; source < 2; source++)
        for (int64_t from = 0; from < c[source]; from += chunk(out)) {
            const int64_t count = c[source] - from < chunk(out) ? c[source] - from : chunk(out);
#pragma omp parallel for schedule(static)
            for (int64_t panel = 0; panel < panels; panel++)
                for (int64_t e = 0; e < count; e++) {
                    float line[MOST_PLACES][PANEL];
                    turn(g, out, src + (panel * PANEL * all + source * c[0] + from + e) * 9, all * 9, n - panel * PANEL,
                         line);
                    for (int64_t i = 0; i < winograd_places(out); i++)
                        memcpy(to + ((i * panels + panel) * count + e) * PANEL, line[i], sizeof line[i]);
                }
            to += winograd_places(out) * panels * PANEL * count;
        }
    memset(to, 0, k->bytes - (size_t)((char *)to - (char *)dst));
}

/* [place][channel of x, then of x2][output] */
static void turn_filters_flat(const ldm_packing *k, const float *src, void *dst) {
    const int out = (int)k->arg[A_OUT];
    const int64_t n = k->arg[A_K], all = k->arg[A_C] + k->arg[A_C2];
    double g[MOST_SIDE][3];
    filter_matrix(out, g);
#pragma omp parallel for schedule(static)
    for (int64_t e = 0; e < all; e++)
        for (int64_t o = 0; o < n; o += PANEL) {
            float line[MOST_PLACES][PANEL];
            turn(g, out, src + (o * all + e) * 9, all * 9, n - o, line);
            for (int64_t i = 0; i < winograd_places(out); i++)
                memcpy((float *)dst + (i * all + e) * n + o, line[i],
                       sizeof **line * (size_t)(n - o < PANEL ? n - o : PANEL));
        }
}

bool ldm_winograd_filters(const ldm_problem *p, int out, ldm_packing *k) {
    const int64_t *d = p->dim;
    *k = (ldm_packing){.dtype = LDM_F32, .arg = {d[K], d[C], d[C2], out}, .fn = turn_filters_flat};
    k->bytes = (size_t)(winograd_places(out) * d[K] * (d[C] + d[C2])) * sizeof(float);
    snprintf(k->key, sizeof k->key, "winograd%d flat", out);
    return true;
}

bool ldm_winograd_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *k) {
    if (slot != SLOT_W) return false;
    const int out = params[OUT];
    const int64_t *d = p->dim, widest = d[C] > d[C2] ? d[C] : d[C2];
    const int64_t zeros = ldm_round_up(widest * (int64_t)ldm_dtype_size(p->dtype), 64);
    *k = (ldm_packing){.dtype = LDM_F32, .arg = {d[K], d[C], d[C2], out}, .fn = turn_filters};
    k->bytes = (size_t)(winograd_places(out) * ldm_round_up(d[K], PANEL) * (d[C] + d[C2])) * sizeof(float) + (size_t)zeros;
    snprintf(k->key, sizeof k->key, "winograd%d %lld+%lld 0:%lld", out, (long long)d[C], (long long)d[C2],
             (long long)zeros);
    return true;
}

/* ---- sharing out --------------------------------------------------------------------------------------------------
 */

typedef struct cut {
    int64_t group; /* panels of a job, as even as they can be */
    int64_t items; /* work-items; each has a slot of scratch and makes every items'th job */
    size_t slot;   /* bytes */
} cut;

static int64_t jobs_of(const ldm_problem *p, const int *t) {
    return ldm_ceil_div(winograd_tiles(p, t[OUT]), t[BLOCK]) * ldm_ceil_div(ldm_ceil_div(p->dim[K], PANEL), t[GROUP]);
}

static cut cut_of(const ldm_problem *p, const int *t, const ldm_device *d) {
    const int64_t panels = ldm_ceil_div(p->dim[K], PANEL);
    cut c = {.group = ldm_ceil_div(panels, ldm_ceil_div(panels, t[GROUP])), .items = ldm_row_items(jobs_of(p, t), d)};
    c.slot =
        (size_t)(winograd_places(t[OUT]) * (t[BLOCK] * chunk(t[OUT]) + 16 + c.group * t[BLOCK] * PANEL + 16)) * sizeof(float);
    return c;
}

size_t ldm_winograd_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    const cut c = cut_of(p, params, d);
    return (size_t)c.items * c.slot;
}

bool ldm_winograd_legal(const ldm_problem *p, const int *params, const ldm_device *d) {
    return winograd_tiles(p, params[OUT]) <= INT32_MAX / 64 &&
           (params[GROUP] <= 4 || params[GROUP] < 2 * ldm_ceil_div(p->dim[K], PANEL)) &&
           ldm_winograd_scratch(p, params, d) <= d->max_alloc;
}

const char *ldm_winograd_supports(const ldm_problem *p, const ldm_device *d) {
    static const int least[] = {4, 8, 2};
    if (!winograd_filter(p)) return LDM_WINOGRAD_FILTER;
    return ldm_winograd_legal(p, least, d) ? NULL : "more than 2^25 tiles, or its scratch does not fit one buffer";
}

/* Tiles turned channel by channel, 64, 36 or 16 products each, sums turned output by output; the operations of a turn are
 * counted in TURN_IN and TURN_OUT of the kernel: 43 a line of eight and 35 to six, 22 of six and 16 to four, or 4 and 4. Map in and out, and the
 * filters as they are packed. */
ldm_cost ldm_winograd_cost(const ldm_problem *p, const int *params, const ldm_device *d) {
    const int out = params[OUT];
    const double n = (double)winograd_tiles(p, out), c = (double)(p->dim[C] + p->dim[C2]), k = (double)p->dim[K];
    const double in = out == 6 ? 16 * 43 : out == 4 ? 12 * 22 : 8 * 4, back = out == 6 ? 14 * 35 : out == 4 ? 10 * 16 : 6 * 4;
    ldm_cost cost = p->op->cost(p);
    ldm_packing w;
    ldm_winograd_pack(p, params, SLOT_W, &w);
    cost.flops = n * (2 * (double)winograd_places(out) * c * k + in * c + back * k);
    cost.bytes += (double)w.bytes - (double)ldm_dtype_size(p->wdtype) * 9 * c * k;
    return cost;
}

/* Cost per channel and output: products, and weights read at about 6.5 operations a byte. */
static double cost(int64_t products, int64_t weights) { return 2.0 * (double)products + 6.5 * 4 * (double)weights; }

const char *ldm_winograd_prefers(const ldm_problem *p, const int *params, const ldm_device *d) {
    const int64_t all = winograd_tiles(p, params[OUT]), pixels = p->dim[N] * out_h(p) * out_w(p);
    /* floats whatever the weights are kept as: up to eight times the memory they take as f16 */
    if (p->wdtype == LDM_Q8_0) return "its filters are floats, and as little memory as possible is asked for";
    if (p->wdtype != LDM_F32 && winograd_filter_bytes(p, params[OUT]) > WINOGRAD_HALVES)
        return "its filters are floats and would take more than 16 MiB";
    if (ldm_winograd_few(p, d)) return "few tiles: filters take less time as they are";
    if (ldm_winograd_in_use(p, d)) return "filters turned while they are used take a quarter of the memory";
    if (d->low_memory && !d->once && params[OUT] == 4 && winograd_filter_bytes(p, 4) > WINOGRAD_LARGE)
        return "filters turned for tiles of 2 outputs take less than half the memory";
    if (p->dim[K] < 32 || p->dim[C] < 16) return "few channels: turning the tiles costs more than it saves";
    if (1.15 * cost(winograd_places(params[OUT]) * ldm_round_up(all, 8), winograd_places(params[OUT])) >= cost(9 * pixels, 9))
        return "a small map: reading the larger filters costs more than it saves";
    if (ldm_round_up(all, params[BLOCK]) > ldm_round_up(all, 8)) return "smaller blocks of tiles waste less";
    /* all panels a job where there are blocks for every unit: the tiles are turned once for all of them */
    if (params[OUT] == 6) {
        enum { FEWEST = 200, PRODUCTS = 64 }; /* tiles; products a number turned, C K / (C + K) */
        const int64_t c = p->dim[C] + p->dim[C2], k = p->dim[K];
        if (d->low_memory || all < FEWEST || winograd_filter_bytes(p, 6) > WINOGRAD_LARGE)
            return "few tiles, or many channels: filters of 6 outputs take more memory or time than they save";
        if (1.1 * (double)(winograd_places(6) * all) > (double)(winograd_places(4) * winograd_tiles(p, 4)))
            return "tiles of 6 outputs waste too much at the map's edges";
        if (c * k < PRODUCTS * (c + k)) return "few channels: turning larger tiles costs more than it saves";
        if (params[BLOCK] > 16 || params[BLOCK] * params[GROUP] > 128) return "smaller blocks: tiles and sums stay in cache";
    }
    if (params[BLOCK] * params[GROUP] > 512) return "fewer panels a job: its sums stay in the second-level cache";
    if (params[GROUP] > 4 && jobs_of(p, params) < 2 * d->units && jobs_of(p, params) != d->units)
        return "fewer panels a job keep all units busy";
    return params[GROUP] < 4 ? "more panels a job: tiles are turned once for all of them" : NULL;
}

ldm_status ldm_winograd_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    const cut c = cut_of(p, params, d);
    ldm_row_kernel(p, r, "conv2d_winograd_cpu.cl", "conv2d_winograd");
    ldm_rec_define(r, "OUT", params[OUT]);
    ldm_rec_define(r, "LANES", ldm_row_lanes(d));
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_scratch(r, 0);
    for (int i = 0; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    const int order[] = {N, H, W, C, C2, K, UP, PT, PL};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) ldm_rec_int(r, p->dim[order[i]]);
    ldm_rec_int(r, out_h(p));
    ldm_rec_int(r, out_w(p));
    ldm_rec_int(r, p->dim[ACT]);
    ldm_rec_int(r, params[BLOCK]);
    ldm_rec_int(r, c.group);
    ldm_rec_int(r, c.items);
    ldm_rec_range1(r, c.items, 1);
    return r->status;
}

ldm_grain ldm_winograd_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (ldm_grain){params[OUT], 0};
}

void ldm_winograd_judged(const ldm_problem *p, int out, int turned, const float *const *in, const ldm_sample *which,
                         double *y, double *b) {
    const ref_out o = ldm_row_out(which, p->dim[N] * out_h(p) * out_w(p) * p->dim[K], p->dtype, y, b);
    const ref_conv2d_dims r = ref_dims(p);
    ref_conv2d_winograd(o, &r, out, turned, in[SLOT_X], in[SLOT_X2], in[SLOT_W], in[SLOT_BIAS], in[SLOT_VEC],
                        in[SLOT_RESIDUAL]);
}

void ldm_winograd_reference(const ldm_problem *p, const int *params, const float *const *in, const ldm_sample *which,
                            double *y, double *b) {
    ldm_winograd_judged(p, params[OUT], 1, in, which, y, b);
}
