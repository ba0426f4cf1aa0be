/* record.h -- results files: a header saying on what, when and by which command they were made, and writing them whole.
 * Used by `ldm ablate`, the bench and everything else that puts numbers into results/. */
#ifndef LDM_RECORD_H
#define LDM_RECORD_H

#include "cl/cl.h"
#include "ops/peak.h"
#include <jansson.h>

/* {"date", "commit", "command", "machine": {...}, "device": {...}, "peak": {...}}; device and peak [opt] may be NULL.
 * A new reference, or NULL when out of memory. `command` is argv joined by blanks, argv[0] without its folder. */
json_t *ldm_record_header(const ldm_device *d, const ldm_peak *peak, int argc, char **argv);

/* "<dir>/<kind>-<device name as a file name>-<date>.json"; dir may end in a slash. */
const char *ldm_record_path(const char *dir, const char *kind, const ldm_device *d, char *buf, size_t cap);

/* What -o says: a file, or a folder (it ends in a slash) in which the name is as above. */
const char *ldm_record_place(const char *out, const char *kind, const ldm_device *d, char *buf, size_t cap);

/* Before what it will record: whether it could be written. Makes the directory. */
ldm_status ldm_record_try(const char *path);

/* Writes indented JSON, whole or not at all; makes the directory. Does not take the reference. */
ldm_status ldm_record_write(const char *path, const json_t *root);

/* Who else keeps the processors busy: from begin on, the share of their time, 0 to 1, that was used but not by this process
 * and its children that have ended. Clock ticks of Linux, so over a second's work or so; 0 where they are not told. */
typedef struct ldm_load {
    double busy, own; /* seconds, all processors together */
    double start;
} ldm_load;
void ldm_load_begin(ldm_load *l);
double ldm_load_other(const ldm_load *l);

const char *ldm_commit(void); /* `git describe` of the tree this was built from, or "unknown" */

#endif
