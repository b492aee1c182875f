"""Checks of the fields of the superblock and of its copy, the held root."""

import layout
from layout import SpaceMapRoot, Superblock
from walk import is_zero


def check_superblock(block, findings):
    """The live superblock's own fields.  A wrong checksum does not stop the audit: most fields may be right."""
    def add(kind, what):
        findings.add(kind, what, block=0)

    superblock = Superblock.unpack(block)
    if layout.block_type(block) != layout.SUPERBLOCK:
        add("BAD_CHECKSUM", "the superblock's checksum is wrong")
    if superblock.blocknr != 0:
        add("BAD_BLOCKNR", "the superblock says it is block %d" % superblock.blocknr)
    if superblock.magic != layout.MAGIC:
        add("SB_MAGIC", "magic %d" % superblock.magic)
    if superblock.version == 1:
        add("SB_VERSION_1", "version 1")
    elif superblock.version != layout.VERSION:
        add("SB_VERSION", "version %d" % superblock.version)
    if superblock.time > layout.MAX_TIME:
        add("SB_TIME", "time %d" % superblock.time)
    _check_flags(superblock, add)
    _check_sizes(superblock, add)
    return superblock


def _check_flags(superblock, add):
    if superblock.flags & layout.NEEDS_CHECK:
        add("SB_NEEDS_CHECK", "needs_check is set")
    if superblock.flags & ~layout.NEEDS_CHECK:
        add("SB_FLAGS", "flags 0x%x" % superblock.flags)
    if superblock.compat_flags:
        add("SB_COMPAT", "compat flags 0x%x" % superblock.compat_flags)
    if superblock.compat_ro_flags:
        add("SB_COMPAT_RO", "compat_ro flags 0x%x" % superblock.compat_ro_flags)
    if superblock.incompat_flags:
        add("SB_INCOMPAT", "incompat flags 0x%x" % superblock.incompat_flags)


def _check_sizes(superblock, add):
    size = superblock.data_block_size
    if size % layout.MIN_DATA_BLOCK_SIZE or not layout.MIN_DATA_BLOCK_SIZE <= size <= layout.MAX_DATA_BLOCK_SIZE:
        add("SB_DATA_BLOCK_SIZE", "data block size of %d sectors" % size)
    if superblock.metadata_block_size != layout.SECTORS_PER_METADATA_BLOCK:
        add("SB_METADATA_BLOCK_SIZE", "metadata block size of %d sectors" % superblock.metadata_block_size)
    data_blocks = SpaceMapRoot.unpack(superblock.data_sm).nr_blocks
    if data_blocks > layout.MAX_DATA_BLOCKS:
        add("SB_DATA_NR_BLOCKS", "%d data blocks" % data_blocks)
    metadata_blocks = SpaceMapRoot.unpack(superblock.metadata_sm).nr_blocks
    if metadata_blocks > layout.MAX_METADATA_BLOCKS:
        add("SB_METADATA_TOO_LARGE", "%d metadata blocks" % metadata_blocks)
    if superblock.metadata_nr_blocks > metadata_blocks:
        add("SB_METADATA_NR_BLOCKS", "formatted with %d metadata blocks, now %d" % (
            superblock.metadata_nr_blocks, metadata_blocks))


def unused_bytes(block):
    """All of a superblock's block that no field uses."""
    superblock = Superblock.unpack(block)
    used = SpaceMapRoot.FORMAT.size
    return block[Superblock.FORMAT.size:] + superblock.data_sm[used:] + superblock.metadata_sm[used:]


def check_held(block, number, live, findings):
    """The held root's own fields."""
    def add(kind, what):
        findings.add(kind, what, tree="held root", block=number)

    held = Superblock.unpack(block)
    if held.magic != layout.MAGIC:
        add("HELD_MAGIC", "magic %d" % held.magic)
    if held.held_root:
        add("HELD_NESTED", "names block %d as a held root" % held.held_root)
    if not is_zero(held.data_sm + held.metadata_sm):
        add("HELD_SPACE_MAPS", "space map roots are not wiped")
    if held.time > live.time:
        add("HELD_TIME", "time %d, the superblock's is %d" % (held.time, live.time))
    return held
