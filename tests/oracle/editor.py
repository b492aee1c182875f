"""Changes to a good metadata image, one field, entry or count at a time, with every checksum put right.

The image is trusted: nothing is checked on reading, and Unsuitable is raised where it lacks what a change needs.
"""

import struct

import layout
from layout import (DATA_INDEX, DATA_OVERFLOW, DETAILS, ENTRIES_PER_BITMAP, LEAF, METADATA_OVERFLOW, SUBTREE,
                    TOP_LEVEL, SpaceMapRoot, Superblock)


class Unsuitable(Exception):
    """The image has no place to make the change asked for."""


class Node:
    """One node to be changed; save() writes it back."""

    def __init__(self, editor, number, tree):
        block = editor.image.block(number)
        _, flags, _, count, self.capacity, value_size, _ = layout.NODE_HEADER.unpack_from(block)
        self._editor = editor
        self.number = number
        self.tree = tree
        self.leaf = flags == LEAF
        self.keys = list(struct.unpack_from("<%dQ" % count, block, layout.NODE_HEADER.size))
        first = layout.NODE_HEADER.size + 8 * self.capacity
        value = struct.Struct("<" + (tree.value if self.leaf else "Q"))
        values = value.iter_unpack(block[first:first + value_size * count])
        self.values = [item[0] if len(item) == 1 else item for item in values]

    @property
    def spare(self):
        """How many entries can go before the node is less than a third full."""
        return len(self.keys) - self.capacity // 3

    def save(self):
        self._editor.image.put(self.number, layout.pack_node(self.number, self.tree, self.leaf, self.keys, self.values,
                                                             self.capacity))

    def remove(self, index):
        del self.keys[index], self.values[index]
        self.save()

    def insert(self, key, value):
        """Put an entry in its place, if there is room."""
        if len(self.keys) == self.capacity:
            raise Unsuitable("a leaf with room")
        index = sum(other < key for other in self.keys)
        self.keys.insert(index, key)
        self.values.insert(index, value)
        self.save()


