# bench.mk -- the bench, its peers, the plots and the bundle; included by the Makefile.
BENCH_OBJ := $(B)/bench/bench.o $(B)/bench/case.o $(B)/bench/gbench_shim.o $(B)/host/app/record.o
BENCH_ARGS ?=

$(B)/bench/%.o: bench/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -I. -Ihost $(LDFLAGS_$(CONFIG)) -MMD -MP -c -o $@ $<

$(B)/ldm-bench: $(BENCH_OBJ) $(B)/libldm.a
	$(CXX) $(LDFLAGS) -o $@ $^ $(LIBS) -lbenchmark

.PHONY: bench
bench: $(B)/ldm-bench ## verify and time every op on the shapes of bench/shapes; BENCH_ARGS='--op conv2d' narrows it
	$(B)/ldm-bench $(BENCH_ARGS)
