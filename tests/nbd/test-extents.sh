#!/usr/bin/env bash
# test-extents.sh: base:allocation, also for those who ask for too much.
. "$(dirname "$0")/functions.sh"

make_pool --block-size 64K
truncate -s 1M "$work/base"
printf 'data' | dd of="$work/base" bs=1 seek=524288 conv=notrunc status=none
t create plain --size 8G
t create over --origin "$work/base" --size 2M
start_server "$pool"

proves "holes are holes, what is written is data, also what the origin holds"
quietly qemu-io -f raw "$(uri plain)" -c 'write 1M 100k' -c 'write 1216k 64k'
nbdinfo --map --json "$(uri over)" | jq -c '.[] | select(.type == 0) | [.offset,.length]' >"$work/map"
grep -q '^\[524288,' "$work/map" || fail "the origin's data: $(cat "$work/map")"

proves "nothing past the request, however large it is (stock nbdkit aborts on that)"
nbd_python plain <<'END'
def status(count, offset, flags=0):
    got = []
    def note(context, at, entries, error):
        got.extend(entries)
        return 0
    h.block_status(count, offset, note, flags)
    return got
for count, offset in ((0xffffffff, 0), (0xffffffff, 1 << 20), (1, 0), (1, 8 * 2**30 - 1),
                      (65537, 1048575), (0xffffffff, 8 * 2**30 - 0xffffffff), (7, 3 << 20)):
    got = status(count, offset)
    assert got and sum(got[::2]) <= count, (count, offset, got)
    assert all(n > 0 for n in got[::2])
    one = status(count, offset, nbd.CMD_FLAG_REQ_ONE)
    assert len(one) == 2 and 0 < one[0] <= count, one
assert status(2 << 20, 0) == [1048576, 3, 131072, 0, 65536, 3, 65536, 0, 786432, 3], \
    status(2 << 20, 0)
END
server_is_well

proves "trim and zero bring holes back"
quietly qemu-io -d unmap -f raw "$(uri plain)" -c 'discard 1M 64k' -c 'write -z -u 1088k 1M'
nbd_python plain <<'END'
got = []
h.block_status(4 << 20, 0, lambda c, o, e, x: got.extend(e))
assert got == [4 << 20, 3], got
END
