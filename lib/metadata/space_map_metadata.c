/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/space_map_metadata.h"

#include "format/space_map_layout.h"
#include "metadata/btree.h"
#include "util/checked.h"
#include "util/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * Committing.  Each bitmap that has changed gets a new home, its old one is
 * freed; the overflow tree gets its changes; the index block gets a new home.
 * All of that changes counts, and so perhaps further bitmaps: it is repeated
 * until nothing more changes.  It ends, since each bitmap moves only once in
 * a transaction and tree nodes that are fresh do not move again.  Only then
 * are the bitmaps' contents written, from the counts in memory.
 *
 *  M1  counts[] is the truth; on disk is what it was at the last commit.
 *  M2  The overflow tree on disk has an entry exactly for counts of three and
 *      more: a block whose count changes with either the old or the new
 *      value there is in @overflow until the tree has been told.
 */

struct thin_sm_metadata {
	struct thin_space_map interface;
	uint32_t *counts;
	uint64_t nr_blocks, nr_allocated;
	uint64_t cursor; /* where the last search ended */
	struct thin_quarantine quarantine;

	uint64_t index_block;
	uint64_t overflow_root;
	struct {
		uint64_t block; /* 0: none yet */
		bool dirty;	/* differs from what is on disk */
		bool moved;	/* has its new home, in the commit that is going on */
	} bitmaps[THIN_INDEX_ENTRIES];
	struct thin_block_set overflow; /* M2 */
	uint64_t nr_overflows;		/* while loading: entries still to be seen */
};

static struct thin_sm_metadata *self(struct thin_space_map *sm)
{
	return (struct thin_sm_metadata *)sm; /* the interface is its first member */
}

/* --- counting ------------------------------------------------------------ */

static int set_count(struct thin_sm_metadata *sm, uint64_t block, uint32_t count)
{
	uint32_t old = sm->counts[block];
	int r = 0;

	if (old >= THIN_COUNT_OVERFLOW || count >= THIN_COUNT_OVERFLOW)
		r = thin_block_set_add(&sm->overflow, block);
	if (!r && !count)
		r = thin_quarantine_free(&sm->quarantine, block);
	if (r)
		return r;
	sm->nr_allocated += (count && !old) - (uint64_t)(!count && old);
	sm->counts[block] = count;
	sm->bitmaps[block / THIN_COUNTS_PER_BITMAP].dirty = true;
	return 0;
}

static int metadata_count(struct thin_space_map *interface, uint64_t block, uint32_t *ret)
{
	struct thin_sm_metadata *sm = self(interface);

	if (block >= sm->nr_blocks)
		return -EILSEQ;
	*ret = sm->counts[block];
	return 0;
}

static int metadata_inc(struct thin_space_map *interface, uint64_t block)
{
	struct thin_sm_metadata *sm = self(interface);

	if (block >= sm->nr_blocks || !sm->counts[block] ||
	    sm->counts[block] == UINT32_MAX)
		return -EILSEQ;
	return set_count(sm, block, sm->counts[block] + 1);
}

static int metadata_dec(struct thin_space_map *interface, uint64_t block)
{
	struct thin_sm_metadata *sm = self(interface);

	if (block >= sm->nr_blocks || !sm->counts[block])
		return -EILSEQ;
	return set_count(sm, block, sm->counts[block] - 1);
}

static bool is_free(const struct thin_sm_metadata *sm, uint64_t block)
{
	return !sm->counts[block] &&
	       !thin_block_set_has(&sm->quarantine.unavailable, block);
}

static int metadata_alloc(struct thin_space_map *interface, uint64_t *ret)
{
	struct thin_sm_metadata *sm = self(interface);

	if (!thin_sm_metadata_nr_free(sm))
		return -ENOSPC;
	for (uint64_t i = 0; i < sm->nr_blocks; i++) {
		uint64_t block = (sm->cursor + i) % sm->nr_blocks;
		int r;

		if (!is_free(sm, block))
			continue;
		r = set_count(sm, block, 1);
		if (r)
			return r;
		sm->cursor = block + 1;
		*ret = block;
		return 0;
	}
	return -ENOSPC;
}

