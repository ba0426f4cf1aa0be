/* test_malformed.c -- wrong .safetensors, .npy and .png files, and files of other families. */
#include "refuse.h"

/* ---- safetensors ---- */

#define ENTRY(name, dtype, shape, offsets)                                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *name, *header;
    size_t data;
    const char *why;
} bad_headers[] = {
    {"not an object", "[]", 0, "neither"},
    {"leading space", " {}", 0, "neither"},
    {"number", "{\"a\":1}", 0, "tensor a"},
    {"text", "{\"a\":\"x\"}", 0, "tensor a"},
    {"null", "{\"a\":null}", 0, "tensor a"},
    {"list", "{\"a\":[]}", 0, "tensor a"},
    {"empty entry", "{\"a\":{}}", 0, "tensor a"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a"},
    {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor a"},
    {"no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor a"},
    {"one key more", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "exactly"},
    {"unknown dtype", "{" ENTRY("a", "F31", "[1]", "[0,4]") "}", 4, "F31"},
    {"dtype we do not read", "{" ENTRY("a", "F8_E4M3", "[4]", "[0,4]") "}", 4, "F8_E4M3"},
    {"lower-case dtype", "{" ENTRY("a", "f32", "[1]", "[0,4]") "}", 4, "f32"},
    {"dtype is a number", "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a"},
    {"shape is text", "{" ENTRY("a", "F32", "\"1\"", "[0,4]") "}", 4, "tensor a"},
    {"negative dimension", "{" ENTRY("a", "F32", "[-1]", "[0,4]") "}", 4, "dimension 0"},
    {"fractional dimension", "{" ENTRY("a", "F32", "[1.0]", "[0,4]") "}", 4, "dimension 0"},
    {"nested dimension", "{" ENTRY("a", "F32", "[[1]]", "[0,4]") "}", 4, "nests deeper"},
    {"nine dimensions", "{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "9 dimensions"},
    {"dimension past 64 bits", "{" ENTRY("a", "F32", "[99999999999999999999]", "[0,4]") "}", 4, "integer"},
    {"wrapping product", "{" ENTRY("a", "F32", "[4194305,4194305,211106198978564]", "[0,16]") "}", 16, "tensor a"},
    {"wrapping bytes", "{" ENTRY("a", "F64", "[2305843009213693952]", "[0,0]") "}", 0, "tensor a"},
    {"negative product", "{" ENTRY("a", "F32", "[9223372036854775807,2,1,1]", "[0,4]") "}", 4, "tensor a"},
    {"too few bytes", "{" ENTRY("a", "F32", "[2]", "[0,4]") "}", 4, "[2] does not take the 4 bytes"},
    {"too many bytes", "{" ENTRY("a", "F32", "[1]", "[0,8]") "}", 8, "does not take the 8 bytes"},
    {"past the end", "{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 4, "4 bytes of data begin at byte"},
    {"far past the end", "{" ENTRY("a", "U8", "[4611686018427387904]", "[0,4611686018427387904]") "}", 4, "tensor a"},
    {"end before begin", "{" ENTRY("a", "F32", "[1]", "[4,0]") "}", 4, "tensor a"},
    {"negative begin", "{" ENTRY("a", "F32", "[1]", "[-4,0]") "}", 4, "tensor a"},
    {"three offsets", "{" ENTRY("a", "F32", "[1]", "[0,4,8]") "}", 4, "two counts"},
    {"one offset", "{" ENTRY("a", "F32", "[1]", "[4]") "}", 4, "two counts"},
    {"text offsets", "{" ENTRY("a", "F32", "[1]", "[\"0\",\"4\"]") "}", 4, "two counts"},
    {"fractional offsets", "{" ENTRY("a", "F32", "[1]", "[0.0,4e0]") "}", 4, "two counts"},
    {"tail of no tensor", "{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 5, "belong to no tensor"},
    {"data of no tensor", "{}", 5, "5 bytes from byte 10 on belong to no tensor"},
    {"hole at the start", "{" ENTRY("a", "F32", "[1]", "[4,8]") "}", 8, "tensor a: begins at byte"},
    {"hole", "{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[8,12]") "}", 12, "hole"},
    {"overlap", "{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[1]", "[4,8]") "}", 8, "overlapping"},
    {"the same bytes twice", "{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[0,4]") "}", 4,
     "overlapping"},
    {"tensor twice", "{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("a", "U8", "[4]", "[0,4]") "}", 4, "uplicate"},
    {"tensor twice, spelt apart", "{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("\\u0061", "U8", "[4]", "[0,4]") "}",
     4, "uplicate"},
    {"key twice", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "uplicate"},
    {"metadata key twice", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "uplicate"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "uplicate"},
    {"metadata number", "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ entry a"},
    {"metadata object", "{\"__metadata__\":{\"a\":{}}}", 0, "__metadata__ entry a"},
    {"metadata list", "{\"__metadata__\":[]}", 0, "__metadata__"},
    {"empty name", "{" ENTRY("", "F32", "[1]", "[0,4]") "}", 4, "name"},
    {"NUL in a name", "{" ENTRY("a\\u0000b", "F32", "[1]", "[0,4]") "}", 4, "header, byte"},
    {"lone surrogate", "{" ENTRY("\\ud800", "F32", "[1]", "[0,4]") "}", 4, "header, byte"},
    {"bytes that are not UTF-8", "{" ENTRY("\xff", "F32", "[1]", "[0,4]") "}", 4, "UTF-8"},
    {"overlong UTF-8", "{" ENTRY("\xc0\x80", "F32", "[1]", "[0,4]") "}", 4, "UTF-8"},
    {"unclosed", "{" ENTRY("a", "F32", "[1]", "[0,4]"), 4, "header, byte"},
    {"trailing comma", "{" ENTRY("a", "F32", "[1]", "[0,4]") ",}", 4, "header, byte"},
    {"two documents", "{}{}", 0, "header, byte"},
    {"single quotes", "{'a':1}", 0, "header, byte"},
    {"comment", "{}//x", 0, "header, byte"},
    {"NaN", "{\"a\":NaN}", 0, "header, byte"},
};

static bytes repeated(const char *head, const char *item, size_t times, const char *tail) {
    bytes b = {0};
    put_text(&b, head);
    for (size_t i = 0; i < times; i++) put_text(&b, item);
    put_text(&b, tail);
    return b;
}

static bytes framed(bytes header, size_t data) {
    bytes b = {0};
    put_le(&b, header.n, 8), put(&b, header.d, header.n), put_ramp(&b, data);
    bytes_free(&header);
    return b;
}

static void safetensors(void) {
    CASE("safetensors: headers that are wrong") {
        for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++)
            refuse(CKPT, bad_headers[i].name, make_safetensors(bad_headers[i].header, bad_headers[i].data),
                   bad_headers[i].why);
    }
    CASE("safetensors: lengths that are wrong") {
        static const uint64_t lengths[] = {0,          1,          1000,       100000001,      1ull << 31,
                                           1ull << 32, 1ull << 62, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            bytes b = make_safetensors("{} ", 0);
            set_le(&b, 0, lengths[i], 8);
            refuse(CKPT, "header length", b, "header of");
        }
    }
    CASE("safetensors: large headers cost little") {
        bytes many = {0}, wide = {0};
        put_text(&many, "{");
        for (int i = 0; i < 150000; i++) {
            char entry[100];
            put(&many, entry,
                (size_t)snprintf(entry, sizeof entry,
                                 "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}", i ? "," : "", i));
        }
        put_text(&many, "}");
        refuse(CKPT, "150,000 tensors over one region", framed(many, 4), "more than 65536 tensors");
        refuse(CKPT, "deep nesting", framed(repeated("{\"a\":", "[", 1000000, ""), 0), "nests deeper");
        refuse(CKPT, "two million values", framed(repeated("{\"a\":[0", ",0", 2000000, "]}"), 0),
               "more than 65536 tensors");
        put_text(&wide, "{\"");
        for (int i = 0; i < 2000; i++) put_text(&wide, "x");
        put_text(&wide, "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}");
        refuse(CKPT, "long name", framed(wide, 4), "2000 bytes");
    }
    CASE("safetensors: every truncation") {
        bytes whole =
            make_safetensors("{" ENTRY("a.weight", "F32", "[8,16]", "[0,512]") "," ENTRY(
                                 "b", "F16", "[100]", "[512,712]") "," ENTRY("c", "U8", "[150]", "[712,862]") "}",
                             862);
        CHECK(parse(CKPT, &whole) == LDM_OK && whole.n >= 1024, "the whole file of %zu bytes: %s", whole.n,
              ldm_message());
        cut_everywhere(CKPT, &whole);
        put_text(&whole, "x");
        refuse(CKPT, "one byte more", whole, "belong to no tensor");
    }
    CASE("safetensors: every header byte changed") {
        bytes b = make_safetensors(good_safetensors, GOOD_SAFETENSORS_DATA);
        int total = 3 * (int)(b.n - GOOD_SAFETENSORS_DATA),
            refused = change_every_byte(CKPT, &b, 0, b.n - GOOD_SAFETENSORS_DATA, 3);
        CHECK(refused > total * 3 / 4, "only %d of %d changes were refused", refused, total);
        bytes_free(&b);
    }
    CASE("other families of files are named") {
        static const struct {
            const char *name, *head;
            size_t n;
            const char *why;
        } other[] = {{"stacked pickles", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 16, "before 1.6"},
                     {"GGUF", "GGUF\3\0\0\0\0\0\0\0", 12, "GGUF"},
                     {"HDF5", "\x89HDF\r\n\x1a\n", 8, "HDF5"},
                     {"gzip", "\x1f\x8b\x08\0\0\0\0\0\0\0", 10, "gzip"},
                     {"pickle", "\x80\x04N.", 4, "bare pickle"},
                     {"LFS pointer", "version https://git-lfs.github.com/spec/v1", 42, "git lfs pull"},
                     {"web page", "<!DOCTYPE html>", 15, "web page"},
                     {"empty", "", 0, "0 bytes"}};
        for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
            bytes b = {0};
            put(&b, other[i].head, other[i].n);
            refuse(CKPT, other[i].name, b, other[i].why);
        }
        bytes tar = {0}, pickled = {0};
        put_ramp(&tar, 512);
        memcpy(tar.d + 257, "ustar", 5), tar.d[8] = 0;
        refuse(CKPT, "tar", tar, "tar archive");
        put(&pickled, "\x80\x02}.\0\0\0\0{}",
            10); /* a length prefix that is a pickle: framed as safetensors all the same */
        refuse(CKPT, "pickle in a length", pickled, "header of");
        ldm_ckpt *c = NULL;
        CHECK(ldm_ckpt_open("/", &c) == LDM_ERR_FORMAT && ldm_ckpt_open("/dev/zero", &c) == LDM_ERR_FORMAT &&
                  ldm_ckpt_open("/nonexistent", &c) == LDM_ERR_FORMAT,
              "a folder, a device or nothing was opened");
    }
}

