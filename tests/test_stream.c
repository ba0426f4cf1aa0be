/* test_stream.c -- weights that come to the device in groups while steps run: over several rounds the bits of every step
 * are those of weights that stay, the device holds what it may and no more, transfers and kernels overlap in time, and a
 * run that is broken off in the middle of a group leaves nothing wrong behind. */
#include "model/model.h"
#include "plan/verify.h"
#include "test.h"

enum { SIDE = 16, CHANNELS = 4, TOKENS = 3, CONTEXT = 32, WIDTH = 64, ROUNDS = 4, COUNT = SIDE * SIDE * CHANNELS };
static ldm_cl *cl;
static uint64_t seed = 3;

static ldm_plan *unet(ldm_dtype wdtype, size_t weight_bytes) {
    ldm_plan *p = NULL;
    ldm_unet_config u;
    const ldm_device *d = ldm_cl_device(cl);
    CHECK_OK(ldm_unet_config_parse("in_channels=4 out_channels=4 model_channels=64 num_res_blocks=1 channel_mult=1,2,2 "
                                   "attention_resolutions=2 num_heads=2 use_spatial_transformer=1 context_dim=32",
                                   &u));
    CHECK_OK(ldm_plan_create(LDM_F32, wdtype, &p));
    ldm_tensor context = ldm_plan_input(p, "context", LDM_F32, ldm_shape_of(3, (int64_t)1, (int64_t)TOKENS, (int64_t)CONTEXT));
    p->segment = 1;
    ldm_tensor x = ldm_plan_input(p, "x", LDM_F32, ldm_shape_of(4, (int64_t)1, (int64_t)SIDE, (int64_t)SIDE, (int64_t)CHANNELS));
    ldm_tensor temb = ldm_plan_input(p, "temb", LDM_F32, ldm_shape_of(2, (int64_t)1, (int64_t)WIDTH));
    ldm_tensor y = ldm_unet_emit(p, &u, x, temb, context, LDM_NONE, LDM_NONE);
    ldm_plan_emit_into(p, x, (ldm_tensor[]){x, y}, 2, "add count=%d", COUNT);
    ldm_plan_output(p, y, "y");
    CHECK_OK(ldm_plan_fuse(p)); /* keys and values of the context go to segment 0, which has weights of its own */
    p->weight_bytes = weight_bytes;
    CHECK_OK(ldm_plan_finish(p, d->max_alloc, d->base_align));
    return p;
}

static void feed(ldm_exec *e) {
    const ldm_plan *p = ldm_exec_plan(e);
    float data[COUNT];
    for (int i = 0; i < COUNT; i++) data[i] = ldm_uniform(8, 1, (uint64_t)i);
    CHECK_OK(ldm_exec_write(e, ldm_plan_find(p, "x"), data));
    CHECK_OK(ldm_exec_write(e, ldm_plan_find(p, "temb"), data));
    CHECK_OK(ldm_exec_write(e, ldm_plan_find(p, "context"), data));
}

/* The output after each round, enqueued as the loop does it: waiting once a round. */
static void rounds(ldm_exec *e, bool broken_off, float y[ROUNDS][COUNT]) {
    feed(e);
    CHECK_OK(ldm_exec_run(e, 0));
    if (broken_off) {
        const ldm_plan *p = ldm_exec_plan(e);
        for (int i = 0; i < p->steps / 2; i++)
            if (p->step[i].segment == 1) CHECK_OK(ldm_exec_run_step(e, i));
    }
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(ldm_exec_run(e, 1));
        CHECK_OK(ldm_exec_read(e, ldm_plan_find(ldm_exec_plan(e), "y"), y[i]));
    }
}

static ldm_exec *create(const ldm_plan *p, ldm_memory *m) {
    ldm_source w = ldm_source_synthetic(&seed);
    ldm_exec *e = NULL;
    const size_t before = ldm_cl_bytes(cl);
    CHECK_OK(ldm_exec_memory(p, ldm_cl_device(cl), &w, m));
    CHECK_OK(ldm_exec_create(cl, p, &w, NULL, &e));
    CHECK(ldm_cl_bytes(cl) - before == m->weights + m->activations + m->scratch, "%zu bytes allocated, %zu planned",
          ldm_cl_bytes(cl) - before, m->weights + m->activations + m->scratch);
    return e;
}

