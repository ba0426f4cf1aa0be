#!/bin/bash
# test_cli.sh -- the tool as a user meets it: help, wrong flags, bad input, exit statuses, nothing left behind, same bytes twice.
# Prints FAIL lines and the closing line that tests/run adds up. LDM names the tool.
suite=cli one_sentence=yes
. "$(dirname "$0")/check.sh"
export XDG_DATA_HOME=$dir/data
tiny="in_channels=3 out_channels=3 model_channels=32 num_res_blocks=1 channel_mult=1,2 attention_resolutions=2 num_heads=2 use_spatial_transformer=1 context_dim=16"

none_left() { [ -z "$(find . -name '*.tmp.*' -print -quit)" ]; }
npy() { # npy FILE SHAPE COUNT: float32 of order one
    python3 - "$@" <<'END'
import random, struct, sys
random.seed(1)
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % sys.argv[2]
head += " " * (63 - (10 + len(head)) % 64) + "\n"
open(sys.argv[1], "wb").write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + b"".join(struct.pack("<f", random.gauss(0, 1)) for _ in range(int(sys.argv[3]))))
END
}

# ---- help and usage
check "help" 0 "usage: ldm COMMAND" "$ldm" --help
"$ldm" >out.txt 2>err.txt
expect "no command: usage on stderr, status 1" test $? -eq 1 -a -s err.txt -a ! -s out.txt
"$ldm" --help >/dev/full 2>err.txt
expect "help that cannot be written: status 5" test $? -eq 5 -a -s err.txt
check "unknown command" 1 "no command 'frobnicate'" "$ldm" frobnicate
for c in devices info plan encode decode roundtrip run op diff gen sample verify selftest ablate tune eval sheet tokenize; do
    check "$c --help" 0 "(-q, --quiet|--quiet)" "$ldm" $c --help
    check "$c wrong flag" 1 "option '--no-such-flag'" "$ldm" $c --no-such-flag
done
check "a number where one is wanted" 1 "invalid numeric value" "$ldm" sample cin-ldm-32 --steps many -o x.png

# ---- an output that cannot be written is found before the work
before() { # before NAME COMMAND...
    check "$1: output found unwritable" 5 "cannot be (written|made)" "$ldm" "${@:2}"
    expect "$1: before the work" test ! -s out.txt
}
before ablate ablate --f 32 --steps 1 --repeat 1 -o /proc/none/x.json
before verify verify cin-ldm-32 --save /proc/none/x
before run run unet --config "$tiny" --synthetic 1 --in x=missing.npy --repeat 2 --out /proc/none/y.npy
before op op "gemm:f32 m=4 n=4 k=4" --out /proc/none/y.npy
before roundtrip roundtrip --taesd "$data/taef2" -i "$data/photos/coffee.png" -o /proc/none/y.png

# ---- devices
check "devices" 0 "compute units" "$ldm" devices
check "why" 0 "chosen" "$ldm" devices --why 'conv2d:f16 n=1 c=64 h=16 w=16 k=64 r=3 s=3 pt=1 pb=1 pl=1 pr=1'
check "why: bad problem" 1 "no such op" "$ldm" devices --why 'convolve:f32 n=1'
check "unknown device" 1 "no such device" "$ldm" selftest --device nothing-like-this
mkdir empty
check "one device of the list" 0 "^0 " "$ldm" devices --device 0
check "a device that the list lacks" 1 "no such device" "$ldm" devices --device 99
check "no OpenCL at all" 3 "install" env OCL_ICD_VENDORS="$dir/empty" OCL_ICD_FILENAMES= "$ldm" devices
check "self-test" 0 "self-test passed" "$ldm" selftest

