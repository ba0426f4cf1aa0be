/* test_strips.c -- first stages whose maps lie in host memory and are made strip by strip: every step's bits are those of
 * the whole maps, for every row that makes convolutions and group norms, and the device holds what was planned, no more. */
#include "model/model.h"
#include "plan/verify.h"
#include "test.h"

static ldm_cl *cl;
static uint64_t seed = 7;

typedef struct network {
    const char *stage; /* configuration; NULL: the chain of convolutions below */
    bool encoder;
    ldm_dtype dtype;
    int64_t h, w;
    const char *impl;
} network;

/* 3x3 with two inputs, to twice the size, residual, halved with zeros below only, 1x1, resampling, concat: all that goes
 * through strips. */
static ldm_tensor chain(ldm_plan *p, ldm_tensor x, int64_t h, int64_t w) {
    const long long H = (long long)h, W = (long long)w;
    const ldm_shape f32x16 = ldm_shape_of(4, (int64_t)32, (int64_t)16, (int64_t)3, (int64_t)3),
                    f32x32 = ldm_shape_of(4, (int64_t)32, (int64_t)32, (int64_t)3, (int64_t)3),
                    f32x48 = ldm_shape_of(4, (int64_t)32, (int64_t)48, (int64_t)3, (int64_t)3);
#define W_OF(name, shape) ldm_plan_param(p, name, shape, LDM_FILL_WEIGHT, 1)
    ldm_tensor a = ldm_plan_emit(p, (ldm_tensor[]){x, LDM_NONE, W_OF("a", f32x16), LDM_NONE, LDM_NONE, LDM_NONE}, 6,
                                 "conv2d n=1 c=16 h=%lld w=%lld k=32 r=3 s=3 pt=1 pb=1 pl=1 pr=1", H, W);
    ldm_tensor b = ldm_plan_emit(p, (ldm_tensor[]){a, x, W_OF("b", f32x48), LDM_NONE, LDM_NONE, a}, 6,
                                 "conv2d n=1 c=32 c2=16 h=%lld w=%lld k=32 r=3 s=3 pt=1 pb=1 pl=1 pr=1 act=silu +residual", H, W);
    ldm_tensor c = ldm_plan_emit(p, (ldm_tensor[]){b, LDM_NONE, W_OF("c", f32x32), LDM_NONE, LDM_NONE, LDM_NONE}, 6,
                                 "conv2d n=1 c=32 h=%lld w=%lld k=32 r=3 s=3 up=2 pt=1 pb=1 pl=1 pr=1", H, W);
    c = ldm_plan_emit(p, (ldm_tensor[]){c, LDM_NONE, W_OF("d", f32x32), LDM_NONE, LDM_NONE, c}, 6,
                      "conv2d n=1 c=32 h=%lld w=%lld k=32 r=3 s=3 pt=1 pb=1 pl=1 pr=1 +residual", 2 * H, 2 * W);
    return ldm_plan_reshape(p, c, ldm_shape_of(4, (int64_t)1, 2 * h, 2 * w, (int64_t)32));
}

