/* conv2d.c -- the op `conv2d`: what it means, its cost, its cases, and the rows that run it. The kernels are in
 * kernels/conv2d*.cl, the reference in reference/ref_conv2d.c, weight layouts in pack.c. */
#include "ops/clblast.h"
#include "ops/conv2d.h"
#include "ops/gpu_tile.h"
#include "ops/pack.h"
#include "ops/product.h"
#include "ops/row.h"
#include "ops/winograd.h"

enum { CLBLAST_COLUMNS = 512 << 20 }; /* bytes of scratch the library row may take */

static int64_t depth(const ldm_problem *p) { return (p->dim[C] + p->dim[C2]) * p->dim[R] * p->dim[S]; }

static ldm_status infer(const ldm_problem *p, ldm_slot *slot) {
    static const char *const name[DIMS] = {"n",  "c",  "h",  "w",  "k",  "r",  "s",  "stride",
                                           "up", "c2", "pt", "pb", "pl", "pr", "act"};
    const int64_t *d = p->dim;
    for (int i = 0; i < DIMS; i++) {
        int64_t least = i >= C2 ? 0 : 1, most = i == UP                           ? 2
                                                : i >= PT && i <= PR              ? 64
                                                : i == R || i == S || i == STRIDE ? 64
                                                                                  : 1 << 24;
        if (d[i] < least || d[i] > most)
            return ldm_fail(LDM_ERR_ARG, "conv2d: %s is %lld, wanted %lld to %lld", name[i], (long long)d[i],
                            (long long)least, (long long)most);
    }
    ldm_status st = ldm_weight_types(p, d[C], d[C2], false);
    if (st) return st;
    if (d[H] * d[UP] + d[PT] + d[PB] < d[R] || d[W] * d[UP] + d[PL] + d[PR] < d[S])
        return ldm_fail(LDM_ERR_ARG, "conv2d: the padded map is %lld x %lld, smaller than the %lld x %lld filter",
                        (long long)(d[H] * d[UP] + d[PT] + d[PB]), (long long)(d[W] * d[UP] + d[PL] + d[PR]),
                        (long long)d[R], (long long)d[S]);
    ldm_shape y = ldm_shape_of(4, d[N], out_h(p), out_w(p), d[K]);
    slot[SLOT_X] = (ldm_slot){true, false, p->dtype, ldm_shape_of(4, d[N], d[H], d[W], d[C])};
    slot[SLOT_X2] = (ldm_slot){d[C2] > 0, false, p->dtype, ldm_shape_of(4, d[N], d[H], d[W], d[C2])};
    slot[SLOT_W] = (ldm_slot){true, true, p->wdtype, ldm_shape_of(4, d[K], d[C] + d[C2], d[R], d[S])};
    slot[SLOT_BIAS] = (ldm_slot){(p->flags & BIAS) != 0, true, LDM_F32, ldm_shape_of(1, d[K])};
    slot[SLOT_VEC] = (ldm_slot){(p->flags & VEC) != 0, false, p->dtype, ldm_shape_of(2, d[N], d[K])};
    slot[SLOT_RESIDUAL] = (ldm_slot){(p->flags & RESIDUAL) != 0, false, p->dtype, y};
    slot[SLOT_Y] = (ldm_slot){true, false, p->dtype, y};
    return LDM_OK;
}

static ldm_cost cost(const ldm_problem *p) {
    const int64_t *d = p->dim;
    double y = (double)d[N] * (double)out_h(p) * (double)out_w(p) * (double)d[K];
    double x = (double)d[N] * (double)d[H] * (double)d[W] * (double)(d[C] + d[C2]);
    double size = (double)ldm_dtype_size(p->dtype);
    return (ldm_cost){2 * y * (double)depth(p),
                      size * (x + y * (p->flags & RESIDUAL ? 2 : 1)) +
                          (double)ldm_dtype_bytes(p->wdtype, d[K] * depth(p))};
}

static void reference(const ldm_problem *p, const float *const *in, const ldm_sample *which, double *y, double *bound) {
    const int64_t *d = p->dim;
    const ref_conv2d_dims r = ref_dims(p);
    ref_conv2d(ldm_row_out(which, d[N] * out_h(p) * out_w(p) * d[K], p->dtype, y, bound), &r, in[SLOT_X], in[SLOT_X2],
               in[SLOT_W], in[SLOT_BIAS], in[SLOT_VEC], in[SLOT_RESIDUAL]);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static void sizes(const ldm_problem *p, ldm_recipe *r) {
    const int order[] = {N, H, W, C, C2, K, R, S, STRIDE, UP, PT, PL};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) ldm_rec_int(r, p->dim[order[i]]);
    ldm_rec_int(r, out_h(p));
    ldm_rec_int(r, out_w(p));
}

