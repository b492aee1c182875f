/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/space_map_disk.h"

#include "format/space_map_layout.h"
#include "util/checked.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 *  D1  A bitmap is changed only after it was shadowed in this transaction.
 *  D2  What is said about a bitmap on disk (nr_free, none_free_before) is a
 *      hint: others are known to write it wrongly.  It is counted anew the
 *      first time the allocator looks into the bitmap; until then a bitmap
 *      may have free blocks whatever is said.
 *  D3  A block is handed out only if its count is 0 and it is not in
 *      quarantine.unavailable: neither reserved, nor freed by a transaction
 *      that is not durable yet (I3).
 */

/* What is known of one bitmap. */
struct summary {
	uint64_t block;
	uint32_t nr_free; /* of the entries that there are */
	uint32_t none_free_before;
	bool counted; /* D2 */
	bool dirty;   /* the index tree has not been told */
};

struct thin_sm_disk {
	struct thin_space_map interface;
	struct thin_transaction *tm;
	uint64_t nr_blocks, nr_allocated;
	uint64_t cursor;
	struct summary *summaries;
	uint64_t index_root, overflow_root;
	struct thin_quarantine quarantine;
	struct thin_block_set reserved; /* part of quarantine.unavailable */
};

static struct thin_sm_disk *self(struct thin_space_map *sm)
{
	return (struct thin_sm_disk *)sm; /* the interface is its first member */
}

static struct thin_btree overflow_tree(struct thin_sm_disk *sm)
{
	return (struct thin_btree){.tm = sm->tm, .value_size = THIN_VALUE_COUNT};
}

static struct thin_btree index_tree(struct thin_sm_disk *sm)
{
	return (struct thin_btree){.tm = sm->tm, .value_size = THIN_VALUE_INDEX};
}

/* --- bitmaps --------------------------------------------------------------- */

static int read_bitmap(struct thin_sm_disk *sm, struct thin_reader *rd, uint64_t i,
		       const struct thin_disk_bitmap **ret)
{
	return thin_read_block(rd, sm->summaries[i].block, THIN_BITMAP,
			       (const void **)ret);
}

/* D1. */
static int shadow_bitmap(struct thin_sm_disk *sm, uint64_t i,
			 struct thin_disk_bitmap **ret)
{
	struct summary *s = &sm->summaries[i];
	uint64_t block;
	int r;

	r = thin_tm_shadow(sm->tm, s->block, THIN_BITMAP, NULL, NULL, &block,
			   (void **)ret);
	if (r)
		return r;
	if (block != s->block) {
		s->block = block;
		s->dirty = true;
	}
	return 0;
}

/* D2.  What was said wrongly is said rightly with the next commit. */
static void count_bitmap(struct thin_sm_disk *sm, uint64_t i,
			 const struct thin_disk_bitmap *b)
{
	struct summary *s = &sm->summaries[i];
	uint32_t entries = thin_bitmap_entries(sm->nr_blocks, i);

	if (s->counted)
		return;
	uint32_t nr_free = thin_bitmap_count_free(b, entries);
	uint32_t none_free_before = thin_bitmap_find_free(b, 0, entries);

	s->dirty |= s->nr_free != nr_free || s->none_free_before != none_free_before;
	s->nr_free = nr_free;
	s->none_free_before = none_free_before;
	s->counted = true;
}

/* --- counting -------------------------------------------------------------- */

static int overflow_count(struct thin_sm_disk *sm, uint64_t block, uint32_t *ret)
{
	struct thin_reader rd = {.cache = sm->tm->cache, .may_load = true};
	struct le32 v;
	int r;

	r = thin_btree_lookup(&rd, THIN_VALUE_COUNT, sm->overflow_root, block, &v);
	if (r)
		return r == -ENODATA ? -EILSEQ : r;
	*ret = le32_get(v);
	return *ret >= THIN_COUNT_OVERFLOW ? 0 : -EILSEQ;
}

