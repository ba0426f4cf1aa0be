#!/bin/bash
# test_windows.sh -- pictures larger than the model's own, its network in overlapping windows: `ldm gen --patch-size`. What windows
# compute is held against the authors' in test_networks (unet_concat). LDM names the tool.
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
expect "nothing was written" test ! -e none.png

closing
