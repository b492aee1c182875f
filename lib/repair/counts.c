/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "format/space_map_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * The references that there are, counted from the new roots.
 *
 * By now every node is one of ours or one that was judged sound, so what is
 * read is what is expected; what is not is an error.  On the way, what stays
 * of the old metadata is copied to where the new ones are made.
 */

/* --- data ----------------------------------------------------------------- */

static uint32_t page_get(const struct count_page *page, uint32_t i)
{
	uint32_t wide;

	if (!page->wide)
		return page->counts[i];
	memcpy(&wide, page->counts + (size_t)i * sizeof(wide), sizeof(wide));
	return wide;
}

static void page_set(struct count_page *page, uint32_t i, uint32_t count)
{
	if (page->wide)
		memcpy(page->counts + (size_t)i * sizeof(count), &count, sizeof(count));
	else
		page->counts[i] = (uint8_t)count;
}

static struct count_page *new_page(bool wide)
{
	struct count_page *page =
		calloc(1, sizeof(*page) + THIN_COUNTS_PER_BITMAP * (wide ? 4 : 1));

	if (page)
		page->wide = wide;
	return page;
}

static int widen(struct count_page **p)
{
	struct count_page *wide = new_page(true);

	if (!wide)
		return -ENOMEM;
	for (uint32_t i = 0; i < THIN_COUNTS_PER_BITMAP; i++)
		page_set(wide, i, page_get(*p, i));
	free(*p);
	*p = wide;
	return 0;
}

static int count_data(struct repair *r, uint64_t dblock)
{
	struct count_page **p = &r->pages[dblock / THIN_COUNTS_PER_BITMAP];
	uint32_t i = (uint32_t)(dblock % THIN_COUNTS_PER_BITMAP);
	int err = 0;

	if (!*p)
		*p = new_page(false);
	if (!*p)
		return -ENOMEM;
	if (!(*p)->wide && page_get(*p, i) == UINT8_MAX)
		err = widen(p);
	if (!err)
		page_set(*p, i, page_get(*p, i) + 1);
	return err;
}

uint32_t data_count(const struct repair *r, uint64_t dblock)
{
	const struct count_page *page = r->pages[dblock / THIN_COUNTS_PER_BITMAP];

	return page ? page_get(page, (uint32_t)(dblock % THIN_COUNTS_PER_BITMAP)) : 0;
}

void counts_fini(struct repair *r)
{
	for (uint64_t i = 0; i < r->nr_pages; i++)
		free(r->pages[i]);
	free(r->pages);
}

/* --- nodes ---------------------------------------------------------------- */

/* Count a reference to @block.  @ret: it was the first, and @buf has it. */
static int meet(struct repair *r, enum thin_block_kind kind, uint64_t block, void *buf,
		bool *ret)
{
	bool old;
	int err;

	if (block >= r->nr_new)
		return -EILSEQ;
	*ret = r->taken[block] == TAKEN_OLD || r->taken[block] == TAKEN_FRESH;
	r->refs[block]++;
	if (!*ret)
		return 0;
	err = read_new(r, block, buf);
	if (!err)
		err = thin_block_verify(kind, buf, block);
	if (err)
		return err;
	old = r->taken[block] == TAKEN_OLD;
	r->taken[block] = old ? TAKEN_COUNTED_OLD : TAKEN_COUNTED_FRESH;
	if (!old || r->p->to == r->p->from)
		return 0;
	return thin_storage_write_at(r->p->to, block * THIN_METADATA_BLOCK, buf,
				     THIN_METADATA_BLOCK);
}

static int count_tree(struct repair *r, enum repair_tree tree, uint64_t block);

static int count_entry(struct repair *r, enum repair_tree tree,
		       const struct thin_disk_node *n, uint32_t i)
{
	struct thin_packed_mapping m;

	if (!thin_node_is_leaf(n))
		return count_tree(r, tree, thin_node_value64(n, i));
	if (tree == REPAIR_TOP)
		return count_tree(r, REPAIR_DEVICE, thin_node_value64(n, i));
	if (tree == REPAIR_DETAILS)
		return 0;
	m = thin_mapping_unpack(thin_node_value64(n, i));
	if (m.data_block / THIN_COUNTS_PER_BITMAP >= r->nr_pages)
		return -EILSEQ;
	return count_data(r, m.data_block);
}

static int count_tree(struct repair *r, enum repair_tree tree, uint64_t block)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	const struct thin_disk_node *n = (const struct thin_disk_node *)buf;
	bool first;
	int err = meet(r, THIN_NODE, block, buf, &first);

	if (err || !first)
		return err;
	for (uint32_t i = 0; i < thin_node_nr(n) && !err; i++)
		err = count_entry(r, tree, n, i);
	return err;
}

static int count_held(struct repair *r)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	bool first;
	int err = meet(r, THIN_SUPERBLOCK, r->held, buf, &first);

	if (!err)
		err = count_tree(r, REPAIR_TOP, r->held_top);
	return err ? err : count_tree(r, REPAIR_DETAILS, r->held_details);
}

int count_all(struct repair *r, uint64_t top, uint64_t details)
{
	int err;

	r->refs[0] = 1;
	r->nr_pages = thin_nr_bitmaps(r->nr_data);
	r->pages = calloc(r->nr_pages + 1, sizeof(struct count_page *));
	if (!r->pages)
		return -ENOMEM;
	err = count_tree(r, REPAIR_TOP, top);
	if (!err)
		err = count_tree(r, REPAIR_DETAILS, details);
	if (!err && r->held)
		err = count_held(r);
	return err;
}