# ---- plans, ops
check "plan" 0 "394984196 parameters in 626 tensors" "$ldm" plan cin-ldm-8
check "plan: fused" 0 "gemm:f32 .*act=geglu" "$ldm" plan cin-ldm-32
check "plan --no-fuse" 0 " geglu:f32 rows" "$ldm" plan cin-ldm-32 --no-fuse
for size in "--batch 0" "--height 0" "--width -8" "--tokens 0"; do check "plan $size" 1 "${size% *}.* wanted 1 or more" "$ldm" plan cin-ldm-32 $size; done
check "plan --shapes" 0 "x conv2d:f32" "$ldm" plan cin-ldm-32 --shapes
check "unknown config" 1 "config 'ldm-99' is not known" "$ldm" plan ldm-99
check "op" 0 "worst error / bound" "$ldm" op 'softmax:f32 rows=7 cols=33'
check "op: missing number" 1 "cols= is missing" "$ldm" op 'softmax:f32 rows=7'
check "op: unknown row" 1 "has no implementation" "$ldm" op 'softmax:f32 rows=7 cols=33' --impl softmax_magic
check "op: parameters" 0 "gemm_tile TILE_ROWS=4" "$ldm" op 'gemm:f32 m=17 n=70 k=33' --impl gemm_tile --params 'TILE_ROWS=4'
check "op: a parameter it does not have" 1 "has no parameter 'X'" "$ldm" op 'gemm:f32 m=17 n=70 k=33' --impl gemm_tile --params 'X=4'
check "op: a value it does not have" 1 "TILE_ROWS=5" "$ldm" op 'gemm:f32 m=17 n=70 k=33' --impl gemm_tile --params 'TILE_ROWS=5'
npy far.npy "1," 1 && printf '\000\000\310\102' | dd of=far.npy bs=1 seek=$(($(stat -c %s far.npy) - 4)) conv=notrunc 2>/dev/null
check "op: NaN comes of NaN" 4 "reference nan" "$ldm" op 'embedding:f32 rows=1 entries=5 c=8' --in ids=far.npy
check "op: a budget" 6 "the op needs 8[.0-9]* MiB, available are 1.0" "$ldm" op 'cast:f32 count=1048576' --max-memory 1M
check "op: zero size" 1 "" "$ldm" op 'softmax:f32 rows=0 cols=33'

# ---- pictures
check "round trip" 0 "PSNR 31.1[0-9]+ dB" "$ldm" roundtrip --taesd "$data/taef2" -i "$data/photos/astronaut.png" -o a.png
check "again" 0 "PSNR" "$ldm" roundtrip --taesd "$data/taef2" -i "$data/photos/astronaut.png" -o b.png
expect "same command, same bytes" cmp -s a.png b.png
check "one thread" 0 "PSNR" env POCL_MAX_PTHREAD_COUNT=1 "$ldm" roundtrip --taesd "$data/taef2" -i "$data/photos/astronaut.png" -o c.png
expect "one thread, same bytes" cmp -s a.png c.png
check "a JPEG's name" 0 "a.jpg: is written as PNG" "$ldm" roundtrip --taesd "$data/taef2" -i "$data/photos/chelsea.png" -o a.jpg
check "odd size" 0 "451 x 300" "$ldm" roundtrip --taesd "$data/taef2" -i "$data/photos/chelsea.png" -o odd.png
check "encode" 0 "latent \[1, 32, 50, 75\]" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o z.npy
check "decode" 0 "600 x 400" "$ldm" decode --taesd "$data/taef2" -i z.npy -o d.png
npy none.npy "1, 32, 0, 75" 0
check "a latent without values" 2 "shape \[1, 32, 0, 75\], wanted" "$ldm" decode --taesd "$data/taef2" -i none.npy -o none.png
check "a crop larger than the picture" 1 "crop to 601 x 400: the picture is 600 x 400" "$ldm" decode --taesd "$data/taef2" -i z.npy -W 601 -o none.png
expect "... before anything runs" test "$(grep -c "device memory" err.txt)" -eq 0
check "weights from two places" 1 "exclude each other" "$ldm" decode --taesd "$data/taef2" --synthetic 1 -i z.npy -o none.png
check "diff: a limit below 0" 1 "wanted 0 or more" "$ldm" diff z.npy z.npy --max -1
check "diff: equal" 0 "0 differ" "$ldm" diff z.npy z.npy
cp z.npy nan.npy && printf '\000\000\300\177' | dd of=nan.npy bs=1 seek=$(($(stat -c %s nan.npy) - 4)) conv=notrunc 2>/dev/null
check "NaN in a latent" 4 "NaN" "$ldm" decode --taesd "$data/taef2" -i nan.npy -o nan.png
expect "no picture of a NaN" test ! -e nan.png
check "missing picture" 2 "cannot be opened" "$ldm" encode --taesd "$data/taef2" -i no.png -o z2.npy
check "not a picture" 2 "" "$ldm" encode --taesd "$data/taef2" -i z.npy -o z2.npy
check "missing weights" 2 "" "$ldm" encode --taesd "$dir/empty" -i "$data/photos/coffee.png" -o z2.npy
check "no weights named" 1 "weights" "$ldm" encode -i "$data/photos/coffee.png" -o z2.npy
check "output is a directory" 5 "directory" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o "$dir/empty"
check "output folder is missing" 5 "cannot be written" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o "$dir/none/z.npy"
if [ "$(id -u)" -ne 0 ]; then
    mkdir ro && chmod 500 ro
    check "read-only folder" 5 "cannot be written" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o ro/z.npy
