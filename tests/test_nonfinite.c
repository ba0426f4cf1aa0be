/* test_nonfinite.c -- NaN and infinity: the block where they appear is named, in every block of a UNet in turn; f16 that
 * overflows is made again in f32, by the tool, with the numbers f32 gives; and no picture is made of what stays NaN. LDM
 * names the tool. */
#include "ckpt/ckpt.h"
#include "io/io.h"
#include "model/model.h"
#include "sample/loop.h"
#include "test.h"
#include <math.h>
#include <unistd.h>

enum { SIDE = 16, CHANNELS = 4, TOKENS = 3, CONTEXT = 32, WIDTH = 64 };
static const char unet_text[] = "in_channels=4 out_channels=4 model_channels=64 num_res_blocks=1 channel_mult=1,2 "
                                "attention_resolutions=2 num_heads=2 use_spatial_transformer=1 context_dim=32";
static ldm_cl *cl;
static uint64_t seed = 3;
static char folder[] = "/tmp/ldm-test-nonfinite-XXXXXX";

/* Synthetic weights, of which one is `factor` times as large. */
typedef struct scaled {
    const char *name;
    float factor;
} scaled;

static ldm_status load_scaled(void *self, const ldm_tensor_info *t, float *dst) {
    const scaled *s = self;
    ldm_source w = ldm_source_synthetic(&seed);
    ldm_status st = w.load(w.self, t, dst);
    for (int64_t i = 0; !strcmp(t->name, s->name) && i < ldm_shape_count(&t->shape); i++) dst[i] *= s->factor;
    return st;
}

static ldm_plan *unet(ldm_dtype dtype) {
    ldm_plan *p = NULL;
    ldm_unet_config u;
    CHECK_OK(ldm_unet_config_parse(unet_text, &u));
    CHECK_OK(ldm_plan_create(dtype, LDM_F32, &p));
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)SIDE, (int64_t)SIDE, (int64_t)CHANNELS));
    ldm_tensor temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)WIDTH));
    ldm_tensor context = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)TOKENS, (int64_t)CONTEXT));
    ldm_tensor y = ldm_unet_emit(p, &u, ldm_plan_cast(p, x, dtype), ldm_plan_cast(p, temb, dtype),
                                 ldm_plan_cast(p, context, dtype), LDM_NONE, LDM_NONE);
    ldm_plan_output(p, ldm_plan_cast(p, y, LDM_F32), "y");
    CHECK_OK(ldm_plan_fuse(p));
    CHECK_OK(ldm_plan_finish(p, ldm_cl_device(cl)->max_alloc, ldm_cl_device(cl)->base_align));
    return p;
}

static void feed(ldm_exec *e, float first) {
    const ldm_plan *p = ldm_exec_plan(e);
    float data[SIDE * SIDE * CHANNELS];
    for (int i = 0; i < SIDE * SIDE * CHANNELS; i++) data[i] = ldm_uniform(8, 1, (uint64_t)i);
    CHECK_OK(ldm_exec_write(e, ldm_plan_find(p, "temb"), data));
    CHECK_OK(ldm_exec_write(e, ldm_plan_find(p, "context"), data));
    data[0] = first;
    CHECK_OK(ldm_exec_write(e, ldm_plan_find(p, "x"), data));
}

/* One evaluation; true if its result is finite. If not, the blame is laid: LDM_ERR_NONFINITE and its sentence. */
static bool finite_run(ldm_dtype dtype, const scaled *s, float first, ldm_status *blame) {
    ldm_plan *p = unet(dtype);
    ldm_source w = {.load = load_scaled, .self = (void *)s};
    ldm_exec *e = NULL;
    float y[SIDE * SIDE * CHANNELS];
    bool finite = true;
    CHECK_OK(ldm_exec_create(cl, p, &w, NULL, &e));
    *blame = LDM_OK;
    if (e) {
        feed(e, first);
        CHECK_OK(ldm_exec_run(e, 0));
        CHECK_OK(ldm_exec_read(e, ldm_plan_find(p, "y"), y));
        for (int i = 0; i < SIDE * SIDE * CHANNELS; i++) finite &= isfinite(y[i]) != 0;
        *blame = ldm_exec_run_checked(e, 0);
    }
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
    return finite;
}

