/* conv2d_winograd_few_cpu.cl -- Winograd's F(4x4,3x3) and F(2x2,3x3) for CPUs (see conv2d_winograd_cpu.cl) where tiles are few, and
 * reading turned filters would take longer than using them: they are kept as they are and turned in registers while they are used
 *   tensors as in conv2d_cpu.cl; w [ceil(k/16)][c + c2][3][3][16], halves or bf16 where weights are kept as these, else floats
 *   scratch    V [chunk][tiles/4][place][4][CHUNK], then a slot for each work-item of the second: H, halves of a chunk as floats, M
 *   reference  reference/ref_conv2d.c (value and the bound of this algorithm)     host  host/ops/winograd_few.c
 *
 *   few_turn      V of all tiles; a work-item: one tile, one chunk of CHUNK channels (of x, or of x2). G's rows are (1, p, p^2)
 *                 and (0, 0, 1) here; what they are to be divided by is in V.
 *   few_multiply  a work-item makes every items'th job; a job is `block` tiles x `group` vectors of outputs. Chunk by chunk it
 *                 makes the U of a channel in registers, multiplies and adds to M, which is turned into pixels at the end:
 *                 of a row of places for 4 tiles, straight from the filters, or of half a row (points 0, 5/8 and -5/8, or
 *                 infinity, 3/2 and -3/2) for 8, from columns turned before (H, in cache); with OUT 2, whose filters are turned by
 *                 additions alone, always of a row. The next filters are asked for meanwhile, evenly.
 *
 * MUTANTS: 1 last channel of a chunk dropped, 2 one place of a tile left out, 3 halo off by one in y, 4 halo off by one in x,
 *   5 first chunk only, 6 bias missing, 7 neighbour's bias, 8 outside is not zero, 9 upsample shifted, 10 tile turned over,
 *   11 last rows of a tile swapped, 12 f16 store truncated, 13 vec of sample 0, 14 residual missing, 15 x2 dropped,
 *   16 activation dropped, 17 last tile of a product repeats its neighbour, 18 sums kept in f16, 19 filter turned over,
 *   20 tail of channels dropped, 21 last row of outputs unwritten, 22 neighbour's panel */
#if MUTANT == 18
#define HALF_SUMS
#endif
#pragma OPENCL FP_CONTRACT OFF /* the same U for 8 tiles as for 4 */
#define FACTORED
#include "lanes.clh"
#include "conv2d_cpu.clh"
#include "input_row.clh"
#include "winograd.clh"
#include "winograd_cpu.clh"
#define CHUNK 32
#include "tile_rows.clh"
#define GROUP (4 * CHUNK) /* floats of a place of 4 tiles */
#define PANEL 16
#define TAPS (9 * PANEL)  /* floats of a channel of a panel */
#define H_ROW (CHUNK * 3 * PANEL)
#define MANY (LANES == 16 ? 8 : 4) /* tiles of half a row */
#if WREAL_KIND == KIND_HALF || WREAL_KIND == KIND_BF16
#define NARROW (CHUNK * TAPS) /* floats of a chunk's filters, made once for all tiles of a job */
#define FILTER wreal
#else
#define NARROW 0
#define FILTER float
#endif
#define LINE (64 / (int)sizeof(FILTER))

#define PUT(v, p) (*(__global lanes *)(p) = (v)) /* vstore16 is four stores on PoCL */
#define GET(p) (*(__global const lanes *)(p)) /* a vload16 is many loads there, where sums of them come first */
#define TAP(i) GET(g + (MUTANT == 19 ? 8 - (i) : (i)) * PANEL)
/* (1, p, p^2) and (1, -p, p^2) times (a, b, c) */
#define PAIR(p, plus, minus)                                                                                           \
    const lanes plus##even = FMA((lanes)(p * p), c, a), plus##odd = p * b, plus = plus##even + plus##odd,              \
                minus = plus##even - plus##odd;

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
few_turn(__global float *restrict v, __global const real *restrict x, __global const real *restrict x2, int n, int h, int wd,
         int c, int c2, int up, int pt, int pl, int down, int right, int tiles) {
    const int t = get_global_id(0);
    __global const real *row[PLACES];
    int from;
    const int count = tile_rows(row, &from, x, x2, t, get_global_id(1), n, h, wd, c, c2, up, pt, pl, down, right);
    turn_in(row, count, v + ((long)get_global_id(1) * tiles + t / 4 * 4) * PLACES * CHUNK + t % 4 * CHUNK, GROUP);
}