fi
check "not enough memory" 6 "the plan needs" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o z2.npy --max-memory 8M
check "latent of another stage" 2 "wanted \[1, 4" "$ldm" decode --config kl-f8 --synthetic 1 -i z.npy -o x.png
expect "nothing left behind" test ! -e z2.npy

# ---- networks
check "save weights" 0 "" "$ldm" run unet --config "$tiny" --synthetic 3 --save-weights w.safetensors
check "info" 0 "input_blocks.0.0.weight" "$ldm" info w.safetensors
check "bind another family" 2 "140 are missing" "$ldm" run decoder --config kl-f8 -m w.safetensors --in z=z.npy -o y.npy
head -c 1000 w.safetensors >short.safetensors
check "info of nothing" 1 "usage: ldm info FILE" "$ldm" info
check "truncated weights" 2 "" "$ldm" info short.safetensors
cp w.safetensors bad.safetensors && printf '\000\000\300\177' | dd of=bad.safetensors bs=1 seek=$(($(stat -c %s bad.safetensors) - 4)) conv=notrunc 2>/dev/null
"$ldm" encode --config identity --synthetic 1 -i "$data/photos/coffee.png" -o x.npy -q >/dev/null 2>&1
npy xs.npy "1, 3, 16, 16" 768
npy t1.npy "1," 1
npy c1.npy "1, 5, 16" 80
check "run" 0 "run 1" "$ldm" run unet --config "$tiny" -m w.safetensors --in x=xs.npy --in t=t1.npy --in context=c1.npy -o y1.npy
check "run, references" 0 "run 1" "$ldm" run unet --config "$tiny" -m w.safetensors --in x=xs.npy --in t=t1.npy --in context=c1.npy -o y2.npy --executor reference
check "both executors agree" 0 "max absolute" "$ldm" diff y1.npy y2.npy --max 1e-5
check "no times of the references" 1 "executor reference" "$ldm" run unet --config "$tiny" -m w.safetensors --in x=xs.npy --in t=t1.npy --in context=c1.npy --executor reference --profile ref.json
check "dump" 0 "arrays written" "$ldm" run unet --config "$tiny" -m w.safetensors --in x=xs.npy --in t=t1.npy --in context=c1.npy --dump middle_block dumped
expect "dumped arrays" test -s "$(ls dumped/*middle_block.1*x.npy | head -1)"
check "profile" 0 "conv2d" "$ldm" run unet --config "$tiny" -m w.safetensors --in x=xs.npy --in t=t1.npy --in context=c1.npy --profile trace.json
expect "a trace" grep -q traceEvents trace.json
check "verify a small network completely" 0 "0 outside their bound" "$ldm" verify unet --config "$tiny" --height 16 --complete --save digests.txt
check "verify against digests" 0 "0 of [0-9]+ steps differ" "$ldm" verify unet --config "$tiny" --height 16 --complete --against digests.txt
check "digests of other steps" 2 "another network or plan: it has no step" "$ldm" verify unet --config "$tiny" --height 8 --against digests.txt
head -50 digests.txt >half.txt
check "digests cut short" 2 "it has no step 49" "$ldm" verify unet --config "$tiny" --height 16 --against half.txt
check "every op: nothing to save" 1 "no other option" "$ldm" verify --ops --save ops.txt
check "rows without an op" 1 "wanted OP=IMPLEMENTATION" "$ldm" verify unet --config "$tiny" --impl conv2d_plain
check "rows of no op" 1 "no op 'conv3d'" "$ldm" verify unet --config "$tiny" --impl conv3d=conv2d_plain
sed -i '20s/ [0-9a-f]\{16\} / 0000000000000000 /' digests.txt
check "a changed digest is found" 3 "1 of [0-9]+ steps differ" "$ldm" verify unet --config "$tiny" --height 16 --complete --against digests.txt
check "TAEF2 on both executors" 0 "0 outside their bound" "$ldm" verify decoder -m "$data/taef2/taef2_decoder.pth" --height 8 --complete
check "a run without t" 2 "t: 0 values" "$ldm" run unet --config "$tiny" --synthetic 3 --in x=x.npy -o y.npy
npy x0.npy "0, 3, 16, 16" 0
check "an input without values" 2 "shape \[0, 3, 16, 16\], wanted values" "$ldm" run unet --config "$tiny" --synthetic 3 --in x=x0.npy --in t=t1.npy --in context=c1.npy -o y.npy
check "verify a batch of none" 1 "--batch 0: wanted 1 or more" "$ldm" verify unet --config "$tiny" --batch 0
check "wrong input name" 1 "wanted NAME=FILE.npy" "$ldm" run unet --config "$tiny" --synthetic 3 --in q=x.npy -o y.npy

