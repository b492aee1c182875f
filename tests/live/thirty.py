#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Thirty volumes over one image, in use, while the command line does all it can.

    thirty.py [--seconds N]

  ten      are written and verified by fio
  eight    by clients that remember what they wrote (writer.py); their snapshots
           must be of one instant, those of a group of the same one (I8)
  twelve   stand still, and are known to the byte (tests/torture/known.py)

Meanwhile three command lines, each in a thread: one makes groups of snapshots of
the first two kinds, looks at them and deletes them; one does every verb to the
third kind and to the pool; one flattens volumes of the first two kinds.  No request
fails, no byte is wrong, and in the end all auditors are content (P1, P7, P8, P13).

15 seconds unless told otherwise; THINBD_LIVE_SECONDS.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import (CLI, Failed, Pool, in_memory, need, seed_from_environment, should,
                    story)
from known import Verbs, facts_of, volumes_of
from writer import Log, Wrong

SIZE = 8 << 20
FIOS, WRITERS, STILL = 10, 8, 12
MAX_SNAPSHOTS = 16
MAX_NEW = 20            # groups that were not looked at: who is fast fills the pool


# --- those who write ------------------------------------------------------------------

class Fio:
    """All the volumes of fio, in one process."""

    def __init__(self, pool, names, seconds, work):
        self.out = work / "fio.json"
        words = ["fio", "--ioengine=nbd", f"--size={SIZE}", "--rw=randwrite",
                 "--bsrange=512-64k", "--iodepth=4", "--serialize_overlap=1", "--thread",
                 "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=32",
                 "--verify_state_save=0", "--fsync=64", "--thinktime=8000",
                 "--thinktime_blocks=4",
                 "--time_based", f"--runtime={seconds}", "--output-format=json",
                 f"--output={self.out}"]
        for name in names:
            words += [f"--name={name}", f"--uri={pool.uri(name)}"]
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=work)

    def finish(self):
        said = self.process.communicate()[0]
        should(self.process.returncode == 0, "fio:", said)
        jobs = json.loads(self.out.read_text()[self.out.read_text().index("{"):])["jobs"]
        should(len(jobs) == FIOS and all(j["error"] == 0 for j in jobs), "fio's jobs failed")
        waits = [j["write"]["clat_ns"] for j in jobs]
        ops = sum(j["write"]["total_ios"] for j in jobs)
        p99 = max(w["percentile"]["99.000000"] for w in waits)
        print(f"  fio: {ops} writes; p99 of the slowest of {FIOS} {p99 / 1e6:.1f} ms, "
              f"worst {max(w['max'] for w in waits) / 1e6:.1f} ms")


