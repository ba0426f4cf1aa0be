#!/bin/bash
# test_tasks.sh -- every task of latent-diffusion from end to end with tiny models of random weights: unconditional, classes, layouts,
# label maps, super-resolution, inpainting. What the networks make is held against witnesses elsewhere; here each condition must be
# wanted, checked, matter, and be recorded.
suite=tasks one_sentence=yes
. "$(dirname "$0")/check.sh"
fixtures=$tests/fixtures/pictures
mkdir models
python3 "$tests/make_tasks.py" "$ldm" models || exit 1
gen() { # gen TASK OPTIONS...
    local task=$1
    shift
    "$ldm" gen -m "$dir/models/$task.safetensors" --config "$dir/models/$task.yaml" --steps 4 "$@"
}
export -f gen
export ldm dir
run() { # run NAME STATUS PATTERN TASK OPTIONS...
    local name=$1 status=$2 pattern=$3
    shift 3
    check "$name" "$status" "$pattern" bash -c 'gen "$@"' gen "$@"
}
again() { # again NAME FILE: --from makes the same file
    check "$1: --from" 0 "again.png" "$ldm" gen --from "$2" -o again.png
    expect "$1: --from: same file" cmp -s "$2" again.png
}
differ() { expect "$1" test "$(cmp "$2" "$3" | wc -l)" -eq 1; }

# ---- unconditional, classes
run "unconditional" 0 '"width":64,"height":64' uncond -o u.png --json
check "unconditional: the authors' script's eta" 0 "Sampler: DDIM.*Eta: 1" "$ldm" info u.png
again "unconditional" u.png
run "unconditional: no prompt" 1 "has no use for it" uncond -p x -o x.png
run "unconditional: no guidance" 1 "cannot be guided" uncond --cfg-scale 2 -o x.png
run "larger than native" 0 '"width":128,"height":96' uncond -W 128 -H 96 -o u2.png --json
run "a size that cannot be" 1 "multiples of 8; the nearest are 56 x 64 and 64 x 64|multiples of 8; the nearest are 56 x 64" uncond -W 60 -H 64 -o x.png
run "predictions snapped to the codebook" 0 "q.png" uncond --quantize-x0 -o q.png --eta 0
run "... or not" 0 "q2.png" uncond -o q2.png --eta 0
differ "... is another picture" q.png q2.png
# the number in the file that latents are scaled by: the decoder is given the latent over it, the encoder's is multiplied by it
scaled=(--config "kind=kl ch=32 ch_mult=1,2,4 num_res_blocks=1 z_channels=3 embed_dim=3 attn_none=1" -m models/churches.safetensors)
run "a model with a scale factor of its own" 0 "h.png" churches -o h.png --save-latent h.npy
again "a model with a scale factor of its own" h.png
run "... begins from a picture, and hardly changes it" 0 "h3.png" churches -i h.png --strength 0 -o h3.png --save-latent h3.npy
check "... whose encoder's own numbers" 0 "latent" "$ldm" encode "${scaled[@]}" -i h.png -s 42 -o h4.npy
python3 - <<'END'
import array
def turn(name, factor, out): # both of 128 bytes of header and float32
    d = open(name, "rb").read()
    open(out, "wb").write(d[:128] + array.array("f", (v * factor for v in array.array("f", d[128:]))).tobytes())