# ---- sampling
check "class out of range" 1 "classes 0 to 999" "$ldm" sample cin-ldm-32 --synthetic 1 --class-id 1000 -o x.png
check "guidance without a null class" 1 "no null class" "$ldm" sample cin-ldm-32 --synthetic 1 --cfg-scale 3 -o x.png
check "size" 1 "multiples of" "$ldm" sample cin-ldm-32 --synthetic 1 --height 200 -o x.png
check "steps that reach index 1000" 1 "" "$ldm" sample cin-ldm-32 --synthetic 1 --steps 300 -o x.png
check "batch 0" 1 "wanted 1 to 64" "$ldm" sample cin-ldm-32 --synthetic 1 --batch 0 -o x.png
check "batch 65" 1 "wanted 1 to 64" "$ldm" sample cin-ldm-32 --synthetic 1 --batch 65 -o x.png
check "steps 0" 1 "" "$ldm" sample cin-ldm-32 --synthetic 1 --steps 0 -o x.png
check "steps 1000" 1 "" "$ldm" sample cin-ldm-32 --synthetic 1 --steps 1000 -o x.png
check "eta 2" 1 "wanted 0 to 1" "$ldm" sample cin-ldm-32 --synthetic 1 --eta 2 -o x.png
check "guidance NaN" 1 "" "$ldm" sample cin256-v2 --synthetic 1 --cfg-scale nan -o x.png
check "seed beyond 64 bits" 1 "" "$ldm" sample cin-ldm-32 --synthetic 1 --seed 99999999999999999999 -o x.png
check "height 1" 1 "multiples of" "$ldm" sample cin-ldm-32 --synthetic 1 --height 1 -o x.png
check "NaN in weights, by name" 4 "out.2.bias: 1 of 3 values are not finite" "$ldm" run unet --config "$tiny" -m bad.safetensors --in x=xs.npy --in t=t1.npy --in context=c1.npy -o y.npy
expect "no array of NaN weights" test ! -e y.npy
check "a file without a network" 2 "no UNet in it" "$ldm" sample celeba-ldm-32 -m "$data/taef2/taef2_decoder.pth" -o x.png
check "weights and a seed" 1 "wanted one of them" "$ldm" sample celeba-ldm-32 --synthetic 1 -m "$data/taef2/taef2_decoder.pth" -o x.png
check "text model" 1 "conditioning" "$ldm" sample sd15 --synthetic 1 -o x.png
check "too little memory" 6 "the plan needs" "$ldm" sample celeba-ldm-32 --synthetic 1 --max-memory 100M -o x.png
expect "no picture" test ! -e x.png
"$ldm" sample celeba-ldm-32 --synthetic 1 --steps 500 -o int.png >out.txt 2>err.txt &
pid=$!
sleep 6
kill -INT $pid
wait $pid
expect "SIGINT ends with 130" test $? -eq 130
expect "SIGINT leaves no picture" test ! -e int.png
sample=("$ldm" sample celeba-ldm-32 --synthetic 1 --steps 2 --eta 1 --seed 7)
check "sample" 0 "" "${sample[@]}" -o s1.png
check "sample again" 0 "" "${sample[@]}" -o s2.png
expect "sample: same command, same bytes" cmp -s s1.png s2.png
check "sample, one thread" 0 "" env POCL_MAX_PTHREAD_COUNT=1 "${sample[@]}" -o s3.png
expect "sample: one thread, same bytes" cmp -s s1.png s3.png
check "sample, another seed" 0 "" "${sample[@]}" --seed 8 -o s4.png
expect "sample: another seed, another picture" test "$(cmp s1.png s4.png | wc -l)" -eq 1
npy x32.npy "1, 32, 8, 8" 2048
npy c32.npy "1, 1, 512" 512
step=("$ldm" run unet --config cin-ldm-32 --synthetic 1 --in x=x32.npy --in t=t1.npy --in context=c32.npy)
check "a step of LDM-32" 0 "" "${step[@]}" -o u1.npy
check "a step of LDM-32, one thread" 0 "" env POCL_MAX_PTHREAD_COUNT=1 "${step[@]}" -o u2.npy
expect "a step of LDM-32: one thread, same bytes" cmp -s u1.npy u2.npy

