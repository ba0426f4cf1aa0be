/* library.c -- CLBlast as a launch.
 *   clblast_gemm  args: slot a, slot b, slot c, int m, n, k, int b_transposed, int batch, int stride_a, stride_b,
 * stride_c, float beta;  c[i] = a[i] b[i](^T) + beta c[i], row-major f32, i < batch. */
#include "cl/library.h"
#include <clblast_c.h>
#include <string.h>

bool ldm_library_knows(const char *kernel) { return !strcmp(kernel, "clblast_gemm"); }

ldm_status ldm_library_enqueue(ldm_cl *cl, const ldm_launch *l, const cl_mem *mem, const size_t *at,
                               cl_event *event) {
    const size_t x = at[0] / sizeof(float), w = at[1] / sizeof(float), y = at[2] / sizeof(float);
    const ldm_arg *a = l->arg;
    size_t m = (size_t)a[3].i, n = (size_t)a[4].i, k = (size_t)a[5].i, batch = (size_t)a[7].i;
    bool bt = a[6].i != 0;
    CLBlastStatusCode s;
    if (batch == 1)
        s = CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, bt ? CLBlastTransposeYes : CLBlastTransposeNo, m, n,
                         k, 1.0f, mem[0], x, k, mem[1], w, bt ? k : n, (float)a[11].f, mem[2], y, n, &cl->queue, event);
    else
        s = CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, CLBlastTransposeNo,
                                       bt ? CLBlastTransposeYes : CLBlastTransposeNo, m, n, k, 1.0f, mem[0], x, k,
                                       (size_t)a[8].i, mem[1], w, bt ? k : n, (size_t)a[9].i, (float)a[11].f, mem[2], y,
                                       n, (size_t)a[10].i, batch, &cl->queue, event);
    if (s != CLBlastSuccess) return ldm_fail(LDM_ERR_CL, "CLBlast gemm m=%zu n=%zu k=%zu: status %d", m, n, k, (int)s);
    return LDM_OK;
}