/* The arguments the plain and CPU kernels start with: output, inputs, sizes. */
static void arguments(const ldm_problem *p, ldm_recipe *r) {
    ldm_rec_slot(r, SLOT_Y);
    for (int i = 0; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    sizes(p, r);
    ldm_rec_int(r, p->dim[ACT]);
}

static const char *cpu_supports(const ldm_problem *p, const ldm_device *d) {
    /* pixel numbers are 32-bit; element offsets are 64-bit */
    if (p->dim[N] * out_h(p) * out_w(p) > INT32_MAX / 2 || depth(p) > INT32_MAX / 64)
        return "more than 2^30 pixels or 2^25 products";
    return NULL;
}

/* Bytes of the row of zeros behind packed weights: as long as the longest run of one input row. */
static int64_t zero_row(const ldm_problem *p) {
    int64_t widest = p->dim[C] > p->dim[C2] ? p->dim[C] : p->dim[C2];
    return widest * p->dim[S] * (int64_t)ldm_dtype_size(p->dtype);
}

static bool pack_panels(const ldm_problem *p, int64_t width, int slot, ldm_packing *out) {
    const int64_t *d = p->dim;
    return slot == SLOT_W &&
           ldm_pack_panels(p->wdtype, width, d[K], d[C], d[C2], d[R] * d[S], false, zero_row(p), out);
}

static bool cpu_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    return pack_panels(p, 2 * params[LDM_TILE_LANES], slot, out);
}

static bool gpu_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    return pack_panels(p, 32, slot, out);
}

static ldm_status cpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, width = 2 * params[LDM_TILE_LANES];
    const ldm_tiling t = ldm_share_tiles(d[N] * out_h(p) * out_w(p), params[LDM_TILE_ROWS], d[C] + d[C2], depth(p),
                                         ldm_ceil_div(d[K], width), width, dev->units);
    ldm_row_kernel(p, r, "conv2d_cpu.cl", "conv2d_tile");
    ldm_tile_defines("TILE_PIXELS", params, r);
    arguments(p, r);
    ldm_rec_int(r, t.block);
    ldm_rec_int(r, t.group);
    ldm_rec_range1(r, t.items, 1);
    return r->status;
}

/* Taps of a tile of pixels are taken together where they lie inside for all of it. */
static ldm_grain cpu_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    int64_t rows = 1;
    while (rows * out_w(p) % params[LDM_TILE_ROWS]) rows++;
    return (ldm_grain){rows, 0};
}

static const ldm_tunable cpu_tunables[] = LDM_TILE_TUNABLES("TILE_PIXELS", "output pixels of a tile");

static bool cpu_legal(const ldm_problem *p, const int *params, const ldm_device *d) {
    return ldm_tile_legal(params, p->dim[N] * out_h(p) * out_w(p), d);
}

/* Tiles that are rows of the map pass over what the filter has above and below it: a sixth where there are four rows. */
static const char *tile_prefers(const ldm_problem *p, const int *params, const ldm_device *d) {
    enum { ROW = 4, MOST = 64 }; /* pixels of a row, of all maps: with more, larger tiles make better use of the registers */
    const bool rows = params[LDM_TILE_LANES] == 16 && p->dim[R] == 3 && p->dim[STRIDE] == 1 && p->dim[PT] && p->dim[PB] &&
                      out_h(p) == ROW && out_w(p) == ROW && p->dim[N] * ROW * ROW <= MOST;
    return rows && params[LDM_TILE_ROWS] != ROW ? "tiles that are rows of so small a map pass over what is outside" : NULL;
}

enum { THIN_TILES = 4, THIN_STRIP = 4096, THIN_DEPTH = 128 }; /* TILES and STRIP of the kernel; longest sum */

static const char *thin_supports(const ldm_problem *p, const ldm_device *d) {
    const int64_t *n = p->dim;
    if (n[C2] || p->wdtype == LDM_Q8_0) return "needs one input and weights that are not in blocks";
    if (depth(p) > THIN_DEPTH) return "more than 128 products a sum";
    return cpu_supports(p, d);
}

static bool thin_legal(const ldm_problem *p, const int *params, const ldm_device *d) {
    const int64_t *n = p->dim, pixels = THIN_TILES * params[LDM_TILE_ROWS];
    return n[R] * ((pixels - 1) * n[STRIDE] + n[S]) * n[C] <= THIN_STRIP && ldm_tile_legal(params, out_w(p), d);
}

