/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/space_map.h"

#include "audit/tree.h"
#include "util/checked.h"

#include <string.h>

/* Findings about a map, not about one of its trees' nodes. */
static struct thin_finding map_finding(const struct space_map *map,
				       enum thin_audit_kind kind, uint64_t first,
				       uint64_t last)
{
	return audit_range_finding(
		kind, map->data ? THIN_AUDIT_DBLOCK_COUNTS : THIN_AUDIT_MBLOCK_COUNTS,
		first, last);
}

/* The blocks whose counts bitmaps @first to @last hold, or would hold. */
static struct thin_finding bitmap_finding(const struct space_map *map,
					  enum thin_audit_kind kind, uint64_t first,
					  uint64_t last)
{
	uint64_t begin, end;

	if (!thin_mul_ok(first, THIN_COUNTS_PER_BITMAP, &begin))
		begin = UINT64_MAX;
	if (!thin_mul_ok(last, THIN_COUNTS_PER_BITMAP, &end) ||
	    !thin_add_ok(end, THIN_COUNTS_PER_BITMAP - 1, &end))
		end = UINT64_MAX;
	if (last < thin_nr_bitmaps(map->nr_blocks))
		end = thin_min(end, map->nr_blocks - 1);
	return map_finding(map, kind, begin, end);
}

static void report_extra(struct audit *a, const struct space_map *map, uint64_t number)
{
	struct thin_finding f = map_finding(map, THIN_AUDIT_INDEX_EXTRA, 0, 0);

	f.unit = THIN_AUDIT_NO_RANGE;
	f.found = number;
	f.expected = thin_nr_bitmaps(map->nr_blocks);
	audit_report(a, &f);
}

/* --- bitmaps ------------------------------------------------------------ */

static void add_bitmap(struct audit *a, struct space_map *map, uint64_t number,
		       const struct thin_disk_index_entry *entry)
{
	uint64_t block = le64_get(entry->blocknr);
	struct thin_finding f = bitmap_finding(map, 0, number, number);
	bool ours;

	f.block = block;
	ours = audit_claim(a, block, ROLE_BITMAP, &f);
	/* Order is judged where it is read; a search needs it kept here. */
	if (map->nr_bitmaps && map->bitmaps[map->nr_bitmaps - 1].number >= number)
		return;
	if (!audit_room(a, &map->bitmaps, map->nr_bitmaps, &map->cap_bitmaps,
			sizeof(*map->bitmaps)))
		return;
	map->bitmaps[map->nr_bitmaps++] = (struct bitmap){
		.number = number,
		.block = block,
		.nr_free = le32_get(entry->nr_free),
		.none_free_before = le32_get(entry->none_free_before),
		.sound = ours,
	};
}

/* Keep as sound only what can be read. */
static void probe(struct audit *a, struct space_map *map, struct bitmap *b,
		  const struct batch *batch)
{
	struct thin_finding f = bitmap_finding(map, 0, b->number, b->number);
	const struct thin_disk_bitmap *disk;
	int status = 0;

	if (!b->sound)
		return;
	disk = audit_batch_get(batch, b->block, &status);
	f.block = b->block;
	if (audit_block_fault(THIN_BITMAP, b->block, disk, status, &f)) {
		b->sound = false;
		audit_report(a, &f);
	} else if (le32_get(disk->header.flags)) {
		audit_note_slack(a, b->block);
	}
}

static void probe_bitmaps(struct audit *a, struct space_map *map)
{
	struct batch *batch = &a->batch;

	for (size_t i = 0; i < map->nr_bitmaps && !audit_stopped(a); i += GROUP) {
		size_t end = thin_min(i + GROUP, map->nr_bitmaps);

		audit_batch_clear(batch);
		for (size_t j = i; j < end; j++)
			if (map->bitmaps[j].sound)
				audit_batch_add(batch, map->bitmaps[j].block);
		audit_load(a, batch);
		for (size_t j = i; j < end; j++)
			probe(a, map, &map->bitmaps[j], batch);
	}
}

/* --- exact counts ------------------------------------------------------- */

static void overflow_leaf(struct walk *w, uint64_t block, const struct thin_disk_node *n,
			  bool fresh)
{
	struct space_map *map = w->ctx;

	(void)block;
	(void)fresh;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t key = thin_node_key(n, i);
		struct le32 count;

		if (map->nr_overflow && map->overflow[map->nr_overflow - 1].block >= key)
			continue;
		if (!audit_room(w->a, &map->overflow, map->nr_overflow,
				&map->cap_overflow, sizeof(*map->overflow)))
			return;
		memcpy(&count, thin_node_value(n, i), sizeof(count));
		map->overflow[map->nr_overflow++] =
			(struct overflow){.block = key, .count = le32_get(count)};
	}
}

