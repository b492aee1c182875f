/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "audit/node.h"
#include "format/space_map_layout.h"
#include "util/checked.h"

#include <errno.h>
#include <string.h>

/*
 * Both space maps, from the counts.
 *
 * That of the metadata comes last, and counts its own blocks: these are all
 * taken before its first bitmap is written.
 */

typedef uint32_t count_fn(const struct repair *r, uint64_t block);

static uint32_t metadata_count(const struct repair *r, uint64_t block)
{
	return r->refs[block];
}

/* --- one bitmap ----------------------------------------------------------- */

/* Bitmap @i of a map of @nr blocks; what it says of itself to @ret. */
static int write_bitmap(struct repair *r, count_fn *count, uint64_t nr, uint64_t i,
			uint64_t block, struct thin_disk_index_entry *ret)
{
	_Alignas(8) struct thin_disk_bitmap b = {0};
	uint32_t entries = thin_bitmap_entries(nr, i), used = 0;

	for (uint32_t k = 0; k < entries; k++) {
		uint32_t n = count(r, i * THIN_COUNTS_PER_BITMAP + k);

		used += n > 0;
		thin_bitmap_set(&b, k, (uint32_t)thin_min(n, THIN_COUNT_OVERFLOW));
	}
	*ret = (struct thin_disk_index_entry){
		.blocknr = le64_of(block),
		.nr_free = le32_of(THIN_COUNTS_PER_BITMAP - used),
		.none_free_before = le32_of(thin_bitmap_find_free(&b, 0, entries)),
	};
	return write_new(r, THIN_BITMAP, &b, block);
}

static int write_overflow(struct repair *r, count_fn *count, uint64_t nr,
			  uint64_t *ret_root, uint64_t *ret_allocated)
{
	struct builder b;
	int err = 0;

	builder_init(&b, r, THIN_VALUE_COUNT, false);
	for (uint64_t i = 0; i < nr && !err; i++) {
		uint32_t n = count(r, i);
		struct le32 value = le32_of(n);

		*ret_allocated += n > 0;
		if (n >= THIN_COUNT_OVERFLOW)
			err = builder_add(&b, i, &value);
	}
	if (!err)
		err = builder_finish(&b, ret_root);
	builder_fini(&b);
	return err;
}

/* --- the data's ------------------------------------------------------------ */

static int write_data_bitmaps(struct repair *r, uint64_t nr, uint64_t *ret_index)
{
	struct builder index;
	int err = 0;

	builder_init(&index, r, THIN_VALUE_INDEX, false);
	for (uint64_t i = 0; i < thin_nr_bitmaps(nr) && !err; i++) {
		struct thin_disk_index_entry entry;
		uint64_t block;

		err = take_block(r, &block);
		if (!err)
			err = write_bitmap(r, data_count, nr, i, block, &entry);
		if (!err)
			err = builder_add(&index, i, &entry);
	}
	if (!err)
		err = builder_finish(&index, ret_index);
	builder_fini(&index);
	return err;
}

static void set_root(struct thin_disk_space_map *map, uint64_t nr, uint64_t allocated,
		     uint64_t bitmaps, uint64_t counts)
{
	*map = (struct thin_disk_space_map){
		.nr_blocks = le64_of(nr),
		.nr_allocated = le64_of(allocated),
		.bitmap_root = le64_of(bitmaps),
		.ref_count_root = le64_of(counts),
	};
}

static int write_data_map(struct repair *r, uint64_t nr, struct thin_disk_space_map *map)
{
	uint64_t allocated = 0, counts = 0, index = 0;
	int err = write_overflow(r, data_count, nr, &counts, &allocated);

	if (!err)
		err = write_data_bitmaps(r, nr, &index);
	if (!err)
		set_root(map, nr, allocated, index, counts);
	return err;
}

/* --- the metadata's -------------------------------------------------------- */

