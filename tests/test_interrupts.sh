#!/bin/bash
# test_interrupts.sh -- Ctrl-C, SIGTERM and a full disk in the middle of what writes files: converting, sampling, packing. Status 130,
# 143 or 5; whole files or none, and what stood there before stands there still.
suite=interrupts one_sentence=yes
. "$(dirname "$0")/check.sh"
emoji=$data/emoji-ldm
left() { find . -name '*.tmp.*' -o -name '*.part-*'; }
nothing() { expect "$1: nothing half-written" test -z "$(left)"; }

# A model of which a copy takes a while: its UNet ten times, as parts that nobody reads.
python3 - "$ldm" <<'PY'
import json, struct, subprocess, sys
subprocess.run([sys.argv[1], "run", "unet", "--config", "in_channels=4 out_channels=4 model_channels=64 num_res_blocks=2 channel_mult=1,2,4 attention_resolutions=2 num_heads=4",
                "--synthetic", "1", "--save-weights", "unet.safetensors", "-q"], check=True, stdout=subprocess.DEVNULL)
d = open("unet.safetensors", "rb").read()
n = struct.unpack("<Q", d[:8])[0]
head, body, all = json.loads(d[8:8 + n]), d[8 + n:], {}
for k in range(10):
    for name, v in head.items():
        if name != "__metadata__":
            a, b = v["data_offsets"]
            all[("model.diffusion_model." if k == 0 else f"other{k}.") + name] = {**v, "data_offsets": [a + k * len(body), b + k * len(body)]}
text = json.dumps(all).encode()
text += b" " * (-len(text) % 8)
open("big.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body * 10)
PY
# stopped SIGNAL PATTERN COMMAND...: sends the signal as soon as a name that matches is there; leaves the status
stopped() {
    python3 - "$@" <<'PY'
import glob, signal, subprocess, sys, time
sig, pattern, command = sys.argv[1], sys.argv[2], sys.argv[3:]
p = subprocess.Popen(command, stdout=open("out.txt", "w"), stderr=open("err.txt", "w"))
end = time.time() + 120
while not glob.glob(pattern) and p.poll() is None and time.time() < end:
    time.sleep(0.0005)
p.send_signal(getattr(signal, sig))
sys.exit(p.wait(timeout=120) % 256)
PY
}
for s in SIGINT:130 SIGTERM:143; do
    sig=${s%:*} status=${s#*:}
    echo "what was there" >out.safetensors && cp out.safetensors before
    stopped $sig '.out.safetensors.tmp.*' "$ldm" convert big.safetensors out.safetensors --dtype f16
    expect "convert, $sig: status $status" test $? -eq "$status"
    expect "convert, $sig: says so" grep -q "interrupted by signal" err.txt
    expect "convert, $sig: what was there is there" cmp -s out.safetensors before
    nothing "convert, $sig"
    rm out.safetensors
    stopped $sig '.out.safetensors.tmp.*' "$ldm" convert big.safetensors out.safetensors --dtype f16
    expect "convert, $sig, to a new file: status $status" test $? -eq "$status"
    expect "convert, $sig, to a new file: no file" test ! -e out.safetensors
    stopped $sig 'folder.part-*/unet' "$ldm" convert "$emoji/model.ckpt" folder --to diffusers --dtype f16
    expect "convert, $sig, to a folder: status $status" test $? -eq "$status"
    expect "convert, $sig, to a folder: no folder" test ! -e folder
    nothing "convert, $sig, to a folder"
    stopped $sig 'p-2.png' "$ldm" gen -m "$emoji/model.ckpt" --taesd "$data/taef2" -p apple --steps 4 -b 10000 -o p.png --save-latent p.npy
    expect "gen, $sig: status $status" test $? -eq "$status"
    check "gen, $sig: pictures are whole" 0 "pictures" "$ldm" sheet -o sheet.png p-*.png
    expect "gen, $sig: no latents of some" test ! -e p.npy
    nothing "gen, $sig"
    rm -f p-*.png
done
mkdir many
for i in $(seq 300); do ln "$fixtures/pictures/likeness-a.png" "many/$i.png" 2>/dev/null || cp "$fixtures/pictures/likeness-a.png" "many/$i.png"; done
stopped SIGINT '.many.npz.tmp.*' "$ldm" eval many --npz many.npz
expect "eval --npz: SIGINT ends with 130" test $? -eq 130
expect "eval --npz: no file" test ! -e many.npz
nothing "eval --npz"

# ---- a full disk
full() { # full NAME KIB COMMAND...: files may have so many KiB
    check "$1: a full disk" 5 "cannot be written" bash -c 'ulimit -f "$1"; shift; exec "$@"' full "$2" "${@:3}"
    nothing "$1"
}
gen=("$ldm" gen -m "$emoji/model.ckpt" --taesd "$data/taef2" -p apple --steps 1 -q)
full "convert" 4000 "$ldm" convert big.safetensors full.safetensors
full "convert to a folder" 4000 "$ldm" convert "$emoji/model.ckpt" full --to diffusers
full "convert to a file" 4000 "$ldm" convert "$emoji/model.ckpt" full.safetensors --to compvis --dtype f16
full "gen" 1 "${gen[@]}" -o full.png
full "gen --save-latent" 6 "${gen[@]}" --dtype f32 -W 64 -H 64 -b 3 -o 'lat-%d.png' --save-latent full.npy
full "gen --preview" 1 "${gen[@]}" -o full.png --preview tae --preview-path full-preview.png
full "eval --npz" 8 "$ldm" eval many --npz full.npz
full "encode" 4 "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o full.npy
"$ldm" encode --taesd "$data/taef2" -i "$data/photos/chelsea.png" -o z.npy -q >/dev/null
full "decode" 1 "$ldm" decode --taesd "$data/taef2" -i z.npy -o full2.png
expect "a full disk: nothing of all that" test -z "$(find . -name 'full*')"
for c in "convert big.safetensors /dev/full" "eval many --npz /dev/full" "encode --taesd $data/taef2 -i $emoji/expected/ddim-1.png -o /dev/full"; do
    # shellcheck disable=SC2086
    check "/dev/full: ${c%% *}" 5 "/dev/full: cannot be written|/dev/full: .*space" "$ldm" $c
done
check "/dev/full: gen" 5 "/dev/full: cannot be written|/dev/full: .*space" "${gen[@]}" -o /dev/full
check "/dev/full: gen --save-latent" 5 "/dev/full: cannot be written|/dev/full: .*space" "${gen[@]}" -o ok.png --save-latent /dev/full
expect "/dev/full is still a device" test -c /dev/full
check "a pipe" 0 "" bash -c "$(printf '%q ' "${gen[@]}") -o >(cat >piped.png); wait; sleep 0.5"
check "... brings the picture" 0 "64 x 64" "$ldm" info piped.png

closing
