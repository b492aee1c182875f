#!/usr/bin/env bash
# test-host-full.sh: a sparse pool in a file system that gets full: writes get ENOSPC,
# nothing is lost, reads go on, and so do writes when there is room again.
. "$(dirname "$0")/functions.sh"

# In a mount namespace of its own, which takes the file system with it.
if [ "${1:-}" != inside ]; then
    unshare -m true 2>/dev/null || skip "may not mount"
    exec unshare -m "$0" inside
fi
disk=$work/disk
mkdir "$disk"
mount -t tmpfs -o size=24M none "$disk" 2>/dev/null || skip "may not mount"
cleanup_fn umount -l "$disk"
pool=$disk/pool
quietly t init --data-size 1G --metadata-size 4M --set auto_extend_step=0 --set when_full=error
t create vm1 --size 512M
[ "$(du -k "$pool/metadata" | cut -f1)" -ge 4096 ] || fail "no room is kept for the metadata"
start_server "$pool" 2>"$work/log"

proves "full: ENOSPC to each of eight, and not to readers"
nbd_python vm1 "$work/counts" <<'END'
import json
counts, found = [0] * 8, []
def work(n):
    c = connect()
    try:
        for i in range(512):
            c.pwrite(bytes([65 + n]) * 65536, ((n << 9) + i) << 16)
            c.flush()
            counts[n] += 1
    except nbd.Error as e:
        found.append(e.errnum)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert found == [errno.ENOSPC] * 8, [errno.errorcode.get(e, e) for e in found]
json.dump(counts, open(args[0], "w"))
for n in range(8):
    for i in range(counts[n]):
        assert h.pread(65536, ((n << 9) + i) << 16) == bytes([65 + n]) * 65536
h.pwrite(b"over", 0) if counts[0] else None  # what has its place
END
json .mode status

proves "room again: writes go on, and what was flushed is there"
mount -o remount,size=64M "$disk"
nbd_python vm1 "$work/counts" <<'END'
import json
counts = json.load(open(args[0]))
h.pwrite(b"n" * 2**20, 500 << 20)
h.flush()
assert h.pread(2**20, 500 << 20) == b"n" * 2**20
for n in range(8):
    for i in range(1, counts[n]):
        assert h.pread(65536, ((n << 9) + i) << 16) == bytes([65 + n]) * 65536
END
expect mode rw "$(json .mode status)"
stop_server
pool_is_well
