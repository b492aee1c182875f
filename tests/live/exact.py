#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Volumes that are known to the byte, while everything is done to them.

    exact.py [--seconds N] [--remotes N] [--away SECONDS]

Each volume has an owner, who writes over two connections and does verbs meanwhile;
between his own requests he knows each byte.  Others flatten it, some of them hanging up
half-way, and make groups of snapshots.  What shows below is a file, a volume of the
pool, or another NBD server, one for each of so many volumes (1), which is killed, ended
or stopped again and again.  It comes back after so many seconds at most (1), in time for
no request to fail; verbs that would begin to use it may say that it is not there.

  - What is read is what was written, whatever was done to the volume.
  - A group's snapshot holds the first so many requests of each owner, whole (I8).
  - What growing a volume brings is all of the origin's, or all zeros.
  - In the end, and by another server, each volume and each snapshot is the same.
"""

import argparse
import collections
import contextlib
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "security"))
# pylint: disable=wrong-import-position
from ground import Pool, in_memory, need, seed_from_environment, should, story
from names import Control

BASE = 1_000_000
LARGEST = 3 << 19
ONLY_NOW = {"EBUSY"}  # it is being flattened, or a client has not quite gone
PATIENCE = 120  # seconds, for what should take much less


class Worker(threading.Thread):
    """Does something again and again."""

    def __init__(self, world):
        super().__init__()
        self.world, self.rnd, self.wrong = world, random.Random(world.rnd.random()), None
        self.count = collections.Counter()
        self.longest = 0

    def control(self):
        """A new one: who says nothing for some seconds is hung up on."""
        control = Control(self.world.pool)
        control.s.settimeout(PATIENCE)
        return contextlib.closing(control)

    def goes_on(self):
        return time.monotonic() < self.world.until and not self.world.over

    def run(self):
        try:
            while self.goes_on():
                began = time.monotonic()
                self.turn()
                self.longest = max(self.longest, time.monotonic() - began)
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e
            self.world.over = True

    def ask(self, verb, may=(), **args):
        """Whether it was done; else it was refused for one of the reasons in `may`."""
        with self.control() as control:
            answer = control.ask(verb, args)
        should(answer is not None and "reply" in answer, verb, args, "was answered", answer)
        error = answer["reply"].get("error")
        self.count[f"{verb} {error['code']}" if error else verb] += 1
        if error and "cannot connect" in error["message"]:  # the other server is away
            return False
        should(not error or error["code"] in may, verb, args, error)
        return not error


class Owner(Worker):
    """Of one volume, its name and its snapshots."""

    def __init__(self, world, number, origin, base):
        super().__init__(world)
        self.number, self.origin, self.whole_base = number, origin, base
        # Held for verbs that change name, size or content; not for I/O.
        self.verbs = threading.Lock()
        # What is known, and the requests since somebody wants to know them.
        self.known, self.doing, self.requests = threading.Lock(), None, None
        self.names = 0
        self.snapshots = {}     # content and base of each
        self.new_volume()

    def new_name(self, kind):
        self.names += 1
        return f"{kind}{self.number}-{self.names}"

    def new_volume(self):
        self.name, self.handles, self.base = self.new_name("v"), [], self.whole_base
        size = self.rnd.randrange(1, LARGEST)
        args = {"origin": self.origin} if self.origin else {}
        while not self.ask("create", name=self.name, size=size, **args):
            time.sleep(0.01)
        self.content = bytearray(self.base[:size].ljust(size, b"\0"))

    # --- connections

    def handle(self):
        if len(self.handles) < 2:
            self.handles.append(self.world.connect(self.name))
        elif self.rnd.random() < 0.05:
            self.handles.pop(0).shutdown()
            self.handles.append(self.world.connect(self.name))
        return self.rnd.choice(self.handles)

    def hang_up(self):
        while self.handles:
            self.handles.pop().shutdown()

    # --- I/O

    def part(self, begin, end):
        """A part of [begin, end), and what to write there: None for zeros."""
        first = self.rnd.randrange(begin, end)
        last = min(end, first + self.rnd.choice((1, 512, 4096, 65536, 200_000)))
        if self.rnd.random() < 0.5:
            first = first // 65536 * 65536 if first // 65536 * 65536 >= begin else first
        data = None if self.rnd.random() < 0.15 else self.rnd.randbytes(last - first)
        return first, last, data

    def change(self):
        """One request, or one on each connection at once."""
        h = self.handle()
        size = h.get_size()
        parts = [(h, *self.part(0, size))]
        if size > 10 and self.rnd.random() < 0.5:
            other = self.rnd.choice(self.handles)
            half = min(size, other.get_size()) // 2
            parts = [(h, *self.part(0, half)), (other, *self.part(half, 2 * half))]
        self.do_all(parts)

    def do_all(self, parts):
        import nbd  # pylint: disable=import-outside-toplevel
        with self.known:
            self.doing = [p[1:] for p in parts]
            if self.requests is not None:
                self.requests.append(self.doing)
        fua = self.rnd.choice((0, 0, nbd.CMD_FLAG_FUA))
        cookies = []
        for h, first, last, data in parts:
            if data is None:
                flags = fua | self.rnd.choice((0, nbd.CMD_FLAG_NO_HOLE))
                cookies.append((h, h.aio_zero(last - first, first, flags=flags)))
            else:
                buf = nbd.Buffer.from_bytearray(bytearray(data))
                cookies.append((h, h.aio_pwrite(buf, first, flags=fua)))
        for h, cookie in cookies:
            while not h.aio_command_completed(cookie):
                h.poll(-1)
        with self.known:
            for _, first, last, data in parts:
                self.content[first:last] = data or bytes(last - first)
            self.doing = None
        self.count["writes"] += len(parts)

    def look(self, everywhere=False):
        h = self.handle()
        size = h.get_size()
        first = 0 if everywhere else self.rnd.randrange(size)
        last = size if everywhere else min(size, first + self.rnd.randint(1, 300_000))
        self.same(h.pread(last - first, first), first, self.content[first:last])
        self.count["reads"] += 1

    def same(self, found, at, expected, what=""):
        if found != expected:
            s = next(i for i, (a, b) in enumerate(zip(found, expected)) if a != b)
            e = next((i for i in range(s, len(found)) if found[i] == expected[i]), len(found))
            should(False, self.name, what, "is wrong from", at + s, "to", at + e, "of",
                   len(self.content), found[s:s + 32].hex(), "not", expected[s:s + 32].hex())

    def trim(self):
        """The origin may show, or nothing, until it is written again."""
        with self.verbs:
            h = self.handle()
            first, last, _ = self.part(0, h.get_size())
            h.trim(last - first, first)
            self.do_all([(h, first, last, self.rnd.randbytes(last - first))])

    # --- verbs

    def snapshot(self):
        with self.verbs:
            name = self.new_name("s")
            self.ask("snapshot", pairs=[self.name, name], readonly=True)
            self.snapshots[name] = bytes(self.content), self.base
        if len(self.snapshots) > 2:
            gone = self.rnd.choice(list(self.snapshots))
            del self.snapshots[gone]
            self.ask("delete", names=[gone], force=True)

    def look_at_snapshot(self):
        if self.snapshots:
            name = self.rnd.choice(list(self.snapshots))
            self.same(self.world.read_all(name), 0, self.snapshots[name][0], name)

    def rename(self):
        with self.verbs:
            new = self.new_name("v")
            self.ask("rename", old=self.name, new=new)
            self.name = new

    def resize(self):
        with self.verbs:
            old, size = len(self.content), self.rnd.randrange(1, LARGEST)
            if self.rnd.random() < 0.3:
                size = min(LARGEST, old + self.rnd.randrange(1, 65536))
            if size < old:
                self.hang_up()
            if not self.ask("resize", ONLY_NOW, name=self.name, size=size, force=True):
                return
            self.content = self.content[:size]
            if size < old:
                self.base = self.base[:size]
            else:
                self.grown(old, size)

    def grown(self, old, size):
        h = self.world.connect(self.name)
        should(h.get_size() == size, self.name, "has", h.get_size(), "not", size)
        new = h.pread(size - old, old) if size > old else b""
        h.shutdown()
        if new != self.base[old:size].ljust(size - old, b"\0"):
            self.same(new, old, bytes(size - old), "grown")
            self.base = b""
        self.content += new

    def rollback(self):
        if not self.snapshots:
            return
        with self.verbs:
            self.hang_up()
            name = self.rnd.choice(list(self.snapshots))
            if self.ask("rollback", ONLY_NOW, name=self.name, snapshot=name):
                content, self.base = self.snapshots[name]
                self.content = bytearray(content)

    def begin_anew(self):
        with self.verbs:
            self.hang_up()
            if self.ask("delete", ONLY_NOW, names=[self.name],
                        force=self.rnd.random() < 0.5):
                for name in self.snapshots:  # they are no longer its
                    self.ask("delete", names=[name], force=True)
                self.snapshots = {}
                self.new_volume()

    def turn(self):
        rare = (self.snapshot, self.look_at_snapshot, self.rename, self.resize, self.resize,
                self.rollback, self.trim, lambda: self.look(everywhere=True))
        dice = self.rnd.random()
        if dice < 0.6:
            self.change()
        elif dice < 0.8:
            self.look()
        elif dice < 0.81:
            self.begin_anew()
        else:
            self.rnd.choice(rare)()

    # --- for the groups

    def begin_recording(self):
        with self.known:
            self.requests = [self.doing] if self.doing else []
            return bytearray(self.content)

    def end_recording(self):
        with self.known:
            requests, self.requests = self.requests, None
            return requests


def states(content, requests):
    """What a volume is, one after the other; of two at once either may be first."""
    yield content
    for parts in requests:
        after = []
        for first, last, data in parts:
            one = content[:]
            one[first:last] = data or bytes(last - first)
            after.append(one)
        yield from after
        for first, last, data in parts:
            content[first:last] = data or bytes(last - first)
        yield content


class Groups(Worker):
    """All owners' volumes at once."""

    def turn(self):
        owners = self.rnd.sample(self.world.owners, self.rnd.randint(1, len(self.world.owners)))
        for o in sorted(owners, key=lambda o: o.number):
            o.verbs.acquire()  # pylint: disable=consider-using-with
        try:
            before = [o.begin_recording() for o in owners]
            pairs = [x for o in owners for x in (o.name, f"g-{o.number}")]
            self.ask("snapshot", pairs=pairs, readonly=True)
            requests = [o.end_recording() for o in owners]
        finally:
            for o in owners:
                o.verbs.release()
        for o, content, since in zip(owners, before, requests):
            found = self.world.read_all(f"g-{o.number}")
            should(any(found == s for s in states(content, since)), f"g-{o.number}", "of",
                   o.name, "is no moment of", len(since), "requests")
        self.ask("delete", names=pairs[1::2], force=True)
        time.sleep(self.rnd.random() * 0.1)


