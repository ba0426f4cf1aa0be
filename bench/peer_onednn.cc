/* peer_onednn.cc -- our conv2d, gemm and attention problems through oneDNN. Convolution: nhwc tags, any tags (reorders to
 * and from them not timed) and Winograd; gemm: plain row-major and any-format (prepacked) weights; attention: matmul +
 * softmax + matmul on heads that lie contiguously already. What it cannot fuse (a second input, the upsampling, a per-sample
 * vector) is left out, so its problem is the easier one. Bias, residual (sum) and activation are post-ops. */
#include "bench/peer.h"
#include <functional>
#include <unordered_map>
#include <vector>
#include <dnnl.hpp>

using namespace dnnl;
typedef memory::format_tag tag;

static engine cpu(engine::kind::cpu, 0);
static stream queue(cpu);
static std::vector<std::function<void()>> variants;
static std::vector<float *> owned;

static memory filled(const memory::desc &d) {
    owned.push_back(peer_floats(d.get_size() / sizeof(float)));
    return memory(d, cpu, owned.back());
}

static memory::desc f32(const memory::dims &dims, tag t) { return memory::desc(dims, memory::data_type::f32, t); }

/* Residual and activation as post-ops. */
static primitive_attr epilogue(const peer_problem *p) {
    post_ops ops;
    primitive_attr attr;
    if (peer_flag(p, "residual")) ops.append_sum(1.0f);
    if (peer_is(p, "act", "silu")) ops.append_eltwise(1.0f, algorithm::eltwise_swish, 1.0f, 0.0f);
    if (peer_is(p, "act", "relu")) ops.append_eltwise(1.0f, algorithm::eltwise_relu, 0.0f, 0.0f);
    if (peer_is(p, "act", "gelu")) ops.append_eltwise(1.0f, algorithm::eltwise_gelu_erf, 0.0f, 0.0f);
    attr.set_post_ops(ops);
    return attr;
}

static void conv(const peer_problem *p, peer_answer *a) {
    long n = peer_int(p, "n", 1), up = peer_int(p, "up", 1), c = peer_int(p, "c", 1) + peer_int(p, "c2", 0), k = peer_int(p, "k", 1);
    long h = peer_int(p, "h", 1) * up, w = peer_int(p, "w", 1) * up, r = peer_int(p, "r", 1), s = peer_int(p, "s", 1);
    long stride = peer_int(p, "stride", 1);
    long pt = peer_int(p, "pt", 0), pb = peer_int(p, "pb", 0), pl = peer_int(p, "pl", 0), pr = peer_int(p, "pr", 0);
    memory::dims x = {n, c, h, w}, wt = {k, c, r, s}, y = {n, k, (h + pt + pb - r) / stride + 1, (w + pl + pr - s) / stride + 1};
    memory::desc bias = f32({k}, tag::x);
    bool biased = peer_flag(p, "bias");
    struct { const char *name; algorithm alg; tag t; } kinds[] = {{"nhwc", algorithm::convolution_direct, tag::nhwc},
                                                                  {"any", algorithm::convolution_direct, tag::any},
                                                                  {"winograd_nhwc", algorithm::convolution_winograd, tag::nhwc},
                                                                  {"winograd_any", algorithm::convolution_winograd, tag::any}};
    for (auto &kind : kinds) {
        try {
            convolution_forward::desc d =
                biased ? convolution_forward::desc(prop_kind::forward_inference, kind.alg, f32(x, kind.t), f32(wt, tag::any), bias,
                                                   f32(y, kind.t), {stride, stride}, {pt, pl}, {pb, pr})
                       : convolution_forward::desc(prop_kind::forward_inference, kind.alg, f32(x, kind.t), f32(wt, tag::any), f32(y, kind.t),
                                                   {stride, stride}, {pt, pl}, {pb, pr});
            convolution_forward::primitive_desc pd(d, epilogue(p), cpu);
            std::unordered_map<int, memory> args = {{DNNL_ARG_SRC, filled(pd.src_desc())}, {DNNL_ARG_WEIGHTS, filled(pd.weights_desc())},
                                                    {DNNL_ARG_DST, filled(pd.dst_desc())}};
            if (biased) args.insert({DNNL_ARG_BIAS, filled(bias)});
            convolution_forward prim(pd);
            variants.push_back([prim, args]() { prim.execute(queue, args), queue.wait(); });
            snprintf(a->name[a->count++], 32, "%s", kind.name);
        } catch (error &) { /* Winograd exists for few shapes: the variant is absent */
        }
    }
    if (!a->count) snprintf(a->error, sizeof a->error, "no convolution");
}

