/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/doubles.h"

#include "audit/tree.h"
#include "util/checked.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

/*
 * A device that maps a data block twice.
 *
 * Two mappings of one data block are normal: after a snapshot, two devices
 * have them.  But then both have them at the same key, since nothing but a
 * snapshot shares data.  So:
 *
 *   1. Of the data blocks that are mapped more than once (the counts know)
 *      find those that are mapped at two different keys: the suspects.
 *      One scan of all leaves, whichever device they belong to, with a key
 *      for each shared block; as many blocks at a time as MAX_KEYS allow.
 *   2. If there are any, mark the nodes that lead to them.
 *   3. For each device follow only these, and compare its suspects.
 *
 * Sound pools end after the first step.  No trust is put into it: that two
 * keys are equal is exact, and a device can not have the same key twice
 * (KEY_ORDER, PARENT_KEY_HIGH and CHILD_KEY_HIGH say so if it does).
 */

/* Keys remembered at a time: 64 MiB. */
#define MAX_KEYS (UINT64_C(8) << 20)

/* Beyond these it is no use to go into detail. */
#define MAX_SUSPECTS 4096u
#define MAX_FOUND    (1u << 20)

#define PART	      64u
#define PARTS_IN_PAGE (THIN_COUNTS_PER_BITMAP / PART)

/* No key yet: a real one is never that high; if it is, it is suspect. */
#define NO_KEY UINT64_MAX

/* A suspect as a device has it. */
struct sighting {
	uint64_t dblock;
	uint64_t vblock;
	uint64_t leaf;
};

/* Where the keys of a page begin, for each 64 of its blocks. */
struct page_keys {
	uint32_t base[PARTS_IN_PAGE];
};

struct search {
	struct audit *a;
	uint64_t *suspects; /* ascending, once they are all there */
	size_t nr_suspects;
	size_t cap_suspects;
	bool cut_short;

	/* The keys of bitmaps [begin, end). */
	size_t begin, end;
	struct page_keys *pages;
	uint64_t *keys;
	size_t nr_keys;

	/* The device that is gone through. */
	struct sighting *found;
	size_t nr_found;
	size_t cap_found;
};

/* --- scanning all nodes ------------------------------------------------- */

typedef void node_fn(struct search *s, uint64_t block, const struct thin_disk_node *n);

static bool has_height(const struct memo *m, unsigned height)
{
	bool leaf = m->inner_max == 0;

	return m->role == ROLE_TREE + TREE_DEVICE && !(m->flags & MEMO_UNREADABLE) &&
	       m->height == height && leaf == (height == 0);
}

/* The block as a node; NULL where it is none (any more). */
static const struct thin_disk_node *node_of(const struct batch *b, uint64_t block)
{
	struct thin_finding ignored;
	int status = 0;
	const void *data = audit_batch_get(b, block, &status);

	if (!data || audit_block_fault(THIN_NODE, block, data, status, &ignored) ||
	    audit_node_fault(data, THIN_VALUE_BLOCK, &ignored))
		return NULL;
	return data;
}

static void scan_group(struct search *s, const uint64_t *blocks, size_t nr, node_fn *fn)
{
	struct batch *batch = &s->a->batch;

	audit_batch_clear(batch);
	for (size_t i = 0; i < nr; i++)
		audit_batch_add(batch, blocks[i]);
	audit_load(s->a, batch);
	for (size_t i = 0; i < nr && !audit_stopped(s->a); i++) {
		const struct thin_disk_node *n = node_of(batch, blocks[i]);

		if (n)
			fn(s, blocks[i], n);
	}
}

/* Call @fn for each node of mapping trees with @height; false if there is none. */
static bool scan(struct search *s, unsigned height, node_fn *fn)
{
	struct audit *a = s->a;
	uint64_t group[GROUP];
	size_t nr = 0;
	bool any = false;

	for (uint64_t block = 0; block < a->nr_blocks && !audit_stopped(a); block++) {
		if (!has_height(&a->memo[block], height))
			continue;
		any = true;
		group[nr++] = block;
		if (nr == GROUP) {
			scan_group(s, group, nr, fn);
			nr = 0;
		}
	}
	if (nr)
		scan_group(s, group, nr, fn);
	return any;
}

/* --- step 1: suspects --------------------------------------------------- */

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