class Flattener(Worker):
    """Of any volume; with others, and not always to the end."""

    def turn(self):
        owner = self.rnd.choice(self.world.owners)
        name = self.rnd.choice([owner.name, owner.name, *owner.snapshots])
        args = {"name": name}
        if self.rnd.random() < 0.7:
            args["rate"] = self.rnd.choice(("1M/s", "10M/s"))
        if self.rnd.random() < 0.5:
            self.ask("flatten", {"ENOENT"}, **args)
        else:
            text = ", ".join(f'"{k}": "{v}"' for k, v in args.items())
            with self.control() as control:
                control.s.sendall(
                    b'{"id": 2, "request": {"verb": "flatten", "args": {%s}}}\n' % text.encode())
                time.sleep(self.rnd.random() * 0.2)
            self.count["flatten left"] += 1
        time.sleep(self.rnd.random() * 0.3)


class Remote(Worker):
    """The server of an origin, which goes away and comes back."""

    def __init__(self, world, number, away):
        super().__init__(world)
        self.socket, self.away = world.work / f"remote{number}.sock", away
        self.turns = 0
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.start_server()

    def goes_on(self):
        """As long as it may be wanted: nbdkit ends with the thread that started it."""
        return any(w.is_alive() for w in self.world.clients)

    def start_server(self):
        self.socket.unlink(missing_ok=True)
        self.server = subprocess.Popen(  # pylint: disable=consider-using-with
            ["nbdkit", "-f", "-r", "-U", str(self.socket), "file",
             str(self.world.base_path)])
        while not self.socket.exists():
            should(self.server.poll() is None, "nbdkit does not start")
            time.sleep(0.002)

    def stop_server(self):
        self.server.kill()
        self.server.wait()

    def pause(self):
        time.sleep(self.rnd.choice((0, self.rnd.random() * self.away)))

    def killed(self):
        self.stop_server()
        self.pause()
        self.start_server()

    def ended(self):
        """It waits for its clients to leave; of those one may have nothing to ask."""
        self.server.terminate()
        try:
            self.server.wait(timeout=2)
            self.count["server waited for"] += 1
        except subprocess.TimeoutExpired:
            pass
        self.killed()

    def stopped(self):
        """So that it takes connections, and answers nobody."""
        self.server.send_signal(signal.SIGSTOP)
        self.pause()
        if self.rnd.random() < 0.5:
            self.killed()
        self.server.send_signal(signal.SIGCONT)

    def turn(self):
        """Now and then it stays for longer than the pool pauses between attempts."""
        self.turns += 1
        time.sleep(0.1 + self.rnd.random() * 0.5 if self.turns % 5 else 3)
        how = self.rnd.choice((self.killed, self.ended, self.stopped))
        how()
        self.count[f"server {how.__name__}"] += 1


