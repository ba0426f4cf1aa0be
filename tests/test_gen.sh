#!/bin/bash
# test_gen.sh -- pictures as a user makes them, from a prompt to a PNG, with the small trained model; what they say of themselves;
# comparing and packing folders of them.
suite=gen one_sentence=yes
. "$(dirname "$0")/check.sh"
fixtures=$tests/fixtures/pictures

# ---- what a picture says of itself
check "info of a picture" 0 "Negative prompt: no" "$ldm" info "$fixtures/texts.png"
head -c 200 "$fixtures/texts.png" >short.png
check "info of a picture that is cut short" 2 "cut short" "$ldm" info short.png

# ---- eval
mkdir a b odd none
cp "$fixtures/likeness-a.png" a/x-2.png && cp "$fixtures/likeness-b.png" b/x-2.png
cp "$fixtures/likeness-a.png" a/x-10.png && cp "$fixtures/likeness-a.png" b/x-10.png
check "eval" 0 "28.894  0.82192 .*mean of 2 pictures; PSNR of those 1|28.894  0.82192 .*x-2.png" "$ldm" eval a b
expect "eval: x-2 before x-10" test "$(grep -n x-2 out.txt | cut -d: -f1)" -lt "$(grep -n x-10 out.txt | cut -d: -f1)"
check "eval --json" 0 '"equal": 1' "$ldm" eval a b --json
expect "eval: JSON is JSON" python3 -c "import json; d=json.load(open('out.txt')); assert len(d['pictures']) == 2 and abs(d['mean']['psnr'] - 28.89421422) < 1e-6"
cp a/x-2.png a/x-3.png
check "eval: a picture without its twin" 2 "a/x-3.png: has no picture of this name in b" "$ldm" eval a b
check "eval: an empty folder" 2 "no .png or .jpg" "$ldm" eval a none
check "eval: no such folder" 2 "cannot be opened" "$ldm" eval a nowhere
check "eval: one folder" 1 "two folders" "$ldm" eval a
check "eval --npz" 0 "3 pictures of 64 x 48" "$ldm" eval a --npz a.npz
expect "eval: the .npz is whole" python3 -c "
import zipfile
z = zipfile.ZipFile('a.npz'); d = z.read('arr_0.npy')
assert z.testzip() is None and b\"'|u1'\" in d[:128] and b'(3, 48, 64, 3)' in d[:128] and len(d) == 128 + 3 * 48 * 64 * 3"
cp a/x-2.png odd/1.png && cp "$fixtures/source.png" odd/2.png
check "eval --npz of two sizes" 2 "but the pictures before it are 64 x 48" "$ldm" eval odd --npz odd.npz
expect "eval: nothing half-written" test ! -e odd.npz
check "eval --npz on a full disk" 5 "cannot be written" bash -c "ulimit -f 8; trap '' XFSZ; exec \"$ldm\" eval a --npz full.npz"
expect "eval: nothing of it" test -z "$(ls -A | grep full)"

# ---- from prompts to pictures: what the authors' samplers made of the same noise
emoji=$data/emoji-ldm
model=(-m "$emoji/model.ckpt" --config "$emoji/config.yaml" --taesd "$data/taef2")
gen=("$ldm" gen "${model[@]}" --steps 20 --cfg-scale 3)
python3 -c "
import json
for n in ('ddim', 'plms'): open(n + '.txt', 'w').write('\n'.join(json.load(open('$emoji/expected/' + n + '.json'))['prompts']) + '\n')"
check "DDIM" 0 "d-07-49.png" "${gen[@]}" --prompts ddim.txt --sampling-method ddim -s 42 -o 'd-%02d-%s.png' --save-latent d.npy
check "DDIM: latents as the authors' within Winograd's bound" 0 "max absolute" "$ldm" diff d.npy "$emoji/expected/ddim-latent.npy" --max 2e-3
check "DDIM, exact" 0 "e-0.png" "${gen[@]}" --prompts ddim.txt --sampling-method DDIM -s 42 -o e.png --save-latent e.npy --exact
check "DDIM, exact: latents" 0 "max absolute" "$ldm" diff e.npy "$emoji/expected/ddim-latent.npy" --max 2e-4
mkdir want got
for i in 0 1 2 3 4 5 6 7; do cp "$emoji/expected/ddim-$i.png" want/$i.png && cp d-0$i-*.png got/$i.png; done
check "DDIM: pictures" 0 '"worst": 1,|"equal": [4-8]' "$ldm" eval want got --json
expect "DDIM: no byte of a picture is two away" python3 -c "import json; assert max(p['worst'] for p in json.load(open('out.txt'))['pictures']) <= 1"
check "PLMS from standard input, exact" 0 "p-3.png" bash -c "$(printf '%q ' "${gen[@]}") --prompts - --sampling-method plms -s 7 -o p.png --save-latent p.npy --exact <plms.txt"
check "PLMS: latents" 0 "max absolute" "$ldm" diff p.npy "$emoji/expected/plms-latent.npy" --max 2e-4
check "another sampler" 0 "q-3.png" "${gen[@]}" --prompts plms.txt --sampling-method ddim -s 7 -o q.png --save-latent q.npy --exact
check "... is told apart by twenty tolerances" 3 "largest difference" "$ldm" diff q.npy "$emoji/expected/plms-latent.npy" --max 4e-3

