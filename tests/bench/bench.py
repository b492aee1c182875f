#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Speed side by side: thinbd, nbdkit's file plugin, qemu-nbd with qcow2.

    tests/bench/bench.py [--build DIR] [--rounds N] [--seconds S] [--size MIB]
                         [--only NAME[,NAME...]] [--json]

Each workload is run by fio's nbd engine against the three servers in turn,
round after round, in this one run: machines differ and are noisy, so what
counts is the ratio between neighbours, and its median over the rounds.  The
peers read and write plain files in the same folder.  Nothing here passes or
fails: it prints what it saw.

Beside fio it times what only a pool has: bench_metadata (a volume of 1 TiB
with a million mapped blocks: open, snapshot, lookup, delete).
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20

# name: fio's options, and what the target must be before it is timed.
# "mapped": all written once.  "fresh": nothing written, reads come from the
# origin (or backing file) and the first writes allocate.
WORKLOADS = {
    "randread-4k": (["--rw=randread", "--bs=4k", "--iodepth=16"], "mapped"),
    "randwrite-4k": (["--rw=randwrite", "--bs=4k", "--iodepth=16"], "mapped"),
    "read-1m": (["--rw=read", "--bs=1m", "--iodepth=4"], "mapped"),
    "write-1m": (["--rw=write", "--bs=1m", "--iodepth=4"], "mapped"),
    "randrw-16k": (["--rw=randrw", "--bs=16k", "--iodepth=16"], "mapped"),
    "fsync-4k": (["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"], "mapped"),
    "origin-randread-4k": (["--rw=randread", "--bs=4k", "--iodepth=16"], "fresh"),
    "first-write-64k": (["--rw=write", "--bs=64k", "--iodepth=16"], "fresh"),
    "first-randwrite-4k": (["--rw=randwrite", "--bs=4k", "--iodepth=16"], "fresh"),
}


def run(*command, **kwargs):
    """Run a command that must succeed; its output."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, **kwargs)
    if done.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def serving(command, socket):
    """Run a server until the block ends; ready when its socket is there."""
    with subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(500):
                if socket.exists():
                    break
                if server.poll() is not None:
                    sys.exit(f"bench: {command[0]} ended with {server.returncode}")
                time.sleep(0.01)
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
            socket.unlink(missing_ok=True)


class Peer:
    """A server over a base image: makes its target new, and serves it."""

    def __init__(self, folder, build, base, size):
        self.folder, self.build, self.base, self.size = folder, build, base, size
        self.socket = folder / "sock"

    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"


class Thinbd(Peer):
    name = "thinbd"

    def make(self, state):
        pool = self.folder / "pool"
        shutil.rmtree(pool, ignore_errors=True)
        cli = self.build / "cli" / "thinbd"
        run(cli, "--pool", pool, "init", "--data-size", 2 * self.size)
        run(cli, "--pool", pool, "create", "v", "--origin", self.base)

    def command(self):
        plugin = self.build / "plugin" / "nbdkit-thin-plugin.so"
        return ["nbdkit", "-f", "-U", self.socket, plugin, self.folder / "pool"]

    def uri(self):
        return f"nbd+unix:///v?socket={self.socket}"


class NbdkitFile(Peer):
    name = "nbdkit-file"

    def make(self, state):
        """A copy of the base stands for an origin, and is not timed.

        What is to be written first starts as a hole, as it does in a pool:
        how the page cache was filled (by writes of 1 MiB or of less) makes a
        factor of two in what a small write into it costs on some kernels.
        """
        raw = self.folder / "raw"
        raw.unlink(missing_ok=True)
        if state == "fresh":
            shutil.copyfile(self.base, raw)
        else:
            with open(raw, "wb") as f:
                f.truncate(self.size)

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, "file", self.folder / "raw"]


class QemuNbd(Peer):
    name = "qcow2"

    def make(self, state):
        image = self.folder / "qcow2"
        image.unlink(missing_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.base, image)

    def command(self):
        return ["qemu-nbd", "-t", "-e", "16", "-f", "qcow2", "--cache=writeback",
                "-k", self.socket, self.folder / "qcow2"]


def fio(peer, options, size, seconds=None):
    """One run; MiB/s of all that it read and wrote."""
    timed = ["--time_based", f"--runtime={seconds}"] if seconds else []
    out = run("fio", "--name=bench", "--ioengine=nbd", f"--uri={peer.uri()}",
              f"--size={size}", "--randrepeat=1", "--output-format=json", *options, *timed)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return (job["read"]["bw_bytes"] + job["write"]["bw_bytes"]) / MIB


def measure(peer, name, seconds):
    options, state = WORKLOADS[name]
    peer.make(state)
    with serving(peer.command(), peer.socket):
        if state == "mapped":
            fio(peer, ["--rw=write", "--bs=1m", "--iodepth=4"], peer.size)
            return fio(peer, options, peer.size, seconds)
        if "randread" in name:
            return fio(peer, options, peer.size, seconds)
        # First writes happen once: by amount, not by time.
        return fio(peer, options, peer.size)


def compare(peers, name, rounds, seconds):
    """Medians of each peer's speed, and of thinbd's ratio to it."""
    seen = {p.name: [] for p in peers}
    for _ in range(rounds):
        for p in peers:
            seen[p.name].append(measure(p, name, seconds))
    ours = seen["thinbd"]
    return {p: {"mib_per_s": round(statistics.median(speeds), 1),
                "ratio": round(statistics.median(a / b for a, b in zip(ours, speeds)), 2)}
            for p, speeds in seen.items()}


def make_base(folder, size):
    """An image with something in every block."""
    base = folder / "base"
    with open(base, "wb") as f:
        for _ in range(size // MIB):
            f.write(os.urandom(MIB))
    return base


def show(name, result):
    speeds = "  ".join(f"{p} {r['mib_per_s']:8.1f}" for p, r in result.items())
    ratios = "  ".join(f"/{p} {r['ratio']:.2f}" for p, r in result.items() if p != "thinbd")
    print(f"{name:20} MiB/s: {speeds}   thinbd{ratios}", flush=True)


def parse():
    here = pathlib.Path(__file__).resolve()
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", type=pathlib.Path, default=here.parents[2] / "build")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=4)
    p.add_argument("--size", type=int, default=512, help="of the volume, in MiB")
    p.add_argument("--only", default=",".join(WORKLOADS))
    p.add_argument("--json", action="store_true")
    return p.parse_args()


def main():
    args = parse()
    args.build = args.build.resolve()
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.build) as tmp:
        folder = pathlib.Path(tmp)
        base = make_base(folder, args.size * MIB)
        peers = [kind(folder, args.build, base, args.size * MIB)
                 for kind in (Thinbd, NbdkitFile, QemuNbd)]
        for name in args.only.split(","):
            results[name] = compare(peers, name, args.rounds, args.seconds)
            if not args.json:
                show(name, results[name])
    if args.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
