"""What an audit can find: the kinds, one finding, and the collection of them."""

from collections import Counter
from typing import NamedTuple

MAX_KEY = (1 << 64) - 1
MAX_PER_KIND = 1000             # findings of one kind that are listed one by one

# kind: (severity, meaning)
KINDS = {
    # The superblock.
    "UNFORMATTED": ("fatal", "block 0 is all zero"),
    "SB_MAGIC": ("fatal", "the superblock's magic number is wrong"),
    "SB_VERSION": ("fatal", "the version is neither 1 nor 2"),
    "SB_VERSION_1": ("note", "version 1, as thin_restore 0.9 writes it"),
    "SB_NEEDS_CHECK": ("note", "the needs_check flag is set"),
    "SB_FLAGS": ("note", "flags that nobody knows are set"),
    "SB_COMPAT": ("note", "compatible feature flags are set"),
    "SB_COMPAT_RO": ("nonfatal", "feature flags are set that allow reading only"),
    "SB_INCOMPAT": ("fatal", "incompatible feature flags are set"),
    "SB_DATA_BLOCK_SIZE": ("fatal", "the data block size is out of range or not a multiple of 128 sectors"),
    "SB_METADATA_BLOCK_SIZE": ("nonfatal", "the metadata block size is not 8 sectors"),
    "SB_METADATA_NR_BLOCKS": ("nonfatal", "more metadata blocks at format time than there are now"),
    "SB_TIME": ("fatal", "the time does not fit the 24 bits a mapping has for it"),
    "SB_DATA_NR_BLOCKS": ("fatal", "more data blocks than a mapping can name"),
    "SB_METADATA_TOO_LARGE": ("fatal", "more metadata blocks than the index block has room for"),
    "FILE_TOO_SHORT": ("fatal", "the file ends before the last metadata block"),
    # Any block.
    "BAD_CHECKSUM": ("fatal", "a block's checksum is wrong"),
    "WRONG_BLOCK_TYPE": ("fatal", "a block is sound, but of another type than its place asks for"),
    "BAD_BLOCKNR": ("fatal", "a block holds another block's number"),
    "BLOCK_OUT_OF_RANGE": ("fatal", "a pointer to a block past the end of the metadata"),
    "BLOCK_TWO_USES": ("fatal", "a block is used in two places that cannot share it"),
    "SLACK_NONZERO": ("note", "unused bytes that are not zero"),
    # Trees.
    "NODE_FLAGS": ("fatal", "a node is not exactly one of internal and leaf"),
    "NODE_VALUE_SIZE": ("fatal", "a node's value size is not that of its tree"),
    "NODE_NR_ENTRIES": ("fatal", "a node has more entries than it has room for"),
    "MAX_ENTRIES_TOO_LARGE": ("fatal", "a node's max_entries does not fit the block, or is 0"),
    "MAX_ENTRIES_NOT_3": ("fatal", "a node's max_entries is not a multiple of three"),
    "MAX_ENTRIES_UNUSUAL": ("nonfatal", "a node's max_entries is legal but not the largest that fits"),
    "MAX_ENTRIES_SIBLINGS": ("fatal", "two children of a node differ in max_entries"),
    "KEY_ORDER": ("fatal", "a node's keys are not ascending"),
    "PARENT_KEY_HIGH": ("fatal", "a child has a key below its key in the parent"),
    "CHILD_KEY_HIGH": ("fatal", "a child has a key at or above the next key in the parent"),
    "UNDERFULL_NODE": ("nonfatal", "a node that is no root is less than a third full"),
    "EMPTY_NODE": ("fatal", "a node that must have entries has none"),
    "UNEQUAL_DEPTH": ("fatal", "leaves at different depths"),
    "CYCLE": ("fatal", "a node is its own descendant"),
    "TOO_DEEP": ("fatal", "a tree is deeper than any real one"),
    # Mappings and devices.
    "MAPPING_PAST_END": ("fatal", "a mapping to a data block past the end"),
    "MAPPING_TIME": ("fatal", "a mapping is newer than the superblock's time"),
    "DOUBLE_MAPPING": ("fatal", "a device maps one data block twice"),
    "DOUBLE_FLAGGED": ("note", "a device maps one data block twice, and copies either before it is written"),
    "SHARED_NOT_FLAGGED": ("fatal", "a data block in two devices, but one of them would write to it in place"),
    "DEVICE_NO_DETAILS": ("fatal", "a device has mappings but no details"),
    "DEVICE_NO_MAPPING": ("fatal", "a device has details but no mapping tree"),
    "DEVICE_ID": ("nonfatal", "a device id of 2^24 or more"),
    "MAPPED_BLOCKS": ("nonfatal", "a device's count of mapped blocks is wrong"),
    "DEVICE_TIME": ("nonfatal", "a device's creation or snapshot time is newer than the superblock's time"),
    "DEVICE_TIME_ORDER": ("nonfatal", "a device was snapshotted before it was created"),
    "DEVICE_TRANS_ID": ("note", "a device's transaction id is above the superblock's"),
    # Reference counts.
    "METADATA_LEAK": ("nonfatal", "a metadata block in the count but not in use"),
    "METADATA_COUNT_HIGH": ("nonfatal", "a metadata block's count is too high"),
    "METADATA_COUNT_LOW": ("fatal", "a metadata block's count is too low"),
    "DATA_LEAK": ("nonfatal", "a data block in the count but not in use"),
    "DATA_COUNT_HIGH": ("nonfatal", "a data block's count is too high"),
    "DATA_COUNT_LOW": ("fatal", "a data block's count is too low"),
    "OVERFLOW_MISSING": ("fatal", "a bitmap says three or more, and the overflow tree has no entry"),
    "OVERFLOW_STALE": ("nonfatal", "an overflow entry for a block whose bitmap does not say three or more"),
    "OVERFLOW_SMALL": ("fatal", "an overflow entry of less than three"),
    "OVERFLOW_PAST_END": ("nonfatal", "an overflow entry for a block past the end"),
    "BITS_PAST_END": ("nonfatal", "a bitmap has counts for blocks past the end"),
    "COUNTS_NOT_JUDGED": ("note", "leaks and high counts not looked for, as a part of the trees cannot be read"),
    # Space maps' own accounts.
    "INDEX_MISSING": ("fatal", "a bitmap has no index entry"),
    "INDEX_EXTRA": ("nonfatal", "an index entry for a bitmap past the end"),
    "NR_ALLOCATED": ("nonfatal", "the number of blocks in use is wrong"),
    "NR_FREE": ("nonfatal", "an index entry's number of free blocks is wrong"),
    "NR_FREE_TRUNCATED": ("note", "the last bitmap's nr_free counts real blocks only: Linux cannot grow into the rest"),
    "RESTORE_OFF_BY_ONE": ("note", "one block too many in use, as thin_restore 0.9 leaves it"),
    "NONE_FREE_BEFORE": ("nonfatal", "the search for free blocks would start past a free one"),
    # The metadata snapshot.
    "HELD_MAGIC": ("fatal", "the held root's magic number is wrong"),
    "HELD_NESTED": ("nonfatal", "the held root names a held root"),
    "HELD_SPACE_MAPS": ("nonfatal", "the held root's space map roots are not wiped"),
    "HELD_TIME": ("fatal", "the held root is newer than the superblock"),
    # The audit itself.
    "WORK_LIMIT": ("nonfatal", "a check was cut short, being too much work"),
}