/* The number in its page of @block, if that page is of ours and it is shared. */
static struct data_page *shared_block(struct search *s, uint64_t block,
				      size_t *ret_bitmap, uint32_t *ret_i)
{
	struct audit *a = s->a;
	struct bitmap *b = block < a->nr_data ? audit_data_bitmap(a, block) : NULL;

	if (!b || !b->page)
		return NULL;
	*ret_bitmap = (size_t)(b - a->data_map.bitmaps);
	*ret_i = (uint32_t)(block % THIN_COUNTS_PER_BITMAP);
	return b->page->counts[*ret_i] > 1 ? b->page : NULL;
}

static uint64_t *key_slot(struct search *s, uint64_t block)
{
	size_t bitmap;
	uint32_t i, part;
	const struct data_page *page = shared_block(s, block, &bitmap, &i);

	if (!page || bitmap < s->begin || bitmap >= s->end)
		return NULL;
	part = i / PART;
	return &s->keys[s->pages[bitmap - s->begin].base[part] +
			shared_in(page, part * PART, i)];
}

static void add_suspect(struct search *s, uint64_t block)
{
	if (s->nr_suspects == MAX_SUSPECTS)
		s->cut_short = true;
	else if (audit_room(s->a, &s->suspects, s->nr_suspects, &s->cap_suspects,
			    sizeof(*s->suspects)))
		s->suspects[s->nr_suspects++] = block;
}

static void compare_keys(struct search *s, uint64_t leaf, const struct thin_disk_node *n)
{
	(void)leaf;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t block = thin_mapping_unpack(thin_node_value64(n, i)).data_block;
		uint64_t key = thin_node_key(n, i);
		uint64_t *slot = key_slot(s, block);

		if (!slot)
			continue;
		if (key == NO_KEY || (*slot != NO_KEY && *slot != key))
			add_suspect(s, block);
		*slot = key;
	}
}

/* How many bitmaps from @begin on have no more than MAX_KEYS shared blocks? */
static size_t choose_end(const struct space_map *map, size_t begin, uint64_t *ret_keys)
{
	size_t end = begin;
	uint64_t keys = 0;

	for (; end < map->nr_bitmaps; end++) {
		const struct data_page *page = map->bitmaps[end].page;
		uint32_t shared = page ? shared_in(page, 0, page->nr) : 0;

		if (keys + shared > MAX_KEYS)
			break;
		keys += shared;
	}
	*ret_keys = keys;
	return end;
}

static void lay_out_keys(struct search *s)
{
	uint32_t next = 0;

	for (size_t b = s->begin; b < s->end; b++) {
		const struct data_page *page = s->a->data_map.bitmaps[b].page;

		for (uint32_t part = 0; page && part < PARTS_IN_PAGE; part++) {
			uint32_t begin = part * PART;
			uint32_t end = (uint32_t)thin_min(begin + PART, page->nr);

			s->pages[b - s->begin].base[part] = next;
			next += shared_in(page, begin, end);
		}
	}
	for (size_t i = 0; i < s->nr_keys; i++)
		s->keys[i] = NO_KEY;
}

static void find_suspects(struct search *s)
{
	struct audit *a = s->a;
	uint64_t keys;

	for (s->begin = 0; s->begin < a->data_map.nr_bitmaps && !audit_stopped(a);
	     s->begin = s->end) {
		s->end = choose_end(&a->data_map, s->begin, &keys);
		s->nr_keys = (size_t)keys;
		assert(s->end > s->begin);
		if (!keys)
			continue;
		s->pages = audit_alloc(a, s->end - s->begin, sizeof(*s->pages));
		s->keys = audit_alloc(a, s->nr_keys, sizeof(*s->keys));
		if (!a->failed) {
			lay_out_keys(s);
			(void)scan(s, 0, compare_keys); /* no leaf, no suspect */
		}
		audit_free(a, s->pages, s->end - s->begin, sizeof(*s->pages));
		audit_free(a, s->keys, s->nr_keys, sizeof(*s->keys));
	}
}

/* --- step 2: marks ------------------------------------------------------ */

