/* SPDX-License-Identifier: BSD-3-Clause */
#include "view.h"

#include "recorder.h"

#include "format/block.h"
#include "format/btree_node.h"
#include "format/space_map_layout.h"
#include "format/superblock.h"
#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* What is done with the values of a tree's leaves. */
struct tree {
	uint32_t value_size;
	int (*leaf)(struct view *v, struct thin_storage *s, const struct tree *t,
		    const struct thin_disk_node *n);
	bool held;
	uint32_t device;
};

static int wrong(struct view *v, uint64_t block, const char *what)
{
	snprintf(v->why, sizeof(v->why), "metadata block %" PRIu64 ": %s", block, what);
	return -EILSEQ;
}

static int read_block(struct view *v, struct thin_storage *s, uint64_t block,
		      enum thin_block_kind kind, void *buf)
{
	if (block >= v->nr_metadata)
		return wrong(v, block, "is past the end");
	if (thin_storage_read_at(s, block * THIN_METADATA_BLOCK, buf,
				 THIN_METADATA_BLOCK))
		return wrong(v, block, "can not be read");
	if (thin_block_verify(kind, buf, block))
		return wrong(v, block, "is not what is referred to");
	v->reached[block] = true;
	return 0;
}

static int walk(struct view *v, struct thin_storage *s, const struct tree *t,
		uint64_t block, unsigned depth)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t buf[THIN_METADATA_BLOCK];
	const struct thin_disk_node *n = (const struct thin_disk_node *)buf;
	int r;

	if (depth == THIN_MAX_TREE_DEPTH)
		return wrong(v, block, "is too deep");
	r = read_block(v, s, block, THIN_NODE, buf);
	if (r)
		return r;
	if (thin_node_check(buf))
		return wrong(v, block, "is no node");
	if (thin_node_is_leaf(n)) {
		if (thin_node_value_size(n) != t->value_size)
			return wrong(v, block, "belongs to another tree");
		return t->leaf ? t->leaf(v, s, t, n) : 0;
	}
	for (uint32_t i = 0; i < thin_node_nr(n) && !r; i++)
		r = walk(v, s, t, thin_node_value64(n, i), depth + 1);
	return r;
}

/* --- mappings ------------------------------------------------------------- */

static void add_mapping(struct view *v, uint32_t device, uint64_t vblock, uint64_t dblock)
{
	if (v->nr_mappings == v->room) {
		v->room = v->room ? 2 * v->room : 64;
		v->mappings = must_grow(v->mappings, v->room, sizeof(*v->mappings));
	}
	v->mappings[v->nr_mappings++] = (struct view_mapping){device, vblock, dblock};
	v->data[dblock].live++;
	v->data[dblock].device = device;
	v->data[dblock].vblock = vblock;
}

static int mapping_leaf(struct view *v, struct thin_storage *s, const struct tree *t,
			const struct thin_disk_node *n)
{
	(void)s;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t dblock = thin_mapping_unpack(thin_node_value64(n, i)).data_block;

		if (dblock >= v->nr_data)
			return wrong(v, le64_get(n->blocknr), "maps past the data's end");
		if (t->held)
			v->data[dblock].held++;
		else
			add_mapping(v, t->device, thin_node_key(n, i), dblock);
	}
	return 0;
}

static int top_leaf(struct view *v, struct thin_storage *s, const struct tree *t,
		    const struct thin_disk_node *n)
{
	int r = 0;

	for (uint32_t i = 0; i < thin_node_nr(n) && !r; i++) {
		struct tree sub = {.value_size = THIN_VALUE_BLOCK,
				   .leaf = mapping_leaf,
				   .held = t->held,
				   .device = (uint32_t)thin_node_key(n, i)};

		r = walk(v, s, &sub, thin_node_value64(n, i), 0);
	}
	return r;
}

static int walk_devices(struct view *v, struct thin_storage *s,
			const struct thin_disk_superblock *sb, bool held)
{
	struct tree top = {
		.value_size = THIN_VALUE_BLOCK, .leaf = top_leaf, .held = held};
	struct tree details = {.value_size = THIN_VALUE_DETAILS};
	int r = walk(v, s, &top, le64_get(sb->data_mapping_root), 0);

	return r ? r : walk(v, s, &details, le64_get(sb->device_details_root), 0);
}

static int walk_held(struct view *v, struct thin_storage *s, uint64_t block)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t buf[THIN_METADATA_BLOCK];
	int r = read_block(v, s, block, THIN_SUPERBLOCK, buf);

	return r ? r : walk_devices(v, s, (const struct thin_disk_superblock *)buf, true);
}

/* --- space maps --------------------------------------------------------------- */

static void set_count(struct view *v, bool data, uint64_t block, uint32_t count)
{
	if (data && block < v->nr_data)
		v->data[block].count = count;
	else if (!data && block < v->nr_metadata)
		v->count[block] = count;
}

