# shellcheck shell=bash
# shellcheck disable=SC2154 # $work, $thinbd: of functions.sh; $pool: the caller's
# stories.sh: a story is a sequence of writes, trims, snapshots and deletions,
# and can be told by several at once: by the model (plain files), by our server
# through NBD, and by the kernel's dm-thin. In the end all must hold the same
# bytes.
#
#   tellers="model served"; step write vm1 7 64K 4K
#
# calls model_write and served_write. The steps:
#
#   create NAME SIZE [ORIGIN]         ORIGIN: a file or block device
#   write NAME STAMP OFFSET LENGTH    STAMP numbers what is written, up to 1M
#   trim NAME OFFSET LENGTH           whole blocks of 64K; the origin shows again
#   snapshot SOURCE NAME              writable
#   delete NAME
#
# Needs functions.sh.

tellers=

step() {
    local verb=$1 teller
    shift
    for teller in $tellers; do "${teller}_$verb" "$@"; done
}

# What stamp $1 writes: 1M in which no two places are alike.
stamp() {
    local file=$work/stamps/$1
    if [ ! -e "$file" ]; then
        mkdir -p "$work/stamps"
        seq -f "stamp $1 line %8.0f" 40000 >"$file"
        truncate -s 1M "$file"
    fi
    echo "$file"
}

# make_origin FILE BYTES: some file to put volumes over; no two are alike.
make_origin() {
    local name=${1##*/}
    seq -f "$name line %12.0f" $(($2 / 18)) >"$1" # 18 bytes a line at least
    truncate -s "$2" "$1"
}

### The model: a file a volume, in the folder $model, and beside it what shows
### where nothing is written.

model=$work/model

model_file() { echo "$model/$1"; }

model_create() {
    local file
    file=$(model_file "$1")
    mkdir -p "$model"
    : >"$file"
    [ -z "${3:-}" ] || cp "$3" "$file"
    truncate -s "$2" "$file"
    cp "$file" "$file.base"
}

model_write() {
    dd if="$(stamp "$2")" of="$(model_file "$1")" bs=1M seek="$3" count="$4" \
       iflag=count_bytes oflag=seek_bytes conv=notrunc status=none
}

model_trim() {
    local file
    file=$(model_file "$1")
    dd if="$file.base" of="$file" bs=64K skip="$2" seek="$2" count="$3" \
       iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none
}

model_snapshot() {
    cp "$(model_file "$1")" "$(model_file "$2")"
    cp "$(model_file "$1").base" "$(model_file "$2").base"
}

model_delete() { rm "$(model_file "$1")" "$(model_file "$1").base"; }

model_names() { (cd "$model" && ls --ignore='*.base'); }

model_sum() { sum_of "$(model_file "$1")"; }

### Our server: thinbd for $pool, and start_server has been called for it.

served_create() {
    if [ "${3:-}" ]; then
        quietly "$thinbd" --pool "$pool" create "$1" --size "$2" --origin "$3"
    else
        quietly "$thinbd" --pool "$pool" create "$1" --size "$2"
    fi
}

served_write() {
    quietly qemu-io -f raw "$(uri "$1")" \
            -c "write -s $(stamp "$2") $3 $4" -c flush
}

served_trim() {
    quietly qemu-io -d unmap -f raw "$(uri "$1")" -c "discard $2 $3"
}

served_snapshot() {
    quietly "$thinbd" --pool "$pool" snapshot "$1" "$2" --writable
}

served_delete() { quietly "$thinbd" --pool "$pool" delete "$1"; }

served_sum() { sum_of "$(uri "$1")"; }

### The stories

# sums TELLER NAME...: a line with name and checksum for each volume.
sums() {
    local teller=$1 name
    shift
    for name; do echo "$name $("${teller}_sum" "$name")"; done
}

# Volumes over nothing, over an origin that ends in mid-block in the middle of
# the volume (one of them not written to), over one that is longer. A chain of
# snapshots four deep in which every generation has written, so that some data
# blocks are counted 5 times and need the overflow tree.
story_of_a_pool() {
    local depth name parent=plain
    step create plain 4M
    step create short 4M "$origin_short"
    step create untouched 4M "$origin_short"
    step create long 4M "$origin_long"
    step write plain 1 0 1M
    step write plain 2 1000K 200K
    step write plain 3 3333333 7777
    step write short 4 2000K 80K        # across the origin's end
    step write short 5 60K 8K           # parts of two blocks
    step write short 6 3M 64K           # past the origin's end, a whole block
    step write long 7 4032K 64K         # the volume's last block
    step write long 8 123456 1
    for depth in 1 2 3 4; do
        name=depth$depth
        step snapshot $parent $name
        step write $name 1$depth $((depth * 100))K 10K
        step write $parent 2$depth $((depth * 300))K 100K
        parent=$name
    done
    step snapshot short short-twin
    step write short-twin 30 2040K 40K
    step write short 31 128K 64K
    step trim plain 128K 256K
    step trim depth2 0 128K
    step trim short 0 128K              # the origin's data is back
    step trim short-twin 3M 64K
    step delete depth3                  # in mid-chain
}

# What happens to that pool afterwards, somewhere else: sharing is broken with
# whole and with partial blocks, blocks are copied up across the end of the
# origin, and a new volume of 16M needs a mapping tree of two levels.
story_of_a_guest() {
    local megabyte
    step write plain 50 0 64K
    step write depth4 51 100K 4K
    step write untouched 52 2040K 40K
    step write untouched 53 2055K 1K
    step write long 54 0 192K
    step trim depth1 64K 192K
    step trim untouched 0 64K
    step snapshot depth4 depth5
    step write depth5 55 64K 130K
    step snapshot untouched touched
    step write touched 56 1M 4K
    step trim touched 2M 128K
    step delete depth1
    step delete short
    step create fresh 16M
    for megabyte in {0..15}; do
        step write fresh "6$megabyte" "${megabyte}M" 1M
    done
}
