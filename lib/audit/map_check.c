/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/space_map.h"

#include "audit/state.h"
#include "util/checked.h"

#include <errno.h>

/*
 * Accounts (nr_free, none_free_before, nr_allocated) are held against the
 * bitmaps, and bitmaps against what was counted, so that one wrong count is
 * one finding.
 *
 * Where a part of the trees could not be read, what was counted is too
 * little: then only counts that are too low are told.
 */

/* One pass over a map: its bitmaps side by side with its exact counts. */
struct check {
	struct audit *a;
	struct space_map *map;
	bool judge_high;
	size_t next; /* of the exact counts */
	enum thin_audit_kind leak, high, low;
};

static void report(const struct check *c, enum thin_audit_kind kind, uint64_t first,
		   uint64_t last, uint64_t found, uint64_t expected)
{
	struct thin_finding f = audit_range_finding(
		kind, c->map->data ? THIN_AUDIT_DBLOCK_COUNTS : THIN_AUDIT_MBLOCK_COUNTS,
		first, last);

	f.found = found;
	f.expected = expected;
	if (kind == c->leak || kind == c->high || kind == c->low)
		f.unit = c->map->data ? THIN_AUDIT_DBLOCKS : THIN_AUDIT_MBLOCKS;
	audit_report(c->a, &f);
}

static uint64_t begin_of(const struct bitmap *b)
{
	return b->number * THIN_COUNTS_PER_BITMAP;
}

/* --- counts ------------------------------------------------------------- */

static uint64_t counted(const struct check *c, const struct bitmap *b, uint32_t i)
{
	uint64_t block = begin_of(b) + i;

	if (c->map->data)
		return audit_data_count(c->a, b, i);
	return audit_in_range(c->a, block) ? c->a->refs[block] : 0;
}

/* Exact counts before @block have no bitmap entry that sends one to them. */
static void skip_stale(struct check *c, const struct bitmap *b,
		       const struct thin_disk_bitmap *disk, uint64_t block)
{
	for (; c->next < c->map->nr_overflow; c->next++) {
		const struct overflow *o = &c->map->overflow[c->next];

		if (o->block >= block)
			return;
		report(c, THIN_AUDIT_OVERFLOW_STALE, o->block, o->block, o->count,
		       thin_bitmap_get(disk, (uint32_t)(o->block - begin_of(b))));
	}
}

/*
 * The count of @block, whose bitmap entry says three or more.
 * @expected: taken for true where the exact count is missing.
 */
static uint64_t exact_count(struct check *c, const struct bitmap *b,
			    const struct thin_disk_bitmap *disk, uint64_t block,
			    uint64_t expected)
{
	const struct overflow *o = NULL;

	skip_stale(c, b, disk, block);
	if (c->next < c->map->nr_overflow)
		o = &c->map->overflow[c->next];
	if (!o || o->block != block) {
		if (c->map->overflow_complete)
			report(c, THIN_AUDIT_OVERFLOW_MISSING, block, block, 0, 0);
		return thin_max(expected, THIN_COUNT_OVERFLOW);
	}
	c->next++;
	if (o->count < THIN_COUNT_OVERFLOW)
		report(c, THIN_AUDIT_OVERFLOW_SMALL, block, block, o->count, 0);
	return o->count;
}

static void compare_count(const struct check *c, uint64_t block, uint64_t found,
			  uint64_t expected)
{
	if (found < expected)
		report(c, c->low, block, block, found, expected);
	else if (found > expected && c->judge_high)
		report(c, expected ? c->high : c->leak, block, block, found, expected);
}

static void note_free(struct bitmap *b, uint32_t i, uint32_t nr)
{
	b->free++;
	if (b->first_free == nr)
		b->first_free = (uint16_t)i;
	else if (b->second_free == nr)
		b->second_free = (uint16_t)i;
}

