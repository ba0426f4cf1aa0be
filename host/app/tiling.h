/* tiling.h -- decoding a latent in tiles that overlap, blended linearly where they do, as stable-diffusion.cpp and diffusers
 * offer it: little memory, but another picture, since every tile is normalised by itself. The exact way is plan/strips.h. */
#ifndef LDM_APP_TILING_H
#define LDM_APP_TILING_H

#include "base/base.h"

typedef struct app_tiling {
    int64_t w, h;   /* of a tile, in elements of the latent: 32 x 32 */
    double overlap; /* of neighbours, as a part of a tile: 0.5; less than 1 */
} app_tiling;

/* "32" or "32x48", width first; 8 to 4096. NULL: the default. */
ldm_status app_parse_tiling(const char *text, app_tiling *out);
/* What a tile of a latent [lh,lw] really is: no larger than the latent. The decoder's plan is made for this size. */
void app_tile_size(const app_tiling *t, int64_t lh, int64_t lw, int64_t *h, int64_t *w);
int app_tile_count(const app_tiling *t, int64_t lh, int64_t lw);

/* latent [lh,lw,c] -> map [lh f, lw f, 3]. decode(user, z, map) makes one tile: [h,w,c] -> [h f, w f, 3]. */
typedef ldm_status (*app_decode_tile)(void *user, const float *z, float *map);
ldm_status app_decode_tiles(const app_tiling *t, const float *latent, int64_t lh, int64_t lw, int64_t c, int64_t f,
                            app_decode_tile decode, void *user, float *map);

#endif
