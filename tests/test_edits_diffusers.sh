#!/bin/bash
# test_edits_diffusers.sh -- the whole way from a prompt to a picture against diffusers' own pipelines: a tiny Stable Diffusion of random weights
# (tests/oracle/edits.py), six schedulers, text to image, image to image, inpainting: final latents within 2e-3, bytes within one.
# Wrong answers must be told apart by twenty tolerances.
suite=edits_diffusers one_sentence=yes
. "$(dirname "$0")/check.sh"
fixture=$tests/fixtures/edits
# with NAME: the model under ./NAME with that scheduler
with() {
    cp -r "$fixture/model" "$1" && cp -r "$fixture/schedulers/$1" "$1/scheduler"
    local class
    class=$(python3 -c "import json; print(json.load(open('$1/scheduler/scheduler_config.json'))['_class_name'])")
    sed -i "s/DDIMScheduler/$class/" "$1/model_index.json"
}
gen=("$ldm" gen -p "a red cat" -n dog --steps 8 -s 3 -W 32 -H 32)
edit=(-i "$fixture/init.png" --strength 0.6)
compare() { # compare NAME FILE: out.npy and out.png against the fixture's FILE
    check "$1: latent" 0 "max absolute" "$ldm" diff out.npy "$fixture/$2.npy" --max 2e-3
    rm -rf got want && mkdir got want && cp out.png got/0.png && cp "$fixture/$2.png" want/0.png
    check "$1: picture" 0 '"worst": [01],' "$ldm" eval got want --json
}
for s in ddim pndm euler euler_a dpm lms; do
    with $s
    check "$s, text to image" 0 "" "${gen[@]}" -m $s -o out.png --save-latent out.npy
    compare "$s, text to image" $s-text
    # begun in the middle, diffusers' LMS takes coefficients of an order it has no history for yet; ours begins at order 1
    check "$s, image to image" 0 "" "${gen[@]}" -m $s "${edit[@]}" -o out.png --save-latent out.npy
    compare "$s, image to image" $s-image
    check "$s, inpainting" 0 "" "${gen[@]}" -m $s "${edit[@]}" --mask "$fixture/mask.png" -o out.png --save-latent out.npy
    compare "$s, inpainting" $s-paint
done
wrong() { # wrong NAME OPTIONS...: 20 tolerances from what is right
    local name=$1
    shift
    check "wrong: $name" 0 "" "${gen[@]}" -m ddim "$@" -o wrong.png --save-latent wrong.npy
    check "wrong: $name is far away" 3 "largest difference" "$ldm" diff wrong.npy "$fixture/ddim-text.npy" --max 4e-2
}
wrong "another token" -p "a red dog"
wrong "another negative prompt" -n cat
wrong "a step more" --steps 9
wrong "another sampler" --sampling-method PNDMScheduler
wrong "clip-skip" --clip-skip 2
wrong "another seed" -s 4
wrong "another schedule" -m dpm --sampling-method EulerDiscreteScheduler --scheduler karras
check "--from a picture of a folder's" 0 "" "$ldm" gen --from out.png -o again.png
expect "--from: same file" cmp -s out.png again.png

closing
