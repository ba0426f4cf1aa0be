/* move.cl -- ops that move elements: concatenation, nearest enlargement, 2 x 2 mean, table rows; any device. A
 * work-item makes WIDTH channels of one output row or pixel, the last of a row channel by channel. Maps: [n, h, w, c].
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
#define WIDTH 4 /* channels of a work-item: 4, 8 or 16 */
#endif
#define VEC    LDM_CAT(float, WIDTH)
#define LOADV  LDM_CAT(LOAD, WIDTH)
#define STOREV LDM_CAT(STORE, WIDTH)
#if MUTANT == 6
#define LAST(c) ((c) / WIDTH * WIDTH)
#else
#define LAST(c) (c)
#endif

/* `count` channels from x to y. */
static inline void copy(global real *y, global const real *x, int count) {
    if (count >= WIDTH) STOREV(LOADV(x, 0), y, 0);
    else
        for (int e = 0; e < LAST(count); e++) STORE(LOAD(x, e), y, e);
}

kernel void concat(global real *y, global const real *a, global const real *b, int rows, int ca, int cb) {
    const int c = ca + cb, chunks = (c + WIDTH - 1) / WIDTH, row = get_global_id(0) / chunks,
              k = get_global_id(0) % chunks * WIDTH;
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
    if (k + WIDTH <= ca) copy(y + k, a + k, WIDTH);
    else if (k >= ca) copy(y + k, b + (k - ca), c - k);
    else
        for (int e = k; e < min(k + WIDTH, c); e++) STORE(e < ca ? LOAD(a, e) : LOAD(b, e - ca), y, e);
}

/* Output pixel and first channel of this work-item; false behind the last. h, w: the output's. */
static inline bool pixel(int n, int h, int w, int c, int *s, int *p, int *q, int *k) {
    const int chunks = (c + WIDTH - 1) / WIDTH;
    int at = get_global_id(0) / chunks;
    *k = get_global_id(0) % chunks * WIDTH;
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
    copy(y + ((size_t)(s * 2 * h + p) * 2 * w + q) * c + k, x + ((size_t)(s * h + from_p) * w + from_q) * c + k, c - k);
}

kernel void avg_pool(global real *y, global const real *x, int n, int h, int w, int c) {
    int s, p, q, k;
    if (!pixel(n, h / 2, w / 2, c, &s, &p, &q, &k)) return;
    y += ((size_t)(s * (h / 2) + p) * (w / 2) + q) * c + k;
    global const real *x00 = x + ((size_t)(s * h + 2 * p) * w + 2 * q) * c + k, *x01 = x00 + c;
#if MUTANT == 8
    global const real *x10 = x00, *x11 = x01;
#elif MUTANT == 4
    global const real *x10 = x00 + (size_t)w * c, *x11 = x10;
#else
    global const real *x10 = x00 + (size_t)w * c, *x11 = x10 + c;
#endif
    if (k + WIDTH <= c) STOREV(0.25f * ((LOADV(x00, 0) + LOADV(x01, 0)) + (LOADV(x10, 0) + LOADV(x11, 0))), y, 0);
    else
        for (int e = 0; e < LAST(c - k); e++)
            STORE(0.25f * ((LOAD(x00, e) + LOAD(x01, e)) + (LOAD(x10, e) + LOAD(x11, e))), y, e);
}

kernel void embedding(global real *y, global const int *ids, global const wreal *table, int rows, int entries, int c) {
    const int chunks = (c + WIDTH - 1) / WIDTH, row = get_global_id(0) / chunks, k = get_global_id(0) % chunks * WIDTH;
    if (row >= rows) return;
#if MUTANT == 5
    const int id = min(ids[row] + 1, entries - 1);
#else
    const int id = ids[row];
#endif
    y += (size_t)row * c + k;
    for (int e = 0; e < LAST(min(WIDTH, c - k)); e++)
        STORE(id >= 0 && id < entries ? WLOAD(table, (size_t)id * c + k + e) : NAN, y, e);
}
