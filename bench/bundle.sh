#!/bin/sh
# bundle.sh BUILD OUT -- a folder that runs on another Linux machine of this architecture with nothing installed but an OpenCL
# driver: programs, kernels, shapes, tests with their data, and every shared library they need. Also OUT.tar.gz. Fails if the
# folder is over 64 MiB or a program of it does not start from another place with an empty environment.
# The trained model and the fixtures of whole pipelines are 50 MiB more: tests that need them stay at home.
set -e
build=$1 out=$2
home_tests="conditioners layouts nonfinite pipelines shapes system trained"
home_data="data/emoji-ldm fixtures/edits fixtures/layouts fixtures/pipeline_* fixtures/rescaler fixtures/text_* fixtures/trained"
rm -rf "$out" "$out.tar.gz"
mkdir -p "$out/bin" "$out/libexec" "$out/lib/compiler" "$out/lib/glibc" "$out/bench" "$out/tests"
cp bench/launch.sh "$out/libexec/launch"
chmod +x "$out/libexec/launch"
for program in "$build"/ldm "$build"/ldm-bench "$build"/tests/test_*; do
    [ -f "$program" ] && [ -x "$program" ] || continue
    case " $home_tests " in *" ${program##*/test_} "*) continue ;; esac
    strip -o "$out/libexec/$(basename "$program")" "$program"
    ln -s ../libexec/launch "$out/bin/$(basename "$program")"
done
cp -r kernels "$out/"
cp -r bench/shapes "$out/bench/"
cp tests/run tests/chain.cl "$out/tests/"
cp -r tests/fixtures tests/data "$out/tests/"
for data in $home_data; do rm -r "$out"/tests/$data; done
cp LICENSE "$out/"
# libraries: the loader and libc apart (used only where the system's are older), the C++ runtime likewise
for program in "$out"/libexec/*; do
    ldd "$program" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }'
done | sort -u | while read -r so; do
    case $(basename "$so") in
    ld-linux* | libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | libresolv.so*) cp -L "$so" "$out/lib/glibc/" ;;
    libstdc++* | libgcc_s*) cp -L "$so" "$out/lib/compiler/" ;;
    *) cp -L "$so" "$out/lib/" ;;
    esac
done
# drivers made for an older glibc ask for its parts by name; they must be of the same glibc as libc
glibc_dir=$(dirname "$(ldd "$build/ldm" | awk '$1 == "libc.so.6" { print $3 }')")
for part in libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1 libresolv.so.2 libmvec.so.1; do
    [ -e "$glibc_dir/$part" ] && cp -L "$glibc_dir/$part" "$out/lib/glibc/"
done
cat >"$out/tests/all" <<'END'
#!/bin/sh
# every test of the bundle; ends with "N passed, N failed, N skipped"
cd "$(dirname "$(readlink -f "$0")")/.." && exec tests/run bin/test_*
END
chmod +x "$out/tests/all" "$out/tests/run"
glibc=$(ldd --version | sed -n '1s/.* //p')
cat >"$out/README" <<END
ldm $(git describe --always --dirty 2>/dev/null || echo), $(uname -m) Linux, made on glibc $glibc.

  bin/ldm --help                 the tool
  bin/ldm devices                what OpenCL devices it sees
  tests/all                      every test
  bin/ldm-bench -o bench.json    every op on the shapes of the real networks

Nothing needs installing but an OpenCL driver. Drivers are found through /etc/OpenCL/vendors/*.icd. Where a container has the
driver's library but no .icd file, name it:  OCL_ICD_VENDORS=libnvidia-opencl.so.1 bin/ldm devices
(or OCL_ICD_VENDORS=/path/to/folder/of/icd/files). Compiled kernels are cached in ~/.cache/ldm; LDM_CACHE_DIR moves that.
\`ldm tune\` keeps its results in ~/.local/share/ldm; LDM_DATA_DIR moves that.
The folder may be moved as a whole. On a system with an older glibc or libstdc++ the bundle uses its own (lib/glibc,
lib/compiler).
END
# it must start from another place, with nothing in the environment
moved=$(mktemp -d)
trap 'rm -rf "$moved"' EXIT
cp -r "$out" "$moved/else where"
for program in "$moved/else where"/bin/*; do
    name=$(basename "$program")
    case $name in test_*) set -- no-such-case ;; *) set -- --help ;; esac
    (cd / && env -i PATH=/usr/bin:/bin HOME="$moved" "$program" "$@" >"$moved/log" 2>&1) ||
        { echo "bundle: $name does not start from another place:"; cat "$moved/log"; exit 1; }
done
size=$(du -sm "$out" | cut -f1)
[ "$size" -le 64 ] || { echo "bundle: $size MiB, wanted at most 64"; exit 1; }
tar -czf "$out.tar.gz" -C "$(dirname "$out")" "$(basename "$out")"
echo "$out: $size MiB, $out.tar.gz: $(du -sm "$out.tar.gz" | cut -f1) MiB"
