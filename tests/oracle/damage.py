#!/usr/bin/python3
"""Damage good metadata in one named way.

    damage.py --list                   all kinds, with what the audit must report
    damage.py IN OUT KIND [--seed N]   write a damaged copy
    damage.py --table [PROGRAM...]     what the audit and each thin_check say of each kind, in Markdown

Checksums are right afterwards, except where they are the damage, and so is every count and total that is not the
damage itself.  So a checker can report a kind only if it looks for just that.

As a module: KINDS maps names to Kind; apply(image, name, seed) returns a damaged copy of a layout.Image, or raises
Unsuitable if the image lacks what the damage needs.  The preset `rich` of build.py has what every kind needs.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from typing import Callable, FrozenSet, NamedTuple

import build
import layout
from audit import audit
from editor import Editor, Unsuitable, chain
from layout import (DATA_INDEX, DETAILS, ENTRIES_PER_BITMAP, INTERNAL, LEAF, SUBTREE, TOP_LEVEL, Image)

ATTEMPTS = 20                   # a choice may turn out not to do; then another one is tried

# What follows from almost any hole in a tree: what hung below it is not seen.
LOST_BELOW = ("METADATA_LEAK", "DATA_LEAK", "METADATA_COUNT_HIGH", "DATA_COUNT_HIGH", "MAPPED_BLOCKS")


class Kind(NamedTuple):
    """One kind of damage.  The audit must report all of `expected`, and beside them at most kinds of `allowed`."""

    function: Callable[[Editor], None]
    expected: FrozenSet[str]
    allowed: FrozenSet[str]

    @property
    def meaning(self):
        return self.function.__doc__.rstrip(".")


KINDS = {}


def damage(*expected, also=()):
    """Make a function a kind of damage, named as the function is.

    `also` are kinds of finding that the damage may bring with it, depending on where it strikes.
    """
    def register(function):
        # A note that a part was not judged goes with every unreadable block.
        KINDS[function.__name__.replace("_", "-")] = Kind(
            function, frozenset(expected), frozenset(also) | {"COUNTS_NOT_JUDGED"})
        return function
    return register


def apply(image, name, seed=0):
    """A copy of a good image with this kind of damage; the same for the same seed."""
    for attempt in range(ATTEMPTS):
        editor = Editor(image, random.Random("%s/%d/%d" % (name, seed, attempt)))
        try:
            KINDS[name].function(editor)
            return editor.image
        except Unsuitable as error:
            reason = error
    raise Unsuitable("%s needs %s" % (name, reason))


# -- Superblock ------------------------------------------------------------------------------------------------------

@damage("BAD_CHECKSUM")
def sb_checksum(edit):
    """A bit of the superblock's uuid flipped, checksum left."""
    flip_bit(edit, 0, 16)


@damage("UNFORMATTED")
def sb_zero(edit):
    """Block 0 zeroed."""
    edit.image.put(0, layout.ZERO_BLOCK)


@damage("SB_MAGIC")
def sb_magic(edit):
    """The magic number off by one."""
    edit.set_superblock(magic=layout.MAGIC + 1)


@damage("BAD_BLOCKNR")
def sb_blocknr(edit):
    """The superblock says it is another block."""
    edit.set_superblock(blocknr=1)


@damage("SB_VERSION")
def sb_version(edit):
    """Version 3."""
    edit.set_superblock(version=3)


@damage("SB_VERSION_1")
def sb_version_1(edit):
    """Version 1, which is legal."""
    edit.set_superblock(version=1)


@damage("SB_NEEDS_CHECK")
def sb_needs_check(edit):
    """The needs_check flag, which is legal."""
    edit.set_superblock(flags=layout.NEEDS_CHECK)


@damage("SB_FLAGS")
def sb_unknown_flag(edit):
    """A flag that nobody knows, which is legal."""
    edit.set_superblock(flags=2)


@damage("SB_COMPAT")
def sb_compat(edit):
    """A compatible feature flag, which is legal."""
    edit.set_superblock(compat_flags=1)


@damage("SB_COMPAT_RO")
def sb_compat_ro(edit):
    """A feature flag that allows reading only."""
    edit.set_superblock(compat_ro_flags=1)


@damage("SB_INCOMPAT")
def sb_incompat(edit):
    """An incompatible feature flag."""
    edit.set_superblock(incompat_flags=1 << 31)


@damage("SB_DATA_BLOCK_SIZE")
def sb_data_block_size_zero(edit):
    """A data block size of 0."""
    edit.set_superblock(data_block_size=0)


@damage("SB_DATA_BLOCK_SIZE")
def sb_data_block_size_odd(edit):
    """A data block size that is no multiple of 64 KiB."""
    edit.set_superblock(data_block_size=192)


@damage("SB_DATA_BLOCK_SIZE")
def sb_data_block_size_large(edit):
    """A data block size above 1 GiB."""
    edit.set_superblock(data_block_size=layout.MAX_DATA_BLOCK_SIZE + layout.MIN_DATA_BLOCK_SIZE)


@damage("SB_METADATA_BLOCK_SIZE")
def sb_metadata_block_size(edit):
    """A metadata block size of 16 sectors."""
    edit.set_superblock(metadata_block_size=16)


@damage("SB_METADATA_NR_BLOCKS")
def sb_metadata_nr_blocks(edit):
    """More metadata blocks at format time than there are now."""
    edit.set_superblock(metadata_nr_blocks=edit.metadata.root.nr_blocks + 1)


@damage("SB_TIME")
def sb_time_too_large(edit):
    """A time that does not fit into a mapping."""
    edit.set_superblock(time=layout.MAX_TIME + 1)


@damage("MAPPING_TIME", "DEVICE_TIME", also=("HELD_TIME",))
def sb_time_lost(edit):
    """The superblock's time back at 0."""
    edit.need(any(edit.details(device)[3] for device in edit.devices()), "a device snapshotted since time 0")
    edit.need(any(value & layout.MAX_TIME for root in edit.devices().values() for leaf in edit.leaves(root, SUBTREE)
                  for value in leaf.values), "a mapping made since time 0")
    edit.set_superblock(time=0)


@damage("DEVICE_TRANS_ID")
def sb_trans_id_lost(edit):
    """The transaction id back at 0, which is legal."""
    edit.need(any(edit.details(device)[1] for device in edit.devices()), "a device of a later transaction")
    edit.set_superblock(trans_id=0)


@damage("SLACK_NONZERO")
def sb_slack(edit):
    """Something after the superblock's last field, which is legal."""
    edit.poke(0, 2048, "Q", 0x5A5A5A5A)


@damage("BLOCK_OUT_OF_RANGE")
def sb_mapping_root_out_of_range(edit):
    """The mapping root past the end."""
    edit.set_superblock(mapping_root=edit.metadata.root.nr_blocks)


@damage("BLOCK_TWO_USES", "METADATA_COUNT_LOW")
def sb_mapping_root_zero(edit):
    """The mapping root is the superblock."""
    edit.set_superblock(mapping_root=0)


