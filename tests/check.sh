# check.sh -- what the tests of the tool share, for bash to read (. check.sh): counts of checks, check and expect. $suite is
# printed with each failure; where $one_sentence is set, a failing command says exactly one sentence on stderr.
# shellcheck shell=bash
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