static void check_past_end(const struct check *c, const struct bitmap *b,
			   const struct thin_disk_bitmap *disk, uint32_t nr)
{
	uint32_t whole = (nr + 3) / 4; /* bytes with a count that is used */
	uint32_t end = THIN_COUNTS_PER_BITMAP;

	if (audit_all_zero(disk->counts + whole, sizeof(disk->counts) - whole))
		end = 4 * whole;
	for (uint32_t i = nr; i < end; i++)
		if (thin_bitmap_get(disk, i))
			report(c, THIN_AUDIT_BITS_PAST_END, begin_of(b) + i,
			       begin_of(b) + i, thin_bitmap_get(disk, i), 0);
}

static void check_counts(struct check *c, struct bitmap *b,
			 const struct thin_disk_bitmap *disk)
{
	uint32_t nr = thin_bitmap_entries(c->map->nr_blocks, b->number);

	b->first_free = b->second_free = (uint16_t)nr;
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t block = begin_of(b) + i;
		uint64_t found = thin_bitmap_get(disk, i), expected = counted(c, b, i);

		if (!found)
			note_free(b, i, nr);
		if (found == THIN_COUNT_OVERFLOW)
			found = exact_count(c, b, disk, block, expected);
		if (found != expected)
			compare_count(c, block, found, expected);
	}
	skip_stale(c, b, disk, begin_of(b) + nr);
	check_past_end(c, b, disk, nr);
}

/* Exact counts for what has no bitmap that could be read are not judged. */
static void skip_unsound(struct check *c, uint64_t block)
{
	while (c->next < c->map->nr_overflow && c->map->overflow[c->next].block < block)
		c->next++;
}

static void check_bitmap(struct check *c, struct bitmap *b)
{
	int status = 0;
	const struct thin_disk_bitmap *disk;

	if (!b->sound || b->number >= thin_nr_bitmaps(c->map->nr_blocks))
		return;
	skip_unsound(c, begin_of(b));
	disk = audit_batch_get(&c->a->batch, b->block, &status);
	/* It was sound before: somebody writes, against the contract. */
	if (status || thin_block_verify(THIN_BITMAP, disk, b->block)) {
		audit_fail(c->a, thin_error_set(c->a->e, -EAGAIN,
						"the metadata changed under the audit"));
		return;
	}
	check_counts(c, b, disk);
}

static void check_bitmaps(struct check *c)
{
	struct audit *a = c->a;
	struct space_map *map = c->map;

	for (size_t i = 0; i < map->nr_bitmaps && !audit_stopped(a); i += GROUP) {
		size_t end = thin_min(i + GROUP, map->nr_bitmaps);

		audit_batch_clear(&a->batch);
		for (size_t j = i; j < end; j++)
			if (map->bitmaps[j].sound)
				audit_batch_add(&a->batch, map->bitmaps[j].block);
		audit_load(a, &a->batch);
		for (size_t j = i; j < end && !audit_stopped(a); j++)
			check_bitmap(c, &map->bitmaps[j]);
	}
}

static void check_overflow_past_end(struct check *c)
{
	skip_unsound(c, c->map->nr_blocks);
	for (; c->next < c->map->nr_overflow; c->next++) {
		uint64_t block = c->map->overflow[c->next].block;

		report(c, THIN_AUDIT_OVERFLOW_PAST_END, block, block, block,
		       c->map->nr_blocks);
	}
}

/* --- accounts ----------------------------------------------------------- */

/* What Linux writes: entries past the end are counted as free. */
static uint32_t linux_form(const struct bitmap *b, uint32_t nr)
{
	return b->free + (THIN_COUNTS_PER_BITMAP - nr);
}

/* Is nr_free legal, were it @more higher? */
static bool nr_free_legal(const struct bitmap *b, uint32_t nr, uint32_t more)
{
	uint64_t nr_free = (uint64_t)b->nr_free + more;

	return nr_free == linux_form(b, nr) || nr_free == b->free;
}

