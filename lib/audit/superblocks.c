/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/superblocks.h"

#include "util/checked.h"

#include <string.h>

static void report(struct audit *a, enum thin_audit_kind kind, uint64_t block,
		   uint64_t found, uint64_t expected)
{
	struct thin_finding f = audit_finding(kind);

	f.block = block;
	f.found = found;
	f.expected = expected;
	audit_report(a, &f);
}

static const void *read_block(struct audit *a, uint64_t block, int *ret_status)
{
	audit_batch_clear(&a->batch);
	audit_batch_add(&a->batch, block);
	audit_load(a, &a->batch);
	return audit_batch_get(&a->batch, block, ret_status);
}

/* Are the bytes that a superblock does not use zero? */
static bool slack_zero(const struct thin_disk_superblock *sb)
{
	const uint8_t *block = (const uint8_t *)sb;

	return audit_all_zero(sb->data_space_map.unused,
			      sizeof(sb->data_space_map.unused)) &&
	       audit_all_zero(sb->metadata_space_map.unused,
			      sizeof(sb->metadata_space_map.unused)) &&
	       audit_all_zero(block + sizeof(*sb), THIN_METADATA_BLOCK - sizeof(*sb));
}

static void check_flags(struct audit *a)
{
	uint32_t version = le32_get(a->sb.version), flags = le32_get(a->sb.flags);
	uint32_t compat = le32_get(a->sb.compat_flags);
	uint32_t compat_ro = le32_get(a->sb.compat_ro_flags);
	uint32_t incompat = le32_get(a->sb.incompat_flags);

	if (version == 1)
		report(a, THIN_AUDIT_SB_VERSION_1, 0, version, THIN_VERSION);
	else if (version != THIN_VERSION)
		report(a, THIN_AUDIT_SB_VERSION, 0, version, THIN_VERSION);
	if (flags & THIN_NEEDS_CHECK)
		report(a, THIN_AUDIT_SB_NEEDS_CHECK, 0, flags, 0);
	if (flags & ~THIN_NEEDS_CHECK)
		report(a, THIN_AUDIT_SB_FLAGS, 0, flags, 0);
	if (compat)
		report(a, THIN_AUDIT_SB_COMPAT, 0, compat, 0);
	if (compat_ro)
		report(a, THIN_AUDIT_SB_COMPAT_RO, 0, compat_ro, 0);
	if (incompat)
		report(a, THIN_AUDIT_SB_INCOMPAT, 0, incompat, 0);
}

static void check_block_sizes(struct audit *a)
{
	uint32_t data = le32_get(a->sb.data_block_size);
	uint32_t metadata = le32_get(a->sb.metadata_block_size);

	if (data < THIN_BLOCK_SIZE_MIN / THIN_SECTOR ||
	    data > THIN_BLOCK_SIZE_MAX / THIN_SECTOR)
		report(a, THIN_AUDIT_SB_DATA_BLOCK_SIZE, 0, data, 0);
	else if (data % (THIN_BLOCK_SIZE_KERNEL / THIN_SECTOR))
		report(a, THIN_AUDIT_SB_BLOCK_SIZE_KERNEL, 0, data, 0);
	if (metadata != THIN_METADATA_BLOCK / THIN_SECTOR)
		report(a, THIN_AUDIT_SB_METADATA_BLOCK_SIZE, 0, metadata,
		       THIN_METADATA_BLOCK / THIN_SECTOR);
}

