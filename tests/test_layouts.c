/* test_layouts.c -- the same weights under the authors' names and under diffusers': each fixture is converted and
 * compared, tensor by tensor, with what diffusers calls and holds (names.json, written by diffusers and transformers),
 * then converted back and compared bit for bit with what it was. What has no place in the other layout is refused.
 * Whole folders: test_convert.sh. */
#include "ckpt/ckpt.h"
#include "ckpt/tree.h"
#include "model/convert.h"
#include "tests/test.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/ldm-test-layouts-XXXXXX";
static ldm_tree names;

static const char *in_folder(const char *name) {
    static char path[4][512];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void clear(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s/*", folder);
    CHECK(system(command) == 0, "%s", command);
}

/* All elements as f32; freed by the caller. */
static float *values(const ldm_ckpt_tensor *t, size_t *bytes) {
    *bytes = (size_t)ldm_shape_count(&t->shape) * sizeof(float);
    float *v = malloc(*bytes + 1);
    if (!v) abort();
    CHECK_OK(ldm_ckpt_load_f32(t, v));
    return v;
}

/* The converted file has the tensors that diffusers has, and no others: names, shapes, contents. */
static void same_as_diffusers(const char *fixture, const char *path) {
    ldm_ckpt *c = NULL;
    char key[256];
    snprintf(key, sizeof key, "fixtures.%s.tensors", fixture);
    ldm_node *wanted = ldm_tree_at(names.root, key), *value;
    const char *name;
    int n = 0;
    CHECK(wanted, "%s is in names.json", fixture);
    CHECK_OK(ldm_ckpt_open(path, &c));
    for (void *at = NULL; c && ldm_tree_next(wanted, &at, &name, &value); n++) {
        const ldm_ckpt_tensor *t = ldm_ckpt_find(c, name);
        snprintf(key, sizeof key, "text_model.%s", name); /* transformers left this away from version 5 on */
        if (!t) t = ldm_ckpt_find(c, key);
        ldm_text shape = {0}, found = {0};
        char hex[65] = "";
        size_t bytes;
        CHECK(t, "%s: %s is missing", fixture, name);
        if (!t) continue;
        ldm_tree_words(ldm_tree_item(value, 0), &shape);
        for (int d = 0; d < t->shape.rank; d++)
            ldm_text_add(&found, "%s%lld", d ? "," : "", (long long)t->shape.dim[d]);
        CHECK(shape.s && found.s && !strcmp(shape.s, found.s), "%s: %s is [%s], diffusers has [%s]", fixture, name,
              found.s, shape.s);
        float *v = values(t, &bytes);
        ldm_sha256_hex(v, bytes, hex);
        CHECK(!strncmp(hex, ldm_tree_string(ldm_tree_item(value, 1)), 16), "%s: %s holds other numbers", fixture, name);
        free(v);
        ldm_text_free(&shape), ldm_text_free(&found);
    }
    CHECK(!c || ldm_ckpt_count(c) == n, "%s: %d tensors, diffusers has %d", fixture, c ? ldm_ckpt_count(c) : 0, n);
    ldm_ckpt_close(c);
}

/* Our config.json says nothing that diffusers' own does not. */
static void same_config(const char *fixture, const char *path) {
    ldm_tree t = {0};
    char key[96];
    const char *name;
    ldm_node *value;
    snprintf(key, sizeof key, "fixtures.%s.config", fixture);
    ldm_node *theirs = ldm_tree_at(names.root, key);
    CHECK_OK(ldm_tree_open(path, &t));
    for (void *at = NULL; ldm_tree_next(t.root, &at, &name, &value);) {
        ldm_text a = {0}, b = {0};
        if (*name == '_' || !strcmp(name, "sample_size")) continue;
        ldm_tree_words(value, &a), ldm_tree_words(ldm_tree_at(theirs, name), &b);
        CHECK(a.s && b.s && !strcmp(a.s, b.s), "%s: %s is %s, diffusers has %s", fixture, name, a.s, b.s);
        ldm_text_free(&a), ldm_text_free(&b);
    }
    ldm_tree_close(&t);
}

/* Every tensor of `made` is in `given`, under a prefix, in the same dtype and shape, bit for bit. */
static void same_file(const char *fixture, const char *made, const char *given, const char *prefix) {
    ldm_ckpt *a = NULL, *b = NULL;
    char name[256];
    int n = 0;
    CHECK_OK(ldm_ckpt_open(made, &a));
    CHECK_OK(ldm_ckpt_open(given, &b));
    for (int i = 0; a && b && i < ldm_ckpt_count(a); i++) {
        const ldm_ckpt_tensor *x = ldm_ckpt_at(a, i);
        snprintf(name, sizeof name, "%s%s", prefix, x->name);
        const ldm_ckpt_tensor *y = ldm_ckpt_find(b, name);
        CHECK(y && x->dtype == y->dtype && ldm_shape_count(&x->shape) == ldm_shape_count(&y->shape) &&
                  x->shape.dim[0] == y->shape.dim[0] &&
                  !memcmp(x->data, y->data, (size_t)ldm_shape_count(&x->shape) * ldm_dtype_size(x->dtype)),
              "%s: %s came back as another", fixture, x->name);
        n++;
    }
    CHECK(n > 0 && b && n >= ldm_ckpt_count(b) - 1, "%s: %d tensors came back", fixture,
          n); /* but for a class embedder */
    ldm_ckpt_close(a), ldm_ckpt_close(b);
}

/* The configuration of a fixture, from its fixture.json. */
static char *config_of(const char *fixture) {
    ldm_tree t = {0};
    char path[256], *copy = NULL;
    const char *text = NULL;
    snprintf(path, sizeof path, "tests/fixtures/%s/fixture.json", fixture);
    CHECK_OK(ldm_tree_open(path, &t));
    CHECK_OK(ldm_tree_text(&t, t.root, "config", &text));
    if (text) copy = strdup(text);
    ldm_tree_close(&t);
    return copy;
}

static void convert(const ldm_system_options *o, ldm_convert_options how, const char *out) {
    ldm_system *s = NULL;
    CHECK_OK(ldm_system_open(o, &s));
    if (s) CHECK_OK(ldm_convert(s, &how, out));
    ldm_system_close(s);
}

static void test_unets(void) {
    static const char *const fixtures[] = {"unet_cross", "unet_class", "unet_legacy", "unet_lcm", "unet_upscaler"};
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        char path[256], *config = config_of(fixtures[i]);
        snprintf(path, sizeof path, "tests/fixtures/%s/weights.safetensors", fixtures[i]);
        const char *out = in_folder("diffusers"), *back = in_folder("back.safetensors");
        convert(&(ldm_system_options){.diffusion_model = path, .config = config},
                (ldm_convert_options){LDM_DIFFUSERS, -1}, out);
        same_as_diffusers(fixtures[i], in_folder("diffusers/unet/diffusion_pytorch_model.safetensors"));
        same_config(fixtures[i], in_folder("diffusers/unet/config.json"));
        convert(&(ldm_system_options){.model = out}, (ldm_convert_options){LDM_COMPVIS, -1}, back);
        same_file(fixtures[i], back, path, "");
        free(config);
        clear();
    }
}

/* A first stage or a text encoder alone: from file to file. */
static void test_parts(void) {
    static const char *const fixtures[] = {
        "kl", "vq", "vq_noattn", "text_bert", "text_clip", "text_clip_gelu", "text_openclip"};
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        char path[256];
        snprintf(path, sizeof path, "tests/fixtures/%s/weights.safetensors", fixtures[i]);
        const char *out = in_folder("part.safetensors"), *back = in_folder("back.safetensors");
        convert(&(ldm_system_options){.model = path}, (ldm_convert_options){LDM_DIFFUSERS, -1}, out);
        same_as_diffusers(fixtures[i], out);
        /* transformers' names do not say which CLIP it is: only OpenCLIP-H is known by its width */
        if (strcmp(fixtures[i], "text_openclip")) {
            convert(&(ldm_system_options){.model = out}, (ldm_convert_options){LDM_COMPVIS, -1}, back);
            same_file(fixtures[i], back, path, strncmp(fixtures[i], "text", 4) ? "" : "cond_stage_model.");
        }
        clear();
    }
}