@damage("BAD_CHECKSUM", "METADATA_COUNT_LOW")
def sb_mapping_root_free(edit):
    """The mapping root is a block never written."""
    number = edit.choose((n for n in edit.metadata.blocks(0) if edit.image.block(n) == layout.ZERO_BLOCK),
                         "a metadata block never written")
    edit.set_superblock(mapping_root=number)


@damage("NODE_VALUE_SIZE", also=("BLOCK_TWO_USES",))
def sb_roots_swapped(edit):
    """The mapping root and the details root exchanged."""
    old = edit.superblock
    edit.set_superblock(mapping_root=old.details_root, details_root=old.mapping_root)


@damage("BLOCK_TWO_USES", also=("METADATA_COUNT_LOW",))
def sb_roots_equal(edit):
    """The details root is the mapping root."""
    edit.set_superblock(details_root=edit.superblock.mapping_root)


@damage("WRONG_BLOCK_TYPE")
def sb_index_is_a_node(edit):
    """The metadata index block's place has a btree node."""
    edit.metadata.set_root(bitmap_root=new_block(edit, edit.superblock.details_root))


@damage("FILE_TOO_SHORT")
def file_truncated(edit):
    """The file ends within the used blocks."""
    last = max(number for number in range(edit.image.nr_blocks) if edit.metadata.bits(number))
    edit.image.truncate(last)


@damage("FILE_TOO_SHORT")
def file_truncated_unused(edit):
    """The file ends before nr_blocks, but after all used blocks."""
    last = max(number for number in range(edit.image.nr_blocks) if edit.metadata.bits(number))
    edit.need(last + 1 < edit.image.nr_blocks, "a last metadata block that is free")
    edit.image.truncate(last + 1)


# -- Any block -------------------------------------------------------------------------------------------------------

def flip_bit(edit, number, offset):
    """Flip one bit and leave the checksum as it was."""
    block = bytearray(edit.image.block(number))
    block[offset] ^= 1 << edit.random.randrange(8)
    edit.image.put(number, block)


def new_block(edit, number):
    """A copy of a block in a newly allocated place, sealed with its new number."""
    copy = edit.allocate()
    block = edit.image.block(number)
    edit.image.put(copy, layout.seal(block, layout.block_type(block), copy))
    return copy


def some_leaf(edit):
    """Any leaf of the mapping trees."""
    device = edit.choose(edit.devices().items(), "a device")
    return edit.choose(edit.leaves(device[1], SUBTREE), "a leaf").number


def some_internal(edit):
    """The root of a mapping tree, if it is an internal node."""
    return edit.choose((root for root in edit.devices().values() if not edit.node(root, SUBTREE).leaf),
                       "a device of two levels")


@damage("BAD_CHECKSUM")
def leaf_checksum(edit):
    """A bit of a mapping leaf flipped, checksum left."""
    flip_bit(edit, some_leaf(edit), edit.random.randrange(4, layout.BLOCK_SIZE))


@damage("BAD_CHECKSUM")
def internal_checksum(edit):
    """A bit of an internal mapping node flipped, checksum left."""
    flip_bit(edit, some_internal(edit), edit.random.randrange(4, layout.BLOCK_SIZE))


@damage("BAD_CHECKSUM")
def csum_field(edit):
    """A bit of a checksum itself flipped."""
    flip_bit(edit, some_leaf(edit), 0)


@damage("BAD_CHECKSUM")
def block_zeroed(edit):
    """A mapping leaf zeroed."""
    edit.image.put(some_leaf(edit), layout.ZERO_BLOCK)


@damage("BAD_CHECKSUM")
def block_torn(edit):
    """The first sector of a leaf from before its last write."""
    _, leaf = edit.single_leaf_device()
    old = edit.image.block(leaf.number)
    edit.map_to(leaf, 0, edit.choose(edit.data.blocks(0), "a free data block"))
    new = edit.image.block(leaf.number)
    if old[:512] == new[:512]:
        new = new[:512] + old[512:]
    edit.image.put(leaf.number, old[:512] + new[512:])


@damage("WRONG_BLOCK_TYPE")
def block_type_wrong(edit):
    """A mapping leaf with a bitmap's checksum."""
    number = some_leaf(edit)
    edit.image.put(number, layout.seal(edit.image.block(number), layout.BITMAP))


@damage("BAD_BLOCKNR")
def block_number_wrong(edit):
    """A node with another block's number."""
    number = some_leaf(edit)
    edit.image.put(number, layout.seal(edit.image.block(number), layout.NODE, number + 1))


@damage("BAD_BLOCKNR")
def write_misdirected(edit):
    """One leaf written over another."""
    number = some_leaf(edit)
    other = edit.choose((n for n in (some_leaf(edit) for _ in range(10)) if n != number), "two leaves")
    edit.image.put(number, edit.image.block(other))


@damage("BAD_CHECKSUM")
def details_checksum(edit):
    """A bit of the details root flipped, checksum left."""
    flip_bit(edit, edit.superblock.details_root, 100)


@damage("BAD_CHECKSUM")
def top_level_checksum(edit):
    """A bit of the top level's root flipped, checksum left."""
    flip_bit(edit, edit.superblock.mapping_root, 100)


@damage("BAD_CHECKSUM")
def data_overflow_checksum(edit):
    """A bit of the data overflow tree's root flipped, checksum left."""
    flip_bit(edit, edit.data.root.ref_count_root, 100)


@damage("BAD_CHECKSUM")
def data_bitmap_checksum(edit):
    """A bit of a data bitmap flipped, checksum left."""
    flip_bit(edit, edit.data.bitmap_block(0), 200)


@damage("BAD_CHECKSUM")
def metadata_bitmap_checksum(edit):
    """A bit of a metadata bitmap flipped, checksum left."""
    flip_bit(edit, edit.metadata.bitmap_block(0), 200)


@damage("BAD_CHECKSUM")
def index_block_checksum(edit):
    """A bit of the metadata index block flipped, checksum left."""
    flip_bit(edit, edit.metadata.root.bitmap_root, 200)


@damage("BAD_BLOCKNR")
def data_bitmap_number(edit):
    """A data bitmap with another block's number."""
    edit.poke(edit.data.bitmap_block(0), 8, "Q", 1)


# -- Nodes -----------------------------------------------------------------------------------------------------------

@damage("NODE_FLAGS")
def node_flags_both(edit):
    """A node both internal and leaf."""
    edit.poke(some_leaf(edit), 4, "I", INTERNAL | LEAF)


@damage("NODE_FLAGS")
def node_flags_none(edit):
    """A node neither internal nor leaf."""
    edit.poke(some_leaf(edit), 4, "I", 0)


@damage("NODE_FLAGS")
def node_flags_unknown(edit):
    """A node with an unknown flag."""
    edit.poke(some_leaf(edit), 4, "I", LEAF | 4)


