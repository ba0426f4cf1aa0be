/* tuned.h -- the tuning database: what `ldm tune` found, as text files that people can read, edit, compare and ship, and the
 * lookup that choosing (choose.c) asks first. One file a device, <folder>/tuned/<device>.txt, in the user's data folder and,
 * curated, in the kernel folder:
 *   ldm-tuned 1
 *   device: pthread-haswell-Some CPU, 8 units
 *   class: Some Vendor, cpu, float vectors of 8
 *   conv2d_tile | conv2d:f32 n=1 ... | TILE_PIXELS=8 | us | default's us | error/bound | tried/legal | driver | commit | date
 * Of lines for one problem the last counts. '#' starts a comment. A parameter that is left out has its default. A line that
 * is not as above is reported in one sentence and ignored. */
#ifndef LDM_TUNED_H
#define LDM_TUNED_H

#include "ops/op.h"

typedef struct ldm_tuned_entry {
    ldm_problem problem;
    ldm_choice choice;
    double us, usual_us; /* of this choice, of the default one; microseconds, weights and maps not in cache */
    double error;        /* largest error / bound */
    int tried, legal;    /* parameter sets, of all rows for the device */
    char driver[64], commit[48], date[24];
    int trust; /* 0: of another driver or device, not checked yet; 1: may be used; -1: gave a wrong result on this driver */
} ldm_tuned_entry;

/* Entries of files, in their order. Starts as {0}; freed with ldm_tuned_list_free. */
typedef struct ldm_tuned_list {
    ldm_tuned_entry *entry;
    int count, room, malformed; /* malformed: lines ignored */
} ldm_tuned_list;
void ldm_tuned_list_free(ldm_tuned_list *list);

/* Whose a file is. */
typedef enum ldm_tuned_kin { LDM_TUNED_OTHER, LDM_TUNED_CLASS, LDM_TUNED_OWN } ldm_tuned_kin;

/* The file's entries that rows of this build can take on d, appended to *list; *kin [opt]: whose it is. `kin_least`: files of
 * less kin are not read beyond their head. LDM_ERR_FORMAT if the file cannot be read or its head is not one; a malformed
 * line is a note. */
ldm_status ldm_tuned_read(const char *path, const ldm_device *d, ldm_tuned_kin kin_least, ldm_tuned_list *list,
                          ldm_tuned_kin *kin);
/* One line of a file, without its end, into *out; LDM_ERR_FORMAT with what is wrong. */
ldm_status ldm_tuned_parse(const char *line, const ldm_device *d, ldm_tuned_entry *out);

/* <data folder>/tuned/<device>.txt. */
ldm_status ldm_tuned_path(const ldm_device *d, char *buf, size_t cap);
/* Makes the file with its head where it is not there yet; then nothing but lines need be written. LDM_ERR_IO. */
ldm_status ldm_tuned_prepare(const char *path, const ldm_device *d);
ldm_status ldm_tuned_append(const char *path, const ldm_tuned_entry *e);
/* The last entry for exactly this problem, or NULL. */
ldm_tuned_entry *ldm_tuned_last(const ldm_tuned_list *list, const ldm_problem *p);

/* Reads the user's and the curated files and attaches them to cl's device, if there are any: then ldm_choose looks there
 * first. Borrows cl. Never a failure but of memory: what cannot be read is a note. */
ldm_status ldm_tuned_load(ldm_cl *cl);

typedef enum ldm_tuned_source {
    LDM_TUNED_NONE,
    LDM_TUNED_SAME,         /* this device, this problem */
    LDM_TUNED_NEAR,         /* this device, the nearest problem, which was not fastest with its default */
    LDM_TUNED_CLASS_SAME,   /* a device of the same class */
    LDM_TUNED_CLASS_NEAR
} ldm_tuned_source;

/* What the database says of p on d (whose `tuned` may be NULL), in the order above. An entry of another driver or device is
 * checked against the reference once before it is used; the verdict is kept in the cache folder. Rows that the user's wishes rule
 * out (device.exact) are passed over; where little memory is wished for (device.low_memory) nothing is found. */
ldm_tuned_source ldm_tuned_find(const ldm_problem *p, const ldm_device *d, ldm_choice *out);
const char *ldm_tuned_source_name(ldm_tuned_source s); /* "tuned for this problem" */

/* Whether e's choice computes e's problem rightly on cl: LDM_OK, or LDM_ERR_MISMATCH with where not. */
ldm_status ldm_tuned_check(ldm_cl *cl, const ldm_tuned_entry *e, double *error);

#endif
