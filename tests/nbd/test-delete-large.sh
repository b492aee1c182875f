#!/usr/bin/env bash
# test-delete-large.sh: what is large is freed after the answer: its name is free
# at once, others go on, and a server that is killed on the way leaves the rest to
# the next one. THINBD_LARGE_KILLS: how often (4).
. "$(dirname "$0")/functions.sh"

map_blocks=$THINBD_BUILD_DIR/tests/bench/map_blocks
[ -x "$map_blocks" ] || skip "no map_blocks"
blocks=1500000

# freeing: bytes of what was deleted.
freeing() { json .freeing_bytes status; }

# wait_until_free: the burier is done, and has forgotten it.
wait_until_free() {
    for _ in {1..6000}; do
        [ "$(freeing)" != 0 ] || [ -n "$(compgen -G "$pool/volumes/.deleting-*")" ] || return 0
        sleep 0.05
    done
    fail "still freeing $(freeing) bytes"
}

# alone NAME...: these volumes and nothing else.
alone() { expect "the list" "$*" "$(json '[.[].name] | join(" ")' list)"; }

quietly t init --data-size 200G --metadata-size 96M
quietly t create big --size 100G
quietly t create other --size 64M
"$map_blocks" "$pool/metadata" 0 $blocks
start_server "$pool"
nbd_python other <<'END'
h.pwrite(b"o" * 65536, 0, nbd.CMD_FLAG_FUA)
END

proves "a volume that shares all it has is gone at once, however large"
quietly t snapshot big big@1
expect "left to free" 0 "$(json .freeing_bytes delete big@1)"

proves "a large one is freed after the answer"
left=$(json .freeing_bytes delete big) # it may have begun before it answers
((left > 0 && left <= blocks * 65536)) || fail "left to free: $left"
alone other

proves "meanwhile its name is used again, and others go on"
quietly t create big --size 1M
nbd_python big <<'END'
h.pwrite(b"n" * 65536, 0, nbd.CMD_FLAG_FUA)
assert h.pread(65536, 65536) == bytes(65536)
END
quietly t snapshot other other@1 big big@1
quietly t check
alone big big@1 other other@1

kills=${THINBD_LARGE_KILLS:-4}
proves "$kills servers are killed on the way, and nothing else is lost"
for ((i = 0; i < kills; i++)); do
    sleep "0.0$((RANDOM % 10))"
    kill_server
    quietly t check
    check_pool_metadata "$pool/metadata"
    alone big big@1 other other@1
    start_server "$pool"
done
nbd_python big <<'END'
assert h.pread(65536, 0) == b"n" * 65536
END

proves "in the end all of it is free"
wait_until_free
stop_server
expect "used" $((2 * 65536)) "$(json .data.used_bytes status)"
pool_is_well

proves "without a server it is free when the call returns"
quietly t create again --size 100G
"$map_blocks" "$pool/metadata" "$(json '.[0].device' list again)" 100000
expect "left to free" 0 "$(json .freeing_bytes delete again)"
expect "used" $((2 * 65536)) "$(json .data.used_bytes status)"
pool_is_well
