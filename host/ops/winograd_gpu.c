/* winograd_gpu.c -- Winograd's F(4x4,3x3) and F(2x2,3x3) as a row of conv2d on GPUs: its three launches, the strips of tiles
 * they are made for, and when the algorithm pays. The kernels are kernels/conv2d_winograd_gpu.cl and, for the products,
 * gemm_gpu.cl; filters are turned by winograd.c. */
#include "ops/gpu_tile.h"
#include "ops/pack.h"
#include "ops/row.h"
#include "ops/winograd.h"
#include <string.h>

enum { TILE_M, TILE_N, SPLIT, OUT };
/* Bytes of V and M that a strip should take, and may take where there would be more than FEW_STRIPS of them: its products fill the
 * device the better, the more there are. */
enum { STRIP_BYTES = 32 << 20, MOST_BYTES = 256 << 20, FEW_STRIPS = 3, MOST_STRIPS = LDM_MAX_LAUNCHES / 4, ALIGN = 1024 };

const ldm_tunable ldm_winograd_gpu_tunables[] = {{"TILE_M", "tiles of a work-group", {64, 128}},
                                                 {"TILE_N", "outputs of a work-group", {32, 64}},
                                                 {"SPLIT", "work-groups up to which the channels are split", {512, 256, 1}},
                                                 {"OUT", "outputs of a tile a side", {4, 2}},
                                                 {0}};

static int64_t places(const int *t) { return winograd_places(t[OUT]); }
static int64_t down(const ldm_problem *p, const int *t) { return ldm_ceil_div(out_h(p), t[OUT]); }
static int64_t right(const ldm_problem *p, const int *t) { return ldm_ceil_div(out_w(p), t[OUT]); }
static int64_t tiles(const ldm_problem *p, const int *t) { return winograd_tiles(p, t[OUT]); }
static int64_t depth(const ldm_problem *p) { return p->dim[C] + p->dim[C2]; }

/* Where a strip's arrays begin in scratch, V at 0. */
typedef struct strip {
    int64_t tiles;
    size_t m, part, bytes;
    ldm_gpu_cut cut; /* of the product */
} strip;

static strip strip_of(const ldm_problem *p, const int *t) {
    const int64_t all = tiles(p, t), tile = places(t) * (depth(p) + p->dim[K]) * (int64_t)sizeof(float);
    const int64_t most = (MOST_BYTES - 2 * ALIGN) / tile / 128 * 128, few = ldm_ceil_div(all, FEW_STRIPS), least = ldm_ceil_div(all, MOST_STRIPS);
    strip s = {.tiles = STRIP_BYTES / tile};
    if (s.tiles < few) s.tiles = few < most ? few : most;
    if (s.tiles < least) s.tiles = least;
    s.tiles = ldm_round_up(s.tiles, 128);
    if (s.tiles > all) s.tiles = all;
    s.cut = ldm_gpu_cut_of(t, s.tiles, p->dim[K], depth(p), places(t));
    s.m = (size_t)ldm_round_up(places(t) * s.tiles * depth(p) * (int64_t)sizeof(float), ALIGN);
    s.part = s.m + (size_t)ldm_round_up(places(t) * s.tiles * p->dim[K] * (int64_t)sizeof(float), ALIGN);
    s.bytes = s.part + s.cut.scratch;
    return s;
}

size_t ldm_winograd_gpu_scratch(const ldm_problem *p, const int *t, const ldm_device *d) { return strip_of(p, t).bytes; }

bool ldm_winograd_gpu_legal(const ldm_problem *p, const int *t, const ldm_device *d) {
    const size_t bytes = strip_of(p, t).bytes;
    return ldm_gpu_tile_legal(p, t, d) && bytes <= d->max_alloc && bytes <= MOST_BYTES;
}

const char *ldm_winograd_gpu_supports(const ldm_problem *p, const ldm_device *d) {
    static const int least[] = {64, 32, 1, 2}; /* F(2x2) has more tiles, F(4x4) more bytes */
    const int other[] = {64, 32, 1, 4};
    if (!winograd_filter(p)) return LDM_WINOGRAD_FILTER;
    if (p->dim[H] * p->dim[W] * (p->dim[C] > p->dim[C2] ? p->dim[C] : p->dim[C2]) > INT32_MAX)
        return "more than 2^31 values in a sample";
    if (!ldm_winograd_gpu_legal(p, least, d) && !ldm_winograd_gpu_legal(p, other, d))
        return "its turned tiles take more than 256 MiB or than one buffer holds";
    return ldm_gpu_tile_supports(d, tiles(p, least), p->dim[K], depth(p));
}

/* Operations, and bytes to and from memory at 20 operations a byte, which is what GPUs have for f32 today; with tiles of `out`
 * outputs a side, of which a work-group multiplies 64 or none; and by the direct kernel, which reads its maps in cache. */
static double work_of(const ldm_problem *p, int out) {
    const double c = (double)depth(p), k = (double)p->dim[K], turned = (double)(winograd_places(out) * winograd_tiles(p, out));
    const double multiplied = (double)(winograd_places(out) * ldm_round_up(winograd_tiles(p, out), 64));
    return 2 * multiplied * c * k + 20 * 4 * (2 * turned * (c + k) + (double)winograd_places(out) * c * k);
}

