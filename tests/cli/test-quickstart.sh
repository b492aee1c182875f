#!/usr/bin/env bash
# ./quickstart --once: on its own image and on one that it has never seen, twice,
# from another folder.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"
requires nbdsh mke2fs
[ "$build" = "$project/build" ] || skip "quickstart builds in build/, and this is $build"
[ ! -S "$project/build/demo/nbd.sock" ] ||
    ! nbdinfo --list "nbd+unix:///?socket=$project/build/demo/nbd.sock" >/dev/null 2>&1 ||
    skip "somebody is using it"
export THINBD_NO_INSTALL=1
cd "$work"

proves "an image of odd size, in a folder with a blank in its name"
mkdir 'a folder'
an_image "a folder/odd image" 12345677
cp "a folder/odd image" copy
for round in first second; do
    quietly "$project/quickstart" --once "a folder/odd image"
    grep -q 'vm2 still reads the base' "$work/output" || fail "$round: $(cat "$work/output")"
done
same copy "a folder/odd image" "the image was written"
grep -q '4 MiB' "$work/output" || fail "what vm1 uses: $(cat "$work/output")"

proves "an image of one byte"
printf 'x' >tiny
quietly "$project/quickstart" --once tiny

proves "its own image"
quietly "$project/quickstart" --once
grep -q 'base.ext4' "$work/output" || fail "$(cat "$work/output")"

proves "what it cannot use it refuses, before anything else"
printf 'QFI\xfb and so on' >x.qcow2
: >empty
for image in x.qcow2 empty none .; do
    exits 1 "$project/quickstart" --once $image
    grep -q '^quickstart: ' "$work/err" || fail "$image: $(cat "$work/err")"
done
exits 2 "$project/quickstart" --twice
exits 2 "$project/quickstart" a b

proves "it leaves nothing running"
! nbdinfo --list "nbd+unix:///?socket=$project/build/demo/nbd.sock" >/dev/null 2>&1 ||
    fail "the server is still there"
