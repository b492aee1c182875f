#!/usr/bin/env bash
# init: what it makes, what it refuses.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

fresh() { rm -rf "$pool"; }
block_size() { json .block_size status; }

proves "a pool of files, the data sparse"
t init --data-size 1T >"$work/out" 2>"$work/err"
[ ! -s "$work/err" ] || fail "on stderr: $(cat "$work/err")"
grep -q '^.*/pool: 1 TiB of data in blocks of 64 KiB, .* of metadata$' "$work/out" ||
    fail "$(cat "$work/out")"
for file in pool.conf metadata data volumes; do
    [ -e "$pool/$file" ] || fail "no $file"
done
expect "data" 1099511627776 "$(stat -c %s "$pool/data")"
[ "$(du -k "$pool/data" | cut -f 1)" -lt 1024 ] || fail "data is not sparse"
check_pool_metadata "$pool/metadata"

proves "a folder that has a pool is refused, or success if asked so"
uuid=$(json .uuid status)
t_fails 'pool' init --data-size 1G
t init --data-size 1G --if-not-exists >"$work/out"
expect uuid "$uuid" "$(json .uuid status)"
t init --data-size 1G --force >"$work/output"
[ "$uuid" != "$(json .uuid status)" ] || fail "--force made no new pool"
expect "data" 1073741824 "$(json .data.total_bytes status)"

proves "block sizes: those that are fine, with a note where the kernel will not have it"
for size in 64K 128K 192K 1M 1G; do
    fresh
    t init --data-size 4G --block-size $size >"$work/out" 2>"$work/err"
    [ ! -s "$work/err" ] || fail "$size: $(cat "$work/err")"
done
expect "1G" 1073741824 "$(block_size)"
for size in 4K 8K 32768; do
    fresh
    t init --data-size 64M --block-size $size >"$work/out" 2>"$work/err"
    grep -q 'thinbd: note: .*64K' "$work/err" || fail "$size: no note"
done
expect "32768" 32768 "$(block_size)"

proves "block sizes: those that are not"
fresh
for size in 0 1 512 2K 5000 12K 96K 100K 2G; do
    t_fails 'block' init --data-size 64M --block-size $size
    [ ! -e "$pool/pool.conf" ] || fail "$size left a pool"
done

proves "sizes of data and metadata"
fresh
t init --data-size 100M --metadata-size 8M >"$work/output"
expect "metadata" 8388608 "$(json .metadata.total_bytes status)"
fresh
t_fails . init --data-size 0
t_fails . init --data-size 64M --metadata-size 4K
[ ! -e "$pool/pool.conf" ] || fail "left a pool"

proves "elsewhere: paths of files, which must be empty or forced"
fresh
truncate -s 16M "$work/meta"
truncate -s 64M "$work/elsewhere"
(cd "$work" && t init --data-size 64M --data elsewhere --metadata meta >"$work/output")
grep -q "data = \"$(realpath "$work")/elsewhere\"" "$pool/pool.conf" ||
    fail "$(cat "$pool/pool.conf")"
[ ! -e "$pool/data" ] || fail "made a data file, too"
t create vm1 --size 1M >"$work/output"
fresh
t_fails 'force' init --data-size 64M --data "$work/elsewhere" --metadata "$work/meta"
t init --data-size 64M --data "$work/elsewhere" --metadata "$work/meta" --force \
    >"$work/output"
expect "volumes" 0 "$(json .volumes status)"

proves "--set: keys of pool.conf"
fresh
t init --data-size 64M --set when_full=error --set no_space_timeout=5 --set io=sync \
    --set low_water=20% --set direct=false >"$work/output"
grep -Eq '^when_full = "error"' "$pool/pool.conf" || fail "$(cat "$pool/pool.conf")"
grep -Eq '^no_space_timeout = 5' "$pool/pool.conf" || fail "$(cat "$pool/pool.conf")"
exits 0 "$thinbd" --pool "$pool" status
fresh
t_fails 'colour' init --data-size 64M --set colour=red
t_fails 'when_full' init --data-size 64M --set when_full=maybe
[ ! -e "$pool/pool.conf" ] || fail "left a pool"

proves "a folder that is a file, or is not writable"
echo x >"$work/file"
exits 1 "$thinbd" --pool "$work/file" init --data-size 64M
exits 1 "$thinbd" --pool "$work/file/x" init --data-size 64M
expect "the file" x "$(cat "$work/file")"
