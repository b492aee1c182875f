#!/usr/bin/env bash
# test-live.sh: verbs while the pool is served and volumes are in use.
. "$(dirname "$0")/functions.sh"

make_pool
head -c 4M /dev/urandom >"$work/base"
t create vm1 --origin "$work/base"
t create vm2 --size 4M
start_server "$pool"

proves "who serves it does not matter to the words"
expect served true "$(json .served status)"
t_fails 'vm1' create vm1 --size 1M
t_fails 'nobody' show nobody

proves "a new size is seen by new connections, and the old one goes on"
nbd_python vm2 "$thinbd" "$pool" <<'END'
import subprocess
h.pwrite(b"x" * 1000, (4 << 20) - 1000)
subprocess.run([args[0], "--pool", args[1], "resize", "vm2", "6M"], check=True)
assert h.get_size() == 4 << 20
h.pwrite(b"y" * 1000, (4 << 20) - 1000)
new = connect()
assert new.get_size() == 6 << 20
new.pwrite(b"z" * 1000, (6 << 20) - 1000)
assert new.pread(2000, (4 << 20) - 1000) == b"y" * 1000 + bytes(1000)
END
t resize vm2 4M --force
expect size 4194304 "$(nbdinfo --size "$(uri vm2)")"
t resize vm2 6M
nbd_python vm2 <<'END'
assert h.pread(2 << 20, 4 << 20) == bytes(2 << 20)
END

proves "rollback"
t snapshot vm2 vm2@a
quietly qemu-io -f raw "$(uri vm2)" -c 'write -P 9 0 6M' -c flush
t rollback vm2 vm2@a
expect content "$(sum_of "$(uri vm2@a)")" "$(sum_of "$(uri vm2)")"

proves "diff is what has changed"
quietly qemu-io -f raw "$(uri vm2)" -c 'write -P 9 128k 64k' -c 'write -P 8 1M 1k' -c flush
expect diff '[{"offset":131072,"length":65536},{"offset":1048576,"length":65536}]' \
       "$(t --json diff vm2@a vm2 | jq -c .)"

proves "flatten while a client writes; then the origin is not needed"
nbd_python vm1 "$work/base" "$thinbd" "$pool" <<'END'
import random, subprocess
model = bytearray(open(args[0], "rb").read())
flatten = subprocess.Popen([args[1], "--pool", args[2], "flatten", "vm1", "--rate", "4M/s"],
                           stdout=subprocess.DEVNULL)
n = 0
while flatten.poll() is None:
    at, size = random.randrange(len(model) - 5000), random.randrange(1, 5000)
    data = bytes([n % 256]) * size
    h.pwrite(data, at)
    model[at:at+size] = data
    n += 1
assert flatten.returncode == 0 and n > 10, (flatten.returncode, n)
assert h.pread(len(model), 0) == model
open(args[0] + ".model", "wb").write(model)
END
expect origin null "$(json '.origin' show vm1)"
rm "$work/base"

proves "check and dump of a pool in use"
quietly t check
t dump >"$work/dump.xml"
t dump --format json | jq -e '.devices | length == 3' >/dev/null || fail "JSON dump"
stop_server
thin_dump "$pool/metadata" >"$work/thin.xml"
same "$work/thin.xml" "$work/dump.xml" "our dump and thin_dump's"
start_server "$pool"
quietly nbdcopy "$(uri vm1)" "$work/out"
same "$work/base.model" "$work/out" "the flattened volume"

proves "messages"
t message 'create_thin 100'
t message 'create_snap 101 100'
t list >"$work/list"
grep -q '^#101' "$work/list" || fail "no #101: $(cat "$work/list")"
t_fails 'create_thin' message 'create_thin 100'
t message 'delete 101'
t message 'delete 100'
stop_server
pool_is_well
