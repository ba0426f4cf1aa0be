# ldm -- latent diffusion in C on any OpenCL device. `make help` lists the targets.
CONFIG  ?= release
B       := build/$(CONFIG)
CC      ?= cc
CXX     ?= c++
LIBS    := $(shell pkg-config --libs OpenCL libpng libjpeg libexif zlib jansson yaml-0.1 libutf8proc popt) -lclblast -lm -lpthread
CFLAGS_release := -O2 -g
CFLAGS_debug   := -O0 -g
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_asan   := -fsanitize=address,undefined
OBJ_asan       := build/asan/tests/sanitized.o
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wno-unused-parameter -Wno-override-init
CFLAGS  += -std=c11 -fopenmp -D_GNU_SOURCE $(WARN) $(CFLAGS_$(CONFIG)) -Ihost -I. -DCL_TARGET_OPENCL_VERSION=120 -DCL_USE_DEPRECATED_OPENCL_1_2_APIS
# the reference is the judge: no contraction, no fast-math; threads only split outputs
REFFLAGS := -ffp-contract=off
LDFLAGS += $(LDFLAGS_$(CONFIG)) -fopenmp

LIB_SRC  := $(wildcard host/base/*.c host/cl/*.c host/ops/*.c host/plan/*.c host/ckpt/*.c host/model/*.c host/sample/*.c host/io/*.c host/text/*.c)
REF_SRC  := $(wildcard reference/*.c)
APP_SRC  := $(wildcard host/app/*.c)
TEST_SRC := $(wildcard tests/test_*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o) $(REF_SRC:%.c=$(B)/%.o)
APP_OBJ  := $(APP_SRC:%.c=$(B)/%.o)
TESTS    := $(TEST_SRC:tests/%.c=$(B)/tests/%)

.PHONY: all offline oclgrind lib tests test sweep help clean lint format asan asan-test asan-some oracle oracle-pipelines peers-venv FORCE
all: lib $(B)/ldm ## build the library and the tool (build/release/ldm)

lib: $(B)/libldm.a

$(B)/libldm.a: $(LIB_OBJ)
	@rm -f $@; ar rcs $@ $^

$(B)/ldm: $(APP_OBJ) $(OBJ_$(CONFIG)) $(B)/libldm.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
	@if [ "$(CONFIG)" = release ]; then ln -sf $@ ldm; fi

# the commit a build came from, for results files; rewritten only when it changes
$(B)/gen/commit.h: FORCE
	@mkdir -p $(@D); c=$$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown); \
	printf '#define LDM_COMMIT "%s"\n' "$$c" | cmp -s - $@ || printf '#define LDM_COMMIT "%s"\n' "$$c" >$@
FORCE:
$(B)/host/app/record.o: $(B)/gen/commit.h
$(B)/host/app/record.o: CFLAGS += -I$(B)/gen
$(B)/tests/test_record: $(B)/host/app/record.o
$(B)/tests/test_condition $(B)/tests/test_pipelines: $(B)/host/app/condition.o
$(B)/tests/test_compare: $(B)/bench/compare.o
$(B)/tests/test_shapes: $(B)/host/app/network.o
$(B)/tests/test_tiling: $(B)/host/app/tiling.o
ifneq ($(shell command -v protoc-c),) # without protobuf-c the test says that it was left out
$(B)/gen/onnx.pb-c.c: tests/onnx.proto
	@mkdir -p $(@D)
	protoc-c --proto_path=tests --c_out=$(@D) $<
$(B)/tests/test_onnx.o: $(B)/gen/onnx.pb-c.c
$(B)/tests/test_onnx.o: CFLAGS += -DHAVE_PROTOBUF_C -I$(B)/gen
$(B)/tests/test_onnx: $(B)/gen/onnx.pb-c.o
$(B)/tests/test_onnx: LIBS += -lprotobuf-c
$(B)/gen/%.o: $(B)/gen/%.c
	$(CC) $(CFLAGS) -c -o $@ $<
endif

$(B)/reference/%.o: reference/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(REFFLAGS) -MMD -MP -c -o $@ $<

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/tests/test_%: $(B)/tests/test_%.o $(OBJ_$(CONFIG)) $(B)/libldm.a
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

$(B)/tests/kernel_source: $(B)/tests/kernel_source.o $(B)/libldm.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

tests: $(TESTS)

# the bench is tested where Google Benchmark is
BENCH_TESTED := $(if $(shell pkg-config --exists benchmark && echo yes),$(B)/ldm-bench)
test: all tests fuzzers asan-some $(BENCH_TESTED) ## build and run every test; ends with "N passed, N failed, N skipped"
	@tests/run $(TESTS) $(wildcard tests/test_*.sh) $(ASAN_SOME) $(FUZZ_TESTS) $(FUZZERS) $(FUZZ_CONFIG)

include bench/bench.mk
include tests/fuzz.mk

PYTHON ?= .venv/bin/python
peers-venv: ## a Python environment in .venv: PyTorch and diffusers (witness), and the peers of bench-networks
	python3 -m venv .venv && .venv/bin/pip install -q -r tests/oracle/requirements.txt
	@while read p; do .venv/bin/pip install -q "$$p" || echo "peers-venv: $$p left out"; done <bench/requirements.txt

oracle: ## remake tests/fixtures with PyTorch; CLONE=, TAMING=paths of latent-diffusion, taming-transformers: all of them
	$(PYTHON) tests/oracle/oracle.py $(if $(CLONE),--clone $(CLONE)) $(ORACLE_ARGS)
	$(if $(ORACLE_ARGS),,$(MAKE) oracle-pipelines)

oracle-pipelines: ## ... of it the whole tiny models, tests/fixtures/pipeline_*
	$(PYTHON) tests/oracle/pipelines.py $(if $(CLONE),--clone $(CLONE))
	$(PYTHON) tests/oracle/task_pipelines.py
	$(if $(and $(CLONE),$(TAMING)),$(PYTHON) tests/oracle/authors_pipelines.py --ldm $(CLONE) --taming $(TAMING))

offline: $(B)/tests/kernel_source ## compile the GPU kernels for real GPUs without one: no spills, at most 32 KiB of local memory; results/offline.txt
	@KERNEL_SOURCE=$(B)/tests/kernel_source tests/offline.sh

oclgrind: all tests ## small cases of every kernel under the Oclgrind simulator: races, bounds, uninitialised reads
	@tests/test_oclgrind.sh

sweep: tests ## f32 to f16 and bf16 of all 2^32 floats, host and device (minutes)
	$(B)/tests/test_convert --all

asan: ## build everything with address and undefined-behaviour sanitizers (build/asan)
	$(MAKE) CONFIG=asan all tests

asan-test: asan ## every test program and the tool's tests under the sanitizers (a quarter of an hour)
	@LDM=build/asan/ldm tests/run $(TEST_SRC:tests/%.c=build/asan/tests/%) tests/test_cli.sh

# the quick ones, in every `make test`: models, readers, plans, both executors, every row of the ops with ONNX vectors
ASAN_SOME := $(patsubst %,build/asan/tests/test_%,bind layouts loop models onnx reference sample shapes system)
asan-some:
	$(MAKE) CONFIG=asan $(ASAN_SOME)

lint: ## rules a compiler does not check: includes point down, OpenCL only in host/cl, ...
	@tests/lint.sh

format: ## clang-format every C file
	clang-format -i $(LIB_SRC) $(REF_SRC) $(APP_SRC) $(TEST_SRC) $(wildcard host/*/*.h reference/*.h tests/*.h)

clean: ## remove build/
	rm -rf build ldm

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

# the vocabularies are part of the library
$(B)/host/text/embedded.o: $(wildcard host/text/vocab/*.txt)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
