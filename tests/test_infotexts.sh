#!/bin/bash
# test_infotexts.sh -- pictures that other programs made: what AUTOMATIC1111's web UI and stable-diffusion.cpp write of how, byte for
# byte in the chunks they write it in, printed by `ldm info` and taken over by `ldm gen --from`, which names what it does not follow.
suite=infotexts one_sentence=yes
. "$(dirname "$0")/check.sh"
model=(-m "$data/emoji-ldm/model.ckpt" --taesd "$data/taef2")

python3 - <<'PY'
import struct, zlib
def png(path, kind, text):
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    body = b"parameters\0" + (b"\0\0\0\0" + text.encode() if kind == b"iTXt" else text if isinstance(text, bytes) else text.encode("latin-1"))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)) + chunk(kind, body)
                           + chunk(b"IDAT", zlib.compress(bytes(14))) + chunk(b"IEND", b""))
more = 'Denoising strength: 0.75, Clip skip: 2, RNG: CPU, Mask blur: 4, VAE hash: 735e4c3a44, VAE: "a, b.ckpt", Lora hashes: "x: 0123456789ab, y: cd", Version: v1.10.1'
a = "Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 2.5, Seed: 7, Size: 64x64, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, "
png("web.png", b"tEXt", "red apple, \"shiny\" <lora:x:0.8>\nNegative prompt: green, blurry: very\n" + a + more)
png("web-latin.png", b"tEXt", "caf\u00e9\n" + a + "Version: v1.10.1")           # Pillow writes Latin-1 where it can
png("web-wide.png", b"iTXt", "\u732b\u3001 red apple\n" + a + "Version: v1.10.1")  # and UTF-8 where it cannot
png("web-old.png", b"tEXt", "red apple\nSteps: 3, Sampler: DPM++ 2M Karras, CFG scale: 2.5, Seed: 7, Size: 64x64, Model hash: 45dee52b")
png("web-large.png", b"tEXt", "red apple\nSteps: 3, Sampler: Euler, Schedule type: Automatic, CFG scale: 2.5, Seed: 7, Size: 64x64, Denoising strength: 0.7, RNG: NV, Hires upscale: 2, Hires upscaler: Latent, Version: v1.9.4")
png("web-none.png", b"tEXt", "red apple\nSteps: 3, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 2.5, Seed: 7, Size: 64x64, Version: v1.10.1")
png("web-dpm2.png", b"tEXt", "red apple\nSteps: 3, Sampler: DPM2, Schedule type: Karras, CFG scale: 2.5, Seed: 7, Size: 64x64, Version: v1.10.1")
s = ("Steps: 3, CFG scale: 2.500000, Guidance: 3.500000, Eta: inf, Seed: 7, Size: 64x64, Model: sd v1.ckpt, RNG: %s, Sampler: %s, Version: stable-diffusion.cpp, "
     'SDCPP: {"schema":"sdcpp.image.params/v1","seed":7,"prompt":{"positive":"a, Seed: 9, Steps: 9","negative":""},"skip":[1,2]}')
png("cpp.png", b"tEXt", ("rote \u00c4pfel\nNegative prompt: green\n" + s % ("cuda", "dpm++2m karras")).encode())  # UTF-8 in a tEXt chunk
png("cpp-cpu.png", b"tEXt", ("red apple\n" + s % ("cpu", "euler_a discrete")).encode())
png("cpp-std.png", b"tEXt", ("red apple\n" + s % ("std_default", "euler discrete")).encode())
png("cpp-sigmas.png", b"tEXt", ("red apple\n" + s % ("cpu", "euler, Custom Sigmas: [10.0000, 2.5000, 0.5000, 0.0000]")).encode())
PY
# like NAME FILE OPTIONS...: what is made after FILE is what the options make, to the bit
like() {
    local name=$1 file=$2
    shift 2
    check "$name: --from" 0 "from.png" "$ldm" gen --from "$file" "${model[@]}" -o from.png --save-latent from.npy
    cp err.txt said.txt
    check "$name: by options" 0 "told.png" "$ldm" gen "${model[@]}" --steps 3 --cfg-scale 2.5 -s 7 -W 64 -H 64 "$@" -o told.png --save-latent told.npy
    expect "$name: the same" cmp -s from.npy told.npy
}
said() { expect "$1" grep -qF -- "$2" said.txt; }
unsaid() { expect "$1" test "$(grep -cF -- "$2" said.txt)" -eq 0; }