static ldm_status thin_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim, panels = ldm_ceil_div(d[K], 2 * params[LDM_TILE_LANES]);
    const int64_t strips = d[N] * out_h(p) * ldm_ceil_div(out_w(p), THIN_TILES * params[LDM_TILE_ROWS]);
    /* all panels of a strip together, unless that leaves units without work */
    const int64_t wanted = ldm_ceil_div(8 * dev->units, strips), each = ldm_ceil_div(panels, wanted < panels ? wanted : panels);
    const int order[] = {H, W, C, K, R, S, STRIDE, UP, PT, PL};
    ldm_row_kernel(p, r, "conv2d_thin_cpu.cl", "conv2d_thin");
    ldm_tile_defines("TILE_PIXELS", params, r);
    ldm_rec_slot(r, SLOT_Y);
    ldm_rec_slot(r, SLOT_X);
    for (int i = SLOT_W; i < SLOT_Y; i++) ldm_rec_slot(r, i);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) ldm_rec_int(r, d[order[i]]);
    ldm_rec_int(r, out_h(p));
    ldm_rec_int(r, out_w(p));
    ldm_rec_int(r, d[ACT]);
    ldm_rec_int(r, each);
    ldm_rec_range1(r, strips * ldm_ceil_div(panels, each), 1);
    return r->status;
}

static const char *narrow_supports(const ldm_problem *p, const ldm_device *d) {
    if (p->dim[K] > 16 || p->dim[C] % 16 || p->dim[C2] % 16) return "needs k <= 16, c % 16 == 0 and c2 % 16 == 0";
    return cpu_supports(p, d);
}

static bool narrow_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    if (slot != SLOT_W) return false;
    const int64_t *d = p->dim;
    return ldm_pack_rows(p->wdtype, d[K], d[C], d[C2], d[R] * d[S], zero_row(p), out);
}

static ldm_status narrow_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    ldm_row_kernel(p, r, "conv2d_cpu.cl", "conv2d_narrow");
    ldm_rec_define(r, "LANES", ldm_row_lanes(dev));
    arguments(p, r);
    ldm_rec_range1(r, ldm_ceil_div(p->dim[N] * out_h(p) * out_w(p), ldm_row_lanes(dev) == 16 ? 4 : 2), 1);
    return r->status;
}

/* Of rows that read weights as the file has them; q8_0 lies in blocks of channels of a tap. */
static bool plain_pack(const ldm_problem *p, const int *params, int slot, ldm_packing *out) {
    const int64_t *d = p->dim;
    return slot == SLOT_W && p->wdtype == LDM_Q8_0 && ldm_pack_rows(LDM_Q8_0, d[K], d[C], d[C2], d[R] * d[S], 0, out);
}

static ldm_status plain_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    ldm_row_kernel(p, r, "conv2d.cl", "conv2d_plain");
    arguments(p, r);
    ldm_rec_range1(r, p->dim[N] * out_h(p) * out_w(p) * p->dim[K], 64);
    return r->status;
}

static int64_t pixels(const ldm_problem *p) { return p->dim[N] * out_h(p) * out_w(p); }

static ldm_gpu_cut gpu_cut(const ldm_problem *p, const int *params) {
    return ldm_gpu_cut_of(params, pixels(p), p->dim[K], depth(p), 1);
}

static const char *gpu_prefers(const ldm_problem *p, const int *params, const ldm_device *d) {
    return ldm_gpu_tile_prefers(params, pixels(p), p->dim[K], depth(p), 1, d);
}

static const char *gpu_supports(const ldm_problem *p, const ldm_device *d) {
    if (p->dim[N] * p->dim[H] * p->dim[W] > INT32_MAX / 2) return "more than 2^30 input pixels";
    return ldm_gpu_tile_supports(d, pixels(p), p->dim[K], depth(p));
}

static size_t gpu_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    return gpu_cut(p, params).scratch;
}