static void blames(void) {
    static const struct {
        const char *weight, *block;
    } each[] = {{"input_blocks.0.0.weight", "input_blocks.0.0"},
                {"input_blocks.1.0.out_layers.3.weight", "input_blocks.1.0"},
                {"input_blocks.2.0.op.weight", "input_blocks.2.0"},
                {"input_blocks.3.1.transformer_blocks.0.ff.net.2.weight", "input_blocks.3.1.transformer_blocks.0"},
                {"middle_block.1.proj_out.weight", "middle_block.1"},
                {"middle_block.2.out_layers.3.weight", "middle_block.2"},
                {"output_blocks.3.0.skip_connection.weight", "output_blocks.3.0"},
                {"out.2.weight", "out.2"}};
    ldm_status blame;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        const scaled s = {each[i].weight, 1e6f};
        const size_t n = strlen(each[i].block);
        CHECK(!finite_run(LDM_F16, &s, 0, &blame), "%s: f16 did not overflow", s.name);
        CHECK(blame == LDM_ERR_NONFINITE && !strncmp(ldm_message(), each[i].block, n) && ldm_message()[n] == ' ',
              "%s: blamed is '%s'", s.name, ldm_message());
        CHECK(ldm_exit_status(blame) == 4, "exit status %d", ldm_exit_status(blame));
        CHECK(finite_run(LDM_F32, &s, 0, &blame) && !blame, "%s: f32 is not finite: %s", s.name, ldm_message());
    }
}

static void nothing(void) {
    const scaled s = {"", 1};
    ldm_status blame;
    CHECK(finite_run(LDM_F16, &s, 0, &blame) && !blame, "blamed is '%s'", ldm_message());
    CHECK(!finite_run(LDM_F32, &s, NAN, &blame), "NaN in, numbers out");
    CHECK(blame == LDM_ERR_NONFINITE && strstr(ldm_message(), "input x"), "blamed is '%s'", ldm_message());
}

/* ---- a loop ------------------------------------------------------------------------------------------------------ */

typedef struct watched {
    ldm_exec *exec;
    int first; /* number of the first step after which the latent is not finite, 0 */
} watched;

static ldm_status after(void *user, int step, double seconds) {
    watched *w = user;
    float x[SIDE * SIDE * CHANNELS];
    (void)seconds;
    ldm_status st = ldm_loop_latent(w->exec, x);
    for (int i = 0; !st && i < SIDE * SIDE * CHANNELS && !w->first; i++)
        if (!isfinite(x[i])) w->first = step + 1, st = LDM_ERR_NONFINITE;
    return st;
}

/* The step that overflows is found by its latent; made again from the start, its block is named. */
static void loop(void) {
    enum { STEPS = 4 };
    ldm_schedule schedule;
    ldm_sampler sampler = {0};
    ldm_sampler_options so = ldm_sampler_defaults(LDM_DDIM, LDM_MANNER_AUTHORS);
    ldm_unet_config u;
    ldm_plan *p = NULL;
    watched w = {0};
    float x[SIDE * SIDE * CHANNELS], context[TOKENS * CONTEXT];
    const scaled s = {"out.2.weight", 3e4f};
    ldm_source source = {.load = load_scaled, .self = (void *)&s};
    ldm_status st = LDM_OK;
    so.steps = STEPS;
    TRY(ldm_unet_config_parse(unet_text, &u));
    TRY(ldm_schedule_linear(.0015, .0195, &schedule));
    TRY(ldm_sampler_make(&schedule, &so, &sampler));
    ldm_loop_options o = {.unet = u, .tokens = TOKENS, .n = 1, .h = SIDE, .w = SIDE, .dtype = LDM_F16, .wdtype = LDM_F32, .sampler = &sampler};
    for (int i = 0; i < SIDE * SIDE * CHANNELS; i++) x[i] = ldm_uniform(8, 1, (uint64_t)i);
    for (int i = 0; i < TOKENS * CONTEXT; i++) context[i] = ldm_uniform(8, 2, (uint64_t)i);
    TRY(ldm_loop_plan(&o, &p));
    TRY(ldm_plan_fuse(p));
    TRY(ldm_plan_finish(p, ldm_cl_device(cl)->max_alloc, ldm_cl_device(cl)->base_align));
    TRY(ldm_exec_create(cl, p, &source, NULL, &w.exec));
    const ldm_loop_inputs in = {.x = x, .context = context, .scale = 1};
    TRY(ldm_loop_start(&o, w.exec, &in));
    st = ldm_loop_run(&o, w.exec, &(ldm_loop_hooks){.each = after, .user = &w});
    CHECK(st == LDM_ERR_NONFINITE && w.first >= 1, "all steps are finite");
    o.checked = w.first;
    TRY(ldm_loop_start(&o, w.exec, &in));
    st = ldm_loop_run(&o, w.exec, &(ldm_loop_hooks){.each = after, .user = &w});
    char want[40];
    snprintf(want, sizeof want, "step %d of %d: ", w.first, STEPS);
    CHECK(st == LDM_ERR_NONFINITE && !strncmp(ldm_message(), want, strlen(want)) && strstr(ldm_message(), " of conv2d"), "blamed is '%s'", ldm_message());
    printf("nonfinite: %s\n", ldm_message());
    st = LDM_OK;
done:
    CHECK(!st, "%s", ldm_message());
    ldm_exec_destroy(w.exec);
    ldm_plan_destroy(p);
    ldm_sampler_free(&sampler);
}

