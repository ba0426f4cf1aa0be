#!/bin/sh
# Starts libexec/<the name this is called by> of a bundle, with the bundle's libraries. The C and C++ runtimes are taken from
# the bundle only where the system's are older: a driver may need the system's newer ones.
here=$(dirname "$(readlink -f "$0")")/..
called=$0 # links to bin/PROGRAM may have any name; bin/PROGRAM itself links here
while target=$(readlink "$called") && [ "$(basename "$target")" != launch ]; do
    case $target in /*) called=$target ;; *) called=$(dirname "$called")/$target ;; esac
done
name=$(basename "$called")
lib=$here/lib
newest() { # the highest version of symbol set $1 named in file $2
    grep -ao "$1_[0-9]*\.[0-9.]*[0-9]" "$2" 2>/dev/null | sed "s/$1_//" | sort -V | tail -1
}
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]; }
for dir in /lib64 /usr/lib64 /lib /usr/lib /usr/lib/"$(uname -m)"-linux-gnu /lib/"$(uname -m)"-linux-gnu; do
    [ -e "$dir/libc.so.6" ] && libc=$dir/libc.so.6
    [ -e "$dir/libstdc++.so.6" ] && libcxx=$dir/libstdc++.so.6
done
path=$lib
if [ -z "$libcxx" ] || older "$(newest GLIBCXX "$libcxx")" "$(newest GLIBCXX "$lib/compiler/libstdc++.so.6")"; then
    path=$path:$lib/compiler
fi
export LDM_KERNEL_DIR="${LDM_KERNEL_DIR:-$here/kernels}" LDM_BENCH="$here/bin/ldm-bench"
if [ -z "$libc" ] || older "$(newest GLIBC "$libc")" "$(newest GLIBC "$lib/glibc/libc.so.6")"; then
    exec "$lib"/glibc/ld-linux*.so.* --library-path "$lib/glibc:$path:$LD_LIBRARY_PATH" "$here/libexec/$name" "$@"
fi
export LD_LIBRARY_PATH="$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/libexec/$name" "$@"