static ldm_status gpu_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    const ldm_gpu_cut cut = gpu_cut(p, params);
    for (int merge = 0; merge <= (cut.splits > 1); merge++) {
        ldm_row_kernel(p, r, "conv2d_gpu.cl", merge ? "conv2d_merge" : "conv2d_block");
        ldm_gpu_tile_defines(params, r);
        ldm_rec_define(r, "C_VEC", d[C] % 4 == 0 && d[C2] % 4 == 0);
        ldm_rec_define(r, "VEC", d[K] % 4 == 0);
        ldm_rec_define(r, "ACT", d[ACT]);
        ldm_rec_slot(r, SLOT_Y);
        ldm_rec_scratch(r, 0);
        for (int i = merge ? SLOT_BIAS : SLOT_X; i < SLOT_Y; i++) ldm_rec_slot(r, i);
        if (merge) {
            ldm_rec_int(r, pixels(p));
            ldm_rec_int(r, out_h(p) * out_w(p));
            ldm_rec_int(r, d[K]);
            ldm_rec_int(r, cut.splits);
            ldm_rec_range1(r, pixels(p) * ldm_ceil_div(d[K], 4), 64);
        } else {
            sizes(p, r);
            ldm_rec_int(r, cut.k_range);
            ldm_gpu_tile_range(params, &cut, 1, r);
        }
    }
    return r->status;
}

static ldm_grain gpu_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (ldm_grain){1, gpu_cut(p, params).k_range};
}

/* The library chooses its kernels by sizes we do not know. */
static ldm_grain clblast_grain(const ldm_problem *p, const int *params, const ldm_device *d) {
    return (ldm_grain){1, pixels(p)};
}

static bool is_pointwise(const ldm_problem *p) {
    const int64_t *d = p->dim;
    return d[R] == 1 && d[S] == 1 && d[STRIDE] == 1 && d[UP] == 1 && !d[PT] && !d[PB] && !d[PL] && !d[PR];
}

/* A 1x1 convolution of one input is a product as it lies; others gather their columns in scratch. */
static bool is_product(const ldm_problem *p) { return is_pointwise(p) && !p->dim[C2]; }

bool ldm_conv2d_product(const ldm_problem *p, ldm_product *out) {
    const int64_t *d = p->dim;
    *out = (ldm_product){.m = pixels(p), .per = out_h(p) * out_w(p), .n = d[K], .c = d[C], .c2 = d[C2],
                         .act = (int)d[ACT], .x = SLOT_X, .x2 = SLOT_X2, .w = SLOT_W, .bias = SLOT_BIAS,
                         .vec = SLOT_VEC, .residual = SLOT_RESIDUAL, .y = SLOT_Y};
    return is_pointwise(p);
}

static size_t clblast_scratch(const ldm_problem *p, const int *params, const ldm_device *d) {
    return is_product(p) ? 0 : (size_t)(pixels(p) * depth(p)) * sizeof(float);
}

static const char *clblast_supports(const ldm_problem *p, const ldm_device *d) {
    if (clblast_scratch(p, NULL, d) > CLBLAST_COLUMNS || clblast_scratch(p, NULL, d) > d->max_alloc)
        return "its columns take more than 512 MiB or than one buffer holds";
    return ldm_clblast_supports(p, pixels(p), p->dim[K], depth(p));
}

static ldm_status clblast_record(const ldm_problem *p, const int *params, const ldm_device *dev, ldm_recipe *r) {
    const int64_t *d = p->dim;
    if (!is_product(p)) {
        ldm_rec_kernel(r, "library.cl", "library_im2col");
        ldm_rec_scratch(r, 0);
        ldm_rec_slot(r, SLOT_X);
        ldm_rec_slot(r, SLOT_X2);
        const int order[] = {N, H, W, C, C2, R, S, STRIDE, UP, PT, PL};
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) ldm_rec_int(r, d[order[i]]);
        ldm_rec_int(r, out_h(p));
        ldm_rec_int(r, out_w(p));
        ldm_rec_range1(r, pixels(p) * depth(p), 64);
    }
    ldm_clblast_product(&(ldm_clblast_gemm){is_product(p) ? SLOT_X : LDM_SLOT_SCRATCH, SLOT_W, SLOT_Y, pixels(p), d[K],
                                            depth(p), .batch = 1},
                        r);
    ldm_clblast_epilogue((p->flags & (BIAS | VEC | RESIDUAL)) || d[ACT], SLOT_Y, SLOT_BIAS, SLOT_VEC, SLOT_RESIDUAL,
                         pixels(p), d[K], out_h(p) * out_w(p), d[ACT], r);
    return r->status;
}

