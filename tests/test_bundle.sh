#!/bin/bash
# test_bundle.sh -- the bundle is made, is small enough, and its programs run from where it was moved to, with nothing set and
# from another folder. LDM names the tool whose build goes into it.
suite=bundle one_sentence=
. "$(dirname "$0")/check.sh"
build=$(dirname "$ldm") repository=$(dirname "$tests")
if [ ! -x "$build/ldm-bench" ]; then
    echo "SKIP bundle: Google Benchmark is missing"
    echo "bundle: 0 passed, 0 failed, 1 skipped"
    exit 0
fi
check "made, and under 64 MiB" 0 'bundle: [0-9]+ MiB, .*tar.gz: [0-9]+ MiB' env -C "$repository" bench/bundle.sh "$build" "$dir/bundle"
mkdir "moved here" && tar -xzf bundle.tar.gz -C "moved here"
here="$dir/moved here/bundle"
alone=(env -i -C / PATH=/usr/bin:/bin HOME="$dir" LDM_CACHE_DIR="${LDM_CACHE_DIR:-$HOME/.cache/ldm}" ${OCL_ICD_VENDORS:+OCL_ICD_VENDORS="$OCL_ICD_VENDORS"})
check "the tool, by its own kernels" 0 'self-test passed' "${alone[@]}" "$here/bin/ldm" selftest
check "a picture" 0 'PSNR' "${alone[@]}" "$here/bin/ldm" roundtrip --taesd "$here/tests/data/taef2" -i "$here/tests/data/photos/coffee.png" -o "$dir/y.png"
check "a test" 0 '^sample: [0-9]+ passed, 0 failed' "${alone[@]}" env -C "$here" bin/test_sample
check "the bench" 0 'group_norm' "${alone[@]}" "$here/bin/ldm-bench" --list --op group_norm
closing