/*
 * thin_restore 0.9 frees one block after it has written the accounts.  The
 * bitmap where that happened has nr_free one too low, and often a
 * none_free_before past that block.
 */
static const struct bitmap *find_restored(const struct space_map *map, uint64_t allocated)
{
	const struct bitmap *restored = NULL;

	if (map->data || map->nr_allocated != allocated + 1)
		return NULL;
	for (size_t i = 0; i < map->nr_bitmaps; i++) {
		const struct bitmap *b = &map->bitmaps[i];
		uint32_t nr = thin_bitmap_entries(map->nr_blocks, b->number);

		if (nr_free_legal(b, nr, 0))
			continue;
		if (restored || !nr_free_legal(b, nr, 1))
			return NULL;
		restored = b;
	}
	return restored;
}

static void check_account(const struct check *c, const struct bitmap *b, bool restored)
{
	uint32_t nr = thin_bitmap_entries(c->map->nr_blocks, b->number);
	uint64_t first = begin_of(b), last = first + nr - 1;
	uint32_t free = restored ? b->second_free : b->first_free;
	uint64_t nr_free = (uint64_t)b->nr_free + restored;

	if (!nr_free_legal(b, nr, restored))
		report(c, THIN_AUDIT_NR_FREE, first, last, b->nr_free, linux_form(b, nr));
	else if (nr_free != linux_form(b, nr))
		report(c, THIN_AUDIT_NR_FREE_TRUNCATED, first, last, b->nr_free,
		       linux_form(b, nr));
	if (b->none_free_before > free)
		report(c, THIN_AUDIT_NONE_FREE_BEFORE, first, last, b->none_free_before,
		       free);
}

/* How many blocks the bitmaps say are in use; false if not all can be read. */
static bool allocated_blocks(const struct space_map *map, uint64_t *ret)
{
	uint64_t nr = thin_nr_bitmaps(map->nr_blocks), seen = 0, allocated = 0;

	for (size_t i = 0; i < map->nr_bitmaps; i++) {
		const struct bitmap *b = &map->bitmaps[i];

		if (b->number >= nr)
			break;
		if (!b->sound)
			return false;
		allocated += thin_bitmap_entries(map->nr_blocks, b->number) - b->free;
		seen++;
	}
	*ret = allocated;
	return map->index_complete && seen == nr;
}

static void check_accounts(const struct check *c)
{
	const struct space_map *map = c->map;
	const struct bitmap *restored = NULL;
	uint64_t allocated, last = map->nr_blocks ? map->nr_blocks - 1 : 0;

	if (allocated_blocks(map, &allocated)) {
		restored = find_restored(map, allocated);
		if (map->nr_allocated != allocated)
			report(c,
			       restored ? THIN_AUDIT_RESTORE_OFF_BY_ONE
					: THIN_AUDIT_NR_ALLOCATED,
			       0, last, map->nr_allocated, allocated);
	}
	for (size_t i = 0; i < map->nr_bitmaps && !audit_stopped(c->a); i++) {
		const struct bitmap *b = &map->bitmaps[i];

		if (b->sound && b->number < thin_nr_bitmaps(map->nr_blocks))
			check_account(c, b, b == restored);
	}
}

void audit_check_map(struct audit *a, struct space_map *map)
{
	struct check c = {
		.a = a,
		.map = map,
		.judge_high = map->data ? !a->incomplete_mappings : !a->incomplete_trees,
		.leak = map->data ? THIN_AUDIT_DATA_LEAK : THIN_AUDIT_METADATA_LEAK,
		.high = map->data ? THIN_AUDIT_DATA_COUNT_HIGH
				  : THIN_AUDIT_METADATA_COUNT_HIGH,
		.low = map->data ? THIN_AUDIT_DATA_COUNT_LOW
				 : THIN_AUDIT_METADATA_COUNT_LOW,
	};

	check_bitmaps(&c);
	if (audit_stopped(a))
		return;
	check_overflow_past_end(&c);
	check_accounts(&c);
}
