#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 in the middle of each verb: it was done, or it was not (P11, I12).

    verbs.py [KILLS]

By turns the server is killed that does a verb, and the command line that does
it to a pool that nobody serves.  The moment is chosen from the time that the
verb takes.  Afterwards nothing needs repair: the list is what it was before the
verb or what it should be after it; each volume's content too; thin_dump names the
same devices; no file is left over.  200 kills unless told otherwise;
THINBD_VERB_KILLS.
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

BLOCK = 65536
MAX_VOLUMES = 8
FILES = {"pool.conf", "metadata", "data", "volumes", "lock", "control"}


class Volume:
    """As the list shows it, and its bytes."""

    def __init__(self, content, readonly=False, description="", origin=False, parent=None):
        self.content, self.readonly, self.description = content, readonly, description
        self.origin, self.parent = origin, parent

    def but(self, **changes):
        other = Volume(self.content, self.readonly, self.description, self.origin,
                       self.parent)
        for key, value in changes.items():
            setattr(other, key, value)
        return other

    def looks(self):
        return len(self.content), self.readonly, self.description, self.origin


class Verbs:
    """Each returns the words, and what the volumes are afterwards; None: not now."""

    def __init__(self, rnd, base_path, base):
        self.rnd, self.base_path, self.base = rnd, base_path, base
        self.numbers = 0

    def new_name(self, prefix):
        self.numbers += 1
        return f"{prefix}{self.numbers}"

    def pick(self, volumes, what=lambda v: True):
        names = [n for n, v in volumes.items() if what(v)]
        return self.rnd.choice(names) if names else None

    def create(self, volumes):
        if len(volumes) >= MAX_VOLUMES:
            return None
        name = self.new_name("v")
        if self.rnd.random() < 0.5:
            return ("create", name, "--origin", self.base_path), \
                {**volumes, name: Volume(self.base, origin=True)}
        size = self.rnd.randrange(1, 1 << 20)
        return ("create", name, "--size", size), {**volumes, name: Volume(bytes(size))}

    def snapshot(self, volumes):
        count = self.rnd.choice((1, 1, 2, 3))
        if not volumes or len(volumes) + count > MAX_VOLUMES:
            return None
        words, after = ["snapshot"], dict(volumes)
        for _ in range(count):
            source, name = self.pick(volumes), self.new_name("s@")
            words += [source, name]
            after[name] = volumes[source].but(readonly=True, description="",
                                              parent=source)
        return words, after

    def delete(self, volumes):
        if len(volumes) < 4:
            return None
        names = self.rnd.sample(sorted(volumes), self.rnd.randint(1, 3))
        return ("delete", *names), {n: v for n, v in volumes.items() if n not in names}

    def rename(self, volumes):
        old = self.pick(volumes)
        if not old:
            return None
        new = self.new_name("s@" if "@" in old else "r")
        after = {new if n == old else n: v for n, v in volumes.items()}
        for n, v in after.items():
            if v.parent == old:
                after[n] = v.but(parent=new)
        return ("rename", old, new), after

    def set(self, volumes):
        name = self.pick(volumes)
        if not name:
            return None
        v = volumes[name]
        text = f"number {self.rnd.randrange(1000)}"
        changed = v.but(readonly=not v.readonly, description=text)
        return ("set", name, f"readonly={str(changed.readonly).lower()}",
                f"description={text}"), {**volumes, name: changed}

    def resize(self, volumes):
        name = self.pick(volumes, lambda v: not v.readonly and not v.origin)
        if not name:
            return None
        size = self.rnd.randrange(1, 2 << 20)
        content = volumes[name].content[:size].ljust(size, b"\0")
        return ("resize", name, size, "--force"), \
            {**volumes, name: volumes[name].but(content=content)}

    def rollback(self, volumes):
        snapshot = self.pick(volumes, lambda v: v.parent in volumes and
                             not volumes[v.parent].readonly)
        if not snapshot:
            return None
        name = volumes[snapshot].parent
        changed = volumes[name].but(content=volumes[snapshot].content,
                                    origin=volumes[snapshot].origin)
        return ("rollback", name, snapshot), {**volumes, name: changed}

    def flatten(self, volumes):
        name = self.pick(volumes, lambda v: v.origin)
        if not name:
            return None
        return ("flatten", name), {**volumes, name: volumes[name].but(origin=False)}

    ALL = ("create", "snapshot", "delete", "rename", "set", "resize", "rollback", "flatten")


class World:
    """The pool, and what is known of it."""

    def __init__(self, work, rnd):
        self.rnd = rnd
        self.pool = Pool(work)
        base = work / "base"
        base.write_bytes(rnd.randbytes(400_001))
        self.verbs = Verbs(rnd, base, base.read_bytes())
        self.volumes = {}
        self.took = {}
        self.count = {}
        self.pool.t("init", "--data-size", "256M", "--metadata-size", "2M")

    def choose(self):
        while True:
            verb = self.rnd.choice(Verbs.ALL)
            chosen = getattr(self.verbs, verb)(self.volumes)
            if chosen:
                return verb, [str(w) for w in chosen[0]], chosen[1]

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
            self.volumes[name] = v.but(content=v.content[:at] + data +
                                       v.content[at + len(data):])
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
        verb, words, after = self.choose()
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
        there = {v["name"]: (v["size"], v["readonly"], v["description"],
                             v["origin"] is not None) for v in self.pool.json("list")}
        states = [state for state in (after, None if done else self.volumes) if state is not
                  None and there == {n: v.looks() for n, v in state.items()}]
        should(states, words, "done" if done else "killed", "left", there, "before:",
               {n: v.looks() for n, v in self.volumes.items()})
        self.pool.t("check")
        self.volumes = self.look(words, states)
        self.pool.check(oracle=self.rnd.random() < 0.1)
        left = set(os.listdir(self.pool.path)) - FILES
        left |= set(os.listdir(self.pool.path / "volumes")) ^ {n + ".conf" for n in there}
        should(not left, words, "left files, which opening did not remove:", left)

    def look(self, words, states):
        self.pool.start()
        contents = {name: self.pool.read_all(name) for name in states[0]}
        self.pool.stop()
        wrong = []
        for state in states:
            wrong = [n for n, v in state.items() if v.content != contents[n]]
            if not wrong:
                return dict(state)
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
        print(f"{turns} verbs; killed in:", ", ".join(
            f"{verb}{' (served)' if served else ''} {n}"
            for (verb, served), n in sorted(world.count.items())))


if __name__ == "__main__":
    main()
