/* inplace.c -- products with weights as the checkpoint has them (product.h). The kernel is kernels/gemm_inplace_cpu.cl. */
#include "ops/pack.h"
#include "ops/product.h"
#include "ops/row.h"

const ldm_tunable ldm_inplace_tunables[] = LDM_TILE_TUNABLES("TILE_ROWS", "rows of a tile");

bool ldm_inplace_legal(const ldm_problem *p, const int *params, const ldm_device *d) {
    ldm_product q;
    return ldm_product_of(p, &q) && ldm_tile_legal(params, q.m, d);
}

const char *ldm_inplace_supports(const ldm_problem *p, const ldm_device *d) {
    ldm_product q;
    if (!ldm_product_of(p, &q) || q.kn) return "needs weights of the file, [n, k], and of a convolution a 1x1 filter, stride 1 and no padding";
    if (p->dtype != LDM_F32 || p->wdtype != LDM_F32) return "needs everything kept as f32";
    if (q.c % 16 || q.c2 % 16 || q.n % 32) return "needs products multiples of 16, outputs of 32";
    return q.m > INT32_MAX / 2 || q.c + q.c2 > INT32_MAX / 64 ? "more than 2^30 rows or 2^25 products" : NULL;
}

const char *ldm_inplace_prefers(const ldm_problem *p, const int *params, const ldm_device *d) {
    return d->low_memory ? NULL : "packed weights are faster, and low memory is not asked for";
}

ldm_status ldm_inplace_record(const ldm_problem *p, const int *params, const ldm_device *d, ldm_recipe *r) {
    ldm_product q;
    if (!ldm_product_of(p, &q)) return LDM_ERR_ARG;
    enum { MOST_TILES = 32, INPUT = 65536 }; /* as the kernel; elements of x that stay in cache */
    const int64_t tile = params[LDM_TILE_ROWS], panels = q.n / (2 * params[LDM_TILE_LANES]), numbers[] = {q.m, q.per, q.n, q.c, q.c2, q.act};
    int64_t block = MOST_TILES; /* as many rows a strip is turned for as leave every unit several jobs */
    while (block > 1 && ldm_ceil_div(q.m, tile * block) * panels < 8 * d->units) block /= 2;
    while (block > 1 && tile * block / 2 >= q.m) block /= 2;
    const int64_t group = INPUT / (tile * block * (q.c + q.c2));
    ldm_row_kernel(p, r, "gemm_inplace_cpu.cl", "gemm_inplace");
    ldm_tile_defines("TILE_ROWS", params, r);
    const int slots[] = {q.y, q.x, q.x2, q.w, q.bias, q.vec, q.residual};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) ldm_rec_slot(r, slots[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) ldm_rec_int(r, numbers[i]);
    ldm_rec_int(r, block);
    ldm_rec_int(r, group < 1 ? 1 : group);
    ldm_rec_range1(r, ldm_ceil_div(q.m, tile * block) * panels, 1);
    return r->status;
}
