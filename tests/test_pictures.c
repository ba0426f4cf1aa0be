/* test_pictures.c -- reading pictures of every kind, resizing, comparing, texts in PNG files, the grammar of generation
 * parameters, .npz. What is expected is Pillow's and scikit-image's (tests/fixtures/pictures/make.py). */
#include "test.h"
#include "refuse.h"
#include <jansson.h>
#include <math.h>
#include <unistd.h>

#define FIXTURE(name) "tests/fixtures/pictures/" name

static const char *fixture(const char *fmt, ...) {
    static char path[2][200];
    static int turn;
    va_list ap;
    va_start(ap, fmt);
    char *p = path[turn ^= 1];
    int n = snprintf(p, sizeof path[0], "tests/fixtures/pictures/");
    vsnprintf(p + n, sizeof path[0] - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

static char folder[] = "/tmp/ldm-pictures-XXXXXX";
static const char *temp(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Largest difference of two pictures' bytes; 999 if they have not one size. */
static int apart(const ldm_image *a, const ldm_image *b) {
    int worst = 0;
    if (!a->data || !b->data || a->w != b->w || a->h != b->h) return 999;
    for (int64_t i = 0; i < a->w * a->h * 3; i++) {
        int d = abs(a->data[i] - b->data[i]);
        worst = d > worst ? d : worst;
    }
    return worst;
}

static void same_picture(const char *path, const char *want, int most) {
    ldm_image a = {0}, b = {0};
    CHECK_OK(ldm_picture_read(path, &a));
    CHECK_OK(ldm_png_read(want, &b));
    CHECK(apart(&a, &b) <= most, "%s is %d from %s", path, apart(&a, &b), want);
    ldm_image_free(&a), ldm_image_free(&b);
}

static void reading(void) {
    CASE("all eight EXIF orientations of a JPEG") {
        for (int o = 1; o <= 8; o++) same_picture(fixture("turned-%d.jpg", o), fixture("turned-%d.png", o), 0);
    }
    CASE("EXIF orientation of a PNG") {
        ldm_image a = {0}, b = {0};
        CHECK_OK(ldm_picture_read(FIXTURE("turned.png"), &a));
        CHECK_OK(ldm_png_read(FIXTURE("source.png"), &b));
        CHECK(a.w == b.h && a.h == b.w, "%lld x %lld", (long long)a.w, (long long)a.h);
        for (int64_t y = 0; a.data && y < a.h; y++)
            for (int64_t x = 0; x < a.w; x++) /* turned a quarter clockwise */
                CHECK(!memcmp(a.data + (y * a.w + x) * 3, b.data + ((b.h - 1 - x) * b.w + y) * 3, 3), "at %lld, %lld",
                      (long long)x, (long long)y);
        ldm_image_free(&a), ldm_image_free(&b);
    }
    CASE("progressive and grey JPEGs") {
        same_picture(FIXTURE("progressive.jpg"), FIXTURE("progressive.png"), 1);
        same_picture(FIXTURE("grey.jpg"), FIXTURE("grey.png"), 1);
    }
    CASE("alpha is laid on white") {
        ldm_image im = {0};
        same_picture(FIXTURE("alpha.png"), FIXTURE("alpha-on-white.png"), 1);
        CHECK_OK(ldm_picture_read(FIXTURE("alpha.png"), &im));
        CHECK(im.flattened, "not told");
        ldm_image_free(&im);
        CHECK_OK(ldm_picture_read(FIXTURE("source.png"), &im));
        CHECK(!im.flattened, "an opaque picture is called transparent");
        ldm_image_free(&im);
    }
    CASE("grey numbers") {
        ldm_grey g = {0};
        CHECK_OK(ldm_picture_read_grey(FIXTURE("deep.png"), &g));
        for (int64_t i = 0; g.data && i < g.w * g.h; i++)
            CHECK(g.data[i] == (float)(i % g.w * 2000 + i / g.w) / 65535.0f, "16 bits: element %lld is %g", (long long)i,
                  g.data[i]);
        ldm_grey_free(&g);
        ldm_image im = {0};
        CHECK_OK(ldm_picture_read(FIXTURE("source.png"), &im));
        CHECK_OK(ldm_picture_read_grey(FIXTURE("source.png"), &g));
        for (int64_t i = 0; g.data && im.data && i < g.w * g.h; i++) {
            const uint8_t *p = im.data + 3 * i;
            CHECK(fabs(g.data[i] - (.299 * p[0] + .587 * p[1] + .114 * p[2]) / 255) < 1e-6, "luma at %lld", (long long)i);
        }
        ldm_grey_free(&g), ldm_image_free(&im);
        CHECK_OK(ldm_picture_read_grey(FIXTURE("grey.jpg"), &g));
        CHECK_OK(ldm_png_read(FIXTURE("grey.png"), &im));
        for (int64_t i = 0; g.data && im.data && i < g.w * g.h; i++)
            CHECK(fabsf(g.data[i] * 255 - im.data[3 * i]) <= 1.01f, "grey JPEG at %lld", (long long)i);
        ldm_grey_free(&g), ldm_image_free(&im);
        CHECK_OK(ldm_picture_read_grey(FIXTURE("grey-alpha.png"), &g));
        CHECK(g.data && g.data[0] == 1, "what is wholly transparent is white");
        ldm_grey_free(&g);
    }
    CASE("labels") {
        ldm_labels l = {0};
        CHECK_OK(ldm_png_labels(FIXTURE("labels.png"), &l));
        for (int64_t i = 0; l.data && i < l.w * l.h; i++)
            CHECK(l.data[i] == (i / l.w + i % l.w) % 13, "indexed: %lld is %d", (long long)i, l.data[i]);
        ldm_labels_free(&l);
        CHECK_OK(ldm_png_labels(FIXTURE("labels-grey.png"), &l));
        for (int64_t i = 0; l.data && i < l.w * l.h; i++)
            CHECK(l.data[i] == (i / l.w + i % l.w) % 200, "grey: %lld is %d", (long long)i, l.data[i]);
        ldm_labels_free(&l);
        CHECK_OK(ldm_png_labels(FIXTURE("deep.png"), &l));
        CHECK(l.data && l.data[3] == 6000, "16 bits");
        ldm_labels_free(&l);
        CHECK(ldm_png_labels(FIXTURE("source.png"), &l) == LDM_ERR_FORMAT && strstr(ldm_message(), "wanted labels"), "%s",
              ldm_message());
    }
}

static bytes file(const char *path) {
    bytes b = {0};
    char *data = NULL;
    size_t n = 0;
    if (!ldm_read_file(path, 1 << 24, &data, &n)) put(&b, data, n);
    free(data);
    return b;
}

/* A JPEG with its frame's size changed. */
static bytes resized_header(uint16_t w, uint16_t h) {
    bytes b = file(FIXTURE("turned-1.jpg"));
    for (size_t i = 0; i + 8 < b.n; i++)
        if (b.d[i] == 0xff && b.d[i + 1] == 0xc0) {
            b.d[i + 5] = (uint8_t)(h >> 8), b.d[i + 6] = (uint8_t)h, b.d[i + 7] = (uint8_t)(w >> 8), b.d[i + 8] = (uint8_t)w;
            break;
        }
    return b;
}

/* A PNG with its header's size changed: signature, length, "IHDR", width, height, five bytes, checksum. */
static bytes resized_png(uint32_t w, uint32_t h) {
    bytes b = file(FIXTURE("source.png"));
    for (int i = 0; i < 4 && b.n > 33; i++)
        b.d[16 + i] = (uint8_t)(w >> (24 - 8 * i)), b.d[20 + i] = (uint8_t)(h >> (24 - 8 * i));
    const unsigned long sum = b.n > 33 ? crc32(0, b.d + 12, 17) : 0;
    for (int i = 0; i < 4 && b.n > 33; i++) b.d[29 + i] = (uint8_t)(sum >> (24 - 8 * i));
    return b;
}

static void hostile(void) {
    CASE("pictures that are refused") {
        bytes b = {0};
        put_text(&b, "GIF89a");
        refuse(PICTURE, "a GIF", b, "neither a PNG nor a JPEG");
        refuse(PICTURE, "nothing", (bytes){0}, "neither");
        refuse(PICTURE, "CMYK", file(FIXTURE("cmyk.jpg")), "CMYK");
        refuse(PICTURE, "65000 x 65000", resized_header(65000, 65000), "at most 16384 a side");
        refuse(PICTURE, "8000 x 8000 in two kilobytes", resized_header(8000, 8000), "cannot be packed");
        refuse(PICTURE, "PNG of 20000 x 20000", resized_png(20000, 20000), "20000 x 20000 pixels, at most 16384 a side");
        refuse(PICTURE, "PNG of 2^31 - 1", resized_png(INT32_MAX, INT32_MAX), "at most 16384 a side");
        refuse(PICTURE, "PNG, 8000 x 8000 in a kilobyte", resized_png(8000, 8000), "cannot be packed");
        refuse(PICTURE, "no height", resized_header(48, 0), "JPEG");
        refuse(PICTURE, "too high", resized_header(48, 400), "JPEG");
    }
    CASE("JPEG: every truncation") {
        bytes b = file(FIXTURE("progressive.jpg"));
        for (size_t n = 0; n + 2 < b.n; n++) { /* but for the end marker, all of it is wanted */
            bytes cut = {0};
            put(&cut, b.d, n);
            refuse(PICTURE, "cut short", cut, "file");
        }
        bytes_free(&b);
    }
    CASE("JPEG: every byte changed") {
        const char *names[] = {"grey.jpg", "progressive.jpg", "turned-6.jpg"};
        for (int i = 0; i < 3; i++) {
            bytes b = file(fixture("%s", names[i]));
            CHECK(change_every_byte(PICTURE, &b, 0, b.n, 2) > 100, "hardly anything was refused");
            bytes_free(&b);
        }
    }
    CASE("PNG texts: every truncation and every byte changed") {
        bytes b = file(FIXTURE("texts.png"));
        cut_everywhere(PNG_TEXT, &b);
        int refused = change_every_byte(PNG_TEXT, &b, 0, b.n, 3), texts = 3 * (int)(b.n - 120); /* but for the pixels */
        CHECK(refused > texts, "%d refused of more than %d: checksums are not looked at", refused, texts);
        bytes_free(&b);
    }
    CASE("PNG texts that are refused") {
        bytes b = {0}, z = {0};
        put(&b, "\x89PNG\r\n\x1a\n", 8);
        size_t head = b.n;
#define TEXT(type, data, n, why)                                                                                       \
    png_chunk(&b, type, data, n), png_chunk(&b, "IEND", "", 0), refuse(PNG_TEXT, why, b, why), b = (bytes){0},          \
                                                                put(&b, "\x89PNG\r\n\x1a\n", 8)
        TEXT("tEXt", "key only", 8, "keyword");
        TEXT("tEXt", "\0value", 6, "keyword");
        TEXT("iTXt", "k\0\0\0en", 6, "cut short");
        TEXT("iTXt", "k\0\0\0\0\0\xff", 7, "not UTF-8");
        TEXT("tEXt", "k\0a\0b", 5, "not Latin-1");
        TEXT("zTXt", "k\0\1xyz", 6, "method 1");
        TEXT("zTXt", "k\0\0xyz", 6, "does not unpack");
        uint8_t *bomb = calloc(1, 1 << 25), *packed = malloc(compressBound(1 << 25));
        uLongf n = compressBound(1 << 25);
        compress(packed, &n, bomb, 1 << 25);
        put(&z, "k\0\0", 3), put(&z, packed, n);
        TEXT("zTXt", z.d, z.n, "more than 1048576 bytes");
        CHECK(b.n == head, "the last was not taken");
        free(bomb), free(packed), bytes_free(&z), bytes_free(&b);
    }
}

static void resizing(void) {
    CASE("resized as Pillow does") {
        static const int size[][2] = {{40, 31}, {9, 7}, {24, 5}, {60, 17}};
        ldm_image source = {0};
        CHECK_OK(ldm_png_read(FIXTURE("source.png"), &source));
        for (ldm_filter f = LDM_FILTER_NEAREST; f <= LDM_FILTER_LANCZOS; f++)
            for (int i = 0; i < 4; i++) {
                ldm_image out = {0}, want = {0};
                const char *path = fixture("%s-%dx%d.png", ldm_filter_name(f), size[i][0], size[i][1]);
                CHECK_OK(ldm_image_resize(&source, size[i][0], size[i][1], f, &out));
                CHECK_OK(ldm_png_read(path, &want));
                CHECK(apart(&out, &want) == 0, "%s: %d apart", path, apart(&out, &want));
                ldm_image_free(&out), ldm_image_free(&want);
            }
        ldm_image out = {0};
        CHECK(ldm_image_resize(&source, 0, 5, LDM_FILTER_BICUBIC, &out) == LDM_ERR_ARG, "no width");
        CHECK(ldm_image_resize(&source, 20000, 5, LDM_FILTER_BICUBIC, &out) == LDM_ERR_ARG, "too wide");
        ldm_image_free(&source);
    }
    CASE("grey numbers resized as Pillow does") {
        json_t *facts = json_load_file(FIXTURE("facts.json"), 0, NULL), *all = json_object_get(facts, "grey 9x31, every 31st");
        ldm_image im = {0};
        CHECK_OK(ldm_png_read(FIXTURE("source.png"), &im));
        ldm_grey g = {.w = im.w, .h = im.h, .data = malloc((size_t)(im.w * im.h) * sizeof *g.data)};
        for (int64_t i = 0; i < im.w * im.h; i++) g.data[i] = (float)im.data[3 * i] / 255.0f;
        for (ldm_filter f = LDM_FILTER_NEAREST; f <= LDM_FILTER_LANCZOS; f++) {
            json_t *want = json_object_get(all, ldm_filter_name(f));
            ldm_grey out = {0};
            CHECK_OK(ldm_grey_resize(&g, 9, 31, f, &out));
            CHECK(json_array_size(want) == 9, "fixture");
            for (size_t i = 0; out.data && i < json_array_size(want); i++) {
                double v = json_number_value(json_array_get(want, i));
                CHECK(fabs(out.data[31 * i] - v) < 1e-6, "%s: %zu is %.9g, wanted %.9g", ldm_filter_name(f), i,
                      out.data[31 * i], v);
            }
            ldm_grey_free(&out);
        }
        ldm_filter f;
        CHECK(ldm_filter_parse("bicubic", &f) && f == LDM_FILTER_BICUBIC && !ldm_filter_parse("box", &f), "names");
        ldm_grey_free(&g), ldm_image_free(&im);
        json_decref(facts);
    }
}

static void likeness(void) {
    CASE("PSNR and SSIM as scikit-image gives them") {
        json_t *facts = json_load_file(FIXTURE("facts.json"), 0, NULL);
        double psnr = json_number_value(json_object_get(facts, "psnr")), ssim = json_number_value(json_object_get(facts, "ssim"));
        ldm_image a = {0}, b = {0}, small = {0};
        ldm_likeness l;
        CHECK_OK(ldm_png_read(FIXTURE("likeness-a.png"), &a));
        CHECK_OK(ldm_png_read(FIXTURE("likeness-b.png"), &b));
        CHECK_OK(ldm_image_compare(&a, &b, &l));
        CHECK(fabs(l.psnr - psnr) < 1e-9 && fabs(l.ssim - ssim) < 1e-9, "PSNR %.12g of %.12g, SSIM %.12g of %.12g", l.psnr,
              psnr, l.ssim, ssim);
        CHECK(l.worst > 0 && l.differing > 0.5, "bytes: worst %d, share %g", l.worst, l.differing);
        CHECK_OK(ldm_image_compare(&a, &a, &l));
        CHECK(isinf(l.psnr) && fabs(l.ssim - 1) < 1e-12 && l.worst == 0, "a picture is like itself");
        CHECK_OK(ldm_png_read(FIXTURE("source.png"), &small));
        CHECK(ldm_image_compare(&a, &small, &l) == LDM_ERR_FORMAT && strstr(ldm_message(), "wanted equal sizes"), "%s",
              ldm_message());
        small.w = small.h = 10;
        CHECK(ldm_image_compare(&small, &small, &l) == LDM_ERR_FORMAT, "too small for the window");
        ldm_image_free(&a), ldm_image_free(&b), ldm_image_free(&small);
        json_decref(facts);
    }
}

static void texts(void) {
    CASE("texts of a PNG by Pillow") {
        ldm_png_texts t = {0};
        CHECK_OK(ldm_png_read_text(FIXTURE("texts.png"), &t));
        const char *p = ldm_png_text(&t, "parameters"), *packed = ldm_png_text(&t, "packed"), *wide = ldm_png_text(&t, "wide"),
                   *wide_packed = ldm_png_text(&t, "wide packed");
        CHECK(t.count == 4, "%d texts", t.count);
        CHECK(p && !strcmp(p, "caf\xc3\xa9, 50 %\nNegative prompt: no\nSteps: 20, Seed: 1, Size: 24x17"), "tEXt: %s", p);
        CHECK(packed && strlen(packed) == 3000 && strspn(packed, "x") == 3000, "zTXt");
        CHECK(wide && !strcmp(wide, "\xe7\x8c\xab \xf0\x9f\x90\xb1"), "iTXt: %s", wide);
        CHECK(wide_packed && strlen(wide_packed) == 1500 && !strncmp(wide_packed + 1497, "\xe7\x8c\xab", 3), "packed iTXt");
        CHECK(!ldm_png_text(&t, "none"), "a text that is not there");
        ldm_png_texts_free(&t);
    }
    CASE("texts written and read again") {
        static const char *const pairs[] = {"parameters", "plain\nlines", "latin", "\xc3\xbf\xc2\xa0", "wide", "\xe7\x8c\xab", "two letters of Latin-1", "\xc3\x83\xc2\xa9",
                                            "control", "\xc2\x80\x01", NULL};
        ldm_image im = {.w = 2, .h = 2, .data = (uint8_t[12]){0}};
        ldm_png_texts t = {0};
        CHECK_OK(ldm_png_write(temp("t.png"), &im, pairs));
        CHECK_OK(ldm_png_read_text(temp("t.png"), &t));
        CHECK(t.count == 5, "%d texts", t.count);
        for (int i = 0; i < 10 && t.count == 5; i++) CHECK(!strcmp(t.pairs[i], pairs[i]), "%d: %s", i, t.pairs[i]);
        ldm_png_texts_free(&t);
    }
}

static void round_trip(const char *prompt, const char *negative, const char *odd) {
    ldm_parameters p = {0}, back = {0};
    ldm_text text = {0};
    ldm_parameters_prompt(&p, prompt, negative);
    ldm_parameters_add(&p, "Steps", "%d", 20);
    ldm_parameters_add(&p, "Odd", "%s", odd);
    ldm_parameters_add(&p, "Schedule type", "Karras");
    ldm_parameters_add(&p, "Size", "512x512");
    CHECK_OK(ldm_parameters_write(&p, &text));
    if (text.s) CHECK_OK(ldm_parameters_parse(text.s, &back));
    CHECK(back.prompt && !strcmp(back.prompt, prompt) && !strcmp(back.negative, negative), "prompts: '%s', '%s' of '%s'",
          back.prompt, back.negative, text.s);
    const char *got = ldm_parameters_get(&back, "Odd");
    CHECK(back.count == 4 && got && !strcmp(got, odd), "pairs: %d, '%s' of '%s'", back.count, got, text.s);
    ldm_parameters_free(&p), ldm_parameters_free(&back);
    ldm_text_free(&text);
}

static void grammar(void) {
    CASE("parameters as the web UI writes them") {
        /* what its own writer made of these */
        static const char text[] =
            "a (cat:1.2), sitting\nin two lines\nNegative prompt: blurry, low: quality\nSteps: 28, Sampler: DPM++ 2M, Schedule "
            "type: Karras, CFG scale: 7.5, Seed: 4294967295, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Hashes: "
            "\"{\\\"model\\\": \\\"6ce0161689\\\"}\", Clip skip: 2, Version: v1.10.1";
        ldm_parameters p = {0};
        ldm_text again = {0};
        CHECK_OK(ldm_parameters_parse(text, &p));
        CHECK(!strcmp(p.prompt, "a (cat:1.2), sitting\nin two lines"), "%s", p.prompt);
        CHECK(!strcmp(p.negative, "blurry, low: quality"), "%s", p.negative);
        CHECK(p.count == 11 && !strcmp(ldm_parameters_get(&p, "Sampler"), "DPM++ 2M") &&
                  !strcmp(ldm_parameters_get(&p, "Schedule type"), "Karras") &&
                  !strcmp(ldm_parameters_get(&p, "Hashes"), "{\"model\": \"6ce0161689\"}"),
              "%d pairs", p.count);
        CHECK_OK(ldm_parameters_write(&p, &again));
        CHECK(again.s && !strcmp(again.s, text), "%s", again.s);
        ldm_text_free(&again);
        ldm_parameters_free(&p);
    }
    CASE("parameters as stable-diffusion.cpp writes them") {
        /* objects and lists without quotes */
        static const char text[] =
            "caf\xc3\xa9\nSteps: 4, CFG scale: 7.000000, Skip layers: [7, 8, 9, ], Guidance: 3.500000, Eta: inf, Seed: 42, Size: 64x64, RNG: cpu, "
            "Sampler: euler_a, Custom Sigmas: [14.6146, 1.0000, 0.0000], Version: stable-diffusion.cpp, SDCPP: {\"schema\":\"a, bb: c\",\"list\":[1,2]}";
        ldm_parameters p = {0}, back = {0};
        ldm_text again = {0};
        CHECK_OK(ldm_parameters_parse(text, &p));
        CHECK(p.count == 12, "%d pairs", p.count);
        for (int turn = 0; turn < 2; turn++) {
            const ldm_parameters *q = turn ? &back : &p;
            const char *sigmas = ldm_parameters_get(q, "Custom Sigmas"), *all = ldm_parameters_get(q, "SDCPP");
            CHECK(sigmas && !strcmp(sigmas, "[14.6146, 1.0000, 0.0000]"), "%s", sigmas);
            CHECK(all && !strcmp(all, "{\"schema\":\"a, bb: c\",\"list\":[1,2]}"), "%s", all);
            if (turn) continue;
            CHECK_OK(ldm_parameters_write(&p, &again));
            if (again.s) CHECK_OK(ldm_parameters_parse(again.s, &back));
        }
        ldm_text_free(&again);
        ldm_parameters_free(&p), ldm_parameters_free(&back);
        CHECK_OK(ldm_parameters_parse("a\nbb: {no, cc: [1, x], dd: [1", &p));
        CHECK(p.count == 3 && !strcmp(ldm_parameters_get(&p, "bb"), "{no") && !strcmp(ldm_parameters_get(&p, "cc"), "[1") &&
                  !strcmp(ldm_parameters_get(&p, "dd"), "[1"),
              "%d pairs of what are no objects and lists", p.count);
        ldm_parameters_free(&p);
    }
    CASE("text that is only a prompt") {
        ldm_parameters p = {0};
        CHECK_OK(ldm_parameters_parse("  a cat\nSteps: 3, Seed: 4 ", &p));
        CHECK(!strcmp(p.prompt, "a cat\nSteps: 3, Seed: 4") && p.count == 0 && !*p.negative, "'%s'", p.prompt);
        ldm_parameters_free(&p);
        CHECK_OK(ldm_parameters_parse("", &p));
        CHECK(p.prompt && !*p.prompt, "empty");
        ldm_parameters_free(&p);
    }
    CASE("round trips") {
        static const char *const texts[] = {"", "a cat", "a, b: c \"d\" \\ e", "\xe7\x8c\xab \xf0\x9f\x90\xb1 caf\xc3\xa9", "two\nlines",
                                            " blanks at the ends ", "a\n\nb", "x\nNegative prompt: not negative", "a: 1, bb: 2, cc: 3",
                                            "end\n", "\"quoted\"", "\ttab", "a blank at the end ", "Steps: 1, Seed: 2, Size: 3\nx", "\"", "\\", "Exact prompt: x"};
        enum { N = sizeof texts / sizeof *texts };
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++) round_trip(texts[i], texts[k], texts[(i + 3 * k) % N]);
    }
    CASE("keys that the grammar cannot hold are refused") {
        ldm_parameters p = {0};
        ldm_text t = {0};
        ldm_parameters_prompt(&p, "x", NULL);
        ldm_parameters_add(&p, "a", "1"), ldm_parameters_add(&p, "b:", "2"), ldm_parameters_add(&p, "cc", "3");
        CHECK(ldm_parameters_write(&p, &t) == LDM_ERR_ARG, "written: %s", t.s);
        ldm_parameters_free(&p), ldm_text_free(&t);
    }
}

static void arrays(void) {
    CASE("npz, written in pieces") {
        ldm_shape s = ldm_shape_of(4, (int64_t)3, (int64_t)5, (int64_t)7, (int64_t)3);
        uint8_t data[3 * 5 * 7 * 3];
        ldm_npz *z = NULL;
        for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 5);
        CHECK_OK(ldm_npz_create(temp("a.npz"), "arr_0", LDM_U8, &s, &z));
        for (int i = 0; i < 3; i++) CHECK_OK(ldm_npz_write(z, data + i * 105, 105));
        CHECK(ldm_npz_write(z, data, 1) == LDM_ERR_ARG, "a byte too many");
        CHECK_OK(ldm_npz_commit(z));
        ldm_npz_destroy(z);
        char command[600];
        snprintf(command, sizeof command,
                 "python3 -c \"import zipfile,sys\nz=zipfile.ZipFile('%s')\nassert z.testzip() is None and z.namelist()==['arr_0.npy']\n"
                 "d=z.read('arr_0.npy')\nassert d[:6]==b'\\x93NUMPY' and b'(3, 5, 7, 3)' in d[:128] and d[128:]==bytes(i*5%%256 for i in range(315))\"",
                 temp("a.npz"));
        CHECK(system(command) == 0, "Python reads it otherwise");
        CHECK_OK(ldm_npz_create(temp("b.npz"), "arr_0", LDM_U8, &s, &z));
        CHECK_OK(ldm_npz_write(z, data, 7));
        CHECK(ldm_npz_commit(z) == LDM_ERR_ARG && strstr(ldm_message(), "of the array's"), "too few bytes: %s", ldm_message());
        ldm_npz_destroy(z);
        CHECK(access(temp("b.npz"), F_OK) != 0, "half an array was left");
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "pictures");
    if (!mkdtemp(folder)) return 1;
    reading();
    hostile();
    resizing();
    likeness();
    texts();
    grammar();
    arrays();
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    if (system(command)) return 1;
    return test_end();
}
