/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <errno.h>

/*
 * What deleting a device would cost, and bringing in what it needs.
 *
 * Its mappings are walked a leaf at a time, each under the shared lock for a
 * moment only.  So no count is exact while others make changes.
 */

/* --- what is shared ------------------------------------------------------- */

static int shared_block(struct thin_metadata *m, uint64_t block, bool *ret)
{
	uint32_t count;
	int r = thin_sm_count(m->tm.sm, block, &count);

	*ret = count > 1;
	return r;
}

int thin_find_shared(struct thin_metadata *m, const struct thin_leaf *leaf, int *ret)
{
	*ret = -1;
	for (uint32_t i = 0; i < leaf->depth && *ret < 0; i++) {
		bool shared;
		int r = shared_block(m, leaf->path[i], &shared);

		if (r)
			return r;
		if (shared)
			*ret = (int)i;
	}
	return 0;
}

/* --- the work of a delete -------------------------------------------------- */

struct work {
	struct thin_device *d;
	uint64_t key; /* from where to go on */
	uint64_t nr;  /* so far */
	bool done;
};

/* One leaf, or one shared part of the tree, a call. */
static int look_work(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct work *w = ctx;
	struct thin_leaf leaf;
	int shared, r;

	if (w->d->gone)
		return -ENOENT;
	r = thin_btree_seek(rd, THIN_VALUE_BLOCK, w->d->root, w->key, &leaf);
	if (r == -ENODATA) {
		w->done = true;
		return 0;
	}
	if (!r)
		r = thin_find_shared(m, &leaf, &shared);
	if (r)
		return r;
	w->nr += shared < 0 ? thin_node_nr(leaf.node) - leaf.index : 1;
	w->key = shared < 0 ? leaf.end : leaf.path_end[shared];
	w->done = w->key == 0;
	return 0;
}

int thin_metadata_delete_work(struct thin_device *d, uint64_t max, uint64_t *ret)
{
	struct work w = {.d = d};
	int r = 0;

	while (!r && !w.done && w.nr <= max)
		r = thin_look(d->m, look_work, &w);
	if (!r)
		*ret = w.nr;
	return r;
}

/* --- bringing it in --------------------------------------------------------- */

static int look_leaf(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct work *w = ctx;
	struct thin_leaf leaf;
	int r;

	(void)m;
	if (w->d->gone)
		return -ENOENT;
	r = thin_btree_seek(rd, THIN_VALUE_BLOCK, w->d->root, w->key, &leaf);
	if (r && r != -ENODATA)
		return r;
	w->key = r ? 0 : leaf.end;
	w->done = w->key == 0;
	return 0;
}

int thin_metadata_warm(struct thin_device *d, uint64_t begin, unsigned nr,
		       uint64_t *ret_end)
{
	struct work w = {.d = d, .key = begin};
	int r = 0;

	for (unsigned i = 0; i < nr && !r && !w.done; i++)
		r = thin_look(d->m, look_leaf, &w);
	if (!r)
		*ret_end = w.done ? UINT64_MAX : w.key;
	return r;
}
