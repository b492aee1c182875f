#!/usr/bin/env bash
# test-trim-zero.sh: what trims and zeros free, and what is read afterwards.
. "$(dirname "$0")/functions.sh"

used() { json .data.used_bytes status; }

make_pool
t create vm1 --size 4M
start_server "$pool"

proves "a trim frees whole blocks, and leaves the rest as it is"
nbd_python vm1 <<'END'
h.pwrite(b"x" * (1 << 20), 0)
h.flush()
h.trim(3 * 65536 - 1000 + 500, 1000)        # blocks 1 and 2 as a whole
h.flush()
model = bytearray(b"x" * (1 << 20))
model[65536:3*65536] = bytes(2 * 65536)
assert h.pread(1 << 20, 0) == model
h.trim(100, 5 * 65536 + 7)                  # nothing as a whole
assert h.pread(1 << 20, 0) == model
h.trim(65536, 65536)                        # once more
h.trim(1 << 20, 2 << 20)                    # never written
END
expect used $((14 * 65536)) "$(used)"

proves "pieces of a block do not add up: neither freed, nor changed, nor punched"
host() { sync "$pool/data" && stat -c %b "$pool/data"; }
before=$(used) blocks=$(host)
nbd_python vm1 <<'END'
for piece in range(0, 65536, 4096):
    h.trim(4096, 6 * 65536 + piece)
h.trim(65536, 6 * 65536 + 32768)            # the half of this one, and of the next
h.flush()
assert h.pread(3 * 65536, 6 * 65536) == b"x" * (3 * 65536)
END
expect used "$before" "$(used)"
expect "of the data file" "$blocks" "$(host)"
nbd_python vm1 <<'END'
h.trim(65536, 6 * 65536)                    # as fstrim does, which asks for all again
h.flush()
h.pwrite(b"x" * 65536, 6 * 65536)
h.flush()
END
expect "used again" "$before" "$(used)"

proves "zeros with NO_HOLE free nothing, others do"
nbd_python vm1 <<'END'
h.zero(4 * 65536, 4 * 65536, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(4 * 65536, 4 * 65536) == bytes(4 * 65536)
END
expect used $((14 * 65536)) "$(used)"
nbd_python vm1 <<'END'
h.zero(4 * 65536, 4 * 65536)
h.flush()
assert h.pread(4 * 65536, 4 * 65536) == bytes(4 * 65536)
h.zero(1000, 8 * 65536 + 500)
assert h.pread(2000, 8 * 65536) == b"x" * 500 + bytes(1000) + b"x" * 500
END
expect used $((10 * 65536)) "$(used)"

proves "fast zero is fast, or refused at once"
nbd_python vm1 <<'END'
for offset, count in (0, 65536), (8 * 65536 + 10, 100), (2 << 20, 1 << 20):
    try:
        h.zero(count, offset, nbd.CMD_FLAG_FAST_ZERO)
    except nbd.Error as e:
        assert e.errnum == errno.EOPNOTSUPP, e.errnum
    else:
        assert h.pread(count, offset) == bytes(count)
END

proves "a snapshot keeps what its volume trims"
nbd_python vm1 <<'END'
h.pwrite(b"s" * (1 << 20), 1 << 20)
h.flush()
END
t snapshot vm1 vm1@a
sum=$(sum_of "$(uri vm1@a)")
before=$(used)
nbd_python vm1 <<'END'
h.trim(2 << 20, 0)
h.flush()
assert h.pread(2 << 20, 0) == bytes(2 << 20)
END
expect used "$before" "$(used)"
expect snapshot "$sum" "$(sum_of "$(uri vm1@a)")"
t delete vm1@a
expect used 0 "$(used)"

proves "nopassdown and ignore"
stop_server
pool_is_well
sed -i 's/^# discard = .*/discard = "ignore";/' "$pool/pool.conf"
start_server "$pool"
nbd_python vm1 <<'END'
h.pwrite(b"x" * 65536, 0)
h.trim(65536, 0)
assert h.pread(65536, 0) == b"x" * 65536
h.zero(65536, 0)
assert h.pread(65536, 0) == bytes(65536)
END
expect used 65536 "$(used)"
stop_server
pool_is_well