/* ---- the tool ---------------------------------------------------------------------------------------------------- */

static const char *in_folder(const char *name) {
    static char path[4][200];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof *path, "%s/%s", folder, name);
    return p;
}

/* What a file of weights has: tensor i, by name; name NULL where it is left out. */
typedef struct tensors {
    int count;
    const char *(*name)(const void *self, int i, ldm_shape *shape);
    ldm_status (*load)(const void *self, int i, float *dst);
    const void *self;
} tensors;

/* A file of them, one `factor` times as large. */
static void write_weights(const char *path, const tensors *w, const scaled *s) {
    ldm_st_writer *f = NULL;
    float *x = NULL;
    ldm_shape shape;
    const char *name;
    ldm_status st = LDM_OK;
    TRY(ldm_st_create(path, NULL, &f));
    for (int i = 0; i < w->count; i++)
        if ((name = w->name(w->self, i, &shape))) TRY(ldm_st_declare(f, name, LDM_F32, &shape));
    for (int i = 0; i < w->count; i++) {
        if (!(name = w->name(w->self, i, &shape))) continue;
        const int64_t n = ldm_shape_count(&shape);
        free(x), x = NULL;
        TRY(ldm_alloc((size_t)n * sizeof *x, (void **)&x));
        TRY(w->load(w->self, i, x));
        for (int64_t k = 0; !strcmp(name, s->name) && k < n; k++) x[k] *= s->factor;
        TRY(ldm_st_data(f, x));
    }
    TRY(ldm_st_commit(f));
    f = NULL;
done:
    CHECK(!st, "%s", ldm_message());
    ldm_st_abandon(f);
    free(x);
}

static const char *of_plan(const void *self, int i, ldm_shape *shape) {
    const ldm_tensor_info *t = &((const ldm_plan *)self)->tensor[i];
    *shape = t->shape;
    return t->kind == LDM_PARAM && !t->rule ? t->name : NULL;
}
static ldm_status load_of_plan(const void *self, int i, float *dst) {
    ldm_source w = ldm_source_synthetic(&seed);
    return w.load(w.self, &((const ldm_plan *)self)->tensor[i], dst);
}

static void write_files(const scaled *s) {
    ldm_plan *p = unet(LDM_F32);
    float data[SIDE * SIDE * CHANNELS];
    const ldm_shape shape[] = {ldm_shape_of(4, (int64_t)1, (int64_t)CHANNELS, (int64_t)SIDE, (int64_t)SIDE),
                               ldm_shape_of(1, (int64_t)1), ldm_shape_of(3, (int64_t)1, (int64_t)TOKENS, (int64_t)CONTEXT)};
    static const char *const name[] = {"x.npy", "t.npy", "context.npy"};
    for (int i = 0; i < SIDE * SIDE * CHANNELS; i++) data[i] = ldm_uniform(8, 1, (uint64_t)i);
    for (int i = 0; i < 3; i++) CHECK_OK(ldm_npy_write(in_folder(name[i]), LDM_F32, &shape[i], data));
    write_weights(in_folder("w.safetensors"), &(tensors){p->tensors, of_plan, load_of_plan, p}, s);
    ldm_plan_destroy(p);
}