/* ---- npy and png ---- */

static const struct {
    const char *name, *header;
    size_t data;
    const char *why;
} bad_npy[] = {
    {"no dictionary", "", 0, "dictionary"},
    {"list", "[]", 0, "dictionary"},
    {"unclosed", "{'descr': '<f4'", 0, "comma"},
    {"no shape", "{'descr': '<f4', 'fortran_order': False, }", 0, "lacks"},
    {"no descr", "{'fortran_order': False, 'shape': (), }", 4, "lacks"},
    {"no order", "{'descr': '<f4', 'shape': (), }", 4, "lacks"},
    {"key twice", "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, "twice"},
    {"unknown key", "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1, }", 4, "unknown"},
    {"big endian", "{'descr': '>f4', 'fortran_order': False, 'shape': (), }", 4, ">f4"},
    {"object", "{'descr': '|O', 'fortran_order': False, 'shape': (), }", 8, "|O"},
    {"complex", "{'descr': '<c8', 'fortran_order': False, 'shape': (), }", 8, "<c8"},
    {"structured", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (), }", 4, "plain"},
    {"Fortran order", "{'descr': '<f4', 'fortran_order': True, 'shape': (), }", 4, "Fortran"},
    {"order is 1", "{'descr': '<f4', 'fortran_order': 1, 'shape': (), }", 4, "neither"},
    {"negative dimension", "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "not a count"},
    {"dimension past 64 bits", "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4,
     "64 bits"},
    {"nine dimensions", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", 4, "more than 8"},
    {"shape is a number", "{'descr': '<f4', 'fortran_order': False, 'shape': 1, }", 4, "tuple"},
    {"shape is in brackets only", "{'descr': '<f4', 'fortran_order': False, 'shape': (1), }", 4, "tuple"},
    {"shape unclosed", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2", 4, "end"},
    {"wrapping product", "{'descr': '<f4', 'fortran_order': False, 'shape': (4194305, 4194305, 211106198978564), }", 16,
     "data follow"},
    {"wrapping bytes", "{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952,), }", 0, "data follow"},
    {"too little data", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7, "7 bytes"},
    {"too much data", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9, "9 bytes"},
    {"text behind", "{'descr': '<f4', 'fortran_order': False, 'shape': (), } x", 4, "behind"},
    {"code", "{'descr': __import__('os').system('true'), }", 0, "plain"},
};

static void arrays(void) {
    CASE("npy: headers that are wrong") {
        for (size_t i = 0; i < sizeof bad_npy / sizeof *bad_npy; i++)
            refuse(NPY, bad_npy[i].name, make_npy(bad_npy[i].header, bad_npy[i].data), bad_npy[i].why);
        bytes b = make_npy(good_npy, 24);
        CHECK(parse(NPY, &b) == LDM_OK, "%s", ldm_message());
        b.d[6] = 4;
        refuse(NPY, "version 4", b, "version 4.0");
        b = make_npy(good_npy, 24), b.d[0] = 'N';
        refuse(NPY, "magic", b, "not a NumPy");
        b = make_npy(good_npy, 24), b.d[9] = 0xff;
        refuse(NPY, "length", b, "header of");
        b = make_npy(good_npy, 24), b.d[6] = 2, b.d[11] = 0xff;
        refuse(NPY, "length of version 2", b, "header of");
    }
    CASE("npy: every truncation and every byte changed") {
        bytes b = make_npy(good_npy, 24);
        cut_everywhere(NPY, &b);
        change_every_byte(NPY, &b, 0, b.n, 8);
        bytes_free(&b);
    }
}

static void pictures(void) {
    static const struct {
        const char *name;
        uint32_t w, h;
        int depth, colour, interlace;
        size_t raw;
        const char *why;
    } bad[] = {
        {"width 0", 0, 4, 8, 2, 0, 52, "PNG"},
        {"height 0", 4, 0, 8, 2, 0, 52, "PNG"},
        {"width 2^31", 0x80000000, 4, 8, 2, 0, 52, "PNG"},
        {"width 2^31 - 1", 0x7fffffff, 4, 8, 2, 0, 52, "PNG"},
        {"wider than we read", 16385, 1, 8, 2, 0, 49156, "PNG"},
        {"more pixels than we read", 16384, 16384, 1, 0, 0, 52, "16384 x 16384 pixels"},
        {"huge and empty", 8000, 8000, 8, 2, 0, 52, "cannot be packed"},
        {"huge, interlaced and empty", 8000, 8000, 16, 6, 1, 52, "cannot be packed"},
        {"too few rows", 4, 4, 8, 2, 0, 39, "PNG"},
        {"no rows", 4, 4, 8, 2, 0, 0, "PNG"},
        {"depth 3", 4, 4, 3, 2, 0, 52, "PNG"},
        {"depth 4 in RGB", 4, 4, 4, 2, 0, 52, "PNG"},
        {"colour type 1", 4, 4, 8, 1, 0, 52, "PNG"},
        {"interlace 7", 4, 4, 8, 2, 7, 52, "PNG"},
    };
    CASE("png: headers and data that are wrong") {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            refuse(PNG, bad[i].name,
                   make_png(bad[i].w, bad[i].h, bad[i].depth, bad[i].colour, bad[i].interlace, bad[i].raw), bad[i].why);
        bytes b = make_png(4, 4, 8, 2, 0, 52);
        CHECK(parse(PNG, &b) == LDM_OK, "%s", ldm_message());
        b.d[30] ^= 1;
        refuse(PNG, "CRC of the header", b, "CRC");
        b = make_png(4, 4, 8, 2, 0, 52), b.d[45] ^= 1;
        refuse(PNG, "CRC of the data", b, "PNG");
        b = make_png(4, 4, 8, 2, 0, 52), b.d[1] = 'J';
        refuse(PNG, "magic", b, "not a PNG");
        b = make_png(4, 4, 8, 2, 0, 52), memcpy(b.d + 12, "IDAT", 4);
        refuse(PNG, "data before the header", b, "PNG");
        b = make_png(2, 2, 8, 3, 0, 6), memcpy(b.d + 37, "QLTE", 4);
        refuse(PNG, "palette that is missing", b, "PNG");
        const char *const large[] = {"zTXt", "tEXt", "iCCP", "sPLT", "abCd", "IDAT", "PLTE"};
        for (size_t i = 0; i < sizeof large / sizeof *large; i++) { /* a length of 2 GiB that is believed costs 2 GiB */
            bytes whole = make_png(4, 4, 8, 2, 0, 52), longer = {0};
            put(&longer, whole.d, 33), put(&longer, "\x73\x73\x73\x73", 4), put_text(&longer, large[i]);
            put(&longer, whole.d + 33, whole.n - 33);
            bytes_free(&whole);
            refuse(PNG, large[i], longer, "PNG");
        }
        b = make_png(600, 600, 8, 2, 0, 600 * 1801);
        CHECK(parse(PNG, &b) == LDM_OK && b.n < 4000, "a well packed picture of %zu bytes: %s", b.n, ldm_message());
        bytes_free(&b);
        b = make_png(4, 4, 8, 2, 0, 30000000);
        parse(PNG, &b); /* 30 MB of data for 52: libpng stops at the rows it needs */
        bytes_free(&b);
    }
    CASE("png: every truncation and every byte changed") {
        static const int kinds[][3] = {{8, 2, 0}, {8, 3, 0}, {16, 6, 1}, {1, 0, 1}, {16, 0, 0}};
        static const size_t raw[] = {52, 20, 160, 20, 36};
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            bytes b = make_png(4, 4, kinds[k][0], kinds[k][1], kinds[k][2], raw[k]);
            cut_everywhere(PNG, &b);
            change_every_byte(PNG, &b, 0, b.n, 4);
            bytes_free(&b);
        }
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "malformed");
    safetensors(), arrays(), pictures();
    return test_end();
}
