/* fuzz.h -- between a fuzz target and what feeds it: libFuzzer (make fuzz-long) or fuzz_driver.c (make fuzz).
 * A target parses any bytes and aborts when the reader does anything but accept or refuse. */
#ifndef LDM_FUZZ_H
#define LDM_FUZZ_H

#include "make_files.h"

#ifdef FUZZ_LONG
static bool fuzz_memory_fails, fuzz_armed, fuzz_json_fails;
#else
extern bool fuzz_memory_fails; /* an allocation fails during this input: LDM_ERR_NOMEM is an answer too */
extern bool fuzz_armed;        /* the reader runs, not the target around it */
/* Allocations of jansson fail too; a target whose inputs have long strings turns it off, because jansson 2.14 then runs past the
 * end of a string that it could store only in part. */
extern bool fuzz_json_fails;
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
bytes fuzz_seed(int i); /* the corpus, made in code; nothing past its end */

/* FUZZ(call): did the reader accept? A status that it may not give ends the program. */
#define FUZZ(call) (fuzz_armed = true, fuzz_judge(call))
static inline bool fuzz_judge(ldm_status st) {
    fuzz_armed = false;
    if (st == LDM_OK) return true;
    if (st != LDM_ERR_FORMAT && !(st == LDM_ERR_NOMEM && fuzz_memory_fails)) {
        printf("status %d: %s\n", st, ldm_message());
        abort();
    }
    if (!*ldm_message() || !ldm_utf8_valid(ldm_message(), strlen(ldm_message())) || strchr(ldm_message(), '\n')) {
        printf("not a sentence: %s\n", ldm_message());
        abort();
    }
    return false;
}

#endif
