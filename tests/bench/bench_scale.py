#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What grows with the pool: thousands of volumes, and one of 1 TiB.

    tests/bench/bench_scale.py [--build DIR] [--volumes N] [--blocks N] [--tries N]
                               [--only many,large]

Prints what it saw, and passes or fails nothing.  Times are medians of --tries (5).

  many   create --volumes (10000) over one origin in one call; list them, served and
         not; open the pool until it serves; a thousand snapshots of a volume that is
         written meanwhile, each a request of its own on the control socket
  large  a volume with --blocks (16777216) mapped, of 64 KiB each, which have no data:
         a snapshot of it while it is written, beside two flushes of a file in the
         same folder; its deletion, and how long others' writes take meanwhile
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import nbd

BLOCK = 65536


def run(*command):
    """Run a command that must succeed; its output."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))[:200]}: {done.stderr.strip()}")
    return done.stdout


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(what, text):
    print(f"{what:44} {text}", flush=True)


def seconds(values):
    return f"{statistics.median(values):9.3f} s   ({len(values)} tries, most {max(values):.3f})"


class Control:
    """The control socket: one request after the other."""

    def __init__(self, path):
        self.path, self.used = path, 0
        self.lines = None

    def connect(self):
        """The server hangs up on who is silent for a while."""
        if time.monotonic() - self.used > 2:
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(self.path))
            self.lines = s.makefile("rw")
            self.lines.readline()
        self.used = time.monotonic()

    def ask(self, verb, **args):
        self.connect()
        print(json.dumps({"id": 1, "request": {"verb": verb, "args": args}}),
              file=self.lines, flush=True)
        while True:
            answer = json.loads(self.lines.readline())
            if "reply" in answer:
                break
        if "result" not in answer["reply"]:
            sys.exit(f"bench: {verb}: {answer['reply']}")
        return answer["reply"]["result"]


class Pool:
    def __init__(self, build, folder, name):
        self.build, self.path = build, folder / name
        self.socket = folder / "nbd.sock"
        self.server = None

    def t(self, *words):
        return run(self.build / "cli" / "thinbd", "--pool", self.path, *words)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(self.socket)) == 0

    def start(self):
        """Until it listens."""
        self.socket.unlink(missing_ok=True)
        plugin = self.build / "plugin" / "nbdkit-thin-plugin.so"
        self.server = subprocess.Popen(
            ["nbdkit", "-f", "-U", str(self.socket), str(plugin), str(self.path)])
        while not self.listens():
            if self.server.poll() is not None:
                sys.exit("bench: the server ended")
            time.sleep(0.001)

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()

    @contextlib.contextmanager
    def served(self):
        self.start()
        try:
            while not (self.path / "control").exists():
                time.sleep(0.001)
            yield Control(self.path / "control")
        finally:
            self.stop()

    def connect(self, name):
        h = nbd.NBD()
        h.connect_uri(f"nbd+unix:///{name}?socket={self.socket}")
        return h


class Writer:
    """A client that writes, each time another 4 KiB, and notes how long that takes."""

    def __init__(self, pool, name, size):
        self.h, self.size = pool.connect(name), size
        self.took, self.ending = [], threading.Event()
        self.thread = threading.Thread(target=self.write)
        self.thread.start()

    def write(self):
        at = 0
        while not self.ending.is_set():
            began = time.perf_counter()
            self.h.pwrite(b"w" * 4096, at)
            self.took.append(time.perf_counter() - began)
            at = (at + 7 * 4096) % self.size

    def end(self):
        """The time that 99 of 100 writes stayed below."""
        self.ending.set()
        self.thread.join()
        self.h.shutdown()
        return sorted(self.took)[int(len(self.took) * 0.99)]


def many(args, folder):
    pool = Pool(args.build, folder, "many")
    base = folder / "base"
    base.write_bytes(os.urandom(1 << 20))
    pool.t("init", "--data-size", "64G", "--metadata-size", "256M")
    names = [f"vm{i}" for i in range(1, args.volumes + 1)]
    say(f"create {args.volumes} volumes in one call",
        seconds([timed(lambda: pool.t("create", *names, "--size", "10G", "--origin", base))]))
    say(f"list {args.volumes}, nobody serves",
        seconds([timed(lambda: pool.t("--json", "list")) for _ in range(args.tries)]))
    starts = []
    for _ in range(args.tries):
        starts.append(timed(pool.start))
        pool.stop()
    say(f"start with {args.volumes}", seconds(starts))
    with pool.served():
        say(f"list {args.volumes}, served, with thinbd",
            seconds([timed(lambda: pool.t("list")) for _ in range(args.tries)]))
        say(f"delete {args.volumes - 1000} in one call",
            seconds([timed(lambda: pool.t("delete", *names[1000:]))]))
        say("list 1000, served, with thinbd",
            seconds([timed(lambda: pool.t("list")) for _ in range(args.tries)]))
    say("list 1000, nobody serves",
        seconds([timed(lambda: pool.t("list")) for _ in range(args.tries)]))
    with pool.served() as control:
        writer = Writer(pool, "vm1", 1 << 28)
        took = timed(lambda: [control.ask("snapshot", pairs=["vm1", f"vm1@{i}"])
                              for i in range(1000)])
        writer.end()
        say("1000 snapshots, a request each, while written", seconds([took]))


def two_flushes(folder):
    with open(folder / "flush", "wb") as f:
        def flush():
            f.write(b"f" * 4096)
            f.flush()
            os.fsync(f.fileno())
        return timed(flush) + timed(flush)


def wait_until_free(control):
    while control.ask("status")["freeing_bytes"]:
        time.sleep(0.02)


def large(args, folder):
    pool = Pool(args.build, folder, "large")
    size = args.blocks * BLOCK
    pool.t("init", "--data-size", 2 * size, "--metadata-size", max(args.blocks * 48, 1 << 25))
    pool.t("create", "big", "--size", size)
    pool.t("create", "other", "--size", "1G")
    run(args.build / "tests" / "bench" / "map_blocks", pool.path / "metadata", 0, args.blocks)
    pool.t("create", "scratch", "--size", "1M")
    with pool.served() as control:
        writer = Writer(pool, "big", 1 << 24)
        snaps = [timed(lambda i=i: control.ask("snapshot", pairs=["big", f"big@{i}"]))
                 for i in range(args.tries)]
        writer.end()
        flushes = [two_flushes(folder) for _ in range(args.tries)]
        say("snapshot of the large one, while written", seconds(snaps))
        say("  two flushes of a file there", seconds(flushes))
        say("list, of which one is large",
            seconds([timed(lambda: control.ask("list")) for _ in range(args.tries)]))
        control.ask("delete", names=[f"big@{i}" for i in range(args.tries)])
        wait_until_free(control)
        h = pool.connect("other")
        for at in range(0, 1 << 28, 1 << 20):
            h.pwrite(bytes(1 << 20), at)
        h.shutdown()
        writer = Writer(pool, "other", 1 << 28)
        time.sleep(5)
        alone = writer.end()
        writer = Writer(pool, "other", 1 << 28)
        began = time.perf_counter()
        say("delete the large one: the answer",
            seconds([timed(lambda: control.ask("delete", names=["big"]))]))
        wait_until_free(control)
        say("  until all was free", seconds([time.perf_counter() - began]))
        meanwhile = writer.end()
        say("  p99 of others' writes: before, meanwhile",
            f"{alone * 1e6:9.0f} us, {meanwhile * 1e6:.0f} us: {meanwhile / alone:.2f}")


def parse():
    here = pathlib.Path(__file__).resolve()
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", type=pathlib.Path, default=here.parents[2] / "build")
    p.add_argument("--volumes", type=int, default=10000)
    p.add_argument("--blocks", type=int, default=1 << 24)
    p.add_argument("--tries", type=int, default=5)
    p.add_argument("--only", default="many,large")
    return p.parse_args()


def main():
    args = parse()
    args.build = args.build.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-") as tmp:
        for name in args.only.split(","):
            {"many": many, "large": large}[name](args, pathlib.Path(tmp))


if __name__ == "__main__":
    main()
