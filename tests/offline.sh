#!/bin/bash
# offline.sh -- compiles the GPU kernels (and the plain ones) for real GPUs without one, and reads what the compilers say:
# registers, spills, scratch, local memory, occupancy. Fails on a compile error, on spills, on scratch in the GPU family, on
# more than 32 KiB of local memory. Targets: AMD by clang + libclc, NVIDIA by clang + libclc + ptxas (a stand-in for the vendor's front end),
# Intel by ocloc. A target whose tools are missing is skipped and counted. Writes results/offline.txt and offline.json.
#   tests/offline.sh [-q] [PART OF A FILE NAME]...     (with names: a part of the table, printed only)
# These are compile-time facts: nothing here runs on a GPU.
set -u
cd "$(dirname "$0")/.." || exit 1
quiet=; [ "${1:-}" = -q ] && quiet=1 && shift
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rows=$work/rows skips=$work/skips failed=0
commit=$(git describe --always --dirty 2>/dev/null || echo unknown) # before results/ change
: >"$rows"; : >"$skips"

first() { for t in "$@"; do command -v "$t" && return; [ -x "$t" ] && echo "$t" && return; done; }
CLANG=$(first clang-15 clang-16 clang-14 clang) PTXAS=$(first ptxas /usr/local/cuda/bin/ptxas) OCLOC=$(first ocloc)
CLC=$(for d in /usr/lib/clc /usr/share/clc; do [ -d $d ] && echo $d && break; done)

# What is compiled: file, then sets of -D. The GPU family: the default, the other storage, odd sizes, other tunables.
sets() {
    case $1 in
    conv2d_gpu.cl) printf '%s\n' "" "-DREAL=half" "-DC_VEC=0 -DVEC=0" "-DACT=2" "-DTILE_M=128" "-DTILE_M=128 -DREAL=half" "-DTILE_N=32" ;;
    gemm_gpu.cl) printf '%s\n' "" "-DREAL=half" "-DVEC=0" "-DW_LAYOUT=1" "-DW_LAYOUT=2" "-DACT=3" "-DTILE_M=128" "-DTILE_M=128 -DREAL=half" "-DTILE_N=32" ;;
    attention_gpu.cl) printf '%s\n' "-DQUADS_D=2 -DCHUNK=8" "-DREAL=half -DQUADS_D=2 -DCHUNK=8" "-DQUADS_D=3" "-DVEC=0 -DQUADS_D=2" \
        "-DGROUP=256 -DQUADS_D=3" "-DTILE_Q=32 -DGROUP=256 -DQUADS_D=4" "-DTILE_Q=16 -DGROUP=256 -DQUADS_D=2" "-DTILE_Q=8 -DGROUP=256 -DQUADS_D=2" ;;
    conv2d_winograd_gpu.cl) printf '%s\n' "" "-DREAL=half" "-DOUT=2" ;;
    group_norm_gpu.cl) printf '%s\n' "" "-DREAL=half" "-DVEC=0" "-DGROUP=128" "-DWIDE=10" ;;
    *) printf '%s\n' "" "-DREAL=half" ;;
    esac
}

# row FILE DEFINES TARGET KERNEL REGISTERS SPILLED SCRATCH LOCAL LANES OCCUPANCY, tab separated
row() { (IFS=$'\t'; echo "$*") >>"$rows"; }
complain() { failed=$((failed + 1)); echo "FAIL offline: $*"; }

clang_common="-x cl -cl-std=CL1.2 -Xclang -finclude-default-header -Wno-linker-warnings -O3 -DFAST_FMA -DNO_SOON -S"

amd() { # file defines target
    $CLANG -target amdgcn-amd-amdhsa -mcpu="$3" -nogpulib -Xclang -mlink-builtin-bitcode -Xclang "$CLC/amdgcn--amdhsa.bc" \
        $clang_common $2 -o "$work/k.s" "$work/k.cl" 2>"$work/log" || { complain "$1 $2 on $3: $(grep -m1 error "$work/log")"; return; }
    # occupancy (waves a SIMD unit) stands in comments behind each kernel's code, the rest in the metadata at the end
    awk -v file="$1" -v set="$2" -v target="$3" '
        /^[A-Za-z_0-9]+:/ { symbol = $1; sub(/:.*/, "", symbol) }
        /^; Occupancy: / { waves[symbol] = $3 }
        /^amdhsa.kernels:/ { meta = 1 }
        meta && /^  - / { scratch = spilled = vgprs = lds = 0 }
        meta && /\.group_segment_fixed_size:/ { lds = $NF }
        meta && /^    \.name:/ { name = $NF }
        meta && /\.private_segment_fixed_size:/ { scratch = $NF }
        meta && /\.[sv]gpr_spill_count:/ { spilled += $NF }
        meta && /\.vgpr_count:/ { vgprs = $NF }
        meta && /\.wavefront_size:/ {
            printf "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s waves/SIMD\n", file, set, target, name, vgprs, spilled, scratch, lds, $NF, waves[name]
        }' "$work/k.s" >>"$rows"
}