turn("h.npy", 4, "h2.npy")
turn("h4.npy", .25, "h5.npy")
END
check "... decoded as it is after a quarter is taken out" 0 "64 x 64" "$ldm" decode "${scaled[@]}" -i h2.npy -o h2.png
check "... decoded with the quarter left in" 0 "64 x 64" "$ldm" decode "${scaled[@]}" -i h.npy -o h6.png
mkdir h h2 h6 && cp h.png h/1.png && cp h2.png h2/1.png && cp h6.png h6/1.png
check "... is the same picture" 0 '"equal": 1' "$ldm" eval h h2 --json
check "... is another" 0 '"equal": 0' "$ldm" eval h h6 --json
# five deviations of the noise that strength 0 leaves: sqrt(1 - 0.997) of the first level
check "... are a quarter of them, beside the noise of one level" 0 "max absolute" "$ldm" diff h3.npy h5.npy --max 0.3
check "... and not the whole" 3 "largest difference" "$ldm" diff h3.npy h4.npy --max 0.3
run "a class" 0 '"class":3' class --class-id 3 --cfg-scale 1 -o c3.png --json
run "another class" 0 "c4.png" class --class-id 4 --cfg-scale 1 -o c4.png
differ "another class: another picture" c3.png c4.png
again "a class" c3.png
run "a class that is none" 1 "has classes 0 to 10" class --class-id 11 --cfg-scale 1 -o x.png
run "samples of all classes in turn" 0 '"number":11,"seed":53,"class":0' class --cfg-scale 1 --steps 1 --out-dir many --count 12 --json
run "... one of them again" 0 '"class":3' class --cfg-scale 1 --steps 1 -s 45 --class-id 3 -o m3.png --json
expect "... is the same file" cmp -s m3.png many/000003.png
check "... as one array" 0 "12 pictures of 64 x 64" "$ldm" eval many --npz many.npz

# ---- layouts
echo '[{"class": 60, "x0": 0.1, "y0": 0.25, "x1": 0.5, "y1": 1, "modifiers": ["occluded"]}]' >l1.json
echo '[{"class": 61, "x0": 0.1, "y0": 0.25, "x1": 0.5, "y1": 1}]' >l2.json
echo '[{"class": 61, "x0": 0.1, "y0": 0.25, "x1": 1.5, "y1": 1}]' >l3.json
run "a layout" 0 "l1.png" layout --layout l1.json -o l1.png
run "another layout" 0 "l2.png" layout --layout l2.json -o l2.png
differ "another layout: another picture" l1.png l2.png
run "a layout in windows" 0 "l5.png" layout --layout l1.json --patch-size 8 -o l5.png --save-latent l5.npy
again "a layout in windows" l5.png
run "... in one window" 0 "l6.png" layout --layout l1.json --patch-size 16 -o l6.png --save-latent l6.npy
run "... and whole" 0 "l7.png" layout --layout l1.json -o l7.png --save-latent l7.npy
check "... to the bit" 0 "0 differ" "$ldm" diff l6.npy l7.npy
check "... which windows are not" 0 "[1-9][0-9]* differ" "$ldm" diff l5.npy l7.npy
again "a layout" l1.png
check "a layout's hash is told" 0 "Layout hash: $(sha256sum l1.json | head -c 10)" "$ldm" info l1.png
run "a box outside" 2 "l3.json" layout --layout l3.json -o x.png
run "a layout that is missing" 1 "wanted --layout" layout -o x.png

# ---- label maps
python3 - <<'END'
import struct, zlib
def png(path, w, h, value, colours=1):
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    rows = b"".join(b"\0" + bytes(v for x in range(w) for v in ([value(x, y)] * colours)) for y in range(h))
    kind = 0 if colours == 1 else 2
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, kind, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
png("s1.png", 64, 64, lambda x, y: 7 if x < 32 else 90)
png("s2.png", 64, 64, lambda x, y: 8 if x < 32 else 90)
png("s3.png", 64, 64, lambda x, y: 182)
png("wide.png", 256, 96, lambda x, y: y)
png("mask.png", 64, 64, lambda x, y: 255 if x < 24 else 0)
png("small.png", 16, 24, lambda x, y: 9 * x, 3)
png("small2.png", 16, 24, lambda x, y: 8 * x, 3)
png("init.png", 64, 64, lambda x, y: 2 * x + y, 3)
END
run "a label map" 0 "m1.png" semantic --semantic s1.png -o m1.png
run "another label map" 0 "m2.png" semantic --semantic s2.png -o m2.png
differ "another label: another picture" m1.png m2.png
again "a label map" m1.png
run "the map's own size" 0 '"width":256,"height":96' semantic --semantic wide.png -o m3.png --json
run "a label that is none" 2 "pixel \(0, 0\) has label 182" semantic --semantic s3.png -o x.png
run "labels in colour" 2 "wanted labels" semantic --semantic init.png -o x.png
run "a map of another size" 2 "64 x 64 pixels, wanted 128 x 64" semantic --semantic s1.png -W 128 -H 64 -o x.png
run "a map that is missing" 1 "wanted --semantic" semantic -o x.png

