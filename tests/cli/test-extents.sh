#!/usr/bin/env bash
# map, diff, flatten: what a volume is made of.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

make_pool
# A base of 3 blocks and a half: data, hole, data, data up to the end.
an_image "$work/base" 229376
fallocate -p -o 65536 -l 65536 "$work/base"
cp --sparse=always "$work/base" "$work/copy"
t create vm1 --origin "$work/base" --size 512K >"$work/output"
t create old --size 256K >"$work/output"

# Writes go through a server, whoever answers the questions later.
start_server "$pool"
nbd_python vm1 <<'END'
h.pwrite(b"v" * 65536, 65536)
h.pwrite(b"w" * 65536, 393216)
h.flush()
END
stop_server
serve_if_wanted

# extents VERB...: "offset+length:type" of each, in KiB
extents() {
    json '[.[] | "\(.offset / 1024)+\(.length / 1024)" +
              if .type then ":" + .type else "" end] | join(" ")' "$@"
}

proves "map: data, origin, zero; adjacent, whole, ends at the end"
expect map "0+64:origin 64+64:data 128+96:origin 224+160:zero 384+64:data 448+64:zero" \
    "$(extents map vm1)"
t map vm1 | sed -n 2p | grep -Eq '^ +64 KiB +64 KiB +data$' || fail "map, in words"
t snapshot vm1 vm1@a >"$work/output"
expect "map of a snapshot" \
    "0+64:origin 64+64:shared 128+96:origin 224+160:zero 384+64:shared 448+64:zero" \
    "$(extents map vm1@a)"
expect "map of nothing" "0+256:zero" "$(extents map old)"

proves "diff: none between twins, what was written since, in both directions"
expect "twins" "" "$(extents diff vm1@a vm1)"
[ -n "$served" ] || start_server "$pool"
nbd_python vm1 <<'END'
h.pwrite(b"x", 200000)
h.flush()
END
[ -n "$served" ] || stop_server
expect "one block" "192+64" "$(extents diff vm1@a vm1)"
expect "backwards" "192+64" "$(extents diff vm1 vm1@a)"
t diff vm1@a vm1 | grep -Eq '^ +192 KiB +64 KiB$' || fail "diff, in words"
expect "up to NEW's size" true \
    "$(json '(map(.offset + .length) | max // 0) <= 262144' diff vm1 old)"

proves "flatten: the content stays, the origin goes"
[ -n "$served" ] || start_server "$pool"
before=$(sum_of "$(uri vm1)")
[ -n "$served" ] || stop_server
expect "done" true "$(json .done flatten vm1)"
expect "origin" null "$(json '.[0].origin' list vm1)"
[ -n "$served" ] || start_server "$pool"
expect "content" "$before" "$(sum_of "$(uri vm1)")"
expect "the snapshot has its origin still" "$work/base" "$(json '.[0].origin' list vm1@a)"
stop_server
expect "no origin is left in the map" 0 \
    "$(json '[.[] | select(.type == "origin")] | length' map vm1)"
expect "what stands alone needs nothing" "0 true" \
    "$(json '"\(.copied_bytes) \(.done)"' flatten vm1)"
exits 0 "$thinbd" --pool "$pool" --json flatten vm1@a --rate 1G/s --background
[ ! -s "$work/err" ] || fail "in the background: $(cat "$work/err")"
for _ in {1..100}; do
    [ "$(json '.[0].origin' list vm1@a)" != null ] || break
    sleep 0.1
done
expect "it went on by itself" null "$(json '.[0].origin' list vm1@a)"
t_fails 'nobody: ' flatten nobody --background
same "$work/base" "$work/copy" "the origin was never written"
check_pool_metadata "$pool/metadata"
