/* clblast.c -- see clblast.h. */
#include "ops/clblast.h"

const char *ldm_clblast_supports(const ldm_problem *p, int64_t m, int64_t n, int64_t k) {
    if (p->dtype != LDM_F32 || p->wdtype != LDM_F32) return "the library's halves accumulate in half; only f32";
    if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX) return "more than 2^31 rows, columns or products";
    return NULL;
}

static void operand(int slot, ldm_recipe *r) {
    if (slot == LDM_SLOT_SCRATCH) ldm_rec_scratch(r, 0);
    else ldm_rec_slot(r, slot);
}

void ldm_clblast_product(const ldm_clblast_gemm *g, ldm_recipe *r) {
    ldm_rec_kernel(r, "library.cl", "clblast_gemm");
    operand(g->a, r);
    operand(g->b, r);
    operand(g->c, r);
    ldm_rec_int(r, g->m);
    ldm_rec_int(r, g->n);
    ldm_rec_int(r, g->k);
    ldm_rec_int(r, !g->kn);
    ldm_rec_int(r, g->batch);
    ldm_rec_int(r, g->m * g->k);
    ldm_rec_int(r, g->b_batch ? g->n * g->k : 0);
    ldm_rec_int(r, g->m * g->n);
    ldm_rec_float(r, 0);
}

void ldm_clblast_epilogue(bool needed, int y, int bias, int vec, int residual, int64_t rows, int64_t n, int64_t area, int64_t act,
                          ldm_recipe *r) {
    if (!needed) return;
    ldm_rec_kernel(r, "library.cl", "library_epilogue");
    ldm_rec_slot(r, y);
    ldm_rec_slot(r, bias);
    ldm_rec_slot(r, vec);
    ldm_rec_slot(r, residual);
    ldm_rec_int(r, rows);
    ldm_rec_int(r, n);
    ldm_rec_int(r, area);
    ldm_rec_int(r, act);
    ldm_rec_range1(r, rows * n, 64);
}
