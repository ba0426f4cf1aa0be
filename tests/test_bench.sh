#!/bin/bash
# test_bench.sh -- `ldm bench` as a user meets it: its files, its exit statuses. Small problems and a small network: what is
# judged is the tool, no figure. LDM names the tool. Prints FAIL lines and the closing line that tests/run adds up.
suite=bench one_sentence=
. "$(dirname "$0")/check.sh"
tiny="in_channels=3 out_channels=3 model_channels=32 num_res_blocks=1 channel_mult=1,2 attention_resolutions=2 num_heads=2 use_spatial_transformer=1 context_dim=16"
if [ ! -x "$(dirname "$ldm")/ldm-bench" ] || ! command -v python3 >/dev/null; then
    echo "SKIP bench: Google Benchmark or python3 is missing"
    echo "bench: 0 passed, 0 failed, 1 skipped"
    exit 0
fi

# json NAME FILE EXPRESSION: a Python expression of the file's content j is true
json() {
    if python3 -c "import json, sys; j = json.load(open(sys.argv[1])); sys.exit(0 if $3 else 1)" "$2" 2>json.txt; then passed=$((passed + 1)); else
        echo "FAIL bench: $1: not so: $3 $(tail -1 json.txt)"
        failed=$((failed + 1))
    fi
}

check "help" 0 "--plan=NET" "$ldm" bench --help
check "wrong flag" 1 "option '--no-such-flag'" "$ldm" bench --no-such-flag
check "nothing left" 1 "no problem left" "$ldm" bench --filter no-such-problem

# ---- cases, and their files
cat >shapes.txt <<END
# two problems
  3 x group_norm:f32 n=1 hw=64 c=64 groups=32 act=silu
  1 x gemm:f32 m=16 n=64 k=64 +bias
END
check "list" 0 "^gemm:f32 m=16 n=64 k=64 \+bias @gemm_plain$" "$ldm" bench shapes.txt --op gemm --impl all --list
check "cases" 0 "other load on the machine: [0-9.]+ %" "$ldm" bench shapes.txt --min-time 0.002 --repetitions 4 -o old.json
json "cases: Google Benchmark's schema" old.json "
    [b['run_type'] for b in j['benchmarks']].count('iteration') == 8
    and all(b['real_time'] > 0 and b['cpu_time'] >= 0 and b['time_unit'] == 'us' and b['iterations'] > 0 for b in j['benchmarks'] if b['run_type'] == 'iteration')
    and {b['aggregate_name'] for b in j['benchmarks'] if b['run_type'] == 'aggregate'} >= {'mean', 'median', 'stddev'}
    and j['context']['num_cpus'] > 0 and j['context']['caches_before_a_run'] == 'warm'"
json "cases: every run of a batch is an iteration, so that short ones take no longer than asked" old.json "
    all(r['iterations'] % r['batch'] == 0 for r in j['rows'])"
json "cases: medians of the repetitions" old.json "
    all(sorted(b['real_time'] for b in j['benchmarks'] if b['run_type'] == 'iteration' and b['run_name'].startswith(r['problem']))[1]
        <= 1.00001e6 * r['seconds'] and r['repetitions'] == 4 and r['spread'] >= 0 and 0 <= r['other_load'] <= 1 and r['judged'] > 0 for r in j['rows'])
    and [r['uses'][0]['count'] for r in j['rows']] == [3, 1] and j['header']['commit']"
check "cold" 0 "" "$ldm" bench shapes.txt --op gemm --cold --repetitions 2 -o cold.json
json "cold: so it says, and in another name" cold.json "j['context']['caches_before_a_run'] == 'cold' and j['benchmarks'][0]['name'].endswith('/iterations:5/manual_time')"
check "network" 0 "unet 1x16x16 f32" "$ldm" bench --net "$tiny" -H 16 --min-time 0.001 --repetitions 2 -o net.json
json "network: a row with its floor" net.json "j['rows'][0]['op'] == 'network' and j['rows'][0]['seconds'] > 0 and j['rows'][0]['roof_percent'] > 0"
check "cold and warm" 1 "exclude" "$ldm" bench shapes.txt --cold --warm
check "an option of the library that it has not" 1 "Google Benchmark" "$ldm" bench shapes.txt --op gemm --no-results --benchmark_no_such

# ---- comparing: with itself made slower and faster, times that no noise reaches
scale() { python3 -c "
import json, sys
j = json.load(open('old.json'))
for b in j['benchmarks']: b['real_time'] *= float(sys.argv[1])
json.dump(j, open(sys.argv[2], 'w'))" "$1" "$2"; }
scale 1e-6 quick.json
scale 1e6 slow.json
check "compare: slower" 3 "2 of 2 cases became slower" "$ldm" bench shapes.txt --min-time 0.002 --no-results --compare quick.json
check "compare: faster" 0 "0 slower, 2 faster" "$ldm" bench shapes.txt --min-time 0.002 --no-results --compare slow.json
check "compare: no such file" 2 "compare" "$ldm" bench shapes.txt --no-results --compare nothing.json
check "compare: nothing in common" 2 "none of the cases" "$ldm" bench shapes.txt --min-time 0.002 --no-results --repetitions 1 --compare net.json

# ---- a network against its floor
check "plan: no such network" 1 "nonesuch" "$ldm" bench --plan nonesuch
check "plan" 0 "launching: [0-9]+ launches" "$ldm" bench --plan "$tiny" --repetitions 2 -o floor.json
json "plan: the parts make the whole" floor.json "
    abs(sum(s['floor_s'] for s in j['steps']) / j['floor_s'] - 1) < 1e-4 and sum(s['launches'] for s in j['steps']) == j['launches']
    and abs(sum(k['seconds'] for k in j['kinds'][:-1]) / j['kinds'][-1]['seconds'] - 1) < 1e-4 and j['kinds'][-1]['kind'] == 'kernels'"
json "plan: wall clock holds the kernels" floor.json "0 < j['kinds'][-1]['seconds'] <= j['seconds'] and j['floor_s'] > 0 and j['launch_us'] >= 0"
json "plan: the header says where" floor.json "j['header']['peak']['gflops'] > 0 and j['header']['device']['name'] and 0 <= j['other_load'] <= 1"

# ---- a network as it grows, and parts of a device
check "grow" 0 "cores +1 .* ms" "$ldm" bench --grow cores,batch "$tiny" -H 8 -o grow.json
json "grow: batches to 16 and all cores" grow.json "
    [r['value'] for r in j['rows'] if r['axis'] == 'batch'] == [1, 2, 4, 8, 16] and [r['value'] for r in j['rows'] if r['axis'] == 'cores'][0] == 1
    and [r['value'] for r in j['rows'] if r['axis'] == 'cores'][-1] == j['header']['device']['units']
    and all(0 < r['low_s'] <= r['seconds'] <= r['high_s'] and r['runs'] >= 3 for r in j['rows'])
    and j['rows'][-1]['flops'] > 15 * [r for r in j['rows'] if r['axis'] == 'batch'][0]['flops']"
check "grow: no such axis" 1 "wanted a list of batch, side, cores" "$ldm" bench --grow depth "$tiny"
check "grow: no network" 1 "wanted one network" "$ldm" bench --grow batch
check "one core" 0 "other load" "$ldm" bench shapes.txt --op gemm --cores 1 --min-time 0.002 --repetitions 1 -o one.json
json "one core: so it says" one.json "j['header']['device']['units'] == 1"
check "too many cores" 1 "it has" "$ldm" bench shapes.txt --cores 4096 --no-results

closing