static const struct thin_space_map_ops metadata_ops = {
	.count = metadata_count,
	.inc = metadata_inc,
	.dec = metadata_dec,
	.alloc = metadata_alloc,
};

/* --- loading ------------------------------------------------------------- */

static int load_bitmap(struct thin_sm_metadata *sm, struct thin_cache *cache, uint64_t i,
		       uint64_t block)
{
	uint64_t base = i * THIN_COUNTS_PER_BITMAP;
	const struct thin_disk_bitmap *b;
	void *p;
	int r;

	r = thin_cache_get(cache, block, THIN_BITMAP, &p);
	if (r)
		return r;
	b = p;
	sm->bitmaps[i].block = block;
	for (uint32_t e = 0; e < thin_bitmap_entries(sm->nr_blocks, i); e++) {
		sm->counts[base + e] = thin_bitmap_get(b, e);
		sm->nr_allocated += sm->counts[base + e] > 0;
		sm->nr_overflows += sm->counts[base + e] == THIN_COUNT_OVERFLOW;
	}
	return 0;
}

static int load_bitmaps(struct thin_sm_metadata *sm, struct thin_cache *cache)
{
	struct thin_disk_index index;
	void *p;
	int r;

	r = thin_cache_get(cache, sm->index_block, THIN_INDEX, &p);
	if (r)
		return r;
	memcpy(&index, p, sizeof(index));
	for (uint64_t i = 0; i < thin_nr_bitmaps(sm->nr_blocks); i++) {
		thin_cache_begin_op(cache);
		r = load_bitmap(sm, cache, i, le64_get(index.entries[i].blocknr));
		if (r)
			return r;
	}
	return 0;
}

/* Counts of three and more, for each block whose bits say so. */
static int load_overflow(struct thin_sm_metadata *sm, struct thin_cache *cache)
{
	struct thin_reader rd = {.cache = cache, .may_load = true};
	struct thin_leaf leaf;
	uint64_t key = 0;
	int r;

	for (;;) {
		thin_cache_begin_op(cache);
		r = thin_btree_seek(&rd, THIN_VALUE_COUNT, sm->overflow_root, key, &leaf);
		if (r == -ENODATA)
			return sm->nr_overflows ? -EILSEQ : 0;
		if (r)
			return r;
		for (uint32_t i = leaf.index; i < thin_node_nr(leaf.node); i++) {
			struct le32 v;

			key = thin_node_key(leaf.node, i);
			memcpy(&v, thin_node_value(leaf.node, i), sizeof(v));
			if (key >= sm->nr_blocks ||
			    sm->counts[key] < THIN_COUNT_OVERFLOW ||
			    le32_get(v) < THIN_COUNT_OVERFLOW)
				return -EILSEQ;
			sm->counts[key] = le32_get(v);
			sm->nr_overflows--;
		}
		key++;
	}
}

int thin_sm_metadata_open(struct thin_cache *cache,
			  const struct thin_disk_space_map *root,
			  struct thin_sm_metadata **ret)
{
	struct thin_sm_metadata *sm = calloc(1, sizeof(*sm));
	int r;

	if (!sm)
		return -ENOMEM;
	sm->interface.ops = &metadata_ops;
	sm->nr_blocks = le64_get(root->nr_blocks);
	sm->index_block = le64_get(root->bitmap_root);
	sm->overflow_root = le64_get(root->ref_count_root);
	assert(sm->nr_blocks && sm->nr_blocks <= THIN_MAX_METADATA_BLOCKS);
	sm->counts = calloc(sm->nr_blocks, sizeof(*sm->counts));
	r = sm->counts ? load_bitmaps(sm, cache) : -ENOMEM;
	if (!r)
		r = load_overflow(sm, cache);
	if (r) {
		thin_sm_metadata_destroy(sm);
		return r;
	}
	*ret = sm;
	return 0;
}

void thin_sm_metadata_destroy(struct thin_sm_metadata *sm)
{
	if (!sm)
		return;
	thin_block_set_clear(&sm->quarantine.freed);
	thin_block_set_clear(&sm->quarantine.unavailable);
	thin_block_set_clear(&sm->overflow);
	free(sm->counts);
	free(sm);
}

