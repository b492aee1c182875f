#!/usr/bin/env bash
# test-reserve.sh: room that is kept for a volume, whatever the others do.
. "$(dirname "$0")/functions.sh"

# Blocks of 64K: 32 of them.
quietly t init --data-size 2M --set when_full=error --set auto_extend_step=0
t create vm1 --size 8M
t create vm2 --size 16M

reserved() { json .data.reserved_bytes status; }
left() { json .reserve_left_bytes show vm1; }

proves "set: kept, shown, refused where there is no room"
expect "none yet" 0 "$(reserved)"
t set vm1 reserve=1M
expect "kept" 1048576 "$(reserved)"
expect "of a volume" "1048576 1048576" \
    "$(json '"\(.reserve_bytes) \(.reserve_left_bytes)"' show vm1)"
t show vm1 | grep -q 'reserve  *1 MiB' || fail "show: $(t show vm1)"
t status | grep -q 'reserved  *1 MiB' || fail "status: $(t status)"
t_fails 'not kept for others' set vm2 reserve=1088K
t_fails 'more than its size' set vm2 reserve=17M
t_fails 'reserve' set vm2 reserve=many
expect "unchanged" "0 1048576" "$(json .reserve_bytes show vm2) $(reserved)"

proves "eight others fill the pool; the volume itself goes on"
start_server "$pool"
nbd_python vm2 <<'END'
full, done = [], []
def work(n):
    c = connect()
    try:
        for i in range(16):
            c.pwrite(b"o" * 65536, (n * 16 + i) * 65536)
            done.append(n)
    except nbd.Error as e:
        assert e.errnum == errno.ENOSPC, e.string
        full.append(n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert len(done) == 16 and len(full) + (16 * [done[0]] == done) == 8, (full, done)
END
expect "used by the others" 1048576 "$(json .data.used_bytes status)"
expect mode out_of_data_space "$(json .mode status)"
nbd_python vm1 <<'END'
for i in range(16):
    h.pwrite(b"m" * 65536, i * 65536)
fails(errno.ENOSPC, h.pwrite, b"m", 17 * 65536)
h.trim(4 * 65536, 0)                        # kept again, at once
for i in range(4):
    h.pwrite(b"m" * 65536, i * 65536)
h.flush()
END
expect "all of it used" 0 "$(left)"

proves "snapshots need room for copies, or are refused"
t_fails 'vm1@1.*which has a reserve' snapshot vm1 vm1@1
t grow --data-size 3M >"$work/out"
t snapshot vm1 vm1@1
expect "kept again" 1048576 "$(left)"
expect "a snapshot has none" 0 "$(json .reserve_bytes show vm1@1)"
nbd_python vm2 <<'END'
fails(errno.ENOSPC, h.pwrite, b"o", 200 * 65536)
END
nbd_python vm1 <<'END'
for i in range(8):
    h.pwrite(b"n", i * 65536)
h.flush()
END
expect "half of it" 524288 "$(left)"

proves "the same after a restart"
stop_server
pool_is_well
expect "offline" 524288 "$(left)"
start_server "$pool"
expect "served" 524288 "$(left)"
nbd_python vm2 <<'END'
fails(errno.ENOSPC, h.pwrite, b"o", 200 * 65536)
END

proves "rollback takes it along; delete, shrinking and 0 give it back"
t_fails 'not kept for others' rollback vm1 vm1@1
t grow --data-size 4M >"$work/out"
t rollback vm1 vm1@1
expect "all of it shared" 1048576 "$(left)"
t resize --force vm1 512K
expect "no more than its size" "524288 524288" \
    "$(json '"\(.reserve_bytes) \(.reserve_left_bytes)"' show vm1)"
t set vm1 reserve=0
expect "given back" 0 "$(reserved)"
t set vm1 reserve=256K
expect "kept again" 262144 "$(reserved)"
t delete vm1
expect "deleted" 0 "$(reserved)"
stop_server
pool_is_well
