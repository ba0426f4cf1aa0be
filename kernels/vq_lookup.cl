/* vq_lookup.cl -- nearest codeword by squared distance, ties to the lowest index:
 * y[r,:] = book[argmin_j |x_r - book_j|^2, :].
 *   x, y  [rows, c]          book  [entries, c]
 *   reference  reference/ref_vq.c          host  host/ops/vq_lookup.c
 *
 *   vq_lookup_plain   one work-item a row; any device, any c
 *
 * MUTANTS: 1 ties to the highest index, 2 last codeword left out, 3 sum of distances instead of squares, 4 next
 *          codeword written, 5 last channel not compared */

kernel void vq_lookup_plain(global real *y, global const real *x, global const float *book, int rows, int entries,
                            int c) {
    const int r = get_global_id(0);
    if (r >= rows) return;
    x += (size_t)r * c;
    y += (size_t)r * c;
    float least = INFINITY;
    int nearest = 0;
#if MUTANT == 2
    entries = max(entries - 1, 1);
#endif
    for (int j = 0; j < entries; j++) {
        float sum = 0;
#if MUTANT == 5
        for (int k = 0; k < max(c - 1, 1); k++) {
#else
        for (int k = 0; k < c; k++) {
#endif
            const float away = LOAD(x, k) - book[(size_t)j * c + k];
#if MUTANT == 3
            sum += fabs(away);
#else
            sum = FMA(away, away, sum);
#endif
        }
#if MUTANT == 1
        if (sum <= least) least = sum, nearest = j;
#else
        if (sum < least) least = sum, nearest = j;
#endif
    }
#if MUTANT == 4
    nearest = min(nearest + 1, entries - 1);
#endif
    for (int k = 0; k < c; k++) STORE(book[(size_t)nearest * c + k], y, k);
}