/* Another dtype is what the reader gives, rounded once; what does not fit is refused and nothing is left. */
static void test_dtypes(void) {
    const char *path = "tests/fixtures/vq/weights.safetensors", *out = in_folder("out.safetensors");
    static const ldm_dtype types[] = {LDM_F32, LDM_BF16, LDM_F16};
    for (int i = 0; i < 3; i++) {
        ldm_ckpt *a = NULL, *b = NULL;
        convert(&(ldm_system_options){.model = path}, (ldm_convert_options){-1, (int)types[i]}, out);
        CHECK_OK(ldm_ckpt_open(path, &a));
        CHECK_OK(ldm_ckpt_open(out, &b));
        for (int k = 0; a && b && k < ldm_ckpt_count(a); k++) {
            size_t bytes;
            const ldm_ckpt_tensor *from = ldm_ckpt_at(a, k), *to = ldm_ckpt_find(b, from->name);
            float *x = values(from, &bytes), *y = values(to, &bytes);
            ldm_round_to(types[i], x, bytes / sizeof *x);
            CHECK(to->dtype == types[i] && !memcmp(x, y, bytes), "%s as %s", from->name, ldm_dtype_name(types[i]));
            free(x), free(y);
        }
        ldm_ckpt_close(a), ldm_ckpt_close(b);
    }
    clear();

    ldm_st_writer *w = NULL;
    ldm_system *s = NULL;
    const float big[64 * 9] = {1e5f};
    CHECK_OK(ldm_st_create(in_folder("big.safetensors"), NULL, &w));
    CHECK_OK(ldm_st_declare(w, "19.weight", LDM_F32, &(ldm_shape){4, {1, 64, 3, 3}}));
    CHECK_OK(ldm_st_declare(w, "1.weight", LDM_F32, &(ldm_shape){4, {9, 64, 1, 1}}));
    CHECK_OK(ldm_st_data(w, big));
    CHECK_OK(ldm_st_data(w, big));
    CHECK_OK(ldm_st_commit(w));
    CHECK_OK(ldm_system_open(&(ldm_system_options){.model = in_folder("big.safetensors")}, &s));
    ldm_status st = s ? ldm_convert(s, &(ldm_convert_options){-1, LDM_F16}, out) : LDM_OK;
    CHECK(st == LDM_ERR_NONFINITE && strstr(ldm_message(), "100000") && access(out, F_OK), "too large for f16: %d %s",
          st, ldm_message());
    ldm_system_close(s);
    clear();
}

