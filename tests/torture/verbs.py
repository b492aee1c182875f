#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 in the middle of each verb: it was done, or it was not (P11, I12).

    verbs.py [KILLS]

By turns the server is killed that does a verb, and the command line that does
it to a pool that nobody serves.  The verbs are all that change something:
known.py.  The moment is chosen from the time that the verb takes.  Afterwards
nothing needs repair: the list is what it was before the verb or what it should be
after it; so are the pool's sizes and dm-thin's numbers, and each volume's content;
thin_dump names the same devices; no file is left over.  200 kills unless told
otherwise; THINBD_VERB_KILLS.
"""

import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import (CLI, Failed, Pool, in_memory, need, run, seed_from_environment, should,
                    story)
from known import BLOCK, Verbs, facts_of, volumes_of

FILES = {"pool.conf", "metadata", "data", "volumes", "lock", "control"}


class World:
    """The pool, and what is known of it."""

    def __init__(self, work, rnd):
        self.rnd = rnd
        self.pool = Pool(work)
        base = work / "base"
        base.write_bytes(rnd.randbytes(400_001))
        self.verbs = Verbs(rnd, base)
        self.volumes = {}
        self.took = {}
        self.count = {}
        self.pool.t("init", "--data-size", "256M", "--metadata-size", "2M")
        self.facts = facts_of(self.pool, frozenset())

    def spawn(self, words):
        return subprocess.Popen([str(CLI), "--pool", str(self.pool.path), *words],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def fill(self):
        """The volumes that can be written to get something new."""
        for name, v in self.volumes.items():
            if v.readonly or self.rnd.random() < 0.5:
                continue
            h = self.pool.connect(name)
            at = self.rnd.randrange(len(v.content))
            data = self.rnd.randbytes(self.rnd.randint(1, min(len(v.content) - at, BLOCK)))
            h.pwrite(data, at)
            h.flush()
            h.shutdown()
            self.volumes[name] = v.written(at, data)
        self.wait_unused()

    def wait_unused(self):
        """The server hears of a hang-up a moment later."""
        for _ in range(1000):
            if self.pool.json("status")["clients"] == 0:
                return
            time.sleep(0.002)
        raise Failed("clients that are gone are still counted")

    def turn(self, served):
        """One verb.  Returns whether anybody was killed in it."""
        if served:
            self.pool.start()
            self.fill()
        verb, words, *after = self.verbs.choose(self.volumes, self.facts)
        kind = verb, served
        began = time.monotonic()
        process = self.spawn(words)
        kill = kind in self.took and self.rnd.random() < 0.9
        if kill:
            time.sleep(self.rnd.random() * 1.2 * self.took[kind])
            if served:
                self.pool.kill()
            else:
                process.kill()
        said = process.communicate()[0]
        if not kill:
            should(process.returncode == 0, *words, said)
            self.took[kind] = time.monotonic() - began
        if served and not kill:
            self.pool.stop()
        self.settle(words, after, done=process.returncode == 0)
        self.count[kind] = self.count.get(kind, 0) + kill
        return kill

    def settle(self, words, after, done):
        """It was done, or it was not; who said it was has done it."""
        if self.rnd.random() < 0.2:  # a second kill, in what the first left to do
            self.pool.start()
            time.sleep(self.rnd.random() * 0.01)
            self.pool.kill()
        there, unnamed, facts, contents = self.look()
        self.volumes, self.facts = self.which(words, after, done, there, facts, contents)
        self.pool.check(oracle=self.rnd.random() < 0.1, unnamed=unnamed)
        left = set(os.listdir(self.pool.path)) - FILES
        left |= set(os.listdir(self.pool.path / "volumes")) ^ {n + ".conf" for n in there}
        should(not left, words, "left files, which opening did not remove:", left)

    def look(self):
        """By a server: it finishes what was begun; who may only look does not.  A volume
        that was being flattened it serves meanwhile, with its origin, for a moment."""
        self.pool.start()
        while any(self.pool.json("show", v["name"])["flattening"]
                  for v in self.pool.json("list") if v["origin"]):
            time.sleep(0.002)
        there, unnamed = volumes_of(self.pool.json("list"))
        facts = facts_of(self.pool, unnamed)
        contents = {name: self.pool.read_all(name) for name in there}
        self.pool.stop()
        return there, unnamed, facts, contents

    def which(self, words, after, done, there, facts, contents):
        """Which of the two states that it may be in."""
        before = [] if done else [(self.volumes, self.facts)]
        states = [(v, f) for v, f in [after, *before]
                  if f == facts and there == {n: x.looks() for n, x in v.items()}]
        should(states, words, "done" if done else "killed", "left", there, facts, "before:",
               {n: v.looks() for n, v in self.volumes.items()}, self.facts)
        for volumes, _ in states:
            wrong = [n for n, v in volumes.items() if v.content != contents[n]]
            if not wrong:
                return dict(volumes), facts
        raise Failed(*words, "changed the content of", *wrong)


def killed_init(work, rnd):
    """What is left is a pool; or nothing; or something that --force overwrites, since
    without a pool.conf nobody knows what the metadata are."""
    pool = Pool(work, "young")
    began = time.monotonic()
    pool.t("init", "--data-size", "64M")
    took = time.monotonic() - began
    for _ in range(10):
        run("rm", "-rf", pool.path)
        with subprocess.Popen([str(CLI), "--pool", str(pool.path), "init", "--data-size",
                               "64M"], stdout=subprocess.DEVNULL) as process:
            time.sleep(rnd.random() * 1.2 * took)
            process.kill()
        said = pool.t("init", "--data-size", "64M", "--if-not-exists", ok=(0, 1))
        if "--force" in said:
            pool.t("init", "--data-size", "64M", "--force")
        pool.t("create", "v", "--size", "1M")
        pool.check(oracle=False)


def main():
    need()
    kills = int(sys.argv[1] if len(sys.argv) > 1 else
                os.environ.get("THINBD_VERB_KILLS", 200))
    seed = seed_from_environment()
    began = time.monotonic()
    with story(seed, kills, tmp=in_memory()) as (work, rnd):
        killed_init(work, rnd)
        world = World(work, rnd)
        try:
            turns = 0
            while kills > 0:
                turns += 1
                kills -= world.turn(served=turns % 2 == 0)
        finally:
            world.pool.kill()
        print(f"{turns} verbs in {time.monotonic() - began:.0f} s; killed in:", ", ".join(
            f"{verb}{' (served)' if served else ''} {n}"
            for (verb, served), n in sorted(world.count.items())))


if __name__ == "__main__":
    main()
