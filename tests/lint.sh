#!/bin/bash
# lint.sh -- the rules a compiler does not check: includes point down only, OpenCL is called in host/cl only, the reference
# includes nothing of ours, files open with a comment. Prints a line per breach.
cd "$(dirname "$0")/.." || exit 1
bad=0
breach() { echo "lint: $*"; bad=1; }
declare -A below=(
    [base]="base" [text]="base text" [cl]="base cl" [ops]="base cl ops reference" [plan]="base cl ops plan" [ckpt]="base ckpt" [io]="base io"
    [model]="base cl ops plan ckpt model" [sample]="base cl ops plan ckpt model sample"
    [app]="base cl ops plan ckpt model sample io text app"
)
for room in "${!below[@]}"; do
    for f in host/"$room"/*.[ch]; do
        for inc in $(grep -oE '#include "[a-z_]+/' "$f" | sed 's/.*"//; s,/,,' | sort -u); do
            case " ${below[$room]} " in *" $inc "*) ;; *) breach "$f includes $inc/, which is not below $room/" ;; esac
        done
    done
done
for f in $(grep -lE '\bcl[A-Z][A-Za-z]+ *\(|#include <(CL/|clblast)' host/*/*.[ch] bench/*.c 2>/dev/null | grep -v '^host/cl/'); do breach "$f calls OpenCL; only host/cl may"; done
for f in reference/*.[ch]; do grep -nE '#include "(base|cl|ops|plan|host)' "$f" && breach "$f includes host code"; done
for f in host/*/*.[ch] reference/*.[ch] kernels/*.cl kernels/*.clh tests/*.[ch]; do head -c 2 "$f" | grep -q '/\*' || breach "$f does not open with a comment"; done
for f in kernels/*.cl kernels/*.clh; do # comments aside
    grep -qE '\bstatic\b[^;{]*\([^;{]*__local' <(tr "\n" " " <"$f") && breach "$f hands local memory to a static function: gpu_tree.clh says why not"
    sed -E 's,//.*,,; s,/\*.*\*/,,; /^ \*/d' "$f" | grep -nE '\b(mad|native_[a-z0-9]+|atom(ic)?_[a-z]+)\(' && breach "$f uses mad, native_* or atomics"
done
grep -rnE '\b(TODO|FIXME|XXX)\b' host reference kernels tests/*.[ch] bench 2>/dev/null && breach "a TODO"
[ "$bad" -eq 0 ] && echo "lint: clean"
exit $bad