/* Exit status of the tool, what it says in err.txt. */
static int tool_status(const char *arguments) {
    const char *ldm = getenv("LDM");
    char command[2400];
    snprintf(command, sizeof command, "%s %s >%s/out.txt 2>%s/err.txt", ldm ? ldm : "build/release/ldm", arguments, folder, folder);
    const int rc = system(command);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

/* `ldm run` on the files. */
static int run_tool(const char *options, const char *out) {
    char arguments[2000];
    snprintf(arguments, sizeof arguments, "run '%s' -m %s --in x=%s --in t=%s --in context=%s/context.npy -o %s/%s %s", unet_text,
             in_folder("w.safetensors"), in_folder("x.npy"), in_folder("t.npy"), folder, folder, out, options);
    return tool_status(arguments);
}

static bool says(const char *words) {
    char *text = NULL;
    size_t n;
    CHECK_OK(ldm_read_file(in_folder("err.txt"), 1 << 20, &text, &n));
    const bool found = text && strstr(text, words);
    if (!found) printf("%s", text ? text : "");
    free(text);
    return found;
}

static void tool(void) {
    ldm_array a = {0}, b = {0};
    const scaled large = {"middle_block.2.out_layers.3.weight", 1e6f}, infinite = {"middle_block.2.out_layers.3.weight", 3e38f};
    write_files(&large);
    CHECK(run_tool("--dtype f16", "f16.npy") == 0, "f16 that overflows is not made again");
    CHECK(says("middle_block.2 ") && says("once more in f32"), "it is not said why");
    /* twice: what runs once reads single rows' weights where the file has them, and adds their products in another order */
    CHECK(run_tool("--dtype f32 --repeat 2", "f32.npy") == 0, "f32 fails");
    CHECK_OK(ldm_npy_read_f32(in_folder("f16.npy"), &a));
    CHECK_OK(ldm_npy_read_f32(in_folder("f32.npy"), &b));
    CHECK(a.data && b.data && !memcmp(a.data, b.data, (size_t)ldm_shape_count(&a.shape) * sizeof(float)),
          "made again is not what f32 gives");
    ldm_array_free(&a), ldm_array_free(&b);
    write_files(&infinite); /* past f32 in the block's own sums, where a row makes more of its weights, else in the next one's squares */
    CHECK(run_tool("--dtype f16", "none.npy") == 4, "NaN in f32 too: another exit status than 4");
    CHECK(says("middle_block.2 ") || says("output_blocks.0.0 "), "the block is not named");
    CHECK(access(in_folder("none.npy"), F_OK) != 0, "a file was written of NaN");
}

/* ---- a pipeline: the trained model, with one layer of one file scaled --------------------------------------------- */

static const char overflowing[] = "model.diffusion_model.input_blocks.1.0.out_layers.3.weight";

static const char *of_file(const void *self, int i, ldm_shape *shape) {
    const ldm_ckpt_tensor *t = ldm_ckpt_at(self, i);
    *shape = t->shape;
    return t->name;
}
static ldm_status load_of_file(const void *self, int i, float *dst) { return ldm_ckpt_load_f32(ldm_ckpt_at(self, i), dst); }

static void write_model(float factor) {
    ldm_ckpt *c = NULL;
    CHECK_OK(ldm_ckpt_open("tests/data/emoji-ldm/model.ckpt", &c));
    if (c)
        write_weights(in_folder("model.safetensors"), &(tensors){ldm_ckpt_count(c), of_file, load_of_file, c},
                      &(scaled){overflowing, factor});
    ldm_ckpt_close(c);
}

static int gen(const char *dtype, const char *out) {
    char arguments[2000];
    snprintf(arguments, sizeof arguments,
             "gen -m %s/model.safetensors --config tests/data/emoji-ldm/config.yaml --taesd tests/data/taef2 -p apple --steps 4 "
             "-s 1 --dtype %s --wtype f32 --save-latent %s/%s.npy -o %s/%s.png",
             folder, dtype, folder, out, folder, out);
    return tool_status(arguments);
}

static void pipeline(void) {
    ldm_array a = {0}, b = {0};
    write_model(1e5f);
    CHECK(gen("f16", "half") == 0, "gen: f16 that overflows is not made again");
    CHECK(says("step 1 of 4: ") && says("input_blocks.1.0 ") && says("once more in f32"), "it is not said why");
    CHECK(gen("f32", "full") == 0, "gen: f32 fails");
    CHECK_OK(ldm_npy_read_f32(in_folder("half.npy"), &a));
    CHECK_OK(ldm_npy_read_f32(in_folder("full.npy"), &b));
    double worst = 0, largest = 0; /* the text encoder, which did not overflow, stays f16: eleven bits of context */
    for (int64_t i = 0; a.data && b.data && i < ldm_shape_count(&a.shape); i++) {
        const double want = ((const float *)b.data)[i], off = fabs(((const float *)a.data)[i] - want);
        if (!(off <= worst)) worst = off;
        largest = fmax(largest, fabs(want));
    }
    CHECK(a.data && b.data && largest > 0 && worst <= largest / 100, "gen: made again is off by %g of %g", worst, largest);
    printf("nonfinite: made again in f32, the text encoder in f16: off by %.2g of %.2g\n", worst, largest);
    ldm_array_free(&a), ldm_array_free(&b);
    write_model(1e38f);
    CHECK(gen("f16", "none") == 4, "gen: NaN in f32 too: another exit status than 4");
    CHECK(says("step 1 of 4: ") && says("NaN or infinite"), "the step is not named");
    CHECK(access(in_folder("none.png"), F_OK) != 0 && access(in_folder("none.npy"), F_OK) != 0, "a file was written of NaN");
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "nonfinite");
    CASE("device") {
        CHECK_OK(ldm_cl_open(&(ldm_cl_options){.low_memory = false}, &cl));
        CHECK(mkdtemp(folder) != NULL, "%s cannot be made", folder);
    }
    if (cl) {
        CASE("the block that overflows is named") blames();
        CASE("nothing to blame; an input to blame") nothing();
        CASE("a step of a loop") loop();
        CASE("the tool makes f16 again in f32") tool();
        CASE("a pipeline makes f16 again in f32") pipeline();
    }
    ldm_cl_close(cl);
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) printf("%s stays\n", folder);
    return test_end();
}