# ---- AUTOMATIC1111
check "info" 0 "Steps: 3, Sampler: DPM\+\+ 2M, Schedule type: Karras, .*VAE: \"a, b.ckpt\", Lora hashes" "$ldm" info web.png
expect "info: all of the prompt" grep -qxF 'red apple, "shiny" <lora:x:0.8>' out.txt
like "web UI" web.png -p 'red apple, "shiny" <lora:x:0.8>' -n "green, blurry: very" --sampling-method "DPM++ 2M" --scheduler karras --clip-skip 2 --rng cpu
said "what is not followed is named" "not taken over: Mask blur: 4, VAE hash: 735e4c3a44, VAE: a, b.ckpt, Lora hashes: x: 0123456789ab, y: cd"
said "... and the LoRA in the prompt" "<lora:...> in the prompt is taken literally"
said "... and which model it was" "made with the model v1-5-pruned-emaonly"
said "... which this one is not" "made with the model 6ce0161689, this is 299fd650b3"
unsaid "... and nothing that is" "Denoising"
check "info: Latin-1" 0 "^café$" "$ldm" info web-latin.png
like "web UI, Latin-1" web-latin.png -p café --sampling-method "DPM++ 2M" --scheduler karras --rng cuda
unsaid "nothing is left out of it" "not taken over"
check "info: wide letters" 0 "^猫、 red apple$" "$ldm" info web-wide.png
like "web UI, wide letters" web-wide.png -p "猫、 red apple" --sampling-method "DPM++ 2M" --scheduler karras --rng cuda
like "web UI, older" web-old.png -p "red apple" --sampling-method dpm++2m --scheduler karras --rng cuda
like "web UI, enlarged" web-large.png -p "red apple" --sampling-method euler --rng cuda
said "the second pass is left out" "not taken over: Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Latent"
check "a sampler that is not here" 1 "sampler 'DPM\+\+ SDE': not supported yet" "$ldm" gen --from web-none.png "${model[@]}" -o x.png
check "... or another one" 0 "n.png" "$ldm" gen --from web-none.png "${model[@]}" --sampling-method "DPM++ 2M" -o n.png
like "web UI, DPM2" web-dpm2.png -p "red apple" --sampling-method dpm2 --scheduler karras --rng cuda
said "its levels differ there" "DPM2 leaves out the next-to-last noise level there"
check "with a picture to begin from" 0 "i.png" "$ldm" gen --from web.png "${model[@]}" -i "$data/emoji-ldm/expected/ddim-1.png" -o i.png
check "... its strength is taken over" 0 "Denoising strength: 0.75" "$ldm" info i.png
check "options that follow change it" 0 "c.png" "$ldm" gen --from web.png "${model[@]}" -s 8 --steps 2 -o c.png
check "..." 0 "Steps: 2, .*Seed: 8" "$ldm" info c.png
check "no model" 1 "weights: give a checkpoint" "$ldm" gen --from web.png -o x.png

# ---- stable-diffusion.cpp
check "info" 0 "^rote Äpfel$" "$ldm" info cpp.png
like "stable-diffusion.cpp" cpp.png -p "rote Äpfel" -n green --sampling-method dpm++2m --scheduler karras --rng cuda
said "what is not followed is named" "not taken over: Guidance: 3.500000, SDCPP: {"
like "stable-diffusion.cpp, --rng cpu" cpp-cpu.png -p "red apple" --sampling-method euler_a --rng cpu
like "stable-diffusion.cpp, sigmas" cpp-sigmas.png -p "red apple" --sampling-method euler --sigmas 10,2.5,.5,0 --rng cpu
check "its C++ library's numbers" 0 "n.png" "$ldm" gen --from cpp-std.png "${model[@]}" -o n.png
expect "... are named as not ours" grep -q "not taken over: .*RNG: std_default" err.txt
expect "nothing of what was refused" test ! -e x.png

closing
