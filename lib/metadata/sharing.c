/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <errno.h>

/*
 * What a device has for itself, and what deleting it would cost.
 *
 * Both walk its mappings a leaf at a time, each under the shared lock for
 * a moment only, and pass over what is shared as a whole subtree: what is
 * below a node that others refer to as well would survive a delete.  So
 * neither is exact while others make changes.
 */

/* --- what is shared ------------------------------------------------------- */

static int shared_block(struct thin_metadata *m, uint64_t block, bool *ret)
{
	uint32_t count;
	int r = thin_sm_count(m->tm.sm, block, &count);

	*ret = count > 1;
	return r;
}

/*
 * The highest node on the way to @leaf that others refer to as well, or -1.
 * What is below it would survive a delete.
 */
static int find_shared(struct thin_metadata *m, const struct thin_leaf *leaf, int *ret)
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

/* --- exclusive blocks ----------------------------------------------------- */

struct exclusive {
	struct thin_device *d;
	uint64_t key; /* from where to go on */
	uint64_t nr;  /* exclusive ones up to there */
	bool done;
};

static int count_single(struct thin_metadata *m, struct thin_reader *rd,
			const struct thin_leaf *leaf, uint64_t *ret)
{
	uint64_t nr = 0;

	for (uint32_t i = leaf->index; i < thin_node_nr(leaf->node); i++) {
		uint64_t v = thin_node_value64(leaf->node, i);
		bool single;
		int r = thin_sm_disk_is_single(
			m->sm_data, rd, thin_mapping_unpack(v).data_block, &single);

		if (r)
			return r;
		nr += single;
	}
	*ret = nr;
	return 0;
}

/* One leaf, or one shared part of the tree, a call. */
static int look_exclusive(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct exclusive *x = ctx;
	struct thin_leaf leaf;
	uint64_t nr = 0;
	int shared, r;

	if (x->d->gone)
		return -ENOENT;
	r = thin_btree_seek(rd, THIN_VALUE_BLOCK, x->d->root, x->key, &leaf);
	if (r == -ENODATA) {
		x->done = true;
		return 0;
	}
	if (r)
		return r;
	r = find_shared(m, &leaf, &shared);
	if (!r && shared < 0)
		r = count_single(m, rd, &leaf, &nr);
	if (r)
		return r;
	x->nr += nr;
	x->key = shared < 0 ? leaf.end : leaf.path_end[shared];
	x->done = x->key == 0;
	return 0;
}

/* A held metadata snapshot may share the top level, and so all below it. */
static int look_top(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct exclusive *x = ctx;
	struct thin_leaf leaf;
	int shared, r;

	if (x->d->gone)
		return -ENOENT;
	r = thin_btree_seek(rd, THIN_VALUE_BLOCK, m->top_root, x->d->info.id, &leaf);
	if (!r)
		r = find_shared(m, &leaf, &shared);
	if (!r)
		x->done = shared >= 0;
	return r;
}

int thin_metadata_exclusive(struct thin_device *d, uint64_t *ret_blocks)
{
	struct exclusive x = {.d = d};
	int r = thin_look(d->m, look_top, &x);

	while (!r && !x.done)
		r = thin_look(d->m, look_exclusive, &x);
	if (!r)
		*ret_blocks = x.nr;
	return r;
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
		r = find_shared(m, &leaf, &shared);
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
