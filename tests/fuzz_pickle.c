/* fuzz_pickle.c -- any bytes as the data.pkl of a PyTorch archive that is right otherwise, CRC and all. */
#include "fuzz.h"
#define LLVMFuzzerTestOneInput parse_checkpoint
#define FUZZ_NO_SEEDS
#include "fuzz_ckpt.c"
#undef LLVMFuzzerTestOneInput

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes pickle = {.d = (uint8_t *)data, .n = size}, file = make_torch_of(&pickle, false);
    parse_checkpoint(file.d, file.n);
    bytes_free(&file);
    return 0;
}

bytes fuzz_seed(int i) {
    static const char *const sources[] = {
        P_BEGIN "'a' " P_GOOD P_END,
        "0x8002 } 0x7100 ( 'a' ] 0x7101 ( 1 -2 300 0x8a0a01020304050607080900 e 'b' 0x6801 'c' } 'd' " P_GOOD "s u .",
        "0x8004 0x950900000000000000 } 0x94 ( 0x8c0161 'torch' 'HalfStorage' 0x93 0x94 'x' 0x473ff0000000000000 'y' "
        "0x8f ( 1 0x90 u .",
        P_BEGIN "'p' @torch._utils._rebuild_parameter " P_GOOD
                "0x88 N 0x87 R 'o' @collections.OrderedDict ] ( 'k' 1 0x86 e 0x85 R "
                "'n' @numpy.dtype ( 'f8' 0x89 0x88 t R ( 3 '<' N t b " P_END,
        P_BEGIN "'strided' " P_TENSOR(P_STORAGE("HalfStorage", "1", "8"), "1", "( 2 3 t", "( 1 2 t") P_END,
    };
    if (i == 0) return assemble(good_pickle);
    return i <= (int)(sizeof sources / sizeof *sources) ? assemble(sources[i - 1]) : (bytes){0};
}
