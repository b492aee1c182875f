# shellcheck shell=bash
# stories.sh: a story is a sequence of writes, trims, snapshots and deletions,
# and can be told by several at once: by the model (plain files), by our server
# through NBD, and by the kernel's dm-thin. In the end all must hold the same
# bytes.
#
#   tellers="model served"; step write vm1 7 64K 4K
#
# calls model_write and served_write. The steps:
#
#   create NAME SIZE [ORIGIN-FILE [DEVICE-ID]]
#   write NAME STAMP OFFSET LENGTH    STAMP numbers what is written, up to 1M
#   trim NAME OFFSET LENGTH           whole blocks of 64K; the origin shows again
#   snapshot SOURCE NAME [DEVICE-ID]  writable
#   delete NAME
#
# Needs functions.sh, whose $work it uses, and $pool for the served teller.

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
    seq -f "$(basename "$1") line %12.0f" $(($2 / 25 + 1)) >"$1"
    truncate -s "$2" "$1"
}

### The model: a file a volume, and beside it what shows where nothing is
### written. Removed volumes' files are removed.

model_file() { echo "$work/model/$1"; }

model_create() {
    local file
    file=$(model_file "$1")
    mkdir -p "$work/model"
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

model_names() { (cd "$work/model" && ls --ignore='*.base'); }

model_sum() { sum_of "$(model_file "$1")"; }

### Our server, with the registry of $pool.

served_create() {
    if [ "${3:-}" ]; then
        "$thinbd" --pool "$pool" create "$1" --size "$2" --origin "$3"
    else
        "$thinbd" --pool "$pool" create "$1" --size "$2"
    fi
}

served_write() {
    quietly qemu-io -f raw "$(uri "$1")" \
            -c "write -s $(stamp "$2") $3 $4" -c flush
}

served_trim() {
    quietly qemu-io -d unmap -f raw "$(uri "$1")" -c "discard $2 $3"
}

served_snapshot() { "$thinbd" --pool "$pool" snapshot "$1" "$2" --writable; }

served_delete() { "$thinbd" --pool "$pool" delete "$1"; }

served_sum() { sum_of "$(uri "$1")"; }

### The stories

# Every volume's checksum, as told by $1, in one file.
sums() {
    local name
    for name in $(model_names); do
        echo "$name $("$1_sum" "$name")"
    done
}

# Three volumes: over nothing, over an origin that ends in mid-block in the
# middle of the volume, over one that is longer than the volume. A chain of
# snapshots four deep in which every generation has written, so that some data
# blocks are counted 5 times and need the overflow tree.
story_of_a_pool() {
    local depth name parent=plain
    step create plain 4M
    step create short 4M "$work/origin-short"
    step create long 4M "$work/origin-long"
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
