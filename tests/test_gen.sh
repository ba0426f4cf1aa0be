#!/bin/bash
# test_gen.sh -- pictures as a user makes them, from a prompt to a PNG, with the small trained model; what they say of themselves;
# comparing and packing folders of them.
cd "$(dirname "$0")/.." || exit 1
ldm=$PWD/${LDM:-build/release/ldm}
data=$PWD/tests/data fixtures=$PWD/tests/fixtures/pictures
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
suite=gen one_sentence=yes
. "$OLDPWD/tests/check.sh"
unset LDM_DATA_DIR LDM_NO_TUNED

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

echo "gen: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
