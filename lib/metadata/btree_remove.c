/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/btree_internal.h"

#include <assert.h>
#include <errno.h>

/*
 * Removal, a leaf at a time.
 *
 * First the leaf is looked at.  If all of it goes, only its parent is
 * shadowed, and the leaf loses a reference: it is neither copied nor, if
 * others share it, are its values touched.  Otherwise the leaf is shadowed
 * as well, and some of its entries are taken out.
 *
 * Where the leaf's parent, too, is shared and goes as a whole, it is the
 * parent that loses a reference: it is not copied, only counted, so that
 * what is shared costs no metadata, and a reference instead of hundreds.
 *
 * Then, from the bottom up: a node less than a third full is merged with a
 * neighbour when the two fit in two thirds of a node, and evened out with it
 * otherwise (B1).  A root with a single child gives way to that child; the
 * reference that named the child then comes from where the root was named,
 * so no count changes but the root's own.
 */

struct path {
	struct thin_shadow step[THIN_MAX_TREE_DEPTH];
	uint32_t depth;
};

/* Shadow the first @depth nodes on the way to @key. */
static int shadow_path(const struct thin_btree *t, uint64_t root, uint64_t key,
		       uint32_t depth, struct path *p)
{
	int r;

	assert(depth > 0 && depth <= THIN_MAX_TREE_DEPTH);
	r = thin_shadow_node(t, root, &p->step[0]);
	for (p->depth = 1; p->depth < depth && !r; p->depth++) {
		struct thin_shadow *parent = &p->step[p->depth - 1];
		int i = thin_node_search(parent->node, key);

		r = thin_shadow_child(t, parent, i < 0 ? 0 : (uint32_t)i, parent + 1);
	}
	return r;
}

/* --- mending what got too small ---------------------------------------- */

static void merge(const struct thin_shadow *left, struct thin_shadow *right)
{
	thin_node_shift_left(left->node, right->node, thin_node_nr(right->node));
}

static void even_out(const struct thin_shadow *left, struct thin_shadow *right)
{
	uint32_t nl = thin_node_nr(left->node), nr = thin_node_nr(right->node);
	uint32_t half = (nl + nr) / 2;

	if (nl < half)
		thin_node_shift_left(left->node, right->node, half - nl);
	else
		thin_node_shift_right(left->node, right->node, nl - half);
}

/*
 * Child @index of @parent, @n, is too small, and has a neighbour: merge the
 * two, or even them out.
 */
static int rebalance(const struct thin_btree *t, struct thin_shadow *parent,
		     uint32_t index, const struct thin_shadow *n)
{
	bool with_left = index > 0;
	uint32_t right_index = with_left ? index : index + 1;
	struct thin_shadow other, left, right;
	uint32_t total;
	int r;

	r = thin_shadow_child(t, parent, with_left ? index - 1 : index + 1, &other);
	if (r)
		return r;
	r = thin_nodes_match(n->node, other.node);
	if (r)
		return r;
	left = with_left ? other : *n;
	right = with_left ? *n : other;
	total = thin_node_nr(left.node) + thin_node_nr(right.node);
	if (total <= 2 * thin_node_min(thin_node_max(left.node))) {
		merge(&left, &right);
		thin_node_erase(parent->node, right_index, 1);
		return thin_sm_dec(t->tm->sm, right.block);
	}
	even_out(&left, &right);
	parent->node->keys[right_index] = right.node->keys[0];
	return 0;
}

static bool too_small(const struct thin_disk_node *n)
{
	return thin_node_nr(n) < thin_node_min(thin_node_max(n));
}

/* Mend the nodes of @p from the deepest one up. */
static int mend(const struct thin_btree *t, struct path *p)
{
	for (uint32_t level = p->depth - 1; level > 0; level--) {
		struct thin_shadow *n = &p->step[level], *parent = n - 1;
		int r;

		if (!too_small(n->node))
			return 0;
		if (thin_node_nr(parent->node) < 2)
			return thin_node_nr(n->node) || level == 1 ? 0 : -EILSEQ;
		r = rebalance(t, parent, parent->index, n);
		if (r)
			return r;
	}
	return 0;
}

/* While the root has a single child, that child is the root. */
static int collapse_root(const struct thin_btree *t, struct thin_shadow *root,
			 uint64_t *ret_root)
{
	const struct thin_disk_node *n = root->node;
	uint64_t block = root->block;

	if (!thin_node_is_leaf(n) && thin_node_nr(n) == 0)
		thin_node_init_leaf(t, root->node);
	while (!thin_node_is_leaf(n) && thin_node_nr(n) == 1) {
		uint64_t child = thin_node_value64(n, 0);
		uint32_t count;
		int r;

		r = thin_sm_count(t->tm->sm, block, &count);
		if (r)
			return r;
		/* A shared root would have to stay, with its own reference. */
		if (count != 1)
			break;
		r = thin_sm_dec(t->tm->sm, block);
		if (r)
			return r;
		block = child;
		r = thin_tm_read(t->tm, block, THIN_NODE, (const void **)&n);
		if (r)
			return r;
	}
	*ret_root = block;
	return 0;
}

