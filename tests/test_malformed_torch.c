/* test_malformed_torch.c -- wrong PyTorch checkpoints: zip archives, the pickles in them, what attackers put there. */
#include "refuse.h"

/* ---- zip ---- */

/* Where the n-th record with this signature lies. */
static size_t find_record(const bytes *b, uint32_t signature, int n) {
    for (size_t i = 0; i + 4 <= b->n; i++) {
        uint32_t v =
            (uint32_t)b->d[i] | (uint32_t)b->d[i + 1] << 8 | (uint32_t)b->d[i + 2] << 16 | (uint32_t)b->d[i + 3] << 24;
        if (v == signature && n-- == 0) return i;
    }
    printf("no record %08x\n", (unsigned)signature);
    abort();
}

enum { L = 0x04034b50, C = 0x02014b50, E = 0x06054b50, E64 = 0x06064b50, LOC64 = 0x07064b50, D = 0x08074b50 };

static const struct {
    const char *name;
    bool wide;
    uint32_t record;
    int nth, field, size;
    uint64_t value;
    const char *why;
} zip_patches[] = {
    {"end: comment length", 0, E, 0, 20, 2, 5, "comment"},
    {"end: disk number", 0, E, 0, 4, 2, 1, "disk"},
    {"end: directory's disk", 0, E, 0, 6, 2, 1, "disk"},
    {"end: fewer on this disk", 0, E, 0, 8, 2, 1, "on this disk"},
    {"end: directory size", 0, E, 0, 12, 4, 5, "wanted it to end at"},
    {"end: directory of 4 GiB", 0, E, 0, 12, 4, 0xfffffffe, "directory of"},
    {"end: directory offset 0", 0, E, 0, 16, 4, 0, "wanted it to end at"},
    {"end: directory offset 4 GiB", 0, E, 0, 16, 4, 0xffffffff, "wanted it to end at"},
    {"end64: size of the record", 1, E64, 0, 4, 8, 1ull << 63, "does not hold an end record"},
    {"end64: disk", 1, E64, 0, 16, 4, 2, "pieces"},
    {"end64: 2^63 entries", 1, E64, 0, 32, 8, 1ull << 63, "pieces"},
    {"end64: directory of 2^63", 1, E64, 0, 40, 8, 1ull << 63, "different"},
    {"end64: offset", 1, E64, 0, 48, 8, 7, "different"},
    {"locator: offset 2^63", 1, LOC64, 0, 8, 8, 1ull << 63, "zip64"},
    {"locator: offset 0", 1, LOC64, 0, 8, 8, 0, "zip64"},
    {"locator: disks", 1, LOC64, 0, 16, 4, 9, "disks"},
    {"central: signature", 0, C, 1, 0, 4, 0, "no directory record"},
    {"central: encrypted", 0, C, 0, 8, 2, 0x801, "encrypted"},
    {"central: strong encryption", 0, C, 0, 8, 2, 0x841, "encrypted"},
    {"central: flags differ", 0, C, 0, 8, 2, 0, "differ"},
    {"central: deflate", 0, C, 0, 10, 2, 8, "method 8"},
    {"central: CRC", 0, C, 0, 16, 4, 1, "CRC"},
    {"central: CRC, descriptor", 1, C, 0, 16, 4, 1, "descriptor"},
    {"central: stored size", 0, C, 0, 20, 4, 1, "stored for"},
    {"central: full size", 0, C, 2, 24, 4, 1 << 20, "stored for"},
    {"central: size of zip64 that is not there", 0, C, 2, 24, 4, 0xffffffff, "64-bit"},
    {"central: offset of zip64 that is not there", 0, C, 2, 42, 4, 0xffffffff, "64-bit"},
    {"central: offset into another entry", 0, C, 2, 42, 4, 3, "no local header"},
    {"central: offset past the entries", 0, C, 2, 42, 4, 0x7fffffff, "entries end at"},
    {"central: offset of the entry before", 0, C, 3, 42, 4, 0, "is named"},
    {"central: name length", 0, C, 4, 28, 2, 60000, "past the directory"},
    {"central: extra length", 0, C, 4, 30, 2, 60000, "past the directory"},
    {"central: comment length", 0, C, 4, 32, 2, 60000, "past the directory"},
    {"central: shorter name", 0, C, 4, 28, 2, 5, "is named"},
    {"local: signature", 0, L, 2, 0, 4, 0, "no local header"},
    {"local: flags", 0, L, 2, 6, 2, 1, "differ"},
    {"local: method", 0, L, 2, 8, 2, 8, "differ"},
    {"local: CRC", 0, L, 2, 14, 4, 5, "local header"},
    {"local: stored size", 0, L, 2, 18, 4, 5, "local header"},
    {"local: full size", 0, L, 2, 22, 4, 1 << 30, "local header"},
    {"local: zip64 size that is not there", 0, L, 2, 22, 4, 0xffffffff, "local header"},
    {"local: name length", 0, L, 2, 26, 2, 3, "is named"},
    {"local: name of 64 KiB", 0, L, 2, 26, 2, 65535, "reach past"},
    {"local: extra of 64 KiB", 0, L, 2, 28, 2, 65535, "reach past"},
    {"local: extra that is cut short", 0, L, 2, 28, 2, 3, "extra field"},
    {"local: data moved into the next entry", 0, L, 3, 28, 2, 4, "file"},
    {"descriptor: CRC", 1, D, 0, 4, 4, 1, "descriptor"},
    {"descriptor: size", 1, D, 0, 8, 4, 1, "descriptor"},
    {"first entry is missing", 0, L, 0, 0, 4, 0x30304b50, "first entry"},
};

