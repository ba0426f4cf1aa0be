#!/bin/bash
# test_memory.sh -- memory as a user meets it: what --max-memory chooses is said, results are the same bytes where that is promised,
# a picture made in a budget can be repeated without it, and what cannot be done ends with status 6 and leaves nothing.
# Prints FAIL lines and the closing line that tests/run adds up. LDM names the tool.
suite=memory_budget one_sentence=
. "$(dirname "$0")/check.sh"
same() { check "$1" 0 "" cmp "$2" "$3"; }
differ() { check "$1" 1 "" cmp "$2" "$3"; }

# ---- one network: plans
check "sd15 in 2.0 GB stays" 0 "peak device memory: .* = 1[0-9]{3}\.[0-9] MiB" "$ldm" plan sd15 --wtype f16 --max-memory 1907M
check "sd15 in 0.7 GB comes in groups" 0 "of weights come from host memory in [0-9]+ groups" "$ldm" plan sd15 --wtype f16 --max-memory 667M
check "... and the peak is said" 0 "peak device memory: .* = 6[0-9]{2}\.[0-9] MiB" "$ldm" plan sd15 --wtype f16 --max-memory 667M
check "kl-f8 at 1024 x 1024 in strips" 0 "steps are made in strips" "$ldm" plan kl-f8:decoder -H 128 --max-memory 1300M
check "... in 0.6 GB beside its weights" 0 "weights 3[0-9]{2}\.[0-9] MiB \+ activations [1-4][0-9]{2}\.[0-9] MiB" "$ldm" plan kl-f8:decoder -H 128 --wtype f16 --max-memory 872M
check "sd15 in 100 MB" 6 "two slots" "$ldm" plan sd15 --wtype f16 --max-memory 100M

# ---- one network: the same bytes
check "encode" 0 "" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o z.npy
check "encode in strips and groups" 0 "steps are made in strips, the same bits" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o z2.npy --max-memory 20M
same "encode in a budget" z.npy z2.npy
check "decode" 0 "" "$ldm" decode --taesd "$data/taef2" -i z.npy -o a.png
check "decode in strips" 0 "steps are made in strips, the same bits" "$ldm" decode --taesd "$data/taef2" -i z.npy -o b.png --max-memory 40M
same "decode in a budget" a.png b.png
check "encode in nothing" 6 "the plan needs" "$ldm" encode --taesd "$data/taef2" -i "$data/photos/coffee.png" -o z3.npy --max-memory 2M
check "... leaves nothing" 1 "" test -e z3.npy

# ---- what it costs
check "time ratio" 0 "in 16M [0-9.]+ ms, with all the memory there is [0-9.]+ ms: [0-9.]+ times as long, the same bits" "$ldm" run taef2:decoder --in z=z.npy \
    --synthetic 1 --whole --max-memory 16M

