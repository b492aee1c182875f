#!/usr/bin/env bash
# test-room.sh: eight writers and a pool that gets full, as each setting has it.
# THINBD_ROOM_MIB: the pool's size (64; tests/long: 1024).
. "$(dirname "$0")/functions.sh"

mib=${THINBD_ROOM_MIB:-64}

# A pool that does not grow, and a volume that has no place in it.
full_pool() {
    rm -rf "$pool"
    quietly t init --data-size "${mib}M" --set auto_extend_step=0 "$@"
    t create vm1 --size "$((2 * mib))M"
    t create vm2 --size "$((mib / 4))M"
    start_server "$pool"
    nbd_python vm2 "$mib" <<'END'
for i in range(int(args[0]) // 8):
    h.pwrite(b"2" * 2**20, i << 20)
h.flush()
END
}

# Each of eight has a part of vm1, and writes all of it, block by block.
read -r -d '' eight <<'END' || true
mib = int(args[0])
part = mib // 4
counts, found = [0] * 8, []
def work(n):
    c = connect()
    for i in range(part * 16):
        try:
            c.pwrite(bytes([65 + n]) * 65536, (n * part << 20) + i * 65536)
        except nbd.Error as e:
            found.append(e.errnum)
            break
        counts[n] += 1
    c.flush()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
def begin():
    for t in threads: t.start()
def end():
    for t in threads: t.join()
def right():
    for n in range(8):
        begin = n * part << 20
        for i in range(0, counts[n]):
            at = begin + i * 65536
            assert h.pread(65536, at) == bytes([65 + n]) * 65536, (n, i)
def thinbd(*words):
    subprocess.run([args[1], "--pool", args[2], *words], check=True,
                   stdout=subprocess.DEVNULL)
def mode():
    return json.loads(subprocess.run([args[1], "--pool", args[2], "--json", "status"],
                                     check=True, capture_output=True).stdout)["mode"]
END

proves "queue: eight wait, and go on when it has grown"
full_pool --set when_full=queue --set no_space_timeout=0
nbd_python vm1 "$mib" "$thinbd" "$pool" <<END
import json, subprocess, time
$eight
begin()
while mode() != "out_of_data_space":
    time.sleep(0.01)
assert h.pread(100, 0) is not None          # others go on
thinbd("snapshot", "vm2", "vm2@1")
thinbd("grow", "--data-size", "%dM" % (3 * mib))
end()
assert not found and counts == [part * 16] * 8, (found, counts)
right()
assert mode() == "rw", mode()
END
stop_server
pool_is_well

proves "error: ENOSPC to each; deleting makes room, and writing goes on"
full_pool --set when_full=error
nbd_python vm1 "$mib" "$thinbd" "$pool" <<END
import errno, json, subprocess
$eight
begin()
end()
assert set(found) == {errno.ENOSPC}, found
assert len(found) + counts.count(part * 16) == 8, (found, counts)   # a fast one is done before
assert sum(counts) == (mib - mib // 8) * 16, counts
right()
assert mode() == "out_of_data_space", mode()
thinbd("delete", "vm2")
left = [(n * part << 20) + i * 65536 for n in range(8) for i in range(counts[n], part * 16)]
room = mib // 8 * 16                        # as much as vm2 had
for at in left[:room]:
    h.pwrite(b"n" * 65536, at)
fails(errno.ENOSPC, h.pwrite, b"n", left[room])
h.flush()
right()
END
stop_server
pool_is_well

proves "status says whether it will grow by itself"
expect "offline" "0 0" \
    "$(json '"\(.data.auto_extend_bytes) \(.metadata.auto_extend_bytes)"' status)"
start_server "$pool"
expect "off" "0 0" "$(json '"\(.data.auto_extend_bytes) \(.metadata.auto_extend_bytes)"' status)"
stop_server
sed -i 's/auto_extend_step.*/auto_extend_step = "1M";/' "$pool/pool.conf"
start_server "$pool"
expect "on" "1048576 1048576" \
    "$(json '"\(.data.auto_extend_bytes) \(.metadata.auto_extend_bytes)"' status)"
t status | grep -q 'grows  *by 1 MiB, by itself' || fail "status: $(t status)"
stop_server
printf 'auto_extend_limit = "%sM";\n' "$mib" >>"$pool/pool.conf"
sed -i '0,/auto_extend_limit/{/auto_extend_limit = "none"/d}' "$pool/pool.conf"
start_server "$pool"
expect "at the limit" 0 "$(json .data.auto_extend_bytes status)"
stop_server
