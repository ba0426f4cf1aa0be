/* product.c -- see product.h. */
#include "ops/product.h"
#include <string.h>

bool ldm_product_of(const ldm_problem *p, ldm_product *out) {
    return strcmp(p->op->name, "gemm") ? ldm_conv2d_product(p, out) : ldm_gemm_product(p, out);
}
