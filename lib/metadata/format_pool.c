/* SPDX-License-Identifier: BSD-3-Clause */
#include "format/btree_node.h"
#include "format/space_map_layout.h"
#include "format/superblock.h"
#include "metadata/metadata.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>

/*
 * Making an empty pool: each of its few blocks is written out directly, in
 * the kernel's order, and the superblock last.  It has no data blocks; if
 * there are to be some, it is then grown like any other pool.
 *
 *   0 superblock | 1 index | 2 metadata overflow | 3 .. bitmaps |
 *   data index | data overflow | top level | details
 */

struct layout {
	struct thin_storage *storage;
	uint64_t nr_blocks;
	uint64_t nr_bitmaps;
	uint64_t trees; /* the first of the four blocks behind the bitmaps */
	uint64_t nr_used;
};

static int write_block(const struct layout *l, enum thin_block_kind kind, void *block,
		       uint64_t nr)
{
	thin_block_seal(kind, block, nr);
	return thin_storage_write_at(l->storage, nr * THIN_METADATA_BLOCK, block,
				     THIN_METADATA_BLOCK);
}

static int write_leaf(const struct layout *l, uint32_t value_size, uint64_t nr)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t block[THIN_METADATA_BLOCK] = {0};
	struct thin_disk_node *n = (struct thin_disk_node *)block;

	n->flags = le32_of(THIN_NODE_LEAF);
	n->max_entries = le32_of(thin_node_capacity(value_size));
	n->value_size = le32_of(value_size);
	return write_block(l, THIN_NODE, block, nr);
}

/* How many of bitmap @i's blocks are in use. */
static uint32_t used_in(const struct layout *l, uint64_t i)
{
	uint64_t base = i * THIN_COUNTS_PER_BITMAP;

	if (l->nr_used <= base)
		return 0;
	return (uint32_t)thin_min(l->nr_used - base, THIN_COUNTS_PER_BITMAP);
}

static int write_bitmap(const struct layout *l, uint64_t i)
{
	_Alignas(THIN_METADATA_BLOCK) struct thin_disk_bitmap b = {0};

	for (uint32_t e = 0; e < used_in(l, i); e++)
		thin_bitmap_set(&b, e, 1);
	return write_block(l, THIN_BITMAP, &b, 3 + i);
}

static int write_index(const struct layout *l)
{
	_Alignas(THIN_METADATA_BLOCK) struct thin_disk_index index = {0};

	for (uint64_t i = 0; i < l->nr_bitmaps; i++) {
		uint32_t used = used_in(l, i);

		index.entries[i] = (struct thin_disk_index_entry){
			.blocknr = le64_of(3 + i),
			.nr_free = le32_of(THIN_COUNTS_PER_BITMAP - used),
			.none_free_before = le32_of(used),
		};
	}
	return write_block(l, THIN_INDEX, &index, 1);
}

static int write_all_but_superblock(const struct layout *l)
{
	static const uint32_t tree_values[] = {THIN_VALUE_INDEX, THIN_VALUE_COUNT,
					       THIN_VALUE_BLOCK, THIN_VALUE_DETAILS};
	int r = write_index(l);

	if (!r)
		r = write_leaf(l, THIN_VALUE_COUNT, 2);
	for (uint64_t i = 0; i < l->nr_bitmaps && !r; i++)
		r = write_bitmap(l, i);
	for (unsigned i = 0; i < 4 && !r; i++)
		r = write_leaf(l, tree_values[i], l->trees + i);
	return r ? r : thin_storage_flush(l->storage);
}

static int write_superblock(const struct layout *l, uint32_t block_sectors)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t block[THIN_METADATA_BLOCK] = {0};
	struct thin_disk_superblock *sb = (struct thin_disk_superblock *)block;
	int r;

	sb->magic = le64_of(THIN_MAGIC);
	sb->version = le32_of(THIN_VERSION);
	sb->data_space_map.bitmap_root = le64_of(l->trees);
	sb->data_space_map.ref_count_root = le64_of(l->trees + 1);
	sb->metadata_space_map.nr_blocks = le64_of(l->nr_blocks);
	sb->metadata_space_map.nr_allocated = le64_of(l->nr_used);
	sb->metadata_space_map.bitmap_root = le64_of(1);
	sb->metadata_space_map.ref_count_root = le64_of(2);
	sb->data_mapping_root = le64_of(l->trees + 2);
	sb->device_details_root = le64_of(l->trees + 3);
	sb->data_block_size = le32_of(block_sectors);
	sb->metadata_block_size = le32_of(THIN_METADATA_BLOCK / THIN_SECTOR);
	sb->metadata_nr_blocks = le64_of(l->nr_blocks);
	r = write_block(l, THIN_SUPERBLOCK, block, 0);
	return r ? r : thin_storage_flush(l->storage);
}

static int plan(struct thin_storage *storage, struct layout *l, struct thin_error *e)
{
	uint64_t bytes;
	int r = thin_storage_size(storage, &bytes);

	if (r)
		return thin_error_set(e, r, "metadata: %s", thin_strerror(r));
	l->storage = storage;
	l->nr_blocks = thin_min(bytes / THIN_METADATA_BLOCK, THIN_MAX_METADATA_BLOCKS);
	l->nr_bitmaps = thin_nr_bitmaps(l->nr_blocks);
	l->trees = 3 + l->nr_bitmaps;
	l->nr_used = l->trees + 4;
	if (l->nr_blocks >= THIN_MIN_METADATA_BLOCKS)
		return 0;
	return thin_error_set(e, -ENOSPC,
			      "metadata: %" PRIu64
			      " bytes are too small; it takes at least %" PRIu64,
			      bytes, THIN_MIN_METADATA_BLOCKS * THIN_METADATA_BLOCK);
}

static int commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;
	int r = thin_metadata_commit(m, NULL, &freed);

	if (!r)
		thin_metadata_release(m, freed);
	return r;
}

static int add_data(struct thin_storage *storage, uint64_t nr_data_blocks,
		    struct thin_error *e)
{
	struct thin_metadata_params params = {.storage = storage};
	_cleanup_metadata struct thin_metadata *m = NULL;
	int r;

	r = thin_metadata_open(&params, &m, e);
	if (r)
		return r;
	r = thin_metadata_grow_data(m, nr_data_blocks);
	if (!r)
		r = commit(m);
	if (r == -ENOBUFS)
		return thin_error_set(e, -ENOSPC,
				      "metadata: too small for %" PRIu64 " data blocks",
				      nr_data_blocks);
	return r ? thin_error_set(e, r, "metadata: %s", thin_strerror(r)) : 0;
}

int thin_metadata_format(struct thin_storage *storage, uint32_t block_sectors,
			 uint64_t nr_data_blocks, struct thin_error *e)
{
	uint64_t block_size = block_sectors * THIN_SECTOR;
	struct layout l;
	int r;

	if (block_size < THIN_BLOCK_SIZE_MIN || block_size > THIN_BLOCK_SIZE_MAX ||
	    nr_data_blocks > THIN_MAX_DATA_BLOCKS)
		return thin_error_set(e, -EINVAL,
				      "metadata: impossible geometry: %" PRIu64
				      " blocks of %u sectors",
				      nr_data_blocks, block_sectors);
	r = plan(storage, &l, e);
	if (r)
		return r;
	r = write_all_but_superblock(&l);
	if (!r)
		r = write_superblock(&l, block_sectors);
	if (r)
		return thin_error_set(e, r, "metadata: %s", thin_strerror(r));
	return nr_data_blocks ? add_data(storage, nr_data_blocks, e) : 0;
}