static int read_bitmap(struct view *v, struct thin_storage *s, bool data, uint64_t i,
		       uint64_t block)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t buf[THIN_METADATA_BLOCK];
	int r = read_block(v, s, block, THIN_BITMAP, buf);

	for (uint32_t e = 0; e < THIN_COUNTS_PER_BITMAP && !r; e++)
		set_count(v, data, i * THIN_COUNTS_PER_BITMAP + e,
			  thin_bitmap_get((const struct thin_disk_bitmap *)buf, e));
	return r;
}

static int index_leaf(struct view *v, struct thin_storage *s, const struct tree *t,
		      const struct thin_disk_node *n)
{
	int r = 0;

	(void)t;
	for (uint32_t i = 0; i < thin_node_nr(n) && !r; i++) {
		struct thin_disk_index_entry e;

		memcpy(&e, thin_node_value(n, i), sizeof(e));
		r = read_bitmap(v, s, true, thin_node_key(n, i), le64_get(e.blocknr));
	}
	return r;
}

/* @held stands for "of the data" here. */
static int overflow_leaf(struct view *v, struct thin_storage *s, const struct tree *t,
			 const struct thin_disk_node *n)
{
	(void)s;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct le32 count;

		memcpy(&count, thin_node_value(n, i), sizeof(count));
		set_count(v, t->held, thin_node_key(n, i), le32_get(count));
	}
	return 0;
}

static int read_index(struct view *v, struct thin_storage *s, uint64_t block)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t buf[THIN_METADATA_BLOCK];
	const struct thin_disk_index *index = (const struct thin_disk_index *)buf;
	int r = read_block(v, s, block, THIN_INDEX, buf);

	for (uint64_t i = 0; i < thin_nr_bitmaps(v->nr_metadata) && !r; i++)
		r = read_bitmap(v, s, false, i, le64_get(index->entries[i].blocknr));
	return r;
}

static int walk_space_maps(struct view *v, struct thin_storage *s,
			   const struct thin_disk_superblock *sb)
{
	struct tree index = {.value_size = THIN_VALUE_INDEX, .leaf = index_leaf};
	struct tree overflow = {.value_size = THIN_VALUE_COUNT, .leaf = overflow_leaf};
	int r = read_index(v, s, le64_get(sb->metadata_space_map.bitmap_root));

	if (!r)
		r = walk(v, s, &overflow, le64_get(sb->metadata_space_map.ref_count_root),
			 0);
	if (!r)
		r = walk(v, s, &index, le64_get(sb->data_space_map.bitmap_root), 0);
	overflow.held = true;
	if (!r)
		r = walk(v, s, &overflow, le64_get(sb->data_space_map.ref_count_root), 0);
	return r;
}

/* --- the whole ------------------------------------------------------------------- */

#define SANE_BLOCKS (UINT64_C(1) << 26) /* more than any test has */

int view_read(struct view *ret, struct thin_storage *metadata, const void *superblock)
{
	const struct thin_disk_superblock *sb = superblock;
	uint64_t held = le64_get(sb->held_root);
	struct thin_error e = {""};
	int r;

	*ret = (struct view){0};
	if (thin_superblock_check(superblock, 0, &e)) {
		snprintf(ret->why, sizeof(ret->why), "%.150s", e.text);
		return -EILSEQ;
	}
	ret->block_size = le32_get(sb->data_block_size) * THIN_SECTOR;
	ret->nr_metadata = le64_get(sb->metadata_space_map.nr_blocks);
	ret->nr_data = le64_get(sb->data_space_map.nr_blocks);
	ret->transaction_id = le64_get(sb->trans_id);
	ret->needs_check = le32_get(sb->flags) & THIN_NEEDS_CHECK;
	if (ret->nr_metadata > SANE_BLOCKS || ret->nr_data > SANE_BLOCKS)
		return wrong(ret, 0, "says that it has more than any test");
	ret->reached = must_alloc(ret->nr_metadata, sizeof(*ret->reached));
	ret->count = must_alloc(ret->nr_metadata, sizeof(*ret->count));
	ret->data = must_alloc(ret->nr_data, sizeof(*ret->data));
	ret->reached[0] = true;
	r = walk_devices(ret, metadata, sb, false);
	if (!r && held)
		r = walk_held(ret, metadata, held);
	return r ? r : walk_space_maps(ret, metadata, sb);
}

void view_fini(struct view *v)
{
	free(v->reached);
	free(v->count);
	free(v->data);
	free(v->mappings);
	*v = (struct view){0};
}

static int compare(uint32_t device, uint64_t vblock, const struct view_mapping *m)
{
	if (device != m->device)
		return device < m->device ? -1 : 1;
	return vblock < m->vblock ? -1 : vblock > m->vblock;
}

uint64_t view_find(const struct view *v, uint32_t device, uint64_t vblock)
{
	size_t low = 0, high = v->nr_mappings;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = compare(device, vblock, &v->mappings[mid]);

		if (!c)
			return v->mappings[mid].dblock;
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return UINT64_MAX;
}