# ---- super-resolution
run "four times as large" 0 '"width":64,"height":96' upscale --upscale small.png -o s4.png --json
run "of another picture" 0 "s5.png" upscale --upscale small2.png -o s5.png
differ "... is another one" s4.png s5.png
again "super-resolution" s4.png
run "in windows" 0 "8 windows of 8 x 8 elements|6 windows of 8 x 8 elements|15 windows of 8 x 8 elements" upscale --upscale small.png --patch-size 8 -o s6.png
differ "... is another one" s4.png s6.png
again "in windows" s6.png
run "windows as large as the map" 0 "1 windows of 16 x 24" upscale --upscale small.png --patch-size 24 --patch-stride 24 -o s7.png --save-latent s7.npy
run "... or no windows" 0 "s4.png" upscale --upscale small.png -o s4.png --save-latent s4.npy
check "... are the same" 0 "max absolute" "$ldm" diff s7.npy s4.npy --max 1e-4
run "windows that the network cannot take" 1 "wanted a multiple of 2, such as 6" upscale --upscale small.png --patch-size 7 -o x.png
run "windows with gaps" 1 "stride no larger than the size" upscale --upscale small.png --patch-size 4 --patch-stride 5 -o x.png
run "windows of a model of classes, guided" 0 "9 windows of 8 x 8" class --class-id 1 --patch-size 8 -o c8.png
run "a picture that is missing" 1 "wanted --upscale" upscale -o x.png

# ---- depth maps
run "a depth map" 0 "d1.png" depth --depth mask.png -p "a red cat" -o d1.png
run "another depth map" 0 "d2.png" depth --depth s1.png -p "a red cat" -o d2.png
differ "another depth: another picture" d1.png d2.png
run "another prompt" 0 "d3.png" depth --depth mask.png -p "a blue cat" -o d3.png
differ "another prompt: another picture" d1.png d3.png
again "a depth map" d1.png
check "a depth map's hash is told" 0 "Depth map hash: $(sha256sum mask.png | head -c 10)" "$ldm" info d1.png
run "a depth map that is missing" 1 "wanted --depth" depth -p "a red cat" -o x.png

# ---- embeddings made elsewhere
python3 - <<'END'
import struct
for name, v in (("e1.npy", .5), ("e2.npy", -.5)):
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 16)}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    open(name, "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<48f", *(v * (i % 5 - 2) for i in range(48))))
END
run "embeddings" 0 "e1.png" tokens --context e1.npy -o e1.png
run "other embeddings" 0 "e2.png" tokens --context e2.npy -o e2.png
differ "other embeddings: another picture" e1.png e2.png
run "embeddings, guided by zeros" 0 "e3.png" tokens --context e1.npy --cfg-scale 3 -o e3.png
differ "guided: another picture" e1.png e3.png
again "embeddings" e3.png
run "embeddings that are missing" 1 "wanted --context" tokens -o x.png

