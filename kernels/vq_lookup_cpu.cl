/* vq_lookup_cpu.cl -- nearest codeword by squared distance for CPUs, ties to the lowest index.
 *   x, y  [rows, c]          book  [entries, c]
 *   reference  reference/ref_vq.c          host  host/ops/vq_lookup.c
 *
 *   vq_lookup_lanes   one work-item 16 rows, a row a lane, against the whole book; c = CHANNELS is baked, so that the
 *                     rows stay in registers
 *
 * MUTANTS: 1 ties to the highest index, 2 last codeword left out, 3 sum of distances instead of squares, 4 next
 *          codeword written, 5 last row of a full sixteen taken for the first */
#ifndef CHANNELS
#define CHANNELS 4 /* c: 1 to 16 */
#endif

kernel void vq_lookup_lanes(global real *y, global const real *x, global const float *book, int rows, int entries) {
    const int row0 = get_global_id(0) * 16, count = min(16, rows - row0);
    float column[CHANNELS][16];
    float16 at[CHANNELS];
    x += (size_t)row0 * CHANNELS;
    y += (size_t)row0 * CHANNELS;
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < CHANNELS; k++) column[k][i] = i < count ? LOAD(x, i * CHANNELS + k) : 0;
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) at[k] = vload16(0, column[k]);
    float16 least = INFINITY;
    int16 nearest = 0;
#if MUTANT == 2
    entries = max(entries - 1, 1);
#endif
    for (int j = 0; j < entries; j++) {
        float16 sum = 0;
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) {
            const float16 away = at[k] - book[(size_t)j * CHANNELS + k];
#if MUTANT == 3
            sum += fabs(away);
#else
            sum = FMA(away, away, sum);
#endif
        }
#if MUTANT == 1
        const int16 nearer = sum <= least;
#else
        const int16 nearer = sum < least;
#endif
        least = nearer ? sum : least;
        nearest = nearer ? (int16)(j) : nearest;
    }
    int found[16];
    vstore16(nearest, 0, found);
#if MUTANT == 4
    for (int i = 0; i < 16; i++) found[i] = min(found[i] + 1, entries - 1);
#endif
#if MUTANT == 5
    if (count == 16) found[15] = found[0];
#endif
    for (int i = 0; i < count; i++)
        for (int k = 0; k < CHANNELS; k++) STORE(book[(size_t)found[i] * CHANNELS + k], y, i * CHANNELS + k);
}
