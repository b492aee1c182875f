#!/usr/bin/env bash
# test-shrink.sh: what a volume was shrunk by never shows again, neither its own bytes
# nor the origin's; its snapshots keep all of theirs; and nobody waits for it.
# THINBD_SEED and THINBD_STEPS choose what is done, and how much.
. "$(dirname "$0")/functions.sh"

an_origin() { /usr/bin/python3 -c '
import random, sys
open(sys.argv[1], "wb").write(random.Random(5).randbytes(700_001))' "$1"; }

quietly t init --data-size 64M
an_origin "$work/base"
start_server "$pool"

proves "a model: written, trimmed, snapshotted, shrunk and grown"
socket=$socket "${PYTHON:-/usr/bin/python3}" - "$thinbd" "$pool" "$work/base" <<'END' || fail "the model"
import os, random, subprocess, sys, time
import nbd

thinbd, pool, base_path = sys.argv[1:]
BASE = open(base_path, "rb").read()
BLOCK, LARGEST = 65536, 1_000_000
seed = int(os.environ.get("THINBD_SEED", time.time_ns()))
print("THINBD_SEED=%d" % seed)
rnd = random.Random(seed)

def t(*words):
    subprocess.run([thinbd, "--pool", pool, *map(str, words)], check=True,
                   stdout=subprocess.DEVNULL)

def connect(name):
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.connect_uri("nbd+unix:///%s?socket=%s" % (name, os.environ["socket"]))
    return h

class Volume:
    def __init__(self, name, content, base):
        self.name, self.content, self.base = name, content, base

    def below(self, begin, end):
        """What shows of the origin there, and zeros."""
        return self.base[begin:end].ljust(end - begin, b"\0")

    def put(self, begin, data):
        self.content = self.content[:begin] + data + self.content[begin + len(data):]

    def change(self):
        size = len(self.content)
        h = connect(self.name)
        assert h.get_size() == size, (self.name, h.get_size(), size)
        for _ in range(rnd.randint(1, 6)):
            begin = rnd.randrange(size)
            n = min(size - begin, rnd.choice((1, 512, 4096, BLOCK, 3 * BLOCK)))
            if rnd.random() < 0.7:
                data = rnd.randbytes(n)
                h.pwrite(data, begin)
                self.put(begin, data)
            else:
                h.trim(n, begin)
                first = -(-begin // BLOCK) * BLOCK
                end = begin + n if begin + n == size else (begin + n) // BLOCK * BLOCK
                if first < end:
                    self.put(first, self.below(first, end))
        h.shutdown()

    def resize(self):
        old, size = len(self.content), rnd.randrange(1, LARGEST)
        t("resize", self.name, size, "--force")
        if size < old:
            self.content, self.base = self.content[:size], self.base[:size]
        else:
            self.content += self.below(old, size)

    def check(self):
        h = connect(self.name)
        size = h.get_size()
        data = b"".join(h.pread(min(2**20, size - i), i) for i in range(0, size, 2**20))
        h.shutdown()
        if data != self.content:
            at = next((i for i, (a, b) in enumerate(zip(data, self.content)) if a != b), -1)
            sys.exit("%s: %d bytes, should be %d; first difference at %d"
                     % (self.name, len(data), len(self.content), at))

volumes = []
for name, size, base in (("plain", 300_000, b""), ("over", 650_000, BASE)):
    t("create", name, "--size", size, *(["--origin", base_path] if base else []))
    volumes.append(Volume(name, base[:size].ljust(size, b"\0"), base))
for step in range(int(os.environ.get("THINBD_STEPS", 60))):
    v = rnd.choice(volumes)
    what = rnd.random()
    if what < 0.5:
        v.change()
    elif what < 0.85:
        v.resize()
        v.check()
    elif len(volumes) < 6:
        name = "w%d" % step
        t("snapshot", "--writable", v.name, name)
        volumes.append(Volume(name, v.content, v.base))
for v in volumes:
    v.check()
END
stop_server
pool_is_well

proves "full, and the last block is shared: it waits, and keeps nobody waiting"
rm -rf "$pool"
quietly t init --data-size 1M --set auto_extend_step=0 --set no_space_timeout=0
t create vm1 --size 1M
start_server "$pool"
nbd_python vm1 <<'END'
h.pwrite(b"x" * 2**20, 0)
h.flush()
END
t snapshot vm1 vm1@1
t snapshot vm1 vm3 --writable
t resize vm1 500000 --force >"$work/out" 2>&1 &
shrinking=$!
for _ in $(seq 500); do
    [ "$(json .mode status)" != out_of_data_space ] || break
    sleep 0.02
done
expect "it waits" out_of_data_space "$(json .mode status)"
t create vm2 --size 1M
t_fails 'being shrunk' snapshot vm1 vm1@2
t_fails 'being shrunk' rollback vm1 vm1@1
t_fails 'being shrunk' rollback vm3 vm1
t_fails 'being shrunk' resize vm1 600000
expect "the new size" 500000 "$(json .size show vm1)"
t grow --data-size 2M >"$work/out2"
wait "$shrinking" || fail "resize: $(cat "$work/out")"
t resize vm1 1M
nbd_python vm1 <<'END'
assert h.pread(2**20, 0) == b"x" * 500000 + bytes(2**20 - 500000)
END
nbd_python vm1@1 <<'END'
assert h.pread(2**20, 0) == b"x" * 2**20
END
stop_server
pool_is_well

proves "killed in the middle: cut when it is opened again"
rm -rf "$pool"
quietly t init --data-size 1M --set auto_extend_step=0 --set no_space_timeout=0
t create vm1 --size 1M
start_server "$pool"
nbd_python vm1 <<'END'
h.pwrite(b"x" * 2**20, 0)
h.flush()
END
t snapshot vm1 vm1@1
t resize vm1 500000 --force >"$work/out" 2>&1 &
shrinking=$!
for _ in $(seq 500); do
    [ "$(json .mode status)" != out_of_data_space ] || break
    sleep 0.02
done
kill -9 "$server"
wait "$shrinking" && fail "shrunk without a server"
quietly t grow --data-size 2M
t resize vm1 1M
start_server "$pool"
nbd_python vm1 <<'END'
assert h.pread(2**20, 0) == b"x" * 500000 + bytes(2**20 - 500000)
END
stop_server
pool_is_well