class Writers:
    """Clients that remember; a process each."""

    def __init__(self, world, names):
        self.logs, self.processes = {}, {}
        until = time.monotonic() + world.seconds
        for i, name in enumerate(names, 1):
            path = world.work / f"{name}.log"
            path.touch()
            self.logs[name] = Log(path, i, world.base, SIZE)
            self.processes[name] = subprocess.Popen(
                [str(pathlib.Path(__file__).with_name("writer.py")), str(world.pool.socket),
                 name, str(path), str(i), str(world.base_path), str(SIZE),
                 str(world.rnd.randrange(1 << 30)), str(until)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self):
        took = []
        for name, process in self.processes.items():
            out, err = process.communicate()
            should(process.returncode == 0, name, ":", err)
            took += map(float, out.split())
            self.logs[name].update()
        took.sort()
        print(f"  clients: {len(took)} writes; p99 {took[len(took) * 99 // 100] * 1e3:.1f} "
              f"ms, worst {took[-1] * 1e3:.1f} ms")


# --- command lines -----------------------------------------------------------------------

class CommandLine(threading.Thread):
    """Does something again and again until it is told to end."""

    def __init__(self, world):
        super().__init__()
        self.world, self.rnd = world, random.Random(world.rnd.random())
        self.wrong, self.done = None, {}

    def run(self):
        try:
            while not self.world.over.is_set():
                self.turn()
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e
            self.world.over.set()

    def t(self, *words):
        began = time.monotonic()
        text = self.world.pool.t(*words)
        self.world.note(began, *words)
        self.done[words[0]] = self.done.get(words[0], 0) + 1
        return text


class Snapshots(CommandLine):
    """Groups of snapshots of the volumes that are written."""

    def __init__(self, world, names):
        super().__init__(world)
        self.names = names
        self.new = []       # groups: what was asked for, and when
        self.old = {}       # what they hold
        self.count = 0

    def turn(self):
        dice = self.rnd.random()
        if len(self.old) >= MAX_SNAPSHOTS:
            self.delete()
        elif dice < 0.4 and len(self.new) < MAX_NEW:
            self.snapshot()
        elif self.new and dice < 0.7:
            self.look(self.new.pop(0))
        elif self.old and dice < 0.8:
            self.look_again()
        else:
            name = self.rnd.choice(self.names)
            self.t(*self.rnd.choice((("list",), ("status",), ("map", name), ("show", name),
                                     ("list", "--tree"), ("status", "--dm"), ("check",))))

    def snapshot(self):
        sources = self.rnd.sample(self.names, self.rnd.choice((1, 2, 4)))
        self.count += 1
        pairs = {f"{s}@{self.count}": s for s in sources}
        begin = time.monotonic()
        self.t("snapshot", *(w for n, s in pairs.items() for w in (s, n)))
        self.new.append((pairs, begin, time.monotonic()))

    def look(self, group):
        """At each of a group: one instant for all of them."""
        pairs, begin, end = group
        first, last = -1.0, float("inf")
        for name, source in pairs.items():
            data = self.world.pool.read_all(name)
            self.old[name] = hashlib.sha256(data).digest()
            log = self.world.writers.logs.get(source)
            if not log:
                continue
            log.update()
            low, high = log.instant(data, begin, end)
            first, last = max(first, low), min(last, high)
        should(first <= last, "a group of no instant:", *pairs, "after", first, "before", last)

    def look_again(self):
        name = self.rnd.choice(sorted(self.old))
        data = self.world.pool.read_all(name)
        should(hashlib.sha256(data).digest() == self.old[name], name, "has changed")

    def delete(self):
        names = self.rnd.sample(sorted(self.old), self.rnd.randint(1, 8))
        # Who hung up may be counted as a client for a moment.
        self.t("delete", "--force", *names)
        for n in names:
            del self.old[n]

    def finish(self):
        while self.new:
            self.look(self.new.pop(0))
        for _ in range(4):
            if self.old:
                self.look_again()


class Still(CommandLine):
    """Every verb, on volumes that nobody else uses, and on the pool."""

    def __init__(self, world, verbs, volumes, facts):
        super().__init__(world)
        self.verbs, self.volumes, self.facts = verbs, volumes, facts

    def turn(self):
        if self.rnd.random() < 0.4:
            self.write()
        verb, words, volumes, facts = self.verbs.choose(self.volumes, self.facts)
        if verb in ("delete", "rollback", "resize", "set", "set_origin"):
            self.wait_unused()
        self.t(*words)
        self.volumes, self.facts = volumes, facts

    def write(self):
        name = self.verbs.pick(self.volumes, lambda n, v: not v.readonly)
        if not name:
            return
        v = self.volumes[name]
        h = self.world.pool.connect(name)
        at = self.rnd.randrange(len(v.content))
        data = self.rnd.randbytes(min(len(v.content) - at, self.rnd.choice((1, 512, 65536))))
        h.pwrite(data, at)
        h.shutdown()
        self.volumes = {**self.volumes, name: v.written(at, data)}

    def wait_unused(self):
        """The server hears of a hang-up a moment later."""
        deadline = time.monotonic() + 60
        while any(v["clients"] for v in self.world.pool.json("list", *self.volumes)):
            should(time.monotonic() < deadline, "clients that are gone are still counted")

    def look(self):
        for name, v in self.volumes.items():
            should(self.world.pool.read_all(name) == v.content, name, "has other bytes")

    def finish(self):
        self.look()


class Flatten(CommandLine):
    """Volumes that are written, one after the other; some of it is cancelled."""

    def __init__(self, world, names):
        super().__init__(world)
        self.names = list(names)
        self.rnd.shuffle(self.names)

    def turn(self):
        if not self.names:
            self.world.over.wait(1)
            return
        name = self.names.pop()
        if self.rnd.random() < 0.5:
            self.cancel(name)
        self.t("flatten", name, *self.rnd.choice(((), ("--rate", "16M/s"))))
        should(self.world.pool.json("show", name)["origin"] is None, name, "has an origin")
        self.world.over.wait(self.world.seconds / 30)

    def cancel(self, name):
        """Whatever became of it: it can be done again."""
        with subprocess.Popen([str(CLI), "--pool", str(self.world.pool.path), "flatten", name,
                               "--rate", "4M/s"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            time.sleep(self.rnd.random())
            process.kill()

    def finish(self):
        pass


# --- all of it ---------------------------------------------------------------------------

class World:
    """The pool, and all who use it."""

    def __init__(self, work, rnd, seconds):
        self.work, self.rnd, self.seconds = work, rnd, seconds
        self.over = threading.Event()
        self.contents = {}
        self.pool = Pool(work)
        self.pool.t("init", "--data-size", "2G", "--metadata-size", "16M", "--set",
                    "auto_extend_step=0")
        self.base_path = work / "base"
        self.base = self.make_base()
        fio = [f"fio{i}" for i in range(FIOS)]
        known = [f"known{i}" for i in range(WRITERS)]
        self.pool.start()
        for name in fio + known:
            self.pool.t("create", name, "--origin", self.base_path)
        self.still = self.make_still()
        self.writers = Writers(self, known)
        self.fio = Fio(self.pool, fio, seconds, work)
        self.lines = [Snapshots(self, fio + known), self.still, Flatten(self, fio + known)]

    def note(self, began, *words):
        """What the command line did, and how long it took, is in verbs.log."""
        with open(self.work / "verbs.log", "a", encoding="utf-8") as f:
            print(f"{began:.6f} {time.monotonic() - began:.6f}", *words, file=f)

    def make_base(self):
        data = bytearray(self.rnd.randbytes(SIZE))
        for at in range(0, SIZE, 1 << 20):  # holes
            data[at:at + 200_000] = bytes(200_000)
        self.base_path.write_bytes(data)
        return bytes(data)

    def make_still(self):
        """The third kind: its verbs begin with twelve that are there."""
        verbs = Verbs(self.rnd, self.base_path, prefix="still.")
        verbs.most, verbs.largest = STILL + 8, 1 << 19
        volumes, facts = {}, facts_of(self.pool, frozenset())
        while len(volumes) < STILL:
            words, volumes, _ = verbs.create(volumes, facts)
            self.pool.t(*words)
        return Still(self, verbs, volumes, facts)

    def live(self):
        for line in self.lines:
            line.start()
        with contextlib.ExitStack() as stack:
            stack.callback(self.join)
            self.writers.finish()
            self.fio.finish()

    def join(self):
        self.over.set()
        for line in self.lines:
            line.join()
        for line in self.lines:
            if line.wrong:
                raise line.wrong

    def end(self):
        """Everything is as it should be; then, as it is on disk."""
        for line in self.lines:
            line.finish()
        self.contents = {name: log.content(len(log.start) - 1)
                         for name, log in self.writers.logs.items()}
        self.equal()
        self.pool.stop()
        there, unnamed = volumes_of(self.pool.json("list"))
        still = self.still
        facts = facts_of(self.pool, unnamed)
        should(facts == still.facts, "the pool has", facts, "and should have", still.facts)
        mine = {n: x for n, x in there.items() if n.startswith("still.")}
        should(mine == {n: v.looks() for n, v in still.volumes.items()}, "the list is", mine)
        self.pool.check(unnamed=unnamed)
        self.pool.start()
        self.equal()
        still.look()
        self.pool.stop()

    def equal(self):
        for name, content in self.contents.items():
            should(self.pool.read_all(name) == content, name, "is not what was written")

    def kill(self):
        self.over.set()
        for process in (self.fio.process, *self.writers.processes.values()):
            process.kill()
            process.wait()
        self.pool.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int,
                        default=int(os.environ.get("THINBD_LIVE_SECONDS", 15)))
    args = parser.parse_args()
    need("fio")
    seed = seed_from_environment()
    with story(seed, "--seconds", args.seconds, tmp=in_memory()) as (work, rnd):
        world = World(work, rnd, args.seconds)
        try:
            world.live()
            world.end()
        except Wrong as e:
            raise Failed(e) from e
        finally:
            world.kill()
        done = {}
        for line in world.lines:
            for verb, n in line.done.items():
                done[verb] = done.get(verb, 0) + n
        print(f"  {sum(done.values())} verbs:", ", ".join(
            f"{verb} {n}" for verb, n in sorted(done.items())))


if __name__ == "__main__":
    main()
