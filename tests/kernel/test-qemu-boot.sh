#!/usr/bin/env bash
# test-qemu-boot.sh: two guests, at the same time, from volumes over one base image.
#
# The image is an ext4 with busybox, ./guest-init and files of ours; the kernel is
# that of ./vm, and goes to QEMU directly. Each guest boots twice, and finds at the
# second boot what it wrote at the first, and nothing of the other's.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/../interop/functions.sh"

requires_build
requires qemu-system-x86_64 busybox cpio mkfs.ext4 e2fsck debugfs
kernel=$("$here/vm" --kernel) || skip "no kernel to boot"

base=$work/base.img
initrd=$work/initrd
pool=$work/pool
guests=(guest1 guest2)
patience=900 # TCG on a busy machine

make_base() {
    local root=$work/root
    mkdir -p "$root"/{bin,dev,proc}
    cp "$(command -v busybox)" "$root/bin/"
    ln -s busybox "$root/bin/sh"
    local applet
    for applet in sed seq cat sha256sum cmp sync mount poweroff; do
        ln -s busybox "$root/bin/$applet"
    done
    cp "$here/guest-init" "$root/init"
    cp -r "$tests/oracle" "$root/files"
    (cd "$root/files" && find . -type f -exec sha256sum {} +) >"$root/sums"
    truncate -s 48M "$base"
    quietly mkfs.ext4 -q -d "$root" -E lazy_itable_init=0,lazy_journal_init=0 "$base"
}

# boot_guest NAME BOOT: in the background; its console goes to a file.
boot_guest() {
    # shellcheck disable=SC2054 # the commas are QEMU's
    local options=(
        -nodefaults -no-reboot -display none -accel tcg -cpu max -m 256M
        -kernel "$kernel"/boot/vmlinuz-* -initrd "$initrd"
        -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check guest=$1"
        -serial "file:$work/$1.console$2"
        -drive "file=nbd:unix:$socket:exportname=$1,format=raw,if=virtio,discard=unmap"
    )
    timeout "$patience" qemu-system-x86_64 "${options[@]}" </dev/null &
}

# boot_all NUMBER
boot_all() {
    local name process processes=() status
    for name in "${guests[@]}"; do
        boot_guest "$name" "$1"
        processes+=($!)
    done
    for process in "${processes[@]}"; do
        status=0
        wait "$process" || status=$?
        [ $status -eq 0 ] || fail "QEMU: status $status"
    done
    for name in "${guests[@]}"; do
        grep -q "^$name: boot $1 is good" "$work/$name.console$1" || {
            cat "$work/$name.console$1" >&2
            fail "$name: boot $1 went wrong"
        }
    done
}

# from_disk NAME FILE: a file of a volume's file system, by e2fsprogs.
from_disk() { debugfs -R "cat $2" "$work/$1.img" 2>/dev/null; }

# What a guest has left is there without it, too.
look_inside() {
    local name=$1 number
    nbdcopy "$(uri "$name")" "$work/$name.img"
    quietly e2fsck -fn "$work/$name.img"
    for number in 1 2; do
        seq -f "$name $number %.0f" 150000 >"$work/expected"
        from_disk "$name" "/changes.$number" | cmp - "$work/expected" ||
            fail "$name: not what it wrote at boot $number"
    done
    printf '%s\n' "$name" "$name" >"$work/expected"
    from_disk "$name" /shared | cmp - "$work/expected" ||
        fail "$name: the other guest is in its file"
}

# mapped NAME: in MiB
mapped() {
    thinbd --json list "$1" | jq '.[0].mapped_bytes / 1048576 | floor'
}

thinbd() { "$thinbd" --pool "$pool" "$@"; }

# Two files of 2 to 3 MiB each, journal and inodes: far from the image's 48.
pays_for_changes_only() {
    local name megabytes
    for name in "${guests[@]}"; do
        megabytes=$(mapped "$name")
        if [ "$megabytes" -lt 4 ] || [ "$megabytes" -gt 24 ]; then
            fail "$name: $megabytes MiB are mapped"
        fi
    done
}

quietly "$here/vm" --initrd "$initrd" "$here/guest-initrd" virtio_pci virtio_blk ext4
make_base
before=$(sum_of "$base")
quietly thinbd init --data-size 256M
for name in "${guests[@]}"; do quietly thinbd create "$name" --origin "$base"; done
start_server "$pool"

proves "two guests boot from one image at once"
boot_all 1
proves "each finds its own changes at the second boot"
boot_all 2
proves "they are on its volume, and nowhere else"
for name in "${guests[@]}"; do look_inside "$name"; done
[ "$(sum_of "$base")" = "$before" ] || fail "the image was written to"
proves "a guest costs what it has changed"
pays_for_changes_only
stop_server
quietly thinbd check
check_pool_metadata "$pool/metadata"