static int disk_count(struct thin_space_map *interface, uint64_t block, uint32_t *ret)
{
	struct thin_sm_disk *sm = self(interface);
	struct thin_reader rd = {.cache = sm->tm->cache, .may_load = true};
	const struct thin_disk_bitmap *b;
	int r;

	if (block >= sm->nr_blocks)
		return -EILSEQ;
	r = read_bitmap(sm, &rd, block / THIN_COUNTS_PER_BITMAP, &b);
	if (r)
		return r;
	*ret = thin_bitmap_get(b, block % THIN_COUNTS_PER_BITMAP);
	return *ret < THIN_COUNT_OVERFLOW ? 0 : overflow_count(sm, block, ret);
}

/* Tell the overflow tree of a count that is, or was, in it. */
static int set_overflow(struct thin_sm_disk *sm, uint64_t block, uint32_t count)
{
	struct thin_btree t = overflow_tree(sm);
	struct le32 v = le32_of(count);
	uint64_t next;
	uint32_t removed;

	if (count >= THIN_COUNT_OVERFLOW)
		return thin_btree_insert(&t, sm->overflow_root, block, &v,
					 &sm->overflow_root);
	return thin_btree_remove(&t, sm->overflow_root, block, block + 1,
				 &sm->overflow_root, &next, &removed);
}

/* Keep what is said about the bitmap in step. */
static void note_change(struct thin_sm_disk *sm, uint64_t block, bool was_free,
			bool is_free)
{
	struct summary *s = &sm->summaries[block / THIN_COUNTS_PER_BITMAP];
	uint32_t entry = block % THIN_COUNTS_PER_BITMAP;

	if (was_free == is_free)
		return;
	s->dirty = true;
	if (is_free) {
		s->nr_free++;
		s->none_free_before = (uint32_t)thin_min(s->none_free_before, entry);
		sm->nr_allocated--;
	} else {
		s->nr_free--;
		if (s->none_free_before == entry)
			s->none_free_before++;
		sm->nr_allocated++;
	}
}

static int set_count(struct thin_sm_disk *sm, uint64_t block, uint32_t old,
		     uint32_t count)
{
	uint64_t i = block / THIN_COUNTS_PER_BITMAP;
	struct thin_disk_bitmap *b;
	int r;

	r = shadow_bitmap(sm, i, &b);
	if (r)
		return r;
	count_bitmap(sm, i, b);
	thin_bitmap_set(b, block % THIN_COUNTS_PER_BITMAP,
			(uint32_t)thin_min(count, THIN_COUNT_OVERFLOW));
	note_change(sm, block, !old, !count);
	if (old >= THIN_COUNT_OVERFLOW || count >= THIN_COUNT_OVERFLOW)
		return set_overflow(sm, block, count);
	return 0;
}

static int disk_inc(struct thin_space_map *interface, uint64_t block)
{
	uint32_t count;
	int r = disk_count(interface, block, &count);

	if (r)
		return r;
	if (!count || count == UINT32_MAX)
		return -EILSEQ;
	return set_count(self(interface), block, count, count + 1);
}

static int disk_dec(struct thin_space_map *interface, uint64_t block)
{
	struct thin_sm_disk *sm = self(interface);
	uint32_t count;
	int r = disk_count(interface, block, &count);

	if (r)
		return r;
	if (!count)
		return -EILSEQ;
	r = set_count(sm, block, count, count - 1);
	if (r || count > 1)
		return r;
	return thin_quarantine_free(&sm->quarantine, block);
}

int thin_sm_disk_insert(struct thin_sm_disk *sm, uint64_t block)
{
	uint32_t count;
	int r = disk_count(&sm->interface, block, &count);

	if (r)
		return r;
	if (count)
		return -EILSEQ;
	r = set_count(sm, block, 0, 1);
	if (!r)
		thin_sm_disk_unreserve(sm, block, 1);
	return r;
}

/* No alloc: data blocks are reserved first, and inserted when they are written. */
static const struct thin_space_map_ops disk_ops = {
	.count = disk_count,
	.inc = disk_inc,
	.dec = disk_dec,
};

int thin_sm_disk_is_single(struct thin_sm_disk *sm, struct thin_reader *rd,
			   struct thin_bitmap_view *view, uint64_t block, bool *ret)
{
	uint64_t index = block / THIN_COUNTS_PER_BITMAP;