# ---- inpainting with a model of its own
run "inpainting" 0 "i1.png" inpaint -i init.png --mask mask.png -o i1.png
expect "... keeps every pixel that the mask does not repaint" python3 - <<'END'
import subprocess, sys, zlib
def pixels(path):
    d, at, z = open(path, "rb").read(), 8, b""
    while at < len(d):
        n = int.from_bytes(d[at:at + 4], "big")
        if d[at + 4:at + 8] == b"IDAT": z += d[at + 8:at + 8 + n]
        at += n + 12
    raw, rows, last = zlib.decompress(z), [], bytes(192)
    for y in range(64):
        f, r = raw[y * 193], bytearray(raw[y * 193 + 1:y * 193 + 193])
        for i in range(192):
            a, b, c = r[i - 3] if i > 2 else 0, last[i], last[i - 3] if i > 2 else 0
            r[i] = (r[i] + (0, a, b, (a + b) // 2, min((a, b, c), key=lambda v: abs(a + b - c - v)))[f]) & 255
        rows.append(bytes(r)); last = r
    return rows
a, b = pixels("i1.png"), pixels("init.png")
sys.exit(any(x[72:] != y[72:] for x, y in zip(a, b)) or all(x[:72] == y[:72] for x, y in zip(a, b)))
END
again "inpainting" i1.png
run "inpainting without a mask" 1 "wanted --mask too" inpaint -i init.png -o x.png
expect "nothing of what was refused" test ! -e x.png

# ---- codebook maps
vq=(--config "kind=vq ch=32 ch_mult=1,2,4 num_res_blocks=1 z_channels=3 n_embed=64 attn_none=1" -m models/uncond.safetensors)
check "encode --codes" 0 "codes \[1, 16, 16\] of a codebook of 64" "$ldm" encode "${vq[@]}" -i init.png --codes -o codes.npy
check "decode --codes" 0 "64 x 64" "$ldm" decode "${vq[@]}" -i codes.npy --codes -o from-codes.png
check "encode" 0 "latent" "$ldm" encode "${vq[@]}" -i init.png -o z.npy
check "decode" 0 "64 x 64" "$ldm" decode "${vq[@]}" -i z.npy -o from-z.png
expect "codes decode to what the latent does, which is snapped to them" cmp -s from-codes.png from-z.png
python3 -c "
d = bytearray(open('codes.npy', 'rb').read())
assert len(d) == 128 + 4 * 256 and len(set(d[128::4])) > 3
d[128:132] = (64).to_bytes(4, 'little')
open('over.npy', 'wb').write(d)"
check "a code beyond the codebook" 2 "code 64 at \(0, 0\), the codebook has 64 entries" "$ldm" decode "${vq[@]}" -i over.npy --codes -o x.png
check "codes that are no whole numbers" 2 "wanted whole numbers" "$ldm" decode "${vq[@]}" -i z.npy --codes -o x.png
check "codes of a stage without a codebook" 1 "has no codebook" "$ldm" encode --taesd "$data/taef2" -i init.png --codes -o x.npy
check "a JPEG" 0 "latent \[1, 32, 5, 6\]" "$ldm" encode --taesd "$data/taef2" -i "$fixtures/turned-1.jpg" -o j.npy

# ---- first stages of checkpoints that a file elsewhere describes
mkdir elsewhere && mv models/*.yaml elsewhere/
file=(-m models/churches.safetensors --config elsewhere/churches.yaml)
check "encode --config FILE.yaml" 0 "latent \[1, 3, 16, 16\]" "$ldm" encode "${file[@]}" -i h.png -s 42 -o h7.npy
check "... with the checkpoint's factor" 0 "0 differ" "$ldm" diff h7.npy h5.npy
check "decode --config FILE.yaml" 0 "64 x 64" "$ldm" decode "${file[@]}" -i h.npy -o h8.png
expect "... with the checkpoint's factor" cmp -s h2.png h8.png
check "roundtrip --config FILE.yaml" 0 "latent 3 x 16 x 16" "$ldm" roundtrip "${file[@]}" -i h.png -o h9.png
file=(-m models/uncond.safetensors --config elsewhere/uncond.yaml)
check "encode --codes --config FILE.yaml" 0 "codebook of 64" "$ldm" encode "${file[@]}" -i init.png --codes -o codes2.npy
expect "... the same codes" cmp -s codes.npy codes2.npy
check "verify --config FILE.yaml" 0 "0 outside their bound" "$ldm" verify unet "${file[@]}"
check "another model's FILE.yaml" 2 "describes another first stage" "$ldm" encode -m models/uncond.safetensors --config elsewhere/churches.yaml -i init.png -o x.npy
check "a FILE.yaml that is not there" 2 "none.yaml: cannot be opened" "$ldm" encode -m models/uncond.safetensors --config none.yaml -i init.png -o x.npy
check "a FILE.yaml and no checkpoint" 1 "wanted -m too" "$ldm" encode --config elsewhere/uncond.yaml --synthetic 1 -i init.png -o x.npy

closing
