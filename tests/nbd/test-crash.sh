#!/usr/bin/env bash
# test-crash.sh: the server is killed while clients write; what was flushed
# is there, and the pool needs no repair.
. "$(dirname "$0")/functions.sh"

make_pool
head -c 4M /dev/urandom >"$work/base"
t create vm1 --origin "$work/base"

# Writes numbers until the server dies; says what it had flushed.
cat >"$work/writer.py" <<'END'
import nbd, random, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
r = random.Random(int(sys.argv[2]))
tried = []      # since the last flush
try:
    while True:
        for _ in range(r.randrange(1, 6)):
            sector, n = r.randrange(8192), r.randrange(1, 2**60)
            fua = r.random() < 0.2
            tried.append((sector, n))
            h.pwrite(n.to_bytes(8, "big") * 64, sector * 512, nbd.CMD_FLAG_FUA if fua else 0)
            if fua:
                print("sector", sector, n)
                tried = [t for t in tried if t[0] != sector]
        h.flush()
        for sector, n in dict(tried).items():
            print("sector", sector, n)
        tried = []
except nbd.Error:
    # What was not flushed may be there or not.
    for sector, n in tried:
        print("maybe", sector, n)
END

seed=${THINBD_SEED:-$RANDOM}
echo "THINBD_SEED=$seed"
for round in 1 2 3 4 5; do
    start_server "$pool"
    /usr/bin/python3 "$work/writer.py" "$(uri vm1)" $((seed + round)) >>"$work/log" &
    writer=$!
    sleep "0.$((RANDOM % 5 + 2))"
    kill_server
    wait $writer || :
    check_pool_metadata "$pool/metadata"
done

proves "every sector has its flushed value, or one that was written later"
start_server "$pool"
/usr/bin/python3 - "$(uri vm1)" "$work/log" "$work/base" <<'END' || fail "lost something"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
base = open(sys.argv[3], "rb").read()
allowed = {}
flushed = 0
for line in open(sys.argv[2]):
    kind, sector, n = line.split()
    sector, value = int(sector), int(n).to_bytes(8, "big") * 64
    if kind == "sector":
        flushed += 1
        allowed[sector] = [value]
    else:
        allowed.setdefault(sector, [base[sector*512:sector*512+512]]).append(value)
for sector in range(8192):
    got = h.pread(512, sector * 512)
    expected = allowed.get(sector, [base[sector*512:sector*512+512]])
    assert got in expected, sector
print(flushed, "flushed writes")
END
stop_server
pool_is_well

proves "what is said to be flattened does not need its origin, whatever happens then"
t create vm2 --origin "$work/base"
start_server "$pool"
t flatten vm2 >/dev/null
kill_server
start_server "$pool"
quietly nbdcopy "$(uri vm2)" "$work/out"
same "$work/base" "$work/out" "the flattened volume"

proves "so with snapshots, deletions and sizes"
t snapshot vm2 vm2@a
t delete vm1
t resize vm2 8M
kill_server
expect volumes "vm2 vm2@a" "$(json '.[].name' list | xargs)"
expect size 8388608 "$(json '.size' show vm2)"
pool_is_well
