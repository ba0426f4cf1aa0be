/* fuzz_driver.c -- feeds a fuzz target a fixed number of mutated inputs without libFuzzer: same seed, same inputs, on
 * every machine. Every eighth input also has one allocation of ours or jansson's fail. Linked with -Wl,--wrap for that.
 *   fuzz_ckpt [inputs [first]]      fuzz_ckpt 1 4711   is input 4711 again, FUZZ_SAVE=file keeps it */
#include "fuzz.h"
#include <jansson.h>
#include <libgen.h>
#include <unistd.h>

enum { INPUTS = 20000, MAX_SIZE = 8192, MAX_SEEDS = 16, SECONDS_EACH = 20 };

bool fuzz_memory_fails, fuzz_armed, fuzz_json_fails = true;
static int allocations_left;

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "max_allocation_size_mb=64:allocator_may_return_null=0"; }

static bool fails(void) { return fuzz_memory_fails && fuzz_armed && --allocations_left == 0; }

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t to, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t to, size_t n);
char *__wrap_strdup(const char *s);
void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t each) { return fails() ? NULL : __real_calloc(n, each); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t to, size_t n) { return fails() ? NULL : __real_aligned_alloc(to, n); }
static void *json_malloc(size_t n) { return fuzz_json_fails ? __wrap_malloc(n) : __real_malloc(n); }
char *__wrap_strdup(const char *s) { return fails() ? NULL : __real_strdup(s); }

static uint64_t state_seed, state_at;
static uint64_t draw(uint64_t below) { return below ? ldm_hash(77, state_seed, state_at++) % below : 0; }

/* The bytes [at, at + n) of `b` become those of `with`. */
static void splice(bytes *b, size_t at, size_t n, const uint8_t *with, size_t with_n) {
    bytes out = {0};
    put(&out, b->d, at), put(&out, with, with_n), put(&out, b->d + at + n, b->n - at - n);
    bytes_free(b);
    *b = out;
}

static void mutate(bytes *b, const bytes *seeds, int seed_count) {
    static const uint64_t values[] = {0,          1,          2,         4,          0x7f,
                                      0x80,       0xff,       0x7fff,    0xffff,     0x7fffffff,
                                      0x80000000, 0xffffffff, INT64_MAX, 1ull << 63, UINT64_MAX};
    static const char digits[] = "0123456789-.eE\"[]{},:()'";
    size_t at = draw(b->n), left = b->n - at, n = 1 + draw(left < 40 ? left : 40);
    if (n > left) n = left;
    const bytes *other = &seeds[draw((uint64_t)seed_count)];
    size_t from = draw(other->n), most = other->n - from, take = draw(most < 60 ? most + 1 : 60);
    switch (draw(9)) {
    case 0:
        if (left) b->d[at] ^= (uint8_t)(1u << draw(8));
        break;
    case 1:
        if (left) b->d[at] = (uint8_t)draw(256);
        break;
    case 2: { /* a number that is wrong in an interesting way, little or big endian */
        int size = 1 << draw(4);
        uint64_t v = values[draw(sizeof values / sizeof *values)];
        bool big = draw(4) == 0;
        for (int i = 0; i < size && (size_t)i < left; i++)
            b->d[at + (size_t)i] = (uint8_t)(v >> (8 * (big ? size - 1 - i : i)));
        break;
    }
    case 3:
        splice(b, at, n, NULL, 0);
        break;
    case 4:
        splice(b, at, 0, b->d + at, n);
        break;
    case 5:
        splice(b, at, 0, other->d + from, take);
        break;
    case 6:
        splice(b, at, take < left ? take : left, other->d + from, take);
        break;
    case 7:
        if (draw(8) == 0) b->n = at;
        break;
    case 8:
        if (left) b->d[at] = (uint8_t)digits[draw(sizeof digits - 1)];
        break;
    }
    if (b->n > MAX_SIZE) b->n = MAX_SIZE;
}

int main(int argc, char **argv) {
    long inputs = argc > 1 ? atol(argv[1]) : INPUTS, first = argc > 2 ? atol(argv[2]) : 0;
    const char *save = getenv("FUZZ_SAVE");
    setvbuf(stdout, NULL, _IOLBF, 0);
    bytes seeds[MAX_SEEDS];
    int count = 0;
    json_set_alloc_funcs(json_malloc, free);
    while (count < MAX_SEEDS && (seeds[count] = fuzz_seed(count)).n) count++;
    for (long i = first; i < first + inputs; i++) {
        bytes b = {0};
        state_seed = (uint64_t)i, state_at = 0;
        put(&b, seeds[i % count].d, seeds[i % count].n);
        if (i >= count) /* the seeds themselves come first */
            for (uint64_t k = 1 + draw(8); k; k--) mutate(&b, seeds, count);
        uint8_t *exact = malloc(b.n ? b.n : 1); /* of exactly this size, so that a read past the end is seen */
        if (!exact) return 1;
        if (b.n) memcpy(exact, b.d, b.n);
        if (save && inputs == 1 && ldm_write_file(save, b.d, b.n) != LDM_OK) return 1;
        allocations_left = 1 + (int)draw(40);
        if (argc > 1) printf("input %ld\n", i);
        alarm(SECONDS_EACH);
        fuzz_memory_fails = i % 8 == 7;
        LLVMFuzzerTestOneInput(exact, b.n);
        fuzz_memory_fails = false;
        free(exact);
        bytes_free(&b);
    }
    for (int i = 0; i < count; i++) bytes_free(&seeds[i]);
    printf("%s: 1 passed, 0 failed, 0 skipped\n", basename(argv[0]));
    return 0;
}
