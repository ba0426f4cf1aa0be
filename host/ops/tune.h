/* tune.h -- the search for the fastest row and parameters of one problem. What is found goes into the database (tuned.h);
 * which problems, how long, and what is printed is the caller's. */
#ifndef LDM_TUNE_H
#define LDM_TUNE_H

#include "ops/tuned.h"

/* Every choice to try, in the order in which they are tried, which depends on p, d and `full` alone: the default one, then the
 * rows meant for d with every legal set, preferred sets before others, fewer changes of a row's defaults before more. `full`
 * adds the plain rows. *list is freed with free(). */
ldm_status ldm_tune_candidates(const ldm_problem *p, const ldm_device *d, bool full, ldm_choice **list, int *count);

typedef struct ldm_tune_options {
    double budget; /* seconds, 0: any; at least the default and one other are tried */
    bool full;     /* whatever time it takes, and the plain rows too */
    /* [opt] called before each candidate */
    void (*each)(void *user, const ldm_choice *c, int at, int count);
    void *user;
} ldm_tune_options;

/* Tries the candidates: each is judged against the reference first, and one that is wrong is left out with a note; then it is
 * timed, its weights and maps not in cache, as networks meet them. The fastest few are timed again in turns, half of them
 * each time; the last one wins over the default only if it is faster by a hundredth, in the median of turns, or by a
 * tenth if it makes the weights half as large again. Fills *out, with median times, but for commit and date.
 * LDM_ERR_UNSUPPORTED if there is nothing to choose from, LDM_ERR_MISMATCH if every candidate is wrong. */
ldm_status ldm_tune_problem(ldm_cl *cl, const ldm_problem *p, const ldm_tune_options *o, ldm_tuned_entry *out);

#endif
