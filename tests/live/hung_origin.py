#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Origins on servers that do not answer hold up nobody else (O4, docs/locking.md).

While a verb on a volume over such an origin waits, be it with requests of clients in
flight, every verb is called for other volumes, and other exports are opened and used.
All of that has to end within a third of the time after which such an origin is given up;
what hangs here hangs until it is let go, or does not end at all.  When the origin
answers again all that has waited goes on, with the right bytes.

  mute      a server that takes connections, and never says a word
  held      one that answers all but some reads, which are counted: they are under way
  stopped   nbdkit, by SIGSTOP
  offline   command lines on the pool, which nobody serves

    hung_origin.py [PART...]
"""

import contextlib
import json
import os
import pathlib
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
from ground import CLI, Failed, Pool, in_memory, need, run, seed_from_environment, should, story

SIZE = 4 << 20
BLOCK = 65536
DEADLINE = 10
LONG = 120  # for what may wait, once it need not any more


# --- the origin's server ------------------------------------------------------------------

class Origin:
    """A read-only NBD server, which can be told not to answer."""

    def __init__(self, path, content):
        self.path, self.content = path, content
        self.uri = f"nbd+unix:///?socket={path}"
        self.mute = False
        self.changed = threading.Condition()
        self.to_hold = {}  # offset: how many reads that begin there
        self.holding, self.greeting, self.conversing = 0, 0, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def hold(self, offset, times=1):
        with self.changed:
            self.to_hold[offset // BLOCK] = times

    def let_go(self):
        with self.changed:
            self.to_hold, self.mute = {}, False
            self.changed.notify_all()

    def until_holding(self, nr):
        with self.changed:
            should(self.changed.wait_for(lambda: self.holding >= nr, LONG),
                   "not", nr, "requests wait, but", self.holding)

    def until_greeting(self, nr):
        with self.changed:
            should(self.changed.wait_for(lambda: self.greeting >= nr, LONG),
                   "not", nr, "wait for a greeting, but", self.greeting)

    def until_left(self):
        with self.changed:
            should(self.changed.wait_for(lambda: not self.conversing, LONG),
                   "connections are kept:", self.conversing)

    def serve(self, s):
        with contextlib.suppress(OSError, EOFError):
            with self.changed:
                self.greeting += 1
                self.changed.notify_all()
                self.changed.wait_for(lambda: not self.mute)
                self.greeting -= 1
            if self.negotiate(s):
                self.converse(s)
        s.close()

    def converse(self, s):
        lock = threading.Lock()
        with self.changed:
            self.conversing += 1
        try:
            while True:
                self.answer(s, lock)
        finally:
            with self.changed:
                self.conversing -= 1
                self.changed.notify_all()

    @staticmethod
    def take(s, length):
        data = b""
        while len(data) < length:
            more = s.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def negotiate(self, s):
        s.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.take(s, 4)
        while True:
            _, option, length = struct.unpack(">QII", self.take(s, 16))
            self.take(s, length)

            def reply(kind, data=b"", option=option):
                s.sendall(struct.pack(">QIII", 0x3e889045565a9, option, kind, len(data)) + data)

            if option == 2:
                reply(1)
                return False
            if option in (6, 7):
                # Read-only, and one connection sees what another does.
                reply(3, struct.pack(">HQH", 0, len(self.content), 0x103))
                reply(1)
                if option == 7:
                    return True
            else:
                reply(0x80000001)

    def answer(self, s, lock):
        _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", self.take(s, 28))
        if kind == 2:
            raise EOFError
        should(kind == 0, "the origin is asked for", kind)

        def reply():
            with lock:
                s.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie) +
                          self.content[offset:offset + length])

        with self.changed:
            held = [b for b, n in self.to_hold.items()
                    if n and b * BLOCK < offset + length and offset < (b + 1) * BLOCK]
            if held:
                self.to_hold[held[0]] -= 1
                self.holding += 1
                self.changed.notify_all()
                threading.Thread(target=self.reply_later, args=(reply,), daemon=True).start()
        if not held:
            reply()

    def reply_later(self, reply):
        with self.changed:
            self.changed.wait_for(lambda: not self.to_hold)
            self.holding -= 1
        with contextlib.suppress(OSError):
            reply()


# --- what waits, and what must not ----------------------------------------------------------

class Waiting(threading.Thread):
    """A call that may wait for the origin."""

    def __init__(self, what, fn, *args):
        super().__init__(daemon=True)
        self.what, self.fn, self.args = what, fn, args
        self.result, self.wrong = None, None
        self.start()

    def run(self):
        try:
            self.result = self.fn(*self.args)
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e

    def end(self, refused=False):
        self.join(LONG)
        should(not self.is_alive(), self.what, "does not go on")
        should(refused or not self.wrong, self.what, "ended in", self.wrong)
        return self.result


def call(pool, *words, ok=(0,), timeout=LONG):
    try:
        done = subprocess.run([str(CLI), "--pool", str(pool.path), "--json", *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(words)} waits") from None
    should(done.returncode in ok, *words, ": exit", done.returncode, done.stderr)
    should(done.returncode != 1 or done.stderr.count("\n") == 1, words, "said", done.stderr)
    return done.stdout


VERBS = [
    ("list",), ("status",), ("show", "o"), ("map", "o"), ("create", "new", "--size", "1M"),
    ("snapshot", "o", "o@1"), ("snapshot", "o", "o@2", "p", "p@1"), ("diff", "o", "o@1"),
    ("set", "o", "description=x"), ("set", "o", "reserve=1M"), ("resize", "new", "2M"),
    ("resize", "new", "1M"), ("rename", "new", "newer"), ("rollback", "p", "p@1"),
    ("flatten", "new-over"), ("delete", "newer", "o@1", "o@2", "p@1", "new-over"),
    ("list", "o"), ("message", "set_transaction_id 0 0"),
]


def use_export(pool):
    """Another export, opened and used, as far as a snapshot of it sees."""
    h = pool.connect("o")
    h.pwrite(b"o" * 5000, 70000)
    h.flush()
    should(bytes(h.pread(5000, 70000)) == b"o" * 5000, "wrong bytes")
    h.trim(BLOCK, 0)
    h.zero(BLOCK, 0)
    h.shutdown()


def others(pool, base, what):
    """All verbs and all I/O that have nothing to do with what waits."""
    ended = []

    def all_of_it():
        for words in (("create", "new-over", "--origin", str(base)), *VERBS):
            ended.append(words)
            # The metadata's own number is another one.
            call(pool, *words, ok=(0, 1) if words[0] == "message" else (0,),
                 timeout=DEADLINE)
        ended.append(("I/O",))
        use_export(pool)

    t = Waiting("others", all_of_it)
    t.join(2 * DEADLINE)
    if t.is_alive() or t.wrong:
        raise Failed(f"{what}: {' '.join(ended[-1])} of others "
                     f"{t.wrong if t.wrong else 'waits'}")


def scenario(pool, base, what, waiting, origin, refused=False):
    """`waiting` are under way; others must go on, and they when the origin answers."""
    print(f"  {what}", flush=True)
    others(pool, base, what)
    origin.let_go()
    return [w.end(refused) for w in waiting]


def offline(pool, base, origin):
    """Nobody serves the pool: each command line opens it."""
    call(pool, "create", "a", "--origin", origin.uri, "--size", "1000000")
    # A crash in the middle of a shrink: it is to be finished at the next open.
    pool.start()
    h = pool.connect("a")
    h.pwrite(b"a" * 1000, 15 * BLOCK)
    h.shutdown()
    pool.stop()
    conf = pool.path / "volumes" / "a.conf"
    conf.write_text(conf.read_text() + "shrinking = true;\n")
    origin.mute = True
    others_offline(pool, base)
    origin.let_go()


def others_offline(pool, base):
    for words in (("create", "new-over", "--origin", str(base)), *VERBS):
        call(pool, *words, ok=(0, 1) if words[0] == "message" else (0,), timeout=DEADLINE)


# --- parts -------------------------------------------------------------------------------

def mute(pool, base, origin):
    """Connections that are never greeted."""
    call(pool, "create", "a", "--origin", origin.uri)
    call(pool, "snapshot", "a", "a@1")
    pool.start()
    verbs = [("show", "a"), ("flatten", "a"), ("map", "a"), ("create", "b", "--origin", origin.uri),
             ("set", "a", f"origin={origin.uri}")]
    for words in verbs:
        origin.mute = True
        w = Waiting(words, call, pool, *words)
        origin.until_greeting(1)
        scenario(pool, base, " ".join(words[:2]), [w], origin)
        if words[0] == "flatten":
            call(pool, "set", "a", f"origin={origin.uri}", "--force")
    origin.mute = True
    opened = Waiting("an open", pool.read_all, "a")
    origin.until_greeting(1)
    scenario(pool, base, "open a", [opened], origin)
    should(opened.result == origin.content, "a has other bytes")
    refused_at_once(pool, origin)
    origin.mute = True
    opened = Waiting("an open", pool.read_all, "b")
    origin.until_greeting(1)
    for words in (("delete", "b", "--force"), ("snapshot", "a", "a@2"), ("rename", "a", "c"),
                  ("resize", "c", "8M"), ("rollback", "c", "a@2"), ("delete", "c", "a@1", "a@2")):
        call(pool, *words, timeout=DEADLINE)
    scenario(pool, base, "an open of what is deleted", [opened], origin, refused=True)
    pool.stop()


def refused_at_once(pool, origin):
    """Who wants one that somebody waits for in vain does not wait for it anew."""
    print("  many opens", flush=True)
    origin.until_left()  # or the first of them would find it open
    origin.mute = True
    for w in [Waiting("an open", pool.read_all, "a") for _ in range(6)]:
        w.end(refused=True)
        should(w.wrong, "an origin that said nothing was opened")
    should(origin.greeting < 6, "each of six has waited for itself")
    origin.let_go()
    while origin.greeting:
        time.sleep(0.01)


def held(pool, base, origin):
    """Reads that are not answered while verbs come that exclude requests."""
    model = bytearray(origin.content)
    call(pool, "create", "a", "--origin", origin.uri)
    pool.start()
    reader, writer = pool.connect("a"), pool.connect("a")

    def write(at, data):
        writer.pwrite(data, at)
        model[at:at + len(data)] = data

    block = iter(range(60))

    def hang(fn, *args):
        at = next(block) * BLOCK + 100
        already = origin.holding
        origin.hold(at)
        w = Waiting(f"{fn.__name__} at {at}", fn, *[at if a is None else a for a in args])
        origin.until_holding(already + 1)
        return w

    verbs = [("snapshot", "a", "a@1"), ("snapshot", "a", "a@2", "o", "o@3"),
             ("set", "a", "reserve=1M"), ("resize", "a", "5M")]
    for words in verbs:
        w = hang(write, None, b"w" * 3000)
        scenario(pool, base, " ".join(words),
                 [Waiting(words, call, pool, *words), w], origin)
    w = hang(write, None, b"v" * 3000)
    # Larger than when the writer connected.
    opened = Waiting("open", pool.read_all, "a")
    scenario(pool, base, "open, larger", [opened, w], origin)
    model += bytes((5 << 20) - len(model))
    w = hang(reader.pread, 512, None)
    scenario(pool, base, "a read", [w], origin)
    # The flatten itself is answered.
    w = hang(reader.pread, 512, None)
    flatten = Waiting("flatten", call, pool, "flatten", "a")
    until_dropped(pool, flatten)
    scenario(pool, base, "the end of a flatten", [flatten, w], origin)
    should(bytes(w.result) == model[int(w.what.split()[-1]):][:512], "a read gave other bytes")
    should(pool.read_all("a") == model, "a has other bytes")
    call(pool, "delete", "o@3")
    snapshots(pool, origin, model)
    reader.shutdown()
    writer.shutdown()
    call(pool, "delete", "a", "a@1", "a@2")
    pool.stop()


def snapshots(pool, origin, model):
    """They have nothing of the write that hung, or all of it."""
    for name in ("a@1", "a@2"):
        content = pool.read_all(name)
        for at in range(0, len(content), BLOCK):
            part = content[at:at + BLOCK]
            should(part in (origin.content[at:at + BLOCK], model[at:at + BLOCK]), name,
                   "has other bytes at", at)


def until_dropped(pool, flatten):
    """All is copied, and the record may say so, if it gets there."""
    deadline = time.monotonic() + DEADLINE
    while flatten.is_alive() and time.monotonic() < deadline:
        try:
            shown = json.loads(call(pool, "show", "a", timeout=2))
        except Failed:
            return  # others() finds out what else
        if shown["origin"] is None:
            return
        time.sleep(0.02)


def stopped(pool, base, origin):
    """A server as it is, stopped."""
    path = origin.path.parent / "nbdkit.sock"
    pidfile = origin.path.parent / "stopped.pid"
    image = origin.path.parent / "stopped.img"
    image.write_bytes(origin.content)
    with subprocess.Popen(["nbdkit", "-f", "-U", str(path), "-P", str(pidfile), "-r", "file",
                           str(image)], stdin=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + LONG
            while not pidfile.exists() or not pidfile.read_text():
                should(time.monotonic() < deadline, "nbdkit does not begin")
                time.sleep(0.01)
            by_signal(pool, base, server, f"nbd+unix:///?socket={path}", origin.content)
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()


class Stopped:
    def __init__(self, server):
        self.server = server
        server.send_signal(signal.SIGSTOP)
        while os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT) is None:
            pass

    def let_go(self):
        self.server.send_signal(signal.SIGCONT)


def by_signal(pool, base, server, uri, content):
    model = bytearray(content)
    call(pool, "create", "a", "--origin", uri)
    pool.start()
    h = [pool.connect("a") for _ in range(3)]
    h[0].pread(10, 0)
    origin = Stopped(server)
    waiting = [Waiting("read", h[0].pread, 5000, BLOCK),
               Waiting("write", h[1].pwrite, b"w" * 5000, 2 * BLOCK + 7),
               Waiting("zero", h[2].zero, 5000, 3 * BLOCK + 7),
               Waiting("flatten", call, pool, "flatten", "a"),
               Waiting("create", call, pool, "create", "b", "--origin", uri),
               Waiting("snapshot", call, pool, "snapshot", "a", "a@1")]
    model[2 * BLOCK + 7:2 * BLOCK + 5007] = b"w" * 5000
    model[3 * BLOCK + 7:3 * BLOCK + 5007] = bytes(5000)
    scenario(pool, base, "all at once", waiting, origin)
    should(bytes(waiting[0].result) == content[BLOCK:BLOCK + 5000], "wrong bytes")
    should(pool.read_all("a") == model, "a has other bytes")
    should(pool.read_all("b") == content, "b has other bytes")
    for x in h:
        x.shutdown()
    call(pool, "delete", "a", "a@1", "b")
    pool.stop()


PARTS = {f.__name__: f for f in (mute, held, stopped, offline)}


def main():
    need()
    seed = seed_from_environment()
    parts = sys.argv[1:] or list(PARTS)
    with story(seed, *parts, tmp=in_memory()) as (work, rnd):
        pool = Pool(work)
        base = work / "base"
        base.write_bytes(rnd.randbytes(1 << 20))
        pool.t("init", "--data-size", "128M")
        call(pool, "create", "o", "p", "--size", "4M")
        try:
            for part in parts:
                began = time.monotonic()
                print(f"-- {part}", flush=True)
                origin = Origin(work / f"{part}.sock", rnd.randbytes(SIZE))
                PARTS[part](pool, base, origin)
                print(f"   {time.monotonic() - began:.1f} s")
            pool.check()
        finally:
            pool.kill()


if __name__ == "__main__":
    main()
