#!/bin/bash
# test_text_encoders.sh -- text encoders on the command line: listed, planned, verified, run; what is refused, by name.
suite=text_encoders one_sentence=yes
. "$(dirname "$0")/check.sh"
export XDG_DATA_HOME=$dir/data
clip="kind=clip width=64 layers=3 heads=4 head_width=16 length=11 vocab=60"
bert="kind=bert width=48 layers=2 length=9 vocab=50"
open="kind=openclip width=48 layers=3 heads=3 head_width=16 length=10 vocab=60"

# ---- plans
for name in bert-1280x32 bert-640x32 bert-512x16 clip-l openclip-h; do
    check "listed: $name" 0 "^$name +text encoder" "$ldm" plan --list
done
check "plan clip-l" 0 "123060480 parameters in 196 tensors" "$ldm" plan clip-l
check "the text encoder of a system" 0 "123060480 parameters" "$ldm" plan sd15:text
check "the last layer of OpenCLIP is not run" 0 "^164 steps, 352984064 parameters" "$ldm" plan sd2:text
check "a system without text" 1 "cin-ldm-8 has no text encoder" "$ldm" plan cin-ldm-8:text
check "verify" 0 ", 0 outside their bound" "$ldm" verify "$open"
check "verify, f16" 0 ", 0 outside their bound" "$ldm" verify "$bert" --dtype f16

# ---- one evaluation, against the witness
text() { # CONFIG FIXTURE: what all runs of a fixture share
    shared=(run text --config "$1" -m "$fixtures/$2/weights.safetensors" --in "ids=$fixtures/$2/text0_ids.npy")
}
for k in "text_clip:$clip" "text_bert:$bert" "text_openclip:$open"; do
    name=${k%%:*}
    text "${k#*:}" "$name"
    check "$name" 0 "" "$ldm" "${shared[@]}" --clip-skip 1 -o y.npy
    check "$name: the witness's context" 0 "" "$ldm" diff y.npy "$fixtures/$name/text0_y.npy" --max 1e-5
    check "$name at clip-skip 2" 0 "" "$ldm" "${shared[@]}" --clip-skip 2 -o y2.npy
    check "$name: the witness's, at clip-skip 2" 0 "" "$ldm" diff y2.npy "$fixtures/$name/text1_y.npy" --max 1e-5
    check "$name: which is another" 3 "" "$ldm" diff y.npy y2.npy --max 1e-2
done
check "clip-skip by default: OpenCLIP's is 2" 0 "" "$ldm" "${shared[@]}" -o d.npy
expect "... the same bytes" cmp -s d.npy y2.npy
text "$clip" text_clip
check "on the references" 0 "" "$ldm" "${shared[@]}" --executor reference -o r.npy
check "... the witness's context" 0 "" "$ldm" diff r.npy "$fixtures/text_clip/text0_y.npy" --max 1e-5
ids=ids=$fixtures/text_clip/text0_ids.npy
check "weights written" 0 "" "$ldm" run text --config "$clip" --synthetic 3 --save-weights w.safetensors
check "... from the file" 0 "" "$ldm" run text --config "$clip" -m w.safetensors --in "$ids" -o a.npy
check "... and from the seed" 0 "" "$ldm" run text --config "$clip" --synthetic 3 --in "$ids" -o b.npy
expect "... the same bytes" cmp -s a.npy b.npy

check "the trained model's, which its file describes" 2 "input of 9 tokens, the network takes 24" "$ldm" run text \
    -m "$data/emoji-ldm/model.ckpt" --in "ids=$fixtures/text_bert/text0_ids.npy" -o no.npy
check "a file without text encoder" 2 "there is no text encoder in it" "$ldm" run text -m "$data/taef2/taef2_decoder.pth" --in "$ids" -o no.npy

# ---- what is refused
shared=(run text --config "$clip" --synthetic 1 -o no.npy)
check "no ids" 1 "--in ids=FILE.npy is missing" "$ldm" "${shared[@]}"
check "another input" 1 "wanted NAME=FILE.npy with ids" "$ldm" "${shared[@]}" --in "x=$fixtures/text_clip/text0_ids.npy"
check "too few tokens" 2 "input of 9 tokens, the network takes 11" "$ldm" "${shared[@]}" --in "ids=$fixtures/text_bert/text0_ids.npy"
check "not a list of ids" 2 "rank 3, wanted 2" "$ldm" "${shared[@]}" --in "ids=$fixtures/text_clip/text0_y.npy"
check "clip-skip beyond the layers" 1 "clip-skip 4: wanted 1 to 3" "$ldm" "${shared[@]}" --in "$ids" --clip-skip 4
check "clip-skip below 1" 1 "clip-skip -1: wanted 1 to 3" "$ldm" "${shared[@]}" --in "$ids" --clip-skip -1
check "an id that is none" 1 "id [0-9]+: wanted a whole number from 0 to 9" "$ldm" run text --config "$clip vocab=10" --synthetic 1 \
    --in "$ids" -o no.npy
check "an encoder that is not known" 1 "config 'clip-g' is not known" "$ldm" plan clip-g
check "a field that is none" 1 "no field 'depth'" "$ldm" plan "kind=clip width=64 depth=2"
check "weights of another encoder" 2 "have another shape" "$ldm" run text --config "$clip vocab=61" \
    -m "$fixtures/text_clip/weights.safetensors" --in "$ids" -o no.npy
expect "nothing left behind" test ! -e no.npy

closing