static void streamed(ldm_dtype wdtype) {
    static float want[ROUNDS][COUNT], got[ROUNDS][COUNT];
    ldm_memory all, m;
    ldm_plan *p = unet(wdtype, 0);
    ldm_exec *e = create(p, &all);
    if (e) rounds(e, false, want);
    CHECK(all.groups == 0 && all.streamed == 0, "%d groups without a limit", all.groups);
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
    int kinds = 0;
    for (int part = 1; part <= 7; part++) { /* of eight */
        const size_t limit = all.weights * (size_t)part / 8;
        p = unet(wdtype, limit);
        ldm_source w = ldm_source_synthetic(&seed);
        if (ldm_exec_memory(p, ldm_cl_device(cl), &w, &m)) {
            CHECK(strstr(ldm_message(), "two slots") && part <= 2, "%d/8: %s", part, ldm_message());
        } else {
            e = create(p, &m);
            CHECK(m.weights <= limit && m.groups > 1, "%zu bytes of weights, %zu may be, %d groups", m.weights, limit, m.groups);
            for (int broken = 0; broken < 2 && e; broken++) {
                memset(got, 0, sizeof got);
                rounds(e, broken, got);
                CHECK(!memcmp(want, got, sizeof want), "%d/8: other bits than with weights that stay%s", part,
                      broken ? ", once a run was broken off" : "");
            }
            ldm_exec_destroy(e);
            kinds++;
        }
        ldm_plan_destroy(p);
    }
    CHECK(kinds >= 4, "only %d limits were possible", kinds);
}

/* Seconds in which a transfer was under way while a step ran, in the last round. */
static void overlap(void) {
    ldm_memory all, m;
    static float y[ROUNDS][COUNT];
    ldm_plan *p = unet(LDM_F32, 0);
    CHECK_OK(ldm_exec_memory(p, ldm_cl_device(cl), NULL, &all));
    ldm_plan_destroy(p);
    ldm_cl *profiled = NULL, *usual = cl;
    CHECK_OK(ldm_cl_open(&(ldm_cl_options){.profile = true}, &profiled));
    if (!profiled) return;
    cl = profiled;
    p = unet(LDM_F32, all.weights / 2);
    ldm_exec *e = create(p, &m);
    double both = 0, transfers = 0, start, end, from, to;
    int seen = 0;
    if (e) rounds(e, false, y);
    for (int tries = 0; e && tries < 100 && both == 0; tries++) { /* where it falls is the driver's and the machine's doing */
        CHECK_OK(ldm_exec_run(e, 1));
        CHECK_OK(ldm_exec_finish(e));
        transfers = seen = 0;
        for (int g = 0; g < m.groups; g++) {
            size_t bytes;
            if (!ldm_exec_transfer_span(e, g, &start, &end, &bytes)) continue;
            CHECK(end >= start && bytes > 0, "group %d ends before it starts", g);
            transfers += end - start, seen++;
            for (int i = 0; i < p->steps; i++)
                if (ldm_exec_step_span(e, i, &from, &to) && to > start && from < end)
                    both += (to < end ? to : end) - (from > start ? from : start);
        }
    }
    CHECK(seen > 1 && transfers > 0, "%d transfers are timed", seen);
    printf("stream: %.3f ms of transfers, %.3f ms of them while steps ran\n", transfers * 1e3, both * 1e3);
    CHECK(both > 0, "no transfer ran beside a step");
    ldm_exec_destroy(e);
    ldm_plan_destroy(p);
    ldm_cl_close(profiled);
    cl = usual;
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "stream");
    CASE("device") CHECK_OK(ldm_cl_open(&(ldm_cl_options){.low_memory = false}, &cl));
    if (cl) {
        CASE("weights of floats") streamed(LDM_F32);
        CASE("weights of halves") streamed(LDM_F16);
        CASE("transfers beside kernels") overlap();
    }
    ldm_cl_close(cl);
    return test_end();
}
