/* derive.c -- weights made of others when they are loaded. A product is summed in f64 in the order of its terms,
 * multiplied and added apart: the same bits whatever the vectors are that a processor does it with. */
#include "plan/plan.h"
#include <stdlib.h>
#include <string.h>

/* A tile of sums; tiles side by side that share what is in the second-level cache; terms done before the next tile. */
enum { ROWS = 8, COLUMNS = 16, PANEL = 64, DEPTH = 256 };

typedef double half_row __attribute__((vector_size(COLUMNS / 2 * sizeof(double)), aligned(8)));

/* sum[r][c] += sum_k a[k][r] b[k][c] */
LDM_WIDEST static void tile(double *restrict sum, const double *restrict a, const double *restrict b, int64_t depth) {
    half_row s[ROWS][2], *out = (half_row *)sum;
    const half_row *in = (const half_row *)b;
    memcpy(s, out, sizeof s);
    for (int64_t k = 0; k < depth; k++, a += ROWS, in += 2) {
        const half_row left = in[0], right = in[1];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) s[r][0] += a[r] * left, s[r][1] += a[r] * right;
    }
    memcpy(out, s, sizeof s);
}

/* D [m][n] = A [m][depth] B [depth][n] + C, C may be NULL; element (i, k) of A is a[i row + k column]. */
typedef struct product {
    int64_t m, n, depth, row, column;
    const float *a, *b, *c;
    float *d;
} product;

/* PANEL columns of D, from `from`; sum [m padded][PANEL] and right [DEPTH][PANEL], both by tiles, and left
 * [DEPTH][ROWS] are for its use. */
static void panel(const product *p, int64_t from, double *sum, double *right, double *left) {
    const int64_t count = p->n - from < PANEL ? p->n - from : PANEL;
    memset(sum, 0, (size_t)(ldm_round_up(p->m, ROWS) * PANEL) * sizeof *sum);
    memset(right, 0, DEPTH * PANEL * sizeof *right);
    memset(left, 0, DEPTH * ROWS * sizeof *left);
    for (int64_t k = 0; k < p->depth; k += DEPTH) {
        const int64_t terms = p->depth - k < DEPTH ? p->depth - k : DEPTH;
        for (int64_t t = 0; t < terms; t++)
            for (int64_t j = 0; j < count; j++)
                right[(j / COLUMNS * DEPTH + t) * COLUMNS + j % COLUMNS] = (double)p->b[(k + t) * p->n + from + j];
        for (int64_t i = 0; i < p->m; i += ROWS) {
            const int64_t rows = p->m - i < ROWS ? p->m - i : ROWS;
            for (int64_t t = 0; t < terms; t++)
                for (int64_t r = 0; r < rows; r++)
                    left[t * ROWS + r] = (double)p->a[(i + r) * p->row + (k + t) * p->column];
            for (int64_t j = 0; j < count; j += COLUMNS)
                tile(sum + i * PANEL + j * ROWS, left, right + j * DEPTH, terms);
        }
    }
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < count; j++) {
            const double *s = sum + i / ROWS * ROWS * PANEL + j / COLUMNS * COLUMNS * ROWS;
            const int64_t at = i * p->n + from + j;
            p->d[at] = (float)(s[i % ROWS * COLUMNS + j % COLUMNS] + (p->c ? (double)p->c[at] : 0));
        }
}

static ldm_status multiply(const product *p) {
    const int64_t sums = ldm_round_up(p->m, ROWS) * PANEL;
    double *own = NULL;
    ldm_status st = ldm_alloc((size_t)(sums + DEPTH * (PANEL + ROWS)) * sizeof *own, (void **)&own);
    for (int64_t i = 0; i < p->n && !st; i += PANEL) panel(p, i, own, own + sums, own + sums + DEPTH * PANEL);
    free(own);
    return st;
}

static ldm_status derive(const ldm_plan *p, const ldm_source *w, const ldm_tensor_info *t, float *dst) {
    ldm_status st = LDM_OK;
    float *part[3] = {0};
    const ldm_tensor_info *a = &p->tensor[t->of[0]];
    const int64_t count = ldm_shape_count(&t->shape), m = t->shape.dim[0], depth = ldm_shape_count(&a->shape) / m;
    const bool transposed = t->rule == LDM_TRANSPOSED;
    if (t->rule == LDM_ROWS) {
        for (int i = 0; i < t->parts; dst += ldm_shape_count(&p->tensor[t->of[i++]].shape))
            TRY(ldm_plan_load(p, w, t->of[i], dst));
        goto done;
    }
    for (int i = 0; i < t->parts; i++) {
        TRY(ldm_alloc((size_t)ldm_shape_count(&p->tensor[t->of[i]].shape) * sizeof *dst, (void **)&part[i]));
        TRY(ldm_plan_load(p, w, t->of[i], part[i]));
    }
    TRY(multiply(
        &(product){m, count / m, depth, transposed ? 1 : depth, transposed ? m : 1, part[0], part[1], part[2], dst}));
done:
    for (int i = 0; i < 3; i++) free(part[i]);
    return st;
}

ldm_status ldm_plan_load(const ldm_plan *p, const ldm_source *w, ldm_tensor t, float *dst) {
    const ldm_tensor_info *info = &p->tensor[t];
    if (info->rule == LDM_GIVEN) return w->load(w->self, info, dst);
    return ldm_prefix(derive(p, w, info, dst), "%s", info->name);
}