/* --- removing ------------------------------------------------------------ */

/* One reference less to a leaf, and to its values when it was the last. */
static int drop_leaf(const struct thin_btree *t, uint64_t block)
{
	const struct thin_disk_node *n;
	uint32_t count;
	int r;

	r = thin_sm_count(t->tm->sm, block, &count);
	if (r)
		return r;
	if (count == 1 && t->dec) {
		r = thin_tm_read(t->tm, block, THIN_NODE, (const void **)&n);
		if (r)
			return r;
		r = t->dec(t->ctx, thin_node_value(n, 0), thin_node_nr(n));
		if (r)
			return r;
	}
	return thin_sm_dec(t->tm->sm, block);
}

/* One reference less to a node that has more than ours. */
static int drop_shared(const struct thin_btree *t, uint64_t block)
{
	uint32_t count;
	int r = thin_sm_count(t->tm->sm, block, &count);

	if (r)
		return r;
	return count > 1 ? thin_sm_dec(t->tm->sm, block) : -EILSEQ;
}

/* The node at @level of the path to @key goes as a whole, by @drop. */
static int remove_node(const struct thin_btree *t, uint64_t root, uint64_t key,
		       uint32_t level,
		       int (*drop)(const struct thin_btree *t, uint64_t block),
		       uint64_t *ret_root)
{
	struct thin_shadow *parent;
	struct path p;
	int i, r;

	r = shadow_path(t, root, key, level, &p);
	if (r)
		return r;
	parent = &p.step[p.depth - 1];
	i = thin_node_search(parent->node, key);
	i = i < 0 ? 0 : i;
	r = drop(t, thin_node_value64(parent->node, (uint32_t)i));
	if (r)
		return r;
	thin_node_erase(parent->node, (uint32_t)i, 1);
	r = mend(t, &p);
	return r ? r : collapse_root(t, &p.step[0], ret_root);
}

/* @nr entries from the one with @key on go. */
static int remove_entries(const struct thin_btree *t, uint64_t root, uint64_t key,
			  const struct thin_leaf *leaf, uint32_t nr, uint64_t *ret_root)
{
	struct thin_disk_node *n;
	struct path p;
	int r;

	r = shadow_path(t, root, key, leaf->depth, &p);
	if (r)
		return r;
	n = p.step[p.depth - 1].node;
	assert(thin_node_is_leaf(n) && leaf->index + nr <= thin_node_nr(n));
	r = t->dec ? t->dec(t->ctx, thin_node_value(n, leaf->index), nr) : 0;
	if (r)
		return r;
	thin_node_erase(n, leaf->index, nr);
	r = mend(t, &p);
	return r ? r : collapse_root(t, &p.step[0], ret_root);
}

/* How many entries of @leaf, from its index on, have keys below @end. */
static uint32_t entries_below(const struct thin_leaf *leaf, uint64_t end)
{
	int last = end ? thin_node_search(leaf->node, end - 1) : -1;

	return (uint32_t)(last + 1) - leaf->index;
}

static int remove_from_leaf(const struct thin_btree *t, uint64_t root, uint64_t end,
			    const struct thin_leaf *leaf, uint64_t *ret_root,
			    uint64_t *ret_next, uint32_t *ret_removed)
{
	uint64_t key = thin_node_key(leaf->node, leaf->index);
	uint32_t nr = entries_below(leaf, end);
	uint64_t last = thin_node_key(leaf->node, leaf->index + nr - 1);
	int r;

	if (nr == thin_node_nr(leaf->node) && leaf->depth > 1)
		r = remove_node(t, root, key, leaf->depth - 1, drop_leaf, ret_root);
	else
		r = remove_entries(t, root, key, leaf, nr, ret_root);
	if (r)
		return r;
	*ret_next = last + 1;
	*ret_removed = nr;
	return 0;
}

/* --- what is shared -------------------------------------------------------- */

/*
 * Does the leaf's parent go as a whole, and do others refer to it, or to
 * what is above it?  Only where values are references, and so the root is
 * not one of a tree inside another operation: see count_entries().
 */
static int parent_goes(const struct thin_btree *t, uint64_t begin, uint64_t end,
		       const struct thin_leaf *leaf, bool *ret)
{
	const struct thin_disk_node *n;
	uint32_t level = leaf->depth - 2;
	bool shared = false;
	int r;

	*ret = false;
	if (!t->dec || leaf->depth < 3)
		return 0;
	if (leaf->path_end[level] ? leaf->path_end[level] > end : end != UINT64_MAX)
		return 0;
	r = thin_tm_read(t->tm, leaf->path[level], THIN_NODE, (const void **)&n);
	if (r || thin_node_key(n, 0) < begin)
		return r;
	for (uint32_t i = 0; i <= level && !shared; i++) {
		uint32_t count;

		r = thin_sm_count(t->tm->sm, leaf->path[i], &count);
		if (r)
			return r;
		shared = count > 1;
	}
	*ret = shared;
	return 0;
}