# ---- a pipeline
model=(-m "$data/emoji-ldm/model.ckpt" --taesd "$data/taef2")
gen=("$ldm" gen "${model[@]}" -p apple --steps 4 -s 1)
peak() { sed -n 's/^memory: .*peak \([0-9]*\)\.\([0-9]\) MiB.*/\1.\2/p' err.txt; }
check "gen" 0 "memory: everything at once" "${gen[@]}" --save-latent l.npy -o p.png
check "gen, guidance in turn" 0 "" "${gen[@]}" --in-turn --save-latent t.npy -o t.png
budget=$(awk -v p="$(peak)" 'BEGIN { print p + 0.1 }')M # of the line above: no more than guidance in turn takes
check "gen: guidance goes first" 0 "memory: guidance as two batches of one; peak" "${gen[@]}" --max-memory "$budget" --save-latent l1.npy -o p1.png
same "guidance in turn is what was chosen" t.npy l1.npy
check "gen: the text encoder goes" 0 "memory: .*the text encoder freed before the network" "${gen[@]}" --max-memory 60M --save-latent l2.npy -o p2.png
same "freeing changes nothing" "$(grep -q "two batches" err.txt && echo t.npy || echo l.npy)" l2.npy
check "gen: the network goes" 0 "memory: .*the network freed before the decoder" "${gen[@]}" -v --max-memory 40M --save-latent l3.npy -o p3.png
kept=$(grep -q "two batches" err.txt && echo t.npy || echo l.npy)
allocated=$(sed -n 's/^device memory: \([0-9.]*\) MiB were allocated at most/\1/p' err.txt)
same "freeing changes nothing, again" "$kept" l3.npy
check "gen: no more is allocated than may be" 0 "" awk -v a="$allocated" 'BEGIN { exit !(a > 10 && a <= 40) }'
check "a picture made in a budget is repeated without it" 0 "" "$ldm" gen --from p1.png "${model[@]}" --save-latent l4.npy -o p4.png
same "repeated" t.npy l4.npy
large=("${gen[@]}" -W 128 -H 128 -b 3)
check "gen: a batch larger than memory is split" 0 "memory: groups of [0-9]+, not of 64 pictures" "${large[@]}" --at-once 64 --max-memory 40M -v --save-latent n1.npy -o n1.png
cp err.txt said.txt
turn=$(grep -q "two batches" said.txt && echo --in-turn)
at_once=$(sed -n 's/^memory: groups of \([0-9]*\), .*/\1/p' said.txt)
allocated=$(sed -n 's/^device memory: \([0-9.]*\) MiB were allocated at most/\1/p' said.txt)
check "... rather than have its weights come and go" 1 "" grep "weights in groups" said.txt
check "... no more is allocated than may be" 0 "" awk -v a="$allocated" 'BEGIN { exit !(a > 10 && a <= 40) }'
check "groups of that size" 0 "" "${large[@]}" --at-once "$at_once" $turn --save-latent n2.npy -o n2.png
same "a batch that is split is one of smaller groups" n1.npy n2.npy
check "... as its pictures know" 0 "" "$ldm" gen --from n1-2.png "${model[@]}" -o n3.png
same "... and are repeated" n1-2.png n3.png
python3 - "$data/emoji-ldm/expected/ddim-context.npy" <<'PY'
import struct, sys  # the first of its contexts: no text encoder, whose words alone are larger than the network
f = open(sys.argv[1], "rb")
f.seek(8)
f.seek(10 + struct.unpack("<H", f.read(2))[0])
head = repr({"descr": "<f4", "fortran_order": False, "shape": (24, 192)})
head += " " * (-(len(head) + 11) % 64) + "\n"
open("c.npy", "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + f.read(4 * 24 * 192))
PY
told=("$ldm" gen "${model[@]}" --context c.npy --steps 2 -s 1 -b 2 --at-once 2)
check "gen: where one picture does not fit, weights come and go" 0 "memory: .*weights in groups" "${told[@]}" --max-memory 20M --save-latent s1.npy -o s1.png
cp err.txt said.txt
turn=$(grep -q "two batches" said.txt && echo --in-turn)
check "... and the batch stays" 1 "" grep "memory: groups of" said.txt
check "... without" 0 "" "${told[@]}" $turn --save-latent s2.npy -o s2.png
same "... the same bits" s1.npy s2.npy
check "gen in too little" 6 "the plan needs" "${gen[@]}" --max-memory 8M -o none.png
check "... leaves nothing" 1 "" test -e none.png
edit=("${gen[@]}" -W 256 -H 256 -i "$data/photos/astronaut.png" --strength 0.5 --sampling-method ddim -v)
check "img2img" 0 "" "${edit[@]}" -o e1.png
start=$(sed -n 's/.*starting latent SHA-256 //p' err.txt)
check "img2img in a budget: the encoder works in strips" 0 "^encoder: device memory" "${edit[@]}" --max-memory 40M -o e2.png
cp err.txt said.txt
expect "... which come before anything else" test "$(grep -nm1 'steps are made in strips, the same bits' said.txt | cut -d: -f1)" -lt "$(grep -nm1 '^memory:' said.txt | cut -d: -f1)"
expect "... the same bits" test "$start" = "$(sed -n 's/.*starting latent SHA-256 //p' said.txt)" -a -n "$start"
allocated=$(sed -n 's/^device memory: \([0-9.]*\) MiB were allocated at most/\1/p' said.txt)
check "... no more is allocated than may be" 0 "" awk -v a="$allocated" 'BEGIN { exit !(a > 10 && a <= 40) }'
check "... and it is in the peak that is said" 0 "" awk -v a="$allocated" -v p="$(sed -n 's/^memory: .*peak \([0-9.]*\) MiB.*/\1/p' said.txt)" 'BEGIN { exit !(a <= p + 0.1) }'
check "tiles" 0 "" "${gen[@]}" -W 128 -H 128 --vae-tiling --vae-tile-size 8 --save-latent l5.npy -o p5.png
check "no tiles" 0 "" "${gen[@]}" -W 128 -H 128 --save-latent l6.npy -o p6.png
same "tiles are of the latent" l5.npy l6.npy
differ "tiles are another picture" p5.png p6.png
check "tile size" 1 "tile size 'big'" "${gen[@]}" --vae-tiling --vae-tile-size big -o none.png
check "tile size alone" 1 "goes with --vae-tiling" "${gen[@]}" --vae-tile-size 32 -o none.png
closing
