/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include "format/space_map_layout.h"
#include "util/checked.h"

#include <assert.h>
#include <errno.h>

/*
 * Mappings.
 *
 * Whether a block is shared is told by times, not by counts (I4): a mapping
 * older than its device's last snapshot may be shared, and must be copied
 * before it is written.  That errs only to the safe side: after the other
 * side is gone, one copy too many.
 */

/* --- looking up ------------------------------------------------------------- */

struct lookup {
	struct thin_device *d;
	uint64_t begin, end;
	struct thin_run *runs;
	size_t max, nr;
};

static bool continues(const struct thin_run *run, const struct thin_run *next)
{
	if (run->mapped != next->mapped || run->shared != next->shared)
		return false;
	return !run->mapped || run->dblock + run->nr == next->dblock;
}

/* False when there is no room for it. */
static bool append(struct lookup *l, struct thin_run next)
{
	if (l->nr && continues(&l->runs[l->nr - 1], &next)) {
		l->runs[l->nr - 1].nr += next.nr;
		return true;
	}
	if (l->nr == l->max)
		return false;
	l->runs[l->nr++] = next;
	return true;
}

static bool append_unmapped(struct lookup *l, uint64_t begin, uint64_t end)
{
	return begin == end ||
	       append(l, (struct thin_run){.vblock = begin, .nr = end - begin});
}

static bool append_mapping(struct lookup *l, uint64_t vblock,
			   struct thin_packed_mapping mapping)
{
	return append(l, (struct thin_run){
				 .vblock = vblock,
				 .nr = 1,
				 .dblock = mapping.data_block,
				 .mapped = true,
				 .shared = mapping.time < l->d->info.snapshotted_time,
			 });
}

/*
 * The entries of @leaf from its index on.  @pos: how far we are.
 * Returns 0; -ENOBUFS when the runs are full; -EILSEQ.
 */
static int add_leaf(struct lookup *l, const struct thin_leaf *leaf, uint64_t *pos)
{
	uint64_t nr_data = thin_sm_disk_nr_blocks(l->d->m->sm_data);

	for (uint32_t i = leaf->index; i < thin_node_nr(leaf->node); i++) {
		uint64_t key = thin_node_key(leaf->node, i);
		struct thin_packed_mapping mapping =
			thin_mapping_unpack(thin_node_value64(leaf->node, i));

		if (key >= l->end)
			break;
		if (mapping.data_block >= nr_data)
			return -EILSEQ;
		if (!append_unmapped(l, *pos, key))
			return -ENOBUFS;
		*pos = key;
		if (!append_mapping(l, key, mapping))
			return -ENOBUFS;
		*pos = key + 1;
	}
	return 0;
}

/* Where the leaf ends, and so the next has to be sought; @end at most. */
static uint64_t leaf_end(const struct lookup *l, const struct thin_leaf *leaf)
{
	return leaf->end ? thin_min(leaf->end, l->end) : l->end;
}

static int fill_runs(struct lookup *l, struct thin_reader *rd)
{
	uint64_t pos = l->begin;

	while (pos < l->end) {
		struct thin_leaf leaf;
		int r;

		r = thin_btree_seek(rd, THIN_VALUE_BLOCK, l->d->root, pos, &leaf);
		if (r == -ENODATA) {
			(void)append_unmapped(l, pos,
					      l->end); /* full: then it is for later */
			return 0;
		}
		if (r)
			return r;
		r = add_leaf(l, &leaf, &pos);
		if (r)
			return r;
		if (!append_unmapped(l, pos, leaf_end(l, &leaf)))
			return -ENOBUFS;
		pos = leaf_end(l, &leaf);
	}
	return 0;
}

/* What has been found is an answer, even where the rest is missing or too much. */
static int look_runs(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct lookup *l = ctx;
	int r;

	(void)m;
	l->nr = 0;
	if (l->d->gone)
		return -ENOENT;
	r = fill_runs(l, rd);
	if (l->nr && (r == -EWOULDBLOCK || r == -ENOBUFS))
		return 0;
	return r;
}

