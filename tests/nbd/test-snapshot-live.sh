#!/usr/bin/env bash
# test-snapshot-live.sh: snapshots of volumes that are being written to.
. "$(dirname "$0")/functions.sh"
requires python3

make_pool
t create a --size 4M
t create b --size 4M
start_server "$pool"

proves "a group holds a prefix of what was written, the same one of both volumes"
# One writer writes n to a and then to b, for n = 1, 2, ...; so in any instant
# a is n and b is n or n - 1.
/usr/bin/python3 - "$(uri a)" "$(uri b)" "$work/stop" <<'END' &
import nbd, os, sys
h = [nbd.NBD(), nbd.NBD()]
for i in 0, 1:
    h[i].connect_uri(sys.argv[1 + i])
n = 0
while not os.path.exists(sys.argv[3]):
    n += 1
    for x in h:
        x.pwrite(n.to_bytes(8, "big") * 512, 65536 * (n % 8))
END
writer=$!
cleanup_fn kill -KILL $writer
for i in 1 2 3 4 5; do
    sleep 0.2
    t snapshot a "a@$i" b "b@$i"
done
touch "$work/stop"
wait $writer
for i in 1 2 3 4 5; do
    /usr/bin/python3 - "$(uri "a@$i")" "$(uri "b@$i")" <<'END' || fail "group $i"
import nbd, sys
def newest(uri):
    h = nbd.NBD()
    h.connect_uri(uri)
    found = []
    for block in range(8):
        data = h.pread(4096, block * 65536)
        assert data == data[:8] * 512, "torn"
        found.append(int.from_bytes(data[:8], "big"))
    # the last 8 numbers, each in its place
    top = max(found)
    assert all(n == 0 and top < 8 or n % 8 == i and n > top - 8
               for i, n in enumerate(found)), found
    return top
a, b = newest(sys.argv[1]), newest(sys.argv[2])
assert a - b in (0, 1) and a > 0, (a, b)
END
done

proves "neither side's writes reach the other"
sum=$(sum_of "$(uri a@3)")
quietly qemu-io -f raw "$(uri a)" -c 'write -P 99 0 4M' -c flush
expect snapshot "$sum" "$(sum_of "$(uri a@3)")"
t snapshot a@3 branch
quietly qemu-io -f raw "$(uri branch)" -c 'write -P 11 0 4M' -c flush
expect snapshot "$sum" "$(sum_of "$(uri a@3)")"
quietly qemu-io -f raw "$(uri a)" -c 'read -P 99 0 4M'

proves "all or none"
t_fails 'a@3' snapshot b b@new a a@3
t_fails 'nobody' snapshot b b@new nobody nobody@1
expect "no half of it" 0 "$(json '[.[] | select(.name == "b@new")] | length' list)"

proves "a volume that a client has open is not deleted, but with --force"
/usr/bin/python3 - "$(uri branch)" "$work/opened" <<'END' &
import nbd, sys, time
h = nbd.NBD()
h.connect_uri(sys.argv[1])
open(sys.argv[2], "w").close()
time.sleep(30)
END
client=$!
cleanup_fn kill -KILL $client
until [ -e "$work/opened" ]; do sleep 0.05; done
t_fails 'client' delete branch
expect clients 1 "$(json '.[] | select(.name == "branch").clients' list)"
t delete branch --force
kill $client
must_fail nbdinfo --size "$(uri branch)"
server_is_well
t delete a b a@1 a@2 a@3 a@4 a@5 b@1 b@2 b@3 b@4 b@5
expect used 0 "$(json .data.used_bytes status)"
stop_server
pool_is_well
