#!/bin/sh
# demo.sh -- what `./run demo` does once everything is built: a real photograph through a real autoencoder, a sheet of prompts
# and two edits with a small trained model, the compression ablation on six full-size networks, the plot. Everything it makes
# lies in build/demo/.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/demo}
mkdir -p "$out"
ldm=build/release/ldm

echo "== device"
$ldm devices
echo
echo "== a photograph through TAEF2, a trained autoencoder (f = 8, 32 channels), with our OpenCL kernels"
$ldm roundtrip --taesd tests/data/taef2 -i tests/data/photos/astronaut.png -o "$out/astronaut.png"
echo
echo "== $(grep -c . bench/demo_prompts.txt) prompts with tests/data/emoji-ldm, a small text-to-image model, 50 steps of DDIM each"
model="-m tests/data/emoji-ldm/model.ckpt --config tests/data/emoji-ldm/config.yaml --taesd tests/data/taef2 --cfg-scale 3 --steps 50"
mkdir -p "$out/emoji"
# shellcheck disable=SC2086
$ldm gen $model --prompts bench/demo_prompts.txt -o "$out/emoji/%02d.png" >/dev/null
$ldm sheet -o "$out/sheet.png" --columns 8 --scale 2 "$out"/emoji/??.png
cat="$out/emoji/01.png"
# shellcheck disable=SC2086
$ldm gen $model -q -p fox -i "$cat" --strength 0.3 -o "$out/emoji/img2img.png"
# shellcheck disable=SC2086
$ldm gen $model -q -p "red apple" -i "$cat" --mask bench/demo_mask.png --strength 0.9 -o "$out/emoji/inpainted.png"
$ldm sheet -o "$out/edits.png" --columns 4 --scale 2 "$cat" "$out/emoji/img2img.png" bench/demo_mask.png "$out/emoji/inpainted.png"
echo
echo "== one denoising step and one decode of the class-conditional LDM-1 ... LDM-32 (391-401 M parameters each, synthetic weights)"
rm -f "$out"/*.json
$ldm ablate --repeat 2 -o "$out/ablation.json" | tee "$out/ablation.txt"
[ -s "$out/ablation.json" ] # a pipe hides how its left end fared
echo
if command -v gnuplot >/dev/null && command -v python3 >/dev/null; then
    make -s plots RESULTS="$out" PLOTS="$out"
else
    echo "no plot: it needs gnuplot and python3"
fi
echo
echo "files made:"
find "$out" -type f | sort | sed 's/^/  /'
