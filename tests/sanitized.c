/* sanitized.c -- linked into every program of the address sanitizer's build (CONFIG=asan), and into nothing else: what
 * lets it run with an OpenCL driver loaded, and which leaks are not ours. */
#include <dlfcn.h>
#include <stdlib.h>

/* The ICD loader opens drivers with RTLD_DEEPBIND, under which they would call the C library's malloc past the
 * sanitizer; it refuses to run then. Without that flag a driver's symbols are looked up like everyone's. */
void *dlopen(const char *file, int mode) {
    void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    if (!next) abort();
    return next(file, mode & ~RTLD_DEEPBIND);
}

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "print_suppressions=0"; }

/* A leak counts as a library's if its own code asked for the memory. What we forget to release of OpenCL is hidden by
 * the first line too; nothing else of ours is. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libpocl\n"  /* its compiler's state, kept until the process ends */
           "leak:libLLVM\n"; /* passes and types of the modules it compiled, likewise */
}
