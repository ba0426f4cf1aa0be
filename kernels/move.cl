/* move.cl -- ops that move elements: concatenation, nearest enlargement, 2 x 2 mean, table rows; any device. A
 * work-item makes SPAN channels of one output row or pixel, WIDTH a step, the last of a row one by one. Maps are
 * [n, h, w, c].
 *   reference  reference/ref_move.c          host  host/ops/move.c
 *
 *   concat            a [rows, ca], b [rows, cb] -> y [rows, ca + cb]
 *   upsample_nearest  x [n, h, w, c] -> y [n, 2h, 2w, c], nearest neighbour
 *   avg_pool          x [n, h, w, c] -> y [n, h/2, w/2, c], mean of 2 x 2; an odd last row or column is left out
 *   embedding         y[r, :] = table[ids[r], :]; an id outside the table gives NaN
 *
 * MUTANTS: 1 a and b exchanged, 2 enlargement shifted by one, 3 height and width exchanged, 4 pool of three pixels,
 *          5 rows of the table off by one, 6 last channels left alone, 7 b one row late, 8 pool's first row twice */
#ifndef WIDTH
#define WIDTH 4 /* channels of a step: 4, 8 or 16 */
#endif
#ifndef SPAN
#define SPAN 4 /* channels of a work-item: a multiple of WIDTH */
#endif
#define VEC    LDM_CAT(float, WIDTH)
#define LOADV  LDM_CAT(LOAD, WIDTH)
#define STOREV LDM_CAT(STORE, WIDTH)
#if MUTANT == 6
#define LAST(c) ((c) / WIDTH * WIDTH)
#else
#define LAST(c) (c)
#endif

/* This work-item's row and first channel of rows of c. */
#define ROW(c)   ((int)get_global_id(0) / (((c) + SPAN - 1) / SPAN))
#define FIRST(c) ((int)get_global_id(0) % (((c) + SPAN - 1) / SPAN) * SPAN)

/* `count` channels from x to y. */
static inline void copy(global real *y, global const real *x, int count) {
    int k = 0;
    for (; k + WIDTH <= count; k += WIDTH) STOREV(LOADV(x, k), y, k);
    for (; k < LAST(count); k++) STORE(LOAD(x, k), y, k);
}

kernel void concat(global real *y, global const real *a, global const real *b, int rows, int ca, int cb) {
    const int c = ca + cb, row = ROW(c), k = FIRST(c), end = min(k + SPAN, c);
    if (row >= rows) return;
#if MUTANT == 7
    b += (size_t)max(row - 1, 0) * cb;
#else
    b += (size_t)row * cb;
#endif
    a += (size_t)row * ca;
    y += (size_t)row * c;
#if MUTANT == 1
    if (ca == cb) {
        global const real *swap = a;
        a = b, b = swap;
    }
#endif
    if (k < ca) copy(y + k, a + k, min(end, ca) - k);
    if (end > ca) copy(y + max(k, ca), b + max(k - ca, 0), end - max(k, ca));
}

/* Output pixel and first channel of this work-item; false behind the last. h, w: the output's. */
static inline bool pixel(int n, int h, int w, int c, int *s, int *p, int *q, int *k) {
    int at = ROW(c);
    *k = FIRST(c);
    *q = at % w, at /= w;
    *p = at % h, *s = at / h;
    return *s < n;
}

kernel void upsample_nearest(global real *y, global const real *x, int n, int h, int w, int c) {
    int s, p, q, k;
    if (!pixel(n, 2 * h, 2 * w, c, &s, &p, &q, &k)) return;
#if MUTANT == 2
    const int from_p = min((p + 1) / 2, h - 1), from_q = min((q + 1) / 2, w - 1);
#elif MUTANT == 3
    const int from_p = min(q / 2, h - 1), from_q = min(p / 2, w - 1);
#else
    const int from_p = p / 2, from_q = q / 2;
#endif
    copy(y + ((size_t)(s * 2 * h + p) * 2 * w + q) * c + k, x + ((size_t)(s * h + from_p) * w + from_q) * c + k,
         min(c - k, SPAN));
}

kernel void avg_pool(global real *y, global const real *x, int n, int h, int w, int c) {
    int s, p, q, k;
    if (!pixel(n, h / 2, w / 2, c, &s, &p, &q, &k)) return;
    y += ((size_t)(s * (h / 2) + p) * (w / 2) + q) * c;
    global const real *x00 = x + ((size_t)(s * h + 2 * p) * w + 2 * q) * c, *x01 = x00 + c;
#if MUTANT == 8
    global const real *x10 = x00, *x11 = x01;
#elif MUTANT == 4
    global const real *x10 = x00 + (size_t)w * c, *x11 = x10;
#else
    global const real *x10 = x00 + (size_t)w * c, *x11 = x10 + c;
#endif
    const int end = min(k + SPAN, c);
    for (; k + WIDTH <= end; k += WIDTH)
        STOREV(0.25f * ((LOADV(x00, k) + LOADV(x01, k)) + (LOADV(x10, k) + LOADV(x11, k))), y, k);
    for (; k < LAST(end); k++)
        STORE(0.25f * ((LOAD(x00, k) + LOAD(x01, k)) + (LOAD(x10, k) + LOAD(x11, k))), y, k);
}

kernel void embedding(global real *y, global const int *ids, global const wreal *table, int rows, int entries, int c) {
    const int row = ROW(c), k = FIRST(c);
    if (row >= rows) return;
#if MUTANT == 5
    const int id = min(ids[row] + 1, entries - 1);
#else
    const int id = ids[row];
#endif
    y += (size_t)row * c;
    for (int e = k; e < LAST(min(k + SPAN, c)); e++)
        STORE(id >= 0 && id < entries ? WLOAD(table, (size_t)id * c + e) : NAN, y, e);
}
