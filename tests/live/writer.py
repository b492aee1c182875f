#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A client who remembers what he wrote, and how to tell from that what he should find.

As a program it is the client: one connection, one request at a time, each logged
before it is issued and when it was answered.  As a module it is what others make of
that log: how many of the requests a snapshot holds (I8).

A sector that was written says by whom, in which request, and where it belongs.
"""

import os
import random
import struct
import sys
import time

SECTOR = 512
STAMP = struct.Struct("<QQQQ")
MAGIC = 0x6c69766564697363
RECORD = struct.Struct("<cIdIIc")  # what, number, when, sector, count, kind
BEGUN, DONE = b"B", b"D"
WRITE, ZERO = b"W", b"Z"
ZEROS = bytes(SECTOR)
NEVER = float("inf")


def stamp(client, number, sector):
    return STAMP.pack(MAGIC, client, number, sector) * (SECTOR // STAMP.size)


def stamped(client, number, sector, count):
    return b"".join(stamp(client, number, s) for s in range(sector, sector + count))


def split(data):
    return [data[i:i + SECTOR].ljust(SECTOR, b"\0") for i in range(0, len(data), SECTOR)]


class Wrong(Exception):
    """A sector holds what it may not."""


class Log:
    """Of one client's requests.  Number 1 is the first; 0 is what was there before."""

    def __init__(self, path, client, base, size):
        self.path, self.client = path, client
        self.base = split(base[:size].ljust(size, b"\0"))
        self.start, self.end, self.kind = [-1.0], [-1.0], [None]
        self.touched = [[0] for _ in self.base]  # requests of each sector
        self.read = 0

    def update(self):
        """What has come since."""
        with open(self.path, "rb") as f:
            f.seek(self.read)
            data = f.read()
        usable = len(data) // RECORD.size * RECORD.size
        self.read += usable
        for what, number, when, sector, count, kind in RECORD.iter_unpack(data[:usable]):
            if what == DONE:
                self.end[number] = when
                continue
            assert number == len(self.start), "the log has a gap"
            self.start.append(when)
            self.end.append(NEVER)
            self.kind.append(kind)
            for s in range(sector, sector + count):
                self.touched[s].append(number)

    def last(self, sector, number):
        """The last request up to `number` that touched it; and the next one."""
        touched = self.touched[sector]
        low, high = 0, len(touched)
        while high - low > 1:
            middle = (low + high) // 2
            if touched[middle] <= number:
                low = middle
            else:
                high = middle
        return touched[low], touched[high] if high < len(touched) else NEVER

    def content(self, number):
        """What the volume holds when so many requests are done."""
        return b"".join(self.value(s, number) for s in range(len(self.base)))

    def value(self, sector, number):
        last, _ = self.last(sector, number)
        if not last:
            return self.base[sector]
        return ZEROS if self.kind[last] == ZERO else stamp(self.client, last, sector)

    def by_stamps(self, sectors):
        """Between which numbers it is, by the sectors that say so."""
        low, high, others = 0, len(self.start) - 1, []
        for s, data in enumerate(sectors):
            magic, client, number, where = STAMP.unpack_from(data)
            if magic != MAGIC or data == self.base[s]:
                others.append(s)
                continue
            if client != self.client or where != s or data != stamp(client, number, s) or \
                    number >= len(self.start):
                raise Wrong(f"sector {s} is of client {client}, request {number}, "
                            f"sector {where}")
            last, after = self.last(s, number)
            if last != number or self.kind[number] != WRITE:
                raise Wrong(f"sector {s} says request {number}, which did not write it")
            low, high = max(low, number), min(high, after - 1)
            if low > high:
                raise Wrong(f"sector {s} has request {number}, up to {after - 1} only; "
                            f"others are of {low}")
        return low, high, others

    def instant(self, data, begin, end):
        """When a snapshot that was asked for at `begin` and answered at `end` was taken:
        the earliest and the latest moment, by what it holds."""
        sectors = split(data)
        low, high, others = self.by_stamps(sectors)
        while low < high and self.end[low + 1] < begin:
            low += 1
        while low < high and self.start[high] > end:
            high -= 1
        fits = [n for n in range(low, high + 1)
                if all(sectors[s] == self.value(s, n) for s in others)]
        if not fits:
            wrong = next(s for s in others if sectors[s] != self.value(s, low))
            raise Wrong(f"no number of requests from {low} to {high} explains sector "
                        f"{wrong}: {sectors[wrong][:32].hex()}")
        first, after = self.start[fits[0]], NEVER
        if fits[-1] + 1 < len(self.end):
            after = self.end[fits[-1] + 1]
        if first > end or after < begin:
            raise Wrong(f"it holds {fits[0]} to {fits[-1]} requests, of {first} to "
                        f"{after}; it was asked for at {begin}, and answered at {end}")
        return first, after


