# check.sh -- what the tests of the tool begin and end with and share: suite=NAME one_sentence= ; . "$(dirname "$0")/check.sh".
# A suite stands in an empty folder of its own, $dir; $ldm is the tool (LDM names another), $tests, $data and $fixtures are
# where they are. check and expect count, closing says so. Where $one_sentence is set, a failing command says exactly one
# sentence on stderr.
# shellcheck shell=bash
cd "$(dirname "$0")/.." || exit 1
ldm=$PWD/${LDM:-build/release/ldm} tests=$PWD/tests data=$PWD/tests/data fixtures=$PWD/tests/fixtures
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
unset LDM_DATA_DIR LDM_NO_TUNED
passed=0 failed=0

# check NAME STATUS PATTERN COMMAND...: the exit status, and a line on stdout or stderr that matches
check() {
    local name=$1 want=$2 pattern=$3 got
    shift 3
    timeout 300 "$@" >out.txt 2>err.txt </dev/null
    got=$?
    if [ "$got" -ne "$want" ]; then
        echo "FAIL $suite: $name: status $got, wanted $want: $(tail -1 err.txt)"
        failed=$((failed + 1))
    elif [ -n "$pattern" ] && ! cat out.txt err.txt | grep -qE -- "$pattern"; then
        echo "FAIL $suite: $name: nothing matches '$pattern': $(tail -1 err.txt)"
        failed=$((failed + 1))
    elif [ -n "$one_sentence" ] && [ "$want" -ne 0 ] && [ "$(grep -c '^ldm' err.txt)" -ne 1 ]; then
        echo "FAIL $suite: $name: not exactly one sentence: $(cat err.txt)"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}

# expect NAME CONDITION...: a plain condition
expect() {
    local name=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        echo "FAIL $suite: $name"
        failed=$((failed + 1))
    fi
}

# The last line of a suite, which tests/run adds up, and its status.
closing() {
    echo "$suite: $passed passed, $failed failed, 0 skipped"
    [ "$failed" -eq 0 ]
}
