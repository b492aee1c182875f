"""The dm-thin metadata layout: constants, structures, and an image as numbered blocks.

Only facts of the format are here; what is right or wrong about an image is for audit.py to say.
"""

import os
import struct
from typing import NamedTuple

from crc32c import crc32c

BLOCK_SIZE = 4096
ZERO_BLOCK = bytes(BLOCK_SIZE)

MAGIC = 27022010
VERSION = 2
SECTORS_PER_METADATA_BLOCK = 8
MIN_DATA_BLOCK_SIZE = 128
MAX_DATA_BLOCK_SIZE = 2097152
MAX_TIME = (1 << 24) - 1
TIME_BITS = 24
MAX_DEVICE_ID = (1 << 24) - 1
MAX_DATA_BLOCKS = 1 << 40
NEEDS_CHECK = 1

# Block types, by the constant XORed into the checksum.
SUPERBLOCK = 160774
NODE = 121107
BITMAP = 240779
INDEX = 160478
TYPE_NAMES = {SUPERBLOCK: "superblock", NODE: "btree node", BITMAP: "bitmap", INDEX: "index block"}

INTERNAL = 1
LEAF = 2

BITMAP_HEADER = 16
ENTRIES_PER_BITMAP = (BLOCK_SIZE - BITMAP_HEADER) * 4
INDEX_HEADER = 16
MAX_INDEX_ENTRIES = 255
MAX_METADATA_BLOCKS = MAX_INDEX_ENTRIES * ENTRIES_PER_BITMAP

BLOCK_HEADER = struct.Struct("<IIQ")            # csum, type-dependent, blocknr
NODE_HEADER = struct.Struct("<IIQIIII")         # csum, flags, blocknr, nr_entries, max_entries, value_size, padding
INDEX_ENTRY = struct.Struct("<QII")             # bitmap block, nr_free, none_free_before
SPACE_MAP_ROOT_SIZE = 128


def max_entries(value_size):
    """How many entries of this size every node of a tree holds: the largest multiple of three that fits."""
    return (BLOCK_SIZE - NODE_HEADER.size) // (8 + value_size) // 3 * 3


class Tree(NamedTuple):
    """One of the b-trees.  `value` is the struct format of a leaf value; a child block number is always a Q."""

    name: str
    value: str

    @property
    def value_size(self):
        return struct.calcsize("<" + self.value)


TOP_LEVEL = Tree("mapping top level", "Q")
SUBTREE = Tree("mapping tree", "Q")
DETAILS = Tree("device details", "QQII")        # mapped_blocks, transaction_id, creation_time, snapshotted_time
DATA_INDEX = Tree("data space map index", "QII")
DATA_OVERFLOW = Tree("data overflow counts", "I")
METADATA_OVERFLOW = Tree("metadata overflow counts", "I")


class SpaceMapRoot(NamedTuple):
    nr_blocks: int
    nr_allocated: int
    bitmap_root: int
    ref_count_root: int

    FORMAT = struct.Struct("<QQQQ")

    @classmethod
    def unpack(cls, field):
        return cls(*cls.FORMAT.unpack_from(field))

    def pack(self):
        return self.FORMAT.pack(*self).ljust(SPACE_MAP_ROOT_SIZE, b"\0")


class Superblock(NamedTuple):
    csum: int = 0
    flags: int = 0
    blocknr: int = 0
    uuid: bytes = bytes(16)
    magic: int = MAGIC
    version: int = VERSION
    time: int = 0
    trans_id: int = 0
    held_root: int = 0
    data_sm: bytes = bytes(SPACE_MAP_ROOT_SIZE)
    metadata_sm: bytes = bytes(SPACE_MAP_ROOT_SIZE)
    mapping_root: int = 0
    details_root: int = 0
    data_block_size: int = MIN_DATA_BLOCK_SIZE
    metadata_block_size: int = SECTORS_PER_METADATA_BLOCK
    metadata_nr_blocks: int = 0
    compat_flags: int = 0
    compat_ro_flags: int = 0
    incompat_flags: int = 0

    FORMAT = struct.Struct("<IIQ16sQIIQQ128s128sQQIIQIII")

    @classmethod
    def unpack(cls, block):
        return cls(*cls.FORMAT.unpack_from(block))

    def pack(self):
        return self.FORMAT.pack(*self).ljust(BLOCK_SIZE, b"\0")


def checksum(block, block_type):
    return crc32c(bytes(block[4:])) ^ block_type


