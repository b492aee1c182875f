#!/usr/bin/env bash
# test-full.sh: no room left: errors at once, or waiting; and room again.
. "$(dirname "$0")/functions.sh"

quietly t init --data-size 1M --set when_full=error --set auto_extend_step=0
t create vm1 --size 8M
start_server "$pool" 2>"$work/log"

proves "error: ENOSPC at once; the rest goes on"
nbd_python vm1 <<'END'
for i in range(16):
    h.pwrite(b"x" * 65536, i * 65536)
fails(errno.ENOSPC, h.pwrite, b"y" * 65536, 16 * 65536)
fails(errno.ENOSPC, h.pwrite, b"y", 20 * 65536)
h.flush()
h.pwrite(b"z" * 1000, 5000)
assert h.pread(1000, 5000) == b"z" * 1000
assert h.pread(10, 17 * 65536) == bytes(10)
END
expect mode out_of_data_space "$(json .mode status)"
nbd_python vm1 <<'END'
h.trim(65536, 0)
h.flush()
h.pwrite(b"y" * 65536, 16 * 65536)
fails(errno.ENOSPC, h.pwrite, b"y", 20 * 65536)
END
grep -q -i 'data' "$work/log" || fail "nothing in the log"

proves "after growing, writes go on without a restart"
t grow --data-size 2M
expect mode rw "$(json .mode status)"
nbd_python vm1 <<'END'
h.pwrite(b"y" * 65536, 17 * 65536)
h.flush()
END
stop_server
pool_is_well

proves "queue: writers wait for room"
sed -i '/when_full/d' "$pool/pool.conf"
start_server "$pool"
nbd_python vm1 "$thinbd" "$pool" <<'END'
import subprocess, time
for i in range(18, 33):
    h.pwrite(b"x" * 65536, i * 65536)
blocked = connect()
done = []
def write():
    blocked.pwrite(b"q" * 65536, 40 * 65536)
    done.append(time.monotonic())
w = threading.Thread(target=write)
w.start()
time.sleep(0.7)
assert not done, "did not wait"
assert h.pread(1, 18 * 65536) == b"x"       # others go on
subprocess.run([args[0], "--pool", args[1], "grow", "--data-size", "3M"], check=True)
w.join(10)
assert done, "still waits"
assert h.pread(1, 40 * 65536) == b"q"
END
stop_server
pool_is_well

proves "auto_extend: it grows by itself"
sed -i '/auto_extend_step/d' "$pool/pool.conf"
start_server "$pool"
nbd_python vm1 <<'END'
for i in range(48, 128):
    h.pwrite(b"x" * 65536, i * 65536)
h.flush()
END
[ "$(json .data.total_bytes status)" -gt 3145728 ] || fail "has not grown"
stop_server
pool_is_well
