#!/usr/bin/env bash
# in-vm-nbd.sh BASE FILES OUT: the part of test-nbd.sh that runs under the kernel.
#
# Two volumes: `system`, 128M over BASE, a smaller ext4 image with what is in the
# folder FILES; `scratch`, over nothing, for xfs. Their pool is on block devices.
# They are served on a Unix socket first, after a kill -9 on TCP with two
# connections a volume, and in the end dm-thin takes over. Nothing is tidied up
# after a failure: the machine ends with this script. All that talks to a device
# has a time in which it has to be done, see bounded.sh.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/../interop/functions.sh"
. "$here/bounded.sh"

base=$1
files=$2
out=$3
pool=$work/pool
port=10809
lost=100     # seconds, until a request without an answer has failed
patience=300 # seconds; see bounded.sh
mnt=$work/mnt

thinbd() { "$thinbd" --pool "$pool" "$@"; }

# field NAME KEY
field() {
    thinbd --json list | jq --arg name "$1" ".[] | select(.name == \$name).$2"
}

mapped() { field "$1" mapped_bytes; }
used() { thinbd --json status | jq .data.used_bytes; }
device_id() { field "$1" device; }

### Devices

# attach VOLUME DEVICE, by the way that is $listen's. Without a time-out the kernel
# waits for ever for what a server that is gone has not answered.
attach() {
    local way=(-unix "$socket")
    [ "${listen[0]}" = -U ] || way=(127.0.0.1 "$port" -C 2)
    within "$patience" quietly nbd-client "${way[@]}" -t "$lost" -N "$1" "/dev/$2"
    until_true "$patience" has_a_size "$2"
}

has_a_size() { [ "$(blockdev --getsize64 "/dev/$1")" -gt 0 ]; }

# connections NUMBER: that many TCP connections are open, as the server sees them.
connections() {
    local found
    found=$(grep -Ec "^ *[0-9]+: 0100007F:$(printf %04X "$port") [^ ]+ 01 " /proc/net/tcp)
    [ "$found" -eq "$1" ] || fail "$found TCP connections, not $1"
}

detach() { within "$patience" quietly nbd-client -d "/dev/$1"; }

# mount_at DEVICE FOLDER [OPTION...]
mount_at() {
    local device=$1 folder=$mnt/$2
    shift 2
    mkdir -p "$folder"
    within "$patience" mount "$@" "/dev/$device" "$folder"
}

unmount() { within "$patience" umount "$mnt/$1"; }

# The log of the last mount says that a journal had to be replayed.
was_replayed() { dmesg | grep -Eq "\($1\): (recovery complete|Ending recovery)"; }

### Files

# put FOLDER NAME: a file of 1M that is on the disk when this returns.
put() {
    seq -f "file $2 line %10.0f" 40000 >"$1/$2"
    sync "$1/$2"
}

# has FOLDER NAME
has() { seq -f "file $2 line %10.0f" 40000 | cmp - "$1/$2"; }

# Write and forget, until told to stop, so that a snapshot or a crash has
# something to interrupt.
start_noise() {
    while :; do
        seq 20000 >"$1/noise.$((RANDOM % 50))" || break
    done 2>/dev/null &
    noise=$!
}

stop_noise() {
    kill "$noise" 2>/dev/null || :
    until_true "$patience" noise_is_gone
}

noise_is_gone() { ! kill -0 "$noise" 2>/dev/null; }

fio_verifies() {
    within "$patience" quietly fio --name=verify --directory="$1" --size=6M --rw=randwrite \
            --bsrange=4k-128k --direct=1 --ioengine=psync --numjobs=2 \
            --verify=crc32c --verify_state_save=0 --verify_fatal=1 --do_verify=1
    rm "$1"/verify.*
}

### The story

make_pool() {
    truncate -s 16M "$work/metadata"
    truncate -s 768M "$work/data"
    metadata=$(losetup -f --show "$work/metadata")
    data=$(losetup -f --show "$work/data")
    quietly thinbd init --metadata-size 16M --metadata "$metadata" \
            --data-size 768M --data "$data"
    quietly thinbd create system --size 128M --origin "$base"
    quietly thinbd create scratch --size 320M
}

use_base_image() {
    attach system nbd0
    mount_at nbd0 system
    diff -r --exclude=lost+found "$files" "$mnt/system"
    quietly resize2fs /dev/nbd0
    [ "$(df --output=size -m "$mnt/system" | tail -n 1)" -gt 100 ] ||
        fail "ext4 did not grow"
    put "$mnt/system" before
}

use_xfs() {
    attach scratch nbd1
    quietly mkfs.xfs -q /dev/nbd1
    mount_at nbd1 scratch
    fio_verifies "$mnt/scratch"
    put "$mnt/scratch" before
}

# trim_gives_space_back VOLUME MEBIBYTES: but for some blocks at the edges. The
# volume has less at once; the pool, when that is durable.
trim_gives_space_back() {
    local with used_with without space=$((($2 - 2) << 20))
    dd if=/dev/zero of="$mnt/$1/big" bs=1M count="$2" conv=fsync status=none
    with=$(mapped "$1") used_with=$(used)
    rm "$mnt/$1/big"
    sync -f "$mnt/$1" # ext4 trims what its journal says is free
    within "$patience" fstrim "$mnt/$1"
    without=$(mapped "$1")
    [ $((with - without)) -ge $space ] ||
        fail "fstrim: $1 had $with bytes mapped, has $without"
    until_true "$patience" uses_at_most $((used_with - space))
}

uses_at_most() { [ "$(used)" -le "$1" ]; }

