#!/usr/bin/python3
"""Make dm-thin metadata images from a small description.

    build.py PRESET OUT            one of the presets (build.py --list)
    build.py --random SEED OUT     a pool after some random operations
    build.py --json SPEC OUT       a description in JSON, fields as in Pool, Device and Held below

Nodes of mapping trees with equal contents are written once and shared, as they are between a device and its snapshot;
so a snapshot is just a second device with (nearly) the same mappings.  `share=False` gives each device its own nodes,
which is what thin_restore does.
"""

import argparse
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import List, NamedTuple, Optional

import layout
from layout import (DATA_INDEX, DATA_OVERFLOW, DETAILS, ENTRIES_PER_BITMAP, METADATA_OVERFLOW, SUBTREE, TOP_LEVEL,
                    Image, SpaceMapRoot, Superblock)


class Run(NamedTuple):
    """`length` virtual blocks mapped to as many data blocks, all with one time."""

    vblock: int
    dblock: int
    length: int = 1
    time: int = 0


@dataclass
class Device:
    id: int
    runs: List[Run] = field(default_factory=list)
    transaction_id: int = 0
    creation_time: int = 0
    snapshotted_time: int = 0

    def mappings(self):
        """All (virtual block, packed value) pairs in key order."""
        return sorted((run.vblock + i, (run.dblock + i) << layout.TIME_BITS | run.time)
                      for run in self.runs for i in range(run.length))


@dataclass
class Held:
    """The metadata snapshot: the devices as they were when it was made."""

    devices: List[Device]
    time: int = 0
    transaction_id: int = 0


@dataclass
class Pool:
    metadata_blocks: int = 1024
    data_blocks: int = 0
    data_block_size: int = layout.MIN_DATA_BLOCK_SIZE
    time: int = 0
    transaction_id: int = 0
    flags: int = 0
    uuid: str = ""
    devices: List[Device] = field(default_factory=list)
    held: Optional[Held] = None
    share: bool = True
    fill: float = 1.0                   # how full to make the nodes, where the tree's rules allow
    shuffle: Optional[int] = None       # seed to hand out metadata blocks in a random order; None: in a row


def pool_of_json(spec):
    """The Pool described by a decoded JSON object; unknown fields are errors."""
    def devices(items):
        return [Device(**{**item, "runs": [Run(*run) for run in item.get("runs", [])]}) for item in items]

    spec = dict(spec, devices=devices(spec.get("devices", [])))
    if spec.get("held"):
        spec["held"] = Held(**dict(spec["held"], devices=devices(spec["held"]["devices"])))
    return Pool(**spec)


