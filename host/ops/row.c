/* row.c -- small things the rows of norms, attention, element-wise ops and moves share: checks, storage, reference
 * output. */
#include "ops/row.h"
#include <string.h>

ldm_status ldm_row_check(const ldm_problem *p, int sizes) {
    const char *s = p->op->dims;
    if (p->dtype != LDM_F32 && p->dtype != LDM_F16)
        return ldm_fail(LDM_ERR_ARG, "%s: storage is %s, wanted f32 or f16", p->op->name, ldm_dtype_name(p->dtype));
    if (p->wdtype != LDM_F32 && p->wdtype != LDM_F16 && p->wdtype != LDM_BF16 && p->wdtype != LDM_Q8_0)
        return ldm_fail(LDM_ERR_ARG, "%s: weights are %s, wanted f32, f16, bf16 or q8_0", p->op->name,
                        ldm_dtype_name(p->wdtype));
    for (int i = 0; i < sizes; i++) {
        s += strspn(s, " ");
        size_t word = strcspn(s, " ");
        if (p->dim[i] < 1 || p->dim[i] > 1 << 30)
            return ldm_fail(LDM_ERR_ARG, "%s: %.*s is %lld, wanted 1 to 2^30", p->op->name, (int)strcspn(s, " ="), s,
                            (long long)p->dim[i]);
        s += word;
    }
    return LDM_OK;
}

const char *ldm_row_fits(int64_t elements) { return elements > INT32_MAX - 1024 ? "more than 2^31 elements" : NULL; }

void ldm_row_storage(const ldm_problem *p, ldm_recipe *r) {
    if (p->dtype == LDM_F16) ldm_rec_option(r, "-DREAL=half");
    static const char *const weights[LDM_DTYPES] = {[LDM_F32] = "-DWREAL=float",
                                                    [LDM_F16] = "-DWREAL=half",
                                                    [LDM_BF16] = "-DWREAL=bf16",
                                                    [LDM_Q8_0] = "-DWREAL=q8"};
    if (p->wdtype != p->dtype) ldm_rec_option(r, weights[p->wdtype]);
}

void ldm_row_kernel(const ldm_problem *p, ldm_recipe *r, const char *file, const char *kernel) {
    ldm_rec_kernel(r, file, kernel);
    ldm_row_storage(p, r);
}

const ldm_tunable ldm_row_group_tunables[] = {{"GROUP", "work-items of a work-group", {128, 64, 256}}, {0}};

bool ldm_row_group_legal(const ldm_problem *p, const int *params, const ldm_device *d) {
    const size_t group = (size_t)params[0];
    return group <= d->max_group && group * 2 * sizeof(float) <= d->local_bytes;
}

const char *ldm_row_group_supports(const ldm_device *d, int64_t elements) {
    return ldm_row_group_legal(NULL, (int[]){64}, d) ? ldm_row_fits(elements) : "needs work-groups of 64";
}

int ldm_row_lanes(const ldm_device *d) { return d->vector_float >= 16 ? 16 : d->vector_float >= 8 ? 8 : 4; }

int64_t ldm_row_items(int64_t jobs, const ldm_device *d) {
    const int64_t most = 2 * d->units;
    if (jobs <= most) return jobs;
    for (int64_t items = most; items >= d->units; items -= d->units)
        if (jobs % items == 0) return items;
    return most;
}

ref_out ldm_row_out(const ldm_sample *which, int64_t elements, ldm_dtype t, double *y, double *bound) {
    return (ref_out){
        which ? which->index : NULL, which ? which->count : elements, ldm_dtype_unit(t), ldm_dtype_tiny(t), y, bound};
}
