#!/bin/bash
# test_edits.sh -- pictures made from pictures with the small trained model: img2img, inpainting; and everything about `ldm gen`
# that must be refused, in one sentence, with nothing left behind.
suite=edits one_sentence=yes
. "$(dirname "$0")/check.sh"
fixtures=$tests/fixtures/pictures
emoji=$data/emoji-ldm
gen=("$ldm" gen -m "$emoji/model.ckpt" --config "$emoji/config.yaml" --taesd "$data/taef2" --steps 20 --cfg-scale 3)
cat=$emoji/expected/ddim-1.png
edit=("${gen[@]}" -p tiger -i "$cat" --sampling-method ddim)

# ---- img2img
check "img2img" 0 "i1.png" "${edit[@]}" --strength 0.3 -o i1.png --save-latent i1.npy
check "img2img, stronger" 0 "i2.png" "${edit[@]}" --strength 0.9 -o i2.png
mkdir begun made far && cp "$cat" begun/0.png && cp i1.png made/0.png && cp i2.png far/0.png
psnr() { "$ldm" eval --json "$1" "$2" | python3 -c "import json, sys; print(json.load(sys.stdin)['mean']['psnr'])"; }
expect "the weaker it is, the closer it stays" python3 -c "import sys; sys.exit(not $(psnr begun made) > $(psnr begun far) + 2)"
check "strength 1" 0 "i3.png" "${edit[@]}" --strength 1 -o i3.png
# at strength 0 the authors' script runs no step, A1111 and stable-diffusion.cpp one from the lowest sigma, diffusers refuses
mkdir none last round
check "strength 0: the picture through the first stage" 0 "strength 0 of 20 steps is none" "${edit[@]}" --strength 0 -o none/0.png
check "... with a round trip" 0 "PSNR" "$ldm" roundtrip --taesd "$data/taef2" -i "$cat" -o round/0.png
expect "... is what it is, but for a little noise" python3 -c "import sys; sys.exit(not $(psnr none round) > 40)"
check "... --from" 0 "i0.png" "$ldm" gen --from none/0.png -o i0.png
expect "... --from: same file" cmp -s none/0.png i0.png
check "strength 0 of the sigma samplers: a last step" 0 "last/0.png" "${edit[@]}" --sampling-method euler_a --strength 0 -o last/0.png
expect "... hardly to be seen" python3 -c "import sys; sys.exit(not $(psnr last round) > 30)"
check "strength 0 as diffusers has it" 1 "leaves none to run; the least that does is 0.05" "${edit[@]}" --strength 0 --strength-convention diffusers -o x.png
check "strength 2" 1 "wanted 0 to 1" "${edit[@]}" --strength 2 -o x.png
check "strength by another convention" 0 "i4.png" "${edit[@]}" --strength 0.3 --strength-convention diffusers -o i4.png --save-latent i4.npy
check "... is something else" 3 "largest difference" "$ldm" diff i1.npy i4.npy --max 1e-3
check "img2img: --from" 0 "i5.png" "$ldm" gen --from i1.png -o i5.png
expect "img2img: --from: same file" cmp -s i1.png i5.png
check "img2img: the picture's hash is told" 0 "Init image hash: $(sha256sum "$cat" | head -c 10)" "$ldm" info i1.png
check "a JPEG to begin from, resized" 0 "48 x 33 pixels resized to 64 x 64, bicubic" "${edit[@]}" -i "$fixtures/turned-1.jpg" -W 64 -H 64 --resize bicubic --strength 0.2 -o i6.png
check "its own size, as near as can be" 0 '"width":48,"height":32' "${edit[@]}" -i "$fixtures/turned-1.jpg" --strength 0.2 -o i7.png --json
check "transparent pixels" 0 "laid on white" "${edit[@]}" -i "$fixtures/alpha.png" -W 64 -H 64 --strength 0.2 -o i8.png
check "a filter that is none" 1 "wanted nearest, bilinear" "${edit[@]}" --resize box -o x.png
check "not a picture" 2 "neither a PNG nor a JPEG" "${edit[@]}" -i i1.npy -o x.png
check "no such picture" 2 "cannot be opened" "${edit[@]}" -i none.png -o x.png

# ---- inpainting: white is repainted, black stays
python3 - <<'END'
import struct, zlib
def png(path, w, h, value):
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    rows = b"".join(b"\0" + bytes(value(x, y) for x in range(w)) for y in range(h))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
png("mask.png", 64, 64, lambda x, y: 255 if y < 32 else 0)
png("black.png", 64, 64, lambda x, y: 0)
png("small.png", 32, 64, lambda x, y: 255)
END
paint=("${edit[@]}" --sampling-method euler --strength 0.9)
check "inpainting" 0 "m1.png" "${paint[@]}" --mask mask.png -o m1.png --save-latent m1.npy
check "a black mask repaints nothing" 0 "m2.png" "${paint[@]}" --mask black.png -o m2.png --save-latent m2.npy
expect "where the mask is black the latent is the picture's, bit for bit, and nowhere else" python3 -c "
import struct
a, b = [struct.unpack('<2048f', open(n, 'rb').read()[-8192:]) for n in ('m1.npy', 'm2.npy')]
same = [a[i] == b[i] for i in range(2048)]
assert all(s for i, s in enumerate(same) if i % 64 >= 32) and sum(s for i, s in enumerate(same) if i % 64 < 32) < 5"
check "the authors' inpainting blends before each step" 0 "m3.png" "${edit[@]}" --mask mask.png --strength 0.9 -o m3.png
check "inpainting: --from" 0 "m4.png" "$ldm" gen --from m3.png -o m4.png
expect "inpainting: --from: same file" cmp -s m3.png m4.png
check "a mask of another size" 2 "32 x 64 pixels, wanted 64 x 64" "${edit[@]}" --mask small.png -o x.png
check "a mask without a picture" 1 "--mask: wanted the picture" "${gen[@]}" -p tiger --mask mask.png -o x.png

