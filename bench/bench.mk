# bench.mk -- the bench, its peers, the plots and the bundle; included by the Makefile.
BENCH_OBJ := $(patsubst %,$(B)/bench/%.o,bench case cold compare floor grow net serve suite gbench_shim) \
             $(patsubst %,$(B)/host/app/%.o,network options record selftest)
BENCH_ARGS ?=

$(B)/bench/%.o: bench/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -I. -Ihost $(LDFLAGS_$(CONFIG)) -MMD -MP -c -o $@ $<

$(B)/ldm-bench: $(BENCH_OBJ) $(B)/libldm.a
	$(CXX) $(LDFLAGS) -o $@ $^ $(LIBS) -lbenchmark

.PHONY: bench
bench: $(B)/ldm-bench ## verify and time every op on the shapes of bench/shapes; BENCH_ARGS='--op conv2d' narrows it
	$(B)/ldm-bench $(BENCH_ARGS)

FLOOR := "cin-ldm-8" "sd15" "kl-f8:decoder -H 64"
.PHONY: bench-floor
bench-floor: $(B)/ldm-bench ## floor / measured of each kind of step, and what launching costs; FLOOR='"NET [options]" ...'
	@for net in $(FLOOR); do $(B)/ldm-bench --plan $$net $(FLOOR_ARGS) || exit 1; done

.PHONY: bench-budgets
bench-budgets: all $(B)/ldm-bench ## full-size models within --max-memory: peak, what was done for it, time; four minutes
	python3 bench/budgets.py --build $(B)

GROWTH := cin-ldm-8
.PHONY: bench-growth
bench-growth: $(B)/ldm-bench ## how the time of a network grows with batch, side and cores; GROWTH='NET [options]'; two minutes, then make plots
	$(B)/ldm-bench --grow batch,side,cores $(GROWTH)

$(B)/peer_onednn: $(B)/bench/peer_onednn.o
	$(CXX) $(LDFLAGS_$(CONFIG)) -o $@ $^ -ldnnl
$(B)/peer_openblas: $(B)/bench/peer_openblas.o
	$(CC) $(LDFLAGS_$(CONFIG)) -o $@ $^ -lopenblas
$(B)/bench/peer_openblas.o: CFLAGS += $(shell pkg-config --cflags openblas 2>/dev/null)

# shape files of the networks that are benched: NAME-PART.txt
SHAPES := $(foreach f,1 2 4 8 16 32,cin-ldm-$f:unet) vq-f4:encoder vq-f4:decoder kl-f8:encoder kl-f8:decoder sd15:unet
shapes: $(B)/ldm ## rewrite bench/shapes from the networks' plans
	@for net in $(SHAPES); do file=bench/shapes/$$(echo $$net | tr : -).txt; \
	{ echo "# the distinct problems of $$net, from \`ldm plan $$net --shapes\`"; $(B)/ldm plan $$net --shapes; } >$$file || exit 1; \
	echo "$$file: $$(grep -c ' x ' $$file) problems"; done

.PHONY: shapes bench-peers bench-peers-avx2 bench-networks plots bundle
bench-peers: $(B)/ldm-bench ## kernels: ours, oneDNN, OpenBLAS and CLBlast interleaved; then bench-networks; says who is absent
	@for peer in peer_onednn peer_openblas; do $(MAKE) -s $(B)/$$peer >$(B)/$$peer.log 2>&1 || { rm -f $(B)/$$peer; tail -1 $(B)/$$peer.log; }; done
	python3 bench/peers.py --build $(B) $(PEERS_ARGS)
	@if [ -x .venv/bin/python ]; then $(MAKE) bench-networks; \
	else echo "bench-peers: PyTorch, torch.compile, OpenVINO, ONNX Runtime and MNN are absent: no .venv (make peers-venv)"; fi

bench-peers-avx2: $(B)/ldm-bench $(B)/peer_onednn $(B)/peer_openblas ## the same kernels with all held to AVX2
	python3 bench/peers.py --build $(B) --isa AVX2 $(PEERS_ARGS)

bench-networks: all $(B)/ldm-bench ## whole networks: ours, PyTorch, OpenVINO, ONNX Runtime and MNN; NETWORKS_ARGS='--only cin-ldm-8'
	$(PYTHON) bench/networks.py --build $(B) $(NETWORKS_ARGS)

plots: ## redraw plots/*.png from results/ alone (gnuplot)
	@mkdir -p $(B)/plots
	python3 plots/columns.py $(or $(RESULTS),results) $(B)/plots
	@while read p which; do echo "$(or $(PLOTS),plots)/$$p-$$which.png"; \
	gnuplot -e "data='$(B)/plots/$$p-$$which.dat'; vars='$(B)/plots/$$p-$$which.vars'; out='$(or $(PLOTS),plots)/$$p-$$which.png'" \
	plots/$$p.gp || exit 1; done <$(B)/plots/list

bundle: all tests $(B)/ldm-bench ## build/bundle: a folder that runs elsewhere with nothing installed but an OpenCL driver
	bench/bundle.sh $(B) build/bundle

.PHONY: readme
readme: ## rewrite the README's tables from results/ alone
	python3 plots/readme.py results README.md