static const ldm_impl impls[] = {
    {.name = "conv2d_winograd_gpu",
     .idea = "Winograd F(4x4,3x3), a quarter of the products, or F(2x2,3x3), 4/9: tiles turned in memory, then a product of "
             "gemm_gpu.cl a place",
     .family = LDM_GPU,
     .supports = ldm_winograd_gpu_supports,
     .prefers = ldm_winograd_gpu_prefers,
     .tunables = ldm_winograd_gpu_tunables,
     .legal = ldm_winograd_gpu_legal,
     .scratch = ldm_winograd_gpu_scratch,
     .pack = ldm_winograd_gpu_pack,
     .record = ldm_winograd_gpu_record,
     .grain = ldm_winograd_gpu_grain,
     .reference = ldm_winograd_gpu_reference,
     .cost = ldm_winograd_gpu_cost,
     .same_bound = LDM_WINOGRAD_GPU_SAME_BOUND},
    {.name = "conv2d_gpu",
     .idea = "implicit GEMM, tiles of 128 x 64 or 64 x 64 through local memory, 8 x 8 or 8 x 4 in registers, K split "
             "to fill the device",
     .family = LDM_GPU,
     .supports = gpu_supports,
     .prefers = gpu_prefers,
     .tunables = ldm_gpu_tile_tunables,
     .legal = ldm_gpu_tile_legal,
     .scratch = gpu_scratch,
     .pack = gpu_pack,
     .record = gpu_record,
     .grain = gpu_grain,
     .exact = true},
    {.name = "conv2d_winograd",
     .idea = "Winograd F(4x4,3x3), a quarter of the products, F(6x6,3x3), 16/81, for large maps, or F(2x2,3x3), 4/9, for small "
             "ones; tiles turned in cache, "
             "8 tiles (4 of vectors of 8 or 4) x 2 vectors of outputs in registers",
     .family = LDM_CPU,
     .supports = ldm_winograd_supports,
     .prefers = ldm_winograd_prefers,
     .tunables = ldm_winograd_tunables,
     .legal = ldm_winograd_legal,
     .scratch = ldm_winograd_scratch,
     .pack = ldm_winograd_pack,
     .record = ldm_winograd_record,
     .grain = ldm_winograd_grain,
     .reference = ldm_winograd_reference,
     .same_bound = LDM_WINOGRAD_SAME_BOUND,
     .cost = ldm_winograd_cost},
    {.name = "conv2d_winograd_few",
     .idea = "Winograd where tiles are few: filters read as they are, turned in registers while they are used",
     .family = LDM_CPU,
     .supports = ldm_winograd_few_supports,
     .prefers = ldm_winograd_few_prefers,
     .tunables = ldm_winograd_few_tunables,
     .legal = ldm_winograd_few_legal,
     .scratch = ldm_winograd_few_scratch,
     .pack = ldm_winograd_few_pack,
     .record = ldm_winograd_few_record,
     .grain = ldm_winograd_few_grain,
     .reference = ldm_winograd_few_reference,
     .same_bound = LDM_WINOGRAD_FEW_SAME_BOUND,
     .cost = ldm_winograd_few_cost},
    {.name = "conv2d_winograd_inplace",
     .idea = "Winograd from the checkpoint's own filters, turned strip by strip in cache while they are used",
     .family = LDM_CPU,
     .supports = ldm_winograd_inplace_supports,
     .prefers = ldm_winograd_inplace_prefers,
     .tunables = ldm_winograd_inplace_tunables,
     .legal = ldm_winograd_inplace_legal,
     .scratch = ldm_winograd_inplace_scratch,
     .pack = plain_pack,
     .record = ldm_winograd_inplace_record,
     .grain = ldm_winograd_inplace_grain,
     .reference = ldm_winograd_inplace_reference,
     .same_bound = LDM_WINOGRAD_INPLACE_SAME_BOUND,
     .cost = ldm_winograd_inplace_cost},
    {.name = "conv2d_inplace",
     .idea = "1x1: gemm_inplace's kernel, weights as the checkpoint has them",
     .family = LDM_CPU,
     .supports = ldm_inplace_supports,
     .prefers = ldm_inplace_prefers,
     .tunables = ldm_inplace_tunables,
     .legal = ldm_inplace_legal,
     .record = ldm_inplace_record,
     .exact = true},
    {.name = "conv2d_strassen",
     .idea = "1x1: gemm_strassen's kernel, 7 products of tiles for 8",
     .family = LDM_CPU,
     .supports = ldm_strassen_supports,
     .prefers = ldm_strassen_prefers,
     .tunables = ldm_strassen_tunables,
     .legal = ldm_strassen_legal,
     .scratch = ldm_strassen_scratch,
     .pack = ldm_strassen_pack,
     .record = ldm_strassen_record,
     .reference = ldm_strassen_reference,
     .cost = ldm_strassen_cost,
     .grain = ldm_strassen_grain,
     .same_bound = LDM_STRASSEN_SAME_BOUND,
     .exact = true},
    {.name = "conv2d_narrow",
     .idea = "few outputs: lanes are channels, 4 pixels x 4 outputs in registers",
     .family = LDM_CPU,
     .supports = narrow_supports,
     .pack = narrow_pack,
     .record = narrow_record,
     .exact = true},
    {.name = "conv2d_thin",
     .idea = "few products a sum: a row's inputs once in a padded strip, sums whole in registers, conv2d_tile's weights",
     .family = LDM_CPU,
     .supports = thin_supports,
     .tunables = cpu_tunables,
     .legal = thin_legal,
     .pack = cpu_pack,
     .record = thin_record,
     .exact = true},
    {.name = "conv2d_tile",
     .idea = "implicit GEMM, 8 pixels (6 of vectors of 8 or 4) x 2 vectors of outputs in registers, packed weights",
     .family = LDM_CPU,
     .supports = cpu_supports,
     .prefers = tile_prefers,
     .tunables = cpu_tunables,
     .legal = cpu_legal,
     .pack = cpu_pack,
     .record = cpu_record,
     .grain = cpu_grain,
     .exact = true},
    {.name = "conv2d_clblast",
     .idea =
         "columns gathered in memory (im2col), then CLBlast's sgemm; bias, vector, residual and activation after it",
     .family = LDM_LIBRARY,
     .supports = clblast_supports,
     .scratch = clblast_scratch,
     .record = clblast_record,
     .grain = clblast_grain,
     .exact = true},
    {.name = "conv2d_plain",
     .idea = "one work-item per output element",
     .family = LDM_PLAIN,
     .pack = plain_pack,
     .record = plain_record,
     .exact = true},
    {0}};

