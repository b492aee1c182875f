#!/usr/bin/env bash
# test-multi-conn.sh: a flush covers the writes of all connections, and FUA
# its own; a kill afterwards takes nothing away.
. "$(dirname "$0")/functions.sh"

make_pool
t create vm1 --size 8M
t create vm2 --size 8M
start_server "$pool"

nbd_python vm1 <<'END'
others = [connect() for _ in range(4)]
for i, o in enumerate(others):
    o.pwrite(bytes([65 + i]) * 5000, i * 100000)
h.flush()
assert h.pread(5000, 300000) == b"D" * 5000     # seen by all
END
nbd_python vm2 <<'END'
h.pwrite(b"f" * 1000, 12345, nbd.CMD_FLAG_FUA)
h.trim(65536, 65536 * 3, nbd.CMD_FLAG_FUA)
h.pwrite(b"g", 65536 * 5, nbd.CMD_FLAG_FUA)
END
kill_server
check_pool_metadata "$pool/metadata"
start_server "$pool"
nbd_python vm1 <<'END'
for i in range(4):
    assert h.pread(5000, i * 100000) == bytes([65 + i]) * 5000
END
nbd_python vm2 <<'END'
assert h.pread(1002, 12344) == b"\0" + b"f" * 1000 + b"\0"
END
expect used $((2 * 65536)) "$(json '.[] | select(.name == "vm2").mapped_bytes' list)"

proves "many connections, one after the other and at once"
nbd_python vm1 <<'END'
for _ in range(100):
    connect(False).shutdown()
crowd = [connect(False) for _ in range(40)]
for i, c in enumerate(crowd):
    c.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i]) * 4096), i * 4096)
for c in crowd:
    while c.aio_in_flight():
        c.poll(-1)
h.flush()
for i in range(40):
    assert h.pread(4096, i * 4096) == bytes([i]) * 4096
END
stop_server
pool_is_well