nvidia() { # file defines target
    $CLANG -target nvptx64-nvidia-nvcl -Xclang -target-cpu -Xclang sm_80 -Xclang -target-feature -Xclang +ptx75 -Xclang \
        -mlink-builtin-bitcode -Xclang "$CLC/nvptx64--nvidiacl.bc" $clang_common $2 -o "$work/k.ptx" "$work/k.cl" 2>"$work/log" &&
        "$PTXAS" -v -arch="$3" "$work/k.ptx" -o "$work/k.cubin" >"$work/ptxas" 2>&1 ||
        { complain "$1 $2 on $3: $(grep -hm1 error "$work/log" "$work/ptxas")"; return; }
    # resident warps by registers (65,536 a multiprocessor, given out in eights), local memory and 64 warps
    awk -v file="$1" -v set="$2" -v target="$3" -v shared="$([ "$3" = sm_90 ] && echo 228 || echo 164)" '
        FNR == NR { if (/\.entry/) { e = $0; sub(/.*\.entry /, "", e); sub(/\(.*/, "", e) } if (/\.reqntid/) { n = $2; sub(/,/, "", n); size[e] = n } next }
        /Compiling entry/ { name = $0; sub(/.*function ./, "", name); sub(/. for .*/, "", name) }
        /bytes stack frame/ { for (i = 2; i <= NF; i++) { if ($i == "bytes" && $(i+1) == "stack") stack = $(i-1); if ($i == "bytes" && $(i+1) == "spill" ) spill += $(i-1) } }
        /Used [0-9]+ registers/ {
            for (i = 1; i <= NF; i++) { if ($i == "Used") regs = $(i+1); if ($i == "bytes" && $(i+1) ~ /^smem/) lds = $(i-1) }
            warps = (size[name] ? size[name] : 64) / 32
            groups = int(65536 / (int((regs + 7) / 8) * 8 * 32 * warps)); most = int(64 / warps)
            if (groups > most) groups = most
            if (lds > 0 && groups > int(shared * 1024 / (lds + 1024))) groups = int(shared * 1024 / (lds + 1024))
            printf "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t32\t%d warps/SM\n", file, set, target, name, regs, spill, stack, lds, groups * warps
            lds = spill = stack = 0
        }' "$work/k.ptx" "$work/ptxas" >>"$rows"
}

intel() { # file defines target; LEAST_LANES as host/cl reads it from the device
    local lanes=8; [ "$3" = pvc ] && lanes=16
    rm -rf "$work/out"
    (cd "$work" && $OCLOC compile -file k.cl -device "$3" -out_dir out --format zebin \
        -options "-cl-std=CL1.2 -DFAST_FMA -DNO_SOON -DLEAST_LANES=$lanes $2") >"$work/log" 2>&1 ||
        { complain "$1 $2 on $3: $(grep -im1 error "$work/log")"; return; }
    readelf -p .ze_info "$work"/out/*.bin 2>/dev/null | sed 's/^ *\[ *[0-9a-f]*\] *//; s/\\n//g' |
    awk -v file="$1" -v set="$2" -v target="$3" '
        function put() { if (name != "") printf "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t-\n", file, set, target, name, grf, spill, 0, slm, simd; slm = spill = 0 }
        /- name:/ { put(); name = $3 }
        /grf_count:/ { grf = $2 } /simd_size:/ { simd = $2 } /slm_size:/ { slm = $2 } /spill_size:/ { spill = $2 }
        /functions:/ { put(); name = "" }
        /kernels_misc_info:/ { put(); name = ""; exit }
        END { put() }' >"$work/intel"
    # the front end says so where the binary does not
    while read -r k n; do awk -F'\t' -v OFS='\t' -v k="$k" -v n="$n" '$4 == k && $6 == 0 { $6 = n } 1' "$work/intel" >"$work/i2" && mv "$work/i2" "$work/intel"
    done < <(sed -n 's/^warning: kernel \([A-Za-z_0-9]*\) .* spilled around \([0-9]*\).*/\1 \2/p' "$work/log")
    cat "$work/intel" >>"$rows"
}

targets=""
if [ -n "$CLANG" ] && [ -f "$CLC/amdgcn--amdhsa.bc" ]; then targets="amd:gfx906 amd:gfx1030 amd:gfx1100"
else echo "SKIP offline: AMD targets: needs clang and libclc (Debian: clang-15 libclc-15)" | tee -a "$skips"; fi
if [ -n "$CLANG" ] && [ -n "$PTXAS" ] && [ -f "$CLC/nvptx64--nvidiacl.bc" ]; then targets="$targets nvidia:sm_80 nvidia:sm_90"
else echo "SKIP offline: NVIDIA targets: needs clang, libclc and ptxas (of the CUDA toolkit)" | tee -a "$skips"; fi
if [ -n "$OCLOC" ] && command -v readelf >/dev/null; then targets="$targets intel:dg2-g10 intel:pvc"
else echo "SKIP offline: Intel targets: needs ocloc (Debian: intel-opencl-icd) and readelf" | tee -a "$skips"; fi

wanted() { [ $# -eq 1 ] && return 0; local f=$1; shift; for p in "$@"; do case $f in *$p*) return 0 ;; esac; done; return 1; }
for path in kernels/*.cl; do
    file=$(basename "$path")
    case $file in *_cpu.cl | peak.cl) continue ;; esac # peak.cl measures, it makes nothing
    wanted "$file" "$@" || continue
    "${KERNEL_SOURCE:-build/release/tests/kernel_source}" "$file" >"$work/k.cl" || exit 1
    while IFS= read -r defines; do
        [ -n "$quiet" ] || echo "$file ${defines:-(defaults)}"
        for t in $targets; do "${t%%:*}" "$file" "$defines" "${t#*:}"; done
    done < <(sets "$file")
done

# spills, scratch (the plain kernels may keep an array there), more than 32 KiB of local memory
bad=$(awk -F'\t' '$6 > 0 || ($7 > 0 && $1 ~ /_gpu/) || $8 > 32768 { printf "FAIL offline: %s %s on %s: kernel %s: %d registers, %d spilled, %d bytes of scratch, %d of local memory\n", $1, $2, $3, $4, $5, $6, $7, $8 }' "$rows")
[ -n "$bad" ] && echo "$bad" && failed=$((failed + $(echo "$bad" | wc -l)))

table() {
    echo "GPU kernels compiled offline by tests/offline.sh: compile-time facts, nothing ran on a GPU"
    [ -n "$CLANG" ] && "$CLANG" --version | head -1
    [ -n "$PTXAS" ] && "$PTXAS" --version | grep release
    [ -n "$OCLOC" ] && echo "ocloc of $(dpkg-query -W -f '${Package} ${Version}' intel-opencl-icd 2>/dev/null || echo unknown)"
    cat "$skips"
    echo "registers: vector registers a lane (AMD), registers a work-item (NVIDIA), registers a thread (Intel); local: bytes"
    echo
    { printf 'kernel\tdefines\ttarget\tregisters\tspilled\tscratch\tlocal\tlanes\toccupancy\n'
      awk -F'\t' '{ printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", $4, $2 == "" ? "(defaults)" : $2, $3, $5, $6, $7, $8, $9, $10 }' "$rows"; } |
        column -t -s "$(printf '\t')"
}
if [ $# -gt 0 ]; then table; else
    mkdir -p results && table >results/offline.txt
    awk -F'\t' -v date="$(date -u +%F)" -v commit="$commit" \
        -v clang="$([ -n "$CLANG" ] && "$CLANG" --version | head -1)" -v ptxas="$([ -n "$PTXAS" ] && "$PTXAS" --version | grep release)" \
        -v ocloc="$(dpkg-query -W -f '${Version}' intel-opencl-icd 2>/dev/null)" '
        function q(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); return "\"" s "\"" }
        BEGIN { printf "{\"date\": %s, \"commit\": %s, \"clang\": %s, \"ptxas\": %s, \"ocloc\": %s, \"kernels\": [", q(date), q(commit), q(clang), q(ptxas), q(ocloc) }
        { printf "%s\n  {\"file\": %s, \"defines\": %s, \"target\": %s, \"kernel\": %s, \"registers\": %d, \"spilled\": %d, \"scratch\": %d, \"local\": %d, \"lanes\": %d, \"occupancy\": %s}", (NR > 1 ? "," : ""), q($1), q($2), q($3), q($4), $5, $6, $7, $8, $9, q($10) }
        END { print "\n]}" }' "$rows" >results/offline.json
    echo "wrote results/offline.txt and results/offline.json"
fi
kernels=$(wc -l <"$rows")
echo "offline: $((kernels - $(printf '%s' "$bad" | grep -c .))) passed, $failed failed, $(wc -l <"$skips") skipped"
[ "$failed" -eq 0 ] && [ "$kernels" -gt 0 ]
