/* patches.c -- see patches.h. Cutting gathers rows by a list of indices; joining gathers once for each window that may lie over an
 * element, and keeps a running weighted mean. */
#include "sample/patches.h"
#include <stdlib.h>
#include <string.h>

enum { COEFS = 8 }; /* of blend, of which three say known, noise, mask */

static ldm_status places(int64_t all, int64_t size, int64_t stride, int64_t **at, int64_t *count) {
    int64_t n = all <= size ? 1 : (all - size + stride - 1) / stride + 1;
    ldm_status st = ldm_alloc((size_t)n * sizeof **at, (void **)at);
    for (int64_t i = 0; !st && i < n; i++) (*at)[i] = i * stride + size < all ? i * stride : all <= size ? 0 : all - size;
    *count = n;
    return st;
}

static int64_t most_over(const int64_t *at, int64_t count, int64_t size, int64_t all) {
    int64_t most = 0;
    for (int64_t i = 0; i < all; i++) {
        int64_t over = 0;
        for (int64_t k = 0; k < count; k++) over += at[k] <= i && i < at[k] + size;
        most = over > most ? over : most;
    }
    return most;
}

ldm_status ldm_patches_make(int64_t n, int64_t h, int64_t w, int64_t size, int64_t stride, ldm_patches *out) {
    ldm_patches p = {.n = n, .h = h, .w = w, .ph = size < h ? size : h, .pw = size < w ? size : w};
    ldm_status st = LDM_OK;
    if (size < 1 || stride < 1 || stride > size)
        return ldm_fail(LDM_ERR_ARG, "patches of %lld every %lld: wanted 1 or more, and a stride no larger than the size", (long long)size,
                        (long long)stride);
    if (n * h * w > 1 << 24) /* rows are told as f32 */
        return ldm_fail(LDM_ERR_ARG, "patches of %lld elements, at most %d are numbered", (long long)(n * h * w), 1 << 24);
    TRY(places(h, p.ph, stride, &p.y, &p.down));
    TRY(places(w, p.pw, stride, &p.x, &p.across));
    if (ldm_patches_count(&p) * p.ph * p.pw > 1 << 24)
        TRY(ldm_fail(LDM_ERR_ARG, "%lld patches are too many", (long long)ldm_patches_count(&p)));
    p.overlap = most_over(p.y, p.down, p.ph, h) * most_over(p.x, p.across, p.pw, w);
    *out = p, p = (ldm_patches){0};
done:
    ldm_patches_free(&p);
    return st;
}

void ldm_patches_free(ldm_patches *p) {
    free(p->y), free(p->x);
    *p = (ldm_patches){0};
}

int64_t ldm_patches_count(const ldm_patches *p) { return p->n * p->down * p->across; }

static ldm_tensor gather(ldm_plan *plan, ldm_tensor ids, ldm_tensor table, int64_t rows, int64_t entries, int64_t c) {
    if (plan->status) return LDM_NONE;
    table = ldm_plan_reshape(plan, table, ldm_shape_of(2, entries, c));
    return ldm_plan_emit(plan, (ldm_tensor[]){ids, table}, 2, "embedding:f32 rows=%lld entries=%lld c=%lld", (long long)rows,
                         (long long)entries, (long long)c);
}

ldm_tensor ldm_patches_cut(ldm_plan *plan, const ldm_patches *p, ldm_tensor x, int64_t c) {
    int64_t rows = ldm_patches_count(p) * p->ph * p->pw;
    ldm_tensor ids = ldm_plan_input(plan, "patches.cut", LDM_I32, ldm_shape_of(1, rows));
    ldm_tensor y = gather(plan, ids, x, rows, p->n * p->h * p->w, c);
    return plan->status ? LDM_NONE : ldm_plan_reshape(plan, y, ldm_shape_of(4, ldm_patches_count(p), p->ph, p->pw, c));
}

static const char *layer_name(const char *what, int64_t k, char *buf, size_t cap) {
    snprintf(buf, cap, "patches.%s%lld", what, (long long)k);
    return buf;
}