/* Strided and resampled, element by element: for rows of every kind. */
static ldm_tensor halves(ldm_plan *p, ldm_tensor x, int64_t h, int64_t w) {
    const long long H = (long long)h, W = (long long)w;
    ldm_tensor v = W_OF("v", ldm_shape_of(4, (int64_t)24, (int64_t)16, (int64_t)3, (int64_t)3)),
               u = W_OF("u", ldm_shape_of(4, (int64_t)24, (int64_t)24, (int64_t)1, (int64_t)1));
    ldm_tensor a = ldm_plan_emit(p, (ldm_tensor[]){x, LDM_NONE, v, LDM_NONE, LDM_NONE, LDM_NONE}, 6,
                                 "conv2d n=1 c=16 h=%lld w=%lld k=24 r=3 s=3 stride=2 pt=0 pb=1 pl=0 pr=1", H, W);
    a = ldm_plan_emit(p, (ldm_tensor[]){a, LDM_NONE, u, LDM_NONE, LDM_NONE, LDM_NONE}, 6,
                      "conv2d n=1 c=24 h=%lld w=%lld k=24 act=relu", H / 2, W / 2);
    ldm_tensor up = ldm_plan_emit(p, &a, 1, "upsample n=1 h=%lld w=%lld c=24", H / 2, W / 2);
    up = p->status ? LDM_NONE : ldm_plan_reshape(p, up, ldm_shape_of(4, (int64_t)1, h, w, (int64_t)24));
    ldm_tensor both = ldm_plan_emit(p, (ldm_tensor[]){up, x}, 2, "concat rows=%lld ca=24 cb=16", H * W);
    both = p->status ? LDM_NONE : ldm_plan_reshape(p, both, ldm_shape_of(4, (int64_t)1, h, w, (int64_t)40));
    both = ldm_plan_emit(p, &both, 1, "activation count=%lld fn=gelu", H * W * 40);
    both = ldm_plan_emit(p, (ldm_tensor[]){both, both}, 2, "add count=%lld", H * W * 40);
    both = ldm_plan_emit(p, &both, 1, "avg_pool n=1 h=%lld w=%lld c=40", H, W);
    return p->status ? LDM_NONE : ldm_plan_reshape(p, both, ldm_shape_of(4, (int64_t)1, h / 2, w / 2, (int64_t)40));
}

/* Small maps have a row of group norm that makes them whole: it is not what large ones take. */
static const char *rows_of(const network *n) {
    const bool large = n->stage && !strchr(n->stage, '=');
    const bool cpu = ldm_cl_device(cl)->type == LDM_DEVICE_CPU;
    return n->impl ? n->impl : large ? NULL : cpu ? "group_norm=group_norm_cpu" : "group_norm=group_norm_gpu";
}

static ldm_plan *plan_of(const network *n, size_t most, size_t strips) {
    ldm_plan *p = NULL;
    ldm_stage_config c = {0};
    const ldm_device *d = ldm_cl_device(cl);
    const bool named = n->stage && strchr(n->stage, '=');
    if (named) CHECK_OK(ldm_stage_config_parse(n->stage, &c));
    else if (n->stage && *n->stage) c = *ldm_stage_find(n->stage);
    CHECK_OK(ldm_plan_create(n->dtype, n->dtype, &p));
    const int64_t channels = !n->stage || !*n->stage ? 16 : n->encoder ? 3 : ldm_stage_latent_channels(&c);
    ldm_tensor x = ldm_plan_cast(p, ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, n->h, n->w, channels)), n->dtype);
    ldm_tensor y = !n->stage      ? chain(p, x, n->h, n->w)
                   : !*n->stage   ? halves(p, x, n->h, n->w)
                   : n->encoder   ? ldm_stage_emit_encoder(p, &c, x)
                                  : ldm_stage_emit_decoder(p, &c, x);
    ldm_plan_output(p, ldm_plan_cast(p, y, LDM_F32), "y");
    CHECK_OK(ldm_plan_fuse(p));
    CHECK_OK(ldm_plan_spill(p, d, rows_of(n), most, strips));
    CHECK_OK(ldm_plan_finish(p, d->max_alloc, d->base_align));
    return p;
}

/* A hash of every step's result. */
typedef struct digests {
    uint64_t step[400];
    int count;
} digests;

static ldm_status each(void *user, const ldm_verify_report *r) {
    digests *d = user;
    if (d->count < 400) d->step[d->count++] = r->digest;
    return LDM_OK;
}

