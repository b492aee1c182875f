/* SPDX-License-Identifier: BSD-3-Clause */
#include "format/superblock.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>

static int bad(struct thin_error *e, const char *field, uint64_t found)
{
	return thin_error_set(e, -EILSEQ, "metadata superblock: %s is %" PRIu64, field,
			      found);
}

static int check_space_map(const struct thin_disk_space_map *sm, uint64_t max_blocks,
			   uint64_t nr_metadata, const char *nr_name,
			   const char *root_name, struct thin_error *e)
{
	uint64_t nr = le64_get(sm->nr_blocks);
	uint64_t bitmap = le64_get(sm->bitmap_root);
	uint64_t counts = le64_get(sm->ref_count_root);

	if (nr > max_blocks || le64_get(sm->nr_allocated) > nr)
		return bad(e, nr_name, nr);
	if (!bitmap || bitmap >= nr_metadata)
		return bad(e, root_name, bitmap);
	if (!counts || counts >= nr_metadata)
		return bad(e, root_name, counts);
	return 0;
}

static int check_maps_and_roots(const struct thin_disk_superblock *sb,
				struct thin_error *e)
{
	uint64_t nr_metadata = le64_get(sb->metadata_space_map.nr_blocks);
	uint64_t mapping = le64_get(sb->data_mapping_root);
	uint64_t details = le64_get(sb->device_details_root);
	int r;

	r = check_space_map(&sb->metadata_space_map, THIN_MAX_METADATA_BLOCKS,
			    nr_metadata, "number of metadata blocks",
			    "a root of the metadata space map", e);
	if (r)
		return r;
	r = check_space_map(&sb->data_space_map, THIN_MAX_DATA_BLOCKS, nr_metadata,
			    "number of data blocks", "a root of the data space map", e);
	if (r)
		return r;
	if (!mapping || mapping >= nr_metadata)
		return bad(e, "the data mapping root", mapping);
	if (!details || details >= nr_metadata)
		return bad(e, "the device details root", details);
	if (le64_get(sb->held_root) >= nr_metadata)
		return bad(e, "the held root", le64_get(sb->held_root));
	return 0;
}

static int check_features(const struct thin_disk_superblock *sb, struct thin_error *e)
{
	uint32_t version = le32_get(sb->version);
	uint32_t incompat = le32_get(sb->incompat_flags);
	uint32_t compat_ro = le32_get(sb->compat_ro_flags);

	if (version != 1 && version != THIN_VERSION)
		return thin_error_set(e, -ENOTSUP,
				      "metadata superblock: version %u, not 1 or 2",
				      version);
	if (incompat || compat_ro)
		return thin_error_set(
			e, -ENOTSUP,
			"metadata superblock: unknown feature flags %#x, %#x", incompat,
			compat_ro);
	return 0;
}

static int check_geometry(const struct thin_disk_superblock *sb, struct thin_error *e)
{
	uint64_t block_size = le32_get(sb->data_block_size) * THIN_SECTOR;

	if (block_size < THIN_BLOCK_SIZE_MIN || block_size > THIN_BLOCK_SIZE_MAX)
		return bad(e, "the data block size in bytes", block_size);
	if (le32_get(sb->time) > THIN_MAX_TIME)
		return bad(e, "the time", le32_get(sb->time));
	return 0;
}

int thin_superblock_check(const void *block, uint64_t blocknr, struct thin_error *e)
{
	const struct thin_disk_superblock *sb = block;
	int r;

	if (le64_get(sb->magic) != THIN_MAGIC)
		return thin_error_set(
			e, -EMEDIUMTYPE,
			"metadata superblock: no dm-thin magic (found %#" PRIx64 ")",
			le64_get(sb->magic));
	r = thin_block_verify(THIN_SUPERBLOCK, block, blocknr);
	if (r)
		return thin_error_set(e, r, "metadata superblock: %s", thin_strerror(r));
	r = check_features(sb, e);
	if (r)
		return r;
	r = check_geometry(sb, e);
	if (r)
		return r;
	return blocknr ? 0 : check_maps_and_roots(sb, e);
}

bool thin_superblock_blank(const void *block)
{
	const uint8_t *bytes = block;

	for (size_t i = 0; i < THIN_METADATA_BLOCK; i++)
		if (bytes[i])
			return false;
	return true;
}