class World:
    """The pool."""

    def __init__(self, work, rnd, args):
        self.work, self.rnd, self.pool, self.over = work, rnd, Pool(work), False
        self.base_path = work / "base"
        base = rnd.randbytes(BASE)
        self.base_path.write_bytes(base)
        self.pool.t("init", "--data-size", "1G", "--metadata-size", "16M")
        self.pool.start()
        low = self.make_low(base)
        self.until = time.monotonic() + args.seconds
        self.servers = [Remote(self, i, args.away) for i in range(args.remotes)]
        kinds = [(str(self.base_path), base), ("thin:low", low), (None, b""),
                 *((server.uri, base) for server in self.servers)]
        self.owners = [Owner(self, i, *kind) for i, kind in enumerate(kinds)]
        self.clients = [*self.owners, Groups(self), Flattener(self), Flattener(self)]
        self.workers = [*self.clients, *self.servers]

    def make_low(self, base):
        """A volume to be read through, over the file, with something of its own."""
        self.pool.t("create", "low", "--origin", str(self.base_path), "--size", "1234567")
        h = self.pool.connect("low")
        data = self.rnd.randbytes(300_000)
        h.pwrite(data, 100_000)
        h.shutdown()
        self.pool.t("set", "low", "readonly=true")
        return base[:100_000] + data + base[400_000:].ljust(834_567, b"\0")

    def connect(self, name):
        """Also while the other server is away: its origins can not be opened then."""
        import nbd  # pylint: disable=import-outside-toplevel
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.pool.connect(name)
            except nbd.Error:
                if time.monotonic() > deadline or not self.pool.alive():
                    raise
            time.sleep(0.01)

    def read_all(self, name):
        h = self.connect(name)
        data = h.pread(h.get_size(), 0)
        h.shutdown()
        return data

    def live(self):
        for w in self.workers:
            w.start()
        for w in self.workers:
            w.join(timeout=max(0, self.until - time.monotonic()) + PATIENCE)
            should(not w.is_alive(), type(w).__name__, "got no answer for too long")
        for w in self.workers:
            if w.wrong:
                raise w.wrong

    def end(self):
        """After a kill with all flushed, by another server; and without one."""
        for server in self.servers:
            server.killed()
        for o in self.owners:
            o.look(everywhere=True)
            o.handle().flush()
            o.hang_up()
        self.pool.kill()
        self.pool.start()
        for o in self.owners:
            o.look(everywhere=True)
            for name, (content, _) in o.snapshots.items():
                o.same(self.read_all(name), 0, content, name)
            o.hang_up()
        self.pool.stop()
        self.pool.check()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--remotes", type=int, default=1)
    parser.add_argument("--away", type=float, default=1)
    args = parser.parse_args()
    need()
    seed = seed_from_environment()
    with story(seed, "--seconds", args.seconds, "--remotes", args.remotes, "--away", args.away,
               tmp=in_memory()) as (work, rnd):
        world = World(work, rnd, args)
        try:
            world.live()
            world.end()
        finally:
            world.over = True
            world.pool.kill()
            for server in world.servers:
                server.stop_server()
        total = collections.Counter()
        for w in world.workers:
            total.update(w.count)
        print(" ", ", ".join(f"{k} {n}" for k, n in sorted(total.items())))
        print(f"  longest turn of an owner: {max(o.longest for o in world.owners):.1f} s")


if __name__ == "__main__":
    main()
