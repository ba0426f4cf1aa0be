#!/bin/bash
# test_windows.sh -- pictures larger than the model's own, its network in overlapping windows: `ldm gen --patch-size`. What windows
# compute is held against the authors' in test_networks (unet_concat), the whole with the first stage in windows too (--patch-vae)
# against their patched mode here (tests/oracle/authors_pipelines.py). LDM names the tool.
suite=windows one_sentence=yes
. "$(dirname "$0")/check.sh"
emoji=$tests/data/emoji-ldm taef2=$tests/data/taef2
gen=("$ldm" gen -m "$emoji/model.ckpt" --config "$emoji/config.yaml" --taesd "$taef2" -p "red apple" --steps 4 -W 128 -H 80 --sampling-method ddim)

check "whole" 0 "whole.png" "${gen[@]}" --save-latent whole.npy -o whole.png
check "windows of 8 every 4, of which the lowest end at the border" 0 "w.png" "${gen[@]}" --patch-size 8 --patch-stride 4 --save-latent w.npy -o w.png
check "are another picture" 3 "largest difference" "$ldm" diff whole.npy w.npy --max 1e-2
check "which can be repeated" 0 "r.png" "$ldm" gen --from w.png --save-latent r.npy -o r.png
check "to the bit" 0 "0 differ" "$ldm" diff w.npy r.npy
check "by half" 0 "h.png" "${gen[@]}" --patch-size 8 --save-latent h.npy -o h.png
check "is every 4" 0 "0 differ" "$ldm" diff w.npy h.npy
check "a window as large as the latent is the latent" 0 "o.png" "${gen[@]}" --patch-size 16 --patch-stride 8 -H 128 --save-latent o.npy -o o.png
check "... whole" 0 "o2.png" "${gen[@]}" -H 128 --save-latent o2.npy -o o2.png
check "... to the bit" 0 "0 differ" "$ldm" diff o.npy o2.npy
check "guided in turn" 0 "t.png" "${gen[@]}" --patch-size 8 --patch-stride 4 --in-turn --cfg-scale 3 -o t.png
check "no multiple" 1 "wanted a multiple of 2, such as 6" "${gen[@]}" --patch-size 7 -o none.png
check "a stride alone" 1 "wanted --patch-size with it" "${gen[@]}" --patch-stride 4 -o none.png
check "gaps" 1 "no larger than the size" "${gen[@]}" --patch-size 8 --patch-stride 9 -o none.png
check "the first stage alone" 1 "wanted --patch-size with it" "${gen[@]}" --patch-vae -o none.png
check "tiles and windows" 1 "wanted one of them" "${gen[@]}" --patch-size 8 --patch-vae --vae-tiling -o none.png
expect "nothing was written" test ! -e none.png

sr=$fixtures/pipeline_superres vq=$fixtures/pipeline_uncond
large=("$ldm" gen -m "$sr/model.ckpt" --config "$sr/config.yaml" --upscale "$sr/windows_small.png" -s 3 --steps 8 --eta 0 --patch-size 8 --patch-stride 4)
mkdir want got whole && cp "$sr/windows.png" want
check "the authors' patched mode" 0 "windows.png" "${large[@]}" --patch-vae --save-latent z.npy -o got/windows.png
check "... their latent" 0 "" "$ldm" diff z.npy "$sr/windows_latent.npy" --max 2e-3
check "... their picture" 0 "" "$ldm" eval want got --json
expect "... no byte is two away" python3 -c "import json; assert json.load(open('out.txt'))['pictures'][0]['worst'] <= 1"
check "the first stage at once" 0 "windows.png" "${large[@]}" -o whole/windows.png
check "... is another picture" 0 "" "$ldm" eval want whole --json
expect "... by far" python3 -c "import json; assert json.load(open('out.txt'))['pictures'][0]['worst'] > 20"
check "repeated" 0 "again.png" "$ldm" gen --from got/windows.png -o again.png
expect "... to the bit" cmp -s got/windows.png again.png
photo=("$ldm" gen -m "$vq/model.ckpt" --config "$vq/config.yaml" -i "$vq/photo.png" --strength 0 --init-latent "$vq/no_noise.npy" -o p.png)
check "the authors' encoder in windows" 0 "p.png" "${photo[@]}" --patch-size 8 --patch-stride 4 --patch-vae --save-latent p.npy
check "... their latent" 0 "" "$ldm" diff p.npy "$vq/photo_windows.npy" --max 2e-3
check "... at once it is another" 0 "p.png" "${photo[@]}" --save-latent q.npy
check "... by far" 3 "" "$ldm" diff q.npy "$vq/photo_windows.npy" --max 0.04
check "windows that begin between pixels of the latent" 1 "wanted multiples of 2" "${photo[@]}" --patch-size 8 --patch-stride 3 --patch-vae

closing