/* Runs a network; device bytes at most, and what was planned. */
static size_t run(const network *n, size_t most, size_t strips, digests *out, ldm_memory *m) {
    ldm_plan *p = plan_of(n, most, strips);
    ldm_source w = ldm_source_synthetic(&seed);
    ldm_exec *e = NULL;
    size_t bytes = 0;
    float *x = NULL;
    const size_t before = ldm_cl_bytes(cl);
    out->count = 0;
    if (!rows_of(n)) CHECK_OK(ldm_exec_memory(p, ldm_cl_device(cl), &w, m));
    const ldm_memory planned = *m;
    CHECK_OK(ldm_exec_create(cl, p, &w, rows_of(n), &e));
    const ldm_tensor in = ldm_plan_find(p, "x");
    const int64_t count = ldm_shape_count(&ldm_plan_tensor(p, in)->shape);
    CHECK_OK(ldm_alloc((size_t)count * sizeof *x, (void **)&x));
    for (int64_t i = 0; i < count; i++) x[i] = ldm_uniform(1, 2, (uint64_t)i);
    if (e) {
        CHECK_OK(ldm_exec_write(e, in, x));
        CHECK_OK(ldm_plan_verify(p, e, 0, &(ldm_verify_options){.judge = false, .each = each, .user = out}));
        CHECK(out->count == p->steps, "%d of %d steps", out->count, p->steps);
        bytes = ldm_cl_bytes(cl) - before;
        *m = ldm_exec_taken(e);
        CHECK(rows_of(n) || (m->weights == planned.weights && m->activations == planned.activations && m->scratch == planned.scratch &&
                             m->host == planned.host && m->striped == planned.striped),
              "what was planned is not what is taken");
        CHECK(bytes == m->weights + m->activations + m->scratch, "%zu bytes allocated, %zu planned", bytes,
              m->weights + m->activations + m->scratch);
        ldm_exec_destroy(e);
        CHECK(ldm_cl_bytes(cl) == before, "%zu bytes stay", ldm_cl_bytes(cl) - before);
    }
    free(x);
    ldm_plan_destroy(p);
    return bytes;
}

static void same(const network *n, size_t most, size_t strips, int least) {
    static digests whole, cut;
    ldm_memory m[2] = {{0}};
    run(n, 0, 0, &whole, &m[0]);
    run(n, most, strips, &cut, &m[1]);
    CHECK(m[0].striped == 0 && m[1].striped >= least, "%d steps in strips, wanted %d", m[1].striped, least);
    CHECK(m[1].activations < m[0].activations && m[1].host > most, "activations: %zu bytes, %zu in strips; %zu in host memory",
          m[0].activations, m[1].activations, m[1].host);
    int differ = 0, first = -1;
    for (int i = 0; i < whole.count; i++)
        if (whole.step[i] != cut.step[i] && !differ++) first = i;
    CHECK(whole.count == cut.count && !differ, "%s %s: %d of %d steps have other bits, the first is %d",
          n->stage ? n->stage : "chain", n->impl ? n->impl : "", differ, whole.count, first);
}

/* Group norm over the rows of one half is not that over the map: what a strip would give that knew only itself. */
static void half(void) {
    static digests whole, part;
    ldm_memory m;
    const network n[] = {{"kind=kl ch=32 ch_mult=1,2 num_res_blocks=1 z_channels=4", false, LDM_F32, 16, 8, NULL},
                         {"kind=kl ch=32 ch_mult=1,2 num_res_blocks=1 z_channels=4", false, LDM_F32, 8, 8, NULL}};
    run(&n[0], 0, 0, &whole, &m);
    run(&n[1], 0, 0, &part, &m);
    CHECK(whole.count == part.count && whole.step[whole.count - 1] != part.step[part.count - 1], "a digest sees no difference");
}