	if (block >= sm->nr_blocks)
		return -EILSEQ;
	if (!view->bitmap || view->index != index) {
		int r = read_bitmap(sm, rd, index, &view->bitmap);

		if (r)
			return r;
		view->index = index;
	}
	*ret = thin_bitmap_get(view->bitmap, block % THIN_COUNTS_PER_BITMAP) == 1;
	return 0;
}

/* --- allocating ------------------------------------------------------------- */

static bool available(const struct thin_sm_disk *sm, uint64_t block)
{
	return !thin_block_set_has(&sm->quarantine.unavailable, block);
}

/* The first entry of bitmap @i from @begin on that can be had, or its end. */
static uint32_t find_available(const struct thin_sm_disk *sm, uint64_t i,
			       const struct thin_disk_bitmap *b, uint32_t begin)
{
	uint32_t end = thin_bitmap_entries(sm->nr_blocks, i);

	for (;;) {
		begin = thin_bitmap_find_free(b, begin, end);
		if (begin == end || available(sm, i * THIN_COUNTS_PER_BITMAP + begin))
			return begin;
		begin++;
	}
}

/* How many entries from @entry on, which can be had, can be had too. */
static uint64_t run_length(const struct thin_sm_disk *sm, uint64_t i,
			   const struct thin_disk_bitmap *b, uint32_t entry,
			   uint64_t want)
{
	uint64_t most = thin_min(want, thin_bitmap_entries(sm->nr_blocks, i) - entry);
	uint64_t nr = 1;

	while (nr < most && !thin_bitmap_get(b, entry + (uint32_t)nr) &&
	       available(sm, i * THIN_COUNTS_PER_BITMAP + entry + nr))
		nr++;
	return nr;
}

/* Look in bitmap @i from entry @begin on.  @ret_nr: 0 where there is nothing. */
static int search_bitmap(struct thin_sm_disk *sm, uint64_t i, uint32_t begin,
			 uint64_t want, uint64_t *ret_block, uint64_t *ret_nr)
{
	struct thin_reader rd = {.cache = sm->tm->cache, .may_load = true};
	const struct summary *s = &sm->summaries[i];
	const struct thin_disk_bitmap *b;
	uint32_t entry;
	int r;

	*ret_nr = 0;
	if (s->counted && !s->nr_free)
		return 0;
	r = read_bitmap(sm, &rd, i, &b);
	if (r)
		return r;
	count_bitmap(sm, i, b);
	entry = find_available(sm, i, b, (uint32_t)thin_max(begin, s->none_free_before));
	if (entry == thin_bitmap_entries(sm->nr_blocks, i))
		return 0;
	*ret_block = i * THIN_COUNTS_PER_BITMAP + entry;
	*ret_nr = run_length(sm, i, b, entry, want);
	return 0;
}

/* From the cursor on, once round, and the cursor's own bitmap a second time. */
static int search(struct thin_sm_disk *sm, uint64_t want, uint64_t *ret_block,
		  uint64_t *ret_nr)
{
	uint64_t nr_bitmaps = thin_nr_bitmaps(sm->nr_blocks);
	uint64_t first = sm->cursor / THIN_COUNTS_PER_BITMAP;
	uint32_t begin = sm->cursor % THIN_COUNTS_PER_BITMAP;

	for (uint64_t n = 0; n <= nr_bitmaps; n++) {
		int r;

		thin_cache_begin_op(sm->tm->cache);
		r = search_bitmap(sm, (first + n) % nr_bitmaps, n ? 0 : begin, want,
				  ret_block, ret_nr);
		if (r || *ret_nr)
			return r;
	}
	return -ENOSPC;
}

static int hold_back(struct thin_sm_disk *sm, uint64_t block)
{
	int r = thin_block_set_add(&sm->quarantine.unavailable, block);

	return r ? r : thin_block_set_add(&sm->reserved, block);
}

