#!/usr/bin/env bash
# test-counters.sh: what clients did to a volume, as `show` tells it: exactly.
. "$(dirname "$0")/functions.sh"

make_pool
t create vm1 --size 64M
t create vm2 --size 64M

# of KIND KEY [VOLUME]
of() { json ".io.$1.$2" show "${3:-vm1}"; }

# counts KIND OPERATIONS BYTES ERRORS [VOLUME]
counts() {
    expect "${5:-vm1}: $1" "$2 $3 $4" "$(json ".io.$1 | \"\(.operations) \(.bytes) \(.errors)\"" \
        show "${5:-vm1}")"
}

proves "nothing is counted where nobody serves, or has opened it"
expect offline null "$(json .io show vm1)"
start_server "$pool"
expect "not opened" null "$(json .io show vm1)"

proves "operations and bytes, of all connections, to the last one"
nbd_python vm1 <<'END'
def work(n):
    c = connect()
    for i in range(n):
        c.pwrite(b"x" * 4096, i * 65536)
        c.pread(512 * (i + 1), 0)
    c.trim(65536, 65536)
    c.zero(10000, 300000)
    c.flush()
    c.shutdown()
threads = [threading.Thread(target=work, args=(n,)) for n in (10, 20, 30, 40)]
for t in threads: t.start()
for t in threads: t.join()
END
counts writes 100 409600 0
counts reads 100 793600 0
counts trims 4 262144 0
counts zeroes 4 40000 0
counts flushes 4 0 0
expect "the histogram holds all of them" 100 \
    "$(json '[.io.writes.histogram[].operations] | add' show vm1)"
expect "p50 <= p99 <= max" true \
    "$(json '.io.reads.latency_us | .p50 <= .p99 and .p99 <= .max' show vm1)"
expect "edges ascend" true \
    "$(json '[.io.reads.histogram[].below_us] | . == (sort | unique)' show vm1)"
expect "another volume" null "$(json .io show vm2)"

proves "a failed request is an error, and nothing else"
quietly t set vm2 readonly=true
nbd_python vm2 <<'END'
fails(errno.EPERM, h.pwrite, b"x", 0)
END
nbd_python vm1 "$thinbd" "$pool" <<'END'
import subprocess
h.pwrite(b"y" * 100, 0)
subprocess.run([args[0], "--pool", args[1], "delete", "--force", "vm1"], check=True)
fails(errno.EIO, h.pread, 512, 0)
END

proves "a new volume with an old number begins at zero"
t create vm3 --size 64M
expect "the number" 0 "$(json .device show vm3)"
expect "not opened" null "$(json .io show vm3)"
nbd_python vm3 <<'END'
h.pread(512, 0)
END
counts reads 1 512 0 vm3
counts writes 0 0 0 vm3
expect "no latency of nothing" null "$(of writes latency_us vm3)"

proves "for a person"
t show vm3 >"$work/out"
grep -q '^reads  *1  *512 B  *0 ' "$work/out" || fail "no line of reads: $(cat "$work/out")"
grep -q '^ *< .* 1 .*####' "$work/out" || fail "no histogram: $(cat "$work/out")"
stop_server
expect "offline again" null "$(json .io show vm3)"
pool_is_well
