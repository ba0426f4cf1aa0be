/* fuzz_npy.c -- any bytes as a NumPy array. */
#include "fuzz.h"
#include "io/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ldm_array a = {0};
    if (!FUZZ(ldm_npy_parse(data, size, "file", &a))) return 0;
    size_t n = (size_t)ldm_shape_count(&a.shape);
    if (n * ldm_dtype_size(a.dtype) > size) abort();
    float *v = malloc(n * sizeof *v + 1);
    if (v) ldm_to_f32(a.dtype, a.data, n, v);
    free(v);
    ldm_array_free(&a);
    return 0;
}

bytes fuzz_seed(int i) {
    switch (i) {
    case 0:
        return make_npy(good_npy, 24);
    case 1:
        return make_npy("{\"shape\":(5,),'fortran_order':False,'descr':'|b1'}", 5);
    case 2:
        return make_npy("{'descr': '<f2', 'fortran_order': False, 'shape': (), }\n", 2);
    case 3:
        return make_npy("{'descr': '<i8', 'fortran_order': False, 'shape': (0, 4, 1, 1, 1, 1, 1, 2), }", 0);
    }
    return (bytes){0};
}
