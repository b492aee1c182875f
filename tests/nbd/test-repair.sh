#!/usr/bin/env bash
# test-repair.sh: check --repair.
. "$(dirname "$0")/functions.sh"

make_pool --metadata-size 1M
t create vm1 --size 4M
start_server "$pool"
quietly qemu-io -f raw "$(uri vm1)" -c 'write -P 5 0 1M' -c flush
sum=$(sum_of "$(uri vm1)")
stop_server

# superblock_edit OFFSET FORMAT VALUE: change a field, and put the checksum right.
superblock_edit() {
    PYTHONPATH=$tests/oracle /usr/bin/python3 - "$pool/metadata" "$@" <<'END'
import struct, sys
from crc32c import crc32c
path, offset, form, value = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
block = bytearray(open(path, "rb").read(4096))
struct.pack_into(form, block, offset, value)
struct.pack_into("<I", block, 0, crc32c(bytes(block[4:])) ^ 160774)
with open(path, "r+b") as f:
    f.write(block)
END
}

proves "a pool that needs a check is read-only, says so, and can be read"
superblock_edit 4 '<I' 1
quietly thin_check --clear-needs-check-flag "$pool/metadata"
superblock_edit 4 '<I' 1
expect needs_check true "$(json .needs_check status)"
expect mode ro "$(json .mode status)"
t_fails 'check' create vm2 --size 1M
start_server "$pool" 2>"$work/log"
grep -q 'thinbd check' "$work/log" || fail "not told: $(cat "$work/log")"
must_fail qemu-io -f raw "$(uri vm1)" -c 'write 0 4k'
expect content "$sum" "$(sum_of "$(uri vm1)")"
t_fails 'check' create vm2 --size 1M
stop_server

proves "--repair takes the mark away"
status=0
t check >"$work/out" || status=$?
expect status 1 $status
quietly t check --repair
t create vm2 --size 1M
expect needs_check false "$(json .needs_check status)"

proves "damage that costs nothing is repaired, and the old metadata kept"
# A root that leads nowhere: of the space map, which the trees make up for.
superblock_edit 80 '<Q' 5
status=0
t check >"$work/out" || status=$?
expect status 1 $status
t_fails 'thinbd check' list
quietly t check --repair
ls "$pool"/metadata.damaged-* >/dev/null || fail "the old metadata is gone"
start_server "$pool"
expect content "$sum" "$(sum_of "$(uri vm1)")"
quietly qemu-io -f raw "$(uri vm2)" -c 'write -P 6 0 1M' -c flush
stop_server
quietly t check

proves "what can not be repaired stays as it is"
cp "$pool/metadata" "$work/before"
head -c 1M /dev/zero | dd of="$pool/metadata" bs=4096 seek=1 conv=notrunc status=none
before=$(sum_of "$pool/metadata")
status=0
t check --repair >"$work/out" 2>&1 || status=$?
[ $status = 1 ] || fail "status $status"
expect untouched "$before" "$(sum_of "$pool/metadata")"
cp "$work/before" "$pool/metadata"
quietly t check

proves "killed at any moment it leaves the old metadata or the new"
cp "$pool/metadata" "$work/sound"
superblock_edit 80 '<Q' 5
cp "$pool/metadata" "$work/damaged"
for delay in 0.001 0.003 0.005 0.01 0.015 0.02 0.03 0.05 0.1 0.3; do
    cp "$work/damaged" "$pool/metadata.new"
    mv "$pool/metadata.new" "$pool/metadata"
    { timeout -s KILL "$delay" "$thinbd" --pool "$pool" check --repair || true; } >/dev/null 2>&1
    cmp -s "$pool/metadata" "$work/damaged" || check_pool_metadata "$pool/metadata"
    quietly t check --repair
    check_pool_metadata "$pool/metadata"
done

proves "nothing is forced but a repair"
t_fails 'goes with --repair' check --force
