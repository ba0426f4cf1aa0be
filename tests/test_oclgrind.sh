#!/bin/sh
# test_oclgrind.sh -- small cases of every kernel (with arguments: of the rows they name) under the Oclgrind simulator:
# memory errors, data races and wrong API use in one pass, reads of what was never written in a second one (which the
# simulator only does without optimisation, so on tiny cases). Its exit status says nothing, so what it logs must be empty;
# hence deliberately wrong kernels come first, of which it must log what is wrong with them.
#   The second pass leaves out the CPU family and the library: of a float16 that the host itself wrote, the simulator
# (21.10) takes max(v.lo, v.hi) for unwritten, and attention_cpu ends it with a segmentation fault. There, scratch and
# outputs poisoned with NaNs are the check (host/ops/run.c); these kernels have no local memory.
# Ends with "oclgrind: N passed, N failed, N skipped"; a missing simulator is a skip.
cd "$(dirname "$0")/.." || exit 1
ops=${OPS:-build/release/tests/test_ops} ldm=${LDM:-build/release/ldm}
unset LDM_DEVICE
if ! command -v oclgrind >/dev/null; then
    echo "SKIP oclgrind: not installed (Debian: oclgrind)"
    echo "oclgrind: 0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
passed=0 failed=0

simulate() { # simulator's options, options of the kernels' builds, then the command; what it logs is in $work/log
    options=$1 build=$2
    shift 2
    rm -f "$work/log"
    # shellcheck disable=SC2086
    LDM_NO_CACHE=1 oclgrind $options --build-options "$build" --max-errors 20 --log "$work/log" "$@" >"$work/out" 2>&1
}

wrong() { # what must be logged, options, build options that make the kernel wrong, the problem, its implementation
    simulate "$2" "$3" "$ldm" op "$4" --impl "$5"
    if grep -q "$1" "$work/log" 2>/dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1)) && echo "FAIL oclgrind: wrong $5 ($2 $3): no '$1' in the log: $(tail -1 "$work/out")"
    fi
}

right() { # what, options, build options, size of the cases; the rest names the kernels
    what=$1 options=$2 build=$3 size=$4 start=$(date +%s)
    shift 4
    simulate "$options" "$build" "$ops" "$size" "$@"
    status=$?
    if [ "$status" -eq 0 ] && [ ! -s "$work/log" ] && grep -qE '^ops: [1-9][0-9]* passed, 0 failed' "$work/out"; then
        passed=$((passed + 1))
        echo "$what: $(grep -E '^ops: ' "$work/out" | tail -1), nothing logged, $(($(date +%s) - start)) s"
    else
        failed=$((failed + 1)) && echo "FAIL oclgrind: $what: status $status" && head -40 "$work/log"
        grep -E 'FAIL|^ops' "$work/out" | head -20
    fi
}

# no barrier (the numbers are those of the kernels' heads), a tail of local memory left alone, no check of the last row
race="Read-write data race at local memory"
wrong "$race" --data-races -DMUTANT=3 "gemm:f32 m=16 n=16 k=40" gemm_gpu
wrong "$race" --data-races -DMUTANT=3 "conv2d:f32 n=1 c=40 h=3 w=3 k=8 r=1 s=1" conv2d_gpu
wrong "$race" --data-races -DMUTANT=8 "attention:f32 n=1 heads=1 nq=4 nkv=4 d=3" attention_gpu
wrong "$race" --data-races -DMUTANT=8 "group_norm:f32 n=1 hw=9 c=4 groups=2" group_norm_gpu
wrong "$race" --data-races -DMUTANT=4 "layer_norm:f32 rows=2 c=77" layer_norm_gpu
wrong "$race" --data-races -DMUTANT=4 "softmax:f32 rows=2 cols=77" softmax_gpu
wrong "Uninitialized value" --uninitialized "-O0 -DMUTANT=9" "attention:f32 n=1 heads=1 nq=4 nkv=4 d=3" attention_gpu
mkdir "$work/kernels" && cp kernels/*.cl kernels/*.clh "$work/kernels" && sed -i '/if (row >= rows) return;/d' "$work/kernels/move.cl"
export LDM_KERNEL_DIR="$work/kernels"
wrong "Invalid read" --check-api "" "concat:f32 rows=3 ca=5 cb=3" concat_plain
unset LDM_KERNEL_DIR

right "races, bounds, API use" "--data-races --check-api" -DNO_SOON --small "$@"
[ $# -eq 0 ] && set -- _gpu _plain
right "uninitialised reads" --uninitialized "-O0 -DNO_SOON" --tiny "$@"
echo "oclgrind: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