@damage("BLOCK_OUT_OF_RANGE", also=("BLOCK_TWO_USES", "UNEQUAL_DEPTH", "METADATA_COUNT_LOW"))
def leaf_as_internal(edit):
    """A mapping leaf flagged as internal."""
    _, leaf = edit.single_leaf_device()
    edit.poke(leaf.number, 4, "I", INTERNAL)


@damage("MAPPING_TIME", "MAPPED_BLOCKS", "METADATA_LEAK",
        also=LOST_BELOW + ("DATA_COUNT_LOW", "DOUBLE_MAPPING", "DOUBLE_FLAGGED", "SHARED_NOT_FLAGGED"))
def internal_as_leaf(edit):
    """An internal mapping node flagged as a leaf."""
    _, path = edit.private_path(2)
    edit.poke(path[0].number, 4, "I", LEAF)


@damage("NODE_VALUE_SIZE")
def node_value_size(edit):
    """A mapping leaf with a value size of 4."""
    edit.poke(some_leaf(edit), 24, "I", 4)


@damage("NODE_NR_ENTRIES")
def node_nr_entries(edit):
    """More entries than max_entries."""
    edit.poke(some_leaf(edit), 16, "I", layout.max_entries(8) + 1)


@damage("KEY_ORDER", also=("MAPPED_BLOCKS", "DATA_COUNT_LOW", "DATA_COUNT_HIGH", "PARENT_KEY_HIGH", "DOUBLE_MAPPING",
                           "DOUBLE_FLAGGED", "SHARED_NOT_FLAGGED"))
def node_entry_from_slack(edit):
    """One entry more than there are, its key 0."""
    _, leaf = edit.single_leaf_device(least=2)
    edit.poke(leaf.number, 16, "I", len(leaf.keys) + 1)


@damage("MAX_ENTRIES_TOO_LARGE")
def max_entries_too_large(edit):
    """A max_entries that does not fit the block."""
    edit.poke(some_leaf(edit), 20, "I", 255)


@damage("MAX_ENTRIES_TOO_LARGE")
def max_entries_zero(edit):
    """A max_entries of 0."""
    edit.poke(some_leaf(edit), 20, "I", 0)


def resize(edit, node, capacity):
    """Write a node with another max_entries."""
    edit.need(len(node.keys) <= capacity, "a node with fewer entries")
    node.capacity = capacity
    node.save()


@damage("MAX_ENTRIES_NOT_3")
def max_entries_not_3(edit):
    """A max_entries that is no multiple of three, values in their place."""
    _, leaf = edit.single_leaf_device()
    resize(edit, leaf, leaf.capacity - 1)