static void check_sizes(struct audit *a)
{
	uint64_t nr_metadata = le64_get(a->sb.metadata_space_map.nr_blocks);
	uint64_t nr_data = le64_get(a->sb.data_space_map.nr_blocks);
	uint64_t at_format = le64_get(a->sb.metadata_nr_blocks);
	uint64_t nr_there = a->params->nr_data_blocks;

	if (nr_metadata > THIN_MAX_METADATA_BLOCKS)
		report(a, THIN_AUDIT_SB_METADATA_TOO_LARGE, 0, nr_metadata,
		       THIN_MAX_METADATA_BLOCKS);
	if (nr_metadata > a->device_blocks)
		report(a, THIN_AUDIT_FILE_TOO_SHORT, THIN_AUDIT_NO_BLOCK,
		       a->device_blocks, nr_metadata);
	if (at_format > nr_metadata)
		report(a, THIN_AUDIT_SB_METADATA_NR_BLOCKS, 0, at_format, nr_metadata);
	if (nr_data > THIN_MAX_DATA_BLOCKS)
		report(a, THIN_AUDIT_SB_DATA_NR_BLOCKS, 0, nr_data, THIN_MAX_DATA_BLOCKS);
	if (nr_there && nr_data > nr_there)
		report(a, THIN_AUDIT_DATA_TOO_SHORT, THIN_AUDIT_NO_BLOCK, nr_there,
		       nr_data);
	if (le32_get(a->sb.time) > THIN_MAX_TIME)
		report(a, THIN_AUDIT_SB_TIME, 0, le32_get(a->sb.time), THIN_MAX_TIME);
}

bool audit_read_superblock(struct audit *a)
{
	struct thin_finding f = audit_finding(THIN_AUDIT_UNFORMATTED);
	const struct thin_disk_superblock *sb;
	int status = 0;

	f.block = 0;
	if (!a->device_blocks) {
		report(a, THIN_AUDIT_FILE_TOO_SHORT, THIN_AUDIT_NO_BLOCK, 0, 1);
		return false;
	}
	sb = read_block(a, 0, &status);
	if (!status && thin_superblock_blank(sb)) {
		audit_report(a, &f);
		return false;
	}
	if (audit_block_fault(THIN_SUPERBLOCK, 0, sb, status, &f))
		audit_report(a, &f);
	if (status)
		return false;
	a->sb = *sb;
	if (le64_get(sb->magic) != THIN_MAGIC) {
		report(a, THIN_AUDIT_SB_MAGIC, 0, le64_get(sb->magic), THIN_MAGIC);
		return false;
	}
	if (!slack_zero(sb))
		audit_note_slack(a, 0);
	check_flags(a);
	check_block_sizes(a);
	check_sizes(a);
	return true;
}

static void check_held(struct audit *a, uint64_t block,
		       const struct thin_disk_superblock *sb)
{
	if (le64_get(sb->magic) != THIN_MAGIC)
		report(a, THIN_AUDIT_HELD_MAGIC, block, le64_get(sb->magic), THIN_MAGIC);
	if (le64_get(sb->held_root))
		report(a, THIN_AUDIT_HELD_NESTED, block, le64_get(sb->held_root), 0);
	if (!audit_all_zero(&sb->data_space_map, sizeof(sb->data_space_map)) ||
	    !audit_all_zero(&sb->metadata_space_map, sizeof(sb->metadata_space_map)))
		report(a, THIN_AUDIT_HELD_SPACE_MAPS, block, 0, 0);
	if (le32_get(sb->time) > le32_get(a->sb.time))
		report(a, THIN_AUDIT_HELD_TIME, block, le32_get(sb->time),
		       le32_get(a->sb.time));
	if (!audit_all_zero((const uint8_t *)sb + sizeof(*sb),
			    THIN_METADATA_BLOCK - sizeof(*sb)))
		audit_note_slack(a, block);
}

bool audit_read_held(struct audit *a, struct thin_disk_superblock *ret)
{
	uint64_t block = le64_get(a->sb.held_root);
	struct thin_finding f = audit_range_finding(THIN_AUDIT_BAD_CHECKSUM,
						    THIN_AUDIT_DEVICES, 0, UINT64_MAX);
	const struct thin_disk_superblock *sb;
	int status = 0;

	if (!block)
		return false;
	f.held = true;
	f.block = block;
	if (!audit_claim(a, block, ROLE_HELD, &f)) {
		a->incomplete_trees = a->incomplete_mappings = true;
		return false;
	}
	sb = read_block(a, block, &status);
	if (audit_block_fault(THIN_SUPERBLOCK, block, sb, status, &f)) {
		a->incomplete_trees = a->incomplete_mappings = true;
		audit_report(a, &f);
		return false;
	}
	*ret = *sb;
	check_held(a, block, sb);
	return true;
}
