#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every verb by everybody at once, on the same few names, while they are written to.

    melee.py [--seconds N]

Nobody knows what a verb will find: it is done, or refused in one line.  But whatever
the order was: each volume holds its lineage's writes where they were written, its
origin's bytes, and zeros, and nothing of another lineage (I5); the server lives and
answers everybody; and in the end all auditors are content, with nothing left over.

A lineage begins with the first write to a volume that nothing was written to.
"""

import argparse
import collections
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "security"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import Pool, in_memory, need, seed_from_environment, should, story
from names import Control
from writer import MAGIC, SECTOR, STAMP, ZEROS, split, stamp

NAMES = ["a", "b", "c", "d", "a@1", "b@1", "c@1", "r"]
SIZES = [300_000, 1 << 20, 1_234_567, 65536]
VERBS, CLIENTS = 6, 4
EXPECTED = {"EEXIST", "ENOENT", "EBUSY", "EINVAL", "EROFS", "EDQUOT"}
# Of nothing that is there: no origin changes, and what is deleted is not in use.
NEVER = ("malformed", "another origin", "can not be used", "not free yet")

MAY_BE_INVALID = {"create", "rollback", "set", "snapshot"}


def is_mixture(found, may):
    """Some bytes of each: a read met a write in the page cache."""
    return all(byte in {m[i] for m in may} for i, byte in enumerate(found))


class Worker(threading.Thread):
    """Does something again and again."""

    def __init__(self, world):
        super().__init__()
        self.world, self.rnd, self.wrong = world, random.Random(world.rnd.random()), None
        self.count = collections.Counter()

    def run(self):
        try:
            while time.monotonic() < self.world.until and not self.world.over:
                self.turn()
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e
            self.world.over = True


class Verbs(Worker):
    """Over a connection to the control socket."""

    def __init__(self, world):
        super().__init__(world)
        self.control = Control(world.pool)

    def name(self):
        return self.rnd.choice(NAMES)

    def request(self):
        verb = self.rnd.choice(("create", "create", "snapshot", "snapshot", "delete", "rename",
                                "resize", "rollback", "rollback", "flatten", "flatten", "set",
                                "list", "show", "map", "diff", "status"))
        if verb == "create":
            origin = self.rnd.choice((None, str(self.world.base_path), "thin:" + self.name()))
            args = {"name": self.name(), "size": self.rnd.choice(SIZES)}
            return verb, args if not origin else {**args, "origin": origin}
        if verb == "snapshot":
            pairs = [self.name() for _ in range(2 * self.rnd.choice((1, 1, 2)))]
            kind = self.rnd.choice(("readonly", "writable"))
            return verb, {"pairs": pairs, kind: True}
        if verb == "delete":
            names = [self.name() for _ in range(self.rnd.choice((1, 1, 2)))]
            return verb, {"names": names, "force": self.rnd.random() < 0.5}
        if verb == "set":
            setting = self.rnd.choice(("readonly=true", "readonly=false", "origin=",
                                       f"origin={self.world.base_path}"))
            return verb, {"name": self.name(), "settings": [setting], "force": True}
        two = {"rename": ("old", "new"), "rollback": ("name", "snapshot"),
               "diff": ("old", "new")}
        if verb in two:
            return verb, {key: self.name() for key in two[verb]}
        if verb in ("list", "status"):
            return verb, {}
        args = {"name": self.name()}
        if verb == "resize":
            args.update(size=self.rnd.choice(SIZES), force=True)
        if verb == "flatten" and self.rnd.random() < 0.5:
            args["rate"] = "10M/s"
        return verb, args

    def turn(self):
        verb, args = self.request()
        if verb == "flatten" and self.rnd.random() < 0.1:
            self.leave(verb, args)
            return
        answer = self.control.ask(verb, args)
        should(answer is not None and "reply" in answer, verb, args, "was answered", answer)
        error = answer["reply"].get("error")
        self.count[verb, error["code"] if error else "done"] += 1
        if error:
            should(error["code"] in EXPECTED, verb, args, error)
            should(error["code"] != "EINVAL" or verb in MAY_BE_INVALID, verb, args, error)
            should(not any(n in error["message"] for n in NEVER), verb, args, error)
            should("\n" not in error["message"] and len(error["message"]) > 8, error)

    def leave(self, verb, args):
        """Hang up in the middle of it."""
        self.control.s.sendall(b'{"id": 3, "request": {"verb": "%s", "args": {"name": "%s"}}}\n'
                               % (verb.encode(), args["name"].encode()))
        time.sleep(self.rnd.random() * 0.01)
        self.control.close()
        self.control = Control(self.world.pool)
        self.count[verb, "left"] += 1


class Client(Worker):
    """Writes to a volume, whichever it is, and looks at all of it."""

    def turn(self):
        import nbd  # pylint: disable=import-outside-toplevel
        h = nbd.NBD()
        h.set_export_name(self.rnd.choice(NAMES))
        try:
            h.connect_unix(str(self.world.pool.socket))
        except nbd.Error:
            self.count["not there"] += 1
            return
        try:
            if not h.is_read_only():
                self.write(h)
            self.look(h)
            h.shutdown()
        except nbd.Error:
            # Taken away (delete --force).  Not the server's death: see the end.
            self.count["taken away"] += 1

    def write(self, h):
        size = h.get_size() // SECTOR
        with self.world.lock:
            magic, lineage, *_ = STAMP.unpack_from(h.pread(SECTOR, 0))
            if magic != MAGIC:
                self.world.lineages += 1
                lineage = self.world.lineages
            # Also where it was seen in an origin, which the volume may lose.
            h.pwrite(stamp(lineage, 0, 0), 0)
        for _ in range(self.rnd.randint(0, 12)):
            first = self.rnd.randrange(1, size - 1)
            count = min(self.rnd.choice((1, 8, 128)), size - first)
            dice = self.rnd.random()
            if dice < 0.7:
                data = b"".join(stamp(lineage, 0, s) for s in range(first, first + count))
                h.pwrite(data, first * SECTOR)
            elif dice < 0.8:
                h.zero(count * SECTOR, first * SECTOR)
            elif dice < 0.9 and first > 128:  # not the block that says whose it is
                h.trim(count * SECTOR, first * SECTOR)
            else:
                h.flush()
        self.count["written"] += 1

    def look(self, h):
        size = h.get_size()
        data = bytearray().join(h.pread(min(1 << 18, size - at), at)
                                for at in range(0, size, 1 << 18))
        # Others write meanwhile: whose it is stands there before anything else.
        data[:SECTOR] = h.pread(SECTOR, 0)
        self.world.check(data, h.get_export_name(), while_written=True)
        self.count["looked at"] += 1


class World:
    """The pool."""

    def __init__(self, work, rnd, seconds):
        self.rnd, self.pool = rnd, Pool(work)
        self.base_path = work / "base"
        data = rnd.randbytes(1_000_000)
        self.base_path.write_bytes(data)
        self.base = split(data)
        self.lock, self.lineages, self.over = threading.Lock(), 0, False
        self.pool.t("init", "--data-size", "1G", "--metadata-size", "16M")
        self.pool.start()
        self.until = time.monotonic() + seconds
        self.workers = [Verbs(self) for _ in range(VERBS)]
        self.workers += [Client(self) for _ in range(CLIENTS)]

    def check(self, data, name, while_written=False):
        """What a volume may hold."""
        sectors = split(data)
        whose = STAMP.unpack_from(sectors[0])
        whose = whose[1] if whose[0] == MAGIC else None
        for s, found in enumerate(sectors):
            may = [ZEROS] + ([self.base[s]] if s < len(self.base) else []) + \
                ([stamp(whose, 0, s)] if whose is not None else [])
            # Some volumes end in the middle of a sector, and may have grown since.
            cut = max((size % SECTOR for size in SIZES if size // SECTOR == s), default=0)
            if cut:
                may += [m[:cut].ljust(SECTOR, b"\0") for m in may]
            should(found in may or (while_written and is_mixture(found, may)), name,
                   "sector", s, "of lineage", whose, "has", found[:64].hex())

    def live(self):
        for w in self.workers:
            w.start()
        for w in self.workers:
            w.join(timeout=max(0, self.until - time.monotonic()) + 120)
            should(not w.is_alive(), type(w).__name__, "got no answer for two minutes")
        for w in self.workers:
            if w.wrong:
                raise w.wrong
        should(self.pool.alive(), "the server died:", self.pool.said()[-3000:])
        told = [line for line in self.pool.said().splitlines()
                if any(n in line for n in NEVER)]
        should(not told, "clients were told:", *told)

    def end(self):
        """By a server that has finished what was interrupted; and without one."""
        self.pool.stop()
        self.pool.start()
        for name in self.pool.names():
            self.check(self.pool.read_all(name), name)
        self.pool.stop()
        self.pool.check()
        left = set(os.listdir(self.pool.path / "volumes"))
        left -= {name + ".conf" for name in self.pool.names()}
        should(not left, "left over:", left)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10)
    args = parser.parse_args()
    need()
    seed = seed_from_environment()
    with story(seed, "--seconds", args.seconds, tmp=in_memory()) as (work, rnd):
        world = World(work, rnd, args.seconds)
        try:
            world.live()
            world.end()
        finally:
            world.pool.kill()
        total = collections.Counter()
        for w in world.workers:
            total.update(w.count)
        print(" ", ", ".join(f"{k if isinstance(k, str) else ' '.join(k)} {n}"
                             for k, n in sorted(total.items(), key=str)))


if __name__ == "__main__":
    main()