/* A 1024 x 1024 decode of kl-f8 takes at most 0.6 GB beside its weights, f32; too small a strip is refused with the step. */
static void planned(void) {
    const ldm_device *d = ldm_cl_device(cl);
    const network n = {"kl-f8", false, LDM_F32, 128, 128, NULL};
    ldm_memory m = {0};
    ldm_plan *p = plan_of(&n, 64 << 20, 128 << 20);
    CHECK_OK(ldm_exec_memory(p, d, NULL, &m));
    CHECK(m.activations + m.scratch <= 600000000 && m.striped > 20, "%zu bytes of activations, %zu of scratch, %d steps in strips",
          m.activations, m.scratch, m.striped);
    CHECK_OK(ldm_plan_spill(p, d, NULL, 64 << 20, 1 << 16));
    CHECK_OK(ldm_plan_finish(p, d->max_alloc, d->base_align));
    CHECK(ldm_exec_memory(p, d, NULL, &m) == LDM_ERR_NOMEM && strstr(ldm_message(), "decoder."), "64 KiB do for a strip: %s",
          ldm_message());
    CHECK_OK(ldm_plan_spill(p, d, NULL, 0, 0));
    CHECK_OK(ldm_plan_finish(p, d->max_alloc, d->base_align));
    CHECK_OK(ldm_exec_memory(p, d, NULL, &m));
    CHECK(m.activations > 2000000000 && !m.striped && !m.host, "not whole again: %zu bytes", m.activations);
    ldm_plan_destroy(p);
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "strips");
    CASE("device") CHECK_OK(ldm_cl_open(&(ldm_cl_options){.low_memory = false}, &cl));
    if (!cl) return test_end();
    static const char kl[] = "kind=kl ch=32 ch_mult=1,2 num_res_blocks=1 z_channels=4";
    CASE("a KL decoder, f32") {
        same(&(network){kl, false, LDM_F32, 24, 20, NULL}, 1 << 16, 9 << 15, 15);
        same(&(network){kl, false, LDM_F32, 19, 23, NULL}, 1 << 16, 5 << 16, 10);
        same(&(network){kl, false, LDM_F32, 40, 16, NULL}, 1 << 17, 5 << 16, 10);
    }
    CASE("a KL decoder, f16") same(&(network){kl, false, LDM_F16, 24, 20, NULL}, 1 << 16, 1 << 17, 10);
    CASE("a KL encoder") same(&(network){kl, true, LDM_F32, 98, 60, NULL}, 1 << 17, 5 << 16, 10);
    CASE("a VQ decoder") {
        same(&(network){"kind=vq ch=32 ch_mult=1,2 num_res_blocks=1 z_channels=3 n_embed=64", false, LDM_F32, 20, 20, NULL}, 1 << 15,
             1 << 18, 10);
    }
    const bool cpu = cl && ldm_cl_device(cl)->type == LDM_DEVICE_CPU; /* rows for GPUs take more scratch than these strips may */
    CASE("the tiny autoencoder") {
        if (cpu) {
            same(&(network){"taesd", false, LDM_F32, 16, 16, NULL}, 1 << 18, 7 << 17, 10);
            same(&(network){"taesd", true, LDM_F32, 128, 72, NULL}, 1 << 18, 1 << 19, 5);
        } else SKIP("its budget is for rows of CPUs");
    }
    static const char *const rows[] = {"conv2d=conv2d_tile",           "conv2d=conv2d_plain",          "conv2d=conv2d_gpu",
                                       "conv2d=conv2d_winograd",       "conv2d=conv2d_winograd_gpu",
                                       "conv2d=conv2d_winograd_inplace", "conv2d=conv2d_winograd_few", NULL};
    for (int i = 0; rows[i]; i++) {
        CASE(rows[i]) {
            same(&(network){NULL, false, LDM_F32, 33, 30, rows[i]}, 1 << 15, 3 << 17, 4);
            if (!strstr(rows[i], "winograd")) same(&(network){"", false, LDM_F32, 46, 30, rows[i]}, 1 << 14, 1 << 17, 6);
        }
    }
    CASE("rows for GPUs") {
        same(&(network){kl, false, LDM_F32, 24, 20, "conv2d=conv2d_gpu,group_norm=group_norm_gpu"}, 1 << 17, 1 << 19, 8);
    }
    CASE("kl-f8 at 256 x 256") {
        if (cpu) same(&(network){"kl-f8", false, LDM_F32, 32, 32, NULL}, 1 << 22, 1 << 23, 20);
        else SKIP("its budget is for rows of CPUs");
    }
    CASE("a half is not the whole") half();
    CASE("kl-f8 at 1024 x 1024, planned") planned();
    ldm_cl_close(cl);
    return test_end();
}
