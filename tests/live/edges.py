#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Verbs while the server comes and goes, is full, or has failed (P11, P15).

  come and go   a server is started and ended again and again while command lines
                make and delete: each call is done or says in one line why not
  crowded       ten thousand connections to the control socket, and as many held
                open as there are descriptors for; then the server has none left
  failed        a flush fails: from then on nothing can be changed, which each verb
                says; who only looks gets answers; and after a restart all is there

    edges.py [--connections N]
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
# pylint: disable=wrong-import-position
from ground import (BUILD, CLI, Failed, Pool, in_memory, need, seed_from_environment, should,
                    story)

# What it may say where it can not: somebody else has the pool just now.
IN_THE_WAY = ("in use", "is ending", "went away", "open elsewhere", "hung up")


def call(pool, *words):
    done = subprocess.run([str(CLI), "--pool", str(pool.path), *words], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=120)
    if done.returncode:
        should(done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1 and
               done.stderr.startswith("thinbd: "), words, done)
    return done


# --- come and go --------------------------------------------------------------------------

class Caller(threading.Thread):
    """Makes and deletes volumes, of names of its own; knows which ones there are."""

    def __init__(self, pool, number, rnd, over):
        super().__init__()
        self.pool, self.number, self.rnd, self.over = pool, number, rnd, over
        self.names, self.unsure, self.count = set(), set(), 0
        self.done, self.refused, self.wrong = 0, 0, None

    def run(self):
        try:
            while not self.over.is_set():
                self.turn()
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e

    def turn(self):
        if len(self.names) > 3:
            name = self.rnd.choice(sorted(self.names))
            self.change(("delete", name), set(), {name})
        elif self.names and self.rnd.random() < 0.5:
            self.count += 1
            name = f"c{self.number}@{self.count}"
            self.change(("snapshot", self.rnd.choice(sorted(self.names)), name), {name},
                        set())
        else:
            self.count += 1
            name = f"c{self.number}.{self.count}"
            self.change(("create", name, "--size", "1M"), {name}, set())

    def change(self, words, more, less):
        done = call(self.pool, *words)
        if done.returncode == 0:
            self.names = (self.names | more) - less
            self.done += 1
            return
        # It may have been done, and the answer lost.
        self.unsure |= more | less
        self.names -= less
        self.refused += 1
        should(any(w in done.stderr for w in IN_THE_WAY), words, "said", done.stderr)


def come_and_go(pool, rnd):
    over = threading.Event()
    callers = [Caller(pool, i, random.Random(rnd.random()), over) for i in range(2)]
    for c in callers:
        c.start()
    starts, tries = 0, 0
    try:
        # As many as it takes where the callers are quicker all the time.
        while tries < 12 or (not starts and tries < 200):
            tries += 1
            # Who wants to serve waits for a call that is soon done, but not for ever.
            with contextlib.suppress(Failed):
                pool.start()
                starts += 1
            time.sleep(rnd.random() * 0.3)
            if pool.alive():
                pool.stop()
            else:
                pool.kill()
            time.sleep(rnd.random() * 0.1)
    finally:
        over.set()
        for c in callers:
            c.join()
    for c in callers:
        if c.wrong:
            raise c.wrong
    names, sure, unsure = set(pool.names()), set(), set()
    for c in callers:
        sure |= c.names - c.unsure
        unsure |= c.unsure
    should(names - unsure == sure - unsure, "there are", names, "not", sure, "unsure:", unsure)
    should(starts > 0, "no server ever came up:", pool.said()[-2000:])
    pool.check(oracle=False)
    print(f"  {starts} servers, {sum(c.done for c in callers)} calls done, "
          f"{sum(c.refused for c in callers)} refused")


# --- crowded ------------------------------------------------------------------------------

def connect(pool):
    """Waits where too many wait already."""
    s = socket.socket(socket.AF_UNIX)
    here = os.open(".", os.O_RDONLY)
    os.chdir(pool.path)
    try:
        s.connect("control")
    finally:
        os.fchdir(here)
        os.close(here)
    s.settimeout(30)
    return s


def descriptors(pool):
    return len(os.listdir(f"/proc/{pool.server.pid}/fd"))


def settled(pool, wanted):
    deadline = time.monotonic() + 60
    while descriptors(pool) > wanted:
        should(time.monotonic() < deadline, "descriptors stay open:", descriptors(pool))
        time.sleep(0.05)


def crowded(pool, connections):
    pool.start()
    h = pool.connect("v")
    before = descriptors(pool)
    for i in range(connections):
        s = connect(pool)
        if i % 4 == 0:
            with contextlib.suppress(OSError):  # those too many are sent away
                s.sendall(b'{"id": 1')
        s.close()
    settled(pool, before)
    held = []
    with contextlib.suppress(OSError):
        for _ in range(min(connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 50)):
            held.append(connect(pool))
    h.pwrite(b"x" * 512, 0)
    for s in held:
        s.close()
    should(call(pool, "list").returncode == 0, "no answer after the crowd has gone")
    settled(pool, before)
    print(f"  {connections} connections, {len(held)} held")
    h.shutdown()
    pool.stop()


