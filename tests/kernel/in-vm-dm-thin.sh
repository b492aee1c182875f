#!/usr/bin/env bash
# in-vm-dm-thin.sh OUT: the part of test-dm-thin.sh that runs under the kernel.
#
# Reads OUT/ours, the volumes of the pool on vda (metadata) and vdb (data): a
# line for each with name, device id, size in sectors, origin or "-"; and
# OUT/fillers, device ids of no other use than to be many. Makes a pool of its
# own on vde and vdf. Leaves lists of both pools' volumes in the same form,
# OUT/ours.after and OUT/theirs.after, and checksums in *.sums.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/../interop/functions.sh"
. "$here/../interop/stories.sh"

out=$1
origin_short=/dev/vdc
origin_long=/dev/vdd
ours_before=$((16 * 2048)) ours_after=$((48 * 2048)) theirs=$((32 * 2048))

declare -A device sectors origin
next_device=

### The kernel as a teller; its pool is /dev/mapper/pool.

message() { dmsetup message pool 0 "$1"; }

# activate NAME DEVICE SECTORS ORIGIN
activate() {
    device[$1]=$2 sectors[$1]=$3 origin[$1]=$4
    dmsetup create "$1" \
            --table "0 $3 thin /dev/mapper/pool $2 ${4#-}"
}

kernel_create() {
    local id=$((next_device++))
    message "create_thin $id"
    activate "$1" $id $((${2%M} * 2048)) "${3:--}"
}

# Through the page cache, because some offsets are odd.
kernel_write() {
    dd if="$(stamp "$2")" of="/dev/mapper/$1" bs=1M seek="$3" count="$4" \
       iflag=count_bytes oflag=seek_bytes conv=notrunc,fsync status=none
}

kernel_trim() { blkdiscard -o "${2/K/KiB}" -l "${3/K/KiB}" "/dev/mapper/$1"; }

kernel_snapshot() {
    local id=$((next_device++))
    dmsetup suspend "$1"
    message "create_snap $id ${device[$1]}"
    dmsetup resume "$1"
    activate "$2" $id "${sectors[$1]}" "${origin[$1]}"
}

kernel_delete() {
    dmsetup remove "$1"
    message "delete ${device[$1]}"
    unset "device[$1]"
}

kernel_sum() {
    dd if="/dev/mapper/$1" bs=1M iflag=direct status=none | sha256sum |
        cut -d ' ' -f 1
}

### Pools

# pool_table METADATA DATA SECTORS
pool_table() { echo "0 $3 thin-pool $1 $2 128 0"; }

# Neither read-only nor to be checked. The words: "0 <length> thin-pool
# <transaction> <metadata> <data> <held root> <mode> <discard> <when full>
# <needs check> ..."
pool_is_well() {
    local words
    read -ra words < <(dmsetup status pool)
    [ "${words[7]} ${words[10]}" = "rw -" ] || fail "status: ${words[*]}"
}

held_root() { dmsetup status pool | cut -d ' ' -f 7; }

write_list() {
    local name
    for name in "${!device[@]}"; do
        echo "$name ${device[$name]} ${sectors[$name]} ${origin[$name]}"
    done | sort
}

close_pool() {
    local name
    for name in "${!device[@]}"; do dmsetup remove "$name"; done
    dmsetup remove pool
    device=()
}

names() { printf '%s\n' "${!device[@]}" | sort; }

### Our pool

take_over_our_pool() {
    local name id size from
    dmsetup create pool --table "$(pool_table /dev/vda /dev/vdb $ours_before)"
    pool_is_well
    [ "$(held_root)" != - ] || fail "the held metadata snapshot is not seen"
    while read -r name id size from; do
        activate "$name" "$id" "$size" "$from"
    done <"$out/ours"
    # shellcheck disable=SC2046 # one word a name
    sums kernel $(names) >"$out/ours.before.sums"
}

grow_our_pool() {
    dmsetup reload pool --table "$(pool_table /dev/vda /dev/vdb $ours_after)"
    dmsetup suspend pool
    dmsetup resume pool
    pool_is_well
}

# Deleting from a tree that our code built makes the kernel merge its nodes. A
# process for each message would take the machine most of a minute.
delete_fillers() {
    sed 's/^/delete /' "$out/fillers" | /usr/bin/python3 "$here/dm-messages" pool
    pool_is_well
}

change_our_pool() {
    next_device=5000
    tellers=kernel
    story_of_a_guest
    thin_dump -m /dev/vda >"$out/held.after"
    message release_metadata_snap
    message reserve_metadata_snap
    step write plain 99 1M 64K
    pool_is_well
}

### A pool of the kernel's own

make_a_pool() {
    dmsetup create pool --table "$(pool_table /dev/vde /dev/vdf $theirs)"
    next_device=0
    tellers=kernel
    story_of_a_pool
    message reserve_metadata_snap
    thin_dump -m /dev/vde >"$out/theirs.held"
    step write plain 98 2M 100K
    pool_is_well
}

proves "dm-thin activates the pool that thinbd wrote"
take_over_our_pool
delete_fillers
proves "dm-thin grows it, writes, trims, takes snapshots, deletes"
grow_our_pool
change_our_pool
write_list >"$out/ours.after"
# shellcheck disable=SC2046
sums kernel $(names) >"$out/ours.after.sums"
close_pool

proves "dm-thin makes a pool of its own"
make_a_pool
write_list >"$out/theirs.after"
# shellcheck disable=SC2046
sums kernel $(names) >"$out/theirs.after.sums"
close_pool
