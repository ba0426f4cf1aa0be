#!/bin/sh
# oclgrind.sh -- the small cases of every GPU kernel (with arguments: of the rows they name) under the Oclgrind simulator:
# memory errors, data races and wrong API use in one run, reads of uninitialised memory in a second one (which the simulator
# only does without optimisation: minutes for a full tile, so on tiny cases). Its exit status says nothing, so what it logs must be empty.
# The simulator takes what one kernel wrote for uninitialised in the next one (21.10: the plain group norm is reported too),
# so the second run leaves out rows of several kernels.
# Ends with "oclgrind: N passed, N failed, N skipped"; a missing simulator is a skip.
cd "$(dirname "$0")/.." || exit 1
prog=${OPS:-build/release/tests/test_ops}
all="$*"
if ! command -v oclgrind >/dev/null; then
    echo "SKIP oclgrind: not installed (Debian: oclgrind)"
    echo "oclgrind: 0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
passed=0 failed=0
run() { # what, simulator's options, size of the cases; the rest names the kernels
    what=$1 options=$2 size=$3
    shift 3
    LDM_NO_CACHE=1 oclgrind $options --max-errors 20 --log "$work/log" "$prog" "$size" "$@" >"$work/out" 2>&1
    status=$?
    if [ "$status" -eq 0 ] && [ ! -s "$work/log" ] && grep -qE '^ops: [1-9][0-9]* passed, 0 failed' "$work/out"; then
        passed=$((passed + 1)) && echo "$what: $(grep -E '^ops: ' "$work/out" | tail -1), nothing logged"
    else
        failed=$((failed + 1)) && echo "FAIL oclgrind: $what: status $status" && head -40 "$work/log" && grep -E 'FAIL|^ops' "$work/out" | head -20
    fi
    rm -f "$work/log"
}
run "races, bounds, API use" "--data-races --check-api" --small ${all:-_gpu}
run "uninitialised reads" "--uninitialized --build-options -O0" --tiny ${all:-conv2d_gpu gemm_gpu attention_gpu layer_norm_gpu softmax_gpu}
echo "oclgrind: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
