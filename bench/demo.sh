#!/bin/sh
# demo.sh -- what `./run demo` does once everything is built: a real photograph through a real autoencoder, the compression
# ablation on six full-size networks, the plot. Everything it makes lies in build/demo/.
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
for f in "$out"/*; do echo "  $f"; done
