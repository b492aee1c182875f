#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Conversations that nobody should begin, against the real server (P5, P14).

    wire.py [SESSIONS | --seconds N]

Each session is a handshake and requests, four sessions at a time: half of them in the
words of the protocol, but with values as nasty as it allows; half with bytes changed,
lost, doubled, or cut off in the middle.  400 unless told otherwise.

A session that kept to the protocol has to get an answer to each request, in form and
once.  In the volume that it spoke to nothing is different but what some request in
it could have changed; in others nothing is, and a well-behaved client is served
meanwhile.

Those that break the protocol speak to a server that does one request of a connection
at a time: with several, nbdkit 1.32.5 dies of them with any plugin (SECURITY.md).
"""

import argparse
import concurrent.futures
import contextlib
import pathlib
import random
import select
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import Failed, Pool, need, seed_from_environment, should, story
from hostile import (CACHE, DISC, FLUSH, IHAVEOPT, OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST,
                     OPT_LIST_META, OPT_SET_META, OPT_STARTTLS, OPT_STRUCTURED, READ, REQUEST,
                     STATUS, TRIM, WRITE, ZEROES, Bystander, descriptors, settle)

SIZE = 16 << 20
TARGET = b"target"
CONTEXT = b"base:allocation"
OPTION_REPLY = 0x3e889045565a9
SIMPLE, STRUCTURED = 0x67446698, 0x668e33ef
DONE = 1
BATCH = 40

LENGTHS = (0, 1, 511, 512, 4096, 65535, 65536, 65537, 1 << 20, SIZE - 1, SIZE, SIZE + 1,
           (1 << 26) - 1, 1 << 26, (1 << 26) + 1, 1 << 31, (1 << 32) - 512, (1 << 32) - 1)
OFFSETS = (0, 1, 512, 65536, SIZE - 1, SIZE, SIZE + 1, (1 << 32) - 1, 1 << 32, 1 << 63,
           (1 << 64) - 1, (1 << 64) - 512)


# --- what is said -------------------------------------------------------------------

def option(number, data=b""):
    return struct.pack(">QII", IHAVEOPT, number, len(data)) + data


def words(*names):
    return b"".join(struct.pack(">I", len(n)) + n for n in names)


def handshake(rnd):
    """Flags, options, and one that ends them.  Returns it, and what was agreed."""
    flags = rnd.choice((3, 3, 3, 1))
    said, structured, meta = struct.pack(">I", flags), False, False
    while rnd.random() < 0.3:
        said += rnd.choice((
            option(OPT_LIST), option(OPT_STARTTLS), option(99, rnd.randbytes(50)),
            option(OPT_INFO, words(TARGET) + struct.pack(">HHH", 2, 3, 1)),
            option(OPT_INFO, words(b"nobody") + struct.pack(">H", 0)),
            option(OPT_LIST_META, words(TARGET) + struct.pack(">I", 0)),
            option(OPT_GO, words(b"../target") + struct.pack(">H", 0))))
    if rnd.random() < 0.7:
        said, structured = said + option(OPT_STRUCTURED), True
        if rnd.random() < 0.8:
            said += option(OPT_SET_META, words(TARGET) + struct.pack(">I", 1) + words(CONTEXT))
            meta = True
    if rnd.random() < 0.8:
        said += option(OPT_GO, words(TARGET) + struct.pack(">HH", 1, 3))
    else:
        said += option(OPT_EXPORT_NAME, TARGET)
    return said, flags, structured, meta


def request(rnd, cookie, meta):
    command = rnd.choice((READ, READ, READ, WRITE, TRIM, ZEROES, FLUSH, CACHE, STATUS, STATUS))
    offset = rnd.choice(OFFSETS) if rnd.random() < 0.3 else rnd.randrange(SIZE)
    length = rnd.choice(LENGTHS) if rnd.random() < 0.3 else rnd.randrange(1 << 16)
    flags = rnd.choice((0, 0, 0, 1, 2, 8, 16, 0xffff)) if rnd.random() < 0.3 else 0
    data = b""
    if command == STATUS and (not meta or rnd.random() < 0.3):
        offset, length = 0, SIZE
    if command == WRITE:
        length = min(length, 1 << 20)
        data = rnd.randbytes(1) * length
    if command in (TRIM, ZEROES):
        length = min(length, 1 << 20)  # leave something that must not change
    if command == FLUSH:
        offset = length = 0
    return struct.pack(">IHHQQI", REQUEST, flags, command, cookie, offset, length) + data


def session(rnd, nasty):
    """Bytes and, where they are the protocol's, what was agreed."""
    said, flags, structured, meta = handshake(rnd)
    nr = rnd.randrange(1, 24)
    said += b"".join(request(rnd, i + 1, meta) for i in range(nr))
    if not nasty:
        return mutated(rnd, said), None
    said += struct.pack(">IHHQQI", REQUEST, 0, DISC, nr + 1, 0, 0)
    return said, (flags, structured)