class Client:
    """The program."""

    def __init__(self, socket, name, log, client, base, size, seed):
        import nbd  # pylint: disable=import-outside-toplevel
        self.nbd = nbd
        self.h = nbd.NBD()
        self.h.set_export_name(name)
        self.h.connect_unix(socket)
        assert self.h.get_size() == size, "the size"
        self.client, self.rnd, self.number = client, random.Random(seed), 0
        self.sectors = split(base[:size].ljust(size, b"\0"))
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND)
        self.took = []

    def note(self, what, *rest):
        now = time.monotonic()
        os.write(self.log, RECORD.pack(what, self.number, now, *rest))
        return now

    def some_range(self):
        count = min(self.rnd.choice((1, 8, 8, 8, 16, 128, 130, 300)), len(self.sectors))
        first = self.rnd.randrange(len(self.sectors) - count + 1)
        return first, count

    def change(self, kind, first, count, issue, data):
        self.number += 1
        began = self.note(BEGUN, first, count, kind)
        issue()
        self.took.append(self.note(DONE, 0, 0, kind) - began)
        self.sectors[first:first + count] = data

    def write(self, flags):
        first, count = self.some_range()
        data = stamped(self.client, self.number + 1, first, count)
        self.change(WRITE, first, count, lambda: self.h.pwrite(data, first * SECTOR, flags),
                    split(data))

    def zero(self, flags):
        first, count = self.some_range()
        if self.rnd.random() < 0.5:
            flags |= self.nbd.CMD_FLAG_NO_HOLE
        self.change(ZERO, first, count,
                    lambda: self.h.zero(count * SECTOR, first * SECTOR, flags),
                    [ZEROS] * count)

    def look(self):
        first, count = self.some_range()
        data = self.h.pread(count * SECTOR, first * SECTOR)
        assert split(data) == self.sectors[first:first + count], \
            f"client {self.client} read wrong bytes at {first}+{count} after {self.number}"

    def step(self):
        dice = self.rnd.random()
        fua = self.nbd.CMD_FLAG_FUA if self.rnd.random() < 0.05 else 0
        if dice < 0.65:
            self.write(fua)
        elif dice < 0.75:
            self.zero(fua)
        elif dice < 0.97:
            self.look()
        else:
            self.h.flush()

    def live(self, until):
        while time.monotonic() < until:
            self.step()
            time.sleep(self.rnd.random() * 0.01)
        self.h.flush()
        for first in range(0, len(self.sectors), 1024):
            data = self.h.pread(min(1024, len(self.sectors) - first) * SECTOR,
                                first * SECTOR)
            assert split(data) == self.sectors[first:first + 1024], "the last look"
        self.h.shutdown()


def main():
    socket, name, log, client, base, size, seed, until = sys.argv[1:]
    with open(base, "rb") as f:
        c = Client(socket, name, log, int(client), f.read(), int(size), int(seed))
    c.live(float(until))
    print(*(f"{t:.6f}" for t in c.took))


if __name__ == "__main__":
    main()