/* The same numbers kept as f64, f32 and f16: what is written from each is what diffusers has. */
static void test_loaded(void) {
    static const ldm_dtype types[] = {LDM_F64, LDM_F32, LDM_F16};
    ldm_ckpt *c = NULL;
    CHECK_OK(ldm_ckpt_open("tests/fixtures/vq/weights.safetensors", &c));
    for (int i = 0; c && i < 3; i++) {
        ldm_st_writer *w = NULL;
        const char *path = in_folder("given.safetensors"), *out = in_folder("out.safetensors");
        CHECK_OK(ldm_st_create(path, NULL, &w));
        for (int k = 0; k < ldm_ckpt_count(c); k++)
            CHECK_OK(ldm_st_declare(w, ldm_ckpt_at(c, k)->name, types[i], &ldm_ckpt_at(c, k)->shape));
        for (int k = 0; k < ldm_ckpt_count(c); k++) {
            size_t size;
            float *x = values(ldm_ckpt_at(c, k), &size);
            void *stored = malloc(2 * size + 1);
            ldm_from_f32(types[i], x, size / sizeof *x, stored);
            CHECK_OK(ldm_st_data(w, stored));
            free(x), free(stored);
        }
        CHECK_OK(ldm_st_commit(w));
        convert(&(ldm_system_options){.model = path}, (ldm_convert_options){LDM_DIFFUSERS, -1}, out);
        same_as_diffusers("vq", out);
        clear();
    }
    ldm_ckpt_close(c);
}