class Map:
    """One space map to be changed."""

    def __init__(self, editor, field, overflow):
        self._editor = editor
        self._field = field             # of the superblock
        self.overflow = overflow        # Tree

    @property
    def root(self):
        return SpaceMapRoot.unpack(getattr(self._editor.superblock, self._field))

    def set_root(self, **changes):
        """Change fields of the superblock's 32 bytes for this map."""
        self._editor.set_superblock(**{self._field: self.root._replace(**changes).pack()})

    def entry(self, bitmap):
        """The index entry (block, nr_free, none_free_before) of a bitmap."""
        node, index = self._entry_place(bitmap)
        if node is None:
            block = self._editor.image.block(self.root.bitmap_root)
            return layout.INDEX_ENTRY.unpack_from(block, index)
        return node.values[index]

    def set_entry(self, bitmap, entry):
        node, index = self._entry_place(bitmap)
        if node is None:
            self._editor.poke(self.root.bitmap_root, index, layout.INDEX_ENTRY.format, *entry)
        else:
            node.values[index] = entry
            node.save()

    def _entry_place(self, bitmap):
        """(leaf, index in it) of an entry; for the metadata map (None, offset in the index block)."""
        if self.overflow is METADATA_OVERFLOW:
            return None, layout.INDEX_HEADER + bitmap * layout.INDEX_ENTRY.size
        for leaf in self._editor.leaves(self.root.bitmap_root, DATA_INDEX):
            if bitmap in leaf.keys:
                return leaf, leaf.keys.index(bitmap)
        raise Unsuitable("bitmap %d" % bitmap)

    def bitmap_block(self, bitmap):
        return self.entry(bitmap)[0]

    def _field_place(self, block):
        """(bitmap block, offset, shift) of a block's two bits."""
        entry = block % ENTRIES_PER_BITMAP
        number = self.bitmap_block(block // ENTRIES_PER_BITMAP)
        return number, layout.BITMAP_HEADER + entry // 4, 2 * (entry % 4)

    def bits(self, block):
        """What the bitmap says of a block: 0 to 3."""
        number, offset, shift = self._field_place(block)
        return layout.COUNT_OF_FIELD[self._editor.image.block(number)[offset] >> shift & 3]

    def set_bits(self, block, count):
        """Change the bitmap only."""
        number, offset, shift = self._field_place(block)
        old = self._editor.image.block(number)[offset]
        self._editor.poke(number, offset, "B", old & ~(3 << shift) | layout.COUNT_OF_FIELD[min(count, 3)] << shift)

    def overflow_leaf(self, block):
        """The overflow leaf that has or would have this block, and the block's index in it or None."""
        leaf = None
        for candidate in self._editor.leaves(self.root.ref_count_root, self.overflow):
            if leaf is None or (candidate.keys and candidate.keys[0] <= block):
                leaf = candidate
        return leaf, leaf.keys.index(block) if block in leaf.keys else None

    def set_overflow(self, block, count):
        """Change the overflow tree only; a count of None removes the entry."""
        leaf, index = self.overflow_leaf(block)
        if index is not None and count is not None:
            leaf.values[index] = count
            leaf.save()
        elif index is not None:
            if leaf.number != self.root.ref_count_root and leaf.spare < 1:
                raise Unsuitable("an overflow leaf that can lose an entry")
            leaf.remove(index)
        elif count is not None:
            if leaf.number != self.root.ref_count_root and block < leaf.keys[0]:
                raise Unsuitable("an overflow entry that needs no new parent key")
            leaf.insert(block, count)

    def count(self, block):
        bits = self.bits(block)
        if bits < 3:
            return bits
        leaf, index = self.overflow_leaf(block)
        return leaf.values[index]

    def set_count(self, block, count):
        """Change a count in full: bitmap, overflow tree, and all accounts."""
        old = self.count(block)
        self.set_bits(block, count)
        self.set_overflow(block, count if count >= 3 else None)
        if bool(old) == bool(count):
            return
        bitmap = block // ENTRIES_PER_BITMAP
        number, nr_free, none_free_before = self.entry(bitmap)
        if count:
            nr_free -= 1
        else:
            nr_free += 1
            none_free_before = min(none_free_before, block % ENTRIES_PER_BITMAP)
        self.set_entry(bitmap, (number, nr_free, none_free_before))
        self.set_root(nr_allocated=self.root.nr_allocated + (1 if count else -1))

    def add(self, block, difference):
        self.set_count(block, self.count(block) + difference)

    def blocks(self, wanted):
        """All blocks whose bitmap entry, 0 to 3, is the one wanted."""
        found = []
        for first in range(0, self.root.nr_blocks, ENTRIES_PER_BITMAP):
            counts = layout.unpack_counts(self._editor.image.block(self.bitmap_block(first // ENTRIES_PER_BITMAP)))
            found += [first + i for i in range(min(ENTRIES_PER_BITMAP, self.root.nr_blocks - first))
                      if counts[i] == wanted]
        return found


class Editor:
    """A copy of a good image, being changed.  `random` makes every choice."""

    def __init__(self, image, random):
        self.image = image.copy()
        self.random = random
        self.metadata = Map(self, "metadata_sm", METADATA_OVERFLOW)
        self.data = Map(self, "data_sm", DATA_OVERFLOW)

    # -- Blocks --------------------------------------------------------------------------------------------------

    @property
    def superblock(self):
        return Superblock.unpack(self.image.block(0))

    def set_superblock(self, number=0, **changes):
        """Change fields of the superblock, or of the held root at `number`."""
        superblock = Superblock.unpack(self.image.block(number))._replace(**changes)
        self.image.put(number, layout.seal(superblock.pack(), layout.SUPERBLOCK))

    def poke(self, number, offset, field, *values):
        """Overwrite some bytes of a block and put its checksum right for the type it has."""
        block = bytearray(self.image.block(number))
        block_type = layout.block_type(bytes(block))
        struct.pack_into("<" + field.lstrip("<"), block, offset, *values)
        self.image.put(number, layout.seal(block, block_type))

    @staticmethod
    def need(condition, what):
        """Give up if the image lacks something."""
        if not condition:
            raise Unsuitable(what)

    def choose(self, candidates, what):
        """One of the candidates at random; `what` is what the image lacks if there are none."""
        candidates = list(candidates)
        self.need(candidates, what)
        return self.random.choice(candidates)

    def allocate(self):
        """A free metadata block, with its count set to 1."""
        number = self.choose(self.metadata.blocks(0), "a free metadata block")
        self.metadata.set_count(number, 1)
        return number

    # -- Trees ---------------------------------------------------------------------------------------------------

    def node(self, number, tree):
        return Node(self, number, tree)

    def paths(self, root, tree):
        """For each leaf in key order, the Nodes from the root to it."""
        node = self.node(root, tree)
        if node.leaf:
            yield [node]
        else:
            for child in node.values:
                for path in self.paths(child, tree):
                    yield [node] + path

    def leaves(self, root, tree):
        return [path[-1] for path in self.paths(root, tree)]

    def held_superblock(self):
        number = self.superblock.held_root
        self.need(number, "a held root")
        return Superblock.unpack(self.image.block(number))

    def devices(self, superblock=None):
        """{device: subtree root} of the live superblock, or of the held root's copy."""
        superblock = superblock or self.superblock
        return {key: value for leaf in self.leaves(superblock.mapping_root, TOP_LEVEL)
                for key, value in zip(leaf.keys, leaf.values)}

    def entry(self, tree, key, superblock=None):
        """(leaf, index) of a device in its top level or its details."""
        superblock = superblock or self.superblock
        root = superblock.mapping_root if tree is TOP_LEVEL else superblock.details_root
        for leaf in self.leaves(root, tree):
            if key in leaf.keys:
                return leaf, leaf.keys.index(key)
        raise Unsuitable("device %d" % key)

    def details(self, device, superblock=None):
        leaf, index = self.entry(DETAILS, device, superblock)
        return leaf.values[index]

    def set_details(self, device, details, superblock=None):
        leaf, index = self.entry(DETAILS, device, superblock)
        leaf.values[index] = tuple(details)
        leaf.save()

    def add_mapped(self, device, difference):
        mapped, *rest = self.details(device)
        self.set_details(device, (mapped + difference, *rest))

    def private_path(self, levels, spare=0):
        """(device, path to a leaf) where no node is shared, of so many levels at least.

        No node on the path but the root is the first or last child, so that its keys are bounded on both sides.
        """
        candidates = []
        for device, root in self.devices().items():
            for path in self.paths(root, SUBTREE):
                if (len(path) >= levels and path[-1].keys and path[-1].spare >= spare and self._is_inner(path)
                        and all(self.metadata.count(node.number) == 1 for node in path)):
                    candidates.append((device, path))
        return self.choose(candidates, "a device of %d levels with nothing shared" % levels)

    @staticmethod
    def _is_inner(path):
        return all(0 < parent.values.index(child.number) < len(parent.values) - 1
                   for parent, child in zip(path, path[1:]))

    def split_path(self):
        """(device, nodes from the root) to an unshared internal node that is no root and all whose children are shared.

        All but one at least, that is: enough to take some away.
        """
        candidates = []
        for device, root in self.devices().items():
            for path in self.paths(root, SUBTREE):
                if len(path) >= 3 and all(self.metadata.count(node.number) == 1 for node in path[:-1]):
                    candidates.append((device, path[:-1]))
        return self.choose(candidates, "an unshared internal node that is no root")

    def single_leaf_device(self, least=1):
        """(device, leaf) of a device with one unshared leaf of at least so many entries."""
        candidates = []
        for device, root in self.devices().items():
            node = self.node(root, SUBTREE)
            if node.leaf and len(node.keys) >= least and self.metadata.count(root) == 1:
                candidates.append((device, node))
        return self.choose(candidates, "a device with one unshared leaf")

    def shared_device(self):
        """A device whose whole tree is that of another device too."""
        devices = self.devices()
        roots = list(devices.values())
        return self.choose((device for device, root in devices.items() if roots.count(root) > 1),
                           "a device with the same root as another")

    def map_to(self, leaf, index, data_block, time=None):
        """Change one mapping; nothing else."""
        old_time = leaf.values[index] & ((1 << layout.TIME_BITS) - 1)
        leaf.values[index] = data_block << layout.TIME_BITS | (old_time if time is None else time)
        leaf.save()

    def drop_mappings(self, device, leaf, count):
        """Unmap the last `count` entries of an unshared leaf, all counts put right."""
        for _ in range(count):
            self.data.add(leaf.values[-1] >> layout.TIME_BITS, -1)
            leaf.remove(len(leaf.keys) - 1)
        self.add_mapped(device, -count)


def chain(editor, device, levels):
    """Put so many internal nodes of one child each above a device's root."""
    leaf, index = editor.entry(TOP_LEVEL, device)
    child = leaf.values[index]
    key = editor.node(child, SUBTREE).keys[0]
    for _ in range(levels):
        number = editor.allocate()
        editor.image.put(number, layout.pack_node(number, SUBTREE, False, [key], [child]))
        child = number
    leaf, index = editor.entry(TOP_LEVEL, device)
    leaf.values[index] = child
    leaf.save()