#define SAME3 " r=3 s=3 pt=1 pb=1 pl=1 pr=1"
/* Pixel tails of tiles and blocks, output tails of 4, 16 and 32, channels around a vector (16), a strip (256), a merged
 * row of taps (256) and a chunk (1024); every padding, stride, upsample and second input; the networks' shapes, made
 * small. */
static const char *const cases[] = {
    "conv2d n=1 c=1 h=1 w=1 k=1",
    "conv2d n=1 c=3 h=1 w=1 k=33" SAME3 " +bias",
    "conv2d n=2 c=7 h=3 w=2 k=15" SAME3 " act=silu +bias +vec +residual",
    "conv2d n=1 c=16 h=8 w=8 k=32" SAME3 " +bias",
    "conv2d n=3 c=31 h=5 w=7 k=31" SAME3 " act=relu +vec",
    "conv2d n=2 c=64 h=8 w=8 k=63" SAME3 " +bias +vec",
    "conv2d n=1 c=65 h=9 w=17 k=65" SAME3 " +bias +residual",
    "conv2d n=1 c=128 h=6 w=6 k=129" SAME3 " act=gelu +bias",
    "conv2d n=1 c=127 h=4 w=33 k=17" SAME3 " act=quick_gelu +bias",
    "conv2d n=1 c=1 h=31 w=16 k=48 r=2 s=2 +bias",
    "conv2d n=1 c=33 h=15 w=15 k=64 r=4 s=4 stride=2 pt=1 pb=1 pl=1 pr=1 act=relu",
    "conv2d n=1 c=4 h=16 w=16 k=40 r=4 s=4 stride=2 pt=1 pb=1 pl=1 pr=1 +bias",
    "conv2d n=2 c=16 h=16 w=16 k=32" SAME3 " stride=2 +bias",
    "conv2d n=1 c=24 h=17 w=16 k=40 r=3 s=3 stride=2 pt=0 pb=1 pl=0 pr=1 +bias",
    "conv2d n=1 c=8 h=9 w=11 k=20 r=3 s=3 stride=3 pt=2 pb=0 pl=3 pr=1 +bias +vec",
    "conv2d n=1 c=5 h=7 w=9 k=9 r=5 s=1 pt=2 pb=2",
    "conv2d n=1 c=5 h=7 w=9 k=9 r=1 s=5 pl=2 pr=2 +bias",
    "conv2d n=2 c=20 h=5 w=6 k=36" SAME3 " up=2 +bias",
    "conv2d n=1 c=32 h=8 w=7 k=64" SAME3 " up=2 act=silu +bias +vec +residual",
    "conv2d n=1 c=9 h=5 w=35 k=70" SAME3 " up=2 act=silu +bias +residual",
    "conv2d n=1 c=3 h=5 w=70 k=64 r=3 s=3 stride=2 pt=0 pb=1 pl=0 pr=1 +bias",
    "conv2d n=2 c=12 h=6 w=5 k=35" SAME3 " c2=21 +bias +vec",
    "conv2d n=1 c=64 h=8 w=8 k=64" SAME3 " c2=32 up=2 stride=2 +bias +residual",
    "conv2d n=2 c=40 h=4 w=4 k=24 c2=8 +bias +residual",
    "conv2d n=1 c=1025 h=3 w=3 k=34" SAME3 " +bias",
    "conv2d n=1 c=1100 h=5 w=5 k=64 c2=300 +bias",
    "conv2d n=1 c=16 h=5 w=6 k=32" SAME3 " +bias",
    "conv2d n=1 c=16 h=5 w=7 k=32 c2=16 +vec",
    "conv2d n=2 c=48 h=5 w=7 k=96 c2=304 act=silu +bias +vec +residual",
    "conv2d n=1 c=528 h=18 w=16 k=64 +residual",
    "conv2d n=2 c=48 h=9 w=17 k=96" SAME3 " c2=16 +bias +vec +residual",
    "conv2d n=1 c=32 h=34 w=35 k=32" SAME3 " act=silu +bias",
    "conv2d n=1 c=85 h=7 w=77 k=32" SAME3 " +bias",
    "conv2d n=1 c=86 h=7 w=19 k=32" SAME3 " +bias",
    "conv2d n=2 c=16 h=5 w=5 k=3" SAME3 " +bias",
    "conv2d n=1 c=32 h=7 w=9 k=4" SAME3 " c2=16 +bias +vec +residual",
    "conv2d n=1 c=128 h=16 w=16 k=3" SAME3 " +bias",
    "conv2d n=1 c=48 h=6 w=6 k=16" SAME3 " up=2 act=silu +bias",
    "conv2d n=1 c=16 h=9 w=9 k=5 r=4 s=4 stride=2 pt=1 pb=1 pl=1 pr=1 +bias +residual",
    "conv2d n=1 c=512 h=8 w=8 k=8" SAME3 " +bias",
    "conv2d n=1 c=8 h=8 w=8 k=8 +bias",
    "conv2d n=1 c=3 h=24 w=24 k=128" SAME3 " +bias",
    "conv2d n=2 c=4 h=16 w=16 k=192" SAME3 " +bias",
    "conv2d n=1 c=160 h=24 w=24 k=160" SAME3 " +bias +vec +residual",
    "conv2d n=1 c=320 h=12 w=12 k=320" SAME3 " +bias +vec",
    "conv2d n=1 c=640 h=8 w=8 k=320" SAME3 " c2=320 +bias",
    "conv2d n=1 c=1280 h=2 w=2 k=1280" SAME3 " +bias +residual",
    "conv2d n=1 c=1280 h=1 w=1 k=640" SAME3 " c2=1280 +bias",
    "conv2d n=2 c=320 h=8 w=8 k=640 +bias +residual",
    "conv2d n=1 c=256 h=8 w=8 k=256" SAME3 " up=2 +bias",
    "conv2d n=1 c=256 h=16 w=16 k=256 r=3 s=3 stride=2 pt=0 pb=1 pl=0 pr=1 +bias",
    "conv2d n=1 c=4 h=130 w=127 k=100 c2=8 act=silu +bias +vec +residual",
    "conv2d n=1 c=1000 h=68 w=68 k=2" SAME3 " +bias", /* two strips of Winograd's tiles on GPUs */
    "conv2d:f16 n=2 c=7 h=3 w=2 k=15" SAME3 " act=silu +bias +vec +residual",
    "conv2d:f16 n=1 c=65 h=9 w=17 k=65" SAME3 " +bias +residual",
    "conv2d:f16 n=1 c=257 h=5 w=5 k=48" SAME3 " act=gelu +bias",
    "conv2d:f16 n=1 c=3 h=9 w=33 k=129" SAME3 " +bias",
    "conv2d:f16 n=1 c=86 h=4 w=19 k=31" SAME3 " up=2 +bias +vec",
    "conv2d:f16 n=2 c=12 h=6 w=5 k=35" SAME3 " c2=21 stride=2 +bias",
    "conv2d:f16 n=1 c=24 h=17 w=16 k=40 r=3 s=3 stride=2 pt=0 pb=1 pl=0 pr=1 act=quick_gelu",
    "conv2d:f16 n=1 c=64 h=9 w=9 k=4" SAME3 " c2=16 +bias +vec +residual",
    "conv2d:f16 n=1 c=320 h=12 w=12 k=320" SAME3 " +bias +vec +residual",
    "conv2d:f16 n=1 c=640 h=6 w=6 k=320" SAME3 " c2=320 +bias",
    "conv2d:f32*f16 n=1 c=33 h=6 w=7 k=50" SAME3 " c2=4 +bias +residual",
    "conv2d:f32*f16 n=2 c=32 h=6 w=7 k=3" SAME3 " act=relu +bias +vec",
    "conv2d:f32*f16 n=1 c=320 h=8 w=8 k=320" SAME3 " +bias",
    "conv2d:f16*f32 n=1 c=40 h=6 w=7 k=50" SAME3 " +bias",
    "conv2d:f16*f32 n=1 c=48 h=6 w=7 k=64" SAME3 " +bias",
    "conv2d:f32*bf16 n=1 c=33 h=6 w=7 k=50" SAME3 " c2=4 +bias +residual",
    "conv2d:f32*bf16 n=2 c=32 h=5 w=5 k=3" SAME3 " act=silu +bias +vec",
    "conv2d:f32*bf16 n=1 c=16 h=96 w=104 k=64" SAME3 " c2=16 +bias",
    "conv2d:f32*bf16 n=1 c=257 h=4 w=5 k=70 stride=2 +bias",
    "conv2d:f32*q8_0 n=1 c=32 h=2 w=2 k=40 +bias",
    "conv2d:f32*q8_0 n=2 c=64 h=6 w=7 k=70" SAME3 " c2=32 act=silu +bias +vec +residual",
    "conv2d:f32*q8_0 n=1 c=32 h=7 w=9 k=33" SAME3 " up=2 +bias",
    "conv2d:f32*q8_0 n=1 c=64 h=9 w=7 k=64" SAME3 " c2=32 +bias",
    "conv2d:f32*q8_0 n=1 c=288 h=4 w=4 k=96 r=3 s=3 stride=2 pt=0 pb=1 pl=0 pr=1 +bias",
    "conv2d:f32*q8_0 n=1 c=64 h=9 w=9 k=4" SAME3 " +bias +residual",
    "conv2d:f32*q8_0 n=1 c=320 h=8 w=8 k=320" SAME3 " +bias",
    "conv2d:f32*q8_0 n=1 c=1280 h=2 w=2 k=64" SAME3 " +bias",
    "conv2d:f16*q8_0 n=1 c=64 h=5 w=6 k=72" SAME3 " c2=96 +bias +residual",
    NULL};