static void refused(const ldm_system_options *o, const char *words) {
    ldm_system *s = NULL;
    CHECK_OK(ldm_system_open(o, &s));
    ldm_status st = s ? ldm_convert(s, &(ldm_convert_options){LDM_DIFFUSERS, -1}, in_folder("never")) : LDM_OK;
    CHECK(st == LDM_ERR_UNSUPPORTED && strstr(ldm_message(), words), "wanted '%s': %s", words, ldm_message());
    CHECK(access(in_folder("never"), F_OK), "nothing is left of it");
    ldm_system_close(s);
}

static void test_refused(void) {
    char *updown = config_of("unet_updown"), *classes = config_of("unet_class");
    refused(&(ldm_system_options){.model = "tests/fixtures/unet_updown/weights.safetensors", .config = updown},
            "resblock_updown");
    refused(&(ldm_system_options){.model = "tests/fixtures/unet_class/weights.safetensors", .config = classes},
            "class embedder");
    free(updown), free(classes);
}

/* Averaged weights take the place of the others. */
static void test_averaged(void) {
    ldm_ckpt *c = NULL;
    ldm_st_writer *w = NULL;
    const char *given = "tests/fixtures/unet_cross/weights.safetensors", *both = in_folder("both.safetensors"),
               *out = in_folder("out.safetensors");
    char name[256], *config = config_of("unet_cross");
    CHECK_OK(ldm_ckpt_open(given, &c));
    CHECK_OK(ldm_st_create(both, NULL, &w));
    for (int pass = 0; pass < 4; pass++) /* declares both, then writes both: the raw ones are noughts */
        for (int i = 0; i < ldm_ckpt_count(c); i++) {
            const ldm_ckpt_tensor *t = ldm_ckpt_at(c, i);
            const size_t bytes = (size_t)ldm_shape_count(&t->shape) * 2;
            int n = snprintf(name, sizeof name, "%s", pass % 2 ? "model_ema.diffusion_model" : t->name);
            for (const char *s = t->name + strlen("model.diffusion_model."); pass % 2 && *s; s++)
                if (*s != '.') name[n++] = *s;
            name[n] = 0;
            void *zeros = calloc(1, bytes);
            if (pass < 2) CHECK_OK(ldm_st_declare(w, name, t->dtype, &t->shape));
            else CHECK_OK(ldm_st_data(w, pass % 2 ? t->data : zeros));
            free(zeros);
        }
    CHECK_OK(ldm_st_commit(w));
    convert(&(ldm_system_options){.model = both, .config = config, .ema = "on"}, (ldm_convert_options){-1, -1}, out);
    same_file("averaged", out, given, "");
    convert(&(ldm_system_options){.model = both, .config = config, .ema = "on"},
            (ldm_convert_options){LDM_DIFFUSERS, -1}, in_folder("folder"));
    same_as_diffusers("unet_cross", in_folder("folder/unet/diffusion_pytorch_model.safetensors"));
    convert(&(ldm_system_options){.model = both, .config = config, .ema = "off"}, (ldm_convert_options){-1, -1}, out);
    same_file("all of it", out, both, "");
    free(config);
    ldm_ckpt_close(c);
    clear();
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "layouts");
    if (!mkdtemp(folder) || ldm_tree_open("tests/fixtures/layouts/names.json", &names))
        return printf("FAIL layouts: %s\n", ldm_message()), 1;
    CASE("UNets") test_unets();
    CASE("parts alone") test_parts();
    CASE("dtypes") test_dtypes();
    CASE("f64, f32 and f16 on load") test_loaded();
    CASE("refused by name") test_refused();
    CASE("averaged weights") test_averaged();
    ldm_tree_close(&names);
    rmdir(folder);
    return test_end();
}