class Finding(NamedTuple):
    """One thing wrong.

    `where` has any of: tree, device or devices, held_devices, more_devices, keys, block, blocks, data_blocks, bitmap,
    bitmaps.  Those in the plural are pairs, first and last; but devices and held_devices are lists.
    """

    kind: str
    what: str
    where: dict

    @property
    def severity(self):
        return KINDS[self.kind][0]

    def __str__(self):
        place = ", ".join(_plain(name, value) for name, value in self.where.items() if name != "tree")
        tree = ", in " + self.where["tree"] if "tree" in self.where else ""
        return "%s: %s%s%s [%s]" % (self.kind, self.what, tree, " (%s)" % place if place else "", self.severity)

    def as_dict(self):
        return {"kind": self.kind, "severity": self.severity, "what": self.what, "where": self.where}


def _plain(name, value):
    """One part of a place for people: pairs are ranges, the last of all keys is left out."""
    name = name.replace("_", " ")
    if value is True:
        return name
    if isinstance(value, tuple):
        first, last = value
        value = first if first == last else "%d..%s" % (first, "" if last == MAX_KEY else last)
    elif isinstance(value, list):
        value = " ".join(map(str, value))
    return "%s %s" % (name, value)


class Findings:
    """Collects findings; past MAX_PER_KIND of one kind they are only counted."""

    def __init__(self):
        self._list = []
        self._counts = Counter()

    def add(self, kind, what, **where):
        self._counts[kind] += 1
        if self._counts[kind] <= MAX_PER_KIND:
            self._list.append(Finding(kind, what, where))

    def all(self):
        more = [Finding(kind, "%d more not listed" % (count - MAX_PER_KIND), {})
                for kind, count in self._counts.items() if count > MAX_PER_KIND]
        return self._list + more


def runs(items):
    """Join neighbours: (number, label) pairs in ascending order become (first, last, label)."""
    first = last = label = None
    for number, item in items:
        if first is not None and number == last + 1 and item == label:
            last = number
            continue
        if first is not None:
            yield first, last, label
        first, last, label = number, number, item
    if first is not None:
        yield first, last, label