/* An archive of empty entries with these names, and a pickle. */
static bytes named(const char *a, const char *b) {
    bytes pickle = assemble(P_BEGIN P_END);
    zip_maker z = {0};
    zip_add(&z, "archive/data.pkl", pickle.d, pickle.n);
    zip_add(&z, a, "x", 1);
    if (b) zip_add(&z, b, "y", 1);
    bytes_free(&pickle);
    return zip_end(&z, false);
}

/* Two directory records for the same or overlapping local entries: the whole second entry hides in the first one's
 * data. */
static bytes overlapping(void) {
    zip_maker inner = {0}, z = {0};
    bytes pickle = assemble(P_BEGIN P_END);
    zip_add(&inner, "archive/data/1", "0123456789", 10);
    zip_add(&z, "archive/data.pkl", pickle.d, pickle.n);
    size_t at = z.out.n + 30 + strlen("archive/data/0");
    zip_add(&z, "archive/data/0", inner.out.d, inner.out.n);
    set_le(&inner.dir, 42, at, 4);
    put(&z.dir, inner.dir.d, inner.dir.n);
    z.count++;
    bytes_free(&inner.out), bytes_free(&inner.dir), bytes_free(&pickle);
    return zip_end(&z, false);
}

static void archives(void) {
    CASE("zip: fields that are wrong") {
        for (size_t i = 0; i < sizeof zip_patches / sizeof *zip_patches; i++) {
            bytes b = make_torch(good_pickle, zip_patches[i].wide);
            set_le(&b, find_record(&b, zip_patches[i].record, zip_patches[i].nth) + (size_t)zip_patches[i].field,
                   zip_patches[i].value, zip_patches[i].size);
            refuse(CKPT, zip_patches[i].name, b, zip_patches[i].why);
        }
    }
    CASE("zip: names and layouts") {
        refuse(CKPT, "climbing name", named("archive/../x", NULL), "'..'");
        refuse(CKPT, "climbing out", named("../x", NULL), "'..'");
        refuse(CKPT, "only dots", named("..", NULL), "'..'");
        refuse(CKPT, "dots at the end", named("archive/..", NULL), "'..'");
        refuse(CKPT, "absolute name", named("/etc/passwd", NULL), "relative path");
        refuse(CKPT, "backslash", named("archive\\x", NULL), "relative path");
        refuse(CKPT, "not UTF-8", named("archive/\xff", NULL), "UTF-8");
        refuse(CKPT, "empty name", named("", NULL), "relative path");
        refuse(CKPT, "the same name twice", named("archive/x", "archive/x"), "twice");
        refuse(CKPT, "two pickles", named("other/data.pkl", NULL), "two pickles");
        refuse(CKPT, "data.pkl twice", named("archive/data.pkl", NULL), "twice");
        refuse(CKPT, "TorchScript", named("archive/constants.pkl", NULL), "TorchScript");
        refuse(CKPT, "TorchScript code", named("archive/code/__torch__.py", NULL), "TorchScript");
        refuse(CKPT, "TorchScript 1.0", named("archive/model.json", NULL), "TorchScript");
        refuse(CKPT, "TorchServe", named("MAR-INF/MANIFEST.json", NULL), "TorchServe");
        refuse(CKPT, "big endian", named("archive/byteorder", NULL), "byte order");
        refuse(CKPT, "overlapping entries", overlapping(), "overlap");
        zip_maker none = {0}, other = {0};
        zip_add(&other, "readme.txt", "hello", 5);
        refuse(CKPT, "no pickle", zip_end(&other, false), "without NAME/data.pkl");
        refuse(CKPT, "no entry at all", zip_end(&none, false), "missing");
        bytes tail = make_torch(good_pickle, true), twice = make_torch(good_pickle, true),
              again = make_torch(good_pickle, false);
        put_text(&tail, "x");
        refuse(CKPT, "a byte behind the end", tail, "end record");
        put(&twice, again.d, again.n);
        bytes_free(&again);
        refuse(CKPT, "an archive behind the archive", twice, "wanted it to end at");
        bytes changed = make_torch(good_pickle, false);
        changed.d[find_record(&changed, L, 0) + 30 + strlen("archive/data.pkl") + 2] ^= 1;
        refuse(CKPT, "the pickle was changed", changed, "CRC");
    }
    CASE("zip: a million entries promised, and many really there") {
        bytes b = make_torch(good_pickle, true);
        set_le(&b, find_record(&b, E, 0) + 8, 0xffffffff, 4);
        set_le(&b, find_record(&b, E64, 0) + 24, 1000000, 8), set_le(&b, find_record(&b, E64, 0) + 32, 1000000, 8);
        refuse(CKPT, "promised", b, "1000000 entries");
    }
    CASE("zip: every truncation") {
        bytes whole = make_torch(good_pickle, true);
        cut_everywhere(CKPT, &whole);
        bytes_free(&whole);
    }
    CASE("zip: every byte changed") {
        for (int wide = 0; wide < 2; wide++) {
            bytes b = make_torch(good_pickle, wide);
            int total = 3 * (int)b.n, refused = change_every_byte(CKPT, &b, 0, b.n, 3);
            CHECK(refused > total / 2, "only %d of %d changes were refused", refused, total);
            bytes_free(&b);
        }
    }
}

