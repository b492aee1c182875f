#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A real server, real clients, a real command line; and kill -9.

    torture.py [--rounds N | --long]

Four clients on several connections write, read, zero, trim and flush volumes
while the command line makes, snapshots, deletes, renames, resizes, rolls back
and sets others.  At a random moment the server is killed.  Then (P1, P2, P3,
P7, P11, I7, I8):

  - each sector has its flushed value or one that came later, whole;
  - each snapshot is of one instant, a group of them of the same one;
  - the verb that was under way was done, or was not;
  - thinbd check, thin_check, and an auditor that shares no code are content.

A pool lives for a few rounds, then one with another geometry takes its place.
30 rounds unless told otherwise; THINBD_TORTURE_ROUNDS; --long is 1000.  What is
repeated by a seed is a pool's life; when threads meet is not up to it.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import CLI, Failed, Pool, need, seed_from_environment, should, story
from history import (FIRST, FOREVER, O, SECTOR, Z, Base, History, Write, Wrong, stamped,
                     values_of)

CLIENTS = 4
MAX_VOLUMES = 10
BLOCKS = ("4K", "8K", "16K", "64K", "64K", "128K", "192K", "256K", "1M")


class Volume:
    """What is known of one: as the list shows it, and what it holds."""

    def __init__(self, size, history, readonly=False, description="", cut=None):
        self.size, self.history, self.readonly = size, history, readonly
        self.description = description
        self.cut = cut          # a snapshot of this round: (start, end, group)
        self.shrunk = None      # to what, at least: the origin shows up to there
        self.old_size = size    # until it is looked at: what came is origin or zeros

    def copy(self, **changes):
        other = Volume(self.size, self.history, self.readonly, self.description, self.cut)
        other.old_size, other.shrunk = self.old_size, self.shrunk
        for key, value in changes.items():
            setattr(other, key, value)
        return other

    def looks(self):
        return self.size, self.readonly, self.description


# --- clients -------------------------------------------------------------------------