ldm_tensor ldm_patches_join(ldm_plan *plan, const ldm_patches *p, ldm_tensor windows, int64_t c) {
    int64_t rows = p->n * p->h * p->w, entries = ldm_patches_count(p) * p->ph * p->pw;
    char name[40];
    ldm_tensor coefs = ldm_plan_input(plan, "patches.coefs", LDM_F32, ldm_shape_of(1, (int64_t)COEFS)), y = LDM_NONE;
    for (int64_t k = 0; k < p->overlap && !plan->status; k++) {
        ldm_tensor ids = ldm_plan_input(plan, layer_name("from", k, name, sizeof name), LDM_I32, ldm_shape_of(1, rows));
        ldm_tensor one = gather(plan, ids, windows, rows, entries, c);
        if (!k) {
            y = one;
            continue;
        }
        ldm_tensor share = ldm_plan_input(plan, layer_name("share", k, name, sizeof name), LDM_F32, ldm_shape_of(1, rows));
        y = ldm_plan_emit(plan, (ldm_tensor[]){coefs, share, one, one, y}, 5, "blend:f32 rows=%lld c=%lld", (long long)rows, (long long)c);
    }
    return plan->status ? LDM_NONE : ldm_plan_reshape(plan, y, ldm_shape_of(4, p->n, p->h, p->w, c));
}

/* From 0 at a window's border to .5 in its middle, held as the authors do. */
static double weight(int64_t y, int64_t x, int64_t h, int64_t w) {
    double a = h > 1 ? (double)y / (double)(h - 1) : 0.5, b = w > 1 ? (double)x / (double)(w - 1) : 0.5, least = a;
    if (b < least) least = b;
    if (1 - a < least) least = 1 - a;
    if (1 - b < least) least = 1 - b;
    return least < .01 ? .01 : least > .5 ? .5 : least;
}

static ldm_status put(ldm_exec *e, const char *name, const float *data) {
    ldm_tensor t = ldm_plan_find(ldm_exec_plan(e), name);
    return t == LDM_NONE ? LDM_OK : ldm_exec_write(e, t, data);
}

static ldm_status put_cut(const ldm_patches *p, ldm_exec *e) {
    float *ids;
    ldm_status st = ldm_alloc((size_t)(ldm_patches_count(p) * p->ph * p->pw) * sizeof *ids, (void **)&ids);
    int64_t at = 0;
    for (int64_t i = 0; !st && i < p->n; i++)
        for (int64_t d = 0; d < p->down; d++)
            for (int64_t a = 0; a < p->across; a++)
                for (int64_t y = 0; y < p->ph; y++)
                    for (int64_t x = 0; x < p->pw; x++)
                        ids[at++] = (float)((i * p->h + p->y[d] + y) * p->w + p->x[a] + x);
    if (!st) st = put(e, "patches.cut", ids);
    if (!st) free(ids);
    return st;
}

/* Of every element, for layer k: where the k-th window over it has it, and that window's share of the mean so far; a share of 0
 * where there are fewer. */
ldm_status ldm_patches_start(const ldm_patches *p, ldm_exec *e) {
    ldm_status st = LDM_OK;
    int64_t rows = p->n * p->h * p->w;
    float *ids = NULL, *share = NULL;
    char name[40];
    TRY(put_cut(p, e));
    TRY(put(e, "patches.coefs", (float[COEFS]){1, 0, 1}));
    TRY(ldm_alloc((size_t)(rows * p->overlap) * sizeof *ids, (void **)&ids));
    TRY(ldm_alloc((size_t)(rows * p->overlap) * sizeof *share, (void **)&share));
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = r / (p->h * p->w), y = r / p->w % p->h, x = r % p->w, k = 0;
        double sum = 0;
        for (int64_t d = 0; d < p->down; d++)
            for (int64_t a = 0; a < p->across; a++) {
                int64_t v = y - p->y[d], u = x - p->x[a];
                if (v < 0 || v >= p->ph || u < 0 || u >= p->pw) continue;
                double w = weight(v, u, p->ph, p->pw);
                sum += w;
                ids[k * rows + r] = (float)((((i * p->down + d) * p->across + a) * p->ph + v) * p->pw + u);
                share[k++ * rows + r] = (float)(w / sum);
            }
    }
    for (int64_t k = 0; k < p->overlap; k++) {
        TRY(put(e, layer_name("from", k, name, sizeof name), ids + k * rows));
        TRY(put(e, layer_name("share", k, name, sizeof name), share + k * rows));
    }
done:
    free(ids), free(share);
    return st;
}