/* Where a channel of tile i of T lies in a place of V. */
#define OF_TILE(i) ((i) / 4 * PLACES * GROUP + (i) % 4 * CHUNK)
#define TILE(i, T) OF_TILE(MUTANT == 17 && (i) == T - 1 ? T - 2 : (i))

/* The sums of T tiles in a place of M. */
#define ADD(m, acc, T)                                                                                                 \
    _Pragma("unroll") for (int i = 0; i < T; i++) PUT(more ? VLOAD(m + i * LANES) + acc[i] : acc[i], m + i * LANES);

/* The places of a row for ROW_TILES tiles, `plane` apart in M, from filters at g: column j of the row is COLUMN(j). Asks for the
 * lines of `ask` filters' taps at `next` and as many on with each channel. */
#define ROW_TILES (OUT == 2 && LANES < 16 ? 2 : 4)
#define WHOLE_ROW(NAME, COLUMN)                                                                                        \
    static void NAME(__global float *m, int plane, __global const float *v, __global const float *g, float p,          \
                     __global const FILTER *next, int ask, int count, int more) {                                       \
        lanes acc[SIDE][ROW_TILES], u[SIDE];                                                                           \
        const float p2 = p * p;                                                                                        \
        _Pragma("unroll") for (int i = 0; i < SIDE * ROW_TILES; i++) acc[i / ROW_TILES][i % ROW_TILES] = (lanes)0.0f;  \
        for (int e = 0; e < count; e++, g += TAPS, next += ask) {                                                      \
            const lanes a = COLUMN(0), b = COLUMN(1), c = COLUMN(2);                                                   \
            POINTS(a, b, c, u)                                                                                         \
            _Pragma("unroll") for (int i = 0; i < TAPS / SIDE; i += LINE) SOON(next + i, 0);                           \
            _Pragma("unroll") for (int i = 0; i < ROW_TILES; i++) {                                                    \
                __global const float *vi = v + TILE(i, ROW_TILES) + e;                                                 \
                _Pragma("unroll") for (int j = 0; j < SIDE; j++)                                                       \
                    acc[j][i] = summed(FMA((lanes)vi[j * GROUP], u[j], acc[j][i]));                                    \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("unroll") for (int j = 0; j < SIDE; j++) ADD((m + j * plane), acc[j], ROW_TILES)                       \
    }
#define ONE_ROW(j) TAP(j)
#if OUT == 2
#define POINTS(a, b, c, u)                                                                                             \
    {                                                                                                                  \
        PAIR(1.0f, plus, minus)                                                                                        \
        u[0] = a, u[1] = plus, u[2] = minus, u[3] = c;                                                                 \
    }
#define PLUS_ROWS(j) (TAP(j) + TAP(6 + j)) + TAP(3 + j)
#define MINUS_ROWS(j) (TAP(j) + TAP(6 + j)) - TAP(3 + j)
WHOLE_ROW(edge_row, ONE_ROW)
WHOLE_ROW(plus_row, PLUS_ROWS)
WHOLE_ROW(minus_row, MINUS_ROWS)

/* M of `rows` tiles, a multiple of 4. */
static void all_tiles(__global float *m, int plane, __global const float *v, __global const float *g, __global float *h,
                      __global const FILTER *next, int rows, int count, int more) {
    const int row = SIDE * GROUP, places = SIDE * plane, ask = ROW_TILES * TAPS / (SIDE * rows), part = CHUNK * ask;
    for (int r = 0; r < rows; r += ROW_TILES, next += SIDE * part) {
        __global const float *vr = v + OF_TILE(r);
        __global float *mr = m + r * LANES;
        edge_row(mr, plane, vr, g, 0, next, ask, count, more);
        plus_row(mr + places, plane, vr + row, g, 0, next + part, ask, count, more);
        minus_row(mr + 2 * places, plane, vr + 2 * row, g, 0, next + 2 * part, ask, count, more);
        edge_row(mr + 3 * places, plane, vr + 3 * row, g + 6 * PANEL, 0, next + 3 * part, ask, count, more);
    }
}
#else
#define POINTS(a, b, c, u)                                                                                             \
    {                                                                                                                  \
        PAIR(PA, ap, am)                                                                                               \
        PAIR(PB, bp, bm)                                                                                               \
        u[0] = a, u[1] = ap, u[2] = am, u[3] = bp, u[4] = bm, u[5] = c;                                                \
    }
#define ALL_ROWS(j) FMA((lanes)p2, TAP(6 + j), TAP(j)) + p * TAP(3 + j)
WHOLE_ROW(edge_row, ONE_ROW)
WHOLE_ROW(inner_row, ALL_ROWS)

/* M of 4 tiles: rows of the points 0, p and -p, and infinity, one after the other. */
static void four_tiles(__global float *m, int plane, __global const float *v, __global const float *g,
                       __global const FILTER *next, int count, int more) {
    const int row = SIDE * GROUP, ask = TAPS / SIDE, part = CHUNK * ask;
    edge_row(m, plane, v, g, 0, next, ask, count, more);
    for (int i = 1; i < 5; i++)
        inner_row(m + i * SIDE * plane, plane, v + i * row, g, i == 1 ? PA : i == 2 ? -PA : i == 3 ? PB : -PB, next + i * part, ask,
                  count, more);
    edge_row(m + 5 * SIDE * plane, plane, v + 5 * row, g + 6 * PANEL, 0, next + 5 * part, ask, count, more);
}

/* H [2][channel][3][PANEL], the columns of `count` channels' filters at g, turned for the points p and -p. */
static void turn_columns(__global const float *g, float p, int count, __global float *h) {
    for (int e = 0; e < count; e++, g += TAPS, h += 3 * PANEL) {
#pragma unroll
        for (int j = 0; j < 3; j++) {
            const lanes a = TAP(j), b = TAP(3 + j), c = TAP(6 + j);
            PAIR(p, plus, minus)
            PUT(plus, h + j * PANEL);
            PUT(minus, h + H_ROW + j * PANEL);
        }
    }
}

/* Three places of a row: the edge's, at v0 and m0, and those of p and -p, at vp and mp: M (+)= V U, made of h [count][3][PANEL],
 * channels `step` apart. `edge`: 0 or 2 PANEL, for the point 0 or infinity. Asks for the line at `next` and every `ask` taps on. */
static void half_row(__global float *m0, __global float *mp, int plane, __global const float *v0, __global const float *vp,
                     __global const float *h, int step, int edge, float p, __global const FILTER *next, int ask, int count, int more) {
    lanes zero[MANY], plus[MANY], minus[MANY];
#pragma unroll
    for (int i = 0; i < MANY; i++) zero[i] = plus[i] = minus[i] = (lanes)0.0f;
    for (int e = 0; e < count; e++, h += step, next += ask) {
        const lanes a = VLOAD(h), b = VLOAD(h + PANEL), c = VLOAD(h + 2 * PANEL), u = VLOAD(h + edge);
        PAIR(p, up, um)
        SOON(next, 0);
#pragma unroll
        for (int i = 0; i < MANY; i++) {
            zero[i] = summed(FMA((lanes)v0[TILE(i, MANY) + e], u, zero[i]));
            plus[i] = summed(FMA((lanes)vp[TILE(i, MANY) + e], up, plus[i]));
            minus[i] = summed(FMA((lanes)vp[TILE(i, MANY) + GROUP + e], um, minus[i]));
        }
    }
    ADD(m0, zero, MANY)
    ADD(mp, plus, MANY)
    ADD((mp + plane), minus, MANY)
}

/* M of `rows` tiles, a multiple of MANY: the rows of 0 and infinity from the filters, those of p and -p from their columns. */
static void many_tiles(__global float *m, int plane, __global const float *v, __global const float *g, __global float *h,
                       __global const FILTER *next, int rows, int count, int more) {
    const int ask = max(1, 3 * PANEL * MANY / (4 * rows));
    for (int pair = 0; pair < 3; pair++) {
        if (pair) turn_columns(g, pair == 1 ? PA : PB, count, h);
        for (int r = 0; r < rows; r += MANY)
            for (int j = 0; j < 2; j++, next += 2 * ask * CHUNK) {
                const int i = pair ? 2 * pair - 1 + j : 5 * j, step = pair ? 3 * PANEL : TAPS;
                __global const float *vi = v + (r / 4 * PLACES + i * SIDE) * GROUP, *hi = pair ? h + j * H_ROW : g + j * 6 * PANEL;
                __global float *mi = m + i * SIDE * plane + r * LANES;
                half_row(mi, mi + plane, plane, vi, vi + GROUP, hi, step, 0, PA, next, ask, count, more);
                half_row(mi + 5 * plane, mi + 3 * plane, plane, vi + 5 * GROUP, vi + 3 * GROUP, hi, step, 2 * PANEL, PB,
                         next + ask * CHUNK, ask, count, more);
            }
    }
}

static void all_tiles(__global float *m, int plane, __global const float *v, __global const float *g, __global float *h,
                      __global const FILTER *next, int rows, int count, int more) {
    if (LANES == 16 && rows == 4) four_tiles(m, plane, v, g, next, count, more);
    else many_tiles(m, plane, v, g, h, next, rows, count, more);
}
#endif

/* Where the panel of vector i of the outputs starts, and the vector in it. */
#define OF_PANEL(i) (w + (i) * LANES / PANEL * deep)
#define IN_PANEL(i) ((i) * LANES % PANEL)

/* block: 4, or a multiple of 8; tiles: all, rounded up to 4 or a multiple of 8 (of 4 with OUT 2). What lies behind the last tile is multiplied but
 * never turned. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
few_multiply(__global real *restrict y, __global const float *restrict v, __global float *restrict slots,
             __global const FILTER *restrict w, __global const float *restrict bias, __global const real *restrict vec,
             __global const real *restrict residual, int c, int c2, int k, int p, int q, int act, int down, int right, int n,
             int tiles, int block, int group, int items) {
    const int all = n * down * right, blocks = (tiles + block - 1) / block, plane = block * LANES + 16;
    const int vectors = (k + LANES - 1) / LANES, jobs = blocks * ((vectors + group - 1) / group);
    const long deep = (long)(c + c2) * TAPS;
    __global float *h = slots + (long)get_global_id(0) * (2 * H_ROW + NARROW + group * PLACES * plane), *m = h + 2 * H_ROW + NARROW;

    for (int job = items - 1 - (int)get_global_id(0); job < jobs; job += items) {
        const int set = job / blocks * group, first = job % blocks * block, rows = min(block, tiles - first);
        const int after = (job + items) / blocks * group, used = min(group, vectors - set);
        for (int from = 0, chunk = 0, count; from < (MUTANT == 15 ? c : MUTANT == 5 ? min(c, CHUNK) : c + c2); from += count, chunk++) {
            __global const float *vt = v + ((long)chunk * tiles + first) * PLACES * CHUNK;
            count = min(CHUNK, (from < c ? c : c + c2) - from);
            for (int o = 0; o < used; o++) {
                const int vector = MUTANT == 22 && set + o ? set + o - 1 : set + o;
                __global const FILTER *filters = OF_PANEL(vector) + (long)from * TAPS;
                __global const FILTER *next = from + count < c + c2 ? filters + count * TAPS : OF_PANEL(min(after + o, vectors - 1));
#if NARROW
                __global float *g = h + 2 * H_ROW;
                for (int i = 0; i < count * TAPS; i += LANES) PUT(LDM_CAT(WLOAD, LANES)(filters, i), g + i);
                g += IN_PANEL(vector);
#else
                __global const float *g = filters + IN_PANEL(vector);
#endif
                __global float *mo = m + o * PLACES * plane;
                all_tiles(mo, plane, vt, g, h, next, rows, MUTANT == 1 ? count - 1 : count, from > 0);
            }
        }
        for (int o = 0; o < used; o++)
            for (int r = 0; r < rows && first + r < all; r++) {
                const int at = first + r;
                turn_out(y, bias, vec, residual, m + o * PLACES * plane + r * LANES, plane, LANES, at / (down * right),
                         at / right % down * OUT, at % right * OUT, (set + o) * LANES, k, p, q, act);
            }
    }
}