/* The entries of the leaves below @block: in operations of its own. */
static int count_entries(const struct thin_btree *t, uint64_t block, uint32_t *ret)
{
	*ret = 0;
	for (uint32_t i = 0;; i++) {
		const struct thin_disk_node *n;
		int r;

		thin_cache_begin_op(t->tm->cache);
		r = thin_tm_read(t->tm, block, THIN_NODE, (const void **)&n);
		if (r || i == thin_node_nr(n))
			return r;
		r = thin_tm_read(t->tm, thin_node_value64(n, i), THIN_NODE,
				 (const void **)&n);
		if (r)
			return r;
		if (!thin_node_is_leaf(n))
			return -EILSEQ;
		*ret += thin_node_nr(n);
	}
}

static int remove_parent(const struct thin_btree *t, uint64_t root, uint64_t end,
			 const struct thin_leaf *leaf, uint64_t *ret_root,
			 uint64_t *ret_next, uint32_t *ret_removed)
{
	uint64_t key = thin_node_key(leaf->node, leaf->index);
	uint32_t level = leaf->depth - 2, nr;
	uint64_t next = leaf->path_end[level] ? leaf->path_end[level] : end;
	int r;

	r = count_entries(t, leaf->path[level], &nr);
	if (!r)
		r = remove_node(t, root, key, level, drop_shared, ret_root);
	if (r)
		return r;
	*ret_next = next;
	*ret_removed = nr;
	return 0;
}

int thin_btree_remove(const struct thin_btree *t, uint64_t root, uint64_t begin,
		      uint64_t end, uint64_t *ret_root, uint64_t *ret_next,
		      uint32_t *ret_removed)
{
	struct thin_reader rd = {.cache = t->tm->cache, .may_load = true};
	struct thin_leaf leaf;
	bool all;
	int r;

	*ret_root = root;
	*ret_next = end;
	*ret_removed = 0;
	r = thin_btree_seek(&rd, t->value_size, root, begin, &leaf);
	if (r)
		return r == -ENODATA ? 0 : r;
	if (thin_node_key(leaf.node, leaf.index) >= end)
		return 0;
	r = parent_goes(t, begin, end, &leaf, &all);
	if (r)
		return r;
	if (all)
		return remove_parent(t, root, end, &leaf, ret_root, ret_next,
				     ret_removed);
	return remove_from_leaf(t, root, end, &leaf, ret_root, ret_next, ret_removed);
}

/* --- deleting a tree ------------------------------------------------------ */

static int delete_from(const struct thin_btree *t, uint64_t block, unsigned depth);

/*
 * Values are copied out first: dec() may begin operations of its own, and
 * then the node need not be there any more.
 */
static int delete_values(const struct thin_btree *t, const struct thin_disk_node *n)
{
	uint8_t values[THIN_METADATA_BLOCK];
	uint32_t nr = thin_node_nr(n);

	if (!t->dec || !nr)
		return 0;
	memcpy(values, thin_node_value(n, 0), (size_t)nr * t->value_size);
	return t->dec(t->ctx, values, nr);
}

/* The node is looked up again for each child, so that nothing must stay. */
static int delete_children(const struct thin_btree *t, uint64_t block, unsigned depth)
{
	for (uint32_t i = 0;; i++) {
		const struct thin_disk_node *n;
		int r;

		r = thin_tm_read(t->tm, block, THIN_NODE, (const void **)&n);
		if (r)
			return r;
		if (thin_node_is_leaf(n)) {
			if (thin_node_value_size(n) != t->value_size)
				return -EILSEQ;
			return delete_values(t, n);
		}
		if (i == thin_node_nr(n))
			return 0;
		r = delete_from(t, thin_node_value64(n, i), depth + 1);
		if (r)
			return r;
	}
}

static int delete_from(const struct thin_btree *t, uint64_t block, unsigned depth)
{
	uint32_t count;
	int r;

	if (depth == THIN_MAX_TREE_DEPTH)
		return -EILSEQ;
	thin_cache_begin_op(t->tm->cache);
	r = thin_sm_count(t->tm->sm, block, &count);
	if (r)
		return r;
	if (count == 1) {
		r = delete_children(t, block, depth);
		if (r)
			return r;
	}
	return thin_sm_dec(t->tm->sm, block);
}

int thin_btree_delete(const struct thin_btree *t, uint64_t root)
{
	return delete_from(t, root, 0);
}