static int write_metadata_map(struct repair *r, struct thin_disk_space_map *map)
{
	_Alignas(8) struct thin_disk_index index = {0};
	uint64_t bitmaps[THIN_INDEX_ENTRIES];
	uint64_t nr = thin_nr_bitmaps(r->nr_new), block = 0, counts = 0, allocated = 0;
	int err = write_overflow(r, metadata_count, r->nr_new, &counts, &allocated);

	if (!err)
		err = take_block(r, &block);
	for (uint64_t i = 0; i < nr && !err; i++)
		err = take_block(r, &bitmaps[i]);
	if (err)
		return err;
	/* All that was taken and is in no tree of devices has one reference. */
	for (uint64_t i = 0; i < r->nr_new; i++)
		if (r->taken[i] == TAKEN_FRESH)
			r->refs[i] = 1;
	allocated = 0;
	for (uint64_t i = 0; i < r->nr_new; i++)
		allocated += r->refs[i] > 0;
	for (uint64_t i = 0; i < nr && !err; i++)
		err = write_bitmap(r, metadata_count, r->nr_new, i, bitmaps[i],
				   &index.entries[i]);
	if (!err)
		err = write_new(r, THIN_INDEX, &index, block);
	if (!err)
		set_root(map, r->nr_new, allocated, block, counts);
	return err;
}

int write_maps(struct repair *r, uint64_t nr_data, struct thin_disk_superblock *sb)
{
	int err = write_data_map(r, nr_data, &sb->data_space_map);

	return err ? err : write_metadata_map(r, &sb->metadata_space_map);
}

/* --- the old ones ----------------------------------------------------------- */

static void spare(struct repair *r, uint64_t block)
{
	if (block < r->nr_new && r->taken[block] == TAKEN_NOT)
		r->taken[block] = TAKEN_OLD;
}

static bool read_old(struct repair *r, enum thin_block_kind kind, uint64_t block,
		     void *buf)
{
	return block && block < r->nr_old &&
	       !thin_storage_read_at(r->p->from, block * THIN_METADATA_BLOCK, buf,
				     THIN_METADATA_BLOCK) &&
	       !thin_block_verify(kind, buf, block);
}

/* As far as it can be followed: what can not be read leads nowhere. */
static void spare_tree(struct repair *r, uint32_t value_size, uint64_t block,
		       unsigned depth)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	const struct thin_disk_node *n = (const struct thin_disk_node *)buf;
	struct thin_finding why;

	if (depth >= THIN_MAX_TREE_DEPTH || block >= r->nr_new ||
	    r->taken[block] != TAKEN_NOT)
		return;
	spare(r, block);
	if (!read_old(r, THIN_NODE, block, buf) || audit_node_fault(n, value_size, &why))
		return;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		if (!thin_node_is_leaf(n))
			spare_tree(r, value_size, thin_node_value64(n, i), depth + 1);
		else if (value_size == THIN_VALUE_INDEX)
			spare(r, thin_node_value64(n, i));
	}
}

void spare_old_maps(struct repair *r)
{
	const struct thin_disk_space_map *data = &r->sb.data_space_map;
	const struct thin_disk_space_map *metadata = &r->sb.metadata_space_map;
	_Alignas(8) struct thin_disk_index index;

	spare_tree(r, THIN_VALUE_INDEX, le64_get(data->bitmap_root), 0);
	spare_tree(r, THIN_VALUE_COUNT, le64_get(data->ref_count_root), 0);
	spare_tree(r, THIN_VALUE_COUNT, le64_get(metadata->ref_count_root), 0);
	spare(r, le64_get(metadata->bitmap_root));
	spare(r, le64_get(r->sb.held_root));
	if (!read_old(r, THIN_INDEX, le64_get(metadata->bitmap_root), &index))
		return;
	for (uint32_t i = 0; i < THIN_INDEX_ENTRIES; i++)
		spare(r, le64_get(index.entries[i].blocknr));
}
