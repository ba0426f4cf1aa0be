/* tiling.h -- the first stage in tiles that overlap, blended where they do: little memory, but another picture, since every tile is
 * normalised by itself (the exact way is plan/strips.h). Linearly, as stable-diffusion.cpp and diffusers offer it, or in the windows
 * of the authors' patched mode (ldm/models/diffusion/ddpm.py, `patch_distributed_vq`). */
#ifndef LDM_APP_TILING_H
#define LDM_APP_TILING_H

#include "base/base.h"

typedef struct app_tiling {
    int64_t w, h;   /* of a tile, in elements of the latent: 32 x 32 */
    double overlap; /* of neighbours, as a part of a tile: 0.5; less than 1 */
    /* Not 0: windows that begin so far apart, the last flush with the border, instead of tiles spread evenly; what they make of a
     * pixel counts by its distance from the window's border, at least 0.01. An encoder's are as many pixels, as the authors have it. */
    int64_t stride;
} app_tiling;

/* "32" or "32x48", width first; 8 to 4096. NULL: the default. */
ldm_status app_parse_tiling(const char *text, app_tiling *out);
/* What a tile of a latent [lh,lw] really is: no larger than the latent. The decoder's plan is made for this size. */
void app_tile_size(const app_tiling *t, int64_t lh, int64_t lw, int64_t *h, int64_t *w);
int app_tile_count(const app_tiling *t, int64_t lh, int64_t lw);

/* A map [h,w,c] through a network that makes `up` elements a side of `down`: out [h up/down, w up/down, c_out]. tile(user, in, out)
 * makes one, whose sides app_tile_size tells. Where down is not 1 it divides h, w, the tile and the stride. `what` is said
 * while it runs: "decoding". */
typedef struct app_tile_job {
    int64_t h, w, c, up, down, c_out;
    ldm_status (*tile)(void *user, const float *in, float *out);
    void *user;
    const char *what;
} app_tile_job;
ldm_status app_tile_map(const app_tiling *t, const app_tile_job *job, const float *in, float *out);

#endif