# Of both volumes at one moment, in the middle of writes.
snapshot_while_mounted() {
    start_noise "$mnt/scratch"
    put "$mnt/system" at-snapshot
    put "$mnt/scratch" at-snapshot
    quietly thinbd snapshot system system.then scratch scratch.then --writable
    stop_noise
    put "$mnt/system" too-late

    attach system.then nbd2
    attach scratch.then nbd3
    mount_at nbd2 system.then
    mount_at nbd3 scratch.then -o nouuid
    was_replayed nbd2 || fail "ext4's journal was not replayed"
    was_replayed nbd3 || fail "xfs's journal was not replayed"
    has "$mnt/system.then" at-snapshot
    has "$mnt/scratch.then" at-snapshot
    [ ! -e "$mnt/system.then/too-late" ] || fail "the snapshot moves"
    put "$mnt/system.then" on-snapshot
    [ ! -e "$mnt/system/on-snapshot" ] || fail "the snapshot shows through"
    release system.then nbd2
    release scratch.then nbd3
    fsck system.then nbd2 e2fsck -fn
    fsck scratch.then nbd3 xfs_repair -n
}

# release FOLDER DEVICE
release() {
    unmount "$1"
    detach "$2"
}

# fsck VOLUME DEVICE COMMAND...
fsck() {
    attach "$1" "$2"
    within "$patience" quietly "${@:3}" "/dev/$2"
    detach "$2"
}

# What was synced is there on a server that starts over, now on TCP.
kill_and_come_back() {
    local name
    start_noise "$mnt/scratch"
    put "$mnt/system" at-kill
    put "$mnt/scratch" at-kill
    kill_server
    # What the server owed an answer waits for one until the device is given up.
    detach nbd0
    detach nbd1
    stop_noise
    unmount system
    unmount scratch

    listen=(-i 127.0.0.1 -p "$port")
    start_server "$pool"
    attach system nbd0
    attach scratch nbd1
    connections 4
    mount_at nbd0 system
    mount_at nbd1 scratch
    for name in before at-snapshot at-kill; do
        has "$mnt/system" $name
        has "$mnt/scratch" $name
    done
    fio_verifies "$mnt/scratch"
    release system nbd0
    release scratch nbd1
    fsck system nbd0 e2fsck -fn
    fsck scratch nbd1 xfs_repair -n
}

# The way out, for whoever wants to leave: the same devices, without us.
let_dm_thin_take_over() {
    local name system scratch origin
    system=$(device_id system)
    scratch=$(device_id scratch)
    origin=$(losetup -r -f --show "$base")
    dmsetup create pool \
            --table "0 $((768 * 2048)) thin-pool $metadata $data 128 0"
    dmsetup create system \
            --table "0 $((128 * 2048)) thin /dev/mapper/pool $system $origin"
    dmsetup create scratch \
            --table "0 $((320 * 2048)) thin /dev/mapper/pool $scratch"
    mount_at mapper/system system
    mount_at mapper/scratch scratch
    for name in before at-snapshot at-kill; do
        has "$mnt/system" $name
        has "$mnt/scratch" $name
    done
    unmount system
    unmount scratch
    dmsetup remove system scratch
    dmsetup remove pool
}

# superblock_edit OFFSET FORMAT VALUE: of the metadata, and put the checksum right.
superblock_edit() {
    PYTHONPATH=$tests/oracle /usr/bin/python3 - "$metadata" "$@" <<'END'
import os, struct, sys
from crc32c import crc32c
path, offset, form, value = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
block = bytearray(open(path, "rb").read(4096))
struct.pack_into(form, block, offset, value)
struct.pack_into("<I", block, 0, crc32c(bytes(block[4:])) ^ 160774)
with open(path, "r+b") as f:
    f.write(block)
    f.flush()
    os.fsync(f.fileno())
END
}

# A device can not be exchanged for another: it is written to where it is, and what
# was in it is kept in the pool's folder.
repair_a_block_device() {
    local kept size
    size=$(blockdev --getsize64 "$metadata")
    thin_dump "$metadata" >"$work/sound.xml"
    superblock_edit 4 '<I' 1 # needs a check, and nothing else
    must_fail thinbd check
    within "$patience" quietly thinbd check --repair
    superblock_edit 80 '<Q' 5 # where the data's space map is said to be
    cp "$metadata" "$work/damaged"
    must_fail thinbd check
    within "$patience" quietly thinbd check --repair
    [ -b "$metadata" ] && [ "$(blockdev --getsize64 "$metadata")" = "$size" ] ||
        fail "it is another device"
    kept=$(find "$pool" -name "$(basename "$metadata").damaged-*")
    [ -f "$kept" ] || fail "what was there is not kept: $(ls "$pool")"
    same "$work/damaged" "$kept" "what was kept is something else"
    quietly thinbd check
    check_pool_metadata "$metadata"
    thin_dump "$metadata" >"$work/repaired.xml"
    same <(grep -v '<superblock' "$work/sound.xml") \
        <(grep -v '<superblock' "$work/repaired.xml") "the mappings"
    start_server "$pool"
    attach system nbd0
    mount_at nbd0 system
    has "$mnt/system" at-kill
    release system nbd0
    stop_server
}

end_within 1200
make_pool
start_server "$pool"
proves "ext4 on a volume over a smaller image: same files, and it can grow"
use_base_image
proves "xfs on an empty volume; fio reads what it wrote"
use_xfs
proves "fstrim gives space back to the pool"
trim_gives_space_back system 16
trim_gives_space_back scratch 32
proves "a snapshot of two mounted file systems replays both journals"
snapshot_while_mounted
proves "kill -9: what was synced is there; two TCP connections a volume"
kill_and_come_back
stop_server
proves "the pool is whole"
quietly thinbd check
check_pool_metadata "$metadata"
proves "dm-thin takes over: the files are there without us"
let_dm_thin_take_over
proves "a block device's metadata is repaired where it is"
repair_a_block_device
