/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/kinds.h"

#define NOTE	 .severity = THIN_AUDIT_NOTE
#define NONFATAL .severity = THIN_AUDIT_NONFATAL
#define FATAL	 .severity = THIN_AUDIT_FATAL
#define FOUND	 .numbers = NUMBERS_FOUND
#define EXPECTED .numbers = NUMBERS_EXPECTED
#define LIMIT	 .numbers = NUMBERS_LIMIT
#define LOST	 .unreadable = true
#define MENDABLE .mendable = true

#define KIND(id, word, text, ...)                                                        \
	[THIN_AUDIT_##id] = {.name = #word, .problem = text, __VA_ARGS__}

/* clang-format off */
const struct audit_kind audit_kinds[THIN_AUDIT_KINDS] = {
	KIND(UNFORMATTED, unformatted, "block 0 is all zeros: this was never formatted", FATAL),
	KIND(SB_MAGIC, sb_magic, "this is no dm-thin superblock: its magic number", FATAL, EXPECTED),
	KIND(SB_VERSION, sb_version, "the version is neither 1 nor 2", FATAL, FOUND),
	KIND(SB_VERSION_1, sb_version_1, "version 1, as thin_restore 0.9 writes it", NOTE),
	KIND(SB_NEEDS_CHECK, sb_needs_check, "the needs_check flag is set", NOTE),
	KIND(SB_FLAGS, sb_flags, "flags are set that nobody knows", NOTE, FOUND),
	KIND(SB_COMPAT, sb_compat, "flags of unknown compatible features are set", NOTE, FOUND),
	KIND(SB_COMPAT_RO, sb_compat_ro, "flags of features are set that allow reading only", NONFATAL, FOUND),
	KIND(SB_INCOMPAT, sb_incompat, "flags of unknown features are set", FATAL, FOUND),
	KIND(SB_DATA_BLOCK_SIZE, sb_data_block_size, "the data block size, in sectors, is out of range", FATAL, FOUND),
	KIND(SB_BLOCK_SIZE_KERNEL, sb_block_size_kernel, "a data block size that Linux does not activate, in sectors",
	     NOTE, FOUND),
	KIND(SB_METADATA_BLOCK_SIZE, sb_metadata_block_size, "the metadata block size, in sectors", NONFATAL, EXPECTED),
	KIND(SB_METADATA_NR_BLOCKS, sb_metadata_nr_blocks, "more metadata blocks when formatted than there are now",
	     NONFATAL, LIMIT),
	KIND(SB_TIME, sb_time, "the time does not fit into a mapping", FATAL, LIMIT),
	KIND(SB_DATA_NR_BLOCKS, sb_data_nr_blocks, "more data blocks than a mapping can name", FATAL, LIMIT),
	KIND(SB_METADATA_TOO_LARGE, sb_metadata_too_large, "more metadata blocks than the index has room for", FATAL,
	     LIMIT),
	KIND(FILE_TOO_SHORT, file_too_short, "the metadata device ends before its last block: its blocks", FATAL,
	     LOST, EXPECTED),
	KIND(DATA_TOO_SHORT, data_too_short, "the data device ends before its last block: its blocks", FATAL,
	     EXPECTED),

	KIND(READ_ERROR, read_error, "it can not be read: errno", FATAL, LOST, FOUND),
	KIND(BAD_CHECKSUM, bad_checksum, "the checksum is wrong", FATAL, LOST),
	KIND(WRONG_BLOCK_TYPE, wrong_block_type, "this is a sound block, but of another type", FATAL, LOST),
	KIND(BAD_BLOCKNR, bad_blocknr, "this is another block's content: the number in it", FATAL, LOST,
	     EXPECTED),
	KIND(BLOCK_OUT_OF_RANGE, block_out_of_range, "there is no such block", FATAL, LOST, LIMIT),
	KIND(BLOCK_TWO_USES, block_two_uses, "the block has another use already", FATAL, LOST),
	KIND(SLACK_NONZERO, slack_nonzero, "unused bytes are not zero: blocks like that", NOTE, FOUND),

	KIND(NODE_FLAGS, node_flags, "a node that is neither internal nor leaf: its flags", FATAL, LOST, FOUND),
	KIND(NODE_VALUE_SIZE, node_value_size, "a node of another tree: its value size", FATAL, LOST, EXPECTED),
	KIND(NODE_NR_ENTRIES, node_nr_entries, "a node has more entries than room for them", FATAL, LOST, LIMIT),
	KIND(MAX_ENTRIES_TOO_LARGE, max_entries_too_large, "a node's capacity does not fit the block", FATAL, LOST, LIMIT),
	KIND(MAX_ENTRIES_NOT_3, max_entries_not_3, "a node's capacity is not a multiple of three from 6 on", FATAL,
	     FOUND),
	KIND(MAX_ENTRIES_UNUSUAL, max_entries_unusual, "a node's capacity is not the largest that fits", NOTE, EXPECTED),
	KIND(MAX_ENTRIES_SIBLINGS, max_entries_siblings, "nodes of one tree differ in capacity", FATAL, EXPECTED),
	KIND(KEY_ORDER, key_order, "a node's keys do not ascend", FATAL),
	KIND(PARENT_KEY_HIGH, parent_key_high, "a node's first key is below the one its parent has for it", FATAL,
	     LIMIT),
	KIND(CHILD_KEY_HIGH, child_key_high, "a node has keys that belong to the next one", FATAL, LIMIT),
	KIND(UNDERFULL_NODE, underfull_node, "a node is less than a third full: entries", NONFATAL, LIMIT),
	KIND(EMPTY_NODE, empty_node, "a node that must have entries has none", FATAL),
	KIND(UNEQUAL_DEPTH, unequal_depth, "the tree's leaves are at different depths: levels below", FATAL, EXPECTED),
	KIND(CYCLE, cycle, "the node is its own descendant", FATAL, LOST),
	KIND(TOO_DEEP, too_deep, "the tree is deeper than any real one", FATAL, LOST, LIMIT),

	KIND(MAPPING_PAST_END, mapping_past_end, "mapped past the end of the data: to block", FATAL, LIMIT,
	     .found_varies = true),
	KIND(MAPPING_TIME, mapping_time, "mapped in the future: at time", FATAL, LIMIT, .found_varies = true),
	KIND(DOUBLE_MAPPING, double_mapping,
	     "mapped to data that the device has a second time, at its block", FATAL, FOUND,
	     .found_varies = true),
	KIND(DOUBLE_FLAGGED, double_flagged,
	     "mapped to data that the device has a second time, which no write can mix up: one of the two may "
	     "show what belongs to the other, at its block", NOTE, FOUND, .found_varies = true),
	KIND(SHARED_NOT_FLAGGED, shared_not_flagged, "shared, but a write would go to it in place", FATAL),
	KIND(DEVICE_NO_DETAILS, device_no_details, "mappings without details", FATAL),
	KIND(DEVICE_NO_MAPPING, device_no_mapping, "details without mappings", FATAL),
	KIND(DEVICE_ID, device_id, "a device id is too large", NONFATAL, LIMIT),
	KIND(MAPPED_BLOCKS, mapped_blocks, "the number of mapped blocks", NONFATAL, MENDABLE, EXPECTED),
	KIND(DEVICE_TIME, device_time, "made or snapshotted in the future: at time", NONFATAL, LIMIT),
	KIND(DEVICE_TIME_ORDER, device_time_order, "snapshotted before it was made: at time", NONFATAL, FOUND),
	KIND(DEVICE_TRANS_ID, device_trans_id, "made in a transaction to come", NOTE, LIMIT),

	KIND(METADATA_LEAK, metadata_leak, "in the count, but nothing refers to it: the count", NONFATAL,
	     MENDABLE, EXPECTED),
	KIND(METADATA_COUNT_HIGH, metadata_count_high, "the reference count is too high", NONFATAL, MENDABLE, EXPECTED),
	KIND(METADATA_COUNT_LOW, metadata_count_low, "the reference count is too low", FATAL, MENDABLE, EXPECTED),
	KIND(DATA_LEAK, data_leak, "in the count, but nothing refers to it: the count", NONFATAL, MENDABLE,
	     EXPECTED),
	KIND(DATA_COUNT_HIGH, data_count_high, "the reference count is too high", NONFATAL, MENDABLE, EXPECTED),
	KIND(DATA_COUNT_LOW, data_count_low, "the reference count is too low", FATAL, MENDABLE, EXPECTED),
	KIND(OVERFLOW_MISSING, overflow_missing, "a count of three or more without its exact value", FATAL, MENDABLE),
	KIND(OVERFLOW_STALE, overflow_stale, "an exact count, where the bitmap has a small one", NONFATAL, MENDABLE,
	     EXPECTED),
	KIND(OVERFLOW_SMALL, overflow_small, "the exact count of a block is less than three", FATAL, MENDABLE,
	     FOUND),
	KIND(OVERFLOW_PAST_END, overflow_past_end, "an exact count for a block past the end", NONFATAL, MENDABLE,
	     LIMIT),
	KIND(BITS_PAST_END, bits_past_end, "counts for blocks past the end", NONFATAL, MENDABLE,
	     .found_varies = true),
	KIND(COUNTS_NOT_JUDGED, counts_not_judged,
	     "high counts and leaks were not looked for, since not all trees can be read", NOTE),

	KIND(INDEX_MISSING, index_missing, "there is no bitmap", FATAL, MENDABLE, LOST),
	KIND(INDEX_EXTRA, index_extra, "a bitmap past the end: its number", NONFATAL, MENDABLE, LIMIT),
	KIND(NR_ALLOCATED, nr_allocated, "the number of blocks in use", NONFATAL, MENDABLE, EXPECTED),
	KIND(NR_FREE, nr_free, "the bitmap's number of free blocks", NONFATAL, MENDABLE, EXPECTED),
	KIND(NR_FREE_TRUNCATED, nr_free_truncated,
	     "the last bitmap's number of free blocks is not as Linux writes it, which could "
	     "not use blocks added to it", NOTE, MENDABLE, EXPECTED),
	KIND(RESTORE_OFF_BY_ONE, restore_off_by_one, "one block too many in use, as thin_restore 0.9 leaves it", NOTE,
	     MENDABLE, EXPECTED),
	KIND(NONE_FREE_BEFORE, none_free_before, "the search for free blocks would start behind one: at entry",
	     NONFATAL, MENDABLE, LIMIT),

	KIND(HELD_MAGIC, held_magic, "the held copy is no superblock: its magic number", FATAL, EXPECTED),
	KIND(HELD_NESTED, held_nested, "the held copy names a held copy", NONFATAL, FOUND),
	KIND(HELD_SPACE_MAPS, held_space_maps, "the held copy's space map roots are not wiped", NONFATAL),
	KIND(HELD_TIME, held_time, "the held copy is of the future: its time", FATAL, LIMIT),

	KIND(WORK_LIMIT, work_limit, "checked in part only, since there is too much to report", NONFATAL),
};
/* clang-format on */