static double direct_work(const ldm_problem *p) {
    const double pixels = (double)(p->dim[N] * out_h(p) * out_w(p)), c = (double)depth(p), k = (double)p->dim[K];
    return 2 * 9 * pixels * c * k + 20 * 4 * 9 * c * k;
}

const char *ldm_winograd_gpu_prefers(const ldm_problem *p, const int *t, const ldm_device *d) {
    const char *why = ldm_gpu_tile_prefers(t, strip_of(p, t).tiles, p->dim[K], depth(p), places(t), d);
    if (why) return why;
    if (p->wdtype != LDM_F32) return "its filters would take up to eight times the memory they take as f16";
    if (work_of(p, t[OUT]) > work_of(p, t[OUT] == 4 ? 2 : 4)) return "the other tile has less to do";
    return work_of(p, t[OUT]) < 0.8 * direct_work(p) ? NULL : "turning the tiles costs more than it saves";
}

ldm_grain ldm_winograd_gpu_grain(const ldm_problem *p, const int *t, const ldm_device *d) {
    return (ldm_grain){t[OUT], strip_of(p, t).cut.k_range};
}

void ldm_winograd_gpu_reference(const ldm_problem *p, const int *t, const float *const *in, const ldm_sample *which,
                                double *y, double *b) {
    ldm_winograd_judged(p, t[OUT], 1, in, which, y, b);
}

bool ldm_winograd_gpu_pack(const ldm_problem *p, const int *t, int slot, ldm_packing *k) {
    return slot == SLOT_W && ldm_winograd_filters(p, t[OUT], k);
}

static void product(const ldm_problem *p, const int *t, const strip *s, int64_t count, bool merge, ldm_recipe *r) {
    ldm_rec_kernel(r, "gemm_gpu.cl", merge ? "gemm_merge" : "gemm_block"); /* floats, whatever the problem's storage */
    ldm_gpu_tile_defines(t, r);
    ldm_rec_define(r, "VEC", p->dim[K] % 4 == 0 && depth(p) % 4 == 0);
    ldm_rec_define(r, "W_LAYOUT", 1);
    ldm_rec_scratch(r, s->m);
    ldm_rec_scratch(r, s->cut.scratch ? s->part : s->m);
    if (!merge) ldm_rec_scratch(r, 0);
    if (!merge) ldm_rec_slot(r, SLOT_W);
    for (int i = 0; i < 3; i++) ldm_rec_slot(r, LDM_MAX_SLOTS); /* neither bias nor vec nor residual yet */
    ldm_gpu_gemm_sizes(t, &s->cut, count, count, p->dim[K], depth(p), places(t), merge, r);
}

/* The turning kernels' sizes after their own: how tiles are numbered, and which they make. */
static void numbering(const ldm_problem *p, const int *t, int64_t first, int64_t count, ldm_recipe *r) {
    ldm_rec_int(r, down(p, t));
    ldm_rec_int(r, right(p, t));
    ldm_rec_int(r, first);
    ldm_rec_int(r, count);
}

ldm_status ldm_winograd_gpu_record(const ldm_problem *p, const int *t, const ldm_device *d, ldm_recipe *r) {
    const strip s = strip_of(p, t);
    for (int64_t first = 0, all = tiles(p, t); first < all; first += s.tiles) {
        const int64_t count = all - first < s.tiles ? all - first : s.tiles;
        ldm_row_kernel(p, r, "conv2d_winograd_gpu.cl", "winograd_in");
        ldm_rec_define(r, "OUT", t[OUT]);
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, SLOT_X);
        ldm_rec_slot(r, SLOT_X2);
        const int order[] = {H, W, C, C2, UP, PT, PL};
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) ldm_rec_int(r, p->dim[order[i]]);
        numbering(p, t, first, count, r);
        ldm_rec_range1(r, count * depth(p), 64);
        for (int merge = 0; merge <= (s.cut.splits > 1); merge++) product(p, t, &s, count, merge, r);
        ldm_row_kernel(p, r, "conv2d_winograd_gpu.cl", "winograd_out");
        ldm_rec_define(r, "OUT", t[OUT]);
        ldm_rec_slot(r, SLOT_Y);
        ldm_rec_scratch(r, s.m);
        for (int i = SLOT_BIAS; i < SLOT_Y; i++) ldm_rec_slot(r, i);
        ldm_rec_int(r, out_h(p));
        ldm_rec_int(r, out_w(p));
        ldm_rec_int(r, p->dim[K]);
        numbering(p, t, first, count, r);
        ldm_rec_int(r, p->dim[ACT]);
        ldm_rec_range1(r, count * p->dim[K], 64);
    }
    return r->status;
}

/* The transforms and the packing of the CPU row; what lies between the launches of a strip is not counted. */
ldm_cost ldm_winograd_gpu_cost(const ldm_problem *p, const int *params, const ldm_device *d) {
    const int cpu[LDM_MAX_TUNABLES] = {params[OUT]}; /* its first tunable */
    return ldm_winograd_cost(p, cpu, d);
}
