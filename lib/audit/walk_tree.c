/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/walk_tree.h"

#include "audit/state.h"

#include <errno.h>
#include <inttypes.h>

/*
 * The walk in order, which stops at the first damage.
 *
 * A node's keys must lie between those that its parent leaves to it, so no
 * node can be met twice in a tree, and the walk of a tree ends after as many
 * nodes as the metadata has blocks, whatever is in them.
 */

/* A node to go to, and the keys its parent leaves to it. */
struct target {
	uint64_t block;
	uint64_t first;
	uint64_t last;
};

int audit_walk_damaged(struct walker *w, const char *tree, uint64_t block,
		       const char *problem)
{
	return thin_error_set(w->e, -EILSEQ, "metadata block %" PRIu64 " (%s): %s", block,
			      tree, problem);
}

static int check_node(const struct walk_tree *t, const struct target *to, bool root,
		      const struct thin_disk_node *n)
{
	struct thin_finding why;
	uint32_t nr = thin_node_nr(n);

	if (audit_node_fault(n, t->value_size, &why))
		return audit_walk_damaged(t->w, t->name, to->block,
					  "no node of this tree");
	if (!nr && !(root && thin_node_is_leaf(n)))
		return audit_walk_damaged(t->w, t->name, to->block, "an empty node");
	if (!audit_node_ascends(n))
		return audit_walk_damaged(t->w, t->name, to->block, "keys do not ascend");
	if (nr &&
	    (thin_node_key(n, 0) < to->first || thin_node_key(n, nr - 1) > to->last))
		return audit_walk_damaged(t->w, t->name, to->block,
					  "keys that belong elsewhere");
	return 0;
}

static int get_node(const struct walk_tree *t, const struct target *to, unsigned depth,
		    const struct thin_disk_node **ret)
{
	int status = 0, r;
	const void *data = audit_batch_get(&t->w->level[depth], to->block, &status);

	if (!data)
		return audit_walk_damaged(t->w, t->name, to->block,
					  "there is no such block");
	r = status ? status : thin_block_verify(THIN_NODE, data, to->block);
	if (r)
		return thin_error_set(t->w->e, r, "metadata block %" PRIu64 " (%s): %s",
				      to->block, t->name, thin_strerror(r));
	r = check_node(t, to, depth == 0, data);
	if (r)
		return r;
	*ret = data;
	return 0;
}

static int load(struct walker *w, const struct target *to, size_t nr, unsigned depth)
{
	struct batch *b = &w->level[depth];

	if (!b->cap) {
		int r = audit_batch_init(b, GROUP, w->nr_blocks);
		if (r)
			return r;
	}
	audit_batch_clear(b);
	for (size_t i = 0; i < nr; i++)
		if (to[i].block < w->nr_blocks)
			audit_batch_add(b, to[i].block);
	audit_batch_load(b, w->storage);
	return 0;
}

static struct target child_of(const struct thin_disk_node *n, uint32_t i, uint64_t last)
{
	return (struct target){
		.block = thin_node_value64(n, i),
		.first = thin_node_key(n, i),
		.last = i + 1 < thin_node_nr(n) ? thin_node_key(n, i + 1) - 1 : last,
	};
}

static int walk_node(const struct walk_tree *t, const struct target *to, unsigned depth);

static int walk_children(const struct walk_tree *t, const struct thin_disk_node *n,
			 uint64_t last, unsigned depth)
{
	uint32_t nr = thin_node_nr(n);
	struct target children[GROUP];

	for (uint32_t begin = 0; begin < nr; begin += GROUP) {
		uint32_t count = nr - begin < GROUP ? nr - begin : GROUP;
		int r;

		for (uint32_t i = 0; i < count; i++)
			children[i] = child_of(n, begin + i, last);
		r = load(t->w, children, count, depth);
		for (uint32_t i = 0; !r && i < count; i++)
			r = walk_node(t, &children[i], depth);
		if (r)
			return r;
	}
	return 0;
}

/* The level @depth has been loaded. */
static int walk_node(const struct walk_tree *t, const struct target *to, unsigned depth)
{
	const struct thin_disk_node *n = NULL;
	int r;

	r = get_node(t, to, depth, &n);
	if (r)
		return r;
	if (thin_node_is_leaf(n))
		return t->leaf(t->ctx, n);
	if (depth + 1 >= THIN_MAX_TREE_DEPTH)
		return audit_walk_damaged(t->w, t->name, to->block,
					  "the tree is too deep");
	return walk_children(t, n, to->last, depth + 1);
}

int audit_walk_tree(const struct walk_tree *t, uint64_t root)
{
	struct target to = {.block = root, .first = 0, .last = UINT64_MAX};
	int r;

	r = load(t->w, &to, 1, 0);
	if (r)
		return r;
	return walk_node(t, &to, 0);
}
