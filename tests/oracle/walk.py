"""Reading blocks and walking b-trees: every pointer is counted, every block is read once and has one use."""

import operator
import struct
from collections import Counter, defaultdict
from typing import NamedTuple, Optional

import layout
from findings import MAX_KEY
from layout import NODE, SUBTREE, TOP_LEVEL

MAX_DEPTH = 16                  # a tree of 2^64 keys with every node a third full is less deep
NODE_PADDING = slice(28, 32)


def is_zero(data):
    return not data.strip(b"\0")


class Place(NamedTuple):
    """Where a node hangs, for findings: its device if it has one, and the keys its parent leaves to it."""

    device: Optional[int] = None
    low: int = 0
    high: int = MAX_KEY

    def where(self, tree, block):
        place = {} if self.device is None else {"device": self.device}
        return {"tree": tree.name, **place, "keys": (self.low, self.high), "block": block}


class Node:
    """A node that could be read, with what is known of everything below it."""

    __slots__ = ("block", "leaf", "keys", "values", "max_entries", "children", "place", "nonroot",
                 "low", "high", "height", "count", "complete", "live", "held", "first_snapshot")

    def __init__(self, block, leaf, keys, values, capacity, place):
        self.block = block
        self.leaf = leaf
        self.keys = keys
        self.values = values
        self.max_entries = capacity
        self.place = place
        self.children = []          # Nodes; None for one that cannot be read
        self.nonroot = False        # reached from a node of the same tree
        self.low = min(keys, default=None)
        self.high = max(keys, default=None)
        self.height = 0
        self.count = len(keys)      # entries in the leaves below
        self.complete = True        # everything below could be read
        # For mapping trees: how many live devices have this node, whether the held root has it, and the least
        # snapshotted_time of those devices.  A mapping older than its device's snapshotted_time counts as shared.
        self.live = 0
        self.held = False
        self.first_snapshot = MAX_KEY

    def adopt(self, children):
        """Take over what the children know."""
        self.children = children
        known = [child for child in children if child is not None]
        highs = [child.high for child in known if child.high is not None]
        self.high = max([self.high] + highs) if highs else self.high
        self.height = 1 + max((child.height for child in known), default=0)
        self.count = sum(child.count for child in known)
        self.complete = len(known) == len(children) and all(child.complete for child in known)


def leaves(root):
    """The leaves below a node in key order; each once, however damaged the tree."""
    seen = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node is None or node.block in seen:
            continue
        seen.add(node.block)
        if node.leaf:
            yield node
        else:
            stack.extend(reversed(node.children))