/* ---- pickle ---- */

static const struct {
    const char *name, *source, *why;
} bad_pickles[] = {
    /* structure */
    {"no opcodes", "", "ends without"},
    {"no stop", "0x8002 }", "ends without"},
    {"stop on an empty stack", "0x8002 .", "not on the stack"},
    {"protocol 1", "0x8001 } .", "protocol 1"},
    {"protocol 6", "0x8006 } .", "protocol 6"},
    {"bytes behind the stop", "0x8002 } . }", "follow the end"},
    {"two values at the end", "0x8002 } } .", "left on the stack"},
    {"open mark at the end", "0x8002 ( } .", "left on the stack"},
    {"value under a mark", "0x8002 } ( .", "not on the stack"},
    {"top level is None", "0x8002 N .", "top level is None"},
    {"top level is a list", "0x8002 ] .", "top level is a list"},
    {"top level is a tensor", "0x8002 " P_GOOD ".", "top level is a tensor"},
    {"top level is an object", "0x8002 @pytorch_lightning.Trainer ) R .", "top level is an opaque"},
    {"frame past the end", "0x8004 0x95ffffffffffffffff } .", "frame"},
    /* operands that are cut short or too large */
    {"BININT cut short", "0x8002 0x4a0000", "cut short"},
    {"BINFLOAT cut short", "0x8002 0x4700", "cut short"},
    {"LONG1 cut short", "0x8002 0x8a", "cut short"},
    {"LONG1 of 255 bytes", "0x8002 0x8aff 0x00", "cut short"},
    {"BINUNICODE of 2^32 - 1", "0x8002 0x58ffffffff 'x' .", "text of 4294967295 bytes"},
    {"BINUNICODE8 of 2^64 - 1", "0x8004 0x8dffffffffffffffff 'x' .", "text of 18446744073709551615 bytes"},
    {"SHORT_BINSTRING past the end", "0x8002 0x55ff 0x00", "text of 255 bytes"},
    {"global without its end of line", "0x8002 0x636f730a73797374656d", "end of line"},
    /* stack and marks */
    {"TUPLE3 underflow", "0x8002 N N 0x87 .", "not on the stack"},
    {"TUPLE without a mark", "0x8002 N t .", "mark"},
    {"APPEND underflow", "0x8002 N a .", "needs 2 values"},
    {"APPENDS without a mark", "0x8002 ] N e .", "mark"},
    {"APPENDS without a list", "0x8002 ( N e .", "no container"},
    {"SETITEM underflow", "0x8002 } N s .", "needs 3 values"},
    {"SETITEMS without a dictionary", "0x8002 ( N N u .", "no container"},
    {"REDUCE underflow", "0x8002 R .", "not on the stack"},
    {"BUILD underflow", "0x8002 } b .", "below the state"},
    {"BINPERSID underflow", "0x8002 Q .", "not on the stack"},
    {"STACK_GLOBAL underflow", "0x8004 'os' 0x93 .", "not on the stack"},
    /* wrong types */
    {"SETITEM on a list", "0x8002 ] 'a' N s .", "on a list, wanted a dictionary"},
    {"SETITEM on text", "0x8002 'x' 'a' N s .", "on text"},
    {"SETITEM on a tensor", "0x8002 " P_GOOD "'a' N s .", "on a tensor"},
    {"SETITEM on an int", "0x8002 7 'a' N s .", "on an int"},
    {"SETITEMS on a tuple", "0x8002 ) ( 'a' N u .", "on a tuple"},
    {"SETITEMS with an odd count", "0x8002 } ( 'a' u .", "without its value"},
    {"APPEND on a dictionary", "0x8002 } N a .", "on a dictionary, wanted a list"},
    {"APPENDS on a storage", "0x8002 " P_STORAGE("FloatStorage", "0", "8") "( N e .", "on a storage"},
    {"list as a key", "0x8002 } ] N s .", "as a key"},
    {"BUILD on a tensor", "0x8002 " P_GOOD "N b .", "on a tensor"},
    {"BUILD on an int", "0x8002 7 N b .", "on an int"},
    {"REDUCE of text", "0x8002 'f' ) R .", "a call of text"},
    {"REDUCE of a dictionary", "0x8002 } ) R .", "a call of a dictionary"},
    {"REDUCE with a list", "0x8002 @collections.OrderedDict ] R .", "with a list"},
    {"REDUCE with None", "0x8002 @collections.OrderedDict N R .", "with None"},
    {"NEWOBJ of a number", "0x8002 7 ) 0x81 .", "a call of an int"},
    {"calling a storage type", "0x8002 @torch.FloatStorage ) R .", "storage type is called"},
    {"OrderedDict of a pair that is none", "0x8002 @collections.OrderedDict ] 7 a 0x85 R .", "pair is an int"},
    {"OrderedDict of two arguments", "0x8002 @collections.OrderedDict ] ] 0x86 R .", "2 values"},
    {"parameter of a dictionary", "0x8002 @torch._utils._rebuild_parameter } 0x89 N 0x87 R .", "parameter made of"},
    {"parameter of nothing", "0x8002 @torch._utils._rebuild_parameter ) R .", "0 values"},
    {"global named by numbers", "0x8004 1 2 0x93 .", "wanted text"},
    /* memo */
    {"memo miss", "0x8002 0x6805 .", "never put"},
    {"memo miss, long", "0x8002 0x6affffffff .", "never put"},
    {"memo key of 2^32 - 1", "0x8002 } 0x72ffffffff .", "memo key 4294967295"},
    {"memo key ahead of the opcodes", "0x8002 } 0x71ff .", "memo key 255"},
    {"BINPUT with nothing", "0x8002 0x7100 .", "nothing on the stack"},
    {"MEMOIZE with nothing", "0x8004 0x94 .", "nothing on the stack"},
    /* opcodes outside the list */
    {"INST", "0x8002 ( 0x696f730a73797374656d0a .", "opcode INST"},
    {"OBJ", "0x8002 ( N o .", "opcode OBJ"},
    {"PERSID", "0x8002 0x50300a .", "opcode PERSID"},
    {"DUP", "0x8002 } 0x32 .", "opcode DUP"},
    {"POP", "0x8002 } N 0x30 .", "opcode POP "},
    {"EXT1", "0x8002 0x8201 .", "opcode EXT1"},
    {"NEWOBJ_EX", "0x8004 } } } 0x92 .", "opcode NEWOBJ_EX"},
    {"BYTEARRAY8", "0x8005 0x960000000000000000 .", "opcode BYTEARRAY8"},
    {"NEXT_BUFFER", "0x8005 0x97 .", "opcode NEXT_BUFFER"},
    {"LONG4", "0x8002 0x8bffffff7f .", "opcode LONG4"},
    {"text INT", "0x8002 0x49310a .", "opcode INT"},
    {"an opcode that does not exist", "0x8002 0xff .", "opcode 0xff"},
    /* storages */
    {"storage larger than its entry",
     "0x8002 } 'a' " P_TENSOR(P_STORAGE("FloatStorage", "0", "9"), "0", "( 9 t", "( 1 t") "s .",
     "9 x 4 bytes, but its entry has 32"},
    {"storage of 2^62", "0x8002 } 'a' " P_STORAGE("DoubleStorage", "0", "4611686018427387904") "s .",
     "4611686018427387904"},
    {"negative storage", "0x8002 } 'a' " P_STORAGE("FloatStorage", "0", "-1") "s .", "-1 x 4"},
    {"storage without an entry", "0x8002 } 'a' " P_STORAGE("FloatStorage", "7", "1") "s .", "no entry data/7"},
    {"storage key that climbs", "0x8002 } 'a' " P_STORAGE("FloatStorage", "../data.pkl", "1") "s .", "no entry"},
    {"storage key that is long",
     "0x8002 } 'a' " P_STORAGE("FloatStorage", "00000000000000000000000000000000000000000000000000000000000000000",
                               "1") "s .",
     "65 bytes"},
    {"storage key that is a number", "0x8002 } 'a' ( 'storage' @torch.FloatStorage 0 'cpu' 8 t Q s .", "an int"},
    {"storage type that is text", "0x8002 } 'a' ( 'storage' 'FloatStorage' '0' 'cpu' 8 t Q s .", "persistent id"},
    {"storage type that is a dictionary", "0x8002 } 'a' ( 'storage' @collections.OrderedDict '0' 'cpu' 8 t Q s .",
     "persistent id"},
    {"persistent id that is text", "0x8002 } 'a' '0' Q s .", "persistent id is text"},
    {"persistent id of another kind", "0x8002 } 'a' ( 'module' @torch.FloatStorage '0' 'cpu' 8 t Q s .",
     "persistent id"},
    {"persistent id of four", "0x8002 } 'a' ( 'storage' @torch.FloatStorage '0' 'cpu' t Q s .", "4 values"},
    {"storage of complex numbers", "0x8002 @torch.ComplexFloatStorage .", "torch.ComplexFloatStorage"},
    /* tensors */
    {"tensor past its storage", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "1", "( 2 4 t", "( 4 1 t") ".",
     "does not fit"},
    {"negative offset", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "-1", "( 2 t", "( 1 t") ".",
     "does not fit"},
    {"offset of 2^63 - 1",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "9223372036854775807", "( 2 t", "( 1 t") ".",
     "does not fit"},
    {"negative offset of an empty tensor",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "-9", "( 0 t", "( 1 t") ".", "does not fit"},
    {"negative stride", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "4", "( 2 t", "( -1 t") ".",
     "strides holds -1"},
    {"stride that wraps",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 3 2 t", "( 4611686018427387904 1 t") ".",
     "does not fit"},
    {"strides whose sum wraps",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 2 2 t",
                        "( 9223372036854775807 9223372036854775807 t") ".",
     "does not fit"},
    {"negative dimension", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( -2 t", "( 1 t") ".",
     "shape holds -2"},
    {"shape that wraps",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 4294967296 4294967296 t", "( 0 0 t") ".",
     "does not fit"},
    {"expanded to 2^40", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 1099511627776 t", "( 0 t") ".",
     "does not fit"},
    {"more strides than dimensions",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 2 t", "( 1 1 t") ".",
     "1 dimensions with 2 strides"},
    {"nine dimensions",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 1 1 1 1 1 1 1 1 1 t", "( 1 1 1 1 1 1 1 1 1 t") ".",
     "9 values"},
    {"shape that is a number", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "2", "( 1 t") ".",
     "shape is an int"},
    {"shape of text", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( '2' t", "( 1 t") ".",
     "shape holds text"},
    {"strides of None", "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "0", "( 2 t", "( N t") ".",
     "strides holds None"},
    {"tensor without a storage", "0x8002 " P_TENSOR("N ", "0", "( 2 t", "( 1 t") ".", "a tensor in None"},
    {"tensor in a tensor", "0x8002 " P_TENSOR(P_GOOD, "0", "( 2 t", "( 1 t") ".", "a tensor in a tensor"},
    {"offset that is text",
     "0x8002 " P_TENSOR(P_STORAGE("FloatStorage", "0", "8"), "'0'", "( 2 t", "( 1 t") ".", "from text"},
    {"tensor of one argument",
     "0x8002 @torch._utils._rebuild_tensor_v2 " P_STORAGE("FloatStorage", "0", "8") "0x85 R .", "1 values"},
    {"tensor of eight arguments", "0x8002 @torch._utils._rebuild_tensor_v2 ( N N N N N N N N t R .", "8 values"},
    /* names */
    {"name twice", P_BEGIN "'a' " P_GOOD "'a' " P_GOOD P_END, "twice"},
    {"name twice through state_dict", P_BEGIN "'a' " P_GOOD "'state_dict' } 'a' " P_GOOD "s " P_END, "twice"},
    {"name twice through a dot", P_BEGIN "'a.b' " P_GOOD "'a' } 'b' " P_GOOD "s " P_END, "twice"},
    {"empty name", P_BEGIN "'' " P_GOOD P_END, "UTF-8"},
    {"name that is not UTF-8", P_BEGIN "0x5501ff " P_GOOD P_END, "UTF-8"},
    {"NUL in a name", P_BEGIN "0x55026100 " P_GOOD P_END, "UTF-8"},
    {"dictionary in itself", "0x8002 } 0x7100 'a' 0x6800 s .", "nest deeper"},
    /* what attackers put there */
    {"os.system", "0x8002 @os.system 'true' 0x85 R .", "global os.system"},
    {"posix.system", "0x8002 @posix.system 'true' 0x85 R .", "global posix.system"},
    {"nt.system", "0x8002 @nt.system 'true' 0x85 R .", "global nt.system"},
    {"builtins.eval", "0x8002 @builtins.eval '1' 0x85 R .", "global builtins.eval"},
    {"__builtin__.exec", "0x8002 @__builtin__.exec '1' 0x85 R .", "global __builtin__.exec"},
    {"builtins.getattr", "0x8002 @builtins.getattr ( N 'x' t R .", "global builtins.getattr"},
    {"subprocess.Popen", "0x8002 @subprocess.Popen 'true' 0x85 R .", "global subprocess.Popen"},
    {"runpy._run_code", "0x8002 @runpy._run_code ) R .", "global runpy._run_code"},
    {"webbrowser.open", "0x8002 @webbrowser.open 'x' 0x85 R .", "global webbrowser.open"},
    {"socket.socket", "0x8002 @socket.socket ) R .", "global socket.socket"},
    {"torch.load", "0x8002 @torch.load 'x' 0x85 R .", "global torch.load"},
    {"torch.hub.load", "0x8002 @torch.hub.load 'x' 0x85 R .", "global torch.hub.load"},
    {"importlib.import_module", "0x8002 @importlib.import_module 'os' 0x85 R .", "global importlib.import_module"},
    {"os.system by STACK_GLOBAL", "0x8004 'os' 'system' 0x93 'true' 0x85 R .", "global os.system"},
    {"operator.attrgetter", "0x8002 @operator.attrgetter 'x' 0x85 R .", "global operator.attrgetter"},
    {"functools.partial", "0x8002 @functools.partial ) R .", "global functools.partial"},
    {"numpy's own loader", "0x8002 @numpy.testing._private.utils.runstring ) R .", "global numpy.testing"},
    {"a name that only begins like a known one", "0x8002 @pytorch_lightningx.Foo ) R .",
     "global pytorch_lightningx.Foo"},
    {"a whole pickled module", "0x8002 @__main__.Net ) 0x81 .", "global __main__.Net"},
    {"unseen among tensors", P_BEGIN "'a' " P_GOOD "'b' @os.system 'true' 0x85 R " P_END, "global os.system"},
};

static bytes pickle_of(const char *head, const char *item, size_t times, const char *tail) {
    bytes p = {0}, a = assemble(head), m = assemble(item), z = assemble(tail), out;
    put(&p, a.d, a.n);
    for (size_t i = 0; i < times; i++) put(&p, m.d, m.n);
    put(&p, z.d, z.n);
    out = make_torch_of(&p, false);
    bytes_free(&p), bytes_free(&a), bytes_free(&m), bytes_free(&z);
    return out;
}

static void pickles(void) {
    CASE("pickle: the assembler makes a good one") {
        bytes b = make_torch(P_BEGIN "'a' " P_GOOD P_END, false);
        CHECK(parse(CKPT, &b) == LDM_OK, "%s", ldm_message());
        bytes_free(&b);
    }
    CASE("pickle: opcodes, operands, globals") {
        for (size_t i = 0; i < sizeof bad_pickles / sizeof *bad_pickles; i++) {
            refuse(CKPT, bad_pickles[i].name, make_torch(bad_pickles[i].source, false), bad_pickles[i].why);
            CHECK(strstr(ldm_message(), "data.pkl") || strstr(ldm_message(), "twice") || strstr(ldm_message(), "UTF-8"),
                  "%s: no place in '%s'", bad_pickles[i].name, ldm_message());
        }
    }
    CASE("pickle: bombs") {
        refuse(CKPT, "lists nested 10^6 deep", pickle_of("0x8002", "]", 1000000, "."), "on the stack");
        refuse(CKPT, "lists really nested", pickle_of("0x8002 ] 0x7100", "] 0x7100 a 0x6800", 300000, "."),
               "on the stack");
        refuse(CKPT, "marks nested 10^6 deep", pickle_of("0x8002", "(", 1000000, "."), "deeper");
        refuse(CKPT, "tuples in tuples", pickle_of("0x8002 )", "0x85", 100000, "."), "top level is a tuple");
        refuse(CKPT, "dictionaries in dictionaries",
               pickle_of("0x8002", "} 'a'", 30,
                         "N"
                         " s s s s s s s s s s s s s s s s s s s s s s s s s s s s s s ."),
               "nest deeper");
        /* each dictionary holds the one before it ten times: 10^15 entries when flattened */
        bytes lol = {0}, head = assemble("0x8002 }"), out;
        put(&lol, head.d, head.n), put_text(&lol, "(");
        for (int level = 0; level < 15;
             level++) { /* key (int), value: dictionary of ten references to the level before */
            put_text(&lol, "K"), put_le(&lol, (uint64_t)level, 1), put_text(&lol, "}q"),
                put_le(&lol, (uint64_t)level, 1);
            if (level == 0) continue;
            put_text(&lol, "(");
            for (int i = 0; i < 10; i++)
                put_text(&lol, "K"), put_le(&lol, (uint64_t)i, 1), put_text(&lol, "h"),
                    put_le(&lol, (uint64_t)(level - 1), 1);
            put_text(&lol, "u");
        }
        put_text(&lol, "u.");
        out = make_torch_of(&lol, false);
        bytes_free(&lol), bytes_free(&head);
        refuse(CKPT, "billion laughs", out, "more than 262144 dictionary entries");
        /* OrderedDict(pairs) again and again from one list of pairs */
        refuse(CKPT, "one list copied many times",
               pickle_of("0x8002 @collections.OrderedDict 0x7100 ] ( 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 "
                         "0x86 1 2 0x86 1 2 0x86 "
                         "1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 2 0x86 1 "
                         "2 0x86 1 2 0x86 e 0x85 0x7101",
                         "0x6800 0x6801 R", 5000, "."),
               "too many");
    }
    CASE("pickle: every byte changed, CRC made right again") {
        bytes p = assemble(good_pickle);
        int refused = 0, total = 0;
        for (uint64_t seed = 0; seed < 8; seed++)
            for (size_t i = 0; i < p.n; i++, total++) {
                uint8_t was = p.d[i];
                p.d[i] ^= (uint8_t)(1 + ldm_hash(seed, 0, i) % 255);
                bytes b = make_torch_of(&p, false);
                ldm_status st = parse(CKPT, &b);
                CHECK(st == LDM_OK || st == LDM_ERR_FORMAT, "byte %zu: status %d: %s", i, st, ldm_message());
                refused += st != LDM_OK;
                bytes_free(&b);
                p.d[i] = was;
            }
        for (size_t n = 0; n < p.n; n++) {
            bytes cut = {.d = p.d, .n = n};
            refuse(CKPT, "cut short", make_torch_of(&cut, false), "data.pkl");
        }
        CHECK(refused > total / 3, "only %d of %d changes were refused", refused, total);
        bytes_free(&p);
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "malformed_torch");
    archives(), pickles();
    return test_end();
}