def mutated(rnd, said):
    said = bytearray(said)
    for _ in range(rnd.choice((1, 1, 2, 5, 20))):
        # Where the heads are, rather than in the middle of what is written.
        at = rnd.randrange(min(len(said), rnd.choice((40, 200, 1000, 1 << 20)))) if said else 0
        way = rnd.randrange(7)
        if way == 0 and said:
            said[at] ^= 1 << rnd.randrange(8)
        elif way == 1:
            said[at:at + 4] = struct.pack(">I", rnd.choice(LENGTHS))
        elif way == 2:
            said[at:at + 8] = struct.pack(">Q", rnd.choice(OFFSETS))
        elif way == 3:
            del said[at:at + rnd.randrange(1, 40)]
        elif way == 4:
            said[at:at] = rnd.randbytes(rnd.randrange(1, 40))
        elif way == 5:
            said[at:at] = said[at:at + rnd.randrange(1, 200)]
        else:
            del said[at:]
    return bytes(said)


def could_change(said):
    """Ranges of the volume, by all requests that can be found in it, wherever."""
    found, at, magic = [], 0, struct.pack(">I", REQUEST)
    while (at := said.find(magic, at)) >= 0:
        head = said[at:at + 28]
        at += 1
        if len(head) < 28:
            break
        _, _, command, _, offset, length = struct.unpack(">IHHQQI", head)
        if command in (WRITE, TRIM, ZEROES):
            found.append((min(offset, SIZE), min(offset + length, SIZE)))
    return found


# --- what is heard --------------------------------------------------------------------

def converse(path, said, rnd):
    """Say it in pieces, listen all the time, to the end."""
    heard = bytearray()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.setblocking(False)
        deadline = time.monotonic() + 60
        while True:
            should(time.monotonic() < deadline, "a session does not end")
            r, w, _ = select.select([s], [s] if said is not None else [], [], 5)
            try:
                if r:
                    more = s.recv(1 << 20)
                    if not more:
                        return bytes(heard)
                    heard += more
                elif w and said:
                    n = s.send(said[:rnd.choice((1, 3, 27, 28, 1000, 1 << 20, 1 << 20))])
                    said = said[n:]
                elif w:
                    s.shutdown(socket.SHUT_WR)
                    said = None
            except (BrokenPipeError, ConnectionResetError):
                said = None
                if not r:
                    with contextlib.suppress(OSError):
                        while more := s.recv(1 << 20):
                            heard += more
                    return bytes(heard)


class Words:
    """What was heard, taken apart."""

    def __init__(self, heard):
        self.rest = memoryview(heard)

    def take(self, n):
        should(len(self.rest) >= n, "cut off:", len(self.rest), "of", n)
        head, self.rest = self.rest[:n], self.rest[n:]
        return head

    def numbers(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))


def expected(said, flags):
    """The options and requests of a session that kept to the protocol."""
    w = Words(said)
    w.take(4)
    options, requests = [], {}
    while not options or options[-1][1] not in (OPT_EXPORT_NAME,) and \
            w.rest[:4] != struct.pack(">I", REQUEST):
        _, number, length = w.numbers(">QII")
        w.take(length)
        options.append((flags, number))
    while w.rest:
        _, _, command, cookie, _, length = w.numbers(">IHHQQI")
        requests[cookie] = (command, length)
        if command == WRITE:
            w.take(length)
    return options, requests


def check_options(w, options):
    w.take(18)
    for flags, number in options:
        if number == OPT_EXPORT_NAME:
            w.take(10 if flags & 2 else 134)
            continue
        while True:
            magic, about, kind, length = w.numbers(">QIII")
            should(magic == OPTION_REPLY and about == number, "no reply to option", number)
            w.take(length)
            if kind == 1 or kind >> 31:
                break