static int compare_blocks(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_suspect(const struct search *s, uint64_t block)
{
	return bsearch(&block, s->suspects, s->nr_suspects, sizeof(*s->suspects),
		       compare_blocks);
}

static void mark_leaf(struct search *s, uint64_t leaf, const struct thin_disk_node *n)
{
	for (uint32_t i = 0; i < thin_node_nr(n); i++)
		if (is_suspect(s,
			       thin_mapping_unpack(thin_node_value64(n, i)).data_block))
			s->a->memo[leaf].flags |= MEMO_SUSPECT;
}

static bool is_marked(const struct audit *a, uint64_t block)
{
	return audit_in_range(a, block) && a->memo[block].flags & MEMO_SUSPECT;
}

static void mark_internal(struct search *s, uint64_t block,
			  const struct thin_disk_node *n)
{
	for (uint32_t i = 0; i < thin_node_nr(n); i++)
		if (is_marked(s->a, thin_node_value64(n, i)))
			s->a->memo[block].flags |= MEMO_SUSPECT;
}

static void mark(struct search *s)
{
	qsort(s->suspects, s->nr_suspects, sizeof(*s->suspects), compare_blocks);
	if (!scan(s, 0, mark_leaf))
		return;
	for (unsigned height = 1; height < THIN_MAX_TREE_DEPTH; height++)
		if (!scan(s, height, mark_internal))
			return;
}

/* --- step 3: devices ---------------------------------------------------- */

static void sight(struct search *s, uint64_t leaf, const struct thin_disk_node *n)
{
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t dblock = thin_mapping_unpack(thin_node_value64(n, i)).data_block;

		if (!is_suspect(s, dblock))
			continue;
		if (s->nr_found == MAX_FOUND) {
			s->cut_short = true;
			return;
		}
		if (!audit_room(s->a, &s->found, s->nr_found, &s->cap_found,
				sizeof(*s->found)))
			return;
		s->found[s->nr_found++] =
			(struct sighting){dblock, thin_node_key(n, i), leaf};
	}
}

static void collect(struct search *s, uint64_t block, unsigned depth)
{
	struct audit *a = s->a;
	const struct thin_disk_node *n;
	struct batch *batch;

	if (!is_marked(a, block) || audit_stopped(a) || depth >= THIN_MAX_TREE_DEPTH)
		return;
	if (!a->spare_reads) {
		s->cut_short = true;
		return;
	}
	a->spare_reads--;
	if (!audit_level_ready(a, depth))
		return;
	batch = &a->level[depth].batch;
	audit_batch_clear(batch);
	audit_batch_add(batch, block);
	audit_load(a, batch);
	n = node_of(batch, block);
	if (!n)
		return;
	if (thin_node_is_leaf(n))
		sight(s, block, n);
	for (uint32_t i = 0; !thin_node_is_leaf(n) && i < thin_node_nr(n); i++)
		collect(s, thin_node_value64(n, i), depth + 1);
}

static int compare_sightings(const void *a, const void *b)
{
	const struct sighting *x = a, *y = b;

	if (x->dblock != y->dblock)
		return x->dblock < y->dblock ? -1 : 1;
	return x->vblock < y->vblock ? -1 : x->vblock > y->vblock;
}

static void check_device(struct search *s, uint64_t device, uint64_t root, bool held)
{
	s->nr_found = 0;
	collect(s, root, 0);
	if (s->nr_found)
		qsort(s->found, s->nr_found, sizeof(*s->found), compare_sightings);
	for (size_t i = 1; i < s->nr_found; i++) {
		const struct sighting *x = &s->found[i];
		struct thin_finding f =
			audit_range_finding(THIN_AUDIT_DOUBLE_MAPPING, THIN_AUDIT_VBLOCKS,
					    x->vblock, x->vblock);

		f.held = held;
		f.device = device;
		f.block = x->leaf;
		f.found = s->found[i - 1].vblock;
		if (s->found[i - 1].dblock == x->dblock)
			audit_report(s->a, &f);
	}
}

void audit_check_doubles(struct audit *a)
{
	struct search s = {.a = a};
	struct thin_finding limit = audit_range_finding(
		THIN_AUDIT_WORK_LIMIT, THIN_AUDIT_DBLOCKS, 0, UINT64_MAX);

	if (a->data.shared)
		find_suspects(&s);
	if (s.nr_suspects && !audit_stopped(a)) {
		mark(&s);
		for (size_t i = 0; i < a->nr_devices && !audit_stopped(a); i++)
			check_device(&s, a->devices[i].id, a->devices[i].root,
				     i >= a->nr_live_devices);
	}
	if (s.cut_short)
		audit_report(a, &limit);
	audit_free(a, s.suspects, s.cap_suspects, sizeof(*s.suspects));
	audit_free(a, s.found, s.cap_found, sizeof(*s.found));
}