class Client(threading.Thread):
    """Works until the server is gone."""

    def __init__(self, world, rnd, names):
        super().__init__()
        self.world, self.rnd = world, rnd
        self.places = []
        for name in names:
            for _ in range(rnd.randint(1, 2)):
                self.places.append((world.volumes[name].history, world.pool.connect(name)))
        self.wrong = None
        self.operations = 0

    def run(self):
        import nbd  # pylint: disable=import-outside-toplevel
        try:
            while not self.world.killed.is_set():
                self.work()
                self.operations += 1
        except nbd.Error as e:
            if not self.world.killed.is_set():
                self.wrong = e
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e

    def some_range(self, history):
        count = self.rnd.randint(1, self.rnd.choice((1, 8, 8, 64, 256)))
        sector = self.rnd.randrange(len(history))
        return sector, min(count, len(history) - sector)

    def work(self):
        history, h = self.rnd.choice(self.places)
        dice = self.rnd.random()
        if dice < 0.50:
            self.write(history, h, fua=self.rnd.random() < 0.1)
        elif dice < 0.62:
            self.zero(history, h)
        elif dice < 0.70:
            self.trim(history, h)
        elif dice < 0.76:
            start = time.monotonic()
            h.flush()
            history.note_flush(start)
        else:
            self.read(history, h)

    def change(self, history, write, issue):
        """Told before it is issued; what is answered has an end."""
        write.start = time.monotonic()
        history.add(write)
        issue()
        write.end = time.monotonic()

    def write(self, history, h, fua):
        import nbd  # pylint: disable=import-outside-toplevel
        sector, count = self.some_range(history)
        w = Write(history.new_value(), sector, count, 0, fua)
        data = stamped(w.value, sector, count)
        self.change(history, w, lambda: h.pwrite(data, sector * SECTOR,
                                                 nbd.CMD_FLAG_FUA if fua else 0))

    def zero(self, history, h):
        import nbd  # pylint: disable=import-outside-toplevel
        sector, count = self.some_range(history)
        fua = self.rnd.random() < 0.1
        flags = (nbd.CMD_FLAG_FUA if fua else 0) | \
            (nbd.CMD_FLAG_NO_HOLE if self.rnd.random() < 0.3 else 0)
        self.change(history, Write(Z, sector, count, 0, fua),
                    lambda: h.zero(count * SECTOR, sector * SECTOR, flags))

    def trim(self, history, h):
        """What it covers in part it leaves alone."""
        block = self.world.block // SECTOR
        sector, count = self.some_range(history)
        if self.rnd.random() < 0.7:
            sector -= sector % block
            count = min(block * self.rnd.randint(1, 3), len(history) - sector)
        begin, end = -(-sector // block) * block, sector + count
        if end != len(history):
            end = end // block * block
        self.change(history, Write(O, begin, max(0, end - begin), 0),
                    lambda: h.trim(count * SECTOR, sector * SECTOR))

    def read(self, history, h):
        sector, count = self.some_range(history)
        start = time.monotonic()
        data = h.pread(count * SECTOR, sector * SECTOR)
        end = time.monotonic()
        torn = []
        values = values_of(data, history.base, sector, torn)
        history.check_torn(torn, start, end)
        history.check_read(values, sector, start, end)


# --- the command line ----------------------------------------------------------------

class Verbs(threading.Thread):
    """Says what the volumes will be like, does it, and notes that it was done."""

    def __init__(self, world, rnd, busy):
        super().__init__()
        self.world, self.rnd, self.busy = world, rnd, busy
        self.wrong = None
        self.done = {}

    def run(self):
        try:
            while not self.world.killed.is_set():
                getattr(self, self.rnd.choice(self.CHOICES))()
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e

    CHOICES = ("snapshot", "snapshot", "snapshot", "group", "create", "delete", "rename",
               "resize", "rollback", "set", "look")

    def do(self, after, *words):
        """With `after` as what it comes to, None: nothing.  True: it was done."""
        self.world.pending = after
        self.world.note(*words)
        done = subprocess.run([str(CLI), "--pool", str(self.world.pool.path),
                               *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        self.world.note(f"  {done.returncode} {done.stdout.strip()[:200]}")
        if done.returncode == 0:
            if after is not None:
                self.world.volumes = after
            self.world.pending = None
            self.done[words[0]] = self.done.get(words[0], 0) + 1
            return True
        # A verb that was refused though nobody was killed is not in order.
        time.sleep(0.02)
        if not self.world.killed.is_set():
            raise Failed(*words, f": exit {done.returncode}:", done.stdout)
        return False

    def pick(self, what):
        names = [n for n, v in self.world.volumes.items() if what(n, v)]
        return self.rnd.choice(names) if names else None

    def idle(self, name, volume):
        return name not in self.busy and not volume.cut

    def room(self, count=1):
        return len(self.world.volumes) + count <= MAX_VOLUMES

    def snapshots(self, sources):
        group = object()
        after = dict(self.world.volumes)
        words = []
        writable = self.rnd.random() < 0.3
        cuts = []
        for source in sources:
            name = self.world.new_name("w" if writable else "s@")
            cut = [time.monotonic(), FOREVER, group]
            cuts.append(cut)
            after[name] = after[source].copy(cut=cut, readonly=not writable,
                                             description="")
            words += [source, name]
        if self.do(after, "snapshot", *words):
            for cut in cuts:
                cut[1] = time.monotonic()

    def snapshot(self):
        source = self.pick(lambda n, v: not v.cut)
        if source and self.room():
            self.snapshots([source])

    def group(self):
        sources = [n for n, v in self.world.volumes.items() if not v.cut]
        count = min(len(sources), self.rnd.randint(2, 3))
        if count and self.room(count):
            self.snapshots(self.rnd.sample(sources, count))

    def create(self):
        if self.room():
            self.world.create(self.do, self.rnd)

    def delete(self):
        names = [n for n in self.world.volumes if n not in self.busy]
        names = self.rnd.sample(names, min(len(names), self.rnd.randint(1, 2)))
        if names and len(self.world.volumes) > 4:
            after = {n: v for n, v in self.world.volumes.items() if n not in names}
            self.do(after, "delete", *names)

    def rename(self):
        old = self.pick(lambda n, v: True)
        new = self.world.new_name("s@" if "@" in old else "r")
        after = {new if n == old else n: v for n, v in self.world.volumes.items()}
        if old in self.busy:
            self.busy.add(new)
        self.do(after, "rename", old, new)

    def resize(self):
        name = self.pick(lambda n, v: self.idle(n, v) and not v.readonly)
        if name:
            size = self.world.some_size(self.rnd)
            volume = self.world.volumes[name]
            changed = volume.copy(size=size, old_size=min(size, volume.old_size))
            if size < volume.size:
                changed.shrunk = min(size, volume.shrunk or size)
            self.do({**self.world.volumes, name: changed}, "resize", name, size, "--force")

    def rollback(self):
        """To a snapshot of it that was looked at already, and stands still."""
        name = self.pick(lambda n, v: self.idle(n, v) and not v.readonly)
        snapshot = self.pick(lambda n, v: self.idle(n, v) and
                             self.world.parents.get(n) == name)
        if name and snapshot:
            source = self.world.volumes[snapshot]
            changed = self.world.volumes[name].copy(
                size=source.size, old_size=source.old_size, history=source.history,
                shrunk=source.shrunk)
            self.do({**self.world.volumes, name: changed}, "rollback", name, snapshot)

    def set(self):
        name = self.pick(self.idle)
        if not name:
            return
        volume = self.world.volumes[name]
        if self.rnd.random() < 0.5:
            changed = volume.copy(readonly=not volume.readonly)
            word = f"readonly={str(changed.readonly).lower()}"
        else:
            changed = volume.copy(description=f"number {self.rnd.randrange(1000)}")
            word = f"description={changed.description}"
        self.do({**self.world.volumes, name: changed}, "set", name, word)

    def look(self):
        name = self.pick(lambda n, v: True)
        words = self.rnd.choice((("list",), ("status",), ("check",), ("dump",),
                                 ("map", name), ("show", name)))
        self.do(None, *words)


# --- a pool's life -------------------------------------------------------------------

class World:
    """A pool, and what is known of it."""

    def __init__(self, work, rnd):
        self.work, self.rnd = work, rnd
        self.pool = Pool(work)
        self.volumes = {}
        self.parents = {}   # of snapshots that were looked at
        self.pending = None
        self.other = None   # when the list does not tell: what it may be, too
        self.killed = threading.Event()
        self.kill_time = FOREVER
        self.numbers = 0
        self.operations = 0
        self.verbs = {}
        self.make_pool()

    def make_pool(self):
        rnd = self.rnd
        size = rnd.choice(BLOCKS)
        settings = [f"discard={rnd.choice(('passdown', 'nopassdown'))}",
                    f"io={rnd.choice(('auto', 'sync'))}",
                    f"metadata_cache={rnd.choice(('1M', '64M'))}",
                    f"direct={rnd.choice(('false', 'false', 'true'))}"]
        metadata = rnd.choice(("4M", "8M", "16M"))
        self.block = int(size[:-1]) << (20 if size[-1] == "M" else 10)
        words = ["init", "--data-size", "256M", "--block-size", size,
                 "--metadata-size", metadata]
        print(f"  blocks of {size}, {metadata} of metadata, {', '.join(settings)}")
        self.pool.t(*words, *(w for s in settings for w in ("--set", s)))
        try:
            self.pool.t("status")
        except Failed:  # O_DIRECT is not for every file system
            self.pool.t(*words, "--force", *(w for s in settings[:3] for w in ("--set", s)))
        self.base = Base(self.work / "base", rnd.randrange(300_000, 3_000_000))
        for _ in range(3):
            self.create(self.do_quietly, rnd)

    def note(self, *words):
        """What the command line did is in verbs.log."""
        with open(self.work / "verbs.log", "a", encoding="utf-8") as f:
            print(f"{time.monotonic():.6f}", *words, file=f)

    def do_quietly(self, after, *words):
        self.pool.t(*words)
        self.volumes = after
        return True

    def new_name(self, prefix):
        self.numbers += 1
        return f"{prefix}{self.numbers}"

    def some_size(self, rnd):
        return rnd.randrange(300, 8000) * SECTOR

    def begin_of(self, size, base):
        """What a volume reads as that nobody has written to."""
        return [base.value(s) if base else Z for s in range(size // SECTOR)]

    def create(self, do, rnd):
        size, name = self.some_size(rnd), self.new_name("v")
        base = self.base if rnd.random() < 0.6 else None
        volume = Volume(size, History(self.begin_of(size, base), base))
        words = ["create", name, "--size", size]
        do({**self.volumes, name: volume}, *words,
           *(("--origin", base.path) if base else ()))

    # --- a round

    def busy_volumes(self):
        names = [n for n, v in self.volumes.items() if not v.readonly]
        return self.rnd.sample(names, min(len(names), 3))

    def round(self):
        for volume in self.volumes.values():
            should(not volume.cut, "not looked at")
        self.killed.clear()
        self.pending = None
        busy = set(self.busy_volumes())
        self.note("-- clients at", *busy)
        workers = [Client(self, self.rnd_of(), self.rnd.sample(
            sorted(busy), self.rnd.randint(1, len(busy)))) for _ in range(CLIENTS)]
        workers.append(Verbs(self, self.rnd_of(), busy))
        for w in workers:
            w.start()
        time.sleep(self.moment())
        if self.pool.alive():
            self.killed.set()
            self.note("-- kill")
            self.kill_time = time.monotonic()
            self.pool.kill()
        for w in workers:
            w.join()
        self.account(workers)

    def rnd_of(self):
        import random  # pylint: disable=import-outside-toplevel
        return random.Random(self.rnd.random())

    def moment(self):
        """50 to 2000 ms, the short ones as likely as the long ones."""
        return 0.05 * 40 ** self.rnd.random()

    def account(self, workers):
        for w in workers:
            if w.wrong:
                raise w.wrong if isinstance(w.wrong, (Failed, Wrong)) else \
                    Failed(f"{type(w).__name__}: {w.wrong!r}; the server said:",
                           self.pool.said()[-1000:])
        should(self.killed.is_set(), "the server died:", self.pool.said()[-2000:])
        self.operations += sum(w.operations for w in workers[:-1])
        for verb, n in workers[-1].done.items():
            self.verbs[verb] = self.verbs.get(verb, 0) + n

    # --- afterwards

    def recover(self):
        """Start again; or be killed while at it, or let another do it first."""
        if self.rnd.random() < 0.3:
            self.pool.start()
            time.sleep(self.rnd.random() * 0.01)
            self.pool.kill()
        if self.rnd.random() < 0.3:
            self.pool.t("check")
        self.pool.start()

    def settle(self):
        """The verb that was under way was done or was not."""
        there = {v["name"]: (v["size"], v["readonly"], v["description"])
                 for v in self.pool.json("list")}
        possible = [state for state in (self.volumes, self.pending) if state is not None
                    and there == {n: v.looks() for n, v in state.items()}]
        if possible:
            self.volumes = dict(possible[0])
            # A rollback need not show in the list.
            self.other = possible[-1]
            return
        raise Failed("the list is", there, "and should be",
                     {n: v.looks() for n, v in self.volumes.items()}, "or",
                     self.pending and {n: v.looks() for n, v in self.pending.items()})

    def look(self, volume, values):
        """By the rules; what came by growing is the origin's or zeros."""
        history = volume.history
        known = min(len(history), volume.old_size // SECTOR)
        for s in range(known, len(values)):
            shows = history.base.value(s) if history.base else Z
            should(values[s] in (Z, shows), f"sector {s} came by growing:", values[s])
        if volume.cut:
            start, end, _ = volume.cut
            try:
                return history.instant(values[:known], start, end)
            except Wrong:
                # Where the server was gone the command line did it by itself.
                if end < self.kill_time:
                    raise
        history.check_crash(values[:known])
        return None

    def look_at_all(self):
        groups = {}
        for name, volume in self.volumes.items():
            data = self.pool.read_all(name)
            should(len(data) == volume.size, name, "has", len(data), "bytes")
            try:
                values = values_of(data, volume.history.base)
                try:
                    instant = self.look(volume, values)
                except (Wrong, Failed):
                    if self.other[name] is volume:
                        raise
                    instant = self.look(self.other[name], values)
                if instant:
                    low, high = groups.get(volume.cut[2], (0, FOREVER))
                    groups[volume.cut[2]] = max(low, instant[0]), min(high, instant[1])
            except (Wrong, Failed) as e:
                raise Failed(f"{name}: {e}") from e
            volume.values = values
        for low, high in groups.values():
            should(low <= high, f"a group is of no instant: after {low}, before {high}")

    def note_parents(self):
        """Who can be rolled back to what."""
        self.parents = {v["name"]: v["parent"] for v in self.pool.json("list")}

    def begin_again(self):
        """What was found is where the next round begins."""
        for volume in self.volumes.values():
            base = volume.history.base
            if base and volume.shrunk:
                base = base.below(volume.shrunk)
            volume.history = History(volume.values, base)
            volume.old_size, volume.cut = volume.size, None
        self.other = self.volumes

    def live(self, rounds):
        self.pool.start()
        for i in range(rounds):
            self.round()
            self.recover()
            self.settle()
            self.look_at_all()
            self.begin_again()
            if self.rnd.random() < 0.5 or i == rounds - 1:
                self.pool.stop()
                self.pool.check(oracle=i == rounds - 1)
                self.pool.start()
            self.note_parents()
        self.look_at_all()
        self.pool.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int,
                        default=int(os.environ.get("THINBD_TORTURE_ROUNDS", 30)))
    parser.add_argument("--long", action="store_true")
    args = parser.parse_args()
    rounds = kills = 1000 if args.long else args.rounds
    need()
    seed = seed_from_environment()
    operations, verbs, lives = 0, 0, 0
    while rounds > 0:
        with story(seed + lives, "--rounds", min(rounds, 4)) as (work, rnd):
            count = min(rounds, 4)
            world = World(work, rnd)
            try:
                world.live(count)
            finally:
                world.killed.set()
                world.pool.kill()
            operations += world.operations
            verbs += sum(world.verbs.values())
            print(f"  {count} kills, {world.operations} operations, {world.verbs}",
                  flush=True)
        rounds -= count
        lives += 1
    print(f"{kills} kills of {lives} pools' servers, {operations} operations, {verbs} verbs")


if __name__ == "__main__":
    main()