@damage("MAX_ENTRIES_UNUSUAL")
def max_entries_halved(edit):
    """A max_entries that is half of the largest, values in their place."""
    _, leaf = edit.single_leaf_device()
    resize(edit, leaf, layout.max_entries(8) // 2)


@damage("MAX_ENTRIES_UNUSUAL", "MAX_ENTRIES_SIBLINGS")
def max_entries_siblings(edit):
    """One leaf with a smaller max_entries than its siblings."""
    _, path = edit.private_path(2)
    resize(edit, path[-1], path[-1].capacity - 3)


@damage("KEY_ORDER")
def keys_swapped(edit):
    """Two neighbouring keys of a leaf exchanged."""
    _, path = edit.private_path(2)
    keys = path[-1].keys
    index = edit.random.randrange(1, len(keys) - 2)
    keys[index], keys[index + 1] = keys[index + 1], keys[index]
    path[-1].save()


@damage("KEY_ORDER")
def keys_equal(edit):
    """One key twice in a leaf."""
    _, path = edit.private_path(2)
    index = edit.random.randrange(1, len(path[-1].keys) - 1)
    path[-1].keys[index + 1] = path[-1].keys[index]
    path[-1].save()


@damage("KEY_ORDER", also=("PARENT_KEY_HIGH", "CHILD_KEY_HIGH"))
def internal_keys_swapped(edit):
    """Two neighbouring keys of an internal node exchanged."""
    _, path = edit.private_path(2)
    keys = path[0].keys
    index = edit.random.randrange(1, len(keys) - 2)
    keys[index], keys[index + 1] = keys[index + 1], keys[index]
    path[0].save()


@damage("KEY_ORDER", also=("DEVICE_NO_DETAILS", "DEVICE_NO_MAPPING", "PARENT_KEY_HIGH", "CHILD_KEY_HIGH"))
def top_level_keys_swapped(edit):
    """Two neighbouring device ids of the top level exchanged."""
    leaf = edit.choose((leaf for leaf in edit.leaves(edit.superblock.mapping_root, TOP_LEVEL) if len(leaf.keys) > 4),
                       "a few devices")
    leaf.keys[1:3] = leaf.keys[2], leaf.keys[1]
    leaf.values[1:3] = leaf.values[2], leaf.values[1]
    leaf.save()


@damage("UNDERFULL_NODE")
def leaf_underfull(edit):
    """A leaf, no root, with one entry too few."""
    device, path = edit.private_path(2)
    edit.drop_mappings(device, path[-1], path[-1].spare + 1)


@damage("UNDERFULL_NODE")
def internal_underfull(edit):
    """An internal node, no root, with one child too few."""
    device, path = edit.split_path()
    node = path[-1]
    for _ in range(node.spare + 1):
        child = edit.node(node.values[-1], SUBTREE)
        edit.need(edit.metadata.count(child.number) > 1, "shared leaves")
        edit.metadata.add(child.number, -1)
        edit.add_mapped(device, -len(child.keys))
        node.remove(len(node.keys) - 1)


@damage("EMPTY_NODE")
def leaf_empty(edit):
    """A leaf, no root, without entries."""
    device, path = edit.private_path(2)
    edit.drop_mappings(device, path[-1], len(path[-1].keys))


@damage("EMPTY_NODE", also=LOST_BELOW + ("SLACK_NONZERO",))
def root_empty_internal(edit):
    """An internal root without entries."""
    edit.poke(some_internal(edit), 16, "I", 0)


@damage("PARENT_KEY_HIGH")
def parent_key_high(edit):
    """A key in the parent above the child's first."""
    _, path = edit.private_path(2)
    index = path[-2].values.index(path[-1].number)
    path[-2].keys[index] = path[-1].keys[0] + 1
    path[-2].save()


@damage("PARENT_KEY_HIGH")
def parent_key_high_internal(edit):
    """A key in the parent above an internal child's first."""
    _, path = edit.split_path()
    index = path[-2].values.index(path[-1].number)
    path[-2].keys[index] = path[-1].keys[0] + 1
    path[-2].save()


@damage("CHILD_KEY_HIGH")
def child_key_high(edit):
    """A child's last key at the parent's next key."""
    _, path = edit.private_path(2)
    index = path[-2].values.index(path[-1].number)
    path[-1].keys[-1] = path[-2].keys[index + 1]
    path[-1].save()


@damage("CHILD_KEY_HIGH")
def child_key_high_in_gap(edit):
    """A child's last key at the parent's next key, which is below the next leaf's first."""
    device, path = edit.private_path(2)
    index = path[-2].values.index(path[-1].number)
    after = edit.node(path[-2].values[index + 1], SUBTREE)
    edit.need(after.leaf and after.spare > 0 and edit.metadata.count(after.number) == 1,
              "two leaves side by side with nothing shared")
    edit.data.add(after.values[0] >> layout.TIME_BITS, -1)
    after.remove(0)
    edit.add_mapped(device, -1)
    path[-1].keys[-1] = path[-2].keys[index + 1]
    path[-1].save()


@damage("CHILD_KEY_HIGH")
def grandchild_key_high(edit):
    """The last key of the last leaf of a child at the grandparent's next key."""
    candidates = []
    for root in edit.devices().values():
        paths = [path for path in edit.paths(root, SUBTREE) if len(path) >= 3]
        candidates += [(path, after) for path, after in zip(paths, paths[1:])
                       if path[1].number != after[1].number and path[0].number == after[0].number]
    path, after = edit.choose(candidates, "a device of three levels")
    path[2].keys[-1] = after[1].keys[0]
    path[2].save()


@damage("UNEQUAL_DEPTH", "UNDERFULL_NODE")
def unequal_depth(edit):
    """A leaf hung one level deeper than the others."""
    _, path = edit.private_path(2)
    number = edit.allocate()
    index = path[-2].values.index(path[-1].number)
    edit.image.put(number, layout.pack_node(number, SUBTREE, False, path[-1].keys[:1], [path[-1].number]))
    path[-2].values[index] = number
    path[-2].save()


@damage("TOO_DEEP", "UNDERFULL_NODE")
def too_deep(edit):
    """A chain of 20 nodes above a root."""
    chain(edit, edit.single_leaf_device()[0], 20)


@damage("CYCLE")
def cycle_self(edit):
    """A node that is its own child."""
    _, path = edit.private_path(2)
    path[-2].values[path[-2].values.index(path[-1].number)] = path[-2].number
    path[-2].save()
    edit.metadata.add(path[-2].number, 1)


@damage("CYCLE")
def cycle_grandparent(edit):
    """A root that is its own grandchild."""
    _, path = edit.split_path()
    child = edit.node(path[-1].values[-1], SUBTREE)
    path[-1].values[-1] = path[0].number
    path[-1].save()
    edit.metadata.add(child.number, -1)
    edit.metadata.add(path[0].number, 1)


@damage("BLOCK_OUT_OF_RANGE")
def child_out_of_range(edit):
    """A child past the end."""
    _, path = edit.private_path(2)
    path[-2].values[1] = 1 << 63
    path[-2].save()


@damage("BLOCK_TWO_USES", also=("METADATA_COUNT_LOW",))
def child_is_bitmap(edit):
    """A child that is a bitmap."""
    _, path = edit.private_path(2)
    path[-2].values[1] = edit.data.bitmap_block(0)
    path[-2].save()


@damage("BLOCK_TWO_USES", "NODE_VALUE_SIZE", also=("METADATA_COUNT_LOW",))
def child_of_other_tree(edit):
    """A child that is a node of the details."""
    _, path = edit.private_path(2)
    path[-2].values[1] = edit.leaves(edit.superblock.details_root, DETAILS)[0].number
    path[-2].save()


@damage("PARENT_KEY_HIGH", "METADATA_COUNT_LOW", also=LOST_BELOW + ("SHARED_NOT_FLAGGED",))
def child_twice(edit):
    """One child twice in its parent."""
    _, path = edit.private_path(2)
    index = path[-2].values.index(path[-1].number)
    path[-2].values[index + 1] = path[-1].number
    path[-2].save()


@damage("SLACK_NONZERO")
def node_padding(edit):
    """Something in a node's padding, which is legal."""
    edit.poke(some_leaf(edit), 28, "I", 1)


@damage("SLACK_NONZERO")
def node_slack(edit):
    """Something in a node's unused values, which is legal."""
    _, leaf = edit.single_leaf_device()
    edit.poke(leaf.number, layout.BLOCK_SIZE - 100, "Q", 0x5A5A5A5A)


# -- Mappings and devices --------------------------------------------------------------------------------------------

@damage("MAPPING_PAST_END")
def mapping_past_end(edit):
    """A mapping to the first data block past the end, its old data block freed."""
    _, leaf = edit.single_leaf_device()
    edit.data.add(leaf.values[0] >> layout.TIME_BITS, -1)
    edit.map_to(leaf, 0, edit.data.root.nr_blocks)


@damage("MAPPING_PAST_END")
def mapping_far_past_end(edit):
    """A mapping to the last data block a mapping can name."""
    _, leaf = edit.single_leaf_device()
    edit.data.add(leaf.values[0] >> layout.TIME_BITS, -1)
    edit.map_to(leaf, 0, layout.MAX_DATA_BLOCKS - 1)


def map_again(edit, leaf, source, index, time):
    """Map entry `index` of a leaf to the data block of entry `source`, counts put right."""
    data_block = leaf.values[source] >> layout.TIME_BITS
    edit.data.add(leaf.values[index] >> layout.TIME_BITS, -1)
    edit.data.add(data_block, 1)
    edit.map_to(leaf, index, data_block, time)


def written_in_place(edit, device):
    """The time of mappings that this device does not take for shared."""
    return edit.details(device)[3]


@damage("DOUBLE_MAPPING", also=("SHARED_NOT_FLAGGED",))
def double_mapping(edit):
    """A device maps one data block twice in one leaf, counts right."""
    device, leaf = edit.single_leaf_device(least=2)
    map_again(edit, leaf, 0, 1, written_in_place(edit, device))


@damage("DOUBLE_MAPPING", also=("SHARED_NOT_FLAGGED",))
def double_mapping_far(edit):
    """A device maps one data block from two leaves, counts right."""
    device, path = edit.private_path(2)
    other = edit.leaves(edit.devices()[device], SUBTREE)[0]
    data_block = other.values[0] >> layout.TIME_BITS
    edit.data.add(path[-1].values[0] >> layout.TIME_BITS, -1)
    edit.data.add(data_block, 1)
    edit.map_to(path[-1], 0, data_block, written_in_place(edit, device))


@damage("DOUBLE_MAPPING", "DATA_COUNT_LOW", "DATA_LEAK", also=("SHARED_NOT_FLAGGED",))
def double_mapping_uncounted(edit):
    """A device maps one data block twice, counts as they were."""
    device, leaf = edit.single_leaf_device(least=2)
    edit.need(edit.data.count(leaf.values[1] >> layout.TIME_BITS) == 1, "a data block of one device")
    edit.map_to(leaf, 1, leaf.values[0] >> layout.TIME_BITS, written_in_place(edit, device))


@damage("DOUBLE_FLAGGED")
def double_mapping_flagged(edit):
    """A device maps one data block twice, which is legal where it takes both for shared; counts right."""
    device, leaf = edit.single_leaf_device(least=2)
    time = written_in_place(edit, device) - 1
    edit.need(time >= 0, "a device with a snapshot")
    map_again(edit, leaf, 0, 1, time)
    edit.map_to(leaf, 0, leaf.values[0] >> layout.TIME_BITS, time)


@damage("SHARED_NOT_FLAGGED")
def mapping_stolen(edit):
    """A device maps a data block of another one, counts right, neither taking it for shared."""
    _, leaf = edit.single_leaf_device()
    _, path = edit.private_path(2)
    edit.data.add(leaf.values[0] >> layout.TIME_BITS, -1)
    edit.data.add(path[-1].values[0] >> layout.TIME_BITS, 1)
    edit.map_to(leaf, 0, path[-1].values[0] >> layout.TIME_BITS)


@damage("SHARED_NOT_FLAGGED")
def snapshot_forgotten(edit):
    """A device with a snapshot whose details do not know of it."""
    device = edit.shared_device()
    mapped, transaction, _, _ = edit.details(device)
    edit.set_details(device, (mapped, transaction, 0, 0))


@damage("SHARED_NOT_FLAGGED", also=("MAPPING_TIME",))
def mapping_too_young(edit):
    """A shared mapping with the time of now."""
    device = edit.shared_device()
    leaf = edit.choose(edit.leaves(edit.devices()[device], SUBTREE), "a leaf")
    edit.map_to(leaf, 0, leaf.values[0] >> layout.TIME_BITS, edit.superblock.time)


@damage("MAPPING_TIME", also=("SHARED_NOT_FLAGGED",))
def mapping_time_future(edit):
    """A mapping newer than the superblock's time."""
    _, leaf = edit.single_leaf_device()
    edit.map_to(leaf, 0, leaf.values[0] >> layout.TIME_BITS, edit.superblock.time + 1)


@damage("DEVICE_NO_DETAILS")
def device_only_mapping(edit):
    """A device without details."""
    leaf = edit.choose((leaf for leaf in edit.leaves(edit.superblock.details_root, DETAILS) if leaf.spare > 0),
                       "a leaf of the details with entries to spare")
    leaf.remove(len(leaf.keys) - 1)


@damage("DEVICE_NO_MAPPING")
def device_only_details(edit):
    """Details of a device that is not there."""
    leaf, key = edit.choose(((leaf, key + 1) for leaf in edit.leaves(edit.superblock.details_root, DETAILS)
                             for key, after in zip(leaf.keys, leaf.keys[1:]) if key + 1 < after),
                            "a gap in the device ids")
    leaf.insert(key, (0, 0, 0, 0))


@damage("DEVICE_ID")
def device_id_too_large(edit):
    """A device id of 2^24."""
    for root, tree in ((edit.superblock.mapping_root, TOP_LEVEL), (edit.superblock.details_root, DETAILS)):
        leaf = edit.leaves(root, tree)[-1]
        edit.need(leaf.keys, "a device")
        leaf.keys[-1] = layout.MAX_DEVICE_ID + 1
        leaf.save()


@damage("MAPPED_BLOCKS")
def mapped_blocks_high(edit):
    """mapped_blocks one too high."""
    edit.add_mapped(edit.choose(edit.devices(), "a device"), 1)


@damage("MAPPED_BLOCKS")
def mapped_blocks_low(edit):
    """mapped_blocks one too low."""
    edit.add_mapped(edit.single_leaf_device()[0], -1)


@damage("MAPPED_BLOCKS", also=("SHARED_NOT_FLAGGED",))
def device_roots_swapped(edit):
    """Two devices with each other's mappings."""
    devices = edit.devices()
    one = edit.choose(devices, "a device")
    other = edit.choose((device for device in devices if edit.details(device)[0] != edit.details(one)[0]),
                        "two devices of different size")
    for device, root in ((one, devices[other]), (other, devices[one])):
        leaf, index = edit.entry(TOP_LEVEL, device)
        leaf.values[index] = root
        leaf.save()


@damage("DEVICE_TIME")
def device_time_future(edit):
    """A device created after the superblock's time."""
    device = edit.choose(edit.devices(), "a device")
    mapped, transaction, _, _ = edit.details(device)
    edit.set_details(device, (mapped, transaction, edit.superblock.time + 1, edit.superblock.time + 1))


@damage("DEVICE_TIME_ORDER")
def device_time_order(edit):
    """A device created after its last snapshot."""
    device = edit.choose((device for device in edit.devices() if edit.details(device)[3] < edit.superblock.time),
                         "a device not snapshotted now")
    mapped, transaction, _, snapshotted = edit.details(device)
    edit.set_details(device, (mapped, transaction, snapshotted + 1, snapshotted))


@damage("DEVICE_TRANS_ID")
def device_trans_id_future(edit):
    """A device of a transaction still to come, which is legal."""
    device = edit.choose(edit.devices(), "a device")
    mapped, _, created, snapshotted = edit.details(device)
    edit.set_details(device, (mapped, edit.superblock.trans_id + 1, created, snapshotted))


@damage("MAPPED_BLOCKS", "DATA_LEAK")
def leaf_stale(edit):
    """A leaf from before the last insertion: its write was lost."""
    _, leaf = edit.single_leaf_device(least=2)
    edit.need(edit.data.count(leaf.values[-1] >> layout.TIME_BITS) == 1, "a data block of one device")
    leaf.remove(len(leaf.keys) - 1)


@damage("METADATA_LEAK", "DATA_LEAK", also=("DATA_COUNT_HIGH",))
def delete_forgot_tree(edit):
    """A device deleted from both trees, its mapping tree not released."""
    device, leaf = edit.single_leaf_device()
    edit.need(any(edit.data.count(value >> layout.TIME_BITS) == 1 for value in leaf.values),
              "a data block of one device")
    for tree in (TOP_LEVEL, DETAILS):
        leaf, index = edit.entry(tree, device)
        root = edit.superblock.mapping_root if tree is TOP_LEVEL else edit.superblock.details_root
        edit.need(leaf.number == root or leaf.spare > 0, "a leaf with an entry to spare")
        leaf.remove(index)


# -- Reference counts ------------------------------------------------------------------------------------------------

@damage("METADATA_LEAK")
def metadata_leak(edit):
    """A free metadata block with count 1."""
    edit.allocate()


@damage("METADATA_LEAK")
def metadata_leak_many(edit):
    """A free metadata block with count 5."""
    edit.metadata.set_count(edit.choose(edit.metadata.blocks(0), "a free metadata block"), 5)


@damage("METADATA_COUNT_HIGH")
def metadata_count_high(edit):
    """A metadata block with count 2 and one user."""
    edit.metadata.add(edit.choose(edit.metadata.blocks(1), "a metadata block of count 1"), 1)


@damage("METADATA_COUNT_LOW")
def metadata_count_low(edit):
    """A shared metadata block with one reference not counted."""
    edit.metadata.add(edit.choose(edit.metadata.blocks(3), "a metadata block shared by three"), -1)


@damage("METADATA_COUNT_LOW")
def metadata_count_zero(edit):
    """A metadata block that is in use and free."""
    edit.metadata.set_count(edit.choose((n for n in edit.metadata.blocks(1) if n), "a metadata block"), 0)


@damage("METADATA_COUNT_LOW")
def metadata_count_superblock(edit):
    """The superblock is free."""
    edit.metadata.set_count(0, 0)


@damage("METADATA_COUNT_LOW")
def metadata_count_bitmap(edit):
    """A bitmap's own block is free."""
    edit.metadata.set_count(edit.metadata.bitmap_block(0), 0)


@damage("METADATA_COUNT_LOW")
def snapshot_not_counted(edit):
    """A snapshot taken without counting the origin's root once more."""
    edit.metadata.add(edit.devices()[edit.shared_device()], -1)


@damage("DATA_LEAK")
def data_leak(edit):
    """A free data block with count 1."""
    edit.data.set_count(edit.choose(edit.data.blocks(0), "a free data block"), 1)


@damage("DATA_LEAK")
def data_leak_many(edit):
    """A free data block with count 4."""
    edit.data.set_count(edit.choose(edit.data.blocks(0), "a free data block"), 4)


@damage("DATA_COUNT_HIGH")
def data_count_high(edit):
    """A data block with count 2 and one user."""
    edit.data.add(edit.choose(edit.data.blocks(1), "a data block of count 1"), 1)


@damage("DATA_COUNT_LOW")
def data_count_low(edit):
    """A data block with one of two or more references not counted."""
    edit.data.add(edit.choose(edit.data.blocks(2) + edit.data.blocks(3), "a data block with two users"), -1)


@damage("DATA_COUNT_LOW")
def data_count_zero(edit):
    """A data block that is in use and free."""
    edit.data.set_count(edit.choose(edit.data.blocks(1), "a data block of count 1"), 0)


@damage("DATA_COUNT_LOW")
def copied_leaf_not_counted(edit):
    """A leaf copied on write without counting its data blocks once more."""
    shared = set(edit.data.blocks(2) + edit.data.blocks(3))
    leaf = edit.choose((leaf for root in edit.devices().values() for leaf in edit.leaves(root, SUBTREE)
                        if any(value >> layout.TIME_BITS in shared for value in leaf.values)), "a copied leaf")
    for block in shared.intersection(value >> layout.TIME_BITS for value in leaf.values):
        edit.data.add(block, -1)


@damage("DATA_COUNT_HIGH")
def data_bits_swapped(edit):
    """A byte of a bitmap with the two bits of each count in the other order."""
    block = edit.choose(edit.data.blocks(1), "a data block of count 1")
    for neighbour in range(block & ~3, (block & ~3) + 4):
        bits = edit.data.bits(neighbour)
        if bits in (1, 2):
            edit.data.set_bits(neighbour, 3 - bits)
        edit.need(bits != 2, "four data blocks none of which has count 2")


@damage("DATA_COUNT_LOW", "NR_ALLOCATED", "NR_FREE", also=("OVERFLOW_STALE", "NONE_FREE_BEFORE"))
def data_bitmap_cleared(edit):
    """A data bitmap with all counts 0."""
    edit.need(any(edit.data.bits(block) for block in range(min(ENTRIES_PER_BITMAP, edit.data.root.nr_blocks))),
              "a used data block")
    number = edit.data.bitmap_block(0)
    edit.image.put(number, layout.pack_bitmap(number, ()))


@damage("METADATA_COUNT_LOW", "NR_ALLOCATED", "NR_FREE", also=("OVERFLOW_STALE", "NONE_FREE_BEFORE"))
def metadata_bitmap_cleared(edit):
    """A metadata bitmap with all counts 0."""
    number = edit.metadata.bitmap_block(0)
    edit.image.put(number, layout.pack_bitmap(number, ()))


@damage("OVERFLOW_MISSING")
def data_overflow_missing(edit):
    """A data block of three or more without its exact count."""
    edit.data.set_overflow(edit.choose(edit.data.blocks(3), "a data block of three users"), None)


@damage("OVERFLOW_MISSING")
def metadata_overflow_missing(edit):
    """A metadata block of three or more without its exact count."""
    edit.metadata.set_overflow(edit.choose(edit.metadata.blocks(3), "a metadata block of three users"), None)


@damage("OVERFLOW_STALE")
def data_overflow_stale(edit):
    """An exact count left behind for a data block of count 1."""
    edit.data.set_overflow(edit.choose(edit.data.blocks(1), "a data block of count 1"), 3)


@damage("OVERFLOW_STALE")
def metadata_overflow_stale(edit):
    """An exact count left behind for a free metadata block."""
    edit.metadata.set_overflow(edit.choose(edit.metadata.blocks(0), "a free metadata block"), 3)


@damage("OVERFLOW_SMALL", "DATA_COUNT_LOW")
def data_overflow_small(edit):
    """An exact count of 2."""
    edit.data.set_overflow(edit.choose(edit.data.blocks(3), "a data block of three users"), 2)


@damage("DATA_COUNT_HIGH")
def data_overflow_high(edit):
    """An exact count one too high."""
    block = edit.choose(edit.data.blocks(3), "a data block of three users")
    edit.data.set_overflow(block, edit.data.count(block) + 1)


@damage("DATA_COUNT_LOW")
def data_overflow_low(edit):
    """An exact count one too low, and still 3 or more."""
    block = edit.choose((block for block in edit.data.blocks(3) if edit.data.count(block) > 3),
                        "a data block of four users")
    edit.data.set_overflow(block, edit.data.count(block) - 1)


@damage("METADATA_COUNT_LOW")
def metadata_overflow_low(edit):
    """An exact count of a metadata block one too low, and still 3 or more."""
    block = edit.choose((block for block in edit.metadata.blocks(3) if edit.metadata.count(block) > 3),
                        "a metadata block of four users")
    edit.metadata.set_overflow(block, edit.metadata.count(block) - 1)


@damage("OVERFLOW_PAST_END")
def data_overflow_past_end(edit):
    """An exact count for a data block past the end."""
    edit.data.set_overflow(edit.data.root.nr_blocks + 5, 3)


@damage("OVERFLOW_PAST_END")
def metadata_overflow_past_end(edit):
    """An exact count for a metadata block past the end."""
    edit.metadata.set_overflow(edit.metadata.root.nr_blocks, 3)


@damage("BITS_PAST_END")
def data_bits_past_end(edit):
    """A count for a data block past the end."""
    edit.need(edit.data.root.nr_blocks % ENTRIES_PER_BITMAP, "a last data bitmap that is not whole")
    edit.data.set_bits(edit.data.root.nr_blocks, 1)


@damage("BITS_PAST_END")
def metadata_bits_past_end(edit):
    """A count for a metadata block past the end."""
    edit.need(edit.metadata.root.nr_blocks % ENTRIES_PER_BITMAP, "a last metadata bitmap that is not whole")
    edit.metadata.set_bits(edit.metadata.root.nr_blocks, 1)


# -- Accounts of the space maps --------------------------------------------------------------------------------------

def change_entry(edit, space_map, bitmap, nr_free=0, none_free_before=0):
    """Add to the two accounts of an index entry."""
    number, free, before = space_map.entry(bitmap)
    space_map.set_entry(bitmap, (number, free + nr_free, before + none_free_before))


@damage("NR_ALLOCATED")
def data_nr_allocated(edit):
    """The data map's nr_allocated one too high."""
    edit.data.set_root(nr_allocated=edit.data.root.nr_allocated + 1)


@damage("NR_ALLOCATED")
def metadata_nr_allocated(edit):
    """The metadata map's nr_allocated one too high, the rest right, unlike after thin_restore."""
    edit.metadata.set_root(nr_allocated=edit.metadata.root.nr_allocated + 1)


@damage("NR_ALLOCATED")
def metadata_nr_allocated_low(edit):
    """The metadata map's nr_allocated one too low."""
    edit.metadata.set_root(nr_allocated=edit.metadata.root.nr_allocated - 1)


@damage("NR_FREE")
def data_nr_free_high(edit):
    """A data bitmap's nr_free one too high."""
    change_entry(edit, edit.data, 0, nr_free=1)


@damage("NR_FREE")
def data_nr_free_zero(edit):
    """A data bitmap with free blocks and nr_free 0: they are never found."""
    change_entry(edit, edit.data, 1, nr_free=-edit.data.entry(1)[1])


@damage("NR_FREE")
def metadata_nr_free_low(edit):
    """The metadata bitmap's nr_free one too low, the rest right, unlike after thin_restore."""
    change_entry(edit, edit.metadata, 0, nr_free=-1)


@damage("NR_FREE_TRUNCATED")
def data_nr_free_truncated(edit):
    """The last nr_free counts real blocks only, as thin_restore 0.9 writes it, which is legal."""
    bitmap, valid = divmod(edit.data.root.nr_blocks, ENTRIES_PER_BITMAP)
    edit.need(valid, "a last data bitmap that is not whole")
    change_entry(edit, edit.data, bitmap, nr_free=valid - ENTRIES_PER_BITMAP)


@damage("RESTORE_OFF_BY_ONE")
def metadata_restore_off_by_one(edit):
    """nr_allocated and nr_free off by one together, as thin_restore 0.9 leaves them, which is legal."""
    edit.metadata.set_root(nr_allocated=edit.metadata.root.nr_allocated + 1)
    change_entry(edit, edit.metadata, 0, nr_free=-1)


def skip_first_free(edit, space_map):
    """Let the search for a free block start past the first one."""
    bitmap, entry = divmod(edit.choose(space_map.blocks(0)[:1], "a free block"), ENTRIES_PER_BITMAP)
    change_entry(edit, space_map, bitmap, none_free_before=entry + 1 - space_map.entry(bitmap)[2])


@damage("NONE_FREE_BEFORE")
def data_none_free_before_high(edit):
    """none_free_before past the first free data block."""
    skip_first_free(edit, edit.data)


@damage("NONE_FREE_BEFORE")
def metadata_none_free_before_high(edit):
    """none_free_before past the first free metadata block."""
    skip_first_free(edit, edit.metadata)


@damage("INDEX_MISSING", also=("METADATA_LEAK",))
def data_index_missing(edit):
    """A data bitmap without index entry."""
    leaf = edit.leaves(edit.data.root.bitmap_root, DATA_INDEX)[-1]
    edit.need(leaf.keys, "a data bitmap")
    edit.metadata.set_count(leaf.values[-1][0], 0)
    leaf.remove(len(leaf.keys) - 1)


@damage("INDEX_MISSING")
def metadata_index_missing(edit):
    """The metadata bitmap without index entry."""
    edit.metadata.set_entry(0, (0, 0, 0))


@damage("INDEX_EXTRA")
def data_index_extra(edit):
    """An index entry for a data bitmap past the end."""
    number = edit.allocate()
    edit.image.put(number, layout.pack_bitmap(number, ()))
    leaf = edit.leaves(edit.data.root.bitmap_root, DATA_INDEX)[-1]
    leaf.insert(leaf.keys[-1] + 1 if leaf.keys else 0, (number, ENTRIES_PER_BITMAP, 0))


@damage("INDEX_EXTRA")
def metadata_index_extra(edit):
    """Something in an unused entry of the metadata index."""
    edit.metadata.set_entry(layout.MAX_INDEX_ENTRIES - 1, (1, 0, 0))


@damage("BLOCK_TWO_USES", "METADATA_COUNT_LOW")
def bitmap_twice(edit):
    """Two index entries with one bitmap."""
    edit.metadata.set_count(edit.data.bitmap_block(1), 0)
    edit.data.set_entry(1, (edit.data.bitmap_block(0), *edit.data.entry(1)[1:]))


@damage("BLOCK_TWO_USES", also=("METADATA_COUNT_LOW",))
def bitmap_is_metadata_bitmap(edit):
    """A data bitmap that is the metadata bitmap."""
    edit.data.set_entry(0, (edit.metadata.bitmap_block(0), *edit.data.entry(0)[1:]))


@damage("SLACK_NONZERO")
def bitmap_padding(edit):
    """Something in a bitmap's unused field, which is legal."""
    edit.poke(edit.data.bitmap_block(0), 4, "I", 7)


@damage("INDEX_MISSING")
def data_nr_blocks_high(edit):
    """More data blocks than there are bitmaps for."""
    edit.data.set_root(nr_blocks=edit.data.root.nr_blocks + 10 * ENTRIES_PER_BITMAP)


@damage("INDEX_MISSING", "SB_DATA_NR_BLOCKS")
def data_nr_blocks_absurd(edit):
    """More data blocks than a mapping can name."""
    edit.data.set_root(nr_blocks=(1 << 64) - 1)


@damage("MAPPING_PAST_END", "INDEX_EXTRA", "NR_ALLOCATED",
        also=("OVERFLOW_PAST_END", "BITS_PAST_END", "NR_FREE", "NR_FREE_TRUNCATED", "NONE_FREE_BEFORE"))
def data_nr_blocks_low(edit):
    """Fewer data blocks than are mapped."""
    limit = ENTRIES_PER_BITMAP // 2
    edit.need(edit.data.root.nr_blocks > ENTRIES_PER_BITMAP, "two data bitmaps")
    edit.need(max(edit.data.blocks(1), default=0) >= limit, "a used data block in the second half of a bitmap")
    edit.data.set_root(nr_blocks=limit)


@damage("FILE_TOO_SHORT")
def metadata_nr_blocks_high(edit):
    """More metadata blocks than the file has, within the last bitmap."""
    edit.metadata.set_root(nr_blocks=edit.metadata.root.nr_blocks + 1)


@damage("FILE_TOO_SHORT", "SB_METADATA_TOO_LARGE", "INDEX_MISSING")
def metadata_nr_blocks_absurd(edit):
    """More metadata blocks than the index has room for."""
    edit.metadata.set_root(nr_blocks=layout.MAX_METADATA_BLOCKS + 1)


@damage("BLOCK_OUT_OF_RANGE", "SB_METADATA_NR_BLOCKS",
        also=("BITS_PAST_END", "NR_ALLOCATED", "NR_FREE", "NONE_FREE_BEFORE", "OVERFLOW_PAST_END"))
def metadata_nr_blocks_low(edit):
    """Fewer metadata blocks than are in use."""
    used = [number for number in range(edit.image.nr_blocks) if edit.metadata.bits(number)]
    edit.metadata.set_root(nr_blocks=used[len(used) // 2])


# -- Held root -------------------------------------------------------------------------------------------------------

def held_number(edit):
    edit.held_superblock()
    return edit.superblock.held_root


@damage("BLOCK_OUT_OF_RANGE")
def held_out_of_range(edit):
    """The held root past the end."""
    edit.metadata.set_count(held_number(edit), 0)
    edit.set_superblock(held_root=edit.metadata.root.nr_blocks + 5)


@damage("BAD_CHECKSUM")
def held_checksum(edit):
    """A bit of the held root flipped, checksum left."""
    flip_bit(edit, held_number(edit), 50)


@damage("WRONG_BLOCK_TYPE")
def held_is_a_node(edit):
    """The held root is a btree node."""
    edit.set_superblock(held_root=new_block(edit, edit.superblock.details_root))


@damage("BAD_BLOCKNR")
def held_blocknr(edit):
    """The held root with the superblock's number."""
    edit.set_superblock(held_number(edit), blocknr=0)


@damage("HELD_MAGIC")
def held_magic(edit):
    """The held root's magic number off by one."""
    edit.set_superblock(held_number(edit), magic=layout.MAGIC - 1)


@damage("HELD_NESTED")
def held_nested(edit):
    """A held root that has one too."""
    edit.set_superblock(held_number(edit), held_root=held_number(edit))


@damage("HELD_SPACE_MAPS")
def held_space_maps(edit):
    """A held root with space map roots."""
    edit.set_superblock(held_number(edit), data_sm=edit.superblock.data_sm)


@damage("HELD_TIME")
def held_time_future(edit):
    """A held root newer than the superblock."""
    edit.set_superblock(held_number(edit), time=edit.superblock.time + 1)


@damage("METADATA_LEAK", also=("METADATA_COUNT_HIGH", "DATA_COUNT_HIGH", "DATA_LEAK"))
def held_forgotten(edit):
    """The held root cleared, its trees not released."""
    held_number(edit)
    edit.set_superblock(held_root=0)


@damage("METADATA_COUNT_LOW")
def held_not_counted(edit):
    """A held root whose mapping root was not counted once more."""
    edit.metadata.add(edit.held_superblock().mapping_root, -1)


def held_only_leaf(edit):
    """(device, leaf) of a device that only the held root has."""
    held = edit.held_superblock()
    live = set(edit.devices().values())
    return edit.choose(((device, leaf) for device, root in edit.devices(held).items() if root not in live
                        for leaf in edit.leaves(root, SUBTREE) if leaf.keys), "a device only in the held root")


@damage("MAPPING_TIME", also=("SHARED_NOT_FLAGGED",))
def held_mapping_time(edit):
    """A mapping of the held root newer than the held root."""
    _, leaf = held_only_leaf(edit)
    edit.map_to(leaf, 0, leaf.values[0] >> layout.TIME_BITS, edit.held_superblock().time + 1)


@damage("MAPPED_BLOCKS")
def held_mapped_blocks(edit):
    """A device's mapped_blocks wrong in the held root."""
    device, _ = held_only_leaf(edit)
    held = edit.held_superblock()
    mapped, *rest = edit.details(device, held)
    edit.set_details(device, (mapped + 1, *rest), held)


@damage("DATA_COUNT_LOW")
def held_data_freed(edit):
    """A data block that only the held root maps is free."""
    _, leaf = held_only_leaf(edit)
    data_block = leaf.values[0] >> layout.TIME_BITS
    edit.need(edit.data.count(data_block) == 1, "a data block only in the held root")
    edit.data.set_count(data_block, 0)


@damage("DEVICE_NO_DETAILS")
def held_device_only_mapping(edit):
    """A device of the held root without details."""
    held = edit.held_superblock()
    leaf = edit.leaves(held.details_root, DETAILS)[-1]
    edit.need(leaf.keys and edit.metadata.count(leaf.number) == 1, "details of the held root that nothing shares")
    leaf.remove(len(leaf.keys) - 1)


# -- Command line ----------------------------------------------------------------------------------------------------

class ThinCheck:
    """One version of upstream's checker."""

    def __init__(self, program):
        self._program = program

    def _run(self, *arguments):
        return subprocess.run([self._program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=20, check=False)

    @property
    def name(self):
        """With the version, as 0.9 and 1.x say little of the same."""
        return "thin_check " + self._run("--version").stdout.decode().split()[-1]

    def verdict(self, path):
        """What it says of an image."""
        try:
            status = self._run("-q", path).returncode
        except subprocess.TimeoutExpired:
            return "**hangs**"
        if status < 0:
            return "**dies** of signal %d" % -status
        return "fails" if status else "**passes**"


def table(image, programs=("thin_check",)):
    """The damage table in Markdown: one row for each kind, as measured on this image."""
    checkers = [ThinCheck(program) for program in programs]
    yield "| damage | what is done | audit | %s |" % " | ".join(checker.name for checker in checkers)
    yield "|---|---|---|" + "---|" * len(checkers)
    for name, kind in KINDS.items():
        damaged = apply(image, name)
        found = sorted({finding.kind for finding in audit(damaged)} - {"COUNTS_NOT_JUDGED"})
        with tempfile.NamedTemporaryFile() as file:
            damaged.write(file.name)
            verdicts = [checker.verdict(file.name) for checker in checkers]
        yield "| %s | %s | %s | %s |" % (name, kind.meaning, ", ".join(found), " | ".join(verdicts))


def main(arguments):
    parser = argparse.ArgumentParser(description="Damage dm-thin metadata in one named way.")
    parser.add_argument("--list", action="store_true", help="list the kinds")
    parser.add_argument("--table", nargs="*", metavar="PROGRAM", help="measure all kinds; default: thin_check")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("source", nargs="?", metavar="IN")
    parser.add_argument("out", nargs="?", metavar="OUT")
    parser.add_argument("kind", nargs="?", metavar="KIND")
    options = parser.parse_args(arguments)
    if options.list:
        for name, kind in KINDS.items():
            print("%-30s %-40s %s" % (name, " ".join(sorted(kind.expected)), kind.meaning))
        return 0
    if options.table is not None:
        for line in table(build.build(build.PRESETS["rich"]()), options.table or ["thin_check"]):
            print(line)
        return 0
    if options.kind not in KINDS:
        parser.error("IN, OUT and a KIND of --list are needed")
    try:
        with open(options.source, "rb") as file:
            apply(Image.of_file(file), options.kind, options.seed).write(options.out)
    except (OSError, Unsuitable) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
