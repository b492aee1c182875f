"""Both space maps: reading them, comparing them with counted references, and checking their own accounts."""

from collections import defaultdict
from typing import NamedTuple

import layout
from findings import runs
from layout import BITMAP, DATA_INDEX, DATA_OVERFLOW, ENTRIES_PER_BITMAP, INDEX, METADATA_OVERFLOW
from walk import leaves

UNUSED_HEADER = slice(4, 8)     # of bitmaps and of the index block


class WrongCount(NamedTuple):
    count: int                  # on disk
    references: int


class Account(NamedTuple):
    """What the index says of one bitmap, and what the bitmap says itself."""

    bitmap: int
    nr_free: int
    none_free_before: int
    counts: bytes               # of the blocks that exist

    @property
    def free(self):
        return self.counts.count(0)

    @property
    def kernel_nr_free(self):
        """The kernel counts nr_free out of a whole bitmap, also where fewer blocks exist."""
        return self.free + ENTRIES_PER_BITMAP - len(self.counts)

    def nr_free_error(self):
        """How far nr_free is above a legal value: the kernel's, or that of thin_restore 0.9 if nearer."""
        return min(self.nr_free - self.kernel_nr_free, self.nr_free - self.free, key=abs)

    def skipped(self):
        """How many free entries the kernel's search would not see."""
        past_end = max(0, self.none_free_before - len(self.counts))
        return self.counts[:self.none_free_before].count(0) + past_end


