/* codes.h -- latents of a VQ first stage as whole numbers: which entry of the codebook each element is nearest to. */
#ifndef LDM_APP_CODES_H
#define LDM_APP_CODES_H

#include "app/network.h"
#include "io/io.h"

typedef struct app_codebook {
    float *entry; /* [entries, channels] */
    int64_t entries, channels;
} app_codebook;
/* Of the first stage that `o` names; LDM_ERR_ARG where that has none. Freed with free(book->entry). */
ldm_status app_codebook_load(const app_network_options *o, app_codebook *book);

/* codes [pixels] of z [pixels, channels]: the least squared distance, in f64, of equal ones the first. */
void app_codes_nearest(const app_codebook *book, const float *z, int64_t pixels, int32_t *codes);
/* z [h,w,channels] of an array of whole numbers [h,w] or [1,h,w], each below the number of entries; z freed with free(). */
ldm_status app_codes_look_up(const app_codebook *book, const ldm_array *codes, const char *name, float **z, int64_t *h, int64_t *w);

#endif