def block_type(block):
    """The checksum constant this block was summed with; one of TYPE_NAMES if the block is sound."""
    return crc32c(block[4:]) ^ int.from_bytes(block[:4], "little")


def seal(block, block_type, number=None):
    """The block with its checksum put right, and its own number first if that is given."""
    block = bytearray(block)
    if number is not None:
        struct.pack_into("<Q", block, 8, number)
    struct.pack_into("<I", block, 0, checksum(block, block_type))
    return bytes(block)


def pack_node(number, tree, leaf, keys, values, capacity=None):
    """A sealed node.  Values are integers, or tuples where the tree's value has several fields."""
    value = struct.Struct("<" + (tree.value if leaf else "Q"))
    capacity = max_entries(value.size) if capacity is None else capacity
    block = bytearray(BLOCK_SIZE)
    NODE_HEADER.pack_into(block, 0, 0, LEAF if leaf else INTERNAL, number, len(keys), capacity, value.size, 0)
    struct.pack_into("<%dQ" % len(keys), block, NODE_HEADER.size, *keys)
    offset = NODE_HEADER.size + 8 * capacity
    for item in values:
        value.pack_into(block, offset, *(item if isinstance(item, tuple) else (item,)))
        offset += value.size
    return seal(block, NODE)


# The two bits of an entry, read as a number, hold the count with its bits swapped.
COUNT_OF_FIELD = (0, 2, 1, 3)
_COUNTS_OF_BYTE = [bytes(COUNT_OF_FIELD[byte >> shift & 3] for shift in (0, 2, 4, 6)) for byte in range(256)]
_NO_COUNTS = bytes(ENTRIES_PER_BITMAP)
_NO_BITS = bytes(BLOCK_SIZE - BITMAP_HEADER)


def unpack_counts(block):
    """The 16320 counts of a bitmap block, one byte each; 3 stands for three or more."""
    bits = block[BITMAP_HEADER:]
    if bits == _NO_BITS:
        return _NO_COUNTS
    return b"".join(map(_COUNTS_OF_BYTE.__getitem__, bits))


def pack_bitmap(number, counts):
    """A sealed bitmap block from up to 16320 counts."""
    block = bytearray(BLOCK_SIZE)
    for entry, count in enumerate(counts):
        if count:
            block[BITMAP_HEADER + entry // 4] |= COUNT_OF_FIELD[min(count, 3)] << (2 * (entry % 4))
    return seal(block, BITMAP, number)


class Image:
    """A metadata device: what was there, and blocks put over it.  Nothing is read before it is asked for."""

    def __init__(self, nr_blocks, read=None):
        self.nr_blocks = nr_blocks
        self._read = read
        self._put = {}

    @classmethod
    def of_bytes(cls, data):
        data = bytes(data)
        return cls(len(data) // BLOCK_SIZE, lambda number: data[number * BLOCK_SIZE:(number + 1) * BLOCK_SIZE])

    @classmethod
    def of_file(cls, file):
        """An image over an open binary file or block device, which must stay open."""
        size = file.seek(0, os.SEEK_END)
        return cls(size // BLOCK_SIZE, lambda number: os.pread(file.fileno(), BLOCK_SIZE, number * BLOCK_SIZE))

    def copy(self):
        """An image to be changed without changing this one."""
        other = Image(self.nr_blocks, self._read)
        other._put = dict(self._put)
        return other

    def block(self, number):
        """The block's bytes, or None past the end."""
        if number >= self.nr_blocks:
            return None
        if number in self._put:
            return self._put[number]
        if self._read is None:
            return ZERO_BLOCK
        block = self._read(number)
        return block if len(block) == BLOCK_SIZE else None

    def put(self, number, block):
        self._put[number] = bytes(block)

    def truncate(self, nr_blocks):
        self.nr_blocks = nr_blocks
        self._put = {number: block for number, block in self._put.items() if number < nr_blocks}

    def to_bytes(self):
        return b"".join(map(self.block, range(self.nr_blocks)))

    def write(self, path):
        """Write the image as a sparse file."""
        with open(path, "wb") as file:
            file.truncate(self.nr_blocks * BLOCK_SIZE)
            for number in range(self.nr_blocks) if self._read else sorted(self._put):
                block = self.block(number)
                if block != ZERO_BLOCK:
                    file.seek(number * BLOCK_SIZE)
                    file.write(block)