/* --- facts ---------------------------------------------------------------- */

struct thin_space_map *thin_sm_metadata_interface(struct thin_sm_metadata *sm)
{
	return &sm->interface;
}

struct thin_quarantine *thin_sm_metadata_quarantine(struct thin_sm_metadata *sm)
{
	return &sm->quarantine;
}

uint64_t thin_sm_metadata_nr_blocks(const struct thin_sm_metadata *sm)
{
	return sm->nr_blocks;
}

uint64_t thin_sm_metadata_nr_allocated(const struct thin_sm_metadata *sm)
{
	return sm->nr_allocated;
}

uint64_t thin_sm_metadata_nr_free(const struct thin_sm_metadata *sm)
{
	return sm->nr_blocks - sm->nr_allocated - sm->quarantine.unavailable.nr;
}

int thin_sm_metadata_grow(struct thin_sm_metadata *sm, uint64_t nr_blocks)
{
	uint32_t *counts;

	assert(nr_blocks >= sm->nr_blocks && nr_blocks <= THIN_MAX_METADATA_BLOCKS);
	counts = realloc(sm->counts, nr_blocks * sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	memset(counts + sm->nr_blocks, 0, (nr_blocks - sm->nr_blocks) * sizeof(*counts));
	for (uint64_t i = sm->nr_blocks / THIN_COUNTS_PER_BITMAP;
	     i < thin_nr_bitmaps(nr_blocks); i++)
		sm->bitmaps[i].dirty = true;
	sm->counts = counts;
	sm->nr_blocks = nr_blocks;
	return 0;
}

/* --- committing ------------------------------------------------------------ */

/* M2: tell the tree about one block. */
static int apply_overflow(struct thin_sm_metadata *sm, const struct thin_btree *t,
			  uint64_t block)
{
	struct le32 count = le32_of(sm->counts[block]);
	uint64_t next;
	uint32_t removed;

	thin_block_set_remove(&sm->overflow, block);
	if (sm->counts[block] >= THIN_COUNT_OVERFLOW)
		return thin_btree_insert(t, sm->overflow_root, block, &count,
					 &sm->overflow_root);
	return thin_btree_remove(t, sm->overflow_root, block, block + 1,
				 &sm->overflow_root, &next, &removed);
}

struct blocks {
	uint64_t *block;
	size_t nr;
};

static int collect_blocks(void *ctx, uint64_t block, uint64_t nr)
{
	struct blocks *list = ctx;

	for (uint64_t i = 0; i < nr; i++)
		list->block[list->nr++] = block + i;
	return 0;
}

/* Changing the tree changes counts: the set may grow again while it is applied. */
static int apply_overflows(struct thin_sm_metadata *sm, struct thin_transaction *tm)
{
	struct thin_btree t = {.tm = tm, .value_size = THIN_VALUE_COUNT};

	while (sm->overflow.nr) {
		_cleanup_free uint64_t *list = malloc(sm->overflow.nr * sizeof(*list));
		struct blocks blocks = {.block = list};
		int r;

		if (!list)
			return -ENOMEM;
		r = thin_block_set_for_each_run(&sm->overflow, collect_blocks, &blocks);
		for (size_t i = 0; i < blocks.nr && !r; i++) {
			thin_cache_begin_op(tm->cache);
			r = apply_overflow(sm, &t, list[i]);
		}
		if (r)
			return r;
	}
	return 0;
}

/* A new home; what is in it comes later. */
static int move_block(struct thin_transaction *tm, enum thin_block_kind kind,
		      uint64_t *block)
{
	uint64_t old = *block;
	void *unused;
	int r;

	thin_cache_begin_op(tm->cache);
	r = thin_tm_new(tm, kind, block, &unused);
	if (r || !old)
		return r;
	return thin_sm_dec(tm->sm, old);
}

/* @ret_moved: whether any bitmap had to. */
static int move_bitmaps(struct thin_sm_metadata *sm, struct thin_transaction *tm,
			bool *ret_moved)
{
	*ret_moved = false;
	for (uint64_t i = 0; i < thin_nr_bitmaps(sm->nr_blocks); i++) {
		int r;

		if (!sm->bitmaps[i].dirty || sm->bitmaps[i].moved)
			continue;
		sm->bitmaps[i].moved = true;
		*ret_moved = true;
		r = move_block(tm, THIN_BITMAP, &sm->bitmaps[i].block);
		if (r)
			return r;
	}
	return 0;
}

static int settle(struct thin_sm_metadata *sm, struct thin_transaction *tm)
{
	bool moved;
	int r;

	r = move_block(tm, THIN_INDEX, &sm->index_block);
	if (r)
		return r;
	do {
		r = apply_overflows(sm, tm);
		if (!r)
			r = move_bitmaps(sm, tm, &moved);
		if (r)
			return r;
	} while (moved || sm->overflow.nr);
	return 0;
}

static int write_bitmap(struct thin_sm_metadata *sm, struct thin_transaction *tm,
			uint64_t i)
{
	const uint32_t *counts = sm->counts + i * THIN_COUNTS_PER_BITMAP;
	struct thin_disk_bitmap *b;
	void *p;
	int r;

	thin_cache_begin_op(tm->cache);
	r = thin_cache_get(tm->cache, sm->bitmaps[i].block, THIN_BITMAP, &p);
	if (r)
		return r;
	b = p;
	thin_cache_mark_dirty(tm->cache, sm->bitmaps[i].block);
	for (uint32_t e = 0; e < thin_bitmap_entries(sm->nr_blocks, i); e++)
		thin_bitmap_set(b, e, (uint32_t)thin_min(counts[e], THIN_COUNT_OVERFLOW));
	sm->bitmaps[i].dirty = false;
	sm->bitmaps[i].moved = false;
	return 0;
}

/* The kernel's form: what is past the end counts as free. */
static struct thin_disk_index_entry describe_bitmap(const struct thin_sm_metadata *sm,
						    uint64_t i)
{
	const uint32_t *counts = sm->counts + i * THIN_COUNTS_PER_BITMAP;
	uint32_t entries = thin_bitmap_entries(sm->nr_blocks, i), used = 0,
		 first = entries;

	for (uint32_t e = 0; e < entries; e++) {
		used += counts[e] > 0;
		if (!counts[e] && first == entries)
			first = e;
	}
	return (struct thin_disk_index_entry){
		.blocknr = le64_of(sm->bitmaps[i].block),
		.nr_free = le32_of(THIN_COUNTS_PER_BITMAP - used),
		.none_free_before = le32_of(first),
	};
}

static int write_index(struct thin_sm_metadata *sm, struct thin_transaction *tm)
{
	struct thin_disk_index *index;
	void *p;
	int r;

	r = thin_cache_get(tm->cache, sm->index_block, THIN_INDEX, &p);
	if (r)
		return r;
	index = p;
	thin_cache_mark_dirty(tm->cache, sm->index_block);
	for (uint64_t i = 0; i < thin_nr_bitmaps(sm->nr_blocks); i++)
		index->entries[i] = describe_bitmap(sm, i);
	return 0;
}

int thin_sm_metadata_commit(struct thin_sm_metadata *sm, struct thin_transaction *tm,
			    struct thin_disk_space_map *ret_root)
{
	int r;

	r = settle(sm, tm);
	if (r)
		return r;
	for (uint64_t i = 0; i < thin_nr_bitmaps(sm->nr_blocks); i++) {
		r = sm->bitmaps[i].dirty ? write_bitmap(sm, tm, i) : 0;
		if (r)
			return r;
	}
	r = write_index(sm, tm);
	if (r)
		return r;
	*ret_root = (struct thin_disk_space_map){
		.nr_blocks = le64_of(sm->nr_blocks),
		.nr_allocated = le64_of(sm->nr_allocated),
		.bitmap_root = le64_of(sm->index_block),
		.ref_count_root = le64_of(sm->overflow_root),
	};
	return 0;
}
