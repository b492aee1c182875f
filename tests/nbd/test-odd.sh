#!/usr/bin/env bash
# test-odd.sh: volumes and blocks of odd sizes, against a model.
. "$(dirname "$0")/functions.sh"

head -c 777777 /dev/urandom >"$work/base"

# Random requests of all kinds, also at the very end; the seed is printed.
storm() {
    local volume=$1
    nbd_python "$volume" "$work/base" "${THINBD_SEED:-$RANDOM}" "$2" <<'END'
import random
base = open(args[0], "rb").read()
r = random.Random(int(args[1]))
bs = int(args[2])
size = h.get_size()
below = (base + bytes(max(0, size - len(base))))[:size] if "over" in uri else bytes(size)
model = bytearray(below)
print("THINBD_SEED=" + args[1], uri.split("?")[0])
for step in range(80):
    at = r.choice((0, r.randrange(size), r.randrange(size) // bs * bs, max(0, size - 1)))
    n = min(size - at, r.choice((1, 511, 4096, bs, r.randrange(1, 3 * bs), size)))
    n = min(n, 1 << 20)
    op = r.randrange(6)
    fua = r.choice((0, nbd.CMD_FLAG_FUA))
    if op <= 1:
        data = r.randbytes(n)
        h.pwrite(data, at, fua)
        model[at:at+n] = data
    elif op == 2:
        h.zero(n, at, fua | r.choice((0, nbd.CMD_FLAG_NO_HOLE)))
        model[at:at+n] = bytes(n)
    elif op == 3:
        h.trim(n, at, fua)
        begin, end = -(-at // bs) * bs, (at + n) // bs * bs
        if at + n == size:
            end = -(-size // bs) * bs       # the volume's end is one of a block
        end = min(end, size)
        if begin < end:
            model[begin:end] = below[begin:end]
    elif op == 4:
        h.cache(n, at)
    else:
        assert h.pread(n, at) == model[at:at+n], (step, at, n)
for at in range(0, size, 1 << 20):
    n = min(1 << 20, size - at)
    assert h.pread(n, at) == model[at:at+n], at
open(args[0] + "." + uri.split("///")[1].split("?")[0], "wb").write(model)
END
}

for block in 4K 64K 192K; do
    bytes=$(numfmt --from=iec "$block")
    proves "blocks of $block"
    rm -rf "$pool"
    quietly t init --data-size 32M --block-size "$block"
    for size in 1 $((bytes + 1)) 1000003; do
        t create "v$size" --size "$size"
        t create "over$size" --size "$size" --origin "$work/base"
    done >/dev/null
    start_server "$pool"
    for size in 1 $((bytes + 1)) 1000003; do
        storm "v$size" "$bytes"
        storm "over$size" "$bytes"
    done
    stop_server
    start_server "$pool"
    for size in 1 1000003; do
        for volume in "v$size" "over$size"; do
            quietly nbdcopy "$(uri "$volume")" "$work/out"
            same "$work/base.$volume" "$work/out" "$volume after a restart"
        done
    done
    stop_server
    quietly t check
    # the others insist on what the kernel takes
    [ $((bytes % 65536)) -ne 0 ] || check_pool_metadata "$pool/metadata"
done
