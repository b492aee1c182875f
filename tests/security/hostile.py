#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Clients that are hostile, or die, do not stop the service for others (P14).

    hostile.py [RECONNECTS]

While all of this goes on, a well-behaved client has to get its answers.  2000
reconnects unless told otherwise; THINBD_RECONNECTS.
"""

import contextlib
import errno
import os
import pathlib
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
# pylint: disable=wrong-import-position
from ground import Failed, Pool, need, seed_from_environment, should, story

SIZE = 9 << 30
IHAVEOPT = 0x49484156454F5054
NBDMAGIC = 0x4e42444d41474943
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO = 1, 2, 3, 5, 6, 7
OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META = 8, 9, 10
REQUEST = 0x25609513
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)


class Raw:
    """The protocol by hand."""

    def __init__(self, pool):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(str(pool.socket))
        self.s.settimeout(20)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.s.close()

    def get(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise ConnectionResetError(f"{len(data)} of {n} bytes")
            data += more
        return data

    def greet(self, flags=3):
        magic, opt, _ = struct.unpack(">QQH", self.get(18))
        should(magic == NBDMAGIC and opt == IHAVEOPT, "no NBD server")
        self.s.sendall(struct.pack(">I", flags))

    def option(self, number, data=b"", length=None):
        self.s.sendall(struct.pack(">QII", IHAVEOPT, number,
                                   len(data) if length is None else length) + data)

    def reply(self):
        magic, _, kind, length = struct.unpack(">QIII", self.get(20))
        should(magic == 0x3e889045565a9, "no option reply")
        return kind, self.get(length)

    def go(self, name=b"v"):
        self.greet()
        self.option(OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
        while True:
            kind, _ = self.reply()
            if kind == 1:
                return self
            should(kind < 1 << 31, "refused:", hex(kind))

    def request(self, command, offset, count, data=b"", flags=0, cookie=1):
        self.s.sendall(struct.pack(">IHHQQI", REQUEST, flags, command, cookie, offset,
                                   count) + data)

    def answer(self):
        """The error of a simple reply."""
        magic, error, _ = struct.unpack(">IIQ", self.get(16))
        should(magic == 0x67446698, "no simple reply")
        return error

    def hung_up(self):
        with contextlib.suppress(OSError):
            while self.s.recv(65536):
                pass
        return True


class Bystander(threading.Thread):
    """Reads and writes all the time; notes the longest that it had to wait."""

    def __init__(self, pool):
        super().__init__(daemon=True)
        self.h = pool.connect("other")
        self.stop = threading.Event()
        self.wrong, self.longest, self.count = None, 0, 0

    def run(self):
        try:
            while not self.stop.is_set():
                began = time.monotonic()
                data = os.urandom(5000)
                self.h.pwrite(data, 70_000)
                should(self.h.pread(5000, 70_000) == data, "the bystander's data")
                self.longest = max(self.longest, time.monotonic() - began)
                self.count += 1
                self.stop.wait(0.01)
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e

    def end(self):
        self.stop.set()
        self.join()
        if self.wrong:
            raise Failed(f"the bystander: {self.wrong!r}")
        print(f"  a bystander: {self.count} times, at most {self.longest * 1000:.0f} ms")


def fails(codes, f, *args):
    import nbd  # pylint: disable=import-outside-toplevel
    try:
        f(*args)
    except nbd.Error as e:
        should(e.errnum in codes, f"{e.string}: not {codes}")
        return
    raise Failed(f"{f.__name__}{args[1:]} should have failed")


# --- requests that ask for much -----------------------------------------------------

def block_status_over_4_gib(pool):
    """Stock nbdkit aborts where an extent reaches past the request."""
    h = pool.connect("v")
    for count, offset in ((0xffffffff, 0), (0xffffffff, 1), (0xffffffff, SIZE - 0xffffffff),
                          (0xfffffe00, 1 << 32), (1, SIZE - 1), (0x80000000, 1 << 31)):
        for flags in (0, 8):
            got = []

            def note(_context, _offset, entries, _error, got=got):
                got.extend(entries)
            h.block_status(count, offset, note, flags)
            should(0 < sum(got[::2]) <= count, "extents", count, offset, got)
    fails((errno.EINVAL,), h.block_status, 0xffffffff, SIZE - 0xfffffffe,
          lambda *_: None)
    h.shutdown()


def zeros_and_trims_of_4_gib(pool):
    h = pool.connect("v")
    began = time.monotonic()
    for offset in (0, 12345, SIZE - 0xffffffff):
        h.trim(0xffffffff, offset)
        h.zero(0xffffffff, offset)
        h.cache(1 << 20, offset)
    fails((errno.EINVAL, errno.ENOSPC), h.zero, 0xffffffff, SIZE - 1)
    should(time.monotonic() - began < 20, "zeroes of 4 GiB took",
           time.monotonic() - began, "s")
    h.shutdown()


def memory_of(pool):
    with open(f"/proc/{pool.server.pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) << 10
    return 0


def sixteen_times_64_mib(pool):
    """As large as nbdkit takes them, as many as it has threads for; then larger."""
    with Raw(pool).go() as c:
        for i in range(16):
            c.request(READ, i << 26, 1 << 26, cookie=i)
        for i in range(16):
            should(c.answer() == 0, "a read of 64 MiB")
            for _ in range(64):
                c.get(1 << 20)
    peak = memory_of(pool)
    # Threads x 64 MiB, as documented, and not much more; sanitizers have their own.
    should(peak < (17 * 64 + 256) << 20 or "sanitized" in shutil.which("nbdkit"),
           "the server has", peak >> 20, "MiB")
    with Raw(pool).go() as c:
        c.request(READ, 0, (1 << 26) + 1)
        should(c.answer() in (errno.EINVAL, errno.ENOMEM, errno.EOVERFLOW),
               "a read of more than 64 MiB")
    for count in (0x7fffffff, 0xffffffff):
        with Raw(pool).go() as c:
            c.request(WRITE, 0, count)
            c.s.close()
    print(f"  the server had {peak >> 20} MiB")


def deaf_readers(socket_path, name):
    """They ask for much, take nothing, and die."""
    pool = Pool(pathlib.Path(socket_path).parent)
    pool.socket = socket_path
    clients = [Raw(pool).go(name) for _ in range(4)]
    for c in clients:
        for i in range(16):
            c.request(READ, i << 20, 1 << 20, cookie=i)
    time.sleep(0.2)
    for c in clients:
        c.s.close()


def stock_nbdkit_dies(work):
    """nbdkit 1.32.5 itself, of deaf readers: an assertion in connections.c."""
    path = work / "stock.sock"
    with subprocess.Popen(["nbdkit", "-f", "-U", str(path), "null", "1G"],
                          stderr=subprocess.DEVNULL) as server:
        for _ in range(10):
            while not path.exists():
                time.sleep(0.01)
            with contextlib.suppress(OSError):
                deaf_readers(path, b"")
            time.sleep(0.1)
            if server.poll() is not None:
                return True
        server.terminate()
    return False


def deaf(pool, work):
    """The pool outlives it at least: where nbdkit does not, as after a kill."""
    h = pool.connect("other")
    h.pwrite(b"flushed", 1000)
    h.flush()
    for _ in range(10):
        with contextlib.suppress(OSError):  # it may die while they come
            deaf_readers(pool.socket, b"v")
        time.sleep(0.05)
        if not pool.alive():
            should(stock_nbdkit_dies(work), "the server died:", pool.said()[-1000:])
            print("  this nbdkit dies of it with any plugin; see SECURITY.md")
            pool.kill()
            pool.start()
            break
    healthy(pool)
    should(pool.connect("other").pread(7, 1000) == b"flushed", "a flushed write is lost")


# --- hand shakes ---------------------------------------------------------------------

def half_handshakes(pool):
    """Cut off at each byte, and some that stay where they are."""
    name = b"v"
    script = struct.pack(">I", 3) + \
        struct.pack(">QII", IHAVEOPT, OPT_STRUCTURED, 0) + \
        struct.pack(">QII", IHAVEOPT, OPT_GO, 6 + len(name)) + \
        struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    staying = []
    for i in range(len(script)):
        c = Raw(pool)
        c.get(18)
        c.s.sendall(script[:i])
        if i % 3 == 0 and len(staying) < 12:
            staying.append(c)
        else:
            c.s.close()
    silent = [Raw(pool) for _ in range(8)]
    healthy(pool)
    for c in staying + silent:
        c.s.close()


def nonsense_handshakes(pool, rnd):
    for i in range(60):
        with Raw(pool) as c:
            with contextlib.suppress(OSError):
                c.get(18)
                c.s.sendall(struct.pack(">I", rnd.choice((0, 1, 2, 3, 0xffffffff))))
                if i % 2:
                    c.option(rnd.randrange(12), rnd.randbytes(rnd.randrange(200)))
                else:
                    c.s.sendall(rnd.randbytes(rnd.randrange(1, 3000)))
                c.s.shutdown(socket.SHUT_WR)
                c.hung_up()
    # Lengths that do not belong to what follows, or to anything.
    for number in (OPT_EXPORT_NAME, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO, OPT_LIST_META,
                   OPT_SET_META, 99):
        for length in (1, 4095, 5000, 1 << 20, 0x7fffffff, 0xffffffff):
            with Raw(pool) as c, contextlib.suppress(OSError):
                c.greet()
                c.option(number, b"\0" * 16, length)
                c.s.shutdown(socket.SHUT_WR)
                c.hung_up()


def option_floods(pool):
    """nbdkit ends a negotiation that does not."""
    for number, data in ((OPT_LIST, b""), (99, b"x" * 1000),
                         (OPT_INFO, struct.pack(">I", 1) + b"v" + struct.pack(">H", 0)),
                         (OPT_LIST_META, struct.pack(">I", 1) + b"v" + struct.pack(">I", 0))):
        with Raw(pool) as c, contextlib.suppress(OSError):
            c.greet()
            for _ in range(2000):
                c.option(number, data)
                c.s.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if not c.s.recv(1 << 20):
                        break
                c.s.setblocking(True)
                c.s.settimeout(20)


def reconnects(pool, count):
    """Descriptors, threads and handles are given back."""
    fds = f"/proc/{pool.server.pid}/fd"
    before = descriptors(fds)
    began = time.monotonic()
    for i in range(count):
        c = Raw(pool)
        if i % 4 == 0:
            c.go()
            c.request(READ, 4096 * i, 512)
            if i % 8:
                c.get(16 + 512)
                c.request(DISC, 0, 0)
        elif i % 4 == 1:
            c.greet()
        c.s.close()
    settle(pool, fds, before)
    print(f"  {count} reconnects in {time.monotonic() - began:.1f} s")


def descriptors(fds):
    """How many, without the rings: of these there are as many as threads once met."""
    count = 0
    for fd in os.listdir(fds):
        with contextlib.suppress(FileNotFoundError):
            count += "io_uring" not in os.readlink(f"{fds}/{fd}")
    return count


def settle(pool, fds, before):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if descriptors(fds) <= before + 4 and pool.json("status")["clients"] <= 1:
            return
        time.sleep(0.05)
    raise Failed(f"{descriptors(fds)} descriptors, {before} before; "
                 f"{pool.json('status')['clients']} clients")


# --- clients that die ----------------------------------------------------------------

def left_alone(pool, others):
    deadline = time.monotonic() + 20
    while pool.json("status")["clients"] > others:
        should(time.monotonic() < deadline, "a client that died is still there")
        time.sleep(0.002)


def death_in_a_write(pool, rnd):
    """Each sector has what was there, or what was written."""
    length = 300_000
    h = pool.connect("v")
    others = pool.json("status")["clients"]
    for i in range(30):
        at = (1 << 20) + rnd.randrange(1 << 20)
        old, new = bytes([2 * i + 1]) * length, bytes([2 * i + 2]) * length
        h.pwrite(old, at)
        with Raw(pool).go() as c:
            sent = rnd.choice((0, 1, 511, length // 2, length - 1, length))
            c.request(WRITE, at, length, new[:sent])
            if rnd.random() < 0.5:
                # Death rather than a farewell.
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               struct.pack("ii", 1, 0))
        left_alone(pool, others)  # or what we read meets the write in the page cache
        data = h.pread(length, at)
        for s in range(-at % 512, length - 512, 512):
            should(data[s:s + 512] in (old[:512], new[:512]),
                   f"sector at {at + s} is mixed")
        should(sent == length or data == old, "a write that came in part was done")
    h.shutdown()


def nonsense_requests(pool, rnd):
    """Commands and flags that there are not, offsets that wrap around."""
    for command, offset, count, flags in (
            (99, 0, 0, 0), (READ, 0, 512, 0xffff), (WRITE, 2**64 - 1, 1, 0),
            (READ, 2**63, 512, 0), (READ, 2**64 - 512, 1024, 0), (TRIM, SIZE, 1, 0),
            (ZEROES, SIZE - 1, 2, 0), (READ, 0, 0, 0), (TRIM, 0, 0, 0), (FLUSH, 5, 5, 0),
            (STATUS, 0, 512, 0), (CACHE, SIZE, 512, 0)):
        with Raw(pool).go() as c, contextlib.suppress(OSError):
            c.request(command, offset, count, b"x" if command == WRITE else b"", flags)
            c.s.shutdown(socket.SHUT_WR)
            c.hung_up()
    for _ in range(30):
        with Raw(pool).go() as c, contextlib.suppress(OSError):
            c.s.sendall(struct.pack(">I", REQUEST) + rnd.randbytes(300))
            c.s.shutdown(socket.SHUT_WR)
            c.hung_up()


# --- and others ------------------------------------------------------------------------

def healthy(pool):
    """A new client gets what it asks for."""
    should(pool.alive(), "the server died:", pool.said()[-2000:])
    h = pool.connect("other")
    h.pwrite(b"here", 0)
    should(h.pread(4, 0) == b"here", "not what was written")
    h.shutdown()


def end_with_clients(pool, rnd):
    """nbdkit ends when the last client has left, however it leaves: in order."""
    for _ in range(10):
        clients = [pool.connect("v") for _ in range(4)]
        raw = [Raw(pool).go() for _ in range(2)]
        for c in raw:
            c.request(WRITE, 0, 1 << 20, bytes(rnd.randrange(1 << 20)))
        for h in clients:
            h.pwrite(b"last words", 4096)
        pool.server.send_signal(signal.SIGTERM)
        time.sleep(rnd.random() * 0.01)
        for h in clients[:2]:
            with contextlib.suppress(Exception):
                h.shutdown()
        for c in raw:
            c.s.close()
        del clients, h
        pool.stop()
        pool.start()
        h = pool.connect("v")
        should(h.pread(10, 4096) == b"last words", "what an orderly end should keep")
        h.shutdown()


def main():
    need()
    count = int(sys.argv[1] if len(sys.argv) > 1 else
                os.environ.get("THINBD_RECONNECTS", 2000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    seed = seed_from_environment()
    with story(seed, count) as (work, rnd):
        pool = Pool(work)
        pool.t("init", "--data-size", "256M")
        pool.t("create", "v", "--size", SIZE)
        pool.t("create", "other", "--size", "1M")
        pool.start()
        bystander = Bystander(pool)
        bystander.start()
        try:
            for test, *args in ((block_status_over_4_gib,), (zeros_and_trims_of_4_gib,),
                                (sixteen_times_64_mib,),
                                (half_handshakes,), (nonsense_handshakes, rnd),
                                (option_floods,), (death_in_a_write, rnd),
                                (nonsense_requests, rnd), (reconnects, count)):
                print("--", test.__name__, flush=True)
                test(pool, *args)
                healthy(pool)
            bystander.end()
            print("-- deaf")
            deaf(pool, work)
            print("-- end_with_clients")
            end_with_clients(pool, rnd)
            pool.stop()
            pool.check()
        finally:
            pool.kill()


if __name__ == "__main__":
    main()