int thin_metadata_lookup(struct thin_device *d, uint64_t begin, uint64_t end,
			 struct thin_run *ret_runs, size_t max, size_t *ret_nr)
{
	struct lookup l = {
		.d = d, .begin = begin, .end = end, .runs = ret_runs, .max = max};
	int r;

	assert(max);
	r = thin_look(d->m, look_runs, &l);
	if (!r)
		*ret_nr = l.nr;
	return r;
}

/* --- reserving and inserting --------------------------------------------------- */

int thin_metadata_reserve(struct thin_metadata *m, uint64_t want, uint64_t *ret_dblock,
			  uint64_t *ret_nr)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_grow(m, 0);
	if (!r)
		r = thin_sm_disk_reserve(m->sm_data, want, ret_dblock, ret_nr);
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

void thin_metadata_unreserve(struct thin_metadata *m, uint64_t dblock, uint64_t nr)
{
	thin_sharded_write(&m->tree_lock);
	if (m->sm_data)
		thin_sm_disk_unreserve(m->sm_data, dblock, nr);
	thin_sharded_write_end(&m->tree_lock);
}

/* What @vblock is mapped to now, to be let go of.  @ret_was: was it? */
static int find_old(struct thin_device *d, uint64_t vblock, bool *ret_was,
		    uint64_t *ret_dblock)
{
	struct thin_reader rd = {.cache = d->m->cache, .may_load = true};
	struct le64 v;
	int r = thin_btree_lookup(&rd, THIN_VALUE_BLOCK, d->root, vblock, &v);

	*ret_was = !r;
	if (!r)
		*ret_dblock = thin_mapping_unpack(le64_get(v)).data_block;
	return r == -ENODATA ? 0 : r;
}

static int insert_one(struct thin_metadata *m, struct thin_device *d, uint64_t vblock,
		      uint64_t dblock) THIN_REQUIRES(m->tree_lock)
{
	struct thin_btree mappings = thin_mapping_tree(m);
	struct le64 v = le64_of(thin_mapping_pack(dblock, m->time));
	uint64_t old, root;
	bool was;
	int r;

	thin_cache_begin_op(m->cache);
	r = thin_sm_disk_insert(m->sm_data, dblock);
	if (r)
		return r;
	r = find_old(d, vblock, &was, &old);
	if (r)
		return r;
	r = thin_btree_insert(&mappings, d->root, vblock, &v, &root);
	if (r)
		return r;
	r = thin_device_set_root(m, d, root);
	if (r)
		return r;
	d->info.mapped_blocks += !was;
	return was ? thin_sm_dec(thin_sm_disk_interface(m->sm_data), old) : 0;
}

static int insert_all(struct thin_metadata *m, struct thin_device *d, uint64_t vblock,
		      uint64_t dblock, uint64_t nr) THIN_REQUIRES(m->tree_lock)
{
	int r = thin_device_expose(m, d);

	d->details_dirty = true;
	d->changed = m->transaction;
	for (uint64_t i = 0; i < nr && !r; i++)
		r = insert_one(m, d, vblock + i, dblock + i);
	return r;
}

/* A leaf holds at least 84 entries; the paths come out of the reserve. */
#define BLOCKS_FOR(nr) ((nr) / 84)