int thin_sm_disk_reserve(struct thin_sm_disk *sm, uint64_t want, uint64_t *ret_block,
			 uint64_t *ret_nr)
{
	uint64_t block, nr;
	int r;

	if (!thin_sm_disk_nr_free(sm))
		return -ENOSPC;
	r = search(sm, want, &block, &nr);
	if (r)
		return r;
	for (uint64_t i = 0; i < nr; i++) {
		r = hold_back(sm, block + i);
		if (r) {
			thin_sm_disk_unreserve(sm, block, i + 1);
			return r;
		}
	}
	sm->cursor = (block + nr) % sm->nr_blocks;
	*ret_block = block;
	*ret_nr = nr;
	return 0;
}

void thin_sm_disk_unreserve(struct thin_sm_disk *sm, uint64_t block, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		thin_block_set_remove(&sm->reserved, block + i);
		thin_block_set_remove(&sm->quarantine.unavailable, block + i);
	}
}

static int hold_back_run(void *ctx, uint64_t block, uint64_t nr)
{
	int r = 0;

	for (uint64_t i = 0; i < nr && !r; i++)
		r = hold_back(ctx, block + i);
	return r;
}

int thin_sm_disk_adopt_reserved(struct thin_sm_disk *sm, const struct thin_sm_disk *from)
{
	return thin_block_set_for_each_run(&from->reserved, hold_back_run, sm);
}

/* --- loading and growing ------------------------------------------------------ */

static struct summary read_summary(const struct thin_sm_disk *sm, uint64_t i,
				   const struct thin_disk_index_entry *e)
{
	uint32_t missing = THIN_COUNTS_PER_BITMAP - thin_bitmap_entries(sm->nr_blocks, i);

	return (struct summary){
		.block = le64_get(e->blocknr),
		.nr_free = le32_get(e->nr_free) - missing,
		.none_free_before = le32_get(e->none_free_before),
	};
}

static int load_summaries(struct thin_sm_disk *sm)
{
	struct thin_reader rd = {.cache = sm->tm->cache, .may_load = true};
	uint64_t nr_bitmaps = thin_nr_bitmaps(sm->nr_blocks), i = 0;
	struct thin_leaf leaf;

	while (i < nr_bitmaps) {
		int r;

		thin_cache_begin_op(sm->tm->cache);
		r = thin_btree_seek(&rd, THIN_VALUE_INDEX, sm->index_root, i, &leaf);
		if (r)
			return r == -ENODATA ? -EILSEQ : r;
		for (uint32_t e = leaf.index;
		     e < thin_node_nr(leaf.node) && i < nr_bitmaps; e++, i++) {
			struct thin_disk_index_entry entry;

			if (thin_node_key(leaf.node, e) != i)
				return -EILSEQ;
			memcpy(&entry, thin_node_value(leaf.node, e), sizeof(entry));
			sm->summaries[i] = read_summary(sm, i, &entry);
		}
	}
	return 0;
}

static int open_summaries(struct thin_sm_disk *sm, uint64_t nr_metadata_blocks)
{
	uint64_t nr_bitmaps = thin_nr_bitmaps(sm->nr_blocks);

	/* Each bitmap is a metadata block: that bounds what a lie can cost. */
	if (nr_bitmaps > nr_metadata_blocks)
		return -EILSEQ;
	sm->summaries = calloc(nr_bitmaps + 1, sizeof(*sm->summaries));
	return sm->summaries ? load_summaries(sm) : -ENOMEM;
}

int thin_sm_disk_open(struct thin_transaction *tm, uint64_t nr_metadata_blocks,
		      const struct thin_disk_space_map *root, struct thin_sm_disk **ret)
{
	struct thin_sm_disk *sm = calloc(1, sizeof(*sm));
	int r;

	if (!sm)
		return -ENOMEM;
	sm->interface.ops = &disk_ops;
	sm->tm = tm;
	sm->nr_blocks = le64_get(root->nr_blocks);
	sm->nr_allocated = le64_get(root->nr_allocated);
	sm->index_root = le64_get(root->bitmap_root);
	sm->overflow_root = le64_get(root->ref_count_root);
	r = open_summaries(sm, nr_metadata_blocks);
	if (r) {
		thin_sm_disk_destroy(sm);
		return r;
	}
	*ret = sm;
	return 0;
}

