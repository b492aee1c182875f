#!/usr/bin/env bash
# test-roundtrip.sh: the thin tools read what we write, and say the same of it.
#
# For each version of the tools that is there: dump, restore, repair. What they
# restore is then served over the same data, and reads as before.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/functions.sh"
. "$here/stories.sh"

requires_build
requires_tools

pool=$work/pool
copy=$work/copy
origin_short=$work/origin-short
origin_long=$work/origin-long

make_pool() {
    make_origin "$origin_short" $((2048 * 1024 + 8192 + 512))
    make_origin "$origin_long" $((6 * 1024 * 1024))
    quietly "$thinbd" --pool "$pool" init --data-size 64M --metadata-size 4M
    check_pool_metadata "$pool/metadata"
    start_server "$pool"
    tellers="model served"
    story_of_a_pool
    step create large 32M
    step write large 80 0 1M
    step snapshot large large-twin
    step write large 81 31M 1M
    stop_server
}

# empty_metadata FILE: room for what a tool is going to write.
empty_metadata() {
    rm -f "$1"
    truncate -s 4M "$1"
}

dumps_are_equal() {
    local folder=$1
    "$folder/thin_dump" "$pool/metadata" >"$work/before.xml"
    "$folder/thin_dump" "$copy" >"$work/after.xml"
    same "$work/before.xml" "$work/after.xml" "$folder: another dump after $2"
}

restore_and_repair() {
    local folder=$1
    empty_metadata "$copy"
    "$folder/thin_dump" "$pool/metadata" >"$work/dump.xml"
    quietly "$folder/thin_restore" -i "$work/dump.xml" -o "$copy"
    dumps_are_equal "$folder" "thin_restore"
    empty_metadata "$copy"
    quietly "$folder/thin_repair" -i "$pool/metadata" -o "$copy"
    dumps_are_equal "$folder" "thin_repair"
}

# Our own dump says what thin_dump's does, if thin_restore makes the same of it.
our_dump_restores() {
    local folder=$1
    empty_metadata "$copy"
    "$thinbd" --pool "$pool" dump >"$work/dump.xml"
    quietly "$folder/thin_restore" -i "$work/dump.xml" -o "$copy"
    dumps_are_equal "$folder" "thinbd dump"
}

# "DEVICE MAPPED EXCLUSIVE", in bytes, a volume.
list_is_thin_ls() {
    local folder=$1
    "$folder/thin_ls" --no-headers -o DEV,MAPPED_BYTES,EXCLUSIVE_BYTES \
                      "$pool/metadata" | awk '{ print $1, $2, $3 }' \
        >"$work/thin_ls"
    "$thinbd" --pool "$pool" --json list |
        jq -r '.[] | "\(.device) \(.mapped_bytes) \(.exclusive_bytes)"' |
        sort -n >"$work/list"
    same "$work/thin_ls" "$work/list" "$folder/thin_ls and thinbd list"
}

# Extents "OFFSET LENGTH", in order: neighbours become one.
join_extents() {
    awk '$1 != end && NR > 1 { print start, end - start }
         $1 != end || NR == 1 { start = $1 }
         { end = $1 + $2 }
         END { if (NR) print start, end - start }'
}

device_of() {
    "$thinbd" --pool "$pool" --json list |
        jq --arg name "$1" '.[] | select(.name == $name).device'
}

# diff_is_thin_delta FOLDER OLD NEW: volumes of one size and one origin.
diff_is_thin_delta() {
    "$1/thin_delta" --snap1 "$(device_of "$2")" --snap2 "$(device_of "$3")" \
                    "$pool/metadata" |
        sed -En 's/.*<(different|left_only|right_only) begin="([0-9]+)" length="([0-9]+)".*/\2 \3/p' |
        awk '{ print $1 * 65536, $2 * 65536 }' | join_extents >"$work/thin_delta"
    "$thinbd" --pool "$pool" --json diff "$2" "$3" |
        jq -r '.[] | "\(.offset) \(.length)"' | join_extents >"$work/diff"
    same "$work/thin_delta" "$work/diff" "$1/thin_delta and thinbd diff $2 $3"
}

# The metadata is the tool's, the data ours.
restored_reads_the_same() {
    local folder=$1 name device size from
    empty_metadata "$copy"
    "$folder/thin_dump" "$pool/metadata" >"$work/dump.xml"
    quietly "$folder/thin_restore" -i "$work/dump.xml" -o "$copy"
    "$thinbd" --pool "$pool" --json list |
        jq -r '.[] | "\(.name) \(.device) \(.size) \(.origin // "")"' >"$work/list"
    while read -r name device size from; do
        start_server metadata="$copy" data="$pool/data" device="$device" \
                     size="$size" ${from:+origin="$from"}
        [ "$(sum_of "$(uri "")")" = "$(model_sum "$name")" ] ||
            fail "$name reads otherwise with metadata by $folder/thin_restore"
        stop_server
    done <"$work/list"
}

make_pool
for folder in "${tools[@]}"; do
    proves "$folder: check, dump, restore, repair"
    check_pool_metadata "$pool/metadata"
    restore_and_repair "$folder"
    our_dump_restores "$folder"
    proves "$folder: thin_ls says what thinbd list says"
    list_is_thin_ls "$folder"
    proves "$folder: thin_delta says what thinbd diff says"
    diff_is_thin_delta "$folder" plain depth1
    diff_is_thin_delta "$folder" depth1 depth4
    diff_is_thin_delta "$folder" depth4 plain
    diff_is_thin_delta "$folder" short short-twin
    diff_is_thin_delta "$folder" large large-twin
    diff_is_thin_delta "$folder" large large
    proves "$folder: volumes read the same with restored metadata"
    restored_reads_the_same "$folder"
done