# ---- the same pictures with other storage, other vectors, and by the references
mkdir half eight
check "f16 activations and weights" 0 "h-7.png" "${gen[@]}" --prompts ddim.txt --sampling-method ddim -s 42 --dtype f16 -o h.png
check "vectors of eight floats" 0 "w-7.png" "${gen[@]}" --prompts ddim.txt --sampling-method ddim -s 42 --vector-width 8 -o w.png --save-latent w.npy
for i in 0 1 2 3 4 5 6 7; do mv h-$i.png half/$i.png && mv w-$i.png eight/$i.png; done
check "f16: pictures" 0 '"worst"' "$ldm" eval want half --json
expect "f16: PSNR above 50 dB, no byte five away" python3 -c "import json; d=json.load(open('out.txt')); assert d['mean']['psnr'] > 50 and max(p['worst'] for p in d['pictures']) < 5"
check "vectors of eight: latents" 0 "max absolute" "$ldm" diff w.npy "$emoji/expected/ddim-latent.npy" --max 2e-3
python3 - "$emoji/expected" <<'END'
import struct, sys
def first(path, count, shape, out):  # the first sample of a float32 .npy
    with open(path, 'rb') as f:
        f.seek(8); n = struct.unpack('<H', f.read(2))[0]; f.seek(10 + n); write(f.read(4 * count), shape, out)
def write(data, shape, out):
    head = repr({'descr': '<f4', 'fortran_order': False, 'shape': shape}); head += ' ' * (-(len(head) + 11) % 64) + '\n'
    open(out, 'wb').write(b'\x93NUMPY\1\0' + struct.pack('<H', len(head)) + head.encode() + data)
first(sys.argv[1] + '/ddim-latent.npy', 2048, (1, 32, 8, 8), 'x.npy')
first(sys.argv[1] + '/ddim-context.npy', 24 * 192, (1, 24, 192), 'c.npy')
write(struct.pack('<f', 500), (1,), 't.npy'), write(struct.pack('<f', 501), (1,), 't1.npy')
END
for e in cl reference; do
    check "the trained network, executor $e" 0 "run 1" "$ldm" run unet -m "$emoji/model.ckpt" --in x=x.npy --in t=t.npy --in context=c.npy --executor $e -o y-$e.npy
done
check "both executors agree" 0 "max absolute" "$ldm" diff y-cl.npy y-reference.npy --max 1e-4
check "the trained network at another time" 0 "run 1" "$ldm" run unet -m "$emoji/model.ckpt" --in x=x.npy --in t=t1.npy --in context=c.npy -o y-501.npy
check "... is told apart" 3 "largest difference" "$ldm" diff y-501.npy y-reference.npy --max 2e-3