def groups(count, capacity, fill):
    """Sizes of the nodes that hold `count` entries: `fill` of each, and none but a lone one under a third full."""
    least = -(-capacity // 3)
    size = max(least, int(capacity * fill))
    sizes = [size] * (count // size)
    rest = count % size
    if rest and sizes and rest < least:
        rest += sizes.pop()
        if rest > capacity:
            sizes.append(rest // 2)
            rest -= rest // 2
    return sizes + [rest] if rest or not sizes else sizes


class Builder:
    """Writes one pool; counts references as it goes and writes the space maps last."""

    def __init__(self, pool):
        self.pool = pool
        self.image = Image(pool.metadata_blocks)
        self.metadata_refs = Counter([0])
        self.data_refs = Counter()
        self._written = {}
        order = list(range(1, pool.metadata_blocks))
        if pool.shuffle is not None:
            random.Random(pool.shuffle).shuffle(order)
        self._free = iter(order)

    def build(self):
        # The order of these allocations is the kernel's, so that an empty pool comes out byte for byte the same.
        pool = self.pool
        index_block, overflow_root = self._allocate(), self._allocate()
        metadata_bitmaps = [self._allocate() for _ in range(self._bitmaps(pool.metadata_blocks))]
        data_index, data_overflow, mapping, details = (self._allocate() for _ in range(4))

        self._write_devices(pool.devices, mapping, details)
        held_root = self._write_held(pool.held) if pool.held else 0
        data_sm = self._write_data_map(data_index, data_overflow)
        superblock = Superblock(
            flags=pool.flags, uuid=pool.uuid.encode(), time=pool.time, trans_id=pool.transaction_id,
            held_root=held_root, data_sm=data_sm.pack(), mapping_root=mapping, details_root=details,
            data_block_size=pool.data_block_size, metadata_nr_blocks=pool.metadata_blocks)
        metadata_sm = self._write_metadata_map(index_block, metadata_bitmaps, overflow_root)
        self.image.put(0, layout.seal(superblock._replace(metadata_sm=metadata_sm.pack()).pack(), layout.SUPERBLOCK))
        return self.image

    @staticmethod
    def _bitmaps(blocks):
        return -(-blocks // ENTRIES_PER_BITMAP)

    def _allocate(self):
        """A new block with one reference: whoever asked for it."""
        try:
            number = next(self._free)
        except StopIteration:
            raise ValueError("metadata_blocks is too small for this pool") from None
        self.metadata_refs[number] = 1
        return number

    def _node(self, tree, leaf, entries, number=None, owner=None):
        """Write a node at `number`, or find an equal one, or allocate; whoever points to it counts the reference.

        Empty nodes are equal only if they have the same owner.
        """
        keys, values = zip(*entries) if entries else ((), ())
        contents = (tree, leaf, keys, values, owner if not entries else None)
        if number is None and self.pool.share and contents in self._written:
            return self._written[contents]
        if number is None:
            number = self._allocate()
        self.metadata_refs[number] = 0
        self._written[contents] = number
        self.image.put(number, layout.pack_node(number, tree, leaf, keys, values))
        if not leaf or tree is TOP_LEVEL:
            self.metadata_refs.update(values)
        elif tree is SUBTREE:
            self.data_refs.update(value >> layout.TIME_BITS for value in values)
        return number

    def _tree(self, tree, entries, root=None, owner=None):
        """Write a whole tree from sorted (key, value) pairs, bottom up; its root gets the number `root` if given."""
        leaf = True
        while True:
            capacity = layout.max_entries(tree.value_size if leaf else 8)
            sizes = groups(len(entries), capacity, self.pool.fill)
            if len(sizes) == 1:
                return self._node(tree, leaf, entries, root, owner)
            above = []
            for size in sizes:
                above.append((entries[0][0], self._node(tree, leaf, entries[:size])))
                entries = entries[size:]
            entries, leaf = above, False

    def _root(self, tree, entries, number=None):
        """A whole tree with one reference to its root."""
        number = self._tree(tree, entries, number)
        self.metadata_refs[number] += 1
        return number

    def _write_devices(self, devices, mapping_root=None, details_root=None):
        devices = sorted(devices, key=lambda device: device.id)
        top_level, details = [], []
        for device in devices:
            mappings = device.mappings()
            top_level.append((device.id, self._tree(SUBTREE, mappings, owner=device.id)))
            details.append((device.id, (len(mappings), device.transaction_id, device.creation_time,
                                        device.snapshotted_time)))
        return self._root(TOP_LEVEL, top_level, mapping_root), self._root(DETAILS, details, details_root)

    def _write_held(self, held):
        number = self._allocate()
        mapping, details = self._write_devices(held.devices)
        copy = Superblock(blocknr=number, time=held.time, trans_id=held.transaction_id, mapping_root=mapping,
                          details_root=details, data_block_size=self.pool.data_block_size,
                          metadata_nr_blocks=self.pool.metadata_blocks)
        self.image.put(number, layout.seal(copy.pack(), layout.SUPERBLOCK))
        return number

    def _write_bitmaps(self, refs, nr_blocks, bitmaps):
        """Write the bitmaps at these blocks; returns their index entries, nr_free in the kernel's form."""
        if refs and max(refs) >= nr_blocks:
            raise ValueError("block %d is in use, past the end at %d" % (max(refs), nr_blocks))
        pages = [bytearray(min(ENTRIES_PER_BITMAP, nr_blocks - first))
                 for first in range(0, nr_blocks, ENTRIES_PER_BITMAP)]
        for block, count in refs.items():
            pages[block // ENTRIES_PER_BITMAP][block % ENTRIES_PER_BITMAP] = min(count, 3)
        entries = []
        for number, counts in zip(bitmaps, pages):
            self.image.put(number, layout.pack_bitmap(number, counts))
            used = len(counts) - counts.count(0)
            first_free = counts.find(0)
            entries.append((number, ENTRIES_PER_BITMAP - used, len(counts) if first_free < 0 else first_free))
        return entries

    @staticmethod
    def _overflow(refs):
        return sorted((block, count) for block, count in refs.items() if count >= 3)

    def _write_data_map(self, index_root, overflow_root):
        nr_blocks = self.pool.data_blocks
        bitmaps = [self._allocate() for _ in range(self._bitmaps(nr_blocks))]
        self._root(DATA_INDEX, list(enumerate(self._write_bitmaps(self.data_refs, nr_blocks, bitmaps))), index_root)
        self._root(DATA_OVERFLOW, self._overflow(self.data_refs), overflow_root)
        return SpaceMapRoot(nr_blocks, len(self.data_refs), index_root, overflow_root)

    def _write_metadata_map(self, index_block, bitmaps, overflow_root):
        # Blocks of the overflow tree have a count of 1, so writing it does not change what is in it.
        self._root(METADATA_OVERFLOW, self._overflow(self.metadata_refs), overflow_root)
        nr_blocks = self.pool.metadata_blocks
        entries = self._write_bitmaps(self.metadata_refs, nr_blocks, bitmaps)
        block = bytearray(layout.BLOCK_SIZE)
        for i, entry in enumerate(entries):
            layout.INDEX_ENTRY.pack_into(block, layout.INDEX_HEADER + i * layout.INDEX_ENTRY.size, *entry)
        self.image.put(index_block, layout.seal(block, layout.INDEX, index_block))
        return SpaceMapRoot(nr_blocks, len(self.metadata_refs), index_block, overflow_root)


def build(pool):
    """The Image of this Pool."""
    return Builder(pool).build()


def _one_device():
    return Pool(data_blocks=1024, devices=[Device(1, [Run(0, 0, 100), Run(500, 100, 20)])])


def _empty_devices():
    return Pool(data_blocks=1024, devices=[Device(0), Device(1), Device(layout.MAX_DEVICE_ID)])


def _snapshots():
    """A device, two snapshots of it, and a block overwritten in each since; nothing else is shared."""
    return Pool(data_blocks=1024, time=2, transaction_id=3, devices=[
        Device(1, [Run(0, 0, 50), Run(50, 702, 1, 2), Run(51, 51, 600)], 0, 0, 2),
        Device(2, [Run(0, 700, 1, 2), Run(1, 1, 650)], 1, 1, 1),
        Device(3, [Run(0, 0, 650), Run(650, 701, 1, 2)], 2, 2, 2)])


def _counts():
    """Five devices with one root, and four more with leaves of their own over the same data blocks."""
    whole = [Device(dev, [Run(0, 0, 300)], 0, 5, 5) for dev in range(5)]
    parted = [Device(dev, [Run(0, 0, 300), Run(1000, 300 + dev, 1, 5)], 0, 5, 5) for dev in range(5, 9)]
    return Pool(data_blocks=512, time=5, devices=whole + parted)


def _unshared():
    """What `counts` looks like after a dump and restore: every leaf written once for each device."""
    pool = _counts()
    pool.share = False
    return pool


def _overwritten(length, points, first_new, time):
    """Runs that map a range to itself, with one new data block at each point, written at `time`."""
    runs, start = [], 0
    for i, point in enumerate(points):
        runs += [Run(start, start, point - start), Run(point, first_new + i, 1, time)]
        start = point + 1
    return runs + [Run(start, start, length - start)]


def _wide_overflow():
    """More than 336 counts of three or more in both maps, so both overflow trees have two levels."""
    points = range(10, 42000, 5000)
    devices = [Device(dev, _overwritten(42000, points, 50000 + 100 * dev, 9), 0, 9, 9) for dev in range(4)]
    return Pool(metadata_blocks=4096, data_blocks=60000, time=9, devices=devices, fill=0.35)


def _deep():
    """Mapping trees of three levels, a second device sharing most of them."""
    first = Device(1, [Run(0, 0, 16000)], 0, 0, 1)
    second = Device(2, [Run(0, 0, 8000), Run(8000, 16000, 1, 1), Run(8001, 8001, 7999)], 0, 1, 1)
    return Pool(data_blocks=20000, time=1, devices=[first, second], fill=0.35)


def _wide_leaves():
    """One device with more than 252 full leaves: three levels at full nodes."""
    return Pool(data_blocks=80000, devices=[Device(1, [Run(0, 0, 252 * 252 + 1000)])])


def _many_devices():
    """Enough devices for two levels in the top level and in the details."""
    return Pool(data_blocks=1024, devices=[Device(3 * dev, [Run(dev, dev, 1)]) for dev in range(700)])


def _data_bitmaps():
    """Three data bitmaps, the first full, the last partial; one device with holes."""
    return Pool(data_blocks=40000, devices=[Device(7, [Run(0, 0, 16320), Run(20000, 39999), Run(30000, 20000, 5)])])


def _data_index():
    """More data bitmaps than one leaf of the data index tree holds."""
    return Pool(data_blocks=200 * ENTRIES_PER_BITMAP - 5, devices=[Device(1, [Run(0, 3 * 1000 * 1000, 10)])])


def _exact_bitmap():
    """A data device that ends exactly where its only bitmap does, and is full."""
    return Pool(data_blocks=ENTRIES_PER_BITMAP, devices=[Device(1, [Run(0, 0, ENTRIES_PER_BITMAP)])])


def _metadata_bitmaps():
    """Metadata of more than one bitmap, its blocks taken from all over."""
    pool = _deep()
    pool.metadata_blocks, pool.shuffle = 20480, 1
    return pool


def _held():
    """A metadata snapshot of the pool as it is: the trees are shared whole."""
    pool = _snapshots()
    pool.held = Held(pool.devices, pool.time, pool.transaction_id)
    return pool


def _held_diverged():
    """A metadata snapshot from before the last snapshot and some writes, with a device that is gone since."""
    pool = _snapshots()
    before = [Device(1, [Run(0, 0, 651)], 0, 0, 1), Device(2, [Run(0, 0, 651)], 1, 1, 1),
              Device(9, [Run(0, 900, 30, 1)], 1, 1, 1)]
    pool.held = Held(before, 1, 1)
    return pool


def _rich():
    """Everything at once: what damage is done to."""
    base = [Run(0, 0, 16000)]
    shared = [Device(dev, base, 1, 1, 3) for dev in (1, 2, 3, 4)]
    points = (100, 1000, 3000, 5000, 7000, 9000)
    parted = [Device(dev, _overwritten(16000, points, 20000 + 10 * dev, 3), 2, 2, 3) for dev in (10, 11, 12, 13)]
    alone = [Device(20, [Run(0, 30000, 2000, 3)], 3, 3, 3), Device(21, [Run(0, 35000, 50, 3)], 3, 3, 3),
             Device(22, [], 3, 3, 3)]
    small = [Device(1000 + dev, [Run(7 * dev, 25000 + dev, 1, 2)], 3, 2, 2) for dev in range(300)]
    held = [Device(dev, base, 1, 1, 2) for dev in (1, 2, 5)] + [Device(6, [Run(0, 36000, 500, 2)], 2, 2, 2)]
    return Pool(data_blocks=40000, time=3, transaction_id=4, devices=shared + parted + alone + small,
                held=Held(held, 2, 3), fill=0.35, shuffle=9)


class History:
    """A random life of a pool, by dm-thin's rules of time and sharing; what is left of it makes a Pool."""

    MAX_BLOCKS_WRITTEN = 300

    def __init__(self, generator, data_blocks):
        self._random = generator
        self._data_blocks = data_blocks
        self._time = 0
        self._transaction = 0
        self._devices = {}              # id -> Device; its runs are unused
        self._mappings = {}             # id -> {virtual block: (data block, time)}
        self._held = None

    def live(self, steps):
        actions = [self._create, self._snapshot, self._write, self._write, self._write, self._discard, self._delete,
                   self._hold]
        self._create()
        for _ in range(steps):
            self._random.choice(actions)()
            self._transaction += self._random.randrange(2)

    def pool(self, **options):
        return Pool(data_blocks=self._data_blocks, time=self._time, transaction_id=self._transaction,
                    devices=self._copy_devices(), held=self._held, **options)

    def _copy_devices(self):
        return [replace(device, runs=[Run(key, block, 1, time)
                                      for key, (block, time) in sorted(self._mappings[device.id].items())])
                for device in self._devices.values()]

    def _new_id(self):
        return self._random.choice([i for i in range(2 * len(self._devices) + 1) if i not in self._devices])

    def _some_device(self):
        return self._devices[self._random.choice(sorted(self._devices))] if self._devices else None

    def _add(self, mappings):
        number = self._new_id()
        self._devices[number] = Device(number, [], self._transaction, self._time, self._time)
        self._mappings[number] = mappings

    def _create(self):
        self._add({})

    def _snapshot(self):
        origin = self._some_device()
        if origin is not None:
            self._time += 1
            origin.snapshotted_time = self._time
            self._add(dict(self._mappings[origin.id]))

    def _write(self):
        """Provision or break sharing, in a range; blocks that are not shared are written in place."""
        device = self._some_device()
        if device is None:
            return
        mappings = self._mappings[device.id]
        free = self._free_blocks()
        start = self._random.randrange(2000)
        for key in range(start, start + self._random.randrange(1, self.MAX_BLOCKS_WRITTEN)):
            shared = key in mappings and device.snapshotted_time > mappings[key][1]
            if (key not in mappings or shared) and free:
                mappings[key] = (free.pop(), self._time)

    def _free_blocks(self):
        """Data blocks that nothing maps, in random order."""
        used = {block for mappings in self._mappings.values() for block, _ in mappings.values()}
        if self._held is not None:
            used.update(run.dblock for device in self._held.devices for run in device.runs)
        free = sorted(set(range(self._data_blocks)) - used)
        self._random.shuffle(free)
        return free

    def _discard(self):
        device = self._some_device()
        if device is not None:
            start = self._random.randrange(2000)
            for key in range(start, start + self._random.randrange(1, self.MAX_BLOCKS_WRITTEN)):
                self._mappings[device.id].pop(key, None)

    def _delete(self):
        device = self._some_device()
        if device is not None:
            del self._devices[device.id], self._mappings[device.id]

    def _hold(self):
        """Reserve the metadata snapshot, or release it."""
        if self._held is None:
            self._held = Held(self._copy_devices(), self._time, self._transaction)
        else:
            self._held = None


def random_pool(seed):
    """A pool after some random history, written in some random way."""
    generator = random.Random(seed)
    history = History(generator, generator.choice([1024, 5000, ENTRIES_PER_BITMAP, 20000]))
    history.live(generator.randrange(60))
    return history.pool(fill=generator.choice([0.34, 0.5, 1.0]), share=generator.random() < 0.8,
                        shuffle=generator.choice([None, seed]))


PRESETS = {
    "empty": Pool,
    "empty-devices": _empty_devices,
    "one-device": _one_device,
    "snapshots": _snapshots,
    "counts": _counts,
    "unshared": _unshared,
    "wide-overflow": _wide_overflow,
    "deep": _deep,
    "wide-leaves": _wide_leaves,
    "many-devices": _many_devices,
    "data-bitmaps": _data_bitmaps,
    "data-index": _data_index,
    "exact-bitmap": _exact_bitmap,
    "metadata-bitmaps": _metadata_bitmaps,
    "held": _held,
    "held-diverged": _held_diverged,
    "rich": _rich,
}


def main(arguments):
    parser = argparse.ArgumentParser(description="Make a dm-thin metadata image.")
    parser.add_argument("--list", action="store_true", help="list the presets")
    parser.add_argument("--json", action="store_true", help="SOURCE is a file holding a description in JSON")
    parser.add_argument("--random", action="store_true", help="SOURCE is the seed of a random history")
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="name of a preset")
    parser.add_argument("out", nargs="?", metavar="OUT")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(PRESETS))
        return 0
    if options.out is None:
        parser.error("SOURCE and OUT are needed")
    if options.json:
        with open(options.source, encoding="utf-8") as file:
            pool = pool_of_json(json.load(file))
    elif options.random:
        pool = random_pool(int(options.source))
    elif options.source in PRESETS:
        pool = PRESETS[options.source]()
    else:
        parser.error("no preset %s" % options.source)
    build(pool).write(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
