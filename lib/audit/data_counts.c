/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/data_counts.h"

#include "audit/state.h"

#include <assert.h>
#include <string.h>

static uint32_t entries_of(const struct audit *a, const struct bitmap *b)
{
	return thin_bitmap_entries(a->nr_data, b->number);
}

static size_t page_size(uint32_t nr)
{
	/* Eight counts are looked at together. */
	return sizeof(struct data_page) + (nr + 7) / 8 * 8;
}

/* --- large counts ------------------------------------------------------- */

/* The slot of @block, or the empty one where it belongs. */
static struct large_count *find_large(const struct data_counts *d, uint64_t block)
{
	/* Multiplying by the golden ratio spreads neighbours. */
	size_t i = (size_t)((block * UINT64_C(0x9e3779b97f4a7c15)) >> 32);

	for (;; i++) {
		struct large_count *slot = &d->large[i & (d->cap_large - 1)];

		if (!slot->block || slot->block == block + 1)
			return slot;
	}
}

static bool grow_large(struct audit *a)
{
	struct data_counts *d = &a->data;
	struct data_counts bigger = {.cap_large = d->cap_large ? d->cap_large * 2 : 64};

	bigger.large = audit_alloc(a, bigger.cap_large, sizeof(*bigger.large));
	if (!bigger.large)
		return false;
	for (size_t i = 0; i < d->cap_large; i++)
		if (d->large[i].block)
			*find_large(&bigger, d->large[i].block - 1) = d->large[i];
	audit_free(a, d->large, d->cap_large, sizeof(*d->large));
	d->large = bigger.large;
	d->cap_large = bigger.cap_large;
	return true;
}

static void ref_large(struct audit *a, uint64_t block)
{
	struct data_counts *d = &a->data;
	struct large_count *slot;

	if (2 * (d->nr_large + 1) > d->cap_large && !grow_large(a))
		return;
	slot = find_large(d, block);
	if (!slot->block) {
		*slot = (struct large_count){block + 1, DATA_COUNT_LARGE - 1};
		d->nr_large++;
	}
	slot->count++;
}

/* --- pages -------------------------------------------------------------- */

static struct bitmap *search(struct space_map *map, uint64_t number)
{
	size_t lo = 0, hi = map->nr_bitmaps;

	/* Mostly all are there. */
	if (number < hi && map->bitmaps[number].number == number)
		return &map->bitmaps[number];
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (map->bitmaps[mid].number == number)
			return &map->bitmaps[mid];
		if (map->bitmaps[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct bitmap *audit_data_bitmap(struct audit *a, uint64_t block)
{
	uint64_t number = block / THIN_COUNTS_PER_BITMAP;

	if (!a->data.last || a->data.last->number != number)
		a->data.last = search(&a->data_map, number);
	return a->data.last;
}

static bool make_page(struct audit *a, struct bitmap *b)
{
	uint32_t nr = entries_of(a, b);

	b->page = audit_alloc(a, 1, page_size(nr));
	if (b->page)
		b->page->nr = nr;
	return b->page;
}

void audit_data_ref(struct audit *a, uint64_t block, bool claim)
{
	uint32_t i = (uint32_t)(block % THIN_COUNTS_PER_BITMAP);
	struct bitmap *b = audit_data_bitmap(a, block);
	uint8_t *count;

	assert(block < a->nr_data);
	if (!b || !b->sound || (!b->page && !make_page(a, b)))
		return;
	count = &b->page->counts[i];
	a->data.used += *count == 0;
	a->data.shared += *count == 1;
	if (*count < DATA_COUNT_LARGE)
		++*count;
	if (*count == DATA_COUNT_LARGE)
		ref_large(a, block);
	if (claim)
		b->page->claimed[i / 64] |= UINT64_C(1) << (i % 64);
}

uint64_t audit_data_count(const struct audit *a, const struct bitmap *b, uint32_t i)
{
	uint8_t count = b->page ? b->page->counts[i] : 0;

	if (count < DATA_COUNT_LARGE)
		return count;
	return find_large(&a->data, b->number * THIN_COUNTS_PER_BITMAP + i)->count;
}

static void check_claims_of(struct audit *a, const struct bitmap *b)
{
	const struct data_page *page = b->page;

	for (uint32_t i = 0; i < page->nr; i++) {
		uint64_t block = b->number * THIN_COUNTS_PER_BITMAP + i;

		struct thin_finding f = audit_range_finding(
			THIN_AUDIT_SHARED_NOT_FLAGGED, THIN_AUDIT_DBLOCKS, block, block);

		if (page->counts[i] > 1 && page->claimed[i / 64] >> (i % 64) & 1)
			audit_report(a, &f);
	}
}

void audit_check_claims(struct audit *a)
{
	const struct space_map *map = &a->data_map;

	if (!a->data.shared)
		return;
	for (size_t i = 0; i < map->nr_bitmaps && !audit_stopped(a); i++)
		if (map->bitmaps[i].page)
			check_claims_of(a, &map->bitmaps[i]);
}

void audit_free_data_counts(struct audit *a)
{
	struct space_map *map = &a->data_map;

	for (size_t i = 0; i < map->nr_bitmaps; i++)
		if (map->bitmaps[i].page)
			audit_free(a, map->bitmaps[i].page, 1,
				   page_size(map->bitmaps[i].page->nr));
	audit_free(a, a->data.large, a->data.cap_large, sizeof(*a->data.large));
	a->data = (struct data_counts){0};
}