# ---- the same again
one=("${gen[@]}" -p "purple heart" -s 47 --sampling-method ddim)
check "one of a batch alone" 0 '"start":"38d44d1251ff6a01' "${one[@]}" -o one.png --json
expect "one of a batch alone: same file" cmp -s one.png d-05-47.png
check "seed by -v" 0 "starting latent SHA-256 38d44d1251ff6a01" "${one[@]}" -o one.png -v
check "from its starting noise" 0 "n-5.png" "${gen[@]}" --prompts ddim.txt --sampling-method ddim -s 42 -o n.png --init-latent "$emoji/expected/ddim-noise.npy" --save-latent n.npy
check "from its starting noise: the latents" 0 "max absolute" "$ldm" diff n.npy "$emoji/expected/ddim-latent.npy" --max 2e-3
check "--from" 0 "again.png" "$ldm" gen --from d-05-47.png -o again.png
expect "--from: same file" cmp -s again.png d-05-47.png
check "--from one of several that began from given noise" 0 "again.png" "$ldm" gen --from n-3.png -o again.png
expect "--from given noise: same file" cmp -s again.png n-3.png
check "--from, changed" 0 "again.png" "$ldm" gen --from=d-05-47.png -s 48 -o again.png
expect "--from, changed: another picture" test "$(cmp d-05-47.png again.png | wc -l)" -eq 1
check "--from a picture that says nothing" 2 "no text called 'parameters'" "$ldm" gen --from "$fixtures/source.png"
check "--from with a model that is not here" 2 "was not seen here" env LDM_CACHE_DIR="$dir/none/cache" "$ldm" gen --from d-05-47.png -o x.png
check "info says how it was made" 0 "Steps: 20, Sampler: DDIM, .*Seed: 47, Size: 64x64, Model hash: 299fd650b3" "$ldm" info d-05-47.png
check "odd prompts" 0 "odd.png" "${gen[@]}" --steps 2 -p $'a, "b": \\ c\nNegative prompt: d\nSteps: 1, Seed: 2, Size: 3' -n 'caf'$'\u00e9 \U0001f431' -o odd.png
check "odd prompts: --from" 0 "odd2.png" "$ldm" gen --from odd.png -o odd2.png
expect "odd prompts: same file" cmp -s odd.png odd2.png
check "a random seed is told" 0 "seed [0-9]+" "${gen[@]}" --steps 2 -p pizza -s -1 -o r.png
check "several at once" 0 "m-7.png" "${gen[@]}" --prompts ddim.txt --sampling-method ddim --at-once 3 -o m.png --save-latent m.npy
check "several at once: latents" 0 "max absolute" "$ldm" diff m.npy d.npy --max 2e-3
check "several at once: --from" 0 "m2.png" "$ldm" gen --from m-7.png -o m2.png
expect "several at once: same file" cmp -s m2.png m-7.png

# ---- names of other programs
check "sigma samplers by other names" 0 "k.png" "${gen[@]}" -p rocket --steps 3 --sampling-method "DPM++ 2M Karras" --rng cuda -o k.png
check "... told in the usual words" 0 "Sampler: DPM\+\+ 2M, Schedule type: Karras, .*RNG: NV" "$ldm" info k.png
check "... and back" 0 "k2.png" "$ldm" gen --from k.png -o k2.png
expect "... and back: same file" cmp -s k.png k2.png

# ---- what is not said, or said in vain
check "a model without its first stage" 2 "model.ckpt: for a picture there is missing a decoder .--taesd." "$ldm" gen -m "$emoji/model.ckpt" -p apple -o x.png
check "a part without the others" 2 "for a picture there is missing a first stage .--vae or --taesd., a text encoder .--clip_l." "$ldm" gen -m "$tests/fixtures/edits/model/unet" -p apple -o x.png
printf '\xef\xbb\xbfred apple\r\n\r\ngreen pear' >marked.txt
check "prompts as editors of other systems write them" 0 '"prompt":"red apple"' "${gen[@]}" --prompts marked.txt --steps 2 -o 'marked-%d.png' --json
expect "... two of them" test "$(grep -c '"prompt":"green pear"' out.txt) $(wc -l <out.txt)" = "1 2"
printf 'red\0apple\n' >zero.txt
check "a byte of value 0 in a prompt" 2 "zero.txt: line 1 is not UTF-8 at byte 3" "${gen[@]}" --prompts zero.txt --steps 2 -o x.png
printf '\xff\xfer\0e\0d\0' >wide.txt
check "prompts in UTF-16" 2 "wide.txt: line 1 is not UTF-8 at byte 0" "${gen[@]}" --prompts wide.txt --steps 2 -o x.png
: >none.txt
check "no prompts" 2 "none.txt: has no prompt" "${gen[@]}" --prompts none.txt --steps 2 -o x.png
check "an empty prompt" 0 "n.png" "${gen[@]}" -p "" --steps 2 -o n.png
check "an empty prompt: --from" 0 "n2.png" "$ldm" gen --from n.png -o n2.png
expect "an empty prompt: same file" cmp -s n.png n2.png
for o in --cfg-scale --seed -s --steps --eta; do check "$o of an empty variable" 1 "'$o': wanted a number, and is empty" "${gen[@]}" -p apple -o x.png $o ""; done
check "... within the word" 1 "'--seed': wanted a number, and is empty" "${gen[@]}" -p apple -o x.png --seed=
check "an empty text" 0 "n3.png" "${gen[@]}" -p apple -n "" --steps 2 -o n3.png
check "noise of steps that have none" 0 "--eta 0.5: only DDIM and Euler a have a use for it" "${gen[@]}" -p apple --steps 2 --sampling-method heun --eta 0.5 -o n4.png
check "... is not recorded" 0 "Sampler: Heun" bash -c '! "$0" info n4.png | tee out2.txt | grep -q "Eta:"; cat out2.txt' "$ldm"
check "a level of noise for no upscaler" 1 "has no use for it" "${gen[@]}" -p apple --noise-level 3 -o x.png
check "a number below 0" 1 "wanted 0 or more" "${gen[@]}" -p apple --first -1 -o x.png