static void load_overflow(struct audit *a, struct space_map *map, uint64_t root)
{
	struct walk w = {
		.a = a,
		.tree = map->data ? TREE_DATA_OVERFLOW : TREE_METADATA_OVERFLOW,
		.leaf = overflow_leaf,
		.ctx = map,
	};
	const struct memo *m;

	audit_ref(a, root);
	m = audit_tree_walk(&w, root);
	map->overflow_complete = m && !(m->flags & MEMO_INCOMPLETE);
}

/* --- the metadata's ----------------------------------------------------- */

static void load_index(struct audit *a, struct space_map *map,
		       const struct thin_disk_index *index)
{
	uint64_t nr = thin_nr_bitmaps(map->nr_blocks);

	if (le32_get(index->header.flags))
		audit_note_slack(a, le64_get(index->header.blocknr));
	for (uint32_t i = 0; i < THIN_INDEX_ENTRIES; i++) {
		const struct thin_disk_index_entry *entry = &index->entries[i];

		if (i >= nr) {
			if (!audit_all_zero(entry, sizeof(*entry)))
				report_extra(a, map, i);
		} else if (le64_get(entry->blocknr)) {
			add_bitmap(a, map, i, entry);
		} else {
			struct thin_finding f =
				bitmap_finding(map, THIN_AUDIT_INDEX_MISSING, i, i);
			audit_report(a, &f);
		}
	}
}

static void load_index_block(struct audit *a, struct space_map *map, uint64_t root)
{
	struct thin_finding f = map_finding(map, 0, 0, UINT64_MAX);
	const struct thin_disk_index *index;
	int status = 0;

	f.block = root;
	if (!audit_claim(a, root, ROLE_INDEX, &f)) {
		a->incomplete_trees = true;
		return;
	}
	audit_batch_clear(&a->batch);
	audit_batch_add(&a->batch, root);
	audit_load(a, &a->batch);
	index = audit_batch_get(&a->batch, root, &status);
	if (audit_block_fault(THIN_INDEX, root, index, status, &f)) {
		audit_report(a, &f);
		a->incomplete_trees = true;
		return;
	}
	map->index_complete = true;
	load_index(a, map, index);
}

static void init_map(struct space_map *map, const struct thin_disk_space_map *root,
		     uint64_t max_blocks)
{
	map->nr_blocks = thin_min(le64_get(root->nr_blocks), max_blocks);
	map->nr_allocated = le64_get(root->nr_allocated);
}

void audit_load_metadata_map(struct audit *a)
{
	const struct thin_disk_space_map *root = &a->sb.metadata_space_map;
	struct space_map *map = &a->metadata_map;

	init_map(map, root, THIN_MAX_METADATA_BLOCKS);
	load_index_block(a, map, le64_get(root->bitmap_root));
	probe_bitmaps(a, map);
	load_overflow(a, map, le64_get(root->ref_count_root));
}

/* --- the data's --------------------------------------------------------- */

static void index_leaf(struct walk *w, uint64_t block, const struct thin_disk_node *n,
		       bool fresh)
{
	struct space_map *map = w->ctx;

	(void)block;
	(void)fresh;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t number = thin_node_key(n, i);
		struct thin_disk_index_entry entry;

		if (number >= thin_nr_bitmaps(map->nr_blocks))
			report_extra(w->a, map, number);
		memcpy(&entry, thin_node_value(n, i), sizeof(entry));
		add_bitmap(w->a, map, number, &entry);
	}
}

static void check_no_gaps(struct audit *a, const struct space_map *map)
{
	uint64_t next = 0, end = thin_nr_bitmaps(map->nr_blocks);

	for (size_t i = 0; i <= map->nr_bitmaps && next < end; i++) {
		uint64_t number = i < map->nr_bitmaps ? map->bitmaps[i].number : end;
		uint64_t gap_end = thin_min(number, end);

		if (next < gap_end) {
			struct thin_finding f = bitmap_finding(
				map, THIN_AUDIT_INDEX_MISSING, next, gap_end - 1);
			audit_report(a, &f);
		}
		next = number < end ? number + 1 : end;
	}
}

void audit_load_data_map(struct audit *a)
{
	const struct thin_disk_space_map *root = &a->sb.data_space_map;
	struct space_map *map = &a->data_map;
	struct walk w = {.a = a, .tree = TREE_DATA_INDEX, .leaf = index_leaf, .ctx = map};
	const struct memo *m;

	map->data = true;
	init_map(map, root, THIN_MAX_DATA_BLOCKS);
	audit_ref(a, le64_get(root->bitmap_root));
	m = audit_tree_walk(&w, le64_get(root->bitmap_root));
	map->index_complete = m && !(m->flags & MEMO_INCOMPLETE);
	if (map->index_complete)
		check_no_gaps(a, map);
	probe_bitmaps(a, map);
	load_overflow(a, map, le64_get(root->ref_count_root));
}

void audit_free_map(struct audit *a, struct space_map *map)
{
	audit_free(a, map->bitmaps, map->cap_bitmaps, sizeof(*map->bitmaps));
	audit_free(a, map->overflow, map->cap_overflow, sizeof(*map->overflow));
	*map = (struct space_map){0};
}