static const char *const exact_cases[] = {"conv2d n=1 c=17 h=5 w=9 k=37" SAME3 " act=relu +bias +vec +residual",
                                          "conv2d n=2 c=33 h=9 w=7 k=33" SAME3 " c2=15 stride=2 +bias",
                                          "conv2d n=1 c=9 h=5 w=5 k=70" SAME3 " up=2 c2=3 +vec",
                                          "conv2d n=2 c=6 h=5 w=37 k=70" SAME3 " up=2 +bias +vec",
                                          "conv2d n=1 c=16 h=6 w=7 k=6" SAME3 " c2=32 +bias +residual",
                                          "conv2d n=2 c=48 h=5 w=6 k=64 c2=32 +bias +vec +residual",
                                          "conv2d n=1 c=1280 h=2 w=3 k=40" SAME3 " c2=1280 +bias",
                                          "conv2d:f16 n=1 c=17 h=5 w=9 k=37" SAME3 " act=relu +bias +vec +residual",
                                          "conv2d:f16 n=1 c=20 h=5 w=5 k=34 r=4 s=4 stride=2 pt=1 pb=1 pl=1 pr=1 +bias",
                                          "conv2d:f32*f16 n=1 c=48 h=5 w=6 k=5" SAME3 " up=2 +bias",
                                          "conv2d:f32*bf16 n=1 c=20 h=5 w=6 k=37" SAME3 " +bias",
                                          "conv2d:f32*q8_0 n=1 c=96 h=5 w=6 k=37" SAME3 " c2=32 +bias +residual",
                                          "conv2d:f32*q8_0 n=2 c=64 h=3 w=3 k=6" SAME3 " up=2 +bias",
                                          NULL};

const ldm_op ldm_op_conv2d = {
    .name = "conv2d",
    .summary =
        "convolution with zero padding, optional nearest-2x input, second input, bias, vector, residual, activation",
    .dims = "n c h w k r=1 s=1 stride=1 up=1 c2=0 pt=0 pb=0 pl=0 pr=0 act=none|relu|silu|gelu|quick_gelu",
    .flags = "bias vec residual",
    .slots = "x x2 w bias vec residual y",
    .infer = infer,
    .cost = cost,
    .reference = reference,
    .impls = impls,
    .cases = cases,
    .exact_cases = exact_cases,
};