# ---- many, meanwhile, not to the end
check "a folder of samples" 0 "000004.png" "${gen[@]}" --prompts ddim.txt --steps 2 --out-dir many --count 5
rm many/000002.png && touch -d '2001-01-01' many/000001.png
check "a folder of samples of another seed" 1 "000004.png: was made with another --seed" "${gen[@]}" --prompts ddim.txt --steps 2 --out-dir many --count 6 -s 7
check "... of other steps" 1 "was made with another --steps" "${gen[@]}" --prompts ddim.txt --steps 3 --out-dir many --count 6
check "... of another prompt" 1 "was made with another --prompt" "${gen[@]}" -p apple --steps 2 --out-dir many --count 6
check "... by another option" 1 "was made with another --exact" "${gen[@]}" --prompts ddim.txt --steps 2 --out-dir many --count 6 --exact
check "a folder of samples, continued" 0 "4 of 5 pictures are there" "${gen[@]}" --prompts ddim.txt --steps 2 --out-dir many --count 5
expect "what was there is kept" test "$(date -r many/000001.png +%Y)" -eq 2001 -a -s many/000002.png
check "a folder of samples: one of them alone" 0 "o2.png" "${gen[@]}" -p "woman astronaut: light skin tone" --steps 2 -s 44 -o o2.png
expect "a folder of samples: same file" cmp -s o2.png many/000002.png
check "preview by projection" 0 "v.png" "${gen[@]}" -p "red apple" -o v.png --preview proj --preview-path v-proj.png --preview-interval 5
check "preview by the decoder" 0 "v.png" "${gen[@]}" -p "red apple" -o v.png --preview vae --preview-path v-vae.png
mkdir pa pb pc && cp v-vae.png pa/0.png && cp v-proj.png pb/0.png && cp v.png pc/0.png
psnr() { "$ldm" eval --json "$1" "$2" | python3 -c "import json, sys; print(json.load(sys.stdin)['mean']['psnr'] or 99)"; }
expect "the last preview by the decoder is nearly the picture" python3 -c "import sys; sys.exit(not $(psnr pa pc) > 30)"
expect "a preview by projection looks like it" python3 -c "import sys; sys.exit(not $(psnr pb pc) > 12)"
check "a sheet" 0 "5 pictures" "$ldm" sheet -o sheet.png --columns 3 --scale 2 many/*.png
check "a sheet of two sizes" 2 "but the pictures before it" "$ldm" sheet -o sheet2.png v.png "$fixtures/source.png"
mkdir int && cd int || exit 1
"${gen[@]}" --prompts ../ddim.txt --sampling-method ddim --steps 50 -b 50 -o s.png >out.txt 2>err.txt &
pid=$!
for i in $(seq 100); do [ -s out.txt ] && break; sleep 0.2; done
kill -INT $pid
wait $pid
expect "SIGINT ends with 130" test $? -eq 130
expect "SIGINT leaves whole files" "$ldm" sheet -q -o ../int.png s-*.png
expect "SIGINT leaves no other file" test -z "$(find . -name '*.tmp.*')"
cd ..

closing
