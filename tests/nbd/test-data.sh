#!/usr/bin/env bash
# test-data.sh: bytes go in and come out, at any alignment, and stay.
. "$(dirname "$0")/functions.sh"

make_pool
t create vm1 --size 3000001
t create copy --size 8M
start_server "$pool"

proves "patterns at odd places, over block borders, at the very end"
nbd_python vm1 <<'END'
h.pwrite(b"\1" * 100, 0)
h.pwrite(b"\2" * 12, 65530)
h.pwrite(b"\3" * 65536, 131072)
h.pwrite(b"\4" * 300001, 200000)
h.pwrite(b"\5", 3000000)
h.flush()
END
check_it() {
    nbd_python vm1 <<'END'
expected = bytearray(3000001)
expected[0:100] = b"\1" * 100
expected[65530:65542] = b"\2" * 12
expected[131072:196608] = b"\3" * 65536
expected[200000:500001] = b"\4" * 300001
expected[3000000:] = b"\5"
assert h.get_size() == len(expected)
assert h.pread(len(expected), 0) == expected
for at, n in (0, 1), (99, 2), (65529, 14), (196600, 5000), (3000000, 1):
    assert h.pread(n, at) == expected[at:at+n], at
END
}
check_it

proves "past the end is refused"
nbd_python vm1 <<'END'
fails(errno.EINVAL, h.pread, 2, 3000000)
try:
    h.pwrite(b"xx", 3000000)
except nbd.Error as e:
    assert e.errnum in (errno.EINVAL, errno.ENOSPC), e.errnum
else:
    raise AssertionError("wrote past the end")
END

proves "it is all there after a restart, and after a kill that follows a flush"
stop_server
start_server "$pool"
check_it
kill_server
start_server "$pool"
check_it

proves "nbdcopy in and out"
head -c 8M /dev/urandom >"$work/image"
quietly nbdcopy --flush "$work/image" "$(uri copy)"
quietly nbdcopy "$(uri copy)" "$work/out"
same "$work/image" "$work/out" "nbdcopy"
quietly qemu-img compare -f raw -F raw "$work/image" "$(uri copy)"
stop_server
pool_is_well
