#!/bin/bash
# test_previews.sh -- what a latent looks like meanwhile: by projection, by a tiny decoder beside the one that makes the picture, by
# that one; how often, where to, always whole files; and the picture is what it is without.
suite=previews one_sentence=yes
. "$(dirname "$0")/check.sh"
psnr() { # psnr FILE FILE
    rm -rf a b && mkdir a b && cp "$1" a/0.png && cp "$2" b/0.png
    "$ldm" eval --json a b | python3 -c "import json, sys; print(json.load(sys.stdin)['mean']['psnr'] or 99)"
}
above() { expect "$1" python3 -c "import sys; sys.exit(not $2 > $3)"; }
same() { expect "$1" cmp -s "$2" "$3"; }
differ() { expect "$1" test "$(cmp "$2" "$3" | wc -l)" -eq 1; }

# An autoencoder of random weights for the latents of the trained model: what it makes looks like nothing, what TAEF2 makes of the
# same latents is the picture.
"$ldm" run decoder --config "kind=kl ch=32 ch_mult=1,1,2,2 num_res_blocks=1 z_channels=32 embed_dim=32" --synthetic 5 --save-weights vae.safetensors -q >/dev/null || exit 1
model=(-m "$data/emoji-ldm/model.ckpt")
how=(-p "red apple" --steps 20 --cfg-scale 3 --sampling-method ddim)
gen=("$ldm" gen "${model[@]}" --vae vae.safetensors "${how[@]}")
tiny=(--taesd "$data/taef2" --taesd-preview-only)

check "the picture by TAEF2" 0 "apple.png" "$ldm" gen "${model[@]}" --taesd "$data/taef2" "${how[@]}" -o apple.png
check "the picture by the other autoencoder" 0 "p.png" "${gen[@]}" -o p.png
above "... which sees nothing in it" 15 "$(psnr apple.png p.png)"

# ---- by whom
echo "what was there" >tae.png && ln tae.png kept.txt
check "a tiny decoder for previews" 0 "p1.png" "${gen[@]}" "${tiny[@]}" --preview tae --preview-path tae.png -o p1.png
above "... shows the picture" "$(psnr tae.png apple.png)" 30
same "... while the other one makes it, as without" p.png p1.png
expect "... and took the file's place, not its contents" grep -q "what was there" kept.txt
check "... --from, which needs no tiny decoder" 0 "p1a.png" "$ldm" gen --from p1.png -o p1a.png
same "... --from: same file" p1.png p1a.png
check "the decoder itself" 0 "p2.png" "${gen[@]}" "${tiny[@]}" --preview vae --preview-path vae.png -o p2.png
above "... shows what it will make" "$(psnr vae.png p.png)" 30
same "... and makes it as without" p.png p2.png
check "a projection" 0 "p3.png" "${gen[@]}" --preview proj --preview-path proj.png -o p3.png
same "... the picture as without" p.png p3.png
differ "... is another preview than the decoder's" proj.png vae.png
check "the tiny decoder for both" 0 "p4.png" "$ldm" gen "${model[@]}" --taesd "$data/taef2" "${how[@]}" --preview tae --preview-path tae2.png -o p4.png
same "... the picture as without" apple.png p4.png
same "... and previews as with another decoder" tae.png tae2.png
check "a projection is kept" 0 "p5.png" env LDM_CACHE_DIR="$dir/cache" "${gen[@]}" --preview proj --preview-path proj1.png -o p5.png
expect "... in the cache folder" test "$(find cache/previews -name '*.npy' | wc -l)" -eq 1
check "... and is the same" 0 "p6.png" env LDM_CACHE_DIR="$dir/cache" "${gen[@]}" --preview proj --preview-path proj2.png -o p6.png
same "... and is the same file" proj1.png proj2.png

# ---- how often
preview=("${gen[@]}" "${tiny[@]}" --preview tae)
check "every seven steps" 0 "p.png" "${preview[@]}" --preview-interval 7 --preview-path i7.png -o p.png
check "every fourteen" 0 "p.png" "${preview[@]}" --preview-interval 14 --preview-path i14.png -o p.png
same "... both end with the fourteenth of twenty" i7.png i14.png
differ "... which is not the last" i7.png tae.png
check "less often than there are steps" 0 "p.png" "${preview[@]}" --preview-interval 21 --preview-path i21.png -o p.png
expect "... is never" test ! -e i21.png
check "none" 0 "p.png" "${gen[@]}" --preview none --preview-path none.png -o p.png
expect "... is none" test ! -e none.png

# ---- whole files: whoever looks sees all of a PNG or none
python3 - <<'PY' &
import os, time
looked, broken, files = 0, 0, set()
while not os.path.exists("stop"):
    try:
        with open("seen.png", "rb") as f:
            d = f.read()
            files.add(os.fstat(f.fileno()).st_ino)
    except FileNotFoundError:
        continue
    looked += 1
    broken += d[:8] != b"\x89PNG\r\n\x1a\n" or d[-8:-4] != b"IEND"
    time.sleep(0.001)
print(looked, broken, len(files), file=open("looked.txt", "w"))
PY
watcher=$!
check "watched" 0 "p.png" "${preview[@]}" --steps 50 --preview-path seen.png -o p.png
touch stop && wait $watcher
expect "every look saw a whole file" python3 -c "n, bad, files = map(int, open('looked.txt').read().split()); assert n > 10 and bad == 0 and files > 1"
expect "nothing is left of how they were written" test -z "$(find . -name '*.tmp.*')"

# ---- what cannot be
check "no tiny decoder" 1 "wanted --taesd" "${gen[@]}" --preview tae -o x.png
check "an interval that is none" 1 "wanted 1 or more" "${gen[@]}" --preview proj --preview-interval 0 -o x.png
check "a kind that is none" 1 "wanted none, proj, tae or vae" "${gen[@]}" --preview film -o x.png
check "where nothing can be written" 5 "cannot be written" "${gen[@]}" --preview proj --preview-path no/such/p.png -o x.png
expect "... is found before anything is made" test ! -e x.png
check "no memory for it beside the network" 0 "no previews: .*the plan needs" "${gen[@]}" -W 128 -H 128 --preview vae --preview-path big.png --max-memory 34M -o q.png
expect "... the picture is made" test -s q.png -a ! -e big.png

closing
