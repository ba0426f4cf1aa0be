/* gen_record.h -- how a picture was made, as its PNG carries it, and back: AUTOMATIC1111's grammar, with a key "Arguments" that
 * holds what the grammar's own keys cannot: options of `ldm gen` as a JSON list, files among them by their SHA-256. */
#ifndef LDM_APP_GEN_RECORD_H
#define LDM_APP_GEN_RECORD_H

#include "app/gen_options.h"
#include "app/pipeline.h"

/* Of one run: what does not change from picture to picture. */
typedef struct app_record {
    const app_gen_options *g; /* resolved */
    const ldm_system *system;
    const ldm_device *device;
    const ldm_sampler *sampler;
    const ldm_sampler_options *options;
    bool in_turn; /* guidance is two batches of one */
    char model[LDM_SHA256_HEX]; /* "" for synthetic weights */
} app_record;

/* Hashes the model; remembered in the cache folder. */
ldm_status app_record_begin(const app_gen_options *g, const ldm_system *s, const ldm_device *d, app_record *out);
ldm_status app_record_write(const app_record *r, const app_picture *picture, ldm_text *out);

/* The command line that makes a picture again: argv with its --from FILE replaced by what the file says, in front of the other
 * options, which may change it. *list is NULL-terminated, each owned, freed with app_free_list; *count without the NULL. argv
 * itself where there is no --from: then *list is NULL. *note [opt] says what to compare: device and model of the picture. */
ldm_status app_record_argv(int argc, const char **argv, char ***list, int *count, ldm_parameters *was);
/* Names what another program says of a picture that is not taken over. */
void app_record_left_out(const ldm_parameters *was);
/* That the picture at `path` was made as m is to be, for a folder that is continued; LDM_ERR_ARG names an option that was another
 * (which pictures ran together, and how a budget was kept to, need not be the same). One that does not say so passes. */
ldm_status app_record_continues(const app_gen_options *g, const ldm_system *s, const app_picture *m, const char *path);
/* Says what is not as it was when the picture was made: model, device, version. */
void app_record_differences(const app_record *r, const ldm_parameters *was);

#endif