def without_descriptors(pool):
    """Connections that the server can not take wait, or go; it lives on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
    try:
        pool.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    h = pool.connect("v")
    before = descriptors(pool)
    held = [connect(pool) for _ in range(60)]
    deadline = time.monotonic() + 60
    while descriptors(pool) < 44 and time.monotonic() < deadline:
        time.sleep(0.01)
    h.pwrite(b"y" * 512, 512)
    should(bytes(h.pread(512, 512)) == b"y" * 512, "wrong bytes")
    h.flush()
    for s in held:
        s.close()
    settled(pool, before)
    for words in (("create", "after", "--size", "1M"), ("delete", "after")):
        done = call(pool, *words)
        should(done.returncode == 0, words, "said", done.stderr)
    h.shutdown()
    pool.connect("v").shutdown()
    pool.stop()


# --- failed -------------------------------------------------------------------------------

CHANGES = [
    ("create", "new", "--size", "1M"), ("snapshot", "v", "new"), ("snapshot", "v", "a", "v", "b"),
    ("delete", "s@1"), ("rollback", "v", "s@1"), ("flatten", "over"), ("resize", "v", "4M"),
    ("resize", "v", "100K", "--force"), ("grow", "--data-size", "128M"),
    ("grow", "--metadata-size", "16M"), ("message", "create_thin 99"), ("message", "delete 1"),
    ("message", "set_transaction_id 0 1"), ("message", "reserve_metadata_snap"), ("rename", "v", "new"), ("set", "v", "description=x"),
]
LOOKS = [("list",), ("status",), ("status", "--dm"), ("list", "--tree")]


def known(pool):
    """What is to be there afterwards: the list as it was, and the bytes."""
    return ({v["name"]: (v["device"], v["size"], v["origin"]) for v in pool.json("list")},
            {n: pool.read_all(n) for n in pool.names()})


def start_failing(pool, **environment):
    """A server under failing_file.c."""
    environment = {name: str(value) for name, value in environment.items()}
    environment["LD_PRELOAD"] = str(BUILD / "tests/live/libfailing_file.so")
    os.environ.update(environment)
    try:
        pool.start()
    finally:
        for name in environment:
            del os.environ[name]


def failed(pool, work, rnd):
    pool.t("create", "over", "--origin", work / "base")
    pool.start()
    h = pool.connect("v")
    h.pwrite(rnd.randbytes(300_000), 1000)
    h.flush()
    h.shutdown()
    pool.t("snapshot", "v", "s@1")
    before = known(pool)
    pool.stop()
    trigger = work / "fail-now"
    start_failing(pool, FAILING_FLUSH=trigger, FAILING_FILE=pool.path / "data")
    import nbd  # pylint: disable=import-outside-toplevel
    h = pool.connect("v")
    trigger.touch()
    h.pwrite(b"lost", 0)
    try:
        h.flush()
        raise Failed("a flush that failed was called a success")
    except nbd.Error as e:
        should(e.errno == "EIO", "the flush gave", e)
    trigger.unlink()  # the next one would be good: it must not count (I9)
    for f in (h.flush, lambda: h.pwrite(b"more", 0)):
        try:
            f()
            raise Failed("after a failed flush something succeeded")
        except nbd.Error:
            pass
    should(pool.json("status")["mode"] == "fail", "the mode is", pool.json("status")["mode"])
    for words in CHANGES:
        done = call(pool, *words)
        should(done.returncode == 1 and "nothing can be changed" in done.stderr, words,
               "in a pool that has failed:", done)
    for words in LOOKS:
        call(pool, *words)
        should(pool.alive(), words, "killed the server")
    h.shutdown()
    end_failed(pool)
    pool.start()
    after = known(pool)
    pool.stop()
    should(after[0] == before[0], "the list is", after[0], "not", before[0])
    # What was written last may be there, or not: it was never said to be durable.
    content = after[1]["v"]
    should(content[4:] == before[1]["v"][4:] and content[:4] in (b"lost", before[1]["v"][:4]),
           "v has other bytes")
    should(after[1]["s@1"] == before[1]["s@1"] and after[1]["over"] == before[1]["over"],
           "others have other bytes")
    pool.check()
    print(f"  {len(CHANGES)} changes refused")


def end_failed(pool):
    """It ends when it is told to, with whatever status."""
    server, pool.server = pool.server, None
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=60)
    should(server.returncode >= 0, "it was killed by", -server.returncode)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=10_000)
    args = parser.parse_args()
    need()
    seed = seed_from_environment()
    with story(seed, "--connections", args.connections, tmp=in_memory()) as (work, rnd):
        pool = Pool(work)
        (work / "base").write_bytes(rnd.randbytes(1 << 20))
        pool.t("init", "--data-size", "64M")
        try:
            print("-- come and go", flush=True)
            come_and_go(pool, rnd)
            pool.t("delete", *pool.names(), "--if-exists", "none")
            pool.t("create", "v", "--size", "1M")
            print("-- crowded", flush=True)
            crowded(pool, args.connections)
            without_descriptors(pool)
            if (BUILD / "tests/live/libfailing_file.so").exists():
                print("-- failed", flush=True)
                failed(pool, work, rnd)
        finally:
            pool.kill()


if __name__ == "__main__":
    main()
