# SPDX-License-Identifier: BSD-3-Clause
"""What was written to a volume, sector by sector, and what it may hold.

A write has a value of its own.  All that is known of it is when it was issued
and when it was answered; None: never, so it may have happened or not.  `Z` is
zeros, and `O` the origin's own bytes: many writes may have these values.

The rules (docs/promises.md, P1 to P3), for a sector that holds value V, written
by c (any of the writes of V):

  read      c was issued before the read ended, and no other was issued after
            c's answer and answered before the read began.  A mixture of several
            only while somebody writes: the kernel's page cache allows that
  crash     no other that is durable was issued after c's answer.  Durable is
            what had FUA and was answered, or was answered before a flush of the
            volume was issued, which was answered
  snapshot  as a read of all sectors at one instant, with whole requests
"""

import copy
import struct
import threading
import zlib

SECTOR = 512
Z = 0
O = 1
FIRST = 2  # of the values of writes
FOREVER = float("inf")
MAGIC = 0x746f727475726521
STAMP = struct.Struct("<QQQQ")


def stamp(value, sector):
    head = struct.pack("<QQQ", MAGIC, value, sector)
    return (head + struct.pack("<Q", zlib.crc32(head))) * (SECTOR // STAMP.size)


def stamped(value, sector, count):
    return b"".join(stamp(value, s) for s in range(sector, sector + count))


ZEROS = bytes(SECTOR)


class Wrong(Exception):
    """A sector holds what it may not."""


class Base:
    """An origin: its sectors say that they are its, and the last is cut off."""

    def __init__(self, path, size):
        self.path, self.size = path, size
        count = (size + SECTOR - 1) // SECTOR
        self.sectors = [stamp(O, s) for s in range(count)]
        if size % SECTOR:
            self.sectors[-1] = self.sectors[-1][:size % SECTOR].ljust(SECTOR, b"\0")
        # Some of it is holes.
        for s in range(0, count - 1):
            if s % 300 < 90:
                self.sectors[s] = ZEROS
        with open(path, "wb") as f:
            f.truncate(size)
            for s, data in enumerate(self.sectors):
                if data is not ZEROS:
                    f.seek(s * SECTOR)
                    f.write(data[:size - s * SECTOR])

    def below(self, size):
        """What shows of it in a volume that was shrunk to so many bytes."""
        cut = copy.copy(self)
        cut.sectors = self.sectors[:size // SECTOR]
        return cut

    def value(self, sector):
        shows = sector < len(self.sectors) and self.sectors[sector] is not ZEROS
        return O if shows else Z


def value_of(data, sector, base):
    if data == ZEROS:
        return Z
    if base and sector < len(base.sectors) and data == base.sectors[sector]:
        return O
    magic, value, where, crc = STAMP.unpack_from(data)
    if magic != MAGIC or where != sector or value < FIRST or \
            crc != zlib.crc32(data[:24]) or data != data[:32] * (SECTOR // 32):
        raise Wrong(f"sector {sector} is no single write's: {data[:48].hex()} ...")
    return value


def values_of(data, base, first=0, torn=None):
    """Of whole sectors; a mixture is None where `torn` is a list, of its sectors."""
    values = []
    for i in range(0, len(data) - SECTOR + 1, SECTOR):
        try:
            values.append(value_of(data[i:i + SECTOR], first + i // SECTOR, base))
        except Wrong:
            if torn is None:
                raise
            torn.append(first + i // SECTOR)
            values.append(None)
    return values


class Write:  # pylint: disable=too-few-public-methods
    """What may have changed sectors [sector, sector + count)."""
    __slots__ = ("value", "sector", "count", "start", "end", "fua")

    def __init__(self, value, sector, count, start, fua=False):
        self.value, self.sector, self.count = value, sector, count
        self.start, self.end, self.fua = start, FOREVER, fua

    def __repr__(self):
        return f"<{self.value:#x} {self.sector}+{self.count} {self.start}-{self.end}>"


class History:
    """Of a volume that clients write to.  Their threads add to it."""

    values = FIRST
    lock = threading.Lock()

    def __init__(self, values, base):
        self.base = base
        self.begin = values  # of each sector, before all
        self.sectors = [[] for _ in values]
        self.flushed = -1.0  # what was answered by then is durable

    def __len__(self):
        return len(self.begin)

    @classmethod
    def new_value(cls):
        with cls.lock:
            cls.values += 1
            return cls.values

    def add(self, write):
        """Before it is issued."""
        for s in range(write.sector, min(write.sector + write.count, len(self))):
            self.sectors[s].append(write)

    def note_flush(self, start):
        """It was answered."""
        with self.lock:
            self.flushed = max(self.flushed, start)

    def value_after(self, write, sector):
        """What is in the sector when this was the last; `O` is where it shows."""
        if write.value == O:
            return self.base.value(sector) if self.base else Z
        return write.value

    def ends_of(self, sector, value, before=FOREVER):
        """When the writes that may have put it there were answered."""
        ends = [-1.0] if self.begin[sector] == value else []
        ends += [w.end for w in self.sectors[sector]
                 if w.start <= before and self.value_after(w, sector) == value]
        if not ends:
            raise Wrong(f"sector {sector}: {value:#x} was never written; "
                        f"{self.sectors[sector]} on {self.begin[sector]:#x}")
        return ends

    def durable(self, write):
        return write.end <= self.flushed or (write.fua and write.end < FOREVER)

    def check_torn(self, sectors, start, end):
        for s in sectors:
            if not any(w.start < end and w.end > start for w in self.sectors[s]):
                raise Wrong(f"sector {s}: a mixture at {start}-{end}, when nobody wrote")

    def check_read(self, values, first, start, end):
        for s, value in enumerate(values, first):
            if value is None:
                continue
            newest = max(self.ends_of(s, value, end))
            for w in self.sectors[s]:
                if w.start > newest and w.end < start:
                    raise Wrong(f"sector {s}: read {value:#x} at {start}-{end}, but {w}")

    def check_crash(self, values):
        for s, value in enumerate(values):
            newest = max(self.ends_of(s, value))
            for w in self.sectors[s]:
                if w.start > newest and self.durable(w):
                    raise Wrong(f"sector {s}: {value:#x}, but {w} is durable "
                                f"({'FUA' if w.fua else self.flushed})")

    def instant(self, values, start, end):
        """The earliest and the latest that a snapshot of these values can be of."""
        low, high, seen = start, end, {}
        for s, value in enumerate(values):
            newest = max(self.ends_of(s, value, end))
            for w in self.sectors[s]:
                if w.start > newest:
                    high = min(high, w.end)
                if w.value == value >= FIRST:
                    low = max(low, w.start)
                    seen[value] = w
        if low > high:
            raise Wrong(f"a snapshot of {start}-{end} is of no instant: after {low}, "
                        f"before {high}")
        for w in seen.values():
            self.check_whole(values, w, end)
        return low, high

    def check_whole(self, values, write, before):
        for s in range(write.sector, min(write.sector + write.count, len(values))):
            if values[s] != write.value and \
                    max(self.ends_of(s, values[s], before)) < write.start:
                raise Wrong(f"half a request in a snapshot: {write}, not in sector {s}: "
                            f"{values[s]:#x}")
