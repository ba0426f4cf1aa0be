#!/bin/bash
# test_bench.sh -- `ldm bench` as a user meets it: its files, its exit statuses. Small problems and a small network: what is
# judged is the tool, no figure. LDM names the tool. Prints FAIL lines and the closing line that tests/run adds up.
cd "$(dirname "$0")/.." || exit 1
ldm=$PWD/${LDM:-build/release/ldm}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0 failed=0
tiny="in_channels=3 out_channels=3 model_channels=32 num_res_blocks=1 channel_mult=1,2 attention_resolutions=2 num_heads=2 use_spatial_transformer=1 context_dim=16"
if [ ! -x "$(dirname "$ldm")/ldm-bench" ] || ! command -v python3 >/dev/null; then
    echo "SKIP bench: Google Benchmark or python3 is missing"
    echo "bench: 0 passed, 0 failed, 1 skipped"
    exit 0
fi

# check NAME STATUS PATTERN COMMAND...: the exit status, and a line on stdout or stderr that matches
check() {
    local name=$1 want=$2 pattern=$3 got
    shift 3
    timeout 300 "$@" >out.txt 2>err.txt </dev/null
    got=$?
    if [ "$got" -ne "$want" ]; then
        echo "FAIL bench: $name: status $got, wanted $want: $(tail -1 err.txt)"
        failed=$((failed + 1))
    elif [ -n "$pattern" ] && ! cat out.txt err.txt | grep -qE -- "$pattern"; then
        echo "FAIL bench: $name: nothing matches '$pattern': $(tail -1 err.txt)"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}
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

# ---- a network against its floor
check "plan: no such network" 1 "nonesuch" "$ldm" bench --plan nonesuch
check "plan" 0 "launching: [0-9]+ launches" "$ldm" bench --plan "$tiny" --repetitions 2 -o floor.json
json "plan: the parts make the whole" floor.json "
    abs(sum(s['floor_s'] for s in j['steps']) / j['floor_s'] - 1) < 1e-4 and sum(s['launches'] for s in j['steps']) == j['launches']
    and abs(sum(k['seconds'] for k in j['kinds'][:-1]) / j['kinds'][-1]['seconds'] - 1) < 1e-4 and j['kinds'][-1]['kind'] == 'kernels'"
json "plan: wall clock holds the kernels" floor.json "0 < j['kinds'][-1]['seconds'] <= j['seconds'] and j['floor_s'] > 0 and j['launch_us'] >= 0"
json "plan: the header says where" floor.json "j['header']['peak']['gflops'] > 0 and j['header']['device']['name'] and 0 <= j['other_load'] <= 1"

echo "bench: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