# ---- sizes, and options that cannot be
check "wider than high" 0 '"width":96,"height":64' "${gen[@]}" -p pizza -W 96 -H 64 --steps 2 -o w.png --json
check "a size that cannot be" 1 "needs multiples of 16; the nearest are 96 x 64 and 112 x 64" "${gen[@]}" -p pizza -W 100 -H 64 -o x.png
check "a size below the least" 1 "needs multiples of 16; the nearest is 16 x 64" "${gen[@]}" -p pizza -W 0 -H 64 -o x.png
check "a negative size" 1 "the nearest is 16 x 16" "${gen[@]}" -p pizza -W -16 -o x.png
check "a size beyond all maps" 1 "more than 2\^30 values; the largest square is 18912 x 18912" "${gen[@]}" -p pizza -W 1000000000 -H 1000000000 -o x.png
check "a strength of no picture" 0 "no picture to begin from" "${gen[@]}" -p pizza --steps 1 --strength 0.5 -o l.png
check "no name" 1 "wanted the name of a picture" "${gen[@]}" -p pizza -o ''
check "a negative seed is a random one" 0 "seed [0-9]+" "${gen[@]}" -p pizza --steps 1 -s -7 -o l.png
check "no prompt" 1 "wanted --prompt" "${gen[@]}" -o x.png
check "a prompt that is not UTF-8" 1 "not UTF-8" "${gen[@]}" -p $'a\xffb' -o x.png
printf 'good\nb\xc3\n' >bad.txt
check "prompts that are not UTF-8" 2 "bad.txt: line 2 is not UTF-8" "${gen[@]}" --prompts bad.txt -o x.png
echo >empty.txt
check "no prompts in a file" 2 "has no prompt" "${gen[@]}" --prompts empty.txt -o x.png
check "a prompt that is too long" 0 "22 fit; left out: \"red" "${gen[@]}" --steps 1 -p "$(printf 'red %.0s' $(seq 30))" -o l.png
check "weights in a prompt" 0 "taken literally" "${gen[@]}" --steps 1 -p "a (red:1.3) apple" -o l.png
check "a sampler that is none" 1 "magic" "${gen[@]}" -p x --sampling-method magic -o x.png
check "a schedule that is none" 1 "magic" "${gen[@]}" -p x --sampling-method euler --scheduler magic -o x.png
check "a schedule that the sampler does not take" 1 "times of its own" "${gen[@]}" -p x --sampling-method ddim --scheduler karras -o x.png
check "a class of a model without" 1 "has no classes" "${gen[@]}" -p x --class-id 1 -o x.png
check "a label map of a model without" 1 "semantic: .* has no use for it" "${gen[@]}" -p x --semantic "$cat" -o x.png
check "a name of another kind of picture" 0 "l.jpg: is written as PNG" "${gen[@]}" -p x --steps 1 -o l.jpg
check "... which it is" 0 "PNG picture" "$ldm" info l.jpg
check "a map of a model without" 1 "has no use for it" "${gen[@]}" -p x --depth "$cat" -o x.png
check "no model" 1 "weights: give a checkpoint" "$ldm" gen -p x -o x.png
check "not a model" 2 "" "$ldm" gen -m "$emoji/README.md" -p x -o x.png
check "starting noise of another shape" 2 "wanted \[1 or more, 32, 8, 8\]" "${gen[@]}" -p x --init-latent "$emoji/expected/ddim-context.npy" -o x.png
check "a preview that is none" 1 "wanted none, proj" "${gen[@]}" -p x --preview all -o x.png
expect "nothing of what was refused" test ! -e x.png

# ---- where to
mkdir folder
check "a folder that is not there" 5 "cannot be written" "${gen[@]}" -p x -o none/such/x.png
check "a folder as picture" 5 "directory" "${gen[@]}" -p x -o folder
check "names that are one" 1 "2 pictures of one name" "${gen[@]}" -p x -b 2 -o 'same-%%.png'
check "a name with a letter that is none" 1 "wanted %d" "${gen[@]}" -p x -o 'x-%q.png'
check "a full disk" 5 "cannot be written" bash -c "ulimit -f 1; trap '' XFSZ; exec $(printf '%q ' "${gen[@]}") -p pizza --steps 1 -o full.png"
expect "a full disk: nothing of it" test -z "$(find . -name '*full*')"
"${gen[@]}" -p pizza --steps 1 -o df.png >/dev/full 2>err.txt
expect "/dev/full as standard output" test $? -eq 5

closing