class SpaceMap:
    """One space map as it is on disk."""

    def __init__(self, name, root, walker):
        self.name = name
        self.nr_blocks = root.nr_blocks
        self.nr_allocated = root.nr_allocated
        self.entries = {}           # bitmap number -> (block, nr_free, none_free_before)
        self.counts = {}            # bitmap number -> 16320 counts, 3 for more; absent if unreadable
        self.overflow = {}          # block -> exact count
        self.complete = True        # the index and the overflow tree could be read
        self._walker = walker
        self._findings = walker.findings

    @classmethod
    def read_metadata(cls, root, walker):
        space_map = cls("metadata", root, walker)
        where = {"tree": "metadata space map index", "block": root.bitmap_root}
        block = None
        if walker.claim(root.bitmap_root, "the metadata index block", where):
            block = walker.read_block(root.bitmap_root, INDEX, where)
        if block is None:
            space_map.complete = walker.metadata_read = False
        else:
            walker.check_slack(root.bitmap_root, block[UNUSED_HEADER])
            space_map._read_index_block(block)
        space_map._read_overflow(root.ref_count_root, METADATA_OVERFLOW)
        return space_map

    @classmethod
    def read_data(cls, root, walker):
        space_map = cls("data", root, walker)
        index = walker.walk(root.bitmap_root, DATA_INDEX)
        if index is None or not index.complete:
            space_map.complete = False
        for leaf in leaves(index):
            for bitmap, entry in zip(leaf.keys, leaf.values):
                if bitmap >= space_map.nr_bitmaps:
                    space_map._add("INDEX_EXTRA", "an entry for a bitmap past the end", bitmap=bitmap)
                space_map._read_bitmap(bitmap, entry)
        if space_map.complete:
            space_map._check_no_gaps()
        space_map._read_overflow(root.ref_count_root, DATA_OVERFLOW)
        return space_map

    @property
    def nr_bitmaps(self):
        return -(-self.nr_blocks // ENTRIES_PER_BITMAP)

    def check(self, refs, judge_high, locate):
        """Compare with the references in `refs`, and check the map's own accounts.

        Leaks and high counts are reported only if `judge_high`: all that holds references has been read.
        `locate(blocks)` gives, for some of these blocks, where a reference comes from.
        """
        expected = defaultdict(dict)
        for block, count in refs.items():
            expected[block // ENTRIES_PER_BITMAP][block % ENTRIES_PER_BITMAP] = count
        self._check_overflow()
        wrong = []
        for bitmap, counts in self._bitmaps():
            wrong += self._wrong_counts(bitmap, counts, expected.get(bitmap, {}))
            self._check_past_end(bitmap, counts)
        self._report_counts([item for item in wrong if judge_high or item[1].count < item[1].references], locate)
        self._check_accounts()

    # -- Reading -------------------------------------------------------------------------------------------------

    def _add(self, kind, what, **where):
        self._findings.add(kind, what, tree=self.name + " space map", **where)

    def _bitmaps(self):
        """(bitmap number, counts) of the readable bitmaps that should be there."""
        return [item for item in sorted(self.counts.items()) if item[0] < self.nr_bitmaps]

    def _valid(self, bitmap):
        """How many entries of this bitmap are for blocks that exist."""
        return min(ENTRIES_PER_BITMAP, self.nr_blocks - bitmap * ENTRIES_PER_BITMAP)

    def _read_index_block(self, block):
        for bitmap, entry in enumerate(layout.INDEX_ENTRY.iter_unpack(block[layout.INDEX_HEADER:])):
            if bitmap >= self.nr_bitmaps:
                if any(entry):
                    self._add("INDEX_EXTRA", "an entry for a bitmap past the end", bitmap=bitmap)
            elif entry[0]:
                self._read_bitmap(bitmap, entry)
            else:
                self._add("INDEX_MISSING", "no bitmap", bitmap=bitmap)
                self._walker.metadata_read = False

    def _check_no_gaps(self):
        """Every bitmap needs an index entry.  Gaps are found from what is there: nr_blocks may be absurd."""
        expected = 0
        for bitmap in sorted(self.entries) + [self.nr_bitmaps]:
            end = min(bitmap, self.nr_bitmaps)
            if expected < end:
                self._add("INDEX_MISSING", "no bitmap", bitmaps=(expected, end - 1))
            expected = bitmap + 1

    def _read_bitmap(self, bitmap, entry):
        number = entry[0]
        where = {"tree": self.name + " space map", "bitmap": bitmap, "block": number}
        self.entries[bitmap] = entry
        block = None
        if self._walker.claim(number, "a %s bitmap" % self.name, where):
            block = self._walker.read_block(number, BITMAP, where)
        if block is None:
            self._walker.metadata_read = False
            return
        self._walker.check_slack(number, block[UNUSED_HEADER])
        self.counts[bitmap] = layout.unpack_counts(block)

    def _read_overflow(self, root, tree):
        node = self._walker.walk(root, tree)
        if node is None or not node.complete:
            self.complete = False
        for leaf in leaves(node):
            self.overflow.update(zip(leaf.keys, leaf.values))

    # -- Counts --------------------------------------------------------------------------------------------------

    def _wrong_counts(self, bitmap, counts, expected):
        """(block, WrongCount) of each entry that does not agree with its references.

        Where the exact count of an entry of three or more is not known, nothing is held against it but having too
        few references; _check_overflow reports that the count is missing.
        """
        first = bitmap * ENTRIES_PER_BITMAP
        wanted = bytearray(ENTRIES_PER_BITMAP)
        for entry, count in expected.items():
            wanted[entry] = min(count, 3)
        wrong = []
        if wanted != counts:
            for entry in range(self._valid(bitmap)):
                if counts[entry] != wanted[entry]:
                    count = self.overflow.get(first + entry, 3) if counts[entry] == 3 else counts[entry]
                    wrong.append((first + entry, WrongCount(count, expected.get(entry, 0))))
        if 3 in counts:
            for entry, count in expected.items():
                found = self.overflow.get(first + entry, count)
                if counts[entry] == 3 and count >= 3 and found != count:
                    wrong.append((first + entry, WrongCount(found, count)))
        return sorted(wrong)

    def _report_counts(self, wrong, locate):
        ranges = list(runs(wrong))
        places = locate([first for first, _, item in ranges if item.references])
        for first, last, (count, references) in ranges:
            if count < references:
                kind = "COUNT_LOW"
            else:
                kind = "COUNT_HIGH" if references else "LEAK"
            self._findings.add("%s_%s" % (self.name.upper(), kind), "count %d, %d references" % (count, references),
                               **{**self._where(first, last), **places.get(first, {})})

    def _where(self, first, last):
        """Blocks of this map, for a finding."""
        return {"data_blocks" if self.name == "data" else "blocks": (first, last)}

    def _check_overflow(self):
        """The overflow tree has exactly the blocks whose bitmap entry says three or more."""
        for block, count in sorted(self.overflow.items()):
            if count < 3:
                self._add("OVERFLOW_SMALL", "overflow count %d" % count, **self._where(block, block))
            if block >= self.nr_blocks:
                self._add("OVERFLOW_PAST_END", "overflow count of block %d of %d" % (block, self.nr_blocks),
                          **self._where(block, block))
            elif block // ENTRIES_PER_BITMAP in self.counts:
                in_bitmap = self.counts[block // ENTRIES_PER_BITMAP][block % ENTRIES_PER_BITMAP]
                if in_bitmap != 3:
                    self._add("OVERFLOW_STALE", "overflow count %d, bitmap says %d" % (count, in_bitmap),
                              **self._where(block, block))
        if not self.complete:
            return
        for bitmap, counts in self._bitmaps():
            if 3 in counts:
                first = bitmap * ENTRIES_PER_BITMAP
                missing = ((first + entry, None) for entry in range(self._valid(bitmap))
                           if counts[entry] == 3 and first + entry not in self.overflow)
                for start, last, _ in runs(missing):
                    self._add("OVERFLOW_MISSING", "no overflow count", **self._where(start, last))

    def _check_past_end(self, bitmap, counts):
        valid = self._valid(bitmap)
        past = [bitmap * ENTRIES_PER_BITMAP + valid + i for i, count in enumerate(counts[valid:]) if count]
        if past:
            self._add("BITS_PAST_END", "%d counts past the end, at block %d" % (len(past), self.nr_blocks),
                      bitmap=bitmap, **self._where(past[0], past[-1]))

    # -- Accounts ------------------------------------------------------------------------------------------------

    def _check_accounts(self):
        """nr_allocated, nr_free and none_free_before against the bitmaps."""
        accounts = [Account(bitmap, self.entries[bitmap][1], self.entries[bitmap][2], counts[:self._valid(bitmap)])
                    for bitmap, counts in self._bitmaps()]
        allocated = sum(len(account.counts) - account.free for account in accounts)
        scratch = self._scratch_bitmap(accounts, allocated)
        if scratch is not None:
            self._add("RESTORE_OFF_BY_ONE", "nr_allocated %d, really %d" % (self.nr_allocated, allocated),
                      bitmap=scratch)
        elif len(accounts) == self.nr_bitmaps and self.nr_allocated != allocated:
            self._add("NR_ALLOCATED", "nr_allocated %d, really %d" % (self.nr_allocated, allocated))
        for account in accounts:
            self._check_account(account, 1 if account.bitmap == scratch else 0)

    def _scratch_bitmap(self, accounts, allocated):
        """The bitmap of the block that thin_restore 0.9 frees after writing the accounts, or None.

        Only the whole pattern is taken for that: nr_allocated one too high, and one nr_free one too low.
        """
        if self.name != "metadata" or len(accounts) != self.nr_bitmaps or self.nr_allocated != allocated + 1:
            return None
        wrong = [account for account in accounts if account.nr_free_error()]
        return wrong[0].bitmap if len(wrong) == 1 and wrong[0].nr_free_error() == -1 else None

    def _check_account(self, account, scratch):
        """One bitmap's account; `scratch` is the number of blocks freed after it was written."""
        if account.nr_free_error() != -scratch:
            self._add("NR_FREE", "nr_free %d, really %d" % (account.nr_free, account.kernel_nr_free),
                      bitmap=account.bitmap)
        elif account.nr_free != account.kernel_nr_free - scratch:
            self._add("NR_FREE_TRUNCATED", "nr_free %d, Linux writes %d" % (
                account.nr_free, account.kernel_nr_free - scratch), bitmap=account.bitmap)
        if account.skipped() > scratch:
            self._add("NONE_FREE_BEFORE", "search starts at %d, past %d free entries" % (
                account.none_free_before, account.skipped()), bitmap=account.bitmap)
