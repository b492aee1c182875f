/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/suspects.h"

#include "audit/scan.h"
#include "util/checked.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

/*
 * The first key at which each shared data block is mapped is kept, and the
 * others are compared with it.
 *
 * Keys are kept for shared blocks only, one after the other: the place of a
 * block's key is the number of shared blocks before it, which is known for
 * each part of a page and counted within the part.
 */

/* Keys kept at a time: 64 MiB. */
#define MAX_KEYS (UINT64_C(8) << 20)

/* Beyond these it is no use to go into detail. */
#define MAX_SUSPECTS 4096u

#define PART	      64u
#define PARTS_IN_PAGE (THIN_COUNTS_PER_BITMAP / PART)

/* In place of a key.  A real one is never that high; if it is, it is suspect. */
#define NO_KEY	    UINT64_MAX
#define SUSPECT_KEY (UINT64_MAX - 1)

/* Where the keys of a page's parts begin. */
struct page_keys {
	uint32_t base[PARTS_IN_PAGE];
};

/* The keys of bitmaps [begin, end). */
struct keys {
	struct suspects *s;
	size_t begin, end;
	struct page_keys *pages;
	uint64_t *keys;
	uint64_t nr;
};

/* --- shared blocks ------------------------------------------------------ */

/* How many of eight bytes are above 1? */
static uint32_t above_one(uint64_t counts)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), low_bits = ones * 0x7f;
	uint64_t high = (((counts & low_bits) + low_bits - ones) | counts) & ~low_bits;

	return (uint32_t)((high >> 7) * ones >> 56);
}

/* How many of blocks [@begin, @end) are shared?  @begin is a multiple of 8. */
static uint32_t shared_in(const struct data_page *page, uint32_t begin, uint32_t end)
{
	uint32_t shared = 0;

	for (uint32_t i = begin; i < end; i += 8) {
		uint64_t counts;

		memcpy(&counts, page->counts + i, sizeof(counts));
		counts = le64toh(counts);
		if (end - i < 8)
			counts &= (UINT64_C(1) << 8 * (end - i)) - 1;
		shared += above_one(counts);
	}
	return shared;
}

static uint32_t shared_in_page(const struct data_page *page)
{
	return page ? shared_in(page, 0, page->nr) : 0;
}

/* --- keys --------------------------------------------------------------- */

/* Take as many bitmaps from k->begin on as MAX_KEYS allow. */
static void choose_end(struct keys *k)
{
	const struct space_map *map = &k->s->a->data_map;

	k->nr = 0;
	for (k->end = k->begin; k->end < map->nr_bitmaps; k->end++) {
		uint32_t shared = shared_in_page(map->bitmaps[k->end].page);

		if (k->nr + shared > MAX_KEYS)
			break;
		k->nr += shared;
	}
	assert(k->end > k->begin); /* one page has less than MAX_KEYS */
}

static void lay_out_page(struct page_keys *keys, const struct data_page *page,
			 uint32_t *next)
{
	for (uint32_t part = 0; part < PARTS_IN_PAGE; part++) {
		uint32_t begin = (uint32_t)thin_min(part * PART, page->nr);
		uint32_t end = (uint32_t)thin_min(begin + PART, page->nr);

		keys->base[part] = *next;
		*next += shared_in(page, begin, end);
	}
}

static void lay_out(struct keys *k)
{
	const struct bitmap *bitmaps = k->s->a->data_map.bitmaps;
	uint32_t next = 0;

	for (size_t b = k->begin; b < k->end; b++)
		if (bitmaps[b].page)
			lay_out_page(&k->pages[b - k->begin], bitmaps[b].page, &next);
	assert(next == k->nr);
	for (uint64_t i = 0; i < k->nr; i++)
		k->keys[i] = NO_KEY;
}

/* Where the key of @block is kept, or NULL if it is not (now). */
static uint64_t *key_slot(struct keys *k, uint64_t block)
{
	struct audit *a = k->s->a;
	const struct bitmap *b = block < a->nr_data ? audit_data_bitmap(a, block) : NULL;
	uint32_t i = (uint32_t)(block % THIN_COUNTS_PER_BITMAP), part = i / PART;
	size_t number;

	if (!b || !b->page || b->page->counts[i] < 2)
		return NULL;
	number = (size_t)(b - a->data_map.bitmaps);
	if (number < k->begin || number >= k->end)
		return NULL;
	return &k->keys[k->pages[number - k->begin].base[part] +
			shared_in(b->page, part * PART, i)];
}

/* --- suspects ----------------------------------------------------------- */

static void add(struct suspects *s, uint64_t block)
{
	if (s->nr == MAX_SUSPECTS)
		s->cut_short = true;
	else if (audit_room(s->a, &s->blocks, s->nr, &s->cap, sizeof(*s->blocks)))
		s->blocks[s->nr++] = block;
}

static void compare_leaf(void *ctx, uint64_t leaf, const struct thin_disk_node *n)
{
	struct keys *k = ctx;

	(void)leaf;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t block = thin_mapping_unpack(thin_node_value64(n, i)).data_block;
		uint64_t key = thin_node_key(n, i), *slot = key_slot(k, block);

		if (!slot || *slot == key || *slot == SUSPECT_KEY)
			continue;
		if (*slot == NO_KEY && key < SUSPECT_KEY) {
			*slot = key;
			continue;
		}
		*slot = SUSPECT_KEY;
		add(k->s, block);
	}
}

static void compare_keys(struct keys *k)
{
	struct audit *a = k->s->a;
	size_t nr_pages = k->end - k->begin;

	k->pages = audit_alloc(a, nr_pages, sizeof(*k->pages));
	k->keys = audit_alloc(a, (size_t)k->nr, sizeof(*k->keys));
	if (!a->failed) {
		lay_out(k);
		(void)audit_scan(a, 0, compare_leaf, k); /* no leaf, no suspect */
	}
	audit_free(a, k->pages, nr_pages, sizeof(*k->pages));
	audit_free(a, k->keys, (size_t)k->nr, sizeof(*k->keys));
}

static int compare_blocks(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void audit_find_suspects(struct suspects *s)
{
	struct keys k = {.s = s};

	if (!s->a->data.shared)
		return;
	for (; k.begin < s->a->data_map.nr_bitmaps && !audit_stopped(s->a);
	     k.begin = k.end) {
		choose_end(&k);
		if (k.nr)
			compare_keys(&k);
	}
	if (s->nr)
		qsort(s->blocks, s->nr, sizeof(*s->blocks), compare_blocks);
}

bool audit_is_suspect(const struct suspects *s, uint64_t block)
{
	return bsearch(&block, s->blocks, s->nr, sizeof(*s->blocks), compare_blocks);
}

void audit_free_suspects(struct suspects *s)
{
	audit_free(s->a, s->blocks, s->cap, sizeof(*s->blocks));
}
