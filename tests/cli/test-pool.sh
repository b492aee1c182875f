#!/usr/bin/env bash
# status, grow, check, dump, message: the pool as a whole.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

begin
t create vm1 --size 10M >"$work/output"
t snapshot vm1 vm1@a >"$work/output"

proves "status: in words, in numbers, as dm-thin has it"
t status >"$work/out"
grep -Eq '^mode +rw$' "$work/out" || fail "$(cat "$work/out")"
grep -Eq '^data +0 B of 64 MiB, 0.0%; low water [0-9.]+ [KM]iB$' "$work/out" || fail "$(cat "$work/out")"
expect served "$([ -n "$served" ] && echo true || echo false)" "$(json .served status)"
expect volumes 2 "$(json .volumes status)"
expect clients 0 "$(json .clients status)"
expect total 67108864 "$(json .data.total_bytes status)"
t status --dm | grep -Eq '^0 [0-9]+/[0-9]+ 0/1024 - rw discard_passdown queue_if_no_space - [0-9]+$' ||
    fail "--dm: $(t status --dm)"

proves "grow: data and metadata, not smaller"
t grow --data-size 128M >"$work/output"
expect total 134217728 "$(json .data.total_bytes status)"
metadata=$(json .metadata.total_bytes status)
t grow --metadata-size $((metadata * 2)) >"$work/output"
expect "metadata" $((metadata * 2)) "$(json .metadata.total_bytes status)"
t_fails . grow --data-size 64M
t_fails . grow --metadata-size 4K
t_fails . grow
expect total 134217728 "$(json .data.total_bytes status)"

proves "check: clean"
t check >"$work/out"
grep -q '^clean: ' "$work/out" || fail "$(cat "$work/out")"
expect "errors" "true 0 0" "$(json '"\(.clean) \(.errors) \(.leaks)"' check)"

proves "dump: as thin_dump does, and as JSON"
t dump >"$work/xml"
grep -q '<superblock ' "$work/xml" || fail "$(head -n 3 "$work/xml")"
expect "the same by its name" "$(cat "$work/xml")" "$(t dump --format thin)"
t dump --format json | python 'assert doc'
expect "--json is JSON" "$(t dump --format json)" "$(t --json dump)"
t --json dump --format thin | python 'assert doc.startswith("<superblock ")'
if command -v thin_restore >/dev/null; then
    truncate -s 8M "$work/restored"
    quietly thin_restore -i "$work/xml" -o "$work/restored"
    thin_dump "$work/restored" >"$work/again"
fi

proves "message: dm-thin's"
expect "answer" "" "$(t message 'create_thin 77')"
expect "json" '""' "$(t --json message 'create_snap 78 77')"
expect "a device without a name" 'null' "$(json '.[] | select(.name == "#78") | .size' list)"
t_fails . message 'create_thin 77'
t_fails . message 'create_snap 79 80'
t_fails . message 'create_thin x'
t_fails . message 'no such thing'
t message 'set_transaction_id 0 5' >"$work/output" ||
    t message "set_transaction_id $(json .transaction_id status) 5"
expect "transaction" 5 "$(json .transaction_id status)"
t_fails . message 'set_transaction_id 0 6'
t message reserve_metadata_snap
t_fails . message reserve_metadata_snap
t message release_metadata_snap
t_fails . message release_metadata_snap
t message 'DELETE 78'
t message 'delete 77'
expect "volumes" 2 "$(json .volumes status)"

[ -z "$served" ] || stop_server
check_pool_metadata "$pool/metadata"
