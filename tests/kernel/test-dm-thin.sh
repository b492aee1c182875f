#!/usr/bin/env bash
# test-dm-thin.sh: pools go from us to the kernel's dm-thin and back.
#
# We write a pool; dm-thin activates it, reads it, changes it; we serve the
# result. And dm-thin makes a pool that we serve and write to. A model of plain
# files is told the same story, and every checksum has to be the model's.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/../interop/functions.sh"
. "$here/../interop/stories.sh"

requires_build
requires_tools
requires "$here/vm"
"$here/vm" --kernel >/dev/null || skip "no kernel to boot"

pool=$work/pool
out=$work/out
origin_short=$work/origin-short
origin_long=$work/origin-long

# More volumes than one node of a btree has entries (252), so that the kernel
# has to remove from trees of two levels that our code built. Some have a
# mapping tree of their own, and the rest, all made by one call, share those.
make_fillers() {
    local number pairs=()
    for number in {1..20}; do
        served_create "filler$number" 1M
    done
    served_write filler1 96 0 64K
    for number in {21..260}; do
        pairs+=("filler$((number % 20 + 1))" "filler$number")
    done
    quietly "$thinbd" --pool "$pool" snapshot "${pairs[@]}"
    "$thinbd" --pool "$pool" --json list |
        jq '.[] | select(.name | startswith("filler")).device' >"$out/fillers"
    [ "$(wc -l <"$out/fillers")" -eq 260 ] || fail "not all fillers are there"
}

# The origins by the names they have in the machine.
list_our_volumes() {
    "$thinbd" --pool "$pool" --json list |
        jq -r --arg short "$origin_short" --arg long "$origin_long" '
            {($short): "/dev/vdc", ($long): "/dev/vdd"} as $disks | .[] |
            select(.name | startswith("filler") | not) |
            "\(.name) \(.device) \(.size / 512) \($disks[.origin // ""] // "-")"'
}

make_our_pool() {
    quietly "$thinbd" --pool "$pool" init --data-size 16M --metadata-size 4M
    start_server "$pool"
    tellers="model served"
    story_of_a_pool
    "$thinbd" --pool "$pool" message reserve_metadata_snap
    step write plain 97 1500K 100K
    make_fillers
    list_our_volumes | sort >"$out/ours"
    # shellcheck disable=SC2046 # one word a name
    sums served $(model_names) >"$out/ours.served.sums"
    stop_server
    check_pool_metadata "$pool/metadata"
    thin_dump -m "$pool/metadata" >"$out/held.before"
}

# The kernel grows both devices of our pool.
run_in_kernel() {
    truncate -s 8M "$pool/metadata"
    truncate -s 48M "$pool/data"
    truncate -s 4M "$work/their-metadata"
    truncate -s 32M "$work/their-data"
    "$here/vm" --timeout 600 --out "$out" \
        --disk "$pool/metadata" --disk "$pool/data" \
        --disk "$origin_short" --disk "$origin_long" \
        --disk "$work/their-metadata" --disk "$work/their-data" \
        -- "$here/in-vm-dm-thin.sh" "$out"
}

# sums_are_the_models FILE...
sums_are_the_models() {
    local file
    # shellcheck disable=SC2046
    sums model $(model_names) >"$work/model.sums"
    for file; do same "$work/model.sums" "$file" "wrong data in a volume"; done
}

# serve_device METADATA DATA DEVICE SECTORS ORIGIN: in dmsetup's style.
serve_device() {
    local origin=()
    case $5 in
        /dev/vdc) origin=("origin=$origin_short") ;;
        /dev/vdd) origin=("origin=$origin_long") ;;
    esac
    start_server metadata="$1" data="$2" device="$3" size=$(($4 * 512)) \
                 ${origin[@]+"${origin[@]}"}
}

# We serve every volume of a pool that comes from the kernel; then it is
# written to, in a shared block and in blocks that were not there, checked
# again, and read again. $1 = list of volumes
serve_what_the_kernel_left() {
    local list=$1 metadata=$2 data=$3 name device sectors origin
    check_pool_metadata "$metadata"
    : >"$work/served.sums"
    while read -r name device sectors origin; do
        serve_device "$metadata" "$data" "$device" "$sectors" "$origin"
        echo "$name $(sum_of "$(uri "")")" >>"$work/served.sums"
        model_write "$name" 70 100K 300K
        quietly qemu-io -f raw "$(uri "")" -c "write -s $(stamp 70) 100K 300K"
        [ "$(sum_of "$(uri "")")" = "$(model_sum "$name")" ] ||
            fail "$name: wrong after our write"
        stop_server
    done <"$list"
    check_pool_metadata "$metadata"
}

mkdir "$out"
make_origin "$origin_short" $((2048 * 1024 + 8192 + 512))
make_origin "$origin_long" $((6 * 1024 * 1024))
proves "thinbd writes a pool that holds what was written"
make_our_pool
sums_are_the_models "$out/ours.served.sums"

run_in_kernel

proves "dm-thin saw what we served"
sums_are_the_models "$out/ours.before.sums"
same "$out/held.before" "$out/held.after" "held metadata snapshot"

proves "dm-thin changed our pool as it should"
tellers=model
story_of_a_guest
step write plain 99 1M 64K
sums_are_the_models "$out/ours.after.sums"

proves "we serve our pool as the kernel left it"
serve_what_the_kernel_left "$out/ours.after" "$pool/metadata" "$pool/data"
same "$out/ours.after.sums" "$work/served.sums" "our pool after the kernel"

proves "we serve a pool that the kernel made"
model=$work/their-model
story_of_a_pool
step write plain 98 2M 100K
sums_are_the_models "$out/theirs.after.sums"
serve_what_the_kernel_left "$out/theirs.after" \
                           "$work/their-metadata" "$work/their-data"
same "$out/theirs.after.sums" "$work/served.sums" "the kernel's pool"
thin_dump -m "$work/their-metadata" >"$work/theirs.held"
same "$out/theirs.held" "$work/theirs.held" "the kernel's metadata snapshot"