class Walker:
    """Reads the blocks of one image.  What it finds wrong goes to `findings`."""

    def __init__(self, image, nr_blocks, findings):
        self.image = image
        self.nr_blocks = nr_blocks
        self.findings = findings
        self.refs = Counter()           # metadata block -> references found by walking
        self.uses = {}                  # metadata block -> Tree, or the name of its only use
        self.nodes = {}                 # metadata block -> Node, None if unreadable
        self.subtree_nodes = []         # all Nodes of mapping trees, children before parents
        self.parents = defaultdict(list)    # mapping tree block -> blocks of its parents in the tree
        self.metadata_read = True       # everything that holds a metadata reference could be read
        self.data_read = True           # everything that holds a data reference could be read
        self._walking = set()           # nodes between the root and where the walk is now
        self._slack = []                # blocks with unused bytes that are not zero

    def claim(self, number, use, where):
        """Take a block for one use, which must be its only one; False if that cannot be."""
        if number >= self.nr_blocks:
            self.findings.add("BLOCK_OUT_OF_RANGE", "block %d of %d" % (number, self.nr_blocks), **where)
            return False
        self.refs[number] += 1
        if number in self.uses:
            other = self.uses[number]
            name = other if isinstance(other, str) else "a node of the " + other.name
            self.findings.add("BLOCK_TWO_USES", "block %d is also %s" % (number, name), **where)
            return False
        self.uses[number] = use
        return True

    def read_block(self, number, block_type, where):
        """A block of this type, or None with a finding."""
        block = self.image.block(number)
        if block is None:
            self.findings.add("FILE_TOO_SHORT", "block %d cannot be read" % number, **where)
            return None
        found = layout.block_type(block)
        if found != block_type:
            if found in layout.TYPE_NAMES:
                self.findings.add("WRONG_BLOCK_TYPE", "a %s where a %s should be" % (
                    layout.TYPE_NAMES[found], layout.TYPE_NAMES[block_type]), **where)
            else:
                what = "block is all zero" if block == layout.ZERO_BLOCK else "checksum is wrong"
                self.findings.add("BAD_CHECKSUM", what, **where)
            return None
        named = layout.BLOCK_HEADER.unpack_from(block)[2]
        if named != number:
            self.findings.add("BAD_BLOCKNR", "block says it is block %d" % named, **where)
            return None
        return block

    def check_slack(self, number, *unused):
        """Remember a block whose unused bytes are not all zero."""
        if not all(map(is_zero, unused)):
            self._slack.append(number)

    def note_slack(self):
        if self._slack:
            self.findings.add("SLACK_NONZERO", "%d blocks with unused bytes that are not zero" % len(self._slack),
                              block=min(self._slack))

    def walk(self, number, tree, place=Place(), depth=0):
        """Follow one pointer to a node: count the reference, and read what is below unless that was done before.

        Returns the Node, or None with a finding if it cannot be read or must not be entered here.
        """
        node = None
        if number in self._walking:
            self.refs[number] += 1
            self.findings.add("CYCLE", "node %d is its own descendant" % number, **place.where(tree, number))
        elif self.uses.get(number) is tree:
            self.refs[number] += 1
            node = self.nodes[number]
        elif depth >= MAX_DEPTH:
            self.findings.add("TOO_DEEP", "more than %d levels" % MAX_DEPTH, **place.where(tree, number))
        elif self.claim(number, tree, place.where(tree, number)):
            node = self.nodes[number] = self._read_node(number, tree, place)
            if node is not None:
                self._walk_below(node, tree, place, depth)
        if node is None:
            self.metadata_read = False
            if tree in (TOP_LEVEL, SUBTREE):
                self.data_read = False
        return node

    def _walk_below(self, node, tree, place, depth):
        if not node.leaf:
            self._walking.add(node.block)
            bounds = node.keys[1:] + (place.high + 1,)
            children = []
            for key, bound, number in zip(node.keys, bounds, node.values):
                if tree is SUBTREE:
                    self.parents[number].append(node.block)
                children.append(self.walk(number, tree, Place(place.device, key, bound - 1), depth + 1))
            self._walking.discard(node.block)
            node.adopt(children)
            self._check_children(node, tree)
        elif tree is TOP_LEVEL:
            node.children = [self.walk(root, SUBTREE, Place(device)) for device, root in zip(node.keys, node.values)]
        if tree is SUBTREE:
            self.subtree_nodes.append(node)

    def _read_node(self, number, tree, place):
        """Parse one node and check it by itself; None with a finding if its entries cannot be trusted."""
        where = place.where(tree, number)
        block = self.read_block(number, NODE, where)
        if block is None:
            return None
        _, flags, _, nr_entries, capacity, value_size, _ = layout.NODE_HEADER.unpack_from(block)
        leaf = flags == layout.LEAF
        value = struct.Struct("<" + (tree.value if leaf else "Q"))
        fault = self._header_fault(flags, nr_entries, capacity, value_size, value.size)
        if fault:
            self.findings.add(*fault, **where)
            return None
        if capacity % 3:
            self.findings.add("MAX_ENTRIES_NOT_3", "max_entries %d" % capacity, **where)
        elif capacity != layout.max_entries(value_size):
            self.findings.add("MAX_ENTRIES_UNUSUAL", "max_entries %d" % capacity, **where)

        keys = struct.unpack_from("<%dQ" % nr_entries, block, layout.NODE_HEADER.size)
        keys_end = layout.NODE_HEADER.size + 8 * nr_entries
        first = layout.NODE_HEADER.size + 8 * capacity
        end = first + value_size * nr_entries
        values = [item[0] if len(item) == 1 else item for item in value.iter_unpack(block[first:end])]
        if not all(map(operator.lt, keys, keys[1:])):
            self.findings.add("KEY_ORDER", "keys are not ascending", **where)
        self.check_slack(number, block[NODE_PADDING], block[keys_end:first], block[end:])
        return Node(number, leaf, keys, values, capacity, place)

    @staticmethod
    def _header_fault(flags, nr_entries, capacity, value_size, wanted_size):
        """(kind, what) of the first thing that makes a node's entries unreadable, or None."""
        if flags not in (layout.INTERNAL, layout.LEAF):
            return "NODE_FLAGS", "flags 0x%x" % flags
        if value_size != wanted_size:
            return "NODE_VALUE_SIZE", "value size %d, not %d" % (value_size, wanted_size)
        if not 0 < capacity <= (layout.BLOCK_SIZE - layout.NODE_HEADER.size) // (8 + value_size):
            return "MAX_ENTRIES_TOO_LARGE", "max_entries %d" % capacity
        if nr_entries > capacity:
            return "NODE_NR_ENTRIES", "%d entries of %d" % (nr_entries, capacity)
        return None

    def _check_children(self, node, tree):
        """What a parent can tell of its children: keys on both sides, depth, equal capacity."""
        add = self.findings.add
        bounds = node.keys[1:] + (MAX_KEY + 1,)
        for key, bound, child in zip(node.keys, bounds, node.children):
            if child is None:
                continue
            child.nonroot = True
            where = Place(node.place.device, key, bound - 1).where(tree, child.block)
            if child.low is not None and child.low < key:
                add("PARENT_KEY_HIGH", "key %d is below the parent's %d" % (child.low, key), **where)
            if child.high is not None and child.high >= bound:
                add("CHILD_KEY_HIGH", "key %d is not below the parent's next, %d" % (child.high, bound), **where)
        known = [child for child in node.children if child is not None]
        where = node.place.where(tree, node.block)
        heights = {child.height for child in known}
        if len(heights) > 1:
            add("UNEQUAL_DEPTH", "children of heights %s" % sorted(heights), **where)
        elif len({child.max_entries for child in known}) > 1:
            add("MAX_ENTRIES_SIBLINGS", "children differ in max_entries", **where)

    def check_fill(self):
        """Fill, which depends on whether a node is a root; known only when all trees have been walked."""
        for number, node in self.nodes.items():
            if node is None:
                continue
            where = node.place.where(self.uses[number], number)
            if not node.keys and (node.nonroot or not node.leaf):
                self.findings.add("EMPTY_NODE", "no entries", **where)
            elif node.nonroot and len(node.keys) < node.max_entries // 3:
                self.findings.add("UNDERFULL_NODE", "%d entries of %d" % (len(node.keys), node.max_entries),
                                  **where)

    def locate(self, blocks):
        """For each of these metadata blocks, what it is used for."""
        return {block: {"tree": use if isinstance(use, str) else use.name}
                for block, use in ((block, self.uses.get(block)) for block in blocks) if use is not None}
