# fuzz.mk -- the readers under address and undefined-behaviour sanitizers: their tests, and fuzzers with a fixed number
# of inputs (gcc is enough). Included by the Makefile; objects in build/fuzz, of base/, ckpt/, io/ and text/ alone.
FUZZ_B      := build/fuzz
FUZZ_SAN    := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS := -std=c11 -D_GNU_SOURCE $(WARN) -O1 -g $(FUZZ_SAN) -fno-omit-frame-pointer -Ihost -I.
FUZZ_WRAP   := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=strdup
FUZZ_LIBS   := $(shell pkg-config --libs libpng libjpeg libexif zlib jansson yaml-0.1 libutf8proc) -lm
FUZZ_LIB    := $(patsubst %.c,$(FUZZ_B)/%.o,$(wildcard host/base/*.c host/ckpt/*.c host/io/*.c host/text/*.c))
FUZZERS     := $(patsubst %,$(FUZZ_B)/fuzz_%,ckpt pickle tree npy png jpeg parameters text layout tokenizer)
FUZZ_TESTS  := $(patsubst %,$(FUZZ_B)/test_%,base files malformed malformed_torch pictures text)
FUZZ_LONG   := $(patsubst %,$(FUZZ_B)/long_%,ckpt pickle tree npy png jpeg parameters text layout tokenizer)
FUZZ_TIME   ?= 600
# configurations of networks need all of the library, which the sanitizers' build has
FUZZ_CONFIG := $(FUZZ_B)/fuzz_config

$(FUZZ_B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(FUZZERS): $(FUZZ_B)/fuzz_%: $(FUZZ_B)/tests/fuzz_%.o $(FUZZ_B)/tests/fuzz_driver.o $(FUZZ_LIB)
	$(CC) $(FUZZ_SAN) $(FUZZ_WRAP) -o $@ $^ $(FUZZ_LIBS)

$(FUZZ_TESTS): $(FUZZ_B)/test_%: $(FUZZ_B)/tests/test_%.o $(FUZZ_LIB)
	$(CC) $(FUZZ_SAN) -o $@ $^ $(FUZZ_LIBS)

$(FUZZ_B)/long_%: tests/fuzz_%.c $(wildcard host/base/*.c host/ckpt/*.c host/io/*.c host/text/*.c)
	@mkdir -p $(@D)
	clang $(FUZZ_CFLAGS) -Wno-unknown-warning-option -fsanitize=fuzzer -DFUZZ_LONG -o $@ $^ $(FUZZ_LIBS)

$(FUZZ_CONFIG): $(FUZZ_B)/tests/fuzz_config.o $(FUZZ_B)/tests/fuzz_driver.o asan-some
	$(CC) $(FUZZ_SAN) -fopenmp $(FUZZ_WRAP) -o $@ $(filter %.o,$^) build/asan/libldm.a $(LIBS)

.PHONY: fuzz fuzz-long fuzzers
fuzzers: $(FUZZERS) $(FUZZ_TESTS) $(FUZZ_CONFIG)

fuzz: fuzzers ## the readers' tests and fuzzers under sanitizers, a fixed number of inputs
	@tests/run $(FUZZ_TESTS) $(FUZZERS) $(FUZZ_CONFIG)

fuzz-long: $(FUZZ_LONG) $(FUZZERS) ## the same targets under clang's libFuzzer, FUZZ_TIME seconds each; corpus in build/fuzz/corpus
	@for t in ckpt pickle tree npy png jpeg parameters text layout tokenizer; do mkdir -p $(FUZZ_B)/corpus/$$t && \
	for i in 0 1 2 3 4 5; do FUZZ_SAVE=$(FUZZ_B)/corpus/$$t/seed$$i $(FUZZ_B)/fuzz_$$t 1 $$i >/dev/null || exit 1; done && \
	$(FUZZ_B)/long_$$t -max_total_time=$(FUZZ_TIME) -timeout=5 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
	-artifact_prefix=$(FUZZ_B)/$$t- $(FUZZ_B)/corpus/$$t || exit 1; done

-include $(shell find $(FUZZ_B) -name '*.d' 2>/dev/null)
