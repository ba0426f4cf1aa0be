/* peer_openblas.c -- our gemm and 1x1-convolution problems through OpenBLAS's sgemm: weights as they are ([n,k],
 * transposed) and once more transposed beforehand, the better counts. Bias and residual are left out: easier than ours.
 * `--core` prints which kernels the library chose (it may not know a new CPU; OPENBLAS_CORETYPE overrides). */
#include "bench/peer.h"
#include <cblas.h>

static long batch, m, n, k;
static float *a, *b, *c;
static int b_is_kn;

static void peer_open(const peer_problem *p, peer_answer *r) {
    int conv = !strcmp(p->op, "conv2d");
    if (conv && (peer_int(p, "r", 1) != 1 || peer_int(p, "s", 1) != 1 || peer_int(p, "stride", 1) != 1 || peer_int(p, "up", 1) != 1)) {
        snprintf(r->error, sizeof r->error, "only 1x1 convolutions are a gemm");
        return;
    }
    if (!conv && strcmp(p->op, "gemm")) {
        snprintf(r->error, sizeof r->error, "only gemm");
        return;
    }
    batch = conv ? 1 : peer_int(p, "batch", 1);
    m = conv ? peer_int(p, "n", 1) * peer_int(p, "h", 1) * peer_int(p, "w", 1) : peer_int(p, "m", 1);
    n = conv ? peer_int(p, "k", 1) : peer_int(p, "n", 1);
    k = conv ? peer_int(p, "c", 1) + peer_int(p, "c2", 0) : peer_int(p, "k", 1);
    b_is_kn = !conv && peer_flag(p, "wkn");
    long weights = !conv && peer_flag(p, "wbatch") ? batch : 1;
    if (weights == 1) m *= batch, batch = 1; /* one weight: a batch is more rows */
    a = peer_floats((size_t)(batch * m * k));
    b = peer_floats((size_t)(weights * n * k));
    c = peer_floats((size_t)(batch * m * n));
    snprintf(r->name[r->count++], 32, b_is_kn ? "sgemm" : "sgemm_nt");
    if (!b_is_kn) snprintf(r->name[r->count++], 32, "sgemm_nn");
}

static void peer_once(int variant) {
    int transposed = !b_is_kn && variant == 0;
    for (long i = 0; i < batch; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a + i * m * k, (int)k,
                    b + i * n * k, transposed ? (int)k : (int)n, 0.0f, c + i * m * n, (int)n);
}

static void peer_close(void) { free(a), free(b), free(c); }

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--core")) return printf("%s %s\n", openblas_get_corename(), openblas_get_config()), 0;
    return peer_main();
}
