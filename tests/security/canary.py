#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Nobody reads what another has deleted, or he himself has trimmed (P8).

    canary.py [ALIGNMENTS]

Tenant A fills the pool with canaries and is deleted, trimmed, zeroed, rolled back or
shrunk; with a kill in between, or not.  Then B is made and written in part: one write
into each block, at every kind of alignment and length, over the blocks that were A's.
All of B, its snapshots, and what it shows after growing is searched for A's bytes;
the metadata too.  Without passdown A's bytes are still in the data file, so whatever
is not overwritten would show.  1000 alignments unless told otherwise.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
# pylint: disable=wrong-import-position
from ground import Pool, in_memory, need, seed_from_environment, should, story

CANARY = b"\xca\xfeCANARY OF TENANT A"  # 18 bytes: 16 in a row are found at any alignment
BLOCKS = {"4K": 4096, "64K": 65536, "192K": 196608, "4M": 4 << 20}
WRITES = 60  # of B, in a go: one a block
PART = CANARY[2:10]
NO_HOLE = 2  # a flag


def canaries(size):
    return (CANARY * (size // len(CANARY) + 1))[:size]


def search(what, data):
    at = data.find(PART)
    should(at < 0, what, "shows A's bytes at", at, data[max(0, at - 16):at + 32])


class Tenants:
    """A pool, whose data are all canaries in the beginning."""

    def __init__(self, work, rnd, number, block):
        self.rnd, self.block = rnd, BLOCKS[block]
        self.pool = Pool(work, f"pool{number}")
        self.writes = WRITES if self.block < 1 << 20 else 6
        self.size = self.block * (self.writes + 4)
        self.base = work / f"base{number}"
        self.base.write_bytes(rnd.randbytes(rnd.randrange(1, self.size)))
        # The pool is so small that B has to use A's blocks.
        data = 2 * self.size if self.block > 4096 else max(2 * self.size, 1 << 20)
        self.settings = [f"discard={rnd.choice(('nopassdown',) * 5 + ('passdown',))}",
                         f"io={rnd.choice(('auto', 'sync'))}", "when_full=error"]
        self.pool.t("init", "--data-size", data, "--block-size", block,
                    *(w for s in self.settings for w in ("--set", s)))
        self.pool.start()

    def fill(self, name):
        """With as much as there is room for."""
        import nbd  # pylint: disable=import-outside-toplevel
        h = self.pool.connect(name)
        size = h.get_size()
        step = max(self.block, 1 << 20 if self.block < 1 << 20 else self.block)
        try:
            for at in range(0, size, step):
                h.pwrite(canaries(min(step, size - at)), at)
        except nbd.Error as e:
            should(e.errno == "ENOSPC", e.string)
        h.flush()
        h.shutdown()

    def wait_unused(self):
        for _ in range(1000):
            if self.pool.json("status")["clients"] == 0:
                return
            time.sleep(0.002)

    # --- how A goes

    def deleted(self):
        self.pool.t("create", "a", "--size", 4 * self.size)
        self.fill("a")
        self.wait_unused()
        self.pool.t("delete", "a")

    def snapshot_deleted(self):
        self.pool.t("create", "a", "--size", 4 * self.size)
        self.fill("a")
        self.pool.t("snapshot", "a", "a@s")
        self.wait_unused()
        self.pool.t("delete", "a")
        self.pool.t("delete", "a@s")

    def rolled_back(self):
        self.pool.t("create", "a", "--size", 4 * self.size)
        self.pool.t("snapshot", "a", "a@s")
        self.fill("a")
        self.wait_unused()
        self.pool.t("rollback", "a", "a@s")
        search("a", self.pool.read_all("a"))

    def trimmed(self):
        self.change("trim")

    def zeroed(self):
        self.change("zero")

    def change(self, how):
        self.pool.t("create", "a", "--size", 4 * self.size)
        self.fill("a")
        h = self.pool.connect("a")
        getattr(h, how)(h.get_size(), 0)
        h.flush()
        search("a", self.pool.read_all("a"))
        h.shutdown()

    def shrunk(self):
        """To the middle of a block; and it grows again, so that its end shows."""
        self.pool.t("create", "a", "--size", 4 * self.size)
        self.fill("a")
        self.wait_unused()
        keep = self.rnd.randrange(1, self.block)
        self.pool.t("resize", "a", keep, "--force")
        self.pool.t("resize", "a", 4 * self.size)
        search("a", self.pool.read_all("a")[keep:])
        self.wait_unused()
        self.pool.t("resize", "a", 1, "--force")

    WAYS = ("deleted", "snapshot_deleted", "rolled_back", "trimmed", "zeroed", "shrunk")

    # --- what B does

    def some_write(self, block):
        """Bytes at any place of a block, or over its end."""
        sort = self.rnd.randrange(7)
        if sort == 6:
            offset, length = 0, self.block
        elif sort == 0:
            offset, length = self.rnd.randrange(self.block), 1
        elif sort == 1:
            offset, length = 0, self.rnd.randrange(1, self.block)
        elif sort == 2:
            offset = self.rnd.randrange(1, self.block)
            length = self.block - offset
        elif sort == 3:
            offset = self.rnd.randrange(0, self.block, 512)
            length = min(512 * self.rnd.randint(1, 16), self.block - offset)
        elif sort == 4:
            offset = self.rnd.randrange(self.block // 2, self.block)
            length = self.block
        else:
            offset = self.rnd.randrange(self.block)
            length = self.rnd.randint(1, self.block - offset)
        return block * self.block + offset, length

    def use(self, name, count, before):
        """One write a block; each is an alignment.  What it reads as afterwards."""
        h = self.pool.connect(name)
        expected = bytearray(before)
        for block in range(count):
            at, length = self.some_write(block)
            length = min(length, len(expected) - at)
            sort = self.rnd.random()
            if sort < 0.7:
                h.pwrite(b"b" * length, at)
                expected[at:at + length] = b"b" * length
            else:
                h.zero(length, at, NO_HOLE if sort < 0.9 else 0)
                expected[at:at + length] = bytes(length)
        h.flush()
        h.shutdown()
        return bytes(expected)

    def look(self, name, expected):
        data = self.pool.read_all(name)
        search(name, data)
        should(data == expected, name, "does not read as it should")

    def begin(self, name, size):
        """B, over an origin or not.  What it reads as."""
        if self.rnd.random() < 0.5:
            self.pool.t("create", name, "--size", size)
            return bytes(size)
        self.pool.t("create", name, "--size", size, "--origin", self.base)
        return self.base.read_bytes()[:size].ljust(size, b"\0")

    def live(self, way, count):
        getattr(self, way)()
        if self.rnd.random() < 0.4:
            self.pool.kill()
            self.pool.start()
        # Not a whole number of blocks, and later it grows.
        size = self.block * (count + 1) + self.rnd.randrange(1, self.block)
        expected = self.use("b", count, self.begin("b", size))
        self.look("b", expected)
        self.pool.t("snapshot", "b", "b@s", "b", "c")
        self.look("c", self.use("c", min(count, 10), expected))
        self.look("b", expected)
        self.wait_unused()
        self.pool.t("resize", "b", size + 2 * self.block)
        grown = expected + self.base.read_bytes()[size:size + 2 * self.block]
        if self.pool.json("list", "b")[0]["origin"] is None:
            grown = expected
        grown = grown.ljust(size + 2 * self.block, b"\0")
        self.look("b", grown)
        self.pool.kill()
        self.pool.start()
        self.look("b", grown)
        self.look("b@s", expected)
        self.pool.stop()
        search("the metadata", (self.pool.path / "metadata").read_bytes())


def main():
    need()
    alignments = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = seed_from_environment()
    with story(seed, alignments, tmp=in_memory()) as (work, rnd):
        done, ways = 0, []
        while done < alignments:
            ways = ways or rnd.sample(Tenants.WAYS, len(Tenants.WAYS))
            way, block = ways.pop(), rnd.choice(sorted(BLOCKS))
            tenants = Tenants(work, rnd, done, block)
            print(f"  A is {way}; blocks of {block}, {', '.join(tenants.settings)}",
                  flush=True)
            try:
                tenants.live(way, tenants.writes)
            finally:
                tenants.pool.kill()
            tenants.pool.check(oracle=False)
            done += tenants.writes
        print(f"{done} alignments")


if __name__ == "__main__":
    main()