# ---- ablation
check "ablate: more timed steps than the sampler has" 0 "^celeba-ldm-32 +257.9M" "$ldm" ablate --family celeba --f 32 --steps 1 --repeat 2
check "ablate: no f" 1 "wanted a list of" "$ldm" ablate --f ""

# ---- tuning
same3="r=3 s=3 pt=1 pb=1 pl=1 pr=1"
conv="conv2d:f32 n=1 c=320 h=16 w=16 k=64 $same3 +bias"
printf '# two problems\n3 x gemm:f32 m=40 n=64 k=64 +bias\n%s   # a comment\n' "$conv" >shapes.txt
check "tune: nothing named" 1 "tune what" "$ldm" tune
check "tune: two things named" 1 "tune what" "$ldm" tune cin-ldm-32 --ops
check "tune: not a time" 1 "not a time" "$ldm" tune --shapes shapes.txt --budget soon
check "tune: exact" 1 "gives way" "$ldm" tune --shapes shapes.txt --exact
check "tune: no file" 2 "cannot be opened" "$ldm" tune --shapes none.txt
check "tune: not a problem" 1 "no such op" "$ldm" tune --shapes <(echo "convolve n=1")
check "tune: nothing to show" 2 "cannot be opened" "$ldm" tune --show --file none.txt
check "tune: a folder that cannot be written" 5 "/dev/null/none" env LDM_DATA_DIR=/dev/null/none "$ldm" tune --shapes shapes.txt
check "tune" 0 "2 of 2 problems.*defaults reach" "$ldm" tune --shapes shapes.txt --budget 60s
expect "tune: one line a problem" test "$(grep -c '^[a-z].*|' data/ldm/tuned/*.txt)" -eq 2
check "tune: done before" 0 "0 problems tuned" "$ldm" tune --shapes shapes.txt
check "tune --show" 0 "gemm:f32 m=40" "$ldm" tune --show
check "tune --show of a file's problems" 0 "2 of 2 problems" "$ldm" tune --show --shapes shapes.txt
db=$(echo data/ldm/tuned/*.txt)
check "tune --verify" 0 "2 entries verified.* 0 outside" "$ldm" tune --verify --file "$db"
# another tile than the one that won, whichever that was; and one problem fewer
sed '/^conv/d; s/TILE_ROWS=1 /TILE_ROWS=8 /; t; s/TILE_ROWS=[0-9]*/TILE_ROWS=1/' "$db" >other.txt
check "tune --diff" 0 "1 with another, 1 only in the first" "$ldm" tune --diff other.txt --file "$db"
echo 'conv2d_tile | nonsense' >>"$db"
check "tune: a malformed line" 0 "txt:[0-9]+: 2 fields.*ignored" "$ldm" devices --why "$conv"
expect "tune: the other lines count" grep -q "chosen, tuned for this problem" out.txt
check "--no-tuned" 0 "cpu +chosen: " "$ldm" devices --why "$conv" --no-tuned
check "LDM_NO_TUNED" 0 "cpu +chosen: " env LDM_NO_TUNED=1 "$ldm" devices --why "$conv"
# the fast row leaves out all but the first 128 channels: less work, and wrong
cp -r "$(dirname "$ldm")/../../kernels" wrong && sed -i '1i #undef MUTANT\n#define MUTANT 5' wrong/conv2d_winograd_cpu.cl
check "tune: a wrong kernel, though fast" 3 "tuned entries fail|fails" env LDM_KERNEL_DIR="$dir/wrong" "$ldm" tune --verify --file <(sed '/^conv/{s/^[a-z0-9_]*/conv2d_winograd/; s/\(bias | \)[^|]*/\1OUT=4/}' "$db")
check "tune: a wrong kernel, though fast, does not win" 0 "left out: conv2d_winograd" env LDM_KERNEL_DIR="$dir/wrong" LDM_DATA_DIR="$dir/wrong" "$ldm" tune --shapes shapes.txt
expect "tune: a right one wins" grep -qE "^conv2d_(tile|winograd_inplace) " wrong/tuned/*x*.txt
LDM_DATA_DIR=$dir/int "$ldm" tune cin-ldm-32 --budget 300s >out.txt 2>err.txt &
pid=$!
for i in $(seq 240); do grep -qs '^[a-z].*|' int/tuned/*.txt && break; sleep 0.25; done
kill -INT $pid
wait $pid
expect "tune: SIGINT ends with 130" test $? -eq 130
check "tune: interrupted, whole lines" 0 "gain" env LDM_DATA_DIR="$dir/int" "$ldm" tune --show
expect "tune: nothing ignored" test ! -s err.txt
check "tune: goes on" 0 "problems with a choice, [1-9][0-9]* of them done before" env LDM_DATA_DIR="$dir/int" "$ldm" tune cin-ldm-32 --budget 1s
rm -r data

# ---- caches and kernels
homeless=(env -u LDM_CACHE_DIR -u XDG_CACHE_HOME -u POCL_CACHE_DIR HOME=/proc/none TMPDIR="$dir/tmp")
mkdir tmp
check "no home" 0 "bound" "${homeless[@]}" "$ldm" op 'softmax:f32 rows=7 cols=33'
expect "no home: caches lie in a folder of the user's in the temporary one" test -d "tmp/ldm-$(id -u)/programs"
chmod -R a+w tmp
rm -r "tmp/ldm-$(id -u)/programs"
"${homeless[@]}" "$ldm" op 'softmax:f32 rows=7 cols=33' >out.txt 2>err.txt
expect "a temporary folder others can write holds no programs" test ! -e "tmp/ldm-$(id -u)/programs"
export LDM_CACHE_DIR=$dir/cache
check "cold cache" 0 "passed" "$ldm" selftest
for f in cache/programs/*.bin; do printf 'garbage' | dd of="$f" bs=1 seek=60 conv=notrunc 2>/dev/null; done
check "spoilt cache" 0 "passed" "$ldm" selftest
for f in cache/programs/*.bin; do head -c 50 "$f" >t && mv t "$f"; done
check "truncated cache" 0 "passed" "$ldm" selftest
cp -r "$(dirname "$ldm")/../../kernels" k && echo 'broken(' >>k/softmax.cl && echo 'broken(' >>k/softmax_cpu.cl
check "a kernel that does not build" 3 "softmax.* does not build" env LDM_KERNEL_DIR="$dir/k" "$ldm" op 'softmax:f32 rows=7 cols=33'
check "no kernels" 2 "kernel file" env LDM_KERNEL_DIR="$dir/empty" "$ldm" op 'softmax:f32 rows=7 cols=33'

expect "no temporary left" none_left
closing
