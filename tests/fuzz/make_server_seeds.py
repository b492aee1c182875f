#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Record what real servers say to our client, as seeds of fuzz_server.c.

    make_server_seeds.py FOLDER

nbdkit serves; the client is libnbd, told what lib/storage/nbd*.c tells it, so that
what it sends, and with it the cookies of the answers, is the same.  A seed is the
server's words, cut where the client had his turn, and the calls that they answer.
"""

import multiprocessing
import pathlib
import select
import socket
import subprocess
import sys
import tempfile
import time

import nbd

READ, WRITE, ZERO, PUNCH, FLUSH, EXTENTS, _, END = range(8)
RAW = 3
GREETING_IS_RAW = 6
FOR_WRITING = 1

CALLS = ((READ, 0, 60), (WRITE, 10, 40), (READ, 0, 60), (FLUSH, 0, 0), (ZERO, 20, 10),
         (EXTENTS, 0, 63), (PUNCH, 0, 30), (READ, 5, 50), (FLUSH, 0, 0))
ONLY_READ = ((READ, 0, 60), (EXTENTS, 0, 63), (READ, 100, 60))

STORIES = {
    "memory": (("memory", "32K"), CALLS),
    "simple": (("--no-sr", "memory", "32K"), CALLS),
    "read-only": (("-r", "memory", "32K"), ONLY_READ),
    "old": (("--oldstyle", "memory", "32K"), CALLS),
    "strict": (("--filter=blocksize-policy", "memory", "32K", "blocksize-minimum=1",
                "blocksize-preferred=4096", "blocksize-maximum=65536"), CALLS),
    "fails": (("--filter=error", "memory", "32K", "error-pread=EIO",
               "error-pread-rate=100%"), CALLS),
    "holes": (("data", "@20 1*10 @40 2*10", "size=32K"), CALLS),
}


def between(client, server):
    """What the server says until one of them hangs up, a piece for each turn."""
    said, turn = [], True
    while True:
        for s in select.select([client, server], [], [], 20)[0]:
            data = s.recv(65536)
            if not data:
                return said
            if s is client:
                turn = True
                server.sendall(data)
                continue
            if turn:
                said.append(b"")
            turn = False
            said[-1] += data
            client.sendall(data)


def call(h, what, offset, length):
    try:
        if what == READ:
            h.pread(length, offset)
        elif what == WRITE:
            h.pwrite(b"\1" * length, offset)
        elif what == ZERO:
            h.zero(length, offset, nbd.CMD_FLAG_NO_HOLE)
        elif what == PUNCH:
            h.trim(length, offset)
        elif what == EXTENTS and h.can_meta_context("base:allocation"):
            h.block_status(length, offset, lambda *_: None)
        elif what == FLUSH:
            h.flush()
    except nbd.Error:
        pass


def use(fd, calls):
    """The client: a process, as libnbd for Python waits with its lock held."""
    h = nbd.NBD()
    h.set_full_info(True)
    h.add_meta_context("base:allocation")
    h.connect_socket(fd)
    for c in calls:
        call(h, *c)


def record(words, calls, path):
    with subprocess.Popen(["nbdkit", "-f", "-U", str(path), *words]) as server:
        while not path.exists():
            time.sleep(0.01)
        outer, inner = socket.socketpair()
        client = multiprocessing.Process(target=use, args=(outer.fileno(), calls))
        client.start()
        outer.close()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(path))
            said = between(inner, s)
        inner.close()
        client.join()
        server.terminate()
    path.unlink(missing_ok=True)
    return said


def seed(said, calls):
    script = bytes((GREETING_IS_RAW, 0, 0, 0))
    for piece in said:
        script += bytes((RAW,)) + len(piece).to_bytes(2, "little") + piece
    flags = FOR_WRITING if calls is CALLS else 0
    return bytes((flags,)) + script + bytes((END, 0, 0, 0)) + \
        b"".join(bytes((c, at & 255, at >> 8, n)) for c, at, n in reversed(calls))


def main():
    folder = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        for name, (words, calls) in STORIES.items():
            data = seed(record(words, calls, pathlib.Path(work) / "s"), calls)
            (folder / f"nbdkit-{name}").write_bytes(data)
            print(f"nbdkit-{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