void thin_sm_disk_destroy(struct thin_sm_disk *sm)
{
	if (!sm)
		return;
	thin_block_set_clear(&sm->quarantine.freed);
	thin_block_set_clear(&sm->quarantine.unavailable);
	thin_block_set_clear(&sm->reserved);
	free(sm->summaries);
	free(sm);
}

static int add_bitmap(struct thin_sm_disk *sm, uint64_t i)
{
	void *unused;

	thin_cache_begin_op(sm->tm->cache);
	sm->summaries[i] = (struct summary){.dirty = true};
	return thin_tm_new(sm->tm, THIN_BITMAP, &sm->summaries[i].block, &unused);
}

int thin_sm_disk_grow(struct thin_sm_disk *sm, uint64_t nr_blocks)
{
	uint64_t old = thin_nr_bitmaps(sm->nr_blocks), new = thin_nr_bitmaps(nr_blocks);
	struct summary *bigger;
	int r;

	assert(nr_blocks >= sm->nr_blocks && nr_blocks <= THIN_MAX_DATA_BLOCKS);
	bigger = realloc(sm->summaries, (new + 1) * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	sm->summaries = bigger;
	for (uint64_t i = old; i < new; i++) {
		r = add_bitmap(sm, i);
		if (r)
			return r;
	}
	/* The last bitmap of before has more entries now. */
	if (old)
		sm->summaries[old - 1].counted = false;
	sm->nr_blocks = nr_blocks;
	return 0;
}

/* --- facts, and committing ------------------------------------------------------ */

struct thin_space_map *thin_sm_disk_interface(struct thin_sm_disk *sm)
{
	return &sm->interface;
}

struct thin_quarantine *thin_sm_disk_quarantine(struct thin_sm_disk *sm)
{
	return &sm->quarantine;
}

uint64_t thin_sm_disk_nr_blocks(const struct thin_sm_disk *sm)
{
	return sm->nr_blocks;
}

uint64_t thin_sm_disk_nr_allocated(const struct thin_sm_disk *sm)
{
	return sm->nr_allocated;
}

uint64_t thin_sm_disk_nr_free(const struct thin_sm_disk *sm)
{
	uint64_t taken = sm->nr_allocated + sm->quarantine.unavailable.nr;

	return taken < sm->nr_blocks ? sm->nr_blocks - taken : 0;
}

/* The kernel's form: what is past the end counts as free. */
static int write_summary(struct thin_sm_disk *sm, const struct thin_btree *t, uint64_t i)
{
	struct summary *s = &sm->summaries[i];
	struct thin_reader rd = {.cache = sm->tm->cache, .may_load = true};
	struct thin_disk_index_entry entry;
	const struct thin_disk_bitmap *b;
	uint32_t missing = THIN_COUNTS_PER_BITMAP - thin_bitmap_entries(sm->nr_blocks, i);
	int r;

	r = read_bitmap(sm, &rd, i, &b);
	if (r)
		return r;
	count_bitmap(sm, i, b);
	entry = (struct thin_disk_index_entry){
		.blocknr = le64_of(s->block),
		.nr_free = le32_of(s->nr_free + missing),
		.none_free_before = le32_of(s->none_free_before),
	};
	s->dirty = false;
	return thin_btree_insert(t, sm->index_root, i, &entry, &sm->index_root);
}

int thin_sm_disk_commit(struct thin_sm_disk *sm, struct thin_disk_space_map *ret_root)
{
	struct thin_btree t = index_tree(sm);

	for (uint64_t i = 0; i < thin_nr_bitmaps(sm->nr_blocks); i++) {
		int r;

		if (!sm->summaries[i].dirty)
			continue;
		thin_cache_begin_op(sm->tm->cache);
		r = write_summary(sm, &t, i);
		if (r)
			return r;
	}
	*ret_root = (struct thin_disk_space_map){
		.nr_blocks = le64_of(sm->nr_blocks),
		.nr_allocated = le64_of(sm->nr_allocated),
		.bitmap_root = le64_of(sm->index_root),
		.ref_count_root = le64_of(sm->overflow_root),
	};
	return 0;
}
