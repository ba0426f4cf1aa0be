/* system_internal.h -- what is behind a system: files, places, what configuration files said (internal to host/model).
 */
#ifndef LDM_SYSTEM_INTERNAL_H
#define LDM_SYSTEM_INTERNAL_H

#include "model/described.h"
#include "model/places.h"
#include "model/system.h"

enum { SYSTEM_SETS = 16 };
struct ldm_system_files {
    ldm_files *set[SYSTEM_SETS];
    int sets;
    ldm_places places;
    ldm_described said;
    char *said_by; /* the configuration file; NULL: none */
    bool synthetic, folder;
    uint64_t seed;
    float *alphas; /* [1000] */
    char *missing, *path, *tokenizer, *scheduler;
    ldm_key_value *keys;
    ldm_fact *facts;
    int n_facts;
};

ldm_status system_resolve(ldm_system *s, const ldm_system_options *o);

ldm_status system_copy(const char *s, char **out); /* frees what *out had */
void system_fact(ldm_system *s, const char *what, const char *value, ldm_sure sure, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