int thin_metadata_insert(struct thin_device *d, uint64_t vblock, uint64_t dblock,
			 uint64_t nr)
{
	struct thin_metadata *m = d->m;
	uint64_t end;
	int r;

	if (!thin_add_ok(vblock, nr, &end))
		return -ERANGE;
	thin_sharded_write(&m->tree_lock);
	r = d->gone ? -ENOENT : thin_may_grow(m, BLOCKS_FOR(nr));
	if (!r)
		r = thin_changed(m, insert_all(m, d, vblock, dblock, nr));
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/* --- removing --------------------------------------------------------------------- */

/*
 * Removing takes metadata, too: what it takes for the paths, which the smallest
 * reserve has, and a block for each bitmap of the data map that it is the first
 * to change, with the leaf of the index that names it.  A leaf's blocks may lie
 * in as many bitmaps as it has entries.  Where there may not be room for that,
 * fewer go at a time, and the caller commits in between.
 */
static bool room_for(struct thin_metadata *m, uint64_t nr)
{
	uint64_t bitmaps = thin_nr_bitmaps(thin_sm_disk_nr_blocks(m->sm_data));
	uint64_t leaves =
		bitmaps / thin_node_min(thin_node_capacity(THIN_VALUE_INDEX)) + 1;

	return thin_sm_metadata_nr_free(m->sm_metadata) >=
	       THIN_RESERVE_MIN + thin_min(nr, bitmaps) + thin_min(nr, leaves);
}

/* Where the mappings from @begin on end that can be removed at once. */
static int affordable_end(struct thin_metadata *m, struct thin_device *d, uint64_t begin,
			  uint64_t end, uint64_t *ret)
{
	struct thin_reader rd = {.cache = m->cache, .may_load = true};
	uint32_t nr = thin_node_capacity(THIN_VALUE_BLOCK);
	struct thin_leaf leaf;
	int r;

	*ret = end;
	if (room_for(m, nr))
		return 0;
	while (nr > 1 && !room_for(m, nr))
		nr /= 2;
	r = thin_btree_seek(&rd, THIN_VALUE_BLOCK, d->root, begin, &leaf);
	if (!r && leaf.index + nr < thin_node_nr(leaf.node))
		*ret = thin_min(end, thin_node_key(leaf.node, leaf.index + nr));
	return r == -ENODATA ? 0 : r;
}

static int remove_some(struct thin_metadata *m, struct thin_device *d, uint64_t *begin,
		       uint64_t end, uint64_t max, uint64_t *removed)
	THIN_REQUIRES(m->tree_lock)
{
	struct thin_btree mappings = thin_mapping_tree(m);

	while (*begin < end && *removed < max && (!*removed || room_for(m, 1))) {
		uint64_t root, until;
		uint32_t nr;
		int r;

		thin_cache_begin_op(m->cache);
		r = affordable_end(m, d, *begin, end, &until);
		if (r)
			return r;
		r = thin_btree_remove(&mappings, d->root, *begin, until, &root, begin,
				      &nr);
		if (r)
			return r;
		if (nr > d->info.mapped_blocks)
			return -EILSEQ;
		r = thin_device_set_root(m, d, root);
		if (r)
			return r;
		d->info.mapped_blocks -= nr;
		*removed += nr;
	}
	return 0;
}

/* Is anything mapped there at all?  What changes nothing must not be a change. */
static int any_mapped(struct thin_device *d, uint64_t begin, uint64_t end, bool *ret)
{
	struct thin_reader rd = {.cache = d->m->cache, .may_load = true};
	struct thin_leaf leaf;
	int r = thin_btree_seek(&rd, THIN_VALUE_BLOCK, d->root, begin, &leaf);

	*ret = !r && thin_node_key(leaf.node, leaf.index) < end;
	return r == -ENODATA ? 0 : r;
}

static int remove_range(struct thin_metadata *m, struct thin_device *d, uint64_t begin,
			uint64_t end, uint64_t max, uint64_t *ret_next,
			uint64_t *ret_removed) THIN_REQUIRES(m->tree_lock)
{
	bool any;
	int r;

	*ret_next = end;
	*ret_removed = 0;
	r = any_mapped(d, begin, end, &any);
	if (r || !any)
		return r;
	d->details_dirty = true;
	d->changed = m->transaction;
	r = thin_device_expose(m, d);
	if (!r)
		r = remove_some(m, d, &begin, end, max, ret_removed);
	*ret_next = begin;
	return thin_changed(m, r);
}

int thin_metadata_remove_range(struct thin_device *d, uint64_t begin, uint64_t end,
			       uint64_t max, uint64_t *ret_next, uint64_t *ret_removed)
{
	struct thin_metadata *m = d->m;
	uint64_t next = end, removed = 0;
	int r;

	thin_sharded_write(&m->tree_lock);
	r = d->gone ? -ENOENT : thin_may_change(m);
	if (!r)
		r = remove_range(m, d, begin, end, max, &next, &removed);
	thin_sharded_write_end(&m->tree_lock);
	if (r)
		return r;
	*ret_next = next;
	if (ret_removed)
		*ret_removed = removed;
	return 0;
}