static void gemm(const peer_problem *p, peer_answer *a) {
    long b = peer_int(p, "batch", 1), m = peer_int(p, "m", 1), n = peer_int(p, "n", 1), k = peer_int(p, "k", 1);
    long wb = peer_flag(p, "wbatch") ? b : 1;
    if (wb == 1) m *= b, b = 1;
    bool biased = peer_flag(p, "bias");
    memory::desc x = f32({b, m, k}, tag::abc), y = f32({b, m, n}, tag::abc), bias = f32({1, 1, n}, tag::abc);
    for (int any = 0; any < 2; any++) {
        memory::desc w = f32({wb, k, n}, any ? tag::any : peer_flag(p, "wkn") ? tag::abc : tag::acb);
        try {
            matmul::primitive_desc pd(biased ? matmul::desc(x, w, bias, y) : matmul::desc(x, w, y), epilogue(p), cpu);
            std::unordered_map<int, memory> args = {
                {DNNL_ARG_SRC, filled(x)}, {DNNL_ARG_WEIGHTS, filled(pd.weights_desc())}, {DNNL_ARG_DST, filled(y)}};
            if (biased) args.insert({DNNL_ARG_BIAS, filled(bias)});
            matmul prim(pd);
            variants.push_back([prim, args]() { prim.execute(queue, args), queue.wait(); });
            snprintf(a->name[a->count++], 32, any ? "any" : "plain");
        } catch (error &e) {
            snprintf(a->error, sizeof a->error, "matmul: status %d", (int)e.status);
        }
    }
    if (a->count) a->error[0] = 0;
}

static void attention(const peer_problem *p, peer_answer *a) {
    long b = peer_int(p, "n", 1) * peer_int(p, "heads", 1), nq = peer_int(p, "nq", 1), nkv = peer_int(p, "nkv", nq), d = peer_int(p, "d", 1);
    if (peer_is(p, "causal", "yes")) {
        snprintf(a->error, sizeof a->error, "causal attention is not compared");
        return;
    }
    memory q = filled(f32({b, nq, d}, tag::abc)), k = filled(f32({b, d, nkv}, tag::acb)), v = filled(f32({b, nkv, d}, tag::abc));
    memory s = filled(f32({b, nq, nkv}, tag::abc)), y = filled(f32({b, nq, d}, tag::abc));
    primitive_attr scaled;
    scaled.set_output_scales(0, {1.0f / __builtin_sqrtf((float)d)});
    matmul first(matmul::primitive_desc(matmul::desc(q.get_desc(), k.get_desc(), s.get_desc()), scaled, cpu));
    softmax_forward mid(
        softmax_forward::primitive_desc(softmax_forward::desc(prop_kind::forward_inference, s.get_desc(), 2), cpu));
    matmul last(matmul::primitive_desc(matmul::desc(s.get_desc(), v.get_desc(), y.get_desc()), cpu));
    variants.push_back([=]() {
        first.execute(queue, {{DNNL_ARG_SRC, q}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DST, s}});
        mid.execute(queue, {{DNNL_ARG_SRC, s}, {DNNL_ARG_DST, s}});
        last.execute(queue, {{DNNL_ARG_SRC, s}, {DNNL_ARG_WEIGHTS, v}, {DNNL_ARG_DST, y}});
        queue.wait();
    });
    snprintf(a->name[a->count++], 32, "three_calls");
}

static void peer_open(const peer_problem *p, peer_answer *a) {
    try {
        if (!strcmp(p->op, "conv2d")) conv(p, a);
        else if (!strcmp(p->op, "gemm")) gemm(p, a);
        else if (!strcmp(p->op, "attention")) attention(p, a);
        else snprintf(a->error, sizeof a->error, "only conv2d, gemm and attention");
    } catch (error &e) {
        a->count = 0;
        snprintf(a->error, sizeof a->error, "status %d", (int)e.status);
        peer_close();
    }
}

static void peer_once(int variant) { variants[(size_t)variant](); }

static void peer_close(void) {
    variants.clear();
    for (float *f : owned) free(f);
    owned.clear();
}

int main(int argc, char **argv) {
    const version_t *v = dnnl_version();
    if (argc > 1 && !strcmp(argv[1], "--core")) return printf("oneDNN %d.%d.%d\n", v->major, v->minor, v->patch), 0;
    return peer_main();
}
