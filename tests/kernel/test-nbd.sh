#!/usr/bin/env bash
# test-nbd.sh: the kernel's NBD client and real file systems on our volumes.
#
# All of it happens in the machine, see in-vm-nbd.sh; here we only make the
# image that the volumes are laid over, from files of our own, and compare it
# with itself afterwards.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/../interop/functions.sh"

requires_build
requires nbd-client mkfs.ext4 mkfs.xfs fio
"$here/vm" --kernel >/dev/null || skip "no kernel to boot"

base=$work/base.img
truncate -s 64M "$base"
cp -r "$tests/unit" "$work/files"
quietly mkfs.ext4 -q -d "$work/files" "$base"
before=$(sum_of "$base")

# What is found out about a failure is kept in the folder $work/out.
mkdir "$work/out"
"$here/vm" --mem 3G --timeout 1500 --out "$work/out" -- \
    env THINBD_BUILD_DIR="$build" "$here/in-vm-nbd.sh" "$base" "$work/files" "$work/out"

[ "$(sum_of "$base")" = "$before" ] || fail "the image was written to"