def check_replies(w, requests, structured):
    """Each once, and nothing else."""
    waiting = {c: r for c, r in requests.items() if r[0] != DISC}
    while w.rest:
        magic = w.numbers(">I")[0]
        if magic == SIMPLE:
            error, cookie = w.numbers(">IQ")
            command, length = waiting.pop(cookie)
            should(not structured or command != READ, "a simple reply to a read")
            if command == READ and not error:
                w.take(length)
            continue
        should(magic == STRUCTURED and structured, "not a reply:", hex(magic))
        flags, kind, cookie, length = w.numbers(">HHQI")
        should(cookie in waiting, "a reply to nothing:", cookie)
        command, asked = waiting[cookie]
        chunk = w.take(length)
        if kind == 5:
            told = sum(n for n, in struct.iter_unpack(">I4x", chunk[4:]))
            should(command == STATUS and 0 < told <= asked, "extents:", told, "of", asked)
        elif kind == 1:
            should(command == READ and length - 8 <= asked, "data:", length, "of", asked)
        if flags & DONE:
            del waiting[cookie]
    should(not waiting, "never answered:", waiting)


def one_session(path, seed, i, nasty):
    """Returns the ranges that it could have changed."""
    rnd = random.Random(f"{seed}/{i}/{nasty}")
    said, agreed = session(rnd, nasty)
    try:
        heard = converse(path, said, rnd)
        if agreed:
            flags, structured = agreed
            w = Words(heard)
            options, requests = expected(said, flags)
            check_options(w, options)
            check_replies(w, requests, structured)
    except (Failed, OSError, KeyError) as e:
        raise Failed(f"session {i}: {e!r}; said {said[:300].hex()}") from e
    return could_change(said)


# --- what stays -------------------------------------------------------------------------

class Target:
    """The content that the sessions may and may not have changed."""

    def __init__(self, pool, content):
        self.pool, self.content = pool, content

    def verify(self, ranges):
        now = self.pool.read_all(TARGET.decode())
        at = 0
        for begin, end in sorted(ranges) + [(SIZE, SIZE)]:
            if begin > at:
                should(now[at:begin] == self.content[at:begin],
                       "what nobody could change is different, in", at, "to", begin)
            at = max(at, end)
        self.content = now


def sessions(pool, seed, target, nasty, count, seconds):
    end = time.monotonic() + seconds
    done = 0
    with concurrent.futures.ThreadPoolExecutor(4) as crowd:
        while done < count if count else time.monotonic() < end:
            nr = min(BATCH, count - done) if count else BATCH
            work = [crowd.submit(one_session, pool.socket, seed, done + i, nasty)
                    for i in range(nr)]
            concurrent.futures.wait(work)
            should(pool.alive(), "the server died in sessions", done, "to", done + nr,
                   pool.said()[-2000:])
            target.verify([r for w in work for r in w.result()])
            done += nr
    return done


def against(pool, options, *args):
    """A server of its own, and somebody who does no harm."""
    pool.start(*options)
    fds = f"/proc/{pool.server.pid}/fd"
    before = descriptors(fds)
    bystander = Bystander(pool)
    bystander.start()
    done = sessions(pool, *args)
    bystander.end()
    settle(pool, fds, before)
    bystander.h.shutdown()
    pool.stop()
    return done


def fill(pool, name, content):
    h = pool.connect(name)
    for at in range(0, len(content), 1 << 20):
        h.pwrite(content[at:at + (1 << 20)], at)
    h.flush()
    h.shutdown()


def main():
    need()
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", nargs="?", type=int, default=400)
    parser.add_argument("--seconds", type=int)
    args = parser.parse_args()
    count, seconds = (0, args.seconds // 2) if args.seconds else (args.sessions // 2, 0)
    seed = seed_from_environment()
    with story(seed, *sys.argv[1:]) as (work, rnd):
        pool = Pool(work)
        pool.t("init", "--data-size", "256M")
        for name in ("target", "kept", "other"):
            pool.t("create", name, "--size", SIZE)
        try:
            content = rnd.randbytes(SIZE)
            pool.start()
            fill(pool, "target", content)
            fill(pool, "kept", content)
            pool.t("snapshot", "kept", "kept@s")
            pool.stop()
            target = Target(pool, content)
            broken = against(pool, ("-t", 1), seed, target, False, count, seconds)
            nasty = against(pool, (), seed, target, True, count, seconds)
            pool.start()
            should(pool.read_all("kept") == content, "another volume is different")
            should(pool.read_all("kept@s") == content, "a snapshot is different")
            pool.stop()
            pool.check()
        finally:
            pool.kill()
        print(f"{broken} sessions that broke the protocol, {nasty} that bent it")


if __name__ == "__main__":
    main()
